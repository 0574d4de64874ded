"""A registration of ours at somebody's registrar, kept alive (RFC 3261 10.2).

Owns: REGISTER, its refresh before it expires, trying again with growing pauses, and its removal. Must not know what the
registration is good for, nor sockets. Time and randomness come from the user agent it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Clock, DelayedCall
from telephony.sip.auth import Account, Authentication
from telephony.sip.dialog import VIA_TO_COME
from telephony.sip.flow import Elsewhere, Flow
from telephony.sip.headers import parse_name_addr, parse_number
from telephony.sip.message import Request, Response
from telephony.sip.sending import Sending, SendingCore
from telephony.sip.transaction import TransactionFailure
from telephony.sip.uri import SipUri, parse_uri
from telephony.tables import Machine, Symbol, Table, ignored

#: Seconds that we ask for.
EXPIRES = 3600
#: The pause after the first failure, and the longest one; each is twice the one before, a quarter more or less.
FIRST_PAUSE = 4.0
LONGEST_PAUSE = 300.0
#: The pause after a refusal that trying again won't change: who guesses passwords gets locked out.
REFUSED_PAUSE = 900.0
#: The longest pause that a Retry-After gets us to make, and the longest Min-Expires that we follow.
LONGEST_WISH = 3600
#: How long before the end a registration is refreshed: a tenth of its time, not longer than a request may take to fail.
MARGIN = 0.1

#: Refusals that have their reason in our configuration.
_FINAL = frozenset([401, 403, 404, 407, 416, 420, 604])


class KeptFlow(Protocol):
    """A flow that is kept open."""

    def stop(self) -> None:
        """Let it go."""


class RegistrationCore(SendingCore, Protocol):
    """What a registration needs of the user agent."""

    @property
    def clock(self) -> Clock:
        """The time."""

    @property
    def product(self) -> str:
        """What User-Agent says."""

    def contact(self, flow: Flow) -> str:
        """Return the Contact that leads the peer of ``flow`` to us."""

    def keep_alive(self, flow: Any, seconds: float, failed: Callable[[str], None]) -> KeptFlow:
        """Keep a flow open, and be told when it has failed; see `telephony.sip.keepalive`."""

    def find(self, uri: SipUri, found: Callable[[Elsewhere | None, str], None]) -> None:
        """Find the ways to a URI; ``found`` gets None and the reason where there is none."""


class RegistrationState(Symbol):
    """Where a registration is."""

    OFF = "not begun, or ended"
    REGISTERING = "a REGISTER is under way"
    REGISTERED = "registered"
    WAITING = "refused or unreachable, to be tried again"
    ENDING = "being removed"


class RegistrationInput(Symbol):
    """What happens to a registration."""

    START = "start (verb)"
    STOP = "stop (verb)"
    ACCEPTED = "a 2xx"
    REFUSED = "a 300 to 699"
    FAILED = "no answer, or no way"
    TIMER = "time to refresh, or to try again"
    FLOW_LOST = "the connection ended"


class Registration(Machine[RegistrationState, RegistrationInput]):
    """One address of ours at one registrar.

    ``address`` is the address of record, ``registrar`` the domain's URI, ``routes`` are Route values as text, the first
    of which is where it goes. With ``keep_alive`` the way to it is kept open, every so many seconds. ``on_change`` is
    called with a sentence each time something happened that a person wants to know. ``peer`` is the IP address of the
    registrar that took the last REGISTER, None while we aren't registered.
    """

    __slots__ = (
        "_authentication",
        "_bound",
        "_call_id",
        "_contact",
        "_core",
        "_cseq",
        "_ends",
        "_expires",
        "_failures",
        "_flow",
        "_keep_alive",
        "_kept",
        "_lowered",
        "_sending",
        "_stopped",
        "_tag",
        "_timer",
        "address",
        "on_change",
        "registrar",
        "routes",
    )

    def __init__(
        self,
        core: RegistrationCore,
        address: SipUri,
        registrar: SipUri,
        account: Account,
        *,
        routes: tuple[str, ...] = (),
        expires: int = EXPIRES,
        keep_alive: int = 0,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(RegistrationState.OFF)
        self._core = core
        self.address = address
        self.registrar = registrar
        self.routes = routes
        self.on_change = on_change
        self._authentication = Authentication(account)
        # All REGISTERs of one registration have one Call-ID and rising numbers (RFC 3261 10.2).
        self._call_id = f"{core.random.getrandbits(128):032x}"
        self._tag = f"{core.random.getrandbits(64):016x}"
        self._cseq = 0
        self._expires = expires
        self._keep_alive = keep_alive
        self._kept: KeptFlow | None = None
        self._ends = 0.0
        self._failures = 0
        #: Whether the present attempt has followed a Min-Expires already.
        self._lowered = False
        #: Whether there may be a binding of ours at the registrar.
        self._bound = False
        self._contact = ""
        self._sending: Sending | None = None
        self._flow: Flow | None = None
        self._timer: DelayedCall | None = None
        self._stopped: list[Deferred[None]] = []

    # Verbs

    def start(self) -> None:
        """Register, and stay registered. Harmless when begun."""
        self.feed(RegistrationInput.START)

    def stop(self) -> Deferred[None]:
        """Remove the registration; fires when the registrar has said so, or doesn't, within 64*T1. Never fails."""
        if self.state is RegistrationState.OFF:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._stopped.append(done)
        self.feed(RegistrationInput.STOP)
        return done

    @property
    def registered(self) -> bool:
        """Whether the registrar has us on its list, as far as we know; during a refresh too."""
        return self._ends > self._core.clock.seconds()

    @property
    def seconds_left(self) -> float:
        """How long the registration is good for; 0 when there is none."""
        return max(0.0, self._ends - self._core.clock.seconds())

    @property
    def peer(self) -> str | None:
        """The IP address that the registration was taken by."""
        return self._flow.remote[0] if self._flow is not None and self.registered else None

    # What the sending says

    def flow_failed(self, reason: str) -> None:
        """See `FlowWatcher`."""
        self.feed(RegistrationInput.FLOW_LOST, reason)

    def _response(self, response: Response) -> None:
        if response.status >= 200:
            ok = response.status < 300
            self.feed(RegistrationInput.ACCEPTED if ok else RegistrationInput.REFUSED, response)

    def _failed(self, _failure: TransactionFailure, reason: str) -> None:
        self.feed(RegistrationInput.FAILED, reason)

    def _next_cseq(self) -> int:
        self._cseq += 1
        return self._cseq

    # Outputs

    def _register(self, _: object = None) -> None:
        self._stop_timer()
        self._find()

    def _find(self) -> None:
        self._drop_flow()
        next_hop = parse_name_addr(self.routes[0]).parsed_uri if self.routes else self.registrar
        assert isinstance(next_hop, SipUri)
        self._core.find(next_hop, self._found)

    def _found(self, ways: Elsewhere | None, reason: str) -> None:
        flow = ways.next() if ways is not None else None
        if flow is None:
            self.feed(RegistrationInput.FAILED, reason or "no listener of ours can reach it")
            return
        if self.state in (RegistrationState.REGISTERING, RegistrationState.ENDING):
            self._send(flow, ways)

    def _send(self, flow: Flow, ways: Elsewhere | None) -> None:
        expires = 0 if self.state is RegistrationState.ENDING else self._expires
        request = Request("REGISTER", str(self.registrar))
        request.set("Via", VIA_TO_COME)
        for route in self.routes:
            request.add("Route", route)
        request.set("Max-Forwards", "70")
        request.set("From", f"<{self.address}>;tag={self._tag}")
        request.set("To", f"<{self.address}>")
        request.set("Call-ID", self._call_id)
        request.set("CSeq", f"{self._next_cseq()} REGISTER")
        request.set("Contact", "<sip:0.0.0.0>")
        request.set("Expires", str(expires))
        if self._core.product:
            request.set("User-Agent", self._core.product)
        self._adapt(request, flow)
        self._bound = self._bound or expires > 0
        self._sending = Sending(
            self._core,
            request,
            flow,
            self._authentication,
            on_response=self._response,
            on_failure=self._failed,
            next_cseq=self._next_cseq,
            elsewhere=ways,
            on_elsewhere=self._adapt,
        )

    def _adapt(self, request: Request, flow: Flow) -> None:
        """Write our Contact as the registrar that ``flow`` leads to sees us, with the user that it knows us by."""
        uri = parse_uri(parse_name_addr(self._core.contact(flow)).uri)
        assert isinstance(uri, SipUri)
        self._contact = str(attrs.evolve(uri, user=self.address.user))
        request.set("Contact", f"<{self._contact}>")

    def _keep(self, response: Response) -> None:
        """Take a 2xx: note how long it is good for, and when to ask again."""
        granted = self._granted(response)
        news = not self.registered or self._failures > 0
        self._failures = 0
        self._lowered = False
        self._ends = self._core.clock.seconds() + granted
        assert self._sending is not None
        self._flow, self._sending = self._sending.flow, None
        if self._keep_alive:
            self._kept = self._core.keep_alive(self._flow, self._keep_alive, self.flow_failed)
        else:
            self._flow.watch(self)
        margin = max(granted * MARGIN, min(32.0, granted / 2))
        self._wait(max(1.0, granted - margin))
        if news:
            host, port = self._flow.remote
            self._tell(f"registered at {host} port {port} for {granted} s, to be refreshed before that")

    def _granted(self, response: Response) -> int:
        """Return the seconds a 2xx grants our binding (RFC 3261 10.2.4); what we asked for where it doesn't say."""
        usual = self._expires
        with suppress(RemoteProtocolError):
            usual = parse_number((response.get("Expires") or str(usual)).strip(), 2**32 - 1)
        with suppress(RemoteProtocolError):
            for one in response.contacts:
                told = one.params.get("expires")
                # Registrars write our Contact in ways of their own, but its user and host stay.
                if told is not None and self._ours(one.uri):
                    usual = parse_number(told, 2**32 - 1)
        return max(1, min(usual, self._expires))

    def _ours(self, uri: str) -> bool:
        try:
            one, mine = parse_uri(uri), parse_uri(self._contact)
        except RemoteProtocolError:
            return False
        if not isinstance(one, SipUri) or not isinstance(mine, SipUri):
            return False
        return (one.user, one.host, one.port or 5060) == (mine.user, mine.host, mine.port or 5060)

    def _refused(self, response: Response) -> None:
        """Take a refusal: try again soon, later, or with the time that the registrar wants (RFC 3261 10.2.8)."""
        status = response.status
        sending, self._sending = self._sending, None
        if status == 423 and not self._lowered:
            wanted = self._number(response, "Min-Expires")
            if wanted is not None and self._expires < wanted:
                self._lowered = True
                self._expires = wanted
                self.feed(RegistrationInput.TIMER)
                return
        why = sending.refused_because if sending is not None else ""
        advice = f" ({why})" if why else ": check the user and the password" if status == 403 else ""
        if status in _FINAL:
            # It says that we aren't registered, or soon will not be.
            self._ends = 0.0
            pause = REFUSED_PAUSE
        else:
            pause = self._pause()
        wish = self._number(response, "Retry-After")
        if wish is not None:
            pause = max(pause, float(wish))
        self._try_again(f"refused with {status} {response.reason[:60]!r}{advice}", pause)

    @staticmethod
    def _number(response: Response, name: str) -> int | None:
        """Return the number that a field begins with, as far as we follow it; None without one."""
        text = (response.get(name) or "").strip().partition(";")[0].partition("(")[0].strip()
        try:
            return min(parse_number(text, 2**32 - 1), LONGEST_WISH * 24 if name == "Min-Expires" else LONGEST_WISH)
        except RemoteProtocolError:
            return None

    def _unreachable(self, reason: str) -> None:
        self._sending = None
        self._try_again(f"no answer: {reason}", self._pause())

    def _lost(self, reason: str) -> None:
        """The connection ended: the registrar can't reach us any more, whatever its list says."""
        self._ends = 0.0
        self._flow = None
        self._try_again(f"the connection to the registrar ended: {reason}", self._jittered(1.0))

    def _pause(self) -> float:
        self._failures += 1
        return self._jittered(min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 16)))

    def _jittered(self, seconds: float) -> float:
        # Many who lost their registrar in one moment shouldn't all come back in one moment.
        return seconds * self._core.random.uniform(0.75, 1.25)

    def _try_again(self, sentence: str, pause: float) -> None:
        self._lowered = False
        self._tell(f"{sentence}; trying again in {pause:.0f} s")
        self._wait(pause)

    def _remove(self, _: object) -> None:
        self._stop_timer()
        if self._bound:
            self._find()
        else:
            self.feed(RegistrationInput.FAILED, "")

    def _stop_first(self, _: object) -> None:
        """Stop while a name is being looked up: nothing is under way that would have an answer."""
        if self._sending is None and not self._bound:
            self.feed(RegistrationInput.FAILED, "")

    def _removed(self, _: object) -> None:
        self._stop_timer()
        self._drop_flow()
        self._sending = None
        self._ends = 0.0
        self._bound = False
        waiting, self._stopped = self._stopped, []
        for done in waiting:
            done.callback(None)

    def _after_register(self, _: object) -> None:
        """The REGISTER that was under way at the stop has its answer: take back what it may have done."""
        sending, self._sending = self._sending, None
        ended = sending is None or sending.request.get("Expires") == "0"
        if ended:
            self.feed(RegistrationInput.FAILED, "")
        else:
            self._find()

    def _tell(self, sentence: str) -> None:
        if self.on_change is not None:
            self.on_change(sentence)

    def _wait(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self._core.clock.callLater(seconds, self._time)

    def _time(self) -> None:
        self._timer = None
        self.feed(RegistrationInput.TIMER)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop_flow(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.stop()
        if self._flow is not None:
            self._flow.unwatch(self)


_S, _I = RegistrationState, RegistrationInput
_R = Registration

REGISTRATION: Table[RegistrationState, RegistrationInput] = {
    _S.OFF: {
        _I.START: (_S.REGISTERING, (_R._register,)),
        **ignored(_S.OFF, *(one for one in RegistrationInput if one is not _I.START)),
    },
    _S.REGISTERING: {
        _I.ACCEPTED: (_S.REGISTERED, (_R._keep,)),
        _I.REFUSED: (_S.WAITING, (_R._refused,)),
        _I.FAILED: (_S.WAITING, (_R._unreachable,)),
        # The removal follows the answer to what is under way, so that the two can't overtake each other.
        _I.STOP: (_S.ENDING, (_R._stop_first,)),
        **ignored(_S.REGISTERING, _I.START, _I.TIMER, _I.FLOW_LOST),
    },
    _S.REGISTERED: {
        _I.TIMER: (_S.REGISTERING, (_R._register,)),
        _I.FLOW_LOST: (_S.WAITING, (_R._lost,)),
        _I.STOP: (_S.ENDING, (_R._remove,)),
        **ignored(_S.REGISTERED, _I.START, _I.ACCEPTED, _I.REFUSED, _I.FAILED),
    },
    _S.WAITING: {
        _I.START: (_S.REGISTERING, (_R._register,)),
        _I.TIMER: (_S.REGISTERING, (_R._register,)),
        _I.STOP: (_S.ENDING, (_R._remove,)),
        **ignored(_S.WAITING, _I.FLOW_LOST, _I.ACCEPTED, _I.REFUSED, _I.FAILED),
    },
    _S.ENDING: {
        _I.ACCEPTED: (_S.ENDING, (_R._after_register,)),
        _I.REFUSED: (_S.ENDING, (_R._after_register,)),
        _I.FAILED: (_S.OFF, (_R._removed,)),
        **ignored(_S.ENDING, _I.START, _I.STOP, _I.TIMER, _I.FLOW_LOST),
    },
}
Registration.table = REGISTRATION
