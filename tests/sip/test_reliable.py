"""Reliable provisional responses, judged by what the far end sees (RFC 3262; RFC 6337 3.1 for what they settle)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.message import Request, Response
from telephony.sip.reliable import RAck, parse_rack
from telephony.sip.session import SessionState
from tests.sip.fakes import ANSWER, OFFER, Peer, World


class RAckTests(SynchronousTestCase):
    """RFC 3262 7.2."""

    @given(st.integers(1, 2**32 - 1), st.integers(0, 2**31 - 1), st.sampled_from(["INVITE", "OPTIONS"]))
    def test_written_and_read(self, rseq: int, cseq: int, method: str) -> None:
        """RFC 3262 7.2: what is written is read again."""
        rack = RAck(rseq, cseq, method)
        self.assertEqual(parse_rack(str(rack)), rack)
        self.assertEqual(parse_rack(f" {rseq}  {cseq}   {method} "), rack)

    def test_garbage(self) -> None:
        """RFC 3262 7.2: anything else is a RemoteProtocolError, 400."""
        for text in (None, "", "1", "1 INVITE", "x 1 INVITE", "1 x INVITE", "1 1", f"{2**32} 1 INVITE", "-1 1 INVITE"):
            with self.assertRaises(RemoteProtocolError) as caught:
                parse_rack(text)
            self.assertEqual(caught.exception.status, 400)


class CallerTests(SynchronousTestCase):
    """RFC 3262 4: our INVITE."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.heard = self.world.witness.heard

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def ring(self, invite: Request, number: int | str, tag: str = "b", status: int = 183, **fields: Any) -> Response:
        """Let Bob ring reliably."""
        return self.bob.respond(invite, status, tag, Require="100rel", RSeq=str(number), **fields)

    def test_supported(self) -> None:
        """RFC 3262 4: an INVITE with an offer says that we can; one without would get offers in 18x, and doesn't."""
        for offer, said in ((OFFER, True), (b"", False)):
            session = self.world.dial(offer=offer)
            invite = self.bob.one()
            self.assertEqual("100rel" in invite.supported, said)
            self.assertNotIn("100rel", invite.require)
            self.bob.respond(invite, 486)
            self.bob.take()
            self.assertIs(session.state, SessionState.ENDED)

    def test_prack(self) -> None:
        """RFC 3262 4, 7.2: a PRACK in the early dialog, with the response's number; the observer hears it once."""
        session = self.world.dial()
        invite = self.bob.one()
        self.ring(invite, 776656, contact="<sip:bob@192.0.2.2;x=1>", Record_Route="<sip:192.0.2.2;lr>")
        prack = self.bob.one()
        self.assertEqual(
            (prack.method, prack.uri, prack.get("RAck")), ("PRACK", "sip:bob@192.0.2.2;x=1", "776656 1 INVITE")
        )
        self.assertEqual((prack.get("CSeq"), prack.to.tag, prack.get("Route")), ("2 PRACK", "b", "<sip:192.0.2.2;lr>"))
        self.assertEqual(prack.body, b"")
        self.bob.respond(prack, 200)
        self.assertEqual(self.heard, ["progress 183"])
        self.bob.respond(invite, 200, body=ANSWER)
        self.assertEqual(self.bob.one().get("CSeq"), "1 ACK")
        session.bye()
        self.assertEqual(self.bob.one().get("CSeq"), "3 BYE")

    def test_again_and_out_of_order(self) -> None:
        """RFC 3262 4: what comes again, too early or late is neither acknowledged nor passed on; the next one is."""
        session = self.world.dial()
        invite = self.bob.one()
        first = self.ring(invite, 7)
        self.assertEqual(self.bob.lines(), ["PRACK"])
        self.bob.send(first)
        for number in (9, 6, 8 + 2**16):
            self.ring(invite, number)
        self.assertEqual((self.bob.lines(), self.heard), ([], ["progress 183"]))
        self.ring(invite, 8, status=180)
        self.assertEqual(self.bob.one().get("RAck"), "8 1 INVITE")
        self.ring(invite, 9, status=180)
        self.assertEqual(self.bob.one().get("CSeq"), "4 PRACK")
        self.assertEqual(self.heard, ["progress 183", "progress 180", "progress 180"])
        self.assertEqual(self.world.agent.counters["reliable_dropped"], 4)
        session.cancel()
        self.bob.respond(invite, 487)

    def test_each_fork(self) -> None:
        """transfer.md R17: each early dialog has numbers and a PRACK of its own, sent to its own contact."""
        session = self.world.dial()
        invite = self.bob.one()
        second = Peer(self.world.host, ("192.0.2.9", 5090))
        self.ring(invite, 100, "one")
        self.ring(invite, 5, "two", contact="<sip:bob@192.0.2.9:5090>")
        one, two = self.bob.one(), second.one()
        self.assertEqual((one.get("RAck"), one.to.tag), ("100 1 INVITE", "one"))
        self.assertEqual((two.get("RAck"), two.to.tag, two.uri), ("5 1 INVITE", "two", "sip:bob@192.0.2.9:5090"))
        self.ring(invite, 101, "one")
        self.assertEqual(self.bob.one().get("CSeq"), "3 PRACK")
        self.bob.respond(invite, 200, "two", ANSWER, contact="<sip:bob@192.0.2.9:5090>")
        self.assertEqual(second.lines(), ["ACK"])
        session.bye()
        self.assertEqual(second.one().get("CSeq"), "3 BYE")

    def test_not_reliable(self) -> None:
        """RFC 3262 4, 7.1: without Require, a number or a To tag there is nothing to acknowledge; it still rings."""
        session = self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 180, RSeq="1")
        self.bob.respond(invite, 180, Require="100rel")
        for number in ("0", "x", str(2**32), ""):
            self.ring(invite, number)
        self.bob.respond(invite, 180, tag=None, Require="100rel", RSeq="1")
        self.bob.respond(invite, 100, Require="100rel", RSeq="1")
        self.assertEqual(self.bob.lines(), [])
        self.assertEqual(len(self.heard), 7)
        session.cancel()
        self.assertEqual(self.bob.lines(), ["CANCEL"])
        self.bob.respond(invite, 487)

    def test_behind_cancel(self) -> None:
        """transfer.md R21: a reliable 18x that crosses our CANCEL gets its PRACK, and nobody hears of it."""
        session = self.world.dial()
        invite = self.bob.one()
        self.ring(invite, 1)
        session.cancel()
        self.assertEqual(self.bob.lines(), ["PRACK", "CANCEL"])
        self.ring(invite, 2)
        self.assertEqual(self.bob.lines(), ["PRACK"])
        self.bob.respond(invite, 487)
        self.assertEqual(self.heard, ["progress 183"])

    def test_cancel_held_until_a_reliable_one(self) -> None:
        """transfer.md R1: a CANCEL that waits for a 1xx goes behind the PRACK of a reliable one."""
        session = self.world.dial()
        invite = self.bob.one()
        session.cancel()
        self.ring(invite, 1)
        self.assertEqual(self.bob.lines(), ["PRACK", "CANCEL"])
        self.bob.respond(invite, 487)

    def test_refused_prack(self) -> None:
        """RFC 3262 4: whatever answers a PRACK, the INVITE goes on; one that gets lost is sent again."""
        session = self.world.dial()
        invite = self.bob.one()
        self.ring(invite, 1)
        first = self.bob.one()
        self.world.host.advance(0.6)
        again = self.bob.one()
        self.assertEqual(again.to_bytes(), first.to_bytes())
        self.bob.respond(again, 481)
        self.bob.respond(invite, 200, body=ANSWER)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertEqual(self.heard, ["progress 183", "answered"])
        session.bye()

    def test_prack_to_us(self) -> None:
        """RFC 3262 3: a PRACK of nothing is 481, in an early dialog and in a confirmed one."""
        session = self.world.dial()
        invite = self.bob.one()
        self.bob.respond(invite, 180)
        self.bob.send(self.world.bye(invite, method="PRACK"))
        self.assertEqual(self.bob.lines(), ["481 PRACK"])
        self.bob.respond(invite, 200, body=ANSWER)
        self.bob.take()
        self.bob.send(self.world.bye(invite, method="PRACK", cseq=2))
        self.assertEqual(self.bob.lines(), ["481 PRACK"])
        session.bye()

    def test_forks_without_end(self) -> None:
        """Bounded: sixteen early dialogs; further forks' reliable responses are dropped, not taken as others are."""
        session = self.world.dial()
        invite = self.bob.one()
        for number in range(20):
            self.ring(invite, 1, f"fork{number}")
        self.assertEqual(self.bob.lines(), ["PRACK"] * 16)
        self.assertEqual(len(self.heard), 16)
        session.cancel()
        self.bob.respond(invite, 487)


