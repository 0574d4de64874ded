"""What went into each call, kept while it runs and for a while after: the rings behind ``telephony trace`` and replay.

Owns: which recording a message, a verb, a digit or a state belongs to, how many recordings are kept, and what their
head says. Must not know files, sockets or commands; what an entry looks like is `telephony.trace.recording`'s.

One recording is one run of an application with all its channels, or in a script one call of one channel, and the
channels that its verbs name. An `Exchange` without a `Recorder` keeps nothing, and pays a comparison with None a verb.
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

import telephony
from telephony.call.constants import State
from telephony.call.core import ChannelCore
from telephony.call.resources import JobCause
from telephony.errors import Hangup
from telephony.interfaces import Address, Clock, DatagramPort, DatagramReceived, MediaPort, ShortWay
from telephony.randomness import PagedRandom
from telephony.rtp.interfaces import MediaPorts
from telephony.trace.events import TraceEvent
from telephony.trace.ladder import call_id_of
from telephony.trace.recording import (
    MOST_MEDIA_BYTES,
    MOST_WORDS,
    VERSION,
    Entry,
    Kept,
    Recording,
    Ring,
    Way,
    channel_name,
    kept_message,
    line_of,
    over_line,
    read_recording,
    state_line,
    verb_line,
    words_without_secrets,
)

if TYPE_CHECKING:
    from telephony.call.exchange import Exchange

#: INVITEs that belong to no channel yet: most of them are refused, and a few are about to be somebody's.
_MOST_PENDING = 64
#: Dialogs of one recording whose messages are known as its own; a script may place calls for days.
_MOST_DIALOGS = 32
#: Ways of one recording's messages that are kept but once.
_MOST_WAYS = 16
#: Connections with half a message in them, and how long that may be.
_MOST_RESTS, _MOST_REST = 256, 65536

_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,6})", re.IGNORECASE | re.MULTILINE)
_PLACE = re.compile(r" at 0x[0-9a-f]+")

#: Who may hold a verb back until its turn, in a replay: the channel's number, the verb's name, and what runs it.
Director = Callable[[int, str, Callable[[], Deferred[Any]]], Deferred[Any]]


class NotedRandom(PagedRandom):
    """The system's random numbers; those that decide something (a wait, a port) can be noted.

    Keys, tags and everything else that must not be known are drawn as bits or bytes, and those are never noted.
    """

    note: Callable[[int, int, int], None] | None = None

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """Draw a number; `randint` comes here too."""
        low, high = (0, start) if stop is None else (start, stop)
        drawn = super().randrange(low, high, step)
        if self.note is not None:
            self.note(low, high, drawn)
        return drawn


class CallRecording:
    """The recording of one call, as it grows; `Recorder` makes it.

    ``watchers`` get each line as it is added, and b"" at the end.
    """

    __slots__ = (
        "_clock",
        "_director",
        "_failures",
        "_media",
        "_said",
        "_server",
        "_start",
        "_verbs",
        "_ways",
        "began",
        "call_ids",
        "facts",
        "hosted",
        "open",
        "outcome",
        "over",
        "ring",
        "roles",
        "watchers",
    )

    def __init__(
        self, clock: Clock, began: float, server: Callable[[], dict[str, Any]], media: bool, director: Director | None
    ) -> None:
        self._clock = clock
        self._start = clock.seconds()
        self._server = server
        self._media = Ring(MOST_MEDIA_BYTES, opening=False) if media else None
        self._director = director
        self._verbs = 0
        self._said: dict[int, str] = {}
        self._ways: dict[Way, Way] = {}
        self._failures = 0
        self.ring = Ring()
        self.began = began
        self.call_ids: list[str] = []
        self.roles: dict[str, int] = {}
        self.facts: dict[str, Any] = {}
        """What the switchboard knows: the service, the instance."""
        self.hosted = False
        self.open = 0
        """How many of its channels have a call now."""
        self.over = False
        self.outcome: dict[str, Any] | None = None
        self.watchers: list[Callable[[bytes], None]] = []

    # -- what is kept --------------------------------------------------------------------------------------------

    @property
    def failed(self) -> bool:
        """Whether a verb has failed."""
        return self._failures > 0

    def add(self, entry: Entry) -> None:
        """Add an entry; its time is now."""
        self._keep(line_of({"t": self._now()} | entry))

    def _keep(self, kept: Kept) -> None:
        self.ring.add(kept)
        if self.watchers:
            line = kept if isinstance(kept, bytes) else kept.line()
            for watcher in tuple(self.watchers):
                watcher(line)

    def message(self, event: TraceEvent, data: bytes) -> None:
        """Add a message that passed."""
        way = (event.transport, event.source, event.destination, event.sent)
        if len(self._ways) < _MOST_WAYS:
            # A call has a handful of them and many messages.
            way = self._ways.setdefault(way, way)
        self._keep(kept_message(self._now(), way, data))

    def role(self, channel: ChannelCore) -> int:
        """Return a channel's number; a new one gets the next."""
        return self.roles.setdefault(channel.id, len(self.roles))

    def stepped(self, channel: ChannelCore, new: State) -> None:
        """Add a channel's new state."""
        cause = str(channel.cause()) if new is State.IDLE else ""
        self._keep(state_line(self._now(), self.role(channel), str(new), cause))

    def verb(self, subject: Any, method: Callable[..., Deferred[Any]], args: Any, kwargs: Any) -> Deferred[Any]:
        """Run a verb and note it, with what comes of it."""
        channel: ChannelCore = subject if isinstance(subject, ChannelCore) else subject._channel
        owner, _, bare = method.__qualname__.rpartition(".")
        name = bare if subject is channel else f"{type(subject).__name__ if owner == 'Job' else owner}.{bare}"
        for one in (*args, *kwargs.values()):
            if isinstance(one, ChannelCore) and one.recording is None:
                one.recording = self
        role = self.role(channel)
        if name == "hang_up" and channel.state() is State.IDLE:
            return maybeDeferred(method, subject, *args, **kwargs)  # the end of every main; it changes nothing

        def run() -> Deferred[Any]:
            self._verbs += 1
            said = [self._words(one) for one in args] + [f"{key}={self._words(one)}" for key, one in kwargs.items()]
            self._keep(verb_line(self._now(), role, self._verbs, name, _short(", ".join(said))))
            return maybeDeferred(method, subject, *args, **kwargs).addBoth(self._ended, role, self._verbs, name)

        return run() if self._director is None else self._director(role, name, run)

    def _ended(self, result: Any, role: int, number: int, name: str) -> Any:
        if isinstance(result, Failure):
            error = result.value
            cancelled = isinstance(error, CancelledError)
            text = "cancelled" if cancelled else f"{type(error).__name__}: {error}"
            told = _short(words_without_secrets(text))
            self._keep(over_line(self._now(), role, number, name, "raised", told))
            if not cancelled and not isinstance(error, Hangup):
                self._failures += 1
        else:
            self._keep(over_line(self._now(), role, number, name, "is", _short(self._words(result))))
            if result is JobCause.ERROR:
                self._failures += 1
        return result

    def _words(self, value: object) -> str:
        if isinstance(value, ChannelCore):
            return channel_name(self.role(value))
        if isinstance(value, Enum):
            return value.name
        return words_without_secrets(_PLACE.sub("", repr(value)))

    def audio(self, channel: ChannelCore) -> None:
        """Add what a leg's audio is now, where that is new."""
        leg, role = channel.leg, self.role(channel)
        agreed = None if leg is None else leg.agreed
        if agreed is None:
            return
        way = {(True, True): "both ways", (True, False): "to it only", (False, True): "from it only"}
        where = "" if agreed.remote_rtp is None else f" with {agreed.remote_rtp[0]}:{agreed.remote_rtp[1]}"
        words = f"{agreed.codec} {way.get((agreed.send, agreed.receive), 'held')}{where}"
        if channel.Details.media == "direct":
            words += ", directly: none of it comes by here"
        elif channel.Details.media_reason:
            words += f"; not directly: {channel.Details.media_reason}"
        if self._said.get(role) != words:
            self._said[role] = words
            self.add({"channel": role, "media": words})

    def packet(self, channel: ChannelCore, data: bytes, source: Address, destination: Address) -> None:
        """Add a packet of RTP that came."""
        if self._media is not None:
            entry: Entry = {"t": self._now(), "channel": self.role(channel), "packet": b64encode(data).decode()}
            self._media.add(line_of(entry | {"from": list(source), "to": list(destination)}))

    def _now(self) -> float:
        return float(round(self._clock.seconds() - self._start, 6))

    # -- what is told --------------------------------------------------------------------------------------------

    @property
    def call_id(self) -> str:
        """The Call-ID of its first dialog, "" before that."""
        return self.call_ids[0] if self.call_ids else ""

    def head(self) -> dict[str, Any]:
        """Return the first line's object."""
        head: dict[str, Any] = {"telephony": "recording", "version": VERSION, "by": telephony.__version__}
        head |= {"call": self.call_id, "began": round(self.began, 3), "dropped": self.ring.dropped}
        if self._media is not None:
            head["packets dropped"] = self._media.dropped
        return head | {"server": self._server()} | self.facts | {"outcome": self.outcome}

    def lines(self) -> list[bytes]:
        """Return the file's lines so far."""
        return [line_of(self.head()), *self.ring.lines(), *([] if self._media is None else self._media.lines())]

    def recording(self) -> Recording:
        """Return what there is so far, as it would be read back."""
        return read_recording(b"\n".join(self.lines()).decode(), "this call's recording")

    def summary(self) -> dict[str, Any]:
        """Return a line of a list of calls."""
        return {
            "call": self.call_id,
            "calls": self.call_ids,
            "began": round(self.began, 3),
            "seconds": self._now(),
            "service": self.facts.get("service", {}).get("name", ""),
            "over": self.over,
            "outcome": self.outcome,
            "failed": self.failed,
        }


