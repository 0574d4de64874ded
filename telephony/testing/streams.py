"""TCP in memory: connections between simulated hosts, for ordinary Twisted protocols and factories.

Owns: connecting, refusing, ordered delivery over a lossy link, closing, resetting. Must not know what is sent. It
behaves as far as a protocol above it can tell like RFC 9293 over the link: what is lost arrives later, what can't be
delivered for a minute breaks the connection, a peer that is not there answers nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import error as twisted_error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IProtocolFactory, ITCPTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from telephony.interfaces import Address
from telephony.testing.clock import SimulatedTimer

if TYPE_CHECKING:
    from telephony.testing.network import SimulatedHost, SimulatedNetwork

#: Twisted's errors have no types of their own.
error: Any = twisted_error

#: The first retransmission of a lost segment, RFC 6298; each further one doubles.
FIRST_RETRANSMISSION = 0.2
#: After so many tries (a bit over a minute) the connection is given up.
MOST_TRIES = 9
#: The longest piece that arrives at once.
SEGMENT = 1460


def twisted_address(address: Address) -> IPv4Address | IPv6Address:
    """Return the address object that Twisted's transports show for ``address``."""
    kind = IPv6Address if ip_address(address[0]).version == 6 else IPv4Address
    return kind("TCP", *address)


