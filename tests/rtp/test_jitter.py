"""The jitter buffer: even frames from uneven packets."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.rtp.jitter import FRAME, JitterBuffer

SILENCE = {"PCMA": b"\xd5" * FRAME, "PCMU": b"\xff" * FRAME}
QUIET = ("PCMA", SILENCE["PCMA"])


def frame(n: int, size: int = FRAME) -> bytes:
    """Return a payload that can be told from others."""
    return bytes((n,)) * size


class JitterBufferTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.buffer = JitterBuffer(SILENCE, delay=2, limit=10)

    def take(self, count: int) -> list[int]:
        """Return the first byte of the next frames, -1 for silence."""
        taken = [self.buffer.take() for _ in range(count)]
        for _, payload in taken:
            self.assertEqual(len(payload), FRAME)
        return [-1 if payload in SILENCE.values() else payload[0] for _, payload in taken]

    def test_empty(self) -> None:
        """With nothing there, there is silence, for as long as one likes."""
        self.assertEqual([self.buffer.take() for _ in range(3)], [QUIET] * 3)

    def test_delay_and_order(self) -> None:
        """Two frames are waited for; what comes in another order comes out in order, what comes twice once."""
        for n in (2, 1, 3, 3):
            self.buffer.put("PCMA", n * FRAME, frame(n))
        self.assertEqual(self.take(6), [-1, -1, 1, 2, 3, -1])
        self.assertEqual(self.buffer.dropped, 1)

    def test_a_gap_is_silence(self) -> None:
        """A lost packet leaves its time."""
        for n in (0, 1, 3):
            self.buffer.put("PCMA", n * FRAME, frame(n))
        self.assertEqual(self.take(6), [-1, -1, 0, 1, -1, 3])

    def test_over_the_end_of_timestamps(self) -> None:
        """Timestamps go on over 2^32."""
        for n in range(4):
            self.buffer.put("PCMU", (0xFFFFFFFF - 200 + n * FRAME) & 0xFFFFFFFF, frame(n))
        self.assertEqual(self.take(6), [-1, -1, 0, 1, 2, 3])

    def test_other_lengths(self) -> None:
        """30 ms packets become 20 ms frames without a seam."""
        for n in range(4):
            self.buffer.put("PCMA", n * 240, frame(n, 240))
        self.take(2)
        got = b"".join(self.buffer.take()[1] for _ in range(6))
        self.assertEqual(got, b"".join(frame(n, 240) for n in range(4)))

    def test_too_late(self) -> None:
        """What comes after its time is dropped and counted."""
        for n in (5, 6, 7, 8):
            self.buffer.put("PCMA", n * FRAME, frame(n))
        self.assertEqual(self.take(4), [-1, -1, 5, 6])
        self.buffer.put("PCMA", 5 * FRAME, frame(5))
        self.assertEqual(self.buffer.dropped, 1)
        self.assertEqual(self.take(2), [7, 8])

    def test_a_pause(self) -> None:
        """A sender that paused is joined again at its new timestamp, with the delay."""
        self.buffer.put("PCMA", 0, frame(1))
        self.assertEqual(self.take(6), [-1, -1, 1, -1, -1, -1])
        self.buffer.put("PCMA", 70000, frame(2))
        self.buffer.put("PCMA", 70000 + FRAME, frame(3))
        self.assertEqual(self.take(4), [-1, -1, 2, 3])

    def test_bounded(self) -> None:
        """More than the limit is never held: it goes on where the delay is right, and counts what it dropped."""
        for n in range(30):
            self.buffer.put("PCMA", n * FRAME, frame(n))
        held = self.buffer.dropped
        self.assertGreater(held, 15)
        taken = [one for one in self.take(14) if one >= 0]
        self.assertLessEqual(len(taken), 10)
        self.assertEqual(taken[-1], 29)
        self.assertEqual(taken, sorted(taken))

    def test_another_law_in_mid_stream(self) -> None:
        """A frame has one codec, and it is told."""
        self.buffer.put("PCMA", 0, frame(1))
        self.buffer.put("PCMU", FRAME, frame(2))
        self.take(2)
        self.assertEqual([self.buffer.take() for _ in range(2)], [("PCMA", frame(1)), ("PCMU", frame(2))])

    @settings(deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.none(),
                st.tuples(st.integers(0, 0xFFFFFFFF) | st.integers(0, 4000), st.binary(max_size=500)),
            ),
            max_size=80,
        )
    )
    def test_anything(self, steps: list[tuple[int, bytes] | None]) -> None:
        """Whatever comes, frames are whole and what is held is bounded."""
        buffer = JitterBuffer(SILENCE)
        for step in steps:
            if step is None:
                codec, payload = buffer.take()
                self.assertEqual((codec, len(payload)), ("PCMA", FRAME))
            else:
                buffer.put("PCMA", *step)
                self.assertLessEqual(sum(len(one[2]) for one in buffer._packets), 10 * FRAME + 1500)

    @settings(deadline=None)
    @given(st.permutations(list(range(6))))
    def test_any_order_within_the_delay(self, order: list[int]) -> None:
        """Six packets in any order before the first is due come out in order, all of them."""
        buffer = JitterBuffer(SILENCE)
        for n in order:
            buffer.put("PCMA", 1000 + n * FRAME, frame(n))
        got = [buffer.take()[1] for _ in range(8)][2:]
        self.assertEqual(got, [frame(n) for n in range(6)])
