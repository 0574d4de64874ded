"""Sequence numbers, loss and jitter (RFC 3550 A.1, A.3, A.8)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.rtp.sequence import ASTRAY, DUPLICATE, RESTARTED, Sequence


class SequenceTests(SynchronousTestCase):
    def test_over_the_end(self) -> None:
        """The number goes on over 65535 (A.1)."""
        stream = Sequence(65534)
        first = stream.highest
        self.assertEqual([stream.accept(one) - first for one in (65535, 0, 1)], [1, 2, 3])
        self.assertEqual(stream.lost, 0)

    def test_late_and_twice(self) -> None:
        """A late packet has its own number; a second one of the same number is told."""
        stream = Sequence(10)
        first = stream.highest
        self.assertEqual(stream.accept(13), first + 3)
        self.assertEqual(stream.lost, 2)
        self.assertEqual(stream.accept(11), first + 1)
        self.assertEqual(stream.accept(11), DUPLICATE)
        self.assertEqual(stream.accept(13), DUPLICATE)
        self.assertEqual(stream.accept(10), DUPLICATE)
        self.assertEqual((stream.lost, stream.duplicates), (1, 3))

    def test_restart(self) -> None:
        """One stray number is dropped; when the next follows it, the sender has begun anew (A.1, bad_seq)."""
        stream = Sequence(1000)
        stream.accept(1002)
        self.assertEqual(stream.accept(30000), ASTRAY)
        self.assertEqual(stream.accept(1003) - stream.highest, 0)
        self.assertEqual(stream.accept(30000), ASTRAY)
        self.assertEqual(stream.accept(30001), RESTARTED)
        self.assertEqual(stream.accept(30002) & 0xFFFF, 30002)
        self.assertEqual(stream.lost, 1)  # 1001, from before

    def test_fraction_lost(self) -> None:
        """The share since the last report, in 256ths (A.3)."""
        stream = Sequence(0)
        for one in (1, 2, 4):  # 3 is lost: one of five
            stream.accept(one)
        self.assertEqual(stream.fraction_lost(), 256 // 5)
        for one in range(5, 10):
            stream.accept(one)
        self.assertEqual(stream.fraction_lost(), 0)
        stream.accept(3)  # more came than was expected: never negative
        self.assertEqual(stream.fraction_lost(), 0)

    def test_jitter(self) -> None:
        """A.8: a sixteenth of each difference; nothing for a regular stream, nothing for a jump of the timestamp."""
        stream = Sequence(0)
        for n in range(10):
            stream.arrived((0xFFFFFF00 + n * 160) & 0xFFFFFFFF, 1000.0 + n * 160)
        self.assertEqual(stream.jitter, 0.0)
        stream.arrived((0xFFFFFF00 + 10 * 160) & 0xFFFFFFFF, 1000.0 + 10 * 160 + 32)
        self.assertEqual(stream.jitter, 2.0)
        stream.arrived(5_000_000, 1000.0 + 11 * 160)
        self.assertEqual(stream.jitter, 2.0)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 60), min_size=1, max_size=80), st.integers(0, 65535))
    def test_each_number_once(self, offsets: list[int], base: int) -> None:
        """Within the window each number is accepted exactly once, whatever the order."""
        stream = Sequence((base + offsets[0]) & 0xFFFF)
        start = stream.highest - offsets[0]
        seen = {offsets[0]}
        for one in offsets[1:]:
            got = stream.accept((base + one) & 0xFFFF)
            self.assertEqual(got, DUPLICATE if one in seen else start + one)
            seen.add(one)
        self.assertEqual(stream.received, len(seen))
