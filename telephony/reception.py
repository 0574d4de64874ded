"""Who gets an incoming call: patterns over the Request-URI's user part, and the calls that wait for a taker.

Owns: which of several patterns a called user part belongs to (``api.md`` section 7: the user part picks the service,
``"*"`` takes the rest), and, for a program that uses the library without the server, the calls that came and those who
wait for one. Runs on the loop. Must not know threads, futures or the server's configuration.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from telephony.call.constants import State
from telephony.call.verbs import check_seconds
from telephony.errors import Error
from telephony.interfaces import Address, Clock, DelayedCall
from telephony.sip.flow import Flow
from telephony.sip.message import Request
from telephony.sip.uri import SipUri, parse_uri

if TYPE_CHECKING:
    from telephony.call.channel import CallChannel
    from telephony.call.exchange import Exchange

_log = Logger()

#: What `Exchange.screen` returns to refuse a request: a status and header fields.
Refusal = tuple[int, list[tuple[str, str]]]

#: How many calls may wait for a taker under one pattern.
WAITING_LIMIT = 100
#: How long a call that comes before the program has said what it takes is kept for it.
EARLY_SECONDS = 5.0
RETRY_AFTER = ("Retry-After", "10")


def check_match(match: object) -> str:
    """Return ``match`` if it can be a pattern for user parts, else raise `Error`."""
    if not isinstance(match, str) or not match or match != match.strip():
        raise Error(
            f"match={match!r} matches nothing; give the user part that is called, like '3300', "
            "with '*' for any characters, or '*' alone for every call"
        )
    return match


def best_match(patterns: Iterable[str], user: str) -> str | None:
    """Return the pattern that ``user`` belongs to: itself, else the one with most fixed characters, else None.

    ``*``, ``?`` and ``[…]`` in a pattern mean what they mean in a shell. Of two equally good ones the first wins.
    """
    best: str | None = None
    for pattern in patterns:
        if pattern == user:
            return pattern
        if fnmatchcase(user, pattern) and (best is None or _fixed(pattern) > _fixed(best)):
            best = pattern
    return best


def _fixed(pattern: str) -> int:
    return sum(mark not in "*?[]" for mark in pattern)


def called_user(request: Request) -> str:
    """Return the user part of the Request-URI, "" without one."""
    uri = request.parsed_uri
    return (uri.user or "") if isinstance(uri, SipUri) else ""


def user_called_on(channel: CallChannel) -> str:
    """Return the user part that an incoming call was made to, "" without one."""
    uri = parse_uri(channel.Details.call_target or channel.Details.call_to)
    return (uri.user or "") if isinstance(uri, SipUri) else ""


class _Desk:
    """One pattern: either a function that takes each call, or callers and takers that wait for each other."""

    __slots__ = ("begin", "takers", "waiting")

    def __init__(self) -> None:
        self.begin: Callable[[CallChannel], None] | None = None
        self.takers: deque[Deferred[CallChannel | None]] = deque()
        self.waiting: deque[CallChannel] = deque()

    def live(self) -> int:
        """Drop the callers that have gone, and count the rest."""
        self.waiting = deque(one for one in self.waiting if one.state() is State.CALL_INCOMING)
        return len(self.waiting)


class Reception:
    """Hands the incoming calls of an `Exchange` to whoever asked for them.

    A program that has not asked for any call yet may be about to: such a call is kept for `EARLY_SECONDS`, then
    refused with 480. Once something has been asked for, calls that match nothing are refused with 404.
    """

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._clock = clock
        self._desks: dict[str, _Desk] = {}
        self._early: dict[CallChannel, DelayedCall] = {}
        self._asked = False
        self._closed = False
        exchange.screen = self.screen
        exchange.on_call = self.arrived

    def screen(self, request: Request, _flow: Flow) -> Refusal | None:
        """Refuse, before a channel is made, what nobody will take."""
        if self._closed:
            return 503, [RETRY_AFTER]
        if not self._asked:
            return None if len(self._early) < WAITING_LIMIT else (503, [RETRY_AFTER])
        pattern = best_match(self._desks, called_user(request))
        if pattern is None:
            return 404, []
        if self._desks[pattern].live() >= WAITING_LIMIT:
            return 503, [RETRY_AFTER]
        return None

    def arrived(self, channel: CallChannel) -> None:
        """Hand a call to its taker, or let it wait for one."""
        if not self._asked:
            self._early[channel] = self._clock.callLater(EARLY_SECONDS, self._nobody_came, channel)
            return
        pattern = best_match(self._desks, user_called_on(channel))
        if pattern is None:
            _consume(channel.reject(raw_cause="404"))
            return
        desk = self._desks[pattern]
        if desk.begin is not None:
            desk.begin(channel)
        elif desk.takers:
            desk.takers.popleft().callback(channel)
        else:
            desk.waiting.append(channel)

    def wait_for_call(self, match: str = "*", seconds_timeout: float | None = None) -> Deferred[CallChannel | None]:
        """Fire with the next call that ``match`` takes, in CALL_INCOMING; with None when the time is up.

        A call that came since the first wait for ``match`` is handed out at once, in the order of coming. Fails with
        `Error` for a bad pattern or limit, and when the phone is closed. Cancelling the Deferred ends the wait.
        """
        check_seconds("seconds_timeout", seconds_timeout)
        desk = self._desk(match)
        if desk.begin is not None:
            raise Error(f"calls to {match!r} are served by a function already; wait_for_call() would never see one")
        while desk.waiting:
            channel = desk.waiting.popleft()
            if channel.state() is State.CALL_INCOMING:
                done: Deferred[CallChannel | None] = Deferred()
                done.callback(channel)
                return done
        taker: Deferred[CallChannel | None] = Deferred(lambda gone: _discard(desk.takers, gone))
        desk.takers.append(taker)
        if seconds_timeout is not None:

            def too_late() -> None:
                _discard(desk.takers, taker)
                taker.callback(None)

            timer = self._clock.callLater(seconds_timeout, too_late)

            def tidy(result: CallChannel | None) -> CallChannel | None:
                if timer.active():
                    timer.cancel()
                return result

            taker.addBoth(tidy)
        return taker

    def serve(self, match: str, begin: Callable[[CallChannel], None]) -> None:
        """Have ``begin`` called, on the loop, with each call that ``match`` takes. Raises `Error` for a bad pattern."""
        desk = self._desk(match)
        if desk.begin is not None or desk.takers:
            raise Error(f"calls to {match!r} are taken already; serve another pattern, or stop serving this one first")
        desk.begin = begin
        while desk.waiting:
            channel = desk.waiting.popleft()
            if channel.state() is State.CALL_INCOMING:
                begin(channel)

    def stop_serving(self, match: str) -> None:
        """Take the function away again: calls to ``match`` are refused from now on. Harmless when repeated."""
        self._desks.pop(match, None)

    def close(self) -> None:
        """Take no more calls, and end every wait with an `Error`."""
        self._closed = True
        for timer in self._early.values():
            timer.cancel()
        self._early.clear()
        for desk in self._desks.values():
            while desk.takers:
                desk.takers.popleft().errback(Error("the phone has been closed; no call can come any more"))
        self._desks.clear()

    def _desk(self, match: str) -> _Desk:
        check_match(match)
        if self._closed:
            raise Error("the phone has been closed; no call can come any more")
        desk = self._desks.setdefault(match, _Desk())
        self._asked = True
        early, self._early = self._early, {}
        for channel, timer in early.items():
            timer.cancel()
            self.arrived(channel)
        return desk

    def _nobody_came(self, channel: CallChannel) -> None:
        del self._early[channel]
        _consume(channel.reject(raw_cause="480"))


def _discard(takers: deque[Deferred[CallChannel | None]], one: Deferred[CallChannel | None]) -> None:
    if one in takers:
        takers.remove(one)


def _consume(outcome: Deferred[State]) -> None:
    """Let a refusal of ours take its course: that the caller has gone meanwhile is no news."""
    outcome.addErrback(lambda _failure: None)


def open_exchange(make: Callable[[], Exchange], listen: Sequence[str]) -> tuple[Exchange, Reception, list[Address]]:
    """On the loop: make an exchange that listens, with a reception. Raises `Error`; nothing stays open then."""
    exchange = make()
    try:
        addresses = [listen_on(exchange, text) for text in listen]
    except BaseException:
        exchange.close()
        raise
    return exchange, Reception(exchange, exchange.host.clock), addresses


def listen_on(exchange: Exchange, text: str) -> Address:
    """Have an exchange listen; an OSError becomes an `Error` that names the listener."""
    try:
        return exchange.listen(text)
    except OSError as error:
        raise Error(f"can't listen on {text}: {error.strerror or error}") from error


def release(channel: CallChannel) -> None:
    """On the loop: end a call that its application has left behind; harmless when it is over."""
    channel.hang_up().addErrback(lambda failure: _log.failure("Releasing a call failed", failure=failure))
