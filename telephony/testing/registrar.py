"""A registrar and proxy for tests: what a trunk or an office's SIP server is to the one that is tested.

Owns: bindings (RFC 3261 10.3), whom it challenges (22), and passing requests and responses on as a stateless proxy does
(16.11), with a Record-Route if wanted. Must not know calls. It is written from the RFCs and shares no code with the
product's registrar.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import attrs
from twisted.internet.defer import Deferred

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, Host
from telephony.sip.headers import Via
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.uri import SipUri, format_host, parse_uri
from telephony.testing.digest import Challenger
from telephony.testing.quirks import Quirks
from telephony.testing.wire import Way, Wire

if TYPE_CHECKING:
    from telephony.testing.wire import ServerTransaction

#: What the tags of our own answers begin with: an ACK that has one stays here.
OWN = "registrar-"
MOST_MESSAGES = 2_000
#: Answers of our own that are kept for requests that come again.
MOST_ANSWERS = 200

T = TypeVar("T")
#: What tells a request from others: its branch, Call-ID and CSeq.
Key = tuple[str, str, str]


@attrs.define(slots=True)
class Binding:
    """Where a user is to be reached: the Contact, the way by which its REGISTER came, and until when."""

    contact: str
    way: Way
    until: float
    call_id: str
    number: int


class _ProxyWire(Wire):
    """Sockets without transactions: what comes is passed on at once."""

    proxy: Registrar

    def received(self, message: Request | Response, data: bytes | None, way: Way) -> None:
        self.user.logged(message, way.remote, False)
        if not self.closed and not self.user.quirks.deaf:
            self.proxy.came(message, way)


class Registrar:
    """A registrar and proxy at ``address`` of ``host``, on UDP and TCP, for ``users`` with their passwords.

    It challenges REGISTER (401) and the calls that come From one of its users (407), unless ``challenge`` is off; other
    requests are let in, as a trunk's are. It passes a request for one of its users on to wherever the user registered
    from, one for a user part in ``routes`` (``"*"`` is any other) to that URI, and one for another host there.

    ``record_route`` keeps it in the way of a dialog. ``expires`` is the longest binding it grants and ``min_expires``
    the shortest (423), in seconds. ``refuse`` is a status with which it answers whatever is asked of it, with
    ``retry_after``. ``algorithms`` and ``lifetime`` are the challenges'.

    ``registrations`` are the REGISTERs it has granted: time, user, Contact and seconds, 0 for the end of a binding;
    ``passed`` counts requests that it passed on, by method.
    """

    def __init__(
        self,
        host: Host,
        address: Address,
        users: Mapping[str, str],
        *,
        challenge: bool = True,
        record_route: bool = True,
        expires: int = 3600,
        min_expires: int = 0,
        algorithms: Sequence[str] = ("SHA-256", "MD5"),
        lifetime: float = 3600.0,
        routes: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host
        self.users = dict(users)
        self.challenge = challenge
        self.record_route = record_route
        self.expires = expires
        self.min_expires = min_expires
        self.routes = dict(routes or {})
        self.refuse = 0
        self.retry_after: int | None = None
        self.quirks = Quirks()
        self.complaints: list[str] = []
        self.log: deque[tuple[float, bool, Address, Message]] = deque(maxlen=MOST_MESSAGES)
        self.passed: Counter[str] = Counter()
        self.registrations: list[tuple[float, str, str, int]] = []
        self._answers: dict[Key, tuple[Response, Way]] = {}
        self._let_in: dict[Key, None] = {}  # what comes again is not judged again: its nonce has been used
        self._bindings: dict[str, list[Binding]] = {}
        self.registered, self.called = (
            Challenger(host.random, host.clock.seconds, users, algorithms=algorithms, lifetime=lifetime, status=status)
            for status in (401, 407)
        )
        self.wire = _ProxyWire(host, address, self)
        self.wire.proxy = self

    @property
    def address(self) -> Address:
        """Where it listens."""
        return self.wire.address

    @property
    def uri(self) -> str:
        """Its SIP URI, to register at."""
        host, port = self.address
        return f"sip:{format_host(host)}:{port}"

    def uri_of(self, user: str) -> str:
        """Return the URI by which a user is called through it."""
        host, port = self.address
        return f"sip:{user}@{format_host(host)}:{port}"

    def bindings(self, user: str) -> list[Binding]:
        """Return the user's bindings that have not run out, the latest first."""
        now = self.host.clock.seconds()
        return [one for one in reversed(self._bindings.get(user, [])) if one.until > now]

    def forget(self, user: str) -> None:
        """Lose a user's bindings, as after a restart."""
        self._bindings.pop(user, None)

    def faults(self) -> list[str]:
        """Return what the peers did that an RFC forbids, their credentials included."""
        return [*self.complaints, *self.registered.faults, *self.called.faults]

    def close(self) -> Deferred[None]:
        """Close its sockets; fires when they are closed."""
        return self.wire.close()

    # For its wire

    def complain(self, text: str) -> None:
        """Note a fault of a peer."""
        if len(self.complaints) < 100:
            self.complaints.append(f"registrar at {self.host.clock.seconds():.3f}: {text}")

    def logged(self, message: Message, remote: Address, sent: bool) -> None:
        """Keep a message."""
        self.log.append((self.host.clock.seconds(), sent, remote, message))

    def request_came(self, transaction: ServerTransaction) -> None:
        """Never called: there are no transactions here."""

    def ack_came(self, ack: Request) -> None:
        """Never called: there are no transactions here."""

    def stray_2xx_came(self, response: Response) -> None:
        """Never called: there are no transactions here."""

    # What comes

    def came(self, message: Request | Response, way: Way) -> None:
        """Take a message in."""
        try:
            if isinstance(message, Response):
                self._pass_back(message)
            else:
                message.check()
                self._request(message, way)
        except RemoteProtocolError as error:
            self.complain(f"{message.start_line}: {error}")

    def _request(self, request: Request, way: Way) -> None:
        back = self.wire._note_source(request, way)
        if request.method == "ACK" and (request.to.tag or "").startswith(OWN):
            return
        again = self._answers.get(self._key(request))
        if again is not None:
            self._answer(*again)
            return
        refusal = None if self._key(request) in self._let_in else self._refused(request)
        if refusal is not None:
            self._answer(refusal, back)
            return
        self._keep(self._let_in, self._key(request), None)
        uri = request.parsed_uri
        if request.method == "REGISTER" and isinstance(uri, SipUri) and self._is_own(uri):
            self._answer(self._register(request, back), back)
            return
        hop = self._next(request)
        if isinstance(hop, int):
            if request.method != "ACK":
                self._answer(respond(request, hop, to_tag=self._tag(request)), back)
            return
        self._pass_on(request, back, hop)

    def _refused(self, request: Request) -> Response | None:
        tag = self._tag(request)
        if request.method in ("ACK", "CANCEL"):
            return None
        if self.refuse:
            response = respond(request, self.refuse, to_tag=tag)
            if self.retry_after is not None:
                response.add("Retry-After", str(self.retry_after))
            return response
        if request.max_forwards == 0:
            return respond(request, 483, to_tag=tag)
        if not self.challenge or request.to.tag is not None:
            return None
        if request.method == "REGISTER":
            return self.registered.refusal(request, tag)
        caller = request.from_.parsed_uri
        known = isinstance(caller, SipUri) and caller.user in self.users
        return self.called.refusal(request, tag) if known else None

    def _tag(self, request: Request) -> str:
        """Return our tag for an answer, the same for a request that comes again."""
        return OWN + hashlib.sha256(f"{request.via.branch} {request.call_id}".encode()).hexdigest()[:12]

    @staticmethod
    def _key(message: Message) -> Key:
        return message.via.branch or "", message.call_id, str(message.cseq)

    def _answer(self, response: Response, back: Way) -> None:
        """Send an answer of our own, and keep it for a request that comes again."""
        self._keep(self._answers, self._key(response), (response, back))
        self.wire.transmit(response, response.to_bytes(), back)

    @staticmethod
    def _keep(known: dict[Key, T], key: Key, value: T) -> None:
        known[key] = value
        if len(known) > MOST_ANSWERS:
            del known[next(iter(known))]

    # Registering

    def _register(self, request: Request, way: Way) -> Response:
        """Bind what a REGISTER says, 10.3."""
        tag = self._tag(request)
        owner = request.to.parsed_uri
        user = owner.user if isinstance(owner, SipUri) else None
        signed = self.registered.user_of(request) if self.challenge else user
        if user is None or user not in self.users:
            return respond(request, 404, to_tag=tag)
        if signed != user:
            return respond(request, 403, to_tag=tag)
        now = self.host.clock.seconds()
        known = self._bindings.setdefault(user, [])
        if request.contact_star:
            if request.get("Expires") != "0":
                return respond(request, 400, to_tag=tag)
            known.clear()
            self.registrations.append((now, user, "*", 0))
        for contact in request.contacts:
            text = contact.params.get("expires") or request.get("Expires") or str(self.expires)
            seconds = min(int(text), self.expires) if text.isdigit() else self.expires
            if 0 < seconds < self.min_expires:
                response = respond(request, 423, to_tag=tag)
                response.add("Min-Expires", str(self.min_expires))
                return response
            for old in [one for one in known if one.contact == contact.uri]:
                if old.call_id == request.call_id and request.cseq.number <= old.number:
                    self.complain(f"REGISTER: CSeq {request.cseq.number} behind {old.number} (10.3 7)")
                    return respond(request, 400, to_tag=tag)
                known.remove(old)
            if seconds:
                known.append(Binding(contact.uri, way, now + seconds, request.call_id, request.cseq.number))
            self.registrations.append((now, user, contact.uri, seconds))
        response = respond(request, 200, to_tag=tag)
        for one in self.bindings(user):
            response.add("Contact", f"<{one.contact}>;expires={round(one.until - now)}")
        return response

    # Passing on

    def _is_own(self, uri: SipUri) -> bool:
        host, port = self.address
        return uri.host == host and (uri.port or 5060) == port

    def _next(self, request: Request) -> Way | int:
        """Change the Request-URI and the Route as a proxy does (16.4 to 16.6), and return the way, or a refusal."""
        routes = request.routes
        while routes and isinstance(routes[0].parsed_uri, SipUri) and self._is_own(routes[0].parsed_uri):
            rest = [str(route) for route in routes[1:]]
            request.remove("Route")
            for route in rest:
                request.add("Route", route)
            routes = request.routes
        uri = request.parsed_uri
        hop = routes[0].parsed_uri if routes else uri
        if not isinstance(hop, SipUri):
            return 416
        if routes or not self._is_own(hop):
            return Way((hop.transport or "udp").upper(), (hop.host, hop.port or 5060))
        user = hop.user or ""
        bound = self.bindings(user)
        if bound:
            request.uri = bound[0].contact
            return bound[0].way
        target = self.routes.get(user) or (None if user in self.users else self.routes.get("*"))
        if target is None:
            return 480 if user in self.users else 404
        request.uri = target
        parsed = parse_uri(target)
        assert isinstance(parsed, SipUri)
        return Way((parsed.transport or "udp").upper(), (parsed.host, parsed.port or 5060))

    def _pass_on(self, request: Request, back: Way, hop: Way) -> None:
        self.passed[request.method] += 1
        host, port = self.address
        if request.max_forwards is not None:
            request.set("Max-Forwards", str(request.max_forwards - 1))
        if self.record_route and request.method == "INVITE" and request.to.tag is None:
            # RFC 5658: one for each side where the transport changes.
            for transport in dict.fromkeys((back.transport, hop.transport)):
                parameter = ";transport=tcp" if transport == "TCP" else ""
                request.add_first("Record-Route", f"<sip:{format_host(host)}:{port}{parameter};lr>")
        # 16.11: the same branch for the same request, for its CANCEL and for the ACK of its refusal.
        branch = hashlib.sha256(f"{request.via.branch} {request.via.host}:{request.via.port}".encode()).hexdigest()
        via = Via(hop.transport, host, port, {"branch": f"z9hG4bK-r{branch[:20]}", "rport": None})
        request.add_first("Via", str(via))
        refusal = respond(request, 503, to_tag=self._tag(request))
        self.wire.transmit(request, request.to_bytes(), hop, lambda: self._pass_back(refusal))

    def _pass_back(self, response: Response) -> None:
        """Take our Via off and send a response to the one below (16.7)."""
        vias = response.vias
        host, port = self.address
        if len(vias) < 2 or (vias[0].host, vias[0].port) != (host, port):
            self.complain(f"{response.status}: not by way of this proxy (16.7)")
            return
        response.remove("Via")
        for via in vias[1:]:
            response.add("Via", str(via))
        below = vias[1]
        remote = (below.received or below.host, below.rport or below.port or 5060)
        self.wire.transmit(response, response.to_bytes(), Way(below.transport, remote))
