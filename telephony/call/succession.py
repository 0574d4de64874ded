"""Somebody else takes the place of a call's far end: who it refers us to, or who replaces it (R30, R31).

Owns: the new leg beside the old one, until it has taken its place or has failed, as one table; what the other party of
the call hears meanwhile; what is reported to who has referred us (RFC 3515 2.4.5, RFC 5589 6 and 7); moving a call from
leg to leg, its media, its joins, its state. Must not know who may do that (`telephony.call.replacing`, and
``channel.refer``), nor SIP messages beyond their status.

The channel keeps its identity and its state: TRANSFERRED stays TRANSFERRED, ANSWERED stays ANSWERED. The codec, the
keys, SRTP and the session timer are the new leg's own; a hold ends with the leg that was held.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from telephony.call.constants import State
from telephony.call.direct import look
from telephony.call.leg import Leg
from telephony.call.leg_words import Ending, How
from telephony.call.states import Input
from telephony.call.transfer import TransferInput, TransferState
from telephony.errors import Error, RemoteProtocolError
from telephony.interfaces import DelayedCall
from telephony.media.endpoint import Endpoint
from telephony.media.join import Join
from telephony.media.players import ToneSource
from telephony.rtp.ports import NoPorts
from telephony.sip.headers import parse_name_addr
from telephony.sip.incoming import IncomingSession
from telephony.sip.message import Message, Request, Response
from telephony.sip.outgoing import OutgoingSession
from telephony.sip.refer import Referred
from telephony.sip.refer_words import asks_for_privacy
from telephony.sip.uri import SipUri
from telephony.tables import Machine, Symbol, ignored

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore

#: How long who we are referred to may take to answer, in seconds.
FOLLOW_SECONDS = 120.0
#: How long who has referred us, or has been replaced by its referral, may keep its dialog after that, in seconds.
GOODBYE_SECONDS = 5.0


class SuccessionState(Symbol):
    """Where a succession is."""

    BESIDE = "the old leg talks, the new one isn't there yet"
    ALONE = "the old leg has gone, the new one isn't there yet"
    OVER = "the new leg has taken the place of the old one, or never will"


class SuccessionInput(Symbol):
    """What can happen to it."""

    RINGS = "the new leg's far end rings"
    READY = "the new leg has been answered and acknowledged"
    FAILED = "the new leg was refused, or ended before it was ready"
    LEFT = "the old leg's far end has gone"
    CALL_OVER = "the channel's call has been ended"
    TIME_UP = "the new leg took too long"


class Succession(Machine[SuccessionState, SuccessionInput]):
    """One new leg for ``channel``; it owns that leg until the channel does (`telephony.call.leg_words.LegOwner`)."""

    __slots__ = ("_limit", "_lost", "channel", "leg", "media_timeout", "referred")

    def __init__(self, channel: ChannelCore, referred: Referred | None) -> None:
        super().__init__(SuccessionState.BESIDE)
        self.channel = channel
        #: The REFER that it comes of; None for an INVITE with Replaces.
        self.referred = referred
        self.media_timeout = channel.media_timeout
        self.leg = Leg(channel.exchange, self)
        self._lost: Ending | None = None
        self._limit: DelayedCall | None = channel.clock.callLater(
            FOLLOW_SECONDS, partial(self.feed, SuccessionInput.TIME_UP)
        )
        channel.succession = self

    def left(self, ending: Ending) -> None:
        """Take the end of the old leg."""
        self.feed(SuccessionInput.LEFT, ending)

    # -- LegOwner ------------------------------------------------------------------------------------------------

    def leg_placed(self, call_id: str) -> None:
        """Let a recording know whose dialog this is."""
        recorder = self.channel.exchange.recorder
        if recorder is not None:
            recorder.placed(self.channel, call_id)

    def leg_ringing(self, response: Response) -> None:
        """Take 180 to 183."""
        self.feed(SuccessionInput.RINGS, response.status)

    def leg_early_media(self) -> None:
        """Nobody hears it: the old leg talks, or the other party hears that it rings."""

    def leg_redirected(self, target: SipUri) -> None:
        """Where else it is called changes nothing here."""

    def leg_answered(self, response: Response) -> None:
        """Take the 2xx of who we were referred to."""
        self.feed(SuccessionInput.READY, response)

    def leg_confirmed(self) -> None:
        """Take the ACK of who replaces the old leg."""
        assert self.leg.session is not None
        self.feed(SuccessionInput.READY, self.leg.session.request)

    def leg_changed(self) -> None:
        """What the new leg's media is shows when it takes over."""

    def leg_moved(self) -> None:
        """Nobody has sent it anywhere."""

    def leg_digit(self, digit: str) -> None:
        """A key before the new leg takes over is for nobody."""

    def leg_media_over(self, received: int, sent: int) -> None:
        """Nobody counts what nobody heard."""

    def leg_referred(self, referred: Referred) -> None:
        """Who isn't there yet refers nobody: 603."""

    def leg_over(self, ending: Ending) -> None:
        """Take the end of the new leg."""
        self.feed(SuccessionInput.FAILED, ending)

    # -- outputs -------------------------------------------------------------------------------------------------

    def _rang(self, status: int) -> None:
        self._report(status)

    def _report(self, status: int, reason: str = "") -> None:
        if self.referred is not None:
            self.referred.report(status, reason)

    def _finish(self, _: object) -> None:
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = None
        if self.channel.succession is self:
            self.channel.succession = None

    def _take_place(self, message: Message) -> None:
        self._report(200)
        old = change_leg(self.channel, self.leg, message)
        if old is None or old.session is None:
            return
        if isinstance(old.session, OutgoingSession) and old.session.dialog is None:
            old.end()  # RFC 3891 3: an early dialog of ours is cancelled
        elif self.referred is None:
            old.end()
        else:
            old.leave(GOODBYE_SECONDS)

    def _report_failure(self, ending: Ending) -> None:
        if ending.how is How.REFUSED and ending.status >= 300:
            self._report(ending.status, ending.reason)
        else:
            self._report(503 if ending.how is not How.UNCONFIRMED else 408, ending.reason)

    def _drop(self, _: object) -> None:
        self.leg.end(487, "Given up")

    def _report_given_up(self, _: object) -> None:
        self._report(487)

    def _report_late(self, _: object) -> None:
        self._report(408)

    def _alone(self, ending: Ending) -> None:
        """Let the other party hear that somebody is being called; what ran on the old leg has nobody to run for."""
        self._lost = ending
        channel = self.channel
        for job in tuple(channel._jobs):
            job.hung_up()
        other = _other_party(channel)
        if other is not None and self.referred is not None:
            other.play(ToneSource(channel.exchange.tone_manager.find(None)))
        look(channel)

    def _lose(self, _: object) -> None:
        other = _other_party(self.channel)
        if other is not None:
            other.stop_source()
        assert self._lost is not None
        self.channel.leg_over(self._lost)


