"""Where a call goes on when its target sends it elsewhere (RFC 3261 8.1.3.4, 19.1.5, 21.3; R6 of ``transfer.md``).

Owns: the target set of one INVITE: which contacts of a 3xx may be called, in which order, and how many. Must not know
sessions, transactions or why somebody may not be called: that is asked of ``may_dial``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.headers import NameAddr
from telephony.sip.message import Response
from telephony.sip.uri import SipUri

#: How many contacts are called for one INVITE, over all its redirections (R6).
MAX_CONTACTS = 5
#: How many contacts of one response are looked at.
MAX_LOOKED_AT = 32
#: 305 names a proxy, 380 a service that its body describes: neither is another target to call (21.3.4, 21.3.5).
NOT_FOLLOWED = frozenset({305, 380})

_Q = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")


class Redirects:
    """The target set of one INVITE, beginning with its ``target``.

    ``may_dial`` tells of a URI whether it may be called. Whatever it says, ``sips:`` is never left for ``sip:``, and
    nobody is called twice.
    """

    __slots__ = ("_called", "_left", "_may_dial", "_waiting")

    def __init__(self, target: SipUri, may_dial: Callable[[SipUri], bool]) -> None:
        self._may_dial = may_dial
        self._called = [target]
        #: What is to be called, by its q value, and in the order in which it came.
        self._waiting: list[tuple[float, SipUri]] = []
        self._left = MAX_CONTACTS

    def take(self, response: Response) -> None:
        """Take the contacts of a 300 to 399; what can't be read or may not be called is passed over."""
        if response.status in NOT_FOLLOWED:
            return
        try:
            contacts = response.contacts[:MAX_LOOKED_AT]
        except RemoteProtocolError:
            return
        for contact in contacts:
            uri = _callable(contact)
            if uri is None or (self._called[0].scheme == "sips" and uri.scheme != "sips"):
                continue
            if not any(uri.equals(one) for one in (*self._called, *(waiting for _q, waiting in self._waiting))):
                self._waiting.append((quality(contact), uri))
        # The sort is stable: of equal ones the first named comes first.
        self._waiting.sort(key=lambda one: -one[0])

    def next(self) -> SipUri | None:
        """Return who is to be called next, None when nobody is left."""
        while self._waiting and self._left:
            _q, uri = self._waiting.pop(0)
            self._called.append(uri)
            if self._may_dial(uri):
                self._left -= 1
                return uri
        return None


def quality(contact: NameAddr) -> float:
    """Return the q value of a contact, 0 to 1: 1 where there is none, 0 for what is none (RFC 3261 20.10)."""
    text = contact.params.get("q")
    if text is None:
        return 1.0
    return float(text) if _Q.fullmatch(text.strip()) else 0.0


def _callable(contact: NameAddr) -> SipUri | None:
    """Return the URI of a contact as it goes into an INVITE, None where it is none for that.

    Header fields that it wants to be sent are left out: a peer doesn't write our requests (19.1.5).
    """
    try:
        uri = contact.parsed_uri
    except RemoteProtocolError:
        return None
    if not isinstance(uri, SipUri) or (uri.params.get("method") or "INVITE").upper() != "INVITE":
        return None
    kept = {name: value for name, value in uri.params.items() if name != "method"}
    return attrs.evolve(uri, headers="", params=kept)
