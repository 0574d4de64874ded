"""The keys of one leg by INFO: which of those that come count, and those that go out (RFC 4733, RFC 6086; R27).

Owns: that a press which comes both as telephone events and by INFO counts once (`KeysIn`), and that keys leave one
after the other where the far end takes no events (`KeysOut`). Must not know what a key does.

A far end with which telephone events were agreed sends its keys that way, and many such phones send each of them by
INFO as well. So the first event that comes settles it: from then on INFO is answered and does nothing. Until then a key
by INFO waits `HOLD` for its event; when none comes the phone is one that has agreed to events and doesn't send any, and
from then on its INFOs count at once. Where no events were agreed they always do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto

from telephony.interfaces import Clock, DelayedCall
from telephony.sip.info import DTMF_RELAY, format_key
from telephony.sip.session import Session

#: Seconds that the first key by INFO waits for the event of the same press.
HOLD = 0.25
#: How many keys may wait, either way; the newest are dropped beyond that.
MOST = 32


class Heard(Enum):
    """How the far end's keys come."""

    UNKNOWN = auto()
    BY_EVENTS = auto()
    BY_INFO = auto()


class KeysIn:
    """The keys that come on one leg; ``take`` is called with each one by INFO that counts."""

    __slots__ = ("_clock", "_heard", "_take", "_timer", "_waiting")

    def __init__(self, clock: Clock, take: Callable[[str], None]) -> None:
        self._clock = clock
        self._take: Callable[[str], None] | None = take
        self._heard = Heard.UNKNOWN
        self._waiting: list[str] = []
        self._timer: DelayedCall | None = None

    def event(self) -> None:
        """Hear that a key has come as a telephone event."""
        self._heard = Heard.BY_EVENTS
        self._waiting.clear()
        self._stop()

    def info(self, key: str, events_agreed: bool) -> None:
        """Take a key that came by INFO."""
        if self._take is None or self._heard is Heard.BY_EVENTS:
            return
        if self._heard is Heard.BY_INFO or not events_agreed:
            self._take(key)
        elif len(self._waiting) < MOST:
            self._waiting.append(key)
            if self._timer is None:
                self._timer = self._clock.callLater(HOLD, self._settled)

    def _settled(self) -> None:
        self._timer = None
        self._heard = Heard.BY_INFO
        waiting, self._waiting = self._waiting, []
        for key in waiting:
            if self._take is not None:
                self._take(key)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def close(self) -> None:
        """Let go of the leg."""
        self._stop()
        self._take = None


class KeysOut:
    """The keys that leave on one leg by INFO, each once the one before it has its answer, so that none overtakes.

    ``refused`` is called once, with the key that the far end doesn't take that way and those behind it, in order; from
    then on `send` says no.
    """

    __slots__ = ("_busy", "_refused", "_session", "_waiting")

    def __init__(self, session: Session, refused: Callable[[str], None]) -> None:
        self._session: Session | None = session
        self._refused: Callable[[str], None] | None = refused
        self._waiting: deque[str] = deque()
        self._busy = ""

    def send(self, key: str) -> bool:
        """Send a key, or say that it has to go another way."""
        if self._session is None or len(self._waiting) >= MOST:
            return False
        self._waiting.append(key)
        self._next()
        return True

    def _next(self) -> None:
        if self._session is not None and not self._busy and self._waiting:
            self._busy = self._waiting.popleft()
            self._session.inform(DTMF_RELAY, format_key(self._busy), self._answered)

    def _answered(self, status: int) -> None:
        key, self._busy = self._busy, ""
        if 200 <= status < 300:
            self._next()
            return
        refused, keys = self._refused, "".join((key, *self._waiting))
        self.close()
        if refused is not None:
            refused(keys)

    def close(self) -> None:
        """Let go of the leg."""
        self._session = self._refused = None
        self._waiting.clear()
