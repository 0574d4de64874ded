"""Verbs of outgoing calls and of ending any call (``api.md`` sections 3 and 4): states, values, causes, cancelling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred

from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State
from telephony.errors import Error, Hangup, TelephonyError
from tests.call.scene import Scene

#: ``api.md`` section 3, the table of causes, row by row; 400 and 500 stand for "any other status".
CAUSES = {
    486: Cause.BUSY,
    600: Cause.BUSY,
    408: Cause.NOANSWER,
    480: Cause.NOANSWER,
    487: Cause.NOANSWER,
    404: Cause.UNOBTAINABLE,
    484: Cause.UNOBTAINABLE,
    604: Cause.UNOBTAINABLE,
    410: Cause.CHANGED,
    502: Cause.OUTOFORDER,
    403: Cause.BARRED,
    603: Cause.REJECTED,
    607: Cause.REJECTED,
    503: Cause.CONGESTION,
    300: Cause.FAILED,
    302: Cause.FAILED,
    400: Cause.FAILED,
    401: Cause.FAILED,
    488: Cause.FAILED,
    500: Cause.FAILED,
    606: Cause.FAILED,
}


class OutgoingTests(Scene):
    """A channel that calls bob."""

    def setUp(self) -> None:
        super().setUp()
        self.out = self.extra_channel()

    def test_fresh_channel(self) -> None:
        """Section 4: a fresh channel is IDLE with cause NORMAL and no details."""
        self.assertIs(self.out.state(), State.IDLE)
        self.assertIs(self.out.cause(), Cause.NORMAL)
        self.assertEqual((self.out.Details.raw_cause, self.out.Details.call_id, self.out.Details.headers), (0, "", {}))
        self.assertIs(self.out.State.IDLE, State.IDLE)
        self.assertIs(CallChannel.State.ANSWERED, State.ANSWERED)
        self.assertEqual(str(self.out.State.ANSWERED), "ANSWERED")

    def test_call_answered(self) -> None:
        """Section 4: `call` fires with ANSWERED, over CALL_OUTGOING and RING_OUTGOING."""
        verb = self.out.call(self.bob.uri)
        self.assertIs(self.out.state(), State.CALL_OUTGOING)
        self.run_until(self.bob.until("incoming"))
        self.bob.ring()
        self.advance(0.1)
        self.assertIs(self.out.state(), State.RING_OUTGOING)
        self.assertNoResult(verb)
        self.bob.answer()
        self.assertIs(self.run_until(verb, 1), State.ANSWERED)
        self.assertIs(self.out.cause(), Cause.NORMAL)
        self.assertEqual(self.other_steps, [State.CALL_OUTGOING, State.RING_OUTGOING, State.ANSWERED])

    def test_each_ringing_status(self) -> None:
        """Section 3: RING_OUTGOING on the first 180 to 183, and on no other provisional response."""
        for status, state in {
            100: State.CALL_OUTGOING,
            199: State.CALL_OUTGOING,
            180: State.RING_OUTGOING,
            181: State.RING_OUTGOING,
            182: State.RING_OUTGOING,
            183: State.RING_OUTGOING,
        }.items():
            channel = self.exchange.channel()
            calls = len(self.bob.calls)
            channel.call(self.bob.uri)
            self.run_until(lambda n=calls: len(self.bob.calls) > n, 5)  # type: ignore[misc]
            if status > 100:
                self.bob.ring(status)
            self.advance(0.1)
            self.assertIs(channel.state(), state, status)
            self.bob.reject()
            self.advance(0.1)
            self.assertIs(channel.state(), State.IDLE)

    def test_every_status_of_the_table(self) -> None:
        """Section 3: how each final status becomes a cause, with raw_cause and raw_reason beside it."""
        for round_, (status, cause) in enumerate(CAUSES.items()):
            verb = self.out.call(self.bob.uri)
            self.assertIs(self.out.cause(), Cause.NORMAL, "while the call has not ended")
            self.run_until(lambda n=round_: len(self.bob.calls) == n + 1, 5)  # type: ignore[misc]
            self.bob.reject(status)
            self.assertIs(self.run_until(verb, 5), State.IDLE, status)
            self.assertIs(self.out.cause(), cause, status)
            self.assertEqual(self.out.Details.raw_cause, status)
            self.assertNotEqual(self.out.Details.raw_reason, "")
            self.advance(0.1)
            self.assertEqual(len(self.requests(self.bob, "ACK")), round_ + 1)

    def test_no_response_is_noanswer(self) -> None:
        """Section 3: no response at all is NOANSWER with raw_cause 0, after timer B (64*T1)."""
        self.bob.quirks.deaf = True
        began = self.network.clock.seconds()
        self.assertIs(self.run_until(self.out.call(self.bob.uri), 60), State.IDLE)
        self.assertApproximates(self.network.clock.seconds() - began, 32.0, 0.5)
        self.assertIs(self.out.cause(), Cause.NOANSWER)
        self.assertEqual(self.out.Details.raw_cause, 0)

    def test_host_name(self) -> None:
        """Section 4: a target with a host name is looked up; its Details are those of any other call."""
        self.network.names["bob.example"] = ["10.0.1.2"]
        verb = self.out.call("sip:bob@bob.example:5060")
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.assertEqual(self.out.Details.call_id, self.bob.call.call_id)
        self.assertEqual(self.requests(self.bob, "INVITE")[0].uri, "sip:bob@bob.example:5060")

    def test_unknown_host_name(self) -> None:
        """Section 3: a name that leads nowhere is no response at all: NOANSWER."""
        self.assertIs(self.run_until(self.out.call("sip:bob@nowhere.example"), 60), State.IDLE)
        self.assertIs(self.out.cause(), Cause.NOANSWER)
        self.assertIn("nowhere.example", self.out.Details.raw_reason)

    def test_hang_up_while_the_name_is_looked_up(self) -> None:
        """Rule 7: hang_up ends a call whose target is still being looked up; nothing is ever sent."""
        self.network.names["bob.example"] = ["10.0.1.2"]
        self.network.hosts["10.0.0.1"].network.resolve_delay = 3
        verb = self.out.call("sip:bob@bob.example:5060")
        self.assertIs(self.run_until(self.out.hang_up(), 1), State.IDLE)
        self.assertIs(self.run_until(verb, 1), State.IDLE)
        self.settle()
        self.assertEqual(self.all_requests(self.bob), [])

    def test_timeout(self) -> None:
        """Section 3: TIMEOUT when the application's own time ran out, at the deadline; CANCEL with its Reason."""
        began = self.network.clock.seconds()
        verb = self.out.call(self.bob.uri, seconds_timeout=5)
        self.run_until(self.bob.until("incoming"))
        self.bob.ring()
        self.assertIs(self.run_until(verb, 10), State.IDLE)
        self.assertApproximates(self.network.clock.seconds() - began, 5.0, 0.05)
        self.assertIs(self.out.cause(), Cause.TIMEOUT)
        self.assertEqual(self.out.Details.raw_cause, 0)
        self.settle()
        [cancel] = self.requests(self.bob, "CANCEL")
        self.assertEqual(cancel.get("Reason"), 'SIP;cause=408;text="Request Timeout"')

    def test_timeout_of_zero(self) -> None:
        """Rule 7: a limit of 0 ends the call at once; its CANCEL still waits for a 1xx (RFC 3261 9.1)."""
        self.assertIs(self.run_until(self.out.call(self.bob.uri, seconds_timeout=0), 1), State.IDLE)
        self.assertIs(self.out.cause(), Cause.TIMEOUT)
        self.settle()
        self.assertEqual(len(self.requests(self.bob, "CANCEL")), 1)

    def test_timeout_covers_the_look_up(self) -> None:
        """Section 4: seconds_timeout covers resolution."""
        self.network.resolve_delay = 50
        self.network.names["bob.example"] = ["10.0.1.2"]
        began = self.network.clock.seconds()
        self.assertIs(self.run_until(self.out.call("sip:bob@bob.example", seconds_timeout=4), 60), State.IDLE)
        self.assertApproximates(self.network.clock.seconds() - began, 4.0, 0.05)
        self.assertIs(self.out.cause(), Cause.TIMEOUT)
        self.settle(60)
        self.assertEqual(self.all_requests(self.bob), [])

    def test_cancelled_call_is_cancelled_on_the_wire(self) -> None:
        """Rule 4 of the architecture: cancelling the verb's Deferred sends CANCEL; the channel is IDLE at once."""
        verb = self.out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.ring()
        self.advance(0.1)
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.assertIs(self.out.state(), State.IDLE)
        self.settle()
        self.assertEqual(len(self.requests(self.bob, "CANCEL")), 1)
        self.assertEqual(self.bob.call.status, 487)
        self.assertIsNone(self.out.running_verb)

    def test_cancelled_wait_changes_nothing(self) -> None:
        """Rule 4 of the architecture: a verb that only waits has nothing to undo."""
        self.out.start_call(self.bob.uri)
        wait = self.out.wait_for_answer()
        idle = self.out.wait_for_idle()
        self.run_until(self.bob.until("incoming"))
        for one in (wait, idle):
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.bob.answer()
        self.advance(0.5)
        self.assertIs(self.out.state(), State.ANSWERED)

    def test_start_call_and_wait(self) -> None:
        """Section 4: `start_call` fires at once with the state, `wait_for_answer` tells what became of it."""
        self.assertIs(self.successResultOf(self.out.start_call(self.bob.uri)), State.CALL_OUTGOING)
        early = self.run_until(self.out.wait_for_answer(2), 5)
        self.assertIs(early, State.CALL_OUTGOING, "its time is up, the call goes on")
        wait = self.out.wait_for_answer()
        self.bob.ring()
        self.advance(1)
        self.assertIs(self.run_until(self.out.wait_for_answer(0), 1), State.RING_OUTGOING)
        self.bob.answer()
        self.assertIs(self.run_until(wait, 5), State.ANSWERED)
        self.assertIs(self.successResultOf(self.out.wait_for_answer()), State.ANSWERED)
        self.bob.hang_up()
        self.advance(0.5)
        self.assertIs(self.successResultOf(self.out.wait_for_answer()), State.IDLE)
        self.assertIs(self.out.cause(), Cause.NORMAL)

    def test_hang_up_at_every_step(self) -> None:
        """Section 4: hang_up in CALL_OUTGOING, RING_OUTGOING and ANSWERED is IDLE at once, and harmless when IDLE."""
        steps: list[tuple[str, Callable[[], None], str]] = [
            ("calling", lambda: None, "CANCEL"),
            ("ringing", lambda: self.bob.ring(), "CANCEL"),
            ("answered", lambda: self.bob.answer(), "BYE"),
        ]
        for round_, (name, step, sent) in enumerate(steps):
            verb = self.out.call(self.bob.uri)
            self.run_until(lambda n=round_: len(self.bob.calls) == n + 1, 5)  # type: ignore[misc]
            step()
            self.advance(0.2)
            self.assertIs(self.successResultOf(self.out.hang_up()), State.IDLE, name)
            self.assertIs(self.run_until(verb, 1), State.ANSWERED if sent == "BYE" else State.IDLE)
            self.assertIs(self.out.cause(), Cause.NORMAL)
            self.settle()
            self.assertEqual(self.bob.call.ended_by, "far", name)
            self.assertGreaterEqual(len(self.requests(self.bob, sent)), 1)
            self.assertIs(self.successResultOf(self.out.hang_up()), State.IDLE)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)

    def test_a_new_call_right_behind_hang_up(self) -> None:
        """Section 5: hang_up ends whatever verb is running, so that the next one may begin when it has fired."""
        verb = self.out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        results: list[object] = []

        def again(_state: object) -> Deferred[State]:
            return self.out.call(self.bob.uri)

        self.out.hang_up().addCallback(again).addBoth(results.append)
        self.run_until(lambda: len(self.bob.calls) == 2, 5)
        self.bob.answer()
        self.run_until(lambda: results, 5)
        self.assertEqual(results, [State.ANSWERED])
        self.assertIs(self.successResultOf(verb), State.IDLE)

    def test_a_new_call_from_who_waited_for_idle(self) -> None:
        """Section 5: the same for who waits for IDLE, though it waited before the verb began."""
        self.out.start_call(self.bob.uri)
        results: list[object] = []
        self.out.wait_for_idle().addCallback(lambda _state: self.out.call(self.bob.uri)).addBoth(results.append)
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.advance(0.5)
        other = self.exchange.channel()
        verb = self.out.retrievable_transfer(other, self.alice.uri)
        self.failureResultOf(verb, Error)
        self.out.create_tone_player()
        verb = self.out.retrievable_transfer(other, self.alice.uri)
        self.advance(0.5)
        self.bob.hang_up()
        self.run_until(lambda: len(self.bob.calls) == 2 or results, 5)
        self.assertEqual(results, [])
        self.assertIs(self.run_until(verb, 5), State.IDLE)

    def test_wait_for_idle(self) -> None:
        """Section 4: legal in any state; fires with the state at IDLE, or when its time is up."""
        self.assertIs(self.successResultOf(self.out.wait_for_idle()), State.IDLE)
        self.out.start_call(self.bob.uri)
        self.assertIs(self.run_until(self.out.wait_for_idle(3), 5), State.CALL_OUTGOING)
        self.bob.answer()
        wait = self.out.wait_for_idle()
        self.advance(1)
        self.assertNoResult(wait)
        self.bob.hang_up()
        self.assertIs(self.run_until(wait, 5), State.IDLE)

    def test_reuse(self) -> None:
        """Section 4 (extension): an IDLE channel can be used again; Details stay until then, and are new then."""
        verb = self.out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.reject(486)
        self.run_until(verb, 5)
        before = self.out.Details
        self.assertEqual((before.raw_cause, before.call_id), (486, self.bob.call.call_id))
        again = self.out.call(self.alice.uri)
        self.assertIsNot(self.out.Details, before)
        self.assertIs(self.out.cause(), Cause.NORMAL)
        self.assertEqual((self.out.Details.raw_cause, self.out.Details.raw_reason), (0, ""))
        self.run_until(self.alice.until("incoming"))
        self.alice.answer()
        self.assertIs(self.run_until(again, 5), State.ANSWERED)
        self.assertEqual(self.out.Details.call_to, self.alice.uri)
        self.assertEqual(before.call_to, self.bob.uri, "who kept them still has them")

    def test_call_seconds(self) -> None:
        """Section 7: ``call_seconds`` ends a connected call with cause TIMEOUT, counted from its own answer."""
        self.exchange.call_seconds = 10
        for _ in range(2):
            verb = self.out.call(self.bob.uri)
            calls = len(self.bob.calls)
            self.run_until(lambda n=calls: len(self.bob.calls) > n, 5)  # type: ignore[misc]
            self.advance(6)
            self.bob.answer()
            self.assertIs(self.run_until(verb, 5), State.ANSWERED)
            began = self.network.clock.seconds()
            self.assertIs(self.run_until(self.out.wait_for_idle(), 20), State.IDLE)
            self.assertApproximates(self.network.clock.seconds() - began, 10.0, 0.1)
            self.assertIs(self.out.cause(), Cause.TIMEOUT)
        self.advance(1)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 2)

    def test_refused_elsewhere(self) -> None:
        """Section 4: `call` on a channel that isn't IDLE is an Error; nothing more is sent."""
        self.out.start_call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        error = self.failureResultOf(self.out.call(self.bob.uri), Error)
        self.assertIn("CALL_OUTGOING", str(error.value))
        self.failureResultOf(self.out.start_call(self.bob.uri), Error)
        self.advance(1)
        self.assertEqual(len(self.bob.calls), 1)

    def test_while_the_server_stops(self) -> None:
        """Section 5: a verb always ends, also when the server is stopping; no new call is placed then."""
        verb = self.out.call(self.bob.uri)
        idle = self.out.wait_for_idle()
        self.run_until(self.bob.until("incoming"))
        self.bob.ring()
        self.advance(0.1)
        closed = self.exchange.close()
        self.failureResultOf(self.exchange.channel().call(self.bob.uri), Error)
        self.assertIs(self.run_until(verb, 1), State.IDLE)
        self.assertIs(self.run_until(idle, 1), State.IDLE)
        self.run_until(closed, 40)


