"""A network in memory: hosts with UDP ports and TCP streams, links with delay, loss and all the rest, from one seed.

Owns: which packet arrives where, when, and whether. Must not know what is in a packet, beyond telling media from
signalling for what it keeps (RFC 7983: RTP and RTCP begin with a byte from 128 to 191). Each host is a
`telephony.interfaces.Host`; whatever runs on one runs on real sockets too.

The same seed and the same calls give the same bytes at the same moments: every draw comes from the network's or a
host's own seeded source, events of one moment run in the order in which they were set, and no set is iterated.
"""

from __future__ import annotations

import errno
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from socket import EAI_NONAME, gaierror
from typing import TYPE_CHECKING, Any, TypeVar
from zlib import crc32

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory

from telephony.interfaces import Address, Answer, DatagramReceived, Record, RecordKind
from telephony.testing.clock import SimulatedClock
from telephony.testing.media_port import InMemory
from telephony.testing.streams import Attempt, SimulatedListener, SimulatedStream
from telephony.trace.events import TraceEvent
from telephony.trace.masking import masked

if TYPE_CHECKING:
    from telephony.testing.nat import Nat
    from telephony.testing.registrar import Registrar

T = TypeVar("T")

#: How many messages of signalling, and how many packets of media, a network remembers.
MOST_EVENTS = 20_000
MOST_MEDIA = 2_000

ANY = frozenset({"0.0.0.0", "::"})


@attrs.define(slots=True)
class Link:
    """One direction between two hosts: ``delay`` and ``jitter`` in seconds, the rest probabilities from 0 to 1.

    ``jitter`` adds up to so much to each packet's delay without changing their order; a packet that is drawn for
    ``reorder`` is held back for one to three times ``delay`` more, so that later ones overtake it. A link that is not
    ``up`` swallows everything.
    """

    delay: float = 0.005
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    up: bool = True
    _last: float = attrs.field(default=0.0, init=False, repr=False)

    @property
    def plain(self) -> bool:
        """Whether every packet arrives after the same delay."""
        return self.up and not (self.jitter or self.loss or self.duplicate or self.reorder)


class SimulatedDatagramPort:
    """A bound UDP port in memory; provides `telephony.interfaces.DatagramPort`."""

    __slots__ = ("_host", "_network", "_source", "address", "drained", "draining", "errors", "open", "received")

    def __init__(self, host: SimulatedHost, address: Address, received: DatagramReceived) -> None:
        self._host = host
        self._network = host.network
        self.address = address
        self._source: Address | None = None if address[0] in ANY else address
        self.received: DatagramReceived = received
        self.drained: Callable[[bool], None] | None = None
        self.draining = False
        self.open = True
        self.errors = 0
        """How often a port that something was sent to was said not to be there."""

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send one datagram; what can't be sent is counted and lost."""
        if not self.open:
            self._network.counters["sent on a closed port"] += 1
            return
        source = self._source or (self._host.source_address(destination), self.address[1])
        self._network._datagram(source, data if type(data) is bytes else bytes(data), destination)

    def drain(self) -> bool:
        """Throw away what waits: nothing, since what arrives here is given to ``received`` at once."""
        return self.open

    def close(self) -> None:
        """Free the port, at once; harmless when closed already."""
        if self.open:
            self.open = False
            self._host._close_port(self)

    def arrived(self, data: bytes, source: Address) -> None:
        """Take a datagram from the network."""
        self.received(data, source)

    def __repr__(self) -> str:
        return f"<UDP port {self.address[0]}:{self.address[1]}>"


class SimulatedMediaPort(InMemory, SimulatedDatagramPort):
    """A UDP port for media in memory; provides `telephony.interfaces.MediaPort`."""

    send = SimulatedDatagramPort.send

    def __init__(self, host: SimulatedHost, address: Address, received: DatagramReceived) -> None:
        super().__init__(host, address, received)
        self.begin()

    def now(self) -> float:
        """Return the simulated time."""
        return self._network.clock._now


