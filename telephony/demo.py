"""``telephony demo``: a real call over loopback sockets, transferred, taken back, and judged by what was heard.

Owns: the scene (a caller, a server with an application, a target), the account of it, and the verdict. Everything is
said from what the two phones received, by tone detection, not from what was sent. Needs no phone, no file and no
network; must not be imported by anything but the command.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
import numpy as np
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from telephony.call.channel import CallChannel
from telephony.call.constants import State, TransferCause
from telephony.call.core import ChannelCore
from telephony.call.exchange import Exchange
from telephony.call.resources import TonePlayer
from telephony.codecs.g711 import Pcm
from telephony.errors import Error
from telephony.host import ReactorHost
from telephony.interfaces import Address
from telephony.media.files import AudioWriter
from telephony.testing.phone import Phone
from telephony.testing.sounds import silence, tone
from telephony.trace.events import TraceEvent
from telephony.trace.ladder import Note, ladder

LOOPBACK = "127.0.0.1"
WAV = "telephony-demo.wav"
#: Seconds after which the demo gives up, whatever it waits for.
MOST_SECONDS = 28.0

#: What can be heard, as frequencies in Hz: each sound has its own, so that none is taken for another.
SOUNDS: dict[str, tuple[float, ...]] = {
    "greeting": (520.0,),
    "ringback": (440.0, 480.0),
    "target's tone": (1000.0,),
    "goodbye": (880.0,),
    "caller's tone": (700.0,),
}
CALLER_HEARS = ("greeting", "ringback", "target's tone", "goodbye")
TARGET_HEARS = ("caller's tone",)

PATH = [
    State.CALL_INCOMING,
    State.ANSWERING,
    State.ANSWERED,
    State.TRANSFERRING,
    State.TRANSFERRED,
    State.RECONNECTING,
    State.ANSWERED,
    State.IDLE,
]


@attrs.frozen
class Heard:
    """A sound that a phone received: seconds since the call began, and dBm0."""

    what: str
    start: float
    end: float
    level: float


class Demo:
    """One run, on a reactor that is running; ``say`` gets each line of the account."""

    def __init__(self, host: ReactorHost, media: Path, say: Callable[[str], None]) -> None:
        self._host = host
        self._say = say
        self._began = host.clock.seconds()
        self._events: list[TraceEvent] = []
        self._notes: list[Note] = []
        self.states: list[State] = []
        self.transfer_cause = TransferCause.NONE
        self.caller_heard: list[Heard] = []
        self.target_heard: list[Heard] = []
        self.sounds: tuple[Pcm, Pcm] = (np.zeros(0, np.int16), np.zeros(0, np.int16))
        write_prompt(media / "greeting.wav", "greeting")
        write_prompt(media / "goodbye.wav", "goodbye")
        self._exchange = Exchange(host, media_directory=media)
        self._server = self._exchange.listen(f"udp:{LOOPBACK}:0")
        self._exchange.trace = self._events.append
        self._exchange.on_call = self._arrived
        self._caller = Phone(host, (LOOPBACK, 0), "caller")
        self._target = Phone(host, (LOOPBACK, 0), "target")
        self._application: Deferred[None] | None = None

    # -- the application: what a user of this project writes --------------------------------------------------------

    async def _main(self, channel: CallChannel) -> None:
        await channel.answer()
        self._account("the application answers and plays a greeting")
        await channel.FilePlayer.play("greeting.wav")
        TonePlayer(channel)
        other_call = self._exchange.channel()
        other_call.observers.append(partial(self._stepped, "other_call"))
        self._account("it transfers the caller, and keeps hold of the call")
        state = await channel.retrievable_transfer(other_call, self._target.uri, seconds_timeout=15)
        self.transfer_cause = channel.transfer_cause()
        self._account(f"the transfer is {state}, cause {self.transfer_cause}")
        if state is State.TRANSFERRED:
            await channel.wait_for_transferred_call_retrieval()
            self._account("the caller is back with the application, which plays a goodbye")
            await channel.FilePlayer.play("goodbye.wav")
        await channel.hang_up()

    def _arrived(self, channel: CallChannel) -> None:
        self.states.append(channel.state())
        self._account("the server has a call")
        channel.observers.append(partial(self._stepped, "channel"))
        channel.observers.append(lambda _channel, _old, new: self.states.append(new))
        self._application = Deferred.fromCoroutine(self._main(channel))

    # -- the two phones ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Play the whole scene, then look back at what was heard."""
        caller, target = self._caller, self._target
        try:
            caller.says(tone(*SOUNDS["caller's tone"], level=-20))
            target.says(tone(*SOUNDS["target's tone"], level=-16))
            self._account(f"the caller's phone dials sip:3300@{LOOPBACK}:{self._server[1]}")
            caller.dial(f"sip:3300@{LOOPBACK}:{self._server[1]}")
            await target.until("incoming", within=10)
            target.ring()
            self._account("the target's phone rings")
            await caller.until_hears(*SOUNDS["ringback"], within=5)
            await self._pause(1.5)
            target.answer()
            self._account("the target answers")
            await caller.until_hears(*SOUNDS["target's tone"], within=5)
            await self._pause(2.0)
            self._account("the target hangs up")
            target.hang_up()
            await caller.until("ended", within=10)
            self._account("the call is over")
            if self._application is not None:
                await self._application
        finally:
            self._look_back()
            await self._exchange.close()
            await caller.close()
            await target.close()

    async def _pause(self, seconds: float) -> None:
        elapsed: Deferred[None] = Deferred()
        self._host.clock.callLater(seconds, elapsed.callback, None)
        await elapsed

    def _stepped(self, name: str, _channel: ChannelCore, _old: State, new: State) -> None:
        self._notes.append((self._host.clock.seconds(), "", f"{name} {new}"))

    def _account(self, text: str) -> None:
        self._say(f"{self._now():7.2f} s  {text}")

    def _now(self) -> float:
        return self._host.clock.seconds() - self._began

    # -- the verdict -------------------------------------------------------------------------------------------------

    def _look_back(self) -> None:
        now = self._host.clock.seconds()
        self.caller_heard = self._heard(self._caller, CALLER_HEARS) if self._caller.calls else []
        self.target_heard = self._heard(self._target, TARGET_HEARS) if self._target.calls else []
        if self._caller.calls and self._target.calls:
            self.sounds = (self._caller.sound(self._began, now), self._target.sound(self._began, now))

    def _heard(self, phone: Phone, names: tuple[str, ...]) -> list[Heard]:
        found = [
            Heard(name, one.start_s - self._began, one.end_s - self._began, one.level_dbm0)
            for name in names
            for one in phone.heard(*SOUNDS[name], since=self._began)
        ]
        return sorted(found, key=lambda one: one.start)

    def missing(self) -> list[str]:
        """Return what did not happen as it should, in sentences; nothing when all is well."""
        faults = []
        if self.states != PATH:
            faults.append(f"the call's states were {', '.join(map(str, self.states))}, not {', '.join(map(str, PATH))}")
        if self.transfer_cause is not TransferCause.NORMAL:
            faults.append(f"the transfer's cause was {self.transfer_cause}, not NORMAL")
        order = list(dict.fromkeys(one.what for one in self.caller_heard))
        if order != list(CALLER_HEARS):
            faults.append(f"the caller heard {', '.join(order) or 'nothing'}, not {', '.join(CALLER_HEARS)}")
        if {one.what for one in self.target_heard} != set(TARGET_HEARS):
            faults.append("the target did not hear the caller")
        faults += [f"the caller's phone: {fault}" for fault in self._caller.faults()]
        faults += [f"the target's phone: {fault}" for fault in self._target.faults()]
        return faults

    def ladder(self) -> str:
        """Return the messages of both legs as a ladder."""
        names: dict[Address, str] = {
            self._caller.address: "caller",
            self._server: "server",
            self._target.address: "target",
        }
        return ladder(self._events, names, notes=self._notes, start=self._began)


