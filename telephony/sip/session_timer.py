"""Session timers: that both ends of a dialog know the other is still there (RFC 4028).

Owns: what Session-Expires and Min-SE say in our requests and responses, who refreshes, when a refresh is due, and when
the session counts as over. Must not know how a refresh is made, nor what becomes of an expired session: it is given a
call for each. One delayed call per session, only while a timer has been agreed on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Clock, DelayedCall
from telephony.sip.grammar import parse_parameters
from telephony.sip.headers import parse_number
from telephony.sip.message import Message, Request, Response

OPTION = "timer"
#: No interval is ever shorter (RFC 4028 4).
SHORTEST = 90
#: Seconds before the end at which the side that hears nothing hangs up, or a third of the interval if that is less.
LEAD = 32.0
_MOST = 2**31 - 1


def session_expires(message: Message) -> tuple[int, str | None] | None:
    """Return the seconds and the refresher ("uac", "uas" or None) in Session-Expires; None where there is none.

    RemoteProtocolError (400) for what can't be read.
    """
    text = message.get("Session-Expires")
    if text is None:
        return None
    seconds, semicolon, rest = text.partition(";")
    refresher = (parse_parameters(semicolon + rest).get("refresher") or "").lower()
    return parse_number(seconds.strip(), _MOST), refresher if refresher in ("uac", "uas") else None


def min_se(message: Message) -> int:
    """Return the seconds in Min-SE, `SHORTEST` where it is missing (RFC 4028 5); RemoteProtocolError (400)."""
    text = message.get("Min-SE")
    return SHORTEST if text is None else max(SHORTEST, parse_number(text.partition(";")[0].strip(), _MOST))


def refusal(request: Request, least: int) -> tuple[int, list[tuple[str, str]]] | None:
    """Return the 422 for an INVITE or UPDATE whose interval is below ``least`` seconds (RFC 4028 9); None to go on.

    Whoever doesn't speak of ``timer`` itself would not understand it: a proxy has put the header there. Raises
    RemoteProtocolError (400) for headers that can't be read.
    """
    if request.method not in ("INVITE", "UPDATE"):
        return None
    asked = session_expires(request)
    min_se(request)
    if asked is None or asked[0] >= least or OPTION not in request.supported:
        return None
    return 422, [("Min-SE", str(least))]


class SessionTimer:
    """The timer of one dialog. ``interval`` is what was agreed on, in seconds, 0 for none; ``ours``: we refresh.

    ``wanted`` is the interval that we ask for ourselves, 0 for none; ``least`` the shortest one we take. ``refresh``
    is called at half of the interval where it is ours, ``expired`` when nothing has refreshed the session in time.
    """

    __slots__ = ("_call", "_clock", "_deadline", "_expired", "_least", "_refresh", "_wanted", "interval", "ours")

    def __init__(
        self, clock: Clock, wanted: int, least: int, refresh: Callable[[], None], expired: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._wanted = wanted
        self._least = least
        self._refresh = refresh
        self._expired = expired
        self._call: DelayedCall | None = None
        self._deadline = 0.0
        self.interval = 0
        self.ours = False

    # Our requests

    def asks(self, *, initial: bool = False) -> Sequence[tuple[str, str]]:
        """Return what an INVITE or UPDATE of ours says of the timer (RFC 4028 7.1, 7.4)."""
        seconds = self._wanted if initial else self.interval
        if not seconds:
            return ()
        # The first INVITE leaves the choice to the far end; after that roles stay as they are.
        refresher = "" if initial else ";refresher=uac" if self.ours else ";refresher=uas"
        least = max(self._least, SHORTEST)
        return ("Session-Expires", f"{max(seconds, least)}{refresher}"), ("Min-SE", str(least))

    def refreshed(self, response: Response, *, initial: bool = False) -> None:
        """Take a 2xx to an INVITE or UPDATE of ours (RFC 4028 7.2)."""
        try:
            said = session_expires(response)
        except RemoteProtocolError:
            said = None
        if said is not None:
            seconds, refresher = said
            self._run(max(seconds, SHORTEST), refresher != "uas")
        elif self.interval and self.ours and not initial:
            # It says that the session doesn't expire any more. To go on refreshing harms nobody, and many forget it.
            self._run(self.interval, True)
        else:
            self.stop()

    def too_brief(self, request: Request, response: Response) -> bool:
        """Take a 422; tell whether the request is to be sent again with the interval that is now known (7.3)."""
        try:
            said, least = session_expires(request), min_se(response)
        except RemoteProtocolError:
            return False
        if said is None or said[0] >= least:
            return False
        self._least = max(self._least, least)
        if self.interval:
            self.interval = max(self.interval, least)
        return True

    # Their requests

    def answers(self, request: Request) -> Sequence[tuple[str, str]]:
        """Take an INVITE or UPDATE that is about to get a 2xx; return what that says of the timer (RFC 4028 9)."""
        try:
            asked, least = session_expires(request), min_se(request)
        except RemoteProtocolError:  # refused before it came here
            return ()
        speaks = OPTION in request.supported or OPTION in request.require
        seconds = self.interval or self._wanted
        refresher = None
        if asked is not None:
            # It may be made shorter, but not than the other side's own minimum.
            seconds = min(asked[0], max(seconds, least)) if seconds else asked[0]
            refresher = asked[1]
        elif seconds:
            seconds = max(seconds, least)
        else:
            return ()
        if not speaks:
            refresher = "uas"
        elif refresher is None:
            refresher = "uas" if self.interval and self.ours else "uac"
        self._run(max(seconds, SHORTEST), refresher == "uas")
        said = ("Session-Expires", f"{seconds};refresher={refresher}")
        return (("Require", OPTION), said) if speaks else (said,)

    # Time

    def _run(self, seconds: int, ours: bool) -> None:
        """Begin the interval anew."""
        self.stop()
        self.interval, self.ours = seconds, ours
        wait = seconds - min(LEAD, seconds / 3)
        self._deadline = self._clock.seconds() + wait
        self._call = self._clock.callLater(seconds / 2 if ours else wait, self._half if ours else self._over)

    def _half(self) -> None:
        self._call = self._clock.callLater(max(0.0, self._deadline - self._clock.seconds()), self._over)
        self._refresh()

    def _over(self) -> None:
        self._call = None
        self.interval = 0
        self._expired()

    def stop(self) -> None:
        """Stop: the session is over, or doesn't expire any more. Idempotent."""
        self.interval = 0
        if self._call is not None:
            self._call.cancel()
            self._call = None
