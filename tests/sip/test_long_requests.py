"""Requests too long for UDP (RFC 3261 18.1.1): TCP instead, and UDP after all where TCP is refused."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.message import Request, respond
from tests.sip.fakes import ANSWER, BOB, World, line

LONG = (("Subject", "x" * 1300),)


class LongRequestTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World("udp", "tcp")
        self.host = self.world.host
        self.heard = self.world.witness.heard

    def tearDown(self) -> None:
        self.world.agent.close()
        self.host.advance(0)

    def one(self, wire: Any) -> Request:
        [taken] = wire.take()
        assert isinstance(taken, Request)
        return taken

    def test_over_tcp(self) -> None:
        """A request above 1,300 bytes goes over TCP, which its Via says, and its ACK goes as the Contact says."""
        session = self.world.dial(headers=LONG)
        self.assertEqual(self.world.bob.lines(), [])
        wire = self.host.accept()
        invite = self.one(wire)
        self.assertEqual((invite.via.transport, invite.via.port), ("TCP", 5060))
        self.assertNotIn("rport", invite.via.params)
        ok = respond(invite, 200, to_tag="b")
        ok.set("Contact", "<sip:bob@192.0.2.2>")
        ok.set("Content-Type", "application/sdp")
        ok.body = ANSWER
        wire.send(ok)
        self.assertEqual(self.heard, ["answered"])
        self.assertEqual(self.world.bob.lines() + [line(one) for one in wire.take()], ["ACK"])
        session.bye()

    def test_boundary(self) -> None:
        """1,300 bytes go over UDP, 1,301 don't."""
        self.world.dial()
        short = len(self.world.bob.one().to_bytes()) + len("Subject: \r\n")
        for size, attempts in ((1300, 0), (1301, 1)):
            self.world.dial(headers=(("Subject", "x" * (size - short)),))
            self.assertEqual(len(self.host.attempts), attempts)
            if not attempts:
                self.assertEqual(len(self.world.bob.one().to_bytes()), size)

    def test_refused(self) -> None:
        """18.1.1: where TCP is refused the request goes over UDP, its Via changed back, and is sent again as usual."""
        self.world.dial(headers=LONG)
        self.host.refuse()
        self.host.advance(0)
        invite = self.world.bob.one()
        self.assertEqual((invite.via.transport, "rport" in invite.via.params), ("UDP", True))
        self.host.advance(0.5)
        self.assertEqual(self.world.bob.lines(), ["INVITE"])
        self.world.bob.respond(invite, 200, body=ANSWER)
        self.assertEqual(self.heard, ["answered"])

    def test_refused_is_remembered(self) -> None:
        """The next long request to that address doesn't wait for TCP; minutes later it is tried again."""
        self.world.dial(headers=LONG)
        self.host.refuse()
        self.host.advance(0)
        self.world.bob.respond(self.world.bob.one(), 486)
        self.world.bob.take()
        self.world.dial(headers=LONG)
        self.assertEqual((self.world.bob.lines(), self.host.attempts), (["INVITE"], []))
        self.host.advance(301)
        self.world.dial(headers=LONG)
        self.assertEqual(len(self.host.attempts), 1)

    def test_broken_later(self) -> None:
        """Once a response has come the request is there: a connection that breaks is not followed by UDP."""
        self.world.dial(headers=LONG)
        wire = self.host.accept()
        wire.send(respond(self.one(wire), 180, to_tag="b"))
        wire.end()
        self.host.advance(1)
        self.assertEqual(self.world.bob.lines(), [])

    def test_cancel_follows(self) -> None:
        """9.1: CANCEL goes where the INVITE went at last, with its Via."""
        session = self.world.dial(headers=LONG)
        self.host.refuse()
        self.host.advance(0)
        invite = self.world.bob.one()
        self.world.bob.respond(invite, 180)
        session.cancel()
        cancel = self.world.bob.one()
        self.assertEqual((cancel.method, str(cancel.via)), ("CANCEL", str(invite.via)))

    def test_without_tcp(self) -> None:
        """Without a TCP port of ours a long request goes over UDP, in fragments."""
        world = World("udp")
        world.dial(headers=LONG)
        self.assertEqual(world.bob.lines(), ["INVITE"])
        self.assertEqual(BOB[1], 5060)
        world.agent.close()

    def test_within_a_dialog(self) -> None:
        """Every request: a BYE with a long Reason too."""
        session, invite = self.world.answered()
        session.bye([("Reason", 'SIP;cause=200;text="' + "x" * 1300 + '"')])
        self.assertEqual(self.world.bob.lines(), [])
        bye = self.one(self.host.accept())
        self.assertEqual((bye.method, bye.via.transport), ("BYE", "TCP"))
        self.assertEqual(invite.call_id, bye.call_id)
