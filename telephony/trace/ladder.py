"""The message ladder: who sent what to whom, when, drawn in characters.

Owns: the drawing. Must not know parsers, transactions or calls: it reads first lines, CSeq and a hint of SDP from the
bytes by itself, so that it also shows what nobody could parse.

::

       0.000  alice                            server                           bob
       0.000    |---- INVITE 1 sdp ------------->|                                |
       0.005    |                                |                                |  server: CALL_INCOMING
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import attrs

from telephony.interfaces import Address
from telephony.trace.events import Note as Note
from telephony.trace.events import TraceEvent

#: The left edge is the time; a column is at least and at most so wide.
_TIME = 12
_NARROWEST, _WIDEST = 22, 46
#: Where more is in a trace than a person reads, the middle is left out.
MOST_ROWS = 400

_LENGTH = re.compile(rb"^(?:content-length|l)[ \t]*:[ \t]*([0-9]{1,6})", re.IGNORECASE | re.MULTILINE)
_CSEQ = re.compile(rb"^cseq[ \t]*:[ \t]*([0-9]+)[ \t]+(\S+)", re.IGNORECASE | re.MULTILINE)
_CALL_ID = re.compile(rb"^(?:call-id|i)[ \t]*:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
_DIRECTION = re.compile(rb"^a=(sendonly|recvonly|inactive)\r?$", re.MULTILINE)
_ZERO = re.compile(rb"^c=IN IP(?:4 0\.0\.0\.0|6 ::)\r?$", re.MULTILINE)
_PORT_ZERO = re.compile(rb"^m=audio 0 ", re.MULTILINE)


@attrs.frozen(slots=True)
class Row:
    """One message as a ladder shows it: when, from which party to which, in a few words, and in full.

    ``repeated``: the same bytes went the same way before.
    """

    time: float
    source: str
    destination: str
    words: str
    data: bytes
    event: TraceEvent
    repeated: bool


def messages_in(data: bytes) -> Iterator[bytes]:
    """Cut a piece of a stream into its messages, by their Content-Length; what can't be cut comes as it is."""
    while data:
        end = data.find(b"\r\n\r\n")
        length = _LENGTH.search(data, 0, end) if end >= 0 else None
        size = len(data) if end < 0 else end + 4 + (int(length[1]) if length else len(data))
        yield data[:size]
        data = data[size:]


def call_id_of(data: bytes) -> str | None:
    """Return the Call-ID in a message's bytes."""
    found = _CALL_ID.search(data.partition(b"\r\n\r\n")[0])
    return found[1].decode("utf-8", "replace") if found else None


def label(data: bytes) -> str:
    """Return a message in a few words: ``INVITE 1 sdp sendonly``, ``486 Busy Here (INVITE 1)``, or how much garbage."""
    head, _, body = data.partition(b"\r\n\r\n")
    first = head.partition(b"\r\n")[0].decode("utf-8", "replace")
    cseq = _CSEQ.search(head)
    number = cseq[1].decode() if cseq else ""
    if first[:8].upper() == "SIP/2.0 ":
        words = first[8:].strip()
        if cseq:
            words += f" ({cseq[2].decode('utf-8', 'replace')} {number})"
    elif first.upper().endswith(" SIP/2.0"):
        words = f"{first.split(' ')[0]} {number}".rstrip()
    elif not data.strip(b"\r\n"):
        return "keep-alive"
    else:
        return f"{len(data)} bytes"
    return words + _hint(body)


def _hint(body: bytes) -> str:
    if not body.startswith(b"v=0"):
        return f" +{len(body)} bytes" if body else ""
    hint = " sdp"
    direction = _DIRECTION.search(body)
    if _PORT_ZERO.search(body):
        hint += " port 0"
    elif _ZERO.search(body):
        hint += " c=0"
    elif direction:
        hint += " " + direction[1].decode()
    return hint


