"""Odd ends of calls that a mutation run showed nobody to hold fast (``tests/mutation``).

Defaults of the interface as ``api.md`` has them, the published graph, refusals of arguments that look almost right, and
what is left of a call that was refused.
"""

from __future__ import annotations

import inspect
from typing import Any

from telephony.call import constants
from telephony.call.arguments import check_call_from
from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State, TransferCause, Word, transfer_cause_of_status
from telephony.call.details import Details
from telephony.call.exchange import Exchange, parse_listener
from telephony.call.leg import Leg
from telephony.call.resources import JobCause, JobState, TonePlayer
from telephony.call.states import REFUSED, TABLE, VERBS, Input
from telephony.call.transfer import Transfer, TransferInput, TransferState
from telephony.call.verbs import is_verb
from telephony.errors import Error
from telephony.interfaces import Address
from telephony.sdp.negotiation import Negotiation
from telephony.sip.message import Message, Request, respond
from telephony.sip.parser import parse_message
from telephony.testing.case import SERVER
from tests.call.scene import Scene


class InterfaceTests(Scene):
    """What ``api.md`` says in tables."""

    def test_words(self) -> None:
        """api.md section 3: the value of an enumeration's member is its name in small letters."""
        kinds: list[type[Word]] = [
            one for one in vars(constants).values() if isinstance(one, type) and issubclass(one, Word)
        ]
        kinds += [JobCause, JobState]
        for kind in kinds:
            for one in kind:
                self.assertEqual(one.value, one.name.lower(), kind)

    def test_defaults(self) -> None:
        """api.md sections 4 to 6: what a verb does where nothing is said."""
        for verb, wanted in (
            (CallChannel.call, {"call_from": "", "seconds_timeout": 120, "codecs": None}),
            (CallChannel.start_call, {"call_from": "", "codecs": None}),
            (CallChannel.wait_for_answer, {"seconds_timeout": 120}),
            (CallChannel.ring, {"seconds_ringtime": 0, "negotiate_early_media": False, "loop_ringtone": False}),
            (CallChannel.retrievable_transfer, {"call_from": "", "ringback_tone": None, "seconds_timeout": 120}),
            (CallChannel.wait_for_transferred_call_retrieval, {"seconds_timeout": None}),
            (CallChannel.wait_for_idle, {"seconds_timeout": None}),
            (Exchange.__init__, {"rtp_ports": (20000, 49999), "max_calls": 1000, "call_seconds": 14400}),
        ):
            parameters = inspect.signature(verb).parameters
            self.assertEqual({name: parameters[name].default for name in wanted}, wanted, verb)

    def test_verbs_are_known_as_verbs(self) -> None:
        """`is_verb`: the facades find the verbs by their mark, and a verb has its own name and text."""
        for verb in (CallChannel.call, CallChannel.hang_up, TonePlayer.play):
            self.assertTrue(is_verb(verb))
            self.assertTrue(verb.__doc__)
        self.assertFalse(is_verb(CallChannel.state))

    def test_details_of_nothing(self) -> None:
        """api.md section 6: before there is anything to say, every text is empty."""
        details = Details()
        for name in ("call_to", "call_target", "call_from", "display_name", "connected_id", "diversion", "raw_reason"):
            self.assertEqual(getattr(details, name), "", name)
        self.assertEqual((details.raw_cause, details.codecs, details.early_media), (0, [], False))

    def test_cause_of_a_bad_request(self) -> None:
        """transfer.md R4: every 4xx but the exceptions is the target's word, from 400 on."""
        for status, cause in (
            (399, TransferCause.FAIL),
            (400, TransferCause.TARGETREJECT),
            (499, TransferCause.TARGETREJECT),
            (500, TransferCause.FAIL),
            (599, TransferCause.FAIL),
            (600, TransferCause.TARGETREJECT),
        ):
            self.assertIs(transfer_cause_of_status(status), cause, status)


