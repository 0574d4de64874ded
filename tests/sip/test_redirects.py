"""Redirects: whom we call in a target's place, and what those see (RFC 3261 8.1.3.4, 19.1.5; R6 of transfer.md)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.headers import NameAddr
from telephony.sip.message import Request, Response
from telephony.sip.redirects import MAX_CONTACTS, Redirects, quality
from telephony.sip.session import SessionState
from telephony.sip.uri import SipUri
from tests.sip.fakes import ANSWER, OFFER, Peer, World, uri


def redirection(*contacts: str, status: int = 302) -> Response:
    """Return a 3xx."""
    response = Response(status)
    for contact in contacts:
        response.add("Contact", contact)
    return response


def anybody(_target: SipUri) -> bool:
    """Let anybody be called."""
    return True


class TargetSetTests(SynchronousTestCase):
    """Who is called, in which order."""

    def called(
        self,
        *contacts: str,
        may_dial: Callable[[SipUri], bool] = anybody,
        target: str = "sip:bob@b.test",
        status: int = 302,
    ) -> list[str]:
        redirects = Redirects(uri(target), may_dial)
        redirects.take(redirection(*contacts, status=status))
        found = []
        while (one := redirects.next()) is not None:
            found.append(str(one))
        return found

    def test_by_q(self) -> None:
        """RFC 3261 8.1.3.4: by q value, the highest first; without one it is 1; equal ones in their order."""
        self.assertEqual(
            self.called("<sip:a@x>;q=0.2", "<sip:b@x>, <sip:c@x>;q=0.9", "sip:d@x;q=1.0", "<sip:e@x>;q=9"),
            ["sip:b@x", "sip:d@x", "sip:c@x", "sip:a@x", "sip:e@x"],
        )

    def test_at_most_five(self) -> None:
        """R6: five contacts, however many there are."""
        self.assertEqual(self.called(*(f"<sip:{number}@x>" for number in range(9))), [f"sip:{n}@x" for n in range(5)])

    def test_each_once(self) -> None:
        """R6, RFC 3261 8.1.3.4, 19.1.4: nobody is called twice, the first target included, however it is written."""
        self.assertEqual(self.called("<sip:bob@B.TEST>", "<sip:a@x>", "<sip:a@X;foo=1>", "<sip:%61@x>"), ["sip:a@x"])

    def test_where_it_may_dial(self) -> None:
        """R6: only where the service may dial; what it may not doesn't count."""
        contacts = [f"<sip:{number}@{'no' if number % 2 else 'yes'}>" for number in range(12)]
        found = self.called(*contacts, may_dial=lambda one: one.host == "yes")
        self.assertEqual(found, [f"sip:{number}@yes" for number in (0, 2, 4, 6, 8)])

    def test_sips_stays_sips(self) -> None:
        """RFC 3261 8.1.3.4, 26.2.2: a call that began as sips: goes to no sip:; the other way round it may."""
        self.assertEqual(self.called("<sip:a@x>", "<sips:b@x>", target="sips:bob@b.test"), ["sips:b@x"])
        self.assertEqual(self.called("<sips:b@x>"), ["sips:b@x"])

    def test_what_is_no_target(self) -> None:
        """RFC 3261 19.1.5, 21.3: other schemes, other methods, a star, garbage, 305 and 380 are passed over."""
        self.assertEqual(
            self.called("<tel:+1555>", "<mailto:a@x>", "<sip:b@x;method=REGISTER>", "<sip:c@x;method=invite>"),
            ["sip:c@x"],
        )
        for contacts in (("*",), ("<sip:a@x",), ("<sip:>",), ()):
            self.assertEqual(self.called(*contacts), [])
        for status, found in ((300, ["sip:a@x"]), (301, ["sip:a@x"]), (305, []), (380, []), (399, ["sip:a@x"])):
            self.assertEqual(self.called("<sip:a@x>", status=status), found)

    def test_headers_are_left_out(self) -> None:
        """RFC 3261 19.1.5: header fields in a contact aren't sent: a peer doesn't write our requests."""
        self.assertEqual(self.called("<sip:a@x;user=phone?Route=%3Csip:evil%3E&Subject=x>"), ["sip:a@x;user=phone"])

    @given(
        st.lists(
            st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["0", "0.5", "1", "x", ""])), max_size=8), max_size=8
        )
    )
    def test_never_twice_never_more(self, rounds: list[list[tuple[int, str]]]) -> None:
        """R6: over any number of redirections nobody is called twice, and no more than five in all."""
        redirects = Redirects(uri("sip:0@x"), anybody)
        called = []
        for contacts in rounds:
            redirects.take(redirection(*(f"<sip:{number}@x>;q={q}" for number, q in contacts)))
            one = redirects.next()
            if one is not None:
                called.append(str(one))
        self.assertEqual(len(set(called)), len(called))
        self.assertNotIn("sip:0@x", called)
        self.assertLessEqual(len(called), MAX_CONTACTS)

    def test_quality(self) -> None:
        """RFC 3261 20.10, 25.1: 0 to 1 with three digits; what is none is 0."""
        for text, value in (
            ("0", 0.0),
            ("0.123", 0.123),
            ("1.000", 1.0),
            ("1.1", 0.0),
            ("2", 0.0),
            ("nan", 0.0),
            ("", 0.0),
        ):
            self.assertEqual(quality(NameAddr(None, "sip:a@x", {"q": text})), value)
        self.assertEqual(quality(NameAddr(None, "sip:a@x", {"q": None})), 1.0)


