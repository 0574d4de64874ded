"""Audio files: names under the media directory, any format in, WAV out.

Owns: the rules for names (``api.md`` section 6), decoding whatever PyAV's FFmpeg reads into 8 kHz samples, and writing
WAV in the formats that a recording may have. Must not know calls or who waits for it: everything here blocks on a disk
and belongs into a thread.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from telephony.codecs.g711 import Pcm
from telephony.errors import Error

RATE = 8000
#: What a file is written in: the name an application gives, and FFmpeg's for it.
FILE_FORMATS = {"alaw": "pcm_alaw", "ulaw": "pcm_mulaw", "pcm": "pcm_s16le"}
#: Bytes of one sample of one channel.
_SAMPLE_SIZE = {"alaw": 1, "ulaw": 1, "pcm": 2}
#: Longer than this nobody listens to a prompt; it would fill the memory (115 MB).
MAX_SECONDS = 7200

_NAME = re.compile(r"[A-Za-z0-9._/@-]+")


def check_media_name(name: str) -> None:
    """Raise `Error` if a file name isn't one of ``api.md`` section 6: it says what is wrong with which name.

    Allowed are letters, digits and ``. _ / @ -``; never ``..``, ``//``, ``/./``, an absolute path, or a folder.
    """
    if not isinstance(name, str) or not name:
        raise Error(f"file name {name!r} is empty or no string; give a name under the media directory")
    if not _NAME.fullmatch(name):
        raise Error(f"file name {name!r} has other characters than letters, digits and . _ / @ -")
    if name.startswith("/"):
        raise Error(f"file name {name!r} is an absolute path; give a name under the media directory")
    for part in ("..", "//", "/./"):
        if part in name:
            raise Error(f"file name {name!r} has {part} in it, which is not allowed")
    if name.endswith(("/", "/.")) or name.startswith("./") or name == ".":
        raise Error(f"file name {name!r} is not the name of a file")


def resolve_media_name(directory: Path, name: str) -> Path:
    """Return the path of a media file; `check_media_name` first. The file need not be there.

    A symbolic link in the directory that leads out of it is an `Error` too.
    """
    check_media_name(name)
    root = directory.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        raise Error(f"file name {name!r} leads out of the media directory")
    return path


def decode_audio(path: Path | str) -> Pcm:
    """Decode a file, whatever its container, codec, rate and channels, into mono 8 kHz 16-bit samples.

    Channels are averaged. Raises `Error` that names the file when there is none, when it can't be read as audio from
    its beginning, or when it is longer than `MAX_SECONDS`. A file that breaks off or turns bad later (a recording whose
    writer died) gives what is there, and a recording in which nothing was recorded gives no samples.
    """
    path = Path(path)
    if not path.is_file():
        raise Error(f"there is no file {str(path)!r}")
    pieces: list[Pcm] = []
    try:
        # A playlist in the directory must not make us fetch things.
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            if not container.streams.audio:
                raise Error(f"file {str(path)!r} has no audio in it")
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            _decode(container, resampler, pieces, path)
    except (av.FFmpegError, OSError, ValueError) as error:
        if not pieces:
            # FFmpeg's errors have a number and the path in their text; its words for them are enough.
            why = getattr(error, "strerror", None) or error
            raise Error(f"file {str(path)!r} can't be read as audio: {why}") from None
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)


def _decode(container: Any, resampler: Any, pieces: list[Pcm], path: Path) -> None:
    """Decode a container's first audio stream into pieces; those before an error stay there."""
    samples = 0
    for frame in container.decode(audio=0):
        # A file may lack timestamps or have jumps in them; what counts is the order.
        frame.pts = None
        for piece in resampler.resample(frame):
            pieces.append(piece.to_ndarray().reshape(-1))
            samples += len(pieces[-1])
        if samples > MAX_SECONDS * RATE:
            pieces.clear()
            raise Error(f"file {str(path)!r} is longer than {MAX_SECONDS} seconds")
    pieces.extend(piece.to_ndarray().reshape(-1) for piece in resampler.resample(None))


