"""A leg that calls: where its INVITE goes, and with which address of ours in the offer (RFC 3261 8.1.2 and 13.2).

Owns: the way from a destination to the INVITE, and the targets that need an INVITE of their own. Must not know what
becomes of the INVITE: that is told to `leg`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

import attrs
from twisted.python.failure import Failure

from telephony.call.destination import Destination
from telephony.call.leg_core import LegCore
from telephony.call.leg_words import Ending, How
from telephony.rtp.ports import NoPorts
from telephony.sip.registrar import BindingWays
from telephony.sip.resolve import NoWay
from telephony.sip.targets import Target
from telephony.sip.uri import SipUri

if TYPE_CHECKING:
    from telephony.sip.parties import SessionObserver


@attrs.frozen
class _Wanted:
    """What `CallingLeg.dial` is asked for, on its way to the INVITE."""

    destination: Destination
    codecs: Sequence[str]
    headers: Sequence[tuple[str, str]]
    max_forwards: int
    may_dial: Callable[[SipUri], bool] | None


class CallingLeg(LegCore):
    """A leg that can call."""

    __slots__ = ()

    def dial(
        self,
        destination: Destination,
        codecs: Sequence[str],
        headers: Sequence[tuple[str, str]],
        max_forwards: int,
        may_dial: Callable[[SipUri], bool] | None = None,
    ) -> None:
        """Send an INVITE, as soon as it is known where to; whatever goes wrong is told as `leg_over`, maybe at once.

        A 3xx is followed to contacts of which ``may_dial`` says so (R6), with the same offer.
        """
        if destination.refusal is not None:
            self._over(Ending(How.REFUSED, *destination.refusal))
            return
        wanted = _Wanted(destination, codecs, headers, max_forwards, may_dial)
        if destination.near is not None:
            self._dial_near(destination.near, wanted)
            return
        # Which of our addresses goes into the SDP depends on where the target is.
        first_hop = destination.first_hop
        locating = self._exchange.user_agent.locate(first_hop)
        self._locating = locating
        dialling = locating.addCallback(self._dial_at, wanted)
        dialling.addErrback(self._not_found, first_hop.host)

    def _dial_near(self, near: BindingWays, wanted: _Wanted) -> None:
        """Call a phone that has signed in, where it signed in from."""
        remote = near.remote
        try:
            ours = self._exchange.media_address(remote) if remote is not None else ""
        except OSError:
            ours = ""
        if remote is None or not ours:
            self._over(Ending(How.REFUSED, 480, "no phone can be reached there now"))
            return
        # One offer is for all of them, so that only those can be asked that reach the address in it.
        near.keep(lambda flow: self._exchange.media_address(flow.remote) == ours)
        self._invite(ours, remote[0], near.secure, None, wanted)

    def _dial_at(self, targets: Sequence[Target], wanted: _Wanted) -> None:
        self._locating = None
        ours, reason = "", ""
        ways: list[Target] = []
        others: list[Target] = []
        for one in targets:
            try:
                address = self._exchange.media_address(one.address)
            except OSError as error:
                reason = reason or f"there is no way to {one.address[0]}: {error.strerror or error}"
                continue
            ours = ours or address
            (ways if address == ours else others).append(one)
        if not ways:
            self._over(Ending(How.REFUSED, 0, reason))
            return
        # The offer holds an address that these targets can send to. The others get an INVITE of their own.
        self._elsewhere = None
        if others:
            self._elsewhere = partial(self._dial_at, others, wanted)
        secure = all(one.transport == "TLS" for one in ways)
        self._invite(ours, ways[0].address[0], secure, ways, wanted)

    def _invite(
        self,
        ours: str,
        theirs: str,
        secure: bool,
        targets: Sequence[Target] | None,
        wanted: _Wanted,
    ) -> None:
        """Send the INVITE, with audio between our address ``ours`` and ``theirs``, ``secure`` over TLS only."""
        self._securing = self._exchange.securing(secure)
        destination = wanted.destination
        self._open_media(ours, theirs, wanted.codecs)
        assert self._negotiation is not None
        self.session = self._exchange.user_agent.invite(
            destination.uri,
            from_=destination.caller,
            offer=self._negotiation.offer(),
            observer=cast("SessionObserver", self),  # `leg.Leg` is: nothing else is ever made of this
            headers=[*wanted.headers, *destination.headers],
            max_forwards=wanted.max_forwards,
            targets=targets,
            routes=destination.routes,
            may_dial=wanted.may_dial,
            account=destination.account,
            near=destination.near,
        )
        self.session.identity = destination.identity
        assert self.owner is not None
        self.owner.leg_placed(self.session.call_id)

    def _not_found(self, failure: Failure, name: str) -> None:
        self._locating = None
        if self.owner is None:
            return
        if isinstance(failure.value, NoPorts):
            self._over(Ending(How.NO_PORTS, 0, failure.getErrorMessage()))
            return
        failure.trap(NoWay)  # type: ignore[no-untyped-call]
        self._over(Ending(How.REFUSED, 0, f"{name} leads nowhere: {failure.getErrorMessage()}"))
