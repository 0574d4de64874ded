"""What interop tests have in common: child processes, waiting for conditions, the server, SIPp, and judging audio.

Every process is started through `InteropCase.spawn`, and ended by its id when the test is over. Nothing waits for time
to pass: a test waits for something to be so, and fails when it isn't so within a limit.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from telephony.codecs.g711 import Pcm
from telephony.media.detectors import Interval, heard

from .rtp import RtpEnd, free_port, has_ipv6
from .script import Script
from .wire import Wire, read_sipp

reactor: Any = installed_reactor

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXAMPLES = ROOT / "examples"
APPLICATION = HERE / "applications" / "recorded.py"

#: What examples/make_prompts.py has put into the prompts, in order.
GREETING, GOODBYE = (600, 800, 1000), (1000, 800, 600)
#: The ringback tone of the United States, the default.
RINGBACK = (440, 480)

SIPP = shutil.which("sipp")
BARESIP = shutil.which("baresip")
#: Debian has it where only root looks.
KAMAILIO = shutil.which("kamailio") or shutil.which("kamailio", path="/usr/sbin:/usr/local/sbin")
SIPSAK = shutil.which("sipsak")
NO_SIPP = None if SIPP else "SIPp is not installed (Debian: sip-tester)"
NO_IPV6 = None if has_ipv6() else "this machine has no IPv6 loopback address"
NO_KAMAILIO = None if KAMAILIO else "Kamailio is not installed"
NO_SIPSAK = None if SIPSAK else "sipsak is not installed"
NO_BARESIP = None if BARESIP else "baresip is not installed"


class Child(ProcessProtocol):
    """A child process: what it says, and how it ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.output = ""
        self.status: int | None = None
        """Its exit status, or minus the signal that ended it; None while it runs."""
        self._ended: list[Deferred[int]] = []

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803 - Twisted's names
        """Keep what it says, on whichever of the two outputs."""
        self.output += data.decode("utf-8", "replace")

    def processEnded(self, reason: Failure) -> None:
        """Tell who waits."""
        value: Any = reason.value
        self.status = value.exitCode if value.exitCode is not None else -value.signal
        for one in self._ended:
            one.callback(self.status)
        self._ended.clear()

    def signal(self, name: str) -> None:
        """Send a signal, unless it has ended."""
        if self.status is None:
            self.transport.signalProcess(name)  # type: ignore[union-attr]

    async def ended(self, seconds: float) -> int:
        """Wait for its end; return its status."""
        if self.status is not None:
            return self.status
        waiting: Deferred[int] = Deferred()
        self._ended.append(waiting)
        waiting.addTimeout(seconds, reactor)
        return await waiting

    async def end(self) -> None:
        """End it: politely, again, then not."""
        for name in ("TERM", "TERM", "KILL"):
            if self.status is not None:
                return
            self.signal(name)
            waiting: Deferred[int] = Deferred()
            self._ended.append(waiting)
            limited = waiting.addTimeout(5, reactor)
            limited.addErrback(lambda _late: None)
            await limited


@attrs.frozen
class Step:
    """One line that applications/recorded.py wrote."""

    step: str
    returned: str
    state: str
    cause: str
    transfer_cause: str
    other_state: str
    other_cause: str
    raw_cause: int
    raw_reason: str


class Server:
    """A running server and what it leaves behind."""

    def __init__(self, child: Child, directory: Path, port: int) -> None:
        self.child = child
        self.directory = directory
        self.port = port

    @property
    def records(self) -> list[dict[str, Any]]:
        """The application data records so far."""
        return _lines(self.directory / "records.jsonl")

    def steps(self, name: str = "outcome") -> dict[str, Step]:
        """Return what the recorded application noted, by step."""
        return {line["step"]: Step(**line) for line in _lines(self.directory / f"{name}.jsonl")}


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # A line that is being written has no end yet.
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


class Reached(Protocol):
    """What SIPp calls, or calls by way of."""

    port: int


@attrs.define(eq=False)
class SippCall:
    """One SIPp with one call, and its audio."""

    child: Child
    port: int
    log: Path
    audio: RtpEnd

    @property
    def wire(self) -> Wire:
        """Its messages so far."""
        return Wire(read_sipp(self.log.read_bytes().decode()) if self.log.exists() else [])


