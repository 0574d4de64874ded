"""The machine this process runs on, as a `telephony.interfaces.Host`: a Twisted reactor, real sockets, real time.

Owns: the UDP port of our own, and the translation of Twisted's TCP, resolver and threads to the interface. Must not
know SIP, RTP or calls, nor import a reactor: it is given one.

Why a UDP port of our own: Twisted's stock port calls through a protocol object for each datagram, reads in blocks of
8 KiB (a SIP message may have 64) and leaves the system's buffers at their default, which overflow under a burst of
media long before a core is busy.
"""

from __future__ import annotations

import ipaddress
import random as random_module
import resource
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReadDescriptor
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from telephony.interfaces import (
    Address,
    Answer,
    Clock,
    DatagramReceived,
    MediaPort,
    RecordKind,
    SignallingPort,
    StreamListener,
)
from telephony.media_port import MediaReader, MediaSocket
from telephony.names import Names
from telephony.randomness import PagedRandom

T = TypeVar("T")

_log = Logger()

#: How many datagrams a port reads at most, and for how many seconds, before the reactor looks at its other sockets and
#: at its timers again.
DRAIN_LIMIT = 128
DRAIN_SECONDS = 0.003
#: What is asked of the system for each UDP socket, in bytes; it may grant less (net.core.rmem_max). A burst of calls
#: must fit into it while the reactor is at something else.
BUFFER_SIZE = 1 << 22
#: The largest UDP payload there is.
MAX_DATAGRAM = 65535
#: Connections that wait to be accepted.
BACKLOG = 512


def family_of(host: str) -> socket.AddressFamily:
    """Return the address family of an IP literal (a scope such as ``fe80::1%eth0`` is allowed)."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def is_address(host: str) -> bool:
    """Tell whether ``host`` is an IP address literal rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@implementer(IReadDescriptor)
class UdpPort:
    """A bound UDP socket in a reactor: what has come is read in one go, within bounds.

    These are `DRAIN_LIMIT` datagrams, and `DRAIN_SECONDS` for what they cause; then the reactor's other sockets and
    timers have their turn. The ports of media are others (`telephony.media_port`).

    ``received`` is called with each datagram and its source. IPv6 sockets take IPv6 only, so that an address family
    never changes its form on the way (no ``::ffff:192.0.2.1``).

    ``room`` is what a datagram is read into, `MAX_DATAGRAM` bytes; ports of one reactor share it. To ask the system's
    allocator for that much at each read, and give most of it back, would leave its memory full of holes: half a
    kilobyte of each message stays for as long as its call.
    """

    __slots__ = (
        "_address",
        "_reactor",
        "_receive_errors",
        "_room",
        "_send_errors",
        "_sent",
        "_socket",
        "_taken",
        "drained",
        "draining",
        "received",
    )

    def __init__(
        self, reactor: Any, address: Address, received: DatagramReceived, room: memoryview | None = None
    ) -> None:
        sock = _bound(address, BUFFER_SIZE)
        self._room = room if room is not None else memoryview(bytearray(MAX_DATAGRAM))
        self._socket: socket.socket | None = sock
        self._address: Address = sock.getsockname()[:2]
        self._reactor = reactor
        self.received = received
        self.drained: Callable[[bool], None] | None = None
        self.draining = False
        self._taken = self._sent = self._send_errors = self._receive_errors = 0
        reactor.addReader(self)

    @property
    def address(self) -> Address:
        """The address it is bound to."""
        return self._address

    @property
    def counters(self) -> Counter[str]:
        """How many datagrams were ``received`` and ``sent``, and ``send_errors`` and ``receive_errors``."""
        return Counter(
            received=self._taken,
            sent=self._sent,
            send_errors=self._send_errors,
            receive_errors=self._receive_errors,
        )

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send one datagram; what the system refuses is counted and lost."""
        if self._socket is None:
            self._send_errors += 1
            return
        try:
            self._socket.sendto(data, destination)
        except (OSError, ValueError, OverflowError, TypeError):
            # Full buffer, no route, a broken address from a peer's message: to UDP all of it is a lost packet.
            self._send_errors += 1
        else:
            self._sent += 1

    def drain(self) -> bool:
        """Throw away what has come and was not read yet; False when there is no end of it (`DRAIN_LIMIT`)."""
        sock = self._socket
        if sock is None:
            return False
        for _ in range(DRAIN_LIMIT):
            try:
                sock.recv(1)  # one byte read, and the rest of the datagram is gone
            except BlockingIOError:
                return True
            except OSError:
                self._receive_errors += 1
        return False

    def close(self) -> None:
        """Stop receiving and free the port."""
        if self._socket is not None:
            self._reactor.removeReader(self)
            self._socket.close()
            self._socket = None

    def fileno(self) -> int:
        """Return the socket's number for the reactor, -1 when closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Return what the reactor calls it in its log."""
        return f"UDP {self._address[0]} {self._address[1]}"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Read what has come, up to a bound, and pass it on."""
        sock = self._socket
        if sock is None:
            return
        seconds = self._reactor.seconds
        until = seconds() + DRAIN_SECONDS
        more = True
        self.draining = True
        room = self._room
        for _ in range(DRAIN_LIMIT):
            try:
                size, source = sock.recvfrom_into(room)
            except BlockingIOError:
                more = False
                break
            except OSError:
                # An ICMP error of an earlier send, reported here; nothing to read, and no fault of this port.
                self._receive_errors += 1
                continue
            self._taken += 1
            try:
                self.received(bytes(room[:size]), source[:2])
            except Exception:
                # Nothing above may raise; should it, one datagram is lost and the port lives on.
                _log.failure("Unhandled fault at {port}", port=self.logPrefix())
            if self._socket is None:  # closed by what the datagram caused
                break
            if seconds() > until:
                break
        self.draining = False
        if self.drained is not None:
            self.drained(more)

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Free the socket when the reactor gives it up (at shutdown, or when the system closed it)."""
        self.close()


