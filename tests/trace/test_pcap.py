"""The capture is pcapng that anybody can read: blocks, addresses, checksums, TCP's numbers, times, comments."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.interfaces import Address
from telephony.trace.events import TraceEvent
from telephony.trace.pcap import capture, checksum

A, S = ("10.0.0.2", 5060), ("10.0.0.1", 5060)
A6, S6 = ("2001:db8::2", 5060), ("2001:db8::1", 5061)


@attrs.frozen
class Packet:
    """A packet as this test reads it, by its own means."""

    time: float
    protocol: int
    source: Address
    destination: Address
    payload: bytes
    number: int = 0
    heard: int = 0
    flags: int = 0
    comment: str = ""


def words_sum(data: bytes) -> int:
    """Add 16-bit words as RFC 1071 has it, slowly."""
    total = 0
    for index in range(0, len(data), 2):
        total += int.from_bytes(data[index : index + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


def options(data: bytes) -> dict[int, bytes]:
    """Read a block's options."""
    found = {}
    while data:
        code, length = struct.unpack_from("<HH", data)
        if code == 0:
            break
        found[code] = data[4 : 4 + length]
        data = data[4 + length + (-length % 4) :]
    return found


def read(data: bytes) -> tuple[dict[int, list[bytes]], list[Packet]]:
    """Read a capture: blocks by their type, and packets; every length and checksum is looked at."""
    blocks: dict[int, list[bytes]] = {}
    packets = []
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0 and struct.unpack_from("<I", data, length - 4)[0] == length
        body = data[8 : length - 4]
        blocks.setdefault(kind, []).append(body)
        if kind == 6:
            interface, high, low, kept, size = struct.unpack_from("<IIIII", body)
            assert interface == 0 and kept == size
            comment = options(body[20 + kept + (-kept % 4) :]).get(1, b"").decode()
            packets.append(packet(((high << 32) + low) / 1e6, body[20 : 20 + kept], comment))
        data = data[length:]
    return blocks, packets


def packet(time: float, data: bytes, comment: str) -> Packet:
    """Read one packet."""
    if data[0] >> 4 == 4:
        length, protocol, size = int.from_bytes(data[2:4], "big"), data[9], 20
        assert length == len(data) and words_sum(data[:20]) == 0xFFFF
        addresses = data[12:16], data[16:20]
        pseudo = data[12:20] + struct.pack("!HH", protocol, length - 20)
    else:
        length, protocol, size = int.from_bytes(data[4:6], "big"), data[6], 40
        assert length + 40 == len(data)
        addresses = data[8:24], data[24:40]
        pseudo = data[8:40] + struct.pack("!II", length, protocol)
    segment = data[size:]
    assert words_sum(pseudo + segment) == 0xFFFF
    ports = struct.unpack_from("!HH", segment)
    ends = [(str(ip_address(ip)), port) for ip, port in zip(addresses, ports, strict=True)]
    if protocol == 17:
        length, found = struct.unpack_from("!HH", segment, 4)
        assert length == len(segment) and found
        return Packet(time, protocol, *ends, segment[8:], comment=comment)
    number, heard, offset, flags = struct.unpack_from("!IIBB", segment, 4)
    return Packet(time, protocol, *ends, segment[(offset >> 4) * 4 :], number, heard, flags, comment)


