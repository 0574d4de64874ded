"""How SIP messages travel: one module a transport, all of them below `base` (RFC 3261 18)."""
