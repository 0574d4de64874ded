"""Phones among themselves: re-INVITE and UPDATE, reliable provisional responses, session timers."""

from __future__ import annotations

from typing import Any

from telephony.sip.message import Message, Response
from telephony.testing.phone_call import CallState
from telephony.testing.phone_timer import TimerWish
from telephony.testing.sounds import tone
from tests.testing.test_phone import ALICE, BOB, PhoneCase


class SignallingCase(PhoneCase):
    """A case whose phones are made with settings."""

    def between(self, alice: dict[str, Any], bob: dict[str, Any], seed: int = 1, **settings: Any) -> None:
        self.build(seed, **settings)
        for phone in (self.alice, self.bob):
            phone.close()
        self.network.advance(0.1)
        self.alice = self.phone("alice", ALICE, **alice)
        self.bob = self.phone("bob", BOB, **bob)


class UpdateTests(SignallingCase):
    """RFC 3311, and re-INVITEs beyond holding."""

    def test_hold_by_update(self) -> None:
        """RFC 3311 5.1: an UPDATE with an offer changes the session as a re-INVITE does, and has no ACK."""
        self.build()
        self.connect()
        acks = len(self.bob.got("ACK"))
        self.assertEqual(self.network.run_until(self.alice.update("sendonly")), 200)
        self.assertTrue(self.bob.call.media.held)
        self.assertEqual(self.network.run_until(self.bob.update()), 200)
        self.assertEqual(self.network.run_until(self.alice.update("sendrecv")), 200)
        self.assertFalse(self.bob.call.media.held)
        self.assertEqual(len(self.bob.got("ACK")), acks)
        self.alice.hang_up()
        self.finish()

    def test_update_without_offer(self) -> None:
        """RFC 3311 5.1: one without an offer refreshes, and changes no session."""
        self.build()
        self.connect()
        self.assertEqual(self.network.run_until(self.bob.update(offer=False)), 200)
        self.assertEqual(self.alice.got("UPDATE")[0].body, b"")
        self.assertEqual(self.alice.sent(200)[-1].body, b"")
        self.alice.hang_up()
        self.finish()

    def test_glare(self) -> None:
        """RFC 3311 5.2: UPDATEs that cross get 491, and both get through in their own time."""
        self.build()
        self.connect()
        one, two = self.alice.update("sendonly"), self.bob.update()
        self.assertEqual((self.network.run_until(one), self.network.run_until(two)), (200, 200))
        self.assertTrue(self.alice.got(491) and self.bob.got(491))
        self.alice.hang_up()
        self.finish()

    def test_491_on_purpose(self) -> None:
        """The quirk answers so many with 491, and then as it should."""
        self.build()
        self.connect()
        self.bob.quirks.glare = 2
        self.assertEqual(self.network.run_until(self.alice.hold()), 200)
        self.assertEqual(len(self.alice.got(491)), 2)
        self.alice.hang_up()
        self.finish()

    def test_directions(self) -> None:
        """RFC 3264 6.1: each direction of an offer is answered by what fits it, also where the answerer holds."""
        fits = {
            ("sendrecv", "sendrecv"): "sendrecv",
            ("sendonly", "sendrecv"): "recvonly",
            ("recvonly", "sendrecv"): "sendonly",
            ("inactive", "sendrecv"): "inactive",
            ("sendrecv", "sendonly"): "sendonly",
            ("sendonly", "sendonly"): "inactive",
            ("recvonly", "sendonly"): "sendonly",
        }
        self.build()
        self.connect()
        for (offered, own), answered in fits.items():
            self.bob.call.media.direction = own
            for send in (self.alice.reinvite, self.alice.update):
                self.assertEqual(self.network.run_until(send(offered)), 200)
                theirs = self.alice.call.media.theirs
                assert theirs is not None
                self.assertEqual((offered, own, theirs.direction), (offered, own, answered))
        self.alice.hang_up()
        self.finish()

    def test_offer_before_the_answer(self) -> None:
        """RFC 3311 5.2: an UPDATE with an offer while the INVITE's is not answered is 500 with Retry-After."""
        self.build()
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.ring()
        self.wait(self.alice, "ringing")
        self.assertRaises(AssertionError, self.alice.update)
        self.alice.call.media.withdraw()
        self.assertEqual(self.network.run_until(self.alice.update()), 500)
        self.assertTrue(self.alice.got(500)[0].has("Retry-After"))
        self.assertEqual(self.network.run_until(self.alice.update(offer=False)), 200)
        self.alice.cancel()
        self.finish()


