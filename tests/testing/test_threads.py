"""Blocking applications in simulated time (rule 14 of the architecture): turns, time, what is stuck, and the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import Error, Hangup
from telephony.testing.clock import SimulatedClock
from telephony.testing.threads import EPOCH, SimulatedRunner, StuckApplication


class RunnerCase(SynchronousTestCase):
    """A clock, its runner, and what the threads say they did."""

    def setUp(self) -> None:
        self.clock = SimulatedClock()
        self.runner = SimulatedRunner(self.clock, patience=5.0)
        self.addCleanup(self.runner.close)
        self.said: list[Any] = []

    def after(self, seconds: float, value: Any = None) -> Callable[[], Deferred[Any]]:
        """Make a verb that takes so long."""

        def verb() -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            self.clock.callLater(seconds, done.callback, value)
            return done

        return verb


class TurnTests(RunnerCase):
    def test_in_order_of_waking(self) -> None:
        """Threads run one at a time, in the order in which they wake."""

        def main(name: str, seconds: float) -> None:
            for _ in range(3):
                self.said.append((name, self.clock.seconds() - 1000))
                self.runner.run("verb", self.after(seconds), None)

        self.runner.start("a", lambda: main("a", 2))
        self.runner.start("b", lambda: main("b", 1))
        self.clock.advance(10)
        self.assertEqual(self.said, [("a", 0), ("b", 0), ("b", 1), ("a", 2), ("b", 2), ("a", 4)])
        self.assertEqual(self.runner.running(), [])

    def test_value_and_failure(self) -> None:
        """A verb returns what its Deferred fires with, and raises what it fails with, at once or later."""

        def main() -> None:
            self.said.append(self.runner.run("verb", lambda: succeed(1), None))
            self.said.append(self.runner.run("verb", self.after(1, 2), 5))
            for bad in (lambda: fail(Hangup("gone")), self.broken):
                try:
                    self.runner.run("verb", bad, None)
                except (Hangup, ZeroDivisionError) as error:
                    self.said.append(str(error))

        self.runner.start("main", main)
        self.clock.advance(10)
        self.assertEqual(self.said, [1, 2, "gone", "broken"])
        self.assertEqual(self.clock.leftovers(), [])

    @staticmethod
    def broken() -> Deferred[None]:
        """Raise in the loop."""
        raise ZeroDivisionError("broken")

    def test_limit(self) -> None:
        """A wait that lasts too long is cancelled, in simulated seconds, and says so."""
        cancelled: list[Any] = []

        def main() -> None:
            try:
                self.runner.run("verb", lambda: Deferred(cancelled.append), 3)
            except Error as error:
                self.said.append((str(error), self.runner.seconds() - 1000))

        self.runner.start("main", main)
        self.clock.advance(10)
        self.assertEqual(self.said, [("verb() did not end within 3 seconds and has been cancelled", 3)])
        self.assertEqual(len(cancelled), 1)

    def test_only_in_application_threads(self) -> None:
        """The loop's own thread can't wait: it is what everybody waits for."""
        self.assertRaises(Error, self.runner.run, "verb", lambda: succeed(1), None)

    def test_starts_and_posts_from_a_thread(self) -> None:
        """A thread starts another one and has something run on the loop, both in order."""

        def main() -> None:
            self.runner.start("other", lambda: self.said.append("other"))
            self.runner.post(lambda: self.said.append(threading.current_thread() is loop))
            self.said.append("main")

        loop = threading.current_thread()
        self.runner.start("main", main)
        self.clock.advance(0)
        self.assertEqual(self.said, ["main", "other", True])


class TimeTests(RunnerCase):
    def test_simulated_time(self) -> None:
        """``time`` is simulated in an application's thread, and real elsewhere."""

        def main() -> None:
            began = time.monotonic(), time.perf_counter(), time.time_ns()
            time.sleep(3600)
            self.said.append((time.monotonic() - began[0], time.perf_counter() - began[1], time.time_ns() - began[2]))
            self.said.append(time.time())
            self.assertRaises(ValueError, time.sleep, -1)

        self.runner.start("main", main)
        self.clock.advance(3601)
        self.assertEqual(self.said, [(3600, 3600, 3600 * 10**9), EPOCH + 3600])

    def test_given_back(self) -> None:
        """When the last simulation is over, ``time`` has its own functions; one taken by name goes on working."""
        other = SimulatedRunner(SimulatedClock())
        sleep = time.sleep
        other.close()
        self.assertIs(time.sleep, sleep)
        self.runner.close()
        self.assertIsNot(time.sleep, sleep)
        sleep(0)


class StuckTests(RunnerCase):
    def test_blocks(self) -> None:
        """What blocks otherwise fails after real seconds, by the line of the application."""
        self.runner.patience = 0.2
        gate = threading.Event()

        def main() -> None:
            gate.wait()  # this line

        self.runner.start("main", main)
        error = self.assertRaises(StuckApplication, self.clock.advance, 1)
        self.assertRegex(
            str(error), r"main has not .* 0\.2 real seconds: .*test_threads\.py, line \d+, in main: gate.*"
        )
        self.assertIn("this line", str(error))
        (line,) = self.runner.close()
        self.assertIn("can't be ended", line)
        gate.set()

    def test_spins(self) -> None:
        """A loop that lets no time pass is found out, whether it uses verbs or not, and it is ended."""

        def with_verbs() -> None:
            while self.runner.seconds() < 2000:
                self.runner.run("verb", lambda: succeed(1), None)

        def without() -> None:
            while self.runner.seconds() < 2000:
                pass

        self.runner.patience = 0.5
        for main in (with_verbs, without):
            self.runner.start("main", main)
            error = self.assertRaises(StuckApplication, self.clock.advance, 1)
            self.assertIn("test_threads.py, line", str(error))
        self.assertEqual(self.runner.close(), [])


class EndTests(RunnerCase):
    def test_waiting_threads_end(self) -> None:
        """Closing ends those that wait in a verb, those that sleep and those that never had a turn."""
        before = threading.active_count()

        def main() -> None:
            try:
                self.runner.run("verb", Deferred, None)
            finally:
                self.said.append("cleaned up")

        self.runner.start("main", main)
        self.runner.start("sleeper", lambda: time.sleep(1e6))
        self.clock.advance(5)
        self.runner.start("new", lambda: self.said.append("never"))
        first, second, third = self.runner.running()
        self.assertRegex(first, r"^main at .*test_threads.py, line \d+, in main: self.runner.run.*, in verb\(\)$")
        self.assertIn("in sleep()", second)
        self.assertIn("before its first line", third)
        self.assertEqual(self.runner.close(), [])
        self.assertEqual(self.runner.close(), [])
        self.clock.advance(1e7)
        self.assertEqual(self.said, ["cleaned up"])
        self.assertEqual(threading.active_count(), before)

    def test_what_a_function_raises_is_logged(self) -> None:
        """A function that breaks its promise not to raise is logged, and the thread is gone."""
        self.runner.start("main", self.broken)
        self.clock.advance(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.runner.running(), [])

    @staticmethod
    def broken() -> None:
        """Raise."""
        raise ZeroDivisionError

    def test_nothing_begins_afterwards(self) -> None:
        """A closed simulation starts no thread and runs nothing on its loop."""
        self.runner.close()
        self.assertRaises(Error, self.runner.start, "main", self.broken)
        self.runner.post(self.broken)
        self.assertEqual(self.clock.leftovers(), [])
