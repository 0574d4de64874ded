"""What relaying a G.711 call costs, and what it does to the packets.

Processor time of the whole process over calls times seconds, while each of two ends sends 50 packets a second. The
project's calls are transferred calls, set up by SIP and joined; rtpengine is told of its calls by its ng protocol, the
C relay by lines. What is sent, counted and stamped is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from statistics import median
from typing import Any

from bench.figures import Aim, Entry, Measured, number
from bench.load import Load
from bench.peers import Running, relay, rtpengine
from bench.peers.project import project
from bench.processes import Broken
from bench.rows import Contender, Rig, Row

CALLS = 500
#: How many calls a second are set up, and ended.
SETUP_RATE = 100.0
#: Ports that aren't relayed well at first (not latched yet, not joined yet) have so long.
SETTLE_SECONDS = 1.0


def talk(load: Load, running: Running, calls: int, seconds: float, settle: float = SETTLE_SECONDS) -> Measured:
    """Let calls that are up talk, and return what one costs, in CPU-ms per call-second."""
    load.say(settle)
    cpu, dropped, waited = running.cpu_seconds(), running.process.dropped(), running.process.waited_seconds()
    heard = load.talk(seconds)
    cpu = running.cpu_seconds() - cpu
    sent = sum(heard["sent"])
    if not sent:
        raise Broken("no packet could be sent")
    return Measured(
        1000 * cpu / (calls * seconds),
        {
            "calls": calls,
            "seconds": seconds,
            "share_of_core": round(cpu / seconds, 3),
            "share_without_core": round((running.process.waited_seconds() - waited) / seconds, 3),
            "sent": sent,
            "received": sum(heard["received"]),
            "translated": sum(heard["others"]),
            "lost": heard["lost"],
            "dropped_by_the_system": running.process.dropped() - dropped,
            "delay_p99_ms": heard["delay"]["p99_ms"],
            "delay_ms": heard["delay"],
            "load_share_of_core": round(heard["cpu_seconds"] / seconds, 3),
            "load_lateness_ms": heard["lateness"],
        },
    )


def begin(load: Load, user: str, calls: int, *, transfer: bool = True) -> None:
    """Bring calls about; raises `Broken` unless all of them are."""
    up = load.dial(user, calls, SETUP_RATE, transfer=transfer)
    if up["up"] != calls:
        raise Broken(f"only {up['up']} of {calls} calls came about (last status {up['other_status']})")


def project_relays(calls: tuple[int, int], user: str, rig: Rig) -> Measured:
    """Measure the project's service ``user``; ``calls`` in full and with ``--quick``."""
    count = rig.count(*calls)
    options = () if rig.profile is None else ("--profile", rig.profile)
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port, *options) as running:
        load.towards(running.port)
        begin(load, user, count)
        measured = talk(load, running, count, rig.span(10.0, 1.5))
        figures = running.figures()
        load.hang_up()
        return Measured(
            measured.value,
            {**measured.more, "late_slots": figures["late_slots"], "skipped_turns": figures["skipped_turns"]},
        )


def relays(start: Callable[[Any, int], AbstractContextManager[Any]], calls: tuple[int, int], rig: Rig) -> Measured:
    """Measure somebody who is told of calls by their ports."""
    count = rig.count(*calls)
    with rig.load() as load, start(rig.workshop, rig.cores[0]) as running:
        for call in range(count):
            ports = [int(load.tell(f"leg {call} {side} 0")["port"]) for side in (0, 1)]
            for side, port in enumerate(running.call(call, *ports)):
                load.tell(f"leg {call} {side} {port}")
        return talk(load, running, count, rig.span(10.0, 1.5))


def _notes(entries: Sequence[Entry]) -> list[str]:
    told = []
    for entry in entries[1:]:
        if entry.rounds:
            late = median(one.more["delay_p99_ms"] for one in entry.rounds)
            lost, sent = (sum(one.more[name] for one in entry.rounds) for name in ("lost", "sent"))
            told.append(f"relay, {entry.contender}: delay p99 {number(late)} ms, {lost:,} of {sent:,} packets lost")
    return told


SIZE = (CALLS, 100)

ROWS = [
    Row(
        name="relay",
        title="Relay of a transferred G.711 call",
        unit="CPU-ms/call-second",
        about="50 packets a second each way; 500 calls; added delay p99 and loss below",
        contenders=(
            Contender("project", partial(project_relays, SIZE, "transfer")),
            Contender("rtpengine", partial(relays, rtpengine.rtpengine, SIZE), rtpengine.absent),
            Contender("project, direct media", partial(project_relays, SIZE, "direct"), quick=False),
            Contender("C relay", partial(relays, relay.relay, SIZE), relay.absent),
        ),
        aims=(
            Aim(0.9, higher=False, of="rtpengine"),
            Aim(1.8, higher=False, of="C relay"),
            Aim(1.0, higher=False, figure="delay_p99_ms", called="delay p99", unit="ms"),
            Aim(0, higher=False, figure="lost", called="packets lost", worst=True),
        ),
        seconds=(95, 11),
        notes=_notes,
    ),
]
