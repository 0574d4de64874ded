"""Before an answer: reliable ringing, early media per fork, redirects (``api.md`` 3 and 4; R6, R17 to R21)."""

from __future__ import annotations

from typing import Any

from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State, TransferCause
from telephony.sip.message import Message, Request, Response
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone
from tests.call.media_scene import Speaker
from tests.call.scene import Scene

RINGBACK = (440, 480)


class RingingTests(Scene):
    """``ring()`` towards callers that know RFC 3262."""

    def ringing(self, early_media: bool = True, then: Any = None, **dialled: Any) -> Phone:
        """Alice calls, and an application rings, then answers."""

        async def application(channel: CallChannel) -> None:
            await channel.ring(1, negotiate_early_media=early_media)
            if then is None:
                await channel.answer()
            else:
                await then(channel)

        self.run_application(application)
        self.alice.dial(self.uri("3300"), **dialled)
        return self.alice

    def reliable(self, phone: Phone) -> list[Response]:
        """The reliable responses that a phone got."""
        found = [one.message for one in phone.log if not one.sent]
        return [one for one in found if isinstance(one, Response) and one.has("RSeq")]

    def test_early_media_reliably(self) -> None:
        """Section 4, RFC 3262: early media to a caller that supports it is acknowledged, and the 200 has no SDP."""
        self.alice.reliable = True
        self.ringing()
        self.run_until(self.alice.until("answered"), 5)
        self.run_until(self.outcome, 5)
        [ringing] = self.reliable(self.alice)
        self.assertEqual((ringing.status, bool(ringing.body)), (183, True))
        [answer] = [one for one in self.responses(self.alice, 200) if one.cseq.method == "INVITE"]
        self.assertEqual(answer.body, b"")
        self.assertIs(self.channel.state(), State.ANSWERED)
        self.advance(1)
        self.assertEqual(self.alice.faults(), [])

    def test_the_exchange_may_be_set_otherwise(self) -> None:
        """`Exchange.reliable_early_media`: off, only those that require it get it."""
        self.exchange.reliable_early_media = False
        self.alice.reliable = True
        self.ringing()
        self.run_until(self.alice.until("answered"), 5)
        self.assertEqual(self.reliable(self.alice), [])

    def test_plain_ringing_is_not_reliable(self) -> None:
        """A 180 settles nothing, and goes unreliably to who doesn't require more."""
        self.alice.reliable = True
        self.ringing(False)
        self.run_until(self.alice.until("answered"), 5)
        self.assertEqual(self.reliable(self.alice), [])

    def test_required(self) -> None:
        """RFC 3262 3: a caller that requires it gets each 18x so."""
        self.alice.reliable = True
        for early in (False, True):
            self.ringing(early, headers=[("Require", "100rel")])
            self.run_until(self.alice.until("answered"), 5)
            self.advance(1)
            self.alice.hang_up()
            self.advance(1)
        self.assertEqual([one.status for one in self.reliable(self.alice)], [180, 183])
        self.assertEqual(self.alice.faults(), [])

    def test_without_an_offer(self) -> None:
        """RFC 3262 5: to a caller without an offer, a required 180 holds ours, the PRACK the answer; both are heard."""
        self.alice.reliable = True
        self.alice.quirks.offerless = True
        self.alice.says(tone(500))
        self.ringing(False, headers=[("Require", "100rel")])
        self.run_until(self.alice.until("answered"), 5)
        self.run_until(self.outcome, 5)
        [ringing] = self.reliable(self.alice)
        self.assertEqual((ringing.status, bool(ringing.body)), (180, True))
        self.advance(1)
        self.assertEqual(self.channel.Details.codecs, ["g711a"])
        assert self.channel.leg is not None and self.channel.leg.endpoint is not None
        self.assertGreater(self.channel.leg.endpoint.rtp.packets_received, 40)
        self.assertEqual(self.alice.faults(), [])

    def test_never_acknowledged(self) -> None:
        """RFC 3262 3: no PRACK for 64*T1: the call is refused with 5xx; the verb that waits ends, cause TIMEOUT."""

        async def answers(channel: CallChannel) -> State:
            return await channel.answer()

        self.alice.reliable = True
        self.alice.quirks.no_prack = True
        self.ringing(then=answers)
        self.run_until(self.alice.until("ended"), 40)
        self.advance(1)
        self.assertEqual(self.alice.call.status, 504)
        self.assertEqual((self.channel.state(), self.channel.cause()), (State.IDLE, Cause.TIMEOUT))
        self.successResultOf(self.outcome)

    def test_hung_up_before_the_prack(self) -> None:
        """Section 4: hang_up() while the 200 waits for a PRACK refuses the call."""

        async def gives_up(channel: CallChannel) -> None:
            waiting = channel.answer()
            self.assertIs(channel.state(), State.ANSWERING)
            self.assertIs(await channel.hang_up(), State.IDLE)
            self.assertIs(await waiting, State.IDLE)

        self.alice.reliable = True
        self.alice.quirks.no_prack = True
        self.ringing(then=gives_up)
        self.run_until(self.alice.until("ended"), 5)
        self.run_until(self.outcome, 5)
        self.assertEqual(self.alice.call.status, 480)


