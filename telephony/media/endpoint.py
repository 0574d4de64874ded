"""One leg's audio: the one source it hears, and who listens to what it says.

Owns: that while the leg wants audio exactly one stream flows to it, silence where nobody has anything to say (I5 and
I10 of ``transfer.md``), and that nothing is decoded or buffered while nobody listens. Must not know calls or SIP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from telephony.codecs.g711 import CODECS
from telephony.media.clock import MediaClock
from telephony.media.players import DigitsSource
from telephony.rtp.jitter import FRAME, JitterBuffer

if TYPE_CHECKING:
    from telephony.media.join import Path
    from telephony.rtp.session import RtpSession
    from telephony.sdp.negotiation import Agreed

#: Milliseconds of a listener's frame, whatever the leg's packets have.
FRAME_MS = 20
#: Milliseconds between the turns of a leg that hears the other one of a join, and has nobody who listens to it: there
#: is nothing to send and nothing to cut into frames, but reports and the media timer.
SLOW_MS = 100
#: How many turns such a leg has had before it is left alone like that: a moment's silence is no reason.
_STEADY_TURNS = 10
_SILENCE = {name: codec.silent(FRAME) for name, codec in CODECS.items()}


class Source(Protocol):
    """What a leg hears, frame by frame."""

    def send(self, rtp: RtpSession) -> bool:
        """Send one frame of ``rtp.frame`` samples in ``rtp.codec``; False: it is over, and nothing was sent."""


class Listener(Protocol):
    """Who hears what a leg says."""

    def frame(self, codec: str, payload: bytes) -> None:
        """Take 20 ms, 160 bytes, every 20 ms; a gap is silence. Must not raise."""


class _Hearing:
    """The listeners to one direction of a leg, and the buffer that makes their frames even."""

    __slots__ = ("buffer", "listeners", "owed")

    def __init__(self, delay: int) -> None:
        self.buffer = JitterBuffer(_SILENCE, delay)
        self.listeners: tuple[Listener, ...] = ()
        self.owed = 0

    def tick(self, ptime: int) -> None:
        self.owed += ptime
        while self.owed >= FRAME_MS:
            self.owed -= FRAME_MS
            codec, payload = self.buffer.take()
            for one in self.listeners:
                one.frame(codec, payload)


def _with(hearing: _Hearing | None, listener: Listener, delay: int) -> _Hearing:
    if hearing is None:
        hearing = _Hearing(delay)
    if listener not in hearing.listeners:
        hearing.listeners = (*hearing.listeners, listener)
    return hearing


def _without(hearing: _Hearing | None, listener: Listener) -> _Hearing | None:
    if hearing is None:
        return None
    hearing.listeners = tuple(one for one in hearing.listeners if one is not listener)
    return hearing if hearing.listeners else None


class Endpoint:
    """The audio of the leg that ``rtp`` carries, in its turn on ``clock``.

    ``on_digit`` is called with each key that was pressed there, once. ``on_first_packet`` is called once with the
    next packet of audio that is accepted, and then forgotten. ``on_timeout`` is called, once, when for
    ``media_timeout`` seconds neither RTP nor RTCP has come although the peer should send (None: never; R32); `watch`
    sets it.
    """

    __slots__ = (
        "_clock",
        "_finished",
        "_heard",
        "_next_tick",
        "_on_first_packet",
        "_running",
        "_said",
        "_slow",
        "_source",
        "_steady",
        "feed",
        "media_timeout",
        "on_digit",
        "on_timeout",
        "out",
        "rtp",
        "signal",
    )

    def __init__(self, rtp: RtpSession, clock: MediaClock) -> None:
        self.rtp = rtp
        self._clock = clock
        self._source: Source | None = None
        self._finished: Callable[[], None] | None = None
        self._heard: _Hearing | None = None
        self._said: _Hearing | None = None
        self._next_tick: tuple[Callable[[], None], ...] = ()
        self._running = False
        self._slow = False  # whether turns are `SLOW_MS` apart now
        self._steady = 0  # turns in a row in which there was nothing to do
        #: The ways of a join that lead from this leg and to it (`telephony.media.join` sets them).
        self.out: Path | None = None
        self.feed: Path | None = None
        self.on_digit: Callable[[str], None] | None = None
        self._on_first_packet: Callable[[], None] | None = None
        self.on_timeout: Callable[[], None] | None = None
        self.media_timeout: float | None = None
        #: Sends a key to the leg by signalling, where it takes no telephone events; False: it can't go that way.
        self.signal: Callable[[str], bool] | None = None
        rtp.receiver = self
        rtp.on_digit = self._digit

    # -- life ----------------------------------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._running

    def start(self) -> None:
        """Take turns from now on: send, listen, report. Harmless when it runs; after `stop` it begins anew."""
        if self._running or self.rtp.closed:
            return
        self._running = True
        self.rtp.receiver = self
        self.rtp.on_digit = self._digit
        self.rtp.resume()
        self._slow = False
        self._clock.add(self, self.rtp.ptime)

    @property
    def on_first_packet(self) -> Callable[[], None] | None:
        """Called once with the next packet of audio that is accepted, and then forgotten."""
        return self._on_first_packet

    @on_first_packet.setter
    def on_first_packet(self, call: Callable[[], None] | None) -> None:
        self._on_first_packet = call
        if call is not None:
            self.rtp.see()

    @property
    def ear(self) -> Callable[[str, int, bytes], None] | None:
        """What takes the audio of packets for the leg's listeners; None when there are none."""
        return None if self._heard is None else self._heard.buffer.put

    def hasten(self) -> None:
        """Take turns as often as the leg has frames: there is something to do again."""
        self._steady = 0
        if self._slow:
            self._slow = False
            if self._running:
                self._clock.add(self, self.rtp.ptime)

    def take_over(self, old: Endpoint) -> None:
        """Go on with what ``old`` plays and who listens to it: this leg has taken the place of that one.

        A join is not taken over: whoever made it makes another one. ``old`` plays and tells nothing any more.
        """
        if old._source is not None:
            self._source, self._finished = old._source, old._finished
        self._next_tick = (*self._next_tick, *old._next_tick)
        self._heard, self._said = old._heard or self._heard, old._said or self._said
        self.hasten()
        self.rtp.see()
        if old._heard is not None:
            old._heard.buffer.clear()
        if old._said is not None:
            old._said.buffer.clear()
            self.rtp.tap = old._said.buffer.put
        old._source = old._finished = old._heard = old._said = None
        old._next_tick = ()
        old.rtp.tap = None

    def stop(self) -> None:
        """Stop everything, at once: source, listeners, join, turns, and the taking of packets. Idempotent.

        Nobody's ``finished`` is called: who stops it knows. The RTP session stays open for its owner to close.
        """
        self._running = False
        self._clock.remove(self)
        if self.out is not None:
            self.out.close()
        if self.feed is not None:
            self.feed.close()
        self._source = self._finished = None
        self._next_tick = ()
        self._heard = self._said = None
        self.rtp.receiver = None
        self.rtp.on_digit = None
        self.rtp.tap = None

    @property
    def in_use(self) -> bool:
        """Whether somebody here plays to the leg or listens to it: audio that doesn't come by would be missed."""
        return self._source is not None or self._heard is not None or self._said is not None

    def rest(self) -> None:
        """Take no turns until `wake`: the far end's audio goes elsewhere, and nothing of ours is sent to it.

        No media timer runs, and no report goes out. What comes all the same is passed on in a join.
        """
        self._running = False
        self._clock.remove(self)
        self.rtp.deaf = True

    def wake(self) -> None:
        """Go on after `rest`, or where none was: the far end's audio comes here again, and ours goes to it."""
        self.rtp.listen_anew()
        if not self._running and self.feed is not None:
            self.feed.pause()
        self.start()

    def watch(self, seconds: float | None, timed_out: Callable[[], None]) -> None:
        """Begin the media timer, from now on: ``timed_out`` is called after so many silent seconds (None: never)."""
        self.media_timeout = seconds
        self.on_timeout = timed_out if seconds is not None else None
        self.rtp.heard()

    def apply(self, agreed: Agreed) -> None:
        """Take what an offer/answer exchange settled, at any time of the call."""
        rtp = self.rtp
        before = (rtp.codec, rtp.ptime)
        rtp.apply(agreed)
        if before != (rtp.codec, rtp.ptime):
            if self._running:
                self._slow = False
                self._clock.add(self, rtp.ptime)
            if self.feed is not None:
                self.feed.restarted()
        if not agreed.receive and self.out is not None:
            self.out.pause()

    # -- what the leg hears --------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Whether a source is set."""
        return self._source is not None

    def play(self, source: Source, finished: Callable[[], None] | None = None) -> None:
        """Make ``source`` what the leg hears from the next turn on; ``finished`` is called when it is over by itself.

        A source before it is stopped without a word. In a join it is heard only while the other leg says nothing.
        """
        self._source = source
        self._finished = finished

    def stop_source(self) -> None:
        """Stop the source; silence takes its place in the next turn, so the cut is at a frame's edge."""
        self._source = self._finished = None

    def on_next_tick(self, call: Callable[[], None]) -> None:
        """Call once when the next turn has done its sending; never, if `stop` comes first."""
        self.hasten()
        self._next_tick = (*self._next_tick, call)

    # -- what it says --------------------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        """Let ``listener`` hear what the leg says; before, during and after a join."""
        self._heard = _with(self._heard, listener, 2)
        self.hasten()
        self.rtp.see()

    def unlisten(self, listener: Listener) -> None:
        """Take a listener away; harmless when it isn't there."""
        self._heard = _without(self._heard, listener)
        self.rtp.see()

    def listen_sent(self, listener: Listener) -> None:
        """Let ``listener`` hear what the leg hears: sources of ours or the other leg of a join."""
        # The same delay as for the other direction, so that a recording of both has them at the same time.
        self._said = _with(self._said, listener, 2)
        self.hasten()
        self.rtp.tap = self._said.buffer.put

    def unlisten_sent(self, listener: Listener) -> None:
        """Take such a listener away; harmless when it isn't there."""
        self._said = _without(self._said, listener)
        if self._said is None:
            self.rtp.tap = None

    # -- turns (MediaStream) -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Do what is due for one frame."""
        if self._slow:
            self._slow_tick(now)
            return
        rtp = self.rtp
        rtp.poll(now)
        if self._heard is not None:
            self._heard.tick(rtp.ptime)
        if not self._running:  # a listener has ended the call
            return
        feed = self.feed
        if feed is not None and feed.flows(rtp.ptime):
            self._steady += 1
        elif not rtp.ahead(now):
            self._steady = 0
            source = self._source
            if source is None:
                rtp.send_silence()
            elif not source.send(rtp):
                rtp.send_silence()
                finished, self._source, self._finished = self._finished, None, None
                if finished is not None:
                    finished()
        if self._said is not None:
            self._said.tick(rtp.ptime)
        if self._next_tick:
            calls, self._next_tick = self._next_tick, ()
            for call in calls:
                call()
        if self.media_timeout is not None and self._running and now - rtp.last_received >= self.media_timeout:
            self._timed_out(now)
        if self._steady >= _STEADY_TURNS:
            self._steady = 0
            if self._running and self._heard is None and self._said is None and feed is not None and feed.steady:
                self._slow = True
                self._clock.add(self, SLOW_MS)

    def _slow_tick(self, now: float) -> None:
        """Do what is due while the leg hears another one, and nobody hears it but that one."""
        rtp = self.rtp
        rtp.poll(now)
        if self.feed is None or not self.feed.flows(SLOW_MS) or not self.feed.steady:
            self.hasten()
        if self.media_timeout is not None and now - rtp.last_received >= self.media_timeout:
            self._timed_out(now)

    def missed(self, frames: int) -> None:
        """Let time go on over turns that were skipped; the process was late, not the far end."""
        self.rtp.last_received += frames * (SLOW_MS if self._slow else self.rtp.ptime) / 1000
        if self.feed is None or not self.feed.active:
            self.rtp.skip(frames * self.rtp.frame)

    def _timed_out(self, now: float) -> None:
        rtp = self.rtp
        if not rtp.expecting:
            rtp.last_received = now  # `RtpSession.apply` begins the time again when the peer should send
        elif self.on_timeout is not None:
            call, self.on_timeout = self.on_timeout, None
            call()

    # -- packets (RtpReceiver) -----------------------------------------------------------------------------------

    def audio(
        self,
        codec: str,
        datagram: bytes,
        start: int,
        end: int,
        sequence: int,
        timestamp: int,
        marker: bool,
        now: float,
    ) -> None:
        """Take a packet of audio: to the other leg, and to who listens."""
        if self._on_first_packet is not None:
            call, self._on_first_packet = self._on_first_packet, None
            call()
        if self.out is not None:
            self.out.audio(codec, datagram, start, end, sequence, timestamp, marker, now)
        if self._heard is not None:
            self._heard.buffer.put(codec, timestamp, datagram[start:end])
        if self.out is None and self._running:
            self.rtp.shorten(codec, datagram, end, sequence, self.ear)  # what follows is only counted, and heard

    def event(
        self, datagram: bytes, start: int, end: int, sequence: int, timestamp: int, marker: bool, now: float
    ) -> None:
        """Take a packet of a telephone event: to the other leg."""
        if self.out is not None:
            self.out.event(datagram, start, end, sequence, timestamp, marker, now)

    def restarted(self) -> None:
        """Hear that another stream begins."""
        if self.out is not None:
            self.out.restarted()
        if self._heard is not None:
            self._heard.buffer.clear()

    def pressed(self, digit: str) -> None:
        """Let the other leg of a join have a key of this one that came by signalling: no packet tells of it."""
        if self.out is not None:
            self.out.press(digit)

    def press(self, digits: str) -> None:
        """Send keys to the leg that signalling did not take: before those still to be sent, or for what it hears.

        Nothing is pressed into something else that plays.
        """
        if isinstance(self._source, DigitsSource):
            self._source.again(digits)
        elif self.feed is not None:
            for one in digits:
                self.feed.press(one)
        elif self._source is None:
            self.play(DigitsSource(digits, signal=self.signal))

    def _digit(self, digit: str) -> None:
        if self.out is not None:
            self.out.digit(digit)
        if self.on_digit is not None:
            self.on_digit(digit)
