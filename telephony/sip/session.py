"""The INVITE session, whichever side began it: dialogs, BYE, and what comes within a dialog (RFC 3261 12.2, 14.2, 15).

Owns: what callers and called have in common. `OutgoingSession` and `IncomingSession` are in modules of their own, our
offers in `telephony.sip.offers`, the words to a session's owner and to its user agent in `telephony.sip.parties`.
Carries SDP as bytes that it does not understand; must not know media, sockets, or what a call is to an application.

Every state machine here is a table; where a race rule of the call's design is kept (R8, R9, R11, R12 …), the line says
so.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import ClassVar, Literal

from twisted.internet.defer import Deferred, succeed

from telephony.errors import RemoteProtocolError
from telephony.interfaces import DelayedCall
from telephony.sip.auth import Authentication
from telephony.sip.dialog import Dialog
from telephony.sip.flow import Flow, WayBack
from telephony.sip.headers import format_reason
from telephony.sip.identity import Identity
from telephony.sip.info import read_info
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.offers import Offers
from telephony.sip.parties import ALLOW, SDP, SUPPORTED, Core, Headers, SessionObserver, SessionRefusal, allows
from telephony.sip.refer import News, References, Referral
from telephony.sip.reliable import RELIABLE
from telephony.sip.sending import Sending
from telephony.sip.session_timer import SessionTimer
from telephony.sip.transaction import InviteServerTransaction, ServerTransaction, TransactionFailure
from telephony.tables import Machine, Symbol


class SessionState(Symbol):
    """Where a session is."""

    PROCEEDING = "no final response yet"
    ANSWERED = "our 2xx is sent, its ACK has not come"
    CONFIRMED = "answered and acknowledged"
    WITHDRAWN = "given up by us, or ended by an early BYE, before a final response"
    CLOSING = "to be ended, once our 2xx is acknowledged"
    ENDED = "over"


class SessionInput(Symbol):
    """What happens to a session. Those with *verb* come from its owner."""

    PROGRESS = "a 1xx to our INVITE"
    SUCCESS = "a 2xx to our INVITE"
    REFUSED = "a 300 to 699 to our INVITE"
    LOST = "no response to our INVITE"
    FAR_CANCEL = "CANCEL of the INVITE"
    FAR_BYE = "BYE"
    ACKED = "the ACK of our 2xx"
    UNACKED = "no ACK for 64*T1"
    DEAD = "the far end is gone: the session timer's end, 408, 481 or no answer to a request of ours"
    RING = "ring (verb)"
    ANSWER = "answer (verb)"
    REJECT = "reject (verb)"
    CANCEL = "cancel (verb)"
    HANG_UP = "bye (verb)"


class Unacknowledged:
    """A 2xx of ours, sent again until its ACK comes, over any transport (RFC 3261 13.3.1.4)."""

    __slots__ = ("_data", "_deadline", "_interval", "_session", "_timer", "_transaction", "initial", "offer")

    def __init__(
        self, session: Session, transaction: InviteServerTransaction, data: bytes, *, initial: bool, offer: bool
    ) -> None:
        timers = session.core.timers
        self.initial = initial
        #: Whether the 2xx holds our offer, whose answer is still to come.
        self.offer = offer
        self._session = session
        self._transaction = transaction
        self._data = data
        self._interval = timers.t1
        self._deadline = session.core.clock.seconds() + timers.lifetime
        self._timer: DelayedCall | None = session.core.clock.callLater(self._interval, self._again)

    def _again(self) -> None:
        core = self._session.core
        left = self._deadline - core.clock.seconds()
        if left < 1e-6:
            self._timer = None
            self._session.feed(SessionInput.UNACKED)
            return
        self._transaction.send_again(self._data)
        self._interval = min(2 * self._interval, core.timers.t2)
        self._timer = core.clock.callLater(min(self._interval, left), self._again)

    def stop(self) -> None:
        """Stop sending."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Session(Machine[SessionState, SessionInput]):
    """One INVITE and what becomes of it. Made by `UserAgent.invite` and for `UserAgent.on_invite`.

    ``observer`` may be set at any time; while it is None events are dropped. ``request`` is the INVITE, ``dialog`` the
    dialog, None until there is one (for an outgoing session: until the 2xx). ``authentication`` answers challenges to
    our requests, BYE included; without it they are refusals.
    """

    __slots__ = (
        "_bye_headers",
        "_byes",
        "_dialogs",
        "_handing",
        "_live",
        "_session_timer",
        "_timer",
        "_unacked",
        "authentication",
        "core",
        "dialog",
        "identity",
        "local_tag",
        "observer",
        "offers",
        "peer_updates",
        "references",
        "request",
    )

    direction: ClassVar[Literal["in", "out"]]

    def __init__(self, core: Core, request: Request, local_tag: str, observer: SessionObserver | None) -> None:
        super().__init__(SessionState.PROCEEDING)
        self.core = core
        self.request = request
        self.local_tag = local_tag
        self.observer = observer
        self.authentication: Authentication | None = None
        #: Who called, where whoever judges callers knows it.
        self.identity: Identity | None = None
        self.dialog: Dialog | None = None
        #: By remote tag: one for an incoming session, one for each fork that answered for an outgoing one.
        self._dialogs: dict[str, Dialog] = {}
        #: By CSeq: our 2xx whose ACK has not come.
        self._unacked: dict[int, Unacknowledged] = {}
        #: Who waits for `bye`.
        self._byes: list[Deferred[None]] = []
        self._bye_headers: Headers = ()
        #: Whether a BYE is on its way to its transaction.
        self._handing = False
        #: How many client transactions may still bring something.
        self._live = 0
        self._timer: DelayedCall | None = None
        self._session_timer: SessionTimer | None = None
        #: Our own offers, once there was one.
        self.offers: Offers | None = None
        #: The REFERs within it, once there was one (RFC 3515).
        self.references: References | None = None
        #: Whether the peer takes UPDATE.
        self.peer_updates = False

    @property
    def call_id(self) -> str:
        """The Call-ID."""
        return self.request.call_id

    @property
    def flows(self) -> list[Flow]:
        """The ways of its dialogs, which connections are kept for."""
        return [dialog.flow for dialog in self._dialogs.values() if dialog.flow is not None]

    @property
    def peer_host(self) -> str | None:
        """The IP address that the peer, or the proxy before it, is reached at; None before there is a way."""
        flow = None if self.dialog is None else self.dialog.flow
        return None if flow is None else flow.remote[0]

    @property
    def over(self) -> bool:
        """Whether the session has ended as far as its owner is concerned."""
        return self.state in (SessionState.ENDED, SessionState.WITHDRAWN, SessionState.CLOSING)

    @property
    def timer(self) -> SessionTimer:
        """The session timer (RFC 4028)."""
        if self._session_timer is None:
            core = self.core
            self._session_timer = SessionTimer(
                core.clock, core.session_expires, core.min_se, self._refresh, self._expired
            )
        return self._session_timer

    @property
    def settled(self) -> bool:
        """Whether the offer of the INVITE, or of its 2xx, has its answer: another may follow (RFC 3311 5.1)."""
        return self.state is not SessionState.PROCEEDING and not any(one.offer for one in self._unacked.values())

    @property
    def may_offer(self) -> bool:
        """Whether a request of ours may be sent now: no INVITE of theirs is under way (RFC 3261 14.1)."""
        usable = self.dialog is not None and not self.dialog.over
        return usable and self.state is SessionState.CONFIRMED and not self._unacked and self.observer is not None

    # Verbs

    def reoffer(self, purpose: object) -> bool:
        """Send a re-INVITE with an offer, as soon as it is its turn; False when too many wait already.

        The observer is asked for the description by `SessionObserver.session_offer`, and told what became of it; it
        hears nothing more of it when the session ends first. ``purpose`` is handed back to it, and isn't None.
        """
        if self.offers is None:
            self.offers = Offers(self)
        return self.offers.ask(purpose)

    def refer(self, refer_to: str, referred_by: str | None, told: Callable[[News], None]) -> Referral | None:
        """Ask the peer by REFER to call somebody (RFC 3515 2.4.1); ``told`` hears what becomes of that.

        Returns None, with nothing sent, where there is no dialog to send it in.
        """
        return None if self.over else self._refers().send(refer_to, referred_by, told)

    def end_after(self, seconds: float) -> None:
        """Send BYE in a while, unless the peer sends it first; for one that nobody owns any more."""
        if not self.over:
            self._refers().end_after(seconds)

    def is_of(self, remote_tag: str) -> bool:
        """Tell whether a peer with this tag is or was in a dialog of this session, an early one included."""
        return remote_tag in self._dialogs or (self.dialog is not None and self.dialog.remote_tag == remote_tag)

    def withdraw(self, purpose: object) -> bool:
        """Take a `reoffer` back, of which the observer hears nothing then; False when it has been sent already."""
        return self.offers is not None and self.offers.withdraw(purpose)

    def bye(self, headers: Headers = ()) -> Deferred[None]:
        """End the session, whatever its state; the observer hears nothing more.

        Fires with None, never fails: at once when there is nothing to send; when the BYE has been handed to its
        transaction; for an incoming session whose 2xx isn't acknowledged yet, that is when the ACK has come, at the
        latest after 64*T1 (RFC 3261 15). An outgoing session without a final response is cancelled, an incoming one
        refused with 480. Calling it again gives the same outcome, and no second BYE.
        """
        self.observer = None
        if self.state is SessionState.ENDED and not self._handing:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._byes.append(done)
        # Nothing changes while the first BYE waits for its way.
        self.feed(SessionInput.HANG_UP, headers)
        return done

    def abandon(self) -> None:
        """Drop the session without a word to anybody: the user agent is being closed."""
        self.state = SessionState.ENDED
        references, self.references = self.references, None
        if references is not None:
            references.abandon()
        self._stop_all()
        self._handed()

    # What comes within a dialog

    def take(self, request: Request, key: Hashable, back: WayBack, flow: Flow) -> None:
        """Take a request, other than ACK and CANCEL, that has our tag; it came by ``flow``."""
        transaction = self.core.transactions.accept(request, key, back)
        dialog = self._dialogs.get(request.from_.tag or "")
        if dialog is None:
            self._take_stray(request, transaction)
            return
        number = request.cseq.number
        if dialog.remote_cseq is not None and number <= dialog.remote_cseq:
            # RFC 3261 12.2.2, R11. An equal number is no retransmission: those were absorbed before they got here.
            self._reply(transaction, request, 500, headers=(("Retry-After", self._a_moment()),))
            return
        dialog.remote_cseq = number
        dialog.heard(request, flow)
        if request.method == "BYE":
            self._take_bye(request, transaction, dialog)
        elif request.method == "NOTIFY":
            self._take_notify(request, transaction)
        elif dialog.over:
            self._reply(transaction, request, 481)
        elif request.method == "REFER":
            self._refers().came(request, transaction, dialog)
        elif request.method == "INVITE":
            assert isinstance(transaction, InviteServerTransaction)
            self._take_invite(request, transaction, dialog)
        elif request.method == "UPDATE":
            self._take_update(request, transaction, dialog)
        elif request.method == "PRACK":
            self._take_prack(request, transaction)
        else:
            self._take_other(request, transaction)

    def _take_stray(self, request: Request, transaction: ServerTransaction) -> None:
        """Take a request that has our tag, but the peer's is one that we haven't met."""
        self._reply(transaction, request, 481)

    def _take_bye(self, request: Request, transaction: ServerTransaction, dialog: Dialog) -> None:
        """Answer a BYE; end the session, if it was of the dialog that counts."""
        if not dialog.over:
            dialog.over = True
            self._reply(transaction, request, 200)
            if dialog is self.dialog:
                self.feed(SessionInput.FAR_BYE, request)
        elif dialog.remote_tag in self._dialogs:
            # R9: both sides hang up at once. Ours is on its way, theirs is granted too, once; a subscription outlives
            # both, and needs the dialog.
            if self.references is None:
                del self._dialogs[dialog.remote_tag]
            self._reply(transaction, request, 200)

    def _take_notify(self, request: Request, transaction: ServerTransaction) -> None:
        """Answer a NOTIFY, before and after the call's BYE (RFC 3515 2.4.7); without a REFER of ours it is 481."""
        if self.references is None:
            self._reply(transaction, request, 481)
        else:
            self.references.notified(request, transaction)

    def _refers(self) -> References:
        if self.references is None:
            self.references = References(self)
        return self.references

    def _take_prack(self, request: Request, transaction: ServerTransaction) -> None:
        """Take a PRACK: of nothing, unless the INVITE came to us (RFC 3262 3)."""
        self._reply(transaction, request, 481)

    def _take_other(self, request: Request, transaction: ServerTransaction) -> None:
        """Answer OPTIONS; answer an INFO (RFC 6086) and pass its key on."""
        if request.method in ("REFER", "NOTIFY"):  # in an early dialog, which nobody can be referred from here
            self._reply(transaction, request, 603 if request.method == "REFER" else 481)
            return
        if request.method != "INFO":
            self._reply(transaction, request, 200, headers=(("Allow", ALLOW), ("Accept", SDP)))
            return
        reading = read_info(request)
        self._reply(transaction, request, reading.status, headers=reading.headers)
        if reading.key is not None and self.observer is not None:
            self.observer.session_key(self, reading.key)

    def _take_invite(self, request: Request, transaction: InviteServerTransaction, dialog: Dialog) -> None:
        """Answer a re-INVITE (RFC 3261 14.2). The owner decides at once, so none is ever left pending."""
        if self.over:
            self._reply(transaction, request, 481)  # R12
            return
        # R11: early on the first INVITE is still pending, theirs with us, or ours with them.
        early = 500 if self.direction == "in" else 491
        status = early if self.state is SessionState.PROCEEDING else self._glare()
        reason, body = None, None
        if not status:
            status, reason, body = self._judge_offer(request)
        if body is None:
            self._refuse_offer(request, transaction, status, reason)
            return
        dialog.refresh(request)
        self._accept(transaction, request, body, (), initial=False)

    def _take_update(self, request: Request, transaction: ServerTransaction, dialog: Dialog) -> None:
        """Answer an UPDATE (RFC 3311 5.2), in an early dialog too; without an offer it refreshes target and timer."""
        if self.over:
            self._reply(transaction, request, 481)
            return
        body: bytes | None = b""
        if request.body:
            status, reason, body = self._glare(), None, None
            if not status:
                status, reason, body = self._judge_offer(request)
            if body is None:
                self._refuse_offer(request, transaction, status, reason)
                return
        dialog.refresh(request)
        self._note_allowed(request)
        headers = () if self.state is SessionState.PROCEEDING else self.timer.answers(request)
        self._reply(transaction, request, 200, None, headers, body)

    def _glare(self) -> int:
        """Return the status for an offer that may not come now (R11, RFC 3261 14.2, RFC 3311 5.2), 0 when it may.

        491: an offer of ours waits for its answer. 500: one of theirs does.
        """
        if self.offers is not None and self.offers.offering:
            return 491
        if self.settled:
            return 0
        return 500 if self.direction == "in" and self.state is SessionState.PROCEEDING else 491

    def _refuse_offer(self, request: Request, transaction: ServerTransaction, status: int, reason: str | None) -> None:
        headers: Headers = ()
        if status == 500:
            headers = (("Retry-After", self._a_moment()),)
        elif status == 415:
            headers = (("Accept", SDP),)
        self._reply(transaction, request, status, reason, headers)

    def _note_allowed(self, message: Message) -> None:
        """Take from an Allow, where there is one, whether the peer takes UPDATE."""
        if message.has("Allow"):
            self.peer_updates = allows(message, "UPDATE")

    def _judge_offer(self, request: Request) -> tuple[int, str | None, bytes | None]:
        """Ask the owner about a re-INVITE: the body of our 2xx, or the status and reason of our refusal."""
        if request.body and request.content_type != SDP:
            return 415, None, None
        if self.observer is None:
            return 488, None, None
        try:
            return 488, None, self.observer.session_offered(self, request)
        except SessionRefusal as refusal:
            return refusal.status, refusal.reason, None
        except RemoteProtocolError as error:
            return error.status, None, None

    def acknowledged(self, ack: Request) -> None:
        """Take an ACK with our tag that belongs to no refusal: it confirms a 2xx, or comes again and is dropped."""
        dialog = self._dialogs.get(ack.from_.tag or "")
        waiting = self._unacked.pop(ack.cseq.number, None) if dialog is not None else None
        if waiting is None:
            return
        waiting.stop()
        if waiting.initial:
            self.feed(SessionInput.ACKED, ack)
        elif waiting.offer and self.observer is not None:
            self.observer.session_answer_in_ack(self, ack)
        if self.offers is not None:
            self.offers.go_on()

    # Responses of ours

    def _reply(
        self,
        transaction: ServerTransaction,
        request: Request,
        status: int,
        reason: str | None = None,
        headers: Headers = (),
        body: bytes | None = None,
    ) -> bytes:
        """Send a response to a request of the peer's."""
        response = respond(request, status, reason, self.local_tag)
        if 100 < status < 300 and request.method in ("INVITE", "UPDATE"):
            response.set("Contact", self._contact())
        if 200 <= status < 300 and request.method in ("INVITE", "UPDATE"):
            response.set("Allow", ALLOW)
        if self.core.product:
            response.set("Server", self.core.product)
        for name, value in headers:
            response.add(name, value)
        if body:
            response.set("Content-Type", SDP)
            response.body = body
        self.core.counters[f"sent_{status}"] += 1
        return transaction.respond(response)

    def _accept(
        self,
        transaction: InviteServerTransaction,
        request: Request,
        body: bytes | None,
        headers: Headers,
        *,
        initial: bool,
    ) -> None:
        """Send a 2xx to an INVITE, and again until its ACK comes."""
        self._note_allowed(request)
        data = self._reply(transaction, request, 200, None, (*headers, *self.timer.answers(request)), body)
        self._unacked[request.cseq.number] = Unacknowledged(
            self, transaction, data, initial=initial, offer=bool(body) and not request.body
        )

    def _contact(self) -> str:
        """Return our Contact."""
        raise NotImplementedError

    def _a_moment(self) -> str:
        """Return a random Retry-After of 0 to 10 s (RFC 3261 14.2)."""
        return str(self.core.random.randint(0, 10))

    # Requests of ours

    def dress(self, request: Request) -> None:
        """Write into a request what each INVITE and UPDATE of ours says of us."""
        request.set("Allow", ALLOW)
        # Reliable responses are taken to the first INVITE only, whose caller adds them.
        request.set("Supported", ", ".join(sorted(SUPPORTED - {RELIABLE})))
        if self.core.product:
            request.set("User-Agent", self.core.product)

    def _refresh(self) -> None:
        """Refresh the session: half of its interval is over (RFC 4028 7.4)."""
        self.reoffer(None)

    def _expired(self) -> None:
        self.lost(408, "Session Timer Expired")

    def lost(self, status: int, reason: str) -> None:
        """End the session: the far end isn't there any more. A BYE goes to it all the same (RFC 3261 12.2.1.2)."""
        self.feed(SessionInput.DEAD, (("Reason", format_reason("SIP", status, reason)),))

    def _send_bye(self, dialog: Dialog, headers: Headers, handed: Callable[[], None] | None = None) -> None:
        """Send a BYE in a dialog, unless it has had one; ``handed`` is called when the transaction has it (I2)."""
        if dialog.over:
            if handed is not None:
                handed()
            return
        dialog.over = True
        request = dialog.request("BYE")
        if self.core.product:
            request.set("User-Agent", self.core.product)
        for name, value in headers:
            request.add(name, value)
        self._live += 1

        def found(flow: Flow | None, _reason: str) -> None:
            if flow is None:
                self.core.counters["byes_without_way"] += 1
            else:
                # Whatever answers it, a 481 included, the dialog is over (R9); no answer ends it too (15.1.1).
                self._send(request, flow, dialog)
            self._transaction_ended()
            if handed is not None:
                handed()

        self.core.reach(dialog, found)

    def _send(
        self,
        request: Request,
        flow: Flow,
        dialog: Dialog,
        *,
        on_response: Callable[[Response], None] | None = None,
        on_failure: Callable[[TransactionFailure, str], None] | None = None,
        on_retry: Callable[[Sending], None] | None = None,
    ) -> Sending:
        """Send a request within a dialog, and again where it is challenged; see `Sending`."""
        self._live += 1
        return Sending(
            self.core,
            request,
            flow,
            self.authentication,
            on_response=on_response,
            on_failure=on_failure,
            on_end=self._transaction_ended,
            on_retry=on_retry,
            next_cseq=dialog.next_cseq,
            elsewhere=self.core.elsewhere(dialog),
        )

    def inform(self, content_type: str, body: bytes, answered: Callable[[int], None]) -> None:
        """Send an INFO in the dialog (RFC 6086 4.2); ``answered`` gets its final status, 0 for none or without a way.

        It changes nothing in the session, whatever answers it.
        """
        dialog = self.dialog
        if dialog is None or dialog.over:
            answered(0)
            return
        request = dialog.request("INFO")
        if self.core.product:
            request.set("User-Agent", self.core.product)
        request.set("Content-Type", content_type)
        request.body = body
        self._live += 1

        def came(response: Response) -> None:
            if response.status >= 200:
                answered(response.status)

        def failed(_failure: TransactionFailure, _reason: str) -> None:
            answered(0)

        def found(flow: Flow | None, _reason: str) -> None:
            if flow is None:
                answered(0)
            else:
                self._send(request, flow, dialog, on_response=came, on_failure=failed)
            self._transaction_ended()

        self.core.reach(dialog, found)

    def keep(self) -> None:
        """Stay in the user agent's books until `let_go`, whatever happens."""
        self._live += 1

    def let_go(self) -> None:
        """Take a `keep` back."""
        self._transaction_ended()

    def _transaction_ended(self) -> None:
        """Count a client transaction that can bring nothing more."""
        self._live -= 1
        self._dissolve()

    # The end

    def _hang_up(self, headers: Headers) -> None:
        """Output: BYE in the dialog that counts, and whoever waits in `bye` is told."""
        self._end(None)
        assert self.dialog is not None
        self._handing = True
        self._send_bye(self.dialog, headers or self._bye_headers, self._handed)
        self._dissolve()

    def _handed(self) -> None:
        self._handing = False
        self._release()

    def _end(self, _: object) -> None:
        """Output: stop what runs for a session that is over."""
        self.observer = None
        self._stop_all()

    def _stop_all(self) -> None:
        for waiting in self._unacked.values():
            waiting.stop()
        self._unacked.clear()
        self._stop_timer()
        # Both hold the session: nothing may be left in a circle.
        offers, self.offers = self.offers, None
        if offers is not None:
            offers.close()
        session_timer, self._session_timer = self._session_timer, None
        if session_timer is not None:
            session_timer.stop()
        if self.references is not None:
            self.references.session_over()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _release(self, _: object = None) -> None:
        """Output: tell whoever waits in `bye`, unless the BYE still waits for its way."""
        if self._handing:
            return
        waiting, self._byes = self._byes, []
        for done in waiting:
            done.callback(None)

    def _report_unconfirmed(self, _: object) -> None:
        """Output: no ACK came, the BYE ends it (RFC 3261 13.3.1.4, R35)."""
        observer = self.observer
        self._hang_up(())
        if observer is not None:
            observer.session_unconfirmed(self)

    def _report_dead(self, headers: Headers) -> None:
        """Output: the far end is gone, or as good as gone."""
        observer = self.observer
        self._hang_up(headers)
        if observer is not None:
            observer.session_ended(self, None)

    def _report_ended(self, request: Request | None) -> None:
        """Output: the far end hung up."""
        observer = self.observer
        self._end(None)
        self._release()
        self._dissolve()
        if observer is not None:
            observer.session_ended(self, request)

    def _dissolve(self) -> None:
        """Leave the user agent's books once nothing can come any more."""
        if self.state is SessionState.ENDED and not self._live:
            self.references = None  # it holds the session
            self.core.forget(self)
