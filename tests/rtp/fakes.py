"""A wire in memory: UDP ports that hand each other what they send, at once or after a delay, on a clock of tests."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock

from telephony.interfaces import Address, DatagramReceived
from telephony.rtp.packet import Packet, parse_packet
from telephony.rtp.ports import PortPool
from telephony.rtp.session import RtpSession
from telephony.sdp.negotiation import Agreed
from telephony.testing.media_port import InMemory


class Port(InMemory):
    """A bound port on a `Wire`."""

    def __init__(self, wire: Wire, address: Address, received: DatagramReceived) -> None:
        self.wire = wire
        self.address = address
        self.received = received
        self.sent: list[tuple[bytes, Address]] = []
        self.open = True
        self.begin()

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        if not self.open:
            raise AssertionError("sent on a closed port")
        self.sent.append((bytes(data), destination))
        self.wire.carry(bytes(data), self.address, destination)

    def now(self) -> float:
        return self.wire.clock.seconds()

    def drain(self) -> bool:
        return not self.wire.flooded

    def close(self) -> None:
        if self.open:
            self.open = False
            del self.wire.ports[self.address]


class Wire:
    """As much of `telephony.interfaces.Host` as media needs; every address is its own."""

    def __init__(self, seed: int = 1, delay: float | None = None) -> None:
        self.clock = Clock()
        self.random = random.Random(seed)
        self.delay = delay
        self.ports: dict[Address, Port] = {}
        self.taken: set[Address] = set()
        self.open_files = 1024
        #: Whether there is no end of what comes to any port.
        self.flooded = False
        self.lose: Callable[[bytes], bool] = lambda data: False

    def open_datagram_port(self, address: Address, received: DatagramReceived) -> Port:
        if address in self.ports or address in self.taken:
            raise OSError(98, "Address already in use")
        port = self.ports[address] = Port(self, address, received)
        return port

    open_media_port = open_datagram_port

    def carry(self, data: bytes, source: Address, destination: Address) -> None:
        if self.lose(data):
            return
        if self.delay is None:
            self.arrive(data, source, destination)
        else:
            self.clock.callLater(self.delay, self.arrive, data, source, destination)

    def arrive(self, data: bytes, source: Address, destination: Address) -> None:
        port = self.ports.get(destination)
        if port is not None:
            port.arrived(data, source)

    def run(self, seconds: float, step: float = 0.001) -> None:
        """Let time pass in small steps."""
        self.clock.pump([step] * round(seconds / step))


class Far:
    """The far end of one leg: two ports, and what came to them."""

    def __init__(self, wire: Wire, address: Address) -> None:
        self.wire = wire
        self.address = address
        self.packets: list[Packet] = []
        self.times: list[float] = []
        self.rtcp: list[bytes] = []
        self.rtp_port = wire.open_datagram_port(address, self._received)
        self.rtcp_port = wire.open_datagram_port((address[0], address[1] + 1), self._rtcp_received)

    def _received(self, data: bytes, source: Address) -> None:
        self.packets.append(parse_packet(data))
        self.times.append(self.wire.clock.seconds())

    def _rtcp_received(self, data: bytes, source: Address) -> None:
        self.rtcp.append(data)

    def send(
        self,
        to: Address,
        sequence: int,
        payload: bytes = b"\xd5" * 160,
        *,
        timestamp: int | None = None,
        ssrc: int = 0xFACE,
        payload_type: int = 8,
        marker: bool = False,
    ) -> None:
        """Send a packet; its timestamp follows from its number unless it is given."""
        stamp = sequence * 160 if timestamp is None else timestamp
        packet = Packet(payload_type, sequence & 0xFFFF, stamp & 0xFFFFFFFF, ssrc, payload, marker)
        self.rtp_port.send(packet.to_bytes(), to)


def agreed(remote: Address | None, **changes: Any) -> Agreed:
    """A-law with telephone events as 101, 20 ms, both ways."""
    values: dict[str, Any] = {
        "codec": "PCMA",
        "payload_type": 8,
        "receive_payload_types": {8: "PCMA", 0: "PCMU", 101: "telephone-event"},
        "event_payload_type": 101,
        "ptime": 20,
        "remote_rtp": remote,
        "remote_rtcp": None if remote is None else (remote[0], remote[1] + 1),
        "send": True,
        "receive": True,
    }
    values.update(changes)
    return Agreed(**values)


class Heard:
    """A receiver that keeps what it gets."""

    def __init__(self) -> None:
        self.audios: list[tuple[str, bytes, int, int, bool]] = []
        self.events: list[tuple[bytes, int, int]] = []
        self.restarts = 0

    def audio(
        self,
        codec: str,
        datagram: bytes,
        start: int,
        end: int,
        sequence: int,
        timestamp: int,
        marker: bool,
        now: float,
    ) -> None:
        self.audios.append((codec, datagram[start:end], sequence, timestamp, marker))

    def event(
        self, datagram: bytes, start: int, end: int, sequence: int, timestamp: int, marker: bool, now: float
    ) -> None:
        self.events.append((datagram[start:end], sequence, timestamp))

    def restarted(self) -> None:
        self.restarts += 1


def session(wire: Wire, address: str = "192.0.2.1", pool: PortPool | None = None) -> RtpSession:
    """Return a session of ours on a fresh pair of ports."""
    pool = pool or PortPool(wire, 20000, 20999)  # type: ignore[arg-type]
    return RtpSession(pool.acquire(address), wire.clock, wire.random, "us")
