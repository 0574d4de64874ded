"""Legs that are joined, cut, held, played to and change their streams, in any order (I3, I5, I10 of transfer.md)."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.media.join import Join
from telephony.media.players import AudioSource, Clip, DigitsSource
from tests.media.fakes import Ear, Leg, Legs

CLIP = Clip(np.full(1234, 9000, np.int16))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ("join", "one way", "cut", "hold", "resume", "play", "keys", "stop", "mute", "talk", "ssrc", "ear", "renew")
        ),
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(1, 60),
    ),
    max_size=25,
)


class Phone:
    """A phone that sends a packet every 20 ms, in its own phase, while it talks and isn't held."""

    def __init__(self, leg: Leg) -> None:
        self.leg = leg
        self.sequence = self.timestamp = 0
        self.ssrc = 1
        self.talks = True
        self.held = False

    def speak(self) -> None:
        self.timestamp += 160
        if self.talks and not self.held:
            self.sequence += 1
            self.leg.say(self.sequence, b"\x2a" * 160, timestamp=self.timestamp, ssrc=self.ssrc)


class ModelTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=150)
    @given(STEPS, st.tuples(*[st.integers(0, 19)] * 3))
    def test_the_stream_never_breaks(
        self, steps: list[tuple[str, int, int, int]], phases: tuple[int, int, int]
    ) -> None:
        """Each phone gets one stream: numbers by one, timestamps that rise and keep with the time; none while held."""
        legs = Legs()
        phones = [Phone(legs.leg()) for _ in range(3)]
        joins: list[Join] = []
        held_counts: dict[int, int] = {}

        def wait(milliseconds: int) -> None:
            for _ in range(milliseconds):
                now = round(legs.wire.clock.seconds() * 1000)
                for phone, phase in zip(phones, phases, strict=True):
                    if now % 20 == phase:
                        phone.speak()
                legs.wire.clock.advance(0.001)

        wait(40)
        for what, one, other, milliseconds in steps:
            phone, endpoint = phones[one], phones[one].leg.endpoint
            if what in ("join", "one way") and one != other:
                joins.append(Join(endpoint, phones[other].leg.endpoint, both=what == "join"))
            elif what == "cut" and joins:
                joins.pop(milliseconds % len(joins)).cut()
            elif what == "hold" and not phone.held:
                phone.held = True
                phone.leg.renew(send=False, receive=False)
                held_counts[one] = len(phone.leg.heard)
            elif what == "resume" and phone.held:
                self.assertEqual(len(phone.leg.heard), held_counts[one])
                phone.held = False
                phone.leg.renew()
            elif what == "play":
                endpoint.play(AudioSource(CLIP))
            elif what == "keys":
                endpoint.play(DigitsSource("1,2"))
            elif what == "stop":
                endpoint.stop_source()
            elif what == "mute":
                phone.talks = False
            elif what == "talk":
                phone.talks = True
            elif what == "ssrc":
                phone.ssrc += 1
                phone.sequence += 7000
            elif what == "ear":
                endpoint.listen(Ear())
            elif what == "renew":
                phone.leg.renew(send=not phone.held, receive=not phone.held)
            wait(milliseconds)
        for phone in phones:
            self.check(phone.leg)
        for join in joins:
            join.cut()
        self.assertEqual(legs.end(), [])

    def check(self, leg: Leg) -> None:
        shape = leg.shape()
        times = leg.far.times
        self.assertEqual([n for n, _ in shape], list(range(len(shape))))
        for (_, before), (_, after) in itertools.pairwise(shape):
            self.assertGreaterEqual(after - before, 0)
        for at, (_, timestamp), packet in zip(times, shape, leg.heard, strict=True):
            if packet.payload_type == 8:
                self.assertLess(abs(timestamp / 8000 - (at - times[0])), 0.045)
