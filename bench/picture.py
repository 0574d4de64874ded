"""The picture of the page: each row's contenders as bars, beside the aim. SVG, written by hand. Pure.

Of each row that has one figure to reach: a bar for everybody in it, the longer the better, on a scale that is the same
for all rows, with the aim as a line. What costs less is the longer bar where less is better.
"""

from __future__ import annotations

import math
from html import escape
from typing import Any

from bench.figures import number

WIDTH = 760
LEFT = 190
RIGHT = 640
LINE = 15
#: The scale: from a hundredth of the aim to ten times as good.
LEAST, MOST = 0.01, 10.0
STYLE = (
    "text{font:11px sans-serif;fill:#222}.row{font-weight:bold}.faint{fill:#777}.project{fill:#2a6f97}"
    ".missed{fill:#c8553d}.peer{fill:#bcc4cc}.aim{stroke:#222;stroke-dasharray:3 2}"
)


def place(goodness: float) -> float:
    """Return where on the scale something is that is so many times as good as the aim."""
    share = math.log(min(max(goodness, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return LEFT + share * (RIGHT - LEFT)


def goodness(value: float, aim: str) -> float | None:
    """Return how many times as good as an aim, in the words of `Aim.text`, a value is; None for another kind of aim."""
    sign, _, rest = aim.partition(" ")
    wanted = rest.split(" ")[0].replace(",", "")
    if sign not in ("≥", "≤") or " x " in rest:
        return None
    if value <= 0:
        return MOST if sign == "≤" else LEAST
    return value / float(wanted) if sign == "≥" else float(wanted) / value


def picture(told: dict[str, Any]) -> str:
    """Return the picture for what ``results.json`` holds."""
    shapes: list[str] = []
    top = 30
    for row in told["rows"]:
        bars = _bars(row)
        if not bars:
            continue
        shapes.append(f'<text class="row" x="8" y="{top + 11}">{escape(row["title"])}</text>')
        top += LINE + 2
        for name, good, text, kind in bars:
            end = place(good)
            shapes.append(f'<text x="{LEFT - 6}" y="{top + 11}" text-anchor="end">{escape(name)}</text>')
            bar = f'x="{LEFT}" y="{top + 2}" width="{max(1.0, end - LEFT):.1f}" height="{LINE - 4}"'
            shapes.append(f'<rect class="{kind}" {bar}/>')
            shapes.append(f'<text class="faint" x="{end + 4:.1f}" y="{top + 11}">{escape(text)}</text>')
            top += LINE
        top += 8
    aim = place(1.0)
    shapes.append(f'<line class="aim" x1="{aim:.1f}" y1="22" x2="{aim:.1f}" y2="{top}"/>')
    shapes.append(f'<text x="{aim:.1f}" y="16" text-anchor="middle">the aim; longer is better</text>')
    size = f'width="{WIDTH}" height="{top + 8}" viewBox="0 0 {WIDTH} {top + 8}"'
    title = f"<title>The project and its peers, measured at {escape(str(told['commit']))}</title>"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{title}<style>{STYLE}</style>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{top + 8}" fill="#fff"/>', *shapes, "</svg>", ""])


def _bars(row: dict[str, Any]) -> list[tuple[str, float, str, str]]:
    """Return the name, goodness, text and kind of each contender; none when there is nothing to draw."""
    bars: list[tuple[str, float, str, str]] = []
    plain = next((one for one in row["aims"] if goodness(1.0, one["aim"]) is not None), None)
    against = next((one for one in row["aims"] if " x " in one["aim"] and one["held"]), None)
    for at, one in enumerate(row["contenders"]):
        if "median" not in one:
            continue
        text = f"{number(one['median'])} {row['unit']}".strip()
        good: float | None = None
        if plain is not None:
            good = goodness(one["median"], plain["aim"])
        elif against is not None:
            # The aim is a share of a peer's figure: that figure times the share is what is aimed at.
            wanted = row["contenders"][0]["median"] / against["held"] * float(against["aim"].split(" ")[1])
            good = wanted / one["median"]
            text += f" ({against['aim']})" if at == 0 else ""
        if good is not None:
            kind = "peer" if at else "project" if good >= 1 else "missed"
            bars.append((one["who"], good, text, kind))
    return bars
