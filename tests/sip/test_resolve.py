"""From a URI to its targets (RFC 3263 4.1, 4.2), what is remembered of the DNS, and which targets are left alone."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from telephony.interfaces import Answer, Naptr, Srv
from telephony.sip import resolve
from telephony.sip.resolve import DownTargets, Locator, NameCache, NoWay
from telephony.sip.targets import Target
from telephony.testing.network import SimulatedNetwork
from tests.sip.fakes import uri

EVERYTHING = ("UDP", "TCP", "TLS")


class LocatorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = SimulatedNetwork(1)
        self.host = self.network.host("10.0.0.1")
        self.transports: dict[bool, tuple[str, ...]] = {False: EVERYTHING, True: ()}
        self.locator = Locator(self.host, lambda six: self.transports[six], 32.0)
        self.began = self.network.clock.seconds()
        self.network.names["one.example.com"] = ["192.0.2.1"]
        self.network.names["two.example.com"] = ["192.0.2.2", "2001:db8::2"]

    def tearDown(self) -> None:
        self.assertEqual(self.network.clock.leftovers(), [])

    def find(self, text: str, usual: str | None = None) -> list[str]:
        """Return the targets of a URI as text."""
        found = self.network.run_until(self.locator.locate(uri(text), usual), 60)
        return [f"{one.transport} {one.address[0]} {one.address[1]}" for one in found]

    def refused(self, text: str) -> str:
        """Return why a URI leads nowhere."""
        with self.assertRaises(NoWay) as caught:
            self.network.run_until(self.locator.locate(uri(text)), 60)
        return str(caught.exception)

    def asked(self) -> list[tuple[str, str]]:
        """Return what the DNS was asked for since the last look."""
        asked: list[tuple[str, str]] = [(name, kind) for _time, name, kind in self.network.questions]
        self.network.questions.clear()
        return asked

    def test_addresses(self) -> None:
        """RFC 3263 4.1, 4.2: an IP address is itself, at once; UDP for sip:, TLS for sips:, with their ports."""
        for text, target in (
            ("sip:bob@192.0.2.9", "UDP 192.0.2.9 5060"),
            ("sip:bob@192.0.2.9:5070", "UDP 192.0.2.9 5070"),
            ("sip:bob@192.0.2.9;transport=TCP", "TCP 192.0.2.9 5060"),
            ("sip:bob@192.0.2.9;transport=tls", "TLS 192.0.2.9 5061"),
            ("sips:bob@192.0.2.9", "TLS 192.0.2.9 5061"),
            ("sips:bob@192.0.2.9:5070;transport=tcp", "TLS 192.0.2.9 5070"),
            ("sip:bob@example.com;maddr=192.0.2.8", "UDP 192.0.2.8 5060"),
        ):
            looking = self.locator.locate(uri(text))
            self.assertTrue(looking.called, text)
            self.assertEqual(self.find(text), [target])
        self.transports[True] = ("TCP",)
        self.assertEqual(self.find("sip:bob@[2001:db8::1]"), ["TCP 2001:db8::1 5060"])
        self.assertEqual(self.find("sip:bob@192.0.2.9", "TCP"), ["TCP 192.0.2.9 5060"])
        self.assertEqual(self.asked(), [])

    def test_port(self) -> None:
        """RFC 3263 4.1, 4.2: with a port given there are no records to be looked for, only addresses."""
        self.assertEqual(self.find("sip:bob@two.example.com:5070"), ["UDP 192.0.2.2 5070"])
        self.assertEqual(self.find("sips:bob@two.example.com:5070"), ["TLS 192.0.2.2 5070"])
        self.assertEqual({kind for _name, kind in self.asked()}, {"A"})

    def test_naptr(self) -> None:
        """RFC 3263 4.1: the example of that section, NAPTR to SRV to addresses, by order and preference."""
        self.network.dns(
            "example.com",
            "NAPTR",
            Naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com"),
            Naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com"),
            Naptr(100, 50, "s", "SIP+D2U", "_sip._udp.example.com"),
        )
        for service, port in (("_sips._tcp", 5061), ("_sip._tcp", 5060), ("_sip._udp", 5060)):
            self.network.dns(
                f"{service}.example.com",
                "SRV",
                Srv(0, 1, port, "one.example.com"),
                Srv(1, 1, port, "two.example.com"),
            )
        self.assertEqual(self.find("sips:bob@example.com"), ["TLS 192.0.2.1 5061", "TLS 192.0.2.2 5061"])
        self.transports[False] = ("UDP", "TCP")
        self.assertEqual(self.find("sip:bob@example.com"), ["TCP 192.0.2.1 5060", "TCP 192.0.2.2 5060"])
        self.assertEqual(self.find("sip:bob@example.com;transport=udp")[0], "UDP 192.0.2.1 5060")

    def test_naptr_to_addresses(self) -> None:
        """RFC 3403 4.1, flag a: the replacement has addresses, the port is the transport's."""
        self.network.dns("example.com", "NAPTR", Naptr(1, 1, "A", "SIP+D2T", "one.example.com"))
        self.assertEqual(self.find("sip:bob@example.com"), ["TCP 192.0.2.1 5060"])

    def test_name_for_tls(self) -> None:
        """RFC 5922 4: a certificate is for the URI's host, whatever DNS made of it."""
        self.network.dns("_sips._tcp.example.com", "SRV", Srv(0, 1, 5063, "one.example.com"))
        found = self.network.run_until(self.locator.locate(uri("sips:bob@Example.com")))
        self.assertEqual(found, [Target("TLS", ("192.0.2.1", 5063), "Example.com")])

    def test_srv(self) -> None:
        """RFC 3263 4.1: without NAPTR, SRV of each transport: in our order, by priority within one."""
        self.network.dns("_sip._tcp.example.com", "SRV", Srv(1, 1, 5062, "one.example.com"))
        self.assertEqual(self.find("sip:bob@example.com"), ["TCP 192.0.2.1 5062"])
        self.locator = Locator(self.host, lambda six: self.transports[six], 32.0)
        self.network.dns(
            "_sip._udp.example.com", "SRV", Srv(2, 1, 5064, "one.example.com"), Srv(1, 1, 5063, "two.example.com")
        )
        self.assertEqual(
            self.find("sip:bob@example.com"), ["UDP 192.0.2.2 5063", "UDP 192.0.2.1 5064", "TCP 192.0.2.1 5062"]
        )

    def test_srv_target_is_nothing(self) -> None:
        """RFC 2782: a target of ``.`` says that there is no such service, so no other way is looked for."""
        self.network.names["example.com"] = ["192.0.2.5"]
        for service in ("_sip._udp", "_sip._tcp"):
            self.network.dns(f"{service}.example.com", "SRV", Srv(0, 0, 0, "."))
        self.assertIn("takes no calls", self.refused("sip:bob@example.com"))

    def test_no_records(self) -> None:
        """RFC 3263 4.2: without SRV the name's own addresses, by UDP, at the usual port."""
        self.network.names["example.com"] = ["192.0.2.5", "192.0.2.6"]
        self.assertEqual(self.find("sip:bob@example.com"), ["UDP 192.0.2.5 5060", "UDP 192.0.2.6 5060"])
        self.assertEqual(
            self.asked(),
            [
                ("example.com", "NAPTR"),
                ("_sip._udp.example.com", "SRV"),
                ("_sip._tcp.example.com", "SRV"),
                ("example.com", "A"),
            ],
        )

    def test_no_answer_for_records(self) -> None:
        """A NAPTR or SRV question that nobody answers costs time, not the call."""
        self.network.names["example.com"] = ["192.0.2.5"]
        for name, kind in (("example.com", "NAPTR"), ("_sip._udp.example.com", "SRV")):
            self.network.dns(name, kind, delay=4, fails=True)  # type: ignore[arg-type]
        self.assertEqual(self.find("sip:bob@example.com"), ["UDP 192.0.2.5 5060"])
        self.assertEqual(round(self.network.clock.seconds() - self.began), 8)

    def test_families(self) -> None:
        """Addresses of a family that no listener of ours can reach are left out; IPv4 comes first."""
        self.transports[True] = ("UDP",)
        self.assertEqual(self.find("sip:bob@two.example.com:5060"), ["UDP 192.0.2.2 5060", "UDP 2001:db8::2 5060"])
        self.assertEqual(self.find("sip:bob@two.example.com:5060;transport=tcp"), ["TCP 192.0.2.2 5060"])
        self.transports[False] = ()
        self.assertEqual(self.find("sip:bob@two.example.com:5060"), ["UDP 2001:db8::2 5060"])

    def test_one_address_of_two_unanswered(self) -> None:
        """A name whose AAAA question is lost is still the address that its A question gave."""
        self.transports[True] = ("UDP",)
        self.network.dns("two.example.com", "AAAA", fails=True)
        self.assertEqual(self.find("sip:bob@two.example.com:5060"), ["UDP 192.0.2.2 5060"])

    def test_names_of_this_machine(self) -> None:
        """RFC 6761 6.3: localhost is asked of nobody; a name without a dot has no records but its addresses."""
        self.transports[True] = ("TCP",)
        self.assertEqual(self.find("sip:bob@localhost"), ["UDP 127.0.0.1 5060"])
        self.assertEqual(self.find("sip:bob@localhost;transport=tcp"), ["TCP 127.0.0.1 5060", "TCP ::1 5060"])
        self.assertEqual(self.asked(), [])
        self.network.names["pbx"] = ["192.0.2.7"]
        self.assertEqual(self.find("sip:bob@PBX."), ["UDP 192.0.2.7 5060"])
        self.assertEqual(self.asked(), [("pbx", "A")])

    def test_refusals(self) -> None:
        """R5: what leads nowhere says why, and names the name."""
        self.transports[False] = ("UDP",)
        self.network.dns("slow.example.com", "A", delay=4, fails=True)
        self.network.dns("_sip._udp.lost.example.com", "SRV", Srv(1, 1, 5060, "nowhere.example.com"))
        for text, why in (
            ("sip:bob@nowhere.example.com", "no such host name: nowhere.example.com"),
            ("sip:bob@slow.example.com", "slow.example.com can't be looked up: .*no DNS answer"),
            ("sip:bob@lost.example.com", "lost.example.com have no address"),
            ("sip:bob@[2001:db8::1]", "no UDP listener of ours can reach 2001:db8::1"),
            ("sip:bob@192.0.2.1;transport=tcp", "transport TCP needs a listener"),
            ("sip:bob@192.0.2.1;transport=sctp", "transport SCTP does not exist"),
            ("sips:bob@192.0.2.1", "sips: needs a listener"),
            ("sips:bob@192.0.2.1;transport=udp", "sips: can't go over UDP"),
        ):
            self.assertRegex(self.refused(text), why)

    def test_limits(self) -> None:
        """R5: all questions for one URI have 64*T1; an answer with a thousand records is cut short."""
        self.network.dns("example.com", "NAPTR", delay=100)
        self.assertEqual(self.refused("sip:bob@example.com"), "no DNS answer for example.com within 32 s")
        self.assertEqual(self.network.clock.seconds() - self.began, 32)
        self.network.dns("_sip._udp.big.example.com", "SRV", *(Srv(1, 1, n, "two.example.com") for n in range(1, 1000)))
        self.assertEqual(len(self.find("sip:bob@big.example.com")), resolve.MAX_SRV)
        self.network.dns("big.example.com", "A", *(f"192.0.2.{n}" for n in range(200)))
        self.assertEqual(len(self.find("sip:bob@big.example.com:5060")), resolve.MAX_TARGETS)

    def test_given_up(self) -> None:
        """A search that is cancelled leaves no question and no timer behind."""
        looking = self.locator.locate(uri("sip:bob@example.com"))
        looking.cancel()
        self.assertIsNotNone(self.failureResultOf(looking))
        self.assertEqual(self.network.clock.leftovers(), [])


class CacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = SimulatedNetwork(1)
        self.cache = NameCache(self.network.host("10.0.0.1"))

    def tearDown(self) -> None:
        self.assertEqual(self.network.clock.leftovers(), [])

    def ask(self, name: str, kind: Any = "A") -> Any:
        return self.network.run_until(self.cache.lookup(name, kind)).records

    def test_ttl(self) -> None:
        """RFC 1035 3.2.1: an answer holds for its time to live, whatever the name's case; then it is asked anew."""
        self.network.dns("example.com", "A", "192.0.2.1", ttl=60)
        self.assertEqual(self.ask("example.com"), ("192.0.2.1",))
        self.network.dns("example.com", "A", "192.0.2.2", ttl=0)
        self.network.advance(59)
        self.assertEqual(self.ask("Example.Com."), ("192.0.2.1",))
        self.network.advance(2)
        self.assertEqual(self.ask("example.com"), ("192.0.2.2",))
        self.assertEqual(len(self.network.questions), 2)
        self.ask("example.com")
        self.assertEqual(len(self.network.questions), 3, "a time to live of 0 is not remembered (RFC 1035 3.2.1)")

    def test_negative(self) -> None:
        """RFC 2308 5: that there is nothing is remembered too, at most five minutes; a failure is not."""
        self.network.dns("example.com", "SRV", ttl=10_000)
        self.ask("example.com", "SRV")
        self.network.advance(299)
        self.ask("example.com", "SRV")
        self.assertEqual(len(self.network.questions), 1)
        self.network.advance(2)
        self.ask("example.com", "SRV")
        self.network.dns("example.com", "A", fails=True)
        for _ in range(2):
            self.network.run_until(
                self.cache.lookup("example.com", "A").addErrback(lambda failure: failure.trap(OSError))
            )
        self.assertEqual(len(self.network.questions), 4)

    def test_bounded(self) -> None:
        """Architecture, "Bounded everything": the least recently used answer goes."""
        self.patch(resolve, "CACHE_SIZE", 3)
        for name in "abcd":
            self.network.dns(name, "A", "192.0.2.1")
        for name in "abcad":
            self.ask(name)
        self.network.questions.clear()
        for name in "cadb":
            self.ask(name)
        self.assertEqual([name for _time, name, _kind in self.network.questions], ["b"])
        self.assertEqual(len(self.cache), 3)

    def test_asked_once(self) -> None:
        """Who asks for what is being asked for waits for the same answer; giving up ends the wait of one only."""
        self.network.dns("example.com", "A", "192.0.2.1", delay=1)
        waiting = [self.cache.lookup("example.com", "A") for _ in range(3)]
        waiting[1].cancel()
        self.failureResultOf(waiting[1], CancelledError)
        self.network.advance(2)
        for one in (waiting[0], waiting[2]):
            self.assertEqual(self.successResultOf(one), Answer(("192.0.2.1",), 300.0))
        self.assertEqual(len(self.network.questions), 1)

    def test_nobody_waits_any_more(self) -> None:
        """With the last who gave up the question is given up, and can be asked again."""
        self.network.dns("example.com", "A", "192.0.2.1", delay=1)
        waiting: list[Deferred[Answer]] = [self.cache.lookup("example.com", "A") for _ in range(2)]
        for one in waiting:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.assertEqual(self.network.clock.leftovers(), [])
        self.assertEqual(self.ask("example.com"), ("192.0.2.1",))


