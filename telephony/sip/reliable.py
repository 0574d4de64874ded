"""Reliable provisional responses (RFC 3262): what is acknowledged with PRACK, on both sides of an INVITE.

Owns: the numbers of RSeq and RAck; for a caller the early dialogs and the order in which each one's responses are
taken (`EarlyDialogs`), for a called the one response that waits for its PRACK, and the 2xx that waits for it too
(`ReliableRinging`). Must not know who sends, what a description says, or applications.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Clock, DelayedCall
from telephony.sip.dialog import Dialog
from telephony.sip.grammar import excerpt
from telephony.sip.headers import parse_cseq, parse_number
from telephony.sip.message import Request, Response
from telephony.sip.timers import Timers
from telephony.tables import Machine, Symbol, Table, ignored

#: The option tag of RFC 3262.
RELIABLE = "100rel"
#: The highest RSeq (RFC 3262 7.1), and the highest that a first one may be (section 3), so that it never wraps.
LAST_RSEQ = (1 << 32) - 1
FIRST_RSEQ = (1 << 31) - 1
#: How many reliable provisional responses may wait for the one before them.
MAX_QUEUE = 4


class RAck(NamedTuple):
    """What a PRACK acknowledges: the response's RSeq and the CSeq of its request (RFC 3262 7.2)."""

    rseq: int
    cseq: int
    method: str

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq} {self.method}"


def parse_rack(text: str | None) -> RAck:
    """Parse a RAck value. Raises `RemoteProtocolError` (400) for what is none, or None."""
    number, _, rest = (text or "").strip().partition(" ")
    if text is None or not rest:
        raise RemoteProtocolError(f"RAck: {excerpt(text or '')} is not RSeq, CSeq number and method (RFC 3262 7.2)")
    cseq = parse_cseq(rest)
    return RAck(parse_number(number, LAST_RSEQ), cseq.number, cseq.method)


def reliable_number(response: Response) -> int | None:
    """Return the RSeq of a 101 to 199 that is to be acknowledged; None for one that is not.

    One that says so but can't be acknowledged, for want of an RSeq or of a To tag, is taken as an unreliable one.
    """
    text = response.get("RSeq")
    if text is None or not 100 < response.status < 200:
        return None
    try:
        number = parse_number(text.strip(), LAST_RSEQ)
        reliable = RELIABLE in response.require and response.to.tag is not None
    except RemoteProtocolError:
        return None
    return number if reliable and number else None


class EarlyDialogs:
    """The early dialogs of one INVITE of ours that reliable responses have made, by To tag: one for each fork (R17).

    At most ``limit``: forks cost memory, and peers make them.
    """

    __slots__ = ("_limit", "_taken")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: By To tag: the dialog, the CSeq number of the INVITE, and the last RSeq taken.
        self._taken: dict[str, tuple[Dialog, int, int]] = {}

    def take(self, invite: Request, response: Response, number: int) -> Dialog | None:
        """Return the dialog to acknowledge a reliable response in, or None for one that is to be dropped.

        The first of a dialog sets where its numbers begin; what does not follow the last one taken comes again, or
        came too early, and is neither acknowledged nor looked at (RFC 3262 4).
        """
        tag = response.to.tag or ""
        asked = response.cseq.number
        known = self._taken.get(tag)
        if known is None:
            if len(self._taken) >= self._limit:
                return None
            dialog = Dialog.of_caller(invite, response)
        else:
            dialog, before, last = known
            # Another INVITE (one sent again with credentials) has numbers of its own.
            if asked == before and number != last + 1:
                return None
        self._taken[tag] = dialog, asked, number
        return dialog

    def confirm(self, dialog: Dialog) -> None:
        """Let the dialog of a 2xx go on where its early one was: our CSeq numbers only ever rise (RFC 3261 13.2.2.4).

        Its route set and target are those of the 2xx.
        """
        known = self._taken.pop(dialog.remote_tag, None)
        if known is not None:
            dialog.local_cseq = max(dialog.local_cseq, known[0].local_cseq)
            dialog.remote_cseq = known[0].remote_cseq

    def get(self, tag: str) -> Dialog | None:
        """Return the early dialog with a fork, None where there is none."""
        known = self._taken.get(tag)
        return None if known is None else known[0]

    def clear(self) -> None:
        """Forget all: the INVITE they belong to has had its final response."""
        self._taken.clear()


