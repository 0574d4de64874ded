"""A scene for what is heard in transfers: alice and bob talk all the time, each with a tone of its own."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from telephony.call.constants import State
from telephony.call.resources import TonePlayer
from telephony.sip.message import respond
from telephony.testing.sounds import tone
from tests.call.media_scene import MediaScene, packets_of

#: What alice and bob say all the time.
ALICE, BOB = 500, 1000


class TransferScene(MediaScene):
    """Alice has called in and is transferred to bob; both talk all the time."""

    def setUp(self) -> None:
        super().setUp()
        self.alice.says(tone(ALICE))
        self.bob.says(tone(BOB))

    def begin(self, **details: Any) -> Deferred[State]:
        """Begin a transfer; the INVITE has reached bob."""
        if not hasattr(self, "channel"):
            self.answer()
            self.advance(0.3)
        TonePlayer(self.channel)
        calls = len(self.bob.calls)
        verb = self.channel.retrievable_transfer(
            self.extra_channel(), details.pop("call_to", self.bob.uri), seconds_timeout=20, **details
        )
        self.run_until(lambda: len(self.bob.calls) > calls, 5)
        return verb

    def joined(self, **details: Any) -> float:
        """Transfer, and let both talk; the moment of bob's answer."""
        verb = self.begin(**details)
        self.bob.ring()
        self.advance(0.5)
        self.bob.answer()
        answered = self.now()
        self.assertIs(self.run_until(verb, 5), State.TRANSFERRED)
        self.advance(0.5)
        return answered

    def assert_talking(self, seconds: float = 1.0) -> None:
        """Hold that both hear each other from now on, and nothing else."""
        self.advance(0.05)
        since = self.now()
        self.advance(seconds)
        for phone, frequency, own in ((self.alice, BOB, ALICE), (self.bob, ALICE, BOB)):
            [found] = phone.heard(frequency, since=since)
            self.assertGreater(found.seconds, seconds - 0.1)
            self.assertApproximates(found.level_dbm0, -12, 0.5)
            self.assertEqual(phone.heard(own, since=since), [], "nobody hears himself")

    def assert_deaf(self, phone: str, frequency: float, seconds: float = 1.0) -> None:
        """Hold that a phone does not hear a tone from now on, though its stream goes on."""
        self.advance(0.05)
        since = self.now()
        self.advance(seconds)
        one = getattr(self, phone)
        self.assertEqual(one.heard(frequency, since=since), [])
        self.assertApproximates(len(packets_of(one, since)), seconds / 0.02, 1)

    def provisional_again(self, status: int, tag: str | None = None) -> None:
        """Send a 1xx from bob behind his back: his phone would not send one any more."""
        response = respond(self.bob.call.invite, status, to_tag=tag or self.bob.call.local_tag)
        response.add("Contact", f"<{self.bob.uri}>")
        self.network._datagram(self.bob.address, response.to_bytes(), ("10.0.0.1", 5060))
