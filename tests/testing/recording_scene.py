"""What tests of recordings have in common: applications to record, and a call that is recorded by the kit itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from telephony.call.recorder import Recorder
from telephony.testing.case import CallTestCase
from telephony.testing.played import PlayedCall
from telephony.trace.comparison import Difference, first_difference
from telephony.trace.recording import Recording

HEAD = """
import time
from telephony import TonePlayer
__uas_identify__ = "application"
__uas_version__ = "1.0"
"""
#: Blocks; raises KeyError for every key but 1, and transfers for that.
MENU = f"""{HEAD}
CHOICES = {{"1": "sip:bob@192.0.2.7:5070"}}

def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    key = channel.DTMFDetector.get_digits(count=1, seconds_predigits_timeout=10)
    target = CHOICES[key]
    time.sleep(1.5)
    TonePlayer(channel)
    channel.retrievable_transfer(channel.ExtraChannel[0], target, seconds_timeout=20)
    channel.wait_for_transferred_call_retrieval()
    channel.hang_up()
    return 0
"""
#: Runs on the loop; collects a code, and gives it back as digits.
ASYNC = f"""{HEAD}
async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    await channel.ring()
    await channel.answer()
    code = await channel.DTMFDetector.get_digits(count=4, seconds_predigits_timeout=10, end="#")
    if code:
        await channel.DTMFPlayer.play(code)
    await channel.wait_for_idle(30)
    return len(code)
"""


class RecordingCase(CallTestCase):
    """Records calls on its exchange with ``recorder``, and plays them again."""

    media = False

    def setUp(self) -> None:
        super().setUp()
        self.recorder = Recorder(self.exchange, wall=lambda: 1_800_000_000.0, media=self.media, calls=5)
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)

    def file(self, text: str, name: str = "app.py") -> Path:
        """Write an application file."""
        path = self.directory / name
        path.write_text(text)
        return path

    def latest(self) -> Recording:
        """Return the recording of the call that is over last, as it would be read back from its file."""
        return self.recorder.recent[-1].recording()

    def play(self, recording: Recording, application: Path, **settings: Any) -> tuple[Recording, Difference | None]:
        """Play a recording; return what was recorded this time, and where it went another way."""
        played = PlayedCall(recording, application, **settings)
        try:
            played.run()
            assert played.replayed is not None
            again = played.replayed.recording()
        finally:
            left = played.close()
        self.assertEqual(left, [])
        played.hosting.take_failures()
        self.flushLoggedErrors()
        return again, first_difference(played.recording, again)

    def assert_same(self, recording: Recording, application: Path, **settings: Any) -> Recording:
        """Play a recording, and demand that it goes the same way."""
        again, difference = self.play(recording, application, **settings)
        self.assertIsNone(difference, f"{difference}")
        return again
