"""Two legs that hear each other (I5, I10, R24, R25, R27, R28, R33 of transfer.md)."""

import gc
import weakref

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs.g711 import ALAW_TO_ULAW, ULAW_TO_ALAW
from telephony.media.join import Join
from telephony.media.players import ToneSource, dtmf_audio
from telephony.rtp.telephone_event import PressDetector, TelephoneEvent
from tests.media.fakes import Ear, Leg, Legs


class Loop:
    """A tone whose every byte is the same."""

    def __init__(self, byte: int) -> None:
        self.byte = byte

    def encoded(self, codec: str) -> bytes:
        return bytes((self.byte,)) * 160


class JoinCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.legs = Legs()

    def tearDown(self) -> None:
        self.assertEqual(self.legs.end(), [])

    def talk(self, leg: Leg, sequences: range, size: int = 160, **packet: object) -> None:
        """Let a phone talk in packets of ``size`` samples, each full of its number."""
        for n in sequences:
            leg.say(n, bytes((n & 0x7F,)) * size, timestamp=n * size, **packet)
            self.legs.run(size / 8000)


class JoinTests(JoinCase):
    def setUp(self) -> None:
        super().setUp()
        self.a, self.b = self.legs.leg(), self.legs.leg()

    def test_both_ways_at_once(self) -> None:
        """R28: with one codec a packet goes out when it comes in, as it came but for the header."""
        Join(self.a.endpoint, self.b.endpoint)
        self.legs.run(0.011)
        self.a.say(5, b"from a" * 26 + b"1234")
        self.b.say(9, b"from b" * 26 + b"1234")
        self.assertEqual(self.b.heard[-1].payload[:6], b"from a")
        self.assertEqual(self.a.heard[-1].payload[:6], b"from b")
        self.assertEqual((self.a.heard[-1].ssrc, self.b.heard[-1].ssrc), (self.a.rtp.ssrc, self.b.rtp.ssrc))

    def test_the_first_packet(self) -> None:
        """Up to the first packet of the other there is silence, then it; the stream does not break (I5)."""
        Join(self.a.endpoint, self.b.endpoint)
        self.legs.run(0.1)
        self.talk(self.a, range(1, 6))
        self.assertEqual(self.b.bytes_heard(), [0xD5] * 5 + [1, 2, 3, 4, 5])
        self.assertTrue(self.b.unbroken())
        self.assertTrue(self.b.heard[5].marker)

    def test_cut(self) -> None:
        """Cut, each has its own source again within one turn, numbers and timestamps going on (retrieval)."""
        join = Join(self.a.endpoint, self.b.endpoint)
        self.talk(self.a, range(1, 6))
        join.cut()
        join.cut()
        self.talk(self.a, range(6, 8))
        self.legs.run(0.06)
        self.assertEqual(self.b.bytes_heard(), [1, 2, 3, 4, 5] + [0xD5] * 5)
        self.assertTrue(self.b.unbroken())
        self.assertTrue(self.b.heard[5].marker)

    def test_ringback_gives_way(self) -> None:
        """R33: the tone goes on until the first packet, and is never heard together with it, nor after it."""
        heard: list[str] = []
        self.a.endpoint.play(ToneSource(Loop(0x22)), lambda: heard.append("finished"))
        Join(self.a.endpoint, self.b.endpoint, both=False, first_packet=lambda: heard.append("first"))
        self.legs.run(0.1)
        self.talk(self.b, range(1, 4))
        self.assertEqual(self.a.bytes_heard(), [0x22] * 5 + [1, 2, 3])
        self.assertEqual(heard, ["first"])
        self.assertFalse(self.a.endpoint.playing)

    def test_one_way(self) -> None:
        """Early media: the caller hears the target, the target hears silence of its own."""
        Join(self.a.endpoint, self.b.endpoint, both=False)
        self.talk(self.a, range(1, 4))
        self.talk(self.b, range(1, 4))
        self.assertEqual(self.a.bytes_heard()[3:], [1, 2, 3])
        self.assertEqual(set(self.b.bytes_heard()), {0xD5})

    def test_made_at_the_first_packet(self) -> None:
        """A join that is made when the first packet is told of passes that very packet on."""
        joins: list[Join] = []
        self.b.endpoint.on_first_packet = lambda: joins.append(Join(self.a.endpoint, self.b.endpoint, both=False))
        self.b.say(1)
        self.assertEqual(self.a.bytes_heard(), [1])

    def test_ended_at_the_first_packet(self) -> None:
        """The owner may cut the join in that very moment: nothing goes out."""
        join = Join(self.a.endpoint, self.b.endpoint, first_packet=lambda: join.cut())
        self.b.say(1)
        self.legs.run(0.04)
        self.assertEqual(self.a.bytes_heard(), [0xD5, 0xD5])

    def test_each_once(self) -> None:
        """I10: each accepted packet goes out once, in its order; duplicates don't."""
        Join(self.a.endpoint, self.b.endpoint)
        for n in (1, 2, 2, 4, 3, 3, 5):
            self.a.say(n)
        by_number = sorted(zip(self.b.shape(), self.b.bytes_heard(), strict=True))
        self.assertEqual([byte for _, byte in by_number], [1, 2, 3, 4, 5])
        self.assertEqual([shape for shape, _ in by_number], [(n, n * 160) for n in range(5)])

    def test_loss_stays_loss(self) -> None:
        """A packet that never came leaves its number and its time out."""
        Join(self.a.endpoint, self.b.endpoint)
        for n in (1, 2, 5):
            self.a.say(n)
        self.assertEqual(self.b.shape(), [(0, 0), (1, 160), (4, 640)])

    def test_a_new_ssrc(self) -> None:
        """R22: another stream of the far side goes on in ours without a break."""
        Join(self.a.endpoint, self.b.endpoint)
        self.talk(self.a, range(1, 4))
        self.talk(self.a, range(30001, 30004), ssrc=5)
        self.assertEqual(self.b.bytes_heard(), [1, 2, 3] + [n & 0x7F for n in range(30001, 30004)])
        self.assertTrue(self.b.unbroken())

    def test_another_law(self) -> None:
        """R28: A-law and mu-law are changed into each other byte by byte."""
        c = self.legs.leg(codec="PCMU", payload_type=0)
        Join(self.a.endpoint, c.endpoint)
        voice = bytes(range(160))
        self.a.say(1, voice)
        c.say(1, voice, payload_type=0)
        self.assertEqual((c.heard[-1].payload_type, c.heard[-1].payload), (0, voice.translate(ALAW_TO_ULAW)))
        self.assertEqual((self.a.heard[-1].payload_type, self.a.heard[-1].payload), (8, voice.translate(ULAW_TO_ALAW)))

    def test_a_law_for_each_direction(self) -> None:
        """A phone may send another law than it asked for, if we said we take it: told by its payload type."""
        Join(self.a.endpoint, self.b.endpoint)
        self.a.say(1, bytes(range(160)), payload_type=0)
        self.assertEqual(self.b.heard[-1].payload, bytes(range(160)).translate(ULAW_TO_ALAW))

    def test_hold(self) -> None:
        """R24, R25: to a held leg nothing goes; the other hears silence; resume restores both, unbroken."""
        Join(self.a.endpoint, self.b.endpoint)
        self.legs.run(0.1)
        for n in range(1, 6):
            self.a.say(n)
            self.b.say(n)
            self.legs.run(0.02)
        self.a.renew(send=False, receive=False)
        had = len(self.a.heard)
        for n in range(6, 56):
            self.a.say(n)  # a phone that goes on talking isn't heard
            self.b.say(n)
            self.legs.run(0.02)
        self.assertEqual(len(self.a.heard), had)
        self.assertEqual(self.a.rtp.statistics.dropped_held, 50)
        self.assertEqual(self.a.rtp.statistics.dropped_direction, 50)
        self.assertEqual(set(self.b.bytes_heard()[10:]), {0xD5})
        self.assertTrue(self.b.unbroken())
        self.a.renew()
        for n in range(56, 60):
            self.a.say(n)
            self.b.say(n)
            self.legs.run(0.02)
        self.assertEqual(self.a.bytes_heard(had), [56, 57, 58, 59])
        self.assertEqual(self.b.bytes_heard()[-4:], [56, 57, 58, 59])
        self.assertTrue(self.b.unbroken())
        sequence, timestamp = self.a.shape()[had]
        self.assertEqual(sequence, had)
        self.assertLessEqual(abs(timestamp - (had + 50) * 160), 160)

    def test_hold_audio(self) -> None:
        """R24: what is played to the other leg is heard while this one is held, and gives way when it resumes."""
        Join(self.a.endpoint, self.b.endpoint)
        self.talk(self.a, range(1, 4))
        self.a.renew(receive=False)
        self.b.endpoint.play(ToneSource(Loop(0x33)))
        self.legs.run(0.1)
        self.a.renew()
        self.talk(self.a, range(4, 7))
        self.assertEqual(self.b.bytes_heard(), [1, 2, 3] + [0x33] * 5 + [4, 5, 6])
        self.assertTrue(self.b.unbroken())

    def test_a_phone_that_pauses(self) -> None:
        """A phone that sends nothing for long (silence suppression) leaves no hole: the other hears silence (I5)."""
        Join(self.a.endpoint, self.b.endpoint)
        self.talk(self.a, range(1, 4))
        self.legs.run(2.0)
        count = len(self.b.heard)
        self.assertGreater(count, 70)
        self.a.say(4, timestamp=4 * 160 + 16000)
        self.assertEqual(self.b.bytes_heard()[-1], 4)
        self.assertEqual(self.b.shape()[-1][0], count)
        self.assertLessEqual(abs(self.b.shape()[-1][1] - 103 * 160), 160)
        self.assertTrue(self.b.heard[-1].marker)

    def test_a_process_held_up(self) -> None:
        """Whoever talks is heard after the process was held up for longer than a pause is: no silence comes between."""
        Join(self.a.endpoint, self.b.endpoint)
        self.talk(self.a, range(1, 4))
        self.legs.wire.clock.advance(0.8)  # nothing runs meanwhile: turns first, then what waits in the sockets
        for n in range(4, 44):
            self.a.say(n)
        self.talk(self.a, range(44, 46))
        self.assertEqual(self.b.bytes_heard(), [*range(1, 46)])
        self.assertTrue(self.b.unbroken())
        self.assertEqual([one.marker for one in self.b.heard].count(True), 1)

    def test_listeners_go_on(self) -> None:
        """A recording that was begun before goes on over the join, with both directions."""
        said, heard = Ear(), Ear()
        self.a.endpoint.listen(said)
        self.a.endpoint.listen_sent(heard)
        self.legs.run(0.02)
        join = Join(self.a.endpoint, self.b.endpoint)
        for n in range(1, 6):
            self.a.say(n)
            self.b.say(n + 32)
            self.legs.run(0.02)
        join.cut()
        self.legs.run(0.1)
        self.assertEqual([one for one in said.bytes_heard() if one != 0xD5], [1, 2, 3, 4, 5])
        self.assertEqual([one for one in heard.bytes_heard() if one != 0xD5], [33, 34, 35, 36, 37])
        self.assertEqual(len(said.frames), len(heard.frames))

    def test_another_join(self) -> None:
        """A leg that is joined with a third one leaves the second."""
        c = self.legs.leg()
        first = Join(self.a.endpoint, self.b.endpoint)
        Join(self.a.endpoint, c.endpoint)
        self.talk(self.a, range(1, 3))
        self.assertEqual((self.b.bytes_heard(), c.bytes_heard()), ([0xD5, 0xD5], [1, 2]))
        first.cut()
        self.talk(self.a, range(3, 5))
        self.assertEqual(c.bytes_heard(), [1, 2, 3, 4])

    def test_the_end_of_one(self) -> None:
        """When a leg stops, the join is over: the other hears its own source."""
        Join(self.a.endpoint, self.b.endpoint)
        self.talk(self.a, range(1, 3))
        self.a.endpoint.stop()
        self.a.rtp.close()
        self.legs.run(0.06)
        self.b.say(1)
        self.assertEqual(self.b.bytes_heard(), [1, 2, 0xD5, 0xD5, 0xD5])

    def test_with_itself(self) -> None:
        """A leg can't be joined with itself."""
        self.assertRaises(ValueError, Join, self.a.endpoint, self.a.endpoint)

    def test_no_cycles(self) -> None:
        """A cut join is freed at once, without the garbage collector."""

        class Watched(Join):
            __slots__ = ("__weakref__",)

        gc.disable()
        self.addCleanup(gc.enable)
        join = Watched(self.a.endpoint, self.b.endpoint)
        self.talk(self.a, range(1, 3))
        paths = [self.a.endpoint.out, self.a.endpoint.feed]
        gone = weakref.ref(join)
        join.cut()
        del join
        self.assertIsNone(gone())
        self.assertEqual([len(gc.get_referrers(path)) for path in paths], [1, 1])


