"""Call progress tones: what an application describes, as loops of samples that can be played for ever.

Owns: the tone plans (the predefined tones of three networks: ITU-T E.180 with its supplement 2, for the US the precise
tone plan of ANSI T1.401), the rules of ``api.md`` section 6 for tones of one's own, and making the loop. Must not know
calls, RTP or the time: a loop has a length in samples and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cache
from math import gcd
from typing import Any, ClassVar, TypeAlias

import attrs
import numpy as np

from telephony.codecs.g711 import CODECS, Pcm
from telephony.errors import Error
from telephony.media.levels import peak_of

RATE = 8000
#: A loop is at most so long (samples), so that one tone takes little memory; a cycle alone may be longer.
_LONGEST_LOOP = 8 * RATE
#: More than anybody's cadence has, and ten seconds each are enough memory.
_MOST_SEGMENTS = 32

_COMPONENT_KEYS = {"frequency", "amplitude"}
_TIMING_KEYS = {"duration", "add"}
_ADDS = ("summation", "modulation")


class PredefinedTones(Enum):
    """The tones that are there without being made, named as the application writes them; prints as its bare name."""

    RINGBACK = "ringback"
    RINGBACK_UK = "ringback, United Kingdom"
    RINGBACK_EU = "ringback, continental Europe"
    DIAL = "dial tone"
    DIAL_UK = "dial tone, United Kingdom"
    DIAL_EU = "dial tone, continental Europe"
    BUSY = "busy"
    BUSY_UK = "busy, United Kingdom"
    BUSY_EU = "busy, continental Europe"
    CONGESTION = "congestion"
    CONGESTION_UK = "congestion, United Kingdom"
    CONGESTION_EU = "congestion, continental Europe"

    def __str__(self) -> str:
        return self.name

    __repr__ = __str__


#: The same under a name that `ToneManager.PredefinedTones` doesn't hide.
_Predefined: TypeAlias = PredefinedTones


@attrs.frozen
class ToneSegment:
    """A piece of a tone: two components for a time.

    ``first`` and ``second`` are (Hz, dBm0), or None for no component. By summation both sound; by modulation the second
    one varies the amplitude of the first, wholly at 0 dBm0 and by as many decibels less below that.
    """

    first: tuple[int, float] | None
    second: tuple[int, float] | None
    samples: int
    modulation: bool = False

    @property
    def frequencies(self) -> tuple[int, ...]:
        """The frequencies in Hz of the components that there are."""
        return tuple(one[0] for one in (self.first, self.second) if one is not None)


class ToneCycle:
    """A tone as a loop: ``pcm`` (16 bit, 8 kHz, read-only) may be repeated for ever without a click in it.

    Where a tone has no silence in it, its loop is as many cycles as bring every component back to its first phase; if
    that would take more than eight seconds, each component is moved by less than 0.07 Hz so that it fits.
    """

    __slots__ = ("_encoded", "name", "pcm", "segments")

    def __init__(self, name: str, segments: Sequence[ToneSegment]) -> None:
        self.name = name
        self.segments = tuple(segments)
        self.pcm = _loop(self.segments)
        self.pcm.setflags(write=False)
        self._encoded: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<ToneCycle {self.name}>"

    @property
    def seconds(self) -> float:
        """How long the loop is."""
        return len(self.pcm) / RATE

    @property
    def frequencies(self) -> tuple[int, ...]:
        """All frequencies that it has, each once, in order of appearance."""
        return tuple(dict.fromkeys(one for segment in self.segments for one in segment.frequencies))

    def encoded(self, codec: str) -> bytes:
        """Return the loop as payload of a codec of `telephony.codecs.g711.CODECS`; encoded once."""
        found = self._encoded.get(codec)
        if found is None:
            found = self._encoded[codec] = CODECS[codec].encode(self.pcm)
        return found


class ToneManager:
    """The tones that an application can play: the predefined ones and those it makes with `create_tone`.

    ``my_log`` is the application's log, or None; a tone that can't be heard at 8 kHz is reported there.
    """

    PredefinedTones = PredefinedTones
    _default: ClassVar[_Predefined] = PredefinedTones.RINGBACK

    def __init__(self, my_log: Any = None) -> None:
        self._log = my_log
        self._tones: dict[str, ToneCycle] = {}

    @classmethod
    def set_default(cls, tone: _Predefined | str) -> None:
        """Choose what is played where an application names no tone, for all managers. `Error` for what isn't one."""
        if isinstance(tone, str):
            tone = PredefinedTones.__members__.get(tone, tone)
        if not isinstance(tone, PredefinedTones):
            raise Error(f"tone={tone!r} can't be the default; allowed are {_listed(PredefinedTones.__members__)}")
        ToneManager._default = tone

    @classmethod
    def default(cls) -> _Predefined:
        """Return the tone that is played where an application names none: RINGBACK unless it was set."""
        return ToneManager._default

    def create_tone(self, tone_info: Sequence[Sequence[Mapping[str, Any]]], tone_name: str) -> None:
        """Make a tone and remember it under its name; an earlier one of that name is replaced.

        ``tone_info`` is a list of 3-tuples: two components ``{'frequency': 0-9999, 'amplitude': 0-99}`` (Hz, and dB
        below 0 dBm0, where a negative number means the same) and ``{'duration': 0-9999, 'add': 'summation' |
        'modulation'}`` (milliseconds). Frequency 0 is no component, and one of 4000 Hz and more can't be heard on a
        call. Modulation takes the second amplitude as its depth: 0 is all of the first component. The tuples follow
        each other and repeat until the tone is stopped. Raises `Error` that names the value and what is allowed.
        """
        if not isinstance(tone_name, str) or not tone_name:
            raise Error(f"tone_name={tone_name!r} is no name; give a string with something in it")
        if tone_name in PredefinedTones.__members__:
            raise Error(f"tone_name={tone_name!r} is a predefined tone; give another name")
        if isinstance(tone_info, str | bytes | Mapping) or not isinstance(tone_info, Sequence) or not tone_info:
            raise Error(f"tone_info={tone_info!r} is no list of 3-tuples (component, component, timing)")
        if len(tone_info) > _MOST_SEGMENTS:
            raise Error(f"tone_info has {len(tone_info)} entries; allowed are {_MOST_SEGMENTS}")
        segments = [_segment(entry, f"tone_info[{index}]") for index, entry in enumerate(tone_info)]
        if not any(segment.samples for segment in segments):
            raise Error(f"tone_info={tone_info!r} takes no time; one 'duration' at least must be above 0 milliseconds")
        tone = ToneCycle(tone_name, segments)
        if self._log is not None and not tone.pcm.any():
            self._log.warning(f"tone {tone_name!r} is silent: no component is between 1 and 3999 Hz")
        self._tones[tone_name] = tone

    def find(self, tone: object = None) -> ToneCycle:
        """Return a tone by its name or `PredefinedTones` member; None is the default. `Error` for one not known."""
        if tone is None:
            return predefined(ToneManager._default)
        if isinstance(tone, PredefinedTones):
            return predefined(tone)
        if isinstance(tone, str):
            if tone in self._tones:
                return self._tones[tone]
            if tone in PredefinedTones.__members__:
                return predefined(PredefinedTones[tone])
        known = _listed([*PredefinedTones.__members__, *self._tones])
        raise Error(f"tone {tone!r} is not known; there are {known}, and create_tone() makes others")


