"""REFER within a call, both ways, and the implicit subscription that comes of it (RFC 3515, RFC 6665).

Owns: our REFER until its outcome is known (`Referral`), a peer's until we have told it the outcome (`Referred`), and
the book of both for one session (`References`): which NOTIFY is about which REFER, also after the call's BYE (RFC 3515
2.4.7). Must not know what a transfer is to an application, nor who is called because of a REFER.

There is no SUBSCRIBE here: a subscription is as long as the call it tells of, or ends with the session (RFC 3515 2.4.4
leaves the refresh to whoever wants it).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

import attrs

from telephony.errors import RemoteProtocolError
from telephony.interfaces import DelayedCall
from telephony.sip.flow import Flow
from telephony.sip.message import Request, Response, reason_phrase
from telephony.sip.refer_words import SIPFRAG, ReferTo, Report, read_refer, read_report, write_report
from telephony.sip.transaction import ServerTransaction, TransactionFailure
from telephony.tables import Machine, Symbol, ignored

if TYPE_CHECKING:
    from telephony.sip.dialog import Dialog
    from telephony.sip.session import Session

#: How many REFERs of ours one dialog may have reports to come for; the oldest is forgotten beyond that.
MOST_SENT = 8
#: How many REFERs of the peer's are followed at a time in one dialog.
MOST_TAKEN = 1
#: What a NOTIFY of ours says of how long the subscription lasts, in seconds: as long as a call may ring.
EXPIRES = 180


class ReferralState(Symbol):
    """Where a REFER of ours is."""

    ASKED = "the REFER is on its way"
    ACCEPTED = "a 2xx came, and no NOTIFY yet"
    RUNNING = "the far end tells how its call gets on"
    KNOWN = "the outcome has been told, the subscription has not been ended"
    OVER = "refused, or nothing more will be told"


class ReferralInput(Symbol):
    """What can happen to it."""

    TAKEN = "a 2xx to the REFER"
    REFUSED = "a 300 to 699 to the REFER, or none at all"
    PROGRESS = "a NOTIFY without an outcome"
    OUTCOME = "a NOTIFY with a final status"
    LAST = "a NOTIFY that ends the subscription"
    SILENT = "no NOTIFY for 64*T1"
    CLOSED = "nobody waits for more"


class Kind(Enum):
    """What is told of a REFER."""

    ACCEPTED = "the far end will try"
    PROGRESS = "its call gets on, with a 1xx"
    OUTCOME = "its call has been answered or refused, with the final status"
    REFUSED = "the far end won't do it, with the status of the REFER (0: none came)"
    UNKNOWN = "the far end will never tell what became of it"


@attrs.frozen
class News:
    """Something that is told of a REFER; all but ACCEPTED and PROGRESS are its end."""

    kind: Kind
    status: int = 0
    reason: str = ""


class Referral(Machine[ReferralState, ReferralInput]):
    """A REFER of ours; ``told`` hears `News` of it until `close`, at most one of them an end."""

    __slots__ = ("_session", "number", "told")

    def __init__(self, session: Session, number: int, told: Callable[[News], None]) -> None:
        super().__init__(ReferralState.ASKED)
        self._session: Session | None = session
        #: Its CSeq, by which NOTIFYs name it (RFC 3515 2.4.6); that of a retry with credentials is the new one.
        self.number = number
        self.told: Callable[[News], None] | None = told

    def close(self) -> None:
        """Hear no more of it; NOTIFYs are still answered with 200, so that the far end keeps its dialog."""
        self.told = None

    # What its transaction says

    def answered(self, response: Response) -> None:
        """Take a response to the REFER."""
        if response.status < 200:
            return
        self.number = response.cseq.number
        if response.status < 300:
            self.feed(ReferralInput.TAKEN)
        else:
            self.feed(ReferralInput.REFUSED, News(Kind.REFUSED, response.status, response.reason))

    def failed(self, failure: TransactionFailure, reason: str) -> None:
        """Take that no response came."""
        status = 408 if failure is TransactionFailure.TIMEOUT else 0
        self.feed(ReferralInput.REFUSED, News(Kind.REFUSED, status, reason))

    def reported(self, report: Report) -> None:
        """Take a NOTIFY."""
        news = News(Kind.OUTCOME if report.status >= 200 else Kind.PROGRESS, report.status, report.reason)
        if report.last:
            self.feed(ReferralInput.LAST, news if news.kind is Kind.OUTCOME else News(Kind.UNKNOWN))
        else:
            self.feed(ReferralInput.OUTCOME if news.kind is Kind.OUTCOME else ReferralInput.PROGRESS, news)

    # Outputs

    def _tell(self, news: News) -> None:
        if self.told is not None:
            self.told(news)

    def _accepted(self, _: object) -> None:
        session = self._session
        if session is not None:
            session.core.transactions.long.add(self._silent)
        self._tell(News(Kind.ACCEPTED))

    def _silent(self) -> None:
        # Timer N of RFC 6665 4.1.2.4: the NOTIFY comes at once, or there is no subscription.
        self.feed(ReferralInput.SILENT, News(Kind.UNKNOWN, 0, "no NOTIFY came"))

    def _done(self, _: object) -> None:
        self.told = None

    def _end(self, _: object) -> None:
        self.told = None
        session, self._session = self._session, None
        if session is not None and session.references is not None:
            session.references.over(self)


_S, _I = ReferralState, ReferralInput
_R = Referral
Referral.table = {
    _S.ASKED: {
        _I.TAKEN: (_S.ACCEPTED, (_R._accepted,)),
        _I.REFUSED: (_S.OVER, (_R._tell, _R._end)),
        # A NOTIFY may be here before the 2xx that it follows (RFC 6665 4.1.2.4).
        _I.PROGRESS: (_S.RUNNING, (_R._tell,)),
        _I.OUTCOME: (_S.KNOWN, (_R._tell, _R._done)),
        _I.LAST: (_S.OVER, (_R._tell, _R._end)),
        _I.CLOSED: (_S.OVER, (_R._end,)),
        **ignored(_S.ASKED, _I.SILENT),
    },
    _S.ACCEPTED: {
        _I.PROGRESS: (_S.RUNNING, (_R._tell,)),
        _I.OUTCOME: (_S.KNOWN, (_R._tell, _R._done)),
        _I.LAST: (_S.OVER, (_R._tell, _R._end)),
        _I.SILENT: (_S.OVER, (_R._tell, _R._end)),
        _I.CLOSED: (_S.OVER, (_R._end,)),
        **ignored(_S.ACCEPTED, _I.TAKEN, _I.REFUSED),
    },
    _S.RUNNING: {
        _I.PROGRESS: (_S.RUNNING, (_R._tell,)),
        _I.OUTCOME: (_S.KNOWN, (_R._tell, _R._done)),
        _I.LAST: (_S.OVER, (_R._tell, _R._end)),
        _I.REFUSED: (_S.OVER, (_R._tell, _R._end)),
        _I.CLOSED: (_S.OVER, (_R._end,)),
        **ignored(_S.RUNNING, _I.TAKEN, _I.SILENT),
    },
    _S.KNOWN: {
        _I.LAST: (_S.OVER, (_R._end,)),
        _I.CLOSED: (_S.OVER, (_R._end,)),
        **ignored(_S.KNOWN, _I.TAKEN, _I.REFUSED, _I.PROGRESS, _I.OUTCOME, _I.SILENT),
    },
    _S.OVER: ignored(_S.OVER, *_I),
}


class Referred:
    """A REFER of the peer's. Whoever is handed it calls `accept` or `refuse`, and then `report`.

    ``refer_to`` is what it asks for. It gets 603 from who does neither.
    """

    __slots__ = ("_dialog", "_over", "_request", "_session", "_transaction", "_waiting", "refer_to")

    def __init__(
        self, session: Session, request: Request, transaction: ServerTransaction, dialog: Dialog, refer_to: ReferTo
    ) -> None:
        self._session = session
        self._request = request
        self._transaction: ServerTransaction | None = transaction
        self._dialog = dialog
        self._over = False
        #: The reports to be sent, the first of which is under way: they keep their order on any transport.
        self._waiting: deque[tuple[int, str]] = deque()
        self.refer_to = refer_to

    @property
    def answered(self) -> bool:
        """Whether the REFER has had its response."""
        return self._transaction is None

    def accept(self) -> None:
        """Answer 202, and report at once that we are trying (RFC 3515 2.4.2, 2.4.4; RFC 6665 4.2.2)."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            session = self._session
            self._dialog.refresh(self._request)
            session._reply(transaction, self._request, 202, headers=(("Contact", session._contact()),))
            self.report(100)

    def refuse(self, status: int) -> None:
        """Answer with a 300 to 699; nothing is reported."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            self._session._reply(transaction, self._request, status)
            self._end()

    def report(self, status: int, reason: str = "") -> None:
        """Send a NOTIFY with this status; from 200 on it is the last one. Harmless after that."""
        if self._over or self._transaction is not None:
            return
        self._over = status >= 200
        waiting = self._waiting
        while len(waiting) > 1:
            waiting.pop()  # what has not been sent yet is out of date
        waiting.append((status, reason or reason_phrase(status)))
        if len(waiting) == 1:
            self._send()

    def _send(self) -> None:
        session = self._session
        status, reason = self._waiting[0]
        notify = self._dialog.request("NOTIFY")
        write_report(notify, self._request.cseq.number, status, reason, EXPIRES)
        send_within(session, self._dialog, notify, self._response, self._failed)

    def _response(self, response: Response) -> None:
        if response.status < 200:
            return
        if response.status == 481:
            self._gone()  # RFC 6665 4.2.2: nobody wants to hear of it
        else:
            self._next()

    def _failed(self, _failure: TransactionFailure, _reason: str) -> None:
        self._gone()

    def _gone(self) -> None:
        self._over = True
        self._waiting.clear()
        self._end()

    def _next(self) -> None:
        if self._waiting:
            self._waiting.popleft()
        if self._waiting:
            self._send()
        elif self._over:
            self._end()

    def _end(self) -> None:
        self._over = True
        references = self._session.references
        if references is not None:
            references.done(self)


class References:
    """The REFERs of one session, both ways."""

    __slots__ = ("_goodbye", "_kept", "_sent", "_session", "_taken")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._sent: list[Referral] = []
        self._taken: list[Referred] = []
        self._goodbye: DelayedCall | None = None
        #: Whether the session stays in the books after its end, because of what is still to be told.
        self._kept = False

    @property
    def open(self) -> bool:
        """Whether the peer still has something to tell, also after the call's end (RFC 3515 2.4.7)."""
        return bool(self._sent)

    # Ours

    def send(self, refer_to: str, referred_by: str | None, told: Callable[[News], None]) -> Referral | None:
        """Send a REFER in the session's dialog; None when there is none to send it in."""
        session = self._session
        dialog = session.dialog
        if dialog is None or dialog.over:
            return None
        request = dialog.request("REFER")
        request.set("Refer-To", refer_to)
        if referred_by is not None:
            request.set("Referred-By", referred_by)
        referral = Referral(session, request.cseq.number, told)
        while len(self._sent) >= MOST_SENT:
            self._sent[0].feed(ReferralInput.CLOSED)
        self._sent.append(referral)
        send_within(
            session,
            dialog,
            request,
            referral.answered,
            referral.failed,
            lambda again: setattr(referral, "number", again.cseq.number),
        )
        return referral

    def over(self, referral: Referral) -> None:
        """Strike a REFER of ours of which nothing more will be told."""
        if referral in self._sent:
            self._sent.remove(referral)
        if not self._sent:
            self._let_go()

    def notified(self, request: Request, transaction: ServerTransaction) -> None:
        """Answer a NOTIFY: 200; 481 where there is no such subscription, 489 for another event (RFC 6665 4.1.3)."""
        session = self._session
        try:
            report = read_report(request)
        except RemoteProtocolError as error:
            session._reply(transaction, request, error.status)
            return
        if report.event != "refer":
            session._reply(transaction, request, 489, headers=(("Allow-Events", "refer"),))
            return
        # Only the first REFER of a dialog may be spoken of without its number (RFC 3515 2.4.6).
        known = [one for one in self._sent if report.number in (None, one.number)]
        if not known:
            session._reply(transaction, request, 481)
            return
        if not report.understood:
            session._reply(transaction, request, 415, headers=(("Accept", SIPFRAG),))
        else:
            session._reply(transaction, request, 200)
        known[0].reported(report)

    # Theirs

    def came(self, request: Request, transaction: ServerTransaction, dialog: Dialog) -> None:
        """Take a REFER: refuse what can't be followed, and hand the rest to the session's owner."""
        session = self._session
        try:
            refer_to = read_refer(request)
        except RemoteProtocolError as error:
            session._reply(transaction, request, error.status)
            return
        referred = Referred(session, request, transaction, dialog, refer_to)
        if session.observer is None or dialog is not session.dialog or len(self._taken) >= MOST_TAKEN:
            referred.refuse(603)
            return
        self._taken.append(referred)
        session.observer.session_referred(session, referred)
        if not referred.answered:
            referred.refuse(603)

    def done(self, referred: Referred) -> None:
        """Strike a REFER of the peer's that has been refused or told the end of."""
        if referred in self._taken:
            self._taken.remove(referred)

    def end_after(self, seconds: float) -> None:
        """End the session in a while, unless the peer does, as who has referred the other side should (RFC 5589 6)."""
        if self._goodbye is None and not self._session.over:
            self._goodbye = self._session.core.clock.callLater(seconds, self._end)

    def _end(self) -> None:
        self._goodbye = None
        self._session.bye()

    # The session's end

    def session_over(self) -> None:
        """The session has ended; what the peer still tells of a REFER of ours is answered for 64*T1."""
        if self._goodbye is not None:
            self._goodbye.cancel()
            self._goodbye = None
        if self._sent and not self._kept:
            self._kept = True
            self._session.keep()
            self._session.core.transactions.long.add(self._expire)

    def _expire(self) -> None:
        for one in tuple(self._sent):
            one.feed(ReferralInput.CLOSED)
        self._let_go()

    def _let_go(self) -> None:
        if self._kept:
            self._kept = False
            self._session.let_go()

    def abandon(self) -> None:
        """Forget everything: the user agent is being closed."""
        if self._goodbye is not None:
            self._goodbye.cancel()
            self._goodbye = None
        self._sent.clear()
        self._taken.clear()


def send_within(
    session: Session,
    dialog: Dialog,
    request: Request,
    answered: Callable[[Response], None],
    failed: Callable[[TransactionFailure, str], None],
    numbered: Callable[[Request], None] | None = None,
) -> None:
    """Send a request in a dialog, BYE or no BYE; ``numbered`` hears of it when it has been sent again."""
    if session.core.product:
        request.set("User-Agent", session.core.product)
    session.keep()

    def found(flow: Flow | None, reason: str) -> None:
        if flow is None:
            failed(TransactionFailure.TRANSPORT, reason)
        else:
            request.set("Contact", session.core.contact(flow, dialog.secure))
            session._send(
                request,
                flow,
                dialog,
                on_response=answered,
                on_failure=failed,
                on_retry=None if numbered is None else (lambda sending: numbered(sending.request)),
            )
        session.let_go()

    session.core.reach(dialog, found)
