"""``blind_transfer`` and ``attended_transfer`` (``api.md`` section 4), judged by what the others saw and heard."""

from __future__ import annotations

import inspect
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from telephony.aio import AioCallChannel
from telephony.blocking import UASCallChannel
from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State, TransferCause
from telephony.errors import Error, Hangup
from telephony.sip.message import Message, Request, Response
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone
from tests.call.media_scene import MediaScene

ALICE, BOB, CAROL = 500, 1000, 1500


class ReferScene(MediaScene):
    """Alice talks to the application; bob and carol are there to be called."""

    def setUp(self) -> None:
        super().setUp()
        self.carol = self.phone("carol")
        for phone, frequency in ((self.alice, ALICE), (self.bob, BOB), (self.carol, CAROL)):
            phone.says(tone(frequency))

    def notified(self, phone: Phone) -> list[Request]:
        """The NOTIFYs that a phone sent."""
        return [one for one in phone.sent("NOTIFY") if isinstance(one, Request)]

    def blind(self, **details: Any) -> tuple[CallChannel, Deferred[State]]:
        """Alice has been answered, and is asked to call bob, whose phone has the call."""
        channel = self.answer()
        verb = channel.blind_transfer(self.bob.uri, **details)
        self.run_until(self.bob.until("incoming"), 5)
        return channel, verb

    def goodbye(self) -> None:
        """Let the phones end what they have with each other, and every transaction end."""
        for phone in (self.alice, self.bob, self.carol):
            for call in phone.calls:
                if call.alive and call.answered:
                    call.hang_up()
                    self.advance(0.2)
        self.settle(100)

    def assert_talk(self, one: Phone, his: float, other: Phone, hers: float) -> None:
        """Hold that two hear each other."""
        since = self.now()
        self.advance(1)
        self.assertGreater(sum(x.seconds for x in one.heard(hers, since=since)), 0.8)
        self.assertGreater(sum(x.seconds for x in other.heard(his, since=since)), 0.8)


