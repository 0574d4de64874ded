"""What kind of IP address a text is (`telephony.addresses`)."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony import addresses
from telephony.addresses import LONGEST, REMEMBERED, known_address


class KnownAddressTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """RFC 6890, RFC 5771: loopback, unspecified, multicast and broadcast; RFC 5118 4.9: IPv4 within IPv6."""
        for text, written, kinds in (
            ("192.0.2.1", "192.0.2.1", ""),
            ("127.9.9.9", "127.9.9.9", "loopback"),
            ("0.0.0.0", "0.0.0.0", "unspecified"),
            ("224.0.0.1", "224.0.0.1", "group"),
            ("255.255.255.255", "255.255.255.255", "group"),
            ("2001:DB8:0::1", "2001:db8::1", ""),
            ("::1", "::1", "loopback"),
            ("::", "::", "unspecified"),
            ("ff02::1", "ff02::1", "group"),
            ("::ffff:192.0.2.1", "192.0.2.1", ""),
            ("::ffff:127.0.0.1", "127.0.0.1", "loopback"),
            ("fe80::1%eth0", "fe80::1", ""),
        ):
            known = known_address(text)
            assert known is not None, text
            found = [kind for kind in ("loopback", "unspecified", "group") if getattr(known, kind)]
            self.assertEqual((known.text, " ".join(found)), (written, kinds), text)
            self.assertEqual(known.version, 6 if ":" in written else 4)

    def test_what_is_none(self) -> None:
        """RFC 8866 5.7 has host names as well; brackets, blanks and line ends belong to nothing here."""
        for text in ("", "example.com", "192.0.2", "192.0.2.1 ", "[::1]", "1.2.3.4/24", "::1%\r\nx", "1" * 9999):
            self.assertIsNone(known_address(text), text)

    @given(st.ip_addresses())
    def test_any_address(self, ip: object) -> None:
        """Every address says what the library says of it, the first time and again."""
        text = str(ip)
        expected = ip_address(text)
        mapped = getattr(expected, "ipv4_mapped", None)
        expected = mapped or expected
        for _ in range(2):
            known = known_address(text)
            assert known is not None
            self.assertEqual((known.ip, known.loopback), (expected, expected.is_loopback))

    def test_bounded(self) -> None:
        """architecture.md rule 10: however many texts come, so many are remembered, and none that is long."""
        before = addresses._read.cache_info().misses
        known_address("x" * (LONGEST + 1))
        self.assertEqual(addresses._read.cache_info().misses, before)
        for number in range(REMEMBERED + 100):
            known_address(f"10.1.{number >> 8}.{number & 255}")
        self.assertEqual(addresses._read.cache_info().currsize, REMEMBERED)
