"""One run of an application: its channels, its log, its files, its thread or coroutine, and its end.

Owns: what ``main`` is called with, how it is run (``api.md`` section 2), its return code and record, and that every
call it still holds is released when it ends. Must not know how calls are matched to services, nor stop anything: an
instance is never killed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from telephony.blocking import UASCallChannel
from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.call.direct import direct_seconds
from telephony.errors import Error, Hangup
from telephony.media.files import decode_audio, resolve_media_name
from telephony.reception import release
from telephony.runner import Runner
from telephony.server.applications import Direction, Style
from telephony.server.config import Service
from telephony.server.records import Record, ReturnCode, judge

T = TypeVar("T")


@cache
def log_of(application: str) -> Logger:
    """Return the logger of an application; there are as many as the configuration names."""
    return Logger(namespace=f"telephony.application.{application}")


class MyLog:
    """``my_log``: the application's log; every line carries the instance's id and the Call-ID of its primary call.

    Safe in any thread. ``trace`` and ``report`` are levels of the interface's own: below ``info``, and beside it.
    """

    __slots__ = ("_channel", "_instance_id", "_log")

    def __init__(self, application: str, instance_id: str, channel: CallChannel) -> None:
        self._log = log_of(application)
        self._instance_id = instance_id
        self._channel = channel

    def debug(self, message: object) -> None:
        """Say what only the author wants to know."""
        self._say(LogLevel.debug, message)

    def trace(self, message: object) -> None:
        """Say where the application is."""
        self._say(LogLevel.debug, message)

    def info(self, message: object) -> None:
        """Say what is going on."""
        self._say(LogLevel.info, message)

    def report(self, message: object) -> None:
        """Say what came out."""
        self._say(LogLevel.info, message)

    def warning(self, message: object) -> None:
        """Say what is odd."""
        self._say(LogLevel.warn, message)

    def error(self, message: object) -> None:
        """Say what went wrong."""
        self._say(LogLevel.error, message)

    def _say(self, level: Any, message: object) -> None:
        self._log.emit(
            level,
            "[{instance_id} {call_id}] {text}",
            instance_id=self._instance_id,
            call_id=self._channel.Details.call_id or "-",
            text=str(message),
        )


class FileMan:
    """``file_man``: the files under the media directory, by name (``api.md`` section 6).

    Every method raises `Error` for a name that isn't allowed; nothing outside the directory can be reached.
    """

    __slots__ = ("_directory",)

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def exists(self, filename: str) -> bool:
        """Tell whether there is such a file."""
        return resolve_media_name(self._directory, filename).is_file()

    def delete_file(self, filename: str) -> bool:
        """Delete a file; tells whether there was one. Raises `Error` when the system refuses."""
        path = resolve_media_name(self._directory, filename)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise Error(f"{filename!r} can't be deleted: {error.strerror or error}") from error
        return True

    def rename(self, filename: str, new_filename: str) -> bool:
        """Give a file another name, making directories as needed; tells whether there was one.

        Raises `Error` when there is a file of the new name, or the system refuses.
        """
        path, new_path = (resolve_media_name(self._directory, one) for one in (filename, new_filename))
        if not path.is_file():
            return False
        if new_path.exists():
            raise Error(f"{filename!r} can't be renamed: there is a {new_filename!r} already; delete that first")
        try:
            new_path.parent.mkdir(parents=True, exist_ok=True)
            path.rename(new_path)
        except OSError as error:
            raise Error(f"{filename!r} can't be renamed to {new_filename!r}: {error.strerror or error}") from error
        return True

    def validate(self, filename: str, cipher: object = None) -> bool:
        """Tell whether a file is there and can be played. Raises `Error` for a ``cipher``: there are none yet."""
        if cipher is not None:
            raise Error(f"cipher={cipher!r}: encrypted files are not built yet; leave cipher at None")
        path = resolve_media_name(self._directory, filename)
        try:
            decode_audio(path)
        except Error:
            return False
        return True


class NotingRunner:
    """A `Runner` that knows which verb its one application thread is in, media verbs included."""

    __slots__ = ("_runner", "verb")

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.verb: str | None = None

    def run(self, name: str, function: Callable[[], Deferred[T]], limit: float | None) -> T:
        """See `Runner.run`."""
        self.verb = name
        try:
            return self._runner.run(name, function, limit)
        finally:
            self.verb = None

    def post(self, function: Callable[[], object]) -> None:
        """See `Runner.post`."""
        self._runner.post(function)

    def start(self, name: str, function: Callable[[], object]) -> None:
        """See `Runner.start`."""
        self._runner.start(name, function)

    def seconds(self) -> float:
        """See `Runner.seconds`."""
        return self._runner.seconds()


class Instance:
    """One run of one application. `start` it once; ``ended`` is called once, on the loop, with its record."""

    __slots__ = (
        "_caller",
        "_direction",
        "_ended",
        "_log",
        "_media_directory",
        "_outbound_parameters",
        "_over",
        "_runner",
        "_seconds",
        "_started",
        "_wall",
        "channel",
        "fault",
        "id",
        "service",
    )

    def __init__(
        self,
        instance_id: str,
        service: Service,
        channel: CallChannel,
        *,
        direction: Direction,
        outbound_parameters: str = "",
        media_directory: Path,
        runner: Runner,
        seconds: Callable[[], float],
        wall: Callable[[], float],
        ended: Callable[[Instance, Record], None],
    ) -> None:
        self.id = instance_id
        self.service = service
        self.channel = channel
        self.fault: str | None = None
        """What ``main`` raised, in a sentence with the line; None while it has raised nothing, and for `Hangup`."""
        self._direction = direction
        self._outbound_parameters = outbound_parameters
        self._media_directory = media_directory
        self._runner = NotingRunner(runner)
        self._seconds = seconds
        self._ended = ended
        self._over = False
        # An inbound application may place calls on its primary channel later, whose caller it is itself then.
        self._caller = channel.Details.call_from if direction is Direction.INBOUND else ""
        self._wall = wall()
        self._started = seconds()
        self._log = log_of(service.application.name)

    @property
    def verb(self) -> str | None:
        """The verb that the instance is in now, on whichever of its channels, None when in none."""
        if self._runner.verb is not None:
            return self._runner.verb
        return next((one.running_verb for one in self._channels if one.running_verb is not None), None)

    @property
    def _channels(self) -> list[CallChannel]:
        return [self.channel, *cast("list[CallChannel]", self.channel.ExtraChannel)]

    def start(self) -> None:
        """Run ``main``, in a thread of its own or here on the loop as its style asks."""
        if self.service.application.style is Style.THREAD:
            try:
                self._runner.start(f"{self.service.application.name} {self.id}", self._in_thread)
            except RuntimeError:  # the system has no thread left
                self._log.failure("[{id}] main could not be started", id=self.id)
                self._finish(ReturnCode.SERVER_FAULT)
        elif self._caller_gone():
            self._finish(ReturnCode.CALLER_GONE)
        else:
            self._on_loop()

    def leave_behind(self) -> None:
        """Write the record of an instance that doesn't end, with the verb it is in, and forget about it."""
        self._finish(ReturnCode.NO_INTEGER, self.verb or "its own code")

    def _caller_gone(self) -> bool:
        return self._direction is Direction.INBOUND and self.channel.state() is State.IDLE

    def _arguments(self, channel: CallChannel | UASCallChannel) -> list[object]:
        arguments: list[object] = [
            channel,
            self.id,
            FileMan(self._media_directory),
            MyLog(self.service.application.name, self.id, self.channel),
            self.service.parameters,
        ]
        if self._direction is Direction.OUTBOUND:
            arguments.append(self._outbound_parameters)
        return arguments

    def _on_loop(self) -> None:
        # Coroutine functions, inlineCallbacks and plain functions that return a Deferred are all fine with this.
        main, arguments = self.service.application.main, self._arguments(self.channel)
        running: Deferred[Any] = maybeDeferred(lambda: _deferred(main(*arguments)))
        running.addCallbacks(self._returned, self._failed).addCallback(self._finish)

    def _in_thread(self) -> None:
        code: int = ReturnCode.SERVER_FAULT
        try:
            code = self._main_in_thread()
        finally:
            self._runner.post(lambda: self._finish(code))

    def _main_in_thread(self) -> int:
        if self._caller_gone():
            return ReturnCode.CALLER_GONE
        arguments = self._arguments(UASCallChannel(self.channel, self._runner))
        try:
            value = self.service.application.main(*arguments)
            if isinstance(value, Deferred) or inspect.iscoroutine(value):
                # It looked like a blocking main and gave us something to wait for all the same.
                value = self._runner.run("main", lambda: _deferred(value), None)
            return self._returned(value)
        except BaseException:  # sys.exit() included: it ends this run, not the server
            return self._failed(Failure())  # type: ignore[no-untyped-call]

    def _failed(self, failure: Failure) -> int:
        """Log what ``main`` raised. Runs in the application's thread or on the loop."""
        if failure.check(Hangup) is not None:  # type: ignore[no-untyped-call]
            self._log.info(
                "[{id} {call_id}] main ended by Hangup: {text}",
                id=self.id,
                call_id=self._call_id,
                text=str(failure.value),
            )
        else:
            self.fault = _blame(failure, str(self.service.application.path))
            self._log.failure("[{id} {call_id}] main raised", failure, id=self.id, call_id=self._call_id)
        return ReturnCode.NO_INTEGER

    def _returned(self, value: object) -> int:
        """Judge what ``main`` returned, and say so when it is not what the record will have."""
        code = judge(value)
        if isinstance(code, ReturnCode):  # one of the server's, so none that the author chose
            self._log.warn(
                "[{id} {call_id}] main returned {value!r}, recorded as {code}; it is to return an integer: "
                "0 or more for success, -100 or less for a failure of its own",
                id=self.id,
                call_id=self._call_id,
                value=value,
                code=int(code),
            )
        return code

    @property
    def _call_id(self) -> str:
        return self.channel.Details.call_id or "-"

    def _finish(self, code: int, verb: str | None = None) -> None:
        if self._over:
            return
        self._over = True
        record = Record(
            direction=self._direction.value,
            application=self.service.application.name,
            version=self.service.application.version,
            service=self.service.name,
            instance_id=self.id,
            start=self._wall,
            seconds=self._seconds() - self._started,
            return_code=int(code),
            caller=self._caller or self.channel.Details.call_from,
            application_parameters=self.service.parameters,
            outbound_parameters=self._outbound_parameters,
            verb=verb,
            direct_seconds=direct_seconds(self.channel),
        )
        for channel in self._channels:
            release(channel)
        self._ended(self, record)


def _blame(failure: Failure, path: str) -> str:
    """Say what was raised, and in which line of the application."""
    lines = [line for _name, file, line, _locals, _globals in failure.frames if file == path]
    where = f"{path}, line {lines[-1]}: " if lines else ""
    return f"{where}{type(failure.value).__name__}: {failure.value}".removesuffix(": ")


def _deferred(value: Any) -> Any:
    return Deferred.fromCoroutine(value) if inspect.iscoroutine(value) else value
