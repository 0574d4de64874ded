"""Keys by INFO, in and out, and across a transfer: each press once (``api.md`` section 6, R27; RFC 4733, RFC 6086)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.call.keys import HOLD, MOST, KeysIn, KeysOut
from telephony.call.resources import JobCause
from telephony.sip.message import Message, Request, Response
from telephony.testing.sounds import KEYS
from tests.call.media_scene import MediaScene
from tests.call.transfer_scene import TransferScene


class KeysInTests(SynchronousTestCase):
    """Which keys by INFO count."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.taken: list[str] = []
        self.keys = KeysIn(self.clock, self.taken.append)  # type: ignore[arg-type]

    def tearDown(self) -> None:
        self.keys.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_events_agreed(self) -> None:
        """Where no telephone events were agreed a key by INFO counts at once."""
        self.keys.info("1", False)
        self.keys.info("1", False)
        self.assertEqual(self.taken, ["1", "1"])

    def test_events_agreed_and_none_sent(self) -> None:
        """A phone that agrees to events and sends none: after a moment its INFOs count, and from then on at once."""
        self.keys.info("1", True)
        self.clock.advance(HOLD / 2)
        self.keys.info("2", True)
        self.assertEqual(self.taken, [])
        self.clock.advance(HOLD / 2)
        self.assertEqual(self.taken, ["1", "2"])
        self.keys.info("3", True)
        self.assertEqual(self.taken, ["1", "2", "3"])

    def test_both_ways(self) -> None:
        """A phone that sends each press both ways: the events count, whichever of the two comes first."""
        self.keys.info("1", True)
        self.clock.advance(HOLD / 2)
        self.keys.event()
        self.clock.advance(1)
        self.keys.event()
        self.keys.info("2", True)
        self.clock.advance(1)
        self.assertEqual(self.taken, [])

    def test_bounded(self) -> None:
        """No more keys wait than `MOST`."""
        for _ in range(MOST + 5):
            self.keys.info("1", True)
        self.clock.advance(HOLD)
        self.assertEqual(len(self.taken), MOST)

    def test_closed(self) -> None:
        """After the leg's end nothing is taken any more."""
        self.keys.info("1", True)
        self.keys.close()
        self.keys.info("1", False)
        self.clock.advance(1)
        self.assertEqual(self.taken, [])


class OneAnswerAtATime:
    """A session that sends INFOs and answers them when the test says so."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.answer: Callable[[int], None] = lambda _status: None

    def inform(self, _content_type: str, body: bytes, answered: Callable[[int], None]) -> None:
        """Take an INFO."""
        self.sent.append(body[7:8])
        self.answer = answered


class KeysOutTests(SynchronousTestCase):
    """Keys that leave by INFO."""

    def setUp(self) -> None:
        self.session = OneAnswerAtATime()
        self.refused: list[str] = []
        self.keys = KeysOut(self.session, self.refused.append)  # type: ignore[arg-type]

    def test_one_after_the_other(self) -> None:
        """RFC 6086 5.6: the next one goes when the one before has its answer, so that UDP can't swap them."""
        self.assertTrue(all(self.keys.send(key) for key in "123"))
        for number in (1, 2, 3):
            self.assertEqual(len(self.session.sent), number)
            self.session.answer(200)
        self.assertEqual((self.session.sent, self.refused), ([b"1", b"2", b"3"], []))

    def test_refused(self) -> None:
        """The refused key and those behind it come back, once, in order; from then on keys go another way."""
        self.keys.send("1")
        self.session.answer(200)
        for key in "234":
            self.keys.send(key)
        self.session.answer(415)
        self.assertEqual((self.session.sent, self.refused), ([b"1", b"2"], ["234"]))
        self.assertFalse(self.keys.send("5"))

    def test_bounded_and_closed(self) -> None:
        """No more than `MOST` wait; after the leg's end an answer changes nothing."""
        self.assertEqual(sum(self.keys.send("1") for _ in range(MOST + 9)), MOST + 1)
        self.keys.close()
        self.session.answer(500)
        self.assertEqual((len(self.session.sent), self.refused), (1, []))


class DetectorTests(MediaScene):
    """``DTMFDetector`` and INFO."""

    def test_keys_by_info(self) -> None:
        """Section 6: digits come by SIP INFO, in both bodies, each once, where no events were agreed."""
        self.alice.quirks.no_events = True
        channel = self.answer()
        self.run_until(self.alice.press("15*", by="info"), 10)
        self.run_until(self.alice.press("#", by="dtmf"), 10)
        self.assertEqual(self.run_until(channel.DTMFDetector.get_digits(), 1), "15*#")
        self.assertEqual({one.status for one in self.infos(self.alice)}, {200})

    def test_keys_by_info_although_events_were_agreed(self) -> None:
        """Section 6: a phone that offers telephone events, and sends INFO all the same, is heard."""
        channel = self.answer()
        self.run_until(self.alice.press("159", by="info"), 10)
        self.advance(1)
        self.assertEqual(self.run_until(channel.DTMFDetector.get_digits(), 1), "159")

    def test_keys_both_ways(self) -> None:
        """Section 6: each press once, also where it comes by RFC 4733 and by INFO."""
        for first in ("rtp", "info"):
            channel = self.answer()
            for key in "157":
                pressed = [self.alice.press(key, by=by) for by in (first, "info" if first == "rtp" else "rtp")]
                for one in pressed:
                    self.run_until(one, 5)
                self.advance(0.3)
            self.assertEqual(self.run_until(channel.DTMFDetector.get_digits(), 1), "157", first)
            self.alice.hang_up()
            self.advance(2)

    def test_what_is_no_key(self) -> None:
        """RFC 6086 4.2.2: 415 with Accept, 400, 469: the call goes on."""
        channel = self.answer()
        for body, kind, status in ((b"<x/>", "application/x", 415), (b"what", "application/dtmf", 400)):
            self.assertEqual(self.run_until(self.alice.call.send_info(body, kind), 5), status)
        self.assertEqual(self.infos(self.alice)[0].get("Accept"), "application/dtmf-relay, application/dtmf")
        self.advance(1)
        self.assertEqual(self.run_until(channel.DTMFDetector.get_digits(), 1), "")

    def infos(self, phone: object) -> list[Response]:
        """The answers to a phone's INFOs."""
        found = [one.message for one in self.alice.log if not one.sent]
        return [one for one in found if isinstance(one, Response) and one.cseq.method == "INFO"]


