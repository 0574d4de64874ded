"""Stand-ins for what the server is given, so that a test sees one decision at a time: exchange, channels, runner."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from telephony.call.constants import State
from telephony.call.details import Details
from telephony.errors import Hangup
from telephony.sip.message import Request

APPLICATION = """
from twisted.internet.defer import Deferred
__uas_identify__ = "application"
__uas_version__ = "1.5"
runs = []
async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    gate = Deferred()
    runs.append((channel, application_instance_id, file_man, my_log, application_parameters, gate))
    return await gate
"""


class FakeHost:
    """A host whose threads run at once."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.random = random.Random(1)

    def run_in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run it now."""
        return maybeDeferred(function, *args)


class FakeChannel:
    """A channel that only knows its state."""

    def __init__(self, state: State = State.IDLE, call_to: str = "sip:3300@127.0.0.1") -> None:
        self._state = state
        self.Details = Details(call_target=call_to, call_from="sip:alice@127.0.0.1", call_id="abc@127.0.0.1")
        self.ExtraChannel: list[FakeChannel] = []
        self.running_verb: str | None = None
        self.transfer = self.claimed_by = None
        self.rejected: list[str] = []
        self.hung_up = 0

    def state(self) -> State:
        """Tell the state."""
        return self._state

    def go(self, state: State) -> None:
        """Be in another state."""
        self._state = state

    def hang_up(self) -> Deferred[State]:
        """Count, and be IDLE."""
        self.hung_up += 1
        self._state = State.IDLE
        return succeed(State.IDLE)

    def reject(self, cause: object = None, raw_cause: str | None = None) -> Deferred[State]:
        """Note the status, and be IDLE."""
        if self._state is State.IDLE:
            return maybeDeferred(self._gone)
        self.rejected.append(str(raw_cause))
        self._state = State.IDLE
        return succeed(State.IDLE)

    @staticmethod
    def _gone() -> State:
        raise Hangup("gone")


class FakeExchange:
    """An exchange whose calls are made by the test."""

    def __init__(self) -> None:
        self.host = FakeHost()
        self.recorder = None
        self.screen: Callable[[Request, Any], Any] = lambda request, flow: None
        self.on_call: Callable[[Any], None] = lambda channel: None
        self.closing: Deferred[None] | None = None
        self.close_at_once = True
        self.made: list[FakeChannel] = []
        self.replacing = SimpleNamespace(may_replace=None)

    def channel(self, default_from: str | None = None) -> FakeChannel:
        """Make an IDLE channel."""
        self.made.append(FakeChannel())
        return self.made[-1]

    def close(self) -> Deferred[None]:
        """Close, at once or when the test says so."""
        self.closing = Deferred()
        if self.close_at_once:
            self.closing.callback(None)
        return self.closing

    def invite(self, user: str, flow: Any = None) -> Any:
        """Return what the screen says to an INVITE for ``user``: None, or the status."""
        refusal = self.screen(Request("INVITE", f"sip:{user}@127.0.0.1"), flow)
        return None if refusal is None else refusal[0]

    def call(self, user: str) -> FakeChannel:
        """Let a call come in that has passed the screen."""
        channel = FakeChannel(State.CALL_INCOMING, f"sip:{user}@127.0.0.1")
        self.on_call(channel)
        return channel


class ThreadlessRunner:
    """A runner whose threads the test starts by hand, and whose loop is the test itself."""

    def __init__(self) -> None:
        self.threads: list[tuple[str, Callable[[], object]]] = []
        self.verbs: list[str] = []

    def run(self, name: str, function: Callable[[], Deferred[Any]], limit: float | None) -> Any:
        """Run it; it must be done at once."""
        self.verbs.append(name)
        results: list[Any] = []
        maybeDeferred(function).addBoth(results.append)
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def post(self, function: Callable[[], object]) -> None:
        """Run it now."""
        function()

    def start(self, name: str, function: Callable[[], object]) -> None:
        """Keep it for the test."""
        self.threads.append((name, function))

    def seconds(self) -> float:
        """Time stands still."""
        return 0.0


def write_application(directory: Path, name: str = "app.py", text: str = APPLICATION) -> Path:
    """Write an application file and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(text)
    return path
