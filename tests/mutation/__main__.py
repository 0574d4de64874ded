"""The command: ``python -m tests.mutation``; see `tests.mutation`."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tomllib
from collections import Counter
from pathlib import Path

import attrs

from tests.mutation.races import ROWS, RULES
from tests.mutation.rules import Rule
from tests.mutation.running import Bench, Outcome
from tests.mutation.sites import Site, mutated, sites_of

PACKAGES = ("sip", "sdp", "call")
#: What is in the name of a test that is named for a row, or for a rule that is none.
NAMED = r"_(r[0-9]+[ab]?|max_forwards)(_|$)"
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


@attrs.define
class Score:
    """What became of a sub-package's mutants."""

    sites: int
    mutants: int = 0
    by_test: int = 0
    by_time: int = 0
    equivalent: int = 0
    survivors: list[Site] = attrs.Factory(list)

    @property
    def percent(self) -> float:
        """The share killed of those that can be."""
        wanted = self.mutants - self.equivalent
        return 100 * (self.by_test + self.by_time) / wanted if wanted else 100.0


def known_equivalents(path: Path) -> dict[tuple[str, str, str, int], str]:
    """Read the list: why a change makes no difference, by file, line's text, change and which of several."""
    table = tomllib.loads(path.read_text())
    return {
        (one["path"], one["text"], one["change"], one.get("nth", 0)): one["reason"] for one in table.get("mutant", ())
    }


def drawn(root: Path, packages: list[str], mutants: int, seed: int) -> tuple[dict[str, Score], list[Site]]:
    """Draw mutants: each sub-package its share of them, each of its sites with the same chance."""
    sites = {package: sites_of(root, package) for package in packages}
    total = sum(map(len, sites.values()))
    chance = random.Random(seed)
    scores, chosen = {}, []
    left_sites, left = total, min(mutants, total)
    for package, all_of_them in sites.items():
        share = round(left * len(all_of_them) / left_sites)
        left_sites, left = left_sites - len(all_of_them), left - share
        scores[package] = Score(len(all_of_them))
        chosen += sorted(chance.sample(all_of_them, share), key=lambda one: (one.path, one.number))
    return scores, chosen


def tests_for(bench: Bench, site: Site) -> list[str]:
    """Name the tests that reach a site, quickest first; those that don't touch its module last."""
    own = tuple(f"{name}." for name in bench.suites(site.package))
    lines = frozenset(range(site.first, site.last + 1))
    reached, rest = [], []
    for test in sorted(bench.known.values(), key=lambda one: one.seconds):
        if test.name.startswith(own):
            there = test.lines.get(site.path, frozenset())
            if there & lines if not site.at_import else there:
                reached.append(test.name)
            else:
                rest.append(test.name)
    # What no test reaches may have run in the import: a function that makes a table, or a decorator.
    return reached + rest if site.at_import or not reached else reached


def run_mutants(bench: Bench, scores: dict[str, Score], chosen: list[Site], log: Path | None) -> bool:
    """Try each mutant and print what became of it."""
    equivalents = known_equivalents(EQUIVALENT)
    for number, site in enumerate(chosen, 1):
        source = (bench.root / site.path).read_text()
        names = tests_for(bench, site)
        try:
            code = mutated(source, site.number, str(bench.root / site.path))
        except SyntaxError as error:
            outcome = Outcome({"import": str(error)}, 0)
        else:
            outcome = bench.run(names, {site.path: code}, all_of_them=False)
        score = scores[site.package]
        score.mutants += 1
        reason = equivalents.get((site.path, site.text, site.change, site.nth))
        if outcome.stopped:
            score.by_time += 1
            word = f"killed by time-out in {outcome.stopped}"
        elif outcome.killed:
            score.by_test += 1
            word = f"killed by {next(iter(outcome.failed), outcome.died)}"
        elif reason is not None:
            score.equivalent += 1
            word = f"EQUIVALENT: {reason}"
        else:
            score.survivors.append(site)
            word = f"SURVIVED {outcome.passed} tests"
        nth = f" #{site.nth}" if site.nth else ""
        say(f"{number:4} {outcome.seconds:5.1f} s  {site}{nth}\n      {word}")
        if log is not None:
            with log.open("a") as file:
                file.write(json.dumps({**attrs.asdict(site), "word": word, "tests": len(names)}) + "\n")
    passed = report(scores)
    there = {(one.path, one.text, one.change, one.nth) for package in scores for one in sites_of(bench.root, package)}
    for path, text, change, _ in sorted(
        one for one in equivalents if one[0].split("/")[1] in scores and one not in there
    ):
        say(f"{EQUIVALENT.name} explains what this tree hasn't: {path}: {change}   in   {text}")
    return passed


def report(scores: dict[str, Score]) -> bool:
    """Print the scores; tells whether every survivor is explained."""
    head = f"{'sites':>8}{'mutants':>9}{'by test':>9}{'time-out':>9}{'equivalent':>12}{'survived':>10}{'score':>9}"
    say(f"\n{'':6}{head}")
    total = Score(0)
    for package, one in scores.items():
        say(row(package, one))
        for field in ("sites", "mutants", "by_test", "by_time", "equivalent", "survivors"):
            setattr(total, field, getattr(total, field) + getattr(one, field))
    if len(scores) > 1:
        say(row("all", total))
    say(f"\n{total.equivalent} equivalent (explained), {len(total.survivors)} not explained")
    for site in total.survivors:
        say(f"  {site}")
    return not total.survivors


