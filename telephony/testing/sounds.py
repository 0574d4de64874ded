"""Sounds for phones to say: tones, key presses in the band, silence; 16-bit samples at 8 kHz.

Owns: making them. Must not know phones, codecs or packets. They are made from the definition and not by
``telephony.media.tones``, so that what a test says is not made by what it tests.
"""

from __future__ import annotations

import numpy as np

from telephony.codecs.g711 import Pcm

RATE = 8000
#: The peak of a sine of 0 dBm0 in 16-bit samples: 3.14 dB below the peak of G.711 A-law (ITU-T G.711 table 5).
PEAK_0_DBM0 = 32768 * 10 ** (-3.14 / 20)
#: Row and column frequencies of the keys (ITU-T Q.23).
KEYS = {
    key: (row, column)
    for row, keys in ((697, "123A"), (770, "456B"), (852, "789C"), (941, "*0#D"))
    for column, key in zip((1209, 1336, 1477, 1633), keys, strict=True)
}


def tone(*frequencies: float, level: float = -12.0, seconds: float = 1.0) -> Pcm:
    """Return a sum of sines, each of ``level`` dBm0. With whole frequencies and seconds it loops without a click."""
    time = np.arange(round(seconds * RATE)) / RATE
    peak = PEAK_0_DBM0 * 10 ** (level / 20)
    wave = sum((peak * np.sin(2 * np.pi * frequency * time) for frequency in frequencies), np.zeros(len(time)))
    return np.clip(np.round(wave), -32768, 32767).astype(np.int16)


def silence(seconds: float = 1.0) -> Pcm:
    """Return so much of nothing."""
    return np.zeros(round(seconds * RATE), np.int16)


def keys(digits: str, *, on: float = 0.08, off: float = 0.08, level: float = -9.0) -> Pcm:
    """Return key presses as tones in the band, each ``on`` and ``off`` seconds. KeyError for what is no key."""
    pieces = [piece for key in digits for piece in (tone(*KEYS[key], level=level, seconds=on), silence(off))]
    return np.concatenate(pieces) if pieces else silence(0)
