"""The session whose INVITE came to us (RFC 3261 9.2, 13.3, 15).

Owns: the provisional and final responses to the INVITE, the 2xx sent until its ACK comes, and the races of CANCEL and
BYE with both. Must not know sockets, media or SDP.
"""

from __future__ import annotations

from telephony.interfaces import Address
from telephony.sip.dialog import Dialog
from telephony.sip.flow import Flow
from telephony.sip.message import Request
from telephony.sip.session import Core, Headers, Session, SessionInput, SessionState
from telephony.sip.transaction import InviteServerTransaction, ServerInput
from telephony.tables import Table, ignored

#: A proxy forgets an INVITE that rings for three minutes without a word (RFC 3261 13.3.1.1).
RING_AGAIN = 60.0


class IncomingSession(Session):
    """A peer's INVITE and its dialog."""

    __slots__ = ("_flow", "_transaction")

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
        dialog.flow = flow
        # The peer at the other end of a connection is the dialog's next hop, and often can't be reached in another way.
        # Behind a proxy that doesn't stay in the dialog it isn't the next hop.
        dialog.stays = flow.reliable and bool(dialog.route_set or len(request.vias) == 1)
        transaction.to_tag = local_tag
        transaction.on_cancel = self._cancelled

    @property
    def arrived_at(self) -> Address:
        """Our end of the way the INVITE came by."""
        return self._flow.local

    # Verbs

    def ring(self, status: int = 180, sdp: bytes | None = None, headers: Headers = ()) -> None:
        """Send a 101 to 199, with SDP or without; repeated each minute. Harmless once there is a final response."""
        if not 101 <= status <= 199:
            raise ValueError(f"{status} is no status for ringing: it must be 101 to 199")
        self.feed(SessionInput.RING, (status, sdp, headers))

    def answer(self, sdp: bytes | None, headers: Headers = ()) -> None:
        """Send 200, again and again until its ACK comes. Harmless once there is a final response."""
        self.feed(SessionInput.ANSWER, (sdp, headers))

    def reject(self, status: int, reason: str | None = None, headers: Headers = ()) -> None:
        """Send a 300 to 699; the observer hears nothing more. After our 2xx it is a `bye`."""
        if not 300 <= status <= 699:
            raise ValueError(f"{status} is no status to reject with: it must be 300 to 699")
        self.observer = None
        self.feed(SessionInput.REJECT, (status, reason, headers))

    # What the transaction says

    def _cancelled(self, cancel: Request) -> None:
        """Take a CANCEL that has been answered with 200 by the user agent."""
        self.feed(SessionInput.FAR_CANCEL, cancel)

    def _contact(self) -> str:
        return self.core.contact(self._flow)

    # Outputs

    def _ring(self, what: tuple[int, bytes | None, Headers]) -> None:
        status, sdp, headers = what
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
        **ignored(_S.PROCEEDING, _I.ACKED, _I.UNACKED, *_OF_THE_CALLER),
    },
    _S.ANSWERED: {
        _I.ACKED: (_S.CONFIRMED, (_In._report_confirmed,)),
        _I.UNACKED: (_S.ENDED, (_In._report_unconfirmed,)),
        _I.REJECT: (_S.CLOSING, (_In._close_rejected,)),
        _I.HANG_UP: (_S.CLOSING, (_In._close,)),
        # Their BYE says that they have seen our 2xx, whatever became of the ACK.
        _I.FAR_BYE: (_S.ENDED, (_In._report_ended,)),
        # R36: a CANCEL that crosses our 2xx changes nothing.
        **ignored(_S.ANSWERED, _I.FAR_CANCEL, _I.RING, _I.ANSWER, *_OF_THE_CALLER),
    },
    _S.CLOSING: {
        _I.ACKED: (_S.ENDED, (_In._close_now,)),
        _I.UNACKED: (_S.ENDED, (_In._close_now,)),
        _I.FAR_BYE: (_S.ENDED, (_In._report_ended,)),
        **ignored(_S.CLOSING, _I.FAR_CANCEL, _I.RING, _I.ANSWER, _I.REJECT, _I.HANG_UP, *_OF_THE_CALLER),
    },
    _S.CONFIRMED: {
        _I.HANG_UP: (_S.ENDED, (_In._hang_up,)),
        _I.REJECT: (_S.ENDED, (_In._close_now,)),
        _I.FAR_BYE: (_S.ENDED, (_In._report_ended,)),
        _I.UNACKED: (_S.ENDED, (_In._report_unconfirmed,)),  # that of a re-INVITE's 2xx
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
