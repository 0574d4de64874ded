"""Checks of what an application hands to a verb, before anything is sent (``api.md`` sections 3 and 4).

Owns: the forms of ``call_to``, ``call_from`` and ``codecs`` and the sentences that refuse others. Must not know
channels or sessions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from telephony.errors import Error, RemoteProtocolError
from telephony.sip.headers import NameAddr, parse_name_addr
from telephony.sip.uri import SipUri, TelUri, format_host, parse_uri

#: The interface's codec names and what SDP calls them (RFC 3551 section 6).
CODEC_NAMES = {"g711a": "PCMA", "g711u": "PCMU"}
DEFAULT_CODECS = ("PCMA", "PCMU")

_BUILT = (
    "what can be called today is a SIP address, like 'sip:3301@127.0.0.1:5060;user=phone', "
    "or through a trunk a number, like '3301' or 'tel:+49-30-1234'"
)
_DIGITS = re.compile(r"\+?[0-9]+")
#: What stands in a number only to be read (RFC 3966 5.1.1).
SEPARATORS = str.maketrans("", "", "-.()")
_LATER = {
    "loc": "calls to this server's own services",
    "con": "conference rooms",
    "webrtc": "signed-in browsers",
}


def check_call_to(call_to: object) -> SipUri | TelUri:
    """Return whom to call, or raise an `Error` that names the value and the forms that exist.

    A number, bare or as ``tel:``, is a `TelUri` without what is only there to be read (RFC 3966 5.1.1).
    """
    if not isinstance(call_to, str) or not call_to.strip():
        raise Error(f"call_to={call_to!r} says nobody to call; {_BUILT}")
    text = call_to.strip()
    scheme, colon, _rest = text.partition(":")
    if colon and scheme.lower() in _LATER:
        raise Error(f"call_to={call_to!r}: {_LATER[scheme.lower()]} are not built yet; {_BUILT}")
    if _DIGITS.fullmatch(text):
        return TelUri(text)
    try:
        uri = parse_uri(text)
    except RemoteProtocolError as error:
        raise Error(f"call_to={call_to!r} can't be understood ({error}); {_BUILT}") from error
    if isinstance(uri, TelUri):
        number = uri.number.translate(SEPARATORS)
        if not number.strip("+"):
            raise Error(f"call_to={call_to!r} holds no number; {_BUILT}")
        return TelUri(number, uri.params)
    if not isinstance(uri, SipUri):
        raise Error(f"call_to={call_to!r} is no address this server can call; {_BUILT}")
    if not text.isascii():
        # RFC 3261 25.1: anything else is written as an escape. A peer's own address is taken as it comes.
        raise Error(f"call_to={call_to!r} has characters beyond ASCII; write them as escapes, like '%C3%BC'")
    if uri.headers:
        raise Error(
            f"call_to={call_to!r} carries header fields after '?'; put them in channel.SIP.HeaderFieldsToSend instead"
        )
    if uri.transport not in (None, "udp", "tcp", "tls"):
        raise Error(f"call_to={call_to!r} asks for transport {uri.transport!r}; allowed are 'udp', 'tcp' and 'tls'")
    if uri.scheme == "sips" and uri.transport == "udp":
        raise Error(f"call_to={call_to!r}: sips: goes over TLS, never over udp; leave ;transport= out")
    return uri


def check_call_from(call_from: object, default: str) -> NameAddr:
    """Return the From of an outgoing call: a SIP address, with or without a display name, or a bare user part.

    The empty string stands for ``default``, the service's or the server's own address.
    """
    allowed = "give '' for the default, a SIP address like 'sip:100@example.com', or a name or number like '100'"
    if not isinstance(call_from, str):
        raise Error(f"call_from={call_from!r} is no caller; {allowed}")
    text = call_from.strip() or default
    if any(mark in text for mark in "\r\n\0"):
        raise Error(f"call_from={call_from!r} has a line break in it; {allowed}")
    if ":" not in text:
        try:
            base = parse_name_addr(default).parsed_uri
        except RemoteProtocolError as error:
            raise Error(
                f"call_from={call_from!r} needs the default address, and {default!r} is none: {error}"
            ) from error
        if not isinstance(base, SipUri) or not text.isascii() or any(mark in text for mark in ' "<>@;?,\t'):
            raise Error(f"call_from={call_from!r} is no caller; {allowed}")
        port = "" if base.port is None else f":{base.port}"
        text = f"sip:{text}@{format_host(base.host)}{port}"
    try:
        address = parse_name_addr(text)
        parsed = address.parsed_uri
    except RemoteProtocolError as error:
        raise Error(f"call_from={call_from!r} can't be understood ({error}); {allowed}") from error
    if not isinstance(parsed, SipUri) or not address.uri.isascii():
        raise Error(f"call_from={call_from!r} is no SIP address; {allowed}")
    return NameAddr(address.display, address.uri, {})


def check_codecs(codecs: object, default: Sequence[str] = DEFAULT_CODECS) -> tuple[str, ...]:
    """Return codec names as SDP has them, in priority order; None stands for ``default``."""
    if codecs is None:
        return tuple(default)
    allowed = "allowed are 'g711a' and 'g711u', in priority order, as 'g711a;g711u' or a list"
    if isinstance(codecs, str):
        names: list[object] = [part.strip() for part in codecs.split(";") if part.strip()]
    elif isinstance(codecs, Sequence):
        names = list(codecs)
    else:
        raise Error(f"codecs={codecs!r} is no list of codecs; {allowed}")
    found: list[str] = []
    for name in names:
        known = CODEC_NAMES.get(name.lower()) if isinstance(name, str) else None
        if known is None:
            raise Error(f"codecs={codecs!r}: {name!r} is no codec this server has; {allowed}")
        if known not in found:
            found.append(known)
    if not found:
        raise Error(f"codecs={codecs!r} names no codec; {allowed}")
    return tuple(found)


def interface_codec(name: str) -> str:
    """Return the interface's name for one of SDP's codec names."""
    return next(ours for ours, theirs in CODEC_NAMES.items() if theirs == name)
