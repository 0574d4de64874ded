"""Pairs of ports (RFC 3550 section 11; I4 of transfer.md)."""

from twisted.trial.unittest import SynchronousTestCase

from telephony.rtp.ports import NoPorts, PortPair, PortPool
from tests.rtp.fakes import Wire

HERE = "192.0.2.1"


class PortPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = Wire()

    def pool(self, low: int = 20000, high: int = 20007, quarantine: float = 2.0, kept: int | None = None) -> PortPool:
        return PortPool(self.wire, low, high, quarantine, kept)  # type: ignore[arg-type]

    def heard(self, pair: PortPair) -> list[bytes]:
        """Return the list into which goes what a pair hears."""
        heard: list[bytes] = []
        pair.receive(lambda data, source: heard.append(data), lambda data, source: heard.append(data))
        return heard

    def say(self, pair: PortPair, data: bytes) -> None:
        """Send something to both ports of a pair."""
        host, port = pair.address
        for one in (port, port + 1):
            self.wire.arrive(data, ("192.0.2.99", 4000), (host, one))

    def test_even_and_odd(self) -> None:
        """RTP on an even port, RTCP on the next (RFC 3550 11), all of the range and no more."""
        pool = self.pool(20001, 20008)
        pairs = [pool.acquire(HERE) for _ in range(3)]
        self.assertEqual(sorted(pair.address[1] for pair in pairs), [20002, 20004, 20006])
        for pair in pairs:
            self.assertEqual(pair.rtcp.address[1], pair.address[1] + 1)
        self.assertEqual(pool.in_use, 3)
        self.assertRaises(NoPorts, pool.acquire, HERE)

    def test_each_address_has_its_own(self) -> None:
        """The range is for each local address."""
        pool = self.pool(20000, 20001)
        pool.acquire(HERE)
        self.assertEqual(pool.acquire("192.0.2.2").address, ("192.0.2.2", 20000))
        self.assertEqual(pool.acquire("2001:db8::1").address, ("2001:db8::1", 20000))

    def test_quarantine(self) -> None:
        """A pair that was given back rests before it is used again; no timer is set."""
        for kept in (0, 1):
            pool = self.pool(20000, 20001, kept=kept)
            pair = pool.acquire(HERE)
            pair.close()
            pair.close()
            pool.release(pair)
            self.assertEqual((len(self.wire.ports), pool.in_use, pool.idle), (2 * kept, 0, kept))
            self.wire.clock.advance(1.9)
            self.assertRaises(NoPorts, pool.acquire, HERE)
            self.wire.clock.advance(0.1)
            pool.acquire(HERE)
            self.assertEqual(self.wire.clock.getDelayedCalls(), [])
            pool.close()

    def test_used_again(self) -> None:
        """The next call gets the sockets of one before it, and hears nothing that was meant for that (issue 5)."""
        pool = self.pool(20000, 20001)
        first = pool.acquire(HERE)
        sockets = (first.rtp, first.rtcp)
        heard = self.heard(first)
        self.say(first, b"one")
        first.close()
        self.say(first, b"late")
        first.receive(lambda data, source: heard.append(b"given back"), lambda data, source: None)
        self.say(first, b"later")
        self.wire.clock.advance(2.0)
        second = pool.acquire(HERE)
        self.assertEqual((second.rtp, second.rtcp, second.address), (*sockets, first.address))
        self.say(second, b"too early")
        heard_then = self.heard(second)
        self.say(second, b"two")
        first.close()
        first.rtp.send(b"late", ("10.0.0.1", 1))
        self.assertEqual((heard, heard_then), ([b"one"] * 2, [b"two"] * 2))
        self.assertEqual((sockets[0].sent, pool.in_use), ([], 1))  # type: ignore[attr-defined]

    def test_somebody_still_sends(self) -> None:
        """A pair on which there is no end of packets rests again, and another is taken."""
        pool = self.pool(20000, 20003)
        restless = pool.acquire(HERE)
        restless.close()
        self.wire.clock.advance(2.0)
        self.wire.flooded = True
        other = pool.acquire(HERE)
        self.assertNotEqual(other.address, restless.address)
        self.assertRaises(NoPorts, pool.acquire, HERE)
        self.wire.flooded = False
        self.wire.clock.advance(1.9)
        self.assertRaises(NoPorts, pool.acquire, HERE)
        self.wire.clock.advance(0.1)
        self.assertEqual(pool.acquire(HERE).address, restless.address)

    def test_kept_open(self) -> None:
        """So many pairs are open at a time and no more, those in use among them; half of the files at most."""
        pool = self.pool(20000, 20999, kept=5)
        pairs = [pool.acquire(HERE) for _ in range(8)]
        for open_then in (8, 7, 6, 5, 5, 5):
            self.assertEqual(pool.in_use + pool.idle, open_then)
            pairs.pop().close()
        self.wire.open_files = 16
        pool = self.pool(30000, 30999)
        for pair in [pool.acquire(HERE) for _ in range(8)]:
            pair.close()
        self.assertEqual(pool.idle, 4)

    def test_nobody_can_tell_the_next(self) -> None:
        """Open pairs are taken only from among many, so that an outsider can't tell the next call's ports."""
        pool = self.pool(20000, 29999, quarantine=0.0)
        seen = set()
        for _ in range(200):
            pair = pool.acquire(HERE)
            seen.add(pair.address)
            pair.close()
        self.assertEqual((len(seen), pool.idle), (32, 32))

    def test_taken_by_others(self) -> None:
        """A port of somebody else's, even or odd, is passed over and nothing of its pair stays open."""
        self.wire.taken.update(((HERE, 20000), (HERE, 20003)))
        pool = self.pool()
        got = sorted(pool.acquire(HERE).address[1] for _ in range(2))
        self.assertEqual(got, [20004, 20006])
        self.assertRaises(NoPorts, pool.acquire, HERE)
        self.wire.taken.clear()
        self.assertIn(pool.acquire(HERE).address[1], (20000, 20002))

    def test_not_our_address(self) -> None:
        """On an address that can't be bound at all the search ends after a bounded number of attempts."""
        attempts = []

        def refuse(address: object, received: object) -> object:
            attempts.append(address)
            raise OSError(99, "Cannot assign requested address")

        self.wire.open_media_port = refuse  # type: ignore[method-assign, assignment]
        self.assertRaises(NoPorts, self.pool(20000, 49999).acquire, "198.51.100.1")
        self.assertLess(len(attempts), 100)

    def test_at_random(self) -> None:
        """Ports come from the host's randomness: the same seed gives the same (I9), and they aren't in a row."""
        drawn = []
        for _ in range(2):
            wire = Wire(seed=5)
            pool = PortPool(wire, 20000, 29999)  # type: ignore[arg-type]
            drawn.append([pool.acquire(HERE).address[1] for _ in range(10)])
        self.assertEqual(drawn[0], drawn[1])
        self.assertNotEqual(drawn[0], sorted(drawn[0]))

    def test_close(self) -> None:
        """Closing the pool closes what is out, what rests, and what has rested; none is kept open after that."""
        pool = self.pool()
        pairs = [pool.acquire(HERE) for _ in range(4)]
        pairs[0].close()
        self.wire.clock.advance(1.0)
        pairs[1].close()
        self.wire.clock.advance(1.0)
        late = pool.acquire(HERE)
        self.assertEqual(late.address, pairs[0].address)
        pairs[2].close()
        self.wire.clock.advance(1.0)
        pool.acquire(HERE).close()
        pool.close()
        self.assertEqual((self.wire.ports, pool.in_use, pool.idle), ({}, 0, 0))
        self.wire.clock.advance(2.0)
        pool.acquire(HERE).close()
        self.assertEqual((self.wire.ports, pool.in_use, pool.idle), ({}, 0, 0))

    def test_a_closed_pair(self) -> None:
        """A closed pair keeps its address, sends nothing and holds no port."""
        pair = self.pool().acquire(HERE)
        where = pair.address
        pair.close()
        pair.rtp.send(b"late", ("10.0.0.1", 1))
        self.assertEqual(pair.address, where)

    def test_a_useless_range(self) -> None:
        """A range without a pair in it is told at once."""
        for low, high in ((20001, 20001), (20001, 20002), (0, 10), (65535, 65535), (30000, 20000), (60000, 70000)):
            self.assertRaises(ValueError, self.pool, low, high)