class SimulatedHost:
    """A machine on a `SimulatedNetwork`; provides `telephony.interfaces.Host`. Made by `SimulatedNetwork.host`."""

    def __init__(self, network: SimulatedNetwork, addresses: tuple[str, ...]) -> None:
        self.network = network
        self.addresses = addresses
        self.clock = network.clock
        self.random = random.Random(f"{network.seed}/{addresses[0]}")
        self.open_files = 65536
        self._next_port = 49152

    def open_datagram_port(self, address: Address, received: DatagramReceived) -> SimulatedDatagramPort:
        """Bind a UDP port (port 0: any free one). Raises OSError when it is taken or not ours."""
        ports = self.network._ports
        bound = self._bindable(address, ports)
        port = SimulatedDatagramPort(self, bound, received)
        for own in self._covered(bound):
            ports[own] = port
        return port

    def open_media_port(self, address: Address, received: DatagramReceived) -> SimulatedMediaPort:
        """Bind a UDP port for media; see `open_datagram_port`."""
        bound = self._bindable(address, self.network._ports)
        port = SimulatedMediaPort(self, bound, received)
        self.network._ports.update(dict.fromkeys(self._covered(bound), port))
        return port

    def listen_stream(self, address: Address, factory: IProtocolFactory) -> SimulatedListener:
        """Listen on a TCP port (port 0: any free one). Raises OSError when it is taken or not ours."""
        listeners = self.network._listeners
        bound = self._bindable(address, listeners)
        listener = SimulatedListener(self, bound, factory)
        for own in self._covered(bound):
            listeners[own] = listener
        return listener

    def connect_stream(self, destination: Address, factory: IProtocolFactory, timeout: float) -> Deferred[IProtocol]:
        """Open a connection; see `telephony.interfaces.Host.connect_stream` for how it fails."""
        return Attempt(self, destination, factory, timeout).deferred

    def resolve(self, name: str) -> Deferred[list[str]]:
        """Look a name up in the network's ``names``; fires after a moment, or fails with OSError. No cache."""
        try:
            ip_address(name)
            return succeed([name])
        except ValueError:
            found: Deferred[list[str]] = Deferred(lambda _: timer.cancel())
            timer = self.clock.callLater(self.network.resolve_delay, self._resolved, name, found)
            return found

    def lookup(self, name: str, kind: RecordKind) -> Deferred[Answer]:
        """Look records up in what `SimulatedNetwork.dns` said, addresses in ``names`` too; no cache."""
        network = self.network
        name = name.lower().rstrip(".")
        zone = network._zone.get((name, kind))
        found: Deferred[Answer] = Deferred(lambda _: timer.cancel())
        delay = network.resolve_delay if zone is None or zone.delay is None else zone.delay
        timer = self.clock.callLater(delay, self._looked_up, name, kind, found)
        network.questions.append((self.clock.seconds(), name, kind))
        return found

    def _looked_up(self, name: str, kind: RecordKind, found: Deferred[Answer]) -> None:
        zone = self.network._zone.get((name, kind))
        if zone is not None and zone.fails:
            found.errback(OSError(errno.ETIMEDOUT, f"no DNS answer for {name} ({kind})"))
        elif zone is not None:
            found.callback(Answer(zone.records, zone.ttl))
        else:
            known = self.network.names.get(name, ()) if kind in ("A", "AAAA") else ()
            found.callback(Answer(tuple(one for one in known if (":" in one) == (kind == "AAAA")), 0.0))

    def _resolved(self, name: str, found: Deferred[list[str]]) -> None:
        addresses = self.network.names.get(name.lower().rstrip("."))
        if addresses:
            found.callback(list(addresses))
        else:
            found.errback(gaierror(EAI_NONAME, f"no such name: {name}"))

    def source_address(self, destination: Address) -> str:
        """Return our first address of the destination's family."""
        if destination[0] in self.addresses:
            return destination[0]
        six = ":" in destination[0]
        return next((own for own in self.addresses if (":" in own) == six), self.addresses[0])

    def run_in_thread(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """Run the function in a later turn of the same moment; fires or fails as it does."""
        done: Deferred[T] = Deferred()

        def run() -> None:
            try:
                result = function(*args)
            except Exception:
                done.errback()
            else:
                done.callback(result)

        self.clock.callLater(0, run)
        return done

    def _bindable(self, address: Address, taken: Any) -> Address:
        ip, port = address
        if ip not in ANY and ip not in self.addresses:
            raise OSError(errno.EADDRNOTAVAIL, f"{ip} is not an address of this host ({', '.join(self.addresses)})")
        if not port:
            return ip, self._free_port(taken, ip)
        if any(own in taken for own in self._covered(address)):
            raise OSError(errno.EADDRINUSE, f"port {port} of {ip} is taken")
        return address

    def _covered(self, address: Address) -> list[Address]:
        if address[0] not in ANY:
            return [address]
        six = address[0] == "::"
        return [(own, address[1]) for own in self.addresses if (":" in own) == six]

    def _free_port(self, taken: Any, ip: str) -> int:
        for _ in range(16384):
            port = self._next_port
            self._next_port = port + 1 if port < 65535 else 49152
            if not any(own in taken for own in self._covered((ip, port))):
                return port
        raise OSError(errno.EADDRINUSE, f"no free port on {ip}")

    def _close_port(self, port: SimulatedDatagramPort) -> None:
        for own in self._covered(port.address):
            del self.network._ports[own]

    def _close_listener(self, listener: SimulatedListener) -> None:
        for own in self._covered(listener.address):
            del self.network._listeners[own]

    def __repr__(self) -> str:
        return f"<host {self.addresses[0]}>"


@attrs.frozen
class ZoneEntry:
    """What the simulated DNS says about one name and kind of record; see `SimulatedNetwork.dns`."""

    records: tuple[Record, ...]
    ttl: float
    delay: float | None
    fails: bool


class SimulatedNetwork:
    """Hosts, the links between them, and the clock they all live by.

    ``delay``, ``jitter``, ``loss``, ``duplicate`` and ``reorder`` are those of every link that `link` was not called
    for (see `Link`). ``cut_streams`` cuts what is written to a stream at random places. ``half_close`` lets one end of
    a TCP connection stop writing and read on; with ``port_unreachable`` a host says that it has no such UDP port
    (ICMP), which the sender's port counts, as a real one does. All of these are off by default.

    ``names`` are the addresses in the DNS, by lower-case name; `dns` is for everything else. ``questions`` are the last
    ones asked: time, name, kind.

    ``events`` are the last messages of signalling that were sent, as `TraceEvent` with a note on those that were lost;
    ``media`` the last packets of RTP and RTCP as plain tuples (time, source, destination, bytes); ``counters`` counts
    everything. ``watchers`` are called with each of ``events``.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delay: float = 0.005,
        jitter: float = 0.0,
        loss: float = 0.0,
        duplicate: float = 0.0,
        reorder: float = 0.0,
        cut_streams: bool = False,
        half_close: bool = False,
        port_unreachable: bool = False,
    ) -> None:
        self.seed = seed
        self.clock = SimulatedClock()
        self.random = random.Random(f"{seed}/network")
        self.cut_streams = cut_streams
        self.half_close = half_close
        self.port_unreachable = port_unreachable
        self.resolve_delay = 0.001
        self.names: dict[str, list[str]] = {}
        self.questions: deque[tuple[float, str, RecordKind]] = deque(maxlen=MOST_MEDIA)
        self._zone: dict[tuple[str, RecordKind], ZoneEntry] = {}
        self.hosts: dict[str, SimulatedHost] = {}
        self.counters: Counter[str] = Counter()
        self.events: deque[TraceEvent] = deque(maxlen=MOST_EVENTS)
        self.media: deque[tuple[float, Address, Address, bytes]] = deque(maxlen=MOST_MEDIA)
        self.watchers: list[Callable[[TraceEvent], None]] = []
        self.packets = 0
        self._usual = Link(delay, jitter, loss, duplicate, reorder)
        self._nats: dict[str, Nat] = {}  # by public address
        self._behind: dict[str, Nat] = {}  # by private address
        self._links: dict[tuple[str, str], Link] = {}
        self._ports: dict[Address, SimulatedDatagramPort] = {}
        self._listeners: dict[Address, SimulatedListener] = {}
        self._streams: dict[SimulatedStream, None] = {}
        self._stream_ports: set[Address] = set()
        self._fingerprint = 0

    # Building

    def host(self, *addresses: str, name: str | None = None) -> SimulatedHost:
        """Return the host with these IP addresses, made when it is new; ``name`` becomes resolvable to them."""
        if not addresses:
            raise ValueError("a host needs an IP address")
        known = self.hosts.get(addresses[0])
        if known is None:
            for address in addresses:
                ip_address(address)
                if address in self.hosts:
                    raise ValueError(f"{address} belongs to another host already")
            known = SimulatedHost(self, addresses)
            self.hosts.update(dict.fromkeys(addresses, known))
        if name is not None:
            self.names[name.lower()] = list(known.addresses)
        return known

    def registrar(self, ip: str, users: Mapping[str, str], *, name: str | None = None, **settings: Any) -> Registrar:
        """Return a registrar and proxy on a host of its own, port 5060; for the ``settings`` see `Registrar`."""
        from telephony.testing.registrar import Registrar

        return Registrar(self.host(ip, name=name), (ip, 5060), users, **settings)

    def nat(self, ip: str, kind: str = "port-restricted", *, timeout: float = 30.0) -> Nat:
        """Return a NAT with this public address; hosts behind it are made by its `Nat.host`. For the rest see `Nat`."""
        from telephony.testing.nat import Nat

        if ip in self.hosts or ip in self._nats:
            raise ValueError(f"{ip} belongs to another host already")
        made = self._nats[ip] = Nat(self, ip, kind, timeout)
        return made

    def link(self, source: str, destination: str, *, both: bool = True, **settings: Any) -> Link:
        """Set what the link between two IP addresses is like, from now on; see `Link` for the ``settings``.

        What is not named keeps its value. ``both=False`` sets the one direction only. Returns the link from ``source``
        to ``destination``, whose attributes may be changed at any moment.
        """
        forth = self._own_link(source, destination)
        for one in (forth, self._own_link(destination, source)) if both else (forth,):
            for name, value in settings.items():
                if name not in ("delay", "jitter", "loss", "duplicate", "reorder", "up"):
                    raise TypeError(f"a link has no {name!r}")
                setattr(one, name, value)
        return forth

    def _own_link(self, source: str, destination: str) -> Link:
        link = self._links.get((source, destination))
        if link is None:
            u = self._usual
            link = Link(u.delay, u.jitter, u.loss, u.duplicate, u.reorder)
            self._links[source, destination] = link
        return link

    def partition(self, one: str, other: str) -> None:
        """Let nothing through between two IP addresses, either way, until `heal`; nobody is told."""
        self.link(one, other, up=False)

    def heal(self, one: str, other: str) -> None:
        """End a partition."""
        self.link(one, other, up=True)

    def reset_streams(self, one: str, other: str) -> int:
        """Break every TCP connection between two IP addresses: both ends see ConnectionLost. Returns how many."""
        found = [s for s in self._streams if (s.source[0], s.peer[0]) in ((one, other), (other, one))]
        for stream in found:
            stream._reset()
        return len(found) // 2

    def dns(
        self,
        name: str,
        kind: RecordKind,
        *records: Record,
        ttl: float = 300.0,
        delay: float | None = None,
        fails: bool = False,
    ) -> None:
        """Set what the DNS says about a name: addresses for A and AAAA, `Srv` or `Naptr` records; none: there are none.

        ``delay`` is how long the answer takes, in seconds (None: ``resolve_delay``). With ``fails`` there is no answer,
        after that time. What is set here counts in place of ``names``.
        """
        self._zone[name.lower().rstrip("."), kind] = ZoneEntry(records, ttl, delay, fails)

    # Time

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass; see `SimulatedClock.advance`."""
        self.clock.advance(seconds)

    def run_until(self, what: Deferred[T] | Callable[[], object], limit: float = 3600.0) -> T:
        """Let time pass until ``what`` has happened; see `SimulatedClock.run_until`."""
        return self.clock.run_until(what, limit)

    # Looking

    @property
    def fingerprint(self) -> int:
        """A checksum over everything that was sent so far, in order: the same for the same seed and the same calls."""
        return self._fingerprint

    def leftovers(self) -> list[str]:
        """Return a line for each timer still to run and each port, listener and stream still open."""
        lines = ["timer " + line for line in self.clock.leftovers()]
        lines += [repr(port) for port in dict.fromkeys(self._ports.values())]
        lines += [
            f"<TCP listener {one.address[0]}:{one.address[1]}>" for one in dict.fromkeys(self._listeners.values())
        ]
        return lines + [repr(stream) for stream in self._streams]

    # Carrying

    def _datagram(self, source: Address, data: bytes, destination: Address) -> None:
        self.packets += 1
        self._fingerprint = crc32(data, self._fingerprint)
        clock = self.clock
        carried, shown = source, destination
        if self._nats:
            carried, shown = self._translated(source, destination)
        link = self._links.get((source[0], shown[0]), self._usual)
        if data and 128 <= data[0] <= 191:
            self.media.append((clock._now, source, shown, data))
            if link.plain:
                clock.at(clock._now + link.delay, self._arrive, (carried, data, destination))
            else:
                self._carry(link, carried, data, destination)
            return
        note = "" if link.plain else self._carry(link, carried, data, destination)
        if link.plain:
            clock.at(clock._now + link.delay, self._arrive, (carried, data, destination))
        if self._nats and not self._reachable(source[0], destination[0]):
            note = "no route"
        self._note("UDP", source, shown, data, note)

    def _translated(self, source: Address, destination: Address) -> tuple[Address, Address]:
        """Return what a packet's source becomes behind a NAT, and whom it is for, for the link and what is shown."""
        inner = self._behind.get(source[0])
        carried = source
        if inner is not None and self._behind.get(destination[0]) is not inner:
            carried = inner.out(source, destination)
        outer = self._nats.get(destination[0])
        mapping = None if outer is None else outer.behind(destination)
        return carried, destination if mapping is None else mapping.inner

    def _routed(self, source: Address, destination: Address) -> Address | None:
        """Return where a packet goes in the end: through a NAT, or nowhere, to a private address from outside."""
        nat = self._nats.get(destination[0])
        if nat is not None:
            return nat.into(source, destination)
        if not self._reachable(source[0], destination[0]):
            self.counters["no route"] += 1
            return None
        return destination

    def _reachable(self, source: str, destination: str) -> bool:
        """Tell whether a host can be reached by its own address: not a private one from outside its NAT."""
        nat = self._behind.get(destination)
        return nat is None or self._behind.get(source) is nat

    def _carry(self, link: Link, source: Address, data: bytes, destination: Address) -> str:
        """Send a datagram over a link that is not plain; return what happened to it."""
        if not link.up:
            self.counters["partitioned"] += 1
            return "cut off"
        draw = self.random.random
        if link.loss and draw() < link.loss:
            self.counters["lost"] += 1
            return "lost"
        clock = self.clock
        note = ""
        if link.reorder and draw() < link.reorder:
            self.counters["reordered"] += 1
            note = "late"
            arrival = clock._now + link.delay * (2 + 2 * draw())
        else:
            arrival = clock._now + link.delay + (draw() * link.jitter if link.jitter else 0.0)
            link._last = arrival = max(arrival, link._last)
        clock.at(arrival, self._arrive, (source, data, destination))
        if link.duplicate and draw() < link.duplicate:
            self.counters["duplicated"] += 1
            note = "twice"
            clock.at(arrival + link.delay * draw(), self._arrive, (source, data, destination))
        return note

    def _arrive(self, source: Address, data: bytes, destination: Address) -> None:
        if self._nats:
            routed = self._routed(source, destination)
            if routed is None:
                return
            destination = routed
        port = self._ports.get(destination)
        if port is None:
            self.counters["no such port"] += 1
            if self.port_unreachable and destination[0] in self.hosts:
                arrival = self._segment_arrival(destination[0], source[0])
                if arrival is not None:
                    self.clock.at(arrival, self._unreachable, (destination, source))
        else:
            port.arrived(data, source)

    def _unreachable(self, source: Address, destination: Address) -> None:
        """Tell the port that sent something that there is no such port, if it is still there."""
        routed = self._routed(source, destination) if self._nats else destination
        port = None if routed is None else self._ports.get(routed)
        if port is not None:
            port.errors += 1

    def _note(self, transport: str, source: Address, destination: Address, data: bytes, note: str) -> None:
        event = TraceEvent(self.clock._now, source, destination, transport, masked(data), True, note)
        self.events.append(event)
        for watcher in self.watchers:
            watcher(event)

    def _note_stream(self, source: Address, destination: Address, data: bytes) -> None:
        self._fingerprint = crc32(data, self._fingerprint)
        self._note("TCP", source, destination, data, "")

    def _segment_arrival(self, source: str, destination: str) -> float | None:
        """Return when a TCP segment sent now arrives, or None when it is lost on the way."""
        link = self._links.get((source, destination), self._usual)
        if not link.up or (link.loss and self.random.random() < link.loss):
            self.counters["segments lost"] += 1
            return None
        return self.clock._now + link.delay + (self.random.random() * link.jitter if link.jitter else 0.0)

    def _carry_reset(self, source: SimulatedStream, destination: SimulatedStream) -> None:
        """Carry a TCP reset: sent once, lost like any segment."""
        arrival = self._segment_arrival(source.source[0], source.destination[0])
        if arrival is not None:
            self.clock.at(max(arrival, source._last_arrival), destination._reset, ())
