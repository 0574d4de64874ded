"""Which pattern a call belongs to, and who gets it when there is no server (api.md sections 1 and 7)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.call.constants import State
from telephony.errors import Error
from telephony.reception import EARLY_SECONDS, WAITING_LIMIT, Reception, best_match

from .server.fakes import FakeChannel, FakeExchange


class MatchTests(SynchronousTestCase):
    """Patterns over user parts."""

    def test_best(self) -> None:
        """api.md 7: the user part picks the service, "*" takes the rest."""
        patterns = ["*", "33*", "3300", "33?0", "[ab]*"]
        for user, best in (
            ("3300", "3300"),
            ("3310", "33?0"),
            ("3311", "33*"),
            ("bob", "[ab]*"),
            ("x", "*"),
            ("", "*"),
        ):
            self.assertEqual(best_match(patterns, user), best)
        self.assertIsNone(best_match(["3300"], "3301"))
        self.assertIsNone(best_match([], ""))


class ReceptionTests(SynchronousTestCase):
    """Calls and those who wait for them."""

    def setUp(self) -> None:
        self.exchange = FakeExchange()
        self.clock = self.exchange.host.clock
        self.reception = Reception(self.exchange, self.clock)  # type: ignore[arg-type]

    def tearDown(self) -> None:
        self.reception.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waiter_first(self) -> None:
        """api.md 1: wait_for_call returns a channel in CALL_INCOMING."""
        waiting = self.reception.wait_for_call("3300")
        self.assertEqual(self.exchange.invite("3301"), 404)
        self.assertIsNone(self.exchange.invite("3300"))
        call = self.exchange.call("3300")
        self.assertIs(self.successResultOf(waiting), call)

    def test_caller_first(self) -> None:
        """A call that comes between two waits waits for the next; one that has gone meanwhile isn't handed out."""
        early = self.reception.wait_for_call("*", 1)
        self.clock.advance(1)
        self.assertIsNone(self.successResultOf(early))
        gone, call = self.exchange.call("1"), self.exchange.call("2")
        gone.go(State.IDLE)
        self.assertIs(self.successResultOf(self.reception.wait_for_call()), call)

    def test_in_order(self) -> None:
        """Two waiters get two calls in the order of waiting."""
        first, second = self.reception.wait_for_call(), self.reception.wait_for_call()
        self.exchange.call("1")
        self.assertNoResult(second)
        self.successResultOf(first)
        self.exchange.call("2")
        self.successResultOf(second)

    def test_cancelled_wait(self) -> None:
        """A wait that was given up takes no call from the next."""
        first, second = self.reception.wait_for_call("*", 10), self.reception.wait_for_call()
        first.addErrback(lambda _failure: None)
        first.cancel()
        call = self.exchange.call("1")
        self.assertIs(self.successResultOf(second), call)

    def test_serve(self) -> None:
        """api.md 1: serve runs a function per call; the closest pattern wins."""
        calls: list[Any] = []
        self.reception.serve("33*", calls.append)
        waiting = self.reception.wait_for_call("*")
        served, other = self.exchange.call("3300"), self.exchange.call("1")
        self.assertEqual(calls, [served])
        self.assertIs(self.successResultOf(waiting), other)
        self.reception.stop_serving("33*")
        self.assertEqual(self.exchange.invite("3300"), None)  # "*" takes it now

    def test_stopped_serving(self) -> None:
        """Calls to a pattern that isn't served any more are refused."""
        self.reception.serve("1", lambda channel: None)
        self.reception.stop_serving("1")
        self.reception.stop_serving("1")
        self.assertEqual(self.exchange.invite("1"), 404)

    def test_served_and_waited_for(self) -> None:
        """One pattern has one taker."""
        self.reception.serve("1", lambda channel: None)
        self.assertRaises(Error, self.reception.serve, "1", lambda channel: None)
        self.assertRaises(Error, self.reception.wait_for_call, "1")

    def test_bad_pattern(self) -> None:
        """What can't match anything is an Error."""
        for bad in ("", " 1", None, 3300):
            self.assertRaises(Error, self.reception.wait_for_call, bad)

    def test_bad_limit(self) -> None:
        """api.md 3: an argument mistake is an Error at the call; a wait that never was takes no call."""
        for seconds in ("5", -1, float("nan"), True):
            self.assertIn("seconds_timeout", str(self.assertRaises(Error, self.reception.wait_for_call, "1", seconds)))
        self.assertIsNone(self.exchange.invite("1"))

    def test_early_call(self) -> None:
        """A call that comes before the program has asked for any is kept for a moment, then refused with 480."""
        self.assertIsNone(self.exchange.invite("1"))
        kept = self.exchange.call("1")
        self.clock.advance(EARLY_SECONDS / 2)
        late = self.exchange.call("1")
        self.clock.advance(EARLY_SECONDS / 2)
        self.assertEqual((kept.rejected, late.rejected), (["480"], []))
        self.assertIs(self.successResultOf(self.reception.wait_for_call("1")), late)

    def test_early_call_for_nobody(self) -> None:
        """When the program asks, and not for that one, it is refused."""
        early = self.exchange.call("1")
        self.reception.serve("2", lambda channel: None)
        self.assertEqual(early.rejected, ["404"])

    def test_full(self) -> None:
        """Calls nobody takes are limited; those that have gone don't count."""
        self.reception.wait_for_call("*", 0).addBoth(lambda _none: None)
        self.clock.advance(0)
        calls: list[FakeChannel] = [self.exchange.call("1") for _ in range(WAITING_LIMIT)]
        self.assertEqual(self.exchange.invite("1"), 503)
        calls[0].go(State.IDLE)
        self.assertIsNone(self.exchange.invite("1"))

    def test_closed(self) -> None:
        """Closing ends every wait with an Error; no call gets in any more."""
        waiting = self.reception.wait_for_call()
        self.reception.close()
        self.failureResultOf(waiting, Error)
        self.assertEqual(self.exchange.invite("1"), 503)
        self.assertRaises(Error, self.reception.wait_for_call)
