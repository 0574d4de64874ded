"""State machines as tables: the one mechanism behind every machine of this project.

Owns: how a table is written, how an input is taken, and the order in which nested inputs run. Must not know what any
machine is for. Why not a library: the tests walk these tables pair by pair, the documentation draws them, the current
state is read by applications, and all of that wants the table as plain data (see ``docs/architecture.rst``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, ClassVar, Generic, TypeVar

S = TypeVar("S", bound=Enum)
I = TypeVar("I", bound=Enum)  # noqa: E741 - I for input, as S is for state


class Symbol(Enum):
    """A state or an input: an enumeration whose members hash by identity, of which there is one each anyhow.

    ``Enum`` hashes by name, in Python, and every input of every machine looks up two of them: that was a fifth of what
    taking an input costs.
    """

    __hash__ = object.__hash__


#: What a transition does: called with the machine and the input's argument, after the state has moved.
Output = Callable[[Any, Any], None]
#: Where an input leads, and what is done then, in order.
Transition = tuple[S, tuple[Output, ...]]
#: For each state, for each input: the transition. Every pair is there; those that change nothing say so.
Table = Mapping[S, Mapping[I, Transition[S]]]


def ignored(state: S, *inputs: I) -> dict[I, Transition[S]]:
    """Return the part of a row that says: in ``state`` these inputs change nothing, on purpose."""
    return dict.fromkeys(inputs, (state, ()))


def undecided(table: Table[S, I], states: Iterable[S], inputs: Iterable[I]) -> list[tuple[S, I]]:
    """Return the pairs of state and input for which the table says nothing; a test demands that there are none."""
    wanted = list(inputs)
    return [(state, one) for state in states for one in wanted if one not in table.get(state, {})]


class Machine(Generic[S, I]):
    """A thing that is in one state at a time and takes inputs as its ``table`` says.

    An input given while another is being handled waits until that one is done, so that outputs see one order only.
    An output must not raise: what can fail is computed before the input is given.
    """

    __slots__ = ("_pending", "state")

    table: ClassVar[Table[Any, Any]] = {}

    def __init__(self, state: S) -> None:
        self.state = state
        self._pending: deque[tuple[I, Any]] | None = None

    def feed(self, one: I, argument: Any = None) -> None:
        """Take an input: move to the next state, then run the outputs. A pair the table leaves out is a KeyError."""
        pending = self._pending
        if pending is not None:
            if pending is _NOTHING_WAITS:
                self._pending = deque(((one, argument),))
            else:
                pending.append((one, argument))
            return
        self._pending = _NOTHING_WAITS
        try:
            self.state, outputs = self.table[self.state][one]
            for output in outputs:
                output(self, argument)
            while self._pending:
                one, argument = self._pending.popleft()
                self.state, outputs = self.table[self.state][one]
                for output in outputs:
                    output(self, argument)
        finally:
            self._pending = None


#: Stands for the queue of a machine that is busy, as long as no input waits: mostly none ever does.
_NOTHING_WAITS: deque[Any] = deque(maxlen=0)
