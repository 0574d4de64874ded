"""The lines of a server: its trunks and phones together, whom they admit and whom they reach.

Owns: who a caller is (`Lines.identify`), which trunk a number takes, and which addresses are phones of ours. Must not
know applications; which service may be called by whom is the switchboard's.
"""

from __future__ import annotations

from ipaddress import ip_address

import attrs

from telephony.call.destination import Destination
from telephony.call.exchange import Exchange
from telephony.errors import Error
from telephony.server.config import Configuration
from telephony.server.phones import Answer, Phones
from telephony.server.trunks import Trunk
from telephony.sip.flow import Flow
from telephony.sip.headers import NameAddr
from telephony.sip.identity import Identity, Kind
from telephony.sip.message import Message, Request
from telephony.sip.session import Session
from telephony.sip.uri import SipUri, TelUri

#: The realm of a server whose domains are its addresses.
REALM = "telephony"


class Lines:
    """The trunks and phones of a configuration, put to work on an exchange (`telephony.call.destination.Lines`)."""

    def __init__(self, configuration: Configuration, exchange: Exchange) -> None:
        self._exchange = exchange
        self._domains = frozenset(configuration.sip.domains)
        self.trunks: dict[str, Trunk] = {one.name: Trunk(one, exchange.user_agent) for one in configuration.trunks}
        self.phones: Phones | None = None
        if configuration.phones:
            realm = configuration.sip.domains[0] if configuration.sip.domains else REALM
            key = exchange.host.random.getrandbits(256).to_bytes(32, "big")
            self.phones = Phones(
                configuration.phones, exchange.host.clock, key, realm, self.is_home, configuration.sip.digest
            )
            exchange.user_agent.on_register = self.phones.register
        if self.trunks or self.phones is not None:
            exchange.lines = self
            exchange.trusts = self._trusts

    def start(self) -> None:
        """Register where trunks want it; the listeners must be there."""
        for trunk in self.trunks.values():
            trunk.start()

    def stop(self) -> None:
        """Begin to remove the registrations."""
        for trunk in self.trunks.values():
            trunk.stop()

    def _trusts(self, session: Session, _message: Message) -> bool:
        """Believe what a trunk asserts whose section says so (RFC 3325 5)."""
        identity = session.identity
        if identity is None or identity.kind is not Kind.TRUNK:
            return False
        trunk = self.trunks.get(identity.name)
        return trunk is not None and trunk.section.caller_id == "asserted"

    # -- who calls -----------------------------------------------------------------------------------------------

    def identify(self, request: Request, flow: Flow, *, ask: bool = False) -> Identity | Answer | None:
        """Tell who an INVITE is from: a trunk, a phone, None for a stranger; or what answers it to find that out.

        With ``ask`` whoever claims to be at one of our domains is asked for a password.
        """
        sending = [one for one in self.trunks.values() if one.sends_from(flow)]
        if sending:
            # Two accounts at one carrier send from the same addresses.
            return next((one for one in sending if one.called_by(request)), sending[0]).identity(request)
        if self.phones is None:
            return None
        uri = request.from_.parsed_uri if ask else None
        return self.phones.identify(request, flow, ask=isinstance(uri, SipUri) and self.serves(uri))

    def may_replace(self, session: Session, request: Request, flow: Flow) -> Identity | Answer | bool:
        """Judge an INVITE that wants to take over a call: from that call's own trunk or phone only (R31).

        A call with somebody who is neither can be taken over from the same address.
        """
        known = session.identity
        if known is None:
            return session.peer_host == flow.remote[0]
        caller = self.identify(request, flow, ask=True)
        if caller is None or isinstance(caller, tuple):
            return False if caller is None else caller
        return caller if (caller.kind, caller.name) == (known.kind, known.name) else False

    # -- who is called -------------------------------------------------------------------------------------------

    def serves(self, uri: SipUri) -> bool:
        """Tell whether an address is at one of our domains, or at an address of ours where none are configured."""
        host = uri.host.lower()
        ports = {port for _transport, (_host, port) in self._exchange.listeners}
        if uri.port is not None and uri.port not in ports:
            return False
        if self._domains:
            return host in self._domains
        try:
            address = str(ip_address(host))
        except ValueError:
            return False
        if uri.port is None and not ports & {5060, 5061}:
            return False
        return self._exchange.is_ours(address)

    def is_home(self, uri: SipUri) -> bool:
        """Tell whether an address-of-record is one of ours: phones that know our port leave it out of their name."""
        if uri.port is not None:
            return self.serves(uri)
        ports = {port for _transport, (_host, port) in self._exchange.listeners}
        return any(self.serves(attrs.evolve(uri, port=port)) for port in ports)

    def number(self, number: TelUri, caller: NameAddr | None, default: NameAddr, trunk: str | None) -> Destination:
        """Return how a number is dialled; see `telephony.call.destination.Lines`."""
        names = ", ".join(repr(name) for name in self.trunks)
        if not self.trunks:
            raise Error(
                f"call_to={number.number!r}: a number needs a trunk, and none is configured; write a [[trunk]] into "
                "the configuration, or call a SIP address, like 'sip:3301@127.0.0.1:5060'"
            )
        if trunk is None:
            if len(self.trunks) > 1:
                raise Error(
                    f"call_to={number.number!r}: which trunk? Set trunk = … of the service, or channel.trunk, to one "
                    f"of {names}"
                )
            (only,) = self.trunks.values()
            return only.destination(number, caller)
        found = self.trunks.get(trunk)
        if found is None:
            raise Error(f"channel.trunk={trunk!r} is no trunk; there are {names}")
        return found.destination(number, caller)

    def phone(self, uri: SipUri, caller: NameAddr) -> Destination | None:
        """Return where a SIP address leads when it is a phone of ours."""
        phones = self.phones
        if phones is None or uri.user is None or uri.user not in phones or not self.serves(uri):
            return None
        ways = phones.ways(uri.user)
        if ways.remote is None:
            return Destination(uri, caller, refusal=(480, f"{uri.user} is not signed in"))
        return Destination(uri, caller, near=ways, identity=Identity(Kind.PHONE, uri.user))
