"""Session descriptions and the offer/answer machine: the language that signalling and media have in common.

Owns: RFC 4566/8866 text (`model`, `parser`) and RFC 3264 offer/answer for one audio stream (`negotiation`). Must not
know SIP messages, sockets or RTP packets.
"""
