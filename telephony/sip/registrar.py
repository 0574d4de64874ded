"""A registrar: where the phones are that have signed in (RFC 3261 10.3).

Owns: the bindings of each user, how REGISTER changes them, and when they are over. Must not know passwords: whoever
asks has been found to be the user it says. Time comes from the clock it is given; no timer is set, what has expired is
dropped when somebody looks.

A phone is reached over the flow that its REGISTER came by, not where its Contact seems to lead: behind a NAT only the
former works (what RFC 5626 calls a flow, without its Path).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, Clock
from telephony.sip.flow import Flow
from telephony.sip.headers import NameAddr, parse_number
from telephony.sip.message import Request
from telephony.sip.uri import SipUri

#: Seconds: the shortest time a binding may ask for, the longest it gets, and what it gets without asking.
MIN_EXPIRES = 60
MAX_EXPIRES = 3600
DEFAULT_EXPIRES = 3600
#: How many places one user may have signed in at; the one that was refreshed longest ago makes room.
MAX_BINDINGS = 5
#: How many contacts one REGISTER may hold.
MAX_CONTACTS = 8

#: A status, and header fields.
Answer = tuple[int, list[tuple[str, str]]]


@attrs.define
class Binding:
    """One place where a user is. ``ends`` is when it expires, ``number`` counts refreshes over all users."""

    contact: NameAddr
    uri: SipUri
    flow: Flow
    call_id: str
    cseq: int
    ends: float
    number: int

    @property
    def q(self) -> float:
        """The preference that the phone gave, from 0 to 1 (RFC 3261 20.10); 1 without one."""
        try:
            return min(1.0, max(0.0, float(self.contact.params.get("q") or 1)))
        except ValueError:
            return 1.0


class BindingWays:
    """The ways to one user's phones, tried one after the other (`flow.Elsewhere`); ``uri`` is the present one's.

    The next one is tried where one is silent, can't be reached or says 503: one phone rings at a time.
    """

    __slots__ = ("_left", "uri")

    def __init__(self, bindings: Sequence[Binding]) -> None:
        self._left = list(bindings)
        self.uri = ""

    @property
    def remote(self) -> Address | None:
        """The address of the one that is next; None when there is none."""
        return self._left[0].flow.remote if self._left else None

    @property
    def flows(self) -> list[Flow]:
        """The ways that have not been tried."""
        return [one.flow for one in self._left]

    @property
    def secure(self) -> bool:
        """Whether all ways are by TLS."""
        return all(one.flow.transport == "TLS" for one in self._left)

    def keep(self, good: Callable[[Flow], bool]) -> None:
        """Leave out the ways that aren't ``good``."""
        self._left = [one for one in self._left if good(one.flow)]

    def next(self) -> Flow | None:
        """Return the way to the next one that can still be reached."""
        while self._left:
            binding = self._left.pop(0)
            if binding.flow.usable:
                self.uri = str(attrs.evolve(binding.uri, headers=""))
                return binding.flow
        return None

    def silent(self) -> None:
        """Do nothing: a phone that is gone will not sign in again."""

    def answered(self, retry_after: float = 0.0) -> None:
        """Do nothing."""


