"""Direct media: two transferred calls' audio goes from one far end to the other (RFC 3725, issue "Fast")."""

from __future__ import annotations

from typing import Any, ClassVar

from telephony.testing.case import SERVER
from tests.call.transfer_scene import TransferScene


class DirectScene(TransferScene):
    """Alice is transferred to bob by a service whose media are direct."""

    exchange_settings: ClassVar[dict[str, Any]] = {"media": "direct"}

    def by_the_server(self, since: float) -> int:
        """How many packets of media the server has sent or got."""
        return sum(
            SERVER in (source[0], destination[0])
            for time, source, destination, _ in self.network.media
            if time >= since
        )

    def directly(self) -> None:
        """Transfer, and wait until media are direct."""
        self.joined()
        self.run_until(lambda: self.channel.Details.media == "direct", 5)
        self.advance(0.1)

    def assert_direct(self, seconds: float = 1.0) -> None:
        """Hold that both hear each other, each from the other's own address, and that no packet comes by here."""
        self.assert_talking(seconds)
        since = self.now()
        self.advance(seconds)
        self.assertEqual(self.by_the_server(since), 0)
        for phone, other in ((self.alice, self.bob), (self.bob, self.alice)):
            sources = {one.source for one in phone.call.media.audio.ear.heard_packets(since)}
            self.assertEqual(sources, {(other.address[0], other.call.media.audio.ports[0])})


class GoingTests(DirectScene):
    """The way there."""

    def test_direct(self) -> None:
        """Issue "Fast": a transferred call costs nothing per packet."""
        self.directly()
        self.assert_direct()
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [1, 2])
