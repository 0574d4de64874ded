"""Recordings (api.md section 6): what is in the file, what ends one, and a disk that is slow or full."""

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs.g711 import ALAW_TO_ULAW, CODECS, decode_alaw, encode_alaw, encode_ulaw
from telephony.errors import Error
from telephony.media.files import decode_audio
from telephony.media.levels import SILENCE_DBM0, is_silence, peak_of
from telephony.media.recorders import BATCH, MOST_WAITING, Recorder, RecordingEnd, TwoWayRecorder, is_loud
from tests.media.fakes import Leg, Legs

QUIET = b"\xd5" * 160


def sine(level: float, samples: int = 160) -> "np.ndarray[Any, np.dtype[np.int16]]":
    """Return a 1 kHz tone of a level in dBm0."""
    return np.round(peak_of(level) * np.sin(np.arange(samples) * np.pi / 4 + 0.3)).astype(np.int16)


LOUD = encode_alaw(sine(-10))


class Threads:
    """The part of a Host that runs things in threads: at once, or when the test says."""

    def __init__(self) -> None:
        self.held: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] | None = None
        self.calls = 0
        self.broken: Exception | None = None

    def run_in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.calls += 1
        if self.broken is not None:
            return fail(self.broken)
        if self.held is None:
            return maybeDeferred(function, *args)
        done: Deferred[Any] = Deferred()
        self.held.append((done, function, args))
        return done

    def work(self) -> None:
        """Do the oldest job that waits."""
        assert self.held is not None
        done, function, args = self.held.pop(0)
        done.callback(function(*args))


class RecorderCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = Threads()
        self.path = Path(self.mktemp()) / "recording.wav"
        self.ends: list[RecordingEnd] = []

    def recorder(self, **options: Any) -> Recorder:
        options.setdefault("reached", self.ends.append)
        return Recorder(self.threads, self.path, **options)  # type: ignore[arg-type]

    def recorded(self) -> bytes:
        """Return what is in the file, as A-law."""
        return encode_alaw(decode_audio(self.path))


