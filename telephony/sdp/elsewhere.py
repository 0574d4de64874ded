"""Another's place for audio, which a description of ours may name in place of our own (RFC 3725 section 4).

Owns: what such a description says of the place. Must not know when one is written (`telephony.sdp.negotiation`), nor
who is there and why (`telephony.call.direct`). It is made from what the other leg has agreed; no description of a
peer's is ever passed on.
"""

from __future__ import annotations

import attrs

from telephony.interfaces import Address
from telephony.sdp.model import Attribute


@attrs.frozen
class Elsewhere:
    """Where audio goes that doesn't come to us.

    ``rtp`` and ``rtcp`` (None: not known) are the other's addresses, ``ptime`` the milliseconds it wants in a packet.
    """

    rtp: Address
    rtcp: Address | None
    ptime: int

    @property
    def attributes(self) -> list[Attribute]:
        """What has to be said of RTCP where it isn't on the port above (RFC 3605)."""
        host, port = self.rtp
        if self.rtcp is None or self.rtcp == (host, port + 1):
            return []
        theirs, number = self.rtcp
        family = "IP6" if ":" in theirs else "IP4"
        return [("rtcp", f"{number}" if theirs == host else f"{number} IN {family} {theirs}")]
