"""The model by hand, for hours if need be: ``python -m tests.models 100000 --seed 1``.

Draws that many examples in pieces of 1,000, each with a seed of its own (counting up from ``--seed``), and says after
each how far it is. A failure ends it with the seed, the steps and the ladder, and with status 1.
"""

from __future__ import annotations

import argparse
import sys
import time

import hypothesis.core
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.models.audio import AudioCalls
from tests.models.calls import Calls

PIECE = 1000


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.models", description=__doc__.partition("\n")[0])
    parser.add_argument("examples", type=int, help="how many examples to draw")
    parser.add_argument("--seed", type=int, default=1, help="the first piece's seed")
    parser.add_argument("--audio", action="store_true", help="the model with talking phones")
    chosen = parser.parse_args()
    model: type[Calls] = AudioCalls if chosen.audio else Calls
    wanted = settings(
        max_examples=PIECE,
        stateful_step_count=25,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    began = time.monotonic()
    for piece in range((chosen.examples + PIECE - 1) // PIECE):
        seed = chosen.seed + piece
        hypothesis.core.global_force_seed = seed
        try:
            run_state_machine_as_test(model, settings=wanted)
        except Exception as error:
            print("\n".join([f"seed {seed}: {error}", *getattr(error, "__notes__", [])]))  # noqa: T201
            return 1
        done = (piece + 1) * PIECE
        print(f"{done} examples, seeds {chosen.seed} to {seed}: all hold, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
