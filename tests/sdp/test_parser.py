"""Descriptions from bytes and back: RFC 8866 sections 5 and 9."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sdp.model import (
    MEDIA_LETTERS,
    SESSION_LETTERS,
    Connection,
    MediaDescription,
    Origin,
    SessionDescription,
)
from telephony.sdp.parser import MAX_MEDIA, parse_sdp, whole_number

#: RFC 8866 section 5.
EXAMPLE = b"""v=0\r
o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r
s=Call to John Smith\r
i=SDP Offer #1\r
u=http://www.jdoe.example.com/home.html\r
e=Jane Doe <jane@jdoe.example.com>\r
p=+1 617 555-6011\r
c=IN IP4 198.51.100.1\r
t=0 0\r
m=audio 49170 RTP/AVP 0\r
m=audio 49180 RTP/AVP 0\r
m=video 51372 RTP/AVP 99\r
c=IN IP6 2001:db8::2\r
a=rtpmap:99 h263-1998/90000\r
"""

tokens = st.text("abcXYZ019-._+/", min_size=1, max_size=12)
words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=30).map(
    lambda text: text.strip(" \t")
)
attributes = st.lists(
    st.tuples(tokens, st.none() | words),
    max_size=4,
)
connections = st.none() | st.builds(Connection, st.just("IN"), st.sampled_from(["IP4", "IP6"]), tokens)


def raw_lines(letters: str, always: tuple[str, ...] = ()) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Lines that are kept as they come, in the order of writing."""
    return st.lists(st.tuples(st.sampled_from(letters), words), max_size=3).map(
        lambda lines: sorted([*((one, "0 0") for one in always), *lines], key=lambda line: letters.index(line[0]))
    )


media = st.builds(
    MediaDescription,
    tokens,
    st.integers(0, 65535),
    tokens,
    st.lists(tokens, min_size=1, max_size=4),
    st.integers(1, 9),
    connections,
    attributes,
    raw_lines(MEDIA_LETTERS),
)
sessions = st.builds(
    SessionDescription,
    st.builds(Origin, tokens, tokens, tokens, tokens, tokens, tokens),
    words.map(lambda text: text or "-"),
    connections,
    attributes,
    raw_lines(SESSION_LETTERS, ("t",)),
    st.lists(media, max_size=3),
)


class ParserTests(SynchronousTestCase):
    def test_the_example_of_the_rfc(self) -> None:
        """RFC 8866 section 5: every part is where it belongs, and writing gives the same bytes."""
        session = parse_sdp(EXAMPLE)
        self.assertEqual(session.origin, Origin("jdoe", "3724394400", "3724394405", "IN", "IP4", "198.51.100.1"))
        self.assertEqual(session.connection, Connection("IN", "IP4", "198.51.100.1"))
        self.assertEqual(
            [(m.media, m.port) for m in session.media], [("audio", 49170), ("audio", 49180), ("video", 51372)]
        )
        self.assertEqual(session.media[2].connection, Connection("IN", "IP6", "2001:db8::2"))
        self.assertEqual(session.media[2].attribute("rtpmap"), "99 h263-1998/90000")
        self.assertEqual(session.to_bytes(), EXAMPLE)

    def test_line_ends(self) -> None:
        """RFC 8866 section 9: a bare LF passes; so do a bare CR, an empty line and a missing last line end."""
        expected = parse_sdp(EXAMPLE)
        for odd in (b"\n", b"\r", b"\r\n\r\n"):
            self.assertEqual(parse_sdp(EXAMPLE.replace(b"\r\n", odd)), expected)
        self.assertEqual(parse_sdp(EXAMPLE.rstrip()), expected)

    def test_what_passes_although_it_should_not(self) -> None:
        """Architecture rule 13, liberal in: no s=, no t=, unknown letters, odd blanks."""
        session = parse_sdp(b"v=0 \no=Some Phone 1 2 IN IP4 h\nx=what\nm=audio 5004/2  RTP/AVP 0  8 \nq=\na=sendonly ")
        self.assertEqual(session.origin.username, "Some Phone")
        self.assertEqual(session.name, "-")
        self.assertEqual(session.other, [("t", "0 0")])
        self.assertEqual(
            session.media, [MediaDescription("audio", 5004, "RTP/AVP", ["0", "8"], 2, attributes=[("sendonly", None)])]
        )

    def test_bytes_that_are_not_utf8(self) -> None:
        """RFC 8866 section 5.3: another character set's bytes survive unchanged."""
        data = EXAMPLE.replace(b"John", b"J\xf6rg")
        self.assertEqual(parse_sdp(data).to_bytes(), data)

    def test_what_does_not_pass(self) -> None:
        """RFC 8866 section 5: what can't be read is refused with a 400, naming the line."""
        head = b"v=0\r\no=- 1 1 IN IP4 h\r\n"
        for data, word in (
            (b"", "v=0"),
            (b"\r\n", "v=0"),
            (b"v=1\r\n", "v=0"),
            (b"o=- 1 1 IN IP4 h\r\nv=0\r\n", "v=0"),
            (b"v=0\r\n", "o="),
            (b"v=0\r\no=- 1 1 IN IP4\r\n", "o="),
            (head + b"c=IN IP4\r\n", "c="),
            (head + b"m=audio 1 RTP/AVP\r\n", "m="),
            (head + b"m=audio 65536 RTP/AVP 0\r\n", "65536"),
            (head + b"m=audio -1 RTP/AVP 0\r\n", "-1"),
            (head + b"m=audio 1/x RTP/AVP 0\r\n", "1/x"),
            (head + "m=audio \u0661 RTP/AVP 0\r\n".encode(), "port"),
            (head + b"m=audio " + b"9" * 5000 + b" RTP/AVP 0\r\n", "port"),
            (head + b"what is this\r\n", "what is this"),
            (head + b"ab=c\r\n", "ab=c"),
            (head + b"=c\r\n", "=c"),
            (head + b"s=\0\r\n", "NUL"),
            (head + b"m=audio 1 RTP/AVP 0\r\n" * (MAX_MEDIA + 1), "m="),
            (head + b"a=x\r\n" * 20000, "bytes"),
        ):
            error = self.assertRaises(RemoteProtocolError, parse_sdp, data)
            self.assertEqual(error.status, 400)
            self.assertIn(word, str(error))

    def test_garbage_raises_one_thing_only(self) -> None:
        """Architecture rule 3: a peer can't make us raise anything but RemoteProtocolError."""

        @settings(deadline=None)
        @given(st.binary(max_size=300) | st.binary(max_size=200).map(EXAMPLE[:200].__add__))
        def check(data: bytes) -> None:
            try:
                session = parse_sdp(data)
            except RemoteProtocolError:
                return
            self.assertEqual(parse_sdp(session.to_bytes()), session)

        check()

    def test_damaged_descriptions(self) -> None:
        """The same for a good description with bytes cut out and put in."""

        @settings(deadline=None)
        @given(st.integers(0, len(EXAMPLE)), st.integers(0, 40), st.binary(max_size=20))
        def check(start: int, cut: int, put: bytes) -> None:
            try:
                session = parse_sdp(EXAMPLE[:start] + put + EXAMPLE[start + cut :])
            except RemoteProtocolError:
                return
            self.assertEqual(parse_sdp(session.to_bytes()), session)

        check()

    def test_written_and_read_again(self) -> None:
        """Parsing and writing are inverse."""

        @settings(deadline=None)
        @given(sessions)
        def check(session: SessionDescription) -> None:
            self.assertEqual(parse_sdp(session.to_bytes()), session)

        check()

    def test_numbers(self) -> None:
        """Only plain decimal digits within the bound are a number."""
        self.assertEqual([whole_number(text, 99) for text in ("0", "007", "99")], [0, 7, 99])
        for text in ("", "100", "-1", "+1", " 1", "1_0", "\u0661", "\u00b2", "9" * 5000):
            self.assertIsNone(whole_number(text, 99))


