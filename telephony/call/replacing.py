"""Who may take over a call by an INVITE with Replaces (RFC 3891; R31 of ``transfer.md``).

Owns: finding the call that is meant, and the answer to whoever may not have it. Must not know how a call moves from leg
to leg: `telephony.call.succession` does that.

A call may be taken over from where its own far end is: the IP address that it has, or whatever `Replacing.may_replace`
takes for the same (the server: its trunk, its phone).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from telephony.call.constants import State
from telephony.call.leg import Leg
from telephony.call.succession import replace
from telephony.errors import RemoteProtocolError
from telephony.sip.flow import Flow
from telephony.sip.identity import Identity
from telephony.sip.incoming import IncomingSession
from telephony.sip.message import Request
from telephony.sip.replaces import Ended, Replaces, replaces_of
from telephony.sip.session import Session, SessionState

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore
    from telephony.call.exchange import Exchange

#: What answers an INVITE: a status and header fields.
Answer = tuple[int, list[tuple[str, str]]]

#: Where a call's far end can be replaced. What is elsewhere is in the middle of something: 491, and it may try again.
_STEADY = (
    State.ANSWERED,
    State.TRANSFERRED,
    State.TRANSFERRING,
    State.ON_HOLD,
    State.CALL_OUTGOING,
    State.RING_OUTGOING,
)


class Replacing:
    """The door for INVITEs with Replaces.

    ``may_replace`` is asked about each one that names a call here, with that call's session: who it is from, when that
    one may take the call over, or what answers it; True and False stand for somebody unknown who may, and 403. Without
    it whoever comes from the address of the call's far end may.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.ended = Ended()
        self.may_replace: Callable[[Session, Request, Flow], Identity | Answer | bool] | None = None

    def screen(self, request: Request, flow: Flow) -> Answer | Identity | None:
        """Judge an INVITE with Replaces; None lets it in (RFC 3891 3)."""
        try:
            wanted = replaces_of(request)
        except RemoteProtocolError as error:
            return error.status, []
        if wanted is None:
            return 400, []
        session = self._exchange.user_agent.dialog_of(wanted)
        found = _channel_of(session)
        if session is None or found is None:
            return self._unknown(wanted, request, flow)
        channel, leg = found
        if session.state is SessionState.PROCEEDING and session.direction == "in":
            return 481, []  # RFC 3891 3: an early dialog that isn't ours
        asked = self.may_replace
        verdict = session.peer_host == flow.remote[0] if asked is None else asked(session, request, flow)
        if verdict is False or isinstance(verdict, tuple):
            return (403, []) if verdict is False else verdict
        if wanted.early_only and session.state is not SessionState.PROCEEDING:
            return 486, []
        busy = channel.succession is not None or channel.referring is not None or channel._leg is not leg
        if busy or channel.state() not in _STEADY or (channel._hold is not None and channel._hold.change is not None):
            return 491, []
        return None if verdict is True else verdict

    def _unknown(self, wanted: Replaces, request: Request, flow: Flow) -> Answer:
        """481, or 603 for what has ended; strangers are told no more than that they are strangers."""
        screen = self._exchange.screen
        verdict = None if screen is None else screen(request, flow)
        if isinstance(verdict, tuple) and verdict[0] in (401, 403):
            return verdict
        return (603 if wanted in self.ended else 481), []

    def arrived(self, session: IncomingSession) -> None:
        """Take an INVITE that `screen` has let in."""
        wanted = replaces_of(session.request)
        found = None if wanted is None else _channel_of(self._exchange.user_agent.dialog_of(wanted))
        if found is None:
            session.reject(481)
        else:
            replace(found[0], session)


def _channel_of(session: Session | None) -> tuple[ChannelCore, Leg] | None:
    """Return the channel that a session's leg belongs to; None for a session that nobody has any more."""
    from telephony.call.core import ChannelCore

    leg = None if session is None else session.observer
    if isinstance(leg, Leg) and isinstance(leg.owner, ChannelCore):
        return leg.owner, leg
    return None
