"""The few rules of SIP's grammar that every header shares: tokens, quoted strings, parameters, lists.

Owns: RFC 3261 section 25.1 as far as we read and write it. Liberal in (empty parameters, spaces around separators),
strict out. Must not know any header or URI by name.

Every pattern here works in one pass: its repetitions are possessive, so that no text makes it try twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from telephony.errors import RemoteProtocolError

#: A parameter's name, in lower case, and its value as written (quotes and escapes kept); None where it has none.
Parameters = dict[str, str | None]

_TOKEN = re.compile(r"[A-Za-z0-9\-.!%*_+`'~]++")
_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_PARAMETER = re.compile(
    rf'[ \t]*+;[ \t]*+(?:([^\s;=,"<>]++)[ \t]*+(=[ \t]*+({_QUOTED}|[^\s;,"<>]*+))?+)?+[ \t]*+', re.DOTALL
)
_ITEM = re.compile(rf'((?:[^",<]++|{_QUOTED}|<[^<>]*+>)*+)(,|\Z)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_UNWRITABLE = re.compile(r"[\r\n\0]")
#: What no reader of a text should meet: control characters, and bytes that were not UTF-8.
_UNREADABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def excerpt(text: str) -> str:
    """Return ``text`` as it may stand in an error's text: quoted, escaped, and never long."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


def is_token(text: str) -> bool:
    """Tell whether ``text`` is a token (RFC 3261 25.1)."""
    return (text.isalnum() and text.isascii()) or _TOKEN.fullmatch(text) is not None


def check_writable(text: str) -> str:
    """Return ``text`` if it may become part of a message; raise ValueError for CR, LF, NUL or what has no encoding."""
    if text.isascii() and text.isprintable():
        return text  # nearly everything: asked first, it costs less than the search
    if _UNWRITABLE.search(text):
        raise ValueError(f"{excerpt(text)} holds a CR, LF or NUL: it would end the line it is written on")
    if not text.isascii():
        text.encode("utf-8", "surrogateescape")
    return text


def readable(text: str) -> str:
    """Return ``text`` with U+FFFD for what can't be shown: control characters and undecodable bytes."""
    return text if text.isprintable() else _UNREADABLE.sub("\ufffd", text)


def quote(text: str) -> str:
    """Return ``text`` as a quoted string (RFC 3261 25.1); ValueError if it can't be one."""
    return '"' + check_writable(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquote(text: str) -> str:
    """Return what a quoted string says; other text comes back unchanged."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    text = text[1:-1]
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def parse_parameters(text: str) -> Parameters:
    """Parse what follows a header's value: ``;name=value;name``, or nothing.

    Empty parameters are skipped; one that comes twice must say the same both times (RFC 3261 7.3.1 forbids it anyway).
    Raises `RemoteProtocolError` (400) for anything else.
    """
    parameters: Parameters = {}
    if not text:
        return parameters
    # Without quotes, spaces and what no parameter holds there is a quick way.
    usual = text[0] == ";" and text.isprintable() and not (" " in text or '"' in text or "," in text)
    if usual and not ("<" in text or ">" in text):
        parts = [item.partition("=") for item in text[1:].split(";")]
    else:
        parts = list(_parameters(text))
    for name, equals, value in parts:
        if name:
            name = name.lower()
            if name in parameters and parameters[name] != (value if equals else None):
                raise RemoteProtocolError(f"the parameter {excerpt(name)} comes twice with different values")
            parameters[name] = value if equals else None
        elif equals:
            raise RemoteProtocolError(f"a parameter without a name in {excerpt(text)}")
    return parameters


def _parameters(text: str) -> Iterator[tuple[str, str, str]]:
    """Go through parameters that may hold quotes and spaces: name, equals sign or nothing, value."""
    position = 0
    while position < len(text):
        found = _PARAMETER.match(text, position)
        if found is None:
            raise RemoteProtocolError(f"{excerpt(text[position:])} is no parameter")
        position = found.end()
        yield found[1] or "", found[2] or "", found[3] or ""


def format_parameters(parameters: Mapping[str, str | None]) -> str:
    """Return ``parameters`` as written behind a value: ``;name=value;name``."""
    return "".join([f";{name}" if value is None else f";{name}={value}" for name, value in parameters.items()])


def split_list(value: str) -> list[str]:
    """Split a header's value at its commas, but not at those in quotes or between < and >; empty items are dropped.

    Raises `RemoteProtocolError` (400) for a quote or bracket that isn't closed.
    """
    if "," not in value:
        return [value] if value else []
    if '"' not in value and "<" not in value:
        items = value.split(",")
    else:
        items = []
        position = 0
        while position <= len(value):
            found = _ITEM.match(value, position)
            if found is None:
                raise RemoteProtocolError(f"a quote or bracket that isn't closed in {excerpt(value)}")
            items.append(found[1])
            position = found.end() + (not found[2])
    return [stripped for item in items if (stripped := item.strip(" \t"))]
