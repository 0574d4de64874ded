"""The table of races, played: each scenario of `tests.races` with three seeds of network trouble."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.trial.reporter import TestResult
from twisted.trial.unittest import SynchronousTestCase

from tests.race_scene import TROUBLES, DirectRace, HastyRace, Race, Row, rows_of
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


#: What isn't about anchored media.
BOTH = [row for row in ROWS if not row.anchored]
#: A key that is down at the very moment of the change comes half by the server and half directly.
HASTY = [row for row in BOTH if row.name != "r27_keys_both_ways"]


@rows_of(*BOTH)
class DirectFarTests(DirectRace):
    """Direct media: the same outcomes, whoever does what once no packet comes by the server (RFC 3725)."""

    seed, network_settings = TROUBLES["far"]


@rows_of(*BOTH)
class DirectLossyTests(DirectRace):
    """The same, where re-INVITEs get lost."""

    seed, network_settings = TROUBLES["lossy"]


@rows_of(*BOTH)
class DirectUnrulyTests(DirectRace):
    """The same, where they come twice or overtake each other."""

    seed, network_settings = TROUBLES["unruly"]


@rows_of(*HASTY)
class HastyFarTests(HastyRace):
    """The same, while one of the two has been asked and the other hasn't answered."""

    seed, network_settings = TROUBLES["far"]


class MarkTests(SynchronousTestCase):
    """What becomes of a marked scenario."""

    def outcome(self, play: Callable[[Race], Coroutine[Any, Any, None]], fails_with: str = "that") -> dict[str, int]:
        """Play a marked scenario; how often which of trial's outcomes came."""

        @rows_of(Row("R0", play, "it is not built", fails_with))
        class Marked(Race):
            pass

        result = TestResult()
        Marked(f"test_r0_{play.__name__}").run(result)
        names = ("expectedFailures", "unexpectedSuccesses", "failures", "errors")
        return {name: len(getattr(result, name)) for name in names if getattr(result, name)} | {"": result.successes}

    def test_fails_as_it_says(self) -> None:
        """Issue 3: expected, and no failure."""

        async def play(race: Race) -> None:
            race.fail("that is not there")

        self.assertEqual(self.outcome(play), {"expectedFailures": 1, "": 0})

    def test_fails_otherwise(self) -> None:
        """A mark covers nothing but its reason."""

        async def play(race: Race) -> None:
            race.fail("something else is broken")

        self.assertEqual(self.outcome(play), {"errors": 1, "": 0})

    def test_raises(self) -> None:
        """Nor does it cover a scenario that is broken itself."""

        async def play(race: Race) -> None:
            raise KeyError("that")

        self.assertEqual(self.outcome(play), {"errors": 1, "": 0})

    def test_passes(self) -> None:
        """Issue 3: a marked row that passes is an unexpected success, which fails ``.ci/run``."""

        async def play(race: Race) -> None:
            await race.passes(1)

        self.assertEqual(self.outcome(play), {"unexpectedSuccesses": 1, "": 0})

    def test_passes_and_leaves_something_behind(self) -> None:
        """That it has a fault of another kind doesn't hide that it passes."""

        async def play(race: Race) -> None:
            race.alice.complain("that")

        self.assertEqual(self.outcome(play), {"errors": 1, "": 0})


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
