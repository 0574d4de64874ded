"""The project: `bench.served` in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from bench.peers import Running
from bench.processes import Process, Workshop


@attrs.define
class Project(Running):
    """The running project."""

    def figures(self) -> dict[str, Any]:
        """Ask for its counters; see `bench.served`."""
        self.process.told("figures")
        return dict(json.loads(self.process.heard()))


@contextmanager
def project(
    workshop: Workshop, core: int, target_port: int, *options: str, prompt: bytes | None = None
) -> Iterator[Project]:
    """Serve on a core until the block ends; ``options`` are those of `bench.served`."""
    directory = workshop.fresh("served")
    if prompt is not None:
        (directory / "prompt.wav").write_bytes(prompt)
    command = [sys.executable, "-m", "bench.served", str(directory), str(core), str(target_port), *options]
    process = Process(command, core, lines=True, log=directory / "errors.log")
    try:
        port = int(json.loads(process.heard())["port"])
        yield Project(process, port)
    finally:
        process.end("stop", 45.0)
