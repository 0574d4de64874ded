"""A phone's mouth and ear: RTP sent on a 20 ms timer of its own, and everything heard, in the order it came.

Owns: an RTP and RTCP port, the stream we send (RFC 3550, RFC 4733), the packets we get and the sound they make. Must
not know signalling: the call tells it where to send and what. Shares packing of a header and G.711 with the product,
not its sessions, clocks or buffers.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Iterator
from math import gcd, inf
from typing import Any

import attrs
import numpy as np
from twisted.internet.defer import Deferred, succeed

from telephony.codecs.g711 import CODECS, SILENCE, Pcm
from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, DatagramPort, DelayedCall, Host
from telephony.media.detectors import Interval
from telephony.media.detectors import heard as heard_in
from telephony.rtp.packet import HEADER, Packet, parse_packet
from telephony.testing.phone_srtp import PhoneSrtp
from telephony.testing.quirks import Quirks
from telephony.testing.sounds import RATE

#: Packets an ear remembers: five minutes of 20 ms.
MOST_PACKETS = 15_000
#: A packet that comes so much before or after its turn starts the play-out anew (seconds).
RESYNC = 0.1
#: Between RTCP reports, in packets sent.
REPORT_EVERY = 250
EVENT_KEYS = "0123456789*#ABCD"
_EVENT = struct.Struct("!BBH")
_REPORT = struct.Struct("!BBHIIIIII")


@attrs.frozen(slots=True)
class Heard:
    """One RTP packet as it came: when, from where, and its bytes."""

    time: float
    source: Address
    data: bytes


class Ear:
    """What a phone gets. ``names`` says what each payload type is: set by the call, from its own description.

    ``packets`` counts RTP, ``unwanted`` what came after `expect_quiet`; ``digits`` are the keys of RFC 4733, each
    press once; ``reports`` the last RTCP packets.
    """

    def __init__(self, host: Host, srtp: PhoneSrtp | None = None) -> None:
        self._clock = host.clock
        self._srtp = srtp
        self._ring: deque[tuple[float, Address, bytes]] = deque(maxlen=MOST_PACKETS)
        self.names: dict[int, str] = {}
        self.event_type = -1
        self.packets = 0
        self.unwanted = 0
        self.digits = ""
        self.reports: deque[Heard] = deque(maxlen=32)
        self.on_digit: Callable[[str], None] = lambda digit: None
        self._presses: deque[tuple[int, int, int]] = deque(maxlen=32)
        self._quiet_from = inf

    def rtp_came(self, data: bytes, source: Address) -> None:
        """Take an RTP packet."""
        if self._srtp is not None:
            opened = self._srtp.open(data)
            if opened is None:
                return
            data = opened
        now = self._clock.seconds()
        self._ring.append((now, source, data))
        self.packets += 1
        if now > self._quiet_from:
            self.unwanted += 1
        if len(data) > 15 and data[1] & 0x7F == self.event_type:
            self._event(data)

    def rtcp_came(self, data: bytes, source: Address) -> None:
        """Take an RTCP packet."""
        if self._srtp is not None:
            opened = self._srtp.open(data, report=True)
            if opened is None:
                return
            data = opened
        self.reports.append(Heard(self._clock.seconds(), source, data))

    def expect_quiet(self, grace: float = 0.1) -> None:
        """Count what comes from ``grace`` seconds from now on as unwanted: we are on hold, or the call is over."""
        self._quiet_from = min(self._quiet_from, self._clock.seconds() + grace)

    def expect_sound(self) -> None:
        """Take back `expect_quiet`."""
        self._quiet_from = inf

    def _event(self, data: bytes) -> None:
        _, _, _, timestamp, ssrc = HEADER.unpack_from(data)
        event = data[-4] if len(data) == 16 else data[12]
        press = (ssrc, timestamp, event)
        if press not in self._presses:
            self._presses.append(press)
            if event < 16:
                self.digits += EVENT_KEYS[event]
                self.on_digit(EVENT_KEYS[event])

    # Looking back

    def heard_packets(self, since: float = 0.0) -> list[Heard]:
        """Return the packets from the clock's second ``since`` on."""
        return [Heard(*entry) for entry in self._ring if entry[0] >= since]

    def faults(self) -> list[str]:
        """Return what is wrong with the packets that came: types nobody offered, garbage."""
        found: Counter[str] = Counter()
        for _, packet in self._parsed(0.0, found):
            if packet.payload_type not in self.names:
                found[f"payload type {packet.payload_type}, which we never offered"] += 1
        return [f"{count} RTP packets: {what}" for what, count in found.items()]

    def _parsed(self, since: float, garbage: Counter[str] | None = None) -> Iterator[tuple[float, Packet]]:
        for time, _, data in list(self._ring):
            if time < since:
                continue
            try:
                yield time, parse_packet(data)
            except RemoteProtocolError as error:
                if garbage is not None:
                    garbage[str(error)] += 1

    def sound(self, since: float | None = None, until: float | None = None) -> Pcm:
        """Return what was to be heard from ``since`` to ``until`` (clock seconds), 16 bit at 8 kHz.

        A stream's first packet plays when it comes and the others by their timestamps behind it, as behind a jitter
        buffer; one that is 100 ms out of its turn starts anew. What never came is silence. Without ``since`` it begins
        with the first packet.
        """
        until = self._clock.seconds() if until is None else until
        # The second before is needed too, for where its play-out stands.
        entries = list(self._parsed(0.0 if since is None else since - 1.0))
        if since is None:
            if not entries:
                return np.zeros(0, np.int16)
            since = entries[0][0]
        samples = np.zeros(max(0, round((until - since) * RATE)), np.int16)
        base = stamp = 0.0
        ssrc = -1
        for time, packet in entries:
            codec = CODECS.get(self.names.get(packet.payload_type, ""))
            if codec is None:
                continue
            ahead = (packet.timestamp - int(stamp) + 0x80000000 & 0xFFFFFFFF) - 0x80000000
            if packet.ssrc != ssrc or abs(base + ahead / RATE - time) > RESYNC:
                ssrc, base, stamp, ahead = packet.ssrc, time, packet.timestamp, 0
            start = round((base + ahead / RATE - since) * RATE)
            pcm = codec.decode(packet.payload)
            first, last = max(start, 0), min(start + len(pcm), len(samples))
            if first < last:
                samples[first:last] = pcm[first - start : last - start]
        return samples

    def heard(self, *frequencies: float, since: float | None = None, until: float | None = None) -> list[Interval]:
        """Return when a tone of just these frequencies was heard, in clock seconds, with its level in dBm0."""
        if since is None:
            since = self._ring[0][0] if self._ring else self._clock.seconds()
        found = heard_in(self.sound(since, until), frequencies)
        return [attrs.evolve(one, start_s=one.start_s + since, end_s=one.end_s + since) for one in found]


