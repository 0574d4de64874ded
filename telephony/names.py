"""The names of the real world: DNS through ``twisted.names``, the hosts file, and the system's resolver.

Owns: who is asked for which name, and the translation of DNS records to `telephony.interfaces`. Must not know SIP, nor
import a reactor: it is given one.

- A name in the hosts file is what the file says, and has no NAPTR or SRV records: whoever wrote it meant the address.
- A name without a dot, and one under ``.local``, goes to the system's resolver, which alone knows of search domains,
  multicast DNS and whatever else this machine is told to use.
- Everything else goes to the servers of resolv.conf, over UDP and, when an answer is too long, TCP.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from telephony.interfaces import Address, Answer, Naptr, Record, RecordKind, Srv

if TYPE_CHECKING:
    from twisted.names.client import Resolver

#: How long each name server is waited for, in seconds: all of them in turn, then once more.
PATIENCE = (1, 3)
#: For how many seconds what the hosts file or the system says is taken for granted.
LOCAL_TTL = 10.0
#: For how many seconds a name without records is, where the answer doesn't say (RFC 2308 5 has the server say it).
NEGATIVE_TTL = 30.0
#: How often resolv.conf is looked at, in seconds, while names are looked up.
LOOK_EVERY = 30.0
#: Longest name there is (RFC 1035 2.3.4), and longest label.
LONGEST_NAME, LONGEST_LABEL = 253, 63

DNS_PORT = 53


class Names:
    """Looks names up. ``system`` asks the system's resolver: a host name to addresses.

    ``servers`` are the name servers, for tests; without them those of ``resolv_conf``, read when first needed and again
    when the file has changed.
    """

    def __init__(
        self,
        reactor: Any,
        system: Callable[[str], Deferred[list[str]]],
        *,
        servers: Sequence[Address] | None = None,
        resolv_conf: str = "/etc/resolv.conf",
        hosts: str = "/etc/hosts",
    ) -> None:
        self._reactor = reactor
        self._system = system
        self._servers = servers
        self._resolv_conf = resolv_conf
        self._hosts = hosts
        self._resolver: Resolver | None = None
        self._looked = float("-inf")
        self._changed: float | None = None

    def lookup(self, name: str, kind: RecordKind) -> Deferred[Answer]:
        """See `telephony.interfaces.Host.lookup`."""
        name = name.rstrip(".").lower()
        labels = name.split(".")
        if not name.isascii() or len(name) > LONGEST_NAME or not all(0 < len(one) <= LONGEST_LABEL for one in labels):
            return succeed(Answer((), NEGATIVE_TTL))
        filed = self._filed(name)
        if filed:
            return succeed(Answer(_of_kind(filed, kind), LOCAL_TTL))
        if len(labels) == 1 or labels[-1] == "local":
            if kind not in ("A", "AAAA"):
                return succeed(Answer((), LOCAL_TTL))
            return self._system(name).addCallbacks(lambda found: Answer(_of_kind(found, kind), LOCAL_TTL), _unknown)
        return self._ask(name, kind)

    def _filed(self, name: str) -> list[str]:
        """Return the addresses that the hosts file has for a name."""
        from twisted.names.hosts import searchFileForAll
        from twisted.python.filepath import FilePath

        return list(searchFileForAll(FilePath(self._hosts), name.encode("ascii")))  # type: ignore[no-untyped-call]

    def _ask(self, name: str, kind: RecordKind) -> Deferred[Answer]:
        resolver: Any = self._current()
        wanted = name.encode("ascii")
        asked = {
            "A": resolver.lookupAddress,
            "AAAA": resolver.lookupIPV6Address,
            "SRV": resolver.lookupService,
            "NAPTR": resolver.lookupNamingAuthorityPointer,
        }[kind](wanted)
        # One of our own: Twisted's can't be cancelled while others wait for the same answer.
        answer: Deferred[Answer] = Deferred()

        def came(result: Any) -> None:
            if answer.called:
                return  # given up meanwhile
            try:
                answer.callback(_translated(result, kind, name))
            except OSError:
                answer.errback()

        asked.addBoth(came)
        return answer

    def _current(self) -> Resolver:
        """Return the resolver, made anew when the name servers have changed."""
        # Twisted's own way of following resolv.conf is a timer that runs for as long as the process does.
        now = self._reactor.seconds()
        if self._servers is None and now - self._looked >= LOOK_EVERY:
            self._looked = now
            try:
                changed: float | None = Path(self._resolv_conf).stat().st_mtime
            except OSError:
                changed = None
            if changed != self._changed:
                self._changed = changed
                self._resolver = None
        if self._resolver is None:
            from twisted.names.client import Resolver

            servers = list(self._servers if self._servers is not None else name_servers(self._resolv_conf))
            self._resolver = Resolver(servers=servers, timeout=PATIENCE, reactor=self._reactor)  # type: ignore[no-untyped-call]
        return self._resolver


def name_servers(path: str) -> list[Address]:
    """Return the name servers of a resolv.conf; the one on this machine where it names none, as resolv.conf(5) says."""
    found: list[Address] = []
    try:
        lines = Path(path).read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            found.append((words[1], DNS_PORT))
    return found[:3] or [("127.0.0.1", DNS_PORT)]


def _of_kind(addresses: Sequence[str], kind: RecordKind) -> tuple[str, ...]:
    """Return those addresses that a question for ``kind`` is answered with."""
    if kind not in ("A", "AAAA"):
        return ()
    return tuple(dict.fromkeys(one for one in addresses if (":" in one) == (kind == "AAAA")))


def _unknown(failure: Failure) -> Answer:
    """Tell a name that the system does not know from a system that can't say."""
    error = failure.value
    if isinstance(error, socket.gaierror) and error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)):
        return Answer((), LOCAL_TTL)
    raise OSError(f"the system can't say: {failure.getErrorMessage()}")


