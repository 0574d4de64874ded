"""Offer and answer for the one audio stream of a session (RFC 3264), tied to nothing but the two descriptions.

Owns: what we write into our description and when its version moves, what a peer's description lets us do, hold in both
directions, and the numbers of payload types (RFC 3551, and RFC 4733 for telephone events). Answers are made from the
offer in hand and from our own live state, never from what was written earlier. Must not know SIP: who calls `offer` and
`offered`, and when, is the INVITE session's business; nor sockets: addresses are taken as text.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

import attrs

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address
from telephony.sdp.crypto import SUITES, Crypto, usable
from telephony.sdp.elsewhere import Elsewhere
from telephony.sdp.model import Attribute, Connection, MediaDescription, Origin, SessionDescription
from telephony.sdp.parser import parse_sdp, whole_number

#: Static payload types of what we can code (RFC 3551 table 4); both have a clock rate of 8000.
STATIC_TYPES = {"PCMU": 0, "PCMA": 8}
_STATIC_NAMES = {number: name for name, number in STATIC_TYPES.items()}
EVENT = "telephone-event"
#: The number we offer for telephone events unless the peer has used it for something else.
EVENT_TYPE = 101
_DYNAMIC = range(96, 128)
_KNOWN = frozenset((*STATIC_TYPES, EVENT.upper()))
#: AVPF without feedback attributes is AVP on the wire (RFC 4585 section 5); an answer repeats what was offered.
_PLAIN = frozenset(("RTP/AVP", "RTP/AVPF"))
_SECURED = frozenset(("RTP/SAVP", "RTP/SAVPF"))

#: A direction attribute: does the one who writes it send, does it receive (RFC 3264 section 5.1).
DIRECTIONS = {
    "sendrecv": (True, True),
    "sendonly": (True, False),
    "recvonly": (False, True),
    "inactive": (False, False),
}
_DIRECTION_NAMES = {both: name for name, both in DIRECTIONS.items()}

_TIMES = re.compile(r"[0-9]{1,20} [0-9]{1,20}")


class Securing(Enum):
    """What becomes of SRTP (RFC 4568) in a session."""

    REFUSED = "only plain RTP is offered and taken"
    TAKEN = "plain RTP is offered, either is taken"
    OFFERED = "SRTP is offered, either is taken"
    DEMANDED = "only SRTP is offered and taken"

    @property
    def offers(self) -> bool:
        """Whether an offer of ours asks for SRTP."""
        return self in (Securing.OFFERED, Securing.DEMANDED)

    @property
    def protocols(self) -> frozenset[str]:
        """The protocols of m= lines that are taken."""
        if self is Securing.REFUSED:
            return _PLAIN
        return _SECURED if self is Securing.DEMANDED else _PLAIN | _SECURED


@attrs.frozen
class Agreed:
    """What two descriptions together allow, from our side.

    ``codec`` ("PCMU" or "PCMA"), ``payload_type``, ``event_payload_type`` (None: the peer takes no telephone events)
    and ``ptime`` (milliseconds, 10 to 60 by tens) are for what we send. ``receive_payload_types`` has every number that
    may arrive, with "PCMU", "PCMA" or "telephone-event". ``remote_rtp`` and ``remote_rtcp`` are None where the peer
    wants nothing sent to it (0.0.0.0 or ::, RFC 3264 section 8.4); ``send`` is False then. They are also None, with
    ``send`` left as it is, where the peer wrote a host name: nothing is looked up for media, and the address is learnt
    from what the peer sends (symmetric RTP). ``send`` and ``receive`` are our directions. With SRTP ``own_crypto``
    secures what we send and ``remote_crypto`` what the peer sends; without it both are None.
    """

    codec: str
    payload_type: int
    receive_payload_types: dict[int, str]
    event_payload_type: int | None
    ptime: int
    remote_rtp: Address | None
    remote_rtcp: Address | None
    send: bool
    receive: bool
    own_crypto: Crypto | None = None
    remote_crypto: Crypto | None = None

    @property
    def direction(self) -> str:
        """Our direction in words: "sendrecv", "sendonly", "recvonly" or "inactive"."""
        return _DIRECTION_NAMES[self.send, self.receive]


@attrs.frozen
class _Stream:
    """The peer's audio line, read: what it says about the peer."""

    #: Payload types of what we know, in the peer's order.
    types: dict[int, str]
    #: Every dynamic number the peer gives a meaning to, known or not.
    mapped: frozenset[int]
    ptime: int
    rtp: Address | None
    rtcp: Address | None
    sends: bool
    receives: bool
    secured: bool
    #: What can be used of its a=crypto lines, by preference.
    cryptos: tuple[Crypto, ...]

    def first(self, name: str) -> int | None:
        for number, one in self.types.items():
            if one == name:
                return number
        return None


