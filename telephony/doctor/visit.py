"""One visit at a peer: what all checks share, and the asking of one question.

Owns: the phone, the peer's addresses, what is known of it so far, waiting with a limit, and requests outside of calls.
Must not know which checks there are.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from telephony.doctor.asked import Asked
from telephony.doctor.findings import NotDone
from telephony.doctor.guard import PeerOnly
from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, Clock, Host
from telephony.sip.message import Request, Response
from telephony.sip.targets import DEFAULT_PORTS, Target
from telephony.sip.transport.tls import TlsIdentity
from telephony.sip.uri import SipUri
from telephony.testing.certificates import issue
from telephony.testing.digest import Credentials
from telephony.testing.phone import Phone
from telephony.testing.phone_call import PhoneCall
from telephony.testing.phone_parts import ALLOW
from telephony.testing.phone_sending import Sending
from telephony.testing.phone_timer import TimerWish
from telephony.testing.wire import ClientTransaction, Way

T = TypeVar("T")

#: The shortest session interval there is (RFC 4028 4): whoever wants a longer one has to say so.
SESSION_SECONDS = 90
#: The SRTP that calls over TLS insist on, as a server of ours offers it there.
SUITE = "AES_CM_128_HMAC_SHA1_80"


class _Identity(TlsIdentity):
    """An identity whose connections are to the name that was asked for, not to the address that it led to."""

    name = ""

    def connecting(self, factory: Any, clock: Clock, name: str) -> Any:
        """Put the connecting side of TLS under a factory's protocols."""
        return super().connecting(factory, clock, self.name or name)


