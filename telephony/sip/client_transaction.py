"""Client transactions: requests of ours under way (RFC 3261 17.1, RFC 6026 7.2 and 8.4).

Owns: sending a request again, passing its responses up, the ACK of a refusal, and when no response can come any more.
Must not know dialogs, sockets or what a response means to its user.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING

from telephony.sip.auth import copy_credentials
from telephony.sip.flow import Flow
from telephony.sip.message import Request, Response
from telephony.sip.timed import Timed
from telephony.tables import Symbol, Table, ignored

if TYPE_CHECKING:
    from telephony.sip.transaction import Transactions

#: The longest request that goes over UDP where the path's MTU isn't known, in bytes (RFC 3261 18.1.1).
MAX_OVER_UDP = 1300

ClientKey = tuple[str, str]


class ClientState(Symbol):
    """Where a client transaction is. CALLING is called Trying for what isn't an INVITE."""

    CALLING = "calling"
    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class ClientInput(Symbol):
    """What happens to a client transaction."""

    PROVISIONAL = "a 1xx"
    SUCCESS = "a 2xx"
    FAILURE = "a 300 to 699"
    RESEND = "timer A or E"
    GIVE_UP = "timer B or F"
    QUIET = "timer D, K or M"
    BROKEN = "the flow failed"


class TransactionFailure(Enum):
    """Why a client transaction ended without a final response (RFC 3261 8.1.3.1)."""

    TIMEOUT = "no answer"
    TRANSPORT = "transport failure"


class ClientTransaction(Timed[ClientState, ClientInput]):
    """A request of ours under way (RFC 3261 17.1); make one with `Transactions.start`.

    ``on_response`` gets each response its user is to see: all provisional ones before the final one, the final one
    once, and for an INVITE every 2xx (RFC 6026 7.2). ``on_failure`` is called in place of a final response. ``on_end``,
    when set, is called when the transaction is over and no response can match it any more.
    """

    __slots__ = (
        "_data",
        "flow",
        "key",
        "on_end",
        "on_failure",
        "on_response",
        "request",
        "spare",
    )

    def __init__(
        self,
        layer: Transactions,
        request: Request,
        flow: Flow,
        on_response: Callable[[Response], None] | None,
        on_failure: Callable[[TransactionFailure, str], None] | None,
        on_end: Callable[[], None] | None,
    ) -> None:
        super().__init__(layer, ClientState.CALLING)
        self.request = request
        self.flow = flow
        self.key: ClientKey = (request.via.branch or "", request.method)
        self.on_response = on_response
        self.on_failure = on_failure
        self.on_end = on_end
        #: The UDP flow that the request takes after all where the TCP that it is too long for is refused (18.1.1).
        self.spare: Flow | None = None
        self._data = request.to_bytes()
        if flow.transport == "UDP" and len(self._data) > MAX_OVER_UDP and layer.widen is not None:
            wide = layer.widen(request, flow)
            if wide is not None:
                self.flow, self.spare = wide, flow
                self._data = request.to_bytes()

    def begin(self) -> None:
        """Send the request."""
        timers = self.layer.timers
        self._start(0.0 if self.flow.reliable else timers.t1, timers.lifetime, ClientInput.RESEND, ClientInput.GIVE_UP)
        self.flow.watch(self)
        self.flow.send(self._data)

    def receive(self, response: Response) -> None:
        """Take a response that matches."""
        status = response.status
        self.feed(
            ClientInput.PROVISIONAL if status < 200 else ClientInput.SUCCESS if status < 300 else ClientInput.FAILURE,
            response,
        )

    def flow_failed(self, reason: str) -> None:
        """End the transaction, which has no response yet; a long request without TCP begins again over UDP."""
        spare, self.spare = self.spare, None
        if spare is None or self.layer.narrow is None:
            self.feed(ClientInput.BROKEN, reason)
            return
        # The branch stays: should the request have arrived all the same, it is a repetition there.
        self.layer.narrow(self.request, spare)
        self.flow = spare
        self._data = self.request.to_bytes()
        self._stop()
        self.begin()

    @property
    def unanswered(self) -> bool:
        """Whether its final response is still to come."""
        return self.state in (ClientState.CALLING, ClientState.PROCEEDING)

    def abandon(self) -> None:
        """Forget the transaction now: its user knows that no final response will come (RFC 3261 9.1)."""
        if self.state is not ClientState.TERMINATED:
            self.state = ClientState.TERMINATED
            self._finish()

    # Outputs.

    def _pass_up(self, response: Response) -> None:
        if self.on_response is not None:
            self.on_response(response)

    def _answered(self, _: object) -> None:
        """Stop sending again. The flow's end means nothing from now on: responses may come by another one (18.2.2)."""
        self._stop()
        self.flow.unwatch(self)

    def _resend(self, _: object) -> None:
        self.flow.send(self._data)
        self._interval *= 2
        self._wait(ClientInput.RESEND, ClientInput.GIVE_UP)

    def _give_up(self, _: object) -> None:
        failed = self.on_failure
        self._finish()
        if failed is not None:
            failed(TransactionFailure.TIMEOUT, "no answer")

    def _break(self, reason: str) -> None:
        failed = self.on_failure
        self._finish()
        if failed is not None:
            failed(TransactionFailure.TRANSPORT, reason)

    def __call__(self) -> None:
        """Take note that no straggler will come any more (timers D and I to M)."""
        if self.state is not ClientState.TERMINATED:
            self.feed(ClientInput.QUIET)

    def _finish(self, _: object = None) -> None:
        self._stop()
        self.flow.unwatch(self)
        self.layer.client.pop(self.key, None)
        ended = self.on_end
        self.on_response = self.on_failure = self.on_end = None
        self._data = b""
        if ended is not None:
            ended()


