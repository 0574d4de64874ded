"""SIP over UDP: one datagram, one message (RFC 3261 18, RFC 3581), STUN apart (RFC 5626 8).

Owns: one bound port and the flows through it. Must not know what a message means.
"""

from __future__ import annotations

from telephony.interfaces import Address, Host
from telephony.sip.flow import FlowWatcher
from telephony.sip.parser import UnparsableMessage, parse_message
from telephony.sip.stun import is_stun
from telephony.sip.transport.base import OwnAddress, TransportFlow, TransportUser
from telephony.trace.masking import masked

#: What a response begins with.
RESPONSE = b"SIP/"
#: How many flows a port keeps for the next datagram from there.
MAX_FLOWS = 4096


class UdpFlow:
    """Our port and one remote address; the latest ones are kept, so that what waits for stragglers shares them."""

    __slots__ = ("_transport", "remote")

    transport = "UDP"
    reliable = False
    usable = True
    name = None

    def __init__(self, transport: UdpTransport, remote: Address) -> None:
        self._transport = transport
        self.remote = remote

    @property
    def local(self) -> Address:
        """Our end as the peer sees it."""
        return self._transport.own.towards(self.remote)

    def send(self, data: bytes) -> None:
        """Send one message."""
        self._transport.send(data, self.remote)

    def watch(self, watcher: FlowWatcher) -> None:
        """Do nothing: an unconnected UDP socket never fails."""

    def unwatch(self, watcher: FlowWatcher) -> None:
        """Do nothing."""

    def hold(self) -> None:
        """Do nothing: there is no connection to keep."""

    def let_go(self) -> None:
        """Do nothing."""

    @property
    def listener(self) -> UdpTransport:
        """The port it goes through."""
        return self._transport


class UdpTransport:
    """A bound UDP port for SIP. Raises OSError when the port can't be had."""

    __slots__ = ("_flows", "_port", "_user", "address", "own")

    transport = "UDP"

    def __init__(self, host: Host, address: Address, user: TransportUser) -> None:
        self._user = user
        self._flows: dict[Address, UdpFlow] = {}
        self._port = host.open_datagram_port(address, self._received)
        self._port.drained = user.turn
        self.address = self._port.address
        self.own = OwnAddress(host, self.address)

    def flow(self, remote: Address, name: str | None = None) -> UdpFlow:
        """Return the flow to a remote address."""
        flow = self._flows.get(remote)
        if flow is None:
            if len(self._flows) >= MAX_FLOWS:
                self._flows.clear()
            flow = self._flows[remote] = UdpFlow(self, remote)
        return flow

    def send(self, data: bytes, remote: Address) -> None:
        """Send one message."""
        if self._user.tracing and not is_stun(data):
            self._user.traced(self.own.towards(remote), remote, "UDP", masked(data), True)
        self._port.send(data, remote)

    def close(self) -> None:
        """Stop receiving, at once."""
        self._port.close()

    def _received(self, data: bytes, source: Address) -> None:
        user = self._user
        if user.shuns(source, data.startswith(RESPONSE)):
            return
        flow = self._flows.get(source) or self.flow(source)
        if is_stun(data):
            user.stun_received(data, flow)
            return
        if user.tracing:
            user.traced(source, self.own.towards(source), "UDP", masked(data), False)
        if not user.keeps(data, flow):
            self.take(data, flow)
        elif not self._port.draining:
            user.turn(False)

    def take(self, data: bytes, flow: TransportFlow) -> None:
        """Parse a datagram and pass it on."""
        user = self._user
        try:
            message = parse_message(data)
        except UnparsableMessage as error:
            user.garbage_received(error, flow)
            return
        if message is None:
            user.counters["keep_alives"] += 1
        else:
            user.message_received(message, flow)
