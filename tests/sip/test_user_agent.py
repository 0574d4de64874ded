"""What a user agent answers by itself (RFC 3261 8.2, 9.2, 11, 18.2; RFC 3581), and that nothing of a call remains."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from telephony.sip import user_agent
from telephony.sip.dialog import Dialog
from telephony.sip.message import Message, respond
from telephony.sip.parties import ALLOW
from telephony.sip.session import Session, Unacknowledged
from telephony.sip.transaction import ClientTransaction, ServerTransaction
from telephony.trace.events import TraceEvent
from tests.sip.fakes import ANSWER, BOB, US, Peer, World


class AnsweringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        self.world.welcome()
        self.bob = self.world.bob

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])
        self.assertEqual(self.world.sessions, [])

    def ask(self, *arguments: Any, **fields: Any) -> Any:
        """Send a request, return the answer."""
        self.bob.send(self.world.request(*arguments, **fields))
        return self.bob.one()

    def test_options(self) -> None:
        """RFC 3261 11.2: 200 with Allow, Accept and Supported, and a To tag that is the same for the same request."""
        request = self.world.request("OPTIONS")
        self.bob.send(request)
        answer = self.bob.one()
        self.assertEqual((answer.status, answer.get("Accept")), (200, "application/sdp"))
        self.assertEqual(answer.get("Allow"), ALLOW)
        self.assertTrue(answer.has("Supported"))
        self.bob.send(request)
        self.assertEqual(self.bob.one().to_bytes(), answer.to_bytes())

    def test_methods(self) -> None:
        """RFC 3261 8.2.1, 21.5.2: 405 with Allow for a method of others, 501 for one that nobody knows."""
        for method in ("REGISTER", "SUBSCRIBE", "MESSAGE", "PUBLISH"):
            answer = self.ask(method)
            self.assertEqual((answer.status, answer.get("Allow")), (405, ALLOW))
        self.assertEqual(self.ask("NEWMETHOD").status, 501)
        self.assertEqual(self.ask("NEWMETHOD", to_tag="x").status, 501)

    def test_refer_outside_of_any_dialog(self) -> None:
        """RFC 3515 5.2, RFC 6665 4.1.3: nobody is called because a stranger wants it; its NOTIFY is about nothing."""
        self.assertEqual(self.ask("REFER").status, 603)
        self.assertEqual(self.ask("NOTIFY").status, 481)

    def test_outside_of_any_dialog(self) -> None:
        """RFC 3261 12.2.2, 15.1.2: a BYE, an INFO, a re-INVITE without a dialog are 481; an ACK is dropped."""
        self.assertEqual(self.ask("BYE").status, 481)
        self.assertEqual(self.ask("BYE", to_tag="x").status, 481)
        self.assertEqual(self.ask("INFO", to_tag="x").status, 481)
        self.assertEqual(self.ask(to_tag="x").status, 481)
        self.bob.send(self.world.request("ACK", to_tag="x"))
        self.assertEqual(self.bob.lines(), [])

    def test_extensions(self) -> None:
        """RFC 3261 8.2.2.3: 420 names in Unsupported what is required and not understood."""
        answer = self.ask(Require="100rel, teleport, outbound")
        self.assertEqual((answer.status, answer.get("Unsupported")), (420, "teleport, outbound"))

    def test_bodies(self) -> None:
        """RFC 3261 8.2.3: 415 with Accept for a body that isn't SDP, unless it may be left unread."""
        answer = self.ask(Content_Type="text/plain")
        self.assertEqual((answer.status, answer.get("Accept")), (415, "application/sdp"))
        answer = self.ask(Content_Encoding="gzip")
        self.assertEqual((answer.status, answer.get("Accept-Encoding")), (415, "identity"))
        self.assertEqual(self.ask(Content_Type=None).status, 415)
        invite = self.world.request(call_id="o", Content_Type="text/plain", Content_Disposition="x; handling=optional")
        self.bob.send(invite)
        session = self.world.sessions.pop()
        self.assertEqual(session.request.body, b"")
        session.reject(486)
        self.bob.send(self.world.ack(invite, self.bob.take()[-1]))

    def test_uris(self) -> None:
        """RFC 3261 8.2.2.1: 416 for a scheme that is not understood."""
        request = self.world.request()
        request.uri = "nobody:knows"
        self.bob.send(request)
        self.assertEqual(self.bob.one().status, 416)

    def test_garbage(self) -> None:
        """RFC 3261 8.2, 18.3: what can be answered is 400 or 505, the rest is dropped and counted; ACKs never are."""
        good = self.world.request().to_bytes()
        for old, new, status in (
            (b"SIP/2.0\r\n", b"SIP/3.0\r\n", 505),
            (b"CSeq: 1 INVITE", b"CSeq: 1 BYE", 400),
            (b"CSeq: 1 INVITE", b"CSeq: x INVITE", 400),
            (b"Max-Forwards: 70", b"Max-Forwards: 256", 400),
            (b"Contact: <", b"Contact: \x00<<<", 400),
            (b"To: ", b"X: ", 400),
            (b"Content-Length: ", b"Content-Length: 9", 400),
        ):
            self.bob.send(good.replace(old, new, 1))
            self.assertEqual(self.bob.one().status, status, new)
        for dropped in (b"", b"\r\n\r\n", b"\x00", b"hello\r\n\r\n", good[:40], good.replace(b"Via: ", b"X: ")):
            self.bob.send(dropped)
        bad_ack = self.world.request("ACK").to_bytes().replace(b"1 ACK", b"x ACK")
        self.bob.send(bad_ack)
        bad_response = respond(self.world.request(), 200).to_bytes().replace(b"CSeq", b"X")
        self.bob.send(bad_response)
        self.assertEqual(self.bob.lines(), [])
        self.assertGreaterEqual(self.world.agent.counters["garbage"], 12)
        self.assertEqual(self.world.agent.counters["faults"], 0)

    def test_too_many_transactions(self) -> None:
        """Architecture, "Bounded everything"; RFC 3261 21.5.4: 503 without a state, but a call can still be ended."""
        _session, _invite, tag = self.world.talking()
        self.patch(user_agent, "MAX_TRANSACTIONS", 1)
        refused = self.ask(call_id="another")
        self.assertEqual((refused.status, refused.get("Retry-After")), (503, "5"))
        self.assertEqual(len(self.world.agent.transactions.server), 1)
        self.bob.send(self.world.request("BYE", to_tag=tag, cseq=2))
        self.assertEqual(self.bob.lines(), ["200 BYE"])
        self.world.sessions.clear()

    def test_fault_behind_a_lookup(self) -> None:
        """Session: what goes wrong once a name has been looked up is logged and counted, not lost in a Deferred."""
        self.world.host.names["bob.example.com"] = ["192.0.2.2"]

        def broken(*_: Any) -> None:
            raise ZeroDivisionError("on purpose")

        self.patch(self.world.agent, "stamp", broken)
        session = self.world.dial("sip:bob@bob.example.com")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.world.agent.counters["faults"], 1)
        session.abandon()
        self.world.agent.forget(session)

    def test_merged(self) -> None:
        """RFC 3261 8.2.2.2: the same INVITE by another path is 482; transfer.md rule 8: our own come back is not."""
        self.bob.send(self.world.request(branch="one"))
        self.assertEqual(self.bob.lines(), ["100 INVITE"])
        self.bob.send(self.world.request(branch="two"))
        self.assertEqual(self.bob.lines(), ["482 INVITE"])
        self.world.sessions.pop().reject(486)
        self.bob.take()
        ours = self.world.dial()
        spiral = self.bob.one()
        spiral.add_first("Via", "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKproxy")
        self.bob.send(spiral)
        self.assertEqual(self.bob.lines(), ["100 INVITE"])
        self.world.sessions.pop().reject(486)
        refusal = self.bob.one()
        refusal.remove("Via")
        refusal.set("Via", ours.request.get("Via"))
        self.bob.send(refusal)

    def test_screen(self) -> None:
        """Architecture, "Bounded everything": a refusal by `screen` makes no session and no transaction."""
        self.world.agent.screen = lambda request, flow: (503, [("Retry-After", "5")])
        answer = self.ask()
        self.assertEqual((answer.status, answer.get("Retry-After")), (503, "5"))
        self.assertEqual((self.world.agent.transactions.server, self.world.clock.getDelayedCalls()), ({}, []))
        self.bob.send(self.world.ack(self.world.request(), answer))
        self.world.agent.screen = None
        self.world.agent.on_invite = None
        self.assertEqual(self.ask().status, 480)

    def test_fault_in_the_callback(self) -> None:
        """A fault of whoever takes calls costs that call: 500, and the next one is taken."""

        def fail(_session: object) -> None:
            raise ZeroDivisionError

        self.world.agent.on_invite = fail
        self.assertEqual(self.ask().status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_max_forwards_zero(self) -> None:
        """RFC 3261 8.2, 16.3: 483 is a proxy's business; at its target a request with 0 is as good as any."""
        self.assertEqual(self.ask("OPTIONS", Max_Forwards="0").status, 200)

    def test_ack_of_an_old_peer(self) -> None:
        """RFC 3261 17.2.3: INVITE and ACK of an RFC 2543 peer, without a branch, are one transaction."""
        invite = self.world.request(Via="SIP/2.0/UDP 192.0.2.2")
        self.bob.send(invite)
        self.bob.send(invite)
        self.assertEqual(self.bob.lines(), ["100 INVITE", "100 INVITE"])
        self.world.sessions.pop().reject(486)
        self.bob.send(self.world.ack(invite, self.bob.one()))
        self.world.host.advance(2)
        self.assertEqual(self.bob.lines(), [])


class ViaTests(SynchronousTestCase):
    """Where responses go (RFC 3261 18.2, RFC 3581), and which are ours (18.1.2)."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def test_sent_by(self) -> None:
        """RFC 3261 18.2.2: without rport the response goes to the source's address, the port of sent-by or 5060."""
        nat = Peer(self.world.host, ("198.51.100.9", 33333))
        listening = Peer(self.world.host, ("198.51.100.9", 5077))
        nat.send(self.world.request("OPTIONS", Via="SIP/2.0/UDP 10.0.0.1:5077;branch=z9hG4bKn1"))
        answer = listening.one()
        self.assertEqual((answer.via.received, nat.lines()), ("198.51.100.9", []))

    def test_rport(self) -> None:
        """RFC 3581 4: with rport it goes back to where it came from, and says so."""
        nat = Peer(self.world.host, ("198.51.100.9", 33333))
        nat.send(self.world.request("OPTIONS", Via="SIP/2.0/UDP 10.0.0.1:5077;rport;branch=z9hG4bKn2"))
        self.assertEqual(
            nat.one().get("Via"), "SIP/2.0/UDP 10.0.0.1:5077;rport=33333;branch=z9hG4bKn2;received=198.51.100.9"
        )

    def test_as_it_is(self) -> None:
        """RFC 3261 18.2.1: no received where sent-by is the source; the other Vias stay as they are."""
        via = "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bKn3, SIP/2.0/TCP far.example.com;branch=z9hG4bKfar"
        self.bob.send(self.world.request("OPTIONS", Via=via))
        self.assertEqual(self.bob.one().get_all("Via"), [via])
        self.bob.send(self.world.request("OPTIONS", Via=via.replace("192.0.2.2", "bob.example.com")))
        self.assertEqual(
            self.bob.one().get_all("Via"),
            [
                "SIP/2.0/UDP bob.example.com;branch=z9hG4bKn3;received=192.0.2.2",
                "SIP/2.0/TCP far.example.com;branch=z9hG4bKfar",
            ],
        )

    def test_no_reflection(self) -> None:
        """RFC 3261 18.2.1: a received, an rport or a maddr of the peer's own doesn't send our answer elsewhere."""
        victim = Peer(self.world.host, ("203.0.113.1", 5060))
        for trick in ("received=203.0.113.1", "received=203.0.113.1;rport=5060", "maddr=203.0.113.1"):
            self.bob.send(self.world.request("OPTIONS", Via=f"SIP/2.0/UDP 192.0.2.2;{trick};branch=z9hG4bK{trick[:5]}"))
            answer = self.bob.one()
            self.assertEqual(answer.status, 200)
            self.assertIn(answer.via.received, (None, "192.0.2.2"))
        self.assertEqual(victim.lines(), [])

    def test_strange_responses(self) -> None:
        """RFC 3261 18.1.2: a response is dropped when it matches nothing, or its sent-by isn't ours."""
        self.world.dial()
        invite = self.bob.one()
        ringing = respond(invite, 180, to_tag="b")
        for via in (
            invite.get("Via").replace("z9hG4bK", "z9hG4bKx"),
            invite.get("Via").replace("192.0.2.1", "192.0.2.77"),
        ):
            ringing.set("Via", via)
            self.bob.send(ringing)
        self.assertEqual((self.world.witness.heard, self.world.agent.counters["stray_responses"]), ([], 2))
        self.bob.respond(invite, 486)
        self.assertEqual(self.world.witness.heard, ["refused 486"])

    def test_unspecified(self) -> None:
        """Bound to 0.0.0.0, Via and Contact hold the address of the route to the peer; `advertise` stands in for it."""
        for advertise, host in ((None, "192.0.2.1"), ("203.0.113.7", "203.0.113.7")):
            world = World()
            world.agent.listeners._advertise = advertise
            world.agent.listeners._all.clear()
            world.agent.listen("udp", ("0.0.0.0", 5080))
            world.dial()
            invite = world.bob.one()
            self.assertEqual((invite.via.host, invite.via.port), (host, 5080))
            self.assertEqual(invite.get("Contact"), f"<sip:{host}:5080>")

    def test_ipv6(self) -> None:
        """RFC 3261 19.1.1, RFC 5118: IPv6 in Via, Contact and Request-URI, in brackets."""
        here, there = ("2001:db8::1", 5060), ("2001:db8::2", 5060)
        self.world.agent.listen("udp", here)
        carol = Peer(self.world.host, there, here)
        session = self.world.dial("sip:carol@[2001:db8::2]")
        invite = carol.one()
        self.assertEqual((invite.via.host, invite.get("Contact")), ("2001:db8::1", "<sip:[2001:db8::1]:5060>"))
        carol.respond(invite, 200, contact="<sip:carol@[2001:db8::2]:5060>")
        self.assertEqual(carol.lines(), ["ACK"])
        session.bye()
        self.assertEqual(carol.one().uri, "sip:carol@[2001:db8::2]:5060")

    def test_trace(self) -> None:
        """UserAgent.trace: every message, in and out, with both addresses."""
        events: list[TraceEvent] = []
        self.world.agent.trace = events.append
        self.bob.send(self.world.request("OPTIONS"))
        self.assertEqual(
            [(one.sent, one.source, one.destination) for one in events], [(False, BOB, US), (True, US, BOB)]
        )
        self.assertEqual({one.transport for one in events}, {"UDP"})
        self.assertTrue(events[1].data.startswith(b"SIP/2.0 200 OK\r\n"))


class LifetimeTests(SynchronousTestCase):
    """Architecture, "Learned by trying": what belongs to a call has slots, and is freed when the call is over."""

    def calls(self, world: World) -> None:
        """Make a call of every sort, and bring most of them to their end."""
        world.answered()[0].bye()
        world.bob.take()
        for status in (486, 200):
            session = world.dial()
            invite = world.bob.one()
            world.bob.respond(invite, 180)
            session.cancel()
            world.bob.respond(invite, status)
            world.bob.take()
        session, invite = world.answered()
        world.bob.send(world.bye(invite))
        world.dial()
        world.bob.take()
        session, invite = world.called()
        world.bob.send(world.cancel(invite))
        world.agent.counters.clear()
        for number in (1, 2):
            invite = world.request(call_id=f"n{number}")
            world.bob.send(invite)
            world.sessions[-1].answer(ANSWER)
            tag = world.sessions[-1].local_tag
            if number == 1:
                world.bob.send(world.request("ACK", to_tag=tag, call_id="n1"))
                world.bob.send(world.request(to_tag=tag, call_id="n1", cseq=2))
                world.bob.send(world.request("ACK", to_tag=tag, call_id="n1", cseq=2))
                world.sessions[-1].bye()
        world.sessions.clear()
        world.witness.arguments.clear()

    def test_freed_without_the_collector(self) -> None:
        """No reference cycle survives a call: with the collector off, what belonged to calls is freed."""
        world = World()
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        kinds = (Session, Dialog, Unacknowledged, ClientTransaction, ServerTransaction, Message)
        before = {id(one) for one in gc.get_objects() if isinstance(one, kinds)}
        self.calls(world)
        self.assertGreater(len(world.agent._sessions), 3)
        self.assertEqual(world.leftovers(), [])
        world.bob.inbox.clear()
        world.witness.arguments.clear()
        left = [one for one in gc.get_objects() if isinstance(one, kinds) and id(one) not in before]
        self.assertEqual(left, [])

    def test_slots(self) -> None:
        """What exists per call has no ``__dict__``."""
        world = World("udp", "tcp")
        session, _invite = world.answered()
        incoming, _invite = world.called()
        incoming.answer(ANSWER)
        wire = world.host.connect(("192.0.2.2", 40001))
        transactions = [*world.agent.transactions.client.values(), *world.agent.transactions.server.values()]
        unacknowledged = next(iter(incoming._unacked.values()))
        flows = [transactions[0].flow, wire.protocol._flow]
        for one in (session, incoming, session.dialog, unacknowledged, *transactions, *flows):
            self.assertFalse(hasattr(one, "__dict__"), one)

    def test_close(self) -> None:
        """UserAgent.close: no timer, port or session is left, in whatever state; twice gives the same outcome."""
        world = World("udp", "tcp")
        self.calls(world)
        world.bob.take()
        world.bob.send(world.request(call_id="waiting"))
        waiting = world.sessions.pop()
        waiting.ring()
        waiting.answer(ANSWER)
        done = waiting.bye()
        world.host.slow["slow.example.com"] = Deferred()
        world.dial("sip:x@slow.example.com")
        closed, again = world.agent.close(), world.agent.close()
        world.host.advance(0)
        self.successResultOf(closed)
        self.successResultOf(again)
        self.successResultOf(done)
        self.successResultOf(world.agent.close())
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertEqual((world.host.ports, world.host.listeners, world.agent._sessions), ({}, {}, {}))
        world.witness.heard.clear()
        world.dial()
        world.host.advance(0)
        self.assertEqual(world.witness.heard, ["refused 0"])
