"""The session whose INVITE is ours (RFC 3261 9.1, 13.2, 15.1.1; RFC 6026).

Owns: the INVITE on its way out, its forks, CANCEL, and the ACK of every 2xx. Must not know sockets, media or SDP.
"""

from __future__ import annotations

from telephony.sip.auth import copy_credentials
from telephony.sip.dialog import VIA_TO_COME, Dialog
from telephony.sip.flow import Elsewhere, Flow
from telephony.sip.headers import format_reason
from telephony.sip.message import Request, Response
from telephony.sip.parties import MAX_FORKS, Core, SessionObserver
from telephony.sip.redirects import Redirects
from telephony.sip.registrar import BindingWays
from telephony.sip.reliable import EarlyDialogs, RAck, reliable_number
from telephony.sip.sending import Sending
from telephony.sip.session import Session, SessionInput, SessionState
from telephony.sip.transaction import ClientState, ServerTransaction, TransactionFailure
from telephony.tables import Table, ignored


class OutgoingSession(Session):
    """An INVITE of ours and the dialogs that its 2xx make.

    The first 2xx decides: its dialog is the session's. Each other one, and each that comes after `cancel`, is
    acknowledged and ended with BYE, in the background, for 64*T1 from the first (R2, R16).
    """

    __slots__ = (
        "_acks",
        "_cancel_reason",
        "_cancel_wanted",
        "_contact_value",
        "_early",
        "_early_byes",
        "_heard",
        "_redirects",
        "_ringing",
        "_sending",
        "near",
    )

    direction = "out"

    def __init__(
        self,
        core: Core,
        request: Request,
        local_tag: str,
        observer: SessionObserver | None,
        redirects: Redirects | None = None,
    ) -> None:
        super().__init__(core, request, local_tag, observer)
        #: Whom to call in the target's place (R6); None: a 3xx is a refusal.
        self._redirects = redirects
        #: The phones of who has signed in here, when it goes to them. What follows takes the way they signed in by:
        #: behind a NAT their Contact leads nowhere (RFC 5626 4.3).
        self.near: BindingWays | None = None
        #: The early dialogs that reliable responses have made (RFC 3262).
        self._early = EarlyDialogs(MAX_FORKS)
        #: The tags of the forks that ring.
        self._ringing: frozenset[str] = frozenset()
        #: The INVITE under way; ``request`` is what was sent last of it.
        self._sending: Sending | None = None
        #: By To tag: the ACK of a 2xx as it was sent, to be sent again when that 2xx comes again.
        self._acks: dict[str, tuple[Flow, bytes]] = {}
        #: To tags whose BYE came before their 2xx (R7a).
        self._early_byes: set[str] = set()
        #: Whether a 1xx has come: a CANCEL must not be sent before (RFC 3261 9.1).
        self._heard = False
        self._cancel_wanted = False
        self._cancel_reason: str | None = None
        self._contact_value = ""

    # Verbs

    def cancel(self, reason: str | None = None) -> None:
        """Give the call up before it is answered; the observer hears nothing more. Harmless later.

        ``reason`` is a Reason value (RFC 3326) or plain text. CANCEL is held until a 1xx has come; a 2xx that crosses
        it is acknowledged and ended with BYE (R1, R2).
        """
        if self.state is not SessionState.PROCEEDING:
            return
        self.observer = None
        self.feed(SessionInput.CANCEL, reason)

    # Called by the user agent

    def begin(self, ways: Elsewhere | None, reason: str) -> None:
        """Send the INVITE the first of ``ways`` that there is; None when there is no way, for the ``reason`` given."""
        if self.state is not SessionState.PROCEEDING:
            # Given up while the target's name was looked up: nothing has been sent, so there is nothing to cancel.
            self.feed(SessionInput.LOST, reason)
            return
        flow = ways.next() if ways is not None else None
        if flow is None:
            if not self._redirected(None):
                self.feed(SessionInput.LOST, reason or "no listener of ours can reach it")
            return
        request = self.request
        self._adapt(request, flow)
        self._live += 1
        self._sending = Sending(
            self.core,
            request,
            flow,
            self.authentication,
            on_response=self._response,
            on_failure=self._failed,
            on_end=self._transaction_ended,
            on_retry=self._retried,
            elsewhere=ways,
            on_elsewhere=self._adapt,
        )

    def _adapt(self, request: Request, flow: Flow) -> None:
        """Write our Contact as the target that ``flow`` leads to sees us."""
        if self.near is not None:
            request.uri = self.near.uri
        self._contact_value = self.core.contact(flow, self.request.uri.startswith("sips:"))
        request.set("Contact", self._contact_value)

    # What the transaction says

    def _retried(self, sending: Sending) -> None:
        """Take note that the INVITE was sent again (challenged, or to another target): CANCEL is about the new one."""
        self.request = sending.request
        self._heard = False

    def _response(self, response: Response) -> None:
        status = response.status
        if response.via.branch != self.request.via.branch:
            # From a target that was given up (R5), or a challenged INVITE: only a 2xx still means something.
            if 200 <= status < 300:
                self._another(response)
        elif status < 200:
            self._heard = True
            self._provisional(response)
        elif status < 300:
            self.feed(SessionInput.SUCCESS, response)
        elif not self._lengthened(response) and not self._redirected(response):
            self.feed(SessionInput.REFUSED, response)

    def _failed(self, _failure: TransactionFailure, reason: str) -> None:
        if not self._redirected(None):
            self.feed(SessionInput.LOST, reason)

    def _provisional(self, response: Response) -> None:
        """Pass a 1xx on; acknowledge a reliable one, and drop it when it comes again or out of order (RFC 3262 4)."""
        number = reliable_number(response)
        if number is not None:
            dialog = self._early.take(self.request, response, number)
            if dialog is None:
                self.core.counters["reliable_dropped"] += 1
                return
            self._lead(dialog, response)
            self._send_prack(dialog, RAck(number, response.cseq.number, "INVITE"))
        self.feed(SessionInput.PROGRESS, response)

    def _lead(self, dialog: Dialog, response: Response) -> None:
        """Let a new dialog know which way its INVITE took, and whether its own requests must take it too."""
        assert self._sending is not None
        dialog.flow = flow = self._sending.flow
        dialog.stays = self.near is not None
        if response.via.branch == self.request.via.branch:
            # Of a target that was given up meanwhile (R5) this is not the way.
            dialog.heard(response, flow)

    def _send_prack(self, dialog: Dialog, rack: RAck) -> None:
        """Acknowledge a reliable response in its early dialog. What answers the PRACK changes nothing for us."""
        prack = dialog.request("PRACK")
        prack.set("RAck", str(rack))
        if self.core.product:
            prack.set("User-Agent", self.core.product)
        self._live += 1

        def found(flow: Flow | None, _reason: str) -> None:
            if flow is None:
                self.core.counters["pracks_without_way"] += 1
            else:
                self._send(prack, flow, dialog)
            self._transaction_ended()

        self.core.reach(dialog, found)

    def _lengthened(self, response: Response) -> bool:
        """Send the INVITE again with the session timer that a 422 asks for (RFC 4028 7.3); False where it can't be."""
        sending = self._sending
        if response.status != 422 or self.state is not SessionState.PROCEEDING or sending is None:
            return False
        return self.timer.too_brief(self.request, response) and sending.again(self.timer.asks(initial=True))

    def _redirected(self, response: Response | None) -> bool:
        """Call the next contact of a 3xx, if there is one; ``response`` is the refusal, None for no response at all.

        The new INVITE has the same To, From and Call-ID (RFC 3261 8.1.3.4), and the same offer. A 6xx ends it (R4).
        """
        redirects = self._redirects
        if redirects is None or self.state is not SessionState.PROCEEDING:
            return False
        if response is not None and response.status >= 600:
            return False
        if response is not None and response.status < 400:
            redirects.take(response)
        target = redirects.next()
        if target is None:
            return False
        number = self.request.cseq.number + 1
        self.request = request = self.request.copy()
        request.uri = str(target)
        request.set("Via", VIA_TO_COME)
        request.set("CSeq", f"{number} INVITE")
        # What was said to the first target's challenge is for nobody else, and no new one is answered: the account
        # is that of the target which the application named, unless a proxy of ours stands in between.
        request.remove("Authorization")
        if not request.has("Route"):
            request.remove("Proxy-Authorization")
            self.authentication = None
        elif self.authentication is not None:
            self.authentication.leave_target()
        self.near = None
        self._heard = False
        self._early.clear()
        self.core.counters["redirects_followed"] += 1
        if self.observer is not None:
            self.observer.session_redirected(self, target)
        self.core.place(self, target)
        return True

    def _take_stray(self, request: Request, transaction: ServerTransaction) -> None:
        """Take a request of a fork that hasn't answered yet, or whose 2xx it overtook.

        A 481 would end the dialog on the far side (RFC 5057 5.3), so it is kept for those that can't be ours.
        """
        live = self._sending is not None and self._sending.transaction.state is not ClientState.TERMINATED
        tag = request.from_.tag or ""
        if not live or tag in self._acks:
            self._reply(transaction, request, 481)
        elif request.method == "BYE" and len(self._early_byes) < MAX_FORKS:
            self._early_byes.add(tag)
            self._reply(transaction, request, 200)
            if self.dialog is None:
                self.feed(SessionInput.FAR_BYE, request)  # R7a
        elif self.state is not SessionState.PROCEEDING:
            self._reply(transaction, request, 481)
        elif request.method == "INVITE" or (request.method == "UPDATE" and request.body):
            self._reply(transaction, request, 491)  # R11: our own offer is pending (RFC 3261 14.2, RFC 3311 5.2)
        elif request.method == "PRACK":
            self._take_prack(request, transaction)
        else:
            self._take_other(request, transaction)

    def _contact(self) -> str:
        return self._contact_value

    # Outputs

    @property
    def peer_host(self) -> str | None:
        """Where the INVITE went, before the 2xx."""
        return super().peer_host or (None if self._sending is None else self._sending.flow.remote[0])

    def is_of(self, remote_tag: str) -> bool:
        """Tell whether this is the tag of a fork that answered, or rings."""
        return super().is_of(remote_tag) or (self.state is SessionState.PROCEEDING and remote_tag in self._ringing)

    def _progress(self, response: Response) -> None:
        if response.to.tag is not None and len(self._ringing) < MAX_FORKS:
            self._ringing = self._ringing | {response.to.tag}
        if response.status > 100 and self.observer is not None:
            self.observer.session_progress(self, response)

    def _win(self, response: Response) -> None:
        """The first 2xx: acknowledge it at once, then tell the observer."""
        self.dialog = self._acknowledge(response)
        self._note_allowed(response)
        self.timer.refreshed(response, initial=True)
        if self.observer is not None:
            self.observer.session_answered(self, response)

    def _another(self, response: Response) -> None:
        """Take a 2xx that comes again, or of another fork, or after we gave up (R2, R7a, R16; rule 1)."""
        tag = response.to.tag or ""
        if tag in self._acks:
            flow, ack = self._acks[tag]
            self.core.renewed(flow).send(ack)
            return
        if tag in self._dialogs:
            return  # its ACK waits for a name to be looked up
        if len(self._dialogs) >= MAX_FORKS:
            self.core.counters["forks_dropped"] += 1
            return
        dialog = self._acknowledge(response)
        if tag in self._early_byes:
            dialog.over = True
        else:
            self._send_bye(dialog, ())

    def _acknowledge(self, response: Response) -> Dialog:
        """Make the dialog of a 2xx and send its ACK (RFC 3261 13.2.2.4)."""
        dialog = Dialog.of_caller(self.request, response)
        self._early.confirm(dialog)
        self._dialogs[dialog.remote_tag] = dialog
        self._lead(dialog, response)
        ack = dialog.request("ACK", response.cseq.number)
        copy_credentials(self.request, ack)

        def found(flow: Flow | None, _reason: str) -> None:
            if flow is None:
                # The Contact leads nowhere. The way the INVITE took is the best guess that is left.
                assert dialog.flow is not None
                flow = self.core.renewed(dialog.flow)
            self.core.stamp(ack, flow)
            data = ack.to_bytes()
            self._acks[dialog.remote_tag] = (flow, data)
            flow.send(data)

        self.core.reach(dialog, found)
        return dialog

    def _report_refused(self, response: Response) -> None:
        observer = self.observer
        self._end(None)
        self._release()
        self._dissolve()
        if observer is not None:
            observer.session_refused(self, response.status, response.reason, response)

    def _report_lost(self, reason: str) -> None:
        observer = self.observer
        self._end(None)
        self._release()
        self._dissolve()
        if observer is not None:
            observer.session_refused(self, 0, reason, None)

    def _withdraw(self, reason: object) -> None:
        """Cancel, now or as soon as a 1xx has come; what happens from here on is nobody's business but ours."""
        self._end(None)
        self._cancel_wanted = True
        if self._sending is not None:
            self._sending.stop_retrying()
        if isinstance(reason, str):
            self._cancel_reason = reason
        if self._heard:
            self._send_cancel()
        self._release()

    def _withdraw_later(self, request: Request) -> None:
        """The far end hung up before its 2xx was seen: tell the observer, and give the 2xx time to come (R7a).

        It is very likely on its way, so that a CANCEL would only confuse. One is sent after T2 to end what else may
        be ringing.
        """
        observer = self.observer
        self._end(None)
        if self._sending is not None:
            self._sending.stop_retrying()
        self._release()
        self._timer = self.core.clock.callLater(self.core.timers.t2, self._grace_over)
        if observer is not None:
            observer.session_ended(self, request)

    def _grace_over(self) -> None:
        self._timer = None
        self._cancel_wanted = True
        if self._heard:
            self._send_cancel()

    def _withdrawn_progress(self, _: object) -> None:
        if self._cancel_wanted:
            self._send_cancel()

    def _withdrawn_success(self, response: Response) -> None:
        self._stop_timer()
        self._cancel_wanted = False
        self._another(response)
        self._dissolve()

    def _withdrawn_end(self, _: object) -> None:
        self._stop_timer()
        self._dissolve()

    def _send_cancel(self) -> None:
        """Send CANCEL, once, where the INVITE went (RFC 3261 9.1)."""
        sending = self._sending
        if sending is None or not self._cancel_wanted:
            return
        self._cancel_wanted = False
        invite = self.request
        cancel = Request("CANCEL", invite.uri)
        cancel.set("Via", invite.get("Via") or VIA_TO_COME)
        for route in invite.get_all("Route"):
            cancel.add("Route", route)
        cancel.set("Max-Forwards", "70")
        for name in ("From", "To", "Call-ID"):
            cancel.set(name, invite.get(name) or "")
        cancel.set("CSeq", f"{invite.cseq.number} CANCEL")
        if self._cancel_reason:
            text = self._cancel_reason
            written = text if text.partition(";")[0] in ("SIP", "Q.850") else format_reason("SIP", 487, text)
            cancel.set("Reason", written)
        self.core.transactions.start(cancel, self.core.renewed(sending.flow))
        # Without a final response for 64*T1 the INVITE counts as cancelled, whatever the far end does (9.1).
        self.core.transactions.long.add(self._cancel_unanswered)

    def _cancel_unanswered(self) -> None:
        sending = self._sending
        if sending is not None and sending.transaction.state is ClientState.PROCEEDING:
            sending.abandon()
            self.feed(SessionInput.LOST, "cancelled")


