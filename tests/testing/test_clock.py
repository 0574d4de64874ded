"""Simulated time: the order of timers, waiting, and what is left over."""

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import SynchronousTestCase

from telephony.testing.clock import NeverHappened, SimulatedClock


class ClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = SimulatedClock()
        self.seen: list[object] = []

    def test_order(self) -> None:
        """Timers run by time, those of one moment in the order of setting, and see their own moment as now."""
        start = self.clock.seconds()
        for delay, name in ((2, "c"), (1, "a"), (1, "b"), (0, "now")):
            self.clock.callLater(delay, lambda name: self.seen.append((name, self.clock.seconds() - start)), name)
        self.clock.advance(3)
        self.assertEqual(self.seen, [("now", 0), ("a", 1), ("b", 1), ("c", 2)])
        self.assertEqual(self.clock.seconds(), start + 3)

    def test_set_meanwhile(self) -> None:
        """A timer that another one sets runs in the same advance when it falls due in it."""
        self.clock.callLater(1, lambda: self.clock.callLater(1, self.seen.append, "second"))
        self.clock.advance(1.5)
        self.assertEqual(self.seen, [])
        self.clock.advance(0.5)
        self.assertEqual(self.seen, ["second"])

    def test_cancel(self) -> None:
        """A cancelled timer does not run; cancelling twice or too late raises as Twisted's does."""
        kept, dropped = self.clock.callLater(1, self.seen.append, 1), self.clock.callLater(1, self.seen.append, 2)
        dropped.cancel()
        self.assertFalse(dropped.active())
        self.assertRaises(AlreadyCancelled, dropped.cancel)
        self.clock.advance(1)
        self.assertEqual(self.seen, [1])
        self.assertRaises(AlreadyCalled, kept.cancel)

    def test_reset_and_delay(self) -> None:
        """``reset`` counts from now, ``delay`` from when it was due (IDelayedCall)."""
        timer = self.clock.callLater(1, self.seen.append, "once")
        self.clock.advance(0.5)
        timer.reset(1)
        self.clock.advance(0.9)
        timer.delay(1)
        self.clock.advance(1.05)
        self.assertEqual(self.seen, [])
        self.clock.advance(0.1)
        self.assertEqual(self.seen, ["once"])

    def test_many_cancelled(self) -> None:
        """Cancelled timers are swept, and those that are not still run in order."""
        timers = [self.clock.callLater(i % 7, self.seen.append, i) for i in range(1000)]
        for i, timer in enumerate(timers):
            if i % 10:
                timer.cancel()
        self.assertLess(len(self.clock._heap), 300)
        self.clock.advance(10)
        self.assertEqual(self.seen, sorted(range(0, 1000, 10), key=lambda i: (i % 7, i)))

    def test_sweep_while_running(self) -> None:
        """A sweep in the middle of an advance loses nothing."""
        timers = [self.clock.callLater(5, self.seen.append, i) for i in range(500)]
        self.clock.callLater(1, lambda: [timer.cancel() for timer in timers[1:]])
        self.clock.advance(6)
        self.assertEqual(self.seen, [0])

    def test_leftovers(self) -> None:
        """What is still to run is told with its name, and what was cancelled or has run is not."""
        self.clock.callLater(32, self.test_leftovers)
        self.clock.callLater(1, self.seen.append, 1).cancel()
        self.clock.advance(2)
        (line,) = self.clock.leftovers()
        self.assertIn("in 30.000 s", line)
        self.assertIn("ClockTests.test_leftovers", line)

    def test_run_until(self) -> None:
        """Waiting stops at the moment of the event and gives the Deferred's result or failure."""
        good: Deferred[str] = Deferred()
        bad: Deferred[str] = Deferred()
        self.clock.callLater(3, good.callback, "done")
        self.clock.callLater(4, bad.errback, ValueError("broken"))
        self.clock.callLater(9, self.seen.append, "too late")
        start = self.clock.seconds()
        self.assertEqual(self.clock.run_until(good), "done")
        self.assertEqual(self.clock.seconds() - start, 3)
        self.assertRaises(ValueError, self.clock.run_until, bad)
        self.assertEqual(self.seen, [])

    def test_never(self) -> None:
        """What can't happen any more, or not in time, ends the wait with a sentence."""
        self.clock.callLater(5, self.seen.append, 1)
        error = self.assertRaises(NeverHappened, self.clock.run_until, lambda: False, 1)
        self.assertIn("not within 1 simulated seconds", str(error))
        error = self.assertRaises(NeverHappened, self.clock.run_until, lambda: False)
        self.assertIn("nothing is left", str(error))

    def test_exception(self) -> None:
        """What a timer's function raises is the test's failure, and the clock can go on."""
        self.clock.callLater(1, {}.__getitem__, "x")
        self.clock.callLater(2, self.seen.append, 1)
        self.assertRaises(KeyError, self.clock.advance, 3)
        self.clock.advance(3)
        self.assertEqual(self.seen, [1])

    def test_nested(self) -> None:
        """A timer's function can't advance the clock that runs it."""
        self.clock.callLater(1, self.clock.advance, 1)
        self.assertRaises(RuntimeError, self.clock.advance, 2)

    def test_twisted_users(self) -> None:
        """Deferred.addTimeout and LoopingCall work on it."""
        late: Deferred[None] = Deferred()
        late.addTimeout(2, self.clock)  # type: ignore[arg-type]
        late.addErrback(lambda failure: self.seen.append(failure.type.__name__))
        loop = LoopingCall(lambda: self.seen.append("tick"))
        loop.clock = self.clock
        loop.start(1)
        self.clock.advance(2.5)
        loop.stop()
        self.assertEqual(self.seen, ["tick", "tick", "TimeoutError", "tick"])
        self.assertEqual(self.clock.leftovers(), [])
