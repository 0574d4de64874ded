"""Calls over TLS with SRTP: what each side says and hears, what never crosses (RFC 3261 26.3.1, 4568, 5922; R29)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State
from telephony.errors import Error
from telephony.sip.message import Message, Request
from telephony.sip.transport.tls import TlsIdentity
from telephony.testing.case import SERVER, CallTestCase
from telephony.testing.certificates import identity, issue
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone

ALICE, BOB = 500, 1000
SUITE = "AES_CM_128_HMAC_SHA1_80"


class SecureCase(CallTestCase):
    """A server with a TLS listener, and phones that have TLS."""

    def setUp(self) -> None:
        type(self).exchange_settings = {"tls": identity(SERVER, "server")}
        super().setUp()
        self.exchange.listen(f"tls:{SERVER}:5061")
        self.channel: CallChannel

    def secure(
        self, name: str, *, srtp: str | None = SUITE, shown: TlsIdentity | None = None, **settings: Any
    ) -> Phone:
        ip = f"10.0.1.{len(self.phones) + 1}"
        return self.phone(name, tls=shown or identity(ip), srtp=srtp, transport="tls", **settings)

    def take_calls(self) -> None:
        def on_call(channel: CallChannel) -> None:
            self.channel = channel
            self.answering: Deferred[State] = channel.answer()

        self.exchange.on_call = on_call

    def call_in(self, phone: Phone) -> None:
        self.take_calls()
        phone.says(tone(ALICE))
        phone.dial(f"sips:3300@{SERVER}")
        self.network.run_until(phone.until("answered"), 5)
        self.assertIs(self.network.run_until(self.answering, 5), State.ANSWERED)

    def call_out(self, phone: Phone, uri: str | None = None, **details: Any) -> Deferred[State]:
        self.channel = self.exchange.channel()
        return self.channel.call(uri or phone.uri, seconds_timeout=20, **details)

    def body(self, phone: Phone) -> str:
        return phone.call.media.theirs.text if phone.call.media.theirs else ""

    def transfer(self, target: str) -> Deferred[State]:
        from telephony.call.resources import TonePlayer

        TonePlayer(self.channel)
        return self.channel.retrievable_transfer(self.exchange.channel(), target, seconds_timeout=20)

    def assert_talking(self, one: Phone, other: Phone) -> None:
        self.network.advance(0.3)
        since = self.network.clock.seconds()
        self.network.advance(1.0)
        for phone, frequency in ((one, BOB), (other, ALICE)):
            [found] = phone.heard(frequency, since=since)
            self.assertGreater(found.seconds, 0.9)


class CallTests(SecureCase):
    def test_called(self) -> None:
        """RFC 3261 26.3.1, 12.1.1: a sips: call is answered over its connection, with a sips: Contact."""
        alice = self.secure("alice")
        self.call_in(alice)
        [ok] = alice.got(200)
        self.assertEqual(ok.contacts[0].uri, f"sips:{SERVER}:5061")
        self.assertEqual(ok.via.transport, "TLS")
        self.assertIn("m=audio", self.body(alice))
        self.assertIn("RTP/SAVP 8", self.body(alice))
        done = self.channel.hang_up()
        self.network.run_until(alice.until("ended"), 5)
        self.network.run_until(done, 5)
        [bye] = alice.got("BYE")
        self.assertEqual(bye.via.transport, "TLS")

    def test_transferred(self) -> None:
        """R29, RFC 4568: both legs secured, each with keys of its own; what each says the other hears."""
        alice, bob = self.secure("alice"), self.secure("bob", auto_answer=0.2)
        bob.says(tone(BOB))
        self.call_in(alice)
        verb = self.transfer(bob.uri)
        self.assertIs(self.network.run_until(verb, 10), State.TRANSFERRED)
        self.assertTrue(bob.call.invite.uri.startswith("sips:"))
        self.assertEqual(bob.call.invite.contacts[0].uri, f"sips:{SERVER}:5061")
        self.assertIn(b"RTP/SAVP 8 0 101", bob.call.invite.body)
        self.assert_talking(alice, bob)
        self.assertEqual((alice.call.media.srtp.refused, bob.call.media.srtp.refused), (0, 0))  # type: ignore[union-attr]
        ours = {line for phone in (alice, bob) for line in self.body(phone).splitlines() if "crypto" in line}
        keys = [line.split("inline:")[1] for line in ours]
        self.assertEqual(len(keys), len(set(keys)))
        self.assertGreaterEqual(len(keys), 2)

    def test_secured_and_plain(self) -> None:
        """R29: SRTP on one leg only; it ends here, and the other leg's description has no key in it."""
        alice, bob = self.secure("alice"), self.phone("bob", auto_answer=0.2)
        bob.says(tone(BOB))
        self.call_in(alice)
        verb = self.transfer(bob.uri)
        self.assertIs(self.network.run_until(verb, 10), State.TRANSFERRED)
        self.assertNotIn(b"crypto", bob.call.invite.body)
        self.assert_talking(alice, bob)

    def test_each_suite(self) -> None:
        """RFC 4568 6.2, RFC 7714: whatever suite a phone insists on, as caller and as called."""
        for suite in ("AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM"):
            alice, bob = self.secure("alice", srtp=suite), self.secure("bob", srtp=suite, auto_answer=0.1)
            bob.says(tone(BOB))
            self.call_in(alice)
            self.assertIs(self.network.run_until(self.transfer(bob.uri), 10), State.TRANSFERRED)
            self.assert_talking(alice, bob)
            alice.hang_up()
            self.network.advance(1)

    def test_wrong_key(self) -> None:
        """RFC 3711 3.3: who secures with another key than it said is not heard; its packets are counted."""
        alice, bob = self.secure("alice"), self.phone("bob", auto_answer=0.2)
        alice.quirks.lies_about_key = True
        self.call_in(alice)
        self.assertIs(self.network.run_until(self.transfer(bob.uri), 10), State.TRANSFERRED)
        since = self.network.clock.seconds()
        self.network.advance(1)
        self.assertEqual(bob.heard(ALICE, since=since), [])
        rtp = self.channel._leg._rtp  # type: ignore[union-attr]
        assert rtp is not None
        self.assertGreater(rtp.statistics.dropped_unauthentic, 40)
        self.assertEqual(rtp.statistics.packets_received, 0)

    def test_replayed(self) -> None:
        """RFC 3711 3.3.2: a packet that was recorded on the way and comes again is dropped and counted."""
        alice = self.secure("alice")
        self.call_in(alice)
        self.network.advance(0.5)
        rtp = self.channel._leg._rtp  # type: ignore[union-attr]
        assert rtp is not None
        packets = [one for one in self.network.media if one[2] == rtp.address][:10]
        before = rtp.statistics
        for _, source, destination, data in packets:
            self.network._datagram(source, data, destination)
        self.network.advance(0.02)
        after = rtp.statistics
        self.assertEqual(after.dropped_replayed, 10)
        self.assertLessEqual(after.packets_received - before.packets_received, 2)

    def test_hold_keeps_keys(self) -> None:
        """RFC 3711 9.1: hold and resume with the same keys begin no stream of key bits again; all is heard after it."""
        alice = self.secure("alice")
        self.call_in(alice)
        self.network.advance(0.5)
        secured: Any = self.channel._leg._rtp._secured  # type: ignore[union-attr]
        contexts = secured._in, secured._out
        for verb in (alice.hold, alice.resume):
            self.assertEqual(self.network.run_until(verb(), 5), 200)
            self.network.advance(0.5)
        self.assertEqual((secured._in, secured._out), contexts)
        self.assertEqual(secured.counters, {})

    def test_rekeyed(self) -> None:
        """RFC 4568 7.1.4: a new offer with another key changes both ways; the talk goes on."""
        alice, bob = self.secure("alice"), self.secure("bob", auto_answer=0.1)
        bob.says(tone(BOB))
        self.call_in(alice)
        self.assertIs(self.network.run_until(self.transfer(bob.uri), 10), State.TRANSFERRED)
        before = self.body(alice)
        srtp = alice.call.media.srtp
        assert srtp is not None
        srtp.rekey()
        self.network.run_until(alice.hold("sendrecv"), 5)
        self.assertNotEqual(before.split("inline:")[1][:40], self.body(alice).split("inline:")[1][:40])
        self.assert_talking(alice, bob)

    def test_plain_over_tls(self) -> None:
        """[rtp] srtp = "secure": who offers plain RTP over TLS gets plain RTP."""
        alice = self.secure("alice", srtp=None)
        self.call_in(alice)
        self.assertIn("RTP/AVP", self.body(alice))

    def test_named_by_transport(self) -> None:
        """RFC 3261 19.1: sip: with ;transport=tls goes over TLS too, and its Contact says so."""
        bob = self.secure("bob", auto_answer=0.1)
        verb = self.call_out(bob, f"sip:bob@{bob.address[0]}:5061;transport=tls")
        self.assertIs(self.network.run_until(verb, 5), State.ANSWERED)
        self.assertEqual(bob.call.invite.contacts[0].uri, f"sip:{SERVER}:5061;transport=tls")


