"""One leg's audio (I3, I5 and I10 of transfer.md)."""

import gc
import weakref

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs.g711 import ALAW_TO_ULAW
from telephony.media.endpoint import Endpoint
from telephony.media.players import AudioSource, Clip, ToneSource
from telephony.rtp.session import RtpSession
from tests.media.fakes import Ear, Legs
from tests.rtp.fakes import agreed, session


class Once:
    """A source of so many frames, each full of one byte."""

    def __init__(self, byte: int, frames: int) -> None:
        self.byte, self.frames = byte, frames

    def send(self, rtp: RtpSession) -> bool:
        if not self.frames:
            return False
        self.frames -= 1
        rtp.send_audio(bytes((self.byte,)) * rtp.frame, rtp.frame)
        return True


class EndpointTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.legs = Legs()
        self.leg = self.legs.leg()
        self.endpoint = self.leg.endpoint
        self.done: list[str] = []

    def tearDown(self) -> None:
        self.assertEqual(self.legs.end(), [])

    def test_silence(self) -> None:
        """I5, I10: with nothing to say there is one stream of silence, a packet every 20 ms."""
        self.legs.run(1.0)
        self.assertEqual(len(self.leg.heard), 50)
        self.assertEqual(set(self.leg.bytes_heard()), {0xD5})
        self.assertTrue(self.leg.unbroken())
        self.assertEqual([one.marker for one in self.leg.heard], [True] + [False] * 49)

    def test_a_source(self) -> None:
        """A source is heard from the next turn to its end; the stream doesn't break on either side."""
        self.legs.run(0.1)
        self.endpoint.play(Once(1, 3), lambda: self.done.append("over"))
        self.assertTrue(self.endpoint.playing)
        self.legs.run(0.1)
        self.assertEqual(self.leg.bytes_heard(5), [1, 1, 1, 0xD5, 0xD5])
        self.assertEqual((self.done, self.endpoint.playing), (["over"], False))
        self.assertTrue(self.leg.unbroken())

    def test_one_after_the_other(self) -> None:
        """A source that is set when the last is over follows it; each is told of once."""
        self.endpoint.play(Once(1, 2), lambda: self.endpoint.play(Once(2, 2), lambda: self.done.append("over")))
        self.legs.run(0.2)
        self.assertEqual(self.leg.bytes_heard(), [1, 1, 0xD5, 2, 2, 0xD5, 0xD5, 0xD5, 0xD5, 0xD5])
        self.assertEqual(self.done, ["over"])

    def test_stopped(self) -> None:
        """R33: stopped or replaced, a source ends at a frame's edge, without a word."""
        self.endpoint.play(Once(1, 100), lambda: self.done.append("over"))
        self.legs.run(0.1)
        self.endpoint.play(Once(2, 100), lambda: self.done.append("over"))
        self.legs.run(0.1)
        self.endpoint.stop_source()
        self.endpoint.stop_source()
        self.legs.run(0.1)
        self.assertEqual(self.leg.bytes_heard(), [1] * 5 + [2] * 5 + [0xD5] * 5)
        self.assertEqual(self.done, [])
        self.assertTrue(self.leg.unbroken())

    def test_on_next_tick(self) -> None:
        """The call comes when the next packet is out, once."""
        self.endpoint.on_next_tick(lambda: self.done.append(str(len(self.leg.heard))))
        self.legs.run(0.1)
        self.assertEqual(self.done, ["1"])

    def test_held(self) -> None:
        """R24, I10: while the far end wants nothing, nothing is sent; the source's time goes on, and ours."""
        self.endpoint.play(Once(1, 20), lambda: self.done.append("over"))
        self.legs.run(0.1)
        self.leg.renew(send=False)
        self.legs.run(0.2)
        self.assertEqual(len(self.leg.heard), 5)
        self.leg.renew()
        self.legs.run(0.2)
        self.assertEqual(self.leg.bytes_heard(), [1] * 10 + [0xD5] * 5)
        self.assertEqual(self.leg.shape()[5], (5, 15 * 160))
        self.assertEqual(self.done, ["over"])

    def test_another_length_of_packets(self) -> None:
        """A re-INVITE may change ptime and codec in mid-sentence."""
        clip = Clip(__import__("numpy").full(1600, 8000, "int16"))
        self.endpoint.play(AudioSource(clip))
        self.legs.run(0.06)
        self.leg.renew(ptime=30, codec="PCMU", payload_type=0)
        self.legs.run(0.18)
        sizes = [(one.payload_type, len(one.payload)) for one in self.leg.heard]
        self.assertEqual(sizes, [(8, 160)] * 3 + [(0, 240)] * 6)
        voice = b"".join(one.payload for one in self.leg.heard)[:1600]
        self.assertEqual(voice, clip.encoded("PCMA")[:480] + clip.encoded("PCMU")[480:])
        self.assertTrue(self.leg.unbroken())

    def test_late_process(self) -> None:
        """Turns that were skipped leave a gap in the timestamps, none in the sequence (architecture rule 8)."""
        self.legs.run(0.1)
        self.legs.wire.clock.advance(1.0)
        self.legs.run(0.1)
        (sequence, timestamp) = self.leg.shape()[-1]
        self.assertEqual(sequence, len(self.leg.heard) - 1)
        self.assertEqual(timestamp, 59 * 160)
        self.assertLess(len(self.leg.heard), 20)

    def test_start_and_stop_twice(self) -> None:
        """Both are idempotent; after stop nothing is sent or heard (I3), and it can be started anew."""
        ear = Ear()
        self.endpoint.start()
        self.endpoint.listen(ear)
        self.legs.run(0.1)
        self.endpoint.stop()
        self.endpoint.stop()
        self.leg.say(1)
        self.leg.press(2, 5, 320)
        self.legs.run(0.5)
        self.assertEqual((len(self.leg.heard), len(ear.frames), self.leg.digits), (5, 5, []))
        self.endpoint.start()
        self.legs.run(0.1)
        self.assertEqual(len(self.leg.heard), 10)

    def test_stopped_in_its_turn(self) -> None:
        """A listener, a source's end or the next-tick call may end the leg."""
        for what in ("listen", "finished", "next"):
            leg = self.legs.leg()
            if what == "listen":
                ear = Ear()
                ear.frame = lambda codec, payload, leg=leg: (leg.endpoint.stop(), leg.rtp.close())  # type: ignore
                leg.endpoint.listen(ear)
            elif what == "finished":
                leg.endpoint.play(Once(1, 0), lambda leg=leg: (leg.endpoint.stop(), leg.rtp.close()))
            else:
                leg.endpoint.on_next_tick(lambda leg=leg: (leg.endpoint.stop(), leg.rtp.close()))
            self.legs.run(0.1)
            self.assertEqual(len(leg.heard), 0 if what == "listen" else 1)

    def test_media_timeout(self) -> None:
        """R32: told once when neither RTP nor RTCP came for so long; not while the far end needn't send."""
        self.endpoint.media_timeout = 30.0
        self.endpoint.on_timeout = lambda: self.done.append("timeout")
        self.legs.run(29)
        self.leg.say(1)
        self.legs.run(29)
        self.leg.renew(receive=False)
        self.legs.run(60)
        self.leg.renew()
        self.legs.run(29)
        self.assertEqual(self.done, [])
        self.legs.run(5)
        self.assertEqual(self.done, ["timeout"])

    def test_media_timeout_by_watch(self) -> None:
        """R32: the time begins when the watch does, however long the call rang; None is never."""
        self.legs.run(100)
        self.endpoint.watch(30.0, lambda: self.done.append("timeout"))
        self.legs.run(29)
        self.assertEqual(self.done, [])
        self.legs.run(2)
        self.assertEqual(self.done, ["timeout"])
        self.endpoint.watch(None, lambda: self.done.append("never"))
        self.legs.run(100)
        self.assertEqual(self.done, ["timeout"])

    def test_media_timeout_on_hold(self) -> None:
        """R32: whoever holds us may fall silent, music or not; after the resumption it has all the time again."""
        self.endpoint.watch(30.0, lambda: self.done.append("timeout"))
        for seconds in (29, 31, 47):
            self.leg.renew(send=False)
            self.legs.run(seconds)
            self.leg.renew()
            self.legs.run(29)
            self.assertEqual(self.done, [], seconds)
        self.legs.run(2)
        self.assertEqual(self.done, ["timeout"])

    def test_media_timeout_of_a_process_that_slept(self) -> None:
        """R32: turns that were missed are our delay, not the far end's silence."""
        self.endpoint.watch(30.0, lambda: self.done.append("timeout"))
        self.legs.run(10)
        self.legs.wire.clock.rightNow += 300
        self.legs.run(10)
        self.assertEqual(self.done, [])
        self.legs.run(11)
        self.assertEqual(self.done, ["timeout"])

    def test_first_packet(self) -> None:
        """Told once, with the first packet of audio."""
        self.endpoint.on_first_packet = lambda: self.done.append("first")
        self.legs.run(0.1)
        self.assertEqual(self.done, [])
        self.leg.say(1)
        self.leg.say(2)
        self.assertEqual(self.done, ["first"])

    def test_digits(self) -> None:
        """R27: each press is told once."""
        self.leg.press(1, 5, 160)
        self.leg.press(7, 5, 3200)
        self.assertEqual(self.leg.digits, ["5", "5"])

    def test_no_cycles(self) -> None:
        """A stopped endpoint and its closed session are freed at once, without the garbage collector."""

        class Watched(Endpoint):
            __slots__ = ("__weakref__",)

        gc.disable()
        self.addCleanup(gc.enable)
        rtp = session(self.legs.wire, pool=self.legs.pool)
        endpoint = Watched(rtp, self.legs.clock)
        endpoint.apply(agreed(self.leg.far.address))
        endpoint.start()
        endpoint.listen(Ear())
        endpoint.listen_sent(Ear())
        endpoint.play(Once(1, 1))
        self.legs.run(0.1)
        gone = weakref.ref(endpoint)
        endpoint.stop()
        rtp.close()
        del endpoint, rtp
        self.assertIsNone(gone())

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_anything(self, data: st.DataObject) -> None:
        """I5, I10: whatever is played, stopped and held, packets sent are the time that we may send, over ptime."""
        legs = Legs()
        leg = legs.leg()
        held = 0
        sending = True
        for _ in range(data.draw(st.integers(1, 12))):
            what = data.draw(st.sampled_from(("play", "stop", "hold", "resume", "hear")))
            if what == "play":
                leg.endpoint.play(Once(1, data.draw(st.integers(0, 9))))
            elif what == "stop":
                leg.endpoint.stop_source()
            elif what in ("hold", "resume"):
                sending = what == "resume"
                leg.renew(send=sending)
            else:
                leg.endpoint.listen(Ear())
            frames = data.draw(st.integers(1, 10))
            legs.run(frames * 0.02)
            held += 0 if sending else frames
        total = round(legs.wire.clock.seconds() / 0.02)
        self.assertLessEqual(abs(len(leg.heard) - (total - held)), 1)
        sequences = [one.sequence for one in leg.heard]
        self.assertEqual(sequences, [(sequences[0] + n) & 0xFFFF for n in range(len(sequences))] if sequences else [])
        self.assertEqual(legs.end(), [])


class ListeningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.legs = Legs()
        self.leg = self.legs.leg()
        self.ear = Ear()

    def tearDown(self) -> None:
        self.assertEqual(self.legs.end(), [])

    def talk(self, sequences: range) -> None:
        for sequence in sequences:
            self.leg.say(sequence)
            self.legs.run(0.02)

    def test_even_frames(self) -> None:
        """20 ms every 20 ms, in order, a gap as silence; packets that come twice once."""
        self.leg.endpoint.listen(self.ear)
        for sequence in (1, 3, 2, 2, 5):
            self.leg.say(sequence)
        self.legs.run(0.2)
        self.assertEqual(self.ear.bytes_heard(), [0xD5, 0xD5, 1, 2, 3, 0xD5, 5, 0xD5, 0xD5, 0xD5])
        self.assertTrue(all(len(payload) == 160 for _, payload in self.ear.frames))

    def test_whatever_length_packets_have(self) -> None:
        """Legs of 10, 30 and 60 ms give their listeners 20 ms too, as many as time has."""
        for ptime in (10, 30, 60):
            leg = self.legs.leg(ptime=ptime)
            ear = Ear()
            leg.endpoint.listen(ear)
            for n in range(600 // ptime):
                leg.say(n, bytes((n + 1,)) * (ptime * 8), timestamp=n * ptime * 8)
                self.legs.run(ptime / 1000)
            self.assertLessEqual(abs(len(ear.frames) - 30), 2)
            heard = b"".join(payload for _, payload in ear.frames).strip(b"\xd5")
            self.assertTrue(
                b"".join(bytes((n + 1,)) * (ptime * 8) for n in range(600 // ptime)).startswith(heard), ptime
            )

    def test_nothing_is_kept_for_nobody(self) -> None:
        """While nobody listens nothing is buffered; who comes later hears from then on; who leaves, no more."""
        self.talk(range(1, 10))
        self.leg.endpoint.listen(self.ear)
        self.leg.endpoint.listen(self.ear)
        self.talk(range(10, 20))
        self.leg.endpoint.unlisten(self.ear)
        self.leg.endpoint.unlisten(self.ear)
        self.talk(range(20, 30))
        self.assertEqual(len(self.ear.frames), 10)
        self.assertEqual([one for one in self.ear.bytes_heard() if one != 0xD5], list(range(10, 18)))
        self.assertIsNone(self.leg.endpoint._heard)

    def test_two_listeners(self) -> None:
        """Receivers run side by side (api.md section 6)."""
        other = Ear()
        self.leg.endpoint.listen(self.ear)
        self.leg.endpoint.listen(other)
        self.talk(range(5))
        self.assertEqual(other.frames, self.ear.frames)
        self.leg.endpoint.unlisten(other)
        self.talk(range(5, 10))
        self.assertEqual((len(other.frames), len(self.ear.frames)), (5, 10))

    def test_what_we_send(self) -> None:
        """The other direction can be listened to as well: what the leg hears of us."""
        self.leg.endpoint.listen_sent(self.ear)
        self.leg.endpoint.play(Once(7, 5))
        self.legs.run(0.3)
        self.assertEqual([one for one in self.ear.bytes_heard() if one != 0xD5], [7] * 5)
        self.leg.endpoint.unlisten_sent(self.ear)
        self.assertIsNone(self.leg.rtp.tap)

    def test_a_tone(self) -> None:
        """A tone is a loop; in the law of the leg."""

        class Loop:
            def encoded(self, codec: str) -> bytes:
                data = bytes(range(100))
                return data if codec == "PCMA" else data.translate(ALAW_TO_ULAW)

        self.leg.endpoint.play(ToneSource(Loop()))
        self.legs.run(0.1)
        self.assertEqual(b"".join(one.payload for one in self.leg.heard), bytes(range(100)) * 8)
