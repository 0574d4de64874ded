"""Audio files: names (``api.md`` section 6), decoding, recording."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from telephony.codecs.g711 import CODECS, encode_alaw
from telephony.errors import Error
from telephony.media.detectors import heard
from telephony.media.files import AudioWriter, check_media_name, decode_audio, resolve_media_name
from tests.media.sounds import line, sine

TONE = line(sine(440, -10, 1), None)


class NameTests(SynchronousTestCase):
    def test_allowed(self) -> None:
        """Section 6: letters, digits, dot, underscore, slash, at sign, hyphen."""
        for name in ("a", "greeting.wav", "en/greeting-1.wav", "a@b/c_d.x", ".hidden", "a.b.c", "-"):
            check_media_name(name)
            self.assertEqual(resolve_media_name(Path("/media"), name), Path("/media") / name)

    def test_refused(self) -> None:
        """Section 6: never .., //, /./, an absolute path, other characters; the `Error` names the value."""
        dots = ("", "..", "../a", "a/../b", "a..b", "a/./b", ".", "./a", "a/.")
        for name in (*dots, "a//b", "/a", "a/", "a b", "a\\b", "a\n", "a:b", "\u00e4", "a\0", None, 7, b"a"):
            self.assertIn(repr(name), str(self.assertRaises(Error, resolve_media_name, Path("/media"), name)))

    def test_a_link_that_leads_out(self) -> None:
        """A symbolic link can't be used to leave the directory; one within it can."""
        root = Path(self.mktemp())
        root.mkdir()
        (root / "out").symlink_to("/")
        (root / "in").symlink_to(root.resolve() / "deep")
        self.assertRaises(Error, resolve_media_name, root, "out/etc/hosts")
        self.assertEqual(resolve_media_name(root, "in/a"), root.resolve() / "deep" / "a")

    def test_nothing_gets_out(self) -> None:
        """Whatever the name: a path in the directory, or `Error`."""

        @given(st.text(max_size=12) | st.text("./a@", max_size=12))
        def check(name: str) -> None:
            try:
                path = resolve_media_name(Path("/media"), name)
            except Error:
                return
            self.assertIn(Path("/media"), path.parents)

        check()