class TcpListener:
    """A listening TCP port of the reactor's."""

    __slots__ = ("_address", "_port")

    def __init__(self, port: Any) -> None:
        self._port = port
        where = port.getHost()
        self._address: Address = (where.host, where.port)

    @property
    def address(self) -> Address:
        """The address it is bound to."""
        return self._address

    def close(self) -> Deferred[None]:
        """Stop accepting; fires when the port is free."""
        port, self._port = self._port, None
        if port is None:
            return succeed(None)
        return maybeDeferred(port.stopListening).addCallback(lambda _: None)


class ReactorHost:
    """The `telephony.interfaces.Host` of real use.

    ``reactor`` is a Twisted reactor (IReactorTime, IReactorFDSet, IReactorTCP, IReactorThreads). ``random`` is for
    tests; without it numbers come from the system, since tags and branches must not be guessed (RFC 3261 19.3).
    ``names`` is for tests too: where names are looked up in place of this machine's files and name servers.
    """

    def __init__(self, reactor: Any, random: random_module.Random | None = None, names: Names | None = None) -> None:
        self._reactor = reactor
        self._names = names if names is not None else Names(reactor, self.resolve)
        self._random = random if random is not None else PagedRandom()
        self._media = MediaReader(reactor)
        self._room = memoryview(bytearray(MAX_DATAGRAM))

    @property
    def clock(self) -> Clock:
        """The reactor's time."""
        return cast(Clock, self._reactor)

    @property
    def random(self) -> random_module.Random:
        """The one source of randomness."""
        return self._random

    def open_datagram_port(self, address: Address, received: DatagramReceived) -> SignallingPort:
        """Bind a UDP port. Raises OSError when it is taken, not ours, or not an IP literal."""
        return UdpPort(self._reactor, address, received, self._room)

    def open_media_port(self, address: Address, received: DatagramReceived) -> MediaPort:
        """Bind a UDP port for media, with the system's usual buffers: five seconds of one call's packets fit in."""
        return MediaSocket(self._media, _bound(address, None), received, fixed=address[1] != 0)

    def listen_stream(self, address: Address, factory: IProtocolFactory) -> StreamListener:
        """Listen on a TCP port, of IPv6 only if it is one. Raises OSError when it is taken or not ours."""
        host, port = address
        if not is_address(host):
            raise OSError(f"can't listen on {host!r}: not an IP address")
        try:
            if family_of(host) == socket.AF_INET6:
                with _stream_of_ipv6(host, port) as ours:  # the reactor takes a duplicate
                    return TcpListener(self._reactor.adoptStreamPort(ours.fileno(), socket.AF_INET6, factory))
            return TcpListener(self._reactor.listenTCP(port, factory, BACKLOG, interface=host))
        except CannotListenError as error:
            cause = error.socketError
            raise OSError(getattr(cause, "errno", None), f"can't listen on {host} port {port}: {cause}") from error

    def connect_stream(self, destination: Address, factory: IProtocolFactory, timeout: float) -> Deferred[IProtocol]:
        """Open a TCP connection; fires with the protocol, fails with a Twisted ``ConnectError``."""
        host, port = destination
        endpoint = TCP6ClientEndpoint if family_of(host) == socket.AF_INET6 else TCP4ClientEndpoint
        return cast("Deferred[IProtocol]", endpoint(self._reactor, host, port, timeout).connect(factory))

    def resolve(self, name: str) -> Deferred[list[str]]:
        """Look a host name up; fires with its addresses in the system's order (RFC 6724), or fails with OSError."""
        if is_address(name):
            return succeed([name])
        if not name or len(name) > 253:
            return fail(OSError(f"not a host name: {name[:80]!r}"))
        return self.run_in_thread(_look_up, name)

    def lookup(self, name: str, kind: RecordKind) -> Deferred[Answer]:
        """Ask for the records of a name; see `telephony.names`."""
        return self._names.lookup(name, kind)

    @property
    def open_files(self) -> int:
        """How many files and sockets this process may have open now; 2**20 where there is no limit."""
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return soft if soft >= 0 else 1 << 20

    def source_address(self, destination: Address) -> str:
        """Return our address on the route to ``destination``. Raises OSError when there is no route."""
        with socket.socket(family_of(destination[0]), socket.SOCK_DGRAM) as probe:
            # Connecting a UDP socket sends nothing: the system only looks the route up.
            probe.connect((destination[0], destination[1] or 9))
            return cast(str, probe.getsockname()[0])

    def run_in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run ``function(*args)`` in the reactor's thread pool; fires or fails as it does."""
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *args)


