"""Our own re-INVITEs and UPDATEs (RFC 3261 14.1, RFC 3311), theirs that meet them; ``transfer.md`` R10 to R12."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.message import Request
from tests.sip.fakes import ANSWER, OFFER, World

UPDATES = "INVITE, ACK, BYE, UPDATE"


class OffersScene(SynchronousTestCase):
    """We have called Bob, and he has answered."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.heard = self.world.witness.heard
        self.session, self.invite = self.world.answered()
        self.heard.clear()

    def tearDown(self) -> None:
        self.session.bye()
        for one in self.bob.take():
            if one.method == "BYE":
                self.bob.respond(one, 200)
        self.assertEqual(self.world.leftovers(), [])

    def offered(self, purpose: object = "hold") -> Request:
        """Make an offer; return the re-INVITE."""
        self.assertTrue(self.session.reoffer(purpose))
        invite: Request = self.bob.one()
        return invite

    def in_dialog(self, method: str, cseq: int, body: bytes = b"", **fields: str) -> Request:
        """Return a request of Bob's in the dialog."""
        request: Request = self.world.bye(self.invite, cseq=cseq, method=method)
        request.body = body
        if body:
            request.set("Content-Type", "application/sdp")
        if method in ("INVITE", "UPDATE"):
            request.set("Contact", "<sip:bob@192.0.2.2>")
        for name, value in fields.items():
            request.set(name.replace("_", "-"), value)
        return request


