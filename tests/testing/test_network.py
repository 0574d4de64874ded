"""The network in memory: datagrams, links, names, and TCP with ordinary Twisted protocols."""

from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from telephony.interfaces import Address, Host
from telephony.testing.network import SimulatedNetwork

NEAR, FAR = "10.0.0.1", "10.0.0.2"


class DatagramTests(SynchronousTestCase):
    def build(self, **settings: float) -> None:
        self.network = SimulatedNetwork(seed=7, **settings)  # type: ignore[arg-type]
        self.near: Host = self.network.host(NEAR)
        self.far: Host = self.network.host(FAR, name="far.example")
        self.got: list[tuple[float, bytes, Address]] = []
        start = self.network.clock.seconds()

        def received(data: bytes, source: Address) -> None:
            self.got.append((round(self.network.clock.seconds() - start, 6), data, source))

        self.listening = self.far.open_datagram_port((FAR, 5060), received)
        self.port = self.near.open_datagram_port((NEAR, 5060), lambda data, source: None)

    def test_delay(self) -> None:
        """A datagram arrives after the link's delay, with its source."""
        self.build(delay=0.02)
        self.port.send(bytearray(b"hello"), (FAR, 5060))
        self.network.advance(1)
        self.assertEqual(self.got, [(0.02, b"hello", (NEAR, 5060))])

    def test_nobody(self) -> None:
        """A datagram to a closed port or an unknown host is counted and gone, as UDP may lose it."""
        self.build()
        self.listening.close()
        self.listening.close()
        self.port.send(b"hello", (FAR, 5060))
        self.port.send(b"hello", ("10.9.9.9", 5060))
        self.network.advance(1)
        self.assertEqual(self.network.counters["no such port"], 2)

    def test_bind(self) -> None:
        """A taken port and a foreign address are OSErrors; port 0 gives free ones; 0.0.0.0 gets everything."""
        self.build()
        ignore = lambda data, source: None  # noqa: E731
        self.assertRaises(OSError, self.far.open_datagram_port, (FAR, 5060), ignore)
        self.assertRaises(OSError, self.far.open_datagram_port, ("0.0.0.0", 5060), ignore)
        self.assertRaises(OSError, self.far.open_datagram_port, (NEAR, 5061), ignore)
        one, two = (self.far.open_datagram_port((FAR, 0), ignore) for _ in range(2))
        self.assertNotEqual(one.address, two.address)
        self.listening.close()
        wide = self.far.open_datagram_port(("0.0.0.0", 5060), ignore)
        self.assertEqual(wide.address, ("0.0.0.0", 5060))
        self.near.open_datagram_port((NEAR, 9), lambda data, source: self.got.append((0, data, source)))
        wide.send(b"from any", (NEAR, 9))
        self.network.advance(1)
        self.assertEqual(self.got, [(0, b"from any", (FAR, 5060))])

    def test_trouble(self) -> None:
        """Loss, duplication and reordering happen about as often as the link says, from the seed alone."""
        runs = []
        for _ in range(2):
            self.build(loss=0.3, duplicate=0.1, reorder=0.2, jitter=0.001)
            for i in range(1000):
                self.port.send(i.to_bytes(2, "big"), (FAR, 5060))
                self.network.advance(0.002)
            self.network.advance(1)
            runs.append((self.got, self.network.fingerprint))
        self.assertEqual(runs[0], runs[1])
        numbers = [int.from_bytes(data, "big") for _, data, _ in self.got]
        self.assertTrue(600 < len(set(numbers)) < 800)
        self.assertTrue(30 < len(numbers) - len(set(numbers)) < 120)
        self.assertNotEqual(numbers, sorted(numbers))

    def test_jitter_keeps_order(self) -> None:
        """Jitter alone doesn't reorder."""
        self.build(jitter=0.05)
        for i in range(100):
            self.port.send(bytes([i]), (FAR, 5060))
            self.network.advance(0.005)
        self.network.advance(1)
        self.assertEqual([data[0] for _, data, _ in self.got], list(range(100)))

    def test_links(self) -> None:
        """A link has settings of its own, one way or both, and a partition swallows everything until it heals."""
        self.build()
        self.network.link(NEAR, FAR, delay=0.5, both=False)
        self.port.send(b"slow", (FAR, 5060))
        self.network.advance(1)
        self.network.partition(NEAR, FAR)
        self.port.send(b"never", (FAR, 5060))
        self.network.advance(1)
        self.network.heal(NEAR, FAR)
        self.port.send(b"again", (FAR, 5060))
        self.network.advance(1)
        self.assertEqual([(time, data) for time, data, _ in self.got], [(0.5, b"slow"), (2.5, b"again")])
        self.assertEqual([event.note for event in self.network.events], ["", "cut off", ""])
        self.assertRaises(TypeError, self.network.link, NEAR, FAR, los=1)

    def test_kept(self) -> None:
        """RTP and signalling are kept apart, so that media doesn't push messages out (RFC 7983)."""
        self.build()
        self.port.send(b"\x80\x00audio", (FAR, 5060))
        self.port.send(b"BYE", (FAR, 5060))
        self.assertEqual([event.data for event in self.network.events], [b"BYE"])
        self.assertEqual([packet[3] for packet in self.network.media], [b"\x80\x00audio"])

    def test_names(self) -> None:
        """Names resolve as the network says, literals to themselves, the rest is an OSError."""
        self.build()
        self.assertEqual(self.network.run_until(self.near.resolve("FAR.example.")), [FAR])
        self.assertEqual(self.successResultOf(self.near.resolve("::1")), ["::1"])
        self.assertRaises(OSError, self.network.run_until, self.near.resolve("nowhere.example"))
        given_up = self.near.resolve("far.example")
        given_up.cancel()
        self.failureResultOf(given_up)
        self.assertEqual(self.network.clock.leftovers(), [])

    def test_thread(self) -> None:
        """What runs in a thread runs in a later turn, and its exception is the Deferred's failure."""
        self.build()
        work = self.near.run_in_thread(int, "17")
        self.assertNoResult(work)
        self.assertEqual(self.network.run_until(work), 17)
        self.assertRaises(ValueError, self.network.run_until, self.near.run_in_thread(int, "x"))

    def test_leftovers(self) -> None:
        """Open ports and listeners are told, and closed ones are not."""
        self.build()
        listener = self.far.listen_stream((FAR, 5060), Factory())
        self.assertEqual(len(self.network.leftovers()), 3)
        self.port.close()
        self.listening.close()
        self.successResultOf(listener.close())
        self.assertEqual(self.network.leftovers(), [])


