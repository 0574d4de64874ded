"""Prompts: audio files decoded once and kept encoded per codec, so that playing one is slicing bytes.

Owns: the cache of decoded files, bounded in bytes, the least recently played giving way. Must not know channels or
file name rules (`telephony.media.files`).
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from twisted.internet.defer import Deferred, succeed

from telephony.interfaces import Host
from telephony.media.files import decode_audio
from telephony.media.players import Clip

#: Bytes of decoded audio kept at most: an hour and ten minutes of 8 kHz audio, once per law.
CACHE_BYTES = 64 * 1024 * 1024


class Prompts:
    """The audio files that calls play, by path, size and time of change."""

    def __init__(self, host: Host, limit: int = CACHE_BYTES) -> None:
        self._host = host
        self._limit = limit
        self._held = 0
        self._kept: OrderedDict[tuple[str, int, int], Clip] = OrderedDict()

    def get(self, path: Path) -> Deferred[Clip]:
        """Fire with the file's audio, from the cache or decoded in a thread.

        Fails with `Error` when the file holds no audio that can be decoded. Raises OSError when it is gone.
        """
        stat = path.stat()
        key = (str(path), stat.st_size, stat.st_mtime_ns)
        clip = self._kept.get(key)
        if clip is not None:
            self._kept.move_to_end(key)
            return succeed(clip)
        return self._host.run_in_thread(_decode, path).addCallback(self._keep, key)

    def _keep(self, clip: Clip, key: tuple[str, int, int]) -> Clip:
        if key not in self._kept:
            self._kept[key] = clip
            self._held += clip.size
        while self._held > self._limit and len(self._kept) > 1:
            _key, oldest = self._kept.popitem(last=False)
            self._held -= oldest.size
        return clip


def _decode(path: Path) -> Clip:
    return Clip(decode_audio(path))
