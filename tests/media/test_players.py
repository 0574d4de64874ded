"""What a leg can hear: clips, tones, keys (api.md section 6; RFC 4733)."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs.g711 import ALAW_TO_ULAW, decode_alaw, encode_alaw, encode_ulaw
from telephony.media.players import AudioSource, Clip, DigitsSource, ToneSource, dtmf_audio
from telephony.rtp.telephone_event import PressDetector, parse_event
from tests.media.fakes import Legs


def ramp(samples: int) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    """Return audio of which no two frames are alike."""
    return (np.arange(samples) * 37 % 20000 - 10000).astype(np.int16)


class ClipTests(SynchronousTestCase):
    def test_encoded_once(self) -> None:
        """Each law is made once, and shared."""
        pcm = ramp(1000)
        clip = Clip(pcm)
        self.assertEqual(clip.encoded("PCMA"), encode_alaw(pcm))
        self.assertEqual(clip.encoded("PCMU"), encode_ulaw(pcm))
        self.assertIs(clip.encoded("PCMU"), clip.encoded("PCMU"))
        self.assertEqual((clip.samples, clip.size), (1000, 2000))

    def test_another_law_later(self) -> None:
        """A law that wasn't asked for at first is translated."""
        clip = Clip(ramp(100), ("PCMA",))
        self.assertEqual(clip.size, 100)
        self.assertEqual(clip.encoded("PCMU"), clip.encoded("PCMA").translate(ALAW_TO_ULAW))


class PlayersCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.legs = Legs()
        self.done: list[str] = []

    def tearDown(self) -> None:
        self.assertEqual(self.legs.end(), [])

    def play(self, source: object, seconds: float, **changes: object) -> bytes:
        """Play to a fresh leg; return all the audio it got."""
        self.leg = self.legs.leg(**changes)
        self.leg.endpoint.play(source, lambda: self.done.append("over"))  # type: ignore[arg-type]
        self.legs.run(seconds)
        return b"".join(one.payload for one in self.leg.heard if one.payload_type in (0, 8))


class AudioSourceTests(PlayersCase):
    def test_to_its_end(self) -> None:
        """All of it, in order, the last frame filled with silence; then it is over."""
        clip = Clip(ramp(400))
        heard = self.play(AudioSource(clip), 0.1)
        self.assertEqual(heard, clip.encoded("PCMA") + b"\xd5" * 400)
        self.assertEqual(self.done, ["over"])

    def test_whole_frames(self) -> None:
        """A clip of whole frames is over in the turn after its last."""
        clip = Clip(ramp(320))
        self.assertEqual(self.play(AudioSource(clip), 0.04), clip.encoded("PCMA"))
        self.assertEqual(self.done, [])
        self.legs.run(0.02)
        self.assertEqual(self.done, ["over"])

    def test_from_the_middle(self) -> None:
        """It may begin anywhere, and in any law and length of packets."""
        clip = Clip(ramp(1000))
        heard = self.play(AudioSource(clip, 200), 0.12, ptime=30, codec="PCMU", payload_type=0)
        self.assertEqual(heard[:800], clip.encoded("PCMU")[200:])

    def test_nothing(self) -> None:
        """A clip without audio is over at once."""
        self.assertEqual(self.play(AudioSource(Clip(ramp(0))), 0.02), b"\xd5" * 160)
        self.assertEqual(self.done, ["over"])