class RecorderTests(RecorderCase):
    def test_all_of_it(self) -> None:
        """Frames are in the file as they came, in order, when close has fired."""
        recorder = self.recorder()
        frames = [bytes((n,)) * 160 for n in range(120)]
        for frame in frames:
            recorder.frame("PCMA", frame)
        self.successResultOf(recorder.close())
        self.successResultOf(recorder.close())
        recorder.frame("PCMA", LOUD)
        self.assertEqual(decode_audio(self.path).tolist(), decode_alaw(b"".join(frames)).tolist())
        self.assertEqual(self.ends, [])
        self.assertLessEqual(self.threads.calls, 6)  # batches, not frames

    def test_formats(self) -> None:
        """A-law, mu-law and 16 bits, whatever law the call has."""
        for law in ("PCMA", "PCMU"):
            for file_format in ("alaw", "ulaw", "pcm"):
                recorder = self.recorder(file_format=file_format)
                payload = CODECS[law].encode(sine(-10))
                for _ in range(30):
                    recorder.frame(law, payload)
                self.successResultOf(recorder.close())
                expected = CODECS[law].decode(payload)
                if (law, file_format) == ("PCMA", "ulaw"):
                    expected = CODECS["PCMU"].decode(payload.translate(ALAW_TO_ULAW))
                got = decode_audio(self.path)
                self.assertEqual(len(got), 4800)
                if (law, file_format) != ("PCMU", "alaw"):
                    self.assertEqual(got[:160].tolist(), expected.tolist(), (law, file_format))

    def test_size(self) -> None:
        """SIZE at exactly ``max_bytes`` of audio; 16-bit samples have two."""
        for file_format, samples in (("alaw", 1000), ("pcm", 500)):
            self.ends.clear()
            recorder = self.recorder(file_format=file_format, max_bytes=1000)
            for _ in range(10):
                recorder.frame("PCMA", LOUD)
            self.assertEqual(self.ends, [RecordingEnd.SIZE])
            self.successResultOf(recorder.close())
            self.assertEqual(len(decode_audio(self.path)), samples)

    def test_initial_silence(self) -> None:
        """SILENCE when nothing is said at first; not once something was."""
        recorder = self.recorder(milliseconds_initial_silence=100)
        for n in range(5):
            self.assertEqual(self.ends, [], n)
            recorder.frame("PCMA", QUIET)
        self.assertEqual((self.ends, recorder.heard_audio), ([RecordingEnd.SILENCE], False))
        recorder.close()
        self.ends.clear()
        recorder = self.recorder(milliseconds_initial_silence=100)
        for frame in (QUIET, LOUD, *[QUIET] * 50):
            recorder.frame("PCMA", frame)
        self.assertEqual((self.ends, recorder.heard_audio), ([], True))
        recorder.close()

    def test_silence_after_speech(self) -> None:
        """SILENCE after so much of it, counted anew at each sound; before the first one only the other limit counts."""
        recorder = self.recorder(milliseconds_max_silence=100)
        for frame in (*[QUIET] * 20, LOUD, *[QUIET] * 4, LOUD, *[QUIET] * 4):
            recorder.frame("PCMA", frame)
        self.assertEqual(self.ends, [])
        recorder.frame("PCMA", QUIET)
        recorder.frame("PCMA", QUIET)
        self.assertEqual(self.ends, [RecordingEnd.SILENCE])
        recorder.close()

    def test_closed_by_what_ends_it(self) -> None:
        """The owner may close it in the very call that tells of its end."""
        closed: list[Deferred[None]] = []
        recorder = self.recorder(max_bytes=160, reached=lambda why: closed.append(recorder.close()))
        recorder.frame("PCMA", LOUD)
        self.successResultOf(closed[0])
        self.assertEqual(self.recorded(), LOUD)

    def test_a_file_that_cannot_be_made(self) -> None:
        """`Error` at once, naming the file."""
        self.path.parent.mkdir(parents=True)
        self.path.mkdir()
        error = self.assertRaises(Error, self.recorder)
        self.assertIn("recording.wav", str(error))

    def test_on_a_call(self) -> None:
        """As a listener of a leg: what the phone says, its gaps as silence, while the call is joined or not."""
        legs = Legs()
        leg: Leg = legs.leg()
        recorder = self.recorder()
        leg.endpoint.listen(recorder)
        for n in (1, 2, 4, 5):
            leg.say(n, LOUD)
        legs.run(0.2)
        leg.endpoint.unlisten(recorder)
        self.successResultOf(recorder.close())
        self.assertEqual(self.recorded(), QUIET * 2 + LOUD * 2 + QUIET + LOUD * 2 + QUIET * 3)
        self.assertEqual(legs.end(), [])


class DiskTests(RecorderCase):
    def test_a_slow_disk(self) -> None:
        """One write at a time; what waits is bounded, the oldest is dropped and counted; the end waits for the disk."""
        self.threads.held = []
        recorder = self.recorder()
        for n in range(MOST_WAITING + BATCH + 100):
            recorder.frame("PCMA", bytes((n % 251,)) * 160)
            self.assertLessEqual(len(self.threads.held), 1)
        self.assertEqual(recorder.dropped, 100)
        done, again = recorder.close(), recorder.close()
        self.threads.work()
        self.assertNoResult(done)
        self.threads.work()
        self.successResultOf(done)
        self.successResultOf(again)
        got = decode_audio(self.path)
        self.assertEqual(len(got), (MOST_WAITING + BATCH) * 160)
        self.assertEqual(encode_alaw(got[-160:]), bytes(((MOST_WAITING + BATCH + 99) % 251,)) * 160)

    def test_a_full_disk(self) -> None:
        """ERROR once; what comes later is dropped; close still ends, and doesn't fail."""
        recorder = self.recorder()
        self.threads.broken = OSError(28, "No space left on device")
        for _ in range(100):
            recorder.frame("PCMA", LOUD)
        self.assertEqual(self.ends, [RecordingEnd.ERROR])
        self.successResultOf(recorder.close())

    def test_a_disk_that_fills_at_the_end(self) -> None:
        """A failure while it is being closed is nobody's to hear; close fires."""
        self.threads.held = []
        recorder = self.recorder()
        for _ in range(30):
            recorder.frame("PCMA", LOUD)
        done = recorder.close()
        job, self.threads.held = self.threads.held[0], None
        job[0].errback(OSError(28, "No space left on device"))
        self.successResultOf(done)
        self.assertEqual(self.ends, [])

    def test_no_cycles(self) -> None:
        """A closed recorder is freed at once, without the garbage collector."""

        class Watched(Recorder):
            __slots__ = ("__weakref__",)

        gc.disable()
        self.addCleanup(gc.enable)
        recorder = Watched(self.threads, self.path, reached=self.ends.append)  # type: ignore[arg-type]
        for _ in range(30):
            recorder.frame("PCMA", LOUD)
        gone = weakref.ref(recorder)
        self.successResultOf(recorder.close())
        del recorder
        self.assertIsNone(gone())


