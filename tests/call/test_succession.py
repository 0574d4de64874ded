"""Who takes a far end's place: by a REFER that is followed (R30) and by Replaces (R31); RFC 3515, RFC 3891."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State, TransferCause
from telephony.call.dialling import DialRules
from telephony.errors import Error
from telephony.sip.message import Message, Response
from telephony.testing.phone import Phone
from telephony.testing.phone_call import PhoneCall
from telephony.testing.phone_refer import Replaced
from telephony.testing.sounds import tone
from tests.call.transfer_scene import ALICE, BOB, TransferScene

CAROL = 1500
SERVER = "10.0.0.1"


class SuccessionScene(TransferScene):
    """Alice is transferred to bob; carol is a third phone."""

    def setUp(self) -> None:
        super().setUp()
        self.carol = self.phone("carol")
        self.carol.says(tone(CAROL))

    def follow(self) -> None:
        """Let the application follow REFERs."""
        self.channel.refer = self.other.refer = "follow"

    def hear(self, one: Phone, *frequencies: float, seconds: float = 1.0) -> float:
        """How long a phone hears a tone in the next second."""
        self.advance(0.1)
        since = self.now()
        self.advance(seconds)
        return float(sum(found.seconds for found in one.heard(*frequencies, since=since)))

    def assert_pair(self, one: Phone, his: float, other: Phone, hers: float) -> None:
        """Hold that two phones hear each other."""
        self.advance(0.1)
        since = self.now()
        self.advance(1)
        for phone, frequency in ((one, hers), (other, his)):
            total = sum(found.seconds for found in phone.heard(frequency, since=since))
            self.assertGreater(total, 0.85, f"{phone.name} hears {frequency}")

    def ask(self, phone: Phone, method: str, *headers: tuple[str, str], call: PhoneCall | None = None) -> Response:
        """Send a request in a phone's dialog behind its back; the final response."""
        call = call or phone.call
        dialog = call._dialog
        assert dialog is not None
        request = call._request(dialog, method)
        for name, value in headers:
            request.add(name, value)
        done: Deferred[Any] = Deferred()
        call._send(dialog, request, lambda r: done.callback(r) if r is None or r.status >= 200 else None)
        response = self.run_until(done, 5)
        assert isinstance(response, Response)
        return response

    def all_over(self) -> None:
        """Hang up whatever is left."""
        self.channel.hang_up()
        self.other.hang_up()
        self.settle(120)


