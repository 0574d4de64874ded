"""Many lean phones in one loop: callers who dial in, targets who answer, numbered audio both ways.

Owns: the load that ``bench/transfer.py`` puts on a server, and the account of what became of each packet. Knows nothing
of the server but its address: SIP as far as one well-behaved call needs it (RFC 3261 over UDP, with retransmission),
RTP (RFC 3550) with the call, the packet's number and the time of sending in its payload, so that loss, duplication,
reordering and delay can be told apart. One grid timer sends for all phones: each has its turn in one of twenty slots of
a millisecond, as phones that know nothing of each other would have.

It shares no code with the product, so that a mistake there can't hide here.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable

LOOPBACK = "127.0.0.1"
FRAME_SECONDS = 0.02
FRAME_SAMPLES = 160
SLOTS = 20
SLOT_SECONDS = FRAME_SECONDS / SLOTS
#: T1 of RFC 3261, and how long anything is repeated.
T1 = 0.5
GIVE_UP = 32.0
ANSWER_AFTER = 0.1

Address = tuple[str, int]

_HEADER = struct.Struct("!BBHII")
#: Behind the RTP header: who says it (so that it can't be taken for anything else), the call, the side, the number in
#: the measured time (`UNMEASURED` outside), and the nanosecond in which it was sent.
_BODY = struct.Struct("!4sHHIQ")
_MAGIC = b"\xaaTlp"
UNMEASURED = 0xFFFFFFFF
_FILLER = bytes((0x55, 0xD5, 0x54, 0xD4)) * ((FRAME_SAMPLES - _BODY.size) // 4)
_SIZE = _HEADER.size + FRAME_SAMPLES
_PCMA = 8
_ALL = 0xFFFFFFFF

CALLER, TARGET = 0, 1
SIDES = ("caller", "target")


class Histogram:
    """Times in buckets of 20 us, up to a second."""

    BUCKET = 20e-6

    def __init__(self) -> None:
        self._counts = array("L", bytes(8 * 50_001))
        self.most = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        if seconds > self.most:
            self.most = seconds
        at = int(seconds * 50_000)
        self._counts[at if at < 50_000 else 50_000] += 1

    def percentile(self, share: float) -> float:
        """Return the seconds that so much of all stay below (to the bucket's end)."""
        wanted = sum(self._counts) * share
        seen = 0
        for at, count in enumerate(self._counts):
            seen += count
            if seen >= wanted and count:
                return min((at + 1) * self.BUCKET, self.most)
        return 0.0

    def milliseconds(self) -> dict[str, float]:
        """Return what a report shows."""
        shown = {"p50": self.percentile(0.5), "p99": self.percentile(0.99), "max": self.most}
        return {name: round(seconds * 1000, 3) for name, seconds in shown.items()}


class Account:
    """What became of one leg's packets of the measured time, as its partner saw them."""

    def __init__(self) -> None:
        self.sent = 0
        self.received = 0
        self.duplicated = 0
        self.reordered = 0
        #: RTP sequence numbers or timestamps that don't fit the number in the payload.
        self.misnumbered = 0
        self._seen = bytearray()
        self._highest = -1
        self._offsets: tuple[int, int] | None = None

    def take(self, number: int, sequence: int, timestamp: int) -> None:
        """Count a packet that arrived."""
        seen = self._seen
        if number >= len(seen):
            seen.extend(bytes(number + 1000 - len(seen)))
        if seen[number]:
            self.duplicated += 1
            return
        seen[number] = 1
        self.received += 1
        if number < self._highest:
            self.reordered += 1
        else:
            self._highest = number
        offsets = ((sequence - number) & 0xFFFF, (timestamp - number * FRAME_SAMPLES) & _ALL)
        if offsets != self._offsets:
            if self._offsets is not None:
                self.misnumbered += 1
            self._offsets = offsets

    @property
    def lost(self) -> int:
        """How many never came."""
        return self.sent - self.received


class Leg:
    """One phone's audio."""

    __slots__ = (
        "account",
        "call",
        "destination",
        "heard",
        "number",
        "others",
        "sequence",
        "side",
        "socket",
        "ssrc",
        "timestamp",
        "unsent",
    )

    def __init__(self, call: int, side: int) -> None:
        self.call = call
        self.side = side
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((LOOPBACK, 0))
        self.destination: Address | None = None
        self.ssrc = 0x10000 * (side + 1) + call
        self.sequence = (call * 331) & 0xFFFF
        self.timestamp = call * 7919
        self.number = UNMEASURED
        #: What this leg sent; its partner fills in what came.
        self.account = Account()
        self.heard = False
        #: Packets that hold nothing a phone of ours said: silence, ringback, comfort. None may come while both talk.
        self.others = 0
        self.unsent = 0

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.socket.getsockname()[1])

    def aim(self, destination: Address) -> None:
        """Send to this address from now on, and hear nobody else."""
        self.destination = destination
        self.socket.connect(destination)

    def send(self) -> None:
        """Send one frame, if it is known where to."""
        if self.destination is None:
            return
        number = self.number
        packet = (
            _HEADER.pack(0x80, _PCMA, self.sequence, self.timestamp, self.ssrc)
            + _BODY.pack(_MAGIC, self.call, self.side, number, time.perf_counter_ns())
            + _FILLER
        )
        self.sequence = (self.sequence + 1) & 0xFFFF
        self.timestamp = (self.timestamp + FRAME_SAMPLES) & _ALL
        if number != UNMEASURED:
            self.number = number + 1
            self.account.sent += 1
        try:
            self.socket.send(packet)
        except OSError:  # the server has closed the port (after a BYE), or its buffer is full
            self.unsent += 1

    def close(self) -> None:
        """Be gone."""
        self.destination = None
        self.socket.close()


