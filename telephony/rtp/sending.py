"""What one leg is sent: numbers and timestamps without a break over sources, holds and joins (RFC 3550, 3551, 4733).

Owns: the header of each packet of ours, and the account of them. Must not know who asks for a packet, where the peer's
address comes from, or what was received: `telephony.rtp.receiving` and `telephony.rtp.session` are built on this.

A packet costs here what it must: no object is made of it, and frames are put behind headers in one buffer for all.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from functools import cache

from telephony.codecs.g711 import CODECS
from telephony.interfaces import Address, Clock
from telephony.rtp.interfaces import MediaPorts
from telephony.rtp.packet import HEADER, HEADER_SIZE, MARKER, PLAIN
from telephony.rtp.shortcut import Shortcut
from telephony.rtp.srtp import SecuredMedia
from telephony.rtp.telephone_event import TelephoneEvent

#: Samples a second of everything here (G.711 and its telephone events).
RATE = 8000

_ALL = 0xFFFFFFFF
#: By how much of a frame a source that takes over may be off its time before the timestamps make up for it.
_SLACK = 0.75
NOWHERE: Address = ("", 0)

_pack = HEADER.pack_into


@cache
def _silent_packet(codec: str, samples: int) -> bytearray:
    """Return a packet of silence, its header to be written over each time; one for all sessions."""
    return bytearray(HEADER_SIZE) + CODECS[codec].silent(samples)


@cache
def _silence(codec: str, samples: int) -> bytes:
    return CODECS[codec].silent(samples)


class Sending:
    """The stream that goes out, of an `telephony.rtp.session.RtpSession`."""

    __slots__ = (
        "_clock",
        "_destination",
        "_due",
        "_event_at",
        "_held",
        "_late",
        "_lead",
        "_mark",
        "_octets_sent",
        "_outward",
        "_packets_sent",
        "_pair",
        "_rebase",
        "_relay_from",
        "_relay_sequence",
        "_relay_timestamp",
        "_secured",
        "_sending",
        "_sequence",
        "_silent",
        "_tap",
        "_timestamp",
        "codec",
        "event_payload_type",
        "frame",
        "payload_type",
        "ptime",
        "resumes",
        "silence",
        "ssrc",
    )

    def __init__(self, pair: MediaPorts, clock: Clock, random: random_module.Random) -> None:
        self._pair = pair
        self._clock = clock
        self._secured: SecuredMedia | None = None
        self._tap: Callable[[str, int, bytes], None] | None = None
        self._outward: Shortcut | None = None
        self.payload_type = 8
        self.event_payload_type: int | None = None
        self._frames("PCMA", 20)
        self.ssrc = random.getrandbits(32)
        # The sequence number goes beyond 16 bits here, and is cut when written.
        self._sequence = random.getrandbits(16)
        self._timestamp = random.getrandbits(32)
        self._due = 0.0  # the time at which `_timestamp` is to be sent; 0: nothing has been sent
        self._lead = 0.0  # seconds by which the timestamps are ahead of the time
        self.resumes = False
        self._event_at = 0
        self._mark = True
        self._sending = False
        self._destination: Address = NOWHERE
        self._packets_sent = 0
        self._octets_sent = 0
        self._held = 0
        self._late = 0
        # How a relayed packet's numbers become ours.
        self._rebase = True
        self._relay_from = 0
        self._relay_sequence = 0
        self._relay_timestamp = 0

    def _frames(self, codec: str, ptime: int) -> None:
        """Send this codec in packets of so many milliseconds from now on."""
        self.codec = codec
        self.ptime = ptime
        self.frame = ptime * RATE // 1000
        self.silence = _silence(codec, self.frame)
        self._silent = _silent_packet(codec, self.frame)

    @property
    def sending(self) -> bool:
        """Whether the peer wants our audio now, and has said where."""
        return self._sending

    @property
    def packets_sent(self) -> int:
        """How many packets have been sent."""
        if self._outward is not None:
            self._add_outward(self._outward)
        return self._packets_sent

    @property
    def octets_sent(self) -> int:
        """How many bytes of payload have been sent."""
        if self._outward is not None:
            self._add_outward(self._outward)
        return self._octets_sent

    @property
    def tap(self) -> Callable[[str, int, bytes], None] | None:
        """Called with the codec, timestamp and payload of what is sent."""
        return self._tap

    @tap.setter
    def tap(self, tap: Callable[[str, int, bytes], None] | None) -> None:
        self._no_outward()
        self._tap = tap

    # -- short ways ----------------------------------------------------------------------------------------------

    def _no_outward(self) -> None:
        """Let no packet of another leg go out unseen any more."""
        if self._outward is not None:
            self._outward.stop()

    def _add_outward(self, run: Shortcut) -> None:
        """Take what a run has sent to the account."""
        count = run.went()
        if count:
            self._packets_sent += count
            self._octets_sent += count * run.samples
            self._sequence += count
            self._timestamp = (self._timestamp + count * run.samples) & _ALL
            self._due = run.at + run.samples / RATE

    def outward_over(self, run: Shortcut) -> None:
        """Take what a run has sent to the account, and forget it."""
        self._add_outward(run)
        self._outward = None

    # -- packets -------------------------------------------------------------------------------------------------

    def _emit(self, packet: bytes | bytearray, octets: int) -> None:
        """Send a packet of ours, secured if that was agreed; what can't be secured is not sent."""
        self._sequence += 1
        self._packets_sent += 1
        self._octets_sent += octets
        self._put(packet)

    def _put(self, packet: bytes | bytearray) -> None:
        port = self._pair.rtp
        if self._secured is not None:
            secured = self._secured.protect(bytes(packet))
            if secured is None:
                return
            packet = secured
        try:
            port.write(packet)
        except OSError:
            port.unsent()  # a full buffer, or nobody there: to UDP it is a lost packet

    def send_audio(self, payload: bytes, samples: int) -> None:
        """Send a frame of our own, the timestamp going on by ``samples``; while held only the timestamp does."""
        timestamp = self._next(samples)
        if not self._sending:
            return
        packet = bytearray(HEADER_SIZE)
        packet += payload
        kind = self.payload_type | MARKER if self._mark else self.payload_type
        _pack(packet, 0, PLAIN, kind, self._sequence & 0xFFFF, timestamp, self.ssrc)
        self._mark = False
        self._emit(packet, len(payload))
        if self._tap is not None:
            self._tap(self.codec, timestamp, payload)

    def send_silence(self) -> None:
        """Send a frame of silence: the same as `send_audio`, with nothing to put together."""
        timestamp = self._next(self.frame)
        if not self._sending:
            return
        packet = self._silent
        kind = self.payload_type | MARKER if self._mark else self.payload_type
        _pack(packet, 0, PLAIN, kind, self._sequence & 0xFFFF, timestamp, self.ssrc)
        self._mark = False
        self._emit(packet, self.frame)
        if self._tap is not None:
            self._tap(self.codec, timestamp, self.silence)

    def _next(self, samples: int) -> int:
        """Return the timestamp of a frame that is due now, and let it go on."""
        if self._outward is not None:
            self._outward.stop()
        now = self._clock.seconds()
        if self.resumes:
            self._take_over(now)
        timestamp = self._timestamp
        self._timestamp = (timestamp + samples) & _ALL
        self._due = now + samples / RATE
        return timestamp

    def skip(self, samples: int) -> None:
        """Let ``samples`` pass without a packet; the timestamp goes on (RFC 3551 4.1)."""
        self._no_outward()
        self._timestamp = (self._timestamp + samples) & _ALL
        self._due = self._clock.seconds() + samples / RATE

    def send_event(self, event: int, volume: int, duration: int, end: bool, first: bool) -> None:
        """Send one packet of a telephone event (RFC 4733), if the peer takes them and isn't held.

        ``duration`` is what has passed of it, in samples. All packets of one event have the timestamp at which
        ``first`` was called; time goes on by `skip`.
        """
        self._no_outward()
        if first:
            if self.resumes:
                self._take_over(self._clock.seconds())
            self._event_at = self._timestamp
        if not self._sending or self.event_payload_type is None:
            return
        payload = TelephoneEvent(event, duration, end, volume).to_bytes()
        packet = bytearray(HEADER_SIZE)
        packet += payload
        kind = self.event_payload_type | MARKER if first else self.event_payload_type
        _pack(packet, 0, PLAIN, kind, self._sequence & 0xFFFF, self._event_at, self.ssrc)
        self._emit(packet, len(payload))

    # -- one source after another --------------------------------------------------------------------------------

    def resume(self) -> None:
        """Hear that another source takes over: its first frame gets the timestamp of its time, and the marker."""
        self._no_outward()
        self.resumes = self._mark = True

    def ahead(self, now: float) -> bool:
        """Tell whether a source that takes over does better to begin a frame later.

        Sources have turns of their own, so each change may send a frame somewhat early; without this the timestamps
        of a call with many changes would run away from the time.
        """
        return self.resumes and self._due > 0.0 and self._lead + self._due - now > _SLACK * self.frame / RATE

    def _take_over(self, now: float) -> None:
        """Move the timestamp, by whole frames, to where it belongs now."""
        self.resumes = False
        if self._due:
            late = now - self._due - self._lead
            frames = max(0, int(late * RATE / self.frame + 1.0 - _SLACK))
            self._timestamp = (self._timestamp + frames * self.frame) & _ALL
            self._lead = frames * self.frame / RATE - late
        self._due = now

    # -- relaying ------------------------------------------------------------------------------------------------

    def restart_relay(self) -> None:
        """Map the next relayed packet anew: it follows our last one without a break, with the marker set."""
        self._no_outward()
        self._rebase = True

    def _map_relay(self, sequence: int, timestamp: int, now: float) -> None:
        self._take_over(now)
        self._rebase = self._mark = False
        self._relay_from = sequence
        self._relay_sequence = self._sequence - sequence
        self._relay_timestamp = self._timestamp - timestamp

    def relay(
        self,
        payload_type: int,
        datagram: bytes,
        start: int,
        end: int,
        sequence: int,
        timestamp: int,
        marker: bool,
        samples: int,
        now: float,
        table: bytes | None = None,
    ) -> bool:
        """Send what another leg received, with our header in place of its own; tell whether it went out.

        Sequence and timestamp keep their distances. ``samples`` is the length of audio, 0 for an event; ``table``
        translates each byte of the payload. Not sent, and counted: while this leg is held, and from before the point
        at which the mapping was set.
        """
        self._no_outward()
        if not self._sending:
            self._held += 1
            self._rebase = True
            return False
        if self._rebase:
            self._map_relay(sequence, timestamp, now)
            marker = True
        elif sequence < self._relay_from:
            self._late += 1
            return False
        ours = sequence + self._relay_sequence
        timestamp = (timestamp + self._relay_timestamp) & _ALL
        body = datagram[start - HEADER_SIZE : end]
        if table is not None:
            body = body.translate(table)  # what stands where our header goes is overwritten
        packet = bytearray(body)
        _pack(packet, 0, PLAIN, payload_type | MARKER if marker else payload_type, ours & 0xFFFF, timestamp, self.ssrc)
        if ours >= self._sequence:
            self._sequence = ours + 1
            if samples:
                self._timestamp = (timestamp + samples) & _ALL
                self._due = now + samples / RATE
        self._packets_sent += 1
        self._octets_sent += end - start
        self._put(packet)
        if samples and self._tap is not None:
            self._tap(self.codec, timestamp, bytes(packet[HEADER_SIZE:]))
        return True

    def relay_frame(self, payload: bytes, sequence: int, timestamp: int, now: float) -> bool:
        """Send a frame made of other packets' audio: its timestamp is mapped, its sequence number is our next.

        ``sequence`` is that of the packet which completed the frame: what comes later is mapped from there.
        """
        self._no_outward()
        if not self._sending:
            self._held += 1
            self._rebase = True
            return False
        marker = self._rebase
        if marker:
            self._map_relay(sequence, timestamp, now)
        timestamp = (timestamp + self._relay_timestamp) & _ALL
        packet = bytearray(HEADER_SIZE)
        packet += payload
        kind = self.payload_type | MARKER if marker else self.payload_type
        _pack(packet, 0, PLAIN, kind, self._sequence & 0xFFFF, timestamp, self.ssrc)
        self._emit(packet, len(payload))
        self._relay_from = sequence + 1
        self._relay_sequence = self._sequence - self._relay_from
        self._timestamp = (timestamp + len(payload)) & _ALL
        self._due = now + len(payload) / RATE
        if self._tap is not None:
            self._tap(self.codec, timestamp, payload)
        return True
