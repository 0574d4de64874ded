"""One message on the wire, as traces, ladders and captures keep it.

Owns: the shape of a traced message. Must not know what is in it: the bytes are kept as they passed.
"""

from __future__ import annotations

import attrs

from telephony.interfaces import Address

#: A packet of RTP or RTCP as it passed: time in the clock's seconds, source, destination, bytes.
MediaPacket = tuple[float, Address, Address, bytes]
#: A note beside what passed: time in the clock's seconds, the party's name, and what to say.
Note = tuple[float, str, str]


@attrs.frozen(slots=True)
class TraceEvent:
    """One datagram, or one piece of a stream, at the moment it was sent or received.

    ``time`` is in the clock's seconds, ``transport`` is ``"UDP"``, ``"TCP"`` …, ``sent`` tells whether the side that
    traced it sent it; ``note`` is a word of the tracer's own (``"lost"``, ``"no such port"``), shown beside it.
    """

    time: float
    source: Address
    destination: Address
    transport: str
    data: bytes
    sent: bool
    note: str = ""
