"""Typed views of a message's fields, and responses made of a request's own text: neither may differ from the fields.

Whatever is read before or after a change, a message says what its fields say (RFC 3261 7.3, 20).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip import headers, uri
from telephony.sip.answering import note_source
from telephony.sip.headers import NameAddr, parse_name_addr, parse_via
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.parser import parse_message
from telephony.sip.uri import SipUri, parse_uri
from tests.sip.test_properties import name_addrs, quietly, requests, tokens, vias

#: Every typed view of a message.
VIEWS: dict[str, Callable[[Message], object]] = {
    "via": lambda message: message.via,
    "vias": lambda message: message.vias,
    "from": lambda message: message.from_,
    "to": lambda message: message.to,
    "call-id": lambda message: message.call_id,
    "cseq": lambda message: message.cseq,
    "max-forwards": lambda message: message.max_forwards,
    "contact": lambda message: message.contacts,
    "route": lambda message: message.routes,
    "record-route": lambda message: message.record_routes,
    "require": lambda message: message.require,
    "supported": lambda message: message.supported,
    "content-type": lambda message: message.content_type,
    "uri": lambda message: message.parsed_uri if isinstance(message, Request) else None,
}
NAMES = ["Via", "v", "From", "t", "To", "CALL-ID", "CSeq", "Max-Forwards", "Contact", "Route", "Record-Route"]
NAMES += ["Require", "Supported", "k", "Content-Type", "X-Else"]
#: What fields may be given: of each kind some, so that they are right in one place and wrong in another.
VALUES = st.one_of(
    name_addrs.map(str),
    vias.map(str),
    tokens,
    st.sampled_from(
        [
            "*",
            "",
            "7",
            "256",
            "70",
            "1 INVITE",
            "007 BYE",
            "2147483648 BYE",
            "1  BYE",
            "a, b",
            "<sip:a>, <sip:b>;lr",
            ",",
        ]
    ),
    st.sampled_from(["SIP/2.0/UDP a, SIP/2.0/TCP b", "<sip:a", '"', "\x01", "SIP/2.0/UDP [::1]:5060", "x/y ; z=1"]),
)


def seen(message: Message, name: str) -> str:
    """Return what a view says, or the error that it raises."""
    try:
        return repr(VIEWS[name](message))
    except RemoteProtocolError as error:
        return f"{error.status} {error}"


@st.composite
def changes(draw: st.DrawFn) -> Callable[[Message], object]:
    """Draw one change of a message."""
    name, value = draw(st.sampled_from(NAMES)), draw(VALUES)
    kind = draw(st.sampled_from(["set", "add", "add_first", "remove", "replace_via", "uri"]))
    if kind == "remove":
        return lambda message: message.remove(name)
    if kind == "replace_via":
        via = draw(vias)

        def replace(message: Message) -> None:
            if message.has("Via"):
                with contextlib.suppress(RemoteProtocolError):  # there was a list that can't be split
                    message.replace_via(via)

        return replace
    if kind == "uri":
        new = draw(st.sampled_from(["sip:a@b;c=d", "tel:1", "sip:x", "sip:x:5060", "nothing"]))
        return lambda message: setattr(message, "uri", new) if isinstance(message, Request) else None

    def change(message: Message) -> None:
        with contextlib.suppress(ValueError):  # a CR, LF or NUL: nothing has been changed
            getattr(message, kind)(name, value)

    return change


class ViewTests(SynchronousTestCase):
    @quietly
    @given(requests(), st.lists(st.tuples(st.lists(st.sampled_from(sorted(VIEWS)), max_size=5), changes()), max_size=6))
    def test_changed_after_reading(
        self, request: Request, steps: list[tuple[list[str], Callable[[Message], object]]]
    ) -> None:
        """RFC 3261 20: a view that was read before a field was changed says what the field says after it."""
        message = parse_message(request.to_bytes())
        assert message is not None
        for read, change in steps:
            for name in read:
                seen(message, name)
            change(message)
            anew = message.copy()
            for name in VIEWS:
                self.assertEqual(seen(message, name), seen(anew, name), name)

    @quietly
    @given(requests(), st.lists(changes(), max_size=4))
    def test_a_copy_by_itself(self, request: Request, steps: list[Callable[[Message], object]]) -> None:
        """RFC 3261 8.1.3.5: a request sent again is changed without the first one, whatever was read of that."""
        before = {name: seen(request, name) for name in VIEWS}
        data = request.to_bytes()
        other = request.copy()
        for name in VIEWS:
            self.assertEqual(seen(other, name), before[name])
        for change in steps:
            change(other)
        self.assertEqual(request.to_bytes(), data)
        self.assertEqual({name: seen(request, name) for name in VIEWS}, before)

    def test_own_values(self) -> None:
        """RFC 3261 19.1.1: what is remembered of texts that repeat is nobody's to change."""
        first, second = parse_uri("sip:192.0.2.1:5060"), parse_uri("sip:192.0.2.1:5060")
        assert isinstance(first, SipUri)
        self.assertEqual(first, second)
        self.assertEqual(first, SipUri("sip", None, None, "192.0.2.1", 5060))
        with self.assertRaises(TypeError):
            first.params["lr"] = None  # type: ignore[index]
        self.assertRaises(AttributeError, setattr, first, "host", "elsewhere")
        one, other = parse_via("SIP/2.0/UDP a:5060;branch=1"), parse_via("SIP/2.0/UDP a:5060;branch=2")
        one.params["branch"] = one.host = "changed"
        self.assertEqual((other.host, other.branch), ("a", "2"))
        self.assertEqual(parse_via("SIP/2.0/UDP a:5060").host, "a")

    def test_remembered_texts_are_bounded(self) -> None:
        """architecture.md rule 10: however many peers there are, so many are remembered; nobody's branch or user is."""
        hops, uris = headers._hop, uri._remembered
        for number in range(headers.REMEMBERED + 100):
            parse_via(f"SIP/2.0/UDP h{number};branch=z9hG4bK{number}")
        self.assertEqual(hops.cache_info().currsize, headers.REMEMBERED)
        for number in range(uri.REMEMBERED + 100):
            parse_uri(f"sip:h{number}")
        self.assertEqual(uris.cache_info().currsize, uri.REMEMBERED)
        before = hops.cache_info().misses, uris.cache_info().misses
        parse_via(f"SIP/2.0/UDP {'h' * headers.LONGEST}:1")
        parse_uri(f"sip:{'h' * uri.LONGEST}")
        parse_uri("sip:alice@h1")
        parse_uri("sip:h1;transport=tcp")
        parse_via(f"SIP/2.0/UDP h{headers.REMEMBERED + 99};branch=another")
        self.assertEqual((hops.cache_info().misses, uris.cache_info().misses), before)

    def test_wrong_each_time(self) -> None:
        """RFC 3261 8.2.2.1: what is no Via and no URI isn't the second time either."""
        for _ in range(3):
            for text in (
                "SIP/2.0/UDP a:99999",
                "SIP/2.0/UDP [::x]",
                "SIP/2.0/UDP",
                "HTTP/1.1/TCP a",
                "SIP/2.0/UDP a:0",
            ):
                self.assertRaises(RemoteProtocolError, parse_via, text)
            for text in ("sip:", "sip:h:99999", "nothing", "sip:[::x]", "sip:a b"):
                self.assertRaises(RemoteProtocolError, parse_uri, text)