class PolicyTests(SecureCase):
    def test_never(self) -> None:
        """[rtp] srtp = "never": SRTP alone is 488."""
        self.exchange.srtp = "never"
        alice = self.secure("alice")
        self.take_calls()
        alice.dial(f"sips:3300@{SERVER}")
        self.network.run_until(alice.until("ended"), 5)
        self.assertEqual(len(alice.got(488)), 1)

    def test_always(self) -> None:
        """[rtp] srtp = "always": plain RTP is 488, and not offered either."""
        self.exchange.srtp = "always"
        alice, bob = self.phone("alice"), self.phone("bob")
        self.take_calls()
        alice.dial(self.uri("3300"))
        self.network.run_until(alice.until("ended"), 5)
        self.assertEqual(len(alice.got(488)), 1)
        self.call_out(bob).addErrback(lambda _: None)
        self.network.run_until(bob.until("incoming"), 5)
        self.assertIn(b"RTP/SAVP", bob.call.invite.body)

    def test_sips_over_udp(self) -> None:
        """RFC 3261 26.2.2: sips: that somebody let go over UDP or TCP is refused, and not answered in the clear."""
        alice = self.phone("alice")
        self.take_calls()

        def renamed(message: Message) -> Message:
            if isinstance(message, Request) and message.method == "INVITE":
                message.uri = f"sips:3300@{SERVER}"
            return message

        alice.quirks.alter = renamed
        for transport in ("udp", "tcp"):
            alice.dial(f"sip:3300@{SERVER};transport={transport}")
        self.network.advance(1)
        self.assertEqual(len(alice.got(416)), 2)

    def test_checked_at_the_call(self) -> None:
        """api.md 4: sips: over udp can't be, and is an Error before anything is sent."""
        with self.assertRaisesRegex(Error, "sips: goes over TLS"):
            self.network.run_until(self.exchange.channel().call("sips:bob@10.0.1.1;transport=udp"))


