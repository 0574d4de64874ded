"""Sounds to test with, made from their definition and not by what is tested."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from telephony.codecs.g711 import CODECS, Pcm

RATE = 8000
#: A sound is floats on the 16-bit scale until `line` rounds and cuts them.
Sound = npt.NDArray[np.float64]
PEAK = 32768 * 10 ** (-3.14 / 20)


def sine(frequency: float, level: float, seconds: float, phase: float = 0.3) -> Sound:
    """Return a sine of so many dBm0."""
    return PEAK * 10 ** (level / 20) * np.sin(2 * np.pi * frequency * np.arange(round(seconds * RATE)) / RATE + phase)


def noise(seed: int, level: float, seconds: float) -> Sound:
    """Return white noise of so many dBm0."""
    return np.random.default_rng(seed).normal(0, PEAK / 2**0.5 * 10 ** (level / 20), round(seconds * RATE))


def babble(seed: int, level: float, seconds: float) -> Sound:
    """Return noise with the spectrum of speech (above 500 Hz it falls by 6 dB an octave) and its syllables."""
    wave = noise(seed, 0, seconds)
    spectrum, frequency = np.fft.rfft(wave), np.fft.rfftfreq(len(wave), 1 / RATE)
    wave = np.fft.irfft(spectrum * (frequency > 100) / np.sqrt(1 + (frequency / 500) ** 2), len(wave))
    steps = np.random.default_rng(seed + 1).normal(size=len(wave) // 800 + 2).repeat(800)[: len(wave)]
    wave *= np.clip(np.convolve(steps, np.hanning(1600) / 800, "same") + 0.5, 0, None)
    return wave * (PEAK / 2**0.5 * 10 ** (level / 20) / np.sqrt(np.mean(wave**2)))


def voice(seed: int, level: float, seconds: float) -> Sound:
    """Return syllables of harmonics under a formant, their pitch gliding by a few per cent as in speech."""
    random = np.random.default_rng(seed)
    pieces = []
    for _ in range(int(seconds / 0.2)):
        low, high = random.uniform(95, 220) * (1 + np.array([-1, 1]) * random.uniform(0.04, 0.15))
        pitch = np.linspace(low, high, round(0.2 * RATE))[:: int(random.choice((-1, 1)))]
        turns = 2 * np.pi * np.cumsum(pitch) / RATE
        harmonics = np.arange(1, 12)
        weights = 1 / (1 + ((harmonics * low - random.uniform(300, 800)) / 150) ** 2)
        pieces.append((weights[:, None] * np.sin(harmonics[:, None] * turns)).sum(0) * np.hanning(len(pitch)) ** 0.3)
    wave = np.concatenate(pieces)
    return np.asarray(wave * (PEAK / 2**0.5 * 10 ** (level / 20) / np.sqrt(np.mean(wave**2))))


def mixed(seconds: float, *parts: tuple[float, Sound]) -> Sound:
    """Return silence with sounds added to it, each from its second on."""
    wave = np.zeros(round(seconds * RATE))
    for at, part in parts:
        first = round(at * RATE)
        wave[first : first + len(part)] += part[: len(wave) - first]
    return wave


def line(wave: Sound, codec: str | None = "PCMA") -> Pcm:
    """Return the sound as it comes out of a line with that codec; None is a line of 16-bit samples."""
    pcm = np.clip(np.round(wave), -32768, 32767).astype(np.int16)
    return pcm if codec is None else CODECS[codec].decode(CODECS[codec].encode(pcm))
