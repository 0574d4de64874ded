"""A session description as data, and the one way it is written.

Owns: the parts of a description that somebody reads (origin, connection, media lines, attributes) as fields, every
other line as raw text that is carried along, and strict writing: the line order of RFC 8866 section 5, CRLF after each
line. Must not know what the lines mean for a call: that is `telephony.sdp.negotiation`.
"""

from __future__ import annotations

import re

import attrs

#: Lines nobody here reads, by the place where RFC 8866 section 5 wants them.
_BEFORE_CONNECTION = "iuep"
_AFTER_CONNECTION = "btrzk"
#: Letters of such lines, at session level and in a media description, in the order of writing.
SESSION_LETTERS = _BEFORE_CONNECTION + _AFTER_CONNECTION
MEDIA_LETTERS = "ibk"

_FORBIDDEN = re.compile("[\r\n\0]")

#: An attribute: its name, and what follows the colon; None where there is no colon.
Attribute = tuple[str, str | None]
#: A line kept as it came: its letter and its value.
RawLine = tuple[str, str]


@attrs.define
class Origin:
    """The o= line. The numbers stay text: a peer's are never calculated with, and may be too long for anything."""

    username: str = "-"
    session_id: str = "0"
    version: str = "0"
    network: str = "IN"
    family: str = "IP4"
    address: str = "0.0.0.0"

    def __str__(self) -> str:
        return f"{self.username} {self.session_id} {self.version} {self.network} {self.family} {self.address}"


@attrs.define
class Connection:
    """A c= line: network ("IN"), family ("IP4", "IP6") and address (with a multicast group's /ttl, as written)."""

    network: str
    family: str
    address: str

    def __str__(self) -> str:
        return f"{self.network} {self.family} {self.address}"


class _Attributes:
    """What a session and a media description have in common."""

    __slots__ = ()

    attributes: list[Attribute]

    def attribute(self, name: str) -> str | None:
        """Return the value of the first attribute of that name ("" when it has none), or None if it isn't there."""
        for one, value in self.attributes:
            if one == name:
                return "" if value is None else value
        return None

    def attribute_values(self, name: str) -> list[str]:
        """Return the values of all attributes of that name, in order, without those that have none."""
        return [value for one, value in self.attributes if one == name and value is not None]


@attrs.define
class MediaDescription(_Attributes):
    """One m= line with what belongs to it.

    ``port_count`` is the number behind the slash of ``m=audio 5004/2``; ``other`` are lines with the letters of
    `MEDIA_LETTERS` in the order of writing.
    """

    media: str
    port: int
    protocol: str
    formats: list[str]
    port_count: int = 1
    connection: Connection | None = None
    attributes: list[Attribute] = attrs.Factory(list)
    other: list[RawLine] = attrs.Factory(list)

    def lines(self) -> list[str]:
        """Return the lines of this part, in the order of RFC 8866 section 5, without line ends."""
        port = f"{self.port}/{self.port_count}" if self.port_count != 1 else f"{self.port}"
        lines = [f"m={self.media} {port} {self.protocol} {' '.join(self.formats)}"]
        lines += [f"i={value}" for letter, value in self.other if letter == "i"]
        if self.connection is not None:
            lines.append(f"c={self.connection}")
        lines += [f"{letter}={value}" for letter, value in self.other if letter != "i"]
        lines += map(_attribute_line, self.attributes)
        return lines


@attrs.define
class SessionDescription(_Attributes):
    """A whole description. ``other`` are lines with the letters of `SESSION_LETTERS`, in the order of writing."""

    origin: Origin = attrs.Factory(Origin)
    name: str = "-"
    connection: Connection | None = None
    attributes: list[Attribute] = attrs.Factory(list)
    other: list[RawLine] = attrs.Factory(lambda: [("t", "0 0")])
    media: list[MediaDescription] = attrs.Factory(list)

    def to_bytes(self) -> bytes:
        """Write the description. A CR, LF or NUL inside a value is a ValueError: it would be a line of its own."""
        lines = ["v=0", f"o={self.origin}", f"s={self.name}"]
        lines += [f"{letter}={value}" for letter, value in self.other if letter in _BEFORE_CONNECTION]
        if self.connection is not None:
            lines.append(f"c={self.connection}")
        lines += [f"{letter}={value}" for letter, value in self.other if letter in _AFTER_CONNECTION]
        lines += map(_attribute_line, self.attributes)
        for media in self.media:
            lines += media.lines()
        for line in lines:
            if _FORBIDDEN.search(line):
                raise ValueError(f"{line!r} can't be a line of a session description: it has a CR, LF or NUL in it")
        return ("\r\n".join(lines) + "\r\n").encode("utf-8", "surrogateescape")


def _attribute_line(attribute: Attribute) -> str:
    name, value = attribute
    return f"a={name}" if value is None else f"a={name}:{value}"
