"""A phone's 2xx to INVITEs, repeated until their ACK comes (RFC 3261 13.3.1.4, 14.2).

Owns: which 2xx still waits, its next repetition, and the time after which nobody waits any more. Must not know dialogs
or what becomes of the call then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from telephony.interfaces import DelayedCall
from telephony.sip.message import Response
from telephony.testing.wire import ServerTransaction, Wire

#: Our tag and the INVITE's CSeq number: what an ACK names.
AnswerKey = tuple[str, int]


class Answers:
    """The 2xx of one call. ``given_up`` is called with the key of one that was not acknowledged in 64*T1."""

    def __init__(self, wire: Wire, given_up: Callable[[AnswerKey], None]) -> None:
        self._wire = wire
        self._given_up = given_up
        self._repeats: dict[AnswerKey, DelayedCall] = {}
        self.numbers: set[int] = set()
        """The CSeq numbers of all INVITEs answered so far."""

    def send(self, server: ServerTransaction, response: Response, copies: int = 0) -> None:
        """Send a 2xx, ``copies`` more of it at once, and again over any transport until `acknowledged`."""
        wire = self._wire
        data = wire.encoded(response)
        if data is None:
            return
        server.respond(response, data)
        for _ in range(copies):
            wire.transmit(response, data, server.way)
        self.numbers.add(response.cseq.number)
        key = response.to.tag or "", response.cseq.number
        again = partial(self._again, server, response, data, key, wire.t1, wire.clock.seconds() + 64 * wire.t1)
        self._repeats[key] = wire.clock.callLater(wire.t1, again)

    def acknowledged(self, key: AnswerKey) -> None:
        """Stop repeating one; harmless when it is not repeated."""
        repeat = self._repeats.pop(key, None)
        if repeat is not None:
            repeat.cancel()

    def stop(self, tag: str | None = None) -> None:
        """Stop repeating all, or all of one tag."""
        for key in list(self._repeats):
            if tag is None or key[0] == tag:
                self.acknowledged(key)

    def _again(
        self,
        server: ServerTransaction,
        response: Response,
        data: bytes,
        key: AnswerKey,
        interval: float,
        give_up: float,
    ) -> None:
        wire = self._wire
        del self._repeats[key]
        left = give_up - wire.clock.seconds()
        if left <= 0:
            self._given_up(key)
            return
        wire.transmit(response, data, server.way)
        interval = min(2 * interval, wire.t2)
        again = partial(self._again, server, response, data, key, interval, give_up)
        self._repeats[key] = wire.clock.callLater(min(interval, left), again)