class BlindTests(ReferScene):
    """RFC 5589 6: alice is asked to call bob."""

    def test_nominal(self) -> None:
        """RFC 3515 2.4.1 and 2.4.5, RFC 5589 6.1: REFER, 202, NOTIFYs, our BYE; IDLE, cause NORMAL."""
        channel, verb = self.blind()
        self.assertIs(channel.state(), State.TRANSFERRING)
        self.assertIs(channel.transfer_cause(), TransferCause.NONE)
        self.bob.ring()
        self.advance(1)
        self.assertEqual(self.requests(self.alice, "BYE"), [], "not before it is known")
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertIs(channel.transfer_cause(), TransferCause.NORMAL)
        self.assertIs(channel.cause(), Cause.NORMAL)
        self.assertEqual(self.steps[-2:], [State.TRANSFERRING, State.IDLE])
        self.advance(0.5)
        [refer] = self.requests(self.alice, "REFER")
        self.assertEqual(refer.get("Refer-To"), f"<{self.bob.uri}>")
        self.assertEqual(len(refer.contacts), 1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)
        notifies = self.notified(self.alice)
        self.assertEqual([one.body.split()[1] for one in notifies], [b"100", b"180", b"200"])
        answers = [one for one in self.alice.got(200) if (one.get("CSeq") or "").endswith("NOTIFY")]
        self.assertEqual(len(answers), 3)
        self.assert_talk(self.alice, ALICE, self.bob, BOB)
        self.goodbye()
        self.assert_clean()

    def test_who_refers(self) -> None:
        """RFC 3892 2.1 and 2.2: the far end is told who refers it, and tells it to who is called."""
        self.blind()
        [refer] = self.requests(self.alice, "REFER")
        own = self.alice.calls[0].invite.to.uri
        self.assertEqual(refer.get("Referred-By"), f"<{own}>")
        self.assertEqual(self.bob.call.invite.get("Referred-By"), f"<{own}>")
        self.bob.answer()
        self.advance(1)
        self.goodbye()

    def test_who_is_anonymous(self) -> None:
        """RFC 3323 4.1, RFC 3892: who called as nobody refers as nobody."""
        channel = self.extra_channel()
        verb = channel.call(self.bob.uri, call_from="sip:anonymous@anonymous.invalid")
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.answer()
        self.run_until(verb, 5)
        transfer = channel.blind_transfer(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        [refer] = self.requests(self.bob, "REFER")
        self.assertIsNone(refer.get("Referred-By"))
        self.carol.answer()
        self.assertIs(self.run_until(transfer, 5), State.IDLE)
        self.goodbye()

    def test_target_refuses(self) -> None:
        """RFC 3515 2.4.5: the final status that is reported is the target's; ANSWERED again, TARGETREJECT."""
        for status, cause in ((486, TransferCause.TARGETREJECT), (603, TransferCause.TARGETREJECT), (503, "FAIL")):
            channel, verb = self.blind()
            self.bob.reject(status)
            self.assertIs(self.run_until(verb, 5), State.ANSWERED)
            self.assertEqual(str(channel.transfer_cause()), str(cause))
            self.assertEqual(channel.Details.raw_cause, status)
            self.assertIs(channel.cause(), Cause.NORMAL)
            since = self.now()
            self.advance(0.3)
            self.assertGreater(len(self.alice.calls[-2].media.audio.ear.heard_packets(since)), 10, "audio goes on")
            self.run_until(channel.hang_up(), 5)
            del self.channel
        self.settle()
        self.assert_clean()

    def test_refer_refused(self) -> None:
        """RFC 3515 2.4.2: she won't; nobody has been called, so that it is no word of the target's: FAIL."""
        channel = self.answer()
        for status in (603, 405, 488):
            self.alice.refer = status
            self.assertIs(self.run_until(channel.blind_transfer(self.bob.uri), 5), State.ANSWERED)
            self.assertIs(channel.transfer_cause(), TransferCause.FAIL)
            self.assertEqual(channel.Details.raw_cause, status)
        self.assertEqual(self.bob.calls, [])
        self.alice.refer = 200
        verb = channel.blind_transfer(self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.IDLE, "200 for 202, as some answer")
        self.goodbye()
        self.assert_clean()

    def test_numbered_events(self) -> None:
        """RFC 3515 2.4.6: each NOTIFY is about the REFER whose CSeq it names, also when several are open."""
        channel, verb = self.blind(seconds_timeout=1)
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.assertIs(channel.transfer_cause(), TransferCause.TIMEOUT)
        again = channel.blind_transfer(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.bob.reject(486)
        self.advance(1)
        self.assertIs(channel.state(), State.TRANSFERRING, "the first one's end is not the second one's")
        self.carol.answer()
        self.assertIs(self.run_until(again, 5), State.IDLE)
        self.goodbye()
        self.assert_clean()

    def test_reports_of_nothing(self) -> None:
        """RFC 6665 4.1.3, RFC 3515 2.4.4: 481 for a NOTIFY of no REFER, 489 for another event, 400 for half of one."""
        self.answer()
        for headers, status in (
            ([("Event", "refer"), ("Subscription-State", "active;expires=60")], 481),
            ([("Event", "refer;id=77"), ("Subscription-State", "active;expires=60")], 481),
        ):
            self.assertEqual(self.notify(headers), status)
        channel = self.channel
        verb = channel.blind_transfer(self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        for headers, status in (
            ([("Event", "presence"), ("Subscription-State", "active")], 489),
            ([("Event", "refer")], 400),
            ([("Subscription-State", "active")], 400),
            ([("Event", "refer;id=x"), ("Subscription-State", "active")], 400),
            ([("Event", "refer;id=77"), ("Subscription-State", "active")], 481),
        ):
            self.assertEqual((headers, self.notify(headers)), (headers, status))
        plain = [("Event", "refer"), ("Subscription-State", "active"), ("Content-Type", "text/plain")]
        self.assertEqual(self.notify(plain, b"SIP/2.0 200 OK\r\n"), 415)
        self.assertIs(channel.state(), State.TRANSFERRING)
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.goodbye()

    def notify(self, headers: list[tuple[str, str]], body: bytes = b"") -> int:
        """Send a NOTIFY from alice, behind her phone's back; what answers it."""
        call = self.alice.calls[0]
        dialog = call._dialog
        assert dialog is not None
        request = call._request(dialog, "NOTIFY")
        for name, value in headers:
            request.add(name, value)
        request.body = body
        done: Deferred[int] = Deferred()
        call._send(dialog, request, lambda response: done.callback(0 if response is None else response.status))
        return self.run_until(done, 5)

    def test_no_report(self) -> None:
        """RFC 6665 4.1.2.4: where no NOTIFY comes for 64*T1 none will; within seconds_timeout it is a TIMEOUT."""
        channel = self.answer()
        self.alice.quirks.alter = self.drop_notifies
        self.strict = False
        verb = channel.blind_transfer(self.bob.uri, seconds_timeout=3)
        before = self.now()
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.assertApproximates(self.now() - before, 3, 0.1)
        self.assertIs(channel.transfer_cause(), TransferCause.TIMEOUT)
        self.bob.reject(486)

    @staticmethod
    def drop_notifies(message: Message) -> Message | None:
        """Let no NOTIFY out."""
        return None if isinstance(message, Request) and message.method == "NOTIFY" else message

    def test_no_report_ever(self) -> None:
        """RFC 6665 4.1.2.4: without a limit the verb still ends, after 64*T1, as FAIL."""
        channel = self.answer()
        self.alice.quirks.alter = self.drop_notifies
        self.strict = False
        verb = channel.blind_transfer(self.bob.uri, seconds_timeout=None)
        self.assertIs(self.run_until(verb, 40), State.ANSWERED)
        self.assertIs(channel.transfer_cause(), TransferCause.FAIL)
        self.bob.reject(486)
        self.settle()

    def test_nobody_there(self) -> None:
        """RFC 3261 12.2.1.2: no answer to the REFER ends the dialog; the far end has gone: HANGUP."""
        channel = self.answer()
        self.alice.quirks.deaf = True
        self.strict = False
        self.assertIs(self.run_until(channel.blind_transfer(self.bob.uri), 40), State.IDLE)
        self.assertIs(channel.transfer_cause(), TransferCause.HANGUP)
        self.alice.quirks.deaf = False
        self.settle()

    def test_far_end_hangs_up(self) -> None:
        """RFC 3515 2.4.7: her BYE ends the call, and what she still reports is answered with 200."""
        channel, verb = self.blind()
        self.alice.calls[0].hang_up()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertIs(channel.transfer_cause(), TransferCause.HANGUP)
        self.advance(20)
        self.bob.answer()
        self.advance(1)
        last = self.notified(self.alice)[-1]
        self.assertIn(b"200", last.body)
        answers = [one for one in self.alice.got(200) if one.get("CSeq") == last.get("CSeq")]
        self.assertEqual(len(answers), 1)
        self.goodbye()
        self.assert_clean()

    def test_hang_up_meanwhile(self) -> None:
        """``hang_up`` while TRANSFERRING ends the verb with IDLE, cause HANGUP (api.md section 3)."""
        channel, verb = self.blind()
        self.run_until(channel.hang_up(), 5)
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertIs(channel.transfer_cause(), TransferCause.HANGUP)
        self.bob.reject(486)
        self.settle(100)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_given_up(self) -> None:
        """Cancelling the verb: ANSWERED again at once, FAIL; a report that comes late changes nothing."""
        channel, verb = self.blind()
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.assertIs(channel.state(), State.ANSWERED)
        self.assertIs(channel.transfer_cause(), TransferCause.FAIL)
        self.bob.answer()
        self.advance(1)
        self.assertIs(channel.state(), State.ANSWERED)
        self.run_until(channel.hang_up(), 5)
        self.goodbye()
        self.assert_clean()

    def test_report_before_the_answer(self) -> None:
        """RFC 6665 4.1.2.4: a NOTIFY may be here before the 202 that it follows."""
        channel = self.answer()
        lost: list[Message] = []

        def lose(message: Message) -> Message | None:
            if isinstance(message, Response) and message.status == 202 and not lost:
                lost.append(message)
                return None
            return message

        self.alice.quirks.alter = lose
        verb = channel.blind_transfer(self.bob.uri)
        self.run_until(self.bob.until("incoming"), 5)
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertEqual(len(lost), 1)
        self.goodbye()

    def test_signatures(self) -> None:
        """``api.md`` section 4, also of the blocking and the asyncio channel."""
        for kind in (CallChannel, UASCallChannel, AioCallChannel):
            for name, wanted in (("blind_transfer", "call_to"), ("attended_transfer", "other_call")):
                found = inspect.signature(getattr(kind, name)).parameters
                self.assertEqual([*found], ["self", wanted, "seconds_timeout"])
                self.assertEqual(found["seconds_timeout"].default, 120)

    def test_preconditions(self) -> None:
        """Section 4: ANSWERED only, nothing playing; a bad address is an Error, and nothing is sent."""
        idle = self.exchange.channel()
        self.failureResultOf(idle.blind_transfer(self.bob.uri), Hangup)
        channel = self.answer()
        for wrong in ("", "nonsense", "sip:a@b?Subject=x", "3301"):
            self.failureResultOf(channel.blind_transfer(wrong), Error)
        self.failureResultOf(channel.blind_transfer(self.bob.uri, seconds_timeout=-1), Error)
        self.failureResultOf(channel.attended_transfer(channel), Error)
        self.failureResultOf(channel.attended_transfer(idle), Error)
        self.run_until(channel.hold(), 5)
        self.failureResultOf(channel.blind_transfer(self.bob.uri), Error)
        self.run_until(channel.resume(), 5)
        self.write("music.wav", tone(700, seconds=2.0))
        channel.FilePlayer.start("music.wav")
        self.advance(0.1)
        failure = self.failureResultOf(channel.blind_transfer(self.bob.uri), Error)
        self.assertIn("busy", str(failure.value))
        self.assertEqual(self.requests(self.alice, "REFER"), [])
        self.assertIs(channel.transfer_cause(), TransferCause.NONE)


class AttendedTests(ReferScene):
    """RFC 5589 7: the application talks to alice and to bob, and lets alice take its place at bob's."""

    def both(self) -> tuple[CallChannel, CallChannel]:
        """Alice and bob are ANSWERED."""
        return self.answer(), self.call_bob()

    def test_nominal(self) -> None:
        """RFC 5589 7.1, RFC 3891 3: alice replaces us at bob's; both our calls are over, they hear each other."""
        channel, other = self.both()
        verb = channel.attended_transfer(other)
        self.run_until(lambda: len(self.bob.calls) == 2, 5)
        self.assertIs(self.run_until(verb, 5), State.IDLE)
        self.assertIs(channel.transfer_cause(), TransferCause.NORMAL)
        self.advance(0.5)
        self.assertIs(other.state(), State.IDLE)
        first, second = self.bob.calls
        self.assertIs(second.replaced, first)
        [refer] = self.requests(self.alice, "REFER")
        self.assertIn("?Replaces=", refer.get("Refer-To") or "")
        self.assertNotIn(";to-tag", refer.get("Refer-To") or "", "escaped")
        self.assertEqual(second.invite.get("Referred-By"), refer.get("Referred-By"))
        self.assert_talk(self.alice, ALICE, self.bob, BOB)
        self.bob.hang_up()
        self.settle(100)
        self.assert_clean()

    def test_target_leaves_the_end_to_us(self) -> None:
        """RFC 5589 7: the target ends the call it was replaced in; where its BYE doesn't come, ours goes."""
        channel, other = self.both()
        self.strict = False

        def lose(message: Message) -> Message | None:
            return None if isinstance(message, Request) and message.method == "BYE" else message

        self.bob.quirks.alter = lose
        self.assertIs(self.run_until(channel.attended_transfer(other), 5), State.IDLE)
        self.assertIs(other.state(), State.IDLE)
        self.advance(0.5)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.bob.quirks.alter = None
        self.goodbye()

    def test_connected(self) -> None:
        """Two calls that are connected to each other are let go of: they talk on, without us."""
        channel, other = self.both()
        self.assertTrue(self.run_until(channel.connect(other), 5))
        self.advance(0.5)
        self.assertIs(self.run_until(channel.attended_transfer(other), 5), State.IDLE)
        self.advance(0.5)
        self.assertIs(other.state(), State.IDLE)
        self.assert_talk(self.alice, ALICE, self.bob, BOB)
        self.bob.hang_up()
        self.settle(100)
        self.assert_clean()

    def test_busy_otherwise(self) -> None:
        """What is connected to somebody else is busy."""
        channel, other = self.both()
        third = self.exchange.channel()
        verb = third.call(self.carol.uri)
        self.run_until(self.carol.until("incoming"), 5)
        self.carol.answer()
        self.run_until(verb, 5)
        self.run_until(channel.connect(third), 5)
        failure = self.failureResultOf(channel.attended_transfer(other), Error)
        self.assertIn("connection", str(failure.value))

    def test_target_has_gone(self) -> None:
        """RFC 3891 3: bob has hung up when alice comes; the report is a refusal: TARGETHANGUP."""
        channel, other = self.both()
        self.network.link(self.alice.address[0], self.bob.address[0], delay=1.0)
        verb = channel.attended_transfer(other)
        self.advance(0.5)
        self.bob.hang_up()
        self.assertIs(self.run_until(verb, 10), State.ANSWERED)
        self.assertIs(channel.transfer_cause(), TransferCause.TARGETHANGUP)
        self.assertIs(other.state(), State.IDLE)
        self.run_until(channel.hang_up(), 5)
        self.settle(100)
