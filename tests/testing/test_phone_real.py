"""Phones on real sockets: what runs in simulation runs over loopback too (``telephony demo`` needs it)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from telephony.host import ReactorHost
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone


class RealPhoneTests(TestCase):
    timeout = 30

    async def call(self, transport: str) -> None:
        """One call with audio, keys and a hold, over real sockets."""
        from twisted.internet import reactor

        host = ReactorHost(reactor)
        alice, bob = (Phone(host, ("127.0.0.1", 0), name, transport=transport) for name in ("alice", "bob"))
        self.addCleanup(lambda: self.closed(alice, bob))
        alice.says(tone(440))
        bob.says(tone(600))
        alice.dial(bob.uri)
        await bob.until("incoming", 10)
        bob.ring()
        await alice.until("ringing", 10)
        bob.answer()
        await alice.until("answered", 10)
        await bob.until_hears(440)
        await alice.until_hears(600)
        await alice.press("4#")
        await bob.until(lambda: bob.digits == "4#", 10)
        self.assertEqual(await alice.hold(), 200)
        self.assertTrue(bob.call.media.held)
        self.assertEqual(await alice.resume(), 200)
        self.assertEqual(await bob.hang_up(), 200)
        await alice.until("ended", 10)
        self.assertEqual(alice.complaints + bob.complaints, [])

    async def closed(self, *phones: Phone) -> None:
        """Close the phones, and give closing connections their turn."""
        from twisted.internet import reactor

        clock: Any = reactor
        for phone in phones:
            await phone.close()
        turn: Deferred[None] = Deferred()
        clock.callLater(0.05, turn.callback, None)
        await turn

    async def test_udp(self) -> None:
        """Over UDP."""
        await self.call("udp")

    async def test_tcp(self) -> None:
        """Over TCP."""
        await self.call("tcp")
