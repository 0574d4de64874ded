"""Application files in simulated time: ``self.application(…)`` with blocking, async and Deferred-returning ones."""

from __future__ import annotations

import threading
from typing import Any

from twisted.trial.reporter import TestResult as TrialResult
from twisted.trial.unittest import SynchronousTestCase

from telephony.blocking import Telephony
from telephony.call.exchange import Exchange
from telephony.errors import Error
from telephony.server.records import ReturnCode
from telephony.testing.case import CallTestCase
from telephony.testing.sounds import tone
from telephony.testing.threads import SimulationOver


class BlockingTests(CallTestCase):
    async def test_whole_call(self) -> None:
        """A blocking application waits for a key, sleeps and transfers, all in simulated time; then its record."""
        bob = self.phone("bob", auto_answer=1)
        menu = self.application("applications/menu.py", parameters=bob.uri, extra_channels=1)
        alice = self.phone("alice")
        alice.dial(menu.uri)
        await alice.until("answered")
        bob.says(tone(440))
        self.advance_is_refused()
        await alice.press("5")
        await bob.until("answered")
        await alice.until_hears(440)
        self.assertEqual(len(menu.instances), 1)
        await alice.hang_up()
        record = await menu.ended()
        self.assertEqual((record.return_code, record.application, record.version), (5, "menu", "2.0"))
        self.assertEqual((record.application_parameters, record.direction), (bob.uri, "inbound"))
        self.assertIn("alice", record.caller)
        self.assertEqual(menu.record, record)
        self.assertRegex(menu.said[0], r"^pressed 5 after \d\.\d s$")

    def advance_is_refused(self) -> None:
        """Time passes already while a test awaits."""
        self.assertRaises(RuntimeError, self.advance, 1)

    async def test_caller_goes(self) -> None:
        """What the far end does reaches a blocking verb: the application ends by Hangup, its record says so."""
        menu = self.application("applications/menu.py")
        alice = self.phone("alice")
        alice.dial(menu.uri)
        await alice.until("answered")
        await alice.hang_up()
        self.assertEqual((await menu.ended()).return_code, ReturnCode.NO_INTEGER)

    async def test_failure_flushed(self) -> None:
        """What main raises can be expected."""
        menu = self.application("applications/menu.py")
        alice = self.phone("alice")
        alice.dial(menu.uri)
        await alice.until("answered")
        await alice.press("0")
        self.assertEqual((await menu.ended()).return_code, ReturnCode.NO_INTEGER)
        self.assertEqual(menu.flush_failures(KeyError), [])
        self.assertEqual(len(menu.flush_failures(ZeroDivisionError)), 1)

    async def test_two_calls_at_once(self) -> None:
        """Two instances of one file, each in its thread, each with its record."""
        menu = self.application("applications/menu.py", match="3300")
        self.assertEqual(menu.uri, "sip:3300@10.0.0.1:5060")
        phones = [self.phone(name) for name in ("alice", "carol")]
        for phone in phones:
            phone.dial(menu.uri)
        for phone, digit in zip(phones, "47", strict=True):
            await phone.until("answered")
            await phone.press(digit)
        codes = [(await menu.ended()).return_code for _ in phones]
        self.assertEqual(codes, [4, 7])

    async def test_outbound(self) -> None:
        """An outbound application is started by the test, with its parameters."""
        reminder = self.application("applications/reminder.py")
        bob = self.phone("bob", auto_answer=2)
        reminder.start(bob.uri)
        await bob.until("ended")
        self.assertEqual((await reminder.ended()).outbound_parameters, bob.uri)
        self.assertEqual(reminder.record.return_code, 0)
        self.assertRaises(AssertionError, getattr, reminder, "uri")

    async def test_script(self) -> None:
        """A script with a Telephony of its own runs in simulated time too."""
        said: list[Any] = []

        def script() -> None:
            host = self.network.host("10.0.0.9")
            with Telephony("udp:10.0.0.9:5060", runner=runner, make_exchange=lambda: Exchange(host)) as phone:
                channel = phone.channel()
                said.append(channel.call(bob.uri))
                said.append(channel.State.ANSWERED)

        bob = self.phone("bob", auto_answer=1)
        runner = self.hosting.runner
        runner.start("script", script)
        await bob.until("ended")
        self.assertEqual(len(said), 2)
        self.assertEqual(said[0], said[1])


