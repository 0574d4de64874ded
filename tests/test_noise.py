"""20,000 datagrams of noise at the listening port: no traceback, no growth, and the next call works (I4, rule 6)."""

from __future__ import annotations

import gc
import random
from collections import Counter
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import TestCase

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.call.core import ChannelCore
from telephony.call.exchange import Exchange
from telephony.call.leg import Leg
from telephony.call.resources import TonePlayer
from telephony.call.transfer import Transfer
from telephony.errors import TelephonyError
from telephony.host import ReactorHost
from telephony.interfaces import Address
from telephony.media.endpoint import Endpoint
from telephony.rtp.ports import PortPair
from telephony.rtp.session import RtpSession
from telephony.sip.defence import UNLIMITED
from telephony.sip.session import Session
from telephony.sip.timers import Timers
from telephony.sip.transaction import ClientTransaction, ServerTransaction
from telephony.testing.case import AFTERMATH, SERVER, CallTestCase
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone
from tests.noise import Noise

NOISE = ("10.0.1.99", 5060)
#: What may not be left of a call.
MORTAL = (ChannelCore, Leg, Transfer, Session, ClientTransaction, ServerTransaction, Endpoint, RtpSession, PortPair)


def held(exchange: Exchange) -> dict[str, int]:
    """Return how much an exchange keeps for calls and transactions, by table; what is empty isn't there."""
    agent = exchange.user_agent
    transactions = agent.transactions
    tables = {
        "channels": len(exchange.channels),
        "port pairs": exchange.ports.in_use,
        "media streams": len(exchange.media_clock),
        "sessions": len(agent._sessions),
        "client transactions": len(transactions.client),
        "server transactions": len(transactions.server),
        "merging": len(transactions.merging),
        "long aftermath": len(transactions.long._waiting),
        "short aftermath": len(transactions.short._waiting),
        "refused aftermath": len(transactions.refused._waiting),
        "dialogs being located": len(agent.finder.waiting),
        "look-ups": len(agent.finder.lookups),
        "to be called soon": len(exchange._later),
    }
    return {name: count for name, count in tables.items() if count}


def living() -> Counter[str]:
    """Count the objects of calls that are alive anywhere in this process."""
    gc.collect()
    return Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, MORTAL))


class Answering:
    """An application that does something else with each call, and is done with it after a few seconds."""

    def __init__(self, exchange: Exchange, seed: int, target: str, second: float = 1.0) -> None:
        self.faults: list[Any] = []
        self.calls = 0
        self.outcomes: Counter[str] = Counter()
        self._exchange = exchange
        self._random = random.Random(seed)
        self._target = target
        self._second = second
        exchange.on_call = self.begin

    def begin(self, channel: CallChannel) -> None:
        self.calls += 1
        Deferred.fromCoroutine(self._main(channel)).addErrback(self.faults.append)

    async def _main(self, channel: CallChannel) -> None:
        draw = self._random.random()
        try:
            if draw < 0.1:
                await channel.reject(raw_cause="486")
                return
            if draw < 0.4:
                await channel.ring(3 * draw * self._second)
            self.outcomes[str(await channel.answer())] += 1
            if channel.state() is State.ANSWERED and draw > 0.5:
                TonePlayer(channel)
                self.outcomes[
                    str(
                        await channel.retrievable_transfer(
                            self._exchange.channel(), self._target, seconds_timeout=3 * self._second
                        )
                    )
                ] += 1
            await channel.wait_for_idle(2 * self._second)
        except TelephonyError as error:
            self.outcomes[type(error).__name__] += 1
        finally:
            await channel.hang_up()


