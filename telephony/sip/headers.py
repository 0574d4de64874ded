"""The header fields a call needs: their names, and the values we take apart (RFC 3261 section 20, RFC 3581, RFC 3326).

Owns: `NameAddr`, `Via`, `CSeq`, the spelling of names, compact forms. Must not know messages: it gets one value and
returns what it says, or raises `RemoteProtocolError` (400).

The values are made for each message and are not frozen, which would double their cost; treat them as if they were, and
make a new one to change something (`attrs.evolve`, `NameAddr.with_tag`): a message does not notice a changed value.

What stands in front of a Via's parameters is the same in every message of a peer, so what it says is remembered: at
most `REMEMBERED` such texts of at most `LONGEST` characters, the least used forgotten first. Nothing else is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import (
    Parameters,
    check_writable,
    excerpt,
    format_parameters,
    is_token,
    parse_parameters,
    quote,
    readable,
    split_list,
    unquote,
)
from telephony.sip.uri import Uri, format_host, parse_host, parse_port, parse_uri

__all__ = [
    "METHODS",
    "CSeq",
    "NameAddr",
    "Via",
    "canonical_name",
    "field_key",
    "format_reason",
    "parse_cseq",
    "parse_delay",
    "parse_name_addr",
    "parse_name_addrs",
    "parse_number",
    "parse_via",
    "parse_vias",
    "split_list",
]

#: The methods there are (RFC 3261 and those that added to it). One that isn't here is no error of anybody's.
METHODS = frozenset(
    [
        "INVITE",
        "ACK",
        "BYE",
        "CANCEL",
        "OPTIONS",
        "REGISTER",
        "PRACK",
        "UPDATE",
        "INFO",
        "REFER",
        "NOTIFY",
        "SUBSCRIBE",
        "MESSAGE",
        "PUBLISH",
    ]
)

#: How much is remembered of Vias: see above.
REMEMBERED = 4096
LONGEST = 80

#: Names as we write them; the compact form (RFC 3261 7.3.3 and the registry) behind a slash.
_NAMES = """
Accept Accept-Contact/a Accept-Encoding Accept-Language Alert-Info Allow Allow-Events/u Authentication-Info
Authorization Call-ID/i Call-Info Contact/m Content-Disposition Content-Encoding/e Content-Language Content-Length/l
Content-Type/c CSeq Date Diversion Error-Info Event/o Expires From/f History-Info Identity/y In-Reply-To Max-Forwards
MIME-Version Min-Expires Min-SE Organization P-Asserted-Identity P-Preferred-Identity Path Priority Privacy
Proxy-Authenticate Proxy-Authorization Proxy-Require RAck Reason Record-Route Refer-Sub Refer-To/r Referred-By/b
Reject-Contact/j Remote-Party-ID Replaces Reply-To Request-Disposition/d Require Retry-After Route RSeq Security-Client
Security-Server Security-Verify Server Service-Route Session-Expires/x SIP-ETag SIP-If-Match Subject/s
Subscription-State Supported/k Target-Dialog Timestamp To/t Unsupported User-Agent Via/v Warning WWW-Authenticate
"""

#: The key of a field (its full name in lower case) to its name as we write it.
CANONICAL: dict[str, str] = {}
#: The usual spellings of the names we know to the key; what isn't here is looked up in lower case.
KEYS: dict[str, str] = {}
for _entry in _NAMES.split():
    _name, _, _compact = _entry.partition("/")
    CANONICAL[_name.lower()] = _name
    for _spelling in (_name, _name.lower(), _name.upper(), _compact, _compact.upper()):
        if _spelling:
            KEYS[_spelling] = _name.lower()


def field_key(name: str) -> str:
    """Return the key of a header field: its full name in lower case, whatever the spelling or compact form."""
    key = KEYS.get(name)
    if key is None:
        key = name.lower()
        key = KEYS.get(key, key)
    return key


def canonical_name(name: str) -> str:
    """Return a header field's name as we write it; a name we don't know comes back as it is."""
    return CANONICAL.get(field_key(name), name)


_SPACE = r"[ \t]*+"
#: An address as nearly everybody writes it. What doesn't fit is no error: the patterns below decide that.
_USUAL_ADDR = re.compile(r"""(?:"([^"\\]*+)"[ \t]*+|([^"<>,;]*+))<([^\s<>"]++)>(?:;tag=([A-Za-z0-9\-.!%*_+`'~]++))?+""")
_NAME_ADDR = re.compile(
    rf'{_SPACE}(?:("(?:[^"\\]++|\\.)*+"){_SPACE}|([^"<>,;]*+))<{_SPACE}([^\s<>"]++){_SPACE}>{_SPACE}(.*+)', re.DOTALL
)
_ADDR_SPEC = re.compile(rf'{_SPACE}([^\s<>",;?]++)({_SPACE}(?:;.*+)?+)', re.DOTALL)
_VIA = re.compile(
    rf"{_SPACE}([A-Za-z]++){_SPACE}/{_SPACE}([0-9.]++){_SPACE}/{_SPACE}([A-Za-z0-9\-.!%*_+`'~]++)[ \t]++"
    rf"(?:([A-Za-z0-9._\-]++)|\[([0-9A-Fa-f:.]++)\])"
    rf"(?:{_SPACE}:{_SPACE}([0-9]{{1,5}}))?+{_SPACE}"
)
_DELAY = re.compile(r"\s*([0-9]{1,9})(?:\s*[;(].*)?\s*$")
_CSEQ = re.compile(r"[ \t]*+([0-9]{1,32})[ \t]++([A-Za-z0-9\-.!%*_+`'~]++)[ \t]*+")
_NUMBER = re.compile(r"[0-9]{1,32}")


@attrs.define(weakref_slot=False)
class NameAddr:
    """An address with a name and parameters: From, To, Contact, Route, Record-Route (RFC 3261 20.10).

    ``display`` is the display name without quotes, escapes, control characters or undecodable bytes (U+FFFD in their
    place); None where there is none. ``uri`` is the URI as written. ``params`` are the header's parameters.
    """

    display: str | None
    uri: str
    params: Parameters = attrs.field(factory=dict)
    _parsed: Uri | None = attrs.field(default=None, init=False, eq=False, repr=False)

    @property
    def tag(self) -> str | None:
        """The tag (RFC 3261 19.3); None where there is none, or an empty one."""
        return self.params.get("tag") or None

    @property
    def parsed_uri(self) -> Uri:
        """The URI taken apart, at the first call. Raises `RemoteProtocolError` (400)."""
        parsed = self._parsed
        if parsed is None:
            parsed = self._parsed = parse_uri(self.uri)
        return parsed

    def with_tag(self, tag: str) -> NameAddr:
        """Return the same address with this tag."""
        return NameAddr(self.display, self.uri, {**self.params, "tag": tag})

    def __str__(self) -> str:
        address = f"<{self.uri}>{format_parameters(self.params)}" if self.params else f"<{self.uri}>"
        return address if self.display is None else f"{quote(self.display)} {address}"


def parse_name_addr(text: str) -> NameAddr:
    """Parse one address, with or without angle brackets."""
    found = _USUAL_ADDR.fullmatch(text)
    if found is not None:
        quoted, plain, uri, tag = found.groups()
        display = quoted if quoted is not None else plain.strip(" \t") or None
        if display is not None and not display.isprintable():
            display = readable(display)
        return NameAddr(display, uri, {} if tag is None else {"tag": tag})
    found = _NAME_ADDR.fullmatch(text)
    if found is not None:
        quoted, plain, uri, params = found.groups()
        display = None
        if quoted is not None:
            display = readable(unquote(quoted))
        elif plain:
            display = readable(plain.strip(" \t")) or None
        return NameAddr(display, uri, parse_parameters(params) if params else {})
    # Without brackets, what follows a semicolon belongs to the header, and no URI with a question mark may stand here.
    found = _ADDR_SPEC.fullmatch(text)
    if found is None:
        raise RemoteProtocolError(f"{excerpt(text)} is no address")
    return NameAddr(None, found[1], parse_parameters(found[2].strip(" \t")))


def parse_name_addrs(text: str) -> list[NameAddr]:
    """Parse a list of addresses, separated by commas."""
    return [parse_name_addr(item) for item in split_list(text)]


@attrs.define(weakref_slot=False)
class Via:
    """One hop a request has made (RFC 3261 20.42). ``transport`` is in upper case, ``host`` without brackets."""

    transport: str
    host: str
    port: int | None = None
    params: Parameters = attrs.field(factory=dict)

    @property
    def branch(self) -> str | None:
        """The branch; None where there is none, or an empty one."""
        return self.params.get("branch") or None

    @property
    def received(self) -> str | None:
        """The address the request came from, without brackets (RFC 5118 4.5 has it both ways)."""
        value = self.params.get("received")
        return value.strip("[]") if value else None

    @property
    def rport(self) -> int | None:
        """The port the request came from (RFC 3581), once filled in; ``"rport" in via.params`` tells that it's wanted.

        What isn't a port number counts as not filled in.
        """
        value = self.params.get("rport")
        if not value or not value.isascii() or not value.isdigit() or len(value) > 5:
            return None
        port = int(value)
        return port if 0 < port < 65536 else None

    def __str__(self) -> str:
        port = "" if self.port is None else f":{self.port}"
        return f"SIP/2.0/{self.transport} {format_host(self.host)}{port}{format_parameters(self.params)}"


def parse_via(text: str) -> Via:
    """Parse one Via value. Any version of SIP passes: the request line's version decides."""
    sent_by, semicolon, _ = text.partition(";")
    hop = _hop(sent_by) if len(sent_by) <= LONGEST else _hop.__wrapped__(sent_by)
    if hop is None:
        raise RemoteProtocolError(f"{excerpt(text)} is no Via of SIP")
    transport, host, port = hop
    return Via(transport, host, port, parse_parameters(text[len(sent_by) :]) if semicolon else {})


@lru_cache(maxsize=REMEMBERED)
def _hop(sent_by: str) -> tuple[str, str, int | None] | None:
    """Return the transport, host and port that a Via begins with; None where it is none."""
    found = _VIA.fullmatch(sent_by)
    if found is None:
        return None
    protocol, _, transport, name, literal, port = found.groups()
    if protocol.upper() != "SIP":
        return None
    return transport.upper(), parse_host(name, literal), parse_port(port)


def parse_vias(text: str) -> list[Via]:
    """Parse a list of Via values, separated by commas, topmost first."""
    return [parse_via(item) for item in split_list(text)]


class CSeq(NamedTuple):
    """A request's number within its dialog, and its method (RFC 3261 20.16)."""

    number: int
    method: str

    def __str__(self) -> str:
        return f"{self.number} {self.method}"


def parse_cseq(text: str) -> CSeq:
    """Parse a CSeq value; its number is below 2**31 (RFC 3261 8.1.1.5)."""
    digits, _, method = text.partition(" ")
    if method in METHODS and digits.isdigit() and digits.isascii() and len(digits) < 10:
        return CSeq(int(digits), method)
    found = _CSEQ.fullmatch(text)
    if found is None:
        raise RemoteProtocolError(f"{excerpt(text)} is no CSeq")
    number = int(found[1])
    if number >= 1 << 31:
        raise RemoteProtocolError(f"the CSeq number {found[1]} is 2**31 or more")
    return CSeq(number, found[2])


def parse_number(text: str, limit: int) -> int:
    """Parse a decimal number from 0 to ``limit``."""
    if not (text.isdigit() and text.isascii() and len(text) < 10) and _NUMBER.fullmatch(text) is None:
        raise RemoteProtocolError(f"{excerpt(text)} is no number")
    number = int(text)
    if number > limit:
        raise RemoteProtocolError(f"{text} is more than {limit}")
    return number


def parse_delay(text: str | None) -> float:
    """Return the seconds in a Retry-After value (RFC 3261 20.33), 0 where there are none that can be read."""
    found = _DELAY.match(text or "")
    return float(found[1]) if found is not None else 0.0


def format_reason(protocol: str, cause: int, text: str = "") -> str:
    """Return a Reason value (RFC 3326): ``SIP;cause=486;text="Busy Here"``."""
    if not is_token(protocol):
        raise ValueError(f"{protocol!r} is no protocol name: SIP or Q.850")
    value = f"{protocol};cause={cause}"
    return f"{value};text={quote(check_writable(text))}" if text else value
