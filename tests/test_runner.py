"""Waiting in a thread for what happens on the loop (architecture.md rule 14): deadlines, cancellation, its end."""

from __future__ import annotations

import sys
import threading
import traceback
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from telephony.errors import Error, Hangup
from telephony.runner import ApplicationThreads, Outcome, ReactorRunner, at_once


class QuietReactor:
    """A reactor that only takes calls from threads; the test makes them."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.posted = threading.Semaphore(0)
        self.triggers: list[Any] = []

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.calls.append(lambda: function(*args))
        self.posted.release()

    def callWhenRunning(self, function: Any) -> None:
        """It isn't."""

    def addSystemEventTrigger(self, phase: str, event: str, function: Any) -> None:
        self.triggers.append((phase, event, function))

    def turn(self) -> None:
        """Wait for one call from a thread, and make it."""
        assert self.posted.acquire(timeout=30)
        self.calls.pop(0)()


class ReactorTests(TestCase):
    """Over the real reactor, verbs run in its thread and waits in others."""

    def setUp(self) -> None:
        self.runner = ReactorRunner(reactor)

    def in_thread(self, function: Any, limit: float | None = 30.0) -> Deferred[Any]:
        return deferToThread(self.runner.run, "verb", function, limit)

    async def test_value(self) -> None:
        """The value of the Deferred comes back, and the function ran in the reactor's thread."""
        self.assertEqual(await self.in_thread(lambda: succeed(threading.get_ident())), threading.get_ident())

    async def test_failure(self) -> None:
        """What the verb raises or fails with is raised in the waiting thread."""
        await self.assertFailure(self.in_thread(lambda: fail(Hangup("gone"))), Hangup)
        await self.assertFailure(self.in_thread(at_once(lambda: 1 / 0)), ZeroDivisionError)  # type: ignore[arg-type]

    async def test_the_line_that_shows(self) -> None:
        """api.md 3: an Error is the caller's mistake, so its traceback is the caller's own, not the loop's."""

        def refuse() -> Deferred[None]:
            raise Error("refused")

        for verb, functions in ((refuse, {"run", "get"}), (lambda: 1 / 0, {"run", "get", "<lambda>"})):
            failure = (await deferToThread(self.caught, verb)).__traceback__
            here = self.caught.__name__
            names = {frame.name for frame in traceback.extract_tb(failure)} - {here, "begin"}
            self.assertEqual(names, functions)

    def caught(self, verb: Any) -> BaseException:
        """Run a verb that raises, and return what came."""
        try:
            self.runner.run("verb", verb, 30.0)
        except (Error, ZeroDivisionError) as error:
            return error
        raise AssertionError("nothing was raised")

    async def test_deadline(self) -> None:
        """Rule 14: a wait whose time is up is an Error that names the verb and the limit."""
        error = await self.assertFailure(self.in_thread(Deferred, 0.0), Error)
        self.assertIn("verb() did not end within 0 seconds", str(error))

    async def test_beyond_what_a_lock_can_wait(self) -> None:
        """api.md 4: any number of seconds is a limit, those that Python's locks refuse too."""
        for limit in (float("inf"), 1e12):
            self.assertEqual(await self.in_thread(lambda: succeed(1), limit), 1)

    def test_not_in_the_reactor_thread(self) -> None:
        """Rule 14: a wait in the reactor's own thread would never end; it is refused, and the verb isn't begun."""
        begun: list[int] = []
        error = self.assertRaises(Error, self.runner.run, "call", at_once(lambda: begun.append(1)), 1)
        self.assertIn("call()", str(error))
        self.assertEqual(begun, [])


