"""The simulated NAT, by itself and with calls through it."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from telephony.call.channel import CallChannel
from telephony.call.resources import TonePlayer
from telephony.interfaces import Address, DatagramPort
from telephony.testing.case import CallTestCase
from telephony.testing.nat import KINDS, Nat
from telephony.testing.network import SimulatedNetwork
from telephony.testing.sounds import tone

INSIDE, PUBLIC = "192.168.1.2", "203.0.113.1"
SERVER, OTHER = ("10.0.0.1", 5060), ("10.0.0.9", 5060)


class NatCase(SynchronousTestCase):
    def build(self, kind: str, **settings: Any) -> Nat:
        """A private host, and two outside, which keep what they get."""
        self.network = SimulatedNetwork()
        self.nat = self.network.nat(PUBLIC, kind, **settings)
        self.got: dict[Address, list[tuple[bytes, Address]]] = {}
        self.inside = self.open((INSIDE, 5060), behind=True)
        self.server = self.open(SERVER)
        self.other = self.open(OTHER)
        return self.nat

    def open(self, address: Address, behind: bool = False) -> DatagramPort:
        host = self.nat.host(address[0]) if behind else self.network.host(address[0])
        got = self.got[address] = []
        return host.open_datagram_port(address, lambda data, source: got.append((bytes(data), source)))

    def pass_(self, port: DatagramPort, data: bytes, to: Address) -> None:
        port.send(data, to)
        self.network.advance(0.1)

    def outside(self) -> Address:
        return self.got[SERVER][-1][1]


class MappingTests(NatCase):
    """RFC 4787 4 and 5."""

    def test_seen_from_outside(self) -> None:
        """The far end sees the public address, and what it sends back there arrives."""
        for kind in KINDS:
            self.build(kind)
            self.pass_(self.inside, b"one", SERVER)
            [(data, source)] = self.got[SERVER]
            self.assertEqual((data, source[0]), (b"one", PUBLIC))
            self.pass_(self.server, b"two", source)
            self.assertEqual(self.got[INSIDE, 5060], [(b"two", SERVER)])
            self.assertEqual(self.nat.outside(INSIDE, 5060), [source])

    def test_no_way_in(self) -> None:
        """A private address has no route from outside; a public one without a mapping leads nowhere."""
        self.build("full-cone")
        self.pass_(self.server, b"x", (INSIDE, 5060))
        self.pass_(self.server, b"x", (PUBLIC, 5060))
        self.assertEqual(self.got[INSIDE, 5060], [])
        self.assertEqual((self.network.counters["no route"], self.network.counters["not let in"]), (1, 1))

    def test_who_may_answer(self) -> None:
        """Of a stranger's packets a full cone lets all in, the others none; once sent to, it depends on the mapping."""
        for kind, before, after in (("full-cone", 1, 2), ("port-restricted", 0, 1), ("symmetric", 0, 0)):
            self.build(kind)
            self.pass_(self.inside, b"x", SERVER)
            mapped = self.outside()
            self.pass_(self.other, b"x", mapped)
            self.assertEqual((kind, len(self.got[INSIDE, 5060])), (kind, before))
            self.pass_(self.inside, b"x", OTHER)
            same = self.got[OTHER][-1][1] == mapped
            self.assertEqual(same, kind != "symmetric")
            self.pass_(self.other, b"x", mapped)
            self.assertEqual((kind, len(self.got[INSIDE, 5060])), (kind, after))

    def test_time_out(self) -> None:
        """A mapping ends when nothing has gone out for a while; what goes out keeps it, what comes in doesn't."""
        self.build("full-cone", timeout=30)
        self.pass_(self.inside, b"x", SERVER)
        first = self.outside()
        for _ in range(5):
            self.network.advance(20)
            self.pass_(self.inside, b"keep", SERVER)
        self.assertEqual(self.outside(), first)
        for _ in range(2):
            self.network.advance(16)
            self.pass_(self.server, b"x", first)
        self.assertEqual(len(self.got[INSIDE, 5060]), 1)
        self.assertEqual(self.nat.mappings, [])
        self.pass_(self.inside, b"x", SERVER)
        self.assertNotEqual(self.outside(), first)

    def test_rebinding(self) -> None:
        """A rebinding forgets the mappings of one port, of a host, or all; the next packet out makes a new one."""
        self.build("full-cone")
        self.pass_(self.inside, b"x", SERVER)
        first = self.outside()
        self.assertEqual(self.nat.rebind(INSIDE, 9999), 0)
        self.assertEqual(self.nat.rebind(INSIDE, 5060), 1)
        self.pass_(self.server, b"x", first)
        self.assertEqual(self.got[INSIDE, 5060], [])
        self.pass_(self.inside, b"x", SERVER)
        self.assertNotEqual(self.outside(), first)

    def test_among_themselves(self) -> None:
        """Two hosts behind one NAT reach each other by private address as well as by way of the NAT."""
        self.build("full-cone")
        neighbour = ("192.168.1.3", 5060)
        port = self.open(neighbour, behind=True)
        self.pass_(port, b"private", (INSIDE, 5060))
        self.assertEqual(self.got[INSIDE, 5060], [(b"private", neighbour)])
        self.pass_(self.inside, b"x", SERVER)
        self.pass_(port, b"around", self.outside())
        self.assertEqual(self.got[INSIDE, 5060][1][0], b"around")
        self.assertEqual(self.got[INSIDE, 5060][1][1][0], PUBLIC)

    def test_links(self) -> None:
        """A link of the private address carries both ways."""
        self.build("full-cone")
        self.network.link(INSIDE, SERVER[0], delay=0.05)
        for port, to in ((self.inside, SERVER), (self.server, None)):
            start = self.network.clock.seconds()
            port.send(b"x", to or self.outside())
            self.network.run_until(lambda to=to: self.got[to or (INSIDE, 5060)])  # type: ignore[misc]
            self.assertApproximates(self.network.clock.seconds() - start, 0.05, 0.001)

    def test_mistakes(self) -> None:
        """A kind that is none, an address that is taken, a host behind two: ValueError."""
        self.build("symmetric")
        self.assertRaises(ValueError, self.network.nat, "203.0.113.2", "conical")
        self.assertRaises(ValueError, self.network.nat, PUBLIC)
        self.assertRaises(ValueError, self.network.nat, SERVER[0])
        self.assertRaises(ValueError, self.network.nat("203.0.113.3").host, INSIDE)


