"""``docs/testing.rst``: every snippet is a file, and every command runs on them and passes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from itertools import takewhile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import telephony

ROOT = Path(telephony.__path__[0]).parent
PAGE = ROOT / "docs" / "testing.rst"
#: What the page's commands are here: of this very Python, with the plugin by its module, installed or not.
COMMANDS = {
    "python": [sys.executable],
    "pytest": [sys.executable, "-m", "pytest", "-p", "telephony.testing.pytest", "-p", "no:cacheprovider"],
}


def snippets() -> list[tuple[str, str, str]]:
    """Return the language, the caption and the text of each code block of the page."""
    lines = PAGE.read_text().splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        opening = re.match(r"\.\. code-block:: (\w+)$", line)
        if opening is not None:
            inner = list(takewhile(lambda line: not line.strip() or line.startswith("    "), lines[number:]))
            caption = re.fullmatch(r"    :caption: (\S+)", inner[0])
            text = textwrap.dedent("\n".join(inner if caption is None else inner[1:])).strip("\n") + "\n"
            found.append((opening[1], "" if caption is None else caption[1], text))
    return found


class TutorialTests(SynchronousTestCase):
    def test_every_snippet_runs(self) -> None:
        """Issue 3: every snippet is a file that a command of the page runs, or that such a file hosts."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        found = snippets()
        files = {caption: text for language, caption, text in found if language == "py"}
        for name, text in files.items():
            self.assertTrue(name.endswith(".py"), f"a snippet of Python has no file name: {text}")
            (directory / name).write_text(text)
        commands = [
            line.removeprefix("$ ") for kind, _, text in found if kind == "console" for line in text.splitlines()
        ]
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        for command in commands:
            first, *rest = command.split()
            out = subprocess.run(
                [*COMMANDS[first], *rest], cwd=directory, env=env, capture_output=True, text=True, check=False
            )
            self.assertEqual(out.returncode, 0, f"{command}\n{out.stdout}{out.stderr}")
            self.assertRegex(out.stdout, r"PASSED \(successes=|\d passed")
        for name, text in files.items():
            tested = "__uas_identify__" not in text
            users = commands if tested else [other for other in files.values() if other is not text]
            wanted = name.removesuffix(".py") if tested else f'"{name}"'
            self.assertTrue(any(wanted in user for user in users), f"nothing on the page runs {name}")

    def test_ends_with_fifteen_lines_each(self) -> None:
        """Issue 3: the page ends with an application of 15 lines and its test of 15 lines."""
        application, test = [text for language, _, text in snippets() if language == "py"][-2:]
        self.assertIn("__uas_identify__", application)
        self.assertEqual([len(application.splitlines()), len(test.splitlines())], [15, 15])