class WritingTests(SynchronousTestCase):
    def test_no_line_can_be_smuggled_in(self) -> None:
        """Architecture rule 13: no CR, LF or NUL gets out, wherever it was put."""
        for bad in ("a\rb", "a\nb", "a\0b"):
            for session in (
                SessionDescription(name=bad),
                SessionDescription(Origin(username=bad)),
                SessionDescription(attributes=[("tool", bad)]),
                SessionDescription(media=[MediaDescription("audio", 1, "RTP/AVP", [bad])]),
            ):
                self.assertRaises(ValueError, session.to_bytes)

    def test_order_of_lines(self) -> None:
        """RFC 8866 section 5: lines of a description that came in another order are written in the right one."""
        session = parse_sdp(
            b"v=0\nm=audio 1 RTP/AVP 0\na=x\nb=AS:64\nc=IN IP4 h\ni=title\n".replace(
                b"m=", b"a=y\nt=0 0\nb=CT:1\nc=IN IP4 g\ns=n\no=- 1 1 IN IP4 h\nm="
            )
        )
        letters = [line[:1] for line in session.to_bytes().decode().splitlines()]
        self.assertEqual("".join(letters), "voscbtamicba")

    def test_attributes(self) -> None:
        """RFC 8866 section 5.13: a flag has no value, an attribute's value may be empty or have colons in it."""
        session = SessionDescription(attributes=[("a", None), ("b", ""), ("c", "1:2"), ("c", "3")])
        self.assertEqual(parse_sdp(session.to_bytes()).attributes, session.attributes)
        self.assertEqual([session.attribute(name) for name in "abcd"], ["", "", "1:2", None])
        self.assertEqual(session.attribute_values("c"), ["1:2", "3"])


class TortureTests(SynchronousTestCase):
    def test_descriptions_of_rfc5118(self) -> None:
        """RFC 5118 sections 4.7 and 4.9: IPv6 in SDP, both families in one description, IPv4-mapped addresses."""
        for connection in ("IN IP6 2001:db8::20", "IN IP4 192.0.2.1", "IN IP6 ::ffff:192.0.2.2"):
            session = parse_sdp(
                b"v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=Live video feed\r\n"
                b"c=" + connection.encode() + b"\r\nt=3338481189 3370017201\r\nm=audio 6000 RTP/AVP 2\r\n"
                b"a=rtpmap:2 G726-32/8000\r\nm=video 6024 RTP/AVP 107\r\na=rtpmap:107 H263-1998/90000\r\n"
            )
            self.assertEqual(str(session.connection), connection)
            self.assertEqual(session.other, [("t", "3338481189 3370017201")])