class OwnOfferTests(OffersScene):
    """What becomes of ours."""

    def test_accepted(self) -> None:
        """RFC 3261 14.1: the next CSeq in the same dialog; the 2xx is acknowledged before the owner hears of it."""
        invite = self.offered()
        self.assertEqual((invite.method, invite.body, invite.cseq.number), ("INVITE", OFFER, 2))
        self.assertEqual(
            (invite.call_id, invite.to.tag, invite.from_.tag), (self.invite.call_id, "b", self.invite.from_.tag)
        )
        self.bob.respond(invite, 200, body=ANSWER)
        ack = self.bob.one()
        self.assertEqual((ack.method, ack.cseq.number, ack.body), ("ACK", 2, b""))
        self.assertEqual(self.heard, ["offer hold", "offer answered hold"])

    def test_2xx_again(self) -> None:
        """RFC 3261 13.2.2.4: the ACK is sent each time the 2xx comes, the same one, after the session's end too."""
        invite = self.offered()
        response = self.bob.respond(invite, 200, body=ANSWER)
        first = self.bob.one().to_bytes()
        self.bob.send(response)
        self.assertEqual(self.bob.one().to_bytes(), first)
        self.session.bye()
        self.bob.respond(self.bob.one(), 200)
        self.bob.send(response)
        self.assertEqual(self.bob.one().to_bytes(), first)
        self.assertEqual(self.heard, ["offer hold", "offer answered hold"])

    def test_target_refresh(self) -> None:
        """RFC 3261 12.2.1.2: the Contact of the 2xx is where its ACK and everything after it goes."""
        other = type(self.bob)(self.world.host, ("192.0.2.9", 5060))
        invite = self.offered()
        self.bob.respond(invite, 200, body=ANSWER, contact="<sip:bob@192.0.2.9>")
        self.assertEqual(other.one().uri, "sip:bob@192.0.2.9")
        self.session.bye()
        self.assertEqual(other.one().method, "BYE")

    def test_one_at_a_time(self) -> None:
        """Rule 4: the others wait, in order; too many are refused."""
        first = self.offered("one")
        self.assertTrue(self.session.reoffer("two"))
        self.assertEqual([self.session.reoffer(number) for number in range(7)][-2:], [True, False])
        self.assertEqual(self.bob.take(), [])
        self.bob.respond(first, 488)
        ack, second = self.bob.take()
        self.assertEqual((ack.method, second.cseq.number), ("ACK", 3))
        self.assertEqual(self.heard, ["offer one", "offer withdrawn", "offer refused one 488", "offer two"])

    def test_their_invite_is_waited_for(self) -> None:
        """RFC 3261 14.1: none of ours while the ACK of our 2xx to theirs is still to come."""
        theirs = self.in_dialog("INVITE", 5, OFFER)
        self.bob.send(theirs)
        self.assertEqual(self.bob.lines(), ["200 INVITE"])
        self.session.reoffer("hold")
        self.assertEqual(self.bob.take(), [])
        self.bob.send(self.in_dialog("ACK", 5))
        self.assertEqual(self.bob.lines(), ["INVITE"])

    def test_taken_back(self) -> None:
        """What waits can be taken back, what has been sent can't."""
        self.offered("one")
        self.session.reoffer("two")
        self.assertEqual([self.session.withdraw(one) for one in ("one", "two", "three")], [False, True, False])

    def test_dialog_gone(self) -> None:
        """RFC 3261 12.2.1.2: 481, 408 and no answer end the dialog, with a BYE; the owner hears that it is over."""
        for status in (481, 408, 0):
            self.heard.clear()
            session, _ = self.world.answered()
            session.reoffer("hold")
            invite = self.bob.one()
            if status:
                self.bob.respond(invite, status)
            else:
                self.world.host.advance(33)
            bye = self.bob.take()[-1]
            self.assertEqual(bye.method, "BYE")
            self.bob.respond(bye, 481)
            self.assertEqual(self.heard[-2:], ["offer hold", "ended"], status)

    def waiting(self) -> list[float]:
        """Return when the offers that wait for another try are due."""
        return [time for time, what in self.world.agent.clock.timers() if what.__qualname__.startswith("Offers.")]

    def test_glare(self) -> None:
        """R10: 2.1 to 4.0 s in steps of 10 ms where the Call-ID is ours; the same offer, the next CSeq."""
        waits = set()
        for _ in range(20):
            invite = self.offered()
            self.bob.respond(invite, 491)
            self.assertEqual(self.bob.lines(), ["ACK"])
            (due,) = self.waiting()
            wait = due - self.world.clock.seconds()
            waits.add(round(wait, 6))
            self.world.host.advance(wait + 1e-6)
            again = self.bob.one()
            self.assertEqual((again.cseq.number, again.body), (invite.cseq.number + 1, OFFER))
            self.bob.respond(again, 200, body=ANSWER)
            self.bob.take()
        self.assertGreater(len(waits), 10)
        self.assertTrue(all(2.1 <= one <= 4.0 for one in waits), waits)
        self.assertEqual({round(one * 1000) % 10 for one in waits}, {0})

    def test_glare_for_ever(self) -> None:
        """No peer keeps us at it: after ten times it is a refusal."""
        self.session.reoffer("hold")
        count = 0
        while "offer refused hold 491" not in self.heard:
            for one in self.bob.take():
                if one.method == "INVITE":
                    count += 1
                    self.bob.respond(one, 491)
            self.world.host.advance(0.5)
        self.assertEqual(count, 10)

    def test_bye_ends_the_wait(self) -> None:
        """R10: a BYE while ours waits its turn: nothing is sent any more."""
        self.bob.respond(self.offered(), 491)
        self.bob.take()
        self.bob.send(self.in_dialog("BYE", 9))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.assertEqual(self.waiting(), [])
        self.world.host.advance(10)
        self.assertEqual(self.bob.take(), [])

    def test_late_answers_after_the_end(self) -> None:
        """R12: whatever answers ours after a BYE is acknowledged, and nobody hears of it."""
        for status in (487, 481, 200, 491):
            session, invite = self.world.answered()
            session.reoffer("hold")
            ours = self.bob.one()
            bye = self.world.bye(invite, cseq=9)
            self.bob.send(bye)
            self.assertEqual(self.bob.lines(), ["200 BYE"])
            self.heard.clear()
            self.bob.respond(ours, status, body=ANSWER if status == 200 else b"")
            self.assertEqual(self.bob.lines(), ["ACK"], status)
            self.assertEqual(self.heard, [])

    def test_try_again_later(self) -> None:
        """R11 from the other side: a 500 with Retry-After of up to 10 s is waited for (RFC 3261 14.2)."""
        self.bob.respond(self.offered(), 500, Retry_After="7")
        self.bob.take()
        self.world.host.advance(6.9)
        self.assertEqual(self.bob.take(), [])
        self.world.host.advance(0.2)
        self.bob.respond(self.bob.one(), 500, Retry_After="3600")
        self.assertEqual(self.heard[-1], "offer refused hold 500")
        self.bob.take()

    def test_heard_of_once(self) -> None:
        """RFC 3261 9.1: a re-INVITE that got a 100 and nothing else is cancelled after 64*T1; then the call is over."""
        invite = self.offered()
        self.bob.respond(invite, 100)
        self.world.host.advance(32.1)
        cancel = self.bob.one()
        self.assertEqual((cancel.method, cancel.via.branch), ("CANCEL", invite.via.branch))
        self.bob.respond(cancel, 200)
        self.world.host.advance(32.1)
        bye = self.bob.take()[-1]
        self.assertEqual((bye.method, self.heard[-1]), ("BYE", "ended"))
        self.bob.respond(bye, 200)

    def test_cancelled_in_time(self) -> None:
        """RFC 3261 9.1: the 487 to a cancelled re-INVITE leaves the call as it was."""
        invite = self.offered()
        self.bob.respond(invite, 100)
        self.world.host.advance(32.1)
        self.bob.respond(self.bob.one(), 200)
        self.bob.respond(invite, 487)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertEqual(self.heard[-1], "offer refused hold 487")


