"""What a user agent says to a request before any session sees it (RFC 3261 8.2, 11, 18.2.1; RFC 3581).

Owns: the checks of a request from outside, and where its responses go. Must not know sessions; keeps no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from telephony.interfaces import Address
from telephony.sip.flow import WayBack
from telephony.sip.headers import Via
from telephony.sip.message import Request
from telephony.sip.parties import ALLOW, SDP, SUPPORTED
from telephony.sip.targets import DEFAULT_PORTS
from telephony.sip.uri import OtherUri

if TYPE_CHECKING:
    from telephony.sip.transport.base import TransportFlow

#: A status, and the header fields that go with it.
Refusal = tuple[int, list[tuple[str, str]]]

ALLOWED = frozenset(ALLOW.split(", "))
#: Methods that exist, but not here: 405. What isn't known at all is 501.
KNOWN = frozenset(["REGISTER", "SUBSCRIBE", "MESSAGE", "PUBLISH"])
DEFAULT_PORT = 5060


def refusal(request: Request, transport: str) -> Refusal | None:
    """Return what is wrong with a request that came over ``transport``, in the order of RFC 3261 8.2, if anything is.

    For any method but ACK and CANCEL, which are never refused on these grounds.
    """
    method = request.method
    if method not in ALLOWED:
        return (405, [("Allow", ALLOW)]) if method in KNOWN else (501, [("Allow", ALLOW)])
    if isinstance(request.parsed_uri, OtherUri):
        return 416, []
    if transport != "TLS" and request.uri[:5].lower() == "sips:":
        return 416, []  # somebody before us has dropped what sips: promises (RFC 3261 26.2.2)
    missing = [tag for tag in request.require if tag not in SUPPORTED]
    if missing:
        return 420, [("Unsupported", ", ".join(missing[:16]))]
    if method != "INVITE" and request.has("Replaces"):
        return 400, []  # RFC 3891 3
    if method == "INVITE":
        accepted = request.get_all("Accept")
        if accepted and not _accepts_sdp(accepted):
            return 406, []
        if request.body:
            return _refused_body(request)
    return None


def _accepts_sdp(values: Sequence[str]) -> bool:
    """Tell whether an INVITE takes the one kind of body that our 200 has (RFC 3261 20.1; RFC 4475 3.3.15)."""
    kinds = {item.partition(";")[0].strip().lower() for value in values for item in value.split(",")}
    return not kinds.isdisjoint((SDP, "application/*", "*/*"))


def _refused_body(request: Request) -> Refusal | None:
    """Check that the body of an INVITE is SDP as it is (RFC 3261 8.2.3); one that need not be read is taken away."""
    encoding = request.get("Content-Encoding")
    plain = encoding is None or encoding.strip().lower() == "identity"
    if request.content_type == SDP and plain:
        return None
    if "handling=optional" in (request.get("Content-Disposition") or "").replace(" ", "").lower():
        request.body = b""
        return None
    return 415, [("Accept", SDP)] if plain else [("Accept", SDP), ("Accept-Encoding", "identity")]


def note_source(request: Request, source: Address) -> None:
    """Write into the topmost Via where a request came from, when it says something else (18.2.1) or asks (RFC 3581).

    A ``received`` that came with the request is never believed: it would send our answer to anybody.
    """
    via = request.via
    params = via.params
    if via.host == source[0] and "rport" not in params and "received" not in params:
        return
    noted = {**params, "received": source[0]}
    if "rport" in params:
        noted["rport"] = str(source[1])
    request.replace_via(Via(via.transport, via.host, via.port, noted))


def way_back(request: Request, flow: TransportFlow) -> WayBack:
    """Return where the responses to a request go (RFC 3261 18.2.2, RFC 3581 4).

    ``maddr`` is not followed, although 18.2.2 asks for it: over UDP anybody could have our answers sent to anybody.
    """
    via = request.via
    port = via.port or DEFAULT_PORTS.get(flow.transport, DEFAULT_PORT)
    if flow.reliable:
        return ConnectionBack(flow, (flow.remote[0], port), via.host)
    if "rport" in via.params or port == flow.remote[1]:
        return flow
    return flow.listener.flow((flow.remote[0], port))


class ConnectionBack:
    """The connection a request came by, and the address to open another one to when it has ended (18.2.2)."""

    __slots__ = ("_elsewhere", "_flow", "_name")

    reliable = True

    def __init__(self, flow: TransportFlow, elsewhere: Address, name: str) -> None:
        self._flow = flow
        self._elsewhere = elsewhere
        self._name = name

    def send(self, data: bytes) -> None:
        """Send one response."""
        if not self._flow.usable:
            self._flow = self._flow.listener.flow(self._elsewhere, self._name)
        self._flow.send(data)