class InviteClientTransaction(ClientTransaction):
    """The INVITE client transaction (RFC 3261 17.1.1, RFC 6026 7.2 and 8.4)."""

    __slots__ = ()

    def _report_break(self, reason: str) -> None:
        failed, self.on_failure = self.on_failure, None
        if failed is not None:
            failed(TransactionFailure.TRANSPORT, reason)

    def _acknowledge(self, response: Response) -> None:
        """Send the ACK of a refusal, as part of this transaction (RFC 3261 17.1.1.3)."""
        request = self.request
        ack = Request("ACK", request.uri)
        ack.add("Via", str(request.via))
        for route in request.get_all("Route"):
            ack.add("Route", route)
        ack.add("Max-Forwards", "70")
        ack.add("From", request.get("From") or "")
        ack.add("To", response.get("To") or "")
        ack.add("Call-ID", request.call_id)
        ack.add("CSeq", f"{request.cseq.number} ACK")
        copy_credentials(request, ack)
        self._data = ack.to_bytes()
        self.flow.send(self._data)

    def _acknowledge_again(self, _: object) -> None:
        self.flow.send(self._data)

    def _linger(self, _: object) -> None:
        """Start timer D: 0 on a reliable transport."""
        if self.flow.reliable:
            self.feed(ClientInput.QUIET)
        else:
            self.layer.refused.add(self)

    def _linger_accepted(self, _: object) -> None:
        """Start timer M, which runs on every transport: 2xx of other forks may still come."""
        self._data = b""
        self.layer.long.add(self)


class OtherClientTransaction(ClientTransaction):
    """The non-INVITE client transaction (RFC 3261 17.1.2)."""

    __slots__ = ()

    def _resend(self, _: object) -> None:
        timers = self.layer.timers
        self.flow.send(self._data)
        self._interval = timers.t2 if self.state is ClientState.PROCEEDING else min(self._interval * 2, timers.t2)
        self._wait(ClientInput.RESEND, ClientInput.GIVE_UP)

    def _provisional(self, _: object) -> None:
        # The flow is known to work; sending again goes on, more slowly (RFC 3261 17.1.2.2).
        self.flow.unwatch(self)

    def _linger(self, _: object) -> None:
        """Start timer K: 0 on a reliable transport."""
        if self.flow.reliable:
            self.feed(ClientInput.QUIET)
        else:
            self.layer.short.add(self)


_C, _CI = ClientState, ClientInput
_Invite, _Other = InviteClientTransaction, OtherClientTransaction

