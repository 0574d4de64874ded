"""How code that blocks gets its verbs run by code that must not: the bridge between threads and the loop.

Owns: the `Runner` interface (run this on the loop and wait, what time is it, run that in an application thread), its
production form over a Twisted reactor, the result object behind every wait, and the application threads. Must not
know calls, channels or the server, and never imports a reactor by itself; `shared_reactor_runner` does, when called.

Why not ``blockingCallFromThread``: a wait of that kind hangs for ever once the reactor has stopped, has no deadline,
and waits for itself when used in the reactor's thread. Here every wait has a deadline or none on purpose, a wait that
is given up cancels what it waited for, and the end of the reactor wakes everybody.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from telephony.errors import Error, TelephonyError

T = TypeVar("T")

_log = Logger()

#: How long an application thread without work is kept for the next one.
IDLE_THREAD_SECONDS = 30.0
#: How long the main thread waits at a time before it looks whether a signal has come.
LOOK_UP_SECONDS = 0.5

#: How long the end of the process waits for the reactor's thread.
EXIT_SECONDS = 5.0


class Runner(Protocol):
    """What blocking code needs of whatever runs the loop. A simulation has one of its own."""

    def run(self, name: str, function: Callable[[], Deferred[T]], limit: float | None) -> T:
        """Run ``function`` on the loop, wait for its Deferred's outcome, and return or raise that here.

        ``name`` is what messages call it. ``limit`` is the longest wait in seconds, None for no limit; when it is
        up the Deferred is cancelled and `Error` raised. `Error` as well when called in the loop's own thread, or
        when the loop has stopped or stops meanwhile. Whatever else interrupts the wait (Ctrl-C) cancels it too.
        """

    def post(self, function: Callable[[], object]) -> None:
        """Run ``function`` on the loop soon, and don't wait; harmless when the loop has stopped."""

    def start(self, name: str, function: Callable[[], object]) -> None:
        """Run ``function`` in an application thread of its own, at once. It must not raise."""

    def seconds(self) -> float:
        """Return the time by which limits are measured; only differences mean anything."""


class Outcome(Generic[T]):
    """What one wait waits for: written once on the loop, read once by the thread that waits.

    The one lock is a gate that the loop opens when there is an outcome: a condition would be three locks.
    """

    __slots__ = ("_abandoned", "_deferred", "_done", "_failure", "_gate", "_value")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._deferred: Deferred[T] | None = None
        self._done = False
        self._abandoned = False
        self._value: T | None = None
        self._failure: BaseException | None = None

    def begin(self, function: Callable[[], Deferred[T]]) -> None:
        """On the loop: call ``function`` and take over whatever becomes of it."""
        if self._abandoned or self._done:
            return  # given up, or the loop stopped, before it began
        try:
            deferred = self._deferred = function()
        except Exception as error:
            self.fail(error)
            return
        deferred.addCallbacks(self._fired, self._failed)

    def cancel(self) -> None:
        """On the loop: cancel what was begun; nobody waits for it any more."""
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            deferred.cancel()

    def succeed(self, value: T) -> None:
        """On the loop: set the value and wake the waiting thread; ignored when there is an outcome already."""
        if not self._done:
            self._done = True
            self._value = value
            self._gate.release()

    def fail(self, error: BaseException) -> None:
        """On the loop: set the exception and wake the waiting thread; ignored when there is an outcome already."""
        if not self._done:
            self._done = True
            self._failure = error
            self._gate.release()

    def wait(self, limit: float | None) -> bool:
        """In the waiting thread: wait until there is an outcome; False when ``limit`` seconds were not enough."""
        # Python's locks wait some three hundred years at most, and raise for more.
        most = -1 if limit is None else min(max(limit, 0.0), threading.TIMEOUT_MAX)
        if threading.current_thread() is not threading.main_thread():
            return self._gate.acquire(timeout=most)
        # Python runs signal handlers in the main thread, between two of its instructions. A signal that another
        # thread receives, or that comes just before the lock is waited for, wakes nobody: Ctrl-C would be lost
        # until the wait ends by itself. So this one thread looks up now and then.
        until = None if limit is None else time.monotonic() + most
        while True:
            rest = LOOK_UP_SECONDS if until is None else min(LOOK_UP_SECONDS, until - time.monotonic())
            if self._gate.acquire(timeout=max(rest, 0.0)):
                return True
            if rest <= 0:
                return False

    def abandon(self) -> bool:
        """In the waiting thread: give up, unless there is an outcome after all; tells whether it gave up."""
        # An outcome that comes between these two is set, and read by nobody.
        self._abandoned = not self._done
        return self._abandoned

    def get(self) -> T:
        """Return the value or raise the exception; there must be an outcome."""
        failure, self._failure = self._failure, None
        if failure is None:
            return cast("T", self._value)
        if isinstance(failure, TelephonyError):
            # Where on the loop it was found out tells the caller nothing: the text says it all, and the line that
            # shows is the caller's own.
            failure.__traceback__ = None
        try:
            raise failure
        finally:
            del failure  # the traceback holds this frame; without this the two would hold each other

    def _fired(self, value: T) -> None:
        self._deferred = None
        self.succeed(value)

    def _failed(self, failure: Failure) -> None:
        self._deferred = None
        error = failure.value
        if error is None or isinstance(error, CancelledError):
            error = Error("the verb was cancelled before it had an outcome")
        self.fail(error)


