"""SIP over TCP and TLS: a listening port, and the books of the connections on its behalf (RFC 3261 18, RFC 5923).

Owns: listening, which connection leads where, how many there may be, and ending those whose time is up. Must not know
what a message means. What one connection does is `telephony.sip.transport.connection`'s.

Which connection is used again: one of ours for its address, over TLS only for the host whose certificate it has shown;
one that a peer opened for that very address and port, which only that peer can have, and by the dialogs that came by
it. It is never taken for the peer's listening port (an alias of RFC 5923): nothing proves that it is the same server.
"""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IProtocolFactory

from telephony.interfaces import Address, DelayedCall, Host, StreamListener
from telephony.sip.transport.base import OwnAddress, TransportUser
from telephony.sip.transport.connection import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    MAX_QUEUE,
    Accepting,
    Calling,
    TcpFlow,
)
from telephony.sip.transport.tls import TlsIdentity

__all__ = ["CLOSE_TIMEOUT", "CONNECT_TIMEOUT", "MAX_CONNECTIONS", "MAX_QUEUE", "TcpFlow", "TcpTransport"]

#: How many connections a port has at a time, and how many a peer may have opened from one address; further ones are
#: closed as soon as they come.
MAX_CONNECTIONS = 8192
MAX_FROM_ONE = 256
#: How often connections are looked through for those whose time is up, in seconds. There is one timer for all of them.
SWEEP_EVERY = 5.0


class TcpTransport:
    """A listening port for SIP, and all connections accepted or opened on its behalf; TLS where ``tls`` is given.

    Raises OSError when the port can't be had. ``address`` is what our Via and Contact say: a peer whose connection is
    gone opens a new one there. ``most`` limits the connections, below `MAX_CONNECTIONS`.
    """

    __slots__ = (
        "_all",
        "_by_remote",
        "_closed",
        "_from",
        "_listener",
        "_own",
        "_sweeping",
        "address",
        "host",
        "most",
        "tls",
        "transport",
        "user",
    )

    def __init__(
        self,
        host: Host,
        address: Address,
        user: TransportUser,
        tls: TlsIdentity | None = None,
        most: int | None = None,
    ) -> None:
        self.host = host
        self.user = user
        self.tls = tls
        self.transport = "TCP" if tls is None else "TLS"
        self.most = most
        factory: IProtocolFactory = Accepting(self)
        if tls is not None:
            factory = tls.accepting(factory, host.clock)
        self._listener: StreamListener = host.listen_stream(address, factory)
        self.address = self._listener.address
        self._own = OwnAddress(host, self.address)
        #: The connection to use for a remote address, and the host it has proven to be: the newest.
        self._by_remote: dict[tuple[Address, str | None], TcpFlow] = {}
        self._all: dict[TcpFlow, None] = {}
        #: How many connections peers have opened, by their address.
        self._from: Counter[str] = Counter()
        self._sweeping: DelayedCall | None = None
        self._closed = False

    def host_towards(self, remote: Address) -> str:
        """Return our IP address as ``remote`` sees it."""
        return self._own.towards(remote)[0]

    def flow(self, remote: Address, name: str | None = None) -> TcpFlow:
        """Return the connection to a remote address; a new one is begun where there is none.

        ``name`` is the host of the URI that is wanted; over TLS the certificate must speak for it.
        """
        wanted = None if self.tls is None else (name or remote[0]).lower()
        flow = self._by_remote.get((remote, wanted))
        if flow is None and wanted is not None:
            flow = self._by_remote.get((remote, None))  # the peer has opened it from there
        if flow is None:
            flow = self._enter(TcpFlow(self, remote, wanted))
            flow.open()
        return flow

    def calling(self, flow: TcpFlow) -> IProtocolFactory:
        """Return the factory of a connection of ours."""
        factory: IProtocolFactory = Calling(flow)
        if self.tls is not None:
            factory = self.tls.connecting(factory, self.host.clock, flow.name or flow.remote[0])
        return factory

    def accepted(self, remote: Address) -> TcpFlow | None:
        """Return the flow of a connection that came; None when there are too many."""
        most = MAX_CONNECTIONS if self.most is None else min(self.most, MAX_CONNECTIONS)
        if self._closed or self.user.shuns(remote) or len(self._all) >= most or self._from[remote[0]] >= MAX_FROM_ONE:
            self.user.counters["connections_refused"] += 1
            if not self._from[remote[0]]:
                del self._from[remote[0]]
            return None
        self._from[remote[0]] += 1
        return self._enter(TcpFlow(self, remote, incoming=True))

    def _enter(self, flow: TcpFlow) -> TcpFlow:
        self._by_remote[flow.remote, flow.name] = flow
        self._all[flow] = None
        if self._sweeping is None:
            self._sweeping = self.host.clock.callLater(SWEEP_EVERY, self._sweep)
        return flow

    @property
    def opening(self) -> bool:
        """Whether a connection of ours is being opened."""
        return any(flow.opening for flow in self._all)

    def drop(self, flow: TcpFlow) -> None:
        """Forget a flow that is of no more use."""
        if self._all.pop(flow, flow) is flow:
            return  # forgotten before
        if flow.incoming:
            host = flow.remote[0]
            self._from[host] -= 1
            if not self._from[host]:
                del self._from[host]
        if self._by_remote.get((flow.remote, flow.name)) is flow:
            del self._by_remote[flow.remote, flow.name]
        if not self._all and self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _sweep(self) -> None:
        """End the connections whose time is up."""
        self._sweeping = None
        now = self.host.clock.seconds()
        needed: set[object] | None = None
        for flow in tuple(self._all):
            late = flow.overdue(now)
            if late is None:
                continue
            if late == "connections_idle":
                if needed is None:
                    needed = self.user.flows_needed()
                if flow in needed:
                    continue
                self.user.counters[late] += 1
                flow.close()
                continue
            self.user.counters[late] += 1
            flow.give_up(late.replace("_", " "))
        if self._all:
            self._sweeping = self.host.clock.callLater(SWEEP_EVERY, self._sweep)

    def close(self) -> Deferred[None]:
        """Stop listening and close all connections; fires when they are closed."""
        self._closed = True
        waiting = [self._listener.close(), *(flow.close() for flow in tuple(self._all))]
        done: Deferred[object] = DeferredList(waiting, consumeErrors=True)  # type: ignore[assignment]
        return done.addCallback(lambda _: None)
