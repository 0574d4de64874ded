"""Keeping a flow open, and noticing that it is gone (RFC 5626 3.5, 4.4): CRLF over connections, STUN over UDP.

Owns: when a ping is due, what is sent, and when its answer has been missing for too long. Must not know registrations
or trunks: whoever needs a flow asks for it, and is told when it has failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, cast

from telephony.errors import RemoteProtocolError
from telephony.interfaces import DelayedCall, Host
from telephony.sip.stun import ID_SIZE, REQUEST, SUCCESS, binding_answer, binding_request, parse_stun
from telephony.sip.transport.base import TransportFlow, TransportUser

#: How long the answer to a CRLF ping may take, in seconds (RFC 5626 4.4.1).
PONG_TIMEOUT = 10.0
#: When a STUN request is sent again, and how often it is sent before the flow counts as gone (RFC 5389 7.2.1; five
#: times in place of seven, so that a flow that is gone is known before the next ping is due).
FIRST_REPETITION = 0.5
MOST_REQUESTS = 5
#: How many flows may be kept at a time.
MAX_KEPT = 4096
#: Each wait is drawn from this part of the time asked for up to all of it (RFC 5626 4.4).
SHORTEST_PART = 0.8

#: How a UDP flow is kept: by STUN, whose missing answer says that it is gone, or by CRLFs that nobody answers.
How = Literal["stun", "crlf"]


class KeptFlow:
    """A flow that is kept open until `stop`, or until it fails."""

    __slots__ = ("_failed", "_how", "_mapped", "_owner", "_seconds", "_sent", "_timer", "_transaction", "flow")

    def __init__(
        self, owner: KeepAlives, flow: TransportFlow, seconds: float, failed: Callable[[str], None] | None, how: How
    ) -> None:
        self._owner = owner
        self.flow = flow
        self._seconds = seconds
        self._failed = failed
        self._how = how
        self._transaction = b""
        self._sent = 0
        self._mapped: object = None
        self._timer: DelayedCall | None = None
        flow.hold()
        flow.watch(self)
        self._rest()

    def stop(self) -> None:
        """Let the flow go; harmless when it has failed."""
        if self._seconds:
            self._seconds = 0.0
            self._failed = None
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._owner._forget(self, self._transaction)
            self.flow.unwatch(self)
            self.flow.let_go()

    def flow_failed(self, reason: str) -> None:
        """Take note that the flow is gone: whoever asked for it is told, once."""
        failed = self._failed
        self.stop()
        if failed is not None:
            failed(reason)

    def _wait(self, seconds: float, call: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._owner.host.clock.callLater(seconds, call)

    def _rest(self) -> None:
        part = self._owner.host.random.uniform(SHORTEST_PART, 1.0)
        self._wait(self._seconds * part, self._ping)

    def _ping(self) -> None:
        self._timer = None
        if self.flow.reliable:
            self._wait(PONG_TIMEOUT, self._silent)
            cast(Any, self.flow).ping(self._answered)
        elif self._how == "crlf":
            self.flow.send(b"\r\n\r\n")
            self._rest()
        else:
            self._transaction = self._owner._enter(self)
            self._sent = 0
            self._ask()

    def _ask(self) -> None:
        self._timer = None
        if self._sent >= MOST_REQUESTS:
            self._silent()
            return
        self._wait(FIRST_REPETITION * 2**self._sent, self._ask)
        self._sent += 1
        self.flow.send(binding_request(self._transaction))

    def _answered(self) -> None:
        if self._seconds:
            self._rest()

    def _silent(self) -> None:
        self._timer = None
        self._owner.user.counters["keep_alives_unanswered"] += 1
        self.flow_failed("no answer to a keep-alive")

    def mapped(self, address: object) -> None:
        """Take the answer to a STUN request: the address that the far end sees us at (RFC 5626 4.4.2)."""
        self._owner._forget(self, self._transaction)
        self._transaction = b""
        if self._mapped is not None and address is not None and address != self._mapped:
            self.flow_failed("our address outside the NAT has changed")
            return
        self._mapped = address or self._mapped
        self._answered()


class KeepAlives:
    """All kept flows of one user agent, and the STUN messages that come."""

    def __init__(self, host: Host, user: TransportUser) -> None:
        self.host = host
        self.user = user
        self._kept: dict[KeptFlow, None] = {}
        self._asked: dict[bytes, KeptFlow] = {}

    def keep(
        self, flow: TransportFlow, seconds: float, failed: Callable[[str], None] | None = None, how: How = "stun"
    ) -> KeptFlow:
        """Keep a flow open by a ping at least every so many ``seconds``, until `KeptFlow.stop`.

        ``failed`` is called with the reason, once and never from here, when the flow has failed: its connection ended,
        a ping had no answer, or STUN says that our address outside a NAT is another. Usual are 25 s over UDP and 110 s
        over connections (RFC 5626 4.4). ``how`` is for UDP. ValueError for less than a second; `RuntimeError` when
        `MAX_KEPT` flows are kept.
        """
        if seconds < 1:
            raise ValueError(f"a keep-alive every {seconds} seconds: at least one second is needed")
        if len(self._kept) >= MAX_KEPT:
            raise RuntimeError(f"{MAX_KEPT} flows are kept already")
        kept = KeptFlow(self, flow, seconds, failed, how)
        self._kept[kept] = None
        return kept

    def received(self, data: bytes, flow: TransportFlow) -> None:
        """Take a STUN message from a UDP port: answer a request, match an answer; anything else is counted."""
        counters = self.user.counters
        try:
            message = parse_stun(data)
        except RemoteProtocolError:
            counters["stun_garbage"] += 1
            return
        if message.kind == REQUEST:
            counters["stun_requests"] += 1
            flow.send(binding_answer(message, flow.remote))
            return
        kept = self._asked.get(message.transaction)
        # An answer counts from where the request went only: ids are random, but on a shared medium they can be seen.
        if kept is None or kept.flow.remote != flow.remote:
            counters["stun_strays"] += 1
            return
        counters["keep_alives_answered"] += 1
        # An error is an answer too: the far end is there, whatever it thinks of STUN (RFC 5626 4.4.2).
        kept.mapped(message.mapped if message.kind == SUCCESS else None)

    def close(self) -> None:
        """Let all flows go; nobody is told."""
        for one in tuple(self._kept):
            one.stop()

    def _enter(self, kept: KeptFlow) -> bytes:
        transaction = self.host.random.getrandbits(8 * ID_SIZE).to_bytes(ID_SIZE, "big")
        self._asked[transaction] = kept
        return transaction

    def _forget(self, kept: KeptFlow, transaction: bytes) -> None:
        self._asked.pop(transaction, None)
        if not kept._seconds:
            self._kept.pop(kept, None)