def write_prompt(path: Path, name: str) -> None:
    """Make a prompt: its tone for 1.2 s, with a short silence behind it."""
    with AudioWriter(path) as writer:
        writer.write(tone(*SOUNDS[name], level=-14, seconds=1.2))
        writer.write(silence(0.2))


def write_wav(demo: Demo, path: Path) -> str:
    """Write what both heard as a stereo file, and return the sentence about it."""
    caller, target = demo.sounds
    try:
        with AudioWriter(path, "pcm", channels=2) as writer:
            writer.write(np.stack([caller, target], axis=1))
    except (Error, OSError) as error:
        return f"{path} could not be written: {error}"
    return f"{path}: what the caller heard on the left, what the target heard on the right"


def as_json(demo: Demo, faults: list[str]) -> str:
    """Return the outcome as one JSON object."""

    def listed(heard: list[Heard]) -> dict[str, list[dict[str, float]]]:
        found: dict[str, list[dict[str, float]]] = {}
        for one in heard:
            found.setdefault(one.what, []).append(
                {"start": round(one.start, 2), "end": round(one.end, 2), "dBm0": round(one.level, 1)}
            )
        return found

    return json.dumps(
        {
            "ok": not faults,
            "states": [str(state) for state in demo.states],
            "transfer_cause": str(demo.transfer_cause),
            "heard": {"caller": listed(demo.caller_heard), "target": listed(demo.target_heard)},
            "wav": WAV,
            "faults": faults,
        },
        indent=2,
    )


