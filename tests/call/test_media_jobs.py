"""Media jobs that send (``api.md`` section 6): files, tones and digits, judged by what the far end heard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.call.resources import JobCause, JobState, TonePlayer
from telephony.errors import Error, Hangup
from telephony.media.tones import PredefinedTones
from telephony.testing.sounds import KEYS, silence, tone
from tests.call.media_scene import MediaScene
from tests.call.scene import without_info


class FilePlayerTests(MediaScene):
    """``channel.FilePlayer``."""

    def setUp(self) -> None:
        super().setUp()
        self.write("hello.wav", tone(700, level=-10, seconds=2))
        self.write("prompts/menu.wav", tone(900, level=-14, seconds=1))
        self.talking = self.answer()

    def play(self, name: str = "hello.wav", **details: Any) -> Deferred[JobCause]:
        """Play a file."""
        return self.talking.FilePlayer.play(name, **details)

    def test_to_its_end(self) -> None:
        """Section 6: `play` fires with NORMAL at the end; the far end has heard all of it, as loud as it is."""
        player = self.talking.FilePlayer
        self.assertEqual((player.cause(), player.state()), (JobCause.NONE, JobState.IDLE))
        began = self.now()
        verb = self.play()
        self.assertEqual((player.cause(), player.state()), (JobCause.NONE, JobState.ACTIVE))
        self.assertIs(self.run_until(verb, 5), JobCause.NORMAL)
        self.assertApproximates(self.now() - began, 2.0, 0.05)
        self.assertEqual((player.cause(), player.state()), (JobCause.NORMAL, JobState.IDLE))
        self.advance(0.2)
        self.assert_heard(self.alice, 700, began, 2.0, -10)

    def test_one_behind_the_other(self) -> None:
        """Section 6: the next file begins where the last one ended; a file may be in a folder."""
        began = self.now()
        self.run_until(self.play(), 5)
        self.assertIs(self.run_until(self.play("prompts/menu.wav"), 5), JobCause.NORMAL)
        self.advance(0.2)
        [first] = self.alice.heard(700, since=began)
        [second] = self.alice.heard(900, since=began)
        self.assertApproximates(second.start_s - first.end_s, 0.0, 0.05)

    def test_again(self) -> None:
        """Section 6: a file may be played again and is decoded once; one that has changed is read again."""
        for frequency in (700, 700, 1100):
            if frequency == 1100:
                self.write("hello.wav", tone(1100, seconds=1.5))
            began = self.now()
            self.run_until(self.play(), 5)
            self.advance(0.2)
            self.assertEqual(len(self.alice.heard(frequency, since=began)), 1, frequency)

    def test_time_limit(self) -> None:
        """Section 6: TIMEOUT at ``seconds_timeout``, and silence from then on."""
        began = self.now()
        self.assertIs(self.run_until(self.play(seconds_timeout=0.8), 5), JobCause.TIMEOUT)
        self.advance(1)
        self.assert_heard(self.alice, 700, began, 0.8, None)
        self.assertIs(self.run_until(self.play(seconds_timeout=0), 5), JobCause.TIMEOUT)

    def test_start_stop_and_wait(self) -> None:
        """Section 6: `start` fires at once, `stop` ends it with ABORTED, `wait_until_finished` waits."""
        player = self.talking.FilePlayer
        began = self.now()
        self.assertIs(self.successResultOf(player.start("hello.wav")), JobState.ACTIVE)
        self.assertIs(self.run_until(player.wait_until_finished(0.3), 5), JobCause.NONE, "its time is up")
        self.assertApproximates(self.now() - began, 0.3, 0.01)
        waits = [player.wait_until_finished(), player.wait_until_finished(30)]
        self.advance(0.3)
        self.assertIs(self.successResultOf(player.stop()), JobCause.ABORTED)
        for wait in waits:
            self.assertIs(self.run_until(wait, 1), JobCause.ABORTED)
        self.assertIs(self.successResultOf(player.wait_until_finished()), JobCause.ABORTED)
        self.assertIs(self.successResultOf(player.stop()), JobCause.ABORTED, "harmless when none runs")
        self.advance(0.5)
        self.assert_heard(self.alice, 700, began, 0.6, None)
        self.assertIs(self.successResultOf(player.start("hello.wav")), JobState.ACTIVE)
        self.assertIs(self.run_until(player.wait_until_finished(), 5), JobCause.NORMAL)

    def test_cancelled(self) -> None:
        """Rule 4 of the architecture: cancelling a play stops it; cancelling a wait doesn't."""
        player = self.talking.FilePlayer
        began = self.now()
        verb = self.play()
        wait = player.wait_until_finished()
        self.advance(0.3)
        wait.cancel()
        self.failureResultOf(wait, CancelledError)
        self.advance(0.3)
        self.assertIs(player.state(), JobState.ACTIVE)
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.assertEqual((player.state(), player.cause()), (JobState.IDLE, JobCause.ABORTED))
        self.advance(0.5)
        self.assert_heard(self.alice, 700, began, 0.6, None)

    def test_barge_in(self) -> None:
        """Section 6: a key press ends a play that may be barged into; the digit stays to be asked for."""
        began = self.now()
        verb = self.play(barge_in=True)
        self.advance(0.5)
        self.alice.press("5")
        self.assertIs(self.run_until(verb, 1), JobCause.BARGEIN)
        self.advance(0.5)
        [found] = self.alice.heard(700, since=began)
        self.assertApproximates(found.seconds, 0.5, 0.1)
        self.assertEqual(self.successResultOf(self.talking.DTMFDetector.get_digits()), "5")

    def test_no_barge_in(self) -> None:
        """Section 6: without ``barge_in`` it goes on; digits that were buffered before don't trigger one."""
        self.alice.press("1")
        self.advance(0.5)
        self.assertIs(self.run_until(self.play(barge_in=True), 5), JobCause.NORMAL)
        verb = self.play()
        self.advance(0.5)
        self.alice.press("2")
        self.assertIs(self.run_until(verb, 5), JobCause.NORMAL)
        self.assertEqual(self.successResultOf(self.talking.DTMFDetector.get_digits()), "12")

    def test_hang_up(self) -> None:
        """Section 3: a hang-up during a job is no exception: it returns HANGUP; the next verb raises Hangup."""
        verb = self.play()
        wait = self.talking.FilePlayer.wait_until_finished()
        self.advance(0.5)
        self.alice.hang_up()
        for one in (verb, wait):
            self.assertIs(self.run_until(one, 1), JobCause.HANGUP)
        self.assertIs(self.talking.FilePlayer.cause(), JobCause.HANGUP)
        self.assertIs(self.talking.state(), State.IDLE)
        self.failureResultOf(self.play(), Hangup)
        self.assertIs(self.talking.FilePlayer.cause(), JobCause.HANGUP)
        verb = self.talking.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.run_until(verb, 5)
        self.assertIs(self.run_until(self.play(), 5), JobCause.NORMAL, "the next call on the channel can play")

    def test_our_own_hang_up(self) -> None:
        """Section 5: hang_up ends whatever verb is running on the channel, a job too."""
        verb = self.play()
        self.advance(0.5)
        self.assertIs(self.successResultOf(self.talking.hang_up()), State.IDLE)
        self.assertIs(self.run_until(verb, 1), JobCause.HANGUP)

    def test_hang_up_while_it_is_decoded(self) -> None:
        """Section 3: the same while the file is still being decoded; the decoded audio goes nowhere."""
        verb = self.play()
        self.talking.hang_up()
        self.assertIs(self.run_until(verb, 1), JobCause.HANGUP)
        self.advance(1)

    def test_stop_while_it_is_decoded(self) -> None:
        """Section 6: stop() before the first frame: nothing is heard, also where another play begins at once."""
        self.write("other.wav", tone(1300, seconds=1))
        self.run_until(self.play("other.wav"), 5)  # from now on it needs no decoding
        self.advance(0.2)
        began = self.now()
        verb = self.play()
        self.talking.FilePlayer.stop()
        again = self.play("other.wav")
        self.assertIs(self.run_until(verb, 1), JobCause.ABORTED)
        self.assertIs(self.run_until(again, 5), JobCause.NORMAL)
        self.advance(0.2)
        self.assertEqual(self.alice.heard(700, since=began), [])
        self.assert_heard(self.alice, 1300, began, 1.0, None)

    def test_empty_file(self) -> None:
        """A file of no length is over at once."""
        self.write("empty.wav")
        self.assertIs(self.run_until(self.play("empty.wav"), 1), JobCause.NORMAL)

    def test_missing_file(self) -> None:
        """Section 3: the text says what is wrong; the directory in full, for who started the program elsewhere."""
        self.exchange.media_directory = Path("media")
        told = str(self.failureResultOf(self.play("missing.wav"), Error).value)
        self.assertIn(f"'missing.wav' in the media directory {Path.cwd() / 'media'}", told)

    def test_bad_names(self) -> None:
        """Section 6: names under the media directory only; the sentence names the value."""
        (self.directory / "folder").mkdir()
        (self.directory.parent / "outside.wav").write_bytes((self.directory / "hello.wav").read_bytes())
        (self.directory / "link.wav").symlink_to((self.directory.parent / "outside.wav").resolve())
        for name in (
            "missing.wav",
            "../outside.wav",
            "folder",
            "link.wav",
            "/etc/passwd",
            "a//b.wav",
            "a/./b.wav",
            "a b.wav",
            "hello.wav\0",
            "",
            None,
            7,
        ):
            text = str(self.failureResultOf(self.play(name), Error).value)  # type: ignore[arg-type]
            self.assertIn(repr(name), text)
        self.assertIs(self.talking.FilePlayer.state(), JobState.IDLE)
        self.assertIs(self.run_until(self.play(), 5), JobCause.NORMAL)

    def test_no_audio_in_it(self) -> None:
        """Section 6: a file that can't be decoded: `play` fails with Error, `start` ends with cause ERROR."""
        (self.directory / "notes.txt").write_text("this is no audio")
        verb = self.play("notes.txt")
        with self.assertRaisesRegex(Error, r"notes\.txt"):
            self.run_until(verb, 1)
        self.assertIs(self.talking.FilePlayer.cause(), JobCause.ERROR)
        self.successResultOf(self.talking.FilePlayer.start("notes.txt"))
        self.advance(0.1)
        self.assertEqual(
            (self.talking.FilePlayer.cause(), self.talking.FilePlayer.state()), (JobCause.ERROR, JobState.IDLE)
        )
        self.assertIs(self.run_until(self.play(), 5), JobCause.NORMAL)

    def test_a_file_that_vanishes(self) -> None:
        """A file that goes between the look and the reading is an Error, and the player is free again."""
        prompts = self.exchange.prompts
        get = prompts.get

        def vanished(path: Any) -> Any:
            path.unlink()
            return get(path)

        prompts.get = vanished  # type: ignore[method-assign]
        with self.assertRaises(Error):
            self.run_until(self.play(), 1)
        prompts.get = get  # type: ignore[method-assign]
        self.assertIs(self.run_until(self.play("prompts/menu.wav"), 5), JobCause.NORMAL)

    def test_bad_arguments(self) -> None:
        """Section 3: a bad time limit is an Error, and nothing is played."""
        for seconds in (-1, "1", float("nan")):
            self.failureResultOf(self.play(seconds_timeout=seconds), Error)
        self.failureResultOf(self.talking.FilePlayer.wait_until_finished(-1), Error)


