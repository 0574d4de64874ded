"""The verbs as asyncio futures, for programs that are built on asyncio (``api.md`` section 1).

Owns: the asyncio facade of `CallChannel` and of its media resources, derived verb by verb, a phone for an asyncio
program, and the start of Twisted's asyncio reactor on its event loop. Must not know SIP or media.

A Deferred can't be awaited by an asyncio task, so each verb is turned into a Future; cancelling that (or the task that
waits for it) cancels the verb, with its meaning on the wire::

    async def main():
        async with aio.Telephony(listen="udp:127.0.0.1:5080") as phone:
            channel = phone.channel()
            state = await channel.call("sip:alice@127.0.0.1:5070")

    asyncio.run(main())
"""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Self, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from telephony.call import constants, details, resources
from telephony.call.channel import CallChannel
from telephony.call.exchange import Exchange
from telephony.call.unbuilt import UnbuiltResources
from telephony.errors import Error, Hangup
from telephony.facade import Facade, bare, reading
from telephony.media.tones import ToneManager
from telephony.reception import check_match, open_exchange, release
from telephony.sip.transport.tls import TlsIdentity

P = ParamSpec("P")
T = TypeVar("T")

_log = Logger()


def awaitable(verb: Callable[Concatenate[Any, P], Deferred[T]]) -> Callable[Concatenate[Any, P], asyncio.Future[T]]:
    """Derive the asyncio form of a verb: same name, arguments and text; it returns a Future of the running loop."""
    anything: Callable[..., Deferred[T]] = verb

    @functools.wraps(verb)
    def promise(self: Facade[Any], *args: Any, **kwargs: Any) -> asyncio.Future[T]:
        named = {key: bare(one) for key, one in kwargs.items()}
        return as_future(anything(self._subject, *map(bare, args), **named))

    return cast("Callable[Concatenate[Any, P], asyncio.Future[T]]", promise)


def with_other(
    verb: Callable[Concatenate[Any, Any, P], Deferred[T]],
) -> Callable[Concatenate[Any, Any, P], asyncio.Future[T]]:
    """`awaitable`, for a verb whose first argument is another channel: here that one is a facade too."""
    return cast("Callable[Concatenate[Any, Any, P], asyncio.Future[T]]", awaitable(verb))


def as_future(deferred: Deferred[T]) -> asyncio.Future[T]:
    """Turn a Deferred into a Future of the running loop; cancelling the one cancels the other."""
    return deferred.asFuture(asyncio.get_running_loop())


class AioCallChannel(Facade[CallChannel], UnbuiltResources):
    """A call channel whose verbs return asyncio Futures (``api.md`` section 4).

    Every verb has the arguments, values and exceptions of its namesake on `CallChannel`.
    """

    __slots__ = ("_extra",)

    State = constants.State
    Cause = constants.Cause
    TransferCause = constants.TransferCause
    CallFarEndType = constants.CallFarEndType
    LiveSpeakerDetectionSettings = constants.LiveSpeakerDetectionSettings

    def __init__(self, subject: CallChannel) -> None:
        super().__init__(subject)
        self._extra = [AioCallChannel(cast("CallChannel", one)) for one in subject.ExtraChannel]

    state = reading(CallChannel.state)
    cause = reading(CallChannel.cause)
    transfer_cause = reading(CallChannel.transfer_cause)

    call = awaitable(CallChannel.call)
    start_call = awaitable(CallChannel.start_call)
    wait_for_answer = awaitable(CallChannel.wait_for_answer)
    ring = awaitable(CallChannel.ring)
    answer = awaitable(CallChannel.answer)
    reject = awaitable(CallChannel.reject)
    hang_up = awaitable(CallChannel.hang_up)
    wait_for_idle = awaitable(CallChannel.wait_for_idle)
    connect = with_other(CallChannel.connect)
    disconnect = awaitable(CallChannel.disconnect)
    retrievable_transfer = with_other(CallChannel.retrievable_transfer)
    retrieve_transferred_call = awaitable(CallChannel.retrieve_transferred_call)
    wait_for_transferred_call_retrieval = awaitable(CallChannel.wait_for_transferred_call_retrieval)
    # Not built yet; they say so, each in its own words.
    call_conference_room = awaitable(CallChannel.call_conference_room)
    start_call_conference_room = awaitable(CallChannel.start_call_conference_room)
    transfer_to_inbound_service = with_other(CallChannel.transfer_to_inbound_service)
    transfer_to_conference_room = with_other(CallChannel.transfer_to_conference_room)
    hold = awaitable(CallChannel.hold)
    resume = awaitable(CallChannel.resume)
    blind_transfer = awaitable(CallChannel.blind_transfer)
    attended_transfer = with_other(CallChannel.attended_transfer)
    wait_for_answer_machine = awaitable(CallChannel.wait_for_answer_machine)

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
    def ExtraChannel(self) -> list[AioCallChannel]:  # noqa: N802 - the interface's name
        """The outbound-only channels that may be used beside this one."""
        return self._extra

    @property
    def FilePlayer(self) -> AioFilePlayer:  # noqa: N802 - the interface's name
        """Plays files to the far end."""
        return AioFilePlayer(self._subject.FilePlayer)

    @property
    def FileRecorder(self) -> AioFileRecorder:  # noqa: N802 - the interface's name
        """Records what the far end says."""
        return AioFileRecorder(self._subject.FileRecorder)

    @property
    def DTMFDetector(self) -> AioDTMFDetector:  # noqa: N802 - the interface's name
        """Collects the keys that the far end presses."""
        return AioDTMFDetector(self._subject.DTMFDetector)

    @property
    def DTMFPlayer(self) -> AioDTMFPlayer:  # noqa: N802 - the interface's name
        """Presses keys towards the far end."""
        return AioDTMFPlayer(self._subject.DTMFPlayer)

    @property
    def TonePlayer(self) -> AioTonePlayer | None:  # noqa: N802 - the interface's name
        """The tone player made with ``TonePlayer(channel)``, None before."""
        player = self._subject.TonePlayer
        return None if player is None else AioTonePlayer(player)

    def create_tone_player(self, tone_manager: ToneManager | None = None) -> AioTonePlayer:
        """Make this channel's tone player; ``telephony.TonePlayer(channel)`` comes here."""
        return AioTonePlayer(self._subject.create_tone_player(tone_manager))


