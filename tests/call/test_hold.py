"""``hold`` and ``resume`` (``api.md`` sections 3 and 4), judged by what the far end saw and heard; RFC 3264 8.4."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State
from telephony.call.resources import TonePlayer
from telephony.errors import Error, Hangup
from telephony.media.tones import PredefinedTones
from telephony.testing.sounds import tone
from tests.call.media_scene import MediaScene, breaks, packets_of

ALICE = 500
MUSIC = 900


class HoldScene(MediaScene):
    """Alice talks to the application."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.says(tone(ALICE))

    def offers(self) -> list[bytes]:
        """The direction of each offer that alice got."""
        return [self.direction(one.body) for one in self.requests(self.alice, "INVITE")]

    def answers(self) -> list[bytes]:
        """The direction of each answer of ours to her re-INVITEs."""
        return [self.direction(one.body) for one in self.responses(self.alice, 200)[1:] if one.body]

    @staticmethod
    def direction(body: bytes) -> bytes:
        """The direction of a description."""
        found = [one[2:] for one in body.split() if one in (b"a=sendonly", b"a=recvonly", b"a=inactive")]
        return found[0] if found else b"sendrecv"

    def held(self, music: object = None) -> CallChannel:
        """Alice is on hold."""
        channel = self.answer()
        self.assertIs(self.run_until(channel.hold(music), 5), State.ON_HOLD)
        self.advance(0.3)
        return channel


