"""The model of calls, run: ``transfer.md``, invariants I1 to I8, over random people, programs and networks.

``TELEPHONY_EXAMPLES`` sets how many examples are drawn, 2,000 unless told; ``TELEPHONY_RANDOM=1`` draws new ones.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from telephony.call import direct
from tests.models.audio import AudioCalls
from tests.models.calls import Calls, DirectCalls

EXAMPLES = int(os.environ.get("TELEPHONY_EXAMPLES", "2000"))


#: The audio model's share: its examples take longer.
AUDIO_EXAMPLES = EXAMPLES // 5
#: And that of direct media, where phones have to talk too.
DIRECT_EXAMPLES = EXAMPLES // 5


class ModelTests(SynchronousTestCase):
    """Random interleavings of everything."""

    def run_model(self, model: type[Calls], examples: int, steps: int) -> None:
        """Draw examples; a failure is shrunk, and its text has the steps and the ladder."""
        wanted = settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            print_blob=True,
            report_multiple_bugs=False,
            phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        try:
            run_state_machine_as_test(model, settings=wanted)
        except Exception as error:
            # trial shows no notes, and the notes are what a person needs.
            self.fail("\n".join([str(error), *getattr(error, "__notes__", [])]))

    def test_calls(self) -> None:
        """I1, I2, I4, I6, I7, I8 and rules 1, 2, 6, 7: signalling only, with loss, partitions and odd phones."""
        self.run_model(Calls, EXAMPLES, 25)

    def test_direct_media(self) -> None:
        """The same where audio goes directly as soon as it can (RFC 3725): re-INVITEs cross everything else."""
        self.patch(direct, "SETTLE", 0.03)
        self.run_model(DirectCalls, DIRECT_EXAMPLES, 25)

    def test_audio(self) -> None:
        """I3, I5, I10, and the others again: what the caller's ear gets, packet by packet."""
        self.run_model(AudioCalls, AUDIO_EXAMPLES, 12)
