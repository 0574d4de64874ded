"""Bounds and odd ends of SIP that a mutation run showed nobody to hold fast (``tests/mutation``).

Each test is one edge: the first value behind a limit, the last in front of it, a counter, a branch that only an unusual
peer takes. What is ordinary is in the other modules of this package.
"""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.interfaces import Address
from telephony.sip.headers import parse_via
from telephony.sip.message import Response, respond
from telephony.sip.parser import MAX_FIELDS, MAX_LINE, StreamParser, UnparsableMessage, parse_message
from telephony.sip.session import SessionState
from telephony.sip.timers import Timers
from telephony.sip.transaction import ClientState, ServerInput, ServerState, Transactions, server_key
from telephony.sip.transport import tcp
from telephony.trace.events import TraceEvent
from tests.sip.fakes import ANSWER, BOB, US, FakeWire, Peer, World, uri
from tests.sip.test_transaction import Line, request

HEAD = (
    b"Via: SIP/2.0/UDP a.example.com;branch=z9hG4bK1\r\nFrom: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\n"
    b"Call-ID: 1@a\r\nCSeq: 1 OPTIONS\r\n"
)
OPTIONS = b"OPTIONS sip:b@example.com SIP/2.0\r\n" + HEAD


class MessageTests(SynchronousTestCase):
    """Reading and copying."""

    def test_highest_port_in_rport(self) -> None:
        """RFC 3581 4: a port of five digits is one; 65536 is none, and counts as not filled in."""
        for text, port in (("65535", 65535), ("65536", None), ("0", None), ("1", 1), ("123456", None)):
            self.assertEqual(parse_via(f"SIP/2.0/UDP a;rport={text}").rport, port, text)

    def test_copy_keeps_the_version(self) -> None:
        """Message.copy: all of it, the version too."""
        response = Response(200)
        response.version = "SIP/7.0"
        self.assertEqual(response.copy().start_line, "SIP/7.0 200 OK")

    def test_record_route_of_a_redirection(self) -> None:
        """RFC 3261 12.1.1: Record-Route is copied into 101 to 299, not into what makes no dialog."""
        invite = request()
        invite.set("Record-Route", "<sip:p.example.com;lr>")
        for status, copied in ((101, True), (299, True), (300, False), (100, False)):
            self.assertEqual(respond(invite, status).has("Record-Route"), copied, status)

    def test_number_of_fields(self) -> None:
        """architecture.md rule 10: 256 header lines are read, 257 are not (513)."""
        present = HEAD.count(b"\r\n")
        parse_message(OPTIONS + b"Subject: x\r\n" * (256 - present) + b"\r\n")
        error = self.assertRaises(
            UnparsableMessage, parse_message, OPTIONS + b"Subject: x\r\n" * (257 - present) + b"\r\n"
        )
        self.assertEqual((error.status, MAX_FIELDS), (513, 256))

    def test_request_line_without_a_uri(self) -> None:
        """RFC 3261 7.1: a request line with nothing between method and version can't be parsed."""
        self.assertRaises(UnparsableMessage, parse_message, b"OPTIONS  SIP/2.0\r\n" + HEAD + b"\r\n")

    def test_line_too_long_is_not_kept(self) -> None:
        """architecture.md rule 10: what is too long isn't in the message that the refusal is made from."""
        long = b"Subject: " + b"x" * MAX_LINE + b"\r\n"
        error = self.assertRaises(UnparsableMessage, parse_message, OPTIONS + long + b"Priority: urgent\r\n\r\n")
        assert error.partial is not None
        self.assertEqual((error.partial.get("Subject"), error.partial.get("Priority")), (None, "urgent"))

    def test_lost_stream_keeps_nothing(self) -> None:
        """architecture.md rule 10: of a stream that is of no more use no byte is kept."""
        parser = StreamParser()
        self.assertRaises(UnparsableMessage, parser.feed, b"junk\r\n\r\n" + b"x" * 1000)
        self.assertEqual(len(parser._buffer), 0)

    def test_uri_headers_are_compared(self) -> None:
        """RFC 3261 19.1.4: URIs whose header components differ are two."""
        one = uri("sip:a@b?subject=tea")
        self.assertFalse(one.equals(uri("sip:a@b?subject=coffee")))
        self.assertTrue(one.equals(uri("sip:a@b?subject=t%65a")))

    def test_timer_values(self) -> None:
        """Timers: any time above 0 will do, so that a test or a local network may hurry; 0 will not."""
        Timers(t1=0.01, t2=0.02, t4=0.05)
        for name in ("t1", "t2", "t4"):
            self.assertRaises(ValueError, Timers, **{name: 0})


