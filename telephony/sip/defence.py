"""What strangers may cost: how much of them is listened to, how often they are answered, and when no more at all.

Owns: the sources of requests with what they have left (`Defence`), the sources that are banned, and whether this
machine keeps up. Must not know who is admitted, nor sockets: the user agent tells what it answered, and asks. Time
comes from the clock it is given.

A *source* is an IPv4 address, or the /64 of an IPv6 one, which is what one subscriber gets. Sources are of two kinds:

- *friends*: who has shown a password, and whom we have called and who answered. They may send ten times as much as
  strangers and are never banned: over UDP anybody could write their address on a datagram. Trunks send as much as they
  like, and get every answer.
- *strangers*: everybody else. Each refusal of what a stranger sends counts as an offence, by `OFFENCES`; too many of
  them in a minute, or the name of a tool that only scanners use, and nothing of it is read for a while.

Who is refused is not told more than that, and not at any rate: an answer goes to an address that nobody has shown to
be the sender's, so that many answers would be an attack on somebody else, with us as the means.

What a loopback address sends comes from this machine and is not limited here.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict

import attrs
from twisted.logger import Logger

from telephony.interfaces import Clock, DelayedCall
from telephony.sip.admission import PATIENCE
from telephony.sip.message import Request

#: How many strangers, friends and bans there can be at a time; the one that is longest ago makes room.
MAX_SOURCES = 16_384
MAX_FRIENDS = 16_384
MAX_BANS = 16_384
#: A friend may send so many times as much as a stranger, and stays a friend for so many seconds after the last sign.
FRIENDS_RATE = 10
FRIENDS_FOR = 3600.0
NOBODY = (0.0, False)
#: How many seconds' worth of requests may come at once.
BURST_SECONDS = 5.0
#: How many refusals a source gets a second, and at once; after that it is refused in silence.
REFUSALS_PER_SECOND = 1.0
REFUSALS_AT_ONCE = 10
#: The time over which offences are counted, in seconds.
WINDOW = 60.0
#: How late this machine may be, in seconds, before new calls are put off; how often that is looked at while calls
#: come in, and for how long the last look holds.
TOO_LATE = 0.5
LOOK_EVERY = 0.25
LOOK_HOLDS = 2.0

#: How much each refusal counts. A challenge alone is no offence, every phone gets it, nor is an OPTIONS, by which many
#: a device looks every half a minute whether we are there; but who asks one after the other is looking for names.
OFFENCES = {
    "refused": 1.0,
    "wrong password": 1.0,
    "unanswered challenge": 0.25,
    "probe": 0.25,
    "garbage": 0.5,
    "no such dialog": 0.1,
}
#: What tools call themselves that are used to find servers and passwords, in lower case. Others take the name of some
#: phone; they are known by what they do.
SCANNERS = (
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sundayddr",
    "sip-scan",
    "sipscan",
    "sivus",
    "smap",
    "iwar",
    "pplsip",
    "sipcli",
)


@attrs.frozen
class Limits:
    """How much is taken: requests a second of one source and of all strangers, offences before a ban, its seconds.

    ``ban_after`` 0: nobody is ever banned. ``new_call_seconds`` is how long any new call may wait for its turn before
    it is refused for want of time (`telephony.sip.admission`); 0: for ever.
    """

    source_requests_per_second: float = 20.0
    requests_per_second: float = 500.0
    ban_after: int = 10
    ban_seconds: float = 600.0
    new_call_seconds: float = PATIENCE


#: No limits at all: for a network where everybody is known, and for tests of what lies behind.
UNLIMITED = Limits(1e9, 1e9, 0)


class Bucket:
    """Tokens that come back with time; ``full`` is how many there are at most."""

    __slots__ = ("_at", "_left", "full", "rate")

    def __init__(self, rate: float, full: float, now: float) -> None:
        self.rate = rate
        self.full = full
        self._left = full
        self._at = now

    def has(self, now: float) -> bool:
        """Tell whether there is a token."""
        return self._left >= 1 or self._left + (now - self._at) * self.rate >= 1

    def take(self, now: float, count: float = 1.0) -> bool:
        """Take so many tokens if they are there."""
        left = min(self.full, self._left + (now - self._at) * self.rate)
        self._at = now
        if left < count:
            self._left = left
            return False
        self._left = left - count
        return True


class _Source:
    """What one source has left."""

    __slots__ = ("offences", "refusals", "requests")

    def __init__(self, limits: Limits, now: float) -> None:
        rate = limits.source_requests_per_second
        self.requests = Bucket(rate, rate * BURST_SECONDS, now)
        self.refusals = Bucket(REFUSALS_PER_SECOND, REFUSALS_AT_ONCE, now)
        self.offences = Bucket(limits.ban_after / WINDOW, limits.ban_after, now)


class Defence:
    """The limits of one user agent. ``counters`` gets ``requests_dropped``, ``bans``, ``banned_dropped`` and more."""

    log = Logger()

    def __init__(self, clock: Clock, counters: Counter[str], limits: Limits | None = None) -> None:
        self._clock = clock
        self._counters = counters
        self.limits = limits if limits is not None else Limits()
        now = clock.seconds()
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        #: Until when, and whether it is a trunk.
        self._friends: OrderedDict[str, tuple[float, bool]] = OrderedDict()
        self._bans: OrderedDict[str, float] = OrderedDict()
        self._strangers = self._all_strangers(now)
        self._answers = self._all_answers(now)
        self._probe: DelayedCall | None = None
        self._due = 0.0
        #: By how much the last look was late, and the lesser of the last two.
        self._last = 0.0
        self._late = 0.0
        self._looked = float("-inf")

    def configure(self, limits: Limits) -> None:
        """Take other limits; what is known of sources is forgotten, bans stay."""
        self.limits = limits
        self._sources.clear()
        now = self._clock.seconds()
        self._strangers, self._answers = self._all_strangers(now), self._all_answers(now)

    def _all_strangers(self, now: float) -> Bucket:
        return Bucket(self.limits.requests_per_second, self.limits.requests_per_second * BURST_SECONDS, now)

    def _all_answers(self, now: float) -> Bucket:
        # Twice as many: those who are put off are to be told so, as long as that is no flood of its own.
        rate = 2 * self.limits.requests_per_second
        return Bucket(rate, rate * BURST_SECONDS, now)

    # What is asked

    def shuns(self, address: str, response: bool = False) -> bool:
        """Tell whether what comes from an address is to be dropped unread: it is banned, or has sent too much.

        A ``response`` costs nothing, before it is known to be an answer to nothing: see `stray`.
        """
        key = source_of(address)
        if key is None:
            return False
        now = self._clock.seconds()
        if self._friends.get(key, NOBODY)[1] and self._is_friend(key, now):
            return False
        until = self._bans.get(key)
        if until is not None:
            if until > now:
                self._counters["banned_dropped"] += 1
                return True
            del self._bans[key]
        requests = self._source(key, now).requests
        if requests.has(now) if response else requests.take(now, self._cost(key, now)):
            return False
        self._counters["source_dropped"] += 1
        return True

    def too_many(self, address: str) -> bool:
        """Tell whether there is no room for a new call or registration of a stranger: all of them ask too often."""
        key = source_of(address)
        if key is None:
            return False
        now = self._clock.seconds()
        if self._is_friend(key, now) or self._strangers.take(now):
            return False
        self._counters["strangers_put_off"] += 1
        return True

    def answers(self, address: str) -> bool:
        """Tell whether a source gets another refusal now, or silence; all strangers share what there is of answers."""
        key = source_of(address)
        if key is None:
            return True
        now = self._clock.seconds()
        until, trunk = self._friends.get(key, NOBODY)
        if trunk and until > now:
            return True  # who brings many calls must be told of each that isn't taken, or it repeats them all
        if self._source(key, now).refusals.take(now, self._cost(key, now)) and (
            self._is_friend(key, now) or self._answers.take(now)
        ):
            return True
        self._counters["refused_in_silence"] += 1
        return False

    def is_banned(self, address: str) -> bool:
        """Tell whether an address is banned."""
        return self._bans.get(source_of(address) or "", 0.0) > self._clock.seconds()

    def late(self) -> bool:
        """Tell whether this machine keeps being too late with its work for more of it; once is just a hiccup."""
        if self._late > TOO_LATE and self._clock.seconds() - self._looked < LOOK_HOLDS:
            self._counters["put_off_late"] += 1
            return True
        return False

    def look(self) -> None:
        """Look in a moment whether this machine keeps up; asked for with each call that gets in."""
        if self._probe is None:
            self._due = self._clock.seconds() + LOOK_EVERY
            self._probe = self._clock.callLater(LOOK_EVERY, self._probed)

    def _probed(self) -> None:
        self._probe = None
        self._looked = self._clock.seconds()
        last, self._last = self._last, self._looked - self._due
        self._late = min(last, self._last)

    # What is told

    def welcome(self, address: str, trunk: bool = False) -> None:
        """Take note that a source is what it says: it has shown a password, or answered what we sent there.

        A ``trunk`` is read whatever it sends, as long as it goes on to be welcome.
        """
        key = source_of(address)
        if key is None:
            return
        now = self._clock.seconds()
        until, was_trunk = self._friends.pop(key, NOBODY)
        if len(self._friends) >= MAX_FRIENDS:
            self._friends.popitem(last=False)
        self._friends[key] = now + FRIENDS_FOR, trunk or (was_trunk and until > now)

    def stray(self, address: str) -> None:
        """Take note of a response to nothing of ours: that costs as much as a request."""
        key = source_of(address)
        if key is not None:
            now = self._clock.seconds()
            self._source(key, now).requests.take(now, self._cost(key, now))

    def refused(self, address: str, request: Request | None, status: int, stale: bool = False) -> bool:
        """Take note of a refusal, or another answer to somebody unknown; returns whether it is to be sent."""
        offence = _offence(request, status, stale)
        if offence is not None and self.offended(address, offence):
            return False
        return self.answers(address)

    def offended(self, address: str, offence: str) -> bool:
        """Take note of an offence; returns whether the source is banned for it."""
        key = source_of(address)
        if key is None:
            return False
        now = self._clock.seconds()
        self._counters["offences"] += 1
        if self._is_friend(key, now) or not self.limits.ban_after:
            return False
        if self._source(key, now).offences.take(now, OFFENCES[offence]):
            return False
        self._ban(key, now, f"the last of its offences: {offence}")
        return True

    def scans(self, address: str, request: Request) -> bool:
        """Tell whether a request calls itself a scanner's; a stranger is banned for that at once."""
        agent = request.get("User-Agent")
        if agent is None:
            return False
        agent = agent.lower()
        if not any(name in agent for name in SCANNERS):
            return False
        key = source_of(address)
        if key is None or not self.limits.ban_after:
            return False
        now = self._clock.seconds()
        if self._is_friend(key, now):
            return False
        self._counters["scanners"] += 1
        self._ban(key, now, "its requests are those of a scanner")
        return True

    def close(self) -> None:
        """Stop looking."""
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    @property
    def sizes(self) -> dict[str, int]:
        """How many sources and bans there are."""
        return {"sources": len(self._sources), "friends": len(self._friends), "bans": len(self._bans)}

    # The works

    def _source(self, key: str, now: float) -> _Source:
        source = self._sources.get(key)
        if source is None:
            if len(self._sources) >= MAX_SOURCES:
                self._sources.popitem(last=False)
                self._counters["sources_forgotten"] += 1
            source = self._sources[key] = _Source(self.limits, now)
        else:
            self._sources.move_to_end(key)
        return source

    def _is_friend(self, key: str, now: float) -> bool:
        return self._friends.get(key, NOBODY)[0] > now

    def _cost(self, key: str, now: float) -> float:
        return 1.0 / FRIENDS_RATE if self._is_friend(key, now) else 1.0

    def _ban(self, key: str, now: float, why: str) -> None:
        while len(self._bans) >= MAX_BANS:
            self._bans.popitem(last=False)
            self._counters["bans_forgotten"] += 1
        self._bans.pop(key, None)
        self._bans[key] = now + self.limits.ban_seconds
        self._counters["bans"] += 1
        self.log.warn(
            "Nothing that comes from {source} is read for {seconds:g} s: {why}",
            source=key,
            seconds=self.limits.ban_seconds,
            why=why,
        )


def source_of(address: str) -> str | None:
    """Return what a source is called: an IPv4 address, or the /64 of an IPv6 one; None for loopback."""
    if ":" not in address:
        return None if address.startswith("127.") else address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        return source_of(str(ip.ipv4_mapped))
    if ip.is_loopback:
        return None
    return f"{ipaddress.IPv6Address(int(ip) >> 64 << 64)}/64"


def _offence(request: Request | None, status: int, stale: bool) -> str | None:
    """Return what a refusal says of who sent the request; None when nothing."""
    if request is None:
        return "garbage"
    if status in (401, 407):
        if not (request.has("Authorization") or request.has("Proxy-Authorization")):
            return "unanswered challenge"
        return None if stale else "wrong password"
    if request.method == "OPTIONS" and status == 200:
        return "probe"
    if status == 481:
        return "no such dialog"
    if status == 400 or status == 505:
        return "garbage"
    return "refused" if status in (403, 404, 405, 410, 484, 501, 604) else None
