"""One connection for SIP, ours or a peer's, over TCP or TLS: a flow used both ways while it lasts (RFC 3261 18).

Owns: what is queued until a connection is open, who is told when it fails, cutting the stream into messages, the ping
and its answer (RFC 5626 4.4.1), and how long things may take. Must not know listening, what a message means, nor when
its times are up: the transport asks by `TcpFlow.overdue`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from telephony.interfaces import Address, DelayedCall
from telephony.sip.flow import FlowWatcher
from telephony.sip.parser import KeepAlive, Pong, StreamParser, UnparsableMessage
from telephony.sip.transport.base import TransportUser
from telephony.sip.transport.tls import in_words
from telephony.trace.masking import StreamMask, masked

if TYPE_CHECKING:
    from telephony.sip.transport.tcp import TcpTransport

#: How long a connection may take to open, in seconds; the transaction's own timers go on meanwhile.
CONNECT_TIMEOUT = 10.0
#: How long a connection that is being closed may take to send what is left, in seconds.
CLOSE_TIMEOUT = 2.0
#: How many bytes wait for a connection to open, or for a slow peer, before the connection is given up.
MAX_QUEUE = 1 << 18
#: How long a TLS handshake may take; how long a message may, from its first byte to its last; how long whoever connects
#: to us may take to say anything; and how long a connection that no dialog needs is kept in silence. In seconds.
HANDSHAKE_TIMEOUT = 10.0
MESSAGE_TIMEOUT = 10.0
GREETING_TIMEOUT = 30.0
IDLE_TIMEOUT = 600.0


class TcpFlow:
    """One connection: being opened, open, or over. ``name`` is the host whose certificate it must show (TLS, ours).

    What is sent before it is open waits, in order. Watchers are told when it could not be opened or has ended, in a
    turn of the clock of their own. Whoever needs it beyond a dialog (a registration) says so by `hold`.
    """

    __slots__ = (
        "_active_at",
        "_attempt",
        "_closed",
        "_closing",
        "_greeted",
        "_held",
        "_local",
        "_owner",
        "_partial_at",
        "_paused",
        "_pending",
        "_protocol",
        "_queue",
        "_ready",
        "_since",
        "_watchers",
        "_wire",
        "incoming",
        "name",
        "remote",
        "transport",
        "usable",
    )

    reliable = True

    def __init__(self, owner: TcpTransport, remote: Address, name: str | None = None, incoming: bool = False) -> None:
        self._owner = owner
        self.remote = remote
        self.name = name
        self.incoming = incoming
        self.transport = owner.transport
        self.usable = True
        self._local: Address | None = None
        self._wire: ITCPTransport | None = None
        self._protocol: Connection | None = None
        #: Whether what is sent goes out: the connection is open, and what TLS asks for is done.
        self._ready = False
        self._attempt: Deferred[IProtocol] | None = None
        self._queue: list[bytes] = []
        #: Bytes that wait: for the connection to open, or for a peer that doesn't read.
        self._pending = 0
        self._paused = False
        self._watchers: dict[FlowWatcher, None] = {}
        self._closed: list[Deferred[None]] = []
        self._closing: DelayedCall | None = None
        self._since = self._active_at = owner.host.clock.seconds()
        self._partial_at: float | None = None
        self._greeted = not incoming
        self._held = 0

    @property
    def local(self) -> Address:
        """Our end; its port is 0 while the connection is being opened."""
        if self._local is None:
            return self._owner.host_towards(self.remote), 0
        return self._local

    @property
    def listener(self) -> TcpTransport:
        """The listening port on whose behalf it exists."""
        return self._owner

    @property
    def opening(self) -> bool:
        """Whether what is sent still waits for the connection to open."""
        return self.usable and not self._ready and not self.incoming

    def send(self, data: bytes) -> None:
        """Send one message, or keep it until the connection is open."""
        owner = self._owner
        if not self.usable:
            owner.user.counters["lost_with_connection"] += 1
            return
        if not self._ready or self._paused:
            self._pending += len(data)
            if self._pending > MAX_QUEUE:
                owner.user.counters["connections_too_slow"] += 1
                self._fail("the peer doesn't take what is sent")
                return
        if not self._ready:
            self._queue.append(data)
        else:
            self._write(data)

    def ping(self, answered: Callable[[], None]) -> None:
        """Send a CRLF CRLF; ``answered`` is called when its CRLF comes (RFC 5626 4.4.1)."""
        if self._protocol is not None and self._ready:
            self._protocol.ping(answered)

    def hold(self) -> None:
        """Keep the connection however long it is silent, until `let_go`; as often as it is called."""
        self._held += 1

    def let_go(self) -> None:
        """End a `hold`."""
        self._held -= 1

    def watch(self, watcher: FlowWatcher) -> None:
        """Tell ``watcher`` when the connection fails; soon, when it is over already."""
        self._watchers[watcher] = None
        if not self.usable:
            self._tell("the connection is closed")

    def unwatch(self, watcher: FlowWatcher) -> None:
        """Forget ``watcher``."""
        self._watchers.pop(watcher, None)

    def close(self) -> Deferred[None]:
        """Send what is left and close; fires when it is closed, at the latest after `CLOSE_TIMEOUT`."""
        if not self.usable and self._wire is None:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._closed.append(done)
        if self._wire is None:
            self._fail("closed")
        elif self.usable:
            self.usable = False
            self._owner.drop(self)
            self._wire.loseConnection()
            self._closing = self._owner.host.clock.callLater(CLOSE_TIMEOUT, self._abort)
        return done

    # Time

    def overdue(self, now: float) -> str | None:
        """Return what this connection has taken too long for, as the counter is called, None when nothing."""
        if not self.usable:
            return None
        if self._attempt is not None:
            # The host's own limit comes first; should it ever fail to, nothing waits for ever.
            return "connections_unanswered" if now - self._since >= 2 * CONNECT_TIMEOUT else None
        if not self._ready:
            return "handshakes_too_slow" if now - self._since >= HANDSHAKE_TIMEOUT else None
        if self._partial_at is not None and now - self._partial_at >= MESSAGE_TIMEOUT:
            return "senders_too_slow"
        if not self._greeted and now - self._since >= GREETING_TIMEOUT:
            return "connections_silent"
        if not self._held and not self._watchers and now - self._active_at >= IDLE_TIMEOUT:
            return "connections_idle"
        return None

    def give_up(self, reason: str) -> None:
        """End it at once; watchers are told."""
        self._fail(reason)

    # The connection

    def open(self) -> None:
        """Begin to connect."""
        owner = self._owner
        self._attempt = attempt = owner.host.connect_stream(self.remote, owner.calling(self), CONNECT_TIMEOUT)
        attempt.addCallbacks(lambda _protocol: None, self._not_opened)

    def _not_opened(self, failure: Failure) -> None:
        self._attempt = None
        if not isinstance(failure.value, CancelledError):
            self._fail(f"no connection to {self.remote[0]} port {self.remote[1]}: {failure.getErrorMessage()}")

    def connected(self, wire: ITCPTransport, protocol: Connection) -> bool:
        """Take note that there is a connection; tell whether it is wanted."""
        self._attempt = None
        if not self.usable:
            wire.abortConnection()
            return False
        self._wire = wire
        self._protocol = protocol
        self._since = self._owner.host.clock.seconds()
        here = wire.getHost()
        self._local = (here.host, here.port)
        wire.setTcpNoDelay(True)
        wire.setTcpKeepAlive(True)
        return True

    def ready(self) -> None:
        """Take note that the connection can be used, and send what waited."""
        if not self.usable or self._wire is None:
            return
        self._ready = True
        self._since = self._active_at = self._owner.host.clock.seconds()
        self._wire.registerProducer(_Pace(self), True)  # type: ignore[attr-defined]
        self._pending = 0
        queue, self._queue = self._queue, []
        for data in queue:
            self._write(data)

    def refused(self, reason: str) -> None:
        """End a connection whose peer isn't who it should be."""
        self._owner.user.counters["tls_failures"] += 1
        self._fail(f"no TLS with {self.remote[0]} port {self.remote[1]}: {reason}")

    def lost(self, reason: str) -> None:
        """Take note that the connection has ended."""
        if not self._ready and self.usable and self._owner.transport == "TLS":
            self._owner.user.counters["tls_failures"] += 1
            reason = f"no TLS with {self.remote[0]} port {self.remote[1]}: {reason}"
        self._wire = None
        self._protocol = None
        self._fail(reason)

    def pace(self, paused: bool) -> None:
        """Take note of whether the peer reads; Twisted says so again at each write."""
        if paused is not self._paused:
            self._paused = paused
            self._pending = 0

    def received(self, partial: bool, messages: int) -> None:
        """Take note that bytes came: whether they leave a message unfinished, and how many they completed."""
        now = self._owner.host.clock.seconds()
        self._active_at = now
        self._greeted = self._greeted or messages > 0
        if not partial:
            self._partial_at = None
        elif messages or self._partial_at is None:
            self._partial_at = now

    def trace_received(self, data: bytes) -> None:
        """Trace a piece of the stream that came."""
        self._owner.user.traced(self.remote, self.local, self.transport, data, False)

    def _write(self, data: bytes) -> None:
        assert self._wire is not None
        owner = self._owner
        if owner.user.tracing:
            owner.user.traced(self.local, self.remote, self.transport, masked(data), True)
        self._active_at = owner.host.clock.seconds()
        self._wire.write(data)

    def _fail(self, reason: str) -> None:
        """End the flow, whatever state it is in."""
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        if self._queue:
            self._owner.user.counters["lost_with_connection"] += len(self._queue)
            self._queue = []
        self.usable = False
        self._owner.drop(self)
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.cancel()
        if self._wire is not None:
            self._wire.abortConnection()
        if self._watchers:
            self._tell(reason)
        if self._wire is None:
            closed, self._closed = self._closed, []
            for done in closed:
                done.callback(None)

    def _abort(self) -> None:
        self._closing = None
        if self._wire is not None:
            self._wire.abortConnection()

    def _tell(self, reason: str) -> None:
        self._owner.host.clock.callLater(0, self._tell_now, reason)

    def _tell_now(self, reason: str) -> None:
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers:
            watcher.flow_failed(reason)


