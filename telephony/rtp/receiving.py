"""What one leg says: which packets are its own, in which order, and which keys were pressed (RFC 3550, 4733).

Owns: the peer's address by `telephony.rtp.latch`, the streams that come from there and their account. Must not know
what the audio is, nor who listens; `telephony.rtp.session` adds what was agreed, keys and reports.

A packet costs here what it must: the header is read once, nothing is copied, and no object is made of it. What a
receiver gets is the datagram as it came and where its payload lies. Packets that nobody has to see one by one don't
come here at all (`telephony.rtp.shortcut`).
"""

from __future__ import annotations

import random as random_module
import struct
from collections.abc import Callable

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, Clock
from telephony.rtp.interfaces import MediaPorts, RtpReceiver
from telephony.rtp.latch import Latch, goes_on
from telephony.rtp.packet import HEADER_SIZE, MARKER, PLAIN, payload_bounds
from telephony.rtp.sending import RATE, Sending
from telephony.rtp.sequence import DUPLICATE, RESTARTED, Sequence
from telephony.rtp.shortcut import Ear, Shortcut, word
from telephony.rtp.telephone_event import PressDetector

EVENT = "telephone-event"

_TAIL = struct.Struct("!HII")
_unpack = _TAIL.unpack_from


class Receiving(Sending):
    """The stream that comes in, of an `telephony.rtp.session.RtpSession`."""

    __slots__ = (
        "_duplicates",
        "_garbage",
        "_heard_at",
        "_inward",
        "_last_received",
        "_latch",
        "_lost",
        "_misdirected",
        "_octets_received",
        "_packets_received",
        "_payload_types",
        "_presses",
        "_receiver",
        "_remote_ssrc",
        "_source",
        "_strangers",
        "_stream",
        "_unknown",
        "deaf",
        "on_digit",
    )

    def __init__(self, pair: MediaPorts, clock: Clock, random: random_module.Random) -> None:
        super().__init__(pair, clock, random)
        self._receiver: RtpReceiver | None = None
        self.on_digit: Callable[[str], None] | None = None
        #: Whether no other source than the present one is taken: it sends elsewhere, so that its silence says nothing.
        self.deaf = False
        self._inward: Shortcut | None = None
        self._latch = Latch()
        self._source: Address | None = None
        self._payload_types: dict[int, str] = {}
        self._remote_ssrc = -1
        self._stream: Sequence | None = None
        self._presses: PressDetector | None = None
        self._packets_received = 0
        self._octets_received = 0
        self._last_received = self._heard_at = clock.seconds()
        self._lost = self._duplicates = self._garbage = 0
        self._strangers = self._unknown = self._misdirected = 0

    @property
    def packets_received(self) -> int:
        """How many packets have been accepted."""
        if self._inward is not None:
            self._add_inward(self._inward)
        return self._packets_received

    @property
    def octets_received(self) -> int:
        """How many bytes of payload they had."""
        if self._inward is not None:
            self._add_inward(self._inward)
        return self._octets_received

    @property
    def last_received(self) -> float:
        """The clock's time of the last packet that was accepted, RTP or RTCP (that of `apply` before the first)."""
        run = self._inward
        return self._last_received if run is None or run.at < self._last_received else run.at

    @last_received.setter
    def last_received(self, now: float) -> None:
        self._last_received = now

    @property
    def receiver(self) -> RtpReceiver | None:
        """Who gets what comes."""
        return self._receiver

    @receiver.setter
    def receiver(self, receiver: RtpReceiver | None) -> None:
        self.see()
        self._receiver = receiver

    # -- short ways ----------------------------------------------------------------------------------------------

    def see(self) -> None:
        """Let the receiver see each packet again, from the next one on, until it asks for a short way anew."""
        if self._inward is not None:
            self._inward.stop()

    def shorten(
        self,
        codec: str,
        datagram: bytes,
        end: int,
        sequence: int,
        ear: Ear | None,
        target: Sending | None = None,
        table: bytes | None = None,
    ) -> Shortcut | None:
        """Let the packets that follow this one, which has just been relayed to ``target``, go on by themselves.

        ``sequence`` is its extended number, ``codec`` the payload's and ``table`` what translates it; ``ear`` hears
        what follows. Without a target that is only counted. None: it isn't a packet that another follows in that way,
        or each has to be seen: by SRTP, or by a capture of what comes.
        """
        stream, source = self._stream, self._source
        samples = end - HEADER_SIZE
        if (
            end != len(datagram)
            or datagram[0] != PLAIN
            or stream is None
            or source is None
            or stream.highest != sequence
            or self._inward is not None
            or self._secured is not None
        ):
            return None
        timestamp = int.from_bytes(datagram[4:8])
        came = went = word(datagram[1] & 0x7F, sequence, timestamp)
        port = self._pair.rtp
        ssrc = 0
        if target is not None:
            if target._secured is not None or target._outward is not None:
                return None
            # It must be our last one too, and not one that came late into a stream of ours that has gone on.
            went = word(target.payload_type, target._sequence - 1, (target._timestamp - samples) & 0xFFFFFFFF)
            if (sequence + target._relay_sequence, timestamp + target._relay_timestamp & 0xFFFFFFFF) != (
                target._sequence - 1,
                went & 0xFFFFFFFF,
            ):
                return None
            port = target._pair.rtp
            ssrc = target.ssrc
        run = Shortcut(
            self,
            target,
            port,
            (self._remote_ssrc, ssrc),
            table,
            samples,
            (came, went),
            self._heard_at,
            stream.jitter / RATE,
            (codec, codec if target is None else target.codec),
            ear,
            None if target is None else target._tap,
        )
        alone = source == self._latch.signalled
        if not run.room or not self._pair.shorten(run.take, source, alone):
            return None
        self._inward = run
        if target is not None:
            target._outward = run
        return run

    def _add_inward(self, run: Shortcut) -> None:
        """Take what a run has received to the account."""
        count = run.came()
        stream = self._stream
        if not count or stream is None:
            return
        stream.ran(count, count * run.samples, run.at * RATE, run.jitter * RATE)
        self._packets_received += count
        self._octets_received += count * run.samples
        self._heard_at = run.at
        self._last_received = max(self._last_received, run.at)

    def inward_over(self, run: Shortcut) -> None:
        """Take what a run has received to the account, and see each packet again."""
        self._add_inward(run)
        self._inward = None
        self._pair.shorten(None)

    # -- packets -------------------------------------------------------------------------------------------------

    def _rtp_received(self, data: bytes, source: Address) -> None:
        """Take a datagram from the RTP port; whatever it holds, nothing is raised."""
        start = HEADER_SIZE
        end = len(data)
        if end < HEADER_SIZE or data[0] != PLAIN:
            if end >= 8 and 200 <= data[1] <= 204:  # RTCP on the same port (RFC 5761 4)
                self._rtcp_received(data, source)
                return
            try:
                start, end = payload_bounds(data)
            except RemoteProtocolError:
                self._garbage += 1
                return
        second = data[1]
        sequence, timestamp, ssrc = _unpack(data, 2)
        now = self._clock.seconds()
        if source != self._source and not self._admit(source, ssrc, sequence, now):
            self._strangers += 1
            return
        codec = self._payload_types.get(second & 0x7F)
        if codec is None:
            if self._payload_types:
                self._unknown += 1
            else:
                self._misdirected += 1
            return
        if self._inward is not None:
            self._inward.stop()
        stream = self._stream
        if ssrc != self._remote_ssrc or stream is None:
            stream = self._begin_stream(ssrc, sequence)
            extended = stream.highest
        else:
            extended = stream.accept(sequence)
            if extended < 0:
                if extended != RESTARTED:
                    if extended != DUPLICATE:
                        self._late += 1
                    return
                extended = stream.highest
                if self._receiver is not None:
                    self._receiver.restarted()
        self._last_received = self._heard_at = now
        self._packets_received += 1
        self._octets_received += end - start
        receiver = self._receiver
        if codec != EVENT:
            stream.arrived(timestamp, now * RATE)
            if receiver is not None:
                receiver.audio(codec, data, start, end, extended, timestamp, second >= MARKER, now)
            return
        if self._presses is None:
            self._presses = PressDetector()
        try:
            digit = self._presses.feed(ssrc, timestamp, data[start:end])
        except RemoteProtocolError:
            self._garbage += 1
            return
        if receiver is not None:
            receiver.event(data, start, end, extended, timestamp, second >= MARKER, now)
        if digit is not None and self.on_digit is not None:
            self.on_digit(digit)

    def _admit(self, source: Address, ssrc: int, sequence: int, now: float) -> bool:
        """Decide about a source that isn't the one listened to."""
        if not self._ready or self.deaf:
            return False
        if self._inward is not None:
            self._add_inward(self._inward)
        stream = self._stream
        same = stream is not None and ssrc == self._remote_ssrc and goes_on((sequence - stream.highest) & 0xFFFF)
        if not self._latch.admits(source, same, now - self._heard_at, now):
            return False
        self.see()
        self._source = source
        self._source_changed()
        return True

    def _begin_stream(self, ssrc: int, sequence: int) -> Sequence:
        first = self._stream is None
        if self._stream is not None:
            self._lost += self._stream.lost
            self._duplicates += self._stream.duplicates
        self._stream = stream = Sequence(sequence)
        self._remote_ssrc = ssrc
        if not first and self._receiver is not None:
            self._receiver.restarted()
        return stream

    # -- what the session adds -----------------------------------------------------------------------------------

    @property
    def _ready(self) -> bool:
        """Whether anything has been agreed yet."""
        raise NotImplementedError

    def _source_changed(self) -> None:
        """Hear that another source has been taken."""
        raise NotImplementedError

    def _rtcp_received(self, data: bytes, source: Address) -> None:
        """Take a report."""
        raise NotImplementedError
