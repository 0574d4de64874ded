"""Calls to us: ringing, answering, CANCEL, ACK, re-INVITE and their races, judged by what the caller sees."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.parties import ALLOW, SessionRefusal
from telephony.sip.session import SessionState
from tests.sip.fakes import ANSWER, OFFER, Peer, World


class CallTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.heard = self.world.witness.heard

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def at(self, seconds: float, step: float = 0.5) -> list[float]:
        """Let time pass; return when something came."""
        times = []
        for number in range(int(seconds / step)):
            self.world.host.advance(step)
            times += [(number + 1) * step for _ in self.bob.take()]
        return times

    def test_trying_at_once(self) -> None:
        """RFC 3261 8.2.6.1, 17.2.1: a 100 at once, without a tag, with Timestamp; again when the INVITE comes again."""
        self.world.welcome()
        invite = self.world.request(Timestamp="54")
        self.bob.send(invite)
        trying = self.bob.one()
        self.assertEqual((trying.status, trying.to.tag, trying.get("Timestamp")), (100, None, "54"))
        self.bob.send(invite)
        self.assertEqual(self.bob.lines(), ["100 INVITE"])
        self.assertEqual(len(self.world.sessions), 1)
        self.world.sessions[0].reject(486)
        self.bob.send(self.world.ack(invite, self.bob.one()))

    def test_answered_in_the_callback(self) -> None:
        """RFC 3261 17.2.1: no 100 where the answer is there at once."""
        self.world.agent.on_invite = lambda session: session.reject(404)
        invite = self.world.request()
        self.bob.send(invite)
        self.bob.send(self.world.ack(invite, self.bob.one()))

    def test_ring_answer_and_far_bye(self) -> None:
        """RFC 3261 12.1.1, 13.3.1, 15.1.2: what our responses say, and the same To tag in all of them."""
        self.world.welcome()
        self.bob.send(self.world.request(Record_Route="<sip:192.0.2.2;lr>"))
        session = self.world.sessions[0]
        self.bob.take()
        session.ring()
        session.ring(183, ANSWER, [("X-Early", "1")])
        session.answer(ANSWER, [("X-Late", "2")])
        ringing, progress, ok = self.bob.take()
        self.assertEqual([ringing.status, progress.status, ok.status], [180, 183, 200])
        self.assertEqual({one.to.tag for one in (ringing, progress, ok)}, {session.local_tag})
        for one in (ringing, progress, ok):
            self.assertEqual(one.get("Contact"), "<sip:192.0.2.1:5060>")
            self.assertEqual(one.get("Record-Route"), "<sip:192.0.2.2;lr>")
        self.assertEqual((ringing.body, progress.body, ok.body), (b"", ANSWER, ANSWER))
        self.assertEqual((progress.get("X-Early"), ok.get("X-Late")), ("1", "2"))
        self.assertEqual((ringing.content_type, ok.content_type), (None, "application/sdp"))
        self.assertEqual(ok.get("Allow"), ALLOW)
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag))
        self.assertEqual(self.heard, ["confirmed"])
        self.bob.send(self.world.request("BYE", to_tag=session.local_tag, cseq=2))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.assertEqual(self.heard, ["confirmed", "ended"])

    def test_ringing_for_long(self) -> None:
        """RFC 3261 13.3.1.1: a ringing call says so each minute, so that no proxy forgets it."""
        session, invite = self.world.called()
        session.ring()
        first = self.bob.one()
        self.assertEqual(self.at(181, 1), [60.0, 120.0, 180.0])
        self.bob.send(invite)
        self.assertEqual(self.bob.one().to_bytes(), first.to_bytes())
        session.reject(480)
        self.bob.send(self.world.ack(invite, self.bob.one()))
        self.assertEqual(self.at(181, 1), [])

    def test_reject(self) -> None:
        """RFC 3261 17.2.1: a refusal is sent again at 0.5, 1.5, 3.5, then each 4 s, until its ACK comes."""
        session, invite = self.world.called()
        session.reject(486, "Busy Right Now", [("Retry-After", "5")])
        refusal = self.bob.one()
        self.assertEqual((refusal.status, refusal.reason, refusal.get("Retry-After")), (486, "Busy Right Now", "5"))
        self.assertEqual(self.at(12), [0.5, 1.5, 3.5, 7.5, 11.5])
        self.bob.send(self.world.ack(invite, refusal))
        self.bob.send(self.world.ack(invite, refusal))
        self.assertEqual(self.at(12), [])
        self.assertEqual(self.heard, [])
        self.assertEqual(self.world.agent._sessions, {})

    def test_verbs_that_come_too_late(self) -> None:
        """Session: ring, answer and reject are harmless once there is a final response."""
        session, invite = self.world.called()
        session.reject(486)
        refusal = self.bob.one()
        session.ring()
        session.answer(ANSWER)
        session.reject(603)
        self.successResultOf(session.bye())
        self.assertEqual(self.bob.lines(), [])
        self.bob.send(self.world.ack(invite, refusal))

    def test_bye_before_the_answer(self) -> None:
        """Session.bye: an INVITE that isn't answered is refused with 480."""
        session, invite = self.world.called()
        self.successResultOf(session.bye())
        refusal = self.bob.one()
        self.assertEqual(refusal.status, 480)
        self.bob.send(self.world.ack(invite, refusal))

    def test_cancel(self) -> None:
        """RFC 3261 9.2: 200 to the CANCEL with our tag, 487 to the INVITE; the second CANCEL changes nothing."""
        session, invite = self.world.called()
        session.ring()
        self.bob.take()
        cancel = self.world.cancel(invite)
        self.bob.send(cancel)
        granted, refusal = self.bob.take()
        self.assertEqual([granted.status, granted.cseq.method], [200, "CANCEL"])
        self.assertEqual([refusal.status, refusal.cseq.method], [487, "INVITE"])
        self.assertEqual({granted.to.tag, refusal.to.tag}, {session.local_tag})
        self.assertEqual(self.heard, ["cancelled"])
        self.bob.send(self.world.ack(invite, refusal))
        self.bob.send(cancel)
        self.assertEqual(self.bob.lines(), ["200 CANCEL"])
        self.assertEqual(self.heard, ["cancelled"])

    def test_cancel_of_nothing(self) -> None:
        """RFC 3261 9.2: a CANCEL that matches no transaction is 481."""
        self.bob.send(self.world.cancel(self.world.request()))
        self.assertEqual(self.bob.lines(), ["481 CANCEL"])

    def test_cancel_crosses_200(self) -> None:
        """transfer.md R36: 200 to the CANCEL, the INVITE stays answered; ACK and BYE end it."""
        session, invite = self.world.called()
        session.answer(ANSWER)
        self.bob.take()
        self.bob.send(self.world.cancel(invite))
        self.assertEqual(self.bob.lines(), ["200 CANCEL"])
        self.assertEqual((self.heard, session.state), ([], SessionState.ANSWERED))
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag))
        self.bob.send(self.world.request("BYE", to_tag=session.local_tag, cseq=2))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.assertEqual(self.heard, ["confirmed", "ended"])

    def test_bye_before_our_answer(self) -> None:
        """transfer.md R12; RFC 3261 15.1.2: their INVITE is pending, their BYE comes: 200, and 487 to the INVITE."""
        session, invite = self.world.called()
        session.ring()
        self.bob.take()
        self.bob.send(self.world.request("BYE", to_tag=session.local_tag, cseq=2))
        granted, refusal = self.bob.take()
        self.assertEqual((granted.status, granted.cseq.method), (200, "BYE"))
        self.assertEqual((refusal.status, refusal.cseq.method), (487, "INVITE"))
        self.assertEqual(self.heard, ["cancelled"])
        self.bob.send(self.world.ack(invite, refusal))

    def test_no_ack(self) -> None:
        """transfer.md R35; RFC 3261 13.3.1.4: the 200 again at 0.5, 1.5, 3.5, 7.5 … s; after 64*T1 a BYE."""
        session, _invite = self.world.called()
        session.answer(ANSWER)
        ok = self.bob.one()
        times, lines = [], []
        for number in range(1, 65):
            self.assertEqual(self.heard, [])
            self.world.host.advance(0.5)
            for one in self.bob.take():
                times.append(number / 2)
                lines.append(one)
        self.assertEqual(times, [0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5, 32.0])
        self.assertEqual({one.to_bytes() for one in lines[:-1]}, {ok.to_bytes()})
        self.assertEqual(lines[-1].method, "BYE")
        self.assertEqual(self.heard, ["unconfirmed"])
        self.bob.respond(lines[-1], 200)

    def test_invite_again_behind_200(self) -> None:
        """RFC 6026 7.1: the INVITE that comes again behind its 2xx is absorbed: the session alone repeats the 2xx."""
        session, invite = self.world.called()
        session.answer(ANSWER)
        self.bob.take()
        self.bob.send(invite)
        self.assertEqual(self.bob.lines(), [])
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag))
        self.bob.send(invite)
        self.assertEqual(self.bob.lines(), [])
        self.bob.send(self.world.request("BYE", to_tag=session.local_tag, cseq=2))

    def test_ack_again(self) -> None:
        """RFC 3261 13.3.1.4: an ACK that comes again is dropped."""
        session, _invite, tag = self.world.talking()
        self.bob.send(self.world.request("ACK", to_tag=tag))
        self.assertEqual((self.heard, self.bob.lines()), (["confirmed"], []))
        session.bye()
        self.bob.respond(self.bob.one(), 200)

    def test_hang_up_before_the_ack(self) -> None:
        """transfer.md "Nominal ladder"; RFC 3261 15: the BYE waits for the ACK of our 2xx; then it is sent at once."""
        session, _invite = self.world.called()
        session.answer(ANSWER)
        self.bob.take()
        done = session.bye([("Reason", "Q.850;cause=16")])
        again = session.bye()
        self.assertEqual(self.bob.lines(), [])
        self.assertNoResult(done)
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag))
        bye = self.bob.one()
        self.assertEqual((bye.method, bye.get("Reason")), ("BYE", "Q.850;cause=16"))
        self.successResultOf(done)
        self.successResultOf(again)
        self.assertEqual(self.heard, [])
        self.bob.respond(bye, 200)

    def test_hang_up_without_an_ack(self) -> None:
        """RFC 3261 15: without an ACK the BYE goes out after 64*T1."""
        session, _invite = self.world.called()
        session.answer(ANSWER)
        done = session.bye()
        self.bob.take()
        self.world.host.advance(31.9)
        self.assertEqual(set(self.bob.lines()), {"200 INVITE"})
        self.assertNoResult(done)
        self.world.host.advance(0.2)
        self.assertEqual(self.bob.lines(), ["BYE"])
        self.successResultOf(done)

    def test_far_bye_in_place_of_the_ack(self) -> None:
        """transfer.md R9, I2: hung up before the ACK, and their BYE comes: 200, no BYE of ours, no 200 again."""
        session, _invite = self.world.called()
        session.answer(ANSWER)
        done = session.bye()
        self.bob.take()
        self.bob.send(self.world.request("BYE", to_tag=session.local_tag, cseq=2))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.successResultOf(done)
        self.world.host.advance(40)
        self.assertEqual(self.bob.lines(), [])

    def test_ack_behind_a_lost_one_and_bye(self) -> None:
        """RFC 3261 15.1.2: a BYE before the ACK ends an answered call; the 200 is not sent again."""
        session, _invite = self.world.called()
        session.answer(ANSWER)
        self.bob.take()
        self.bob.send(self.world.request("BYE", to_tag=session.local_tag, cseq=2))
        self.assertEqual((self.bob.lines(), self.heard), (["200 BYE"], ["ended"]))
        self.world.host.advance(40)
        self.assertEqual(self.bob.lines(), [])

    def test_bye_glare(self) -> None:
        """transfer.md R9: 200 to theirs while ours is out; 481 to ours is success."""
        session, _invite, tag = self.world.talking()
        session.bye()
        ours = self.bob.one()
        self.bob.send(self.world.request("BYE", to_tag=tag, cseq=2))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.bob.respond(ours, 481)
        self.world.host.advance(33)
        self.assertEqual(self.bob.lines(), [])
        self.assertEqual(self.heard, ["confirmed"])

    def test_bye_of_both_in_one_instant(self) -> None:
        """transfer.md R8: their BYE first, ours behind it in the same instant: one BYE in the dialog, theirs."""
        session, _invite, tag = self.world.talking()
        self.bob.send(self.world.request("BYE", to_tag=tag, cseq=2))
        self.successResultOf(session.bye())
        self.assertEqual(self.bob.lines(), ["200 BYE"])

    def test_second_invite_while_the_first_is_pending(self) -> None:
        """transfer.md R11; RFC 3261 14.2: 500 with Retry-After of 0 to 10 s."""
        session, invite = self.world.called()
        session.ring()
        self.bob.take()
        second = self.world.request(to_tag=session.local_tag, cseq=2)
        self.bob.send(second)
        refusal = self.bob.one()
        self.assertEqual(refusal.status, 500)
        self.assertIn(int(refusal.get("Retry-After")), range(11))
        self.bob.send(self.world.ack(second, refusal))
        session.reject(486)
        self.bob.send(self.world.ack(invite, self.bob.one()))

    def test_lower_cseq(self) -> None:
        """transfer.md R11; RFC 3261 12.2.2: a number that isn't above the last one is 500, and nobody hears of it."""
        session, _invite, tag = self.world.talking()
        self.bob.send(self.world.request("OPTIONS", to_tag=tag, cseq=9))
        self.bob.take()
        for cseq in (8, 9):
            late = self.world.request(to_tag=tag, cseq=cseq)
            self.bob.send(late)
            refusal = self.bob.one()
            self.assertEqual(refusal.status, 500)
            self.bob.send(self.world.ack(late, refusal))
        self.assertEqual(self.heard, ["confirmed"])
        session.bye()

    def test_reinvite_with_our_offer_pending(self) -> None:
        """transfer.md R11; RFC 3261 14.2: our 2xx held an offer, the answer hasn't come in an ACK: 491."""
        self.world.welcome()
        self.bob.send(self.world.request(body=b""))
        session = self.world.sessions[0]
        session.answer(OFFER)
        self.bob.take()
        reinvite = self.world.request(to_tag=session.local_tag, cseq=2)
        self.bob.send(reinvite)
        refusal = self.bob.one()
        self.assertEqual(refusal.status, 491)
        self.bob.send(self.world.ack(reinvite, refusal))
        ack = self.world.request("ACK", to_tag=session.local_tag)
        ack.body = ANSWER
        self.bob.send(ack)
        self.assertEqual(self.heard, ["confirmed"])
        self.assertEqual(self.world.witness.arguments[0][1].body, ANSWER)
        session.bye()

    def test_reinvite_in_place_of_the_ack(self) -> None:
        """RFC 5407 3.1.4: a re-INVITE that overtakes the ACK is accepted; each 2xx waits for its own ACK."""
        session, _invite = self.world.called()
        session.answer(ANSWER)
        self.bob.take()
        self.bob.send(self.world.request(to_tag=session.local_tag, cseq=2))
        self.assertEqual(self.bob.lines(), ["200 INVITE"])
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag, cseq=2))
        self.assertEqual(session.state, SessionState.ANSWERED)
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag))
        self.assertEqual(self.heard, ["offered", "confirmed"])
        session.bye()

    def test_reinvite(self) -> None:
        """RFC 3261 14.2, 12.2.2: the observer's answer is our 2xx, and the target is refreshed."""
        session, _invite, tag = self.world.talking()
        reinvite = self.world.request(to_tag=tag, cseq=2, Contact="<sip:bob@192.0.2.8:5088>")
        self.bob.send(reinvite)
        ok = self.bob.one()
        self.assertEqual((ok.status, ok.body, ok.get("Contact")), (200, ANSWER, "<sip:192.0.2.1:5060>"))
        self.assertEqual(self.heard, ["confirmed", "offered"])
        self.world.host.advance(0.6)
        self.assertEqual(self.bob.one().to_bytes(), ok.to_bytes())
        self.bob.send(self.world.request("ACK", to_tag=tag, cseq=2))
        self.assertEqual(self.at(10), [])
        moved = Peer(self.world.host, ("192.0.2.8", 5088))
        session.bye()
        self.assertEqual(moved.one().uri, "sip:bob@192.0.2.8:5088")

    def test_reinvite_refused(self) -> None:
        """RFC 3261 14.2: a refused re-INVITE leaves the session as it was; SDP we can't read gets its own status."""
        session, _invite, tag = self.world.talking()
        for number, (answer, status) in enumerate(
            [
                (SessionRefusal(), 488),
                (SessionRefusal(606, "No"), 606),
                (RemoteProtocolError("bad SDP", 400), 400),
                (None, 488),
            ]
        ):
            self.world.witness.answer = answer
            reinvite = self.world.request(to_tag=tag, cseq=2 + number, Contact="<sip:bob@192.0.2.99>")
            self.bob.send(reinvite)
            refusal = self.bob.one()
            self.assertEqual(refusal.status, status)
            self.bob.send(self.world.ack(reinvite, refusal))
        self.assertEqual(session.state, SessionState.CONFIRMED)
        session.bye()
        self.assertEqual(self.bob.one().uri, "sip:bob@192.0.2.2")

    def test_reinvite_without_offer(self) -> None:
        """RFC 3261 14.1: our 2xx holds the offer, the ACK the answer."""
        session, _invite, tag = self.world.talking()
        self.world.witness.answer = OFFER
        self.bob.send(self.world.request(to_tag=tag, cseq=2, body=b""))
        self.assertEqual(self.bob.one().body, OFFER)
        ack = self.world.request("ACK", to_tag=tag, cseq=2)
        ack.body = ANSWER
        self.bob.send(ack)
        self.assertEqual(self.heard, ["confirmed", "offered", "answer in ack"])
        self.assertEqual(self.world.witness.arguments[-1][1].body, ANSWER)
        session.bye()

    def test_reinvite_without_ack(self) -> None:
        """RFC 3261 14.2, 13.3.1.4: a re-INVITE whose 2xx is never acknowledged ends the call with BYE."""
        _session, _invite, tag = self.world.talking()
        self.bob.send(self.world.request(to_tag=tag, cseq=2))
        self.world.host.advance(32.1)
        self.assertEqual(self.bob.lines()[-1], "BYE")
        self.assertEqual(self.heard, ["confirmed", "offered", "unconfirmed"])

    def test_reinvite_crosses_bye(self) -> None:
        """transfer.md R12: the dialog is gone: 481 to the INVITE, its ACK is absorbed."""
        session, _invite, tag = self.world.talking()
        session.bye()
        ours = self.bob.one()
        reinvite = self.world.request(to_tag=tag, cseq=2)
        self.bob.send(reinvite)
        refusal = self.bob.one()
        self.assertEqual(refusal.status, 481)
        self.bob.send(self.world.ack(reinvite, refusal))
        self.bob.respond(ours, 200)
        self.assertEqual(self.at(30), [])
        self.bob.send(self.world.request(to_tag=tag, cseq=3))
        self.assertEqual(self.bob.lines(), ["481 INVITE"])
        self.assertEqual(self.heard, ["confirmed"])

    def test_other_requests_within_the_dialog(self) -> None:
        """RFC 3261 12.2.2, RFC 6086: OPTIONS is 200, an empty INFO too, an unknown extension 420."""
        session, _invite, tag = self.world.talking()
        self.bob.send(self.world.request("OPTIONS", to_tag=tag, cseq=2))
        self.assertEqual(self.bob.lines(), ["200 OPTIONS"])
        self.bob.send(self.world.request("INFO", to_tag=tag, cseq=3))
        self.assertEqual(self.bob.lines(), ["200 INFO"])
        self.bob.send(self.world.request("INFO", to_tag=tag, cseq=5, Require="teleport"))
        refusal = self.bob.one()
        self.assertEqual((refusal.status, refusal.get("Unsupported")), (420, "teleport"))
        self.assertEqual(self.heard, ["confirmed"])
        session.observer = None
        info = self.world.request("INFO", to_tag=tag, cseq=6)
        info.body = b"x"
        self.bob.send(info)
        self.assertEqual(self.bob.lines(), ["415 INFO"])
        session.bye()

    def test_strange_tag(self) -> None:
        """RFC 3261 12.2.2: our tag with another's is no dialog: 481; an ACK of it is dropped."""
        session, _invite, tag = self.world.talking()
        stranger = {"From": "<sip:bob@192.0.2.2>;tag=mallory"}
        self.bob.send(self.world.request("BYE", to_tag=tag, cseq=5, **stranger))
        self.assertEqual(self.bob.lines(), ["481 BYE"])
        self.bob.send(self.world.request("ACK", to_tag=tag, **stranger))
        self.assertEqual(self.heard, ["confirmed"])
        session.bye()

    def test_caller_without_tag(self) -> None:
        """RFC 3261 12.1.1: a caller of RFC 2543's time has no tag, and gets none in our requests."""
        self.world.welcome()
        old = {"From": "<sip:bob@192.0.2.2>"}
        self.bob.send(self.world.request(**old))
        session = self.world.sessions[0]
        session.answer(ANSWER)
        self.bob.take()
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag, **old))
        session.bye()
        self.assertEqual(self.bob.one().get("To"), "<sip:bob@192.0.2.2>")

    def test_invite_without_contact(self) -> None:
        """RFC 3261 8.1.1.8: an INVITE that no dialog can be made of is 400: we could never hang up."""
        self.world.welcome()
        for contact in (None, "<tel:+1>", "<sip:a@192.0.2.2>, <sip:b@192.0.2.2>"):
            invite = self.world.request(call_id=str(contact)[1:4], Contact=contact)
            self.bob.send(invite)
            refusal = self.bob.one()
            self.assertEqual(refusal.status, 400)
            self.bob.send(self.world.ack(invite, refusal))
        self.assertEqual(self.world.sessions, [])

    def test_rejected_after_the_answer(self) -> None:
        """Session.reject: behind our 2xx it is a hang-up."""
        session, _invite, _tag = self.world.talking()
        session.reject(603)
        self.assertEqual(self.bob.lines(), ["BYE"])
        self.assertRaises(ValueError, session.reject, 200)
        self.assertRaises(ValueError, session.ring, 100)

    def test_strict_router(self) -> None:
        """RFC 3261 12.2.1.1: a first hop without lr gets the Request-URI, the target is the last Route."""
        self.world.welcome()
        self.bob.send(self.world.request(Record_Route="<sip:192.0.2.2:5060>, <sip:far.example.com;lr>"))
        session = self.world.sessions[0]
        session.answer(ANSWER)
        self.bob.take()
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag))
        session.bye()
        bye = self.bob.one()
        self.assertEqual(bye.uri, "sip:192.0.2.2:5060")
        self.assertEqual(bye.get_all("Route"), ["<sip:far.example.com;lr>", "<sip:bob@192.0.2.2>"])
        self.bob.respond(bye, 200)
