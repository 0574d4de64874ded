"""What a person sees of a visit: a line for each check, while it goes on.

Owns: the form of the lines, colours on a terminal, the line of the check that is under way. Must not know checks.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from typing import Any

import click

from telephony.doctor.findings import Finding, Outcome, Report

COLOURS = {Outcome.GOOD: "green", Outcome.ODD: "yellow", Outcome.BAD: "red", Outcome.NOT_DONE: "bright_black"}
#: The columns of the outcome and of the check's name.
OUTCOME, NAME = 10, 25
NARROWEST, WIDEST = 60, 120
_UNITS = re.compile(r"(\d) (ms|s|dB|dBm0|bytes|packets)\b")


class Screen:
    """Lines on ``stream``. On a terminal the check that is under way is shown, and replaced by what it has found."""

    def __init__(self, stream: Any, *, live: bool | None = None, width: int | None = None) -> None:
        self._stream = stream
        self._live = stream.isatty() if live is None else live
        columns = width if width is not None else shutil.get_terminal_size((100, 24)).columns
        self._width = min(max(columns, NARROWEST), WIDEST)
        self._open = False
        self._first = True

    def opening(self, target: str) -> None:
        """Say what is looked at."""
        self._line(click.style(f"A visit at {target}", bold=True))

    def titled(self, title: str) -> None:
        """Begin a group."""
        self._line("")
        self._line(click.style(title, bold=True))

    def begun(self, name: str) -> None:
        """Show what is under way, where it can be taken back."""
        if self._live:
            self._write("\r\x1b[K" + "  " + click.style(f"{'...':<{OUTCOME}}{name}", dim=True))
            self._open = True

    def found(self, finding: Finding) -> None:
        """Show a finding, its advice below it."""
        colour = COLOURS[finding.outcome]
        name = finding.check if len(finding.check) < NAME else finding.check + " "
        head = f"{name:<{NAME}}"
        room = self._width - 2 - OUTCOME - NAME
        lines = wrapped(sentence(finding.text), room) or [""]
        if len(head) > NAME:  # a long name has a line of its own
            lines.insert(0, "")
        margin = " " * (2 + OUTCOME + NAME)
        self._line("  " + click.style(f"{finding.outcome.value:<{OUTCOME}}", fg=colour) + head + lines[0])
        for line in lines[1:]:
            self._line(margin + line)
        for number, line in enumerate(wrapped(finding.advice, room - 3)):
            self._line(margin + ("-> " if not number else "   ") + line)

    def closing(self, report: Report) -> None:
        """Say what it all came to."""
        self._line("")
        counts = report.counts
        worst = next((one for one in (Outcome.BAD, Outcome.ODD) if counts[one]), Outcome.GOOD)
        colour = COLOURS[Outcome.ODD if report.interrupted else worst]
        self._line(click.style(report.verdict[:1].upper() + report.verdict[1:], fg=colour, bold=True))

    def _line(self, text: str) -> None:
        if self._open:
            self._write("\r\x1b[K")
            self._open = False
        if self._first and not text:
            return
        self._first = False
        self._write(text.rstrip() + "\n")

    def _write(self, text: str) -> None:
        self._stream.write(text if self._live else click.unstyle(text))
        self._stream.flush()


def wrapped(text: str, width: int) -> list[str]:
    """Cut a text into lines; a number stays with its unit."""
    bound = _UNITS.sub("\\1\u00a0\\2", text)
    return [line.replace("\u00a0", " ") for line in textwrap.wrap(bound, width, break_on_hyphens=False)]


def sentence(text: str) -> str:
    """Write a finding's text as a sentence: with a full stop, and a capital where a word begins it."""
    first = text.split(" ", 1)[0]
    plain = first.isalpha() and first.islower()
    ended = text if text.endswith((".", "!", "?")) else f"{text}."
    return ended[:1].upper() + ended[1:] if plain else ended
