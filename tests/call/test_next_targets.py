"""Targets of a call that need another offer (RFC 3263 4.3, transfer.md R5): another family, another address of ours."""

from __future__ import annotations

from telephony.call.constants import Cause, State
from telephony.call.exchange import Exchange
from telephony.testing.case import CallTestCase
from telephony.testing.phone import Phone

FOUR, SIX = "10.0.0.9", "2001:db8::9"


class FamilyTests(CallTestCase):
    """A server with both address families, and a name with a phone at each."""

    def setUp(self) -> None:
        super().setUp()
        self.network.run_until(self.exchange.close())
        self.exchange = Exchange(self.network.host(FOUR, SIX))
        self.exchange.listen(f"udp:{FOUR}:5060")
        self.exchange.listen(f"udp:[{SIX}]:5060")
        self.four = self.phone("four")
        self.six = Phone(self.network.host("2001:db8::66"), ("2001:db8::66", 5060), "six")
        self.phones.append(self.six)
        self.network.names["both.example"] = [self.four.address[0], self.six.address[0]]
        self.channel = self.exchange.channel()

    async def test_other_family(self) -> None:
        """The IPv4 phone is full: the IPv6 one gets an INVITE of its own, with our IPv6 address in its SDP."""
        self.six.auto_answer = 0.1
        calling = self.channel.call("sip:x@both.example:5060")
        await self.four.until("incoming")
        self.four.reject(503)
        self.assertIs(await calling, State.ANSWERED)
        self.assertIn(f"c=IN IP4 {FOUR}".encode(), self.four.calls[0].invite.body)
        self.assertIn(f"c=IN IP6 {SIX}".encode(), self.six.calls[0].invite.body)
        self.assertEqual(self.channel.Details.call_id, self.six.calls[0].invite.call_id)
        await self.channel.hang_up()
        await self.six.until("ended")

    async def test_nobody_takes_it(self) -> None:
        """Both are full: the last word is the outcome, and no port is left."""
        calling = self.channel.call("sip:x@both.example:5060")
        await self.four.until("incoming")
        self.four.reject(503)
        await self.six.until("incoming")
        self.six.reject(503)
        self.assertIs(await calling, State.IDLE)
        self.assertEqual((self.channel.cause(), self.channel.Details.raw_cause), (Cause.CONGESTION, 503))

    async def test_a_last_word(self) -> None:
        """A refusal that is the target's own ends it: nobody else is asked."""
        calling = self.channel.call("sip:x@both.example:5060")
        await self.four.until("incoming")
        self.four.reject(486)
        self.assertIs(await calling, State.IDLE)
        self.assertIs(self.channel.cause(), Cause.BUSY)
        self.assertEqual(self.six.calls, [])

    async def test_limit(self) -> None:
        """Rule 7: the verb's limit covers both; hanging up in between reaches the one that is called now."""
        self.four.quirks.deaf = self.six.quirks.deaf = True
        began = self.network.clock.seconds()
        self.assertIs(await self.channel.call("sip:x@both.example:5060", seconds_timeout=40), State.IDLE)
        self.assertIs(self.channel.cause(), Cause.TIMEOUT)
        self.assertLess(self.network.clock.seconds() - began, 41)
