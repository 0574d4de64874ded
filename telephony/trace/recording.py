"""A call's recording: what was put into it, in a ring of bounded size, and as a file that can be played again.

Owns: the format (one JSON object a line), the ring, and reading a file back with a sentence for everything that is
wrong with it. Must not know clocks, calls or files: whoever records gives the time, whoever saves writes the lines.

The first line is the head: ``{"telephony": "recording", "version": 1, …}``, with what the call ran on. Each other line
is one entry; ``t`` is its time in seconds since the recording began, ``channel`` the channel of the application that it
is about (0 is its primary one, 1 the first extra one, and so on):

=================== ================================================================================================
``in``, ``out``     a message that came, or was sent: its bytes as text (what isn't UTF-8 as lone surrogates), with
                    ``by`` (the transport), ``from`` and ``to`` (address and port); ``cut``: how long it really was
``leg``             the Call-ID of a new dialog of the channel's
``state``           the channel's new state, with ``cause`` when it is IDLE
``verb``            a number: the verb ``name`` of the application was called, with ``args`` in words
``over``            that number: the verb has ended, ``is`` its value in words, or ``raised`` what it raised
``digit``           a key that the far end pressed
``media``           what the leg's audio has become, in words
``rtp``             packets received and sent so far, at the end of the leg's audio
``early``           the first packet came before the answer
``draw``            a number drawn at random that something is decided by: how, from what, and what came
``packet``          a packet of RTP that came, in base64, with ``from``; only with ``[trace] replay = "media"``
=================== ================================================================================================

Timers that fire are seen by what they cause: an ``out`` that is a repetition, a ``state``, an ``over``.

No secret gets out: credentials and keys are covered by `telephony.trace.masking`, passwords here.

A message becomes a line when somebody reads it, which hardly ever happens to a call that goes well; until then the ring
holds its bytes.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii as _quoted
from math import isfinite
from typing import Any, Literal

import attrs

from telephony.errors import Error
from telephony.interfaces import Address
from telephony.trace.events import MediaPacket, Note, TraceEvent
from telephony.trace.ladder import call_id_of
from telephony.trace.masking import masked

VERSION = 1
#: The versions that can be read.
VERSIONS = (1,)
#: What a ring may hold, in bytes of memory; and of RTP beside it, where that is kept.
MOST_BYTES = 16 * 1024
MOST_MEDIA_BYTES = 1024 * 1024
#: What a line costs beside its bytes: Python's object and its place in the ring.
_OVERHEAD = 48
#: What a message costs beside its bytes: three of Python's objects and its place in the ring.
_MESSAGE_OVERHEAD = 136
#: No single message takes more of a ring than this.
_MOST_MESSAGE = 6 * 1024
#: No value in words is longer.
MOST_WORDS = 200

Entry = dict[str, Any]
#: For what is in other values; it makes an encoder of C's at each use, which costs more than a whole line.
_encode = json.JSONEncoder(separators=(",", ":")).encode

_IN_URI = r"((?:\bsips?:|\b[a-z]{2,8}://)[^\s:@<>\"/,;]{1,200}:)([^\s:@<>\"/,]{1,200})(?=@)"
_PASSWORD_IN_URI = re.compile(_IN_URI, re.IGNORECASE)
#: In messages only SIP's own URIs are looked for: each message is looked through.
_PASSWORD_IN_URI_BYTES = re.compile(rb"(\b[sS][iI][pP][sS]?:[^\s:@<>\"/,;]{1,200}:)([^\s:@<>\"/,]{1,200})(?=@)")
_ICE = re.compile(rb"(?<=a=ice-pwd:)[!-~]+", re.IGNORECASE)
_SAID = re.compile(
    r"((?:pass(?:word|wd|phrase)?|secret|token|pin|api[_-]?key|credentials?)['\"]?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&'\"]+)",
    re.IGNORECASE,
)


def without_secrets(data: bytes) -> bytes:
    """Return a message with its credentials, keys and passwords covered by asterisks; its length stays."""
    data = masked(data)
    data = _PASSWORD_IN_URI_BYTES.sub(lambda found: found[1] + b"*" * len(found[2]), data)
    return _ICE.sub(lambda found: b"*" * len(found[0]), data) if b"ice-pwd" in data else data


def words_without_secrets(text: str) -> str:
    """Return an application's text with what looks like a password in it covered."""
    return _SAID.sub(lambda found: found[1] + "***", _PASSWORD_IN_URI.sub(r"\1***", text))


