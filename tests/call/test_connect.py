"""`connect` and `disconnect` (``api.md`` section 4), and what becomes of media jobs meanwhile."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.call.resources import JobCause, TonePlayer
from telephony.errors import Error, Hangup
from telephony.testing.sounds import tone
from tests.call.media_scene import breaks, packets_of
from tests.call.transfer_scene import ALICE, BOB, TransferScene


class ConnectTests(TransferScene):
    """Alice has called in, bob has been called; the application connects them."""

    def setUp(self) -> None:
        super().setUp()
        self.write("hello.wav", tone(700, seconds=1))
        self.inbound = self.answer()
        self.outbound = self.call_bob()

    def connect(self) -> None:
        """Connect them."""
        self.assertIs(self.successResultOf(self.inbound.connect(self.outbound)), True)

    def test_both_hear_each_other(self) -> None:
        """Section 4: from the next packet on; the states stay ANSWERED; `disconnect` from either parts them."""
        for channel in (self.inbound, self.outbound):
            self.connect()
            self.assert_talking()
            self.assertEqual((self.inbound.state(), self.outbound.state()), (State.ANSWERED, State.ANSWERED))
            self.assertIs(self.successResultOf(channel.disconnect()), True)
            self.assert_deaf("alice", BOB)
            self.assert_deaf("bob", ALICE)
            self.assertIs(self.successResultOf(self.inbound.disconnect()), False, "nothing to part")
        for phone in (self.alice, self.bob):
            self.assertEqual(breaks(packets_of(phone)), [])

    def test_in_order(self) -> None:
        """Section 4: IDLE is Hangup, not ANSWERED Error, the other not ANSWERED False, busy Error: in this order."""
        idle, calling = self.exchange.channel(), self.exchange.channel()
        calling.start_call("sip:nobody@10.0.0.77")
        self.failureResultOf(idle.connect(calling), Hangup)
        self.failureResultOf(calling.connect(idle), Error)
        for wrong in (self.inbound, None, "c2"):
            text = str(self.failureResultOf(self.inbound.connect(wrong), Error).value)  # type: ignore[arg-type]
            self.assertIn("other_call=", text)
        self.inbound.DTMFPlayer.start("1,,,,,,")
        for other in (idle, calling):
            self.assertIs(self.successResultOf(self.inbound.connect(other)), False)
        self.assertIn("this channel is busy with digits", self.refused(self.inbound.connect(self.outbound)))
        self.assertIn("the other channel is busy with digits", self.refused(self.outbound.connect(self.inbound)))
        self.inbound.DTMFPlayer.stop()
        self.connect()
        calling.hang_up()
        self.settle()

    def refused(self, verb: Deferred[Any]) -> str:
        """Return the sentence of an Error."""
        return str(self.failureResultOf(verb, Error).value)

    def test_connected_already(self) -> None:
        """Section 4: either connected already is an Error; nobody is parted by it."""
        third = self.phone("carol")
        more = self.exchange.channel()
        verb = more.call(third.uri)
        self.run_until(third.until("incoming"))
        third.answer()
        self.run_until(verb, 5)
        self.connect()
        for one, other in ((self.inbound, self.outbound), (self.inbound, more), (more, self.outbound)):
            self.assertIn("a connection to another call", self.refused(one.connect(other)))
        self.assert_talking()

    def test_transmitters_while_connected(self) -> None:
        """Section 4: while connected, transmit verbs raise Error on both, and are allowed again behind it."""
        self.connect()
        verbs: list[Deferred[Any]] = []
        for channel in (self.inbound, self.outbound):
            verbs += [
                channel.FilePlayer.play("hello.wav"),
                channel.DTMFPlayer.play("1"),
                TonePlayer(channel).play("DIAL"),
                channel.retrievable_transfer(self.exchange.channel(), self.bob.uri),
            ]
        for verb in verbs:
            self.assertIn("connection", self.refused(verb))
        self.assert_talking()
        self.run_until(self.inbound.disconnect())
        self.assertIs(self.run_until(self.outbound.FilePlayer.play("hello.wav"), 5), JobCause.NORMAL)

    def test_receivers_while_connected(self) -> None:
        """Section 4: while connected, receive verbs work on both: `record` and `get_digits`."""
        self.connect()
        self.advance(0.2)
        verbs = [
            self.inbound.FileRecorder.record("alice.wav", seconds_timeout=2),
            self.outbound.FileRecorder.record("bob.wav", seconds_timeout=2),
        ]
        digits = [
            channel.DTMFDetector.get_digits(count=2, seconds_predigits_timeout=9)
            for channel in (self.inbound, self.outbound)
        ]
        self.advance(1)
        self.alice.press("12")
        self.bob.press("34")
        self.assertEqual([self.run_until(one, 5) for one in digits], ["12", "34"])
        self.assertEqual([self.run_until(one, 5) for one in verbs], [JobCause.TIMEOUT] * 2)
        self.assertEqual((self.alice.digits, self.bob.digits), ("34", "12"), "and they pass on")
        for name, own, other in (("alice.wav", ALICE, BOB), ("bob.wav", BOB, ALICE)):
            self.assertNotEqual(self.recorded(name, own), [])
            self.assertEqual(self.recorded(name, other), [])

    def test_receivers_go_on_over_it(self) -> None:
        """Section 6: a recording that runs is not disturbed by connecting and parting."""
        record = self.inbound.FileRecorder.record("alice.wav", seconds_timeout=4)
        self.advance(1)
        self.connect()
        self.advance(1)
        self.inbound.disconnect()
        self.assertIs(self.run_until(record, 5), JobCause.TIMEOUT)
        [heard] = self.recorded("alice.wav", ALICE)
        self.assertGreater(heard.seconds, 3.9)

    def test_either_end(self) -> None:
        """Section 4: one party's end parts them; the other call stays, with its audio the application's."""
        self.connect()
        self.advance(0.5)
        self.bob.hang_up()
        self.advance(0.1)
        self.assertEqual((self.inbound.state(), self.outbound.state()), (State.ANSWERED, State.IDLE))
        self.assert_deaf("alice", BOB)
        self.assertIs(self.run_until(self.inbound.FilePlayer.play("hello.wav"), 5), JobCause.NORMAL)
        self.assertEqual(breaks(packets_of(self.alice)), [])
        self.failureResultOf(self.outbound.disconnect(), Hangup)

    def test_our_own_hang_up(self) -> None:
        """Section 4: the same by hang_up and by reject."""
        self.connect()
        self.run_until(self.inbound.hang_up(), 5)
        self.assertIs(self.outbound.state(), State.ANSWERED)
        self.assert_deaf("bob", ALICE)
        self.assertIs(self.run_until(self.outbound.reject(), 5), State.IDLE)
        self.advance(1)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)

    def test_a_refused_redirection_parts_them(self) -> None:
        """Section 3: ERROR is no place to talk: a 3xx reject of a connected call parts it from the other."""
        self.connect()
        self.inbound.reject(raw_cause="302")
        self.assert_deaf("alice", BOB)
        self.assert_deaf("bob", ALICE)
        self.assertIs(self.outbound.state(), State.ANSWERED)
        self.failureResultOf(self.inbound.disconnect(), Error)
        self.inbound.hang_up()

    def test_with_a_call_being_transferred(self) -> None:
        """Section 4: a call that takes part in a transfer can't be connected."""
        TonePlayer(self.inbound)
        other = self.exchange.channel()
        verb = self.inbound.retrievable_transfer(other, self.bob.uri)
        self.run_until(lambda: len(self.bob.calls) == 2, 5)
        self.assertIs(self.successResultOf(self.outbound.connect(self.inbound)), False)
        self.assertIs(self.successResultOf(self.outbound.connect(other)), False)
        self.bob.answer()
        self.run_until(verb, 5)
        self.assertIs(self.successResultOf(self.outbound.connect(self.inbound)), False)
        self.assertIn("a transferred caller", self.refused(self.outbound.connect(other)))
        self.assertIn("a transferred caller", self.refused(other.connect(self.outbound)))


class RoundTests(TransferScene):
    """Calls that come and go on the same channels."""

    def test_many_rounds(self) -> None:
        """I4: call, connect, part, hang up, again and again: nothing is left over by any of them."""
        one, two = self.exchange.channel(), self.exchange.channel()

        async def round_(one: CallChannel, two: CallChannel) -> None:
            self.assertIs(await one.call(self.alice.uri), State.ANSWERED)
            self.assertIs(await two.call(self.bob.uri), State.ANSWERED)
            self.assertIs(await one.connect(two), True)
            self.assertIs(await one.wait_for_idle(1), State.ANSWERED)
            self.assertIs(await two.disconnect(), True)
            self.assertIs(await one.hang_up(), State.IDLE)
            self.assertIs(await two.hang_up(), State.IDLE)

        self.alice.auto_answer = self.bob.auto_answer = 0.1
        for _ in range(5):
            self.run_until(Deferred.fromCoroutine(round_(one, two)), 30)
            one, two = two, one
        self.assertEqual(self.exchange.channels, {})
        self.assertEqual(self.exchange.ports.in_use, 0)
        self.assertEqual(len(self.exchange.media_clock), 0)
