"""A host in memory for the tests of sip: no network, no delay, one clock; the tests are the peers.

What the user agent sends is in a `Peer`'s inbox before the call that caused it returns; what a peer sends is handled
before `Peer.send` returns. The simulated network of ``telephony.testing`` has delays and loss; this has neither, so
that a test can say in which order two messages are processed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from telephony.interfaces import Address, Answer, DatagramReceived, Record, RecordKind
from telephony.sip.headers import NameAddr
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.parser import KeepAlive, StreamParser, parse_message
from telephony.sip.refer import Referred
from telephony.sip.session import Session
from telephony.sip.uri import SipUri, parse_uri
from telephony.sip.user_agent import UserAgent

US: Address = ("192.0.2.1", 5060)
BOB: Address = ("192.0.2.2", 5060)
OFFER = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"
ANSWER = b"v=0\r\no=- 2 1 IN IP4 192.0.2.2\r\ns=-\r\n"


class FakePort:
    """A UDP port."""

    def __init__(self, host: FakeHost, address: Address, received: DatagramReceived) -> None:
        self.host = host
        self.address = address
        self.received = received
        self.drained: Any = None
        self.draining = False

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        self.host.sent.append((bytes(data), self.address, destination))
        peer = self.host.peers.get(destination)
        if peer is not None:
            peer.arrived(bytes(data))

    def drain(self) -> bool:
        return True

    def close(self) -> None:
        self.host.ports.pop(self.address, None)


class FakeWire:
    """Our end of a TCP connection; the test has the other."""

    def __init__(self, host: FakeHost, local: Address, remote: Address) -> None:
        self.host = host
        self.local = local
        self.remote = remote
        self.protocol: Any = None
        self.written = b""
        self.parser = StreamParser()
        self.inbox: list[Request | Response] = []
        self.open = True
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        if not self.open:
            return
        self.written += data
        self.inbox += [one for one in self.parser.feed(data) if not isinstance(one, KeepAlive)]

    def take(self) -> list[Request | Response]:
        """Return what came since the last look."""
        taken, self.inbox = self.inbox, []
        return taken

    def send(self, data: bytes | Message) -> None:
        """Send to us."""
        self.protocol.dataReceived(data if isinstance(data, bytes) else data.to_bytes())

    def loseConnection(self) -> None:
        if self.open:
            self.open = False
            self.host.clock.callLater(0, self.end, ConnectionDone())

    def abortConnection(self) -> None:
        self.loseConnection()

    def end(self, reason: Exception | None = None) -> None:
        """End the connection."""
        self.open = False
        self.host.wires.remove(self)
        protocol, self.protocol = self.protocol, None
        protocol.connectionLost(Failure(reason or ConnectionLost()))
        protocol.transport = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    def getHost(self) -> IPv4Address | IPv6Address:
        return (IPv6Address if ":" in self.local[0] else IPv4Address)("TCP", *self.local)

    def getPeer(self) -> IPv4Address | IPv6Address:
        return (IPv6Address if ":" in self.remote[0] else IPv4Address)("TCP", *self.remote)


class FakeListener:
    """A listening TCP port."""

    def __init__(self, host: FakeHost, address: Address, factory: IProtocolFactory) -> None:
        self.host = host
        self.address = address
        self.factory = factory

    def close(self) -> Deferred[None]:
        self.host.listeners.pop(self.address, None)
        return succeed(None)


class FakeHost:
    """A `telephony.interfaces.Host`. Connections that we open wait in ``attempts`` until the test says more."""

    def __init__(self, seed: int = 1) -> None:
        self.clock = Clock()
        self.random = random.Random(seed)
        self.ports: dict[Address, FakePort] = {}
        self.listeners: dict[Address, FakeListener] = {}
        self.wires: list[FakeWire] = []
        self.attempts: list[tuple[Address, IProtocolFactory, Deferred[IProtocol]]] = []
        self.peers: dict[Address, Peer] = {}
        self.sent: list[tuple[bytes, Address, Address]] = []
        self.names: dict[str, list[str]] = {}
        #: NAPTR and SRV records, and what was asked for.
        self.records: dict[tuple[str, RecordKind], list[Record]] = {}
        self.questions: list[tuple[str, RecordKind]] = []
        #: Names whose look-up takes until the test answers it.
        self.slow: dict[str, Deferred[list[str]]] = {}
        self._last_port = 40000
        self.open_files = 1024

    def open_datagram_port(self, address: Address, received: DatagramReceived) -> FakePort:
        if address in self.ports:
            raise OSError("taken")
        self.ports[address] = FakePort(self, address, received)
        return self.ports[address]

    def listen_stream(self, address: Address, factory: IProtocolFactory) -> FakeListener:
        self.listeners[address] = FakeListener(self, address, factory)
        return self.listeners[address]

    def connect_stream(self, destination: Address, factory: IProtocolFactory, timeout: float) -> Deferred[IProtocol]:
        waiting: Deferred[IProtocol] = Deferred()
        self.attempts.append((destination, factory, waiting))
        return waiting

    def resolve(self, name: str) -> Deferred[list[str]]:
        if name in self.slow:
            return self.slow[name]
        return succeed(self.names[name]) if name in self.names else fail(OSError(f"{name} unknown"))

    def lookup(self, name: str, kind: RecordKind) -> Deferred[Answer]:
        self.questions.append((name, kind))
        if kind in ("SRV", "NAPTR"):
            return succeed(Answer(tuple(self.records.get((name, kind), ())), 0.0))
        answer: Deferred[Answer] = Deferred(lambda _: found.cancel())
        found = self.resolve(name)
        found.addCallbacks(
            lambda got: answer.callback(Answer(tuple(one for one in got if (":" in one) == (kind == "AAAA")), 0.0)),
            lambda failure: None if answer.called else answer.errback(failure),
        )
        return answer

    def source_address(self, destination: Address) -> str:
        return "2001:db8::1" if ":" in destination[0] else US[0]

    def run_in_thread(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        raise NotImplementedError

    # What tests do

    def accept(self) -> FakeWire:
        """Let the oldest connection attempt of ours succeed."""
        destination, factory, waiting = self.attempts.pop(0)
        wire = self._wire(factory, destination)
        waiting.callback(wire.protocol)
        return wire

    def refuse(self) -> None:
        """Let the oldest connection attempt of ours fail."""
        self.attempts.pop(0)[2].errback(ConnectError("refused"))

    def connect(self, remote: Address, local: Address = US) -> FakeWire:
        """Open a connection to a listener of ours."""
        return self._wire(self.listeners[local].factory, remote, local)

    def _wire(self, factory: IProtocolFactory, remote: Address, local: Address | None = None) -> FakeWire:
        if local is None:
            self._last_port += 1
            local = (US[0], self._last_port)
        wire = FakeWire(self, local, remote)
        protocol = factory.buildProtocol(wire.getPeer())
        assert protocol is not None
        wire.protocol = protocol
        self.wires.append(wire)
        protocol.makeConnection(wire)  # type: ignore[arg-type]
        return wire

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps small enough that timers set on the way come in order."""
        end = self.clock.seconds() + seconds
        while True:
            calls = [call.getTime() for call in self.clock.getDelayedCalls() if call.getTime() <= end]
            if not calls:
                break
            self.clock.advance(max(0.0, min(calls) - self.clock.seconds()))
        self.clock.advance(max(0.0, end - self.clock.seconds()))


