"""SIP, SIPS and tel URIs, and what is left of the others (RFC 3261 19.1, RFC 3966, RFC 3986).

Owns: taking a URI apart, writing it, and comparing two. Escapes are kept as written, so that a URI goes out as it came
in. Must not know which URIs we serve: an unknown scheme is an `OtherUri`, and whoever handles the request says 416.

What is neither a person's nor has parameters, as our own Contact, comes in every request of a dialog, and what it says
is remembered: at most `REMEMBERED` such URIs of at most `LONGEST` characters, the least used forgotten first.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from urllib.parse import quote, unquote

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import Parameters, excerpt

#: How much is remembered of URIs: see above.
REMEMBERED = 1024
LONGEST = 80

_SIP = re.compile(
    r'(?:([^\s\x00-\x1f\x7f:@<>"]++)(?::([^\s\x00-\x1f\x7f@<>"]*+))?@)?+'  # user and password
    r"(?:([A-Za-z0-9._\-]++)|\[([0-9A-Fa-f:.]++)\])"  # a name or an IPv4 address, or an IPv6 address
    r"(?::([0-9]{1,5}))?"
    r'((?:;[^\s\x00-\x1f\x7f;?@<>"]*+)*+)'
    r'(?:\?([^\s\x00-\x1f\x7f@<>"]*+))?'
)
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+\-.]*+):([^\s\x00-\x1f\x7f<>\"]++)")
_TEL = re.compile(r"([0-9A-Fa-f*#()+\-.]++)((?:;[^\s;]*+)*+)")

#: What may stand unescaped in the name or value of a URI parameter (paramchar, RFC 3261 25.1).
_PARAMETER_SAFE = "[]/:&+$-_.!~*'()%"
#: Parameters that never match when only one of the two URIs has them (RFC 3261 19.1.4).
_TELLING = ("user", "ttl", "method", "maddr", "transport")


def format_host(host: str) -> str:
    """Return ``host`` as a URI or a Via holds it: an IPv6 address goes in brackets."""
    return f"[{host}]" if ":" in host else host


def parse_host(name: str | None, literal: str | None) -> str:
    """Return the host of which a pattern found the ``name``, or the IPv6 ``literal`` that stood in brackets."""
    if name is not None:
        return name
    # RFC 5118 4.10: the grammar of RFC 3261 made some write three colons for two.
    text = (literal or "").replace(":::", "::")
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        raise RemoteProtocolError(f"[{excerpt(text)}] is no IPv6 address") from None
    return text


def parse_port(text: str | None) -> int | None:
    """Return the port number in ``text`` (one to five digits), None for None."""
    if text is None:
        return None
    port = int(text)
    if not 0 < port < 65536:
        raise RemoteProtocolError(f"{text} is no port: it must be 1 to 65535")
    return port


def _parse_parameters(text: str) -> Parameters:
    """Take ``;name=value;name`` apart; names are unescaped and in lower case, values stay as written."""
    parameters: Parameters = {}
    for item in text.split(";"):
        if not item:
            continue
        name, equals, value = item.partition("=")
        if "%" in name:
            name = unquote(name, errors="surrogateescape")
        if not name:
            raise RemoteProtocolError(f"a parameter without a name in {excerpt(text)}")
        name = name.lower()
        entry = value if equals else None
        if name in parameters and parameters[name] != entry:
            raise RemoteProtocolError(f"the URI parameter {excerpt(name)} comes twice with different values")
        parameters[name] = entry
    return parameters


def _format_parameters(parameters: Mapping[str, str | None]) -> str:
    """Write ``parameters`` behind a URI."""
    text = ""
    for name, value in parameters.items():
        text += ";" + quote(name, safe=_PARAMETER_SAFE.replace("%", ""), errors="surrogateescape")
        if value is not None:
            text += "=" + value
    return text


def _plain(text: str | None) -> str | None:
    """Return ``text`` without its escapes, for a comparison."""
    return text if text is None or "%" not in text else unquote(text, errors="surrogateescape")


def _folded(text: str | None) -> str | None:
    """Return ``text`` without its escapes and in lower case, for a comparison that ignores case."""
    return text if text is None else (_plain(text) or "").lower()


#: For a URI without parameters. Shared, and so it can't be changed.
_NONE: Mapping[str, str | None] = MappingProxyType({})


@attrs.frozen(weakref_slot=False)
class SipUri:
    """A SIP or SIPS URI (RFC 3261 19.1.1).

    ``scheme`` is ``sip`` or ``sips``. ``user`` and ``password`` are as written, escapes and all, and None where there
    are none. ``host`` has no brackets. ``params`` has names in lower case and unescaped, values as written, None for
    one without a value. ``headers`` is what follows the question mark, as written.
    """

    scheme: str
    user: str | None
    password: str | None
    host: str
    port: int | None = None
    params: Mapping[str, str | None] = _NONE
    headers: str = ""

    @property
    def transport(self) -> str | None:
        """The value of ``;transport=`` in lower case; None where it is missing or empty."""
        value = self.params.get("transport")
        return value.lower() if value else None

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    def equals(self, other: object) -> bool:
        """Tell whether both lead to the same resource, by the rules of RFC 3261 19.1.4."""
        return (
            isinstance(other, SipUri)
            and self.scheme == other.scheme
            and _plain(self.user) == _plain(other.user)
            and _plain(self.password) == _plain(other.password)
            and self.host.lower() == other.host.lower()
            and self.port == other.port
            and self._params_match(other)
            and self._header_set() == other._header_set()
        )

    def _params_match(self, other: SipUri) -> bool:
        """Compare the parameters: those in both must agree, and the telling ones must be in both or in none."""
        mine, theirs = self.params, other.params
        return all((name in mine) == (name in theirs) for name in _TELLING) and all(
            _folded(mine[name]) == _folded(theirs[name]) for name in mine.keys() & theirs.keys()
        )

    def _header_set(self) -> list[tuple[str, str | None]]:
        """Return the URI's headers in an order of their own: their order in the URI means nothing."""
        fields = (item.partition("=") for item in self.headers.split("&") if item)
        return sorted(((_folded(name) or "", _plain(value) or "") for name, _, value in fields))

    def __str__(self) -> str:
        text = self.scheme + ":"
        if self.user is not None:
            text += self.user
            if self.password is not None:
                text += ":" + self.password
            text += "@"
        text += f"[{self.host}]" if ":" in self.host else self.host
        if self.port is not None:
            text += f":{self.port}"
        if self.params:
            text += _format_parameters(self.params)
        return f"{text}?{self.headers}" if self.headers else text


