"""Our own re-INVITEs and UPDATEs within a dialog: one at a time, the others wait (RFC 3261 14.1, RFC 3311 5.1).

Owns: the dialog's queue (``transfer.md`` rule 4), glare and its timers (R10), what each kind of answer means for the
session, and the ACK of every 2xx, also of those that come late, again, or after the session's end. Must not know what a
description says: the session's observer writes it when its turn has come, and is told what became of it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import attrs

from telephony.interfaces import DelayedCall
from telephony.sip.dialog import VIA_TO_COME
from telephony.sip.flow import Flow
from telephony.sip.message import Request, Response
from telephony.sip.transaction import ClientTransaction, TransactionFailure

if TYPE_CHECKING:
    from telephony.sip.sending import Sending
    from telephony.sip.session import Session

SDP = "application/sdp"
#: How often one request is sent in all, glare, too short intervals and "try again later" together.
MAX_TRIES = 10
#: How many requests may wait for their turn.
MAX_WAITING = 8
#: The longest Retry-After that is waited for, in seconds: what RFC 3261 14.2 lets a 500 say.
LONGEST_WAIT = 10


@attrs.define(eq=False)
class Wish:
    """A request that waits for its turn. ``purpose`` is the observer's; None is a refresh (RFC 4028 7.4)."""

    purpose: object
    tries: int = 0


