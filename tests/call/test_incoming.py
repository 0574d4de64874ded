"""Verbs of an incoming call (``api.md`` section 4): ring, answer, reject, hang_up, and what the caller sees."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred

from telephony.call.channel import CallChannel
from telephony.call.constants import STATUS_OF_CAUSE, Cause, State, TransferCause, cause_of_status
from telephony.errors import Error, Hangup
from telephony.sip.message import Message, Request, Response
from telephony.testing.case import SERVER
from tests.call.scene import Scene


class IncomingScene(Scene):
    """Alice calls; the test is the application."""

    def setUp(self) -> None:
        super().setUp()
        self.run_application(self.nothing)

    async def nothing(self, channel: CallChannel) -> None:
        """Leave the call to the test."""

    def arrive(self, **details: Any) -> CallChannel:
        """Let alice call; the channel in CALL_INCOMING."""
        self.alice.dial(self.uri("3300"), **details)
        before = getattr(self, "channel", None)
        self.run_until(lambda: getattr(self, "channel", None) is not before, 5)
        self.steps.clear()
        return self.channel


class RingTests(IncomingScene):
    """`ring`."""

    def test_ring(self) -> None:
        """Section 4: 180 to the caller, RING_INCOMING; it doesn't block, and again it is harmless."""
        channel = self.arrive()
        self.assertIs(channel.state(), State.CALL_INCOMING)
        self.assertIs(self.successResultOf(channel.ring()), State.RING_INCOMING)
        self.assertIs(self.successResultOf(channel.ring()), State.RING_INCOMING)
        self.advance(0.5)
        self.assertEqual([one.status for one in self.alice.call.provisionals], [100, 180])
        self.assertEqual(self.alice.call.provisionals[-1].body, b"")
        self.assertEqual(self.steps, [State.RING_INCOMING])

    def test_ringing_time(self) -> None:
        """Section 4: with ``seconds_ringtime`` the verb takes that long; other verbs are refused meanwhile (R15)."""
        channel = self.arrive()
        verb = channel.ring(3)
        self.advance(2.9)
        self.assertNoResult(verb)
        self.failureResultOf(channel.answer(), Error)
        self.advance(0.2)
        self.assertIs(self.successResultOf(verb), State.RING_INCOMING)
        self.assertIs(self.run_until(channel.answer(), 5), State.ANSWERED)

    def test_caller_gives_up_while_it_rings(self) -> None:
        """Section 4: the verb ends as soon as the call is over: CANCEL is NOANSWER with 487."""
        channel = self.arrive()
        verb = channel.ring(30)
        self.advance(1)
        self.alice.cancel()
        self.assertIs(self.run_until(verb, 1), State.IDLE)
        self.assertIs(channel.cause(), Cause.NOANSWER)
        self.assertEqual(channel.Details.raw_cause, 487)
        self.advance(0.5)
        self.assertEqual(self.alice.call.status, 487)
        self.failureResultOf(channel.answer(), Hangup)

    def test_cancelled_ring(self) -> None:
        """Rule 4 of the architecture: cancelling a ring that waits leaves the call ringing."""
        channel = self.arrive()
        verb = channel.ring(30)
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.assertIs(channel.state(), State.RING_INCOMING)
        self.assertIs(self.run_until(channel.answer(), 5), State.ANSWERED)

    def test_early_media(self) -> None:
        """Section 4: with ``negotiate_early_media`` the caller gets a 183 with SDP, and its 200 repeats that answer.

        RFC 3261 13.2.1: an offer has one answer. The phone offers only PCMU, so that another one would be seen.
        """
        self.alice.codecs = ("PCMU",)
        channel = self.arrive()
        self.assertIs(self.successResultOf(channel.ring(0, True)), State.RING_INCOMING)
        self.advance(1)
        early = self.alice.call.provisionals[-1]
        self.assertEqual(early.status, 183)
        self.assertIn(b"RTP/AVP 0 101\r\n", early.body)
        self.assertIs(self.run_until(channel.answer(), 5), State.ANSWERED)
        [answer] = [one for one in self.responses(self.alice, 200) if one.cseq.method == "INVITE"]
        self.assertEqual(answer.body, early.body)
        self.advance(0.5)
        self.assertGreater(self.alice.call.media.audio.ear.packets, 20)

    def test_early_media_without_an_offer(self) -> None:
        """Section 4: where the INVITE had no offer there is nothing to answer early: 180."""
        self.alice.quirks.offerless = True
        channel = self.arrive()
        channel.ring(0, True)
        self.advance(0.1)
        self.assertEqual(self.alice.call.provisionals[-1].status, 180)
        self.assertIs(self.run_until(channel.answer(), 5), State.ANSWERED)

    def test_not_in_other_states(self) -> None:
        """Section 4: ring and answer are for an unanswered call."""
        channel = self.arrive()
        self.run_until(channel.answer(), 5)
        for verb in (channel.ring(), channel.answer()):
            self.assertIn("CALL_INCOMING, RING_INCOMING", str(self.failureResultOf(verb, Error).value))


