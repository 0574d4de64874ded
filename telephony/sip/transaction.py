"""SIP transactions: the four machines of RFC 3261 17, with the Accepted state of RFC 6026.

Owns: retransmission, absorbing the peer's retransmissions, the ACK of a refusal, and when a transaction is over. Must
not know dialogs, sockets or what a response means to its user. Time comes from the clock it is given.

Per transaction there is one object and at most one timer of its own: timers A and B (E and F, G and H) are one timer
that knows which of the two is next. The timers that only wait for stragglers (D, I, J, K, L, M) all run 64*T1 or T4
and are never stopped early, so all transactions share one timer for each of the two: `Aftermath`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from enum import Enum

from telephony.interfaces import Clock, DelayedCall
from telephony.sip.auth import copy_credentials
from telephony.sip.flow import Flow, WayBack
from telephony.sip.message import Request, Response
from telephony.sip.timers import Timers
from telephony.tables import I, Machine, S, Symbol, Table, ignored

#: What a branch that identifies a transaction begins with (RFC 3261 8.1.1.7).
COOKIE = "z9hG4bK"

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


class ServerState(Symbol):
    """Where a server transaction is. PROCEEDING includes Trying for what isn't an INVITE."""

    PROCEEDING = "proceeding"
    COMPLETED = "completed"
    CONFIRMED = "confirmed"
    ACCEPTED = "accepted"
    TERMINATED = "terminated"


class ServerInput(Symbol):
    """What happens to a server transaction; the first three come from its user."""

    PROVISIONAL = "send a 1xx"
    SUCCESS = "send a 2xx"
    FAILURE = "send a 300 to 699"
    REQUEST = "the request again"
    ACK = "an ACK"
    RESEND = "timer G"
    GIVE_UP = "timer H"
    QUIET = "timer I, J or L"


class TransactionFailure(Enum):
    """Why a client transaction ended without a final response (RFC 3261 8.1.3.1)."""

    TIMEOUT = "no answer"
    TRANSPORT = "transport failure"