class Recorder:
    """Records the calls of one exchange, from its making on.

    ``wall`` tells the time of day in seconds since 1970. ``media`` keeps the packets of RTP that come, too. ``calls``
    is how many calls are remembered that are over. ``director`` is for replays.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        wall: Callable[[], float] = time.time,
        media: bool = False,
        calls: int = 100,
        director: Director | None = None,
    ) -> None:
        self.media = media
        self.live: dict[CallRecording, None] = {}
        """The recordings of calls that run, in the order of their beginning."""
        self.recent: deque[CallRecording] = deque()
        """Those that are over, at most ``calls`` of them."""
        self.forgotten = 0
        """How many of those were given up for newer ones."""
        self._calls = calls
        self._wall = wall
        self.clock = exchange.host.clock
        self._server = exchange.settings
        self._director = director
        self._by_call_id: dict[str, CallRecording] = {}
        self._pending: OrderedDict[str, list[tuple[TraceEvent, bytes]]] = OrderedDict()
        self._rests: OrderedDict[tuple[Address, Address], bytes] = OrderedDict()
        self._current: CallRecording | None = None
        self._received = exchange.user_agent.message_received
        exchange.user_agent.message_received = self._message_received  # type: ignore[method-assign]
        if hasattr(exchange.host.random, "note"):
            exchange.host.random.note = self._drawn
        exchange.record_by(self)

    def find(self, call_id: str) -> CallRecording | None:
        """Return the recording that has a dialog with this Call-ID, live or remembered."""
        return self._by_call_id.get(call_id)

    # -- told by the exchange and the switchboard ------------------------------------------------------------------

    def traced(self, event: TraceEvent) -> None:
        """Take a message, or a piece of a stream."""
        for data in self._messages(event):
            call_id = call_id_of(data) or ""
            recording = self._by_call_id.get(call_id)
            if not event.sent:
                self._current = recording
            if recording is not None:
                recording.message(event, data)
            elif data.startswith(b"INVITE "):
                self._pending.setdefault(call_id, []).append((event, data))
                while len(self._pending) > _MOST_PENDING or len(self._pending[call_id]) > 4:
                    self._pending.popitem(last=False)
                    if call_id not in self._pending:
                        break

    def entered(self, channel: ChannelCore) -> None:
        """A channel has a call from now on."""
        recording = channel.recording
        if recording is None or recording.over:
            recording = channel.recording = self._begin()
        recording.open += 1
        self._watch(channel, recording)
        if channel.Details.call_id:
            self.placed(channel, channel.Details.call_id)
            self._current = recording

    def placed(self, channel: ChannelCore, call_id: str) -> None:
        """A channel's call has a dialog by this Call-ID."""
        recording = channel.recording
        if recording is None:
            return
        recording.call_ids.append(call_id)
        self._by_call_id[call_id] = recording
        while len(recording.call_ids) > _MOST_DIALOGS:
            # The first one is what the call is known by.
            self._by_call_id.pop(recording.call_ids.pop(1), None)
        # Of several INVITEs before there was a call (a challenge, a repetition) the last one made it.
        for event, data in self._pending.pop(call_id, [])[-1:]:
            recording.message(event, data)
        recording.add({"channel": recording.role(channel), "leg": call_id})

    def left(self, channel: ChannelCore) -> None:
        """A channel's call is over."""
        recording = channel.recording
        if recording is not None:
            recording.open -= 1
            if not recording.open and not recording.hosted:
                self._over(recording)

    def hosted(self, channel: ChannelCore, facts: dict[str, Any]) -> None:
        """An application gets this channel and those in its ``ExtraChannel``; ``facts`` go into the head."""
        recording = channel.recording
        if recording is None or recording.over:
            recording = channel.recording = self._begin()
        recording.hosted = True
        recording.facts = facts
        self._watch(channel, recording)
        for extra in channel.ExtraChannel:
            extra.recording = recording
            self._watch(extra, recording)

    def ended(self, channel: ChannelCore, outcome: dict[str, Any]) -> CallRecording | None:
        """The application of this primary channel has ended; returns its recording."""
        recording = channel.recording
        if recording is not None and not recording.over:
            recording.outcome = outcome
            self._over(recording)
        return recording

    @staticmethod
    def tapped(pair: MediaPorts, leg: Any) -> TappedPorts:
        """Return a leg's pair of ports such that its packets are recorded."""
        return TappedPorts(pair, leg)

    # -- inside --------------------------------------------------------------------------------------------------

    def _begin(self) -> CallRecording:
        recording = CallRecording(self.clock, self._wall(), self._server, self.media, self._director)
        self.live[recording] = None
        return recording

    def _watch(self, channel: ChannelCore, recording: CallRecording) -> None:
        recording.role(channel)
        if _stepped not in channel.observers:
            channel.observers.append(_stepped)

    def _over(self, recording: CallRecording) -> None:
        if recording.over:
            return
        recording.over = True
        for watcher in tuple(recording.watchers):
            watcher(b"")
        self.live.pop(recording, None)
        self.recent.append(recording)
        while len(self.recent) > self._calls:
            self.forgotten += 1
            for call_id in (gone := self.recent.popleft()).call_ids:
                if self._by_call_id.get(call_id) is gone:
                    del self._by_call_id[call_id]

    def _message_received(self, message: Any, flow: Any) -> None:
        try:
            self._received(message, flow)
        finally:
            self._current = None

    def _drawn(self, low: int, high: int, drawn: int) -> None:
        if self._current is not None:
            self._current.add({"draw": [low, high, drawn]})

    def _messages(self, event: TraceEvent) -> Iterator[bytes]:
        """Cut a piece of a stream into its messages, once they are complete."""
        if event.transport.upper() == "UDP" or event.sent:
            yield event.data
            return
        way = (event.source, event.destination)
        data = self._rests.pop(way, b"") + event.data
        while data := data.lstrip(b"\r\n"):
            end = data.find(b"\r\n\r\n")
            length = _LENGTH.search(data, 0, end) if end >= 0 else None
            size = end + 4 + (int(length[1]) if length else 0)
            if end < 0 or size > len(data):
                if len(data) < _MOST_REST:
                    self._rests[way] = data
                    while len(self._rests) > _MOST_RESTS:
                        self._rests.popitem(last=False)
                return
            yield data[:size]
            data = data[size:]


