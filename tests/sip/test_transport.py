"""SIP over TCP: framing, connections used both ways, what happens when they end (RFC 3261 18, RFC 5626 4.4.1)."""

from __future__ import annotations

import itertools

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.message import Request, respond
from telephony.sip.session import SessionState
from telephony.sip.transport import connection, tcp
from tests.sip.fakes import ANSWER, BOB, FakeWire, World, line

#: Where Bob's connections come from.
BOB_SOURCE = (BOB[0], 40001)


class TcpCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World("tcp", "udp")
        self.world.welcome()
        self.host = self.world.host
        self.heard = self.world.witness.heard

    def tearDown(self) -> None:
        closed = self.world.agent.close()
        self.host.advance(0)
        self.successResultOf(closed)
        self.assertEqual((self.world.clock.getDelayedCalls(), self.host.wires), ([], []))

    def request(self, *arguments: object, via: str = "192.0.2.2", **fields: object) -> Request:
        """Return a request of Bob's, over TCP."""
        request = self.world.request(*arguments, **fields)  # type: ignore[arg-type]
        request.set("Via", f"SIP/2.0/TCP {via};branch={request.via.branch}")
        return request

    def lines(self, wire: FakeWire) -> list[str]:
        return [line(one) for one in wire.take()]

    def one(self, wire: FakeWire) -> Request:
        taken = wire.take()
        self.assertEqual(len(taken), 1, taken)
        assert isinstance(taken[0], Request)
        return taken[0]

    def talking(self, wire: FakeWire, contact: str = "<sip:bob@192.0.2.2;transport=tcp>") -> str:
        """Let Bob call over a connection; return our tag."""
        wire.send(self.request(Contact=contact))
        session = self.world.sessions[-1]
        session.answer(ANSWER)
        wire.send(self.request("ACK", to_tag=session.local_tag))
        self.assertEqual(self.lines(wire), ["100 INVITE", "200 INVITE"])
        self.assertEqual(self.heard, ["confirmed"])
        return str(session.local_tag)


class FramingTests(TcpCase):
    def test_split_anywhere(self) -> None:
        """RFC 3261 18.3: the way a stream is cut makes no difference; two messages in a piece are two."""
        wire = self.host.connect(BOB_SOURCE)
        data = self.request("OPTIONS").to_bytes() + b"\r\n\r\n" + self.request("OPTIONS").to_bytes()
        for byte in data:
            wire.send(bytes([byte]))
        self.assertEqual(self.lines(wire), ["200 OPTIONS", "200 OPTIONS"])
        wire.send(self.request("OPTIONS").to_bytes() + self.request("OPTIONS").to_bytes())
        self.assertEqual(self.lines(wire), ["200 OPTIONS", "200 OPTIONS"])

    def test_keep_alive(self) -> None:
        """RFC 5626 4.4.1: CRLF CRLF is answered with CRLF."""
        wire = self.host.connect(BOB_SOURCE)
        wire.send(b"\r\n\r\n")
        self.assertEqual(wire.written, b"\r\n")

    def test_framing_lost(self) -> None:
        """RFC 3261 18.3, 20.14: without Content-Length nobody knows where the next message begins: 400, and the end.

        What came complete before it is dealt with first.
        """
        wire = self.host.connect(BOB_SOURCE)
        bad = self.request("OPTIONS").to_bytes().replace(b"Content-Length: 0\r\n", b"")
        wire.send(self.request("OPTIONS").to_bytes() + bad + b"more")
        self.assertEqual(self.lines(wire), ["200 OPTIONS", "400 OPTIONS"])
        wire.send(self.request("OPTIONS").to_bytes())
        self.assertEqual(self.lines(wire), [])
        self.host.advance(0)
        self.assertEqual(self.host.wires, [])

    def test_nothing_but_noise(self) -> None:
        """Architecture rule 3: what isn't SIP at all ends the connection without a word."""
        wire = self.host.connect(BOB_SOURCE)
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.host.advance(0)
        self.assertEqual((wire.written, self.host.wires), (b"", []))


