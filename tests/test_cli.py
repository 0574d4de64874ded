"""The command telephony (api.md section 7)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from telephony import __version__
from telephony.cli import main

ROOT = Path(__file__).parents[1]


def invoke(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, arguments)


class CheckTests(SynchronousTestCase):
    """telephony check FILE."""

    def test_fine(self) -> None:
        """It says that a file is fine, and what is in it."""
        done = invoke("check", str(ROOT / "examples" / "telephony.toml"))
        self.assertEqual(done.exit_code, 0)
        self.assertIn("is fine: 3 services", done.stdout)
        self.assertIn("retrievable_transfer.py, version 1.0", done.stdout)

    def test_nothing_to_call(self) -> None:
        """A file without a service is no mistake, and it says what that means."""
        path = Path(self.mktemp())
        path.write_text("")
        done = invoke("check", str(path))
        self.assertEqual(done.exit_code, 0)
        self.assertIn("is fine: 0 services", done.stdout)
        self.assertIn("every call gets 404", done.stdout)

    def test_wrong(self) -> None:
        """It says everything that is wrong on stderr, and ends with status 1."""
        path = Path(self.mktemp())
        path.write_text("[sip]\nlisen = 1\n[metrics]\n")
        done = invoke("check", str(path))
        self.assertEqual((done.exit_code, done.stdout), (1, ""))
        self.assertIn("2 mistakes", done.stderr)
        self.assertIn("sip.lisen", done.stderr)
        self.assertIn("metrics are not built yet", done.stderr)

    def test_missing(self) -> None:
        """A file that isn't there is a sentence too."""
        done = invoke("check", "/no/such/file.toml")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("/no/such/file.toml", done.stderr)

    def test_public(self) -> None:
        """--public checks as for twistd --public."""
        path = Path(self.mktemp())
        path.write_text('[sip]\nlisten = ["udp:0.0.0.0:5060"]\n')
        self.assertEqual(invoke("check", str(path)).exit_code, 1)
        self.assertEqual(invoke("check", "--public", str(path)).exit_code, 0)


class ModuleTests(SynchronousTestCase):
    """python -m telephony."""

    def test_version(self) -> None:
        """It is the same command."""
        done = subprocess.run(
            [sys.executable, "-m", "telephony", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
        )
        self.assertIn(__version__, done.stdout)