class OtherStyleTests(CallTestCase):
    async def test_async_and_deferred(self) -> None:
        """Coroutines and functions that return a Deferred are hosted just so; patterns choose between files."""
        tones = self.application("applications/tone_async.py", match="1*", name="tones")
        other = self.application("applications/deferred.py", match="200")
        alice = self.phone("alice")
        for application, code in ((tones, 7), (other, 8)):
            alice.dial(application.uri if application is other else self.uri("123"))
            await alice.until("answered")
            if application is tones:
                await alice.until_hears(350, 440)
            await alice.hang_up()
            self.assertEqual((await application.ended()).return_code, code)

    async def test_nobody_takes(self) -> None:
        """What no pattern takes is refused with 404, as the server does."""
        self.application("applications/menu.py", match="100")
        alice = self.phone("alice")
        alice.dial(self.uri("999"))
        await alice.until("ended")
        self.assertEqual(alice.call.status, 404)

    def test_refusals(self) -> None:
        """What the server refuses is an Error with the server's sentence."""
        self.assertIn("is not there", str(self.assertRaises(Error, self.application, "nothing.py")))
        self.assertIn("__uas_identify__", str(self.assertRaises(Error, self.application, __file__)))
        menu = "applications/menu.py"
        self.assertIn("0 to 3", str(self.assertRaises(Error, self.application, menu, extra_channels=4)))
        self.assertIn("outbound", str(self.assertRaises(Error, self.application, menu, direction="outbound")))
        self.application(menu)
        self.assertIn("name=", str(self.assertRaises(Error, self.application, menu)))
        self.assertIn("match=", str(self.assertRaises(Error, self.application, menu, name="other")))


class Samples:
    """Test cases that fail; hidden from collection by their place."""

    class Failing(CallTestCase):
        """One way to fail in each test."""

        async def dialled(self, digit: str) -> Any:
            menu = self.application("applications/menu.py")
            alice = self.phone("alice")
            alice.dial(menu.uri)
            await alice.until("answered")
            await alice.press(digit)
            return menu

        async def test_raises(self) -> None:
            await (await self.dialled("0")).ended()

        async def test_sleeps_on(self) -> None:
            await self.dialled("9")

        async def test_too_early(self) -> None:
            (await self.dialled("9")).record  # noqa: B018 - it raises

        async def test_blocks(self) -> None:
            self.patience = 0.2
            stuck = self.application("applications/stuck.py")
            self.phone("alice").dial(stuck.uri)
            await stuck.ended()

        async def test_never_ends(self) -> None:
            await (await self.dialled("9")).ended(within=10)


class FailureTests(SynchronousTestCase):
    def outcome(self, name: str) -> str:
        """Run one of the samples; return what trial shows of its one failure. No thread is left."""
        before = threading.active_count()
        result = TrialResult()
        Samples.Failing(name).run(result)
        found: list[Any] = [*result.failures, *result.errors]
        self.assertEqual(len(found), 1, found)
        self.assertEqual(threading.active_count(), before)
        return str(found[0][1])

    def test_raises(self) -> None:
        """What main raises fails the test, once, with the ladder."""
        text = self.outcome("test_raises")
        self.assertIn("nobody is at zero", text)
        self.assertIn("|-- INVITE", text)

    def test_blocks(self) -> None:
        """What blocks beside verbs fails the test, by its line; a thread that can't be ended is named as well."""
        result = TrialResult()
        Samples.Failing("test_blocks").run(result)
        found = [str(failure) for _test, failure in [*result.failures, *result.errors]]
        self.assertRegex(found[0], r"real seconds: .*stuck.py, line 14, in main: waiting.get\(timeout=1.0\)")
        for thread in threading.enumerate():
            if thread.name.startswith("stuck "):
                thread.join()
        self.assertEqual(len(self.flushLoggedErrors(SimulationOver)), 1)

    def test_where_it_stands(self) -> None:
        """An application that goes on after the call is named with the line it stands at, and ended."""
        for name in ("test_sleeps_on", "test_too_early", "test_never_ends"):
            self.assertRegex(self.outcome(name), r"menu.py, line \d+, in main: time.sleep\([0-9.]+\), in sleep\(\)")