class TonePlayerTests(MediaScene):
    """``channel.TonePlayer``."""

    def test_play(self) -> None:
        """Section 6: until its time, `stop` or the call's end; by name, by member or the default."""
        channel = self.answer()
        self.assertIsNone(channel.TonePlayer)
        player = TonePlayer(channel)
        self.assertIs(channel.TonePlayer, player)
        began = self.now()
        self.assertIs(self.run_until(player.play("DIAL", 1.5), 5), JobCause.TIMEOUT)
        self.advance(0.2)
        [found] = self.alice.heard(350, 440, since=began)
        self.assertApproximates(found.seconds, 1.5, 0.03)
        began = self.now()
        verb = player.play(PredefinedTones.BUSY_UK)
        self.advance(1.5)
        self.assertIs(self.successResultOf(player.stop()), JobCause.ABORTED)
        self.assertIs(self.run_until(verb, 1), JobCause.ABORTED)
        self.advance(0.5)
        self.assertEqual([round(one.seconds, 2) for one in self.alice.heard(400, since=began)][:2], [0.38, 0.38])
        began = self.now()
        self.assertIs(self.successResultOf(player.start()), JobState.ACTIVE)
        self.advance(3)
        [found] = self.alice.heard(440, 480, since=began)
        self.assertApproximates(found.seconds, 2.0, 0.03)
        self.alice.hang_up()
        self.assertIs(self.run_until(player.wait_until_finished(), 1), JobCause.HANGUP)

    def test_unknown_tone(self) -> None:
        """Section 3: the sentence names the tone and the known ones; nothing plays."""
        player = TonePlayer(self.answer())
        for name in ("UNHEARD", 440, ""):
            text = str(self.failureResultOf(player.play(name), Error).value)
            self.assertIn(repr(name), text)
            self.assertIn("RINGBACK", text)
        self.assertIs(player.state(), JobState.IDLE)


