"""Sippy, a SIP stack and B2BUA in Python (from PyPI): as a responder, and as a B2BUA between a caller and a target.

It is looked for in ``build/sippy`` of the checkout first, a virtual environment of its own (it brings packages that
this project has no use for), then where the bench itself runs::

    python3 -m venv build/sippy && build/sippy/bin/pip install sippy

The responder is ``sippy_responder.py``, a program that needs nothing but Sippy.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import Running
from bench.processes import LOOPBACK, ROOT, Process, Workshop, free_port

OWN = ROOT / "build" / "sippy" / "bin" / "python"
#: It writes a line for each message unless told not to; none of the others does.
QUIET = {"SIPLOG_BEND": "none", "SIPLOG_LVL": "CRIT"}


def python() -> str | None:
    """Return the Python that has it."""
    if OWN.exists():
        return str(OWN)
    return sys.executable if importlib.util.find_spec("sippy") else None


def absent() -> str:
    """Tell whether it is installed."""
    return "" if python() else "sippy is not installed (PyPI: pip install sippy, best in build/sippy)"


@contextmanager
def _running(workshop: Workshop, core: int, port: int, arguments: list[str]) -> Iterator[Running]:
    directory = workshop.fresh("sippy")
    found = python()
    assert found is not None
    settings = [f"{name}={value}" for name, value in QUIET.items()]
    command = ["env", *settings, found, *arguments]
    process = Process(command, core, log=directory / "sippy.log")
    try:
        time.sleep(1.0)
        process.check()
        yield Running(process, port)
    finally:
        process.end()


@contextmanager
def responder(workshop: Workshop, core: int, _target_port: int) -> Iterator[Running]:
    """Run it as a responder."""
    port = free_port()
    with _running(workshop, core, port, [str(Path(__file__).with_name("sippy_responder.py")), str(port)]) as running:
        yield running


@contextmanager
def b2bua(workshop: Workshop, core: int, target_port: int) -> Iterator[Running]:
    """Run its own B2BUA, which sends every call to the target and moves no audio."""
    port = free_port()
    arguments = ["-m", "sippy.b2bua_simple", "-f", "-l", LOOPBACK, "-p", str(port), "-n", f"{LOOPBACK}:{target_port}"]
    with _running(workshop, core, port, arguments) as running:
        yield running
