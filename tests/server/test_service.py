"""The server as twistd runs it (api.md section 7): refusals before detaching, and the end by signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase, TestCase

from telephony.blocking import Telephony, UASCallChannel
from telephony.runner import ReactorRunner
from telephony.testing.certificates import issue

from .fakes import write_application

ROOT = Path(__file__).parents[2]
HEAD = """
from telephony import Hangup
__uas_identify__ = "application"
__uas_version__ = "1"
"""
#: Answers, and ends when its call does.
KIND = f"""{HEAD}
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    my_log.info("answered")
    channel.wait_for_idle()
    return 0
"""
#: Answers, and never ends.
STUCK = f"""{HEAD}
import threading
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    channel.wait_for_idle()
    threading.Event().wait()
"""
COROUTINE = f"""{HEAD}
async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    await channel.answer()
    await channel.hang_up()
    return 12
"""


def environment() -> dict[str, str]:
    """Return an environment in which twistd finds this tree and its plugin."""
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


class RefusalTests(SynchronousTestCase):
    """Issue 2, 6: twistd with a bad file ends with status 1 before detaching, with a sentence, without a traceback."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    def twistd(self, *arguments: str) -> str:
        # Without -n: it would detach, if it got that far.
        done = subprocess.run(
            [*TWISTD, "--pidfile", "t.pid", "--logfile", "t.log", "telephony", *arguments],
            cwd=self.directory,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        self.assertEqual([one.name for one in self.directory.glob("t.*")], [])
        return done.stderr

    def test_no_application(self) -> None:
        """A missing application file."""
        self.assertIn("nope.py is not there", self.twistd("--app", "nope.py"))

    def test_broken_application(self) -> None:
        """A broken application file, with its line."""
        write_application(self.directory, "broken.py", "x = (\n")
        self.assertIn("broken.py, line 1: '(' was never closed", self.twistd("--app", "broken.py"))

    def test_bad_configuration(self) -> None:
        """Every mistake of a configuration file."""
        (self.directory / "bad.toml").write_text('[sip]\nlisen = 1\n[rtp]\nports = "x"\n')
        told = self.twistd("--config", "bad.toml")
        self.assertIn("sip.lisen: there is no such key; did you mean 'listen'?", told)
        self.assertIn("rtp.ports: 'x' is not allowed", told)

    def test_taken_port(self) -> None:
        """A listener that is taken."""
        import socket

        write_application(self.directory, "app.py", KIND)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            listener = f"udp:127.0.0.1:{taken.getsockname()[1]}"
            self.assertIn(f"can't listen on {listener}: ", self.twistd("--app", "app.py", "--listen", listener))

    def test_everything(self) -> None:
        """Issue 4, 7: a wrong key, a trunk without a host, one number twice, a port taken: one report, by key."""
        import socket

        write_application(self.directory, "app.py", KIND)
        for name, data in (("server.pem", issue("a").certificate), ("other.key", issue("a").key)):
            (self.directory / name).write_bytes(data)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            (self.directory / "telephony.toml").write_text(
                'colour = "red"\n'
                f'[sip]\nlisten = ["udp:127.0.0.1:{port}", "tls:127.0.0.1:{port}", "tcp:0.0.0.0:{port}"]\n'
                'domain = ["x"]\nadvertise = "here"\n'
                '[tls]\ncertificate = "server.pem"\nkey = "other.key"\n'
                '[limits]\nmax_calls = "many"\n[media]\ndirectory = "app.py/media"\n'
                '[[trunk]]\nname = "carrier"\nuser = "a"\npassword = "geheim"\n'
                '[[trunk]]\nname = "carrier"\nhost = "10.0.0.1"\nregister = true\n'
                '[[phone]]\nname = "bob"\npassword = 4711\n[[phone]]\nname = "bob"\n'
                '[[service]]\nname = "a"\nmatch = "3300"\napplication = "app.py"\n'
                '[[service]]\nname = "b"\nmatch = "3300"\napplication = "app.py"\n'
                '[[service]]\nname = "b"\nmatch = "3300"\napplication = "nope.py"\nextra_channels = "two"\n'
            )
            told = self.twistd("--config", "telephony.toml")
        said = dict(re.findall(r"^  ([^ ]+): (.*)$", told, re.MULTILINE))
        expected = {
            "colour": "no such key",
            "sip.listen[0]": "already in use",
            "sip.listen[2]": f"'tls:127.0.0.1:{port}' has that port already",
            "sip.domain": "did you mean 'domains'",
            "sip.advertise": "an IP address",
            "tls.key": "was made for another key",
            "limits.max_calls": "a whole number",
            "media.directory": "app.py is a file; give a directory",
            "trunk[0].host": "is missing",
            "trunk[1].name": "is the name of trunk[0] already",
            "trunk[1].user": "is missing; register = true",
            "phone[0].password": "is no password",
            "phone[1].name": "is the name of phone[0] already",
            "phone[1].password": "is missing",
            "service[1].match": "'3300' is the match of service[0] already",
            "service[2].match": "'3300' is the match of service[0] already",
            "service[2].name": "'b' is the name of service[1] already",
            "service[2].application": "nope.py is not there",
            "service[2].extra_channels": "0 to 3",
        }
        self.assertEqual(set(said), set(expected), told)
        for where, words in expected.items():
            self.assertIn(words.lower(), said[where].lower(), where)
        self.assertIn(f"{len(expected)} mistakes", told)
        self.assertNotIn("geheim", told)
        self.assertNotIn("4711", told)
        left = {one.name for one in self.directory.iterdir() if not one.name.startswith("__")}
        self.assertEqual(left, {"telephony.toml", "app.py", "server.pem", "other.key"})

    def test_options(self) -> None:
        """Options that don't go together."""
        self.assertIn("--config FILE or --app FILE", self.twistd())
        self.assertIn("--config FILE or --app FILE", self.twistd("--config", "a", "--app", "b"))
        self.assertIn("--parameters belongs to --app", self.twistd("--config", "a", "--parameters", "b"))
        self.assertIn("--listen belongs to --app", self.twistd("--config", "a", "--listen", "b"))

    def test_plugin(self) -> None:
        """Twistd knows the server by name."""
        self.assertIn("telephony", [one.tapname for one in getPlugins(IServiceMaker)])


class Server:
    """A server in a process of its own, with one application, listening on a port of its own."""

    def __init__(self, directory: Path, application: str) -> None:
        self.directory = directory
        write_application(directory, "app.py", application)
        self.process = subprocess.Popen(
            [*TWISTD, "-n", "--pidfile=", "telephony", "--app", "app.py", "--listen", "udp:127.0.0.1:0"],
            cwd=directory,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log = ""
        self.port = int(self.read_until(r"Listening on udp 127\.0\.0\.1 port (\d+)")[1])
        self.read_until("Service app")

    def read_until(self, pattern: str) -> re.Match[str]:
        """Read the log up to a line; an end before it fails."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.log += line
            found = re.search(pattern, line)
            if found:
                return found
        raise AssertionError(f"{pattern!r} is not in the log:\n{self.log}")

    def signal(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> list[dict[str, Any]]:
        """Wait for the server's end and return its records."""
        rest, _ = self.process.communicate(timeout=60)
        self.log += rest
        path = self.directory / "records.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class ServerTests(TestCase):
    """A real server, a real caller, real signals."""

    def with_server(self, application: str, script: Callable[[Server, UASCallChannel], None]) -> Deferred[None]:
        runner = ReactorRunner(reactor)
        directory = Path(self.mktemp()).absolute()

        def run() -> None:
            server = Server(directory, application)
            try:
                with Telephony(runner=runner) as phone:
                    channel = phone.channel()
                    state = channel.call(f"sip:3300@127.0.0.1:{server.port}")
                    self.assertIs(state, channel.State.ANSWERED)
                    script(server, channel)
            finally:
                if server.process.poll() is None:
                    server.process.kill()
                server.process.communicate()
            self.assertEqual(server.process.returncode, 0, server.log)
            self.assertNotIn("Traceback", server.log)
            self.assertNotIn("ReactorNotRunning", server.log)

        return deferToThread(run)

    def test_call(self) -> Deferred[None]:
        """A call from end to end, its record, and a signal when nothing runs."""

        def script(server: Server, channel: UASCallChannel) -> None:
            channel.hang_up()
            server.signal()
            (record,) = server.end()
            self.assertEqual((record["application"], record["return_code"]), ("app", 0))
            self.assertRegex(server.log, rf"\[{record['instance_id']} {channel.Details.call_id}\] answered")

        return self.with_server(KIND, script)

    def test_coroutine(self) -> Deferred[None]:
        """api.md 1: async def main runs on the reactor, and its return code is recorded."""

        def script(server: Server, channel: UASCallChannel) -> None:
            channel.wait_for_idle(30)
            server.signal()
            self.assertEqual([one["return_code"] for one in server.end()], [12])

        return self.with_server(COROUTINE, script)

    def test_drain(self) -> Deferred[None]:
        """api.md 7: on SIGTERM no new calls, and what runs may end."""

        def script(server: Server, channel: UASCallChannel) -> None:
            server.signal()
            server.read_until(
                "SIGTERM received: no new calls, 1 application running, 30 s to end; a second signal hangs up"
            )
            self.assertIs(channel.state(), channel.State.ANSWERED)
            channel.hang_up()
            self.assertIs(channel.call(f"sip:3300@127.0.0.1:{server.port}", seconds_timeout=10), channel.State.IDLE)
            self.assertEqual([one["return_code"] for one in server.end()], [0])

        return self.with_server(KIND, script)

    def test_second_signal(self) -> Deferred[None]:
        """api.md 7: a second SIGTERM hangs up at once; a third one changes nothing and logs nothing odd."""

        def script(server: Server, channel: UASCallChannel) -> None:
            server.signal()
            server.read_until(
                "SIGTERM received: no new calls, 1 application running, 30 s to end; a second signal hangs up"
            )
            server.signal()
            server.read_until("SIGTERM received: 1 application running, hanging up")
            self.assertIs(channel.wait_for_idle(20), channel.State.IDLE)
            server.signal()
            self.assertEqual([one["return_code"] for one in server.end()], [0])

        return self.with_server(KIND, script)

    def test_stuck(self) -> Deferred[None]:
        """api.md 2: an instance that does not end gets its record, with the verb named, and is left behind."""

        def script(server: Server, channel: UASCallChannel) -> None:
            server.signal()
            server.read_until("SIGTERM received")
            server.signal()
            self.assertEqual([(one["return_code"], one["verb"]) for one in server.end()], [(-1, "its own code")])

        return self.with_server(STUCK, script)