class CaptureTests(SynchronousTestCase):
    def test_udp(self) -> None:
        """Signalling and media by their time, with the trace's times; what the tracer noted is a comment."""
        events = [
            TraceEvent(1.25, A, S, "UDP", b"one", True),
            TraceEvent(3.0, S, A, "UDP", b"three", True, "lost"),
        ]
        blocks, packets = read(capture(events, [(2.5, A6, S6, b"two")]))
        self.assertEqual(struct.unpack_from("<HHI", blocks[1][0]), (101, 0, 0))
        self.assertEqual(
            packets,
            [
                Packet(1.25, 17, A, S, b"one"),
                Packet(2.5, 17, A6, S6, b"two"),
                Packet(3.0, 17, S, A, b"three", comment="lost"),
            ],
        )

    def test_tcp(self) -> None:
        """RFC 9293 3.4, 3.5: a handshake, then numbers that go on with the bytes; segments no longer than 1440."""
        long = bytes(range(256)) * 12
        events = [
            TraceEvent(1.0, A, S, "TCP", b"hello", True),
            TraceEvent(2.0, S, A, "TCP", long, True),
            TraceEvent(3.0, A, S, "TCP", b"bye", True),
        ]
        _, packets = read(capture(events))
        self.assertTrue(all(one.protocol == 6 for one in packets))
        self.assertEqual([one.flags for one in packets[:3]], [0x02, 0x12, 0x10])
        self.assertTrue(all(one.comment.startswith("made up") for one in packets[:3]))
        for source, said in ((A, b"hellobye"), (S, long)):
            expected = packets[0 if source == A else 1].number + 1
            carried = b""
            for one in packets:
                if one.source == source and not one.flags & 0x02:
                    self.assertEqual(one.number, expected)
                    expected += len(one.payload)
                    carried += one.payload
                    self.assertLessEqual(len(one.payload), 1440)
                elif one.destination == source and one.flags & 0x10 and one.flags != 0x12:
                    self.assertEqual(one.heard, expected)
            self.assertEqual(carried, said)

    def test_names_and_notes(self) -> None:
        """Who is who, unless two are at one address; notes are comments of the next packet, or of the last."""
        names = {A: "alice", S: "server", ("10.0.0.3", 1): "x", ("10.0.0.3", 2): "y", A6: "al\0ice"}
        notes = [(0.5, "server", "IDLE"), (1.5, "", "late")]
        blocks, packets = read(capture([TraceEvent(1.0, A, S, "UDP", b"", True)], names=names, notes=notes))
        self.assertEqual([one.comment for one in packets], ["server: IDLE\nlate"])
        [records] = blocks[4]
        self.assertIn(b"\x0a\0\0\x02alice\0", records)
        self.assertIn(b"al ice\0", records)
        self.assertNotIn(b"\x0a\0\0\x03", records)

    def test_odd(self) -> None:
        """Nothing at all, a time before the epoch, a datagram that is none, an IPv4 address seen from IPv6."""
        self.assertEqual(read(capture([]))[1], [])
        events = [
            TraceEvent(-1.0, A, S, "UDP", bytes(70_000), True),
            TraceEvent(0.0, A, S6, "UDP", b"mapped", True),
            TraceEvent(0.0, A, S, "TCP", b"", True),
        ]
        _, packets = read(capture(events))
        self.assertEqual((packets[0].time, len(packets[0].payload)), (0.0, 65507))
        self.assertIn("70000", packets[0].comment)
        self.assertEqual(packets[1].source, (str(ip_address("::ffff:10.0.0.2")), 5060))

    @given(st.binary(max_size=64))
    def test_checksum(self, data: bytes) -> None:
        """RFC 1071: the one number agrees with adding word by word."""
        self.assertEqual(checksum(data), words_sum(data) ^ 0xFFFF)

    @given(
        st.lists(
            st.tuples(
                st.floats(0, 4e9),
                st.sampled_from([A, A6]),
                st.sampled_from([S, S6]),
                st.sampled_from(["UDP", "TCP", "TLS"]),
                st.binary(max_size=3000),
                st.text(max_size=5),
            ),
            max_size=6,
        )
    )
    def test_anything(self, pieces: list[tuple[float, Address, Address, str, bytes, str]]) -> None:
        """Whatever passed, every byte of it is there, and every checksum is right."""
        events = [TraceEvent(*piece[:5], True, piece[5]) for piece in pieces]
        _, packets = read(capture(events))
        total = sum(len(one.payload) for one in packets)
        self.assertEqual(total, sum(len(event.data) for event in events))
