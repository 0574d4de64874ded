"""The short way of packets that nobody has to see: the same as the long way, for whatever a phone sends."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs.g711 import ALAW_TO_ULAW
from telephony.media.endpoint import SLOW_MS
from telephony.media.join import Join
from telephony.rtp.ports import PortPair
from telephony.rtp.shortcut import Shortcut
from tests.media.fakes import Ear, Leg, Legs


class Joined:
    """Two legs that hear each other."""

    def __init__(self, **target: Any) -> None:
        self.legs = Legs()
        self.a, self.b = self.legs.leg(), self.legs.leg(**target)
        self.join = Join(self.a.endpoint, self.b.endpoint)
        self.number = 100
        self.timestamp = 1600

    def say(self, **packet: Any) -> None:
        """Let the phone of ``a`` send its next packet, and a frame's time pass."""
        self.a.say(self.number, bytes((self.number & 0x7F,)) * 160, timestamp=self.timestamp, **packet)
        self.number += 1
        self.timestamp += 160
        self.legs.run(0.02)

    @property
    def shortened(self) -> bool:
        """Whether packets of ``a`` go by themselves now."""
        return self.a.rtp._inward is not None


class RelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.on = Joined()

    def tearDown(self) -> None:
        self.assertEqual(self.on.legs.end(), [])

    def say(self, count: int, **packet: Any) -> None:
        for _ in range(count):
            self.on.say(**packet)

    def test_all_but_the_first(self) -> None:
        """Architecture rule 9: of two joined legs with one codec, only the first packet is looked at."""
        seen: list[int] = []
        take = self.on.a.endpoint.audio
        self.on.a.rtp.receiver = self.on.a.endpoint
        self.say(1)
        self.on.a.endpoint.rtp._receiver = _Counting(take, seen)  # not by the setter, which would end the run
        self.say(20)
        self.assertEqual(seen, [])
        self.assertEqual(self.on.b.bytes_heard()[-21:], [n & 0x7F for n in range(100, 121)])
        self.assertTrue(self.on.b.unbroken())

    def test_the_account(self) -> None:
        """RFC 3550 6.4.1: packets and octets of both streams are right at any moment, and reports tell of them."""
        self.say(7)
        self.assertTrue(self.on.shortened)
        came, went = self.on.a.rtp.statistics, self.on.b.rtp.statistics
        self.assertEqual((came.packets_received, came.octets_received, came.lost), (7, 1120, 0))
        self.assertEqual((self.on.a.rtp.packets_received, self.on.a.rtp.octets_received), (7, 1120))
        self.assertEqual(went.packets_sent, len(self.on.b.heard))
        self.assertEqual(went.octets_sent, 160 * len(self.on.b.heard))
        self.assertEqual(self.on.a.rtp.last_received, self.on.b.far.times[-1])

    def test_over_the_end_of_the_numbers(self) -> None:
        """Sequence numbers and timestamps of both streams go on over 2^16 and 2^32 (RFC 3550 5.1)."""
        for which in ("source", "target"):
            self.on = Joined()
            if which == "source":
                self.on.number, self.on.timestamp = 65530, 0xFFFFFFFF - 500
            else:
                self.on.b.rtp._sequence, self.on.b.rtp._timestamp = 0xFFFC, 0xFFFFFFFF - 1000
            self.say(12)
            self.assertTrue(self.on.b.unbroken(), which)
            self.assertEqual(self.on.a.rtp.statistics.lost, 0)
            self.assertEqual([one.marker for one in self.on.b.heard[-11:]], [False] * 11)
            self.assertTrue(self.on.shortened)
            self.assertEqual(self.on.legs.end(), [])

    def test_a_listener(self) -> None:
        """A recording that begins or ends in the middle has each packet, and the other leg too."""
        self.say(5)
        said, heard = Ear(), Ear()
        self.on.a.endpoint.listen(said)
        self.on.b.endpoint.listen_sent(heard)
        self.assertFalse(self.on.shortened)
        self.say(10)
        self.assertTrue(self.on.shortened)
        for ear in (said, heard):
            self.assertEqual([one for one in ear.bytes_heard() if one != 0xD5], [n & 0x7F for n in range(105, 113)])
        self.on.a.endpoint.unlisten(said)
        self.on.b.endpoint.unlisten_sent(heard)
        self.say(5)
        self.assertEqual((len(said.frames), len(heard.frames)), (10, 10))
        self.assertTrue(self.on.b.unbroken())

    def test_another_law(self) -> None:
        """R28: mu-law and A-law are changed into each other on the short way too."""
        self.on = Joined(codec="PCMU", payload_type=0)
        self.say(5)
        self.assertTrue(self.on.shortened)
        last = self.on.b.heard[-1]
        self.assertEqual((last.payload_type, last.payload), (0, (bytes((104,)) * 160).translate(ALAW_TO_ULAW)))

    def test_who_is_heard(self) -> None:
        """RFC 7362 4: who isn't the peer is not heard; a NAT that gives the peer another port is followed."""
        self.say(10)
        elsewhere = self.on.legs.wire.open_datagram_port(("10.0.0.1", 4444), lambda data, source: None)
        port = self.on.a.far.rtp_port
        self.on.a.far.rtp_port = elsewhere
        had = len(self.on.b.heard)
        self.say(5)  # the peer was there a moment ago
        self.assertNotIn(110 & 0x7F, self.on.b.bytes_heard(had))
        self.on.legs.run(0.6)
        self.on.number, self.on.timestamp = 116, 116 * 160
        self.say(5)
        self.assertEqual(self.on.b.bytes_heard()[-5:], [n & 0x7F for n in range(116, 121)])
        self.on.a.far.rtp_port = port
        elsewhere.close()

    def test_slow_turns(self) -> None:
        """Who only hears the other leg has a turn in `SLOW_MS`; reports go out, and silence comes as it did before."""
        self.say(30)
        self.assertTrue(self.on.b.endpoint._slow)
        self.assertGreater(SLOW_MS, 20)
        reports = len(self.on.b.far.rtcp)
        self.say(400)
        self.assertGreater(len(self.on.b.far.rtcp), reports)
        had = len(self.on.b.heard)
        self.on.legs.run(2.0)
        self.assertFalse(self.on.b.endpoint._slow)
        self.assertEqual(set(self.on.b.bytes_heard(had)), {0xD5})
        self.assertGreater(len(self.on.b.heard) - had, 65)

    def test_back_from_slow_turns(self) -> None:
        """I5: who pauses is replaced by silence, and who begins to listen has even frames, in a frame's time."""
        self.say(30)
        self.assertTrue(self.on.b.endpoint._slow)
        had = len(self.on.b.heard)
        self.on.a.renew(receive=False)
        self.on.legs.run(0.08)
        self.assertGreaterEqual(len(self.on.b.heard) - had, 3)
        self.on.a.renew()
        self.say(30)
        self.assertTrue(self.on.b.endpoint._slow)
        ear = Ear()
        self.on.b.endpoint.listen(ear)
        self.on.legs.run(0.1)
        self.assertGreaterEqual(len(ear.frames), 4)

    def test_media_timeout(self) -> None:
        """R32: the media timer of a relayed leg runs as any other's."""
        told: list[str] = []
        self.on.a.endpoint.watch(2.0, lambda: told.append("a"))
        self.say(200)
        self.assertEqual(told, [])
        self.on.legs.run(2.5)
        self.assertEqual(told, ["a"])

    def test_no_cycles(self) -> None:
        """A run is freed with its end, without the garbage collector."""

        class Watched(Shortcut):
            __slots__ = ("__weakref__",)

        self.patch(__import__("telephony.rtp.receiving").rtp.receiving, "Shortcut", Watched)
        gc.disable()
        self.addCleanup(gc.enable)
        self.say(5)
        gone = weakref.ref(self.on.a.rtp._inward)  # type: ignore[type-var]
        self.on.join.cut()
        self.assertIsNone(gone())


