"""Legs for tests: an endpoint of ours and the far end it talks to, on one wire."""

from __future__ import annotations

from typing import Any

from telephony.media.clock import MediaClock
from telephony.media.endpoint import Endpoint
from telephony.rtp.packet import Packet
from telephony.rtp.ports import PortPool
from tests.rtp.fakes import Far, Wire, agreed, session

SILENCE = {"PCMA": b"\xd5", "PCMU": b"\xff"}


class Legs:
    """A wire, a media clock, and as many legs as are asked for."""

    def __init__(self, seed: int = 1) -> None:
        self.wire = Wire(seed)
        self.clock = MediaClock(self.wire.clock)
        self.pool = PortPool(self.wire, 20000, 29999)  # type: ignore[arg-type]
        self.legs: list[Leg] = []

    def leg(self, **changes: Any) -> Leg:
        """Return another leg, talking."""
        leg = Leg(self, f"10.0.0.{len(self.legs) + 1}", changes)
        self.legs.append(leg)
        return leg

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.wire.run(seconds)

    def end(self) -> list[object]:
        """End all legs; return what is left of them: timers and open ports of ours."""
        for leg in self.legs:
            leg.endpoint.stop()
            leg.rtp.close()
        assert not self.pool.in_use
        self.pool.close()
        far = {leg.far.address[0] for leg in self.legs}
        return [*self.wire.clock.getDelayedCalls(), *(one for one in self.wire.ports if one[0] not in far)]


class Leg:
    """One leg: ``endpoint`` and ``rtp`` are ours, ``far`` is the phone."""

    def __init__(self, legs: Legs, host: str, changes: dict[str, Any]) -> None:
        self.legs = legs
        self.far = Far(legs.wire, (host, 4000))
        self.rtp = session(legs.wire, pool=legs.pool)
        self.endpoint = Endpoint(self.rtp, legs.clock)
        self.digits: list[str] = []
        self.endpoint.on_digit = self.digits.append
        self.changes = changes
        self.endpoint.apply(agreed(self.far.address, **changes))
        self.endpoint.start()

    def renew(self, **changes: Any) -> None:
        """Apply a re-INVITE that changes this."""
        self.endpoint.apply(agreed(self.far.address, **{**self.changes, **changes}))

    def say(self, sequence: int, payload: bytes | None = None, **packet: Any) -> None:
        """Let the phone send a packet: all its bytes are the number, unless a payload is given."""
        self.far.send(self.rtp.address, sequence, payload or bytes((sequence & 0xFF,)) * 160, **packet)

    def press(self, sequence: int, key: int, timestamp: int, packets: int = 6, payload_type: int = 101) -> None:
        """Let the phone press a key."""
        from telephony.rtp.telephone_event import TelephoneEvent

        for n in range(packets):
            payload = TelephoneEvent(key, 160 * (n + 1), n >= packets - 3).to_bytes()
            self.far.send(
                self.rtp.address, sequence + n, payload, timestamp=timestamp, payload_type=payload_type, marker=n == 0
            )

    @property
    def heard(self) -> list[Packet]:
        """What the phone got."""
        return self.far.packets

    def bytes_heard(self, since: int = 0) -> list[int]:
        """The first byte of each packet's payload."""
        return [one.payload[0] for one in self.far.packets[since:]]

    def shape(self, since: int = 0) -> list[tuple[int, int]]:
        """Sequence and timestamp of what the phone got, from the first of it on."""
        packets = self.far.packets[since:]
        first = packets[0]
        return [
            ((one.sequence - first.sequence) & 0xFFFF, (one.timestamp - first.timestamp) & 0xFFFFFFFF)
            for one in packets
        ]

    def unbroken(self, since: int = 0) -> bool:
        """Whether the phone got one stream without a break: numbers by one, timestamps by what each packet holds."""
        expected = []
        timestamp = 0
        for n, packet in enumerate(self.far.packets[since:]):
            expected.append((n & 0xFFFF, timestamp & 0xFFFFFFFF))
            timestamp += len(packet.payload)
        return self.shape(since) == expected

    def timeline(self, silence: bytes = b"\xd5") -> bytes:
        """The audio that the phone got, each packet where its timestamp puts it."""
        line = bytearray()
        for packet, (_, timestamp) in zip(self.far.packets, self.shape(), strict=True):
            line += silence * (timestamp - len(line))
            line[timestamp : timestamp + len(packet.payload)] = packet.payload
        return bytes(line)


class Ear:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, bytes]] = []

    def frame(self, codec: str, payload: bytes) -> None:
        self.frames.append((codec, payload))

    def bytes_heard(self) -> list[int]:
        """The first byte of each frame."""
        return [payload[0] for _, payload in self.frames]
