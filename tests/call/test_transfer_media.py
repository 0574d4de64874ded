"""What caller and target hear in a transfer (``api.md`` section 5, ``transfer.md`` R17, R18, R21, R33, I5, I10)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred

from telephony.call.constants import Cause, State, TransferCause
from telephony.call.resources import JobCause
from telephony.media.tones import PredefinedTones, ToneManager
from telephony.sip.message import Message, Response
from telephony.testing.case import SERVER
from telephony.testing.sounds import tone
from tests.call.media_scene import Speaker, breaks, packets_of
from tests.call.transfer_scene import ALICE, BOB, TransferScene


class RingbackTests(TransferScene):
    """What the caller hears while the target rings."""

    def test_ringback_until_the_answer(self) -> None:
        """Section 5, rules 3 and 4: the tone from the 180 on, cut at a frame's edge at the answer, then the target."""
        verb = self.begin()
        self.advance(1)
        self.bob.ring()
        rang = self.now()
        self.advance(1.5)
        self.bob.answer()
        answered = self.now()
        self.run_until(verb, 5)
        self.advance(1)
        [heard] = self.alice.heard(440, 480, since=rang - 1)
        # 5 ms to us, a frame at most until our turn, 5 ms to her; a tenth of that is the ear's uncertainty.
        self.assertApproximates(heard.start_s, rang + 0.01, 0.025)
        self.assertApproximates(heard.end_s, answered + 0.01, 0.025)
        self.assertApproximates(heard.levels[0], -19, 0.5)
        [target] = self.alice.heard(BOB, since=rang - 1)
        self.assertGreaterEqual(target.start_s, heard.end_s - 0.01, "never a tone over real audio (R33)")
        self.assertApproximates(target.start_s, answered + 0.01, 0.025)

    def test_cadence(self) -> None:
        """Section 5: the tone is that of its plan; the default one, or by name."""
        for name, frequencies, expected in (
            (None, (440, 480), [2.0, 2.0]),
            ("RINGBACK_UK", (400, 450), [0.4, 0.4, 0.4, 0.4, 0.4, 0.4]),
            (PredefinedTones.RINGBACK_EU, (425,), [1.0, 1.0]),
        ):
            verb = self.begin(ringback_tone=name)
            self.bob.ring()
            began = self.now()
            self.advance(8.5)
            self.bob.reject(486)
            self.run_until(verb, 5)
            lengths = [round(one.seconds, 1) for one in self.alice.heard(*frequencies, since=began)]
            self.assertEqual(lengths, expected, name)

    def test_default_of_the_manager(self) -> None:
        """Section 6: `ToneManager.set_default` is what a transfer plays that names no tone."""
        self.addCleanup(ToneManager.set_default, PredefinedTones.RINGBACK)
        ToneManager.set_default(PredefinedTones.RINGBACK_EU)
        self.begin()
        self.bob.ring()
        self.run_until(self.alice.until_hears(425), 5)
        self.assertEqual(self.alice.heard(440, 480), [])

    def test_no_ringing_no_tone(self) -> None:
        """Section 5, rule 3: the tone begins when the target rings; after a 100 only, silence."""
        self.begin()
        began = self.now()
        self.advance(3)
        self.assertEqual(self.alice.heard(440, 480, since=began), [])
        self.assertApproximates(len(packets_of(self.alice, began)), 150, 1)

    def test_each_ringing_status(self) -> None:
        """Section 3: 180 to 183 ring; a second one starts no second tone (R33)."""
        for status in (180, 181, 182, 183):
            verb = self.begin()
            began = self.now()
            self.bob.ring(status)
            self.advance(0.7)
            self.bob.ring(180)
            self.advance(0.7)
            self.bob.reject(486)
            self.run_until(verb, 5)
            self.advance(0.5)
            [heard] = self.alice.heard(440, 480, since=began)
            self.assertApproximates(heard.seconds, 1.4, 0.05)
            self.assertApproximates(heard.levels[0], -19, 0.5)

    def test_every_failure_ends_the_tone(self) -> None:
        """Section 5, rule 5: the call is the application's again: the tone is cut, and it can play what it likes."""
        self.write("sorry.wav", tone(700, seconds=1))

        def time_up(verb: Deferred[State]) -> None:
            self.advance(20)

        ways: list[Callable[[Deferred[State]], object]] = [
            lambda verb: self.bob.reject(486),
            lambda verb: self.other.hang_up(),
            lambda verb: verb.addErrback(lambda _: State.ANSWERED).cancel(),
            time_up,
        ]
        for way in ways:
            verb = self.begin()
            self.bob.ring()
            self.advance(1)
            way(verb)
            self.assertIs(self.run_until(verb, 5), State.ANSWERED)
            self.advance(0.05)
            ended = self.now()
            self.advance(8)
            self.assertEqual(self.alice.heard(440, 480, since=ended), [])
            self.assertIs(self.run_until(self.channel.FilePlayer.play("sorry.wav"), 5), JobCause.NORMAL)
            self.advance(0.2)
            self.assert_heard(self.alice, 700, ended, 1.0, None)

    def test_r21_late_ringing(self) -> None:
        """R21: a 180 behind the 200, or behind our CANCEL, is ignored; the tone never restarts."""
        self.joined()
        since = self.now()
        for status in (180, 183):
            self.provisional_again(status)
            self.provisional_again(status, tag="another-fork")
        self.advance(2)
        self.assertIs(self.channel.state(), State.TRANSFERRED)
        self.assertIs(self.other.state(), State.ANSWERED)
        self.assertEqual(self.alice.heard(440, 480, since=since), [])
        self.assert_talking()

    def test_r21_late_ringing_behind_a_cancel(self) -> None:
        """R21, the other half: bob's phone rings on though it has been cancelled."""
        self.bob.quirks.ignore_cancel = True
        verb = self.begin()
        self.bob.ring()
        self.advance(1)
        self.run_until(self.other.hang_up(), 5)
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.advance(0.1)
        since = self.now()
        for _ in range(3):
            self.bob.ring(180)
            self.advance(1)
        self.assertEqual(self.alice.heard(440, 480, since=since), [])
        self.assertIs(self.other.state(), State.IDLE)
        self.bob.reject(487)
        self.settle()


