"""Server transactions: peers' requests under way (RFC 3261 17.2, RFC 6026 7.1), and what they are found by (17.2.3).

Owns: answering a repeated request as before, sending a refusal until its ACK comes, and when nothing can come any more.
Must not know dialogs, sockets or what a request means.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from telephony.sip.flow import WayBack
from telephony.sip.message import Request, Response
from telephony.sip.timed import Timed
from telephony.tables import Symbol, Table, ignored

if TYPE_CHECKING:
    from telephony.sip.transaction import Transactions

#: What a branch that identifies a transaction begins with (RFC 3261 8.1.1.7).
COOKIE = "z9hG4bK"


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


class ServerTransaction(Timed[ServerState, ServerInput]):
    """A peer's request under way (RFC 3261 17.2); make one with `Transactions.accept`."""

    __slots__ = (
        "_data",
        "back",
        "key",
        "merge_key",
        "on_cancel",
        "to_tag",
    )

    def __init__(self, layer: Transactions, key: Hashable, merge_key: Hashable | None, back: WayBack) -> None:
        super().__init__(layer, ServerState.PROCEEDING)
        self.key = key
        #: What another copy of it is known by (`merge_key`); None where nobody asks.
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

    def __call__(self) -> None:
        """Take note that no straggler will come any more (timers D and I to M)."""
        if self.state is not ServerState.TERMINATED:
            self.feed(ServerInput.QUIET)

    def _linger(self, _: object) -> None:
        """Start timer J: 0 on a reliable transport."""
        if self.back.reliable:
            self.feed(ServerInput.QUIET)
        else:
            self.layer.long.add(self)

    def _finish(self, _: object = None) -> None:
        self._stop()
        self.layer.server.pop(self.key, None)
        merging = self.layer.merging
        if self.merge_key is not None and merging.get(self.merge_key) is self:
            del merging[self.merge_key]
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
        self.layer.long.add(self)

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
            self.layer.short.add(self)


class OtherServerTransaction(ServerTransaction):
    """The non-INVITE server transaction (RFC 3261 17.2.2)."""

    __slots__ = ()


_S, _SI = ServerState, ServerInput
_Inviter, _Requester = InviteServerTransaction, OtherServerTransaction

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
    """Return what two copies of one INVITE have in common that came by different paths (RFC 3261 8.2.2.2)."""
    return (request.call_id, request.from_.tag, request.cseq.number)
