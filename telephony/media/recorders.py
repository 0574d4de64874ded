"""Recordings: what a leg says, or both sides of a call, into WAV files.

Owns: the limits of a recording (length, silence), and that the disk never stops a turn: frames wait in a bounded queue
and are written by a thread, two seconds at a time. Must not know calls; file names have been checked before they get
here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any
from zlib import adler32

import numpy as np
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from telephony.codecs.g711 import CODECS, Pcm
from telephony.interfaces import Host
from telephony.media.files import AudioWriter
from telephony.media.levels import PEAK_0_DBM0, SILENCE_DBM0

FRAME_MS = 20
#: Frames that are written at once, two seconds of them: to hand them to a thread costs more than all else about them.
BATCH = 100
#: Frames that wait at most while the disk is busy (ten seconds); then the oldest go.
MOST_WAITING = 500

_LAWS = {"alaw": "PCMA", "ulaw": "PCMU"}
#: What a sample at the threshold of silence weighs in `_weights`: four times its power still fits into a byte.
_WEIGHT = 64

#: The sum of so many bytes stays below 65521, from where on the checksum begins again.
_MOST_SUMMED = 256

Audio = Pcm | bytes


class RecordingEnd(Enum):
    """Why a recording ended by itself; the values are those of the application interface's causes."""

    SILENCE = "silence"
    SIZE = "size"
    ERROR = "error"


@cache
def _weights(codec: str) -> bytes:
    """Return, for ``bytes.translate``, each byte's power in `_WEIGHT` ths of the threshold's."""
    power = CODECS[codec].decode(bytes(range(256))).astype(np.float64) ** 2
    threshold = (PEAK_0_DBM0 * 10 ** (SILENCE_DBM0 / 20)) ** 2 / 2
    return np.minimum(255, np.round(power * (_WEIGHT / threshold))).astype(np.uint8).tobytes()


def is_loud(codec: str, payload: bytes) -> bool:
    """Tell whether a G.711 payload is louder than silence (`SILENCE_DBM0`), without decoding it.

    Single samples that are much louder count no more than four times the threshold: a click is no speech.
    """
    weights = payload.translate(_weights(codec))
    size = len(weights)
    if size <= _MOST_SUMMED:
        # One more than the sum of all bytes is the lower half of this checksum, four times as fast as `sum`.
        return (adler32(weights) & 0xFFFF) - 1 >= _WEIGHT * size
    return sum(weights) >= _WEIGHT * size


class _Sink:
    """A file that is written in a thread, one write at a time.

    ``convert`` makes of a list of items what `AudioWriter.write` takes; it runs in the thread. ``failed`` is called at
    most once, when a write fails (a full disk); what comes later is dropped. ``dropped`` counts the items for which
    the disk was too slow.
    """

    __slots__ = (
        "_closing",
        "_convert",
        "_done",
        "_failed",
        "_host",
        "_waiters",
        "_waiting",
        "_writer",
        "_writing",
        "dropped",
    )

    def __init__(
        self, host: Host, writer: AudioWriter, convert: Callable[[list[Any]], Audio], failed: Callable[[], None]
    ) -> None:
        self._host = host
        self._writer = writer
        self._convert = convert
        self._failed: Callable[[], None] | None = failed
        self._waiting: deque[Any] = deque()
        self._writing = False
        self._closing = False
        self._done = False
        self._waiters: list[Deferred[None]] = []
        self.dropped = 0

    def put(self, item: Any) -> None:
        if self._closing or self._failed is None:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(item)
        if len(self._waiting) >= BATCH and not self._writing:
            self._write(False)

    def close(self) -> Deferred[None]:
        """Write the rest and finish the file; fires when it is complete, or can't be. It does not fail."""
        if self._done:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._waiters.append(waiter)
        if not self._closing:
            self._closing = True
            if not self._writing:
                self._write(True)
        return waiter

    def _write(self, last: bool) -> None:
        items = list(self._waiting)
        self._waiting.clear()
        self._writing = True
        self._host.run_in_thread(_write, self._writer, self._convert, items, last).addCallbacks(
            self._written, self._not_written, callbackArgs=(last,), errbackArgs=(last,)
        )

    def _written(self, _result: object, last: bool) -> None:
        self._writing = False
        if last:
            self._end()
        elif self._closing:
            self._write(True)
        elif len(self._waiting) >= BATCH:
            self._write(False)

    def _not_written(self, failure: Failure, last: bool) -> None:
        self._writing = False
        failed, self._failed = self._failed, None
        self._waiting.clear()
        if last:
            self._end()
        elif self._closing:
            self._write(True)
        elif failed is not None:
            failed()

    def _end(self) -> None:
        self._done = True
        self._failed = None
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)