class FailureTests(SecureCase):
    def failed(self, uri: str, phone: Phone) -> str:
        verb = self.call_out(phone, uri)
        self.assertIs(self.network.run_until(verb, 25), State.IDLE)
        self.assertIs(self.channel.cause(), Cause.NOANSWER)
        self.assertEqual(self.channel.Details.raw_cause, 0)
        self.assertEqual(phone.got("INVITE"), [])
        return str(self.channel.Details.raw_reason)

    def test_other_name(self) -> None:
        """RFC 5922 7.3, R5: a certificate for somebody else is a transport failure; not a byte of SIP is sent."""
        bob = self.secure("bob", shown=identity("10.9.9.9", "mallory.example"))
        self.assertIn("mallory", self.failed(f"sips:bob@{bob.address[0]}:5061", bob).replace("10.9.9.9", "mallory"))
        self.assertGreater(self.exchange.user_agent.counters["tls_failures"], 0)

    def test_unknown_authority(self) -> None:
        """RFC 5922 7.3: a certificate that nobody we believe has signed."""
        own = issue("10.0.1.1")
        bob = self.secure("bob", shown=TlsIdentity(certificate=own.certificate, key=own.key))
        self.assertIn("signed", self.failed(f"sips:bob@{bob.address[0]}:5061", bob))

    def test_expired(self) -> None:
        """RFC 5280 6: a certificate of yesterday."""
        from telephony.testing.certificates import authority

        own = issue("10.0.1.1", by=authority(), days=(-3, -1))
        bob = self.secure("bob", shown=TlsIdentity(certificate=own.certificate, key=own.key))
        self.assertIn("expired", self.failed(f"sips:bob@{bob.address[0]}:5061", bob))

    def test_no_tls_there(self) -> None:
        """R5: what answers isn't TLS."""
        bob = self.secure("bob")
        self.failed(f"sips:bob@{bob.address[0]}:5060", bob)

    def test_unchecked(self) -> None:
        """[tls] verify = false: a laboratory's choice; the same certificate passes."""
        self.exchange.user_agent.listeners._streams[-1].tls = identity(SERVER, verify=False)
        own = issue("nobody")
        bob = self.secure("bob", auto_answer=0.1, shown=TlsIdentity(certificate=own.certificate, key=own.key))
        verb = self.call_out(bob, f"sips:bob@{bob.address[0]}:5061")
        self.assertIs(self.network.run_until(verb, 5), State.ANSWERED)

    def test_connection_drops(self) -> None:
        """R37 over TLS: media goes on, and our BYE opens a connection to the phone's own listener."""
        alice = self.secure("alice")
        self.call_in(alice)
        self.assertGreater(self.network.reset_streams(SERVER, alice.address[0]), 0)
        self.network.advance(1)
        since = self.network.clock.seconds()
        self.network.advance(1)
        self.assertGreater(len(alice.call.media.audio.ear.heard_packets(since)), 45)
        done = self.channel.hang_up()
        self.network.run_until(alice.until("ended"), 5)
        self.network.run_until(done, 5)