class ReuseTests(TcpCase):
    def test_via_and_contact(self) -> None:
        """RFC 3261 18.1.1: over TCP they name the port we listen on, and no rport is asked for."""
        self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        invite = self.one(self.host.accept())
        self.assertEqual(invite.get("Via"), f"SIP/2.0/TCP 192.0.2.1:5060;branch={invite.via.branch}")
        self.assertEqual(invite.get("Contact"), "<sip:192.0.2.1:5060;transport=tcp>")

    def test_sent_in_order_once_open(self) -> None:
        """The order of sends is the order of asking, also for what waits for a connection; one is opened, not two."""
        first = self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        second = self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        self.assertEqual(len(self.host.attempts), 1)
        wire = self.host.accept()
        self.assertEqual([one.call_id for one in wire.take()], [first.call_id, second.call_id])
        self.host.advance(20)
        self.assertEqual(self.lines(wire), [])  # nothing is sent again over TCP

    def test_call_out(self) -> None:
        """RFC 3261 18: INVITE, ACK, BYE over the one connection to the peer, and its BYE comes by it too."""
        session = self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        wire = self.host.accept()
        invite = self.one(wire)
        ok = respond(invite, 200, to_tag="b")
        ok.set("Contact", "<sip:bob@192.0.2.2:5060;transport=tcp>")
        wire.send(ok)
        self.assertEqual(self.lines(wire), ["ACK"])
        session.bye()
        self.assertEqual(self.lines(wire), ["BYE"])
        self.assertEqual((self.host.attempts, self.heard), ([], ["answered"]))

    def test_responses_on_the_same_connection(self) -> None:
        """RFC 3261 18.2.2: a response goes by the connection its request came by, whatever the Via says."""
        wire = self.host.connect(BOB_SOURCE)
        wire.send(self.request("OPTIONS", via="10.0.0.1:5070"))
        answer = wire.take()[0]
        self.assertEqual((answer.via.received, self.host.attempts), ("192.0.2.2", []))

    def test_response_when_the_connection_is_gone(self) -> None:
        """RFC 3261 18.2.2: a new one is opened to the received address and the port of sent-by."""
        wire = self.host.connect(BOB_SOURCE)
        invite = self.request(via="10.0.0.1:5070")
        wire.send(invite)
        wire.end()
        self.world.sessions[0].answer(ANSWER)
        self.assertEqual([where for where, _, _ in self.host.attempts], [("192.0.2.2", 5070)])
        fresh = self.host.accept()
        self.assertEqual(self.lines(fresh), ["200 INVITE"])
        fresh.send(self.request("ACK", to_tag=self.world.sessions[0].local_tag))
        self.assertEqual(self.heard, ["confirmed"])

    def test_in_dialog_by_the_connection_it_came_by(self) -> None:
        """RFC 3261 18: the caller's connection carries our BYE, since a Contact behind a NAT leads nowhere."""
        wire = self.host.connect(BOB_SOURCE)
        self.talking(wire, "<sip:bob@10.0.0.1:5070;transport=tcp>")
        self.world.sessions[0].bye()
        self.assertEqual((self.lines(wire), self.host.attempts), (["BYE"], []))

    def test_proxy_that_left(self) -> None:
        """RFC 3261 12.2.1.1: behind a proxy without Record-Route, requests go to the Contact, not to the proxy."""
        wire = self.host.connect(BOB_SOURCE)
        invite = self.request(Contact="<sip:bob@192.0.2.4;transport=tcp>")
        invite.add("Via", "SIP/2.0/TCP 192.0.2.4;branch=z9hG4bKfar")
        wire.send(invite)
        session = self.world.sessions[0]
        session.answer(ANSWER)
        wire.send(self.request("ACK", to_tag=session.local_tag))
        session.bye()
        self.assertEqual([where for where, _, _ in self.host.attempts], [("192.0.2.4", 5060)])


