"""``DTMFDetector`` and ``DTMFPlayer``: digits in and out (``api.md`` section 6; RFC 4733).

Owns: the buffer of digits between calls of `get_digits`, its limits and causes; which digits may be sent. Must not
know how a press is found in RTP (`telephony.rtp.telephony_event`'s business).
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import Deferred, succeed

from telephony.call.resources.job import Job, JobCause, JobState, Resource
from telephony.call.verbs import Wait, check_seconds, open_verb
from telephony.errors import Error
from telephony.interfaces import DelayedCall
from telephony.media.players import DigitsSource

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore

DIGITS = frozenset("0123456789ABCD*#")
#: Digits kept while nobody asks for them; the oldest give way.
BUFFER = 256


class DTMFDetector(Resource):
    """Collects the keys that the far end presses; each press once, however often it was sent."""

    __slots__ = ("_between", "_buffer", "_cause", "_count", "_end", "_pause", "_taken", "_wait")

    Cause = JobCause

    def __init__(self, channel: ChannelCore) -> None:
        super().__init__(channel)
        self._cause = JobCause.NONE
        self._buffer: deque[str] = deque(maxlen=BUFFER)
        self._wait: Wait[str] | None = None
        self._taken = ""
        self._count = 0
        self._end: frozenset[str] = frozenset()
        self._between: float | None = None
        self._pause: DelayedCall | None = None

    @property
    def waiting(self) -> bool:
        """Whether a `get_digits` waits for keys now."""
        return self._wait is not None and not self._wait.over

    def cause(self) -> JobCause:
        """Return why the last `get_digits` ended."""
        return self._cause

    def clear_digits(self) -> None:
        """Forget the digits that were pressed and not asked for yet."""
        self._buffer.clear()

    @open_verb
    def get_digits(
        self,
        clear: bool = False,
        count: int = 0,
        seconds_predigits_timeout: float | None = 0,
        seconds_interdigit_timeout: float | None = 5,
        end: str | set[str] | frozenset[str] | None = None,
        seconds_timeout: float | None = None,
    ) -> Deferred[str]:
        """Collect digits; fires with them as a string, without the terminating one, and never fails on a hang-up.

        Ends with cause COUNT at ``count`` digits (0: no limit), END at one of ``end``, TIMEOUT when no first digit
        came within ``seconds_predigits_timeout`` (0: only what is buffered already), no further one within
        ``seconds_interdigit_timeout``, or at ``seconds_timeout``; HANGUP when the call ended.
        """
        wanted = self._check(count, end)
        check_seconds("seconds_predigits_timeout", seconds_predigits_timeout)
        check_seconds("seconds_interdigit_timeout", seconds_interdigit_timeout)
        check_seconds("seconds_timeout", seconds_timeout)
        self._channel.require_media("get_digits()", transmits=False)
        if self._wait is not None:
            raise Error("get_digits() is running on this channel already; wait for it to end")
        if clear:
            self._buffer.clear()
        self._cause = JobCause.NONE
        self._taken, self._count, self._end, self._between = "", count, wanted, seconds_interdigit_timeout
        ended = self._take_buffered()
        if ended is not None or seconds_predigits_timeout == 0 or seconds_timeout == 0:
            self._cause = ended or JobCause.TIMEOUT
            return succeed(self._taken)
        self._wait = Wait(self._channel.clock, seconds_timeout, self._time_up, self._given_up)
        self._pause_for(self._between if self._taken else seconds_predigits_timeout)
        self._channel.audio_needed()
        return self._wait.promise()

    @staticmethod
    def _check(count: object, end: object) -> frozenset[str]:
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise Error(f"count={count!r} is no number of digits; give 0 (no limit) or more")
        if end is None:
            return frozenset()
        if not isinstance(end, str | set | frozenset | list | tuple):
            raise Error(f"end={end!r} is no set of digits; give some of 0-9, A-D, * and #, like '#'")
        wanted = frozenset(end)
        strange = sorted(str(one) for one in wanted if one not in DIGITS)
        if strange:
            raise Error(f"end={end!r}: {strange[0]!r} is no digit; allowed are 0-9, A-D, * and #")
        return wanted

    def _take_buffered(self) -> JobCause | None:
        while self._buffer:
            ended = self._take(self._buffer.popleft())
            if ended is not None:
                return ended
        return None

    def _take(self, digit: str) -> JobCause | None:
        if digit in self._end:
            return JobCause.END
        self._taken += digit
        return JobCause.COUNT if self._count and len(self._taken) >= self._count else None

    def pressed(self, digit: str) -> None:
        """Take a press: into the running `get_digits`, or into the buffer."""
        if not self.waiting:
            self._buffer.append(digit)
            return
        ended = self._take(digit)
        if ended is None:
            self._pause_for(self._between)
        else:
            self._finish(ended)

    def hung_up(self) -> None:
        """The call is over: a running `get_digits` returns what it has."""
        if self.waiting:
            self._finish(JobCause.HANGUP)

    def forget(self) -> None:
        """A new call begins: the buffer is emptied."""
        self._buffer.clear()
        self._cause = JobCause.NONE

    def _pause_for(self, seconds: float | None) -> None:
        if self._pause is not None and self._pause.active():
            self._pause.cancel()
        self._pause = None if seconds is None else self._channel.clock.callLater(seconds, self._time_up)

    def _time_up(self) -> None:
        self._finish(JobCause.TIMEOUT)

    def _finish(self, cause: JobCause) -> None:
        wait = self._wait
        if wait is None:
            return
        self._wait = None
        self._pause_for(None)
        self._cause = cause
        self._channel.exchange.soon(partial(wait.claim(), self._taken))

    def _given_up(self) -> None:
        # What was collected so far goes back: a cancelled verb loses no digit.
        wait, self._wait = self._wait, None
        self._pause_for(None)
        if wait is not None:
            wait.claim()
        self._buffer.extendleft(reversed(self._taken))
        self._cause = JobCause.ABORTED


class DTMFPlayer(Job):
    """Sends digits as RFC 4733 events; where the far end takes none, by INFO if it allows that, else as tones."""

    __slots__ = ()

    name: ClassVar[str] = "digits being sent"

    @open_verb
    def play(self, digits: str) -> Deferred[JobCause]:
        """Send 1 to 32 of ``0-9 A-D * #`` and commas (half a second each); fires with the cause when all are out."""
        self._start("DTMFPlayer.play()", digits)
        return self._outcome()

    @open_verb
    def start(self, digits: str) -> Deferred[JobState]:
        """Begin to send digits; fires at once."""
        self._start("DTMFPlayer.start()", digits)
        return succeed(self.state())

    def _start(self, name: str, digits: str) -> None:
        allowed = "give 1 to 32 of 0-9, A-D, *, # and commas for half a second's pause"
        text = digits.upper() if isinstance(digits, str) else ""
        if not 1 <= len(text) <= 32 or any(one not in DIGITS and one != "," for one in text):
            raise Error(f"digits={digits!r} can't be sent; {allowed}")
        leg = self._channel.require_media(name, transmits=True)
        self._check_free(name)
        assert leg.endpoint is not None
        self._begin(False, None)
        leg.endpoint.play(DigitsSource(text, signal=leg.endpoint.signal), self._played)

    def _played(self) -> None:
        self._finish(JobCause.NORMAL)
