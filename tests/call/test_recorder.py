"""What is kept of a call, and of how many (issue 3, "Replay")."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

from telephony.call.recorder import NotedRandom, Recorder
from telephony.testing.case import CallTestCase
from telephony.trace.recording import MOST_BYTES

from ..testing.recording_scene import ASYNC, HEAD, MENU, RecordingCase


class RecorderTests(RecordingCase):
    """A recorder on an exchange."""

    async def test_chatty_call(self) -> None:
        """The ring of a call with hundreds of verbs, keys and re-INVITEs stays within 16 KiB, and says what it lost."""
        text = f"""{HEAD}
async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    await channel.answer()
    while channel.state() == channel.State.ANSWERED:
        await channel.DTMFDetector.get_digits(count=1, seconds_predigits_timeout=1)
    return 0
"""
        app = self.application(self.file(text))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        (live,) = self.recorder.live
        for moment in range(1, 60):
            await self.moment(moment)
            alice.press("1")
            await (alice.hold() if moment % 2 else alice.resume())
            self.assertLessEqual(live.ring.size, MOST_BYTES)
            self.assertLessEqual(sum(map(len, live.ring.lines())), MOST_BYTES)
        await alice.hang_up()
        await app.ended()
        recording = self.latest()
        self.assertGreater(recording.dropped, 100)
        self.assertTrue(recording.entries[0]["in"].startswith("INVITE"))
        self.assertEqual(recording.head["dropped"], live.ring.dropped)

    async def test_bounded_number(self) -> None:
        """So many calls are remembered as was said; the oldest is forgotten, also by its Call-ID."""
        app = self.application(self.file(ASYNC))
        alice = self.phone("alice")
        ids = []
        for _ in range(8):
            ids.append(alice.dial(app.uri).call_id)
            await alice.until("answered")
            await alice.hang_up()
            await app.ended()
        self.assertEqual([one.call_id for one in self.recorder.recent], ids[-5:])
        self.assertEqual((self.recorder.forgotten, len(self.recorder.live)), (3, 0))
        self.assertIsNone(self.recorder.find(ids[0]))
        self.assertIsNotNone(self.recorder.find(ids[-1]))

    async def test_both_legs_are_one_recording(self) -> None:
        """A transferred call is found by the Call-ID of either leg; its channels are numbered as the application's."""
        app = self.application(self.file(MENU))
        alice, bob = self.phone("alice"), self.phone("bob", at="192.0.2.7:5070", auto_answer=1)
        alice.dial(app.uri)
        await alice.until("answered")
        alice.press("1")
        await bob.until("answered")
        self.assertIs(self.recorder.find(alice.call.call_id), self.recorder.find(bob.call.call_id))
        (live,) = self.recorder.live
        shown = [words for _time, _party, words in live.recording().notes()]
        self.assertIn("channel TRANSFERRED", shown)
        self.assertIn("ExtraChannel[0] ANSWERED", shown)
        self.assertIn(
            "channel.retrievable_transfer(ExtraChannel[0], 'sip:bob@192.0.2.7:5070', seconds_timeout=20)", shown
        )
        await alice.hang_up()
        app.flush_failures()

    async def test_refused_calls_leave_nothing(self) -> None:
        """A call that nobody takes gets no recording, and what waited for one is bounded."""
        alice = self.phone("alice")
        for _ in range(100):
            alice.dial(self.uri("nobody"))
            await alice.until("ended")
        self.assertEqual((len(self.recorder.live), len(self.recorder.recent)), (0, 0))
        self.assertLessEqual(len(self.recorder._pending), 64)

    async def test_failed_verb(self) -> None:
        """A verb that fails is noted with its sentence, also where the application goes on."""
        text = f"""{HEAD}
from telephony import Error
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    try:
        channel.FilePlayer.play("no_such_file.wav")
    except Error:
        pass
    channel.hang_up()
    return 0
"""
        app = self.application(self.file(text))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("ended")
        self.assertTrue(self.recorder.recent[0].failed)
        raised = [entry["raised"] for entry in self.latest().entries if "raised" in entry]
        self.assertRegex(raised[0], r"^Error: .*no_such_file")

    async def test_nothing_is_kept_alive(self) -> None:
        """A recording that is remembered keeps neither channel nor leg; forgotten, it goes without the collector."""
        app = self.application(self.file(ASYNC))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        channel = weakref.ref(app.instances[0].channel)
        gc.disable()
        try:
            await self.moment(2)
            await alice.hang_up()
            await app.ended()
            await self.moment(60)
            self.assertIsNone(channel())
        finally:
            gc.enable()

    async def test_draws(self) -> None:
        """What is drawn at random to decide something is in the recording of the call that it was drawn for."""
        text = self.file(ASYNC)
        drawn = NotedRandom()
        noted: list[tuple[int, int, int]] = []
        drawn.note = lambda low, high, value: noted.append((low, high, value))
        value = drawn.randint(210, 400)
        drawn.getrandbits(240)
        drawn.randbytes(30)
        self.assertEqual(noted, [(210, 401, value)])
        del text


class WithoutTests(CallTestCase):
    """``[trace] replay = "off"``."""

    async def test_off(self) -> None:
        """Without a recorder nothing is traced, and channels keep nothing."""
        app = self.application(self.mktemp_application())
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        self.assertFalse(self.exchange.user_agent.tracing)
        self.assertIsNone(app.instances[0].channel.recording)
        await alice.hang_up()

    def mktemp_application(self) -> str:
        """Write an application file."""
        path = Path(self.mktemp() + ".py")
        path.write_text(ASYNC)
        return str(path)

    async def test_trace_beside_a_recorder(self) -> None:
        """`Exchange.trace` and a recorder don't exclude each other, whichever comes first."""
        first: list[object] = []
        self.exchange.trace = first.append
        recorder = Recorder(self.exchange)
        app = self.application(self.mktemp_application())
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        await alice.hang_up()
        await app.ended()
        self.assertEqual(len(first), len(recorder.recent[0].recording().events()))
        self.exchange.trace = None
        self.assertTrue(self.exchange.user_agent.tracing)
