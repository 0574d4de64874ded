"""What the bench prints and writes: the table, ``results.json`` and the page's table. Pure.

Owns: how results are shown. Must not know how they were measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from bench.figures import Aim, Entry, judged, number
from bench.rows import Row

HEADINGS = ("row", "who", "median", "range", "ratio", "aim", "")


@attrs.frozen
class Result:
    """A row and what was measured of it. ``broken`` is why the project has no figure, where it has none."""

    row: Row
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()

    @property
    def project(self) -> Entry:
        """The project's own entry."""
        return self.entries[0]

    def verdicts(self) -> list[tuple[str, str, float | None]]:
        """Return each aim in words, whether it was reached, and what was held to it."""
        return [(aim.text(self.row.unit), *judged(aim, self.project, self.entries)) for aim in self.row.aims]


def lines_of(result: Result) -> list[tuple[str, ...]]:
    """Return the table's cells for a row: one line for each contender, the project's first, with the aims."""
    lines: list[tuple[str, ...]] = []
    verdicts = result.verdicts()
    for at, entry in enumerate(result.entries):
        name = result.row.name if at == 0 else ""
        if not entry.rounds:
            lines.append((name, entry.contender, "absent", "", "", "", entry.absent))
        else:
            low, high = entry.range
            ratio = None if at == 0 else result.project.ratio_to(entry)
            text, verdict, held = verdicts[0] if at == 0 and verdicts else ("", "", None)
            told_elsewhere = at == 0 and bool(verdicts) and _plain(result.row.aims[0])
            value = f"{number(entry.value)} {result.row.unit}"
            spread = f"{number(low)} to {number(high)}" if len(entry.rounds) > 1 else "one round"
            told = "" if ratio is None else f"project is {number(ratio)} x"
            verdict = _verdict(text, verdict, held, shown=not told_elsewhere)
            lines.append((name, entry.contender, value, spread, told, text, verdict))
        if at == 0:
            lines += [
                ("", "", "", "", "", text, _verdict(text, verdict, held, shown=True))
                for text, verdict, held in verdicts[1:]
            ]
    return lines


def _plain(aim: Aim) -> bool:
    return not aim.of and not aim.figure


def _verdict(text: str, verdict: str, held: float | None, *, shown: bool) -> str:
    if not text:
        return ""
    if not verdict:
        return "can't be told"
    return f"{verdict} ({number(held)})" if held is not None and shown else verdict


def table(results: Sequence[Result]) -> str:
    """Return the table as plain text, as wide as its widest cells."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    for result in results:
        lines += lines_of(result)
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    shown = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    shown.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(shown)


def as_json(results: Sequence[Result], about: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured, for ``results.json``."""
    rows = []
    for result in results:
        rows.append(
            {
                "name": result.row.name,
                "title": result.row.title,
                "unit": result.row.unit,
                "about": result.row.about,
                "aims": [{"aim": text, "verdict": verdict, "held": held} for text, verdict, held in result.verdicts()],
                "contenders": [_entry(result, entry) for entry in result.entries],
                "notes": list(result.notes),
            }
        )
    return {**about, "rows": rows}


def _entry(result: Result, entry: Entry) -> dict[str, Any]:
    if not entry.rounds:
        return {"who": entry.contender, "absent": entry.absent}
    return {
        "who": entry.contender,
        "median": entry.value,
        "range": list(entry.range),
        "project_is": None if entry is result.project else result.project.ratio_to(entry),
        "rounds": [{"value": one.value, **one.more} for one in entry.rounds],
        **({"absent": entry.absent} if entry.absent else {}),
    }
