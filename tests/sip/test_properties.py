"""What holds for any text: parse and write are inverse, splits make no difference, garbage raises one thing only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import parse_parameters, quote, split_list, unquote
from telephony.sip.headers import CSeq, NameAddr, Via, parse_cseq, parse_name_addr, parse_name_addrs, parse_via
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.parser import KeepAlive, StreamParser, UnparsableMessage, parse_message
from telephony.sip.uri import OtherUri, SipUri, TelUri, parse_uri

quietly = settings(deadline=None, database=None)

_ALNUM = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
tokens = st.text(_ALNUM + "-.!%*_+`'~", min_size=1, max_size=12)
hosts = (
    st.from_regex(r"[a-z0-9]([a-z0-9\-]{0,8}[a-z0-9])?(\.[a-z0-9]{1,5}){0,3}", fullmatch=True)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(str)
)
ports = st.none() | st.integers(1, 65535)
shown = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
quoted = shown.map(quote)
lower_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.!*_+'~", min_size=1, max_size=8)
parameters = st.dictionaries(lower_names, st.none() | tokens | quoted, max_size=4)

uri_parameters = st.dictionaries(
    st.text("abcxyz019-_.!~*'()[]/:&+$;=% ü", min_size=1, max_size=8),
    st.none() | st.text(_ALNUM + "-_.!~*'()[]/:&+$%", max_size=8),
    max_size=3,
)
users = st.text(_ALNUM + "-_.!~*'()&=+$,;?/%#", min_size=1, max_size=12)
sip_uris = st.builds(
    lambda scheme, user, password, host, port, params, headers: SipUri(
        scheme, user, None if user is None else password, host, port, params, headers
    ),
    st.sampled_from(["sip", "sips"]),
    st.none() | users,
    st.none() | st.text(_ALNUM + "&=+$,", max_size=6),
    hosts,
    ports,
    uri_parameters,
    st.text(_ALNUM + "=&%[]/?:+$", max_size=10),
)
uris = (
    sip_uris
    | st.builds(TelUri, st.from_regex(r"\+?[0-9]([0-9\-.()]{0,8}[0-9])?", fullmatch=True), uri_parameters)
    | st.builds(OtherUri, st.just("urn"), st.text(_ALNUM + ":;-@/", min_size=1, max_size=10))
)
name_addrs = st.builds(NameAddr, st.none() | shown, uris.map(str), parameters)
vias = st.builds(Via, tokens.map(str.upper), hosts, ports, parameters)

bodies = st.binary(max_size=60)
#: Values of a field nobody knows: whatever one line can hold.
values = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=("Cc", "Cs")), max_size=30).map(
    lambda text: text.strip(" \t")
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """Draw a request that passes its check."""
    method = draw(st.sampled_from(["INVITE", "BYE", "OPTIONS"]) | tokens)
    request = Request(method, str(draw(uris)), draw(bodies))
    for via in draw(st.lists(vias, min_size=1, max_size=3)):
        request.add("Via", str(via))
    request.add("From", str(draw(name_addrs)))
    request.add("To", str(draw(name_addrs)))
    request.add("Call-ID", draw(tokens))
    request.add("CSeq", f"{draw(st.integers(0, 2**31 - 1))} {method}")
    for contact in draw(st.lists(name_addrs, max_size=2)):
        request.add(draw(st.sampled_from(["Contact", "m", "CONTACT"])), str(contact))
    for name, value in draw(st.lists(st.tuples(tokens.map(lambda text: "X-" + text), values), max_size=3)):
        request.add(name, value)
    return request


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Draw a way to cut ``data`` into pieces."""
    points = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *points], [*points, len(data)], strict=True)]


def essence(message: Message) -> tuple[object, ...]:
    """Return what makes two messages the same."""
    return (
        type(message),
        message.start_line,
        [(name.lower(), value) for name, value in message.fields if name != "Content-Length"],
        message.body,
    )