class Message:
    """A SIP message as far as these phones read it."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("utf-8", "replace").split("\r\n")
        self.start = lines[0].split(" ", 2)
        self.lines = lines[1:]

    def every(self, name: str) -> list[str]:
        """Return the header lines of a name, as they came."""
        prefix = name.lower() + ":"
        return [line for line in self.lines if line.lower().startswith(prefix)]

    def get(self, name: str) -> str:
        """Return the first value of a name, '' without one."""
        found = self.every(name)
        return found[0].partition(":")[2].strip() if found else ""

    @property
    def status(self) -> int:
        """The status of a response, 0 for a request."""
        return int(self.start[1]) if self.start[0] == "SIP/2.0" else 0

    @property
    def method(self) -> str:
        """The method that it is, or answers."""
        return self.get("CSeq").split()[-1]

    def media(self) -> Address:
        """Return where the description in it wants audio. ValueError without one."""
        host = port = ""
        for line in self.body.decode().split("\r\n"):
            if line.startswith("c="):
                host = line.split()[2]
            elif line.startswith("m=audio "):
                port = line.split()[1]
        if not host or not port:
            raise ValueError("a description without an address")
        return host, int(port)


class Half:
    """One phone's side of one call: its dialog and its leg."""

    def __init__(self, call: int, side: int) -> None:
        self.call = call
        self.side = side
        self.leg = Leg(call, side)
        self.state = "idle"
        self.status = 0
        self.us = self.them = self.call_id = self.contact = ""
        self.sequence = 1


