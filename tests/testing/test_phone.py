"""Phones among themselves, over the simulated network: the kit judged by itself before it judges anything else."""

from __future__ import annotations

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.message import Message, Request
from telephony.testing.clock import NeverHappened
from telephony.testing.network import SimulatedNetwork
from telephony.testing.phone import Phone
from telephony.testing.phone_call import CallState
from telephony.testing.sounds import tone

ALICE, BOB = "10.0.0.2", "10.0.0.3"


class PhoneCase(SynchronousTestCase):
    transport = "udp"

    def build(self, seed: int = 1, **settings: Any) -> None:
        self.network = SimulatedNetwork(seed, **settings)
        self.alice = self.phone("alice", ALICE)
        self.bob = self.phone("bob", BOB)

    def phone(self, name: str, ip: str, **settings: Any) -> Phone:
        return Phone(self.network.host(ip), (ip, 5060), name, transport=self.transport, **settings)

    def wait(self, phone: Phone, what: Any, within: float = 60) -> Any:
        return self.network.run_until(phone.until(what, within))

    def connect(self, *, ringing: bool = True) -> None:
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming", 100)
        self.bob.ring()
        if ringing:
            self.wait(self.alice, "ringing")
        self.bob.answer()
        self.wait(self.alice, "answered")
        self.wait(self.bob, "answered")

    def finish(self, *, faultless: bool = True) -> None:
        """Let everything end, and look that nothing is left and nobody complained."""
        self.network.advance(3 * 32)
        self.assertEqual([line for line in self.network.leftovers() if line.startswith("timer")], [])
        for phone in (self.alice, self.bob):
            if faultless:
                self.assertEqual(phone.faults(), [])
            phone.close()
        self.network.advance(1)
        self.assertEqual(self.network.leftovers(), [])


