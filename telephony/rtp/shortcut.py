"""Packets that go on as they came, without being looked at one by one: what a relayed call costs is this module.

Owns: the one comparison that tells that a packet is the very next of its stream, and the twelve bytes of header that it
gets. Must not know sockets, time, codecs or who is joined with whom; a `telephony.rtp.session.RtpSession` begins it
when nobody needs to see the packets, and ends it before anything else happens to either of its streams.

The header of the next packet of a talking phone is known beforehand (RFC 3550 section 5.1): the sequence number is one
more, the timestamp a frame more, all else the same. Read as one number of 64 bits, so is the header that we send: it
lies a fixed distance from the one that came. So everything there is to know of a run of such packets is where the
numbers stand, and what they count for (packets, octets, numbers of both streams) is added when somebody asks, or at the
end. Whatever isn't the next packet (a loss, a digit, a marker, another length, another SSRC) is not taken: it goes the
long way, which ends the run and may begin another. So does the packet after which a number would go over its bits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Protocol

from telephony.interfaces import MediaPort
from telephony.rtp.packet import HEADER_SIZE, PLAIN

#: The first eight bytes of a header (V to timestamp) as one number, and the SSRC.
_WORDS = struct.Struct("!QI")
_unpack = _WORDS.unpack_from
_pack = _WORDS.pack_into
_ONE = 1 << 32
_RATE = 8000.0

#: Who hears a packet's audio as well, on its way: codec, timestamp, payload.
Ear = Callable[[str, int, bytes], None]


def word(payload_type: int, sequence: int, timestamp: int) -> int:
    """Return the first eight bytes of a plain header without a marker as a number."""
    return PLAIN << 56 | payload_type << 48 | (sequence & 0xFFFF) << 32 | timestamp


class Source(Protocol):
    """Whose stream comes in by a run."""

    def inward_over(self, run: Shortcut) -> None:
        """Take to the account what has come (`Shortcut.came`), and forget the run."""


class Target(Protocol):
    """Whose stream goes out by a run."""

    def outward_over(self, run: Shortcut) -> None:
        """Take to the account what has gone (`Shortcut.went`), and forget the run."""


class Shortcut:
    """A run of packets from ``source`` to ``target`` (None: to nobody, they are only counted).

    ``port`` is the target's, ``table`` translates each byte of the payload (None: as it is), ``samples`` is a packet's
    length. ``ear`` hears what comes, ``tap`` what goes, each in its codec of ``codecs``. ``at`` is the time of the last
    packet, ``jitter`` that of RFC 3550 A.8 in seconds.
    """

    __slots__ = (
        "_came",
        "_codecs",
        "_ear",
        "_expected",
        "_frame_seconds",
        "_last",
        "_looked",
        "_post",
        "_shift",
        "_size",
        "_source_ssrc",
        "_ssrc",
        "_step",
        "_table",
        "_tap",
        "_went",
        "at",
        "jitter",
        "samples",
        "source",
        "target",
    )

    def __init__(
        self,
        source: Source,
        target: Target | None,
        port: MediaPort,
        ssrcs: tuple[int, int],
        table: bytes | None,
        samples: int,
        words: tuple[int, int],
        at: float,
        jitter: float,
        codecs: tuple[str, str],
        ear: Ear | None,
        tap: Ear | None,
    ) -> None:
        """Begin behind a packet whose header was ``words[0]`` when it came and ``words[1]`` when it went.

        ``ssrcs`` are the peer's, and ours on the way out.
        """
        self.source: Source | None = source
        self.target = target
        self.samples = samples
        self._post = port.post
        self._source_ssrc, self._ssrc = ssrcs
        self._table = table
        self._codecs = codecs
        self._ear = ear
        self._tap = tap
        self._size = HEADER_SIZE + samples
        self._frame_seconds = samples / _RATE
        self._step = _ONE + samples
        came, went = words
        self._shift = went - came
        self._came = self._went = self._looked = came + self._step
        self._expected = self._came
        self._last = came + self._step * min(_room(came, samples), _room(went, samples))
        self.at = at
        self.jitter = jitter

    @property
    def room(self) -> bool:
        """Whether a packet can be taken at all before a number goes over its bits."""
        return self._last >= self._expected

    def take(self, place: memoryview, size: int, now: float) -> bool:
        """Send the packet of ``size`` bytes that lies at ``place`` on, if it is the next one; False: it is not.

        Without a target it is only taken to the account, and heard.
        """
        if size != self._size:
            return False
        came, ssrc = _unpack(place)
        if came != self._expected or ssrc != self._source_ssrc:
            return False
        self._expected = came + self._step
        off = now - self.at - self._frame_seconds
        self.at = now
        self.jitter += ((off if off >= 0.0 else -off) - self.jitter) * 0.0625
        if self._ear is not None:
            self._ear(self._codecs[0], came & 0xFFFFFFFF, place[HEADER_SIZE:size].tobytes())
        if self.target is not None:
            packet: memoryview | bytearray = place[:size]
            if self._table is not None:
                # What stands where the header goes is overwritten.
                packet = bytearray(place[:size].tobytes().translate(self._table))
            _pack(packet, 0, came + self._shift, self._ssrc)
            self._post(packet)
            if self._tap is not None:
                self._tap(self._codecs[1], came + self._shift & 0xFFFFFFFF, bytes(packet[HEADER_SIZE:]))
        if came == self._last:
            self.stop()
        return True

    # -- the account ---------------------------------------------------------------------------------------------

    def came(self) -> int:
        """Return how many packets have come since this was last asked."""
        count = (self._expected >> 32) - (self._came >> 32)
        self._came = self._expected
        return count

    def went(self) -> int:
        """Return how many packets have gone since this was last asked."""
        count = (self._expected >> 32) - (self._went >> 32)
        self._went = self._expected
        return count

    def moved(self) -> bool:
        """Tell whether a packet has come since this was last asked."""
        looked, self._looked = self._looked, self._expected
        return looked != self._expected

    def stop(self) -> None:
        """End it: both streams stand where its last packet left them. Idempotent."""
        source, target = self.source, self.target
        self.source = self.target = None
        if source is not None:
            source.inward_over(self)
        if target is not None:
            target.outward_over(self)


def _room(header: int, samples: int) -> int:
    """Return how many more packets can be taken so that no number goes over its bits, nor that of the one expected."""
    return min(0xFFFF - (header >> 32 & 0xFFFF), (0xFFFFFFFF - (header & 0xFFFFFFFF)) // samples - 1)
