"""Levels in dBm0: ITU-T G.711 section 5."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs.g711 import decode_alaw, decode_ulaw
from telephony.media.levels import FLOOR_DBM0, is_silence, level_dbm0, peak_of
from tests.media.sounds import line, noise, sine

#: G.711 tables 5 and 6: the character signals that decode to 1 kHz at 0 dBm0.
MILLIWATT_ALAW = bytes.fromhex("34 21 21 34 b4 a1 a1 b4")
MILLIWATT_ULAW = bytes.fromhex("1e 0b 0b 1e 9e 8b 8b 9e")


class LevelTests(SynchronousTestCase):
    def test_the_digital_milliwatt(self) -> None:
        """G.711 section 5, tables 5 and 6: the reference signals of both laws are 0 dBm0."""
        self.assertApproximates(level_dbm0(decode_alaw(MILLIWATT_ALAW)), 0.0, 0.08)
        self.assertApproximates(level_dbm0(decode_ulaw(MILLIWATT_ULAW)), 0.0, 0.08)

    def test_sines(self) -> None:
        """A sine has the level it is made with; one that fills the scale is +3.14 dBm0."""
        for level in (3.1, 0, -20, -45, -60):
            self.assertApproximates(level_dbm0(line(sine(1004, level, 1), None)), level, 0.1)
        self.assertApproximates(peak_of(3.14), 32768, 1)

    def test_nothing(self) -> None:
        """Digital silence and no samples at all are the floor, not minus infinity."""
        self.assertEqual(level_dbm0(np.zeros(160, np.int16)), FLOOR_DBM0)
        self.assertEqual(level_dbm0(np.zeros(0, np.int16)), FLOOR_DBM0)

    def test_many_at_once(self) -> None:
        """Architecture rule 9: rows of frames give a row of levels and of decisions."""
        frames = np.stack([line(sine(440, level, 0.02, 0)) for level in (-10, -40, -70)])
        self.assertEqual([round(float(one)) for one in level_dbm0(frames)][:2], [-10, -40])
        self.assertEqual(is_silence(frames).tolist(), [False, False, True])
        self.assertEqual(level_dbm0(frames[:, :0]).tolist(), [FLOOR_DBM0] * 3)

    def test_silence(self) -> None:
        """Silence of both laws and faint noise are silence; soft speech isn't; the threshold can be moved."""
        self.assertIs(is_silence(decode_alaw(b"\xd5" * 160)), True)
        self.assertIs(is_silence(decode_ulaw(b"\xff" * 160)), True)
        self.assertTrue(is_silence(line(noise(1, -60, 0.02))))
        self.assertFalse(is_silence(line(noise(1, -35, 0.02))))
        self.assertTrue(is_silence(line(noise(1, -35, 0.02)), -30))
