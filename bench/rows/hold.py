"""Transferred calls on hold for an hour of simulated time, then ended: what grows, and what is left."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from bench.figures import Aim, Entry, Measured, number
from bench.processes import Broken, Process
from bench.rows import Contender, Rig, Row

CALLS = (5000, 20)
SECONDS = 3600.0


def hold(rig: Rig) -> Measured:
    """Measure how much memory a call grows by in the hour."""
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
    return Measured((after - before) / calls, {**told, "left_over": left})


def _notes(entries: Sequence[Entry]) -> list[str]:
    told = entries[0].rounds[-1].more
    grown = (told["objects"][1] - told["objects"][0]) / told["calls"]
    return [
        f"hold: {told['calls']:,} calls for {told['simulated_seconds']:,} s of simulated time took "
        f"{told['cpu_seconds']} s; Python's objects grew by {number(grown)} a call"
    ]


ROWS = [
    Row(
        name="hold",
        title="Growth of a call on hold for a simulated hour",
        unit="KiB",
        about="5,000 transferred calls, held by both ends, with RTCP and session timers; then ended",
        contenders=(Contender("project", hold),),
        # The allocator's own noise: half a KiB a call of what begins at some 50.
        aims=(
            Aim(0.5, higher=False),
            Aim(0, higher=False, figure="left_over", called="timers, sockets, channels left", worst=True),
        ),
        rounds=1,
        seconds=(700, 5),
        notes=_notes,
    ),
]