@cache
def predefined(tone: PredefinedTones) -> ToneCycle:
    """Return a predefined tone; each is made when it is first asked for, and once."""
    return ToneCycle(tone.name, _PLANS[tone])


def _pair(first: int, second: int, level: float, milliseconds: int) -> ToneSegment:
    return ToneSegment((first, level), (second, level), milliseconds * RATE // 1000)


def _single(frequency: int, level: float, milliseconds: int) -> ToneSegment:
    return ToneSegment((frequency, level), None, milliseconds * RATE // 1000)


def _pause(milliseconds: int) -> ToneSegment:
    return ToneSegment(None, None, milliseconds * RATE // 1000)


_PLANS: dict[PredefinedTones, tuple[ToneSegment, ...]] = {
    PredefinedTones.RINGBACK: (_pair(440, 480, -19, 2000), _pause(4000)),
    PredefinedTones.RINGBACK_UK: (_pair(400, 450, -19, 400), _pause(200), _pair(400, 450, -19, 400), _pause(2000)),
    PredefinedTones.RINGBACK_EU: (_single(425, -16, 1000), _pause(4000)),
    PredefinedTones.DIAL: (_pair(350, 440, -13, 1000),),
    PredefinedTones.DIAL_UK: (_pair(350, 440, -16, 1000),),
    PredefinedTones.DIAL_EU: (_single(425, -13, 1000),),
    PredefinedTones.BUSY: (_pair(480, 620, -24, 500), _pause(500)),
    PredefinedTones.BUSY_UK: (_single(400, -19, 375), _pause(375)),
    PredefinedTones.BUSY_EU: (_single(425, -16, 500), _pause(500)),
    PredefinedTones.CONGESTION: (_pair(480, 620, -24, 250), _pause(250)),
    PredefinedTones.CONGESTION_UK: (_single(400, -19, 400), _pause(350), _single(400, -13, 225), _pause(525)),
    PredefinedTones.CONGESTION_EU: (_single(425, -16, 250), _pause(250)),
}


def _listed(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names)


def _segment(entry: Any, where: str) -> ToneSegment:
    if isinstance(entry, str | bytes) or not isinstance(entry, Sequence) or len(entry) != 3:
        raise Error(f"{where}={entry!r} is no 3-tuple (component, component, timing)")
    timing = _checked_keys(entry[2], _TIMING_KEYS, f"{where}[2]")
    add = timing["add"]
    if add not in _ADDS:
        raise Error(f"'add' in {where}[2] is {add!r}; allowed are {_listed(_ADDS)}")
    return ToneSegment(
        _component(entry[0], f"{where}[0]"),
        _component(entry[1], f"{where}[1]"),
        _whole(timing, "duration", 0, 9999, f"{where}[2]") * RATE // 1000,
        modulation=add == "modulation",
    )


def _component(entry: Any, where: str) -> tuple[int, float] | None:
    entry = _checked_keys(entry, _COMPONENT_KEYS, where)
    frequency = _whole(entry, "frequency", 0, 9999, where)
    amplitude = -abs(_whole(entry, "amplitude", -99, 99, where))
    # Above half the sampling rate a component would come out as another frequency: nothing is nearer to the truth.
    return (frequency, float(amplitude)) if 0 < frequency < RATE // 2 else None


def _checked_keys(entry: Any, keys: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping) or set(entry) != keys:
        raise Error(f"{where}={entry!r} must have the keys {_listed(sorted(keys))} and no others")
    return entry


def _whole(entry: Mapping[str, Any], key: str, least: int, most: int, where: str) -> int:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Error(f"{key!r} in {where} is {value!r}; allowed are whole numbers from {max(least, 0)} to {most}")
    return value


def _loop(segments: Sequence[ToneSegment]) -> Pcm:
    sounding = [segment for segment in segments if segment.samples]
    cycle = sum(segment.samples for segment in sounding)
    frequencies = {one for segment in sounding for one in segment.frequencies}
    # Only what sounds on both sides of the loop's end has a phase to keep there.
    joined = set(sounding[0].frequencies) & set(sounding[-1].frequencies)
    size = _loop_size(cycle, joined)
    wave = np.empty(size)
    # All phases run from the loop's beginning, so that a component goes on smoothly from one segment to the next.
    turns = {one: _turns(one, size, one in joined) for one in frequencies}
    start = 0
    while start < size:
        for segment in sounding:
            time = np.arange(start, start + segment.samples)
            wave[start : start + segment.samples] = _sound(segment, time, turns, size)
            start += segment.samples
    return np.clip(np.round(wave), -32768, 32767).astype(np.int16)


def _loop_size(cycle: int, joined: set[int]) -> int:
    """Find how many samples bring all these frequencies back to phase 0: whole cycles, and not too many of them."""
    repeats = 1
    for frequency in joined:
        period = RATE // gcd(RATE, frequency)
        needed = period // gcd(period, cycle)
        repeats = repeats * needed // gcd(repeats, needed)
    return cycle * max(1, min(repeats, _LONGEST_LOOP // cycle))


def _turns(frequency: int, size: int, joined: bool) -> float:
    """Return how often a component turns in the loop: a whole number where it must meet itself."""
    turns = frequency * size / RATE
    return max(1.0, float(round(turns))) if joined else turns


def _sound(segment: ToneSegment, time: Any, turns: dict[int, float], size: int) -> Any:
    first, second = (
        None if one is None else peak_of(one[1]) * np.sin(2 * np.pi * (time * turns[one[0]] % size) / size)
        for one in (segment.first, segment.second)
    )
    if first is None:
        return 0.0 if second is None or segment.modulation else second
    if second is None:
        return first
    return first * (1 + second / peak_of(0)) if segment.modulation else first + second
