"""How a phone talks SIP: its sockets, and transactions of its own (RFC 3261 17 and 18, RFC 6026).

Owns: sending with retransmission and time limits, matching of what comes in, the acknowledgement of refusals. Must not
know dialogs or calls. It is written from the RFCs and shares no code with ``telephony.sip.transaction``, so that one
misreading can't hide in both ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from typing import Any, cast
from typing import Protocol as TypingProtocol

import attrs
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IProtocol, IProtocolFactory, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, DatagramPort, DelayedCall, Host, StreamListener
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.parser import KeepAlive, StreamParser, UnparsableMessage, parse_message
from telephony.sip.transport.tls import TlsIdentity
from telephony.sip.uri import SipUri, format_host
from telephony.testing.quirks import Quirks
from telephony.testing.rules import request_faults, response_faults


class WireUser(TypingProtocol):
    """Whoever answers what comes in: the phone."""

    quirks: Quirks

    def complain(self, text: str) -> None:
        """Note a fault of the peer."""

    def logged(self, message: Message, remote: Address, sent: bool) -> None:
        """Note a message, also one sent or received again."""

    def request_came(self, transaction: ServerTransaction) -> None:
        """Answer a request that is not a retransmission and not an ACK."""

    def ack_came(self, ack: Request) -> None:
        """Take an ACK that belongs to no refusal: one for a 2xx."""

    def stray_2xx_came(self, response: Response) -> None:
        """Take a 2xx to an INVITE whose transaction has been answered already."""


@attrs.frozen(slots=True)
class Way:
    """Where a message goes: the transport, the address, and the open stream if there is one."""

    transport: str
    remote: Address
    stream: Stream | None = attrs.field(default=None, eq=False)


class Stream(Protocol):
    """One TCP or TLS connection of the phone."""

    def __init__(self, wire: Wire, kind: str = "TCP") -> None:
        self._wire = wire
        self._kind = kind
        self._parser = StreamParser()
        self.remote: Address = ("", 0)
        self.open = False

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Remember the connection, so that it is used again."""
        peer: Any = cast(ITransport, self.transport).getPeer()
        self.remote = (peer.host, peer.port)
        self._wire.streams[self.remote] = self
        self.open = True

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Cut what came into messages."""
        way = Way(self._kind, self.remote, self)
        try:
            for message in self._parser.feed(data):
                if isinstance(message, KeepAlive):
                    self.send(b"\r\n")
                else:
                    self._wire.received(message, None, way)
        except UnparsableMessage as error:
            self._wire.user.complain(f"a stream that can't be parsed: {error}")
            self.close()

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802
        """Forget the connection."""
        self.open = False
        if self._wire.streams.get(self.remote) is self:
            del self._wire.streams[self.remote]

    def send(self, data: bytes) -> None:
        """Write to the connection."""
        cast(ITransport, self.transport).write(data)

    def close(self) -> None:
        """Close the connection."""
        cast(ITransport, self.transport).loseConnection()


class ClientTransaction:
    """One request of ours and its answers, 17.1.

    ``answered`` is called with each response that is not a repetition: each 1xx, then one final one. A request that
    can't be sent or is not answered in 64*T1 gives None.
    """

    __slots__ = ("_answered", "_data", "_final", "_limit", "_resend", "_wire", "provisional", "request", "way")

    def __init__(
        self, wire: Wire, request: Request, way: Way, data: bytes, answered: Callable[[Response | None], None]
    ) -> None:
        self._wire = wire
        self.request = request
        self.way = way
        self._data = data
        self._answered = answered
        self._final: Response | None = None
        self.provisional = False
        self._resend: DelayedCall | None = None
        self._limit: DelayedCall | None = wire.clock.callLater(64 * wire.t1, self._timed_out)
        if way.transport == "UDP":
            self._resend = wire.clock.callLater(wire.t1, self._again, wire.t1)

    def _again(self, interval: float) -> None:
        """Timers A and E: INVITE doubles until something comes; the others double up to T2."""
        self._resend = None
        wire = self._wire
        invite = self.request.method == "INVITE"
        if self._final is not None or (invite and self.provisional):
            return
        wire.transmit(self.request, self._data, self.way)
        interval = 2 * interval if invite else wire.t2 if self.provisional else min(2 * interval, wire.t2)
        self._resend = wire.clock.callLater(interval, self._again, interval)

    def _timed_out(self) -> None:
        """Timers B and F."""
        self._limit = None
        self.stop()
        self._answered(None)

    def failed(self) -> None:
        """Give up: the request can't be sent."""
        if self._final is None and self._limit is not None:
            self._limit.cancel()
            self._timed_out()

    def came(self, response: Response) -> None:
        """Take a response that matches."""
        wire = self._wire
        invite = self.request.method == "INVITE"
        if response.status < 200:
            if self._final is None:
                self.provisional = True
                if invite and self._limit is not None:
                    self._limit.cancel()  # timer B is for an INVITE that nobody answers
                    self._limit = None
                self._answered(response)
            return
        if self._final is not None:
            if invite and response.status >= 300:
                self._acknowledge(response)  # a repetition
            elif invite:
                wire.user.stray_2xx_came(response)
            return
        self._final = response
        for timer in (self._limit, self._resend):
            if timer is not None and timer.active():
                timer.cancel()
        self._resend = None
        if invite and response.status >= 300:
            self._acknowledge(response)
            linger = 32.0 if self.way.transport == "UDP" else 0.0  # timer D
        elif invite:
            linger = 64 * wire.t1  # timer M
        else:
            linger = wire.t4 if self.way.transport == "UDP" else 0.0  # timer K
        self._limit = wire.clock.callLater(linger, self.stop)
        self._answered(response)

    def _acknowledge(self, response: Response) -> None:
        """ACK a refusal: the INVITE's own branch, its Route, the response's To, 17.1.1.3."""
        ack = Request("ACK", self.request.uri)
        ack.add("Via", str(self.request.via))
        for route in self.request.get_all("Route"):
            ack.add("Route", route)
        ack.add("Max-Forwards", "70")
        ack.add("From", self.request.get("From") or "")
        ack.add("To", response.get("To") or "")
        ack.add("Call-ID", self.request.call_id)
        ack.add("CSeq", f"{self.request.cseq.number} ACK")
        self._wire.send_once(ack, self.way)

    def stop(self) -> None:
        """Forget it."""
        self._wire.clients.pop((self.request.via.branch or "", self.request.method), None)
        for timer in (self._limit, self._resend):
            if timer is not None and timer.active():
                timer.cancel()
        self._limit = self._resend = None