class CallTests(SynchronousTestCase):
    """What is on the wire."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.carol = Peer(self.world.host, ("192.0.2.3", 5060))
        self.dave = Peer(self.world.host, ("192.0.2.4", 5060))
        self.heard = self.world.witness.heard

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def dial(self, *contacts: str, **options: Any) -> tuple[Any, Request]:
        """Call Bob, who sends us elsewhere."""
        session = self.world.dial(may_dial=options.pop("may_dial", anybody), **options)
        invite = self.bob.one()
        self.redirect(self.bob, invite, *contacts)
        return session, invite

    def redirect(self, peer: Peer, invite: Request, *contacts: str) -> None:
        """Let a peer send us elsewhere, and see its 3xx acknowledged."""
        peer.respond(invite, 302, Contact=", ".join(contacts))
        self.assertEqual(peer.lines(), ["ACK"])

    def test_followed(self) -> None:
        """RFC 3261 8.1.3.4: the same To, From, Call-ID and offer, the next CSeq, another branch and target."""
        session, first = self.dial("<sip:carol@192.0.2.3;x=1?Subject=y>", headers=[("X-Trace", "7")])
        second = self.carol.one()
        self.assertEqual((second.uri, second.get("CSeq"), second.body), ("sip:carol@192.0.2.3;x=1", "2 INVITE", OFFER))
        for name in ("From", "To", "Call-ID", "Max-Forwards", "Contact", "Supported", "X-Trace"):
            self.assertEqual(second.get(name), first.get(name), name)
        self.assertNotEqual(second.via.branch, first.via.branch)
        self.carol.respond(second, 180, contact="<sip:carol@192.0.2.3>")
        self.carol.respond(second, 200, body=ANSWER, contact="<sip:carol@192.0.2.3>")
        self.assertEqual(self.carol.one().get("CSeq"), "2 ACK")
        self.assertEqual(self.heard, ["redirected sip:carol@192.0.2.3;x=1", "progress 180", "answered"])
        session.bye()
        self.assertEqual(self.carol.one().get("CSeq"), "3 BYE")
        self.assertEqual(self.bob.lines(), [])

    def test_not_followed(self) -> None:
        """R6: else R4: where nobody may be called, and without the wish to follow, the 3xx is the refusal."""
        self.dial("<sip:carol@192.0.2.3>", may_dial=lambda _target: False)
        self.dial("<sip:carol@192.0.2.3>", may_dial=None)
        self.dial("<tel:+1555>")
        self.assertEqual((self.heard, self.carol.lines()), (["refused 302"] * 3, []))

    def test_next_contact(self) -> None:
        """RFC 3261 8.1.3.4: where a contact refuses, can't be reached or is silent, the next one is called."""
        self.dial(
            "<sip:carol@192.0.2.3>;q=0.9",
            "<sip:x@nowhere.test>;q=0.8",
            "<sip:x@[2001:db8::9]>;q=0.7",
            "<sip:d@192.0.2.4>;q=0.5",
        )
        self.carol.respond(self.carol.one(), 486)
        self.assertEqual(self.carol.lines(), ["ACK"])
        self.world.host.advance(0)
        last = self.dave.one()
        self.assertEqual(last.get("CSeq"), "5 INVITE")
        self.dave.respond(last, 404)
        self.assertEqual(self.dave.lines(), ["ACK"])
        self.assertEqual(self.heard[-1], "refused 404")

    def test_silent_contact(self) -> None:
        """RFC 3261 8.1.3.4, 8.1.3.1: timer B is an answer like another."""
        session, _invite = self.dial("<sip:carol@192.0.2.3>", "<sip:dave@192.0.2.4>")
        self.world.host.advance(32.1)
        invite = self.dave.one()
        self.dave.respond(invite, 200, body=ANSWER, contact="<sip:dave@192.0.2.4>")
        self.assertEqual(self.heard[-1], "answered")
        session.bye()

    def test_6xx_ends_it(self) -> None:
        """R4: a 6xx ends hunting, whoever is left."""
        self.dial("<sip:carol@192.0.2.3>", "<sip:dave@192.0.2.4>")
        self.carol.respond(self.carol.one(), 603)
        self.assertEqual(self.carol.lines(), ["ACK"])
        self.assertEqual((self.heard[-1], self.dave.lines()), ("refused 603", []))

    def test_redirected_again(self) -> None:
        """R6: a contact may send us on; nobody is called twice, so that a circle ends."""
        self.dial("<sip:carol@192.0.2.3>")
        self.redirect(self.carol, self.carol.one(), "<sip:dave@192.0.2.4>", "<sip:bob@192.0.2.2>")
        self.redirect(self.dave, self.dave.one(), "<sip:carol@192.0.2.3>", "<sip:bob@192.0.2.2>")
        self.assertEqual(self.heard[-1], "refused 302")
        self.assertEqual([*self.bob.lines(), *self.carol.lines(), *self.dave.lines()], [])

    def test_given_up(self) -> None:
        """R1: CANCEL goes to who is called now, with that INVITE's branch, once it has answered with a 1xx."""
        session, _invite = self.dial("<sip:carol@192.0.2.3>")
        invite = self.carol.one()
        session.cancel("enough")
        self.assertEqual(self.carol.lines(), [], "Bob's 302 was no 1xx of Carol's")
        self.carol.respond(invite, 180)
        cancel = self.carol.one()
        self.assertEqual(
            (cancel.method, cancel.via.branch, cancel.get("CSeq")), ("CANCEL", invite.via.branch, "2 CANCEL")
        )
        self.carol.respond(invite, 302, Contact="<sip:dave@192.0.2.4>")
        self.assertEqual((self.carol.lines(), self.dave.lines()), (["ACK"], []))
        self.assertIs(session.state, SessionState.ENDED)

    def test_given_up_while_a_contact_is_looked_up(self) -> None:
        """R1: nothing is sent any more."""
        from twisted.internet.defer import Deferred

        looking: Deferred[list[str]] = Deferred()
        self.world.host.slow["c.test"] = looking
        session, _invite = self.dial("<sip:carol@c.test:5060>")
        session.cancel()
        self.world.host.advance(40)
        self.assertEqual((self.carol.lines(), self.heard), ([], ["redirected sip:carol@c.test:5060"]))
        self.assertIs(session.state, SessionState.ENDED)

    def test_2xx_of_who_redirected(self) -> None:
        """Rule 1, R2: a late 2xx to the first INVITE gets its ACK, with that INVITE's number, and a BYE."""
        session, first = self.dial("<sip:carol@192.0.2.3>")
        self.carol.take()
        self.bob.respond(first, 200, "late", body=ANSWER)
        ack, bye = self.bob.take()
        self.assertEqual((ack.get("CSeq"), bye.method, bye.to.tag), ("1 ACK", "BYE", "late"))
        self.assertIs(session.state, SessionState.PROCEEDING)
        session.cancel()

    def test_reliable_responses_begin_anew(self) -> None:
        """RFC 3262 4: the numbers of who is called now are its own, even under the same tag."""
        session = self.world.dial(may_dial=anybody)
        invite = self.bob.one()
        self.bob.respond(invite, 183, Require="100rel", RSeq="7")
        self.bob.take()
        self.redirect(self.bob, invite, "<sip:carol@192.0.2.3>")
        second = self.carol.one()
        self.carol.respond(second, 183, Require="100rel", RSeq="70", contact="<sip:carol@192.0.2.3>")
        prack = self.carol.one()
        self.assertEqual((prack.get("RAck"), prack.get("CSeq")), ("70 2 INVITE", "3 PRACK"))
        session.cancel()
        self.carol.respond(second, 487)

    def test_by_way_of_a_proxy(self) -> None:
        """RFC 3261 8.1.2: a preloaded route stays: the proxy gets the INVITE for the contact too."""
        session = self.world.dial(may_dial=anybody, routes=[NameAddr(None, "sip:192.0.2.2;lr")])
        self.bob.respond(self.bob.one(), 302, Contact="<sip:carol@192.0.2.3>")
        _ack, second = self.bob.take()
        self.assertEqual((second.uri, second.get("Route")), ("sip:carol@192.0.2.3", "<sip:192.0.2.2;lr>"))
        self.assertEqual(self.carol.lines(), [])
        session.cancel()
