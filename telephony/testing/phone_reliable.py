"""A phone's reliable provisional responses, at both ends (RFC 3262).

Owns: RSeq and RAck, what is repeated until its PRACK comes, what waits for that, and which of the peer's responses is
the next in order. Must not know dialogs or descriptions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

import attrs

from telephony.interfaces import DelayedCall
from telephony.sip.message import Request, Response
from telephony.testing.wire import ServerTransaction, Wire

TAG = "100rel"


@attrs.define(slots=True)
class _Sent:
    """One reliable response that waits for its PRACK."""

    number: int
    server: ServerTransaction
    response: Response
    data: bytes
    repeat: DelayedCall | None = None


class ReliableAnswers:
    """What one called phone sends reliably, 3. ``given_up`` is called when a response was not acknowledged in 64*T1.

    Each fork, by its To-tag, is a callee of its own: it counts by itself, and has one response out at a time.
    """

    def __init__(self, wire: Wire, random: Random, given_up: Callable[[], None]) -> None:
        self._wire = wire
        self._random = random
        self._given_up = given_up
        self._numbers: dict[str, int] = {}
        self._out: dict[str, _Sent] = {}
        self._queues: dict[str, list[tuple[ServerTransaction, Response]]] = {}
        self.pracked: list[tuple[str, int]] = []
        """The To-tag and RSeq of each response that has been acknowledged."""

    def send(self, server: ServerTransaction, response: Response) -> None:
        """Send a response of 101 to 199, repeated until its PRACK comes; behind another of its fork it waits.

        Require and RSeq are written here, unless they are there: a test may want numbers of its own.
        """
        tag = response.to.tag or ""
        if tag in self._out:
            self._queues.setdefault(tag, []).append((server, response))
            return
        if TAG not in response.require:
            response.add("Require", TAG)
        written = response.get("RSeq")
        if written is None:
            before = self._numbers.get(tag)
            number = self._random.randint(1, 9999) if before is None else before + 1
            response.add("RSeq", str(number))
        else:
            number = int(written)
        self._numbers[tag] = number
        wire = self._wire
        data = wire.encoded(response)
        if data is None:
            return
        sent = self._out[tag] = _Sent(number, server, response, data)
        server.respond(response, data)
        again = partial(self._again, tag, wire.t1, wire.clock.seconds() + 64 * wire.t1)
        sent.repeat = wire.clock.callLater(wire.t1, again)

    def waits(self, tag: str) -> bool:
        """Tell whether a description that was sent reliably waits for its PRACK: a 2xx has to wait for that, 3."""
        sent = [one.response for own, one in self._out.items() if own == tag]
        return any(one.body for one in [*sent, *(response for _, response in self._queues.get(tag, ()))])

    def answer_out(self, tag: str) -> Response | None:
        """Return the response that waits for its PRACK."""
        found = self._out.get(tag)
        return None if found is None else found.response

    def acknowledged(self, prack: Request) -> str | None:
        """Take a PRACK: None where it means what is out, else what is wrong with it, and it is to get 481 (3)."""
        tag = prack.to.tag or ""
        rack = (prack.get("RAck") or "").split()
        if len(rack) != 3 or not (rack[0].isdigit() and rack[1].isdigit()):
            return f"RAck: {prack.get('RAck')!r} is not a number, a CSeq number and a method (7.2)"
        sent = self._out.get(tag)
        if sent is None or (int(rack[0]), int(rack[1]), rack[2]) != (sent.number, *sent.response.cseq):
            return f"RAck: {' '.join(rack)} is of no response that waits for it"
        self._drop(tag)
        self.pracked.append((tag, sent.number))
        queue = self._queues.get(tag)
        if queue:
            self.send(*queue.pop(0))
        return None

    def stop(self) -> None:
        """Repeat nothing any more: there is a final response."""
        for tag in list(self._out):
            self._drop(tag)
        self._queues.clear()

    def _drop(self, tag: str) -> None:
        repeat = self._out.pop(tag).repeat
        if repeat is not None and repeat.active():
            repeat.cancel()

    def _again(self, tag: str, interval: float, give_up: float) -> None:
        wire = self._wire
        sent = self._out[tag]
        left = give_up - wire.clock.seconds()
        if left <= 0:
            self._drop(tag)
            self._given_up()
            return
        wire.transmit(sent.response, sent.data, sent.server.way)
        interval *= 2  # 3: it doubles, without RFC 3261's T2
        again = partial(self._again, tag, interval, give_up)
        sent.repeat = wire.clock.callLater(min(interval, left), again)


class ReliableOrder:
    """The order in which a calling phone takes reliable responses, 4: by early dialog."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def take(self, response: Response) -> int | None:
        """Return the RSeq of a response that is the next one; None of a repeated one, and of one that came too soon.

        ValueError for one without a usable RSeq.
        """
        text = response.get("RSeq") or ""
        if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
            raise ValueError(f"RSeq: {text!r} is not a number of 1 to 2**31-1 (7.1)")
        number = int(text)
        tag = response.to.tag or ""
        last = self._last.get(tag)
        if last is not None and number != last + 1:
            return None
        self._last[tag] = number
        return number