@attrs.frozen
class _Offer:
    """Our offer that waits for its answer."""

    direction: str
    types: dict[int, str]
    lines: tuple[MediaDescription, ...]
    #: What our a=crypto lines offer; empty without SRTP.
    cryptos: tuple[Crypto, ...]
    times: str = "0 0"
    #: What we want, of which the direction is what the peer's hold leaves.
    wish: str = ""
    elsewhere: Elsewhere | None = None


class Negotiation:
    """The offer/answer machine of one INVITE session.

    ``address`` and ``rtp_port`` are ours (an IP literal; RTCP is on the port above, RFC 3550 section 11), ``codecs``
    are those allowed on this call, best first, ``ptime`` is what we ask the peer to send, ``events`` says whether
    telephone events are offered and taken. ``securing`` says what becomes of SRTP, ``new_key`` draws so many random
    bytes for a key of ours; keys are this session's own, and our key changes when the peer's does. One offer waits at
    a time: `pending`.

    A description gets a new o= version exactly when it differs from the one written before it (RFC 3264 section 8), and
    keeps its session id for good. m= lines keep their order and number over the session, refused ones at port 0.

    ``elsewhere`` is whose place our last agreed description names, None for our own. There it has nothing but the codec
    and the events that were agreed before. An offer of the peer's that changes anything is answered with our own place.
    """

    __slots__ = (
        "_codecs",
        "_event_type",
        "_events",
        "_index",
        "_keys",
        "_lines",
        "_new_key",
        "_offer",
        "_ptime",
        "_securing",
        "_session_id",
        "_taken",
        "_times",
        "_version",
        "_wish",
        "_written",
        "address",
        "agreed",
        "elsewhere",
        "rtp_port",
    )

    def __init__(
        self,
        address: str,
        rtp_port: int,
        session_id: int,
        codecs: Sequence[str] = ("PCMA", "PCMU"),
        ptime: int = 20,
        events: bool = True,
        securing: Securing = Securing.REFUSED,
        new_key: Callable[[int], bytes] | None = None,
    ) -> None:
        unknown = [name for name in codecs if name not in STATIC_TYPES]
        if unknown or not codecs:
            raise ValueError(f"codecs {list(codecs)!r}: one or more of {sorted(STATIC_TYPES)} are needed")
        self.address = address
        self.rtp_port = rtp_port
        #: What holds for media now; None before the first answer.
        self.agreed: Agreed | None = None
        self.elsewhere: Elsewhere | None = None
        self._session_id = session_id
        self._codecs = tuple(dict.fromkeys(codecs))
        self._ptime = ptime
        self._events = events
        self._new_key = new_key
        #: Without a source of keys there is no SRTP.
        self._securing = securing if new_key is not None else Securing.REFUSED
        #: What we have drawn, by suite: offered again with the same key as long as the peer's is the same.
        self._keys: dict[str, bytes] = {}
        self._event_type: int | None = None
        self._taken: set[int] = set()
        self._wish = "sendrecv"
        self._offer: _Offer | None = None
        #: The session's m= lines as agreed, and which of them is ours.
        self._lines: tuple[MediaDescription, ...] = ()
        self._index = 0
        self._times = "0 0"
        self._version = 0
        self._written: SessionDescription | None = None

    @property
    def pending(self) -> bool:
        """Whether an offer of ours waits for its answer."""
        return self._offer is not None

    def offer(self, direction: str = "sendrecv", elsewhere: Elsewhere | None = None) -> bytes:
        """Write an offer with all our codecs, for an INVITE or a re-INVITE; `pending` until it is answered.

        ``elsewhere`` asks the peer to send its audio to another: what has been agreed then stays, in that place.

        An offer that is pending already is replaced: after a 401 or 407 the same INVITE goes out again, and gets the
        same bytes. A word that is no direction is a ValueError.
        """
        if direction not in DIRECTIONS:
            raise ValueError(f"{direction!r} is not a direction: {', '.join(DIRECTIONS)}")
        # The codec in use goes first, so that a hold or a refresh doesn't change it.
        used = [self.agreed.codec] if self.agreed is not None else []
        types = {STATIC_TYPES[name]: name for name in dict.fromkeys((*used, *self._codecs))}
        event_type = self._own_event_type()
        if event_type is not None:
            types[event_type] = EVENT
        if elsewhere is not None:
            assert self.agreed is not None
            types = _types_of(self.agreed)
        lines = [_refused(line) for line in self._lines]
        protocol = "RTP/SAVP" if self._securing.offers else "RTP/AVP"
        if lines:
            protocol = self._lines[self._index].protocol
        cryptos: tuple[Crypto, ...] = ()
        if protocol.upper() in _SECURED:
            used_crypto = self.agreed.own_crypto if self.agreed is not None else None
            if used_crypto is not None:
                cryptos = (used_crypto,)  # nothing is renegotiated that works
            else:
                cryptos = tuple(Crypto(tag, suite, self._key(suite)) for tag, suite in enumerate(SUITES, 1))
        audio = self._audio(protocol, types, direction, cryptos, elsewhere)
        if lines:
            lines[self._index] = audio
        else:
            lines = [audio]
        data = self._write(lines, "0 0", elsewhere)
        self._offer = _Offer(direction, types, tuple(lines), cryptos, elsewhere=elsewhere)
        return data

    def current(self) -> bytes:
        """Write the full offer that a re-INVITE without one asks for (RFC 3261 section 14.2).

        It has all our codecs and the direction that we ourselves want: that the peer holds us doesn't show in it, or
        nobody would ever come off hold.
        """
        return self.offer(self._wish)

    def repeat(self) -> bytes:
        """Write what holds now as an offer, for a refresh (RFC 4028 7.4); `pending` until it is answered.

        It has the bytes of the last description, unless that one was an offer that was refused. That the peer holds us
        shows in it, and it may go on with that; what we want ourselves stays as it is.
        """
        if not self._lines:
            return self.current()
        line = self._lines[self._index]
        direction = _DIRECTION_NAMES[_direction((line.attributes,))]
        cryptos = tuple(usable(line.attribute_values("crypto")))
        offer = _Offer(
            direction, _payload_types(line)[0], self._lines, cryptos, self._times, self._wish, self.elsewhere
        )
        data = self._write(list(self._lines), self._times, self.elsewhere)
        self._offer = offer
        return data

    def rollback(self) -> None:
        """Forget the offer that waits: it was refused, or never answered. What was agreed before still holds."""
        self._offer = None

    def preview(self, sdp: bytes) -> Agreed:
        """Tell what `answered` would return for this answer and change nothing: early media of one fork (R17)."""
        return self._read_answer(self._pending_offer(), sdp)[0]

    def answered(self, sdp: bytes) -> Agreed:
        """Take the peer's answer to our offer.

        Raises `RemoteProtocolError` (488) when it can't be read, refuses the stream (port 0), has no codec that we
        offered, or no address we could use; nothing has changed then, and the offer is still pending. With no offer
        pending, the answer we have already stands, whatever this one says (R19).
        """
        if self._offer is None and self.agreed is not None:
            return self.agreed
        offer = self._pending_offer()
        agreed, stream = self._read_answer(offer, sdp)
        self._taken |= stream.mapped
        self._event_type = next((number for number, name in offer.types.items() if name == EVENT), None)
        self._wish, self._lines, self._offer = offer.wish or offer.direction, offer.lines, None
        self._times = offer.times
        self.elsewhere = offer.elsewhere
        self.agreed = agreed
        return agreed

    def offered(self, sdp: bytes, direction: str | None = None) -> tuple[bytes, Agreed]:
        """Take the peer's offer, first or later; return our answer and what is agreed with it.

        ``direction`` is what we want, None: what we wanted before, sendrecv at first; the answer says as much
        of it as the offer allows: sendonly is answered recvonly, inactive is answered inactive, an address of 0.0.0.0
        is the old way to hold and is answered as sendonly is.
        Every m= line is answered in its place, those we don't take with port 0 (RFC 3264 section 6). The same offer
        again gives the same bytes again.

        Raises `RemoteProtocolError`: 400 for what is no description, 488 when no audio line can be used, 491 while an
        offer of ours is pending. Nothing has changed then.
        """
        direction = self._wish if direction is None else direction
        if direction not in DIRECTIONS:
            raise ValueError(f"{direction!r} is not a direction: {', '.join(DIRECTIONS)}")
        if self._offer is not None:
            raise RemoteProtocolError("an offer came while ours is not answered yet (RFC 3264 section 4)", 491)
        session = parse_sdp(sdp)
        index, stream = self._choose(session)
        types = {number: name for number, name in stream.types.items() if name in self._codecs}
        payload_type = next(iter(types))
        # Events go last wherever the offer has them, so that the first number is that of a codec.
        event_type = stream.first(EVENT) if self._events else None
        if event_type is not None:
            types[event_type] = EVENT
        own_crypto, remote_crypto = self._answer_crypto(stream)
        wish_send, wish_receive = DIRECTIONS[direction]
        agreed = Agreed(
            codec=types[payload_type],
            payload_type=payload_type,
            receive_payload_types=types,
            event_payload_type=event_type,
            ptime=stream.ptime,
            remote_rtp=stream.rtp,
            remote_rtcp=stream.rtcp,
            send=wish_send and stream.receives,
            receive=wish_receive and stream.sends,
            own_crypto=own_crypto,
            remote_crypto=remote_crypto,
        )
        elsewhere = self._still_elsewhere(agreed)
        if elsewhere is not None:
            assert self.agreed is not None
            types = _types_of(self.agreed)
            agreed = attrs.evolve(agreed, codec=self.agreed.codec, payload_type=self.agreed.payload_type)
        lines = [_refused(line) for line in session.media]
        secured = () if own_crypto is None else (own_crypto,)
        lines[index] = self._audio(session.media[index].protocol, types, agreed.direction, secured, elsewhere)
        times = next((value for letter, value in session.other if letter == "t"), "")
        # RFC 3264 section 6: the answer's t= is the offer's, as long as it is one at all.
        self._times = times if _TIMES.fullmatch(times) else "0 0"
        data = self._write(lines, self._times, elsewhere)
        self._taken |= stream.mapped
        self.elsewhere = elsewhere
        self._event_type = event_type if event_type is not None else self._event_type
        self._wish, self._lines, self._index = direction, tuple(lines), index
        self.agreed = agreed
        return data, agreed

    def _still_elsewhere(self, agreed: Agreed) -> Elsewhere | None:
        """Return the place that an answer names: another's only where the offer in hand changes nothing."""
        before = self.agreed
        if self.elsewhere is None or before is None:
            return None
        kept = agreed.receive_payload_types.get(before.payload_type) == before.codec
        ours = attrs.evolve(
            agreed,
            codec=before.codec,
            payload_type=before.payload_type,
            receive_payload_types=before.receive_payload_types,
        )
        return self.elsewhere if kept and ours == before else None

    # -- reading

    def _pending_offer(self) -> _Offer:
        if self._offer is None:
            raise RemoteProtocolError("an answer came, but no offer is pending (RFC 3264 section 4)")
        return self._offer

    def _read_answer(self, offer: _Offer, sdp: bytes) -> tuple[Agreed, _Stream]:
        try:
            session = parse_sdp(sdp)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(str(error), 488) from None
        if len(session.media) <= self._index:
            raise RemoteProtocolError("the answer leaves our audio line out (RFC 3264 section 6)", 488)
        stream = self._read(session, session.media[self._index])
        offered = set(offer.types.values())
        payload_type = next(
            (number for number, name in stream.types.items() if name in offered and name != EVENT), None
        )
        if payload_type is None:
            raise RemoteProtocolError(f"the answer has none of the codecs offered: {', '.join(self._codecs)}", 488)
        own, remote = self._answered_crypto(offer, stream)
        ours_send, ours_receive = DIRECTIONS[offer.direction]
        # What arrives should have our numbers (RFC 3264 section 6.1); those of the answer are what some peers use
        # instead, and they are understood where they don't mean something else to us.
        types = {number: name for number, name in stream.types.items() if name in offered} | offer.types
        agreed = Agreed(
            codec=stream.types[payload_type],
            payload_type=payload_type,
            receive_payload_types=types,
            event_payload_type=stream.first(EVENT) if EVENT in offered else None,
            ptime=stream.ptime,
            remote_rtp=stream.rtp,
            remote_rtcp=stream.rtcp,
            send=ours_send and stream.receives,
            receive=ours_receive and stream.sends,
            own_crypto=own,
            remote_crypto=remote,
        )
        return agreed, stream

    def _answered_crypto(self, offer: _Offer, stream: _Stream) -> tuple[Crypto | None, Crypto | None]:
        """Find which of our lines an answer has chosen (RFC 4568 7.1.3); RemoteProtocolError (488) for none of them."""
        if not offer.cryptos and not stream.secured:
            return None, None
        if not offer.cryptos or not stream.secured:
            raise RemoteProtocolError("the answer has not the protocol of our audio line (RFC 3264 section 6)", 488)
        for one in stream.cryptos:
            for own in offer.cryptos:
                if (one.tag, one.suite) == (own.tag, own.suite):
                    return own, one
        raise RemoteProtocolError("the answer takes none of our a=crypto lines (RFC 4568 section 7.1.3)", 488)

    def _answer_crypto(self, stream: _Stream) -> tuple[Crypto | None, Crypto | None]:
        """Choose from an offer's lines the first that we have, and answer it with a key of our own.

        Our key stays what it was while the peer's does, and is drawn anew when the peer has drawn another: both begin
        their counts of packets again then, and so do we (RFC 4568 section 7.1.4).
        """
        if not stream.secured:
            return None, None
        before = self.agreed
        kept = before.remote_crypto if before is not None else None
        remote = next((one for one in stream.cryptos if one.same_key(kept)), stream.cryptos[0])
        if before is not None and before.own_crypto is not None and remote.same_key(kept):
            return Crypto(remote.tag, remote.suite, before.own_crypto.key), remote
        if before is not None:
            self._keys.clear()
        return Crypto(remote.tag, remote.suite, self._key(remote.suite)), remote

    def _key(self, suite: str) -> bytes:
        assert self._new_key is not None
        if suite not in self._keys:
            self._keys[suite] = self._new_key(SUITES[suite])
        return self._keys[suite]

    def _choose(self, session: SessionDescription) -> tuple[int, _Stream]:
        """Find the audio line to answer: the one in use if it still can be, else the first that can."""
        reason = RemoteProtocolError("the offer has no audio line (RFC 3264 section 6)", 488)
        order = list(range(len(session.media)))
        if self._lines and self._index < len(order):
            order.insert(0, order.pop(self._index))
        for index in order:
            if session.media[index].media.lower() != "audio":
                continue
            try:
                stream = self._read(session, session.media[index])
            except RemoteProtocolError as error:
                reason = error
                continue
            if any(name in self._codecs for name in stream.types.values()):
                return index, stream
            reason = RemoteProtocolError(f"the offer has none of our codecs: {', '.join(self._codecs)}", 488)
        raise reason

    def _read(self, session: SessionDescription, media: MediaDescription) -> _Stream:
        """Read an audio line, or raise `RemoteProtocolError` (488) when it is none, refused or out of our reach."""
        protocol = media.protocol.upper()
        if media.media.lower() != "audio" or protocol not in self._securing.protocols:
            raise RemoteProtocolError(f"{media.media!a} over {media.protocol!a} can't be used here", 488)
        secured = protocol in _SECURED
        cryptos = tuple(usable(media.attribute_values("crypto"))) if secured else ()
        if media.port == 0:
            raise RemoteProtocolError("the audio line is refused: port 0 (RFC 3264 section 6)", 488)
        connection = media.connection or session.connection
        if connection is None:
            raise RemoteProtocolError("the audio line has no c= line (RFC 8866 section 5.7)", 488)
        if secured and not cryptos:
            raise RemoteProtocolError(f"{media.protocol} has no a=crypto line that can be used (RFC 4568)", 488)
        held, host = self._host(connection)
        sends, receives = _direction((media.attributes, session.attributes))
        types, mapped = _payload_types(media)
        return _Stream(
            types=types,
            mapped=mapped,
            ptime=_ptime(media),
            rtp=None if host is None else (host, media.port),
            rtcp=None if host is None else self._rtcp(media, host),
            sends=sends,
            receives=receives and not held,
            secured=secured,
            cryptos=cryptos,
        )

    def _host(self, connection: Connection) -> tuple[bool, str | None]:
        """Tell from a c= line whether it holds, and the IP address if it names one."""
        # What follows % is the name of an interface of the peer's machine.
        text = connection.address.partition("/")[0].strip("[]").partition("%")[0]
        try:
            address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(text)
        except ValueError:
            return False, None  # a host name, which RFC 8866 section 5.7 allows
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address  # RFC 5118 section 4.9
        if address.is_unspecified:
            return True, None
        if address.is_multicast or str(address) == "255.255.255.255":
            raise RemoteProtocolError(f"{text} is not the address of one peer; only unicast is taken", 488)
        # Whoever is elsewhere must not have audio sent to what this machine keeps to itself.
        inside = address.is_loopback and not ipaddress.ip_address(self.address.partition("%")[0]).is_loopback
        if inside or (address.version == 6) != (":" in self.address):
            raise RemoteProtocolError(f"media at {text} can't be reached from {self.address}", 488)
        return False, str(address)

    def _rtcp(self, media: MediaDescription, host: str) -> Address | None:
        """Find where RTCP goes: a=rtcp (RFC 3605), else the port above."""
        fields = (media.attribute("rtcp") or "").split()
        port = whole_number(fields[0], 65535) if fields else None
        if port:
            if len(fields) >= 4:
                try:
                    held, other = self._host(Connection(*fields[1:4]))
                except RemoteProtocolError:
                    return None
                return None if held or other is None else (other, port)
            return host, port
        return (host, media.port + 1) if media.port < 65535 else None

    # -- writing

    def _own_event_type(self) -> int | None:
        """Choose the number for events in an offer: a mapping never changes its meaning (RFC 3264 section 8.3.2)."""
        if not self._events:
            return None
        wanted = EVENT_TYPE if self._event_type is None else self._event_type
        return next((number for number in (wanted, EVENT_TYPE, *_DYNAMIC) if number not in self._taken), None)

    def _audio(
        self,
        protocol: str,
        types: dict[int, str],
        direction: str,
        cryptos: Sequence[Crypto] = (),
        elsewhere: Elsewhere | None = None,
    ) -> MediaDescription:
        attributes: list[Attribute] = [("rtpmap", f"{number} {name}/8000") for number, name in types.items()]
        attributes += [("fmtp", f"{number} 0-15") for number, name in types.items() if name == EVENT]
        port = self.rtp_port if elsewhere is None else elsewhere.rtp[1]
        ptime = self._ptime if elsewhere is None else elsewhere.ptime
        attributes += [("ptime", str(ptime)), (direction, None)]
        attributes += elsewhere.attributes if elsewhere is not None else []
        attributes += [("crypto", str(one)) for one in cryptos]
        return MediaDescription("audio", port, protocol, list(map(str, types)), attributes=attributes)

    def _write(self, lines: list[MediaDescription], times: str, elsewhere: Elsewhere | None = None) -> bytes:
        family = "IP6" if ":" in self.address else "IP4"
        # The o= line stays ours wherever the audio goes: it names the session, not the place (RFC 8866 5.2).
        session = SessionDescription(
            Origin("-", str(self._session_id), str(self._version), "IN", family, self.address),
            connection=Connection("IN", family, self.address if elsewhere is None else elsewhere.rtp[0]),
            other=[("t", times)],
            media=lines,
        )
        if session != self._written:
            self._version += 1
            session.origin.version = str(self._version)
            self._written = session
        return session.to_bytes()