class StoppingTests(SynchronousTestCase):
    """The end of the loop, with a reactor that does only what the test says."""

    def setUp(self) -> None:
        self.reactor = QuietReactor()
        self.runner = ReactorRunner(self.reactor)
        self.outcomes: list[BaseException | int] = []

    def wait(self, verb: Deferred[int]) -> threading.Thread:
        """Wait for a verb in a thread."""

        def run() -> None:
            try:
                self.outcomes.append(self.runner.run("verb", lambda: verb, None))
            except Exception as error:
                self.outcomes.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def test_wakes_everybody(self) -> None:
        """Rule 14: a wait ends with an Error when the reactor stops."""
        threads = []
        for _ in range(3):
            threads.append(self.wait(Deferred()))
            self.reactor.turn()
        ((phase, event, stopped),) = self.reactor.triggers
        self.assertEqual((phase, event), ("after", "shutdown"))
        stopped()
        for thread in threads:
            thread.join(30)
        self.assertEqual([type(one) for one in self.outcomes], [Error] * 3)
        self.assertIn("stopped", str(self.outcomes[0]))

    def test_one_wake(self) -> None:
        """The loop is woken once for what is posted until it comes to it; one that raises costs no other (issue 5)."""
        done: list[int] = []
        self.runner.post(lambda: done.append(1))
        self.runner.post(lambda: 1 / 0)
        self.runner.post(lambda: (done.append(2), self.runner.post(lambda: done.append(3))))
        self.assertEqual(len(self.reactor.calls), 1)
        self.reactor.turn()
        self.assertEqual((done, len(self.reactor.calls)), ([1, 2], 1))
        self.reactor.turn()
        self.assertEqual((done, self.reactor.calls), ([1, 2, 3], []))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_too_late(self) -> None:
        """After its end there is nothing to wait for, and nothing is posted."""
        self.runner.stopped()
        self.assertRaises(Error, self.runner.run, "verb", lambda: succeed(1), None)
        self.runner.post(lambda: None)
        self.assertEqual(self.reactor.calls, [])

    def test_stopped_before_it_began(self) -> None:
        """A verb whose wait is over already isn't begun any more."""
        thread = self.wait(Deferred())
        assert self.reactor.posted.acquire(timeout=30)
        self.runner.stopped()
        thread.join(30)
        begun: list[int] = []
        outcome: Outcome[None] = Outcome()
        outcome.fail(Error("stopped"))
        outcome.begin(at_once(lambda: begun.append(1)))
        self.assertEqual(begun, [])


class OutcomeTests(SynchronousTestCase):
    """The result object."""

    def test_first_outcome_stays(self) -> None:
        """A wait has one outcome."""
        outcome: Outcome[int] = Outcome()
        outcome.succeed(1)
        outcome.fail(Error("late"))
        outcome.succeed(2)
        self.assertTrue(outcome.wait(None))
        self.assertEqual(outcome.get(), 1)

    def test_abandon_loses_no_value(self) -> None:
        """An outcome that came just behind the deadline counts."""
        outcome: Outcome[int] = Outcome()
        self.assertFalse(outcome.wait(0))
        outcome.succeed(1)
        self.assertFalse(outcome.abandon())
        self.assertEqual(outcome.get(), 1)

    def test_abandoned_verb_is_cancelled(self) -> None:
        """Rule 14: a timed-out wait cancels the Deferred; one that was not begun yet never is."""
        cancelled: list[int] = []
        outcome: Outcome[int] = Outcome()
        outcome.begin(lambda: Deferred(lambda _self: cancelled.append(1)))
        self.assertFalse(outcome.wait(0))
        self.assertTrue(outcome.abandon())
        outcome.cancel()
        self.assertEqual(cancelled, [1])
        late: Outcome[None] = Outcome()
        self.assertTrue(late.abandon())
        late.begin(at_once(lambda: cancelled.append(2)))
        late.cancel()
        self.assertEqual(cancelled, [1])

    def test_cancelled_elsewhere(self) -> None:
        """A verb somebody else cancelled is an Error, not Twisted's CancelledError."""
        outcome: Outcome[int] = Outcome()
        verb: Deferred[int] = Deferred()
        outcome.begin(lambda: verb)
        verb.cancel()
        self.assertRaises(Error, outcome.get)


class ThreadTests(SynchronousTestCase):
    """The threads of applications."""

    def test_reused(self) -> None:
        """A function that ended leaves its thread to the next; two at once have one each."""
        threads = ApplicationThreads()
        first, second, gate = threading.Event(), threading.Event(), threading.Event()
        idents: list[int] = []

        def work(done: threading.Event) -> None:
            idents.append(threading.get_ident())
            done.set()
            gate.wait(30)

        threads.start("one", lambda: work(first))
        threads.start("two", lambda: work(second))
        self.assertTrue(first.wait(30) and second.wait(30))
        self.assertEqual(len(set(idents)), 2)
        gate.set()

    def test_outlives_exceptions(self) -> None:
        """What a function raises is logged, sys.exit() included, and the thread goes on."""
        logged = threading.Event()

        def observe(event: dict[str, Any]) -> None:
            if "log_failure" in event:
                logged.set()

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        threads = ApplicationThreads()
        threads.start("one", sys.exit)
        self.assertTrue(logged.wait(30))
        self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)
        again = threading.Event()
        threads.start("two", again.set)
        self.assertTrue(again.wait(30))
