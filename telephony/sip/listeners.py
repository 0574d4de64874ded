"""The ports we listen at, and what follows from them: which way leads where, and what we are called on it.

Owns: the transports of one user agent, the choice of one for an address, our sent-by and Contact (RFC 3261 8.1.1.8,
18.1.1; 12.1.1 for ``sips:``), what a NAT changes of them, and the choice of TCP for a request that is too long for UDP.
Must not know sessions, transactions or what a message means.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from twisted.internet.defer import Deferred, DeferredList

from telephony.errors import Error
from telephony.interfaces import Address, Host
from telephony.sip.flow import Flow
from telephony.sip.message import Request
from telephony.sip.transport.base import Transport, TransportUser
from telephony.sip.transport.tcp import TcpTransport
from telephony.sip.transport.tls import TlsIdentity
from telephony.sip.transport.udp import UdpTransport
from telephony.sip.uri import format_host

#: How long an address that took no TCP connection gets long requests by UDP at once, in seconds, and how many of them
#: are remembered.
NO_TCP_FOR = 300.0
NO_TCP_SIZE = 1024
#: What a NAT at our border doesn't stand before: loopback, link-local and private networks (RFC 1918, 3927, 4193).
LOCAL_NETWORKS: tuple[IPv4Network | IPv6Network, ...] = tuple(
    map(
        ip_network,
        (
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)


def is_local(host: str) -> bool:
    """Tell whether an IP address is one of a local network, which is reached without passing our NAT."""
    address = ip_address(host.partition("%")[0])
    return any(address.version == one.version and address in one for one in LOCAL_NETWORKS)


class Listeners:
    """All ports of one user agent. ``advertise`` is our address outside a NAT; it isn't used towards local networks.

    ``most_connections`` limits the connections of each TCP or TLS port.
    """

    def __init__(
        self,
        host: Host,
        user: TransportUser,
        advertise: str | None = None,
        tls: TlsIdentity | None = None,
        most_connections: int | None = None,
    ) -> None:
        self._host = host
        self._user = user
        self._advertise = advertise
        self._tls = tls
        self._most = most_connections
        self._udp: list[UdpTransport] = []
        self._streams: list[TcpTransport] = []
        self._all: list[Transport] = []
        #: What our Vias say, for RFC 3261 18.1.2.
        self.sent_by: set[tuple[str, int | None]] = set()
        self._no_tcp: OrderedDict[Address, float] = OrderedDict()

    # Ports

    def listen(self, transport: str, address: Address) -> Address:
        """Listen over ``"udp"``, ``"tcp"`` or ``"tls"``; returns the address with its real port.

        OSError when it can't be had, `Error` for TLS without a certificate, ValueError for another transport.
        """
        kind = transport.upper()
        if kind == "UDP":
            udp = UdpTransport(self._host, address, self._user)
            self._udp.append(udp)
            self._all.append(udp)
            return udp.address
        if kind not in ("TCP", "TLS"):
            raise ValueError(f"{transport!r} is no transport that exists here: udp, tcp, tls")
        tls = self._tls if kind == "TLS" else None
        if kind == "TLS" and (tls is None or not tls.can_listen):
            raise Error("a tls listener needs a certificate and its key")
        stream = TcpTransport(self._host, address, self._user, tls, self._most)
        self._streams.append(stream)
        self._all.append(stream)
        return stream.address

    @property
    def opening(self) -> bool:
        """Whether a connection of ours is being opened."""
        return any(one.opening for one in self._streams)

    def close(self) -> Deferred[object]:
        """Close all ports and connections; fires when that is done, never fails."""
        for udp in self._udp:
            udp.close()
        return DeferredList([one.close() for one in self._streams], consumeErrors=True)  # type: ignore[return-value]

    # Ways

    def transports(self, six: bool) -> list[str]:
        """Return the transports we have a port for, of one address family, in the order of our listeners."""
        return list(dict.fromkeys(one.transport for one in self._all if (":" in one.address[0]) == six))

    def listener(self, transport: str, remote: Address) -> Transport | None:
        """Return the listener to reach an address through: the first of its family, or the one on its route."""
        six = ":" in remote[0]
        fitting = [one for one in self._all if one.transport == transport and (":" in one.address[0]) == six]
        if len(fitting) > 1:
            try:
                ours = self._host.source_address(remote)
            except OSError:
                return fitting[0]
            for one in fitting:
                if one.address[0] == ours:
                    return one
        return fitting[0] if fitting else None

    def forbids(self, host: str) -> bool:
        """Tell whether nothing may be sent to an IP address.

        That is so for loopback while any port of ours is open beyond it: a name or a Contact from outside must not
        lead to what this machine keeps to itself. Nobody is at a multicast or unspecified address.
        """
        ip = ip_address(host.partition("%")[0])
        ip = (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip
        if ip.is_loopback:
            return not all(ip_address(one.address[0]).is_loopback for one in self._all)
        return ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255"

    def flow_to(self, transport: str, remote: Address, hint: Flow | None, name: str | None = None) -> Flow | None:
        """Return the flow to an address, through the port of ``hint`` if possible; ``name``: see `Transport.flow`."""
        if hint is not None and hint.transport == transport:
            listener: Transport | None = getattr(hint, "listener", None)
            if listener is not None and (":" in listener.address[0]) == (":" in remote[0]):
                return listener.flow(remote, name)
        listener = self.listener(transport, remote)
        return None if listener is None else listener.flow(remote, name)

    def again(self, flow: Flow) -> Flow:
        """Return ``flow``, or where it has been closed another to the same peer."""
        if flow.usable:
            return flow
        return self.flow_to(flow.transport, flow.remote, None, getattr(flow, "name", None)) or flow

    # What we are called

    def own(self, flow: Flow) -> tuple[str, int]:
        """Return the host (in brackets where it needs them) and port that a peer reaches us by."""
        host, port = flow.local
        if flow.reliable:
            # A connection's own port is of no use to anybody: the listening one is (18.1.1).
            listener = self.listener(flow.transport, flow.remote)
            port = listener.address[1] if listener is not None else port
        return format_host(self.advertised(host, flow.remote[0])), port

    def advertised(self, host: str, remote: str) -> str:
        """Return what a peer is told of an address of ours: the one outside the NAT, unless it is inside as well.

        The zone of a link's address (``fe80::1%eth0``) means nothing on another machine (RFC 6874 4).
        """
        return host.partition("%")[0] if self._advertise is None or is_local(remote) else self._advertise

    def contact(self, flow: Flow, secure: bool = False) -> str:
        """Return our Contact for the peer of a flow; ``secure`` for a dialog by ``sips:``."""
        host, port = self.own(flow)
        if secure:
            return f"<sips:{host}:{port}>"
        kind = flow.transport
        return f"<sip:{host}:{port}>" if kind == "UDP" else f"<sip:{host}:{port};transport={kind.lower()}>"

    def via(self, flow: Flow, branch: str) -> str:
        """Return our Via for a flow; ``rport`` is asked for over UDP (RFC 3581 3)."""
        host, port = self.own(flow)
        self.sent_by.add((host.strip("[]"), port))
        wanted = ";rport" if flow.transport == "UDP" else ""
        return f"SIP/2.0/{flow.transport} {host}:{port}{wanted};branch={branch}"

    # Long requests

    def widen(self, request: Request, flow: Flow) -> Flow | None:
        """Return the TCP flow that a long request takes instead of UDP, its Via changed; None to leave it as it is.

        RFC 3261 18.1.1. Where we have no TCP port, or TCP was refused a while ago, it goes over UDP all the same: a
        fragmented datagram may arrive.
        """
        until = self._no_tcp.get(flow.remote)
        if until is not None and until > self._host.clock.seconds():
            return None
        wide = self.flow_to("TCP", flow.remote, None)
        if wide is not None:
            self.counters["requests_too_long_for_udp"] += 1
            request.set("Via", self.via(wide, request.via.branch or ""))
        return wide

    def narrow(self, request: Request, flow: Flow) -> None:
        """Let a long request take UDP after all, its Via changed back: there is no TCP at that address."""
        self.counters["long_requests_over_udp"] += 1
        self.keep_to(flow)
        request.set("Via", self.via(flow, request.via.branch or ""))

    def keep_to(self, flow: Flow) -> None:
        """Let long requests take this UDP flow for a while: there is no TCP at that address, or no way but this flow.

        So it is with whoever is behind a NAT, or is called by the way it signed in by (RFC 5626 4.3): a connection to
        that address would end at the NAT, after seconds of waiting.
        """
        if flow.transport != "UDP":
            return
        self._no_tcp[flow.remote] = self._host.clock.seconds() + NO_TCP_FOR
        self._no_tcp.move_to_end(flow.remote)
        while len(self._no_tcp) > NO_TCP_SIZE:
            self._no_tcp.popitem(last=False)

    @property
    def counters(self) -> Counter[str]:
        """The user agent's counters."""
        return self._user.counters
