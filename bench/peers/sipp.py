"""SIPp's own responder (``-sn uas``), from Debian's sip-tester."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.peers import Running
from bench.processes import LOOPBACK, Process, Workshop, find, free_port


def absent() -> str:
    """Tell whether it is installed."""
    return "" if find("sipp") else "sipp is not installed (Debian: sip-tester)"


@contextmanager
def responder(workshop: Workshop, core: int, _target_port: int) -> Iterator[Running]:
    """Run it."""
    port = free_port()
    directory = workshop.fresh("sipp")
    command = ["sipp", "-sn", "uas", "-i", LOOPBACK, "-p", str(port), "-nostdin", "-buff_size", str(1 << 20)]
    process = Process(command, core, log=directory / "sipp.log", cwd=directory)
    try:
        time.sleep(0.5)
        process.check()
        yield Running(process, port)
    finally:
        process.end()
