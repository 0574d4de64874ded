"""The load: ``bench/c/load.c`` in a process on the core that isn't measured, and what it found.

Must not know who is measured. Figures are as the C program gives them; `Step` says what a step of a capacity row is.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from bench.processes import Process, Workshop

#: A step reached its rate when so much of what was asked came about.
ENOUGH = 0.97


@attrs.frozen
class Step:
    """What became of some seconds of calls at one rate. ``seconds`` is from the first call to the last one's end."""

    rate: float
    completed: int
    completed_per_second: float
    failures: int
    retransmissions: int
    figures: dict[str, Any]

    @property
    def passed(self) -> bool:
        """Whether nothing failed, nothing was sent twice, and the rate came about."""
        return not self.failures and not self.retransmissions and self.completed_per_second >= ENOUGH * self.rate

    @property
    def reason(self) -> str:
        """Why it did not pass."""
        if self.failures:
            return f"{self.failures} calls failed"
        if self.retransmissions:
            return f"{self.retransmissions} retransmissions"
        return "" if self.passed else f"{self.completed_per_second:.0f} calls/s came about"


def step_of(rate: float, figures: dict[str, Any]) -> Step:
    """Make a step of what the load says."""
    failures = sum(int(figures[name]) for name in ("refused", "given_up", "target_left", "malformed", "no_slot"))
    failures += max(0, int(figures["placed"]) - int(figures["completed"]) - failures)
    return Step(
        rate=rate,
        completed=int(figures["completed"]),
        completed_per_second=float(figures["completed_per_second"]),
        failures=failures,
        retransmissions=sum(int(figures[name]) for name in ("resent", "repeated", "late")),
        figures=figures,
    )


class Load:
    """The running load generator."""

    def __init__(self, workshop: Workshop, core: int) -> None:
        program = workshop.built("load", "load.c", "calls.c", "sip.c", "audio.c")
        self.process = Process([str(program)], core, lines=True, log=workshop.directory / "load.log")
        ports = self.tell("ports")
        self.target_port = int(ports["target"])

    def tell(self, line: str) -> dict[str, Any]:
        """Give it a command and return its answer."""
        self.process.told(line)
        return dict(json.loads(self.process.heard()))

    def towards(self, port: int) -> None:
        """Call this port of loopback from now on."""
        self.tell(f"server {port}")

    def calls(
        self,
        user: str,
        rate: float,
        seconds: float,
        *,
        hold: float = 0.1,
        transfer: bool = False,
        media: bool = False,
        patience: float = 8.0,
    ) -> Step:
        """Place calls for so long, each held for ``hold`` seconds; returns when all are over.

        A caller that gets no answer gives up after ``patience`` seconds.
        """
        line = f"run rate={rate:.3f} seconds={seconds:.3f} hold={hold} transfer={transfer:d} media={media:d}"
        return step_of(rate, self.tell(f"{line} patience={patience} user={user}"))

    def dial(self, user: str, count: int, rate: float, *, transfer: bool = True, media: bool = True) -> dict[str, Any]:
        """Place ``count`` calls that stay; returns when each is up or has failed."""
        return self.tell(f"run rate={rate} hold=-1 limit={count} transfer={transfer:d} media={media:d} user={user}")

    def talk(self, seconds: float) -> dict[str, Any]:
        """Let every call talk, numbered and counted."""
        return self.tell(f"talk seconds={seconds}")

    def say(self, seconds: float) -> int:
        """Let every call talk, uncounted; returns how many hear each other."""
        return int(self.tell(f"say seconds={seconds}")["talking"])

    def rest(self, seconds: float) -> int:
        """Let calls be silent for so long."""
        return int(self.tell(f"rest seconds={seconds}")["talking"])

    def hang_up(self, rate: float = 200.0) -> dict[str, Any]:
        """End all calls."""
        return self.tell(f"hang rate={rate}")

    def close(self) -> None:
        """End it."""
        self.process.end()