_S, _I = SuccessionState, SuccessionInput
_N = Succession
Succession.table = {
    _S.BESIDE: {
        _I.RINGS: (_S.BESIDE, (_N._rang,)),
        _I.READY: (_S.OVER, (_N._finish, _N._take_place)),
        _I.FAILED: (_S.OVER, (_N._finish, _N._report_failure)),
        _I.LEFT: (_S.ALONE, (_N._alone,)),
        _I.CALL_OVER: (_S.OVER, (_N._finish, _N._drop, _N._report_given_up)),
        _I.TIME_UP: (_S.OVER, (_N._finish, _N._drop, _N._report_late)),
    },
    _S.ALONE: {
        _I.RINGS: (_S.ALONE, (_N._rang,)),
        _I.READY: (_S.OVER, (_N._finish, _N._take_place)),
        _I.FAILED: (_S.OVER, (_N._finish, _N._report_failure, _N._lose)),
        _I.CALL_OVER: (_S.OVER, (_N._finish, _N._drop, _N._report_given_up)),
        _I.TIME_UP: (_S.OVER, (_N._finish, _N._drop, _N._report_late, _N._lose)),
        **ignored(_S.ALONE, _I.LEFT),
    },
    _S.OVER: ignored(_S.OVER, *_I),
}


def _other_party(channel: ChannelCore) -> Endpoint | None:
    """Return the media of who the channel's far end talks to, None where that is the application."""
    other: ChannelCore | None = channel._partner
    if channel.transfer is not None:
        other = channel.transfer.target
    elif channel.claimed_by is not None:
        other = channel.claimed_by.caller
    return None if other is None or other.leg is None else other.leg.endpoint


