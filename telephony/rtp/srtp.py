"""SRTP and SRTCP of one leg (RFC 3711; RFC 7714 for AEAD): packets in the clear on one side, secured on the other.

Owns: the two cryptographic contexts of a leg, when they are made anew, and the account of what did not pass. Must not
know sockets, or where keys come from. Nothing here raises for what a peer sends.

A context is kept as long as its key is the same. To begin one again with an old key would use the same key stream for
other packets, which gives both away (RFC 3711 9.1); so a description that comes again changes nothing here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pylibsrtp
from pylibsrtp import Policy

from telephony.sdp.crypto import Crypto

_PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
}
#: How far behind the newest packet one may be and still be told from a repetition, in packets: 20 s of audio.
WINDOW = 1024
#: The longest packet that libsrtp's binding takes, in bytes.
MOST_BYTES = 1356


class SecuredMedia:
    """What secures one leg. ``sending`` is our key, ``receiving`` the peer's.

    ``counters`` has ``unauthentic`` (a wrong key, or a changed packet), ``replayed``, ``unprotected`` (what we could
    not secure, and did not send) and ``malformed``.
    """

    __slots__ = ("_in", "_out", "counters", "receiving", "sending")

    def __init__(self) -> None:
        self.sending: Crypto | None = None
        self.receiving: Crypto | None = None
        self._out: pylibsrtp.Session | None = None
        self._in: pylibsrtp.Session | None = None
        self.counters: Counter[str] = Counter()

    def renew(self, sending: Crypto, receiving: Crypto) -> None:
        """Take the keys that were agreed; a context whose key is another is made anew."""
        if not sending.same_key(self.sending):
            self._out = _session(sending, Policy.SSRC_ANY_OUTBOUND)
        if not receiving.same_key(self.receiving):
            self._in = _session(receiving, Policy.SSRC_ANY_INBOUND)
        self.sending, self.receiving = sending, receiving

    def protect(self, packet: bytes) -> bytes | None:
        """Secure an RTP packet; None when that can't be done, and nothing may be sent then."""
        return self._done(None if self._out is None else self._out.protect, packet)

    def protect_report(self, packet: bytes) -> bytes | None:
        """Secure an RTCP packet."""
        return self._done(None if self._out is None else self._out.protect_rtcp, packet)

    def open(self, data: bytes) -> bytes | None:
        """Check and decrypt an SRTP packet; None for one that isn't the peer's."""
        return self._opened(None if self._in is None else self._in.unprotect, data)

    def open_report(self, data: bytes) -> bytes | None:
        """Check and decrypt an SRTCP packet."""
        return self._opened(None if self._in is None else self._in.unprotect_rtcp, data)

    def _done(self, protect: Callable[[bytes], bytes] | None, packet: bytes) -> bytes | None:
        try:
            return None if protect is None else protect(packet)
        except (pylibsrtp.Error, ValueError):
            self.counters["unprotected"] += 1
            return None

    def _opened(self, unprotect: Callable[[bytes], bytes] | None, data: bytes) -> bytes | None:
        try:
            return None if unprotect is None else unprotect(data)
        except pylibsrtp.Error as error:
            # The binding has no numbers for its errors, only their texts.
            said = str(error)
            kind = "replayed" if "replay" in said else "malformed" if "pars" in said else "unauthentic"
        except ValueError:
            kind = "malformed"
        self.counters[kind] += 1
        return None

    def close(self) -> None:
        """Forget the keys."""
        self._in = self._out = None
        self.sending = self.receiving = None


def _session(crypto: Crypto, direction: int) -> pylibsrtp.Session:
    policy = Policy(crypto.key, direction, srtp_profile=_PROFILES[crypto.suite])
    policy.window_size = WINDOW
    return pylibsrtp.Session(policy)
