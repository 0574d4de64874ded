"""What a request says of itself at first glance, without being parsed: whether it begins a call, and its 503.

Owns: the few regular expressions by which a server that has no time left tells new calls from everything else, and the
response made of the request's own lines (RFC 3261 8.2.6, 8.2.7, 18.2.1; RFC 3581 4). Must not know queues or sockets.
Where a request is written in an unusual way (folded lines, several Vias in one line, IPv6) nothing is guessed: the
answer is None, and the caller parses it as it would any other time.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from hashlib import blake2b
from typing import NamedTuple

from telephony.interfaces import Address

#: The To of a request; a tag in it says that the dialog exists (RFC 3261 12.2.2).
_TO = re.compile(rb"\n[Tt][Oo]?[ \t]*:([^\r\n]*)")
_TAG = re.compile(rb";[ \t]*[Tt][Aa][Gg][ \t]*=")
#: A Via by itself, as almost everybody writes it.
_VIA = re.compile(
    rb"[Vv](?:[Ii][Aa])?[ \t]*:[ \t]*SIP/2\.0/[A-Za-z]+[ \t]+"
    rb"([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?((?:[ \t]*;[^,\"]*)?)"
)
_BRANCH = re.compile(rb";[ \t]*(?i:branch)[ \t]*=[ \t]*(z9hG4bK[^;\s]+)")
_RECEIVED = re.compile(rb";[ \t]*received[ \t]*=", re.IGNORECASE)
_RPORT = re.compile(rb";[ \t]*rport[ \t]*(=[^;\s]*)?", re.IGNORECASE)

DEFAULT_PORT = 5060


def begins_call(data: bytes) -> bool:
    """Tell whether a datagram is an INVITE from outside of any dialog, as far as that can be seen."""
    if data[:7] != b"INVITE ":
        return False
    to = _TO.search(data)
    return to is not None and _TAG.search(to[1]) is None


class Glance(NamedTuple):
    """What is known of an INVITE: its transaction's key (`telephony.sip.transaction.server_key`), and its 503.

    ``destination`` is where the response goes.
    """

    key: Hashable
    response: bytes
    destination: Address


class Refusing:
    """Makes the 503 of requests that are not parsed.

    ``secret`` makes the To tags, which begin with ``mark``: by it an ACK of such a response is known again. The same
    request gets the same response each time it comes (RFC 3261 8.2.7).
    """

    __slots__ = ("_fields", "_mark", "_secret", "_span", "_wait")

    def __init__(self, secret: bytes, mark: str, product: str, wait: int, span: int) -> None:
        """Ask callers to come again after ``wait`` seconds and up to ``span`` more, drawn for each of them."""
        self._secret = secret
        self._mark = b";tag=" + mark.encode()
        self._wait = wait
        self._span = span
        server = b"Server: %s\r\n" % product.encode() if product else b""
        self._fields = server + b"Content-Length: 0\r\n\r\n"

    def is_acknowledgement(self, data: bytes) -> bool:
        """Tell whether a datagram is the ACK of a response made here: nothing is to be done about it."""
        return data[:4] == b"ACK " and self._mark in data

    def refusal(self, data: bytes, source: Address) -> Glance | None:
        """Read of an INVITE, which came over UDP, what its refusal needs; None when it must be parsed."""
        end = data.find(b"\r\n\r\n")
        if end < 0 or b"\0" in data:
            return None
        vias: list[bytes] = []
        from_ = to = call_id = cseq = b""
        for line in data[:end].split(b"\r\n")[1:]:
            name = line.partition(b":")[0].rstrip(b" \t").lower()
            if name == b"via" or name == b"v":
                vias.append(line)
            elif name == b"from" or name == b"f":
                from_ = line
            elif name == b"to" or name == b"t":
                to = line
            elif name == b"call-id" or name == b"i":
                call_id = line
            elif name == b"cseq":
                cseq = line
            elif line[:1] in (b" ", b"\t", b""):
                return None
        top = _VIA.fullmatch(vias[0]) if vias else None
        if top is None or not (from_ and to and call_id and cseq):
            return None
        host, port, parameters = top.groups()
        branch = _BRANCH.search(parameters)
        if branch is None or _RECEIVED.search(parameters) is not None:
            return None
        rport = _RPORT.search(parameters)
        number = DEFAULT_PORT if port is None else int(port)
        if rport is not None:
            if rport[1] is not None:
                return None
            there = source[1]
            parameters = b"%s;rport=%d%s" % (parameters[: rport.start()], there, parameters[rport.end() :])
        else:
            there = number
        said = host.decode("ascii")
        if rport is not None or said != source[0]:
            start = vias[0][: top.start(3)]
            vias[0] = b"%s%s;received=%s" % (start, parameters, source[0].encode())
        digest = blake2b(b"%s\n%s\n%s" % (call_id, from_, cseq), digest_size=8, key=self._secret).digest()
        retry = self._wait + digest[0] % (self._span + 1)
        response = b"SIP/2.0 503 Service Unavailable\r\n%s\r\n%s\r\n%s%s%s\r\n%s\r\n%s\r\nRetry-After: %d\r\n%s" % (
            b"\r\n".join(vias),
            from_,
            to,
            self._mark,
            digest.hex().encode(),
            call_id,
            cseq,
            retry,
            self._fields,
        )
        key = (branch[1].decode("utf-8", "replace"), said.lower(), None if port is None else number, "INVITE")
        return Glance(key, response, (source[0], there))
