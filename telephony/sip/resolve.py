"""From a URI to the targets a request may be sent to (RFC 3263 4.1 and 4.2), and what is remembered on the way.

Owns: which questions are asked of the DNS, in which order; the cache of its answers; which targets are known to be of
no use for now. Must not know transactions or what is sent, nor in which order records are tried: `sip.targets` does.

Where the RFC leaves room:

- ``sip:`` without ``;transport=``, port or records goes over UDP where we listen there, else over what we listen to.
- Names without a dot have no NAPTR or SRV records and aren't asked for any; ``localhost`` is asked of nobody (RFC 6761
  6.3). IPv4 addresses come before IPv6 ones, each only where a listener of ours can reach it.
- A NAPTR or SRV question without an answer counts as one without records: the name's own address may still do.
- SRV records for several transports are tried one transport after the other, in the order of our listeners.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.python.failure import Failure

from telephony.host import is_address
from telephony.interfaces import Address, Answer, Clock, Host, Naptr, RecordKind, Srv
from telephony.sip.targets import DEFAULT_PORTS, SERVICES, SRV_PREFIX, Target, order_srv, usable_naptr
from telephony.sip.uri import SipUri

T = TypeVar("T")

#: How many answers are remembered, and for how long at most, in seconds.
CACHE_SIZE = 1024
LONGEST_TTL = 86_400.0
LONGEST_NEGATIVE_TTL = 300.0
#: How many targets one request may have, and how many SRV records of one answer are looked at.
MAX_TARGETS = 16
MAX_SRV = 8
#: How many targets are remembered as down; how long one is that was silent or could not be reached, and how long at
#: most one that said so itself (503 with Retry-After), in seconds.
DOWN_SIZE = 1024
SILENT_FOR = 30.0
LONGEST_RETRY_AFTER = 3600.0

LOCALHOST = {"A": "127.0.0.1", "AAAA": "::1"}


class NoWay(Exception):  # noqa: N818 - it says what was found
    """A URI leads nowhere that we can send to; the text says why."""


class NameCache:
    """Answers of the DNS for as long as they hold, the least recently used dropped first; one question at a time each.

    Failures are not remembered: who asks again may have an answer.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._known: OrderedDict[tuple[str, str], tuple[float, Answer]] = OrderedDict()
        self._asked: dict[tuple[str, str], tuple[Deferred[Answer], list[Deferred[Answer]]]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def lookup(self, name: str, kind: RecordKind) -> Deferred[Answer]:
        """See `telephony.interfaces.Host.lookup`."""
        name = name.lower().rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return succeed(Answer((LOCALHOST[kind],) if kind in LOCALHOST else (), LONGEST_TTL))
        key = name, kind
        known = self._known.get(key)
        if known is not None:
            if known[0] > self._host.clock.seconds():
                self._known.move_to_end(key)
                return succeed(known[1])
            del self._known[key]
        waiting: Deferred[Answer] = Deferred(lambda gone: self._given_up(key, gone))
        asked = self._asked.get(key)
        if asked is not None:
            asked[1].append(waiting)
            return waiting
        question = self._host.lookup(name, kind)
        self._asked[key] = question, [waiting]
        question.addCallback(self._remember, key)
        question.addBoth(self._tell, key)
        return waiting

    def _remember(self, answer: Answer, key: tuple[str, str]) -> Answer:
        ttl = min(answer.ttl, LONGEST_TTL if answer.records else LONGEST_NEGATIVE_TTL)
        if ttl > 0:
            while len(self._known) >= CACHE_SIZE:
                self._known.popitem(last=False)
            self._known[key] = self._host.clock.seconds() + ttl, answer
        return answer

    def _tell(self, result: Answer | Failure, key: tuple[str, str]) -> None:
        entry = self._asked.pop(key, None)
        for waiting in entry[1] if entry is not None else ():
            if isinstance(result, Failure):
                waiting.errback(result)
            else:
                waiting.callback(result)

    def _given_up(self, key: tuple[str, str], gone: Deferred[Answer]) -> None:
        entry = self._asked.get(key)
        if entry is None:
            return
        question, waiting = entry
        if gone in waiting:
            waiting.remove(gone)
        if not waiting:
            # Nobody wants to know any more. What it says to that is of no interest either.
            del self._asked[key]
            question.addErrback(lambda _failure: None)
            question.cancel()


class DownTargets:
    """Which targets are of no use for now (RFC 3263 4.3, RFC 3261 21.5.4), the first to be back forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[tuple[str, Address], tuple[float, bool]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def failed(self, target: Target) -> None:
        """Note that a target was silent or can't be reached: others are tried before it, for a while."""
        self._note(target, SILENT_FOR, False)

    def asked_for(self, target: Target, seconds: float) -> None:
        """Note that a target wants to be left alone for so many seconds (503 with Retry-After)."""
        if seconds > 0:
            self._note(target, min(seconds, LONGEST_RETRY_AFTER), True)

    def answered(self, target: Target) -> None:
        """Note that a target is there."""
        known = self._until.get(target.key)
        if known is not None and not known[1]:
            del self._until[target.key]

    def _note(self, target: Target, seconds: float, asked: bool) -> None:
        now = self._clock.seconds()
        self._until.pop(target.key, None)
        if len(self._until) >= DOWN_SIZE:
            self._until = {key: known for key, known in self._until.items() if known[0] > now}
        if len(self._until) >= DOWN_SIZE:
            del self._until[min(self._until, key=lambda key: self._until[key][0])]
        self._until[target.key] = now + seconds, asked

    def sort(self, targets: Iterable[Target]) -> list[Target]:
        """Return targets as they are to be tried: the silent ones last, without those that want to be left alone.

        Those are left in where there are no others: that one call more is asked of them beats no call.
        """
        now = self._clock.seconds()
        up: list[Target] = []
        silent: list[Target] = []
        alone: list[Target] = []
        for one in targets:
            until, asked = self._until.get(one.key, (now, False))
            if until <= now:
                up.append(one)
            else:
                (alone if asked else silent).append(one)
        return up + silent or alone


class Locator:
    """Finds the targets of URIs for one user agent.

    ``listens`` returns the transports we can use towards IPv6 (True) or IPv4 (False), in our order of preference;
    ``seconds`` is how long all questions for one URI may take together.
    """

    def __init__(self, host: Host, listens: Callable[[bool], Sequence[str]], seconds: float) -> None:
        self._host = host
        self._listens = listens
        self._seconds = seconds
        self.cache = NameCache(host)

    def locate(self, uri: SipUri, usual: str | None = None) -> Deferred[list[Target]]:
        """Find the targets of a URI, best first, at least one and each once.

        ``usual`` is the transport of the flow so far, for a URI in a dialog that names none. Fires at once for an IP
        address; fails with `NoWay`. Cancelling the Deferred ends the search.
        """
        try:
            host, transport = self._read(uri)
            if is_address(host):
                six = ":" in host
                transport = transport or self._default(self._listens(six), usual)
                if transport not in self._listens(six):
                    raise NoWay(f"no {transport} listener of ours can reach {host}")
                return succeed([Target(transport, (host, uri.port or DEFAULT_PORTS[transport]), host)])
        except NoWay:
            return fail()
        search = Deferred.fromCoroutine(self._search(uri, host, transport, usual))
        if search.called:
            return search
        timer = self._host.clock.callLater(self._seconds, search.cancel)

        def over(result: T) -> T:
            if timer.active():
                timer.cancel()
            elif isinstance(result, Failure):
                raise NoWay(f"no DNS answer for {host} within {self._seconds:g} s")
            return result

        return search.addBoth(over)

    def _read(self, uri: SipUri) -> tuple[str, str | None]:
        """Return the host that counts, and the transport that the URI itself demands."""
        host = (uri.params.get("maddr") or uri.host).strip("[]").rstrip(".")
        transport = uri.transport.upper() if uri.transport is not None else None
        if transport is not None and transport not in DEFAULT_PORTS:
            raise NoWay(f"transport {transport[:20]} does not exist here")
        if uri.scheme == "sips":
            # RFC 3261 26.2.2: sips: means TLS, whatever ;transport= says about what is below it.
            if transport == "UDP":
                raise NoWay("sips: can't go over UDP")
            transport = "TLS"
        if transport is not None and transport not in self._transports():
            needs = "sips: needs" if uri.scheme == "sips" else f"transport {transport} needs"
            raise NoWay(f"{needs} a listener of ours for it, and there is none")
        return host, transport

    def _transports(self) -> list[str]:
        return list(dict.fromkeys([*self._listens(False), *self._listens(True)]))

    def _default(self, transports: Sequence[str], usual: str | None) -> str:
        if usual in transports and usual is not None:
            return usual
        return "UDP" if "UDP" in transports or not transports else transports[0]

    async def _search(self, uri: SipUri, host: str, transport: str | None, usual: str | None) -> list[Target]:
        targets: list[Target] = []
        if uri.port is None and "." in host:
            targets = await self._by_records(host, uri, transport)
        if not targets:
            chosen = transport or self._default(self._transports(), usual)
            port = uri.port or DEFAULT_PORTS[chosen]
            targets = [Target(chosen, (one, port), uri.host) for one in await self._addresses(host, chosen)]
        return list(dict.fromkeys(targets))[:MAX_TARGETS]

    async def _by_records(self, host: str, uri: SipUri, transport: str | None) -> list[Target]:
        """Return the targets that NAPTR and SRV records name; none where there are no such records."""
        questions: list[tuple[str, str]] = []  # a transport, and a name with SRV records
        plain: list[tuple[str, str]] = []  # a transport, and a name with addresses
        if transport is None:
            naptr = await _or_nothing(self.cache.lookup(host, "NAPTR"))
            found = [one for one in naptr.records if isinstance(one, Naptr)]
            for one in usable_naptr(found, self._transports(), uri.scheme == "sips"):
                kind = SERVICES[one.service.upper()]
                (questions if one.flags.lower() == "s" else plain).append((kind, one.replacement))
        if not questions and not plain:
            for kind in [transport] if transport is not None else self._transports():
                if kind != "TLS" or transport is not None:
                    questions.append((kind, SRV_PREFIX[kind] + host))
        answers = await _all([_or_nothing(self.cache.lookup(name, "SRV")) for _kind, name in questions])
        refused = False
        wanted: list[tuple[str, str, int]] = [(kind, name, DEFAULT_PORTS[kind]) for kind, name in plain]
        for (kind, _name), answer in zip(questions, answers, strict=True):
            records = [one for one in answer.records if isinstance(one, Srv)]
            refused = refused or bool(records)
            for srv in order_srv(records, self._host.random)[:MAX_SRV]:
                wanted.append((kind, srv.target, srv.port))
        if not wanted:
            if refused:
                over = transport or "any transport of ours"
                raise NoWay(f"{host} says by its SRV records that it takes no calls over {over}")
            return []
        looked = await _all([_or_no_addresses(self._addresses(name, kind)) for kind, name, _port in wanted])
        targets = [
            Target(kind, (address, port), uri.host)
            for (kind, _name, port), addresses in zip(wanted, looked, strict=True)
            for address in addresses
        ]
        if not targets:
            raise NoWay(f"the servers that DNS names for {host} have no address that we can reach")
        return targets

    async def _addresses(self, name: str, transport: str) -> list[str]:
        """Return the addresses of a name that we can reach over a transport, IPv4 first."""
        name = name.rstrip(".")
        if is_address(name):  # seen in SRV records, though RFC 2782 wants a name
            return [name] if transport in self._listens(":" in name) else []
        kinds: list[RecordKind] = []
        if transport in self._listens(False):
            kinds.append("A")
        if transport in self._listens(True):
            kinds.append("AAAA")
        if not kinds:
            raise NoWay(f"no {transport} listener of ours can reach {name}")
        answers = await _all([_or_error(self.cache.lookup(name, kind)) for kind in kinds])
        found = [str(one) for answer in answers if isinstance(answer, Answer) for one in answer.records]
        if not found:
            errors = [str(answer) for answer in answers if isinstance(answer, OSError)]
            raise NoWay(f"{name} can't be looked up: {errors[0]}" if errors else f"no such host name: {name}")
        return found


async def _or_nothing(asked: Deferred[Answer]) -> Answer:
    try:
        return await asked
    except OSError:
        return Answer((), 0)


async def _or_error(asked: Deferred[Answer]) -> Answer | OSError:
    try:
        return await asked
    except OSError as error:
        return error


async def _or_no_addresses(asked: Coroutine[Any, Any, list[str]]) -> list[str]:
    try:
        return await asked
    except NoWay:
        return []


async def _all(asked: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Wait for several answers that are looked for at the same time; none of them fails but by being cancelled."""
    return await gatherResults([Deferred.fromCoroutine(one) for one in asked], consumeErrors=True)
