"""RTP packets as bytes and as objects (RFC 3550 section 5.1).

Owns: the twelve bytes of the header, and where the payload lies behind them. Must not know order, time or codecs.
The relay path uses `HEADER` and `payload_bounds` only and makes no `Packet`; the object is for whoever has the time.
"""

from __future__ import annotations

import struct

import attrs

from telephony.errors import RemoteProtocolError

#: V/P/X/CC, M/PT, sequence number, timestamp, SSRC.
HEADER = struct.Struct("!BBHII")
HEADER_SIZE = 12
#: The first byte of a packet that is as plain as ours: version 2, no padding, no extension, no CSRC.
PLAIN = 0x80
MARKER = 0x80

_WORD = struct.Struct("!HH")


def payload_bounds(data: bytes) -> tuple[int, int]:
    """Return where the payload begins and ends in an RTP packet, behind CSRCs and extension, without padding.

    Raises RemoteProtocolError for what is not RTP version 2 or is shorter than it says (RFC 3550 A.1).
    """
    size = len(data)
    if size < HEADER_SIZE or data[0] & 0xC0 != 0x80:
        raise RemoteProtocolError("not an RTP packet of version 2")
    first = data[0]
    start = HEADER_SIZE + 4 * (first & 0x0F)
    if first & 0x10:
        if start + 4 > size:
            raise RemoteProtocolError("an RTP packet ends in its header extension")
        start += 4 + 4 * _WORD.unpack_from(data, start)[1]
    end = size
    if first & 0x20:
        padding = data[-1]
        if padding == 0:
            raise RemoteProtocolError("an RTP packet has padding of no length")
        end -= padding
    if start > end:
        raise RemoteProtocolError("an RTP packet is shorter than its header says")
    return start, end


@attrs.frozen(slots=True)
class Packet:
    """One RTP packet: ``payload_type`` 0..127, ``sequence`` 16 bits, ``timestamp`` and ``ssrc`` 32 bits."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def to_bytes(self) -> bytearray:
        """Return the packet as sent: version 2, no padding, no extension, no CSRC."""
        packet = bytearray(HEADER_SIZE + len(self.payload))
        HEADER.pack_into(
            packet,
            0,
            PLAIN,
            self.payload_type | (MARKER if self.marker else 0),
            self.sequence,
            self.timestamp,
            self.ssrc,
        )
        packet[HEADER_SIZE:] = self.payload
        return packet


def parse_packet(data: bytes) -> Packet:
    """Return the packet in ``data``; what CSRCs and extensions hold is passed over.

    Raises RemoteProtocolError for what is not RTP version 2 or is shorter than it says.
    """
    start, end = payload_bounds(data)
    _, second, sequence, timestamp, ssrc = HEADER.unpack_from(data)
    return Packet(second & 0x7F, sequence, timestamp, ssrc, data[start:end], bool(second & MARKER))
