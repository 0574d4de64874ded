"""From bytes to messages: datagrams and streams (RFC 3261 7, 18.3; RFC 5626 4.4.1 for keep-alives).

Owns: where a message begins and ends, its start line, the splitting of its header into fields, and the bounds on all of
these. Must not know what fields mean, beyond Content-Length: the message parses the others when they are read.

What comes out has no CR, LF or control character in any field: folded lines are joined, and a control character (legal
only behind a backslash in a quoted string) becomes U+FFFD. Bytes that aren't UTF-8 stay as they are (surrogateescape).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import excerpt, is_token
from telephony.sip.headers import KEYS, METHODS, parse_number
from telephony.sip.message import VERSION, Fields, Message, Request, Response

#: A message with its body, in bytes: what fits into a datagram.
MAX_MESSAGE = 65535
#: The start line and header fields together, in bytes.
MAX_HEAD = 32768
#: One line of the header, in characters.
MAX_LINE = 8192
#: The number of lines in the header.
MAX_FIELDS = 256

_CONTROLS = bytes([code for code in (*range(32), 127) if code != 9])
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_VERSION = re.compile(r"SIP/[0-9]{1,5}\.[0-9]{1,5}", re.IGNORECASE)
_STATUS_LINE = re.compile(r"(SIP/[0-9]{1,5}\.[0-9]{1,5}) ([1-6][0-9][0-9])(?: (.*))?", re.IGNORECASE)
#: A request line that isn't one, but of which method and version can be read.
_REQUEST_LIKE = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]++) (.*) (SIP/[0-9]{1,5}\.[0-9]{1,5})[ \t]*", re.IGNORECASE)
#: The end of a header; the pattern finds it in half the time that ``bytes.find`` takes.
_END = re.compile(rb"\r\n\r\n")


class KeepAlive:
    """What a stream yields for a CRLF CRLF between messages: a ping, to be answered with one CRLF (RFC 5626 4.4.1)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<KeepAlive>"