class Visit:
    """What is known of one peer. ``refusal`` is why nothing of it can be reached, while there is no way to it."""

    def __init__(self, host: Host, asked: Asked) -> None:
        self.host = PeerOnly(host)
        self.host.allowed |= asked.also
        self.asked = asked
        self.clock: Clock = host.clock
        self.targets: list[Target] = []
        self.reached: dict[str, Address] = {}
        """Where something answered, by transport: ``"UDP"``, ``"TCP"``, ``"TLS"``."""
        self.transport = ""
        """What the visit goes on over, once something has answered."""
        self.first: Response | None = None
        """The first answer to our OPTIONS over UDP, for what it says about the way."""
        self.allow: frozenset[str] = frozenset()
        self.challenged: list[str] = []
        """The digest algorithms that a REGISTER was challenged for."""
        self.registered = False
        self.call_ended = ""
        """Why nothing can be asked in the call any more."""
        self.noted: list[str] = []
        """What complaints have in them that a check has told already."""
        self._phone: Phone | None = None
        self._call: PhoneCall | None = None

    # The phone

    @property
    def phone(self) -> Phone:
        """The phone that asks and calls."""
        assert self._phone is not None, "before there is an address to speak from"
        return self._phone

    @property
    def began(self) -> bool:
        """Whether there is a phone."""
        return self._phone is not None

    def open_phone(self, local: str) -> None:
        """Make the phone. Raises OSError where no ports can be had at that address."""
        asked = self.asked
        name = (asked.caller.user if asked.caller is not None else None) or asked.user or "doctor"
        # Its own certificate is for its own listener, which needs one; nobody is asked to believe it.
        own = issue(local)
        identity = _Identity(certificate=own.certificate, key=own.key, authorities=asked.authorities)
        if asked.authorities is None:
            identity = _Identity(certificate=own.certificate, key=own.key)
        identity.name = asked.target.host
        for left in range(8, -1, -1):
            try:
                self._phone = Phone(
                    self.host,
                    (local, 0),
                    name,
                    transport=(asked.transport or "udp"),
                    reliable=True,
                    session_timer=TimerWish(SESSION_SECONDS, "uac"),
                    refer=603,
                    tls=identity,
                )
            except OSError:
                if not left:  # the UDP port that was free had a TCP or TLS neighbour each time
                    raise
            else:
                break
        self._phone_ways()

    def _phone_ways(self) -> None:
        """Have the phone's requests to the peer go where the peer was found, whatever their URI says of it."""
        wire = self.phone.wire
        find = wire.ways

        def ways(uri: SipUri, transport: str, found: Callable[[Way | None], None]) -> None:
            target = self.asked.target
            if self.transport and (uri.host.lower(), uri.port) == (target.host.lower(), target.port):
                found(self.way())
            else:
                find(uri, transport, found)

        wire.ways = ways  # type: ignore[method-assign]

    def way(self, transport: str = "") -> Way:
        """Return the way to the peer, over the transport that the visit goes on over, or another."""
        kind = transport or self.transport
        if kind not in self.reached:
            raise NotDone(f"nothing answers over {kind}")
        return Way(kind, self.reached[kind])

    def candidate(self, transport: str) -> Address:
        """Return where the peer should be over a transport: as DNS says, else beside where it is over another."""
        for one in self.targets:
            if one.transport == transport:
                return one.address
        ip, port = self.targets[0].address
        given = self.asked.target.port
        own_is_tls = self.targets[0].transport == "TLS"
        if transport == "TLS":
            return ip, 5061 if given is None else port + 1
        if own_is_tls:
            return ip, 5060 if given is None else port - 1
        return ip, given or DEFAULT_PORTS[transport]

    # Asking

    async def within(self, what: Deferred[T], seconds: float | None = None) -> T | None:
        """Wait for a Deferred so long, for one answer's time by default; None when it has not fired by then."""
        late: list[bool] = []

        def give_up() -> None:
            late.append(True)
            what.cancel()

        limit = self.clock.callLater(self.asked.timeout if seconds is None else seconds, give_up)
        try:
            return await what
        except CancelledError:
            if late:
                return None
            raise
        finally:
            if limit.active():
                limit.cancel()

    async def pause(self, seconds: float) -> None:
        """Let so many seconds pass."""
        over: Deferred[None] = Deferred(lambda _given_up: timer.cancel())
        timer = self.clock.callLater(seconds, over.callback, None)
        await over

    def request(self, method: str, uri: str, transport: str, *, aor: str | None = None) -> Request:
        """Return a request outside of any dialog."""
        phone = self.phone
        own = aor or self.own_address(transport)
        request = Request(method, uri)
        request.add("Via", phone.wire.via(transport))
        request.add("Max-Forwards", "70")
        request.add("From", f"<{own}>;tag={phone.token()}")
        request.add("To", f"<{aor or uri}>")
        request.add("Call-ID", f"{phone.token()}@doctor")
        request.add("CSeq", f"{self.host.random.randint(1, 9999)} {method}")
        request.add("Contact", f"<{phone.contact(transport)}>")
        if method == "OPTIONS":
            request.add("Accept", "application/sdp")
            request.add("Allow", ALLOW)
        return request

    def own_address(self, transport: str = "") -> str:
        """Return what our From says."""
        asked = self.asked
        if asked.caller is not None:
            return str(asked.caller)
        if asked.user is not None:
            return f"sip:{asked.user}@{asked.host}"
        return self.phone.contact(transport or self.transport or "UDP").partition(";")[0]

    def credentials(self, password: str | None = None, *algorithms: str) -> Credentials | None:
        """Return what answers challenges; None without a user."""
        asked = self.asked
        if asked.user is None or asked.password is None:
            return None
        more = {"algorithms": algorithms} if algorithms else {}
        return Credentials(asked.user, password or asked.password, self.host.random, **more)

    async def ask(
        self, request: Request, way: Way, credentials: Credentials | None = None, seconds: float | None = None
    ) -> Response | None:
        """Send a request, with credentials where they are wanted; return the final answer, None for none in time."""
        answered: Deferred[Response | None] = Deferred()
        running: list[ClientTransaction] = []

        def came(response: Response | None) -> None:
            if not answered.called and (response is None or response.status >= 200):
                answered.callback(response)

        sending = Sending(self.phone.wire, credentials)
        running.append(sending.begin(request, way, came, began=lambda _again, client: running.append(client)))
        response = await self.within(answered, seconds)
        if response is None:
            for one in running:
                one.stop()
        return response

    # The call

    @property
    def call(self) -> PhoneCall:
        """The call, while it lasts. Raises `NotDone` when it doesn't."""
        call = self._call
        if call is None or not call.talking:
            raise NotDone(self.why_no_call())
        return call

    @call.setter
    def call(self, call: PhoneCall) -> None:
        self._call = call

    @property
    def last_call(self) -> PhoneCall | None:
        """The call, though it may be over; None when there was none."""
        return self._call

    def why_no_call(self) -> str:
        """Say why there is no call to ask in, "" when there is one."""
        call = self._call
        if call is not None and call.talking:
            return ""
        if call is None or not call.answered:
            return self.call_ended or "there is no call"
        if not self.call_ended:
            self.call_ended = "the peer hung up" if call.ended_by == "far" else "the phone had to end the call"
        return self.call_ended

    def since(self, moment: float) -> float:
        """Return how many milliseconds ago a moment was."""
        return (self.clock.seconds() - moment) * 1000

    def note(self, *words: str) -> None:
        """Say that a check has told of complaints with these words in them."""
        self.noted += words

    def complaints(self) -> list[str]:
        """Return what the phone complains of, each once, without what a check has told."""
        found = []
        for text in self.phone.faults():
            _, _, what = text.partition(": ")
            if "no Content-Length" in what:  # RFC 3261 20.14: only over streams it has to be there
                continue
            if not any(word in what for word in self.noted):
                found.append(what)
        return list(dict.fromkeys(found))


def milliseconds(value: float) -> str:
    """Write milliseconds as a person reads them."""
    if value < 1:
        return "under 1 ms"
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def listed(items: Any, last: str = "and") -> str:
    """Write a list as words."""
    words = [str(one) for one in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}" if words else ""


def place(address: Address) -> str:
    """Write an address and port as words."""
    return f"{address[0]} port {address[1]}"


def tags(values: list[str]) -> list[str]:
    """Return option tags or methods, each once."""
    return list(dict.fromkeys(one.strip() for one in values if one.strip()))


def quoted(response: Response) -> str:
    """Write a response's status and reason, cut to a length that fits a sentence."""
    reason = "".join(one for one in response.reason[:60] if one.isprintable())
    return f"{response.status} {reason!r}" if reason else str(response.status)


def number_in(message: Response, name: str) -> int | None:
    """Return the number that a header field begins with; None where there is none."""
    text = (message.get(name) or "").partition(";")[0].strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None


def is_private(ip: str) -> bool:
    """Tell whether an address is one that the world can't reach."""
    try:
        return ip_address(ip).is_private
    except ValueError:
        return False


def via_parameter(response: Response, name: str) -> str | None:
    """Return a parameter of the response's topmost Via, "" where it has no value; None where there is none."""
    try:
        params = response.via.params
    except RemoteProtocolError:
        return None
    return (params[name] or "") if name in params else None