INVITE_CLIENT: Table[ClientState, ClientInput] = {
    _C.CALLING: {
        _CI.PROVISIONAL: (_C.PROCEEDING, (_Invite._answered, _Invite._pass_up)),
        _CI.SUCCESS: (_C.ACCEPTED, (_Invite._answered, _Invite._linger_accepted, _Invite._pass_up)),
        _CI.FAILURE: (_C.COMPLETED, (_Invite._answered, _Invite._acknowledge, _Invite._linger, _Invite._pass_up)),
        _CI.RESEND: (_C.CALLING, (_Invite._resend,)),
        _CI.GIVE_UP: (_C.TERMINATED, (_Invite._give_up,)),
        # The INVITE may have arrived all the same: its 2xx, which then comes by a connection of the far end's own
        # (18.2.2), is to be acknowledged.
        _CI.BROKEN: (_C.ACCEPTED, (_Invite._answered, _Invite._linger_accepted, _Invite._report_break)),
        **ignored(_C.CALLING, _CI.QUIET),
    },
    _C.PROCEEDING: {
        _CI.PROVISIONAL: (_C.PROCEEDING, (_Invite._pass_up,)),
        _CI.SUCCESS: (_C.ACCEPTED, (_Invite._linger_accepted, _Invite._pass_up)),
        _CI.FAILURE: (_C.COMPLETED, (_Invite._acknowledge, _Invite._linger, _Invite._pass_up)),
        **ignored(_C.PROCEEDING, _CI.RESEND, _CI.GIVE_UP, _CI.QUIET, _CI.BROKEN),
    },
    _C.COMPLETED: {
        # A proxy passes a 2xx on even after another fork's refusal (RFC 3261 16.7 step 5): it has to be acknowledged.
        _CI.SUCCESS: (_C.COMPLETED, (_Invite._pass_up,)),
        _CI.FAILURE: (_C.COMPLETED, (_Invite._acknowledge_again,)),
        _CI.QUIET: (_C.TERMINATED, (_Invite._finish,)),
        **ignored(_C.COMPLETED, _CI.PROVISIONAL, _CI.RESEND, _CI.GIVE_UP, _CI.BROKEN),
    },
    _C.ACCEPTED: {
        _CI.SUCCESS: (_C.ACCEPTED, (_Invite._pass_up,)),
        _CI.QUIET: (_C.TERMINATED, (_Invite._finish,)),
        **ignored(_C.ACCEPTED, _CI.PROVISIONAL, _CI.FAILURE, _CI.RESEND, _CI.GIVE_UP, _CI.BROKEN),
    },
    _C.TERMINATED: ignored(_C.TERMINATED, *ClientInput),
}

OTHER_CLIENT: Table[ClientState, ClientInput] = {
    _C.CALLING: {
        _CI.PROVISIONAL: (_C.PROCEEDING, (_Other._provisional, _Other._pass_up)),
        _CI.SUCCESS: (_C.COMPLETED, (_Other._answered, _Other._linger, _Other._pass_up)),
        _CI.FAILURE: (_C.COMPLETED, (_Other._answered, _Other._linger, _Other._pass_up)),
        _CI.RESEND: (_C.CALLING, (_Other._resend,)),
        _CI.GIVE_UP: (_C.TERMINATED, (_Other._give_up,)),
        _CI.BROKEN: (_C.TERMINATED, (_Other._break,)),
        **ignored(_C.CALLING, _CI.QUIET),
    },
    _C.PROCEEDING: {
        _CI.PROVISIONAL: (_C.PROCEEDING, (_Other._pass_up,)),
        _CI.SUCCESS: (_C.COMPLETED, (_Other._answered, _Other._linger, _Other._pass_up)),
        _CI.FAILURE: (_C.COMPLETED, (_Other._answered, _Other._linger, _Other._pass_up)),
        _CI.RESEND: (_C.PROCEEDING, (_Other._resend,)),
        _CI.GIVE_UP: (_C.TERMINATED, (_Other._give_up,)),
        **ignored(_C.PROCEEDING, _CI.QUIET, _CI.BROKEN),
    },
    _C.COMPLETED: {
        _CI.QUIET: (_C.TERMINATED, (_Other._finish,)),
        **ignored(_C.COMPLETED, _CI.PROVISIONAL, _CI.SUCCESS, _CI.FAILURE, _CI.RESEND, _CI.GIVE_UP, _CI.BROKEN),
    },
    # Only an INVITE is ever here; the row keeps the table complete.
    _C.ACCEPTED: ignored(_C.ACCEPTED, *ClientInput),
    _C.TERMINATED: ignored(_C.TERMINATED, *ClientInput),
}

InviteClientTransaction.table = INVITE_CLIENT
OtherClientTransaction.table = OTHER_CLIENT
