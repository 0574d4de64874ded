"""Processes of the bench: started on a core, measured from outside, ended by their own number.

Owns: finding the cores, starting something pinned to one, its processor time, memory and descriptors from ``/proc``,
and building what is written in C. Must not know calls.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path(__file__).resolve().parent / "c"
LOOPBACK = "127.0.0.1"
#: Everybody who is measured, and the load, goes before whatever else runs on this machine, all alike.
PRIORITY = -15


class Broken(Exception):  # noqa: N818 - what a row says when it has no figure
    """Something that was to be measured did not do what it should; the text says what."""


def cores() -> tuple[int, int]:
    """Return the core of what is measured and that of the load: the first and the last that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return allowed[0], allowed[-1]


def free_port(kind: int = socket.SOCK_DGRAM) -> int:
    """Return a port of loopback that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _settle(core: int) -> None:
    """Take this process to a core, and before others that want it, where the system lets us (root).

    Linux shares out cores among sessions first (autogroup) and among their processes then, so both are told.
    """
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        Path("/proc/self/autogroup").write_text(str(PRIORITY))


class Process:
    """A child on one core. Lines go in and out where ``lines`` is set; otherwise its output goes to ``log``."""

    def __init__(
        self, command: list[str], core: int, *, lines: bool = False, log: Path | None = None, cwd: Path = ROOT
    ) -> None:
        output: int | IO[Any] = subprocess.DEVNULL if log is None else log.open("a")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": os.environ.get("PATH", "") + ":/usr/sbin"}
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if lines else subprocess.DEVNULL,
            stdout=subprocess.PIPE if lines else output,
            stderr=output,
            text=True,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            # Between fork and exec; inherited by all its threads.
            preexec_fn=lambda: _settle(core),
        )
        self.name = Path(command[0]).name if len(command) < 3 or command[1] != "-m" else command[2]
        self.log = log
        if not isinstance(output, int):
            output.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self.child.pid

    def heard(self) -> str:
        """Return its next line. Raises `Broken` when it has ended."""
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise Broken(f"{self.name} has ended by itself, status {self.child.wait()}{self._last_words()}")
        return str(line)

    def told(self, line: str) -> None:
        """Send it a line. Raises `Broken` when it has ended."""
        assert self.child.stdin is not None
        try:
            self.child.stdin.write(line + "\n")
            self.child.stdin.flush()
        except OSError as error:
            raise Broken(f"{self.name} has ended by itself, status {self.child.wait()}{self._last_words()}") from error

    def _last_words(self) -> str:
        if self.log is None or not self.log.exists():
            return ""
        return ": " + " / ".join(self.log.read_text(errors="replace").splitlines()[-3:])[-400:]

    def check(self) -> None:
        """Raise `Broken` when it has ended."""
        if self.child.poll() is not None:
            raise Broken(f"{self.name} has ended by itself, status {self.child.returncode}{self._last_words()}")

    def cpu_seconds(self) -> float:
        """Return the processor time of all its threads, and of its children, to the nanosecond where there are none."""
        total = 0.0
        try:
            # User and system time of threads that have ended are only in the sum, which counts in ticks of 10 ms.
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            ticks = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            tasks = list(Path(f"/proc/{self.pid}/task").iterdir())
            total = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) * 1e-9
        except OSError:
            raise Broken(f"{self.name} has ended by itself{self._last_words()}") from None
        own = max(total, ticks) if len(tasks) > 1 else total
        return own + sum(_ticks(child) for child in children(self.pid))

    def waited_seconds(self) -> float:
        """Return how long its first thread was ready to run and had no core: what others took from it."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) * 1e-9

    def resident_kib(self) -> float:
        """Return how much memory it has, in KiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1024

    def descriptors(self) -> int:
        """Return how many files and sockets it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def udp_ports(self) -> int:
        """Return how many UDP sockets it has open."""
        return len(self._sockets())

    def dropped(self) -> int:
        """Return how many datagrams the system had no room for at its UDP sockets that are open now."""
        return sum(self._sockets())

    def _sockets(self) -> list[int]:
        names = set()
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                name = str(descriptor.readlink())
            except OSError:
                continue
            if name.startswith("socket:["):
                names.add(name[8:-1])
        rows = (line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:])
        return [int(row[-1]) for row in rows if row[9] in names]

    def end(self, by_line: str = "", seconds: float = 15.0) -> int:
        """End it: by a line, where it takes one, then by signals. Returns its status."""
        child = self.child
        if child.stdin is not None:
            try:
                if by_line:
                    child.stdin.write(by_line + "\n")
                child.stdin.close()
            except OSError:
                pass  # it has ended already
        for number in (0 if child.stdin is not None else signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if child.poll() is None:
                child.send_signal(number)
            try:
                status = child.wait(seconds)
                break
            except subprocess.TimeoutExpired:
                seconds = 3.0
        else:
            status = child.wait()
        if child.stdout is not None:
            child.stdout.close()
        return status


def children(pid: int) -> list[int]:
    """Return the numbers of the children of a process, and of theirs."""
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(one) for one in (task / "children").read_text().split()]
    except OSError:
        return []
    return found + [one for child in found for one in children(child)]


def _ticks(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def find(program: str) -> str | None:
    """Return the path of a program, also of one that only root has on its path."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


class Workshop:
    """A directory for one run of the bench, with what is written in C compiled into it; gone when closed."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="telephony-bench-"))
        self._built: dict[str, Path] = {}

    def built(self, name: str, *sources: str) -> Path:
        """Return a program compiled from ``sources`` of ``bench/c``. Raises `Broken` when there is no compiler."""
        if name not in self._built:
            compiler = find("gcc") or find("cc")
            if compiler is None:
                raise Broken("there is no C compiler; install gcc")
            path = self.directory / name
            command = [compiler, "-O2", "-o", str(path), *(str(SOURCES / one) for one in sources)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Broken(f"{name} can't be compiled: {done.stderr[-400:]}")
            self._built[name] = path
        return self._built[name]

    def fresh(self, name: str) -> Path:
        """Return a new, empty directory."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.directory))

    def close(self) -> None:
        """Delete it all."""
        shutil.rmtree(self.directory, ignore_errors=True)
