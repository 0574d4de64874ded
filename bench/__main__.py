"""``python -m bench``: every row, or some, beside the peers that are installed.

Owns: the command line, the order of rounds, progress, and where results go. Rounds are interleaved: the project, a
peer, the next peer, the project again, so that whatever else goes on on the machine meets all of them.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click

from bench.figures import Entry, Measured, number
from bench.page import page
from bench.picture import picture
from bench.processes import ROOT, Broken, Workshop, cores
from bench.rows import Contender, Rig, Row, all_rows
from bench.table import Result, as_json, table

RESULTS = ROOT / "bench" / "results.json"
PAGE = ROOT / "docs" / "speed.rst"
PICTURE = ROOT / "docs" / "speed.svg"


class Progress:
    """A line on standard error that says what is measured now; one line each where that is no terminal."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._what = ""
        self._tty = sys.stderr.isatty()
        self._begun = time.monotonic()

    def now(self, what: str, left: float) -> None:
        """Name what is measured, and how long the rest will take."""
        self._what = what
        self._end = time.monotonic() + left
        if not self._tty:
            self._show("")

    def say(self, text: str) -> None:
        """Say what just came out."""
        self._show(text)

    def _show(self, text: str) -> None:
        left = max(0, round(self._end - time.monotonic()))
        line = f"{self._what}, about {left} s left{': ' + text if text else ''}"
        if self._tty:
            click.echo(f"\r\x1b[K{line[:110]}", nl=False, err=True)
        else:
            click.echo(f"{time.monotonic() - self._begun:6.1f} s  {line}", err=True)

    def done(self) -> None:
        """Leave the line."""
        if self._tty:
            click.echo("\r\x1b[K", nl=False, err=True)


def measure(row: Row, rig: Rig, rounds: int, peers: Sequence[str] | None, progress: Progress, left: float) -> Result:
    """Measure a row in rounds and return what came out. A contender that breaks is named as absent, with the reason."""
    found: dict[str, list[Measured]] = {one.name: [] for one in row.contenders}
    absent: dict[str, str] = {}
    for one in row.contenders:
        reason = one.absent()
        if not reason and peers is not None and not one.name.startswith("project") and one.name not in peers:
            reason = "left out (--peers)"
        if not reason and rig.quick and not one.quick:
            reason = "left out (--quick)"
        if reason:
            absent[one.name] = reason
    rounds = min(rounds, row.rounds)
    begun = time.monotonic()
    for number_of_round in range(rounds):
        for one in row.contenders:
            if one.name in absent:
                continue
            spent = time.monotonic() - begun
            what = f"{row.name}, round {number_of_round + 1} of {rounds}, {one.name}"
            progress.now(what, max(0.0, left - spent))
            _round(row, one, rig, found, absent)
    entries = tuple(Entry(one.name, tuple(found[one.name]), absent.get(one.name, "")) for one in row.contenders)
    notes = [f"{row.name}, {name}: {reason}" for name, reason in absent.items() if found[name]]
    if row.notes is not None and entries[0].rounds:
        notes += row.notes(entries)
    return Result(row, entries, tuple(notes))


def _round(row: Row, one: Contender, rig: Rig, found: dict[str, list[Measured]], absent: dict[str, str]) -> None:
    try:
        measured = one.measure(rig)
    except Broken as error:
        absent[one.name] = str(error)
        rig.say(str(error))
        return
    found[one.name].append(measured)
    rig.say(f"{number(measured.value)} {row.unit}")


def machine() -> dict[str, Any]:
    """Return what this was measured on, and with what."""

    def of(package: str) -> str:
        try:
            return version(package)
        except PackageNotFoundError:
            return ""

    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    measured, load = cores()
    head = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    git = subprocess.run(head, capture_output=True, text=True, check=False)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": git.stdout.strip() or "unknown",
        "machine": {
            "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
            "cores": os.cpu_count(),
            "core_of_the_measured": measured,
            "core_of_the_load": load,
            "system": platform.release(),
            "load_average": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            **{one: of(one) for one in ("twisted", "numpy", "telephony", "sippy")},
        },
    }


def known_rates(path: Path) -> dict[str, float]:
    """Return what contenders did in an earlier run, by "row/who", for searches to begin near it."""
    try:
        told = json.loads(path.read_text())
        return {
            f"{row['name']}/{one['who']}": 0.9 * float(one["median"])
            for row in told["rows"]
            for one in row["contenders"]
            if one.get("median") and row["unit"] == "calls/s"
        }
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def write_page(told: dict[str, Any]) -> None:
    """Put the results of a run into the page and its picture."""
    PICTURE.write_text(picture(told))
    PAGE.write_text(page(PAGE.read_text(), told))


def choose(names: str | None) -> list[Row]:
    """Return the rows that are asked for, in their own order. Raises click's usage error for a name there isn't."""
    rows = all_rows()
    if names is None:
        return rows
    wanted = [one.strip() for one in names.split(",") if one.strip()]
    unknown = [one for one in wanted if not any(row.name == one for row in rows)]
    if unknown or not wanted:
        known = ", ".join(row.name for row in rows)
        raise click.BadParameter(f"there is no row {', '.join(map(repr, unknown)) or repr(names)}; rows are: {known}")
    return [row for row in rows if row.name in wanted]


