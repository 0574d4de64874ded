"""The one timer of all audio (architecture rule 8)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.media.clock import CATCH_UP, MediaClock


class Stream:
    """Keeps the times of its turns."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.lost = 0
        self.at_turn = lambda: None

    def tick(self, now: float) -> None:
        self.times.append(now)
        self.at_turn()

    def missed(self, frames: int) -> None:
        self.lost += frames


class Counting:
    """A bank that keeps how often it was flushed."""

    def __init__(self) -> None:
        self.flushed = 0

    def flush(self) -> None:
        self.flushed += 1


class MediaClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.time = Clock()
        self.time.advance(1000.123)
        self.clock = MediaClock(self.time)

    def add(self, ptime: int = 20) -> Stream:
        stream = Stream()
        self.clock.add(stream, ptime)
        return stream

    def run_for(self, milliseconds: int) -> None:
        self.time.pump([0.001] * milliseconds)

    def test_spread(self) -> None:
        """Streams of 20 ms are spread evenly over the four slots of 5 ms, each with its turn every 20 ms."""
        streams = [self.add() for _ in range(8)]
        self.run_for(202)
        for stream in streams:
            self.assertEqual(len(stream.times), 10)
            gaps = [round((b - a) * 1000) for a, b in zip(stream.times, stream.times[1:], strict=False)]
            self.assertEqual(gaps, [20] * 9)
        firsts = [5 * round((stream.times[0] - 1000.123) * 200) for stream in streams]
        self.assertEqual(sorted(firsts), [5, 5, 10, 10, 15, 15, 20, 20])

    def test_one_timer(self) -> None:
        """Whatever the number of streams and their frames there is one timer, and none without streams."""
        streams = [self.add(ptime) for ptime in (10, 20, 30, 40, 50, 60, 20, 20)]
        for _ in range(100):
            self.assertEqual(len(self.time.getDelayedCalls()), 1)
            self.run_for(1)
        for stream in streams:
            self.clock.remove(stream)
            self.clock.remove(stream)
        self.assertEqual((self.time.getDelayedCalls(), len(self.clock)), ([], 0))

    def test_every_length(self) -> None:
        """Each length of frame keeps its rate: 10 to 60 ms."""
        streams = {ptime: self.add(ptime) for ptime in (10, 20, 30, 40, 50, 60)}
        self.run_for(6000)
        for ptime, stream in streams.items():
            self.assertEqual(len(stream.times), 6000 // ptime)

    def test_no_drift(self) -> None:
        """A timer that is always late moves no turn off the grid."""
        stream = self.add()
        for _ in range(1000):
            self.time.advance(0.0031)
        self.assertLessEqual(abs(len(stream.times) - 3100 / 20), 1)
        self.assertEqual(stream.lost, 0)

    def test_late(self) -> None:
        """A little lateness is made up for; each turn is had, and the slots are counted."""
        stream = self.add()
        self.time.advance(0.060)
        self.assertEqual((len(stream.times), stream.lost), (3, 0))
        self.assertEqual(self.clock.caught_up, 3)

    def test_very_late(self) -> None:
        """What can't be made up for is skipped on purpose: told to the stream, and counted."""
        stream = self.add()
        self.time.advance(1.0)
        self.assertEqual(len(stream.times), CATCH_UP // 4)
        self.assertEqual((len(stream.times) + stream.lost, self.clock.skipped), (50, stream.lost))
        self.run_for(100)
        self.assertEqual(len(stream.times), CATCH_UP // 4 + 5)

    def test_a_pause_without_streams(self) -> None:
        """Time without any stream is not made up for."""
        self.clock.remove(self.add())
        self.time.advance(3600)
        stream = self.add()
        self.run_for(40)
        self.assertEqual((len(stream.times), stream.lost, self.clock.skipped), (2, 0, 0))

    def test_changes_in_a_turn(self) -> None:
        """A turn may end its own stream and others, and begin new ones."""
        one, two = self.add(), self.add()
        self.clock.add(two, 20)
        added: list[Stream] = []

        def turn() -> None:
            self.clock.remove(one)
            self.clock.remove(two)
            added.append(self.add(30))

        one.at_turn = two.at_turn = turn
        self.run_for(100)
        self.assertEqual((len(one.times) + len(two.times), len(added)), (1, 1))
        self.assertEqual(len(added[0].times), 3)

    def test_a_turn_that_raises(self) -> None:
        """Architecture rule 8: all audio hangs on one timer, which a fault in one call's turn must not stop."""

        def fault() -> None:
            raise ZeroDivisionError("on purpose")

        broken, sound = self.add(), self.add()
        broken.at_turn = fault
        self.run_for(101)
        self.assertEqual((len(broken.times), len(sound.times)), (5, 5))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 5)

    def test_another_length(self) -> None:
        """Adding a stream again gives it the other length."""
        stream = self.add()
        self.clock.add(stream, 40)
        self.run_for(400)
        self.assertEqual((len(stream.times), len(self.clock)), (10, 1))

    def test_off_the_grid(self) -> None:
        """A length that doesn't fit is refused."""
        for ptime in (0, -20, 7):
            self.assertRaises(ValueError, self.add, ptime)

    def test_banks(self) -> None:
        """There is one bank of a kind, with its turn after the streams of each slot that has any."""
        bank = self.clock.bank(Counting)
        self.assertIs(self.clock.bank(Counting), bank)
        stream = self.add()
        stream.at_turn = lambda: self.assertEqual(bank.flushed, len(stream.times) - 1)  # type: ignore[assignment]
        self.run_for(100)
        self.assertEqual((bank.flushed, len(stream.times)), (5, 5))

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(("add", "remove", "wait")), st.sampled_from((10, 20, 30, 60)), st.integers(1, 90)
            ),
            max_size=40,
        )
    )
    def test_any_life(self, steps: list[tuple[str, int, int]]) -> None:
        """Whenever streams come and go, each has its turns, and no timer is left."""
        self.time = Clock()
        self.clock = MediaClock(self.time)
        live: list[tuple[Stream, int, float]] = []
        for what, ptime, amount in steps:
            if what == "a":
                live.append((self.add(ptime), ptime, self.time.seconds()))
            elif what == "r" and live:
                stream, length, since = live.pop(amount % len(live))
                self.clock.remove(stream)
                expected = (self.time.seconds() - since) * 1000 / length
                self.assertLessEqual(abs(len(stream.times) + stream.lost - expected), 1)
            else:
                self.run_for(amount)
        for stream, _, _ in live:
            self.clock.remove(stream)
        self.assertEqual(self.time.getDelayedCalls(), [])
