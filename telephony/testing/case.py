"""A TestCase for calls: a phone system on a simulated network, phones to call it with, and a ladder when it fails.

Owns: putting the pieces together, simulated time for ``async def`` tests, what must not be left behind, and the failure
text. Must not know what is tested.

::

    class GreetingTests(CallTestCase):
        async def test_greets(self):
            self.serve(main)                     # async def main(channel): ...
            alice = self.phone("alice")
            alice.dial(self.uri("100"))
            await alice.until("answered")
            await alice.until_hears(440)
            await alice.hang_up()
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import Hangup
from telephony.interfaces import Address
from telephony.testing.network import SimulatedNetwork
from telephony.testing.phone import Phone
from telephony.trace.ladder import Note, ladder

if TYPE_CHECKING:
    from telephony.call.channel import CallChannel
    from telephony.call.exchange import Exchange

T = TypeVar("T")

SERVER = "10.0.0.1"
#: After a test so much time passes before anything may be called left over: 3*64*T1 (transfer.md I4), in seconds.
AFTERMATH = 96.0


class BrokenTest(Exception):  # noqa: N818 - it says what became of a test
    """A test ended by an exception that is no failed assertion; the text has its name, what it said, and the ladder."""


class CallTestCase(SynchronousTestCase):
    """Tests of calls in simulated time. A test may be ``async def``: time passes while it awaits.

    ``network`` is a `SimulatedNetwork` made from ``seed`` and ``network_settings``; ``exchange`` a
    `telephony.call.exchange.Exchange` on its host 10.0.0.1, made from ``exchange_settings`` and listening on UDP and
    TCP port 5060. After a test that passed, the exchange is closed, 96 seconds go by, and then the test fails for
    timers, ports, listeners or streams that are left over, and (with ``strict``) for faults that a phone found in what
    it was sent. What fails shows the ladder of all messages with the states of the channels beside.
    """

    seed: int = 1
    strict: bool = True
    network_settings: ClassVar[dict[str, Any]] = {}
    exchange_settings: ClassVar[dict[str, Any]] = {}

    network: SimulatedNetwork
    exchange: Exchange
    phones: list[Phone]

    def setUp(self) -> None:
        """Build the network and the exchange."""
        from telephony.call.exchange import Exchange

        self.network = SimulatedNetwork(self.seed, **self.network_settings)
        self.phones = []
        self.notes: list[Note] = []
        self.served: list[Deferred[Any]] = []
        self._failures: list[Failure] = []
        self._began = self.network.clock.seconds()
        self.exchange = Exchange(self.network.host(SERVER, name="server"), **self.exchange_settings)
        for transport in ("udp", "tcp"):
            self.exchange.listen(f"{transport}:{SERVER}:5060")
        self._watch_channels()

    # What a test uses

    def phone(self, name: str, **settings: Any) -> Phone:
        """Return a phone on a host of its own, 10.0.1.1 and up, port 5060; for the ``settings`` see `Phone`."""
        ip = f"10.0.1.{len(self.phones) + 1}"
        made = Phone(self.network.host(ip), (ip, 5060), name, **settings)
        self.phones.append(made)
        return made

    def uri(self, user: str, transport: str = "udp") -> str:
        """Return the URI by which phones reach the exchange."""
        return f"sip:{user}@{SERVER}:5060" + (";transport=tcp" if transport == "tcp" else "")

    def serve(self, main: Callable[[CallChannel], Coroutine[Any, Any, Any]]) -> None:
        """Let ``main(channel)`` take each call that comes in; what it raises fails the test at its end.

        A `Hangup` does not: an application that has nothing to do when the caller goes may well end by it.
        """

        def ended(failure: Failure) -> None:
            if not isinstance(failure.value, Hangup):
                self._failures.append(failure)

        def on_call(channel: CallChannel) -> None:
            running = Deferred.fromCoroutine(main(channel))
            running.addErrback(ended)
            self.served.append(running)

        self.exchange.on_call = on_call

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.network.advance(seconds)

    def run_until(self, what: Deferred[T] | Callable[[], object], limit: float = 600.0) -> T:
        """Let time pass until ``what`` has happened; see `SimulatedClock.run_until`."""
        return self.network.run_until(what, limit)

    def note(self, party: str, text: str) -> None:
        """Put a note into the ladder."""
        self.notes.append((self.network.clock.seconds(), party, text))

    def ladder(self) -> str:
        """Return the ladder of everything so far."""
        names: dict[Address, str] = {phone.address: phone.name for phone in self.phones}
        # The server between the first phone and the others, as in the call flows of the RFCs.
        ordered = dict(list(names.items())[:1]) | {(SERVER, 5060): "server"} | names
        return ladder(self.network.events, ordered, notes=self.notes, start=self._began)

    def leftovers(self) -> list[str]:
        """Close everything, let the aftermath pass, and return what should not be there then.

        First the exchange is closed, while phones still answer; what they hold is looked at before they are closed.
        """
        self.network.run_until(self.exchange.close(), 2 * AFTERMATH)
        self.network.advance(AFTERMATH)
        found = ["timer " + line for line in self.network.clock.leftovers()]
        for phone in self.phones:
            self.network.run_until(phone.close())
        self.network.advance(1)
        return found + [line for line in self.network.leftovers() if not line.startswith("timer")]

    # The works

    def run(self, result: Any = None) -> Any:
        """Run the test; what it raises carries the ladder."""
        name = self._testMethodName
        setattr(self, name, self._shown(getattr(self, name)))
        try:
            return super().run(result)  # type: ignore[no-untyped-call]
        finally:
            delattr(self, name)

    def _shown(self, method: Callable[[], Any]) -> Callable[[], None]:
        @functools.wraps(method)
        def shown() -> None:
            try:
                outcome = method()
                if iscoroutine(outcome):
                    self.network.run_until(Deferred.fromCoroutine(outcome), 24 * 3600.0)
                self._judge()
            except SkipTest:
                raise
            except Exception as error:
                raise self._with_ladder(error).with_traceback(error.__traceback__) from None

        return shown

    def _judge(self) -> None:
        left = self.leftovers()
        for failure in self._failures:
            failure.raiseException()
        if left:
            self.fail("left over after the call:\n  " + "\n  ".join(left))
        faults = [fault for phone in self.phones for fault in phone.faults()]
        if self.strict and faults:
            self.fail("phones found faults:\n  " + "\n  ".join(faults))

    def _with_ladder(self, error: Exception) -> Exception:
        """Return what to raise in the place of ``error``, with the ladder in its text."""
        if isinstance(error, AssertionError):
            error.args = (f"{error}\n{self.ladder()}",)
            return error
        return BrokenTest(f"{type(error).__name__}: {error}\n{self.ladder()}")

    def _watch_channels(self) -> None:
        """Note each state of each channel of the exchange."""
        entered = self.exchange.entered
        watched: set[int] = set()

        def noted(channel: Any, old: Any, new: Any) -> None:
            self.note("server", f"{channel.id} {new}")

        def watching(channel: Any) -> None:
            if id(channel) not in watched:
                watched.add(id(channel))
                channel.observers.append(noted)
            entered(channel)

        self.exchange.entered = watching  # type: ignore[method-assign]
