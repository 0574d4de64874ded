"""Blocking applications in simulated time: their threads run one at a time, and time passes only while all wait.

Owns: the `Runner` of a simulation, what `time.sleep` and the clocks of `time` mean in an application's thread, and the
end of these threads. Must not know calls, channels or the server.

The loop is whatever thread lets simulated time pass. It hands the turn to one application thread, and waits until that
one waits in a verb, sleeps or ends; then it goes on. Who gets the next turn is an event of the simulated clock like any
other, so the order is that of waking, and two runs of the same seed do the same things in the same order.

What an application does beside verbs and sleeping (computing, files) takes no simulated time. A lock, a queue or a
socket that it blocks on can't be seen from here: after ``patience`` real seconds `StuckApplication` names the line.
"""

from __future__ import annotations

import ctypes
import linecache
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

import telephony
from telephony.errors import Error
from telephony.interfaces import DelayedCall
from telephony.runner import Outcome
from telephony.testing.clock import SimulatedClock

T = TypeVar("T")

_log = Logger()

#: How many real seconds an application may go without waiting in a verb or sleeping.
PATIENCE = 5.0
#: How often an application may wait for things that take no time before time has to pass.
MOST_ROUNDS = 10_000
#: What `time.time` says in an application when a simulation begins: 2026-01-01 00:00 UTC.
EPOCH = 1_767_225_600.0
#: How often a thread that has to end is told so before it is given up.
MOST_TELLINGS = 100

_PACKAGE = str(Path(telephony.__path__[0]))
_STDLIB = sysconfig.get_path("stdlib")


class StuckApplication(AssertionError):  # noqa: N818 - what a test says of an application
    """An application neither waits in a verb nor ends; the text names the line at which it stands."""


class SimulationOver(BaseException):
    """Raised in an application's thread, in its verb or at its line, when its test is over; not to be caught there."""


class _Thread:
    """One application thread. ``go`` gives it the turn, ``back`` gives the turn back."""

    __slots__ = ("back", "function", "go", "moment", "name", "over", "rounds", "state", "thread", "wait")

    def __init__(self, name: str, function: Callable[[], object]) -> None:
        self.name = name
        self.function: Callable[[], object] | None = function
        self.go = threading.Semaphore(0)
        self.back = threading.Semaphore(0)
        self.state = "new"  # then "running" and "waiting" by turns, at last "ended"
        self.over = False
        self.wait: _Wait | None = None
        self.moment = 0.0
        self.rounds = 0
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)

    def _work(self) -> None:
        _own.thread = self
        function, self.function = self.function, None
        try:
            assert function is not None
            function()
        except SimulationOver:
            pass
        except BaseException:  # SystemExit of an application included: the thread is not the application's to end
            _log.failure("A function in the application thread {name} raised", name=self.name)
        finally:
            del function
            self.state = "ended"
            self.back.release()

    def ask(self, wait: _Wait) -> Outcome[Any]:
        """In this thread: give the turn back, and return when the wait is over. Raises `SimulationOver`."""
        if self.over:
            raise SimulationOver
        self.wait = wait
        self.state = "waiting"
        self.back.release()
        self.go.acquire()
        self.wait = None
        if self.over:
            raise SimulationOver
        return wait.outcome

    def standing(self) -> str:
        """Return where it stands: the file and line of the application, its source, and the verb it is in."""
        frame = sys._current_frames().get(self.thread.ident or 0)
        where = "before its first line" if frame is None else _line(frame)
        wait = self.wait
        return where if wait is None or self.state != "waiting" else f"{where}, in {wait.name}()"


class _Wait:
    """One wait of one thread: what for, how long at most, and what came of it."""

    __slots__ = ("function", "limit", "name", "outcome", "pending", "timer")

    def __init__(self, name: str, function: Callable[[], Deferred[Any]], limit: float | None) -> None:
        self.name = name
        self.function = function
        self.limit = limit
        self.outcome: Outcome[Any] = Outcome()
        self.pending = False
        self.timer: DelayedCall | None = None


def _line(frame: FrameType) -> str:
    """Name the innermost line that is an application's own: not this package's, not the standard library's."""
    inner: FrameType | None = frame
    found: FrameType | None = None
    library: FrameType | None = None
    while inner is not None and found is None:
        name = inner.f_code.co_filename
        if not name.startswith((_PACKAGE, "<")):
            installed = "site-packages" in name
            if installed or not name.startswith(_STDLIB):
                if installed:
                    library = library or inner
                else:
                    found = inner
        inner = inner.f_back
    shown = found or library or frame
    path, number = shown.f_code.co_filename, shown.f_lineno
    source = linecache.getline(path, number).strip()
    return f"{path}, line {number}, in {shown.f_code.co_name}" + (f": {source}" if source else "")