class Phones:
    """``count`` callers and as many targets on loopback, who call a server at ``server``.

    Drive it with `run`. Whoever dials goes by ``c<number>``; the server is expected to call the target with the
    caller's address as the From, which is how a target knows whose call it is.
    """

    def __init__(self, count: int, server: Address, rate: float) -> None:
        self.server = server
        self.halves = [[Half(call, side) for side in (CALLER, TARGET)] for call in range(count)]
        self.delays = Histogram()
        self.lateness = Histogram()
        self.counters: Counter[str] = Counter()
        self._rate = rate
        self._epoll = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._signalling = [self._open(self._caller_reader), self._open(self._target_reader)]
        self._rtcp = self._open(self._rtcp_reader)
        self._slots: list[list[Leg]] = [[] for _ in range(SLOTS)]
        for call, pair in enumerate(self.halves):
            for half in pair:
                self._slots[(2 * call * 7 + half.side * 9) % SLOTS].append(half.leg)
                self._watch(half.leg.socket, self._leg_reader(half.leg))
        self._slot = 0
        self._origin = time.perf_counter()
        self._by_call_id: dict[str, Half] = {}
        self._resend: dict[tuple[str, int, int], list[float]] = {}
        self._data: dict[tuple[str, int, int], bytes] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.recording = False

    # The loop

    def run(self, until: Callable[[], bool], limit: float) -> bool:
        """Let phones do their work until something is so, asked 50 times a second; False if not in ``limit`` s."""
        end = time.perf_counter() + limit
        poll = self._epoll.poll
        readers = self._readers
        slots = self._slots
        while True:
            due = self._origin + self._slot * SLOT_SECONDS
            now = time.perf_counter()
            if now >= due:
                self.lateness.add(now - due)
                for leg in slots[self._slot % SLOTS]:
                    leg.send()
                self._slot += 1
                if self._slot % SLOTS == 0:
                    self._housekeeping(now)
                    if until():
                        return True
                    if now > end:
                        return False
                wait = 0.0
            else:
                wait = due - now
            for descriptor, _event in poll(wait, 512):
                reader = readers.get(descriptor)
                if reader is not None:
                    reader()

    def for_seconds(self, seconds: float) -> None:
        """Let so much time pass."""
        end = time.perf_counter() + seconds
        self.run(lambda: time.perf_counter() >= end, seconds + 60)

    def restart_grid(self) -> None:
        """Begin the grid anew, after a pause in which nobody drove it."""
        self._origin = time.perf_counter()
        self._slot = 0

    def _housekeeping(self, now: float) -> None:
        later, self._later = self._later, []
        for when, call in later:
            if when <= now:
                call()
            else:
                self._later.append((when, call))
        for key, times in list(self._resend.items()):
            if times[0] <= now:
                if now > times[2]:
                    self.counters["given up"] += 1
                    self._stop(key)
                    continue
                self.counters["retransmissions"] += 1
                times[1] *= 2
                times[0] = now + min(times[1], 4.0)
                self._signalling[key[2]].sendto(self._data[key], self.server)

    def _open(self, reader: Callable[[], None]) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        opened.bind((LOOPBACK, 0))
        self._watch(opened, reader)
        return opened

    def _watch(self, opened: socket.socket, reader: Callable[[], None]) -> None:
        self._readers[opened.fileno()] = reader
        self._epoll.register(opened.fileno(), select.EPOLLIN)

    @property
    def target_port(self) -> int:
        """Where targets take calls."""
        return int(self._signalling[TARGET].getsockname()[1])

    def sockets(self) -> Iterable[socket.socket]:
        """Return those sockets that are open."""
        legs = (half.leg.socket for pair in self.halves for half in pair)
        return [one for one in (*self._signalling, self._rtcp, *legs) if one.fileno() >= 0]

    def close(self) -> None:
        """Close everything."""
        for one in self.sockets():
            one.close()
        self._epoll.close()

    # What a run does

    def dial(self) -> None:
        """Let all callers dial, so many a second."""
        now = time.perf_counter()
        for call in range(len(self.halves)):
            self._later.append((now + call / self._rate, lambda call=call: self._invite(call)))  # type: ignore[misc]

    def hang_up(self) -> None:
        """End all calls, so many a second: even ones by the caller, odd ones by the target."""
        now = time.perf_counter()
        for call in range(len(self.halves)):
            half = self.halves[call][call % 2]
            self._later.append((now + call / self._rate, lambda half=half: self._bye(half)))  # type: ignore[misc]

    def talking(self) -> int:
        """Return how many calls have both sides hearing each other."""
        return sum(caller.leg.heard and target.leg.heard for caller, target in self.halves)

    def over(self) -> int:
        """Return how many calls are over on both sides."""
        return sum(caller.state == target.state == "over" for caller, target in self.halves)

    def failed(self) -> list[int]:
        """Return the statuses with which calls were refused."""
        return [half.status for pair in self.halves for half in pair if half.status >= 300]

    def begin_measuring(self) -> None:
        """Number the packets from here on."""
        self.delays = Histogram()
        self.lateness = Histogram()
        for pair in self.halves:
            for half in pair:
                half.leg.number = 0
                half.leg.others = half.leg.unsent = 0
        self.recording = True

    def end_measuring(self) -> None:
        """Number no more packets; those under way may still come."""
        for pair in self.halves:
            for half in pair:
                half.leg.number = UNMEASURED

    def accounts(self, side: int) -> dict[str, int]:
        """Return the account of all packets that one side sent."""
        legs = [pair[side].leg for pair in self.halves]
        names = ("sent", "received", "lost", "duplicated", "reordered", "misnumbered")
        found = {name: sum(getattr(leg.account, name) for leg in legs) for name in names}
        return {**found, "not_sent": sum(leg.unsent for leg in legs)}

    def missing(self) -> int:
        """Return how many packets have been sent and haven't come, yet or ever."""
        return sum(half.leg.account.lost for pair in self.halves for half in pair)

    def others(self) -> int:
        """Return how many packets came, while measuring, that no phone of ours had said."""
        return sum(half.leg.others for pair in self.halves for half in pair)

    # Audio

    def _leg_reader(self, leg: Leg) -> Callable[[], None]:
        def read() -> None:
            try:
                data = leg.socket.recv(2048)
            except OSError:
                return
            if len(data) != _SIZE or data[12:16] != _MAGIC:
                leg.others += 1
                return
            _, call, side, number, sent = _BODY.unpack_from(data, 12)
            if call != leg.call or side == leg.side:
                self.counters["packets of another call"] += 1
                return
            if number == UNMEASURED:
                leg.heard = True
                return
            self.delays.add((time.perf_counter_ns() - sent) * 1e-9)
            _, _, sequence, timestamp, _ = _HEADER.unpack_from(data)
            self.halves[call][side].leg.account.take(number, sequence, timestamp)

        return read

    def _rtcp_reader(self) -> None:
        self._rtcp.recv(2048)
        self.counters["rtcp"] += 1

    # Signalling

    def _describe(self, leg: Leg) -> bytes:
        return (
            f"v=0\r\no=- {leg.ssrc} 1 IN IP4 {LOOPBACK}\r\ns=-\r\nc=IN IP4 {LOOPBACK}\r\nt=0 0\r\n"
            f"m=audio {leg.port} RTP/AVP {_PCMA} 101\r\na=rtpmap:{_PCMA} PCMA/8000\r\n"
            "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\n"
            f"a=rtcp:{self._rtcp.getsockname()[1]}\r\na=sendrecv\r\n"
        ).encode()

    def _contact(self, half: Half) -> str:
        return f"Contact: <sip:{SIDES[half.side][0]}{half.call}@{LOOPBACK}:{self._port(half.side)}>"

    def _port(self, side: int) -> int:
        return int(self._signalling[side].getsockname()[1])

    def _write(self, half: Half, start: str, lines: list[str], body: bytes = b"") -> bytes:
        if body:
            lines = [*lines, "Content-Type: application/sdp"]
        return "\r\n".join([start, *lines, f"Content-Length: {len(body)}", "", ""]).encode() + body

    def _request(self, half: Half, method: str, uri: str, body: bytes = b"", branch_of: str = "") -> bytes:
        branch = f"z9hG4bK{branch_of or method}{half.call}.{half.side}.{half.sequence}"
        lines = [
            f"Via: SIP/2.0/UDP {LOOPBACK}:{self._port(half.side)};rport;branch={branch}",
            "Max-Forwards: 70",
            f"From: {half.us}",
            f"To: {half.them}",
            f"Call-ID: {half.call_id}",
            f"CSeq: {half.sequence} {method}",
            self._contact(half),
        ]
        return self._write(half, f"{method} {uri} SIP/2.0", lines, body)

    def _send(self, side: int, data: bytes) -> None:
        self._signalling[side].sendto(data, self.server)

    def _repeat(self, key: tuple[str, int, int], data: bytes) -> None:
        """Send, and again until `_stop`."""
        now = time.perf_counter()
        self._resend[key] = [now + T1, T1, now + GIVE_UP]
        self._data[key] = data
        self._send(key[2], data)

    def _stop(self, key: tuple[str, int, int]) -> None:
        self._resend.pop(key, None)
        self._data.pop(key, None)

    def _invite(self, call: int) -> None:
        half = self.halves[call][CALLER]
        half.state = "calling"
        half.us = f"<sip:c{call}@{LOOPBACK}:{self._port(CALLER)}>;tag=c{call}"
        half.them = f"<sip:3300@{LOOPBACK}:{self.server[1]}>"
        half.call_id = f"call-{call}@{LOOPBACK}"
        self._by_call_id[half.call_id] = half
        data = self._request(half, "INVITE", f"sip:3300@{LOOPBACK}:{self.server[1]}", self._describe(half.leg))
        self._repeat(("INVITE", call, CALLER), data)

    def _bye(self, half: Half) -> None:
        if half.state != "talking":
            return
        half.state = "leaving"
        half.sequence += 1
        half.leg.destination = None
        self._repeat(("BYE", half.call, half.side), self._request(half, "BYE", half.contact))

    def _over(self, half: Half) -> None:
        half.state = "over"
        half.leg.destination = None

    def _caller_reader(self) -> None:
        self._read(CALLER)

    def _target_reader(self) -> None:
        self._read(TARGET)

    def _read(self, side: int) -> None:
        message = Message(self._signalling[side].recv(65535))
        half = self._by_call_id.get(message.get("Call-ID"))
        if message.status:
            if half is not None:
                self._response(half, message)
        elif message.method == "INVITE":
            self._invited(message, half)
        elif half is None:
            self.counters["unknown dialogs"] += 1
        elif message.method == "ACK":
            self._stop(("200", half.call, half.side))
        elif message.method == "BYE":
            self._send(half.side, self._answer(half, message, "200 OK"))
            self._over(half)
        else:
            self.counters[f"unexpected {message.method}"] += 1

    def _response(self, half: Half, message: Message) -> None:
        status = message.status
        key = (message.method, half.call, half.side)
        if key[0] == "INVITE":
            self._stop(key)
            if status < 200:
                return
            half.them = message.get("To")
            half.contact = message.get("Contact").strip("<>")
            if status < 300:
                ack = self._request(half, "ACK", half.contact)
            else:  # RFC 3261 17.1.1.3: the same branch as the INVITE
                ack = self._request(half, "ACK", f"sip:3300@{LOOPBACK}:{self.server[1]}", b"", "INVITE")
            self._send(half.side, ack)
            half.status = status
            if status >= 300:
                self._over(half)
            elif half.state == "calling":
                half.state = "talking"
                half.leg.aim(message.media())
        elif key[0] == "BYE" and status >= 200:
            self._stop(key)
            self._over(half)

    def _invited(self, message: Message, half: Half | None) -> None:
        if half is not None:
            self.counters["INVITEs again"] += 1
            return
        caller = message.get("From").partition("sip:c")[2].partition("@")[0]
        half = self.halves[int(caller)][TARGET]
        half.state = "ringing"
        half.call_id = message.get("Call-ID")
        half.us = message.get("To") + f";tag=t{half.call}"
        half.them = message.get("From")
        half.contact = message.get("Contact").strip("<>")
        self._by_call_id[half.call_id] = half
        self._send(TARGET, self._answer(half, message, "180 Ringing"))

        def answer() -> None:
            if half.state == "ringing":
                half.state = "talking"
                half.leg.aim(message.media())
                data = self._answer(half, message, "200 OK", self._describe(half.leg))
                self._repeat(("200", half.call, TARGET), data)

        self._later.append((time.perf_counter() + ANSWER_AFTER, answer))

    def _answer(self, half: Half, message: Message, status: str, body: bytes = b"") -> bytes:
        lines = [
            *message.every("Via"),
            f"From: {message.get('From')}",
            f"To: {message.get('To') if ';tag=' in message.get('To') else half.us}",
            f"Call-ID: {half.call_id}",
            f"CSeq: {message.get('CSeq')}",
            self._contact(half),
        ]
        return self._write(half, f"SIP/2.0 {status}", lines, body)
