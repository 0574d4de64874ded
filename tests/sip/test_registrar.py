"""`telephony.sip.registrar`: what REGISTER does to a user's bindings (RFC 3261 10.3)."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.interfaces import Address
from telephony.sip import registrar
from telephony.sip.message import Request
from telephony.sip.registrar import BindingWays, Registrar


class FakeFlow:
    """A way to a phone."""

    transport = "TCP"
    reliable = True
    local: Address = ("192.0.2.1", 5060)

    def __init__(self, port: int = 5060) -> None:
        self.remote: Address = ("192.0.2.2", port)
        self.usable = True

    def send(self, data: bytes) -> None:
        raise AssertionError("a registrar sends nothing")

    def watch(self, watcher: Any) -> None: ...

    def unwatch(self, watcher: Any) -> None: ...


class RegistrarCase(SynchronousTestCase):
    """A registrar and bob."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.registrar = Registrar(self.clock, told=lambda user, sentence: self.told.append(f"{user} {sentence}"))
        self.flow = FakeFlow()
        self.cseq = 0

    def register(
        self, *contacts: str, expires: str | None = None, call_id: str = "a", cseq: int | None = None, flow: Any = None
    ) -> int:
        """Send a REGISTER; return the status. What it answered is in ``listed`` and ``headers``."""
        request = Request("REGISTER", "sip:example.com")
        for one in contacts:
            request.add("Contact", one)
        if expires is not None:
            request.set("Expires", expires)
        self.cseq += 1
        request.set("Call-ID", call_id)
        request.set("CSeq", f"{self.cseq if cseq is None else cseq} REGISTER")
        status, headers = self.registrar.register("bob", request, flow or self.flow)
        self.headers = dict(headers)
        self.listed = [value for name, value in headers if name == "Contact"]
        return status

    @property
    def places(self) -> list[str]:
        """Return where bob is."""
        return [str(one.uri) for one in self.registrar.bindings("bob")]