class Offers:
    """The requests of one session that make an offer, or only refresh it, in the order of asking."""

    __slots__ = ("_running", "_session", "_wait", "_wishes")

    def __init__(self, session: Session) -> None:
        self._session = session
        #: The first one is the one that is under way, or waits after a glare.
        self._wishes: deque[Wish] = deque()
        self._running: Attempt | None = None
        self._wait: DelayedCall | None = None

    @property
    def offering(self) -> bool:
        """Whether an offer of ours waits for its answer: theirs is 491 then (R10, RFC 3261 14.2, RFC 3311 5.2)."""
        return self._running is not None and self._running.offers

    def ask(self, purpose: object) -> bool:
        """Enter a request; False when too many wait. The observer hears of it in time, unless the session ends first.

        A refresh is not entered twice, nor behind another request: that refreshes as well.
        """
        if purpose is None and self._wishes:
            return True
        if len(self._wishes) >= MAX_WAITING:
            return False
        self._wishes.append(Wish(purpose))
        self.go_on()
        return True

    def withdraw(self, purpose: object) -> bool:
        """Strike a request that hasn't been sent; False when it has been, or isn't there."""
        for wish in self._wishes:
            if wish.purpose is purpose and not (self._running is not None and wish is self._wishes[0]):
                if wish is self._wishes[0]:
                    self._stop_waiting()
                self._wishes.remove(wish)
                self.go_on()
                return True
        return False

    def go_on(self) -> None:
        """Send the next request, if it may be sent now."""
        if self._wishes and self._running is None and self._wait is None and self._session.may_offer:
            self._send(self._wishes[0])

    def close(self) -> None:
        """Forget what waits: the session is over (R10: a BYE ends the wait). What is under way ends by itself."""
        self._stop_waiting()
        self._wishes.clear()
        self._running = None

    def _stop_waiting(self) -> None:
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None

    # Sending

    def _send(self, wish: Wish) -> None:
        session = self._session
        observer, dialog = session.observer, session.dialog
        assert observer is not None and dialog is not None
        refresh = wish.purpose is None
        update = refresh and session.peer_updates
        # A refresh by UPDATE needs no offer; one by re-INVITE repeats the last description (RFC 4028 7.4).
        body = b"" if update else observer.session_offer(session, wish.purpose)
        wish.tries += 1
        request = dialog.request("UPDATE" if update else "INVITE")
        session.dress(request)
        for name, value in session.timer.asks():
            request.set(name, value)
        if body:
            request.set("Content-Type", SDP)
            request.body = body
        self._running = attempt = Attempt(session, wish, request)
        session.core.reach(dialog, attempt.begin)

    # What the attempt says

    def succeeded(self, attempt: Attempt, response: Response) -> None:
        """Take the 2xx; it has been acknowledged."""
        if self._running is not attempt:
            return
        session, observer = self._session, self._session.observer
        session.timer.refreshed(response)
        self._done()
        if attempt.offers and observer is not None:
            observer.session_offer_answered(session, attempt.wish.purpose, response.body)
        self._next()

    def failed(self, attempt: Attempt, status: int, reason: str, response: Response | None, again: bool) -> None:
        """Take a refusal, or (status 0) that it couldn't be sent; ``again``: at once, for a reason that is gone now."""
        if self._running is not attempt:
            return
        session, observer, wish = self._session, self._session.observer, attempt.wish
        self._running = None
        wait = self._wait_for(status, response)
        if (again or wait is not None) and wish.tries < MAX_TRIES:
            if attempt.offers and observer is not None:
                observer.session_offer_withdrawn(session)
            if wait is None:
                self.go_on()
            else:
                self._wait = session.core.clock.callLater(wait, self._waited)
            return
        self._done()
        if attempt.offers and observer is not None:
            observer.session_offer_withdrawn(session)
            observer.session_offer_refused(session, wish.purpose, status, reason)
        self._next()

    def lost(self, attempt: Attempt, status: int, reason: str) -> None:
        """Take that the dialog isn't there any more: 481, 408 or no answer at all (RFC 3261 12.2.1.2)."""
        if self._running is attempt:
            self._session.lost(status, reason)

    def _wait_for(self, status: int, response: Response | None) -> float | None:
        """Return how long to wait before the request is sent again; None where it isn't."""
        if status == 491:
            # R10, RFC 3261 14.1: the owner of the Call-ID waits longer, in steps of 10 ms.
            random = self._session.core.random
            return (random.randint(210, 400) if self._session.direction == "out" else random.randint(0, 200)) / 100
        if status == 500 and response is not None:
            # R11 from the other side: they have not answered something of their own yet (RFC 3311 5.2).
            text = (response.get("Retry-After") or "").partition(";")[0].partition("(")[0].strip()
            if text.isascii() and text.isdigit() and int(text[:9]) <= LONGEST_WAIT:
                return float(text)
        return None

    def _waited(self) -> None:
        self._wait = None
        self.go_on()

    def _done(self) -> None:
        self._running = None
        self._wishes.popleft()

    def _next(self) -> None:
        """Go on, unless what the observer was told has ended the session."""
        if not self._session.over:
            self.go_on()


