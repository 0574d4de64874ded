"""Simulated time: a clock whose timers run in one deterministic order, as fast as the machine can.

Owns: simulated time and the timers set on it. Must not know what they are for. Provides what the product needs of
Twisted's ``IReactorTime`` and ``IDelayedCall``, so that ``Deferred.addTimeout`` and ``LoopingCall`` work on it too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.python.failure import Failure

from telephony.timing import Timing

T = TypeVar("T")


class NeverHappened(AssertionError):  # noqa: N818 - what a test says, not an error of anybody's
    """What a test waited for did not come: in the time given, or because nothing was left that could bring it."""


class SimulatedTimer:
    """A timer on a `SimulatedClock`; provides Twisted's ``IDelayedCall``."""

    __slots__ = ("_args", "_clock", "_function", "_serial", "_time", "called", "cancelled")

    def __init__(self, clock: SimulatedClock, time: float, function: Callable[..., object], args: Any) -> None:
        self._clock = clock
        self._time = time
        self._function: Callable[..., object] | None = function
        self._args = args
        self._serial = 0
        self.cancelled = False
        self.called = False

    def cancel(self) -> None:
        """Forget the call. Raises AlreadyCalled or AlreadyCancelled."""
        self._demand_active()
        self.cancelled = True
        # What was to be called is let go at once: a cancelled 32 s timer must not keep a call's objects alive.
        self._function = None
        self._args = ()
        self._clock._forgotten()

    def active(self) -> bool:
        """Tell whether the call is still to be made."""
        return self._function is not None

    def getTime(self) -> float:  # noqa: N802 - Twisted's name
        """Return when the call is to be made, in the clock's seconds."""
        return self._time

    def reset(self, seconds: float) -> None:
        """Make the call ``seconds`` from now instead. Raises as `cancel` does."""
        self._demand_active()
        self._clock._move(self, self._clock.seconds() + seconds)

    def delay(self, seconds: float) -> None:
        """Make the call ``seconds`` later than it was to be made. Raises as `cancel` does."""
        self._demand_active()
        self._clock._move(self, self._time + seconds)

    def _demand_active(self) -> None:
        if self.cancelled:
            raise AlreadyCancelled
        if self.called:
            raise AlreadyCalled

    def __repr__(self) -> str:
        state = "cancelled" if self.cancelled else "called" if self.called else f"at {self._time:.3f}"
        return f"<timer {state}: {named(self._function) if self._function else ''}>"


def named(function: Callable[..., object]) -> str:
    """Return a name for a callable that a person can find in the source."""
    inner = getattr(function, "func", None)
    if inner is not None:
        return named(inner)
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', None) or '?'}.{name}"


