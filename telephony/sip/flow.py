"""What a transaction needs of the way its messages take: no more than `Flow`, whatever the transport.

Owns: the words between layer 2 and the transports. Must not know sockets. RFC 3261 18 and, for the word *flow*,
RFC 5626.
"""

from __future__ import annotations

from typing import Protocol

from telephony.interfaces import Address


class FlowWatcher(Protocol):
    """Somebody who waits for an answer that comes over a flow."""

    def flow_failed(self, reason: str) -> None:
        """Take note that the flow is gone: it could not be opened, or it was closed. Never called from `send`."""


class WayBack(Protocol):
    """Where the responses to one request go (RFC 3261 18.2.2, RFC 3581 4)."""

    @property
    def reliable(self) -> bool:
        """Whether the transport repeats what gets lost by itself."""

    def send(self, data: bytes) -> None:
        """Send one message; never raises, what can't be sent is counted and lost."""


class Elsewhere(Protocol):
    """The targets that a request may go to when one of them is of no use (RFC 3263 4.3)."""

    def next(self) -> Flow | None:
        """Return the way to the next target; None when there is none left."""

    def silent(self) -> None:
        """Take note that the present target did not answer or can't be reached."""

    def answered(self, retry_after: float = 0.0) -> None:
        """Take note that the present target is there, and wants to be left alone for so many seconds."""


class Flow(WayBack, Protocol):
    """A pair of addresses and a transport, over which messages go both ways."""

    @property
    def transport(self) -> str:
        """``"UDP"`` or ``"TCP"``, as a Via writes it."""

    @property
    def local(self) -> Address:
        """Our end; never the unspecified address. While a connection is being opened the port is 0."""

    @property
    def remote(self) -> Address:
        """The far end."""

    @property
    def usable(self) -> bool:
        """Whether what is sent has a chance to arrive: False once a connection has ended."""

    def watch(self, watcher: FlowWatcher) -> None:
        """Tell ``watcher`` when the flow fails, once. A flow without connections never does."""

    def unwatch(self, watcher: FlowWatcher) -> None:
        """Forget ``watcher``; harmless when it isn't known."""
