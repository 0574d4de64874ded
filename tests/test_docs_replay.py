"""``docs/replay.rst``: its files make a server, a call goes wrong there, and every command does what the page says."""

from __future__ import annotations

import re
import shlex
import sys
import textwrap
from itertools import takewhile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor

import telephony
from telephony.host import ReactorHost
from telephony.testing.phone import Phone

from .interop.case import InteropCase, Server
from .interop.rtp import free_port

reactor: Any = installed_reactor

PAGE = Path(telephony.__path__[0]).parent / "docs" / "replay.rst"


def snippets() -> list[tuple[str, str, str]]:
    """Return the language, the caption and the text of each code block of the page."""
    lines = PAGE.read_text().splitlines()
    found = []
    for number, line in enumerate(lines, 1):
        opening = re.match(r"\.\. code-block:: (\w+)$", line)
        if opening is not None:
            inner = list(takewhile(lambda line: not line.strip() or line.startswith("    "), lines[number:]))
            caption = re.fullmatch(r"    :caption: (\S+)", inner[0])
            text = textwrap.dedent("\n".join(inner if caption is None else inner[1:])).strip("\n") + "\n"
            found.append((opening[1], "" if caption is None else caption[1], text))
    return found


class PageTests(InteropCase):
    """The whole page, in its order."""

    timeout = 90

    async def test_every_command(self) -> None:
        """Each command runs in the server's directory, after the caller has pressed 7."""
        port = free_port("127.0.0.1")
        for _language, name, text in snippets():
            if name:
                (self.directory / name).write_text(text.replace("5060", str(port)))
        twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
        child = self.spawn("server", [*twistd, "-n", "telephony", "--config", "telephony.toml"])
        await self.until(lambda: "Service " in child.output or child.status is not None, "the server has started")
        server = Server(child, self.directory, port)
        alice = Phone(ReactorHost(reactor), ("127.0.0.1", 0), "alice")
        self.addCleanup(alice.close)
        alice.dial(f"sip:3300@127.0.0.1:{port}")
        await alice.until("answered")
        await alice.press("7")
        await alice.until("ended")
        recordings = self.directory / "recordings"
        await self.until(lambda: recordings.exists() and list(recordings.iterdir()), "the recording is written")
        (recording,) = recordings.iterdir()
        said: dict[str, str] = {}
        commands = [line[2:] for kind, _, text in snippets() if kind == "console" for line in text.splitlines()]
        for command in commands:
            words = shlex.split(command.replace("CALL-ID", alice.call.call_id).replace("RECORDING", str(recording)))
            arguments = {"telephony": ["-m", "telephony"], "python": []}[words[0]] + words[1:]
            run = self.spawn(command, [sys.executable, *arguments])
            if "--debug" in words:
                run.transport.write(b"c\n")  # type: ignore[union-attr]
            self.assertEqual(await run.ended(60), 0, f"{command}\n{run.output}")
            said[command] = run.output
        self.assertIn(f"{alice.call.call_id}  ended with -1", said["telephony trace"])
        self.assertIn("channel ANSWERED", said[commands[1]])
        for name in ("call.pcapng", "call.html", "call.jsonl"):
            self.assertEqual((self.directory / name).stat().st_mode & 0o777, 0o600, name)
        self.assertIn("It went the same way: return code -1", said["telephony replay RECORDING"])
        self.assertIn("(Pdb)", said["telephony replay RECORDING --debug"])
        self.assertIn("PASSED (successes=1)", said[commands[-1]])
        server.child.signal("TERM")
        self.assertEqual(await server.child.ended(20), 0)