class AioFilePlayer(Facade[resources.FilePlayer]):
    """``channel.FilePlayer``, as Futures."""

    __slots__ = ()

    Cause = resources.JobCause
    State = resources.JobState
    play = awaitable(resources.FilePlayer.play)
    start = awaitable(resources.FilePlayer.start)
    say = awaitable(resources.FilePlayer.say)
    start_say = awaitable(resources.FilePlayer.start_say)
    stop = awaitable(resources.FilePlayer.stop)
    wait_until_finished = awaitable(resources.FilePlayer.wait_until_finished)
    cause = reading(resources.FilePlayer.cause)
    state = reading(resources.FilePlayer.state)


class AioFileRecorder(Facade[resources.FileRecorder]):
    """``channel.FileRecorder``, as Futures."""

    __slots__ = ()

    Cause = resources.JobCause
    State = resources.JobState
    record = awaitable(resources.FileRecorder.record)
    start = awaitable(resources.FileRecorder.start)
    stop = awaitable(resources.FileRecorder.stop)
    wait_until_finished = awaitable(resources.FileRecorder.wait_until_finished)
    cause = reading(resources.FileRecorder.cause)
    state = reading(resources.FileRecorder.state)
    audio_detected_in_recording = reading(resources.FileRecorder.audio_detected_in_recording)


class AioDTMFDetector(Facade[resources.DTMFDetector]):
    """``channel.DTMFDetector``, as Futures."""

    __slots__ = ()

    Cause = resources.JobCause
    get_digits = awaitable(resources.DTMFDetector.get_digits)
    clear_digits = reading(resources.DTMFDetector.clear_digits)
    cause = reading(resources.DTMFDetector.cause)


class AioDTMFPlayer(Facade[resources.DTMFPlayer]):
    """``channel.DTMFPlayer``, as Futures."""

    __slots__ = ()

    Cause = resources.JobCause
    State = resources.JobState
    play = awaitable(resources.DTMFPlayer.play)
    start = awaitable(resources.DTMFPlayer.start)
    stop = awaitable(resources.DTMFPlayer.stop)
    wait_until_finished = awaitable(resources.DTMFPlayer.wait_until_finished)
    cause = reading(resources.DTMFPlayer.cause)
    state = reading(resources.DTMFPlayer.state)