def _bound(address: Address, buffer_size: int | None) -> socket.socket:
    """Return a UDP socket that is bound. Raises OSError when the address is taken, not ours, or not an IP literal."""
    host, port = address
    family = family_of(host)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if buffer_size is not None:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, buffer_size)
        sock.bind(_to_bind(family, host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def _to_bind(family: socket.AddressFamily, host: str, port: int) -> tuple[Any, ...]:
    """Return an address as ``bind`` wants it. Raises OSError when ``host`` is no IP literal."""
    if "%" in host:
        # getaddrinfo turns a scope into the number that bind wants; for a literal it never asks the network.
        return socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM, 0, socket.AI_NUMERICHOST)[0][4]
    socket.inet_pton(family, host)
    return host, port


def _stream_of_ipv6(host: str, port: int) -> socket.socket:
    """Return a listening socket that takes IPv6 only, so that ``0.0.0.0`` at the same port is free for another."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(socket.getaddrinfo(host, port, socket.AF_INET6, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)[0][4])
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _look_up(name: str) -> list[str]:
    """Return the addresses of ``name``, each once. Runs in a thread: the system's resolver blocks."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_DGRAM)
    except UnicodeError as error:  # what the IDNA codec makes of "a..b"
        raise OSError(f"not a host name: {name!r}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
