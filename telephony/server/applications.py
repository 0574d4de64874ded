"""Application files: finding out what a file is, and loading it once (``api.md`` section 2).

Owns: what makes a file an application, which direction and style its ``main`` has, and the sentences that refuse
others. Must not know calls or instances.

How the style of ``main`` is found out: ``async def``, a generator under ``inlineCallbacks``, and a function annotated
to return a Deferred run on the reactor and get a `CallChannel`; every other one runs in a thread and gets a
`UASCallChannel`.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

from telephony.errors import Error

#: What ``main`` is called with, inbound; outbound has one argument more.
INBOUND_ARGUMENTS = ("channel", "application_instance_id", "file_man", "my_log", "application_parameters")
OUTBOUND_ARGUMENTS = (*INBOUND_ARGUMENTS, "outbound_parameters")


class Direction(Enum):
    """Which way an application's primary call goes."""

    INBOUND = "inbound"
    OUTBOUND = "outbound"


class Style(Enum):
    """How ``main`` runs."""

    THREAD = "thread"
    REACTOR = "reactor"


@attrs.frozen
class Application:
    """A loaded application file. ``directions`` are those its ``main`` has the arguments for."""

    name: str
    path: Path
    version: str
    main: Callable[..., Any]
    style: Style
    directions: frozenset[Direction]


def load_application(path: Path) -> Application:
    """Run an application file and return what it is.

    Raises `Error` with one sentence when the file is missing, broken or no application; whatever the file itself
    raises is named with its line. Runs the file's own code, so twice is twice.
    """
    path = path.absolute()
    if not path.is_file():
        told = "is a directory" if path.is_dir() else "is not there"
        raise Error(f"{path} {told}; give an application file, a Python file with a main() of its own")
    module = _run(path)
    kind = getattr(module, "__uas_identify__", None)
    if kind == "common":
        raise Error(f'{path} says __uas_identify__ = "common": it is for applications to import, not one by itself')
    if kind != "application":
        told = "has no __uas_identify__" if kind is None else f"has __uas_identify__ = {kind!r}"
        raise Error(f'{path} {told}; an application file says __uas_identify__ = "application"')
    version = getattr(module, "__uas_version__", None)
    if not isinstance(version, str):
        told = "has no __uas_version__" if version is None else f"has __uas_version__ = {version!r}"
        raise Error(f'{path} {told}; an application file says its version as a string, like __uas_version__ = "1.0"')
    main = getattr(module, "main", None)
    allowed = f"write it as main({', '.join(INBOUND_ARGUMENTS)}), with outbound_parameters after that when outbound"
    if not callable(main):
        told = "has no main()" if main is None else f"has a main that is no function ({main!r})"
        raise Error(f"{path} {told}; {allowed}")
    directions = _directions(main)
    if not directions:
        raise Error(f"{path} has a main() that takes {_count(main)}; {allowed}")
    return Application(path.stem, path, version, main, _style(main), directions)


def _run(path: Path) -> ModuleType:
    """Run the file as a module of its own, able to import what lies beside it ("common" files)."""
    beside = str(path.parent)
    if beside not in sys.path:
        sys.path.append(beside)
    module = ModuleType(f"telephony_application_{path.stem}")
    module.__file__ = str(path)
    # Known by name, as dataclasses, pickle and the like ask for.
    sys.modules[module.__name__] = module
    try:
        # The file has the meaning it has by itself: this module's "from __future__" is not for it.
        code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except SyntaxError as error:
        raise Error(f"{error.filename or path}, line {error.lineno}: {error.msg}") from error
    except OSError as error:
        raise Error(f"{path} can't be read: {error.strerror or error}") from error
    except ValueError as error:  # NUL bytes or a strange encoding, where it doesn't come from the code itself
        raise Error(_blame(path, error)) from error
    except BaseException as error:  # sys.exit() in a file included; Ctrl-C is still Ctrl-C
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Error(_blame(path, error)) from error
    return module


def _blame(path: Path, error: BaseException) -> str:
    """Name the last line of the file itself that the exception went through."""
    lines = [one.lineno for one in traceback.extract_tb(error.__traceback__) if one.filename == str(path)]
    where = f"{path}, line {lines[-1]}" if lines else str(path)
    what = str(error)
    return f"{where}: {type(error).__name__}" + (f": {what}" if what else "")


def _directions(main: Callable[..., Any]) -> frozenset[Direction]:
    try:
        signature = inspect.signature(main)
    except (TypeError, ValueError):
        return frozenset(Direction)
    found = set()
    for direction, arguments in ((Direction.INBOUND, INBOUND_ARGUMENTS), (Direction.OUTBOUND, OUTBOUND_ARGUMENTS)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        found.add(direction)
    return frozenset(found)


def _count(main: Callable[..., Any]) -> str:
    count = len(inspect.signature(main).parameters)
    return f"{count} argument{'' if count == 1 else 's'}"


def _style(main: Callable[..., Any]) -> Style:
    inner = inspect.unwrap(main)
    if inspect.iscoroutinefunction(main) or (inner is not main and inspect.isgeneratorfunction(inner)):
        return Style.REACTOR
    annotation = getattr(main, "__annotations__", {}).get("return", "")
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return Style.REACTOR if text.split("[")[0].rpartition(".")[2] == "Deferred" else Style.THREAD
