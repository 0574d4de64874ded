"""Medians, ratios, aims, and when a rate is sustained (``bench.figures``): what a figure of the page means."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.figures import IN_A_ROW, RESOLUTION, Aim, Entry, Measured, judged, number, search, sustained
from bench.load import Step, step_of


def figures(**changed: Any) -> dict[str, Any]:
    """Return what the load says of a hundred calls of which nothing is to be said."""
    nothing = dict.fromkeys(
        ("refused", "given_up", "target_left", "malformed", "no_slot", "resent", "repeated", "late"), 0
    )
    return {**nothing, "placed": 100, "completed": 100, "completed_per_second": 100.0, **changed}


def step(rate: float, capacity: float) -> Step:
    """Return a step at a rate of somebody with a capacity."""
    return step_of(rate, figures(completed_per_second=min(rate, capacity)))


def entry(name: str, *values: float, **more: Any) -> Entry:
    """Return an entry with a round for each value."""
    return Entry(name, tuple(Measured(one, more) for one in values))


class StepTests(SynchronousTestCase):
    """A step passes without a failure, without a retransmission, at 97 % of the asked rate."""

    def test_passes(self) -> None:
        """97 % is enough, less isn't."""
        self.assertTrue(step_of(100, figures(completed_per_second=97.0)).passed)
        self.assertFalse(step_of(100, figures(completed_per_second=96.9)).passed)
        self.assertEqual(step_of(100, figures(completed_per_second=50.0)).reason, "50 calls/s came about")

    def test_failures(self) -> None:
        """Each way to fail counts, and a call of which nothing is known failed as well."""
        for name in ("refused", "given_up", "target_left", "malformed", "no_slot"):
            self.assertEqual(step_of(100, figures(**{name: 2, "completed": 98})).reason, "2 calls failed")
        self.assertEqual(step_of(100, figures(completed=97)).failures, 3)

    def test_retransmissions(self) -> None:
        """What the load sends again, and what comes again or late, is a retransmission."""
        for name in ("resent", "repeated", "late"):
            done = step_of(100, figures(**{name: 1}))
            self.assertFalse(done.passed, name)
            self.assertEqual(done.reason, "1 retransmissions")


class SustainedTests(SynchronousTestCase):
    """Three steps in a row, of one rate, that passed."""

    def test_three(self) -> None:
        """Two are too few, another rate between them begins anew, and so does a failure."""
        good, other, bad = step(100, 200), step(110, 200), step(100, 50)
        self.assertFalse(sustained([good, good]))
        self.assertTrue(sustained([bad, good, good, good]))
        self.assertFalse(sustained([good, other, good, good][:3]))
        self.assertFalse(sustained([good, good, bad]))

    def test_search_finds_it(self) -> None:
        """From below and from above, to within five percent, and the last three steps show it."""
        for start in (50.0, 900.0, 1000.0, 20_000.0):
            rate, steps = search(lambda rate: step(rate, 1000.0), start)
            self.assertGreaterEqual(rate, 1000 / RESOLUTION / RESOLUTION, start)
            self.assertLessEqual(rate, 1000 / 0.97, start)
            self.assertTrue(sustained(steps), start)
            self.assertEqual(steps[-1].rate, rate)

    def test_search_is_bounded(self) -> None:
        """Who never passes is asked so often and no more, and has no rate."""
        rate, steps = search(lambda rate: step(rate, 0.0), 500.0)
        self.assertEqual(rate, 0.0)
        self.assertLess(len(steps), 60)

    def test_one_good_step_is_not_enough(self) -> None:
        """A rate that passes now and then is left for a lower one that always does."""
        seen: dict[float, int] = {}

        def moody(rate: float) -> Step:
            seen[rate] = seen.get(rate, 0) + 1
            return step(rate, 1000.0 if rate < 800 or seen[rate] % IN_A_ROW else 0.0)

        rate, steps = search(moody, 500.0, 12)
        self.assertLess(rate, 800)
        self.assertTrue(sustained(steps))


class AimTests(SynchronousTestCase):
    """Aims are held to the median, to a ratio round by round, or to the worst round of another figure."""

    def test_plain(self) -> None:
        """The median counts, in either direction."""
        project = entry("project", 10, 30, 20)
        self.assertEqual(project.value, 20)
        self.assertEqual(project.range, (10, 30))
        self.assertEqual(judged(Aim(20, higher=True), project, [project]), ("reached", 20))
        self.assertEqual(judged(Aim(19, higher=False), project, [project]), ("missed", 20))

    def test_ratio(self) -> None:
        """Ratios are taken within a round, then the median of them: a slow minute of the machine meets both."""
        project, peer = entry("project", 1.0, 10.0, 1.1), entry("peer", 2.0, 20.0, 1.0)
        verdict = judged(Aim(0.9, higher=False, of="peer"), project, [project, peer])
        self.assertEqual(verdict, ("reached", 0.5))

    def test_absent_peer(self) -> None:
        """A ratio to somebody who isn't there is neither reached nor missed."""
        project = entry("project", 1.0)
        absent = Entry("peer", absent="not installed")
        self.assertEqual(judged(Aim(0.9, higher=False, of="peer"), project, [project, absent]), ("", None))

    def test_other_figure(self) -> None:
        """Of packets lost the worst round counts."""
        project = Entry("project", (Measured(1, {"lost": 0}), Measured(1, {"lost": 3}), Measured(1, {"lost": 0})))
        aim = Aim(0, higher=False, figure="lost", called="packets lost", worst=True)
        self.assertEqual(judged(aim, project, [project]), ("missed", 3))
        self.assertEqual(aim.text("ms"), "packets lost ≤ 0")

    def test_numbers(self) -> None:
        """A figure has as many digits as mean something."""
        told = [number(one) for one in (0, 0.0123, 0.58, 4.4, 72.3, 437, 9065.4)]
        self.assertEqual(told, ["0", "0.012", "0.58", "4.40", "72.3", "437", "9,065"])
