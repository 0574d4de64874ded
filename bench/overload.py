"""``python -m bench overload``: three times as many calls as the server can answer, and what it makes of them.

First its capacity is searched for as the row ``answered-async`` does, or given. Then calls come at three times that:
it must complete 80 % of its capacity and answer the rest 503 (RFC 3261 21.5.4), at once. `judge` is pure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from bench.figures import search
from bench.load import Step
from bench.peers.project import project
from bench.rows import Rig

TIMES = 3.0
KEPT = 0.8


@attrs.frozen
class Overloaded:
    """What came out: calls per second that were completed and refused; ``lost`` got neither an answer nor a 503."""

    capacity: float
    asked: float
    completed_per_second: float
    refused_per_second: float
    lost: int
    placed: int
    other_status: int
    answer_p99_ms: float
    after: float
    """The share of calls that came about at half the capacity, after it."""


def judge(one: Overloaded) -> list[str]:
    """Return what is wrong with it, in sentences."""
    wrong = []
    if one.completed_per_second < KEPT * one.capacity:
        share = 100 * one.completed_per_second / one.capacity
        wrong.append(f"it completed {one.completed_per_second:.0f} calls/s, {share:.0f} % of its capacity")
    if one.lost:
        wrong.append(f"{one.lost} of {one.placed} calls were neither completed nor answered 503")
    if one.other_status:
        wrong.append(f"some were refused with {one.other_status} in place of 503")
    if one.after < 1:
        wrong.append(f"afterwards, at half its capacity, only {100 * one.after:.1f} % of calls came about")
    return wrong


def overload(rig: Rig, rate: float | None, say: Callable[[str], None]) -> Overloaded:
    """Run it; ``rate`` is the capacity, where it is known."""
    seconds = rig.span(15.0, 4.0)
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port) as running:
        load.towards(running.port)
        load.calls("answer", 100.0, 1.0)

        def step(asked: float) -> Step:
            load.rest(0.3)
            done = load.calls("answer", asked, 1.5)
            say(f"{asked:.0f} calls/s: {'passed' if done.passed else done.reason}")
            return done

        capacity = rate if rate is not None else search(step, 500.0)[0]
        load.rest(1.0)
        done = load.calls("answer", TIMES * capacity, seconds)
        figures = done.figures
        load.rest(2.0)
        half = load.calls("answer", capacity / 2, 2.0)
    refused = int(figures["refused_503"])
    return Overloaded(
        capacity=capacity,
        asked=TIMES * capacity,
        completed_per_second=done.completed / seconds,
        refused_per_second=refused / seconds,
        lost=int(figures["placed"]) - done.completed - int(figures["refused"]),
        placed=int(figures["placed"]),
        other_status=int(figures["other_status"]),
        answer_p99_ms=float(figures["answer"]["p99_ms"]),
        after=half.completed / max(1, int(half.figures["placed"])),
    )


def report(one: Overloaded, wrong: list[str]) -> str:
    """Return what is printed at the end."""
    lines = [
        f"capacity {one.capacity:,.0f} calls/s; asked {one.asked:,.0f}: completed {one.completed_per_second:,.0f} "
        f"({100 * one.completed_per_second / one.capacity:.0f} %), refused with 503 {one.refused_per_second:,.0f}, "
        f"lost {one.lost} of {one.placed}",
        f"answered calls waited at most {one.answer_p99_ms:.0f} ms (p99)",
    ]
    return "\n".join([*lines, *(f"WRONG: {one}" for one in wrong)])


def as_dict(one: Overloaded) -> dict[str, Any]:
    """Return it for JSON."""
    return {**attrs.asdict(one), "wrong": judge(one)}
