"""What ``docs/speed.rst`` says of ``results.json``: its table, between two marks, and the picture. Pure.

Owns: how a run becomes a part of the page. Whatever else the page says is written by hand, and isn't touched.
"""

from __future__ import annotations

from typing import Any

from bench.figures import number

BEGIN = ".. results: written by python -m bench, all between these two lines\n"
END = ".. end of results\n"


def results(told: dict[str, Any]) -> str:
    """Return the part of the page that a run fills."""
    machine, versions = told["machine"], told["versions"]
    written = ", ".join(f"{name} {one}" for name, one in versions.items() if one)
    lines = [
        f"Measured on {told['date'][:10]} at commit {told['commit']}, on {machine['processor']} with "
        f"{machine['cores']} cores, Linux {machine['system']}: {written}.",
        "Medians of the rounds, in brackets the lowest and the highest.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "   :widths: 30 20 30 30",
        "",
    ]
    for cells in (("", "the project", "beside it", "aim"), *map(_cells, told["rows"])):
        for at, cell in enumerate(cells):
            lines.append(f"   {'* -' if at == 0 else '  -'} {cell}".rstrip())
    notes = [note for row in told["rows"] for note in row["notes"]]
    return "\n".join([*lines, "", *(f"* {_plain(note)}" for note in notes), ""])


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    project, *others = row["contenders"]
    beside = [_said(one, row["unit"]) for one in others]
    aims = [f"{one['aim']}: {_verdict(one)}" for one in row["aims"]]
    return (
        f"**{row['name']}**: {row['title']}",
        _said(project, row["unit"], own=True),
        "; ".join(beside),
        "; ".join(aims),
    )


def _said(one: dict[str, Any], unit: str, *, own: bool = False) -> str:
    name = "" if own else f"{one['who']} "
    if "median" not in one:
        return f"{name}absent: {_plain(one['absent'])}"
    low, high = one["range"]
    spread = f" ({number(low)} to {number(high)})" if low != high else ""
    ratio = one.get("project_is")
    told = f", the project is {number(ratio)} x" if ratio is not None else ""
    return f"{name}{number(one['median'])} {unit}".rstrip() + spread + told


def _verdict(aim: dict[str, Any]) -> str:
    if not aim["verdict"]:
        return "can't be told"
    return f"{aim['verdict']} ({number(aim['held'])})"


def _plain(text: str) -> str:
    """Return text in which nothing means anything to reStructuredText."""
    return text.replace("\\", "\\\\").replace("*", "\\*").replace("`", "'").replace("_", "\\_").replace("|", "\\|")


def page(text: str, told: dict[str, Any]) -> str:
    """Return the page's text with the results of a run. Raises ValueError when the marks aren't there."""
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the page has no place for results")
    return f"{before}{BEGIN}\n{results(told)}\n{END}{after}"
