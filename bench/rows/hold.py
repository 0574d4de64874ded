"""Transferred calls on hold for an hour of simulated time, then ended: what grows, and what is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from bench.figures import Aim, Entry, Measured, number
from bench.processes import Broken, Process
from bench.rows import Contender, Rig, Row

CALLS = (5000, 10)
SECONDS = 3600.0
#: What the row may take, in seconds of real time: as many calls as fit, which a short run with a few tells.
BUDGET = 480.0
PROBE = (50, 400.0)


def _run(rig: Rig, calls: int, seconds: float) -> dict[str, Any]:
    log = rig.workshop.fresh("hold") / "hold.log"
    command = [sys.executable, "-m", "bench.holding", str(calls), str(seconds)]
    process = Process(command, rig.cores[0], lines=True, log=log)
    try:
        return dict(json.loads(process.heard()))
    finally:
        process.end()


def fitting(wanted: int, probe_cpu_seconds: float) -> int:
    """Return how many calls fit into the budget by what the probe took; at least a hundred, at most what is wanted."""
    each = probe_cpu_seconds / (PROBE[0] * PROBE[1]) * SECONDS
    return max(100, min(wanted, int(BUDGET / each) // 100 * 100)) if each else wanted


def hold(rig: Rig) -> Measured:
    """Measure by how many of Python's objects a call grows in the hour, and by how much the process does."""
    calls = rig.count(*CALLS)
    if calls == CALLS[0] and rig.calls is None:
        calls = fitting(calls, _run(rig, *PROBE)["hold_cpu_seconds"])
        rig.say(f"{calls:,} calls fit into {BUDGET:g} s")
    told = _run(rig, calls, rig.span(SECONDS, SECONDS))
    if not told["all_ended"]:
        raise Broken(f"not every call could be ended: {told}")
    before, after = told["resident_kib"]
    left = told["timers_left"] + told["channels_left"] + told["port_pairs_left"] + len(told["left"])
    objects = told["objects"]
    more = {**told, "left_over": left, "grown_percent": round(100 * (after - before) / before, 3)}
    return Measured((objects[1] - objects[0]) / calls, more)


def _notes(entries: Sequence[Entry]) -> list[str]:
    told = entries[0].rounds[-1].more
    before, after = (number(one / 1024) for one in told["resident_kib"])
    return [
        f"hold: {told['calls']:,} calls for {told['simulated_seconds']:,} s of simulated time took "
        f"{told['cpu_seconds']} s; memory {before} MiB after the first refresh, {after} MiB at the end"
    ]


ROWS = [
    Row(
        name="hold",
        title="Growth of a call on hold for a simulated hour",
        unit="objects",
        about="transferred calls, held by both ends, with RTCP and session timers; then ended",
        contenders=(Contender("project", hold),),
        # Not nought: a report or two are always under way. Of memory, the allocator's own unrest.
        aims=(
            Aim(1.0, higher=False),
            Aim(5000, higher=True, figure="calls", called="calls held"),
            Aim(2.0, higher=False, figure="grown_percent", called="memory grown by", unit="%", worst=True),
            Aim(0, higher=False, figure="left_over", called="timers, sockets, channels left", worst=True),
        ),
        rounds=1,
        seconds=(600, 3),
        notes=_notes,
    ),
]