class TwoVerbsTests(Scene):
    """R15: two verbs at once on one channel."""

    def test_second_verb(self) -> None:
        """R15: the second verb raises Error and names the first; exempt are hang_up and the waits."""
        out = self.extra_channel()
        first = out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        verbs: list[Deferred[object]] = [
            out.call(self.bob.uri),
            out.start_call(self.bob.uri),
            out.ring(),
            out.answer(),
            out.connect(self.exchange.channel()),
            out.disconnect(),
            out.retrievable_transfer(self.exchange.channel(), self.bob.uri),
            out.retrieve_transferred_call(),
        ]
        for verb in verbs:
            self.assertIn("call()", str(self.failureResultOf(verb, Error).value))
        self.assertNoResult(first)
        waits = [out.wait_for_answer(), out.wait_for_idle()]
        self.assertIs(self.successResultOf(out.hang_up()), State.IDLE)
        for wait in (first, *waits):
            self.assertIs(self.run_until(wait, 1), State.IDLE)
        self.settle()

    def test_retrieve_beside_a_wait(self) -> None:
        """Section 5: retrieve_transferred_call may run while only a wait runs."""
        self.transferred()
        wait = self.channel.wait_for_transferred_call_retrieval()
        idle = self.channel.wait_for_idle()
        verb = self.channel.retrieve_transferred_call()
        second = self.channel.retrieve_transferred_call()
        self.failureResultOf(second, Error)
        self.assertIs(self.run_until(verb, 1), State.ANSWERED)
        self.assertIs(self.run_until(wait, 1), State.ANSWERED)
        self.assertNoResult(idle)
        self.channel.hang_up()
        self.run_until(idle, 5)

    def test_the_targets_channel_while_transferring(self) -> None:
        """R15: while A is TRANSFERRING, `other_call` takes only hang_up and the readers."""
        self.transfer()
        self.run_until(self.bob.until("incoming"))
        self.bob.ring()
        self.advance(0.2)
        other, third = self.other, self.exchange.channel()
        verbs: list[Deferred[object]] = [
            other.call(self.bob.uri),
            other.ring(),
            other.answer(),
            other.reject(),
            other.connect(self.channel),
            other.retrievable_transfer(third, self.bob.uri),
            other.retrieve_transferred_call(),
            other.FilePlayer.play("x.wav"),
            other.DTMFDetector.get_digits(),
            other.DTMFPlayer.play("1"),
        ]
        for verb in verbs:
            self.failureResultOf(verb, TelephonyError)
        self.assertIs(other.state(), State.RING_OUTGOING)
        self.assertIs(other.cause(), Cause.NORMAL)
        self.assertEqual(other.Details.call_to, self.bob.uri)
        self.assertEqual(len(self.bob.calls), 1)

    def test_everything_else_while_transferred(self) -> None:
        """Section 5: while TRANSFERRED only hang_up, the retrievals, the waits and the readers are legal."""
        self.transferred()
        channel, third = self.channel, self.exchange.channel()
        self.exchange.media_directory = Path(self.mktemp())
        assert channel.TonePlayer is not None
        verbs: list[Deferred[object]] = [
            channel.call(self.bob.uri),
            channel.start_call(self.bob.uri),
            channel.wait_for_answer(),
            channel.ring(),
            channel.answer(),
            channel.reject(),
            channel.connect(self.other),
            channel.disconnect(),
            channel.retrievable_transfer(third, self.bob.uri),
            channel.DTMFDetector.get_digits(),
            channel.DTMFPlayer.play("1"),
            channel.FileRecorder.record("never.wav"),
            channel.TonePlayer.play(),
        ]
        for verb in verbs:
            self.assertIn("TRANSFERRED", str(self.failureResultOf(verb, Error).value))
        self.assertIs(channel.state(), State.TRANSFERRED)
        self.assertFalse(self.exchange.media_directory.exists())
        # The target's channel can still receive, and can't transmit.
        digits = self.other.DTMFDetector.get_digits(count=1, seconds_predigits_timeout=5)
        self.bob.press("7")
        self.assertEqual(self.run_until(digits, 5), "7")
        for verb in (
            self.other.reject(),
            self.other.retrievable_transfer(third, self.bob.uri),
            self.other.retrieve_transferred_call(),
        ):
            self.assertIn("being transferred to", str(self.failureResultOf(verb, Error).value))
        for transmits in (self.other.DTMFPlayer.play("1"), self.other.create_tone_player().play()):
            self.assertIn("a transferred caller", str(self.failureResultOf(transmits, Error).value))