class TheirOfferTests(OffersScene):
    """What comes while ours is under way, and UPDATE (RFC 3311 5.2)."""

    def test_reinvite_meets_ours(self) -> None:
        """R10: 491 to theirs, though ours will be refused too; afterwards theirs is taken."""
        ours = self.offered()
        self.bob.send(self.in_dialog("INVITE", 5, OFFER))
        self.assertEqual(self.bob.lines(), ["491 INVITE"])
        self.bob.respond(ours, 491)
        self.bob.take()
        self.bob.send(self.in_dialog("INVITE", 6, OFFER))
        self.assertEqual(self.bob.lines(), ["200 INVITE"])
        self.bob.send(self.in_dialog("ACK", 6))

    def test_update_meets_ours(self) -> None:
        """RFC 3311 5.2: 491 to an offer while ours is out; without an offer there is nothing to meet."""
        ours = self.offered()
        self.bob.send(self.in_dialog("UPDATE", 5, OFFER))
        self.bob.send(self.in_dialog("UPDATE", 6))
        self.assertEqual(self.bob.lines(), ["491 UPDATE", "200 UPDATE"])
        self.bob.respond(ours, 488)
        self.bob.take()

    def test_update_with_an_offer(self) -> None:
        """RFC 3311 5.2: the 200 holds the answer, our Contact and Allow; a refusal keeps the session."""
        self.bob.send(self.in_dialog("UPDATE", 5, OFFER))
        response = self.bob.one()
        self.assertEqual((response.status, response.body), (200, ANSWER))
        self.assertIn("UPDATE", response.get("Allow") or "")
        self.assertNotEqual(response.contacts, [])
        self.world.witness.answer = None
        self.bob.send(self.in_dialog("UPDATE", 6, OFFER))
        self.bob.send(self.in_dialog("UPDATE", 7, b"x", Content_Type="text/plain"))
        self.assertEqual(self.bob.lines(), ["488 UPDATE", "415 UPDATE"])
        self.assertEqual(self.heard, ["offered", "offered"])

    def test_update_moves_the_target(self) -> None:
        """RFC 3311 5.2: UPDATE is a target refresh request; one that is refused isn't."""
        other = type(self.bob)(self.world.host, ("192.0.2.9", 5060))
        self.world.witness.answer = None
        self.bob.send(self.in_dialog("UPDATE", 5, OFFER, Contact="<sip:bob@192.0.2.9>"))
        self.bob.take()
        self.session.reoffer("hold")
        self.bob.respond(self.bob.one(), 488)
        self.bob.take()
        self.bob.send(self.in_dialog("UPDATE", 6, Contact="<sip:bob@192.0.2.9>"))
        self.assertEqual(self.bob.lines(), ["200 UPDATE"])
        self.session.reoffer("hold")
        invite = other.one()
        self.assertEqual((invite.method, invite.uri), ("INVITE", "sip:bob@192.0.2.9"))
        other.respond(invite, 488)
        other.take()
        self.session.bye()
        other.respond(other.one(), 200)

    def test_update_behind_the_times(self) -> None:
        """RFC 3261 12.2.2, R11: a lower CSeq is 500; after the BYE it is 481."""
        self.bob.send(self.in_dialog("UPDATE", 5))
        self.bob.send(self.in_dialog("UPDATE", 4))
        self.bob.send(self.in_dialog("BYE", 6))
        self.bob.send(self.in_dialog("UPDATE", 7))
        self.assertEqual(self.bob.lines(), ["200 UPDATE", "500 UPDATE", "200 BYE", "481 UPDATE"])