@implementer(IPushProducer)
class _Pace:
    """Hears from a connection whether its peer reads what we send."""

    __slots__ = ("_flow",)

    def __init__(self, flow: TcpFlow) -> None:
        self._flow = flow

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Take note that the buffer is full."""
        self._flow.pace(True)

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Take note that the buffer is empty."""
        self._flow.pace(False)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing: `connectionLost` follows."""


@implementer(IHandshakeListener)
class Connection(Protocol):
    """Twisted's end of a `TcpFlow`: cuts the stream into messages."""

    def __init__(self, flow: TcpFlow, user: TransportUser) -> None:
        self._flow = flow
        self._user = user
        self._parser = StreamParser()
        self._mask: StreamMask | None = None
        self._pongs: list[Callable[[], None]] = []
        self._deaf = False
        #: Why the peer's certificate isn't believed.
        self._distrusted = ""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Open the flow; with TLS it isn't ready yet."""
        if not self._flow.connected(cast(ITCPTransport, self.transport), self):
            self._deaf = True
        elif self._flow.transport != "TLS":
            self._flow.ready()

    def distrust(self, reason: str) -> None:
        """Take note of why the peer's certificate isn't believed; `connectionLost` follows."""
        self._distrusted = self._distrusted or f"its certificate {reason}"

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        """TLS is there; see whether this is whom we wanted, and open the flow."""
        flow = self._flow
        identity = flow.listener.tls
        if identity is not None and flow.name is not None:
            refusal = identity.refusal(self.transport.getHandle(), flow.name)  # type: ignore[union-attr]
            if refusal:
                self._deaf = True
                flow.refused(refusal)
                return
        flow.ready()

    def ping(self, answered: Callable[[], None]) -> None:
        """Send a ping."""
        self._parser.pongs_due += 1
        self._pongs.append(answered)
        self._flow.send(b"\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Pass on each message that is complete; end the connection when none can be found any more."""
        user, flow = self._user, self._flow
        if self._deaf:
            return
        if user.tracing:
            if self._mask is None:
                self._mask = StreamMask()
            shown = self._mask.feed(data)
            if shown:
                flow.trace_received(shown)
        broken: UnparsableMessage | None = None
        try:
            messages = self._parser.feed(data)
        except UnparsableMessage as error:
            messages = list(error.messages)
            broken = error
        flow.received(broken is None and self._parser.partial, len(messages))
        for message in messages:
            if isinstance(message, Pong):
                user.counters["keep_alives_answered"] += 1
                self._pongs.pop(0)()
            elif isinstance(message, KeepAlive):
                user.counters["keep_alives"] += 1
                flow.send(b"\r\n")  # RFC 5626 4.4.1; by the flow, so that it counts when the peer doesn't read
            else:
                user.message_received(message, flow)
        if broken is not None:
            self._deaf = True
            user.garbage_received(broken, flow)
            flow.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """End the flow."""
        self._pongs.clear()
        if self._mask is not None and self._user.tracing:
            shown = self._mask.flush()
            if shown:
                self._flow.trace_received(shown)
        why = in_words(reason.value) if reason.value is not None else reason.getErrorMessage()
        self._flow.lost(self._distrusted or why)


@implementer(IProtocolFactory)
class Calling:
    """Makes the protocol of a connection that we open."""

    __slots__ = ("_flow",)

    noisy = False

    def __init__(self, flow: TcpFlow) -> None:
        self._flow = flow

    def buildProtocol(self, addr: IAddress) -> IProtocol:  # noqa: N802 - Twisted's name
        """Return the protocol."""
        return Connection(self._flow, self._flow.listener.user)

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""

    def doStop(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""


@implementer(IProtocolFactory)
class Accepting:
    """Makes the protocols of connections that we accept."""

    __slots__ = ("_owner",)

    noisy = False

    def __init__(self, owner: TcpTransport) -> None:
        self._owner = owner

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # noqa: N802 - Twisted's name
        """Return the protocol; None closes the connection."""
        flow = self._owner.accepted((addr.host, addr.port))  # type: ignore[attr-defined]
        return None if flow is None else Connection(flow, self._owner.user)

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""

    def doStop(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""
