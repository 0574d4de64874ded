"""A hostile hour in simulated time (issue 4, "What it must show"): everybody attacks at once, and calls go through.

Scanners, guessed passwords, an INVITE flood from 10,000 sources, connections that never say anything or say it slowly,
over TCP and TLS, replayed credentials, and RTP from strangers into a call. Phones that have signed in place their calls
all the while, each set up within a second of the network's time; no table grows beyond its bound; what is sent to the
attackers is less than what they send; and the counters say what happened.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import formatEvent, globalLogPublisher

from telephony.codecs.g711 import encode_alaw
from telephony.interfaces import Address
from telephony.server.config import load_configuration
from telephony.server.switchboard import Switchboard
from telephony.sip import defence
from telephony.sip.message import Request
from telephony.sip.parser import UnparsableMessage, parse_message
from telephony.testing.case import SERVER, CallTestCase
from telephony.testing.certificates import identity
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone
from telephony.testing.threads import SimulatedRunner
from telephony.trace.events import TraceEvent

HOUR = 3600.0
#: A call every so many seconds, each this long; how long it may take from the first INVITE to the answer.
CALL_EVERY, CALL_SECONDS, SETUP = 20.0, 2.0, 1.0
ATTACKERS = "198.51."
FLOOD = 10_000
ALICE, BOB, EVIL = 500, 1000, 1900

APPLICATION = """
__uas_identify__ = "application"
__uas_version__ = "1"
async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    await channel.answer()
    if application_parameters and channel.Details.phone == "alice":
        other = channel.ExtraChannel[0]
        if await other.call(application_parameters) == other.State.ANSWERED:
            await channel.connect(other)
    await channel.wait_for_idle()
    return 0