class AioTonePlayer(Facade[resources.TonePlayer]):
    """``channel.TonePlayer``, as Futures."""

    __slots__ = ()

    Cause = resources.JobCause
    State = resources.JobState
    play = awaitable(resources.TonePlayer.play)
    start = awaitable(resources.TonePlayer.start)
    stop = awaitable(resources.TonePlayer.stop)
    wait_until_finished = awaitable(resources.TonePlayer.wait_until_finished)
    cause = reading(resources.TonePlayer.cause)
    state = reading(resources.TonePlayer.state)


class Telephony:
    """A phone for an asyncio program. Make it inside a coroutine; it listens from then on.

    The arguments and `listening` are those of `telephony.Telephony`. Raises `Error` when it can't listen, or when this
    process's reactor belongs to something else than the running event loop. Leaving the ``async with`` block, or
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
        make_exchange: Callable[[], Exchange] | None = None,
    ) -> None:
        def host_exchange() -> Exchange:
            from telephony.host import ReactorHost

            return Exchange(
                ReactorHost(running_reactor()),
                advertise=advertise,
                rtp_ports=rtp_ports,
                media_directory=Path(media_directory),
                max_calls=max_calls,
                default_from=default_from,
                tls=tls,
                srtp=srtp,
                media=media,
            )

        texts = [listen] if isinstance(listen, str) else list(listen)
        make = make_exchange if make_exchange is not None else host_exchange
        self._exchange, self._reception, self.listening = open_exchange(make, texts)
        self._tasks: set[asyncio.Future[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def channel(self, default_from: str | None = None) -> AioCallChannel:
        """Return a new IDLE channel, to place calls with; ``default_from`` is what ``call_from=''`` stands for."""
        return AioCallChannel(self._exchange.channel(default_from))

    async def wait_for_call(self, match: str = "*", seconds_timeout: float | None = None) -> AioCallChannel | None:
        """Wait for a call whose user part ``match`` takes, in CALL_INCOMING; None when the time is up."""
        channel = await as_future(self._reception.wait_for_call(match, seconds_timeout))
        return None if channel is None else AioCallChannel(channel)

    def serve(self, match: str, main: Callable[[AioCallChannel], Coroutine[Any, Any, object]]) -> None:
        """Run ``main(channel)`` as a task for each call that ``match`` takes; when it ends, its call is released."""
        check_match(match)
        if not callable(main):
            raise Error(f"main={main!r} can't be called; give a coroutine function that takes a channel")

        def begin(channel: CallChannel) -> None:
            task = asyncio.ensure_future(self._serve_one(main, channel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._reception.serve(match, begin)

    def stop_serving(self, match: str) -> None:
        """Take no more calls for ``match``; those that run go on. Harmless when repeated."""
        self._reception.stop_serving(match)

    async def close(self) -> None:
        """Release every call and stop listening; harmless when closed already."""
        self._reception.close()
        await as_future(self._exchange.close())
        # What served a call sees it end by its verbs; give that a turn before the program goes on.
        await asyncio.sleep(0)

    async def _serve_one(self, main: Callable[[AioCallChannel], Awaitable[object]], channel: CallChannel) -> None:
        try:
            await main(AioCallChannel(channel))
        except Hangup:
            _log.debug("Call {id}: the caller hung up", id=channel.id)
        except Exception:
            _log.failure("Call {id}: its function raised", id=channel.id)
        finally:
            release(channel)


def running_reactor() -> Any:
    """Return the reactor that runs on this thread's running event loop, starting one when there is none yet.

    Raises `Error` when no event loop runs here, or when the process has a reactor that isn't this loop's: there can
    be one only.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError as error:
        raise Error("telephony.aio needs a running event loop: make the Telephony inside a coroutine") from error
    installed = sys.modules.get("twisted.internet.reactor")
    if installed is None:
        from twisted.internet import asyncioreactor

        install: Callable[[asyncio.AbstractEventLoop], None] = asyncioreactor.install
        install(loop)
    from twisted.internet import reactor as the_reactor

    reactor: Any = the_reactor
    if getattr(reactor, "_asyncioEventloop", None) is not loop:
        raise Error(
            "this process has a Twisted reactor already, and it isn't the running event loop's; import telephony.aio's "
            "Telephony before anything that imports twisted.internet.reactor, and use one event loop per process"
        )
    if not reactor.running:
        # The loop runs already, so the reactor is told that it does; run() would want to start and stop the loop.
        reactor.startRunning(installSignalHandlers=False)
        # Nobody will stop this reactor, so its threads must not keep the process.
        reactor.getThreadPool().threadFactory = functools.partial(threading.Thread, daemon=True)
    return reactor
