"""State tables: every pair of state and input is decided, and inputs run in one order (``docs/architecture.rst``)."""

from __future__ import annotations

import importlib
import pkgutil
from enum import Enum
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

import telephony
from telephony.tables import Machine, Table, ignored, undecided


class Light(Enum):
    """The states of the machine under test."""

    RED = "red"
    GREEN = "green"


class Press(Enum):
    """Its inputs."""

    WALK = "walk"
    STOP = "stop"


class Crossing(Machine[Light, Press]):
    """A machine that notes what it was told, and gives itself an input while it handles one."""

    def __init__(self) -> None:
        super().__init__(Light.RED)
        self.told: list[tuple[str, Light]] = []

    def note(self, what: object) -> None:
        self.told.append((str(what), self.state))

    def stop_at_once(self, _what: object) -> None:
        self.feed(Press.STOP, "stopped")
        self.told.append(("asked to stop", self.state))

    table: ClassVar[Table[Light, Press]] = {
        Light.RED: {Press.WALK: (Light.GREEN, (note, stop_at_once)), **ignored(Light.RED, Press.STOP)},
        Light.GREEN: {Press.STOP: (Light.RED, (note,)), **ignored(Light.GREEN, Press.WALK)},
    }


class MachineTests(SynchronousTestCase):
    """What `telephony.tables.Machine` promises."""

    def test_nested_input_waits(self) -> None:
        """An input given by an output is handled after that output, in the state it led to."""
        crossing = Crossing()
        crossing.feed(Press.WALK, "walked")
        self.assertEqual(
            crossing.told, [("walked", Light.GREEN), ("asked to stop", Light.GREEN), ("stopped", Light.RED)]
        )

    def test_ignored_changes_nothing(self) -> None:
        """An ignored input leaves the state and tells nobody."""
        crossing = Crossing()
        crossing.feed(Press.STOP, "stopped")
        self.assertEqual((crossing.state, crossing.told), (Light.RED, []))

    def test_undecided_pairs_are_found(self) -> None:
        """A table with a hole is not taken for whole."""
        self.assertEqual(undecided({Light.RED: {}}, Light, [Press.WALK]), [(one, Press.WALK) for one in Light])


def every_machine() -> list[type[Machine[Enum, Enum]]]:
    """Find every machine of the package."""
    for module in pkgutil.walk_packages(telephony.__path__, "telephony."):
        if not module.name.startswith(("telephony.server", "telephony.cli", "telephony.__main__", "telephony.testing")):
            importlib.import_module(module.name)
    found: list[type[Machine[Enum, Enum]]] = []
    waiting = [Machine]
    while waiting:
        one = waiting.pop()
        waiting += one.__subclasses__()
        if one.table and one is not Crossing:
            found.append(one)
    return found


class CompletenessTests(SynchronousTestCase):
    """Issue "The main job", point 3: every state x input pair is decided."""

    def test_every_machine_decides_every_pair(self) -> None:
        """Each machine's table has a row for each of its states, and in it each of its inputs."""
        machines = every_machine()
        self.assertGreaterEqual(len(machines), 6)
        for machine in machines:
            states = type(next(iter(machine.table)))
            inputs = type(next(iter(next(iter(machine.table.values())))))
            self.assertEqual(undecided(machine.table, states, inputs), [], machine.__qualname__)

    def test_what_does_nothing_moves_nothing(self) -> None:
        """`telephony.tables.ignored`: an input without outputs leaves the state; who moves, does something."""
        for machine in every_machine():
            for state, row in machine.table.items():
                moved = [one for one, (target, outputs) in row.items() if not outputs and target is not state]
                self.assertEqual(moved, [], (machine.__qualname__, state))

    def test_the_channels_table_decides_every_pair(self) -> None:
        """``api.md`` section 3: 14 states; each input leads to a state, or is a verb and refused."""
        from telephony.call.constants import State
        from telephony.call.states import REFUSED, TABLE, VERBS, Input

        self.assertEqual(len(State), 14)
        for state in State:
            for one in Input:
                target = TABLE[state][one]
                self.assertTrue(isinstance(target, State) or (target is REFUSED and one in VERBS), (state, one))
