"""Two recordings of what should be one call: whether they went the same way, where not, and both in one ladder.

Owns: what counts as the same. Must not know how a call is played again, nor clocks.

The same are: what the server sent on each leg, in its order (method or status and what its SDP says of the direction,
without numbers, tags and repetitions), the states of each channel, the verbs with their arguments and what came of
them, and how the application ended. When things happened is shown, and not compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

import attrs

from telephony.trace.ladder import Drawing, call_id_of, label, party_at, rows
from telephony.trace.recording import Recording, channel_name, words_of

_COUNT = re.compile(r"(?<=audio over: ).*")
_NUMBER = re.compile(r"(?<=[A-Z]) [0-9]+\b")


@attrs.frozen
class Difference:
    """Where two recordings part: at which second, and what each has there ("" for nothing)."""

    time: float
    where: str
    recorded: str
    replayed: str

    def __str__(self) -> str:
        recorded, replayed = self.recorded or "nothing more", self.replayed or "nothing more"
        return f"at {self.time:.3f} s, {self.where}: recorded was {recorded}, the replay has {replayed}"


#: A line of events of one kind: time and words.
_Track = list[tuple[float, str]]


def plain(words: str) -> str:
    """Return a message's label without what differs from run to run."""
    return _NUMBER.sub("", words.replace(" again", ""))


def tracks(recording: Recording) -> dict[str, _Track]:
    """Return what is compared, by what it is, in words."""
    found: dict[str, _Track] = {}
    legs: dict[str, str] = {}
    names = recording.names()
    seen: set[bytes] = set()
    for event in recording.events():
        call_id = call_id_of(event.data) or ""
        far = event.destination if event.sent else event.source
        leg = legs.setdefault(call_id, f"leg {len(legs) + 1}")
        if event.sent and event.data not in seen:
            seen.add(event.data)
            track = found.setdefault(f"what the server sent on {leg}, to {party_at(far, names)}", [])
            track.append((event.time, plain(label(event.data))))
    verbs: dict[int, tuple[float, str]] = {}
    for entry in recording.entries:
        who = channel_name(entry.get("channel", 0))
        if "state" in entry:
            found.setdefault(f"the states of {who}", []).append((entry["t"], words_of(entry)))
        elif "verb" in entry:
            verbs[entry["verb"]] = entry["t"], words_of(entry)
            found.setdefault(f"the verbs of {who}", []).append((entry["t"], words_of(entry)))
        elif "over" in entry:
            found.setdefault(f"the verbs of {who}", []).append((entry["t"], words_of(entry)))
    if recording.outcome:
        end = max((entry["t"] for entry in recording.entries), default=0.0)
        code = f"return code {recording.outcome.get('return_code')}"
        fault = recording.outcome.get("fault")
        found["the application's end"] = [(end, f"{code}, {fault}" if fault else code)]
    return found


def first_difference(recorded: Recording, replayed: Recording) -> Difference | None:
    """Return the earliest point at which the two part, None when they don't.

    What a full ring has dropped of the recorded one is not asked of the replay.
    """
    since = recorded.entries[1]["t"] if recorded.dropped and len(recorded.entries) > 1 else 0.0
    then = tracks(recorded)
    now = tracks(replayed)
    found: list[Difference] = []
    for where in dict.fromkeys([*then, *now]):
        ours = [one for one in then.get(where, []) if one[0] >= since]
        theirs = [one for one in now.get(where, []) if one[0] >= since]
        for index in range(max(len(ours), len(theirs))):
            one = ours[index] if index < len(ours) else None
            other = theirs[index] if index < len(theirs) else None
            if one is None or other is None or one[1] != other[1]:
                time = (one or other or (0.0, ""))[0]
                found.append(Difference(time, where, one[1] if one else "", other[1] if other else ""))
                break
    return min(found, key=lambda one: one.time, default=None)


def beside(recorded: Recording, replayed: Recording) -> str:
    """Draw both in one ladder, each line with its second in the recording and in the replay.

    A ``-`` marks what only the recording has, a ``+`` what only the replay has.
    """
    names = replayed.names() | recorded.names()
    ours, theirs = list(_lines(recorded, names)), list(_lines(replayed, names))
    drawing = Drawing([(a, b, text) for _, a, b, text in [*ours, *theirs] if a], names)
    lines = ["    recorded    replay   " + drawing.head]

    def draw(mark: str, one: _Line | None, other: _Line | None) -> None:
        then = f"{one[0]:.3f}" if one else ""
        now = f"{other[0]:.3f}" if other else ""
        _, source, destination, text = one or other or (0.0, "", "", "")
        lines.append(f"{mark} {then:>10}{now:>10}  {drawing.line(source, destination, text)}".rstrip())

    match = SequenceMatcher(None, [_key(one) for one in ours], [_key(one) for one in theirs], autojunk=False)
    for kind, a, b, c, d in match.get_opcodes():
        if kind == "equal":
            for one, other in zip(ours[a:b], theirs[c:d], strict=True):
                draw(" ", one, other)
        else:
            for one in ours[a:b]:
                draw("-", one, None)
            for other in theirs[c:d]:
                draw("+", None, other)
    return "\n".join(lines) + "\n"


_Line = tuple[float, str, str, str]


def _key(line: _Line) -> tuple[str, str, str]:
    return line[1], line[2], _COUNT.sub("", plain(line[3]))


def _lines(recording: Recording, names: dict[tuple[str, int], str]) -> Iterator[_Line]:
    arrows = [(row.time, row.source, row.destination, row.words) for row in rows(recording.events(), names)]
    notes = [(time, "", party, text) for time, party, text in recording.notes()]
    yield from sorted([*arrows, *notes], key=lambda one: one[0])
