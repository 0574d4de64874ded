"""SIP transactions: the four machines of RFC 3261 17, with the Accepted state of RFC 6026, as one layer.

Owns: which transactions there are, and what they share. Each kind is in a module of its own, `client_transaction` and
`server_transaction`; what they have in common of time in `timed`. Must not know dialogs, sockets or what a response
means to its user. Per transaction there is one object and at most one timer of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from telephony.interfaces import Clock
from telephony.sip.client_transaction import (
    INVITE_CLIENT,
    MAX_OVER_UDP,
    OTHER_CLIENT,
    ClientInput,
    ClientKey,
    ClientState,
    ClientTransaction,
    InviteClientTransaction,
    OtherClientTransaction,
    TransactionFailure,
)
from telephony.sip.flow import Flow, WayBack
from telephony.sip.message import Request, Response
from telephony.sip.server_transaction import (
    COOKIE,
    INVITE_SERVER,
    OTHER_SERVER,
    InviteServerTransaction,
    OtherServerTransaction,
    ServerInput,
    ServerState,
    ServerTransaction,
    merge_key,
    server_key,
)
from telephony.sip.timed import Aftermath
from telephony.sip.timers import Timers

__all__ = [
    "COOKIE",
    "INVITE_CLIENT",
    "INVITE_SERVER",
    "MAX_OVER_UDP",
    "OTHER_CLIENT",
    "OTHER_SERVER",
    "Aftermath",
    "ClientInput",
    "ClientKey",
    "ClientState",
    "ClientTransaction",
    "InviteClientTransaction",
    "InviteServerTransaction",
    "OtherClientTransaction",
    "OtherServerTransaction",
    "ServerInput",
    "ServerState",
    "ServerTransaction",
    "TransactionFailure",
    "Transactions",
    "merge_key",
    "server_key",
]


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
        transaction: ServerTransaction
        if request.method != "INVITE":
            transaction = OtherServerTransaction(self, key, None, back)
        else:
            # Copies by another path are looked for where a call begins (8.2.2.2).
            merging = merge_key(request) if request.to.tag is None else None
            transaction = InviteServerTransaction(self, key, merging, back)
            if merging is not None:
                self.merging.setdefault(merging, transaction)
        self.server[key] = transaction
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
