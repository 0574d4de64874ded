"""The floor: a Twisted responder without any state. What it does, nobody in Python does with less.

It answers each request from the request's own bytes: INVITE with 180 and 200, BYE with 200, nothing else. As a program:
``python -m bench.peers.floor PORT``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.peers import Running
from bench.processes import LOOPBACK, Process, Workshop, free_port

_BODY = (
    b"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    b"m=audio 9 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
)


def absent() -> str:
    """It is always here."""
    return ""


@contextmanager
def floor(workshop: Workshop, core: int, _target_port: int) -> Iterator[Running]:
    """Run it."""
    port = free_port()
    process = Process([sys.executable, "-m", "bench.peers.floor", str(port)], core, lines=True)
    try:
        process.heard()
        yield Running(process, port)
    finally:
        process.end("stop")


def answers(data: bytes, contact: bytes) -> list[bytes]:
    """Return what is sent back for a datagram."""
    method = data[: data.find(b" ")]
    if method not in (b"INVITE", b"BYE"):
        return []
    kept = []
    for line in data[: data.find(b"\r\n\r\n")].split(b"\r\n")[1:]:
        if line.startswith((b"Via:", b"From:", b"Call-ID:", b"CSeq:", b"Record-Route:")):
            kept.append(line)
        elif line.startswith(b"To:"):
            kept.append(line if b"tag=" in line else line + b";tag=floor")
    head = b"\r\n".join(kept)
    if method == b"BYE":
        return [b"SIP/2.0 200 OK\r\n" + head + b"\r\nContent-Length: 0\r\n\r\n"]
    return [
        b"SIP/2.0 180 Ringing\r\n" + head + b"\r\n" + contact + b"Content-Length: 0\r\n\r\n",
        b"SIP/2.0 200 OK\r\n"
        + head
        + b"\r\n"
        + contact
        + b"Content-Type: application/sdp\r\nContent-Length: %d\r\n\r\n" % len(_BODY)
        + _BODY,
    ]


def main() -> None:
    """Answer until standard input ends."""
    import socket
    import threading

    from twisted.internet import reactor as installed
    from twisted.internet.protocol import DatagramProtocol

    reactor: Any = installed
    port = int(sys.argv[1])
    contact = b"Contact: <sip:floor@127.0.0.1:%d>\r\n" % port

    class Floor(DatagramProtocol):
        def startProtocol(self) -> None:  # noqa: N802 - Twisted's name
            assert self.transport is not None
            self.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # type: ignore[attr-defined]

        def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802 - Twisted's name
            write = self.transport.write  # type: ignore[union-attr]
            for answer in answers(datagram, contact):
                write(answer, addr)

    def wait() -> None:
        sys.stdin.read()
        reactor.callFromThread(reactor.stop)

    reactor.listenUDP(port, Floor(), interface=LOOPBACK)
    threading.Thread(target=wait, daemon=True).start()
    reactor.callWhenRunning(lambda: print("ready", flush=True))
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main()