def change_leg(channel: ChannelCore, leg: Leg, message: Message) -> Leg | None:
    """Make ``leg``, which is connected, the one of a channel's call; returns the old one, whose dialog goes on.

    ``message`` is the new far end's INVITE or 2xx. Who is joined to the call hears the new leg from its first packet.
    """
    old, channel._leg = channel._leg, leg
    leg.owner = channel
    session = leg.session
    channel._incoming = session if isinstance(session, IncomingSession) else None
    details = channel.Details
    details.message = message
    if session is not None:
        details.call_id = session.call_id
        details.connected_id = channel._asserted(session, message)
    if isinstance(message, Request):
        channel.SIP.received_request(message)
        details.connected_id = details.connected_id or message.from_.uri
    else:
        details.connected_id = details.connected_id or details.call_target
    if leg.endpoint is not None and old is not None and old.endpoint is not None:
        leg.endpoint.take_over(old.endpoint)
    if channel._state in (State.CALL_OUTGOING, State.RING_OUTGOING):
        channel._connected()
        channel._give(Input.ACCEPTED)
        if channel.claimed_by is not None:
            channel.claimed_by.feed(TransferInput.ANSWERED)
        return old
    channel._note_codec()
    channel.leg_moved()
    if channel._state is State.ON_HOLD:
        channel._hold = None
        if leg.endpoint is not None:
            leg.endpoint.stop_source()
        channel._give(Input.RESUMED)
    for transfer in (channel.transfer, channel.claimed_by):
        if transfer is not None:
            transfer.rejoin()
    partner = channel._partner
    if partner is not None and channel._join is not None:
        channel._join.cut()
        theirs = None if partner.leg is None else partner.leg.endpoint
        if leg.endpoint is not None and theirs is not None:
            channel._join = partner._join = Join(leg.endpoint, theirs)
    return old


# -- beginning -----------------------------------------------------------------------------------------------------


def follow(channel: ChannelCore, referred: Referred) -> None:
    """Take a REFER of a channel's far end, as ``channel.refer`` says (R30; RFC 3515 2.4.2).

    603: nobody wants it followed, there is nobody whom the new leg could talk to, or something else is going on there.
    403: where it leads nobody may call from here. Else 202, and whoever is called takes the far end's place.
    """
    if channel.refer != "follow" or not _is_between_two(channel) or channel.succession is not None:
        referred.refuse(603)
        return
    leg = channel.leg
    session = None if leg is None else leg.session
    if session is None or session.dialog is None:
        referred.refuse(603)
        return
    wish = referred.refer_to
    exchange = channel.exchange
    rules = channel.dial_rules
    try:
        # As the far end was called, so that who is called sees whom the application has shown all along.
        destination = channel.destination(str(wish.uri), parse_name_addr(session.dialog.local).uri)
    except Error:
        referred.refuse(403)
        return
    if exchange.may_dial is not None and not exchange.may_dial(channel, destination.uri):
        referred.refuse(403)
        return
    if exchange.closing or (rules is not None and rules.most is not None and channel.calls_out() >= rules.most):
        referred.refuse(503)
        return
    headers = [*channel.SIP.fields_to_send(), *wish.headers]
    if session.direction == "out" and asks_for_privacy(session.request):
        # RFC 3323 4.2: who was to be told to nobody isn't told to the next one either.
        headers += [("Privacy", one) for one in session.request.get_all("Privacy") if ("Privacy", one) not in headers]
    agreed = None if leg is None else leg.agreed
    first = [] if agreed is None else [agreed.codec]
    codecs = [*first, *(one for one in destination.codecs or exchange.codecs if one not in first)]
    succession = Succession(channel, referred)
    referred.accept()
    channel.Details.call_target = str(destination.uri)
    try:
        succession.leg.dial(destination, codecs, headers, 70, channel._may_dial)
    except NoPorts as error:
        succession.leg_over(Ending(How.NO_PORTS, 0, str(error)))


def _is_between_two(channel: ChannelCore) -> bool:
    """Tell whether the channel's far end talks to another one's, by a transfer or a connection."""
    if channel._state not in (State.ANSWERED, State.TRANSFERRED):
        return False
    transfer = channel.transfer or channel.claimed_by
    return channel._partner is not None or (transfer is not None and transfer.state is TransferState.TRANSFERRED)


def replace(channel: ChannelCore, session: IncomingSession) -> None:
    """Let who sends an INVITE with Replaces take the place of a channel's far end (R31; RFC 3891 3).

    It is answered at once. The old leg goes on until the ACK has come, so that nothing is lost with that.
    """
    succession = Succession(channel, None)
    leg = succession.leg
    try:
        leg.arrive(session)
    except (RemoteProtocolError, NoPorts) as error:
        succession.feed(SuccessionInput.FAILED, Ending(How.UNUSABLE))
        session.reject(error.status if isinstance(error, RemoteProtocolError) else 503)
        return
    succession.leg_placed(session.call_id)
    try:
        leg.answer(channel.exchange.codecs, ())
    except RemoteProtocolError as error:
        leg.reject(error.status)
        succession.feed(SuccessionInput.FAILED, Ending(How.UNUSABLE))
