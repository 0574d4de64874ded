"""Calls on hold for an hour of simulated time: the process that the row ``hold`` measures.

    python -m bench.holding CALLS SECONDS

Owns: an `Exchange` on the simulated network that transfers each caller to a target, and phones that know just enough
SIP to call, be called, put the call on hold (a=inactive) and answer what keeps it alive. RTCP runs on every leg, and
session timers do. Prints JSON: memory and Python's objects when every session has been refreshed once and at the end,
and what is left (sockets, timers) after all have hung up.
"""

from __future__ import annotations

import gc
import json
import os
import re
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from telephony.call.channel import CallChannel
from telephony.call.exchange import Exchange
from telephony.call.resources import TonePlayer
from telephony.sip.defence import UNLIMITED
from telephony.testing.network import SimulatedNetwork

SERVER = ("10.0.0.1", 5060)
CALLERS = ("10.0.1.1", 5060)
TARGETS = ("10.0.2.1", 5060)
MEDIA = 30_000
#: How many calls a second come about, and how long after its answer a phone holds the call.
RATE = 50.0
HOLD_AFTER = 0.1
#: From so many seconds on nothing is done for the first time: sessions of 1,800 s are refreshed at half.
SETTLED = 1000.0
#: So long before the end it is looked at again: at the end itself sessions are being refreshed.
BEFORE_THE_END = 50.0


def _header(message: str, name: str) -> str:
    found = re.search(rf"^{name}: *(.*)\r$", message, re.MULTILINE | re.IGNORECASE)
    return "" if found is None else found[1]


class Phone:
    """Many phones at one address: each call that comes in or goes out is one of theirs."""

    def __init__(self, network: SimulatedNetwork, address: tuple[str, int]) -> None:
        host = network.host(address[0])
        self.clock = network.clock
        self.address = address
        self.port = host.open_datagram_port(address, self._received)
        for one in (MEDIA, MEDIA + 1):
            host.open_datagram_port((address[0], one), lambda _data, _source: None)
        self.held = 0
        self.over = 0
        self.refused: list[str] = []
        self.dialogs: dict[str, dict[str, str]] = {}
        self.refreshing: dict[str, Any] = {}

    def describe(self, direction: str) -> str:
        """Return a description of our audio."""
        host = self.address[0]
        return (
            f"v=0\r\no=- 1 {1 + (direction == 'inactive')} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
            f"m=audio {MEDIA} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na={direction}\r\n"
        )

    def call(self, number: int) -> None:
        """Call the server."""
        own = f"sip:c{number}@{self.address[0]}"
        uri = f"sip:3300@{SERVER[0]}"
        dialog = {"id": f"call-{number}", "us": f"<{own}>;tag=c{number}", "them": f"<{uri}>", "uri": uri, "cseq": "1"}
        self.dialogs[dialog["id"]] = dialog
        self._request(dialog, "INVITE", self.describe("sendrecv"))

    def hang_up(self) -> None:
        """End every call that is ours."""
        for dialog in list(self.dialogs.values()):
            dialog["cseq"] = str(int(dialog["cseq"]) + 1)
            self._request(dialog, "BYE")

    def _request(self, dialog: dict[str, str], method: str, body: str = "") -> None:
        lines = [
            f"{method} {dialog['uri']} SIP/2.0",
            f"Via: SIP/2.0/UDP {self.address[0]};branch=z9hG4bK{method}{dialog['cseq']}{dialog['id']}",
            "Max-Forwards: 70",
            f"From: {dialog['us']}",
            f"To: {dialog['them']}",
            f"Call-ID: {dialog['id']}",
            f"CSeq: {dialog['cseq']} {method}",
            f"Contact: <sip:{self.address[0]}:5060>",
            "Supported: timer",
        ]
        self._send(lines, body)

    def _send(self, lines: list[str], body: str) -> None:
        if body:
            lines.append("Content-Type: application/sdp")
        text = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", body])
        self.port.send(text.encode(), SERVER)

    def _received(self, data: bytes, _source: tuple[str, int]) -> None:
        message = data.decode()
        if message.startswith("SIP/2.0 "):
            self._response(message)
        else:
            self._asked(message)

    def _response(self, message: str) -> None:
        dialog = self.dialogs.get(_header(message, "Call-ID"))
        number, _, method = _header(message, "CSeq").partition(" ")
        status = int(message[8:11])
        if dialog is None or status < 200:
            return
        if method == "BYE":
            self._end(dialog["id"])
        elif status >= 300:
            self.refused.append(message.partition("\r\n")[0])
        elif method == "INVITE" and number == dialog["cseq"]:
            dialog["them"] = _header(message, "To")
            dialog["uri"] = _header(message, "Contact").strip("<>")
            self._request(dialog, "ACK")
            self._answered(dialog)
            timer, _, refresher = _header(message, "Session-Expires").partition(";")
            if refresher == "refresher=uac" and dialog.get("holding") == "held":
                self.refreshing[dialog["id"]] = self.clock.callLater(int(timer) / 2, self._hold, dialog)

    def _answered(self, dialog: dict[str, str]) -> None:
        stage = dialog.get("holding")
        if stage is None:
            dialog["holding"] = "asked"
            self.clock.callLater(HOLD_AFTER, self._hold, dialog)
        elif stage == "asked":
            dialog["holding"] = "held"
            self.held += 1

    def _hold(self, dialog: dict[str, str]) -> None:
        """Put a call on hold, or refresh it as it is (RFC 4028)."""
        if dialog["id"] not in self.dialogs:
            return
        self.refreshing.pop(dialog["id"], None)
        dialog["cseq"] = str(int(dialog["cseq"]) + 1)
        self._request(dialog, "INVITE", self.describe("inactive"))

    def _end(self, call_id: str) -> None:
        if self.dialogs.pop(call_id, None) is not None:
            self.over += 1
            timer = self.refreshing.pop(call_id, None)
            if timer is not None:
                timer.cancel()

    def _asked(self, message: str) -> None:
        method = message.partition(" ")[0]
        call_id = _header(message, "Call-ID")
        dialog = self.dialogs.get(call_id)
        if method == "ACK":
            if dialog is not None and "holding" not in dialog:
                self._answered(dialog)
            return
        new = method == "INVITE" and dialog is None
        to = _header(message, "To") + (f";tag=t{call_id}" if new else "")
        if new:
            dialog = self.dialogs[call_id] = {
                "id": call_id,
                "us": to,
                "them": _header(message, "From"),
                "uri": _header(message, "Contact").strip("<>"),
                "cseq": "1",
            }
        lines = ["SIP/2.0 200 OK"]
        lines += [f"Via: {one}" for one in re.findall(r"^Via: *(.*)\r$", message, re.MULTILINE)]
        lines += [f"From: {_header(message, 'From')}", f"To: {to}", f"Call-ID: {call_id}"]
        lines += [f"CSeq: {_header(message, 'CSeq')}", f"Contact: <sip:{self.address[0]}:5060>"]
        timer = _header(message, "Session-Expires").partition(";")[0]
        if timer:
            lines += ["Require: timer", f"Session-Expires: {timer};refresher=uac"]
        described = method == "INVITE" or "application/sdp" in message
        self._send(lines, self.describe("sendrecv" if new else "inactive") if described else "")
        if method == "BYE":
            self._end(call_id)


