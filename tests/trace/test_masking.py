"""What is covered in traces, and that nothing else changes (RFC 4568 9.1; issue 4, "no secret in a log, a trace")."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.trace.masking import StreamMask, masked

MESSAGE = (
    b"REGISTER sip:a SIP/2.0\r\n"
    b'Authorization: Digest username="bob", realm="a b", nonce="NONCE", uri="sip:a",\r\n'
    b'  response="RESPONSE", cnonce="CNONCE", opaque=OPAQUE, qop=auth, nc=00000001, algorithm=MD5\r\n'
    b"proxy-authorization : Basic BASIC\r\n"
    b'Authentication-Info: nextnonce="NEXT", rspauth="RSPAUTH", qop=auth\r\n'
    b"X-Author: plain\r\n"
    b"Content-Length: 1\r\n"
    b"\r\n"
    b"v=0\r\n"
    b"k=clear:CLEAR\r\n"
    b"m=audio 4 RTP/SAVP 8\r\n"
    b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:KEYA|2^31 inline:KEYB;inline:KEYC|2^20|1:4\r\n"
    b"A = Crypto:2 X INLINE:KEYD\n"
    b"a=sendrecv\r\n"
)
SECRETS = b"NONCE RESPONSE CNONCE OPAQUE BASIC NEXT RSPAUTH CLEAR KEYA KEYB KEYC KEYD".split()
PLAIN = (b'username="bob"', b'realm="a b"', b'uri="sip:a"', b"nc=00000001", b"algorithm=MD5", b"plain", b"|2^20|1:4")


class MaskTests(SynchronousTestCase):
    def test_secrets(self) -> None:
        """Every key and credential is covered, folded lines and odd spellings included; the length stays."""
        shown = masked(MESSAGE)
        self.assertEqual(len(shown), len(MESSAGE))
        for secret in SECRETS:
            self.assertNotIn(secret, shown)
        for plain in PLAIN:
            self.assertIn(plain, shown)
        self.assertEqual(shown.count(b"\r\n"), MESSAGE.count(b"\r\n"))

    def test_nothing_to_cover(self) -> None:
        """A message without secrets comes back as it is."""
        message = b"INVITE sip:a SIP/2.0\r\nSubject: auth and crypto, k=3\r\n\r\nm=audio 4 RTP/AVP 8\r\na=ptime:20\r\n"
        self.assertEqual(masked(message), message)

    @given(st.lists(st.integers(0, len(MESSAGE)), max_size=8))
    def test_cut_anywhere(self, cuts: list[int]) -> None:
        """A stream is covered the same, however it is cut; no piece shows half of a key."""
        mask = StreamMask()
        edges = [0, *sorted(cuts), len(MESSAGE)]
        pieces = [mask.feed(MESSAGE[a:b]) for a, b in itertools.pairwise(edges)]
        shown = b"".join(pieces) + mask.flush()
        self.assertEqual(len(shown), len(MESSAGE))
        for secret in SECRETS:
            self.assertNotIn(secret, shown)

    @given(st.binary(max_size=300))
    def test_anything(self, data: bytes) -> None:
        """Whatever comes: nothing is raised, and the length stays."""
        self.assertEqual(len(masked(data)), len(data))
        self.assertEqual(len(masked(b"Authorization: " + data)), len(data) + 15)
        self.assertEqual(len(masked(b"a=crypto:" + data)), len(data) + 9)