class CalledTests(Scene):
    """What a target does before it answers."""

    def call(self, **details: Any) -> CallChannel:
        """Call bob, whose phone has the INVITE."""
        channel = self.extra_channel()
        self.verb = channel.call(details.pop("call_to", self.bob.uri), seconds_timeout=30, **details)
        self.run_until(self.bob.until("incoming"), 5)
        return channel

    def test_reliable_answer(self) -> None:
        """R19, RFC 6337 3.1: the answer in a reliable 183 is the answer; a 200 without SDP leaves it so."""
        self.bob.reliable = True
        channel = self.call()
        self.bob.ring(183, sdp=True)
        self.advance(0.5)
        self.bob.answer()
        self.assertIs(self.run_until(self.verb, 5), State.ANSWERED)
        [answer] = [
            one.message
            for one in self.bob.log
            if one.sent
            and isinstance(one.message, Response)
            and one.message.status == 200
            and one.message.cseq.method == "INVITE"
        ]
        self.assertEqual(answer.body, b"")
        self.assertEqual(channel.Details.codecs, ["g711a"])
        self.assertEqual((self.bob.unpracked, self.bob.faults()), (0, []))

    def test_lost_prack(self) -> None:
        """RFC 3262 4: responses and PRACKs that get lost come again, until each has arrived once."""
        self.bob.reliable = True
        self.network.link("10.0.1.2", "10.0.0.1", loss=0.4)
        self.call()
        for status in (180, 182, 183):
            self.bob.ring(status, sdp=status == 183)
        self.advance(20)
        self.network.link("10.0.1.2", "10.0.0.1", loss=0.0)
        self.bob.answer()
        self.assertIs(self.run_until(self.verb, 20), State.ANSWERED)
        self.assertEqual((self.bob.unpracked, self.bob.faults()), (0, []))

    def test_the_losers_early_media(self) -> None:
        """R17: 183 with SDP from two forks: the first is heard; when the second answers, only that."""
        bobs = Speaker(self.network.host("10.0.9.1"), tone(1500))
        host, port = bobs.address

        def second_elsewhere(message: Message) -> Message:
            if isinstance(message, Response) and message.to.tag == "two" and message.body:
                body = message.body.decode().replace(f"c=IN IP4 {self.bob.address[0]}", f"c=IN IP4 {host}")
                own = f"m=audio {self.bob.call.media.audio.ports[0]}"
                message.body = body.replace(own, f"m=audio {port}").encode()
            return message

        self.bob.quirks.alter = second_elsewhere
        channel = self.call()
        self.bob.says(tone(1000))
        for tag in ("one", "two"):
            self.bob.call.ring(183, sdp=True, tag=tag, reliable=True)
        self.advance(0.3)
        assert channel.leg is not None and channel.leg.endpoint is not None
        rtp = channel.leg.endpoint.rtp
        self.assertEqual(
            rtp.remote,
            self.bob.call.media.audio.ports[:1] and (self.bob.address[0], self.bob.call.media.audio.ports[0]),
        )
        self.assertEqual(sorted(one.to.tag or "" for one in self.requests(self.bob, "PRACK")), ["one", "two"])
        self.bob.call.answer(tag="two")
        self.assertIs(self.run_until(self.verb, 5), State.ANSWERED)
        before = rtp.packets_received
        self.advance(0.5)
        self.assertEqual(rtp.packets_received, before, "the loser sends on, and is not heard")
        bobs.start(rtp.address)
        self.advance(0.5)
        self.assertGreater(rtp.packets_received, before + 20)
        self.assertEqual(rtp.remote, (host, port))
        bobs.close()