class EarlyMediaTests(TransferScene):
    """What the caller hears of a target that sends before it answers (RFC 3960)."""

    def early(self, **how: Any) -> None:
        """Let bob send 183 with SDP, and RTP with it."""
        self.bob.ring(183, sdp=True, **how)

    def test_in_place_of_the_tone(self) -> None:
        """Section 5, rule 3: heard in the tone's place, and on through the answer without a break."""
        verb = self.begin()
        self.bob.ring()
        self.advance(1)
        self.assertFalse(self.other.Details.early_media)
        self.early()
        began = self.now()
        self.advance(1)
        self.assertTrue(self.other.Details.early_media)
        [ringback] = self.alice.heard(440, 480, since=began - 1)
        self.assertLess(ringback.end_s, began + 0.04)
        self.bob.answer()
        self.run_until(verb, 5)
        self.advance(1)
        [heard] = self.alice.heard(BOB, since=began - 1)
        self.assertGreater(heard.seconds, 1.9)
        self.assertEqual(breaks(packets_of(self.alice, began + 0.05)), [], "the answer is not to be heard")
        self.assertTrue(self.other.Details.early_media)
        self.assert_talking()

    def test_tone_until_it_really_arrives(self) -> None:
        """``transfer.md``, nominal ladder: a 183 with SDP alone doesn't stop the tone; the first packet does."""
        self.bob.quirks.late_rtp = 1.2
        self.begin()
        self.early()
        began = self.now()
        self.advance(2.5)
        [ringback] = self.alice.heard(440, 480, since=began)
        self.assertApproximates(ringback.start_s, began + 0.01, 0.03)
        self.assertApproximates(ringback.end_s, began + 1.21, 0.03)
        [heard] = self.alice.heard(BOB, since=began)
        self.assertApproximates(heard.start_s, began + 1.21, 0.03)
        self.assertGreaterEqual(heard.start_s, ringback.end_s - 0.01)

    def test_r18_ringing_behind_early_media(self) -> None:
        """R18: 183 with SDP, then 180 without: early media goes on, no tone over it."""
        self.begin()
        self.early()
        self.advance(0.5)
        since = self.now()
        self.bob.ring(180)
        self.advance(1)
        self.assertEqual(self.alice.heard(440, 480, since=since), [])
        [heard] = self.alice.heard(BOB, since=since)
        self.assertGreater(heard.seconds, 0.9)

    def test_r18_pause_behind_ringing(self) -> None:
        """R18: early media that pauses after a 180 leaves silence; the ringback tone doesn't come back for it."""
        self.begin()
        self.early()
        self.advance(0.5)
        self.bob.ring(180)
        self.advance(0.5)
        since = self.now()
        self.network.partition(self.bob.address[0], SERVER)
        self.advance(3)
        self.network.heal(self.bob.address[0], SERVER)
        self.assertEqual(self.alice.heard(440, 480, since=since), [])

    def test_early_media_without_ringing(self) -> None:
        """Section 5, rule 3: SDP in a provisional response that rings nobody is heard all the same."""
        self.begin()
        self.bob.ring(155, sdp=True)
        since = self.now()
        self.advance(1)
        self.assertIs(self.other.state(), State.CALL_OUTGOING)
        self.assertTrue(self.other.Details.early_media)
        self.assertGreater(self.alice.heard(BOB, since=since)[0].seconds, 0.9)

    def test_nothing_goes_to_the_target_before_its_answer(self) -> None:
        """RFC 3960 3.2: early media is heard; we send nothing before the answer."""
        verb = self.begin()
        self.early()
        self.advance(1)
        self.assertEqual(packets_of(self.bob), [])
        self.bob.answer()
        self.run_until(verb, 5)
        self.assert_talking()

    def test_early_media_and_no_answer(self) -> None:
        """Section 5, rule 5: a target that announces something and refuses: silence, and the call is ours again."""
        self.write("sorry.wav", tone(700, seconds=1))
        verb = self.begin()
        self.early()
        self.advance(1)
        self.bob.reject(404)
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.assertIs(self.channel.transfer_cause(), TransferCause.TARGETREJECT)
        self.assertIs(self.other.cause(), Cause.UNOBTAINABLE)
        began = self.now()
        self.assertIs(self.run_until(self.channel.FilePlayer.play("sorry.wav"), 5), JobCause.NORMAL)
        self.advance(0.2)
        self.assert_heard(self.alice, 700, began, 1.0, None)
        self.assertEqual(breaks(packets_of(self.alice)), [])

    def test_caller_hangs_up_over_early_media(self) -> None:
        """R1, with media: the target is cancelled, nothing is sent to anybody any more (I3)."""
        verb = self.begin()
        self.early()
        self.advance(1)
        self.alice.hang_up()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.advance(1)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.HANGUP)
        self.assertEqual(packets_of(self.bob), [])

    def test_r17_the_winner_is_another_fork(self) -> None:
        """R17: 183 of fork 1, 200 of fork 2: the media follows the winner, the loser's RTP is dropped."""
        winner = Speaker(self.network.host("10.0.9.1"), tone(1500))

        def altered(message: Message) -> Message:
            if isinstance(message, Response) and message.status == 200 and message.cseq.method == "INVITE":
                body = message.body.decode().replace("c=IN IP4 10.0.1.2", "c=IN IP4 10.0.9.1")
                ports = self.bob.call.media.audio.ports
                message.body = body.replace(f"m=audio {ports[0]}", f"m=audio {winner.address[1]}").encode()
            return message

        self.bob.quirks.alter = altered
        verb = self.begin()
        self.early(tag="fork-one")
        self.advance(0.5)
        self.assertNotEqual(self.alice.heard(BOB), [])
        self.bob.answer(tag="fork-two")
        self.run_until(verb, 5)
        assert self.other.leg is not None and self.other.leg.endpoint is not None
        winner.start(self.other.leg.endpoint.rtp.address)
        since = self.now() + 0.05
        self.advance(2)
        self.assertEqual(self.alice.heard(BOB, since=since), [], "fork 1 still talks")
        self.assertGreater(self.alice.heard(1500, since=since)[0].seconds, 1.8)
        self.assertGreater(len(winner.heard), 90)
        self.assertEqual(packets_of(self.bob), [])
        winner.close()


