"""Whose packets are heard (``transfer.md`` R22), and connections that drop in mid-call (R37)."""

from __future__ import annotations

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.interfaces import Address
from telephony.sip.message import Message, Request
from telephony.testing.sounds import tone
from tests.call.media_scene import Speaker, breaks, packets_of
from tests.call.transfer_scene import ALICE, BOB, TransferScene

#: What nobody may hear.
EVIL = 1900


def rtp_address(channel: CallChannel) -> Address:
    """Where a channel's call gets its RTP."""
    assert channel.leg is not None and channel.leg.endpoint is not None
    return channel.leg.endpoint.rtp.address


class SourceTests(TransferScene):
    """R22: the negotiated or first symmetric source, and who may take its place."""

    def test_r22_new_ssrc(self) -> None:
        """R22: a new SSRC from the same address is accepted; the other side's stream goes on as one."""
        self.bob.quirks.new_ssrc_every = 1.0
        self.joined()
        self.advance(5)
        self.assert_talking(2)
        packets = packets_of(self.alice)
        self.assertEqual(len({one.ssrc for one in packets}), 1)
        self.assertEqual(breaks(packets), [])

    def test_r22_rebinding(self) -> None:
        """R22: a NAT that rebinds: taken where SSRC and sequence go on and the old source is silent for 500 ms."""
        for name in ("alice", "bob"):
            with self.subTest(name):
                if hasattr(self, "channel"):
                    self.channel.hang_up()
                    self.advance(3)
                    del self.channel
                self.joined()
                self.advance(2)
                phone = getattr(self, name)
                phone.call.rebind_media()
                self.advance(0.4)
                since = self.now()
                self.advance(0.05)
                other, frequency = (self.bob, ALICE) if name == "alice" else (self.alice, BOB)
                self.assertEqual(other.heard(frequency, since=since), [], "not before 500 ms")
                self.advance(0.2)
                self.assert_talking(1)

    def test_r22_behind_a_nat_from_the_start(self) -> None:
        """R22: an address that was signalled and never sends gives way to the first symmetric source."""

        def altered(message: Message) -> Message:
            message.body = message.body.replace(b"c=IN IP4 10.0.1.2", b"c=IN IP4 192.168.7.7")
            return message

        self.bob.quirks.alter = altered
        self.joined()
        self.assert_talking()

    def test_r22_before_the_answer(self) -> None:
        """R22: RTP from the target before any SDP of it came is dropped: nobody knows yet whose it is."""
        verb = self.begin()
        early = Speaker(self.bob.host, tone(BOB))  # type: ignore[arg-type]
        early.start(rtp_address(self.other))
        self.bob.ring()
        self.advance(1)
        self.assertEqual(self.alice.heard(BOB), [])
        self.assertEqual(len(self.alice.heard(440, 480)), 1)
        early.close()
        self.bob.answer()
        self.run_until(verb, 5)
        self.advance(0.3)
        self.assert_talking()

    def test_r22_an_attacker(self) -> None:
        """R22: packets of strangers are not heard on either side, with an SSRC of their own or the call's."""
        self.joined()
        self.advance(2)
        legs = {"bob": self.channel, "alice": self.other}  # whom the attack on a leg would reach
        for victim, channel in legs.items():
            speaker = self.bob if victim == "alice" else self.alice
            mouth = speaker.call.media.audio.mouth
            strangers = [
                Speaker(self.network.host("10.6.6.6"), tone(EVIL)),
                Speaker(self.network.host("10.6.6.6"), tone(EVIL), ssrc=mouth.ssrc, sequence=mouth.sequence + 1),
                # From the phone's own machine, from another port.
                Speaker(speaker.host, tone(EVIL)),  # type: ignore[arg-type]
            ]
            since = self.now()
            for one in strangers:
                one.start(rtp_address(channel))
            self.advance(2)
            for one in strangers:
                one.close()
                self.assertEqual(one.heard, [], "nothing is sent to them")
            phone = getattr(self, victim)
            self.assertEqual(phone.heard(EVIL, since=since), [])
            self.assertGreater(phone.heard(BOB if victim == "alice" else ALICE, since=since)[0].seconds, 1.9)
            self.assertEqual(breaks(packets_of(phone)), [])
            self.assert_talking()

    def test_r22_an_attacker_while_the_target_is_silent(self) -> None:
        """R22: nor while the true source says nothing: SSRC and sequence would have to go on."""
        self.joined()
        self.advance(2)
        mouth = self.bob.call.media.audio.mouth
        mouth.stop()
        self.advance(0.6)
        since = self.now()
        strangers = [
            Speaker(self.network.host("10.6.6.6"), tone(EVIL)),
            Speaker(self.network.host("10.6.6.6"), tone(EVIL), ssrc=mouth.ssrc, sequence=mouth.sequence + 9999),
        ]
        for one in strangers:
            one.start(rtp_address(self.other))
        self.advance(3)
        self.assertEqual(self.alice.heard(EVIL, since=since), [])
        for one in strangers:
            one.close()
            self.assertEqual(one.heard, [])
        mouth.start()
        self.advance(0.1)
        self.assert_talking()

    def test_r22_an_attacker_of_the_application(self) -> None:
        """R22: nor can one press keys in somebody else's call, or speak into a recording."""
        self.answer()
        self.advance(2)
        record = self.channel.FileRecorder.record("x.wav", seconds_timeout=2)
        stranger = Speaker(self.network.host("10.6.6.6"), tone(EVIL))
        stranger.start(rtp_address(self.channel))
        self.run_until(record, 5)
        stranger.close()
        self.assertEqual(self.recorded("x.wav", EVIL), [])
        self.assertNotEqual(self.recorded("x.wav", ALICE), [])

    def test_r22_new_sdp(self) -> None:
        """R22: after new SDP with another address that one is heard, and the old one no more."""
        self.joined()
        self.advance(2)
        ports = self.bob.call.media.audio.ports
        self.bob.call.rebind_media()
        old = Speaker(self.bob.host, tone(EVIL), port=ports[0])  # type: ignore[arg-type]
        old.start(rtp_address(self.other))
        self.assertEqual(self.run_until(self.bob.call.reinvite(), 5), 200)
        self.advance(0.1)
        self.assert_talking()
        self.assertEqual(self.alice.heard(EVIL, since=self.now() - 1), [])
        old.close()


