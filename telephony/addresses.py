"""What kind of IP address a text is: loopback, unspecified, one host's.

Owns: reading an IP address from text, and the few things that signalling and descriptions ask about it. Must not know
what an address is good for: who may be sent to is decided by whoever asks. Nothing is looked up.

The addresses of a server's peers and its own come in every message, in Via, Contact and c= lines, and to read one costs
more than the rest of a c= line. So what was read is remembered by its text: at most `REMEMBERED` texts of at most
`LONGEST` characters, the least used of them forgotten first, so that nobody can fill the memory with them.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

import attrs

#: How many texts are remembered.
REMEMBERED = 4096
#: No address is longer: eight groups of four, the last two of them written as IPv4, and a zone of some length.
LONGEST = 64


@attrs.frozen
class KnownAddress:
    """An IP address that was read from a text, the zone left out (``fe80::1%eth0``).

    An IPv4 address within IPv6 (``::ffff:192.0.2.1``) is the IPv4 address (RFC 5118 4.9). ``text`` is the usual way to
    write it. ``group`` is for a multicast address and for the broadcast one: no single host has it.
    """

    ip: IPv4Address | IPv6Address
    text: str
    version: int
    loopback: bool
    unspecified: bool
    group: bool


def known_address(text: str) -> KnownAddress | None:
    """Return the IP address that a text is, without brackets; None for anything else, a host name above all."""
    return _read(text) if len(text) <= LONGEST else None


@lru_cache(maxsize=REMEMBERED)
def _read(text: str) -> KnownAddress | None:
    digits, _, zone = text.partition("%")
    try:
        ip = ip_address(digits)
    except ValueError:
        return None
    if zone and not zone.isprintable():
        return None
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    written = str(ip)
    group = ip.is_multicast or written == "255.255.255.255"
    return KnownAddress(ip, written, ip.version, ip.is_loopback, ip.is_unspecified, group)