def show(demo: Demo, faults: list[str]) -> None:
    """Print the ladder, what was heard, and the verdict."""
    click.echo(f"\n{demo.ladder()}")
    for who, heard in (("caller", demo.caller_heard), ("target", demo.target_heard)):
        click.echo(f"What the {who} heard:")
        for one in heard:
            hertz = " + ".join(f"{frequency:.0f}" for frequency in SOUNDS[one.what])
            click.echo(f"  {one.start:6.2f} to {one.end:6.2f} s   {one.what:<14} {hertz:>9} Hz {one.level:6.1f} dBm0")
    click.echo("")
    if faults:
        for fault in faults:
            click.echo(f"Not as it should be: {fault}")
    else:
        click.echo("All of it happened: greeting, ringback, the target, and the caller taken back for the goodbye.")


def main(as_json: bool = False) -> int:
    """Run the demo in a reactor of its own; returns the exit status, 0 only if everything happened."""
    from twisted.internet import reactor

    outcome: list[Demo | Failure] = []
    with tempfile.TemporaryDirectory() as folder:

        def begin() -> None:
            demo = Demo(ReactorHost(reactor), Path(folder), (lambda _line: None) if as_json else click.echo)
            running = Deferred.fromCoroutine(demo.run())
            running.addTimeout(MOST_SECONDS, reactor)
            running.addErrback(lambda failure: outcome.append(failure))
            running.addCallback(lambda _none: outcome.append(demo))
            running.addBoth(lambda _none: reactor.stop())

        reactor.callWhenRunning(begin)
        reactor.run()
    return _conclude(outcome, as_json)


def _conclude(outcome: list[Any], in_json: bool) -> int:
    demo = next((one for one in outcome if isinstance(one, Demo)), None)
    if demo is None:
        text = "it was interrupted" if not outcome else _told(outcome[0])
        click.echo(
            json.dumps({"ok": False, "faults": [text]}) if in_json else f"The demo failed: {text}", err=not in_json
        )
        return 1
    faults = demo.missing()
    written = write_wav(demo, Path(WAV))
    if in_json:
        click.echo(as_json(demo, faults))
    else:
        show(demo, faults)
        click.echo(written)
    return 1 if faults else 0


def _told(failure: Failure) -> str:
    if isinstance(failure.value, defer.CancelledError | defer.TimeoutError):
        return f"it was not over after {MOST_SECONDS:.0f} seconds"
    return failure.getErrorMessage() or type(failure.value).__name__
