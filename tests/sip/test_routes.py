"""Loose and strict routing of all our requests, and Record-Route in our responses (RFC 3261 12, 16.12.1)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.headers import NameAddr
from telephony.sip.message import Request
from tests.sip.fakes import ANSWER, Peer, World

LOOSE = NameAddr(None, "sip:192.0.2.8;lr")
STRICT = NameAddr(None, "sip:192.0.2.8")
SECOND = NameAddr(None, "sip:192.0.2.9;lr")


class RouteTests(SynchronousTestCase):
    """A proxy at 192.0.2.8, another behind it, and Bob."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.proxy = Peer(self.world.host, ("192.0.2.8", 5060))

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def path(self, request: Any) -> tuple[str, list[str]]:
        """Return a request's target and its routes."""
        return request.uri, request.get_all("Route")

    def test_preloaded(self) -> None:
        """RFC 3261 8.1.2: a route set for the first INVITE: to its first hop; CANCEL and ACK take the same way."""
        session = self.world.dial(routes=[LOOSE, SECOND])
        invite = self.proxy.one()
        way = "sip:bob@192.0.2.2", [str(LOOSE), str(SECOND)]
        self.assertEqual(self.path(invite), way)
        self.proxy.respond(invite, 180)
        session.cancel()
        cancel = self.proxy.one()
        self.assertEqual((cancel.method, *self.path(cancel)), ("CANCEL", *way))
        self.proxy.respond(invite, 487)
        ack = self.proxy.one()
        self.assertEqual((ack.method, *self.path(ack)), ("ACK", *way))
        self.assertEqual(self.bob.lines(), [])

    def test_preloaded_strict(self) -> None:
        """RFC 3261 12.2.1.1: a strict router gets its own address as target, and the target as last Route."""
        session = self.world.dial(routes=[STRICT, SECOND])
        invite = self.proxy.one()
        self.assertEqual(self.path(invite), ("sip:192.0.2.8", [str(SECOND), "<sip:bob@192.0.2.2>"]))
        self.assertEqual(invite.get("To"), "<sip:bob@192.0.2.2>")
        session.cancel()

    def test_preloaded_nonsense(self) -> None:
        """What is no SIP URI can't be routed by: ValueError, and nothing is sent."""
        with self.assertRaises(ValueError):
            self.world.dial(routes=[NameAddr(None, "tel:+1555")])
        self.assertEqual(self.world.agent._sessions, {})

    def answered(self, *record_routes: NameAddr) -> Any:
        """Call Bob through proxies that stay in the dialog."""
        session = self.world.dial()
        invite = self.bob.one()
        routes = ", ".join(str(one) for one in record_routes)
        self.bob.respond(invite, 183, Require="100rel", RSeq="1", Record_Route=routes)
        self.bob.respond(invite, 200, body=ANSWER, Record_Route=routes)
        return session

    def test_record_route(self) -> None:
        """RFC 3261 12.1.2: the reverse of Record-Route, for PRACK, ACK, INFO and BYE alike."""
        session = self.answered(SECOND, LOOSE)
        session.inform("application/dtmf-relay", b"Signal=1\r\n", lambda _status: None)
        session.bye()
        requests = self.proxy.take()
        self.assertEqual([one.method for one in requests], ["PRACK", "ACK", "INFO", "BYE"])
        for one in requests:
            self.assertEqual(self.path(one), ("sip:bob@192.0.2.2", [str(LOOSE), str(SECOND)]))
        self.assertEqual(self.bob.lines(), [])

    def test_strict_record_route(self) -> None:
        """RFC 3261 12.2.1.1: the same by a strict router."""
        session = self.answered(SECOND, STRICT)
        session.bye()
        for one in self.proxy.take():
            self.assertEqual(self.path(one), ("sip:192.0.2.8", [str(SECOND), "<sip:bob@192.0.2.2>"]))
        self.assertEqual(self.bob.lines(), [])

    def test_called_by_way_of_proxies(self) -> None:
        """RFC 3261 12.1.1: 18x and 2xx repeat Record-Route; our requests follow it in that order."""
        self.world.welcome()
        routes = f"{LOOSE}, {SECOND}"
        invite: Request = self.world.request(Record_Route=routes, Supported="100rel")
        self.bob.send(invite)
        self.bob.take()
        session = self.world.sessions[-1]
        session.ring(reliably=True)
        session.answer(ANSWER)
        ringing, ok = self.bob.take()
        for one in (ringing, ok):
            self.assertEqual(one.get_all("Record-Route"), [routes])
        self.bob.send(self.world.request("ACK", to_tag=ok.to.tag))
        session.bye()
        self.assertEqual(self.path(self.proxy.one()), ("sip:bob@192.0.2.2", [str(LOOSE), str(SECOND)]))
        session.abandon() if session.over is False else None

    def test_refusals_have_none(self) -> None:
        """RFC 3261 8.2.6, table 2: a refusal makes no dialog, and has no Record-Route."""
        self.world.welcome()
        invite = self.world.request(Record_Route=str(LOOSE))
        self.bob.send(invite)
        self.bob.take()
        self.world.sessions[-1].reject(486)
        refusal = self.bob.one()
        self.assertEqual(refusal.get_all("Record-Route"), [])
        self.bob.send(self.world.ack(invite, refusal))
