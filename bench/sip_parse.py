"""How long it takes to parse an INVITE of 1,125 bytes, to read what a call reads of it, and to write it again.

Run: ``python bench/sip_parse.py``. Every round parses the bytes anew; nothing is remembered from one message to the
next. The best of several repeats is shown, since whatever else the machine does only adds.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

from telephony.sip.message import Request, Response, respond
from telephony.sip.parser import StreamParser, parse_message

_SDP = (
    b"v=0\r\no=- 20518 0 IN IP4 203.0.113.1\r\ns=-\r\nc=IN IP4 203.0.113.1\r\nt=0 0\r\n"
    b"m=audio 54400 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n"
)
_HEAD = (
    b"INVITE sip:+442071838750@192.0.2.10:5060;transport=udp SIP/2.0\r\n"
    b"Record-Route: <sip:198.51.100.7;lr;ftag=8a7c1f02>\r\n"
    b"Record-Route: <sip:198.51.100.9:5062;lr=on>\r\n"
    b"Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK5d8e.4f1a92b6.0;rport\r\n"
    b"Via: SIP/2.0/UDP 203.0.113.1:5060;received=203.0.113.1;branch=z9hG4bK-524287-1---c0ffee\r\n"
    b'From: "Alice Example" <sip:+442079460123@example.com;user=phone>;tag=8a7c1f02\r\n'
    b"To: <sip:+442071838750@example.com;user=phone>\r\n"
    b"Call-ID: 7f3e2c1a-9b8d-4e6f-a0b1-c2d3e4f5a6b7@203.0.113.1\r\n"
    b"CSeq: 102 INVITE\r\n"
    b"Contact: <sip:+442079460123@203.0.113.1:5060;transport=udp>\r\n"
    b"Max-Forwards: 68\r\n"
    b"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE, INFO\r\n"
    b"Supported: timer, replaces\r\n"
    b"User-Agent: Gateway/4.2\r\n"
    b"Content-Type: application/sdp\r\n"
)


def invite() -> bytes:
    """Return the INVITE, made up to 1,125 bytes by a comment of its sender."""
    tail = f"Content-Length: {len(_SDP)}\r\n\r\n".encode() + _SDP
    room = 1125 - len(_HEAD) - len(tail) - len(b"Subject: \r\n")
    if room < 0:
        raise SystemExit(f"the INVITE is {-room} bytes too long")
    return _HEAD + b"Subject: " + b"s" * room + b"\r\n" + tail


def read(message: Request | Response | None) -> None:
    """Read what a call reads."""
    assert message is not None
    message.via.branch  # noqa: B018
    message.from_.tag  # noqa: B018
    message.to.tag  # noqa: B018
    message.contacts  # noqa: B018
    message.record_routes  # noqa: B018
    message.cseq  # noqa: B018


def best(work: Callable[[], object], count: int = 20000) -> float:
    """Return the microseconds that one call of ``work`` takes."""
    return min(timeit.repeat(work, number=count // 10, repeat=10)) / (count // 10) * 1e6


def main() -> None:
    """Print the table."""
    data = invite()
    parsed = parse_message(data)
    assert isinstance(parsed, Request)
    stream = StreamParser()
    rows: list[tuple[str, Callable[[], object]]] = [
        ("split", lambda: parse_message(data)),
        ("split, Via From To Contact Record-Route CSeq typed", lambda: read(parse_message(data))),
        ("split, check()", lambda: parse_message(data).check()),  # type: ignore[union-attr]
        ("the same bytes from a stream: split", lambda: stream.feed(data)),
        ("the 180 to it, written", lambda: respond(parsed, 180, to_tag="5f2b").to_bytes()),
        ("written again", parsed.to_bytes),
    ]
    print(f"INVITE of {len(data)} bytes")
    for name, work in rows:
        print(f"{best(work):8.1f} us  {name}")


if __name__ == "__main__":
    main()