class HoldTests(HoldScene):
    """What becomes of a call that is held, and resumed."""

    def test_silent_hold(self) -> None:
        """Section 3: ANSWERED > HOLDING > ON_HOLD > ANSWERED; without music nobody sends, and neither may she."""
        channel = self.held()
        self.assertEqual(self.offers(), [b"inactive"])
        since = self.now()
        self.advance(2)
        self.assertEqual(packets_of(self.alice, since), [])
        self.assertIs(self.run_until(channel.resume(), 5), State.ANSWERED)
        self.assertEqual(self.offers(), [b"inactive", b"sendrecv"])
        self.advance(1)
        self.assertApproximates(len(packets_of(self.alice, self.now() - 0.5)), 25, 1)
        self.assertEqual(self.steps, [State.ANSWERING, State.ANSWERED, State.HOLDING, State.ON_HOLD, State.ANSWERED])
        self.assertEqual(breaks(packets_of(self.alice)), [], "one stream, over all of it")
        self.assert_clean()

    def test_music_from_a_file(self) -> None:
        """RFC 3264 8.4: sendonly; the file is played over and over without a gap, and stops at the resumption."""
        self.write("music.wav", tone(MUSIC, 0.5))
        channel = self.held("music.wav")
        self.assertEqual(self.offers(), [b"sendonly"])
        since = self.now()
        self.advance(3)
        [heard] = self.alice.heard(MUSIC, since=since)
        self.assertGreater(heard.seconds, 2.9)
        self.run_until(channel.resume(), 5)
        self.advance(0.2)
        since = self.now()
        self.advance(1)
        self.assertEqual(self.alice.heard(MUSIC, since=since), [])
        self.assert_clean()

    def test_music_from_a_tone(self) -> None:
        """A tone's name, a member, or a tone of the channel's own tone manager."""
        channel = self.answer()
        TonePlayer(channel)
        assert channel.TonePlayer is not None
        silent = {"frequency": 0, "amplitude": 99}
        info = [({"frequency": MUSIC, "amplitude": 13}, silent, {"duration": 500, "add": "summation"})]
        channel.TonePlayer.tone_manager.create_tone(info, "mine")
        for music, frequencies in (("mine", (MUSIC,)), ("RINGBACK_UK", (400, 450)), (PredefinedTones.DIAL, (350, 440))):
            self.assertIs(self.run_until(channel.hold(music), 5), State.ON_HOLD)
            since = self.now()
            self.advance(1)
            self.assertNotEqual(self.alice.heard(*frequencies, since=since), [], music)
            self.assertIs(self.run_until(channel.resume(), 5), State.ANSWERED)
        self.assert_clean()

    def test_she_holds_too(self) -> None:
        """RFC 3264 8.4, both directions: held from both sides nobody sends; each one ends its own hold only."""
        channel = self.held("RINGBACK")
        self.assertEqual(self.run_until(self.alice.hold(), 5), 200)
        self.assertEqual(self.answers(), [b"inactive"])
        since = self.now() + 0.1
        self.advance(5)
        self.assertEqual(packets_of(self.alice, since), [])
        self.assertEqual(self.run_until(self.alice.resume(), 5), 200)
        self.assertEqual(self.answers(), [b"inactive", b"sendonly"], "hers is over, ours isn't")
        self.assertIs(channel.state(), State.ON_HOLD)
        self.advance(0.2)
        since = self.now()
        self.advance(4)
        self.assertNotEqual(self.alice.heard(440, 480, since=since), [])
        self.run_until(self.alice.hold(), 5)
        self.assertIs(self.run_until(channel.resume(), 5), State.ANSWERED)
        self.advance(0.2)
        since = self.now()
        self.advance(1)
        self.assertEqual(packets_of(self.alice, since), [], "ours is over, hers isn't")
        self.run_until(self.alice.resume(), 5)
        self.advance(0.5)
        self.assertGreater(len(packets_of(self.alice, self.now() - 0.3)), 12)
        self.assert_clean()

    def test_refused(self) -> None:
        """A refusal keeps the old session: ANSWERED again, and what she said is to be read; audio flows on."""
        channel = self.answer()
        self.alice.quirks.refuse_reinvite = 488
        self.assertIs(self.run_until(channel.hold("RINGBACK"), 5), State.ANSWERED)
        self.assertEqual((channel.Details.raw_cause, channel.Details.raw_reason), (488, "Not Acceptable Here"))
        self.assertIs(channel.cause(), Cause.NORMAL)
        since = self.now()
        self.advance(1)
        self.assertEqual(self.alice.heard(440, 480, since=since), [])
        self.assertApproximates(len(packets_of(self.alice, since)), 50, 1)
        self.alice.quirks.refuse_reinvite = 0
        self.assertIs(self.run_until(channel.hold(), 5), State.ON_HOLD)
        self.alice.quirks.refuse_reinvite = 500
        self.assertIs(self.run_until(channel.resume(), 5), State.ON_HOLD, "she holds on")
        self.assertEqual(channel.Details.raw_cause, 500)
        self.alice.quirks.refuse_reinvite = 0
        self.assertIs(self.run_until(channel.resume(), 5), State.ANSWERED)
        self.assert_clean()

    def test_unusable_answer(self) -> None:
        """RFC 3261 14.1: a 2xx whose answer can't be used is acknowledged, and what was agreed still holds."""
        channel = self.answer()
        self.strict = False  # she believes to be held, and says that she gets audio all the same
        self.alice.quirks.sdp = b"nonsense"
        self.assertIs(self.run_until(channel.hold(), 5), State.ANSWERED)
        self.advance(0.1)
        self.assertEqual(len(self.requests(self.alice, "ACK")), 1)
        self.assertNotEqual(channel.Details.raw_reason, "")
        self.alice.quirks.sdp = None
        since = self.now()
        self.advance(1)
        self.assertApproximates(len(packets_of(self.alice, since)), 50, 1)

    def test_nobody_there(self) -> None:
        """RFC 3261 12.2.1.2: no answer at all, 408 or 481 end the dialog; a BYE goes out all the same."""
        channel = self.answer()
        self.alice.quirks.deaf = True
        self.assertIs(self.run_until(channel.hold(), 40), State.IDLE)
        self.alice.quirks.deaf = False
        self.advance(5)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)
        self.assertEqual(self.alice.call.ended_by, "far")

    def test_dialog_unknown(self) -> None:
        """RFC 3261 12.2.1.2: 481."""
        channel = self.answer()
        self.alice.quirks.refuse_reinvite = 481
        self.assertIs(self.run_until(channel.hold(), 5), State.IDLE)
        self.advance(0.1)
        [bye] = self.requests(self.alice, "BYE")
        self.assertEqual(bye.get("Reason"), 'SIP;cause=481;text="Dialog Unknown"')

    def test_hang_up_in_between(self) -> None:
        """Either side may hang up while the hold, or the resumption, is on its way; the verb ends with IDLE."""
        for who in ("alice", "application"):
            for verb in ("hold", "resume"):
                channel = self.answer() if verb == "hold" else self.held("RINGBACK")
                pending: Deferred[Any] = channel.hold() if verb == "hold" else channel.resume()
                if who == "alice":
                    self.alice.hang_up()
                else:
                    channel.hang_up()
                self.assertIs(self.run_until(pending, 5), State.IDLE)
                self.settle()
                self.assertEqual(len(self.alice.call.byes) + (who == "alice"), 1)
                del self.channel
                self.steps.clear()

    def test_on_an_outgoing_call(self) -> None:
        """The other direction of a dialog: bob is held, and hangs up on hold."""
        channel = self.call_bob()
        self.assertIs(self.run_until(channel.hold(), 5), State.ON_HOLD)
        self.bob.hang_up()
        self.assertIs(self.run_until(channel.wait_for_idle(), 5), State.IDLE)
        self.assertIs(channel.cause(), Cause.NORMAL)
        self.assertIs(self.failureResultOf(channel.resume(), Hangup).type, Hangup)

    def test_reject_on_hold(self) -> None:
        """Section 4: ``reject`` ends a connected call, on hold too."""
        channel = self.held()
        self.assertIs(self.run_until(channel.reject(), 5), State.IDLE)
        self.advance(0.1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)


