"""Where an outgoing call goes: an address as it is, a number through a trunk, or a phone that has signed in here.

Owns: what a call needs to know of its destination (`Destination`), and the words to who has trunks and phones
(`Lines`). Must not know how trunks are configured, nor where phones are.
"""

from __future__ import annotations

from typing import Protocol

import attrs

from telephony.sip.auth import Account
from telephony.sip.headers import NameAddr
from telephony.sip.identity import Identity
from telephony.sip.registrar import BindingWays
from telephony.sip.uri import SipUri, TelUri


@attrs.frozen
class Destination:
    """Where a call goes, and as whose.

    ``routes`` is the route set of the INVITE, ``headers`` are its fields beside the application's, ``account`` answers
    challenges. ``near`` are the phones of who has signed in here. ``refusal`` is a status and its text when it is known
    already that the call can't be made; nothing is sent then. ``codecs``, as SDP names them, stand in place of the
    server's where the application names none. ``identity`` says which trunk or phone it is.
    """

    uri: SipUri
    caller: NameAddr
    routes: tuple[NameAddr, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    account: Account | None = None
    near: BindingWays | None = None
    refusal: tuple[int, str] | None = None
    codecs: tuple[str, ...] = ()
    identity: Identity | None = None

    @property
    def first_hop(self) -> SipUri:
        """The URI that says where the INVITE is sent."""
        route = self.routes[0].parsed_uri if self.routes else self.uri
        assert isinstance(route, SipUri)
        return route


class Lines(Protocol):
    """Who has trunks and phones."""

    def number(self, number: TelUri, caller: NameAddr | None, default: NameAddr, trunk: str | None) -> Destination:
        """Return how a number is dialled, through the trunk of that name, else the only one.

        ``caller`` is who calls as the application says, None where it says nothing; ``default`` is the server's own
        address. Raises `Error`, which says what is missing.
        """

    def phone(self, uri: SipUri, caller: NameAddr) -> Destination | None:
        """Return where a SIP address of ours leads; None for an address that is not ours."""
