"""A host that sends to one peer and to nobody else, whatever that peer's messages name.

Owns: the list of addresses that may be sent to, and the count of what was held back. Must not know what is sent. A
Contact, a Route or a session description can name any address at all; the doctor looks at a named peer, and a stranger
who happens to be named by it has asked for nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from telephony.interfaces import (
    Address,
    Answer,
    Clock,
    DatagramPort,
    DatagramReceived,
    Host,
    MediaPort,
    RecordKind,
    ShortWay,
    SignallingPort,
    StreamListener,
)

T = TypeVar("T")


class _GuardedPort:
    """A UDP port that holds back what is for strangers."""

    __slots__ = ("_guard", "_port")

    def __init__(self, guard: PeerOnly, port: DatagramPort) -> None:
        self._guard = guard
        self._port = port

    @property
    def address(self) -> Address:
        """The address it is bound to."""
        return self._port.address

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send one datagram, if it is for the peer."""
        if self._guard.lets(destination[0]):
            self._port.send(data, destination)

    @property
    def received(self) -> DatagramReceived:
        """What is called with each datagram."""
        return self._port.received

    @received.setter
    def received(self, received: DatagramReceived) -> None:
        self._port.received = received

    def drain(self) -> bool:
        """Throw away what has come and was not read yet."""
        return self._port.drain()

    def close(self) -> None:
        """Free the port."""
        self._port.close()


class _GuardedSignallingPort(_GuardedPort):
    """A UDP port for messages that sends none to strangers."""

    __slots__ = ("_signalling",)

    def __init__(self, guard: PeerOnly, port: SignallingPort) -> None:
        super().__init__(guard, port)
        self._signalling = port

    @property
    def drained(self) -> Callable[[bool], None] | None:
        """What is called when several datagrams in a row have been received."""
        return self._signalling.drained

    @drained.setter
    def drained(self, drained: Callable[[bool], None] | None) -> None:
        self._signalling.drained = drained

    @property
    def draining(self) -> bool:
        """Whether several datagrams are received in a row now."""
        return self._signalling.draining


class _GuardedMediaPort(_GuardedPort):
    """A UDP port for media that is never aimed at strangers."""

    __slots__ = ("_media",)

    def __init__(self, guard: PeerOnly, port: MediaPort) -> None:
        super().__init__(guard, port)
        self._media = port

    def aim(self, target: Address | None) -> None:
        """Let `write` send there from now on, if it is the peer."""
        self._media.aim(target if target is None or self._guard.lets(target[0]) else None)

    @property
    def write(self) -> Callable[[bytes | bytearray | memoryview], object]:
        """Send one datagram to where it is aimed."""
        return self._media.write

    def unsent(self) -> None:
        """Count a packet that could not be sent."""
        self._media.unsent()

    def post(self, packet: memoryview | bytearray) -> None:
        """Send one datagram to where it is aimed before this turn is over."""
        self._media.post(packet)

    def shorten(self, short: ShortWay | None, peer: Address = ("", 0), alone: bool = False) -> None:
        """Ask ``short`` first about what comes from ``peer``."""
        self._media.shorten(short, peer, alone)


class PeerOnly:
    """A `telephony.interfaces.Host` around another one; ``allowed`` are the IP addresses that may be sent to.

    ``refused`` counts what was held back, by address. Questions to name servers pass.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self.allowed: set[str] = set()
        self.refused: Counter[str] = Counter()

    def lets(self, ip: str) -> bool:
        """Tell whether something may go to an address, and count it where it may not."""
        if ip in self.allowed:
            return True
        if ip in self.refused or len(self.refused) < 16:
            self.refused[ip] += 1
        return False

    @property
    def clock(self) -> Clock:
        """The one source of time."""
        return self._host.clock

    @property
    def random(self) -> random.Random:
        """The one source of randomness."""
        return self._host.random

    @property
    def open_files(self) -> int:
        """How many files and sockets this process may have open."""
        return self._host.open_files

    def open_datagram_port(self, address: Address, received: DatagramReceived) -> SignallingPort:
        """Bind a UDP port."""
        return _GuardedSignallingPort(self, self._host.open_datagram_port(address, received))

    def open_media_port(self, address: Address, received: DatagramReceived) -> MediaPort:
        """Bind a UDP port for media."""
        return _GuardedMediaPort(self, self._host.open_media_port(address, received))

    def listen_stream(self, address: Address, factory: IProtocolFactory) -> StreamListener:
        """Listen on a TCP port."""
        return self._host.listen_stream(address, factory)

    def connect_stream(self, destination: Address, factory: IProtocolFactory, timeout: float) -> Deferred[IProtocol]:
        """Open a TCP connection, if it is to the peer; else it fails as if nobody were there."""
        if not self.lets(destination[0]):
            return fail(ConnectError(string=f"{destination[0]} is not the peer that was named"))  # type: ignore[no-untyped-call]
        return self._host.connect_stream(destination, factory, timeout)

    def resolve(self, name: str) -> Deferred[list[str]]:
        """Look a host name up."""
        return self._host.resolve(name)

    def lookup(self, name: str, kind: RecordKind) -> Deferred[Answer]:
        """Ask for the records of a name."""
        return self._host.lookup(name, kind)

    def source_address(self, destination: Address) -> str:
        """Return our address on the route to ``destination``."""
        return self._host.source_address(destination)

    def run_in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run what takes long outside the reactor's turn."""
        return self._host.run_in_thread(function, *args)
