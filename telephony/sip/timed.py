"""What all SIP transactions share of time: one timer each at most, and one for all that only wait (RFC 3261 17).

Owns: when a message is sent again and when that is given up, and the waiting for stragglers. Must not know messages,
nor which machine it is part of. Time comes from the clock it is given.

Timers A and B (E and F, G and H) are one timer that knows which of the two is next. The timers that only wait for
stragglers (D, I, J, K, L, M) all run 64*T1 or T4 and are never stopped early, so all transactions share one timer for
each of the two: `Aftermath`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from telephony.interfaces import Clock, DelayedCall
from telephony.tables import I, Machine, S

if TYPE_CHECKING:
    from telephony.sip.transaction import Transactions


class Aftermath:
    """Transactions waiting out one fixed time, oldest first, on a single timer.

    Tens of thousands wait here on a busy server: nothing is made for any of them that the collector would look at,
    which is why a transaction is itself what is called.
    """

    __slots__ = ("_clock", "_delay", "_due", "_timer", "_waiting")

    def __init__(self, clock: Clock, delay: float) -> None:
        self._clock = clock
        self._delay = delay
        self._due: deque[float] = deque()
        self._waiting: deque[Callable[[], None]] = deque()
        self._timer: DelayedCall | None = None

    def add(self, over: Callable[[], None]) -> None:
        """Call ``over`` when the time has passed."""
        self._due.append(self._clock.seconds() + self._delay)
        self._waiting.append(over)
        if self._timer is None:
            self._timer = self._clock.callLater(self._delay, self._pass)

    def _pass(self) -> None:
        self._timer = None
        # A microsecond of grace: floating-point sums must not make a second timer for the same moment.
        now = self._clock.seconds() + 1e-6
        due, waiting = self._due, self._waiting
        while due and due[0] <= now:
            due.popleft()
            waiting.popleft()()
        if due and self._timer is None:
            self._timer = self._clock.callLater(max(0.0, due[0] - self._clock.seconds()), self._pass)

    def clear(self) -> None:
        """Forget everything, and stop the timer."""
        self._due.clear()
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Timed(Machine[S, I]):
    """A machine with one timer, which sends again at growing intervals until its time is up."""

    __slots__ = ("_deadline", "_interval", "_timer", "layer")

    def __init__(self, layer: Transactions, state: S) -> None:
        super().__init__(state)
        self.layer = layer
        self._timer: DelayedCall | None = None
        self._interval = 0.0
        self._deadline = 0.0

    def _start(self, interval: float, lifetime: float, resend: I, give_up: I) -> None:
        """Set the timer for the first time; an interval of 0 means that nothing is sent again."""
        self._interval = interval
        self._deadline = self.layer.clock.seconds() + lifetime
        self._wait(resend, give_up)

    def _wait(self, resend: I, give_up: I) -> None:
        left = self._deadline - self.layer.clock.seconds()
        last = not self._interval or self._interval >= left - 1e-6
        self._timer = self.layer.clock.callLater(
            max(0.0, left if last else self._interval), self._fire, give_up if last else resend
        )

    def _fire(self, one: I) -> None:
        self._timer = None
        self.feed(one)

    def _stop(self, _: object = None) -> None:
        timer = self._timer
        if timer is not None:
            self._timer = None
            timer.cancel()
