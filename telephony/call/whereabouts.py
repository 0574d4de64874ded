"""Where one leg's far end sends its audio: here, or to somebody else, as one table (RFC 3725; RFC 3261 14).

Owns: the re-INVITE that sends it away and the one that brings it back, on this leg alone, and what is left when the far
end refuses. Must not know why either is wanted, nor the other leg: that is `telephony.call.direct`'s business. Which
place holds is what the two descriptions last agreed say, whoever had offered.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from telephony.call.leg_words import Change
from telephony.sdp.elsewhere import Elsewhere
from telephony.tables import Machine, Table, ignored

if TYPE_CHECKING:
    from telephony.call.leg import Leg


#: How often it is asked back where nobody can tell whether it took that.
MOST_TRIES = 3


class Place(Enum):
    """Where the far end's audio goes."""

    HERE = "to us"
    LEAVING = "to us; it has been asked to send it to another"
    AWAY = "to another"
    RETURNING = "to us as soon as it has answered the re-INVITE that asks for that"
    LOST = "to another, and it has refused to send it here again"


class Step(Enum):
    """What happens to it."""

    SEND = "it is to send its audio to another, whose place is given"
    RETURN = "its audio is wanted here again"
    LEFT = "it has agreed to a description of ours that names the other's place"
    CAME = "it has agreed to a description of ours that names our own place"
    REFUSED = "it has refused what it was asked for last; with status and reason"
    UNKNOWN = "nobody can tell whether it took that: the way to it broke, or its answer says nothing; the same with it"


def _ask_away(whereabouts: Whereabouts, elsewhere: Elsewhere) -> None:
    """Output: re-INVITE it with another's place."""
    whereabouts.ask(elsewhere)


def _ask_back(whereabouts: Whereabouts, _value: object) -> None:
    """Output: re-INVITE it with our own place, unless what was asked before can still be withdrawn."""
    if whereabouts.withdraw():
        whereabouts.feed(Step.CAME)
    else:
        whereabouts.ask(None)


def _ask_again(whereabouts: Whereabouts, refusal: tuple[int, str]) -> None:
    """Output: ask it back once more, a few times at most."""
    whereabouts.tries += 1
    if whereabouts.tries < MOST_TRIES:
        whereabouts.ask(None)
    else:
        whereabouts.feed(Step.REFUSED, refusal)


def _arrive(whereabouts: Whereabouts, _value: object) -> None:
    """Output: send and listen here again, and ask for nothing any more."""
    whereabouts.withdraw()
    whereabouts.refusal = None
    whereabouts.tries, whereabouts.sure = 0, True
    leg = whereabouts.leg
    if leg is not None and leg.endpoint is not None:
        leg.endpoint.wake()


def _note(whereabouts: Whereabouts, refusal: tuple[int, str]) -> None:
    """Output: keep what it refused with."""
    whereabouts.refusal = refusal


def _tell(whereabouts: Whereabouts, _value: object) -> None:
    """Output: tell the leg's owner."""
    leg = whereabouts.leg
    if leg is not None and leg.owner is not None:
        leg.owner.leg_moved()


_S, _I = Place, Step


