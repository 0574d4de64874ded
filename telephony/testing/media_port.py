"""What makes a UDP port in memory a `telephony.interfaces.MediaPort`: the same short ways as on real sockets.

Owns: who is asked about a datagram. Must not know what a network in memory
does with what is sent.
"""

from __future__ import annotations

from telephony.interfaces import Address, DatagramReceived, ShortWay


class InMemory:
    """To be put before a class that has ``send``, ``received`` and ``close``. It calls `begin`.

    Whoever carries packets gives them to `arrived`.
    """

    received: DatagramReceived

    def begin(self) -> None:
        """Have no short way, and nowhere to send."""
        self._short: ShortWay | None = None
        self._peer: Address = ("", 0)
        self._alone = False
        self._target: Address | None = None
        self._unsent = 0

    def now(self) -> float:
        """Return the time."""
        raise NotImplementedError

    def send(self, data: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send one datagram."""
        raise NotImplementedError

    def aim(self, target: Address | None) -> None:
        """Let `write` send there from now on."""
        self._target = target

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send one datagram to where the port is aimed."""
        if self._target is None:
            raise OSError("a media port with nowhere to send")
        self.send(data, self._target)

    def unsent(self) -> None:
        """Count a packet that `write` could not send."""
        self._unsent += 1

    def post(self, packet: memoryview | bytearray) -> None:
        """Send one datagram to where the port is aimed."""
        try:
            self.write(packet)
        except OSError:
            self.unsent()

    def shorten(self, short: ShortWay | None, peer: Address = ("", 0), alone: bool = False) -> None:
        """Ask ``short`` first about each datagram that comes from ``peer``; None ends that."""
        self._short = short
        self._peer = peer
        self._alone = alone

    def arrived(self, data: bytes, source: Address) -> None:
        """Take a datagram from the network."""
        if self._short is not None:
            if source == self._peer:
                if self._short(memoryview(bytearray(data)), len(data), self.now()):
                    return
            elif self._alone:
                return  # as the system drops what isn't for a connected socket
        self.received(data, source)