class Attempt:
    """One request of ours under way. Lives on after its session's end, to acknowledge what still comes."""

    __slots__ = (
        "_ack",
        "_cancelled",
        "_done",
        "_sending",
        "_session",
        "_watched",
        "method",
        "offers",
        "request",
        "wish",
    )

    def __init__(self, session: Session, wish: Wish, request: Request) -> None:
        self._session = session
        self.wish = wish
        self.request = request
        self.method = request.method
        self.offers = bool(request.body)
        self._sending: Sending | None = None
        self._done = False
        self._watched = False
        self._cancelled = False
        #: Our ACK as it was sent, by the To tag it acknowledges: there is one, but for proxies that fork mid-dialog.
        self._ack: tuple[Flow, bytes] | None = None

    def begin(self, flow: Flow | None, reason: str) -> None:
        """Send the request over ``flow``; None: there is no way."""
        session = self._session
        if session.over:
            return
        if flow is None:
            self._fail(0, reason)
            return
        request = self.request
        request.set("Contact", session.core.contact(flow, session.dialog is not None and session.dialog.secure))
        assert session.dialog is not None
        self._sending = session._send(
            request, flow, session.dialog, on_response=self._response, on_failure=self._failed
        )

    def _response(self, response: Response) -> None:
        status = response.status
        if status < 200:
            if self.method == "INVITE" and not self._watched:
                # A transaction that got a 1xx waits for ever (RFC 3261 17.1.1.2); a user agent shouldn't.
                self._watched = True
                self._session.core.transactions.long.add(self._overdue)
            return
        if status < 300 and self.method == "INVITE":
            self._acknowledge(response)
        if self._done:
            return
        self._done = True
        session = self._session
        if status < 300:
            if self.method == "UPDATE" and session.dialog is not None:
                session.dialog.refresh(response, self._sending.flow if self._sending is not None else None)
            if session.offers is not None:
                session.offers.succeeded(self, response)
        elif status in (408, 481):
            if session.offers is not None:
                session.offers.lost(self, status, "Dialog Unknown" if status == 481 else "Request Timeout")
        else:
            self._refused(status, response)

    def _refused(self, status: int, response: Response) -> None:
        session = self._session
        again = False
        if session.over:
            return
        if status == 422:
            again = session.timer.too_brief(self.request, response)
        elif status in (405, 501) and self.method == "UPDATE":
            session.peer_updates = False
            again = True
        if session.offers is not None:
            session.offers.failed(self, status, response.reason, response, again)

    def _fail(self, status: int, reason: str) -> None:
        self._done = True
        if self._session.offers is not None:
            self._session.offers.failed(self, status, reason, None, False)

    def _failed(self, failure: TransactionFailure, reason: str) -> None:
        if self._done:
            return
        if failure is TransactionFailure.TRANSPORT:
            self._fail(0, reason)  # R37: the flow is gone, the dialog isn't
            return
        self._done = True
        if self._session.offers is not None:
            self._session.offers.lost(self, 408, "Request Timeout")

    def _overdue(self) -> None:
        """Give up a re-INVITE that was heard of once, 64*T1 after that: by CANCEL (9.1), later by itself."""
        sending = self._sending
        if sending is None or self._done:
            return
        transaction: ClientTransaction = sending.transaction
        if not transaction.unanswered:
            return
        if self._cancelled or self._session.over:
            sending.abandon()
            self._failed(TransactionFailure.TIMEOUT, "no final answer")
            return
        self._cancelled = True
        sending.stop_retrying()
        core = self._session.core
        core.transactions.start(cancel_of(transaction.request), core.renewed(transaction.flow))
        core.transactions.long.add(self._overdue)

    def _acknowledge(self, response: Response) -> None:
        """Send the ACK of a 2xx, each time it comes (RFC 3261 13.2.2.4)."""
        session = self._session
        core, dialog, sending = session.core, session.dialog, self._sending
        if self._ack is not None:
            flow, data = self._ack
            core.renewed(flow).send(data)
            return
        if dialog is None or sending is None or self._done:
            return  # its ACK waits for a name to be looked up
        dialog.refresh(response, sending.flow)
        ack = dialog.request("ACK", response.cseq.number)
        for name in ("Authorization", "Proxy-Authorization"):
            for value in sending.request.get_all(name):  # RFC 3261 22.1: the same as the INVITE had
                ack.add(name, value)
        fallback = sending.flow

        def found(flow: Flow | None, _reason: str) -> None:
            if flow is None:
                flow = core.renewed(fallback)
            core.stamp(ack, flow)
            self._ack = flow, ack.to_bytes()
            flow.send(self._ack[1])

        core.reach(dialog, found)


def cancel_of(request: Request) -> Request:
    """Return the CANCEL of an INVITE as it was sent (RFC 3261 9.1)."""
    cancel = Request("CANCEL", request.uri)
    cancel.set("Via", request.get("Via") or VIA_TO_COME)
    for route in request.get_all("Route"):
        cancel.add("Route", route)
    cancel.set("Max-Forwards", "70")
    for name in ("From", "To", "Call-ID"):
        cancel.set(name, request.get(name) or "")
    cancel.set("CSeq", f"{request.cseq.number} CANCEL")
    return cancel
