"""I9 of ``transfer.md`` with blocking applications: threads, sleeps and all, the same seed gives the same bytes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.testing.fixtures import FixtureCase
from telephony.testing.sounds import tone
from tests.models.two_processes import printed

SCENARIOS = 200
#: How often each of the three callers does something.
ROUNDS = 3


def play(seed: int) -> tuple[int, list[int]]:
    """Let phones call a blocking application at random on a bad network.

    Three callers, of whom some are behind a NAT, call over TCP, send reliable responses or want session timers, and a
    target; each caller dials, presses a key or hangs up `ROUNDS` times. Returns the checksum of every byte sent, and
    the return codes of the application's runs.
    """
    chance = random.Random(seed)
    bad = {"loss": 0.03, "jitter": 0.01, "duplicate": 0.03, "reorder": 0.03}
    world = FixtureCase(f"scenario {seed}", [Path(__file__).parent], seed=seed, strict=False, network=bad)
    try:
        target = world.phone("target", auto_ring=True, auto_answer=chance.choice([0.1, 1.0, 3.0]), **drawn(chance))
        target.says(tone(440))
        application = world.application("applications/anything.py", parameters=f"{seed} {target.uri}")
        nat = world.nat(chance.choice(["full-cone", "symmetric"]))
        phones = [
            world.phone(f"caller{number}", behind=nat if chance.random() < 0.3 else None, **drawn(chance))
            for number in range(3)
        ]
        for _ in range(ROUNDS):
            for phone in phones:
                if phone.calls and phone.calls[-1].answered and phone.calls[-1].alive:
                    if chance.random() < 0.5:
                        phone.press(chance.choice("0123456789"))
                    else:
                        phone.hang_up()
                elif not phone.calls or not phone.calls[-1].alive:
                    phone.dial(application.uri)
                # Some at the same moment, some not.
                world.advance(chance.choice([0, 0, 0.3, 1.0]))
        world.run_until(world.hosting.hang_up(), 200)
        world.advance(5)
        return world.network.fingerprint, [record.return_code for record in application.records]
    finally:
        world.end()


def drawn(chance: random.Random) -> dict[str, Any]:
    """Draw what a phone is like."""
    return {
        "transport": chance.choice(["udp", "udp", "tcp"]),
        "reliable": chance.random() < 0.5,
        "session_timer": chance.choice([None, 90]),
    }


def played() -> list[tuple[int, list[int]]]:
    """Play every scenario."""
    return [play(seed) for seed in range(SCENARIOS)]


class BlockingDeterminismTests(SynchronousTestCase):
    """Two processes, two orders of hashes, threads as the system schedules them: one wire."""

    def test_same_bytes(self) -> None:
        """I9: which application thread runs when depends on nothing but the seed."""
        one, other = printed(
            "import json; from tests.models.test_determinism_blocking import played; print(json.dumps(played()))"
        )
        self.assertEqual(one, other)
        found = json.loads(one)
        self.assertEqual(len({fingerprint for fingerprint, _codes in found}), SCENARIOS)
        self.assertGreater(sum(len(codes) for _fingerprint, codes in found), SCENARIOS)
