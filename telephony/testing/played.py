"""A recorded call, played again: its peers say what they said then, to the application as it is now.

Owns: the simulation of one recording, when each recorded input comes, and how a recorded message is made to fit the
dialogs of this run. Must not know files, commands, or what is made of the outcome.

Each leg's inputs come in their order and at their recorded times. One waits until the server has sent on that leg what
it had sent before it then, so that an answer never comes before its question; where the server is late, what follows on
that leg is as late. What had happened elsewhere right before an input is waited for a moment, too, and a verb begins no
sooner than it did: time that the application spent outside of verbs passes again. So the order of things is the one
they had, even where they were a millisecond apart. Where the run has gone another way, nothing is waited for any more.

Tags, branches, Call-IDs and CSeq numbers of ours are those of this run. Random draws that decide something are given
again. A peer whose audio came sends silence, or what it sent then, where the recording has that; keys are given to the
channel at the moment in which they were heard, unless the recording has the packets they came in.
"""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, cast

import attrs
from twisted.internet.defer import Deferred

from telephony.call.exchange import Exchange
from telephony.call.recorder import CallRecording, Recorder
from telephony.codecs.g711 import CODECS
from telephony.errors import Error
from telephony.interfaces import Address, DatagramPort
from telephony.testing.audio import Mouth
from telephony.testing.clock import NeverHappened
from telephony.testing.hosting import HostedApplication, Hosting
from telephony.testing.network import SimulatedNetwork
from telephony.testing.offer import EVENTS, Described, read
from telephony.testing.quirks import Quirks
from telephony.testing.recorded_parts import (
    BRANCH,
    CSEQ,
    GivenRandom,
    Peer,
    RecordedLines,
    found_in,
    is_response,
    without_challenges,
)
from telephony.testing.threads import PATIENCE
from telephony.trace.comparison import plain
from telephony.trace.events import TraceEvent
from telephony.trace.ladder import call_id_of, label
from telephony.trace.recording import Entry, Recording, event_of

#: What an exchange is made with as its recording says.
_SETTINGS = ("media_timeout", "session_expires", "min_se", "reliable_early_media", "srtp")
#: Inputs come so much earlier than recorded: real timers fire late, simulated ones don't.
EARLY = 0.01
#: How long an input waits for what the server had sent before it on its leg, and for what had happened elsewhere.
PATIENT, IMPATIENT = 35.0, 0.2
#: An outcome that comes no more than this before its recorded moment is kept until then.
MOST_EARLY = 0.05
#: How long a verb may be held back in all (simulated seconds).
MOST_HELD = 3600.0
#: So long a replay goes on after the recording's last entry, at most.
AFTERWARDS = 150.0

_RSEQ = re.compile(rb"(?im)^rseq[ \t]*:[ \t]*([0-9]+)")
_RACK = re.compile(rb"(?im)^(rack[ \t]*:[ \t]*)([0-9]+)")
_TAGS = tuple(
    re.compile(rb"(?im)^(?:" + name + rb")[ \t]*:[^\r\n]*?;[ \t]*tag[ \t]*=[ \t]*([^\s;,]+)")
    for name in (rb"from|f", rb"to|t")
)
_LENGTH = re.compile(rb"(?im)^(content-length|l)([ \t]*:[ \t]*)[0-9]+")
_HOST = re.compile(rb"sips?:(?:[^@\s;>]*@)?([A-Za-z0-9.-]+)(?::([0-9]+))?")
#: Keys that were covered; those of this run have to be keys, too.
_COVERED = re.compile(rb"(?im)(?<=inline:)\*+")


def _seconds(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


#: What a recording may say of its server.
_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "listen": _words,
    "codecs": _words,
    "rtp": lambda value: isinstance(value, list) and len(value) == 2 and all(map(_whole, value)),
    "call_seconds": _seconds,
    "media_timeout": _seconds,
    "session_expires": _whole,
    "min_se": _whole,
    "reliable_early_media": lambda value: isinstance(value, bool),
    "srtp": lambda value: value in ("never", "secure", "always"),
    "advertise": lambda value: value is None or isinstance(value, str),
    "default_from": lambda value: isinstance(value, str),
    "media": lambda value: isinstance(value, str),
    "media_mode": lambda value: value in ("anchored", "direct"),
}


