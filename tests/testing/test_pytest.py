"""The pytest plugin, by running pytest on test files of its own."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import telephony

ROOT = Path(telephony.__path__[0]).parent
APPLICATIONS = Path(__file__).parent / "applications"

PASSES = """
import time
import pytest

async def test_blocking(application, phone):
    menu = application("menu.py")
    alice = phone("alice")
    alice.dial(menu.uri)
    await alice.until("answered")
    await alice.press("5")
    assert (await menu.ended()).return_code == 5
    assert menu.said

async def test_async(application, phone):
    tones = application("tone_async.py")
    alice = phone("alice")
    alice.dial(tones.uri)
    await alice.until_hears(350, 440)
    await alice.hang_up()
    await tones.ended()
    assert tones.record.return_code == 7

@pytest.mark.simulation(seed=3, network={"delay": 0.1})
@pytest.mark.parametrize("digit", "12")
def test_plain_function(simulation, application, phone, digit, tmp_path):
    assert simulation.seed == 3
    menu = application("menu.py", media=tmp_path)
    alice = phone("alice")
    alice.dial(menu.uri)
    simulation.run_until(alice.until("answered"))
    simulation.run_until(alice.press(digit))
    assert simulation.run_until(menu.ended()).return_code == int(digit)

async def test_expected(application, phone):
    menu = application("menu.py")
    alice = phone("alice")
    alice.dial(menu.uri)
    await alice.until("answered")
    await alice.press("0")
    await menu.ended()
    assert menu.flush_failures(ZeroDivisionError)

def test_of_no_call():
    time.sleep(0)
"""
FAILS = """
async def dialled(application, phone, digit):
    menu = application("menu.py")
    alice = phone("alice")
    alice.dial(menu.uri)
    await alice.until("answered")
    await alice.press(digit)
    return menu

async def test_asserts(application, phone):
    menu = await dialled(application, phone, "5")
    assert (await menu.ended()).return_code == 6

async def test_application_raises(application, phone):
    await (await dialled(application, phone, "0")).ended()

async def test_sleeps_on(application, phone):
    await dialled(application, phone, "9")
"""


SAYS_SO = """
import pytest

@pytest.mark.parametrize("pytrace", [True, False])
async def test_says_so(application, phone, pytrace):
    alice = phone("alice")
    alice.dial(application("menu.py").uri)
    await alice.until("answered")
    pytest.fail("I don't like it", pytrace=pytrace)

def test_skips(simulation):
    pytest.skip("not today")
"""


class PluginTests(SynchronousTestCase):
    def pytest(self, text: str, *options: str) -> tuple[int, str]:
        """Run pytest on a file that lies beside the applications; return its status and what it says."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "test_it.py").write_text(text)
        for name in ("menu.py", "tone_async.py"):
            (directory / name).write_text((APPLICATIONS / name).read_text())
        # The plugin by its module, whether this very package is installed or not. Under CI, pytest says it all twice.
        env = {name: value for name, value in os.environ.items() if name not in ("CI", "BUILD_NUMBER")}
        env |= {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "pytest", "-p", "telephony.testing.pytest", "-p", "no:cacheprovider"]
        out = subprocess.run(
            [*command, "--strict-markers", "-W", "error", *options, "test_it.py"],
            env=env,
            cwd=directory,
            capture_output=True,
            text=True,
            check=False,
        )
        return out.returncode, out.stdout + out.stderr

    def test_passes(self) -> None:
        """Coroutine tests and plain ones, with parameters, markers and other fixtures beside."""
        status, text = self.pytest(PASSES)
        self.assertEqual(status, 0, text)
        self.assertIn("6 passed", text)

    def test_fails(self) -> None:
        """A failure shows the ladder; what an application raises and an application that stays are failures."""
        status, text = self.pytest(FAILS, "--call-artifacts=kept")
        self.assertEqual(status, 1)
        self.assertIn("3 failed", text)
        self.assertEqual(text.count("|-- INVITE"), 3, text)
        self.assertIn("nobody is at zero", text)
        self.assertRegex(text, r"menu.py, line \d+, in main: time.sleep\(1.5\), in sleep\(\)|left over")
        self.assertIn(".html", text)

    def test_says_so(self) -> None:
        """A test that fails by ``pytest.fail()`` shows the ladder too; one that skips skips."""
        status, text = self.pytest(SAYS_SO)
        self.assertEqual(status, 1)
        self.assertRegex(text, "2 failed, 1 skipped")
        self.assertEqual(text.count("|-- INVITE"), 2, text)
        self.assertRegex(text, "(?m)^I don't like it$")

    def test_entry_point(self) -> None:
        """Installed, pytest finds the plugin by itself."""
        setup = configparser.ConfigParser()
        setup.read(ROOT / "setup.cfg")
        self.assertIn("telephony = telephony.testing.pytest", setup["options.entry_points"]["pytest11"])

    def test_only_there(self) -> None:
        """Nothing else imports pytest, and the plugin imports nothing of the kit before it is used."""
        code = (
            "import sys, telephony.testing.case, telephony.testing.hosting, telephony.testing.fixtures\n"
            "assert 'pytest' not in sys.modules\n"
        )
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
        code = "import sys, telephony.testing.pytest\nassert 'telephony.testing.case' not in sys.modules\n"
        subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
