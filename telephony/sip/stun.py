"""STUN as far as SIP needs it: binding requests and their answers (RFC 5389 6, 7, 15.1, 15.2; RFC 5626 4.4.2, 8).

Owns: telling STUN from SIP on one port, and the two messages. Must not know sockets, time or randomness; what is not a
binding request or an answer to one is a `RemoteProtocolError`. No credentials, no FINGERPRINT: a keep-alive needs none.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

import attrs

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address

MAGIC = 0x2112A442
REQUEST = 0x0001
INDICATION = 0x0011
SUCCESS = 0x0101
FAILURE = 0x0111
#: The length of a transaction id in bytes.
ID_SIZE = 12
#: The longest message that is read: a keep-alive has 20 bytes, an answer to one rarely more than 100.
MAX_SIZE = 548

_HEADER = struct.Struct("!HHI12s")
_ATTRIBUTE = struct.Struct("!HH")
_MAPPED_ADDRESS = 0x0001
_XOR_MAPPED_ADDRESS = 0x0020
#: Attributes below this must be understood (RFC 5389 15); these are the ones that may stand in a request.
_OPTIONAL = 0x8000


@attrs.frozen
class StunMessage:
    """A binding request, indication or answer.

    ``mapped`` is the address the answer names, None where it names none; ``unknown`` are the attributes of a request
    that would have to be understood and aren't.
    """

    kind: int
    transaction: bytes
    mapped: Address | None = None
    unknown: tuple[int, ...] = ()


def is_stun(data: bytes) -> bool:
    """Tell whether a datagram on a SIP port is STUN: no SIP message begins with a byte below 4 (RFC 5626 8)."""
    return bool(data) and data[0] < 4


def parse_stun(data: bytes) -> StunMessage:
    """Read a binding message. Raises `RemoteProtocolError` for anything else."""
    if len(data) < _HEADER.size or len(data) > MAX_SIZE:
        raise RemoteProtocolError(f"a STUN message of {len(data)} bytes")
    kind, length, magic, transaction = _HEADER.unpack_from(data)
    if magic != MAGIC or length % 4 or length != len(data) - _HEADER.size:
        raise RemoteProtocolError("no STUN message: its length or its cookie is wrong (RFC 5389 6)")
    if kind not in (REQUEST, INDICATION, SUCCESS, FAILURE):
        raise RemoteProtocolError(f"a STUN message of type {kind:#06x}, not of the binding method")
    mapped: Address | None = None
    unknown: list[int] = []
    at = _HEADER.size
    while at < len(data):
        number, size = _ATTRIBUTE.unpack_from(data, at)
        value = data[at + 4 : at + 4 + size]
        if len(value) < size:
            raise RemoteProtocolError("a STUN attribute is longer than its message (RFC 5389 15)")
        at += 4 + size + -size % 4
        if number == _XOR_MAPPED_ADDRESS:
            mapped = _address(value, transaction, hidden=True)
        elif number == _MAPPED_ADDRESS:
            mapped = mapped or _address(value, transaction, hidden=False)
        elif number < _OPTIONAL:
            unknown.append(number)
    return StunMessage(kind, transaction, mapped, tuple(unknown))


def binding_request(transaction: bytes) -> bytes:
    """Write a binding request with a transaction id of 12 random bytes."""
    return _HEADER.pack(REQUEST, 0, MAGIC, transaction)


def binding_answer(request: StunMessage, source: Address) -> bytes:
    """Write the answer to a request that came from ``source``: where it came from, or 420 for what isn't understood."""
    if request.unknown:
        error = b"\0\0\x04\x14Unknown Attribute"
        listed = b"".join(number.to_bytes(2, "big") for number in request.unknown[:8])
        body = _attribute(0x0009, error) + _attribute(0x000A, listed)
        return _HEADER.pack(FAILURE, len(body), MAGIC, request.transaction) + body
    packed = ip_address(source[0].partition("%")[0]).packed
    family = 1 if len(packed) == 4 else 2
    pad = MAGIC.to_bytes(4, "big") + request.transaction
    value = struct.pack("!xBH", family, source[1] ^ (MAGIC >> 16)) + _xor(packed, pad)
    body = _attribute(_XOR_MAPPED_ADDRESS, value)
    return _HEADER.pack(SUCCESS, len(body), MAGIC, request.transaction) + body


def _attribute(number: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(number, len(value)) + value + bytes(-len(value) % 4)


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=False))


def _address(value: bytes, transaction: bytes, *, hidden: bool) -> Address:
    """Read an address attribute, XORed or plain (RFC 5389 15.1, 15.2)."""
    size = {1: 4, 2: 16}.get(value[1]) if len(value) >= 4 else None
    if size is None or len(value) != 4 + size:
        raise RemoteProtocolError("a STUN address that is none (RFC 5389 15.1)")
    port = int.from_bytes(value[2:4], "big")
    packed = value[4:]
    if hidden:
        port ^= MAGIC >> 16
        packed = _xor(packed, MAGIC.to_bytes(4, "big") + transaction)
    return str(ip_address(packed)), port