class Aftermath:
    """Transactions waiting out one fixed time, oldest first, on a single timer."""

    __slots__ = ("_clock", "_delay", "_timer", "_waiting")

    def __init__(self, clock: Clock, delay: float) -> None:
        self._clock = clock
        self._delay = delay
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self._timer: DelayedCall | None = None

    def add(self, over: Callable[[], None]) -> None:
        """Call ``over`` when the time has passed."""
        self._waiting.append((self._clock.seconds() + self._delay, over))
        if self._timer is None:
            self._timer = self._clock.callLater(self._delay, self._pass)

    def _pass(self) -> None:
        self._timer = None
        # A microsecond of grace: floating-point sums must not make a second timer for the same moment.
        now = self._clock.seconds() + 1e-6
        waiting = self._waiting
        while waiting and waiting[0][0] <= now:
            waiting.popleft()[1]()
        if waiting and self._timer is None:
            self._timer = self._clock.callLater(max(0.0, waiting[0][0] - self._clock.seconds()), self._pass)

    def clear(self) -> None:
        """Forget everything, and stop the timer."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Timed(Machine[S, I]):
    """A machine with one timer, which sends again at growing intervals until its time is up."""

    __slots__ = ("_deadline", "_interval", "_timer", "layer")

    def __init__(self, layer: Transactions, state: S) -> None:
        super().__init__(state)
        self.layer = layer
        self._timer: DelayedCall | None = None
        self._interval = 0.0
        self._deadline = 0.0

    def _start(self, interval: float, lifetime: float, resend: I, give_up: I) -> None:
        """Set the timer for the first time; an interval of 0 means that nothing is sent again."""
        self._interval = interval
        self._deadline = self.layer.clock.seconds() + lifetime
        self._wait(resend, give_up)

    def _wait(self, resend: I, give_up: I) -> None:
        left = self._deadline - self.layer.clock.seconds()
        last = not self._interval or self._interval >= left - 1e-6
        self._timer = self.layer.clock.callLater(
            max(0.0, left if last else self._interval), self._fire, give_up if last else resend
        )

    def _fire(self, one: I) -> None:
        self._timer = None
        self.feed(one)

    def _stop(self, _: object = None) -> None:
        timer = self._timer
        if timer is not None:
            self._timer = None
            timer.cancel()


class ClientTransaction(_Timed[ClientState, ClientInput]):
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

    def _quiet(self) -> None:
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
            self.layer.refused.add(self._quiet)

    def _linger_accepted(self, _: object) -> None:
        """Start timer M, which runs on every transport: 2xx of other forks may still come."""
        self._data = b""
        self.layer.long.add(self._quiet)


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
            self.layer.short.add(self._quiet)


class ServerTransaction(_Timed[ServerState, ServerInput]):
    """A peer's request under way (RFC 3261 17.2); make one with `Transactions.accept`."""

    __slots__ = (
        "_data",
        "back",
        "key",
        "merge_key",
        "on_cancel",
        "to_tag",
    )

    def __init__(self, layer: Transactions, key: Hashable, merge_key: Hashable, back: WayBack) -> None:
        super().__init__(layer, ServerState.PROCEEDING)
        self.key = key
        self.merge_key = merge_key
        self.back = back
        #: The tag in our responses: an ACK by RFC 2543 is told by it, and the answer to a CANCEL has the same (9.2).
        self.to_tag: str | None = None
        #: What a CANCEL does, as long as it can do something.
        self.on_cancel: Callable[[Request], None] | None = None
        self._data = b""

    @property
    def silent(self) -> bool:
        """Whether nothing has been sent yet."""
        return self.state is ServerState.PROCEEDING and not self._data

    def respond(self, response: Response) -> bytes:
        """Send a response, as far as the state allows; returns it as bytes."""
        status = response.status
        data = response.to_bytes()
        if status > 100 and self.to_tag is None:
            self.to_tag = response.to.tag
        self.feed(
            ServerInput.PROVISIONAL if status < 200 else ServerInput.SUCCESS if status < 300 else ServerInput.FAILURE,
            data,
        )
        return data

    # Outputs.

    def _send(self, data: bytes) -> None:
        self._data = data
        self.back.send(data)

    def _send_again(self, _: object) -> None:
        if self._data:
            self.back.send(self._data)

    def _quiet(self) -> None:
        if self.state is not ServerState.TERMINATED:
            self.feed(ServerInput.QUIET)

    def _linger(self, _: object) -> None:
        """Start timer J: 0 on a reliable transport."""
        if self.back.reliable:
            self.feed(ServerInput.QUIET)
        else:
            self.layer.long.add(self._quiet)

    def _finish(self, _: object = None) -> None:
        self._stop()
        self.layer.server.pop(self.key, None)
        if self.layer.merging.get(self.merge_key) is self:
            del self.layer.merging[self.merge_key]
        self.on_cancel = None
        self._data = b""


class InviteServerTransaction(ServerTransaction):
    """The INVITE server transaction (RFC 3261 17.2.1, RFC 6026 7.1)."""

    __slots__ = ()

    def send_again(self, data: bytes) -> None:
        """Send the 2xx again, for the session that waits for its ACK (RFC 3261 13.3.1.4)."""
        if self.state is ServerState.ACCEPTED:
            self.feed(ServerInput.SUCCESS, data)

    def _accept(self, data: bytes) -> None:
        """Send the first 2xx and start timer L: until it ends, the INVITE coming again is absorbed."""
        self._data = b""
        self.back.send(data)
        self.layer.long.add(self._quiet)

    def _pass_down(self, data: bytes) -> None:
        self.back.send(data)

    def _refuse(self, data: bytes) -> None:
        """Send the refusal; start timers G (unreliable transports only) and H."""
        self._send(data)
        timers = self.layer.timers
        self._start(0.0 if self.back.reliable else timers.t1, timers.lifetime, ServerInput.RESEND, ServerInput.GIVE_UP)

    def _resend(self, _: object) -> None:
        self.back.send(self._data)
        self._interval = min(self._interval * 2, self.layer.timers.t2)
        self._wait(ServerInput.RESEND, ServerInput.GIVE_UP)

    def _confirm(self, _: object) -> None:
        """Start timer I, to absorb ACKs: 0 on a reliable transport."""
        self._stop()
        self._data = b""
        if self.back.reliable:
            self.feed(ServerInput.QUIET)
        else:
            self.layer.short.add(self._quiet)