class GraphTests(Scene):
    """api.md section 3: the published graph."""

    def test_verbs_are_refused(self) -> None:
        """Section 3: a verb leads somewhere or is refused; what isn't named in a row never passes silently."""
        self.assertIn(Input.DIAL, VERBS)
        for state in State:
            self.assertEqual(TABLE[state][Input.DIAL] is REFUSED, state is not State.IDLE, state)
            self.assertEqual(TABLE[state][Input.RING] is REFUSED, not state.name.endswith("_INCOMING"), state)
            self.assertEqual(
                TABLE[state][Input.TRANSFER], State.TRANSFERRING if state is State.ANSWERED else REFUSED, state
            )

    def test_events_that_mean_nothing_move_nothing(self) -> None:
        """Section 3: where an event has no meaning the state stays; each step is one of these."""
        events = {
            Input.RINGS: {State.CALL_OUTGOING: State.RING_OUTGOING},
            Input.ACCEPTED: {State.CALL_OUTGOING: State.ANSWERED, State.RING_OUTGOING: State.ANSWERED},
            Input.CONFIRMED: {State.ANSWERING: State.ANSWERED},
            Input.JOINED: {State.TRANSFERRING: State.TRANSFERRED},
            Input.UNJOINED: {State.TRANSFERRING: State.ANSWERED},
            Input.RETRIEVING: {State.TRANSFERRED: State.RECONNECTING},
            Input.RETRIEVED: {State.RECONNECTING: State.ANSWERED},
            Input.ARRIVED: {State.IDLE: State.CALL_INCOMING, State.WAITING: State.CALL_INCOMING},
            Input.GONE: dict.fromkeys(State, State.IDLE),
        }
        for event, steps in events.items():
            for state in State:
                self.assertIs(TABLE[state][event], steps.get(state, state), (state, event))

    def test_retrieving(self) -> None:
        """Section 5: retrieving leads back, and is harmless where the call is on its way already."""
        self.assertIs(TABLE[State.TRANSFERRED][Input.RETRIEVE], State.RECONNECTING)
        self.assertIs(TABLE[State.RECONNECTING][Input.RETRIEVE], State.RECONNECTING)
        self.assertIs(TABLE[State.ANSWERED][Input.RETRIEVE], State.ANSWERED)

    def test_transfers_end(self) -> None:
        """transfer.md: the target's answer makes a transfer; whatever ends one, ends it for good."""
        table, before = Transfer.table, (TransferState.DIALLING, TransferState.RINGING, TransferState.EARLY_MEDIA)
        ends = (TransferInput.TARGET_OVER, TransferInput.CALLER_OVER)
        for state in before:
            self.assertIs(table[state][TransferInput.ANSWERED][0], TransferState.TRANSFERRED)
            for one in (*ends, TransferInput.TIME_UP, TransferInput.GIVEN_UP):
                self.assertIs(table[state][one][0], TransferState.OVER, (state, one))
        for one in (*ends, TransferInput.RETRIEVE):
            self.assertIs(table[TransferState.TRANSFERRED][one][0], TransferState.OVER, one)


class ArgumentTests(Scene):
    """Arguments that look almost right."""

    def test_listeners(self) -> None:
        """Exchange.listen: half a pair of brackets, or a port that is no number, is an `Error` that names the value."""
        for where in (
            "udp:[::1:5060",
            "udp:::1]:5060",
            "udp:10.0.0.1]:5060",
            "udp:[10.0.0.12:5060",
            "udp:10.0.0.1:sip",
            "udp:10.0.0.1:²",
            "udp:10.0.0.1:65536",
            "udp:10.0.0.1:",
        ):
            error = self.assertRaises(Error, parse_listener, where)
            self.assertIn(repr(where), str(error))
        self.assertEqual(parse_listener("UDP:[::1]:65535"), ("udp", ("::1", 65535)))

    def test_callers(self) -> None:
        """api.md section 3: a bare name or number has nothing in it that would say something else in a URI."""
        for mark in ' "<>@;?,\t':
            self.assertRaises(Error, check_call_from, f"1{mark}2", "sip:100@10.0.0.1")
        self.assertEqual(check_call_from("12", "sip:100@10.0.0.1").uri, "sip:12@10.0.0.1")

    def test_fields_of_the_call_itself(self) -> None:
        """api.md section 6: what the dialog needs can't be set by an application, by no spelling of its name."""
        from telephony import SIPHeaderField

        names = "Via v From f To t Call-ID i CSeq Contact m Max-Forwards Route Record-Route Content-Length l"
        names += " Content-Type c Require Supported k Allow Session-Expires x Min-SE RSeq RAck"
        out = self.extra_channel()
        for name in names.split():
            out.SIP.HeaderFieldsToSend = [SIPHeaderField(name, "1")]
            self.failureResultOf(out.call(self.bob.uri), Error)
        self.advance(1)
        self.assertEqual(list(self.bob.log), [])

    def test_limit_of_a_tone(self) -> None:
        """verbs.check_seconds: the sentence names the argument."""
        self.run_application(self.answered)
        self.dial_in()
        self.run_until(self.outcome, 5)
        assert self.channel.TonePlayer is not None
        error = self.failureResultOf(self.channel.TonePlayer.play(seconds_timeout=-1), Error)
        self.assertIn("seconds_timeout=-1", str(error.value))


