"""Calls answered per second, sustained: INVITE, 180, 200, ACK, 100 ms, BYE, 200."""

from __future__ import annotations

from functools import partial

from bench.figures import Aim, Measured
from bench.peers import floor, sipp, sippy
from bench.peers.project import project
from bench.rows import Contender, Rig, Row
from bench.rows.capacity import capacity


def _project(key: str, user: str, rate: float, rig: Rig) -> Measured:
    options = () if rig.profile is None else ("--profile", rig.profile)

    def start(workshop, core, target):  # type: ignore[no-untyped-def]
        return project(workshop, core, target, *options)

    return capacity(rig, key, start, user, rate, transfer=False)


_PEERS = (
    Contender(
        "sipp",
        lambda rig: capacity(rig, "answered-async/sipp", sipp.responder, "3300", 5000, transfer=False),
        sipp.absent,
    ),
    Contender(
        "sippy",
        lambda rig: capacity(rig, "answered-async/sippy", sippy.responder, "3300", 300, transfer=False),
        sippy.absent,
    ),
    Contender("floor", lambda rig: capacity(rig, "answered-async/floor", floor.floor, "3300", 15000, transfer=False)),
)

ROWS = [
    Row(
        name="answered-async",
        title="Calls answered per second, async def main",
        unit="calls/s",
        about="INVITE, 180, 200, ACK, 100 ms, BYE; sustained without failure or retransmission",
        contenders=(Contender("project", partial(_project, "answered-async/project", "answer", 500)), *_PEERS),
        aims=(Aim(2500, higher=True),),
        seconds=(110, 27),
    ),
    Row(
        name="answered-blocking",
        title="Calls answered per second, blocking main",
        unit="calls/s",
        about="the same, each call in a thread of its own",
        contenders=(Contender("project", partial(_project, "answered-blocking/project", "answer_blocking", 350)),),
        aims=(Aim(1200, higher=True),),
        seconds=(28, 7),
    ),
]
