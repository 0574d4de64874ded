"""What an application may hand to a verb, and the sentence it gets for anything else (``api.md`` sections 3 to 5).

Judged at the phones: of a refused verb nothing is to be seen on the wire.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from telephony.aio import AioCallChannel
from telephony.blocking import UASCallChannel
from telephony.call.arguments import check_call_from, check_call_to, check_codecs
from telephony.call.channel import CallChannel
from telephony.call.constants import Cause, LiveSpeakerDetectionSettings, State, TransferCause
from telephony.call.resources import TonePlayer
from telephony.call.verbs import is_verb
from telephony.errors import Error, Hangup
from telephony.media.tones import ToneManager
from telephony.runner import ReactorRunner
from telephony.sip.uri import TelUri
from tests.call.scene import Scene

DEFAULT = "sip:telephony@10.0.0.1:5060"


class NameTests(Scene):
    """What a channel looks like in a log or at a prompt."""

    def test_repr(self) -> None:
        """Section 4: its name in logs, and its state."""
        channel = self.exchange.channel()
        self.assertEqual(repr(channel), f"<CallChannel {channel.id} IDLE>")


class CallToTests(SynchronousTestCase):
    """The forms of ``call_to`` (section 4)."""

    def test_what_is_taken(self) -> None:
        """Section 4: sip: URIs with any parameters."""
        for text in (
            "sip:3301@127.0.0.1:5060;user=phone",
            "sip:3301@127.0.0.1",
            "sip:127.0.0.1",
            "SIP:bob@example.com",
            "sip:bob@[2001:db8::1]:5070;transport=tcp",
            "sip:bob:secret@example.com;transport=UDP;x=1",
            "  sip:bob@example.com  ",
            "sip:%3Cscript%3E@example.com",
        ):
            self.assertIsNotNone(check_call_to(text), text)

    def test_what_is_refused(self) -> None:
        """Section 3: a bad argument is an Error that says what it was and what would be right."""
        rows: dict[object, str] = {
            "nonsense": "nonsense",
            "": "''",
            "   ": "nobody",
            None: "None",
            5060: "5060",
            b"sip:a@b": "sip:a@b",
            "sip:": "sip:",
            "sip:@example.com": "sip:@example.com",
            "sip:a@b:port": "port",
            "sip:a@b:99999": "99999",
            "sip:a@exa mple.com": "exa mple",
            "sip:a@b\r\nX-Evil: 1": "Evil",
            "sip:a\r\n@b": "sip:a",
            "sip:ü@b": "%C3%BC",
            "sip:a@ü.example": "sip:a@ü.example",
            "sip:a\0@b": "sip:a",
            "http://example.com": "http",
            "mailto:a@example.com": "mailto",
            "<sip:a@b>": "<sip:a@b>",
            "sip:a@b?Subject=tea": "HeaderFieldsToSend",
            "sips:a@b;transport=udp": "sips",
            "sip:a@b;transport=ws": "ws",
            "sip:a@b, sip:c@d": "sip:c@d",
        }
        for value, named in rows.items():
            with self.assertRaises(Error, msg=repr(value)) as caught:
                check_call_to(value)
            text = str(caught.exception)
            self.assertIn("call_to=", text)
            self.assertIn(named, text)

    def test_numbers(self) -> None:
        """Section 4: bare digits and ``tel:``; what stands in a number only to be read is left out (RFC 3966 5.1.1)."""
        for text, number in {
            "3301": "3301",
            " +15551234": "+15551234",
            "tel:+1-555-(12).34": "+15551234",
            "TEL:3301;phone-context=example.com": "3301",
        }.items():
            uri = check_call_to(text)
            assert isinstance(uri, TelUri)
            self.assertEqual(uri.number, number)
        self.assertRaises(Error, check_call_to, "tel:()")

    def test_what_is_not_built_yet(self) -> None:
        """Section 4: a form that is not built yet names what exists."""
        for text, named in {
            "loc:reception": "services",
            "con:blue": "conference rooms",
            "webrtc:bob": "browsers",
        }.items():
            with self.assertRaisesRegex(Error, "not built yet") as caught:
                check_call_to(text)
            self.assertIn(named, str(caught.exception))
            self.assertIn("sip:3301@127.0.0.1:5060;user=phone", str(caught.exception), "what exists")


class CallFromTests(SynchronousTestCase):
    """The forms of ``call_from``."""

    def test_what_is_taken(self) -> None:
        """Section 4: a SIP address, with a display name or not, or a bare user part; '' is the default."""
        for text, address in {
            "": "<sip:telephony@10.0.0.1:5060>",
            "100": "<sip:100@10.0.0.1:5060>",
            "+15551234": "<sip:+15551234@10.0.0.1:5060>",
            "alice": "<sip:alice@10.0.0.1:5060>",
            "sip:100@example.com": "<sip:100@example.com>",
            '"Front Desk" <sip:100@example.com>': '"Front Desk" <sip:100@example.com>',
            "Desk <sip:100@example.com>;tag=evil": "Desk <sip:100@example.com>",
        }.items():
            self.assertEqual(str(check_call_from(text, DEFAULT)).replace('"Desk"', "Desk"), address, text)

    def test_what_is_refused(self) -> None:
        """Section 3: the sentence names the value; nothing that could break a header field passes."""
        for value in (
            None,
            100,
            "a b",
            "a@b@c",
            "tel:+1555",
            "http://example.com",
            "<sip:a@b",
            '"x" <sip:a@b>\r\nX-Evil: 1',
            '"x\r\nX-Evil: 1" <sip:a@b>',
            "sip:a@b\r\nX-Evil: 1",
            "a\r\nb",
            "a\0b",
            "Jürgen",
            "sip:ü@b",
            "sip:",
        ):
            with self.assertRaises(Error, msg=repr(value)) as caught:
                check_call_from(value, DEFAULT)
            self.assertIn("call_from=", str(caught.exception))

    def test_a_default_that_is_none(self) -> None:
        """Section 3: a configured default that is no address is an Error too, never another exception."""
        for default in ("100", "tel:+1", "sip:"):
            with self.assertRaises(Error, msg=default):
                check_call_from("", default)
            with self.assertRaises(Error, msg=default):
                check_call_from("7", default)


class CodecsTests(SynchronousTestCase):
    """The forms of ``codecs``."""

    def test_what_is_taken(self) -> None:
        """Section 4: ``'g711a;g711u'`` in priority order, or a list."""
        for value, names in (
            (None, ("PCMU",)),
            ("g711a;g711u", ("PCMA", "PCMU")),
            ("G711U; g711a;", ("PCMU", "PCMA")),
            (["g711u"], ("PCMU",)),
            (("g711a", "g711a"), ("PCMA",)),
        ):
            self.assertEqual(check_codecs(value, ("PCMU",)), names)

    def test_what_is_refused(self) -> None:
        """Section 3: the sentence names the codec and the allowed ones."""
        for value in ("opus", "g711a;opus", "", ";", [], [None], 711, {"g711a"}):
            with self.assertRaises(Error, msg=repr(value)) as caught:
                check_codecs(value)
            self.assertIn("codecs=", str(caught.exception))
            self.assertIn("'g711a'", str(caught.exception))


class CallArgumentsTests(Scene):
    """Arguments of `call` and its like, judged at the phones."""

    def test_nothing_is_sent(self) -> None:
        """Section 3: argument mistakes are Error at the call, before anything is sent; the channel stays as it was."""
        out = self.extra_channel()
        out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.reject(486)
        self.advance(1)
        before = (out.cause(), out.Details)
        verbs: list[tuple[Callable[[], Deferred[Any]], str, str]] = [
            (lambda: out.call("nonsense"), "'nonsense'", "sip:3301@127.0.0.1:5060;user=phone"),
            (lambda: out.call(self.bob.uri, "a b"), "'a b'", "sip:100@example.com"),
            (lambda: out.call(self.bob.uri, codecs="opus"), "'opus'", "g711u"),
            (lambda: out.call(self.bob.uri, seconds_timeout=-1), "-1", "0 or more"),
            (lambda: out.call(self.bob.uri, seconds_timeout="5"), "'5'", "0 or more"),  # type: ignore[arg-type]
            (lambda: out.call(self.bob.uri, seconds_timeout=float("nan")), "nan", "0 or more"),
            (lambda: out.call(self.bob.uri, seconds_timeout=True), "True", "0 or more"),
            (lambda: out.call(self.bob.uri, lsd_timeout_milliseconds=100), "100", "500 to 10000"),
            (lambda: out.call(self.bob.uri, lsd_timeout_milliseconds=10001), "10001", "500 to 10000"),
            (
                lambda: out.call(self.bob.uri, live_speaker_detect=LiveSpeakerDetectionSettings.DEFAULT),
                "live speaker detection",
                "None",
            ),
            (lambda: out.start_call("tel:+1"), "'tel:+1'", "sip:3301"),
            (lambda: out.wait_for_answer(-3), "-3", "0 or more"),
            (lambda: out.wait_for_idle(-3), "-3", "0 or more"),
        ]
        for verb, value, allowed in verbs:
            text = str(self.failureResultOf(verb(), Error).value)
            self.assertIn(value, text)
            self.assertIn(allowed, text)
        self.advance(1)
        self.assertEqual(len(self.bob.calls), 1)
        self.assertEqual((out.cause(), out.Details), before)
        self.assertIs(out.cause(), Cause.BUSY, "an argument's Error leaves the last call's cause")
        self.assertIsNone(out.running_verb)

    def test_incoming(self) -> None:
        """Section 4: the arguments of `ring`, `answer` and `reject`; after the Error the call is as it was."""

        async def application(channel: CallChannel) -> None:
            rows: list[tuple[Deferred[Any], str]] = [
                (channel.ring(-1), "-1"),
                (channel.ring(codecs="opus"), "'opus'"),
                (channel.ring(0, True, "RINGBACK"), "'RINGBACK'"),
                (channel.answer("opus"), "'opus'"),
                (channel.reject("BUSY"), "'BUSY'"),  # type: ignore[arg-type]
                (channel.reject(raw_cause="200"), "'200'"),
                (channel.reject(raw_cause="busy"), "'busy'"),
                (channel.reject(raw_cause="700"), "'700'"),
                (channel.reject(raw_cause="486 Busy"), "'486 Busy'"),
            ]
            for verb, value in rows:
                self.assertIn(value, str(self.failureResultOf(verb, Error).value))
            self.assertIs(channel.state(), State.CALL_INCOMING)

        self.run_application(application)
        self.dial_in()
        self.run_until(self.outcome)
        self.advance(1)
        self.assertEqual([one.status for one in self.alice.call.provisionals], [100])
        self.alice.cancel()
        self.advance(1)

    def test_codecs_of_an_answer_that_the_caller_cannot_do(self) -> None:
        """Section 4: an answer with codecs that the offer lacks is an Error; the call can still be answered."""
        self.alice.codecs = ("PCMU",)

        async def application(channel: CallChannel) -> None:
            self.failureResultOf(channel.answer("g711a"), Error)
            self.assertIs(channel.state(), State.CALL_INCOMING)
            self.assertIs(await channel.answer("g711a;g711u"), State.ANSWERED)

        self.run_application(application)
        self.dial_in()
        self.run_until(self.outcome, 5)
        self.assertEqual(self.channel.Details.codecs, ["g711u"])

    def test_codecs_of_a_call(self) -> None:
        """Section 4: ``codecs`` in priority order is what the INVITE offers, and nothing else."""
        out = self.extra_channel()
        for codecs, formats in (
            ("g711u", "0 101"),
            ("g711u;g711a", "0 8 101"),
            (["g711a"], "8 101"),
            (None, "8 0 101"),
        ):
            out.call(self.bob.uri, codecs=codecs)
            calls = len(self.bob.calls)
            self.run_until(lambda n=calls: len(self.bob.calls) > n, 5)  # type: ignore[misc]
            self.assertIn(f"RTP/AVP {formats}\r\n".encode(), self.bob.call.invite.body)
            out.hang_up()
            self.advance(0.1)


class TransferArgumentsTests(Scene):
    """The preconditions of a transfer (section 5), in their order, judged at the target."""

    def setUp(self) -> None:
        super().setUp()

        async def application(channel: CallChannel) -> None:
            await channel.answer()

        self.run_application(application)
        self.dial_in()
        self.run_until(self.outcome, 5)
        self.extra_channel()

    def refused(self, verb: Deferred[State], kind: type[Exception] = Error) -> str:
        """Hold that a transfer was refused and nothing has changed; return the sentence."""
        text = str(self.failureResultOf(verb, kind).value)
        self.assertIs(self.other.state(), State.IDLE)
        self.assertIsNone(self.channel.transfer)
        self.assertIsNone(self.channel.running_verb)
        self.advance(0.5)
        self.assertEqual(self.all_requests(self.bob), [])
        return text

    def test_in_their_order(self) -> None:
        """Section 5, rule 1: each precondition is asked for before the next one; each Error says what is wanted."""
        channel, other, uri = self.channel, self.other, self.bob.uri
        idle = self.exchange.channel()
        # All of them are unmet; one after the other is met, and the sentence is of the next.
        bad: dict[str, Any] = {"call_to": "nonsense", "ringback_tone": "UNHEARD"}
        self.assertIn("IDLE", self.refused(idle.retrievable_transfer(idle, **bad), Hangup))
        busy = self.exchange.channel()
        busy.start_call("sip:nobody@10.0.0.77")
        self.assertIn("CALL_OUTGOING", self.refused(busy.retrievable_transfer(busy, **bad)))
        for wrong in (channel, None, "c2", object()):
            text = self.refused(channel.retrievable_transfer(wrong, **bad))  # type: ignore[arg-type]
            self.assertIn("other_call=", text)
        self.assertIn("CALL_OUTGOING", self.refused(channel.retrievable_transfer(busy, **bad)))
        self.assertIn("'nonsense'", self.refused(channel.retrievable_transfer(other, **bad)))
        self.assertIn("None", self.refused(channel.retrievable_transfer(other, ringback_tone="UNHEARD")))
        text = self.refused(channel.retrievable_transfer(other, uri, ringback_tone="UNHEARD"))
        self.assertIn("'UNHEARD'", text)
        self.assertIn("RINGBACK_UK", text)
        text = self.refused(channel.retrievable_transfer(other, uri, ringback_tone="RINGBACK_UK"))
        self.assertIn("create a TonePlayer on this channel first", text)
        player = TonePlayer(channel)
        player.start("DIAL")
        self.assertIn("a tone", self.refused(channel.retrievable_transfer(other, uri)))
        player.stop()
        self.exchange.media_directory = self.media()
        channel.FileRecorder.start("x.wav")
        self.assertIn("a recording", self.refused(channel.retrievable_transfer(other, uri)))
        channel.FileRecorder.stop()
        channel.DTMFPlayer.start("123")
        self.assertIn("digits", self.refused(channel.retrievable_transfer(other, uri)))
        channel.DTMFPlayer.stop()
        self.assertIs(channel.transfer_cause(), TransferCause.NONE)
        verb = channel.retrievable_transfer(other, uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.TRANSFERRED)
        busy.hang_up()

    def media(self) -> Any:
        """Make a media directory."""
        from pathlib import Path

        path = Path(self.mktemp())
        path.mkdir()
        return path

    def test_the_last_cause_stays(self) -> None:
        """Section 3: a precondition's Error leaves the transfer cause unchanged."""
        TonePlayer(self.channel)
        verb = self.channel.retrievable_transfer(self.other, self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.reject(486)
        self.run_until(verb, 5)
        self.assertIs(self.channel.transfer_cause(), TransferCause.TARGETREJECT)
        for verb in (
            self.channel.retrievable_transfer(self.other, "nonsense"),
            self.channel.retrievable_transfer(self.other, self.bob.uri, "a b"),
            self.channel.retrievable_transfer(self.other, self.bob.uri, seconds_timeout=-1),
            self.channel.retrievable_transfer(self.channel, self.bob.uri),
            self.channel.retrievable_transfer(self.other, self.bob.uri, ringback_tone="UNHEARD"),
        ):
            self.failureResultOf(verb, Error)
            self.assertIs(self.channel.transfer_cause(), TransferCause.TARGETREJECT)
        self.assertIs(self.channel.state(), State.ANSWERED)

    def test_tones_are_those_of_the_tone_players_manager(self) -> None:
        """Section 5: a name known to the manager that the tone player was made with; not to the server's."""
        manager = ToneManager()
        manager.create_tone(
            [
                (
                    {"frequency": 700, "amplitude": 15},
                    {"frequency": 0, "amplitude": 0},
                    {"duration": 1000, "add": "summation"},
                )
            ],
            "MINE",
        )
        player = TonePlayer(self.channel)
        self.assertIn("'MINE'", self.refused(self.channel.retrievable_transfer(self.other, self.bob.uri, "", "MINE")))
        self.assertIs(self.channel.TonePlayer, player)
        TonePlayer(self.channel, manager)
        verb = self.channel.retrievable_transfer(self.other, self.bob.uri, "", "MINE")
        self.run_until(self.bob.until("incoming"))
        self.bob.ring()
        self.run_until(self.alice.until_hears(700), 10)
        self.bob.answer()
        self.run_until(verb, 5)
        with self.assertRaisesRegex(Error, "ToneManager"):
            TonePlayer(self.channel, "RINGBACK")  # type: ignore[arg-type]
        with self.assertRaisesRegex(Error, "no channel|is made on a channel"):
            TonePlayer("c1")

    def test_the_target_sees_the_caller(self) -> None:
        """Section 5, rule 2: From is ``call_from``; '' is the service's default address, else the server's."""
        TonePlayer(self.channel)
        self.channel._default_from = "sip:reception@example.com"
        for round_, (given, seen) in enumerate(
            [
                ("", "sip:reception@example.com"),
                ("sip:alice@10.0.1.1", "sip:alice@10.0.1.1"),
                ("7", "sip:7@example.com"),
            ]
        ):
            verb = self.channel.retrievable_transfer(self.other, self.bob.uri, given)
            self.run_until(lambda n=round_: len(self.bob.calls) == n + 1, 5)  # type: ignore[misc]
            self.assertEqual(self.bob.call.invite.from_.uri, seen)
            self.assertEqual(self.other.Details.call_from, seen)
            self.bob.reject()
            self.run_until(verb, 5)


class NotBuiltYetTests(Scene):
    """Section 4: a verb that is not built yet is an Error that names what exists."""

    def test_each(self) -> None:
        """Each has the signature of ``api.md`` section 4, in every state, and says what there is in its place."""
        rows: dict[str, tuple[str, tuple[Any, ...], str]] = {
            "call_conference_room": (
                "(conference_room_name, talker_and_listener=True, conference_lifetime_control=None, "
                "conference_party_media_settings=None, seconds_timeout=120)",
                ("blue",),
                "connect()",
            ),
            "start_call_conference_room": (
                "(conference_room_name, talker_and_listener=True, conference_lifetime_control=None, "
                "conference_party_media_settings=None)",
                ("blue",),
                "connect()",
            ),
            "transfer_to_inbound_service": (
                "(other_call, call_to, call_from='', ringback_tone=None, seconds_timeout=120)",
                (None, "x"),
                "retrievable_transfer()",
            ),
            "transfer_to_conference_room": (
                "(other_call, conference_room_name, talker_and_listener=True, conference_lifetime_control=None, "
                "conference_party_media_settings=None, seconds_timeout=120)",
                (None, "blue"),
                "connect()",
            ),
            "wait_for_answer_machine": (
                "(milliseconds_min_beep_duration=180, milliseconds_post_beep_silence=1000, "
                "milliseconds_no_beep_silence=4000, seconds_timeout=10)",
                (),
                "FileRecorder",
            ),
        }
        out = self.extra_channel()
        verb = out.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.run_until(verb, 5)
        for channel in (out, self.exchange.channel()):
            for name, (signature, arguments, instead) in rows.items():
                method = getattr(channel, name)
                plain = [
                    one.replace(annotation=inspect.Parameter.empty)
                    for one in inspect.signature(method).parameters.values()
                ]
                self.assertEqual(str(inspect.Signature(plain)), signature, name)
                self.assertTrue(is_verb(getattr(CallChannel, name)))
                text = str(self.failureResultOf(method(*arguments), Error).value)
                self.assertIn(name, text)
                self.assertIn("not", text)
                self.assertIn(instead, text)
        for speaks in (out.FilePlayer.say("hello"), out.FilePlayer.start_say("hello")):
            self.assertIn("FilePlayer", str(self.failureResultOf(speaks, Error).value))
        self.assertIs(out.state(), State.ANSWERED)

    def test_resources(self) -> None:
        """Section 6: a resource that is not built yet says so when it is read, in each of the three styles."""
        plain = self.exchange.channel()
        channels: list[Any] = [plain, UASCallChannel(plain, ReactorRunner(MemoryReactorClock())), AioCallChannel(plain)]
        for channel in channels:
            for name in ("WholeCallRecorder", "SpeechDetector", "FaxSender", "FaxReceiver"):
                with self.assertRaisesRegex(Error, f"^{name}: .*not built yet; "):
                    getattr(channel, name)
            with self.assertRaisesRegex(Error, r"^audio\(\): .*not built yet; "):
                channel.audio()
