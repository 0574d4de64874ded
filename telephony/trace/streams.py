"""What a trace's media packets amount to: who sent audio to whom, from when to when.

Owns: the few fields of RTP headers that a ladder shows (RFC 3550 5.1, and RFC 5761 4 to tell RTCP). Must not know
sessions, codecs or SDP: it looks for an ``a=rtpmap`` in the messages by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import attrs

from telephony.interfaces import Address
from telephony.trace.events import MediaPacket, Note, TraceEvent
from telephony.trace.ladder import party_at

#: A stream that has been silent for so long has ended; what comes then is a new spell (seconds).
PAUSE = 0.5

_MAP = re.compile(rb"^a=rtpmap:([0-9]{1,3}) ([A-Za-z0-9_.-]{1,40})/", re.MULTILINE)
_STATIC = {0: "PCMU", 8: "PCMA"}


@attrs.define(slots=True)
class Spell:
    """Packets of one RTP stream without a pause: of one payload type, from one address to one other."""

    source: Address
    destination: Address
    ssrc: int
    payload_type: int
    start: float
    end: float
    packets: int = 1


def spells(media: Iterable[MediaPacket]) -> list[Spell]:
    """Cut media packets into spells, ordered by their start; RTCP and what is no RTP are left out."""
    found: list[Spell] = []
    latest: dict[tuple[Address, Address, int, int], Spell] = {}
    for time, source, destination, data in media:
        if len(data) < 12 or data[0] >> 6 != 2 or 192 <= data[1] <= 223:
            continue
        key = (source, destination, int.from_bytes(data[8:12], "big"), data[1] & 0x7F)
        spell = latest.get(key)
        if spell is None or time - spell.end >= PAUSE:
            spell = latest[key] = Spell(*key, time, time, 0)
            found.append(spell)
        spell.end = time
        spell.packets += 1
    return found


def payload_names(events: Iterable[TraceEvent]) -> dict[int, str]:
    """Return what the messages call their payload types; one that is called by two names has none."""
    called: dict[int, set[str]] = {number: {name} for number, name in _STATIC.items()}
    for event in events:
        for number, name in _MAP.findall(event.data):
            called.setdefault(int(number), set()).add(name.decode())
    return {number: names.pop() for number, names in called.items() if len(names) == 1}


def in_words(payload_type: int, names: Mapping[int, str]) -> str:
    """Return a payload type as people call it."""
    return names.get(payload_type) or f"payload type {payload_type}"


def media_notes(
    media: Iterable[MediaPacket], events: Iterable[TraceEvent], names: Mapping[Address, str], *, whole: bool = True
) -> list[Note]:
    """Return notes for a ladder: where each spell of audio begins, and where it has ended.

    Without ``whole`` the trace has lost its first packets, and nothing is said of beginnings that may lie before it.
    """
    kept = list(media)
    known = payload_names(events)
    notes: list[Note] = []
    for spell in spells(kept):
        words = f"{in_words(spell.payload_type, known)} to {party_at(spell.destination, names)}"
        party = party_at(spell.source, names)
        if whole or spell.start - kept[0][0] >= PAUSE:
            notes.append((spell.start, party, f"{words} begins"))
        if kept[-1][0] - spell.end >= PAUSE:
            notes.append((spell.end, party, f"{words} ends"))
    return notes
