"""What the documentation says is done: every snippet runs, every shell line names what exists, the states are drawn.

README's applications and scripts run as processes of their own, over loopback sockets, with virtual phones as peers;
of their text only ports and the place of the media directory are replaced.
"""

from __future__ import annotations

import configparser
import importlib
import re
import runpy
import shlex
import shutil
import sys
import textwrap
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
from twisted.internet import reactor as installed_reactor
from twisted.trial.unittest import SynchronousTestCase

from telephony.cli import main as command
from telephony.host import ReactorHost
from telephony.server.service import Options
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone

from .interop.case import GOODBYE, GREETING, NO_SIPP, RINGBACK, Child, InteropCase, Server, bound
from .interop.rtp import free_port
from .test_tables import every_machine

reactor: Any = installed_reactor

ROOT = Path(__file__).parents[1]
README = ROOT / "README.rst"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.rst"))]
MEDIA = ROOT / "examples" / "media"
LOOPBACK = "127.0.0.1"
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]


def blocks(page: Path, opening: str) -> list[str]:
    """Return the indented blocks of a page that follow lines which match ``opening``."""
    found = []
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines, 1):
        if re.search(opening, line):
            inner = takewhile(lambda line: not line.strip() or line.startswith("    "), lines[number:])
            found.append(textwrap.dedent("\n".join(inner)).strip("\n") + "\n")
    return found


def python_blocks(page: Path) -> list[str]:
    """Return the Python of a page."""
    return blocks(page, r"^\.\. code-block:: python$")


def shell_lines(page: Path) -> list[str]:
    """Return the commands of a page's literal blocks, continuation lines joined."""
    text = "".join(blocks(page, r"^(?!\.\.).*::$"))
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def readme_block(word: str) -> str:
    """Return the one block of README with a word in it."""
    (found,) = [one for one in python_blocks(README) if word in one]
    return found


class Peers(InteropCase):
    """Runs programs of the documentation, with virtual phones to talk to."""

    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.ports: dict[str, str] = {}

    def phone(self, name: str, hertz: int, auto_answer: float | None = 0.2) -> Phone:
        """Make a phone with a port of its own, which rings, answers and says a tone."""
        phone = Phone(ReactorHost(reactor), (LOOPBACK, 0), name, auto_ring=True, auto_answer=auto_answer)
        phone.says(tone(hertz, level=-16))
        self.addCleanup(phone.close)
        return phone

    def is_at(self, port: int, meant: int) -> None:
        """Note what is written in place of a port of the documentation."""
        self.ports[str(meant)] = str(port)

    def replaced(self, text: str) -> str:
        """Return a text with the ports replaced; one that nobody has claimed is a mistake of the test's."""
        return re.sub(r"(?<=127\.0\.0\.1:)\d+|(?<=-p )\d+", lambda match: self.ports[match[0]], text)

    def python(self, text: str) -> Child:
        """Run a script, ports replaced, in a directory with prompts in ``media``."""
        shutil.copytree(MEDIA, self.directory / "media")
        (self.directory / "snippet.py").write_text(self.replaced(text))
        return self.spawn("snippet.py", [sys.executable, "snippet.py"])

    async def ended_well(self, child: Child) -> None:
        """Wait for a program's end, without a word of complaint."""
        self.assertEqual((await child.ended(30), child.output), (0, ""))

    async def transferred(self, server: Server, uri: str, target: Phone) -> None:
        """Call a server whose application transfers: everything it is said to do is heard; one record says so."""
        caller = self.phone("caller", 700)
        began = caller.host.clock.seconds()
        caller.dial(uri)
        await target.until("answered", within=20)
        await target.until_hears(700, since=began)
        await caller.until_hears(1000)
        await target.hang_up()
        await caller.until("ended", within=20)
        times = [caller.heard(one, since=began)[0].start_s for one in GREETING[:2]]
        times += [caller.heard(*RINGBACK, since=began)[0].start_s, caller.heard(1000, since=began)[-1].start_s]
        times += [caller.heard(one, since=began)[-1].start_s for one in GOODBYE[1:]]
        self.assertEqual(times, sorted(times))
        self.assertEqual([*caller.faults(), *target.faults()], [])
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)


