"""The switchboard: which calls get in, which application gets them, and what is left when it ends.

Owns: matching and limits, the instances that run, and their records (``api.md`` sections 2 and 7). Must not know
twistd, signals or sockets: it is given an `Exchange` and a `Runner`, and a simulation can give it its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from telephony.call.channel import CallChannel
from telephony.call.dialling import DialRules
from telephony.call.exchange import Exchange
from telephony.errors import Error
from telephony.reception import RETRY_AFTER, Refusal, best_match, called_user, user_called_on
from telephony.runner import Runner
from telephony.server.applications import Direction
from telephony.server.config import Configuration, Service
from telephony.server.drain import Drain, DrainInput, Phase
from telephony.server.instance import Instance
from telephony.server.lines import Lines
from telephony.server.recordings import RecordingFiles, facts_of, outcome_of
from telephony.server.records import Record, RecordFile, ReturnCode
from telephony.sip.flow import Flow
from telephony.sip.identity import Identity
from telephony.sip.message import Request


class Switchboard:
    """Gives each call that comes in to an instance of its service's application.

    ``wall`` tells the time of day for the records, in seconds since 1970.
    """

    _log = Logger()

    def __init__(
        self,
        configuration: Configuration,
        exchange: Exchange,
        runner: Runner,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._configuration = configuration
        self._exchange = exchange
        self._runner = runner
        self._wall = wall
        self._inbound = configuration.inbound
        self._running: Counter[str] = Counter()
        #: One for each service, whose calls are counted by it.
        self._dial_rules = {
            one.name: DialRules(one.name, one.allow_dial, one.deny_dial, one.max_outbound)
            for one in configuration.services
        }
        self._records = RecordFile(exchange.host, configuration.records.file)
        self._recordings = RecordingFiles(exchange.host, configuration.trace.directory, configuration.trace.keep)
        self._closed: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self.instances: dict[str, Instance] = {}
        """What runs now, by instance id."""
        self.drain = Drain(exchange.host.clock, configuration.limits.drain_seconds, self)
        self.lines = Lines(configuration, exchange)
        """The trunks and phones."""
        exchange.screen = self.screen
        exchange.on_call = self.arrived
        exchange.replacing.may_replace = self.lines.may_replace

    def start(self) -> None:
        """Register trunks; the exchange listens already."""
        self.lines.start()

    # -- calls ---------------------------------------------------------------------------------------------------

    def screen(self, request: Request, flow: Flow) -> Refusal | Identity | None:
        """Refuse what can't get in, before a channel or a thread is taken for it.

        503 with Retry-After while the server ends or is full; 404 for a user part that no service takes; 401 for who
        claims to be a phone of ours; 403 for everybody else who may not call, whether there is such a service or not.
        """
        if self.drain.state is not Phase.OPEN:
            return 503, [("Retry-After", str(max(1, round(self._configuration.limits.drain_seconds))))]
        pattern = best_match(self._inbound, called_user(request))
        service = None if pattern is None else self._inbound[pattern]
        admitted = self._configuration.open if service is None else self._configuration.admits(service)
        caller = self.lines.identify(request, flow, ask=not admitted)
        if isinstance(caller, tuple):
            return caller
        if caller is None and not admitted:
            return 403, []
        if service is None:
            return 404, []
        return (503, [RETRY_AFTER]) if self._full(service) else caller

    def arrived(self, channel: CallChannel) -> None:
        """Start an instance for a call that passed `screen`."""
        pattern = best_match(self._inbound, user_called_on(channel))
        service = None if pattern is None else self._inbound[pattern]
        if service is None or self._full(service) or self.drain.state is not Phase.OPEN:
            # Several calls passed the screen in one turn, and this one is beyond the limit after all.
            channel.reject(raw_cause="503").addErrback(lambda _gone: None)
            return
        self._start(service, channel, Direction.INBOUND, "")

    def start_outbound(self, name: str, outbound_parameters: str) -> str:
        """Start an outbound application on an IDLE channel of its own; returns the instance's id.

        Raises `Error` for a name that is no outbound service, when the service is full, and when the server ends;
        the first two are recorded with -3 or -6.
        """
        service = next((one for one in self._configuration.services if one.name == name), None)
        if service is None or service.direction != Direction.OUTBOUND.value:
            code = ReturnCode.NO_SUCH_APPLICATION if service is None else ReturnCode.WRONG_DIRECTION
            self._records.write(self._never_run(name, code, outbound_parameters))
            names = [one.name for one in self._configuration.services if one.direction == Direction.OUTBOUND.value]
            told = "no service" if service is None else "an inbound service"
            raise Error(f"{name!r} is {told}; outbound services are: {', '.join(names) or 'none'}")
        if self.drain.state is not Phase.OPEN or self._full(service):
            raise Error(f"{name!r} can't be started: the server is {'full' if self._open else 'stopping'}")
        return self._start(service, self._exchange.channel(), Direction.OUTBOUND, outbound_parameters)

    @property
    def _open(self) -> bool:
        return self.drain.state is Phase.OPEN

    def _full(self, service: Service) -> bool:
        limit = self._configuration.limits.max_calls
        mine = service.max_calls if service.max_calls is not None else limit
        return len(self.instances) >= limit or self._running[service.name] >= mine

    def _start(self, service: Service, channel: CallChannel, direction: Direction, parameters: str) -> str:
        host = self._exchange.host
        channel.ExtraChannel.extend(self._exchange.channel() for _ in range(service.extra_channels))
        for one in (channel, *channel.ExtraChannel):
            one.dial_rules = self._dial_rules[service.name]
        for one in (channel, *channel.ExtraChannel):
            one.trunk = service.trunk
            one.refer = service.refer
            if service.media is not None:
                one.media = service.media
            one.media_timeout = self._configuration.media_timeout(service)
        instance = Instance(
            self.instance_id(),
            service,
            channel,
            direction=direction,
            outbound_parameters=parameters,
            media_directory=self._configuration.media.directory,
            runner=self._runner,
            seconds=host.clock.seconds,
            wall=self._wall,
            ended=self._ended,
        )
        self.instances[instance.id] = instance
        if self._exchange.recorder is not None:
            self._exchange.recorder.hosted(channel, facts_of(instance, parameters))
        self._running[service.name] += 1
        instance.start()
        return instance.id

    def instance_id(self) -> str:
        """Return an id for a new instance."""
        return f"{self._exchange.host.random.getrandbits(64):016x}"

    def _ended(self, instance: Instance, record: Record) -> None:
        self._records.write(record)
        if self._exchange.recorder is not None:
            recording = self._exchange.recorder.ended(instance.channel, outcome_of(instance, record))
            if recording is not None:
                self._recordings.ended(recording)
        del self.instances[instance.id]
        self._running[instance.service.name] -= 1
        if not self.instances:
            self.drain.feed(DrainInput.EMPTY)

    def _never_run(self, name: str, code: ReturnCode, outbound_parameters: str) -> Record:
        return Record(
            direction=Direction.OUTBOUND.value,
            application=name,
            instance_id="",
            start=self._wall(),
            seconds=0.0,
            return_code=int(code),
            caller="",
            application_parameters="",
            outbound_parameters=outbound_parameters,
            service=name,
        )

    # -- the end -------------------------------------------------------------------------------------------------

    def terminate(self) -> Deferred[None]:
        """Begin to end the server: no new calls, what runs may end in the drain time; the second time hang up at once.

        Fires when everything is over and the records are written.
        """
        return self._end(DrainInput.TERMINATE)

    def hang_up(self) -> Deferred[None]:
        """End the server at once: every call is hung up. Fires as `terminate` does; harmless when ended already."""
        return self._end(DrainInput.HURRY)

    def _end(self, how: DrainInput) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if self.drain.state is Phase.CLOSED:
            self._tell()
        else:
            self.drain.feed(how)
        return waiting

    def idle(self) -> bool:
        """See `Drained.idle`."""
        return not self.instances

    def hang_up_all(self) -> Deferred[None]:
        """See `Drained.hang_up_all`."""
        self.lines.stop()
        return self._exchange.close()

    def leave_behind(self) -> None:
        """See `Drained.leave_behind`."""
        for instance in tuple(self.instances.values()):
            self._log.warn(
                "Instance {id} of {name} does not end; it is in {verb} and is left behind",
                id=instance.id,
                name=instance.service.application.name,
                verb=instance.verb or "its own code",
            )
            instance.leave_behind()

    def drained(self) -> None:
        """See `Drained.drained`."""
        self._closed = self._recordings.flush().addCallback(lambda _none: self._records.flush())
        self._closed.addCallback(lambda _none: self._tell())

    def _tell(self) -> None:
        if self._closed is None or not self._closed.called:
            return
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
