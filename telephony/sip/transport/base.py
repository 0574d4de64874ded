"""What the transports share: to whom they pass what comes, and what our end of a flow is called (RFC 3261 18).

Owns: `TransportUser`, `OwnAddress`. Must not know transactions or what a message means.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from telephony.interfaces import Address, Host
from telephony.sip.flow import Flow, FlowWatcher, WayBack
from telephony.sip.message import Request, Response
from telephony.sip.parser import UnparsableMessage

__all__ = ["Flow", "FlowWatcher", "OwnAddress", "Transport", "TransportFlow", "TransportUser", "WayBack"]

#: The addresses that mean "any of ours".
UNSPECIFIED = frozenset(["0.0.0.0", "::"])
#: How many peers' routes are remembered, and for how many seconds.
ROUTES = 1024
ROUTE_LIFE = 30.0


class TransportUser(Protocol):
    """Who gets what the transports receive. No method raises."""

    @property
    def counters(self) -> Counter[str]:
        """Counts of what came and what was dropped."""

    def message_received(self, message: Request | Response, flow: TransportFlow) -> None:
        """Take a message; it has not been through ``check()``."""

    def keeps(self, data: bytes, flow: TransportFlow) -> bool:
        """Tell whether a datagram isn't to be parsed now: its user has it, and parses it later or never.

        When its time has come it is given to ``listener.take`` of its flow, at the next `turn` mostly.
        """

    def turn(self, more: bool) -> None:
        """Take up what was kept: all that waited has been read, unless there may be ``more``."""

    def garbage_received(self, error: UnparsableMessage, flow: TransportFlow) -> None:
        """Take what could not be parsed."""

    def traced(self, source: Address, destination: Address, transport: str, data: bytes, sent: bool) -> None:
        """Take note of the bytes of a message; called only while `tracing`."""

    @property
    def tracing(self) -> bool:
        """Whether anybody looks at `traced`."""

    def flows_needed(self) -> set[object]:
        """Return the flows of dialogs: their connections are kept however long nothing is said."""

    def shuns(self, remote: Address, response: bool = False) -> bool:
        """Tell whether what comes from an address is to be dropped unread; ``response``: it looks like one."""

    def stun_received(self, data: bytes, flow: TransportFlow) -> None:
        """Take a datagram that is STUN, not SIP (RFC 5626 8)."""


class Transport(Protocol):
    """A port that listens, and makes the flows through it."""

    @property
    def transport(self) -> str:
        """``"UDP"``, ``"TCP"`` or ``"TLS"``."""

    @property
    def address(self) -> Address:
        """What it is bound to, with the real port."""

    def flow(self, remote: Address, name: str | None = None) -> TransportFlow:
        """Return the flow to a remote address; a connection that is needed for it is begun.

        ``name`` is the host of the URI that leads there, whose certificate must be shown over TLS.
        """


class DatagramTransport(Transport, Protocol):
    """One that gets whole messages, each of which may be put off unread."""

    def take(self, data: bytes, flow: TransportFlow) -> None:
        """Parse a datagram that came, and pass it on."""


class TransportFlow(Flow, Protocol):
    """A flow as the transports make it."""

    @property
    def listener(self) -> Transport:
        """The port it goes through, or belongs to."""

    @property
    def name(self) -> str | None:
        """The host whose certificate was asked for, None where none was."""

    def hold(self) -> None:
        """Keep a connection however long it is silent, until `let_go`: a registration depends on it."""

    def let_go(self) -> None:
        """End a `hold`."""


class OwnAddress:
    """Says which address of ours a peer sees: the bound one, or that of the route when bound to all of them."""

    __slots__ = ("_bound", "_host", "_known")

    def __init__(self, host: Host, bound: Address) -> None:
        self._host = host
        self._bound = bound
        self._known: dict[str, tuple[float, str]] = {}

    def towards(self, remote: Address) -> Address:
        """Return our address as ``remote`` sees it, as far as this machine can tell."""
        bound, port = self._bound
        if bound not in UNSPECIFIED:
            return self._bound
        now = self._host.clock.seconds()
        known = self._known.get(remote[0])
        if known is not None and known[0] > now:
            return known[1], port
        try:
            ours = self._host.source_address(remote)
        except OSError:
            # No route. What is written doesn't matter, since it won't arrive; it must only be an address.
            ours = "::1" if ":" in bound else "127.0.0.1"
        if len(self._known) >= ROUTES:
            self._known.clear()
        self._known[remote[0]] = (now + ROUTE_LIFE, ours)
        return ours, port
