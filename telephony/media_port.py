"""The UDP ports of media: many sockets with a packet each now and then, read behind one descriptor.

Owns: their sockets, when they are looked at, and that each packet costs as few system calls as it can. Must not know
RTP, nor import a reactor: it is given one.

Why not a reader per socket: a reactor calls each through its log's context, which costs more than the packet. Here one
``epoll`` of our own holds all media sockets, and the reactor holds that. Where there is none (other systems than
Linux) each port is a reader by itself.

When packets come thick and fast, waking up for each is what costs most, twice the packet itself. So from `BUSY` wakes a
second on the sockets are looked at every `PACE` seconds, on the beat of a timer of the system's, as a network card does
that holds its interrupts back; below `CALM` packets a second they are waited for again. A packet waits half a
millisecond at most for that.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
from functools import cache
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from telephony.interfaces import Address, DatagramReceived, ShortWay

_log = Logger()

#: Seconds between two looks at the sockets while there is much to do.
PACE = 0.0005
#: Wakes a second from which on we look at that pace, and packets a second below which we wait again.
BUSY = 2500
CALM = 1500
#: Over how many wakes that is judged.
_JUDGED = 128
#: How many sockets are served before the reactor looks at its others, and how many packets lie side by side until they
#: are sent on together. To send to somebody who sleeps costs twice what it costs to send to somebody who was just woken
#: by the packet before: measured, 12 and 5 us on loopback.
_MOST_READY = 64
#: How many datagrams of a socket are thrown away at once (`MediaSocket.drain`).
_MOST_DRAINED = 128
#: After how many packets of a short way in a row a socket is connected: two system calls that must pay.
_STEADY = 32
#: The longest datagram that is read whole. Nothing in RTP comes near it.
_MOST_BYTES = 2048


@implementer(IReadDescriptor)
class MediaSocket:
    """A bound UDP socket for packets of one peer; provides `telephony.interfaces.MediaPort`.

    While its short way is alone and in steady use it is connected to the peer: then the system finds the route once and
    tells apart who sends, and neither address is made an object for each packet.
    """

    __slots__ = (
        "_address",
        "_fixed",
        "_peer",
        "_reader",
        "_receive_errors",
        "_send_errors",
        "_short",
        "_socket",
        "_steady",
        "_target",
        "read",
        "received",
        "write",
    )

    def __init__(self, reader: MediaReader, sock: socket.socket, received: DatagramReceived, fixed: bool) -> None:
        """Take a bound socket; ``fixed``: its port was asked for by number.

        One that the system chose is forgotten by the system when a connection ends, so that such a socket gets none.
        """
        self._socket: socket.socket | None = sock
        self._address: Address = sock.getsockname()[:2]
        self._reader = reader
        self.received = received
        self._short: ShortWay | None = None
        self._peer: Address = ("", 0)
        self._target: Address | None = None
        self._fixed = fixed
        self._steady = -1  # packets left until it is connected; -1: it is not to be
        self._send_errors = self._receive_errors = 0
        self.read: Any = self._read_any
        self.write: Any = self._write
        reader.add(self)

    @property
    def address(self) -> Address:
        """The address it is bound to."""
        return self._address

    @property
    def counters(self) -> dict[str, int]:
        """What could not be sent, and what the system reported where a datagram was looked for."""
        return {"send_errors": self._send_errors, "receive_errors": self._receive_errors}

    # -- sending -------------------------------------------------------------------------------------------------

    def aim(self, target: Address | None) -> None:
        """Let `write` send there from now on; None: nowhere."""
        if target != self._target:
            self._target = target
            if self._connected:
                self._steer()

    def _write(self, data: bytes | bytearray | memoryview) -> None:
        if self._socket is None or self._target is None:
            raise OSError("a media port with nowhere to send")
        try:
            self._socket.sendto(data, self._target)
        except (ValueError, OverflowError, TypeError) as error:  # a broken address from a peer's message
            raise OSError(f"can't send to {self._target!r}") from error

    def unsent(self) -> None:
        """Count a packet that `write` could not send."""
        self._send_errors += 1

    def post(self, packet: memoryview | bytearray) -> None:
        """Send one datagram to where it is aimed before this turn is over."""
        self._reader.posted.append((self, packet))

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

    # -- receiving -----------------------------------------------------------------------------------------------

    def shorten(self, short: ShortWay | None, peer: Address = ("", 0), alone: bool = False) -> None:
        """Ask ``short`` first about what comes from ``peer``; None ends that."""
        if self._connected:
            self._disconnect()
        self._short = short
        self._peer = peer
        self._steady = _STEADY if alone and self._fixed and short is not None else -1

    def _read_any(self, place: memoryview, now: float) -> None:
        """Read one datagram of whoever has sent it, to ``place``."""
        sock = self._socket
        if sock is None:  # closed since it was found ready
            return
        try:
            size, source = sock.recvfrom_into(place)
        except BlockingIOError:
            return
        except OSError:
            # An ICMP error of an earlier send, reported here; nothing to read, and no fault of this port.
            self._receive_errors += 1
            return
        source = source[:2]
        if self._short is not None and source == self._peer and self._short(place, size, now):
            if self._steady > 0:
                self._steady -= 1
                if not self._steady:
                    self._connect()
            return
        self._deliver(place[:size], source)

    def _deliver(self, packet: memoryview, source: Address) -> None:
        self._reader.flush()  # whatever comes of it goes behind what came before
        self.received(packet.tobytes(), source)

    def drain(self) -> bool:
        """Throw away what has come and was not read yet; False when there is no end of it, or it is closed."""
        if self._socket is None:
            return False
        for _ in range(_MOST_DRAINED):
            try:
                self._socket.recv(1)  # one byte read, and the rest of the datagram is gone
            except BlockingIOError:
                return True
            except OSError:
                self._receive_errors += 1
        return False

    # -- being connected -----------------------------------------------------------------------------------------

    @property
    def _connected(self) -> bool:
        return self._steady == 0

    def _connect(self) -> None:
        """Let the system tell who sends, and where to."""
        assert self._socket is not None
        try:
            self._socket.connect(self._peer)
        except OSError:
            self._steady = -1
            return
        # What others sent before is still in the queue, and is told apart once more.
        self.read = self._read_up
        self._steer()

    def _steer(self) -> None:
        """Send without an address where that is the connection's."""
        connected = self._socket is not None and self._target == self._peer
        self.write = self._socket.send if connected and self._socket is not None else self._write

    def _disconnect(self) -> None:
        self._steady = -1
        self.read = self._read_any
        self.write = self._write
        if self._socket is not None:
            _disconnect(self._socket.fileno())

    def _read_up(self, place: memoryview, now: float) -> None:
        """Read what came before the connection, and then go over to `_read_peer`."""
        for _ in range(_MOST_DRAINED):
            if self._socket is None or not self._connected:
                return
            try:
                size, source = self._socket.recvfrom_into(place)
            except BlockingIOError:
                self.read = self._read_peer
                return
            except OSError:
                self._receive_errors += 1
                continue
            source = source[:2]
            if self._short is None or source != self._peer or not self._short(place, size, now):
                self._deliver(place[:size], source)
            self._reader.flush()  # there is but one place for all of them

    def _read_peer(self, place: memoryview, now: float) -> None:
        """Read one datagram of the peer, to ``place``."""
        assert self._socket is not None and self._short is not None
        try:
            size = self._socket.recv_into(place)
        except BlockingIOError:
            return
        except OSError:
            self._receive_errors += 1
            return
        if not self._short(place, size, now):
            self._deliver(place[:size], self._peer)

    # -- the reactor's side --------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the socket's number, -1 when closed."""
        return -1 if self._socket is None else self._socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Return what the reactor calls it in its log."""
        return f"media {self._address[0]} {self._address[1]}"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Read one datagram, where there is no ``epoll`` and the reactor holds this socket itself."""
        self._reader.serve(self, self._reader.seconds())

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Free the socket when the reactor gives it up."""
        self.close()

    def close(self) -> None:
        """Stop receiving and free the port."""
        if self._socket is not None:
            self._reader.remove(self)
            self._socket.close()
            self._socket = None
            self._short = None
            self._steady = -1
            # The port's own methods would keep it alive.
            self.read = _read_nothing
            self.write = _write_nothing


def _read_nothing(place: memoryview, now: float) -> None:
    """Read from a port that was closed after it had been found ready."""


def _write_nothing(data: bytes | bytearray | memoryview) -> None:
    """Write to a port that is closed."""
    raise OSError("a media port that is closed")


@implementer(IReadDescriptor)
class MediaReader:
    """What the reactor sees of all media sockets: one descriptor, ready when any of them is."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.seconds = reactor.seconds
        self._ports: dict[int, MediaSocket] = {}
        self._epoll: Any = None
        self._timer: _Timer | None = None
        self._paced = False
        self._wakes = self._packets = 0
        self._since = 0.0
        self._places: list[memoryview] = []
        #: What goes out before the turn is over, and by which port.
        self.posted: list[tuple[MediaSocket, memoryview | bytearray]] = []

    @property
    def paced(self) -> bool:
        """Whether the sockets are looked at every `PACE` seconds now, rather than when they are ready."""
        return self._paced

    def add(self, port: MediaSocket) -> None:
        """Read a port from now on."""
        if not self._places:
            self._places = [memoryview(bytearray(_MOST_BYTES)) for _ in range(_MOST_READY)]
        if not hasattr(select, "epoll"):
            self._reactor.addReader(port)
            return
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        number = port.fileno()
        self._ports[number] = port
        self._epoll.register(number, select.EPOLLIN)

    def remove(self, port: MediaSocket) -> None:
        """Read a port no more; the last one takes everything of ours out of the reactor."""
        if self._epoll is None:
            self._reactor.removeReader(port)
            return
        number = port.fileno()
        if self._ports.pop(number, None) is None:
            return
        self._epoll.unregister(number)
        if not self._ports:
            self._close()

    def _close(self) -> None:
        self._wait()
        self._reactor.removeReader(self)
        self._epoll.close()
        self._epoll = None
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def serve(self, port: MediaSocket, now: float) -> None:
        """Read one datagram of a port that the reactor holds itself."""
        try:
            port.read(self._places[0], now)
        except Exception:
            _log.failure("Unhandled fault at {port}", port=port.logPrefix())
        self.flush()

    def flush(self) -> None:
        """Send what was posted."""
        posted = self.posted
        for port, packet in posted:
            try:
                port.write(packet)
            except OSError:
                port.unsent()  # a full buffer, or nobody there: to UDP it is a lost packet
        posted.clear()

    # -- looking -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Serve every socket that is ready, one datagram each: nobody's flood holds up the others."""
        ports = self._ports
        now = self.seconds()
        ready = self._epoll.poll(0, _MOST_READY)
        for place, (number, _) in zip(self._places, ready, strict=False):
            port = ports.get(number)
            if port is not None:  # not closed by what came before it
                try:
                    port.read(place, now)
                except Exception:
                    # Nothing above may raise; should it, one datagram is lost and the port lives on.
                    _log.failure("Unhandled fault at {port}", port=port.logPrefix())
        if self.posted:
            self.flush()
        self._packets += len(ready)
        self._wakes += 1
        if self._wakes == _JUDGED:
            self._judge(now)

    def _judge(self, now: float) -> None:
        """Choose between waiting for the sockets and looking at them from time to time."""
        elapsed = now - self._since
        wakes, packets = self._wakes, self._packets
        self._wakes = self._packets = 0
        self._since = now
        if not self._paced:
            if elapsed * BUSY < wakes:
                self._hold_back()
        elif packets < elapsed * CALM:
            self._wait()

    def _hold_back(self) -> None:
        if self._timer is None:
            self._timer = _Timer.made(self)
            if self._timer is None:
                return  # this system has no such timer
        self._paced = True
        self._timer.start(PACE)
        self._reactor.removeReader(self)
        self._reactor.addReader(self._timer)

    def _wait(self) -> None:
        if self._paced and self._timer is not None:
            self._paced = False
            self._reactor.removeReader(self._timer)
            self._timer.stop()
            self._reactor.addReader(self)

    # -- the reactor's side --------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the number of our ``epoll``, -1 when there is none."""
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Return what the reactor calls it in its log."""
        return "media"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Serve the sockets that are ready."""
        if self._epoll is not None:
            self.look()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Close all ports when the reactor gives us up (at shutdown)."""
        for port in list(self._ports.values()):
            port.close()


@implementer(IReadDescriptor)
class _Timer:
    """A timer of the system's that is a descriptor; finer than a reactor's, which counts in milliseconds."""

    def __init__(self, reader: MediaReader, descriptor: int) -> None:
        self._reader = reader
        self._descriptor = descriptor

    @classmethod
    def made(cls, reader: MediaReader) -> _Timer | None:
        """Return one, not running; None where there is no such thing."""
        try:
            descriptor = _libc().timerfd_create(1, os.O_NONBLOCK | os.O_CLOEXEC)  # 1: CLOCK_MONOTONIC
        except AttributeError:
            return None
        return cls(reader, descriptor) if descriptor >= 0 else None

    def start(self, seconds: float) -> None:
        """Be ready every so many seconds from now on."""
        nanoseconds = int(seconds * 1e9)
        self._set(struct.pack("@llll", 0, nanoseconds, 0, nanoseconds))

    def stop(self) -> None:
        """Be ready no more."""
        self._set(bytes(32))

    def _set(self, times: bytes) -> None:
        _libc().timerfd_settime(self._descriptor, 0, times, None)

    def close(self) -> None:
        """Be gone."""
        os.close(self._descriptor)
        self._descriptor = -1

    def fileno(self) -> int:
        """Return its number."""
        return self._descriptor

    def logPrefix(self) -> str:  # noqa: N802 - Twisted's name
        """Return what the reactor calls it in its log."""
        return "media"

    def doRead(self) -> None:  # noqa: N802 - Twisted's name
        """Let the sockets be looked at."""
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        self._reader.look()

    def connectionLost(self, reason: Failure) -> None:  # noqa: N802 - Twisted's name
        """Close all ports when the reactor gives us up (at shutdown)."""
        self._reader.connectionLost(reason)


@cache
def _libc() -> Any:
    """Return the C library, for what Python's own modules have no word for."""
    return ctypes.CDLL(None)


def _disconnect(descriptor: int) -> None:
    """Let a connected UDP socket hear everybody again: ``connect`` to an address of no family (AF_UNSPEC, 0)."""
    _libc().connect(descriptor, bytes(16), 16)