def streamed(pieces: Sequence[bytes]) -> tuple[list[object], str | None]:
    """Return what a stream in these pieces yields, and the error it ends with."""
    parser = StreamParser()
    out: list[object] = []

    def note(items: Sequence[Request | Response | KeepAlive]) -> None:
        out.extend("ping" if isinstance(item, KeepAlive) else essence(item) for item in items)

    for piece in pieces:
        try:
            note(parser.feed(piece))
        except UnparsableMessage as error:
            note(error.messages)
            return out, f"{error.status} {error} {error.partial!r}"
    return out, None


class InverseTests(SynchronousTestCase):
    @quietly
    @given(uris)
    def test_uris(self, uri: SipUri | TelUri | OtherUri) -> None:
        """RFC 3261 19.1.1, RFC 3966: what is written is read as it was."""
        self.assertEqual(parse_uri(str(uri)), uri)

    @quietly
    @given(sip_uris)
    def test_equals_itself(self, uri: SipUri) -> None:
        """RFC 3261 19.1.4: every URI equals itself, through text as well."""
        self.assertTrue(uri.equals(parse_uri(str(uri))))

    @quietly
    @given(st.lists(name_addrs, min_size=1, max_size=4))
    def test_addresses(self, addresses: list[NameAddr]) -> None:
        """RFC 3261 20.10: single and as a list, whatever the names hold."""
        self.assertEqual(parse_name_addr(str(addresses[0])), addresses[0])
        self.assertEqual(parse_name_addrs(", ".join(map(str, addresses))), addresses)

    @quietly
    @given(vias)
    def test_vias(self, via: Via) -> None:
        """RFC 3261 20.42."""
        self.assertEqual(parse_via(str(via)), via)

    @quietly
    @given(st.integers(0, 2**31 - 1), tokens)
    def test_cseqs(self, number: int, method: str) -> None:
        """RFC 3261 20.16."""
        self.assertEqual(parse_cseq(str(CSeq(number, method))), (number, method))

    @quietly
    @given(shown)
    def test_quoted_strings(self, text: str) -> None:
        """RFC 3261 25.1."""
        self.assertEqual(unquote(quote(text)), text)
        self.assertEqual(split_list(quote(text)), [quote(text)])

    @quietly
    @given(requests())
    def test_requests(self, request: Request) -> None:
        """RFC 3261 7: a request we write is read as it was, and is good."""
        data = request.to_bytes()
        message = parse_message(data)
        assert isinstance(message, Request)
        message.check()
        self.assertEqual(essence(message), essence(request))
        self.assertEqual(parse_message(message.to_bytes()).to_bytes(), message.to_bytes())

    @quietly
    @given(requests(), st.integers(100, 699), values)
    def test_responses(self, request: Request, status: int, reason: str) -> None:
        """RFC 3261 8.2.6: the answer to any good request is good, but for the Vias of others."""
        response = respond(request, status, reason, to_tag="1")
        message = parse_message(response.to_bytes())
        assert isinstance(message, Response)
        self.assertEqual(essence(message), essence(response))
        self.assertEqual((message.call_id, message.cseq), (request.call_id, request.cseq))
        self.assertEqual(message.to.tag, request.to.tag or ("1" if status > 100 else None))


class SplitTests(SynchronousTestCase):
    @quietly
    @given(st.data(), st.lists(requests() | st.sampled_from([b"\r\n", b"\r\n\r\n"]), max_size=5))
    def test_any_split(self, data: st.DataObject, items: list[Request | bytes]) -> None:
        """RFC 3261 18.3: any split of a stream gives the same messages."""
        stream = b"".join(item if isinstance(item, bytes) else item.to_bytes() for item in items)
        whole, error = streamed([stream])
        self.assertIsNone(error)
        self.assertEqual(
            [one for one in whole if one != "ping"], [essence(item) for item in items if isinstance(item, Request)]
        )
        self.assertEqual(streamed(data.draw(cut(stream))), (whole, None))

    @quietly
    @given(st.data(), requests(), requests(), st.integers(0, 2000), st.binary(min_size=1, max_size=4))
    def test_any_split_of_a_broken_stream(
        self, data: st.DataObject, one: Request, two: Request, where: int, junk: bytes
    ) -> None:
        """Where a stream is damaged, any split gives the same messages before the damage, and the same error."""
        stream = one.to_bytes() + two.to_bytes() + one.to_bytes()
        at = where % len(stream)
        stream = stream[:at] + junk + stream[at + len(junk) :]
        self.assertEqual(streamed(data.draw(cut(stream))), streamed([stream]))


