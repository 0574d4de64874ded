"""``telephony demo`` as a person runs it (``api.md`` section 7): its words, its JSON, its file, its exit status."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from twisted.internet.defer import inlineCallbacks
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

import telephony
from telephony.media.files import decode_audio

ROOT = str(Path(telephony.__file__).parent.parent)


class DemoTests(TestCase):
    """The demo over real loopback sockets, in real time."""

    timeout = 60

    def run_demo(self, *options: str):  # type: ignore[no-untyped-def]
        """Run the command in a folder of its own."""
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        env = {**os.environ, "PYTHONPATH": ROOT}
        return getProcessOutputAndValue(
            sys.executable, ["-m", "telephony", "demo", *options], env=env, path=str(self.folder)
        )

    @inlineCallbacks
    def test_json(self):  # type: ignore[no-untyped-def]
        """``--json`` prints one object: ok, states, transfer_cause and what each side heard; status 0."""
        out, err, status = yield self.run_demo("--json")
        self.assertEqual((status, err), (0, b""), out)
        said = json.loads(out)
        self.assertIs(said["ok"], True)
        self.assertEqual(said["transfer_cause"], "NORMAL")
        self.assertEqual(said["states"][-4:], ["TRANSFERRED", "RECONNECTING", "ANSWERED", "IDLE"])
        self.assertEqual(list(said["heard"]["caller"]), ["greeting", "ringback", "target's tone", "goodbye"])
        self.assertEqual(list(said["heard"]["target"]), ["caller's tone"])
        left = said["heard"]["caller"]
        self.assertLess(left["greeting"][-1]["end"], left["ringback"][0]["start"])
        self.assertLessEqual(left["ringback"][-1]["end"], left["target's tone"][0]["start"])  # rounded to 10 ms
        self.assertGreater(len(decode_audio(self.folder / "telephony-demo.wav")), 4 * 8000)

    @inlineCallbacks
    def test_words(self):  # type: ignore[no-untyped-def]
        """Without options it says what happens, draws the ladder, and says what was heard, in that order."""
        out, err, status = yield self.run_demo()
        text = out.decode()
        self.assertEqual((status, err), (0, b""), text)
        places = [
            text.index(part) for part in ("the target answers", "-- INVITE", "What the caller heard", "All of it")
        ]
        self.assertEqual(places, sorted(places))
        self.assertIn("channel TRANSFERRED", text)
