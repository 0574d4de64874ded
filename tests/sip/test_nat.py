"""Peers behind a NAT: who is taken for one, and where the requests of their calls go (RFC 3261 12.2.1.1, RFC 3581)."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from telephony.interfaces import Address
from telephony.sip.dialog import Dialog
from telephony.sip.headers import NameAddr, parse_via
from telephony.sip.message import Request, respond
from telephony.sip.nat import is_behind
from telephony.sip.registrar import Binding, BindingWays
from telephony.sip.targets import Target
from telephony.sip.user_agent import UserAgent
from tests.sip.fakes import ANSWER, BOB, US, Peer, World, line, uri

#: What the NAT makes of a phone at 192.168.1.2, and of the same one after a rebinding.
OUTSIDE: Address = ("203.0.113.7", 40001)
MOVED: Address = ("203.0.113.7", 40002)
INSIDE = "<sip:bob@192.168.1.2:5060>"
VIA = "SIP/2.0/UDP 192.168.1.2:5060;rport;branch=z9hG4bKnat{}"


@attrs.define
class Way:
    """What of a flow the judgement looks at."""

    remote: Address
    transport: str = "UDP"
    local: Address = ("192.0.2.1", 5060)
    usable: bool = True

    @property
    def reliable(self) -> bool:
        return self.transport != "UDP"


def judged(via: str | None, contact: str, remote: Address = OUTSIDE, **flow: Any) -> bool:
    """Tell whether who says this, and is seen there, is taken to be behind a NAT."""
    way: Any = Way(remote, **flow)
    parsed = None if via is None else parse_via(f"SIP/2.0/{way.transport} {via};branch=z9hG4bK1")
    return is_behind(parsed, uri(f"sip:bob@{contact}"), way)


class JudgementTests(SynchronousTestCase):
    """`telephony.sip.nat`: the two signs of a NAT."""

    def test_both_signs(self) -> None:
        """RFC 3261 18.2.1: the Via's address isn't the source, and the Contact is the same or private."""
        self.assertTrue(judged("192.168.1.2:5060;rport", "192.168.1.2:5060"))
        self.assertTrue(judged("192.168.1.2", "192.168.1.2:5070"), "without rport, and another port")
        self.assertTrue(judged("192.168.1.2", "192.168.1.3"), "another one behind the same NAT")
        self.assertTrue(judged("198.51.100.9", "198.51.100.9"), "public addresses may be hidden, too")
        self.assertTrue(judged("[2001:DB8::0:1]", "[2001:db8::1]", ("2001:db8:9::7", 5060)))

    def test_via_without_a_nat(self) -> None:
        """RFC 3261 12.2.1.1: who is seen where it says is reached by its Contact, whatever that is."""
        self.assertFalse(judged("203.0.113.7:40001;rport", "192.168.1.2"))
        self.assertFalse(judged("203.0.113.7:40001;rport", "203.0.113.7:40001"))
        self.assertFalse(judged("203.0.113.7", "203.0.113.7"), "another port, no rport: it hears at the one it says")
        self.assertFalse(judged("pc.example.com:40001", "192.168.1.2"), "a name may stand for what was seen")
        self.assertFalse(judged("203.0.113.7:40001", "192.168.1.2", ("::ffff:203.0.113.7", 40001)))
        self.assertFalse(judged("[2001:DB8::0:1]", "[2001:db8::1]", ("2001:db8::1", 5060)))

    def test_contact_elsewhere(self) -> None:
        """RFC 3261 12.2.1.1: a Contact that leads elsewhere on purpose is followed."""
        self.assertFalse(judged("192.168.1.2:5060;rport", "198.51.100.9"))
        self.assertFalse(judged("192.168.1.2:5060;rport", "pbx.example.com"))

    def test_port_alone(self) -> None:
        """RFC 3581 3: asking for rport is to listen where one sends from; it says nothing of other ports."""
        self.assertTrue(judged("203.0.113.7:5060;rport", "203.0.113.7"))
        self.assertTrue(judged("203.0.113.7;rport", "203.0.113.7:5060"))
        self.assertFalse(judged("203.0.113.7:5060;rport", "203.0.113.7:5070"))
        self.assertTrue(judged("phone.example.com;rport", "phone.EXAMPLE.com"))
        self.assertFalse(judged("phone.example.com;rport", "other.example.com"))

    def test_port_of_a_connection(self) -> None:
        """RFC 3261 18.1.1: a connection's own port is nobody's Via; its address is."""
        self.assertFalse(judged("203.0.113.7:5060;rport", "203.0.113.7", transport="TCP"))
        self.assertTrue(judged("192.168.1.2:5060", "192.168.1.2", transport="TCP"))
        self.assertFalse(judged("203.0.113.7;rport", "203.0.113.7:5060", ("203.0.113.7", 5061), transport="TLS"))

    def test_private(self) -> None:
        """RFC 1918, 6598, 3927, 4193, 4291: these have no route from outside, their neighbours do."""
        for host in ("10.0.0.1", "172.31.9.9", "192.168.0.1", "100.64.0.1", "100.127.255.1", "169.254.1.1"):
            self.assertTrue(judged(None, host), host)
        for host in ("11.0.0.1", "172.32.0.1", "192.169.0.1", "100.128.0.1", "198.51.100.9", "example.com"):
            self.assertFalse(judged(None, host), host)
        for host, private in (("[fd00::1]", True), ("[fe80::1]", True), ("[2001:db8::1]", False)):
            self.assertEqual(judged(None, host, ("2001:db8:9::7", 5060)), private, host)

    def test_our_own_network(self) -> None:
        """A private address can be reached by who is in that network: us, or a neighbour of whom we see there."""
        self.assertFalse(judged(None, "10.1.2.3", local=("10.1.2.200", 5060)))
        self.assertTrue(judged(None, "10.1.3.3", local=("10.1.2.200", 5060)))
        self.assertFalse(judged(None, "192.168.1.2", ("10.1.3.3", 5060), local=("10.1.2.200", 5060)))
        self.assertFalse(judged(None, "192.168.1.2", ("127.0.0.1", 5060), local=("127.0.0.1", 5060)))
        self.assertFalse(judged(None, "[fd00::9]", ("2001:db8:9::7", 5060), local=("fd00::1", 5060)))
        self.assertTrue(judged("192.168.1.2", "192.168.1.2", ("10.1.3.3", 5060)), "an inner NAT, which the Via shows")


class NatCase(SynchronousTestCase):
    """A phone behind a NAT, seen at `OUTSIDE`; whoever tries its Contact ends at ``inside``, where nobody is."""

    def setUp(self) -> None:
        self.world = World()
        self.host = self.world.host
        self.phone = Peer(self.host, OUTSIDE)
        self.moved = Peer(self.host, MOVED)
        self.inside = Peer(self.host, ("192.168.1.2", 5060))
        self._vias = 0

    def tearDown(self) -> None:
        self.assertEqual(self.world.leftovers(), [])

    def request(self, method: str = "INVITE", **fields: Any) -> Request:
        """Return a request as the phone writes it."""
        self._vias += 1
        fields.setdefault("Via", VIA.format(self._vias))
        if method in ("INVITE", "UPDATE"):
            fields.setdefault("Contact", INSIDE)
        return self.world.request(method, **fields)

    def talking(self, **fields: Any) -> Any:
        """Have the phone call, and answer."""
        self.world.welcome()
        self.phone.send(self.request(**fields))
        session = self.world.sessions[-1]
        session.answer(ANSWER)
        self.phone.send(self.request("ACK", to_tag=session.local_tag))
        self.assertEqual(self.phone.lines(), ["100 INVITE", "200 INVITE"])
        return session

    def then(self, session: Any, method: str, cseq: int, by: Peer | None = None, **fields: Any) -> str:
        """Send a request in the dialog; return what it was answered."""
        by = by or self.phone
        by.send(self.request(method, to_tag=session.local_tag, cseq=cseq, **fields))
        answer = by.lines()[-1]
        if method == "INVITE" and answer.startswith("200"):
            by.send(self.request("ACK", to_tag=session.local_tag, cseq=cseq))
        return answer

    def bye(self, session: Any, at: Peer, target: str = "sip:bob@192.168.1.2:5060") -> Request:
        """Hang up, and hold that the BYE gets there and nowhere else."""
        for peer in self.host.peers.values():
            peer.take()
        session.bye()
        bye = at.one()
        self.assertEqual((bye.method, bye.uri), ("BYE", target))
        self.assertEqual([one for one in self.host.peers.values() if one.inbox], [])
        at.respond(bye, 200)
        return bye  # type: ignore[no-any-return]


class CalledTests(NatCase):
    """The phone has called us."""

    def test_every_request(self) -> None:
        """RFC 3261 12.2.1.1: INFO, re-INVITE, its ACK and BYE go where the INVITE came from; the target is as ever."""
        session = self.talking()
        session.inform("application/dtmf-relay", b"Signal=1\r\n", lambda _status: None)
        info = self.phone.one()
        self.assertEqual((info.method, info.uri), ("INFO", "sip:bob@192.168.1.2:5060"))
        self.phone.respond(info, 200)
        session.reoffer("hold")
        invite = self.phone.one()
        self.assertEqual(invite.method, "INVITE")
        self.phone.respond(invite, 200, body=ANSWER, contact=INSIDE)
        self.assertEqual(self.phone.one().method, "ACK")
        self.bye(session, self.phone)

    def test_contact_elsewhere(self) -> None:
        """RFC 3261 12.2.1.1: behind a NAT or not, a public Contact elsewhere is where requests go."""
        session = self.talking(Contact="<sip:bob@192.0.2.2>")
        self.bye(session, self.world.bob, "sip:bob@192.0.2.2")

    def test_record_route(self) -> None:
        """RFC 3261 12.2.1.1: the next hop is the first route, behind a NAT or not."""
        proxy = Peer(self.host, ("192.0.2.8", 5060))
        session = self.talking(Record_Route="<sip:192.0.2.8;lr>")
        self.bye(session, proxy)

    def test_record_route_behind(self) -> None:
        """RFC 3261 12.2.1.1: that goes for a route that looks hidden, too."""
        session = self.talking(Record_Route="<sip:192.168.1.2;lr>")
        self.bye(session, self.inside)

    def test_not_behind(self) -> None:
        """RFC 3261 12.2.1.1: a peer that is seen where it says is reached by its Contact, a private one included."""
        via = f"SIP/2.0/UDP 203.0.113.7:40001;rport;branch=z9hG4bK{id(self)}"
        session = self.talking(Via=via)
        self.bye(session, self.inside)

    def test_rebinding(self) -> None:
        """RFC 4787 4.3: the NAT gives the phone another port; its next request in the dialog tells."""
        session = self.talking()
        self.assertEqual(self.then(session, "INFO", 2, self.moved), "200 INFO")
        self.bye(session, self.moved)

    def test_no_hijack_by_an_old_request(self) -> None:
        """RFC 3261 12.2.2: what is out of order, a copy of an old request say, moves nothing."""
        session = self.talking()
        self.assertEqual(self.then(session, "INFO", 5), "200 INFO")
        self.assertEqual(self.then(session, "INFO", 5, self.moved), "500 INFO")
        self.assertEqual(self.then(session, "INFO", 4, self.moved), "500 INFO")
        self.bye(session, self.phone)

    def test_no_hijack_without_the_tags(self) -> None:
        """RFC 3261 12.2.2: nor does one with a tag that isn't the dialog's."""
        session = self.talking()
        stranger = {"From": "<sip:bob@192.0.2.2>;tag=other"}
        self.assertEqual(self.then(session, "INFO", 9, self.moved, **stranger), "481 INFO")
        self.bye(session, self.phone)

    def test_not_followed_without_a_nat(self) -> None:
        """RFC 3261 12.2.1.1: of a peer that isn't behind a NAT, where a request comes from means nothing."""
        session = self.talking(Contact="<sip:bob@192.0.2.2>")
        self.assertEqual(self.then(session, "INFO", 2, self.moved), "200 INFO")
        self.bye(session, self.world.bob, "sip:bob@192.0.2.2")

    def test_learned_its_address(self) -> None:
        """RFC 3581 4: the phone reads ``received`` and writes it into later Vias; its old Contact is no better."""
        session = self.talking()
        via = f"SIP/2.0/UDP 203.0.113.7:40001;rport;branch=z9hG4bK{id(self)}"
        self.assertEqual(self.then(session, "INFO", 2, Via=via), "200 INFO")
        self.bye(session, self.phone)

    def test_target_refresh(self) -> None:
        """RFC 3261 12.2.2: a new Contact is judged anew, one way and the other."""
        session = self.talking()
        self.assertEqual(self.then(session, "INVITE", 2, Contact="<sip:bob@192.0.2.2>"), "200 INVITE")
        session.inform("application/dtmf-relay", b"Signal=1\r\n", lambda _status: None)
        info = self.world.bob.one()
        self.world.bob.respond(info, 200)
        self.assertEqual(self.then(session, "UPDATE", 3, self.moved), "200 UPDATE")
        self.bye(session, self.moved)

    def test_refused_refresh(self) -> None:
        """RFC 3261 12.2.2: the Contact of a refused re-INVITE counts for nothing."""
        session = self.talking()
        self.world.witness.answer = None
        self.assertEqual(self.then(session, "INVITE", 2, Contact="<sip:bob@192.0.2.2>"), "488 INVITE")
        self.bye(session, self.phone)

    def test_no_other_target(self) -> None:
        """RFC 3263 4.3: where the NAT swallows the BYE it isn't sent to what the Contact's name stands for."""
        self.host.names["phone.example.com"] = ["198.51.100.8", "198.51.100.9"]
        first, second = Peer(self.host, ("198.51.100.8", 5060)), Peer(self.host, ("198.51.100.9", 5060))
        via = "SIP/2.0/UDP phone.example.com{};branch=z9hG4bK{}"
        contact = "<sip:bob@phone.example.com>"
        session = self.talking(Via=via.format(":40001", 1), Contact=contact)
        session.inform("application/dtmf-relay", b"Signal=1\r\n", lambda _status: None)
        self.assertEqual([one.method for one in first.take()], ["INFO"])
        self.assertEqual(self.then(session, "INFO", 2, Via=via.format(";rport", 2)), "200 INFO")
        self.phone.take()
        session.bye()
        self.host.advance(40)
        self.assertEqual({one.method for one in self.phone.take()}, {"BYE"})
        self.assertEqual([one for one in (*first.lines(), *second.lines()) if one == "BYE"], [])