class RepackingTests(JoinCase):
    def frames(self, leg: Leg, since: int = 0) -> bytes:
        return b"".join(one.payload for one in leg.heard[since:])

    def pair(self, inward: int, outward: int) -> tuple[Leg, Leg]:
        a, b = self.legs.leg(ptime=inward), self.legs.leg(ptime=outward)
        Join(a.endpoint, b.endpoint)
        return a, b

    def test_every_pair_of_lengths(self) -> None:
        """R28: what comes in packets of one length goes out in those of the other, without a seam."""
        for inward in (10, 20, 30, 60):
            for outward in (10, 20, 30, 40, 60):
                a, b = self.pair(inward, outward)
                count = 480 // inward
                self.talk(a, range(1, count + 1), inward * 8)
                voice = b"".join(bytes((n,)) * (inward * 8) for n in range(1, count + 1))
                got = self.frames(b).lstrip(b"\xd5")
                self.assertTrue(voice.startswith(got) and len(voice) - len(got) < outward * 8, (inward, outward))
                self.assertEqual({len(one.payload) for one in b.heard}, {outward * 8})
                self.assertTrue(b.unbroken(), (inward, outward))
                self.assertEqual(self.legs.end(), [])
                self.legs = Legs()

    def test_a_lost_packet(self) -> None:
        """A short gap keeps its time: silence within a packet, none between two."""
        a, b = self.pair(30, 20)
        b.renew(codec="PCMU", payload_type=0)
        for n in (0, 1, 3):
            a.say(n, b"\x11" * 240, timestamp=n * 240)
        voice = (b"\x11" * 480).translate(ALAW_TO_ULAW) + b"\xff" * 160
        self.assertEqual(b.timeline(b"\xff")[: len(voice)], voice)
        self.assertEqual({len(one.payload) for one in b.heard}, {160})

    def test_late_and_twice(self) -> None:
        """What comes after its place was sent is dropped, what comes twice is taken once."""
        a, b = self.pair(30, 20)
        for n in (0, 1, 1, 3, 2, 4):
            a.say(n, bytes((n + 1,)) * 240, timestamp=n * 240)
        voice = b"\1" * 240 + b"\2" * 240 + b"\xd5" * 240 + b"\4" * 240 + b"\5" * 240
        self.assertEqual(b.timeline(), voice)
        self.assertEqual([n for n, _ in b.shape()], list(range(6)))

    def test_back_to_one_length(self) -> None:
        """When the phone's packets fit, and nothing is left over, they are relayed again, unbroken."""
        a, b = self.legs.leg(), self.legs.leg()
        Join(a.endpoint, b.endpoint)
        at = 0
        for n, size in enumerate((160, 80, 160, 80, 160, 160, 240, 80, 160)):
            a.say(n, bytes((n,)) * size, timestamp=at)
            at += size
            self.legs.run(size / 8000)
        self.assertEqual({len(one.payload) for one in b.heard}, {160})
        self.assertEqual(self.frames(b)[-160:], b"\x08" * 160)
        self.assertEqual(len(self.frames(b)), at)
        self.assertTrue(b.unbroken())

    def test_keys_between_other_lengths(self) -> None:
        """R27: an event passes between legs of different lengths, in its place of the outgoing numbers."""
        a, b = self.pair(30, 20)
        self.talk(a, range(2), 240)
        a.press(2, 7, 480)
        presses = PressDetector()
        events = [one for one in b.heard if one.payload_type == 101]
        self.assertEqual("".join(presses.feed(1, one.timestamp, one.payload) or "" for one in events), "7")
        self.assertEqual(len(events), 6)
        self.assertEqual([n for n, _ in b.shape()], list(range(len(b.heard))))
        self.assertEqual({one.timestamp for one in events}, {(b.heard[0].timestamp + 480) & 0xFFFFFFFF})

    @settings(deadline=None, max_examples=60)
    @given(
        st.sampled_from((10, 20, 30, 40, 50, 60)),
        st.sampled_from((10, 20, 30, 60)),
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8)), max_size=25),
    )
    def test_any_loss_and_order(self, inward: int, outward: int, steps: list[tuple[int, int]]) -> None:
        """Whatever comes, frames are whole, and their numbers and timestamps rise."""
        legs = Legs()
        a, b = legs.leg(ptime=inward), legs.leg(ptime=outward)
        Join(a.endpoint, b.endpoint)
        base = 100
        for back, size in steps:
            n = base - back
            base += 1
            a.say(n, bytes((n & 0x7F,)) * (size * 80), timestamp=n * inward * 8)
            legs.run(0.01)
        self.assertLessEqual({len(one.payload) for one in b.heard}, {outward * 8})
        numbers = [n if n < 0x8000 else n - 0x10000 for n, _ in b.shape()] if b.heard else []
        self.assertEqual(len(numbers), len(set(numbers)))
        self.assertEqual(legs.end(), [])


