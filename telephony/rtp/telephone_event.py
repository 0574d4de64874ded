"""Telephone events: pressed keys as RTP payload (RFC 4733).

Owns: the four bytes, and telling one press from the many packets that speak of it. Must not know who sends, time or
ports.
"""

from __future__ import annotations

import struct
from collections import deque

import attrs

from telephony.errors import RemoteProtocolError

#: Event codes 0 to 15 in order (RFC 4733 table 3).
DIGITS = "0123456789*#ABCD"
#: The longest duration one segment can tell, in timestamp units (2.5.1.3).
LONGEST = 0xFFFF

_EVENT = struct.Struct("!BBH")
_END = 0x80
#: How many presses are remembered: repeated end packets and reordered ones fall within.
_REMEMBERED = 16


@attrs.frozen(slots=True)
class TelephoneEvent:
    """``event`` 0..255, ``volume`` 0..63 (dB below 0 dBm0), ``duration`` so far in timestamp units."""

    event: int
    duration: int
    end: bool = False
    volume: int = 10

    def to_bytes(self) -> bytes:
        """Return the payload."""
        return _EVENT.pack(self.event, (_END if self.end else 0) | self.volume, self.duration)


def parse_event(payload: bytes) -> TelephoneEvent:
    """Return the event in a payload; raises RemoteProtocolError when it is too short to hold one."""
    if len(payload) < 4:
        raise RemoteProtocolError("a telephone event is shorter than four bytes")
    event, flags, duration = _EVENT.unpack_from(payload)
    return TelephoneEvent(event, duration, bool(flags & _END), flags & 0x3F)


def digit_of(event: int) -> str | None:
    """Return the key of an event code, None for what is no key."""
    return DIGITS[event] if event < 16 else None


def event_of(digit: str) -> int:
    """Return the event code of a key (upper or lower case); raises ValueError for what is no key."""
    if len(digit) != 1:
        raise ValueError(f"{digit!r} is not one key")
    return DIGITS.index(digit.upper())


class PressDetector:
    """Tells each press once, from any of its packets.

    A press is known by (SSRC, timestamp, event): the marker is a hint that we don't need, so a press of which only an
    end packet arrives counts too. A press longer than one segment goes on with a timestamp that is 65535 later (RFC
    4733 2.5.1.3); that is not a second press.
    """

    __slots__ = ("_known", "_open")

    def __init__(self) -> None:
        #: None before the first press: most calls have none.
        self._known: deque[tuple[int, int, int]] | None = None
        self._open: tuple[int, int, int] | None = None

    def feed(self, ssrc: int, timestamp: int, payload: bytes) -> str | None:
        """Return the key when the packet tells of a press that is new, else None.

        Raises RemoteProtocolError for a payload that is no telephone event.
        """
        if len(payload) < 4:
            raise RemoteProtocolError("a telephone event is shorter than four bytes")
        event, flags, _ = _EVENT.unpack_from(payload)
        key = (ssrc, timestamp, event)
        ended = bool(flags & _END)
        if self._known is None:
            self._known = deque(maxlen=_REMEMBERED)
        if key in self._known:
            if ended and key == self._open:
                self._open = None
            return None
        continued = self._open is not None and key == (
            self._open[0],
            (self._open[1] + LONGEST) & 0xFFFFFFFF,
            self._open[2],
        )
        self._known.append(key)
        self._open = None if ended else key
        return None if continued else digit_of(event)
