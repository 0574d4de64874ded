"""``channel.DTMFDetector`` (``api.md`` section 6; RFC 4733): which digits, when, and why it ended."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from telephony.call.constants import State
from telephony.call.resources import JobCause
from telephony.errors import Error, Hangup
from tests.call.media_scene import MediaScene


class GetDigitsTests(MediaScene):
    """`get_digits`."""

    def setUp(self) -> None:
        super().setUp()
        self.talking = self.answer()
        self.detector = self.talking.DTMFDetector

    def get(self, **details: Any) -> Deferred[str]:
        """Ask for digits."""
        return self.detector.get_digits(**details)

    def pressed(self, digits: str) -> None:
        """Let alice press keys, and let them arrive."""
        self.run_until(self.alice.press(digits), 30)
        self.advance(0.1)

    def test_what_is_buffered(self) -> None:
        """Section 6: with predigits 0, the default, it returns what is buffered, at once; then the buffer is empty."""
        self.assertIs(self.detector.cause(), JobCause.NONE)
        self.assertEqual(self.successResultOf(self.get()), "")
        self.assertIs(self.detector.cause(), JobCause.TIMEOUT)
        self.pressed("0123456789*#ABCD")
        self.assertEqual(self.successResultOf(self.get()), "0123456789*#ABCD")
        self.assertEqual(self.successResultOf(self.get()), "")

    def test_count(self) -> None:
        """Section 6: COUNT as soon as there are so many; what is more stays for the next time."""
        self.pressed("12345")
        self.assertEqual(self.successResultOf(self.get(count=3)), "123")
        self.assertIs(self.detector.cause(), JobCause.COUNT)
        verb = self.get(count=4, seconds_predigits_timeout=10)
        self.assertIs(self.detector.cause(), JobCause.NONE)
        self.assertNoResult(verb)
        self.pressed("6")
        self.assertNoResult(verb)
        self.pressed("78")
        self.assertEqual(self.successResultOf(verb), "4567")
        self.assertIs(self.detector.cause(), JobCause.COUNT)
        self.assertEqual(self.successResultOf(self.get()), "8")

    def test_end(self) -> None:
        """Section 6: END at one of the terminating digits, which is left out; a set or a string."""
        for end in ("#", {"#", "*"}, frozenset("#"), ["#"]):
            verb = self.get(end=end, seconds_predigits_timeout=10)
            self.pressed("12")
            self.assertNoResult(verb)
            self.pressed("#9")
            self.assertEqual(self.successResultOf(verb), "12")
            self.assertIs(self.detector.cause(), JobCause.END)
            self.assertEqual(self.successResultOf(self.get()), "9")
        self.pressed("#")
        self.assertEqual(self.successResultOf(self.get(end="#", seconds_predigits_timeout=10)), "")
        self.assertIs(self.detector.cause(), JobCause.END)

    def test_count_and_end(self) -> None:
        """Section 6: whichever comes first."""
        self.pressed("12#34")
        self.assertEqual(self.successResultOf(self.get(count=4, end="#")), "12")
        self.assertEqual(self.successResultOf(self.get(count=2, end="#")), "34")
        self.assertIs(self.detector.cause(), JobCause.COUNT)

    def test_no_first_digit(self) -> None:
        """Section 6: TIMEOUT when no digit came within ``seconds_predigits_timeout``."""
        began = self.now()
        self.assertEqual(self.run_until(self.get(seconds_predigits_timeout=4), 10), "")
        self.assertApproximates(self.now() - began, 4.0, 0.01)
        self.assertIs(self.detector.cause(), JobCause.TIMEOUT)

    def test_no_further_digit(self) -> None:
        """Section 6: TIMEOUT ``seconds_interdigit_timeout`` after the last digit, 5 s by default."""
        for limit, expected in (({}, 5.0), ({"seconds_interdigit_timeout": 2}, 2.0)):
            verb = self.get(seconds_predigits_timeout=30, **limit)
            self.pressed("1")
            self.advance(expected - 0.5)
            self.assertNoResult(verb)
            last = self.now()
            self.alice.press("2")
            self.assertEqual(self.run_until(verb, 30), "12")
            self.assertApproximates(self.now() - last, expected, 0.1)
            self.assertIs(self.detector.cause(), JobCause.TIMEOUT)

    def test_buffered_digits_and_more(self) -> None:
        """Section 6: digits that were buffered count as the first ones; then the interdigit time runs."""
        self.pressed("1")
        began = self.now()
        self.assertEqual(self.run_until(self.get(seconds_predigits_timeout=30, seconds_interdigit_timeout=2), 40), "1")
        self.assertApproximates(self.now() - began, 2.0, 0.01)

    def test_no_limits(self) -> None:
        """Section 6: None is no limit, before and between digits."""
        verb = self.get(count=2, seconds_predigits_timeout=None, seconds_interdigit_timeout=None)
        self.advance(300)
        self.pressed("1")
        self.advance(300)
        self.assertNoResult(verb)
        self.pressed("2")
        self.assertEqual(self.successResultOf(verb), "12")

    def test_overall_limit(self) -> None:
        """Section 6: TIMEOUT at ``seconds_timeout`` with what there is, however the digits come."""
        verb = self.get(seconds_predigits_timeout=30, seconds_timeout=3)
        began = self.now()
        for digit in "123":
            self.advance(0.7)
            self.alice.press(digit)
        self.assertEqual(self.run_until(verb, 30), "123")
        self.assertApproximates(self.now() - began, 3.0, 0.01)
        self.assertIs(self.detector.cause(), JobCause.TIMEOUT)

    def test_clear(self) -> None:
        """Section 6: ``clear`` and `clear_digits` forget what is buffered."""
        self.pressed("12")
        verb = self.get(clear=True, count=1, seconds_predigits_timeout=10)
        self.assertNoResult(verb)
        self.pressed("3")
        self.assertEqual(self.successResultOf(verb), "3")
        self.pressed("45")
        self.detector.clear_digits()
        self.assertEqual(self.successResultOf(self.get()), "")

    def test_each_press_once(self) -> None:
        """Section 6, RFC 4733 2.5: each press once, whatever the sender repeats, however long it is held."""
        for ends in (1, 3, 9):
            self.alice.quirks.event_ends = ends
            self.pressed("11")
            self.assertEqual(self.successResultOf(self.get()), "11", ends)
        self.alice.press("1", milliseconds=3000)
        self.advance(4)
        self.assertEqual(self.successResultOf(self.get()), "1")
        self.alice.quirks.no_marker = True
        self.pressed("22")
        self.assertEqual(self.successResultOf(self.get()), "22")

    def test_lost_and_doubled_packets(self) -> None:
        """RFC 4733 2.5.1.4: lost, doubled and late packets neither lose nor double a press."""
        self.network.link("10.0.1.1", "10.0.0.1", both=False, loss=0.2, duplicate=0.3, reorder=0.2)
        self.pressed("0123456789*#" * 3)
        self.network.link("10.0.1.1", "10.0.0.1", both=False, loss=0.0, duplicate=0.0, reorder=0.0)
        self.assertEqual(self.successResultOf(self.get()), "0123456789*#" * 3)

    def test_a_full_buffer(self) -> None:
        """Rule 10 of the architecture: what nobody asks for is kept up to a bound; the oldest give way."""
        self.run_until(self.alice.press("1" * 60 + "2" * 250, milliseconds=40, pause=20), 60)
        self.advance(0.2)
        self.assertEqual(self.successResultOf(self.get()), "1" * 6 + "2" * 250)

    def test_hang_up(self) -> None:
        """Section 3: a hang-up is no exception: what there is, cause HANGUP; on IDLE then Hangup."""
        verb = self.get(count=9, seconds_predigits_timeout=30)
        self.pressed("12")
        self.alice.hang_up()
        self.assertEqual(self.run_until(verb, 1), "12")
        self.assertIs(self.detector.cause(), JobCause.HANGUP)
        self.failureResultOf(self.get(), Hangup)
        self.assertIs(self.detector.cause(), JobCause.HANGUP)

    def test_our_own_hang_up(self) -> None:
        """Section 5: hang_up ends it too."""
        verb = self.get(count=9, seconds_predigits_timeout=30)
        self.assertIs(self.successResultOf(self.talking.hang_up()), State.IDLE)
        self.assertEqual(self.run_until(verb, 1), "")
        self.assertIs(self.detector.cause(), JobCause.HANGUP)

    def test_cancelled(self) -> None:
        """Rule 4 of the architecture: a cancelled get_digits loses no digit: the next one has them."""
        verb = self.get(count=5, seconds_predigits_timeout=30)
        self.pressed("123")
        verb.cancel()
        self.failureResultOf(verb, CancelledError)
        self.assertIs(self.detector.cause(), JobCause.ABORTED)
        self.pressed("4")
        self.assertEqual(self.successResultOf(self.get()), "1234")

    def test_one_at_a_time(self) -> None:
        """Section 6: a second get_digits is an Error; the first goes on."""
        verb = self.get(count=1, seconds_predigits_timeout=30)
        self.failureResultOf(self.get(), Error)
        self.pressed("7")
        self.assertEqual(self.successResultOf(verb), "7")

    def test_again_at_once(self) -> None:
        """Section 6: whoever hears of its end may ask again at once, and no digit falls in between."""

        async def three() -> list[str]:
            return [await self.get(count=2, seconds_predigits_timeout=10) for _ in range(3)]

        verb = Deferred.fromCoroutine(three())
        self.alice.press("123456", milliseconds=40, pause=20)
        self.assertEqual(self.run_until(verb, 10), ["12", "34", "56"])

    def test_between_calls(self) -> None:
        """Section 6: the buffer is emptied between calls."""
        self.pressed("123")
        self.alice.hang_up()
        self.run_until(self.talking.wait_for_idle(), 5)
        verb = self.talking.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.run_until(verb, 5)
        self.assertIs(self.detector.cause(), JobCause.NONE)
        self.assertEqual(self.successResultOf(self.get()), "")
        self.bob.press("9")
        self.advance(0.5)
        self.assertEqual(self.successResultOf(self.get()), "9")

    def test_bad_arguments(self) -> None:
        """Section 3: each names the argument and the value; the buffer keeps its digits."""
        self.pressed("1")
        rows: list[tuple[dict[str, Any], str]] = [
            ({"count": -1}, "count=-1"),
            ({"count": True}, "count=True"),
            ({"count": "3"}, "count='3'"),
            ({"end": "#x"}, "'x'"),
            ({"end": 5}, "end=5"),
            ({"end": ["12"]}, "'12'"),
            ({"end": {None}}, "'None'"),
            ({"seconds_predigits_timeout": -1}, "seconds_predigits_timeout=-1"),
            ({"seconds_interdigit_timeout": "5"}, "seconds_interdigit_timeout='5'"),
            ({"seconds_timeout": -0.5, "clear": True}, "seconds_timeout=-0.5"),
        ]
        for arguments, named in rows:
            self.assertIn(named, str(self.failureResultOf(self.get(**arguments), Error).value))
        self.assertEqual(self.successResultOf(self.get()), "1")


class EarlyDigitsTests(MediaScene):
    """Digits before and around the answer."""

    def test_pressed_right_behind_the_answer(self) -> None:
        """Section 6: what is pressed before the application asks is buffered."""
        channel = self.call_bob()
        self.bob.press("42")
        self.advance(3)
        self.assertEqual(self.successResultOf(channel.DTMFDetector.get_digits()), "42")