# -- time, as application threads see it ---------------------------------------------------------------------------


class _Own(threading.local):
    """The application thread that runs here, None in all others."""

    thread: _Thread | None = None


_own = _Own()
_installed = 0
#: What ``time`` has by itself. Threads that are no application's go on using it.
_REAL: dict[str, Callable[..., Any]] = {
    name: getattr(time, name)
    for name in ("sleep", "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")
}


def _simulated(name: str, of: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function of ``time`` that asks the simulation in application threads and is the real one elsewhere."""
    real = _REAL[name]

    @wraps(real)
    def told(*args: Any) -> Any:
        own = _own.thread
        runner = None if own is None else _runners.get(own)
        return real(*args) if runner is None else of(runner, *args)

    return told


def _sleep(runner: SimulatedRunner, seconds: float) -> None:
    if not seconds >= 0:
        raise ValueError("sleep length must be non-negative")
    runner.sleep(seconds)


_runners: dict[_Thread, SimulatedRunner] = {}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sleep": _simulated("sleep", _sleep),
    "time": _simulated("time", lambda runner: runner.wall()),
    "time_ns": _simulated("time_ns", lambda runner: round(runner.wall() * 1e9)),
    "monotonic": _simulated("monotonic", lambda runner: runner.seconds()),
    "monotonic_ns": _simulated("monotonic_ns", lambda runner: round(runner.seconds() * 1e9)),
    "perf_counter": _simulated("perf_counter", lambda runner: runner.seconds()),
    "perf_counter_ns": _simulated("perf_counter_ns", lambda runner: round(runner.seconds() * 1e9)),
}


def _install(by: int) -> None:
    """Count the simulations that want ``time`` to be theirs; the last one puts the real functions back."""
    global _installed
    _installed += by
    for name, function in (_FUNCTIONS if _installed else _REAL).items():
        setattr(time, name, function)


# -- the runner ----------------------------------------------------------------------------------------------------


class SimulatedRunner:
    """The `telephony.runner.Runner` of a simulation; use it in the thread that advances ``clock``, and `close` it.

    From its making until `close`, ``time.sleep``, ``time.time``, ``time.monotonic`` and ``time.perf_counter`` (and
    their ``_ns`` forms) mean simulated time in its application threads; modules that took the functions by name
    (``from time import sleep``) before are not reached. ``patience`` is how many real seconds an application may go
    without a verb; None is for ever, for a debugger. ``epoch`` is what ``time.time`` says at the beginning; ``grace``
    is added to the limits of verbs, in simulated seconds.

    `StuckApplication` comes out of `SimulatedClock.advance` or `run_until` at the moment in which it happens.
    """

    def __init__(
        self,
        clock: SimulatedClock,
        *,
        patience: float | None = PATIENCE,
        epoch: float = EPOCH,
        grace: float = 0.0,
    ) -> None:
        self._clock = clock
        self._began = clock.seconds()
        self._epoch = epoch
        self._grace = grace
        self.patience = patience
        # In the order of starting.
        self._threads: dict[_Thread, None] = {}
        self._closed = False
        _install(1)

    # What an application's thread uses

    def run(self, name: str, function: Callable[[], Deferred[T]], limit: float | None) -> T:
        """See `telephony.runner.Runner.run`; ``limit`` is in simulated seconds."""
        own = _own.thread
        if own is None or own not in self._threads:
            raise Error(
                f"{name}() waits, and in a simulation only application threads can; use the CallChannel verbs here, "
                "which return Deferreds, or Runner.start()"
            )
        outcome: Outcome[T] = own.ask(_Wait(name, function, None if limit is None else limit + self._grace))
        return outcome.get()

    def sleep(self, seconds: float) -> None:
        """In an application's thread: let others go on, and return when ``seconds`` of simulated time have passed."""

        def slept() -> Deferred[None]:
            done: Deferred[None] = Deferred()
            self._clock.callLater(seconds, done.callback, None)
            return done

        self.run("sleep", slept, None)

    def post(self, function: Callable[[], object]) -> None:
        """See `telephony.runner.Runner.post`."""
        own = _own.thread
        if not self._closed and not (own is not None and own.over):
            self._clock.callLater(0, function)

    def start(self, name: str, function: Callable[[], object]) -> None:
        """See `telephony.runner.Runner.start`; its first turn comes after what is to happen at this moment anyway."""
        if self._closed:
            raise Error(f"{name} can't be started: the simulation is over")
        made = _Thread(name, function)
        self._threads[made] = None
        _runners[made] = self
        self._clock.callLater(0, self._turn, made)

    def seconds(self) -> float:
        """See `telephony.runner.Runner.seconds`."""
        return self._clock.seconds()

    def wall(self) -> float:
        """Return the simulated time of day, in seconds since 1970: a simulation begins with the year 2026."""
        return self._epoch + self._clock.seconds() - self._began

    # What a test uses

    def running(self) -> list[str]:
        """Return a line for each application thread that has not ended: its name, and where it stands."""
        return [f"{one.name} at {one.standing()}" for one in self._threads]

    def close(self) -> list[str]:
        """End every thread, and give ``time`` back; harmless when repeated.

        A thread that waits gets `SimulationOver` in its verb, one that runs gets it at its line. Returns a line for
        each that doesn't end even so, because it blocks in something that can't be interrupted.
        """
        if self._closed:
            return []
        self._closed = True
        left = []
        for one in list(self._threads):
            if not self._end(one):
                left.append(f"{one.name} can't be ended; it stands at {one.standing()}")
            self._forget(one)
        _install(-1)
        return left

    # The loop's side

    def _turn(self, one: _Thread) -> None:
        """Let one thread run until it waits for something that takes time, or ends."""
        if one.over or one.state == "ended":
            return
        if one.moment != self._clock.seconds():
            one.moment, one.rounds = self._clock.seconds(), 0
        while True:
            one.rounds += 1
            if one.rounds > MOST_ROUNDS:
                raise StuckApplication(
                    f"{one.name} has gone round {MOST_ROUNDS} times without letting time pass: {one.standing()}"
                )
            if not self._resume(one, self.patience):
                text = f"{one.name} has not waited in a verb or ended for {self.patience:g} real seconds: "
                raise StuckApplication(text + one.standing())
            if one.wait is None:
                self._forget(one)
                one.thread.join(self.patience)
                return
            if not self._begin(one, one.wait):
                return

    @staticmethod
    def _resume(one: _Thread, patience: float | None) -> bool:
        """Give a thread the turn and wait until it gives it back; False when it keeps it too long."""
        new = one.state == "new"
        one.state = "running"
        if new:
            one.thread.start()
        else:
            one.go.release()
        return one.back.acquire(timeout=patience)

    def _begin(self, one: _Thread, wait: _Wait) -> bool:
        """Begin what a thread waits for; True when it has an outcome at once."""

        def tell(result: Any) -> Any:
            if wait.pending:
                self._over(one, wait)
            return result

        wait.outcome.begin(lambda: wait.function().addBoth(tell))
        if wait.outcome.wait(0):
            return True
        wait.pending = True
        if wait.limit is not None:
            wait.timer = self._clock.callLater(wait.limit, self._too_late, one, wait)
        return False

    def _over(self, one: _Thread, wait: _Wait) -> None:
        wait.pending = False
        if wait.timer is not None and wait.timer.active():
            wait.timer.cancel()
        self._clock.callLater(0, self._turn, one)

    def _too_late(self, one: _Thread, wait: _Wait) -> None:
        text = f"{wait.name}() did not end within {wait.limit:g} seconds and has been cancelled"
        wait.outcome.fail(Error(text))
        self._over(one, wait)
        wait.outcome.cancel()

    def _end(self, one: _Thread) -> bool:
        """Make a thread end, and tell whether it did."""
        one.over = True
        wait = one.wait
        if wait is not None and wait.pending:
            wait.pending = False
            if wait.timer is not None and wait.timer.active():
                wait.timer.cancel()
        if one.state == "waiting":
            one.go.release()
        elif one.state == "new":
            return True
        # One that runs has to be told at its line, perhaps again: it may have caught it.
        pause = (PATIENCE if self.patience is None else self.patience) / MOST_TELLINGS
        for _ in range(MOST_TELLINGS):
            one.thread.join(pause)
            if not one.thread.is_alive():
                return True
            told = ctypes.c_ulong(one.thread.ident or 0)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(told, ctypes.py_object(SimulationOver))
        return False

    def _forget(self, one: _Thread) -> None:
        self._threads.pop(one, None)
        _runners.pop(one, None)
