"""Keep-alives, asked for and answered (RFC 5626 3.5, 4.4; RFC 5389 7.2.1)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip import keepalive
from telephony.sip.stun import binding_answer, binding_request, parse_stun
from tests.sip.fakes import BOB, US, FakePort, World


class KeepAliveCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World("udp", "tcp")
        self.agent = self.world.agent
        self.host = self.world.host
        self.failed: list[str] = []
        self.came: list[bytes] = []
        del self.host.peers[BOB]

    def tearDown(self) -> None:
        self.agent.close()
        self.host.advance(0)
        self.assertEqual(self.world.clock.getDelayedCalls(), [])

    def flow(self, transport: str = "UDP") -> Any:
        flow = self.agent.listeners.flow_to(transport, BOB, None)
        assert flow is not None
        return flow

    def keep(self, transport: str = "UDP", **details: Any) -> keepalive.KeptFlow:
        return self.agent.keep_alive(self.flow(transport), 30, self.failed.append, **details)

    def sent(self) -> list[bytes]:
        sent = [data for data, _source, where in self.host.sent if where == BOB]
        self.host.sent.clear()
        return sent

    def answer(self, request: bytes, mapped: tuple[str, int] = ("198.51.100.1", 4000), source: Any = BOB) -> None:
        port: FakePort = self.host.ports[US]
        port.received(binding_answer(parse_stun(request), mapped), source)


class UdpTests(KeepAliveCase):
    def test_asked_for(self) -> None:
        """RFC 5626 4.4.2: a binding request every 24 to 30 s, and none more while it is answered."""
        self.keep()
        for _ in range(5):
            self.host.advance(23.9)
            self.assertEqual(self.sent(), [])
            self.host.advance(6.1)
            requests = self.sent()
            self.assertEqual(len({*requests}), 1)
            self.answer(requests[0])
            # Counted from the answer.
        self.assertEqual((self.failed, self.agent.counters["keep_alives_answered"]), ([], 5))

    def test_unanswered(self) -> None:
        """RFC 5389 7.2.1: sent again at growing intervals, the same bytes; then the flow has failed, once."""
        self.keep()
        self.host.advance(30)
        self.host.advance(20)
        sent = self.sent()
        self.assertEqual((len(sent), len(set(sent))), (keepalive.MOST_REQUESTS, 1))
        self.assertEqual(self.failed, ["no answer to a keep-alive"])
        self.host.advance(100)
        self.assertEqual((self.sent(), len(self.failed)), ([], 1))

    def test_mapped_elsewhere(self) -> None:
        """RFC 5626 4.4.2: another address outside the NAT means that the flow has failed."""
        self.keep()
        for port in (4000, 4000, 4001):
            self.host.advance(30)
            self.answer(self.sent()[0], ("198.51.100.1", port))
        self.assertEqual(self.failed, ["our address outside the NAT has changed"])

    def test_stopped(self) -> None:
        """Nothing is sent after `stop`, and nobody is told; a late answer is a stray."""
        kept = self.keep()
        self.host.advance(30)
        [request, *_] = self.sent()
        kept.stop()
        kept.stop()
        self.answer(request)
        self.host.advance(100)
        self.assertEqual((self.sent(), self.failed, self.agent.counters["stun_strays"]), ([], [], 1))

    def test_crlf(self) -> None:
        """What most providers answer nothing to: CRLFs, to keep a NAT's memory fresh."""
        self.keep(how="crlf")
        self.host.advance(120)
        self.assertGreaterEqual(len(self.sent()), 4)
        self.assertEqual(self.failed, [])

    def test_answered_here(self) -> None:
        """RFC 5626 4.4.2, 8: a phone's request is answered with its address; what comes from others is not believed."""
        port = self.host.ports[US]
        port.received(binding_request(bytes(12)), BOB)
        [answer] = self.sent()
        self.assertEqual(parse_stun(answer).mapped, BOB)
        self.keep()
        self.host.advance(30)
        [request, *_] = self.sent()
        self.answer(request, source=("192.0.2.77", 5060))
        self.assertEqual(self.agent.counters["stun_strays"], 1)

    def test_garbage(self) -> None:
        """STUN that is none is counted and dropped, and is no SIP garbage."""
        self.host.ports[US].received(b"\0\1garbage", BOB)
        counters = self.agent.counters
        self.assertEqual((counters["stun_garbage"], counters["garbage"], self.sent()), (1, 0, []))

    def test_bounds(self) -> None:
        """What can't be kept is said at once."""
        self.assertRaises(ValueError, self.agent.keep_alive, self.flow(), 0.5)
        self.patch(keepalive, "MAX_KEPT", 1)
        self.keep()
        self.assertRaises(RuntimeError, self.keep)


class StreamTests(KeepAliveCase):
    def test_answered(self) -> None:
        """RFC 5626 4.4.1: CRLF CRLF out, CRLF back; pongs are not taken for pings, whatever lies between them."""
        self.keep("TCP")
        wire = self.host.accept()
        for _ in range(6):
            self.host.advance(30)
            self.assertEqual(wire.written, b"\r\n\r\n")
            wire.written = b""
            wire.send(b"\r\n")
            self.assertEqual(wire.written, b"")
        self.assertEqual((self.failed, self.agent.counters["keep_alives_answered"]), ([], 6))
        wire.send(b"\r\n\r\n")
        self.assertEqual(wire.written, b"\r\n")

    def test_unanswered(self) -> None:
        """RFC 5626 4.4.1: no pong within ten seconds."""
        self.keep("TCP")
        self.host.accept()
        self.host.advance(41)
        self.assertEqual(self.failed, ["no answer to a keep-alive"])

    def test_connection_ends(self) -> None:
        """RFC 5626 4.4: the end of the connection is the failure of the flow, told at once."""
        self.keep("TCP")
        self.host.accept().end()
        self.host.advance(0)
        self.assertEqual(len(self.failed), 1)

    def test_held(self) -> None:
        """A kept connection isn't idle."""
        self.keep("TCP")
        wire = self.host.accept()
        for _ in range(60):
            self.host.advance(30)
            if wire.written:
                wire.written = b""
                wire.send(b"\r\n")
        self.assertTrue(wire.open)
