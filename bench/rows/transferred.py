"""Whole transferred calls per second: A in, B out, join, 100 ms, A's BYE, B's BYE."""

from __future__ import annotations

from functools import partial

from bench.figures import Aim, Measured
from bench.peers import kamailio, sippy
from bench.peers.project import project
from bench.rows import Contender, Rig, Row
from bench.rows.capacity import capacity


def _project(user: str, rate: float, rig: Rig) -> Measured:
    options = () if rig.profile is None else ("--profile", rig.profile)

    def start(workshop, core, target):  # type: ignore[no-untyped-def]
        return project(workshop, core, target, *options)

    return capacity(rig, user, start, user, rate, transfer=True)


ROWS = [
    Row(
        name="transferred",
        title="Whole transferred calls per second",
        unit="calls/s",
        about="A in, B out, join, 100 ms, BYE to both; sustained",
        contenders=(
            Contender("project", partial(_project, "transfer", 200)),
            Contender("project, blocking", partial(_project, "transfer_blocking", 150)),
            Contender(
                "kamailio (proxy)",
                lambda rig: capacity(rig, "kamailio", kamailio.proxy, "3300", 1500, transfer=True),
                kamailio.absent,
            ),
            Contender(
                "sippy (B2BUA)",
                lambda rig: capacity(rig, "b2bua", sippy.b2bua, "3300", 150, transfer=True),
                sippy.absent,
            ),
        ),
        aims=(Aim(900, higher=True),),
        seconds=(120, 30),
    ),
]