def _types_of(agreed: Agreed) -> dict[int, str]:
    """Return the payload types that both directions of an agreed stream use."""
    types = {agreed.payload_type: agreed.codec}
    if agreed.event_payload_type is not None:
        types[agreed.event_payload_type] = EVENT
    return types


def _refused(line: MediaDescription) -> MediaDescription:
    return MediaDescription(line.media, 0, line.protocol, list(line.formats))


def _direction(levels: Iterable[list[Attribute]]) -> tuple[bool, bool]:
    """Find the direction attribute, the stream's own before the session's; without one it is sendrecv."""
    for attributes in levels:
        for name, _ in attributes:
            if name in DIRECTIONS:
                return DIRECTIONS[name]
    return DIRECTIONS["sendrecv"]


def _payload_types(media: MediaDescription) -> tuple[dict[int, str], frozenset[int]]:
    """Map the line's payload types to what we know, in order, and collect all the dynamic ones it maps."""
    maps: dict[int, tuple[str, str]] = {}
    for value in media.attribute_values("rtpmap"):
        number_text, _, encoding = value.strip().partition(" ")
        number = whole_number(number_text, 127)
        if number is not None and number not in maps:
            name, _, rest = encoding.strip().upper().partition("/")
            maps[number] = name, rest
    types: dict[int, str] = {}
    for text in media.formats:
        number = whole_number(text, 127)
        if number is None:
            continue
        if number in maps:
            name, rest = maps[number]
            # A missing clock rate is a slip; another one, or a second channel, is another codec.
            if name in _KNOWN and rest in ("8000", "8000/1", ""):
                types[number] = EVENT if name == EVENT.upper() else name
        elif number in _STATIC_NAMES:
            types[number] = _STATIC_NAMES[number]
    mapped = frozenset(number for number, (name, _) in maps.items() if number in _DYNAMIC and name != EVENT.upper())
    return types, mapped


def _ptime(media: MediaDescription) -> int:
    """Find the packet time to send with: the peer's wish if we can do that, else 20 ms (RFC 3551 section 4.2)."""
    ptime = whole_number((media.attribute("ptime") or "").partition(".")[0], 60) or 20
    if ptime < 10 or ptime % 10:
        ptime = 20
    most = whole_number((media.attribute("maxptime") or "").partition(".")[0], 1000)
    if most is not None and most < ptime:
        ptime = max(10, most // 10 * 10)
    return ptime
