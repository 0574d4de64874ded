"""The real host, over loopback: what the interface promises, kept by real sockets (``telephony.interfaces``)."""

from __future__ import annotations

import random
import socket
import threading

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from telephony import host, media_port
from telephony.host import ReactorHost, is_address
from telephony.interfaces import Address

LOOPBACK = ("127.0.0.1", 0)


def has_ipv6() -> bool:
    """Tell whether this machine has an IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


class HostCase(TestCase):
    timeout = 10

    def setUp(self) -> None:
        self.host = ReactorHost(reactor)

    def open(self, address: Address, received=lambda data, source: None):  # type: ignore[no-untyped-def]
        port = self.host.open_datagram_port(address, received)
        self.addCleanup(port.close)
        return port


class DatagramTests(HostCase):
    @inlineCallbacks
    def exchange(self, address: Address):  # type: ignore[no-untyped-def]
        got: Deferred[tuple[bytes, Address]] = Deferred()
        there = self.open(address, lambda data, source: got.callback((data, source)))
        here = self.open(address)
        here.send(b"x" * 60000, there.address)
        data, source = yield got
        self.assertEqual((data, source), (b"x" * 60000, here.address))

    def test_send(self) -> Deferred[None]:
        """DatagramPort.send: the largest messages too, with the address they came from."""
        return self.exchange(LOOPBACK)

    def test_send_ipv6(self) -> Deferred[None]:
        """DatagramPort: IPv6 literals without brackets, in both directions."""
        return self.exchange(("::1", 0))

    if not has_ipv6():
        test_send_ipv6.skip = "no IPv6 loopback address here"  # type: ignore[attr-defined]

    @inlineCallbacks
    def test_burst(self):  # type: ignore[no-untyped-def]
        """Architecture rule 7: more datagrams than one turn reads all come, in order."""
        done: Deferred[None] = Deferred()
        got: list[int] = []

        def received(data: bytes, _source: Address) -> None:
            got.append(int(data))
            if len(got) == 300:
                done.callback(None)

        there = self.open(LOOPBACK, received)
        here = self.open(LOOPBACK)
        for number in range(300):
            here.send(str(number).encode(), there.address)
        yield done
        self.assertEqual(got, list(range(300)))
        self.assertGreater(300, host.DRAIN_LIMIT)
        self.assertEqual((here.counters["sent"], there.counters["received"]), (300, 300))

    @inlineCallbacks
    def test_drain(self):  # type: ignore[no-untyped-def]
        """DatagramPort.drain: what has come is thrown away, and what comes without end is told; the rest is heard."""
        done: Deferred[bytes] = Deferred()
        there = self.open(LOOPBACK)
        here = self.open(LOOPBACK)
        for _ in range(host.DRAIN_LIMIT + 10):
            here.send(b"late", there.address)
        self.assertFalse(there.drain())
        self.assertTrue(there.drain())
        there.received = lambda data, source: done.callback(data)
        here.send(b"mine", there.address)
        self.assertEqual((yield done), b"mine")
        there.close()
        self.assertFalse(there.drain())

    def test_send_never_raises(self) -> None:
        """DatagramPort.send: what the system refuses is counted and lost; so is what comes after the close."""
        port = self.open(LOOPBACK)
        for data, destination in (
            (b"x" * 70000, ("127.0.0.1", 9)),
            (b"x", ("2001:db8::1", 9)),
            (b"x", ("127.0.0.1", 70000)),
            (b"x", ("127.0.0.1", 0)),
            (b"x", ("no address", 9)),
        ):
            port.send(data, destination)
        port.close()
        port.close()
        port.send(b"x", ("127.0.0.1", 9))
        self.assertEqual((port.counters["send_errors"], port.counters["sent"]), (6, 0))

    @inlineCallbacks
    def test_fault_above(self):  # type: ignore[no-untyped-def]
        """A fault of the receiver costs one datagram, not the port; closing from within is fine."""
        done: Deferred[None] = Deferred()

        def received(data: bytes, _source: Address) -> None:
            if data == b"bad":
                raise ZeroDivisionError
            there.close()
            done.callback(None)

        there = self.open(LOOPBACK, received)
        here = self.open(LOOPBACK)
        for data in (b"bad", b"good", b"more"):
            here.send(data, there.address)
        yield done
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_taken(self) -> None:
        """Host.open_datagram_port: OSError for a port that is taken, and for an address that isn't ours."""
        port = self.open(LOOPBACK)
        self.assertNotEqual(port.address[1], 0)
        self.assertRaises(OSError, self.host.open_datagram_port, port.address, lambda data, source: None)
        for address in (("192.0.2.99", 0), ("example", 0)):
            self.assertRaises(OSError, self.host.open_datagram_port, address, lambda data, source: None)

    def test_buffers(self) -> None:
        """Architecture rule 7: the socket's buffers are larger than the system's default, or as large as it lets."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            default = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        port = self.open(LOOPBACK)
        self.assertGreaterEqual(port._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), default)


class StreamTests(HostCase):
    @inlineCallbacks
    def test_connect(self):  # type: ignore[no-untyped-def]
        """Host.listen_stream and connect_stream: bytes both ways; a listener that is closed lets connections live."""

        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                self.transport.write(data.upper())

        class Collect(Protocol):
            def connectionMade(self) -> None:
                self.got: Deferred[bytes] = Deferred()
                self.gone: Deferred[None] = Deferred()

            def dataReceived(self, data: bytes) -> None:
                self.got.callback(data)

            def connectionLost(self, reason: object = None) -> None:
                self.gone.callback(None)

        listener = self.host.listen_stream(LOOPBACK, Factory.forProtocol(Echo))
        connected = yield self.host.connect_stream(listener.address, Factory.forProtocol(Collect), 5)
        yield listener.close()
        yield listener.close()
        connected.transport.write(b"abc")
        data = yield connected.got
        self.assertEqual(data, b"ABC")
        connected.transport.loseConnection()
        yield connected.gone

    @inlineCallbacks
    def test_refused(self):  # type: ignore[no-untyped-def]
        """Host.connect_stream: a ConnectError where nobody listens."""
        listener = self.host.listen_stream(LOOPBACK, Factory())
        yield listener.close()
        yield self.assertFailure(self.host.connect_stream(listener.address, Factory(), 5), ConnectError)

    @inlineCallbacks
    def test_taken(self):  # type: ignore[no-untyped-def]
        """Host.listen_stream: OSError, not Twisted's own error, which is none."""
        listener = self.host.listen_stream(LOOPBACK, Factory())
        self.assertRaises(OSError, self.host.listen_stream, listener.address, Factory())
        self.assertRaises(OSError, self.host.listen_stream, ("example", 0), Factory())
        yield listener.close()

    @inlineCallbacks
    def test_families(self):  # type: ignore[no-untyped-def]
        """One port at all addresses of IPv6 and of IPv4: two listeners, and no ``::ffff:`` (api.md 7, listen)."""
        six = self.host.listen_stream(("::", 0), Factory())
        four = self.host.listen_stream(("0.0.0.0", six.address[1]), Factory())
        self.assertEqual(six.address, ("::", four.address[1]))
        self.assertRaises(OSError, self.host.listen_stream, six.address, Factory())
        yield four.close()
        yield self.assertFailure(self.host.connect_stream(("127.0.0.1", six.address[1]), Factory(), 5), ConnectError)
        yield six.close()
        yield self.assertFailure(self.host.connect_stream(("::1", six.address[1]), Factory(), 5), ConnectError)


