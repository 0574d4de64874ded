"""What fuzzing begins with: a few well-formed inputs of each kind, so that the first mutations reach deep.

Owns: the seeds of each target. Must not know what is done with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from telephony.rtp.packet import Packet
from telephony.rtp.rtcp import Description, Goodbye, Report, ReportBlock
from telephony.sip.stun import binding_request
from tests.sip.torture import MESSAGES

OFFER = (
    b"v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n"
    b"a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"
    b"a=ptime:20\r\na=sendrecv\r\na=rtcp:4001 IN IP4 10.0.0.9\r\n"
)
SECURE = (
    b"v=0\r\no=- 1 1 IN IP6 ::1\r\ns=-\r\nc=IN IP6 ::1\r\nt=0 0\r\na=sendonly\r\nm=video 0 RTP/AVP 31\r\n"
    b"m=audio 4000 RTP/SAVP 0 96\r\na=rtpmap:96 telephone-event/8000\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5|2^20|1:4\r\n"
)


def request(method: str, number: int = 1, body: bytes = b"", *fields: str, tag: str = "", branch: str = "b1") -> bytes:
    """Return a request to the endpoint, from the address that the fuzzer has."""
    lines = [
        f"{method} sip:any@10.0.0.1 SIP/2.0",
        f"Via: SIP/2.0/UDP 10.0.0.9:5060;branch=z9hG4bK{branch};rport",
        "From: <sip:fuzz@10.0.0.9>;tag=f1",
        f"To: <sip:any@10.0.0.1>{';tag=' + tag if tag else ''}",
        "Call-ID: fuzz-1",
        f"CSeq: {number} {method}",
        "Contact: <sip:fuzz@10.0.0.9:5060>",
        "Max-Forwards: 70",
        *fields,
    ]
    if body:
        lines.append("Content-Type: application/sdp")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


#: A call, as the steps of `tests.fuzz.targets.endpoint`: what is "TAG" becomes the tag that the endpoint gave.
CALL = [
    request("INVITE", 1, OFFER, "Supported: timer, 100rel, replaces", "Session-Expires: 90;refresher=uac"),
    request("ACK", 1, tag="TAG"),
    request("INVITE", 2, OFFER.replace(b"sendrecv", b"sendonly"), tag="TAG", branch="b2"),
    request("ACK", 2, tag="TAG", branch="b3"),
    request("UPDATE", 3, tag="TAG", branch="b4"),
    request("INFO", 4, b"Signal=5\r\nDuration=160\r\n", tag="TAG", branch="b5").replace(
        b"application/sdp", b"application/dtmf-relay"
    ),
    request("BYE", 5, tag="TAG", branch="b6"),
]


def response(status: int, *fields: str, body: bytes = b"") -> bytes:
    """Return a response to the endpoint's last request, as the steps of a call have it."""
    lines = [
        f"SIP/2.0 {status} Whatever",
        "COPIED",
        "To: <sip:x@10.0.0.9>;tag=f2",
        "Contact: <sip:x@10.0.0.9>",
        *fields,
    ]
    if body:
        lines.append("Content-Type: application/sdp")
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


#: Between two datagrams of one input.
BREAK = b"\n--\n"

PACKET = bytes(Packet(8, 7, 160, 0x1234, b"\xd5" * 160, marker=True).to_bytes())
PRESS = bytes(Packet(101, 8, 320, 0x1234, bytes([5, 0x8A, 0x03, 0x20])).to_bytes())
REPORTS = b"".join(
    part.to_bytes()
    for part in (
        Report(1, (ReportBlock(2, 1, 2, 3, 4, 5, 6),), ntp=1 << 63, timestamp=160, packets=1, octets=160),
        Description(1, "fuzz@10.0.0.9"),
        Goodbye((1,), "bye"),
    )
)

#: A call that is transferred to somebody who rings, answers, and asks to be called elsewhere afterwards.
TRANSFERRED = [
    CALL[0],
    CALL[1],
    response(183, "Require: 100rel", "RSeq: 1", body=OFFER),
    response(200, body=OFFER),
    PACKET,
    PRESS,
    CALL[2],
    CALL[6],
]
REFUSED = [CALL[0], CALL[1], response(302, "Contact: <sip:y@10.0.0.9>;q=0.5"), response(503, "Retry-After: 5"), PACKET]
CHALLENGED = [
    CALL[0],
    CALL[1],
    response(407, 'Proxy-Authenticate: Digest realm="a", nonce="b", algorithm=MD5'),
    CALL[6],
]


def seeds(target: str) -> Sequence[bytes]:
    """Return the inputs that a target begins with."""
    messages = [message.data for message in MESSAGES.values()]
    match target:
        case "message":
            return [*messages, *CALL]
        case "stream":
            return [b"\x07" + message for message in [*messages, *CALL, b"\r\n\r\n"]]
        case "sdp":
            return [OFFER, SECURE, *(one.partition(b"\r\n\r\n")[2] for one in messages if b"\r\nv=0" in one)]
        case "rtp":
            return [PACKET, PRESS, PACKET[:1] + b"\x08" + PACKET[2:12] + PRESS]
        case "rtcp":
            return [REPORTS]
        case "stun":
            return [binding_request(b"0123456789ab")]
        case "endpoint":
            calls = (CALL, TRANSFERRED, REFUSED, CHALLENGED, [CALL[0], request("CANCEL", 1)])
            return [*map(BREAK.join, calls), *messages]
    raise ValueError(f"no target {target!r}")