class TwoWayTests(RecorderCase):
    def record(self, mode: str, **options: Any) -> TwoWayRecorder:
        legs = Legs()
        a, b = legs.leg(), legs.leg(codec="PCMU", payload_type=0)
        from telephony.media.join import Join

        recorder = TwoWayRecorder(self.threads, self.path, mode=mode, reached=self.ends.append, **options)  # type: ignore[arg-type]
        said, heard = recorder.said, recorder.heard
        assert said is not None and heard is not None
        a.endpoint.listen(said)
        a.endpoint.listen_sent(heard)
        join = Join(a.endpoint, b.endpoint)
        for n in range(20):
            a.say(n, LOUD)
            if n >= 10:
                b.say(n, encode_ulaw(sine(-20)), payload_type=0)
            legs.run(0.02)
        join.cut()
        legs.run(0.1)
        a.endpoint.unlisten(said)
        a.endpoint.unlisten_sent(heard)
        self.successResultOf(recorder.close())
        self.assertEqual(legs.end(), [])
        return recorder

    def test_stereo(self) -> None:
        """What the leg says on the left, what it hears on the right, at the same time; over a join."""
        import av

        self.record("stereo", file_format="pcm")
        with av.open(str(self.path)) as container:
            both = np.concatenate([frame.to_ndarray().reshape(-1, 2) for frame in container.decode(audio=0)])
        left, right = both[:, 0].astype(int), both[:, 1].astype(int)
        self.assertEqual(len(left), 25 * 160)
        begins = [int(np.argmax(np.abs(side) > 500)) // 160 for side in (left, right)]
        self.assertEqual(begins[1] - begins[0], 10)

    def test_mixed(self) -> None:
        """Both in one channel."""
        recorder = self.record("mixed", file_format="pcm")
        pcm = decode_audio(self.path).astype(int)
        self.assertTrue(recorder.heard_audio)
        alone, together = np.abs(pcm[5 * 160 : 10 * 160]).max(), np.abs(pcm[14 * 160 : 20 * 160]).max()
        self.assertGreater(together, alone * 1.2)

    def test_limits(self) -> None:
        """SIZE counts both channels."""
        self.record("stereo", max_bytes=1000)
        self.assertEqual(self.ends, [RecordingEnd.SIZE])

    def test_another_mode(self) -> None:
        """There are two modes."""
        self.assertRaises(ValueError, TwoWayRecorder, self.threads, self.path, mode="both")


class LoudnessTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.floats(-75, 3), st.sampled_from(("PCMA", "PCMU")))
    def test_the_same_as_decoded(self, level: float, codec: str) -> None:
        """The decision is that of `telephony.media.levels`, but for the last decibel."""
        pcm = sine(level)
        payload = CODECS[codec].encode(pcm)
        heard = CODECS[codec].decode(payload)
        if abs(level - SILENCE_DBM0) > 1.5:
            self.assertEqual(is_loud(codec, payload), not is_silence(heard))

    def test_a_click(self) -> None:
        """One loud sample is no speech."""
        self.assertFalse(is_loud("PCMA", QUIET[:-1] + b"\x2a"))
        self.assertFalse(is_loud("PCMA", QUIET))
        self.assertFalse(is_loud("PCMU", b"\xff" * 160))
        self.assertTrue(is_loud("PCMA", LOUD))