class SecretTests(SecureCase):
    def test_keys_are_nowhere(self) -> None:
        """RFC 4568 9.1: no key is in the trace, in what the network kept for captures and pages, or in any repr."""
        seen: list[bytes] = []
        self.exchange.trace = lambda event: seen.append(event.data)
        alice, bob = self.secure("alice"), self.secure("bob", auto_answer=0.1)
        carol = self.phone("carol", srtp=SUITE)
        self.call_in(alice)
        self.assertIs(self.network.run_until(self.transfer(bob.uri), 10), State.TRANSFERRED)
        self.call_in_plainly(carol)
        keys = []
        for phone in (alice, bob, carol):
            text = self.body(phone) + phone.call.invite.body.decode()
            keys += [line.split("inline:")[1] for line in text.splitlines() if "inline:" in line]
        self.assertGreater(len(keys), 5)
        traced = b"".join(seen)
        self.assertIn(b"inline:****", traced)
        kept = b"".join(event.data for event in self.network.events)
        shown = repr([one._leg._negotiation.agreed for one in self.exchange.channels if one._leg is not None])  # type: ignore[union-attr]
        for key in keys:
            self.assertNotIn(key.encode(), traced)
            self.assertNotIn(key.encode(), kept)
            self.assertNotIn(key, shown)

    def call_in_plainly(self, phone: Phone) -> None:
        self.take_calls()
        phone.dial(self.uri("3300"))
        self.network.run_until(phone.until("answered"), 5)
