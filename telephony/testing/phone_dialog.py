"""A phone's dialog: who talks to whom, by which route, and the requests that go in it (RFC 3261 12).

Owns: the dialog's addresses, tags, route set and sequence numbers. Must not know transactions, calls or bodies.
"""

from __future__ import annotations

from telephony.errors import RemoteProtocolError
from telephony.sip.headers import NameAddr
from telephony.sip.message import Request, Response
from telephony.sip.uri import SipUri, parse_uri


class PhoneDialog:
    """One dialog, early or confirmed. ``local`` and ``remote`` are the values of From and To, tags included."""

    __slots__ = ("call_id", "local", "local_tag", "remote", "remote_seq", "remote_tag", "routes", "sequence", "target")

    def __init__(self, call_id: str, local: str, local_tag: str, remote: str, remote_tag: str | None) -> None:
        self.call_id = call_id
        self.local = local
        self.local_tag = local_tag
        self.remote = remote
        self.remote_tag = remote_tag
        self.remote_seq = 0
        self.sequence = 0
        self.target = ""
        self.routes: list[NameAddr] = []

    @classmethod
    def called(cls, invite: Request, response: Response) -> PhoneDialog:
        """Return the caller's dialog, from a response to its INVITE (12.1.2)."""
        dialog = cls(
            invite.call_id,
            invite.get("From") or "",
            invite.from_.tag or "",
            response.get("To") or "",
            response.to.tag,
        )
        dialog.sequence = invite.cseq.number
        dialog.target = invite.uri
        dialog.routes = list(reversed(response.record_routes))
        dialog.refresh(response)
        return dialog

    @classmethod
    def answering(cls, invite: Request, tag: str) -> PhoneDialog:
        """Return the callee's dialog, from an INVITE and the tag it answers with (12.1.1)."""
        local = f"{invite.get('To')};tag={tag}"
        dialog = cls(invite.call_id, local, tag, invite.get("From") or "", invite.from_.tag)
        dialog.remote_seq = invite.cseq.number
        dialog.routes = list(invite.record_routes)
        dialog.refresh(invite)
        return dialog

    def refresh(self, message: Request | Response) -> None:
        """Take the peer's Contact as the remote target (12.2.1.2)."""
        if message.contacts:
            self.target = message.contacts[0].uri

    def next_hop(self) -> SipUri | None:
        """Return where the next request goes: the first route, else the remote target; None where that's no SIP URI."""
        try:
            uri = parse_uri(self.routes[0].uri if self.routes else self.target)
        except RemoteProtocolError:
            return None
        return uri if isinstance(uri, SipUri) else None

    @property
    def transport(self) -> str:
        """The transport of the next hop: UDP where its URI does not say (RFC 3263 4.1)."""
        hop = self.next_hop()
        if hop is not None and hop.scheme == "sips":
            return "TLS"
        return (hop.transport if hop and hop.transport else "udp").upper()

    def request(self, method: str, via: str, number: int | None = None) -> Request:
        """Return a request in the dialog (12.2.1.1); an ACK has the ``number`` of its INVITE."""
        target, routes = self.target, [str(route) for route in self.routes]
        if self.routes:
            first = self.routes[0].parsed_uri
            if isinstance(first, SipUri) and "lr" not in first.params:  # a strict router
                target, routes = self.routes[0].uri, [*routes[1:], f"<{target}>"]
        request = Request(method, target)
        request.add("Via", via)
        for route in routes:
            request.add("Route", route)
        request.add("Max-Forwards", "70")
        request.add("From", self.local)
        request.add("To", self.remote)
        request.add("Call-ID", self.call_id)
        if number is None:
            self.sequence += 1
            number = self.sequence
        request.add("CSeq", f"{number} {method}")
        return request
