"""G.711 against FFmpeg's implementation of it, and against the tables of the recommendation."""

from __future__ import annotations

import av
import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs import g711

EVERY_SAMPLE = np.arange(-32768, 32768).astype(np.int16)
EVERY_BYTE = bytes(range(256))


def other_decoder(name: str, data: bytes) -> np.ndarray:
    """Decode with FFmpeg."""
    context = av.CodecContext.create(name, "r")
    context.sample_rate, context.layout = 8000, "mono"
    return np.concatenate([frame.to_ndarray().reshape(-1) for frame in context.decode(av.Packet(data))])


def other_encoder(name: str, pcm: np.ndarray) -> bytes:
    """Encode with FFmpeg."""
    context = av.CodecContext.create(name, "w")
    context.sample_rate, context.layout, context.format = 8000, "mono", "s16"
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = 8000
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


class LawTests(SynchronousTestCase):
    def test_decoding_is_that_of_ffmpeg(self) -> None:
        """G.711 tables 1 and 2, column 8: every code has the value that FFmpeg gives it."""
        self.assertEqual(g711.decode_alaw(EVERY_BYTE).tolist(), other_decoder("pcm_alaw", EVERY_BYTE).tolist())
        self.assertEqual(g711.decode_ulaw(EVERY_BYTE).tolist(), other_decoder("pcm_mulaw", EVERY_BYTE).tolist())

    def test_encoding_is_that_of_ffmpeg_but_for_segment_ends(self) -> None:
        """G.711: FFmpeg rounds to the nearest value; at the ends of segments the tables' decision values do not."""
        for encode, decode, name in (
            (g711.encode_alaw, g711.decode_alaw, "pcm_alaw"),
            (g711.encode_ulaw, g711.decode_ulaw, "pcm_mulaw"),
        ):
            ours, theirs = decode(encode(EVERY_SAMPLE)), decode(other_encoder(name, EVERY_SAMPLE))
            self.assertLess(np.mean(ours != theirs), 0.02)
            error = np.abs(ours.astype(int) - EVERY_SAMPLE) - np.abs(theirs.astype(int) - EVERY_SAMPLE)
            # Never worse by more than the step's asymmetry there: half of the step below it.
            self.assertTrue(np.all(error <= np.maximum(np.abs(EVERY_SAMPLE.astype(int)) // 32, 16)))

    def test_decision_values(self) -> None:
        """G.711 tables 1 and 2, column 5: a decision value opens the step above it (13 and 14 bit units)."""
        alaw = {0: 1, 1: 1, 2: 3, 63: 63, 64: 66, 67: 66, 68: 70, 128: 132, 2048: 2112, 4095: 4032}
        for decision, value in alaw.items():
            sample = np.array([decision * 8], np.int16)
            self.assertEqual(g711.decode_alaw(g711.encode_alaw(sample)).tolist(), [value * 8], decision)
        ulaw = {0: 0, 1: 2, 2: 2, 3: 4, 30: 30, 31: 33, 34: 33, 35: 37, 95: 99, 4063: 4191, 8158: 8031}
        for decision, value in ulaw.items():
            sample = np.array([decision * 4], np.int16)
            self.assertEqual(g711.decode_ulaw(g711.encode_ulaw(sample)).tolist(), [value * 4], decision)

    def test_halves_mirror_each_other(self) -> None:
        """G.711 section 3: positive and negative halves differ in the sign bit only."""
        low, high = EVERY_SAMPLE[:32768], EVERY_SAMPLE[:32767:-1]
        for encode in (g711.encode_alaw, g711.encode_ulaw):
            codes = [np.frombuffer(encode(half), np.uint8) for half in (low, high)]
            self.assertTrue(np.all(codes[0] ^ codes[1] == 0x80))

    def test_a_second_coding_changes_nothing(self) -> None:
        """Decode and encode are inverse on codes; mu-law's negative zero becomes its positive one."""
        self.assertEqual(g711.encode_alaw(g711.decode_alaw(EVERY_BYTE)), EVERY_BYTE)
        self.assertEqual(g711.encode_ulaw(g711.decode_ulaw(EVERY_BYTE)), EVERY_BYTE.replace(b"\x7f", b"\xff"))

    def test_only_int16(self) -> None:
        """A float array would be cut to nonsense silently, so it is a TypeError."""
        self.assertRaises(TypeError, g711.encode_alaw, np.zeros(160))

    def test_shapes(self) -> None:
        """Frames of many calls at once, and slices with a stride, encode as their samples do one by one."""
        frames = np.arange(-800, 800, dtype=np.int16).reshape(10, 160)
        self.assertEqual(g711.encode_alaw(frames), b"".join(g711.encode_alaw(row) for row in frames))
        self.assertEqual(g711.encode_ulaw(frames[0, ::2]), g711.encode_ulaw(frames[0])[::2])


class TranslationTests(SynchronousTestCase):
    def test_silence_stays_silence(self) -> None:
        """Silence decodes to one A-law step at most, in its own law and in the other (A-law has no zero)."""
        for name, codec in g711.CODECS.items():
            self.assertEqual(codec.silent(160), bytes([g711.SILENCE[name]]) * 160)
            self.assertLessEqual(abs(int(codec.decode(codec.silent(1))[0])), 8)
            for other, table in codec.translations.items():
                self.assertLessEqual(abs(int(g711.CODECS[other].decode(codec.silent(1).translate(table))[0])), 8)

    def test_translation_is_decoding_and_encoding(self) -> None:
        """G.711 section 5: the level of every code survives a change of law, within that law's step."""
        for codec in g711.CODECS.values():
            for other, table in codec.translations.items():
                before = codec.decode(EVERY_BYTE).astype(int)
                after = g711.CODECS[other].decode(EVERY_BYTE.translate(table)).astype(int)
                self.assertTrue(np.all(np.abs(after - before) <= np.maximum(np.abs(before) // 24, 8)))

    def test_there_and_back(self) -> None:
        """Mu-law through A-law and back is the same code again above the smallest, where A-law's steps are wider."""
        loud = bytes(code for code in EVERY_BYTE if abs(int(g711.decode_ulaw(bytes([code]))[0])) > 1000)
        back = g711.decode_ulaw(loud.translate(g711.ULAW_TO_ALAW).translate(g711.ALAW_TO_ULAW)).astype(int)
        self.assertTrue(np.all(np.abs(back / g711.decode_ulaw(loud) - 1) < 0.06))

    def test_registry(self) -> None:
        """RFC 3551 table 4: PCMU is 0, PCMA is 8, both have a clock rate of 8000."""
        self.assertEqual(
            [(c.name, c.payload_type, c.clock_rate) for c in g711.CODECS.values()],
            [("PCMU", 0, 8000), ("PCMA", 8, 8000)],
        )