class DTMFPlayerTests(MediaScene):
    """``channel.DTMFPlayer``."""

    def test_every_digit(self) -> None:
        """Section 6: 0-9 A-D * #, each heard once by the far end; NORMAL when all are out."""
        channel = self.answer()
        self.assertIs(self.run_until(channel.DTMFPlayer.play("0123456789ABCD*#"), 10), JobCause.NORMAL)
        self.advance(0.2)
        self.assertEqual(self.alice.digits, "0123456789ABCD*#")
        self.run_until(channel.DTMFPlayer.play("abcd"), 10)
        self.advance(0.2)
        self.assertEqual(self.alice.digits[16:], "ABCD")

    def test_comma(self) -> None:
        """Section 6: a comma is half a second."""
        channel = self.answer()
        times = []
        for digits in ("12", "1,2", "1,,,2"):
            began = self.now()
            self.run_until(channel.DTMFPlayer.play(digits), 10)
            times.append(self.now() - began)
        self.assertApproximates(times[1] - times[0], 0.5, 0.03)
        self.assertApproximates(times[2] - times[0], 1.5, 0.03)
        self.assertEqual(self.alice.digits, "121212")

    def test_far_end_without_events(self) -> None:
        """RFC 4733 wasn't agreed, and INFO isn't allowed: the keys are heard as tones (ITU-T Q.23)."""
        self.alice.quirks.no_events = True
        self.alice.quirks.alter = without_info
        channel = self.answer()
        began = self.now()
        self.assertIs(self.run_until(channel.DTMFPlayer.play("5"), 10), JobCause.NORMAL)
        self.advance(0.2)
        [found] = self.alice.heard(*KEYS["5"], since=began)
        self.assertApproximates(found.seconds, 0.1, 0.02)
        self.assertEqual(self.alice.digits, "")

    def test_what_is_refused(self) -> None:
        """Section 6: at most 32, and nothing but digits and commas; nothing is sent then."""
        channel = self.answer()
        for digits in ("", "1" * 33, "12x", "1 2", "E", None, 5, "+1"):
            text = str(self.failureResultOf(channel.DTMFPlayer.play(digits), Error).value)  # type: ignore[arg-type]
            self.assertIn(repr(digits), text)
            self.assertIn("32", text)
        self.advance(1)
        self.assertEqual(self.alice.digits, "")

    def test_stop_and_hang_up(self) -> None:
        """Section 6: ABORTED by stop, HANGUP at the call's end."""
        channel = self.answer()
        verb = channel.DTMFPlayer.play("123456")
        self.advance(0.5)
        channel.DTMFPlayer.stop()
        self.assertIs(self.run_until(verb, 1), JobCause.ABORTED)
        self.advance(2)
        self.assertLess(len(self.alice.digits), 4)
        verb = channel.DTMFPlayer.play("123456")
        self.alice.hang_up()
        self.assertIs(self.run_until(verb, 1), JobCause.HANGUP)


