"""Makes the prompts in examples/media: a rising and a falling row of tones, so that an ear or a meter tells them apart.

Run it again to get the same files: python examples/make_prompts.py
"""

import wave
from pathlib import Path

import numpy as np

RATE = 8000
PROMPTS = {"greeting.wav": (600, 800, 1000), "goodbye.wav": (1000, 800, 600)}


def main() -> None:
    """Write both files beside this one."""
    directory = Path(__file__).resolve().parent / "media"
    directory.mkdir(exist_ok=True)
    for name, frequencies in PROMPTS.items():
        time = np.arange(RATE // 2) / RATE
        # 10 ms of rise and fall at each end, so that nothing clicks; a third of full scale is about -6 dBm0.
        edges = np.minimum(1, np.minimum(time, time[::-1]) / 0.01)
        notes = [10_000 * edges * np.sin(2 * np.pi * frequency * time) for frequency in frequencies]
        with wave.open(str(directory / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(RATE)
            file.writeframes(np.concatenate(notes).astype("<i2").tobytes())


if __name__ == "__main__":
    main()