class UnreachableTests(SynchronousTestCase):
    def test_no_such_port(self) -> None:
        """ICMP port unreachable, where it is on: the sender's port counts it; a host that isn't there says nothing."""
        for on in (False, True):
            network = SimulatedNetwork(port_unreachable=on)
            port = network.host(NEAR).open_datagram_port((NEAR, 5060), lambda data, source: None)
            network.host(FAR)
            port.send(b"x", (FAR, 9))
            port.send(b"x", ("10.9.9.9", 9))
            network.advance(1)
            self.assertEqual(port.errors, int(on))


class Keeper(Protocol):
    """Keeps what happens to it."""

    def __init__(self) -> None:
        self.got = b""
        self.pieces = 0
        self.reason: object = None

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        self.pieces += 1

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.reason = reason.type


@implementer(IHalfCloseableProtocol)
class HalfKeeper(Keeper):
    """A protocol that goes on when one half of its connection is closed."""

    halves = ""

    def readConnectionLost(self) -> None:
        self.halves += "r"

    def writeConnectionLost(self) -> None:
        self.halves += "w"


class HalfCloseTests(SynchronousTestCase):
    """RFC 9293 3.6: a TCP connection is closed one way at a time."""

    def connect(self, kind: type[Keeper], **settings: Any) -> tuple[Keeper, Keeper]:
        """Connect two protocols, the far one of a ``kind``."""
        self.network = SimulatedNetwork(**settings)
        accepting: Any = Factory.forProtocol(kind)
        made: list[Keeper] = []
        accepting.buildProtocol = lambda address: made.append(kind()) or made[-1]  # type: ignore[func-returns-value]
        self.network.host(FAR).listen_stream((FAR, 5060), accepting)
        calling: Any = Factory.forProtocol(HalfKeeper)
        near: Any = self.network.run_until(self.network.host(NEAR).connect_stream((FAR, 5060), calling, 30))
        return near, made[0]

    def test_one_way(self) -> None:
        """Who has stopped writing still reads; when the other stops too, it is over."""
        near, far = self.connect(HalfKeeper, half_close=True)
        near.transport.write(b"question")
        near.transport.loseWriteConnection()
        near.transport.write(b"never sent")
        self.network.advance(1)
        self.assertEqual((far.got, far.halves, far.reason), (b"question", "r", None))  # type: ignore[attr-defined]
        far.transport.write(b"answer")
        self.network.advance(1)
        self.assertEqual((near.got, near.halves, near.reason), (b"answer", "w", None))  # type: ignore[attr-defined]
        far.transport.loseConnection()
        self.network.advance(1)
        self.assertEqual((near.reason, far.reason), (error.ConnectionDone, error.ConnectionDone))
        self.assertEqual(len(self.network._streams), 0)

    def test_both_at_once(self) -> None:
        """Both ends stop writing at the same moment: both are told, and it is over."""
        near, far = self.connect(HalfKeeper, half_close=True)
        near.transport.loseWriteConnection()
        far.transport.loseWriteConnection()
        self.network.advance(1)
        self.assertEqual((near.reason, far.reason), (error.ConnectionDone, error.ConnectionDone))

    def test_others_close(self) -> None:
        """A protocol that knows nothing of halves is closed by the other's; and without ``half_close`` all are."""
        for kind, settings in ((Keeper, {"half_close": True}), (HalfKeeper, {})):
            near, far = self.connect(kind, **settings)
            near.transport.loseWriteConnection()
            self.network.advance(1)
            self.assertEqual((near.reason, far.reason), (error.ConnectionDone, error.ConnectionDone))