def line_of(entry: Entry) -> bytes:
    """Return an entry as a line without its end, in ASCII."""
    return f"{{{','.join([f'{_quoted(key)}:{_written(value)}' for key, value in entry.items()])}}}".encode()


# Each call has these by the dozen, so that their lines are written out: a third of what `line_of` costs.


def state_line(time: float, channel: int, state: str, cause: str = "") -> bytes:
    """Return the line of a channel's new state."""
    told = f',"cause":"{cause}"' if cause else ""
    return f'{{"t":{time!r},"channel":{channel},"state":"{state}"{told}}}'.encode()


def verb_line(time: float, channel: int, number: int, name: str, args: str) -> bytes:
    """Return the line of a verb that was called."""
    said = f'"verb":{number},"name":{_quoted(name)},"args":{_quoted(args)}'
    return f'{{"t":{time!r},"channel":{channel},{said}}}'.encode()


def over_line(time: float, channel: int, number: int, name: str, how: Literal["is", "raised"], told: str) -> bytes:
    """Return the line of a verb's end."""
    said = f'"over":{number},"name":{_quoted(name)},"{how}":{_quoted(told)}'
    return f'{{"t":{time!r},"channel":{channel},{said}}}'.encode()


def _written(value: object) -> str:
    if isinstance(value, str):
        return _quoted(value)
    if type(value) is int or (type(value) is float and isfinite(value)):
        return repr(value)
    return _encode(value)


def message_entry(time: float, event: TraceEvent, data: bytes) -> Entry:
    """Return the entry of one message; secrets are covered, and one that is too long is cut."""
    safe = without_secrets(data)
    entry: Entry = {"t": time, "out" if event.sent else "in": safe[:_MOST_MESSAGE].decode("utf-8", "surrogateescape")}
    if len(safe) > _MOST_MESSAGE:
        entry["cut"] = len(safe)
    return entry | {"by": event.transport, "from": list(event.source), "to": list(event.destination)}


#: By what transport a message passed, from where to where, and whether it was sent.
Way = tuple[str, Address, Address, bool]


class KeptMessage:
    """A message in a ring, as it passed; ``size`` is what it takes in bytes of memory, without the way."""

    __slots__ = ("_data", "_time", "_way")

    def __init__(self, time: float, way: Way, data: bytes) -> None:
        self._time = time
        self._way = way
        self._data = data

    @property
    def size(self) -> int:
        """What it takes in bytes of memory: its own, its time's and what Python adds; ways are shared."""
        return len(self._data) + _MESSAGE_OVERHEAD

    def line(self) -> bytes:
        """Return its line."""
        transport, source, destination, sent = self._way
        return line_of(
            message_entry(self._time, TraceEvent(0.0, source, destination, transport, b"", sent), self._data)
        )


def kept_message(time: float, way: Way, data: bytes) -> Kept:
    """Return a message as a ring takes it; one that is too long is cut at once, and its rest let go."""
    kept = KeptMessage(time, way, data)
    return kept if len(data) <= _MOST_MESSAGE else kept.line()


#: What a ring holds: lines, and messages that become lines when somebody reads them.
Kept = bytes | KeptMessage


class Ring:
    """The entries of one call: at most ``limit`` bytes of memory; what is full drops its oldest.

    The very first entry stays, since without its opening a call can't be played again. ``dropped`` counts.
    """

    __slots__ = ("_kept", "_opening", "dropped", "limit", "size")

    def __init__(self, limit: int = MOST_BYTES, *, opening: bool = True) -> None:
        self.limit = limit
        self.size = 0
        self.dropped = 0
        self._opening: Kept | None = None if opening else b""
        self._kept: deque[Kept] = deque()

    def add(self, kept: Kept) -> None:
        """Keep a line or a message, at the cost of older ones where there is no room."""
        self.size += _size_of(kept)
        if self._opening is None:
            self._opening = kept
            return
        self._kept.append(kept)
        while self.size > self.limit and self._kept:
            self.size -= _size_of(self._kept.popleft())
            self.dropped += 1

    def lines(self) -> list[bytes]:
        """Return what is left, in order."""
        left = [*([self._opening] if self._opening else ()), *self._kept]
        return [one if isinstance(one, bytes) else one.line() for one in left]


def _size_of(kept: Kept) -> int:
    return len(kept) + _OVERHEAD if isinstance(kept, bytes) else kept.size


