"""Two legs that hear each other.

Owns: how a packet of one leg becomes a packet of the other: as it came (only the header is ours), with the law
changed byte by byte, or cut anew where the lengths of packets differ; and who is heard when one of them says nothing.
Must not know calls or SIP. A packet goes out when it comes in; no clock is involved, and nothing is decoded.
"""

from __future__ import annotations

from collections.abc import Callable

from telephony.codecs.g711 import CODECS
from telephony.media.endpoint import SLOW_MS, Endpoint
from telephony.media.players import KEY_MS, AudioSource, DigitsSource, dtmf_audio
from telephony.rtp.session import RtpSession
from telephony.rtp.shortcut import Shortcut

#: Milliseconds of turns without a packet after which a leg hears its own source again: a pause in speech is no hole in
#: the stream. Turns and not time, since a process that was held up finds its packets waiting behind its turns.
PAUSE_MS = 500
#: How many frames of a gap are filled with silence when packets are cut anew; after a longer one it begins again.
_FILL = 4

_ALL = 0xFFFFFFFF
_HALF = 0x80000000


class Path:
    """One direction: what ``source`` says, to ``target``. Made and closed by `Join`.

    ``active``: it is what the target hears. Before its first packet, and when the source is silent for long or held,
    the target hears its own source or silence.
    """

    __slots__ = (
        "_at",
        "_fifo",
        "_first_packet",
        "_keys",
        "_last",
        "_muted_until",
        "_newest",
        "_quiet_ms",
        "_rtp",
        "_run",
        "_source",
        "_target",
        "active",
    )

    def __init__(self, source: Endpoint, target: Endpoint, first_packet: Callable[[], None] | None) -> None:
        self._source: Endpoint | None = source
        self._target: Endpoint | None = target
        self._rtp: RtpSession = target.rtp
        self._first_packet = first_packet
        self._fifo = bytearray()
        self._at = 0  # the source's timestamp of the first byte in the fifo
        self._newest = -1
        self._last = 0.0
        self._quiet_ms = 0
        self._run: Shortcut | None = None
        self._muted_until = 0.0
        self._keys: DigitsSource | None = None
        self.active = False
        if source.out is not None:
            source.out.close()
        if target.feed is not None:
            target.feed.close()
        source.out = self
        target.feed = self
        source.rtp.see()
        target.rtp.restart_relay()

    def close(self) -> None:
        """Give the target its own source back, from its next turn on; idempotent."""
        source, target = self._source, self._target
        self._source = self._first_packet = None
        if source is not None and source.out is self:
            source.out = None
        if target is not None and target.feed is self:
            target.feed = None
        self.pause()
        self._target = None

    def pause(self) -> None:
        """Let the target hear its own source or silence until the next packet comes."""
        if self.active:
            self.active = False
            self._run = None
            self._fifo.clear()
            self._rtp.resume()
            self._rtp.restart_relay()
            if self._target is not None:
                self._target.hasten()

    def flows(self, milliseconds: int) -> bool:
        """Tell whether the target hears the source now; asked at each of its turns, which come so far apart."""
        if self.active:
            if self._run is not None and self._run.moved():
                self._quiet_ms = 0
            else:
                self._quiet_ms += milliseconds
                if self._quiet_ms > PAUSE_MS:
                    self.pause()
        return self.active

    @property
    def steady(self) -> bool:
        """Whether packets have come lately, so that the target's turns may be far apart."""
        return self.active and self._quiet_ms <= SLOW_MS

    def _begin(self) -> bool:
        """Become what the target hears; False when the owner ended this at the first packet."""
        call, self._first_packet = self._first_packet, None
        if call is not None:
            call()
        target = self._target
        if target is None:
            return False
        target.stop_source()
        self.active = True
        return True

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
        """Pass a packet of audio on."""
        self._last = now
        self._quiet_ms = 0
        if self._keys is not None:
            if not self._keys.over:
                return
            self._keys = None
        if now < self._muted_until or not (self.active or self._begin()):
            return
        rtp = self._rtp
        table = None if codec == rtp.codec else CODECS[codec].translations[rtp.codec]
        samples = end - start
        if samples == rtp.frame and not self._fifo:
            sent = rtp.relay(rtp.payload_type, datagram, start, end, sequence, timestamp, marker, samples, now, table)
            source = self._source
            if sent and source is not None:
                # From here on the packets go by themselves, as long as each is the next.
                self._run = source.rtp.shorten(codec, datagram, end, sequence, source.ear, rtp, table)
        elif samples:
            payload = datagram[start:end]
            self._repack(payload if table is None else payload.translate(table), sequence, timestamp, now)

    def _repack(self, payload: bytes, sequence: int, timestamp: int, now: float) -> None:
        """Cut audio into frames of the target's length; a fraction of a frame waits for the next packet."""
        if sequence <= self._newest:
            return  # what comes after its place has been sent can't be put there
        self._newest = sequence
        rtp = self._rtp
        fifo = self._fifo
        frame = rtp.frame
        if fifo:
            gap = (timestamp - self._at - len(fifo)) & _ALL
            if 0 < gap <= _FILL * frame:
                fifo += CODECS[rtp.codec].silent(gap)
            elif gap:
                fifo.clear()
        if not fifo:
            self._at = timestamp
        fifo += payload
        while len(fifo) >= frame:
            rtp.relay_frame(bytes(fifo[:frame]), sequence, self._at, now)
            del fifo[:frame]
            self._at = (self._at + frame) & _ALL

    def event(
        self, datagram: bytes, start: int, end: int, sequence: int, timestamp: int, marker: bool, now: float
    ) -> None:
        """Pass a packet of a telephone event on, with the target's payload type; without one see `digit`."""
        self._last = now
        self._quiet_ms = 0
        kind = self._rtp.event_payload_type
        if kind is None or not (self.active or self._begin()):
            return
        self._rtp.relay(kind, datagram, start, end, sequence, timestamp, marker, 0, now)

    def digit(self, digit: str) -> None:
        """Let a target that takes no telephone events have the key otherwise: by signalling where that is possible.

        Else it hears the key as a tone, in place of the source's audio.
        """
        target = self._target
        if target is None or self._rtp.event_payload_type is not None:
            return
        if (target.signal is not None and target.signal(digit)) or not (self.active or self._begin()):
            return
        self.pause()
        # The tone begins with the target's next turn; the phone's own audio of the press is not heard over it.
        self._muted_until = self._last + (KEY_MS + self._rtp.ptime) / 1000
        target.play(AudioSource(dtmf_audio(digit)))

    def press(self, digit: str) -> None:
        """Let the target have a key that is in no packet of the source's: it came by signalling.

        As an event or a tone it takes the place of the source's audio; one that comes meanwhile follows behind it.
        """
        target = self._target
        if target is None:
            return
        if self._rtp.event_payload_type is None and target.signal is not None and target.signal(digit):
            return
        if not target.running:
            return  # its audio goes elsewhere, and the keys that both can have in it with that
        if self._keys is not None and not self._keys.over:
            self._keys.add(digit)
        elif self.active or self._begin():
            self.pause()
            self._keys = DigitsSource(digit)
            target.play(self._keys)

    def restarted(self) -> None:
        """Hear that the source's stream begins anew, or that the target's frames have changed."""
        self._fifo.clear()
        self._newest = -1
        self._rtp.restart_relay()


class Join:
    """Makes ``b`` heard by ``a`` and, if ``both``, ``a`` by ``b``, until `cut`.

    A leg's own source goes on until the first packet of the other comes; then it is stopped without a word to it.
    ``first_packet`` is called right before that packet of ``b`` goes to ``a`` (for early media, to stop what plays).
    A leg that is in another join leaves it in that direction.
    """

    __slots__ = ("_paths",)

    def __init__(
        self, a: Endpoint, b: Endpoint, both: bool = True, first_packet: Callable[[], None] | None = None
    ) -> None:
        if a is b:
            raise ValueError("a leg can't be joined with itself")
        to_a = Path(b, a, first_packet)
        self._paths: tuple[Path, ...] = (to_a, Path(a, b, None)) if both else (to_a,)

    def cut(self) -> None:
        """Give both their own source back; sequence numbers and timestamps go on without a break. Idempotent."""
        paths, self._paths = self._paths, ()
        for path in paths:
            path.close()
