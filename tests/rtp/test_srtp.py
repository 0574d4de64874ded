"""SRTP of one leg: what passes, what doesn't, and when a context begins anew (RFC 3711 3.3, 9.1; RFC 7714)."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.rtp.session import RtpSession
from telephony.rtp.srtp import SecuredMedia
from telephony.sdp.crypto import SUITES, Crypto
from telephony.sdp.negotiation import Agreed

PACKET = bytes.fromhex("8008000100000000deadbeef") + b"a" * 160
REPORT = bytes.fromhex("80c90001deadbeef")


def keys(suite: str = "AES_CM_128_HMAC_SHA1_80", seed: int = 1) -> Crypto:
    """Return a key of a seed's own."""
    return Crypto(1, suite, random.Random(seed).randbytes(SUITES[suite]))


def pair(suite: str = "AES_CM_128_HMAC_SHA1_80") -> tuple[SecuredMedia, SecuredMedia]:
    """Return two ends that know each other's keys."""
    us, them = SecuredMedia(), SecuredMedia()
    us.renew(keys(suite, 1), keys(suite, 2))
    them.renew(keys(suite, 2), keys(suite, 1))
    return us, them


class SecuredTests(SynchronousTestCase):
    def test_each_suite(self) -> None:
        """RFC 4568 6.2, RFC 7714: packets and reports both ways; the tag has its length, nothing is in the clear."""
        for suite, tag in (("AES_CM_128_HMAC_SHA1_80", 10), ("AES_CM_128_HMAC_SHA1_32", 4), ("AEAD_AES_128_GCM", 16)):
            us, them = pair(suite)
            secured = us.protect(PACKET)
            assert secured is not None
            self.assertEqual(len(secured), len(PACKET) + tag)
            self.assertNotIn(b"aaaa", secured)
            self.assertEqual(them.open(secured), PACKET)
            report = them.protect_report(REPORT)
            assert report is not None
            self.assertEqual(us.open_report(report), REPORT)
            self.assertEqual((us.counters, them.counters), ({}, {}))

    def test_vector(self) -> None:
        """RFC 3711 B.3, libsrtp's own vector: the bytes on the wire for a known key, packet and tag."""
        key = bytes.fromhex("e1f97a0d3e018be0d64fa32c06de41390ec675ad498afeebb6960b3aabe6")
        packet = bytes.fromhex("800f1234decafbadcafebabe") + bytes.fromhex("ab" * 16)
        secured = "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb"
        media = SecuredMedia()
        media.renew(Crypto(1, "AES_CM_128_HMAC_SHA1_80", key), keys())
        self.assertEqual((media.protect(packet) or b"").hex(), secured)

    def test_refused(self) -> None:
        """RFC 3711 3.3: another key, a changed bit, a repetition, noise: counted by kind, and nothing is raised."""
        us, them = pair()
        secured = us.protect(PACKET)
        assert secured is not None
        stranger = SecuredMedia()
        stranger.renew(keys(seed=1), keys(seed=9))
        self.assertIsNone(stranger.open(secured))
        self.assertIsNone(them.open(secured[:20] + bytes([secured[20] ^ 1]) + secured[21:]))
        self.assertEqual(them.open(secured), PACKET)
        self.assertIsNone(them.open(secured))
        self.assertIsNone(them.open(b"x" * 5000))
        self.assertEqual(stranger.counters, {"unauthentic": 1})
        self.assertEqual(them.counters, {"unauthentic": 1, "replayed": 1, "malformed": 1})

    def test_same_key(self) -> None:
        """RFC 3711 9.1: with the same key nothing begins again, whatever the line's tag: no key stream comes twice."""
        us, them = pair()
        first = us.protect(PACKET)
        us.renew(Crypto(5, "AES_CM_128_HMAC_SHA1_80", keys(seed=1).key), keys(seed=2))
        self.assertIsNone(us.protect(PACKET), "the same number again is refused, not sent with the same key stream")
        self.assertEqual(us.counters["unprotected"], 1)
        assert first is not None
        self.assertEqual(them.open(first), PACKET)

    def test_new_key(self) -> None:
        """RFC 4568 7.1.4: another key begins anew, each direction by itself."""
        us, them = pair()
        us.protect(PACKET)
        us.renew(keys(seed=3), keys(seed=2))
        them.renew(keys(seed=2), keys(seed=3))
        secured = us.protect(PACKET)
        assert secured is not None
        self.assertEqual(them.open(secured), PACKET)

    def test_beyond_65535(self) -> None:
        """RFC 3711 3.3.1: the count goes on where the sixteen bits begin again, with a packet lost over it."""
        us, them = pair()
        for number in (65533, 65534, 65535, 1, 2):
            packet = PACKET[:2] + number.to_bytes(2, "big") + PACKET[4:]
            secured = us.protect(packet)
            assert secured is not None
            self.assertEqual(them.open(secured), packet)

    def test_closed(self) -> None:
        """After the end nothing passes, and no key is kept."""
        us, _ = pair()
        us.close()
        self.assertEqual((us.protect(PACKET), us.open(PACKET), us.sending, us.receiving), (None, None, None, None))

    @given(st.binary(max_size=1600))
    def test_anything(self, data: bytes) -> None:
        """Architecture rule 3: whatever a peer sends, nothing is raised, and nothing passes."""
        _, them = pair()
        self.assertIsNone(them.open(data))
        self.assertIsNone(them.open_report(data))
        them.protect(data)
        them.protect_report(data)


class SessionTests(SynchronousTestCase):
    """SRTP in a session of RTP."""

    def test_first_number(self) -> None:
        """RFC 3711 3.3.1: a secured stream begins in the lower half of the sequence numbers, a plain one anywhere."""
        firsts: dict[bool, set[bool]] = {True: set(), False: set()}
        for seed in range(40):
            for secured in firsts:
                ports = FakePair()
                session = RtpSession(ports, Clock(), random.Random(seed), "x")
                crypto = (keys(seed=1), keys(seed=2)) if secured else (None, None)
                session.apply(Agreed("PCMA", 8, {8: "PCMA"}, None, 20, ("10.0.0.2", 4000), None, True, True, *crypto))
                session.send_audio(b"a" * 160, 160)
                [packet] = ports.sent
                firsts[secured].add(packet[2] >= 128)
        self.assertEqual(firsts, {True: {False}, False: {False, True}})


class FakePair:
    """Two ports that keep what is sent."""

    address = ("10.0.0.1", 4000)

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.rtp: Any = self
        self.rtcp: Any = self

    def send(self, data: bytes, destination: object) -> None:
        self.sent.append(bytes(data))

    def aim(self, target: object) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.sent.append(bytes(data))

    def receive(self, on_rtp: object, on_rtcp: object) -> None:
        pass

    def close(self) -> None:
        pass
