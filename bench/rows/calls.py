"""What calls that are up cost at rest, as they grow in number, and in their first moment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from bench.figures import Aim, Entry, Measured, number
from bench.peers.project import project
from bench.processes import Broken
from bench.rows import Contender, Rig, Row
from bench.rows.relay import begin, talk

#: How long memory has to settle before it is looked at.
REST_SECONDS = 2.0


def memory(user: str, replay: str, rig: Rig) -> Measured:
    """Measure the memory of a transferred call: what the later nine tenths of the calls add, each."""
    few, many = (20, 80) if rig.quick else (100, 1000)
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port, "--replay", replay) as running:
        load.towards(running.port)
        sizes = []
        for count in (few, many - few):
            # At a rate that the slowest of today's keeps; faster would measure queues.
            up = load.dial(user, count, 60.0, transfer=True, media=False)
            if up["up"] != count:
                raise Broken(f"only {up['up']} of {count} calls came about (last status {up['other_status']})")
            load.rest(rig.span(REST_SECONDS, 0.4))
            sizes.append(running.process.resident_kib())
        sockets = running.process.udp_ports()
        ended = load.hang_up(200.0)
    if ended["completed"] != many:
        raise Broken(f"only {ended['completed']} of {many} calls were still there to be ended")
    return Measured(
        (sizes[1] - sizes[0]) / (many - few), {"resident_kib": sizes, "calls": [few, many], "udp_sockets": sockets}
    )


def marginal(rig: Rig) -> Measured:
    """Measure what a call more costs among many, over what one costs among few."""
    seconds = rig.span(8.0, 1.0)
    counts = (10, 40, 100) if rig.quick else (10, 100, 500)
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port) as running:
        load.towards(running.port)
        costs, lost, up = [], 0, 0
        for count in counts:
            begin(load, "transfer", count - up)
            up = count
            measured = talk(load, running, count, seconds, settle=0.5)
            costs.append(measured.value * count)
            lost += measured.more["lost"]
        load.hang_up()
    few = (costs[1] - costs[0]) / (counts[1] - counts[0])
    many = (costs[2] - costs[1]) / (counts[2] - counts[1])
    return Measured(
        many / few,
        {
            "calls": list(counts),
            "cpu_ms_per_second": [round(one, 2) for one in costs],
            "marginal_ms": [round(few, 4), round(many, 4)],
            "fixed_ms_per_second": round(costs[0] - counts[0] * few, 2),
            "lost": lost,
        },
    )


def _fixed(entries: Sequence[Entry]) -> list[str]:
    last = entries[0].rounds[-1].more
    few, many = last["marginal_ms"]
    return [
        f"marginal: a call costs {number(few)} CPU-ms/s from {last['calls'][0]} to {last['calls'][1]} calls and "
        f"{number(many)} from there to {last['calls'][2]}; without any, {number(last['fixed_ms_per_second'])} CPU-ms/s"
    ]


def first_packet(rig: Rig) -> Measured:
    """Measure from the later of the target's 200 and its first packet to that packet at the caller."""
    up = rig.count(300, 40)
    seconds = rig.span(10.0, 2.0)
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port) as running:
        load.towards(running.port)
        begin(load, "transfer", up)
        load.say(0.5)
        waited = running.process.waited_seconds()
        # Each of these calls lasts a second; the others talk all the while.
        step = load.calls("transfer", 10.0, seconds, hold=1.0, transfer=True, media=True)
        waited = running.process.waited_seconds() - waited
        load.hang_up()
    first = step.figures["first_packet"]
    if step.failures or not first["count"]:
        raise Broken(f"{step.failures} of {step.figures['placed']} calls failed")
    return Measured(
        first["p99_ms"],
        {
            "calls_up": up,
            "calls_measured": first["count"],
            "p50_ms": first["p50_ms"],
            "most_ms": first["most_ms"],
            "first_packets_lost": step.figures["first_missed"] + step.figures["up"] - first["count"],
            "seconds_without_core": round(waited, 3),
        },
    )


def turns(rig: Rig) -> Measured:
    """Measure the longest turn of the reactor while calls come and go."""
    seconds = rig.span(60.0 * rig.minutes, 3.0)
    rate = rig.rate or 1000.0
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port, "--turns") as running:
        load.towards(running.port)
        load.calls("answer", min(rate, 200.0), 1.0)
        running.figures()
        step = load.calls("answer", rate, seconds)
        figures = running.figures()
    return _turned(figures, {"calls_per_second": rate, "seconds": seconds, "came_about": step.completed_per_second,
                             "failures": step.failures, "retransmissions": step.retransmissions})  # fmt: skip


def idle(rig: Rig) -> Measured:
    """Measure the same without calls."""
    seconds = rig.span(60.0, 1.0)
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port, "--turns") as running:
        running.figures()
        time.sleep(seconds)
        return _turned(running.figures(), {"seconds": seconds})


def _turned(figures: dict, more: dict) -> Measured:  # type: ignore[type-arg]
    turned, collector = figures["turns"], figures["collector"]
    return Measured(
        turned["most_ms"],
        {
            **more,
            "turns": turned["turns"],
            "longest_turns_ms": turned["longest_ms"],
            "turns_over_10_ms": turned["over_10_ms"],
            "collector_pause_ms": collector["longest_ms"],
            "collections": collector["collections"],
            "collector_seconds": collector["seconds"],
        },
    )


def _paused(entries: Sequence[Entry]) -> list[str]:
    told = []
    for entry in entries:
        for one in entry.rounds:
            rate = one.more.get("came_about")
            came = "" if rate is None else f"{number(rate)} calls/s came about, {one.more['failures']} failed; "
            pause = number(one.more["collector_pause_ms"])
            told.append(
                f"turns, {entry.contender}: {came}longest pause of the collector {pause} ms, "
                f"collections {one.more['collections']} by generation"
            )
    return told


ROWS = [
    Row(
        name="memory",
        title="Memory of a transferred call at rest",
        unit="KiB",
        about="(RSS at 1,000 less RSS at 100) / 900, two legs; async with the replay ring off",
        contenders=(
            Contender("project", partial(memory, "transfer", "off")),
            Contender("project, blocking", partial(memory, "transfer_blocking", "off")),
            Contender("project, with the replay ring", partial(memory, "transfer", "signalling")),
        ),
        aims=(Aim(40, higher=False),),
        rounds=1,
        seconds=(110, 14),
    ),
    Row(
        name="marginal",
        title="A relayed call more among 100 to 500, over one among 10 to 100",
        unit="",
        about="CPU time of one call more; 1 is a cost that doesn't grow",
        contenders=(Contender("project", marginal),),
        aims=(Aim(1.2, higher=False),),
        seconds=(45, 8),
        notes=_fixed,
    ),
    Row(
        name="first-packet",
        title="From the target's 200 and first packet to that packet at the caller, p99",
        unit="ms",
        about="300 calls up and talking; the later of the two counts",
        contenders=(Contender("project", first_packet),),
        aims=(
            Aim(2.0, higher=False),
            Aim(0, higher=False, figure="first_packets_lost", called="first packets lost", worst=True),
        ),
        seconds=(25, 6),
    ),
    Row(
        name="turns",
        title="Longest turn of the reactor, in its own CPU time, at 1,000 calls/s",
        unit="ms",
        about="with the collector's pauses; beside an idle control",
        contenders=(Contender("project", turns), Contender("idle", idle)),
        aims=(Aim(20, higher=False),),
        rounds=1,
        seconds=(65, 8),
        by_minutes=True,
        notes=_paused,
    ),
]
