"""A phone's session timer (RFC 4028), as either side and as either refresher.

Owns: Session-Expires and Min-SE in what is sent, who refreshes and when, and the end of a session that nobody does
refresh. Must not know dialogs; the call sends what has to be sent. It shares no code with the product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from telephony.interfaces import DelayedCall
from telephony.sip.grammar import Parameters, parse_parameters
from telephony.sip.message import Message, Request, Response, respond

if TYPE_CHECKING:
    from telephony.testing.phone_call import PhoneCall

#: RFC 4028 4 and 5: no session interval may be shorter, in seconds.
LEAST = 90


@attrs.frozen(slots=True)
class TimerWish:
    """What a phone wants of session timers: in a call of its own, and what it says to a call that comes.

    ``seconds`` is the interval; ``refresher`` is ``"uac"``, ``"uas"`` or None for whatever the peer wants; ``min_se``
    what it accepts; ``by`` the method of its refreshes, ``"INVITE"`` or ``"UPDATE"``.
    """

    seconds: int
    refresher: str | None = None
    min_se: int = LEAST
    by: str = "INVITE"


def session_expires(message: Message) -> tuple[int, str | None] | None:
    """Return the interval and the refresher that a message names (4); None where it names none, or garbage."""
    text = message.get("Session-Expires")
    if text is None:
        return None
    seconds, separator, rest = text.partition(";")
    params: Parameters = parse_parameters(separator + rest)
    return (int(seconds), params.get("refresher")) if seconds.strip().isdigit() else None


def min_se(message: Message) -> int:
    """Return the Min-SE of a message, the RFC's own where there is none (5)."""
    text = (message.get("Min-SE") or "").partition(";")[0].strip()
    return int(text) if text.isdigit() else LEAST


class SessionTimer:
    """The session timer of one call. ``wish`` is None for a phone that knows nothing of timers.

    ``interval`` is what was agreed, 0 for none, and ``refreshes`` whether we do it; ``expired`` whether it ran out.
    """

    def __init__(self, call: PhoneCall, wish: TimerWish | None) -> None:
        self._call = call
        self._wish = wish
        self.interval = 0
        self.refreshes = False
        self.expired = False
        self.refreshed = 0
        """How many refreshes of ours were answered with 2xx."""
        self._timer: DelayedCall | None = None

    # What is sent

    def ask(self, request: Request) -> None:
        """Write what we want into an INVITE or UPDATE of ours (7.1); in the dialog it is what was agreed (7.4)."""
        wish = self._wish
        if wish is None or request.has("Session-Expires"):
            return
        seconds, refresher = wish.seconds, wish.refresher
        if self.interval:
            seconds, refresher = self.interval, "uac" if self.refreshes else "uas"
        request.set("Session-Expires", f"{seconds};refresher={refresher}" if refresher else str(seconds))
        if wish.min_se > LEAST:
            request.set("Min-SE", str(wish.min_se))

    def asked_more(self, request: Request, response: Response) -> bool:
        """Take a 422 (7.3): put what it wants into ``request``, which is to be sent again. False when there is none."""
        wanted = response.get("Min-SE")
        if self._wish is None or wanted is None or not wanted.strip().isdigit():
            return False
        found = session_expires(request)
        if found is None or found[0] >= int(wanted):
            return False
        refresher = f";refresher={found[1]}" if found[1] else ""
        request.set("Session-Expires", f"{int(wanted)}{refresher}")
        request.set("Min-SE", wanted)
        return True

    def too_short(self, request: Request) -> Response | None:
        """Return the 422 for a request whose interval is too short for us (9); None where it will do."""
        found = session_expires(request)
        if self._wish is None or found is None:
            return None
        if found[0] >= self._wish.min_se or "timer" not in request.supported:
            return None
        response = respond(request, 422, to_tag=self._call.local_tag)
        response.add("Min-SE", str(self._wish.min_se))
        return response

    def answer(self, request: Request, response: Response) -> None:
        """Write what we agree to into our 2xx (9), and count from now. What the test has written stays."""
        found = session_expires(request)
        theirs = "timer" in request.supported
        written = response.has("Session-Expires")
        if not written and (self._wish is None or (found is None and not theirs and self._wish.refresher != "uas")):
            self._agree(0, False)
            return
        if not written:
            assert self._wish is not None
            seconds = self._wish.seconds
            if found is not None:
                seconds = max(min(found[0], seconds), min_se(request))
            refresher = (found[1] if found else None) or self._wish.refresher or ("uac" if theirs else "uas")
            if not theirs:
                refresher = "uas"  # 9, table 2
            response.add("Session-Expires", f"{seconds};refresher={refresher}")
            if refresher == "uac":
                response.add("Require", "timer")
        self.agreed(response, ours=False)

    def agreed(self, response: Response, *, ours: bool) -> None:
        """Take what a 2xx says, to a request of ours or of theirs (7.2, 9): every 2xx begins the count anew."""
        found = session_expires(response)
        if found is None:
            self._agree(0, False)
            return
        seconds, refresher = found
        complain = self._call.phone.complain
        if ours and refresher not in ("uac", "uas"):
            complain(f"Session-Expires: refresher {refresher!r} in a 2xx (RFC 4028 9)")
        if seconds < LEAST:
            complain(f"Session-Expires: {seconds} s, {LEAST} are the least (RFC 4028 4)")
        if ours and refresher == "uac" and "timer" not in response.require:
            complain("Session-Expires: refresher=uac without Require: timer (RFC 4028 9)")
        if ours and self._wish is None:
            return  # whoever wrote the headers by hand plays the refresher, or doesn't
        self._agree(seconds, (refresher == "uac") is ours)

    # Time

    def _agree(self, seconds: int, refreshes: bool) -> None:
        self.stop()
        self.interval, self.refreshes = seconds, refreshes
        if not seconds:
            return
        clock = self._call.phone.host.clock
        if refreshes:
            self._timer = clock.callLater(seconds / 2, self._refresh)
        else:
            self._timer = clock.callLater(seconds - min(32, seconds / 3), self._expired)

    def _refresh(self) -> None:
        """Refresh (10): half of the interval is over."""
        self._timer = None
        call = self._call
        left = self.interval / 2 - min(32, self.interval / 3)
        # A refresh that fails is followed by the end, 10.
        self._timer = call.phone.host.clock.callLater(max(left, 0), self._expired)
        if call.phone.quirks.no_refresh:
            self.stop()
            return
        if not call.can_offer:
            self.stop()
            self._timer = call.phone.host.clock.callLater(0.5, self._refresh)
            return
        by = "INVITE" if self._wish is None else self._wish.by
        call.refresh(by).addCallback(self._was_refreshed)

    def _was_refreshed(self, status: int) -> None:
        self.refreshed += status == 200

    def _expired(self) -> None:
        self._timer = None
        if not self._call.phone.quirks.no_expiry:
            self.expired = True
            self._call._send_bye()

    def stop(self) -> None:
        """Count no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
