"""The model of calls, run: ``transfer.md``, invariants I1 to I8, over random people, programs and networks.

``TELEPHONY_EXAMPLES`` sets how many examples are drawn; CI's 2,000 are the default.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from tests.models.calls import Calls

EXAMPLES = int(os.environ.get("TELEPHONY_EXAMPLES", "2000"))


class ModelTests(SynchronousTestCase):
    """Random interleavings of everything."""

    def test_calls(self) -> None:
        """I1, I2, I4, I6, I7, I8 and rules 1, 2, 6, 7: signalling only, with loss, partitions and odd phones."""
        run_state_machine_as_test(
            Calls,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=25,
                deadline=None,
                print_blob=True,
                phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
            ),
        )