class Pong(KeepAlive):
    """What a stream yields for the CRLF that answers a ping of ours (RFC 5626 4.4.1)."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<Pong>"


#: The only ones there are.
KEEP_ALIVE = KeepAlive()
PONG = Pong()


class UnparsableMessage(RemoteProtocolError):  # noqa: N818 - it says what came, as the seam names it
    """Bytes that are no message, or too much of one.

    ``partial`` is what could be read, so that a request can be answered with ``status`` (its typed values may raise);
    None where nothing could be, or where it is a response. ``messages`` are those that were complete before it in the
    same data of a stream.
    """

    def __init__(self, text: str, status: int = 400, partial: Message | None = None) -> None:
        super().__init__(text, status)
        self.partial = partial
        self.messages: Sequence[Request | Response | KeepAlive] = ()


def _parse_start_line(line: str) -> tuple[Request | Response, str | None]:
    """Return an empty message for a start line, and what is wrong with the line, if it can be answered all the same."""
    method, _, rest = line.partition(" ")
    uri, _, version = rest.partition(" ")
    if version == VERSION and method in METHODS and uri:
        return Request.unchecked(method, uri, VERSION), None
    if line[:4].upper() == "SIP/":
        found = _STATUS_LINE.fullmatch(line)
        if found is None:
            raise UnparsableMessage(f"{excerpt(line)} is no status line")
        response = Response(int(found[2]), found[3] or "")
        response.version = found[1].upper()
        return response, None
    words = [word for word in line.split(" ") if word]
    if len(words) == 3 and is_token(words[0]) and _VERSION.fullmatch(words[2]):
        # Spaces too many pass (RFC 4475 3.1.2.9 and 3.1.2.10 leave that to us).
        return Request.unchecked(words[0], words[1], words[2].upper()), None
    found = _REQUEST_LIKE.fullmatch(line)
    if found is None:
        raise UnparsableMessage(f"{excerpt(line)} is no start line")
    uri = found[2].strip(" \t")
    return Request.unchecked(found[1], uri, found[3].upper()), f"{excerpt(line)} is no request line"


def _split_fields(message: Message, lines: list[str]) -> str | None:
    """Enter header lines into ``message``; return what is wrong with the first that is none."""
    fields: Fields = message._fields
    wrong: str | None = None
    key: str | None = None
    for line in lines:
        # Nearly always a name that we know, a colon and one space.
        name, colon, value = line.partition(": ")
        known = KEYS.get(name) if colon else None
        if known is None:
            if line[:1] in (" ", "\t"):
                if key is None:
                    wrong = wrong or f"{excerpt(line)} continues no header field"
                else:
                    _continue(fields, key, line.strip(" \t"))
                continue
            name, colon, value = line.partition(":")
            name = name.rstrip(" \t")
            if not colon or not is_token(name):
                wrong = wrong or f"{excerpt(line)} is no header field"
                key = None
                continue
            known = KEYS.get(name)
            if known is None:
                known = name.lower()
                known = KEYS.get(known, known)
                if known not in KEYS:
                    message._spell(known, name)
        key = known
        value = value.strip(" \t")
        if key not in fields:
            fields[key] = value
        else:
            present = fields[key]
            fields[key] = (present, value) if type(present) is str else (*present, value)
    return wrong


def _continue(fields: Fields, key: str, more: str) -> None:
    """Join a continuation line to the last value of ``key``, with one space for the fold (RFC 3261 7.3.1)."""
    value = fields[key]
    if isinstance(value, str):
        fields[key] = f"{value} {more}" if value and more else value or more
    else:
        *others, last = value
        fields[key] = (*others, f"{last} {more}" if last and more else last or more)


def _parse_head(head: bytes) -> Request | Response:
    """Parse a start line and header fields, without the empty line at their end."""
    lines = head.decode("utf-8", "surrogateescape").split("\r\n")
    # One pass finds what isn't usual: a control character, or a CR or LF that belongs to no CRLF.
    if len(head.translate(None, _CONTROLS)) != len(head) - 2 * (len(lines) - 1):
        clean = _CONTROL.sub(b"\xef\xbf\xbd", head)
        lines = clean.decode("utf-8", "surrogateescape").split("\r\n")
        if any("\r" in line or "\n" in line for line in lines):
            raise UnparsableMessage("a CR or LF by itself in the header")
    message, wrong = _parse_start_line(lines[0])
    status = 400
    if len(lines) > MAX_FIELDS + 1:
        wrong, status = wrong or f"{len(lines) - 1} header lines: at most {MAX_FIELDS} are read", 513
        del lines[MAX_FIELDS + 1 :]
    if len(head) > MAX_LINE and max(map(len, lines)) > MAX_LINE:
        wrong, status = wrong or f"a header line of more than {MAX_LINE} characters", 513
        lines[1:] = [line for line in lines[1:] if len(line) <= MAX_LINE]
    wrong = _split_fields(message, lines[1:]) or wrong
    if wrong is not None:
        raise UnparsableMessage(wrong, status, message if isinstance(message, Request) else None)
    return message


def _content_length(message: Request | Response) -> int | None:
    """Return what Content-Length says; None where it is missing. The same number twice passes, two numbers don't."""
    value = message._fields.get("content-length")
    if value is None:
        return None
    try:
        if type(value) is str:
            if value.isdigit() and value.isascii() and len(value) < 10:
                return int(value)
            return parse_number(value, 0x7FFFFFFF)
        first, *others = (parse_number(one, 0x7FFFFFFF) for one in value)
        if any(other != first for other in others):
            raise RemoteProtocolError("there more than once")
    except RemoteProtocolError as error:
        partial = message if isinstance(message, Request) else None
        raise UnparsableMessage(f"Content-Length: {error}", error.status, partial) from None
    return first


