"""Keys and codecs of two that talk (``transfer.md`` R27, R28), judged by what both got."""

from __future__ import annotations

from collections import Counter

from telephony.call.constants import State
from telephony.testing import phone_media
from telephony.testing.sounds import KEYS
from tests.call.media_scene import breaks, packets_of
from tests.call.scene import without_info
from tests.call.transfer_scene import ALICE, BOB, TransferScene


class KeyTests(TransferScene):
    """R27: DTMF by RFC 4733."""

    def test_r27_both_ways(self) -> None:
        """R27: each press once, passed on with the other leg's payload type, in place and in time."""
        self.patch(phone_media, "EVENT_NUMBER", 110)
        self.answer()
        self.patch(phone_media, "EVENT_NUMBER", 101)
        self.joined()
        self.assertNotIn(110, self.bob.call.media.audio.ear.names)
        since = self.now()
        self.run_until(self.alice.press("0123456789*#ABCD"), 20)
        self.run_until(self.bob.press("147#"), 20)
        self.advance(0.3)
        self.assertEqual(self.bob.digits, "0123456789*#ABCD")
        self.assertEqual(self.alice.digits, "147#")
        self.assertEqual({one.payload_type for one in packets_of(self.alice, since)}, {8, 110})
        self.assertEqual({one.payload_type for one in packets_of(self.bob, since)}, {8, 101})
        # All packets of one press have one timestamp (RFC 4733 2.5.1.2), three of them the end.
        presses = Counter(one.timestamp for one in packets_of(self.alice, since) if one.payload_type == 110)
        self.assertEqual(list(presses.values()), [7] * 4)
        self.assertIs(self.channel.state(), State.TRANSFERRED)
        self.assert_talking()
        self.assert_clean()

    def test_r27_whose_digits_they_are(self) -> None:
        """R27, section 5: the caller's presses are the target's; the target's can be asked for on its channel."""
        self.joined()
        agent = self.other.DTMFDetector.get_digits(end="#", seconds_predigits_timeout=30)
        self.run_until(self.alice.press("12"), 5)
        self.run_until(self.bob.press("99#"), 5)
        self.assertEqual(self.run_until(agent, 5), "99")
        self.assertEqual(self.alice.digits, "99#", "each press once, and passed on all the same")
        self.assertIs(self.run_until(self.channel.retrieve_transferred_call(), 1), State.ANSWERED)
        self.run_until(self.alice.press("7"), 5)
        self.advance(0.2)
        self.assertEqual(self.successResultOf(self.channel.DTMFDetector.get_digits()), "7")
        self.assertEqual(self.bob.digits, "12", "from the retrieval on they are the application's")

    def test_r27_lost_end_packets(self) -> None:
        """R27, RFC 4733 2.5.1.4: of a press whose packets get lost enough is passed on to be a press, once."""
        self.joined()
        self.network.link("10.0.1.1", "10.0.0.1", both=False, loss=0.2, duplicate=0.2)
        self.run_until(self.alice.press("0123456789"), 20)
        self.advance(0.2)
        self.network.link("10.0.1.1", "10.0.0.1", both=False, loss=0.0, duplicate=0.0)
        self.assertEqual(self.bob.digits, "0123456789")

    def test_r27_a_target_without_events(self) -> None:
        """R27: where the other leg has no telephone events, nor INFO, it hears the key as a tone, once."""
        self.bob.quirks.no_events = True
        self.bob.quirks.alter = without_info
        self.joined()
        self.alice.says(None)
        self.advance(0.5)
        since = self.now()
        self.run_until(self.alice.press("5"), 5)
        self.advance(0.5)
        [heard] = self.bob.heard(*KEYS["5"], since=since)
        self.assertApproximates(heard.seconds, 0.1, 0.03)
        self.assertEqual(self.bob.digits, "")
        self.assertEqual(breaks(packets_of(self.bob)), [])
        self.assert_clean()

    def test_r27_no_events_on_the_callers_side(self) -> None:
        """R27: tones in the band pass as audio."""
        self.alice.quirks.no_events = True
        self.joined()
        since = self.now()
        self.alice.press("7", by="tones", milliseconds=200)
        self.advance(0.5)
        [heard] = self.bob.heard(*KEYS["7"], since=since)
        self.assertApproximates(heard.seconds, 0.2, 0.03)


