"""The races of ``transfer.md`` that belong to calls: each row by name, judged by what caller and target saw."""

from __future__ import annotations

from telephony.call.constants import Cause, State, TransferCause
from telephony.errors import Hangup
from tests.call.scene import Scene


class BeforeTheAnswerTests(Scene):
    """Rows about a target that has not answered."""

    def test_nominal(self) -> None:
        """``transfer.md``, nominal ladder: 180 gives RING_OUTGOING, 200 TRANSFERRED, BYE brings the caller back."""
        self.transferred()
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.network.advance(0.1)
        self.assertEqual(len(self.requests(self.bob, "ACK")), 1)
        self.bob.hang_up()
        self.network.advance(1)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL, Cause.NORMAL)
        self.assertEqual(
            self.steps,
            [
                State.ANSWERING,
                State.ANSWERED,
                State.TRANSFERRING,
                State.TRANSFERRED,
                State.RECONNECTING,
                State.ANSWERED,
            ],
        )
        self.assertEqual(self.other_steps, [State.CALL_OUTGOING, State.RING_OUTGOING, State.ANSWERED, State.IDLE])
        self.assertEqual(self.requests(self.alice, "BYE"), [])
        self.assertEqual(len(self.requests(self.alice, "INVITE")), 0, "the caller is never re-INVITEd")
        hung_up = self.channel.hang_up()
        self.assertIs(self.network.run_until(hung_up, 5), State.IDLE)
        self.network.advance(1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)
        self.assert_clean()

    def test_r1_caller_hangs_up_before_any_response(self) -> None:
        """R1: the CANCEL is held until a 1xx has come (RFC 3261 9.1); the outcome is IDLE, IDLE, HANGUP at once."""
        self.bob.quirks.slow = 2.0
        verb = self.transfer()
        self.network.advance(0.5)
        self.alice.hang_up()
        self.assertIs(self.network.run_until(verb, 1), State.IDLE)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.HANGUP)
        self.assertEqual(self.requests(self.bob, "CANCEL"), [])
        self.network.advance(10)
        self.assertEqual(len(self.requests(self.bob, "CANCEL")), 1)
        self.assertEqual(len(self.responses(self.alice, 200)), 2, "to her INVITE and to her BYE")
        self.settle()

    def test_r1_without_any_response(self) -> None:
        """R1: without a 1xx timer B ends the INVITE, and nothing else is sent."""
        self.bob.quirks.deaf = True
        verb = self.transfer()
        self.network.advance(0.5)
        self.alice.hang_up()
        self.assertIs(self.network.run_until(verb, 1), State.IDLE)
        self.settle(70)
        self.assertEqual([m.method for m in self.all_requests(self.bob)], ["INVITE"] * 7)

    def test_r2_cancel_crosses_200(self) -> None:
        """R2: a 200 that crosses our CANCEL is acknowledged and ended with BYE; its SDP is ignored."""
        self.bob.quirks.answer_on_cancel = True
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.ring()
        self.network.advance(0.5)
        self.alice.hang_up()
        self.assertIs(self.network.run_until(verb, 1), State.IDLE)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.HANGUP)
        self.network.advance(1)
        for method in ("CANCEL", "ACK", "BYE"):
            self.assertEqual(len(self.requests(self.bob, method)), 1, method)
        self.settle()

    def test_r3_ring_timeout(self) -> None:
        """R3: CANCEL with a Reason at the deadline, the verb ends then; the 487 is acknowledged in the background."""
        verb = self.transfer(seconds_timeout=8)
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.ring()
        began = self.network.clock.seconds()
        self.assertIs(self.network.run_until(verb, 20), State.ANSWERED)
        self.assertLess(self.network.clock.seconds() - began, 9.0)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.TIMEOUT, Cause.TIMEOUT)
        self.settle()
        [cancel] = self.requests(self.bob, "CANCEL")
        self.assertEqual(cancel.get("Reason"), 'SIP;cause=408;text="Request Timeout"')
        self.assertEqual(len(self.requests(self.bob, "ACK")), 1)
        self.assertEqual(self.requests(self.alice, "BYE"), [])

    def test_r4_refusals(self) -> None:
        """R4: 4xx and 6xx are the target's word; what says more about the path, and 5xx, is FAIL."""
        rows = {
            486: (TransferCause.TARGETREJECT, Cause.BUSY),
            600: (TransferCause.TARGETREJECT, Cause.BUSY),
            603: (TransferCause.TARGETREJECT, Cause.REJECTED),
            480: (TransferCause.TARGETREJECT, Cause.NOANSWER),
            404: (TransferCause.TARGETREJECT, Cause.UNOBTAINABLE),
            408: (TransferCause.TARGETREJECT, Cause.NOANSWER),
            403: (TransferCause.TARGETREJECT, Cause.BARRED),
            401: (TransferCause.FAIL, Cause.FAILED),
            407: (TransferCause.FAIL, Cause.FAILED),
            482: (TransferCause.FAIL, Cause.FAILED),
            483: (TransferCause.FAIL, Cause.FAILED),
            500: (TransferCause.FAIL, Cause.FAILED),
            502: (TransferCause.FAIL, Cause.OUTOFORDER),
            503: (TransferCause.FAIL, Cause.CONGESTION),
        }
        verb = self.transfer()
        for round_, (status, (transfer_cause, cause)) in enumerate(rows.items()):
            if round_:
                verb = self.channel.retrievable_transfer(self.other, self.bob.uri)
            self.assertIs(self.channel.transfer_cause(), TransferCause.NONE)
            self.network.run_until(lambda n=round_: len(self.bob.calls) == n + 1, 5)  # type: ignore[misc]
            self.bob.reject(status)
            self.assertIs(self.network.run_until(verb, 5), State.ANSWERED, status)
            self.assert_outcome(State.ANSWERED, State.IDLE, transfer_cause, cause)
            self.assertEqual(self.other.Details.raw_cause, status)
            self.network.advance(0.1)
            self.assertEqual(len(self.requests(self.bob, "ACK")), round_ + 1)
        self.assertEqual(self.requests(self.alice, "BYE"), [])

    def test_r5_silence_is_fail_after_timer_b(self) -> None:
        """R5: no response at all ends with timer B and FAIL; 64*T1 is 32 s."""
        self.bob.quirks.deaf = True
        verb = self.transfer(seconds_timeout=120)
        began = self.network.clock.seconds()
        self.assertIs(self.network.run_until(verb, 60), State.ANSWERED)
        self.assertApproximates(self.network.clock.seconds() - began, 32.0, 0.5)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL, Cause.NOANSWER)
        self.assertEqual(self.other.Details.raw_cause, 0)

    def test_r5_silence_and_a_shorter_limit(self) -> None:
        """R5: TIMEOUT when the application's own time runs out first."""
        self.bob.quirks.deaf = True
        verb = self.transfer(seconds_timeout=4)
        began = self.network.clock.seconds()
        self.assertIs(self.network.run_until(verb, 60), State.ANSWERED)
        self.assertLessEqual(self.network.clock.seconds() - began, 5.0)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.TIMEOUT, Cause.TIMEOUT)
        self.settle()

    def test_r5_refused_connection(self) -> None:
        """R5: a TCP target that nobody listens for is FAIL at once."""
        verb = self.transfer(call_to="sip:nobody@10.0.0.99:5999;transport=tcp", seconds_timeout=60)
        self.assertIs(self.network.run_until(verb, 60), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL, Cause.NOANSWER)

    def test_connection_lost_before_any_response(self) -> None:
        """Rule 1 and R5: the INVITE's connection breaks, which is FAIL; a 200 that comes after all: ACK, BYE."""
        self.bob.quirks.trying = False
        verb = self.transfer(call_to=self.bob.contact("TCP"))
        self.network.run_until(self.bob.until("incoming"), 5)
        self.assertEqual(self.network.reset_streams("10.0.0.1", self.bob.address[0]), 1)
        self.assertIs(self.network.run_until(verb, 1), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL, Cause.NOANSWER)
        self.bob.answer()
        self.network.advance(1)
        self.assertEqual(len(self.requests(self.bob, "ACK")), 1)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)

    def test_r7a_bye_processed_before_the_200(self) -> None:
        """R7a: 200 to the early BYE, the 2xx is acknowledged, no BYE of ours; TARGETHANGUP."""
        self.bob.quirks.bye_before_200 = True
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.ring()
        self.network.advance(0.2)
        self.bob.answer()
        self.assertIs(self.network.run_until(verb, 5), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.TARGETHANGUP)
        self.settle()
        self.assertEqual(len(self.requests(self.bob, "ACK")), 1)
        self.assertEqual(self.requests(self.bob, "BYE"), [])
        self.assertEqual(self.bob.unacknowledged, 0)

    def test_r7b_bye_right_behind_the_200(self) -> None:
        """R7b: the verb returns TRANSFERRED, the state when it ended; the call has come back by itself since."""
        self.bob.quirks.bye_behind_200 = True
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.answer()
        self.assertIs(self.network.run_until(verb, 5), State.TRANSFERRED)
        self.network.advance(0.1)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL)
        self.assertEqual(self.requests(self.bob, "BYE"), [])

    def test_r16_forked_200s(self) -> None:
        """R16: the first 200 wins; the other one is acknowledged and ended with BYE (RFC 3261 13.2.2.4)."""
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        call = self.bob.call
        call.ring(tag="fork-one")
        call.ring(tag="fork-two")
        self.network.advance(0.2)
        call.answer(tag="fork-one")
        call.answer(tag="fork-two")
        self.assertIs(self.network.run_until(verb, 5), State.TRANSFERRED)
        self.network.advance(2)
        self.assertEqual(dict(call.acks), {"fork-one": 1, "fork-two": 1})
        self.assertEqual(dict(call.byes), {"fork-two": 1})
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)

    def test_r20_answer_without_sdp(self) -> None:
        """R20: a 200 without SDP and without an earlier answer: ACK, BYE, FAIL."""
        self.bob.quirks.no_sdp_in_200 = True
        self.check_unusable()

    def test_r20_port_zero(self) -> None:
        """R20: an answer that refuses the audio: ACK, BYE, FAIL."""
        self.bob.quirks.port_zero = True
        self.check_unusable()

    def test_r20_unusable_sdp(self) -> None:
        """R20: an answer that is no SDP: ACK, BYE, FAIL."""
        self.bob.quirks.sdp = b"this is no session description\r\n"
        self.check_unusable()

    def check_unusable(self) -> None:
        """Answer with what can't be used."""
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.answer()
        self.assertIs(self.network.run_until(verb, 5), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL, Cause.FAILED)
        self.network.advance(1)
        self.assertEqual(len(self.requests(self.bob, "ACK")), 1)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.assertEqual(self.requests(self.alice, "BYE"), [])

    def test_r20_answer_in_the_183(self) -> None:
        """R20: where the 200 has no SDP, the 183's on the same To-tag is the answer, which is accepted."""
        self.bob.quirks.no_sdp_in_200 = True
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.ring(183, sdp=True)
        self.network.advance(0.2)
        self.bob.answer()
        self.assertIs(self.network.run_until(verb, 5), State.TRANSFERRED)

    def test_max_forwards_used_up(self) -> None:
        """Rule 8: Max-Forwards to the target is the caller's minus one; at zero nothing is sent and it is FAIL."""

        def altered(message: object) -> object:
            if getattr(message, "method", "") == "INVITE":
                message.set("Max-Forwards", "1")  # type: ignore[attr-defined]
            return message

        self.alice.quirks.alter = altered  # type: ignore[assignment]
        verb = self.transfer()
        self.assertIs(self.network.run_until(verb, 5), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL)
        self.assertEqual(self.all_requests(self.bob), [])

    def test_max_forwards_counts_down(self) -> None:
        """Rule 8: the target sees one less than the caller sent."""
        self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        [invite] = self.requests(self.bob, "INVITE")
        self.assertEqual(invite.max_forwards, 69)