class HoldErrorTests(HoldScene):
    """Misuse is an Error before anything is sent."""

    def refused(self, verb: Deferred[State], *words: str) -> None:
        """Hold that a verb is refused at once, with a sentence that has these words."""
        text = str(self.failureResultOf(verb, Error).value)
        for word in words:
            self.assertIn(word, text)

    def test_music_that_is_not_there(self) -> None:
        """Neither a tone nor a file, no name at all, a path that leads out, a file without audio."""
        channel = self.answer()
        self.refused(channel.hold("nothing.wav"), "'nothing.wav'", "no tone", str(self.directory))
        self.refused(channel.hold(7), "music=7")
        self.refused(channel.hold("../music.wav"), "..")
        (self.directory / "text.wav").write_bytes(b"no audio")
        verb = channel.hold("text.wav")
        self.advance(1)
        self.refused(verb, "text.wav")
        self.assertIs(channel.state(), State.ANSWERED)
        self.assertEqual(self.offers(), [])

    def test_wrong_states(self) -> None:
        """Section 3: hold is for ANSWERED, resume for ON_HOLD; media verbs are for neither of the two."""
        channel = self.answer()
        self.refused(channel.resume(), "ON_HOLD")
        self.run_until(channel.hold(), 5)
        self.refused(channel.hold(), "ANSWERED")
        self.refused(channel.DTMFPlayer.play("1"), "ON_HOLD")
        self.refused(channel.connect(self.exchange.channel()), "ON_HOLD")
        self.refused(channel.retrievable_transfer(self.exchange.channel(), self.bob.uri), "ON_HOLD")

    def test_busy(self) -> None:
        """Section 4: what is being played, or a connection to another call, has to end first."""
        channel = self.answer()
        player = TonePlayer(channel)
        player.start("RINGBACK")
        self.refused(channel.hold(), "tone")
        player.stop()
        other = self.call_bob()
        self.run_until(channel.connect(other), 5)
        self.refused(channel.hold(), "connection")
        self.run_until(channel.disconnect(), 5)
        self.assertIs(self.run_until(channel.hold(), 5), State.ON_HOLD)

    def test_two_verbs(self) -> None:
        """R15: a second verb while the hold is on its way."""
        channel = self.answer()
        verb = channel.hold()
        self.refused(channel.resume(), "hold()")
        self.assertIs(self.run_until(verb, 5), State.ON_HOLD)


class CancelTests(HoldScene):
    """A Deferred that is cancelled has a meaning on the wire."""

    def test_sent(self) -> None:
        """A hold that is on its way is answered, and then undone."""
        channel = self.answer()
        verb = channel.hold("RINGBACK")
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.run_until(lambda: channel.state() is State.ON_HOLD, 5)
        self.run_until(lambda: channel.state() is State.ANSWERED, 5)
        self.assertEqual(self.offers(), [b"sendonly", b"sendrecv"])
        self.assert_clean()

    def test_waiting(self) -> None:
        """One that waits after a 491 is never sent again."""
        channel = self.answer()
        self.alice.quirks.glare = 9
        verb = channel.hold()
        self.run_until(lambda: self.alice.sent(491), 5)
        self.advance(0.006)
        if channel.state() is State.HOLDING:
            verb.cancel()
            self.failureResultOf(verb, CancelledError)
        count = len(self.offers())
        self.assertIs(channel.state(), State.ANSWERED)
        self.advance(5)
        self.assertEqual(len(self.offers()), count)

    def test_resume(self) -> None:
        """A resumption that is given up comes about all the same."""
        channel = self.held()
        verb = channel.resume()
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.run_until(lambda: channel.state() is State.ANSWERED, 5)
