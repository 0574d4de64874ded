"""The core of a call channel: its state, its leg, its waits and jobs, and what the leg tells it.

Owns: every step of a call's life, and the order of things at its end (media, wire, state, then whoever waits). Must
not know how applications word their wishes: the verbs, with their arguments and sentences, are in `channel`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from telephony.call import direct, states
from telephony.call.arguments import check_call_from, check_call_to, interface_codec
from telephony.call.constants import (
    Cause,
    State,
    TransferCause,
    cause_of_status,
    transfer_cause_of_status,
)
from telephony.call.destination import Destination
from telephony.call.details import SIP, Details
from telephony.call.dialling import DialRules
from telephony.call.leg import Leg
from telephony.call.leg_words import Ending, How
from telephony.call.resources import Job, TonePlayer
from telephony.call.states import Input
from telephony.call.succession import Succession, SuccessionInput, follow
from telephony.call.transfer import Transfer, TransferInput
from telephony.call.waiting import Waiting
from telephony.call.whereabouts import Place, bring_back, place_of
from telephony.errors import Error, Hangup, RemoteProtocolError
from telephony.interfaces import DelayedCall
from telephony.media.join import Join
from telephony.media.tones import ToneManager
from telephony.rtp.ports import NoPorts
from telephony.sip.identity import Kind
from telephony.sip.incoming import IncomingSession
from telephony.sip.message import Message, Response
from telephony.sip.particulars import asserted_identity, diversion_of
from telephony.sip.session import Session, SessionState
from telephony.sip.uri import SipUri

if TYPE_CHECKING:
    from telephony.call.exchange import Exchange
    from telephony.call.holding import Hold
    from telephony.call.recorder import CallRecording
    from telephony.call.referring import Referring
    from telephony.sip.refer import Referred


class ChannelCore(Waiting):
    """What a channel is, without its verbs."""

    __slots__ = (
        "Details",
        "ExtraChannel",
        "SIP",
        "__weakref__",
        "_cause",
        "_default_from",
        "_hold",
        "_incoming",
        "_jobs",
        "_join",
        "_leaving",
        "_leg",
        "_limit",
        "_partner",
        "_retrieved",
        "_transfer_cause",
        "_transmitting",
        "claimed_by",
        "dial_rules",
        "id",
        "media",
        "media_timeout",
        "observers",
        "recording",
        "refer",
        "referring",
        "running_verb",
        "succession",
        "transfer",
        "trunk",
    )

    def __init__(self, exchange: Exchange, default_from: str | None = None) -> None:
        super().__init__(exchange)
        self._default_from = default_from
        self._cause = Cause.NORMAL
        self._transfer_cause = TransferCause.NONE
        self._leg: Leg | None = None
        self._incoming: IncomingSession | None = None
        self._leaving = False
        self._retrieved = False
        self._limit: DelayedCall | None = None
        self._jobs: list[Job] = []
        self._transmitting: str | None = None
        self._join: Join | None = None
        self._partner: ChannelCore | None = None
        self._hold: Hold | None = None
        self.media_timeout = exchange.media_timeout
        """Seconds without RTP and RTCP after which the call is ended (R32), None: never; read when it is answered."""
        self.transfer: Transfer | None = None
        """The transfer that moves this channel's call, while there is one."""
        self.claimed_by: Transfer | None = None
        """The transfer whose target is on this channel, until it is over or the call has been retrieved."""
        self.refer = "refuse"
        """What a REFER of the far end gets while it talks to another one, "refuse" or "follow" (R30)."""
        self.referring: Referring | None = None
        """The transfer by REFER that is asked of the far end, while there is one."""
        self.succession: Succession | None = None
        """The leg that is to take the place of the far end's, while there is one (R30, R31)."""
        self.running_verb: str | None = None
        self.observers: list[Callable[[ChannelCore, State, State], None]] = []
        """Called with the channel, the old and the new state at each step; they must not raise or use verbs."""
        self.media: Literal["anchored", "direct"] = exchange.media
        """Whether the audio of a transferred call comes by here, or goes directly where that can be (RFC 3725)."""
        self.recording: CallRecording | None = None
        """What is kept of the call (`telephony.call.recorder`), None while nobody records."""
        self.dial_rules: DialRules | None = None
        """Whom this channel may call, and how many calls its service may have out; None: everybody."""
        self.trunk: str | None = None
        """The trunk that numbers are dialled through; None: the only one there is."""
        self.id = exchange.next_channel_id()
        self.Details = Details()
        self.SIP = SIP()
        self.ExtraChannel: list[ChannelCore] = []

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

    # -- beginning ------------------------------------------------------------------------------------------------

    def dial(
        self,
        call_to: str,
        destination: Destination,
        codecs: Sequence[str],
        headers: Sequence[tuple[str, str]],
        max_forwards: int,
    ) -> None:
        """Begin an outgoing call whose arguments have been checked; used by `start_call` and by transfers."""
        self._begin(Details(call_to=call_to, call_target=str(destination.uri), call_from=destination.caller.uri))
        leg = self._leg = Leg(self._exchange, self)
        self._give(Input.DIAL)
        rules = self.dial_rules
        if rules is not None and rules.most is not None and self.calls_out() > rules.most:
            text = f"service {rules.service!r} has {rules.most} calls out, which is max_outbound"
            self._end(Input.GONE, Cause.NOCHANNELS, 0, text)
            return
        try:
            leg.dial(destination, codecs, headers, max_forwards, self._may_dial)
        except NoPorts as error:
            self._end(Input.GONE, Cause.NOCHANNELS, 0, str(error))

    def destination(self, call_to: str | None, call_from: str) -> Destination:
        """Return where ``call_to`` leads, and as whose; raises an `Error` that says what is wrong with either."""
        target = check_call_to(call_to)
        caller = check_call_from(call_from, self.default_from)
        refusal = None if self.dial_rules is None else self.dial_rules.refusal(target)
        if refusal is not None:
            raise Error(f"call_to={call_to!r}: {refusal}")
        lines = self._exchange.lines
        if isinstance(target, SipUri):
            ours = None if lines is None else lines.phone(target, caller)
            return Destination(target, caller) if ours is None else ours
        if lines is None:
            raise Error(
                f"call_to={call_to!r}: a number needs a trunk, and there is none here; "
                "give a SIP address, like 'sip:3301@127.0.0.1:5060;user=phone'"
            )
        named = bool(call_from.strip()) or bool(self._default_from)
        return lines.number(target, caller if named else None, caller, self.trunk)

    def calls_out(self) -> int:
        """Count the calls that this channel's service has out, this one among them; who is called by REFER counts."""
        same = [one for one in self._exchange.channels if one.dial_rules is self.dial_rules]
        referred = sum(one.succession is not None and one.succession.referred is not None for one in same)
        return sum(one._incoming is None for one in same) + referred

    def _may_dial(self, target: SipUri) -> bool:
        """Tell whether a redirected call may go there: nowhere that an application could not call itself."""
        if target.scheme != "sip" or target.transport not in (None, "udp", "tcp"):
            return False
        if self.dial_rules is not None and self.dial_rules.refusal(target) is not None:
            return False
        asked = self._exchange.may_dial
        return asked is None or asked(self, target)

    def _call_expired(self) -> None:
        self._end(Input.GONE, Cause.TIMEOUT, 0, "seconds_timeout is over", lambda leg: leg.end(408, "Request Timeout"))

    def _call_cancelled(self) -> None:
        self._end(Input.HANG_UP, Cause.NORMAL, 0, "", lambda leg: leg.end())

    def arrive(self, session: IncomingSession) -> None:
        """Take an INVITE. Raises RemoteProtocolError or NoPorts when it can't be taken; it is unanswered then."""
        request = session.request
        leg = Leg(self._exchange, self)
        leg.arrive(session)
        identity = session.identity
        caller = request.from_ if identity is None or identity.caller is None else identity.caller
        self._begin(
            Details(
                trunk=identity.name if identity is not None and identity.kind is Kind.TRUNK else "",
                phone=identity.name if identity is not None and identity.kind is Kind.PHONE else "",
                call_to=request.to.uri,
                call_target=request.uri,
                call_from=caller.uri,
                display_name=caller.display or "",
                call_id=session.call_id,
                diversion=diversion_of(request),
                connected_id=self._asserted(session, request),
                message=request,
            )
        )
        self.SIP.received_request(request)
        self._leg = leg
        self._incoming = session
        self._give(Input.ARRIVED)

    def release(self) -> None:
        """Do what `hang_up` does without waiting; never raises."""
        if self._state is State.IDLE or self._leaving:
            return
        leg = self._leg
        if self._state is State.ANSWERING and leg is not None:
            self._leaving = True
            leg.silence()
            leg.end().addCallback(lambda _none: self._end(Input.HANG_UP, Cause.NORMAL))
        elif self.unanswered:
            self._end(Input.HANG_UP, Cause.REJECTED, 603, "Decline", lambda leg: leg.reject(603))
        else:
            self._end(Input.HANG_UP, Cause.NORMAL, 0, "", lambda leg: leg.end())

    def _part(self) -> bool:
        join, partner = self._join, self._partner
        if join is None or partner is None:
            return False
        self._join = self._partner = partner._join = partner._partner = None
        join.cut()
        return True

    # -- for transfers and resources -----------------------------------------------------------------------------

    @property
    def leg(self) -> Leg | None:
        """The dialog and media of the call, None when IDLE."""
        return self._leg

    @property
    def default_from(self) -> str:
        """What ``call_from=''`` stands for on this channel."""
        return self._default_from or self._exchange.default_from

    @property
    def unanswered(self) -> bool:
        """Whether the call is an incoming one that waits for its final response."""
        return self._incoming is not None and self._incoming.state is SessionState.PROCEEDING

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
        if self.succession is not None and one not in (Input.HANG_UP, Input.MEDIA, Input.REJECT, Input.RETRIEVE):
            raise Error(f"{name} can't be used while somebody takes the far end's place; it can in a moment")
        if states.TABLE[self._state][one] is not states.REFUSED:
            return
        if self._state is State.IDLE:
            raise Hangup(f"{name}: the call is gone, the channel is IDLE")
        allowed = ", ".join(state.name for state in states.legal_states(one))
        raise Error(f"{name} can't be used while the channel is {self._state}; it is for {allowed}")

    def require_media(self, name: str, transmits: bool) -> Leg:
        """Raise unless a media job may start now; return the leg it runs on."""
        self.require(Input.MEDIA, name)
        if transmits and self.transmitting is not None:
            raise Error(f"{name} can't start: this channel is busy with {self.transmitting}; stop that first")
        assert self._leg is not None
        if self._leg.endpoint is None:
            raise Error(f"{name} can't start: the far end has gone, and who takes its place isn't there yet")
        self.require_audio(name)
        return self._leg

    def require_audio(self, name: str) -> None:
        """Raise when the far end's audio goes to somebody else for good."""
        if place_of(self._leg) is Place.LOST:
            raise direct.lost(self, name)

    def start_job(self, job: Job) -> None:
        """Enter a media job, so that the end of the call ends it."""
        self._jobs.append(job)
        if job.transmits:
            self._transmitting = job.name
        self.audio_needed()

    def audio_needed(self) -> None:
        """Hear that somebody here wants the far end's audio: that of a transferred call comes here again then."""
        direct.look(self)

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
        """Write down how the transfer ended; its table comes here once (I8)."""
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
        if self._leg is not None and bring_back(self._leg):
            self.audio_back()

    def audio_back(self) -> None:
        """The far end's audio comes here: with our first packet the call is back."""
        leg = self._leg
        if leg is not None and leg.endpoint is not None:
            leg.endpoint.on_next_tick(self._first_packet_sent)

    def audio_lost(self, keep: bool, status: int, reason: str) -> None:
        """The far end refuses, with this status, to send its audio here again.

        ``keep``: the call is back all the same, and media verbs are errors; otherwise it is ended.
        """
        if keep:
            self._first_packet_sent()
        else:
            self._end(Input.GONE, Cause.FAILED, status, reason, lambda leg: leg.end(status, reason))

    def _first_packet_sent(self) -> None:
        if self._state is State.RECONNECTING:
            self._retrieved = True
            self._give(Input.RETRIEVED)

    def drop_target(self, cause: Cause, status: int, reason: str) -> None:
        """End the call to a transfer's target, in whatever state it is; nothing when it is over already."""
        self._end(Input.GONE, cause, 0, reason, lambda leg: leg.end(status, reason))

    def refuse_to_dial(self, call_to: str, reason: str) -> None:
        """Note a call that was never sent."""
        self._begin(Details(call_to=call_to))
        self._cause, self.Details.raw_reason = Cause.FAILED, reason
        self._exchange.left(self)

    # -- LegOwner ------------------------------------------------------------------------------------------------

    def leg_placed(self, call_id: str) -> None:
        """Take the Call-ID of our INVITE."""
        self.Details.call_id = call_id
        if self._exchange.recorder is not None:
            self._exchange.recorder.placed(self, call_id)

    def leg_ringing(self, response: Response) -> None:
        """Take 180 to 183."""
        self.SIP.received_response(response)
        self._give(Input.RINGS)
        if self.claimed_by is not None:
            self.claimed_by.feed(TransferInput.RINGS)

    def leg_redirected(self, target: SipUri) -> None:
        """Take the contact that is called now in the place of the one before."""
        self.Details.call_target = str(target)
        if self.claimed_by is not None:
            self.claimed_by.feed(TransferInput.REDIRECTED)

    def leg_early_media(self) -> None:
        """Take the first packet of early media."""
        self.Details.early_media = True
        if self.recording is not None:
            self.recording.add({"channel": self.recording.role(self), "early": True})
        if self.claimed_by is not None:
            self.claimed_by.feed(TransferInput.MEDIA)

    def leg_answered(self, response: Response) -> None:
        """Take the target's 2xx."""
        self.SIP.received_response(response)
        session = None if self._leg is None else self._leg.session
        asserted = "" if session is None else self._asserted(session, response)
        self.Details.connected_id = asserted or _contact_of(response)
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
        direct.look(self)

    def leg_moved(self) -> None:
        """Take where the far end's audio goes now."""
        direct.moved(self)

    def leg_digit(self, digit: str) -> None:
        """Take a key press: the detector keeps it, and jobs that may be barged into hear of it.

        While TRANSFERRED the caller's digits are the target's, not this application's.
        """
        if self.recording is not None:
            self.recording.add({"channel": self.recording.role(self), "digit": digit})
        if self._state not in (State.TRANSFERRING, State.TRANSFERRED):
            self.DTMFDetector.pressed(digit)
            for job in tuple(self._jobs):
                job.pressed(digit)

    def leg_media_over(self, received: int, sent: int) -> None:
        """Take the end of the leg's audio."""
        if self.recording is not None:
            self.recording.add({"channel": self.recording.role(self), "rtp": [received, sent]})

    def leg_referred(self, referred: Referred) -> None:
        """Take the far end's REFER."""
        follow(self, referred)

    def leg_over(self, ending: Ending) -> None:
        """Take the end of the leg, by the far end or by time."""
        if self.succession is not None:
            self.succession.left(ending)
            return
        transfer_cause = TransferCause.TARGETHANGUP
        if ending.response is not None:
            self.SIP.received_response(ending.response)
            self.Details.message = ending.response
        if ending.how is How.REFUSED:
            cause = cause_of_status(ending.status)
            transfer_cause = transfer_cause_of_status(ending.status)
        elif ending.how is How.NO_PORTS:
            cause, transfer_cause = Cause.NOCHANNELS, TransferCause.FAIL
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

    def _asserted(self, session: Session, message: Message) -> str:
        """Return the address that a trusted peer asserts as its own or its caller's, "" without one (RFC 3325)."""
        trusts = self._exchange.trusts
        found = asserted_identity(message) if trusts is not None and trusts(session, message) else None
        return "" if found is None else found.uri

    def _check_open(self) -> None:
        if self._exchange.closing:
            raise Error("the server is stopping and places no more calls")

    def _begin(self, details: Details) -> None:
        self.Details = details
        self._cause = Cause.NORMAL
        self._incoming = None
        self._leaving = self._retrieved = False
        self.SIP.received_request(None)
        if self._detector is not None:
            self._detector.forget()
        self._exchange.entered(self)

    def _connected(self) -> None:
        self._note_codec()
        seconds = self._exchange.call_seconds
        if seconds is not None:
            self._limit = self.clock.callLater(seconds, self._too_long)

    def _note_codec(self) -> None:
        if self._leg is not None and self._leg.agreed is not None:
            self.Details.codecs = [interface_codec(self._leg.agreed.codec)]
            if self.recording is not None:
                self.recording.audio(self)

    def _too_long(self) -> None:
        self._limit = None
        self._end(Input.GONE, Cause.TIMEOUT, 0, "the call's time is over", lambda leg: leg.end(408, "call_seconds"))

    def _end_media(self) -> None:
        for job in tuple(self._jobs):
            job.hung_up()
        if self._detector is not None:
            self._detector.hung_up()
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
        self._hold = None
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
        if self.succession is not None:
            self.succession.feed(SuccessionInput.CALL_OVER)
        if self.referring is not None:
            self.referring.hung_up()
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
        if new is State.IDLE:
            # Every verb is over with the call: who hears of that first may use the next one at once.
            self.running_verb = None
        for observer in tuple(self.observers):
            observer(self, old, new)
        self._tell_who_waits(new)


def _contact_of(response: Response) -> str:
    """Return the address that an answer names as the far end's, "" where it names none that can be read."""
    try:
        contacts = response.contacts
    except RemoteProtocolError:
        return ""
    return contacts[0].uri if contacts else ""
