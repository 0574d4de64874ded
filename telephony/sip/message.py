"""Requests and responses: header fields in order, typed where a call needs them, and a body (RFC 3261 section 7).

Owns: what a message holds, what any message must hold before we act on it (`Request.check`), and the response that
answers a request (`respond`). Must not know transactions, dialogs or what the body says.

A message keeps its header fields as text. A typed value is parsed when it is first read, remembered, and forgotten when
a field is changed. The five that every message is checked for have a place of their own for that, since they are read
again and again. Text that came from a peer is kept as it came, undecodable bytes included (``surrogateescape``), and a
response has the request's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import check_writable, excerpt, is_token, split_list
from telephony.sip.headers import (
    CANONICAL,
    KEYS,
    CSeq,
    NameAddr,
    Via,
    field_key,
    parse_cseq,
    parse_name_addr,
    parse_number,
    parse_via,
)
from telephony.sip.uri import Uri, parse_uri

T = TypeVar("T")
M = TypeVar("M", bound="Message")

VERSION = "SIP/2.0"

#: The reason phrases of RFC 3261 section 21 and of the RFCs that added to it.
REASONS: dict[int, str] = {
    100: "Trying",
    180: "Ringing",
    181: "Call Is Being Forwarded",
    182: "Queued",
    183: "Session Progress",
    199: "Early Dialog Terminated",
    200: "OK",
    202: "Accepted",
    204: "No Notification",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Moved Temporarily",
    305: "Use Proxy",
    380: "Alternative Service",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    410: "Gone",
    412: "Conditional Request Failed",
    413: "Request Entity Too Large",
    414: "Request-URI Too Long",
    415: "Unsupported Media Type",
    416: "Unsupported URI Scheme",
    420: "Bad Extension",
    421: "Extension Required",
    422: "Session Interval Too Small",
    423: "Interval Too Brief",
    428: "Use Identity Header",
    429: "Provide Referrer Identity",
    430: "Flow Failed",
    433: "Anonymity Disallowed",
    436: "Bad Identity Info",
    437: "Unsupported Credential",
    438: "Invalid Identity Header",
    439: "First Hop Lacks Outbound Support",
    440: "Max-Breadth Exceeded",
    469: "Bad Info Package",
    470: "Consent Needed",
    480: "Temporarily Unavailable",
    481: "Call/Transaction Does Not Exist",
    482: "Loop Detected",
    483: "Too Many Hops",
    484: "Address Incomplete",
    485: "Ambiguous",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    489: "Bad Event",
    491: "Request Pending",
    493: "Undecipherable",
    494: "Security Agreement Required",
    500: "Server Internal Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Server Time-out",
    505: "Version Not Supported",
    513: "Message Too Large",
    580: "Precondition Failure",
    600: "Busy Everywhere",
    603: "Decline",
    604: "Does Not Exist Anywhere",
    606: "Not Acceptable",
    607: "Unwanted",
    608: "Rejected",
}
_CLASSES = {1: "Progress", 2: "OK", 3: "Redirection", 4: "Request Failure", 5: "Server Failure", 6: "Global Failure"}

#: Spaces and control characters: what would break a start line.
_NOT_IN_URI = re.compile(r"[\x00-\x20\x7f]")


class _Beginnings(dict[str, str]):
    """What a field begins with on the wire, by its key; of a name that we don't know that is the key itself."""

    def __missing__(self, key: str) -> str:
        return f"{key}: "


_BEGINNINGS = _Beginnings({key: f"{name}: " for key, name in CANONICAL.items()})
#: Where a message keeps the typed value of the fields that have a place of their own.
_PLACES = {"via": "_via", "from": "_from", "to": "_to", "call-id": "_call_id", "cseq": "_cseq"}
#: What a response has of its request, whatever its status (RFC 3261 8.2.6.2).
_ECHOED = tuple(_PLACES)
#: Numbers as everybody writes them.
_SMALL_NUMBERS = {str(number): number for number in range(256)}

#: The header fields of a message by key, in the order they will be written: the one value, or a tuple of them. Text and
#: tuples of it only, so that the garbage collector has little to walk through however many messages are alive.
Fields = dict[str, str | tuple[str, ...]]