class AudioWriter:
    """Writes a WAV file: ``format`` 'alaw', 'ulaw' or 'pcm' (16 bit), 1 or 2 ``channels``, ``rate`` in Hz.

    What was written is in the file at once (as far as the operating system promises that), and a file that was never
    closed, because its writer died, can be played to where it breaks off. Folders that are missing are made. Raises
    `Error` for a bad argument or when the file can't be made. Use from one thread at a time; also as a context.
    """

    __slots__ = (
        "_codec",
        "_container",
        "_format",
        "_pts",
        "_resampler",
        "_stream",
        "bytes_written",
        "channels",
        "path",
    )

    def __init__(self, path: Path | str, format: str = "alaw", rate: int = RATE, channels: int = 1) -> None:
        if format not in FILE_FORMATS:
            raise Error(f"file format {format!r} can't be written; allowed are {', '.join(FILE_FORMATS)}")
        if isinstance(rate, bool) or not isinstance(rate, int) or not 8000 <= rate <= 48000:
            raise Error(f"rate {rate!r} can't be written; allowed are 8000 to 48000 Hz")
        if channels not in (1, 2):
            raise Error(f"channels={channels!r} can't be written; allowed are 1 and 2")
        self.path = Path(path)
        self.channels = channels
        #: Bytes of audio in the file so far.
        self.bytes_written = 0
        self._format = format
        self._pts = 0
        layout = "mono" if channels == 1 else "stereo"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Unfinished lengths are written as "all the rest", and each packet goes to the disk as it comes.
            self._container: Any = av.open(str(self.path), "w", format="wav", options={"flush_packets": "1"})
            self._stream: Any = self._container.add_stream(FILE_FORMATS[format], rate=rate, layout=layout)
            self._container.start_encoding()
        except (av.FFmpegError, OSError) as error:
            raise Error(f"file {str(path)!r} can't be written: {error}") from None
        self._resampler: Any = None
        if rate != RATE:
            self._resampler = av.AudioResampler(format="s16", layout=layout, rate=rate)

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, audio: npt.NDArray[np.int16] | bytes | bytearray | memoryview) -> None:
        """Append audio: 16-bit samples at 8 kHz, or bytes in the file's own format and rate.

        Samples are an array of n for one channel, of n x 2 for two. Bytes go into the file as they are: a payload of
        the file's law needs no decoding. Raises OSError when the disk is full or the file is closed.
        """
        if self._container is None:
            raise OSError(f"{self.path} is closed")
        if not isinstance(audio, np.ndarray):
            self._put(bytes(audio))
            return
        if audio.dtype != np.int16 or audio.size % self.channels or (audio.ndim == 2) != (self.channels == 2):
            raise ValueError(
                f"an array of {audio.dtype} and shape {audio.shape} is not {self.channels} x int16 samples"
            )
        if not audio.size:
            return
        layout = "mono" if self.channels == 1 else "stereo"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio).reshape(1, -1), format="s16", layout=layout)
        frame.sample_rate = RATE
        self._encode([frame] if self._resampler is None else self._resampler.resample(frame))

    def close(self) -> None:
        """Finish the file: its header gets its lengths. Harmless when closed. Raises OSError when the disk is full."""
        container = self._container
        if container is None:
            return
        try:
            if self._resampler is not None:
                self._encode(self._resampler.resample(None))
        finally:
            self._container = self._stream = self._resampler = None
            container.close()

    def _encode(self, frames: list[Any]) -> None:
        for frame in frames:
            frame.pts = None
            for packet in self._stream.encode(frame):
                self._put(bytes(packet))

    def _put(self, data: bytes) -> None:
        """Put bytes of the file's format into the file."""
        if not data:
            return
        samples = len(data) // (self.channels * _SAMPLE_SIZE[self._format])
        packet = av.Packet(data)
        packet.stream = self._stream
        packet.time_base = self._stream.time_base
        packet.pts = packet.dts = self._pts
        packet.duration = samples
        self._container.mux(packet)
        self._pts += samples
        self.bytes_written += len(data)