@implementer(ITCPTransport)
class SimulatedStream:
    """One end of a connection: the transport that a protocol writes to.

    What is written arrives at the other end in order, cut into segments of at most 1460 bytes, or at random places
    where the network's ``cut_streams`` says so.
    """

    __slots__ = (
        "_arrived",
        "_early",
        "_held",
        "_last_arrival",
        "_next_sent",
        "_paused",
        "_pending",
        "_producer",
        "_read_over",
        "_write_over",
        "closing",
        "destination",
        "lost",
        "network",
        "other",
        "protocol",
        "source",
    )

    def __init__(self, network: SimulatedNetwork, source: Address, destination: Address) -> None:
        self.network = network
        self.source = source
        self.destination = destination
        self.protocol: IProtocol | None = None
        self.other: SimulatedStream | None = None
        self.closing = False
        self.lost = False
        self._next_sent = 0  # number of the next segment we send
        self._arrived = 0  # number of the next segment we wait for
        self._early: dict[int, bytes | None] = {}  # segments that came before their turn; None is the end of the stream
        self._held: list[bytes | None] = []  # what arrived while the protocol had paused us
        self._paused = False
        self._pending: dict[int, SimulatedTimer] = {}  # segments that wait for their retransmission
        self._last_arrival = 0.0
        self._producer: Any = None
        self._read_over = False  # the other end has said that it writes no more
        self._write_over = False  # and we have

    # What a protocol calls

    @property
    def disconnecting(self) -> bool:
        """Whether it has been closed from this end; Twisted's own protocols ask."""
        return self.closing

    def write(self, data: bytes) -> None:
        """Send ``data``; what is written after a close or a loss goes nowhere."""
        if not isinstance(data, bytes):
            raise TypeError(f"a transport writes bytes, not {type(data).__name__}")
        if self.closing or self.lost or self._write_over or not data:
            return
        self.network._note_stream(self.source, self.peer, data)
        for piece in self._pieces(data):
            self._send(piece)

    def writeSequence(self, data: Iterable[bytes]) -> None:  # noqa: N802 - Twisted's name
        """Send the pieces as one write."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        """Close once everything written is on its way; both ends see ConnectionDone."""
        if self.closing or self.lost:
            return
        self.closing = True
        if not self._write_over:
            self._send(None)
        self.network.clock.callLater(0, self._end, error.ConnectionDone())

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        """Reset the connection; the other end sees ConnectionLost."""
        if self.lost:
            return
        self.closing = True
        self._forget_unsent()
        if self.other is not None:
            self.network._carry_reset(self, self.other)
        self.network.clock.callLater(0, self._end, error.ConnectionAborted())

    def loseWriteConnection(self) -> None:  # noqa: N802 - Twisted's name
        """Write no more, and read on (RFC 9293 3.6): a protocol with ``readConnectionLost`` hears of it, others close.

        Where the network's ``half_close`` is off, it closes as `loseConnection` does.
        """
        if not self.network.half_close:
            self.loseConnection()
        elif not (self.closing or self.lost or self._write_over):
            self._write_over = True
            self._send(None)
            self.network.clock.callLater(0, self._written_all)

    def _written_all(self) -> None:
        protocol = self.protocol
        if IHalfCloseableProtocol.providedBy(protocol):
            cast(IHalfCloseableProtocol, protocol).writeConnectionLost()
        if self._read_over:
            self._end(error.ConnectionDone())

    def getPeer(self) -> IPv4Address | IPv6Address:  # noqa: N802 - Twisted's name
        """Return the other end's address."""
        return twisted_address(self.destination)

    def getHost(self) -> IPv4Address | IPv6Address:  # noqa: N802 - Twisted's name
        """Return our address."""
        return twisted_address(self.source)

    def getTcpNoDelay(self) -> bool:  # noqa: N802 - Twisted's name
        """Return True: nothing is ever held back to fill a segment."""
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        """Accept what is asked; it makes no difference here."""

    def getTcpKeepAlive(self) -> bool:  # noqa: N802 - Twisted's name
        """Return False: a dead peer is noticed by writing to it."""
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:  # noqa: N802 - Twisted's name
        """Accept what is asked; it makes no difference here."""

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Hold what arrives."""
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Hand over what was held and go on."""
        self._paused = False
        while self._held and not self._paused and not self.lost:
            self._hand_over(self._held.pop(0))

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Close."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: N802 - Twisted's name
        """Take a producer; nothing ever pauses it, one that must be asked is asked until it has done."""
        self._producer = producer
        while not streaming and self._producer is producer and not self.lost:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:  # noqa: N802 - Twisted's name
        """Let the producer go."""
        self._producer = None

    # What the network does

    @property
    def peer(self) -> Address:
        """The other end as it sees itself: behind a NAT it is not what we see."""
        return self.destination if self.other is None else self.other.source

    def _pieces(self, data: bytes) -> Iterable[bytes]:
        network = self.network
        start = 0
        while start < len(data):
            most = min(SEGMENT, len(data) - start)
            length = network.random.randint(1, most) if network.cut_streams else most
            yield data[start : start + length]
            start += length

    def _send(self, piece: bytes | None) -> None:
        number = self._next_sent
        self._next_sent += 1
        self._try(number, piece, 0)

    def _try(self, number: int, piece: bytes | None, tries: int) -> None:
        self._pending.pop(number, None)
        other = self.other
        if other is None or other.lost:
            return
        arrival = self.network._segment_arrival(self.source[0], other.source[0])
        if arrival is not None:
            # A link keeps the order of segments unless one had to be sent again.
            self._last_arrival = arrival = max(arrival, self._last_arrival)
            self.network.clock.at(arrival, other._segment, (number, piece))
        elif tries + 1 >= MOST_TRIES:
            self._forget_unsent()
            self._end(error.TimeoutError())
        else:
            wait = FIRST_RETRANSMISSION * 2**tries
            self._pending[number] = self.network.clock.callLater(wait, self._try, number, piece, tries + 1)

    def _segment(self, number: int, piece: bytes | None) -> None:
        if self.lost:
            return
        self._early[number] = piece
        while self._arrived in self._early and not self.lost:
            ready = self._early.pop(self._arrived)
            self._arrived += 1
            if self._paused:
                self._held.append(ready)
            else:
                self._hand_over(ready)

    def _hand_over(self, piece: bytes | None) -> None:
        protocol = self.protocol
        halves = self.network.half_close and not self.closing and IHalfCloseableProtocol.providedBy(protocol)
        if piece is None and halves and not self._write_over:
            self._read_over = True
            cast(IHalfCloseableProtocol, protocol).readConnectionLost()
        elif piece is None:
            self._forget_unsent()
            if self.network.half_close and not (self.closing or self._write_over):
                self._send(None)  # the other end may have closed one half only
            self._end(error.ConnectionDone())
        elif not self.closing and self.protocol is not None:
            self.protocol.dataReceived(piece)

    def _forget_unsent(self) -> None:
        for timer in self._pending.values():
            timer.cancel()
        self._pending.clear()

    def _end(self, reason: Exception) -> None:
        """Tell the protocol, once."""
        if self.lost:
            return
        self.lost = True
        self.closing = True
        self._early.clear()
        self._held.clear()
        self.network._streams.pop(self, None)
        if self.other is None or self.other.lost:
            self.network._stream_ports -= {self.source, self.destination}
        protocol, self.protocol = self.protocol, None
        self._producer = None
        if protocol is not None:
            protocol.connectionLost(Failure(reason))  # type: ignore[no-untyped-call]

    def _reset(self) -> None:
        self._forget_unsent()
        self._end(error.ConnectionLost())

    def __repr__(self) -> str:
        return f"<stream {self.source[0]}:{self.source[1]} to {self.destination[0]}:{self.destination[1]}>"


