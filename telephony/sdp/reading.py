"""A peer's description, read for what a call needs of it, and read once however often it is asked (RFC 3264, RFC 3551).

Owns: what an audio line says of the peer: its payload types, packet time, direction, address and keys, and whether it
can be used at all. Must not know what we want or what was agreed before: that is `telephony.sdp.negotiation`, which
makes an answer of it. Our own address is told, because some addresses can't be reached from it.

Of text only the values of a=rtpmap lines are remembered from one description to the next: a few dozen of them are all
there is in practice; at most `REMEMBERED`, none longer than `LONGEST`.
"""

from __future__ import annotations

from functools import lru_cache

import attrs

from telephony.addresses import KnownAddress, known_address
from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address
from telephony.sdp.crypto import Crypto, usable
from telephony.sdp.model import MediaDescription, SessionDescription
from telephony.sdp.parser import parse_sdp, whole_number

#: Static payload types of what we can code (RFC 3551 table 4); both have a clock rate of 8000.
STATIC_TYPES = {"PCMU": 0, "PCMA": 8}
_STATIC_NAMES = {number: name for name, number in STATIC_TYPES.items()}
EVENT = "telephone-event"
DYNAMIC = range(96, 128)
_KNOWN = {**{name: name for name in STATIC_TYPES}, EVENT.upper(): EVENT}
#: Payload types as everybody writes them.
_NUMBERS = {str(number): number for number in range(128)}
#: AVPF without feedback attributes is AVP on the wire (RFC 4585 section 5); an answer repeats what was offered.
PLAIN = frozenset(("RTP/AVP", "RTP/AVPF"))
SECURED = frozenset(("RTP/SAVP", "RTP/SAVPF"))

#: A direction attribute: does the one who writes it send, does it receive (RFC 3264 section 5.1).
DIRECTIONS = {
    "sendrecv": (True, True),
    "sendonly": (True, False),
    "recvonly": (False, True),
    "inactive": (False, False),
}

#: How many values of a=rtpmap are remembered, and how long they may be.
REMEMBERED = 256
LONGEST = 64


@attrs.define
class Stream:
    """A peer's audio line, read: what it says about the peer. Made for one description, and not changed any more.

    ``types`` are the payload types of what we know, in the peer's order, ``mapped`` every dynamic number that the peer
    gives another meaning than telephone events, known to us or not. ``host`` is None for a name and for an address that
    holds; ``held`` tells the two apart. ``port`` is its RTP port, ``rtcp`` the value of a=rtcp (RFC 3605).
    """

    types: dict[int, str]
    mapped: frozenset[int]
    ptime: int
    host: KnownAddress | None
    held: bool
    port: int
    rtcp: str
    sends: bool
    receives: bool
    secured: bool
    #: What can be used of its a=crypto lines, by preference.
    cryptos: tuple[Crypto, ...]

    def first(self, name: str) -> int | None:
        """Return the first payload type of that name; None where there is none."""
        for number, one in self.types.items():
            if one == name:
                return number
        return None

    def reached_from(self, ours: str) -> tuple[Address | None, Address | None]:
        """Return where RTP and RTCP go, None for what has nowhere to go.

        ``ours`` is our own address. Raises `RemoteProtocolError` (488) for an address that can't be reached from it.
        """
        host = self.host
        if host is None:
            return None, None
        _check_reach(host, ours)
        rtcp: Address | None = (host.text, self.port + 1) if self.port < 65535 else None
        fields = self.rtcp.split() if self.rtcp else ()
        port = whole_number(fields[0], 65535) if fields else None
        if port:
            if len(fields) < 4:
                rtcp = host.text, port
            else:
                try:
                    other, _held = _host(fields[3])
                    if other is not None:
                        _check_reach(other, ours)
                except RemoteProtocolError:
                    other = None
                rtcp = None if other is None else (other.text, port)
        return (host.text, self.port), rtcp


class PeerDescription:
    """A peer's description, parsed, of which every audio line is read when it is first asked for.

    Raises `RemoteProtocolError` (400) for bytes that are none (`telephony.sdp.parser.parse_sdp`).
    """

    __slots__ = ("_streams", "session")

    def __init__(self, sdp: bytes) -> None:
        self.session: SessionDescription = parse_sdp(sdp)
        self._streams: dict[int, Stream] = {}

    def stream(self, index: int, protocols: frozenset[str]) -> Stream:
        """Return what the audio line at ``index`` says; ``protocols`` are those that we take.

        Raises `RemoteProtocolError` (488) when it is no audio line, of another protocol, refused, or can't be used.
        """
        media = self.session.media[index]
        if media.media.lower() != "audio" or media.protocol.upper() not in protocols:
            raise RemoteProtocolError(f"{media.media!a} over {media.protocol!a} can't be used here", 488)
        stream = self._streams.get(index)
        if stream is None:
            stream = self._streams[index] = _read(self.session, media)
        return stream