def _write(writer: AudioWriter, convert: Callable[[list[Any]], Audio], items: list[Any], last: bool) -> None:
    """Write items, and finish the file with the last ones, even when they can't be written. Runs in a thread."""
    try:
        if items:
            writer.write(convert(items))
    finally:
        if last:
            writer.close()


class _Recording:
    """What both kinds of recording have: limits, judged frame by frame, and a file."""

    __slots__ = ("_initial", "_left", "_max", "_reached", "_silent", "_sink", "heard_audio")

    def __init__(
        self,
        host: Host,
        writer: AudioWriter,
        convert: Callable[[list[Any]], Audio],
        samples: int,
        max_silence: int,
        initial_silence: int,
        reached: Callable[[RecordingEnd], None] | None,
    ) -> None:
        self._sink = _Sink(host, writer, convert, self._write_failed)
        self._left = samples  # -1: no limit; 0: it is over
        self._max = max_silence
        self._initial = initial_silence
        self._reached = reached
        self._silent = 0
        self.heard_audio = False

    @property
    def dropped(self) -> int:
        """How many frames were lost because the disk was too slow."""
        return self._sink.dropped

    @property
    def _asks(self) -> bool:
        """Whether it matters if the next frame is loud."""
        return self._max > 0 or not self.heard_audio

    def _keep(self, item: Any, samples: int, loud: bool) -> None:
        """Take an item of so many samples, and see whether a limit has been reached."""
        self._sink.put(item)
        if self._left > 0:
            self._left -= samples
            if self._left == 0:
                self._end(RecordingEnd.SIZE)
                return
        if loud:
            self.heard_audio = True
            self._silent = 0
            return
        self._silent += FRAME_MS
        limit = self._max if self.heard_audio else self._initial
        if limit and self._silent >= limit:
            self._end(RecordingEnd.SILENCE)

    def _write_failed(self) -> None:
        self._end(RecordingEnd.ERROR)

    def _end(self, why: RecordingEnd) -> None:
        self._left = 0
        reached, self._reached = self._reached, None
        if reached is not None:
            reached(why)

    def close(self) -> Deferred[None]:
        """End the recording; fires when the file is complete (or can't be), and does not fail. Idempotent."""
        self._left = 0
        self._reached = None
        return self._sink.close()


class Recorder(_Recording):
    """Records what it hears, as a listener of an `telephony.media.endpoint.Endpoint`; `close` ends it.

    ``max_bytes`` of audio in the file, ``milliseconds_initial_silence`` before anything is heard and
    ``milliseconds_max_silence`` after that (0: no limit) end it by itself: ``reached`` is called once with the reason
    (ERROR: the file can't be written any more), and nothing more is recorded; the owner still closes it.
    ``dtmf_elim`` is for tones in the audio, of which there are none where keys come as telephone events; others stay
    in the recording yet. ``heard_audio``: something louder than silence is in it. Raises `Error` when the file can't
    be made: it is opened here and not in a thread, so that a verb can fail before anything has begun.
    """

    __slots__ = ("_law", "dtmf_elim")

    def __init__(
        self,
        host: Host,
        path: Path,
        *,
        file_format: str = "alaw",
        max_bytes: int = 0,
        milliseconds_max_silence: int = 0,
        milliseconds_initial_silence: int = 0,
        dtmf_elim: bool = True,
        reached: Callable[[RecordingEnd], None] | None = None,
    ) -> None:
        self._law = _LAWS.get(file_format)
        self.dtmf_elim = dtmf_elim
        super().__init__(
            host,
            AudioWriter(path, file_format),
            _joined if self._law is not None else _decoded,
            _samples(max_bytes, file_format, 1),
            milliseconds_max_silence,
            milliseconds_initial_silence,
            reached,
        )

    def frame(self, codec: str, payload: bytes) -> None:
        """Take 20 ms (`telephony.media.endpoint.Listener`)."""
        if self._left == 0:
            return
        loud = self._asks and is_loud(codec, payload)
        if self._left > 0:
            payload = payload[: self._left]
        law = self._law
        if law is None:
            self._keep((codec, payload), len(payload), loud)
        elif codec == law:
            self._keep(payload, len(payload), loud)
        else:
            self._keep(payload.translate(CODECS[codec].translations[law]), len(payload), loud)


