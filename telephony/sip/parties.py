"""Whom a session deals with: its owner, who watches it, and the user agent that it belongs to.

Owns: the words of both (`SessionObserver`, `Core`), and what every session says of us: methods, option tags. Must not
know how a session works.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Protocol

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Clock
from telephony.sip.dialog import Dialog
from telephony.sip.flow import Elsewhere, Flow
from telephony.sip.message import Message, Request, Response
from telephony.sip.reliable import RELIABLE
from telephony.sip.timers import Timers
from telephony.sip.transaction import Transactions
from telephony.sip.uri import SipUri

if TYPE_CHECKING:
    from telephony.sip.refer import Referred
    from telephony.sip.session import Session

Headers = Sequence[tuple[str, str]]

SDP = "application/sdp"
#: What a user agent of ours takes. A method that isn't here is answered with 405.
ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, PRACK, UPDATE, REFER, NOTIFY"
#: How many To tags one INVITE may gather before the rest is dropped: forks cost memory, and peers make them.
MAX_FORKS = 16
#: The option tags (RFC 3261 19.2) that we understand.
SUPPORTED = frozenset(["timer", "replaces", RELIABLE])


def allows(message: Message, method: str) -> bool:
    """Tell whether the sender of a message says that it takes a method."""
    try:
        return method in message.get_list("Allow")
    except RemoteProtocolError:
        return False


class SessionRefusal(Exception):  # noqa: N818 - it is no error: it is an answer
    """Raised by `SessionObserver.session_offered` to refuse a re-INVITE; the session goes on as it was."""

    def __init__(self, status: int = 488, reason: str | None = None) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason


class SessionObserver(Protocol):
    """Whoever a session belongs to. No method may raise, but for what `session_offered` says.

    *Over* means that this is the last thing the observer hears of the session.
    """

    def session_progress(self, session: Session, response: Response) -> None:
        """Ours was answered with a 101 to 199; a fork has its own ``response.to.tag``, the body may hold SDP."""

    def session_redirected(self, session: Session, target: SipUri) -> None:
        """Ours was redirected, or a target it was redirected to refused: ``target`` is called now (R6)."""

    def session_answered(self, session: Session, response: Response) -> None:
        """Ours got its first 2xx; the ACK has been sent already."""

    def session_refused(self, session: Session, status: int, reason: str, response: Response | None) -> None:
        """Ours got a final response of 300 or more, or none (status 0, the reason says why). Over."""

    def session_cancelled(self, session: Session, request: Request | None) -> None:
        """Theirs was taken back by CANCEL or BYE before our final response; 487 has been sent. Over."""

    def session_confirmed(self, session: Session, ack: Request) -> None:
        """The ACK of our 2xx came; its body is the answer where the INVITE had no offer."""

    def session_answer_in_prack(self, session: Session, prack: Request) -> bool:
        """The PRACK of our offer in a reliable 18x came: its body is the answer (RFC 3262 5); False: it can't be used.

        The INVITE is refused then, with 488. Over.
        """

    def session_unconfirmed(self, session: Session) -> None:
        """No ACK came for 64*T1 and a BYE has been sent (RFC 3261 13.3.1.4), or no PRACK, and a 504. Over."""

    def session_offered(self, session: Session, request: Request) -> bytes | None:
        """Return the SDP of the 2xx to a re-INVITE: an answer, or an offer where ``request.body`` is empty.

        None, a `SessionRefusal` or a `RemoteProtocolError` raised refuse it: 488, or the status they hold.
        """

    def session_answer_in_ack(self, session: Session, ack: Request) -> None:
        """The ACK of a re-INVITE without offer came: its body is the answer, or empty."""

    def session_offer(self, session: Session, purpose: object) -> bytes:
        """Write the SDP of a request of ours whose turn has come; ``purpose`` is what `Session.reoffer` was given.

        Without one it is a refresh: what holds now, unchanged (RFC 4028 7.4).
        """

    def session_offer_answered(self, session: Session, purpose: object, answer: bytes) -> None:
        """Our offer has its 2xx, which may be empty or unusable; the ACK is out."""

    def session_offer_withdrawn(self, session: Session) -> None:
        """Forget the offer that waits: it was refused. It may be asked for again, by `session_offer`."""

    def session_offer_refused(self, session: Session, purpose: object, status: int, reason: str) -> None:
        """Our offer was refused for good (status 0: it couldn't be sent); the session goes on as it was."""

    def session_key(self, session: Session, key: str) -> None:
        """An INFO came that tells of a pressed key, 0-9 A-D * #; it has been answered."""

    def session_referred(self, session: Session, referred: Referred) -> None:
        """The far end asks us to call somebody (RFC 3515): accept or refuse it at once; 603 for neither."""

    def session_ended(self, session: Session, request: Request | None) -> None:
        """The far end sent BYE, which has been answered, or (None) the dialog is known to be dead. Over."""


class Core(Protocol):
    """What a session needs of its user agent."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def random(self) -> Random:
        """The randomness."""

    @property
    def timers(self) -> Timers:
        """The timer values."""

    @property
    def transactions(self) -> Transactions:
        """All transactions."""

    @property
    def counters(self) -> Counter[str]:
        """Counts of what is worth showing."""

    @property
    def product(self) -> str:
        """What User-Agent and Server say; empty for neither."""

    @property
    def session_expires(self) -> int:
        """The seconds of the session timer that we ask for (RFC 4028), 0 for none."""

    @property
    def min_se(self) -> int:
        """The shortest session timer that we take, in seconds."""

    def contact(self, flow: Flow, secure: bool = False) -> str:
        """Return the Contact that leads the peer of ``flow`` to us; ``secure`` for a dialog by ``sips:``."""

    def stamp(self, request: Request, flow: Flow) -> None:
        """Write the topmost Via, with a branch of its own."""

    def reach(self, dialog: Dialog, found: Callable[[Flow | None, str], None]) -> None:
        """Find the way to a dialog's next hop; calls ``found`` at once where no name has to be looked up.

        ``found`` gets None and the reason where there is no way. Calls for one dialog end in the order of asking.
        """

    def elsewhere(self, dialog: Dialog) -> Elsewhere | None:
        """Return where a request goes that was to take the way `reach` has found, when that is of no use."""

    def renewed(self, flow: Flow) -> Flow:
        """Return ``flow``, or where it has been closed another to the same peer."""

    def place(self, session: Session, target: SipUri) -> None:
        """Find the way to a target and let a session of ours `begin` its INVITE again, for that one."""

    def forget(self, session: Session) -> None:
        """Take a session that is over, transactions included, out of the books."""
