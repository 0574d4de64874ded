"""Targets, and the order in which DNS says to try them (RFC 3263 4, RFC 2782, RFC 3403).

Owns: what a target is, which transports a NAPTR record speaks of, and the order of NAPTR and SRV records. Must not know
resolvers, sockets or time; the random source for the weights is an argument.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from random import Random

import attrs

from telephony.interfaces import Address, Naptr, Srv

#: The transports we know of: their services in NAPTR records (RFC 3263 4.1), where their SRV records are, and the port
#: without one.
SERVICES = {"SIP+D2U": "UDP", "SIP+D2T": "TCP", "SIPS+D2T": "TLS"}
SRV_PREFIX = {"UDP": "_sip._udp.", "TCP": "_sip._tcp.", "TLS": "_sips._tcp."}
DEFAULT_PORTS = {"UDP": 5060, "TCP": 5060, "TLS": 5061}


@attrs.frozen
class Target:
    """Somewhere a request can be sent: over which transport, to which address.

    ``name`` is the host of the URI that led here, as it was written, for the check of a TLS certificate (RFC 5922 4);
    that DNS replaced it by another name on the way means nothing to that check.
    """

    transport: str
    address: Address
    name: str

    @property
    def key(self) -> tuple[str, Address]:
        """What tells it from other targets."""
        return self.transport, self.address


def usable_naptr(records: Iterable[Naptr], transports: Collection[str], secure: bool) -> list[Naptr]:
    """Return the NAPTR records to follow, best first: those for a transport of ours, of the lowest order among them.

    ``secure``, for ``sips:``, leaves TLS only. Records that rewrite by a regular expression are not for SIP.
    """
    known = [
        one
        for one in records
        if one.flags.lower() in ("s", "a")
        and one.replacement.strip(".")
        and (transport := SERVICES.get(one.service.upper())) in transports
        and (not secure or transport == "TLS")
    ]
    if not known:
        return []
    # RFC 3403 4.1: once a record of one order is understood, those of higher orders must not be looked at.
    order = min(one.order for one in known)
    return sorted((one for one in known if one.order == order), key=lambda one: one.preference)


def order_srv(records: Sequence[Srv], random: Random) -> list[Srv]:
    """Return SRV records in the order to try them: by priority, within one by lot in proportion to weight (RFC 2782).

    Records whose target is ``.`` say that the service does not exist, and are left out.
    """
    ordered: list[Srv] = []
    offered = [one for one in records if one.target.strip(".")]
    for priority in sorted({one.priority for one in offered}):
        # Those of weight 0 come first, so that they have a small chance; the rest by name, so that a server which
        # turns its answers round doesn't change what a seed gives.
        left = sorted(
            (one for one in offered if one.priority == priority), key=lambda one: (one.weight > 0, one.target, one.port)
        )
        while left:
            total = sum(one.weight for one in left)
            drawn = random.randint(0, total) if total else 0
            running = 0
            for one in left:
                running += one.weight
                if running >= drawn:
                    break
            left.remove(one)
            ordered.append(one)
    return ordered
