"""What strangers may cost (issue 4, Defence): rates, offences, bans, silence, and what keeps friends out of it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.sip import defence
from telephony.sip.defence import Bucket, Defence, Limits, source_of
from telephony.sip.identity import Identity, Kind
from tests.sip.fakes import US, Peer, World

EVIL = ("198.51.100.66", 5060)


class SourceTests(SynchronousTestCase):
    def test_names(self) -> None:
        """A source is an IPv4 address or an IPv6 /64; loopback is none."""
        self.assertEqual(source_of("192.0.2.1"), "192.0.2.1")
        self.assertEqual(source_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64")
        self.assertEqual(source_of("2001:db8:1:2::9"), source_of("2001:db8:1:2:ffff::1"))
        self.assertNotEqual(source_of("2001:db8:1:3::9"), source_of("2001:db8:1:2::9"))
        self.assertEqual(source_of("::ffff:192.0.2.1"), "192.0.2.1")
        self.assertEqual(source_of("fe80::1%eth0"), "fe80::/64")
        for own in ("127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"):
            self.assertIsNone(source_of(own))


class BucketTests(SynchronousTestCase):
    @given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 5)), max_size=60))
    def test_never_more_than_it_may(self, steps: list[tuple[float, int]]) -> None:
        """In any stretch of time no more is taken than the rate gives, and what was full at its beginning."""
        bucket = Bucket(2.0, 10.0, 0.0)
        now, taken = 0.0, 0
        for seconds, count in steps:
            now += seconds
            if bucket.take(now, count):
                taken += count
        self.assertLessEqual(taken, 10 + 2 * now + 1e-6)


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.counters: Counter[str] = Counter()
        self.defence = Defence(self.clock, self.counters, Limits(10, 100, 5, 60))

    def sent(self, address: str, times: int) -> int:
        """Return how many of so many requests at once are read."""
        return sum(not self.defence.shuns(address) for _ in range(times))

    def test_rate_of_a_source(self) -> None:
        """A source has a burst, then its rate; others are not its business; responses cost nothing if they are ours."""
        self.assertEqual(self.sent("192.0.2.1", 200), 50)
        self.assertTrue(self.defence.shuns("192.0.2.1", True), "nothing is read of it now")
        self.assertEqual(self.sent("192.0.2.2", 10), 10)
        self.clock.advance(1)
        self.assertFalse(self.defence.shuns("192.0.2.1", True))
        self.assertEqual(self.sent("192.0.2.1", 20), 10)
        self.assertEqual(self.counters["source_dropped"], 150 + 1 + 10)
        self.assertEqual(self.sent("127.0.0.1", 1000), 1000)

    def test_rate_of_friends(self) -> None:
        """Friends have ten times as much, for an hour; trunks as much as they like."""
        self.defence.welcome("192.0.2.1")
        self.assertIn(self.sent("192.0.2.1", 1000), (499, 500))
        self.defence.welcome("192.0.2.2", True)
        self.defence.welcome("192.0.2.2")
        self.assertEqual(self.sent("192.0.2.2", 1000), 1000, "once a trunk, a trunk")
        self.clock.advance(defence.FRIENDS_FOR + 1)
        self.assertEqual(self.sent("192.0.2.1", 1000), 50)
        self.assertEqual(self.sent("192.0.2.2", 1000), 50)
        self.defence.welcome("192.0.2.2")
        self.assertEqual(self.sent("192.0.2.2", 1000), 0, "what it has used up as a stranger it has used up")

    def test_all_strangers(self) -> None:
        """All strangers together have a rate too; friends are let in beyond it."""
        self.defence.welcome("192.0.2.1")
        room = sum(not self.defence.too_many(f"198.51.{n // 256}.{n % 256}") for n in range(2000))
        self.assertEqual(room, 500)
        self.assertFalse(self.defence.too_many("192.0.2.1"))

    def test_strays(self) -> None:
        """A response to nothing costs its source as much as a request."""
        for _ in range(50):
            self.defence.stray("192.0.2.1")
        self.assertTrue(self.defence.shuns("192.0.2.1"))

    def test_ban(self) -> None:
        """Too many offences in a minute are a ban, said once; it ends; slower ones are none."""
        self.assertEqual([self.defence.offended("192.0.2.1", "refused") for _ in range(7)], [False] * 5 + [True] * 2)
        self.assertTrue(self.defence.is_banned("192.0.2.1") and self.defence.shuns("192.0.2.1"))
        self.assertFalse(self.defence.shuns("192.0.2.2"))
        self.clock.advance(61)
        self.assertFalse(self.defence.shuns("192.0.2.1"))
        for _ in range(20):
            self.clock.advance(13)
            self.assertFalse(self.defence.offended("192.0.2.3", "wrong password"))

    def test_friends_are_not_banned(self) -> None:
        """Over UDP anybody can write a friend's address: offences in its name don't ban it."""
        self.defence.welcome("192.0.2.1")
        self.assertFalse(any(self.defence.offended("192.0.2.1", "wrong password") for _ in range(100)))

    def test_refusals_become_silence(self) -> None:
        """A source gets some refusals at once and then one a second, so that nobody can be flooded by way of us."""
        quiet = Defence(self.clock, self.counters, Limits(1e6, 1e6, 0))
        self.assertEqual(sum(quiet.answers("192.0.2.1") for _ in range(100)), defence.REFUSALS_AT_ONCE)
        self.clock.advance(3)
        self.assertEqual(sum(quiet.answers("192.0.2.1") for _ in range(100)), 3)
        self.assertEqual(self.counters["refused_in_silence"], 90 + 97)

    def test_answers_to_all_strangers(self) -> None:
        """As many strangers as there are addresses get twice as many answers as requests are taken; friends more."""
        quiet = Defence(self.clock, self.counters, Limits(1e6, 10, 0))
        self.assertEqual(sum(quiet.answers(f"198.51.{n // 256}.{n % 256}") for n in range(1000)), 100)
        quiet.welcome("192.0.2.1")
        self.assertTrue(quiet.answers("192.0.2.1"))

    def test_bounded(self) -> None:
        """Architecture, "Bounded everything": a flood from everywhere fills no table, and forgets no friend for it."""
        for name in ("MAX_SOURCES", "MAX_FRIENDS", "MAX_BANS"):
            self.patch(defence, name, 50)
        self.defence.welcome("192.0.2.1")
        for n in range(1000):
            address = f"198.51.{n // 256}.{n % 256}"
            self.defence.shuns(address)
            for _ in range(6):
                self.defence.offended(address, "refused")
        self.assertEqual(self.defence.sizes, {"sources": 50, "friends": 1, "bans": 50})
        self.assertIn(self.sent("192.0.2.1", 1000), (499, 500))
        for n in range(60):
            self.defence.welcome(f"203.0.113.{n}")
        self.assertEqual(self.defence.sizes["friends"], 50)

    def test_late(self) -> None:
        """A machine that is late with its work twice in a row puts new calls off, until the last look is old."""

        class Late(Clock):
            lateness = 0.0

            def callLater(self, delay: float, callable: Any, *args: Any, **kw: Any) -> Any:
                return super().callLater(delay + self.lateness, callable, *args, **kw)

        clock = Late()
        busy = Defence(clock, self.counters)
        busy.look()
        clock.advance(defence.LOOK_EVERY)
        self.assertFalse(busy.late())
        clock.lateness = 0.6
        for late in (False, True):
            busy.look()
            busy.look()
            clock.advance(defence.LOOK_EVERY + 0.6)
            self.assertIs(busy.late(), late)
        clock.advance(2)
        self.assertFalse(busy.late())
        busy.look()
        busy.close()
        self.assertEqual(clock.getDelayedCalls(), [])


class DoorTests(SynchronousTestCase):
    """A user agent and a stranger."""

    def setUp(self) -> None:
        self.world = World("udp", "tcp")
        self.agent = self.world.agent
        self.agent.screen = lambda _request, _flow: (403, [])
        self.evil = Peer(self.world.host, EVIL)
        self._number = 0

    def ask(self, method: str = "INVITE", **fields: Any) -> list[Any]:
        """Send a request of its own; return what came back."""
        self._number += 1
        self.evil.send(self.world.request(method, call_id=f"c{self._number}", Via=self.via(), **fields))
        return [one.status for one in self.evil.take()]

    def via(self) -> str:
        return f"SIP/2.0/UDP {EVIL[0]};branch=z9hG4bKe{self._number}"

    def test_refused_then_silence(self) -> None:
        """Issue 4: everyone else 403, then silence, a sentence in the log, and nothing is kept for any of it."""
        answers = [self.ask() for _ in range(30)]
        self.assertEqual(answers, [[403]] * 10 + [[]] * 20)
        self.assertEqual(self.agent.counters["bans"], 1)
        self.assertEqual(self.agent.counters["requests"], 11, "what a banned source sends isn't even parsed")
        self.assertEqual(self.agent.counters["banned_dropped"], 19)
        self.assertEqual((len(self.agent.transactions.server), self.agent._sessions), (0, {}))
        self.world.host.advance(601)
        self.assertEqual(self.ask(), [403])

    def test_scanners(self) -> None:
        """Issue 4: what calls itself a scanner gets no answer at all, not even its first one."""
        self.assertEqual(self.ask("OPTIONS", User_Agent="friendly-scanner"), [])
        self.assertEqual(self.ask("OPTIONS", User_Agent="Phone 1.0"), [])
        self.assertEqual(self.agent.counters["scanners"], 1)

    def test_guessed_passwords(self) -> None:
        """Issue 4: wrong passwords are a ban, in time; asking for challenges without ever answering is too."""
        self.agent.screen = lambda _request, _flow: (401, [("WWW-Authenticate", 'Digest realm="x", nonce="y"')])
        guesses = [self.ask(Authorization='Digest username="a"') for _ in range(15)]
        self.assertEqual(guesses, [[401]] * 10 + [[]] * 5)
        self.world.host.advance(601)
        for _ in range(150):
            self.ask()
            self.world.host.advance(1)
        self.assertEqual(self.agent.counters["bans"], 2)

    def test_stale_nonces_are_no_guesses(self) -> None:
        """RFC 7616 3.3: who used a nonce that has expired is told so, and has done nothing wrong."""
        stale = [("WWW-Authenticate", 'Digest realm="x", nonce="y", stale=true')]
        self.agent.screen = lambda _request, _flow: (401, stale)
        for _ in range(50):
            self.ask(Authorization='Digest username="a"')
            self.world.host.advance(1)
        self.assertEqual((self.agent.counters["bans"], self.agent.counters["offences"]), (0, 0))

    def test_who_shows_who_it_is(self) -> None:
        """Whoever has been found to be a phone or a trunk is a friend, and its next mistakes are no ban."""
        self.agent.screen = lambda _request, _flow: Identity(Kind.PHONE, "100")
        self.world.welcome()
        self.assertEqual(self.ask(), [100])
        self.world.sessions.pop().reject(486)
        self.agent.screen = lambda _request, _flow: (403, [])
        for _ in range(40):
            self.ask()
        self.assertEqual(self.agent.counters["bans"], 0)

    def test_who_answers_us(self) -> None:
        """Whoever answers a request of ours is where its address says: nobody guesses the branch."""
        self.world.dial()
        self.world.bob.respond(self.world.bob.one(), 486)
        self.assertEqual(self.agent.defence.sizes["friends"], 1)

    def test_put_off(self) -> None:
        """RFC 3261 21.5.4: when all strangers together ask too often, 503 with Retry-After, before anything is made."""
        self.agent.defence.configure(Limits(1000, 1, 10, 600))
        self.agent.screen = None
        self.world.welcome()
        for n in range(8):
            peer = Peer(self.world.host, (f"198.51.100.{n + 1}", 5060))
            peer.send(self.world.request(call_id=f"p{n}", Via=f"SIP/2.0/UDP {peer.address[0]};branch=z9hG4bKp{n}"))
            (answer,) = peer.take()
            self.assertEqual((answer.status, answer.get("Retry-After")), (100, None) if n < 5 else (503, "5"))
        self.assertEqual(self.agent.counters["strangers_put_off"], 3)
        self.assertEqual(len(self.agent.transactions.server), 5)
        for session in self.world.sessions:
            session.reject(486)

    def test_calls_go_on(self) -> None:
        """What ends or changes a call is taken at any rate of new ones."""
        self.agent.screen = None
        _session, _invite, tag = self.world.talking()
        self.agent.defence.configure(Limits(1000, 0.01, 10, 600))
        self.world.bob.send(self.world.request("BYE", to_tag=tag, cseq=2))
        self.assertEqual(self.world.bob.lines(), ["200 BYE"])

    def test_connections(self) -> None:
        """A banned source's connections are refused, and what it sends over those it has is not looked at."""
        wire = self.world.host.connect(EVIL)
        for n in range(12):
            self._number += 1
            request = self.world.request(call_id=f"t{n}", Via=f"SIP/2.0/TCP {EVIL[0]};branch=z9hG4bKt{n}")
            wire.send(request)
        self.assertEqual([one.status for one in wire.take()], [403] * 10)
        self.assertEqual(self.agent.counters["requests"], 11)
        protocol = self.world.host.listeners[US].factory.buildProtocol(wire.getPeer())
        self.assertIsNone(protocol)
        wire.end()

    def test_garbage(self) -> None:
        """Garbage is an offence too, half as bad; so is what is no request at all."""
        for n in range(40):
            self.evil.send(b"hello %d\r\n\r\n" % n)
        self.assertEqual(self.agent.counters["garbage"], 21)
        self.assertTrue(self.agent.defence.is_banned(EVIL[0]))
