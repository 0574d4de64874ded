"""The cheapest `telephony.interfaces.Host` there is: what is sent is kept or dropped, what comes is handed in.

Owns: the outside world of the counted workloads, so that what is counted is the product and not a network, simulated or
real. Must not know what the workloads do.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from telephony.interfaces import Address, DatagramReceived
from telephony.testing.clock import SimulatedClock
from telephony.testing.media_port import InMemory


class BarePort(InMemory):
    """A UDP port that keeps the last datagram sent and counts them."""

    draining = False
    drained: Callable[[bool], None] | None = None

    def __init__(self, host: BareHost, address: Address, received: DatagramReceived) -> None:
        self._host = host
        self.address = address
        self.received = received
        self.last = b""
        self.sent = 0
        self.begin()

    def now(self) -> float:
        """Return the time."""
        return self._host.clock.seconds()

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Keep the datagram in place of the last one."""
        self.last = bytes(data)
        self.sent += 1

    def drain(self) -> bool:
        """Throw away what waits: nothing."""
        return True

    def close(self) -> None:
        """Free the port."""
        self._host.ports.pop(self.address, None)


class BareHost:
    """One machine with one address, on a simulated clock, seeded."""

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.clock = SimulatedClock()
        self.random = random.Random(5)
        self.open_files = 1024
        self.ports: dict[Address, BarePort] = {}

    def open_datagram_port(self, address: Address, received: DatagramReceived) -> BarePort:
        """Bind a port; 0 is taken for 40000 and up."""
        host, number = address
        if not number:
            number = 40000 + len(self.ports)
        if (host, number) in self.ports:
            raise OSError(f"port {number} is taken")
        port = self.ports[host, number] = BarePort(self, (host, number), received)
        return port

    open_media_port = open_datagram_port

    def listen_stream(self, address: Address, factory: Any) -> Any:
        """Refuse: no workload has streams."""
        raise OSError("no streams here")

    def connect_stream(self, destination: Address, factory: Any, timeout: float) -> Deferred[Any]:
        """Refuse: no workload has streams."""
        return fail(OSError("no streams here"))

    def resolve(self, name: str) -> Deferred[list[str]]:
        """Know addresses only."""
        return succeed([name])

    def lookup(self, name: str, kind: Any) -> Deferred[Any]:
        """Refuse: no workload has names."""
        return fail(OSError("no names here"))

    def source_address(self, destination: Address) -> str:
        """Return the one address."""
        return self.ip

    def run_in_thread(self, function: Any, *args: Any) -> Deferred[Any]:
        """Run it at once."""
        return succeed(function(*args))
