"""The workloads whose instructions are counted: each is a function that does so many units of work.

Run as a program under callgrind by `tests.counts.counting`: ``python -m tests.counts.workloads LIBRARY``, where LIBRARY
is ``marks.c`` compiled. Everything is made from fixed numbers; nothing reads the time, and nothing is drawn at random
but from a seed. ``calibrate`` is plain Python that isn't ours.
"""

from __future__ import annotations

import ctypes
import gc
import re
import struct
import sys
from collections.abc import Callable
from functools import cache

from twisted.internet.defer import Deferred

from telephony.call.channel import CallChannel
from telephony.call.exchange import Exchange
from telephony.call.resources import TonePlayer
from telephony.sip.message import Request, respond
from telephony.sip.parser import parse_message
from tests.counts.bare import BareHost, BarePort

SERVER = "127.0.0.1"
ALICE = "127.0.0.2"
BOB = "127.0.0.3"

_SDP = (
    "v=0\r\no=- 20518 0 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP 0 8 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)


def invite(number: int, routed: bool = True) -> bytes:
    """Return an INVITE of about 1,125 bytes that differs from every other in branch, tag, Call-ID and user."""
    body = _SDP.format(host=ALICE, port=6000 + number % 1000 * 2)
    routes = "Record-Route: <sip:198.51.100.7;lr;ftag=8a7c1f02>\r\nRecord-Route: <sip:198.51.100.9:5062;lr=on>\r\n"
    return (
        f"INVITE sip:+44207{number:07d}@{SERVER}:5060;transport=udp SIP/2.0\r\n"
        f"{routes if routed else ''}"
        f"Via: SIP/2.0/UDP {ALICE}:5060;branch=z9hG4bK5d8e.4f1a92b6.{number};rport\r\n"
        f"Max-Forwards: 68\r\n"
        f'From: "Alice Example" <sip:+44208{number:07d}@example.com;user=phone>;tag=8a7c{number}\r\n'
        f"To: <sip:+44207{number:07d}@example.com;user=phone>\r\n"
        f"Call-ID: 7f3e2c1a-9b8d-4e6f-a0b1-c2d3e4{number:06d}@{ALICE}\r\n"
        f"CSeq: 102 INVITE\r\n"
        f"Contact: <sip:+442079460123@{ALICE}:5060;transport=udp>\r\n"
        f"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE, INFO\r\n"
        f"Supported: timer, replaces\r\n"
        f"User-Agent: Gateway/4.2\r\n"
        f"Subject: {'s' * 120}\r\n"
        f"Content-Type: application/sdp\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def calibrate(units: int) -> None:
    """Do what any Python does: dictionaries, slices, numbers, calls."""
    seen: dict[str, int] = {}
    text = "a:b;c=d,e" * 8
    for unit in range(units):
        for part in text.split(","):
            key, _, value = part.partition(":")
            seen[key] = seen.get(key, 0) + len(value)
        struct.unpack("!HHI", struct.pack("!HHI", unit & 0xFFFF, 7, unit * 3))


def parse(units: int) -> None:
    """Parse INVITEs and read the headers of a dialog, typed."""
    for data in _invites(units):
        message = parse_message(data)
        assert message is not None
        assert message.via.branch
        assert message.from_.tag
        assert message.to.tag is None
        assert message.contacts
        assert len(message.record_routes) == 2
        assert message.cseq.number == 102


@cache
def _invites(units: int) -> list[bytes]:
    return [invite(number) for number in range(units)]


@cache
def _parsed(units: int) -> list[Request]:
    messages = [parse_message(data) for data in _invites(units)]
    return [message for message in messages if isinstance(message, Request)]


def respond_200(units: int) -> None:
    """Build the 200 with SDP to a parsed INVITE, as bytes."""
    body = _SDP.format(host=SERVER, port=20000).encode()
    for request in _parsed(units):
        response = respond(request, 200, to_tag="5f2b1c")
        response.add("Contact", f"<sip:{SERVER}:5060>")
        response.add("Content-Type", "application/sdp")
        response.body = body
        assert response.to_bytes().startswith(b"SIP/2.0 200")


class Switch:
    """A phone system on a `BareHost`, with what it takes to call it, one datagram after the other."""

    def __init__(self, main: Callable[[CallChannel, Exchange], object]) -> None:
        self.host = BareHost(SERVER)
        self.exchange = Exchange(self.host, max_calls=100000, default_from="")
        self.exchange.on_call = lambda channel: main(channel, self.exchange)
        self.exchange.listen(f"udp:{SERVER}:5060")
        self.sip: BarePort = self.host.ports[SERVER, 5060]

    def arrive(self, number: int) -> tuple[bytes, int]:
        """Call it; return the To tag of its 200 and the port that it wants media at."""
        self.sip.last = b""
        self.sip.received(invite(number, routed=False), (ALICE, 5060))
        self.host.clock.advance(0.001)
        found = re.search(rb"\nTo: [^\r]*;tag=([^;\r]+)", self.sip.last)
        media = re.search(rb"\nm=audio (\d+)", self.sip.last)
        assert self.sip.last.startswith(b"SIP/2.0 200"), self.sip.last[:60]
        assert found is not None
        assert media is not None
        self.sip.received(self._request(b"ACK", number, found[1]), (ALICE, 5060))
        return found[1], int(media[1])

    def end(self, number: int, tag: bytes) -> None:
        """Hang up."""
        self.sip.last = b""
        self.sip.received(self._request(b"BYE", number, tag), (ALICE, 5060))
        assert self.sip.last.startswith(b"SIP/2.0 200"), self.sip.last[:60]

    @staticmethod
    def _request(method: bytes, number: int, tag: bytes) -> bytes:
        return (
            b"%s sip:%s:5060 SIP/2.0\r\nVia: SIP/2.0/UDP %s:5060;branch=z9hG4bK%s%d;rport\r\nMax-Forwards: 70\r\n"
            b'From: "Alice Example" <sip:+44208%07d@example.com;user=phone>;tag=8a7c%d\r\n'
            b"To: <sip:+44207%07d@example.com;user=phone>;tag=%s\r\n"
            b"Call-ID: 7f3e2c1a-9b8d-4e6f-a0b1-c2d3e4%06d@%s\r\nCSeq: %d %s\r\nContent-Length: 0\r\n\r\n"
        ) % (
            *(method, SERVER.encode(), ALICE.encode(), method, number, number, number, number, tag, number),
            *(ALICE.encode(), 102 if method == b"ACK" else 103, method),
        )


def _answer(channel: CallChannel, _exchange: Exchange) -> None:
    async def main() -> None:
        await channel.answer()
        await channel.wait_for_idle()

    Deferred.fromCoroutine(main())


def _play(channel: CallChannel, _exchange: Exchange) -> None:
    async def main() -> None:
        await channel.answer()
        TonePlayer(channel).start("BUSY")

    Deferred.fromCoroutine(main())


def _transfer(channel: CallChannel, exchange: Exchange) -> None:
    async def main() -> None:
        await channel.answer()
        TonePlayer(channel)
        other = exchange.channel()
        await channel.retrievable_transfer(other, f"sip:bob@{BOB}", call_from="sip:exchange@example.com")

    Deferred.fromCoroutine(main())


@cache
def _answering() -> Switch:
    return Switch(_answer)


_numbers = iter(range(1, 1 << 24))


def call(units: int) -> None:
    """Answer whole calls: INVITE, 200, ACK, media opened, BYE, 200, media closed."""
    switch = _answering()
    for _ in range(units):
        number = next(_numbers)
        tag, _media = switch.arrive(number)
        switch.end(number, tag)
        switch.host.clock.advance(0.001)


class Relayed:
    """One transferred call, and where its packets come and go."""

    def __init__(self) -> None:
        switch = Switch(_transfer)
        number = next(_numbers)
        _tag, caller = switch.arrive(number)
        switch.host.clock.advance(0.5)
        # The caller's ACK is followed by an INVITE to the target, which answers with its head turned round.
        asked = switch.sip.last
        assert asked.startswith(b"INVITE"), asked[:60]
        head, _, offer = asked.partition(b"\r\n\r\n")
        kept = [line for line in head.split(b"\r\n") if re.match(rb"(Via|From|To|Call-ID|CSeq):", line)]
        kept = [line + b";tag=b0b" if line.startswith(b"To:") else line for line in kept]
        contact = b"Contact: <sip:%s:5060>" % BOB.encode()
        body = _SDP.format(host=BOB, port=7000).encode()
        about = (b"Content-Type: application/sdp", b"Content-Length: %d" % len(body), b"", body)
        switch.sip.received(b"\r\n".join([b"SIP/2.0 200 OK", *kept, contact, *about]), (BOB, 5060))
        switch.host.clock.advance(0.01)
        assert switch.sip.last.startswith(b"ACK"), switch.sip.last[:60]
        media = re.search(rb"\nm=audio (\d+)", offer)
        assert media is not None
        self.come = switch.host.ports[SERVER, caller]
        self.go = switch.host.ports[SERVER, int(media[1])]
        self.source = (ALICE, 6000 + number % 1000 * 2)
        self.sequence = 0


@cache
def _relayed() -> Relayed:
    return Relayed()


def relay(units: int) -> None:
    """Pass packets of one law from the caller to the target of a transferred call."""
    call = _relayed()
    before = call.go.sent
    audio = bytes(160)
    for _ in range(units):
        call.sequence += 1
        header = struct.pack("!BBHII", 0x80, 0, call.sequence & 0xFFFF, call.sequence * 160 & 0xFFFFFFFF, 0x5EED)
        call.come.arrived(header + audio, call.source)
    assert call.go.sent - before == units, (call.go.sent - before, units)
    assert call.go.last.endswith(audio)


#: How many calls a turn of the media clock is counted with.
PLAYING = 50


@cache
def _playing() -> Switch:
    switch = Switch(_play)
    for _ in range(PLAYING):
        switch.arrive(next(_numbers))
    return switch


def tick(units: int) -> None:
    """Give each of fifty calls that hear a tone so many frames of 20 ms."""
    switch = _playing()
    ports = [port for (_, number), port in switch.host.ports.items() if number != 5060 and not number % 2]
    before = sum(port.sent for port in ports)
    switch.host.clock.advance(units * 0.02)
    assert abs(sum(port.sent for port in ports) - before - PLAYING * units) <= PLAYING


#: The workloads by name: what does them, how many units are done before counting, and how many are counted.
WORKLOADS: dict[str, tuple[Callable[[int], None], int, int]] = {
    "calibrate": (calibrate, 200, 1000),
    "parse": (parse, 100, 400),
    "respond": (respond_200, 100, 400),
    "call": (call, 60, 120),
    "relay": (relay, 500, 2000),
    "tick": (tick, 20, 40),
}


def main(library: str) -> None:
    """Do them all, between the marks."""
    marks = ctypes.CDLL(library)
    for name, (work, before, units) in WORKLOADS.items():
        work(before)
        if work in (parse, respond_200):
            _invites(units)
            _parsed(units)
        gc.collect()
        gc.freeze()
        marks.counts_begin()
        work(units)
        marks.counts_end(ctypes.c_char_p(name.encode()))


if __name__ == "__main__":
    main(sys.argv[1])