def parse_message(datagram: bytes) -> Request | Response | None:
    """Return the message in a datagram; None where it is CRLFs only, a keep-alive.

    What follows the body is dropped (RFC 3261 18.3); without a Content-Length all of the rest is the body. An empty
    line missing at the end of the header is forgiven. Raises `UnparsableMessage`.
    """
    if datagram[:1] in (b"\r", b"\n"):
        datagram = datagram.lstrip(b"\r\n")
        if not datagram:
            return None
    elif not datagram:
        return None
    if len(datagram) > MAX_MESSAGE:
        raise UnparsableMessage(f"a message of {len(datagram)} bytes: at most {MAX_MESSAGE} are read", 513)
    end = _END.search(datagram)
    if end is None:
        head, body = datagram.removesuffix(b"\r\n"), b""
    else:
        head, body = datagram[: end.start()], datagram[end.end() :]
    if len(head) > MAX_HEAD:
        raise UnparsableMessage(f"a header of {len(head)} bytes: at most {MAX_HEAD} are read", 513)
    message = _parse_head(head)
    length = _content_length(message)
    if length is not None and length != len(body):
        if length > len(body):
            partial = message if isinstance(message, Request) else None
            raise UnparsableMessage(f"Content-Length is {length}, but the body has {len(body)} bytes", 400, partial)
        body = body[:length]
    message.body = body
    return message


class StreamParser:
    """Cuts a stream into messages; the way the stream is cut into pieces makes no difference.

    ``max_size`` bounds a message in bytes, and with it what is kept here. ``pongs_due`` is set by whoever sends pings:
    so many single CRLFs between messages are their answers, and not halves of the peer's pings.
    """

    __slots__ = ("_buffer", "_error", "_line_ends", "_message", "_missing", "_scanned", "max_size", "pongs_due")

    def __init__(self, max_size: int = MAX_MESSAGE) -> None:
        self.max_size = max_size
        self.pongs_due = 0
        self._buffer = bytearray()
        self._scanned = 0
        self._line_ends = 0
        self._message: Request | Response | None = None
        self._missing = 0
        self._error: UnparsableMessage | None = None

    @property
    def partial(self) -> bool:
        """Whether a message has begun and is not complete; the line ends between messages are none."""
        return bool(self._buffer) or self._message is not None

    def feed(self, data: bytes) -> list[Request | Response | KeepAlive]:
        """Take the next bytes; return what they complete, in order. Messages have not been through ``check()``.

        Raises `UnparsableMessage` when it can't be told where the next message begins: the connection is of no more
        use then, and every further call raises it again. Its ``messages`` are those that came before in this data.
        """
        if self._error is not None:
            self._error.messages = ()
            raise self._error
        self._buffer += data
        complete: list[Request | Response | KeepAlive] = []
        try:
            while self._step(complete):
                pass
        except UnparsableMessage as error:
            error.messages = complete
            self._error = error
            self._buffer.clear()
            raise
        return complete

    def _step(self, complete: list[Request | Response | KeepAlive]) -> bool:
        """Get one thing further; return False when more bytes are needed for that."""
        buffer = self._buffer
        if self._message is not None:
            if len(buffer) < self._missing:
                return False
            self._message.body = bytes(buffer[: self._missing])
            del buffer[: self._missing]
            complete.append(self._message)
            self._message = None
            self._line_ends = 0
            return True
        if buffer[:1] == b"\r":
            if len(buffer) < 2:
                return False
            if buffer[1] != 10:
                raise UnparsableMessage("a CR by itself between messages")
            del buffer[:2]
            if self.pongs_due and not self._line_ends:
                self.pongs_due -= 1
                complete.append(PONG)
                return True
            self._line_ends += 1
            if self._line_ends == 2:
                self._line_ends = 0
                complete.append(KEEP_ALIVE)
            return True
        end = buffer.find(b"\r\n\r\n", self._scanned)
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD + 3):
            raise UnparsableMessage(f"a header of more than {MAX_HEAD} bytes", 513)
        if end < 0:
            self._scanned = max(0, len(buffer) - 3)
            return False
        message = _parse_head(bytes(buffer[:end]))
        length = _content_length(message)
        partial = message if isinstance(message, Request) else None
        if length is None:
            raise UnparsableMessage("Content-Length is missing, which a stream needs", 400, partial)
        if end + 4 + length > self.max_size:
            raise UnparsableMessage(f"a message of {end + 4 + length} bytes: at most {self.max_size}", 513, partial)
        del buffer[: end + 4]
        self._scanned = 0
        self._message = message
        self._missing = length
        return True
