"""The same Python in two processes whose hashes are ordered differently: what depends on the order of a set shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import telephony

ROOT = Path(telephony.__path__[0]).parent


def printed(code: str) -> list[str]:
    """Run ``code`` in two processes at the same time, and return what each of them has printed."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    ended = [(process.communicate(), process.returncode) for process in running]
    for (_, said), code_returned in ended:
        if code_returned:
            raise AssertionError(f"a process ended with {code_returned}: {said}")
    return [out.strip() for (out, _), _ in ended]
