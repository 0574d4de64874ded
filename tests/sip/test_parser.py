"""Datagrams and streams: where a message begins and ends, and the bounds on everything."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.headers import NameAddr
from telephony.sip.message import Request, Response, respond
from telephony.sip.parser import (
    KEEP_ALIVE,
    MAX_FIELDS,
    MAX_HEAD,
    MAX_LINE,
    MAX_MESSAGE,
    KeepAlive,
    StreamParser,
    UnparsableMessage,
    parse_message,
)

OPTIONS = (
    b"OPTIONS sip:b@example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP a.example.com;branch=z9hG4bK1\r\n"
    b"From: <sip:a@example.com>;tag=1\r\n"
    b"To: <sip:b@example.com>\r\n"
    b"Call-ID: 1@a\r\n"
    b"CSeq: 1 OPTIONS\r\n"
)


def parsed(data: bytes) -> Request | Response:
    """Parse what must be a message."""
    message = parse_message(data)
    assert message is not None
    return message


class DatagramTests(SynchronousTestCase):
    def refused(self, data: bytes, status: int = 400) -> UnparsableMessage:
        """Assert that a datagram is refused."""
        error = self.assertRaises(UnparsableMessage, parse_message, data)
        self.assertIsInstance(error, RemoteProtocolError)
        self.assertEqual(error.status, status)
        return error

    def test_request(self) -> None:
        """RFC 3261 7.1: the request line, the fields, the body."""
        message = parsed(OPTIONS + b"Content-Length: 4\r\n\r\nbody")
        assert isinstance(message, Request)
        self.assertEqual((message.method, message.uri, message.version), ("OPTIONS", "sip:b@example.com", "SIP/2.0"))
        self.assertEqual(message.get("Content-Length"), "4")
        self.assertEqual(message.body, b"body")
        message.check()

    def test_response(self) -> None:
        """RFC 3261 7.2: the status line; the phrase may be anything, or missing (RFC 4475 3.1.1.12, 3.1.1.13)."""
        for line, status, reason in (
            (b"SIP/2.0 200 OK", 200, "OK"),
            (b"SIP/2.0 100 ", 100, ""),
            (b"SIP/2.0 100", 100, ""),
            ("sip/2.0 200 = 2**3 * 5**2 но".encode(), 200, "= 2**3 * 5**2 но"),
        ):
            message = parsed(line + b"\r\n\r\n")
            assert isinstance(message, Response)
            self.assertEqual((message.status, message.reason, message.version), (status, reason, "SIP/2.0"))

    def test_body(self) -> None:
        """RFC 3261 18.3: what follows the body is dropped; without Content-Length the rest is the body."""
        self.assertEqual(parsed(OPTIONS + b"l: 4\r\n\r\nbodyINVITE sip:x SIP/2.0\r\n").body, b"body")
        self.assertEqual(parsed(OPTIONS + b"\r\nbody\r\n").body, b"body\r\n")
        self.assertEqual(parsed(OPTIONS + b"L:0\r\n\r\n").body, b"")
        self.assertEqual(parsed(OPTIONS + b"l: 2\r\nl: 2\r\n\r\nab").body, b"ab")
        self.assertEqual(parsed(OPTIONS + b"l: 6\r\n\r\n\0\xff\r\n\r\n").body, b"\0\xff\r\n\r\n")

    def test_bad_lengths(self) -> None:
        """RFC 3261 18.3, RFC 4475 3.1.2.2, 3.1.2.3, 3.3.9: too long, no number, two numbers: 400, and answerable."""
        for length in (b"5", b"9999", b"-999", b"", b"4 4", b"4, 4", b"0x4", b"99999999999999999999", b"4\r\nl: 3"):
            error = self.refused(OPTIONS + b"Content-Length: " + length + b"\r\n\r\nbody")
            assert isinstance(error.partial, Request)
            self.assertEqual(respond(error.partial, error.status, to_tag="1").to.tag, "1")

    def test_keep_alives(self) -> None:
        """RFC 5626 4.4.1, RFC 3261 7.5: CRLFs alone are no message, CRLFs before one are skipped."""
        for data in (b"", b"\r\n", b"\r\n\r\n", b"\r\n" * 20):
            self.assertIsNone(parse_message(data))
        self.assertEqual(parsed(b"\r\n\r\n" + OPTIONS + b"\r\n").to_bytes(), parsed(OPTIONS + b"\r\n").to_bytes())

    def test_no_empty_line(self) -> None:
        """architecture.md rule 13: a missing last CRLF passes."""
        self.assertEqual(parsed(OPTIONS).call_id, "1@a")
        self.assertEqual(parsed(OPTIONS[:-2]).cseq.method, "OPTIONS")

    def test_folding(self) -> None:
        """RFC 3261 7.3.1, RFC 4475 3.1.1.1: a line that begins with white space continues the one before."""
        message = parsed(
            b"INVITE sip:a SIP/2.0\r\nTO :\r\n sip:vivekg@chair.example ;   tag    = 19\r\n"
            b'from   : "J \\\\\\""       <sip:j@example.com>\r\n  ;\r\n  tag = 98\r\ncseq: 0009\r\n\t INVITE\r\n'
            b"Via  : SIP  /   2.0\r\n /UDP\r\n    192.0.2.2;branch=390\r\n"
            b"m:<sip:1>\r\n \r\nm: <sip:2>\r\n ,\r\n <sip:3>\r\n"
            b"Subject: a\r\n b\r\n\tc\r\ns :\r\n\r\n"
        )
        self.assertEqual(message.to, NameAddr(None, "sip:vivekg@chair.example", {"tag": "19"}))
        self.assertEqual(message.from_, NameAddr('J \\"', "sip:j@example.com", {"tag": "98"}))
        self.assertEqual(message.cseq.number, 9)
        self.assertEqual((message.via.transport, message.via.host, message.via.branch), ("UDP", "192.0.2.2", "390"))
        self.assertEqual([contact.uri for contact in message.contacts], ["sip:1", "sip:2", "sip:3"])
        self.assertEqual(message.get_all("Subject"), ["a b c", ""])

    def test_names(self) -> None:
        """RFC 3261 7.3.1, 7.3.3: any case, compact forms, white space before the colon, names nobody knows."""
        message = parsed(
            b"OPTIONS sip:a SIP/2.0\r\nvIa: SIP/2.0/UDP a\r\nV  :SIP/2.0/UDP b\r\n"
            b"NewFangledHeader:   value\r\nextensionHeader-!.%*+_`'~:\xef\xbb\xbf\r\nx-EMPTY:\r\n\r\n"
        )
        self.assertEqual([via.host for via in message.vias], ["a", "b"])
        self.assertEqual(message.get("newfangledheader"), "value")
        self.assertEqual(
            message.fields[2:],
            [("NewFangledHeader", "value"), ("extensionHeader-!.%*+_`'~", "\ufeff"), ("x-EMPTY", "")],
        )

    def test_lines_that_are_no_fields(self) -> None:
        """RFC 3261 7.3: what is no field is 400, and the rest can be read for the answer."""
        for line in (b"garbage", b": value", b"na me: value", b"\xff: x", b"(a): b", b"From"):
            error = self.refused(OPTIONS + line + b"\r\n more of it\r\nSubject: s\r\n\r\n")
            assert error.partial is not None
            self.assertEqual((error.partial.call_id, error.partial.get("Subject")), ("1@a", "s"))
        self.refused(b"OPTIONS sip:a SIP/2.0\r\n folded\r\nFrom: <sip:a>\r\n\r\n")

    def test_start_lines(self) -> None:
        """RFC 3261 7.1, RFC 4475 3.1.1.2, 3.1.2.9, 3.1.2.10: odd request lines that pass."""
        for line, method in (
            (b"INVITE  sip:a  SIP/2.0", "INVITE"),
            (b"OPTIONS sip:a SIP/2.0  ", "OPTIONS"),
            (b"RE%47IST%45R sip:a SIP/2.0", "RE%47IST%45R"),
            (b"invite sip:a sip/2.0", "invite"),
        ):
            message = parsed(line + b"\r\n\r\n")
            assert isinstance(message, Request)
            self.assertEqual((message.method, message.uri, message.version), (method, "sip:a", "SIP/2.0"))
        other = parsed(b"OPTIONS sip:a SIP/7.0\r\n\r\n")
        self.assertEqual(other.version, "SIP/7.0")

    def test_garbage(self) -> None:
        """RFC 4475 3.1.2.19: what is no start line is 400, and nothing is there to answer."""
        for data in (
            b"x",
            b"\0" * 40,
            b"\xff\xfe\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"INVITE\r\n\r\n",
            b"INVITE sip:a\r\n\r\n",
            b"INVITE sip:a SIP/2\r\n\r\n",
            b"IN/VITE sip:a SIP/2.0\r\n\r\n",
            b"SIP/2.0 4294967301 better not break the receiver\r\n\r\n",
            b"SIP/2.0 099 x\r\n\r\n",
            b"SIP/2.0 700 x\r\n\r\n",
            b"SIP/2.0 20 x\r\n\r\n",
            b"SIP/2.0 20\xb2 x\r\n\r\n",
            b"SIP/2.0\r\n\r\n",
            b" \r\n\r\n",
            b":\r\n\r\n",
        ):
            self.assertIsNone(self.refused(data).partial)
        self.assertIsNone(self.refused(b"SIP/2.0 200 OK\r\nl: 4\r\n\r\n").partial)

    def test_request_line_that_can_be_answered(self) -> None:
        """RFC 4475 3.1.2.8: a Request-URI with a space in it is 400, and the answer finds its way."""
        error = self.refused(OPTIONS.replace(b"example.com SIP/2.0", b"example.com; lr SIP/2.0") + b"\r\n")
        assert isinstance(error.partial, Request)
        self.assertEqual((error.partial.method, error.partial.uri), ("OPTIONS", "sip:b@example.com; lr"))
        self.assertEqual(respond(error.partial, 400).cseq.number, 1)
        self.assertIn("lr", repr(error.partial.copy()))

    def test_bare_line_ends(self) -> None:
        """RFC 3261 7: lines end with CRLF; a CR or LF by itself would be read differently by others."""
        for data in (
            OPTIONS.replace(b"\r\n", b"\n"),
            OPTIONS + b"Subject: a\rb\r\n\r\n",
            OPTIONS + b"Subject: a\nVia: b\r\n\r\n",
            OPTIONS + b"Subject: a\r\r\n\r\n",
            OPTIONS + b"Subject: \0a\rb\r\n\r\n",
        ):
            self.refused(data)

    def test_control_characters(self) -> None:
        """RFC 4475 3.1.1.2: they are legal behind a backslash in a quoted string; nothing else ever sees them."""
        message = parsed(OPTIONS + b'Contact: "BEL:\\\x07 NUL:\\\0 DEL:\\\x7f" <sip:a>\r\nSubject: a\tb\r\n\r\n')
        self.assertEqual(message.contacts[0].display, "BEL:\ufffd NUL:\ufffd DEL:\ufffd")
        self.assertEqual(message.get("Subject"), "a\tb")
        again = Response(200)
        for name, value in message.fields:
            again.add(name, value)
        self.refused(b"INVITE sip:a\0b@c SIP/2.0\0\r\n\r\n")
        error = self.assertRaises(RemoteProtocolError, parsed(b"INVITE sip:\0@b\0 SIP/2.0\r\n\r\n").check)
        self.assertEqual(error.status, 400)

    def test_bounds(self) -> None:
        """architecture.md rule 10: everything is bounded; too much is 513."""
        self.refused(OPTIONS + b"\r\n" + b"x" * MAX_MESSAGE, 513)
        self.refused(OPTIONS + b"a: b\r\n" * 6000 + b"\r\n", 513)
        error = self.refused(OPTIONS + b"a: b\r\n" * (MAX_FIELDS - 4) + b"\r\n", 513)
        assert error.partial is not None
        self.assertEqual(error.partial.call_id, "1@a")
        self.assertEqual(len(parsed(OPTIONS + b"a: b\r\n" * (MAX_FIELDS - 5) + b"\r\n").get_all("a")), MAX_FIELDS - 5)
        error = self.refused(OPTIONS + b"a: " + b"b" * MAX_LINE + b"\r\n\r\n", 513)
        assert error.partial is not None
        self.assertEqual(error.partial.call_id, "1@a")
        self.assertEqual(
            len(parsed(OPTIONS + b"a: " + b"b" * (MAX_LINE - 3) + b"\r\n\r\n").get("a") or ""), MAX_LINE - 3
        )
        self.refused(b"OPTIONS sip:" + b"b" * MAX_LINE + b" SIP/2.0\r\n\r\n", 513)
        self.refused(OPTIONS + (b"a: " + b"b" * 8000 + b"\r\n") * 5 + b"\r\n", 513)


class StreamTests(SynchronousTestCase):
    def feed(self, *pieces: bytes) -> list[object]:
        """Return what a new parser makes of these pieces: messages as bytes, keep-alives as they are."""
        parser = StreamParser()
        return [one if isinstance(one, KeepAlive) else one.to_bytes() for piece in pieces for one in parser.feed(piece)]

    def test_messages(self) -> None:
        """RFC 3261 18.3: Content-Length ends a message on a stream."""
        one = OPTIONS + b"Content-Length: 4\r\n\r\nbody"
        two = OPTIONS + b"Content-Length: 0\r\n\r\n"
        self.assertEqual(self.feed(one + two + one), [one, two, one])
        self.assertEqual(self.feed(one[:-1], one[-1:] + two[:3], two[3:]), [one, two])

    def test_byte_by_byte(self) -> None:
        """A stream may come in any pieces."""
        data = b"\r\n" + OPTIONS + b"l: 6\r\n\r\n\r\n\r\n\r\n" + b"\r\n\r\n" + OPTIONS + b"l:0\r\n\r\n"
        whole = self.feed(data)
        self.assertEqual(len(whole), 3)
        self.assertEqual(self.feed(*[data[at : at + 1] for at in range(len(data))]), whole)

    def test_keep_alives(self) -> None:
        """RFC 5626 4.4.1: two CRLFs between messages are a ping; one is a pong, or nothing."""
        one = OPTIONS + b"Content-Length: 0\r\n\r\n"
        self.assertEqual(self.feed(b"\r\n"), [])
        self.assertEqual(self.feed(b"\r\n\r\n"), [KEEP_ALIVE])
        self.assertEqual(self.feed(b"\r", b"\n\r", b"\n"), [KEEP_ALIVE])
        self.assertEqual(self.feed(b"\r\n" + one + b"\r\n" + one), [one, one])
        self.assertEqual(self.feed(one + b"\r\n\r\n\r\n\r\n" + one), [one, KEEP_ALIVE, KEEP_ALIVE, one])
        self.assertEqual(repr(KEEP_ALIVE), "<KeepAlive>")

    def test_no_content_length(self) -> None:
        """RFC 3261 18.3: without one, nobody knows where the next message begins: 400, and the stream is lost."""
        parser = StreamParser()
        error = self.assertRaises(UnparsableMessage, parser.feed, OPTIONS + b"\r\n")
        self.assertEqual(error.status, 400)
        assert isinstance(error.partial, Request)
        self.assertEqual(error.partial.call_id, "1@a")

    def test_lost_for_good(self) -> None:
        """After an error the stream is of no more use; what came before it isn't lost, and isn't told twice."""
        one = OPTIONS + b"Content-Length: 0\r\n\r\n"
        parser = StreamParser()
        error = self.assertRaises(UnparsableMessage, parser.feed, one + b"\r\n\r\n" + b"junk\r\n\r\n" + one)
        self.assertEqual(len(error.messages), 2)
        self.assertEqual(error.messages[1], KEEP_ALIVE)
        again = self.assertRaises(UnparsableMessage, parser.feed, one)
        self.assertEqual((len(again.messages), again.status), (0, 400))

    def test_garbage(self) -> None:
        """What is no message ends the stream with 400."""
        for data in (b"\rx", b"\n\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", OPTIONS + b"l: x\r\n\r\n", b" \r\n\r\n"):
            error = self.assertRaises(UnparsableMessage, StreamParser().feed, data)
            self.assertEqual(error.status, 400)

    def test_bounds(self) -> None:
        """architecture.md rule 10: a header without end and a body too long are 513, before they have come."""
        self.assertEqual(StreamParser().feed(b"x" * (MAX_HEAD + 3)), [])
        error = self.assertRaises(UnparsableMessage, StreamParser().feed, b"x" * (MAX_HEAD + 4))
        self.assertEqual(error.status, 513)
        parser = StreamParser(max_size=1000)
        error = self.assertRaises(UnparsableMessage, parser.feed, OPTIONS + b"l: 900\r\n\r\n")
        self.assertEqual(error.status, 513)
        assert isinstance(error.partial, Request)
        small = OPTIONS + b"l: 600\r\n\r\n" + b"x" * 600
        self.assertEqual(len(StreamParser(max_size=len(small)).feed(small)), 1)
        self.assertRaises(UnparsableMessage, StreamParser(max_size=len(small) - 1).feed, small)
        large = StreamParser(max_size=1_000_000).feed(OPTIONS + b"l: 200000\r\n\r\n" + b"x" * 200000)
        self.assertEqual(len(large), 1)
