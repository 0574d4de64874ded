"""A SIP user agent: ports, transactions and sessions put together (RFC 3261 8, 17, 18; the *core* of its figures).

Owns: where each message goes, the books of sessions, finding the way to a URI, and what our own Via and Contact say.
Must not know media or SDP, nor what a call is to an application: `UserAgent.on_invite` gets a session, and
`UserAgent.invite` returns one.

A 100 is sent at once to each INVITE that isn't answered while `on_invite` runs, not after 200 ms as 17.2.1 would
allow: applications run in threads of their own, which takes longer than that often enough under load, and a timer for
each call costs more than the datagram does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from random import Random
from typing import cast

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, Host
from telephony.sip.answering import Refusal, note_source, refusal, way_back
from telephony.sip.auth import Account, Authentication
from telephony.sip.defence import Defence, Limits
from telephony.sip.dialog import VIA_TO_COME, Dialog
from telephony.sip.entrance import Entrance
from telephony.sip.flow import Elsewhere, Flow, WayBack
from telephony.sip.headers import NameAddr
from telephony.sip.identity import Identity, Kind
from telephony.sip.incoming import IncomingSession
from telephony.sip.keepalive import How, KeepAlives, KeptFlow
from telephony.sip.listeners import Listeners
from telephony.sip.message import Request, Response, respond
from telephony.sip.outgoing import OutgoingSession
from telephony.sip.parser import UnparsableMessage
from telephony.sip.parties import ALLOW, SDP, SUPPORTED, SessionObserver
from telephony.sip.redirects import Redirects
from telephony.sip.registrar import BindingWays
from telephony.sip.replaces import Replaces
from telephony.sip.session import Session, SessionState
from telephony.sip.session_timer import SHORTEST
from telephony.sip.session_timer import refusal as too_brief
from telephony.sip.stateless import RETRY_AFTER, Stateless
from telephony.sip.targets import Target
from telephony.sip.timers import Timers
from telephony.sip.transaction import (
    COOKIE,
    InviteServerTransaction,
    ServerInput,
    ServerState,
    Transactions,
    merge_key,
    server_key,
)
from telephony.sip.transport.base import DatagramTransport, TransportFlow
from telephony.sip.transport.tls import TlsIdentity
from telephony.sip.uri import SipUri
from telephony.sip.ways import Found, WayFinder
from telephony.timing import Timing
from telephony.trace.events import TraceEvent

#: How many transactions of peers' requests there may be, most of them waiting 32 s for stragglers: some 3,000 calls a
#: second. Beyond that only what ends a call is taken; everything else is 503, for which nothing is kept.
MAX_TRANSACTIONS = 200_000
#: How often `UserAgent.settle` looks, in seconds.
SETTLE_EVERY = 0.05


class UserAgent:
    """All of SIP on one host.

    ``advertise`` is the address that Via and Contact name in place of our own, for use behind a NAT; it isn't used
    towards local networks. ``tls`` is our certificate and whom we believe; without it there is no TLS.
    ``most_connections`` limits the connections of each TCP or TLS port. ``product`` is what User-Agent and Server say.
    ``session_expires`` is the session timer that we ask for, in seconds (RFC 4028; 0: we ask for none, and take part in
    those that peers ask for), ``min_se`` the shortest one that we take.

    `on_invite` gets the `IncomingSession` of each INVITE that passed all checks, before anything has been sent for it;
    whoever takes it sets ``session.observer``. Without `on_invite` every INVITE is 480. `screen` may refuse an INVITE
    before anything is made for it: it returns a status and header fields, or lets it in with None or with who the
    caller is, which becomes ``session.identity``. `on_register` answers each REGISTER with a status and header fields;
    without it they get 405. `trace` gets every message in and out.

    `counters` counts what comes and what is sent: each message that came is one of ``keep_alives``, ``garbage``,
    ``requests`` and ``responses``; the other names say what became of some of them, and are never a peer's words.
    """

    log = Logger()

    def __init__(
        self,
        host: Host,
        *,
        timers: Timers | None = None,
        advertise: str | None = None,
        tls: TlsIdentity | None = None,
        most_connections: int | None = None,
        product: str = "telephony",
        session_expires: int = 0,
        min_se: int = SHORTEST,
    ) -> None:
        self.host = host
        #: The host's clock, with all of our timers, and those of calls, on one of its own.
        self.clock = Timing(host.clock)
        self.timers = timers if timers is not None else Timers()
        self.product = product
        self.session_expires = session_expires
        self.min_se = min_se
        self.on_invite: Callable[[IncomingSession], None] | None = None
        self.screen: Callable[[Request, Flow], Refusal | Identity | None] | None = None
        self.on_register: Callable[[Request, Flow], Refusal] | None = None
        self.trace: Callable[[TraceEvent], None] | None = None
        self.counters: Counter[str] = Counter()
        self.listeners = Listeners(host, self, advertise, tls, most_connections)
        self.transactions = Transactions(self.clock, self.timers)
        self.transactions.widen, self.transactions.narrow = self.listeners.widen, self.listeners.narrow
        self._keep_alives = KeepAlives(host, self)
        self.defence = Defence(self.clock, self.counters)
        #: By Call-ID and our tag.
        self._sessions: dict[tuple[str, str], Session] = {}
        self.finder = WayFinder(
            host,
            self.timers.lifetime,
            self.counters,
            self.listeners.transports,
            self._way_to,
            self.listeners.forbids,
        )
        secret = host.random.getrandbits(128).to_bytes(16, "big")
        self._stateless = Stateless(self.counters, self.defence, secret, product)
        self.entrance = Entrance(
            self.clock, self.counters, self.transactions, self.defence, self._stateless, secret, product, self._admit
        )
        self._closed: Deferred[None] | None = None

    def _token(self) -> str:
        """Return a tag: nobody can guess it (RFC 3261 19.3)."""
        return f"{self.host.random.getrandbits(64):016x}"

    def limit(self, limits: Limits) -> None:
        """Take other limits on what comes in."""
        self.defence.configure(limits)
        self.entrance.admission.patience = limits.new_call_seconds

    # Listening

    def listen(self, transport: str, address: Address) -> Address:
        """Listen over ``"udp"``, ``"tcp"`` or ``"tls"``; see `Listeners.listen`."""
        return self.listeners.listen(transport, address)

    def settle(self, seconds: float) -> Deferred[None]:
        """Wait until every request of ours has its answer and no connection opens, at most ``seconds``; never fails.

        What is closed before that may leave a far end in a call: a BYE that got lost is not sent again.
        """
        settled: Deferred[None] = Deferred()
        deadline = self.clock.seconds() + seconds

        def look() -> None:
            waiting = self.listeners.opening
            waiting = waiting or any(one.unanswered for one in self.transactions.client.values())
            if waiting and self._closed is None and self.clock.seconds() < deadline:
                self.clock.callLater(SETTLE_EVERY, look)
            else:
                settled.callback(None)

        look()
        return settled

    def close(self) -> Deferred[None]:
        """Close all ports and connections, and forget all sessions and transactions; nothing is sent for them.

        Fires when the ports are free, within `tcp.CLOSE_TIMEOUT`; never fails. Calling it again gives the same outcome.
        """
        if self._closed is None:
            self._closed = Deferred()
            for session in tuple(self._sessions.values()):
                session.abandon()
            self._sessions.clear()
            self.transactions.close()
            self.finder.close()
            self.defence.close()
            self.entrance.close()
            self._keep_alives.close()
            done = self.listeners.close()
            done.addCallback(self._all_closed)
        again: Deferred[None] = Deferred()

        def fired(result: None) -> None:
            again.callback(None)

        self._closed.addCallback(fired)
        return again

    def _all_closed(self, _: object) -> None:
        assert self._closed is not None
        self._closed.callback(None)

    # Calls out

    def invite(
        self,
        target: SipUri,
        *,
        from_: NameAddr,
        to: NameAddr | None = None,
        offer: bytes,
        observer: SessionObserver | None,
        headers: Sequence[tuple[str, str]] = (),
        max_forwards: int = 70,
        targets: Sequence[Target] | None = None,
        routes: Sequence[NameAddr] = (),
        may_dial: Callable[[SipUri], bool] | None = None,
        account: Account | None = None,
        near: BindingWays | None = None,
    ) -> OutgoingSession:
        """Send an INVITE and return its session; nothing is reported before this returns.

        ``from_`` and ``to`` come without tags; without ``to`` it is the target. ``offer`` is SDP, or empty for an
        INVITE without an offer. ``targets`` is where it goes, one after the other until one takes it (RFC 3263 4.3);
        without it they are looked up. ``routes`` is a route set for the INVITE (RFC 3261 8.1.2), an outbound proxy say:
        it goes to the first of them, unless ``targets`` say otherwise. A 3xx is followed where ``may_dial`` says so of
        a contact; without it a 3xx is a refusal like any other (R6).

        ``account`` answers challenges to the INVITE and to what follows in its dialog. ``near`` are the phones of
        somebody who has signed in: it goes to them, and so does all that follows, whatever ``targets`` and Contact say.

        What keeps it from being sent is reported as `SessionObserver.session_refused` with status 0. ValueError for a
        CR, LF or NUL in an argument.
        """
        tag = self._token()
        uri = attrs.evolve(
            target, headers="", params={name: value for name, value in target.params.items() if name != "method"}
        )
        if to is None:
            # RFC 3261 table 1: no port and no transport in a To.
            to = NameAddr(None, str(attrs.evolve(uri, port=None, params=_kept(uri))))
        request = Request("INVITE", str(uri), offer)
        request.set("Via", VIA_TO_COME)
        request.set("Max-Forwards", str(max_forwards))
        request.set("From", str(from_.with_tag(tag)))
        request.set("To", str(to))
        request.set("Call-ID", f"{self.host.random.getrandbits(128):032x}")
        request.set("CSeq", "1 INVITE")
        request.set("Contact", "<sip:0.0.0.0>")
        first_hop = _preload(request, uri, routes)
        redirects = None if may_dial is None else Redirects(uri, may_dial)
        session = OutgoingSession(self, request, tag, observer, redirects)
        session.authentication = None if account is None else Authentication(account)
        session.near = near
        session.dress(request)
        if offer:
            # Without an offer a reliable response would hold one, and want its answer in the PRACK (RFC 3262 5).
            request.set("Supported", ", ".join(sorted(SUPPORTED)))
        for name, value in (*session.timer.asks(initial=True), *headers):
            request.add(name, value)
        if offer:
            request.set("Content-Type", SDP)
        self._sessions[session.call_id, tag] = session
        if self._closed is not None:
            self.host.clock.callLater(0, session.begin, None, "the user agent is closed")
        else:
            begin = self._reporting_later(session)
            if near is not None:
                for flow in near.flows:
                    self.listeners.keep_to(flow)
                begin(near, "")
            elif targets is not None:
                begin(self.finder.ways(targets), "")
            else:
                self.finder.find(first_hop, None, begin)
        return session

    def place(self, session: Session, target: SipUri) -> None:
        """Find the way to the target of an INVITE that is sent again, and let it begin."""
        assert isinstance(session, OutgoingSession)
        if self._closed is None:
            routes = session.request.routes
            hop = routes[0].parsed_uri if routes else target
            assert isinstance(hop, SipUri)
            self.finder.find(hop, None, session.begin)

    def locate(self, uri: SipUri) -> Deferred[list[Target]]:
        """Find where requests to a URI go, best first (RFC 3263 4); fails with `NoWay`, whose text says why.

        Fires at once for an IP address, else within 64*T1.
        """
        return self.finder.locate(uri)

    def find(self, uri: SipUri, found: Callable[[Elsewhere | None, str], None]) -> None:
        """Find the ways to a URI; ``found`` gets None and the reason where there is none, at once for an IP address."""
        if self._closed is not None:
            found(None, "the user agent is closed")
        else:
            self.finder.find(uri, None, found)

    def _reporting_later(self, session: OutgoingSession) -> Callable[[Elsewhere | None, str], None]:
        """Return what takes the ways found: it begins at once, but reports a failure in a turn of its own."""

        def found(ways: Elsewhere | None, reason: str) -> None:
            if ways is None:
                self.host.clock.callLater(0, session.begin, None, reason)
            else:
                session.begin(ways, "")

        return found

    # What comes in

    @property
    def tracing(self) -> bool:
        """Whether anybody looks at the messages."""
        return self.trace is not None

    def traced(self, source: Address, destination: Address, transport: str, data: bytes, sent: bool) -> None:
        """Pass a message to `trace`."""
        if self.trace is not None:
            self.trace(TraceEvent(self.clock.seconds(), source, destination, transport, data, sent))

    def keep_alive(
        self, flow: TransportFlow, seconds: float, failed: Callable[[str], None] | None = None, how: How = "stun"
    ) -> KeptFlow:
        """Keep a flow open, and be told when it has failed (RFC 5626 4.4); see `KeepAlives.keep`."""
        return self._keep_alives.keep(flow, seconds, failed, how)

    def stun_received(self, data: bytes, flow: TransportFlow) -> None:
        """Take a STUN message from a transport."""
        if self._closed is None:
            self._keep_alives.received(data, flow)

    def flows_needed(self) -> set[object]:
        """Return the flows that dialogs came by."""
        needed: set[object] = set()
        for session in self._sessions.values():
            needed.update(session.flows)
        return needed

    def keeps(self, data: bytes, flow: TransportFlow) -> bool:
        """Keep a datagram that begins a call until it is its turn; see `Entrance.keeps`."""
        return self._closed is None and self.entrance.keeps(data, flow)

    def turn(self, more: bool) -> None:
        """Take up what was kept; see `Admission.turn`."""
        self.entrance.admission.turn(more)

    def _admit(self, message: bytes | Request, flow: TransportFlow) -> None:
        """Deal with what was kept at the entrance."""
        if isinstance(message, Request):
            self._deal(message, flow)
        else:
            cast("DatagramTransport", flow.listener).take(message, flow)

    def message_received(self, message: Request | Response, flow: TransportFlow) -> None:
        """Take a message from a transport."""
        if self._closed is not None:
            return
        if not flow.reliable or isinstance(message, Response):
            self._deal(message, flow)
        elif not self.shuns(flow.remote):  # a datagram was asked about before it was parsed
            if message.method in ("INVITE", "CANCEL"):
                self.entrance.came(message, flow)
            else:
                self._deal(message, flow)

    def _deal(self, message: Request | Response, flow: TransportFlow) -> None:
        """Deal with a message now."""
        try:
            if isinstance(message, Response):
                self._take_response(message, flow)
            else:
                self._take_request(message, flow)
        except Exception:
            # A fault of ours must cost one message, not the port. It is logged, and tests fail on it.
            self.counters["faults"] += 1
            self.log.failure("A message could not be dealt with")

    def garbage_received(self, error: UnparsableMessage, flow: TransportFlow) -> None:
        """Take what a transport couldn't parse: answer it if enough of it could be read, else drop it."""
        self.counters["garbage"] += 1
        if isinstance(error.partial, Request):
            self._stateless.refuse_garbage(error.partial, flow, error)
        else:
            self.defence.offended(flow.remote[0], "garbage")

    def shuns(self, remote: Address, response: bool = False) -> bool:
        """See `Defence.shuns`."""
        return self.defence.shuns(remote[0], response)

    def _take_response(self, response: Response, flow: TransportFlow) -> None:
        try:
            response.check()
        except RemoteProtocolError:
            self.counters["garbage"] += 1
            return
        self.counters["responses"] += 1
        via = response.via
        transaction = self.transactions.client.get((via.branch or "", response.cseq.method))
        if transaction is None or (via.host, via.port) not in self.listeners.sent_by:
            # A straggler of a transaction that is over, or a response that isn't ours (RFC 3261 18.1.2).
            self.counters["stray_responses"] += 1
            self.defence.stray(flow.remote[0])
            return
        if response.status >= 200:
            self.defence.welcome(flow.remote[0])
        transaction.receive(response)

    def _take_request(self, request: Request, flow: TransportFlow) -> None:
        try:
            request.check()
            key = server_key(request)
        except RemoteProtocolError as error:
            self.counters["garbage"] += 1
            self._stateless.refuse_garbage(request, flow, error)
            return
        self.counters["requests"] += 1
        method = request.method
        transaction = self.transactions.server.get(key)
        if method == "ACK":
            if transaction is not None and transaction.state is not ServerState.ACCEPTED:
                transaction.feed(ServerInput.ACK)
            else:
                self._take_ack(request)
            return
        if transaction is not None:
            self.counters["retransmissions"] += 1
            transaction.feed(ServerInput.REQUEST)
            return
        note_source(request, flow.remote)
        back = way_back(request, flow)
        if method == "CANCEL":
            assert isinstance(key, tuple)
            self._take_cancel(request, (*key[:-1], "INVITE"), back, flow)
            return
        if request.to.tag is None and self._stateless.put_off(request, back, flow):
            return
        if method == "INVITE" and self.entrance.was_refused(key):
            self._stateless.reply(request, back, 503, [("Retry-After", RETRY_AFTER)])
            return
        if len(self.transactions.server) >= MAX_TRANSACTIONS and method != "BYE":
            self._stateless.reply(request, back, 503, [("Retry-After", RETRY_AFTER)])
            return
        if method == "REGISTER" and self.on_register is not None:
            self._take_register(request, key, back, flow)
            return
        try:
            refused = refusal(request, flow.transport) or too_brief(request, self.min_se)
        except RemoteProtocolError as error:  # a Require that can't be read
            refused = error.status, []
        if refused is not None:
            self._stateless.refuse(request, back, flow, *refused)
            return
        tag = request.to.tag
        if tag is not None:
            session = self._sessions.get((request.call_id, tag))
            if session is None:
                self._stateless.refuse(request, back, flow, 481)
            else:
                session.take(request, key, back, flow)
        elif method == "INVITE":
            self._take_invite(request, key, back, flow)
        elif method == "OPTIONS":
            self._stateless.refuse(
                request,
                back,
                flow,
                200,
                [("Allow", ALLOW), ("Accept", SDP), ("Supported", ", ".join(sorted(SUPPORTED)))],
            )
        else:
            # BYE, INFO, NOTIFY: only within a dialog. Nobody is called because a stranger wants it (RFC 3515 5.2).
            self._stateless.refuse(request, back, flow, 603 if method == "REFER" else 481)

    def _take_ack(self, request: Request) -> None:
        session = self._sessions.get((request.call_id, request.to.tag or ""))
        if session is None:
            self.counters["stray_acks"] += 1  # among them those of stateless refusals
        else:
            session.acknowledged(request)

    def _take_cancel(
        self, request: Request, invite_key: tuple[object, ...], back: WayBack, flow: TransportFlow
    ) -> None:
        """Answer a CANCEL by itself (RFC 3261 9.2), then let it do what it still can."""
        invite = self.transactions.server.get(invite_key)
        if invite is None:
            self._stateless.refuse(request, back, flow, 481)
            return
        self._stateless.reply(request, back, 200, tag=invite.to_tag)
        on_cancel, invite.on_cancel = invite.on_cancel, None
        if on_cancel is not None:
            on_cancel(request)

    def _take_invite(self, request: Request, key: object, back: WayBack, flow: TransportFlow) -> None:
        if merge_key(request) in self.transactions.merging:
            self._stateless.reply(request, back, 482)  # the same INVITE by another path (RFC 3261 8.2.2.2)
            return
        on_invite = self.on_invite
        verdict = self.screen(request, flow) if self.screen is not None else None
        if verdict is None and on_invite is None:
            verdict = 480, []
        if isinstance(verdict, tuple):
            self._stateless.refuse(request, back, flow, *verdict)
            return
        tag = self._token()
        self.defence.look()
        transaction = self.transactions.accept(request, key, back)
        assert isinstance(transaction, InviteServerTransaction) and on_invite is not None
        try:
            session = IncomingSession(self, request, tag, transaction, flow)
        except RemoteProtocolError as error:
            transaction.respond(self._stateless.response(request, error.status, [], tag))
            return
        if verdict is not None:
            self.defence.welcome(flow.remote[0], verdict.kind is Kind.TRUNK)
            session.know(verdict)
        self._sessions[request.call_id, tag] = session
        try:
            on_invite(session)
        except Exception:
            self.counters["faults"] += 1
            self.log.failure("An INVITE could not be dealt with")
            session.reject(500)
        if transaction.silent and session.state is SessionState.PROCEEDING:
            transaction.respond(respond(request, 100))

    def _take_register(self, request: Request, key: Hashable, back: WayBack, flow: TransportFlow) -> None:
        """Have a REGISTER answered; one that asks for a password leaves nothing behind here."""
        assert self.on_register is not None
        missing = [tag for tag in request.require if tag not in SUPPORTED]
        if missing:
            self._stateless.refuse(request, back, flow, 420, [("Unsupported", ", ".join(missing[:16]))])
            return
        status, headers = self.on_register(request, flow)
        if status in (401, 403, 407):
            self._stateless.refuse(request, back, flow, status, headers)
        else:
            if status < 300:
                self.defence.welcome(flow.remote[0])
            # When it comes again it gets the same answer, although its nonce count is used up.
            self.transactions.accept(request, key, back).respond(
                self._stateless.response(request, status, headers, self._token())
            )

    # What sessions ask for: `session.Core`

    @property
    def random(self) -> Random:
        """The host's randomness."""
        return self.host.random

    def contact(self, flow: Flow, secure: bool = False) -> str:
        """Return our Contact for the peer of a flow; ``secure`` for a dialog by ``sips:``."""
        return self.listeners.contact(flow, secure)

    def stamp(self, request: Request, flow: Flow) -> None:
        """Write the topmost Via with a fresh branch."""
        branch = f"{COOKIE}{self.host.random.getrandbits(80):020x}"
        request.set("Via", self.listeners.via(flow, branch))

    def reach(self, dialog: Dialog, found: Found) -> None:
        """Find the way to a dialog's next hop."""
        way = dialog.way
        if way is not None:
            self.listeners.keep_to(way)
        self.finder.reach(dialog, found)

    def elsewhere(self, dialog: Dialog) -> Elsewhere | None:
        """Return where a request goes when the way that `reach` has found is of no use."""
        return self.finder.elsewhere(dialog)

    def renewed(self, flow: Flow) -> Flow:
        """Return a flow to the same peer that can be used."""
        return self.listeners.again(flow)

    def dialog_of(self, wanted: Replaces) -> Session | None:
        """Return the session that a Replaces names, if it has such a dialog (RFC 3891 3)."""
        session = self._sessions.get((wanted.call_id, wanted.to_tag))
        return session if session is not None and session.is_of(wanted.remote_tag) else None

    def forget(self, session: Session) -> None:
        """Take a session out of the books."""
        self._sessions.pop((session.call_id, session.local_tag), None)

    # Finding the way

    def _way_to(self, target: Target, hint: Flow | None) -> Flow | None:
        """Return the flow to a target; through the port of ``hint`` when it can be."""
        return self.listeners.flow_to(target.transport, target.address, hint, target.name)


def _preload(request: Request, target: SipUri, routes: Sequence[NameAddr]) -> SipUri:
    """Write a route set into a request outside of a dialog; return the URI of the next hop (RFC 3261 8.1.2, 12.2.1.1).

    ValueError when the first one is no SIP URI.
    """
    if not routes:
        return target
    hop = routes[0].parsed_uri
    if not isinstance(hop, SipUri):
        raise ValueError(f"{routes[0].uri!r} is no SIP URI, and nothing can be routed by it")
    left = list(routes)
    if "lr" not in hop.params:
        # A strict router takes the Request-URI for its own, and gets the target as the last Route.
        request.uri = str(attrs.evolve(hop, headers=""))
        left = [*left[1:], NameAddr(None, str(target))]
    for one in left:
        request.add("Route", str(one))
    return hop


def _kept(uri: SipUri) -> dict[str, str | None]:
    """Return the parameters of a URI that may stand in a To (RFC 3261 table 1)."""
    return {name: value for name, value in uri.params.items() if name not in ("transport", "maddr", "ttl", "lr")}
