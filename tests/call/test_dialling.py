"""Whom a service may call (``[[service]] allow_dial``, ``deny_dial``, ``max_outbound``): verbs, redirects, loopback."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.call.arguments import check_call_to
from telephony.call.constants import Cause, State
from telephony.call.dialling import DialRules, read_pattern
from telephony.errors import Error
from telephony.sip.listeners import Listeners
from telephony.sip.uri import SipUri, TelUri, parse_uri
from telephony.testing.case import CallTestCase


def target(text: str) -> SipUri | TelUri:
    """Return a number or a SIP address."""
    found = parse_uri(text) if ":" in text else TelUri(text)
    assert isinstance(found, SipUri | TelUri)
    return found


class PatternTests(SynchronousTestCase):
    def test_numbers(self) -> None:
        """A pattern for numbers fits whole numbers, and no addresses."""
        for pattern, fits, others in (
            ("+49*", ["+49301234", "+49"], ["0049301234", "49301234", "x+49", "sip:+49301234@example.org"]),
            ("tel:110", ["110"], ["1100", "sip:110@example.org"]),
            ("0???", ["0123"], ["01234", "012"]),
            ("*", ["+1900", "sip:anybody@anywhere", "sips:x@[2001:db8::1]:5061"], []),
        ):
            for one in fits:
                self.assertTrue(read_pattern(pattern).fits(target(one)), (pattern, one))
            for one in others:
                self.assertFalse(read_pattern(pattern).fits(target(one)), (pattern, one))

    def test_addresses(self) -> None:
        """A pattern for addresses is held against user and host, each for itself; disguises don't help."""
        pattern = "sip:*@example.org"
        for one in ("sip:bob@example.org", "sips:a.b%20c@EXAMPLE.org.:5070;transport=tcp", "sip:example.org"):
            self.assertTrue(read_pattern(pattern).fits(target(one)), one)
        for one in (
            "sip:bob@evil.example",
            "sip:bob%40example.org@evil.example",
            "sip:bob@example.org.evil.example",
            "sip:bob@evil-example.org",
            "sip:bob@example.org;maddr=192.0.2.66",
            "110",
        ):
            self.assertFalse(read_pattern(pattern).fits(target(one)), one)
        self.assertTrue(read_pattern("sip:1??@pbx:5070").fits(target("sip:1%32%33@pbx:5070")))
        self.assertFalse(read_pattern("sip:1??@pbx:5070").fits(target("sip:123@pbx")))
        self.assertTrue(read_pattern("sip:*.example.org").fits(target("sip:a@b.example.org")))
        self.assertTrue(read_pattern("sip:*@[2001:db8::1]").fits(target("sip:a@[2001:db8::1]")))

    def test_disguises(self) -> None:
        """What is denied stays denied (docs/security.rst): a number as the user of an address, a host behind maddr."""
        rules = DialRules("s", None, ("+49900*", "sip:*@evil.example"))
        for text in (
            "sip:+49900123@sip.carrier.example",
            "sip:%2B49-900-123@192.0.2.1;user=phone",
            "sip:+49900123;phone-context=x@192.0.2.1",
            "sip:x@good.example;maddr=evil.example",
            "sip:x@EVIL.example.;maddr=192.0.2.1",
        ):
            self.assertIn("deny_dial has", rules.refusal(check_call_to(text)) or "", text)
        for text in ("sip:+49800123@192.0.2.1", "sip:x49900123@192.0.2.1", "sip:x@good.example"):
            self.assertIsNone(rules.refusal(check_call_to(text)), text)
        self.assertIn("may not", DialRules("s", ("+49*",)).refusal(check_call_to("sip:+4930@192.0.2.1")) or "")
        disguised = check_call_to("sip:x@good.example;maddr=evil.example")
        self.assertIn("may not", DialRules("s", ("sip:*@good.example",)).refusal(disguised) or "")

    def test_bad_patterns(self) -> None:
        """What is no pattern is refused with how one is written."""
        for text in ("", "example.org", "sip:", "sip:a@b@c", "+49 30", "http://x", "sip:*@exa mple"):
            error = self.assertRaises(Error, read_pattern, text)
            self.assertIn("sip:*@example.org", str(error))

    def test_rules(self) -> None:
        """What is denied stays denied; without a list everybody may be called, with an empty one nobody."""
        self.assertIsNone(DialRules("s").refusal(target("+1900")))
        self.assertIn("nobody", str(DialRules("s", ()).refusal(target("+1900"))))
        rules = DialRules("s", ("+49*", "sip:*@example.org"), ("+49900*",))
        self.assertIsNone(rules.refusal(target("+4930")))
        self.assertIsNone(rules.refusal(target("sip:bob@example.org")))
        self.assertIn("deny_dial has '+49900*'", str(rules.refusal(target("+499001"))))
        self.assertIn("'+49*', 'sip:*@example.org'", str(rules.refusal(target("+4420"))))


