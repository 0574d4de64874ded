"""A call channel's verbs (``api.md`` section 4), over one leg at a time.

Owns: the verbs, their arguments, where each is legal, and the sentences that refuse it elsewhere. What they act upon is
in `core`; the states are a table in `states`; retrievable transfer is a machine of its own in `transfer`; media jobs
are in `resources`. Must not know services, threads or who runs the application.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from twisted.internet.defer import Deferred, succeed

from telephony.call.arguments import check_codecs
from telephony.call.constants import (
    STATUS_OF_CAUSE,
    Cause,
    LiveSpeakerDetectionSettings,
    State,
    TransferCause,
    cause_of_status,
)
from telephony.call.holding import HoldVerbs
from telephony.call.referring import ReferVerbs
from telephony.call.states import Input
from telephony.call.transfer import Transfer, TransferInput
from telephony.call.unbuilt import UnbuiltResources, UnbuiltVerbs
from telephony.call.verbs import check_seconds, open_verb, verb
from telephony.errors import Error, RemoteProtocolError
from telephony.media.join import Join

#: `hang_up` and `reject` wait at most this long for IDLE (``api.md`` section 4).
SECONDS_TO_IDLE = 60.0

_CONNECTED = frozenset({State.ANSWERED, State.IDLE, State.ERROR})
_TRANSFER_DECIDED = frozenset({State.TRANSFERRED, State.ANSWERED, State.IDLE, State.ERROR})
_RETRIEVED = frozenset({State.ANSWERED, State.IDLE, State.ERROR})
_IDLE = frozenset({State.IDLE})


class CallChannel(HoldVerbs, ReferVerbs, UnbuiltVerbs, UnbuiltResources):
    """One call at a time, inbound or outbound; its verbs return Deferreds to ``await``.

    Every verb fires with the value that ``api.md`` names, or fails with `Error` (wrong state, bad argument; nothing
    has been sent) or `Hangup` (the channel is IDLE). Cancelling a verb's Deferred ends on the wire what it began.
    """

    #: An application may note things of its own on a channel; until one does, there is no room taken for them.
    __slots__ = ("__dict__",)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self._state}>"

    # -- outgoing calls ------------------------------------------------------------------------------------------

    @verb
    def call(
        self,
        call_to: str,
        call_from: str = "",
        seconds_timeout: float | None = 120,
        codecs: str | Sequence[str] | None = None,
        live_speaker_detect: LiveSpeakerDetectionSettings | None = None,
        lsd_timeout_milliseconds: int = 7000,
    ) -> Deferred[State]:
        """Place a call; fires with the state when it was answered, failed or timed out (cause TIMEOUT)."""
        check_seconds("seconds_timeout", seconds_timeout)
        self._start_call(call_to, call_from, codecs, live_speaker_detect, lsd_timeout_milliseconds)
        return self._wait(_CONNECTED, seconds_timeout, self._call_expired, self._call_cancelled)

    @verb
    def start_call(
        self,
        call_to: str,
        call_from: str = "",
        codecs: str | Sequence[str] | None = None,
        live_speaker_detect: LiveSpeakerDetectionSettings | None = None,
        lsd_timeout_milliseconds: int = 7000,
    ) -> Deferred[State]:
        """Place a call and fire at once with the state; `wait_for_answer` tells what became of it."""
        self._start_call(call_to, call_from, codecs, live_speaker_detect, lsd_timeout_milliseconds)
        return succeed(self._state)

    @open_verb
    def wait_for_answer(self, seconds_timeout: float | None = 120) -> Deferred[State]:
        """Wait until the call placed was answered or failed, or the time is up (the call goes on then).

        Fires with the state. On a channel whose call has been answered or is over already it fires at once.
        """
        check_seconds("seconds_timeout", seconds_timeout)
        if self._state not in (State.CALL_OUTGOING, State.RING_OUTGOING, *_CONNECTED):
            raise Error(f"wait_for_answer() is for a call being placed; this channel is {self._state}")
        return self._wait_only(_CONNECTED, seconds_timeout)

    def _start_call(
        self,
        call_to: str,
        call_from: str,
        codecs: str | Sequence[str] | None,
        live_speaker_detect: LiveSpeakerDetectionSettings | None,
        lsd_milliseconds: int,
    ) -> None:
        if self._state is not State.IDLE:
            raise Error(f"a call can be placed on an IDLE channel only; this one is {self._state}")
        if not isinstance(lsd_milliseconds, int) or not 500 <= lsd_milliseconds <= 10_000:
            raise Error(f"lsd_timeout_milliseconds={lsd_milliseconds!r} is out of range; allowed are 500 to 10000")
        if live_speaker_detect is not None:
            raise Error("live speaker detection is not built yet; leave live_speaker_detect at None")
        self._check_open()
        destination = self.destination(call_to, call_from)
        wanted = check_codecs(codecs, destination.codecs or self._exchange.codecs)
        headers = self.SIP.fields_to_send()
        self.dial(call_to, destination, wanted, headers, 70)

    # -- incoming calls ------------------------------------------------------------------------------------------

    @verb
    def ring(
        self,
        seconds_ringtime: float | None = 0,
        negotiate_early_media: bool = False,
        custom_ringtone: object = None,
        loop_ringtone: bool = False,
        codecs: str | Sequence[str] | None = None,
    ) -> Deferred[State]:
        """Tell the caller that it rings; with ``negotiate_early_media`` it hears ``custom_ringtone`` (RFC 3960).

        Fires with the state, after ``seconds_ringtime`` seconds or as soon as the call is over.
        """
        self.require(Input.RING, "ring()")
        assert self._leg is not None
        check_seconds("seconds_ringtime", seconds_ringtime)
        wanted = check_codecs(codecs, self._exchange.codecs)
        if custom_ringtone is not None and negotiate_early_media:
            raise Error(
                f"custom_ringtone={custom_ringtone!r}: ring tones of one's own are not built yet; leave it at None"
            )
        if self._state is State.CALL_INCOMING:
            self._sending(partial(self._leg.ring, negotiate_early_media, wanted))
            self._give(Input.RING)
        if not seconds_ringtime:
            return succeed(self._state)
        return self._wait_only(_IDLE, seconds_ringtime)

    @verb
    def answer(self, codecs: str | Sequence[str] | None = None) -> Deferred[State]:
        """Answer the call; fires with ANSWERED once the caller has acknowledged it.

        Fires with IDLE when the caller has gone, or never acknowledged it within 64*T1 (cause TIMEOUT).
        """
        self.require(Input.ANSWER, "answer()")
        assert self._leg is not None
        wanted = check_codecs(codecs, self._exchange.codecs)
        headers = self.SIP.fields_to_send()
        self._sending(partial(self._leg.answer, wanted, headers))
        self._give(Input.ANSWER)
        return self._wait(_CONNECTED, None, self._nothing, self._call_cancelled)

    def _sending(self, send: Callable[[], None]) -> None:
        try:
            send()
        except RemoteProtocolError as error:
            raise Error(f"the caller can't do any of the codecs asked for: {error}") from error

    @open_verb
    def reject(self, cause: Cause | None = None, raw_cause: str | None = None) -> Deferred[State]:
        """Refuse the call, or end a connected one; fires with the state, after at most 60 s.

        ``raw_cause``, a SIP status from 400 to 699 as a string, wins over ``cause``. A 3xx leaves the channel in
        state ERROR with nothing sent, and ``reject`` may be tried again.
        """
        status, why = self._rejection(cause, raw_cause)
        if status < 400:
            self.require(Input.REDIRECT, "reject()")
            self._end_media()
            self._give(Input.REDIRECT)
            return succeed(self._state)
        self.require(Input.REJECT, "reject()")
        if self.unanswered:
            self._end(Input.REJECT, why, status, "", lambda leg: leg.reject(status))
        else:
            self._end(Input.REJECT, why, status, "", lambda leg: leg.end(status, why.name.capitalize()))
        return succeed(self._state)

    @staticmethod
    def _rejection(cause: Cause | None, raw_cause: str | None) -> tuple[int, Cause]:
        if raw_cause is not None:
            text = str(raw_cause)
            if not (text.isascii() and text.isdigit() and 300 <= int(text) <= 699):
                raise Error(f"raw_cause={raw_cause!r} is no SIP status that refuses a call: give '400' to '699'")
            return int(text), cause if isinstance(cause, Cause) else cause_of_status(int(text))
        if cause is None:
            cause = Cause.REJECTED
        if not isinstance(cause, Cause):
            raise Error(f"cause={cause!r} is no cause; allowed are {', '.join(one.name for one in Cause)}")
        return STATUS_OF_CAUSE[cause], cause

    # -- ending --------------------------------------------------------------------------------------------------

    @open_verb
    def hang_up(self) -> Deferred[State]:
        """End the call, whatever it is doing, and with it whatever verb is running; harmless when IDLE.

        Fires with IDLE as soon as the BYE, CANCEL or final response is on its way. Only a 2xx of ours that has not
        been acknowledged yet is waited for, at most 64*T1, since a BYE may not come before (RFC 3261 15).
        """
        self.release()
        return self.until_idle(SECONDS_TO_IDLE)

    @open_verb
    def wait_for_idle(self, seconds_timeout: float | None = None) -> Deferred[State]:
        """Wait until the call is over or the time is up; fires with the state, at once when IDLE already."""
        check_seconds("seconds_timeout", seconds_timeout)
        return self.until_idle(seconds_timeout)

    # -- two calls -----------------------------------------------------------------------------------------------

    @verb
    def connect(self, other_call: CallChannel) -> Deferred[bool]:
        """Let two ANSWERED calls hear each other; fires with True, or with False when the other isn't ANSWERED."""
        self.require(Input.MEDIA, "connect()")
        if not isinstance(other_call, CallChannel) or other_call is self:
            raise Error(f"other_call={other_call!r} is no other channel; give one whose call is ANSWERED")
        if other_call._state is not State.ANSWERED:
            return succeed(False)
        for channel, name in ((self, "this channel"), (other_call, "the other channel")):
            busy = channel.transmitting
            if busy is not None:
                raise Error(f"connect(): {name} is busy with {busy}; stop that first")
        self.require_audio("connect()")
        other_call.require_audio("connect()")
        assert self.leg is not None and other_call.leg is not None
        assert self.leg.endpoint is not None and other_call.leg.endpoint is not None
        self._join = other_call._join = Join(self.leg.endpoint, other_call.leg.endpoint)
        self._partner, other_call._partner = other_call, self
        return succeed(True)

    @verb
    def disconnect(self) -> Deferred[bool]:
        """Part two connected calls; fires with True, or with False when there was nothing to part."""
        self.require(Input.MEDIA, "disconnect()")
        return succeed(self._part())

    # -- transfer ------------------------------------------------------------------------------------------------

    @verb
    def retrievable_transfer(
        self,
        other_call: CallChannel,
        call_to: str | None = None,
        call_from: str = "",
        ringback_tone: object = None,
        seconds_timeout: float | None = 120,
    ) -> Deferred[State]:
        """Hand the caller to somebody else while keeping hold of the call (``api.md`` section 5).

        Fires with this channel's state: TRANSFERRED, ANSWERED when it failed (`transfer_cause` says why), or IDLE
        when the caller hung up. Fails with `Error` or `Hangup` when a precondition isn't met; nothing was sent then.
        Cancelling gives the target up.
        """
        self.require(Input.TRANSFER, "retrievable_transfer()")
        if not isinstance(other_call, CallChannel) or other_call is self:
            raise Error(f"other_call={other_call!r} is no other channel; give one that is IDLE, like an extra channel")
        if other_call._state is not State.IDLE:
            raise Error(f"other_call must be IDLE to take the target's call; it is {other_call._state}")
        destination = self.destination(call_to, call_from)
        player = self.TonePlayer
        manager = self._exchange.tone_manager if player is None else player.tone_manager
        tone = manager.find(ringback_tone)
        check_seconds("seconds_timeout", seconds_timeout)
        if player is None:
            raise Error("create a TonePlayer on this channel first: the caller hears its ringback tone")
        busy = self.transmitting or next((job.name for job in self._jobs if job.bars_transfer), None)
        if busy is not None:
            raise Error(f"retrievable_transfer() can't start while this channel is busy with {busy}; stop that first")
        self.require_audio("retrievable_transfer()")
        self._check_open()
        headers = other_call.SIP.fields_to_send()
        self._transfer_cause = TransferCause.NONE
        self._retrieved = False
        transfer = Transfer(self, other_call, tone)
        self._give(Input.TRANSFER)
        hops = 70
        if self._incoming is not None:
            arrived_with = self._incoming.request.max_forwards
            hops = 70 if arrived_with is None else arrived_with - 1
        assert call_to is not None and self._leg is not None
        first = [] if self._leg.agreed is None else [self._leg.agreed.codec]
        codecs = (*first, *(name for name in destination.codecs or self._exchange.codecs if name not in first))
        if hops < 1:
            other_call.refuse_to_dial(call_to, "the caller's Max-Forwards is used up")
            transfer.feed(TransferInput.TARGET_OVER, TransferCause.FAIL)
        else:
            other_call.dial(call_to, destination, codecs, headers, hops)
        return self._wait(
            _TRANSFER_DECIDED,
            seconds_timeout,
            partial(transfer.feed, TransferInput.TIME_UP),
            partial(transfer.feed, TransferInput.GIVEN_UP),
        )

    @verb
    def retrieve_transferred_call(self) -> Deferred[State]:
        """Take a transferred call back; fires with ANSWERED when its audio is this application's again.

        One that comes late, after the call came back by itself, fires with ANSWERED too.
        """
        self._require_transferred("retrieve_transferred_call()")
        if self.transfer is not None:
            self.transfer.feed(TransferInput.RETRIEVE)
        return self._wait_only(_RETRIEVED, None)

    @open_verb
    def wait_for_transferred_call_retrieval(self, seconds_timeout: float | None = None) -> Deferred[State]:
        """Wait until the transferred call has come back or is over, or the time is up; fires with the state."""
        check_seconds("seconds_timeout", seconds_timeout)
        if self._state is not State.IDLE:
            self._require_transferred("wait_for_transferred_call_retrieval()")
        return self._wait_only(_RETRIEVED, seconds_timeout)

    def _require_transferred(self, name: str) -> None:
        self.require(Input.RETRIEVE, name)
        if self._state is State.ANSWERED and not self._retrieved:
            raise Error(f"{name} is for a transferred call; this one is ANSWERED and has not been transferred")
