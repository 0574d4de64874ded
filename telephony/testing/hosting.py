"""Application files in a simulation: loaded, matched, run and recorded by the server's own code.

Owns: what a test sees of an application that it hosts (its records, its log, what it raised, where it stands), and
that none of it outlives the test. Must not know how tests are run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure

from telephony.call.exchange import Exchange
from telephony.errors import Error
from telephony.runner import Runner
from telephony.server.applications import Direction, Style, load_application
from telephony.server.config import Configuration, MediaSection, RecordsSection, Service
from telephony.server.instance import Instance
from telephony.server.records import Record
from telephony.server.switchboard import Switchboard
from telephony.testing.clock import NeverHappened, SimulatedClock
from telephony.testing.threads import EPOCH, PATIENCE, SimulatedRunner, SimulationOver

_MOST_EXTRA_CHANNELS = 3


class HostedApplication:
    """An application file that takes calls in a simulation; made by ``application(…)`` of a test.

    ``records`` are its application data records (`telephony.server.records.Record`), one for each run that has ended,
    in the order of ending; ``said`` the lines it gave to ``my_log``; ``failures`` what its ``main`` raised, as
    Twisted's Failures, which fail the test at its end unless `flush_failures` has taken them. A `Hangup` isn't one.
    """

    def __init__(self, service: Service, hosting: Hosting, address: str) -> None:
        self.service = service
        self.records: list[Record] = []
        self.said: list[str] = []
        self.failures: list[Failure] = []
        self._hosting = hosting
        self._address = address
        self._told = 0
        self._waiting: list[Deferred[Record]] = []

    @property
    def name(self) -> str:
        """The name of its service."""
        return self.service.name

    @property
    def uri(self) -> str:
        """The URI that reaches it: its pattern is the user part, or its name where the pattern has wildcards."""
        match = self.service.match
        if match is None:
            raise AssertionError(f"{self.name} is an outbound application: start() it; it isn't called")
        return f"sip:{self.name if set(match) & set('*?[') else match}@{self._address}"

    @property
    def instances(self) -> list[Instance]:
        """The runs that have not ended, in the order of starting; ``instances[0].channel`` is the first one's call."""
        return [one for one in self._hosting.instances() if one.service is self.service]

    @property
    def record(self) -> Record:
        """The record of the run that ended last. AssertionError, saying where it stands, when none has ended."""
        if not self.records:
            raise AssertionError(f"{self.name} has not ended yet: {self.standing()}")
        return self.records[-1]

    def start(self, outbound_parameters: str = "") -> str:
        """Start it as an outbound application; returns the instance's id. Raises `Error` when it is inbound."""
        return self._hosting.board.start_outbound(self.name, outbound_parameters)

    def ended(self, within: float = 60.0) -> Deferred[Record]:
        """Wait until a run has ended that was not waited for yet; fires with its record.

        Fails with `NeverHappened`, which says where the application stands, after ``within`` seconds.
        """
        if self._told < len(self.records):
            self._told += 1
            return succeed(self.records[self._told - 1])
        wait: Deferred[Record] = Deferred(self._waiting.remove)
        self._waiting.append(wait)

        def too_late() -> None:
            self._waiting.remove(wait)
            wait.errback(NeverHappened(f"{self.name} did not end within {within:g} s: {self.standing()}"))

        timer = self._hosting.clock.callLater(within, too_late)

        def tidy(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        return wait.addBoth(tidy)

    def flush_failures(self, *kinds: type[BaseException]) -> list[Failure]:
        """Return what ``main`` raised, of these kinds or of any, and forget it: the test was made for it."""
        found = [one for one in self.failures if not kinds or one.check(*kinds)]  # type: ignore[no-untyped-call]
        self.failures = [one for one in self.failures if one not in found]
        self._hosting.flushed += found
        return found

    def standing(self) -> str:
        """Return where each of its runs stands: the line for a blocking one, the verb for others."""
        running = self.instances
        lines = self._hosting.standing()
        shown = [next((line for line in lines if one.id in line), f"{one.id} in {one.verb or '?'}") for one in running]
        return "; ".join(shown) or "it doesn't run"

    def _ended(self, record: Record) -> None:
        self.records.append(record)
        if self._waiting:
            self._told += 1
            self._waiting.pop(0).callback(record)

    def __repr__(self) -> str:
        return f"<application {self.name}: {len(self.instances)} running, {len(self.records)} ended>"


_Told = Callable[[Instance, Record], None]


class _Board(Switchboard):
    """The server's switchboard, which also tells of each record."""

    def __init__(self, configuration: Configuration, exchange: Exchange, runner: SimulatedRunner, tell: _Told) -> None:
        super().__init__(configuration, exchange, runner, wall=runner.wall)
        self._tell_record = tell

    def _ended(self, instance: Instance, record: Record) -> None:
        super()._ended(instance, record)
        self._tell_record(instance, record)


class Hosting:
    """The applications of one simulation, on one exchange. Make it in the thread that advances ``clock``.

    ``places`` are the directories in which files are looked for, the first one first. ``patience`` is how many real
    seconds a blocking application may go without a verb. ``epoch`` and ``grace`` are a `SimulatedRunner`'s.
    """

    def __init__(
        self,
        exchange: Exchange,
        clock: SimulatedClock,
        address: str,
        *,
        places: Sequence[Path] = (),
        patience: float | None = PATIENCE,
        epoch: float = EPOCH,
        grace: float = 0.0,
    ) -> None:
        self.clock = clock
        self.flushed: list[Failure] = []
        """What applications raised and a test has taken note of."""
        self._exchange = exchange
        self._address = address
        self._places = [*places, Path.cwd()]
        self._boards: list[_Board] = []
        self._hosted: list[HostedApplication] = []
        self._runner = SimulatedRunner(clock, patience=patience, epoch=epoch, grace=grace)
        globalLogPublisher.addObserver(cast("ILogObserver", self._logged))

    @property
    def runner(self) -> Runner:
        """What blocking code runs on, for scripts that make a `telephony.Telephony` of their own."""
        return self._runner

    @property
    def board(self) -> Switchboard:
        """The switchboard that takes calls now."""
        return self._boards[-1]

    def add(
        self,
        file: str | Path,
        *,
        parameters: str = "",
        extra_channels: int = 1,
        match: str = "*",
        name: str | None = None,
        media: str | Path | None = None,
        direction: str | None = None,
    ) -> HostedApplication:
        """Load a file and let it take the calls to ``match``; see `telephony.testing.case.CallTestCase.application`."""
        path = self._find(file)
        if media is None:
            media = self._exchange.media_directory
            if not media.is_dir() and (path.parent / "media").is_dir():
                media = path.parent / "media"
        self._exchange.media_directory = self._find(media)
        application = load_application(path)
        if extra_channels not in range(_MOST_EXTRA_CHANNELS + 1):
            raise Error(f"extra_channels={extra_channels!r} is not allowed; allowed: 0 to {_MOST_EXTRA_CHANNELS}")
        if direction is None:
            direction = (Direction.INBOUND if Direction.INBOUND in application.directions else Direction.OUTBOUND).value
        if Direction(direction) not in application.directions:
            raise Error(f"{path} has no main() of an {direction} application")
        service = Service(
            name=name or application.name,
            application=application,
            direction=direction,
            match=match if direction == Direction.INBOUND.value else None,
            parameters=parameters,
            extra_channels=extra_channels,
        )
        for other in self._hosted:
            if other.name == service.name:
                raise Error(f"an application named {other.name!r} is hosted already; give this one another name=")
            if service.match is not None and other.service.match == service.match:
                raise Error(f"{other.name!r} takes the calls to {match!r} already; give this one another match=")
        hosted = HostedApplication(service, self, self._address)
        self._hosted.append(hosted)
        configuration = Configuration(
            services=tuple(one.service for one in self._hosted),
            media=MediaSection(directory=self._exchange.media_directory),
            # Records are told to the test; nobody wants the file.
            records=RecordsSection(file=Path(os.devnull)),
        )
        # Runs of before stay with the switchboard that started them.
        self._boards.append(_Board(configuration, self._exchange, self._runner, self._ended))
        return hosted

    def instances(self) -> list[Instance]:
        """Return every run that has not ended."""
        return [one for board in self._boards for one in board.instances.values()]

    def standing(self) -> list[str]:
        """Return where each application thread stands."""
        return self._runner.running()

    def hang_up(self) -> Deferred[Any]:
        """End as a server does at once: every call is hung up, and applications get a moment to notice."""
        return DeferredList([board.hang_up() for board in self._boards])

    def leftovers(self) -> list[str]:
        """Return a line for each application that still runs."""
        left = [f"application {line}" for line in self._runner.running()]
        # One that runs on the loop has been left behind by now; its record says where.
        for one in self._hosted:
            if one.service.application.style is Style.REACTOR:
                behind = [record for record in one.records if record.verb is not None]
                left += [f"application {one.name} {record.instance_id} in {record.verb}" for record in behind]
        return left

    def take_failures(self) -> list[Failure]:
        """Return what applications raised and no test has flushed; it counts as flushed then."""
        return [failure for one in self._hosted for failure in one.flush_failures()]

    def close(self) -> list[str]:
        """End every thread; harmless when repeated. Returns a line for each that could not be ended."""
        left = self._runner.close()
        globalLogPublisher.removeObserver(cast("ILogObserver", self._logged))
        return left

    def owns(self, failure: Failure) -> bool:
        """Tell whether a logged failure is no news: one that was flushed, or the end of a thread with its test."""
        return isinstance(failure.value, SimulationOver) or any(failure.value is one.value for one in self.flushed)

    def _find(self, file: str | Path) -> Path:
        candidates = [place / Path(file).expanduser() for place in self._places]
        return next((one for one in candidates if one.exists()), candidates[0])

    def _of(self, instance: Instance) -> HostedApplication:
        return next(one for one in self._hosted if one.service is instance.service)

    def _ended(self, instance: Instance, record: Record) -> None:
        self._of(instance)._ended(record)

    def _logged(self, event: Any) -> None:
        """Take what an application says, and what it raises, out of the log."""
        if not str(event.get("log_namespace", "")).startswith("telephony.application."):
            return
        told = event.get("instance_id") or event.get("id")
        instance = next((one for one in self.instances() if one.id == told), None)
        if instance is None:
            return
        failure = event.get("log_failure")
        if failure is not None:
            if not isinstance(failure.value, SimulationOver):
                self._of(instance).failures.append(failure)
        elif "instance_id" in event:
            self._of(instance).said.append(event["text"])