class CallerTests(NatCase):
    """We have called the phone, at its address outside."""

    def dial(self, contact: str = INSIDE, **fields: str) -> Any:
        """Call it; it answers."""
        session = self.world.dial(f"sip:bob@{OUTSIDE[0]}:{OUTSIDE[1]}")
        self.invite = self.phone.one()
        self.phone.respond(self.invite, 200, body=ANSWER, contact=contact, **fields)
        return session

    def test_answer(self) -> None:
        """RFC 3261 13.2.2.4: the ACK of its 200 goes where the INVITE went, and again when the 200 comes again."""
        session = self.dial()
        ack = self.phone.one()
        self.assertEqual((ack.method, ack.uri), ("ACK", "sip:bob@192.168.1.2:5060"))
        self.phone.respond(self.invite, 200, body=ANSWER, contact=INSIDE)
        self.assertEqual(self.phone.lines(), ["ACK"])
        self.bye(session, self.phone)

    def test_contact_elsewhere(self) -> None:
        """RFC 3261 12.2.1.1: a public Contact is followed."""
        session = self.dial("<sip:bob@192.0.2.2>")
        self.assertEqual(self.world.bob.one().method, "ACK")
        self.bye(session, self.world.bob, "sip:bob@192.0.2.2")

    def test_record_route(self) -> None:
        """RFC 3261 12.1.2: Record-Route is followed, whatever the Contact is."""
        proxy = Peer(self.host, ("192.0.2.8", 5060))
        session = self.dial(Record_Route="<sip:192.0.2.8;lr>")
        self.assertEqual(proxy.one().method, "ACK")
        self.bye(session, proxy)

    def test_reliable_ringing(self) -> None:
        """RFC 3262 4: the PRACK goes where the INVITE went."""
        session = self.world.dial(f"sip:bob@{OUTSIDE[0]}:{OUTSIDE[1]}")
        invite = self.phone.one()
        self.phone.respond(invite, 180, contact=INSIDE, Require="100rel", RSeq="1")
        prack = self.phone.one()
        self.assertEqual((prack.method, prack.uri), ("PRACK", "sip:bob@192.168.1.2:5060"))
        self.phone.respond(prack, 200)
        session.cancel()
        self.assertEqual(self.phone.one().method, "CANCEL")
        self.phone.respond(invite, 487)
        self.assertEqual(self.phone.one().method, "ACK")

    def test_shown_later(self) -> None:
        """RFC 3261 12.2.1.1: a public address that only the phone's own requests show to be behind a NAT."""
        contact = "<sip:bob@198.51.100.9>"
        lost = Peer(self.host, ("198.51.100.9", 5060))
        session = self.dial(contact)
        self.assertEqual(lost.lines(), ["ACK"])
        request = self.world.bye(self.invite, method="INFO", cseq=7)
        request.set("Via", "SIP/2.0/UDP 198.51.100.9;rport;branch=z9hG4bKlate")
        self.phone.send(request)
        self.assertEqual(self.phone.lines(), ["200 INFO"])
        self.bye(session, self.phone, "sip:bob@198.51.100.9")

    def test_late_answer(self) -> None:
        """Rule 1, R5: a late 200 of a target that was given up says nothing of the way to the present one."""
        world = self.world
        world.agent.listen("tcp", US)
        targets = [Target("TCP", (OUTSIDE[0], 5060), "a"), Target("TCP", ("203.0.113.8", 5060), "a")]
        session = world.dial("sip:bob@example.com;transport=tcp", targets=targets)
        lost = self.host.accept()
        (invite,) = lost.take()
        assert isinstance(invite, Request)
        lost.end()
        self.host.advance(0)
        wire = self.host.accept()
        (again,) = wire.take()
        self.phone.respond(invite, 200, tag="late", body=ANSWER, contact="<sip:bob@192.168.1.2;transport=udp>")
        self.assertEqual((self.inside.lines(), wire.take()), (["ACK", "BYE"], []))
        assert isinstance(again, Request)
        wire.send(respond(again, 486, to_tag="b"))
        wire.end()
        self.assertEqual(world.witness.heard, ["refused 486"])
        del session

    def test_refreshed_by_a_response(self) -> None:
        """RFC 3261 12.2.1.2: the Contact of a 2xx to our re-INVITE, or to our UPDATE, is judged anew."""
        for allow, method in (("INVITE, ACK, BYE, UPDATE", "UPDATE"), ("INVITE, ACK, BYE", "INVITE")):
            session = self.dial(Allow=allow)
            self.phone.take()
            session.reoffer(None)
            request = self.phone.one()
            self.assertEqual(request.method, method)
            answer = respond(request, 200, to_tag="b")
            answer.set("Contact", "<sip:bob@192.0.2.2>")
            answer.body = ANSWER if method == "INVITE" else b""
            answer.set("Content-Type", "application/sdp")
            self.phone.send(answer)
            self.assertEqual(self.world.bob.lines(), ["ACK"] if method == "INVITE" else [])
            session.reoffer(None)
            request = self.world.bob.one()
            answer = respond(request, 200, to_tag="b")
            answer.set("Contact", "<sip:bob@10.9.8.7>")
            answer.set("Content-Type", "application/sdp")
            answer.body = ANSWER if method == "INVITE" else b""
            self.world.bob.send(answer)
            self.bye(session, self.world.bob, "sip:bob@10.9.8.7")


