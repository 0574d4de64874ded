"""One stream's sequence numbers: extended beyond 16 bits, duplicates told, loss and jitter counted.

Owns: RFC 3550 appendix A.1 (validity, without the probation: the first packet of a call counts), A.3 (loss) and A.8
(jitter). Must not know payloads, clocks or addresses: arrival times are arguments.
"""

from __future__ import annotations

#: A forward jump beyond this, or a backward one beyond `MAX_MISORDER`, is a restart of the sender (RFC 3550 A.1).
MAX_DROPOUT = 3000
MAX_MISORDER = 100
#: `Sequence.accept` returns these in place of an extended sequence number.
DUPLICATE = -1
ASTRAY = -2
RESTARTED = -3

_WINDOW = (1 << (MAX_MISORDER + 1)) - 1


class Sequence:
    """The receiving end's account of one SSRC.

    ``highest`` is the highest extended sequence number so far. It begins at 65536 + the first one, so that a packet
    from before the first has a number above zero too. ``jitter`` is in timestamp units.
    """

    __slots__ = (
        "_arrival",
        "_awaited",
        "_base",
        "_expected_before",
        "_lost_before",
        "_received_before",
        "_seen",
        "_timestamp",
        "duplicates",
        "highest",
        "jitter",
        "received",
    )

    def __init__(self, sequence: int) -> None:
        self.duplicates = 0
        self.jitter = 0.0
        self._lost_before = 0
        self._begin(sequence)

    def _begin(self, sequence: int) -> None:
        self._base = self.highest = 65536 + sequence
        self._seen = 1
        self._awaited = -1
        self._arrival = -1.0
        self._timestamp = 0
        self.received = 1
        self._expected_before = self._received_before = 0

    def accept(self, sequence: int) -> int:
        """Take the 16-bit number of the next packet; the first was given to the constructor.

        Returns its extended number, or `DUPLICATE`; or `ASTRAY` for one far from all others, to be dropped; or
        `RESTARTED` when the one after such a stray follows it: the sender has begun anew, and `highest` is its
        number now, with no relation to earlier ones.
        """
        highest = self.highest
        delta = (sequence - highest) & 0xFFFF
        if delta == 1:
            self._seen = (self._seen << 1 | 1) & _WINDOW
        elif delta == 0:
            self.duplicates += 1
            return DUPLICATE
        elif delta < MAX_DROPOUT:
            self._seen = (self._seen << delta | 1) & _WINDOW if delta <= MAX_MISORDER else 1
        elif delta >= 65536 - MAX_MISORDER:
            behind = 65536 - delta
            bit = 1 << behind
            if self._seen & bit:
                self.duplicates += 1
                return DUPLICATE
            self._seen |= bit
            self.received += 1
            return highest - behind
        elif sequence == self._awaited:
            self._lost_before = self.lost
            self._begin(sequence)
            return RESTARTED
        else:
            self._awaited = (sequence + 1) & 0xFFFF
            return ASTRAY
        self.received += 1
        self.highest = highest = highest + delta
        return highest

    def arrived(self, timestamp: int, arrival: float) -> None:
        """Account for the interarrival jitter of an accepted packet (A.8).

        ``timestamp`` is the packet's, ``arrival`` the time it came in seconds times the clock rate. A jump of more
        than a second is the sender's doing (a talkspurt after a pause) and says nothing about the network.
        """
        if self._arrival >= 0.0:
            step = (timestamp - self._timestamp) & 0xFFFFFFFF
            if step > 0x7FFFFFFF:
                step -= 0x100000000
            difference = arrival - self._arrival - step
            if difference < 0.0:
                difference = -difference
            if difference < 8000.0:
                self.jitter += (difference - self.jitter) * 0.0625
        self._arrival = arrival
        self._timestamp = timestamp

    def ran(self, count: int, step: int, arrival: float, jitter: float) -> None:
        """Take ``count`` packets, each the next, that were accounted for elsewhere: timestamps went on by ``step``.

        ``arrival`` and ``jitter`` are what they are after the last of them, in timestamp units.
        """
        self.highest += count
        self.received += count
        shift = min(count, MAX_MISORDER + 1)
        self._seen = (self._seen << shift | (1 << shift) - 1) & _WINDOW
        self._timestamp = (self._timestamp + step) & 0xFFFFFFFF
        self._arrival = arrival
        self.jitter = jitter

    @property
    def lost(self) -> int:
        """How many packets never came, over the stream's life; never below 0 (duplicates don't count as received)."""
        return self._lost_before + max(0, self.highest - self._base + 1 - self.received)

    def fraction_lost(self) -> int:
        """Return the share lost since this was last asked, in 256ths, as a report block wants it (A.3)."""
        expected_all = self.highest - self._base + 1
        expected = expected_all - self._expected_before
        received = self.received - self._received_before
        self._expected_before = expected_all
        self._received_before = self.received
        lost = expected - received
        return min(255, (lost << 8) // expected) if expected > 0 and lost > 0 else 0
