"""Hold and resume: the verbs, and one hold from its beginning to its end (``api.md`` sections 3 and 4).

Owns: what may be played to a caller on hold, and which state follows which answer of the far end. Must not know how a
direction is offered (`telephony.call.leg`) or when it may be (`telephony.sip.offers`).
"""

from __future__ import annotations

from functools import partial

import attrs
from twisted.internet.defer import Deferred, succeed

from telephony.call.constants import State
from telephony.call.core import ChannelCore
from telephony.call.leg import Leg
from telephony.call.leg_words import Change
from telephony.call.states import Input
from telephony.call.verbs import Wait, verb
from telephony.errors import Error
from telephony.media.endpoint import Source
from telephony.media.files import resolve_media_name
from telephony.media.players import Clip, ToneSource
from telephony.media.tones import PredefinedTones

_HELD = frozenset({State.ON_HOLD, State.ANSWERED, State.IDLE, State.ERROR})
_RESUMED = frozenset({State.ANSWERED, State.IDLE, State.ERROR})


@attrs.define(eq=False)
class Hold:
    """One hold of a call. ``music`` is what the far end hears, None for nothing at all."""

    music: Source | None
    change: Change | None = None
    """What we have asked the far end for, while it hasn't answered."""
    given_up: bool = False
    """Whether the verb was cancelled: as soon as the far end holds, it is let go again."""
    resuming: Wait[State] | None = None


class HoldVerbs(ChannelCore):
    """``hold`` and ``resume``."""

    __slots__ = ()

    @verb
    def hold(self, music: object = None) -> Deferred[State]:
        """Hold the far end (RFC 3264 8.4); fires with ON_HOLD, with ANSWERED when it refused, IDLE when it hung up.

        ``music`` is a file of the media directory, or a tone's name or `PredefinedTones` member, and is played over and
        over; with None nothing is sent at all. A refusal's status is in ``Details.raw_cause`` and its text in
        ``Details.raw_reason``; the call goes on as it was. Fails with `Error` while something is being played or the
        call is connected to another, or for music that isn't there. Cancelling it resumes the call.
        """
        leg = self._require_silent()
        return self._music_of(music).addCallback(self._begin_hold, leg)

    @verb
    def resume(self) -> Deferred[State]:
        """End a hold; fires with ANSWERED, with ON_HOLD when the far end refused, IDLE when it hung up.

        What it refused with is where `hold` leaves it. Cancelling it changes nothing: the call is resumed.
        """
        self.require(Input.RESUME, "resume()")
        assert self._hold is not None
        wait: Wait[State] = Wait(self.clock, None, self._nothing, lambda: self._forget(wait, self._nothing))
        self._waits.append((_RESUMED, wait))
        promise = wait.promise()
        self._hold.resuming = wait
        self._end_hold(self._hold)
        return promise

    def _require_silent(self) -> Leg:
        self.require(Input.HOLD, "hold()")
        busy = self.transmitting
        if busy is not None:
            raise Error(f"hold() can't start: this channel is busy with {busy}; stop that first")
        assert self._leg is not None
        return self._leg

    def _music_of(self, music: object) -> Deferred[Source | None]:
        if music is None:
            return succeed(None)
        manager = self._exchange.tone_manager if self.TonePlayer is None else self.TonePlayer.tone_manager
        if not isinstance(music, str | PredefinedTones):
            raise Error(f"music={music!r} can't be played; give a file of the media directory, a tone's name, or None")
        try:
            return succeed(ToneSource(manager.find(music)))
        except Error:
            if not isinstance(music, str):
                raise
        directory = self._exchange.media_directory
        path = resolve_media_name(directory, music)
        if not path.is_file():
            raise Error(f"music={music!r} is no tone, and no file in the media directory {directory.absolute()}")
        try:
            return self._exchange.prompts.get(path).addCallback(partial(_looped, music))
        except OSError as error:  # it has gone since the look at it
            raise Error(f"music={music!r} can't be read: {error}") from error

    def _begin_hold(self, music: Source | None, leg: Leg) -> Deferred[State]:
        if self._leg is not leg:
            return succeed(self._state)  # it hung up while the file was read
        self._require_silent()
        hold = self._hold = Hold(music)
        self._give(Input.HOLD)
        hold.change = Change("inactive" if music is None else "sendonly", partial(self._hold_answered, hold))
        leg.change(hold.change)
        return self._wait(_HELD, None, self._nothing, partial(self._hold_given_up, hold))

    def _hold_answered(self, hold: Hold, refusal: tuple[int, str] | None) -> None:
        if self._hold is not hold:
            return
        hold.change = None
        if refusal is not None:
            self._hold = None
            self._note_refusal(refusal)
            self._give(Input.UNHELD)
            return
        if hold.music is not None and self._leg is not None and self._leg.endpoint is not None:
            self._leg.endpoint.play(hold.music)
        self._give(Input.HELD)
        if hold.given_up and self._hold is hold:
            self._end_hold(hold)

    def _hold_given_up(self, hold: Hold) -> None:
        if self._hold is not hold:
            return
        if hold.change is not None and self._leg is not None and self._leg.withdraw(hold.change):
            self._hold = None
            self._give(Input.UNHELD)
        else:
            hold.given_up = True

    def _end_hold(self, hold: Hold) -> None:
        assert self._leg is not None
        hold.change = Change("sendrecv", partial(self._resume_answered, hold))
        self._leg.change(hold.change)

    def _resume_answered(self, hold: Hold, refusal: tuple[int, str] | None) -> None:
        if self._hold is not hold:
            return
        hold.change = None
        wait, hold.resuming = hold.resuming, None
        if refusal is None:
            self._hold = None
            if self._leg is not None and self._leg.endpoint is not None:
                self._leg.endpoint.stop_source()
            self._give(Input.RESUMED)
            return
        self._note_refusal(refusal)
        if wait is not None and not wait.over:
            self._waits = [(until, one) for until, one in self._waits if one is not wait]
            self._exchange.soon(partial(wait.claim(), self._state))

    def _note_refusal(self, refusal: tuple[int, str]) -> None:
        self.Details.raw_cause, self.Details.raw_reason = refusal


def _looped(name: str, clip: Clip) -> Source:
    if not clip.samples:
        raise Error(f"music={name!r} holds no audio")
    return ToneSource(clip)
