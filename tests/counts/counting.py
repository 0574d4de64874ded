"""Counting: runs the workloads under callgrind, reads what it wrote, and compares with what is recorded.

Owns: the compiled marks, the run, the record's file. Must not know what the workloads do.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import numpy

from tests.counts.workloads import WORKLOADS

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
RECORD = _HERE / "recorded.toml"

#: How far a count may be from the recorded one, as a share of it.
TOLERANCE = 0.05
#: The same for another build of Python, where the counts are taken relative to ``calibrate``.
TOLERANCE_ELSEWHERE = 0.25
#: Seconds after which a run is given up.
PATIENCE = 600


class CannotCount(Exception):  # noqa: N818 - what is said to a person
    """What is missing, and what to install."""


def build() -> str:
    """Return what the counts belong to beside our own code: Python, its compiler, its libc, numpy and the machine."""
    parts = (platform.python_version(), platform.python_compiler(), *platform.libc_ver(), numpy.__version__)
    return " ".join((*parts, platform.machine()))


def count() -> dict[str, float]:
    """Run all workloads; return instructions per unit by name. Raises `CannotCount` where a tool is missing."""
    missing = [name for name in ("valgrind", "gcc") if shutil.which(name) is None]
    if missing:
        raise CannotCount(f"not installed: {', '.join(missing)} (Debian's packages of these names)")
    with tempfile.TemporaryDirectory() as scratch:
        library = Path(scratch, "marks.so")
        _run(["gcc", "-O1", "-shared", "-fPIC", "-o", str(library), str(_HERE / "marks.c")])
        output = Path(scratch, "callgrind.out")
        callgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={output}"]
        _run([*callgrind, sys.executable, "-s", "-m", "tests.counts.workloads", str(library)])
        return _read(output)


def _run(command: list[str]) -> None:
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    # One thread of numpy's, one arena of malloc's, no ctypes cache of anybody's: the same instructions each time.
    environment |= {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PYTHONPATH": str(_ROOT), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, env=environment, cwd=_ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}:\n{done.stderr[-3000:]}")


def _read(output: Path) -> dict[str, float]:
    """Read callgrind's dumps, one file for each mark, into instructions per unit."""
    counts: dict[str, float] = {}
    for dump in output.parent.glob(f"{output.name}.*"):
        text = dump.read_text(errors="replace")
        mark = re.search(r"^desc: Trigger: Client Request: (\w+)$", text, re.MULTILINE)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if mark is not None and total is not None:
            counts[mark[1]] = int(total[1]) / WORKLOADS[mark[1]][2]
    if counts.keys() != WORKLOADS.keys():
        raise RuntimeError(f"callgrind counted {sorted(counts)}, not {sorted(WORKLOADS)}")
    return {name: counts[name] for name in WORKLOADS}


def recorded() -> tuple[str, dict[str, float]]:
    """Return the build that the record belongs to, and its counts by name."""
    record = tomllib.loads(RECORD.read_text())
    return str(record["build"]), {name: float(value) for name, value in record["instructions"].items()}


def write(counts: dict[str, float]) -> None:
    """Record these counts as those of this build."""
    lines = [f"{name} = {round(value)}" for name, value in counts.items()]
    RECORD.write_text(
        "# Instructions per unit of each workload of tests/counts/workloads.py; written by python -m tests.counts "
        f'--record.\nbuild = "{build()}"\n\n[instructions]\n' + "\n".join(lines) + "\n"
    )


def differences(counts: dict[str, float]) -> dict[str, tuple[float, float]]:
    """Return by name how far each count is from the record, as a share of it, and how far it may be."""
    theirs, before = recorded()
    same = theirs == build()
    scale = 1.0 if same else counts["calibrate"] / before["calibrate"]
    allowed = TOLERANCE if same else TOLERANCE_ELSEWHERE
    return {name: (counts[name] / scale / before[name] - 1, allowed) for name in WORKLOADS if name in before}
