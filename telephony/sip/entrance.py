"""The door that new calls come in by: who waits there, and who is sent away unread (RFC 3261 8.2.7, 21.5.4).

Owns: what happens to an INVITE from outside of any dialog before anything is made for it. Must not know sessions, nor
when it is time to refuse: that is `telephony.sip.admission`'s.

Who is sent away is answered without any state but this: for some seconds it is remembered whom a 503 was sent to, so
that an INVITE which was repeated on the way, and comes when there is time again, isn't taken up for a caller that has
given up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable
from hashlib import blake2b

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Clock
from telephony.sip.admission import Admission
from telephony.sip.answering import note_source, way_back
from telephony.sip.defence import Defence
from telephony.sip.glance import Refusing, begins_call
from telephony.sip.message import Request
from telephony.sip.parser import UnparsableMessage, parse_message
from telephony.sip.stateless import Stateless
from telephony.sip.transaction import ServerInput, Transactions, server_key
from telephony.sip.transport.base import TransportFlow

#: When callers that are sent away may try again: in so many seconds, and up to so many more, so that they don't all
#: come back at once (RFC 3261 20.33).
RETRY_AFTER = 5
RETRY_SPAN = 10
#: For how many seconds at least it is remembered who was sent away, twice that at most, and how many in that time. By
#: then the last repetition of a request that has got its 503 has come: they are half a second to four seconds apart.
REMEMBERED_FOR = 4.0
MOST_REMEMBERED = 32_768

#: A datagram or, from a stream, a request; and the flow it came by.
Waiting = tuple[bytes | Request, TransportFlow]


class Entrance:
    """The door of one user agent. ``take`` deals with a message at once."""

    def __init__(
        self,
        clock: Clock,
        counters: Counter[str],
        transactions: Transactions,
        defence: Defence,
        stateless: Stateless,
        secret: bytes,
        product: str,
        take: Callable[[bytes | Request, TransportFlow], None],
    ) -> None:
        self._clock = clock
        self._counters = counters
        self._transactions = transactions
        self._defence = defence
        self._stateless = stateless
        self._take = take
        self.admission: Admission[Waiting] = Admission(clock, counters, self._admit, self._refuse)
        # Nobody can guess it who hasn't been refused; who has may have its ACKs dropped, and nobody else's.
        mark = blake2b(b"mark", digest_size=6, key=secret).hexdigest()
        self._refusing = Refusing(secret, mark, product, RETRY_AFTER, RETRY_SPAN)
        #: The transactions of who was sent away, of late and before that.
        self._lately: set[Hashable] = set()
        self._before: set[Hashable] = set()
        self._since = clock.seconds()

    def keeps(self, data: bytes, flow: TransportFlow) -> bool:
        """Tell whether a datagram is kept here, to be dealt with later or not at all."""
        method = data[:7]
        if method == b"INVITE ":
            if begins_call(data):
                self.admission.offer((data, flow))
                return True
        elif method == b"CANCEL ":
            if len(self.admission):
                # It may be about one that waits. A caller mustn't send it before a provisional response (9.1).
                self.admission.follow((data, flow))
                return True
        elif self._refusing.is_acknowledgement(data):
            self._counters["requests"] += 1
            self._counters["stray_acks"] += 1
            return True
        return False

    def came(self, request: Request, flow: TransportFlow) -> None:
        """Take an INVITE or CANCEL that came by a stream."""
        if request.method == "INVITE" and _begins_call(request):
            self.admission.offer((request, flow))
            self.admission.turn()
        elif request.method == "CANCEL" and len(self.admission):
            self.admission.follow((request, flow))
        else:
            self._take(request, flow)

    def was_refused(self, key: Hashable) -> bool:
        """Tell whether the request with this `server_key` has had its 503."""
        return key in self._lately or key in self._before

    def _admit(self, waiting: Waiting) -> None:
        self._take(*waiting)

    def _refuse(self, waiting: Waiting) -> None:
        message, flow = waiting
        if isinstance(message, Request):
            self._refuse_parsed(message, flow)
            return
        seen = self._refusing.refusal(message, flow.remote)
        if seen is None:
            try:
                request = parse_message(message)
            except UnparsableMessage:
                request = None
            if isinstance(request, Request):
                self._refuse_parsed(request, flow)
            else:
                self._take(message, flow)
            return
        self._counters["requests"] += 1
        if not self._is_repeated(seen.key) and self._defence.answers(flow.remote[0]):
            self._remember(seen.key)
            self._counters["sent_503"] += 1
            flow.listener.flow(seen.destination).send(seen.response)

    def _refuse_parsed(self, request: Request, flow: TransportFlow) -> None:
        try:
            request.check()
            key = server_key(request)
            note_source(request, flow.remote)
            back = way_back(request, flow)
        except RemoteProtocolError:
            self._take(request, flow)  # whose refusal says what is wrong with it
            return
        self._counters["requests"] += 1
        if not self._is_repeated(key) and self._defence.answers(flow.remote[0]):
            self._remember(key)
            self._stateless.reply(request, back, 503, [("Retry-After", str(RETRY_AFTER))])

    def _is_repeated(self, key: Hashable) -> bool:
        """Deal with a request that was taken up when it came before: whoever repeats it isn't sent away."""
        transaction = self._transactions.server.get(key)
        if transaction is None:
            return False
        self._counters["retransmissions"] += 1
        transaction.feed(ServerInput.REQUEST)
        return True

    def _remember(self, key: Hashable) -> None:
        now = self._clock.seconds()
        if now - self._since >= REMEMBERED_FOR or len(self._lately) >= MOST_REMEMBERED:
            fresh = now - self._since < 2 * REMEMBERED_FOR
            self._before, self._lately = self._lately if fresh else set(), set()
            self._since = now
        self._lately.add(key)

    def close(self) -> None:
        """Forget who waits."""
        self.admission.close()


def _begins_call(request: Request) -> bool:
    """Tell whether an INVITE is from outside of any dialog; one that can't be read is for others to refuse."""
    try:
        return request.to.tag is None
    except RemoteProtocolError:
        return False
