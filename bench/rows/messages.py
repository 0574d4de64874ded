"""Parsing an INVITE and building its 200: processor time a message, in a process of its own on the measured core."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

from bench import messages
from bench.figures import Aim, Measured
from bench.peers import sippy
from bench.processes import ROOT, Broken, Process
from bench.rows import Contender, Rig, Row

COUNT = 10_000


def _ours(what: str, rig: Rig) -> Measured:
    process = Process([sys.executable, "-m", "bench.messages", what, str(COUNT)], rig.cores[0], lines=True)
    try:
        said = process.heard()
    finally:
        process.end()
    told = json.loads(said)
    return Measured(float(told.pop("us")), told)


def _built(rig: Rig) -> Measured:
    plain, negotiated = _ours("build", rig), _ours("negotiate", rig)
    return Measured(plain.value, {**plain.more, "with_the_offer_read_and_answered_us": negotiated.value})


def _sippy(rig: Rig) -> Measured:
    program = Path(sippy.__file__).with_name("sippy_parse.py")
    found = sippy.python()
    assert found is not None
    command = ["taskset", "-c", str(rig.cores[0]), found, str(program), str(messages.SIZE)]
    data = b"".join(map(messages.invite, range(COUNT)))
    done = subprocess.run(command, input=data, capture_output=True, check=False, cwd=ROOT)
    if done.returncode:
        raise Broken(f"sippy can't parse them: {done.stderr.decode(errors='replace').strip()[-300:]}")
    return Measured(float(done.stdout))


ROWS = [
    Row(
        name="parse",
        title="Parsing an INVITE of 1,125 bytes",
        unit="us",
        about="Via, From, To, Contact, Record-Route and CSeq read, typed; 10,000 distinct messages",
        contenders=(
            Contender("project", partial(_ours, "parse")),
            Contender("sippy", _sippy, sippy.absent),
        ),
        aims=(Aim(20, higher=False),),
        seconds=(8, 8),
    ),
    Row(
        name="build",
        title="Building its 200 with SDP",
        unit="us",
        about="to bytes; with the offer read and answered as well in the JSON",
        contenders=(Contender("project", _built),),
        aims=(Aim(10, higher=False),),
        seconds=(5, 5),
    ),
]
