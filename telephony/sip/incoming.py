"""The session whose INVITE came to us (RFC 3261 9.2, 13.3, 15).

Owns: the provisional and final responses to the INVITE, the 2xx sent until its ACK comes, and the races of CANCEL and
BYE with both. Must not know sockets, media or SDP.
"""

from __future__ import annotations

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, Clock
from telephony.sip.auth import Authentication
from telephony.sip.dialog import Dialog
from telephony.sip.flow import Flow
from telephony.sip.identity import Identity
from telephony.sip.message import Request
from telephony.sip.parties import Core, Headers
from telephony.sip.reliable import FIRST_RSEQ, RELIABLE, Provisional, ReliableRinging, RingingInput, parse_rack
from telephony.sip.session import Session, SessionInput, SessionState
from telephony.sip.timers import Timers
from telephony.sip.transaction import InviteServerTransaction, ServerInput, ServerTransaction
from telephony.tables import Table, ignored

#: A proxy forgets an INVITE that rings for three minutes without a word (RFC 3261 13.3.1.1).
RING_AGAIN = 60.0


class IncomingSession(Session):
    """A peer's INVITE and its dialog.

    ``may_ring_reliably`` and ``must_ring_reliably`` are what the peer says of reliable responses (RFC 3262).
    """

    __slots__ = ("_flow", "_offered", "_ringing", "_transaction", "may_ring_reliably", "must_ring_reliably")

    direction = "in"

    def __init__(
        self, core: Core, request: Request, local_tag: str, transaction: InviteServerTransaction, flow: Flow
    ) -> None:
        """Make the session of an INVITE that came over ``flow``; RemoteProtocolError (400) when no dialog can be."""
        dialog = Dialog.of_called(request, local_tag)
        super().__init__(core, request, local_tag, None)
        self.dialog = dialog
        self._dialogs[dialog.remote_tag] = dialog
        self._transaction = transaction
        self._flow = flow
        self.must_ring_reliably = RELIABLE in request.require
        self.may_ring_reliably = self.must_ring_reliably or RELIABLE in request.supported
        #: The reliable responses, once there was one.
        self._ringing: ReliableRinging | None = None
        #: Whether the one that waits for its PRACK holds our offer.
        self._offered = False
        dialog.flow = flow
        dialog.heard(request, flow)
        # The peer at the other end of a connection is the dialog's next hop, and often can't be reached in another way.
        # Behind a proxy that doesn't stay in the dialog it isn't the next hop.
        dialog.stays = flow.reliable and bool(dialog.route_set or len(request.vias) == 1)
        transaction.to_tag = local_tag
        transaction.on_cancel = self._cancelled

    def know(self, identity: Identity) -> None:
        """Take note of who calls: passwords for challenges within the dialog, and the way its requests take."""
        self.identity = identity
        if identity.account is not None:
            self.authentication = Authentication(identity.account)
        if identity.near and self.dialog is not None and not self.dialog.route_set:
            self.dialog.stays = True

    @property
    def way(self) -> Flow:
        """The way the INVITE came by."""
        return self._flow

    @property
    def arrived_at(self) -> Address:
        """Our end of the way the INVITE came by."""
        return self._flow.local

    # Verbs

    def ring(
        self, status: int = 180, sdp: bytes | None = None, headers: Headers = (), *, reliably: bool = False
    ) -> None:
        """Send a 101 to 199, with SDP or without; repeated each minute. Harmless once there is a final response.

        It is sent reliably (RFC 3262) where the peer requires that, and where it supports that and ``reliably`` asks
        for it: again and again until its PRACK comes, and when none comes for 64*T1 the INVITE is refused with 504
        (`SessionObserver.session_unconfirmed`). To an INVITE without an offer the SDP of the first reliable one is
        our offer, and `SessionObserver.session_answer_in_prack` gets the answer.
        """
        if not 101 <= status <= 199:
            raise ValueError(f"{status} is no status for ringing: it must be 101 to 199")
        reliably = self.must_ring_reliably or (reliably and self.may_ring_reliably)
        self.feed(SessionInput.RING, (status, sdp, headers, reliably))

    def answer(self, sdp: bytes | None, headers: Headers = ()) -> None:
        """Send 200, again and again until its ACK comes. Harmless once there is a final response.

        It waits for the PRACK of a reliable response with SDP (RFC 3262 5).
        """
        if self._ringing is None:
            self.answer_now((sdp, headers))
        else:
            self._ringing.feed(RingingInput.ANSWER, (sdp, headers))

    def reject(self, status: int, reason: str | None = None, headers: Headers = ()) -> None:
        """Send a 300 to 699; the observer hears nothing more. After our 2xx it is a `bye`."""
        if not 300 <= status <= 699:
            raise ValueError(f"{status} is no status to reject with: it must be 300 to 699")
        self.observer = None
        self.feed(SessionInput.REJECT, (status, reason, headers))

    # What its `ReliableRinging` asks for

    @property
    def clock(self) -> Clock:
        """The time."""
        return self.core.clock

    @property
    def timers(self) -> Timers:
        """The timer values."""
        return self.core.timers

    def send_reliably(self, what: Provisional, number: int) -> bytes:
        """Send a provisional response with this RSeq."""
        status, sdp, headers = what
        self._offered = bool(sdp) and not self.request.body
        wanted = (("Require", RELIABLE), ("RSeq", str(number)), *headers)
        return self._reply(self._transaction, self.request, status, None, wanted, sdp)

    def send_again(self, data: bytes) -> None:
        """Send it again."""
        self._transaction.feed(ServerInput.PROVISIONAL, data)

    def answer_now(self, what: object) -> None:
        """Send the 2xx."""
        self.feed(SessionInput.ANSWER, what)

    def unacknowledged(self) -> None:
        """No PRACK came for 64*T1."""
        self.feed(SessionInput.UNACKED)

    @property
    def settled(self) -> bool:
        """Whether the INVITE's offer has its answer: also once a reliable response with it has its PRACK."""
        return super().settled or (self._ringing is not None and self._ringing.settled)

    def _take_prack(self, request: Request, transaction: ServerTransaction) -> None:
        """Take a PRACK (RFC 3262 3), with the answer to our offer in it, or with an offer of the peer's (section 5)."""
        try:
            rack = parse_rack(request.get("RAck"))
        except RemoteProtocolError as error:
            self._reply(transaction, request, error.status)
            return
        ringing = self._ringing
        if ringing is None or not ringing.acknowledges(rack):
            self._reply(transaction, request, 481)
            return
        offered, self._offered = self._offered, False
        usable = True
        if offered:
            usable = self.observer is None or self.observer.session_answer_in_prack(self, request)
            self._reply(transaction, request, 200)
        elif request.body:
            status, reason, body = self._judge_offer(request)
            if body is None:
                self._refuse_offer(request, transaction, status, reason)
            else:
                self._reply(transaction, request, 200, None, (), body)
        else:
            self._reply(transaction, request, 200)
        ringing.feed(RingingInput.PRACK)
        if not usable:
            self.reject(488)

    # What the transaction says

    def _cancelled(self, cancel: Request) -> None:
        """Take a CANCEL that has been answered with 200 by the user agent."""
        self.feed(SessionInput.FAR_CANCEL, cancel)

    def _stop_all(self) -> None:
        super()._stop_all()
        if self._ringing is not None:
            self._ringing.feed(RingingInput.FINISH)

    def _contact(self) -> str:
        return self.core.contact(self._flow, self.dialog is not None and self.dialog.secure)

    # Outputs

    def _ring(self, what: tuple[int, bytes | None, Headers, bool]) -> None:
        status, sdp, headers, reliably = what
        if reliably:
            if self._ringing is None:
                first = self.core.random.randint(1, FIRST_RSEQ)
                self._ringing = ReliableRinging(self, self.request.cseq.number, first)
            self._ringing.feed(RingingInput.DESCRIBE if sdp else RingingInput.RING, Provisional(status, sdp, headers))
        else:
            self._reply(self._transaction, self.request, status, None, headers, sdp)
        self._stop_timer()
        self._timer = self.core.clock.callLater(RING_AGAIN, self._ring_again)

    def _ring_again(self) -> None:
        self._transaction.feed(ServerInput.REQUEST)  # what the INVITE coming again would do
        self._timer = self.core.clock.callLater(RING_AGAIN, self._ring_again)

    def _answer(self, what: tuple[bytes | None, Headers]) -> None:
        sdp, headers = what
        self._stop_timer()
        # From here on a CANCEL is answered, and changes nothing (RFC 3261 9.2, R36).
        self._transaction.on_cancel = None
        self._accept(self._transaction, self.request, sdp, headers, initial=True)

    def _reject(self, what: tuple[int, str | None, Headers]) -> None:
        status, reason, headers = what
        self._refuse(status, reason, headers)
        self._release()
        self._dissolve()

    def _give_up(self, headers: Headers) -> None:
        """`bye` before an answer."""
        self._reject((480, None, headers))

    def _refuse(self, status: int, reason: str | None = None, headers: Headers = ()) -> None:
        self._end(None)
        self._transaction.on_cancel = None
        self._reply(self._transaction, self.request, status, reason, headers)
        if self.dialog is not None:
            self.dialog.over = True

    def _report_cancelled(self, request: Request) -> None:
        """487 to the INVITE that CANCEL, or BYE (RFC 3261 15.1.2, R12), took back."""
        observer = self.observer
        self._refuse(487)
        self._release()
        self._dissolve()
        if observer is not None:
            observer.session_cancelled(self, request)

    def _report_unacknowledged(self, _: object) -> None:
        """5xx to an INVITE whose caller never acknowledges that it rings (RFC 3262 3)."""
        observer = self.observer
        self._refuse(504, "No PRACK")
        self._release()
        self._dissolve()
        if observer is not None:
            observer.session_unconfirmed(self)

    def _report_confirmed(self, ack: Request) -> None:
        if self.observer is not None:
            self.observer.session_confirmed(self, ack)

    def _close(self, headers: Headers) -> None:
        """Wait for the ACK, or 64*T1, before the BYE (RFC 3261 15)."""
        self.observer = None
        self._bye_headers = headers

    def _close_rejected(self, _: object) -> None:
        self._close(())

    def _close_now(self, _: object) -> None:
        self._hang_up(())


