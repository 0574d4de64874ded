"""Whose packets are taken (R22 of transfer.md)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.rtp.latch import Latch, goes_on

SIGNALLED = ("10.0.0.1", 4000)
NAT = ("203.0.113.5", 61000)
OTHER = ("203.0.113.66", 7)


class LatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.latch = Latch()
        self.latch.renew(SIGNALLED, 0.0)

    def admits(self, source: tuple[str, int], now: float, goes_on: bool = False, silent: float = 0.0) -> bool:
        return self.latch.admits(source, goes_on, silent, now)

    def test_nothing_before_sdp(self) -> None:
        """Without SDP nobody is taken."""
        self.assertFalse(Latch().admits(NAT, True, 9.0, 0.0))

    def test_the_first_symmetric_source(self) -> None:
        """A phone behind NAT is taken at its first packet, but not one of the other address family."""
        self.assertFalse(self.admits(("2001:db8::1", 4000), 5.0))
        self.assertTrue(self.admits(NAT, 5.0))
        self.assertEqual(self.latch.current, NAT)

    def test_the_signalled_source_wins(self) -> None:
        """Whoever was taken, the signalled source takes over; after it no other comes in, in that second or later."""
        self.assertTrue(self.admits(OTHER, 0.0))
        self.assertTrue(self.admits(SIGNALLED, 3.0))
        self.assertFalse(self.admits(OTHER, 3.1, silent=5.0))
        self.assertFalse(self.admits(NAT, 3.2))

    def test_the_first_second(self) -> None:
        """Within a second of the first packet another source is taken, each only once; not later."""
        self.assertTrue(self.admits(OTHER, 10.0))
        self.assertTrue(self.admits(NAT, 10.9))
        self.assertFalse(self.admits(OTHER, 10.95))
        self.assertFalse(self.admits(("203.0.113.7", 1), 11.1))

    def test_rebinding(self) -> None:
        """Later only a stream that goes on, and when the old source has been silent for 500 ms."""
        self.admits(NAT, 0.0)
        moved = (NAT[0], 61001)
        self.assertFalse(self.admits(moved, 20.0, goes_on=True, silent=0.49))
        self.assertFalse(self.admits(moved, 20.0, goes_on=False, silent=30.0))
        self.assertTrue(self.admits(moved, 20.0, goes_on=True, silent=0.5))
        self.assertEqual(self.latch.current, moved)

    def test_new_sdp(self) -> None:
        """New SDP with another address opens the choice; the source before is out, as a fork's loser is (R17)."""
        self.admits(SIGNALLED, 0.0)
        winner = ("10.0.0.2", 4000)
        self.assertTrue(self.latch.renew(winner, 5.0))
        self.assertIsNone(self.latch.current)
        self.assertFalse(self.admits(SIGNALLED, 5.1))
        self.assertTrue(self.admits(winner, 5.2))
        self.assertFalse(self.admits(SIGNALLED, 5.3))

    def test_new_sdp_of_a_phone_behind_nat(self) -> None:
        """Behind NAT the same source may be all there is: it is taken again a second later."""
        self.admits(NAT, 0.0)
        self.latch.renew(("10.0.0.1", 4002), 5.0)
        self.assertFalse(self.admits(NAT, 5.5))
        self.assertTrue(self.admits(NAT, 6.0))

    def test_the_same_sdp_again(self) -> None:
        """A refresh, a hold with 0.0.0.0, and what names the source we have, change nothing."""
        self.admits(NAT, 0.0)
        for address in (SIGNALLED, None, NAT):
            self.assertFalse(self.latch.renew(address, 9.0))
            self.assertEqual(self.latch.current, NAT)

    def test_a_host_name(self) -> None:
        """Where the peer signalled a name, the first source is taken."""
        latch = Latch()
        latch.learning = True
        self.assertTrue(latch.admits(NAT, False, 0.0, 0.0))

    def test_going_on(self) -> None:
        """A sequence number that goes on is a little ahead, never behind."""
        self.assertEqual([goes_on(one) for one in (0, 1, 499, 500, 65535)], [False, True, True, False, False])

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.0, 0.3), st.floats(0.0, 2.0)), max_size=60))
    def test_a_blind_stranger(self, packets: list[tuple[int, float, float]]) -> None:
        """Once the signalled source has sent, nobody gets in who can't go on with its stream."""
        latch = Latch()
        latch.renew(SIGNALLED, 0.0)
        latch.admits(SIGNALLED, False, 0.0, 0.0)
        now = 0.0
        for host, step, silent in packets:
            now += step
            self.assertFalse(latch.admits((f"198.51.100.{host}", 5), False, silent, now))
        self.assertEqual(latch.current, SIGNALLED)