class BindingTests(RegistrarCase):
    """10.3, steps 6 to 8."""

    def test_binds_and_lists(self) -> None:
        """Step 8: the 200 has every binding with what is left of its time; a query changes nothing."""
        self.assertEqual(self.register("<sip:bob@192.0.2.2>;expires=100"), 200)
        self.assertEqual(self.register("<sip:bob@192.0.2.3>", expires="200", call_id="b"), 200)
        self.clock.advance(40)
        self.assertEqual(self.register(), 200)
        self.assertEqual(self.listed, ["<sip:bob@192.0.2.2>;expires=60", "<sip:bob@192.0.2.3>;expires=160"])
        self.assertEqual(self.told[0], "bob signed in from 192.0.2.2 port 5060 over TCP")

    def test_times(self) -> None:
        """Step 7: at most what we grant; without a time, or with one that can't be read, the usual one."""
        for expires, granted in (("99999", 3600), (None, 3600), ("soon", 3600), ("61", 61), (str(2**40), 3600)):
            self.assertEqual(self.register("<sip:bob@192.0.2.2>", expires=expires), 200)
            self.assertEqual(self.listed, [f"<sip:bob@192.0.2.2>;expires={granted}"])

    def test_too_brief(self) -> None:
        """Step 7: 423 with Min-Expires, and nothing is changed, not even what came with it."""
        self.assertEqual(self.register("<sip:bob@192.0.2.3>", "<sip:bob@192.0.2.2>;expires=59"), 423)
        self.assertEqual((self.headers["Min-Expires"], self.places), ("60", []))

    def test_removal(self) -> None:
        """10.2.2: expires=0 removes one, ``*`` all; ``*`` goes alone and with Expires: 0."""
        self.register("<sip:bob@192.0.2.2>", "<sip:bob@192.0.2.3>")
        self.assertEqual(self.register("<sip:bob@192.0.2.2>;expires=0"), 200)
        self.assertEqual(self.places, ["sip:bob@192.0.2.3"])
        for contacts, expires in ((("*",), None), (("*",), "10"), (("*", "<sip:bob@192.0.2.2>"), "0")):
            self.assertEqual(self.register(*contacts, expires=expires), 400)
        self.assertEqual(self.register("*", expires="0"), 200)
        self.assertEqual((self.places, self.listed), ([], []))
        self.assertEqual(self.told[-1], "bob signed out")

    def test_order(self) -> None:
        """Steps 6 and 7: a request that was overtaken changes nothing; another Call-ID has numbers of its own."""
        self.register("<sip:bob@192.0.2.2>", cseq=5)
        self.assertEqual(self.register("<sip:bob@192.0.2.2>;expires=0", cseq=5), 500)
        self.assertEqual(self.register("<sip:bob@192.0.2.9>", "<sip:bob@192.0.2.2>;expires=0", cseq=4), 500)
        self.assertEqual(self.register("*", expires="0", cseq=5), 500)
        self.assertEqual(self.places, ["sip:bob@192.0.2.2"])
        self.assertEqual(self.register("<sip:bob@192.0.2.2>;expires=0", cseq=1, call_id="b"), 200)
        self.assertEqual(self.places, [])

    def test_same_address(self) -> None:
        """19.1.4: the same address in another spelling is the same binding, over its newest flow."""
        self.register("<sip:bob@192.0.2.2;x=1>")
        other = FakeFlow(5080)
        self.register("<sip:%62ob@192.0.2.2;X=1>", flow=other)
        (binding,) = self.registrar.bindings("bob")
        self.assertIs(binding.flow, other)

    def test_expires(self) -> None:
        """Step 8: a binding ends with its time, or with its connection."""
        self.register("<sip:bob@192.0.2.2>;expires=60")
        gone = FakeFlow(5080)
        self.register("<sip:bob@192.0.2.3>", flow=gone)
        gone.usable = False
        self.assertEqual(self.places, ["sip:bob@192.0.2.2"])
        self.clock.advance(60)
        self.assertEqual((self.places, self.registrar.users()), ([], []))
        self.assertIn("can't be reached", self.told[-1])

    def test_garbage(self) -> None:
        """Architecture rule 3: what can't be used is 400, and nothing is changed."""
        for contact in ("<tel:+1>", "<<<", "<mailto:bob@example.com>"):
            self.assertEqual(self.register(contact), 400, contact)
        self.assertEqual(self.register(*(f"<sip:bob@192.0.2.{n}>" for n in range(20))), 400)
        self.assertEqual(self.places, [])

    def test_bounded(self) -> None:
        """Architecture, "Bounded everything": the place refreshed longest ago makes room."""
        for number in range(registrar.MAX_BINDINGS + 3):
            self.register(f"<sip:bob@192.0.2.{number}>")
        self.assertEqual(len(self.places), registrar.MAX_BINDINGS)
        self.assertNotIn("sip:bob@192.0.2.0", self.places)


class WaysTests(RegistrarCase):
    """In which order a user's places are called."""

    def test_order(self) -> None:
        """20.10: the highest q first, then the newest."""
        self.register("<sip:bob@192.0.2.2>;q=0.5")
        self.register("<sip:bob@192.0.2.3>")
        self.register("<sip:bob@192.0.2.4>")
        self.register("<sip:bob@192.0.2.5>;q=garbage")
        self.assertEqual([place[-1] for place in self.places], ["5", "4", "3", "2"])

    def test_ways(self) -> None:
        """One after the other; what has gone meanwhile is passed over."""
        flows = [FakeFlow(5000 + number) for number in range(3)]
        for number, flow in enumerate(flows):
            self.register(f"<sip:bob@192.0.2.{number}>", flow=flow)
        ways = BindingWays(self.registrar.bindings("bob"))
        self.assertEqual(ways.remote, ("192.0.2.2", 5002))
        self.assertIs(ways.next(), flows[2])
        flows[1].usable = False
        self.assertIs(ways.next(), flows[0])
        self.assertEqual(ways.uri, "sip:bob@192.0.2.0")
        self.assertIsNone(ways.next())

    def test_came_from(self) -> None:
        """Whose phone a flow is: by address and transport, as long as the binding lives."""
        self.register("<sip:bob@192.0.2.2>;expires=60")
        self.assertEqual(self.registrar.came_from(FakeFlow()), "bob")
        self.assertIsNone(self.registrar.came_from(FakeFlow(5070)))
        self.clock.advance(61)
        self.assertIsNone(self.registrar.came_from(FakeFlow()))
