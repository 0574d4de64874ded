"""How a capacity is searched for: whoever it is, the same load, the same rule.

Three steps in a row without a failure, without a retransmission, and at 97 % of the asked rate: `bench.figures.search`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.figures import Measured, search
from bench.load import Load, Step
from bench.peers import Running
from bench.processes import Broken, Workshop
from bench.rows import Rig

#: Starts somebody on a core who may call targets at a port.
Start = Callable[[Workshop, int, int], AbstractContextManager[Running]]
#: A step begins anew when what the last one left has had so long to go.
BETWEEN_SECONDS = 0.3
#: A step in which a caller has to wait so long has failed already (T1 has passed twice), and need not take longer.
PATIENCE = 2.0
#: A search begins at this share of what the same contender did the last time.
START_SHARE = 0.95


def capacity(rig: Rig, key: str, start: Start, user: str, first_rate: float, *, transfer: bool) -> Measured:
    """Return the highest rate that somebody sustains. ``key`` is what rounds of the same contender are known by.

    A search begins where the last round ended, or a run before this one (``results.json``), else at ``first_rate``.
    """
    seconds = rig.span(1.5, 0.5)
    between = BETWEEN_SECONDS / 2 if rig.quick else BETWEEN_SECONDS
    # The first steps of a process are slow for reasons of its own (imports, caches, threads): they are for warming.
    with rig.load() as load, start(rig.workshop, rig.cores[0], load.target_port) as running:
        load.towards(running.port)
        _warm(load, running, user, min(100.0, first_rate), transfer=transfer)
        spent: list[tuple[float, float, float]] = []

        def step(rate: float) -> Step:
            load.rest(between)
            cpu, waited = running.cpu_seconds(), running.process.waited_seconds()
            done = load.calls(user, rate, seconds, transfer=transfer, patience=PATIENCE)
            cpu = running.cpu_seconds() - cpu
            waited = running.process.waited_seconds() - waited
            spent.append((cpu / max(1, done.completed), cpu / max(0.01, done.figures["seconds"]), waited))
            rig.say(f"{rate:.0f} calls/s: {'passed' if done.passed else done.reason}")
            return done

        if rig.rate is not None:
            steps = [step(rig.rate) for _ in range(3)]
            rate = rig.rate if all(one.passed for one in steps) else 0.0
        else:
            rate, steps = search(step, rig.known.get(key, first_rate), 6 if rig.quick else 20)
    if rate:
        rig.known[key] = rate * START_SHARE
    at = -1 if rate else min(range(len(steps)), key=lambda one: steps[one].rate)
    last = steps[at]
    return Measured(
        rate,
        {
            "cpu_ms_per_call": round(1000 * spent[at][0], 4),
            "share_of_core": round(spent[at][1], 3),
            "seconds_without_core": round(spent[at][2], 3),
            "load_share_of_core": round(last.figures["cpu_seconds"] / max(0.01, last.figures["seconds"]), 3),
            "answer_ms": last.figures["answer"],
            "steps": [[round(one.rate, 1), one.passed, one.reason] for one in steps],
        },
    )


def _warm(load: Load, running: Running, user: str, rate: float, *, transfer: bool) -> None:
    warm = load.calls(user, rate, 0.5, transfer=transfer)
    running.process.check()
    if not warm.completed:
        raise Broken(f"not one call of {warm.figures['placed']} came about (status {warm.figures['other_status']})")
