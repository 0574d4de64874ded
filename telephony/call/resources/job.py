"""What all media jobs share: one at a time per resource, a cause when it is over, and somebody who may wait for it.

Owns: a job's life from start to its one cause. Must not know what any job does with audio.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import Deferred, succeed

from telephony.call.constants import Word
from telephony.call.verbs import Wait, check_seconds, open_verb
from telephony.errors import Error, Hangup
from telephony.interfaces import DelayedCall

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore
    from telephony.call.recorder import CallRecording


class JobCause(Word):
    """How a media job ended; NONE before the first one and while one runs."""

    NONE = "none"
    NORMAL = "normal"
    ERROR = "error"
    HANGUP = "hangup"
    TIMEOUT = "timeout"
    BARGEIN = "bargein"
    ABORTED = "aborted"
    SILENCE = "silence"
    SIZE = "size"
    COUNT = "count"
    END = "end"


class JobState(Word):
    """Whether a resource has a job."""

    IDLE = "idle"
    ACTIVE = "active"


class Resource:
    """What belongs to a channel, and knows it.

    Weakly: a channel goes with its last user then, at once, and waits for no garbage collector, whose pauses other
    calls would hear.
    """

    __slots__ = ("__weakref__", "_to_channel")

    def __init__(self, channel: ChannelCore) -> None:
        self._to_channel = weakref.ref(channel)

    @property
    def _channel(self) -> ChannelCore:
        channel = self._to_channel()
        if channel is None:
            raise Hangup("the channel that this belongs to is gone")
        return channel

    @property
    def recording(self) -> CallRecording | None:
        """What is kept of the channel's call; for verbs."""
        channel = self._to_channel()
        return None if channel is None else channel.recording


class Job(Resource):
    """A resource of a channel that does one job at a time."""

    __slots__ = ("_active", "_barge_in", "_cause", "_limit", "_waits")

    Cause = JobCause
    State = JobState
    #: The resource's name in sentences.
    name: ClassVar[str] = "a media job"
    #: Whether it sends audio: one such job at a time per channel.
    transmits: ClassVar[bool] = True
    #: Whether a transfer may not start while it runs.
    bars_transfer: ClassVar[bool] = True

    def __init__(self, channel: ChannelCore) -> None:
        super().__init__(channel)
        self._cause = JobCause.NONE
        self._active = False
        self._barge_in = False
        self._limit: DelayedCall | None = None
        self._waits: list[Wait[JobCause]] = []

    def cause(self) -> JobCause:
        """Return how the last job ended; NONE before the first and while one runs."""
        return self._cause

    def state(self) -> JobState:
        """Return ACTIVE while a job runs, else IDLE."""
        return JobState.ACTIVE if self._active else JobState.IDLE

    @open_verb
    def stop(self) -> Deferred[JobCause]:
        """End the job (cause ABORTED); fires with its cause, at once. Harmless when none runs."""
        self._finish(JobCause.ABORTED)
        return succeed(self._cause)

    @open_verb
    def wait_until_finished(self, seconds_timeout: float | None = None) -> Deferred[JobCause]:
        """Wait for the job's end, or until the time is up (it goes on then, and the cause is still NONE)."""
        check_seconds("seconds_timeout", seconds_timeout)
        if not self._active or seconds_timeout == 0:
            return succeed(self._cause)
        return self._wait(seconds_timeout, stop_on_cancel=False)

    # -- for the channel -----------------------------------------------------------------------------------------

    def hung_up(self) -> None:
        """The call is over."""
        self._finish(JobCause.HANGUP)

    def pressed(self, digit: str) -> None:
        """A key was pressed: it ends a job that may be barged into."""
        if self._barge_in:
            self._finish(JobCause.BARGEIN)

    # -- for the resources ---------------------------------------------------------------------------------------

    def _check_free(self, name: str) -> None:
        if self._active:
            raise Error(f"{name} can't start: {self.name} has a job already; stop() it or wait for its end")

    def _begin(self, barge_in: bool, seconds: float | None) -> None:
        self._active = True
        self._cause = JobCause.NONE
        self._barge_in = barge_in
        self._channel.start_job(self)
        if seconds is not None:
            self._limit = self._channel.clock.callLater(seconds, self._finish, JobCause.TIMEOUT)

    def _outcome(self) -> Deferred[JobCause]:
        """Promise the cause to the verb that began the job; cancelling it stops the job."""
        return self._wait(None, stop_on_cancel=True) if self._active else succeed(self._cause)

    def _wait(self, seconds: float | None, stop_on_cancel: bool) -> Deferred[JobCause]:
        def expired() -> None:
            self._waits.remove(wait)
            wait.claim()(self._cause)

        def cancelled() -> None:
            self._waits.remove(wait)
            wait.claim()
            if stop_on_cancel:
                self._finish(JobCause.ABORTED)

        wait: Wait[JobCause] = Wait(self._channel.clock, seconds, expired, cancelled)
        self._waits.append(wait)
        return wait.promise()

    def _finish(self, cause: JobCause, error: Error | None = None) -> None:
        """End the job once: stop its audio, note the cause, then tell who waits."""
        if not self._active:
            return
        self._active = False
        self._cause = cause
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None
        stopped = self._stop_audio()
        self._channel.end_job(self)
        waits, self._waits = self._waits, []
        outcomes = [wait.claim() for wait in waits]
        # Not by the channel: that may be gone by the time a file is complete.
        soon = self._channel.exchange.soon

        def tell(_none: None = None) -> None:
            for outcome in outcomes:
                soon(partial(outcome, error or cause))

        if stopped is None:
            tell()
        else:
            stopped.addCallback(tell)

    def _stop_audio(self) -> Deferred[None] | None:
        """Take the job's source or listener off the leg, while the leg is still there.

        Returns what whoever waits for the job has to wait for besides, such as a file to be complete.
        """
        leg = self._channel.leg
        if leg is not None and leg.endpoint is not None and self.transmits:
            leg.endpoint.stop_source()
        return None