class Mouth:
    """What a phone sends. It runs once `start` was called and an address is known, until `stop`.

    Audio goes out every ``ptime`` milliseconds on a grid from the start: what `says` gave, else silence. While
    ``held`` nothing goes out, and timestamps run on. A key press takes the place of the audio for its time.
    """

    def __init__(
        self, host: Host, port: DatagramPort, rtcp_port: DatagramPort, quirks: Quirks, srtp: PhoneSrtp | None = None
    ) -> None:
        self._host = host
        self._srtp = srtp
        self._port = port
        self._rtcp_port = rtcp_port
        self._quirks = quirks
        self._timer: DelayedCall | None = None
        self._pieces: list[bytes] = []
        self._turn = 0
        self._loop = True
        self._pcm: Pcm | None = None
        self._spoken: Deferred[None] | None = None
        self._silence = b""
        self._events: deque[tuple[int, int, bool, bool] | int | Deferred[None]] = deque()
        self._event_stamp = 0
        self._grid = 0.0
        self._ticks = 0
        self._first = True
        self.destination: Address | None = None
        self.rtcp_destination: Address | None = None
        self.codec = "PCMA"
        self.payload_type = 8
        self.event_type: int | None = None
        self.ptime = 20
        self.held = False
        self.packets = 0
        self.octets = 0
        self._renew()

    def _renew(self) -> None:
        """Begin a stream with a new SSRC, RFC 3550 8."""
        draw = self._host.random.getrandbits
        self.ssrc, self.sequence, self.timestamp = draw(32), draw(16), draw(32)
        self._first = True

    @property
    def running(self) -> bool:
        """Whether it sends, or would if it weren't held."""
        return self._timer is not None

    def configure(self, destination: Address | None, rtcp: Address | None, codec: str, number: int) -> None:
        """Set where packets go and how audio is coded, from the peer's description."""
        self.destination, self.rtcp_destination = destination, rtcp
        if (codec, number) != (self.codec, self.payload_type) or not self._silence:
            self.codec, self.payload_type = codec, number
        self._cut()

    def start(self) -> None:
        """Begin to send; harmless when it does already."""
        if self._timer is None:
            delay, self._quirks.late_rtp = self._quirks.late_rtp, 0.0
            self._grid = self._host.clock.seconds() + delay
            self._ticks = 0
            self._cut()
            self._timer = self._host.clock.callLater(delay, self._tick)

    def stop(self) -> None:
        """Send no more; harmless when stopped. Who waits for words to be spoken or keys pressed is told."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting = [one for one in self._events if isinstance(one, Deferred)]
        self._events.clear()
        if self._spoken is not None:
            waiting.append(self._spoken)
            self._spoken = None
        for one in waiting:
            one.callback(None)

    def says(self, pcm: Pcm | None, loop: bool) -> Deferred[None]:
        """Send this from the next packet on: over and over, or once and then silence. None is silence."""
        spoken, self._spoken = self._spoken, None
        if spoken is not None:
            spoken.callback(None)
        self._pcm, self._loop, self._turn = pcm, loop, 0
        self._cut()
        if pcm is None or loop:
            return succeed(None)
        self._spoken = Deferred()
        return self._spoken

    def press(self, digits: str, milliseconds: int = 100, pause: int = 60) -> Deferred[None]:
        """Press keys, RFC 4733: fires when the last packet is out. A comma is half a second. ValueError for others."""
        ticks = max(1, round(milliseconds / self.ptime))
        step = self.ptime * RATE // 1000
        for digit in digits:
            if digit == ",":
                self._events.append(round(500 / self.ptime))
                continue
            event = EVENT_KEYS.index(digit.upper())
            for i in range(1, ticks):
                self._events.append((event, i * step, False, i == 1))
            ends = self._quirks.event_ends
            for i in range(ends):
                self._events.append((event, ticks * step, True, ticks == 1 and i == 0))
            self._events.append(max(1, round(pause / self.ptime)))
        done: Deferred[None] = Deferred()
        self._events.append(done)
        return done

    def _cut(self) -> None:
        """Cut what is said into payloads."""
        size = self.ptime * RATE // 1000
        self._silence = bytes([SILENCE[self.codec]]) * size
        if self._pcm is None or not len(self._pcm):
            self._pieces = []
            return
        coded = bytes(CODECS[self.codec].encode(self._pcm))
        if self._loop:
            coded *= size // gcd(size, len(coded))
        elif len(coded) % size:
            coded += self._silence[len(coded) % size :]
        self._pieces = [coded[i : i + size] for i in range(0, len(coded), size)]
        self._turn %= len(self._pieces)

    def _tick(self) -> None:
        clock = self._host.clock
        self._ticks += 1
        step = self.ptime / 1000
        now = clock.seconds()
        due = self._grid + self._ticks * step
        if due < now - 0.2:  # a stopped process: don't send the past in one burst
            self._grid += now - due
            due = now
        self._timer = clock.callLater(max(0.0, due - now), self._tick)
        quirks = self._quirks
        if quirks.new_ssrc_every and not self._ticks % max(1, round(quirks.new_ssrc_every / step)):
            self._renew()
        if self._events:
            self._event_tick()
        else:
            self._audio_tick()
        self.timestamp = self.timestamp + self.ptime * RATE // 1000 & 0xFFFFFFFF
        if quirks.rtcp and self._ticks % REPORT_EVERY == 0:
            self._report()

    def _audio_tick(self) -> None:
        pieces = self._pieces
        payload = self._silence
        if pieces:
            payload = pieces[self._turn]
            self._turn += 1
            if self._turn == len(pieces):
                self._turn = 0
                if not self._loop:
                    self._pieces, self._pcm = [], None
                    spoken, self._spoken = self._spoken, None
                    if spoken is not None:
                        self._host.clock.callLater(0, spoken.callback, None)
        self._send(self.payload_type, payload, self.timestamp, self._first)

    def _event_tick(self) -> None:
        while self._events and isinstance(self._events[0], Deferred):
            self._host.clock.callLater(0, self._events[0].callback, None)
            self._events.popleft()
        if not self._events:
            self._audio_tick()
            return
        turn: Any = self._events[0]
        if isinstance(turn, int):  # a pause, in packets
            self._audio_tick()
            if turn > 1:
                self._events[0] = turn - 1
            else:
                self._events.popleft()
            return
        self._events.popleft()
        event, duration, end, first = turn
        if first:
            self._event_stamp = self.timestamp
        payload = _EVENT.pack(event, (0x80 if end else 0) | 10, duration)
        number = 101 if self.event_type is None else self.event_type
        self._send(number, payload, self._event_stamp, first)

    def _send(self, number: int, payload: bytes, timestamp: int, marker: bool) -> None:
        destination = self.destination
        if destination is None or self.held:
            return
        if marker and not self._quirks.no_marker:
            number |= 0x80
        self._first = False
        packet = HEADER.pack(0x80, number, self.sequence, timestamp, self.ssrc) + payload
        self._port.send(packet if self._srtp is None else self._srtp.seal(packet), destination)
        self.sequence = self.sequence + 1 & 0xFFFF
        self.packets += 1
        self.octets += len(payload)

    def _report(self) -> None:
        """Send a sender report with no report blocks and a CNAME, RFC 3550 6.4.1, 6.5."""
        if self.rtcp_destination is None or not self.packets:
            return
        now = self._host.clock.seconds()
        seconds, fraction = int(now) & 0xFFFFFFFF, int(now % 1 * 2**32)
        counts = (self.packets & 0xFFFFFFFF, self.octets & 0xFFFFFFFF)
        report = _REPORT.pack(0x80, 200, 6, self.ssrc, seconds, fraction, self.timestamp, *counts)
        name = f"{self._port.address[0]}".encode()
        chunk = struct.pack("!IBB", self.ssrc, 1, len(name)) + name
        chunk += bytes(4 - len(chunk) % 4)
        packet = report + struct.pack("!BBH", 0x81, 202, len(chunk) // 4) + chunk
        if self._srtp is not None:
            packet = self._srtp.seal(packet, report=True)
        self._rtcp_port.send(packet, self.rtcp_destination)


class Audio:
    """A phone's two ports for one call, with its ear and its mouth."""

    def __init__(self, host: Host, address: str, quirks: Quirks, srtp: PhoneSrtp | None = None) -> None:
        self.ear = Ear(host, srtp)
        self._host = host
        self._address = address
        self._rtp, self._rtcp = self._pair()
        self.mouth = Mouth(host, self._rtp, self._rtcp, quirks, srtp)
        self._lingering: DelayedCall | None = None

    def _pair(self) -> tuple[DatagramPort, DatagramPort]:
        """Open an even port and the odd one behind it (RFC 3550 11), or any two where that can't be had soon."""
        host, ip = self._host, self._address
        for _ in range(16):
            first = host.open_datagram_port((ip, 0), self.ear.rtp_came)
            if first.address[1] % 2 == 0:
                try:
                    return first, host.open_datagram_port((ip, first.address[1] + 1), self.ear.rtcp_came)
                except OSError:
                    pass
            first.close()
        return (
            host.open_datagram_port((ip, 0), self.ear.rtp_came),
            host.open_datagram_port((ip, 0), self.ear.rtcp_came),
        )

    @property
    def ports(self) -> tuple[int, int]:
        """The port numbers of RTP and RTCP."""
        return self._rtp.address[1], self._rtcp.address[1]

    def rebind(self) -> None:
        """Send and listen at new ports from now on, as a NAT does that has forgotten us; nobody is told."""
        self._rtp.close()
        self._rtcp.close()
        self._rtp, self._rtcp = self._pair()
        self.mouth._port, self.mouth._rtcp_port = self._rtp, self._rtcp

    def end(self, linger: float = 0.5) -> None:
        """Stop sending at once, and listen on for ``linger`` seconds to count what should not come any more."""
        self.mouth.stop()
        self.ear.expect_quiet()
        if self._lingering is None:
            self._lingering = self._host.clock.callLater(linger, self.close)

    def close(self) -> None:
        """Close both ports at once; harmless when closed."""
        self.mouth.stop()
        if self._lingering is not None and self._lingering.active():
            self._lingering.cancel()
        self._rtp.close()
        self._rtcp.close()
