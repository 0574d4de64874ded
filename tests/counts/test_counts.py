"""The hot paths execute as many machine instructions as recorded, five per cent more or less."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, TestCase

from tests.counts.counting import CannotCount, build, count, differences, recorded
from tests.counts.workloads import WORKLOADS


class CountsTests(TestCase):
    """Growing slower has to be meant."""

    timeout = 600

    def test_instructions(self) -> Deferred[None]:
        """Parse (RFC 3261 7), respond (8.2.6), a call (13.3), relay (RFC 3550 7.1) and tick: instructions per unit."""

        def judge(counts: dict[str, float]) -> None:
            wrong = [
                f"{name}: {counts[name]:,.0f} instructions a unit, {off:+.1%} of the record (allowed {allowed:.0%})"
                for name, (off, allowed) in differences(counts).items()
                if abs(off) > allowed
            ]
            if wrong:
                self.fail(
                    "\n".join(
                        [
                            *wrong,
                            f"recorded with {recorded()[0]}, counted with {build()}",
                            "where this is meant: python -m tests.counts --record, and say in the commit why",
                        ]
                    )
                )

        def missing(failure: Failure) -> None:
            failure.trap(CannotCount)
            raise SkipTest(failure.getErrorMessage())

        return deferToThread(count).addCallbacks(judge, missing)

    def test_all_are_recorded(self) -> None:
        """Each workload is held by a figure, and no figure is of a workload that isn't there any more."""
        self.assertEqual(list(recorded()[1]), list(WORKLOADS))