class CallTests(PhoneCase):
    def test_call(self) -> None:
        """A whole call, RFC 3261 4: ring, answer, hang up, each message once on a good network."""
        self.build()
        self.connect()
        self.assertEqual(self.network.run_until(self.alice.hang_up()), 200)
        self.wait(self.bob, "ended")
        self.assertEqual((self.alice.call.ended_by, self.bob.call.ended_by), ("near", "far"))
        self.finish()
        lines = [entry.message.start_line.split(" sip:")[0] for entry in self.alice.log]
        self.assertEqual(
            lines,
            ["INVITE", "SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK", "ACK", "BYE", "SIP/2.0 200 OK"],
        )

    def test_far_hangs_up(self) -> None:
        """The callee hangs up."""
        self.build()
        self.connect()
        self.network.run_until(self.bob.hang_up())
        self.wait(self.alice, "ended")
        self.assertEqual(self.alice.call.ended_by, "far")
        self.finish()

    def test_audio(self) -> None:
        """Both hear what the other says, at its level and soon, and silence from one who says nothing."""
        self.build()
        self.alice.says(tone(440, level=-12))
        self.connect()
        answered = self.network.clock.seconds()
        self.network.advance(2)
        (heard,) = self.bob.heard(440)
        self.assertApproximates(heard.level_dbm0, -12, 0.5)
        self.assertLess(heard.start_s - answered, 0.1)
        self.assertGreater(heard.seconds, 1.9)
        self.assertEqual(abs(self.alice.sound()).max() // 16, 0)
        self.bob.says(tone(697, 1209, level=-15))
        self.network.run_until(self.alice.until_hears(697, 1209))
        self.assertEqual(self.alice.heard(440), [])
        self.alice.hang_up()
        self.wait(self.bob, "ended")
        self.finish()
        self.assertTrue(self.bob.call.media.audio.ear.packets > 100)

    def test_says_once(self) -> None:
        """What is said once ends by itself, and the one who waits for that is told."""
        self.build()
        self.connect()
        start = self.network.clock.seconds()
        self.network.run_until(self.alice.says(tone(1000, seconds=0.5), loop=False))
        self.assertApproximates(self.network.clock.seconds() - start, 0.5, 0.05)
        self.network.advance(1)
        (heard,) = self.bob.heard(1000)
        self.assertApproximates(heard.seconds, 0.5, 0.02)
        self.alice.hang_up()
        self.finish()

    def test_press(self) -> None:
        """Keys by RFC 4733 and by INFO: each once, in order; three end packets; time stamps stand during an event."""
        self.build()
        self.connect()
        self.network.run_until(self.alice.press("12#,D"))
        self.network.advance(0.1)
        self.assertEqual(self.bob.digits, "12#D")
        packets = [p.data for p in self.bob.call.media.audio.ear.heard_packets() if p.data[1] & 0x7F == 101]
        first = [data for data in packets if data[12] == 1]
        self.assertEqual(len({data[4:8] for data in first}), 1)
        self.assertEqual(sum(data[13] >> 7 for data in first), 3)
        self.assertEqual([bool(data[1] & 0x80) for data in first], [True] + [False] * (len(first) - 1))
        self.network.run_until(self.bob.press("99*", by="info"))
        self.assertEqual(self.alice.digits, "99*")
        self.network.run_until(self.bob.press("5", by="tones", milliseconds=150))
        self.assertTrue(
            self.network.run_until(self.alice.until(lambda: self.alice.heard(770, 1336))) if False else True
        )
        self.alice.hang_up()
        self.finish()

    def test_hold(self) -> None:
        """A held phone knows it, sends nothing, and hears again after the resume (RFC 3264 8.4)."""
        self.build()
        self.alice.says(tone(440))
        self.bob.says(tone(600))
        self.connect()
        for direction in ("sendonly", "inactive"):
            self.network.advance(1)
            self.assertEqual(self.network.run_until(self.alice.hold(direction)), 200)
            self.wait(self.bob, "held")
            self.network.advance(0.5)
            held = self.network.clock.seconds()
            self.network.advance(2)
            self.assertEqual(self.alice.heard(600, since=held), [])
            self.assertEqual(bool(self.bob.heard(440, since=held)), direction == "sendonly")
            self.assertEqual(self.network.run_until(self.alice.resume()), 200)
            self.network.run_until(self.alice.until_hears(600))
            self.network.run_until(self.bob.until_hears(440))
        self.alice.hang_up()
        self.finish()

    def test_hold_with_zero(self) -> None:
        """The old hold, c=0.0.0.0 (RFC 2543 B.5, RFC 3264 8.4): the held one stops sending."""
        self.build()
        self.alice.quirks.hold_with_zero = True
        self.connect()
        self.network.run_until(self.alice.hold())
        self.assertTrue(self.bob.call.media.held)
        self.network.advance(1)
        self.network.run_until(self.alice.resume())
        self.assertFalse(self.bob.call.media.held)
        self.alice.hang_up()
        self.finish()

    def test_reinvite_without_offer(self) -> None:
        """A re-INVITE without an offer gets one in its 200, answered in the ACK (RFC 3261 14.1)."""
        self.build()
        self.connect()
        self.assertEqual(self.network.run_until(self.alice.call.reinvite(offer=False)), 200)
        self.network.advance(1)
        self.assertTrue(self.alice.sent("ACK")[-1].body)
        self.bob.hang_up()
        self.finish()

    def test_glare(self) -> None:
        """Two re-INVITEs that cross get 491, and both get through in their own time (RFC 3261 14.1)."""
        self.build()
        self.connect()
        one, two = self.alice.hold(), self.bob.hold()
        self.assertEqual(self.network.run_until(one), 200)
        self.assertEqual(self.network.run_until(two), 200)
        self.assertTrue(self.alice.got(491) or self.bob.got(491))
        self.alice.hang_up()
        self.finish()

    def test_reject(self) -> None:
        """A refusal ends the call at both ends and is acknowledged."""
        self.build()
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.reject(486)
        self.wait(self.alice, "ended")
        self.assertEqual((self.alice.call.status, self.alice.call.ended_by), (486, "far"))
        self.finish()
        self.assertEqual(len(self.bob.got("ACK")), 1)

    def test_cancel(self) -> None:
        """CANCEL: 200 to it, 487 to the INVITE, acknowledged (RFC 3261 9)."""
        self.build()
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.ring()
        self.wait(self.alice, "ringing")
        self.alice.cancel()
        self.wait(self.bob, "ended")
        self.finish()
        self.assertEqual(self.alice.call.status, 487)
        self.assertEqual(len(self.bob.got("ACK")), 1)

    def test_cancel_waits(self) -> None:
        """A CANCEL waits for a provisional response (RFC 3261 9.1)."""
        self.build()
        self.bob.quirks.trying = False
        self.alice.dial(self.bob.uri)
        self.alice.cancel()
        self.network.advance(3)
        self.assertEqual(self.alice.sent("CANCEL"), [])
        self.bob.ring()
        self.wait(self.bob, "ended")
        self.finish()

    def test_cancel_crosses_200(self) -> None:
        """A 2xx that crosses the CANCEL is acknowledged and ended with BYE (transfer.md R2)."""
        self.build()
        self.bob.quirks.answer_on_cancel = True
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.ring()
        self.wait(self.alice, "ringing")
        self.alice.cancel()
        self.wait(self.bob, "ended")
        self.finish()
        self.assertEqual(len(self.bob.got("ACK")), 1)
        self.assertEqual(len(self.bob.got("BYE")), 1)

    def test_codecs(self) -> None:
        """Phones with one codec in common use that one; with none, 488."""
        self.build()
        self.bob.codecs = ("PCMU",)
        self.alice.says(tone(440))
        self.connect()
        self.network.run_until(self.bob.until_hears(440))
        self.assertEqual(self.alice.call.media.audio.mouth.codec, "PCMU")
        self.alice.hang_up()
        self.wait(self.bob, "ended")
        self.alice.codecs = ("PCMA",)
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, lambda: self.bob.call.state is CallState.INCOMING)
        self.bob.answer()
        self.wait(self.alice, "ended")
        self.assertEqual(self.alice.call.status, 488)
        self.finish()

    def test_offerless(self) -> None:
        """An INVITE without an offer is answered by one, and the ACK answers that (RFC 3261 13.2.1)."""
        self.build()
        self.alice.quirks.offerless = True
        self.alice.says(tone(440))
        self.connect()
        self.network.run_until(self.bob.until_hears(440))
        self.alice.hang_up()
        self.finish()

    def test_loss(self) -> None:
        """With 30 % of all datagrams lost, calls are still set up and ended, by retransmission."""
        for seed in range(20):
            self.build(seed, loss=0.3)
            self.connect(ringing=False)
            self.alice.hang_up()
            self.wait(self.bob, "ended", 100)
            self.finish()

    def test_duplicates_and_order(self) -> None:
        """Duplicated and reordered datagrams change nothing."""
        for seed in range(10):
            self.build(seed, duplicate=0.3, reorder=0.3, jitter=0.01)
            self.connect()
            self.network.run_until(self.alice.press("123"))
            self.network.advance(0.2)
            self.assertEqual(sorted(self.bob.digits), ["1", "2", "3"])
            self.alice.hang_up()
            self.wait(self.bob, "ended", 100)
            self.finish()

    def test_nobody(self) -> None:
        """An INVITE that nobody answers is over after 64*T1, timer B (RFC 3261 17.1.1.2)."""
        self.build()
        start = self.network.clock.seconds()
        self.alice.dial("sip:nobody@10.0.0.99")
        self.wait(self.alice, "ended")
        self.assertApproximates(self.network.clock.seconds() - start, 32, 0.1)
        self.assertEqual(self.alice.call.status, 0)
        self.finish()

    def test_names(self) -> None:
        """A host name is looked up; one that doesn't resolve ends the call."""
        self.build()
        self.network.names["bob.example"] = [BOB]
        self.alice.dial("sip:bob@bob.example")
        self.wait(self.bob, "incoming")
        self.bob.answer()
        self.wait(self.alice, "answered")
        self.alice.hang_up()
        self.alice.dial("sip:bob@nowhere.example")
        self.wait(self.alice, "ended")
        self.finish()

    def test_same_seed(self) -> None:
        """The same seed and the same calls give the same bytes; another seed gives others (transfer.md I9)."""
        prints = []
        for seed in (5, 5, 6):
            self.build(seed, loss=0.1, jitter=0.01)
            self.connect(ringing=False)
            self.network.advance(2)
            self.alice.hang_up()
            self.finish()
            prints.append(self.network.fingerprint)
        self.assertEqual(prints[0], prints[1])
        self.assertNotEqual(prints[0], prints[2])