class ServerTransaction:
    """One request of the peer and our answers, 17.2. ``status`` is that of our last response, 0 before the first."""

    __slots__ = ("_data", "_key", "_limit", "_resend", "_response", "_wire", "acknowledged", "request", "status", "way")

    def __init__(self, wire: Wire, request: Request, way: Way, key: tuple[str, ...]) -> None:
        self._wire = wire
        self.request = request
        self.way = way
        self._key = key
        self._response: Response | None = None
        self._data = b""
        self.status = 0
        self.acknowledged = False
        self._limit: DelayedCall | None = None
        self._resend: DelayedCall | None = None

    def respond(self, response: Response, data: bytes | None = None) -> None:
        """Send a response, or its ``data`` as made before; a final one is repeated as the request's method wants."""
        wire = self._wire
        if data is None:
            data = wire.encoded(response)
        if data is None:
            return
        self._response, self._data, self.status = response, data, response.status
        wire.transmit(response, data, self.way)
        if response.status < 200 or self._limit is not None:
            return
        if self.request.method != "INVITE":
            self._limit = wire.clock.callLater(64 * wire.t1 if self.way.transport == "UDP" else 0.0, self.stop)  # J
            return
        self._limit = wire.clock.callLater(64 * wire.t1, self._unacknowledged)  # timers H and L
        if response.status >= 300 and self.way.transport == "UDP":
            self._resend = wire.clock.callLater(wire.t1, self._again, wire.t1)

    def reply(self, status: int, reason: str | None = None, to_tag: str | None = None) -> None:
        """Send a plain response."""
        self.respond(respond(self.request, status, reason, to_tag=to_tag))

    def repeated(self) -> None:
        """Say again what we said, as the request came again, 17.2.1. A 2xx to an INVITE is the call's to repeat."""
        if self._response is not None and not (self.request.method == "INVITE" and 200 <= self.status < 300):
            self._wire.transmit(self._response, self._data, self.way)

    def ack_came(self) -> None:
        """Our refusal has been acknowledged."""
        self.acknowledged = True
        if self._resend is not None and self._resend.active():
            self._resend.cancel()
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._limit = self._wire.clock.callLater(self._wire.t4 if self.way.transport == "UDP" else 0.0, self.stop)  # I

    def _again(self, interval: float) -> None:
        """Timer G."""
        wire = self._wire
        if self._response is not None:
            wire.transmit(self._response, self._data, self.way)
        interval = min(2 * interval, wire.t2)
        self._resend = wire.clock.callLater(interval, self._again, interval)

    def _unacknowledged(self) -> None:
        if self.status >= 300 and not self.acknowledged:
            self._wire.unacknowledged += 1
        self.stop()

    def stop(self) -> None:
        """Forget it."""
        self._wire.servers.pop(self._key, None)
        for timer in (self._limit, self._resend):
            if timer is not None and timer.active():
                timer.cancel()
        self._limit = self._resend = None


