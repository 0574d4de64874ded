"""The table of races, played: each scenario of `tests.races` with three seeds of network trouble."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.race_scene import TROUBLES, Race, rows_of
from tests.races import ROWS


@rows_of(*ROWS)
class FarTests(Race):
    """Every packet takes its time, and never the same."""

    seed, network_settings = TROUBLES["far"]


@rows_of(*ROWS)
class LossyTests(Race):
    """Packets get lost, and are sent again."""

    seed, network_settings = TROUBLES["lossy"]


@rows_of(*ROWS)
class UnrulyTests(Race):
    """Packets come twice, or overtake each other."""

    seed, network_settings = TROUBLES["unruly"]


class TableTests(SynchronousTestCase):
    """The table as such."""

    def test_complete(self) -> None:
        """Issue 3: every row of the race table has a scenario here, and each its text."""
        numbers = {row.number.rstrip("ab") for row in ROWS}
        self.assertEqual([n for n in range(1, 39) if f"R{n}" not in numbers], [])
        self.assertEqual([row.name for row in ROWS if not row.play.__doc__], [])
        names = [row.name for row in ROWS]
        self.assertEqual(len(set(names)), len(names))

    def test_marks_say_why_and_how(self) -> None:
        """Issue 3: who builds it finds the mark by its reason; it may fail of that reason only."""
        self.assertEqual([row.name for row in ROWS if bool(row.unbuilt) != bool(row.fails_with)], [])
