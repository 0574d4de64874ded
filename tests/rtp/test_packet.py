"""RTP packets as bytes (RFC 3550 section 5.1)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.rtp.packet import Packet, parse_packet, payload_bounds

packets = st.builds(
    Packet,
    payload_type=st.integers(0, 127),
    sequence=st.integers(0, 0xFFFF),
    timestamp=st.integers(0, 0xFFFFFFFF),
    ssrc=st.integers(0, 0xFFFFFFFF),
    payload=st.binary(max_size=300),
    marker=st.booleans(),
)


class PacketTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """The header of RFC 3550 5.1, field by field."""
        packet = Packet(101, 0x0102, 0x03040506, 0x0708090A, b"\x05\x8a\x03\x20", marker=True)
        self.assertEqual(bytes(packet.to_bytes()), b"\x80\xe5\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x05\x8a\x03\x20")

    @settings(deadline=None)
    @given(packets)
    def test_inverse(self, packet: Packet) -> None:
        """Writing and reading are inverse (RFC 3550 5.1)."""
        self.assertEqual(parse_packet(bytes(packet.to_bytes())), packet)

    @settings(deadline=None)
    @given(packets, st.lists(st.integers(0, 0xFFFFFFFF), max_size=15), st.integers(0, 5), st.integers(0, 9))
    def test_contents_around_the_payload(self, packet: Packet, sources: list[int], words: int, padding: int) -> None:
        """CSRCs, a header extension and padding are passed over (RFC 3550 5.1, 5.3.1)."""
        plain = bytes(packet.to_bytes())
        data = bytearray(plain[:12])
        data[0] |= len(sources)
        for source in sources:
            data += source.to_bytes(4, "big")
        if words:
            data[0] |= 0x10
            data += b"\xbe\xde" + words.to_bytes(2, "big") + bytes(4 * words)
        data += packet.payload
        if padding:
            data[0] |= 0x20
            data += bytes(padding - 1) + bytes((padding,))
        self.assertEqual(parse_packet(bytes(data)), packet)

    @settings(deadline=None)
    @given(st.binary(max_size=64))
    def test_garbage(self, data: bytes) -> None:
        """Whatever comes, it is a packet or a RemoteProtocolError, and the payload lies inside."""
        try:
            start, end = payload_bounds(data)
        except RemoteProtocolError:
            return
        self.assertTrue(12 <= start <= end <= len(data))

    def test_what_is_refused(self) -> None:
        """RFC 3550 A.1: another version, less than a header, an extension or padding beyond the end."""
        for data in (
            b"",
            b"\x80" * 11,
            b"\x40" + bytes(11),
            b"\x81" + bytes(11),
            b"\x90" + bytes(11),
            b"\x90" + bytes(11) + b"\0\0\0\x01",
            b"\xa0" + bytes(11) + b"\0",
            b"\xa0" + bytes(11) + b"\x02",
        ):
            self.assertRaises(RemoteProtocolError, payload_bounds, data)
