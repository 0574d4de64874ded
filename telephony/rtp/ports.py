"""Pairs of UDP ports for RTP and RTCP: taken from a range, kept open after use, rested and drained before the next.

Owns: which ports are whose. Must not know what flows through them. Ports are even for RTP and the next odd one for
RTCP (RFC 3550 section 11), drawn at random from the host's source: an outsider can't tell the next call's ports from
the last one's. A pair that was given back rests for a while, so that late packets of one call aren't heard in another.

To make, bind and close two sockets costs more than all else that a call does about its ports, so that sockets stay
open when a call is over. While they rest, what still comes to them is read and dropped as it comes, and what has come
but was not read when the next call gets them is thrown away then.
"""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from telephony.interfaces import Address, DatagramReceived, Host, MediaPort, ShortWay

T = TypeVar("T")

#: How many ports that turn out to be taken by others are passed over before an acquisition gives up.
_PATIENCE = 64
#: Open pairs are drawn from only while there are as many to draw from, so that nobody can tell which comes next.
_FEWEST = 32
#: Of all files that the process may have open, open pairs take up to a half: each is two.
_SHARE = 4


class NoPorts(OSError):  # noqa: N818 - it is a capacity, not a fault
    """There is no free pair of ports in the range now."""


def _dropped(data: bytes, source: Address) -> None:
    """Drop a datagram that nobody waits for."""


def _dropped_packet(data: bytes | bytearray | memoryview) -> None:
    """Drop a packet that nobody gets any more."""


class _ClosedPort:
    """What a pair that was given back has in place of its ports, so that nothing keeps the real ones."""

    address: Address = ("", 0)
    received: DatagramReceived = staticmethod(_dropped)

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send nothing."""

    write = staticmethod(_dropped_packet)

    def aim(self, target: Address | None) -> None:
        """Send nothing there either."""

    def unsent(self) -> None:
        """Count nothing."""

    def post(self, packet: memoryview | bytearray) -> None:
        """Send nothing."""

    def shorten(self, short: ShortWay | None, peer: Address = ("", 0), alone: bool = False) -> None:
        """Receive nothing, by whatever way."""

    def drain(self) -> bool:
        """Find nothing to throw away."""
        return True

    def close(self) -> None:
        """Do nothing."""


_CLOSED = _ClosedPort()


class PortPair:
    """An open pair: ``rtp`` on an even port, ``rtcp`` on the next. Datagrams are dropped until `receive`.

    ``address`` is where RTP is received; it stays readable after `close`.
    """

    __slots__ = ("_pool", "address", "rtcp", "rtp")

    def __init__(self, pool: PortPool, address: Address, rtp: MediaPort, rtcp: MediaPort) -> None:
        self._pool: PortPool | None = pool
        self.address = address
        self.rtp = rtp
        self.rtcp = rtcp

    def receive(self, on_rtp: DatagramReceived, on_rtcp: DatagramReceived) -> None:
        """Call these with each datagram and its source from now on."""
        if self._pool is not None:
            self.rtp.received = on_rtp
            self.rtcp.received = on_rtcp

    def shorten(self, short: ShortWay | None, peer: Address = ("", 0), alone: bool = False) -> bool:
        """Ask ``short`` first about RTP that comes from ``peer``; None ends that."""
        self.rtp.shorten(short, peer, alone)
        return True

    def close(self) -> None:
        """Give both ports back to the pool; harmless when done already."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool._take_back(self)


#: An open pair that nobody has: its address, and its sockets for RTP and for RTCP.
_Idle = tuple[Address, MediaPort, MediaPort]