class CallTests(Scene):
    """Whole calls."""

    def test_caller_by_default(self) -> None:
        """api.md section 4: without ``call_from`` a call comes from the channel's default, hops 70, details filled."""
        out = self.exchange.channel(default_from="sip:4711@example.com")
        verb = out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        [invite] = self.requests(self.bob, "INVITE")
        self.assertEqual((invite.from_.uri, invite.max_forwards), ("sip:4711@example.com", 70))
        self.assertEqual((out.Details.call_target, out.Details.call_from), (self.bob.uri, "sip:4711@example.com"))
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)

    def test_caller_of_a_transfer_by_default(self) -> None:
        """api.md section 5: without ``call_from`` the target is called from the default address."""
        verb = self.transfer()
        self.run_until(self.bob.until("incoming"), 5)
        [invite] = self.requests(self.bob, "INVITE")
        self.assertEqual(invite.from_.uri, self.channel.default_from)
        self.bob.reject(486)
        self.run_until(verb, 5)

    def test_unusable_answer_has_no_status(self) -> None:
        """api.md section 6: ``raw_cause`` is the SIP status behind the cause, 0 where no status is (R20)."""
        out = self.extra_channel()
        verb = out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.quirks.no_sdp_in_200 = True
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertEqual((out.cause(), out.Details.raw_cause), (Cause.FAILED, 0))
        self.assertTrue(out.Details.raw_reason)

    def test_early_answer_without_tags(self) -> None:
        """RFC 3261 12.1.2, R20: a peer of RFC 2543's time has no tags; its 183's SDP is the answer."""
        inbox: list[Message] = []

        def received(data: bytes, _source: Address) -> None:
            message = parse_message(data)
            assert message is not None
            inbox.append(message)

        port = self.network.host("10.0.0.77").open_datagram_port(("10.0.0.77", 5060), received)
        out = self.extra_channel()
        verb = out.call("sip:old@10.0.0.77")
        self.run_until(lambda: inbox, 5)
        invite = inbox[0]
        assert isinstance(invite, Request)
        for status, body in ((183, Negotiation("10.0.0.77", 7000, 1).offered(invite.body)[0]), (200, b"")):
            response = respond(invite, status)
            response.set("Contact", "<sip:old@10.0.0.77>")
            response.set("Content-Type", "application/sdp")
            response.body = body
            port.send(response.to_bytes(), (SERVER, 5060))
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.successResultOf(out.hang_up())
        self.advance(0.1)
        bye = inbox[-1]
        assert isinstance(bye, Request)
        self.assertEqual(bye.method, "BYE")
        port.send(respond(bye, 200).to_bytes(), (SERVER, 5060))
        self.advance(0.1)
        port.close()

    def test_leg_that_has_no_dialog_yet(self) -> None:
        """Leg.end: it always promises, and with nothing to send it fires at once."""
        out = self.extra_channel()
        self.assertIsNone(self.successResultOf(Leg(self.exchange, out).end()))

    def test_refused_call_gives_its_port_back(self) -> None:
        """transfer.md I4: nothing of a call that was refused is left: its RTP port is closed at once."""
        self.run_application(self.leave_it)
        self.dial_in()
        assert self.channel.leg is not None and self.channel.leg.endpoint is not None
        leg = self.channel.leg
        self.successResultOf(self.channel.reject())
        self.assertIsNone(leg.endpoint)
        self.assertIsNone(leg.session)

    async def leave_it(self, _channel: CallChannel) -> None:
        """Leave the call to the test."""

    def test_keys_do_not_end_a_tone(self) -> None:
        """api.md section 6: a tone isn't barged into."""
        self.run_application(self.answered)
        self.dial_in()
        self.run_until(self.outcome, 5)
        assert self.channel.TonePlayer is not None
        tone = self.channel.TonePlayer.play(seconds_timeout=3)
        self.run_until(self.alice.press("1"), 5)
        self.advance(0.5)
        self.assertNoResult(tone)
        self.assertIs(self.run_until(tone, 5), JobCause.TIMEOUT)

    def test_tone_player_of_another_style(self) -> None:
        """api.md section 6: on a blocking channel ``TonePlayer(channel)`` makes that channel's own kind."""

        class Blocking:
            def create_tone_player(self, manager: object) -> Any:
                return ("its own", manager)

        make: Any = TonePlayer
        self.assertEqual(make(Blocking()), ("its own", None))
        self.assertRaises(Error, make, object())


class UnspecifiedTests(Scene):
    """An exchange that listens at every address."""

    def test_media_address(self) -> None:
        """RFC 4566 5.7: behind 0.0.0.0 the c= line has the address that the target sees, never 0.0.0.0."""
        self.run_until(self.exchange.close())
        self.exchange = Exchange(self.network.host("10.0.0.9"))
        self.exchange.listen("udp:0.0.0.0:5060")
        verb = self.exchange.channel().call(self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        [invite] = self.requests(self.bob, "INVITE")
        self.assertIn(b"c=IN IP4 10.0.0.9\r\n", invite.body)
        self.bob.reject(486)
        self.run_until(verb, 5)
