"""Application data records on disk (api.md section 2): in order, complete, and never in the loop's way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.server import records
from telephony.server.records import Record, RecordFile


class SlowHost:
    """A host whose threads run when told to."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.jobs: list[tuple[Callable[..., Any], Deferred[Any]]] = []

    def run_in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        self.jobs.append((lambda: function(*args), Deferred()))
        return self.jobs[-1][1]

    def work(self) -> None:
        """Do what has been asked for so far, and what that asks for within a second."""
        while self.jobs:
            job, done = self.jobs.pop(0)
            try:
                done.callback(job())
            except OSError as error:
                done.errback(error)
            if not self.jobs:
                self.clock.advance(1.0)


def record(number: int) -> Record:
    """Make a record with text that needs care."""
    return Record(
        direction="inbound",
        application="a",
        instance_id=str(number),
        start=0,
        seconds=1.23456,
        return_code=0,
        caller="sip:Zoë@example.com",
        application_parameters='"quoted"\nline',
    )


class RecordFileTests(SynchronousTestCase):
    """Writing."""

    def setUp(self) -> None:
        self.host = SlowHost()
        self.path = Path(self.mktemp())
        self.file = RecordFile(self.host, self.path)  # type: ignore[arg-type]

    def ids(self) -> list[str]:
        return [json.loads(line)["instance_id"] for line in self.path.read_text("utf-8").splitlines()]

    def test_in_order(self) -> None:
        """Records given while one batch is written make the next, in order."""
        self.file.write(record(1))
        self.file.write(record(2))
        self.assertEqual(len(self.host.jobs), 1)
        flushed = self.file.flush()
        self.assertNoResult(flushed)
        self.host.work()
        self.successResultOf(flushed)
        self.assertEqual(self.ids(), ["1", "2"])
        self.successResultOf(self.file.flush())

    def test_in_batches(self) -> None:
        """Records that come soon after a batch wait for each other, a tenth of a second at most; a flush doesn't."""
        self.file.write(record(1))
        job, done = self.host.jobs.pop()
        done.callback(job())
        self.file.write(record(2))
        self.host.clock.advance(0.09)
        self.file.write(record(3))
        self.assertEqual(self.host.jobs, [])
        self.host.clock.advance(0.02)
        job, done = self.host.jobs.pop()
        done.callback(job())
        self.assertEqual(self.ids(), ["1", "2", "3"])
        self.file.write(record(4))
        flushed = self.file.flush()
        self.host.work()
        self.successResultOf(flushed)
        self.assertEqual((self.ids(), self.host.clock.getDelayedCalls()), (["1", "2", "3", "4"], []))

    def test_appends(self) -> None:
        """What is in the file stays."""
        self.path.write_text('{"instance_id": "0"}\n')
        self.file.write(record(1))
        self.host.work()
        self.assertEqual(self.ids(), ["0", "1"])

    def test_one_line(self) -> None:
        """A record is one line, whatever is in it."""
        text = record(1).to_json()
        self.assertNotIn("\n", text)
        self.assertEqual(json.loads(text)["caller"], "sip:Zoë@example.com")
        self.assertEqual(json.loads(text)["seconds"], 1.235)

    def test_bytes_that_are_no_text(self) -> None:
        """RFC 3261 25.1: a From that isn't UTF-8 is in the record as it came, and costs no other record."""
        odd = attrs.evolve(record(2), caller="sip:zo\udceb@example.com")
        for one in (record(1), odd, record(3)):
            self.file.write(one)
        self.host.work()
        self.assertEqual(self.ids(), ["1", "2", "3"])
        lines = self.path.read_text("utf-8").splitlines()
        self.assertEqual(json.loads(lines[1])["caller"], odd.caller)

    def test_disk_refuses(self) -> None:
        """A record that can't be written is counted and logged whole; the next one is tried."""
        self.path.mkdir()
        self.file.write(record(1))
        self.host.work()
        self.assertEqual(self.file.dropped, 1)
        self.path.rmdir()
        self.file.write(record(2))
        self.host.work()
        self.assertEqual(self.ids(), ["2"])

    def test_bounded(self) -> None:
        """The queue has a limit: the oldest is dropped and counted."""
        self.patch(records, "PENDING_LIMIT", 2)
        for number in range(5):
            self.file.write(record(number))
        self.host.work()
        self.assertEqual((self.ids(), self.file.dropped), (["0", "3", "4"], 2))
