"""TLS under SIP: whose certificate speaks for whom, versions, client certificates (RFC 5922, 8996, 3261 26.3.1)."""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import Error
from telephony.sip.dialog import Dialog
from telephony.sip.transport import connection, tcp
from telephony.sip.transport.tls import (
    ClientCertificate,
    TlsError,
    TlsIdentity,
    domains_of,
    refusal_of_name,
    same_domain,
    validity,
)
from telephony.sip.user_agent import UserAgent
from telephony.testing.certificates import authority, identity, issue
from telephony.testing.network import SimulatedNetwork
from tests.sip.fakes import World

SERVER, CLIENT = "10.0.0.1", "10.0.0.2"
OPTIONS = (
    b"OPTIONS sips:a@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 10.0.0.2;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
    b"From: <sip:b@c>;tag=1\r\nTo: <sips:a@10.0.0.1>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class NameTests(SynchronousTestCase):
    def test_domains(self) -> None:
        """RFC 5922 7.1: sip: URIs without a user come first, and alone; sips: and those of users are none."""
        rows: list[tuple[tuple[str, ...], tuple[str, ...], list[str]]] = [
            ((), ("a.example", "b.example"), ["a.example", "b.example"]),
            (("sip:a.example",), ("b.example",), ["a.example"]),
            (("SIP:a.example;transport=tls", "sip:c.example:5061"), (), ["a.example", "c.example"]),
            (("sip:bob@a.example", "sips:a.example", "https://a.example"), ("b.example",), ["b.example"]),
            ((), (), []),
        ]
        for uris, names, domains in rows:
            self.assertEqual(domains_of(uris, names), domains)

    def test_comparison(self) -> None:
        """RFC 5922 7.2: case-insensitive, as a whole, and no wildcards."""
        self.assertTrue(same_domain("A.example", "a.EXAMPLE."))
        for one, other in (
            ("*.example", "a.example"),
            ("*.example", "*.example"),
            ("example", "a.example"),
            ("", ""),
            ("a.example", "example"),
        ):
            self.assertFalse(same_domain(one, other))

    def test_certificates(self) -> None:
        """RFC 5922 7.3, and IP addresses beside it: what a certificate speaks for, and what the refusal says."""
        certificate = issue("a.example", "192.0.2.1", "2001:db8::1").x509
        for name in ("a.example", "A.Example", "192.0.2.1", "2001:db8:0::1"):
            self.assertEqual(refusal_of_name(certificate, name), "")
        for name in ("b.example", "x.a.example", "192.0.2.2", "2001:db8::2"):
            self.assertIn(name, refusal_of_name(certificate, name))
        by_uri = issue("b.example", uris=["sip:a.example"]).x509
        self.assertEqual(refusal_of_name(by_uri, "a.example"), "")
        self.assertIn("a.example", refusal_of_name(by_uri, "b.example"))
        self.assertIn("no domain", refusal_of_name(issue().x509, "test"))  # its common name is "test"

    def test_validity(self) -> None:
        """What is said of a certificate that is of no use now."""
        self.assertEqual(validity(issue("a").x509), "")
        self.assertIn("expired", validity(issue("a", days=(-2, -1)).x509))
        self.assertIn("not valid before", validity(issue("a", days=(1, 2)).x509))


class IdentityTests(SynchronousTestCase):
    def refused(self, part: str, **given: Any) -> str:
        error = self.assertRaises(TlsError, TlsIdentity, **given)
        self.assertEqual(error.part, part)
        return str(error)

    def test_refused(self) -> None:
        """Issue 4, 7: what doesn't fit is said by the part that is wrong, and never shows a key."""
        one, other = issue("a"), issue("b")
        self.assertIn("another key", self.refused("key", certificate=one.certificate, key=other.key))
        self.assertIn("missing", self.refused("key", certificate=one.certificate))
        self.assertIn("missing", self.refused("certificate", key=one.key))
        self.assertIn("PEM", self.refused("certificate", certificate=b"x", key=one.key))
        text = self.refused("key", certificate=one.certificate, key=one.key[:80])
        self.assertNotIn(one.key[40:60].decode(), text)
        self.assertIn("PEM", self.refused("authorities", authorities=b""))
        self.refused("authorities", client_certificate=ClientCertificate.REQUIRED)

    def test_no_listener_without(self) -> None:
        """A listener needs a certificate."""
        host = SimulatedNetwork().host(SERVER)
        for tls in (None, TlsIdentity()):
            self.assertRaises(Error, UserAgent(host, tls=tls).listen, "tls", (SERVER, 5061))


class Raw(Protocol):
    """A client that writes what it is told to, and keeps what comes."""

    def __init__(self) -> None:
        self.came = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.came += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason


class HandshakeTests(SynchronousTestCase):
    """A server on a simulated network, and clients of plain Twisted and OpenSSL."""

    def setUp(self) -> None:
        self.network = SimulatedNetwork()

    def serve(self, **settings: Any) -> UserAgent:
        self.agent = UserAgent(self.network.host(SERVER), tls=identity(SERVER, **settings))
        self.agent.listen("tls", (SERVER, 5061))

        def closed() -> None:
            done = self.agent.close()
            self.network.advance(5)
            self.successResultOf(done)

        self.addCleanup(closed)
        return self.agent

    def connect(self, context: SSL.Context | None = None, ip: str = CLIENT) -> Raw:
        raw = Raw()
        factory = Factory.forProtocol(lambda: raw)
        factory.noisy = False
        wanted: Any = factory
        if context is not None:

            class Creator:
                def getContext(self) -> SSL.Context:
                    assert context is not None
                    return context

            wanted = TLSMemoryBIOFactory(cast(Any, Creator()), True, factory, cast(Any, self.network.clock))
        connecting = self.network.host(ip).connect_stream((SERVER, 5061), cast(IProtocolFactory, wanted), 10)
        self.network.advance(0.2)
        self.successResultOf(connecting)
        return raw

    def client(self, version: int | None = None, own: Any = None) -> SSL.Context:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")
        if version is not None:
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
        if own is not None:
            context.use_certificate(own.x509)
            context.use_privatekey(own.private)
        return context

    def asks(self, context: SSL.Context) -> Raw:
        raw = self.connect(context)
        if raw.lost is None:
            assert raw.transport is not None
            raw.transport.write(OPTIONS)
            self.network.advance(0.2)
        return raw

    def test_versions(self) -> None:
        """RFC 8996, issue 4 "TLS minimum 1.2": 1.2 and 1.3 are taken, 1.1 and 1.0 are not."""
        agent = self.serve()
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.assertIn(b"SIP/2.0 200", self.asks(self.client(version)).came)
        for number, version in enumerate((SSL.TLS1_1_VERSION, SSL.TLS1_VERSION), 1):
            raw = self.asks(self.client(version))
            self.assertEqual(raw.came, b"")
            self.assertIsNotNone(raw.lost)
            self.assertEqual(agent.counters["tls_failures"], number)

    def test_client_certificates(self) -> None:
        """[tls] client_certificate: optional takes none as well, required does not; no wrong one passes."""
        ours, strange = issue(CLIENT, by=authority()), issue(CLIENT)
        rows = {
            ClientCertificate.NONE: (True, True, True),
            ClientCertificate.OPTIONAL: (True, True, False),
            ClientCertificate.REQUIRED: (False, True, False),
        }
        for asked, outcomes in rows.items():
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                self.network = SimulatedNetwork()
                self.serve(client_certificate=asked)
                for own, passes in zip((None, ours, strange), outcomes, strict=True):
                    raw = self.asks(self.client(version, own))
                    self.assertEqual(b"SIP/2.0 200" in raw.came, passes, (asked, version, own))

    def test_not_tls(self) -> None:
        """SIP in the clear on a TLS port isn't read."""
        agent = self.serve()
        raw = self.connect()
        assert raw.transport is not None
        raw.transport.write(OPTIONS)
        self.network.advance(1)
        self.assertNotIn(b"SIP/2.0", raw.came)
        self.assertIsNotNone(raw.lost)
        self.assertEqual((agent.counters["requests"], agent.counters["tls_failures"]), (0, 1))

    def test_half_open(self) -> None:
        """Issue 4, 6: who begins a handshake and stops is put out in time, and others get in meanwhile."""
        agent = self.serve()
        idle = [self.connect(ip=f"10.0.2.{n}") for n in range(1, 30)]
        self.assertIn(b"SIP/2.0 200", self.asks(self.client()).came)
        self.network.advance(connection.HANDSHAKE_TIMEOUT + tcp.SWEEP_EVERY)
        self.assertTrue(all(one.lost is not None for one in idle))
        self.assertEqual(agent.counters["handshakes_too_slow"], 29)

    def test_cut_streams(self) -> None:
        """However the network cuts and loses segments, TLS and SIP on it come through."""
        self.network = SimulatedNetwork(3, cut_streams=True, loss=0.05)
        self.serve()
        raw = self.connect(self.client())
        self.network.advance(20)
        assert raw.transport is not None
        raw.transport.write(OPTIONS * 2)
        self.network.advance(20)
        self.assertEqual(raw.came.count(b"SIP/2.0 200"), 2)


class ReuseTests(SynchronousTestCase):
    """Which connection carries a request (RFC 5923, RFC 5922 4)."""

    def test_accepted(self) -> None:
        """What a peer has opened is used towards its very address and port, and not for its listening port."""
        network = SimulatedNetwork()
        agents = []
        for ip in (SERVER, CLIENT):
            agent = UserAgent(network.host(ip), tls=identity(ip))
            agent.listen("tls", (ip, 5061))
            agents.append(agent)
        server, client = agents
        out = client.listeners.flow_to("TLS", (SERVER, 5061), None, SERVER)
        network.advance(1)
        assert out is not None and out.usable
        back = server.listeners.flow_to("TLS", out.local, None, CLIENT)
        assert back is not None and back.usable
        self.assertEqual(back.local, (SERVER, 5061))
        self.assertTrue(getattr(back, "incoming", False))
        other = server.listeners.flow_to("TLS", (CLIENT, 5061), None, CLIENT)
        self.assertIsNot(other, back)
        network.advance(1)
        for agent in agents:
            done = agent.close()
            network.advance(5)
            self.successResultOf(done)

    def test_by_name(self) -> None:
        """One address, two domains: a connection that has proven to be one of them isn't used for the other."""
        network = SimulatedNetwork()
        agents = []
        for ip, names in ((SERVER, (SERVER,)), (CLIENT, ("a.example", "b.example"))):
            agent = UserAgent(network.host(ip), tls=identity(*names))
            agent.listen("tls", (ip, 5061))
            agents.append(agent)
        one, _ = agents
        way = one.listeners.flow_to
        first = way("TLS", (CLIENT, 5061), None, "a.example")
        self.assertIs(way("TLS", (CLIENT, 5061), None, "A.example"), first)
        second = way("TLS", (CLIENT, 5061), None, "b.example")
        third = way("TLS", (CLIENT, 5061), None, "c.example")
        self.assertEqual(len({first, second, third}), 3)
        network.advance(1)
        assert first is not None and second is not None and third is not None
        self.assertEqual((first.usable, second.usable, third.usable), (True, True, False))
        for agent in agents:
            done = agent.close()
            network.advance(5)
            self.successResultOf(done)
        self.assertEqual(network.leftovers(), [])


class DialogTests(SynchronousTestCase):
    """``sips:`` in a dialog (RFC 3261 12.1.1, 26.2.2)."""

    def test_next_hop(self) -> None:
        """Whatever a proxy writes into Record-Route, or the peer into Contact: the next hop is reached over TLS."""
        request = World().request(
            Record_Route="<sip:proxy.example;transport=udp;lr>", Contact="<sip:bob@192.0.2.2;transport=tcp>"
        )
        request.uri = "sips:alice@192.0.2.1"
        hop = Dialog.of_called(request, "tag").next_hop
        self.assertEqual((hop.scheme, hop.host, hop.transport), ("sips", "proxy.example", None))
        direct = World().request(Contact="<sip:bob@192.0.2.2;transport=tcp>")
        direct.uri = "sips:alice@192.0.2.1"
        dialog = Dialog.of_called(direct, "tag")
        self.assertEqual((dialog.next_hop.scheme, dialog.next_hop.transport), ("sips", None))
        dialog.refresh(World().request(Contact="<sip:bob@192.0.2.9>"))
        self.assertEqual((dialog.next_hop.scheme, dialog.next_hop.host), ("sips", "192.0.2.9"))
