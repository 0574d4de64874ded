"""``docs/in-call.rst``: the application is hosted, the configuration is read."""

from __future__ import annotations

import re
import shutil
import wave
from pathlib import Path

import numpy as np

from telephony.server.config import load_configuration
from telephony.testing.case import CallTestCase
from telephony.testing.sounds import tone
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "in-call.rst"
MUSIC = 900


class InCallTests(CallTestCase):
    """What the page says is done."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        (self.directory / "media").mkdir(parents=True)
        with wave.open(str(self.directory / "media" / "music.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(np.asarray(tone(MUSIC, 1.0)).astype("<i2").tobytes())

    async def test_hold(self) -> None:
        """The caller hears the music while somebody is asked; a refusal is logged, and the call goes on."""
        [text] = blocks(PAGE, r"^\.\. code-block:: py$")
        file = self.directory / "held.py"
        file.write_text(text)
        bob = self.phone("bob", auto_answer=2)
        held = self.application(file, parameters=bob.uri, extra_channels=1, media=self.directory / "media")
        alice = self.phone("alice")
        alice.dial(held.uri)
        await alice.until_hears(MUSIC)
        self.assertEqual((await held.ended()).return_code, 0)
        await alice.until("ended")
        self.assertEqual(len(alice.got("INVITE")), 2, "held and resumed")
        self.assertEqual(held.said, [])

    async def test_refused(self) -> None:
        """The other branch of the application."""
        [text] = blocks(PAGE, r"^\.\. code-block:: py$")
        file = self.directory / "held.py"
        file.write_text(text)
        held = self.application(
            file, parameters="sip:nobody@10.0.0.9", extra_channels=1, media=self.directory / "media"
        )
        alice = self.phone("alice")
        alice.quirks.refuse_reinvite = 488
        alice.dial(held.uri)
        self.assertEqual((await held.ended()).return_code, 0)
        self.assertRegex(held.said[0], "488 Not Acceptable Here")

    def test_configuration(self) -> None:
        """The snippet is a configuration; what the page names are keys and arguments."""
        text, early = blocks(PAGE, r"^\.\. code-block:: toml$")
        shutil.copy(ROOT / "examples" / "echo.py", self.directory)
        path = self.directory / "telephony.toml"
        path.write_text(text)
        found = load_configuration(path)
        self.assertEqual(found.media_timeout(found.services[0]), None)
        self.assertEqual((found.sip.session_expires, found.limits.media_seconds), (1800, 30))
        path.write_text(early)
        self.assertIs(load_configuration(path).sip.reliable_early_media, False)
        [arguments] = re.findall(r"``Exchange\(host, (.*)\)``", PAGE.read_text())
        for one in arguments.split(", "):
            name, value = one.split("=")
            told = getattr(self.exchange, name, None) or getattr(self.exchange.user_agent, name)
            self.assertEqual(told, float(value), "the defaults")
