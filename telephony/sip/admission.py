"""New calls wait their turn behind everything else, and are refused where that takes too long (RFC 3261 21.5.4).

Owns: the queue of requests that would begin a call, how many of them are taken up in a turn of the reactor, and the
judgement that this machine is overloaded. Must not know what a request looks like, how it is taken up, nor how it is
refused: it is given a function for each. Time comes from the clock it is given.

What serves the calls there are (their ACK, BYE, responses, timers, media) goes first, always. What is left of the time
goes to new calls, in the order in which they came. That alone keeps a server from promising more than it can hold; but
under too many calls the queue would grow until every caller has given up. So a call that has waited for longer than the
*patience* is refused with 503 in the place of being taken up, which costs a tenth of a call or less. There is no rate
to be configured or estimated: as long as anybody waits, every moment that nobody else needs goes to a call that is
taken up, and what can't be had in time is refused. The patience is shorter than T1, so that callers don't repeat
themselves. It is twice as long while the queue isn't older than `STANDING`: then the machine has been held up once, by
whatever it was, and who waited meanwhile can still be taken up at once.

A turn of the reactor must not be long either, since packets of audio wait for its end: `SLICE` seconds go to new calls
(their applications take twice that in the same turn), and none when everything else took longer than `FULL` since the
last one: what makes the machine late then are the calls that are there.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.logger import Logger

from telephony.interfaces import Clock, DelayedCall

T = TypeVar("T")

_log = Logger()

#: Seconds that a new call may wait for, unless it is set otherwise; less than half of T1.
PATIENCE = 0.2
#: Seconds of one turn of the reactor that new calls may take. Not less than that however much else there is to do: a
#: share that shrinks with the load would be what limits how many calls are answered.
SLICE = 0.0025
#: Seconds of everything else in one turn beyond which none is taken up.
FULL = 0.1
#: Seconds for which somebody must have waited at any time, before it is too many calls and not a hiccup.
STANDING = 1.0
#: How many may wait; beyond that a new one is refused at once.
MOST_WAITING = 8192
#: Seconds without a refusal after which the overload is over.
CALM = 5.0


class Admission(Generic[T]):
    """The queue of new calls of one user agent.

    ``take`` begins one, ``refuse`` refuses one; neither may raise. ``patience`` is in seconds, 0: nobody is refused.
    ``counters`` gets ``calls_put_off`` and ``overloads``.
    """

    __slots__ = (
        "_calm",
        "_clock",
        "_counters",
        "_ended",
        "_more",
        "_refuse",
        "_refused",
        "_refused_at",
        "_since",
        "_take",
        "_turn",
        "_waiting",
        "patience",
    )

    def __init__(
        self,
        clock: Clock,
        counters: Counter[str],
        take: Callable[[T], None],
        refuse: Callable[[T], None],
        patience: float = PATIENCE,
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._take = take
        self._refuse = refuse
        self.patience = patience
        #: When each came, and what it is.
        self._waiting: deque[tuple[float, T]] = deque()
        #: Since when somebody has waited at any time.
        self._since = 0.0
        #: The next turn, while somebody waits for it; and when the last one ended.
        self._turn: DelayedCall | None = None
        self._ended = 0.0
        #: Whether more than new calls may wait unread.
        self._more = False
        #: How many have been refused since the overload began, and when the last one was.
        self._refused = 0
        self._refused_at = 0.0
        self._calm: DelayedCall | None = None

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._waiting)

    @property
    def overloaded(self) -> bool:
        """Whether calls have been refused lately."""
        return self._calm is not None

    def offer(self, call: T) -> None:
        """Let a new call wait for its turn, which is at the next `turn`."""
        if len(self._waiting) >= MOST_WAITING:
            self._put_off(call, self._clock.seconds())
        else:
            now = self._clock.seconds()
            if not self._waiting:
                self._since = now
            self._waiting.append((now, call))

    def follow(self, message: T) -> None:
        """Let a message wait behind the calls that came before it; it is never refused."""
        self._waiting.append((float("inf"), message))

    def turn(self, more: bool = False) -> None:
        """Take up what waits, as far as there is time: everything more urgent that was there has been dealt with.

        ``more`` tells that this isn't quite so: not all has been read that has come.
        """
        self._more = more
        if self._turn is None and self._waiting:
            self._work(True)

    def _again(self) -> None:
        self._turn = None
        # Since the last turn's end somebody has waited: this is what everything else took.
        others = self._clock.seconds() - self._ended
        # It counts once: were there more to be read, it would have been looked at between two turns.
        more, self._more = self._more, False
        self._work(not more and others <= FULL)

    def _work(self, taking: bool) -> None:
        """Refuse those who have waited for too long, then take others up, if ``taking``, one at least."""
        waiting = self._waiting
        seconds = self._clock.seconds
        now = seconds()
        # Refusals take time, too: as much again, at most. Who is to be refused then has its turn later.
        until = now + SLICE
        patience = self.patience or float("inf")
        if now - self._since < STANDING:
            patience *= 2
        while waiting and now - waiting[0][0] > patience and now < until:
            self._put_off(waiting.popleft()[1], now)
            now = seconds()
        until = now + SLICE
        while taking and waiting and now - waiting[0][0] <= patience:
            self._take(waiting.popleft()[1])
            now = seconds()
            taking = now < until
        self._ended = now
        if waiting:
            self._turn = self._clock.callLater(0, self._again)

    def _put_off(self, call: T, now: float) -> None:
        self._counters["calls_put_off"] += 1
        self._refused += 1
        self._refused_at = now
        if self._calm is None:
            self._calm = self._clock.callLater(CALM, self._look)
            self._counters["overloads"] += 1
            _log.warn(
                "Overloaded: new calls wait for longer than {patience:g} s and are refused with 503 until that is over",
                patience=self.patience,
            )
        self._refuse(call)

    def _look(self) -> None:
        self._calm = None
        left = self._refused_at + CALM - self._clock.seconds()
        if left > 1e-6:
            self._calm = self._clock.callLater(left, self._look)
            return
        refused, self._refused = self._refused, 0
        _log.warn("No longer overloaded: {refused} new calls have been refused", refused=refused)

    def close(self) -> None:
        """Forget who waits, and stop looking."""
        self._waiting.clear()
        for timer in (self._turn, self._calm):
            if timer is not None:
                timer.cancel()
        self._turn = self._calm = None