def ladder(
    events: Iterable[TraceEvent],
    names: Mapping[Address, str],
    *,
    notes: Iterable[Note] = (),
    call_ids: Iterable[str] | None = None,
    start: float | None = None,
) -> str:
    """Draw events as a ladder, one column a party, one line a message.

    ``names`` says who is at which address and orders the columns; an unknown address belongs to the one named party
    with the same IP address, else it is a party of its own. ``notes`` stand on lines of their own, beside the columns.
    With ``call_ids`` only messages of these calls are drawn. ``start`` is the moment that is shown as 0, by default
    the first event's. A message sent before is marked ``again``, and what the tracer noted stands behind it.
    """
    arrows = [(row.time, row.source, row.destination, row.words) for row in rows(events, names, call_ids)]
    marks = [(time, "", party, text) for time, party, text in notes]
    every = sorted([*arrows, *marks], key=lambda row: row[0])
    if not every:
        return "(no messages)\n"
    drawing = Drawing([(source, destination, text) for _, source, destination, text in arrows], names)
    lines = [" " * _TIME + drawing.head]
    first = every[0][0] if start is None else start
    skipped = len(every) - MOST_ROWS
    for index, (time, source, destination, text) in enumerate(every):
        if skipped > 0 and MOST_ROWS // 2 <= index < MOST_ROWS // 2 + skipped:
            if index == MOST_ROWS // 2:
                lines.append(f"{'…':>{_TIME - 2}}  {skipped} more")
            continue
        lines.append(f"{time - first:{_TIME - 2}.3f}  {drawing.line(source, destination, text)}".rstrip())
    return "\n".join(lines) + "\n"


class Drawing:
    """The columns for a ladder of these arrows (source, destination, words), and a line of it at a time."""

    def __init__(self, arrows: Iterable[tuple[str, str, str]], names: Mapping[Address, str]) -> None:
        drawn = list(arrows)
        self._columns = columns_of(
            [party for source, destination, _ in drawn for party in (source, destination)], names
        )
        self._width = min(_WIDEST, max([_NARROWEST, *(len(text) + 10 for _, _, text in drawn)]))

    @property
    def head(self) -> str:
        """The names above the columns."""
        return "".join(name[: self._width - 2].ljust(self._width) for name in self._columns).rstrip()

    def line(self, source: str, destination: str, text: str) -> str:
        """Draw an arrow; without a ``source`` it is a note of the destination's."""
        if not source:
            return _note(self._columns, self._width, destination, text)
        return _arrow(self._columns, self._width, source, destination, text)


def rows(
    events: Iterable[TraceEvent], names: Mapping[Address, str], call_ids: Iterable[str] | None = None
) -> list[Row]:
    """Return the messages of events in their order; for the arguments see `ladder`."""
    wanted = None if call_ids is None else set(call_ids)
    found: list[Row] = []
    seen: set[tuple[Address, Address, bytes]] = set()
    for event in events:
        source, destination = party_at(event.source, names), party_at(event.destination, names)
        for data in messages_in(event.data):
            if wanted is not None and call_id_of(data) not in wanted:
                continue
            words = label(data)
            key = (event.source, event.destination, data)
            if repeated := key in seen:
                words += " again"
            seen.add(key)
            if event.note:
                words += f" [{event.note}]"
            found.append(Row(event.time, source, destination, words, data, event, repeated))
    return found


def columns_of(parties: Iterable[str], names: Mapping[Address, str]) -> list[str]:
    """Return the parties there are, once each: those of ``names`` in that order, then the others as they come."""
    used = dict.fromkeys(parties)
    return [party for party in dict.fromkeys([*names.values(), *used]) if party in used]


def party_at(address: Address, names: Mapping[Address, str]) -> str:
    """Return the name of who is at an address: its own, or that of the only one with its IP address."""
    name = names.get(address)
    if name is None:
        same = {known for (ip, _), known in names.items() if ip == address[0]}
        name = same.pop() if len(same) == 1 else f"{address[0]}:{address[1]}"
    return name


def _rails(columns: list[str], width: int) -> list[str]:
    return list("".join("  |".ljust(width) for _ in columns))


def _arrow(columns: list[str], width: int, source: str, destination: str, text: str) -> str:
    row = _rails(columns, width)
    begin, end = columns.index(source), columns.index(destination)
    if begin == end:
        return "".join(row).rstrip() + f"  {source} to itself: {text}"
    left, right = min(begin, end) * width + 3, max(begin, end) * width + 2
    room = right - left - 6
    shown = text if len(text) <= room else text[: room - 1] + "…"
    line = f"-- {shown} ".ljust(right - left, "-")
    line = f"{line[:-1]}>" if begin < end else f"<{line[:-1]}"
    row[left:right] = list(line)
    return "".join(row)


def _note(columns: list[str], width: int, party: str, text: str) -> str:
    rails = "".join(_rails(columns, width)).rstrip()
    return f"{rails}  {party}: {text}" if party else f"{rails}  {text}"