class EarlyUpdateTests(SynchronousTestCase):
    """UPDATE before our 200 (RFC 3311 5.1, 5.2)."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.session, self.invite = self.world.called()

    def tearDown(self) -> None:
        self.session.bye()
        self.bob.take()
        self.world.leftovers()

    def update(self, cseq: int, body: bytes, tag: str) -> Any:
        """Send an UPDATE; return what answers it."""
        request = self.world.request("UPDATE", to_tag=tag, cseq=cseq)
        request.set("Contact", "<sip:bob@192.0.2.2>")
        if body:
            request.body = body
            request.set("Content-Type", "application/sdp")
        self.bob.send(request)
        return self.bob.one()

    def test_before_any_answer(self) -> None:
        """500 with a Retry-After of 0 to 10 s; an unreliable 183 with SDP is no answer yet."""
        self.session.ring(183, ANSWER)
        tag = self.bob.one().to.tag
        response = self.update(2, OFFER, tag)
        self.assertEqual(response.status, 500)
        self.assertIn(int(response.get("Retry-After")), range(11))
        self.assertEqual(self.update(3, b"", tag).status, 200)

    def test_after_a_reliable_answer(self) -> None:
        """RFC 3311 5.1: once the answer in a reliable response has its PRACK, an UPDATE may offer anew."""
        self.session.may_ring_reliably = True
        self.session.ring(183, ANSWER, reliably=True)
        ringing = self.bob.one()
        self.assertEqual(self.update(2, OFFER, ringing.to.tag).status, 500)
        prack = self.world.request("PRACK", to_tag=ringing.to.tag, cseq=3, RAck=f"{ringing.get('RSeq')} 1 INVITE")
        self.bob.send(prack)
        self.assertEqual(self.bob.lines(), ["200 PRACK"])
        response = self.update(4, OFFER, ringing.to.tag)
        self.assertEqual((response.status, response.body), (200, ANSWER))
        self.session.answer(ANSWER)
        self.assertEqual(self.bob.lines(), ["200 INVITE"])

    def test_before_the_ack(self) -> None:
        """Our 200 has answered, its ACK is still under way: another offer may come."""
        self.session.answer(ANSWER)
        tag = self.bob.one().to.tag
        self.assertEqual(self.update(2, OFFER, tag).status, 200)
        self.bob.send(self.world.request("ACK", to_tag=tag))
