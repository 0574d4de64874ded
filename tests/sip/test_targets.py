"""The order in which DNS says to try targets (RFC 2782, RFC 3263 4.1, RFC 3403)."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.interfaces import Naptr, Srv
from telephony.sip.targets import order_srv, usable_naptr

RECORDS = st.lists(
    st.builds(
        Srv,
        st.integers(0, 3),
        st.integers(0, 100),
        st.integers(1, 65535),
        st.sampled_from(["a.example", "b.example", "c.example", "."]),
    ),
    max_size=8,
)


class SrvTests(SynchronousTestCase):
    @given(RECORDS, st.integers())
    def test_by_priority(self, records: list[Srv], seed: int) -> None:
        """RFC 2782: every target once, lower priorities first, never one that is ``.``."""
        ordered = order_srv(records, random.Random(seed))
        self.assertEqual([one.priority for one in ordered], sorted(one.priority for one in ordered))
        self.assertEqual(Counter(ordered), Counter(one for one in records if one.target != "."))

    def test_by_weight(self) -> None:
        """RFC 2782: within a priority the first is drawn in proportion to weight; weight 0 has a small chance only."""
        records = [Srv(1, weight, 5060, f"{weight}.example") for weight in (0, 10, 30, 60)]
        draws = random.Random(1)
        firsts = Counter(order_srv(records, draws)[0].weight for _ in range(10_000))
        for weight in (10, 30, 60):
            self.assertTrue(abs(firsts[weight] - 100 * weight) < 300, firsts)
        self.assertTrue(0 < firsts[0] < 300, firsts)

    def test_drawn_from_the_source_given(self) -> None:
        """Invariant I9: the same seed gives the same order, however the server has turned its answer round."""
        records = [Srv(1, 10, 5060, f"{letter}.example") for letter in "abcdef"]
        orders = [order_srv(turned, random.Random(5)) for turned in (records, records[3:] + records[:3], records[::-1])]
        self.assertEqual(orders[0], orders[1])
        self.assertEqual(orders[0], orders[2])


class NaptrTests(SynchronousTestCase):
    UDP = Naptr(50, 50, "s", "SIP+D2U", "_sip._udp.example.com")
    TCP = Naptr(50, 40, "S", "sip+d2t", "_sip._tcp.example.com")
    TLS = Naptr(90, 10, "s", "SIPS+D2T", "_sips._tcp.example.com")

    def test_order_and_preference(self) -> None:
        """RFC 3403 4.1: the lowest order that holds something for us, within it by preference; no higher order."""
        everything = [self.TLS, self.UDP, self.TCP]
        self.assertEqual(usable_naptr(everything, ("UDP", "TCP", "TLS"), False), [self.TCP, self.UDP])
        self.assertEqual(usable_naptr(everything, ("TLS",), False), [self.TLS])

    def test_only_what_we_can_do(self) -> None:
        """RFC 3263 4.1: services we don't have, other protocols and rewriting rules are passed over."""
        others = [
            Naptr(1, 1, "s", "SIP+D2W", "_sip._ws.example.com"),
            Naptr(1, 1, "s", "SIP+D2S", "_sip._sctp.example.com"),
            Naptr(1, 1, "u", "E2U+sip", "."),
            Naptr(1, 1, "s", "SIP+D2U", "."),
        ]
        self.assertEqual(usable_naptr([*others, self.UDP], ("UDP", "TCP"), False), [self.UDP])
        self.assertEqual(usable_naptr(others, ("UDP", "TCP"), False), [])

    def test_secure(self) -> None:
        """RFC 3263 4.1: for sips: TLS alone will do."""
        self.assertEqual(usable_naptr([self.UDP, self.TCP, self.TLS], ("UDP", "TCP", "TLS"), True), [self.TLS])
        self.assertEqual(usable_naptr([self.UDP, self.TCP], ("UDP", "TCP", "TLS"), True), [])
