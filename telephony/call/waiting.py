"""Waiting for a state of a channel: who waits for which, and what they are told.

Owns: the channel's state, the waits for it, and that their outcome is settled at once and delivered later. Must not
know what moves the state.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from telephony.call.belongings import Belongings
from telephony.call.constants import State
from telephony.call.verbs import Wait
from telephony.interfaces import Clock

if TYPE_CHECKING:
    from telephony.call.exchange import Exchange


_IDLE = frozenset({State.IDLE})


class Waiting(Belongings):
    """The part of a channel that is waited for."""

    __slots__ = ("_exchange", "_state", "_waits")

    def __init__(self, exchange: Exchange) -> None:
        super().__init__()
        self._exchange = exchange
        self._state = State.IDLE
        self._waits: list[tuple[frozenset[State], Wait[State]]] = []

    @property
    def clock(self) -> Clock:
        """The exchange's clock."""
        return self._exchange.clock

    @property
    def exchange(self) -> Exchange:
        """The exchange this channel belongs to."""
        return self._exchange

    def _tell_who_waits(self, new: State) -> None:
        """Settle the waits for a state that has come."""
        if not self._waits:
            return
        due = [wait for until, wait in self._waits if new in until]
        if due:
            self._waits = [(until, wait) for until, wait in self._waits if new not in until]
            for wait in due:
                self._exchange.soon(partial(wait.claim(), new))

    def until_idle(self, seconds: float | None = None) -> Deferred[State]:
        """Promise the state when the call is over or the time is up."""
        return self._wait_only(_IDLE, seconds)

    def _wait(
        self,
        until: frozenset[State],
        seconds: float | None,
        expired: Callable[[], None],
        cancelled: Callable[[], None],
    ) -> Deferred[State]:
        """Promise the state as it will be when it is one of ``until``; at once when it is now."""
        if self._state in until:
            return succeed(self._state)
        wait: Wait[State] = Wait(self.clock, seconds, expired, lambda: self._forget(wait, cancelled))
        self._waits.append((until, wait))
        return wait.promise()

    def _wait_only(self, until: frozenset[State], seconds: float | None) -> Deferred[State]:
        """Promise the state when it is one of ``until`` or the time is up; waiting and giving up change nothing."""
        if self._state in until or seconds == 0:
            return succeed(self._state)

        def expired() -> None:
            self._waits = [(states_, one) for states_, one in self._waits if one is not wait]
            wait.claim()(self._state)

        wait: Wait[State] = Wait(self.clock, seconds, expired, lambda: self._forget(wait, self._nothing))
        self._waits.append((until, wait))
        return wait.promise()

    def _forget(self, wait: Wait[State], undo: Callable[[], None]) -> None:
        self._waits = [(until, one) for until, one in self._waits if one is not wait]
        wait.claim()
        undo()

    @staticmethod
    def _nothing() -> None:
        """Undo nothing: the verb only waited."""
