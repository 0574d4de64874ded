"""Application data records: one JSON line for each run of an application (``api.md`` section 2).

Owns: what a record says, and getting it onto the disk in order without keeping the loop. Must not know instances.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from telephony.interfaces import DelayedCall, Host

#: Records that wait for the disk; beyond that the oldest is dropped and counted.
PENDING_LIMIT = 10_000
#: Seconds between two batches.
PAUSE = 0.1


class ReturnCode(IntEnum):
    """The return codes that the server gives; 0 and above are success, -100 and below are the author's own."""

    NO_INTEGER = -1
    CALLER_GONE = -2
    NO_SUCH_APPLICATION = -3
    FILE_NOT_VALID = -4
    RESERVED_VALUE = -5
    WRONG_DIRECTION = -6
    SERVER_FAULT = -9


def judge(value: object) -> int:
    """Return the return code for what ``main`` returned."""
    if not isinstance(value, int):
        return ReturnCode.NO_INTEGER
    return ReturnCode.RESERVED_VALUE if -100 < value < 0 else int(value)


@attrs.frozen(kw_only=True)
class Record:
    """One run of an application. ``start`` is seconds since 1970; ``verb`` is what one left behind was stuck in.

    ``direct_seconds`` is for how long the primary call's audio has not come by here (``media = "direct"``).
    """

    direction: str
    application: str
    instance_id: str
    start: float
    seconds: float
    return_code: int
    caller: str
    application_parameters: str
    outbound_parameters: str = ""
    service: str = ""
    version: str = ""
    verb: str | None = None
    direct_seconds: float = 0.0

    def to_json(self) -> str:
        """Return the record as one line; ``start`` in ISO 8601, UTC, to the millisecond."""
        told: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
        told["start"] = (
            datetime.fromtimestamp(self.start, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        )
        told["seconds"] = round(self.seconds, 3)
        told["direct_seconds"] = round(self.direct_seconds, 3)
        return json.dumps(told, ensure_ascii=False)


#: Flat: `attrs.asdict` would look into every value.
_FIELDS = tuple(one.name for one in attrs.fields(Record))


class RecordFile:
    """Appends records to a file, in a thread of the host's, one batch at a time and in order.

    After a batch the next one waits `PAUSE`: to hand work to a thread costs as much as a third of a call does.
    ``dropped`` counts records lost because the disk kept no pace or refused them.
    """

    __slots__ = ("_flushed", "_host", "_log", "_not_before", "_path", "_pause", "_pending", "_writing", "dropped")

    def __init__(self, host: Host, path: Path) -> None:
        self._host = host
        self._path = path
        self._pending: deque[Record] = deque()
        self._writing = False
        self._not_before = 0.0
        self._pause: DelayedCall | None = None
        self._flushed: list[Deferred[None]] = []
        self._log = Logger()
        self.dropped = 0

    def write(self, record: Record) -> None:
        """Have a record written soon."""
        if len(self._pending) >= PENDING_LIMIT:
            self._pending.popleft()
            self.dropped += 1
        self._pending.append(record)
        self._next()

    def flush(self) -> Deferred[None]:
        """Fire when everything given so far is on disk, or was dropped."""
        if not self._writing and not self._pending:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._flushed.append(done)
        self._next()
        return done

    def _next(self) -> None:
        if self._writing:
            return
        if not self._pending:
            flushed, self._flushed = self._flushed, []
            for done in flushed:
                done.callback(None)
            return
        early = self._not_before - self._host.clock.seconds()
        if early > 0 and not self._flushed:
            if self._pause is None:
                self._pause = self._host.clock.callLater(early, self._go_on)
            return
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        batch = list(self._pending)
        self._pending.clear()
        self._writing = True
        write: Callable[[], None] = lambda: append_lines(self._path, [one.to_json() for one in batch])  # noqa: E731
        self._host.run_in_thread(write).addErrback(self._refused, batch).addBoth(self._written)

    def _go_on(self) -> None:
        self._pause = None
        self._not_before = 0.0
        self._next()

    def _refused(self, failure: Failure, batch: list[Record]) -> None:
        self.dropped += len(batch)
        for record in batch:
            # The log is the last place where it can be kept.
            self._log.error("Record lost ({error}): {record}", error=failure.value, record=record.to_json())

    def _written(self, _result: object) -> None:
        self._writing = False
        self._not_before = self._host.clock.seconds() + PAUSE
        self._next()


def append_lines(path: Path, lines: list[str]) -> None:
    """Append lines of JSON to a file. Raises OSError."""
    # A caller's address may hold bytes that were never text: they are written as JSON's own escapes.
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write("".join(line + "\n" for line in lines))
