"""The system's random numbers, fetched by the page.

Owns: that a draw costs no system call of its own. Must not know what is drawn. Tags, branches and ports must not be
guessed (RFC 3261 19.3), so that every bit comes from the system's own source, and none is ever given out twice.

A system call is cheap by itself, but lets go of Python's lock: with threads of applications waiting for it, each of the
ten draws of a call would be a chance to lose a turn.
"""

from __future__ import annotations

import os
import struct
from random import SystemRandom

#: How many numbers of 64 bits a page holds.
_PAGE = struct.Struct("512Q")
#: What is left of the page. Numbers are popped, which is one step to other threads: no two draws get the same.
_numbers: list[int] = []
# A forked process must not draw what its parent draws.
os.register_at_fork(after_in_child=_numbers.clear)


def _number() -> int:
    """Return 64 random bits."""
    while True:
        try:
            return _numbers.pop()
        except IndexError:
            _numbers.extend(_PAGE.unpack(os.urandom(_PAGE.size)))


class PagedRandom(SystemRandom):
    """`random.SystemRandom`, one system call for 512 draws; ``randbytes`` (keys) asks the system itself."""

    def getrandbits(self, k: int, /) -> int:
        """Return ``k`` random bits."""
        return _number() >> (64 - k) if 0 <= k <= 64 else super().getrandbits(k)

    def random(self) -> float:
        """Return a number from 0 to 1, 1 excluded."""
        return (_number() >> 11) * 2.0**-53
