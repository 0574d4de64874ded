"""What an RTP session needs below it, and what it expects above it.

Owns: the two seams of `telephony.rtp.session`. Must not know who is on their other sides.
"""

from __future__ import annotations

from typing import Protocol

from telephony.interfaces import Address, DatagramPort, DatagramReceived, MediaPort, ShortWay


class MediaPorts(Protocol):
    """What a session needs of a pair of ports; `telephony.rtp.ports.PortPair` is one."""

    @property
    def address(self) -> Address:
        """Where RTP is received."""

    @property
    def rtp(self) -> MediaPort:
        """The port for RTP."""

    @property
    def rtcp(self) -> DatagramPort:
        """The port for RTCP."""

    def receive(self, on_rtp: DatagramReceived, on_rtcp: DatagramReceived) -> None:
        """Call these with each datagram from now on."""

    def shorten(self, short: ShortWay | None, peer: Address = ("", 0), alone: bool = False) -> bool:
        """Ask ``short`` first about RTP; see `MediaPort.shorten`. False: these ports have to see each packet."""

    def close(self) -> None:
        """Give the ports back."""


class RtpReceiver(Protocol):
    """Who gets what a session accepts. ``datagram[start:end]`` is the payload.

    ``sequence`` is extended beyond 16 bits and rises; a packet that comes late has a lower one, none comes twice.
    ``now`` is the clock's time of arrival.
    """

    def audio(
        self,
        codec: str,
        datagram: bytes,
        start: int,
        end: int,
        sequence: int,
        timestamp: int,
        marker: bool,
        now: float,
    ) -> None:
        """Take a packet of audio."""

    def event(
        self, datagram: bytes, start: int, end: int, sequence: int, timestamp: int, marker: bool, now: float
    ) -> None:
        """Take a packet of a telephone event; of each press there are many."""

    def restarted(self) -> None:
        """Hear that another stream begins: sequence and timestamps have no relation to what came before."""
