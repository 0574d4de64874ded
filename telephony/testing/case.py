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

        async def test_file(self):
            greeting = self.application("greeting.py")
            alice = self.phone("alice")
            alice.dial(greeting.uri)
            self.assertEqual((await greeting.ended()).return_code, 0)
"""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from inspect import iscoroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from unittest import SkipTest

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import Hangup
from telephony.interfaces import Address
from telephony.testing.artifacts import artifacts_directory, write_artifacts
from telephony.testing.network import SimulatedNetwork
from telephony.testing.phone import Phone
from telephony.testing.threads import PATIENCE
from telephony.trace.events import Note
from telephony.trace.ladder import ladder
from telephony.trace.streams import media_notes

if TYPE_CHECKING:
    from telephony.call.channel import CallChannel
    from telephony.call.exchange import Exchange
    from telephony.testing.hosting import HostedApplication, Hosting
    from telephony.testing.nat import Nat
    from telephony.testing.registrar import Registrar

T = TypeVar("T")

SERVER = "10.0.0.1"
#: After a test so much time passes before anything may be called left over: 3*64*T1 (transfer.md I4), in seconds.
AFTERMATH = 96.0
#: So many packets of media are kept for what shows a failed test: 100 s of two legs that both talk.
MOST_MEDIA = 20_000


class BrokenTest(Exception):  # noqa: N818 - it says what became of a test
    """A test ended by an exception that is no failed assertion; the text has its name, what it said, and the ladder."""


class CallTestCase(SynchronousTestCase):
    """Tests of calls in simulated time. A test may be ``async def``: time passes while it awaits.

    ``network`` is a `SimulatedNetwork` made from ``seed`` and ``network_settings``; ``exchange`` a
    `telephony.call.exchange.Exchange` on its host 10.0.0.1, made from ``exchange_settings`` and listening on UDP and
    TCP port 5060. After a test that passed, the exchange is closed, 96 seconds go by, and then the test fails for
    timers, ports, listeners or streams that are left over, and (with ``strict``) for faults that a phone found in what
    it was sent, and for applications that still run or have raised something. What fails shows the ladder of all
    messages with the states of the channels beside.
    """

    seed: int = 1
    strict: bool = True
    #: How many real seconds a blocking application may go without a verb; None is for ever, for a debugger.
    patience: float | None = PATIENCE
    network_settings: ClassVar[dict[str, Any]] = {}
    exchange_settings: ClassVar[dict[str, Any]] = {}

    network: SimulatedNetwork
    exchange: Exchange
    phones: list[Phone]
    registrars: list[Registrar]

    def setUp(self) -> None:
        """Build the network and the exchange."""
        from telephony.call.exchange import Exchange

        self.network = SimulatedNetwork(self.seed, **self.network_settings)
        self.network.media = deque(maxlen=MOST_MEDIA)
        self.phones = []
        self.registrars = []
        self.notes: list[Note] = []
        self.served: list[Deferred[Any]] = []
        self._failures: list[Failure] = []
        self._hosting: Hosting | None = None
        self._began = self.network.clock.seconds()
        self.exchange = Exchange(self.network.host(SERVER, name="server"), **self.exchange_settings)
        for transport in ("udp", "tcp"):
            self.exchange.listen(f"{transport}:{SERVER}:5060")
        self._watch_channels()

    # What a test uses

    def phone(self, name: str, *, at: str | None = None, behind: Nat | None = None, **settings: Any) -> Phone:
        """Return a phone on a host of its own, 10.0.1.1 and up, port 5060; for the ``settings`` see `Phone`.

        ``at`` puts it at an address that the application knows, like ``"192.0.2.7:5070"``; ``behind`` a `nat`, where
        its addresses are private, 192.168.1.1 and up.
        """
        network = "10.0.1" if behind is None else "192.168.1"
        ip, _, port = (at or f"{network}.{len(self.phones) + 1}:5060").rpartition(":")
        ip = ip.strip("[]")
        host = self.network.host(ip) if behind is None else behind.host(ip)
        made = Phone(host, (ip, int(port)), name, **settings)
        self.phones.append(made)
        return made

    def nat(self, kind: str = "port-restricted", *, timeout: float = 30.0) -> Nat:
        """Return a NAT for phones to be behind, at a public address of its own; see `Nat`."""
        return self.network.nat(f"203.0.113.{len(self.network._nats) + 1}", kind, timeout=timeout)

    def registrar(self, users: Mapping[str, str], **settings: Any) -> Registrar:
        """Return a registrar and proxy, a trunk's or an office's, at 10.0.2.1 and up; see `Registrar`."""
        made = self.network.registrar(f"10.0.2.{len(self.registrars) + 1}", users, **settings)
        self.registrars.append(made)
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

    def application(self, file: str | Path, **settings: Any) -> HostedApplication:
        """Host an application file, blocking or not, as the server does; it takes the calls that come in.

        ``file`` is looked for beside the test's own file, then in the current directory. ``parameters`` and
        ``extra_channels`` (1) are the service's, ``match`` ("*") the user parts it takes, ``name`` (the file's) the
        service's, ``media`` the directory of its media files (the exchange's, or ``media`` beside the file if only
        that is there), ``direction`` "inbound" or "outbound" for a ``main`` that could be both. An outbound one runs
        when the test says `start`. Several files may be hosted; `serve` is not to be mixed with them.

        What ``main`` raises, except `Hangup`, fails the test at its end. A blocking ``main`` runs in simulated time:
        see `telephony.testing.threads.SimulatedRunner`. Raises `Error` for what the server refuses, too.
        """
        return self.hosting.add(file, **settings)

    @property
    def hosting(self) -> Hosting:
        """The applications, and the ``runner`` for scripts that make a `Telephony`; made when it is first needed."""
        from telephony.testing.hosting import Hosting

        if self._hosting is None:
            self._hosting = Hosting(
                self.exchange, self.network.clock, f"{SERVER}:5060", places=self._places(), patience=self.patience
            )
            self.addCleanup(self._end_applications)
        return self._hosting

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.network.advance(seconds)

    def pause(self, seconds: float) -> Deferred[None]:
        """Wait for so many seconds, in a test that is a coroutine; `advance` is for the others."""
        return self.moment(self.network.clock.seconds() - self._began + seconds)

    def moment(self, seconds: float) -> Deferred[None]:
        """Wait for the moment so many seconds after the test's beginning; fires at once when it is past."""
        reached: Deferred[None] = Deferred(lambda _given_up: timer.cancel())
        rest = max(0.0, self._began + seconds - self.network.clock.seconds())
        timer = self.network.clock.callLater(rest, reached.callback, None)
        return reached

    def run_until(self, what: Deferred[T] | Callable[[], object], limit: float = 600.0) -> T:
        """Let time pass until ``what`` has happened; see `SimulatedClock.run_until`."""
        return self.network.run_until(what, limit)

    def note(self, party: str, text: str) -> None:
        """Put a note into the ladder."""
        self.notes.append((self.network.clock.seconds(), party, text))

    def ladder(self) -> str:
        """Return the ladder of everything so far."""
        names = self._names()
        audio = media_notes(self.network.media, self.network.events, names, whole=self._media_is_whole())
        return ladder(self.network.events, names, notes=[*self.notes, *audio], start=self._began)

    def leftovers(self) -> list[str]:
        """Close everything, let the aftermath pass, and return what should not be there then.

        First the exchange is closed, while phones still answer; what they hold is looked at before they are closed.
        """
        for phone in self.phones:
            if phone.registration is not None:  # it would be refreshed for ever
                phone.registration.stop()
        if self._hosting is not None:
            self.network.run_until(self._hosting.hang_up(), 2 * AFTERMATH)
        self.network.run_until(self.exchange.close(), 2 * AFTERMATH)
        self.network.advance(AFTERMATH)
        running = [] if self._hosting is None else self._hosting.leftovers()
        # What they wait for is theirs: an application that still sleeps is named once.
        found = running or ["timer " + line for line in self.network.clock.leftovers()]
        for phone in self.phones:
            self.network.run_until(phone.close())
        for registrar in self.registrars:
            self.network.run_until(registrar.close())
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
        if self._hosting is not None:
            self._failures += self._hosting.take_failures()
        for failure in self._failures:
            failure.raiseException()
        if left:
            self.fail("left over after the call:\n  " + "\n  ".join(left))
        peers: list[Phone | Registrar] = [*self.phones, *self.registrars]
        faults = [fault for peer in peers for fault in peer.faults()]
        if self.strict and faults:
            self.fail("phones found faults:\n  " + "\n  ".join(faults))

    def _places(self) -> list[Path]:
        """Return where application files are looked for first."""
        file = getattr(sys.modules.get(type(self).__module__), "__file__", None)
        return [] if file is None else [Path(file).absolute().parent]

    def _end_applications(self) -> None:
        """End what still runs; what is logged of it and has been dealt with is no news for trial."""
        assert self._hosting is not None
        left = self._hosting.close()
        logged: list[Failure] = self.flushLoggedErrors()  # type: ignore[no-untyped-call]
        others = [failure for failure in logged if not self._hosting.owns(failure)]
        if len(others) == 1:
            others[0].raiseException()
        if others:
            raise BaseExceptionGroup("logged", [one.value for one in others if one.value is not None])
        if left:
            self.fail("application threads are left over:\n  " + "\n  ".join(left))

    def _with_ladder(self, error: Exception) -> Exception:
        """Return what to raise in the place of ``error``, with the ladder in its text, and what files there are."""
        wrong = isinstance(error, AssertionError)
        text = self.explained(str(error) if wrong else f"{type(error).__name__}: {error}", error)
        if wrong:
            error.args = (text,)
            return error
        return BrokenTest(text)

    def explained(self, said: str, error: BaseException | None = None) -> str:
        """Return what a failed test says: ``said``, what the applications have raised, the ladder, and what files."""
        if self._hosting is not None:
            self._failures += self._hosting.take_failures()
        for failure in self._failures:
            if failure.value is not error:
                said += f"\nand before, in the application:\n{failure.getTraceback()}"
        return f"{said}\n{self.ladder()}{self._artifacts(said)}"

    def _artifacts(self, said: str) -> str:
        """Write the files of a failed test where they are wanted; return the lines that name them."""
        directory = artifacts_directory()
        if directory is None:
            return ""
        try:
            written = write_artifacts(
                directory, self.id(), self.network, self._names(), text=said, notes=self.notes, start=self._began
            )
        except OSError as error:
            return f"could not write the call's files: {error}\n"
        return "".join(f"see {path}\n" for path in written)

    def _names(self) -> dict[Address, str]:
        """Return who is where, ordered as a ladder's columns."""
        names: dict[Address, str] = {phone.address: phone.name for phone in self.phones}
        several = len(self.registrars) > 1
        for number, registrar in enumerate(self.registrars, 1):
            names[registrar.address] = f"registrar {number}" if several else "registrar"
        # The server between the first phone and the others, as in the call flows of the RFCs.
        return dict(list(names.items())[:1]) | {(SERVER, 5060): "server"} | names

    def _media_is_whole(self) -> bool:
        """Tell whether the network still has the first packet of media."""
        return len(self.network.media) != self.network.media.maxlen

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
