"""Messages one by one: the process that the rows ``parse`` and ``build`` measure.

    python -m bench.messages parse|build|negotiate COUNT

``COUNT`` INVITEs of 1,125 bytes, all different in branch, tags, Call-ID and user, each looked at once, so that nothing
remembered of one helps with the next. Prints JSON: ``us``, microseconds of processor time a message. ``parse`` reads
Via, From, To, Contact, Record-Route and CSeq, typed, within the time, and compares what it read with what was written
afterwards; a malformed message among each hundred (outside the time) has to raise.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any

from telephony.errors import RemoteProtocolError
from telephony.sdp.negotiation import Negotiation
from telephony.sip.message import Request, respond
from telephony.sip.parser import parse_message

SIZE = 1125
_SDP = (
    b"v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n"
    b"m=audio 54400 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)
_ANSWER = (
    b"v=0\r\no=- 7 0 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\n"
    b"m=audio 20000 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)


def invite(number: int) -> bytes:
    """Return the INVITE of that number, made up to its size by a comment of its sender."""
    head = (
        f"INVITE sip:+4420{number:08d}@192.0.2.10:5060;transport=udp SIP/2.0\r\n"
        f"Record-Route: <sip:198.51.100.7;lr;ftag=a{number:07x}>\r\n"
        "Record-Route: <sip:198.51.100.9:5062;lr=on>\r\n"
        f"Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK5d8e.4f1a92b6.{number};rport\r\n"
        f"Via: SIP/2.0/UDP 203.0.113.1:5060;received=203.0.113.1;branch=z9hG4bK-{number}-1---c0ffee\r\n"
        f'From: "Alice Example" <sip:+4420{number * 7 % 10**8:08d}@example.com;user=phone>;tag=a{number:07x}\r\n'
        f"To: <sip:+4420{number:08d}@example.com;user=phone>\r\n"
        f"Call-ID: 7f3e2c1a-9b8d-4e6f-a0b1-{number:012x}@203.0.113.1\r\n"
        f"CSeq: {number + 1} INVITE\r\n"
        f"Contact: <sip:+4420{number:08d}@203.0.113.1:5060;transport=udp>\r\n"
        "Max-Forwards: 68\r\n"
        "Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE, INFO\r\n"
        "Supported: timer, replaces\r\n"
        "User-Agent: Gateway/4.2\r\n"
        "Content-Type: application/sdp\r\n"
    ).encode()
    tail = b"Content-Length: %d\r\n\r\n" % len(_SDP) + _SDP
    room = SIZE - len(head) - len(tail) - len(b"Subject: \r\n")
    return head + b"Subject: " + b"s" * room + b"\r\n" + tail


def malformed(data: bytes, kind: int) -> bytes:
    """Return the same with one thing wrong."""
    return (
        data.replace(b"SIP/2.0/UDP 198", b"SIP/2.0/UDP;198", 1),
        data.replace(b" INVITE\r\nContact", b" BYE\r\nContact", 1),
        data.replace(b"From: ", b"From: <<", 1),
        data.replace(b"SIP/2.0\r\n", b"SIP/3\r\n", 1),
        data.replace(b"Content-Length: ", b"Content-Length: x", 1),
    )[kind % 5]


def read(data: bytes) -> tuple[Any, ...]:
    """Parse a message and read what a dialog needs of it."""
    message = parse_message(data)
    assert message is not None
    return (message.via, message.from_, message.to, message.contacts, message.record_routes, message.cseq)


def timed(work: Callable[[int], object], count: int) -> float:
    """Return the microseconds of processor time of ``work(0)``, ``work(1)``, …; the collector runs as it does."""
    gc.collect()
    begun = time.process_time()
    for number in range(count):
        work(number)
    return (time.process_time() - begun) / count * 1e6


def check_reading(messages: list[bytes]) -> None:
    """Raise unless what is read is what was written, and what is malformed is refused."""
    for number, data in enumerate(messages):
        via, sender, to, contacts, routes, cseq = read(data)
        got = (via.branch, sender.tag, to.tag, len(contacts), len(routes), cseq.number)
        wanted = (f"z9hG4bK5d8e.4f1a92b6.{number}", f"a{number:07x}", None, 1, 2, number + 1)
        if got != wanted:
            raise SystemExit(f"message {number} was read as {got}, not {wanted}")
    for number in range(0, len(messages), 100):
        try:
            message = parse_message(malformed(messages[number], number // 100))
            assert message is not None
            message.check()
        except RemoteProtocolError:
            continue
        raise SystemExit(f"a malformed message was taken: {malformed(messages[number], number // 100)[:300]!r}")


def main() -> None:
    """Measure and print."""
    what, count = sys.argv[1], int(sys.argv[2])
    messages = [invite(number) for number in range(count)]
    if any(len(one) != SIZE for one in messages):
        raise SystemExit(f"an INVITE is not of {SIZE} bytes")
    for number in range(min(200, count)):
        read(invite(10**6 + number))  # imports and the interpreter's own caches
    if what == "parse":
        took = timed(lambda number: read(messages[number]), count)
        check_reading(messages)
        print(json.dumps({"us": took}))
        return
    requests = [one for one in map(parse_message, messages) if isinstance(one, Request)]
    for one in requests:
        read_of = (one.via, one.from_, one.to, one.contacts, one.record_routes, one.cseq)
        assert read_of
    built: list[bytes] = []

    def build(number: int) -> None:
        request = requests[number]
        if what == "negotiate":
            body, _agreed = Negotiation("192.0.2.10", 20000, 7).offered(request.body)
        else:
            body = _ANSWER
        response = respond(request, 200, to_tag=f"t{number}")
        response.set("Contact", "<sip:192.0.2.10:5060>")
        response.set("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO")
        response.set("Content-Type", "application/sdp")
        response.body = body
        built.append(response.to_bytes())

    took = timed(build, count)
    for number, data in enumerate(built):
        if not data.startswith(b"SIP/2.0 200 OK\r\n") or b";tag=t%d\r\n" % number not in data:
            raise SystemExit(f"the answer to message {number} is wrong: {data[:300]!r}")
    print(json.dumps({"us": took, "bytes": len(built[0])}))


if __name__ == "__main__":
    main()
