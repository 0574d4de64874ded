"""When Python looks for circles of garbage: not in the middle of calls, where everything would wait for it.

Owns: the settings of the process's cyclic garbage collector while a server runs. Must not know calls: it is told
whether it is quiet. Nothing here is done unless somebody asks for it: a program that imports `telephony` has its own
opinion.

What a call leaves behind is freed by counting references, at once: there is no circle in it, and tests hold that. So
the collector finds nothing; but in the usual settings it goes on looking at everything that is alive, and under a
thousand calls a second that is half a million objects, most of them transactions waiting out their 32 s, and a tenth of
a second without a packet sent or read. Here the young are looked at as ever, in small portions (applications may make
circles), and once a second in any case: while as many old objects go as new ones come, Python sees no reason to, and
would look at half a minute's objects when it does. All that has lived for a while is looked at only when it is quiet,
or when memory has grown so much that there may be garbage in it after all; then the log says how long that took.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from time import perf_counter

from twisted.logger import Logger

from telephony.interfaces import Clock, DelayedCall

_log = Logger()

#: How many objects more there are than at the last look before the young are looked at: there may be ten times as many
#: young ones, when as many old ones have gone meanwhile, and to look at them takes some milliseconds.
#: Those that survive one look aren't looked at again before it is quiet: they live for 32 s mostly, and to look at them
#: ten times took as long as everything else that the collector does.
YOUNG = 1_000
#: How often it is seen whether it is quiet, in seconds.
EVERY = 10.0
#: How often the young are looked at in any case, and put where nobody looks, in seconds.
SETTLE = 1.0
#: So many blocks of memory more than twice what the last full collection left mean that garbage may be piling up.
ROOM = 3_000_000

_NEVER = 2**31 - 1


class Governor:
    """Governs the collector from `start` to `stop`. ``quiet`` tells whether a pause would hurt nobody now.

    ``longest`` is the longest pause since `start`, in seconds; ``full`` how many full collections there were.
    """

    def __init__(self, clock: Clock, quiet: Callable[[], bool]) -> None:
        self._clock = clock
        self._quiet = quiet
        self._before: tuple[int, int, int] | None = None
        self._timer: DelayedCall | None = None
        self._settling: DelayedCall | None = None
        self._began = 0.0
        self._blocks = 0
        self._seen = 0
        self.longest = 0.0
        self.full = 0

    def start(self) -> None:
        """Collect once, let everything that is there be looked at never again, and govern from now on."""
        if self._before is not None:
            return
        self._before = gc.get_threshold()
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG, _NEVER, _NEVER)
        self._blocks = sys.getallocatedblocks()
        self._seen = self._looks()
        gc.callbacks.append(self._collecting)
        self._timer = self._clock.callLater(EVERY, self._look)
        self._settling = self._clock.callLater(SETTLE, self._settle)

    def stop(self) -> None:
        """Leave the collector as it was found. Harmless when it isn't governed."""
        if self._before is None:
            return
        gc.callbacks.remove(self._collecting)
        gc.set_threshold(*self._before)
        gc.unfreeze()
        self._before = None
        for timer in (self._timer, self._settling):
            if timer is not None:
                timer.cancel()
        self._timer = self._settling = None

    @staticmethod
    def _looks() -> int:
        """Return how often the young were looked at: whether anything has happened since."""
        return int(gc.get_stats()[0]["collections"])

    def _collecting(self, phase: str, _info: dict[str, int]) -> None:
        if phase == "start":
            self._began = perf_counter()
        else:
            self.longest = max(self.longest, perf_counter() - self._began)

    def _settle(self) -> None:
        """Look at what has come in the last second; what is still in use is put aside, which takes no time.

        Not when it is quiet: there is nothing new then, and everything will be looked at.
        """
        self._settling = self._clock.callLater(SETTLE, self._settle)
        if not self._quiet():
            gc.collect(0)
            gc.freeze()

    def _look(self) -> None:
        self._timer = self._clock.callLater(EVERY, self._look)
        looks = self._looks()
        if self._quiet():
            if looks != self._seen:
                self._collect()
        elif sys.getallocatedblocks() > 2 * self._blocks + ROOM:
            began = perf_counter()
            found = self._collect()
            _log.warn(
                "Memory has grown so much that garbage was looked for in the middle of calls: {found} objects found, "
                "for {milliseconds} ms nothing else was done",
                found=found,
                milliseconds=round(1000 * (perf_counter() - began)),
            )

    def _collect(self) -> int:
        gc.unfreeze()
        found = gc.collect()
        gc.freeze()
        self.full += 1
        self._blocks = sys.getallocatedblocks()
        self._seen = self._looks()
        return found
