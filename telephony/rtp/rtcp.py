"""RTCP: sender and receiver reports, source descriptions and goodbyes (RFC 3550 section 6).

Owns: compound packets as bytes and as objects. Must not know when one is due (`telephony.rtp.reports`) nor what the
numbers mean for a call. Packet types that nobody reads here (APP, feedback, XR) are passed over.
"""

from __future__ import annotations

import struct

import attrs

from telephony.errors import RemoteProtocolError

SR = 200
RR = 201
SDES = 202
BYE = 203

_HEAD = struct.Struct("!BBHI")
_SENDER = struct.Struct("!IIIII")
_BLOCK = struct.Struct("!IIIIII")
_WORD = struct.Struct("!I")
_CNAME = 1
_NOTHING = b""


@attrs.frozen(slots=True)
class ReportBlock:
    """What one receiver says of one source.

    ``fraction_lost`` in 256ths, ``lost`` -2^23..2^23-1, ``jitter`` in
    timestamp units, ``last_sr`` the middle 32 bits of the last SR's NTP time, ``delay`` since then in 1/65536 s.
    """

    ssrc: int
    fraction_lost: int
    lost: int
    highest: int
    jitter: int
    last_sr: int
    delay: int


@attrs.frozen(slots=True)
class Report:
    """An SR when ``ntp`` is set (64 bits), else an RR."""

    ssrc: int
    blocks: tuple[ReportBlock, ...] = ()
    ntp: int | None = None
    timestamp: int = 0
    packets: int = 0
    octets: int = 0

    def to_bytes(self) -> bytes:
        """Return the packet."""
        body = _NOTHING
        if self.ntp is not None:
            body = _SENDER.pack(
                self.ntp >> 32 & 0xFFFFFFFF,
                self.ntp & 0xFFFFFFFF,
                self.timestamp & 0xFFFFFFFF,
                self.packets & 0xFFFFFFFF,
                self.octets & 0xFFFFFFFF,
            )
        for one in self.blocks:
            lost = max(-0x800000, min(0x7FFFFF, one.lost)) & 0xFFFFFF
            body += _BLOCK.pack(
                one.ssrc,
                one.fraction_lost << 24 | lost,
                one.highest & 0xFFFFFFFF,
                one.jitter & 0xFFFFFFFF,
                one.last_sr,
                one.delay & 0xFFFFFFFF,
            )
        kind = RR if self.ntp is None else SR
        return _HEAD.pack(0x80 | len(self.blocks), kind, 1 + len(body) // 4, self.ssrc) + body


@attrs.frozen(slots=True)
class Goodbye:
    """A BYE of the sources in ``ssrcs``."""

    ssrcs: tuple[int, ...]
    reason: str = ""

    def to_bytes(self) -> bytes:
        """Return the packet."""
        body = b"".join(_WORD.pack(one) for one in self.ssrcs)
        if self.reason:
            text = self.reason.encode()[:255]
            body += bytes((len(text),)) + text
            body += bytes(-len(body) % 4)
        return struct.pack("!BBH", 0x80 | len(self.ssrcs), BYE, len(body) // 4) + body


@attrs.frozen(slots=True)
class Description:
    """The CNAME of a source, the one SDES item there must be (6.5.1)."""

    ssrc: int
    cname: str

    def to_bytes(self) -> bytes:
        """Return an SDES packet of one chunk."""
        name = self.cname.encode()[:255]
        chunk = _WORD.pack(self.ssrc) + bytes((_CNAME, len(name))) + name
        chunk += bytes(4 - len(chunk) % 4)  # at least one zero ends the list of items
        return struct.pack("!BBH", 0x81, SDES, len(chunk) // 4) + chunk


def parse_compound(data: bytes) -> list[Report | Goodbye | Description]:
    """Return what a compound packet holds, in order, leaving out what we don't read.

    Raises RemoteProtocolError when it is no RTCP or shorter than it says (RFC 3550 A.2; a reduced-size packet, RFC
    5506, is accepted).
    """
    found: list[Report | Goodbye | Description] = []
    at = 0
    size = len(data)
    while at < size:
        if at + 4 > size or data[at] & 0xC0 != 0x80:
            raise RemoteProtocolError("not an RTCP packet of version 2")
        first, kind, words = struct.unpack_from("!BBH", data, at)
        end = at + 4 + 4 * words
        if end > size:
            raise RemoteProtocolError("an RTCP packet is shorter than it says")
        count = first & 0x1F
        stop = end
        if first & 0x20:
            stop -= data[end - 1]
            if end != size or stop < at + 4:
                raise RemoteProtocolError("an RTCP packet has padding where none can be")
        body = data[at + 4 : stop]
        if kind in (SR, RR):
            found.append(_parse_report(kind, count, body))
        elif kind == BYE:
            if 4 * count > len(body):
                raise RemoteProtocolError("an RTCP BYE is shorter than it says")
            found.append(Goodbye(struct.unpack_from(f"!{count}I", body), _bye_reason(body[4 * count :])))
        elif kind == SDES:
            found.extend(_parse_descriptions(count, body))
        at = end
    if not size:
        raise RemoteProtocolError("an empty RTCP packet")
    return found


def _parse_report(kind: int, count: int, body: bytes) -> Report:
    at = 4 if kind == RR else 24
    if len(body) < at + 24 * count:
        raise RemoteProtocolError("an RTCP report is shorter than it says")
    blocks = []
    for _ in range(count):
        ssrc, loss, highest, jitter, last_sr, delay = _BLOCK.unpack_from(body, at)
        lost = loss & 0xFFFFFF
        blocks.append(
            ReportBlock(
                ssrc, loss >> 24, lost - 0x1000000 if lost & 0x800000 else lost, highest, jitter, last_sr, delay
            )
        )
        at += 24
    ssrc = _WORD.unpack_from(body)[0]
    if kind == RR:
        return Report(ssrc, tuple(blocks))
    high, low, timestamp, packets, octets = _SENDER.unpack_from(body, 4)
    return Report(ssrc, tuple(blocks), high << 32 | low, timestamp, packets, octets)


def _bye_reason(rest: bytes) -> str:
    return rest[1 : 1 + rest[0]].decode("utf-8", "replace") if rest else ""


def _parse_descriptions(count: int, body: bytes) -> list[Description]:
    found = []
    at = 0
    for _ in range(count):
        if at + 4 > len(body):
            raise RemoteProtocolError("an RTCP SDES is shorter than it says")
        ssrc = _WORD.unpack_from(body, at)[0]
        begin = at
        at += 4
        while at < len(body) and body[at]:
            if at + 2 > len(body) or at + 2 + body[at + 1] > len(body):
                raise RemoteProtocolError("an RTCP SDES item is shorter than it says")
            if body[at] == _CNAME:
                found.append(Description(ssrc, body[at + 2 : at + 2 + body[at + 1]].decode("utf-8", "replace")))
            at += 2 + body[at + 1]
        at += 4 - (at - begin) % 4
    return found
