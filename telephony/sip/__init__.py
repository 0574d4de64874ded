"""SIP: from bytes to messages, transactions, dialogs and sessions (RFC 3261 and its companions).

Never imports ``rtp``, ``media`` or ``codecs``; carries SDP without understanding it.
"""