class StreamTests(SynchronousTestCase):
    def build(self, **settings: object) -> None:
        self.network = SimulatedNetwork(seed=3, **settings)  # type: ignore[arg-type]
        self.near, self.far = self.network.host(NEAR), self.network.host(FAR)
        self.accepted: list[Keeper] = []
        self.factory = Factory()
        self.factory.buildProtocol = self.accept  # type: ignore[method-assign]
        self.listener = self.far.listen_stream((FAR, 5060), self.factory)  # type: ignore[arg-type]

    def accept(self, address: object) -> Keeper:
        self.accepted.append(Keeper())
        return self.accepted[-1]

    def begin(self, destination: Address = (FAR, 5060), timeout: float = 30) -> Deferred[Keeper]:
        return self.near.connect_stream(destination, Factory.forProtocol(Keeper), timeout)  # type: ignore

    def connect(self) -> tuple[Keeper, Keeper]:
        protocol = self.network.run_until(self.begin())
        return protocol, self.accepted[-1]

    def test_both_ways(self) -> None:
        """Bytes arrive whole and in order, and each end knows both addresses."""
        self.build(loss=0.2, jitter=0.02, cut_streams=True)
        here, there = self.connect()
        sent = bytes(range(256)) * 20
        here.transport.write(sent[:100])
        here.transport.writeSequence([sent[100:200], sent[200:]])
        there.transport.write(b"hello")
        self.network.advance(90)
        self.assertEqual(there.got, sent)
        self.assertGreater(there.pieces, 3)
        self.assertEqual(here.got, b"hello")
        self.assertEqual(here.transport.getPeer().port, 5060)
        self.assertEqual(there.transport.getPeer(), here.transport.getHost())

    def test_refused(self) -> None:
        """A host without that port refuses after a round trip."""
        self.build(delay=0.1)
        start = self.network.clock.seconds()
        self.assertRaises(error.ConnectionRefusedError, self.network.run_until, self.begin((FAR, 1)))
        self.assertAlmostEqual(self.network.clock.seconds() - start, 0.2)
        self.assertEqual(self.network.clock.leftovers(), [])

    def test_nobody(self) -> None:
        """A host that isn't there, or is cut off, answers nothing: the attempt ends by its time limit."""
        self.build()
        start = self.network.clock.seconds()
        self.assertRaises(error.TimeoutError, self.network.run_until, self.begin(("10.9.9.9", 5060), 7))
        self.assertAlmostEqual(self.network.clock.seconds() - start, 7)
        self.network.partition(NEAR, FAR)
        self.assertRaises(error.TimeoutError, self.network.run_until, self.begin(timeout=7))
        self.assertIsInstance(error.TimeoutError(), error.ConnectError)

    def test_given_up(self) -> None:
        """Cancelling an attempt leaves nothing behind, and the far end loses what it accepted."""
        self.build()
        attempt = self.begin()
        self.network.advance(0.006)
        attempt.cancel()
        self.failureResultOf(attempt, error.ConnectingCancelledError)
        self.network.advance(1)
        self.assertIs(self.accepted[0].reason, error.ConnectionLost)
        self.listener.close()
        self.assertEqual(self.network.leftovers(), [])

    def test_lost_syn(self) -> None:
        """A lost SYN is sent again."""
        self.build()
        self.network.partition(NEAR, FAR)
        attempt = self.begin()
        self.network.advance(0.5)
        self.network.heal(NEAR, FAR)
        self.network.run_until(attempt)
        self.assertEqual(len(self.accepted), 1)

    def test_close(self) -> None:
        """A close delivers what was written before it; both ends see ConnectionDone."""
        self.build()
        here, there = self.connect()
        here.transport.write(b"last words")
        here.transport.loseConnection()
        here.transport.write(b"too late")
        self.network.advance(1)
        self.assertEqual(there.got, b"last words")
        self.assertEqual((here.reason, there.reason), (error.ConnectionDone, error.ConnectionDone))
        self.listener.close()
        self.assertEqual(self.network.leftovers(), [])

    def test_abort(self) -> None:
        """An abort is ConnectionAborted here and ConnectionLost there."""
        self.build()
        here, there = self.connect()
        here.transport.abortConnection()
        self.network.advance(1)
        self.assertEqual((here.reason, there.reason), (error.ConnectionAborted, error.ConnectionLost))

    def test_reset(self) -> None:
        """A reset breaks both ends at once."""
        self.build()
        here, there = self.connect()
        self.assertEqual(self.network.reset_streams(FAR, NEAR), 1)
        self.assertEqual((here.reason, there.reason), (error.ConnectionLost, error.ConnectionLost))

    def test_cut_off(self) -> None:
        """Data written while cut off arrives after healing, and breaks the connection when it never heals."""
        self.build()
        here, there = self.connect()
        self.network.partition(NEAR, FAR)
        here.transport.write(b"held")
        self.network.advance(3)
        self.network.heal(NEAR, FAR)
        self.network.advance(10)
        self.assertEqual(there.got, b"held")
        self.network.partition(NEAR, FAR)
        here.transport.write(b"never")
        self.network.advance(120)
        self.assertIs(here.reason, error.TimeoutError)
        self.assertIsNone(there.reason)

    def test_pause(self) -> None:
        """A paused transport holds what arrives."""
        self.build()
        here, there = self.connect()
        there.transport.pauseProducing()
        here.transport.write(b"abc")
        here.transport.loseConnection()
        self.network.advance(1)
        self.assertEqual((there.got, there.reason), (b"", None))
        there.transport.resumeProducing()
        self.assertEqual((there.got, there.reason), (b"abc", error.ConnectionDone))

    def test_taken(self) -> None:
        """A TCP port that is taken is an OSError; UDP ports are another space."""
        self.build()
        self.assertRaises(OSError, self.far.listen_stream, (FAR, 5060), self.factory)
        self.far.open_datagram_port((FAR, 5060), lambda data, source: None)

    def test_twisted_protocol(self) -> None:
        """A LineReceiver of Twisted's own runs on it."""
        self.build(cut_streams=True)
        lines: list[bytes] = []

        class Lines(LineReceiver):
            def lineReceived(self, line: bytes) -> None:
                lines.append(line)
                if line == b"quit":
                    self.transport.loseConnection()

        self.factory.buildProtocol = lambda address: Lines()  # type: ignore
        here = self.network.run_until(self.begin())
        here.transport.write(b"one\r\ntwo\r\nquit\r\nunheard\r\n")
        self.network.advance(1)
        self.assertEqual(lines, [b"one", b"two", b"quit"])
        self.assertIs(here.reason, error.ConnectionDone)
