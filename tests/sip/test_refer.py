"""What REFER, its NOTIFYs and Replaces say: read and written (RFC 3515, RFC 3891, RFC 3892, RFC 6665)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.headers import parse_name_addr
from telephony.sip.message import Request, reason_phrase
from telephony.sip.refer_words import (
    Report,
    asks_for_privacy,
    format_refer_to,
    is_anonymous,
    read_refer,
    read_report,
    write_report,
)
from telephony.sip.replaces import MOST_ENDED, Ended, Replaces, parse_replaces, replaces_of
from telephony.sip.uri import SipUri, TelUri
from tests.sip.fakes import uri

TOKENS = st.text("abcXYZ019-.!%*_+`'~", min_size=1, max_size=20)
CALL_IDS = st.text("abcXYZ019-.!%*_+`'~()<>:\\/[]?{}@", min_size=1, max_size=40)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=60)


def refer(*values: str, **fields: str) -> Request:
    """Return a REFER with these Refer-To."""
    request = Request("REFER", "sip:a@b")
    for value in values:
        request.add("Refer-To", value)
    for name, value in fields.items():
        request.add(name.replace("_", "-"), value)
    return request


def notify(event: str = "refer", state: str = "active;expires=60", body: bytes = b"", kind: str = "") -> Request:
    """Return a NOTIFY."""
    request = Request("NOTIFY", "sip:a@b")
    for name, value in (("Event", event), ("Subscription-State", state), ("Content-Type", kind)):
        if value:
            request.set(name, value)
    request.body = body
    return request


class ReplacesTests(SynchronousTestCase):
    """RFC 3891 6.1."""

    @given(CALL_IDS, TOKENS, TOKENS, st.booleans())
    def test_there_and_back(self, call_id: str, to_tag: str, from_tag: str, early: bool) -> None:
        """RFC 3891 6.1: what is written is read again; also escaped in a Refer-To (RFC 3261 25.1, RFC 5589 7)."""
        replaces = Replaces(call_id, to_tag, from_tag, early)
        self.assertEqual(parse_replaces(str(replaces)), replaces)
        found = read_refer(refer(format_refer_to("sip:carol@10.0.0.4:5060;transport=tcp", replaces)))
        self.assertEqual(found.replaces, replaces)
        self.assertEqual(found.uri, uri("sip:carol@10.0.0.4:5060;transport=tcp"))

    @given(TEXT)
    def test_garbage(self, text: str) -> None:
        """Whatever comes: a dialog, or 400."""
        try:
            found = parse_replaces(text)
        except RemoteProtocolError as error:
            self.assertEqual(error.status, 400)
        else:
            self.assertEqual(parse_replaces(str(found)), found)

    def test_what_it_lacks(self) -> None:
        """RFC 3891 6.1: a Call-ID and both tags; anything else may be there."""
        found = parse_replaces("98732@a.example ; from-tag=r33th4x0r;to-tag=ff87ff;x=1;early-only")
        self.assertEqual(found, Replaces("98732@a.example", "ff87ff", "r33th4x0r", True))
        for text in ("", "a", "a;to-tag=1", "a;from-tag=1", ";to-tag=1;from-tag=2", "a b;to-tag=1;from-tag=2"):
            self.assertRaises(RemoteProtocolError, parse_replaces, text)
        self.assertRaises(RemoteProtocolError, parse_replaces, "x" * 300 + ";to-tag=1;from-tag=2")

    def test_two(self) -> None:
        """RFC 3891 3: more than one is 400; none is none."""
        request = Request("INVITE", "sip:a@b")
        self.assertIsNone(replaces_of(request))
        request.add("Replaces", "a;to-tag=1;from-tag=2")
        self.assertEqual(replaces_of(request), Replaces("a", "1", "2"))
        request.add("Replaces", "b;to-tag=1;from-tag=2")
        self.assertRaises(RemoteProtocolError, replaces_of, request)

    def test_peers_without_tags(self) -> None:
        """RFC 3891 6.1: 0 stands for the tag that an RFC 2543 peer had none of."""
        self.assertEqual(parse_replaces("a;to-tag=1;from-tag=0").remote_tag, "")

    def test_memory_of_the_ended(self) -> None:
        """What has ended is known for a while, and so many of them at most."""
        from telephony.sip.dialog import Dialog

        ended = Ended()
        for number in range(MOST_ENDED + 1):
            target = parse_name_addr("<sip:a@b>")
            ended.note(Dialog(f"call{number}", "<sip:a@b>", "<sip:c@d>", ("1", "2"), (1, 1), target, []))
        self.assertNotIn(Replaces("call0", "1", "2"), ended)
        self.assertIn(Replaces("call1", "1", "2"), ended)
        self.assertNotIn(Replaces("call1", "2", "1"), ended)


class ReferToTests(SynchronousTestCase):
    """RFC 3515 2.1, RFC 3892 2.1."""

    def test_who_is_meant(self) -> None:
        """RFC 3515 2.1: an address with and without brackets, by its compact form too, or a number."""
        for text in (
            "<sip:carol@example.com>",
            "sip:carol@example.com",
            '"Carol" <sip:carol@example.com;method=INVITE>',
        ):
            self.assertEqual(read_refer(refer(text)).uri, uri("sip:carol@example.com"))
        request = Request("REFER", "sip:a@b")
        request.add("r", "<tel:+49301234>")
        request.add("b", "<sip:bob@example.com>")
        found = read_refer(request)
        self.assertEqual(found.uri, TelUri("+49301234"))
        self.assertEqual(found.headers, [("Referred-By", "<sip:bob@example.com>")])

    def test_what_a_uri_carries(self) -> None:
        """RFC 3261 19.1.5: of its header fields Replaces alone is followed; the new INVITE requires that it is."""
        text = "<sip:c@d?Replaces=1%40x%3Bto-tag%3D2%3Bfrom-tag%3D3&Route=%3Csip:evil%3E&body=x>"
        found = read_refer(refer(text))
        self.assertEqual(found.uri, SipUri("sip", "c", None, "d"))
        wanted = [("Replaces", "1@x;to-tag=2;from-tag=3"), ("Require", "replaces")]
        self.assertEqual(found.headers, wanted)

    @given(TEXT)
    def test_garbage(self, text: str) -> None:
        """RFC 3515 2.4.1: whatever stands there, it is an address or it is refused."""
        try:
            found = read_refer(refer(text))
        except RemoteProtocolError as error:
            self.assertIn(error.status, (400, 416, 603))
        else:
            self.assertIsInstance(found.uri, SipUri | TelUri)

    def test_privacy(self) -> None:
        """RFC 3323 4.1, 4.2: an anonymous address, and a wish not to be told."""
        self.assertTrue(is_anonymous(parse_name_addr("<sip:anonymous@Anonymous.invalid>")))
        self.assertFalse(is_anonymous(parse_name_addr("<sip:bob@example.com>")))
        for value, told in (("id", True), ("none", False), ("header; user", True), ("critical", False)):
            request = Request("INVITE", "sip:a@b")
            request.add("Privacy", value)
            self.assertIs(asks_for_privacy(request), told)


class ReportTests(SynchronousTestCase):
    """RFC 3515 2.4.5, RFC 6665 8.2."""

    @given(st.integers(0, 2**31 - 1), st.integers(100, 699), TEXT)
    def test_there_and_back(self, number: int, status: int, reason: str) -> None:
        """RFC 3515 2.4.5: what we report is read as that; a final status ends the subscription."""
        request = notify()
        write_report(request, number, status, reason, 60)
        found = read_report(request)
        self.assertEqual((found.event, found.number, found.status), ("refer", number, status))
        self.assertIs(found.last, status >= 200)
        self.assertEqual(request.body.count(b"\r\n"), 1)

    def test_as_it_is_written(self) -> None:
        """RFC 3515 2.4.6, RFC 6665 4.1.3: Event with the id, Subscription-State with expires or a reason."""
        request = notify()
        write_report(request, 93809823, 100, "", 60)
        self.assertEqual(request.get("Event"), "refer;id=93809823")
        self.assertEqual(request.get("Subscription-State"), "active;expires=60")
        self.assertEqual(request.get("Content-Type"), "message/sipfrag;version=2.0")
        self.assertEqual(request.body, b"SIP/2.0 100 Trying\r\n")
        write_report(request, 1, 486, "", 60)
        self.assertEqual(request.get("Subscription-State"), "terminated;reason=noresource")
        self.assertEqual(request.body, f"SIP/2.0 486 {reason_phrase(486)}\r\n".encode())

    def test_as_others_write_it(self) -> None:
        """Whatever follows the status line is the peer's; without a reason, with a lone LF, with header fields."""
        for body, status, reason in (
            (b"SIP/2.0 200 OK", 200, "OK"),
            (b"SIP/2.0 180\r\n", 180, ""),
            (b"SIP/2.0 603 Declined\nTo: <sip:a@b>\n", 603, "Declined"),
            (b"\r\nSIP/2.0 503 Service Unavailable\r\nRetry-After: 3\r\n\r\n", 503, "Service Unavailable"),
            (b"INVITE sip:a@b SIP/2.0\r\n", 0, ""),
            (b"SIP/2.0 999 What\r\n", 0, ""),
            (b"\xff\xfe", 0, ""),
        ):
            found = read_report(notify(body=body, kind="message/sipfrag"))
            self.assertEqual((found.status, found.reason, found.understood), (status, reason, True))
        self.assertFalse(read_report(notify(body=b"SIP/2.0 200 OK", kind="text/plain")).understood)
        self.assertEqual(read_report(notify(state="terminated;reason=timeout")), Report("refer", None, 0, "", True))

    def test_what_it_lacks(self) -> None:
        """RFC 6665 8.2.1, 8.2.3: Event and Subscription-State have to be there; the id is a CSeq number."""
        for event, state in (
            ("", "active"),
            ("refer", ""),
            ("refer;id=x", "active"),
            ("refer;id=12345678901", "active"),
        ):
            self.assertRaises(RemoteProtocolError, read_report, notify(event, state))

    @given(st.binary(max_size=80), TEXT, TEXT)
    def test_garbage(self, body: bytes, event: str, state: str) -> None:
        """Whatever comes: a report, or 400."""
        try:
            found = read_report(notify(event, state, body, "message/sipfrag"))
        except RemoteProtocolError as error:
            self.assertEqual(error.status, 400)
        else:
            self.assertTrue(found.status == 0 or 100 <= found.status < 700)
