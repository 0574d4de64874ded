"""The limit of a relay: ``bench/c/relay.c``, which knows no calls and only moves packets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from bench.peers import Running
from bench.processes import Process, Workshop, find


def absent() -> str:
    """Tell whether it can be built."""
    return "" if find("gcc") or find("cc") else "there is no C compiler (Debian: gcc)"


@attrs.define
class Relay(Running):
    """A relay that is told of calls by their two ports."""

    def call(self, number: int, caller: int, target: int) -> tuple[int, int]:
        """Relay between two ports; returns where the caller and where the target sends to."""
        self.process.told(f"call {caller} {target}")
        to_caller, to_target = self.process.heard().split()
        return int(to_caller), int(to_target)


@contextmanager
def relay(workshop: Workshop, core: int) -> Iterator[Relay]:
    """Run it."""
    process = Process([str(workshop.built("relay", "relay.c"))], core, lines=True)
    try:
        yield Relay(process, 0)
    finally:
        process.end()