class FollowedTests(SuccessionScene):
    """R30 with ``refer = "follow"``."""

    def referred(self, phone: Phone | None = None) -> Deferred[int]:
        """Alice and bob talk; one of them refers us to carol, whose phone has the call."""
        self.joined()
        self.follow()
        done = (phone or self.bob).transfer(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        return done

    def test_target_refers(self) -> None:
        """RFC 3515 2.4.2 to 2.4.7: 202, NOTIFY 100, 180, 200; carol takes bob's place, TRANSFERRED stays."""
        done = self.referred()
        self.carol.ring()
        self.advance(0.5)
        self.carol.answer()
        self.assertEqual(self.run_until(done, 5), 200)
        [referral] = self.bob.call.referrals.sent
        self.assertEqual(referral.answer, 202)
        self.assertEqual(referral.reports, ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"])
        self.run_until(self.bob.hang_up(), 5)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.assert_pair(self.alice, ALICE, self.carol, CAROL)
        self.assertEqual(self.other.Details.call_target, self.carol.uri)
        self.assertEqual(self.other.Details.call_id, self.carol.call.call_id)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 0)
        self.assertEqual(self.bob.complaints, [])
        self.carol.hang_up()
        self.advance(0.5)
        self.assertIs(self.channel.state(), State.ANSWERED, "whose end is the retrieval, as bob's would have been")
        self.assertIs(self.other.state(), State.IDLE)
        self.all_over()
        self.assert_clean()
        self.assertEqual(self.carol.faults(), [])

    def test_who_refers_us(self) -> None:
        """RFC 3892 2.2: Referred-By is copied into the new INVITE as it is; what else Refer-To carries isn't."""
        self.joined()
        self.follow()
        headers = (
            ("Refer-To", f"<{self.carol.uri};method=INVITE?Subject=hello&From=sip%3Aevil%40evil>"),
            ("Referred-By", '"Bob" <sip:bob@example.com>;cid="1@example.com"'),
            ("Contact", f"<{self.bob.uri}>"),
        )
        self.strict = False
        self.assertEqual(self.ask(self.bob, "REFER", *headers).status, 202)
        self.run_until(self.carol.until("incoming"), 5)
        invite = self.carol.call.invite
        self.assertEqual(invite.get("Referred-By"), '"Bob" <sip:bob@example.com>;cid="1@example.com"')
        self.assertIsNone(invite.get("Subject"))
        self.assertEqual(invite.uri, self.carol.uri)
        self.assertEqual(invite.from_.uri, self.bob.call.invite.from_.uri, "as bob was called")
        self.carol.reject(486)
        self.advance(1)
        self.all_over()

    def test_privacy(self) -> None:
        """RFC 3323 4.2: who was not to be told to bob isn't told to carol."""
        from telephony.call.details import SIPHeaderField

        self.answer()
        self.extra_channel().SIP.HeaderFieldsToSend.append(SIPHeaderField("Privacy", "id"))
        # `extra_channel` of the scene makes a new one each time; this one is used.
        other = self.other
        self.extra_channel = lambda: other  # type: ignore[method-assign]
        self.joined()
        self.follow()
        other.SIP.HeaderFieldsToSend.clear()
        self.bob.transfer(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.assertEqual(self.carol.call.invite.get_all("Privacy"), ["id"])
        self.carol.reject(486)
        self.advance(1)
        self.all_over()

    def test_caller_refers(self) -> None:
        """The other direction: alice sends us to carol, who talks to bob in her place."""
        done = self.referred(self.alice)
        self.carol.answer()
        self.assertEqual(self.run_until(done, 5), 200)
        self.run_until(self.alice.hang_up(), 5)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.assert_pair(self.bob, BOB, self.carol, CAROL)
        self.bob.hang_up()
        self.advance(0.5)
        self.assertIs(self.channel.state(), State.ANSWERED)
        self.all_over()

    def test_connected(self) -> None:
        """Two calls that are connected: the same."""
        self.answer()
        self.call_bob()
        self.run_until(self.channel.connect(self.other), 5)
        self.follow()
        self.advance(0.5)
        done = self.bob.transfer(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.answer()
        self.assertEqual(self.run_until(done, 5), 200)
        self.run_until(self.bob.hang_up(), 5)
        self.assert_pair(self.alice, ALICE, self.carol, CAROL)
        self.assertTrue(self.run_until(self.channel.disconnect(), 5))
        self.assertEqual(self.hear(self.alice, CAROL), 0)
        self.all_over()

    def test_refused_there(self) -> None:
        """RFC 3515 2.4.5: carol refuses; bob is told with what, and the two talk on."""
        done = self.referred()
        self.carol.reject(486)
        self.assertEqual(self.run_until(done, 5), 486)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.assert_talking()
        again = self.bob.transfer("sip:nobody@10.0.0.77")
        self.assertIn(self.run_until(again, 40), (408, 503))
        self.assert_talking()
        self.all_over()
        self.assert_clean()

    def test_referrer_leaves_at_once(self) -> None:
        """RFC 5589 6.1: who refers may hang up as soon as it has been told of the attempt; alice hears it ring."""
        self.referred()
        self.bob.hang_up()
        self.advance(0.5)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.assertGreater(self.hear(self.alice, 440, 480, seconds=1.5), 0.5)
        self.carol.answer()
        self.advance(0.5)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.assert_pair(self.alice, ALICE, self.carol, CAROL)
        self.assertEqual(self.hear(self.alice, 440, 480), 0)
        self.all_over()
        self.assert_clean()

    def test_referrer_has_left_and_nobody_answers(self) -> None:
        """Then the call to bob is over for good: retrieved, as R13 has it."""
        self.referred()
        self.bob.hang_up()
        self.advance(0.5)
        self.carol.reject(486)
        self.advance(0.5)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL, Cause.NORMAL)
        self.assertEqual(self.hear(self.alice, 440, 480), 0)
        self.all_over()

    def test_nobody_there_meanwhile(self) -> None:
        """Retrieved while nobody is at the other end: nothing can be played or held there, and an Error says why."""
        self.referred()
        self.bob.hang_up()
        self.advance(0.5)
        self.assertIs(self.run_until(self.channel.retrieve_transferred_call(), 5), State.ANSWERED)
        self.failureResultOf(self.other.hold(), Error)
        self.failureResultOf(self.other.DTMFPlayer.play("1"), Error)
        self.carol.answer()
        self.advance(0.5)
        self.assertEqual(str(self.run_until(self.other.DTMFPlayer.play("1"), 5)), "NORMAL")
        self.assertEqual(self.hear(self.alice, CAROL), 0, "it was retrieved")
        self.all_over()

    def test_referrer_does_not_leave(self) -> None:
        """RFC 5589 6: who has referred says BYE; one that doesn't gets ours, a few seconds later."""
        done = self.referred()
        self.carol.answer()
        self.run_until(done, 5)
        self.advance(4)
        self.assertEqual(self.requests(self.bob, "BYE"), [])
        self.advance(2)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.all_over()
        self.assert_clean()

    def test_call_ends_meanwhile(self) -> None:
        """Alice hangs up while carol rings: everybody is let go of, and bob is told so if he is still there."""
        self.referred()
        self.carol.ring()
        self.advance(0.2)
        self.alice.hang_up()
        self.advance(1)
        self.assert_outcome(State.IDLE, State.IDLE, TransferCause.NORMAL)
        self.assertEqual(self.carol.call.status, 487)
        self.settle(120)
        self.assert_clean()

    def test_nobody_answers(self) -> None:
        """A new leg that rings for two minutes is given up: NOTIFY 408, CANCEL."""
        done = self.referred()
        self.carol.ring()
        self.assertEqual(self.run_until(done, 125), 408)
        self.advance(1)
        self.assertEqual(self.carol.call.status, 487)
        self.assert_talking()
        self.all_over()

    def test_only_what_may_be_dialled(self) -> None:
        """The dialling rules hold for REFER as for the application: 403, nothing dialled; a ceiling is 503."""
        self.joined()
        self.follow()
        rules = DialRules("reception", allow=("sip:*@10.0.1.9",))
        self.channel.dial_rules = self.other.dial_rules = rules
        self.assertEqual(self.run_until(self.bob.transfer(self.carol.uri), 5), 403)
        self.assertEqual(self.run_until(self.bob.transfer("tel:110"), 5), 403)
        self.channel.dial_rules = self.other.dial_rules = DialRules("reception", most=1)
        self.assertEqual(self.run_until(self.bob.transfer(self.carol.uri), 5), 503)
        self.channel.dial_rules = self.other.dial_rules = None
        self.exchange.may_dial = lambda channel, uri: uri.user != "carol"
        self.assertEqual(self.run_until(self.bob.transfer(self.carol.uri), 5), 403)
        self.assertEqual(self.carol.calls, [])
        self.assert_talking()
        self.all_over()

    def test_not_followed(self) -> None:
        """603 by default, with the application alone, during another one, and on hold; nobody is called."""
        self.answer()
        self.assertEqual(self.run_until(self.alice.transfer(self.carol.uri), 5), 603)
        self.channel.refer = "follow"
        self.assertEqual(self.run_until(self.alice.transfer(self.carol.uri), 5), 603, "nobody to talk to")
        self.joined()
        self.other.refer = "follow"
        self.bob.transfer(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.assertEqual(self.run_until(self.bob.transfer(self.carol.uri), 5), 603, "one at a time")
        self.failureResultOf(self.other.hold(), Error)
        self.assertEqual(len(self.carol.calls), 1)
        self.carol.reject(603)
        self.advance(1)
        self.all_over()

    def test_what_cannot_be_followed(self) -> None:
        """RFC 3515 2.4.1: no Refer-To or two are 400; a scheme that nobody is called by 416; another method 603."""
        self.joined()
        self.follow()
        self.strict = False
        to = f"<{self.carol.uri}>"
        dialog = "Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2"
        for values, status in (
            ([], 400),
            ([to, to], 400),
            ([f"{to}, {to}"], 400),
            (["<sip:>"], 400),
            (["nonsense nonsense"], 400),
            (["<mailto:carol@example.com>"], 416),
            ([f"<{self.carol.uri};method=SUBSCRIBE>"], 603),
            ([f"<{self.carol.uri}?Replaces=nonsense>"], 400),
            ([f"<{self.carol.uri}?{dialog}&{dialog}>"], 400),
            (["<sip:" + "x" * 2000 + "@10.0.0.4>"], 400),
        ):
            response = self.ask(self.bob, "REFER", *(("Refer-To", one) for one in values))
            self.assertEqual((values, response.status), (values, status))
        twice = [("Refer-To", to), ("Referred-By", "<sip:a@b>"), ("Referred-By", "<sip:a@b>")]
        self.assertEqual(self.ask(self.bob, "REFER", *twice).status, 400)
        self.assertEqual(self.ask(self.bob, "REFER", ("Refer-To", to), ("Referred-By", "none")).status, 400)
        self.assertEqual(self.ask(self.bob, "REFER", ("Refer-To", to), ("Require", "norefersub")).status, 420)
        self.assertEqual(self.carol.calls, [])
        self.assert_talking()
        self.all_over()

    def test_with_replaces(self) -> None:
        """RFC 5589 7: bob has called carol, and sends us into his place there; Replaces goes out as he wrote it."""
        self.joined()
        self.follow()
        self.bob.dial(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.answer()
        self.advance(0.5)
        second = self.bob.calls[-1]
        done = self.bob.transfer(replaces=second)
        self.assertEqual(self.run_until(done, 5), 200)
        self.assertIs(self.carol.calls[-1].replaced, self.carol.calls[0])
        self.assertIn("replaces", self.carol.calls[-1].invite.require)
        self.run_until(self.bob.calls[0].hang_up(), 5)
        self.assert_pair(self.alice, ALICE, self.carol, CAROL)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.all_over()

    def test_reports_nobody_wants(self) -> None:
        """RFC 6665 4.2.2: a NOTIFY that gets 481 was the last one; the new leg is not disturbed by that."""
        self.joined()
        self.follow()
        self.strict = False

        def forget(message: Message) -> Message:
            if isinstance(message, Response) and (message.get("CSeq") or "").endswith("NOTIFY"):
                return _as_481(message)
            return message

        self.bob.quirks.alter = forget
        self.bob.transfer(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.ring()
        self.advance(0.5)
        self.carol.answer()
        self.advance(0.5)
        self.assertEqual(len(self.requests(self.bob, "NOTIFY")), 1)
        self.bob.quirks.alter = None
        self.bob.hang_up()
        self.assert_pair(self.alice, ALICE, self.carol, CAROL)
        self.all_over()


def _as_481(message: Response) -> Response:
    """Make a refusal of a response."""
    message.status, message.reason = 481, "Call/Transaction Does Not Exist"
    return message


class ReplacedTests(SuccessionScene):
    """R31: an INVITE with Replaces."""

    def replacing(self, call: PhoneCall, early_only: bool = False) -> str:
        """What names a phone's call to us."""
        found = call.replaces
        return str(Replaced(found.call_id, found.to_tag, found.from_tag, early_only))

    def take(self, phone: Phone, call: PhoneCall, **details: Any) -> PhoneCall:
        """Let a phone take a call over; it has its final response."""
        made = phone.dial(self.uri("3300"), replaces=self.replacing(call, **details))
        self.run_until(lambda: made.status >= 200 or made.answered, 10)
        return made

    def trust(self) -> None:
        """Let anybody take calls over."""
        self.exchange.replacing.may_replace = lambda session, request, flow: True

    def test_by_opt_in(self) -> None:
        """RFC 3891 3: carol takes bob's place: answered at once, BYE to bob; states and the channel's id stay."""
        self.joined()
        self.trust()
        name = self.other.id
        old = self.bob.call
        self.take(self.carol, old)
        self.run_until(lambda: not old.alive, 5)
        self.assertEqual(old.ended_by, "far")
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.assertEqual(self.other.id, name)
        self.assert_pair(self.alice, ALICE, self.carol, CAROL)
        self.assertEqual(self.other.Details.call_id, self.carol.call.call_id)
        self.assertEqual(self.other.Details.headers["replaces"], [self.replacing(old)])
        self.carol.press("7")
        self.advance(0.5)
        self.assertEqual(self.run_until(self.other.DTMFDetector.get_digits(count=1), 5), "7", "keys are carol's now")
        self.carol.hang_up()
        self.advance(0.5)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL)
        self.all_over()
        self.assert_clean()

    def test_alone_with_the_application(self) -> None:
        """A caller's other phone takes the call over from its own address: what plays goes on playing."""
        channel = self.answer()
        self.write("long.wav", tone(700, seconds=20.0))
        job = channel.FilePlayer.play("long.wav")
        self.advance(1)
        old = self.alice.call
        self.alice.dial(self.uri("3300"), replaces=self.replacing(old))
        self.run_until(lambda: not old.alive, 5)
        self.assertIs(channel.state(), State.ANSWERED)
        self.assertNoResult(job)
        self.assertGreater(self.hear(self.alice, 700), 0.9)
        self.alice.hang_up()
        self.advance(0.5)
        self.assertIs(channel.state(), State.IDLE)
        self.assertEqual(str(self.successResultOf(job)), "HANGUP")
        self.settle(100)

    def test_records_on(self) -> None:
        """A recording goes on over the change: both far ends are in it."""
        channel = self.answer()
        self.trust()
        job = channel.FileRecorder.record("both.wav", dtmf_elim=False)
        self.advance(1)
        self.take(self.carol, self.alice.call)
        self.advance(1.5)
        self.carol.hang_up()
        self.run_until(job, 5)
        for frequency in (ALICE, CAROL):
            self.assertGreater(sum(one.seconds for one in self.recorded("both.wav", frequency)), 0.8)
        self.settle(100)

    def test_held(self) -> None:
        """A hold ends with the leg that was held: the new one never heard of it."""
        channel = self.answer()
        self.run_until(channel.hold("RINGBACK"), 5)
        old = self.alice.call
        self.alice.dial(self.uri("3300"), replaces=self.replacing(old))
        self.run_until(lambda: not old.alive, 5)
        self.assertIs(channel.state(), State.ANSWERED)
        self.assertEqual(self.hear(self.alice, 440, 480, seconds=3), 0)
        self.all_over_one(channel)

    def all_over_one(self, channel: CallChannel) -> None:
        """Hang up."""
        channel.hang_up()
        self.settle(100)

    def test_refusals(self) -> None:
        """RFC 3891 3: 403 for a stranger, 481 for no match, 400 for two or half of one, 486 for early-only, 603."""
        self.joined()
        self.strict = False
        old = self.bob.call
        right = self.replacing(old)
        found = old.replaces
        half = f"{found.call_id};to-tag={found.to_tag}"
        wrong = f"{found.call_id};to-tag={found.to_tag};from-tag=other"
        for value, status in ((right, 403), (wrong, 481), (half, 400), (f"{right}, {right}", 400), (";;", 400)):
            call = self.carol.dial(self.uri("3300"), headers=[("Replaces", value), ("Require", "replaces")])
            self.run_until(lambda call=call: call.status, 5)  # type: ignore[misc]
            self.assertEqual((value, call.status), (value, status))
        self.trust()
        self.assertEqual(self.take(self.carol, old, early_only=True).status, 486)
        self.assertEqual(self.ask(self.bob, "INFO", ("Replaces", right), call=old).status, 400, "INVITE only")
        self.assert_talking()
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        old.hang_up()
        self.advance(1)
        ended = self.carol.dial(self.uri("3300"), headers=[("Replaces", right)])
        self.run_until(lambda: ended.status, 5)
        self.assertEqual(ended.status, 603)
        self.all_over()

    def test_early_dialog_of_the_callers(self) -> None:
        """RFC 3891 3: an early dialog that we did not begin can't be replaced: 481."""

        async def application(channel: CallChannel) -> None:
            await channel.ring()

        self.run_application(application)
        self.dial_in()
        self.advance(0.5)
        [ringing] = self.alice.got(180)
        call = self.alice.call
        value = f"{call.call_id};to-tag={ringing.to.tag};from-tag={call.invite.from_.tag}"
        made = self.alice.dial(self.uri("3300"), headers=[("Replaces", value)])
        self.run_until(lambda: made.status, 5)
        self.assertEqual(made.status, 481)
        self.assertIs(self.channel.state(), State.RING_INCOMING)
        call.cancel()
        self.settle(100)

    def test_early_dialog_of_ours(self) -> None:
        """RFC 3891 3: bob rings, carol picks up: our INVITE is cancelled, and the transfer is done."""
        verb = self.begin()
        self.bob.ring()
        self.advance(0.5)
        self.trust()
        call = self.bob.call
        [ringing] = [one for one in self.bob.sent(180) if isinstance(one, Response)]
        value = f"{call.call_id};to-tag={call.invite.from_.tag};from-tag={ringing.to.tag};early-only"
        self.carol.dial(self.uri("3300"), headers=[("Replaces", value)])
        self.assertIs(self.run_until(verb, 5), State.TRANSFERRED)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.assert_pair(self.alice, ALICE, self.carol, CAROL)
        self.assertEqual(len(self.requests(self.bob, "CANCEL")), 1)
        self.all_over()

    def test_unusable_offer(self) -> None:
        """What can't be talked to replaces nobody: 488, and the two talk on."""
        self.joined()
        self.trust()
        self.strict = False
        self.carol.quirks.sdp = b"v=0\r\no=- 1 1 IN IP4 10.0.0.4\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 96\r\n"
        self.assertEqual(self.take(self.carol, self.bob.call).status, 488)
        self.assert_talking()
        self.all_over()

    def test_no_acknowledgement(self) -> None:
        """R35 of the new leg: without its ACK the old one keeps its place."""
        self.joined()
        self.trust()
        self.carol.quirks.no_ack = True
        self.strict = False
        self.carol.dial(self.uri("3300"), replaces=self.replacing(self.bob.call))
        self.advance(1)
        self.assertIs(self.other.state(), State.ANSWERED)
        self.advance(35)
        self.assert_talking()
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.all_over()

    def test_referred_to_us(self) -> None:
        """RFC 5589 7, RFC 3892: alice sends carol into her place here; who referred her can be read."""
        channel = self.answer()
        self.trust()
        first = self.alice.call
        self.alice.dial(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.answer()
        self.advance(0.5)
        done = self.alice.calls[-1].transfer(replaces=first)
        self.assertEqual(self.run_until(done, 5), 200)
        self.run_until(lambda: not first.alive, 5)
        self.assertIs(channel.state(), State.ANSWERED)
        self.assertEqual(channel.Details.headers["referred-by"], [f"<{self.alice.uri}>"])
        self.alice.hang_up()
        self.all_over_one(channel)