class OtherTests(HostCase):
    @inlineCallbacks
    def test_resolve(self):  # type: ignore[no-untyped-def]
        """Host.resolve: literals as they are, names by the system, OSError for what is none."""
        found = yield self.host.resolve("192.0.2.1")
        self.assertEqual(found, ["192.0.2.1"])
        found = yield self.host.resolve("localhost")
        self.assertTrue(set(found) & {"127.0.0.1", "::1"})
        for name in ("", "a..b", "x" * 300):
            yield self.assertFailure(self.host.resolve(name), OSError)

    def test_source_address(self) -> None:
        """Host.source_address: ours on the way to a peer."""
        self.assertEqual(self.host.source_address(("127.0.0.1", 5060)), "127.0.0.1")
        self.assertEqual(self.host.source_address(("127.0.0.1", 0)), "127.0.0.1")

    @inlineCallbacks
    def test_run_in_thread(self):  # type: ignore[no-untyped-def]
        """Host.run_in_thread: elsewhere, and it fails as the function does."""
        other = yield self.host.run_in_thread(threading.get_ident)
        self.assertNotEqual(other, threading.get_ident())
        yield self.assertFailure(self.host.run_in_thread(lambda: 1 // 0), ZeroDivisionError)

    def test_random(self) -> None:
        """Host.random: the system's, so that tags can't be guessed (RFC 3261 19.3), unless a test gives another."""
        self.assertIsInstance(self.host.random, random.SystemRandom)
        seeded = random.Random(1)
        self.assertIs(ReactorHost(reactor, seeded).random, seeded)
        self.assertIs(self.host.clock, reactor)

    def test_is_address(self) -> None:
        """An address literal is told from a name."""
        for literal in ("127.0.0.1", "::1", "2001:db8::1"):
            self.assertTrue(is_address(literal))
        for name in ("localhost", "127.0.0", "", "1.2.3.4.example"):
            self.assertFalse(is_address(name))


class MediaPortTests(TestCase):
    """`telephony.media_port`: what `telephony.interfaces.MediaPort` promises, kept by real sockets."""

    timeout = 20

    def setUp(self) -> None:
        self.host = ReactorHost(reactor)
        self.taken: list[bytes] = []
        self.received: list[tuple[bytes, Address]] = []
        self.port = self.open(lambda data, source: self.received.append((data, source)))
        self.peer, self.stranger = self.open(), self.open()

    def open(self, received=lambda data, source: None):  # type: ignore[no-untyped-def]
        port = self.host.open_media_port(LOOPBACK, received)
        self.addCleanup(port.close)
        return port

    def short(self, place: memoryview, size: int, now: float) -> bool:
        """Take what doesn't begin with an x, and send it back."""
        data = place[:size].tobytes()
        if data.startswith(b"x"):
            return False
        self.taken.append(data)
        self.port.post(place[:size])
        return True

    def say(self, port, data: bytes) -> None:  # type: ignore[no-untyped-def]
        port.send(data, self.port.address)

    @inlineCallbacks
    def until(self, count: int):  # type: ignore[no-untyped-def]
        """Wait until so many datagrams have come to the port, by either way."""
        while len(self.taken) + len(self.received) < count:
            yield deferLater(reactor, 0.001, lambda: None)

    @inlineCallbacks
    def test_the_short_way(self):  # type: ignore[no-untyped-def]
        """MediaPort.shorten: what it doesn't want, and what others send, goes to ``received``; posted is sent."""
        back: list[bytes] = []
        self.peer.received = lambda data, source: back.append(data)
        self.port.aim(self.peer.address)
        self.port.shorten(self.short, self.peer.address)
        for port, data in ((self.peer, b"1"), (self.peer, b"x2"), (self.stranger, b"3"), (self.peer, b"4")):
            self.say(port, data)
        yield self.until(4)
        self.assertEqual(self.taken, [b"1", b"4"])
        self.assertEqual(self.received, [(b"x2", self.peer.address), (b"3", self.stranger.address)])
        self.port.shorten(None)
        self.say(self.peer, b"5")
        yield self.until(5)
        self.assertEqual(self.received[-1], (b"5", self.peer.address))
        self.assertEqual(back, [b"1", b"4"])

    @inlineCallbacks
    def test_alone(self):  # type: ignore[no-untyped-def]
        """With ``alone`` the system tells who sends: the peer is heard and answered, and everybody again at the end."""
        self.port.close()
        taken = self.port.received
        self.port = self.host.open_media_port(self.port.address, taken)
        self.addCleanup(self.port.close)
        back: list[bytes] = []
        self.peer.received = lambda data, source: back.append(data)
        self.port.aim(self.peer.address)
        self.port.shorten(self.short, self.peer.address, alone=True)
        for number in range(media_port._STEADY):
            self.say(self.peer, b"%d" % number)
            yield self.until(number + 1)
        self.assertTrue(self.port._connected)
        self.say(self.stranger, b"stranger")
        self.say(self.peer, b"last")
        self.say(self.peer, b"xlong")
        yield self.until(media_port._STEADY + 2)
        self.assertEqual((self.taken[-1], self.received), (b"last", [(b"xlong", self.peer.address)]))
        self.port.shorten(None)
        self.say(self.stranger, b"heard")
        yield self.until(media_port._STEADY + 3)
        self.assertEqual(self.received[-1], (b"heard", self.stranger.address))
        self.port.send(b"more", self.stranger.address)
        self.assertEqual((back[-1], self.port.counters["send_errors"]), (b"last", 0))

    @inlineCallbacks
    def test_pace(self):  # type: ignore[no-untyped-def]
        """From `BUSY` wakes a second on the sockets are looked at from time to time, and waited for again after it."""
        self.patch(media_port, "BUSY", 0)
        reader = self.port._reader
        for number in range(media_port._JUDGED + 5):
            self.say(self.peer, b"%d" % number)
            yield self.until(number + 1)
        self.assertTrue(reader.paced)
        while reader.paced:
            yield deferLater(reactor, 0.01, lambda: None)
        had = len(self.received)
        self.say(self.peer, b"once more")
        yield self.until(had + 1)
        self.assertEqual(self.received[-1], (b"once more", self.peer.address))

    @inlineCallbacks
    def test_a_fault_above(self):  # type: ignore[no-untyped-def]
        """A fault of the receiver costs one datagram, not the ports; closing from within is fine."""

        def bad(data: bytes, source: Address) -> None:
            self.received.append((data, source))
            if data == b"bad":
                raise ZeroDivisionError
            self.port.close()

        self.port.received = bad
        for data in (b"bad", b"good", b"more"):
            self.say(self.peer, data)
        yield self.until(2)
        yield deferLater(reactor, 0.01, lambda: None)
        self.assertEqual([data for data, _ in self.received], [b"bad", b"good"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(self.port.drain())

    def test_nowhere(self) -> None:
        """MediaPort.write: OSError for nowhere, a broken address, a closed port; `post` never raises."""
        for target in (None, ("127.0.0.1", 70000), ("no address", 9)):
            self.port.aim(target)
            self.assertRaises(OSError, self.port.write, b"x")
        self.port.post(bytearray(b"x"))
        self.port._reader.flush()
        self.assertEqual(self.port.counters["send_errors"], 1)
        self.port.close()
        self.assertRaises(OSError, self.port.write, b"x")