class PortPool:
    """The pairs of the range ``low``..``high`` (both included) on ``host``; a given-back pair rests ``quarantine`` s.

    Each local address has the whole range to itself. Up to ``kept`` pairs are open at a time, those in use among them
    (if more are in use, none is kept open behind them); None: as many as take half the files that the host allows.
    There is no timer: who has rested enough is found out when the next pair is asked for.
    """

    def __init__(self, host: Host, low: int, high: int, quarantine: float = 2.0, kept: int | None = None) -> None:
        self._host = host
        self._quarantine = quarantine
        self._kept = host.open_files // _SHARE if kept is None else kept
        first = low + low % 2
        if not (0 < low <= 65535 and low <= high <= 65535 and first + 1 <= high):
            raise ValueError(
                f"RTP ports {low}-{high}: the range must lie in 1-65535 and hold an even port and its odd one"
            )
        self._evens = range(first, high, 2)
        #: By local address: the even ports of pairs that aren't open, and the pairs that are and have rested.
        self._free: dict[str, list[int]] = {}
        self._rested: dict[str, list[_Idle]] = {}
        #: Who rests until when, open or closed.
        self._resting: deque[tuple[float, Address, _Idle | None]] = deque()
        self._idle = 0  # how many pairs are open that nobody has
        self._pairs: set[PortPair] = set()

    @property
    def in_use(self) -> int:
        """How many pairs are out."""
        return len(self._pairs)

    @property
    def idle(self) -> int:
        """How many pairs are open for calls to come."""
        return self._idle

    def acquire(self, address: str) -> PortPair:
        """Take a pair on the local IP ``address``. Raises NoPorts when none is free."""
        self._wake()
        free = self._free.get(address)
        if free is None:
            free = self._free[address] = list(self._evens)
            self._rested[address] = []
        rested = self._rested[address]
        pair = self._reused(rested, _FEWEST) or self._opened(address, free) or self._reused(rested, 1)
        if pair is None:
            raise NoPorts(f"no free pair of RTP ports on {address} in {self._evens[0]}-{self._evens[-1] + 1}")
        self._pairs.add(pair)
        return pair

    def release(self, pair: PortPair) -> None:
        """Give a pair back and let its ports rest; the same as ``pair.close()``."""
        pair.close()

    def close(self) -> None:
        """Close all ports, those of pairs that are still out too."""
        self._kept = 0
        for pair in sorted(self._pairs, key=lambda one: one.address):
            pair.close()
        for _until, _address, idle in self._resting:
            self._shut(idle)
        self._resting = deque((until, address, None) for until, address, _idle in self._resting)
        for host, rested in self._rested.items():
            for idle in rested:
                self._shut(idle)
                self._free[host].append(idle[0][1])
            rested.clear()

    def _draw(self, many: int) -> int:
        """Draw a number below ``many``: from bits, which no recording of a call notes."""
        return self._host.random.getrandbits(32) * many >> 32

    def _reused(self, rested: list[_Idle], fewest: int) -> PortPair | None:
        """Return one of the pairs that are open, None when there are fewer than that to draw from."""
        for _ in range(_PATIENCE):
            if len(rested) < fewest:
                return None
            idle = address, rtp, rtcp = _taken_out(rested, self._draw(len(rested)))
            if rtp.drain() and rtcp.drain():
                self._idle -= 1
                return PortPair(self, address, rtp, rtcp)
            # Somebody sends to it without end: it has not come to rest.
            self._rest(address, idle)
        return None

    def _opened(self, address: str, free: list[int]) -> PortPair | None:
        """Return a pair that is opened for this, None when there is none."""
        taken: list[int] = []
        try:
            while free and len(taken) < _PATIENCE:
                port = _taken_out(free, self._draw(len(free)))
                pair = self._open(address, port)
                if pair is not None:
                    return pair
                taken.append(port)
        finally:
            free.extend(taken)
        return None

    def _open(self, address: str, port: int) -> PortPair | None:
        try:
            rtp = self._host.open_media_port((address, port), _dropped)
        except OSError:
            return None
        try:
            rtcp = self._host.open_media_port((address, port + 1), _dropped)
        except OSError:
            rtp.close()
            return None
        return PortPair(self, (address, port), rtp, rtcp)

    def _take_back(self, pair: PortPair) -> None:
        self._pairs.discard(pair)
        idle = address, rtp, rtcp = (pair.address, pair.rtp, pair.rtcp)
        pair.rtp = pair.rtcp = _CLOSED
        rtp.received = rtcp.received = _dropped
        rtp.shorten(None)
        rtp.aim(None)
        self._idle += 1
        keeps = len(self._pairs) + self._idle <= self._kept
        if not keeps:
            self._shut(idle)
        self._rest(address, idle if keeps else None)

    def _rest(self, address: Address, idle: _Idle | None) -> None:
        self._resting.append((self._host.clock.seconds() + self._quarantine, address, idle))

    def _wake(self) -> None:
        resting = self._resting
        now = self._host.clock.seconds()
        while resting and resting[0][0] <= now:
            _, (host, port), idle = resting.popleft()
            if idle is None:
                self._free[host].append(port)
            else:
                self._rested[host].append(idle)

    def _shut(self, idle: _Idle | None) -> None:
        if idle is not None:
            self._idle -= 1
            _address, rtp, rtcp = idle
            rtp.close()
            rtcp.close()


def _taken_out(some: list[T], at: int) -> T:
    """Take one out of a list whose order means nothing."""
    one = some[at]
    some[at] = some[-1]
    some.pop()
    return one
