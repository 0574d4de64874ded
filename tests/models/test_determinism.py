"""I9 of ``transfer.md``: the same seed and events give the same bytes on the wire, whatever process they run in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.models.audio import AudioCalls
from tests.models.calls import SITUATIONS
from tests.models.two_processes import printed

SCENARIOS = 200
#: What a program does: so many verbs of the application and the phones, up to a second apart.
STEPS = 15


def fingerprint(seed: int) -> int:
    """Play a random program on a bad network with talking phones, and return the checksum of every byte sent.

    Two phones and a call that is led to one of `SITUATIONS` (dialled, answered, transferring …, transferred), a third
    of them over TCP, then `STEPS` steps with 10 % loss, duplicates and reordering.
    """
    chance = random.Random(seed)
    calls = AudioCalls()
    calls.prepare(seed, tcp=chance.random() < 0.3)
    calls.switches, calls.since, calls.until = {}, {}, {}
    calls.lead_to(chance.choice(SITUATIONS))
    for phone in ("10.0.0.2", "10.0.0.3"):
        calls.network.link("10.0.0.1", phone, loss=0.1, jitter=0.01, duplicate=0.05, reorder=0.05)
    for _ in range(STEPS):
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
        one, other = printed("from tests.models.test_determinism import fingerprints; print(fingerprints())")
        self.assertEqual(one, other)
        found = json.loads(one)
        self.assertEqual(len(found), SCENARIOS)
        self.assertGreater(len(set(found)), SCENARIOS // 2, "the scenarios are not all the same")
