"""What a recorded call is played again with: its peers' addresses, its random draws, its trunks, and fewer challenges.

Owns: each of these by itself. Must not know when anything happens: `telephony.testing.played` does.
"""

from __future__ import annotations

import random
import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import cast

import attrs
from twisted.internet.interfaces import IProtocolFactory, ITransport
from twisted.internet.protocol import Factory, Protocol

from telephony.call.destination import Destination
from telephony.errors import Error
from telephony.interfaces import Address, DatagramPort
from telephony.sip.headers import NameAddr
from telephony.sip.message import Request
from telephony.sip.parser import parse_message
from telephony.sip.uri import SipUri, TelUri
from telephony.testing.network import SimulatedHost, SimulatedNetwork
from telephony.trace.ladder import call_id_of
from telephony.trace.recording import Recording, event_of

BRANCH = re.compile(rb"(?im)^(?:via|v)[ \t]*:[^\r\n]*?;[ \t]*branch[ \t]*=[ \t]*([^\s;,]+)")
CSEQ = re.compile(rb"(?im)^cseq[ \t]*:[ \t]*([0-9]+)[ \t]+(\S+)")


def found_in(pattern: re.Pattern[bytes], data: bytes) -> bytes:
    """Return a pattern's first group in a message, b"" where it isn't there."""
    found = pattern.search(data)
    return b"" if found is None else found[1]


def is_response(data: bytes) -> bool:
    """Tell whether a message is a response."""
    return data.startswith(b"SIP/2.0 ")


def without_challenges(recording: Recording) -> tuple[Recording, int]:
    """Return the recording without requests that were challenged (401, 407) and sent again, and how many they were.

    What they were answered with is in no recording, and whoever plays a peer needs no password.
    """
    transactions: dict[tuple[str, bytes], list[int]] = {}
    challenged: list[tuple[str, bytes]] = []
    again: set[tuple[str, bytes, int]] = set()
    keys: dict[int, tuple[str, bytes]] = {}
    for index, entry in enumerate(recording.entries):
        if "in" not in entry and "out" not in entry:
            continue
        data = event_of(entry).data
        key = keys[index] = (call_id_of(data) or "", found_in(BRANCH, data))
        transactions.setdefault(key, []).append(index)
        cseq = CSEQ.search(data)
        if cseq is not None and not is_response(data):
            again.add((key[0], cseq[2], int(cseq[1])))
        if data.startswith((b"SIP/2.0 401", b"SIP/2.0 407")):
            challenged.append(key)
    dropped: set[int] = set()
    count = 0
    for key in dict.fromkeys(challenged):
        request = event_of(recording.entries[transactions[key][0]]).data
        cseq = CSEQ.search(request)
        if cseq is not None and any(a == key[0] and b == cseq[2] and n > int(cseq[1]) for a, b, n in again):
            count += 1
            dropped.update(transactions[key])
    kept = [entry for index, entry in enumerate(recording.entries) if index not in dropped]
    return attrs.evolve(recording, entries=kept), count


class GivenRandom(random.Random):
    """The server's random numbers in a replay: those that were noted come again, the others are always the same."""

    def __init__(self, seed: str, draws: list[list[int]]) -> None:
        super().__init__(seed)
        self._draws = deque(draws)
        self.note: Callable[[int, int, int], None] | None = None

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        """Draw a number: the one that was drawn from the same range then, if it is its turn."""
        low, high = (0, start) if stop is None else (start, stop)
        if self._draws and self._draws[0][:2] == [low, high] and low <= self._draws[0][2] < high:
            drawn = self._draws.popleft()[2]
        else:
            drawn = super().randrange(low, high, step)
        if self.note is not None:
            self.note(low, high, drawn)
        return drawn


class RecordedLines:
    """The trunks and phones of the recorded server, as far as its INVITEs show them: each call goes where it went."""

    def __init__(self, recording: Recording) -> None:
        self._dialled: deque[tuple[SipUri, NameAddr, tuple[NameAddr, ...]]] = deque()
        seen: set[str] = set()
        for event in recording.events():
            if event.sent and event.data.startswith(b"INVITE ") and (call_id_of(event.data) or "") not in seen:
                seen.add(call_id_of(event.data) or "")
                invite = parse_message(event.data)
                if isinstance(invite, Request) and isinstance(uri := invite.parsed_uri, SipUri):
                    caller = attrs.evolve(invite.from_, params={})
                    self._dialled.append((uri, caller, tuple(invite.routes)))

    def number(self, number: TelUri, caller: NameAddr | None, default: NameAddr, trunk: str | None) -> Destination:
        """Return where the call to this number went. Raises `Error` when no call did."""
        return self._next(number.number, caller or default)

    def phone(self, uri: SipUri, caller: NameAddr) -> Destination | None:
        """Return None: what a phone that had signed in was called by is no address of ours in a replay."""
        return None

    def _next(self, number: str, caller: NameAddr) -> Destination:
        digits = re.sub(r"[^0-9*#]", "", number)
        for index, (uri, said, routes) in enumerate(self._dialled):
            if digits and digits in re.sub(r"[^0-9*#]", "", uri.user or ""):
                del self._dialled[index]
                return Destination(uri, said, routes)
        raise Error(f"{number} can't be dialled here: the recording has no call to it, and a replay has no trunk")


class _Stream(Protocol):
    """A peer's end of a connection. What comes is seen elsewhere, by the network."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Say what waits."""
        self._peer.stream = self
        waiting, self._peer.waiting = self._peer.waiting, []
        for data in waiting:
            self.send(data)

    def connectionLost(self, reason: object = None) -> None:  # noqa: N802 - Twisted's name
        """Forget the connection."""
        if self._peer.stream is self:
            self._peer.stream = None

    def send(self, data: bytes) -> None:
        """Write a message."""
        cast(ITransport, self.transport).write(data)


class Peer:
    """One far end's address: how its messages get onto the network."""

    def __init__(self, network: SimulatedNetwork, address: Address, transport: str, calls: bool) -> None:
        self._host: SimulatedHost = network.host(address[0])
        self._port: DatagramPort | None = None
        self.stream: _Stream | None = None
        self.waiting: list[bytes] = []
        factory = Factory.forProtocol(partial(_Stream, self))
        factory.noisy = False
        self._factory = cast(IProtocolFactory, factory)
        if transport == "UDP":
            self._port = self._host.open_datagram_port(address, lambda data, source: None)
        elif not calls:
            self._host.listen_stream(address, self._factory)

    def send(self, data: bytes, destination: Address) -> None:
        """Send a message; a connection that is needed is opened."""
        if self._port is not None:
            self._port.send(data, destination)
        elif self.stream is not None:
            self.stream.send(data)
        else:
            self.waiting.append(data)
            if len(self.waiting) == 1:
                self._host.connect_stream(destination, self._factory, 30).addErrback(lambda failure: None)