class RedirectTests(Scene):
    """R6: a target that sends the call elsewhere."""

    def setUp(self) -> None:
        super().setUp()
        self.carol = self.phone("carol")

    def test_call(self) -> None:
        """R6: `call` follows; Details say who is called and who answered."""
        self.carol.auto_answer = 0.5
        channel = self.extra_channel()
        verb = channel.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.call.redirect(self.carol.uri)
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.assertEqual((channel.Details.call_to, channel.Details.call_target), (self.bob.uri, self.carol.uri))
        self.assertEqual(channel.Details.raw_cause, 0)
        self.assertEqual(channel.Details.call_id, self.carol.call.call_id)
        self.assertEqual(self.carol.call.call_id, self.bob.call.call_id)
        self.assertEqual(self.carol.faults() + self.bob.faults(), [])

    def test_not_allowed(self) -> None:
        """R6: where `Exchange.may_dial` says no, the 3xx is the outcome: cause FAILED, raw_cause 302."""
        asked: list[str] = []

        def may_dial(channel: object, target: object) -> bool:
            self.assertIs(channel, self.other)
            asked.append(str(target))
            return False

        self.exchange.may_dial = may_dial
        channel = self.extra_channel()
        verb = channel.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.call.redirect(self.carol.uri)
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertEqual((channel.cause(), channel.Details.raw_cause), (Cause.FAILED, 302))
        self.assertEqual((asked, self.carol.calls), ([self.carol.uri], []))

    def test_within_the_verbs_time(self) -> None:
        """Section 4: `seconds_timeout` covers redirects: a circle of phones that ring doesn't stretch it."""
        channel = self.extra_channel()
        verb = channel.call(self.bob.uri, seconds_timeout=6)
        began = self.network.clock.seconds()
        self.run_until(self.bob.until("incoming"), 5)
        self.advance(4)
        self.bob.call.redirect(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.ring()
        self.assertIs(self.run_until(verb, 10), State.IDLE)
        self.assertLess(self.network.clock.seconds() - began, 7)
        self.assertIs(channel.cause(), Cause.TIMEOUT)
        self.run_until(self.carol.until("ended"), 5)
        self.assertEqual(len(self.requests(self.carol, "CANCEL")), 1)

    def test_tone_after_early_media(self) -> None:
        """R18, R33: early media of who redirects ends; the next target's 180 is a ringback tone again."""
        self.bob.says(tone(1000))
        verb = self.transfer()
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.quirks.early_rtp = True
        self.bob.ring(183, sdp=True)
        self.advance(1)
        self.assertGreater(sum(one.seconds for one in self.alice.heard(1000)), 0.5)
        self.bob.call.redirect(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.ring()
        since = self.network.clock.seconds()
        self.advance(2)
        self.assertGreater(sum(one.seconds for one in self.alice.heard(*RINGBACK, since=since)), 1)
        self.assertEqual(self.alice.heard(1000, since=since + 0.3), [])
        self.carol.answer()
        self.assertIs(self.run_until(verb, 5), State.TRANSFERRED)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)

    def test_late_early_media_of_who_redirected(self) -> None:
        """R17, R18: what the first target announced and sends only now is nobody's any more; the tone goes on."""
        late = Speaker(self.network.host("10.0.9.1"), tone(1500))
        host, port = late.address

        def elsewhere(message: Message) -> Message:
            if isinstance(message, Response) and message.body:
                own = f"m=audio {self.bob.call.media.audio.ports[0]}"
                body = message.body.decode().replace(f"c=IN IP4 {self.bob.address[0]}", f"c=IN IP4 {host}")
                message.body = body.replace(own, f"m=audio {port}").encode()
            return message

        self.bob.quirks.alter = elsewhere
        verb = self.transfer()
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.ring(183, sdp=True)
        self.bob.call.media.audio.mouth.stop()
        self.advance(0.5)
        self.assertFalse(self.other.Details.early_media)
        self.bob.call.redirect(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.ring()
        assert self.other.leg is not None and self.other.leg.endpoint is not None
        late.start(self.other.leg.endpoint.rtp.address)
        since = self.network.clock.seconds()
        self.advance(2)
        late.close()
        self.assertGreater(sum(one.seconds for one in self.alice.heard(*RINGBACK, since=since)), 0.8)
        self.assertEqual(self.alice.heard(1500, since=since), [])
        self.assertFalse(self.other.Details.early_media)
        self.channel.hang_up()
        self.assertIs(self.run_until(verb, 5), State.IDLE)

    def test_refused_elsewhere(self) -> None:
        """R6, R4: where the contact refuses, that is the outcome."""
        verb = self.transfer()
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.call.redirect(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.reject(486)
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.TARGETREJECT, Cause.BUSY)
        self.assertEqual(self.other.Details.raw_cause, 486)


class DetailTests(Scene):
    """``Details`` from header fields."""

    def test_history(self) -> None:
        """RFC 7044, 7544: a call's history is told as diversions are."""
        self.run_application(self.answered)
        history = "<sip:boss@x>;index=1, <sip:desk@x;cause=486>;index=1.1;mp=1"
        self.alice.dial(self.uri("3300"), headers=[("History-Info", history)])
        self.run_until(lambda: hasattr(self, "channel"), 5)
        self.run_until(self.outcome, 5)
        self.assertEqual(self.channel.Details.diversion, "<sip:boss@x>;reason=user-busy")

    def test_connected_id(self) -> None:
        """RFC 3325 8, RFC 5876: an asserted identity counts from a trusted peer only; else the Contact does."""
        for trusted, found in ((False, self.bob.uri), (True, "sip:desk@example.com")):
            self.exchange.trusts = (lambda _session, _message: True) if trusted else None
            channel = self.extra_channel()
            verb = channel.call(self.bob.uri)
            self.advance(0.1)
            self.bob.answer(headers=[("P-Asserted-Identity", "<sip:desk@example.com>")])
            self.assertIs(self.run_until(verb, 5), State.ANSWERED)
            self.assertEqual(channel.Details.connected_id, found)
            self.run_until(channel.hang_up(), 5)
            self.advance(1)

    def test_reason_of_a_bye_and_a_cancel(self) -> None:
        """RFC 3326: why the far end hung up, in ``raw_reason``."""
        self.alice.quirks.alter = with_reason
        self.run_application(self.answered)
        self.dial_in()
        self.run_until(self.outcome, 5)
        self.alice.hang_up()
        self.advance(1)
        details = self.channel.Details
        self.assertEqual((details.raw_cause, details.raw_reason), (0, 'Q.850;cause=16;text="bye"'))

        async def never(channel: CallChannel) -> None:
            await channel.ring(30)

        self.run_application(never)
        self.alice.dial(self.uri("3300"))
        self.advance(1)
        self.alice.hang_up()
        self.advance(1)
        details = self.channel.Details
        self.assertEqual((details.raw_cause, details.raw_reason), (487, 'Q.850;cause=16;text="bye"'))


def with_reason(message: Message) -> Message:
    """Let a phone say why it hangs up."""
    if isinstance(message, Request) and message.method in ("BYE", "CANCEL") and not message.has("Reason"):
        message.add("Reason", 'Q.850;cause=16;text="bye"')
    return message