@attrs.frozen(weakref_slot=False)
class TelUri:
    """A telephone number as a URI (RFC 3966); ``number`` as written, visual separators and all."""

    number: str
    params: Parameters = attrs.field(factory=dict)

    def __str__(self) -> str:
        return f"tel:{self.number}{_format_parameters(self.params)}"


@attrs.frozen(weakref_slot=False)
class OtherUri:
    """A URI of a scheme we know nothing about; ``scheme`` in lower case, ``rest`` as written after the colon."""

    scheme: str
    rest: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.rest}"


Uri = SipUri | TelUri | OtherUri


def parse_uri(text: str) -> Uri:
    """Take a URI apart. Raises `RemoteProtocolError` (400) for text that is none."""
    if len(text) <= LONGEST and "@" not in text and ";" not in text:
        return _remembered(text)
    return _parse(text)


def _parse(text: str) -> Uri:
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if colon and (scheme == "sip" or scheme == "sips"):
        found = _SIP.fullmatch(rest)
        if found is None:
            raise RemoteProtocolError(f"{excerpt(text)} is no SIP URI")
        user, password, name, literal, port, params, headers = found.groups()
        return SipUri(
            scheme,
            user,
            password,
            name if literal is None else parse_host(None, literal),
            None if port is None else parse_port(port),
            _parse_parameters(params) if params else _NONE,
            headers or "",
        )
    found = _SCHEME.fullmatch(text)
    if found is None:
        raise RemoteProtocolError(f"{excerpt(text)} is no URI")
    if scheme == "tel":
        number = _TEL.fullmatch(rest)
        if number is None:
            raise RemoteProtocolError(f"{excerpt(text)} is no tel URI")
        return TelUri(number[1], _parse_parameters(number[2]))
    return OtherUri(scheme, rest)


_remembered = lru_cache(maxsize=REMEMBERED)(_parse)
