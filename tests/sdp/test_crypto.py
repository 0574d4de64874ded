"""Keys in descriptions: lines read and written, offered, answered and changed (RFC 4568, RFC 3264)."""

from __future__ import annotations

import random
from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sdp.crypto import SUITES, Crypto, parse_crypto, usable
from telephony.sdp.negotiation import Negotiation, Securing
from telephony.sdp.parser import parse_sdp

KEY = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz"
LINE = f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}"


class LineTests(SynchronousTestCase):
    def test_read(self) -> None:
        """RFC 4568 9.1: tag, suite, key; what follows the key where it changes nothing."""
        for text in (
            LINE,
            f"{LINE}|2^31",
            f"{LINE}|2^48 WSH=64",
            f"  1  aes_cm_128_hmac_sha1_80\tinline:{KEY}  -FEC ",
            f"{LINE}|2147483648",
        ):
            found = parse_crypto(text)
            assert found is not None, text
            self.assertEqual((found.tag, found.suite, b64encode(found.key).decode()), (1, LINE.split()[1], KEY))
        gcm = b64encode(bytes(28)).decode()
        for key in (gcm, gcm.rstrip("=")):
            self.assertEqual(parse_crypto(f"7 AEAD_AES_128_GCM inline:{key}"), Crypto(7, "AEAD_AES_128_GCM", bytes(28)))

    def test_passed_over(self) -> None:
        """RFC 4568 6.3, 7.1.2: what isn't done here is no line for us."""
        for text in (
            "",
            "x",
            LINE.replace("80", "64"),
            LINE[:-1],
            LINE.replace("inline:", "uri:"),
            LINE.replace("inline:", "inline"),
            f"{LINE};inline:{KEY}",
            f"{LINE}|2^20|1:4",
            f"{LINE}|1:4",
            f"{LINE}|2^10",
            f"{LINE}|1000",
            f"{LINE}|2^99",
            f"{LINE} UNENCRYPTED_SRTP",
            f"{LINE} KDR=1",
            f"1 AES_CM_128_HMAC_SHA1_80 inline:{KEY[:-4]}äöü=",
            f"٣ AES_CM_128_HMAC_SHA1_80 inline:{KEY}",
        ):
            self.assertIsNone(parse_crypto(text), text)

    def test_key_is_not_shown(self) -> None:
        """RFC 4568 9.1, issue 4: neither repr nor an error has the key."""
        found = parse_crypto(LINE)
        assert found is not None
        self.assertNotIn(repr(found.key)[2:20], repr(found))
        self.assertNotIn(KEY[:10], repr(found))

    def test_bounds(self) -> None:
        """Of hundreds of lines the first few are looked at; of one tag the first."""
        lines = [f"{tag} {LINE.partition(' ')[2]}" for tag in range(1, 100)]
        self.assertEqual(len(usable(lines)), 16)
        self.assertEqual(len(usable([LINE, LINE])), 1)

    @given(st.sampled_from(sorted(SUITES)), st.binary(min_size=30, max_size=30), st.integers(0, 999_999_999))
    def test_inverse(self, suite: str, key: bytes, tag: int) -> None:
        """What is written is read again."""
        one = Crypto(tag, suite, key[: SUITES[suite]])
        self.assertEqual(parse_crypto(str(one)), one)

    @given(st.text(max_size=120))
    def test_anything(self, text: str) -> None:
        """Architecture rule 3: nothing is raised."""
        parse_crypto(text)
        parse_crypto(f"1 AES_CM_128_HMAC_SHA1_80 inline:{text}")


class NegotiationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.random = random.Random(3)

    def side(self, securing: Securing, host: str = "10.0.0.1") -> Negotiation:
        return Negotiation(host, 20000, 1, securing=securing, new_key=self.random.randbytes)

    def test_both_ways(self) -> None:
        """RFC 4568 5.1: each secures what it sends with its own key, by the suite that the answer chose."""
        us, them = self.side(Securing.OFFERED), self.side(Securing.TAKEN, "10.0.0.2")
        offer = us.offer()
        answer, theirs = them.offered(offer)
        ours = us.answered(answer)
        self.assertIn(b"RTP/SAVP 8 0 101\r\n", answer)
        self.assertEqual(answer.count(b"a=crypto"), 1)
        self.assertEqual((ours.own_crypto, ours.remote_crypto), (theirs.remote_crypto, theirs.own_crypto))
        assert ours.own_crypto is not None
        self.assertFalse(ours.own_crypto.same_key(ours.remote_crypto))
        self.assertEqual([one.attribute_values("crypto")[0][:2] for one in parse_sdp(offer).media], ["1 "])

    def test_keys_are_kept(self) -> None:
        """RFC 3264 8, 4568 7.1.4: the same offer gives the same answer; offers of ours keep what works."""
        us, them = self.side(Securing.OFFERED), self.side(Securing.TAKEN, "10.0.0.2")
        offer = us.offer()
        answer, _ = them.offered(offer)
        self.assertEqual(them.offered(offer)[0], answer)
        first = us.answered(answer)
        hold = us.offer("sendonly")
        self.assertEqual(hold.count(b"a=crypto"), 1)
        second, theirs = them.offered(hold)
        again = us.answered(second)
        self.assertEqual((again.own_crypto, again.remote_crypto), (first.own_crypto, first.remote_crypto))
        self.assertEqual(theirs.direction, "recvonly")
        self.assertIn(b"crypto", us.repeat())

    def test_rekeyed(self) -> None:
        """RFC 4568 7.1.4: another key of the peer's is answered with another of ours."""
        us = self.side(Securing.TAKEN)
        offer = self.side(Securing.OFFERED, "10.0.0.2").offer()
        _, first = us.offered(offer)
        _, second = us.offered(self.side(Securing.OFFERED, "10.0.0.2").offer())
        assert first.own_crypto is not None and second.own_crypto is not None
        self.assertFalse(first.own_crypto.same_key(second.own_crypto))
        self.assertNotEqual(first.remote_crypto, second.remote_crypto)

    def test_policies(self) -> None:
        """What each policy offers and takes; a plain answer to a secured offer is 488."""
        plain = Negotiation("10.0.0.2", 4000, 1).offer()
        secured = self.side(Securing.OFFERED, "10.0.0.2").offer()
        rows = {
            Securing.REFUSED: (b"RTP/AVP", True, False),
            Securing.TAKEN: (b"RTP/AVP", True, True),
            Securing.OFFERED: (b"RTP/SAVP", True, True),
            Securing.DEMANDED: (b"RTP/SAVP", False, True),
        }
        for policy, (offered, takes_plain, takes_secured) in rows.items():
            self.assertIn(offered, self.side(policy).offer())
            for offer, takes in ((plain, takes_plain), (secured, takes_secured)):
                if takes:
                    self.side(policy).offered(offer)
                else:
                    error = self.assertRaises(RemoteProtocolError, self.side(policy).offered, offer)
                    self.assertEqual(error.status, 488)

    def test_answers_that_do_not_fit(self) -> None:
        """RFC 4568 7.1.3: plain RTP, no line, another tag or suite: 488, and no key in the text."""
        them = self.side(Securing.TAKEN, "10.0.0.2")
        us = self.side(Securing.OFFERED)
        answer, _ = them.offered(us.offer())
        line = next(one for one in answer.split(b"\r\n") if b"crypto" in one)
        for wrong in (
            answer.replace(b"RTP/SAVP", b"RTP/AVP"),
            answer.replace(line + b"\r\n", b""),
            answer.replace(b"crypto:1", b"crypto:9"),
            answer.replace(b"_80", b"_32"),
            answer.replace(line[-6:], b""),
        ):
            error = self.assertRaises(RemoteProtocolError, us.answered, wrong)
            self.assertEqual(error.status, 488)
            self.assertNotIn("inline", str(error))
        us.answered(answer)

    def test_without_keys(self) -> None:
        """RFC 4568 7.1.2: SRTP without a line that can be used is 488, offered and answered."""
        offer = self.side(Securing.OFFERED, "10.0.0.2").offer()
        without = b"".join(line for line in offer.splitlines(True) if b"crypto" not in line)
        for wrong in (without, offer.replace(b"inline", b"online")):
            error = self.assertRaises(RemoteProtocolError, self.side(Securing.TAKEN).offered, wrong)
            self.assertEqual(error.status, 488)

    def test_either_of_two(self) -> None:
        """RFC 3264 6: of two audio lines, secured and plain, the first that we may take is taken, the other refused."""
        secured = self.side(Securing.OFFERED, "10.0.0.2").offer()
        both = secured + b"m=audio 4002 RTP/AVP 8\r\n"
        answer, agreed = self.side(Securing.TAKEN).offered(both)
        self.assertIsNotNone(agreed.own_crypto)
        self.assertEqual([one.port for one in parse_sdp(answer).media], [20000, 0])
        answer, agreed = self.side(Securing.REFUSED).offered(both)
        self.assertIsNone(agreed.own_crypto)
        self.assertEqual([one.port for one in parse_sdp(answer).media], [0, 20000])
