"""The verbs, blocking: `Telephony` for a script, `UASCallChannel` for an application that runs in a thread.

Owns: the blocking facade of `CallChannel` and of its media resources, derived verb by verb so that the two can't drift,
and the phone of a script. Must not know SIP or media, nor how its waits are done: that is the `Runner`'s
(`telephony.runner`), so that a simulation can run the same applications. ``api.md`` sections 1 and 4 to 6.
"""

from __future__ import annotations

import atexit
import functools
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from telephony.call import constants, details, resources
from telephony.call.channel import CallChannel
from telephony.call.exchange import Exchange
from telephony.call.unbuilt import UnbuiltResources
from telephony.call.verbs import check_seconds
from telephony.errors import Error, Hangup, TelephonyError
from telephony.facade import Facade, bare, reading
from telephony.media.tones import ToneManager
from telephony.reception import check_match, open_exchange, release
from telephony.runner import Runner, at_once, shared_reactor_runner
from telephony.sip.transport.tls import TlsIdentity

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")

_log = Logger()

#: A verb ends within its own limit; a wait for it gives up this much later.
GRACE_SECONDS = 1.0
#: The longest that a verb without a limit of its own may take: `hang_up` and `reject` wait up to 60 s for IDLE.
UNLIMITED_VERB_SECONDS = 60.0
#: How long leaving the ``with`` block waits for calls to end: a BYE held back for a missing ACK takes 64*T1.
CLOSE_SECONDS = 35.0


class Blocking(Facade[S]):
    """A facade whose verbs wait by way of a `Runner`."""

    __slots__ = ("_runner",)

    def __init__(self, subject: S, runner: Runner) -> None:
        super().__init__(subject)
        self._runner = runner