class Peer:
    """A remote UDP address, spoken for by the test."""

    def __init__(self, host: FakeHost, address: Address = BOB, us: Address = US) -> None:
        self.host = host
        self.address = address
        self.us = us
        self.inbox: list[Request | Response] = []
        host.peers[address] = self

    def arrived(self, data: bytes) -> None:
        message = parse_message(data)
        assert message is not None
        self.inbox.append(message)

    def take(self) -> list[Any]:
        """Return the messages that came since the last look."""
        taken, self.inbox = self.inbox, []
        return taken

    def one(self) -> Any:
        """Return the only message that came since the last look."""
        taken = self.take()
        assert len(taken) == 1, [one.start_line for one in taken]
        return taken[0]

    def lines(self) -> list[str]:
        """Return the start lines of what came since the last look, methods and statuses only."""
        return [line(one) for one in self.take()]

    def send(self, message: Message | bytes) -> None:
        """Send to us."""
        data = message if isinstance(message, bytes) else message.to_bytes()
        self.host.ports[self.us].received(data, self.address)

    def respond(
        self,
        request: Request,
        status: int,
        tag: str | None = "b",
        body: bytes = b"",
        contact: str | None = "<sip:bob@192.0.2.2>",
        **fields: str,
    ) -> Response:
        """Answer a request of ours; returns the response, to be sent again."""
        response = respond(request, status, to_tag=tag)
        if contact is not None and request.method == "INVITE" and 100 < status < 300:
            response.set("Contact", contact)
        for name, value in fields.items():
            response.set(name.replace("_", "-"), value)
        if body:
            response.set("Content-Type", "application/sdp")
            response.body = body
        self.send(response)
        return response


