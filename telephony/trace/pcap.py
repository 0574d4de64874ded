"""A trace as a capture file that Wireshark and tshark read: signalling and media in IP packets, with notes.

Owns: the pcapng blocks, and the IP, UDP and TCP headers around what a trace has. Must not know what is in the packets,
nor files: it returns bytes. Follows draft-ietf-opsawg-pcapng, RFC 791, RFC 8200, RFC 768 and RFC 9293.

What a trace does not have is made up, and says so in a comment: a TCP connection's handshake comes right before the
first bytes on it, and each piece is acknowledged at once. Sequence numbers begin at 1000 for who connects and at 2000
for the other. Of an encrypted transport the trace has the plain text, and so has the capture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv6Address, ip_address

import attrs

from telephony.interfaces import Address
from telephony.trace.events import MediaPacket, Note, TraceEvent

_SECTION, _INTERFACE, _NAMES, _PACKET = 0x0A0D0D0A, 1, 4, 6
_BYTE_ORDER = 0x1A2B3C4D
_RAW_IP = 101  # LINKTYPE_RAW: packets begin with the IP header, of either version
_OPTION_END, _OPTION_COMMENT, _OPTION_APPLICATION = 0, 1, 4
_NAME_IPV4, _NAME_IPV6 = 1, 2
_TCP, _UDP = 6, 17
_SYN, _ACK, _PSH = 0x02, 0x10, 0x08
#: What follows an IPv4 header of 20 bytes, and UDP's of 8: the most that a length field can say.
_MOST_UDP = 65535 - 20 - 8
_MOST_SEGMENT = 1440
_MOST_COMMENT = 60_000
_HANDSHAKE = "made up: the trace has no handshakes and no acknowledgements"


def capture(
    events: Iterable[TraceEvent],
    media: Iterable[MediaPacket] = (),
    *,
    names: Mapping[Address, str] | None = None,
    notes: Iterable[Note] = (),
) -> bytes:
    """Return a pcapng file of a trace: one packet for a datagram, or as many TCP segments as a piece of a stream needs.

    ``events`` whose transport is ``UDP`` and all ``media`` become UDP, every other transport TCP. The times are the
    trace's, to the microsecond. ``notes``, and what the tracer noted, are comments of the packet that comes next;
    ``names`` are name resolution records, where an IP address has but one name. What is longer than a UDP datagram
    can be is cut, and says so.
    """
    blocks = [_section(), _block(_INTERFACE, struct.pack("<HHI", _RAW_IP, 0, 0)), _resolution(names or {})]
    pieces: list[tuple[float, Address, Address, bytes, TraceEvent | None]] = [
        (event.time, event.source, event.destination, event.data, event) for event in events
    ]
    pieces += [(time, source, destination, data, None) for time, source, destination, data in media]
    pieces.sort(key=lambda piece: piece[0])
    waiting = sorted(notes, key=lambda note: note[0], reverse=True)
    connections: dict[frozenset[Address], _Connection] = {}
    for index, (time, source, destination, data, event) in enumerate(pieces):
        comments: list[str] = []
        last = index == len(pieces) - 1
        while waiting and (last or waiting[-1][0] <= time):
            _, party, text = waiting.pop()
            comments.append(f"{party}: {text}" if party else text)
        if event is not None and event.note:
            comments.append(event.note)
        if event is None or event.transport.upper() == "UDP":
            if len(data) > _MOST_UDP:
                comments.append(f"cut: it has {len(data)} bytes")
            blocks.append(_packet(time, _udp(source, destination, data[:_MOST_UDP]), comments))
            continue
        pair = frozenset((source, destination))
        connection = connections.get(pair)
        if connection is None:
            connection = connections[pair] = _Connection(source, destination)
            for segment in connection.open():
                blocks.append(_packet(time, segment, [_HANDSHAKE]))
        for segment in connection.carry(source, data):
            blocks.append(_packet(time, segment, comments))
            comments = []
    return b"".join(blocks)


# pcapng


def _section() -> bytes:
    options = _option(_OPTION_APPLICATION, b"telephony") + _option(_OPTION_END, b"")
    return _block(_SECTION, struct.pack("<IHHq", _BYTE_ORDER, 1, 0, -1) + options)


def _resolution(names: Mapping[Address, str]) -> bytes:
    """Return the records of who is who; where several are at one IP address, none of them has the name."""
    known: dict[str, set[str]] = {}
    for (ip, _), name in names.items():
        known.setdefault(ip, set()).add(name)
    records = b""
    for ip, called in known.items():
        if len(called) == 1:
            packed = ip_address(ip).packed
            own = called.pop().replace("\0", " ").encode("utf-8", "replace")[:255] + b"\0"
            records += _option(_NAME_IPV4 if len(packed) == 4 else _NAME_IPV6, packed + own)
    return _block(_NAMES, records + _option(_OPTION_END, b"")) if records else b""


def _packet(time: float, data: bytes, comments: list[str]) -> bytes:
    microseconds = max(0, round(time * 1e6))
    fixed = struct.pack("<IIIII", 0, microseconds >> 32, microseconds & 0xFFFFFFFF, len(data), len(data))
    options = b""
    if comments:
        text = "\n".join(comments).encode("utf-8", "replace")[:_MOST_COMMENT]
        options = _option(_OPTION_COMMENT, text) + _option(_OPTION_END, b"")
    return _block(_PACKET, fixed + _padded(data) + options)


def _block(kind: int, body: bytes) -> bytes:
    length = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + length + body + length


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


# IP, UDP, TCP


def checksum(data: bytes) -> int:
    """Return the Internet checksum of ``data`` (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    # 2**16 is 1 modulo 65535: the sum of the words with its carries folded in is the one big number's remainder.
    total = int.from_bytes(data, "big")
    folded = total % 65535 or (65535 if total else 0)
    return folded ^ 0xFFFF


def _ip(source: Address, destination: Address, protocol: int, segment: bytes, at: int) -> bytes:
    """Return an IP packet around a segment whose checksum, still 0, stands at offset ``at``."""
    begin, end = ip_address(source[0]), ip_address(destination[0])
    if begin.version != end.version:
        # One end saw the other through an IPv4-mapped address (RFC 4291 2.5.5.2): so they are written both.
        begin, end = (ip if ip.version == 6 else IPv6Address(f"::ffff:{ip}") for ip in (begin, end))
    length = len(segment)
    if begin.version == 4:
        pseudo = begin.packed + end.packed + struct.pack("!HH", protocol, length)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, protocol, 0) + begin.packed + end.packed
        header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    else:
        pseudo = begin.packed + end.packed + struct.pack("!II", length, protocol)
        header = struct.pack("!IHBB", 6 << 28, length, protocol, 64) + begin.packed + end.packed
    found = checksum(pseudo + segment)
    if protocol == _UDP and not found:
        found = 0xFFFF  # 0 would say that there is no checksum (RFC 768)
    return header + segment[:at] + struct.pack("!H", found) + segment[at + 2 :]