class KeysTests(JoinCase):
    def test_the_other_number(self) -> None:
        """R27: events go on with the other leg's payload type, each press detected once here and there."""
        a = self.legs.leg(event_payload_type=101)
        b = self.legs.leg(event_payload_type=96, receive_payload_types={8: "PCMA", 96: "telephone-event"})
        Join(a.endpoint, b.endpoint)
        self.talk(a, range(1, 4))
        a.press(4, 5, 640)
        self.talk(a, range(10, 12))
        kinds = [one.payload_type for one in b.heard]
        self.assertEqual(kinds, [8] * 3 + [96] * 6 + [8] * 2)
        self.assertEqual([one.marker for one in b.heard[3:9]], [True] + [False] * 5)
        self.assertEqual({one.timestamp for one in b.heard[3:9]}, {(b.heard[0].timestamp + 480) & 0xFFFFFFFF})
        self.assertEqual(b.heard[8].payload, TelephoneEvent(5, 960, True).to_bytes())
        self.assertEqual((a.digits, b.digits), (["5"], []))
        b.press(1, 11, 320, payload_type=96)
        self.assertEqual(b.digits, ["#"])
        self.assertEqual([one.payload_type for one in a.heard][-6:], [101] * 6)

    def test_as_tones(self) -> None:
        """R27: a leg that takes no events hears the key's tones in place of the audio, then the audio again."""
        a = self.legs.leg()
        b = self.legs.leg(event_payload_type=None)
        Join(a.endpoint, b.endpoint)
        self.talk(a, range(1, 4))
        a.press(4, 5, 640)
        self.talk(a, range(10, 20))
        self.assertEqual({one.payload_type for one in b.heard}, {8})
        heard = b"".join(one.payload for one in b.heard)
        tone = dtmf_audio("5").encoded("PCMA")
        self.assertIn(tone, heard)
        self.assertTrue(heard.endswith(bytes((19,)) * 160))
        self.assertTrue(b.unbroken())
        self.assertEqual(a.digits, ["5"])
        self.assertFalse(b.endpoint.playing)


class ForgedTests(JoinCase):
    def test_strangers_are_not_relayed(self) -> None:
        """R17, R22: what isn't from the leg's peer is never passed on."""
        a, b, stranger = self.legs.leg(), self.legs.leg(), self.legs.leg()
        Join(a.endpoint, b.endpoint)
        a.say(1)
        stranger.far.send(a.rtp.address, 2)
        self.assertEqual(b.bytes_heard(), [1])
