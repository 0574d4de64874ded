"""rtpengine in user space (``--table=-1``), from Debian's rtpengine-daemon, driven over its ng protocol.

The ng protocol is a datagram of a cookie, a space and a bencoded dictionary each way; ``encode`` and ``decode`` are the
little of bencode (BEP 3) that it needs.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from bench.peers import Running
from bench.processes import LOOPBACK, Broken, Process, Workshop, find, free_port

PORTS = (10_000, 19_999)
_CODECS = "m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n"


def encode(value: Any) -> bytes:
    """Return text, whole numbers, lists and dictionaries as bencode."""
    if isinstance(value, dict):
        return b"d" + b"".join(encode(key) + encode(one) for key, one in sorted(value.items())) + b"e"
    if isinstance(value, list):
        return b"l" + b"".join(map(encode, value)) + b"e"
    if isinstance(value, int):
        return b"i%de" % value
    data = value.encode() if isinstance(value, str) else bytes(value)
    return b"%d:%s" % (len(data), data)


def decode(data: bytes) -> Any:
    """Return what bencode says, with byte strings as text. Raises ValueError for anything else."""
    value, rest = _decoded(data)
    if rest:
        raise ValueError(f"something follows the value: {rest[:20]!r}")
    return value


def _decoded(data: bytes) -> tuple[Any, bytes]:
    kind = data[:1]
    if kind == b"i":
        digits, _, rest = data[1:].partition(b"e")
        return int(digits), rest
    if kind in (b"l", b"d"):
        values, rest = [], data[1:]
        while not rest.startswith(b"e"):
            value, rest = _decoded(rest)
            values.append(value)
        return (values if kind == b"l" else dict(zip(values[::2], values[1::2], strict=True))), rest[1:]
    length, colon, rest = data.partition(b":")
    if not colon or not length.isdigit() or len(rest) < int(length):
        raise ValueError(f"that is no bencode: {data[:20]!r}")
    return rest[: int(length)].decode(errors="replace"), rest[int(length) :]


def absent() -> str:
    """Tell whether it is installed."""
    return "" if find("rtpengine") else "rtpengine is not installed (Debian: rtpengine-daemon)"


@attrs.define
class Rtpengine(Running):
    """The running rtpengine. ``port`` is that of its ng protocol."""

    control: socket.socket
    cookies: int = 0

    def ask(self, **what: Any) -> dict[str, Any]:
        """Send a command and return its answer. Raises `Broken` when it refuses or says nothing."""
        self.cookies += 1
        cookie = b"c%d" % self.cookies
        self.control.send(cookie + b" " + encode({key.replace("_", "-"): one for key, one in what.items()}))
        while True:
            try:
                got, _, answer = self.control.recv(65535).partition(b" ")
            except OSError as error:
                raise Broken(f"rtpengine does not answer: {error}") from error
            if got == cookie:
                break
        said = decode(answer)
        if said.get("result") not in ("ok", "pong"):
            raise Broken(f"rtpengine refuses: {said}")
        return dict(said)

    def call(self, number: int, caller: int, target: int) -> tuple[int, int]:
        """Have it relay between two ports; returns where the caller and where the target sends to."""
        common = {"call_id": f"bench-{number}", "from_tag": "a", "ICE": "remove", "flags": ["trust-address"]}
        offered = self.ask(command="offer", sdp=_description(caller), **common)
        answered = self.ask(command="answer", to_tag="b", sdp=_description(target), **common)
        return _audio_port(answered["sdp"]), _audio_port(offered["sdp"])


def _description(port: int) -> str:
    head = f"v=0\r\no=- {port} 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
    return head + _CODECS.format(port=port)


def _audio_port(sdp: str) -> int:
    return int(sdp.partition("m=audio ")[2].split()[0])


@contextmanager
def rtpengine(workshop: Workshop, core: int) -> Iterator[Rtpengine]:
    """Run it, with two threads for packets as on a machine of one core."""
    port = free_port()
    directory = workshop.fresh("rtpengine")
    command = ["rtpengine", "--config-file=none", "--table=-1", f"--interface={LOOPBACK}", "--foreground"]
    command += [f"--listen-ng={LOOPBACK}:{port}", f"--port-min={PORTS[0]}", f"--port-max={PORTS[1]}"]
    command += ["--log-stderr", "--log-level=4", "--num-threads=1", f"--pidfile={directory}/pid"]
    process = Process(command, core, log=directory / "rtpengine.log")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        control.connect((LOOPBACK, port))
        control.settimeout(3.0)
        try:
            running = Rtpengine(process, port, control)
            for _ in range(40):
                process.check()
                try:
                    running.ask(command="ping")
                    break
                except Broken:
                    time.sleep(0.1)
            else:
                raise Broken("rtpengine does not answer")
            yield running
        finally:
            process.end()
