"""``telephony doctor``: a phone's checks against a real peer, in sentences, with the setting of ours that helps.

Owns (the package): which checks there are and their order, what is asked and measured, the sentences, the command.
Must not be imported by anything but the command.

It is the test kit's phone (`telephony.testing.phone`) that asks and calls, on real sockets, and not the product's user
agent. That phone is strict and independent: it forgives nothing, falls back to nothing, and shares no transaction,
dialog or offer/answer code with the product, so that a peer isn't found fine because we misread an RFC in the way it
does, and what the phone complains of is a finding about the peer. Of the product it uses what says where a name leads
(`telephony.sip.resolve`, RFC 3263) and whose certificate speaks for whom (`telephony.sip.transport.tls`, RFC 5922),
since there the question *is* what our server would do.
"""
