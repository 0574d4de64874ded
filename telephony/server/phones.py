"""The phones that sign in: their passwords, where they are, and whether a call is really one of theirs.

Owns: REGISTER of ``[[phone]]``s (RFC 3261 10.3 with digest, 22), and challenges to their calls. Must not know services.
A name that nobody has is treated as a wrong password is, to the byte and in like time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.logger import Logger

from telephony.interfaces import Clock
from telephony.server.lines_config import PhoneSection
from telephony.sip.auth import OFFERED, Authority, Verdict, ha1s, read_credentials
from telephony.sip.flow import Flow
from telephony.sip.headers import NameAddr
from telephony.sip.identity import Identity, Kind
from telephony.sip.message import Request
from telephony.sip.registrar import BindingWays, Registrar
from telephony.sip.uri import SipUri

#: A status, and header fields.
Answer = tuple[int, list[tuple[str, str]]]
#: A wrong password of one phone is told once in so many seconds.
TOLD_EVERY = 60.0


class Phones:
    """All phones that may sign in, and those that have.

    ``key`` is secret, and makes the nonces. ``serves`` tells whether a host is one of ours. `on_refused` is called with
    the address that a wrong name or password came from, and the request: whoever bans addresses listens there.
    """

    _log = Logger()

    def __init__(
        self,
        sections: Sequence[PhoneSection],
        clock: Clock,
        key: bytes,
        realm: str,
        serves: Callable[[SipUri], bool],
        algorithms: Sequence[str] = OFFERED,
    ) -> None:
        self._clock = clock
        self._serves = serves
        self._secrets: dict[str, Mapping[str, str]] = {one.name: ha1s(one.name, realm, one.secret) for one in sections}
        self._authority = Authority(key, realm, algorithms)
        self._told: dict[str, float] = {}
        self.registrar = Registrar(clock, told=self._tell)
        self.on_refused: Callable[[str, Request], None] | None = None

    def __contains__(self, name: str) -> bool:
        return name in self._secrets

    def ways(self, name: str) -> BindingWays:
        """Return the ways to a phone, none when it isn't signed in."""
        return BindingWays(self.registrar.bindings(name))

    def register(self, request: Request, flow: Flow) -> Answer:
        """Answer a REGISTER."""
        judged = self._judge(request, flow)
        if isinstance(judged, tuple):
            return judged
        address = request.to.parsed_uri
        if not isinstance(address, SipUri) or address.user != judged:
            return 403, []  # nobody signs in for somebody else (RFC 3261 10.3 step 4)
        if not self._serves(address):
            return 404, []
        return self.registrar.register(judged, request, flow)

    def identify(self, request: Request, flow: Flow, *, ask: bool = False) -> Identity | Answer | None:
        """Tell whose call an INVITE is: a phone's, None for a stranger's, or what is to be answered to find out.

        It is asked for a password where it comes from a phone's address, and with ``ask`` wherever it comes from.
        """
        if not request.has("Authorization") and not ask and self.registrar.came_from(flow) is None:
            return None
        judged = self._judge(request, flow)
        if isinstance(judged, tuple):
            return judged
        uri = request.from_.parsed_uri
        if not isinstance(uri, SipUri) or not self._serves(uri):
            uri = SipUri("sip", None, None, flow.local[0])
        address = SipUri("sip", judged, None, uri.host, uri.port)
        caller = NameAddr(request.from_.display, str(address))
        return Identity(Kind.PHONE, judged, caller, near=True)

    def _judge(self, request: Request, flow: Flow) -> str | Answer:
        """Return the name of the phone whose password came with a request, or the challenge that answers it."""
        source, now = flow.remote[0], self._clock.seconds()
        told = read_credentials(request, self._authority.realm)
        stale = False
        if told is not None:
            verdict = self._authority.check(told, self._secrets.get(told.username), request, source, now)
            if verdict is Verdict.GRANTED:
                return told.username
            stale = verdict is Verdict.STALE
            if not stale:
                self._refused(told.username, source, now)
                if self.on_refused is not None:
                    self.on_refused(source, request)
        challenges = self._authority.challenges(source, now, stale=stale)
        return 401, [("WWW-Authenticate", one) for one in challenges]

    def _refused(self, name: str, source: str, now: float) -> None:
        # Only names that exist: what strangers make up must not fill the log.
        if name in self._secrets and self._told.get(name, now) <= now:
            self._told[name] = now + TOLD_EVERY
            self._log.info("Phone {name}: a wrong password came from {source}", name=name, source=source)

    def _tell(self, name: str, sentence: str) -> None:
        self._log.info("Phone {name} {sentence}", name=name, sentence=sentence)
