"""How twistd runs the server: its options, its service, and what signals do (``api.md`` section 7).

Owns: the command line of ``twistd telephony``, checking everything that can be checked before the server detaches, the
reactor's side of starting and stopping, and SIGTERM. Must not know calls: the `Switchboard` does.

Why signals of our own: Twisted's stop the reactor at the first SIGTERM, and at the second one log a
``ReactorNotRunning``; here the first begins the drain, the second hangs up, and more change nothing.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from twisted.application import service
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python import usage

from telephony.call.exchange import Exchange, parse_listener
from telephony.call.recorder import NotedRandom, Recorder
from telephony.collecting import Governor
from telephony.errors import Error
from telephony.host import family_of
from telephony.interfaces import Address, Host
from telephony.reception import listen_on
from telephony.runner import ReactorRunner
from telephony.server.config import Configuration, configuration_of, load_configuration
from telephony.server.control import ControlSocket, default_path
from telephony.server.descriptors import most_connections, raise_limit, too_few
from telephony.server.drain import Phase
from telephony.server.switchboard import Switchboard
from telephony.server.tracing import TraceCommand

_log = Logger()


class Options(usage.Options):
    """The options of ``twistd telephony``.

    A mistake ends the process with status 1 and a sentence on stderr, before twistd detaches.
    """

    synopsis = "--config FILE | --app FILE [--listen udp:ADDRESS:PORT]... [--parameters TEXT]"
    longdesc = "Run telephony applications: those of a configuration file, or one that takes every call."
    optParameters: ClassVar[list[list[Any]]] = [  # noqa: N815 - Twisted's name
        ["config", "c", None, "configuration file, like telephony.toml"],
        ["app", "a", None, "application file that takes every call, in place of a configuration file"],
        ["parameters", "p", "", "application_parameters of that application"],
        ["media", None, None, "media directory (default: media here, or beside the application file)"],
        ["records", None, None, "file for application data records (default: records.jsonl)"],
    ]
    optFlags: ClassVar[list[list[Any]]] = [  # noqa: N815 - Twisted's name
        ["public", None, "admit calls from anywhere to every service"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.listen: list[str] = []
        self.configuration: Configuration | None = None

    def opt_listen(self, listener: str) -> None:
        """Listen at udp:ADDRESS:PORT or tcp:ADDRESS:PORT; may be given several times."""
        self.listen.append(listener)

    def postOptions(self) -> None:  # noqa: N802 - Twisted's name
        """Read and check everything, the listeners with it; mistakes are one SystemExit with their sentences."""
        try:
            self.configuration = self._configuration()
        except Error as error:
            raise SystemExit(f"telephony: {error}") from None

    def _configuration(self) -> Configuration:
        public = bool(self["public"])
        if (self["config"] is None) == (self["app"] is None):
            raise Error("give either --config FILE or --app FILE")
        if self["app"] is not None:
            return configuration_of(
                listen=self.listen,
                application=self["app"],
                parameters=self["parameters"],
                media=self["media"],
                records=self["records"],
                public=public,
                busy=busy,
            )
        for name in ("parameters", "media", "records"):
            if self[name]:
                raise Error(f"--{name} belongs to --app; with --config write it into the file")
        if self.listen:
            raise Error("--listen belongs to --app; with --config write it into the file, as listen under [sip]")
        return load_configuration(Path(self["config"]), public=public, busy=busy)


def busy(listener: str) -> str:
    """Bind a listener for a moment; tell why that can't be done, or ""."""
    transport, (host, port) = parse_listener(listener)
    family = family_of(host)
    try:
        with socket.socket(family, socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if transport != "udp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.strerror or str(error)
    return ""


class TelephonyService(service.Service):
    """The server as a Twisted service. ``reactor`` is for tests; without it the process's own is used."""

    name = "telephony"

    def __init__(
        self,
        configuration: Configuration,
        reactor: Any = None,
        make_exchange: Callable[[Host, Configuration], Exchange] | None = None,
    ) -> None:
        self._configuration = configuration
        self._reactor = reactor
        self._make_exchange = make_exchange if make_exchange is not None else exchange_for
        self._signals: SignalWatch | None = None
        self._address: tuple[str, Address] | None = None
        self._control: ControlSocket | None = None
        self._governor: Governor | None = None
        self.exchange: Exchange | None = None
        self.switchboard: Switchboard | None = None

    def privilegedStartService(self) -> None:  # noqa: N802 - Twisted's name
        """Bind the sockets. Raises `Error` when one can't be had, in spite of all that was checked before."""
        from telephony.host import ReactorHost

        if self._reactor is None:
            from twisted.internet import reactor

            self._reactor = reactor
        self._configuration.media.directory.mkdir(parents=True, exist_ok=True)
        self.exchange = self._make_exchange(ReactorHost(self._reactor, NotedRandom()), self._configuration)
        trace = self._configuration.trace
        if trace.replay != "off":
            Recorder(self.exchange, media=trace.replay == "media", calls=trace.calls)
        self.switchboard = Switchboard(self._configuration, self.exchange, ReactorRunner(self._reactor))
        for text in self._configuration.sip.listen:
            host, port = listen_on(self.exchange, text)
            self._address = self._address or (text.partition(":")[0].lower(), (host, port))
            _log.info("Listening on {transport} {host} port {port}", transport=text[:3], host=host, port=port)

    def startService(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to serve."""
        super().startService()  # type: ignore[no-untyped-call]
        assert self.switchboard is not None
        for warning in self._configuration.warnings:
            _log.warn("{warning}", warning=warning)
        assert self.switchboard is not None
        self.switchboard.start()
        for one in self._configuration.services:
            who = f"calls to {one.match!r}" if one.match is not None else "outbound, nothing starts it yet"
            _log.info(
                "Service {name}: {who}, {application}", name=one.name, who=who, application=str(one.application.path)
            )
        self._open_control()
        self._signals = SignalWatch(self._reactor, self.switchboard)
        # After the reactor has installed its own.
        self._reactor.callWhenRunning(self._signals.install)
        if self._configuration.limits.collector == "governed":
            self._governor = Governor(self._reactor, self._is_quiet)
            self._reactor.callWhenRunning(self._governor.start)

    def stopService(self) -> Deferred[None]:  # noqa: N802 - Twisted's name
        """End at once what a drain has not ended yet; fires when every call is over and the records are written."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._control is not None:
            self._control.close()
        if self._governor is not None:
            self._governor.stop()
        return succeed(None) if self.switchboard is None else self.switchboard.hang_up()

    def _is_quiet(self) -> bool:
        """Tell whether nobody would hear a pause."""
        return self.exchange is None or not self.exchange.channels

    def _open_control(self) -> None:
        """Let commands on this machine ask this server. One that can't be asked serves all the same."""
        said = self._configuration.trace.control
        if said == "off" or self.exchange is None or self._address is None:
            return
        # Made here, as the user that the server runs as.
        path = default_path(self._configuration.records.file, *self._address) if said is None else Path(said)
        control = ControlSocket(self._reactor, path, {"trace": TraceCommand(self.exchange.recorder)})
        try:
            control.open()
        except Error as error:
            _log.error("{error}", error=str(error))
            return
        self._control = control


class SignalWatch:
    """Makes SIGTERM and SIGINT drain the server, and the second of them hang up at once."""

    def __init__(self, reactor: Any, switchboard: Switchboard) -> None:
        self._reactor = reactor
        self._switchboard = switchboard
        self._stopping = False

    def install(self) -> None:
        """Take the signals over; where that isn't possible (not the main thread) they stay as they are."""
        for one in (signal.SIGTERM, signal.SIGINT):
            try:
                signal.signal(one, self._signalled)
            except ValueError:
                return

    def _signalled(self, number: int, _frame: object) -> None:
        # Runs between any two instructions of the main thread; the reactor takes it from here.
        self._reactor.callFromThread(self.terminate, signal.Signals(number).name)

    def terminate(self, name: str) -> None:
        """On the loop: take one signal."""
        if self._stopping:
            return
        _log.info("{name} received: {what}", name=name, what=self._what_follows())
        self._switchboard.terminate().addBoth(self._stop)

    def _what_follows(self) -> str:
        """Tell whoever looks at a server that doesn't end what it waits for, and how to hurry it."""
        running = len(self._switchboard.instances)
        drain = self._switchboard.drain
        if not running:
            return "no new calls, no application is running"
        who = f"{running} application{'' if running == 1 else 's'} running"
        if drain.state is Phase.OPEN:
            return f"no new calls, {who}, {drain.drain_seconds:g} s to end; a second signal hangs up"
        return f"{who}, hanging up"

    def _stop(self, _result: object) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()


def exchange_for(host: Host, configuration: Configuration) -> Exchange:
    """Make the exchange that a configuration asks for; it listens nowhere yet."""
    # The limit is on calls that come in, and the switchboard keeps it; each may hold others of its own.
    legs = 1 + max((one.extra_channels for one in configuration.services), default=0)
    files, wanted = raise_limit(), configuration.limits.max_calls * legs
    warning = too_few(files, wanted)
    if warning:
        _log.warn("{warning}", warning=warning)
    return Exchange(
        host,
        advertise=configuration.sip.advertise,
        rtp_ports=configuration.rtp.ports,
        srtp=configuration.rtp.srtp,
        tls=configuration.tls.identity(),
        most_connections=most_connections(files, wanted),
        media_directory=configuration.media.directory,
        max_calls=configuration.limits.max_calls * legs,
        call_seconds=configuration.limits.call_seconds,
        media_timeout=configuration.limits.media_seconds or None,
        session_expires=configuration.sip.session_expires,
        min_se=configuration.sip.min_se,
        reliable_early_media=configuration.sip.reliable_early_media,
        limits=configuration.limits.of_strangers(),
    )


def makeService(options: Options) -> TelephonyService:  # noqa: N802 - Twisted's name
    """Make the service for options that have been checked; twistd calls this."""
    assert options.configuration is not None
    return TelephonyService(options.configuration)
