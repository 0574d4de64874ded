"""Offer and answer for the one audio stream of a session (RFC 3264), tied to nothing but the two descriptions.

Owns: what we write into our description and when its version moves, what a peer's description lets us do, hold in both
directions, and the numbers of payload types (RFC 3551, and RFC 4733 for telephone events). Answers are made from the
offer in hand and from our own live state, never from what was written earlier. Must not know SIP: who calls `offer` and
`offered`, and when, is the INVITE session's business; nor sockets: addresses are taken as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from functools import lru_cache

import attrs

from telephony.addresses import known_address
from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address
from telephony.sdp.crypto import SUITES, Crypto
from telephony.sdp.elsewhere import Elsewhere
from telephony.sdp.reading import (
    DIRECTIONS,
    DYNAMIC,
    EVENT,
    PLAIN,
    SECURED,
    STATIC_TYPES,
    PeerDescription,
    Stream,
)

__all__ = [
    "DIRECTIONS",
    "EVENT",
    "STATIC_TYPES",
    "Agreed",
    "Negotiation",
    "PeerDescription",
    "Securing",
    "check_offer",
]

#: The number we offer for telephone events unless the peer has used it for something else.
EVENT_TYPE = 101
#: What we can code, best first.
CODECS = ("PCMA", "PCMU")
_DIRECTION_NAMES = {both: name for name, both in DIRECTIONS.items()}

_TIMES = re.compile(r"[0-9]{1,20} [0-9]{1,20}")
#: How many texts of our own audio lines are remembered: the choices of codecs that peers leave us.
_REMEMBERED = 256


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
        # Compared, not looked up: the hash of a member is a call of its own.
        if self is Securing.REFUSED:
            return PLAIN
        return SECURED if self is Securing.DEMANDED else _BOTH


_BOTH = PLAIN | SECURED


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


@attrs.define
class _Line:
    """One m= line of ours with what belongs to it: ``text`` is how it is written, line ends and all."""

    media: str
    protocol: str
    formats: str
    text: str
    #: What it says, if it is the audio line that isn't refused.
    types: dict[int, str] = attrs.Factory(dict)
    direction: str = "inactive"
    cryptos: tuple[Crypto, ...] = ()


@attrs.define
class _Offer:
    """Our offer that waits for its answer."""

    direction: str
    types: dict[int, str]
    lines: tuple[_Line, ...]
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
        "codecs",
        "elsewhere",
        "rtp_port",
    )

    def __init__(
        self,
        address: str,
        rtp_port: int,
        session_id: int,
        codecs: Sequence[str] = CODECS,
        ptime: int = 20,
        events: bool = True,
        securing: Securing = Securing.REFUSED,
        new_key: Callable[[int], bytes] | None = None,
    ) -> None:
        unknown = [name for name in codecs if name not in STATIC_TYPES]
        if unknown or not codecs:
            raise ValueError(f"codecs {list(codecs)!r}: one or more of {sorted(STATIC_TYPES)} are needed")
        if known_address(address) is None:
            raise ValueError(f"{address!r} is no place for audio: an IP address is needed")
        self.address = address
        self.rtp_port = rtp_port
        #: What holds for media now; None before the first answer.
        self.agreed: Agreed | None = None
        self.elsewhere: Elsewhere | None = None
        self._session_id = session_id
        #: The codecs allowed, best first.
        self.codecs = tuple(dict.fromkeys(codecs))
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
        self._lines: tuple[_Line, ...] = ()
        self._index = 0
        self._times = "0 0"
        self._version = 0
        #: What followed the version in the last description: that is what the version stands for.
        self._written: str | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether nothing has been offered or answered yet, so that it is as good as a new one."""
        return self._written is None and self.agreed is None

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
        types = {STATIC_TYPES[name]: name for name in dict.fromkeys((*used, *self.codecs))}
        event_type = self._own_event_type()
        if event_type is not None:
            types[event_type] = EVENT
        if elsewhere is not None:
            assert self.agreed is not None
            types = _types_of(self.agreed)
        lines = [_refused(line.media, line.protocol, line.formats) for line in self._lines]
        protocol = "RTP/SAVP" if self._securing.offers else "RTP/AVP"
        if lines:
            protocol = self._lines[self._index].protocol
        cryptos: tuple[Crypto, ...] = ()
        if protocol.upper() in SECURED:
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
        offer = _Offer(direction, types, tuple(lines), cryptos, elsewhere=elsewhere)
        data = self._write(offer.lines, offer.times, elsewhere)
        self._offer = offer
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
        times, elsewhere = self._times, self.elsewhere
        self._offer = _Offer(line.direction, line.types, self._lines, line.cryptos, times, self._wish, elsewhere)
        return self._write(self._lines, times, elsewhere)

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

    def offered(self, sdp: bytes | PeerDescription, direction: str | None = None) -> tuple[bytes, Agreed]:
        """Take the peer's offer, first or later; return our answer and what is agreed with it.

        ``sdp`` is the offer, or what was read of it already. ``direction`` is what we want, None: what we wanted
        before, sendrecv at first; the answer says as much of it as the offer allows: sendonly is answered recvonly,
        inactive is answered inactive, an address of 0.0.0.0 is the old way to hold and is answered as sendonly is.
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
        peer = sdp if isinstance(sdp, PeerDescription) else PeerDescription(sdp)
        first = self._index if self._lines else None
        index, stream, rtp, rtcp = _choose(peer, self.address, self.codecs, self._securing.protocols, first)
        types = {number: name for number, name in stream.types.items() if name in self.codecs}
        payload_type = next(iter(types))
        # Events go last wherever the offer has them, so that the first number is that of a codec.
        event_type = stream.first(EVENT) if self._events else None
        if event_type is not None:
            types[event_type] = EVENT
        own_crypto, remote_crypto = self._answer_crypto(stream) if stream.secured else (None, None)
        wish_send, wish_receive = DIRECTIONS[direction]
        agreed = Agreed(
            codec=types[payload_type],
            payload_type=payload_type,
            receive_payload_types=types,
            event_payload_type=event_type,
            ptime=stream.ptime,
            remote_rtp=rtp,
            remote_rtcp=rtcp,
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
        media = peer.session.media
        secured = () if own_crypto is None else (own_crypto,)
        audio = self._audio(media[index].protocol, types, agreed.direction, secured, elsewhere)
        lines: tuple[_Line, ...] = (audio,)
        if len(media) > 1:
            lines = tuple(
                audio if place == index else _refused(one.media, one.protocol, " ".join(one.formats))
                for place, one in enumerate(media)
            )
        times = next((value for letter, value in peer.session.other if letter == "t"), "")
        # RFC 3264 section 6: the answer's t= is the offer's, as long as it is one at all.
        self._times = times if times == "0 0" or _TIMES.fullmatch(times) else "0 0"
        data = self._write(lines, self._times, elsewhere)
        self._taken |= stream.mapped
        self.elsewhere = elsewhere
        self._event_type = event_type if event_type is not None else self._event_type
        self._wish, self._lines, self._index = direction, lines, index
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

    def _read_answer(self, offer: _Offer, sdp: bytes) -> tuple[Agreed, Stream]:
        try:
            peer = PeerDescription(sdp)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(str(error), 488) from None
        if len(peer.session.media) <= self._index:
            raise RemoteProtocolError("the answer leaves our audio line out (RFC 3264 section 6)", 488)
        stream = peer.stream(self._index, self._securing.protocols)
        rtp, rtcp = stream.reached_from(self.address)
        offered = set(offer.types.values())
        payload_type = next(
            (number for number, name in stream.types.items() if name in offered and name != EVENT), None
        )
        if payload_type is None:
            raise RemoteProtocolError(f"the answer has none of the codecs offered: {', '.join(self.codecs)}", 488)
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
            remote_rtp=rtp,
            remote_rtcp=rtcp,
            send=ours_send and stream.receives,
            receive=ours_receive and stream.sends,
            own_crypto=own,
            remote_crypto=remote,
        )
        return agreed, stream

    def _answered_crypto(self, offer: _Offer, stream: Stream) -> tuple[Crypto | None, Crypto | None]:
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

    def _answer_crypto(self, stream: Stream) -> tuple[Crypto, Crypto]:
        """Choose from an offer's lines the first that we have, and answer it with a key of our own.

        Our key stays what it was while the peer's does, and is drawn anew when the peer has drawn another: both begin
        their counts of packets again then, and so do we (RFC 4568 section 7.1.4).
        """
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

    # -- writing

    def _own_event_type(self) -> int | None:
        """Choose the number for events in an offer: a mapping never changes its meaning (RFC 3264 section 8.3.2)."""
        if not self._events:
            return None
        wanted = EVENT_TYPE if self._event_type is None else self._event_type
        return next((number for number in (wanted, EVENT_TYPE, *DYNAMIC) if number not in self._taken), None)

    def _audio(
        self,
        protocol: str,
        types: dict[int, str],
        direction: str,
        cryptos: tuple[Crypto, ...] = (),
        elsewhere: Elsewhere | None = None,
    ) -> _Line:
        port = self.rtp_port if elsewhere is None else elsewhere.rtp[1]
        ptime = self._ptime if elsewhere is None else elsewhere.ptime
        formats, attributes = _audio_text(tuple(types.items()), direction, ptime)
        text = f"m=audio {port} {protocol} {formats}\r\n{attributes}"
        for name, value in elsewhere.attributes if elsewhere is not None else ():
            text += f"a={name}:{value}\r\n"
        for one in cryptos:
            text += f"a=crypto:{one}\r\n"
        return _Line("audio", protocol, formats, text, types, direction, cryptos)

    def _write(self, lines: tuple[_Line, ...], times: str, elsewhere: Elsewhere | None = None) -> bytes:
        # Written as text in one piece, in the order of RFC 8866 section 5: no part of it can hold a line end. The o=
        # line stays ours wherever the audio goes: it names the session, not the place (section 5.2).
        ours = f"IN IP6 {self.address}" if ":" in self.address else f"IN IP4 {self.address}"
        place = ours if elsewhere is None else f"{ours[:6]} {elsewhere.rtp[0]}"
        text = f"{ours}\r\ns=-\r\nc={place}\r\nt={times}\r\n{''.join([line.text for line in lines])}"
        if text != self._written:
            self._version += 1
            self._written = text
        return f"v=0\r\no=- {self._session_id} {self._version} {text}".encode("utf-8", "surrogateescape")


def check_offer(offer: PeerDescription, address: str, securing: Securing, codecs: Sequence[str] = CODECS) -> None:
    """Raise `RemoteProtocolError` (488) for an offer that nobody at ``address`` could answer; nothing is made of it."""
    _choose(offer, address, codecs, securing.protocols, None)


def _types_of(agreed: Agreed) -> dict[int, str]:
    """Return the payload types that both directions of an agreed stream use."""
    types = {agreed.payload_type: agreed.codec}
    if agreed.event_payload_type is not None:
        types[agreed.event_payload_type] = EVENT
    return types


def _choose(
    peer: PeerDescription, address: str, codecs: Sequence[str], protocols: frozenset[str], first: int | None
) -> tuple[int, Stream, Address | None, Address | None]:
    """Find the audio line to answer, and where its RTP and RTCP go: the one in use if it still can be, else any.

    Raises `RemoteProtocolError` (488) when there is none; it says what is wrong with the last.
    """
    reason: RemoteProtocolError | None = None
    media = peer.session.media
    order = list(range(len(media)))
    if first is not None and first < len(order):
        order.insert(0, order.pop(first))
    for index in order:
        if media[index].media.lower() != "audio":
            continue
        try:
            stream = peer.stream(index, protocols)
            rtp, rtcp = stream.reached_from(address)
        except RemoteProtocolError as error:
            reason = error
            continue
        if any(name in codecs for name in stream.types.values()):
            return index, stream, rtp, rtcp
        reason = RemoteProtocolError(f"the offer has none of our codecs: {', '.join(codecs)}", 488)
    raise reason or RemoteProtocolError("the offer has no audio line (RFC 3264 section 6)", 488)


def _refused(media: str, protocol: str, formats: str) -> _Line:
    return _Line(media, protocol, formats, f"m={media} 0 {protocol} {formats}\r\n")


@lru_cache(maxsize=_REMEMBERED)
def _audio_text(types: tuple[tuple[int, str], ...], direction: str, ptime: int) -> tuple[str, str]:
    """Return the formats of an audio line of ours, and its attributes as lines."""
    lines = [f"a=rtpmap:{number} {name}/8000\r\n" for number, name in types]
    lines += [f"a=fmtp:{number} 0-15\r\n" for number, name in types if name == EVENT]
    lines.append(f"a=ptime:{ptime}\r\na={direction}\r\n")
    return " ".join([str(number) for number, _ in types]), "".join(lines)