def _checked(server: dict[str, Any]) -> dict[str, Any]:
    """Return what a recording says of its server. Raises `Error` for what no server can be made from."""
    for name, allowed in _ALLOWED.items():
        if name in server and not allowed(server[name]):
            raise Error(f"the recording's first line says {name} = {server[name]!r} of its server, which can't be")
    return server


@attrs.define(eq=False)
class _Step:
    """One recorded entry that the replay waits for, or brings about. ``done``: it has happened, or is given up."""

    entry: Entry
    time: float
    leg: _Leg | None
    data: bytes = b""
    words: str = ""
    number: int = 0
    done: bool = False


@attrs.define(eq=False)
class _Leg:
    """One dialog: what comes on it, and how its names were then and are now."""

    call_id: str
    role: int | None = None
    ours_first: bool = False
    inputs: deque[_Step] = attrs.field(factory=deque)
    outputs: list[_Step] = attrs.field(factory=list)
    names: dict[bytes, bytes] = attrs.field(factory=dict)
    numbers: dict[tuple[bytes, bytes], bytes] = attrs.field(factory=dict)
    rseq: dict[bytes, bytes] = attrs.field(factory=dict)
    late: float = 0.0
    met: bool = False
    theirs: Described | None = None
    ours: Described | None = None
    mouth: Mouth | None = None


