"""How a server ends (api.md section 7): the table of phases, pair by pair, and its times."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.server.drain import SECONDS_TO_HANG_UP, SECONDS_TO_NOTICE, Drain, DrainInput, Phase
from telephony.tables import undecided


class Recorded:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.busy = True
        self.told: list[str] = []
        self.closing: Deferred[None] = Deferred()

    def idle(self) -> bool:
        return not self.busy

    def hang_up_all(self) -> Deferred[None]:
        self.told.append("hang up")
        return self.closing

    def leave_behind(self) -> None:
        self.told.append("leave behind")

    def drained(self) -> None:
        self.told.append("drained")


class DrainTests(SynchronousTestCase):
    """The way to the end."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = Recorded()
        self.drain = Drain(self.clock, 30, self.server)

    def tearDown(self) -> None:
        self.assertEqual(self.clock.getDelayedCalls() if self.drain.state is Phase.CLOSED else [], [])

    def test_every_pair_is_decided(self) -> None:
        """Issue 2: no state and input without an answer."""
        self.assertEqual(undecided(Drain.table, Phase, DrainInput), [])

    def test_idle_server(self) -> None:
        """A server with nothing to do ends at the first signal."""
        self.server.busy = False
        self.drain.feed(DrainInput.TERMINATE)
        self.assertEqual(self.server.told, ["hang up"])
        self.server.closing.callback(None)
        self.assertEqual(self.server.told, ["hang up", "leave behind", "drained"])

    def test_what_runs_may_end(self) -> None:
        """api.md 7: running calls may end within drain_seconds; nothing is hung up when they do."""
        self.drain.feed(DrainInput.TERMINATE)
        self.clock.advance(29)
        self.assertEqual(self.server.told, [])
        self.server.busy = False
        self.drain.feed(DrainInput.EMPTY)
        self.server.closing.callback(None)
        self.assertIs(self.drain.state, Phase.CLOSED)

    def test_hung_up_when_the_time_is_over(self) -> None:
        """api.md 7: then it is hung up; instances get a moment to notice, then are left behind."""
        self.drain.feed(DrainInput.TERMINATE)
        self.clock.advance(30)
        self.assertEqual(self.server.told, ["hang up"])
        self.server.closing.callback(None)
        self.assertEqual(self.server.told, ["hang up"])
        self.clock.advance(SECONDS_TO_NOTICE)
        self.assertEqual(self.server.told, ["hang up", "leave behind", "drained"])

    def test_second_signal(self) -> None:
        """api.md 7: a second SIGTERM hangs up at once, a third changes nothing."""
        self.drain.feed(DrainInput.TERMINATE)
        self.drain.feed(DrainInput.TERMINATE)
        self.drain.feed(DrainInput.TERMINATE)
        self.assertEqual(self.server.told, ["hang up"])

    def test_calls_that_do_not_end(self) -> None:
        """Hanging up has a bound too."""
        self.drain.feed(DrainInput.HURRY)
        self.clock.advance(SECONDS_TO_HANG_UP)
        self.clock.advance(SECONDS_TO_NOTICE)
        self.assertIs(self.drain.state, Phase.CLOSED)
        self.server.closing.callback(None)
        self.assertEqual(self.server.told, ["hang up", "leave behind", "drained"])
