"""What `bench.messages` does, with Sippy's parser: COUNT, and the messages on standard input, each of SIZE bytes."""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main() -> None:
    """Parse each message, read its headers typed, and print the microseconds of processor time a message."""
    sys.path[:] = [one for one in sys.path if Path(one or ".").resolve() != Path(__file__).resolve().parent]
    from sippy.SipRequest import SipRequest

    size = int(sys.argv[1])
    data = sys.stdin.buffer.read()
    messages = [data[at : at + size].decode() for at in range(0, len(data), size)]

    def read(text: str) -> None:
        message = SipRequest(text)
        for name in ("via", "from", "to", "contact", "cseq"):
            message.getHFBody(name)
        message.getHFBodys("record-route")

    for text in messages[:200]:
        read(text)
    begun = time.process_time()
    for text in messages:
        read(text)
    print((time.process_time() - begun) / len(messages) * 1e6)


if __name__ == "__main__":
    main()