@attrs.define
class Recording:
    """A recording as it is read back: the head's words, and the entries in the order of time."""

    head: dict[str, Any]
    entries: list[Entry]

    @property
    def call_id(self) -> str:
        """The Call-ID of the first message, or what the head says."""
        return str(self.head.get("call", ""))

    @property
    def began(self) -> float:
        """When it began, in seconds since 1970."""
        return float(self.head.get("began", 0.0))

    @property
    def dropped(self) -> int:
        """How many entries the ring had no room for."""
        return int(self.head.get("dropped", 0))

    @property
    def outcome(self) -> dict[str, Any]:
        """How the application ended; empty while it runs."""
        return self.head.get("outcome") or {}

    def text(self) -> str:
        """Return the file's text."""
        return "".join(line_of(one).decode() + "\n" for one in [self.head, *self.entries])

    # -- to look at ----------------------------------------------------------------------------------------------

    def events(self) -> list[TraceEvent]:
        """Return the messages, for ladders, pages and captures; times are the recording's."""
        found = ((_moment(entry, index), entry) for index, entry in enumerate(self.entries))
        return [attrs.evolve(event_of(entry), time=time) for time, entry in found if "in" in entry or "out" in entry]

    def notes(self) -> list[Note]:
        """Return what stands beside the messages: states, media, digits, verbs."""
        found = ((_moment(entry, index), words_of(entry)) for index, entry in enumerate(self.entries))
        return [(time, "server", words) for time, words in found if words]

    def media(self) -> list[MediaPacket]:
        """Return the packets of RTP that came, where they were kept."""
        import base64

        found = []
        for entry in self.entries:
            if "packet" in entry:
                source, destination = _address(entry["from"]), _address(entry["to"])
                found.append((entry["t"], source, destination, base64.b64decode(entry["packet"])))
        return found

    def call_ids(self) -> list[str]:
        """Return the Call-IDs of its legs, in the order of their first message."""
        found = (call_id_of(event.data) for event in self.events())
        return list(dict.fromkeys(one for one in found if one is not None))

    def names(self) -> dict[Address, str]:
        """Return who is where, ordered as a ladder's columns: who began, the server, the others."""
        return names_of(self.events())


def _moment(entry: Entry, index: int) -> float:
    """Return an entry's time, such that those of one moment keep their order."""
    return float(entry["t"]) + index * 1e-8


def names_of(events: Iterable[TraceEvent]) -> dict[Address, str]:
    """Return who is where: a far end is called what the first request with it says it is, each by another name."""
    peers: dict[Address, str] = {}
    ours: dict[Address, str] = {}
    legs: dict[str, str] = {}
    taken = {"server"}
    for event in events:
        near, far = (event.source, event.destination) if event.sent else (event.destination, event.source)
        ours.setdefault(near, "server")
        leg = call_id_of(event.data) or ""
        if far in peers:
            legs.setdefault(leg, peers[far])
            continue
        name = legs.get(leg)
        if name is None:
            field = b"to|t" if event.sent is (not event.data.startswith(b"SIP/2.0")) else b"from|f"
            # What stands in a display name is nobody's address.
            before = rb'[ \t]*+:(?:"(?:[^"\\\r\n]|\\.)*+"|[^"\r\n])*?'
            found = re.search(rb"(?im)^(?:" + field + rb")" + before + rb"sips?:([^@;>\s]{1,40})@", event.data)
            base = found[1].decode("utf-8", "replace").partition(":")[0] if found else f"{far[0]}:{far[1]}"
            name, number = base, 2
            while name in taken:
                name, number = f"{base} ({number})", number + 1
            taken.add(name)
            legs[leg] = name
        peers[far] = name
    first = list(peers.items())[:1]
    return dict(first) | ours | peers


def event_of(entry: Entry) -> TraceEvent:
    """Return a message's entry as what passed."""
    sent = "out" in entry
    text: str = entry["out"] if sent else entry["in"]
    note = f"cut: {entry['cut']} bytes" if "cut" in entry else ""
    data = text.encode("utf-8", "surrogateescape")
    return TraceEvent(entry["t"], _address(entry["from"]), _address(entry["to"]), entry["by"], data, sent, note)


def channel_name(number: int) -> str:
    """Return what a channel is called in an application."""
    return "channel" if number == 0 else f"ExtraChannel[{number - 1}]"