class SimulatedClock:
    """Time that passes only when a test says so.

    Timers for the same moment run in the order in which they were set. What a timer's function raises comes out of
    `advance` or `run_until`: in a simulation an exception that nobody caught is a failure of the test at that moment.

    Time starts at 1000 seconds, so that code which takes 0 for "never" or a time for a truth value is found out.
    """

    __slots__ = ("_cancelled", "_heap", "_now", "_running", "_serial")

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        # (time, serial, function, args), or (time, serial, None, SimulatedTimer) where somebody holds the timer.
        self._heap: list[tuple[float, int, Callable[..., object] | None, Any]] = []
        self._serial = 0
        self._cancelled = 0
        self._running = False

    def seconds(self) -> float:
        """Return the simulated time in seconds."""
        return self._now

    def callLater(  # noqa: N802 - Twisted's name
        self, delay: float, callable: Callable[..., object], *args: Any, **keywords: Any
    ) -> SimulatedTimer:
        """Call ``callable(*args, **keywords)`` after ``delay`` seconds (0 or more)."""
        if not delay >= 0:
            raise ValueError(f"a delay is 0 seconds or more, not {delay!r}")
        function = partial(callable, **keywords) if keywords else callable
        timer = SimulatedTimer(self, self._now + delay, function, args)
        self._serial = timer._serial = serial = self._serial + 1
        heappush(self._heap, (timer._time, serial, None, timer))
        return timer

    def at(self, time: float, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        """Call ``function(*args)`` at ``time``, with no way to take it back: the cheap way, for packets."""
        self._serial = serial = self._serial + 1
        heappush(self._heap, (time, serial, function, args))

    def getDelayedCalls(self) -> list[SimulatedTimer]:  # noqa: N802 - Twisted's name
        """Return the timers that are still to run, soonest first; packets on their way are not among them."""
        found = [(e[0], e[1], e[3]) for e in self._heap if e[2] is None and e[3].active() and e[3]._serial == e[1]]
        return [timer for _, _, timer in sorted(found, key=lambda one: one[:2])]

    def leftovers(self) -> list[str]:
        """Return one line for each timer still to run: in how many seconds, and what it would call."""
        found: list[tuple[float, Callable[..., object]]] = []
        for timer in self.getDelayedCalls():
            assert timer._function is not None
            owner = getattr(timer._function, "__self__", None)
            # What stands for many timers is shown as those.
            found += owner.timers() if isinstance(owner, Timing) else [(timer.getTime(), timer._function)]
        return [f"in {time - self._now:.3f} s: {named(function)}" for time, function in found]

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass, running what falls due, also what is set meanwhile."""
        self._enter()
        try:
            end = self._now + seconds
            heap = self._heap
            while heap and heap[0][0] <= end:
                time, serial, function, args = heappop(heap)
                if function is None:
                    if args._serial != serial:
                        continue
                    function = args._function
                    if function is None:
                        self._cancelled -= 1
                        continue
                    self._now = time
                    args = self._called(args)
                else:
                    self._now = time
                function(*args)
                heap = self._heap
            self._now = end
        finally:
            self._running = False

    def run_until(self, what: Deferred[T] | Callable[[], object], limit: float = 3600.0) -> T:
        """Let time pass until ``what`` has happened, and no longer; return its result.

        ``what`` is a Deferred (its failure is raised) or a function that is asked after each event until it returns
        something true. Raises `NeverHappened` after ``limit`` seconds, or at once when no timer and no packet is left.
        """
        results: list[Any] = []
        if isinstance(what, Deferred):
            what.addBoth(results.append)
            outcome: Callable[[], object] = results.__len__
        else:
            outcome = what
        self._enter()
        try:
            end = self._now + limit
            while not (value := outcome()):
                if not self._step(end):
                    empty = not self._heap
                    reason = "nothing is left that could happen" if empty else f"not within {limit:g} simulated seconds"
                    raise NeverHappened(f"{what!r}: {reason}")
        finally:
            self._running = False
        if not isinstance(what, Deferred):
            return cast(T, value)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return cast(T, results[0])

    def _enter(self) -> None:
        if self._running:
            raise RuntimeError("time is passing already: a timer's function can't advance the clock that runs it")
        self._running = True

    def _step(self, end: float) -> bool:
        """Run the next event, if there is one until ``end``."""
        while self._heap:
            if self._heap[0][0] > end:
                self._now = end
                return False
            time, serial, function, args = heappop(self._heap)
            if function is None:
                if args._serial != serial:
                    continue
                function = args._function
                if function is None:
                    self._cancelled -= 1
                    continue
                self._now = time
                args = self._called(args)
            else:
                self._now = time
            function(*args)
            return True
        return False

    @staticmethod
    def _called(timer: SimulatedTimer) -> Any:
        args = timer._args
        timer.called = True
        timer._function = None
        timer._args = ()
        return args

    def _forgotten(self) -> None:
        """Count a cancelled timer; once they are most of the heap, sweep it."""
        self._cancelled += 1
        if self._cancelled > 64 and self._cancelled * 2 > len(self._heap):
            self._heap = [e for e in self._heap if e[2] is not None or (e[3].active() and e[3]._serial == e[1])]
            heapify(self._heap)
            self._cancelled = 0

    def _move(self, timer: SimulatedTimer, time: float) -> None:
        """Set a timer anew; the old entry of the heap is known as stale by its serial number."""
        self._serial = timer._serial = serial = self._serial + 1
        timer._time = time
        heappush(self._heap, (time, serial, None, timer))
