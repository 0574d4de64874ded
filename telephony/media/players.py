"""What a leg can hear: recorded audio, tones, keys.

Owns: cutting ready-made payloads into frames. Must not know calls, files or SIP. Nothing is computed in a turn: audio
is encoded once per codec, and shared by all calls that play it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from telephony.codecs.g711 import CODECS, Pcm
from telephony.media.levels import peak_of
from telephony.rtp.telephone_event import DIGITS, event_of

if TYPE_CHECKING:
    from telephony.rtp.session import RtpSession

RATE = 8000
#: Milliseconds of one key, of the pause behind it, and of a comma (``api.md`` section 6).
KEY_MS = 100
GAP_MS = 100
COMMA_MS = 500
#: The level of keys in dB below 0 dBm0, as event volume and as tones (ITU-T Q.24 allows 0 to -25).
KEY_VOLUME = 10
#: End packets per key: the end, and two more in case it is lost (RFC 4733 2.5.1.4).
END_PACKETS = 3

_LOW = (697, 770, 852, 941)
_HIGH = (1209, 1336, 1477, 1633)
_KEYPAD = "123A456B789C*0#D"


class Encoded(Protocol):
    """Audio that is there in any codec."""

    def encoded(self, codec: str) -> bytes:
        """Return all of it, one byte a sample; the same object each time."""


class Clip:
    """A piece of 8 kHz audio, encoded once per codec. ``samples`` is its length, ``size`` the bytes it takes.

    ``codecs`` are encoded at once (do it in a thread for long pieces); another one is translated when asked for.
    """

    __slots__ = ("_encoded", "samples")

    def __init__(self, pcm: Pcm, codecs: Iterable[str] = ("PCMA", "PCMU")) -> None:
        self.samples = len(pcm)
        self._encoded = {name: CODECS[name].encode(pcm) for name in codecs}

    @property
    def size(self) -> int:
        """How many bytes it takes in memory."""
        return sum(len(one) for one in self._encoded.values())

    def encoded(self, codec: str) -> bytes:
        """Return all of it in ``codec``."""
        found = self._encoded.get(codec)
        if found is None:
            other, data = next(iter(self._encoded.items()))
            found = self._encoded[codec] = data.translate(CODECS[other].translations[codec])
        return found


class AudioSource:
    """Plays a piece of audio once; what is missing in the last frame is silence. ``position`` is in samples."""

    __slots__ = ("_audio", "position")

    def __init__(self, audio: Encoded, position: int = 0) -> None:
        self._audio = audio
        self.position = position

    def send(self, rtp: RtpSession) -> bool:
        """Send the next frame."""
        samples = rtp.frame
        payload = self._audio.encoded(rtp.codec)[self.position : self.position + samples]
        if len(payload) < samples:
            if not payload:
                return False
            payload += rtp.silence[len(payload) :]
        self.position += samples
        rtp.send_audio(payload, samples)
        return True


class ToneSource:
    """Plays a loop of audio for ever, or for ``seconds``; ``tone`` is a `telephony.media.tones.ToneCycle`."""

    __slots__ = ("_left", "_position", "_tone")

    def __init__(self, tone: Encoded, seconds: float | None = None) -> None:
        self._tone = tone
        self._position = 0
        self._left = None if seconds is None else round(seconds * RATE)

    def send(self, rtp: RtpSession) -> bool:
        """Send the next frame."""
        samples = rtp.frame
        if self._left is not None:
            if self._left <= 0:
                return False
            self._left -= samples
        loop = self._tone.encoded(rtp.codec)
        size = len(loop)
        position = self._position
        payload = loop[position : position + samples]
        while len(payload) < samples:
            payload += loop[: samples - len(payload)]
        self._position = (position + samples) % size
        rtp.send_audio(payload, samples)
        return True


class DigitsSource:
    """Presses keys: as telephone events where the leg takes them (RFC 4733), else as tones (ITU-T Q.23).

    ``digits``: 0-9 A-D * # and a comma for half a second. An event takes `KEY_MS` at least, in packets of the leg's
    length with the timestamp of its beginning, and ends with `END_PACKETS`; during it no audio is sent. Raises
    ValueError for anything else in ``digits``. ``pressed`` is called with each key as it begins. ``signal`` is called
    with each key where the leg takes no events; where it returns True the key goes by signalling, and it is silent
    here for as long as it would last.
    """

    __slots__ = ("_digits", "_duration", "_ends", "_pause", "_pressed", "_signal", "_tone")

    def __init__(
        self,
        digits: str,
        pressed: Callable[[str], None] | None = None,
        signal: Callable[[str], bool] | None = None,
    ) -> None:
        for one in digits:
            if one != "," and one.upper() not in DIGITS:
                raise ValueError(f"{one!r} is no key; allowed are 0-9, A-D, *, # and a comma")
        self._digits = list(reversed(digits.upper()))
        self._pressed = pressed
        self._signal = signal
        self._duration = 0  # samples of the key that is down
        self._ends = 0
        self._pause = 0  # samples of pause still to come
        self._tone: AudioSource | None = None

    @property
    def over(self) -> bool:
        """Whether all keys are out; the pause behind the last one may still run."""
        return not self._digits and self._tone is None

    def again(self, digits: str) -> None:
        """Press keys that `signal` has taken, and which did not arrive, before those that are left."""
        self._digits += reversed(digits)

    def add(self, digit: str) -> None:
        """Press one more key behind those that are left."""
        self._digits.insert(0, digit)

    def send(self, rtp: RtpSession) -> bool:
        """Send the next frame's worth: a packet of an event, or audio."""
        if self._tone is not None:
            if self._tone.send(rtp):
                return True
            self._tone = None
            self._digits.pop()
            self._pause = GAP_MS * RATE // 1000
        if self._pause > 0:
            self._pause -= rtp.frame
            rtp.send_audio(rtp.silence, rtp.frame)
            return True
        if not self._digits:
            return False
        digit = self._digits[-1]
        if digit == ",":
            self._digits.pop()
            self._pause = COMMA_MS * RATE // 1000
            return self.send(rtp)
        if self._duration == 0 and self._pressed is not None:
            self._pressed(digit)
        if rtp.event_payload_type is None and self._duration == 0:
            if self._signal is not None and self._signal(digit):
                self._digits.pop()
                self._pause = (KEY_MS + GAP_MS) * RATE // 1000
                return self.send(rtp)
            self._tone = AudioSource(dtmf_audio(digit))
            return self._tone.send(rtp)
        self._send_event(rtp, digit)
        return True

    def _send_event(self, rtp: RtpSession, digit: str) -> None:
        first = self._duration == 0
        if self._ends == 0:
            self._duration += rtp.frame
        if self._duration >= KEY_MS * RATE // 1000:
            self._ends += 1
        rtp.send_event(event_of(digit), KEY_VOLUME, self._duration, self._ends > 0, first)
        rtp.skip(rtp.frame)
        if self._ends == END_PACKETS:
            self._digits.pop()
            self._duration = self._ends = 0
            self._pause = GAP_MS * RATE // 1000


@lru_cache(maxsize=len(DIGITS))
def dtmf_audio(digit: str) -> Clip:
    """Return `KEY_MS` of a key's two tones (ITU-T Q.23) at -`KEY_VOLUME` dBm0 each."""
    at = _KEYPAD.index(digit)
    time = np.arange(KEY_MS * RATE // 1000) * (2 * np.pi / RATE)
    wave = np.sin(_LOW[at // 4] * time) + np.sin(_HIGH[at % 4] * time)
    return Clip(np.round(wave * peak_of(-KEY_VOLUME)).astype(np.int16))
