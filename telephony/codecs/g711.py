"""G.711 A-law and mu-law, as tables over whole arrays, and the translation between the two.

Owns: the two laws of ITU-T G.711 (11/88) on 16-bit samples and RFC 3551 section 4.5.14's names and numbers for them.
Must not know packets or calls. Encoding and decoding are one table look-up per sample, so a call's frame or those of
all calls at once (any array shape) cost the same few instructions a sample.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
import numpy.typing as npt

#: 16-bit linear samples at 8 kHz; 32768 would be the A-law's full scale.
Pcm = npt.NDArray[np.int16]

#: The byte that means silence, by codec name.
SILENCE = {"PCMU": 0xFF, "PCMA": 0xD5}


def _ulaw_values() -> Pcm:
    # Table 2 of G.711: all bits inverted; 3 bits of segment, 4 of step; 33 is the offset that makes the segments meet.
    code = ~np.arange(256) & 0xFF
    magnitude = ((((code & 0x0F) << 1) + 33) << (code >> 4 & 7)) - 33
    return (np.where(code & 0x80, -magnitude, magnitude) * 4).astype(np.int16)


def _alaw_values() -> Pcm:
    # Table 1 of G.711: even bits inverted; the first two segments have the same step.
    code = np.arange(256) ^ 0x55
    segment, step = code >> 4 & 7, code & 0x0F
    magnitude = np.where(segment == 0, 2 * step + 1, (2 * step + 33) << np.maximum(segment - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) * 8).astype(np.int16)


def _ulaw_codes() -> npt.NDArray[np.uint8]:
    # A decision value itself belongs to the step above it. What lies beyond the last one is clipped at 8158 + 33.
    # Negative values are taken by ones' complement, so that the two halves have their decision values in mirror places.
    pcm = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.minimum((np.where(pcm < 0, ~pcm, pcm) >> 2) + 33, 8191)
    segment = np.floor(np.log2(magnitude)).astype(np.int32) - 5
    code = (segment << 4) | (magnitude >> (segment + 1) & 0x0F)
    codes: npt.NDArray[np.uint8] = (~np.where(pcm < 0, code | 0x80, code) & 0xFF).astype(np.uint8)
    return codes


def _alaw_codes() -> npt.NDArray[np.uint8]:
    pcm = np.arange(65536).astype(np.uint16).view(np.int16).astype(np.int32)
    magnitude = np.where(pcm < 0, ~pcm, pcm) >> 4
    segment = np.maximum(np.floor(np.log2(np.maximum(magnitude, 1))).astype(np.int32) - 3, 0)
    step = np.where(segment < 2, magnitude & 0x0F, magnitude >> np.maximum(segment - 1, 0) & 0x0F)
    segment = np.where(magnitude >= 16, np.maximum(segment, 1), 0)
    code = (segment << 4) | step
    return (np.where(pcm < 0, code, code | 0x80) ^ 0x55).astype(np.uint8)


def _translation(values: Pcm, codes: npt.NDArray[np.uint8]) -> bytes:
    # Through linear samples: of the two errors that a change of law makes, this leaves the smaller in every step.
    return codes[values.view(np.uint16)].tobytes()


_ULAW_VALUES, _ALAW_VALUES = _ulaw_values(), _alaw_values()
_ULAW_CODES, _ALAW_CODES = _ulaw_codes(), _alaw_codes()

#: For ``bytes.translate``: a payload of one law as a payload of the other, without linear samples in between.
ULAW_TO_ALAW = _translation(_ULAW_VALUES, _ALAW_CODES)
ALAW_TO_ULAW = _translation(_ALAW_VALUES, _ULAW_CODES)


def encode_ulaw(pcm: Pcm) -> bytes:
    """Encode int16 samples, one byte each, in the array's (row-major) order."""
    return _ULAW_CODES[_index(pcm)].tobytes()


def encode_alaw(pcm: Pcm) -> bytes:
    """Encode int16 samples, one byte each, in the array's (row-major) order."""
    return _ALAW_CODES[_index(pcm)].tobytes()


def decode_ulaw(data: bytes | bytearray | memoryview) -> Pcm:
    """Decode a payload into a new array of as many int16 samples."""
    return _ULAW_VALUES[np.frombuffer(data, np.uint8)]


def decode_alaw(data: bytes | bytearray | memoryview) -> Pcm:
    """Decode a payload into a new array of as many int16 samples."""
    return _ALAW_VALUES[np.frombuffer(data, np.uint8)]


def _index(pcm: Pcm) -> npt.NDArray[np.uint16]:
    if pcm.dtype != np.int16:
        raise TypeError(f"samples must be int16, not {pcm.dtype}")
    return np.ascontiguousarray(pcm).view(np.uint16)


@attrs.frozen
class Codec:
    """One codec, as RFC 3551 names and numbers it: one byte is one sample of ``clock_rate`` samples a second.

    ``translations`` has, for each other codec whose payload can be made from this one byte by byte, the table.
    """

    name: str
    payload_type: int
    silence: int
    encode: Callable[[Pcm], bytes]
    decode: Callable[[bytes | bytearray | memoryview], Pcm]
    translations: dict[str, bytes]
    clock_rate: int = 8000

    def silent(self, samples: int) -> bytes:
        """Return a payload of so many samples of silence."""
        return bytes((self.silence,)) * samples


#: Every codec that can be negotiated, by name.
CODECS = {
    "PCMU": Codec("PCMU", 0, SILENCE["PCMU"], encode_ulaw, decode_ulaw, {"PCMA": ULAW_TO_ALAW}),
    "PCMA": Codec("PCMA", 8, SILENCE["PCMA"], encode_alaw, decode_alaw, {"PCMU": ALAW_TO_ULAW}),
}