#: Pieces that garbage is made of, so that it looks enough like SIP to get somewhere.
_PIECES = [
    *'"<>;,:=@?[]/\\%* \t\r\n\0', "\r\n", "\r\n ", "sip:", "sips:", "tel:", "SIP/2.0", "UDP", "INVITE", "Via: ",
    "From: ", "To: ", "v:", "m: ", "CSeq: ", "Call-ID: ", "Contact: ", "Route: ", "Record-Route: ", "Max-Forwards: ",
    "l: 0\r\n", "Content-Length: 3\r\n", "1", "70", "a", "::1", "[::1]", "tag=", "branch=z9hG4bK", "ü", "\udcff",
]  # fmt: skip
sip_like = st.lists(st.sampled_from(_PIECES), max_size=25).map("".join)
garbage = sip_like | st.text(max_size=40)


def reads(message: Message) -> list[Callable[[], object]]:
    """Return everything that can be read of a message and may raise."""
    names = (
        "via vias from_ to call_id cseq max_forwards contacts contact_star routes record_routes require supported "
        "content_type fields"
    )
    return [message.check, *((lambda name=name: getattr(message, name)) for name in names.split())]


class GarbageTests(SynchronousTestCase):
    def only(self, work: Callable[[], object]) -> None:
        """Do something that may raise RemoteProtocolError with a fitting status, and nothing else."""
        try:
            work()
        except RemoteProtocolError as error:
            self.assertIn(error.status, (400, 505, 513))
            self.assertLess(len(str(error)), 400)

    def judge(self, message: Message) -> None:
        """Read all of a message that was parsed, answer it, and write it."""
        for read in reads(message):
            self.only(read)
        if isinstance(message, Request):
            self.only(lambda: message.parsed_uri)
            answer = respond(message, 400, to_tag="x")
            parse_message(answer.to_bytes())
            message.copy().to_bytes()
        again = Response(200)
        for name, value in message.fields:
            again.add(name, value)
        again.to_bytes()

    @quietly
    @given(garbage)
    def test_values(self, text: str) -> None:
        """architecture.md rule 3: a peer can't make us raise anything else, wherever the text stands."""
        for parse in (
            parse_uri,
            parse_name_addr,
            parse_name_addrs,
            parse_via,
            parse_cseq,
            parse_parameters,
            split_list,
        ):
            self.only(lambda parse=parse: parse(text))

    @quietly
    @given(st.binary(max_size=200) | sip_like.map(lambda text: text.encode("utf-8", "surrogateescape")))
    def test_datagrams(self, data: bytes) -> None:
        """architecture.md rule 3: any datagram."""
        try:
            message: Message | None = parse_message(data)
        except UnparsableMessage as error:
            message = error.partial
        if message is not None:
            self.judge(message)

    @quietly
    @given(requests(), st.integers(0, 2000), sip_like)
    def test_damaged_requests(self, request: Request, where: int, junk: str) -> None:
        """architecture.md rule 3: a good request with something wrong in the middle of it."""
        data = request.to_bytes()
        at = where % len(data)
        damaged = data[:at] + junk.encode("utf-8", "surrogateescape") + data[at + where % 5 :]
        try:
            message: Message | None = parse_message(damaged)
        except UnparsableMessage as error:
            message = error.partial
        if message is not None:
            self.judge(message)

    @quietly
    @given(st.data(), st.binary(max_size=200) | sip_like.map(lambda text: text.encode("utf-8", "surrogateescape")))
    def test_streams(self, data: st.DataObject, stream: bytes) -> None:
        """architecture.md rule 3: any stream, and however it is cut."""
        self.assertEqual(streamed(data.draw(cut(stream))), streamed([stream]))