class OtherServerTransaction(ServerTransaction):
    """The non-INVITE server transaction (RFC 3261 17.2.2)."""

    __slots__ = ()


_C, _S = ClientState, ServerState
_CI, _SI = ClientInput, ServerInput
_Invite, _Other = InviteClientTransaction, OtherClientTransaction
_Inviter, _Requester = InviteServerTransaction, OtherServerTransaction

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

INVITE_SERVER: Table[ServerState, ServerInput] = {
    _S.PROCEEDING: {
        _SI.PROVISIONAL: (_S.PROCEEDING, (_Inviter._send,)),
        _SI.SUCCESS: (_S.ACCEPTED, (_Inviter._accept,)),
        _SI.FAILURE: (_S.COMPLETED, (_Inviter._refuse,)),
        _SI.REQUEST: (_S.PROCEEDING, (_Inviter._send_again,)),
        **ignored(_S.PROCEEDING, _SI.ACK, _SI.RESEND, _SI.GIVE_UP, _SI.QUIET),
    },
    _S.COMPLETED: {
        _SI.REQUEST: (_S.COMPLETED, (_Inviter._send_again,)),
        _SI.ACK: (_S.CONFIRMED, (_Inviter._confirm,)),
        _SI.RESEND: (_S.COMPLETED, (_Inviter._resend,)),
        _SI.GIVE_UP: (_S.TERMINATED, (_Inviter._finish,)),
        **ignored(_S.COMPLETED, _SI.PROVISIONAL, _SI.SUCCESS, _SI.FAILURE, _SI.QUIET),
    },
    _S.CONFIRMED: {
        _SI.QUIET: (_S.TERMINATED, (_Inviter._finish,)),
        **ignored(
            _S.CONFIRMED,
            *(_SI.PROVISIONAL, _SI.SUCCESS, _SI.FAILURE, _SI.REQUEST, _SI.ACK, _SI.RESEND, _SI.GIVE_UP),
        ),
    },
    _S.ACCEPTED: {
        # RFC 6026 7.1: the INVITE again is absorbed, the session alone repeats its 2xx.
        _SI.SUCCESS: (_S.ACCEPTED, (_Inviter._pass_down,)),
        _SI.QUIET: (_S.TERMINATED, (_Inviter._finish,)),
        **ignored(_S.ACCEPTED, *(_SI.PROVISIONAL, _SI.FAILURE, _SI.REQUEST, _SI.ACK, _SI.RESEND, _SI.GIVE_UP)),
    },
    _S.TERMINATED: ignored(_S.TERMINATED, *ServerInput),
}

OTHER_SERVER: Table[ServerState, ServerInput] = {
    _S.PROCEEDING: {
        _SI.PROVISIONAL: (_S.PROCEEDING, (_Requester._send,)),
        _SI.SUCCESS: (_S.COMPLETED, (_Requester._send, _Requester._linger)),
        _SI.FAILURE: (_S.COMPLETED, (_Requester._send, _Requester._linger)),
        _SI.REQUEST: (_S.PROCEEDING, (_Requester._send_again,)),
        **ignored(_S.PROCEEDING, _SI.ACK, _SI.RESEND, _SI.GIVE_UP, _SI.QUIET),
    },
    _S.COMPLETED: {
        _SI.REQUEST: (_S.COMPLETED, (_Requester._send_again,)),
        _SI.QUIET: (_S.TERMINATED, (_Requester._finish,)),
        **ignored(_S.COMPLETED, *(_SI.PROVISIONAL, _SI.SUCCESS, _SI.FAILURE, _SI.ACK, _SI.RESEND, _SI.GIVE_UP)),
    },
    # Only an INVITE is ever in these two; the rows keep the table complete.
    _S.CONFIRMED: ignored(_S.CONFIRMED, *ServerInput),
    _S.ACCEPTED: ignored(_S.ACCEPTED, *ServerInput),
    _S.TERMINATED: ignored(_S.TERMINATED, *ServerInput),
}

