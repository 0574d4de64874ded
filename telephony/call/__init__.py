"""Calls: channels, their verbs and states, media resources, transfers; the only layer that knows both SIP and RTP.

Start reading at `telephony.call.channel` (the verbs of ``api.md`` section 4), `telephony.call.states` (the table behind
them) and `telephony.call.transfer` (section 5).
"""