class DownTests(SynchronousTestCase):
    A, B, C = (Target("UDP", (f"192.0.2.{n}", 5060), "x") for n in (1, 2, 3))

    def setUp(self) -> None:
        self.network = SimulatedNetwork(1)
        self.down = DownTargets(self.network.clock)

    def test_silent(self) -> None:
        """RFC 3263 4.3: a target that did not answer is tried last, for a while, and not once it has answered."""
        self.down.failed(self.A)
        self.assertEqual(self.down.sort([self.A, self.B]), [self.B, self.A])
        self.down.answered(self.A)
        self.assertEqual(self.down.sort([self.A, self.B]), [self.A, self.B])
        self.down.failed(self.A)
        self.network.advance(resolve.SILENT_FOR + 1)
        self.assertEqual(self.down.sort([self.A, self.B]), [self.A, self.B])

    def test_retry_after(self) -> None:
        """RFC 3261 21.5.4: a target that asked to be left alone is, as long as there is another."""
        self.down.asked_for(self.A, 60)
        self.down.failed(self.B)
        self.assertEqual(self.down.sort([self.A, self.B, self.C]), [self.C, self.B])
        self.down.answered(self.A)  # what it said holds, whatever else it answers
        self.assertEqual(self.down.sort([self.A, self.B]), [self.B])
        self.assertEqual(self.down.sort([self.A]), [self.A])
        self.network.advance(61)
        self.assertEqual(self.down.sort([self.A]), [self.A])
        self.down.asked_for(self.B, 10**9)
        self.network.advance(resolve.LONGEST_RETRY_AFTER + 1)
        self.assertEqual(self.down.sort([self.B, self.A]), [self.B, self.A])

    def test_bounded(self) -> None:
        """Architecture, "Bounded everything": those that are back first are forgotten first."""
        self.patch(resolve, "DOWN_SIZE", 2)
        self.down.asked_for(self.A, 10)
        self.down.asked_for(self.B, 5)
        self.down.failed(self.C)
        self.assertEqual(len(self.down), 2)
        self.assertEqual(self.down.sort([self.A, self.B]), [self.B])