class SimulatedListener:
    """A listening port of a simulated host; provides `telephony.interfaces.StreamListener`."""

    __slots__ = ("_host", "address", "factory", "open")

    def __init__(self, host: SimulatedHost, address: Address, factory: IProtocolFactory) -> None:
        self._host = host
        self.address = address
        self.factory = factory
        self.open = True
        factory.doStart()

    def close(self) -> Deferred[None]:
        """Stop accepting, at once; connections that were accepted live on."""
        if self.open:
            self.open = False
            self._host._close_listener(self)
            self.factory.doStop()
        return succeed(None)

    def __repr__(self) -> str:
        return f"<TCP listener {self.address[0]}:{self.address[1]}>"


class Attempt:
    """One attempt to connect: SYN out, SYN-ACK or RST back, tried again as long as nothing comes."""

    __slots__ = ("_destination", "_factory", "_host", "_retry", "_timeout", "deferred")

    def __init__(self, host: SimulatedHost, destination: Address, factory: IProtocolFactory, timeout: float) -> None:
        self._host = host
        self._destination = destination
        self._factory = factory
        self._timeout: SimulatedTimer | None = host.clock.callLater(timeout, self._fail_by_time)
        self._retry: SimulatedTimer | None = None
        self.deferred: Deferred[IProtocol] = Deferred(self._cancelled)
        factory.doStart()
        self._syn(0)

    def _syn(self, tries: int) -> None:
        network, host = self._host.network, self._host
        self._retry = host.clock.callLater(1.0 * 2**tries, self._syn, tries + 1)
        source = host.source_address(self._destination)
        arrival = network._segment_arrival(source, self._destination[0])
        if arrival is not None:
            network.clock.at(arrival, self._syn_arrived, (source,))

    def _syn_arrived(self, source: str) -> None:
        if self._timeout is None:
            return
        network = self._host.network
        known = self._destination[0] in network.hosts and network._reachable(source, self._destination[0])
        back = network._segment_arrival(self._destination[0], source)
        if not known or back is None:
            return  # nobody there, or the answer is lost: the next SYN or the time limit decides
        listener = network._listeners.get(self._destination)
        if listener is None:
            network.clock.at(back, self._refused, ())
            return
        near = SimulatedStream(
            network, (source, self._host._free_port(network._stream_ports, source)), self._destination
        )
        network._stream_ports.add(near.source)
        nat = network._behind.get(source)
        outside = near.source
        if nat is not None and network._behind.get(self._destination[0]) is not nat:
            outside = (nat.ip, nat.free_port())
        far = SimulatedStream(network, self._destination, outside)
        near.other, far.other = far, near
        protocol = listener.factory.buildProtocol(twisted_address(outside))
        network.clock.at(back, self._connected, (near,))
        if protocol is None:
            network.clock.at(back, near._reset, ())
            return
        far.protocol = protocol
        network._streams[far] = None
        # The other end may speak first, but never before it knows that it is connected.
        far._last_arrival = back
        protocol.makeConnection(far)

    def _connected(self, near: SimulatedStream) -> None:
        if self._timeout is None:  # a second SYN was answered too, or the attempt was given up meanwhile
            if near.other is not None:
                self._host.network._carry_reset(near, near.other)
            near._end(error.ConnectionAborted())
            return
        self._done()
        network = self._host.network
        protocol = self._factory.buildProtocol(twisted_address(self._destination))
        if protocol is None:
            near.abortConnection()
            self._factory.doStop()
            self.deferred.errback(error.ConnectError(string="the factory made no protocol"))
            return
        near.protocol = protocol
        network._streams[near] = None
        protocol.makeConnection(near)
        self.deferred.callback(protocol)

    def _refused(self) -> None:
        if self._timeout is not None:
            self._done()
            self._factory.doStop()
            self.deferred.errback(error.ConnectionRefusedError(string="nothing listens there"))

    def _fail_by_time(self) -> None:
        self._timeout = None
        self._done()
        self._factory.doStop()
        self.deferred.errback(error.TimeoutError())

    def _cancelled(self, deferred: Deferred[IProtocol]) -> None:
        self._done()
        self._factory.doStop()
        deferred.errback(error.ConnectingCancelledError(twisted_address(self._destination)))

    def _done(self) -> None:
        for timer in (self._timeout, self._retry):
            if timer is not None and timer.active():
                timer.cancel()
        self._timeout = self._retry = None
