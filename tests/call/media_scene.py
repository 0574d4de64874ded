"""A scene for media jobs: alice has called in and was answered, with a media directory of the test's own."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.codecs.g711 import Pcm
from telephony.media.detectors import Interval, heard
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
