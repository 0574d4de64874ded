"""What is left of a call when it is over and its channel has been dropped: nothing, at once."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from typing import Any

from telephony.call.constants import State
from telephony.call.leg import Leg
from telephony.call.resources import JobCause
from telephony.call.transfer import Transfer
from telephony.errors import Hangup
from telephony.media.endpoint import Endpoint
from telephony.media.join import Join, Path
from telephony.media.recorders import Recorder
from telephony.rtp.session import RtpSession
from telephony.sip.dialog import Dialog
from telephony.sip.incoming import IncomingSession
from telephony.sip.outgoing import OutgoingSession
from telephony.testing.sounds import tone
from tests.call.transfer_scene import TransferScene

#: What a call is made of below its channel.
PARTS = (Leg, Transfer, IncomingSession, OutgoingSession, Dialog, RtpSession, Endpoint, Path, Join, Recorder)


def alive() -> Counter[str]:
    """Count the parts of calls that exist."""
    return Counter(type(one).__name__ for one in gc.get_objects() if type(one) in PARTS)


class LeakTests(TransferScene):
    """No cycle of references survives a call: a full collection in a busy server is a pause that calls hear."""

    def whole_life(self) -> list[weakref.ref[Any]]:
        """Do everything that a call can do, and let go of it; weak references to what belonged to it."""
        channel = self.answer()
        self.run_until(channel.FilePlayer.play("hello.wav"), 5)
        digits = channel.DTMFDetector.get_digits(count=1, seconds_predigits_timeout=5)
        self.alice.press("1")
        self.run_until(digits, 5)
        self.assertIs(self.run_until(channel.FileRecorder.record("x.wav", seconds_timeout=1), 5), JobCause.TIMEOUT)
        self.run_until(self.alice.hold(), 5)
        self.run_until(self.alice.resume(), 5)
        verb = self.begin()
        self.bob.reject(486)
        self.run_until(verb, 5)
        verb = self.begin()
        self.bob.ring(183, sdp=True)
        self.advance(0.5)
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.TRANSFERRED)
        self.advance(0.5)
        self.assertIs(self.run_until(channel.retrieve_transferred_call(), 5), State.ANSWERED)
        self.assertIs(self.successResultOf(channel.connect(self.other)), True)
        self.advance(0.5)
        found: list[Any] = [channel, self.other, channel.FilePlayer, channel.DTMFDetector, channel.TonePlayer]
        self.bob.hang_up()
        self.run_until(self.other.wait_for_idle(), 5)
        self.alice.hang_up()
        self.run_until(channel.wait_for_idle(), 5)
        return [weakref.ref(one) for one in found]

    def test_everything_goes_with_the_last_user(self) -> None:
        """I4: without any help of the collector, as soon as the last transaction has ended."""
        self.write("hello.wav", tone(700, seconds=0.5))
        gc.collect()
        before = alive()
        gc.disable()
        self.addCleanup(gc.enable)
        left = self.whole_life()
        self.exchange.on_call = None
        del self.channel, self.other, self.outcome
        self.settle()
        self.assertEqual([one() for one in left if one() is not None], [])
        self.assertEqual(alive() - before, Counter(), "of all that a call is made of")

    def test_transfers_by_refer(self) -> None:
        """REFER both ways and Replaces leave nothing either: neither who was replaced nor who took its place."""
        from telephony.call.referring import Referring
        from telephony.call.succession import Succession
        from telephony.sip.refer import References, Referral, Referred

        parts = (*PARTS, Referring, Succession, References, Referral, Referred)

        def count() -> Counter[str]:
            return Counter(type(one).__name__ for one in gc.get_objects() if type(one) in parts)

        carol = self.phone("carol")
        gc.collect()
        before = count()
        gc.disable()
        self.addCleanup(gc.enable)
        self.joined()
        self.channel.refer = self.other.refer = "follow"
        told = self.bob.transfer(carol.uri)
        self.run_until(carol.until("incoming"), 5)
        carol.answer()
        self.assertEqual(self.run_until(told, 5), 200)
        self.run_until(self.bob.hang_up(), 5)
        carol.dial(self.uri("3300"), replaces=carol.call)
        self.run_until(lambda: not carol.calls[0].alive, 5)
        self.run_until(self.channel.retrieve_transferred_call(), 5)
        asked = self.other.blind_transfer(self.bob.uri)
        self.run_until(lambda: len(self.bob.calls) == 2, 5)
        self.bob.answer()
        self.assertIs(self.run_until(asked, 5), State.IDLE)
        refused = self.channel.blind_transfer(self.bob.uri)
        self.run_until(lambda: len(self.bob.calls) == 3, 5)
        self.bob.calls[-1].reject(486)
        self.run_until(refused, 5)
        self.alice.calls[0].hang_up()
        self.bob.calls[1].hang_up()
        self.advance(130)
        self.exchange.on_call = None
        del self.channel, self.other, self.outcome, asked, refused, told
        self.advance(1)
        self.assertEqual(count() - before, Counter())

    def test_a_resource_without_its_channel(self) -> None:
        """Section 3: what is kept of a dropped channel can be read, and raises Hangup where a call is needed."""
        channel = self.answer()
        player, detector = channel.FilePlayer, channel.DTMFDetector
        self.write("hello.wav", tone(700, seconds=0.5))
        self.run_until(player.play("hello.wav"), 5)
        self.alice.hang_up()
        self.run_until(channel.wait_for_idle(), 5)
        self.exchange.on_call = None
        del channel, self.channel, self.outcome
        self.settle()
        self.assertIs(player.cause(), JobCause.NORMAL)
        self.failureResultOf(player.play("hello.wav"), Hangup)
        self.failureResultOf(detector.get_digits(), Hangup)

    def test_a_recording_that_outlives_its_channel(self) -> None:
        """I6: the verb ends, with HANGUP, when the file is complete, although nobody keeps the channel meanwhile."""
        channel = self.answer()
        verb = channel.FileRecorder.record("x.wav")
        self.exchange.on_call = None
        del channel, self.channel, self.outcome
        self.alice.hang_up()
        self.assertIs(self.run_until(verb, 5), JobCause.HANGUP)