@click.group(invoke_without_command=True)
@click.option("--rows", "names", help="Only these rows, by name, with commas.")
@click.option("--list", "listing", is_flag=True, help="Name all rows and who is measured in them, and stop.")
@click.option("--quick", is_flag=True, help="All rows in under two minutes: one round, short steps, few calls.")
@click.option("--rounds", type=click.IntRange(1, 20), help="How often each figure is taken (3; 1 with --quick).")
@click.option("--peers", help="Only these peers, by name, with commas; 'none' for the project alone.")
@click.option("--seconds", type=click.FloatRange(0.2, 600), help="How long a step or a measurement takes.")
@click.option(
    "--minutes", type=click.FloatRange(0.05, 600), default=10.0, show_default=True, help="For the row 'turns'."
)
@click.option("--rate", type=click.FloatRange(1, 50_000), help="Capacity rows: only this rate, without a search.")
@click.option("--calls", type=click.IntRange(1, 5000), help="Rows with calls that stay: so many.")
@click.option("--profile", type=click.Path(dir_okay=False), help="Write the project's cProfile there (and be slower).")
@click.option("--page", "paging", is_flag=True, help="Write docs/speed.rst from bench/results.json, and stop.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where results go; bench/results.json.")
@click.pass_context
def main(
    context: click.Context,
    names: str | None,
    listing: bool,
    quick: bool,
    rounds: int | None,
    peers: str | None,
    seconds: float | None,
    minutes: float,
    rate: float | None,
    calls: int | None,
    profile: str | None,
    paging: bool,
    out: Path | None,
) -> None:
    """Measure what calls cost, beside the peers that are installed.

    The measured process has the first core, the load the last one. Results of a whole run, all rows in full, go to
    bench/results.json and into docs/speed.rst; those of any other run only where --out says.
    """
    if context.invoked_subcommand is not None:
        return
    if paging:
        write_page(json.loads(RESULTS.read_text()))
        return
    rows = choose(names)
    if listing:
        for row in rows:
            click.echo(f"{row.name:20} {row.title}; {', '.join(one.name for one in row.contenders)}")
        return
    whole = names is None and not quick and peers is None and rate is None and profile is None and calls is None
    times = rounds if rounds is not None else 1 if quick else 3
    named = None if peers is None else [one.strip() for one in peers.split(",") if one.strip() != "none"]
    about = machine()
    if about["machine"]["core_of_the_measured"] == about["machine"]["core_of_the_load"]:
        click.echo(
            "There is one core only: the load takes time from what is measured, and figures are too low.", err=True
        )

    def estimate(row: Row) -> float:
        once = row.seconds[quick] * (1 if named is None else 0.5)
        return (once + (60 * minutes if row.by_minutes and not quick else 0)) * min(times, row.rounds)

    left = sum(map(estimate, rows))
    progress = Progress(left)
    workshop = Workshop()
    rig = Rig(
        workshop,
        progress.say,
        quick=quick,
        seconds=seconds,
        rate=rate,
        minutes=minutes,
        calls=calls,
        profile=None if profile is None else str(Path(profile).absolute()),
        known=known_rates(RESULTS),
        wanted=frozenset(row.name for row in rows),
    )
    results: list[Result] = []
    begun = time.monotonic()
    try:
        for row in rows:
            results.append(measure(row, rig, times, named, progress, left))
            left -= estimate(row)
    except KeyboardInterrupt:
        click.echo("\nStopped; what is measured so far:", err=True)
    finally:
        workshop.close()
        progress.done()
    about["seconds"] = round(time.monotonic() - begun)
    click.echo(table(results))
    for result in results:
        for note in result.notes:
            click.echo(note)
    told = as_json(results, about)
    if out is None and whole and len(results) == len(rows):
        out = RESULTS
        write_page(told)
    if out is not None:
        out.write_text(json.dumps(told, indent=1) + "\n")


@main.command()
@click.option("--minutes", type=click.FloatRange(0.1, 600), default=30.0, show_default=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write what came out there, as JSON.")
def soak(minutes: float, out: Path | None) -> None:
    """100 transferred calls turning over, 20 a second, one in ten recorded; status 1 if anything is wrong."""
    from bench import soak as soaking

    with _rig() as rig:
        soaked = soaking.soak(rig, minutes, rig.say)
    wrong = soaking.judge(soaked)
    click.echo(soaking.report(soaked, wrong))
    _end({**machine(), "soak": soaking.as_dict(soaked)}, wrong, out)


@main.command()
@click.option("--rate", type=click.FloatRange(1, 20_000), help="Its capacity in calls/s; searched for otherwise.")
@click.option("--seconds", type=click.FloatRange(1, 600), help="How long calls come at three times that; 15.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write what came out there, as JSON.")
def overload(rate: float | None, seconds: float | None, out: Path | None) -> None:
    """Three times as many calls as it can answer: 80 % of its capacity, and 503 for the rest; else status 1."""
    from bench import overload as overloading

    with _rig(seconds) as rig:
        overloaded = overloading.overload(rig, rate, rig.say)
    wrong = overloading.judge(overloaded)
    click.echo(overloading.report(overloaded, wrong))
    _end({**machine(), "overload": overloading.as_dict(overloaded)}, wrong, out)


@contextmanager
def _rig(seconds: float | None = None) -> Iterator[Rig]:
    workshop = Workshop()
    try:
        yield Rig(workshop, lambda text: click.echo(text, err=True), seconds=seconds)
    except Broken as error:
        raise click.ClickException(str(error)) from error
    finally:
        workshop.close()


def _end(told: dict[str, Any], wrong: Sequence[str], out: Path | None) -> None:
    if out is not None:
        out.write_text(json.dumps(told, indent=1) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(prog_name="python -m bench")