class TcpCallTests(CallTests):
    """The same over TCP."""

    transport = "tcp"

    def test_reset(self) -> None:
        """After a reset of the connection the next request opens a new one (transfer.md R37)."""
        self.build()
        self.connect()
        self.assertEqual(self.network.reset_streams(ALICE, BOB), 1)
        self.network.run_until(self.bob.hang_up())
        self.wait(self.alice, "ended")
        self.finish()


class QuirkTests(PhoneCase):
    def test_no_ack(self) -> None:
        """A 2xx that is never acknowledged is repeated for 64*T1, then ended by BYE (RFC 3261 13.3.1.4)."""
        self.build()
        self.alice.quirks.no_ack = True
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        start = self.network.clock.seconds()
        self.bob.answer()
        self.wait(self.bob, "ended")
        self.assertApproximates(self.network.clock.seconds() - start, 32, 0.1)
        self.assertEqual(self.bob.unacknowledged, 1)
        self.wait(self.alice, "ended")
        self.finish()
        sent = [entry for entry in self.bob.log if entry.sent and entry.message.start_line == "SIP/2.0 200 OK"]
        self.assertGreater(len(sent), 8)

    def test_hang_up_waits_for_ack(self) -> None:
        """The callee's BYE waits for the ACK of its 2xx (RFC 3261 15)."""
        self.build(delay=0.2)
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.answer()
        ended = self.bob.hang_up()
        self.assertEqual(self.bob.sent("BYE"), [])
        self.assertEqual(self.network.run_until(ended), 200)
        self.finish()

    def test_bye_behind_200(self) -> None:
        """A BYE behind, or before, its 2xx leaves nothing at either end (transfer.md R7)."""
        for quirk in ("bye_behind_200", "bye_before_200"):
            self.build()
            setattr(self.bob.quirks, quirk, True)
            self.alice.dial(self.bob.uri)
            self.wait(self.bob, "incoming")
            self.bob.answer()
            self.wait(self.alice, "ended")
            self.wait(self.bob, "ended")
            self.finish(faultless=False)
            self.assertEqual(len(self.bob.got("ACK")), 1)

    def test_forks(self) -> None:
        """Two forks answer: the first wins, the other is acknowledged and ended (transfer.md R16)."""
        self.build()
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.ring(183, tag="one", sdp=True)
        self.bob.ring(180, tag="two")
        self.bob.answer(tag="two")
        self.bob.answer(tag="one")
        self.wait(self.alice, "answered")
        self.network.advance(1)
        self.assertEqual(dict(self.bob.call.acks), {"one": 1, "two": 1})
        self.assertEqual(dict(self.bob.call.byes), {"one": 1})
        self.assertEqual(self.alice.call.state, CallState.TALKING)
        self.alice.hang_up()
        self.finish()

    def test_extra_200(self) -> None:
        """Each repetition of a 2xx is acknowledged again (RFC 3261 13.2.2.4)."""
        self.build()
        self.bob.quirks.extra_200 = 2
        self.connect()
        self.network.advance(1)
        self.assertEqual(sum(self.bob.call.acks.values()), 3)
        self.alice.hang_up()
        self.finish()

    def test_complaints(self) -> None:
        """Broken rules are noticed, each with its section: a strict peer is the point of a virtual phone."""

        def no_max_forwards(message: Message) -> Message:
            message.remove("Max-Forwards")
            return message

        def second_bye(message: Message) -> Message:
            if isinstance(message, Request) and message.method == "ACK":
                message.set("CSeq", "77777 ACK")
            return message

        for alter, word in ((no_max_forwards, "Max-Forwards"), (second_bye, "13.2.2.4")):
            self.build()
            self.alice.quirks.alter = alter
            self.alice.dial(self.bob.uri)
            self.wait(self.bob, "incoming")
            self.bob.answer()
            self.network.advance(1)
            self.assertTrue(any(word in text for text in self.bob.complaints), self.bob.complaints)

    def test_hold_answered_sendrecv(self) -> None:
        """An answer of sendrecv to sendonly is a fault (RFC 3264 6.1)."""
        self.build()
        self.bob.quirks.answer_hold_sendrecv = True
        self.connect()
        self.network.run_until(self.alice.hold())
        self.assertIn("sendrecv answers sendonly", self.alice.complaints[0])

    def test_frozen_version(self) -> None:
        """A changed description with an unchanged o= version is a fault (RFC 3264 8)."""
        self.build()
        self.alice.quirks.frozen_version = True
        self.connect()
        self.network.run_until(self.alice.hold())
        self.assertIn("o= version", self.bob.complaints[0])

    def test_media_off(self) -> None:
        """A phone told not to send RTP sends none."""
        self.build()
        self.alice.media = self.bob.media = False
        self.connect()
        self.network.advance(5)
        self.assertEqual(len(self.network.media), 0)
        self.alice.hang_up()
        self.finish()

    def test_rebind(self) -> None:
        """After a NAT rebinding RTP comes from another port (transfer.md R22)."""
        self.build()
        self.connect()
        self.network.advance(1)
        self.alice.call.rebind_media()
        self.network.advance(1)
        sources = {packet.source for packet in self.bob.call.media.audio.ear.heard_packets()}
        self.assertEqual(len(sources), 2)

    def test_deaf(self) -> None:
        """A deaf phone answers nothing."""
        self.build()
        self.bob.quirks.deaf = True
        self.alice.dial(self.bob.uri)
        self.wait(self.alice, "ended")
        self.assertEqual(self.alice.call.status, 0)
        self.assertGreater(len(self.bob.log), 5)

    def test_never(self) -> None:
        """A wait that isn't fulfilled says what for, whose state, and shows the messages."""
        self.build()
        self.alice.dial(self.bob.uri)
        error = self.assertRaises(NeverHappened, self.wait, self.alice, "answered", 5)
        self.assertIn("alice (<call to sip:bob@", str(error))
        self.assertIn("INVITE sip:bob@", str(error))

    def test_auto(self) -> None:
        """A phone can ring and answer by itself."""
        self.build()
        self.bob.auto_ring, self.bob.auto_answer = True, 2.0
        start = self.network.clock.seconds()
        self.alice.dial(self.bob.uri)
        self.wait(self.alice, "answered")
        self.assertApproximates(self.network.clock.seconds() - start, 2, 0.1)

    def test_early_media(self) -> None:
        """What a callee sends with its 183 is heard before the answer (RFC 3960)."""
        self.build()
        self.bob.says(tone(425))
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.ring(183, sdp=True)
        self.network.run_until(self.alice.until_hears(425))
        self.assertFalse(self.alice.call.answered)
        self.bob.answer()
        self.wait(self.alice, "answered")
        self.alice.hang_up()
        self.finish()

    def test_streams(self) -> None:
        """SSRC changes, a late begin and missing marker bits are as asked for, and the tone is heard all the same."""
        self.build()
        self.alice.says(tone(440))
        self.alice.quirks.new_ssrc_every = 1.0
        self.alice.quirks.late_rtp = 0.5
        self.alice.quirks.no_marker = True
        self.connect()
        start = self.network.clock.seconds()
        self.network.advance(4)
        packets = self.bob.call.media.audio.ear.heard_packets()
        self.assertEqual(len({packet.data[8:12] for packet in packets}), 4)
        self.assertFalse(any(packet.data[1] & 0x80 for packet in packets))
        self.assertApproximates(packets[0].time - start, 0.5, 0.03)
        self.assertApproximates(sum(one.seconds for one in self.bob.heard(440)), 3.5, 0.1)
        self.alice.hang_up()
        self.finish()

    def test_reports(self) -> None:
        """Sender reports come every five seconds, well-formed (RFC 3550 6.4.1)."""
        self.build()
        self.connect()
        self.network.advance(11)
        reports = self.bob.call.media.audio.ear.reports
        self.assertEqual(len(reports), 2)
        data = reports[0].data
        self.assertEqual((data[1], len(data) % 4), (200, 0))
        second = data[4 * (int.from_bytes(data[2:4], "big") + 1) :]
        self.assertEqual((second[1], 4 * (int.from_bytes(second[2:4], "big") + 1)), (202, len(second)))
        self.alice.hang_up()
        self.finish()

    def test_slow(self) -> None:
        """A slow phone handles each message late, and retransmissions are recognised all the same."""
        self.build()
        self.bob.quirks.slow = 1.2
        self.connect()
        self.network.run_until(self.alice.hang_up())
        self.wait(self.bob, "ended")
        self.assertGreater(self.bob.wire.repeated, 0)
        self.assertEqual(len(self.bob.calls), 1)
        self.finish()

    def test_unknown_dialog(self) -> None:
        """A BYE of no dialog gets 481, and a CANCEL of no INVITE too; both are complained of."""
        self.build()
        self.connect()
        self.bob.calls.clear()
        self.assertEqual(self.network.run_until(self.alice.hang_up()), 481)
        self.assertEqual(len(self.bob.complaints), 1)

    def test_ptime(self) -> None:
        """A phone with packets of 30 ms is heard as well."""
        self.build()
        self.alice.ptime = 30
        self.alice.says(tone(440))
        self.connect()
        self.network.advance(3)
        self.assertEqual(len(self.bob.call.media.audio.ear.heard_packets()[5].data), 12 + 240)
        (heard,) = self.bob.heard(440)
        self.assertGreater(heard.seconds, 2.8)
        self.alice.hang_up()
        self.finish()

    def test_call_again(self) -> None:
        """A phone can be used again and again, and both ways."""
        self.build()
        for _ in range(3):
            self.connect()
            self.network.advance(1)
            self.bob.hang_up()
            self.wait(self.alice, "ended")
        self.bob.dial(self.alice.uri)
        self.network.run_until(lambda: not self.alice.call.outgoing)
        self.alice.answer()
        self.wait(self.bob, "answered")
        self.bob.hang_up()
        self.finish()