class TransactionTests(SynchronousTestCase):
    """The machines of RFC 3261 17, at their edges."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.line = Line(self.clock)
        self.all = Transactions(self.clock, Timers())

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)

    def test_classes_of_responses(self) -> None:
        """RFC 3261 7.2: 199 is provisional, 299 a success, 300 a refusal that is acknowledged here."""
        for number, (status, state) in enumerate(
            ((199, ClientState.PROCEEDING), (299, ClientState.ACCEPTED), (300, ClientState.COMPLETED))
        ):
            transaction = self.all.start(request(branch=f"z9hG4bK{number}"), self.line)
            transaction.receive(respond(transaction.request, status, to_tag="b"))
            self.assertIs(transaction.state, state, status)
        self.assertEqual(len(self.line.times("ACK")), 1)
        self.all.close()

    def test_classes_of_our_responses(self) -> None:
        """RFC 3261 17.2.1: our 300 is repeated until its ACK comes, our 299 is not (RFC 6026 7.1)."""
        for number, (status, state) in enumerate(
            ((199, ServerState.PROCEEDING), (299, ServerState.ACCEPTED), (300, ServerState.COMPLETED))
        ):
            made = request(branch=f"z9hG4bK{number}")
            transaction = self.all.accept(made, server_key(made), self.line)
            transaction.respond(respond(made, status, to_tag="b"))
            self.assertIs(transaction.state, state, status)
        self.pass_time(1)
        self.assertEqual([len(self.line.times(one)) for one in ("199", "299", "300")], [1, 1, 2])
        self.all.close()

    def test_unanswered(self) -> None:
        """`settle` waits for what has no final response: also where a provisional one came."""
        transaction = self.all.start(request("BYE"), self.line)
        for status, waiting in ((None, True), (100, True), (200, False)):
            if status is not None:
                transaction.receive(respond(transaction.request, status, to_tag="b"))
            self.assertIs(transaction.unanswered, waiting, status)
        self.all.close()

    def test_over_is_over(self) -> None:
        """RFC 3261 figures 6 and 8: a transaction whose last timer has run is terminated."""
        lonely = self.all.start(request("BYE"), self.line)
        trying = self.all.start(request("BYE", "z9hG4bKc"), self.line)
        trying.receive(respond(trying.request, 100))
        made = request("INFO", "z9hG4bKb")
        answered = self.all.accept(made, server_key(made), self.line)
        answered.respond(respond(made, 200, to_tag="b"))
        self.pass_time(33)
        self.assertEqual((lonely.state, trying.state), (ClientState.TERMINATED, ClientState.TERMINATED))
        self.assertIs(answered.state, ServerState.TERMINATED)

    def test_nothing_is_sent_once_closed(self) -> None:
        """Transactions.close: whoever still holds a transaction sends nothing with it."""
        made = request()
        transaction = self.all.accept(made, server_key(made), self.line)
        self.all.close()
        transaction.respond(respond(made, 200, to_tag="b"))
        transaction.feed(ServerInput.REQUEST)
        self.assertEqual(self.line.sent, [])


class CallTests(SynchronousTestCase):
    """Sessions, judged by what the far end sees."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.heard = self.world.witness.heard

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def test_redirection_is_a_refusal(self) -> None:
        """RFC 3261 7.2: 300 is no success."""
        session = self.world.dial()
        self.bob.respond(self.bob.one(), 300, contact=None)
        self.assertEqual((self.heard, self.bob.lines()), (["refused 300"], ["ACK"]))
        self.assertIs(session.state, SessionState.ENDED)

    def test_default_max_forwards(self) -> None:
        """RFC 3261 8.1.1.6: 70, where nothing else is asked for."""
        self.world.dial()
        invite = self.bob.one()
        self.assertEqual(invite.max_forwards, 70)
        self.bob.respond(invite, 486)

    def test_to_of_a_call(self) -> None:
        """RFC 3261 table 1: To has no port, transport, maddr, ttl or lr; what says who is called stays."""
        self.world.dial("sip:bob@192.0.2.9:5060;maddr=192.0.2.2;ttl=3;lr;transport=udp;user=phone")
        invite = self.bob.one()
        self.assertEqual(invite.get("To"), "<sip:bob@192.0.2.9;user=phone>")
        self.bob.respond(invite, 486)

    def test_stray_request_behind_the_answer(self) -> None:
        """RFC 3261 12.2.2: another fork's request, BYE apart, is 481 once the call is answered by the first."""
        session, invite = self.world.answered()
        self.bob.send(self.world.bye(invite, tag="other", method="INFO"))
        self.assertEqual(self.bob.lines(), ["481 INFO"])
        session.bye()
        self.bob.respond(self.bob.one(), 200)

    def test_stray_request_long_behind_the_answer(self) -> None:
        """RFC 3261 12.2.2: when no fork's 2xx can come any more, its BYE belongs to no dialog: 481."""
        session, invite = self.world.answered()
        self.world.host.advance(40)
        self.bob.send(self.world.bye(invite, tag="other"))
        self.assertEqual(self.bob.lines(), ["481 BYE"])
        session.bye()
        self.bob.respond(self.bob.one(), 200)

    def test_reinvite_without_ack(self) -> None:
        """RFC 3261 13.3.1.4: in a call of ours too, a 2xx to a re-INVITE without its ACK ends the call."""
        session, invite = self.world.answered()
        self.bob.send(self.world.bye(invite, method="INVITE"))
        self.world.host.advance(33)
        lines = self.bob.lines()
        self.assertEqual((set(lines), lines[-1]), ({"200 INVITE", "BYE"}, "BYE"))
        self.assertEqual(self.heard[-1], "unconfirmed")
        self.assertIs(session.state, SessionState.ENDED)

    def test_request_behind_our_bye(self) -> None:
        """RFC 3261 15.1.1: the dialog is over as the BYE goes out: an INFO that crosses it is 481."""
        session, invite = self.world.answered()
        session.bye()
        bye = self.bob.one()
        self.bob.send(self.world.bye(invite, method="INFO"))
        self.assertEqual(self.bob.lines(), ["481 INFO"])
        self.bob.respond(bye, 200)

    def test_owner_is_let_go(self) -> None:
        """SessionObserver: over is over: the session doesn't keep hold of whoever watched it."""
        session, invite = self.world.answered()
        self.bob.send(self.world.bye(invite))
        self.assertIsNone(session.observer)
        self.assertEqual(self.heard, ["answered", "ended"])

    def test_rejected_before_the_ack(self) -> None:
        """RFC 3261 15: a refusal behind our 2xx is a BYE, which waits for the ACK."""
        session, _invite = self.world.called()
        session.answer(ANSWER)
        self.bob.take()
        session.reject(603)
        self.assertEqual(self.bob.lines(), [])
        self.bob.send(self.world.request("ACK", to_tag=session.local_tag))
        self.assertEqual(self.bob.lines(), ["BYE"])

    def test_redirecting_names_nobody(self) -> None:
        """RFC 3261 21.3: a 3xx of ours has the Contact we are given, never our own, which would call us again."""
        session, invite = self.world.called()
        session.reject(300)
        refusal = self.bob.one()
        self.assertEqual((refusal.status, refusal.get("Contact")), (300, None))
        self.world.host.advance(1)
        self.assertEqual(self.bob.lines(), ["300 INVITE"])
        self.bob.send(self.world.ack(invite, refusal))

    def test_retry_after(self) -> None:
        """RFC 3261 14.2: Retry-After is 0 to 10 s, each of them."""
        session, invite = self.world.called()
        self.assertEqual({int(session._a_moment()) for _ in range(1000)}, set(range(11)))
        self.bob.send(self.world.cancel(invite))

    def test_ringing_in_the_callback(self) -> None:
        """RFC 3261 17.2.1: no 100 behind a 180 that has gone out already."""
        self.world.agent.on_invite = lambda session: session.ring()
        invite = self.world.request()
        self.bob.send(invite)
        self.assertEqual(self.bob.lines(), ["180 INVITE"])
        self.bob.send(self.world.cancel(invite))

    def test_tag_of_a_cancel(self) -> None:
        """RFC 3261 9.2: the responses to a CANCEL and to its INVITE have one tag, also where only a 100 came before."""
        _session, invite = self.world.called()
        self.bob.send(self.world.cancel(invite))
        first, second = self.bob.take()
        self.assertEqual({first.status, second.status}, {200, 487})
        self.assertEqual(first.to.tag, second.to.tag)
        self.bob.send(self.world.ack(invite, second))

    def test_optional_body_in_other_words(self) -> None:
        """RFC 3261 20.11: ``handling`` is told in any case, and with spaces around its sign."""
        self.world.welcome()
        invite = self.world.request(Content_Type="text/plain", Content_Disposition="session; Handling = Optional")
        self.bob.send(invite)
        self.assertEqual(self.bob.lines(), ["100 INVITE"])
        self.bob.send(self.world.cancel(invite))

    def test_counters(self) -> None:
        """UserAgent.counters: repetitions, keep-alives and faults are counted up."""

        def fail(_session: object) -> None:
            raise ZeroDivisionError

        counters = self.world.agent.counters
        self.bob.send(b"\r\n\r\n")
        self.bob.send(b"\r\n\r\n")
        self.assertEqual(counters["keep_alives"], 2)
        _session, invite = self.world.called()
        self.bob.send(invite)
        self.bob.send(invite)
        self.assertEqual(counters["retransmissions"], 2)
        self.bob.send(self.world.cancel(invite))
        self.world.agent.on_invite = fail
        self.bob.send(self.world.request(call_id="faulty"))
        self.assertEqual((counters["faults"], len(self.flushLoggedErrors(ZeroDivisionError))), (1, 1))

    def test_tag_of_a_refusal(self) -> None:
        """UserAgent: a tag made without keeping anything is as short as any other."""
        self.bob.send(self.world.request("INFO"))
        self.assertEqual(len(self.bob.one().to.tag), 16)


