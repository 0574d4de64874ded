"""Recordings of calls that went wrong, written to files: when, under which name, and how many are kept.

Owns: the directory of ``[trace] directory``, and what a switchboard's record says in a recording's head. Must not know
what is in a recording, nor how it is played again.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from telephony.interfaces import DelayedCall, Host
from telephony.server.records import Record, ReturnCode
from telephony.trace.recording import words_without_secrets

if TYPE_CHECKING:
    from telephony.call.recorder import CallRecording
    from telephony.server.instance import Instance

#: A call is written so many seconds after its application has ended: the answer to its BYE belongs to it.
SETTLE = 1.0
_NAME = re.compile(r"[0-9]{8}T[0-9]{6}-[\w.\-]+\.jsonl")

_log = Logger()


def facts_of(instance: Instance, outbound_parameters: str) -> dict[str, Any]:
    """Return what an instance is, for its recording's head; what looks like a password is covered."""
    service = instance.service
    return {
        "service": {
            "name": service.name,
            "application": str(service.application.path),
            "version": service.application.version,
            "direction": service.direction,
            "match": service.match,
            "parameters": words_without_secrets(service.parameters),
            "extra_channels": service.extra_channels,
            "media": service.media,
        },
        "instance": instance.id,
        "outbound_parameters": words_without_secrets(outbound_parameters),
    }


def outcome_of(instance: Instance, record: Record) -> dict[str, Any]:
    """Return how an instance ended, for its recording's head."""
    return {
        "return_code": record.return_code,
        "seconds": round(record.seconds, 3),
        "verb": record.verb,
        "fault": None if instance.fault is None else words_without_secrets(instance.fault),
    }


def went_wrong(recording: CallRecording) -> bool:
    """Tell whether a call is worth a file: a fault of the application or of the server, or a verb that failed.

    That ``main`` ended by `Hangup` is none: so end applications whose callers hang up.
    """
    outcome = recording.outcome or {}
    code = outcome.get("return_code")
    if code == ReturnCode.NO_INTEGER:
        return bool(outcome.get("fault") or outcome.get("verb")) or recording.failed
    return code == ReturnCode.SERVER_FAULT or recording.failed


class RecordingFiles:
    """Writes recordings into a directory, the newest ``keep`` of them. ``directory`` None: none are written."""

    def __init__(self, host: Host, directory: Path | None, keep: int) -> None:
        self.directory = directory
        self._host = host
        self._keep = keep
        self._waiting: dict[CallRecording, DelayedCall] = {}
        self._writing: dict[Deferred[None], None] = {}

    def ended(self, recording: CallRecording) -> None:
        """Take note of a call that is over; it is written soon if it went wrong."""
        if self.directory is not None and went_wrong(recording):
            self._waiting[recording] = self._host.clock.callLater(SETTLE, self._write, recording)

    def flush(self) -> Deferred[None]:
        """Write at once what waits; fires when all of it is on disk, or could not be written, which is logged."""
        for recording, timer in tuple(self._waiting.items()):
            timer.cancel()
            self._write(recording)
        if not self._writing:
            return succeed(None)
        return DeferredList(list(self._writing)).addCallback(lambda _results: None)

    def _write(self, recording: CallRecording) -> None:
        del self._waiting[recording]
        began = datetime.fromtimestamp(recording.began, UTC).strftime("%Y%m%dT%H%M%S")
        who = re.sub(r"[^\w.\-]+", "_", recording.facts.get("service", {}).get("name", "call"))
        assert self.directory is not None
        path = self.directory / f"{began}-{who[:60]}-{recording.facts.get('instance', '')}.jsonl"
        done: Deferred[None] = self._host.run_in_thread(write_recording, path, recording.lines(), self._keep)
        self._writing[done] = None
        done.addCallbacks(partial(self._written, path), partial(self._refused, path))
        done.addBoth(lambda _none: self._writing.pop(done, None))

    @staticmethod
    def _written(path: Path, _none: object) -> None:
        _log.info("A call went wrong; play it again with: telephony replay {path}", path=str(path))

    @staticmethod
    def _refused(path: Path, failure: Failure) -> None:
        _log.error("The recording {path} can't be written: {error}", path=str(path), error=failure.value)


def write_recording(path: Path, lines: list[bytes], keep: int | None = None) -> None:
    """Write a recording for its owner's eyes only; with ``keep``, delete the oldest others. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, b"".join(line + b"\n" for line in lines))
    if keep is not None:
        known = sorted(one for one in path.parent.iterdir() if _NAME.fullmatch(one.name))
        for one in known[: max(0, len(known) - keep)]:
            one.unlink(missing_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Write a file for its owner's eyes only: it says who called whom. Raises OSError."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(data)
