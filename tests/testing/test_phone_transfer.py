"""Phones among themselves: REFER and NOTIFY, Replaces, redirects, keys in INFO."""

from __future__ import annotations

from telephony.sip.message import Message, Request
from telephony.testing.phone_refer import Replaced
from telephony.testing.sounds import tone
from tests.testing.test_phone import PhoneCase


class TransferCase(PhoneCase):
    def three(self) -> None:
        """Alice talks to bob, and there is carol."""
        self.build()
        self.carol = self.phone("carol", "10.0.0.4", auto_ring=True)
        self.connect()

    def over(self, *, faultless: bool = True) -> None:
        self.network.advance(100)
        if faultless:
            self.assertEqual(self.carol.faults(), [])
        self.carol.close()
        self.finish(faultless=faultless)


class ReferTests(TransferCase):
    """RFC 3515."""

    def test_blind(self) -> None:
        """RFC 5589 6: bob calls carol when alice asks, and alice is told of each step."""
        self.three()
        self.carol.says(tone(440))
        done = self.alice.transfer(self.carol.uri)
        self.wait(self.carol, "incoming")
        self.network.advance(0.5)
        self.carol.answer()
        self.assertEqual(self.network.run_until(done), 200)
        [referral] = self.alice.call.referrals.sent
        self.assertEqual(referral.answer, 202)
        reports = ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]
        self.assertEqual(referral.reports, reports)
        self.assertIn(f"<{self.alice.uri}>", self.carol.got("INVITE")[0].get("Referred-By") or "")
        self.alice.hang_up()
        self.network.run_until(self.bob.until_hears(440))
        self.bob.hang_up()
        self.over()

    def test_refused(self) -> None:
        """RFC 3515 2.4.2: what the REFER is answered with is what comes of it."""
        self.three()
        self.bob.refer = 603
        self.assertEqual(self.network.run_until(self.alice.transfer(self.carol.uri)), 603)
        self.assertEqual(self.carol.calls, [])
        self.alice.hang_up()
        self.over()

    def test_target_refuses(self) -> None:
        """RFC 3515 2.4.5: the last report has the final status, and ends the subscription."""
        self.three()
        done = self.alice.transfer(self.carol.uri)
        self.wait(self.carol, "incoming")
        self.carol.reject(486)
        self.assertEqual(self.network.run_until(done), 486)
        self.assertFalse(self.alice.call.referrals.open)
        self.alice.hang_up()
        self.over()

    def test_reports_after_the_call(self) -> None:
        """RFC 3515 2.4.7: the subscription outlives the call in which it was begun."""
        self.three()
        done = self.alice.transfer(self.carol.uri)
        self.wait(self.carol, "incoming")
        self.alice.hang_up()
        self.network.advance(1)
        self.carol.answer()
        self.assertEqual(self.network.run_until(done), 200)
        self.network.advance(1)
        self.bob.hang_up()
        self.over()

    def test_attended(self) -> None:
        """RFC 5589 7: alice talks to carol too, and puts bob into her own place there."""
        self.three()
        self.bob.says(tone(600))
        first = self.alice.call
        self.network.run_until(self.alice.hold())
        self.alice.dial(self.carol.uri)
        self.wait(self.carol, "incoming")
        self.carol.answer()
        self.wait(self.alice, "answered")
        second = self.alice.call
        self.network.advance(0.2)
        done = self.alice.transfer(replaces=second)
        self.assertEqual(self.network.run_until(done), 200)
        self.assertIs(self.carol.call.replaced, self.carol.calls[0])
        self.network.run_until(lambda: not second.alive)
        self.assertEqual(second.ended_by, "far")
        first.hang_up()
        self.network.run_until(self.carol.until_hears(600))
        self.carol.hang_up()
        self.over()

    def test_bad_reports(self) -> None:
        """What is wrong in a NOTIFY is a fault, by its section."""
        self.three()

        def alter(message: Message) -> Message:
            if isinstance(message, Request) and message.method == "NOTIFY":
                message.set("Content-Type", "text/plain")
                message.set("Subscription-State", "active")
            return message

        self.bob.quirks.alter = alter
        self.alice.transfer(self.carol.uri)
        self.network.advance(1)
        self.assertTrue(any("2.4.5" in text for text in self.alice.complaints))
        self.assertTrue(any("expires" in text for text in self.alice.complaints))

    def test_garbage(self) -> None:
        """RFC 3515 2.4.1: a Refer-To that is none is 400, and nothing is dialled."""
        self.three()
        self.assertEqual(self.network.run_until(self.alice.transfer("this is no address>, <sip:a@b")), 400)
        self.assertEqual(len(self.bob.calls), 1)


class ReplacesTests(TransferCase):
    """RFC 3891."""

    def test_taken_over(self) -> None:
        """RFC 3891 3: another device takes a call over; the old one gets BYE."""
        self.three()
        taken = self.alice.call
        self.carol.dial(self.bob.uri, replaces=taken)
        self.wait(self.carol, "answered")
        self.network.run_until(lambda: not taken.alive)
        self.assertEqual(taken.ended_by, "far")
        self.carol.hang_up()
        self.over()

    def test_refused(self) -> None:
        """RFC 3891 3: no such dialog 481, early-only of one that was answered 486, two of them 400, ended 603."""
        self.three()
        right = self.alice.call.replaces
        unknown = Replaced("nobody", "1", "2")
        early = Replaced(right.call_id, right.to_tag, right.from_tag, early_only=True)
        for value, status in ((unknown, 481), (early, 486), (f"{right}, {right}", 400), ("garbage", 400)):
            call = self.carol.dial(self.bob.uri, replaces=value)
            self.network.run_until(lambda call=call: call.status)  # type: ignore[misc]
            self.assertEqual((str(value), call.status), (str(value), status))
        self.alice.hang_up()
        self.network.advance(1)
        call = self.carol.dial(self.bob.uri, replaces=right)
        self.network.run_until(lambda: call.status)
        self.assertEqual(call.status, 603)
        self.over()


class AnswerTests(PhoneCase):
    def test_redirect(self) -> None:
        """RFC 3261 21.3: a 3xx names where else to call, with weights where there are several."""
        self.build()
        for uris, contacts in (
            (("sip:a@b",), ["<sip:a@b>"]),
            (("sip:a@b", "sip:c@d"), ["<sip:a@b>;q=1.0", "<sip:c@d>;q=0.9"]),
        ):
            self.alice.dial(self.bob.uri)
            self.wait(self.bob, "incoming")
            self.bob.redirect(*uris)
            self.wait(self.alice, "ended")
            self.assertEqual(self.alice.call.status, 302)
            self.assertEqual(self.alice.got(302)[-1].get_all("Contact"), contacts)
        self.finish()

    def test_come_back_later(self) -> None:
        """RFC 3261 21.5.4: a 503 may say when to come back."""
        self.build()
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.reject(503, retry_after=120)
        self.wait(self.alice, "ended")
        self.assertEqual(self.alice.got(503)[0].get("Retry-After"), "120")
        self.finish()

    def test_keys_in_info(self) -> None:
        """Keys by INFO, in both bodies that are about: each once, in order."""
        self.build()
        self.connect()
        self.network.run_until(self.alice.press("12*", by="info"))
        self.network.run_until(self.alice.press("#A", by="dtmf"))
        self.assertEqual(self.bob.digits, "12*#A")
        kinds = [message.content_type for message in self.bob.got("INFO")]
        self.assertEqual(kinds, ["application/dtmf-relay"] * 3 + ["application/dtmf"] * 2)
        self.alice.hang_up()
        self.finish()