class _Counting:
    def __init__(self, take: Any, seen: list[int]) -> None:
        self._take = take
        self._seen = seen

    def audio(self, *packet: Any) -> None:
        self._seen.append(packet[4])
        self._take(*packet)


class CountingTests(SynchronousTestCase):
    def test_late_and_twice(self) -> None:
        """RFC 3550 A.1: behind a packet that came late the next is no news, and is not counted as one."""
        legs = Legs()
        leg = legs.leg()
        for n in (1, 2, 4, 3, 4):
            leg.say(n)
        found = leg.rtp.statistics
        self.assertEqual((found.packets_received, found.duplicates, found.lost), (4, 1, 0))
        self.assertEqual(legs.end(), [])

    def test_nobody_hears_it(self) -> None:
        """What nobody hears is only counted; who comes to hear it has it from then on."""
        legs = Legs()
        leg = legs.leg()
        for n in range(10):
            leg.say(n)
            legs.run(0.02)
        self.assertIsNotNone(leg.rtp._inward)
        self.assertEqual(leg.rtp.statistics.packets_received, 10)
        other = legs.leg()
        Join(leg.endpoint, other.endpoint)
        for n in range(10, 20):
            leg.say(n)
            legs.run(0.02)
        self.assertEqual(other.bytes_heard()[-10:], list(range(10, 20)))
        leg.press(20, 5, 20 * 160)
        self.assertEqual(leg.digits, ["5"])
        self.assertEqual(legs.end(), [])


