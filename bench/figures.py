"""What is made of the rounds of a row: medians, ranges, ratios, aims reached or missed. Pure.

Owns: `Aim`, `Result`, and the search for the highest rate that is sustained. Must not know what was measured or how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import attrs

from bench.load import Step

#: So many steps in a row have to pass for a rate to be sustained.
IN_A_ROW = 3
#: The search is content when the next higher rate that was tried and failed is no further away than this.
RESOLUTION = 1.05
#: How fast it climbs while nothing is known.
CLIMB = 1.3
#: After a rate that passed once did not pass three times, how much lower the next try is: so much, then its square, …
BACK = 0.96
#: So many rates are tried for three in a row before it is said that there is none.
TRIES = 7


@attrs.frozen
class Aim:
    """What a row is to reach: ``value`` or better; ``higher`` says which way better is.

    ``of`` is a contender's name where the aim is a ratio to that one in the same round. ``figure`` names one of what
    else was measured, where the aim is not on the row's own figure; ``called`` and ``unit`` are what that is in words,
    and ``worst`` holds the worst round to it in place of the median.
    """

    value: float
    higher: bool
    of: str = ""
    figure: str = ""
    called: str = ""
    unit: str = ""
    worst: bool = False

    def reached(self, value: float) -> bool:
        """Tell whether a value is good enough."""
        return value >= self.value if self.higher else value <= self.value

    def text(self, unit: str) -> str:
        """Return it in words."""
        sign = "≥" if self.higher else "≤"
        if self.of:
            return f"{sign} {number(self.value)} x {self.of}"
        if self.figure:
            return f"{self.called} {sign} {number(self.value)} {self.unit}".rstrip()
        return f"{sign} {number(self.value)} {unit}"

    def held(self, entry: Entry) -> float:
        """Return what of an entry is held to it."""
        if not self.figure:
            return entry.value
        values = [float(one.more[self.figure]) for one in entry.rounds]
        if not self.worst:
            return float(median(values))
        return min(values) if self.higher else max(values)


@attrs.frozen
class Measured:
    """One round of one contender. ``value`` is the row's figure; ``more`` is whatever else was seen, for the JSON."""

    value: float
    more: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Entry:
    """All rounds of one contender in a row. ``absent`` says why there are none."""

    contender: str
    rounds: tuple[Measured, ...] = ()
    absent: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return median(one.value for one in self.rounds)

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest."""
        values = [one.value for one in self.rounds]
        return min(values), max(values)

    def ratio_to(self, other: Entry) -> float | None:
        """Return the median of this one's values over the other's, round by round."""
        ratios = [mine.value / its.value for mine, its in zip(self.rounds, other.rounds, strict=False) if its.value]
        return median(ratios) if ratios else None


def number(value: float) -> str:
    """Return a figure with as many digits as mean something."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.095 else f"{value:.3f}"


def sustained(steps: Sequence[Step]) -> bool:
    """Tell whether the last three steps, all of one rate, passed."""
    last = steps[-IN_A_ROW:]
    return len(last) == IN_A_ROW and len({one.rate for one in last}) == 1 and all(one.passed for one in last)


def search(step: Callable[[float], Step], start: float, most_steps: int = 24) -> tuple[float, list[Step]]:
    """Find the highest rate at which three steps in a row pass; returns it (0: none) and all steps.

    Climbs from ``start`` by `CLIMB` until a step fails, goes down where the first one fails already, halves the gap
    down to `RESOLUTION` (all that in ``most_steps``, less three), then asks for three in a row, and goes down by
    `BACK`, further each time, as long as these fail.
    """
    steps: list[Step] = []

    def passes(rate: float) -> bool:
        steps.append(step(rate))
        return steps[-1].passed

    rate, good, bad = start, 0.0, 0.0
    while len(steps) < most_steps - IN_A_ROW:
        if passes(rate):
            good = max(good, rate)
        else:
            bad = rate if not bad else min(bad, rate)
        if good and bad:
            if bad <= good * RESOLUTION:
                break
            rate = (good * bad) ** 0.5
        else:
            rate = rate * CLIMB if good else rate / CLIMB / CLIMB
        if rate < 1:
            return 0.0, steps
    rate = good or rate
    for attempt in range(1, TRIES + 1):
        # One at this rate has passed already, but between it and now others failed.
        if all(passes(rate) for _ in range(IN_A_ROW)):
            return rate, steps
        rate *= BACK**attempt
    return 0.0, steps


def judged(aim: Aim | None, project: Entry, entries: Sequence[Entry]) -> tuple[str, float | None]:
    """Return ``"reached"``, ``"missed"`` or ``""`` (can't be told), and the figure that was held to the aim."""
    if aim is None or not project.rounds:
        return "", None
    if not aim.of:
        held = aim.held(project)
        return ("reached" if aim.reached(held) else "missed"), held
    other = next((one for one in entries if one.contender == aim.of and one.rounds), None)
    ratio = None if other is None else project.ratio_to(other)
    if ratio is None:
        return "", None
    return ("reached" if aim.reached(ratio) else "missed"), ratio
