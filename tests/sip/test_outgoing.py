"""Calls of ours: INVITE, CANCEL, forks and their races, judged by what the far end sees (RFC 3261 9, 13.2, 15)."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.parties import ALLOW
from telephony.sip.session import SessionState
from tests.sip.fakes import ANSWER, BOB, OFFER, Peer, World


class CallTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.heard = self.world.witness.heard

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def test_invite(self) -> None:
        """RFC 3261 8.1.1, 13.2.1: what an INVITE of ours says."""
        session = self.world.dial("sip:bob@192.0.2.2;user=phone?Subject=x", headers=[("X-Trace", "7")], max_forwards=69)
        invite = self.bob.one()
        self.assertEqual(invite.uri, "sip:bob@192.0.2.2;user=phone")
        self.assertEqual(invite.get("Via")[:45], "SIP/2.0/UDP 192.0.2.1:5060;rport;branch=z9hG4"[:45])
        self.assertIn("branch", invite.via.params)
        self.assertEqual(invite.max_forwards, 69)
        self.assertEqual(invite.get("From"), f'"Alice" <sip:alice@192.0.2.1>;tag={session.local_tag}')
        self.assertEqual(invite.get("To"), "<sip:bob@192.0.2.2;user=phone>")
        self.assertEqual(invite.get("CSeq"), "1 INVITE")
        self.assertEqual(invite.get("Contact"), "<sip:192.0.2.1:5060>")
        self.assertEqual(invite.get("Allow"), ALLOW)
        self.assertEqual((invite.get("X-Trace"), invite.content_type, invite.body), ("7", "application/sdp", OFFER))
        self.assertEqual(invite.fields[0][0], "Via")
        self.assertEqual((session.call_id, session.direction), (invite.call_id, "out"))
        self.bob.respond(invite, 486)

    def test_same_seed_same_bytes(self) -> None:
        """transfer.md I9: the same seed and events give the same bytes on the wire."""
        other = World()
        for world in (self.world, other):
            world.dial()
            world.bob.respond(world.bob.inbox[0], 200)
            world.agent._sessions.copy().popitem()[1].bye()
        self.assertEqual(self.world.host.sent, other.host.sent)
        for world in (self.world, other):
            world.bob.respond(world.bob.inbox[-1], 200)

    def test_call_and_hang_up(self) -> None:
        """RFC 3261 13.2.2.4, 15.1.1: progress, answer with ACK before anybody is told, BYE."""
        session = self.world.dial()
        invite = self.bob.one()
        self.world.witness.then["answered"] = lambda *_: self.heard.append(f"seen {self.bob.lines()}")
        self.bob.respond(invite, 100, tag=None)
        self.bob.respond(invite, 180)
        self.bob.respond(invite, 200, body=ANSWER)
        self.assertEqual(self.heard, ["progress 180", "answered", "seen ['ACK']"])
        self.assertEqual(session.state, SessionState.CONFIRMED)
        self.assertEqual(self.successResultOf(session.bye([("Reason", "Q.850;cause=16")])), None)
        bye = self.bob.one()
        self.assertEqual((bye.method, bye.uri, bye.get("CSeq")), ("BYE", "sip:bob@192.0.2.2", "2 BYE"))
        self.assertEqual(bye.get("Reason"), "Q.850;cause=16")
        self.assertEqual((bye.from_.tag, bye.to.tag), (session.local_tag, "b"))
        self.bob.respond(bye, 200)
        self.assertEqual(len(self.heard), 3)

    def test_ack(self) -> None:
        """RFC 3261 13.2.2.4: the ACK of a 2xx has the INVITE's number, its own branch, the Contact as its target."""
        session = self.world.dial()
        invite = self.bob.one()
        carol = Peer(self.world.host, ("192.0.2.3", 5070))
        self.bob.respond(invite, 200, contact="<sip:bob@192.0.2.3:5070>")
        ack = carol.one()
        self.assertEqual((ack.start_line, ack.get("CSeq")), ("ACK sip:bob@192.0.2.3:5070 SIP/2.0", "1 ACK"))
        self.assertNotEqual(ack.via.branch, invite.via.branch)
        self.assertEqual(ack.body, b"")
        self.assertEqual(self.bob.lines(), [])
        session.bye()

    def test_2xx_again_is_acknowledged_again(self) -> None:
        """transfer.md rule 1, I1: the same 2xx gets the same ACK again, for 64*T1, after the call's end too."""
        session = self.world.dial()
        ok = self.bob.respond(self.bob.one(), 200)
        first = self.bob.one()
        self.world.host.advance(20)
        self.bob.send(ok)
        self.assertEqual(self.bob.one().to_bytes(), first.to_bytes())
        session.bye()
        self.bob.respond(self.bob.one(), 200)
        self.world.host.advance(11.9)
        self.bob.send(ok)
        self.assertEqual(self.bob.one().to_bytes(), first.to_bytes())
        self.world.host.advance(0.2)
        self.bob.send(ok)
        self.assertEqual(self.bob.lines(), [])

    def test_cancel_waits_for_a_provisional(self) -> None:
        """transfer.md R1, rule 2; RFC 3261 9.1: no CANCEL before a 1xx; it is remembered, and has the same branch."""
        session = self.world.dial()
        invite = self.bob.one()
        session.cancel("ring timeout")
        self.assertEqual(self.bob.lines(), [])
        self.bob.respond(invite, 180)
        cancel = self.bob.one()
        self.assertEqual((cancel.method, cancel.uri, cancel.get("CSeq")), ("CANCEL", invite.uri, "1 CANCEL"))
        self.assertEqual(cancel.get_all("Via"), invite.get_all("Via"))
        for name in ("From", "To", "Call-ID"):
            self.assertEqual(cancel.get(name), invite.get(name))
        self.assertEqual(cancel.get("Reason"), 'SIP;cause=487;text="ring timeout"')
        self.bob.respond(cancel, 200)
        self.bob.respond(invite, 487)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertEqual(self.heard, [])

    def test_cancel_without_any_response(self) -> None:
        """transfer.md R1: a call given up that nobody answered is ended by timer B; nothing but INVITE was sent."""
        session = self.world.dial()
        session.cancel()
        self.world.host.advance(33)
        self.assertEqual(set(self.bob.lines()), {"INVITE"})
        self.assertEqual(self.heard, [])
        self.assertEqual(session.state, SessionState.ENDED)

    def test_cancel_before_a_late_200(self) -> None:
        """transfer.md R1, R2: a 200 in place of the 1xx that CANCEL waited for gets ACK and BYE, no CANCEL."""
        session = self.world.dial()
        invite = self.bob.one()
        session.cancel()
        self.bob.respond(invite, 200, body=ANSWER)
        self.assertEqual(self.bob.lines(), ["ACK", "BYE"])
        self.assertEqual(self.heard, [])

    def test_cancel_crosses_200(self) -> None:
        """transfer.md R2: ACK, then BYE in that dialog; the 200 again gets its ACK again, and no second BYE."""
        session = self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 180)
        session.cancel()
        self.assertEqual(self.bob.lines(), ["CANCEL"])
        ok = self.bob.respond(invite, 200, body=ANSWER)
        ack, bye = self.bob.take()
        self.assertEqual((ack.method, bye.method, bye.to.tag), ("ACK", "BYE", "b"))
        self.bob.respond(bye, 200)
        for _ in range(6):
            self.world.host.advance(4)
            self.bob.send(ok)
            self.assertIn("ACK", lines := self.bob.lines())
            self.assertNotIn("BYE", lines)
        self.assertEqual(self.heard, ["progress 180"])

    def test_cancel_unanswered(self) -> None:
        """RFC 3261 9.1: without a final response for 64*T1 after CANCEL the INVITE is over."""
        session = self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 180)
        session.cancel()
        self.bob.respond(self.bob.one(), 200)
        self.world.host.advance(32.1)
        self.assertEqual(session.state, SessionState.ENDED)
        self.assertEqual(self.world.agent.transactions.client, {})

    def test_refusals(self) -> None:
        """transfer.md R4; RFC 3261 17.1.1.3: each final refusal is acknowledged in its transaction, then reported."""
        for status in (302, 401, 404, 408, 480, 486, 503, 600, 603):
            self.heard.clear()
            self.world.dial(headers=[("Route", "<sip:192.0.2.2;lr>")])
            invite = self.bob.one()
            refusal = self.bob.respond(invite, status)
            ack = self.bob.one()
            self.assertEqual((ack.method, ack.uri, ack.get("CSeq")), ("ACK", invite.uri, "1 ACK"))
            self.assertEqual(ack.get_all("Via"), invite.get_all("Via"))
            self.assertEqual(ack.get("To"), refusal.get("To"))
            self.assertEqual(ack.get_all("Route"), invite.get_all("Route"))
            self.assertEqual(self.heard, [f"refused {status}"])
            self.assertEqual(self.world.witness.arguments[-1][1], refusal.reason)
            self.bob.send(refusal)
            self.assertEqual(self.bob.one().to_bytes(), ack.to_bytes())
            self.assertEqual(len(self.heard), 1)

    def test_no_answer(self) -> None:
        """transfer.md R5; RFC 3261 17.1.1.2: the INVITE goes out at 0, 0.5, 1.5, 3.5 … s, timer B reports status 0."""
        self.world.dial()
        at = []
        for half_seconds in range(66):
            at += [half_seconds / 2 for _ in self.bob.take()]
            self.assertEqual(self.heard, [] if half_seconds < 64 else ["refused 0"])
            self.world.host.advance(0.5)
        self.assertEqual(at, [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5])
        self.assertEqual(self.heard, ["refused 0"])

    def test_bye_before_its_200(self) -> None:
        """transfer.md R7a: 200 to the BYE, ACK to the 2xx, no BYE and no CANCEL of ours; the observer hears the end."""
        self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 180)
        self.bob.send(self.world.bye(invite))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.assertEqual(self.heard, ["progress 180", "ended"])
        self.bob.respond(invite, 200, body=ANSWER)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.world.host.advance(40)
        self.assertEqual(self.bob.lines(), [])
        self.assertEqual(len(self.heard), 2)

    def test_bye_before_its_200_that_never_comes(self) -> None:
        """transfer.md R7a: when no 2xx follows, what else may be ringing is cancelled after T2."""
        self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 180)
        self.bob.send(self.world.bye(invite))
        self.bob.take()
        self.world.host.advance(3.9)
        self.assertEqual(self.bob.lines(), [])
        self.world.host.advance(0.2)
        self.assertEqual(self.bob.lines(), ["CANCEL"])
        self.bob.respond(invite, 487)
        self.assertEqual(self.heard, ["progress 180", "ended"])

    def test_bye_of_a_losing_fork_before_its_200(self) -> None:
        """transfer.md R7a, R16: a fork that hung up before its late 200 was seen gets no BYE of ours."""
        session, invite = self.world.answered()
        self.bob.send(self.world.bye(invite, tag="other"))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.bob.respond(invite, 200, tag="other")
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertEqual((self.heard, session.state), (["answered"], SessionState.CONFIRMED))
        session.bye()

    def test_bye_and_200_at_once(self) -> None:
        """transfer.md R8, I2: giving up and the 200 in the same instant, both orders: exactly one BYE."""
        first = self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 200)
        first.cancel()
        first.bye()
        first.bye()
        self.assertEqual(self.bob.lines(), ["ACK", "BYE"])
        second = self.world.dial()
        invite = self.bob.one()
        second.cancel()
        second.bye()
        self.bob.respond(invite, 200)
        second.bye()
        self.assertEqual(self.bob.lines(), ["ACK", "BYE"])

    def test_hang_up_while_being_told(self) -> None:
        """transfer.md R20, I2: an observer that hangs up as it hears of the answer: ACK, then BYE."""
        self.world.witness.then["answered"] = lambda session, _response: session.bye()
        self.world.dial()
        self.bob.respond(self.bob.one(), 200)
        self.assertEqual(self.bob.lines(), ["ACK", "BYE"])

    def test_bye_glare(self) -> None:
        """transfer.md R9: 200 to theirs, and whatever answers ours, 481 included, ends it; one BYE of ours."""
        session, invite = self.world.answered()
        done = session.bye()
        ours = self.bob.one()
        self.successResultOf(done)
        self.bob.send(self.world.bye(invite))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.bob.respond(ours, 481)
        self.world.host.advance(32)
        self.assertEqual(self.bob.lines(), [])
        self.assertEqual(self.heard, ["answered"])

    def test_far_bye(self) -> None:
        """RFC 3261 15.1.2: 200 to a BYE; a second one with a number of its own is 481, as the dialog is gone."""
        session, invite = self.world.answered()
        self.bob.send(self.world.bye(invite))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.assertEqual(self.heard, ["answered", "ended"])
        self.successResultOf(session.bye())
        self.world.host.advance(33)
        self.bob.send(self.world.bye(invite, cseq=2))
        self.assertEqual(self.bob.lines(), ["481 BYE"])

    def test_bye_again(self) -> None:
        """RFC 3261 17.2.2: a BYE that comes again gets the same answer again, for 64*T1."""
        _session, invite = self.world.answered()
        bye = self.world.bye(invite)
        self.bob.send(bye)
        first = self.bob.one().to_bytes()
        for _ in range(3):
            self.world.host.advance(10)
            self.bob.send(bye)
            self.assertEqual(self.bob.one().to_bytes(), first)
        self.assertEqual(self.heard, ["answered", "ended"])

    def test_forked_200s(self) -> None:
        """transfer.md R16; RFC 3261 13.2.2.4: the first wins, each other fork gets ACK and BYE in its own dialog."""
        session, invite = self.world.answered()
        second = Peer(self.world.host, ("192.0.2.9", 5090))
        other = self.bob.respond(invite, 200, tag="other", contact="<sip:bob@192.0.2.9:5090>")
        ack, bye = second.take()
        self.assertEqual((ack.method, bye.method, ack.to.tag, bye.to.tag), ("ACK", "BYE", "other", "other"))
        second.respond(bye, 200)
        self.bob.send(other)
        self.assertEqual(second.lines(), ["ACK"])
        self.assertEqual((self.heard, session.dialog.remote_tag), (["answered"], "b"))
        session.bye()
        self.assertEqual(self.bob.one().to.tag, "b")

    def test_2xx_behind_a_refusal(self) -> None:
        """transfer.md rule 1; RFC 3261 16.7 step 5: a 2xx that a proxy passes on behind a refusal gets ACK and BYE."""
        self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 486)
        self.bob.take()
        self.bob.respond(invite, 200, tag="other")
        self.assertEqual(self.bob.lines(), ["ACK", "BYE"])
        self.assertEqual(self.heard, ["refused 486"])

    def test_forks_are_bounded(self) -> None:
        """Rules of the house: a peer that makes forks without end costs a bounded number of dialogs."""
        session, invite = self.world.answered()
        for number in range(50):
            self.bob.respond(invite, 200, tag=f"fork{number}")
        lines = self.bob.lines()
        self.assertEqual((lines.count("ACK"), lines.count("BYE")), (15, 15))
        self.assertEqual(self.world.agent.counters["forks_dropped"], 35)
        session.bye()

    def test_late_provisional(self) -> None:
        """transfer.md R21: a 18x after the 200, or after CANCEL, is ignored."""
        session = self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 200)
        self.bob.respond(invite, 180)
        self.bob.respond(invite, 183, body=ANSWER)
        self.assertEqual(self.heard, ["answered"])
        session.bye()
        self.heard.clear()
        given_up = self.world.dial()
        self.bob.take()
        invite = given_up.request
        self.bob.respond(invite, 180)
        given_up.cancel()
        self.bob.respond(invite, 183, body=ANSWER)
        self.assertEqual((self.heard, self.bob.lines()), (["progress 180"], ["CANCEL"]))
        self.bob.respond(invite, 487)

    def test_reinvite_crosses_bye(self) -> None:
        """transfer.md R12: our BYE is out, their re-INVITE gets 481, and its ACK is absorbed."""
        session, invite = self.world.answered()
        session.bye()
        bye = self.bob.one()
        reinvite = self.world.bye(invite, method="INVITE")
        self.bob.send(reinvite)
        refusal = self.bob.one()
        self.assertEqual(refusal.status, 481)
        self.bob.send(self.world.ack(reinvite, refusal))
        self.bob.respond(bye, 200)
        self.world.host.advance(64)
        self.assertEqual(self.bob.lines(), [])
        self.assertEqual(self.heard, ["answered"])

    def test_reinvite_before_our_answer(self) -> None:
        """transfer.md R11; RFC 3261 14.2: while our offer is pending theirs gets 491, as 481 ends dialogs."""
        self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 180)
        self.bob.send(self.world.bye(invite, method="INVITE"))
        self.assertEqual(self.bob.lines(), ["491 INVITE"])
        self.bob.send(self.world.bye(invite, method="OPTIONS", cseq=2))
        self.bob.send(self.world.bye(invite, method="INFO", cseq=3))
        self.assertEqual(self.bob.lines(), ["200 OPTIONS", "200 INFO"])
        self.bob.respond(invite, 486)

    def test_route_set(self) -> None:
        """RFC 3261 12.1.2, 12.2.1.1: Record-Route, reversed, is the route; a loose next hop is where requests go."""
        edge = Peer(self.world.host, ("192.0.2.7", 5062))
        session = self.world.dial()
        invite = self.bob.one()
        self.bob.respond(
            invite, 200, Record_Route="<sip:inner.example.com;lr>, <sip:192.0.2.7:5062;lr>", contact="<sip:b@10.9.9.9>"
        )
        ack = edge.one()
        self.assertEqual(ack.uri, "sip:b@10.9.9.9")
        self.assertEqual(ack.get_all("Route"), ["<sip:192.0.2.7:5062;lr>", "<sip:inner.example.com;lr>"])
        session.bye()
        bye = edge.one()
        self.assertEqual((bye.uri, bye.get_all("Route")), ("sip:b@10.9.9.9", ack.get_all("Route")))
        edge.respond(bye, 200)

    def test_contact_missing_or_broken(self) -> None:
        """RFC 3261 13.2.2.4: a 2xx without a usable Contact is acknowledged all the same, where the INVITE went."""
        for contact in (None, "<tel:+123>", "<sip:@@>"):
            session = self.world.dial()
            self.bob.respond(self.bob.one(), 200, contact=contact)
            self.assertEqual(self.bob.one().start_line, "ACK sip:bob@192.0.2.2 SIP/2.0")
            session.bye()
            self.bob.respond(self.bob.one(), 200)


