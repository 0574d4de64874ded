"""``channel.FileRecorder`` (``api.md`` section 6), judged by what is in the files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from twisted.internet.defer import CancelledError, Deferred

from telephony.call.constants import State
from telephony.call.resources import JobCause, JobState
from telephony.errors import Error, Hangup
from telephony.testing.sounds import RATE, silence, tone
from tests.call.media_scene import MediaScene


class FileRecorderTests(MediaScene):
    """What the far end says, in a file."""

    def setUp(self) -> None:
        super().setUp()
        self.talking = self.answer()

    def record(self, name: str = "x.wav", **details: Any) -> Deferred[JobCause]:
        """Record what alice says."""
        return self.talking.FileRecorder.record(name, **details)

    def test_slow_disk(self) -> None:
        """Section 6: record() returns when the file is complete, however long the disk takes, not before."""
        host, at_once = self.exchange.host, self.exchange.host.run_in_thread

        def slowly(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            done: Deferred[Any] = Deferred()
            host.clock.callLater(0.5, lambda: at_once(function, *args).chainDeferred(done))
            return done

        self.patch(host, "run_in_thread", slowly)
        verb = self.record()
        self.advance(1)
        self.talking.FileRecorder.stop()
        self.assertIs(self.talking.FileRecorder.cause(), JobCause.ABORTED)
        self.advance(0.3)
        self.assertNoResult(verb)
        self.assertIs(self.run_until(verb, 5), JobCause.ABORTED)
        self.assertApproximates(len(self.read("x.wav")) / RATE, 1.0, 0.05)

    def test_time_limit(self) -> None:
        """Section 6: TIMEOUT at ``seconds_timeout``; the file holds what was said, as loud as it was."""
        recorder = self.talking.FileRecorder
        self.assertEqual((recorder.cause(), recorder.state()), (JobCause.NONE, JobState.IDLE))
        self.alice.says(tone(1000, level=-12))
        self.advance(0.5)
        verb = self.record(seconds_timeout=3)
        self.assertEqual((recorder.cause(), recorder.state()), (JobCause.NONE, JobState.ACTIVE))
        self.assertIs(self.run_until(verb, 5), JobCause.TIMEOUT)
        self.assertEqual((recorder.cause(), recorder.state()), (JobCause.TIMEOUT, JobState.IDLE))
        self.assertTrue(recorder.audio_detected_in_recording())
        self.assertApproximates(len(self.read("x.wav")) / RATE, 3.0, 0.05)
        [found] = self.recorded("x.wav", 1000)
        self.assertApproximates(found.seconds, 3.0, 0.1)
        self.assertApproximates(found.level_dbm0, -12, 0.5)

    def test_formats(self) -> None:
        """Section 6: alaw is the default; ulaw and pcm are there too, whatever the call's codec."""
        self.alice.says(tone(1000, level=-12))
        self.advance(0.5)
        for name, codec in (("alaw", "pcm_alaw"), ("ulaw", "pcm_mulaw"), ("pcm", "pcm_s16le")):
            self.run_until(self.record(f"{name}.wav", file_format=name, seconds_timeout=1), 5)
            [found] = self.recorded(f"{name}.wav", 1000, codec=codec)
            self.assertApproximates(found.level_dbm0, -12, 0.5)
        for name in ("mp3", "", None, "ALAW"):
            text = str(self.failureResultOf(self.record(file_format=name), Error).value)
            self.assertIn(repr(name), text)
            self.assertIn("alaw, ulaw, pcm", text)

    def test_stop(self) -> None:
        """Section 6: `start` fires at once; `stop` is ABORTED, and when it has fired the file is complete."""
        recorder = self.talking.FileRecorder
        self.alice.says(tone(1000))
        self.advance(0.5)
        self.assertIs(self.successResultOf(recorder.start("x.wav")), JobState.ACTIVE)
        self.advance(1.31)
        wait = recorder.wait_until_finished()
        self.assertIs(self.run_until(recorder.stop(), 1), JobCause.ABORTED)
        self.assertApproximates(len(self.read("x.wav")) / RATE, 1.3, 0.05)
        self.assertIs(self.run_until(wait, 1), JobCause.ABORTED)
        self.assertIs(self.successResultOf(recorder.stop()), JobCause.ABORTED, "harmless when none runs")

    def test_play_what_was_recorded(self) -> None:
        """Section 6: the job ends when the file is complete, so that it can be played at once."""
        self.alice.says(tone(1000))
        self.advance(0.5)
        self.run_until(self.record(seconds_timeout=1), 5)
        self.alice.says(None)
        began = self.now()
        self.assertIs(self.run_until(self.talking.FilePlayer.play("x.wav"), 5), JobCause.NORMAL)
        self.advance(0.2)
        [found] = self.alice.heard(1000, since=began)
        # The first packets waited in the jitter buffer.
        self.assertApproximates(found.seconds, 0.95, 0.03)

    def test_size(self) -> None:
        """Section 6: SIZE when ``max_bytes`` of audio are in the file, and not one more."""
        for name, samples in (("alaw", 12345), ("pcm", 12345 // 2)):
            self.assertIs(self.run_until(self.record(max_bytes=12345, file_format=name), 5), JobCause.SIZE)
            self.assertEqual(len(self.read("x.wav", "pcm_alaw" if name == "alaw" else "pcm_s16le")), samples)

    def test_silence(self) -> None:
        """Section 6: SILENCE after ``milliseconds_max_silence`` behind speech; pauses that are shorter don't count."""
        self.alice.says(np.concatenate([tone(1000, seconds=0.5), silence(0.4)] * 3), loop=False)
        began = self.now()
        verb = self.record(milliseconds_max_silence=1000)
        self.assertIs(self.run_until(verb, 20), JobCause.SILENCE)
        self.assertApproximates(self.now() - began, 2.3 + 1.0, 0.15)
        self.assertEqual(len(self.recorded("x.wav", 1000)), 3)
        self.assertTrue(self.talking.FileRecorder.audio_detected_in_recording())

    def test_initial_silence(self) -> None:
        """Section 6: ``milliseconds_initial_silence`` counts before anything was said, the other limit after that."""
        began = self.now()
        verb = self.record(milliseconds_max_silence=500, milliseconds_initial_silence=2000)
        self.assertIs(self.run_until(verb, 20), JobCause.SILENCE)
        self.assertApproximates(self.now() - began, 2.0, 0.1)
        self.assertFalse(self.talking.FileRecorder.audio_detected_in_recording())
        verb = self.record(milliseconds_max_silence=500, milliseconds_initial_silence=2000)
        self.advance(1.5)
        self.assertNoResult(verb)
        self.alice.says(tone(1000, seconds=1), loop=False)
        began = self.now()
        self.assertIs(self.run_until(verb, 20), JobCause.SILENCE)
        self.assertApproximates(self.now() - began, 1.5, 0.15)

    def test_nothing_comes_at_all(self) -> None:
        """A far end that sends nothing is silence, and takes as long."""
        self.alice.call.media.audio.mouth.stop()
        self.advance(0.5)
        self.assertIs(self.run_until(self.record(milliseconds_initial_silence=1000), 5), JobCause.SILENCE)
        self.assertIs(self.run_until(self.record(seconds_timeout=1), 5), JobCause.TIMEOUT)
        self.assertApproximates(len(self.read("x.wav")) / RATE, 1.0, 0.05)
        self.assertFalse(self.talking.FileRecorder.audio_detected_in_recording())

    def test_barge_in(self) -> None:
        """Section 6: a key press ends a recording with BARGEIN where that is allowed."""
        verb = self.record(barge_in=True)
        self.advance(1)
        self.alice.press("#")
        self.assertIs(self.run_until(verb, 1), JobCause.BARGEIN)
        self.assertEqual(self.successResultOf(self.talking.DTMFDetector.get_digits()), "#")
        verb = self.record(seconds_timeout=2)
        self.alice.press("#")
        self.assertIs(self.run_until(verb, 5), JobCause.TIMEOUT)

    def test_keys_are_not_in_it(self) -> None:
        """Section 6, ``dtmf_elim``: keys that come as telephone events are no audio: silence in the file."""
        self.alice.says(tone(1000))
        self.advance(0.5)
        verb = self.record(seconds_timeout=2)
        self.advance(0.5)
        self.alice.press("5", milliseconds=400)
        self.run_until(verb, 5)
        first, second = self.recorded("x.wav", 1000)
        self.assertApproximates(second.start_s - first.end_s, 0.46, 0.1)

    def test_hang_up(self) -> None:
        """Section 3: HANGUP, and the file holds what was said until then."""
        self.alice.says(tone(1000))
        self.advance(0.5)
        verb = self.record()
        self.advance(1.27)
        self.alice.hang_up()
        self.assertIs(self.run_until(verb, 1), JobCause.HANGUP)
        self.assertApproximates(len(self.read("x.wav")) / RATE, 1.27, 0.06)
        [found] = self.recorded("x.wav", 1000)
        self.assertApproximates(found.seconds, 1.25, 0.1)
        self.failureResultOf(self.record("y.wav"), Hangup)
        self.assertFalse((self.directory / "y.wav").exists())

    def test_our_own_hang_up(self) -> None:
        """Section 5: hang_up ends a recording too."""
        verb = self.record()
        self.advance(1)
        self.assertIs(self.successResultOf(self.talking.hang_up()), State.IDLE)
        self.assertIs(self.run_until(verb, 1), JobCause.HANGUP)
        self.assertApproximates(len(self.read("x.wav")) / RATE, 1.0, 0.05)

    def test_cancelled(self) -> None:
        """Rule 4 of the architecture: cancelling a record stops it; the file is finished in the background."""
        verb = self.record()
        self.advance(1)
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.assertIs(self.talking.FileRecorder.cause(), JobCause.ABORTED)
        self.advance(0.1)
        self.assertApproximates(len(self.read("x.wav")) / RATE, 1.0, 0.05)

    def test_one_at_a_time(self) -> None:
        """Section 6: a second recording is an Error while one runs, and leaves the first one's file alone."""
        verb = self.record(seconds_timeout=1)
        self.failureResultOf(self.record("y.wav"), Error)
        self.assertFalse((self.directory / "y.wav").exists())
        self.failureResultOf(self.record(), Error)
        self.assertIs(self.run_until(verb, 5), JobCause.TIMEOUT)
        self.assertApproximates(len(self.read("x.wav")) / RATE, 1.0, 0.05)

    def test_names(self) -> None:
        """Section 6: names under the media directory; folders that are missing are made."""
        self.run_until(self.record("2026/11/22.wav", seconds_timeout=0.5), 5)
        self.assertTrue((self.directory / "2026" / "11" / "22.wav").is_file())
        for name in ("../x.wav", "/tmp/x.wav", "a//b", "x y.wav", "", "folder/"):
            self.assertIn(repr(name), str(self.failureResultOf(self.record(name), Error).value))

    def test_a_file_that_cannot_be_made(self) -> None:
        """Section 6: Error at the verb, before anything has begun."""
        (self.directory / "x.wav").mkdir()
        self.assertIn("x.wav", str(self.failureResultOf(self.record(), Error).value))
        self.assertIs(self.talking.FileRecorder.state(), JobState.IDLE)
        self.assertIs(self.run_until(self.record("y.wav", seconds_timeout=0.2), 5), JobCause.TIMEOUT)

    def test_bad_arguments(self) -> None:
        """Section 3: each names the argument and the value."""
        rows: list[tuple[dict[str, Any], str]] = [
            ({"rate": 16000}, "rate=16000"),
            ({"max_bytes": -1}, "max_bytes=-1"),
            ({"max_bytes": True}, "max_bytes=True"),
            ({"milliseconds_max_silence": 1.5}, "milliseconds_max_silence=1.5"),
            ({"milliseconds_initial_silence": "1"}, "milliseconds_initial_silence='1'"),
            ({"seconds_timeout": -1}, "seconds_timeout=-1"),
        ]
        for arguments, named in rows:
            self.assertIn(named, str(self.failureResultOf(self.record(**arguments), Error).value))
        self.assertEqual(list(self.directory.iterdir()), [])

    def test_loss_and_jitter(self) -> None:
        """A recording keeps time: packets that are lost or late are silence of their length, not left out."""
        link = self.network.link("10.0.1.1", "10.0.0.1", both=False, loss=0.1, jitter=0.015)
        self.alice.says(tone(1000))
        self.advance(0.5)
        self.run_until(self.record(seconds_timeout=10), 20)
        self.assertApproximates(len(self.read("x.wav")) / RATE, 10.0, 0.05)
        link.loss = 0.0