class JoinTests(TransferScene):
    """Two that talk."""

    def test_first_packet_at_once(self) -> None:
        """Section 5, rule 4: the target's first packet is passed on in the moment in which it comes."""
        self.bob.quirks.late_rtp = 1.0
        verb = self.begin()
        self.bob.ring()
        self.advance(1)
        self.bob.answer()
        answered = self.now()
        self.run_until(verb, 5)
        self.advance(2)
        # Until then silence: the tone stopped at the answer.
        [ringback] = self.alice.heard(440, 480, since=answered - 1)
        self.assertLess(ringback.end_s, answered + 0.04)
        first = next(one for one in packets_of(self.alice, answered + 0.1) if one.marker)
        self.assertApproximates(first.time, answered + 1.0 + 0.01, 1e-6)

    def test_both_hear_each_other(self) -> None:
        """Section 5, rule 4: both ways, at the level at which it was said."""
        self.joined()
        self.assert_talking(3)
        self.assert_clean()

    def test_retrieval_gives_the_audio_back(self) -> None:
        """Section 5: ANSWERED as soon as the audio is the application's: its first packet has gone out by then."""
        self.write("back.wav", tone(700, seconds=1))
        self.joined()
        verb = self.channel.retrieve_transferred_call()
        self.assertIs(self.channel.state(), State.RECONNECTING)
        asked = self.now()
        self.assertIs(self.run_until(verb, 1), State.ANSWERED)
        self.assertLessEqual(self.now() - asked, 0.0201, "one tick at most")
        sent = [when for when, _, to, _ in self.network.media if to[0] == "10.0.1.1" and when >= asked]
        self.assertEqual(len([when for when in sent if when <= self.now()]), 1)
        self.advance(0.02)
        since = self.now()
        self.assertIs(self.run_until(self.channel.FilePlayer.play("back.wav"), 5), JobCause.NORMAL)
        self.advance(0.2)
        self.assert_heard(self.alice, 700, since, 1.0, None)
        self.assertEqual(self.alice.heard(BOB, since=since), [])
        self.assertEqual(self.bob.heard(ALICE, since=since), [])
        self.assertIs(self.other.state(), State.ANSWERED)
        self.assert_deaf("bob", ALICE)

    def test_the_target_after_a_retrieval(self) -> None:
        """Section 5: `other_call` is an ordinary channel then: it can play, be connected, be hung up."""
        self.write("wait.wav", tone(700, seconds=1))
        self.joined()
        self.run_until(self.channel.retrieve_transferred_call(), 1)
        since = self.now()
        self.assertIs(self.run_until(self.other.FilePlayer.play("wait.wav"), 5), JobCause.NORMAL)
        self.advance(0.2)
        self.assert_heard(self.bob, 700, since, 1.0, None)
        self.assertIs(self.successResultOf(self.channel.connect(self.other)), True)
        self.assert_talking()
        self.assertIs(self.successResultOf(self.channel.disconnect()), True)
        self.assert_deaf("bob", ALICE)
        self.run_until(self.other.hang_up(), 5)
        self.assertIs(self.channel.state(), State.ANSWERED)

    def test_the_targets_end_gives_the_audio_back(self) -> None:
        """Section 5: the target hangs up: retrieved by itself, and the caller's stream never stops."""
        self.joined()
        self.bob.hang_up()
        self.advance(0.1)
        self.assertIs(self.channel.state(), State.ANSWERED)
        self.assert_deaf("alice", BOB)
        self.assertEqual(breaks(packets_of(self.alice)), [])

    def test_transferred_again(self) -> None:
        """Section 5: after a retrieval the call can be transferred again, to the same or to somebody else."""
        for _ in range(3):
            self.joined()
            self.assert_talking()
            self.bob.hang_up()
            self.advance(0.5)
            self.assertIs(self.channel.state(), State.ANSWERED)
        self.assertEqual(breaks(packets_of(self.alice)), [])

    def test_i5_one_stream_all_the_time(self) -> None:
        """I5, I10: play, ringback, target, retrieval, play: one SSRC, no break, a packet for every 20 ms."""
        self.write("hello.wav", tone(700, seconds=1))
        self.answer()
        began = self.now()
        self.run_until(self.channel.FilePlayer.play("hello.wav"), 5)
        self.joined()
        self.advance(2.003)
        self.run_until(self.channel.retrieve_transferred_call(), 1)
        self.run_until(self.channel.FilePlayer.play("hello.wav"), 5)
        self.run_until(self.other.hang_up(), 5)
        self.advance(0.5)
        elapsed = self.now() - began
        packets = packets_of(self.alice, began)
        self.assertEqual(breaks(packets), [])
        self.assertApproximates(len(packets), elapsed / 0.02, 1)
        self.assertEqual({one.payload_type for one in packets}, {8})
        self.assertEqual(breaks(packets_of(self.bob)), [])

    def test_i10_where_we_are_the_source(self) -> None:
        """I10: before, between and after: packets sent are elapsed / ptime, one more or less."""
        self.answer()
        for _ in range(2):
            began = self.now()
            self.advance(5)
            self.assertApproximates(len(packets_of(self.alice, began)), 250, 1)
            verb = self.begin()
            self.bob.ring()
            began = self.now()
            self.advance(5)
            self.assertApproximates(len(packets_of(self.alice, began)), 250, 1)
            self.bob.answer()
            self.run_until(verb, 5)
            self.advance(1)
            self.bob.hang_up()
            self.advance(1)

    def test_i10_where_we_relay(self) -> None:
        """I10: over a bad network each packet that comes is passed on once, in the order of its sequence number."""
        self.joined()
        link = self.network.link("10.0.1.2", "10.0.0.1", both=False, loss=0.05, duplicate=0.1, jitter=0.01)
        since = self.now() + 0.01
        self.advance(10)
        link.loss = link.duplicate = link.jitter = 0.0
        self.advance(0.1)
        packets = packets_of(self.alice, since)
        numbers = [one.sequence for one in packets]
        ahead = [(two - one) & 0xFFFF for one, two in pairwise(numbers)]
        self.assertTrue(all(0 < step < 20 for step in ahead), "once, and in order")
        self.assertApproximates(len(packets), 500 * 0.95, 30)
        # What was lost on the way to us stays visible to her phone (RFC 3550): numbers are missing, time is not.
        self.assertApproximates(sum(ahead) + 1, 505, 5)

    def test_who_says_nothing_is_silence(self) -> None:
        """I5: a target that stops sending leaves the caller a stream of silence, and is heard when it speaks again."""
        self.joined()
        mouth = self.bob.call.media.audio.mouth
        mouth.stop()
        self.advance(1)
        self.assert_deaf("alice", BOB, 2)
        mouth.start()
        self.assert_talking()

    def test_end_stops_all_media(self) -> None:
        """I3: no packet to anybody once both channels are IDLE, whoever ended it."""
        ends: list[Callable[[], object]] = [
            lambda: self.alice.hang_up(),
            lambda: self.channel.hang_up(),
        ]
        for end in ends:
            if hasattr(self, "channel"):
                del self.channel
            self.joined()
            end()
            self.advance(0.1)
            self.assertIs(self.channel.state(), State.IDLE)
            self.assertIs(self.other.state(), State.IDLE)
            quiet = self.now()
            self.advance(2)
            late = [one for one in self.network.media if one[0] > quiet and one[1][0] == "10.0.0.1"]
            self.assertEqual(late, [])
            self.assertEqual(self.exchange.ports.in_use, 0)