class ReliableTests(SignallingCase):
    """RFC 3262."""

    def dialled(self, seed: int = 1, alice: dict[str, Any] | None = None, **settings: Any) -> None:
        self.between({"reliable": True, **(alice or {})}, {"reliable": True}, seed, **settings)
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming", 100)

    def test_prack(self) -> None:
        """RFC 3262 3 and 4: a reliable 183 with the answer has its PRACK, and the 2xx has no description."""
        self.dialled()
        self.bob.says(tone(425))
        self.bob.ring(183, sdp=True)
        self.network.run_until(self.alice.until_hears(425))
        self.assertEqual(len(self.bob.got("PRACK")), 1)
        self.bob.ring(180)
        self.wait(self.bob, lambda: len(self.bob.got("PRACK")) == 2)
        self.bob.answer()
        self.wait(self.alice, "answered")
        self.wait(self.bob, "answered")
        invite_200 = [m for m in self.alice.got(200) if m.cseq.method == "INVITE"]
        self.assertEqual([m.body for m in invite_200], [b""])
        self.alice.hang_up()
        self.finish()
        self.assertEqual(self.bob.unpracked, 0)

    def test_nobody_asked(self) -> None:
        """RFC 3262 3: only who says 100rel gets it; sent all the same, it is a fault of the callee's."""
        self.between({}, {"reliable": True})
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.ring(180)
        self.wait(self.alice, "ringing")
        self.assertFalse(self.alice.got(180)[0].has("RSeq"))
        self.bob.ring(183, reliable=True)
        self.wait(self.bob, lambda: self.bob.got("PRACK"))
        self.assertIn("100rel", self.alice.complaints[0])

    def test_lost(self) -> None:
        """RFC 3262 3: it is repeated until the PRACK comes, and the calls are set up through 30 % loss."""
        for seed in range(15):
            self.dialled(seed, loss=0.3)
            self.bob.ring(183, sdp=True)
            self.bob.answer()
            self.wait(self.alice, "answered", 200)
            self.assertEqual(len(self.bob.call._provisionals.pracked), 1)
            self.alice.hang_up()
            self.wait(self.bob, "ended", 100)
            self.finish()

    def test_2xx_waits(self) -> None:
        """RFC 3262 3: the 2xx waits for the PRACK of a description; the quirk doesn't."""
        for impatient in (False, True):
            self.dialled(alice={}, delay=0.1)
            self.bob.quirks.no_wait_for_prack = impatient
            self.bob.ring(183, sdp=True)
            self.bob.answer()
            self.assertEqual([m.status for m in self.bob.sent(200) if isinstance(m, Response)], [200] * impatient)
            self.wait(self.alice, "answered")
            self.alice.hang_up()
            self.finish(faultless=not impatient)

    def test_never_pracked(self) -> None:
        """RFC 3262 3: without a PRACK it is repeated at doubling intervals for 64*T1, and then the call is refused."""
        self.dialled()
        self.alice.quirks.no_prack = True
        start = self.network.clock.seconds()
        self.bob.ring(183, sdp=True)
        self.wait(self.alice, "ended")
        self.assertApproximates(self.network.clock.seconds() - start, 32, 0.1)
        self.assertEqual((self.alice.call.status, self.bob.unpracked), (504, 1))
        times = [e.time - start for e in self.bob.log if e.sent and e.message.start_line.startswith("SIP/2.0 183")]
        self.assertEqual([round(one, 1) for one in times], [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5])
        self.finish()

    def test_in_order(self) -> None:
        """RFC 3262 4: what comes too soon, or again, is not acknowledged."""
        self.dialled()
        self.bob.call.ring(183, headers=[("RSeq", "7")])
        self.wait(self.bob, lambda: self.bob.got("PRACK"))
        self.bob.call.ring(180, headers=[("RSeq", "9")])
        self.network.advance(1)
        self.assertEqual(len(self.bob.got("PRACK")), 1)
        self.alice.cancel()
        self.finish()

    def test_one_at_a_time(self) -> None:
        """RFC 3262 3: the next reliable response waits for the first one's PRACK."""
        self.dialled(alice={}, delay=0.1)
        self.bob.ring(183, sdp=True)
        self.bob.ring(180)
        self.assertEqual(len(self.bob.sent(180)), 0)
        self.wait(self.bob, lambda: len(self.bob.got("PRACK")) == 2)
        numbers = [int(m.get("RSeq") or 0) for m in (*self.alice.got(183), *self.alice.got(180))]
        self.assertEqual(numbers[1] - numbers[0], 1)
        self.bob.answer()
        self.wait(self.alice, "answered")
        self.alice.hang_up()
        self.finish()

    def test_forks(self) -> None:
        """RFC 3262 4: each early dialog has numbers and PRACKs of its own; the one that answers is heard."""
        self.dialled()
        self.bob.says(tone(440))
        self.bob.ring(183, sdp=True, tag="one")
        self.bob.ring(183, sdp=True, tag="two")
        self.wait(self.bob, lambda: len(self.bob.got("PRACK")) == 2)
        self.assertEqual({m.to.tag for m in self.bob.got("PRACK")}, {"one", "two"})
        self.bob.answer(tag="two")
        self.wait(self.alice, "answered")
        self.network.run_until(self.alice.until_hears(440))
        self.alice.hang_up()
        self.finish()

    def test_offer_in_the_183(self) -> None:
        """RFC 3262 5: to an INVITE without an offer the first reliable response has one, and PRACK the answer."""
        self.between({"reliable": True}, {"reliable": True})
        self.alice.quirks.offerless = True
        self.alice.says(tone(440))
        self.alice.dial(self.bob.uri)
        self.wait(self.bob, "incoming")
        self.bob.ring(183, sdp=True)
        self.network.run_until(self.bob.until_hears(440))
        self.assertTrue(self.bob.got("PRACK")[0].body)
        self.bob.answer()
        self.wait(self.alice, "answered")
        self.alice.hang_up()
        self.finish()

    def test_update_in_the_early_dialog(self) -> None:
        """RFC 3311 5.1: behind a reliable answer either side may offer again before the 2xx."""
        self.dialled()
        self.bob.ring(183, sdp=True)
        self.wait(self.bob, lambda: self.bob.got("PRACK"))
        self.network.advance(0.1)
        self.assertEqual(self.network.run_until(self.alice.update("sendonly")), 200)
        self.assertTrue(self.bob.call.media.held)
        self.assertEqual(self.network.run_until(self.bob.update()), 200)
        self.assertIs(self.alice.call.state, CallState.FAR_RINGING)
        self.assertEqual(self.network.run_until(self.alice.update("sendrecv")), 200)
        self.bob.answer()
        self.wait(self.alice, "answered")
        self.wait(self.bob, "answered")
        self.alice.hang_up()
        self.finish()

    def test_cancel(self) -> None:
        """A call that is given up after a reliable response ends as any other, and nothing is repeated on."""
        self.dialled()
        self.bob.ring(183, sdp=True)
        self.wait(self.alice, "ringing")
        self.alice.cancel()
        self.wait(self.bob, "ended")
        self.finish()

    def test_wrong_rack(self) -> None:
        """RFC 3262 3: a PRACK of nothing is 481, and a fault."""
        self.dialled()

        def wrong(message: Message) -> Message:
            if message.has("RAck"):
                message.set("RAck", "99999 1 INVITE")
            return message

        self.alice.quirks.alter = wrong
        self.bob.ring(180)
        self.wait(self.alice, lambda: self.alice.got(481))
        self.assertIn("RAck", self.bob.complaints[0])


