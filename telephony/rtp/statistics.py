"""What can be said of one leg's media, during the call and after it.

Owns: the numbers as plain data. Must not know how they are counted (`telephony.rtp.session`).
"""

from __future__ import annotations

import attrs


@attrs.frozen(slots=True)
class Statistics:
    """A snapshot of one RTP session.

    ``jitter`` (interarrival, RFC 3550 A.8) and ``round_trip`` are in milliseconds; ``lost`` is what never came to us,
    ``remote_lost`` and ``remote_jitter`` what the peer's reports say of our stream. ``round_trip`` and the two are
    None until the peer has reported. Dropped packets by reason: ``dropped_source`` from an address that isn't the
    peer's, ``dropped_payload`` of a payload type that wasn't agreed, ``dropped_direction`` while the peer shouldn't
    send, ``dropped_late`` out of any window or from before a switch, ``dropped_held`` not passed on because the leg
    doesn't want audio now, ``dropped_unauthentic`` not secured by the peer's SRTP key, ``dropped_replayed`` a secured
    packet that came before, ``duplicates`` and ``garbage``.
    """

    packets_sent: int = 0
    octets_sent: int = 0
    packets_received: int = 0
    octets_received: int = 0
    lost: int = 0
    duplicates: int = 0
    jitter: float = 0.0
    round_trip: float | None = None
    remote_lost: int | None = None
    remote_jitter: float | None = None
    dropped_source: int = 0
    dropped_payload: int = 0
    dropped_direction: int = 0
    dropped_late: int = 0
    dropped_held: int = 0
    dropped_unauthentic: int = 0
    dropped_replayed: int = 0
    garbage: int = 0
    reports_sent: int = 0
    reports_received: int = 0
