"""Pairs of ports (RFC 3550 section 11; I4 of transfer.md)."""

from twisted.trial.unittest import SynchronousTestCase

from telephony.rtp.ports import NoPorts, PortPool
from tests.rtp.fakes import Wire

HERE = "192.0.2.1"


class PortPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = Wire()

    def pool(self, low: int = 20000, high: int = 20007, quarantine: float = 2.0) -> PortPool:
        return PortPool(self.wire, low, high, quarantine)  # type: ignore[arg-type]

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
        """A pair that was given back is closed at once, and rests before it is used again; no timer is set."""
        pool = self.pool(20000, 20001)
        pair = pool.acquire(HERE)
        pair.close()
        pair.close()
        pool.release(pair)
        self.assertEqual((self.wire.ports, pool.in_use), ({}, 0))
        self.wire.clock.advance(1.9)
        self.assertRaises(NoPorts, pool.acquire, HERE)
        self.wire.clock.advance(0.1)
        pool.acquire(HERE)
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

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

        self.wire.open_datagram_port = refuse  # type: ignore[method-assign, assignment]
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
        """Closing the pool closes what is out."""
        pool = self.pool()
        pool.acquire(HERE)
        pool.acquire(HERE)
        pool.close()
        self.assertEqual((self.wire.ports, pool.in_use), ({}, 0))

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
