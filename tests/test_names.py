"""Names in the real world: a DNS server on loopback, a hosts file, the system's resolver (`telephony.names`)."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet import defer, reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.names import dns, server
from twisted.names.authority import FileAuthority
from twisted.names.common import ResolverBase
from twisted.trial.unittest import TestCase

from telephony import names
from telephony.host import ReactorHost
from telephony.interfaces import Address, Answer, Naptr, RecordKind, Srv
from telephony.names import Names, name_servers
from telephony.sip.resolve import Locator
from tests.sip.fakes import uri


class Zone(FileAuthority):
    """``example.com``, served by the test."""

    def __init__(self) -> None:
        ResolverBase.__init__(self)
        soa = dns.Record_SOA(mname=b"ns.example.com", rname=b"root.example.com", minimum=77, ttl=1000)
        self._cache: dict[bytes, Any] = {}
        self.soa = (b"example.com", soa)
        many = [dns.Record_SRV(1, 1, port, b"a.rather.long.name.in.example.com", 60) for port in range(5000, 5060)]
        self.records = {
            b"example.com": [
                soa,
                dns.Record_NAPTR(20, 10, b"s", b"SIP+D2U", b"", b"_sip._udp.example.com", ttl=500),
                dns.Record_NAPTR(10, 10, b"u", b"E2U+sip", b"!^.*$!sip:x@y!", b"", ttl=500),
            ],
            b"_sip._udp.example.com": [
                dns.Record_SRV(1, 1, 5062, b"one.example.com", 300),
                dns.Record_SRV(2, 1, 5064, b"two.example.com", 300),
            ],
            b"_sip._tcp.example.com": [dns.Record_SRV(0, 0, 0, b"", 300)],
            b"one.example.com": [dns.Record_A("192.0.2.1", 120), dns.Record_AAAA("2001:db8::1", 60)],
            b"two.example.com": [dns.Record_A("192.0.2.2", 120), dns.Record_A("192.0.2.3", 90)],
            b"_sip._udp.big.example.com": many,
        }
        self.asked: list[tuple[bytes, int]] = []

    def query(self, query: Any, timeout: Any = None) -> Any:
        self.asked.append((query.name.name, query.type))
        return super().query(query, timeout)  # type: ignore[no-untyped-call]


class NamesTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.zone = Zone()
        self.server = server.DNSServerFactory(authorities=[self.zone])  # type: ignore[no-untyped-call]
        self.server.noisy = False
        where = self.listen()
        self.hosts = Path(self.mktemp())
        self.hosts.write_text("127.0.0.1 localhost\n192.0.2.77 pbx.example.com pbx\n2001:db8::77 PBX.example.com\n")
        self.system: dict[str, list[str]] = {"printer": ["192.0.2.90", "2001:db8::90"]}
        self.names = Names(reactor, self.ask_system, servers=[where], hosts=str(self.hosts))

    def listen(self) -> Address:
        """Serve the zone on a port of loopback, by UDP and TCP."""
        from twisted.internet import reactor

        self.protocol = dns.DNSDatagramProtocol(self.server)
        for _ in range(20):
            tcp = reactor.listenTCP(0, self.server, interface="127.0.0.1")  # type: ignore[attr-defined]
            port = tcp.getHost().port
            try:
                udp = reactor.listenUDP(port, self.protocol, interface="127.0.0.1")  # type: ignore[attr-defined]
            except OSError:
                tcp.stopListening()
                continue
            self.addCleanup(tcp.stopListening)
            self.addCleanup(udp.stopListening)
            self.addCleanup(self.hang_up)
            return "127.0.0.1", port
        raise AssertionError("no port that is free by UDP and TCP")

    def hang_up(self) -> Any:
        """Close what TCP connections there are, at both ends."""
        resolver: Any = self.names._resolver
        ours = [] if resolver is None else list(resolver.connections)
        for connection in [*ours, *self.server.connections]:
            connection.transport.abortConnection()
        done: Deferred[None] = Deferred()
        reactor.callLater(0.01 if ours else 0, done.callback, None)  # type: ignore[attr-defined]
        return done

    def ask_system(self, name: str) -> Deferred[list[str]]:
        if name in self.system:
            return succeed(self.system[name])
        return fail(socket.gaierror(socket.EAI_NONAME if name != "broken" else socket.EAI_AGAIN, name))

    async def ask(self, name: str, kind: RecordKind) -> Answer:
        return await self.names.lookup(name, kind)

    async def test_addresses(self) -> None:
        """RFC 1035, RFC 3596: A and AAAA, with the lowest time to live among them."""
        self.assertEqual(await self.ask("one.example.com", "A"), Answer(("192.0.2.1",), 120))
        self.assertEqual(await self.ask("ONE.example.com.", "AAAA"), Answer(("2001:db8::1",), 60))
        self.assertEqual(await self.ask("two.example.com", "A"), Answer(("192.0.2.2", "192.0.2.3"), 90))

    async def test_services(self) -> None:
        """RFC 2782, RFC 3403: SRV and NAPTR records, ``.`` where there is no name."""
        self.assertEqual(
            (await self.ask("_sip._udp.example.com", "SRV")).records,
            (Srv(1, 1, 5062, "one.example.com"), Srv(2, 1, 5064, "two.example.com")),
        )
        self.assertEqual((await self.ask("_sip._tcp.example.com", "SRV")).records, (Srv(0, 0, 0, "."),))
        answer = await self.ask("example.com", "NAPTR")
        self.assertEqual(
            answer,
            Answer((Naptr(20, 10, "s", "SIP+D2U", "_sip._udp.example.com"), Naptr(10, 10, "u", "E2U+sip", ".")), 500),
        )

    async def test_nothing(self) -> None:
        """RFC 2308 5: a name that does not exist, or has no such records, has none, for as long as the SOA says."""
        self.assertEqual(await self.ask("nowhere.example.com", "A"), Answer((), names.NEGATIVE_TTL))
        self.assertEqual(await self.ask("two.example.com", "AAAA"), Answer((), 77))
        for name in ("", "..", "a..b", "x" * 64 + ".example.com", "é.example.com", "a." * 130):
            self.assertEqual((await self.ask(name, "A")).records, ())

    async def test_long_answers(self) -> None:
        """RFC 1035 4.2.1: what doesn't fit into a datagram is asked for again over TCP."""
        self.assertEqual(len((await self.ask("_sip._udp.big.example.com", "SRV")).records), 60)

    async def test_hosts_file(self) -> None:
        """A name in the hosts file is what the file says; nobody is asked about it."""
        self.assertEqual((await self.ask("pbx.example.com", "A")).records, ("192.0.2.77",))
        self.assertEqual((await self.ask("pbx.example.com", "AAAA")).records, ("2001:db8::77",))
        self.assertEqual((await self.ask("pbx.example.com", "NAPTR")).records, ())
        self.assertEqual((await self.ask("_sip._udp.pbx.example.com", "SRV")).records, ())
        self.assertEqual([kind for _name, kind in self.zone.asked], [dns.SRV])

    async def test_system(self) -> None:
        """A name without a dot, or under .local, is the system's to know; not for NAPTR or SRV."""
        self.system["printer.local"] = ["192.0.2.91"]
        self.assertEqual((await self.ask("printer", "A")).records, ("192.0.2.90",))
        self.assertEqual((await self.ask("printer", "AAAA")).records, ("2001:db8::90",))
        self.assertEqual((await self.ask("printer.local", "A")).records, ("192.0.2.91",))
        self.assertEqual((await self.ask("printer.local", "SRV")).records, ())
        self.assertEqual((await self.ask("nobody", "A")).records, ())
        await self.assertFailure(self.names.lookup("broken", "A"), OSError)
        self.assertEqual(self.zone.asked, [])

    async def test_no_answer(self) -> None:
        """R5: a name server that is silent is an OSError that names the name."""
        self.patch(names, "PATIENCE", (0.05, 0.05))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            quiet = Names(reactor, self.ask_system, servers=[silent.getsockname()], hosts=str(self.hosts))
            error = await self.assertFailure(quiet.lookup("one.example.com", "A"), OSError)
            self.assertIn("one.example.com", str(error))
            given_up = quiet.lookup("one.example.com", "AAAA")
            given_up.cancel()
            await self.assertFailure(given_up, defer.CancelledError)
            await self.assertFailure(quiet.lookup("two.example.com", "A"), OSError)

    async def test_a_whole_search(self) -> None:
        """RFC 3263 4: a URI to its targets through the real host and a real server."""
        host = ReactorHost(reactor, names=self.names)
        locator = Locator(host, lambda six: [] if six else ["UDP", "TCP"], 10)
        found = await locator.locate(uri("sip:bob@example.com"))
        self.assertEqual(
            [(one.transport, one.address) for one in found],
            [
                ("UDP", ("192.0.2.1", 5062)),
                ("UDP", ("192.0.2.2", 5064)),
                ("UDP", ("192.0.2.3", 5064)),
            ],
        )
        asked = len(self.zone.asked)
        await locator.locate(uri("sip:bob@example.com"))
        self.assertEqual(len(self.zone.asked), asked, "the second time the cache knows")

    async def test_resolv_conf(self) -> None:
        """resolv.conf names the servers; it is read again when it has changed, and without it this machine is asked."""
        path = Path(self.mktemp())
        self.assertEqual(name_servers(str(path)), [("127.0.0.1", 53)])
        path.write_text(
            "# nameserver 192.0.2.9\nsearch example.com\nnameserver 192.0.2.1\nnameserver 2001:db8::1 # x\n"
        )
        self.assertEqual(name_servers(str(path)), [("192.0.2.1", 53), ("2001:db8::1", 53)])
        now = [100.0]
        clock = type("Clock", (), {"seconds": lambda self: now[0]})()
        lazy = Names(clock, self.ask_system, resolv_conf=str(path), hosts=str(self.hosts))
        first = lazy._current()
        self.assertEqual(first.servers, [("192.0.2.1", 53), ("2001:db8::1", 53)])
        path.write_text("nameserver 192.0.2.2\n")
        os.utime(path, (1, 1))
        self.assertIs(lazy._current(), first)
        now[0] += names.LOOK_EVERY
        self.assertEqual(lazy._current().servers, [("192.0.2.2", 53)])