class Provisional(NamedTuple):
    """A provisional response to be sent."""

    status: int
    sdp: bytes | None
    headers: Sequence[tuple[str, str]]


class Ringer(Protocol):
    """The session that rings: what its `ReliableRinging` needs of it."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def timers(self) -> Timers:
        """The timer values."""

    def send_reliably(self, what: Provisional, number: int) -> bytes:
        """Send a provisional response with this RSeq; returns it as bytes."""

    def send_again(self, data: bytes) -> None:
        """Send one again."""

    def answer_now(self, what: object) -> None:
        """Send the 2xx: nothing is in its way."""

    def unacknowledged(self) -> None:
        """No PRACK came for 64*T1: refuse the INVITE (RFC 3262 3)."""


class RingingState(Symbol):
    """Where the reliable provisional responses to one INVITE are."""

    CLEAR = "no reliable response waits for a PRACK"
    WAITING = "one without a description waits"
    DESCRIBED = "one with a description waits: a 2xx may not overtake it"
    HOLDING = "one with a description waits, and our 2xx for its PRACK"
    OVER = "there is a final response: nothing is sent again"


class RingingInput(Symbol):
    """What happens to them. The first three come from the session."""

    RING = "send one without a description"
    DESCRIBE = "send one with a description"
    ANSWER = "send the 2xx as soon as it may be sent"
    FINISH = "the INVITE has its final response"
    PRACK = "the PRACK of the one that waits"
    RESEND = "its interval is over"
    GIVE_UP = "no PRACK for 64*T1"


class ReliableRinging(Machine[RingingState, RingingInput]):
    """The reliable provisional responses to one INVITE that came to us (RFC 3262 3).

    One waits for its PRACK at a time; it is sent again after T1, then at intervals that double, over any transport,
    and after 64*T1 the INVITE is refused. The next one waits for its turn. A 2xx doesn't wait, unless what is not
    acknowledged holds a description (section 5).
    """

    __slots__ = (
        "_answer",
        "_data",
        "_interval",
        "_invite",
        "_left",
        "_number",
        "_outstanding",
        "_queue",
        "_settled",
        "_timer",
        "owner",
    )

    def __init__(self, owner: Ringer, invite: int, first: int) -> None:
        """Make it for an INVITE with CSeq number ``invite``; the first RSeq is ``first``, 1 to `FIRST_RSEQ`."""
        super().__init__(RingingState.CLEAR)
        #: None once there is a final response, so that nothing holds the session.
        self.owner: Ringer | None = owner
        self._invite = invite
        self._number = first - 1
        #: The RSeq whose PRACK has not come; it is taken even after the final response.
        self._outstanding: int | None = None
        self._queue: deque[tuple[RingingInput, object]] = deque()
        self._answer: object = None
        self._settled = False
        self._data = b""
        self._interval = self._left = 0.0
        self._timer: DelayedCall | None = None

    def acknowledges(self, rack: RAck) -> bool:
        """Tell whether a PRACK is that of the response which waits."""
        return rack == (self._outstanding, self._invite, "INVITE")

    @property
    def settled(self) -> bool:
        """Whether a description that was sent reliably has its PRACK, and none waits for it."""
        return self._settled and self.state is not RingingState.DESCRIBED and self.state is not RingingState.HOLDING

    # Outputs

    def _send(self, what: Provisional) -> None:
        assert self.owner is not None
        self._number += 1
        self._outstanding = self._number
        self._data = self.owner.send_reliably(what, self._number)
        self._interval = self.owner.timers.t1
        self._left = self.owner.timers.lifetime
        self._wait()

    def _wait(self) -> None:
        assert self.owner is not None
        wait = min(self._interval, self._left)
        self._left -= wait
        one = RingingInput.RESEND if self._left > 1e-6 else RingingInput.GIVE_UP
        self._timer = self.owner.clock.callLater(wait, self._fire, one)

    def _fire(self, one: RingingInput) -> None:
        self._timer = None
        self.feed(one)

    def _resend(self, _: object) -> None:
        assert self.owner is not None
        self.owner.send_again(self._data)
        self._interval *= 2
        self._wait()

    def _later(self, what: object, one: RingingInput) -> None:
        if len(self._queue) < MAX_QUEUE:
            self._queue.append((one, what))

    def _ring_later(self, what: object) -> None:
        self._later(what, RingingInput.RING)

    def _describe_later(self, what: object) -> None:
        self._later(what, RingingInput.DESCRIBE)

    def _acknowledged(self, _: object) -> None:
        self._stop()
        self._outstanding = None

    def _next(self, _: object) -> None:
        if self._queue:
            self.feed(*self._queue.popleft())

    def _agreed(self, _: object) -> None:
        self._settled = True

    def _hold(self, what: object) -> None:
        self._answer = what

    def _answer_held(self, _: object) -> None:
        self._answer_now(self._answer)

    def _answer_now(self, what: object) -> None:
        owner = self.owner
        self._finish(None)
        assert owner is not None
        owner.answer_now(what)

    def _give_up(self, _: object) -> None:
        owner = self.owner
        self._finish(None)
        assert owner is not None
        owner.unacknowledged()

    def _finish(self, _: object) -> None:
        self._stop()
        self.owner = self._answer = None
        self._queue.clear()

    def _stop(self) -> None:
        self._data = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


_S, _I = RingingState, RingingInput
_R = ReliableRinging

RINGING: Table[RingingState, RingingInput] = {
    _S.CLEAR: {
        _I.RING: (_S.WAITING, (_R._send,)),
        _I.DESCRIBE: (_S.DESCRIBED, (_R._send,)),
        _I.ANSWER: (_S.OVER, (_R._answer_now,)),
        _I.FINISH: (_S.OVER, (_R._finish,)),
        **ignored(_S.CLEAR, _I.PRACK, _I.RESEND, _I.GIVE_UP),
    },
    _S.WAITING: {
        _I.RING: (_S.WAITING, (_R._ring_later,)),
        _I.DESCRIBE: (_S.WAITING, (_R._describe_later,)),
        _I.ANSWER: (_S.OVER, (_R._answer_now,)),
        _I.FINISH: (_S.OVER, (_R._finish,)),
        _I.PRACK: (_S.CLEAR, (_R._acknowledged, _R._next)),
        _I.RESEND: (_S.WAITING, (_R._resend,)),
        _I.GIVE_UP: (_S.OVER, (_R._give_up,)),
    },
    _S.DESCRIBED: {
        _I.RING: (_S.DESCRIBED, (_R._ring_later,)),
        _I.DESCRIBE: (_S.DESCRIBED, (_R._describe_later,)),
        _I.ANSWER: (_S.HOLDING, (_R._hold,)),
        _I.FINISH: (_S.OVER, (_R._finish,)),
        _I.PRACK: (_S.CLEAR, (_R._acknowledged, _R._agreed, _R._next)),
        _I.RESEND: (_S.DESCRIBED, (_R._resend,)),
        _I.GIVE_UP: (_S.OVER, (_R._give_up,)),
    },
    _S.HOLDING: {
        _I.FINISH: (_S.OVER, (_R._finish,)),
        _I.PRACK: (_S.OVER, (_R._acknowledged, _R._answer_held)),
        _I.RESEND: (_S.HOLDING, (_R._resend,)),
        _I.GIVE_UP: (_S.OVER, (_R._give_up,)),
        **ignored(_S.HOLDING, _I.RING, _I.DESCRIBE, _I.ANSWER),
    },
    _S.OVER: {
        # The final response went first; the PRACK that comes behind it is answered all the same, once.
        _I.PRACK: (_S.OVER, (_R._acknowledged,)),
        **ignored(_S.OVER, *(one for one in RingingInput if one is not _I.PRACK)),
    },
}
ReliableRinging.table = RINGING
