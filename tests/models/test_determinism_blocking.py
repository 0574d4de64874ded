"""I9 of ``transfer.md`` with blocking applications: threads, sleeps and all, the same seed gives the same bytes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import telephony
from telephony.testing.fixtures import FixtureCase
from telephony.testing.sounds import tone

ROOT = Path(telephony.__path__[0]).parent
SCENARIOS = 40


def play(seed: int) -> tuple[int, list[int]]:
    """Let phones call a blocking application at random on a bad network.

    Returns the checksum of every byte sent, and the return codes of the application's runs.
    """
    chance = random.Random(seed)
    bad = {"loss": 0.03, "jitter": 0.01, "duplicate": 0.03, "reorder": 0.03}
    world = FixtureCase(f"scenario {seed}", [Path(__file__).parent], seed=seed, strict=False, network=bad)
    try:
        target = world.phone("target", auto_ring=True, auto_answer=chance.choice([0.1, 1.0, 3.0]))
        target.says(tone(440))
        application = world.application("applications/anything.py", parameters=f"{seed} {target.uri}")
        phones = [world.phone(f"caller{number}") for number in range(3)]
        for _ in range(4):
            for phone in phones:
                if phone.calls and phone.calls[-1].answered and phone.calls[-1].state.name != "ENDED":
                    if chance.random() < 0.5:
                        phone.press(chance.choice("0123456789"))
                    else:
                        phone.hang_up()
                elif not phone.calls or phone.calls[-1].state.name == "ENDED":
                    phone.dial(application.uri)
                # Some at the same moment, some not.
                world.advance(chance.choice([0, 0, 0.3, 1.0]))
        world.run_until(world.hosting.hang_up(), 200)
        world.advance(5)
        return world.network.fingerprint, [record.return_code for record in application.records]
    finally:
        world.end()


def played() -> list[tuple[int, list[int]]]:
    """Play every scenario."""
    return [play(seed) for seed in range(SCENARIOS)]


class BlockingDeterminismTests(SynchronousTestCase):
    """Two processes, two orders of hashes, threads as the system schedules them: one wire."""

    def test_same_bytes(self) -> None:
        """I9: which application thread runs when depends on nothing but the seed."""
        here = played()
        self.assertEqual(len({fingerprint for fingerprint, _codes in here}), SCENARIOS)
        self.assertGreater(sum(len(codes) for _fingerprint, codes in here), SCENARIOS)
        for hash_seed in ("1", "2"):
            env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
            code = "from tests.models.test_determinism_blocking import played; print(played())"
            out = subprocess.run(
                [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True
            )
            self.assertEqual(out.stdout.strip(), str(here))
