"""RTCP (RFC 3550 section 6)."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.rtp.rtcp import Description, Goodbye, Report, ReportBlock, parse_compound

words = st.integers(0, 0xFFFFFFFF)
blocks = st.builds(
    ReportBlock, words, st.integers(0, 255), st.integers(-0x800000, 0x7FFFFF), words, words, words, words
)
some_blocks = st.lists(blocks, max_size=31).map(tuple)
receiver_reports = st.builds(Report, words, some_blocks)
sender_reports = st.builds(Report, words, some_blocks, st.integers(0, (1 << 64) - 1), words, words, words)
descriptions = st.builds(Description, words, st.text(max_size=60))
goodbyes = st.builds(Goodbye, st.lists(words, max_size=31).map(tuple), st.text(max_size=60))
parts = st.one_of(receiver_reports, sender_reports, descriptions, goodbyes)


class RtcpTests(SynchronousTestCase):
    def test_a_sender_report_with_its_name(self) -> None:
        """SR and SDES byte by byte (RFC 3550 6.4.1, 6.5.1)."""
        report = Report(1, (ReportBlock(2, 64, -1, 0x10005, 7, 8, 9),), 0x0102030405060708, 10, 11, 12)
        self.assertEqual(
            report.to_bytes().hex(),
            "81c8000c00000001"
            "0102030405060708" + "0000000a0000000b0000000c"
            "00000002" + "40ffffff" + "00010005" + "00000007" + "00000008" + "00000009",
        )
        self.assertEqual(Description(1, "us").to_bytes().hex(), "81ca0003" + "00000001" + "01027573" + "00000000")

    @settings(deadline=None)
    @given(st.lists(parts, min_size=1, max_size=5))
    def test_inverse(self, compound: list[Report | Description | Goodbye]) -> None:
        """A compound packet is read as it was written (6.1)."""
        self.assertEqual(parse_compound(b"".join(one.to_bytes() for one in compound)), compound)

    @settings(deadline=None)
    @given(st.binary(max_size=120), st.integers(200, 204))
    def test_garbage(self, data: bytes, kind: int) -> None:
        """Whatever comes, nothing but RemoteProtocolError is raised (A.2)."""
        size = (len(data) // 4).to_bytes(2, "big")
        for whole in (data, b"\x81" + bytes((kind,)) + size + data, b"\xbf" + bytes((kind,)) + size + data):
            with contextlib.suppress(RemoteProtocolError):
                parse_compound(whole)

    def test_what_nobody_reads_is_passed_over(self) -> None:
        """APP, XR and feedback between two reports (6.1, 6.7; RFC 3611, 4585)."""
        report = Report(1)
        other = b"\x80\xcc\x00\x02" + bytes(8)
        self.assertEqual(parse_compound(report.to_bytes() + other + report.to_bytes()), [report, report])
