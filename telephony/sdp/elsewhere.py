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

    ``rtp`` is the other's address, ``rtcp_port`` where it gets its reports (None: on the port above, RFC 3550 section
    11), ``ptime`` the milliseconds it wants in a packet.
    """

    rtp: Address
    rtcp_port: int | None
    ptime: int

    @property
    def attributes(self) -> list[Attribute]:
        """What has to be said of RTCP where it isn't on the port above (RFC 3605)."""
        usual = self.rtcp_port is None or self.rtcp_port == self.rtp[1] + 1
        return [] if usual else [("rtcp", str(self.rtcp_port))]
