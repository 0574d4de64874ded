"""The system's random numbers by the page (RFC 3261 19.3: what must not be guessed)."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from telephony import randomness
from telephony.randomness import PagedRandom


class PagedRandomTests(SynchronousTestCase):
    def test_range(self) -> None:
        """Bits and fractions are in range at every width, and every bit of them is drawn."""
        drawn = PagedRandom()
        for bits in (0, 1, 5, 31, 32, 48, 63, 64, 65, 128):
            seen = 0
            for _ in range(200):
                one = drawn.getrandbits(bits)
                self.assertTrue(0 <= one < 1 << bits or one == bits == 0)
                seen |= one
            self.assertEqual(seen, (1 << bits) - 1)
        self.assertRaises(ValueError, drawn.getrandbits, -1)
        fractions = [drawn.random() for _ in range(1000)]
        self.assertTrue(all(0.0 <= one < 1.0 for one in fractions))
        self.assertTrue(min(fractions) < 0.05 and max(fractions) > 0.95)
        self.assertEqual({drawn.randrange(3) for _ in range(200)}, {0, 1, 2})

    def test_pages(self) -> None:
        """The system is asked once for hundreds of draws, and nothing is given out twice."""
        pages: list[int] = []
        ask = os.urandom
        self.patch(os, "urandom", lambda size: (pages.append(size), ask(size))[1])
        randomness._numbers.clear()
        drawn = PagedRandom()
        numbers = [drawn.getrandbits(64) for _ in range(1024)]
        self.assertEqual((pages, len(set(numbers))), ([4096, 4096], 1024))

    def test_fork(self) -> None:
        """A child of a fork draws other numbers than its parent."""
        drawn = PagedRandom()
        drawn.getrandbits(8)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.write(writer, drawn.getrandbits(64).to_bytes(8, "big"))
            os._exit(0)
        os.waitpid(child, 0)
        os.close(writer)
        theirs = int.from_bytes(os.read(reader, 8), "big")
        os.close(reader)
        self.assertNotIn(theirs, [drawn.getrandbits(64) for _ in range(1024)])
