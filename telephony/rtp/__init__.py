"""Media on the wire: RTP and RTCP (RFC 3550, 3551, 4733), port pairs, and the session of one leg.

Owns: packets, their order and their statistics. Must not know SIP; what was negotiated comes as `telephony.sdp`'s
`Agreed`, what is done with the audio belongs to `telephony.media`.
"""
