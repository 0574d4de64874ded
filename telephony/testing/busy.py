"""A simulated machine that is not infinitely fast: what it does takes time, and what comes meanwhile waits.

Owns: the time that a host's processor has spent, the order of what waits for it, and a port's receive buffer. Must not
know what is computed: whoever builds a test says what a thing costs, by `BusyHost.spend`.

Simulated time stands still while code runs, so a server on a `SimulatedNetwork` is never late. Here its clock goes on
by what was spent; timers that fall due meanwhile and datagrams that come are dealt with when it has caught up, and a
port reads several datagrams in a row within the same bounds as a real one. That is all it takes to see what an
overloaded server does, in simulated time and with the same outcome each time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled

from telephony.host import DRAIN_LIMIT, DRAIN_SECONDS
from telephony.interfaces import Address, DatagramReceived
from telephony.testing.clock import SimulatedClock, SimulatedTimer
from telephony.testing.network import SimulatedDatagramPort, SimulatedHost, SimulatedNetwork


class BusyTimer:
    """A timer on a `BusyClock`; a `telephony.interfaces.DelayedCall`."""

    __slots__ = ("_call", "_clock", "below", "cancelled")

    def __init__(self, clock: BusyClock, call: Callable[[], object]) -> None:
        self._clock = clock
        self._call: Callable[[], object] | None = call
        self.cancelled = False
        self.below: SimulatedTimer

    def cancel(self) -> None:
        """Forget the call. Raises AlreadyCalled or AlreadyCancelled."""
        if self._call is None:
            raise AlreadyCancelled if self.cancelled else AlreadyCalled
        self._call = None
        self.cancelled = True
        if self.below.active():
            self.below.cancel()

    def active(self) -> bool:
        """Tell whether the call is still to be made."""
        return self._call is not None

    def due(self) -> None:
        """Take a place behind those that were due before."""
        if self._call is not None:
            self._clock._is_due(self)

    def run(self) -> None:
        """Make the call."""
        call, self._call = self._call, None
        if call is not None:
            call()


class BusyClock:
    """A `telephony.interfaces.Clock` that is ahead of simulated time by what has been spent and not caught up with."""

    def __init__(self, below: SimulatedClock) -> None:
        self._below = below
        self._free_at = 0.0
        #: What is due, in the order of becoming so.
        self._ready: deque[BusyTimer] = deque()

    def seconds(self) -> float:
        """Return the time as the busy machine sees it."""
        return max(self._below.seconds(), self._free_at)

    def spend(self, seconds: float) -> None:
        """Let so much time go by in the middle of what is being done."""
        self._free_at = self.seconds() + seconds

    def callLater(self, delay: float, callable: Callable[..., object], *args: Any) -> BusyTimer:  # noqa: N802
        """Call ``callable(*args)`` after ``delay`` seconds, or as soon as there is time after that."""
        timer = BusyTimer(self, partial(callable, *args))
        timer.below = self._below.callLater(self.seconds() + delay - self._below.seconds(), timer.due)
        return timer

    def _is_due(self, timer: BusyTimer) -> None:
        self._ready.append(timer)
        if len(self._ready) == 1:
            self._below.callLater(self.seconds() - self._below.seconds(), self._next)

    def _next(self) -> None:
        self._ready[0].run()
        self._ready.popleft()
        if self._ready:
            self._below.callLater(self.seconds() - self._below.seconds(), self._next)


class BusyPort(SimulatedDatagramPort):
    """A UDP port with a receive buffer of so many datagrams; each one read and each one sent costs time."""

    __slots__ = ("_buffer", "_reading", "lost")

    def __init__(self, host: BusyHost, address: Address, received: DatagramReceived) -> None:
        super().__init__(host, address, received)
        self._buffer: deque[tuple[bytes, Address]] = deque()
        self._reading = False
        #: How many found the buffer full.
        self.lost = 0

    @property
    def _busy(self) -> BusyHost:
        assert isinstance(self._host, BusyHost)
        return self._host

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send one datagram."""
        self._busy.spend(self._busy.sending)
        super().send(data, destination)

    def arrived(self, data: bytes, source: Address) -> None:
        """Keep a datagram until there is time."""
        if len(self._buffer) >= self._busy.buffer:
            self.lost += 1
            return
        self._buffer.append((data, source))
        self._read_soon()

    def _read_soon(self) -> None:
        if not self._reading:
            self._reading = True
            self._busy.clock.callLater(0, self._read)

    def _read(self) -> None:
        host = self._busy
        self._reading = False
        until = host.clock.seconds() + DRAIN_SECONDS
        self.draining = True
        for _ in range(DRAIN_LIMIT):
            if not self._buffer or not self.open:
                break
            host.spend(host.reading)
            self.received(*self._buffer.popleft())
            if host.clock.seconds() > until:
                break
        self.draining = False
        if self.drained is not None:
            self.drained(bool(self._buffer))
        if self._buffer and self.open:
            self._read_soon()


class BusyHost(SimulatedHost):
    """A machine whose processor takes time: ``reading`` and ``sending`` a datagram cost so many seconds each.

    ``buffer`` is how many datagrams a port holds unread. What else takes time says so by `spend`.
    """

    def __init__(
        self,
        network: SimulatedNetwork,
        address: str,
        *,
        reading: float = 0.0,
        sending: float = 0.0,
        buffer: int = 4096,
    ) -> None:
        super().__init__(network, (address,))
        network.hosts[address] = self
        self.clock = BusyClock(network.clock)  # type: ignore[assignment]
        self.reading = reading
        self.sending = sending
        self.buffer = buffer

    def spend(self, seconds: float) -> None:
        """Let so much time go by in the middle of what is being done."""
        clock = self.clock
        assert isinstance(clock, BusyClock)
        clock.spend(seconds)

    def open_datagram_port(self, address: Address, received: DatagramReceived) -> BusyPort:
        """Bind a UDP port; see `SimulatedHost.open_datagram_port`."""
        ports = self.network._ports
        bound = self._bindable(address, ports)
        port = BusyPort(self, bound, received)
        for own in self._covered(bound):
            ports[own] = port
        return port
