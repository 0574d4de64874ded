"""When an RTCP report is due, what goes into it, and what the peer's reports say (RFC 3550 sections 6.3 and 6.4).

Owns: the interval, NTP time and round trip. Must not know ports or clocks: times are arguments, in seconds.
"""

from __future__ import annotations

import random as random_module

from telephony.rtp.rtcp import Description, Goodbye, Report, ReportBlock, parse_compound
from telephony.rtp.sequence import Sequence

#: The least interval between two reports in seconds (6.2). With two members and G.711 the bandwidth rule asks for
#: less than that, always, so it is the interval, and reconsideration (6.3.6) has nothing to reconsider.
INTERVAL = 5.0
_COMPENSATION = 1.21828
#: Seconds from 1900, where NTP begins, to 1970, where clocks of ours begin that tell the time of day.
_NTP_EPOCH = 2208988800


def ntp_time(now: float) -> int:
    """Return the 64-bit NTP time of a clock's seconds. Only differences need be right (6.4.1)."""
    return round((now + _NTP_EPOCH) * 65536.0) << 16 & 0xFFFFFFFFFFFFFFFF


class Reports:
    """The RTCP side of one session. ``due`` is the time of the next report."""

    __slots__ = (
        "_cname",
        "_random",
        "_sender",
        "_sender_at",
        "_sender_ntp",
        "due",
        "received",
        "remote_jitter",
        "remote_lost",
        "round_trip",
        "sent",
    )

    def __init__(self, random: random_module.Random, cname: str) -> None:
        self._random = random
        self._cname = cname
        self._sender = -1
        self._sender_ntp = 0
        self._sender_at = 0.0
        self.due = float("inf")
        self.sent = 0
        self.received = 0
        self.remote_lost: int | None = None
        self.remote_jitter: float | None = None
        self.round_trip: float | None = None

    def begin(self, now: float) -> None:
        """Set the time of the first report: half the usual interval away (6.2)."""
        if self.due == float("inf"):
            self.due = now + self._interval() / 2

    def _interval(self) -> float:
        return INTERVAL * (0.5 + self._random.random()) / _COMPENSATION

    def compound(
        self,
        ssrc: int,
        source: int,
        sequence: Sequence | None,
        now: float,
        sent: tuple[int, int, int] | None,
        goodbye: bool = False,
    ) -> bytes:
        """Return a compound packet and set the time of the next.

        ``source`` and ``sequence``: the peer's SSRC and its account, None before its first packet; ``sent``: RTP
        timestamp now, packets and octets of ours, None when we have sent none (an RR then).
        """
        self.due = now + self._interval()
        self.sent += 1
        blocks: tuple[ReportBlock, ...] = ()
        if sequence is not None:
            known = self._sender == source
            blocks = (
                ReportBlock(
                    source,
                    sequence.fraction_lost(),
                    sequence.lost,
                    # The first packet's number began at 65536 here; on the wire the cycles count from nought.
                    (sequence.highest - 65536) & 0xFFFFFFFF,
                    int(sequence.jitter),
                    self._sender_ntp >> 16 & 0xFFFFFFFF if known else 0,
                    round((now - self._sender_at) * 65536) & 0xFFFFFFFF if known else 0,
                ),
            )
        report = Report(ssrc, blocks) if sent is None else Report(ssrc, blocks, ntp_time(now), *sent)
        packet = report.to_bytes() + Description(ssrc, self._cname).to_bytes()
        return packet + Goodbye((ssrc,)).to_bytes() if goodbye else packet

    def take(self, data: bytes, ssrc: int, now: float) -> None:
        """Read the peer's compound packet; ``ssrc`` is ours. Raises RemoteProtocolError for what is no RTCP."""
        for one in parse_compound(data):
            if not isinstance(one, Report):
                continue
            if one.ntp is not None:
                self._sender, self._sender_ntp, self._sender_at = one.ssrc, one.ntp, now
            for block in one.blocks:
                if block.ssrc == ssrc:
                    self._take_block(block, now)
        self.received += 1

    def _take_block(self, block: ReportBlock, now: float) -> None:
        self.remote_lost = block.lost
        self.remote_jitter = block.jitter / 8.0
        if block.last_sr:
            elapsed = ((ntp_time(now) >> 16) - block.last_sr - block.delay) & 0xFFFFFFFF
            # A peer that counts its delay too long makes this negative, which is a large number here.
            if elapsed < 0x80000000:
                self.round_trip = elapsed * 1000.0 / 65536.0
