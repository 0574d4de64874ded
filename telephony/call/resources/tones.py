"""``TonePlayer``: tones of a tone plan on a call (``api.md`` section 6).

Owns: which tone manager a channel's tones come from, and the playing of one tone. Must not know how tones are made
(`telephony.media.tones`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred, succeed

from telephony.call.resources.job import Job, JobCause, JobState
from telephony.call.verbs import check_seconds, open_verb
from telephony.errors import Error
from telephony.media.players import ToneSource
from telephony.media.tones import ToneManager

if TYPE_CHECKING:
    from telephony.call.core import ChannelCore


class TonePlayer(Job):
    """Plays tones on one channel. The application makes it; a retrievable transfer needs it for its ringback.

    Made on a blocking or asyncio channel it is that channel's own kind of tone player.
    """

    __slots__ = ("tone_manager",)

    name: ClassVar[str] = "a tone"

    def __new__(cls, channel: Any, tone_manager: ToneManager | None = None) -> TonePlayer:
        """Make the kind of tone player that fits the channel."""
        from telephony.call.core import ChannelCore

        if isinstance(channel, ChannelCore):
            return super().__new__(cls)
        create = getattr(channel, "create_tone_player", None)
        if create is None:
            raise Error(f"a TonePlayer is made on a channel, like TonePlayer(channel); {channel!r} is none")
        player: TonePlayer = create(tone_manager)
        return player

    def __init__(self, channel: ChannelCore, tone_manager: ToneManager | None = None) -> None:
        if tone_manager is not None and not isinstance(tone_manager, ToneManager):
            raise Error(
                f"tone_manager={tone_manager!r} is no ToneManager; make one with ToneManager(), or leave it out"
            )
        super().__init__(channel)
        self.tone_manager = channel.exchange.tone_manager if tone_manager is None else tone_manager
        channel.TonePlayer = self

    @open_verb
    def play(self, tone: object = None, seconds_timeout: float | None = None) -> Deferred[JobCause]:
        """Play a tone until the time is up (TIMEOUT), `stop` (ABORTED) or the call's end (HANGUP); fires with that."""
        check_seconds("seconds_timeout", seconds_timeout)
        self._play("TonePlayer.play()", tone, seconds_timeout)
        return self._outcome()

    @open_verb
    def start(self, tone: object = None) -> Deferred[JobState]:
        """Begin to play a tone; fires at once. `stop` ends it."""
        self._play("TonePlayer.start()", tone, None)
        return succeed(self.state())

    def _play(self, name: str, tone: object, seconds: float | None) -> None:
        leg = self._channel.require_media(name, transmits=True)
        self._check_free(name)
        source = ToneSource(self.tone_manager.find(tone))
        assert leg.endpoint is not None
        self._begin(False, seconds)
        leg.endpoint.play(source, self._played)

    def _played(self) -> None:
        self._finish(JobCause.NORMAL)
