"""Hearing: which tone is in audio, from when to when, and how loud.

Owns: the judgement of received audio in tests and in the demonstration: `tone_level` for a piece of it, `heard` for the
times of a tone. Must not know where audio comes from or what a tone means. Detectors of key presses in the band (ITU-T
Q.24) have their place here too.

How `heard` decides: a window slides over the audio in steps of 5 ms, and of each position the amplitude and phase at
the frequency are taken, as well as the amplitudes around it. A tone is there while all of this holds: it is loud enough
and not a mere shadow of something much louder (G.711 makes harmonics of a pure tone, 35 dB below it); it stands out of
what is around it (noise doesn't); its phase turns as that of the frequency asked for (a neighbour's doesn't); neither
its frequency nor its amplitude moves (the harmonics of a voice do). Where it begins and ends is then where the
amplitude is half of what it is inside, which for a window that is symmetrical is the edge itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from telephony.media.levels import PEAK_0_DBM0, dbm0_of

RATE = 8000
#: The window for tones from a tenth of a second on, and its steps, in samples; shorter tones take less of both.
_WINDOW = 512
_HOP = 40
#: A tone must be at most so far below everything that is in the window with it (dB).
_SHADOW_DB = 30.0
#: A tone must stand out of the median of its surroundings by so much (dB): in noise one time in ten million does.
_PROMINENCE_DB = 14.0
#: Surroundings, in widths of the window's main lobe's half (2 / window) from the frequency.
_AROUND = (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
#: The frequency may be off by so much (Hz, or a part of it); old exchanges were allowed 1.5 %, what we judge is exact.
#: This and what follows is for the whole window; a shorter one measures frequencies as much less well.
_OFF_HZ = 4.0
_OFF_PART = 0.008
#: Over five positions of the window the frequency may move by so much (Hz), and the amplitude (dB).
_DRIFT_HZ = 1.5
_DRIFT_DB = 1.5
#: Over all of its time the frequency may have this standard deviation (Hz). Measured: tones in noise as loud as they
#: are have 0.5 at most, harmonics of voices 0.75 at least.
_WAVER_HZ = 0.6
#: This part of a tone, its edges apart, must be as steady as that.
_STEADY = 0.4

_Complex = npt.NDArray[np.complex128]
_Float = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]


@attrs.frozen
class Interval:
    """A tone from ``start_s`` to ``end_s`` (seconds from the first sample).

    ``level_dbm0`` is the power of all its components together, ``levels`` that of each, in the order asked for.
    """

    start_s: float
    end_s: float
    level_dbm0: float
    levels: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it was heard."""
        return self.end_s - self.start_s


def tone_level(pcm: npt.NDArray[Any], frequency: float) -> Any:
    """Return the level in dBm0 of one frequency in a piece of audio (a float), or in each row of many (an array).

    Hann-weighted, so that other tones count for nothing from 4 / duration away (80 Hz for 50 ms), and the tone's own
    level is right within 0.1 dB for any phase from 20 ms up. `levels.FLOOR_DBM0` for no samples.
    """
    size = pcm.shape[-1]
    if size == 0:
        return dbm0_of(np.zeros(pcm.shape[:-1]))
    kernel = _kernel(frequency, size)
    found = pcm.astype(np.float64) @ kernel
    return dbm0_of(np.abs(found) ** 2 / 2)


def heard(
    pcm: npt.NDArray[Any],
    frequencies: float | Sequence[float],
    *,
    minimum: float = 0.1,
    threshold_dbm0: float = -50.0,
    bridge: float = 0.04,
) -> list[Interval]:
    """Find when all of these frequencies were to be heard together; 16-bit samples at 8 kHz.

    Found is what lasts ``minimum`` seconds or longer and has ``threshold_dbm0`` or more in each component; gaps up to
    ``bridge`` seconds (a lost packet is 0.02) don't end it. Times are right within 5 ms and levels within 0.5 dB for a
    tone in G.711, also beside other tones (40 Hz away or more, up to 20 dB louder), and within 20 ms and 1 dB in
    noise 6 dB below it; a packet lost at an end moves that end. A ``minimum`` below 0.1 (0.03 at least) makes all of
    this worse: the window is as much shorter. Noise of any kind isn't taken for a tone; a voice that holds one pitch
    for a tenth of a second is one, so where people really speak ask for a ``minimum`` of 0.3 or more.
    """
    wanted = [float(one) for one in ([frequencies] if isinstance(frequencies, int | float) else frequencies)]
    if not wanted or not all(0 < one < RATE / 2 for one in wanted):
        raise ValueError(f"frequencies {wanted} must be one or more, each between 0 and {RATE // 2} Hz")
    scale = min(max(minimum, 0.03), 0.1) / 0.1
    window, hop = 2 * round(_WINDOW / 2 * scale), round(_HOP * scale)
    if len(pcm) < hop:
        return []
    tracks = [_track(pcm, one, wanted, window, hop, threshold_dbm0) for one in wanted]
    inside = np.logical_and.reduce([core for _, _, core in tracks])
    amplitudes = [amplitude for amplitude, _, _ in tracks]
    for first, last in _runs(inside):
        if last - first < 3 or any(np.std(off[first : last + 1]) * scale > _WAVER_HZ for _, off, _ in tracks):
            inside[first : last + 1] = False
    gap = round(bridge * RATE / hop)
    found: list[Interval] = []
    reached = -1.0
    for first, last in _runs(inside):
        if last <= reached:
            continue  # the interval before goes on over this
        start, end = _span(amplitudes, first, last, 0)
        steady = np.count_nonzero(inside[round(start) : round(end) + 1])
        if steady < _STEADY * (end - start - window / hop):
            continue
        start, end = _span(amplitudes, first, last, gap)
        start, reached = max(start, reached), end
        begin_s, end_s = max(0.0, start * hop / RATE), min(len(pcm) / RATE, end * hop / RATE)
        if end_s - begin_s < minimum * 0.95:
            continue
        core = np.flatnonzero(inside[: int(end) + 1])
        core = core[core >= start]
        powers = [float(np.median(amplitude[core])) ** 2 / 2 for amplitude in amplitudes]
        levels = tuple(dbm0_of(power) for power in powers)
        found.append(Interval(begin_s, end_s, dbm0_of(sum(powers)), levels))
    return found


