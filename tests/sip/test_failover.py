"""The next target (RFC 3263 4.3; transfer.md R5, rules 1 and 2): after silence, a broken connection or a 503."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.interfaces import Srv
from telephony.sip.message import Request
from tests.sip.fakes import ANSWER, BOB, US, Peer, World


class FailoverTests(SynchronousTestCase):
    """``example.com`` is Bob (first) and Carol, over UDP."""

    def setUp(self) -> None:
        self.world = World("udp", "tcp")
        self.bob = self.world.bob
        self.carol = Peer(self.world.host, ("192.0.2.3", 5060))
        self.world.host.names = {"b.example.com": [BOB[0]], "c.example.com": ["192.0.2.3"]}
        self.serve("_udp")

    def serve(self, transport: str) -> None:
        """Let the DNS name Bob and Carol for a transport."""
        self.world.host.records = {
            (f"_sip.{transport}.example.com", "SRV"): [
                Srv(1, 1, 5060, "b.example.com"),
                Srv(2, 1, 5060, "c.example.com"),
            ]
        }

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def dial(self) -> tuple[Any, Request]:
        """Call the name; return the session and the INVITE that Bob got."""
        session = self.world.dial("sip:bob@example.com")
        return session, self.bob.one()

    def moved(self) -> Request:
        """Return the INVITE that Carol got, the only message."""
        invite = self.carol.one()
        assert isinstance(invite, Request) and invite.method == "INVITE"
        return invite

    def test_503(self) -> None:
        """RFC 3263 4.3: a 503 is acknowledged and the INVITE goes on, in a transaction of its own and else the same."""
        session, invite = self.dial()
        self.bob.respond(invite, 503)
        self.assertEqual(self.bob.lines(), ["ACK"])
        again = self.moved()
        self.assertNotEqual(again.via.branch, invite.via.branch)
        for name in ("From", "To", "Call-ID", "CSeq", "Contact"):
            self.assertEqual(again.get(name), invite.get(name))
        self.assertEqual((again.uri, again.body), (invite.uri, invite.body))
        self.assertEqual(self.world.witness.heard, [])
        self.carol.respond(again, 200, body=ANSWER, contact="<sip:carol@192.0.2.3>")
        self.assertEqual((self.carol.lines(), self.bob.lines()), (["ACK"], []))
        self.assertEqual(self.world.witness.heard, ["answered"])
        session.bye()
        bye = self.carol.one()
        self.carol.respond(bye, 200)
        self.assertEqual(self.world.agent.counters["failovers"], 1)

    def test_everybody_is_full(self) -> None:
        """R5: with no target left the last refusal is the answer; a proxy's 503 after a 180 counts like any other."""
        _session, invite = self.dial()
        self.bob.respond(invite, 180)
        self.bob.respond(invite, 503)
        again = self.moved()
        self.carol.respond(again, 503)
        self.assertEqual((self.bob.lines(), self.carol.lines()), (["ACK"], ["ACK"]))
        self.assertEqual(self.world.witness.heard, ["progress 180", "refused 503"])

    def test_final_words(self) -> None:
        """RFC 3263 4.3, R5: a received 408, a 500, a 486 are the target's own word and nobody else is asked."""
        for status in (408, 480, 486, 500, 502, 504, 600):
            _session, invite = self.dial()
            self.bob.respond(invite, status)
            self.assertEqual((self.bob.lines(), self.carol.lines()), (["ACK"], []))
            self.assertEqual(self.world.witness.heard.pop(), f"refused {status}")

    def test_silence(self) -> None:
        """RFC 3263 4.3: timer B without any response moves the INVITE on; the next call asks the silent one last."""
        session, _invite = self.dial()
        self.world.host.advance(31.9)
        self.assertEqual(self.carol.lines(), [])
        self.world.host.advance(0.2)
        again = self.moved()
        self.carol.respond(again, 486)
        self.assertEqual(self.world.witness.heard, ["refused 486"])
        self.bob.take(), self.carol.take()
        session = self.world.dial("sip:bob@example.com")
        self.assertEqual((self.bob.lines(), len(self.carol.inbox)), ([], 1))
        self.carol.respond(self.moved(), 486)
        del session

    def test_silence_everywhere(self) -> None:
        """R5: timer B for each target, then no response at all is reported, once."""
        self.dial()
        self.world.host.advance(63.9)
        self.assertEqual(self.world.witness.heard, [])
        self.world.host.advance(0.2)
        self.assertEqual(self.world.witness.heard, ["refused 0"])

    def test_refused_connection(self) -> None:
        """RFC 3263 4.3: a transport error moves the INVITE on at once; Contact is that of the new way."""
        self.serve("_tcp")
        self.world.dial("sip:bob@example.com;transport=tcp")
        self.world.host.refuse()
        self.world.host.advance(0)
        self.assertEqual(self.world.witness.heard, [])
        wire = self.world.host.accept()
        self.assertEqual(wire.remote[0], "192.0.2.3")
        (invite,) = wire.take()
        self.assertEqual(invite.get("Contact"), "<sip:192.0.2.1:5060;transport=tcp>")
        wire.send(_refusal(invite))
        self.assertEqual(self.world.witness.heard, ["refused 486"])
        wire.end()

    def test_answer_of_a_target_given_up(self) -> None:
        """Rule 1, R5, R16: a 2xx from the target that was given up gets its ACK and a BYE; the call goes on."""
        self.serve("_tcp")
        session = self.world.dial("sip:bob@example.com;transport=tcp")
        lost = self.world.host.accept()
        (invite,) = lost.take()
        lost.end()
        self.world.host.advance(0)
        wire = self.world.host.accept()
        (again,) = wire.take()
        self.bob.respond(invite, 200, tag="late", body=ANSWER, contact="<sip:bob@192.0.2.2;transport=udp>")
        ack, bye = self.bob.take()
        self.assertEqual((ack.method, bye.method), ("ACK", "BYE"))
        self.bob.respond(bye, 200)
        self.assertEqual(self.world.witness.heard, [])
        wire.send(_refusal(again))
        self.assertEqual(self.world.witness.heard, ["refused 486"])
        wire.end()
        del session

    def test_cancel_follows(self) -> None:
        """RFC 3261 9.1, rule 2: CANCEL goes where the INVITE went last, with that one's branch, after its own 1xx."""
        session, invite = self.dial()
        self.bob.respond(invite, 180)
        self.bob.respond(invite, 503)
        again = self.moved()
        session.cancel()
        self.assertEqual((self.bob.lines(), self.carol.lines()), (["ACK"], []), "Carol has not sent a 1xx")
        self.carol.respond(again, 180)
        cancel = self.carol.one()
        self.assertEqual((cancel.method, cancel.via.branch), ("CANCEL", again.via.branch))
        self.carol.respond(cancel, 200)
        self.carol.respond(again, 487)
        self.assertEqual((self.bob.lines(), self.carol.lines()), ([], ["ACK"]))

    def test_given_up_meanwhile(self) -> None:
        """R1, R3: a call that was given up is not placed with the next target."""
        session, invite = self.dial()
        session.cancel()
        self.bob.respond(invite, 503)
        self.assertEqual((self.bob.lines(), self.carol.lines()), (["ACK"], []))

    def test_retry_after(self) -> None:
        """RFC 3261 21.5.4: who says 503 with Retry-After is not asked again before that, while there is another."""
        _session, invite = self.dial()
        self.bob.respond(invite, 503, Retry_After="120 (maintenance);duration=60")
        self.carol.respond(self.moved(), 486)
        self.assertEqual((self.bob.lines(), self.carol.lines()), (["ACK"], ["ACK"]))
        self.world.host.advance(100)
        self.world.dial("sip:bob@example.com")
        self.assertEqual(self.bob.lines(), [])
        self.carol.respond(self.moved(), 503)
        self.assertEqual(self.world.witness.heard, ["refused 486", "refused 503"])
        self.carol.take()
        self.world.host.advance(30)
        _session, invite = self.dial()
        self.bob.respond(invite, 486)

    def test_requests_in_the_dialog(self) -> None:
        """RFC 3263 4.3, R37: requests of a dialog go to one target; when it is silent the BYE goes to the next."""
        session, invite = self.dial()
        proxy = "<sip:example.com;lr>"
        self.bob.respond(invite, 200, body=ANSWER, contact="<sip:bob@10.9.9.9>", Record_Route=proxy)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.world.host.records = {}
        session.bye()
        bye = self.bob.one()
        self.assertEqual((bye.method, self.carol.lines()), ("BYE", []))
        self.world.host.advance(32.1)
        again = self.carol.one()
        self.assertEqual(
            (again.method, again.get("CSeq"), again.uri, again.get("Route")), ("BYE", "2 BYE", bye.uri, proxy)
        )
        self.assertNotEqual(again.via.branch, bye.via.branch)
        self.carol.respond(again, 200)

    def test_the_dialog_follows(self) -> None:
        """RFC 3263 4.3: where one request of a dialog has moved on, the next ones go there at once."""
        session, invite = self.dial()
        proxy = "<sip:example.com;lr>"
        self.bob.respond(invite, 200, body=ANSWER, contact="<sip:bob@10.9.9.9>", Record_Route=proxy)
        statuses: list[int] = []
        session.inform("application/dtmf-relay", b"Signal=1", statuses.append)
        self.assertEqual(self.bob.lines(), ["ACK", "INFO"])
        self.world.host.advance(32.1)
        self.carol.respond(self.carol.one(), 200)
        self.bob.take()
        session.bye()
        self.assertEqual((statuses, self.bob.lines()), ([200], []))
        self.carol.respond(self.carol.one(), 200)

    def test_weights_from_the_seed(self) -> None:
        """RFC 2782, invariant I9: equal targets share the calls, and the same seed shares them out alike."""
        shares = []
        for _ in range(2):
            world = World()
            peers = [Peer(world.host, (f"192.0.2.{n}", 5060)) for n in (2, 3)]
            world.host.names = self.world.host.names
            world.host.records = {
                ("_sip._udp.example.com", "SRV"): [Srv(1, 1, 5060, f"{one}.example.com") for one in "bc"]
            }
            order = ""
            for _ in range(40):
                world.dial("sip:bob@example.com")
                for peer, name in zip(peers, "bc", strict=True):
                    for invite in [one for one in peer.take() if one.method == "INVITE"]:
                        order += name
                        peer.respond(invite, 486)
            self.assertTrue(10 < order.count("b") < 30, order)
            shares.append(order)
            self.assertEqual(world.leftovers(), [])
        self.assertEqual(*shares)


class OldWaysTests(SynchronousTestCase):
    """What was so before there were several targets."""

    def test_one_address(self) -> None:
        """RFC 3261 8.1.3.1: an IP address has no other target; silence, 503 and a transport error end the call."""
        world = World("udp", "tcp")
        world.dial()
        world.bob.respond(world.bob.one(), 503)
        world.dial()
        world.host.advance(33)
        world.dial("sip:bob@192.0.2.2;transport=tcp")
        world.host.refuse()
        world.host.advance(0)
        self.assertEqual(world.witness.heard, ["refused 503", "refused 0", "refused 0"])
        self.assertEqual(world.agent.counters["failovers"], 0)
        self.assertEqual(world.leftovers(), [])
        self.assertIn(US, world.host.ports)


def _refusal(invite: Any) -> Any:
    from telephony.sip.message import respond

    return respond(invite, 486, to_tag="x")
