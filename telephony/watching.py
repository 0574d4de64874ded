"""``telephony trace``: what a running server knows of its calls, listed, drawn, followed and saved.

Owns: what the command prints and writes. Must not know how the server keeps it (`telephony.server.tracing`), nor how
things are drawn (`telephony.trace`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from telephony.errors import Error
from telephony.server.recordings import write_private, write_recording
from telephony.server.remote import ask, find_socket
from telephony.trace.ladder import ladder
from telephony.trace.page import page
from telephony.trace.page import say as visibly
from telephony.trace.pcap import capture
from telephony.trace.recording import Recording, read_recording

#: What a recording that is followed is called, should its server send nonsense.
_SOURCE = "the server's answer"


@attrs.frozen
class Wanted:
    """What the command was given."""

    call: str | None
    control: Path | None
    config: Path | None
    follow: bool
    pcap: Path | None
    html: Path | None
    save: Path | None


def main(wanted: Wanted, say: Callable[[str], object] = visibly) -> int:
    """Run the command; returns its exit status: 1 with a sentence on stderr when there is nothing to show."""
    try:
        if wanted.call is None and (wanted.follow or wanted.pcap or wanted.html or wanted.save):
            raise Error("--follow, --pcap, --html and --save are for one call; give its CALL-ID")
        path = find_socket(wanted.control, wanted.config)
        question: dict[str, Any] = {"command": "trace"}
        if wanted.call is None:
            calls, _nothing = ask(path, question)
            for line in listing(calls):
                say(line)
            return 0
        _summary, lines = ask(path, question | {"call": wanted.call, "follow": wanted.follow})
        _show(wanted, lines, say)
    except Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def listing(calls: list[dict[str, Any]]) -> list[str]:
    """Return a line for each call, and one that says what they are."""
    if not calls:
        return ["no calls yet"]
    lines = []
    for one in calls:
        began = datetime.fromtimestamp(float(one["began"]), UTC).strftime("%Y-%m-%d %H:%M:%S")
        outcome = one.get("outcome") or {}
        state = "running"
        if one["over"]:
            code = outcome.get("return_code")
            state = "over" if code is None else f"ended with {code}"
        if outcome.get("fault"):
            state += f", {outcome['fault']}"
        elif one.get("failed"):
            state += ", a verb failed"
        service = one.get("service") or "-"
        lines.append(f"{began}  {one['seconds']:>9.1f} s  {service:<16} {one['call'] or '(no call yet)'}  {state}")
    return lines


def _show(wanted: Wanted, lines: Iterator[str], say: Callable[[str], object]) -> None:
    kept: list[str] = []
    if wanted.follow:
        _follow(kept, lines, say)
    else:
        kept = list(lines)
        recording = read_recording("\n".join(kept), _SOURCE)
        say(drawn(recording).rstrip())
        if recording.dropped:
            say(f"(after the opening, {recording.dropped} older entries have been dropped)")
    recording = read_recording("\n".join(kept), _SOURCE)
    names, notes = recording.names(), recording.notes()
    try:
        if wanted.save is not None:
            write_recording(wanted.save, [line.encode() for line in kept])
            say(f"{wanted.save} is the recording; play it again with: telephony replay {wanted.save}")
        if wanted.pcap is not None:
            data = capture(_walled(recording), _media(recording), names=names, notes=_later(recording, notes))
            write_private(wanted.pcap, data)
        if wanted.html is not None:
            title = f"Call {recording.call_id}"
            shown = page(recording.events(), names, title=title, notes=notes, media=recording.media(), start=0.0)
            write_private(wanted.html, shown.encode())
    except OSError as error:
        raise Error(f"{error.filename or 'the output'} can't be written: {error.strerror or error}") from error


def drawn(recording: Recording) -> str:
    """Return the ladder of a recording, with both legs' states and audio beside the messages."""
    return ladder(recording.events(), recording.names(), notes=recording.notes(), start=0.0)


def _walled(recording: Recording) -> list[Any]:
    """Return the messages with times of day, as captures have them."""
    return [attrs.evolve(event, time=event.time + recording.began) for event in recording.events()]


def _media(recording: Recording) -> list[Any]:
    return [(time + recording.began, *others) for time, *others in recording.media()]


def _later(recording: Recording, notes: list[Any]) -> list[Any]:
    return [(time + recording.began, party, words) for time, party, words in notes]


def _follow(kept: list[str], lines: Iterator[str], say: Callable[[str], object]) -> None:
    """Show a ladder as it grows: what is new of it; all of it again when somebody new takes part."""
    shown: list[str] = []
    for line in lines:
        kept.append(line)
        now = drawn(read_recording("\n".join(kept), _SOURCE)).rstrip("\n").split("\n")
        if len(kept) == 1:
            continue
        if now[: len(shown)] != shown and shown:
            say("")
            shown = []
        for one in now[len(shown) :]:
            say(one)
        sys.stdout.flush()
        shown = now
