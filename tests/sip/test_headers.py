"""Header values that a call reads, and the names of header fields."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.headers import (
    CSeq,
    NameAddr,
    Via,
    canonical_name,
    field_key,
    format_reason,
    parse_cseq,
    parse_name_addr,
    parse_name_addrs,
    parse_number,
    parse_via,
    parse_vias,
)
from telephony.sip.uri import SipUri


class NameTests(SynchronousTestCase):
    def test_spelling(self) -> None:
        """RFC 3261 7.3.1, 7.3.3: names in any case, compact ones too, are written in the usual spelling."""
        for spelled, name in (
            ("call-id", "Call-ID"),
            ("I", "Call-ID"),
            ("CSEQ", "CSeq"),
            ("www-AUTHENTICATE", "WWW-Authenticate"),
            ("rseq", "RSeq"),
            ("x", "Session-Expires"),
            ("k", "Supported"),
            ("X-Mine", "X-Mine"),
        ):
            self.assertEqual(canonical_name(spelled), name)
        self.assertEqual(field_key("V"), "via")
        self.assertEqual(field_key("vIa"), "via")
        self.assertEqual(field_key("X-Mine"), "x-mine")


class NameAddrTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """RFC 3261 20.10: with and without a name, quotes, brackets."""
        for text, expected in (
            (
                '"A. G. Bell" <sip:agb@bell.example>;tag=a48s',
                NameAddr("A. G. Bell", "sip:agb@bell.example", {"tag": "a48s"}),
            ),
            (
                "sip:+12125551212@server.example;tag=887s",
                NameAddr(None, "sip:+12125551212@server.example", {"tag": "887s"}),
            ),
            ("Anonymous <sip:c8oqz84zk7z@privacy.example>", NameAddr("Anonymous", "sip:c8oqz84zk7z@privacy.example")),
            ("<sip:a@b;lr>;x=1", NameAddr(None, "sip:a@b;lr", {"x": "1"})),
            ("caller<sip:caller@example.com>;tag=323", NameAddr("caller", "sip:caller@example.com", {"tag": "323"})),
            ('""<sip:a@b>', NameAddr("", "sip:a@b")),
            ('  "a"\t< sip:a@b > ; tag = 1 ', NameAddr("a", "sip:a@b", {"tag": "1"})),
            (
                "sip:vivekg@chair-dnrc.example.com ;   tag    = 1918",
                NameAddr(None, "sip:vivekg@chair-dnrc.example.com", {"tag": "1918"}),
            ),
            ('"a \\"b\\" \\\\ <sip:x>" <sip:a@b>', NameAddr('a "b" \\ <sip:x>', "sip:a@b")),
            ("Jürgen Müller (Büro) <sip:a@b>", NameAddr("Jürgen Müller (Büro)", "sip:a@b")),
            ("<http://www.example.com>;tag=3", NameAddr(None, "http://www.example.com", {"tag": "3"})),
            ("isbn:2983792873", NameAddr(None, "isbn:2983792873")),
        ):
            parsed = parse_name_addr(text)
            self.assertEqual(parsed, expected)
            self.assertEqual(parse_name_addr(str(parsed)), expected)

    def test_garbage(self) -> None:
        """RFC 4475 3.1.2.6, 3.1.2.13, 3.1.2.15: what is no address is refused with 400."""
        for text in (
            "",
            " ",
            '"Mr. J. User <sip:j.user@example.com>',
            "sip:user@example.com?Route=%3Csip:sip.example.com%3E",
            "Bell, Alexander <sip:a.g.bell@example.com>;tag=43",
            "<sip:a@b",
            "sip:a@b>",
            "<>",
            "<a b>",
            "<sip:a>, <sip:b>",
            "<sip:a>x",
            "<sip:a><sip:b>",
            '"a" "b" <sip:a>',
            ";tag=1",
        ):
            error = self.assertRaises(RemoteProtocolError, parse_name_addr, text)
            self.assertEqual(error.status, 400)

    def test_tag(self) -> None:
        """RFC 3261 19.3: the tag, and the same address with one."""
        address = parse_name_addr('"A" <sip:a@b>;x')
        self.assertIsNone(address.tag)
        tagged = address.with_tag("77")
        self.assertEqual(str(tagged), '"A" <sip:a@b>;x;tag=77')
        self.assertEqual(tagged.tag, "77")
        self.assertIsNone(address.tag)
        self.assertIsNone(parse_name_addr("<sip:a@b>;tag=").tag)

    def test_uri(self) -> None:
        """The URI is taken apart when it is read, once; what is none is refused then."""
        address = parse_name_addr("<sip:a@b:5070;lr>")
        self.assertEqual(address.parsed_uri, SipUri("sip", "a", None, "b", 5070, {"lr": None}))
        self.assertIs(address.parsed_uri, address.parsed_uri)
        self.assertRaises(RemoteProtocolError, lambda: parse_name_addr("<1001>").parsed_uri)

    def test_display_can_be_shown(self) -> None:
        """A display name of control characters or undecodable bytes comes out readable, and can be written again."""
        self.assertEqual(parse_name_addr('"BEL:\\\x07 NUL:\\\0" <sip:a@b>').display, "BEL:\ufffd NUL:\ufffd")
        self.assertEqual(parse_name_addr("M\udcfcller <sip:a@b>").display, "M\ufffdller")

    def test_written(self) -> None:
        """architecture.md rule 13: a display name is always quoted, the address always in brackets."""
        self.assertEqual(str(NameAddr('a"b', "sip:a@b", {"tag": "1"})), '"a\\"b" <sip:a@b>;tag=1')
        self.assertEqual(str(NameAddr(None, "sip:a@b")), "<sip:a@b>")
        self.assertRaises(ValueError, str, NameAddr("a\r\nVia: x", "sip:a@b"))

    def test_list(self) -> None:
        """RFC 3261 20.10: several addresses in one field."""
        contacts = parse_name_addrs('"a, b" <sip:a,b@c>;q=0.7, sip:d@e;expires=60')
        self.assertEqual([contact.uri for contact in contacts], ["sip:a,b@c", "sip:d@e"])
        self.assertEqual(contacts[1].params, {"expires": "60"})


class ViaTests(SynchronousTestCase):
    def test_via(self) -> None:
        """RFC 3261 20.42, RFC 3581: the parts of a Via."""
        via = parse_via("SIP/2.0/udp first.example.com:4000;ttl=16;maddr=224.2.0.1;Branch=z9hG4bKa7;rport")
        self.assertEqual((via.transport, via.host, via.port), ("UDP", "first.example.com", 4000))
        self.assertEqual((via.branch, via.received, via.rport), ("z9hG4bKa7", None, None))
        self.assertIn("rport", via.params)
        self.assertEqual(str(via), "SIP/2.0/UDP first.example.com:4000;ttl=16;maddr=224.2.0.1;branch=z9hG4bKa7;rport")

    def test_filled_in(self) -> None:
        """RFC 3581 4: where the request came from."""
        via = parse_via("SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1;rport=9988;received=192.0.2.1")
        self.assertEqual((via.received, via.rport), ("192.0.2.1", 9988))
        for text in ("x", "0", "65536", "123456", "²"):
            self.assertIsNone(Via("UDP", "a", None, {"rport": text}).rport)

    def test_ipv6(self) -> None:
        """RFC 5118 4.5: ``received`` with and without brackets."""
        for text in ("2001:db8::9:255", "[2001:db8::9:255]"):
            via = parse_via(f"SIP/2.0/UDP [2001:db8::9:1]:6050;received={text};branch=z9hG4bKas3-111")
            self.assertEqual((via.host, via.port, via.received), ("2001:db8::9:1", 6050, "2001:db8::9:255"))
            self.assertIn(f"[2001:db8::9:1]:6050;received={text};", str(via))

    def test_spaces(self) -> None:
        """RFC 4475 3.1.1.1: spaces around every separator."""
        vias = parse_vias(
            "SIP  / 2.0  / TCP     spindle.example.com   ; branch  =   z9hG4bK9ikj8  , SIP  /    2.0   / UDP  "
            "192.168.255.111   ; branch= z9hG4bK30239"
        )
        self.assertEqual(
            vias,
            [
                Via("TCP", "spindle.example.com", None, {"branch": "z9hG4bK9ikj8"}),
                Via("UDP", "192.168.255.111", None, {"branch": "z9hG4bK30239"}),
            ],
        )
        self.assertEqual(parse_via("SIP/2.0/UDP h : 5061 ;branch=1").port, 5061)

    def test_odd_but_right(self) -> None:
        """RFC 4475 3.1.1.10, 3.2.1, 3.1.2.16: unknown transports, a branch that is only the cookie, another version."""
        self.assertEqual(parse_via("SIP/2.0/UNKNOWN t4.example.com;branch=z9hG4bKasd0f3en").transport, "UNKNOWN")
        self.assertEqual(parse_via("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK").branch, "z9hG4bK")
        self.assertEqual(parse_via("SIP/7.0/UDP c.example.com;branch=z9hG4bKkdjuw").host, "c.example.com")
        self.assertIsNone(parse_via("SIP/2.0/UDP iftgw.example.com").branch)

    def test_garbage(self) -> None:
        """RFC 4475 3.1.2.1: what is no Via is refused with 400."""
        for text in (
            "",
            ";",
            "SIP/2.0/UDP",
            "SIP/2.0 host",
            "HTTP/1.1/TCP host",
            "SIP/2.0/UDP host:0",
            "SIP/2.0/UDP host:99999",
            "SIP/2.0/UDP host:x",
            "SIP/2.0/UDP [::g]",
            "SIP/2.0/UDP ho\x01st",
            "SIP/2.0/UDP host branch=1",
            "SIP/2.0/UDP host;branch=1;branch=2",
            "SIP/2.0/UDPhost",
        ):
            error = self.assertRaises(RemoteProtocolError, parse_via, text)
            self.assertEqual(error.status, 400)


class NumberTests(SynchronousTestCase):
    def test_cseq(self) -> None:
        """RFC 3261 20.16: number and method; leading zeros and spaces pass (RFC 4475 3.1.1.1)."""
        self.assertEqual(parse_cseq("4711 INVITE"), CSeq(4711, "INVITE"))
        self.assertEqual(parse_cseq("0009   INVITE "), CSeq(9, "INVITE"))
        self.assertEqual(parse_cseq("2147483647 BYE").number, 2147483647)
        self.assertEqual(str(CSeq(1, "ACK")), "1 ACK")

    def test_bad_cseq(self) -> None:
        """RFC 3261 8.1.1.5, RFC 4475 3.1.2.4: 2**31 and more is refused, and whatever isn't number and method."""
        for text in (
            "2147483648 INVITE",
            "36893488147419103232 REGISTER",
            "INVITE",
            "1",
            "-1 A",
            "1 a b",
            "\uff11 A",
            "1 A/B",
            "",
        ):
            self.assertRaises(RemoteProtocolError, parse_cseq, text)
        self.assertRaises(RemoteProtocolError, parse_cseq, "9" * 5000 + " A")

    def test_numbers(self) -> None:
        """Decimal digits up to a limit, and nothing else."""
        self.assertEqual(parse_number("0068", 255), 68)
        for text in ("256", "-1", "+1", "", "1.0", "\u0661", "1 ", "9" * 5000):
            self.assertRaises(RemoteProtocolError, parse_number, text, 255)


class ReasonTests(SynchronousTestCase):
    def test_reason(self) -> None:
        """RFC 3326 2: protocol, cause and text."""
        self.assertEqual(format_reason("SIP", 486, "Busy Here"), 'SIP;cause=486;text="Busy Here"')
        self.assertEqual(format_reason("Q.850", 16), "Q.850;cause=16")
        self.assertRaises(ValueError, format_reason, "a b", 1)
        self.assertRaises(ValueError, format_reason, "SIP", 1, "x\r\ny")