class Loop:
    """A tone of any length."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def encoded(self, codec: str) -> bytes:
        return self.data


class ToneSourceTests(PlayersCase):
    def test_for_some_time(self) -> None:
        """A tone may have an end, at a frame's edge."""
        heard = self.play(ToneSource(Loop(b"\x01"), 0.06), 0.1)
        self.assertEqual(heard, b"\x01" * 480 + b"\xd5" * 320)
        self.assertEqual(self.done, ["over"])

    def test_any_loop(self) -> None:
        """Whatever its length, shorter or longer than a frame, the loop has no seam."""
        for size in (1, 7, 160, 161, 480, 1000):
            loop = bytes(n % 251 for n in range(size))
            heard = self.play(ToneSource(Loop(loop)), 0.2)
            self.assertEqual(heard, (loop * (1600 // size + 1))[:1600])


class DigitsSourceTests(PlayersCase):
    def events(self) -> list[tuple[int, int, int, bool, bool]]:
        """Of each event packet: turn, event, duration, end and marker."""
        return [
            (n, (event := parse_event(one.payload)).event, event.duration, event.end, one.marker)
            for n, one in enumerate(self.leg.heard)
            if one.payload_type == 101
        ]

    def test_one_key(self) -> None:
        """100 ms in packets of 20 ms, one timestamp, marker first, three end packets, no audio during it."""
        self.play(DigitsSource("5"), 0.3)
        self.assertEqual(
            self.events(),
            [
                (0, 5, 160, False, True),
                (1, 5, 320, False, False),
                (2, 5, 480, False, False),
                (3, 5, 640, False, False),
                (4, 5, 800, True, False),
                (5, 5, 800, True, False),
                (6, 5, 800, True, False),
            ],
        )
        packets = self.leg.heard
        self.assertEqual(len({one.timestamp for one in packets[:7]}), 1)
        self.assertEqual((packets[7].timestamp - packets[0].timestamp) & 0xFFFFFFFF, 7 * 160)
        self.assertEqual([(one.sequence - packets[0].sequence) & 0xFFFF for one in packets], list(range(15)))
        self.assertEqual(self.done, ["over"])

    def test_several(self) -> None:
        """Each press has its own timestamp, with a pause of audio between; a comma is half a second."""
        pressed: list[str] = []
        self.play(DigitsSource("1d,1#", pressed.append), 2.0)
        starts = [n for n, _, _, _, marker in self.events() if marker]
        self.assertEqual([b - a for a, b in itertools.pairwise(starts)], [12, 12 + 25, 12])
        presses = PressDetector()
        told = [presses.feed(1, one.timestamp, one.payload) for one in self.leg.heard if one.payload_type == 101]
        self.assertEqual("".join(one or "" for one in told), "1D1#")
        self.assertEqual("".join(pressed), "1D1#")
        self.assertEqual(self.done, ["over"])
        self.assertEqual(len(self.leg.heard), 100)

    def test_packets_of_30_ms(self) -> None:
        """The event keeps the leg's cadence, and lasts 100 ms at least."""
        self.play(DigitsSource("0"), 0.3, ptime=30)
        self.assertEqual([duration for _, _, duration, _, _ in self.events()], [240, 480, 720, 960, 960, 960])

    def test_as_tones(self) -> None:
        """A leg that takes no events hears the two tones of Q.23 for 100 ms."""
        heard = self.play(DigitsSource("5,6"), 1.2, event_payload_type=None)
        self.assertEqual(heard[:800], dtmf_audio("5").encoded("PCMA"))
        self.assertEqual(heard[800 : 800 + 800 + 4000], b"\xd5" * 4800)
        self.assertEqual(heard[5600:6400], dtmf_audio("6").encoded("PCMA"))
        self.assertEqual(self.done, ["over"])

    def test_the_two_tones(self) -> None:
        """Q.23's frequencies of each key, each at -10 dBm0, and nothing else."""
        for digit, low, high in (("1", 697, 1209), ("A", 697, 1633), ("0", 941, 1336), ("#", 941, 1477)):
            pcm = decode_alaw(dtmf_audio(digit).encoded("PCMA")).astype(float)
            time = np.arange(len(pcm)) / 8000
            for frequency in (low, high):
                peak = 2 * abs(np.mean(pcm * np.exp(-2j * np.pi * frequency * time)))
                self.assertLess(abs(20 * np.log10(peak / 32768) + 3.14 + 10), 0.5)
            for frequency in (350, 1050, 2000, 3000):
                peak = 2 * abs(np.mean(pcm * np.exp(-2j * np.pi * frequency * time)))
                self.assertLess(20 * np.log10(peak / 32768), -35)

    def test_held_in_mid_key(self) -> None:
        """While the leg is held nothing goes out; the keys take their time."""
        self.play(DigitsSource("12"), 0.1)
        self.leg.renew(send=False)
        self.legs.run(0.4)
        self.assertEqual((len(self.leg.heard), self.done), (5, ["over"]))

    def test_no_keys(self) -> None:
        """Anything else is refused before anything is sent."""
        for digits in ("x", "1 2", "12;", "é"):
            self.assertRaises(ValueError, DigitsSource, digits)

    @settings(deadline=None, max_examples=40)
    @given(st.text("0123456789ABCD*#,", max_size=8), st.sampled_from((10, 20, 30, 40, 60)), st.booleans())
    def test_any_keys(self, digits: str, ptime: int, events: bool) -> None:
        """All keys arrive, once each and in order, and the stream keeps its time (I10)."""
        legs = Legs()
        leg = legs.leg(ptime=ptime, event_payload_type=101 if events else None)
        leg.endpoint.play(DigitsSource(digits), lambda: done.append(1))
        done: list[int] = []
        legs.run(8 * 0.6)
        self.assertEqual(done, [1])
        if events:
            presses = PressDetector()
            told = [presses.feed(1, one.timestamp, one.payload) for one in leg.heard if one.payload_type == 101]
            self.assertEqual("".join(one or "" for one in told), digits.replace(",", ""))
        self.assertLessEqual(abs(len(leg.heard) - 4800 / ptime), 1)
        self.assertEqual(legs.end(), [])