class ConnectionTests(SynchronousTestCase):
    """A phone behind a NAT, over TCP."""

    def setUp(self) -> None:
        self.world = World("udp", "tcp")
        self.host = self.world.host
        self._vias = 0

    def request(self, method: str = "INVITE", host: str = "192.168.1.2", **fields: Any) -> Request:
        self._vias += 1
        via = f"SIP/2.0/TCP {host}:5060;branch=z9hG4bKtcp{self._vias}"
        contact = f"<sip:bob@{host};transport=tcp>" if method == "INVITE" else None
        return self.world.request(method, Via=via, Contact=contact, **fields)

    def talking(self, host: str, source: Address) -> Any:
        """Have the phone call, and lose its connection."""
        self.world.welcome()
        wire = self.host.connect(source)
        wire.send(self.request(host=host))
        session = self.world.sessions[-1]
        session.answer(ANSWER)
        wire.send(self.request("ACK", host, to_tag=session.local_tag))
        wire.end()
        return session

    def test_another_connection(self) -> None:
        """transfer.md R37, RFC 5626 5.3: behind a NAT, the connection by which it comes back is the way to it."""
        session = self.talking("192.168.1.2", OUTSIDE)
        fresh = self.host.connect(MOVED)
        fresh.send(self.request("INFO", to_tag=session.local_tag, cseq=2))
        fresh.take()
        session.bye()
        self.assertEqual([one.start_line for one in fresh.take()], ["BYE sip:bob@192.168.1.2;transport=tcp SIP/2.0"])
        self.assertEqual(self.host.attempts, [])

    def test_not_behind(self) -> None:
        """transfer.md R37: otherwise a connection is opened to the Contact, whoever has come back meanwhile."""
        session = self.talking(BOB[0], (BOB[0], 40001))
        fresh = self.host.connect((BOB[0], 40002))
        fresh.send(self.request("INFO", BOB[0], to_tag=session.local_tag, cseq=2))
        fresh.take()
        session.bye()
        self.assertEqual(([one[0] for one in self.host.attempts], fresh.take()), ([BOB], []))

    def test_lost_and_not_back(self) -> None:
        """transfer.md R37: without it there is nothing better than its Contact."""
        session = self.talking("192.168.1.2", OUTSIDE)
        session.bye()
        self.assertEqual([one[0] for one in self.host.attempts], [("192.168.1.2", 5060)])

    def test_never_down_from_tls(self) -> None:
        """RFC 3261 26.2.2: nobody is followed from TLS to what is not TLS."""
        tls: Any = Way(OUTSIDE, "TLS")
        dialog = Dialog.of_called(self.request(), "us")
        dialog.flow = tls
        dialog.heard(self.request(), tls)
        self.assertIs(dialog.way, tls)
        for transport, followed in (("UDP", False), ("TCP", False), ("TLS", True)):
            way: Any = Way(MOVED, transport)
            dialog.heard(self.request("INFO"), way)
            self.assertEqual(dialog.way is way, followed, transport)


