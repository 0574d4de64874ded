"""An RTP end for a SIPp call: SIPp signals, this talks and listens, so that the audio can be judged.

It sends a tone to whoever sends to it first, from then on, and puts together what it hears by the timestamps.
"""

from __future__ import annotations

import socket
import struct
from typing import Any

import numpy as np
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import LoopingCall

from telephony.codecs.g711 import CODECS, Pcm
from telephony.testing.sounds import tone

#: Payload types of RFC 3551.
NAMES = {0: "PCMU", 8: "PCMA"}
FRAME = 160
#: The events of RFC 4733 3.2 in their order.
EVENTS = "0123456789*#ABCD"


class _Ear(DatagramProtocol):
    """Hands packets on; one for each port that is tried."""

    def __init__(self, end: RtpEnd) -> None:
        self._end = end

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Take a packet."""
        self._end.take(datagram, addr)


class RtpEnd:
    """One end of a call's audio: ``payload_type`` and ``frequency`` are what it sends. `listen` it, `close` it."""

    def __init__(self, reactor: Any, payload_type: int, frequency: int) -> None:
        self._reactor = reactor
        self.payload_type = payload_type
        codec = CODECS[NAMES[payload_type]]
        self._sound = codec.encode(tone(frequency, level=-9.0))
        self._sending: LoopingCall | None = None
        self._sent = 0
        self._presses: list[tuple[int, int, bytes]] = []
        """Packets of keys that are still to be sent: payload type, how many frames after the press, payload."""
        self._ports: list[Any] = []
        self._port: Any = None
        self.source: tuple[str, int] | None = None
        self.packets: list[tuple[int, int, int, int, bytes]] = []
        """What came: payload type, sequence number, timestamp, SSRC, payload."""
        self.strangers = 0
        """Packets from elsewhere than the first one."""

    def listen(self, interface: str) -> int:
        """Bind an even port for RTP and the next one for RTCP; return the even one."""
        while True:
            port = self._reactor.listenUDP(0, _Ear(self), interface=interface)
            number: int = port.getHost().port
            self._ports.append(port)
            if number % 2 == 0:
                try:
                    self._ports.append(self._reactor.listenUDP(number + 1, DatagramProtocol(), interface=interface))
                except CannotListenError:
                    continue
                else:
                    break
        # Ports that were tried stay taken until the end: so each try finds another one.
        self._port = port
        return number

    async def close(self) -> None:
        """Stop, and free the ports."""
        if self._sending is not None and self._sending.running:
            self._sending.stop()
        for port in self._ports:
            await port.stopListening()

    def begin(self, source: tuple[str, int]) -> None:
        """Begin to send, and take packets from there only; by itself the first packet begins it."""
        self.source = source
        self._sending = LoopingCall(self._send)
        self._sending.clock = self._reactor
        self._sending.start(0.02)

    def fall_silent(self) -> None:
        """Send nothing any more."""
        if self._sending is not None:
            self._sending.stop()

    def press(self, key: str, payload_type: int, milliseconds: int = 100) -> None:
        """Press a key: telephone events (RFC 4733 2.5) in the place of the tone, the last of them three times."""
        steps = range(1, milliseconds // 20 + 1)
        told = [(step * FRAME, False) for step in steps] + [(steps[-1] * FRAME, True)] * 3
        for number, (duration, end) in enumerate(told):
            kind = payload_type | (0x80 if not number else 0)
            event = struct.pack("!BBH", EVENTS.index(key), 0x80 * end | 10, duration)
            self._presses.append((kind, number, event))

    def pressed(self, payload_type: int) -> str:
        """Return the keys that came as telephone events with that payload type, each press once."""
        presses = {stamp: data[0] for kind, _, stamp, _, data in self.packets if kind == payload_type}
        return "".join(EVENTS[presses[stamp]] for stamp in sorted(presses))

    def take(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Take a packet; the first one says where to send."""
        if self.source is None:
            self.begin(addr[:2])
        if addr[:2] != self.source:
            self.strangers += 1
            return
        kind, sequence, timestamp, ssrc = struct.unpack_from("!xBHII", datagram)
        self.packets.append((kind & 0x7F, sequence, timestamp, ssrc, datagram[12:]))

    def _send(self) -> None:
        start = self._sent * FRAME % len(self._sound)
        kind, behind, payload = self.payload_type, 0, self._sound[start : start + FRAME]
        if self._presses:
            # All packets of a press have the time of its beginning.
            kind, behind, payload = self._presses.pop(0)
        header = struct.pack("!BBHII", 0x80, kind, self._sent & 0xFFFF, (self._sent - behind) * FRAME, 0x5EED)
        self._port.write(header + payload, self.source)
        self._sent += 1

    @property
    def heard(self) -> Pcm:
        """What was received, put together by timestamps; nothing was received where there is silence."""
        audio = [one for one in self.packets if one[0] in NAMES]
        if not audio:
            return np.zeros(0, np.int16)
        first = audio[0][2]
        pieces = [((stamp - first) & 0xFFFFFFFF, CODECS[NAMES[kind]].decode(data)) for kind, _, stamp, _, data in audio]
        pcm = np.zeros(max(at + len(piece) for at, piece in pieces), np.int16)
        for at, piece in pieces:
            pcm[at : at + len(piece)] = piece
        return pcm

    @property
    def holes(self) -> list[int]:
        """The holes in the stream, in frames: time over which nothing was sent, with no packet missing."""
        pairs = zip(self.packets, self.packets[1:], strict=False)
        steps = [((after[2] - before[2]) & 0xFFFFFFFF) // FRAME - 1 for before, after in pairs]
        return [step for step in steps if step]

    def faults(self, holds: int = 0) -> list[str]:
        """Return what is wrong with the stream that came: it is one stream, whole and in order (I5, I10).

        Where one source takes over from another the time may go on by a frame (I10), on a busy machine by some.
        ``holds`` is how many holes of half a second or more there should be.
        """
        found = []
        if len({ssrc for _, _, _, ssrc, _ in self.packets}) != 1:
            found.append(f"SSRCs {sorted({ssrc for _, _, _, ssrc, _ in self.packets})}")
        for before, after in zip(self.packets, self.packets[1:], strict=False):
            if (after[1] - before[1]) & 0xFFFF != 1:
                found.append(f"sequence number {after[1]} after {before[1]}")
            if (after[2] - before[2] - FRAME) & 0xFFFFFFFF >= 0x80000000:
                found.append(f"timestamp {after[2]} after {before[2]}")
        if sum(hole >= 25 for hole in self.holes) != holds or len(self.holes) > holds + 3:
            found.append(f"holes of {self.holes} frames")
        if {kind for kind, *_ in self.packets} != {self.payload_type}:
            found.append(f"payload types {sorted({kind for kind, *_ in self.packets})}")
        if self.strangers:
            found.append(f"{self.strangers} packets from elsewhere")
        return found


def free_port(interface: str) -> int:
    """Return a port that was free just now for UDP and for TCP."""
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    while True:
        with socket.socket(family, socket.SOCK_DGRAM) as udp, socket.socket(family, socket.SOCK_STREAM) as tcp:
            udp.bind((interface, 0))
            number: int = udp.getsockname()[1]
            try:
                tcp.bind((interface, number))
            except OSError:
                continue
            return number


def has_ipv6() -> bool:
    """Tell whether this machine has an IPv6 loopback address."""
    try:
        free_port("::1")
    except OSError:
        return False
    return True
