"""Whose packets a leg listens to, and where it sends: symmetric RTP with a latch (RFC 4961, 7362 section 4).

Owns: the choice of one source address. Must not know packets beyond their SSRC and sequence number, nor clocks: the
time is an argument.

A phone behind NAT signals an address that nothing ever comes from, so the first source of the same family is taken
for it. What keeps others out:

- The signalled source wins whenever it sends. Once it has, no other is taken, except as in the last point.
- Another source can be taken only within a second of the first packet after new SDP, and each only once: a source
  that was left is not gone back to. Somebody who can't see the call must guess a port among thousands in that second,
  and is put out again by the first packet of the signalled source, or of the true one if that begins later.
- After that second a source is taken only when the present one has been silent for 500 ms *and* the packet goes on
  with the SSRC (32 random bits) and the sequence number (16) that the call had: a NAT that rebinds keeps both, and who
  can't see the call can't guess both.
- After new SDP with another address the source before is out, so that the loser of a fork or a phone's old address
  isn't heard; it is let in again only if a second later nothing else has come.
"""

from __future__ import annotations

from telephony.interfaces import Address

#: Seconds from the first packet in which another source may still be taken.
WINDOW = 1.0
#: Seconds of silence after which a source that goes on with SSRC and sequence is taken.
SILENCE = 0.5
#: How far a sequence number may have gone on in that silence and still be the same stream.
_NEAR = 500
#: How many sources that were left are remembered within the window.
_MOST_LEFT = 8


class Latch:
    """The choice of one leg's source; ``current`` is the source that is listened to, None before the first packet.

    ``learning``: the peer signalled a host name, which is not looked up for media; the first source is taken.
    """

    __slots__ = ("_left", "_opened", "_refused_until", "_replaced", "current", "learning", "signalled")

    def __init__(self) -> None:
        self.signalled: Address | None = None
        self.current: Address | None = None
        self.learning = False
        self._opened = 0.0
        self._left: list[Address] = []
        self._replaced: Address | None = None
        self._refused_until = 0.0

    def renew(self, signalled: Address | None, now: float) -> bool:
        """Take the peer's address of new SDP; tell whether it is another one, and the choice open again.

        None (held with c=0.0.0.0) leaves everything as it is: the address that resumes decides.
        """
        if signalled is None or signalled == self.signalled:
            return False
        known = self.signalled is not None
        self.signalled = signalled
        if self.current == signalled:
            return False
        self._replaced = self.current if known else None
        self._refused_until = now + WINDOW
        self.current = None
        self._left.clear()
        return True

    def admits(self, source: Address, goes_on: bool, silent: float, now: float) -> bool:
        """Decide about a packet from a source that isn't ``current``, taking it if that is right.

        ``goes_on``: SSRC and sequence number continue the stream so far; ``silent``: seconds since the last packet.
        """
        signalled = self.signalled
        if signalled is None:
            if not self.learning:
                return False
        elif (":" in source[0]) != (":" in signalled[0]):
            return False
        current = self.current
        if current is None:
            if source == self._replaced and source != signalled and now < self._refused_until:
                return False
            self._opened = now
        elif source != signalled:
            early = now - self._opened <= WINDOW and current != signalled and source not in self._left
            if not early and not (goes_on and silent >= SILENCE):
                return False
        if current is not None and len(self._left) < _MOST_LEFT:
            self._left.append(current)
        self.current = source
        self._replaced = None
        return True


def goes_on(ahead: int) -> bool:
    """Tell whether a 16-bit sequence number that is ``ahead`` of the last (modulo 65536) continues the stream."""
    return 0 < ahead < _NEAR