class ListeningTests(SynchronousTestCase):
    def test_long_requests(self) -> None:
        """RFC 3261 18.1.1, RFC 5626 4.3: what is too long for UDP isn't tried over TCP: no connection gets inside."""
        world = World("udp", "tcp")
        phone = Peer(world.host, OUTSIDE)
        world.welcome()
        phone.send(world.request(Via=VIA.format("x"), Contact=INSIDE))
        session = world.sessions[-1]
        session.answer(ANSWER)
        phone.send(world.request("ACK", to_tag=session.local_tag))
        phone.take()
        session.inform("text/plain", b"x" * 1300, lambda _status: None)
        self.assertEqual((phone.lines(), world.host.attempts), (["INFO"], []))

    def test_long_requests_after_a_connection(self) -> None:
        """RFC 3261 18.1.1: who has called over TCP can be reached so, by what is too long for UDP, too."""
        world = World("udp", "tcp")
        world.welcome()
        wire = world.host.connect(BOB)
        wire.send(world.request(Via="SIP/2.0/TCP 192.0.2.2:5060;branch=z9hG4bKx", Contact="<sip:bob@192.0.2.2>"))
        session = world.sessions[-1]
        session.answer(ANSWER)
        ack = world.request("ACK", to_tag=session.local_tag, Via="SIP/2.0/TCP 192.0.2.2:5060;branch=z9hG4bKy")
        wire.send(ack)
        wire.take()
        session.inform("text/plain", b"Signal=1", lambda _status: None)
        world.dial(headers=(("Subject", "x" * 1300),))
        self.assertEqual([line(one) for one in wire.take()], ["INFO", "INVITE"])

    def test_long_requests_to_who_signed_in(self) -> None:
        """RFC 5626 4.3: nor is a long INVITE to a phone that has signed in over UDP."""
        world = World("udp", "tcp")
        phone = Peer(world.host, OUTSIDE)
        flow = world.agent.listeners.flow_to("UDP", OUTSIDE, None)
        assert flow is not None
        inside = NameAddr(None, "sip:bob@192.168.1.2")
        near = BindingWays([Binding(inside, uri(inside.uri), flow, "call", 1, 3600.0, 1)])
        world.dial(near=near, headers=(("Subject", "x" * 1300),))
        self.assertEqual((phone.one().uri, world.host.attempts), ("sip:bob@192.168.1.2", []))

    def test_the_same_port_of_ours(self) -> None:
        """RFC 5626 3.1: what goes back goes out by the port it came in by: to another the NAT is closed."""
        world = World()
        other: Address = ("192.0.2.1", 5070)
        agent: UserAgent = world.agent
        agent.listen("udp", other)
        phone = Peer(world.host, OUTSIDE, us=other)
        world.welcome()
        phone.send(world.request(Via=VIA.format("x"), Contact=INSIDE))
        session = world.sessions[-1]
        session.answer(ANSWER)
        phone.send(world.request("ACK", to_tag=session.local_tag))
        session.bye()
        _data, source, destination = world.host.sent[-1]
        self.assertEqual((source, destination), (other, OUTSIDE))
        self.assertNotEqual(other, US)