def limit_of(verb: Callable[..., object]) -> Callable[[tuple[Any, ...], dict[str, Any]], float | None]:
    """Return the function that reads, from a call's arguments, how long that verb may take; None is without limit.

    It also makes wrong arguments a TypeError in the caller's own line.
    """
    signature = inspect.signature(verb)
    named = "seconds_timeout" if "seconds_timeout" in signature.parameters else "seconds_ringtime"
    extra = GRACE_SECONDS if named == "seconds_timeout" else UNLIMITED_VERB_SECONDS + GRACE_SECONDS

    def limit(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float | None:
        bound = signature.bind(None, *args, **kwargs)
        if named not in signature.parameters:
            return extra
        return longest(bound.arguments.get(named, signature.parameters[named].default), extra)

    return limit


def longest(seconds: object, extra: float) -> float | None:
    """Return how long to wait for what has a limit of ``seconds`` of its own, or of None; ``extra`` is grace.

    What is no number of 0 or more is for the verb to refuse, in its own words.
    """
    if seconds is None:
        return None
    return seconds + extra if isinstance(seconds, int | float) and seconds >= 0 else extra


def blocking(verb: Callable[Concatenate[Any, P], Deferred[T]]) -> Callable[Concatenate[Any, P], T]:
    """Derive the blocking form of a verb: same name, arguments and text; it returns what the Deferred fires with.

    It raises what the verb fails with, and `Error` when the wait is impossible or lasted too long (`Runner.run`).
    """
    limit = limit_of(verb)
    # "call", and for a media job "FilePlayer.play".
    name = verb.__qualname__ if verb.__module__.startswith(resources.__name__) else verb.__name__
    anything: Callable[..., Deferred[T]] = verb

    @functools.wraps(verb)
    def wait(self: Blocking[Any], *args: Any, **kwargs: Any) -> T:
        seconds = limit(args, kwargs)
        plain: tuple[Any, ...] = (self._subject, *map(bare, args))
        named: dict[str, Any] = {key: bare(one) for key, one in kwargs.items()}
        return self._runner.run(name, lambda: anything(*plain, **named), seconds)

    return cast("Callable[Concatenate[Any, P], T]", wait)


def with_other(verb: Callable[Concatenate[Any, Any, P], Deferred[T]]) -> Callable[Concatenate[Any, Any, P], T]:
    """`blocking`, for a verb whose first argument is another channel: here that one is a facade too."""
    return cast("Callable[Concatenate[Any, Any, P], T]", blocking(verb))


def on_loop(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """Derive the form of a method that changes something at once: it does so on the loop, in order with the rest."""

    @functools.wraps(method)
    def wait(self: Blocking[Any], *args: Any, **kwargs: Any) -> T:
        return self._runner.run(
            method.__name__, at_once(lambda: method(self._subject, *args, **kwargs)), UNLIMITED_VERB_SECONDS
        )

    return cast("Callable[Concatenate[Any, P], T]", wait)


class UASCallChannel(Blocking[CallChannel], UnbuiltResources):
    """A call channel whose verbs block: what a ``def main(channel, …)`` gets (``api.md`` section 4).

    Use it from any thread but the reactor's. Every verb has the arguments, values and exceptions of its namesake on
    `CallChannel`.
    """

    __slots__ = ("_extra",)

    State = constants.State
    Cause = constants.Cause
    TransferCause = constants.TransferCause
    CallFarEndType = constants.CallFarEndType
    LiveSpeakerDetectionSettings = constants.LiveSpeakerDetectionSettings

    def __init__(self, subject: CallChannel, runner: Runner) -> None:
        super().__init__(subject, runner)
        self._extra = [UASCallChannel(cast("CallChannel", one), runner) for one in subject.ExtraChannel]

    state = reading(CallChannel.state)
    cause = reading(CallChannel.cause)
    transfer_cause = reading(CallChannel.transfer_cause)

    call = blocking(CallChannel.call)
    start_call = blocking(CallChannel.start_call)
    wait_for_answer = blocking(CallChannel.wait_for_answer)
    ring = blocking(CallChannel.ring)
    answer = blocking(CallChannel.answer)
    reject = blocking(CallChannel.reject)
    hang_up = blocking(CallChannel.hang_up)
    wait_for_idle = blocking(CallChannel.wait_for_idle)
    connect = with_other(CallChannel.connect)
    disconnect = blocking(CallChannel.disconnect)
    retrievable_transfer = with_other(CallChannel.retrievable_transfer)
    retrieve_transferred_call = blocking(CallChannel.retrieve_transferred_call)
    wait_for_transferred_call_retrieval = blocking(CallChannel.wait_for_transferred_call_retrieval)
    # Not built yet; they say so, each in its own words.
    call_conference_room = blocking(CallChannel.call_conference_room)
    start_call_conference_room = blocking(CallChannel.start_call_conference_room)
    transfer_to_inbound_service = with_other(CallChannel.transfer_to_inbound_service)
    transfer_to_conference_room = with_other(CallChannel.transfer_to_conference_room)
    hold = blocking(CallChannel.hold)
    resume = blocking(CallChannel.resume)
    blind_transfer = blocking(CallChannel.blind_transfer)
    attended_transfer = with_other(CallChannel.attended_transfer)
    wait_for_answer_machine = blocking(CallChannel.wait_for_answer_machine)

    @property
    def id(self) -> str:
        """The channel's name in logs and traces."""
        return self._subject.id

    @property
    def Details(self) -> details.Details:  # noqa: N802 - the interface's name
        """What is known about the call besides its state."""
        return self._subject.Details

    @property
    def SIP(self) -> details.SIP:  # noqa: N802 - the interface's name
        """Header fields to send and received ones."""
        return self._subject.SIP

    @property
    def ExtraChannel(self) -> list[UASCallChannel]:  # noqa: N802 - the interface's name
        """The outbound-only channels that this instance may use beside its primary one."""
        return self._extra

    @property
    def FilePlayer(self) -> UASFilePlayer:  # noqa: N802 - the interface's name
        """Plays files to the far end."""
        return UASFilePlayer(self._subject.FilePlayer, self._runner)

    @property
    def FileRecorder(self) -> UASFileRecorder:  # noqa: N802 - the interface's name
        """Records what the far end says."""
        return UASFileRecorder(self._subject.FileRecorder, self._runner)

    @property
    def DTMFDetector(self) -> UASDTMFDetector:  # noqa: N802 - the interface's name
        """Collects the keys that the far end presses."""
        return UASDTMFDetector(self._subject.DTMFDetector, self._runner)

    @property
    def DTMFPlayer(self) -> UASDTMFPlayer:  # noqa: N802 - the interface's name
        """Presses keys towards the far end."""
        return UASDTMFPlayer(self._subject.DTMFPlayer, self._runner)

    @property
    def TonePlayer(self) -> UASTonePlayer | None:  # noqa: N802 - the interface's name
        """The tone player made with ``TonePlayer(channel)``, None before."""
        player = self._subject.TonePlayer
        return None if player is None else UASTonePlayer(player, self._runner)

    def create_tone_player(self, tone_manager: ToneManager | None = None) -> UASTonePlayer:
        """Make this channel's tone player; ``telephony.TonePlayer(channel)`` comes here."""
        return UASTonePlayer(
            self._runner.run(
                "TonePlayer", at_once(lambda: self._subject.create_tone_player(tone_manager)), UNLIMITED_VERB_SECONDS
            ),
            self._runner,
        )


class UASFilePlayer(Blocking[resources.FilePlayer]):
    """``channel.FilePlayer``, blocking."""

    __slots__ = ()

    Cause = resources.JobCause
    State = resources.JobState

    play = blocking(resources.FilePlayer.play)
    start = blocking(resources.FilePlayer.start)
    say = blocking(resources.FilePlayer.say)
    start_say = blocking(resources.FilePlayer.start_say)
    stop = blocking(resources.FilePlayer.stop)
    wait_until_finished = blocking(resources.FilePlayer.wait_until_finished)
    cause = reading(resources.FilePlayer.cause)
    state = reading(resources.FilePlayer.state)


class UASFileRecorder(Blocking[resources.FileRecorder]):
    """``channel.FileRecorder``, blocking."""

    __slots__ = ()

    Cause = resources.JobCause
    State = resources.JobState

    record = blocking(resources.FileRecorder.record)
    start = blocking(resources.FileRecorder.start)
    stop = blocking(resources.FileRecorder.stop)
    wait_until_finished = blocking(resources.FileRecorder.wait_until_finished)
    cause = reading(resources.FileRecorder.cause)
    state = reading(resources.FileRecorder.state)
    audio_detected_in_recording = reading(resources.FileRecorder.audio_detected_in_recording)


class UASDTMFDetector(Blocking[resources.DTMFDetector]):
    """``channel.DTMFDetector``, blocking."""

    __slots__ = ()

    Cause = resources.JobCause

    get_digits = blocking(resources.DTMFDetector.get_digits)
    clear_digits = on_loop(resources.DTMFDetector.clear_digits)
    cause = reading(resources.DTMFDetector.cause)


class UASDTMFPlayer(Blocking[resources.DTMFPlayer]):
    """``channel.DTMFPlayer``, blocking."""

    __slots__ = ()

    Cause = resources.JobCause
    State = resources.JobState

    play = blocking(resources.DTMFPlayer.play)
    start = blocking(resources.DTMFPlayer.start)
    stop = blocking(resources.DTMFPlayer.stop)
    wait_until_finished = blocking(resources.DTMFPlayer.wait_until_finished)
    cause = reading(resources.DTMFPlayer.cause)
    state = reading(resources.DTMFPlayer.state)


class UASTonePlayer(Blocking[resources.TonePlayer]):
    """``channel.TonePlayer``, blocking."""

    __slots__ = ()

    Cause = resources.JobCause
    State = resources.JobState

    play = blocking(resources.TonePlayer.play)
    start = blocking(resources.TonePlayer.start)
    stop = blocking(resources.TonePlayer.stop)
    wait_until_finished = blocking(resources.TonePlayer.wait_until_finished)
    cause = reading(resources.TonePlayer.cause)
    state = reading(resources.TonePlayer.state)


class Serving:
    """A function that `Telephony.serve` runs for each call of one pattern."""

    __slots__ = ("_match", "_phone")

    def __init__(self, phone: Telephony, match: str) -> None:
        self._phone = phone
        self._match = match

    def stop(self) -> None:
        """Take no more calls; those that run go on. Harmless when repeated or when the phone is closed."""
        self._phone._stop_serving(self._match)

    def wait(self, seconds_timeout: float | None = None) -> None:
        """Block until the phone is closed by another thread, Ctrl-C, or the time is up."""
        self._phone._wait_closed(seconds_timeout)


class Telephony:
    """A phone for a script: it listens, places calls and takes them, and every verb blocks (``api.md`` section 1).

    ``listen`` is one listener or several, ``"udp:127.0.0.1:5080"``, ``"tcp:[::1]:5060"``; port 0 takes a free one, and
    `listening` tells which. ``tls`` is the certificate of ``"tls:…"`` listeners and ``sips:`` calls, ``srtp`` what
    becomes of SRTP, ``media`` whether the audio of transferred calls comes by here (see
    `telephony.call.exchange.Exchange`). All phones of a process share one reactor, which runs in a
    thread of its own; making one starts it. Raises `Error` when it can't listen. Leaving the ``with`` block, or
    `close`, releases every call.
    """

    def __init__(
        self,
        listen: str | Sequence[str] = "udp:127.0.0.1:0",
        *,
        default_from: str = "",
        advertise: str | None = None,
        rtp_ports: tuple[int, int] = (20000, 49999),
        media_directory: str | Path = "media",
        max_calls: int = 1000,
        tls: TlsIdentity | None = None,
        srtp: Literal["never", "secure", "always"] = "secure",
        media: Literal["anchored", "direct"] = "anchored",
        runner: Runner | None = None,
        make_exchange: Callable[[], Exchange] | None = None,
    ) -> None:
        self._runner = runner if runner is not None else shared_reactor_runner()
        self._closed = False
        texts = [listen] if isinstance(listen, str) else list(listen)

        def host_exchange() -> Exchange:
            from telephony.host import ReactorHost
            from telephony.runner import ReactorRunner

            assert isinstance(self._runner, ReactorRunner)
            return Exchange(
                ReactorHost(self._runner.reactor),
                advertise=advertise,
                rtp_ports=rtp_ports,
                media_directory=Path(media_directory),
                max_calls=max_calls,
                default_from=default_from,
                tls=tls,
                srtp=srtp,
                media=media,
            )

        make = make_exchange if make_exchange is not None else host_exchange
        self._exchange, self._reception, self.listening = self._runner.run(
            "Telephony", at_once(lambda: open_exchange(make, texts)), UNLIMITED_VERB_SECONDS
        )
        """`listening`: the addresses listened on, in the order of ``listen``."""
        self._ended: Deferred[None] = Deferred()
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def channel(self, default_from: str | None = None) -> UASCallChannel:
        """Return a new IDLE channel, to place calls with; ``default_from`` is what ``call_from=''`` stands for."""
        self._check_open()
        return UASCallChannel(
            self._runner.run("channel", at_once(lambda: self._exchange.channel(default_from)), UNLIMITED_VERB_SECONDS),
            self._runner,
        )

    def wait_for_call(self, match: str = "*", seconds_timeout: float | None = None) -> UASCallChannel | None:
        """Block until a call comes in whose user part ``match`` takes; returns its channel, in CALL_INCOMING.

        None when the time is up. A call that comes between two waits waits for the next one; one that no pattern
        takes is refused with 404. Raises `Error` when the phone is closed.
        """
        self._check_open()
        channel = self._runner.run(
            "wait_for_call",
            lambda: self._reception.wait_for_call(match, seconds_timeout),
            longest(seconds_timeout, GRACE_SECONDS),
        )
        return None if channel is None else UASCallChannel(channel, self._runner)

    def serve(self, match: str, main: Callable[[UASCallChannel], object]) -> Serving:
        """Run ``main(channel)`` in a thread of its own for each call that ``match`` takes; returns at once.

        When ``main`` ends, by return or exception, its call is released; an exception but `Hangup` is logged.
        ``phone.serve("*", main).wait()`` is a script that serves until Ctrl-C.
        """
        self._check_open()
        check_match(match)
        if not callable(main):
            raise Error(f"main={main!r} can't be called; give a function that takes a channel")

        def begin(channel: CallChannel) -> None:
            facade = UASCallChannel(channel, self._runner)
            self._runner.start(f"call {channel.id}", lambda: self._serve_one(main, facade))

        self._runner.run("serve", at_once(lambda: self._reception.serve(match, begin)), UNLIMITED_VERB_SECONDS)
        return Serving(self, match)

    def close(self) -> None:
        """Release every call, stop listening, and wait until that is done; harmless when closed already.

        Bounded: a call whose answer is still unacknowledged takes up to 64*T1, everything else goes at once.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)

        def over(_result: object) -> None:
            self._ended.callback(None)

        def close() -> Deferred[None]:
            self._reception.close()
            return self._exchange.close().addBoth(over)

        try:
            self._runner.run("close", close, CLOSE_SECONDS)
        except TelephonyError as error:
            # The reactor has gone, or a peer never acknowledged: either way nothing more can be released.
            _log.warn("Closing the phone: {error}", error=str(error))

    def _serve_one(self, main: Callable[[UASCallChannel], object], channel: UASCallChannel) -> None:
        try:
            main(channel)
        except Hangup:
            _log.debug("Call {id}: the caller hung up", id=channel.id)
        except Exception:
            _log.failure("Call {id}: its function raised", id=channel.id)
        finally:
            self._runner.post(lambda: release(channel._subject))

    def _check_open(self) -> None:
        if self._closed:
            raise Error("this phone has been closed; make another Telephony")

    def _stop_serving(self, match: str) -> None:
        if not self._closed:
            self._runner.run("stop", at_once(lambda: self._reception.stop_serving(match)), UNLIMITED_VERB_SECONDS)

    def _wait_closed(self, seconds_timeout: float | None) -> None:
        def ended() -> Deferred[None]:
            waiter: Deferred[None] = Deferred()
            self._ended.chainDeferred(waiter)
            return waiter

        check_seconds("seconds_timeout", seconds_timeout)
        if self._closed:
            return
        try:
            self._runner.run("wait", ended, seconds_timeout)
        except Error:
            return