def _samples(max_bytes: int, file_format: str, channels: int) -> int:
    """Return how many samples (of each channel) a limit in bytes allows: -1 for no limit, at least one."""
    return max(1, max_bytes // (channels * (2 if file_format == "pcm" else 1))) if max_bytes else -1


def _joined(payloads: list[bytes]) -> bytes:
    return b"".join(payloads)


def _decoded(frames: list[tuple[str, bytes]]) -> Pcm:
    return np.concatenate([CODECS[codec].decode(payload) for codec, payload in frames])


class _Side:
    """One of the two ears of a `TwoWayRecorder`."""

    __slots__ = ("frame",)

    def __init__(self, frame: Callable[[str, bytes], None]) -> None:
        self.frame = frame


class TwoWayRecorder(_Recording):
    """Records both sides of a call: ``said`` listens to what the leg says, ``heard`` to what it hears.

    Give ``said`` to `Endpoint.listen` and ``heard`` to `Endpoint.listen_sent` in the same turn: their frames belong
    together then; take them away before `close`. ``mode``: "mixed" (one channel) or "stereo" (left: what the leg says).
    Limits and ``reached`` are those of `Recorder`; silence is silence of both. Raises `Error` when the file can't be
    made, ValueError for another mode.
    """

    __slots__ = ("_other", "heard", "said")

    def __init__(
        self,
        host: Host,
        path: Path,
        *,
        mode: str = "mixed",
        file_format: str = "alaw",
        max_bytes: int = 0,
        milliseconds_max_silence: int = 0,
        milliseconds_initial_silence: int = 0,
        reached: Callable[[RecordingEnd], None] | None = None,
    ) -> None:
        if mode not in ("mixed", "stereo"):
            raise ValueError(f"mode {mode!r} is not known; there are 'mixed' and 'stereo'")
        channels = 2 if mode == "stereo" else 1
        self._other: tuple[str, bytes] | None = None
        self.said: _Side | None = _Side(self._take_said)
        self.heard: _Side | None = _Side(self._take_heard)
        super().__init__(
            host,
            AudioWriter(path, file_format, channels=channels),
            _mixed if channels == 1 else _side_by_side,
            _samples(max_bytes, file_format, channels),
            milliseconds_max_silence,
            milliseconds_initial_silence,
            reached,
        )

    def _take_said(self, codec: str, payload: bytes) -> None:
        self._other = (codec, payload)

    def _take_heard(self, codec: str, payload: bytes) -> None:
        other, self._other = self._other, None
        if other is None or self._left == 0:
            return
        loud = self._asks and (is_loud(*other) or is_loud(codec, payload))
        if self._left > 0:
            payload = payload[: self._left]
            other = (other[0], other[1][: self._left])
        self._keep((other, (codec, payload)), len(payload), loud)

    def close(self) -> Deferred[None]:
        """End the recording; fires when the file is complete (or can't be), and does not fail. Idempotent."""
        self.said = self.heard = None
        return super().close()


def _both(frames: list[tuple[tuple[str, bytes], tuple[str, bytes]]]) -> tuple[Pcm, Pcm]:
    return _decoded([one for one, _ in frames]), _decoded([other for _, other in frames])


def _mixed(frames: list[tuple[tuple[str, bytes], tuple[str, bytes]]]) -> Pcm:
    one, other = _both(frames)
    mix: Pcm = np.clip(one.astype(np.int32) + other, -32768, 32767).astype(np.int16)
    return mix


def _side_by_side(frames: list[tuple[tuple[str, bytes], tuple[str, bytes]]]) -> Pcm:
    both: Pcm = np.stack(_both(frames), axis=1)
    return both
