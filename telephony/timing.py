"""Many timers on one: what is asked for is kept here, and the clock below is asked for the earliest only.

Owns: the timers of one user agent, sorted by when they are due, and the one delayed call of the clock beneath. Must not
know what they are for.

Most timers of a telephone call are set in order to be cancelled: an answer is sent again in half a second unless its
ACK comes, a verb has two minutes, a call four hours. A reactor makes an object and sorts it, with comparisons in
Python, for each of them. Here setting one is a push of a tuple, in C, to the end of a heap mostly, and cancelling
forgets what was to be called; the entry goes when its time comes, or when most entries are such. Times are exact: a
timer is due when it was asked to be, and those of one moment run in the order in which they were set.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from telephony.interfaces import Clock, DelayedCall

#: Seconds by which the clock beneath may be early: sums of floating-point numbers must not make a second call for the
#: same moment.
GRACE = 1e-6
#: Cancelled entries are swept when there are more than so many, and more than half of all.
SWEEP_FROM = 256

NEVER = float("inf")


class Timer:
    """One timer; a `telephony.interfaces.DelayedCall`."""

    __slots__ = ("_args", "_function", "_timing", "cancelled")

    def __init__(self, timing: Timing, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._timing = timing
        self._function: Callable[..., object] | None = function
        self._args = args
        self.cancelled = False

    def cancel(self) -> None:
        """Forget the call, and all that it holds. Raises AlreadyCalled or AlreadyCancelled."""
        if self._function is None:
            raise AlreadyCancelled if self.cancelled else AlreadyCalled
        self._function = None
        self._args = ()
        self.cancelled = True
        self._timing._forgotten()

    def active(self) -> bool:
        """Tell whether the call is still to be made."""
        return self._function is not None


class Timing:
    """A `telephony.interfaces.Clock` over another one, which has one delayed call for all timers, none for none."""

    __slots__ = ("_call", "_cancelled", "_clock", "_due", "_heap", "_serial", "seconds")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: The time, in seconds; only differences mean anything.
        self.seconds: Callable[[], float] = clock.seconds
        self._heap: list[tuple[float, int, Timer]] = []
        self._serial = 0
        self._cancelled = 0
        #: The clock's delayed call and when it comes, which may be before any timer is due: cancelling moves nothing.
        self._call: DelayedCall | None = None
        self._due = NEVER

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> Timer:  # noqa: N802
        """Call ``callable(*args)`` after ``delay`` seconds (0 or more)."""
        if not delay >= 0:
            raise ValueError(f"a delay is 0 seconds or more, not {delay!r}")
        time = self.seconds() + delay
        timer = Timer(self, callable, args)
        self._serial = serial = self._serial + 1
        heappush(self._heap, (time, serial, timer))
        if time < self._due:
            self._wind(time, delay)
        return timer

    def __len__(self) -> int:
        """Return how many timers are still to run."""
        return len(self._heap) - self._cancelled

    def timers(self) -> list[tuple[float, Callable[..., object]]]:
        """Return when each is due, by the clock, and what it calls, soonest first."""
        return [(time, timer._function) for time, _, timer in sorted(self._heap) if timer._function is not None]

    def _wind(self, time: float, delay: float) -> None:
        call = self._call
        if call is not None:
            call.cancel()
        self._due = time
        self._call = self._clock.callLater(delay, self._run)

    def _run(self) -> None:
        self._call = None
        # Nothing is wound while timers run: once, at the end, for the earliest of those that are left then.
        self._due = -NEVER
        heap = self._heap
        now = self.seconds()
        # What is set from here on waits for the next turn, be it due at once: timers that set timers must not keep the
        # sockets waiting.
        last = self._serial
        late = now + GRACE
        try:
            while heap:
                time, serial, timer = heap[0]
                function = timer._function
                if function is None:
                    heappop(heap)
                    self._cancelled -= 1
                elif time > late or serial > last:
                    break
                else:
                    heappop(heap)
                    args = timer._args
                    timer._function = None
                    timer._args = ()
                    function(*args)
                    heap = self._heap  # it may have been swept meanwhile
        finally:
            # Also when one raises, which is the clock's to report: the others are not to suffer for it.
            self._due = NEVER
            heap = self._heap
            if heap:
                time = heap[0][0]
                self._wind(time, max(0.0, time - self.seconds()))

    def _forgotten(self) -> None:
        """Count a cancelled timer; sweep when nothing else, or little else, is left."""
        self._cancelled = cancelled = self._cancelled + 1
        left = len(self._heap) - cancelled
        if not left or (cancelled > SWEEP_FROM and cancelled > left):
            self._sweep()

    def _sweep(self) -> None:
        self._heap = [entry for entry in self._heap if entry[2]._function is not None]
        heapify(self._heap)
        self._cancelled = 0
        if not self._heap and self._call is not None:
            self._call.cancel()
            self._call = None
            self._due = NEVER