def _read(session: SessionDescription, media: MediaDescription) -> Stream:
    """Read an audio line, or raise `RemoteProtocolError` (488) when it is refused or nobody could reach it."""
    secured = media.protocol.upper() in SECURED
    if media.port == 0:
        raise RemoteProtocolError("the audio line is refused: port 0 (RFC 3264 section 6)", 488)
    connection = media.connection or session.connection
    if connection is None:
        raise RemoteProtocolError("the audio line has no c= line (RFC 8866 section 5.7)", 488)
    cryptos = tuple(usable(media.attribute_values("crypto"))) if secured else ()
    if secured and not cryptos:
        raise RemoteProtocolError(f"{media.protocol} has no a=crypto line that can be used (RFC 4568)", 488)
    host, held = _host(connection.address)
    maps: dict[int, str | None] = {}
    mapped: list[int] = []
    ptime = most = rtcp = direction = None
    # One walk through the attributes; of each but a=rtpmap the first counts.
    for name, value in media.attributes:
        if name == "rtpmap":
            if value is not None:
                found = _rtpmap(value) if len(value) <= LONGEST else _rtpmap.__wrapped__(value)
                if found is not None and found[0] not in maps:
                    maps[found[0]] = found[1]
                    if found[2]:
                        mapped.append(found[0])
        elif name in DIRECTIONS:
            if direction is None:
                direction = name
        elif name == "ptime":
            if ptime is None:
                ptime = value or ""
        elif name == "maxptime":
            if most is None:
                most = value or ""
        elif name == "rtcp" and rtcp is None:
            rtcp = value or ""
    if direction is None:
        direction = next((name for name, _ in session.attributes if name in DIRECTIONS), "sendrecv")
    sends, receives = DIRECTIONS[direction]
    return Stream(
        types=_types(media.formats, maps),
        mapped=frozenset(mapped),
        ptime=20 if ptime is None and most is None else _ptime(ptime or "", most or ""),
        host=host,
        held=held,
        port=media.port,
        rtcp=rtcp or "",
        sends=sends,
        receives=receives and not held,
        secured=secured,
        cryptos=cryptos,
    )


def _host(text: str) -> tuple[KnownAddress | None, bool]:
    """Return the address of one peer that the text of a c= line names, if it is one, and whether it holds."""
    # What follows % is the name of an interface of the peer's machine, what follows / a multicast group's.
    host = known_address(text.partition("/")[0].strip("[]"))
    if host is None:
        return None, False  # a host name, which RFC 8866 section 5.7 allows
    if host.unspecified:
        return None, True
    if host.group:
        raise RemoteProtocolError(f"{text} is not the address of one peer; only unicast is taken", 488)
    return host, False


def _check_reach(host: KnownAddress, ours: str) -> None:
    """Raise `RemoteProtocolError` (488) for a peer's address of the other family, or inside a machine not ours."""
    if host.version == (6 if ":" in ours else 4):
        # Whoever is elsewhere must not have audio sent to what this machine keeps to itself.
        own = known_address(ours) if host.loopback else None
        if not host.loopback or (own is not None and own.loopback):
            return
    raise RemoteProtocolError(f"media at {host.text} can't be reached from {ours}", 488)


def _types(formats: list[str], maps: dict[int, str | None]) -> dict[int, str]:
    """Return the payload types of what we know, in the order of the m= line."""
    types: dict[int, str] = {}
    for text in formats:
        number = _NUMBERS.get(text)
        if number is None:
            number = whole_number(text, 127)
            if number is None:
                continue
        name = maps[number] if number in maps else _STATIC_NAMES.get(number)
        if name is not None:
            types[number] = name
    return types


@lru_cache(maxsize=REMEMBERED)
def _rtpmap(value: str) -> tuple[int, str | None, bool] | None:
    """Read the value of an a=rtpmap line: the number, its name if we know it, and whether it takes a dynamic number.

    Telephone events take none: they are where we would put them. None for a value that is no mapping.
    """
    text, _, encoding = value.strip().partition(" ")
    number = whole_number(text, 127)
    if number is None:
        return None
    name, _, rest = encoding.strip().upper().partition("/")
    # A missing clock rate is a slip; another one, or a second channel, is another codec.
    known = _KNOWN.get(name) if rest in ("8000", "8000/1", "") else None
    return number, known, number in DYNAMIC and name != EVENT.upper()


def _ptime(wish: str, most_wished: str) -> int:
    """Find the packet time to send with: the peer's wish if we can do that, else 20 ms (RFC 3551 section 4.2)."""
    ptime = whole_number(wish.partition(".")[0], 60) or 20
    if ptime < 10 or ptime % 10:
        ptime = 20
    most = whole_number(most_wished.partition(".")[0], 1000)
    if most is not None and most < ptime:
        ptime = max(10, most // 10 * 10)
    return ptime