class CalledTests(SynchronousTestCase):
    """RFC 3262 3: an INVITE that came to us."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.heard = self.world.witness.heard
        self.cseq = 1

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def called(self, body: bytes = OFFER, **fields: Any) -> tuple[Any, Request]:
        """Let Bob call."""
        self.world.welcome()
        invite = self.world.request(body=body, **fields)
        self.bob.send(invite)
        self.assertEqual(self.bob.lines(), ["100 INVITE"])
        return self.world.sessions[-1], invite

    def prack(self, response: Response, rack: str | None = None, body: bytes = b"") -> Request:
        """Let Bob acknowledge a reliable response."""
        self.cseq += 1
        text = rack or f"{response.get('RSeq')} {response.get('CSeq')}"
        request = self.world.request("PRACK", to_tag=response.to.tag, cseq=self.cseq, RAck=text)
        if body:
            request.set("Content-Type", "application/sdp")
            request.body = body
        self.bob.send(request)
        return request

    def end(self, session: Any, invite: Request) -> None:
        """End a call that wasn't answered."""
        session.reject(486)
        refusal = self.bob.take()[-1]
        self.bob.send(self.world.ack(invite, refusal))

    def test_required(self) -> None:
        """RFC 3262 3: where it is required each 18x is reliable; RSeq begins at random, 1 to 2**31-1."""
        session, invite = self.called(Require="100rel")
        session.ring()
        ringing = self.bob.one()
        self.assertEqual((ringing.status, ringing.require), (180, ["100rel"]))
        self.assertIn(int(ringing.get("RSeq") or 0), range(1, 2**31))
        self.assertTrue(ringing.has("Contact"))
        self.prack(ringing)
        self.assertEqual(self.bob.lines(), ["200 PRACK"])
        session.ring(183, ANSWER)
        second = self.bob.one()
        self.assertEqual(int(second.get("RSeq") or 0), int(ringing.get("RSeq") or 0) + 1)
        self.prack(second)
        self.assertEqual(self.bob.lines(), ["200 PRACK"])
        self.end(session, invite)

    def test_supported(self) -> None:
        """RFC 3262 3: where it is only supported it is our choice; where it isn't even that, there is none."""
        for fields, wished, reliable in (
            ({"Supported": "100rel"}, False, False),
            ({"Supported": "timer, 100rel"}, True, True),
            ({}, True, False),
        ):
            session, invite = self.called(call_id=f"c{wished}{reliable}", **fields)
            session.ring(reliably=wished)
            ringing = self.bob.one()
            self.assertEqual((ringing.has("RSeq"), "100rel" in ringing.require), (reliable, reliable))
            self.end(session, invite)

    def test_sent_again(self) -> None:
        """RFC 3262 3: again after T1 and at intervals that double without end, until its PRACK comes."""
        session, invite = self.called(Require="100rel")
        session.ring()
        first = self.bob.one()
        came = []
        for quarters in range(1, 60):
            self.world.host.advance(0.25)
            came += [(quarters / 4, one.to_bytes() == first.to_bytes()) for one in self.bob.take()]
        self.assertEqual(came, [(0.5, True), (1.5, True), (3.5, True), (7.5, True)])
        self.prack(first)
        self.assertEqual(self.bob.lines(), ["200 PRACK"])
        self.world.host.advance(30)
        self.assertEqual(self.bob.lines(), [])
        self.end(session, invite)

    def test_never_acknowledged(self) -> None:
        """RFC 3262 3: without a PRACK for 64*T1 the INVITE is refused with 5xx, and the observer told."""
        _session, invite = self.called(Require="100rel")
        self.world.sessions[-1].ring()
        self.world.host.advance(31.9)
        self.assertEqual(self.bob.lines(), ["180 INVITE"] * 7)
        self.world.host.advance(0.2)
        refusal = self.bob.one()
        self.assertEqual(refusal.status, 504)
        self.bob.send(self.world.ack(invite, refusal))
        self.assertEqual(self.heard, ["unconfirmed"])

    def test_one_at_a_time(self) -> None:
        """RFC 3262 3: the next one waits for the PRACK of the one before; each is sent once its turn has come."""
        session, invite = self.called(Require="100rel")
        session.ring()
        session.ring(183, ANSWER)
        session.ring(182)
        for status in (180, 183, 182):
            ringing = self.bob.one()
            self.assertEqual(ringing.status, status)
            self.prack(ringing)
            answer, *rest = self.bob.take()
            self.assertEqual((answer.status, answer.cseq.method), (200, "PRACK"))
            self.bob.inbox += rest
        self.end(session, invite)

    def test_prack_without_match(self) -> None:
        """RFC 3262 3: 481 to a PRACK of another number, CSeq or method, or of nothing more; 400 without RAck."""
        session, invite = self.called(Require="100rel")
        session.ring()
        ringing = self.bob.one()
        number = int(ringing.get("RSeq") or 0)
        for rack in (f"{number + 1} 1 INVITE", f"{number} 2 INVITE", f"{number} 1 OPTIONS"):
            self.prack(ringing, rack)
            self.assertEqual(self.bob.lines(), ["481 PRACK"])
        self.prack(ringing, "what")
        self.assertEqual(self.bob.lines(), ["400 PRACK"])
        self.prack(ringing)
        self.prack(ringing)
        self.assertEqual(self.bob.lines(), ["200 PRACK", "481 PRACK"])
        self.end(session, invite)

    def test_prack_of_nothing(self) -> None:
        """RFC 3262 3: 481 where nothing was sent reliably."""
        session, invite = self.called()
        session.ring()
        ringing = self.bob.one()
        self.prack(ringing, "1 1 INVITE")
        self.assertEqual(self.bob.lines(), ["481 PRACK"])
        self.end(session, invite)

    def test_2xx_waits_for_a_description(self) -> None:
        """RFC 3262 3: no 2xx before the PRACK of a reliable response with a description; once it is there, at once."""
        session, invite = self.called(Require="100rel")
        session.ring(183, ANSWER)
        ringing = self.bob.one()
        session.answer(None)
        session.answer(None)
        self.world.host.advance(1)
        self.assertEqual(set(self.bob.lines()), {"183 INVITE"})
        self.prack(ringing)
        acknowledged, ok = self.bob.take()
        self.assertEqual((acknowledged.cseq.method, ok.status, ok.body), ("PRACK", 200, b""))
        self.bob.send(self.world.request("ACK", to_tag=ok.to.tag))
        self.assertEqual(self.heard, ["confirmed"])
        self.assertEqual(invite.call_id, session.call_id)
        session.bye()

    def test_2xx_overtakes_what_has_none(self) -> None:
        """RFC 3262 3: a 2xx may overtake a reliable 180 without a description: it isn't repeated, its PRACK taken."""
        session, _invite = self.called(Require="100rel")
        session.ring()
        ringing = self.bob.one()
        session.answer(ANSWER)
        ok = self.bob.one()
        self.assertEqual(ok.status, 200)
        self.bob.send(self.world.request("ACK", to_tag=ok.to.tag))
        self.world.host.advance(5)
        self.assertEqual(self.bob.lines(), [])
        self.prack(ringing)
        self.assertEqual(self.bob.lines(), ["200 PRACK"])
        session.bye()

    def test_held_2xx_and_no_prack(self) -> None:
        """RFC 3262 3: a 2xx that waits in vain becomes a 504."""
        session, invite = self.called(Require="100rel")
        session.ring(183, ANSWER)
        session.answer(None)
        self.world.host.advance(32.1)
        refusal = self.bob.take()[-1]
        self.assertEqual(refusal.status, 504)
        self.bob.send(self.world.ack(invite, refusal))
        self.assertEqual(self.heard, ["unconfirmed"])
        self.assertIs(session.state, SessionState.ENDED)

    def test_cancel_in_between(self) -> None:
        """RFC 3262 3, RFC 3261 9.2: CANCEL before the PRACK: 200, 487, and nothing again; a held 2xx is never sent."""
        for answered in (False, True):
            session, invite = self.called(Require="100rel", call_id=f"cancel-{answered}")
            session.ring(183, ANSWER)
            self.bob.take()
            if answered:
                session.answer(None)
            self.bob.send(self.world.cancel(invite))
            accepted, refusal = self.bob.take()
            self.assertEqual((accepted.status, refusal.status), (200, 487))
            self.bob.send(self.world.ack(invite, refusal))
            self.world.host.advance(5)
            self.assertEqual(self.bob.lines(), [])
        self.assertEqual(self.heard, ["cancelled", "cancelled"])

    def test_bye_in_between(self) -> None:
        """RFC 3261 15.1.2: BYE in the early dialog, before the PRACK: 200, and 487 to the INVITE."""
        session, invite = self.called(Require="100rel")
        session.ring()
        tag = self.bob.one().to.tag
        self.bob.send(self.world.request("BYE", to_tag=tag, cseq=2))
        accepted, refusal = self.bob.take()
        self.assertEqual((accepted.cseq.method, refusal.status), ("BYE", 487))
        self.bob.send(self.world.ack(invite, refusal))
        self.assertEqual(self.heard, ["cancelled"])

    def test_given_up_while_held(self) -> None:
        """`bye` and `reject` while a 2xx waits for a PRACK refuse the INVITE at once."""
        for number, end in enumerate((lambda one: one.bye(), lambda one: one.reject(486))):
            session, invite = self.called(Require="100rel", call_id=f"given-up-{number}")
            session.ring(183, ANSWER)
            self.bob.take()
            session.answer(None)
            end(session)
            refusal = self.bob.one()
            self.assertEqual(refusal.status, (480, 486)[number])
            self.bob.send(self.world.ack(invite, refusal))
        self.assertEqual(self.heard, [])

    def test_our_offer(self) -> None:
        """RFC 3262 5: to an INVITE without an offer, a reliable response holds ours, and the PRACK the answer."""
        session, _invite = self.called(b"", Require="100rel")
        session.ring(180, OFFER)
        ringing = self.bob.one()
        self.assertEqual((ringing.status, ringing.body), (180, OFFER))
        session.answer(None)
        self.prack(ringing, body=ANSWER)
        acknowledged, ok = self.bob.take()
        self.assertEqual((acknowledged.status, ok.status, ok.body), (200, 200, b""))
        self.bob.send(self.world.request("ACK", to_tag=ok.to.tag))
        self.assertEqual(self.heard, ["answer in prack", "confirmed"])
        session.bye()

    def test_our_offer_unanswered(self) -> None:
        """RFC 3262 5: a PRACK without the answer: 200 to it, and the INVITE is refused."""
        session, invite = self.called(b"", Require="100rel")
        session.ring(180, OFFER)
        self.prack(self.bob.one())
        acknowledged, refusal = self.bob.take()
        self.assertEqual((acknowledged.status, refusal.status), (200, 488))
        self.bob.send(self.world.ack(invite, refusal))
        self.assertIs(session.state, SessionState.ENDED)

    def test_their_offer(self) -> None:
        """RFC 3262 5: an offer in a PRACK is answered in its 200, or refused, which changes nothing else."""
        session, invite = self.called(Require="100rel")
        session.ring(183, ANSWER)
        self.prack(self.bob.one(), body=OFFER)
        answered = self.bob.one()
        self.assertEqual((answered.status, answered.body, answered.content_type), (200, ANSWER, "application/sdp"))
        self.world.witness.answer = None
        session.ring(183, ANSWER)
        self.prack(self.bob.one(), body=OFFER)
        self.assertEqual(self.bob.lines(), ["488 PRACK"])
        self.world.host.advance(5)
        self.assertEqual((self.bob.lines(), self.heard), ([], ["offered", "offered"]))
        self.end(session, invite)

    def test_every_minute(self) -> None:
        """RFC 3261 13.3.1.1: proxies hear each minute that it rings, with the same number, long after the PRACK."""
        session, invite = self.called(Require="100rel")
        session.ring()
        ringing = self.bob.one()
        self.prack(ringing)
        self.bob.take()
        self.world.host.advance(60.1)
        self.assertEqual(self.bob.one().to_bytes(), ringing.to_bytes())
        self.end(session, invite)

    def test_nothing_holds_the_session(self) -> None:
        """No reference cycle survives a call: once there is a final response the ringing lets go of its session."""
        session, invite = self.called(Require="100rel")
        session.ring()
        ringing = session._ringing
        self.assertIs(ringing.owner, session)
        self.end(session, invite)
        self.assertIsNone(ringing.owner)