class InteropCase(TestCase):
    """A server, and the means to call it and to be called by it."""

    timeout = 100
    interface = "127.0.0.1"
    more_listeners: Sequence[str] = ()
    """Listeners beside those for UDP and TCP."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.children: list[Child] = []

    @property
    def uri_host(self) -> str:
        """The address that everybody uses, as URIs have it."""
        return f"[{self.interface}]" if ":" in self.interface else self.interface

    # -- processes -----------------------------------------------------------------------------------------------

    def spawn(self, name: str, arguments: Sequence[str]) -> Child:
        """Start a child process in the test's directory; the test's end is its end at the latest."""
        child = Child(name)
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(self.directory),
            "TERM": "dumb",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        reactor.spawnProcess(child, arguments[0], list(arguments), env=environment, path=str(self.directory))
        self.children.append(child)
        self.addCleanup(child.end)
        return child

    async def until(self, condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
        """Wait for something to be so and return what ``condition`` returned; fail after so many seconds."""
        deadline = reactor.seconds() + seconds
        found: list[Any] = []

        def look() -> None:
            value = condition()
            if value:
                found.append(value)
                looking.stop()
            elif reactor.seconds() > deadline:
                looking.stop()

        looking = LoopingCall(look)
        await looking.start(0.05)
        if not found:
            said = "\n".join(f"--- {one.name} ({one.status})\n{one.output[-4000:]}" for one in self.children)
            self.fail(f"not within {seconds} s: {what}\n{said}")
        return found[0]

    # -- the server ----------------------------------------------------------------------------------------------

    async def serve(self, *arguments: str) -> Server:
        """Run ``twistd -n telephony`` with listeners on a port of its own for UDP and TCP."""
        port = free_port(self.interface)
        host = self.uri_host
        listeners = [f"udp:{host}:{port}", f"tcp:{host}:{port}", *self.more_listeners]
        if "--config" in arguments:
            config = Path(arguments[1])
            listen = ", ".join(f'"{one}"' for one in listeners)
            config.write_text(f"[sip]\nlisten = [{listen}]\n{config.read_text()}")
            more: list[str] = []
        else:
            more = [part for one in listeners for part in ("--listen", one)]
        # twistd itself, by way of the Python that runs the tests.
        twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
        child = self.spawn("server", [*twistd, "-n", "telephony", *more, *arguments])
        await self.until(lambda: "Service " in child.output or child.status is not None, "the server has started")
        self.assertIsNone(child.status, child.output)
        return Server(child, self.directory, port)

    async def serve_recorded(self, target: str, *, seconds_timeout: float = 60, greeting: str = "") -> Server:
        """Run the server with applications/recorded.py, which transfers to ``target``."""
        parameters = self.parameters(target, seconds_timeout, greeting)
        media = str(EXAMPLES / "media")
        return await self.serve("--app", str(APPLICATION), "--media", media, "--parameters", parameters)

    def parameters(self, target: str, seconds_timeout: float, greeting: str = "", outcome: str = "outcome") -> str:
        """Return the parameters of applications/recorded.py."""
        file = str(self.directory / f"{outcome}.jsonl")
        asked = {"target": target, "seconds_timeout": seconds_timeout, "greeting": greeting, "outcome": file}
        return json.dumps(asked)

    async def stopped(self, server: Server, records: int = 1) -> list[dict[str, Any]]:
        """Wait for the records, stop the server, check that nothing went wrong inside; return the records."""
        await self.until(lambda: len(server.records) >= records, f"{records} records are written")
        server.child.signal("TERM")
        self.assertEqual(await server.child.ended(20), 0, server.child.output)
        for wrong in ("Traceback", "Unhandled", "#error", "#critical"):
            self.assertNotIn(wrong, server.child.output)
        self.assertEqual(len(server.records), records)
        return server.records

    # -- SIPp ----------------------------------------------------------------------------------------------------

    async def sipp(
        self,
        scenario: str | Script,
        *,
        transport: str = "udp",
        server: Reached | None = None,
        service: str = "3300",
        milliseconds: int = 1500,
        payload_type: int = 8,
        frequency: int = 500,
        events: int = 101,
        keys: dict[str, str] | None = None,
    ) -> SippCall:
        """Run SIPp for one call: from ``server`` with a caller's scenario, else waiting for one.

        A scenario is the name of a file in ``scenarios``, or a script; ``keys`` are more of its own.
        """
        assert SIPP is not None
        port = free_port(self.interface)
        if isinstance(scenario, Script):
            file, scenario = scenario.write(self.directory), scenario.name
        else:
            file = HERE / "scenarios" / f"{scenario}.xml"
        name = f"{scenario}-{port}"
        audio = RtpEnd(reactor, payload_type, frequency)
        self.addCleanup(audio.close)
        log = self.directory / f"{name}.messages"
        arguments = [SIPP]
        if server is not None:
            arguments += [f"{self.uri_host}:{server.port}", "-s", service]
        arguments += ["-sf", str(file), "-i", self.interface, "-p", str(port)]
        arguments += ["-mi", self.interface]
        arguments += ["-t", {"udp": "u1", "tcp": "t1"}[transport], "-m", "1", "-d", str(milliseconds), "-nostdin"]
        arguments += ["-timeout", "80", "-timeout_error", "-trace_msg", "-message_file", str(log)]
        arguments += ["-trace_err", "-error_file", str(self.directory / f"{name}.errors")]
        arguments += ["-key", "audio", str(audio.listen(self.interface)), "-key", "formats", f"{payload_type} {events}"]
        arguments += [part for name, value in (keys or {}).items() for part in ("-key", name, value)]
        child = self.spawn(f"SIPp {scenario}", arguments)
        if server is None:
            await self.until(lambda: bound(transport, port), f"{child.name} listens")
        return SippCall(child, port, log, audio)

    async def well_ended(self, *calls: SippCall) -> None:
        """Wait for SIPps to end, each with its call as its scenario has it."""
        for one in calls:
            status = await one.child.ended(70)
            errors = one.log.with_suffix(".errors")
            told = errors.read_text() if errors.exists() else ""
            self.assertEqual(status, 0, f"{one.child.name}: {one.wire.words}\n{told}\n{one.child.output[-3000:]}")

    # -- audio ---------------------------------------------------------------------------------------------------

    def assert_heard(self, pcm: Pcm, *sounds: tuple[str, tuple[int, ...], bool]) -> list[Interval]:
        """Check that these sounds were heard one after the other, each a name, frequencies, and whether all at once.

        Two of them may not overlap by more than what the detector is off.
        """
        found = []
        last = 0.0
        for name, frequencies, together in sounds:
            for one in [frequencies] if together else [(frequency,) for frequency in frequencies]:
                times = [each for each in heard(pcm, one, minimum=0.25) if each.start_s >= last - 0.03]
                self.assertTrue(times, f"{name}: no {one} Hz after {last:.2f} s of {len(pcm) / 8000:.2f} s")
                found.append(times[0])
                last = times[0].end_s
        return found

    def assert_wire(self, wire: Wire, *words: str) -> None:
        """Check the messages, one by one, and that they belong together."""
        self.assertEqual(wire.words, list(words))
        self.assertEqual(wire.faults(), [])


def tone_of(frequency: int) -> tuple[str, tuple[int, ...], bool]:
    """Return what `InteropCase.assert_heard` takes for the other party's tone."""
    return "the other party", (frequency,), True


HEARS_GREETING = ("greeting", GREETING, False)
HEARS_RINGBACK = ("ringback", RINGBACK, True)
HEARS_GOODBYE = ("goodbye", GOODBYE, False)


def bound(transport: str, port: int) -> bool:
    """Tell whether somebody on this machine listens on a port, without touching it."""
    rule = rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 {'07' if transport == 'udp' else '0A'} "
    tables = (Path("/proc/net") / f"{transport}{six}" for six in ("", "6"))
    return any(re.search(rule, one.read_text(), re.MULTILINE) for one in tables if one.exists())