_S, _I = SessionState, SessionInput
_In = IncomingSession
_OF_THE_CALLER = (_I.PROGRESS, _I.SUCCESS, _I.REFUSED, _I.LOST, _I.CANCEL)

INCOMING: Table[SessionState, SessionInput] = {
    _S.PROCEEDING: {
        _I.RING: (_S.PROCEEDING, (_In._ring,)),
        _I.ANSWER: (_S.ANSWERED, (_In._answer,)),
        _I.REJECT: (_S.ENDED, (_In._reject,)),
        _I.HANG_UP: (_S.ENDED, (_In._give_up,)),
        _I.FAR_CANCEL: (_S.ENDED, (_In._report_cancelled,)),
        _I.FAR_BYE: (_S.ENDED, (_In._report_cancelled,)),
        _I.UNACKED: (_S.ENDED, (_In._report_unacknowledged,)),  # the PRACK of a reliable response
        **ignored(_S.PROCEEDING, _I.DEAD, _I.ACKED, *_OF_THE_CALLER),
    },
    _S.ANSWERED: {
        _I.ACKED: (_S.CONFIRMED, (_In._report_confirmed,)),
        _I.UNACKED: (_S.ENDED, (_In._report_unconfirmed,)),
        _I.REJECT: (_S.CLOSING, (_In._close_rejected,)),
        _I.HANG_UP: (_S.CLOSING, (_In._close,)),
        # Their BYE says that they have seen our 2xx, whatever became of the ACK.
        _I.FAR_BYE: (_S.ENDED, (_In._report_ended,)),
        # R36: a CANCEL that crosses our 2xx changes nothing.
        **ignored(_S.ANSWERED, _I.DEAD, _I.FAR_CANCEL, _I.RING, _I.ANSWER, *_OF_THE_CALLER),
    },
    _S.CLOSING: {
        _I.ACKED: (_S.ENDED, (_In._close_now,)),
        _I.UNACKED: (_S.ENDED, (_In._close_now,)),
        _I.FAR_BYE: (_S.ENDED, (_In._report_ended,)),
        **ignored(_S.CLOSING, _I.DEAD, _I.FAR_CANCEL, _I.RING, _I.ANSWER, _I.REJECT, _I.HANG_UP, *_OF_THE_CALLER),
    },
    _S.CONFIRMED: {
        _I.HANG_UP: (_S.ENDED, (_In._hang_up,)),
        _I.REJECT: (_S.ENDED, (_In._close_now,)),
        _I.FAR_BYE: (_S.ENDED, (_In._report_ended,)),
        _I.UNACKED: (_S.ENDED, (_In._report_unconfirmed,)),  # that of a re-INVITE's 2xx
        _I.DEAD: (_S.ENDED, (_In._report_dead,)),
        **ignored(_S.CONFIRMED, _I.FAR_CANCEL, _I.ACKED, _I.RING, _I.ANSWER, *_OF_THE_CALLER),
    },
    # Never entered by a session whose INVITE came to us; the row keeps the table complete.
    _S.WITHDRAWN: ignored(_S.WITHDRAWN, *SessionInput),
    _S.ENDED: {
        _I.HANG_UP: (_S.ENDED, (_In._release,)),
        **ignored(_S.ENDED, *(one for one in SessionInput if one is not _I.HANG_UP)),
    },
}
IncomingSession.table = INCOMING
