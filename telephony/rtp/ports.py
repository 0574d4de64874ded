"""Pairs of UDP ports for RTP and RTCP, taken from a range and rested after use.

Owns: which ports are whose. Must not know what flows through them. Ports are even for RTP and the next odd one for
RTCP (RFC 3550 section 11), drawn at random from the host's source: an outsider can't tell the next call's ports from
the last one's. A port that was given back rests for a while, so that late packets of one call aren't heard in another.
"""

from __future__ import annotations

from collections import deque

from telephony.interfaces import Address, DatagramPort, DatagramReceived, Host

#: How many ports that turn out to be taken by others are passed over before an acquisition gives up.
_PATIENCE = 64


class NoPorts(OSError):  # noqa: N818 - it is a capacity, not a fault
    """There is no free pair of ports in the range now."""


class _ClosedPort:
    """What a pair that was given back has in place of its ports, so that nothing keeps the real ones."""

    address: Address = ("", 0)

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send nothing."""

    def close(self) -> None:
        """Do nothing."""


_CLOSED = _ClosedPort()


class PortPair:
    """An open pair: ``rtp`` on an even port, ``rtcp`` on the next. Datagrams are dropped until `receive`.

    ``address`` is where RTP is received; it stays readable after `close`.
    """

    __slots__ = ("_on_rtcp", "_on_rtp", "_pool", "address", "rtcp", "rtp")

    def __init__(self, pool: PortPool, address: Address) -> None:
        self._pool: PortPool | None = pool
        self._on_rtp: DatagramReceived = _dropped
        self._on_rtcp: DatagramReceived = _dropped
        self.address = address
        self.rtp: DatagramPort = _CLOSED
        self.rtcp: DatagramPort = _CLOSED

    def receive(self, on_rtp: DatagramReceived, on_rtcp: DatagramReceived) -> None:
        """Call these with each datagram and its source from now on."""
        self._on_rtp = on_rtp
        self._on_rtcp = on_rtcp

    def close(self) -> None:
        """Close both ports and give them back to the pool; harmless when done already."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool._take_back(self)

    def rtp_received(self, data: bytes, source: Address) -> None:
        """Pass a datagram on."""
        self._on_rtp(data, source)

    def rtcp_received(self, data: bytes, source: Address) -> None:
        """Pass a datagram on."""
        self._on_rtcp(data, source)


def _dropped(data: bytes, source: Address) -> None:
    """Drop a datagram that nobody waits for."""


class PortPool:
    """The pairs of the range ``low``..``high`` (both included) on ``host``; a given-back pair rests ``quarantine`` s.

    Each local address has the whole range to itself. There is no timer: who has rested enough is found out when the
    next pair is asked for.
    """

    def __init__(self, host: Host, low: int, high: int, quarantine: float = 2.0) -> None:
        self._host = host
        self._quarantine = quarantine
        first = low + low % 2
        if not (0 < low <= 65535 and low <= high <= 65535 and first + 1 <= high):
            raise ValueError(
                f"RTP ports {low}-{high}: the range must lie in 1-65535 and hold an even port and its odd one"
            )
        self._evens = range(first, high, 2)
        self._free: dict[str, list[int]] = {}
        self._resting: deque[tuple[float, str, int]] = deque()
        self._pairs: set[PortPair] = set()

    @property
    def in_use(self) -> int:
        """How many pairs are out."""
        return len(self._pairs)

    def acquire(self, address: str) -> PortPair:
        """Open a pair on the local IP ``address``. Raises NoPorts when none is free."""
        self._wake()
        free = self._free.get(address)
        if free is None:
            free = self._free[address] = list(self._evens)
        draw = self._host.random.randrange
        taken: list[int] = []
        try:
            while free and len(taken) < _PATIENCE:
                at = draw(len(free))
                port = free[at]
                free[at] = free[-1]
                free.pop()
                pair = self._open(address, port)
                if pair is not None:
                    return pair
                taken.append(port)
        finally:
            free.extend(taken)
        raise NoPorts(f"no free pair of RTP ports on {address} in {self._evens[0]}-{self._evens[-1] + 1}")

    def release(self, pair: PortPair) -> None:
        """Close a pair and let its ports rest; the same as ``pair.close()``."""
        pair.close()

    def close(self) -> None:
        """Close all pairs that are still out."""
        for pair in sorted(self._pairs, key=lambda one: one.address):
            pair.close()

    def _open(self, address: str, port: int) -> PortPair | None:
        pair = PortPair(self, (address, port))
        try:
            pair.rtp = self._host.open_datagram_port((address, port), pair.rtp_received)
        except OSError:
            return None
        try:
            pair.rtcp = self._host.open_datagram_port((address, port + 1), pair.rtcp_received)
        except OSError:
            pair.rtp.close()
            return None
        self._pairs.add(pair)
        return pair

    def _take_back(self, pair: PortPair) -> None:
        self._pairs.discard(pair)
        host, port = pair.address
        pair.rtp.close()
        pair.rtcp.close()
        pair.rtp = pair.rtcp = _CLOSED
        pair.receive(_dropped, _dropped)
        self._resting.append((self._host.clock.seconds() + self._quarantine, host, port))

    def _wake(self) -> None:
        now = self._host.clock.seconds()
        while self._resting and self._resting[0][0] <= now:
            _, host, port = self._resting.popleft()
            self._free.setdefault(host, []).append(port)