class DiallingTests(CallTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.bob = self.phone("bob", auto_answer=0.1)
        self.dave = self.phone("dave")
        self.channel = self.exchange.channel()

    async def test_what_is_not_allowed(self) -> None:
        """api.md 3: whom the service may not call is an `Error` that says so, and nothing is sent."""
        self.channel.dial_rules = DialRules("reception", ("+49*", "sip:*@example.org"))
        for call_to in (self.bob.uri, "+442012345", "tel:+44-20-12345", "0049301"):
            with self.assertRaises(Error) as refused:
                await self.channel.call(call_to)
            self.assertIn("allow_dial", str(refused.exception))
        self.assertIs(self.channel.state(), State.IDLE)
        self.assertEqual(list(self.network.events), [])

    async def test_what_is_allowed(self) -> None:
        """An address that fits is called."""
        self.channel.dial_rules = DialRules("reception", (f"sip:*@{self.bob.address[0]}",))
        self.assertIs(await self.channel.call(self.bob.uri), State.ANSWERED)
        await self.channel.hang_up()

    async def test_redirects(self) -> None:
        """R6: a 3xx is followed only where the service may call."""
        carol = self.phone("carol", auto_answer=0.1)
        for allowed, cause in ((False, Cause.FAILED), (True, Cause.NORMAL)):
            hosts = (self.dave.address[0], carol.address[0]) if allowed else (self.dave.address[0],)
            self.channel.dial_rules = DialRules("s", tuple(f"sip:*@{host}" for host in hosts))
            calling = self.channel.call(self.dave.uri)
            await self.dave.until("incoming")
            self.dave.reject(302, [("Contact", f"<{carol.uri}>")])
            await calling
            self.assertIs(self.channel.cause(), cause)
            await self.channel.hang_up()
        self.assertEqual(len(carol.calls), 1)

    async def test_ceiling(self) -> None:
        """``max_outbound``: a call beyond it ends at once with NOCHANNELS; one that has ended makes room."""
        rules = DialRules("s", most=2)
        channels = [self.exchange.channel() for _ in range(3)]
        for one in channels:
            one.dial_rules = rules
        for one in channels[:2]:
            self.assertIs(await one.call(self.bob.uri), State.ANSWERED)
        self.assertIs(await channels[2].call(self.bob.uri), State.IDLE)
        self.assertIs(channels[2].cause(), Cause.NOCHANNELS)
        self.assertIn("max_outbound", channels[2].Details.raw_reason)
        await channels[0].hang_up()
        self.assertIs(await channels[2].call(self.bob.uri), State.ANSWERED)
        self.channel.dial_rules = DialRules("other", most=1)
        self.assertIs(await self.channel.call(self.bob.uri), State.ANSWERED, "another service has its own")

    async def test_loopback(self) -> None:
        """A server that listens beyond loopback calls no loopback address, whatever name leads there."""
        self.network.names["inside.example"] = ["127.0.0.1"]
        for call_to in (
            "sip:x@127.0.0.1:25",
            "sip:x@localhost",
            "sip:x@inside.example:5060",
            "sip:x@0.0.0.0",
            "sip:x@224.0.1.75",
            "sip:x@255.255.255.255",
        ):
            self.assertIs(await self.channel.call(call_to), State.IDLE)
            self.assertIn("not called", self.channel.Details.raw_reason)
        self.assertEqual([event for event in self.network.events if event.destination[0] != "10.0.0.1"], [])
        self.assertEqual(self.exchange.user_agent.counters["forbidden_targets"], 6)


class LoopbackTests(SynchronousTestCase):
    def test_forbidden(self) -> None:
        """Loopback is for servers that listen on loopback only, by either family, mapped addresses included."""
        listeners: Any = Listeners.__new__(Listeners)
        listeners._all = [type("Port", (), {"address": ("127.0.0.1", 5060)})()]
        self.assertFalse(listeners.forbids("127.0.0.1") or listeners.forbids("::1") or listeners.forbids("192.0.2.1"))
        self.assertTrue(listeners.forbids("0.0.0.0") and listeners.forbids("::") and listeners.forbids("ff02::1"))
        listeners._all.append(type("Port", (), {"address": ("0.0.0.0", 5060)})())
        for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(listeners.forbids(host), host)
        self.assertFalse(listeners.forbids("192.0.2.1") or listeners.forbids("fe80::1%eth0"))