class Whereabouts(Machine[Place, Step]):
    """Where the audio of ``leg``'s far end goes. A leg that was never sent away has none: it is here.

    ``refusal`` is the status and reason of the last refusal, None once its audio has come back; ``keep`` whether the
    call is worth keeping when its audio can't be had here again.
    """

    __slots__ = ("_asked", "_number", "keep", "leg", "refusal", "sure", "tries")

    table: ClassVar[Table[Place, Step]] = {
        _S.HERE: {
            _I.SEND: (_S.LEAVING, (_ask_away,)),
            **ignored(_S.HERE, _I.RETURN, _I.LEFT, _I.CAME, _I.REFUSED, _I.UNKNOWN),
        },
        _S.LEAVING: {
            _I.LEFT: (_S.AWAY, (_tell,)),
            _I.REFUSED: (_S.HERE, (_note, _tell)),
            _I.RETURN: (_S.RETURNING, (_ask_back,)),
            _I.UNKNOWN: (_S.RETURNING, (_ask_back,)),
            # An offer of its own between two tries of ours moves nothing: ours is still to come.
            **ignored(_S.LEAVING, _I.SEND, _I.CAME),
        },
        _S.AWAY: {
            _I.RETURN: (_S.RETURNING, (_ask_back,)),
            _I.CAME: (_S.HERE, (_arrive, _tell)),
            # LEFT: a refresh.
            **ignored(_S.AWAY, _I.SEND, _I.LEFT, _I.REFUSED, _I.UNKNOWN),
        },
        _S.RETURNING: {
            _I.CAME: (_S.HERE, (_arrive, _tell)),
            _I.REFUSED: (_S.LOST, (_note, _tell)),
            _I.UNKNOWN: (_S.RETURNING, (_ask_again,)),
            # LEFT: what it was asked for before we wanted it back.
            **ignored(_S.RETURNING, _I.SEND, _I.RETURN, _I.LEFT),
        },
        _S.LOST: {
            _I.RETURN: (_S.RETURNING, (_ask_back,)),
            _I.CAME: (_S.HERE, (_arrive, _tell)),
            **ignored(_S.LOST, _I.SEND, _I.LEFT, _I.REFUSED, _I.UNKNOWN),
        },
    }

    def __init__(self, leg: Leg) -> None:
        super().__init__(Place.HERE)
        self.leg: Leg | None = leg
        self.refusal: tuple[int, str] | None = None
        self.keep = True
        self.tries = 0
        #: Whether what we know to be agreed is all that it can have agreed to.
        self.sure = True
        #: What was asked last, until it is answered, and how many things have been asked.
        self._asked: Change | None = None
        self._number = 0

    @property
    def gone(self) -> bool:
        """Whether the far end's audio, as far as we know, doesn't come here."""
        return self.state in (Place.AWAY, Place.RETURNING, Place.LOST)

    def settled(self, elsewhere: Elsewhere | None) -> None:
        """Take that an offer has been answered; ``elsewhere`` is whose place our description names."""
        self.feed(Step.CAME if elsewhere is None else Step.LEFT)

    def ask(self, elsewhere: Elsewhere | None) -> None:
        """Send a re-INVITE with a place, as soon as it is its turn."""
        self._number += 1
        self._asked = Change("sendrecv", partial(self._answered, self._number), elsewhere)
        if self.leg is not None:
            self.leg.change(self._asked)

    def withdraw(self) -> bool:
        """Take back what was asked last; False when it has been sent."""
        asked, self._asked = self._asked, None
        return asked is not None and self.leg is not None and self.leg.withdraw(asked)

    def _answered(self, number: int, refusal: tuple[int, str] | None) -> None:
        if refusal is not None and not refusal[0]:
            self.sure = False
        here = self.sure and self.leg is not None and self.leg.elsewhere is None
        if refusal is not None and here and self.state is Place.RETURNING:
            self.feed(Step.CAME)  # it had never left
        elif number == self._number:  # nothing else has been asked since
            self._asked = None
            if refusal is not None:
                self.feed(Step.REFUSED if refusal[0] else Step.UNKNOWN, refusal)

    def close(self) -> None:
        """Let go of the leg, which is over."""
        self.leg = self._asked = None


def place_of(leg: Leg | None) -> Place:
    """Return where the audio of a leg's far end goes."""
    return Place.HERE if leg is None or leg.whereabouts is None else leg.whereabouts.state


def send_away(leg: Leg, elsewhere: Elsewhere, keep: bool) -> None:
    """Ask a leg's far end to send its audio to another; its owner's ``leg_moved`` is called when that is decided."""
    if leg.whereabouts is None:
        leg.whereabouts = Whereabouts(leg)
    leg.whereabouts.keep = keep
    leg.whereabouts.feed(Step.SEND, elsewhere)


def bring_back(leg: Leg) -> bool:
    """Have a leg's audio here: True when it is, else its owner's ``leg_moved`` is called when that is decided."""
    if leg.whereabouts is not None:
        leg.whereabouts.feed(Step.RETURN)
    return place_of(leg) is Place.HERE