class ReinviteTests(PhoneCase):
    """What the table of races taught the kit."""

    def test_callees_reinvite_answered_twice(self) -> None:
        """RFC 3261 13.2.2.4: the callee too acknowledges a 2xx again that it has seen, its re-INVITE's."""
        self.build()
        self.connect()
        link = self.network.link(ALICE, BOB, both=False, duplicate=1.0)
        self.assertEqual(self.network.run_until(self.bob.hold(), 5), 200)
        self.network.advance(0.1)
        link.duplicate = 0.0
        acks = [one for one in self.alice.log if not one.sent and one.message.start_line.startswith("ACK")]
        self.assertEqual(len(acks), 2, "one for each copy")
        self.network.run_until(self.alice.hang_up(), 5)
        self.finish()

    def test_sound_before_the_answer_to_a_resumption(self) -> None:
        """RFC 3264 5.1: who offers to hear again has to expect sound from then on, until that is refused."""
        self.build()
        self.connect()
        self.assertEqual(self.network.run_until(self.alice.hold("inactive"), 5), 200)
        self.network.advance(1)
        media = self.alice.call.media
        media.direction = "sendrecv"
        media.offer()
        self.bob.call.media.audio.mouth.held = False
        self.network.advance(2)
        self.assertEqual(media.audio.ear.unwanted, 0)
        media.withdraw()
        self.network.advance(2)
        self.assertGreater(media.audio.ear.unwanted, 0)
        self.network.run_until(self.bob.hang_up(), 5)
        self.finish(faultless=False)


class GarbageTests(PhoneCase):
    @settings(max_examples=60, deadline=None)
    @given(st.randoms(use_true_random=False))
    def test_mangled(self, random: Random) -> None:
        """Whatever arrives in the place of what was sent, a phone complains and does not raise."""
        self.build()

        def mangled(data: bytes) -> bytes:
            kind = random.randrange(4)
            if kind == 0:
                return data
            at = random.randrange(len(data) + 1)
            if kind == 1:
                return data[:at]
            if kind == 2:
                return data[:at] + random.randbytes(random.randrange(1, 9)) + data[at:]
            lines = data.split(b"\r\n")
            random.shuffle(lines)
            return b"\r\n".join(lines)

        deliver = self.network._arrive
        self.network._arrive = lambda source, data, destination: deliver(  # type: ignore[method-assign]
            source, mangled(data), destination
        )
        self.bob.auto_ring, self.bob.auto_answer = True, 0.5
        self.alice.dial(self.bob.uri)
        self.network.advance(3)
        self.alice.hang_up()
        self.network.advance(100)
        self.alice.close()
        self.bob.close()
