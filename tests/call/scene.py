"""A scene for call tests: a caller, a target, and an application between them that is a coroutine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, State, TransferCause
from telephony.call.resources import TonePlayer
from telephony.sip.message import Message, Request, Response
from telephony.testing.case import CallTestCase
from telephony.testing.phone import Phone


def without_info(message: Message) -> Message:
    """Let a phone say that it takes no INFO: what `Quirks.alter` is set to."""
    if message.has("Allow"):
        message.set("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS")
    return message


Application = Callable[[CallChannel], Coroutine[Any, Any, Any]]


class Scene(CallTestCase):
    """What the tests of calls share: alice calls in, an application takes the call, bob is whom it transfers to."""

    alice: Phone
    bob: Phone
    channel: CallChannel
    other: CallChannel
    outcome: Deferred[Any]

    def setUp(self) -> None:
        super().setUp()
        self.alice = self.phone("alice")
        self.bob = self.phone("bob")
        self.steps: list[State] = []
        self.other_steps: list[State] = []

    def run_application(self, application: Application) -> None:
        """Let ``application`` take each call that comes in; its result is `outcome`."""

        def on_call(channel: CallChannel) -> None:
            self.channel = channel
            channel.observers.append(lambda _channel, _old, new: self.steps.append(new))
            self.outcome = Deferred.fromCoroutine(application(channel))

        self.exchange.on_call = on_call

    def dial_in(self) -> None:
        """Let alice call, and the call arrive."""
        self.alice.dial(self.uri("3300"))
        self.network.run_until(lambda: hasattr(self, "channel"), 5)

    def extra_channel(self) -> CallChannel:
        """Make the channel that a target is called on."""
        self.other = self.exchange.channel()
        self.other.observers.append(lambda _channel, _old, new: self.other_steps.append(new))
        return self.other

    async def answered(self, channel: CallChannel) -> None:
        """Answer, and be ready to transfer."""
        self.assertIs(await channel.answer(), State.ANSWERED)
        TonePlayer(channel)

    def transfer(self, seconds_timeout: float | None = 10, **details: Any) -> Deferred[State]:
        """Alice calls, is answered and transferred to bob; the verb's Deferred, with the INVITE to bob on its way."""

        async def application(channel: CallChannel) -> None:
            await self.answered(channel)

        self.run_application(application)
        self.dial_in()
        self.network.run_until(self.outcome, 10)
        return self.channel.retrievable_transfer(
            self.extra_channel(), details.pop("call_to", self.bob.uri), seconds_timeout=seconds_timeout, **details
        )

    def transferred(self) -> None:
        """Alice and bob talk, by a transfer."""
        verb = self.transfer()
        self.network.run_until(self.bob.until("incoming"), 5)
        self.bob.ring()
        self.network.advance(0.5)
        self.bob.answer()
        self.assertIs(self.network.run_until(verb, 5), State.TRANSFERRED)

    def assert_outcome(
        self, channel: State, other: State, cause: TransferCause, other_cause: Cause | None = None
    ) -> None:
        """Hold both channels and the transfer's cause against a row of the table of races."""
        found = (self.channel.state(), self.other.state(), self.channel.transfer_cause())
        self.assertEqual(found, (channel, other, cause))
        if other_cause is not None:
            self.assertIs(self.other.cause(), other_cause)

    def settle(self, seconds: float = 40.0) -> None:
        """Let every transaction end."""
        self.network.advance(seconds)

    def requests(self, phone: Phone, method: str) -> list[Request]:
        """The requests of a method that a phone got, repetitions once."""
        return [one for one in phone.got(method) if isinstance(one, Request)]

    def all_requests(self, phone: Phone) -> list[Request]:
        """Every request that a phone got, repetitions too."""
        return [one.message for one in phone.log if not one.sent and isinstance(one.message, Request)]

    def responses(self, phone: Phone, status: int) -> list[Response]:
        """The responses with a status that a phone got, repetitions once."""
        return [one for one in phone.got(status) if isinstance(one, Response)]

    def assert_clean(self) -> None:
        """Neither phone saw a breach of an RFC."""
        self.assertEqual(self.alice.faults() + self.bob.faults(), [])
