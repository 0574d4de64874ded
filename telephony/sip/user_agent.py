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
from collections.abc import Callable, Sequence
from hashlib import blake2b
from random import Random

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from telephony.errors import RemoteProtocolError
from telephony.host import is_address
from telephony.interfaces import Address, Clock, Host
from telephony.sip.answering import DEFAULT_PORT, SUPPORTED, note_source, refusal, way_back
from telephony.sip.dialog import VIA_TO_COME, Dialog
from telephony.sip.flow import Flow, WayBack
from telephony.sip.headers import NameAddr
from telephony.sip.incoming import IncomingSession
from telephony.sip.message import Request, Response, respond
from telephony.sip.outgoing import OutgoingSession
from telephony.sip.parser import UnparsableMessage
from telephony.sip.session import ALLOW, SDP, Session, SessionObserver, SessionState
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
from telephony.sip.transport.base import Transport, TransportFlow
from telephony.sip.transport.tcp import TcpTransport
from telephony.sip.transport.udp import UdpTransport
from telephony.sip.uri import SipUri, format_host
from telephony.trace.events import TraceEvent

Found = Callable[[Flow | None, str], None]


#: How many transactions of peers' requests there may be, most of them waiting 32 s for stragglers: some 1,500 calls a
#: second. Beyond that only what ends a call is taken; everything else is 503, for which nothing is kept.
MAX_TRANSACTIONS = 100_000
#: Seconds after which who was refused for that may try again (RFC 3261 20.33).
RETRY_AFTER = "5"
#: How often `UserAgent.settle` looks, in seconds.
SETTLE_EVERY = 0.05


