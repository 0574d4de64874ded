"""How a server ends: no new calls, time for those that run, then all hung up; as one table (``api.md`` section 7).

Owns: the phases of the end, their times and their order. Must not know signals, calls or applications: whoever runs
the server tells it what happened, and it tells its `Drained` what to do.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar, Protocol

from twisted.internet.defer import Deferred

from telephony.interfaces import Clock, DelayedCall
from telephony.tables import Machine, Table, ignored

#: Once every call is hung up, applications get this long to notice; then they are left behind.
SECONDS_TO_NOTICE = 2.0
#: A call whose answer was never acknowledged keeps the end waiting for 64*T1 (RFC 3261 15); no longer than this.
SECONDS_TO_HANG_UP = 35.0


class Phase(Enum):
    """How far a server is on its way to its end."""

    OPEN = "calls come in"
    DRAINING = "no new calls, what runs may end"
    HANGING_UP = "what still runs is being hung up"
    LEAVING = "calls are over, applications get a moment to notice"
    CLOSED = "over"


class DrainInput(Enum):
    """What brings a server towards its end."""

    TERMINATE = "somebody wants the server to stop: once kindly, the second time at once"
    HURRY = "the server has to stop at once"
    EMPTY = "no application runs any more"
    TIME_UP = "the time of this phase is over"
    HUNG_UP = "every call is over and every socket closed"


class Drained(Protocol):
    """What is being ended."""

    def idle(self) -> bool:
        """Tell whether no application runs."""

    def hang_up_all(self) -> Deferred[None]:
        """End every call and close the sockets; fires when that is done."""

    def leave_behind(self) -> None:
        """Write the records of applications that still run."""

    def drained(self) -> None:
        """Everything is over."""


def _wait_for_empty(drain: Drain, _value: object) -> None:
    drain.wait(drain.drain_seconds)
    if drain.drained.idle():
        drain.feed(DrainInput.EMPTY)


def _hang_up(drain: Drain, _value: object) -> None:
    drain.wait(SECONDS_TO_HANG_UP)
    drain.drained.hang_up_all().addBoth(lambda _result: drain.feed(DrainInput.HUNG_UP))


def _wait_for_notice(drain: Drain, _value: object) -> None:
    drain.wait(SECONDS_TO_NOTICE)
    if drain.drained.idle():
        drain.feed(DrainInput.EMPTY)


def _finish(drain: Drain, _value: object) -> None:
    drain.wait(None)
    drain.drained.leave_behind()
    drain.drained.drained()


_P, _I = Phase, DrainInput


class Drain(Machine[Phase, DrainInput]):
    """The end of one server. Feed it `DrainInput`; it calls ``drained``."""

    __slots__ = ("_clock", "_timer", "drain_seconds", "drained")

    table: ClassVar[Table[Phase, DrainInput]] = {
        _P.OPEN: {
            _I.TERMINATE: (_P.DRAINING, (_wait_for_empty,)),
            _I.HURRY: (_P.HANGING_UP, (_hang_up,)),
            **ignored(_P.OPEN, _I.EMPTY, _I.TIME_UP, _I.HUNG_UP),
        },
        _P.DRAINING: {
            _I.TERMINATE: (_P.HANGING_UP, (_hang_up,)),
            _I.HURRY: (_P.HANGING_UP, (_hang_up,)),
            _I.EMPTY: (_P.HANGING_UP, (_hang_up,)),
            _I.TIME_UP: (_P.HANGING_UP, (_hang_up,)),
            **ignored(_P.DRAINING, _I.HUNG_UP),
        },
        _P.HANGING_UP: {
            _I.HUNG_UP: (_P.LEAVING, (_wait_for_notice,)),
            _I.TIME_UP: (_P.LEAVING, (_wait_for_notice,)),
            **ignored(_P.HANGING_UP, _I.TERMINATE, _I.HURRY, _I.EMPTY),
        },
        _P.LEAVING: {
            _I.EMPTY: (_P.CLOSED, (_finish,)),
            _I.TIME_UP: (_P.CLOSED, (_finish,)),
            **ignored(_P.LEAVING, _I.TERMINATE, _I.HURRY, _I.HUNG_UP),
        },
        _P.CLOSED: ignored(_P.CLOSED, *_I),
    }

    def __init__(self, clock: Clock, drain_seconds: float, drained: Drained) -> None:
        super().__init__(Phase.OPEN)
        self._clock = clock
        self._timer: DelayedCall | None = None
        self.drain_seconds = drain_seconds
        self.drained = drained

    def wait(self, seconds: float | None) -> None:
        """Limit the present phase, in place of the one before; None for no limit."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if seconds is None else self._clock.callLater(seconds, self.feed, DrainInput.TIME_UP)