class AfterTheAnswerTests(Scene):
    """Rows about two parties that talk."""

    def test_r8_caller_hangs_up_as_the_target_answers(self) -> None:
        """R8: the caller's BYE processed first: the 200 is acknowledged and ended; HANGUP; one BYE a dialog."""
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.ring()
        self.network.advance(0.5)
        self.alice.hang_up()
        self.network.run_until(lambda: self.channel.state() is State.IDLE, 1)
        self.bob.answer()
        self.assertIs(self.network.run_until(verb, 5), State.IDLE)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.HANGUP)
        self.settle()
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.assertEqual(len(self.requests(self.bob, "ACK")), 1)
        self.assertEqual(self.requests(self.alice, "BYE"), [])

    def test_r8_target_answers_as_the_caller_hangs_up(self) -> None:
        """R8, the other order: the 200 processed first: TRANSFERRED, then both dialogs end, the target's by one BYE."""
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.answer()
        self.alice.hang_up()
        self.assertIs(self.network.run_until(verb, 5), State.TRANSFERRED)
        self.settle()
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.NORMAL)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.assertEqual(self.requests(self.alice, "BYE"), [])

    def test_caller_hangs_up_while_transferred(self) -> None:
        """Rule 6, ``api.md`` section 5: the caller's end ends the target; both are IDLE within a second."""
        self.transferred()
        self.alice.hang_up()
        self.network.advance(0.5)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.NORMAL)
        self.network.advance(0.5)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)

    def test_r9_bye_glare(self) -> None:
        """R9: 200 to their BYE while ours is out; their answer to ours, whatever it is, ends it."""
        self.transferred()
        self.channel.hang_up()
        self.alice.hang_up()
        self.bob.hang_up()
        self.network.advance(1)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.NORMAL)
        for phone in (self.alice, self.bob):
            self.assertEqual(len(self.requests(phone, "BYE")), 1)
            self.assertEqual(len(phone.got(481)) + len([m for m in phone.got(200) if m.cseq.method == "BYE"]), 1)
        self.settle()

    def test_r13_retrieve_after_the_targets_bye(self) -> None:
        """R13: a retrieval that comes late finds the call back already, and returns ANSWERED."""
        self.transferred()
        self.bob.hang_up()
        self.network.advance(1)
        self.assertIs(self.network.run_until(self.channel.retrieve_transferred_call(), 1), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL)

    def test_r13_retrieve_before_the_targets_bye(self) -> None:
        """R13: B is ANSWERED after a retrieval, an ordinary channel, and goes IDLE when its BYE comes."""
        self.transferred()
        verb = self.channel.retrieve_transferred_call()
        self.assertIs(self.channel.state(), State.RECONNECTING)
        self.assertIs(self.network.run_until(verb, 1), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.ANSWERED, TransferCause.NORMAL)
        self.assertEqual(self.requests(self.bob, "BYE"), [])
        self.bob.hang_up()
        self.network.advance(1)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL)

    def test_r14_retrieve_after_the_caller_hung_up(self) -> None:
        """R14: the caller's BYE processed before the verb: Hangup; the wait verb returns IDLE instead."""
        self.transferred()
        self.alice.hang_up()
        self.network.advance(1)
        self.failureResultOf(self.channel.retrieve_transferred_call(), Hangup)
        self.assertIs(self.successResultOf(self.channel.wait_for_transferred_call_retrieval()), State.IDLE)

    def test_r14_caller_hangs_up_while_reconnecting(self) -> None:
        """R14: during RECONNECTING the verb returns IDLE."""
        self.transferred()
        verb = self.channel.retrieve_transferred_call()
        self.channel.release()
        self.assertIs(self.network.run_until(verb, 1), State.IDLE)

    def test_wait_for_retrieval(self) -> None:
        """``api.md`` section 5: the wait ends with the state when the target hangs up, or at its time."""
        self.transferred()
        self.assertIs(self.network.run_until(self.channel.wait_for_transferred_call_retrieval(3), 5), State.TRANSFERRED)
        wait = self.channel.wait_for_transferred_call_retrieval()
        self.bob.hang_up()
        self.assertIs(self.network.run_until(wait, 5), State.ANSWERED)
        self.assertIs(self.successResultOf(self.channel.wait_for_transferred_call_retrieval()), State.ANSWERED)

    def test_other_call_hangs_up(self) -> None:
        """``api.md`` section 5: other_call.hang_up() while TRANSFERRED retrieves the caller."""
        self.transferred()
        self.network.run_until(self.other.hang_up(), 5)
        self.network.advance(1)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.assertEqual(self.requests(self.alice, "BYE"), [])

    def test_channel_hangs_up(self) -> None:
        """``api.md`` section 5: channel.hang_up() while TRANSFERRED ends both."""
        self.transferred()
        self.network.run_until(self.channel.hang_up(), 5)
        self.network.advance(1)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.NORMAL)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_hang_ups_while_transferring(self) -> None:
        """``api.md`` section 3: other_call.hang_up() while TRANSFERRING sets FAIL, channel.hang_up() HANGUP."""
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.ring()
        self.network.advance(0.5)
        self.other.hang_up()
        self.assertIs(self.network.run_until(verb, 1), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL)
        verb = self.channel.retrievable_transfer(self.other, self.bob.uri)
        self.network.run_until(lambda: len(self.bob.calls) == 2, 5)
        self.bob.ring()
        self.network.advance(0.5)
        self.channel.hang_up()
        self.assertIs(self.network.run_until(verb, 1), State.IDLE)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.HANGUP)
        self.network.advance(1)
        self.assertEqual(len(self.requests(self.bob, "CANCEL")), 2)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_cancelled_verb(self) -> None:
        """Rule 4 of the architecture: cancelling the transfer's Deferred gives the target up on the wire."""
        verb = self.transfer()
        verb.addErrback(lambda _cancelled: None)
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.ring()
        self.network.advance(0.5)
        verb.cancel()
        self.network.advance(1)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL)
        self.assertEqual(len(self.requests(self.bob, "CANCEL")), 1)

    def test_r35_no_ack_from_the_caller(self) -> None:
        """R35: the 2xx is repeated for 64*T1, then BYE (RFC 3261 13.3.1.4); IDLE with cause TIMEOUT."""
        self.alice.quirks.no_ack = True

        async def application(channel: object) -> State:
            return await channel.answer()  # type: ignore[attr-defined, no-any-return]

        self.run_application(application)
        self.dial_in()
        self.assertIs(self.network.run_until(self.outcome, 40), State.IDLE)
        self.assertIs(self.channel.cause(), Cause.TIMEOUT)
        self.network.advance(1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_r36_cancel_crosses_our_200(self) -> None:
        """R36: 200 to the CANCEL, the INVITE stays answered; the caller's ACK and BYE end it."""

        async def application(channel: object) -> State:
            return await channel.answer()  # type: ignore[attr-defined, no-any-return]

        self.run_application(application)
        self.alice.dial(self.uri("3300"))
        self.network.run_until(lambda: hasattr(self, "channel") and self.channel.state() is State.ANSWERING, 5)
        self.alice.cancel()
        self.network.advance(5)
        self.assertEqual(self.responses(self.alice, 487), [])
        self.assertEqual(len([m for m in self.responses(self.alice, 200) if m.cseq.method == "INVITE"]), 1)
        self.settle()
        self.assertIs(self.channel.state(), State.IDLE)

    def test_r38_application_ends_while_transferred(self) -> None:
        """R38: releasing both channels, as an instance does when its main has raised, ends both legs."""
        self.transferred()
        self.channel.release()
        self.other.release()
        self.network.advance(1)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.NORMAL)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)