def reason_phrase(status: int) -> str:
    """Return the usual reason phrase of ``status``; of its class where the status has none."""
    return REASONS.get(status) or _CLASSES.get(status // 100, "Unknown")


def _several(start: str, values: Iterable[str]) -> str:
    """Return the lines of a field that is there more than once, without the last line end."""
    return start + f"\r\n{start}".join(values)


def _parse_call_id(text: str) -> str:
    """Return a Call-ID (RFC 3261 20.8)."""
    if not text or " " in text or "\t" in text:
        raise RemoteProtocolError(f"{excerpt(text)} is no call identifier")
    return text


def _parse_max_forwards(text: str) -> int:
    """Return a Max-Forwards value (RFC 3261 20.22)."""
    return parse_number(text, 255)


class Message:
    """What requests and responses share. Names of fields are known in any spelling and in their compact form.

    Typed values raise `RemoteProtocolError` (400) that names the field. `from_`, `to`, `call_id`, `cseq` and `via`
    raise it also for a field that is missing, and for a second one of those that may be there only once.
    """

    __slots__ = ("_call_id", "_cseq", "_fields", "_from", "_spelled", "_to", "_typed", "_via", "body", "version")

    def __init__(self, body: bytes = b"", version: str = VERSION) -> None:
        self._fill({}, body, version)

    def _fill(self, fields: Fields, body: bytes, version: str) -> None:
        """Give a new message what it holds, unchecked."""
        self._fields = fields
        #: How names that we don't know were written; None as long as there are none.
        self._spelled: dict[str, str] | None = None
        #: The topmost Via, From and so on, once they have been read.
        self._via: Via | None = None
        self._from: NameAddr | None = None
        self._to: NameAddr | None = None
        self._call_id: str | None = None
        self._cseq: CSeq | None = None
        #: The typed values of other fields by key, once one has been read.
        self._typed: dict[str, Any] | None = None
        self.body = body
        self.version = version

    # Fields as text

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Every header field, name and value, in the order of writing. Values of one name stand together."""
        return list(self._each_field())

    def _each_field(self) -> Iterator[tuple[str, str]]:
        """Go through the fields, with the names as they are written."""
        spelled = self._spelled or {}
        for key, value in self._fields.items():
            name = CANONICAL.get(key) or spelled.get(key, key)
            if type(value) is str:
                yield name, value
            else:
                for one in value:
                    yield name, one

    def has(self, name: str) -> bool:
        """Tell whether there is a field of that name."""
        return (KEYS.get(name) or field_key(name)) in self._fields

    def get(self, name: str) -> str | None:
        """Return the first value of that name; None where there is none."""
        value = self._fields.get(KEYS.get(name) or field_key(name))
        return value if value is None or type(value) is str else value[0]

    def get_all(self, name: str) -> list[str]:
        """Return the values of that name, in order; commas within one are not looked at."""
        value = self._fields.get(field_key(name))
        return [] if value is None else [value] if type(value) is str else list(value)

    def get_list(self, name: str) -> list[str]:
        """Return the items of all fields of that name, split at their commas (RFC 3261 7.3.1)."""
        return [item for value in self.get_all(name) for item in split_list(value)]

    def add(self, name: str, value: str) -> None:
        """Add a field behind those of its name. ValueError for a name that is none or a CR, LF or NUL in the value."""
        key, value = self._checked(name, value)
        present = self._fields.get(key)
        if present is None:
            self._fields[key] = value
        else:
            self._fields[key] = (present, value) if type(present) is str else (*present, value)

    def add_first(self, name: str, value: str) -> None:
        """Add a field before those of its name, as a Via is; ValueError as `add`."""
        key, value = self._checked(name, value)
        present = self.get_all(key)
        self._fields[key] = (value, *present) if present else value

    def set(self, name: str, value: str) -> None:
        """Replace all fields of that name by this one; ValueError as `add`."""
        key, value = self._checked(name, value)
        self._fields[key] = value

    def remove(self, name: str) -> None:
        """Remove all fields of that name; harmless when there are none."""
        key = field_key(name)
        self._forget(key)
        self._fields.pop(key, None)

    def replace_via(self, via: Via) -> None:
        """Put ``via`` in the place of the topmost Via, to note where a request came from (RFC 3261 18.2.1)."""
        values = self.get_all("Via")
        if not values:
            raise ValueError("there is no Via to replace")
        replaced = (check_writable(str(via)), *split_list(values[0])[1:], *values[1:])
        self._forget("via")
        self._fields["via"] = replaced[0] if len(replaced) == 1 else replaced
        self._via = via

    def _checked(self, name: str, value: str) -> tuple[str, str]:
        """Return the key and the text for a field about to be written, and forget its typed value."""
        key = KEYS.get(name)
        if key is None:
            key = field_key(name)
            if key not in CANONICAL:
                if not is_token(name):
                    raise ValueError(f"{name!r} is no header field's name: it must be a token (RFC 3261 25.1)")
                self._spell(key, name)
        value = check_writable(value).strip(" \t")
        if self._typed is not None or key in _PLACES:
            self._forget(key)
        return key, value

    def _forget(self, key: str) -> None:
        """Forget what was parsed from the fields of ``key``."""
        if key in _PLACES:
            setattr(self, _PLACES[key], None)
        if self._typed is not None:
            self._typed.pop(key, None)

    def _spell(self, key: str, name: str) -> None:
        """Remember how a name we don't know is written."""
        if key != name:
            if self._spelled is None:
                self._spelled = {}
            self._spelled.setdefault(key, name)

    # Fields that mean something

    def _single(self, key: str, parse: Callable[[str], T]) -> T:
        """Parse the value of a field that must be there exactly once."""
        text = self._fields.get(key)
        if type(text) is not str:
            what = "missing" if text is None else "there more than once"
            raise RemoteProtocolError(f"{CANONICAL[key]} is {what}")
        try:
            return parse(text)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{CANONICAL[key]}: {error}", error.status) from None

    def _listed(self, key: str, parse: Callable[[str], T]) -> list[T]:
        """Return the typed values of a field that may be there any number of times."""
        text = self._fields.get(key)
        if text is None:
            return []
        if self._typed is None:
            self._typed = {}
        values: list[T] | None = self._typed.get(key)
        if values is not None:
            return values
        try:
            if type(text) is str:
                values = [parse(item) for item in split_list(text)]
            else:
                values = [parse(item) for one in text for item in split_list(one)]
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{CANONICAL[key]}: {error}", error.status) from None
        self._typed[key] = values
        return values

    @property
    def via(self) -> Via:
        """The topmost Via; the others are not looked at."""
        via = self._via
        if via is None:
            text = self._fields.get("via") or ""
            if type(text) is not str:
                text = text[0]
            try:
                items = split_list(text) if "," in text else [text]
                if not items or not items[0]:
                    raise RemoteProtocolError("missing")
                via = self._via = parse_via(items[0])
            except RemoteProtocolError as error:
                raise RemoteProtocolError(f"Via: {error}", error.status) from None
        return via

    @property
    def vias(self) -> list[Via]:
        """Every Via, topmost first."""
        return self._listed("via", parse_via)

    @property
    def from_(self) -> NameAddr:
        """From, with the tag of the side that sent the request."""
        value = self._from
        if value is None:
            value = self._from = self._single("from", parse_name_addr)
        return value

    @property
    def to(self) -> NameAddr:
        """To, with the tag of the side that answers, once there is one."""
        value = self._to
        if value is None:
            value = self._to = self._single("to", parse_name_addr)
        return value

    @property
    def call_id(self) -> str:
        """Call-ID."""
        value = self._call_id
        if value is None:
            value = self._call_id = self._single("call-id", _parse_call_id)
        return value

    @property
    def cseq(self) -> CSeq:
        """CSeq."""
        value = self._cseq
        if value is None:
            value = self._cseq = self._single("cseq", parse_cseq)
        return value

    @property
    def max_forwards(self) -> int | None:
        """Max-Forwards; None where there is none, which RFC 2543 allowed."""
        text = self._fields.get("max-forwards")
        if text is None:
            return None
        number = _SMALL_NUMBERS.get(text) if type(text) is str else None
        return self._single("max-forwards", _parse_max_forwards) if number is None else number

    @property
    def contacts(self) -> list[NameAddr]:
        """The addresses in Contact; none for ``*``."""
        return [] if self.contact_star else self._listed("contact", parse_name_addr)

    @property
    def contact_star(self) -> bool:
        """Whether Contact is ``*`` (RFC 3261 10.2.2)."""
        return self._fields.get("contact") == "*"

    @property
    def routes(self) -> list[NameAddr]:
        """The Route set of the request, the next hop first."""
        return self._listed("route", parse_name_addr)

    @property
    def record_routes(self) -> list[NameAddr]:
        """Record-Route, in the order of the message."""
        return self._listed("record-route", parse_name_addr)

    @property
    def require(self) -> list[str]:
        """The option tags in Require, in lower case."""
        return self._listed("require", str.lower)

    @property
    def supported(self) -> list[str]:
        """The option tags in Supported, in lower case."""
        return self._listed("supported", str.lower)

    @property
    def content_type(self) -> str | None:
        """The media type of the body, in lower case and without parameters; None where Content-Type is missing."""
        text = self.get("Content-Type")
        return None if text is None else text.partition(";")[0].replace(" ", "").replace("\t", "").lower()

    # The whole message

    @property
    def start_line(self) -> str:
        """The first line, without its CRLF."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise `RemoteProtocolError` for a message that nobody can act on.

        What any message needs: SIP/2.0 (else 505), and one each of Via, From, To, Call-ID and CSeq that can be parsed
        (else 400). Tags, branches and Max-Forwards may be missing, as RFC 2543 allowed (RFC 4475 3.4.1).
        """
        if self.version != VERSION:
            raise RemoteProtocolError(f"{excerpt(self.version)} is not spoken here: {VERSION} is", 505)
        self.via  # noqa: B018 - each of these raises what is wrong with it
        via = self._fields["via"]
        if type(via) is str and "," in via:
            self.vias  # noqa: B018 - a list, of which each element has to be one (RFC 4475 3.1.2.1)
        self.from_  # noqa: B018
        self.to  # noqa: B018
        self.call_id  # noqa: B018
        self.cseq  # noqa: B018

    def to_bytes(self) -> bytes:
        """Return the message as it goes on the wire. Content-Length is written here, whatever the fields say."""
        fields, spelled, lines = self._fields, self._spelled, [self.start_line]
        if spelled is None and "content-length" not in fields:
            # So it is with what we make ourselves, each response above all.
            lines += [
                _BEGINNINGS[key] + value if type(value) is str else _several(_BEGINNINGS[key], value)
                for key, value in fields.items()
            ]
        else:
            for name, value in self._each_field():
                if name != "Content-Length":
                    lines.append(f"{name}: {value}")
        lines.append(f"Content-Length: {len(self.body)}\r\n\r\n")
        return "\r\n".join(lines).encode("utf-8", "surrogateescape") + self.body

    def _copy_to(self, other: M) -> M:
        """Give ``other`` what this message holds."""
        other._fields = self._fields.copy()
        other._spelled = None if self._spelled is None else self._spelled.copy()
        other.body = self.body
        other.version = self.version
        return other

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {excerpt(self.start_line)}>"


class Request(Message):
    """A request. ``method`` is a token, case kept; ``uri`` the Request-URI as text."""

    __slots__ = ("_parsed_uri", "_uri", "method")

    def __init__(self, method: str, uri: str, body: bytes = b"", version: str = VERSION) -> None:
        super().__init__(body, version)
        if not is_token(method):
            raise ValueError(f"{method!r} is no method: it must be a token (RFC 3261 25.1)")
        self.method = method
        self.uri = uri

    @classmethod
    def unchecked(cls, method: str, uri: str, version: str) -> Request:
        """Make a request of text that came from a peer, without a look at it: the parser has had one."""
        request = cls.__new__(cls)
        request._fill({}, b"", version)
        request.method = method
        request._uri = uri
        request._parsed_uri = None
        return request

    @property
    def uri(self) -> str:
        """The Request-URI as text. ValueError when set to what can't stand in a request line."""
        return self._uri

    @uri.setter
    def uri(self, uri: str) -> None:
        if not uri or _NOT_IN_URI.search(uri):
            raise ValueError(f"{uri!r} is no Request-URI: it is empty, or holds a space or a control character")
        self._uri = check_writable(uri)
        self._parsed_uri: Uri | None = None

    @property
    def parsed_uri(self) -> Uri:
        """The Request-URI taken apart. Raises `RemoteProtocolError` (400)."""
        parsed = self._parsed_uri
        if parsed is None:
            try:
                parsed = self._parsed_uri = parse_uri(self._uri)
            except RemoteProtocolError as error:
                raise RemoteProtocolError(f"Request-URI: {error}", error.status) from None
        return parsed

    @property
    def start_line(self) -> str:
        """The request line, without its CRLF."""
        return f"{self.method} {self._uri} {self.version}"

    def check(self) -> None:
        """Raise `RemoteProtocolError` for a request that nobody can act on (RFC 3261 8.1.1, 8.2).

        As `Message.check`, and: a Request-URI that is no URI, a CSeq of another method, a Max-Forwards above 255, and
        in an INVITE a Contact that can't be parsed, are 400.
        """
        super().check()
        self.parsed_uri  # noqa: B018
        if self.cseq.method != self.method:
            raise RemoteProtocolError(f"CSeq is of {excerpt(self.cseq.method)}, the request is {excerpt(self.method)}")
        self.max_forwards  # noqa: B018
        if self.method == "INVITE":
            self.contacts  # noqa: B018

    def copy(self) -> Request:
        """Return a request of the same content that can be changed by itself."""
        return self._copy_to(Request.unchecked(self.method, self._uri, self.version))


class Response(Message):
    """A response: ``status`` from 100 to 699 and its ``reason`` phrase (the usual one if None is given)."""

    __slots__ = ("reason", "status")

    def __init__(self, status: int, reason: str | None = None, body: bytes = b"", version: str = VERSION) -> None:
        if not 100 <= status <= 699:
            raise ValueError(f"{status} is no status: it must be 100 to 699")
        self.status = status
        self.reason = reason_phrase(status) if reason is None else check_writable(reason)
        self._fill({}, body, version)

    @property
    def start_line(self) -> str:
        """The status line, without its CRLF."""
        return f"{self.version} {self.status} {self.reason}"

    def check(self) -> None:
        """Raise `RemoteProtocolError` for a response that is to be dropped.

        As `Message.check`, and: more than one Via means that it was not meant for us (RFC 3261 8.1.3.3).
        """
        super().check()
        via = self._fields["via"]
        if type(via) is tuple or ("," in via and len(self.vias) > 1):
            raise RemoteProtocolError("Via: a response with more than one is not for us")

    def copy(self) -> Response:
        """Return a response of the same content that can be changed by itself."""
        return self._copy_to(Response(self.status, self.reason))


def respond(request: Request, status: int, reason: str | None = None, to_tag: str | None = None) -> Response:
    """Return the response to ``request`` with what RFC 3261 8.2.6 wants copied.

    Via, From, To, Call-ID and CSeq; Timestamp on a 100; Record-Route on 101 to 299 (12.1.1). ``to_tag`` is added to To
    unless it has a tag, or the status is 100. Works for requests that `Request.check` refuses: what is missing stays
    missing, and a To that can't be parsed is copied as it is.
    """
    source = request._fields
    fields: Fields = {key: source[key] for key in _ECHOED if key in source}
    response = Response(status, reason)
    response._fields = fields
    if status == 100:
        stamp = source.get("timestamp")
        if stamp is not None:
            fields["timestamp"] = stamp
    else:
        to = source.get("to")
        if to_tag is not None and type(to) is str:
            if not is_token(to_tag):
                raise ValueError(f"{to_tag!r} is no tag: it must be a token (RFC 3261 19.3)")
            try:
                untagged = request.to.tag is None
            except RemoteProtocolError:
                untagged = False
            if untagged:
                fields["to"] = f"{to.rstrip('; ')};tag={to_tag}"
        routes = source.get("record-route")
        if routes is not None and status < 300:
            fields["record-route"] = routes
    return response