class SessionTimerTests(SignallingCase):
    """RFC 4028."""

    def talk(self, alice: dict[str, Any], bob: dict[str, Any]) -> None:
        self.between({"media": False, **alice}, {"media": False, **bob})
        self.connect()

    def test_refreshes(self) -> None:
        """RFC 4028 7.4, 10: the refresher refreshes at half of the interval, by UPDATE or re-INVITE; the call stays."""
        for refresher, sends in (("uac", "alice"), ("uas", "bob")):
            for by in ("UPDATE", "INVITE"):
                wish = TimerWish(100, refresher, by=by)
                self.talk({"session_timer": wish}, {"session_timer": wish})
                before = len(self.alice.sent(by)), len(self.bob.sent(by))
                self.network.advance(260)
                after = len(self.alice.sent(by)), len(self.bob.sent(by))
                self.assertEqual((after[0] - before[0], after[1] - before[1]), (5, 0) if sends == "alice" else (0, 5))
                self.assertTrue(self.alice.call.talking and self.bob.call.talking)
                self.alice.hang_up()
                self.finish()

    def test_never_refreshes(self) -> None:
        """RFC 4028 10: who is not refreshed ends the call a little before the interval is over."""
        self.talk({"session_timer": TimerWish(90, "uac")}, {"session_timer": 1800})
        start = self.network.clock.seconds()
        self.alice.quirks.no_refresh = True
        self.wait(self.alice, "ended", 200)
        self.assertApproximates(self.network.clock.seconds() - start, 60, 1)
        self.assertTrue(self.bob.call.timer.expired)
        self.assertEqual(self.bob.call.ended_by, "near")
        self.finish()

    def test_too_short(self) -> None:
        """RFC 4028 7.3: a 422 names the least, and the INVITE comes again with it."""
        self.talk({"session_timer": 90}, {"session_timer": TimerWish(1800, min_se=300)})
        self.assertEqual(len(self.alice.got(422)), 1)
        first, second = self.alice.sent("INVITE")
        self.assertEqual([first.get("Session-Expires"), second.get("Session-Expires")], ["90", "300"])
        self.assertEqual((second.get("Min-SE"), second.call_id), ("300", first.call_id))
        self.assertEqual(second.cseq.number, first.cseq.number + 1)
        self.assertEqual(self.bob.call.timer.interval, 300)
        self.assertEqual(len(self.bob.calls), 1)
        self.alice.hang_up()
        self.finish()

    def test_only_the_callee(self) -> None:
        """RFC 4028 9: where the caller knows no timers the callee can have one, and refreshes itself."""
        self.talk({}, {"session_timer": TimerWish(100, "uas", by="UPDATE")})
        self.network.advance(120)
        self.assertEqual(len(self.bob.sent("UPDATE")), 1)
        self.alice.hang_up()
        self.finish()

    def test_only_the_caller(self) -> None:
        """RFC 4028 7.2: a 2xx without Session-Expires means no timer."""
        self.talk({"session_timer": 90}, {})
        self.network.advance(300)
        self.assertTrue(self.alice.call.talking)
        self.alice.hang_up()
        self.finish()
