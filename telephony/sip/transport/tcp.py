"""SIP over TCP: connections, ours and theirs, each used both ways while it lasts (RFC 3261 18).

Owns: listening, connecting, what is queued until a connection is open, and who is told when it fails. Must not know
what a message means.
"""

from __future__ import annotations

from typing import cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IPushProducer, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from telephony.interfaces import Address, DelayedCall, Host, StreamListener
from telephony.sip.flow import FlowWatcher
from telephony.sip.parser import KeepAlive, StreamParser, UnparsableMessage
from telephony.sip.transport.base import OwnAddress, TransportUser

#: How long a connection may take to open, in seconds; the transaction's own timers go on meanwhile.
CONNECT_TIMEOUT = 10.0
#: How long a connection that is being closed may take to send what is left, in seconds.
CLOSE_TIMEOUT = 2.0
#: How many bytes wait for a connection to open, or for a slow peer, before the connection is given up.
MAX_QUEUE = 1 << 18
#: How many connections there are at a time; further ones are closed as soon as they come.
MAX_CONNECTIONS = 8192


class TcpFlow:
    """One TCP connection: being opened, open, or over.

    What is sent before it is open waits, in order. Watchers are told when it could not be opened or has ended, in a
    turn of the clock of their own.
    """

    __slots__ = (
        "_attempt",
        "_closed",
        "_closing",
        "_local",
        "_owner",
        "_paused",
        "_pending",
        "_queue",
        "_watchers",
        "_wire",
        "remote",
        "usable",
    )

    transport = "TCP"
    reliable = True

    def __init__(self, owner: TcpTransport, remote: Address) -> None:
        self._owner = owner
        self.remote = remote
        self.usable = True
        self._local: Address | None = None
        self._wire: ITCPTransport | None = None
        self._attempt: Deferred[IProtocol] | None = None
        self._queue: list[bytes] = []
        #: Bytes that wait: for the connection to open, or for a peer that doesn't read.
        self._pending = 0
        self._paused = False
        self._watchers: dict[FlowWatcher, None] = {}
        self._closed: list[Deferred[None]] = []
        self._closing: DelayedCall | None = None

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
        return self._attempt is not None

    def send(self, data: bytes) -> None:
        """Send one message, or keep it until the connection is open."""
        owner = self._owner
        if not self.usable:
            owner.user.counters["lost_with_connection"] += 1
            return
        if self._wire is None or self._paused:
            self._pending += len(data)
            if self._pending > MAX_QUEUE:
                owner.user.counters["connections_too_slow"] += 1
                self._fail("the peer doesn't take what is sent")
                return
        if self._wire is None:
            self._queue.append(data)
        else:
            self._write(data)

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

    # The connection

    def open(self) -> None:
        """Begin to connect."""
        owner = self._owner
        self._attempt = attempt = owner.host.connect_stream(self.remote, _OneFlow(self), CONNECT_TIMEOUT)
        attempt.addErrback(self._not_opened)

    def _not_opened(self, failure: Failure) -> None:
        self._attempt = None
        if not isinstance(failure.value, CancelledError):
            self._fail(f"no connection to {self.remote[0]} port {self.remote[1]}: {failure.getErrorMessage()}")

    def opened(self, wire: ITCPTransport) -> None:
        """Take note that the connection is open, and send what waited."""
        self._attempt = None
        if not self.usable:
            wire.abortConnection()
            return
        self._wire = wire
        here = wire.getHost()
        self._local = (here.host, here.port)
        wire.setTcpNoDelay(True)
        wire.setTcpKeepAlive(True)
        wire.registerProducer(_Pace(self), True)  # type: ignore[attr-defined]
        self._pending = 0
        queue, self._queue = self._queue, []
        for data in queue:
            self._write(data)

    def lost(self, reason: str) -> None:
        """Take note that the connection has ended."""
        self._wire = None
        self._fail(reason)

    def pace(self, paused: bool) -> None:
        """Take note of whether the peer reads; Twisted says so again at each write."""
        if paused is not self._paused:
            self._paused = paused
            self._pending = 0

    def trace_received(self, data: bytes) -> None:
        """Trace a piece of the stream that came."""
        self._owner.user.traced(self.remote, self.local, "TCP", data, False)

    def _write(self, data: bytes) -> None:
        assert self._wire is not None
        user = self._owner.user
        if user.tracing:
            user.traced(self.local, self.remote, "TCP", data, True)
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