class AnswerTests(IncomingScene):
    """`answer`."""

    def test_answer(self) -> None:
        """Section 4: ANSWERING until the ACK, then ANSWERED."""
        channel = self.arrive()
        verb = channel.answer()
        self.assertIs(channel.state(), State.ANSWERING)
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.assertEqual(self.steps, [State.ANSWERING, State.ANSWERED])
        self.assertTrue(self.alice.call.answered)

    def test_codecs(self) -> None:
        """Section 4: ``codecs`` narrows what is answered; the order is the caller's (RFC 3264 6.1)."""
        channel = self.arrive()
        self.assertIs(self.run_until(channel.answer("g711u"), 5), State.ANSWERED)
        self.assertEqual(channel.Details.codecs, ["g711u"])
        [answer] = [one for one in self.responses(self.alice, 200) if one.cseq.method == "INVITE"]
        self.assertIn(b"RTP/AVP 0 101\r\n", answer.body)

    def test_without_an_offer(self) -> None:
        """RFC 3261 13.2.1: to an INVITE without an offer the 200 makes one, and the ACK answers it."""
        self.alice.quirks.offerless = True
        channel = self.arrive()
        self.assertIs(self.run_until(channel.answer(), 5), State.ANSWERED)
        self.assertEqual(channel.Details.codecs, ["g711a"])

    def test_without_an_offer_and_without_an_answer(self) -> None:
        """The same with an ACK that doesn't answer: BYE, IDLE, cause FAILED."""
        self.alice.quirks.offerless = True

        def bare(message: Message) -> Message:
            if isinstance(message, Request) and message.method == "ACK":
                message.body = b""
            return message

        self.alice.quirks.alter = bare
        channel = self.arrive()
        self.assertIs(self.run_until(channel.answer(), 5), State.IDLE)
        self.assertIs(channel.cause(), Cause.FAILED)
        self.advance(1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_cancelled_answer(self) -> None:
        """Rule 4 of the architecture: cancelling answer() ends the call, by BYE once the ACK has come (RFC 3261 15)."""
        channel = self.arrive()
        verb = channel.answer()
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.assertIs(channel.state(), State.IDLE)
        self.advance(1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)
        self.assertEqual(self.alice.call.ended_by, "far")

    def test_hang_up_while_answering(self) -> None:
        """``transfer.md``, what IDLE means: hang_up in ANSWERING waits for the ACK before its BYE (RFC 3261 15)."""
        self.network.link("10.0.0.1", "10.0.1.1", delay=0.5)
        channel = self.arrive()
        answering = channel.answer()
        verb = channel.hang_up()
        second = channel.hang_up()
        self.assertNoResult(verb)
        self.assertIs(channel.state(), State.ANSWERING)
        self.failureResultOf(channel.reject(), Hangup)
        began = self.network.clock.seconds()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertApproximates(self.network.clock.seconds() - began, 1.0, 0.1)
        for one in (answering, second):
            self.assertIs(self.run_until(one, 1), State.IDLE)
        self.assertIs(channel.cause(), Cause.NORMAL)
        self.advance(2)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_hang_up_while_answering_without_ack(self) -> None:
        """``transfer.md``, what IDLE means: at most 64*T1, then BYE; hang_up ends within its 60 s."""
        self.alice.quirks.no_ack = True
        channel = self.arrive()
        channel.answer()
        began = self.network.clock.seconds()
        self.assertIs(self.run_until(channel.hang_up(), 60), State.IDLE)
        self.assertApproximates(self.network.clock.seconds() - began, 32.0, 0.1)
        self.assertIs(channel.cause(), Cause.NORMAL)
        self.advance(1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_caller_hangs_up_while_answering(self) -> None:
        """The caller's BYE in ANSWERING ends it: the verb fires with IDLE, cause NORMAL."""
        self.alice.quirks.no_ack = True
        channel = self.arrive()
        verb = channel.answer()
        self.advance(0.5)
        self.alice.hang_up()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertIs(channel.cause(), Cause.NORMAL)
        self.assertEqual(self.requests(self.alice, "BYE"), [])

    def test_a_channel_is_used_again(self) -> None:
        """Section 4 (extension): an inbound application's primary channel can place a call once it is IDLE."""
        channel = self.arrive()
        self.run_until(channel.answer(), 5)
        self.alice.press("12")
        self.advance(1)
        self.alice.hang_up()
        self.run_until(channel.wait_for_idle(), 5)
        self.assertIs(channel.cause(), Cause.NORMAL)
        self.assertEqual(channel.Details.display_name, "alice")
        verb = channel.call(self.bob.uri)
        self.assertEqual(channel.Details.display_name, "")
        self.assertIsNone(channel.SIP.request_header_field("From"))
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.assertEqual(self.successResultOf(channel.DTMFDetector.get_digits()), "", "the buffer is emptied")
        self.bob.hang_up()
        self.run_until(channel.wait_for_idle(), 5)


class RejectTests(IncomingScene):
    """`reject`."""

    def reject(self, expected: int, becomes: Cause, **how: Any) -> None:
        """Reject a call, and hold what the caller and the application see."""
        channel = self.arrive()
        verb = channel.reject(**how)
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertIs(channel.cause(), becomes)
        self.assertEqual(channel.Details.raw_cause, expected)
        self.advance(0.5)
        self.assertEqual(self.alice.call.status, expected)

    def test_default(self) -> None:
        """Section 3: reject() sends 603."""
        self.reject(603, Cause.REJECTED)

    def test_each_cause(self) -> None:
        """Section 4: a cause is sent as a status that maps back to it where there is one."""
        for cause in Cause:
            status = STATUS_OF_CAUSE[cause]
            self.reject(status, cause, cause=cause)
            if cause not in (Cause.TIMEOUT, Cause.ERROR, Cause.NORMAL, Cause.NOCHANNELS, Cause.OTHER):
                self.assertIs(cause_of_status(status), cause)

    def test_raw_cause(self) -> None:
        """Section 4: ``raw_cause``, a SIP status as a string, wins; the cause follows from it."""
        self.reject(486, Cause.BUSY, raw_cause="486")
        self.reject(699, Cause.FAILED, raw_cause="699")
        self.reject(480, Cause.BARRED, cause=Cause.BARRED, raw_cause="480")

    def test_while_it_rings(self) -> None:
        """Section 4: legal in RING_INCOMING."""
        channel = self.arrive()
        channel.ring()
        self.assertIs(self.run_until(channel.reject(Cause.BUSY), 5), State.IDLE)
        self.advance(0.5)
        self.assertEqual(self.alice.call.status, 486)

    def test_redirection(self) -> None:
        """Section 4: a 3xx leaves state ERROR with nothing sent; only hang_up or another reject is legal then."""
        channel = self.arrive()
        self.assertIs(self.successResultOf(channel.reject(raw_cause="302")), State.ERROR)
        self.assertIs(channel.cause(), Cause.NORMAL, "the call has not ended")
        self.advance(1)
        self.assertEqual([one.status for one in self.alice.call.provisionals], [100])
        self.assertEqual(self.alice.call.status, 0)
        for verb in (channel.ring(), channel.answer(), channel.DTMFDetector.get_digits()):
            self.assertIn("ERROR", str(self.failureResultOf(verb, Error).value))
        self.assertIs(self.successResultOf(channel.reject(raw_cause="301")), State.ERROR)
        self.assertIs(self.run_until(channel.reject(raw_cause="486"), 5), State.IDLE)
        self.assertIs(channel.cause(), Cause.BUSY)
        self.advance(1)
        self.assertEqual(self.alice.call.status, 486)

    def test_redirection_then_hang_up(self) -> None:
        """Section 3: in ERROR hang_up is legal, and ends the call."""
        channel = self.arrive()
        channel.reject(raw_cause="302")
        self.assertIs(self.run_until(channel.hang_up(), 5), State.IDLE)
        self.advance(1)
        self.assertEqual(self.alice.call.status, 603)

    def test_redirection_then_the_caller_gives_up(self) -> None:
        """Section 3: a call in ERROR still ends with its caller."""
        channel = self.arrive()
        channel.reject(raw_cause="302")
        self.alice.cancel()
        self.advance(1)
        self.assertIs(channel.state(), State.IDLE)

    def test_connected(self) -> None:
        """Section 4: a connected call is ended by BYE, with the status as its Reason (RFC 3326)."""
        channel = self.arrive()
        self.run_until(channel.answer(), 5)
        self.assertIs(self.run_until(channel.reject(Cause.BUSY), 5), State.IDLE)
        self.assertIs(channel.cause(), Cause.BUSY)
        self.advance(1)
        [bye] = self.requests(self.alice, "BYE")
        self.assertIn("cause=486", bye.get("Reason") or "")

    def test_connected_redirection(self) -> None:
        """Section 4: a 3xx on a connected call leaves ERROR too, and the call as it is on the wire."""
        channel = self.arrive()
        self.run_until(channel.answer(), 5)
        self.assertIs(self.successResultOf(channel.reject(raw_cause="302")), State.ERROR)
        self.advance(1)
        self.assertEqual(self.requests(self.alice, "BYE"), [])
        self.assertIs(self.run_until(channel.reject(), 5), State.IDLE)
        self.advance(1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_outgoing(self) -> None:
        """Section 4: not for a call that is being placed: hang_up ends that."""
        out = self.extra_channel()
        out.start_call(self.bob.uri)
        self.failureResultOf(out.reject(), Error)
        out.hang_up()
        self.settle()

    def test_hang_up_before_the_answer(self) -> None:
        """Section 4: hang_up of an unanswered call refuses it with 603."""
        channel = self.arrive()
        self.assertIs(self.successResultOf(channel.hang_up()), State.IDLE)
        self.advance(0.5)
        self.assertEqual(self.alice.call.status, 603)
        self.assertIs(channel.cause(), Cause.REJECTED)


class DoorTests(IncomingScene):
    """Calls that never reach an application (section 7)."""

    def refused(self, **details: Any) -> Response:
        """Let alice call, and return the refusal."""
        self.alice.dial(self.uri("3300"), **details)
        self.advance(1)
        self.assertFalse(hasattr(self, "channel"))
        self.assertEqual(self.exchange.channels, {})
        found = [one.message for one in self.alice.log if not one.sent and isinstance(one.message, Response)]
        return next(one for one in found if one.status >= 300)

    def test_unusable_offers(self) -> None:
        """An offer that holds nothing for us is 488 with a Warning, before an application starts."""
        self.alice.quirks.port_zero = True
        refusal = self.refused()
        self.assertEqual(refusal.status, 488)
        self.assertIn("telephony", refusal.get("Warning") or "")

    def test_garbage_for_an_offer(self) -> None:
        """A body that is no SDP is 400 or 488."""
        self.alice.quirks.sdp = b"this is no session description\r\n"
        self.assertIn(self.refused().status, (400, 488))

    def test_max_calls(self) -> None:
        """Section 7: beyond ``max_calls`` 503 with Retry-After."""
        self.exchange.max_calls = 0
        refusal = self.refused()
        self.assertEqual((refusal.status, refusal.get("Retry-After")), (503, "5"))

    def test_nobody_takes_calls(self) -> None:
        """Without anybody who takes calls: 480."""
        self.exchange.on_call = None
        self.assertEqual(self.refused().status, 480)

    def test_screened(self) -> None:
        """The screen's word is sent as it is."""
        self.exchange.screen = lambda request, flow: (404, [("X-Why", request.uri)])
        refusal = self.refused()
        self.assertEqual((refusal.status, refusal.get("X-Why")), (404, self.uri("3300")))


class NoPortsTests(IncomingScene):
    """One pair of RTP ports, and that is in use."""

    exchange_settings: ClassVar[dict[str, Any]] = {"rtp_ports": (20000, 20001)}

    def setUp(self) -> None:
        super().setUp()
        self.network.names["bob.example"] = ["10.0.1.2"]
        self.first = self.exchange.channel()
        self.run_until(self.first.start_call(self.bob.uri))
        self.run_until(self.bob.until("incoming"))

    def test_incoming(self) -> None:
        """Section 7: a caller gets 503 with Retry-After, and no application starts."""
        self.alice.dial(self.uri("3300"))
        self.advance(1)
        self.assertEqual(self.alice.call.status, 503)
        [refusal] = self.responses(self.alice, 503)
        self.assertEqual(refusal.get("Retry-After"), "5")
        self.assertFalse(hasattr(self, "channel"))
        self.assertEqual(list(self.exchange.channels), [self.first])

    def test_outgoing(self) -> None:
        """Section 3: no RTP port here is NOCHANNELS, also where a name had to be looked up; nothing is sent."""
        for target in (self.alice.uri, "sip:bob@bob.example:5060"):
            out = self.exchange.channel()
            self.assertIs(self.run_until(out.call(target), 5), State.IDLE)
            self.assertIs(out.cause(), Cause.NOCHANNELS)
            self.assertEqual(out.Details.raw_cause, 0)
            self.assertEqual(out.Details.call_to, target)
            self.advance(1)
        self.assertEqual(len(self.bob.calls) + len(self.alice.calls), 1, "the first call's only")

    def test_transfer(self) -> None:
        """Section 3: a transfer that finds no port is FAIL, the target's channel says NOCHANNELS."""
        self.bob.answer()
        self.run_until(self.first.wait_for_answer(), 5)
        self.first.create_tone_player()
        other = self.exchange.channel()
        self.assertIs(self.run_until(self.first.retrievable_transfer(other, self.alice.uri), 5), State.ANSWERED)
        self.assertIs(self.first.transfer_cause(), TransferCause.FAIL)
        self.assertIs(other.cause(), Cause.NOCHANNELS)


class CloseTests(Scene):
    """The end of an exchange (section 1: leaving releases every call)."""

    def test_calls_in_every_state(self) -> None:
        """Rule 7: closing ends a call in each state by what fits, in the order in which they began (I9)."""
        phones = [self.alice, self.bob, self.phone("carol"), self.phone("dave")]
        channels = [self.exchange.channel() for _ in phones]
        verbs: list[Deferred[State]] = []
        for channel, phone in zip(channels, phones, strict=True):
            verbs.append(channel.call(phone.uri))
            self.run_until(phone.until("incoming"))
        phones[1].ring()
        phones[2].answer()
        phones[3].answer()
        self.advance(0.2)
        order: list[Any] = []
        for channel in channels:
            channel.observers.append(lambda which, _old, _new: order.append(which))
        closed = self.exchange.close()
        again = self.exchange.close()
        self.run_until(closed, 40)
        self.successResultOf(again)
        self.successResultOf(self.exchange.close())
        self.assertEqual(order, channels)
        self.assertEqual(self.exchange.channels, {})
        for verb in verbs:
            self.run_until(verb, 1)

    def test_a_fault_on_the_way(self) -> None:
        """api.md 4: a server that stops ends, also when something goes wrong in it meanwhile; that is logged."""
        self.patch(self.exchange.user_agent, "settle", lambda seconds: 1 / 0)
        self.run_until(self.exchange.close(), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_lost_bye_is_sent_again(self) -> None:
        """RFC 3261 17.1.2.2: closing waits for the answer to what was sent last, so that no far end stays in a call."""

        async def application(channel: CallChannel) -> State:
            return await channel.answer()

        self.run_application(application)
        self.dial_in()
        self.run_until(self.outcome, 5)
        self.network.partition(SERVER, self.alice.address[0])
        closed = self.exchange.close()
        self.advance(0.2)
        self.network.heal(SERVER, self.alice.address[0])
        self.run_until(self.alice.until("ended"), 5)
        self.run_until(closed, 5)

    def test_an_unacknowledged_answer(self) -> None:
        """Section 1: a call whose answer is still unacknowledged takes up to 64*T1, and then the BYE is sent."""
        self.alice.quirks.no_ack = True

        async def application(channel: CallChannel) -> State:
            return await channel.answer()

        self.run_application(application)
        self.dial_in()
        began = self.network.clock.seconds()
        self.run_until(self.exchange.close(), 60)
        self.assertApproximates(self.network.clock.seconds() - began, 32.0, 0.5)
        self.assertEqual(self.run_until(self.outcome, 1), State.IDLE)

    def test_max_forwards_leaves_no_channel_behind(self) -> None:
        """Rule 8: a transfer that Max-Forwards forbids takes up no place of ``max_calls``."""

        def altered(message: Message) -> Message:
            if isinstance(message, Request) and message.method == "INVITE":
                message.set("Max-Forwards", "1")
            return message

        self.alice.quirks.alter = altered
        verb = self.transfer()
        self.run_until(verb, 5)
        self.assertEqual(list(self.exchange.channels), [self.channel])
        self.assertEqual(self.other.Details.call_to, self.bob.uri)
        self.assertIn("Max-Forwards", self.other.Details.raw_reason)