def at_once(function: Callable[[], T]) -> Callable[[], Deferred[T]]:
    """Make a function that has its value at once fit for `Runner.run`."""
    return lambda: succeed(function())


class ApplicationThreads:
    """The threads that applications run in: their own, never the reactor's ten.

    As many as there are functions running; one that has ended leaves its thread to the next for half a minute. How
    many may run is decided before, by whoever admits calls. They are daemons: an application that never ends is left
    behind when the process ends, it doesn't keep it.
    """

    __slots__ = ("_idle", "_lock", "_waiting", "_wake")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._waiting: deque[tuple[str, Callable[[], object]]] = deque()
        self._idle = 0

    def start(self, name: str, function: Callable[[], object]) -> None:
        """Run ``function`` in a thread named ``name``, at once."""
        with self._lock:
            # Threads that have been promised work already are counted out.
            if self._idle > len(self._waiting):
                self._waiting.append((name, function))
                self._wake.notify()
                return
        threading.Thread(target=self._work, args=(name, function), name=name, daemon=True).start()

    def _work(self, name: str, function: Callable[[], object]) -> None:
        while True:
            threading.current_thread().name = name
            try:
                function()
            except BaseException:  # SystemExit of an application included: the thread is not the application's to end
                _log.failure("A function in the application thread {name} raised", name=name)
            del function
            with self._lock:
                self._idle += 1
                try:
                    if not self._wake.wait_for(lambda: self._waiting, IDLE_THREAD_SECONDS):
                        return
                    name, function = self._waiting.popleft()
                finally:
                    self._idle -= 1


