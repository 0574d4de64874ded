"""``python -m bench soak``: transferred calls that turn over for half an hour, and what has become of the server then.

100 calls at a time, 20 new ones a second, each for five seconds with audio both ways, every tenth recorded. Shown and
kept: resident memory each minute, packets lost within calls, ticks of the media clock that came late, and what files,
sockets and ports are open when all is over. Its judgement is `judge`, which is pure.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from bench.load import Step
from bench.peers.project import Project, project
from bench.rows import Rig

CALLS = 100
RATE = 20.0
#: From this minute on memory must not grow, but by so much: what the allocator does by itself.
STEADY_MINUTE = 10
NOISE_KIB = 2048.0
#: Ticks of the media clock, a second, and how many of a thousand may be late.
TICKS = 200.0
LATE = 0.001
#: Ports rest for two seconds when their call is over, and a BYE may have to be sent again for T2.
SETTLE_SECONDS = 6.0


@attrs.frozen
class Soaked:
    """What came out. ``resident_kib`` is memory by minutes, the first one before any call.

    ``descriptors`` are those open before and after, without the ``kept_open`` sockets that wait for the next calls.
    """

    minutes: float
    resident_kib: list[float]
    placed: int
    completed: int
    failures: int
    retransmissions: int
    audio_heard: int
    audio_lost: int
    late_ticks: int
    skipped_turns: int
    descriptors: tuple[int, int]
    kept_open: int
    left: dict[str, int]
    faults: int

    @property
    def late_share(self) -> float:
        """Late ticks over all ticks."""
        return self.late_ticks / (TICKS * 60 * self.minutes)


def judge(soaked: Soaked) -> list[str]:
    """Return what is wrong with it, in sentences; none: nothing is."""
    wrong = []
    later = soaked.resident_kib[STEADY_MINUTE:]
    if len(later) >= 2 and max(later) - later[0] > NOISE_KIB:
        wrong.append(f"memory grew by {max(later) - later[0]:.0f} KiB after minute {STEADY_MINUTE}")
    if soaked.failures:
        wrong.append(f"{soaked.failures} of {soaked.placed} calls failed")
    if soaked.retransmissions:
        wrong.append(f"{soaked.retransmissions} messages were sent twice")
    if soaked.audio_lost:
        wrong.append(f"{soaked.audio_lost} of {soaked.audio_heard + soaked.audio_lost} packets were lost within calls")
    if soaked.late_share >= LATE:
        wrong.append(f"{100 * soaked.late_share:.2f} % of ticks were late")
    if soaked.descriptors[1] > soaked.descriptors[0]:
        wrong.append(f"{soaked.descriptors[1]} descriptors are open, and were {soaked.descriptors[0]} before")
    wrong += [f"{number} {name} are left" for name, number in soaked.left.items() if number]
    if soaked.faults:
        wrong.append(f"{soaked.faults} faults in the log")
    return wrong


def soak(rig: Rig, minutes: float, say: Callable[[str], None]) -> Soaked:
    """Run it; ``say`` gets a line a minute."""
    found: list[Step] = []
    with rig.load() as load, project(rig.workshop, rig.cores[0], load.target_port) as running:
        load.towards(running.port)
        # Threads, pools and caches that come with the first call are no leak.
        load.calls("transfer_record", RATE, 2.0, hold=0.5, transfer=True, media=True)
        load.rest(SETTLE_SECONDS)
        figures = running.figures()
        before = _descriptors(running)
        sizes = [running.process.resident_kib()]

        def calls() -> None:
            hold = CALLS / RATE
            found.append(load.calls("transfer_record", RATE, 60 * minutes, hold=hold, transfer=True, media=True))

        thread = threading.Thread(target=calls, daemon=True)
        begun = time.monotonic()
        thread.start()
        while thread.is_alive():
            thread.join(max(0.1, min(60.0 * len(sizes), 60 * minutes) - (time.monotonic() - begun)))
            running.process.check()
            if time.monotonic() - begun >= 60.0 * len(sizes):
                sizes.append(running.process.resident_kib())
                say(f"minute {len(sizes) - 1}: {sizes[-1] / 1024:.1f} MiB, {running.process.descriptors()} descriptors")
        after = running.figures()
        load.rest(SETTLE_SECONDS)
        last = running.figures()
        step = found[0]
        return Soaked(
            minutes=minutes,
            resident_kib=sizes,
            placed=step.figures["placed"],
            completed=step.completed,
            failures=step.failures,
            retransmissions=step.retransmissions,
            audio_heard=step.figures["audio_heard"],
            audio_lost=step.figures["audio_lost"],
            late_ticks=after["late_slots"] - figures["late_slots"],
            skipped_turns=after["skipped_turns"] - figures["skipped_turns"],
            descriptors=(before, _descriptors(running)),
            kept_open=2 * last["idle_pairs"],
            left={name: last[name] for name in ("channels", "port_pairs", "streams")},
            faults=last["faults"],
        )


def _descriptors(running: Project) -> int:
    """Return how many descriptors are open but for the sockets of pairs that wait; a file may be open for a moment."""
    found = []
    for _ in range(3):
        found.append(running.process.descriptors() - 2 * int(running.figures()["idle_pairs"]))
        time.sleep(0.3)
    return min(found)


def report(soaked: Soaked, wrong: Sequence[str]) -> str:
    """Return what is printed at the end."""
    sizes = ", ".join(f"{one / 1024:.1f}" for one in soaked.resident_kib)
    lines = [
        f"{soaked.completed:,} of {soaked.placed:,} calls, {soaked.audio_heard:,} packets heard, "
        f"{soaked.audio_lost:,} lost, {100 * soaked.late_share:.3f} % of ticks late, "
        f"{soaked.skipped_turns} turns skipped",
        f"memory by minutes, MiB: {sizes}",
        f"descriptors: {soaked.descriptors[0]} before, {soaked.descriptors[1]} after, {soaked.kept_open} more are kept "
        f"open for the next calls; left: {soaked.left}",
    ]
    return "\n".join([*lines, *(f"WRONG: {one}" for one in wrong)] or ["as it should be"])


def as_dict(soaked: Soaked) -> dict[str, Any]:
    """Return it for JSON."""
    return {**attrs.asdict(soaked), "late_share": soaked.late_share, "wrong": judge(soaked)}