class CodecTests(TransferScene):
    """R28: codecs and packet times that differ."""

    def codecs(self, alice: tuple[str, ...], bob: tuple[str, ...], offered: str, types: tuple[int, int]) -> None:
        """Transfer with these codecs, and hold what was offered and what flows."""
        self.alice.codecs, self.bob.codecs = alice, bob
        self.joined()
        self.assertIn(f"RTP/AVP {offered}\r\n".encode(), self.bob.call.invite.body)
        since = self.now()
        self.assert_talking(2)
        self.assertEqual({one.payload_type for one in packets_of(self.alice, since)}, {types[0]})
        self.assertEqual({one.payload_type for one in packets_of(self.bob, since)}, {types[1]})
        self.assertEqual(breaks(packets_of(self.alice)) + breaks(packets_of(self.bob)), [])
        self.assertEqual(self.requests(self.alice, "INVITE"), [], "A is never re-INVITEd for it")
        self.assert_clean()

    def test_r28_the_callers_codec_first(self) -> None:
        """R28: A's codec is offered first to B; the same codec is relayed."""
        self.codecs(("PCMU", "PCMA"), ("PCMU", "PCMA"), "0 8 101", (0, 0))

    def test_r28_alaw_and_mulaw(self) -> None:
        """R28: else transcoded here, at the same level."""
        self.codecs(("PCMA",), ("PCMU",), "8 0 101", (8, 0))

    def test_r28_mulaw_and_alaw(self) -> None:
        """R28: and the other way."""
        self.codecs(("PCMU",), ("PCMA",), "0 8 101", (0, 8))

    def ptimes(self, alice: int, bob: int, law: str = "PCMA") -> None:
        """Transfer between phones of these packet times; each gets what it asked for."""
        self.alice.ptime, self.bob.ptime = alice, bob
        self.bob.codecs = (law,)
        self.joined()
        self.advance(0.2)
        since = self.now()
        self.advance(3)
        for phone, frequency, ptime in ((self.alice, BOB, alice), (self.bob, ALICE, bob)):
            [found] = phone.heard(frequency, since=since)
            self.assertGreater(found.seconds, 2.9)
            self.assertApproximates(found.level_dbm0, -12, 0.5)
            packets = packets_of(phone, since)
            self.assertEqual({one.size for one in packets}, {8 * ptime})
            self.assertApproximates(len(packets), 3000 / ptime, 1)
            self.assertEqual(breaks(packets, slack=max(alice, bob) / 1000 + 0.001), [])
        self.assertEqual(self.requests(self.alice, "INVITE"), [])
        self.assert_clean()

    def test_r28_20_and_30_ms(self) -> None:
        """R28: 20 and 30 ms are repacketised, both ways."""
        self.ptimes(20, 30)

    def test_r28_30_and_20_ms(self) -> None:
        """R28: the mirror."""
        self.ptimes(30, 20)

    def test_r28_10_and_60_ms_and_another_law(self) -> None:
        """R28: the ends of the range, transcoded besides."""
        self.ptimes(10, 60, "PCMU")

    def test_r28_keys_over_different_packet_times(self) -> None:
        """R27 and R28: presses pass between legs of different packet times, in place among the audio."""
        self.bob.ptime = 30
        self.joined()
        for _ in range(3):
            self.run_until(self.alice.press("12"), 5)
            self.run_until(self.bob.press("34"), 5)
            self.advance(0.3)
        self.assertEqual(self.bob.digits, "121212")
        self.assertEqual(self.alice.digits, "343434")
        since = self.now()
        self.advance(1)
        self.assertGreater(self.bob.heard(ALICE, since=since)[0].seconds, 0.9)
        self.assert_clean()