"""
TOML = f"""
[sip]
listen = ["udp:{SERVER}:5060", "tcp:{SERVER}:5060"]
[[service]]
name = "reception"
match = "3300"
application = "app.py"
parameters = "sip:bob@{SERVER}"
allow_dial = ["sip:*@{SERVER}"]
[[phone]]
name = "alice"
password = "a-secret"
[[phone]]
name = "bob"
password = "b-secret"
[[phone]]
name = "carol"
password = "c-secret"
"""


def request(method: str, source: str, number: int, user: str = "3300", **fields: str) -> bytes:
    """Return a request as a stranger sends it."""
    values = {
        "Via": f"SIP/2.0/UDP {source}:5060;branch=z9hG4bKx{number}",
        "Max-Forwards": "70",
        "From": f"<sip:{user}@{SERVER}>;tag=t{number}",
        "To": f"<sip:{user}@{SERVER}>",
        "Call-ID": f"{number}@{source}",
        "CSeq": f"1 {method}",
        "Contact": f"<sip:{user}@{source}:5060>",
        **{name.replace("_", "-"): value for name, value in fields.items()},
    }
    message = Request(method, f"sip:{SERVER}" if method == "REGISTER" else f"sip:{user}@{SERVER}")
    for name, value in values.items():
        message.set(name, value)
    return message.to_bytes()


class Mute(Protocol):
    """A connection that says nothing, or one byte at a time."""

    closed = False

    def connectionLost(self, reason: Any = None) -> None:
        self.closed = True


class HostileHourTests(CallTestCase):
    seed = 4
    exchange_settings = {"tls": identity(SERVER, "server")}  # noqa: RUF012 - a ClassVar of the case's

    def setUp(self) -> None:
        super().setUp()
        self.exchange.listen(f"tls:{SERVER}:5061")
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        (directory / "app.py").write_text(APPLICATION)
        (directory / "t.toml").write_text(TOML)
        self.patch(Path, "cwd", lambda: directory)
        configuration = load_configuration(directory / "t.toml")
        runner = SimulatedRunner(self.network.clock)
        self.addCleanup(runner.close)
        self.board = Switchboard(configuration, self.exchange, runner)
        self.draws = random.Random(4)
        self.number = self.flooded = 0
        self.setups: list[float] = []
        self.peaks: Counter[str] = Counter()
        self.bytes_in = self.bytes_out = 0
        #: What the server said to attackers: methods and statuses, and the last nonce to each.
        self.told: Counter[tuple[str, int]] = Counter()
        self.nonces: dict[str, str] = {}
        #: How many answers each kind of attacker got, by the third part of its address.
        self.answered: Counter[str] = Counter()
        self.network.watchers.append(self._watch)
        self.lines: list[str] = []
        self.end = self.network.clock.seconds() + HOUR

        def hear(event: Any) -> None:
            self.lines.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)

    def _watch(self, event: TraceEvent) -> None:
        if event.transport != "UDP":
            return
        if event.source[0].startswith(ATTACKERS):
            self.bytes_in += len(event.data)
        elif event.destination[0].startswith(ATTACKERS):
            self.bytes_out += len(event.data)
            try:
                message = parse_message(event.data)
            except UnparsableMessage:
                return
            if message is not None and not isinstance(message, Request):
                self.answered[event.destination[0].split(".")[2]] += 1
                self.told[message.cseq.method, message.status] += 1
                challenge = message.get("WWW-Authenticate") or ""
                if 'nonce="' in challenge:
                    self.nonces[event.destination[0]] = challenge.partition('nonce="')[2].partition('"')[0]

    # -- acting ------------------------------------------------------------------------------------------------------

    async def passes(self, seconds: float) -> None:
        done: Deferred[None] = Deferred()
        self.network.clock.callLater(seconds, done.callback, None)
        await done

    def every(self, seconds: float, act: Callable[[], object], first: float = 0.0, until: float = HOUR) -> None:
        """Do something so often, from the ``first`` second of the hour to the last but that."""
        began = self.end - HOUR

        def again() -> None:
            if self.network.clock.seconds() < began + until:
                act()
                self.network.clock.callLater(seconds, again)

        self.network.clock.callLater(first, again)

    def send(self, source: str, data: bytes, port: int = 5060) -> None:
        """Send a datagram to the server from any address."""
        self.network._datagram((source, port), data, (SERVER, 5060))

    def asks(self, method: str, source: str, user: str = "3300", **fields: str) -> None:
        self.number += 1
        self.send(source, request(method, source, self.number, user, **fields))

    # -- the attackers -----------------------------------------------------------------------------------------------

    def scanners(self) -> None:
        """Ten look for names, half of them under a scanner's name; each goes on for the whole hour."""
        for n in range(10):
            source = f"{ATTACKERS}1.{n}"
            agent = "friendly-scanner" if n % 2 else f"Phone {n}"

            def scan(source: str = source, agent: str = agent) -> None:
                method = self.draws.choice(("OPTIONS", "REGISTER", "INVITE"))
                self.asks(method, source, str(self.draws.randrange(100, 10_000)), User_Agent=agent)

            self.every(1.0, scan, first=n / 10)

    def guessers(self) -> None:
        """Five guess alice's and nobody's passwords, each challenge answered with a guess; one takes its time."""
        for n, pause in enumerate((0.5, 0.5, 1.0, 2.0, 40.0)):
            source = f"{ATTACKERS}2.{n}"

            def guess(source: str = source) -> None:
                nonce = self.nonces.get(source)
                user = self.draws.choice(("alice", "admin"))
                if nonce is None:
                    self.asks("REGISTER", source, user)
                    return
                self.asks(
                    "REGISTER",
                    source,
                    user,
                    Authorization=f'Digest username="{user}", realm="telephony", nonce="{nonce}", uri="sip:{SERVER}", '
                    f'response="{self.draws.getrandbits(256):064x}", algorithm=SHA-256, qop=auth, nc=00000001, '
                    'cnonce="x"',
                )

            self.every(pause, guess, first=1 + n / 10)

    def flood(self) -> None:
        """INVITEs from 10,000 sources, over a minute, and again within ten seconds, which is more than is taken."""
        for begin, seconds in ((600.0, 60.0), (2400.0, 10.0)):
            each = round(FLOOD / seconds / 10)

            def burst(each: int = each) -> None:
                for _ in range(each):
                    n = self.flooded % FLOOD
                    self.flooded += 1
                    self.asks("INVITE", f"{ATTACKERS}{100 + n // 256}.{n % 256}")

            self.every(0.1, burst, first=begin, until=begin + seconds)

    def mutes(self, tls: bool) -> list[Mute]:
        """Open connections, from a few hosts, that say nothing, or something very slowly."""
        opened: list[Mute] = []
        port = 5061 if tls else 5060

        def open_some() -> None:
            host = self.network.host(f"{ATTACKERS}{4 if tls else 3}.{len(opened) % 4}")
            made = Mute()
            opened.append(made)
            host.connect_stream((SERVER, port), Factory.forProtocol(lambda: made), 10).addErrback(lambda _: None)  # type: ignore[arg-type, return-value]
            if len(opened) % 2:
                slowly(made, request("OPTIONS", host.addresses[0], len(opened)))

        def slowly(made: Mute, data: bytes, at: int = 0) -> None:
            if made.transport is not None and not made.closed:
                made.transport.write(data[at : at + 1])
                at += 1
            if at < len(data) and not made.closed:
                self.network.clock.callLater(2.0, slowly, made, data, at)

        self.every(6.0, open_some, first=5)
        return opened

    def replays(self, captured: list[bytes]) -> None:
        """Send alice's own credentials again: from elsewhere, and with her address written on the datagram."""

        def replay() -> None:
            self.number += 1
            for data in captured[-2:]:
                again = data.replace(b"branch=z9hG4bK", b"branch=z9hG4bKr%d" % self.number)
                self.send(f"{ATTACKERS}5.1", again)
                self.network._datagram(self.alice.address, again, (SERVER, 5060))

        self.every(30.0, replay, first=100)

    # -- the others --------------------------------------------------------------------------------------------------

    async def call(self, phone: Phone, user: str = "3300") -> None:
        """Place a call, and note how long it took to be answered."""
        began = self.network.clock.seconds()
        phone.dial(f"sip:{user}@{SERVER}")
        await phone.until("answered", 5)
        self.setups.append(self.network.clock.seconds() - began)
        await self.passes(CALL_SECONDS)
        await phone.hang_up()
        await self.passes(0.5)

    def look(self) -> None:
        """Note how big the tables are."""
        agent = self.exchange.user_agent
        sizes = {
            **agent.defence.sizes,
            "server transactions": len(agent.transactions.server),
            "client transactions": len(agent.transactions.client),
            "sessions": len(agent._sessions),
            "channels": len(self.exchange.channels),
            "connections": sum(len(one._all) for one in agent.listeners._streams),
            "nonces": len(self.board.lines.phones._authority._counts) if self.board.lines.phones else 0,
        }
        for name, size in sizes.items():
            self.peaks[name] = max(self.peaks[name], size)

    async def test_hostile_hour(self) -> None:
        """Issue 4, "What it must show", 6."""
        self.board.start()
        self.alice = self.phone("alice", media=True)
        self.bob = self.phone("bob", auto_answer=0.1)
        captured: list[bytes] = []
        self.network.watchers.append(
            lambda event: (
                captured.append(event.data)
                if event.source == self.alice.address and b"\r\nAuthorization:" in event.data
                else None
            )
        )
        for phone, password in ((self.alice, "a-secret"), (self.bob, "b-secret")):
            self.assertEqual(await phone.register(f"sip:{SERVER}", password, expires=600), 200)
            phone.says(tone(ALICE if phone is self.alice else BOB))
        self.scanners()
        self.guessers()
        self.flood()
        opened = [self.mutes(False), self.mutes(True)]
        self.replays(captured)
        self.every(1.0, self.look)
        await self.injected()
        calls = 1
        registered = None
        while self.network.clock.seconds() < self.end:
            await self.call(self.alice)
            calls += 1
            if registered is None and self.network.clock.seconds() > self.end - HOUR + 620:
                # In the middle of the flood somebody new signs in, and calls.
                carol = self.phone("carol")
                began = self.network.clock.seconds()
                self.assertEqual(await carol.register(f"sip:{SERVER}", "c-secret"), 200)
                registered = self.network.clock.seconds() - began
                await self.call(carol)
                calls += 1
            await self.passes(CALL_EVERY - CALL_SECONDS)
        for connections in opened:
            for one in connections:
                if one.transport is not None and not one.closed:
                    one.transport.abortConnection()  # type: ignore[attr-defined]
        await self.passes(60)
        self.judge(calls, registered)

    async def injected(self) -> None:
        """Alice and bob talk, and a stranger sends RTP to every port of the server's that they use."""
        self.alice.dial(f"sip:3300@{SERVER}")
        await self.alice.until("answered", 5)
        await self.bob.until("answered", 5)
        await self.passes(1.0)
        ports: list[Address] = [
            one.leg.endpoint.rtp.address
            for one in self.exchange.channels
            if one.leg is not None and one.leg.endpoint is not None
        ]
        self.assertEqual(len(ports), 2)
        since = self.network.clock.seconds()
        voice = encode_alaw(tone(EVIL))
        for n in range(500):
            for port in ports:
                at = n % 50 * 160
                packet = bytes((0x80, 8)) + n.to_bytes(2, "big") + (n * 160).to_bytes(4, "big") + b"evil"
                packet += voice[at : at + 160]
                self.network._datagram((f"{ATTACKERS}6.{n % 8}", 30_000), packet, port)
            await self.passes(0.02)
        for phone, frequency in ((self.alice, BOB), (self.bob, ALICE)):
            heard = phone.heard(frequency, since=since)
            self.assertGreater(sum(one.seconds for one in heard), 9.0, f"{phone.name} hears the other one")
            self.assertEqual(phone.heard(EVIL, since=since), [], f"{phone.name} does not hear the stranger")
        await self.alice.hang_up()
        await self.passes(1.0)

    # -- judging -----------------------------------------------------------------------------------------------------

    def judge(self, calls: int, registered: float | None) -> None:
        """Hold what the hour has to show."""
        counters = self.exchange.user_agent.counters
        self.assertEqual(len(self.setups), calls - 1)
        self.assertLess(max(self.setups), SETUP, "each call is set up within a second")
        self.assertIsNotNone(registered)
        self.assertLess(registered or 0.0, SETUP)
        self.assertEqual(counters["faults"], 0)
        # The tables.
        self.assertLessEqual(self.peaks["sources"], defence.MAX_SOURCES)
        self.assertLessEqual(self.peaks["bans"], defence.MAX_BANS)
        self.assertLess(self.peaks["friends"], 10)
        self.assertLess(self.peaks["sessions"], 10)
        self.assertLess(self.peaks["channels"], 5)
        self.assertLess(self.peaks["server transactions"], 100)
        self.assertLess(self.peaks["connections"], 60)
        self.assertLess(self.peaks["nonces"], 1000)
        # What the attackers got.
        self.assertGreater(self.told["INVITE", 503], 0, "who comes when there are too many is told to try again")
        # 482 is for credentials that were sent again together with their call.
        wanted = {("INVITE", 401), ("INVITE", 482), ("INVITE", 503), ("REGISTER", 401), ("OPTIONS", 200)}
        self.assertLessEqual(set(self.told), wanted, "no stranger is let in, or told what there is")
        self.assertLess(self.answered["1"] + self.answered["2"], 5_000, "of 40,000 probes and guesses")
        self.assertLessEqual(self.answered["5"], 240, "of replays")
        self.assertLess(self.bytes_out, self.bytes_in, "nobody is flooded by way of us")
        # What the counters say.
        for name in (
            "bans",
            "banned_dropped",
            "scanners",
            "offences",
            "strangers_put_off",
            "senders_too_slow",
            "sent_503",
        ):
            self.assertGreater(counters[name], 0, counters)
        self.assertGreaterEqual(self.flooded, 2 * FLOOD - 200)
        self.assertGreaterEqual(counters["requests"], self.flooded)
        bans = [line for line in self.lines if line.startswith("Nothing that comes from")]
        self.assertEqual(len(bans), counters["bans"], "each ban is said once")
