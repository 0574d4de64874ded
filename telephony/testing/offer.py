"""A phone's own session descriptions: writing one, and a strict reading of the peer's (RFC 8866, RFC 3264).

Owns: the text of an audio description, what a description says, and what is wrong with it, alone or as an answer or a
successor. Must not know calls or sockets. It shares no code with ``telephony.sdp``.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from telephony.interfaces import Address

#: RFC 3551 table 4: what needs no rtpmap.
STATIC = {0: "PCMU", 3: "GSM", 4: "G723", 8: "PCMA", 9: "G722", 13: "CN", 18: "G729"}
NUMBERS = {"PCMU": 0, "PCMA": 8}
EVENTS = "telephone-event"
DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")
#: What an answer may say to an offer of each direction (RFC 3264 6.1).
ALLOWED = {
    "sendrecv": frozenset(DIRECTIONS),
    "sendonly": frozenset({"recvonly", "inactive"}),
    "recvonly": frozenset({"sendonly", "inactive"}),
    "inactive": frozenset({"inactive"}),
}


@attrs.define(slots=True)
class Described:
    """What a description says. The audio stream is the first ``m=audio`` with a port; the rest is counted only.

    ``formats`` are its payload types by preference, ``names`` the encoding of each, ``streams`` the media types and
    ports of all ``m=`` lines. ``secured`` tells that the audio is SRTP. ``faults`` is what breaks an RFC.
    """

    text: str
    faults: list[str] = attrs.field(factory=list)
    session_id: str = ""
    version: int = 0
    time: str = ""
    address: str = ""
    port: int = 0
    rtcp_port: int | None = None
    formats: list[int] = attrs.field(factory=list)
    names: dict[int, str] = attrs.field(factory=dict)
    ptime: int | None = None
    direction: str = "sendrecv"
    streams: list[tuple[str, int, str]] = attrs.field(factory=list)
    secured: bool = False

    @property
    def rtp(self) -> Address | None:
        """Where RTP goes; None where there is no stream, or its address is 0.0.0.0 (the old hold)."""
        usable = self.port and self.address and self.address not in ("0.0.0.0", "::")
        return (self.address, self.port) if usable else None

    def number(self, name: str) -> int | None:
        """Return the payload type of an encoding."""
        return next((number for number in self.formats if self.names.get(number) == name), None)


def read(body: bytes) -> Described:
    """Read a description; whatever it is, something comes back, with its faults."""
    said = Described(body.decode("utf-8", "replace"))
    if not body.endswith(b"\r\n"):
        said.faults.append("the last line has no CRLF")
    if body.count(b"\n") != body.count(b"\r\n"):
        said.faults.append("a line ends without CR")
    lines = said.text.replace("\r\n", "\n").rstrip("\n").split("\n")
    order = ""
    session_address = session_direction = ""
    audio = False
    for line in lines:
        kind, equals, value = line.partition("=")
        if len(kind) != 1 or not equals:
            said.faults.append(f"{line!r} is no line of a description")
            continue
        if not said.streams:
            order += kind
        try:
            if kind == "o":
                _origin(said, value)
            elif kind == "t" and not said.time:
                said.time = value
            elif kind == "c":
                net, family, address = value.split()
                if net != "IN" or family != ("IP6" if ":" in address else "IP4"):
                    said.faults.append(f"c={value} has a wrong type")
                if not said.streams:
                    session_address = said.address = address
                elif audio:
                    said.address = address
            elif kind == "m":
                audio = _stream(said, value, taken=bool(said.port) or audio)
                if audio:
                    said.address, said.direction = session_address, session_direction or "sendrecv"
            elif kind == "a" and value in DIRECTIONS:
                if not said.streams:
                    session_direction = value
                elif audio:
                    said.direction = value
            elif kind == "a" and audio:
                _attribute(said, value)
        except (ValueError, IndexError):
            said.faults.append(f"{line!r} can't be read")
    _judge(said, order)
    return said


def _origin(said: Described, value: str) -> None:
    _, said.session_id, version, net, family, address = value.split(" ")
    said.version = int(version)
    int(said.session_id)
    if net != "IN" or family != ("IP6" if ":" in address else "IP4"):
        said.faults.append(f"o={value} has a wrong type")


def _stream(said: Described, value: str, taken: bool) -> bool:
    media, port, protocol, *formats = value.split(" ")
    said.streams.append((media, int(port.partition("/")[0]), protocol))
    if media != "audio" or taken:
        return False
    said.port = int(port)
    said.formats = [int(number) for number in formats]
    said.names = {number: STATIC[number] for number in said.formats if number in STATIC}
    said.secured = protocol == "RTP/SAVP"
    if protocol not in ("RTP/AVP", "RTP/SAVP"):
        said.faults.append(f"the audio is {protocol}, neither RTP/AVP nor RTP/SAVP")
    return True


def _attribute(said: Described, value: str) -> None:
    name, _, rest = value.partition(":")
    if name == "rtpmap":
        number, encoding = rest.split(" ", 1)
        kind, rate = encoding.split("/")[:2]
        said.names[int(number)] = EVENTS if kind.lower() == EVENTS else kind.upper()
        if int(number) not in said.formats:
            said.faults.append(f"a={value} is of no format of the m= line")
        if rate != "8000":
            said.names[int(number)] += "/" + rate
    elif name == "ptime":
        said.ptime = int(rest)
    elif name == "rtcp":
        said.rtcp_port = int(rest.split(" ")[0])


def _judge(said: Described, order: str) -> None:
    wanted = [kind for kind in order if kind in "vosct"]
    if order[:3] != "vos" or [k for k in "vosct" if k in wanted] != wanted or "t" not in wanted:
        said.faults.append(f"the session's lines come as {order!r}: v, o, s, then c and t (RFC 8866 5)")
    if not said.text.startswith("v=0"):
        said.faults.append("it does not begin with v=0")
    if said.streams and said.port and not said.address:
        said.faults.append("the audio has no c= line")
    for number in said.formats:
        if number not in said.names and said.port:
            said.faults.append(f"payload type {number} has no rtpmap")


def answer_faults(offer: Described, answer: Described) -> list[str]:
    """Return what is wrong with ``answer`` as an answer to ``offer``, RFC 3264 6."""
    faults = []
    if [(media, protocol) for media, _, protocol in offer.streams] != [(m, p) for m, _, p in answer.streams]:
        faults.append(f"the offer has the streams {offer.streams}, the answer {answer.streams}")
    faults += [
        f"a refused {media} stream is answered with a port"
        for (media, port, _), (_, own, _) in zip(offer.streams, answer.streams, strict=False)
        if own and not port
    ]
    if offer.time != answer.time:
        faults.append(f"t={answer.time} answers t={offer.time}")
    if not (offer.port and answer.port):
        return faults
    held = offer.address in ("0.0.0.0", "::")
    if answer.direction not in ALLOWED[offer.direction] and not held:
        faults.append(f"{answer.direction} answers {offer.direction}")
    if not any(name == offer.names.get(number) for number, name in answer.names.items() if name != EVENTS):
        faults.append("the answer has no codec of the offer")
    for name in dict.fromkeys(answer.names.values()):
        number = offer.number(name)
        if number is not None and answer.names.get(number) != name:
            faults.append(f"the answer has another number for {name} than the offer's {number}")
    return [f"answer: {fault} (RFC 3264 6)" for fault in faults]


def successor_faults(before: Described, now: Described) -> list[str]:
    """Return what is wrong with ``now`` as the next description from the same side, RFC 3264 8."""
    faults = []
    if now.session_id != before.session_id:
        faults.append("the o= line's session id has changed")
    elif now.text == before.text or _without_origin(now.text) == _without_origin(before.text):
        if now.version != before.version:
            faults.append(f"the o= version went from {before.version} to {now.version}, but nothing else has changed")
    elif now.version != before.version + 1:
        faults.append(f"the description has changed, its o= version went from {before.version} to {now.version}")
    if len(now.streams) < len(before.streams):
        faults.append("streams have gone: they may only be refused")
    return [f"{fault} (RFC 3264 8)" for fault in faults]


def _without_origin(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("o="))


def write(
    *,
    address: str,
    session_id: int,
    version: int,
    port: int,
    rtcp_port: int,
    formats: Sequence[tuple[int, str]],
    direction: str,
    ptime: int,
    connection: str | None = None,
    offered: Described | None = None,
    crypto: str | None = None,
) -> bytes:
    """Return a description of one audio stream; as an answer it refuses every other stream of ``offered``.

    ``connection`` replaces the address in ``c=``. No direction attribute is written for ``sendrecv``, the default.
    """
    family = "IP6" if ":" in address else "IP4"
    lines = [
        "v=0",
        f"o=- {session_id} {version} IN {family} {address}",
        "s=-",
        f"c=IN {family} {connection or address}",
        f"t={offered.time if offered else '0 0'}",
    ]
    protocol = "RTP/AVP" if crypto is None else "RTP/SAVP"
    audio = [f"m=audio {port} {protocol} {' '.join(str(number) for number, _ in formats)}"]
    audio += [f"a=rtpmap:{number} {name}/8000" for number, name in formats]
    audio += [f"a=fmtp:{number} 0-15" for number, name in formats if name == EVENTS]
    audio.append(f"a=ptime:{ptime}")
    if rtcp_port != port + 1:
        audio.append(f"a=rtcp:{rtcp_port}")
    if direction != "sendrecv":
        audio.append(f"a={direction}")
    if crypto is not None:
        audio.append(crypto)
    if offered is None:
        lines += audio
    else:
        written = False
        for media, offered_port, protocol in offered.streams:
            if media == "audio" and offered_port == offered.port and offered_port and not written:
                lines += audio
                written = True
            else:
                lines.append(f"m={media} 0 {protocol} {0 if protocol.startswith('RTP/') else '*'}")
    return "".join(line + "\r\n" for line in lines).encode()
