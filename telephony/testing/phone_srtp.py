"""A phone's SRTP with keys from the description (RFC 4568, RFC 3711).

Owns: its own key, reading the peer's ``a=crypto`` line, and the two contexts. Must not know calls or sockets. It shares
libsrtp with the product, and none of its code.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode

import pylibsrtp
from pylibsrtp import Policy

from telephony.interfaces import Host

#: Suites with libsrtp's number for each and the bytes of key and salt.
SUITES = {
    "AES_CM_128_HMAC_SHA1_80": (Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 30),
    "AES_CM_128_HMAC_SHA1_32": (Policy.SRTP_PROFILE_AES128_CM_SHA1_32, 30),
    "AEAD_AES_128_GCM": (Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 28),
}
_LINE = re.compile(r"^a=crypto:(\d+) (\S+) inline:([A-Za-z0-9+/=]+)", re.MULTILINE)


class PhoneSrtp:
    """One call's SRTP; ``suite`` is what it offers, or demands of an offer. ``refused`` counts what it can't open.

    ``lying``: it describes one key and uses another, as who guesses keys would.
    """

    def __init__(self, host: Host, suite: str = "AES_CM_128_HMAC_SHA1_80", lying: bool = False) -> None:
        profile, length = SUITES[suite]
        self._profile = profile
        self._suite = suite
        self._host = host
        self._length = length
        self._lying = lying
        self._tag = "1"
        self._theirs = ""
        self._out: pylibsrtp.Session | None = None
        self._in: pylibsrtp.Session | None = None
        self.refused = 0
        self.key = b""
        self.rekey()

    def rekey(self) -> None:
        """Draw another key; the next description has it."""
        self.key = self._host.random.randbytes(self._length)
        used = bytes(byte ^ 1 for byte in self.key) if self._lying else self.key
        self._out = pylibsrtp.Session(Policy(used, Policy.SSRC_ANY_OUTBOUND, srtp_profile=self._profile))

    def line(self) -> str:
        """Return our line for a description."""
        return f"a=crypto:{self._tag} {self._suite} inline:{b64encode(self.key).decode()}"

    def take(self, description: str) -> bool:
        """Take the peer's key from its description; False when it has none that fits."""
        for tag, suite, key in _LINE.findall(description):
            if suite == self._suite:
                self._tag = tag
                if key != self._theirs:
                    self._theirs = key
                    policy = Policy(b64decode(key), Policy.SSRC_ANY_INBOUND, srtp_profile=self._profile)
                    self._in = pylibsrtp.Session(policy)
                return True
        return False

    def seal(self, packet: bytes, report: bool = False) -> bytes:
        """Secure a packet of ours."""
        assert self._out is not None
        return self._out.protect_rtcp(packet) if report else self._out.protect(packet)

    def open(self, data: bytes, report: bool = False) -> bytes | None:
        """Open a packet of the peer's; None for one that is not."""
        try:
            if self._in is not None:
                return self._in.unprotect_rtcp(data) if report else self._in.unprotect(data)
        except pylibsrtp.Error:
            pass
        self.refused += 1
        return None
