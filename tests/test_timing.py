"""Many timers on one delayed call (``telephony.timing``), on a clock that a test moves."""

from __future__ import annotations

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.trial.unittest import SynchronousTestCase

from telephony.testing.clock import SimulatedClock
from telephony.timing import SWEEP_FROM, Timing


class TimingTests(SynchronousTestCase):
    """What `Timing` promises (``docs/architecture.rst``: one timer for all timers of calls)."""

    def setUp(self) -> None:
        self.below = SimulatedClock()
        self.clock = Timing(self.below)
        self.told: list[tuple[float, object]] = []

    def note(self, what: object) -> None:
        self.told.append((round(self.below.seconds() - 1000, 9), what))

    def test_exact_and_in_order(self) -> None:
        """RFC 3261 17.1.1.2: a timer fires when it was asked to; those of one moment in the order of asking."""
        for delay in (2.0, 0.5, 32.0, 0.5, 0.1, 2.0):
            self.clock.callLater(delay, self.note, (delay, len(self.clock)))
        self.assertEqual(len(self.below.getDelayedCalls()), 1)
        self.below.advance(40)
        self.assertEqual(
            self.told, [(0.1, (0.1, 4)), (0.5, (0.5, 1)), (0.5, (0.5, 3)), (2, (2, 0)), (2, (2, 5)), (32, (32, 2))]
        )
        self.assertEqual((self.below.getDelayedCalls(), len(self.clock)), ([], 0))

    def test_cancelled(self) -> None:
        """A cancelled timer never runs and holds nothing; the last one leaves nothing on the clock beneath."""
        kept = self.clock.callLater(1, self.note, "kept")
        gone = self.clock.callLater(0.5, self.note, "gone")
        self.assertEqual((gone.active(), len(self.clock)), (True, 2))
        gone.cancel()
        self.assertEqual((gone.active(), gone._args, len(self.clock)), (False, (), 1))
        self.assertRaises(AlreadyCancelled, gone.cancel)
        self.below.advance(1)
        self.assertEqual(self.told, [(1, "kept")])
        self.assertFalse(kept.active())
        self.assertRaises(AlreadyCalled, kept.cancel)
        self.clock.callLater(5, self.note, "never").cancel()
        self.assertEqual(self.below.getDelayedCalls(), [])

    def test_cancelled_are_swept(self) -> None:
        """Four hours' limits of calls that ended long ago are not kept for four hours: every table is bounded."""
        self.clock.callLater(14400, self.note, "kept")
        for _ in range(20 * SWEEP_FROM):
            self.clock.callLater(14400, self.note, "gone").cancel()
        self.assertLess(len(self.clock._heap), 2 * SWEEP_FROM)
        self.assertEqual(len(self.clock), 1)
        self.below.advance(14400)
        self.assertEqual(self.told, [(14400, "kept")])

    def test_set_by_a_timer(self) -> None:
        """What a timer sets for now has a turn of its own; one that is due earlier than the rest comes first."""

        def again(left: int) -> None:
            self.note(left)
            if left:
                self.clock.callLater(0, again, left - 1)
                self.clock.callLater(0.25, self.note, f"after {left}")

        self.clock.callLater(0.5, self.note, "later")
        self.clock.callLater(0.125, again, 2)
        with self.subTest("one turn each"):
            self.below.run_until(lambda: self.told)
            self.assertEqual(self.told, [(0.125, 2)])
        self.below.advance(1)
        self.assertEqual(
            self.told, [(0.125, 2), (0.125, 1), (0.125, 0), (0.375, "after 2"), (0.375, "after 1"), (0.5, "later")]
        )

    def test_one_that_raises(self) -> None:
        """What a timer's function raises is the clock's to report; the timers behind it run all the same."""

        def fault() -> None:
            raise ZeroDivisionError

        self.clock.callLater(1, fault)
        self.clock.callLater(1, self.note, "still")
        self.assertRaises(ZeroDivisionError, self.below.advance, 1)
        self.below.advance(1)
        self.assertEqual(self.told, [(1, "still")])

    def test_cancelled_by_a_timer(self) -> None:
        """A timer may cancel another one of its moment, all others, and so many that the heap is swept."""
        others = [self.clock.callLater(1 + one // 2, self.note, one) for one in range(1, 4 * SWEEP_FROM)]

        def stop() -> None:
            for other in others:
                if other.active():
                    other.cancel()

        self.clock.callLater(1, stop)
        self.clock.callLater(3, self.note, "left")
        self.below.advance(10)
        self.assertEqual(self.told, [(1, 1), (3, "left")])

    def test_no_negative_delay(self) -> None:
        """A delay is 0 seconds or more, as the reactor has it."""
        self.assertRaises(ValueError, self.clock.callLater, -1, self.note)
        self.assertRaises(ValueError, self.clock.callLater, float("nan"), self.note)