class ConnectionTests(TransferScene):
    """R37: a TCP connection drops in mid-call; the next request opens a new one, media goes on."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.transport = self.bob.transport = "tcp"

    def drop(self, host: str) -> None:
        """Break every connection between us and a phone."""
        self.assertGreater(self.network.reset_streams("10.0.0.1", host), 0)
        self.advance(0.5)

    def test_r37_media_goes_on(self) -> None:
        """R37: both connections drop: both channels stay as they are, and both talk on."""
        self.joined()
        self.drop("10.0.1.1")
        self.drop("10.0.1.2")
        self.assertIs(self.channel.state(), State.TRANSFERRED)
        self.assertIs(self.other.state(), State.ANSWERED)
        self.assert_talking()
        self.assert_clean()

    def test_r37_our_requests(self) -> None:
        """R37: our BYE opens a new connection to the remote target, on both legs."""
        self.joined()
        self.drop("10.0.1.1")
        self.drop("10.0.1.2")
        self.run_until(self.channel.hang_up(), 5)
        self.advance(1)
        for phone in (self.alice, self.bob):
            self.assertEqual(len(self.requests(phone, "BYE")), 1)
            self.assertEqual(phone.call.ended_by, "far")
        self.assert_clean()

    def test_r37_their_requests(self) -> None:
        """R37: their BYE over a new connection is of the same dialog: the call is retrieved, then ended."""
        self.joined()
        self.drop("10.0.1.2")
        self.bob.hang_up()
        self.advance(0.5)
        self.assertIs(self.channel.state(), State.ANSWERED)
        self.assertIs(self.other.state(), State.IDLE)
        self.drop("10.0.1.1")
        self.run_until(self.alice.hold(), 5)
        self.assertIs(self.channel.state(), State.ANSWERED)
        self.run_until(self.alice.resume(), 5)
        self.alice.hang_up()
        self.advance(0.5)
        self.assertIs(self.channel.state(), State.IDLE)

    def test_r37_while_it_rings(self) -> None:
        """R37: the target's connection drops while it rings: its 200 comes over a new one (RFC 3261 18.2.2)."""
        verb = self.begin()
        self.bob.ring()
        self.advance(0.5)
        self.drop("10.0.1.2")
        self.bob.answer()
        self.assertIs(self.run_until(verb, 15), State.TRANSFERRED)
        self.advance(0.3)
        self.assert_talking()
        self.assertEqual(self.bob.unacknowledged, 0)

    def test_r37_before_our_answer_is_acknowledged(self) -> None:
        """R37: the caller's connection drops before its ACK: the 200 is sent again over a new one until it comes."""

        def swallowed(message: Message) -> Message | None:
            return None if isinstance(message, Request) and message.method == "ACK" else message

        self.alice.quirks.alter = swallowed

        async def application(channel: CallChannel) -> State:
            return await channel.answer()

        self.run_application(application)
        self.dial_in()
        self.advance(0.2)
        self.drop("10.0.1.1")
        self.alice.quirks.alter = None
        self.assertIs(self.run_until(self.outcome, 20), State.ANSWERED)

    def test_r37_caller_hangs_up_with_the_connection_gone(self) -> None:
        """R37 and R1: the caller goes while the target's connection is gone: CANCEL over a new one."""
        verb = self.begin()
        self.bob.ring()
        self.advance(0.5)
        self.drop("10.0.1.2")
        self.alice.hang_up()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.settle()
        self.assertEqual(self.bob.call.status, 487)
