"""Running tests in forked processes: with a tracer once, then with changed modules, once for each mutant.

Owns: the import of what is mutated, limits of time, and what came of it. Must not know how mutants are made or drawn.

A `Bench` lives in a copy of the tree. Its process has imported every library the tests need, but nothing of ours, so
that a fork of it imports our packages in a fraction of a second, and gets the changed code for some modules.
"""

from __future__ import annotations

import gc
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import attrs

#: A test may take this many times the CPU time it took under the tracer, and this many seconds besides.
SLOWER, GRACE = 5.0, 4.0
#: Seconds of CPU time for importing what the tests import.
IMPORTING = 20.0
#: Seconds of the clock after which a test that waits for something is given up.
WAITING = 180
#: Bytes of address space: a mutant may not take the machine with it.
SPACE = 8 << 30
#: Examples of the models of calls.
EXAMPLES = "20"

OURS = ("telephony", "tests", "twisted.plugins")


@attrs.frozen
class Known:
    """A test, what it takes in seconds of CPU time under the tracer, and by file the lines it reaches in functions."""

    name: str
    seconds: float
    lines: dict[str, frozenset[int]]


@attrs.frozen
class Outcome:
    """What became of a run: ``failed`` has the tests that failed, by name, in the order of running.

    ``stopped`` is the test at which the process was ended for taking too long; ``died`` says of what else it died.
    """

    failed: dict[str, str]
    passed: int
    stopped: str = ""
    died: str = ""
    seconds: float = 0.0

    @property
    def killed(self) -> bool:
        """Whether somebody noticed."""
        return bool(self.failed or self.stopped or self.died)


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a module the changed code."""

    def __init__(self, name: str, path: Path, code: CodeType) -> None:
        self._name, self._path, self._code = name, path, code

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        where = [str(self._path.parent)] if self._path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            fullname, self._path, loader=self, submodule_search_locations=where
        )

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


class _Tracer:
    """Notes the lines of our packages under mutation, as they run."""

    def __init__(self, root: Path, packages: Sequence[str]) -> None:
        self._root = str(root)
        self._wanted = tuple(str(root / "telephony" / package) + os.sep for package in packages)
        self._known: dict[CodeType, bool] = {}
        self.lines: set[tuple[str, int]] = set()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> Any:
        code = frame.f_code
        wanted = self._known.get(code)
        if wanted is None:
            wanted = code.co_filename.startswith(self._wanted) and code.co_name != "<module>"
            self._known[code] = wanted
        if not wanted:
            return None
        name, add = code.co_filename, self.lines.add
        add((name, frame.f_lineno))

        def local(frame: FrameType, _event: str, _argument: object) -> Any:
            add((name, frame.f_lineno))
            return local

        return local

    def take(self) -> dict[str, list[int]]:
        """Return the lines noted since the last time, by file."""
        found: dict[str, list[int]] = {}
        for name, line in sorted(self.lines):
            found.setdefault(os.path.relpath(name, self._root), []).append(line)
        self.lines.clear()
        return found


class Bench:
    """A copy of ``telephony`` and ``tests`` of a tree, and the tests of ``packages`` in it."""

    def __init__(self, tree: Path, packages: Sequence[str]) -> None:
        self._scratch = tempfile.mkdtemp(prefix="mutation-")
        self.root = Path(self._scratch, "tree")
        self.root.mkdir()
        for name in ("telephony", "tests"):
            shutil.copytree(tree / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__", "_trial_temp*"))
        for name in ("docs", "examples"):
            if (tree / name).is_dir():
                shutil.copytree(tree / name, self.root / name)
        self._packages = packages
        self.known: dict[str, Known] = {}

    def close(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def suites(self, package: str) -> list[str]:
        """Name the modules of the tests that are a sub-package's own."""
        mirror = sorted((self.root / "tests" / package).rglob("test_*.py"))
        names = [".".join(path.relative_to(self.root).with_suffix("").parts) for path in mirror]
        return [*names, "tests.test_tables", "tests.test_races", "tests.models.test_calls"]

    def named(self, pattern: str) -> list[str]:
        """Name the modules that have tests with such names, and the table of races."""
        found = {"tests.test_races"}
        for path in (self.root / "tests").rglob("test_*.py"):
            where = path.relative_to(self.root)
            if where.parts[1] not in ("interop", "mutation") and re.search(rf"def test\w*{pattern}", path.read_text()):
                found.add(module_of(str(where)))
        return sorted(found)

    def explore(self, modules: Sequence[str] = (), pattern: str = "") -> Outcome:
        """Run all tests once under the tracer, to know what each reaches; no test may fail.

        With ``modules`` only theirs whose names have ``pattern`` in them, and only to know how long each takes.
        """
        names = sorted({name for package in self._packages for name in self.suites(package)})
        told: list[dict[str, Any]] = []
        outcome = self._forked(lambda tell: self._explore(modules or names, tell, pattern), told.append)
        for one in told:
            if "lines" in one:
                lines = {name: frozenset(numbers) for name, numbers in one["lines"].items()}
                self.known[one["test"]] = Known(one["test"], one["seconds"], lines)
            if "libraries" in one:
                for library in one["libraries"]:
                    if library in sys.modules or library.startswith("twisted.internet.reactor"):
                        continue
                    try:
                        importlib.import_module(library)
                    except Exception:
                        continue  # a module that only its package can import
        # Out of our packages nothing may be loaded here that the forks are to load; the collector needn't visit the
        # libraries in any of them.
        gc.collect()
        gc.freeze()
        return outcome

    def run(self, names: Sequence[str], changed: Mapping[str, CodeType], *, all_of_them: bool) -> Outcome:
        """Run tests on changed modules, by path; in the order given, up to the first that fails, or ``all_of_them``."""

        def play(tell: Callable[[dict[str, Any]], None]) -> None:
            for path, code in changed.items():
                sys.meta_path.insert(0, _Changed(module_of(path), self.root / path, code))
            for name in names:
                known = self.known[name]
                tell({"test": name, "begins": True})
                _limit(IMPORTING)
                test = _test_of(name)
                _limit(GRACE + SLOWER * known.seconds)
                error = _failure_of(test)
                tell({"test": name, "error": error})
                if error and not all_of_them:
                    return

        return self._forked(play)

    def _explore(self, modules: Sequence[str], tell: Callable[[dict[str, Any]], None], pattern: str) -> None:
        from twisted.trial.runner import TestLoader

        tests = []
        for module in modules:
            tests += list(_each(TestLoader().loadModule(importlib.import_module(module))))
        libraries = [name for name in sys.modules if not name.startswith(OURS) and not name.startswith("__")]
        tracer = _Tracer(self.root, self._packages)
        for test in tests:
            if not re.search(pattern, test.id().rpartition(".")[2]):
                continue
            tell({"test": test.id(), "begins": True})
            began = time.process_time()
            if not pattern:
                threading.settrace(tracer)
                sys.settrace(tracer)
            error = _failure_of(test)
            sys.settrace(None)
            threading.settrace(None)
            seconds = time.process_time() - began
            tell({"test": test.id(), "error": error, "seconds": seconds, "lines": tracer.take()})
        tell({"libraries": libraries})

    def _forked(
        self,
        play: Callable[[Callable[[dict[str, Any]], None]], None],
        hear: Callable[[dict[str, Any]], object] | None = None,
    ) -> Outcome:
        """Let a fork of this process play, and gather what it tells."""
        began = time.monotonic()
        here = tempfile.mkdtemp(dir=self._scratch)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            status = 1
            try:
                os.close(reading)
                self._settle_in(here)
                with os.fdopen(writing, "w") as pipe:

                    def tell(what: dict[str, Any]) -> None:
                        pipe.write(json.dumps(what) + "\n")
                        pipe.flush()

                    try:
                        play(tell)
                    except BaseException:
                        tell({"test": "", "error": traceback.format_exc()[-2000:]})
                status = 0
            finally:
                os._exit(status)
        os.close(writing)
        failed: dict[str, str] = {}
        passed, last = 0, ""
        with os.fdopen(reading) as pipe:
            for line in pipe:
                one = json.loads(line)
                if hear is not None:
                    hear(one)
                last = one.get("test", last)
                if one.get("error"):
                    failed[last or "import"] = one["error"]
                elif "error" in one:
                    passed += 1
        _, status = os.waitpid(child, 0)
        shutil.rmtree(here, ignore_errors=True)
        stopped = died = ""
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            if number in (signal.SIGPROF, signal.SIGALRM):
                stopped = last or "import"
            else:
                died = signal.Signals(number).name
        elif status:
            died = f"status {os.WEXITSTATUS(status)}"
        return Outcome(failed, passed, stopped, died, time.monotonic() - began)

    def _settle_in(self, here: str) -> None:
        """Make a fork a place of its own, with our packages from the copy."""
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.chdir(here)
        for name in [name for name in sys.modules if name.split(".")[0] in ("telephony", "tests")]:
            del sys.modules[name]
        root = Path(__file__).parent.parent.parent.resolve()
        sys.path[:] = [str(self.root), *(one for one in sys.path if one and Path(one).resolve() != root)]
        sys.path_importer_cache.clear()
        sys.dont_write_bytecode = False
        os.environ["TELEPHONY_EXAMPLES"] = EXAMPLES
        resource.setrlimit(resource.RLIMIT_AS, (SPACE, SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from hypothesis import settings
        from hypothesis.internal.conjecture.engine import ConjectureRunner

        settings.register_profile("mutation", database=None, derandomize=True, deadline=None)
        settings.load_profile("mutation")
        # A failure need not become small here: that it is one is all we ask.
        for name in [name for name in vars(ConjectureRunner) if name.startswith("shrink_interesting")]:
            setattr(ConjectureRunner, name, lambda _self: None)


def module_of(path: str) -> str:
    """Return the name of a module by its path."""
    return ".".join(Path(path).with_suffix("").parts).removesuffix(".__init__")


def _limit(seconds: float) -> None:
    """End this process when it takes more CPU time than that from now on, or waits too long."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(WAITING)


def _each(suite: Any) -> Iterator[Any]:
    """Go through the tests of a suite."""
    try:
        inside = list(suite)
    except TypeError:
        yield suite
        return
    for one in inside:
        yield from _each(one)


def _test_of(name: str) -> Any:
    """Make the test of that name."""
    module, class_name, method = name.rsplit(".", 2)
    return getattr(importlib.import_module(module), class_name)(method)


def _failure_of(test: Any) -> str:
    """Run a test; say how it failed, nothing when it passed or failed as expected."""
    from twisted.trial.reporter import TestResult

    result = TestResult()
    test.run(result)
    for outcomes in (result.failures, result.errors):
        for _, failure in outcomes:
            return str(failure.getErrorMessage() if hasattr(failure, "getErrorMessage") else failure)[:500] or "failed"
    if result.unexpectedSuccesses:
        return "unexpected success"
    return ""