class LossTests(TcpCase):
    def test_flow_drops_in_mid_call(self) -> None:
        """transfer.md R37: the call goes on, and the next request opens a connection to the remote target."""
        wire = self.host.connect(BOB_SOURCE)
        tag = self.talking(wire)
        wire.end()
        self.host.advance(60)
        self.assertEqual(self.heard, ["confirmed"])
        session = self.world.sessions[0]
        self.assertEqual(session.state, SessionState.CONFIRMED)
        session.bye()
        self.assertEqual([where for where, _, _ in self.host.attempts], [BOB])
        fresh = self.host.accept()
        bye = self.one(fresh)
        self.assertEqual((bye.method, bye.from_.tag), ("BYE", tag))

    def test_peer_comes_back_by_another_connection(self) -> None:
        """transfer.md R37: a request in the dialog is taken from any connection."""
        wire = self.host.connect(BOB_SOURCE)
        tag = self.talking(wire)
        wire.end()
        fresh = self.host.connect((BOB[0], 40002))
        fresh.send(self.request("BYE", to_tag=tag, cseq=2))
        self.assertEqual((self.lines(fresh), self.heard), (["200 BYE"], ["confirmed", "ended"]))

    def test_own_connection_drops(self) -> None:
        """transfer.md R37: the same for a call of ours."""
        session = self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        wire = self.host.accept()
        ok = respond(self.one(wire), 200, to_tag="b")
        ok.set("Contact", "<sip:bob@192.0.2.2;transport=tcp>")
        wire.send(ok)
        wire.end()
        session.bye()
        self.assertEqual(self.lines(self.host.accept()), ["BYE"])

    def test_cancel_when_the_connection_is_gone(self) -> None:
        """RFC 3261 9.1, 18: CANCEL follows the INVITE to its address by a new connection."""
        session = self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        wire = self.host.accept()
        wire.send(respond(self.one(wire), 180, to_tag="b"))
        wire.end()
        session.cancel()
        self.assertEqual(self.lines(self.host.accept()), ["CANCEL"])

    def test_refused(self) -> None:
        """transfer.md R5: a connection that can't be opened is reported at once, in a turn of its own."""
        self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        self.host.refuse()
        self.assertEqual(self.heard, [])
        self.host.advance(0)
        self.assertEqual(self.heard, ["refused 0"])
        self.assertIn("192.0.2.2 port 5060", self.world.witness.arguments[0][1])

    def test_lost_before_any_response(self) -> None:
        """transfer.md R5: a connection that ends before any response came is a transport failure."""
        self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        self.host.accept().end()
        self.host.advance(0)
        self.assertEqual(self.heard, ["refused 0"])

    def test_lost_while_ringing(self) -> None:
        """RFC 3261 18.2.2: once it rings, the answer may come by a connection that the peer opens."""
        session = self.world.dial("sip:bob@192.0.2.2;transport=tcp")
        wire = self.host.accept()
        invite = self.one(wire)
        wire.send(respond(invite, 180, to_tag="b"))
        wire.end()
        self.host.advance(1)
        fresh = self.host.connect((BOB[0], 40002))
        ok = respond(invite, 200, to_tag="b")
        ok.set("Contact", "<sip:bob@192.0.2.2;transport=tcp>")
        fresh.send(ok)
        self.assertEqual(self.heard, ["progress 180", "answered"])
        self.assertEqual(self.lines(self.host.accept()), ["ACK"])
        session.bye()

    def test_slow_peer(self) -> None:
        """Architecture, "Bounded everything": a connection whose peer doesn't read is given up."""
        wire = self.host.connect(BOB_SOURCE)
        wire.producer.pauseProducing()
        self.patch(connection, "MAX_QUEUE", 1000)
        for _ in range(5):
            if wire.open:
                wire.send(self.request("OPTIONS"))
        self.host.advance(0)
        self.assertEqual((self.host.wires, self.world.agent.counters["connections_too_slow"]), ([], 1))

    def test_slow_peer_that_pings(self) -> None:
        """RFC 5626 4.4.1: the answers to keep-alives wait as all else does, and a peer that reads none is given up."""
        wire = self.host.connect(BOB_SOURCE)
        wire.producer.pauseProducing()
        for _ in range(tcp.MAX_QUEUE // 2 // 1000 + 1):
            if wire.open:
                wire.send(b"\r\n\r\n" * 1000)
                wire.producer.pauseProducing()  # as Twisted does at each write while its buffer is full
        self.host.advance(0)
        self.assertEqual((self.host.wires, self.world.agent.counters["connections_too_slow"]), ([], 1))

    def test_too_many_connections(self) -> None:
        """Architecture, "Bounded everything": further connections are closed as they come."""
        self.patch(tcp, "MAX_CONNECTIONS", 2)
        self.host.connect((BOB[0], 1))
        self.host.connect((BOB[0], 2))
        self.assertRaises(AssertionError, self.host.connect, (BOB[0], 3))
        self.host.wires[0].end()
        self.host.connect((BOB[0], 4))

    def test_close(self) -> None:
        """UserAgent.close: connections are closed, one that doesn't go is aborted; attempts are given up."""
        self.host.connect(BOB_SOURCE)
        self.world.dial("sip:bob@192.0.2.3;transport=tcp")
        attempt = self.host.attempts[0][2]
        closed = self.world.agent.close()
        self.assertNoResult(closed)
        self.host.advance(0)
        self.successResultOf(closed)
        self.assertTrue(attempt.called)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])


