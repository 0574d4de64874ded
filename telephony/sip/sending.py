"""A request of ours until it has its answer: sent, and sent again with credentials when it is challenged (RFC 3261 22).

Owns: the one place where a 401 or 407 is answered, for every method and whoever asks: a new transaction with a new
branch and the next CSeq (8.1.3.5, 22.2), to the address that sent the challenge (``transfer.md`` rule 3). Must not know
dialogs or what the request is for.

What comes back is *challenged* at most once for each realm, unless the server says that the nonce was stale: a second
challenge means that the password is wrong, and is passed on as the refusal it is. The caller of a CANCEL and of an ACK
doesn't come here: neither may be challenged (22.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

from telephony.sip.auth import Authentication
from telephony.sip.flow import Elsewhere, Flow
from telephony.sip.headers import parse_delay
from telephony.sip.message import Request, Response
from telephony.sip.transaction import ClientTransaction, TransactionFailure, Transactions

#: How often one request may be sent again in all, however stale its nonces are said to be.
MAX_RETRIES = 4


class SendingCore(Protocol):
    """What a `Sending` needs of the user agent."""

    @property
    def random(self) -> Random:
        """The randomness."""

    @property
    def transactions(self) -> Transactions:
        """All transactions."""

    @property
    def counters(self) -> Counter[str]:
        """Counts of what is worth showing."""

    def stamp(self, request: Request, flow: Flow) -> None:
        """Write the topmost Via, with a branch of its own."""

    def renewed(self, flow: Flow) -> Flow:
        """Return ``flow``, or where it has been closed another to the same peer."""


class Sending:
    """One request under way, retries included.

    ``on_response`` gets each response that its user is to see, as `ClientTransaction` has it; a challenge that is
    answered is not among them. ``on_failure`` is called in place of a final response, ``on_end`` when no response can
    come any more. ``on_retry`` is called with this object once the request has been sent again: `request` and
    `transaction` are the latest ones. ``next_cseq`` numbers a retry within a dialog or registration; without it the
    retry has the number after the request's.

    ``elsewhere`` are the targets after the present one: the request goes on to the next where one is silent, can't be
    reached or says 503. ``on_elsewhere`` adapts it before it is sent there.
    """

    __slots__ = (
        "_answered",
        "_carried",
        "_core",
        "_elsewhere",
        "_final",
        "_live",
        "_next_cseq",
        "_on_elsewhere",
        "_on_end",
        "_on_failure",
        "_on_response",
        "_on_retry",
        "_retries",
        "authentication",
        "refused_because",
        "transaction",
    )

    def __init__(
        self,
        core: SendingCore,
        request: Request,
        flow: Flow,
        authentication: Authentication | None = None,
        *,
        on_response: Callable[[Response], None] | None = None,
        on_failure: Callable[[TransactionFailure, str], None] | None = None,
        on_end: Callable[[], None] | None = None,
        on_retry: Callable[[Sending], None] | None = None,
        next_cseq: Callable[[], int] | None = None,
        elsewhere: Elsewhere | None = None,
        on_elsewhere: Callable[[Request, Flow], None] | None = None,
    ) -> None:
        """Send ``request``, whose Via is written here. Nothing is reported before this returns.

        The credentials for challenges that ``authentication`` has met before go with it (22.3).
        """
        self._core = core
        self._on_response = on_response
        self._on_failure = on_failure
        self._on_end = on_end
        self._on_retry = on_retry
        self._next_cseq = next_cseq
        self._elsewhere = elsewhere
        self._on_elsewhere = on_elsewhere
        self.authentication = authentication
        #: Where this very request was challenged and has answered: by whether a proxy asked, and realm.
        self._answered: set[tuple[bool, str]] = set()
        #: The nonces it carried last.
        self._carried: dict[tuple[bool, str], str] = {}
        self._retries = 0
        #: Whether its user has been told the outcome, or has lost interest.
        self._final = False
        #: How many of its transactions may still bring something.
        self._live = 0
        #: Why the last challenge was not answered, in words; "" where it was, or none came.
        self.refused_because = ""
        self.transaction: ClientTransaction
        if authentication is not None:
            self._carried = authentication.authorize(request, self._cnonce())
        self._start(request, flow)

    @property
    def request(self) -> Request:
        """The request as it was sent last."""
        return self.transaction.request

    @property
    def flow(self) -> Flow:
        """The way it took last."""
        return self.transaction.flow

    def stop_retrying(self) -> None:
        """Pass every further challenge on: the request isn't wanted any more (it has been cancelled)."""
        self._retries = MAX_RETRIES
        self._elsewhere = None

    def _cnonce(self) -> str:
        return f"{self._core.random.getrandbits(64):016x}"

    def _start(self, request: Request, flow: Flow) -> None:
        core = self._core
        core.stamp(request, flow)
        self._live += 1
        self.transaction = core.transactions.start(request, flow, self._response, self._failed, self._ended)

    def _response(self, response: Response) -> None:
        if response.status in (401, 407) and self._retry(response):
            return
        elsewhere = self._elsewhere
        if elsewhere is not None:
            # Only a 503 says that another server would do (RFC 3263 4.3): a received 408 is the target's own word.
            full = response.status == 503
            elsewhere.answered(parse_delay(response.get("Retry-After")) if full else 0.0)
            if full and self._move_on():
                return
        if response.status >= 200:
            self._final = True
        if self._on_response is not None:
            self._on_response(response)

    def _retry(self, response: Response) -> bool:
        """Send the request again with what a challenge asks for; False when it is to be passed on as a refusal."""
        authentication = self.authentication
        last = self.transaction
        if authentication is None:
            self.refused_because = "there is no password for it"
            return False
        if response.cseq.number != last.request.cseq.number:
            return False
        challenges, self.refused_because = authentication.fitting(response)
        if not challenges:
            return False
        for one in challenges:
            # To be asked again after an answer, or for the same nonce, says that the password is wrong. What carried
            # an old nonce has not been asked yet: many servers don't say stale then.
            key = one.proxy, one.realm
            if one.nonce == self._carried.get(key) or (key in self._answered and not one.stale):
                self.refused_because = "the user or the password is wrong"
                return False
        if self._retries >= MAX_RETRIES:
            self.refused_because = "it was challenged too often"
            return False
        self._retries += 1
        for one in challenges:
            self._answered.add((one.proxy, one.realm))
            authentication.take(one)
        request = last.request.copy()
        number = self._next_cseq() if self._next_cseq is not None else last.request.cseq.number + 1
        request.set("CSeq", f"{number} {request.method}")
        self._carried = authentication.authorize(request, self._cnonce())
        self._core.counters["challenges_answered"] += 1
        self._start(request, self._core.renewed(last.flow))
        if self._on_retry is not None:
            self._on_retry(self)
        return True

    def again(self, fields: Iterable[tuple[str, str]]) -> bool:
        """Send the request again with these fields in place of what it had (422: RFC 4028 7.3), to who refused it.

        For its user, while it is told of the refusal. False when it has been sent too often.
        """
        if self._retries >= MAX_RETRIES:
            return False
        self._retries += 1
        last = self.transaction
        request = last.request.copy()
        number = self._next_cseq() if self._next_cseq is not None else last.request.cseq.number + 1
        request.set("CSeq", f"{number} {request.method}")
        for name, value in fields:
            request.set(name, value)
        if self.authentication is not None:
            self._carried = self.authentication.authorize(request, self._cnonce())
        self._final = False
        self._start(request, self._core.renewed(last.flow))
        if self._on_retry is not None:
            self._on_retry(self)
        return True

    def _move_on(self) -> bool:
        """Send the request to its next target, as a transaction of its own (RFC 3263 4.3); False when there is none."""
        flow = self._elsewhere.next() if self._elsewhere is not None else None
        if flow is None:
            return False
        request = self.transaction.request.copy()
        if self._on_elsewhere is not None:
            self._on_elsewhere(request, flow)
        self._core.counters["failovers"] += 1
        self._start(request, flow)
        if self._on_retry is not None:
            self._on_retry(self)
        return True

    def _failed(self, failure: TransactionFailure, reason: str) -> None:
        if self._elsewhere is not None:
            self._elsewhere.silent()
            if self._move_on():
                return
        self._final = True
        if self._on_failure is not None:
            self._on_failure(failure, reason)
        self._dissolve()

    def abandon(self) -> None:
        """Forget the request now: its user knows that no final response will come (RFC 3261 9.1)."""
        self._final = True
        self.transaction.abandon()

    def _ended(self) -> None:
        """Count a transaction that is over; one that failed says so after its end."""
        self._live -= 1
        self._dissolve()

    def _dissolve(self) -> None:
        """Let go of its user, who holds this object, once nothing can come any more."""
        if self._live or not self._final:
            return
        ended = self._on_end
        self._on_response = self._on_failure = self._on_retry = self._on_end = None
        self._next_cseq = self._elsewhere = self._on_elsewhere = None
        if ended is not None:
            ended()
