"""Every target is fuzzed for some seconds, from a fixed seed; longer runs are made by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz import targets
from tests.fuzz.seeds import seeds

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for all targets together.
SECONDS = int(os.environ.get("TELEPHONY_FUZZ_SECONDS", "120"))


class FuzzTests(SynchronousTestCase):
    """What a peer may send ends as a refusal, and as nothing else (architecture, rule 3)."""

    def fuzz(self, target: str) -> None:
        """Fuzz one target in a process of its own."""
        with tempfile.TemporaryDirectory() as found:
            command = [sys.executable, "-m", "tests.fuzz", target, "--found", found, "--seed", "20261122"]
            done = subprocess.run(
                [*command, "--seconds", str(max(1, SECONDS // len(targets.TARGETS)))],
                cwd=ROOT,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            kept = [path.read_bytes() for path in Path(found).iterdir()]
        self.assertEqual((done.returncode, kept), (0, []), done.stdout[-3000:] + done.stderr[-6000:])
        self.assertIn("number_of_executed_units", done.stderr)

    def test_seeds(self) -> None:
        """What every target begins with goes through it."""
        for name, target in targets.TARGETS.items():
            self.assertTrue(seeds(name), name)
            for one in seeds(name):
                target(one)

    def test_it_would_be_found(self) -> None:
        """Whatever else than a refusal comes out of a parser comes out of its target."""
        cases = {
            "message": "parse_message",
            "stream": "StreamParser",
            "sdp": "parse_sdp",
            "rtp": "parse_packet",
            "rtcp": "parse_compound",
            "stun": "parse_stun",
            "endpoint": "Exchange",
        }
        self.assertEqual(set(cases), set(targets.TARGETS))
        for name, inner in cases.items():

            def broken(*_: object, **__: object) -> None:
                raise KeyError("broken")

            self.patch(targets, inner, broken)
            self.assertRaises(KeyError, targets.TARGETS[name], seeds(name)[0])


for _name in targets.TARGETS:

    def _test(self: FuzzTests, name: str = _name) -> None:
        self.fuzz(name)

    _test.__doc__ = f"{targets.TARGETS[_name].__doc__}"
    _test.__name__ = f"test_{_name}"
    setattr(FuzzTests, _test.__name__, _test)
