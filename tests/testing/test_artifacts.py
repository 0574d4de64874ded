"""A failed test leaves its call behind where TELEPHONY_CALL_ARTIFACTS says."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.reporter import TestResult as TrialResult
from twisted.trial.unittest import SynchronousTestCase

from telephony.testing.artifacts import VARIABLE, artifacts_directory, write_artifacts
from telephony.testing.case import CallTestCase
from telephony.testing.network import SimulatedNetwork


class Samples:
    """Test cases that fail; hidden from collection by their place."""

    class Failing(CallTestCase):
        """Fails, and passes."""

        async def test_fails(self) -> None:
            alice = self.phone("alice")
            alice.dial(self.uri("100"))
            await alice.until("ended")
            self.fail("that was <wrong>")

        async def test_passes(self) -> None:
            self.note("alice", "does nothing")


class ArtifactTests(SynchronousTestCase):
    def wanted(self, directory: str | None) -> None:
        """Set the environment variable for this test."""
        before = os.environ.get(VARIABLE)
        if directory is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = directory
        self.addCleanup(os.environ.pop, VARIABLE, None)
        if before is not None:
            self.addCleanup(os.environ.__setitem__, VARIABLE, before)

    def failure(self, name: str) -> str:
        """Run a sample; return what it says when it fails."""
        result = TrialResult()
        Samples.Failing(name).run(result)
        return "".join(str(text) for _, text in [*result.failures, *result.errors])

    def test_written(self) -> None:
        """Issue 3, Ladders: a capture and a page, and the failure names them."""
        directory = Path(self.mktemp()).absolute() / "new"
        self.wanted(str(directory))
        text = self.failure("test_fails")
        wire, shown = sorted(directory.iterdir(), reverse=True)
        self.assertEqual((wire.suffix, shown.suffix), (".pcapng", ".html"))
        self.assertTrue(wire.name.endswith("Samples.Failing.test_fails.pcapng"))
        self.assertIn(f"see {wire}\n", text)
        self.assertIn(f"see {shown}\n", text)
        self.assertIn("|-- INVITE", text)
        self.assertIn(b"INVITE sip:100@10.0.0.1:5060 SIP/2.0", wire.read_bytes())
        self.assertIn("that was &lt;wrong&gt;", shown.read_text(encoding="utf-8"))

    def test_not_wanted(self) -> None:
        """Without the variable nothing is written; a test that passes leaves nothing."""
        for unset in (None, ""):
            self.wanted(unset)
            self.assertIsNone(artifacts_directory())
            self.assertNotIn("see ", self.failure("test_fails"))
        directory = Path(self.mktemp())
        self.wanted(str(directory))
        self.assertEqual(self.failure("test_passes"), "")
        self.assertFalse(directory.exists())

    def test_impossible(self) -> None:
        """A directory that can't be made does not hide why the test failed."""
        blocked = Path(self.mktemp())
        blocked.write_text("a file")
        self.wanted(str(blocked))
        text = self.failure("test_fails")
        self.assertIn("that was <wrong>", text)
        self.assertIn("could not write the call's files", text)

    def test_names(self) -> None:
        """Whatever a test is called, its files stay in the directory."""
        directory = Path(self.mktemp())
        for name in ("../../etc/x y[1]", "", "a" * 500, "..", "tést/é"):
            for path in write_artifacts(directory, name, SimulatedNetwork(), {}):
                self.assertEqual(path.parent, directory)
                self.assertTrue(path.is_file())
