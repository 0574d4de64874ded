"""Recordings of calls that went wrong as files, and the keys of ``[trace]`` (issue 3, "Replay")."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs

from telephony.call.recorder import Recorder
from telephony.server.config import Configuration, ConfigurationError, TraceSection, load_configuration
from telephony.server.recordings import RecordingFiles, went_wrong, write_recording
from telephony.testing.case import CallTestCase
from telephony.trace.recording import read_recording

from ..testing.recording_scene import HEAD, RecordingCase


class WrongTests(RecordingCase):
    """Which calls are worth a file."""

    async def outcome(self, body: str) -> bool:
        """Tell whether a call to an application went wrong."""
        text = (
            f"{HEAD}\ndef main(channel, application_instance_id, file_man, my_log, application_parameters):\n{body}\n"
        )
        app = self.application(self.file(text))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        await self.moment(2)
        await alice.hang_up()
        await app.ended()
        app.flush_failures()
        return went_wrong(self.recorder.recent[-1])

    async def test_raised(self) -> None:
        """An exception: -1."""
        self.assertTrue(await self.outcome("    channel.answer(); channel.wait_for_idle(); raise ValueError(7)"))

    async def test_hangup(self) -> None:
        """A Hangup that nobody caught is how applications end: no fault, though its record has -1."""
        body = "    channel.answer(); channel.wait_for_idle(); channel.DTMFPlayer.play('1')"
        self.assertFalse(await self.outcome(body))

    async def test_failed_verb(self) -> None:
        """A verb that failed, in an application that went on."""
        again = "    try: channel.answer()\n    except Exception: pass\n"
        body = f"    channel.answer()\n{again}    channel.wait_for_idle()\n    return 0"
        self.assertTrue(await self.outcome(body))

    async def test_fine(self) -> None:
        """An application that does its work, and one with a code of its own."""
        self.assertFalse(await self.outcome("    channel.answer(); channel.wait_for_idle(); return -100"))


class FilesTests(CallTestCase):
    """The files themselves."""

    def recording(self, recorder: Recorder, name: str) -> Any:
        made = recorder._begin()
        made.facts = {"service": {"name": name}, "instance": f"{len(recorder.live):016x}"}
        made.outcome = {"return_code": -1, "fault": "ValueError"}
        made.add({"channel": 0, "state": "IDLE"})
        return made

    async def test_written_and_bounded(self) -> None:
        """One file a call, a second after its end, private, and never more than were asked for; others stay."""
        directory = Path(self.mktemp())
        recorder = Recorder(self.exchange)
        files = RecordingFiles(self.exchange.host, directory, 3)
        directory.mkdir()
        (directory / "mine.jsonl").write_text("")
        for index in range(6):
            files.ended(self.recording(recorder, f"a/b {index}"))
            self.advance(2)
        found = sorted(one.name for one in directory.iterdir())
        self.assertEqual(len(found), 4)
        self.assertIn("mine.jsonl", found)
        newest = directory / found[-2]
        self.assertRegex(newest.name, r"^\d{8}T\d{6}-a_b_5-0{15}6\.jsonl$")
        self.assertEqual(newest.stat().st_mode & 0o777, 0o600)
        self.assertEqual(read_recording(newest.read_text(), "f").outcome["fault"], "ValueError")

    async def test_flush(self) -> None:
        """The server's end writes what waits."""
        directory = Path(self.mktemp())
        files = RecordingFiles(self.exchange.host, directory, 3)
        files.ended(self.recording(Recorder(self.exchange), "x"))
        await files.flush()
        self.assertEqual(len(list(directory.iterdir())), 1)

    async def test_nowhere(self) -> None:
        """Without a directory nothing is written; one that can't be written to is logged, with its name."""
        recorder = Recorder(self.exchange)
        RecordingFiles(self.exchange.host, None, 3).ended(self.recording(recorder, "x"))
        file = Path(self.mktemp())
        file.write_text("")
        files = RecordingFiles(self.exchange.host, file / "x", 3)
        files.ended(self.recording(recorder, "x"))
        self.advance(2)
        await files.flush()

    def test_written_whole(self) -> None:
        """What is written is what there is; a file of that name is replaced."""
        path = Path(self.mktemp())
        write_recording(path, [b"a" * 100])
        write_recording(path, [b"b"])
        self.assertEqual(path.read_text(), "b\n")


class ConfigurationTests(CallTestCase):
    """``[trace]``."""

    def load(self, text: str) -> Configuration:
        path = Path(self.mktemp())
        path.write_text(text)
        return load_configuration(path)

    def test_defaults(self) -> None:
        """Calls are kept and none is written; each key is a line of docs/replay.rst."""
        self.assertEqual(self.load("").trace, TraceSection())
        page = (Path(__file__).parents[2] / "docs" / "replay.rst").read_text()
        for one in attrs.fields(TraceSection):
            self.assertRegex(page, rf"(?m)^``{one.name}\b")

    def test_all(self) -> None:
        """Every key is taken."""
        trace = self.load('[trace]\nreplay = "media"\ncalls = 0\ndirectory = "r"\nkeep = 7\ncontrol = "off"\n').trace
        self.assertEqual((trace.replay, trace.calls, trace.keep, trace.control), ("media", 0, 7, "off"))
        self.assertEqual(trace.directory and trace.directory.name, "r")

    def test_wrong(self) -> None:
        """Every mistake at once, each by its key."""
        bad = '[trace]\nreplay = "all"\ncalls = -1\nkeep = 0\ncontrol = "no/such/place.sock"\nringsize = 1\n'
        told = str(self.assertRaises(ConfigurationError, self.load, bad))
        for key in ("trace.replay: 'all'", "trace.calls", "trace.keep", "trace.control", "trace.ringsize"):
            self.assertIn(key, told)
