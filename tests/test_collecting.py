"""When garbage is looked for (issue 5: the collector governed, no cycles per call)."""

from __future__ import annotations

import gc
import re
import sys
from collections.abc import Callable
from typing import Any
from weakref import ref

from twisted.trial.unittest import SynchronousTestCase

from telephony import collecting
from telephony.collecting import EVERY, SETTLE, Governor
from telephony.testing.clock import SimulatedClock
from tests.counts import workloads


class Circle:
    """Garbage that only the collector can free."""

    def __init__(self) -> None:
        self.me = self


class GovernorTests(SynchronousTestCase):
    """`telephony.collecting.Governor`."""

    def setUp(self) -> None:
        self.clock = SimulatedClock()
        self.quiet = False
        self.before = gc.get_threshold()
        self.governor = Governor(self.clock, lambda: self.quiet)
        self.governor.start()
        self.addCleanup(self.governor.stop)

    def test_not_amid_calls(self) -> None:
        """No full collection while calls are up; as soon as it is quiet there is one, and one only."""
        self.clock.advance(10 * EVERY)
        self.assertEqual(self.governor.full, 0)
        gc.collect(0)
        self.quiet = True
        self.clock.advance(EVERY)
        self.assertEqual(self.governor.full, 1)
        self.clock.advance(3 * EVERY)
        self.assertEqual(self.governor.full, 1, "nothing has happened since")

    def test_settled(self) -> None:
        """Amid calls only the last second's objects are looked at: those that live are put aside, the others freed."""
        living, garbage = Circle(), ref(Circle())
        self.clock.advance(SETTLE)
        self.assertIsNone(garbage())
        self.assertFalse(any(one is living for one in gc.get_objects()), "still looked at")
        self.assertEqual(self.governor.full, 0)
        forgotten = ref(living)
        del living
        gc.collect()
        self.assertIsNotNone(forgotten(), "looked at all the same")
        self.quiet = True
        self.clock.advance(EVERY)
        self.assertIsNone(forgotten(), "put aside for ever")

    def test_memory_grows(self) -> None:
        """Garbage isn't kept for ever: where memory has grown too much it is looked for, calls or not."""
        said: list[dict[str, Any]] = []
        self.patch(collecting._log, "observer", said.append)
        blocks = sys.getallocatedblocks()
        self.patch(collecting, "ROOM", -2 * blocks)
        self.clock.advance(EVERY)
        self.assertEqual((self.governor.full, len(said)), (1, 1))
        self.assertIn("in the middle of calls", said[0]["log_format"])

    def test_left_as_it_was(self) -> None:
        """A library must not surprise: what was set before is set again, and nothing stays frozen."""
        self.assertNotEqual(gc.get_threshold(), self.before)
        self.assertGreater(gc.get_freeze_count(), 0)
        self.governor.start()
        self.governor.stop()
        self.governor.stop()
        self.assertEqual((gc.get_threshold(), gc.get_freeze_count()), (self.before, 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_pauses(self) -> None:
        """The longest pause is known, for whoever wants to show it."""
        Circle()
        gc.collect()
        self.assertGreater(self.governor.longest, 0.0)


class NoCircleTests(SynchronousTestCase):
    """What a call leaves behind is freed without the collector (issue 5: no cycles per call)."""

    def circles(self, calls: Callable[[], None]) -> list[object]:
        """Return what only the collector could free after ``calls()``, once these have filled all caches."""
        calls()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            calls()
            gc.collect()
            return gc.garbage[:]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()

    def test_answered(self) -> None:
        """A coroutine answers calls and waits for their end: not one object is left in a circle."""
        self.assertEqual(self.circles(lambda: workloads.call(5)), [])

    def test_transferred(self) -> None:
        """Nor after whole transferred calls: A in, B out, joined, A hangs up, both are ended."""
        switch = workloads.Switch(workloads._transfer)
        numbers = iter(range(1, 100))

        def calls() -> None:
            for _ in range(5):
                number = next(numbers)
                tag, _port = switch.arrive(number)
                switch.host.clock.advance(0.5)
                self.answer(switch, switch.sip.last, 200)
                switch.host.clock.advance(0.1)
                self.assertTrue(switch.sip.last.startswith(b"ACK"), switch.sip.last[:60])
                switch.sip.received(switch._request(b"BYE", number, tag), (workloads.ALICE, 5060))
                switch.host.clock.advance(0.01)
                self.assertTrue(switch.sip.last.startswith(b"BYE"), switch.sip.last[:60])
                self.answer(switch, switch.sip.last, 200)
                switch.host.clock.advance(64)
                self.assertEqual((len(switch.exchange.channels), switch.exchange.user_agent._sessions), (0, {}))

        self.assertEqual(self.circles(calls), [])

    def answer(self, switch: workloads.Switch, request: bytes, status: int) -> None:
        """Answer a request of the exchange's for Bob, with SDP where it is an INVITE."""
        head = request.partition(b"\r\n\r\n")[0]
        kept = [line for line in head.split(b"\r\n") if re.match(rb"(Via|From|To|Call-ID|CSeq):", line)]
        lines = [b"SIP/2.0 %d OK" % status]
        lines += [line + b";tag=b0b" if line.startswith(b"To:") and b";tag" not in line else line for line in kept]
        body = b""
        if request.startswith(b"INVITE"):
            body = workloads._SDP.format(host=workloads.BOB, port=7000).encode()
            lines += [b"Contact: <sip:%s:5060>" % workloads.BOB.encode(), b"Content-Type: application/sdp"]
        lines += [b"Content-Length: %d" % len(body), b"", body]
        switch.sip.received(b"\r\n".join(lines), (workloads.BOB, 5060))
