"""URIs: taken apart, written, compared."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.uri import OtherUri, SipUri, TelUri, format_host, parse_uri


def sip(text: str) -> SipUri:
    """Parse what must be a SIP URI."""
    uri = parse_uri(text)
    assert isinstance(uri, SipUri)
    return uri


class SipUriTests(SynchronousTestCase):
    def test_all_parts(self) -> None:
        """RFC 3261 19.1.1: every part of a URI."""
        uri = sip("SIPS:alice:secret@Atlanta.example.com:5071;Transport=TCP;lr?Subject=x&To=y")
        self.assertEqual(
            uri,
            SipUri(
                "sips",
                "alice",
                "secret",
                "Atlanta.example.com",
                5071,
                {"transport": "TCP", "lr": None},
                "Subject=x&To=y",
            ),
        )
        self.assertEqual(uri.transport, "tcp")
        self.assertEqual(str(uri), "sips:alice:secret@Atlanta.example.com:5071;transport=TCP;lr?Subject=x&To=y")

    def test_little(self) -> None:
        """RFC 3261 19.1.1: a host is enough."""
        uri = sip("sip:example.com")
        self.assertEqual(uri, SipUri("sip", None, None, "example.com"))
        self.assertIsNone(uri.transport)
        self.assertIsNone(sip("sip:a;transport=").transport)
        self.assertEqual(str(uri), "sip:example.com")
        self.assertEqual(sip("sip:host:5060").port, 5060)
        self.assertEqual(sip("sip:a:@host").password, "")

    def test_user_as_written(self) -> None:
        """RFC 4475 3.1.1.2, 3.1.1.3, 3.1.1.4, 3.1.1.9: odd users are kept as written, escapes and all."""
        for user in (
            "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
            "sips%3Auser%40example.com",
            "null-%00-null",
            "user;par=u%40example.net",
            "*67#",
        ):
            uri = sip(f"sip:{user}@example.com")
            self.assertEqual((uri.user, uri.host), (user, "example.com"))
            self.assertEqual(str(uri), f"sip:{user}@example.com")
        uri = sip("sip:a:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com")
        self.assertEqual(uri.password, "&it+has=1,weird!*pas$wo~d_too.(doesn't-it)")

    def test_parameter_names_are_unescaped(self) -> None:
        """RFC 4475 3.1.1.3: ``%6C%72`` is lr."""
        uri = sip("sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31")
        self.assertEqual(uri.params, {"lr": None, "name": "v%61lue%25%34%31"})
        self.assertEqual(str(uri), "sip:cal%6Cer@host5.example.net;lr;name=v%61lue%25%34%31")
        self.assertEqual(str(sip("sip:h;%3B%3d=1")), "sip:h;%3B%3D=1")

    def test_ipv6(self) -> None:
        """RFC 5118 4.1, 4.3, 4.4: an IPv6 address stands in brackets, a port behind them."""
        uri = sip("sip:[2001:db8::10]:5070")
        self.assertEqual((uri.host, uri.port, uri.is_ipv6), ("2001:db8::10", 5070, True))
        self.assertEqual(str(uri), "sip:[2001:db8::10]:5070")
        self.assertEqual(sip("sip:[2001:db8::10:5070]").port, None)
        self.assertEqual(sip("sip:ted@[::ffff:192.0.2.2]").host, "::ffff:192.0.2.2")
        self.assertFalse(sip("sip:192.0.2.1").is_ipv6)
        self.assertEqual(format_host("::1"), "[::1]")
        self.assertEqual(format_host("192.0.2.1"), "192.0.2.1")

    def test_three_colons(self) -> None:
        """RFC 5118 4.10: three colons, which RFC 3261's grammar made of two, are read as two."""
        self.assertEqual(sip("sip:user@[2001:db8:::192.0.2.1]").host, "2001:db8::192.0.2.1")

    def test_garbage(self) -> None:
        """RFC 4475 3.1.2.7, RFC 5118 4.2: what is no URI is refused with 400."""
        for text in (
            "",
            "sip:",
            "sip",
            "1001",
            "<sip:user@example.com>",
            "sip:2001:db8::10",
            "sip:[2001:db8::10",
            "sip:[zz]",
            "sip:[1:2]",
            "sip:@host",
            "sip:a@",
            "sip:a@b@c",
            "sip:host:",
            "sip:host:0",
            "sip:host:65536",
            "sip:host:123456",
            "sip:host:5o60",
            "sip:ho st",
            "sip:a b@host",
            "sip:a\x01b@host",
            "sip:höst",
            "sip:a@host;a=1;a=2",
            "sip:a@host;=1",
            'sip:"a"@host',
            "sip:a@host\n",
            "tel:hello there",
            "tel:xyz",
            ":rest",
            "http:",
            "http://a b",
        ):
            error = self.assertRaises(RemoteProtocolError, parse_uri, text)
            self.assertEqual(error.status, 400)


class OtherUriTests(SynchronousTestCase):
    def test_tel(self) -> None:
        """RFC 3966: a number, visual separators kept, and parameters."""
        uri = parse_uri("tel:+1-201-555-0123;Phone-Context=example.com;ext=7")
        self.assertEqual(uri, TelUri("+1-201-555-0123", {"phone-context": "example.com", "ext": "7"}))
        self.assertEqual(str(uri), "tel:+1-201-555-0123;phone-context=example.com;ext=7")
        self.assertEqual(parse_uri("TEL:*21#"), TelUri("*21#"))

    def test_unknown_schemes(self) -> None:
        """RFC 4475 3.3.2, 3.3.3: a scheme nobody knows is no error here; 416 is for whoever handles the request."""
        self.assertEqual(
            parse_uri("nobodyKnowsThisScheme:totallyopaquecontent"),
            OtherUri("nobodyknowsthisscheme", "totallyopaquecontent"),
        )
        uri = parse_uri("soap.beep://192.0.2.103:3002")
        self.assertEqual(str(uri), "soap.beep://192.0.2.103:3002")


class EqualityTests(SynchronousTestCase):
    def test_equal(self) -> None:
        """RFC 3261 19.1.4: the pairs of its examples that are equal."""
        for one, other in (
            ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            ("sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ):
            self.assertTrue(sip(one).equals(sip(other)), (one, other))
            self.assertTrue(sip(other).equals(sip(one)), (other, one))

    def test_not_equal(self) -> None:
        """RFC 3261 19.1.4: the pairs of its examples that are not, and what each of its rules adds."""
        for one, other in (
            ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
            ("sip:a@b;maddr=192.0.2.1", "sip:a@b"),
            ("sip:a@b;user=phone", "sip:a@b"),
            ("sip:a@b", "sips:a@b"),
            ("sip:a:x@b", "sip:a:y@b"),
            ("sip:b", "sip:a@b"),
        ):
            self.assertFalse(sip(one).equals(sip(other)), (one, other))
            self.assertFalse(sip(other).equals(sip(one)), (other, one))
        self.assertFalse(sip("sip:a@b").equals(TelUri("1")))