class FileTests(SynchronousTestCase):
    def path(self, name: str = "a.wav") -> Path:
        """Return a path for a file in a folder of this test's own, not made yet."""
        return Path(self.mktemp()) / name

    def test_every_format(self) -> None:
        """Section 6, FileRecorder: alaw, ulaw and pcm, mono and stereo, 8 and 16 kHz, decode to what was written."""
        for form in ("alaw", "ulaw", "pcm"):
            for rate in (8000, 16000):
                for channels in (1, 2):
                    pcm = TONE if channels == 1 else np.stack([TONE, TONE], axis=1)
                    with AudioWriter(self.path(), form, rate, channels) as writer:
                        for start in range(0, len(pcm), 160):
                            writer.write(pcm[start : start + 160])
                    self.assertEqual(writer.bytes_written, rate * channels * (2 if form == "pcm" else 1))
                    with av.open(str(writer.path)) as container:
                        stream = container.streams.audio[0]
                        self.assertEqual((stream.rate, stream.channels), (rate, channels))
                    back = decode_audio(writer.path)
                    self.assertEqual((back.dtype, len(back)), (np.int16, 8000))
                    (found,) = heard(back, 440)
                    self.assertApproximates(found.level_dbm0, -10, 0.2)

    def test_payload_as_it_is(self) -> None:
        """Bytes of the file's law go in and come out unchanged."""
        payload = bytes(range(256)) * 10
        for form, codec in (("alaw", "PCMA"), ("ulaw", "PCMU")):
            with AudioWriter(self.path(), form) as writer:
                writer.write(payload[:1000])
                writer.write(memoryview(payload)[1000:])
                writer.write(b"")
                writer.write(np.zeros(0, np.int16))
            self.assertIn(payload, writer.path.read_bytes())
            self.assertEqual(decode_audio(writer.path).tolist(), CODECS[codec].decode(payload).tolist())

    def test_samples_as_they_are(self) -> None:
        """A pcm file has the very samples, for any reader of WAV."""
        with AudioWriter(self.path(), "pcm") as writer:
            writer.write(TONE)
        with wave.open(str(writer.path)) as other:
            self.assertEqual(other.getparams()[:4], (1, 2, 8000, 8000))
            self.assertEqual(other.readframes(8000), TONE.tobytes())

    def test_never_finished(self) -> None:
        """A recording whose writer died can be played to where it breaks off."""
        for form in ("alaw", "ulaw", "pcm"):
            writer = AudioWriter(self.path(), form)
            self.addCleanup(writer.close)
            writer.write(TONE)
            self.assertEqual(len(decode_audio(writer.path)), 8000)

    def test_nothing_recorded(self) -> None:
        """A recording of nothing is a file with no samples, and no error."""
        AudioWriter(self.path()).close()
        with AudioWriter(self.path()) as writer:
            pass
        self.assertEqual(len(decode_audio(writer.path)), 0)

    def test_closing(self) -> None:
        """Closing twice is harmless, writing behind it is an OSError."""
        writer = AudioWriter(self.path())
        writer.close()
        writer.close()
        self.assertRaises(OSError, writer.write, TONE)

    def test_a_full_disk(self) -> None:
        """Writing to a disk without room is an OSError, from write and from close, and the file is closed then."""
        if not Path("/dev/full").exists():
            raise SkipTest("this system has no /dev/full")
        path = self.path()
        path.parent.mkdir()
        path.symlink_to("/dev/full")
        writer = AudioWriter(path)
        self.assertRaises(OSError, writer.write, np.ones(80000, np.int16))
        self.assertRaises(OSError, writer.close)
        writer.close()

    def test_writers_arguments(self) -> None:
        """Argument mistakes are `Error`, naming the value and what is allowed; samples of another kind a ValueError."""
        for arguments, words in (
            ({"format": "mp3"}, ("'mp3'", "alaw, ulaw, pcm")),
            ({"rate": 7999}, ("7999", "8000")),
            ({"rate": 8000.0}, ("8000.0",)),
            ({"channels": 3}, ("3", "1 and 2")),
        ):
            error = self.assertRaises(Error, AudioWriter, self.path(), **arguments)
            for word in words:
                self.assertIn(word, str(error))
        blocked = self.path()
        blocked.parent.write_bytes(b"a file, no folder")
        self.assertIn(repr(str(blocked)), str(self.assertRaises(Error, AudioWriter, blocked)))
        with AudioWriter(self.path()) as writer:
            self.assertRaises(ValueError, writer.write, TONE.astype(float))
            self.assertRaises(ValueError, writer.write, TONE.reshape(-1, 2))

    def test_any_format_in(self) -> None:
        """Section 6: other containers, codecs, rates and channels decode to mono 8 kHz at the same level."""
        for name, codec, rate, layout, sample_format in (
            ("a.wav", "pcm_s16le", 44100, "stereo", "s16"),
            ("a.flac", "flac", 48000, "mono", "s16"),
            ("a.mp2", "mp2", 16000, "mono", "s16"),
            ("a.au", "pcm_mulaw", 8000, "mono", "s16"),
        ):
            path = self.path(name)
            path.parent.mkdir()
            count = 2 * rate
            one = (22828 * 10**-0.5 * np.sin(2 * np.pi * 440 * np.arange(count) / rate)).astype(np.int16)
            samples = np.repeat(one, 2) if layout == "stereo" else one
            with av.open(str(path), "w") as container:
                stream = container.add_stream(codec, rate=rate, layout=layout)
                frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format=sample_format, layout=layout)
                frame.sample_rate = rate
                fifo = av.AudioFifo()
                fifo.write(frame)
                for piece in fifo.read_many(1152, partial=True):
                    container.mux(stream.encode(piece))
                container.mux(stream.encode(None))
            pcm = decode_audio(path)
            self.assertApproximates(len(pcm) / 8000, 2, 0.1, name)
            self.assertApproximates(heard(pcm, 440)[0].level_dbm0, -10, 0.3, name)

    def test_what_can_not_be_decoded(self) -> None:
        """A missing file, a folder, text, an empty file: `Error` with the file's name in it."""
        path = self.path()
        for make in (lambda: None, lambda: path.mkdir(parents=True), lambda: None):
            make()
            self.assertIn(repr(str(path)), str(self.assertRaises(Error, decode_audio, path)))
        for content in (
            b"",
            b"this is no audio at all",
            b"RIFF\xff\xff\xff\xffWAVEfmt ",
            b"#EXTM3U\nhttp://127.0.0.1:9/a\n",
        ):
            path = self.path()
            path.parent.mkdir()
            path.write_bytes(content)
            told = str(self.assertRaises(Error, decode_audio, path))
            self.assertEqual(told.count(str(path)), 1, told)
            self.assertNotIn("Errno", told)

    def test_cut_off(self) -> None:
        """A file that lost its end gives what is left of it."""
        with AudioWriter(self.path()) as writer:
            writer.write(encode_alaw(TONE))
        data = writer.path.read_bytes()
        writer.path.write_bytes(data[:-4000])
        self.assertEqual(len(decode_audio(writer.path)), 4000)