def _kernel(frequency: float, size: int) -> _Complex:
    """Return weights whose sum of products with a sine of that frequency is its peak, turned by its phase."""
    weight = np.hanning(size + 2)[1:-1]
    kernel: _Complex = 2 * weight / weight.sum() * np.exp(-2j * np.pi * frequency / RATE * np.arange(size))
    return kernel


def _track(
    pcm: npt.NDArray[Any], frequency: float, wanted: Sequence[float], window: int, hop: int, threshold_dbm0: float
) -> tuple[_Float, _Float, _Bool]:
    """Follow one frequency: at each step its peak amplitude, how far off it is (Hz), whether it is surely a tone."""
    lobe = 2 * RATE / window
    guards = [frequency + sign * part * lobe for part in _AROUND for sign in (1, -1)]
    guards = [
        one
        for one in guards
        if lobe / 2 < one < RATE / 2 - lobe / 2
        and all(abs(one - other) > lobe for other in wanted if other != frequency)
    ]
    rows = _slide(pcm, window, hop, [frequency, *guards])
    main, around, total = rows[:, 0], np.abs(rows[:, 1:-1]), rows[:, -1].real
    amplitude: _Float = np.abs(main)
    core = amplitude >= PEAK_0_DBM0 * 10 ** (threshold_dbm0 / 20)
    core &= amplitude**2 / 2 >= total * 10 ** (-_SHADOW_DB / 10)
    if around.shape[1]:
        core &= amplitude >= np.median(around, axis=1) * 10 ** (_PROMINENCE_DB / 20)
    if len(main) < 6:
        return amplitude, amplitude, core & False
    # From one step to the next the phase turns by what the frequency is off, averaged over five steps.
    turn = np.convolve(main[1:] * np.conj(main[:-1]), np.ones(5), "same")
    off: _Float = np.angle(np.append(turn, turn[-1])) * RATE / (2 * np.pi * hop)
    scale = window / _WINDOW
    core &= np.abs(off) * scale <= max(_OFF_HZ, frequency * _OFF_PART)
    core &= _spread(off) * scale <= _DRIFT_HZ
    core &= _spread(amplitude) <= amplitude * (10 ** (_DRIFT_DB / 20) - 1)
    return amplitude, off, core


def _slide(pcm: npt.NDArray[Any], window: int, hop: int, frequencies: Sequence[float]) -> _Complex:
    """Return for each step the peak at each frequency, its phase against a steady tone, and last the mean square."""
    weight = np.hanning(window + 2)[1:-1]
    kernels = np.stack([_kernel(one, window) for one in frequencies], axis=1)
    real = np.concatenate([kernels.real, kernels.imag], axis=1).astype(np.float32)
    share = (weight / weight.sum()).astype(np.float32)
    padded = np.concatenate([np.zeros(window // 2), pcm, np.zeros(window // 2)]).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    rows = np.empty((len(frames), len(frequencies) + 1), np.complex128)
    for start in range(0, len(frames), 2048):
        frame = np.ascontiguousarray(frames[start : start + 2048])
        both = (frame @ real).astype(np.float64)
        rows[start : start + 2048, :-1] = both[:, : len(frequencies)] + 1j * both[:, len(frequencies) :]
        rows[start : start + 2048, -1] = (frame * frame) @ share
    steps = np.arange(len(frames)) * hop
    rows[:, 0] *= np.exp(-2j * np.pi * (frequencies[0] / RATE * steps % 1))
    return rows


def _spread(values: _Float) -> _Float:
    """Return how far apart the least and the most of five neighbours are."""
    padded = np.pad(values, 2, mode="edge")
    five = np.lib.stride_tricks.sliding_window_view(padded, 5)
    return np.asarray(five.max(axis=1) - five.min(axis=1))


def _runs(mask: _Bool) -> list[tuple[int, int]]:
    """Return first and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]])))
    return [(int(first), int(last) - 1) for first, last in edges.reshape(-1, 2)]


def _span(amplitudes: Sequence[_Float], first: int, last: int, gap: int) -> tuple[float, float]:
    """Widen a run to where each component has half of its amplitude, over gaps so long; in steps, with fractions."""
    starts, ends = [], []
    for amplitude in amplitudes:
        half = float(np.median(amplitude[first : last + 1])) / 2
        starts.append(first - _edge(amplitude[: first + 1][::-1], half, gap))
        ends.append(last + _edge(amplitude[last:], half, gap))
    return max(starts), min(ends)


def _edge(outwards: _Float, half: float, gap: int) -> float:
    """Return how many steps it is outwards to where the amplitude falls through ``half`` for longer than ``gap``."""
    for first, last in _runs(outwards < half):
        if last - first >= gap or last == len(outwards) - 1:
            more, less = float(outwards[first - 1]), float(outwards[first])
            return first - 1 + (more - half) / (more - less)
    return float(len(outwards) - 1)