def _size() -> tuple[float, int]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024, len(gc.get_objects())


def main() -> None:
    """Run it and print what came out."""
    calls, seconds = int(sys.argv[1]), float(sys.argv[2])
    begun = time.process_time()
    network = SimulatedNetwork(1)
    # What the network remembers for whoever looks is its own growth, not the server's.
    network.events, network.media = deque(maxlen=1), deque(maxlen=1)
    host = network.host(SERVER[0])
    exchange = Exchange(host, max_calls=4 * calls + 100, limits=UNLIMITED)
    exchange.listen(f"udp:{SERVER[0]}:{SERVER[1]}")
    failures: list[object] = []

    async def application(channel: CallChannel) -> None:
        await channel.answer()
        TonePlayer(channel)
        await channel.retrievable_transfer(exchange.channel(), f"sip:t@{TARGETS[0]}")
        if channel.state() is channel.State.TRANSFERRED:
            await channel.wait_for_transferred_call_retrieval()
        await channel.hang_up()

    def begin(channel: CallChannel) -> None:
        Deferred.fromCoroutine(application(channel)).addErrback(failures.append)

    exchange.on_call = begin
    callers, targets = Phone(network, CALLERS), Phone(network, TARGETS)
    for number in range(calls):
        network.clock.callLater(number / RATE, callers.call, number)
    network.advance(calls / RATE + 10)
    if (callers.held, targets.held) != (calls, calls) or failures:
        refused = [*callers.refused, *targets.refused, *failures][:3]
        raise SystemExit(f"on hold are {callers.held} callers and {targets.held} targets of {calls}: {refused}")
    at, settled = network.clock.seconds(), min(SETTLED, seconds / 2)
    holding = time.process_time()
    network.advance(settled)
    before = _size()
    network.advance(seconds - settled - BEFORE_THE_END)
    after = _size()
    network.advance(BEFORE_THE_END)
    held_for = network.clock.seconds() - at
    holding = time.process_time() - holding
    if len(exchange.channels) != 2 * calls:
        raise SystemExit(f"{len(exchange.channels)} of {2 * calls} legs are left after {seconds:g} s on hold")
    callers.hang_up()
    network.advance(100)
    ended = (callers.over, targets.over) == (calls, calls)
    channels, pairs = len(exchange.channels), exchange.ports.in_use
    network.run_until(exchange.close(), 200)
    network.advance(100)
    left = [one for one in network.leftovers() if f"{CALLERS[0]}" not in one and f"{TARGETS[0]}" not in one]
    timers = len(network.clock.getDelayedCalls())
    print(
        json.dumps(
            {
                "calls": calls,
                "simulated_seconds": round(held_for),
                "resident_kib": [before[0], after[0]],
                "objects": [before[1], after[1]],
                "all_ended": ended,
                "channels_left": channels,
                "port_pairs_left": pairs,
                "timers_left": timers,
                "left": left[:10],
                "packets": network.packets,
                "hold_cpu_seconds": round(holding, 3),
                "cpu_seconds": round(time.process_time() - begun, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