def _translated(result: Any, kind: RecordKind, name: str) -> Answer:
    """Return what a name server said in our words; OSError where it said nothing of use."""
    from twisted.names import dns
    from twisted.names.error import DNSNameError

    if isinstance(result, Failure):
        if isinstance(result.value, DNSNameError):
            message = getattr(result.value, "message", None)
            return Answer((), _negative_ttl(getattr(message, "authority", ())))
        what = result.getErrorMessage() if isinstance(result.value, OSError) else type(result.value).__name__
        raise OSError(f"no DNS answer for {name} ({kind}): {what}")
    answers, authority, _additional = result
    records: list[Record] = []
    ttl = float("inf")
    for one in answers:
        record = _record(one, kind, dns)
        if record is not None:
            records.append(record)
        ttl = min(ttl, one.ttl)  # an alias on the way counts too
    if not records:
        return Answer((), _negative_ttl(authority))
    return Answer(tuple(records), float(ttl))


def _record(header: Any, kind: RecordKind, dns: Any) -> Record | None:
    payload = header.payload
    if kind == "A" and header.type == dns.A:
        return str(payload.dottedQuad())
    if kind == "AAAA" and header.type == dns.AAAA:
        return socket.inet_ntop(socket.AF_INET6, payload.address)
    if kind == "SRV" and header.type == dns.SRV:
        return Srv(payload.priority, payload.weight, payload.port, _name(payload.target))
    if kind == "NAPTR" and header.type == dns.NAPTR:
        flags, service = (part.string.decode("ascii", "replace") for part in (payload.flags, payload.service))
        return Naptr(payload.order, payload.preference, flags, service, _name(payload.replacement))
    return None


def _name(name: Any) -> str:
    return str(name.name.decode("ascii", "replace")) or "."


def _negative_ttl(authority: Sequence[Any]) -> float:
    """Return for how long there is nothing (RFC 2308 5): the lower of the SOA's own time and its minimum."""
    for one in authority:
        minimum = getattr(one.payload, "minimum", None)
        if minimum is not None:
            return float(min(one.ttl, minimum))
    return NEGATIVE_TTL
