"""STUN on a SIP port (RFC 5389, RFC 5769 for vectors, RFC 5626 4.4.2 and 8)."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.stun import (
    FAILURE,
    REQUEST,
    SUCCESS,
    StunMessage,
    binding_answer,
    binding_request,
    is_stun,
    parse_stun,
)

ID = bytes(range(12))
#: What RFC 5769 2.2 and 2.3 have as XOR-MAPPED-ADDRESS, with their transaction id.
RFC_ID = bytes.fromhex("b7e7a701bc34d686fa87dfae")
IPV4 = bytes.fromhex("002000080001a147e112a643")
IPV6 = bytes.fromhex("002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9")


def message(kind: int, body: bytes, transaction: bytes = RFC_ID) -> bytes:
    """Return a message with a header that fits."""
    return kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + bytes.fromhex("2112a442") + transaction + body


class StunTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """RFC 5769 2.2, 2.3: the addresses of its answers; unknown attributes that need not be understood pass."""
        software = bytes.fromhex("8022000b") + b"test vector" + b" "
        for body, address in ((IPV4, "192.0.2.1"), (IPV6, "2001:db8:1234:5678:11:2233:4455:6677")):
            read = parse_stun(message(SUCCESS, software + body))
            self.assertEqual(read, StunMessage(SUCCESS, RFC_ID, (address, 32853)))
            self.assertEqual(parse_stun(binding_answer(StunMessage(REQUEST, RFC_ID), (address, 32853))), read)

    def test_request(self) -> None:
        """RFC 5389 6: 20 bytes, type 1, the cookie."""
        data = binding_request(ID)
        self.assertEqual((len(data), data[:8].hex()), (20, "000100002112a442"))
        self.assertEqual(parse_stun(data), StunMessage(REQUEST, ID))

    def test_unknown_attribute(self) -> None:
        """RFC 5389 7.3.1: what must be understood and isn't is 420, with its number."""
        request = parse_stun(message(REQUEST, bytes.fromhex("7abc000401020304")))
        self.assertEqual(request.unknown, (0x7ABC,))
        answer = binding_answer(request, ("192.0.2.1", 1))
        self.assertEqual(parse_stun(answer).kind, FAILURE)
        self.assertIn(b"\x7a\xbc", answer)
        self.assertIn(b"\x04\x14Unknown Attribute", answer)
        self.assertEqual(len(answer) % 4, 0)

    def test_plain_mapped_address(self) -> None:
        """RFC 5389 15.1: servers of RFC 3489's time send it in the clear."""
        body = bytes.fromhex("00010008000113c4c0000201")
        self.assertEqual(parse_stun(message(SUCCESS, body)).mapped, ("192.0.2.1", 5060))

    def test_not_stun(self) -> None:
        """RFC 5626 8: the first byte tells; SIP, CRLFs and RTP are none."""
        self.assertTrue(is_stun(binding_request(ID)))
        for data in (b"INVITE sip:a SIP/2.0\r\n", b"\r\n\r\n", b"", b"\x80\x08"):
            self.assertFalse(is_stun(data))

    def test_garbage(self) -> None:
        """RFC 5389 6, 15: wrong length, cookie, method, cut attributes and addresses."""
        good = message(SUCCESS, IPV4)
        rows = (
            b"",
            good[:19],
            good[:-1],
            good + b"\0",
            good.replace(b"\x21\x12", b"\x21\x13", 1),
            message(0x0003, b""),
            message(SUCCESS, bytes.fromhex("002000ff") + bytes(4)),
            message(SUCCESS, bytes.fromhex("00200004") + bytes(4)),
            message(SUCCESS, bytes.fromhex("002000080003a147e112a643")),
            message(REQUEST, bytes(1000)),
        )
        for data in rows:
            self.assertRaises(RemoteProtocolError, parse_stun, data)

    @given(st.binary(max_size=80), st.integers(0, 80))
    def test_anything(self, data: bytes, cut: int) -> None:
        """Architecture rule 3: nothing but RemoteProtocolError."""
        for one in (data, message(SUCCESS, data[: cut // 4 * 4]), message(REQUEST, data[: len(data) // 4 * 4])):
            with contextlib.suppress(RemoteProtocolError):
                binding_answer(parse_stun(one), ("::1", 1))
