"""Transfers by REFER: the far end is asked to call somebody else; our call with it ends when it has (RFC 5589 6, 7).

Owns: the verbs ``blind_transfer`` and ``attended_transfer`` of ``api.md`` section 4, and one such transfer as a table:
what each outcome means for the channel, and for the transfer's cause (written once, I8). Must not know how a REFER is
sent or what a NOTIFY looks like (`telephony.sip.refer`).
"""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import Deferred

from telephony.call.constants import State, TransferCause, transfer_cause_of_status
from telephony.call.core import ChannelCore
from telephony.call.leg import Leg
from telephony.call.states import Input
from telephony.call.verbs import check_seconds, verb
from telephony.errors import Error
from telephony.sip.headers import parse_name_addr
from telephony.sip.refer import Kind, News, Referral
from telephony.sip.refer_words import asks_for_privacy, format_refer_to, is_anonymous
from telephony.sip.replaces import Replaces
from telephony.sip.session import Session
from telephony.tables import Machine, Symbol, ignored

_DECIDED = frozenset({State.ANSWERED, State.IDLE, State.ERROR})


class ReferringState(Symbol):
    """Where a transfer by REFER is."""

    ASKED = "the far end has been asked, what comes of it isn't known"
    OVER = "done, refused or given up"


class ReferringInput(Symbol):
    """What can happen to it."""

    DONE = "the far end has been answered where it was sent"
    FAILED = "it won't go there, or was refused there; with the cause"
    TIME_UP = "seconds_timeout is over"
    GIVEN_UP = "the verb's Deferred was cancelled"
    HUNG_UP = "the far end hung up, or the channel was hung up"


class Referring(Machine[ReferringState, ReferringInput]):
    """One transfer of a channel's far end by REFER; into ``other``'s place, where there is one."""

    __slots__ = ("_other_leg", "_referral", "channel", "other")

    def __init__(self, channel: ChannelCore, other: ChannelCore | None) -> None:
        super().__init__(ReferringState.ASKED)
        self.channel = channel
        self.other = other
        self._other_leg: Leg | None = None if other is None else other.leg
        self._referral: Referral | None = None
        channel.referring = self

    def send(self, session: Session, refer_to: str) -> None:
        """Send the REFER."""
        self._referral = session.refer(refer_to, _referred_by(session), partial(self._told, session))
        if self._referral is None:
            self.feed(ReferringInput.FAILED, (TransferCause.FAIL, 0, "the call has no dialog to ask in"))

    def hung_up(self) -> None:
        """Take the end of the channel's call, whoever ended it."""
        self.feed(ReferringInput.HUNG_UP)

    def _told(self, session: Session, news: News) -> None:
        if news.kind is Kind.OUTCOME and news.status < 300:
            self.feed(ReferringInput.DONE)
        elif news.kind is Kind.OUTCOME:
            cause = transfer_cause_of_status(news.status)
            if self.other is not None and self.other.leg is not self._other_leg:
                cause = TransferCause.TARGETHANGUP
            self.feed(ReferringInput.FAILED, (cause, news.status, news.reason))
        elif news.kind is Kind.REFUSED and news.status in (408, 481):
            # RFC 3261 12.2.1.2: there is nobody there any more.
            session.lost(news.status, "Dialog Unknown" if news.status == 481 else "Request Timeout")
        elif news.kind in (Kind.REFUSED, Kind.UNKNOWN):
            # Whoever was to be called has not been asked: it is not the target that refused.
            self.feed(ReferringInput.FAILED, (TransferCause.FAIL, news.status, news.reason))

    # -- outputs -------------------------------------------------------------------------------------------------

    def _let_go(self, _: object) -> None:
        if self.channel.referring is self:
            self.channel.referring = None
        referral, self._referral = self._referral, None
        if referral is not None:
            referral.close()

    def _done(self, _: object) -> None:
        """Both calls of ours have served (RFC 5589 6.1, 7.1): BYE."""
        self.channel.set_transfer_cause(TransferCause.NORMAL)
        self.channel.release()
        if self.other is not None and self.other.leg is self._other_leg:
            self.other.release()

    def _failed(self, why: tuple[TransferCause, int, str]) -> None:
        cause, self.channel.Details.raw_cause, self.channel.Details.raw_reason = why
        self.channel.set_transfer_cause(cause)
        self.channel.transfer_failed()

    def _time_up(self, _: object) -> None:
        self._failed((TransferCause.TIMEOUT, 0, "seconds_timeout is over"))

    def _given_up(self, _: object) -> None:
        self._failed((TransferCause.FAIL, 0, "given up"))

    def _hung_up(self, _: object) -> None:
        self.channel.set_transfer_cause(TransferCause.HANGUP)


