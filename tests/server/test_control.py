"""The control socket, and what it answers (issue 3, "Ladders": a live server)."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from telephony.errors import Error
from telephony.server.control import Client, ControlSocket, default_path
from telephony.server.remote import ask, find_socket
from telephony.server.tracing import TraceCommand

reactor: Any = installed_reactor


class ControlCase(TestCase):
    """A control socket in a directory of its own, with commands of a test."""

    timeout = 30

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.path = self.directory / "telephony-x.sock"
        self.clients: list[Client] = []
        self.control = ControlSocket(reactor, self.path, {"echo": self.echo, "stay": self.stay, "fault": self.fault})

    def echo(self, question: dict[str, Any], client: Client) -> None:
        client.answer(question)
        client.tell(b"more")
        client.end()

    def stay(self, question: dict[str, Any], client: Client) -> None:
        self.clients.append(client)
        client.answer(1)

    def fault(self, question: dict[str, Any], client: Client) -> None:
        raise RuntimeError("inside")

    def open(self, control: ControlSocket | None = None) -> None:
        (control or self.control).open()
        self.addCleanup((control or self.control).close)

    async def asked(self, question: object, path: Path | None = None) -> tuple[Any, list[str]]:
        """Ask from a thread, as another process does."""

        def work() -> tuple[Any, list[str]]:
            first, lines = ask(path or self.path, question)  # type: ignore[arg-type]
            return first, list(lines)

        return await deferToThread(work)

    async def refusal(self, question: object) -> str:
        """Ask for what is refused; return the sentence."""
        try:
            await self.asked(question)
        except Error as error:
            return str(error)
        raise AssertionError("it was answered")


class ControlSocketTests(ControlCase):
    """Who may connect, and what becomes of odd questions."""

    async def test_question_and_answer(self) -> None:
        """One question, one value, and the lines behind it."""
        self.open()
        self.assertEqual(await self.asked({"command": "echo", "x": 1}), ({"command": "echo", "x": 1}, ["more"]))

    async def test_private(self) -> None:
        """Mode 0600, whatever the umask is, and the name is gone with the server."""
        old = os.umask(0)
        try:
            self.open()
        finally:
            os.umask(old)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.control.close()
        self.assertFalse(self.path.exists())

    async def test_long_path(self) -> None:
        """A directory deeper than a socket's name may be long is no obstacle, on either side."""
        deep = self.directory / ("d" * 90) / ("e" * 90)
        deep.mkdir(parents=True)
        control = ControlSocket(reactor, deep / "s.sock", {"echo": self.echo})
        self.open(control)
        first, _lines = await self.asked({"command": "echo"}, deep / "s.sock")
        self.assertEqual(first, {"command": "echo"})

    def test_left_behind(self) -> None:
        """A socket that a dead server left behind is replaced; a file of that name is not."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(os.path.relpath(self.path))
        self.assertTrue(self.path.exists())
        self.open()
        self.control.close()
        self.path.write_text("a letter")
        self.assertIn("which is no socket", str(self.assertRaises(Error, self.control.open)))
        self.assertEqual(self.path.read_text(), "a letter")

    def test_in_use(self) -> None:
        """A socket that another server listens on is left alone."""
        self.open()
        other = ControlSocket(reactor, self.path, {})
        self.assertIn("in use by another server", str(self.assertRaises(Error, other.open)))
        self.assertTrue(self.path.exists())

    async def test_odd_questions(self) -> None:
        """What isn't known or can't be read gets a sentence; a fault inside doesn't leave the client waiting."""
        self.open()
        self.assertIn("no command 'dance'; it has: echo, fault, stay", await self.refusal({"command": "dance"}))
        self.assertIn("can't be read", await self.refusal([1]))
        self.assertIn("longer than", await self.refusal({"x": "y" * 100_000}))
        self.assertIn("fault inside the server", await self.refusal({"command": "fault"}))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_too_many(self) -> None:
        """Only so many may ask at once; who is one too many is told so."""
        self.open()
        kept = []
        for _ in range(16):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.addCleanup(one.close)
            one.connect(os.path.relpath(self.path))
            kept.append(one)
        self.assertIn("16 commands are asking", await self.refusal({"command": "echo"}))

    async def test_who_does_not_read(self) -> None:
        """A client that doesn't read is cut off; it costs the server no more than a bound."""
        self.open()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as deaf:
            deaf.connect(os.path.relpath(self.path))
            deaf.sendall(b'{"command": "stay"}\n')
            while not self.clients:
                await deferLater(reactor, 0.01, lambda: None)
            gone: Deferred[None] = Deferred()
            self.clients[0].gone = lambda: gone.callback(None)
            for _ in range(200):
                self.clients[0].tell(b"x" * 65536)
            await gone
        self.assertEqual(len(self.control.clients), 0)