class TcpTests(NatCase):
    def test_connection(self) -> None:
        """A connection from inside has the public address outside, nobody connects inwards, a rebinding breaks it."""
        self.build("symmetric")
        peers: list[Any] = []
        lost: list[str] = []

        class Noting(Protocol):
            def connectionMade(self) -> None:
                peers.append(self.transport.getPeer())

            def connectionLost(self, reason: Any = None) -> None:
                lost.append(reason.type.__name__)

        factory: Any = Factory.forProtocol(Noting)
        factory.noisy = False
        self.network.host(SERVER[0]).listen_stream(SERVER, factory)
        connecting = self.network.host(INSIDE).connect_stream(SERVER, factory, 10)
        self.network.run_until(connecting)
        self.assertEqual([peer.host for peer in peers], [PUBLIC, SERVER[0]])
        inwards = self.network.host(OTHER[0]).connect_stream((INSIDE, 5060), factory, 5)
        self.network.advance(6)
        self.failureResultOf(inwards)
        self.assertEqual(self.nat.rebind(), 1)
        self.assertEqual(lost, ["ConnectionLost"] * 2)


class CallTests(CallTestCase):
    """Issue 3, "NAT with rebinding"; RFC 3581, and RTP that goes back to where it comes from."""

    async def talks(self, transport: str = "udp", **settings: Any) -> None:
        """Alice calls from behind a NAT and is put through to bob: they hear each other."""

        async def main(channel: CallChannel) -> None:
            self.channel = channel
            await channel.answer()
            TonePlayer(channel)
            await channel.retrievable_transfer(self.exchange.channel(), bob.uri)
            await channel.wait_for_idle(7200)

        self.serve(main)
        self.behind = self.nat(**settings)
        self.alice, self.bob = self.phone("alice", behind=self.behind), self.phone("bob", auto_answer=0.2)
        bob = self.bob
        self.alice.says(tone(1000))
        bob.says(tone(600))
        self.alice.dial(self.uri("100", transport))
        await self.alice.until("answered")
        await self.both_hear()

    async def both_hear(self) -> None:
        """Hold that each hears the other from now on."""
        start = self.network.clock.seconds()
        await self.alice.until_hears(600, since=start)
        await self.bob.until_hears(1000, since=start)

    async def over(self) -> None:
        """Alice hangs up, and bob's call ends with hers."""
        self.assertEqual(await self.alice.hang_up(), 200)
        await self.bob.until("ended")

    async def called(self, kind: str) -> None:
        """Have a whole call, and look at what alice has said of herself."""
        await self.talks(kind=kind)
        invite = self.alice.sent("INVITE")[0]
        self.assertIn("192.168.1.1:5060", str(invite.via))
        self.assertIn("192.168.1.1:5060", invite.get("Contact") or "")
        self.assertIn(b"c=IN IP4 192.168.1.1", invite.body)
        await self.over()

    async def test_full_cone(self) -> None:
        """RFC 3581 4: a call from behind a NAT is answered, hears and is heard, though all it says is private."""
        await self.called("full-cone")

    async def test_port_restricted(self) -> None:
        """The same behind a NAT that lets in only whom something was sent to."""
        await self.called("port-restricted")

    async def test_symmetric(self) -> None:
        """The same behind one that has a mapping for each destination."""
        await self.called("symmetric")

    async def test_far_end_hangs_up(self) -> None:
        """RFC 3261 12.2.1.1 and a NAT: our BYE goes where alice's messages come from, not to her private Contact."""
        await self.talks()
        self.assertEqual(await self.bob.hang_up(), 200)
        self.channel.hang_up()
        await self.alice.until("ended")
        self.assertEqual(self.alice.call.ended_by, "far")

    async def test_far_end_hangs_up_over_tcp(self) -> None:
        """RFC 3261 12.2.1.1: the same by the connection that alice has opened."""
        await self.talks(transport="tcp")
        self.assertIn("192.168.1.1:5060", self.alice.sent("INVITE")[0].get("Contact") or "")
        self.channel.hang_up()
        await self.alice.until("ended")
        self.assertEqual(self.alice.call.ended_by, "far")

    async def test_signalling_moves(self) -> None:
        """RFC 4787 4.3: once the NAT has given alice another port, her next request in the dialog tells us."""
        await self.talks(kind="symmetric")
        self.assertGreater(self.behind.rebind("192.168.1.1", 5060), 0)
        self.assertEqual(await self.alice.call.refresh(), 200)
        self.channel.hang_up()
        await self.alice.until("ended")
        self.assertEqual(self.alice.call.ended_by, "far")

    async def calls_behind(self) -> None:
        """Put alice through to bob, who is behind a NAT that lets everybody in, and has opened it."""
        office = self.registrar({"bob": "secret"})

        async def main(channel: CallChannel) -> None:
            self.channel = channel
            await channel.answer()
            TonePlayer(channel)
            ip, port = self.behind.outside("192.168.1.2", 5060)[0]
            await channel.retrievable_transfer(self.exchange.channel(), f"sip:bob@{ip}:{port}")
            await channel.wait_for_idle(7200)

        self.serve(main)
        self.behind = self.nat("full-cone")
        self.alice, self.bob = self.phone("alice"), self.phone("bob", behind=self.behind)
        self.assertEqual(await self.bob.register(office.uri, "secret", keep_alive=20.0), 200)
        self.alice.dial(self.uri("100"))
        await self.bob.until("incoming")

    async def test_target(self) -> None:
        """RFC 3261 13.2.2.4, 15: the ACK of bob's 200 and our BYE get to him behind his NAT."""
        await self.calls_behind()
        self.bob.answer()
        await self.alice.until("answered")
        await self.pause(40.0)
        self.assertTrue(self.bob.call.alive)
        self.assertEqual(len(self.bob.got("ACK")), 1)
        self.assertEqual(await self.alice.hang_up(), 200)
        await self.bob.until("ended")
        self.assertEqual(self.bob.call.ended_by, "far")

    async def test_target_is_cancelled(self) -> None:
        """RFC 3261 9.1: the CANCEL of a call that bob doesn't take gets to him, too."""
        await self.calls_behind()
        await self.alice.hang_up()
        await self.bob.until("ended")
        self.assertEqual((self.bob.call.answered, self.bob.call.ended_by), (False, "far"))

    async def test_rtp_moves(self) -> None:
        """transfer.md R22: a call survives rebindings of its RTP, at moments drawn by the seed."""
        await self.talks(kind="symmetric")
        for _ in range(3):
            await self.pause(self.network.random.uniform(0.5, 3.0))
            inside = self.alice.call.rtp_address
            before = self.behind.outside(*inside)
            self.assertEqual(self.behind.rebind(*inside), 1)
            await self.pause(1.0)
            self.assertNotEqual(self.behind.outside(*inside), before)
            await self.both_hear()
        await self.over()

    async def reached(self, keep_alive: float) -> int:
        """Return what a call to a phone that registered ten minutes ago, from behind a NAT, comes to."""
        office = self.registrar({"alice": "secret"})
        alice = self.phone("alice", behind=self.nat(timeout=30.0), auto_answer=0.1)
        bob = self.phone("bob")
        self.assertEqual(await alice.register(office.uri, "secret", keep_alive=keep_alive), 200)
        await self.pause(600)
        bob.dial(office.uri_of("alice"))
        await bob.until(lambda: bob.call.answered or not bob.call.alive)
        if bob.call.answered:
            await bob.hang_up()
        return bob.call.status

    async def test_kept_open(self) -> None:
        """RFC 5626 3.5.1: keep-alives hold the way open through which a registered phone is called."""
        self.assertEqual(await self.reached(20.0), 200)

    async def test_not_kept_open(self) -> None:
        """Without them nobody comes through to it."""
        self.assertEqual(await self.reached(0.0), 0)


class OtherSeedTests(CallTests):
    """The same with other accidents."""

    seed = 2
    network_settings: ClassVar[dict[str, Any]] = {"jitter": 0.01}


class LossyTests(CallTests):
    """The same with loss."""

    seed = 3
    network_settings: ClassVar[dict[str, Any]] = {"loss": 0.03}
