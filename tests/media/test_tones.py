"""Tones and the tone manager: ``api.md`` section 6."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs.g711 import decode_alaw, decode_ulaw
from telephony.errors import Error
from telephony.media.detectors import heard, tone_level
from telephony.media.levels import level_dbm0
from telephony.media.tones import PredefinedTones, ToneManager, predefined

SILENT = {"frequency": 0, "amplitude": 0}


def component(frequency: int, amplitude: int) -> dict[str, Any]:
    """Return a component as an application writes it."""
    return {"frequency": frequency, "amplitude": amplitude}


def timing(duration: int, add: str = "summation") -> dict[str, Any]:
    """Return a timing as an application writes it."""
    return {"duration": duration, "add": add}


def made(*info: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> np.ndarray:
    """Return the loop of a tone of one's own."""
    manager = ToneManager()
    manager.create_tone(list(info), "mine")
    return manager.find("mine").pcm


class PredefinedTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Section 6: RINGBACK, RINGBACK_UK, RINGBACK_EU and the dial, busy and congestion tones of the same plans."""
        self.assertEqual(
            [str(tone) for tone in ToneManager.PredefinedTones],
            [f"{kind}{plan}" for kind in ("RINGBACK", "DIAL", "BUSY", "CONGESTION") for plan in ("", "_UK", "_EU")],
        )
        self.assertEqual(len({predefined(tone).name for tone in PredefinedTones}), 12)

    def test_what_is_heard(self) -> None:
        """E.180: frequencies, cadences and levels of every plan, as a line with A-law gives them."""
        plans: dict[PredefinedTones, tuple[tuple[int, ...], list[float], float]] = {
            PredefinedTones.RINGBACK: ((440, 480), [0, 2, 6, 8], -19),
            PredefinedTones.RINGBACK_UK: ((400, 450), [0, 0.4, 0.6, 1.0, 3.0, 3.4, 3.6, 4.0], -19),
            PredefinedTones.RINGBACK_EU: ((425,), [0, 1, 5, 6], -16),
            PredefinedTones.DIAL: ((350, 440), [0, 9], -13),
            PredefinedTones.DIAL_UK: ((350, 440), [0, 9], -16),
            PredefinedTones.DIAL_EU: ((425,), [0, 9], -13),
            PredefinedTones.BUSY: ((480, 620), [0, 0.5, 1, 1.5], -24),
            PredefinedTones.BUSY_UK: ((400,), [0, 0.375, 0.75, 1.125], -19),
            PredefinedTones.BUSY_EU: ((425,), [0, 0.5, 1, 1.5], -16),
            PredefinedTones.CONGESTION: ((480, 620), [0, 0.25, 0.5, 0.75], -24),
            PredefinedTones.CONGESTION_UK: ((400,), [0, 0.4, 0.75, 0.975], -19),
            PredefinedTones.CONGESTION_EU: ((425,), [0, 0.25, 0.5, 0.75], -16),
        }
        for tone, (frequencies, times, level) in plans.items():
            cycle = predefined(tone)
            self.assertEqual(cycle.frequencies, frequencies)
            pcm = decode_alaw((cycle.encoded("PCMA") * 10)[: 9 * 8000])
            found = heard(pcm, frequencies)
            edges = [edge for interval in found for edge in (interval.start_s, interval.end_s)]
            for edge, expected in zip(edges, times, strict=False):
                self.assertApproximates(edge, expected, 0.01, str(tone))
            self.assertGreaterEqual(len(edges), len(times))
            for one in found[0].levels:
                self.assertApproximates(one, level, 0.3, str(tone))

    def test_encoded_once(self) -> None:
        """Architecture rule 8: nothing is encoded in a tick; the loop of a codec is one object, a byte a sample."""
        cycle = predefined(PredefinedTones.RINGBACK_UK)
        self.assertIs(cycle.encoded("PCMU"), cycle.encoded("PCMU"))
        self.assertEqual(len(cycle.encoded("PCMA")), len(cycle.pcm))
        self.assertApproximates(level_dbm0(decode_ulaw(cycle.encoded("PCMU"))), level_dbm0(cycle.pcm), 0.1)
        self.assertIs(predefined(PredefinedTones.RINGBACK_UK), cycle)
        self.assertRaises(ValueError, cycle.pcm.__setitem__, 0, 1)


class ManagerTests(SynchronousTestCase):
    def test_finding(self) -> None:
        """Section 5.1: a tone is a name or a member known to the manager; else `Error`."""
        manager = ToneManager()
        self.assertIs(manager.find(PredefinedTones.BUSY), predefined(PredefinedTones.BUSY))
        self.assertIs(manager.find("BUSY"), predefined(PredefinedTones.BUSY))
        manager.create_tone([(component(500, 10), SILENT, timing(100))], "hold")
        self.assertEqual(manager.find("hold").name, "hold")
        for unknown in ("HOLD", 7, b"hold", ["hold"]):
            error = self.assertRaises(Error, manager.find, unknown)
            self.assertIn(repr(unknown), str(error))
            self.assertIn("hold", str(error))
        self.assertRaises(Error, ToneManager().find, "hold")

    def test_default(self) -> None:
        """Section 6: the default is RINGBACK until set_default, a class method; it takes predefined tones only."""
        self.addCleanup(ToneManager.set_default, PredefinedTones.RINGBACK)
        self.assertEqual(ToneManager().find(None).name, "RINGBACK")
        earlier = ToneManager()
        ToneManager.set_default(ToneManager.PredefinedTones.RINGBACK_UK)
        self.assertEqual(earlier.find().name, "RINGBACK_UK")
        earlier.set_default("RINGBACK_EU")
        self.assertIs(ToneManager.default(), PredefinedTones.RINGBACK_EU)
        for bad in ("mine", None, 3, "mro"):
            self.assertIn(repr(bad), str(self.assertRaises(Error, ToneManager.set_default, bad)))
        self.assertIs(ToneManager.default(), PredefinedTones.RINGBACK_EU)

    def test_two_components(self) -> None:
        """Section 6: amplitudes are dB below 0 dBm0, a negative number means the same; summation adds."""
        pcm = made((component(600, 20), component(1000, -10), timing(500)), (SILENT, SILENT, timing(500)))
        self.assertEqual(len(pcm), 8000)
        self.assertApproximates(tone_level(pcm[:4000], 600), -20, 0.1)
        self.assertApproximates(tone_level(pcm[:4000], 1000), -10, 0.1)
        self.assertFalse(pcm[4000:].any())

    def test_modulation(self) -> None:
        """Section 6: the second component varies the first; at depth 1 each side band is 6 dB below the carrier."""
        pcm = made((component(1000, 10), component(100, 0), timing(1000, "modulation")))
        for frequency, level in ((1000, -10), (900, -16), (1100, -16)):
            self.assertApproximates(tone_level(pcm, frequency), level, 0.1)
        self.assertLess(tone_level(pcm, 100), -60)
        pcm = made((component(1000, 10), component(100, 20), timing(1000, "modulation")))
        self.assertApproximates(tone_level(pcm, 1100), -36, 0.1)
        self.assertFalse(made((SILENT, component(100, 20), timing(100, "modulation"))).any())

    def test_no_click_at_the_seam(self) -> None:
        """A loop goes on smoothly: its end and its beginning fit like any two neighbours."""

        @settings(deadline=None)
        @given(
            st.integers(1, 3999),
            st.integers(1, 3999),
            st.integers(1, 9999),
            st.sampled_from(["summation", "modulation"]),
        )
        def check(one: int, other: int, duration: int, add: str) -> None:
            pcm = made((component(one, 10), component(other, 16), timing(duration, add)))
            # Sines of bounded frequency can't jump by more than their slope: predict the first from the last ones.
            twice = np.concatenate([pcm, pcm]).astype(float)
            steps = np.abs(np.diff(twice, n=2))
            seam = steps[len(pcm) - 2 : len(pcm)]
            self.assertLessEqual(seam.max(), steps[: len(pcm) - 2].max() * 1.05 + 40 if len(pcm) > 200 else np.inf)
            self.assertLessEqual(len(pcm), 80000)
            self.assertEqual(len(pcm) % (duration * 8), 0)

        check()

    def test_smooth_from_part_to_part(self) -> None:
        """A component that two parts have in common goes on without a click from one to the next."""
        pcm = made((component(333, 10), SILENT, timing(101)), (component(333, 10), SILENT, timing(50))).astype(float)
        slope = np.abs(np.diff(np.concatenate([pcm, pcm]))).max()
        self.assertLess(slope, 22828 * 10**-0.5 * 2 * np.pi * 333 / 8000 * 1.01 + 1)

    def test_loudness_is_cut_at_the_scale(self) -> None:
        """Two components of 0 dBm0 are more than 16 bits can hold: the peaks are cut, nothing wraps round."""
        pcm = made((component(400, 0), component(450, 0), timing(1000)))
        self.assertEqual((pcm.max(), pcm.min()), (32767, -32768))
        self.assertGreater(tone_level(pcm, 400), -2)

    def test_what_no_call_can_carry(self) -> None:
        """Section 6 allows up to 9999 Hz; from 4000 Hz on 8 kHz audio has nothing there, and the log says so."""
        lines: list[str] = []

        class Log:
            def warning(self, text: str) -> None:
                lines.append(text)

        manager = ToneManager(Log())
        manager.create_tone([(component(4000, 0), component(9999, 0), timing(100))], "bat")
        self.assertFalse(manager.find("bat").pcm.any())
        self.assertIn("'bat'", lines[0])

    def test_bad_arguments(self) -> None:
        """Section 3: argument mistakes are `Error` at the call, naming the value and what would be right."""
        good = component(440, 10)
        for info, words in (
            ([], ("[]",)),
            ("tone", ("'tone'",)),
            (None, ("None",)),
            ([(good, good)], ("tone_info[0]", "3-tuple")),
            ([7], ("tone_info[0]=7",)),
            ([(good, good, timing(100)), (good, 5, timing(1))], ("tone_info[1][1]=5", "frequency")),
            ([(good, {"frequency": 1}, timing(1))], ("amplitude",)),
            ([({**good, "phase": 1}, good, timing(1))], ("phase",)),
            ([(component(10000, 0), good, timing(1))], ("10000", "9999")),
            ([(component(-1, 0), good, timing(1))], ("-1", "from 0 to 9999")),
            ([(component(440.5, 0), good, timing(1))], ("440.5",)),  # type: ignore[arg-type]
            ([(component(True, 0), good, timing(1))], ("True",)),
            ([(component(440, 100), good, timing(1))], ("100", "from 0 to 99")),
            ([(component(440, -100), good, timing(1))], ("-100",)),
            ([(good, good, timing(10000))], ("10000", "duration")),
            ([(good, good, timing(-1))], ("-1",)),
            ([(good, good, timing(0))], ("duration", "above 0")),
            ([(good, good, timing(1, "addition"))], ("'addition'", "summation, modulation")),
            ([(good, good, timing(1))] * 33, ("33", "32")),
        ):
            error = self.assertRaises(Error, ToneManager().create_tone, info, "mine")
            for word in words:
                self.assertIn(word, str(error))
        for name in ("", None, 7, "RINGBACK"):
            error = self.assertRaises(Error, ToneManager().create_tone, [(good, good, timing(1))], name)
            self.assertIn(repr(name), str(error))

    def test_replaced(self) -> None:
        """The last tone made under a name is the one that is played; a failed one changes nothing."""
        manager = ToneManager()
        manager.create_tone([(component(500, 10), SILENT, timing(100))], "mine")
        manager.create_tone([(component(600, 10), SILENT, timing(100))], "mine")
        self.assertRaises(Error, manager.create_tone, [], "mine")
        self.assertEqual(manager.find("mine").frequencies, (600,))