class TimeTests(TcpCase):
    """How long connections may take, and how many there may be (architecture, "Bounded everything")."""

    def count(self, name: str) -> int:
        return self.world.agent.counters[name]

    def test_idle(self) -> None:
        """A connection that no dialog needs is closed after ten minutes of silence, and not before."""
        wire = self.host.connect(BOB_SOURCE)
        wire.send(self.request("OPTIONS"))
        self.host.advance(connection.IDLE_TIMEOUT - 1)
        self.assertTrue(wire.open)
        self.host.advance(1 + tcp.SWEEP_EVERY)
        self.assertEqual((self.host.wires, self.count("connections_idle")), ([], 1))

    def test_idle_but_needed(self) -> None:
        """One that a dialog came by is kept, however long nothing is said; so is one that was asked to be held."""
        wire = self.host.connect(BOB_SOURCE)
        self.talking(wire)
        other = self.host.connect((BOB[0], 40002))
        other.send(self.request("OPTIONS", call_id="2"))
        held = self.world.agent.listeners._streams[0]._by_remote[(BOB[0], 40002), None]
        held.hold()
        self.host.advance(3 * connection.IDLE_TIMEOUT)
        self.assertTrue(wire.open and other.open)
        held.let_go()
        self.world.sessions[0].bye()
        wire.take()
        self.host.advance(connection.IDLE_TIMEOUT + 2 * tcp.SWEEP_EVERY + 64)
        self.assertEqual(self.host.wires, [])

    def test_kept_by_pings(self) -> None:
        """RFC 5626 4.4.1: a phone that pings keeps its connection."""
        wire = self.host.connect(BOB_SOURCE)
        wire.send(b"\r\n\r\n")
        for _ in range(20):
            self.host.advance(110)
            wire.send(b"\r\n\r\n")
        self.assertTrue(wire.open)

    def test_says_nothing(self) -> None:
        """Whoever connects and says nothing is not waited for."""
        self.host.connect(BOB_SOURCE)
        self.host.advance(connection.GREETING_TIMEOUT + tcp.SWEEP_EVERY)
        self.assertEqual((self.host.wires, self.count("connections_silent")), ([], 1))

    def test_slow_sender(self) -> None:
        """A message that trickles in, a byte a second, ends the connection; the next one on it doesn't help."""
        wire = self.host.connect(BOB_SOURCE)
        wire.send(self.request("OPTIONS"))
        data = self.request("OPTIONS").to_bytes()
        for byte in data:
            if wire.open:
                wire.send(bytes([byte]))
                self.host.advance(1)
        self.assertEqual((self.host.wires, self.count("senders_too_slow")), ([], 1))

    def test_many_messages_are_not_slow(self) -> None:
        """A stream that never ends between two messages is no slow one: each message has its own time."""
        wire = self.host.connect(BOB_SOURCE)
        data = [self.request("OPTIONS").to_bytes() for _ in range(20)]
        wire.send(data[0][:50])
        for one, following in itertools.pairwise(data):
            self.host.advance(5)
            wire.send(one[50:] + following[:50])
        self.assertTrue(wire.open)

    def test_from_one_source(self) -> None:
        """One address has a share of the connections only; another is still let in."""
        self.patch(tcp, "MAX_FROM_ONE", 2)
        self.host.connect((BOB[0], 1))
        self.host.connect((BOB[0], 2))
        self.assertRaises(AssertionError, self.host.connect, (BOB[0], 3))
        self.host.connect(("192.0.2.3", 1))
        self.host.wires[0].end()
        self.host.connect((BOB[0], 4))
        self.assertEqual(self.count("connections_refused"), 1)

    def test_configured_limit(self) -> None:
        """UserAgent ``most_connections``: what this process has descriptors for."""
        self.world.agent.listeners._streams[0].most = 1
        self.host.connect((BOB[0], 1))
        self.assertRaises(AssertionError, self.host.connect, ("192.0.2.9", 2))