class SnippetTests(Peers):
    """Every block of Python in README.rst and docs/*.rst."""

    def test_all_are_known(self) -> None:
        """Each block of README has a test below; a new one wants its own."""
        words = ("def main(channel", "with Telephony(", "aio.Telephony(")
        for block in python_blocks(README):
            self.assertEqual(sum(word in block for word in words), 1, block)
        self.assertEqual(len(python_blocks(README)), len(words))

    async def test_application(self) -> None:
        """README, "An application": it runs under twistd, with a caller and a target."""
        target = self.phone("3301", 1000, auto_answer=1.5)
        application = self.directory / "application.py"
        application.write_text(readme_block("def main(channel"))
        server = await self.serve("--app", str(application), "--media", str(MEDIA), "--parameters", target.uri)
        await self.transferred(server, f"sip:3300@{LOOPBACK}:{server.port}", target)

    async def test_script(self) -> None:
        """README, "Imported": it calls, plays, and takes a call."""
        alice = self.phone("alice", 1000)
        own = free_port(LOOPBACK)
        self.is_at(alice.address[1], 5070)
        self.is_at(own, 5080)
        began = alice.host.clock.seconds()
        child = self.python(readme_block("with Telephony("))
        await alice.until("answered", within=20)
        for hertz in GREETING:
            await alice.until_hears(hertz, since=began)
        caller = self.phone("caller", 700)
        caller.dial(f"sip:script@{LOOPBACK}:{own}")
        await self.ended_well(child)
        for phone in (alice, caller):  # leaving released every call
            await phone.until("ended", within=5)
            self.assertEqual(phone.faults(), [])

    async def test_asyncio(self) -> None:
        """README, "Inside asyncio": it calls, and leaving hangs up."""
        alice = self.phone("alice", 1000)
        self.is_at(alice.address[1], 5070)
        self.is_at(free_port(LOOPBACK), 5080)
        child = self.python(readme_block("aio.Telephony("))
        await alice.until("answered", within=20)
        await self.ended_well(child)
        await alice.until("ended", within=5)
        self.assertEqual(alice.faults(), [])

    async def test_other_pages(self) -> None:
        """docs/*.rst: what is shown runs by itself, unless the page has a test of its own, test_docs_<page>.py."""
        for page in PAGES[1:]:
            if (Path(__file__).parent / f"test_docs_{page.stem}.py").exists():
                continue
            for number, block in enumerate(python_blocks(page)):
                name = f"{page.stem}-{number}.py"
                (self.directory / name).write_text(block)
                await self.ended_well(self.spawn(name, [sys.executable, name]))


class ShellTests(Peers):
    """README's shell lines, as they are but for their ports."""

    def line(self, start: str) -> str:
        """Return the one shell line of README that begins like this."""
        (found,) = [one for one in shell_lines(README) if one.startswith(start)]
        return found

    async def serve_line(self, start: str, port: int) -> Server:
        """Run a twistd line in a copy of examples/."""
        shutil.copytree(ROOT / "examples", self.directory / "examples")
        config = self.directory / "examples" / "telephony.toml"
        config.write_text(self.replaced(config.read_text()))
        name, *arguments = shlex.split(self.replaced(self.line(start)))
        self.assertEqual(name, "twistd")
        child = self.spawn("server", [*TWISTD, "--pidfile=", *arguments])
        await self.until(lambda: "Service " in child.output or child.status is not None, "the server has started")
        self.assertIsNone(child.status, child.output)
        # Records are written beside the configuration file.
        return Server(child, config.parent if "--config" in arguments else self.directory, port)

    async def test_one_application(self) -> None:
        """The server with --app."""
        target = self.phone("3301", 1000, auto_answer=1.5)
        port = free_port(LOOPBACK)
        self.is_at(port, 5060)
        self.is_at(target.address[1], 5070)
        server = await self.serve_line("twistd -n telephony --listen", port)
        await self.transferred(server, f"sip:3300@{LOOPBACK}:{port}", target)

    async def test_configuration(self) -> None:
        """The server with --config; the asynchronous application among its services."""
        target = self.phone("3301", 1000, auto_answer=1.5)
        port = free_port(LOOPBACK)
        self.is_at(port, 5060)
        self.is_at(target.address[1], 5070)
        server = await self.serve_line("twistd -n telephony --config", port)
        await self.transferred(server, f"sip:3310@{LOOPBACK}:{port}", target)

    async def test_sipp(self) -> None:
        """SIPp as target and as caller, as README has it."""
        port, target = free_port(LOOPBACK), free_port(LOOPBACK)
        self.is_at(port, 5060)
        self.is_at(target, 5070)
        server = await self.serve_line("twistd -n telephony --listen", port)
        sipps = []
        for role in ("uas", "uac"):
            arguments = shlex.split(self.replaced(self.line(f"sipp -sn {role}")))
            sipps.append(self.spawn(role, [str(shutil.which("sipp")), *arguments[1:], "-nostdin", "-timeout", "40"]))
            if role == "uas":
                await self.until(lambda: bound("udp", target), "the target listens")
        for sipp in sipps:
            self.assertEqual(await sipp.ended(50), 0, sipp.output[-2000:])
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)
        self.assertIn("transferred to sip:3301@", server.child.output)

    test_sipp.skip = NO_SIPP  # type: ignore[attr-defined]


def options_of(line: list[str]) -> Iterator[str]:
    """Return the long options of a command's words."""
    return (word.partition("=")[0] for word in line if word.startswith("--"))


