"""Whole transferred calls per second: A in, B out, join, 100 ms, A's BYE, B's BYE."""

from __future__ import annotations

from functools import partial

from bench.figures import Aim, Measured
from bench.peers import kamailio, sippy
from bench.peers.project import project
from bench.rows import Contender, Rig, Row
from bench.rows.capacity import capacity


def _project(key: str, user: str, rate: float, rig: Rig) -> Measured:
    options = () if rig.profile is None else ("--profile", rig.profile)

    def start(workshop, core, target):  # type: ignore[no-untyped-def]
        return project(workshop, core, target, *options)

    return capacity(rig, key, start, user, rate, transfer=True)


ROWS = [
    Row(
        name="transferred",
        title="Whole transferred calls per second",
        unit="calls/s",
        about="A in, B out, join, 100 ms, BYE to both; sustained",
        contenders=(
            Contender("project", partial(_project, "transferred/project", "transfer", 200)),
            Contender(
                "project, blocking",
                partial(_project, "transferred/project, blocking", "transfer_blocking", 150),
                quick=False,
            ),
            Contender(
                "kamailio (proxy)",
                lambda rig: capacity(rig, "transferred/kamailio (proxy)", kamailio.proxy, "3300", 1500, transfer=True),
                kamailio.absent,
            ),
            Contender(
                "sippy (B2BUA)",
                lambda rig: capacity(rig, "transferred/sippy (B2BUA)", sippy.b2bua, "3300", 150, transfer=True),
                sippy.absent,
            ),
        ),
        aims=(Aim(900, higher=True),),
        seconds=(110, 21),
    ),
]
