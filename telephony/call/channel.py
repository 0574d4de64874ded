"""A call channel: the verbs of ``api.md`` section 4, over one leg at a time.

Owns: the channel's state, cause and details, which verb may run when, and what each verb does to the leg. The states
are a table in `states`; retrievable transfer is a machine of its own in `transfer`; media jobs are in `resources`.
Must not know services, threads or who runs the application.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from twisted.internet.defer import Deferred, succeed

from telephony.call import states
from telephony.call.arguments import check_call_from, check_call_to, check_codecs, interface_codec
from telephony.call.constants import (
    STATUS_OF_CAUSE,
    CallFarEndType,
    Cause,
    LiveSpeakerDetectionSettings,
    State,
    TransferCause,
    cause_of_status,
    transfer_cause_of_status,
)
from telephony.call.details import SIP, Details
from telephony.call.leg import Ending, How, Leg
from telephony.call.resources import DTMFDetector, DTMFPlayer, FilePlayer, FileRecorder, Job, TonePlayer
from telephony.call.states import Input
from telephony.call.transfer import Transfer, TransferInput
from telephony.call.verbs import Wait, check_seconds, open_verb, verb
from telephony.errors import Error, Hangup, RemoteProtocolError
from telephony.interfaces import Clock, DelayedCall
from telephony.media.join import Join
from telephony.media.tones import ToneManager
from telephony.rtp.ports import NoPorts
from telephony.sip.headers import NameAddr
from telephony.sip.message import Request, Response
from telephony.sip.session import Session
from telephony.sip.uri import SipUri

if TYPE_CHECKING:
    from telephony.call.exchange import Exchange

#: `hang_up` and `reject` wait at most this long for IDLE (``api.md`` section 4).
SECONDS_TO_IDLE = 60.0

_CONNECTED = frozenset({State.ANSWERED, State.IDLE, State.ERROR})
_TRANSFER_DECIDED = frozenset({State.TRANSFERRED, State.ANSWERED, State.IDLE, State.ERROR})
_RETRIEVED = frozenset({State.ANSWERED, State.IDLE, State.ERROR})
_IDLE = frozenset({State.IDLE})
_NEVER: frozenset[State] = frozenset()
_REJECTED = frozenset({State.IDLE, State.ERROR})


class CallChannel:
    """One call at a time, inbound or outbound; its verbs return Deferreds to ``await``.

    Every verb fires with the value that ``api.md`` names, or fails with `Error` (wrong state, bad argument; nothing
    has been sent) or `Hangup` (the channel is IDLE). Cancelling a verb's Deferred ends on the wire what it began.
    """

    State = State
    Cause = Cause
    TransferCause = TransferCause
    CallFarEndType = CallFarEndType
    LiveSpeakerDetectionSettings = LiveSpeakerDetectionSettings
    _number: ClassVar[int] = 0

    def __init__(self, exchange: Exchange, default_from: str | None = None) -> None:
        self._exchange = exchange
        self._default_from = default_from
        self._state = State.IDLE
        self._cause = Cause.NORMAL
        self._transfer_cause = TransferCause.NONE
        self._leg: Leg | None = None
        self._incoming: Session | None = None
        self._leaving = False
        self._retrieved = False
        self._limit: DelayedCall | None = None
        self._waits: list[tuple[frozenset[State], Wait[State]]] = []
        self._jobs: list[Job] = []
        self._transmitting: str | None = None
        self._join: Join | None = None
        self._partner: CallChannel | None = None
        self.transfer: Transfer | None = None
        """The transfer that moves this channel's call, while there is one."""
        self.claimed_by: Transfer | None = None
        """The transfer whose target is on this channel, until it is over or the call has been retrieved."""
        self.running_verb: str | None = None
        self.observers: list[Callable[[CallChannel, State, State], None]] = []
        """Called with the channel, the old and the new state at each step; they must not raise or use verbs."""
        self.id = exchange.next_channel_id()
        self.Details = Details()
        self.SIP = SIP()
        self.FilePlayer = FilePlayer(self)
        self.FileRecorder = FileRecorder(self)
        self.DTMFDetector = DTMFDetector(self)
        self.DTMFPlayer = DTMFPlayer(self)
        self.TonePlayer: TonePlayer | None = None
        self.ExtraChannel: list[CallChannel] = []

    # -- reading -------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return where the call is."""
        return self._state

    def cause(self) -> Cause:
        """Return why the call ended; NORMAL while it has not."""
        return self._cause

    def transfer_cause(self) -> TransferCause:
        """Return how the last transfer ended; NONE before the first one and while one runs."""
        return self._transfer_cause

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
        self._start_call(call_to, call_from, codecs, live_speaker_detect)
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
        self._start_call(call_to, call_from, codecs, live_speaker_detect)
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
    ) -> None:
        if self._state is not State.IDLE:
            raise Error(f"a call can be placed on an IDLE channel only; this one is {self._state}")
        if live_speaker_detect is not None:
            raise Error("live speaker detection is not built yet; leave live_speaker_detect at None")
        self._check_open()
        target = check_call_to(call_to)
        caller = check_call_from(call_from, self.default_from)
        wanted = check_codecs(codecs, self._exchange.codecs)
        headers = self.SIP.fields_to_send()
        self.dial(call_to, target, caller, wanted, headers, 70)

    def dial(
        self,
        call_to: str,
        target: SipUri,
        caller: NameAddr,
        codecs: Sequence[str],
        headers: Sequence[tuple[str, str]],
        max_forwards: int,
    ) -> None:
        """Begin an outgoing call whose arguments have been checked; used by `start_call` and by transfers."""
        self._begin(Details(call_to=call_to, call_target=str(target), call_from=caller.uri))
        leg = self._leg = Leg(self._exchange, self)
        self._give(Input.DIAL)
        try:
            leg.dial(target, caller, codecs, headers, max_forwards)
        except NoPorts as error:
            self._end(Input.GONE, Cause.NOCHANNELS, 0, str(error))
            return
        if leg.session is not None:
            self.Details.call_id = leg.session.call_id

    def _call_expired(self) -> None:
        self._end(Input.GONE, Cause.TIMEOUT, 0, "seconds_timeout is over", lambda leg: leg.end(408, "Request Timeout"))

    def _call_cancelled(self) -> None:
        self._end(Input.HANG_UP, Cause.NORMAL, 0, "", lambda leg: leg.end())

    # -- incoming calls ------------------------------------------------------------------------------------------

    def arrive(self, session: Session) -> None:
        """Take an INVITE. Raises RemoteProtocolError or NoPorts when it can't be taken; it is unanswered then."""
        request = session.request
        leg = Leg(self._exchange, self)
        leg.arrive(session)
        caller = request.from_
        self._begin(
            Details(
                call_to=request.to.uri,
                call_target=request.uri,
                call_from=caller.uri,
                display_name=caller.display or "",
                call_id=session.call_id,
                diversion=request.get("Diversion") or "",
                message=request,
            )
        )
        self.SIP.received_request(request)
        self._leg = leg
        self._incoming = session
        self._give(Input.ARRIVED)

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
        check_seconds("seconds_ringtime", seconds_ringtime)
        wanted = check_codecs(codecs, self._exchange.codecs)
        self.require(Input.RING, "ring()")
        assert self._leg is not None
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
        wanted = check_codecs(codecs, self._exchange.codecs)
        headers = self.SIP.fields_to_send()
        self.require(Input.ANSWER, "answer()")
        assert self._leg is not None
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
        session = self._incoming
        if session is not None and not session.answered:
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
        return self._wait_only(_IDLE, SECONDS_TO_IDLE)

    def release(self) -> None:
        """Do what `hang_up` does without waiting; never raises."""
        if self._state is State.IDLE or self._leaving:
            return
        leg, session = self._leg, self._incoming
        if self._state is State.ANSWERING and leg is not None:
            self._leaving = True
            leg.silence()
            leg.end().addCallback(lambda _none: self._end(Input.HANG_UP, Cause.NORMAL))
        elif session is not None and not session.answered:
            self._end(Input.HANG_UP, Cause.REJECTED, 603, "Decline", lambda leg: leg.reject(603))
        else:
            self._end(Input.HANG_UP, Cause.NORMAL, 0, "", lambda leg: leg.end())

    @open_verb
    def wait_for_idle(self, seconds_timeout: float | None = None) -> Deferred[State]:
        """Wait until the call is over or the time is up; fires with the state, at once when IDLE already."""
        check_seconds("seconds_timeout", seconds_timeout)
        return self._wait_only(_IDLE, seconds_timeout)

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
        assert self.leg is not None and other_call.leg is not None
        assert self.leg.endpoint is not None and other_call.leg.endpoint is not None
        self._join = other_call._join = Join(self.leg.endpoint, other_call.leg.endpoint)
        self._partner, other_call._partner = other_call, self
        return succeed(True)

    @verb
    def disconnect(self) -> Deferred[bool]:
        """Part two connected calls, each is the application's again; fires with False when there was nothing to part."""
        if self._state is State.IDLE:
            raise Hangup("disconnect(): the call is gone, the channel is IDLE")
        return succeed(self._part())

    def _part(self) -> bool:
        join, partner = self._join, self._partner
        if join is None or partner is None:
            return False
        self._join = self._partner = partner._join = partner._partner = None
        join.cut()
        return True

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
        target = check_call_to(call_to)
        caller = check_call_from(call_from, self.default_from)
        player = self.TonePlayer
        manager = self._exchange.tone_manager if player is None else player.tone_manager
        tone = manager.find(ringback_tone)
        check_seconds("seconds_timeout", seconds_timeout)
        if player is None:
            raise Error("create a TonePlayer on this channel first: the caller hears its ringback tone")
        busy = self.transmitting or next((job.name for job in self._jobs if job.bars_transfer), None)
        if busy is not None:
            raise Error(f"retrievable_transfer() can't start while this channel is busy with {busy}; stop that first")
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
        codecs = (*first, *(name for name in self._exchange.codecs if name not in first))
        if hops < 1:
            other_call.refuse_to_dial("the caller's Max-Forwards is used up")
            transfer.feed(TransferInput.TARGET_OVER, TransferCause.FAIL)
        else:
            other_call.dial(call_to, target, caller, codecs, headers, hops)
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

    # -- for transfers and resources -----------------------------------------------------------------------------

    @property
    def clock(self) -> Clock:
        """The exchange's clock."""
        return self._exchange.host.clock

    @property
    def exchange(self) -> Exchange:
        """The exchange this channel belongs to."""
        return self._exchange

    @property
    def leg(self) -> Leg | None:
        """The dialog and media of the call, None when IDLE."""
        return self._leg

    @property
    def default_from(self) -> str:
        """What ``call_from=''`` stands for on this channel."""
        return self._default_from or self._exchange.default_from

    @property
    def transmitting(self) -> str | None:
        """What is sending audio on this channel now, in words, None when nothing is."""
        if self._partner is not None:
            return "a connection to another call"
        if self.claimed_by is not None:
            return "a transferred caller"
        return self._transmitting

    def require(self, one: Input, name: str) -> None:
        """Raise `Hangup` or `Error` when a verb isn't legal in the present state."""
        if self._leaving and one is not Input.HANG_UP:
            raise Hangup(f"{name}: the call is being hung up")
        if self.claimed_by is not None and one is not Input.HANG_UP and one is not Input.MEDIA:
            raise Error(f"{name} can't be used on the channel a call is being transferred to; only hang_up() can")
        if states.TABLE[self._state][one] is not states.REFUSED:
            return
        if self._state is State.IDLE:
            raise Hangup(f"{name}: the call is gone, the channel is IDLE")
        allowed = ", ".join(state.name for state in states.legal_states(one))
        raise Error(f"{name} can't be used while the channel is {self._state}; it is for {allowed}")

    def require_media(self, name: str, transmits: bool) -> Leg:
        """Raise unless a media job may start now; return the leg it runs on."""
        self.require(Input.MEDIA, name)
        if self.claimed_by is not None and not self.claimed_by.joined:
            raise Error(f"{name} can't be used before the transfer to this channel is done; only hang_up() can")
        if transmits and self.transmitting is not None:
            raise Error(f"{name} can't start: this channel is busy with {self.transmitting}; stop that first")
        assert self._leg is not None
        return self._leg

    def start_job(self, job: Job) -> None:
        """Enter a media job, so that the end of the call ends it."""
        self._jobs.append(job)
        if job.transmits:
            self._transmitting = job.name

    def end_job(self, job: Job) -> None:
        """Strike a job that is over; harmless when it was struck already."""
        if job in self._jobs:
            self._jobs.remove(job)
            if job.transmits:
                self._transmitting = None

    def create_tone_player(self, tone_manager: ToneManager | None = None) -> TonePlayer:
        """Make the channel's tone player; `telephony.TonePlayer` comes here."""
        return TonePlayer(self, tone_manager)

    def set_transfer_cause(self, cause: TransferCause) -> None:
        """Write down how the running transfer ended, once."""
        if self._transfer_cause is TransferCause.NONE:
            self._transfer_cause = cause

    def transfer_joined(self) -> None:
        """The target has answered and the join is made."""
        self._give(Input.JOINED)

    def transfer_failed(self) -> None:
        """The transfer failed; the call is this application's again."""
        self._give(Input.UNJOINED)

    def transfer_retrieving(self) -> None:
        """The join has been cut; the call is back with our first packet."""
        self._give(Input.RETRIEVING)
        leg = self._leg
        if leg is not None and leg.endpoint is not None:
            leg.endpoint.on_next_tick(self._first_packet_sent)

    def _first_packet_sent(self) -> None:
        if self._state is State.RECONNECTING:
            self._retrieved = True
            self._give(Input.RETRIEVED)

    def drop_target(self, cause: Cause, status: int, reason: str) -> None:
        """End the call to a transfer's target, in whatever state it is; nothing when it is over already."""
        self._end(Input.GONE, cause, 0, reason, lambda leg: leg.end(status, reason))

    def refuse_to_dial(self, reason: str) -> None:
        """Note a call that was never sent."""
        self._begin(Details())
        self._cause, self.Details.raw_reason = Cause.FAILED, reason

    # -- LegOwner ------------------------------------------------------------------------------------------------

    def leg_ringing(self, response: Response) -> None:
        """Take 180 to 183."""
        self.SIP.received_response(response)
        self._give(Input.RINGS)
        if self.claimed_by is not None:
            self.claimed_by.feed(TransferInput.RINGS)

    def leg_early_media(self) -> None:
        """Take the first packet of early media."""
        self.Details.early_media = True
        if self.claimed_by is not None:
            self.claimed_by.feed(TransferInput.MEDIA)

    def leg_answered(self, response: Response) -> None:
        """Take the target's 2xx."""
        self.SIP.received_response(response)
        self.Details.connected_id = response.contacts[0].uri if response.contacts else ""
        self.Details.message = response
        self._connected()
        self._give(Input.ACCEPTED)
        if self.claimed_by is not None:
            self.claimed_by.feed(TransferInput.ANSWERED)

    def leg_confirmed(self) -> None:
        """Take the caller's ACK."""
        self._connected()
        self._give(Input.CONFIRMED)

    def leg_changed(self) -> None:
        """Take the outcome of a re-INVITE."""
        self._note_codec()

    def leg_digit(self, digit: str) -> None:
        """Take a key press: the detector keeps it, and jobs that may be barged into hear of it.

        While TRANSFERRED the caller's digits are the target's, not this application's.
        """
        if self._state not in (State.TRANSFERRING, State.TRANSFERRED):
            self.DTMFDetector.pressed(digit)
            for job in tuple(self._jobs):
                job.pressed(digit)

    def leg_over(self, ending: Ending) -> None:
        """Take the end of the leg, by the far end or by time."""
        transfer_cause = TransferCause.TARGETHANGUP
        if ending.how is How.REFUSED:
            cause = cause_of_status(ending.status)
            transfer_cause = transfer_cause_of_status(ending.status)
        elif ending.how is How.UNUSABLE:
            cause, transfer_cause = Cause.FAILED, TransferCause.FAIL
        elif ending.how is How.CANCELLED:
            cause = Cause.NOANSWER
        elif ending.how is How.UNCONFIRMED:
            cause = Cause.TIMEOUT
        else:
            cause = Cause.NORMAL
        self._end(Input.GONE, cause, ending.status, ending.reason, None, transfer_cause)

    # -- the life of a call --------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._exchange.closing:
            raise Error("the server is stopping and places no more calls")

    def _begin(self, details: Details) -> None:
        self.Details = details
        self._cause = Cause.NORMAL
        self._incoming = None
        self._leaving = self._retrieved = False
        self.SIP.received_request(None)
        self.DTMFDetector.forget()
        self._exchange.entered(self)

    def _connected(self) -> None:
        self._note_codec()
        seconds = self._exchange.call_seconds
        if seconds is not None:
            self._limit = self.clock.callLater(seconds, self._too_long)

    def _note_codec(self) -> None:
        if self._leg is not None and self._leg.agreed is not None:
            self.Details.codecs = [interface_codec(self._leg.agreed.codec)]

    def _too_long(self) -> None:
        self._limit = None
        self._end(Input.GONE, Cause.TIMEOUT, 0, "the call's time is over", lambda leg: leg.end(408, "call_seconds"))

    def _end_media(self) -> None:
        for job in tuple(self._jobs):
            job.hung_up()
        self.DTMFDetector.hung_up()
        self._part()

    def _end(
        self,
        one: Input,
        cause: Cause,
        status: int = 0,
        reason: str = "",
        wire: Callable[[Leg], object] | None = None,
        transfer_cause: TransferCause = TransferCause.FAIL,
    ) -> None:
        """Be IDLE: media first, then the wire, then the state, then whoever waits (the order of a call's end)."""
        if self._state is State.IDLE:
            return
        leg, self._leg = self._leg, None
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None
        self._end_media()
        if leg is not None and wire is not None:
            wire(leg)
        self._cause = cause
        self.Details.raw_cause, self.Details.raw_reason = status, reason
        self._leaving = False
        self._incoming = None
        transfer, claim = self.transfer, self.claimed_by
        if transfer is not None:
            transfer.feed(TransferInput.CALLER_OVER)
        self._give(one)
        if claim is not None:
            claim.feed(TransferInput.TARGET_OVER, transfer_cause)
        self._exchange.left(self)

    def _give(self, one: Input) -> None:
        old = self._state
        new = states.TABLE[old][one]
        assert new is not states.REFUSED, f"{one} while {old}"
        if new is old:
            return
        self._state = new
        for observer in tuple(self.observers):
            observer(self, old, new)
        due = [wait for until, wait in self._waits if new in until]
        if due:
            self._waits = [(until, wait) for until, wait in self._waits if new not in until]
            for wait in due:
                self._exchange.soon(partial(wait.claim(), new))

    # -- waiting -------------------------------------------------------------------------------------------------

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
