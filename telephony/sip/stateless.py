"""Answers for which nothing is kept: refusals, and what is said to strangers (RFC 3261 8.2.7, 21.5.4).

Owns: making a response to a request from outside any dialog, with a tag that is the same each time the request comes,
and asking `Defence` whether it is to be sent at all. Must not know sessions or transactions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from hashlib import blake2b

from telephony.errors import RemoteProtocolError
from telephony.sip.answering import note_source, way_back
from telephony.sip.defence import Defence
from telephony.sip.flow import WayBack
from telephony.sip.message import Request, Response, respond
from telephony.sip.transport.base import TransportFlow

#: Seconds after which who was refused for want of room may try again (RFC 3261 20.33).
RETRY_AFTER = "5"


class Stateless:
    """Answers requests for one user agent; ``secret`` makes the tags, which nobody may know beforehand."""

    def __init__(self, counters: Counter[str], defence: Defence, secret: bytes, product: str) -> None:
        self._counters = counters
        self._defence = defence
        self._secret = secret
        self._product = product

    def response(self, request: Request, status: int, headers: Sequence[tuple[str, str]], tag: str | None) -> Response:
        """Make a response, and count it as sent."""
        response = respond(request, status, None, tag)
        if self._product:
            response.set("Server", self._product)
        for name, value in headers:
            response.add(name, value)
        self._counters[f"sent_{status}"] += 1
        return response

    def reply(
        self,
        request: Request,
        back: WayBack,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        tag: str | None = None,
    ) -> None:
        """Answer a request; when it comes again it gets the same again (RFC 3261 8.2.7)."""
        if tag is None:
            # The same request must get the same tag, and nobody else may know it beforehand.
            identity = f"{request.get('Call-ID')} {request.get('From')} {request.get('CSeq')}"
            text = identity.encode("utf-8", "surrogateescape")
            tag = blake2b(text, digest_size=8, key=self._secret).hexdigest()
        back.send(self.response(request, status, headers, tag).to_bytes())

    def refuse(
        self,
        request: Request,
        back: WayBack,
        flow: TransportFlow,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Answer somebody unknown, or be silent where that is better (`Defence.refused`)."""
        stale = any("stale=true" in value.lower() for _name, value in headers)
        if self._defence.refused(flow.remote[0], request, status, stale):
            self.reply(request, back, status, headers)

    def refuse_garbage(self, request: Request, flow: TransportFlow, error: RemoteProtocolError) -> None:
        """Answer a request that can't be dealt with; nothing is said to one without a usable Via, nor to an ACK."""
        if request.method == "ACK":
            return
        try:
            note_source(request, flow.remote)
            back = way_back(request, flow)
        except RemoteProtocolError:
            return
        self.refuse(request, back, flow, error.status)

    def put_off(self, request: Request, back: WayBack, flow: TransportFlow) -> bool:
        """Deal with a request that begins something, when it is a scanner's or there is no room for it.

        Nothing has been made for it, and little of it has been read. Returns whether it has been dealt with.
        """
        defence, source = self._defence, flow.remote[0]
        if defence.scans(source, request):
            return True
        if not defence.too_many(source) and not (request.method == "INVITE" and defence.late()):
            return False
        if defence.answers(source):
            self.reply(request, back, 503, [("Retry-After", RETRY_AFTER)])
        return True