def words_of(entry: Entry) -> str:
    """Return an entry that is no message in words, "" for what a ladder does not show."""
    who = channel_name(entry.get("channel", 0))
    if "state" in entry:
        cause = entry.get("cause", "NORMAL")
        return f"{who} {entry['state']}" + (f" ({cause})" if cause != "NORMAL" else "")
    if "verb" in entry:
        return f"{who}.{entry['name']}({entry['args']})"
    if "over" in entry:
        told = f"raised {entry['raised']}" if "raised" in entry else entry["is"]
        return f"{who}.{entry['name']}: {told}"
    if "digit" in entry:
        return f"{who} hears key {entry['digit']}"
    if "media" in entry:
        return f"{who} audio {entry['media']}"
    if "rtp" in entry:
        received, sent = entry["rtp"]
        return f"{who} audio over: {received} packets received, {sent} sent"
    if "early" in entry:
        return f"{who} early audio begins"
    return ""


# -- reading a file ------------------------------------------------------------------------------------------------


def _address(value: Any) -> Address:
    host, port = value
    return str(host), int(port)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_address(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and 0 <= value[1] < 65536
    )


_TEXT: Callable[[Any], bool] = lambda value: isinstance(value, str)  # noqa: E731
_WHOLE: Callable[[Any], bool] = lambda value: isinstance(value, int) and not isinstance(value, bool)  # noqa: E731
#: What each kind of entry must have, beside ``t``.
_KINDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "in": {"in": _TEXT, "by": _TEXT, "from": _is_address, "to": _is_address},
    "out": {"out": _TEXT, "by": _TEXT, "from": _is_address, "to": _is_address},
    "leg": {"leg": _TEXT, "channel": _WHOLE},
    "state": {"state": _TEXT, "channel": _WHOLE},
    "verb": {"verb": _WHOLE, "name": _TEXT, "args": _TEXT, "channel": _WHOLE},
    "over": {"over": _WHOLE, "name": _TEXT, "channel": _WHOLE},
    "digit": {"digit": _TEXT, "channel": _WHOLE},
    "media": {"media": _TEXT, "channel": _WHOLE},
    "rtp": {"rtp": lambda value: isinstance(value, list) and len(value) == 2, "channel": _WHOLE},
    "early": {"channel": _WHOLE},
    "draw": {"draw": lambda value: isinstance(value, list) and len(value) == 3},
    "packet": {"packet": _TEXT, "from": _is_address, "to": _is_address, "channel": _WHOLE},
}


def read_recording(text: str, source: str) -> Recording:
    """Read a file's text. Raises `Error`: one sentence with the line that is wrong, and what is allowed."""
    lines = text.splitlines()
    if not lines:
        raise Error(f"{source} is empty; a recording begins with a line that says what it is")
    head = _object(lines[0], f"{source}, line 1")
    if head.get("telephony") != "recording":
        raise Error(f'{source}, line 1: is no recording of a call; it begins with {{"telephony": "recording", …}}')
    if head.get("version") not in VERSIONS:
        allowed = ", ".join(str(one) for one in VERSIONS)
        raise Error(f"{source}, line 1: version {head.get('version')!r} can't be read; allowed: {allowed}")
    for name, kind in (("server", dict), ("service", dict), ("outcome", dict)):
        if head.get(name) is not None and not isinstance(head[name], kind):
            raise Error(f"{source}, line 1: {name!r} is {head[name]!r}; it must be an object")
    for name in ("began", "dropped"):
        if name in head and not _number(head[name]):
            raise Error(f"{source}, line 1: {name!r} is {head[name]!r}; it must be a number")
    entries = []
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            where = f"{source}, line {number}"
            entries.append(_entry(_object(line, where), where))
    return Recording(head, sorted(entries, key=lambda entry: float(entry["t"])))


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Error(f"{where}: is no JSON ({error})") from error
    if not isinstance(found, dict):
        raise Error(f"{where}: is no JSON object; each line of a recording is one")
    return found


def _entry(entry: Entry, where: str) -> Entry:
    time = entry.get("t")
    if not _number(time) or not 0 <= float(time or 0) < 1e9:
        raise Error(f"{where}: 't' is {time!r}; each entry has its time there, seconds of 0 or more")
    kind = next((one for one in _KINDS if one in entry), None)
    if kind is None:
        raise Error(f"{where}: is of no kind that is known; allowed: {', '.join(_KINDS)}")
    for name, allowed in _KINDS[kind].items():
        if name not in entry:
            raise Error(f"{where}: {name!r} is missing; {kind!r} needs {', '.join(_KINDS[kind])}")
        if not allowed(entry[name]):
            raise Error(f"{where}: {name!r} is {str(entry[name])[:80]!r}, which is not allowed there")
    return entry
