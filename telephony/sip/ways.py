"""The ways to where a request goes: a URI's targets as flows, one after the other, and which of them are of use.

Owns: looking up where a dialog's next hop is, once for all who ask meanwhile, and trying the next target where one is
of no use (RFC 3263 4.3). Must not know what is sent, nor how a flow is made: the user agent says that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from telephony.interfaces import Host
from telephony.sip.dialog import Dialog
from telephony.sip.flow import Flow
from telephony.sip.resolve import DownTargets, Locator, NoWay
from telephony.sip.targets import Target
from telephony.sip.uri import SipUri

#: Called with the flow to use, or with None and the reason why there is none.
Found = Callable[[Flow | None, str], None]
#: Makes the flow to a target, through the port of the flow given when it can be; None when no port of ours reaches it.
FlowTo = Callable[[Target, Flow | None], Flow | None]


class Ways:
    """The targets that one request may be sent to, best first; each is tried once."""

    __slots__ = ("_down", "_flow_to", "_hint", "_left", "_now")

    def __init__(self, targets: Sequence[Target], down: DownTargets, flow_to: FlowTo, hint: Flow | None = None) -> None:
        self._left = list(targets)
        self._down = down
        self._flow_to = flow_to
        self._hint = hint
        self._now: Target | None = None

    @property
    def target(self) -> Target | None:
        """The target that the last flow leads to."""
        return self._now

    @property
    def others(self) -> tuple[Target, ...]:
        """The targets that have not been tried."""
        return tuple(self._left)

    def next(self) -> Flow | None:
        """Return the way to the next target that we can reach; None when there is none left."""
        while self._left:
            target = self._left.pop(0)
            flow = self._flow_to(target, self._hint)
            if flow is not None:
                self._now = target
                return flow
        return None

    def silent(self) -> None:
        """Note that the present target did not answer or can't be reached."""
        if self._now is not None:
            self._down.failed(self._now)

    def answered(self, retry_after: float = 0.0) -> None:
        """Note that the present target is there; or that it wants to be left alone for so many seconds (a 503)."""
        if self._now is None:
            return
        if retry_after > 0:
            self._down.asked_for(self._now, retry_after)
        else:
            self._down.answered(self._now)


class DialogWays(Ways):
    """The targets of a dialog's next hop for one request; where it moves on, the dialog's later requests follow."""

    __slots__ = ("_dialog",)

    def __init__(self, dialog: Dialog, target: Target, down: DownTargets, flow_to: FlowTo) -> None:
        super().__init__(dialog.others, down, flow_to, dialog.flow)
        self._dialog = dialog
        self._now = target

    def next(self) -> Flow | None:
        """Return the way to the next target."""
        flow = super().next()
        if flow is not None:
            self._dialog.target = self._now
            self._dialog.others = tuple(self._left)
        return flow


class WayFinder:
    """Finds ways for one user agent.

    ``seconds`` is how long looking one URI up may take; ``forbids`` tells of an IP address that nothing is sent there.
    """

    log = Logger()

    def __init__(
        self,
        host: Host,
        seconds: float,
        counters: Counter[str],
        listens: Callable[[bool], Sequence[str]],
        flow_to: FlowTo,
        forbids: Callable[[str], bool] = lambda _host: False,
    ) -> None:
        self._counters = counters
        self._forbids = forbids
        self._flow_to = flow_to
        self.locator = Locator(host, listens, seconds)
        self.down = DownTargets(host.clock)
        #: Dialogs whose next hop is being looked up, and who waits for it, in order.
        self.waiting: dict[Dialog, list[Found]] = {}
        self.lookups: set[Deferred[None]] = set()
        self._closed = False

    def locate(self, uri: SipUri, hint: Flow | None = None) -> Deferred[list[Target]]:
        """Find the targets of a URI in the order to try them, at least one; fails with `NoWay`.

        ``hint`` is the flow of a dialog so far: whoever it leads to may name what is as near.
        """
        near = hint is not None and self._forbids(hint.remote[0])

        def allowed(targets: list[Target]) -> list[Target]:
            kept = targets if near else [one for one in targets if not self._forbids(one.address[0])]
            if not kept:
                self._counters["forbidden_targets"] += 1
                where = targets[0].address[0]
                raise NoWay(
                    f"{where} is an address that is not called: what is behind loopback is for servers that listen on "
                    "loopback only, and nobody is behind a multicast or an unspecified address"
                )
            return self.down.sort(kept)

        return self.locator.locate(uri, hint.transport if hint is not None else None).addCallback(allowed)

    def ways(self, targets: Sequence[Target], hint: Flow | None = None) -> Ways:
        """Return the ways to targets."""
        return Ways(targets, self.down, self._flow_to, hint)

    def find(self, uri: SipUri, hint: Flow | None, found: Callable[[Ways | None, str], None]) -> None:
        """Find the ways to a URI; ``found`` is called at once for an IP address. Nobody is told after `close`."""

        def failed(failure: Failure) -> None:
            if not self._closed:
                failure.trap(NoWay)  # type: ignore[no-untyped-call]
                found(None, failure.getErrorMessage())

        def located(targets: list[Target]) -> None:
            if not self._closed:
                found(self.ways(targets, hint), "")

        looking = self.locate(uri, hint)
        # Two callbacks side by side: what `found` causes is no failure of the look-up.
        lookup: Deferred[None] = looking.addCallbacks(located, failed)
        lookup.addErrback(self._fault)
        if not lookup.called:
            self.lookups.add(lookup)
        lookup.addBoth(lambda _: self.lookups.discard(lookup))

    def reach(self, dialog: Dialog, found: Found) -> None:
        """Find the way to a dialog's next hop; see `session.Core.reach`."""
        way = dialog.way
        if way is not None:
            found(way, "")
            return
        flow = dialog.flow
        waiting = self.waiting.get(dialog)
        if waiting is not None:
            waiting.append(found)
            return
        if dialog.target is not None:
            # Looked up before; every request of a dialog goes there (RFC 3263 4.3 wants a stateful proxy to see them
            # all). R37: when the connection has been closed meanwhile, this opens another.
            way = self._flow_to(dialog.target, flow)
            found(way, "" if way is not None else "no listener of ours can reach it")
            return
        waiting = self.waiting[dialog] = [found]

        def located(ways: Ways | None, reason: str) -> None:
            self.waiting.pop(dialog, None)
            way = ways.next() if ways is not None else None
            if ways is not None:
                dialog.target, dialog.others = ways.target, ways.others
                reason = "" if way is not None else "no listener of ours can reach it"
            for one in waiting:
                one(way, reason)

        self.find(dialog.next_hop, flow, located)

    def elsewhere(self, dialog: Dialog) -> Ways | None:
        """Return the ways that are left for a request to a dialog's next hop, when the one it takes is of no use."""
        if dialog.way is not None or dialog.target is None or not dialog.others:
            return None
        return DialogWays(dialog, dialog.target, self.down, self._flow_to)

    def close(self) -> None:
        """Give up every look-up; nobody is told."""
        self._closed = True
        self.waiting.clear()
        for lookup in tuple(self.lookups):
            lookup.cancel()

    def _fault(self, failure: Failure) -> None:
        """Log a fault of ours that came up behind a look-up, where no message is to blame."""
        if self._closed:
            return
        self._counters["faults"] += 1
        self.log.failure("What followed a look-up went wrong", failure)