class PlayerTests(MediaScene):
    """``DTMFPlayer`` and INFO."""

    def test_by_info(self) -> None:
        """Without telephone events keys go by INFO, in order and each once, and no tone is heard."""
        self.alice.quirks.no_events = True
        channel = self.answer()
        began = self.now()
        self.assertIs(self.run_until(channel.DTMFPlayer.play("15,#a"), 10), JobCause.NORMAL)
        self.advance(0.5)
        self.assertEqual([self.key(one) for one in self.alice.call.info], ["1", "5", "#", "A"])
        self.assertEqual(self.alice.heard(*KEYS["1"], since=began), [])
        # As long as keys in the band: none is sent faster than a person would hear it.
        self.assertGreater(self.now() - began, 4 * 0.2 + 0.5)

    def test_events_go_before(self) -> None:
        """With telephone events nothing goes by INFO."""
        channel = self.answer()
        self.run_until(channel.DTMFPlayer.play("15"), 10)
        self.advance(0.5)
        self.assertEqual((self.alice.digits, self.alice.call.info), ("15", []))

    def test_refused(self) -> None:
        """A far end that allows INFO and refuses it hears tones, that key and the next ones."""
        self.alice.quirks.no_events = True
        self.alice.quirks.alter = refuse_info
        channel = self.answer()
        began = self.now()
        self.run_until(channel.DTMFPlayer.play("5"), 10)
        self.advance(1)
        self.assertEqual(len(self.alice.heard(*KEYS["5"], since=began)), 1)
        began = self.now()
        self.run_until(channel.DTMFPlayer.play("5"), 10)
        self.advance(0.5)
        self.assertEqual(len(self.alice.heard(*KEYS["5"], since=began)), 1)
        self.assertEqual(len(self.alice.call.info), 1)

    @staticmethod
    def key(request: Request) -> str:
        """The key in an INFO."""
        return request.body.decode().partition("Signal=")[2][:1]


def refuse_info(message: Message) -> Message:
    """Let a phone refuse each INFO."""
    if isinstance(message, Response) and message.cseq.method == "INFO":
        message.status, message.reason = 415, "Unsupported Media Type"
    return message


class PassedOnTests(TransferScene):
    """R27: keys across a transfer, in every pair of ways."""

    def test_info_to_events(self) -> None:
        """R27: the caller's INFO becomes the target's telephone event, with the audio going on behind it."""
        self.alice.quirks.no_events = True
        self.joined()
        for key in "15#":
            self.run_until(self.alice.press(key, by="info"), 5)
        self.advance(2)
        self.assertEqual(self.bob.digits, "15#")
        self.assertEqual(self.bob.call.info, [])
        self.assert_talk()

    def test_events_to_info(self) -> None:
        """R27: the caller's telephone event becomes the target's INFO."""
        self.bob.quirks.no_events = True
        self.joined()
        self.run_until(self.alice.press("15#"), 5)
        self.advance(1)
        self.assertEqual((self.bob.digits, len(self.bob.call.info)), ("15#", 3))
        self.assert_talk()

    def test_info_to_info(self) -> None:
        """R27: neither side has events."""
        self.alice.quirks.no_events = self.bob.quirks.no_events = True
        self.joined()
        self.run_until(self.alice.press("15", by="info"), 5)
        self.run_until(self.bob.press("9", by="dtmf"), 5)
        self.advance(1)
        self.assertEqual((self.bob.digits, self.alice.digits), ("15", "9"))

    def test_both_ways_at_once(self) -> None:
        """R27: what comes by RFC 4733 and by INFO is passed on once."""
        self.joined()
        for key in "15":
            pressed = self.alice.press(key)
            self.run_until(self.alice.press(key, by="info"), 5)
            self.run_until(pressed, 5)
            self.advance(0.4)
        self.assertEqual(self.bob.digits, "15")

    def assert_talk(self) -> None:
        """Hold that both still hear each other."""
        since = self.now()
        self.advance(1)
        for phone, other in ((self.alice, self.bob), (self.bob, self.alice)):
            tone = {"alice": 500, "bob": 1000}[other.name]
            heard = sum(one.seconds for one in phone.heard(tone, since=since))
            self.assertGreater(heard, 0.7, f"{phone.name} hears {other.name}")