class UserAgent:
    """All of SIP on one host.

    ``advertise`` is the address that Via and Contact name in place of our own, for use behind a NAT; it isn't used
    towards loopback. ``product`` is what User-Agent and Server say.

    `on_invite` gets the `IncomingSession` of each INVITE that passed all checks, before anything has been sent for it;
    whoever takes it sets ``session.observer``. Without `on_invite` every INVITE is 480. `screen` may refuse an INVITE
    before anything is made for it: it returns a status and header fields, or None to let it in. `trace` gets every
    message in and out.

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
        product: str = "telephony",
    ) -> None:
        self.host = host
        self.timers = timers if timers is not None else Timers()
        self.product = product
        self.on_invite: Callable[[IncomingSession], None] | None = None
        self.screen: Callable[[Request], tuple[int, list[tuple[str, str]]] | None] | None = None
        self.trace: Callable[[TraceEvent], None] | None = None
        self.counters: Counter[str] = Counter()
        self.transactions = Transactions(host.clock, self.timers)
        self._advertise = advertise
        self._udp: list[UdpTransport] = []
        self._tcp: list[TcpTransport] = []
        self._listeners: list[Transport] = []
        #: By Call-ID and our tag.
        self._sessions: dict[tuple[str, str], Session] = {}
        #: What our Vias say, for RFC 3261 18.1.2.
        self._sent_by: set[tuple[str, int | None]] = set()
        #: Dialogs whose next hop is being looked up, and who waits for it, in order.
        self._waiting: dict[Dialog, list[Found]] = {}
        self._lookups: set[Deferred[None]] = set()
        self._secret = host.random.getrandbits(128).to_bytes(16, "big")
        self._closed: Deferred[None] | None = None

    def _token(self) -> str:
        """Return a tag: nobody can guess it (RFC 3261 19.3)."""
        return f"{self.host.random.getrandbits(64):016x}"

    # Listening

    def listen(self, transport: str, address: Address) -> Address:
        """Listen over ``"udp"`` or ``"tcp"``; returns the address with its real port. OSError when it can't be had."""
        kind = transport.upper()
        if kind == "UDP":
            udp = UdpTransport(self.host, address, self)
            self._udp.append(udp)
            self._listeners.append(udp)
            return udp.address
        if kind == "TCP":
            tcp = TcpTransport(self.host, address, self)
            self._tcp.append(tcp)
            self._listeners.append(tcp)
            return tcp.address
        raise ValueError(f"{transport!r} is no transport that exists here: udp, tcp")

    def settle(self, seconds: float) -> Deferred[None]:
        """Wait until every request of ours has its answer and no connection opens, at most ``seconds``; never fails.

        What is closed before that may leave a far end in a call: a BYE that got lost is not sent again.
        """
        settled: Deferred[None] = Deferred()
        deadline = self.clock.seconds() + seconds

        def look() -> None:
            waiting = any(tcp.opening for tcp in self._tcp)
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
            self._waiting.clear()
            self.transactions.close()
            for lookup in tuple(self._lookups):
                lookup.cancel()
            for udp in self._udp:
                udp.close()
            done = DeferredList([tcp.close() for tcp in self._tcp], consumeErrors=True)
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
    ) -> OutgoingSession:
        """Send an INVITE and return its session; nothing is reported before this returns.

        ``from_`` and ``to`` come without tags; without ``to`` it is the target. ``offer`` is SDP, or empty for an
        INVITE without an offer. The transport is that of the target's ``;transport=``, else of the first listener. What
        keeps it from being sent is reported as `SessionObserver.session_refused` with status 0. ValueError for a CR,
        LF or NUL in an argument.
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
        request.set("Allow", ALLOW)
        if self.product:
            request.set("User-Agent", self.product)
        for name, value in headers:
            request.add(name, value)
        if offer:
            request.set("Content-Type", SDP)
        session = OutgoingSession(self, request, tag, observer)
        self._sessions[session.call_id, tag] = session
        if self._closed is not None:
            self.clock.callLater(0, session.begin, None, "the user agent is closed")
        else:
            self._locate(uri, None, self._reporting_later(session))
        return session

    def _reporting_later(self, session: OutgoingSession) -> Found:
        """Return what takes the way found: it begins at once, but reports a failure in a turn of its own."""

        def found(flow: Flow | None, reason: str) -> None:
            if flow is None:
                self.clock.callLater(0, session.begin, None, reason)
            else:
                session.begin(flow, "")

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

    def message_received(self, message: Request | Response, flow: TransportFlow) -> None:
        """Take a message from a transport."""
        if self._closed is not None:
            return
        try:
            if isinstance(message, Response):
                self._take_response(message)
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
            self._refuse_garbage(error.partial, flow, error)

    def _refuse_garbage(self, request: Request, flow: TransportFlow, error: RemoteProtocolError) -> None:
        """Answer a request that can't be dealt with, statelessly; nothing is said to one without a usable Via."""
        if request.method == "ACK":
            return
        try:
            note_source(request, flow.remote)
            back = way_back(request, flow)
        except RemoteProtocolError:
            return
        self._reply(request, back, error.status)

    def _take_response(self, response: Response) -> None:
        try:
            response.check()
        except RemoteProtocolError:
            self.counters["garbage"] += 1
            return
        self.counters["responses"] += 1
        via = response.via
        transaction = self.transactions.client.get((via.branch or "", response.cseq.method))
        if transaction is None or (via.host, via.port) not in self._sent_by:
            # A straggler of a transaction that is over, or a response that isn't ours (RFC 3261 18.1.2).
            self.counters["stray_responses"] += 1
            return
        transaction.receive(response)

    def _take_request(self, request: Request, flow: TransportFlow) -> None:
        try:
            request.check()
            key = server_key(request)
        except RemoteProtocolError as error:
            self.counters["garbage"] += 1
            self._refuse_garbage(request, flow, error)
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
            self._take_cancel(request, (*key[:-1], "INVITE"), back)
            return
        if len(self.transactions.server) >= MAX_TRANSACTIONS and method != "BYE":
            self._reply(request, back, 503, [("Retry-After", RETRY_AFTER)])
            return
        try:
            refused = refusal(request)
        except RemoteProtocolError as error:  # a Require that can't be read
            refused = error.status, []
        if refused is not None:
            self._reply(request, back, *refused)
            return
        tag = request.to.tag
        if tag is not None:
            session = self._sessions.get((request.call_id, tag))
            if session is None:
                self._reply(request, back, 481)
            else:
                session.take(request, key, back)
        elif method == "INVITE":
            self._take_invite(request, key, back, flow)
        elif method == "OPTIONS":
            self._reply(
                request, back, 200, [("Allow", ALLOW), ("Accept", SDP), ("Supported", ", ".join(sorted(SUPPORTED)))]
            )
        else:
            self._reply(request, back, 481)  # BYE, INFO: only within a dialog

    def _take_ack(self, request: Request) -> None:
        session = self._sessions.get((request.call_id, request.to.tag or ""))
        if session is None:
            self.counters["stray_acks"] += 1  # among them those of stateless refusals
        else:
            session.acknowledged(request)

    def _take_cancel(self, request: Request, invite_key: tuple[object, ...], back: WayBack) -> None:
        """Answer a CANCEL by itself (RFC 3261 9.2), then let it do what it still can."""
        invite = self.transactions.server.get(invite_key)
        if invite is None:
            self._reply(request, back, 481)
            return
        self._reply(request, back, 200, tag=invite.to_tag)
        on_cancel, invite.on_cancel = invite.on_cancel, None
        if on_cancel is not None:
            on_cancel(request)

    def _take_invite(self, request: Request, key: object, back: WayBack, flow: TransportFlow) -> None:
        if merge_key(request) in self.transactions.merging:
            self._reply(request, back, 482)  # the same INVITE by another path (RFC 3261 8.2.2.2)
            return
        on_invite = self.on_invite
        refused = self.screen(request) if self.screen is not None else None
        if refused is None and on_invite is None:
            refused = 480, []
        if refused is not None:
            self._reply(request, back, *refused)
            return
        tag = self._token()
        transaction = self.transactions.accept(request, key, back)
        assert isinstance(transaction, InviteServerTransaction) and on_invite is not None
        try:
            session = IncomingSession(self, request, tag, transaction, flow)
        except RemoteProtocolError as error:
            transaction.respond(self._response(request, error.status, [], tag))
            return
        self._sessions[request.call_id, tag] = session
        try:
            on_invite(session)
        except Exception:
            self.counters["faults"] += 1
            self.log.failure("An INVITE could not be dealt with")
            session.reject(500)
        if transaction.silent and session.state is SessionState.PROCEEDING:
            transaction.respond(respond(request, 100))

    def _response(self, request: Request, status: int, headers: Sequence[tuple[str, str]], tag: str | None) -> Response:
        response = respond(request, status, None, tag)
        if self.product:
            response.set("Server", self.product)
        for name, value in headers:
            response.add(name, value)
        self.counters[f"sent_{status}"] += 1
        return response

    def _reply(
        self,
        request: Request,
        back: WayBack,
        status: int,
        headers: Sequence[tuple[str, str]] = (),
        tag: str | None = None,
    ) -> None:
        """Answer a request without keeping anything: when it comes again it gets the same again (RFC 3261 8.2.7)."""
        if tag is None:
            # The same request must get the same tag, and nobody else may know it beforehand.
            identity = f"{request.get('Call-ID')} {request.get('From')} {request.get('CSeq')}"
            text = identity.encode("utf-8", "surrogateescape")
            tag = blake2b(text, digest_size=8, key=self._secret).hexdigest()
        back.send(self._response(request, status, headers, tag).to_bytes())

    # What sessions ask for: `session.Core`

    @property
    def clock(self) -> Clock:
        """The host's clock."""
        return self.host.clock

    @property
    def random(self) -> Random:
        """The host's randomness."""
        return self.host.random

    def contact(self, flow: Flow) -> str:
        """Return our Contact for the peer of a flow."""
        host, port = self._own(flow)
        return f"<sip:{host}:{port}>" if flow.transport == "UDP" else f"<sip:{host}:{port};transport=tcp>"

    def stamp(self, request: Request, flow: Flow) -> None:
        """Write the topmost Via with a fresh branch; ``rport`` is asked for over UDP (RFC 3581 3)."""
        host, port = self._own(flow)
        self._sent_by.add((host.strip("[]"), port))
        wanted = ";rport" if flow.transport == "UDP" else ""
        branch = f"{COOKIE}{self.host.random.getrandbits(80):020x}"
        request.set("Via", f"SIP/2.0/{flow.transport} {host}:{port}{wanted};branch={branch}")

    def reach(self, dialog: Dialog, found: Found) -> None:
        """Find the way to a dialog's next hop."""
        flow = dialog.flow
        if dialog.stays and flow is not None and flow.usable:
            found(flow, "")
            return
        waiting = self._waiting.get(dialog)
        if waiting is not None:
            waiting.append(found)
            return
        if dialog.address is not None and flow is not None:
            # Looked up before. R37: when the connection has been closed meanwhile, this opens another.
            wanted = dialog.next_hop.transport
            way = self._flow_to(wanted.upper() if wanted else flow.transport, dialog.address, flow)
            found(way, "" if way is not None else "no listener of ours can reach it")
            return
        waiting = self._waiting[dialog] = [found]

        def located(way: Flow | None, reason: str) -> None:
            self._waiting.pop(dialog, None)
            if way is not None:
                dialog.address = way.remote
            for one in waiting:
                one(way, reason)

        self._locate(dialog.next_hop, flow, located)

    def renewed(self, flow: Flow) -> Flow:
        """Return a flow to the same peer that can be used."""
        if flow.usable:
            return flow
        return self._flow_to(flow.transport, flow.remote, None) or flow

    def forget(self, session: Session) -> None:
        """Take a session out of the books."""
        self._sessions.pop((session.call_id, session.local_tag), None)

    # Finding the way

    def _own(self, flow: Flow) -> tuple[str, int]:
        """Return the host (in brackets where it needs them) and port that a peer reaches us by."""
        host, port = flow.local
        if flow.reliable:
            # A connection's own port is of no use to anybody: the listening one is (18.1.1).
            listener = self._listener("TCP", flow.remote)
            port = listener.address[1] if listener is not None else port
        if self._advertise is not None and not host.startswith("127.") and host != "::1":
            host = self._advertise
        return format_host(host), port

    def _listener(self, transport: str, remote: Address) -> Transport | None:
        """Return the listener to reach an address through: the first of its family, or the one on its route."""
        six = ":" in remote[0]
        fitting = [one for one in self._listeners if one.transport == transport and (":" in one.address[0]) == six]
        if len(fitting) > 1:
            try:
                ours = self.host.source_address(remote)
            except OSError:
                return fitting[0]
            for one in fitting:
                if one.address[0] == ours:
                    return one
        return fitting[0] if fitting else None

    def _flow_to(self, transport: str, remote: Address, hint: Flow | None) -> Flow | None:
        """Return the flow to an address; through the port of ``hint`` when it can be."""
        if hint is not None and hint.transport == transport:
            listener: Transport | None = getattr(hint, "listener", None)
            if listener is not None and (":" in listener.address[0]) == (":" in remote[0]):
                return listener.flow(remote)
        listener = self._listener(transport, remote)
        return None if listener is None else listener.flow(remote)

    def _fault(self, failure: Failure) -> None:
        """Log a fault of ours that came up behind a look-up, where no message is to blame."""
        self.counters["faults"] += 1
        self.log.failure("What followed a look-up went wrong", failure)

    def _locate(self, uri: SipUri, hint: Flow | None, found: Found) -> None:
        """Find the way to a URI (RFC 3263, as far as addresses go); ``found`` is called at once for an IP address."""
        if uri.scheme == "sips":
            found(None, "sips: needs TLS, which does not exist here yet")
            return
        if uri.transport is not None:
            transport = uri.transport.upper()
        elif hint is not None:
            transport = hint.transport
        else:
            transport = self._listeners[0].transport if self._listeners else "UDP"
        host = uri.params.get("maddr") or uri.host
        port = uri.port or DEFAULT_PORT

        def reached(addresses: list[str]) -> None:
            for address in addresses:
                flow = self._flow_to(transport, (address, port), hint)
                if flow is not None:
                    found(flow, "")
                    return
            found(None, f"no {transport} listener of ours can reach {host}")

        host = host.strip("[]")
        if is_address(host):
            reached([host])
            return

        def failed(failure: Failure) -> None:
            if self._closed is None:
                found(None, f"{host} can't be resolved: {failure.getErrorMessage()}")

        looking = self.host.resolve(host).addTimeout(self.timers.lifetime, self.clock)  # type: ignore[arg-type]
        # Two callbacks side by side: what `reached` causes is no failure of the look-up.
        lookup: Deferred[None] = looking.addCallbacks(lambda got: None if self._closed else reached(got), failed)
        lookup.addErrback(self._fault)
        if not lookup.called:
            self._lookups.add(lookup)
        lookup.addBoth(lambda _: self._lookups.discard(lookup))


def _kept(uri: SipUri) -> dict[str, str | None]:
    """Return the parameters of a URI that may stand in a To (RFC 3261 table 1)."""
    return {name: value for name, value in uri.params.items() if name not in ("transport", "maddr", "ttl", "lr")}