class PlayedCall:
    """One recording on a simulation of its own. `run` it once; then `replayed` is what happened this time.

    ``application`` is the file to run. ``debug`` stops in pdb at the first line of ``main``. Raises `Error` for a
    recording that has no beginning any more, and for what the server refuses of an application.
    """

    def __init__(
        self, recording: Recording, application: Path, media: Path | None = None, *, debug: bool = False, seed: int = 1
    ) -> None:
        self.recording, self.challenges = without_challenges(recording)
        head = self.recording.head
        self._server: dict[str, Any] = _checked(head.get("server") or {})
        service: dict[str, Any] = head.get("service") or {}
        if not any("in" in entry or "out" in entry for entry in self.recording.entries):
            raise Error("the recording has no message in it, so there is nothing to play")
        if any("cut" in entry and "in" in entry for entry in self.recording.entries):
            raise Error("a message of the recording was too long to be kept whole, so the call can't be played again")
        self.network = SimulatedNetwork(seed, delay=0.0)
        self._clock = self.network.clock
        self._start = self._clock.seconds()
        self._whole = any("packet" in entry for entry in self.recording.entries)
        self._legs: dict[str, _Leg] = {}
        self._steps: list[_Step] = []
        self._verbs: dict[int, deque[_Step]] = {}
        self._overs: dict[int, float] = {
            entry["over"]: entry["t"] for entry in self.recording.entries if "over" in entry
        }
        self._runs: dict[str, _Leg] = {}  # legs by the Call-ID of this run
        self._seen: set[bytes] = set()
        self._peers: dict[Address, Peer] = {}
        self._rtp: dict[Address, DatagramPort] = {}
        self._held: list[Callable[[], None]] = []
        self._read()
        self._build(service)
        self.hosting = Hosting(
            self.exchange,
            self._clock,
            "replay",
            patience=None if debug else PATIENCE,
            epoch=self.recording.began,
            grace=MOST_HELD,
        )
        extra = service.get("extra_channels", 3)
        self.application: HostedApplication = self.hosting.add(
            application,
            parameters=str(service.get("parameters", "")),
            extra_channels=extra if isinstance(extra, int) else 3,
            match=str(service.get("match") or "*"),
            name=str(service.get("name") or application.stem),
            media=media if media is not None else self._server.get("media"),
            direction=service.get("direction"),
        )
        if debug:
            self._debug()
        board = self.hosting.board
        if head.get("instance"):
            board.instance_id = lambda: str(head["instance"])  # type: ignore[method-assign]

    # -- reading the recording -------------------------------------------------------------------------------------

    def _leg(self, call_id: str) -> _Leg:
        return self._legs.setdefault(call_id, _Leg(call_id))

    def _read(self) -> None:
        roles: dict[int, _Leg] = {}
        for entry in self.recording.entries:
            if "leg" in entry:
                leg = roles[entry["channel"]] = self._leg(entry["leg"])
                leg.role = entry["channel"]
        current: dict[int, _Leg] = {}
        repeated: set[tuple[str, bytes]] = set()
        last: Entry = {}
        for entry in self.recording.entries:
            if "leg" in entry:
                current[entry["channel"]] = self._leg(entry["leg"])
            step: _Step | None = None
            time = float(entry["t"])
            if "in" in entry or "out" in entry:
                data = event_of(entry).data
                leg = self._leg(call_id_of(data) or "")
                if not leg.inputs and not leg.outputs:
                    leg.ours_first = "out" in entry
                step = _Step(entry, time, leg, data, plain(label(data)))
                if "in" in entry:
                    leg.inputs.append(step)
                elif (leg.call_id, data) not in repeated:
                    repeated.add((leg.call_id, data))
                    leg.outputs.append(step)
                else:
                    step = None
            elif "digit" in entry or "packet" in entry or "early" in entry:
                # A key that an INFO brought comes with the INFO.
                by_info = "digit" in entry and str(last.get("in", "")).startswith("INFO ")
                leg_of = current.get(entry["channel"]) or roles.get(entry["channel"])
                if leg_of is not None and not by_info and not ("digit" in entry and self._whole):
                    step = _Step(entry, time, leg_of)
                    leg_of.inputs.append(step)
            elif "verb" in entry:
                step = _Step(entry, time, None, words=entry["name"])
                self._verbs.setdefault(entry["channel"], deque()).append(step)
            if step is not None:
                step.number = len(self._steps)
                self._steps.append(step)
            last = entry
        self._effects = [one for one in self._steps if "out" in one.entry or "verb" in one.entry]
        self._causes = [one for one in self._steps if "out" not in one.entry and "verb" not in one.entry]
        for leg in self._legs.values():
            leg.names[leg.call_id.encode()] = leg.call_id.encode()

    # -- building the simulation -----------------------------------------------------------------------------------

    def _build(self, service: dict[str, Any]) -> None:
        events = self.recording.events()
        listeners = [str(one) for one in self._server.get("listen", [])]
        near = dict.fromkeys(event.source if event.sent else event.destination for event in events)
        own = [one[0] for one in near]
        own += [one.partition(":")[2].rpartition(":")[0].strip("[]") for one in listeners]
        addresses = dict.fromkeys(one for one in own if one not in ("", "0.0.0.0", "::"))
        host = self.network.host(*addresses)
        draws = [entry["draw"] for entry in self.recording.entries if "draw" in entry]
        host.random = GivenRandom(f"{self.network.seed}/replay", draws)
        low, high = self._server.get("rtp") or (20000, 49999)
        # The peers first: the server's range of RTP ports may hold theirs, on one machine.
        self._open_peers(events)
        self.exchange = Exchange(
            host,
            advertise=self._server.get("advertise"),
            rtp_ports=(int(low), int(high)),
            call_seconds=self._server.get("call_seconds", 14400),
            max_calls=1000,
            default_from=str(self._server.get("default_from") or ""),
            media="direct" if (service.get("media") or self._server.get("media_mode")) == "direct" else "anchored",
            **{name: self._server[name] for name in _SETTINGS if name in self._server},
        )
        self.exchange.lines = RecordedLines(self.recording)
        if self._server.get("codecs"):
            self.exchange.codecs = tuple(self._server["codecs"])
        for one in listeners or [f"udp:{ip}:{port}" for ip, port in near]:
            kind, _, where = one.partition(":")
            self.exchange.listen(f"{'udp' if kind == 'udp' else 'tcp'}:{where}")
        self.recorder = Recorder(self.exchange, wall=lambda: self.recording.began, director=self._turn)
        self.network.watchers.append(self._sent)

    def _open_peers(self, events: list[TraceEvent]) -> None:
        for event in events:
            far = event.destination if event.sent else event.source
            if far not in self._peers:
                self._peers[far] = Peer(self.network, far, event.transport.upper(), not event.sent)
            if event.sent and not is_response(event.data):
                # What a name led to then, it leads to now.
                named = _HOST.search(event.data)
                if named is not None and not re.fullmatch(rb"[0-9.]+", named[1]):
                    self.network.names.setdefault(named[1].decode().lower(), [far[0]])
        wanted = [tuple(entry["from"]) for entry in self.recording.entries if "packet" in entry]
        for event in events:
            body = event.data.partition(b"\r\n\r\n")[2]
            if not event.sent and body.startswith(b"v=0") and (rtp := read(body).rtp) is not None:
                wanted.append(rtp)
        for address in dict.fromkeys(wanted):
            try:
                host = self.network.host(address[0])
                self._rtp[address] = host.open_datagram_port(address, lambda data, source: None)
            except (OSError, ValueError):
                continue  # an address that is no peer's own: it isn't heard from there

    def _debug(self) -> None:
        import pdb

        main = self.application.service.application.main

        def debugged(*arguments: Any) -> Any:
            return pdb.Pdb().runcall(main, *arguments)

        async def debugged_later(*arguments: Any) -> Any:
            pdb.set_trace()
            return await main(*arguments)

        wrapped = debugged_later if iscoroutinefunction(main) else debugged
        object.__setattr__(self.application.service.application, "main", wrapped)

    # -- running ---------------------------------------------------------------------------------------------------

    @property
    def replayed(self) -> CallRecording | None:
        """What has been recorded this time, None when no call has begun."""
        return next(iter([*self.recorder.live, *self.recorder.recent]), None)

    def run(self) -> None:
        """Play it to its end: until the application has ended and every peer has said what it had to say."""
        if self.recording.head.get("service", {}).get("direction") == "outbound":
            self.application.start(str(self.recording.head.get("outbound_parameters") or ""))
        for leg in self._legs.values():
            self._next(leg)
        last = max(entry["t"] for entry in self.recording.entries)
        try:
            if self.recording.outcome:
                self.network.run_until(lambda: bool(self.application.records), last + AFTERWARDS)
                self._end_of_recording(last)
            else:
                self.network.advance(last + 0.001)
        except NeverHappened:
            return  # it goes on where it had ended then; the comparison says so

    def _end_of_recording(self, last: float) -> None:
        left = self._start + last + EARLY - self._clock.seconds()
        self.network.advance(max(left, 0.0) + 1.0)

    def close(self) -> list[str]:
        """End everything; returns a line for each thread that doesn't end."""
        for leg in self._legs.values():
            if leg.mouth is not None:
                leg.mouth.stop()
        return self.hosting.close()

    def _now(self) -> float:
        return self._clock.seconds() - self._start

    # -- the peers' turns --------------------------------------------------------------------------------------------

    def _next(self, leg: _Leg) -> None:
        """Set the time for a leg's next input."""
        if leg.inputs:
            due = max(leg.inputs[0].time + leg.late - EARLY, 0.0)
            self._clock.callLater(max(0.0, due - self._now()), self._try, leg, leg.inputs[0], self._now())

    def _try(self, leg: _Leg, step: _Step, since: float) -> None:
        """Let an input come, once what had happened before it has."""
        if step.done:
            return
        due = step.time + leg.late
        own = any(not one.done for one in leg.outputs if one.time <= step.time and self._before(one, step))
        if own and self._now() < due + PATIENT:
            self._held.append(partial(self._try, leg, step, since))
            if len(self._held) == 1 or self._now() <= due:
                self._clock.callLater(max(due + PATIENT - self._now(), 0.001), self._try, leg, step, since)
            return
        if own:
            self._give_up(leg)
            return
        elsewhere = any(
            not one.done
            for one in self._effects
            if one.leg is not leg and one.time <= step.time and self._before(one, step)
        )
        if elsewhere and self._now() < due + IMPATIENT:
            self._held.append(partial(self._try, leg, step, since))
            self._clock.callLater(max(due + IMPATIENT - self._now(), 0.001), self._try, leg, step, since)
            return
        leg.inputs.popleft()
        step.done = True
        self._play(leg, step)
        self._next(leg)
        self._look()

    def _before(self, one: _Step, other: _Step) -> bool:
        return one.number < other.number

    def _give_up(self, leg: _Leg) -> None:
        """The server has not done on this leg what it did then: its peer has nothing more to say."""
        for step in (*leg.inputs, *leg.outputs):
            step.done = True
        leg.inputs.clear()
        self._look()

    def _look(self) -> None:
        """Something has happened: whoever waits for it may go on."""
        held, self._held = self._held, []
        for one in held:
            self._clock.callLater(0, one)

    def _play(self, leg: _Leg, step: _Step) -> None:
        entry = step.entry
        if "in" in entry:
            data = self._fitted(leg, step.data)
            self._media_of(leg, step.data)
            self._peers[tuple(entry["from"])].send(data, tuple(entry["to"]))
            if step.data.startswith((b"BYE ", b"CANCEL ")) and leg.mouth is not None:
                leg.mouth.stop()
        elif "digit" in entry:
            channel = self._channel(entry["channel"])
            if channel is not None:
                channel.leg_digit(entry["digit"])
        elif "early" in entry:
            self._speak(leg)
        elif leg.ours is not None and leg.ours.rtp is not None:
            port = self._rtp.get(tuple(entry["from"]))
            if port is not None:
                port.send(base64.b64decode(entry["packet"]), leg.ours.rtp)

    def _channel(self, role: int) -> Any:
        for instance in self.hosting.instances():
            channels: list[Any] = [instance.channel, *instance.channel.ExtraChannel]
            if role < len(channels):
                return channels[role]
        return None

    def _fitted(self, leg: _Leg, data: bytes) -> bytes:
        """Return a recorded message with the names of this run."""
        head, blank, body = data.partition(b"\r\n\r\n")
        for other in (leg, *self._legs.values()):
            for then, now in other.names.items():
                if then != now and len(then) >= 6:
                    head = head.replace(then, now)
        if is_response(data):
            found = CSEQ.search(head)
            if found is not None and (number := leg.numbers.get((found[1], found[2]))) is not None:
                head = head[: found.start(1)] + number + head[found.end(1) :]
        head = _RACK.sub(lambda found: found[1] + leg.rseq.get(found[2], found[2]), head)
        body = _COVERED.sub(lambda found: b"A" * len(found[0]), body)
        head = _LENGTH.sub(lambda found: found[1] + found[2] + str(len(body)).encode(), head)
        return head + blank + body

    # -- the peers' audio --------------------------------------------------------------------------------------------

    def _media_of(self, leg: _Leg, data: bytes) -> None:
        body = data.partition(b"\r\n\r\n")[2]
        if body.startswith(b"v=0"):
            leg.theirs = read(body)
        answered = data.startswith((b"SIP/2.0 200", b"ACK "))
        if leg.mouth is not None:
            self._aim(leg, leg.mouth)
        elif answered and not self._whole:
            self._speak(leg)

    def _speak(self, leg: _Leg) -> None:
        """Let a peer send silence, if its audio came then."""
        if leg.mouth is not None or leg.theirs is None or self._whole:
            return
        counted = [
            entry["rtp"][0] for entry in self.recording.entries if "rtp" in entry and entry["channel"] == leg.role
        ]
        port = None if leg.theirs.rtp is None else self._rtp.get(leg.theirs.rtp)
        if port is None or (counted and not any(counted)):
            return
        leg.mouth = Mouth(self.network.host(port.address[0]), port, port, Quirks(rtcp=False))
        self._aim(leg, leg.mouth)
        leg.mouth.start()

    @staticmethod
    def _aim(leg: _Leg, mouth: Mouth) -> None:
        ours, theirs = leg.ours, leg.theirs
        if ours is None or theirs is None:
            return
        number = next((one for one in ours.formats if ours.names.get(one) in CODECS), None)
        if number is not None:
            mouth.configure(ours.rtp, None, ours.names[number], number)
            mouth.event_type = ours.number(EVENTS)
        mouth.held = theirs.direction in ("recvonly", "inactive") or ours.direction in ("sendonly", "inactive")

    # -- what the server does ----------------------------------------------------------------------------------------

    def _sent(self, event: TraceEvent) -> None:
        """Take a message on the network; the server's are what the peers wait for."""
        near = (event.source[0], event.source[1])
        if near in self._peers or (event.destination not in self._peers and event.transport == "UDP"):
            return
        if near in self._rtp or event.data in self._seen:
            return
        if not event.data.strip() or self._by_peer(event):
            return
        self._seen.add(event.data)
        call_id = call_id_of(event.data) or ""
        leg = self._runs.get(call_id) or self._claim(call_id, event)
        if leg is None:
            return
        words = plain(label(event.data))
        body = event.data.partition(b"\r\n\r\n")[2]
        if body.startswith(b"v=0"):
            leg.ours = read(body)
            if leg.mouth is not None:
                self._aim(leg, leg.mouth)
        step = next((one for one in leg.outputs if not one.done and one.words == words), None)
        if step is None:
            return
        step.done = True
        self._learn(leg, step.data, event.data)
        leg.late = max(0.0, self._now() - step.time)
        if words.startswith(("BYE", "CANCEL")) and leg.mouth is not None:
            leg.mouth.stop()
        self._look()

    def _by_peer(self, event: TraceEvent) -> bool:
        """Tell whether a piece of a stream was written by a peer."""
        addresses = self.exchange.host.addresses  # type: ignore[attr-defined]
        if event.source[0] not in addresses:
            return True
        known = [peer for peer in self._peers.values() if peer.stream is not None]
        transports: list[Any] = [cast(Any, peer.stream).transport for peer in known]
        hosts = [(one.getHost().host, one.getHost().port) for one in transports if one is not None]
        return event.transport != "UDP" and event.source in hosts

    def _claim(self, call_id: str, event: TraceEvent) -> _Leg | None:
        """Return the recorded leg that a dialog of this run stands for: the same one, or the next that we began."""
        leg = self._legs.get(call_id)
        if leg is None or leg.ours_first:
            if not event.data.startswith(b"INVITE "):
                return None
            free = [one for one in self._legs.values() if one.ours_first and not one.met]
            there = [one for one in free if tuple(one.outputs[0].entry["to"]) == event.destination]
            leg = next(iter([*there, *free]), None)
        if leg is not None:
            leg.met = True
            self._runs[call_id] = leg
        return leg

    @staticmethod
    def _learn(leg: _Leg, then: bytes, now: bytes) -> None:
        """Take from a message of this run how the recorded one's names are called now."""
        pairs = [(call_id_of(then) or "", call_id_of(now) or "")]
        for one, other in pairs:
            leg.names[one.encode()] = other.encode()
        patterns = [*_TAGS] if is_response(then) else [BRANCH, *_TAGS]
        for pattern in patterns:
            one_found, other_found = found_in(pattern, then), found_in(pattern, now)
            if one_found and other_found:
                leg.names[one_found] = other_found
        first, second = CSEQ.search(then), CSEQ.search(now)
        if first is not None and second is not None and not is_response(then):
            leg.numbers[first[1], first[2]] = second[1]
            if first[2] == b"INVITE":
                leg.numbers[first[1], b"CANCEL"] = second[1]
        if rseq := found_in(_RSEQ, then):
            leg.rseq[rseq] = found_in(_RSEQ, now) or rseq

    def _turn(self, role: int, name: str, run: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Run a verb: when its recorded moment has come, and what came before it then has come."""
        waiting = self._verbs.get(role)
        if not waiting or waiting[0].words != name:
            self._verbs.pop(role, None)  # it goes another way from here
            for one in waiting or ():
                one.done = True
            self._look()
            return run()
        step = waiting.popleft()
        if self._ready(step):
            return self._begin(step, run)
        inner: list[Deferred[Any]] = []
        outer: Deferred[Any] = Deferred(lambda _: inner[0].cancel() if inner else None)
        deadline = max(self._now(), step.time) + IMPATIENT

        def attempt() -> None:
            if outer.called or inner:
                return
            if not self._ready(step) and self._now() < deadline:
                wait = step.time - self._now()
                self._clock.callLater(wait if wait > 0 else 0.005, attempt)
                return
            inner.append(self._begin(step, run))
            inner[0].chainDeferred(outer)

        self._clock.callLater(max(0.0, step.time - self._now()), attempt)
        return outer

    def _begin(self, step: _Step, run: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        step.done = True
        try:
            return run().addBoth(self._hold, self._overs.get(step.entry["verb"], 0.0))
        finally:
            self._look()

    def _hold(self, result: Any, over: float) -> Any:
        """Keep a verb's outcome until its recorded moment, if that is near: what follows it begins then."""
        wait = over - self._now()
        if not 0.0 < wait <= MOST_EARLY:
            return result
        held: Deferred[Any] = Deferred()
        self._clock.callLater(wait, held.callback, result)
        return held

    def _ready(self, step: _Step) -> bool:
        return self._now() >= step.time - 1e-9 and not any(
            not one.done for one in self._causes if one.time <= step.time and self._before(one, step)
        )
