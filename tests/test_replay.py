"""The command ``telephony replay`` (issue 3): statuses, sentences, --as-test, --debug."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

import telephony
from telephony.cli import main

from .testing.recording_scene import ASYNC, MENU, RecordingCase

ROOT = Path(telephony.__path__[0]).parent


def invoke(*arguments: str | Path) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, ["replay", *map(str, arguments)])


class CommandCase(RecordingCase):
    """A recorded call as a file."""

    async def recorded(self, key: str = "7", text: str = MENU, name: str = "app.py") -> Path:
        """Record a call to an application, with a key pressed, and write it to a file."""
        app = self.application(self.file(text, name))
        alice, bob = self.phone("alice"), self.phone("bob", at="192.0.2.7:5070")
        alice.dial(app.uri)
        await alice.until("answered")
        await self.moment(1.2)
        alice.press(key)
        if key == "1":
            await bob.until("incoming")
            bob.ring(183, sdp=True)
            await self.moment(6)
            bob.answer()
            await self.moment(8)
            await alice.hold()
            await self.moment(9)
            await alice.resume()
            await self.moment(9.5)
            bob.hang_up()
        await alice.until("ended")
        await app.ended()
        await self.moment(20)
        app.flush_failures()
        path = self.directory / "call.jsonl"
        path.write_text(self.latest().text())
        return path

    def run_in_process(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run this Python, as a user does, in the directory of the recording."""
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.directory,
            env=env,
            input=given,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


class ReplayCommandTests(CommandCase):
    """telephony replay FILE."""

    async def test_same(self) -> None:
        """Status 0 when it went the same way; the ladder has the moments of both."""
        done = self.run_in_process("-m", "telephony", "replay", str(await self.recorded()))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("recorded    replay", done.stdout)
        self.assertRegex(done.stdout, r"It went the same way: return code -1, .*app\.py, line 12: KeyError: '7'\.")

    async def test_different(self) -> None:
        """Status 1, and where the first difference is, when the application has changed (--app)."""
        path = await self.recorded()
        mended = self.file(MENU.replace("CHOICES[key]", "CHOICES.get(key) or channel.hang_up()"), "mended.py")
        done = invoke(path, "--app", mended)
        self.assertEqual(done.exit_code, 1, done.output)
        self.assertRegex(done.stdout, r"It goes another way at \d+\.\d+ s, .*: recorded was .*, the replay has ")
        self.flushLoggedErrors()

    async def test_bad_files(self) -> None:
        """A bad file is a sentence on stderr and status 2, without a traceback."""
        path = await self.recorded()
        lines = path.read_text().splitlines()
        for number, text, said in (
            (1, "no file", "can't be read"),
            (1, lines[0].replace('"version":1', '"version":3'), "line 1: version 3 can't be read; allowed: 1"),
            (4, "{]", "line 4: is no JSON"),
            (3, '{"t":0,"verb":1}', "line 3: 'name' is missing"),
        ):
            bad = self.directory / "bad.jsonl"
            if text != "no file":
                bad.write_text("\n".join([*lines[: number - 1], text, *lines[number:]]))
            done = invoke(bad)
            self.assertEqual((done.exit_code, done.stdout), (2, ""))
            self.assertIn(said, done.stderr)
            self.assertEqual(len(done.stderr.splitlines()), 1)
        for key, wrong in (("rtp", "[1]"), ("listen", '["udp:nowhere:5060"]'), ("call_seconds", '"x"')):
            bad.write_text(
                re.sub(rf'"{key}":(\[[^]]*\]|[0-9]+)', f'"{key}":{wrong}', lines[0]) + "\n" + "\n".join(lines[1:])
            )
            done = invoke(bad)
            self.assertEqual((done.exit_code, len(done.stderr.splitlines())), (2, 1), f"{key}: {done.output}")
        bad.write_bytes(b"\n\xff")
        self.assertIn("line 2: is no UTF-8", invoke(bad).stderr)

    async def test_application_is_gone(self) -> None:
        """Without its application file it says so, and how to give one."""
        path = await self.recorded()
        (self.directory / "app.py").unlink()
        done = invoke(path)
        self.assertEqual(done.exit_code, 2)
        self.assertRegex(done.stderr, r"app\.py is not there; give the file with --app FILE")
        self.assertIn("give --as-test", invoke(path, "out.py").stderr)

    async def test_debug(self) -> None:
        """--debug: pdb stands at the first line of main, takes commands, and lets the call go on."""
        path = await self.recorded()
        done = self.run_in_process("-m", "telephony", "replay", str(path), "--debug", given="n\np 6*7\nc\n")
        self.assertIn("app.py", done.stdout)
        self.assertIn("(Pdb) 42", done.stdout)
        self.assertIn("channel.answer()", done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    async def test_debug_async(self) -> None:
        """--debug for an application on the loop stops right before main."""
        path = await self.recorded("#", ASYNC)
        done = self.run_in_process("-m", "telephony", "replay", str(path), "--debug", given="s\nc\n")
        self.assertIn("(Pdb)", done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


class WrittenTests(CommandCase):
    """telephony replay FILE --as-test OUT.py: a test that passes today, and asserts what was recorded."""

    def passes(self, name: str) -> None:
        """Run a written test as users do, with trial and with pytest."""
        done = self.run_in_process("-m", "twisted.trial", name)
        self.assertEqual(done.returncode, 0, done.stdout + (self.directory / f"{name}.py").read_text())
        done = self.run_in_process("-m", "pytest", "-p", "no:cacheprovider", f"{name}.py")
        self.assertEqual(done.returncode, 0, done.stdout)

    async def test_fault(self) -> None:
        """A failing call becomes a test by one command; a mended application makes it fail."""
        path = await self.recorded()
        done = invoke(path, "--as-test", self.directory / "test_fault.py")
        self.assertEqual(done.exit_code, 0, done.output)
        self.passes("test_fault")
        text = (self.directory / "test_fault.py").read_text()
        self.assertIn('app = self.application("app.py"', text)
        self.assertIn("KeyError: '7'", text)
        self.file(MENU.replace('"1": "sip', '"7": "sip'))
        now = self.run_in_process("-m", "twisted.trial", "test_fault")
        self.assertNotEqual(now.returncode, 0)
        self.assertIn("FAILED (failures=1)", now.stdout)

    async def test_transfer_with_hold(self) -> None:
        """Two legs: the target is at the address that the application dials; early media, hold and resume are said."""
        path = await self.recorded("1")
        done = invoke(path, "--as-test", self.directory / "test_transfer.py")
        self.assertEqual(done.exit_code, 0, done.output)
        text = (self.directory / "test_transfer.py").read_text()
        for line in ('at="192.0.2.7:5070"', "bob.ring(183, sdp=True)", "alice.hold()", "alice.resume()"):
            self.assertIn(line, text)
        self.passes("test_transfer")

    async def test_digits(self) -> None:
        """Keys of an application on the loop; without OUT.py the test goes to stdout."""
        path = await self.recorded("12#", ASYNC)
        done = invoke(path, "--as-test")
        self.assertIn('alice.press("12#")', done.stdout)
        (self.directory / "test_digits.py").write_text(done.stdout)
        self.passes("test_digits")