class Registrar:
    """The bindings of all users. ``told`` is called with a user and a sentence about it that belongs into the log."""

    __slots__ = ("_bindings", "_clock", "_number", "_told", "max_bindings", "min_expires")

    def __init__(
        self,
        clock: Clock,
        *,
        min_expires: int = MIN_EXPIRES,
        max_bindings: int = MAX_BINDINGS,
        told: Callable[[str, str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._bindings: dict[str, list[Binding]] = {}
        self._number = 0
        self._told = told
        self.min_expires = min_expires
        self.max_bindings = max_bindings

    def bindings(self, user: str) -> list[Binding]:
        """Return where a user can be reached now: what it prefers first, then what was refreshed last."""
        self._drop_expired(user)
        usable = [one for one in self._bindings.get(user, ()) if one.flow.usable]
        return sorted(usable, key=lambda one: (-one.q, -one.number))

    def users(self) -> list[str]:
        """Return who is signed in, in the order of signing in."""
        for user in tuple(self._bindings):
            self._drop_expired(user)
        return list(self._bindings)

    def came_from(self, flow: Flow) -> str | None:
        """Return whose phone a flow leads to; None when nobody has signed in over it."""
        for user, bindings in self._bindings.items():
            for one in bindings:
                if one.flow.remote == flow.remote and one.flow.transport == flow.transport:
                    return user if one.ends > self._clock.seconds() else None
        return None

    def register(self, user: str, request: Request, flow: Flow) -> Answer:
        """Do what a REGISTER asks, wholly or not at all, and return what answers it.

        200 with every binding there is then; 400 for a Contact that can't be used, 423 for too short a time, 500 for a
        request that was overtaken by a later one (RFC 3261 10.3 steps 6 and 7).
        """
        self._drop_expired(user)
        try:
            changes = self._wanted(request)
        except RemoteProtocolError as error:
            return error.status, []
        present = self._bindings.get(user, [])
        call_id, cseq = request.call_id, request.cseq.number
        if changes is None:
            if any(one.call_id == call_id and one.cseq >= cseq for one in present):
                return 500, []
            self._keep(user, [])
            return self._listing(user)
        if any(0 < expires < self.min_expires for _contact, _uri, expires in changes):
            return 423, [("Min-Expires", str(self.min_expires))]
        kept = list(present)
        now = self._clock.seconds()
        for contact, uri, expires in changes:
            known = next((one for one in kept if one.uri.equals(uri)), None)
            if known is not None:
                if known.call_id == call_id and known.cseq >= cseq:
                    return 500, []
                kept.remove(known)
            if expires:
                self._number += 1
                kept.append(Binding(contact, uri, flow, call_id, cseq, now + expires, self._number))
        self._keep(user, sorted(kept, key=lambda one: one.number)[-self.max_bindings :])
        return self._listing(user)

    def _wanted(self, request: Request) -> list[tuple[NameAddr, SipUri, int]] | None:
        """Return the bindings a REGISTER wants and for how long each; None where it wants all removed."""
        usual = _expires(request.get("Expires"), DEFAULT_EXPIRES)
        if "*" in request.get_list("Contact"):
            if not request.contact_star or usual != 0 or not request.has("Expires"):
                raise RemoteProtocolError("Contact: * goes alone, with Expires: 0 (RFC 3261 10.2.2)")
            return None
        contacts = request.contacts
        if len(contacts) > MAX_CONTACTS:
            raise RemoteProtocolError(f"more than {MAX_CONTACTS} contacts")
        changes = []
        for one in contacts:
            uri = one.parsed_uri
            if not isinstance(uri, SipUri):
                raise RemoteProtocolError("Contact: only a SIP address can be called back")
            changes.append((one, uri, _expires(one.params.get("expires"), usual)))
        return changes

    def _keep(self, user: str, bindings: list[Binding]) -> None:
        """Make these a user's bindings, and tell what has changed."""
        before = self._bindings.pop(user, [])
        if bindings:
            self._bindings[user] = bindings
        if self._told is None:
            return
        known = {str(one.uri) for one in before}
        for one in bindings:
            if str(one.uri) not in known:
                host, port = one.flow.remote
                self._told(user, f"signed in from {host} port {port} over {one.flow.transport}")
        if before and not bindings:
            self._told(user, "signed out")

    def _drop_expired(self, user: str) -> None:
        present = self._bindings.get(user)
        if not present:
            return
        now = self._clock.seconds()
        # A connection that has ended can't be opened from this side: the phone will sign in anew.
        kept = [one for one in present if one.ends > now and one.flow.usable]
        if len(kept) != len(present):
            if kept:
                self._bindings[user] = kept
            else:
                del self._bindings[user]
                if self._told is not None:
                    self._told(user, "has not signed in again in time, or its connection ended: it can't be reached")

    def _listing(self, user: str) -> Answer:
        now = self._clock.seconds()
        contacts = []
        for one in self._bindings.get(user, ()):
            params = {name: value for name, value in one.contact.params.items() if name != "expires"}
            params["expires"] = str(max(0, round(one.ends - now)))
            contacts.append(("Contact", str(attrs.evolve(one.contact, params=params))))
        return 200, contacts


def _expires(text: str | None, usual: int) -> int:
    """Return a time in seconds as it is granted; what can't be read counts as not given (RFC 3261 10.3 step 7)."""
    if text is None:
        return usual
    try:
        return min(parse_number(text.strip(), 2**32 - 1), MAX_EXPIRES)
    except RemoteProtocolError:
        return usual