class HangupOrErrorTests(Scene):
    """Section 3: Hangup where the call is gone, Error in any other wrong state."""

    def test_every_verb_on_an_idle_channel(self) -> None:
        """Section 3: a verb that needs a call raises Hangup on IDLE; the exceptions share a base."""
        self.assertTrue(issubclass(Error, TelephonyError) and issubclass(Hangup, TelephonyError))
        out = self.extra_channel()
        out.create_tone_player()
        assert out.TonePlayer is not None
        other = self.exchange.channel()
        verbs: list[Deferred[object]] = [
            out.ring(),
            out.answer(),
            out.reject(),
            out.connect(other),
            out.disconnect(),
            out.retrievable_transfer(other, self.bob.uri),
            out.retrieve_transferred_call(),
            out.DTMFDetector.get_digits(),
            out.DTMFPlayer.play("1"),
            out.FileRecorder.record("x.wav"),
            out.TonePlayer.play(),
        ]
        for index, verb in enumerate(verbs):
            self.assertIn("IDLE", str(self.failureResultOf(verb, Hangup).value), index)
        for harmless in (out.hang_up(), out.wait_for_idle(), out.wait_for_transferred_call_retrieval()):
            self.assertIs(self.successResultOf(harmless), State.IDLE)

    def test_every_verb_on_an_outgoing_call(self) -> None:
        """Section 3: any other wrong state is an Error that says where the verb is legal."""
        out = self.extra_channel()
        out.create_tone_player()
        assert out.TonePlayer is not None
        out.start_call(self.bob.uri)
        other = self.exchange.channel()
        rows: list[tuple[Deferred[object], str]] = [
            (out.ring(), "CALL_INCOMING, RING_INCOMING"),
            (out.answer(), "CALL_INCOMING, RING_INCOMING"),
            (out.reject(), "CALL_INCOMING, RING_INCOMING, ANSWERED, HOLDING, ON_HOLD, ERROR"),
            (out.connect(other), "ANSWERED"),
            (out.disconnect(), "ANSWERED"),
            (out.retrievable_transfer(other, self.bob.uri), "ANSWERED"),
            (out.retrieve_transferred_call(), "ANSWERED, TRANSFERRED, RECONNECTING"),
            (out.wait_for_transferred_call_retrieval(), "ANSWERED, TRANSFERRED, RECONNECTING"),
            (out.DTMFDetector.get_digits(), "ANSWERED"),
            (out.DTMFPlayer.play("1"), "ANSWERED"),
            (out.FileRecorder.record("x.wav"), "ANSWERED"),
            (out.TonePlayer.play(), "ANSWERED"),
        ]
        for verb, allowed in rows:
            text = str(self.failureResultOf(verb, Error).value)
            self.assertIn("CALL_OUTGOING", text)
            self.assertIn(allowed, text)
        out.hang_up()
        self.settle()

    def test_retrieval_of_what_was_never_transferred(self) -> None:
        """Section 4: retrieve_… and wait_for_…retrieval on a plain ANSWERED call are an Error."""
        out = self.extra_channel()
        verb = out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.run_until(verb, 5)
        for one in (out.retrieve_transferred_call(), out.wait_for_transferred_call_retrieval()):
            self.assertIn("has not been transferred", str(self.failureResultOf(one, Error).value))
