"""What the outside world looks like to everything above the sockets: time, datagrams, streams, threads, randomness.

Owns: the `Host` that a phone system runs on, and its parts. Two things provide it: ``telephony.host.ReactorHost`` (a
Twisted reactor and real sockets) and ``telephony.testing.network`` (one seeded clock and network in memory); whatever
is written against these interfaces runs the same on both. Must not know SIP, RTP or calls.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory

T = TypeVar("T")

#: An IP address literal (IPv6 without brackets) and a port number.
Address = tuple[str, int]


class DelayedCall(Protocol):
    """A timer that has been set, a subset of Twisted's ``IDelayedCall``."""

    def cancel(self) -> None:
        """Forget the call. Raises when it has been made or cancelled already."""

    def active(self) -> bool:
        """Tell whether the call is still to be made."""


class Clock(Protocol):
    """Time, a subset of Twisted's ``IReactorTime``."""

    def seconds(self) -> float:
        """Return the time in seconds; only differences mean anything."""

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> DelayedCall:  # noqa: N802
        """Call ``callable(*args)`` after ``delay`` seconds (0 or more)."""


#: Called with each datagram and its source address. It must not raise.
DatagramReceived = Callable[[bytes, Address], None]


class DatagramPort(Protocol):
    """A bound UDP port. ``received`` is called with each datagram, and may be set to something else at any time."""

    received: DatagramReceived

    @property
    def address(self) -> Address:
        """The address it is bound to, with the real port number."""

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send one datagram; never raises: what the system refuses is counted and lost, as UDP may."""

    def drain(self) -> bool:
        """Throw away what has come and was not given to ``received`` yet; False when it comes without end."""

    def close(self) -> None:
        """Stop receiving and free the port, at once; harmless when closed already."""


class SignallingPort(DatagramPort, Protocol):
    """A bound UDP port that gives several datagrams to ``received`` in a row, where several wait.

    ``draining`` tells that this is so: then ``drained``, where it is set, is called after the last of them, with True
    when more may be waiting still.
    """

    drained: Callable[[bool], None] | None

    @property
    def draining(self) -> bool:
        """Whether ``drained`` will be called after what is being received."""


#: Asked first about a datagram: the place where it lies, its size, and the time. It may write over it, and `post` it.
#: False: it is not wanted.
ShortWay = Callable[[memoryview, int, float], bool]


class MediaPort(DatagramPort, Protocol):
    """A bound UDP port for the packets of one peer, of which there are fifty a second: nothing is made for each."""

    def aim(self, target: Address | None) -> None:
        """Let `write` send there from now on (None: nowhere)."""

    @property
    def write(self) -> Callable[[bytes | bytearray | memoryview], object]:
        """Send one datagram to where it is aimed. Raises OSError when that can't be done; see `unsent`."""

    def unsent(self) -> None:
        """Count a packet that `write` could not send."""

    def post(self, packet: memoryview | bytearray) -> None:
        """Send one datagram to where it is aimed before this turn is over, behind those posted before it.

        For short ways; never raises. Those of a turn go out one right behind the other.
        """

    def shorten(self, short: ShortWay | None, peer: Address = ("", 0), alone: bool = False) -> None:
        """Ask ``short`` first about each datagram that comes from ``peer``; None ends that.

        What it doesn't want goes to ``received``, and so does what others send; with ``alone`` that may be dropped
        unseen instead.
        """


class StreamListener(Protocol):
    """A listening TCP port."""

    @property
    def address(self) -> Address:
        """The address it is bound to, with the real port number."""

    def close(self) -> Deferred[None]:
        """Stop accepting; fires when the port is free. Connections that were accepted live on."""


@attrs.frozen
class Srv:
    """An SRV record (RFC 2782); ``target`` is a host name, or ``.`` where the service does not exist."""

    priority: int
    weight: int
    port: int
    target: str


@attrs.frozen
class Naptr:
    """A NAPTR record (RFC 3403) as far as SIP needs it: those with a regular expression have no ``replacement``."""

    order: int
    preference: int
    flags: str
    service: str
    replacement: str


#: What can be asked of the DNS, and what a record of each kind is here: an IP address as text, an `Srv`, a `Naptr`.
RecordKind = Literal["A", "AAAA", "SRV", "NAPTR"]
Record = str | Srv | Naptr


@attrs.frozen
class Answer:
    """What the DNS says: the records, and for how many seconds that holds. Without records there are none."""

    records: Sequence[Record]
    ttl: float


class Host(Protocol):
    """One machine on a network, as seen by the phone system that runs on it."""

    @property
    def clock(self) -> Clock:
        """The one source of time for signalling, media and verbs."""

    @property
    def random(self) -> random.Random:
        """The one source of randomness: seeded by the system in production, by the test in simulation."""

    @property
    def open_files(self) -> int:
        """How many files and sockets this process may have open at once."""

    def open_datagram_port(self, address: Address, received: DatagramReceived) -> SignallingPort:
        """Bind a UDP port (port 0: any free one). Raises OSError when it is taken or not ours."""

    def open_media_port(self, address: Address, received: DatagramReceived) -> MediaPort:
        """Bind a UDP port for RTP or RTCP; otherwise as `open_datagram_port`."""

    def listen_stream(self, address: Address, factory: IProtocolFactory) -> StreamListener:
        """Listen on a TCP port (port 0: any free one). Raises OSError when it is taken or not ours."""

    def connect_stream(self, destination: Address, factory: IProtocolFactory, timeout: float) -> Deferred[IProtocol]:
        """Open a TCP connection; fires with the connected protocol.

        Fails with a Twisted ``ConnectError`` (refused, unreachable, no answer within ``timeout`` seconds). Cancelling
        the Deferred gives the attempt up.
        """

    def resolve(self, name: str) -> Deferred[list[str]]:
        """Look a host name up as every program here does: fires with its addresses, best first, or fails with OSError.

        No time to live comes with it; SIP asks by `lookup`.
        """

    def lookup(self, name: str, kind: RecordKind) -> Deferred[Answer]:
        """Ask for the records of a name; addresses of names in the hosts file are the file's.

        Fires with no records where there are none, be it that the name doesn't exist; fails with OSError where nobody
        could be asked or no answer came in some seconds. Cancelling the Deferred gives the question up.
        """

    def source_address(self, destination: Address) -> str:
        """Return the IP address of ours that a packet to ``destination`` would leave from."""

    def run_in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run what takes long (disk, decoding) outside the reactor's turn; fires or fails as it does."""