def _udp(source: Address, destination: Address, data: bytes) -> bytes:
    header = struct.pack("!HHHH", source[1], destination[1], 8 + len(data), 0)
    return _ip(source, destination, _UDP, header + data, 6)


@attrs.define(slots=True)
class _Connection:
    """The two directions of a TCP connection: for each end the number of the next byte it sends."""

    client: Address
    server: Address
    _next: dict[Address, int] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._next = {self.server: 2000, self.client: 1000}

    def open(self) -> Iterator[bytes]:
        """Return the handshake."""
        yield self._segment(self.client, _SYN)
        yield self._segment(self.server, _SYN | _ACK)
        yield self._segment(self.client, _ACK)

    def carry(self, source: Address, data: bytes) -> Iterator[bytes]:
        """Return a piece of the stream in segments, and its acknowledgement."""
        for start in range(0, len(data), _MOST_SEGMENT):
            piece = data[start : start + _MOST_SEGMENT]
            last = start + _MOST_SEGMENT >= len(data)
            yield self._segment(source, _ACK | (_PSH if last else 0), piece)
        if data:
            yield self._segment(self._other(source), _ACK)

    def _other(self, end: Address) -> Address:
        return self.server if end == self.client else self.client

    def _segment(self, source: Address, flags: int, data: bytes = b"") -> bytes:
        other = self._other(source)
        number = self._next[source]
        self._next[source] = (number + len(data) + bool(flags & _SYN)) & 0xFFFFFFFF
        heard = self._next[other] if flags & _ACK else 0
        header = struct.pack("!HHIIBBHHH", source[1], other[1], number, heard, 5 << 4, flags, 65535, 0, 0)
        return _ip(source, other, _TCP, header + data, 16)