class FindingTests(ControlCase):
    """Which server a command asks, and the sentences when there is none."""

    def test_default_path(self) -> None:
        """Two servers of one machine have two names, even in one directory."""
        names = {
            default_path(Path("records.jsonl"), transport, address).name
            for transport, address in (
                ("udp", ("127.0.0.1", 5060)),
                ("udp", ("127.0.0.1", 5080)),
                ("udp", ("127.0.0.2", 5060)),
                ("udp", ("::1", 5060)),
                ("tcp", ("127.0.0.1", 5060)),
            )
        }
        self.assertEqual(len(names), 5)

    def found(self, **where: Path | None) -> str:
        old = Path.cwd()
        os.chdir(self.directory)
        try:
            return str(find_socket(where.get("control"), where.get("config")))
        except Error as error:
            return str(error)
        finally:
            os.chdir(old)

    def test_in_this_directory(self) -> None:
        """The only server of a directory is found; of several one has to be named, of none it is said."""
        self.assertIn("there is no server's socket", self.found())
        self.open()
        self.assertEqual(self.found(), str(self.path))
        other = ControlSocket(reactor, self.directory / "telephony-y.sock", {})
        self.open(other)
        self.assertIn("several servers run in", self.found())
        self.assertEqual(self.found(control=other.path), str(other.path))

    def test_by_configuration(self) -> None:
        """A configuration says where: by its key, or by its place; "off" is said."""
        self.open()
        config = self.directory / "t.toml"
        config.write_text("")
        self.assertEqual(self.found(config=config), str(self.path))
        config.write_text('[trace]\ncontrol = "other.sock"\n')
        self.assertEqual(Path(self.found(config=config)).name, "other.sock")
        config.write_text('[trace]\ncontrol = "off"\n')
        self.assertIn("can't be asked", self.found(config=config))
        config.write_text("[trace\n")
        self.assertIn("is no TOML", self.found(config=config))

    async def test_nobody_there(self) -> None:
        """No socket, a dead one, somebody else: a sentence each."""
        self.assertIn("there is no socket", await self.refusal({}))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind(os.path.relpath(self.path))
        self.assertIn("its server has ended", await self.refusal({}))

    async def test_another_user(self) -> None:
        """Who may not is told so."""
        self.open()

        def denied(*_arguments: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(socket, "socket", type("Denied", (socket.socket,), {"connect": denied}))
        self.assertIn("only who runs the server may ask it", str(self.assertRaises(Error, ask, self.path, {})))


class TraceCommandTests(SynchronousTestCase):
    """The command itself, without a socket."""

    def test_off(self) -> None:
        """A server that keeps nothing says so."""
        client: Any = None
        self.assertIn('replay = "off"', str(self.assertRaises(Error, TraceCommand(None), {}, client)))

    def test_lines_are_json(self) -> None:
        """An answer is one line of JSON, whatever is in it."""
        told: list[bytes] = []
        client = Client(ControlSocket(reactor, Path("x"), {}))
        self.patch(client, "tell", told.append)
        client.answer({"a": "line\nwith an end"})
        self.assertEqual(json.loads(told[0]), {"ok": {"a": "line\nwith an end"}})
        self.assertNotIn(b"\n", told[0])