InviteClientTransaction.table = INVITE_CLIENT
OtherClientTransaction.table = OTHER_CLIENT
InviteServerTransaction.table = INVITE_SERVER
OtherServerTransaction.table = OTHER_SERVER


def server_key(request: Request) -> Hashable:
    """Return what a request's transaction is found by (RFC 3261 17.2.3); an ACK has its INVITE's key.

    A branch without the cookie, or with nothing behind it, is of RFC 2543's time and identifies nothing: then the
    older rules hold, but for the To tag, which CSeq makes redundant.
    """
    via = request.via
    branch = via.branch
    method = "INVITE" if request.method == "ACK" else request.method
    if branch is not None and len(branch) > len(COOKIE) and branch.startswith(COOKIE):
        return (branch, via.host.lower(), via.port, method)
    return (request.uri, request.from_.tag, request.call_id, request.cseq.number, via.host, branch, method)


def merge_key(request: Request) -> Hashable:
    """Return what two copies of one request have in common that came by different paths (RFC 3261 8.2.2.2)."""
    return (request.call_id, request.from_.tag, request.cseq)


class Transactions:
    """All transactions of one user agent, and what they share: clock, timer values, the two `Aftermath`s."""

    __slots__ = ("client", "clock", "long", "merging", "narrow", "refused", "server", "short", "timers", "widen")

    def __init__(self, clock: Clock, timers: Timers) -> None:
        self.clock = clock
        self.timers = timers
        self.client: dict[ClientKey, ClientTransaction] = {}
        self.server: dict[Hashable, ServerTransaction] = {}
        #: Asked about a request that is too long for UDP: the TCP flow to take, its Via changed, or None; and told
        #: where that flow was refused, so that the Via is changed back (RFC 3261 18.1.1).
        self.widen: Callable[[Request, Flow], Flow | None] | None = None
        self.narrow: Callable[[Request, Flow], None] | None = None
        self.merging: dict[Hashable, ServerTransaction] = {}
        #: 64*T1, for timers J, L and M.
        self.long = Aftermath(clock, timers.lifetime)
        #: T4, for timers I and K.
        self.short = Aftermath(clock, timers.t4)
        #: Timer D, which is the same as the first unless T1 is short.
        self.refused = self.long if timers.timer_d == timers.lifetime else Aftermath(clock, timers.timer_d)

    def start(
        self,
        request: Request,
        flow: Flow,
        on_response: Callable[[Response], None] | None = None,
        on_failure: Callable[[TransactionFailure, str], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> ClientTransaction:
        """Send a request over a flow, as a transaction of its own. Its topmost Via must hold a fresh branch."""
        kind = InviteClientTransaction if request.method == "INVITE" else OtherClientTransaction
        transaction = kind(self, request, flow, on_response, on_failure, on_end)
        self.client[transaction.key] = transaction
        transaction.begin()
        return transaction

    def accept(self, request: Request, key: Hashable, back: WayBack) -> ServerTransaction:
        """Make the transaction of a request that matches none; ``key`` is its `server_key`."""
        invite = request.method == "INVITE"
        merging = merge_key(request)
        transaction = (InviteServerTransaction if invite else OtherServerTransaction)(self, key, merging, back)
        self.server[key] = transaction
        self.merging.setdefault(merging, transaction)
        return transaction

    def close(self) -> None:
        """Forget all transactions at once; nothing is sent and no user is told."""
        for server in self.server.values():
            server._stop()
            server.state = ServerState.TERMINATED
            server.on_cancel = None
        for client in self.client.values():
            client._stop()
            client.flow.unwatch(client)
            client.state = ClientState.TERMINATED
            client.on_response = client.on_failure = client.on_end = None
        self.client.clear()
        self.server.clear()
        self.merging.clear()
        self.long.clear()
        self.short.clear()
        self.refused.clear()