class WayTests(SynchronousTestCase):
    """Which port a message leaves by."""

    def test_route_is_remembered(self) -> None:
        """OwnAddress: the system is asked once for the way to a peer, and again when the answer is old."""
        world = World()
        world.agent.listen("udp", ("0.0.0.0", 5090))
        asked: list[Address] = []

        def source_address(destination: Address) -> str:
            asked.append(destination)
            return US[0]

        self.patch(world.host, "source_address", source_address)
        bob = Peer(world.host, BOB, ("0.0.0.0", 5090))
        world.agent.trace = list[TraceEvent]().append
        for _ in range(3):
            bob.send(world.request("OPTIONS"))
        self.assertEqual((len(asked), bob.lines()), (1, ["200 OPTIONS"] * 3))
        world.host.advance(31)
        bob.send(world.request("OPTIONS"))
        self.assertEqual(len(asked), 2)

    def test_udp_flow_stays(self) -> None:
        """UserAgent.renewed: a port has no connection that could be gone."""
        world = World()
        session, _invite = world.called()
        flow = session.dialog.flow
        self.assertIs(world.agent.renewed(flow), flow)

    def test_port_of_the_call(self) -> None:
        """RFC 3581 4, 5626: with two ports of one address a call goes on by the one it came by."""
        world = World()
        world.agent.listen("udp", (US[0], 5090))
        second = Peer(world.host, BOB, (US[0], 5090))
        world.welcome()
        second.send(world.request())
        session = world.sessions[0]
        session.answer(ANSWER)
        second.send(world.request("ACK", to_tag=session.local_tag))
        world.host.sent.clear()
        session.bye()
        [(data, source, _destination)] = world.host.sent
        self.assertEqual((data[:3], source), (b"BYE", (US[0], 5090)))

    def test_contact_over_another_transport(self) -> None:
        """RFC 3261 12.2.1.1, 19.1.1: a Contact with ;transport=tcp is reached over TCP, though the call came by UDP."""
        world = World("udp", "tcp")
        world.welcome()
        world.bob.send(world.request(Contact="<sip:bob@192.0.2.2;transport=tcp>"))
        session = world.sessions[0]
        session.answer(ANSWER)
        world.bob.send(world.request("ACK", to_tag=session.local_tag))
        world.bob.take()
        session.bye()
        self.assertEqual((world.bob.lines(), len(world.host.attempts)), ([], 1))
        world.host.accept().end()

    def test_advertised_address_on_loopback(self) -> None:
        """UserAgent: the address for the far side of a NAT means nothing on this machine, by either family."""
        world = World()
        world.agent = type(world.agent)(world.host, advertise="198.51.100.1")
        world.agent.listen("udp", ("::1", 5060))
        here = Peer(world.host, ("::1", 5070), ("::1", 5060))
        world.dial("sip:bob@[::1]:5070")
        self.assertEqual(here.one().get("Contact"), "<sip:[::1]:5060>")


