"""I9 of ``transfer.md``: the same seed and events give the same bytes on the wire, whatever process they run in."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import telephony
from tests.models.audio import AudioCalls
from tests.models.calls import SITUATIONS

ROOT = Path(telephony.__path__[0]).parent
SCENARIOS = 40


def fingerprint(seed: int) -> int:
    """Play a random program on a bad network with talking phones, and return the checksum of every byte sent."""
    chance = random.Random(seed)
    calls = AudioCalls()
    calls.prepare(seed, tcp=chance.random() < 0.3)
    calls.switches, calls.since, calls.until = {}, {}, {}
    calls.lead_to(chance.choice(SITUATIONS))
    for phone in ("10.0.0.2", "10.0.0.3"):
        calls.network.link("10.0.0.1", phone, loss=0.1, jitter=0.01, duplicate=0.05, reorder=0.05)
    for _ in range(15):
        steps: list[Callable[..., None]] = [calls.app_hangs_up_the_other, partial(calls.target_answers, quirk="none")]
        if calls.channel is not None:
            steps += [calls.app_answers, calls.app_hangs_up, calls.app_retrieves]
            steps.append(partial(calls.app_transfers, limit=4.0, tcp=False))
        if calls.alice.calls:
            steps.append(calls.caller_hangs_up)
        chance.choice(steps)(pause=chance.random())
    calls.network.run_until(calls.exchange.close(), 200)
    return calls.network.fingerprint


def fingerprints() -> list[int]:
    """Return the checksums of all scenarios."""
    return [fingerprint(seed) for seed in range(SCENARIOS)]


class DeterminismTests(SynchronousTestCase):
    """Two processes, two orders of hashes, one wire."""

    def test_same_bytes(self) -> None:
        """I9: nothing on the wire depends on the order of a set, an address in memory or the time of day."""
        here = fingerprints()
        self.assertGreater(len(set(here)), SCENARIOS // 2, "the scenarios are not all the same")
        for hash_seed in ("1", "2"):
            env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
            code = "from tests.models.test_determinism import fingerprints; print(fingerprints())"
            out = subprocess.run(
                [sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True, check=True
            )
            self.assertEqual(out.stdout.strip(), str(here))
