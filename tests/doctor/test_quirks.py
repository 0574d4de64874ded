"""Issue 3, "Doctor": what a phone does wrong becomes a sentence; of one that does nothing wrong nothing is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from telephony.doctor.findings import Outcome
from telephony.sip.message import Message, Request, Response
from telephony.testing.quirks import Quirks
from telephony.testing.sounds import silence

from .scene import DoctorCase

ODD, BAD = Outcome.ODD, Outcome.BAD


def _no_rport(message: Message) -> Message:
    if isinstance(message, Response):
        params = {name: value for name, value in message.via.params.items() if name not in ("received", "rport")}
        message.replace_via(attrs.evolve(message.via, params={**params, "rport": None}))
    return message


def _no_received(message: Message) -> Message:
    if isinstance(message, Response) and "received" in message.via.params:
        params = {name: value for name, value in message.via.params.items() if name != "received"}
        message.replace_via(attrs.evolve(message.via, params=params))
    return message


def _wrong_cseq(message: Message) -> Message:
    if isinstance(message, Response) and message.cseq.method == "INVITE" and message.status == 180:
        message.set("CSeq", f"{message.cseq.number + 1} INVITE")
    return message


def _no_tag(message: Message) -> Message:
    if isinstance(message, Response) and message.cseq.method == "OPTIONS":
        message.set("To", (message.get("To") or "").partition(";tag=")[0])
    return message


def _refuses(method: str, status: int) -> Callable[[Message], Message]:
    """Answer a method with a status, whatever would have been answered."""

    def alter(message: Message) -> Message:
        if isinstance(message, Response) and message.cseq.method == method:
            refusal = Response(status)
            for name, value in message.fields:
                if name not in ("Content-Type", "Content-Length", "Contact"):
                    refusal.add(name, value)
            return refusal
        return message

    return alter


def _swallows(method: str) -> Callable[[Message], Message | None]:
    return lambda one: None if isinstance(one, Response) and one.cseq.method == method else one


def _no_info_allowed(message: Message) -> Message:
    return _refuses("INFO", 405)(message)


def _no_refresher(message: Message) -> Message:
    if isinstance(message, Response) and message.has("Session-Expires"):
        message.set("Session-Expires", "90")
    return message


def _breaks_prack(message: Message) -> Message:
    return _refuses("PRACK", 481)(message)


def _elsewhere(message: Message) -> Message:
    """Name a stranger as where audio is to go."""
    if message.body and isinstance(message, Response):
        message.body = message.body.replace(b"c=IN IP4 10.0.1.2", b"c=IN IP4 203.0.113.9")
    return message


def _contact_elsewhere(message: Message) -> Message:
    if isinstance(message, Response) and message.cseq.method == "INVITE" and message.has("Contact"):
        message.set("Contact", "<sip:bob@203.0.113.9>")
    return message


#: A quirk, more of the phone's settings, the check that notices, how bad it is, and words of its sentence.
TABLE: list[tuple[str, Quirks, dict[str, Any], str, Outcome, str]] = [
    (
        "sendrecv to a hold",
        Quirks(answer_hold_sendrecv=True),
        {},
        "hold",
        BAD,
        "sendonly is answered with sendrecv, where only recvonly or inactive is allowed",
    ),
    (
        "inactive to a hold",
        Quirks(answer_direction="inactive"),
        {},
        "codecs",
        ODD,
        "inactive where sendrecv was offered",
    ),
    ("deaf", Quirks(deaf=True), {}, "udp", BAD, "nothing answers at 10.0.1.2 port 5060 within 5 s"),
    ("slow", Quirks(slow=0.7), {}, "call", ODD, "nothing came before our INVITE went out again"),
    ("slow over UDP", Quirks(slow=0.7), {}, "udp", ODD, "after we had sent it 2 times: that is slow"),
    ("no 4733", Quirks(no_events=True), {}, "keys", ODD, "no telephone-event (RFC 4733), but takes a 5 by INFO"),
    (
        "no 4733 and no INFO",
        Quirks(no_events=True, alter=_no_info_allowed),
        {},
        "keys",
        BAD,
        "refuses INFO with 405: keys go as tones only",
    ),
    ("wrong CSeq", Quirks(alter=_wrong_cseq), {}, "rules", ODD, "CSeq is not the request's (8.2.6.2)"),
    ("no tag", Quirks(alter=_no_tag), {}, "rules", ODD, "no tag in To (8.2.6.2)"),
    (
        "refuses re-INVITEs",
        Quirks(refuse_reinvite=488),
        {},
        "hold",
        BAD,
        "we offer sendonly, and it refuses it with 488",
    ),
    ("refuses refreshes", Quirks(refuse_reinvite=488), {}, "re-INVITE", BAD, "same offer: it refuses it with 488"),
    (
        "refuses UPDATE",
        Quirks(refuse_reinvite=500),
        {},
        "UPDATE",
        BAD,
        "Allow names UPDATE, and it refuses it with 500",
    ),
    (
        "no offer of its own",
        Quirks(refuse_reinvite=500),
        {},
        "re-INVITE without offer",
        ODD,
        "it refuses it with 500, and should make an offer",
    ),
    ("no BYE", Quirks(ignore_bye=True), {}, "BYE", BAD, "it doesn't answer our BYE"),
    ("version stands still", Quirks(frozen_version=True), {}, "rules", ODD, "its o= version went from 1 to 1"),
    ("no RTCP", Quirks(rtcp=False), {}, "RTCP", ODD, "no report came in the whole call"),
    ("new SSRCs", Quirks(new_ssrc_every=1.0), {}, "audio", ODD, "its SSRC changed 4 times"),
    ("no audio", Quirks(), {"media": False}, "audio", BAD, "no audio came in 4 s, not one RTP packet"),
    ("late audio", Quirks(late_rtp=60.0), {}, "audio", BAD, "no audio came in 4 s"),
    ("no description", Quirks(no_sdp_in_200=True), {}, "call", BAD, "it answered without a description"),
    ("port 0", Quirks(port_zero=True), {}, "call", BAD, "a description that can't be used"),
    ("other codecs", Quirks(), {"codecs": ("GSM",)}, "call", BAD, "it refused the call with 488"),
    ("OPTIONS unknown", Quirks(alter=_refuses("OPTIONS", 501)), {}, "options", ODD, "it refuses OPTIONS with 501"),
    ("no rport", Quirks(alter=_no_rport), {}, "rport", ODD, "it doesn't fill in the rport our Via asks for"),
    ("no received", Quirks(alter=_no_received), {}, "rport", ODD, "it fills in rport, but no received"),
    (
        "no refresher",
        Quirks(alter=_no_refresher),
        {"session_timer": 90},
        "session timer",
        ODD,
        "90 s agreed, it doesn't say who refreshes",
    ),
    (
        "refuses PRACK",
        Quirks(alter=_breaks_prack),
        {"reliable": True},
        "100rel",
        BAD,
        "it rings reliably, and refuses our PRACK",
    ),
    ("deaf for PRACK", Quirks(alter=_swallows("PRACK")), {"reliable": True}, "100rel", BAD, "doesn't answer our PRACK"),
    ("rings for ever", Quirks(), {"auto_answer": None}, "call", BAD, "nobody answered within 30 s (100 and 180 came)"),
    (
        "audio elsewhere",
        Quirks(alter=_elsewhere),
        {},
        "codecs",
        ODD,
        "its audio is at 203.0.113.9, which isn't the peer's",
    ),
    (
        "Contact elsewhere",
        Quirks(alter=_contact_elsewhere),
        {},
        "rules",
        ODD,
        "its messages name 203.0.113.9, which isn't the peer; nothing was sent there",
    ),
]


class QuirkTests(DoctorCase):
    """The table, one visit each."""

    def test_clean(self) -> None:
        """RFC 3261 and the others: of a phone that does nothing wrong nothing odd is said, and status is 0."""
        for settings in ({}, {"reliable": True, "session_timer": 90}, {"session_timer": 1800}):
            with self.subTest(settings=settings):
                self.setUp()
                phone = self.phone(**settings)
                report = self.visit()
                self.assertEqual(self.wrong(report), [])
                self.assertEqual(report.status, 0)
                self.assertEqual(phone.faults(), [])
                self.assertEqual(phone.digits, "5")
                self.assertEqual(len(phone.calls), 1)
                self.assertEqual(phone.call.ended_by, "far")
                self.tearDown()
        self.setUp()

    def test_table(self) -> None:
        """Issue 3, "Doctor": says in sentences what the peer does wrong."""
        for name, quirks, settings, check, outcome, words in TABLE:
            with self.subTest(name=name):
                self.setUp()
                self.phone(quirks=quirks, **settings)
                report = self.visit()
                found = self.finding(report, check)
                self.assertEqual((found.outcome, words in found.text), (outcome, True), f"{name}: {found}")
                self.assertEqual(report.status, 1 if report.counts[BAD] else 0)
                for one in self.peers:
                    self.assertEqual([fault for fault in one.faults() if "RTP" not in fault], [], name)
                self.tearDown()
        self.setUp()

    def test_table_is_right(self) -> None:
        """What the table waits for is in no sentence about a clean phone, so each row shows something."""
        self.phone(reliable=True, session_timer=90)
        said = " ".join(one.text for one in self.visit().findings)
        for name, _quirks, _settings, _check, _outcome, words in TABLE:
            self.assertNotIn(words, said, name)

    def test_silence(self) -> None:
        """Silence is said plainly: packets come, and nothing can be heard in them."""
        self.phone().says(silence(1))
        found = self.finding(self.visit(), "audio")
        self.assertEqual(found.outcome, ODD)
        self.assertRegex(found.text, "^silence: [0-9]+ packets came, and nothing in them can be heard")

    def test_hangs_up(self) -> None:
        """A peer that hangs up ends the checks that need the call, with that reason."""
        self.phone(quirks=Quirks(bye_behind_200=True))
        report = self.visit()
        reasons = {one.text for one in report.findings if one.outcome is Outcome.NOT_DONE}
        self.assertIn("the peer hung up", reasons)

    def test_strangers(self) -> None:
        """Traffic goes only to the named peer, whatever its Contact and its descriptions say; --also allows more."""
        self.phone(quirks=Quirks(alter=_elsewhere))
        self.network.host("203.0.113.9")
        self.visit()
        went = {event.destination[0] for event in self.network.events if event.source[0] == "10.0.9.1"}
        went |= {destination[0] for _, source, destination, *_ in self.network.media if source[0] == "10.0.9.1"}
        self.assertEqual(went, {"10.0.1.2"})

    def test_redirect(self) -> None:
        """A 3xx is told, and nobody else is called."""
        phone = self.phone(auto_answer=None, auto_ring=False)
        phone.on_call = lambda call: call.redirect("sip:carol@203.0.113.9")
        found = self.finding(self.visit(), "call")
        self.assertIn("it sends the call elsewhere, with 302 'Moved Temporarily': to sip:carol@203.0.113.9", found.text)

    def test_busy(self) -> None:
        """A refusal is told with its status, and what it means."""
        phone = self.phone(auto_answer=None, auto_ring=False)
        phone.on_call = lambda call: call.reject(486)
        found = self.finding(self.visit(), "call")
        self.assertEqual((found.outcome, found.text), (BAD, "it refused the call with 486 'Busy Here'"))
        self.assertEqual(found.advice, "The number is busy: try another one.")

    def test_min_se(self) -> None:
        """RFC 4028 7.3: a 422 is followed, and told."""
        from telephony.testing.phone_timer import TimerWish

        self.phone(session_timer=TimerWish(1800, min_se=600))
        found = self.finding(self.visit(), "session timer")
        self.assertIn("90 s were too short for it (422), it wants 600 s or more; then 600 s agreed", found.text)
        self.assertIn("sip.session_expires below 600", found.advice)

    def test_echo(self) -> None:
        """Our own sound that comes back is known by correlation: how late, how loud."""
        phone = self.phone(media=False)

        def echo(call: Any) -> None:
            port = call.media.audio._rtp
            received = port.received

            def back(data: bytes, source: Any) -> None:
                received(data, source)
                self.network.clock.callLater(0.15, port.send, data, source)

            port.received = back

        phone.on_call = echo
        found = self.finding(self.visit(), "audio")
        self.assertEqual(found.outcome, Outcome.GOOD)
        self.assertRegex(found.text, r"our own sound comes back after 1[678]\d ms, as loud as it went")


class RequestsOnly(DoctorCase):
    """What the doctor asks, as the other side sees it."""

    def test_no_calls(self) -> None:
        """--no-calls, and a target without a number: nobody's phone rings, and it is said why."""
        phone = self.phone()
        for target, options, why in (
            ("sip:bob@10.0.1.2", {"calls": False}, "--no-calls was given"),
            ("sip:10.0.1.2", {}, "the target names no number; give one like sip:3300@10.0.1.2 to have it called"),
        ):
            report = self.visit(target, **options)
            self.assertEqual(self.finding(report, "call").text, why)
            self.assertEqual(report.status, 0)
        self.assertEqual(phone.calls, [])
        asked = {one.message.method for one in phone.log if isinstance(one.message, Request)}
        self.assertEqual(asked, {"OPTIONS"})

    def test_interrupted(self) -> None:
        """Ctrl-C at any moment: the call is over at the peer's, too, whether it had been answered or not."""
        for moment in (0.02, 0.1, 0.3, 1.0, 5.2, 6.5):
            with self.subTest(moment=moment):
                self.setUp()
                phone = self.phone()
                examination = self.examination()
                self.network.clock.callLater(moment, examination.interrupt)
                report = self.carried_out(examination)
                self.assertEqual((report.interrupted, report.status), (True, 130))
                self.network.advance(1)
                for call in phone.calls:
                    self.assertFalse(call.alive, moment)
                self.assertEqual(phone.faults(), [])
                self.tearDown()
        self.setUp()

    def test_bounded(self) -> None:
        """A peer that answers nothing but OPTIONS doesn't hold the doctor for longer than a visit may take."""
        quirks = Quirks()
        self.phone(quirks=quirks)
        deaf = lambda one: one if one.cseq.method == "OPTIONS" else None  # noqa: E731
        quirks.alter = deaf
        report = self.visit()
        self.assertEqual(self.finding(report, "call").text, "no answer of any kind to our INVITE within 30 s")
        self.assertLess(report.seconds, 60)
