"""A real server, watched and played again: ``telephony trace`` and ``telephony replay`` as a person has them (issue 3).

The peers are phones of the kit on loopback sockets.
"""

from __future__ import annotations

import re
import shutil
import sys
from typing import Any

from twisted.internet import reactor as installed_reactor

from telephony.host import ReactorHost
from telephony.testing.phone import Phone
from telephony.trace.recording import read_recording

from .case import Child, InteropCase, Server
from .rtp import free_port

reactor: Any = installed_reactor

LOOPBACK = "127.0.0.1"
MENU = """
from telephony import TonePlayer
__uas_identify__ = "application"
__uas_version__ = "1.0"
CHOICES = {"1": "sip:bob@127.0.0.1:PORT"}


def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    key = channel.DTMFDetector.get_digits(count=1, seconds_predigits_timeout=10)
    TonePlayer(channel)
    channel.retrievable_transfer(channel.ExtraChannel[0], CHOICES[key])
    channel.wait_for_transferred_call_retrieval()
    channel.hang_up()
    return 0
"""


class MenuCase(InteropCase):
    """One server with a menu whose keys but one are a bug."""

    timeout = 90

    def phone(self, name: str, port: int = 0, **settings: Any) -> Phone:
        phone = Phone(ReactorHost(reactor), (LOOPBACK, port), name, **settings)
        self.addCleanup(phone.close)
        return phone

    async def menu(self, target: int) -> Server:
        """Run the server."""
        (self.directory / "menu.py").write_text(MENU.replace("PORT", str(target)))
        config = self.directory / "telephony.toml"
        config.write_text(
            '[trace]\ndirectory = "recordings"\n[[service]]\nname = "menu"\nmatch = "*"\napplication = "menu.py"\n'
        )
        return await self.serve("--config", str(config))

    async def command(self, *arguments: str, status: int = 0) -> str:
        """Run telephony in the server's directory; return what it said."""
        child = self.spawn("telephony", [sys.executable, "-m", "telephony", *arguments])
        self.assertEqual(await child.ended(60), status, child.output)
        return child.output


class LiveTests(MenuCase):
    """Watched, and played again."""

    async def test_failing_call_becomes_a_test(self) -> None:
        """Issue 3: a failing production call becomes a test by one command; it replays the same way, too."""
        server = await self.menu(9)
        alice = self.phone("alice")
        alice.dial(f"sip:3300@{LOOPBACK}:{server.port}")
        await alice.until("answered")
        await alice.press("7")
        await alice.until("ended")
        directory = self.directory / "recordings"
        await self.until(lambda: directory.exists() and list(directory.iterdir()), "the recording is written")
        (path,) = directory.iterdir()
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        said = await self.command("replay", str(path))
        self.assertRegex(said, r"It went the same way: return code -1, .*menu\.py, line 12: KeyError: '7'")
        await self.command("replay", str(path), "--as-test", "test_menu.py")
        shutil.rmtree(self.directory / "_trial_temp", ignore_errors=True)
        child = self.spawn("trial", [sys.executable, "-m", "twisted.trial", "test_menu"])
        self.assertEqual(await child.ended(60), 0, child.output)
        server.child.signal("TERM")
        self.assertEqual(await server.child.ended(20), 0)
        self.assertEqual(list(self.directory.glob("*.sock")), [])

    async def test_live_call(self) -> None:
        """Issue 3: a live server's ladder has both legs' states; it is followed, saved, captured, drawn as a page."""
        target = free_port(LOOPBACK)
        server = await self.menu(target)
        alice, bob = self.phone("alice"), self.phone("bob", target, auto_ring=True, auto_answer=0.3)
        self.assertIn("no calls yet", await self.command("trace"))
        alice.dial(f"sip:3300@{LOOPBACK}:{server.port}")
        await alice.until("answered")
        call_id = alice.call.call_id
        following: Child = self.spawn("follow", [sys.executable, "-m", "telephony", "trace", call_id, "--follow"])
        await self.until(lambda: "ANSWERED" in following.output, "the ladder is followed")
        await alice.press("1")
        await bob.until("answered")
        self.assertRegex(await self.command("trace"), rf"menu +{call_id}  running")
        shown = await self.command("trace", bob.call.call_id)
        for words in ("channel TRANSFERRED", "ExtraChannel[0] ANSWERED", "audio PCMA both ways", "INVITE 1 sdp"):
            self.assertIn(words, shown)
        self.assertRegex(shown, r"alice +server +bob")
        await bob.hang_up()
        await alice.until("ended")
        self.assertEqual(await following.ended(20), 0)
        self.assertRegex(following.output, r"(?s)channel CALL_INCOMING.*channel TRANSFERRED.*channel IDLE")
        files = [self.directory / name for name in ("call.jsonl", "call.pcapng", "call.html")]
        await self.command("trace", call_id, "--save", str(files[0]), "--pcap", str(files[1]), "--html", str(files[2]))
        self.assertEqual(len(read_recording(files[0].read_text(), "f").call_ids()), 2)
        self.assertTrue(files[1].read_bytes().startswith(b"\n\r\r\n"))
        self.assertIn("<!DOCTYPE html>", files[2].read_text())
        self.assertIn("It went the same way", await self.command("replay", str(files[0])))
        self.assertIn("knows no call 'nope'", await self.command("trace", "nope", status=1))
        await self.stopped(server)
        self.assertIn("there is no server's socket in", await self.command("trace", status=1))


def tshark() -> str | None:
    """Return where tshark is, None when it isn't installed."""
    return shutil.which("tshark")


class CaptureTests(MenuCase):
    """The capture of a live call, judged by tshark."""

    async def test_capture(self) -> None:
        """The program tshark reads the messages of both legs, and nothing malformed."""
        server = await self.menu(9)
        alice = self.phone("alice")
        alice.dial(f"sip:3300@{LOOPBACK}:{server.port}")
        await alice.until("answered")
        await alice.press("7")
        await alice.until("ended")
        path = self.directory / "call.pcapng"
        await self.command("trace", alice.call.call_id, "--pcap", str(path))
        ports = f"udp.port=={server.port},sip"
        child = self.spawn(
            "tshark", [str(tshark()), "-r", str(path), "-d", ports, "-T", "fields", "-e", "_ws.col.Info"]
        )
        self.assertEqual(await child.ended(30), 0, child.output)
        self.assertEqual(re.findall(r"Request: (\w+)", child.output), ["INVITE", "ACK", "BYE"])
        self.assertNotIn("Malformed", child.output)
        server.child.signal("TERM")
        await server.child.ended(20)

    if tshark() is None:
        test_capture.skip = "tshark is not installed"  # type: ignore[attr-defined]
