"""What fuzzing asks of each parser, and of a live endpoint; a target raises when something is wrong with ours.

Owns: one function for each target, which takes an input. What a peer may send ends as `RemoteProtocolError`, and as
nothing else; what was read can be written, and reads the same again. Must not know who draws the inputs.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, globalLogPublisher

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.call.exchange import Exchange
from telephony.call.resources.tones import TonePlayer
from telephony.errors import RemoteProtocolError, TelephonyError
from telephony.interfaces import Address
from telephony.rtp.packet import parse_packet
from telephony.rtp.rtcp import parse_compound
from telephony.rtp.telephone_event import PressDetector, parse_event
from telephony.sdp.negotiation import Negotiation
from telephony.sdp.parser import parse_sdp
from telephony.sip.defence import UNLIMITED
from telephony.sip.message import Message, Request, respond
from telephony.sip.parser import StreamParser, UnparsableMessage, parse_message
from telephony.sip.stun import binding_answer, is_stun, parse_stun
from telephony.testing.network import SimulatedNetwork
from tests.fuzz.seeds import BREAK
from tests.test_noise import held

#: What a message says of itself when it is asked; each answer may be that it can't be read.
TYPED = (
    "via",
    "vias",
    "from_",
    "to",
    "cseq",
    "call_id",
    "contacts",
    "contact_star",
    "max_forwards",
    "routes",
    "record_routes",
    "require",
    "supported",
    "content_type",
)

#: Longer inputs than this teach nothing new, and cost time.
MOST_DATAGRAMS = 12
#: Seconds: by then everything of a call is over (3 * 64 * T1, and the ports' quarantine).
AFTERMATH = 200.0


class Fault(Exception):  # noqa: N818 - it is what was found
    """Something of ours went wrong."""


def message(data: bytes) -> None:
    """A message as one datagram: read whole, judged, answered, written and read again."""
    try:
        read = parse_message(data)
    except UnparsableMessage as error:
        if error.partial is not None:
            _answer(error.partial, error.status)
        return
    if read is None:
        return
    for name in TYPED:
        try:
            getattr(read, name)
        except RemoteProtocolError:
            continue
    try:
        read.check()
    except RemoteProtocolError as error:
        _answer(read, error.status)
        return
    _answer(read, 200)
    written = read.to_bytes()
    again = parse_message(written)
    if again is None or again.to_bytes() != written:
        raise Fault(f"{written!r} reads as {again and again.to_bytes()!r}")


def _answer(read: Message, status: int) -> None:
    """Answer a request, whatever it is worth: what is written is a response."""
    if isinstance(read, Request):
        parse_message(respond(read, status, to_tag="fuzz").to_bytes())


def stream(data: bytes) -> None:
    """A stream of messages: whole, and cut into pieces of any size, it is the same messages and the same end."""
    if not data:
        return
    size, rest = data[0] + 1, data[1:]
    whole, pieces = _fed([rest]), _fed([rest[start : start + size] for start in range(0, len(rest), size)])
    if whole != pieces:
        raise Fault(f"{whole!r} in one piece, {pieces!r} in pieces of {size}")


def _fed(pieces: list[bytes]) -> tuple[list[bytes], bool]:
    """Feed a parser; return what came out, and whether it went on to the end."""
    parser, out = StreamParser(), []
    for piece in pieces:
        try:
            came = parser.feed(piece)
        except UnparsableMessage as error:
            out += error.messages
            return [one.to_bytes() if isinstance(one, Message) else b"\r\n" for one in out], False
        out += came
    return [one.to_bytes() if isinstance(one, Message) else b"\r\n" for one in out], True


def sdp(data: bytes) -> None:
    """A description: read, written and read again; offered to us, given as an answer, and previewed as one."""
    try:
        described = parse_sdp(data)
    except RemoteProtocolError:
        described = None
    if described is not None:
        written = described.to_bytes()
        if parse_sdp(written).to_bytes() != written:
            raise Fault(f"{written!r} reads otherwise")
    called = Negotiation("10.0.0.1", 4000, 1)
    try:
        answer, _agreed = called.offered(data)
        parse_sdp(answer)
        called.offered(data)
        parse_sdp(called.current())
    except RemoteProtocolError:
        pass  # it can't be taken as an offer; as an answer it is tried next
    caller = Negotiation("10.0.0.1", 4000, 1)
    caller.offer()
    for take in (caller.preview, caller.answered):
        try:
            take(data)
        except RemoteProtocolError:
            continue


def rtp(data: bytes) -> None:
    """A packet of RTP: read, written and read again; its payload as a telephone event, heard more than once."""
    try:
        packet = parse_packet(data)
    except RemoteProtocolError:
        return
    if parse_packet(bytes(packet.to_bytes())) != packet:
        raise Fault(f"{packet} reads otherwise")
    presses = PressDetector()
    try:
        event = parse_event(packet.payload)
        parse_event(event.to_bytes())
        heard = [presses.feed(packet.ssrc, packet.timestamp, packet.payload) for _ in range(3)]
    except RemoteProtocolError:
        return
    if heard[1] is not None or heard[2] is not None:
        raise Fault(f"one press was heard more than once: {heard}")


def rtcp(data: bytes) -> None:
    """A compound packet of RTCP: what is read of it can be written and read again."""
    try:
        parts = parse_compound(data)
    except RemoteProtocolError:
        return
    for part in parts:
        part.to_bytes()


def stun(data: bytes) -> None:
    """A STUN message: read, and answered as to any address."""
    if not is_stun(data):
        return
    try:
        read = parse_stun(data)
    except RemoteProtocolError:
        return
    for source in (("10.0.0.9", 5060), ("2001:db8::9", 65535)):
        parse_stun(binding_answer(read, source))


def endpoint(data: bytes) -> None:
    """A phone system with an application, to which an input's datagrams are sent: no fault, and nothing stays behind.

    Where a datagram has the word TAG, the tag that the system gave last is put; where it has COPIED, what a response
    copies of the system's last request. RTP and RTCP go to where the system said.
    """
    faults: list[str] = []

    def logged(event: LogEvent) -> None:
        if "log_failure" in event or event.get("isError"):
            faults.append(str(event.get("log_failure") or event))

    globalLogPublisher.addObserver(logged)
    gc_was = gc.isenabled()
    gc.disable()
    try:
        _call(data.split(BREAK)[:MOST_DATAGRAMS], faults)
    finally:
        globalLogPublisher.removeObserver(logged)
        if gc_was:
            gc.enable()
    if faults:
        raise Fault("\n".join(faults))


def _call(datagrams: list[bytes], faults: list[str]) -> None:
    network = SimulatedNetwork(seed=1)
    exchange = Exchange(network.host("10.0.0.1"), rtp_ports=(20000, 20099))
    exchange.user_agent.defence.configure(UNLIMITED)
    server = exchange.listen("udp:10.0.0.1:5060")
    draws = random.Random(len(datagrams))

    async def main(channel: CallChannel) -> None:
        try:
            if draws.random() < 0.5:
                await channel.ring()
            await channel.answer()
            if channel.state() is State.ANSWERED and draws.random() < 0.5:
                TonePlayer(channel)
                await channel.retrievable_transfer(exchange.channel(), "sip:x@10.0.0.9", seconds_timeout=5)
            await channel.wait_for_idle(5)
        except TelephonyError:
            pass  # the call is gone, as any call may be
        finally:
            await channel.hang_up()

    def begin(channel: CallChannel) -> None:
        Deferred.fromCoroutine(main(channel)).addErrback(lambda failure: faults.append(failure.getTraceback()))

    exchange.on_call = begin
    told = {"tag": b"none", "media": b"", "request": b""}

    def heard(data: bytes, _source: Address) -> None:
        if not data.startswith(b"SIP/2.0"):
            copied = (b"Via:", b"From:", b"Call-ID:", b"CSeq:")
            told["request"] = b"\r\n".join(line for line in data.split(b"\r\n") if line.startswith(copied))
        _, found, rest = data.partition(b"\r\nTo: ")
        if found and b";tag=" in rest.partition(b"\r\n")[0]:
            told["tag"] = rest.partition(b"\r\n")[0].partition(b";tag=")[2].partition(b";")[0]
        _, found, rest = data.partition(b"\r\nm=audio ")
        if found:
            told["media"] = rest.partition(b" ")[0]

    port = network.host("10.0.0.9").open_datagram_port(("10.0.0.9", 5060), heard)
    media = network.host("10.0.0.8").open_datagram_port(("10.0.0.8", 4000), heard)
    for data in datagrams:
        if data[:1] >= b"\x80" and told["media"].isdigit():
            media.send(data, ("10.0.0.1", int(told["media"]) & 0xFFFF))
        else:
            port.send(data.replace(b"TAG", told["tag"]).replace(b"COPIED", told["request"]), server)
        network.advance(0.05)
    network.advance(10)
    port.close()
    media.close()
    network.advance(AFTERMATH)
    left = {**held(exchange), "faults": exchange.user_agent.counters["faults"]}
    if any(left.values()):
        raise Fault(f"left behind: {left}")
    exchange.close()
    network.advance(1)
    if network.leftovers():
        raise Fault(f"left behind: {network.leftovers()}")


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (message, stream, sdp, rtp, rtcp, stun, endpoint)
}
