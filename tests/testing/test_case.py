"""The TestCase for calls: simulated time in coroutines, what is left over, what phones complain of, the ladder."""

from __future__ import annotations

from typing import Any
from unittest import TestResult

from twisted.trial.reporter import TestResult as TrialResult
from twisted.trial.unittest import SynchronousTestCase

from telephony.call.channel import CallChannel
from telephony.call.resources import TonePlayer
from telephony.media.tones import PredefinedTones
from telephony.testing.case import CallTestCase
from telephony.testing.sounds import tone


async def echo_tone(channel: CallChannel) -> None:
    """Answer and play a tone until the caller goes."""
    await channel.answer()
    await TonePlayer(channel).start(PredefinedTones.DIAL)
    await channel.wait_for_idle()


class CallTests(CallTestCase):
    async def test_whole_call(self) -> None:
        """A coroutine test: simulated time passes while it awaits."""
        self.serve(echo_tone)
        alice = self.phone("alice")
        alice.says(tone(440))
        alice.dial(self.uri("100"))
        await alice.until("answered")
        await alice.until_hears(350, 440)
        await alice.hang_up()

    def test_over_tcp(self) -> None:
        """The exchange listens on TCP too."""
        self.serve(echo_tone)
        alice = self.phone("alice", transport="tcp")
        alice.dial(self.uri("100", "tcp"))
        self.run_until(alice.until("answered"))
        self.run_until(alice.hang_up())
        self.assertIn("INVITE", self.ladder())


class Samples:
    """Test cases that fail; hidden from collection by their place."""

    class Failing(CallTestCase):
        """One way to fail in each test."""

        async def test_fails(self) -> None:
            alice = self.phone("alice")
            alice.dial(self.uri("100"))
            await alice.until("answered", within=3)

        async def test_leaves_timer(self) -> None:
            self.network.clock.callLater(1000, self.fail)

        async def test_leaves_port(self) -> None:
            self.network.host("10.0.0.1").open_datagram_port(("10.0.0.1", 9), lambda data, source: None)

        async def test_complaint(self) -> None:
            self.phone("alice").complain("something forbidden")

        async def test_application_fails(self) -> None:
            async def main(channel: CallChannel) -> None:
                await channel.answer()
                raise ZeroDivisionError("the application's fault")

            self.serve(main)
            alice = self.phone("alice")
            alice.dial(self.uri("100"))
            await alice.until("answered")

        async def test_error(self) -> None:
            alice = self.phone("alice")
            alice.dial(self.uri("100"))
            await alice.until("ended")
            raise KeyError("not an assertion")


class FailureTests(SynchronousTestCase):
    def outcome(self, name: str) -> str:
        """Run one of the samples under trial's result and under unittest's; return what trial shows."""
        result = TrialResult()
        Samples.Failing(name).run(result)
        plain = TestResult()
        Samples.Failing(name).run(plain)
        self.assertFalse(plain.wasSuccessful())
        found: list[Any] = [*result.failures, *result.errors]
        self.assertEqual(len(found), 1)
        return str(found[0][1])

    def test_ladder(self) -> None:
        """A failure shows the ladder."""
        text = self.outcome("test_fails")
        self.assertIn("answered did not happen within 3 s", text)
        self.assertIn("|-- INVITE", text)
        self.assertIn("480 Temporarily Unavailable (INVITE", text)

    def test_error(self) -> None:
        """An error shows the ladder too."""
        text = self.outcome("test_error")
        self.assertIn("not an assertion", text)
        self.assertIn("|-- INVITE", text)

    def test_leftovers(self) -> None:
        """Timers and ports that are left over are named."""
        self.assertIn(".fail", self.outcome("test_leaves_timer"))
        self.assertIn("UDP port 10.0.0.1:9", self.outcome("test_leaves_port"))

    def test_complaint(self) -> None:
        """What a phone finds forbidden fails the test."""
        self.assertIn("something forbidden", self.outcome("test_complaint"))

    def test_application(self) -> None:
        """What the application raises fails the test."""
        self.assertIn("the application's fault", self.outcome("test_application_fails"))