def row(name: str, one: Score) -> str:
    """Write a line of the report."""
    return (
        f"{name:6}{one.sites:8}{one.mutants:9}{one.by_test:9}{one.by_time:9}{one.equivalent:12}"
        f"{len(one.survivors):10}{one.percent:8.1f}%"
    )


def run_rules(bench: Bench, rules: list[Rule], *, everywhere: bool) -> bool:
    """Take each rule out, and print who notices: for each of its rows the tests that are named for it.

    ``everywhere``: besides, every test that comes to the changed files.
    """
    table: list[str] = []
    missed: list[str] = []
    for rule in rules:
        changed = {}
        for path in rule.paths:
            tree = rule.taken_out(path, (bench.root / path).read_text())
            changed[path] = compile(tree, str(bench.root / path), "exec", dont_inherit=True)
        for row in rule.rows:
            names = [name for name in bench.known if rule.is_named_by(row, name)]
            outcome = bench.run(names, changed, all_of_them=True)
            held = noticed(outcome, names)
            line = f"{row:6} {rule.text}\n       {held or 'NOT HELD by any of its ' + str(len(names)) + ' tests'}"
            table.append(line)
            say(f"{line}   ({outcome.seconds:.1f} s)")
            if not held:
                missed.append(f"{row}: {rule.text}")
        if everywhere:
            names = [one.name for one in bench.known.values() if any(one.lines.get(path) for path in rule.paths)]
            outcome = bench.run(names, changed, all_of_them=True)
            say(f"       of {len(names)} tests that come there {len(outcome.failed)} fail:")
            for name in outcome.failed:
                say(f"         {name}")
            if outcome.stopped or outcome.died:
                say(f"         the run ended early: {outcome.stopped or outcome.died}")
    say(f"\n{len(table) - len(missed)} of {len(table)} rules are held by a test that is named for their row")
    for name in missed:
        say(f"  not held: {name}")
    without = [row for row in ROWS if not any(row in rule.rows for rule in RULES)]
    for row in without:
        say(f"  no rule here: {row}")
    return not missed and not without


def noticed(outcome: Outcome, names: list[str]) -> str:
    """Say which tests failed, in short: without module, and with how many of those that have the name."""
    failed = [*outcome.failed, *([outcome.stopped] if outcome.stopped else [])]
    shorts = Counter(name.rpartition(".")[2] for name in failed)
    of = Counter(name.rpartition(".")[2] for name in names)
    told = [short if of[short] < 2 else f"{short} {count}/{of[short]}" for short, count in shorts.items()]
    if outcome.died:
        told.append(f"died: {outcome.died}")
    return ", ".join(told)


def say(text: str) -> None:
    """Print at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Do what was asked for; see `tests.mutation`."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description="Do the tests notice a change?")
    parser.add_argument("--mutants", type=int, default=600, help="how many are drawn (600)")
    parser.add_argument("--seed", type=int, default=20261122, help="what they are drawn by (20261122)")
    parser.add_argument("--package", choices=PACKAGES, action="append", help="only this one; may be given again")
    parser.add_argument("--rules", action="store_true", help="take rules out instead of drawing mutants")
    parser.add_argument("--row", action="append", help="only the rules of this row, like R9; may be given again")
    parser.add_argument("--everywhere", action="store_true", help="with --rules: show every test that notices")
    parser.add_argument("--tree", type=Path, default=Path(__file__).parents[2], help="the tree to copy (this one)")
    parser.add_argument("--only", type=Path, help="a file of lines PATH:LINE; other mutants are not tried again")
    parser.add_argument("--log", type=Path, help="add a line of JSON for each mutant to this file")
    given = parser.parse_args()
    packages = [*PACKAGES, "rtp"] if given.rules else given.package or list(PACKAGES)
    bench = Bench(given.tree.resolve(), packages)
    try:
        if given.rules and not given.everywhere:
            say("playing the tests that are named for a row ...")
            outcome = bench.explore(bench.named(NAMED), NAMED)
        else:
            say(f"exploring the tests of {', '.join(packages)} ...")
            outcome = bench.explore()
        if outcome.killed:
            say(f"the tests fail as they are: {outcome.failed or outcome.stopped or outcome.died}")
            return 2
        spent = sum(one.seconds for one in bench.known.values())
        say(f"{len(bench.known)} tests, {spent:.0f} s")
        if given.rules:
            rules = [one for one in RULES if not given.row or set(given.row) & set(one.rows)]
            return 0 if run_rules(bench, rules, everywhere=given.everywhere) else 1
        scores, chosen = drawn(bench.root, packages, given.mutants, given.seed)
        if given.only is not None:
            wanted = set(given.only.read_text().split())
            chosen = [one for one in chosen if f"{one.path}:{one.line}" in wanted]
        say(f"seed {given.seed}: {len(chosen)} mutants of {sum(one.sites for one in scores.values())} sites")
        return 0 if run_mutants(bench, scores, chosen, given.log) else 1
    finally:
        bench.close()


if __name__ == "__main__":
    raise SystemExit(main())
