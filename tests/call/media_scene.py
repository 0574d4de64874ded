"""A scene for media jobs: alice has called in and was answered, with a media directory of the test's own."""

from __future__ import annotations

import struct
import wave
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.codecs.g711 import CODECS, Pcm
from telephony.interfaces import Address, DelayedCall
from telephony.media.detectors import Interval, heard
from telephony.testing.network import SimulatedHost
from telephony.testing.phone import Phone
from telephony.testing.sounds import RATE
from tests.call.scene import Scene


class MediaScene(Scene):
    """Alice and the application talk."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.exchange.media_directory = self.directory

    def answer(self) -> CallChannel:
        """Let alice call and be answered; the channel."""

        async def application(channel: CallChannel) -> None:
            self.assertIs(await channel.answer(), State.ANSWERED)

        self.run_application(application)
        self.dial_in()
        self.run_until(self.outcome, 5)
        self.advance(0.1)
        return self.channel

    def call_bob(self) -> CallChannel:
        """Call bob, who answers; the channel."""
        channel = self.extra_channel()
        verb = channel.call(self.bob.uri)
        self.run_until(self.bob.until("incoming"))
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.advance(0.1)
        return channel

    def now(self) -> float:
        """The clock's time."""
        return self.network.clock.seconds()

    def write(self, name: str, *sounds: Pcm) -> None:
        """Write a file of the media directory, by nothing of ours."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(np.concatenate([np.zeros(0, np.int16), *sounds]).astype("<i2").tobytes())

    def read(self, name: str, codec: str = "pcm_alaw") -> Pcm:
        """Read a recording by FFmpeg alone, and hold that it is the WAV file asked for."""
        import av

        with av.open(str(self.directory / name)) as container:
            stream = container.streams.audio[0]
            self.assertEqual((stream.codec_context.name, stream.rate, stream.channels), (codec, RATE, 1))
            resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
            pieces = [
                piece.to_ndarray().reshape(-1)
                for frame in container.decode(audio=0)
                for piece in resampler.resample(frame)
            ]
        return np.concatenate([np.zeros(0, np.int16), *pieces])

    def recorded(self, name: str, *frequencies: float, **details: Any) -> list[Interval]:
        """When a tone is to be heard in a recording, in seconds from its beginning."""
        return heard(self.read(name, **details), frequencies)

    def assert_heard(self, phone: Phone, frequency: float, since: float, seconds: float, level: float | None) -> None:
        """Hold that a phone has heard a tone once since a moment, for so long and so loud (dBm0)."""
        [found] = phone.heard(frequency, since=since)
        self.assertApproximates(found.seconds, seconds, 0.03)
        if level is not None:
            self.assertApproximates(found.level_dbm0, level, 0.5)


@attrs.frozen
class Came:
    """An RTP packet that a phone got."""

    time: float
    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    size: int


def packets_of(phone: Phone, since: float = 0.0) -> list[Came]:
    """What came to a phone in its latest call, in order of arrival."""
    found = []
    for one in phone.call.media.audio.ear.heard_packets(since):
        _, kind, sequence, timestamp, ssrc = struct.unpack_from("!BBHII", one.data)
        found.append(Came(one.time, kind & 0x7F, kind > 0x7F, sequence, timestamp, ssrc, len(one.data) - 12))
    return found


def breaks(packets: Sequence[Came], slack: float = 0.021) -> list[str]:
    """What is wrong with a stream: sequence numbers that don't count, timestamps that don't keep to the time."""
    found = []
    for before, one in pairwise(packets):
        if one.ssrc != before.ssrc:
            found.append(f"{one.time:.3f}: another SSRC")
        if (one.sequence - before.sequence) & 0xFFFF != 1:
            found.append(f"{one.time:.3f}: sequence {before.sequence} -> {one.sequence}")
        ahead = (one.timestamp - before.timestamp + 0x80000000 & 0xFFFFFFFF) - 0x80000000
        if ahead < 0 or abs(ahead / RATE - (one.time - before.time)) > slack:
            found.append(f"{one.time:.3f}: {one.time - before.time:.3f} s, but {ahead / RATE:.3f} s by timestamps")
    return found


class Speaker:
    """Somebody who sends RTP and knows no SIP: an attacker, a fork, a phone behind a NAT."""

    def __init__(
        self, host: SimulatedHost, sound: Pcm, *, port: int = 0, ssrc: int = 0xBADBAD, sequence: int = 1
    ) -> None:
        self.heard: list[bytes] = []
        self.ssrc, self.sequence, self.timestamp = ssrc, sequence & 0xFFFF, 1
        self._clock = host.clock
        self._port = host.open_datagram_port((host.addresses[0], port), lambda data, source: self.heard.append(data))
        self._payload = CODECS["PCMA"].encode(sound)
        self._at = 0
        self._timer: DelayedCall | None = None

    @property
    def address(self) -> Address:
        """Where it is."""
        return self._port.address

    def start(self, destination: Address) -> None:
        """Say it over and over."""
        payload = self._payload[self._at : self._at + 160]
        self._at = (self._at + 160) % len(self._payload)
        self._port.send(struct.pack("!BBHII", 0x80, 8, self.sequence, self.timestamp, self.ssrc) + payload, destination)
        self.sequence = self.sequence + 1 & 0xFFFF
        self.timestamp += 160
        self._timer = self._clock.callLater(0.02, self.start, destination)

    def close(self) -> None:
        """Stop, and free the port."""
        if self._timer is not None:
            self._timer.cancel()
        self._port.close()