_S, _I = SessionState, SessionInput
_Out = OutgoingSession
_VERBS_OF_THE_CALLED = (_I.RING, _I.ANSWER, _I.REJECT, _I.FAR_CANCEL, _I.ACKED)

OUTGOING: Table[SessionState, SessionInput] = {
    _S.PROCEEDING: {
        _I.PROGRESS: (_S.PROCEEDING, (_Out._progress,)),
        _I.SUCCESS: (_S.CONFIRMED, (_Out._win,)),
        _I.REFUSED: (_S.ENDED, (_Out._report_refused,)),
        _I.LOST: (_S.ENDED, (_Out._report_lost,)),
        _I.CANCEL: (_S.WITHDRAWN, (_Out._withdraw,)),
        _I.HANG_UP: (_S.WITHDRAWN, (_Out._withdraw,)),
        _I.FAR_BYE: (_S.WITHDRAWN, (_Out._withdraw_later,)),
        **ignored(_S.PROCEEDING, _I.UNACKED, _I.DEAD, *_VERBS_OF_THE_CALLED),
    },
    _S.CONFIRMED: {
        _I.SUCCESS: (_S.CONFIRMED, (_Out._another,)),
        _I.HANG_UP: (_S.ENDED, (_Out._hang_up,)),
        _I.FAR_BYE: (_S.ENDED, (_Out._report_ended,)),
        _I.UNACKED: (_S.ENDED, (_Out._report_unconfirmed,)),
        _I.DEAD: (_S.ENDED, (_Out._report_dead,)),
        # R21: a late 18x or 100 says nothing any more; after a 2xx the other forks' refusals don't count.
        **ignored(_S.CONFIRMED, _I.PROGRESS, _I.REFUSED, _I.LOST, _I.CANCEL, *_VERBS_OF_THE_CALLED),
    },
    _S.WITHDRAWN: {
        _I.PROGRESS: (_S.WITHDRAWN, (_Out._withdrawn_progress,)),
        _I.SUCCESS: (_S.ENDED, (_Out._withdrawn_success,)),
        _I.REFUSED: (_S.ENDED, (_Out._withdrawn_end,)),
        _I.LOST: (_S.ENDED, (_Out._withdrawn_end,)),
        _I.HANG_UP: (_S.WITHDRAWN, (_Out._release,)),
        **ignored(_S.WITHDRAWN, _I.CANCEL, _I.FAR_BYE, _I.UNACKED, _I.DEAD, *_VERBS_OF_THE_CALLED),
    },
    # Never entered by a session whose INVITE is ours; the rows keep the table complete.
    _S.ANSWERED: ignored(_S.ANSWERED, *SessionInput),
    _S.CLOSING: ignored(_S.CLOSING, *SessionInput),
    _S.ENDED: {
        _I.SUCCESS: (_S.ENDED, (_Out._another,)),
        _I.HANG_UP: (_S.ENDED, (_Out._release,)),
        **ignored(_S.ENDED, *(one for one in SessionInput if one not in (_I.SUCCESS, _I.HANG_UP))),
    },
}
OutgoingSession.table = OUTGOING
