"""What playing, recording and translating cost, on top of the packets.

The same calls twice in one served process: once as plain packets both ways (silence from us, or relayed as they come),
once with the work. The figure is the difference, in CPU-ms per call-second; what the packets alone cost is beside it.
"""

from __future__ import annotations

import io
import math
import struct
import wave
from functools import partial

from bench.figures import Aim, Measured
from bench.load import Load
from bench.peers import Running
from bench.peers.project import project
from bench.processes import Broken
from bench.rows import Contender, Rig, Row
from bench.rows.relay import begin, talk

CALLS = (200, 40)
#: Services that do something with one call's audio, which are rows as well.
ON_TOP = ("play", "tone", "record")
#: A-law and mu-law by their payload types (RFC 3551).
ALAW, ULAW = 8, 0


def prompt(seconds: int = 8) -> bytes:
    """Return a WAV file of so many seconds of a tone."""
    samples = (int(8000 * math.sin(2 * math.pi * 440 * at / 8000)) for at in range(8000 * seconds))
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(8000)
        written.writeframes(b"".join(struct.pack("<h", one) for one in samples))
    return file.getvalue()


def _phase(
    rig: Rig, load: Load, running: Running, user: str, calls: int, *, transfer: bool, caller: int = ALAW
) -> Measured:
    load.tell(f"payload {caller} {ALAW}")
    begin(load, user, calls, transfer=transfer)
    measured = talk(load, running, calls, rig.span(6.0, 1.0), settle=rig.span(1.0, 0.4))
    load.hang_up()
    return measured


def on_top(user: str, rig: Rig) -> Measured:
    """Measure what a call of the service ``user`` costs more than one that is only answered.

    Measures for the other rows of this kind, too, where they are wanted: what is only answered is the same for all.
    """
    if user in rig.kept:
        return rig.kept.pop(user)
    calls = rig.count(*CALLS)
    users = [one for one in ON_TOP if one == user or (one in rig.wanted and one not in rig.kept)]
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port, prompt=prompt()) as running:
        load.towards(running.port)
        plain = _phase(rig, load, running, "answer", calls, transfer=False)
        for one in users:
            worked = _phase(rig, load, running, one, calls, transfer=False)
            rig.kept[one] = _difference(plain, worked, calls)
        faults = running.figures()["faults"]
    if faults:
        raise Broken(f"{faults} faults in the project's log")
    return rig.kept.pop(user)


def _difference(plain: Measured, worked: Measured, calls: int) -> Measured:
    more = {"packets_alone": plain.value, "with_the_work": worked.value, "calls": calls}
    return Measured(worked.value - plain.value, more)


def joined(rig: Rig) -> Measured:
    """Measure what a join of mu-law to A-law costs more than one of A-law to A-law."""
    calls = rig.count(*CALLS)
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port) as running:
        load.towards(running.port)
        plain = _phase(rig, load, running, "transfer", calls, transfer=True)
        worked = _phase(rig, load, running, "transfer", calls, transfer=True, caller=ULAW)
    if worked.more["translated"] < 0.9 * worked.more["sent"]:
        raise Broken(f"only {worked.more['translated']} of {worked.more['sent']} packets came out translated")
    return _difference(plain, worked, calls)


def _row(name: str, title: str, aim: float, measure: partial[Measured]) -> Row:
    return Row(
        name=name,
        title=title,
        unit="CPU-ms/call-second",
        about="on top of the packets, which are measured in the same process",
        contenders=(Contender("project", measure),),
        aims=(Aim(aim, higher=False),),
        seconds=(20, 4),
    )


ROWS = [
    _row("play", "Playing a prompt to a call", 0.15, partial(on_top, "play")),
    _row("tone", "Playing a tone to a call", 0.15, partial(on_top, "tone")),
    _row("record", "Recording a call", 0.2, partial(on_top, "record")),
    _row("join", "Joining mu-law to A-law", 0.1, partial(joined)),
]