class ResolvingTests(SynchronousTestCase):
    """Names are looked up without blocking, and what is asked for meanwhile keeps its order."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.heard = self.world.witness.heard

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def test_name(self) -> None:
        """RFC 3263 4.2: the first address of a family that we listen on."""
        self.world.host.names["bob.example.com"] = ["2001:db8::2", BOB[0]]
        self.world.dial("sip:bob@bob.example.com")
        invite = self.bob.one()
        self.assertEqual(invite.uri, "sip:bob@bob.example.com")
        self.bob.respond(invite, 486)

    def test_unknown_name_is_reported_later(self) -> None:
        """The contract of `invite`: the session is returned before anything is reported."""
        self.world.dial("sip:bob@nowhere.example.com")
        self.assertEqual(self.heard, [])
        self.world.host.advance(0)
        self.assertEqual(self.heard, ["refused 0"])

    def test_no_listener(self) -> None:
        """No listener of that transport, or TLS: status 0 with the reason."""
        for target in ("sip:bob@192.0.2.2;transport=tcp", "sips:bob@192.0.2.2", "sip:bob@[2001:db8::2]"):
            self.heard.clear()
            self.world.dial(target)
            self.world.host.advance(0)
            self.assertEqual(self.heard, ["refused 0"])
            self.assertEqual(self.bob.lines(), [])

    def test_given_up_during_the_look_up(self) -> None:
        """transfer.md R1: nothing is sent for a call that was given up before its target was found."""
        self.world.host.slow["slow.example.com"] = Deferred()
        session = self.world.dial("sip:bob@slow.example.com")
        session.cancel()
        self.world.host.slow["slow.example.com"].callback([BOB[0]])
        self.world.host.advance(1)
        self.assertEqual((self.bob.lines(), self.heard, session.state), ([], [], SessionState.ENDED))

    def test_look_up_without_end(self) -> None:
        """transfer.md rule 7: a look-up that never ends is given up after 64*T1."""
        self.world.host.slow["slow.example.com"] = Deferred()
        self.world.dial("sip:bob@slow.example.com")
        self.world.host.advance(33)
        self.assertEqual(self.heard, ["refused 0"])

    def test_order_behind_a_look_up(self) -> None:
        """The order of sends is the order of asking: ACK before BYE, also when the Contact is a name."""
        self.world.host.slow["bob.example.com"] = Deferred()
        session = self.world.dial()
        self.bob.respond(self.bob.one(), 200, contact="<sip:bob@bob.example.com>")
        done = session.bye()
        self.assertEqual(self.bob.lines(), [])
        self.assertNoResult(done)
        again = session.bye()
        self.assertNoResult(again)
        self.world.host.slow["bob.example.com"].callback([BOB[0]])
        self.assertEqual(self.bob.lines(), ["ACK", "BYE"])
        self.successResultOf(done)
        self.successResultOf(again)

    def test_contact_that_leads_nowhere(self) -> None:
        """transfer.md I1: the ACK goes where the INVITE went when the Contact's name is unknown."""
        session = self.world.dial()
        self.bob.respond(self.bob.one(), 200, contact="<sip:bob@nowhere.example.com>")
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.successResultOf(session.bye())