class TappedPorts:
    """A pair of RTP ports whose incoming packets are recorded on their way."""

    __slots__ = ("_leg", "_on_rtp", "_pair")

    def __init__(self, pair: MediaPorts, leg: Any) -> None:
        self._pair = pair
        self._leg = leg
        self._on_rtp: DatagramReceived | None = None

    @property
    def address(self) -> Address:
        """Where RTP is received."""
        return self._pair.address

    @property
    def rtp(self) -> MediaPort:
        """The port for RTP."""
        return self._pair.rtp

    @property
    def rtcp(self) -> DatagramPort:
        """The port for RTCP."""
        return self._pair.rtcp

    def receive(self, on_rtp: DatagramReceived, on_rtcp: DatagramReceived) -> None:
        """Call these with each datagram from now on."""
        self._on_rtp = on_rtp
        self._pair.receive(self._came, on_rtcp)

    def shorten(self, short: ShortWay | None, peer: Address = ("", 0), alone: bool = False) -> bool:
        """Let no packet pass unseen."""
        return short is None

    def close(self) -> None:
        """Give the ports back."""
        self._leg = self._on_rtp = None
        self._pair.close()

    def _came(self, data: bytes, source: Address) -> None:
        owner = None if self._leg is None else self._leg.owner
        if owner is not None and owner.recording is not None:
            owner.recording.packet(owner, data, source, self.address)
        if self._on_rtp is not None:
            self._on_rtp(data, source)


def _stepped(channel: ChannelCore, old: State, new: State) -> None:
    if channel.recording is not None:
        channel.recording.stepped(channel, new)


def _short(text: str) -> str:
    return text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"