WHAT = st.sampled_from(
    ("next",) * 12
    + ("lost", "twice", "late", "marker", "digit", "short", "ssrc", "law", "restart", "garbage")
    + ("listen", "unlisten", "tap", "untap", "hold", "resume", "pause", "statistics", "play")
)


class SameTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=60)
    @given(st.lists(WHAT, max_size=60))
    def test_as_the_long_way(self, script: list[str]) -> None:
        """I10: whatever comes, and whoever listens or holds: packets, keys and accounts are those of the long way."""
        short = _played(Joined(), script)
        patch = self.patch(PortPair, "shorten", lambda *arguments: False)
        try:
            long = _played(Joined(), script)
        finally:
            patch.restore()
        self.assertEqual(short, long)


def _played(on: Joined, script: list[str]) -> object:
    """Play a script; return what both sides heard and what the account says."""
    said, heard = Ear(), Ear()
    ssrc = 0xFACE
    for what in script:
        extra: dict[str, Any] = {"ssrc": ssrc}
        if what == "lost":
            on.number, on.timestamp = on.number + 3, on.timestamp + 480
        elif what == "twice":
            on.a.say(on.number - 1, timestamp=on.timestamp - 160, ssrc=ssrc)
        elif what == "late":
            on.a.say(on.number - 5, timestamp=on.timestamp - 800, ssrc=ssrc)
        elif what == "marker":
            extra["marker"] = True
        elif what == "digit":
            on.a.press(on.number, 7, on.timestamp & 0xFFFFFFFF)
            on.number, on.timestamp = on.number + 6, on.timestamp + 960
        elif what == "short":
            on.a.say(on.number, bytes(80), timestamp=on.timestamp, ssrc=ssrc)
            on.number, on.timestamp = on.number + 1, on.timestamp + 80
        elif what == "ssrc":
            extra["ssrc"] = ssrc = ssrc + 1
        elif what == "law":
            extra["payload_type"] = 0
        elif what == "restart":
            on.number, on.timestamp = on.number + 20000, on.timestamp + 1_000_000
        elif what == "garbage":
            on.a.far.rtp_port.send(b"\x80\x08garbage", on.a.rtp.address)
        elif what == "listen":
            on.a.endpoint.listen(said)
        elif what == "unlisten":
            on.a.endpoint.unlisten(said)
        elif what == "tap":
            on.b.endpoint.listen_sent(heard)
        elif what == "untap":
            on.b.endpoint.unlisten_sent(heard)
        elif what in ("hold", "resume"):
            on.b.renew(send=what == "resume")
        elif what == "pause":
            on.legs.run(0.3)
        elif what == "statistics":
            str(on.a.rtp.statistics)
        on.say(**extra)
    accounts = [attrs.asdict(leg.rtp.statistics) for leg in (on.a, on.b)]
    for one in accounts:
        one["jitter"] = round(one["jitter"], 6)
    legs: list[Leg] = [on.a, on.b]
    return (
        [leg.heard for leg in legs],
        [leg.digits for leg in legs],
        [said.frames, heard.frames],
        accounts,
        on.legs.end(),
    )
