"""Noise for a listening SIP port: garbage, and messages that were valid before something happened to them.

Owns: what is sent. It listens a little too: tags, targets and requests that come back are used in what is sent next, so
that some of the noise reaches dialogs and transactions, as a broken or hostile phone's would. Everything is drawn from
one seeded source.
"""

from __future__ import annotations

import random
import re
from collections import deque

from telephony.interfaces import Address

CRLF = b"\r\n"
_TAG = re.compile(rb"^(?:To|t)\s*:[^\r\n]*;tag=([0-9a-f]+)", re.MULTILINE | re.IGNORECASE)
_CALL_ID = re.compile(rb"^Call-ID: *([^\r\n]+)", re.MULTILINE)
_CSEQ = re.compile(rb"^CSeq: *([0-9]+) INVITE", re.MULTILINE)

METHODS = ("INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "INFO", "REGISTER", "UPDATE", "PRACK", "NOTIFY", "NONSENSE")
#: How often each is drawn.
WEIGHTS = (10, 6, 5, 4, 3, 2, 1, 1, 1, 1, 1)
STATUSES = (200, 200, 200, 200, 180, 183, 200, 180, 100, 202, 302, 401, 407, 408, 481, 486, 487, 503, 603, 699)

#: What a value is replaced by.
VALUES = (
    b"",
    b" ",
    b"0",
    b"-1",
    b"1",
    b"65536",
    b"4294967296",
    b"99999999999999999999999999999999",
    b"1e9",
    b"\xd9\xa3",
    b"*",
    b"<",
    b">",
    b"<>",
    b'"',
    b'"\\',
    b";",
    b";;;=;=",
    b";tag",
    b";tag=",
    b",",
    b",,,",
    b"sip:",
    b"sip:@",
    b"sip::@:",
    b"sips:a@10.0.1.9",
    b"tel:+1",
    b"http://example.com/",
    b"<sip:a@[::1>",
    b"<sip:a@[fe80::1%25eth0]>;tag=x",
    b"<sip:a@256.256.256.256:99999>;tag=x",
    b"<sip:a@host.invalid>;tag=x",
    b"<sip:a@10.0.0.1:5060>;tag=loop",
    b"<sip:a@0.0.0.0>;tag=x",
    b"<sip:a@10.0.1.9:0>;tag=x",
    b"<sip:%00%0d%0a@10.0.1.9>;tag=x",
    b"<sip:10.0.1.9;lr>, <sip:10.0.0.1;maddr=10.0.0.1>",
    b"SIP/2.0/UDP",
    b"SIP/2.0/UDP ;branch=z9hG4bK",
    b"SIP/2.0/TCP 10.0.1.9;branch=z9hG4bKx",
    b"SIP/2.0/UDP 10.0.1.9;rport=1;received=10.0.0.1;maddr=10.0.0.1;ttl=1;branch=z9hG4bKx",
    b"1 INVITE",
    b"1 BYE",
    b"2147483648 INVITE",
    b"INVITE 1",
    b'application/sdp;x="',
    b"multipart/mixed;boundary=x",
    b"100rel, timer",
    b"\xff\xfe\x00\x01",
    b"\xc3\xa9\xe2\x82\xac\xf0\x9f\x93\x9e",
    b"%s%n%d{0}",
    b"a" * 300,
    b"a" * 9000,
    b"(" * 200,
    b"(comment (within) \\)) x",
    b" folded\r\n  on\r\n\t and on",
)

SDP_LINES = (
    b"v=1",
    b"c=IN IP4 0.0.0.0",
    b"c=IN IP4 224.2.1.1/127/3",
    b"c=IN IP6 ::1",
    b"c=IN IP4 host.invalid",
    b"c=",
    b"m=audio 0 RTP/AVP 8",
    b"m=audio 65535 RTP/AVP 8",
    b"m=audio 1 RTP/AVP 8",
    b"m=audio 70000 RTP/AVP 8",
    b"m=audio 4000/2 RTP/SAVP 8",
    b"m=video 4000 RTP/AVP 96",
    b"m=audio 4000 RTP/AVP 8 8 8 0 0",
    b"m=audio 4000 RTP/AVP 300",
    b"m=audio 4000 RTP/AVP",
    b"a=rtpmap:8 PCMU/8000",
    b"a=rtpmap:96 telephone-event/8000",
    b"a=rtpmap:",
    b"a=fmtp:101 0-99999",
    b"a=ptime:0",
    b"a=ptime:-20",
    b"a=ptime:20000000",
    b"a=maxptime:1",
    b"a=ptime:30",
    b"a=sendonly",
    b"a=recvonly",
    b"a=inactive",
    b"a=rtcp:0",
    b"a=rtcp:99999 IN IP4 10.0.0.1",
    b"a=rtcp:5060 IN IP4 10.0.0.1",
    b"\xff\xfe",
    b"=",
    b"o=" + b"9" * 400,
)


class Noise:
    """Datagrams from ``own``, sent to ``server``: ask `datagrams` for the next, and tell it what came with `heard`."""

    def __init__(self, seed: int, server: Address, own: Address) -> None:
        self._random = random.Random(seed)
        self._server = f"{server[0]}:{server[1]}"
        self._own = f"{own[0]}:{own[1]}"
        self._number = 0
        #: Call-IDs with the server's tag and the INVITE's number, of what it answered lately; and what it asked lately.
        self._dialogs: deque[tuple[str, str, int]] = deque(maxlen=40)
        self._asked: deque[bytes] = deque(maxlen=20)
        self._sent: deque[bytes] = deque(maxlen=50)

    def heard(self, data: bytes) -> None:
        """Learn from what the server sends."""
        if not data.startswith(b"SIP/2.0"):
            self._asked.append(data)
            return
        tag, call_id, number = _TAG.search(data), _CALL_ID.search(data), _CSEQ.search(data)
        if tag and call_id and number:
            dialog = (call_id[1].decode("latin-1").strip(), tag[1].decode(), int(number[1]))
            if dialog not in self._dialogs:
                self._dialogs.append(dialog)

    def datagrams(self) -> list[bytes]:
        """Return the next datagram, now and then several that belong together."""
        draw = self._random.random()
        if draw < 0.06:
            return [self._rubbish()]
        if draw < 0.12 and self._sent:
            return [self._random.choice(self._sent)] * self._random.choice((1, 1, 2, 5))
        message = self._response() if draw < 0.24 else self._request()
        if self._random.random() < 0.55:
            for _ in range(self._random.choice((1, 1, 1, 1, 2, 8))):
                message = self._mutated(message)
        self._sent.append(message)
        return [message]

    # What is valid

    def _request(self) -> bytes:
        choose = self._random
        method = choose.choices(METHODS, WEIGHTS)[0]
        self._number += 1
        # Few of each, so that some meet the transactions and dialogs of others.
        call = choose.randrange(self._number // 20, self._number // 20 + 12)
        call_id, tag = f"n{call}@{self._own}", ""
        cseq = choose.choice((1, 1, 1, 2, 3, self._number))
        if method not in ("INVITE", "CANCEL", "OPTIONS", "REGISTER") or choose.random() < 0.2:
            cseq = choose.choice((1, 1, 2, 3, self._number))
            if self._dialogs and choose.random() < 0.8:
                call_id, tag, number = choose.choice(self._dialogs)
                if choose.random() < 0.8:
                    cseq = number if method == "ACK" else number + choose.choice((1, 1, 2, 5))
        # A CANCEL and the ACK of a refusal have their INVITE's branch.
        branch = f"z9hG4bKn{call}.{cseq}" if choose.random() < 0.7 else f"z9hG4bKm{self._number}"
        lines = [
            f"{method} sip:{choose.choice(('3300', 'x', ''))}@{self._server} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._own};{choose.choice(('rport;', ''))}branch={branch}",
            "Max-Forwards: 70",
            f"From: <sip:noise@{self._own}>;tag=f{call_id[1:].partition('@')[0]}",
            f"To: <sip:3300@{self._server}>{f';tag={tag}' if tag else ''}",
            f"Call-ID: {call_id}",
            f"CSeq: {cseq} {method}",
        ]
        if method in ("INVITE", "UPDATE", "OPTIONS"):
            lines.append(f"Contact: <sip:noise@{self._own}>")
        body = b""
        if method in ("INVITE", "UPDATE") or (method == "ACK" and choose.random() < 0.2):
            body = b"" if choose.random() < 0.15 else self._sdp()
        elif method == "INFO":
            body = b"Signal=1\r\nDuration=100\r\n"
        if body:
            lines.append(f"Content-Type: application/{'dtmf-relay' if method == 'INFO' else 'sdp'}")
        lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode("latin-1", "replace") + CRLF + CRLF + body

    def _sdp(self) -> bytes:
        choose = self._random
        lines = [
            b"v=0",
            b"o=- %d %d IN IP4 10.0.1.9" % (choose.randrange(9), choose.randrange(9)),
            b"s=-",
            b"c=IN IP4 10.0.1.9",
            b"t=0 0",
            b"m=audio %d RTP/AVP 8 0 101" % choose.choice((4000, 4002, 5060)),
            b"a=rtpmap:8 PCMA/8000",
            b"a=rtpmap:0 PCMU/8000",
            b"a=rtpmap:101 telephone-event/8000",
            b"a=ptime:20",
            b"a=sendrecv",
        ]
        if choose.random() < 0.5:
            for _ in range(choose.choice((1, 1, 2, 5))):
                at = choose.randrange(len(lines))
                done = choose.randrange(4)
                if done == 0:
                    lines[at] = choose.choice(SDP_LINES)
                elif done == 1:
                    lines.insert(at, choose.choice(SDP_LINES))
                elif done == 2:
                    lines.insert(at, lines[choose.randrange(len(lines))])
                elif len(lines) > 1:
                    del lines[at]
        return choose.choice((CRLF, CRLF, CRLF, b"\n", b"\r")).join(lines) + CRLF

    def _response(self) -> bytes:
        """Return an answer to what the server asked lately, or to what it never asked."""
        choose = self._random
        status = choose.choice(STATUSES)
        head = f"SIP/2.0 {status} Noise".encode()
        if self._asked and choose.random() < 0.8:
            recent = self._asked[-1] if choose.random() < 0.5 else choose.choice(self._asked)
            asked = recent.partition(CRLF + CRLF)[0].split(CRLF)
            wanted = (b"via:", b"from:", b"to:", b"call-id:", b"cseq:")
            lines = [head, *(line for line in asked[1:] if line.lower().startswith(wanted))]
        else:
            self._number += 1
            lines = [
                head,
                f"Via: SIP/2.0/UDP {self._server};branch=z9hG4bKn{self._number}".encode(),
                f"From: <sip:a@{self._server}>;tag=a".encode(),
                b"To: <sip:b@10.0.1.9>;tag=b",
                b"Call-ID: r%d" % self._number,
                b"CSeq: 1 " + choose.choice((b"INVITE", b"BYE", b"CANCEL")),
            ]
        body = self._sdp() if choose.random() < 0.6 else b""
        if body:
            lines.append(b"Content-Type: application/sdp")
        return CRLF.join([*lines, b"Contact: <sip:b@10.0.1.9>", b"Content-Length: %d" % len(body), b"", body])

    # What isn't

    def _rubbish(self) -> bytes:
        choose = self._random
        kind = choose.randrange(6)
        if kind == 0:
            return CRLF * choose.randrange(4)
        if kind == 1:
            return choose.randbytes(choose.randrange(1, 40))
        if kind == 2:
            return choose.randbytes(choose.choice((200, 1500, 8000, 65507)))
        if kind == 3:
            return b"INVITE " * choose.randrange(1, 2000)
        if kind == 4:
            return (
                b"OPTIONS sip:x SIP/2.0" + CRLF + (choose.choice(VALUES) + b": x" + CRLF) * choose.choice((1, 9, 400))
            )
        return bytes(choose.choices(b'SIP/2.0 :;=<>\r\n\t"\\,@z9hG4bK', k=choose.randrange(1, 600)))

    def _mutated(self, message: bytes) -> bytes:
        choose = self._random
        if not message:
            return message
        kind = choose.randrange(18)
        at = choose.randrange(len(message))
        if kind == 0:
            return message[:at]
        if kind == 1:
            return message[:at] + choose.randbytes(choose.choice((1, 1, 2, 20))) + message[at:]
        if kind == 2:
            end = at + choose.choice((1, 1, 2, 10, 100))
            return message[:at] + choose.randbytes(end - at) + message[end:]
        if kind == 3:
            return message[:at] + message[at + choose.choice((1, 1, 5, 50)) :]
        if kind == 4:
            return message + choose.choice((message, b"\0", CRLF, choose.randbytes(30)))
        if kind == 5 and self._sent:
            other = choose.choice(self._sent)
            return message[:at] + other[choose.randrange(len(other) + 1) :]
        head, blank, body = message.partition(CRLF + CRLF)
        lines = head.split(CRLF)
        line = choose.randrange(len(lines))
        if kind == 6:
            del lines[line]
        elif kind == 7:
            lines.insert(line, lines[choose.randrange(len(lines))])
        elif kind == 8:
            choose.shuffle(lines)
        elif kind == 9:
            lines[line] = lines[line].swapcase()
        else:  # one value is another; what the message says of its length is mostly right again
            name, colon, value = lines[line].partition(b":")
            if choose.random() < 0.3 and value:
                cut = choose.randrange(len(value))
                lines[line] = name + colon + value[:cut] + choose.choice(VALUES) + value[cut:]
            else:
                lines[line] = name + colon + b" " + choose.choice(VALUES)
        return CRLF.join(lines) + blank + body
