"""``telephony replay``: a recorded call, run again in simulated time, and compared with what was recorded.

Owns: finding the file and the application, what is said of the outcome, and the exit status. Must not be imported by
anything but the command: it uses the test kit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from telephony.errors import Error
from telephony.testing.played import PlayedCall
from telephony.testing.written import write_test
from telephony.trace.comparison import beside, first_difference
from telephony.trace.page import say as visibly
from telephony.trace.recording import Recording, read_recording

SAME, DIFFERENT, UNUSABLE = 0, 1, 2


def load(path: Path) -> Recording:
    """Read a recording. Raises `Error`, one sentence that names the file and the line."""
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise Error(f"{path} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Error(f"{path}, line {line}: is no UTF-8 text") from error
    return read_recording(text, str(path))


def application_of(recording: Recording, named: Path | None) -> Path:
    """Return the application file to run. Raises `Error` when there is none."""
    if named is not None:
        return named.absolute()
    service = recording.head.get("service") or {}
    told = service.get("application")
    if not isinstance(told, str) or not told:
        raise Error("the recording names no application, as of a call that a script had; give one with --app FILE")
    path = Path(told)
    if not path.is_file():
        raise Error(f"the recording's application {path} is not there; give the file with --app FILE")
    return path


def main(
    path: Path,
    *,
    application: Path | None = None,
    media: Path | None = None,
    debug: bool = False,
    as_test: bool = False,
    out: Path | None = None,
    say: Callable[[str], object] = visibly,
) -> int:
    """Run the command; returns its exit status: 0 the same, 1 different, 2 nothing could be run."""
    try:
        recording = load(path)
        file = application_of(recording, application)
        if as_test:
            return _write(recording, file, media, out, say)
        return replay(recording, file, media, debug=debug, say=say)
    except Error as error:
        sys.stderr.write(f"{error}\n")
        return UNUSABLE


def _write(recording: Recording, file: Path, media: Path | None, out: Path | None, say: Callable[[str], object]) -> int:
    text = write_test(recording, file, media, beside=Path.cwd() if out is None else out.absolute().parent)
    if out is None:
        say(text.rstrip())
        return SAME
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Error(f"{out} can't be written: {error.strerror or error}") from error
    module = out.stem
    say(f"{out} is a test of this call; run it there with: python -m twisted.trial {module}")
    return SAME


def replay(
    recording: Recording, file: Path, media: Path | None, *, debug: bool = False, say: Callable[[str], object] = visibly
) -> int:
    """Play a recording and say what came out; returns the exit status. Raises `Error` when it can't be played."""
    began = datetime.fromtimestamp(recording.began, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    say(f"The call {recording.call_id or '(without a Call-ID)'} of {began}, with {file}")
    if recording.dropped:
        count = recording.dropped
        entries = "entry has" if count == 1 else "entries have"
        say(
            f"The recording was full: the {count} oldest {entries} been dropped, between its opening and what follows; "
            "what hung on them can go another way."
        )
    try:
        played = PlayedCall(recording, file, media, debug=debug)
    except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        # Each line is well formed, and still no server can be made of the first one, nor a peer of an entry.
        raise Error(
            f"the recording can't be played: what it says of its server or its peers is no use: {error}"
        ) from error
    try:
        played.run()
        kept = played.replayed
        if kept is None:
            say("Nobody took the call this time, so there is nothing to show.")
            return DIFFERENT
        again = kept.recording()
    finally:
        left = played.close()
    if played.challenges:
        one = "1 request that was" if played.challenges == 1 else f"{played.challenges} requests that were"
        say(f"{one} challenged and sent again is played without the challenge.")
    if not recording.outcome:
        last = max((entry["t"] for entry in recording.entries), default=0.0)
        again.entries = [entry for entry in again.entries if entry["t"] <= last]
        again.head["outcome"] = None
        say("The call was still running when it was saved: only what happened until then is compared.")
    say(beside(played.recording, again).rstrip())
    for line in left:
        say(f"It does not end: {line}")
    difference = first_difference(played.recording, again)
    if difference is not None:
        say(f"It goes another way {difference}.")
        return DIFFERENT
    say(f"It went the same way{_ending(again)}.")
    return SAME


def _ending(recording: Recording) -> str:
    outcome = recording.outcome
    if not outcome:
        return ""
    fault = f", {outcome['fault']}" if outcome.get("fault") else ""
    return f": return code {outcome.get('return_code')}{fault}"