class ResponseTests(SynchronousTestCase):
    @quietly
    @given(requests(), st.sampled_from([100, 180, 200, 404, 487]), st.lists(name_addrs, max_size=2), st.booleans())
    def test_the_same_as_from_parts(self, request: Request, status: int, routes: list[NameAddr], split: bool) -> None:
        """RFC 3261 8.2.6.2: a response made of a request's own bytes is the one built from what they say."""
        for route in routes:
            request.add("Record-Route", str(route))
        if split:
            request.set("Via", ", ".join(request.get_all("Via")))
        arrived = parse_message(request.to_bytes())
        assert isinstance(arrived, Request)
        made = parse_message(respond(arrived, status, to_tag="5f2b").to_bytes())
        to = request.to if request.to.tag is not None or status == 100 else request.to.with_tag("5f2b")
        parts = Response(status)
        for via in request.vias:
            parts.add("Via", str(via))
        parts.add("From", str(request.from_))
        parts.add("To", str(to))
        parts.add("Call-ID", request.call_id)
        parts.add("CSeq", str(request.cseq))
        if 100 < status < 300:
            for route in routes:
                parts.add("Record-Route", str(route))
        built = parse_message(parts.to_bytes())
        assert isinstance(made, Response) and isinstance(built, Response)
        self.assertEqual((made.start_line, made.body), (built.start_line, built.body))
        self.assertEqual(made.record_routes, built.record_routes)
        for name in ("vias", "from", "call-id", "cseq", "to"):
            self.assertEqual(VIEWS[name](made), VIEWS[name](built), name)
        self.assertEqual(
            {name for name, _ in made.fields if name != "Content-Length"},
            {name for name, _ in built.fields if name != "Content-Length"},
        )
        # What isn't ours to change is there as it came, byte by byte.
        for name in ("Via", "From", "Call-ID", "CSeq"):
            self.assertEqual(made.get_all(name), arrived.get_all(name))

    @quietly
    @given(requests(), st.sampled_from([("192.0.2.7", 4711), ("2001:db8::7", 1)]))
    def test_where_it_came_from(self, request: Request, source: tuple[str, int]) -> None:
        """RFC 3261 18.2.1, RFC 3581 4: of the topmost Via received and rport are new, and nothing else of it."""
        arrived = parse_message(request.to_bytes())
        assert isinstance(arrived, Request)
        before, others = arrived.via, arrived.get_all("Via")[1:]
        note_source(arrived, source)
        told = parse_message(respond(arrived, 200).to_bytes())
        assert told is not None
        for via in (arrived.via, told.via):
            self.assertEqual((via.transport, via.host, via.port), (before.transport, before.host, before.port))
            expected = dict(before.params)
            if before.host != source[0] or "rport" in expected or "received" in expected:
                expected["received"] = source[0]
            if "rport" in expected:
                expected["rport"] = str(source[1])
            self.assertEqual(via.params, expected)
        self.assertEqual(told.get_all("Via")[1:], others)

    def test_a_tag_however_it_is_written(self) -> None:
        """RFC 3261 19.3: the quick way to read a tag, and the other one, find the same."""
        for text, tag in (
            ("<sip:a>;tag=x", "x"),
            ("<sip:a>;TAG=x", "x"),
            ("<sip:a> ;tag=x", "x"),
            ("<sip:a>; tag = x ", "x"),
            ("sip:a;tag=x", "x"),
            ("<sip:a;tag=y>;tag=x;z", "x"),
            ('"<sip:b>;tag=y" <sip:a>;tag=x', "x"),
            ('"\\"" <sip:a>;tag=x', "x"),
            ("<sip:a>;tag=", None),
            ("<sip:a>;tag", None),
            ("<sip:a>", None),
            ('<sip:a>;tag="x"', '"x"'),
        ):
            address = parse_name_addr(text)
            self.assertEqual(address.tag, tag, text)
            self.assertIn(address.uri, ("sip:a", "sip:a;tag=y"))