def line(message: Request | Response) -> str:
    """Return a message in a word: ``INVITE``, or ``200 INVITE``."""
    if isinstance(message, Request):
        return message.method
    return f"{message.status} {message.cseq.method}"


class Witness:
    """A session observer that writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.arguments: list[tuple[Any, ...]] = []
        #: What answers a re-INVITE: SDP, or an exception to be raised.
        self.answer: bytes | Exception | None = ANSWER
        #: What to do when something is heard, by its name.
        self.then: dict[str, Callable[..., Any]] = {}

    def note(self, what: str, *arguments: Any) -> None:
        self.heard.append(what)
        self.arguments.append(arguments)
        if what.partition(" ")[0] in self.then:
            self.then[what.partition(" ")[0]](*arguments)

    def session_progress(self, session: Session, response: Response) -> None:
        self.note(f"progress {response.status}", session, response)

    def session_answered(self, session: Session, response: Response) -> None:
        self.note("answered", session, response)

    def session_refused(self, session: Session, status: int, reason: str, response: Response | None) -> None:
        self.note(f"refused {status}", session, reason, response)

    def session_cancelled(self, session: Session, request: Request | None) -> None:
        self.note("cancelled", session, request)

    def session_confirmed(self, session: Session, ack: Request) -> None:
        self.note("confirmed", session, ack)

    def session_unconfirmed(self, session: Session) -> None:
        self.note("unconfirmed", session)

    def session_offered(self, session: Session, request: Request) -> bytes | None:
        self.note("offered", session, request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def session_offer(self, session: Session, purpose: object) -> bytes:
        self.note(f"offer {purpose}", session)
        return OFFER

    def session_offer_answered(self, session: Session, purpose: object, answer: bytes) -> None:
        self.note(f"offer answered {purpose}", session, answer)

    def session_offer_withdrawn(self, session: Session) -> None:
        self.note("offer withdrawn", session)

    def session_offer_refused(self, session: Session, purpose: object, status: int, reason: str) -> None:
        self.note(f"offer refused {purpose} {status}", session, reason)

    def session_answer_in_ack(self, session: Session, ack: Request) -> None:
        self.note("answer in ack", session, ack)

    def session_key(self, session: Session, key: str) -> None:
        self.note(f"key {key}", session)

    def session_redirected(self, session: Session, target: SipUri) -> None:
        self.note(f"redirected {target}", session)

    def session_answer_in_prack(self, session: Session, prack: Request) -> bool:
        self.note("answer in prack", session, prack)
        return bool(prack.body)

    def session_referred(self, session: Session, referred: Referred) -> None:
        self.note("referred", session, referred)

    def session_ended(self, session: Session, request: Request | None) -> None:
        self.note("ended", session, request)


def uri(text: str) -> SipUri:
    """Return a SIP URI."""
    parsed = parse_uri(text)
    assert isinstance(parsed, SipUri)
    return parsed


class World:
    """A user agent that listens at `US`, and a peer at `BOB`."""

    def __init__(self, *transports: str) -> None:
        self.host = FakeHost()
        self.clock = self.host.clock
        self.agent = UserAgent(self.host)
        for transport in transports or ("udp",):
            self.agent.listen(transport, US)
        self.bob = Peer(self.host)
        self.witness = Witness()
        self.sessions: list[Any] = []
        self._number = 0

    def dial(self, target: str = "sip:bob@192.0.2.2", **options: Any) -> Any:
        """Send an INVITE to Bob."""
        return self.agent.invite(
            uri(target),
            from_=NameAddr("Alice", "sip:alice@192.0.2.1"),
            offer=options.pop("offer", OFFER),
            observer=options.pop("observer", self.witness),
            **options,
        )

    def answered(self, **options: Any) -> tuple[Any, Request]:
        """Call Bob, who answers; return the session and the INVITE."""
        session = self.dial(**options)
        invite = self.bob.one()
        self.bob.respond(invite, 200, body=ANSWER)
        assert self.bob.lines() == ["ACK"]
        return session, invite

    def welcome(self) -> None:
        """Take INVITEs in; the sessions are kept in ``sessions``."""

        def arrived(session: Any) -> None:
            session.observer = self.witness
            self.sessions.append(session)

        self.agent.on_invite = arrived

    def request(
        self,
        method: str = "INVITE",
        *,
        to_tag: str | None = None,
        cseq: int = 1,
        call_id: str = "call-1",
        branch: str | None = None,
        body: bytes = OFFER,
        **fields: str | None,
    ) -> Request:
        """Return a request as Bob would send it; fields given as None are left out, underscores are hyphens."""
        self._number += 1
        request = Request(method, "sip:alice@192.0.2.1", body if method == "INVITE" else b"")
        values: dict[str, str | None] = {
            "Via": f"SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK{branch or f'bob{self._number}'}",
            "Max-Forwards": "70",
            "From": "<sip:bob@192.0.2.2>;tag=b",
            "To": "<sip:alice@192.0.2.1>" + (f";tag={to_tag}" if to_tag else ""),
            "Call-ID": call_id,
            "CSeq": f"{cseq} {method}",
        }
        if method == "INVITE":
            values["Contact"] = "<sip:bob@192.0.2.2>"
            if body:
                values["Content-Type"] = "application/sdp"
        values.update({name.replace("_", "-").removesuffix("-"): value for name, value in fields.items()})
        for name, value in values.items():
            if value is not None:
                request.set(name, value)
        return request

    def called(self) -> tuple[Any, Request]:
        """Let Bob call; return the session and the INVITE. The 100 is taken from Bob's inbox."""
        self.welcome()
        invite = self.request()
        self.bob.send(invite)
        assert self.bob.lines() == ["100 INVITE"]
        return self.sessions[-1], invite

    def talking(self) -> tuple[Any, Request, str]:
        """Let Bob call and us answer; return the session, the INVITE and our tag."""
        session, invite = self.called()
        session.answer(ANSWER)
        tag = self.bob.one().to.tag
        self.bob.send(self.request("ACK", to_tag=tag))
        return session, invite, tag

    def ack(self, invite: Request, response: Response) -> Request:
        """Return Bob's ACK of our refusal (RFC 3261 17.1.1.3)."""
        ack = Request("ACK", invite.uri)
        for name in ("Via", "From", "Call-ID"):
            ack.set(name, invite.get(name) or "")
        ack.set("To", response.get("To") or "")
        ack.set("CSeq", f"{invite.cseq.number} ACK")
        return ack

    def cancel(self, invite: Request) -> Request:
        """Return Bob's CANCEL of his INVITE (RFC 3261 9.1)."""
        cancel = Request("CANCEL", invite.uri)
        for name in ("Via", "From", "To", "Call-ID"):
            cancel.set(name, invite.get(name) or "")
        cancel.set("CSeq", f"{invite.cseq.number} CANCEL")
        return cancel

    def bye(self, ours: Request, tag: str = "b", cseq: int = 1, method: str = "BYE") -> Request:
        """Return a request of Bob's in the dialog of our INVITE."""
        request = self.request(method, call_id=ours.call_id, cseq=cseq)
        request.set("From", f"<sip:bob@192.0.2.2>;tag={tag}")
        request.set("To", f"<sip:alice@192.0.2.1>;tag={ours.from_.tag}")
        return request

    def leftovers(self) -> list[str]:
        """Let all transactions run out; return what is left: timers, transactions, sessions."""
        self.host.advance(3 * 32)
        agent = self.agent
        left = [str(call) for call in self.clock.getDelayedCalls()]
        left += [str(one) for one in (*agent.transactions.client, *agent.transactions.server, *agent._sessions)]
        left += [str(one) for one in (*agent.transactions.merging, *agent.finder.waiting, *agent.finder.lookups)]
        return left
