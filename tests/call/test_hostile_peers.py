"""What a peer or its network may do that must cost us nothing but its own call."""

from __future__ import annotations

from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State, TransferCause
from telephony.call.details import SIPHeaderField
from telephony.errors import Error
from telephony.interfaces import Address
from telephony.sip.message import Message, Response
from telephony.sip.parties import MAX_FORKS
from telephony.testing.phone_call import CallState
from tests.call.scene import Scene


class HostilePeerTests(Scene):
    """Odd answers, odd networks, and an application that can't take a call."""

    strict = False

    def test_contact_that_cannot_be_read(self) -> None:
        """RFC 3261 12.1.2, 13.2.2.4: a 2xx whose Contact is garbage still answers the call."""

        def alter(message: Message) -> Message:
            if isinstance(message, Response) and message.status == 200 and message.cseq.method == "INVITE":
                message = message.copy()
                message.set("Contact", "<<<bob")
            return message

        self.bob.quirks.alter = alter
        verb = self.transfer()
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.answer()
        self.assertIs(self.run_until(verb, 1), State.TRANSFERRED)
        self.assertEqual(self.other.Details.connected_id, "")
        self.assertEqual(self.exchange.user_agent.counters["faults"], 0)

    def test_no_route_to_the_target(self) -> None:
        """R5: a network that can't be reached ends the transfer with FAIL, and the call with NOANSWER; no OSError."""

        def unreachable(_destination: Address) -> str:
            raise OSError(101, "Network is unreachable")

        verb = self.transfer(call_to=self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.reject(486)
        self.run_until(verb, 5)
        verb = self.channel.retrievable_transfer(self.other, "sip:bob@[2001:db8::1]")
        self.assertIs(self.run_until(verb, 1), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL, Cause.NOANSWER)
        self.assertIn("no UDP listener of ours can reach 2001:db8::1", self.other.Details.raw_reason)
        self.patch(self.exchange, "media_address", unreachable)
        verb = self.channel.retrievable_transfer(self.other, "sip:bob@192.0.2.99")
        self.assertIs(self.run_until(verb, 1), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.FAIL, Cause.NOANSWER)
        self.assertEqual(self.other.Details.raw_reason, "there is no way to 192.0.2.99: Network is unreachable")
        self.assertIs(self.run_until(self.other.call("sip:bob@[2001:db8::1]"), 1), State.IDLE)

    def test_forks_without_end(self) -> None:
        """R17: each fork's SDP is kept until the answer, but not of more forks than a session may have."""
        verb = self.transfer()
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.ring()
        self.network.advance(0.1)
        [ringing] = [one for one in self.bob.sent(180) if isinstance(one, Response)]
        [invite] = self.requests(self.bob, "INVITE")
        leg = self.other.leg
        assert leg is not None
        for number in range(5 * MAX_FORKS):
            early = ringing.copy()
            early.status = 183
            early.set("To", f"{(ringing.get('To') or '').partition(';tag=')[0]};tag=fork{number}")
            early.set("Content-Type", "application/sdp")
            early.body = invite.body
            leg.session_progress(leg.session, early)  # type: ignore[arg-type]
        self.assertEqual(len(leg._early_answers), MAX_FORKS)
        self.bob.answer()
        self.assertIs(self.run_until(verb, 1), State.TRANSFERRED)

    def test_header_value_without_an_encoding(self) -> None:
        """Section 6: half a surrogate can't be sent, and is refused when it is given; what a peer sent can be read."""
        with self.assertRaises(Error):
            SIPHeaderField("X-Account", "47\ud80011")
        self.assertEqual(SIPHeaderField("X-Account", "caf\udce9").get_values(), ["caf\udce9"])

    def test_application_that_cannot_take_the_call(self) -> None:
        """RFC 3261 21.5.1: a call that can't be handed over is refused with 500, and takes no capacity."""

        def broken(_channel: CallChannel) -> None:
            raise RuntimeError("can't start new thread")

        self.exchange.on_call = broken
        self.alice.dial(self.uri("3300"))
        self.run_until(self.alice.until("ended"), 5)
        self.assertIs(self.alice.call.state, CallState.ENDED)
        self.assertEqual(len(self.responses(self.alice, 500)), 1)
        self.assertEqual(len(self.exchange.channels), 0)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
