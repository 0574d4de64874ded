"""The states of a call channel and every step between them, as one table (``api.md`` section 3, the published graph).

Owns: which input is legal in which state and where it leads. Must not know what is done on the way: `channel` and
`transfer` do it, and give the input once it has been done or can no longer fail.
"""

from __future__ import annotations

from collections.abc import Mapping

from telephony.call.constants import State
from telephony.tables import Symbol


class Input(Symbol):
    """What can happen to a channel. The first group are the application's verbs: where refused, they raise."""

    DIAL = "the application places a call on it"
    RING = "ring()"
    ANSWER = "answer()"
    REJECT = "reject() with a status that can be sent"
    REDIRECT = "reject() with a 3xx, which is refused here"
    HANG_UP = "hang_up() that is over at once"
    TRANSFER = "a transfer verb has met its preconditions"
    RETRIEVE = "retrieve_transferred_call()"
    HOLD = "hold()"
    RESUME = "resume()"
    MEDIA = "a media verb, connect() or the start of a resource's job"

    ARRIVED = "an INVITE for it has passed all checks"
    RINGS = "the far end sent 180 to 183"
    ACCEPTED = "the far end's 2xx has been acknowledged"
    CONFIRMED = "the far end has acknowledged our 2xx"
    GONE = "the call is over: BYE, CANCEL, a refusal, no response"
    JOINED = "the transfer's target has answered and both hear each other"
    UNJOINED = "the transfer has failed"
    RETRIEVING = "the transferred call is on its way back, by itself or by the other channel's hang_up()"
    RETRIEVED = "our own first packet has gone out after the join was cut"
    HELD = "the far end has accepted our hold"
    UNHELD = "the far end has refused our hold, or it was given up"
    RESUMED = "the far end has accepted the end of our hold"
    FAULT = "an internal fault"


VERBS = frozenset(
    {
        Input.DIAL,
        Input.RING,
        Input.ANSWER,
        Input.REJECT,
        Input.REDIRECT,
        Input.HANG_UP,
        Input.TRANSFER,
        Input.RETRIEVE,
        Input.HOLD,
        Input.RESUME,
        Input.MEDIA,
    }
)

#: Where a verb is refused: `Hangup` on IDLE where a call was needed, else `Error`. Never a state.
REFUSED = None

_STAYS = object()


def _row(state: State, **moves: State | object | None) -> dict[Input, State | None]:
    """Write a row: verbs that aren't named are refused, events that aren't named change nothing, on purpose."""
    row: dict[Input, State | None] = {one: REFUSED if one in VERBS else state for one in Input}
    row[Input.HANG_UP] = State.IDLE
    if state is not State.IDLE:
        row[Input.GONE] = State.IDLE
        row[Input.FAULT] = State.ERROR
    for name, target in moves.items():
        row[Input[name]] = state if target is _STAYS else target  # type: ignore[assignment]
    return row


TABLE: Mapping[State, Mapping[Input, State | None]] = {
    State.IDLE: _row(State.IDLE, DIAL=State.CALL_OUTGOING, ARRIVED=State.CALL_INCOMING),
    State.WAITING: _row(State.WAITING, ARRIVED=State.CALL_INCOMING),
    State.CALL_INCOMING: _row(
        State.CALL_INCOMING,
        RING=State.RING_INCOMING,
        ANSWER=State.ANSWERING,
        REJECT=State.IDLE,
        REDIRECT=State.ERROR,
    ),
    State.RING_INCOMING: _row(
        State.RING_INCOMING,
        RING=_STAYS,
        ANSWER=State.ANSWERING,
        REJECT=State.IDLE,
        REDIRECT=State.ERROR,
    ),
    State.ANSWERING: _row(State.ANSWERING, CONFIRMED=State.ANSWERED),
    State.ANSWERED: _row(
        State.ANSWERED,
        REJECT=State.IDLE,
        REDIRECT=State.ERROR,
        TRANSFER=State.TRANSFERRING,
        RETRIEVE=_STAYS,
        HOLD=State.HOLDING,
        MEDIA=_STAYS,
    ),
    State.CALL_OUTGOING: _row(State.CALL_OUTGOING, RINGS=State.RING_OUTGOING, ACCEPTED=State.ANSWERED),
    State.RING_OUTGOING: _row(State.RING_OUTGOING, ACCEPTED=State.ANSWERED),
    State.HOLDING: _row(
        State.HOLDING, REJECT=State.IDLE, REDIRECT=State.ERROR, HELD=State.ON_HOLD, UNHELD=State.ANSWERED
    ),
    State.ON_HOLD: _row(State.ON_HOLD, REJECT=State.IDLE, REDIRECT=State.ERROR, RESUME=_STAYS, RESUMED=State.ANSWERED),
    State.TRANSFERRING: _row(State.TRANSFERRING, JOINED=State.TRANSFERRED, UNJOINED=State.ANSWERED),
    State.TRANSFERRED: _row(State.TRANSFERRED, RETRIEVE=State.RECONNECTING, RETRIEVING=State.RECONNECTING),
    State.RECONNECTING: _row(State.RECONNECTING, RETRIEVE=_STAYS, RETRIEVED=State.ANSWERED),
    State.ERROR: _row(State.ERROR, REJECT=State.IDLE, REDIRECT=_STAYS),
}


def legal_states(one: Input) -> list[State]:
    """Return the states in which a verb is legal, for the sentence that refuses it elsewhere."""
    return [state for state, row in TABLE.items() if row[one] is not REFUSED]
