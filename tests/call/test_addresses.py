"""Calls over IPv6, over TCP, and by name (RFC 3261 18, RFC 5118, RFC 4566 5.7): the same call on other addresses."""

from __future__ import annotations

from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State
from telephony.call.exchange import Exchange
from telephony.testing.certificates import identity
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone
from tests.call.scene import Scene


class IPv6Tests(Scene):
    """An exchange that listens on IPv6 too."""

    def setUp(self) -> None:
        super().setUp()
        self.network.run_until(self.exchange.close())
        self.exchange = Exchange(self.network.host("2001:db8::1"), tls=identity("2001:db8::1"))
        for transport in ("udp", "tcp"):
            self.exchange.listen(f"{transport}:[2001:db8::1]:5060")
        self.exchange.listen("tls:[2001:db8::1]:5061")

    def six_phone(self, name: str, address: str) -> Phone:
        """Make a phone on IPv6."""
        phone = Phone(self.network.host(address), (address, 5060), name)
        self.phones.append(phone)
        return phone

    def check_call(self, parameter: str) -> None:
        """A whole transferred call, heard both ways."""
        carol, dave = self.six_phone("carol", "2001:db8::2"), self.six_phone("dave", "2001:db8::3")
        states: list[State] = []

        async def application(channel: CallChannel) -> None:
            await self.answered(channel)
            other = self.exchange.channel()
            states.append(await channel.retrievable_transfer(other, f"sip:dave@[2001:db8::3]:5060{parameter}"))
            states.append(await channel.wait_for_transferred_call_retrieval())
            await channel.hang_up()

        self.run_application(application)
        carol.says(tone(700))
        dave.says(tone(1000))
        carol.dial(f"sip:3300@[2001:db8::1]:5060{parameter}")
        self.network.run_until(dave.until("incoming"), 5)
        dave.answer()
        self.network.run_until(carol.until_hears(1000), 5)
        self.network.run_until(dave.until_hears(700), 5)
        dave.hang_up()
        self.network.run_until(self.outcome, 5)
        self.assertEqual(states, [State.TRANSFERRED, State.ANSWERED])
        [invite] = self.requests(dave, "INVITE")
        self.assertIn("[2001:db8::1]", invite.get("Via") or "")
        self.assertIn(b"c=IN IP6 2001:db8::1\r\n", invite.body)
        self.assertIn("[2001:db8::1]", invite.contacts[0].uri)

    def test_udp(self) -> None:
        """RFC 5118 4.1, RFC 3261 18.1.1: references in brackets, IP6 in SDP, over UDP."""
        self.check_call("")

    def test_tcp(self) -> None:
        """The same over TCP."""
        self.check_call(";transport=tcp")

    def test_tls(self) -> None:
        """The same over TLS with SRTP: certificates name IPv6 addresses."""
        phones = []
        for name, address in (("carol", "2001:db8::2"), ("dave", "2001:db8::3")):
            suite = "AES_CM_128_HMAC_SHA1_80"
            phone = Phone(self.network.host(address), (address, 5060), name, tls=identity(address), srtp=suite)
            self.phones.append(phone)
            phones.append(phone)
        carol, dave = phones

        async def application(channel: CallChannel) -> None:
            await self.answered(channel)
            await channel.retrievable_transfer(self.exchange.channel(), "sips:dave@[2001:db8::3]")

        self.run_application(application)
        carol.says(tone(700))
        dave.says(tone(1000))
        carol.dial("sips:3300@[2001:db8::1]")
        self.network.run_until(dave.until("incoming"), 5)
        dave.answer()
        self.network.run_until(carol.until_hears(1000), 5)
        self.network.run_until(dave.until_hears(700), 5)
        self.assertEqual(dave.call.invite.contacts[0].uri, "sips:[2001:db8::1]:5061")


class NameTests(Scene):
    """Host names in ``call_to``."""

    def call(self, call_to: str, seconds_timeout: float = 10) -> tuple[State, CallChannel]:
        """Place a call."""
        channel = self.exchange.channel()
        return self.network.run_until(channel.call(call_to, seconds_timeout=seconds_timeout), 60), channel

    def test_known_name(self) -> None:
        """RFC 3261 8.1.2: a host name is looked up; the Request-URI keeps it."""
        self.network.names["pbx.example.com"] = [self.bob.address[0]]
        self.bob.auto_answer = 0.1
        state, channel = self.call("sip:bob@pbx.example.com")
        self.assertIs(state, State.ANSWERED)
        self.network.advance(0.1)
        self.assertEqual(self.requests(self.bob, "INVITE")[0].uri, "sip:bob@pbx.example.com")
        self.network.run_until(channel.hang_up(), 5)

    def test_unknown_name(self) -> None:
        """``api.md`` section 3: no response at all is NOANSWER; the raw reason names the host."""
        state, channel = self.call("sip:bob@nowhere.example.com")
        self.assertIs(state, State.IDLE)
        self.assertIs(channel.cause(), Cause.NOANSWER)
        self.assertIn("nowhere.example.com", channel.Details.raw_reason)

    def test_hang_up_while_looking_up(self) -> None:
        """R1 before the INVITE: a call that is given up while its name is looked up sends nothing."""
        self.network.names["pbx.example.com"] = [self.bob.address[0]]
        self.network.resolve_delay = 3.0
        channel = self.exchange.channel()
        verb = channel.call("sip:bob@pbx.example.com")
        self.network.advance(1)
        self.assertIs(self.network.run_until(channel.hang_up(), 5), State.IDLE)
        self.assertIs(self.network.run_until(verb, 1), State.IDLE)
        self.network.advance(10)
        self.assertEqual(self.all_requests(self.bob), [])

    def test_no_listener_for_the_transport(self) -> None:
        """A target that none of our listeners can reach is a refusal at once, not a wait for timer B."""
        lonely = Exchange(self.network.host("10.0.0.50"))
        lonely.listen("udp:10.0.0.50:5060")
        channel = lonely.channel()
        state = self.network.run_until(channel.call("sip:bob@[2001:db8::3]"), 5)
        self.assertIs(state, State.IDLE)
        self.assertIs(channel.cause(), Cause.NOANSWER)
        self.network.run_until(lonely.close(), 5)


class NatTests(Scene):
    """api.md 7: ``advertise`` behind a NAT, and not towards local networks."""

    def test_inside_and_outside(self) -> None:
        """Via, Contact and SDP name the address outside to a phone outside, and our own to one on a local network."""
        self.network.run_until(self.exchange.close())
        self.exchange = Exchange(self.network.host("10.0.0.70"), advertise="203.0.113.7")
        self.exchange.listen("udp:10.0.0.70:5060")
        for address, told in (("198.51.100.5", "203.0.113.7"), ("10.0.7.7", "10.0.0.70"), ("192.168.4.4", "10.0.0.70")):
            phone = Phone(self.network.host(address), (address, 5060), "erin")
            self.phones.append(phone)
            self.exchange.channel().start_call(phone.uri)
            self.network.run_until(phone.until("incoming"), 5)
            invite = phone.call.invite
            self.assertEqual((invite.via.host, invite.contacts[0].parsed_uri.host), (told, told))  # type: ignore[union-attr]
            self.assertIn(f"c=IN IP4 {told}\r\n".encode(), invite.body)
            phone.reject(486)
            self.network.advance(1)
