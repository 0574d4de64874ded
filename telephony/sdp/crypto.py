"""SRTP keys in a description: the ``a=crypto`` lines of SDES (RFC 4568; RFC 7714 14.2 for AEAD).

Owns: reading and writing such a line, and which suites are taken. Must not know packets or where keys come from. A key
never shows in a text of ours: not in ``repr``, not in an error.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

import attrs

from telephony.sdp.parser import whole_number

#: The suites there are, best first, with the length of master key and salt together, in bytes. The first is the one
#: that everybody must have (RFC 4568 6.2.1), so it leads; a tag of 32 bits is a saving, and no improvement.
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": 30,
    "AEAD_AES_128_GCM": 28,
    "AES_CM_128_HMAC_SHA1_32": 30,
}
#: Keys said to last for fewer packets than this are passed over, since nothing here would replace one in time: it is
#: more than eleven hours of packets of 20 ms.
SHORTEST_LIFETIME = 1 << 21
#: How many lines of one stream are looked at.
_MOST_LINES = 16

_LINE = re.compile(r"([0-9]{1,9})[ \t]+([A-Za-z0-9_]+)[ \t]+(\S+)((?:[ \t]+\S+)*)")


@attrs.frozen
class Crypto:
    """One way to secure what its writer sends: ``key`` is master key and salt together; ``tag`` names the line."""

    tag: int
    suite: str
    key: bytes = attrs.field(repr=False)

    def __str__(self) -> str:
        """Return the value of the ``a=crypto`` line, key and all."""
        return f"{self.tag} {self.suite} inline:{base64.b64encode(self.key).decode()}"

    def same_key(self, other: Crypto | None) -> bool:
        """Tell whether ``other`` secures packets in the same way."""
        return other is not None and (self.suite, self.key) == (other.suite, other.key)


def parse_crypto(value: str) -> Crypto | None:
    """Read the value of an ``a=crypto`` line; None for one that can't be used, which RFC 4568 7.1.2 passes over.

    Such are: another suite, several keys, a key of the wrong length, an MKI, session parameters (all of them ask for
    something that isn't done here), and a lifetime below `SHORTEST_LIFETIME`.
    """
    found = _LINE.fullmatch(value.strip(" \t"))
    if found is None:
        return None
    tag, suite, keys, parameters = found.groups()
    length = SUITES.get(suite.upper())
    if length is None or any(not _harmless(one) for one in parameters.split()):
        return None
    method, colon, info = keys.partition(":")
    text, *rest = info.split("|")
    if method.lower() != "inline" or not colon or ";" in keys or len(rest) > 1:
        return None
    if rest and not _lasts(rest[0]):
        return None
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Crypto(int(tag), suite.upper(), key) if len(key) == length else None


def usable(values: Iterable[str]) -> list[Crypto]:
    """Return what can be used of a stream's ``a=crypto`` lines, in their order; of one tag the first."""
    found: dict[int, Crypto] = {}
    for index, value in enumerate(values):
        if index >= _MOST_LINES:
            break
        one = parse_crypto(value)
        if one is not None:
            found.setdefault(one.tag, one)
    return list(found.values())


def _harmless(parameter: str) -> bool:
    """Tell whether a session parameter changes nothing: a window hint is one, and a leading ``-`` says so (6.3.7)."""
    return parameter.upper().startswith("WSH=") or parameter.startswith("-")


def _lasts(lifetime: str) -> bool:
    """Tell whether a key lasts long enough; an MKI stands in the same place, and has a colon."""
    power = lifetime.startswith("2^")
    number = whole_number(lifetime[2:] if power else lifetime, 48 if power else 1 << 48)
    return number is not None and (1 << number if power else number) >= SHORTEST_LIFETIME
