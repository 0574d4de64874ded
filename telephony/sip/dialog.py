"""Dialogs: what two user agents know of each other during a call (RFC 3261 12).

Owns: Call-ID, tags, CSeq numbers, route set and remote target, and the requests made from them. Must not know
transactions, sessions or sockets.
"""

from __future__ import annotations

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.flow import Flow
from telephony.sip.headers import NameAddr, Via
from telephony.sip.message import Message, Request, Response
from telephony.sip.nat import is_behind
from telephony.sip.targets import Target
from telephony.sip.uri import SipUri

#: Stands in a request where its Via will be, so that it is written first; the way it takes decides what it says.
VIA_TO_COME = "SIP/2.0/UDP 0.0.0.0"


class Dialog:
    """One dialog, ours as the caller (`Dialog.of_caller`) or as the called (`Dialog.of_called`).

    ``local`` and ``remote`` are the From and To of our requests, tags included, as text. ``route_set`` holds Route
    values as text, the next hop first. ``remote_target`` is a URI as text. ``remote_cseq`` is None until the peer has
    sent a request. ``secure`` is for ``sips:`` (12.1.1). ``over`` is set with the first BYE, ours or theirs.

    ``flow`` is the way the INVITE took, or, of a peer behind a NAT, the one it was heard from last; ``stays`` and
    ``behind_nat`` say why further requests take it too (`way`). ``target`` is where the next hop's name led to, None
    before it was looked up, and ``others`` where it leads to besides.
    """

    __slots__ = (
        "_came_by",
        "behind_nat",
        "call_id",
        "flow",
        "local",
        "local_cseq",
        "local_tag",
        "loose",
        "next_hop",
        "others",
        "over",
        "remote",
        "remote_cseq",
        "remote_tag",
        "remote_target",
        "route_set",
        "secure",
        "stays",
        "target",
    )

    def __init__(
        self,
        call_id: str,
        local: str,
        remote: str,
        tags: tuple[str, str],
        cseqs: tuple[int, int | None],
        target: NameAddr,
        routes: list[NameAddr],
        secure: bool = False,
    ) -> None:
        self.call_id = call_id
        self.local = local
        self.remote = remote
        self.local_tag, self.remote_tag = tags
        self.local_cseq, self.remote_cseq = cseqs
        self.remote_target = target.uri
        self.route_set = tuple(str(route) for route in routes)
        self.secure = secure
        self.over = False
        self.flow: Flow | None = None
        self.stays = False
        self.behind_nat = False
        #: The way that the peer's last message with a say in this came by.
        self._came_by: Flow | None = None
        self.target: Target | None = None
        self.others: tuple[Target, ...] = ()
        #: The URI that leads to the next hop, and whether that hop routes loosely (RFC 3261 12.2.1.1, 16.12.1).
        self.next_hop: SipUri
        self.loose = True
        if routes:
            self.next_hop = _sip(routes[0])
            self.loose = "lr" in self.next_hop.params
        else:
            self.next_hop = _sip(target)
        self._keep_secure()

    def _keep_secure(self) -> None:
        """Reach the next hop over TLS in a dialog by ``sips:``, whatever its own URI says (RFC 3261 26.2.2)."""
        if self.secure and self.next_hop.scheme != "sips":
            params = {name: value for name, value in self.next_hop.params.items() if name != "transport"}
            self.next_hop = attrs.evolve(self.next_hop, scheme="sips", params=params)

    @classmethod
    def of_caller(cls, request: Request, response: Response) -> Dialog:
        """Make the dialog that a 101 to 299 to our INVITE speaks of (RFC 3261 12.1.2).

        What the response gets wrong (no Contact, an unusable Record-Route) is not held against it: without a dialog
        its 2xx could not even be acknowledged. Then the INVITE's own target stands in.
        """
        try:
            routes = response.record_routes[::-1]
            if routes:
                _sip(routes[0])
        except RemoteProtocolError:
            routes = []
        target = _usable_contact(response) or NameAddr(None, request.uri)
        return cls(
            request.call_id,
            request.get("From") or "",
            response.get("To") or "",
            (request.from_.tag or "", response.to.tag or ""),
            (request.cseq.number, None),
            target,
            routes,
            request.uri.startswith("sips:"),
        )

    @classmethod
    def of_called(cls, request: Request, local_tag: str) -> Dialog:
        """Make the dialog of an INVITE that was sent to us (RFC 3261 12.1.1).

        Raises `RemoteProtocolError` (400) when it has no usable Contact or Record-Route: we could never send a BYE.
        """
        contacts = request.contacts
        if not contacts and request.from_.tag is None:
            # RFC 2543 had neither tags nor Contacts in an INVITE: From is where the caller is reached (RFC 4475 3.4.1).
            contacts = [NameAddr(None, request.from_.uri)]
        if len(contacts) != 1:
            raise RemoteProtocolError(f"Contact: an INVITE has exactly one, not {len(contacts)}")
        to = request.get("To") or ""
        return cls(
            request.call_id,
            f"{to.rstrip('; ')};tag={local_tag}" if request.to.tag is None else to,
            request.get("From") or "",
            (local_tag, request.from_.tag or ""),
            (0, request.cseq.number),
            contacts[0],
            request.record_routes,
            request.uri.startswith("sips:"),
        )

    def next_cseq(self) -> int:
        """Count, and return, the number of the next request of ours; a retry of one takes a number of its own."""
        self.local_cseq += 1
        return self.local_cseq

    def request(self, method: str, cseq: int | None = None) -> Request:
        """Make the next request in this dialog (RFC 3261 12.2.1.1).

        ``cseq`` is given for an ACK only, which has its INVITE's number. The Via is a placeholder, a Contact is
        missing: both depend on the way it will take.
        """
        if cseq is None:
            cseq = self.next_cseq()
        if self.loose:
            request = Request(method, self.remote_target)
            routes = self.route_set
        else:
            # A strict router takes the Request-URI for its own and gets the target as the last Route.
            request = Request(method, str(self.next_hop))
            routes = (*self.route_set[1:], f"<{self.remote_target}>")
        request.set("Via", VIA_TO_COME)
        for route in routes:
            request.add("Route", route)
        request.set("Max-Forwards", "70")
        request.set("From", self.local)
        request.set("To", self.remote)
        request.set("Call-ID", self.call_id)
        request.set("CSeq", f"{cseq} {method}")
        return request

    @property
    def way(self) -> Flow | None:
        """The flow that requests take wherever the next hop's URI leads; None when that is to be followed."""
        flow = self.flow
        return flow if flow is not None and (self.stays or self.behind_nat) and flow.usable else None

    def heard(self, message: Message, flow: Flow) -> None:
        """Take note of the way by which a message of the peer's came: a request in order, or what made the dialog.

        Where it shows a peer behind a NAT (`telephony.sip.nat`) that way is taken by the dialog's requests from now
        on, with the Contact in the Request-URI as ever (RFC 3261 12.2.1.1): what is sent to the Contact would not
        arrive (RFC 5626 3.1 says so of registrations). Where it doesn't, nothing changes: phones learn their outside
        address in mid-call, and begin to write it into their Vias, while the Contact that counts is still the old one.
        A route set is followed, always: the next hop is a proxy then, which knows better where the peer is.

        A peer whose NAT has forgotten it is followed so to its new port. That gives no more power to whoever knows the
        Call-ID, both tags and the CSeq, all of which a request needs to get here (a repeated or overtaken one was
        refused before): by the same knowledge a re-INVITE moves the call to a Contact of its own, and a BYE ends it.
        Only from TLS to what is not TLS nobody is followed.
        """
        self._came_by = flow
        if not self.route_set and is_behind(_via(message), self.next_hop, flow):
            self._follow(flow)

    def _follow(self, flow: Flow) -> None:
        if self.flow is not None and self.flow.transport == "TLS" and flow.transport != "TLS":
            return
        self.flow = flow
        self.behind_nat = True

    def refresh(self, message: Message, flow: Flow | None = None) -> None:
        """Take the target of a target refresh request, or of the 2xx to ours (RFC 3261 12.2.1.2, 12.2.2).

        Whether it is behind a NAT is judged anew. ``flow`` is the way our request took, for a 2xx.
        """
        contact = _usable_contact(message)
        if contact is not None and contact.uri != self.remote_target:
            self.remote_target = contact.uri
            if not self.route_set:
                self.next_hop = _sip(contact)
                self._keep_secure()
                self.target = None
                self.others = ()
                self.behind_nat = False
                came_by = flow or self._came_by
                if came_by is not None:
                    self.heard(message, came_by)


def _via(message: Message) -> Via | None:
    """Return the topmost Via of a request; that of a response is our own."""
    return message.via if isinstance(message, Request) else None


def _sip(address: NameAddr) -> SipUri:
    """Return the SIP URI in ``address``; RemoteProtocolError (400) when it is another."""
    uri = address.parsed_uri
    if not isinstance(uri, SipUri):
        raise RemoteProtocolError(f"{str(uri)[:60]!r} leads nowhere: a SIP URI is needed")
    return uri


def _usable_contact(message: Message) -> NameAddr | None:
    """Return the first Contact of a message when requests can be sent to it."""
    try:
        contacts = message.contacts
        if contacts:
            _sip(contacts[0])
            return contacts[0]
    except RemoteProtocolError:
        pass
    return None