class NoiseTests(CallTestCase):
    """On the simulated network, where 20,000 datagrams and the time behind them take seconds."""

    strict = False  # what the phones complain of is looked at, but their server has had a hard time before
    exchange_settings: ClassVar[dict[str, Any]] = {"max_calls": 100}
    datagrams = 20_000
    seed = 20

    def setUp(self) -> None:
        super().setUp()
        # What the defence leaves unread would test nothing else.
        self.exchange.user_agent.defence.configure(UNLIMITED)
        self.port = self.network.host(NOISE[0]).open_datagram_port(NOISE, self._heard)
        self.noise = Noise(self.seed, (SERVER, 5060), NOISE)

    def _heard(self, data: bytes, source: Address) -> None:
        self.noise.heard(data)

    def _received(self) -> Counter[str]:
        received: Counter[str] = Counter()

        def trace(event: Any) -> None:
            received["sent" if event.sent else "received"] += 1

        self.exchange.trace = trace
        return received

    def test_noise(self) -> None:
        """No traceback, nothing kept 3*64*T1 later, everything counted, and the next call is heard both ways (I4)."""
        traced = self._received()
        application = Answering(self.exchange, self.seed, f"sip:noise@{NOISE[0]}:{NOISE[1]}")
        before = living()
        sent = 0
        while sent < self.datagrams:
            for data in self.noise.datagrams():
                self.port.send(data, (SERVER, 5060))
                sent += 1
            self.network.advance(0.005)
        self.network.advance(AFTERMATH)
        # No ladder of all this, should something fail: nobody could read it.
        self.network.events.clear()
        self.notes.clear()

        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(application.faults, [])
        self.assertEqual(held(self.exchange), {})
        self.assertEqual(self.network.clock.leftovers(), [])
        self.assertEqual(living() - before, Counter())
        self._judge_counters(self.exchange.user_agent.counters, sent, traced["received"])
        # The noise reached what it was meant to reach.
        self.assertGreater(application.calls, 100)
        for outcome in ("ANSWERED", "IDLE", "TRANSFERRED"):
            self.assertGreater(application.outcomes[outcome], 0, f"{outcome}: {application.outcomes}")

        self.port.close()
        self._talk()
        self.assertEqual(self.flushLoggedErrors(), [])

    def _judge_counters(self, counters: Counter[str], sent: int, received: int) -> None:
        # Some of the noise makes the server talk to itself, with a Contact that is its own address.
        # STUN is no message, and isn't traced.
        stun = sum(counters[name] for name in ("stun_requests", "stun_garbage", "stun_strays"))
        self.assertGreaterEqual(received + stun, sent)
        self.assertEqual(counters["faults"], 0)
        # Each datagram is one of these, once.
        kinds = ("keep_alives", "garbage", "requests", "responses")
        self.assertEqual(sum(counters[kind] for kind in kinds), received, counters)
        for name in (*kinds, "stray_responses", "stray_acks", "retransmissions", "sent_400", "sent_481", "sent_405"):
            self.assertGreater(counters[name], 0, f"{name}: {counters}")
        # What a peer writes never becomes the name of a counter.
        self.assertLess(len(counters), 60, counters)

    def _talk(self) -> None:
        """Let alice call, be transferred to bob, and hear him, as he hears her."""
        alice, bob = self.phone("alice"), self.phone("bob", auto_ring=True, auto_answer=0.2)
        alice.says(tone(440))
        bob.says(tone(700))

        async def application(channel: CallChannel) -> None:
            await channel.answer()
            TonePlayer(channel)
            await channel.retrievable_transfer(self.exchange.channel(), bob.uri)
            await channel.wait_for_transferred_call_retrieval()
            await channel.hang_up()

        self.serve(application)
        alice.dial(self.uri("3300"))
        self.run_until(alice.until_hears(700, since=self.network.clock.seconds()), 10)
        self.run_until(bob.until_hears(440, since=self.network.clock.seconds()), 10)
        self.run_until(alice.hang_up(), 5)
        self.run_until(bob.until("ended"), 5)
        self.assertEqual(alice.faults() + bob.faults(), [])


class QuickTimers(Timers):
    """Timers that are all short; timer D isn't by the RFC, whatever T1 is."""

    timer_d = Timers.lifetime


class SocketNoiseTests(TestCase):
    """On a real loopback socket, with T1 of 10 ms so that 3*64*T1 are two seconds."""

    datagrams = 2_000
    t1 = 0.01

    @inlineCallbacks
    def test_noise(self):  # type: ignore[no-untyped-def]
        """The same over the system's sockets: nothing is kept, and the next call is heard."""
        from twisted.internet import reactor

        clock: Any = reactor
        host = ReactorHost(reactor)
        timers = QuickTimers(t1=self.t1, t2=8 * self.t1, t4=10 * self.t1)
        exchange = Exchange(host, timers=timers, max_calls=50, rtp_ports=(30000, 39999))
        self.addCleanup(exchange.close)
        server = exchange.listen("udp:127.0.0.1:0")
        port = host.open_datagram_port(("127.0.0.1", 0), lambda data, source: noise.heard(data))
        self.addCleanup(port.close)
        noise = Noise(7, server, port.address)
        application = Answering(exchange, 7, f"sip:noise@127.0.0.1:{port.address[1]}", second=0.02)

        def pause(seconds: float) -> Deferred[None]:
            done: Deferred[None] = Deferred()
            clock.callLater(seconds, done.callback, None)
            return done

        sent = 0
        while sent < self.datagrams:
            for _ in range(20):  # as many as surely fit into a socket's buffer
                for data in noise.datagrams():
                    port.send(data, server)
                    sent += 1
            yield pause(0)
        deadline = clock.seconds() + 30
        while held(exchange) and clock.seconds() < deadline:
            yield pause(0.05)

        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(application.faults, [])
        self.assertEqual(held(exchange), {})
        self.assertEqual(exchange.user_agent.counters["faults"], 0)
        self.assertGreater(application.calls, 10)

        alice = Phone(host, ("127.0.0.1", 0), "alice", t1=self.t1)
        self.addCleanup(alice.close)
        ringing = exchange.tone_manager

        async def greeting(channel: CallChannel) -> None:
            await channel.answer()
            await TonePlayer(channel, ringing).start("DIAL")

        exchange.on_call = lambda channel: Deferred.fromCoroutine(greeting(channel)).addErrback(
            application.faults.append
        )
        alice.dial(f"sip:3300@127.0.0.1:{server[1]}")
        yield alice.until_hears(350, 440)
        yield alice.hang_up()
        self.assertEqual((application.faults, alice.faults()), ([], []))