class NamesTests(SynchronousTestCase):
    """What is named is there."""

    def commands(self) -> list[list[str]]:
        """Return the commands of all pages' literal blocks and of literals in the text, as words."""
        found = []
        for page in PAGES:
            literals = re.findall(r"``((?:telephony|twistd) [^`]+)``", page.read_text())
            for line in [*shell_lines(page), *literals]:
                found += [shlex.split(one) for one in line.split("&&")]
        return found

    def test_files(self) -> None:
        """Files and folders that commands and pages name exist."""
        for words in self.commands():
            for word in words:
                if word.startswith("examples/") or word.endswith((".py", ".toml")):
                    self.assertTrue((ROOT / word).exists(), word)
        for page in PAGES:
            for name in re.findall(r"``((?:docs|examples|tests|\.ci|telephony)/[^`\s]*)``", page.read_text()):
                self.assertTrue((ROOT / name).exists(), f"{page.name}: {name}")
            for name in re.findall(r"^\.\. image:: (\S+)$", page.read_text(), re.MULTILINE):
                self.assertTrue((page.parent / name).exists(), f"{page.name}: {name}")

    def test_modules(self) -> None:
        """Modules that pages name can be imported, and have what is named of them."""
        for page in PAGES:
            for name in re.findall(r"``(telephony(?!\.toml)(?:\.\w+)+)``", page.read_text()):
                module, _, rest = name.rpartition(".")
                try:
                    importlib.import_module(name)
                except ModuleNotFoundError:
                    self.assertTrue(hasattr(importlib.import_module(module), rest), f"{page.name}: {name}")

    def test_commands(self) -> None:
        """Every command is one that is there, with options that it has."""
        assert isinstance(command, click.Group)
        plugin = {f"--{one.rstrip('=')}" for one in Options().longOpt}
        extras = configparser.ConfigParser()
        extras.read(ROOT / "setup.cfg")
        seen = set()
        for words in self.commands():
            name = words[0].rpartition("/")[2]
            seen.add(name)
            if name == "telephony":
                subcommand = command.commands[words[1]]
                has = {option for one in subcommand.params for option in [*one.opts, *one.secondary_opts]}
                self.assertLessEqual(set(options_of(words)), has, words)
            elif name == "twistd":
                self.assertEqual(words[1:3], ["-n", "telephony"])
                self.assertLessEqual(set(options_of(words)), plugin, words)
            elif name == "pip":
                for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
                    self.assertIn(extra, extras["options.extras_require"])
            elif words[1:3] == ["-m", "bench"]:
                from bench.__main__ import main as bench

                own = bench.commands[words[3]] if words[3:] and words[3] in bench.commands else bench
                self.assertLessEqual(set(options_of(words)), {one for param in own.params for one in param.opts}, words)
            elif "twisted.trial" in words:
                self.assertTrue((ROOT / words[-1] / "__init__.py").exists())
            else:
                self.assertIn(name, {"python3", ".", "sipp", "apt-get"}, words)
        self.assertLessEqual({"telephony", "twistd", "pip"}, seen)


class StatesTests(SynchronousTestCase):
    """docs/states.rst and its pictures."""

    def setUp(self) -> None:
        self.made = runpy.run_path(str(ROOT / "docs" / "make_states.py"))

    def test_up_to_date(self) -> None:
        """What is committed is what docs/make_states.py writes from the tables as they are, and nothing else."""
        files: dict[str, str] = self.made["files"]()
        for name, text in files.items():
            path = ROOT / "docs" / name
            self.assertTrue(path.exists() and path.read_text() == text, f"{name}: run python docs/make_states.py")
        pictures = {str(one.relative_to(ROOT / "docs")) for one in (ROOT / "docs" / "states").iterdir()}
        self.assertEqual(pictures, set(files) - {"states.rst"})

    def test_every_machine_is_there(self) -> None:
        """Each machine of the package has its section, each of its steps a line."""
        importlib.import_module("telephony.server.drain")
        machines = [one for one in every_machine() if one.__module__.startswith("telephony.")]
        drawn = [str(one.steps) for one in self.made["every_machine"]()]
        self.assertEqual(len(drawn), len(machines) + 1)  # and the channel, whose table is no Machine's
        for machine in machines:
            self.assertIn(str(self.made["steps_of"](machine.table)), drawn, machine.__qualname__)

    def test_pictures(self) -> None:
        """Each picture is XML, has each state that can be reached as a box, and each step's input beside it."""
        for machine in self.made["every_machine"]():
            root = ElementTree.fromstring(self.made["picture"](machine))
            texts = [one.text or "" for one in root.iter("{http://www.w3.org/2000/svg}text")]
            for state in machine.states:
                self.assertEqual(texts.count(state.name), 1, (machine.title, state))
            labels = sum(len(one.removeprefix("stays: ").split(", ")) for one in texts) - len(machine.states)
            self.assertEqual(labels, sum(len(machine.from_(state)) for state in machine.states), machine.title)
