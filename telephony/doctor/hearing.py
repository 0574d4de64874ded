"""What came back over RTP: is it our own sound, how late and how loud, and was the stream whole (RFC 3550 6.4, A.8).

Owns: the sound that is sent to be known again, correlation, level, gaps, jitter and loss. Must not know calls or
sentences; it works on samples and packets.
"""

from __future__ import annotations

import attrs
import numpy as np

from telephony.codecs.g711 import Pcm
from telephony.errors import RemoteProtocolError
from telephony.media.levels import PEAK_0_DBM0, SILENCE_DBM0, level_dbm0
from telephony.rtp.packet import parse_packet
from telephony.testing.audio import Heard

RATE = 8000
#: A sweep from the first frequency to the second (Hz), so long (seconds) and so loud (dBm0): it is like itself at one
#: delay only, which a tone isn't.
SWEEP = (400.0, 2000.0)
SWEEP_SECONDS = 1.0
SWEEP_LEVEL = -15.0
#: How alike a stretch of what came must be to count as our own sound, from 0 to 1.
ALIKE = 0.5
#: A pause between packets that a listener hears, in seconds.
GAP = 0.1


def sweep() -> Pcm:
    """Return the sound that is known again: a sweep with soft ends."""
    time = np.arange(round(SWEEP_SECONDS * RATE)) / RATE
    first, last = SWEEP
    phase = 2 * np.pi * (first * time + (last - first) * time**2 / (2 * SWEEP_SECONDS))
    edge = np.clip(np.minimum(time, SWEEP_SECONDS - time) / 0.02, 0, 1)
    return np.asarray(np.round(PEAK_0_DBM0 * 10 ** (SWEEP_LEVEL / 20) * np.sin(phase) * edge), np.int16)


@attrs.frozen
class Echo:
    """Our own sound, heard again: ``latency`` in seconds, ``gain`` in dB, ``alike`` from 0 to 1."""

    latency: float
    gain: float
    alike: float


def find_echo(sent: Pcm, heard: Pcm) -> Echo | None:
    """Find ``sent`` in ``heard``, whose first sample came when the first of ``sent`` left; None where it isn't."""
    if len(heard) < len(sent):
        heard = np.concatenate([heard, np.zeros(len(sent) - len(heard), np.int16)])
    wanted, came = sent.astype(np.float64), heard.astype(np.float64)
    size = 1 << int(len(wanted) + len(came)).bit_length()
    crossed = np.fft.irfft(np.fft.rfft(came, size) * np.conj(np.fft.rfft(wanted, size)), size)
    crossed = crossed[: len(came) - len(wanted) + 1]
    total = np.concatenate([[0.0], np.cumsum(came**2)])
    energy = total[len(wanted) :] - total[: -len(wanted)]
    own = float(np.dot(wanted, wanted))
    # Where next to nothing came, next to nothing may look like anything.
    alike = np.abs(crossed) / np.sqrt(np.maximum(energy, own * 1e-5) * own)
    at = int(np.argmax(alike))
    if alike[at] < ALIKE:
        return None
    gain = 20 * np.log10(max(abs(crossed[at]) / own, 1e-6))
    return Echo(at / RATE, float(gain), float(alike[at]))


@attrs.frozen
class Stream:
    """How RTP came: ``lost`` of ``expected`` packets, ``jitter`` and the ``longest`` pause in seconds.

    ``gaps`` counts pauses that can be heard, ``sources`` the different SSRCs, ``senders`` where they came from.
    """

    packets: int
    expected: int
    jitter: float
    longest: float
    gaps: int
    sources: int
    senders: tuple[str, ...]

    @property
    def lost(self) -> int:
        """How many never came."""
        return max(0, self.expected - self.packets)


def stream_of(packets: list[Heard]) -> Stream:
    """Judge packets in the order in which they came. What is no RTP is left out."""
    seen: dict[int, set[int]] = {}
    highest: dict[int, int] = {}
    worst = longest = 0.0
    gaps = 0
    last: tuple[int, float, int] | None = None
    smoothed = 0.0
    for one in packets:
        try:
            packet = parse_packet(one.data)
        except RemoteProtocolError:
            continue
        before = highest.get(packet.ssrc, packet.sequence)
        extended = before + ((packet.sequence - before + 0x8000 & 0xFFFF) - 0x8000)
        highest[packet.ssrc] = max(before, extended)
        seen.setdefault(packet.ssrc, set()).add(extended)
        if last is not None:
            pause = one.time - last[1]
            longest = max(longest, pause)
            gaps += pause > GAP
            if last[0] == packet.ssrc and extended > last[2]:
                smoothed += (abs(pause - 0.02 * (extended - last[2])) - smoothed) / 16
                worst = max(worst, smoothed)
        last = packet.ssrc, one.time, extended
    return Stream(
        packets=sum(len(numbers) for numbers in seen.values()),
        expected=sum(max(numbers) - min(numbers) + 1 for numbers in seen.values()),
        jitter=worst,
        longest=longest,
        gaps=gaps,
        sources=len(seen),
        senders=tuple(dict.fromkeys(f"{one.source[0]}:{one.source[1]}" for one in packets))[:4],
    )


def loudness(pcm: Pcm) -> float:
    """Return the level of the loudest tenth of a second, in dBm0."""
    size = RATE // 10
    if len(pcm) < size:
        return float(level_dbm0(pcm))
    return float(np.max(level_dbm0(pcm[: len(pcm) // size * size].reshape(-1, size))))


def audible(pcm: Pcm) -> bool:
    """Tell whether anything in it can be heard."""
    return loudness(pcm) >= SILENCE_DBM0
