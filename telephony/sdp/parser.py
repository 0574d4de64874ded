"""Session descriptions from bytes, taken liberally (RFC 4566 and 8866 section 5 and 9).

Owns: what passes although it shouldn't (bare LF, no last line end, missing s= and t=, unknown letters, lines in odd
order, blanks) and what doesn't (`RemoteProtocolError`, status 400). Must not know what a description is good for.
"""

from __future__ import annotations

import re

from telephony.errors import RemoteProtocolError
from telephony.sdp.model import (
    MEDIA_LETTERS,
    SESSION_LETTERS,
    Connection,
    MediaDescription,
    Origin,
    SessionDescription,
)

#: A description longer than a datagram can be is somebody's attack, and so are hundreds of streams.
MAX_SIZE = 65535
MAX_MEDIA = 64

_LINE_END = re.compile("\r\n|\r|\n")


def parse_sdp(data: bytes) -> SessionDescription:
    """Read a description.

    Raises `RemoteProtocolError` (400) for text that is none: no v=0 in front, an unreadable o=, c= or m= line, a line
    that is not letter=value, more than `MAX_SIZE` bytes or `MAX_MEDIA` m= lines. Attributes are split into name and
    value and otherwise left alone. Bytes that aren't UTF-8 survive into `SessionDescription.to_bytes` unchanged.
    """
    if len(data) > MAX_SIZE:
        raise RemoteProtocolError(f"a session description of {len(data)} bytes, more than {MAX_SIZE}")
    if b"\0" in data:
        raise RemoteProtocolError("a NUL byte in a session description (RFC 8866 section 9)")
    text = data.decode("utf-8", "surrogateescape")
    lines = text.split("\r\n")
    ends = len(lines) - 1
    if lines[0] != "v=0" or text.count("\r") != ends or text.count("\n") != ends:
        lines = [line for line in _LINE_END.split(text) if line.strip(" \t")]
        if not lines or lines[0].rstrip(" \t") != "v=0":
            raise RemoteProtocolError("a session description doesn't begin with v=0 (RFC 8866 section 5.1)")
    del lines[0]
    session = SessionDescription(None, other=[])  # type: ignore[arg-type] # its origin is to come
    origin: Origin | None = None
    part: SessionDescription | MediaDescription = session
    attributes = session.attributes
    letters = SESSION_LETTERS
    for line in lines:
        if line[1:2] == "=":
            letter, value = line[0], line[2:].strip(" \t")
        else:
            letter, equals, value = line.partition("=")
            letter, value = letter.strip(" \t"), value.strip(" \t")
            if not equals or len(letter) != 1:
                if not line.strip(" \t"):
                    continue
                raise _no_line(line)
        if letter == "a":
            name, colon, rest = value.partition(":")
            attributes.append((name, rest if colon else None))
        elif letter == "m":
            if len(session.media) == MAX_MEDIA:
                raise RemoteProtocolError(f"a session description with more than {MAX_MEDIA} m= lines")
            part = _media(value)
            attributes = part.attributes
            letters = MEDIA_LETTERS
            session.media.append(part)
        elif letter == "c":
            # A stream with layered multicast addresses may have several; the first is the base layer's.
            if part.connection is None:
                part.connection = _connection(value)
        elif letter in letters:
            part.other.append((letter, value))
        elif part is session and letter == "o":
            origin = origin or _origin(value)
        elif part is session and letter == "s":
            session.name = value or "-"
        elif letter in " \t":
            raise _no_line(line)
    if origin is None:
        raise RemoteProtocolError("a session description without an o= line (RFC 8866 section 5.2)")
    session.origin = origin
    if not any(letter == "t" for letter, _ in session.other):
        session.other.append(("t", "0 0"))
    if len(session.other) > 1:
        session.other.sort(key=lambda line: SESSION_LETTERS.index(line[0]))
    for media in session.media:
        if len(media.other) > 1:
            media.other.sort(key=lambda line: MEDIA_LETTERS.index(line[0]))
    return session


def whole_number(text: str, most: int) -> int | None:
    """Read plain decimal digits; None for anything else and for more than ``most``.

    Safer than ``int()``, which takes signs, blanks, underscores and other alphabets' digits, and refuses long text.
    """
    if not (text.isascii() and text.isdigit()) or len(text) > 20:
        return None
    number = int(text)
    return number if number <= most else None


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "…")


def _no_line(line: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"{_shown(line)} is not a line of a session description (letter=value)")


def _origin(value: str) -> Origin:
    # Some write a user name with blanks in it, so the fields are counted from the end.
    fields = value.rsplit(None, 5)
    if len(fields) != 6:
        raise RemoteProtocolError(f"o={_shown(value)} doesn't have its six fields (RFC 8866 section 5.2)")
    return Origin(*fields)


def _connection(value: str) -> Connection:
    fields = value.split()
    if len(fields) < 3:
        raise RemoteProtocolError(f"c={_shown(value)} doesn't have its three fields (RFC 8866 section 5.7)")
    return Connection(*fields[:3])


def _media(value: str) -> MediaDescription:
    fields = value.split()
    if len(fields) < 4:
        raise RemoteProtocolError(f"m={_shown(value)} doesn't have its four fields (RFC 8866 section 5.14)")
    first, slash, rest = fields[1].partition("/")
    port = whole_number(first, 65535)
    count = whole_number(rest, 65535) if slash else 1
    if port is None or count is None:
        raise RemoteProtocolError(f"{_shown(fields[1])} is not a port in m={_shown(value)}")
    return MediaDescription(fields[0], port, fields[2], fields[3:], count)
