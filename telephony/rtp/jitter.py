"""A jitter buffer: packets in as they come, frames of even length out as the clock asks.

Owns: order, gaps, and how long audio waits. Must not know sockets or time: `put` when a packet comes, `take` when a
frame is due. Used only where somebody listens; relayed calls never pass through here.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Samples of 8 kHz audio with one byte each: what a frame given to listeners has (20 ms).
FRAME = 160

_HALF = 0x80000000
_ALL = 0xFFFFFFFF
#: A timestamp further away than this (in samples: one second) is another stream, not a gap.
_ASTRAY = 8000


class JitterBuffer:
    """Reorders one-byte-a-sample audio and cuts it into frames of `FRAME` bytes.

    ``silence`` maps each codec to one frame of its silence. ``delay`` frames are waited for before the first is
    given; more than ``limit`` frames are never held: the oldest go, and are counted.

    When it runs dry it gives silence and waits for ``delay`` again with the next packet; a sender that paused (a
    talkspurt, a hold) is joined again at its new timestamp that way.

    ``dropped`` counts the packets that came too late or had no room, ``filled`` the frames with silence in them.
    """

    __slots__ = ("_codec", "_delay", "_limit", "_packets", "_playout", "_silence", "_wait", "dropped", "filled")

    def __init__(self, silence: Mapping[str, bytes], delay: int = 2, limit: int = 10) -> None:
        self._silence = silence
        self._delay = delay
        self._limit = limit * FRAME
        # In the order of timestamps: (timestamp, codec, payload). Few entries, mostly appended and taken at the front.
        self._packets: list[tuple[int, str, bytes]] = []
        self._playout = 0
        # Frames still to wait for; -1: dry, waiting for a packet.
        self._wait = -1
        self._codec = "PCMA" if "PCMA" in silence else next(iter(silence))
        self.dropped = 0
        self.filled = 0

    def clear(self) -> None:
        """Forget what is held: another stream begins."""
        self._packets.clear()
        self._wait = -1

    def put(self, codec: str, timestamp: int, payload: bytes) -> None:
        """Take a packet's audio; what is late, known already or too much is dropped and counted."""
        if not payload:
            return
        packets = self._packets
        if self._wait < 0:
            self._playout = timestamp
            self._wait = self._delay
        ahead = (timestamp - self._playout) & _ALL
        if ahead > _ASTRAY:
            behind = _ALL + 1 - ahead
            if behind > _ASTRAY:
                packets.clear()
                self._playout = timestamp
                self._wait = self._delay
            elif self._wait > 0:
                # Nothing has been played yet, and this one belongs before the first that came.
                self._playout = timestamp
            elif behind >= len(payload):
                self.dropped += 1
                return
        entry = (timestamp, codec, payload)
        if not packets or 0 < (timestamp - packets[-1][0]) & _ALL < _HALF:
            packets.append(entry)
        else:
            at = len(packets)
            while at and (packets[at - 1][0] - timestamp) & _ALL < _HALF:
                at -= 1
                if packets[at][0] == timestamp:
                    self.dropped += 1
                    return
            packets.insert(at, entry)
        last = packets[-1]
        excess = ((last[0] + len(last[2]) - self._playout) & _ALL) - self._limit
        if excess > 0 and len(packets) > 1:
            # Play on from where the delay is right again, rather than being late for the rest of the call.
            keep = ((last[0] + len(last[2])) & _ALL) - self._delay * FRAME
            self._playout = keep & _ALL
            while len(packets) > 1 and not (packets[0][0] + len(packets[0][2]) - self._playout - 1) & _ALL < _HALF:
                del packets[0]
                self.dropped += 1

    def take(self) -> tuple[str, bytes]:
        """Return the next frame: its codec and exactly `FRAME` bytes, silence where nothing came."""
        packets = self._packets
        if self._wait:
            if self._wait > 0:
                self._wait -= 1
            self.filled += 1
            return self._codec, self._silence[self._codec]
        playout = self._playout
        if not packets:
            self._wait = -1
            self.filled += 1
            return self._codec, self._silence[self._codec]
        timestamp, codec, payload = packets[0]
        self._playout = (playout + FRAME) & _ALL
        if timestamp == playout and len(payload) == FRAME:
            del packets[0]
            self._codec = codec
            return codec, payload
        return self._assemble(playout)

    def _assemble(self, playout: int) -> tuple[str, bytes]:
        """Cut a frame out of packets of other lengths, with silence in the gaps."""
        packets = self._packets
        frame = bytearray()
        codec = self._codec
        while len(frame) < FRAME and packets:
            timestamp, other, payload = packets[0]
            offset = (playout + len(frame) - timestamp) & _ALL
            if offset >= _HALF:
                gap = _ALL + 1 - offset
                if gap >= FRAME - len(frame):
                    break
                frame += self._silence[other][:gap]
                continue
            if offset >= len(payload):
                del packets[0]
                continue
            if other != codec:
                if frame:
                    break  # a frame has one codec; the rest of this one is silence
                codec = other
            part = payload[offset : offset + FRAME - len(frame)]
            frame += part
            if offset + len(part) >= len(payload):
                del packets[0]
        self._codec = codec
        if len(frame) < FRAME:
            self.filled += 1
            frame += self._silence[codec][len(frame) :]
        return codec, bytes(frame)