class OneTransmitterTests(MediaScene):
    """Section 6: one transmitter at a time per channel; receivers run side by side."""

    def transmitters(self, channel: CallChannel) -> dict[str, Deferred[Any]]:
        """Start every job that sends."""
        assert channel.TonePlayer is not None
        return {
            "file": channel.FilePlayer.start("long.wav"),
            "digits": channel.DTMFPlayer.start("1,,,,,,2"),
            "tone": channel.TonePlayer.start("DIAL"),
        }

    def test_one_at_a_time(self) -> None:
        """Section 6: whichever runs, the others are an Error that names it; when it is stopped they may start."""
        self.write("long.wav", tone(700, seconds=30))
        channel = self.answer()
        player = TonePlayer(channel)
        for name, job in (("file", channel.FilePlayer), ("digits", channel.DTMFPlayer), ("tone", player)):
            self.successResultOf(
                {
                    "file": lambda: channel.FilePlayer.start("long.wav"),
                    "digits": lambda: channel.DTMFPlayer.start("1,,,,,,2"),
                    "tone": lambda: player.start("DIAL"),
                }[name]()
            )
            for verb in self.transmitters(channel).values():
                self.assertIn("a tone" if name == "tone" else name, str(self.failureResultOf(verb, Error).value))
            self.assertIs(job.state(), JobState.ACTIVE, "which goes on")
            self.successResultOf(job.stop())

    def test_receivers_beside_it(self) -> None:
        """Section 6: recording and digits while something plays."""
        self.write("long.wav", tone(700, seconds=30))
        channel = self.answer()
        self.alice.says(tone(1000))
        channel.FilePlayer.start("long.wav")
        record = channel.FileRecorder.record("x.wav", seconds_timeout=2)
        digits = channel.DTMFDetector.get_digits(count=2, seconds_predigits_timeout=5)
        self.advance(1)
        self.alice.press("42")
        self.assertEqual(self.run_until(digits, 5), "42")
        self.assertIs(self.run_until(record, 5), JobCause.TIMEOUT)
        self.assertIs(channel.FilePlayer.state(), JobState.ACTIVE)
        self.assertEqual(self.recorded("x.wav", 700), [], "what we send isn't recorded")
        self.assertNotEqual(self.recorded("x.wav", 1000), [])

    def test_a_finished_one_is_out_of_the_way(self) -> None:
        """Section 6: whoever hears of the end may start the next at once."""
        self.write("short.wav", tone(700, seconds=0.2))
        channel = self.answer()

        async def several() -> list[JobCause]:
            causes = []
            for _ in range(3):
                causes.append(await channel.FilePlayer.play("short.wav"))
                causes.append(await channel.DTMFPlayer.play("1"))
            return causes

        self.assertEqual(self.run_until(Deferred.fromCoroutine(several()), 10), [JobCause.NORMAL] * 6)
        self.assertEqual(self.alice.digits, "111")


class SilenceTests(MediaScene):
    """What is heard when nothing plays."""

    def test_silence_between_jobs(self) -> None:
        """I5, I10: one stream goes on through silence: a packet for each 20 ms, sequence and timestamp in step."""
        self.write("short.wav", tone(700, seconds=0.5), silence(0.1))
        channel = self.answer()
        began = self.now()
        self.run_until(channel.FilePlayer.play("short.wav"), 5)
        self.advance(1)
        self.run_until(channel.DTMFPlayer.play("1"), 5)
        self.advance(1)
        elapsed = self.now() - began
        packets = self.alice.call.media.audio.ear.heard_packets(began)
        self.assertApproximates(len(packets), elapsed / 0.02, 2)
        self.assertEqual(len({one.data[8:12] for one in packets}), 1, "one SSRC")