class ReactorRunner:
    """The `Runner` over a running Twisted reactor: real threads, real deadlines.

    Make it in any thread; ``reactor`` may be running already or be started later.
    """

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self._lock = threading.Lock()
        self._waits: set[Outcome[Any]] = set()
        self._stopped = False
        self._loop_thread: int | None = None
        self._threads = ApplicationThreads()
        self._posted: deque[Callable[[], object]] = deque()
        self._woken = False
        # "after" shutdown comes when everything has been closed in an orderly way: what still waits then waits in vain.
        reactor.addSystemEventTrigger("after", "shutdown", self.stopped)
        reactor.callWhenRunning(self._running)

    def _running(self) -> None:
        self._loop_thread = threading.get_ident()

    def stopped(self) -> None:
        """Note that the loop runs no more, and wake everybody who waits for it with an `Error`. May be repeated."""
        with self._lock:
            self._stopped = True
            waits = list(self._waits)
            self._waits.clear()
        for outcome in waits:
            outcome.fail(Error("the reactor has stopped; nothing can be waited for any more"))

    @property
    def alive(self) -> bool:
        """Whether the loop has not stopped yet."""
        return not self._stopped

    def run(self, name: str, function: Callable[[], Deferred[T]], limit: float | None) -> T:
        """See `Runner.run`."""
        if threading.get_ident() == self._loop_thread:
            raise Error(
                f"{name}() waits, and can't do so in the reactor's own thread; "
                "use the CallChannel verbs there, which return Deferreds"
            )
        outcome: Outcome[T] = Outcome()
        with self._lock:
            if self._stopped:
                raise Error(f"{name}() can't run: the reactor has stopped")
            self._waits.add(outcome)
        try:
            self._to_loop(partial(outcome.begin, function))
            in_time = outcome.wait(limit)
        except BaseException:  # Ctrl-C in the main thread, or whatever else got in
            outcome.abandon()
            self.post(outcome.cancel)
            raise
        finally:
            with self._lock:
                self._waits.discard(outcome)
        if not in_time and outcome.abandon():
            self.post(outcome.cancel)
            raise Error(f"{name}() did not end within {limit:g} seconds and has been cancelled")
        return outcome.get()

    def post(self, function: Callable[[], object]) -> None:
        """See `Runner.post`."""
        if self.alive:
            self._to_loop(function)

    def _to_loop(self, function: Callable[[], object]) -> None:
        """Have the loop call a function: it is woken once for all that come before it gets to them."""
        self._posted.append(function)
        if not self._woken:
            self._woken = True
            self.reactor.callFromThread(self._work_off)

    def _work_off(self) -> None:
        self._woken = False  # before anything is taken out: what comes from now on wakes it again
        for _ in range(len(self._posted)):
            try:
                self._posted.popleft()()
            except Exception:
                _log.failure("What a thread had the loop do raised")
        if self._posted and not self._woken:
            self._woken = True
            self.reactor.callFromThread(self._work_off)

    def start(self, name: str, function: Callable[[], object]) -> None:
        """See `Runner.start`."""
        self._threads.start(name, function)

    def seconds(self) -> float:
        """See `Runner.seconds`."""
        return time.monotonic()


_shared_lock = threading.Lock()
_shared: ReactorRunner | None = None


def shared_reactor_runner() -> ReactorRunner:
    """Return the runner of this process's reactor; at the first call, start the reactor in a thread of its own.

    No signal handlers are installed. A reactor that runs already in another thread is used as it is. Raises `Error`
    when it runs in this thread (waiting would stop it), or has been stopped: Twisted can't start one twice.
    """
    global _shared
    with _shared_lock:
        if _shared is not None:
            if not _shared.alive:
                raise Error("the reactor of this process has been stopped and can't be started again")
            return _shared
        from twisted.internet import reactor
        from twisted.python import threadable

        in_reactor_thread: Callable[[], bool] = threadable.isInIOThread
        loop: Any = reactor
        if loop.running:
            if in_reactor_thread():
                raise Error(
                    "the reactor runs in this thread, so waiting here would stop it; "
                    "use telephony.call.exchange.Exchange and its Deferreds, or telephony.aio"
                )
            _shared = ReactorRunner(loop)
            _shared.run("telephony", at_once(lambda: None), EXIT_SECONDS)
            return _shared
        if loop._startedBefore:
            raise Error("the reactor of this process has been stopped and can't be started again")
        runner = ReactorRunner(loop)
        running = threading.Event()
        loop.callWhenRunning(running.set)

        def run() -> None:
            try:
                loop.run(installSignalHandlers=False)
            finally:
                runner.stopped()
                running.set()

        thread = threading.Thread(target=run, name="telephony-reactor", daemon=True)
        thread.start()
        running.wait()
        if not runner.alive:
            raise Error("the reactor could not be started; its log says why")
        # Registered after the thread has started, so before any Telephony's own: exit functions run last in, first out.
        atexit.register(_stop_at_exit, runner, thread)
        _shared = runner
        return runner


def _stop_at_exit(runner: ReactorRunner, thread: threading.Thread) -> None:
    """Stop the reactor in an orderly way when the process ends; give up when it doesn't."""

    def stop() -> None:
        if runner.reactor.running:
            runner.reactor.stop()

    runner.post(stop)
    thread.join(EXIT_SECONDS)