class _Connection(Protocol):
    """Twisted's end of a `TcpFlow`: cuts the stream into messages."""

    def __init__(self, flow: TcpFlow, user: TransportUser) -> None:
        self._flow = flow
        self._user = user
        self._parser = StreamParser()
        self._deaf = False

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Open the flow."""
        self._flow.opened(cast(ITCPTransport, self.transport))

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Pass on each message that is complete; end the connection when none can be found any more."""
        user, flow = self._user, self._flow
        if self._deaf:
            return
        if user.tracing:
            flow.trace_received(data)
        broken: UnparsableMessage | None = None
        try:
            messages = self._parser.feed(data)
        except UnparsableMessage as error:
            messages = list(error.messages)
            broken = error
        for message in messages:
            if isinstance(message, KeepAlive):
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
        self._flow.lost(reason.getErrorMessage())


@implementer(IProtocolFactory)
class _OneFlow:
    """Makes the protocol of a connection that we open."""

    __slots__ = ("_flow",)

    noisy = False

    def __init__(self, flow: TcpFlow) -> None:
        self._flow = flow

    def buildProtocol(self, addr: IAddress) -> IProtocol:  # noqa: N802 - Twisted's name
        """Return the protocol."""
        return _Connection(self._flow, self._flow._owner.user)

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""

    def doStop(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""


@implementer(IProtocolFactory)
class _Accepting:
    """Makes the protocols of connections that we accept."""

    __slots__ = ("_owner",)

    noisy = False

    def __init__(self, owner: TcpTransport) -> None:
        self._owner = owner

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:  # noqa: N802 - Twisted's name
        """Return the protocol; None closes the connection."""
        flow = self._owner.accepted((addr.host, addr.port))  # type: ignore[attr-defined]
        return None if flow is None else _Connection(flow, self._owner.user)

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""

    def doStop(self) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""


class TcpTransport:
    """A listening TCP port for SIP, and all connections accepted or opened on its behalf.

    Raises OSError when the port can't be had. ``address`` is what our Via and Contact say over TCP: a peer whose
    connection is gone opens a new one there.
    """

    __slots__ = ("_all", "_by_remote", "_listener", "_own", "address", "host", "user")

    transport = "TCP"

    def __init__(self, host: Host, address: Address, user: TransportUser) -> None:
        self.host = host
        self.user = user
        self._listener: StreamListener = host.listen_stream(address, _Accepting(self))
        self.address = self._listener.address
        self._own = OwnAddress(host, self.address)
        #: The connection to use for a remote address: the newest.
        self._by_remote: dict[Address, TcpFlow] = {}
        self._all: set[TcpFlow] = set()

    def host_towards(self, remote: Address) -> str:
        """Return our IP address as ``remote`` sees it."""
        return self._own.towards(remote)[0]

    def flow(self, remote: Address) -> TcpFlow:
        """Return the connection to a remote address; a new one is begun where there is none."""
        flow = self._by_remote.get(remote)
        if flow is None:
            flow = self._enter(remote)
            flow.open()
        return flow

    def accepted(self, remote: Address) -> TcpFlow | None:
        """Return the flow of a connection that came; None when there are too many."""
        if len(self._all) >= MAX_CONNECTIONS:
            self.user.counters["connections_refused"] += 1
            return None
        return self._enter(remote)

    def _enter(self, remote: Address) -> TcpFlow:
        flow = TcpFlow(self, remote)
        self._by_remote[remote] = flow
        self._all.add(flow)
        return flow

    @property
    def opening(self) -> bool:
        """Whether a connection of ours is being opened."""
        return any(flow.opening for flow in self._all)

    def drop(self, flow: TcpFlow) -> None:
        """Forget a flow that is of no more use."""
        self._all.discard(flow)
        if self._by_remote.get(flow.remote) is flow:
            del self._by_remote[flow.remote]

    def close(self) -> Deferred[None]:
        """Stop listening and close all connections; fires when they are closed."""
        waiting = [self._listener.close(), *(flow.close() for flow in tuple(self._all))]
        done: Deferred[object] = DeferredList(waiting, consumeErrors=True)  # type: ignore[assignment]
        return done.addCallback(lambda _: None)
