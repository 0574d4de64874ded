"""A trunk: a registration where it wants one, who may call in by it, and how numbers are dialled through it.

Owns: what one ``[[trunk]]`` does on the wire, and its state in words. Must not know services or applications.
"""

from __future__ import annotations

from ipaddress import ip_address

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from telephony.call.destination import Destination
from telephony.server.lines_config import TrunkSection
from telephony.sip.flow import Flow
from telephony.sip.headers import NameAddr
from telephony.sip.identity import Identity, Kind
from telephony.sip.message import Request
from telephony.sip.particulars import asserted_identity
from telephony.sip.registration import Registration
from telephony.sip.uri import SipUri, TelUri
from telephony.sip.user_agent import UserAgent

#: Who calls when nobody is to know (RFC 3323 4.1.1.3).
ANONYMOUS = NameAddr("Anonymous", "sip:anonymous@anonymous.invalid")


class Trunk:
    """One trunk of a server."""

    _log = Logger()

    def __init__(self, section: TrunkSection, user_agent: UserAgent) -> None:
        self.section = section
        self.name = section.name
        self.account = section.account
        self.state = "ready"
        """What a person wants to know of it now, in words."""
        proxy = section.outbound_proxy
        self._routes: tuple[NameAddr, ...] = ()
        if proxy is not None:
            self._routes = (NameAddr(None, str(attrs.evolve(proxy, params={**proxy.params, "lr": None}))),)
        self.registration: Registration | None = None
        if section.register and self.account is not None:
            self.state = "not registered yet"
            self.registration = Registration(
                user_agent,
                self._address(self.account.user),
                section.host,
                self.account,
                routes=tuple(str(one) for one in self._routes),
                expires=section.expires,
                keep_alive=section.keep_alive,
                on_change=self._changed,
            )

    def _changed(self, sentence: str) -> None:
        self.state = sentence
        self._log.info("Trunk {name}: {sentence}", name=self.name, sentence=sentence)

    def start(self) -> None:
        """Register, where it is to."""
        if self.registration is not None:
            self.registration.start()

    def stop(self) -> Deferred[None]:
        """Remove the registration; see `Registration.stop`."""
        return succeed(None) if self.registration is None else self.registration.stop()

    # -- calls that come -----------------------------------------------------------------------------------------

    def sends_from(self, flow: Flow) -> bool:
        """Tell whether what comes by a flow comes from this trunk: by its addresses, or by where we are registered."""
        source = flow.remote[0].partition("%")[0]
        if self.registration is not None and self.registration.peer == source:
            return True
        address = ip_address(source)
        return any(address in network for network in self.section.addresses)

    def called_by(self, request: Request) -> bool:
        """Tell whether a request is addressed to this trunk's user."""
        uri = request.parsed_uri
        return isinstance(uri, SipUri) and self.account is not None and uri.user == self.account.user

    def identity(self, request: Request) -> Identity:
        """Return who a call by this trunk is from."""
        asserted = asserted_identity(request) if self.section.caller_id == "asserted" else None
        return Identity(Kind.TRUNK, self.name, asserted, self.account)

    # -- calls that go -------------------------------------------------------------------------------------------

    def destination(self, number: TelUri, caller: NameAddr | None) -> Destination:
        """Return how a number is dialled; ``caller`` is None where the application doesn't say who calls."""
        section = self.section
        # RFC 3261 19.1.6; a number that only means something at the trunk's own place is no telephone number.
        params = {**section.host.params, "user": "phone"} if number.number.startswith("+") else section.host.params
        own = self._own()
        shown = own if caller is None else self._shown(caller)
        headers: tuple[tuple[str, str], ...] = ()
        anonymous = caller is not None and _user(caller) == "anonymous"
        if anonymous:
            shown, headers = ANONYMOUS, (("Privacy", "id"),)
        if section.caller_id == "asserted":
            headers = (*headers, ("P-Asserted-Identity", str(own if anonymous else shown)))
            shown = ANONYMOUS if anonymous else NameAddr(shown.display, own.uri)
        return Destination(
            attrs.evolve(section.host, user=number.number, params=params),
            shown,
            routes=self._routes,
            headers=headers,
            account=self.account,
            codecs=section.codecs,
            identity=Identity(Kind.TRUNK, self.name),
        )

    def _address(self, user: str) -> SipUri:
        """Return the address of a user at the trunk's domain: without port and transport (RFC 3261 10.2)."""
        return attrs.evolve(self.section.host, user=user, port=None, params={})

    def _own(self) -> NameAddr:
        section = self.section
        return NameAddr(None, str(self._address(section.caller or section.user or "telephony")))

    def _shown(self, caller: NameAddr) -> NameAddr:
        """Return a caller as the trunk knows callers: by a number at its own domain."""
        return NameAddr(caller.display, str(self._address(_user(caller) or "anonymous")))


def _user(address: NameAddr) -> str:
    uri = address.parsed_uri
    return (uri.user or "") if isinstance(uri, SipUri) else ""
