"""What nobody may read in a trace: SRTP keys and credentials, covered byte by byte.

Owns: which parts of a message are secret, and covering them. Must not know who traces, nor parse messages: it looks for
lines. Everything that keeps or shows signalling (trace hook, replay rings, captures, pages, logs) gets its bytes from
here.

A secret is covered by as many asterisks as it has bytes, so that lengths, and with them Content-Length, stay true:

- the key behind each ``inline:`` of an ``a=crypto`` line (RFC 4568 9.1), and the value of an old ``k=`` line (RFC 8866
  5.12);
- in Authorization, Proxy-Authorization, Authentication-Info and Proxy-Authentication-Info all values but those that
  say who asks where (user name, realm, uri, algorithm, qop, nc); of a scheme that isn't Digest, everything.
"""

from __future__ import annotations

import re

_CRYPTO = re.compile(rb"^[ \t]*a[ \t]*=[ \t]*crypto[ \t]*:", re.IGNORECASE)
_INLINE = re.compile(rb"(?<=inline:)[^|;\s]+", re.IGNORECASE)
_KEY_LINE = re.compile(rb"(?<=^k=)(?!prompt)[^\r\n]+", re.IGNORECASE)
_CREDENTIALS = re.compile(rb"^(?:proxy-)?(?:authorization|authentication-info)[ \t]*:", re.IGNORECASE)
_PLAIN = frozenset([b"username", b"realm", b"uri", b"algorithm", b"qop", b"nc"])
_PARAMETER = re.compile(rb'([A-Za-z0-9*_.-]+)([ \t]*=[ \t]*)("(?:[^"\\\r\n]|\\.)*"?|[^",;\r\n]*)')
_SCHEME = re.compile(rb"[ \t]*([!-~]+)")
#: A line longer than this is passed on in pieces. Header lines are shorter, or the message is refused.
_MOST = 16384


def masked(data: bytes) -> bytes:
    """Return a whole message, or any bytes that begin at a line's beginning, with every secret covered.

    The length is the same; bytes without secrets come back as they are.
    """
    # Each message is looked at for what a secret's line must have in it, so that this is written out.
    lowered = data.lower()
    if b"crypto" not in lowered and b"k=" not in lowered and b"auth" not in lowered:
        return data
    mask = StreamMask()
    return mask.feed(data) + mask.flush()


class StreamMask:
    """Covers the secrets in a stream that comes in pieces, cut anywhere.

    A line is passed on once it is complete, so that no key can slip through in two halves.
    """

    __slots__ = ("_credentials", "_digest", "_tail")

    def __init__(self) -> None:
        self._tail = b""
        self._credentials = False  # whether the last line was, or continued, a field of credentials
        self._digest = True

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what can be shown now."""
        lines = (self._tail + data).splitlines(keepends=True)
        last = lines[-1] if lines else b""
        # A CR at the very end may be half of a CRLF; for a line's end it does as well.
        self._tail = b"" if last.endswith((b"\n", b"\r")) or len(last) > _MOST else last
        if self._tail:
            lines.pop()
        return b"".join(map(self._line, lines))

    def flush(self) -> bytes:
        """Return what is left when the stream has ended."""
        tail, self._tail = self._tail, b""
        return self._line(tail) if tail else b""

    def _line(self, line: bytes) -> bytes:
        if self._credentials and line[:1] in (b" ", b"\t"):
            return self._cover_credentials(line, 0)  # a folded field goes on (RFC 3261 7.3.1)
        found = _CREDENTIALS.match(line)
        self._credentials = found is not None
        if found is not None:
            scheme = _SCHEME.match(line, found.end())
            info = line[: found.end()].lower().rstrip(b": \t").endswith(b"-info")
            self._digest = info or scheme is None or scheme[1].lower() == b"digest"
            return self._cover_credentials(line, found.end() if info or scheme is None else scheme.end())
        if _CRYPTO.match(line):
            return _INLINE.sub(_covered, line)
        return _KEY_LINE.sub(_covered, line)

    def _cover_credentials(self, line: bytes, start: int) -> bytes:
        rest = line[start:]
        if not self._digest:
            return line[:start] + re.sub(rb"[!-~\x80-\xff]", b"*", rest)
        return line[:start] + _PARAMETER.sub(_covered_parameter, rest)


def _covered(found: re.Match[bytes]) -> bytes:
    return b"*" * len(found[0])


def _covered_parameter(found: re.Match[bytes]) -> bytes:
    name, equals, value = found.groups()
    if name.lower() in _PLAIN:
        return found[0]
    if value.startswith(b'"'):
        closing = b'"' if len(value) > 1 and value.endswith(b'"') else b""
        return name + equals + b'"' + b"*" * (len(value) - 1 - len(closing)) + closing
    return name + equals + b"*" * len(value)
