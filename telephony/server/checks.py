"""How a configuration is checked: mistakes with their places, the checks of single values, and finding files.

Owns: what every section of ``telephony.toml`` has in common. Must not know the keys, nor sockets: who does says, by the
function that `Files` is given, whether a listener can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from telephony.errors import Error
from telephony.server.applications import Application, load_application


@attrs.frozen
class Problem:
    """One mistake: where (``sip.listen[1]``, ``service[0].match``) and a sentence that says what is allowed."""

    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}" if self.where else self.text


class ConfigurationError(Error):
    """A configuration can't be used; ``problems`` are all its mistakes, the text has one line for each."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {problem}" for problem in problems)]))


class Refused(ValueError):  # noqa: N818 - it says what happened to the value
    """A value is not allowed; the text says what is. ``index`` names the element of a list."""

    def __init__(self, text: str, index: int | None = None) -> None:
        super().__init__(text)
        self.index = index


#: Checks one value and returns it as it is kept; the second argument finds files.
Check = Callable[[Any, "Files"], Any]


def by(check: Check) -> dict[str, Check]:
    """Return the metadata of a key whose value ``check`` checks."""
    return {"check": check}


# -- what is allowed for a value -----------------------------------------------------------------------------------


def a_text(value: Any, _files: Files) -> str:
    """Check for a text, which may be empty."""
    if not isinstance(value, str):
        raise Refused(f"{value!r} is no text; write it in quotes")
    return value


def a_name(value: Any, _files: Files) -> str:
    """Check for a text that isn't empty."""
    if not isinstance(value, str) or not value.strip():
        raise Refused(f"{value!r} is no name; give a text in quotes that isn't empty")
    return value


def one_of(*allowed: str) -> Check:
    """Return the check for one of these texts."""

    def check(value: Any, _files: Files) -> str:
        if value not in allowed or not isinstance(value, str):
            raise Refused(f"{value!r} is not allowed; allowed: {', '.join(repr(one) for one in allowed)}")
        return value

    return check


def whole(low: int, high: int) -> Check:
    """Return the check for a whole number."""

    def check(value: Any, _files: Files) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise Refused(f"{value!r} is not allowed; allowed: a whole number from {low} to {high}")
        return value

    return check


def zero_or(otherwise: Check, zero: str) -> Check:
    """Return a check that lets 0 pass too; ``zero`` says what it means."""

    def check(value: Any, files: Files) -> Any:
        if not isinstance(value, bool) and isinstance(value, int | float) and value == 0:
            return value
        try:
            return otherwise(value, files)
        except Refused as error:
            raise Refused(f"{error}, or 0: {zero}") from None

    return check


def in_seconds(low: float, high: float) -> Check:
    """Return the check for a time in seconds."""

    def check(value: Any, _files: Files) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise Refused(f"{value!r} is not allowed; allowed: seconds from {low:g} to {high:g}")
        return float(value)

    return check


def truth(value: Any, _files: Files) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise Refused(f"{value!r} is not allowed; allowed: true, false")
    return value


def repeated(told: Any, section: str, *keys: str) -> list[Problem]:
    """Find texts that only one table of a list may have; also in tables that can't be used for another reason."""
    problems = []
    first: dict[tuple[str, str], int] = {}
    for index, one in enumerate(told if isinstance(told, list) else ()):
        for key in keys:
            value = one.get(key) if isinstance(one, dict) else None
            if isinstance(value, str) and value and first.setdefault((key, value), index) != index:
                text = f"{value!r} is the {key} of {section}[{first[key, value]}] already"
                problems.append(Problem(f"{section}[{index}].{key}", text))
    return problems


#: Tells why nobody can listen on what is written like ``"udp:127.0.0.1:5060"``, in a sentence; "" where one can.
Busy = Callable[[str], str]


class Files:
    """What is outside of a configuration: finds the files that it names, loads each application once.

    ``busy`` tells which listeners are taken; without it nobody looks.
    """

    def __init__(self, *places: Path, busy: Busy | None = None) -> None:
        self._places = places
        self.busy: Busy = busy if busy is not None else lambda _listener: ""
        self._applications: dict[Path, Application | Error] = {}

    def find(self, name: str) -> Path:
        """Return the first place where ``name`` is, or the place where it should be."""
        candidates = [place / Path(name).expanduser() for place in self._places]
        return next((one for one in candidates if one.exists()), candidates[0])

    def application(self, name: str) -> Application:
        """Load an application file; raises `Refused` with the reason, the same one each time."""
        path = self.find(name).absolute()
        if path not in self._applications:
            try:
                self._applications[path] = load_application(path)
            except Error as error:
                self._applications[path] = error
        found = self._applications[path]
        if isinstance(found, Error):
            raise Refused(str(found)) from found
        return found
