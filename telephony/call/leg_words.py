"""What a leg says to the channel it belongs to, and what the two speak of: its end, and a change of direction.

Owns: the words. Must not know what a leg does, nor what a channel makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import attrs

from telephony.sdp.elsewhere import Elsewhere
from telephony.sip.message import Response
from telephony.sip.uri import SipUri

if TYPE_CHECKING:
    from telephony.sip.refer import Referred


class How(Enum):
    """How a leg came to its end when it wasn't us who ended it."""

    REFUSED = "a final response of 300 or more, or none at all (status 0)"
    NO_PORTS = "no RTP port was free when the target's name had been looked up"
    UNUSABLE = "a 2xx whose SDP can't be used, or none (R20); it has been acknowledged and ended"
    HUNG_UP = "BYE, or a dialog the far end no longer knows"
    CANCELLED = "CANCEL before our final response"
    UNCONFIRMED = "no ACK for our 2xx within 64*T1 (R35), or no PRACK for a reliable 18x"
    SILENT = "neither RTP nor RTCP for as long as the media timer allows (R32); a BYE has been sent"


@attrs.frozen
class Ending:
    """Why a leg is over: how, with the SIP status (0 without one), its text, and the refusal when there was one."""

    how: How
    status: int = 0
    reason: str = ""
    response: Response | None = None


@attrs.frozen(eq=False)
class Change:
    """A direction that we want, and who is told: ``done`` gets None, or the status and reason that refused it.

    ``elsewhere`` is where the far end is to send its audio if not to us.
    """

    direction: str
    done: Callable[[tuple[int, str] | None], None]
    elsewhere: Elsewhere | None = None


class LegOwner(Protocol):
    """What a leg tells the channel it belongs to. Nothing comes any more after `leg_over` or after `Leg.end`."""

    #: Seconds without RTP and RTCP after which the leg is ended (R32); None: never.
    media_timeout: float | None

    def leg_placed(self, call_id: str) -> None:
        """Our INVITE is on its way, with this Call-ID."""

    def leg_ringing(self, response: Response) -> None:
        """The far end sent 180 to 183."""

    def leg_early_media(self) -> None:
        """The first packet of early media has arrived (RFC 3960)."""

    def leg_redirected(self, target: SipUri) -> None:
        """The far end sent the call elsewhere, or such a contact refused: ``target`` is called now (R6)."""

    def leg_answered(self, response: Response) -> None:
        """Our INVITE has its 2xx, its ACK is out, and media runs."""

    def leg_confirmed(self) -> None:
        """Our 2xx has its ACK, and media runs."""

    def leg_changed(self) -> None:
        """A re-INVITE has changed the media: hold, resume, another address or codec."""

    def leg_moved(self) -> None:
        """Its audio goes elsewhere now, comes here again, or it has refused one of both (`call.whereabouts`)."""

    def leg_digit(self, digit: str) -> None:
        """The far end has pressed a key (RFC 4733, INFO), once for each press."""

    def leg_media_over(self, received: int, sent: int) -> None:
        """The leg's audio has ended, after so many packets of RTP."""

    def leg_referred(self, referred: Referred) -> None:
        """The far end asks us to call somebody in its place: accept or refuse it at once."""

    def leg_over(self, ending: Ending) -> None:
        """The leg is over, its media has stopped."""
