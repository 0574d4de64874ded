"""How loud audio is, in dBm0, and whether that is silence.

Owns: the scale (ITU-T G.711 section 5: a sine that just fills the A-law coder is +3.14 dBm0; mu-law's +3.17 is the
same sine within 0.07 dB on the 16-bit scale that both decode to) and the decision. Must not know where frames come
from. All functions work along the last axis, so that the frames of all calls in a tick are one operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: The peak of a 0 dBm0 sine in 16-bit samples.
PEAK_0_DBM0 = 32768 * 10 ** (-3.14 / 20)
#: What digital silence is said to have: the end of RFC 6464's scale, and far below anything a line can carry.
FLOOR_DBM0 = -127.0
#: Quieter than this is silence: room noise is below, the softest speech above (ITU-T P.56 works with -50 too).
SILENCE_DBM0 = -50.0


def peak_of(level_dbm0: float) -> float:
    """Return the peak, in 16-bit samples, of a sine of that level."""
    return float(PEAK_0_DBM0 * 10 ** (level_dbm0 / 20))


def dbm0_of(mean_square: npt.ArrayLike) -> Any:
    """Return the level that a mean square of 16-bit samples is, `FLOOR_DBM0` at least; a float for a scalar."""
    power = np.asarray(mean_square, np.float64) / (PEAK_0_DBM0**2 / 2)
    level = 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DBM0 / 10)))
    return level if level.ndim else float(level)


def level_dbm0(pcm: npt.NDArray[Any]) -> Any:
    """Return the level of a frame of 16-bit samples (a float), or of each row of many (an array).

    No samples at all are `FLOOR_DBM0`. A constant offset counts as power, as it does to a meter.
    """
    if pcm.shape[-1] == 0:
        return dbm0_of(np.zeros(pcm.shape[:-1]))
    wide = pcm.astype(np.float32)
    return dbm0_of(np.einsum("...i,...i->...", wide, wide, dtype=np.float64) / pcm.shape[-1])


def is_silence(pcm: npt.NDArray[Any], threshold_dbm0: float = SILENCE_DBM0) -> Any:
    """Tell whether a frame is silence (a bool), or each row of many (an array): quieter than the threshold."""
    quiet = level_dbm0(pcm) < threshold_dbm0
    return quiet if isinstance(quiet, np.ndarray) else bool(quiet)
