"""The rows of the bench, in the order in which they are run and shown.

A row is a figure of the project, measured in rounds beside the same figure of its peers. `Row` is what the command
needs of one; a module of this package has one or a few that are measured in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs

from bench.figures import Aim, Measured
from bench.load import Load
from bench.processes import Workshop, cores


@attrs.define
class Rig:
    """What rows measure with. ``say`` shows a line of progress."""

    workshop: Workshop
    say: Callable[[str], None]
    quick: bool = False
    seconds: float | None = None
    rate: float | None = None
    minutes: float = 10.0
    calls: int | None = None
    profile: str | None = None
    known: dict[str, float] = attrs.field(factory=dict)
    """What contenders did in earlier rounds and runs, by "row/who", so that a search begins near it."""
    wanted: frozenset[str] = frozenset()
    """The rows that are measured: some measure for each other."""
    kept: dict[str, Measured] = attrs.field(factory=dict)
    """What a row has measured for another one in this round."""
    cores: tuple[int, int] = attrs.field(factory=cores)

    def span(self, full: float, quick: float) -> float:
        """Return how many seconds something is to take: as asked, or as the row says."""
        if self.seconds is not None:
            return self.seconds
        return quick if self.quick else full

    def count(self, full: int, quick: int) -> int:
        """Return how many calls there are to be."""
        if self.calls is not None:
            return self.calls
        return quick if self.quick else full

    @contextmanager
    def load(self) -> Iterator[Load]:
        """Give out a load generator, and end it afterwards."""
        load = Load(self.workshop, self.cores[1])
        try:
            yield load
        finally:
            load.close()


@attrs.frozen
class Contender:
    """Somebody who is measured. ``absent`` returns why that can't be here, or ""; ``measure`` does one round.

    ``name`` is ``"project"`` for us, and for everybody else what the table calls them.
    """

    name: str
    measure: Callable[[Rig], Measured]
    absent: Callable[[], str] = lambda: ""
    quick: bool = True
    """Whether it is measured with --quick, too."""


@attrs.frozen
class Row:
    """One figure. ``about`` is a sentence on what it is; ``rounds`` limits how often it is taken (1: it takes long)."""

    name: str
    title: str
    unit: str
    about: str
    contenders: tuple[Contender, ...]
    aims: tuple[Aim, ...] = ()
    rounds: int = 3
    seconds: tuple[float, float] = (60.0, 5.0)
    """About how long a round of all its contenders takes, full and quick: for the time that is left."""
    by_minutes: bool = False
    """Whether ``--minutes`` is to be added to that, in full."""
    notes: Callable[[Sequence[Any]], list[str]] | None = None
    """What else is to be said below the table, from the entries."""


def all_rows() -> list[Row]:
    """Return every row."""
    from bench.rows import answered, calls, hold, media, messages, relay, transferred

    return [*answered.ROWS, *transferred.ROWS, *relay.ROWS, *media.ROWS, *messages.ROWS, *calls.ROWS, *hold.ROWS]