class ConnectionTests(SynchronousTestCase):
    """TCP at its edges."""

    def setUp(self) -> None:
        self.world = World("tcp")
        self.host = self.world.host

    def test_trace(self) -> None:
        """UserAgent.trace: over a connection too, both ways."""
        events: list[TraceEvent] = []
        self.world.agent.trace = events.append
        wire = self.host.connect((BOB[0], 40001))
        options = self.world.request("OPTIONS")
        options.set("Via", f"SIP/2.0/TCP 192.0.2.2;branch={options.via.branch}")
        wire.send(options)
        self.assertEqual([(one.sent, one.transport) for one in events], [(False, "TCP"), (True, "TCP")])

    def test_nothing_is_traced_unasked(self) -> None:
        """UserAgent.tracing: without a trace nobody is told."""
        told: list[object] = []
        self.patch(type(self.world.agent), "traced", lambda *arguments: told.append(arguments))
        wire = self.host.connect((BOB[0], 40001))
        wire.send(b"\r\n\r\n")
        self.assertEqual((told, wire.written), ([], b"\r\n"))

    def test_counters(self) -> None:
        """UserAgent.counters: keep-alives and refused connections are counted up."""
        self.patch(tcp, "MAX_CONNECTIONS", 1)
        wire = self.host.connect((BOB[0], 40001))
        wire.send(b"\r\n\r\n" * 3)
        self.assertEqual(self.world.agent.counters["keep_alives"], 3)
        self.assertRaises(AssertionError, self.host.connect, (BOB[0], 2))
        self.assertEqual(self.world.agent.counters["connections_refused"], 1)

    def test_settle_waits_for_each_connection(self) -> None:
        """UserAgent.settle: one connection being opened is enough to wait, whatever others are open."""
        self.host.connect((BOB[0], 40001))
        session = self.world.dial("sip:bob@192.0.2.3;transport=tcp")
        session.cancel()
        for transaction in tuple(self.world.agent.transactions.client.values()):
            transaction.abandon()
        settled = self.world.agent.settle(3)
        self.host.advance(1)
        self.assertNoResult(settled)
        self.host.accept()
        self.host.advance(1)
        self.successResultOf(settled)

    def test_peer_that_does_not_let_go(self) -> None:
        """UserAgent.close: a connection whose far end doesn't answer the close is aborted after `CLOSE_TIMEOUT`."""
        wire = self.host.connect((BOB[0], 40001))
        closing: list[FakeWire] = []
        aborted: list[FakeWire] = []
        self.patch(wire, "loseConnection", lambda: closing.append(wire))

        def abort() -> None:
            aborted.append(wire)
            wire.end()

        self.patch(wire, "abortConnection", abort)
        closed = self.world.agent.close()
        self.host.advance(tcp.CLOSE_TIMEOUT - 0.1)
        self.assertNoResult(closed)
        self.assertEqual((len(closing), len(aborted)), (1, 0))
        self.host.advance(0.2)
        self.successResultOf(closed)
        self.assertEqual(len(aborted), 1)
