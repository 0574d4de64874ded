"""The judge of received audio: what it must hear, and what it must not."""

from __future__ import annotations

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from telephony.media.detectors import heard, tone_level
from telephony.media.levels import FLOOR_DBM0
from tests.media.sounds import Sound, babble, line, mixed, noise, sine, voice

SETS = ((440,), (440, 480), (400, 450), (425,), (350, 440), (480, 620), (1004,), (3000,))
TONES = (350, 400, 425, 440, 480, 600, 620, 1004)


def tones(frequencies: tuple[int, ...], level: float, seconds: float, phase: float = 0.3) -> Sound:
    """Return the sum of sines, each of that level."""
    return np.sum([sine(one, level, seconds, phase * (i + 1)) for i, one in enumerate(frequencies)], axis=0)


class HeardTests(SynchronousTestCase):
    def check(self, wave: Sound, frequencies: tuple[int, ...], start: float, seconds: float, level: float,
              edge: float = 0.006, decibels: float = 0.5, codec: str | None = "PCMA") -> None:  # fmt: skip
        """Assert that exactly one interval is heard, and where and how loud."""
        found = heard(line(wave, codec), frequencies)
        self.assertEqual(len(found), 1, (frequencies, found))
        self.assertApproximates(found[0].start_s, start, edge)
        self.assertApproximates(found[0].end_s, start + seconds, edge)
        for one in found[0].levels:
            self.assertApproximates(one, level, decibels)
        self.assertApproximates(found[0].level_dbm0, level + 10 * np.log10(len(frequencies)), decibels)

    def test_lengths_levels_and_laws(self) -> None:
        """Edges within 6 ms and levels within half a dB, from a tenth of a second on, -40 to -4 dBm0, both laws."""
        random = np.random.default_rng(1)
        for frequencies in SETS:
            for codec in ("PCMA", "PCMU", None):
                for level in (-6, -15, -25, -40):
                    for seconds in (0.1, 0.225, 1.0):
                        start = random.uniform(0.2, 0.3)
                        wave = mixed(seconds + 0.6, (start, tones(frequencies, level, seconds, random.uniform(0, 6))))
                        self.check(wave, frequencies, start, seconds, level, codec=codec)

    def test_in_noise(self) -> None:
        """With white noise 6 dB below, and speech-like noise 10 dB below, within 20 ms and 1 dB."""
        for seed, frequencies in enumerate(SETS * 2):
            tone = tones(frequencies, -15, 0.5)
            self.check(mixed(1.2, (0.3, tone), (0, noise(seed, -21, 1.2))), frequencies, 0.3, 0.5, -15, 0.02, 1.0)
            self.check(mixed(1.2, (0.3, tone), (0, babble(seed, -25, 1.2))), frequencies, 0.3, 0.5, -15, 0.02, 1.0)

    def test_beside_another_tone(self) -> None:
        """A second tone all the time, from 40 Hz away and up to 15 dB louder, changes nothing."""
        for other, level in ((600, -15), (600, 0), (385, -15), (530, -10), (2500, -3)):
            wave = mixed(1.2, (0.3, sine(440, -15, 0.5)), (0, sine(other, level, 1.2)))
            self.check(wave, (440,), 0.3, 0.5, -15)

    def test_between_other_tones(self) -> None:
        """Another tone right before and behind, as when a call changes hands, ends at the seam."""
        for other in (600, 1004):
            wave = mixed(1.2, (0, sine(other, -10, 0.3)), (0.3, sine(440, -15, 0.5)), (0.8, sine(other, -10, 0.4)))
            self.check(wave, (440,), 0.3, 0.5, -15)
            found = heard(line(wave), other)
            self.assertEqual([(round(one.start_s, 2), round(one.end_s, 2)) for one in found], [(0, 0.3), (0.8, 1.2)])

    def test_whole_piece(self) -> None:
        """A tone from the first sample to the last is heard from the first to the last."""
        self.check(sine(440, -15, 1), (440,), 0, 1, -15)

    def test_a_lost_packet(self) -> None:
        """One packet of silence doesn't end a tone; four in a row do."""
        wave = sine(440, -15, 1)
        wave[4000:4160] = 0
        self.check(wave, (440,), 0, 1, -15)
        wave[4000:4640] = 0
        self.assertEqual(
            [(round(one.start_s, 2), round(one.end_s, 2)) for one in heard(line(wave), 440)], [(0, 0.5), (0.58, 1)]
        )

    def test_a_new_phase(self) -> None:
        """A tone that starts anew in the middle (another source of the same) is heard as one or as two that touch."""
        found = heard(line(mixed(1, (0, sine(440, -15, 0.5, 0)), (0.5, sine(440, -15, 0.5, 2)))), 440)
        self.assertApproximates(found[0].start_s, 0, 0.01)
        self.assertApproximates(found[-1].end_s, 1, 0.01)
        self.assertLess(sum(one.seconds for one in found), 1.01)

    def test_cadence(self) -> None:
        """Every burst of a cadence, with its own times."""
        wave = mixed(5, *[(at, tones((400, 450), -19, 0.4)) for at in (0.1, 0.7, 3.1, 3.7)])
        found = heard(line(wave), (400, 450))
        self.assertEqual([round(one.start_s, 1) for one in found], [0.1, 0.7, 3.1, 3.7])
        self.assertTrue(all(abs(one.seconds - 0.4) < 0.01 for one in found))

    def test_short_tones(self) -> None:
        """A key press of 50 ms is heard when asked for; it isn't without."""
        wave = mixed(0.5, (0.2, tones((697, 1209), -10, 0.05)))
        (found,) = heard(line(wave), (697, 1209), minimum=0.05)
        self.assertApproximates(found.start_s, 0.2, 0.01)
        self.assertApproximates(found.end_s, 0.25, 0.01)
        self.assertEqual(heard(line(wave), (697, 1209)), [])

    def test_noise_is_no_tone(self) -> None:
        """Speech-like, white and faint noise, and silence of both laws: nothing."""
        for seed in range(8):
            for wave in (babble(seed, -15, 5), noise(seed, -20, 5), noise(seed, -60, 5)):
                for frequency in TONES:
                    self.assertEqual(heard(line(wave), frequency), [])
        for codec in ("PCMA", "PCMU", None):
            self.assertEqual(heard(line(np.zeros(8000), codec), 440), [])

    def test_a_voice_is_no_tone(self) -> None:
        """Harmonics of a voice pass every frequency there is; its pitch moves, and nothing is heard for long."""
        for seed in range(6):
            pcm = line(voice(seed, -15, 6))
            for frequency in TONES:
                self.assertEqual(heard(pcm, frequency, minimum=0.3), [])
            self.assertEqual(heard(pcm, (440, 480)), [])

    def test_neighbours(self) -> None:
        """Another plan's tone isn't this one: 10 Hz away, or one of two components wrong."""
        for played, asked in (
            ((430,), (440,)),
            ((450,), (440,)),
            ((400, 450), (425,)),
            ((400, 450), (440,)),
            ((440, 480), (450,)),
            ((440, 620), (440, 480)),
            ((425,), (400, 450)),
            ((1004,), (1020,)),
        ):
            self.assertEqual(heard(line(tones(played, -15, 2)), asked), [], (played, asked))

    def test_shadows_of_the_codec(self) -> None:
        """G.711 makes harmonics of a pure tone, 35 dB below it: they are no tones."""
        for frequency in (200, 400, 500):
            for codec in ("PCMA", "PCMU"):
                pcm = line(sine(frequency, -3, 2), codec)
                for times in range(2, 3900 // frequency):
                    self.assertEqual(heard(pcm, frequency * times), [])

    def test_threshold(self) -> None:
        """Below the threshold there is nothing; it can be moved."""
        pcm = line(sine(440, -55, 1), None)
        self.assertEqual(heard(pcm, 440), [])
        self.assertEqual(len(heard(pcm, 440, threshold_dbm0=-60)), 1)

    def test_odd_input(self) -> None:
        """No samples and a few are no tone; a frequency that can't be is a ValueError."""
        for samples in (0, 1, 39, 40, 41, 100, 400):
            self.assertEqual(heard(np.ones(samples, np.int16), 440), [])
        for bad in ((), (0,), (4000,), (-440,)):
            self.assertRaises(ValueError, heard, np.zeros(800, np.int16), bad)


class ToneLevelTests(SynchronousTestCase):
    def test_level(self) -> None:
        """Right within 0.2 dB in both laws, for any phase, from a frame of 20 ms to a second."""
        for codec in ("PCMA", "PCMU"):
            for seconds in (0.02, 0.1, 1.0):
                for phase in (0, 1, 2, 3):
                    for level in (-3, -20, -35):
                        pcm = line(sine(1004, level, seconds, phase), codec)
                        self.assertApproximates(tone_level(pcm, 1004), level, 0.2)

    def test_other_tones_count_for_nothing(self) -> None:
        """From 80 Hz away in a frame of 50 ms."""
        pcm = line(mixed(0.05, (0, sine(600, -10, 0.05)), (0, sine(1004, -20, 0.05))))
        self.assertApproximates(tone_level(pcm, 600), -10, 0.2)
        self.assertApproximates(tone_level(pcm, 1004), -20, 0.2)
        self.assertLess(tone_level(pcm, 800), -50)

    def test_many_at_once(self) -> None:
        """Architecture rule 9: rows of frames give a row of levels."""
        rows = np.stack([line(sine(440, level, 0.1)) for level in (-10, -20)])
        self.assertEqual([round(float(one)) for one in tone_level(rows, 440)], [-10, -20])
        self.assertEqual(tone_level(np.zeros(0, np.int16), 440), FLOOR_DBM0)
