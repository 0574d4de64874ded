"""Transferred calls on hold for an hour of simulated time, then ended: what grows, and what is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from bench.figures import Aim, Entry, Measured, number
from bench.processes import Broken, Process
from bench.rows import Contender, Rig, Row

CALLS = (5000, 10)
SECONDS = 3600.0


def hold(rig: Rig) -> Measured:
    """Measure by how many of Python's objects a call grows in the hour, and by how much the process does."""
    calls = rig.count(*CALLS)
    log = rig.workshop.fresh("hold") / "hold.log"
    command = [sys.executable, "-m", "bench.holding", str(calls), str(rig.span(SECONDS, SECONDS))]
    process = Process(command, rig.cores[0], lines=True, log=log)
    try:
        told = json.loads(process.heard())
    finally:
        process.end()
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
        about="5,000 transferred calls, held by both ends, with RTCP and session timers; then ended",
        contenders=(Contender("project", hold),),
        # Not nought: a report or two are always under way. Of memory, the allocator's own unrest.
        aims=(
            Aim(1.0, higher=False),
            Aim(2.0, higher=False, figure="grown_percent", called="memory grown by", unit="%", worst=True),
            Aim(0, higher=False, figure="left_over", called="timers, sockets, channels left", worst=True),
        ),
        rounds=1,
        seconds=(600, 3),
        notes=_notes,
    ),
]