def _check_addresses(message: Message) -> None:
    """Raise RemoteProtocolError for a Contact or Record-Route that no dialog can be made of."""
    for address in (*message.contacts, *message.record_routes):
        address.parsed_uri  # noqa: B018


class Wire:
    """A phone's end of the wire, on UDP and TCP of one address; with ``tls`` on TLS, on the port above, as well.

    ``t1``, ``t2`` and ``t4`` are RFC 3261's, in seconds. ``unacknowledged`` counts refusals that were never
    acknowledged, ``garbage`` datagrams that were no message, ``repeated`` retransmissions received.
    """

    def __init__(
        self, host: Host, address: Address, user: WireUser, t1: float = 0.5, tls: TlsIdentity | None = None
    ) -> None:
        self.host = host
        self.clock = host.clock
        self.user = user
        self.t1, self.t2, self.t4 = t1, 8 * t1, 10 * t1
        self.clients: dict[tuple[str, str], ClientTransaction] = {}
        self.servers: dict[tuple[str, ...], ServerTransaction] = {}
        self.streams: dict[Address, Stream] = {}
        self.garbage = self.repeated = self.unacknowledged = 0
        self._connecting: dict[Address, Deferred[IProtocol]] = {}
        self._waiting: dict[Address, list[bytes]] = {}
        self.closed = False
        self._port: DatagramPort = host.open_datagram_port(address, self._datagram_came)
        self.address: Address = self._port.address
        factory = Factory.forProtocol(partial(Stream, self))
        factory.noisy = False
        self._factory = cast(IProtocolFactory, factory)
        self._listener: StreamListener = host.listen_stream(self.address, self._factory)
        self._tls = tls
        self._secured = Factory.forProtocol(partial(Stream, self, "TLS"))
        self._secured.noisy = False
        self._tls_listener: StreamListener | None = None
        if tls is not None:
            accepting = tls.accepting(cast(IProtocolFactory, self._secured), host.clock)
            self._tls_listener = host.listen_stream((self.address[0], self.address[1] + 1), accepting)

    # Sending

    def branch(self) -> str:
        """Return a new branch."""
        return f"z9hG4bK-p{self.host.random.getrandbits(64):x}"

    def via(self, transport: str) -> str:
        """Return a Via for a new request."""
        host, port = self.address
        port += transport == "TLS"
        return f"SIP/2.0/{transport} {format_host(host)}:{port};branch={self.branch()};rport"

    def ways(self, uri: SipUri, transport: str, found: Callable[[Way | None], None]) -> None:
        """Call ``found`` with the way to ``uri``: at once for an address, later for a name, None when it has none."""
        transport = "TLS" if uri.scheme == "sips" else (uri.transport or transport).upper()
        port = uri.port or (5061 if transport == "TLS" else 5060)
        try:
            ip_address(uri.host)
        except ValueError:
            looked_up = self.host.resolve(uri.host)
            looked_up.addCallbacks(
                lambda addresses: found(Way(transport, (addresses[0], port))), lambda failure: found(None)
            )
        else:
            found(Way(transport, (uri.host, port)))

    def begin(self, request: Request, way: Way, answered: Callable[[Response | None], None]) -> ClientTransaction:
        """Send a request, which has its Via, and see to it that it is answered."""
        data = self.encoded(request)
        transaction = ClientTransaction(self, request, way, data or b"", answered)
        self.clients[request.via.branch or "", request.method] = transaction
        if data is not None:
            self.transmit(request, data, way, transaction.failed)
        return transaction

    def send_once(self, message: Message, way: Way) -> None:
        """Send what nobody answers: an ACK, or a 2xx again."""
        data = self.encoded(message)
        if data is not None:
            self.transmit(message, data, way)

    def keep_open(self, way: Way) -> None:
        """Send what only keeps a way open: CRLF twice (RFC 5626 3.5.1), over UDP too, as phones do."""
        stream = self.streams.get(way.remote)
        if self.closed:
            return
        if way.transport == "UDP":
            self._port.send(b"\r\n\r\n", way.remote)
        elif stream is not None:
            stream.send(b"\r\n\r\n")

    def encoded(self, message: Message) -> bytes | None:
        """Return the bytes to send, None where a quirk swallows them."""
        alter = self.user.quirks.alter
        if alter is not None:
            altered = alter(message)
            if altered is None:
                return None
            message = altered
        return message.to_bytes()

    def transmit(self, message: Message, data: bytes, way: Way, failed: Callable[[], None] = lambda: None) -> None:
        """Put bytes on the wire; ``failed`` is called later when a connection can't be opened."""
        if self.closed or not data:
            return
        self.user.logged(message, way.remote, True)
        if way.transport == "UDP":
            self._port.send(data, way.remote)
            return
        stream = way.stream if way.stream is not None and way.stream.open else self.streams.get(way.remote)
        if stream is not None:
            stream.send(data)
            return
        if way.remote in self._waiting:
            self._waiting[way.remote].append(data)
            return
        self._waiting[way.remote] = [data]
        factory = self._factory
        if way.transport == "TLS":
            assert self._tls is not None, "a phone without tls can't call over it"
            factory = self._tls.connecting(cast(IProtocolFactory, self._secured), self.clock, way.remote[0])
        attempt = self.host.connect_stream(way.remote, factory, 64 * self.t1)
        self._connecting[way.remote] = attempt
        attempt.addCallbacks(partial(self._connected, way.remote), lambda failure: self._refused(way.remote, failed))

    def _connected(self, remote: Address, stream: IProtocol) -> None:
        self._connecting.pop(remote, None)
        stream = getattr(stream, "wrappedProtocol", stream)  # TLS has a protocol of its own around ours
        for data in self._waiting.pop(remote, ()):
            cast(Stream, stream).send(data)

    def _refused(self, remote: Address, failed: Callable[[], None]) -> None:
        self._connecting.pop(remote, None)
        self._waiting.pop(remote, None)
        if not self.closed:
            failed()

    # Receiving

    def _datagram_came(self, data: bytes, source: Address) -> None:
        try:
            message = parse_message(data)
        except RemoteProtocolError as error:
            self.garbage += 1
            self.user.complain(f"a datagram that is no message: {error}")
            return
        if message is not None:
            self.received(message, data, Way("UDP", source))

    def received(self, message: Request | Response, data: bytes | None, way: Way) -> None:
        """Take a message in, late if the phone is slow."""
        quirks = self.user.quirks
        self.user.logged(message, way.remote, False)
        if quirks.deaf or self.closed:
            return
        if quirks.slow:
            self.clock.callLater(quirks.slow, self._take, message, data, way)
        else:
            self._take(message, data, way)

    def _take(self, message: Request | Response, data: bytes | None, way: Way) -> None:
        if self.closed:
            return
        try:
            if isinstance(message, Response):
                self._response_came(message, data)
            else:
                self._request_came(message, data, way)
        except RemoteProtocolError as error:
            self.garbage += 1
            self.user.complain(f"{message.start_line}: {error}")

    def _response_came(self, response: Response, data: bytes | None) -> None:
        transaction = self.clients.get((response.via.branch or "", response.cseq.method))
        for fault in response_faults(response, data, transaction.request if transaction else None):
            self.user.complain(fault)
        response.check()
        _check_addresses(response)
        if transaction is not None:
            transaction.came(response)
        elif response.cseq.method == "INVITE" and 200 <= response.status < 300:
            self.user.stray_2xx_came(response)

    def _request_came(self, request: Request, data: bytes | None, way: Way) -> None:
        via = request.via
        method = "INVITE" if request.method == "ACK" else request.method
        key = (via.branch or "", via.host.lower(), str(via.port), method)
        known = self.servers.get(key)
        if known is not None and request.method != "ACK":
            self.repeated += 1
            known.repeated()
            return
        for fault in request_faults(request, data, way.transport):
            self.user.complain(fault)
        back = self._note_source(request, way)
        try:
            request.check()
            _check_addresses(request)
        except RemoteProtocolError as error:
            self.garbage += 1
            if request.method != "ACK":
                self.send_once(respond(request, error.status), back)
            return
        if request.method == "ACK":
            if known is not None and known.status >= 300:
                if request.cseq.number != known.request.cseq.number or request.uri != known.request.uri:
                    self.user.complain("ACK: Request-URI or CSeq is not that of the refused INVITE (17.1.1.3)")
                known.ack_came()
            else:
                if known is not None:
                    self.user.complain("ACK: one for a 2xx is a transaction of its own, with a new branch (13.2.2.4)")
                self.user.ack_came(request)
            return
        transaction = self.servers[key] = ServerTransaction(self, request, back, key)
        self.user.request_came(transaction)

    def invite_of(self, cancel: Request) -> ServerTransaction | None:
        """Return the transaction that a CANCEL means (9.2), if there is one."""
        via = cancel.via
        return self.servers.get((via.branch or "", via.host.lower(), str(via.port), "INVITE"))

    @staticmethod
    def _note_source(request: Request, way: Way) -> Way:
        """Write the source into the Via and return where answers go: 18.2.1, 18.2.2, RFC 3581."""
        via = request.via
        host, port = way.remote
        params = dict(via.params)
        if via.host != host or "rport" in params:
            params["received"] = host
        if "rport" in params:
            params["rport"] = str(port)
        if params != via.params:
            request.replace_via(attrs.evolve(via, params=params))
        if way.transport != "UDP":
            return Way(way.transport, (host, via.port or (5061 if way.transport == "TLS" else 5060)), way.stream)
        return Way("UDP", (host, port if "rport" in params else via.port or 5060))

    # The end

    def close(self) -> Deferred[None]:
        """Forget everything and close all sockets; fires when they are closed."""
        self.closed = True
        for client in list(self.clients.values()):
            client.stop()
        for server in list(self.servers.values()):
            server.stop()
        for attempt in list(self._connecting.values()):
            attempt.cancel()
        for stream in list(self.streams.values()):
            stream.close()
        self._port.close()
        listeners = [one for one in (self._listener, self._tls_listener) if one is not None]
        done: Deferred[None] = gatherResults([one.close() for one in listeners]).addCallback(lambda results: None)
        return done