_S, _I = ReferringState, ReferringInput
_R = Referring
Referring.table = {
    _S.ASKED: {
        _I.DONE: (_S.OVER, (_R._let_go, _R._done)),
        _I.FAILED: (_S.OVER, (_R._let_go, _R._failed)),
        _I.TIME_UP: (_S.OVER, (_R._let_go, _R._time_up)),
        _I.GIVEN_UP: (_S.OVER, (_R._let_go, _R._given_up)),
        _I.HUNG_UP: (_S.OVER, (_R._let_go, _R._hung_up)),
    },
    _S.OVER: ignored(_S.OVER, *_I),
}


def _referred_by(session: Session) -> str | None:
    """Return who refers, for Referred-By (RFC 3892 2.1); None for who is to be told to nobody (RFC 3323 4)."""
    assert session.dialog is not None
    local = parse_name_addr(session.dialog.local)
    if is_anonymous(local) or (session.direction == "out" and asks_for_privacy(session.request)):
        return None
    return f"<{local.uri}>"


class ReferVerbs(ChannelCore):
    """``blind_transfer`` and ``attended_transfer``."""

    __slots__ = ()

    @verb
    def blind_transfer(self, call_to: str, seconds_timeout: float | None = 120) -> Deferred[State]:
        """Ask the far end by REFER to call somebody in our place (RFC 3515, RFC 5589 6), and leave the call to them.

        Fires with this channel's state: IDLE when it has been answered there, and our call has been ended with BYE;
        ANSWERED when it has not: `transfer_cause` says why, ``Details.raw_cause`` and ``raw_reason`` with what; IDLE
        too when the far end hung up first (HANGUP). ``call_to`` may be whoever this channel may call; a number leads
        to the trunk's address for it. Fails with `Error` or `Hangup` when a precondition isn't met; nothing was sent
        then. Cancelling it takes nothing back on the wire: REFER has no CANCEL.
        """
        leg = self._referable("blind_transfer()", None)
        destination = self.destination(call_to, "")
        check_seconds("seconds_timeout", seconds_timeout)
        return self._refer(leg, None, format_refer_to(str(destination.uri)), seconds_timeout)

    @verb
    def attended_transfer(self, other_call: ChannelCore, seconds_timeout: float | None = 120) -> Deferred[State]:
        """Ask the far end by REFER to take our place in another call (RFC 3891, RFC 5589 7); both must be ANSWERED.

        Fires as `blind_transfer` does; when it is done both calls of ours are over. The two may be connected to each
        other until then. TARGETHANGUP: the far end of ``other_call`` hung up first.
        """
        if not isinstance(other_call, ChannelCore) or other_call is self:
            raise Error(f"other_call={other_call!r} is no other channel; give one whose call is ANSWERED")
        leg = self._referable("attended_transfer()", other_call)
        if other_call._state is not State.ANSWERED or other_call.claimed_by is not None:
            why = "a transfer's target" if other_call.claimed_by is not None else str(other_call._state)
            raise Error(f"other_call must be ANSWERED for the far end to take our place there; it is {why}")
        check_seconds("seconds_timeout", seconds_timeout)
        target = None if other_call.leg is None or other_call.leg.session is None else other_call.leg.session.dialog
        if target is None or other_call.succession is not None or other_call.referring is not None:
            raise Error("other_call is being taken over by somebody else; wait for that to end")
        # As its far end sees that dialog: the tag there is its own, ours is its peer's (RFC 3891 4).
        replaces = Replaces(target.call_id, target.remote_tag or "0", target.local_tag)
        return self._refer(leg, other_call, format_refer_to(target.remote_target, replaces), seconds_timeout)

    def _referable(self, name: str, other: ChannelCore | None) -> Leg:
        self.require(Input.TRANSFER, name)
        busy = self._transmitting if other is not None and self._partner is other else self.transmitting
        busy = busy or next((job.name for job in self._jobs if job.bars_transfer), None)
        if busy is not None:
            raise Error(f"{name} can't start while this channel is busy with {busy}; stop that first")
        self._check_open()
        assert self._leg is not None
        return self._leg

    def _refer(
        self, leg: Leg, other: ChannelCore | None, refer_to: str, seconds_timeout: float | None
    ) -> Deferred[State]:
        assert leg.session is not None
        self._transfer_cause = TransferCause.NONE
        self._retrieved = False
        referring = Referring(self, other)
        self._give(Input.TRANSFER)
        referring.send(leg.session, refer_to)
        return self._wait(
            _DECIDED,
            seconds_timeout,
            partial(referring.feed, ReferringInput.TIME_UP),
            partial(referring.feed, ReferringInput.GIVEN_UP),
        )
