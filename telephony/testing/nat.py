"""A NAT in the simulated network: private hosts behind one public address (RFC 3022, RFC 4787).

Owns: mappings, which packets from outside they let in, and when they end. Must not know what is in a packet: what a
phone behind it writes into its messages stays private, as it is with real ones.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import attrs

from telephony.interfaces import Address

if TYPE_CHECKING:
    from telephony.testing.network import SimulatedHost, SimulatedNetwork

#: RFC 4787 4 and 5, in the words that people use.
KINDS = ("full-cone", "port-restricted", "symmetric")
#: RFC 4787 4.3: no UDP mapping may end before two minutes; many end after 30 seconds.
TIMEOUT = 30.0


@attrs.define(slots=True)
class Mapping:
    """What a NAT remembers: packets of ``inner`` leave as ``outer``, to ``remote`` only if that is not None.

    ``sent_to`` is where they went; ``last`` when the last one did.
    """

    inner: Address
    outer: Address
    remote: Address | None
    last: float
    sent_to: dict[Address, None] = attrs.field(factory=dict)


class Nat:
    """A NAT at the public address ``ip``; made by `SimulatedNetwork.nat`.

    ``kind`` is ``"full-cone"`` (one mapping a port, open to everybody), ``"port-restricted"`` (one mapping a port, open
    to whom something was sent) or ``"symmetric"`` (a mapping for each destination, open to that). A UDP mapping ends
    ``timeout`` seconds after the last packet that went out. ``counters`` of the network say what was let in and not.
    """

    def __init__(self, network: SimulatedNetwork, ip: str, kind: str, timeout: float) -> None:
        if kind not in KINDS:
            raise ValueError(f"a NAT is {', '.join(KINDS)}, not {kind!r}")
        self.network = network
        self.ip = ip
        self.kind = kind
        self.timeout = timeout
        self._random = Random(f"{network.seed}/nat/{ip}")
        self._out: dict[tuple[Address, Address | None], Mapping] = {}
        self._in: dict[int, Mapping] = {}

    def host(self, *addresses: str, name: str | None = None) -> SimulatedHost:
        """Return the host behind this NAT with these private addresses; see `SimulatedNetwork.host`."""
        made = self.network.host(*addresses, name=name)
        for address in addresses:
            if self.network._behind.setdefault(address, self) is not self:
                raise ValueError(f"{address} is behind another NAT")
        return made

    @property
    def mappings(self) -> list[Mapping]:
        """The mappings that have not ended, the oldest first."""
        now = self.network.clock.seconds()
        return [one for one in self._out.values() if now - one.last <= self.timeout]

    def outside(self, host: str, port: int) -> list[Address]:
        """Return the public addresses of a private one; several for a symmetric NAT, none before it has sent."""
        return [one.outer for one in self.mappings if one.inner == (host, port)]

    def rebind(self, host: str | None = None, port: int | None = None) -> int:
        """Forget the mappings of a private host, of a port of it, or all: as after a restart, or a new lease.

        The next packet out gets a new public port; until then nothing comes in. Open TCP connections are lost, at both
        ends. Returns how many mappings and connections that were.
        """
        gone = [
            one
            for one in self._out.values()
            if (host is None or one.inner[0] == host) and (port is None or one.inner[1] == port)
        ]
        for one in gone:
            self._forget(one)
        lost = 0
        if port is None:
            for stream in list(self.network._streams):
                inner = stream.source[0]
                if self.network._behind.get(inner) is self and host in (None, inner):
                    if stream.other is not None:
                        stream.other._reset()
                    stream._reset()
                    lost += 1
        return len(gone) + lost

    # For the network

    def out(self, source: Address, destination: Address) -> Address:
        """Return what a packet's source becomes on its way out."""
        key = source, destination if self.kind == "symmetric" else None
        now = self.network.clock.seconds()
        found = self._out.get(key)
        if found is not None and now - found.last > self.timeout:
            self._forget(found)
            found = None
        if found is None:
            found = self._out[key] = Mapping(source, (self.ip, self.free_port()), key[1], now)
            self._in[found.outer[1]] = found
            self.network.counters["nat mappings"] += 1
        found.last = now
        found.sent_to[destination] = None
        return found.outer

    def into(self, source: Address, destination: Address) -> Address | None:
        """Return where a packet from outside goes; None where it is not let in."""
        found = self.behind(destination)
        if found is None or (self.kind != "full-cone" and source not in found.sent_to):
            self.network.counters["not let in"] += 1
            return None
        return found.inner

    def behind(self, destination: Address) -> Mapping | None:
        """Return the mapping of a public address, if there is one now."""
        found = self._in.get(destination[1])
        if found is None or self.network.clock.seconds() - found.last > self.timeout:
            return None
        return found

    def free_port(self) -> int:
        """Return a public port that is not in use."""
        while True:
            port = self._random.randint(1024, 65535)
            if port not in self._in:
                return port

    def _forget(self, mapping: Mapping) -> None:
        del self._out[mapping.inner, mapping.remote]
        del self._in[mapping.outer[1]]

    def __repr__(self) -> str:
        return f"<{self.kind} NAT {self.ip}>"
