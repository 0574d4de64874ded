"""The shared rules of SIP's grammar: what is read liberally, and written strictly."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import (
    check_writable,
    excerpt,
    format_parameters,
    is_token,
    parse_parameters,
    quote,
    readable,
    split_list,
    unquote,
)


class TokenTests(SynchronousTestCase):
    def test_tokens(self) -> None:
        """RFC 3261 25.1: the characters of a token, and nothing else."""
        for text in ("INVITE", "!interesting-Method0123456789_*+`.%indeed'~"):
            self.assertTrue(is_token(text), text)
        for text in ("", "a b", "a:b", 'a"', "ü", "a\n", "a/b", "a@b"):
            self.assertFalse(is_token(text), text)


class QuotedStringTests(SynchronousTestCase):
    def test_quote_and_back(self) -> None:
        """RFC 3261 25.1: backslash and quote are escaped, everything else stands for itself."""
        self.assertEqual(quote('a "b" \\ c'), '"a \\"b\\" \\\\ c"')
        self.assertEqual(unquote(quote('a "b" \\ c')), 'a "b" \\ c')
        self.assertEqual(unquote("plain"), "plain")
        self.assertEqual(unquote('"'), '"')

    def test_what_can_not_be_written(self) -> None:
        """architecture.md rule 13: no CR, LF or NUL of application data reaches the wire; nor what has no encoding."""
        for text in ("a\rb", "a\nb", "a\0b", "\ud800"):
            self.assertRaises(ValueError, check_writable, text)
            self.assertRaises(ValueError, quote, text)
        self.assertEqual(check_writable("fine ü \udcff"), "fine ü \udcff")

    def test_readable(self) -> None:
        """Control characters and undecodable bytes never reach a reader."""
        self.assertEqual(readable("Zoë \x1b[2J\udcff"), "Zoë \ufffd[2J\ufffd")
        self.assertEqual(readable("a\tb"), "a\tb")

    def test_excerpt_is_short(self) -> None:
        """What a peer sent stands in an error's text escaped and cut."""
        self.assertEqual(excerpt("ü\r\n"), "'\\xfc\\r\\n'")
        self.assertLess(len(excerpt("x" * 100000)), 80)


class ParameterTests(SynchronousTestCase):
    def test_parameters(self) -> None:
        """RFC 3261 7.3.1: names in any case, values as written, with or without spaces and quotes."""
        self.assertEqual(parse_parameters(""), {})
        self.assertEqual(parse_parameters(";Tag=aB;lr"), {"tag": "aB", "lr": None})
        self.assertEqual(parse_parameters(" ; tag = aB ;\tlr "), {"tag": "aB", "lr": None})
        self.assertEqual(parse_parameters(';q="a;b,\\"c\\"";x='), {"q": '"a;b,\\"c\\""', "x": ""})
        self.assertEqual(parse_parameters(";received=2001:db8::9:255"), {"received": "2001:db8::9:255"})

    def test_empty_ones_are_skipped(self) -> None:
        """RFC 4475 3.1.2.1 leaves extraneous semicolons to us: they pass."""
        self.assertEqual(parse_parameters(";;a;;b;"), {"a": None, "b": None})
        self.assertEqual(parse_parameters("; ;a; ; b ;"), {"a": None, "b": None})

    def test_twice(self) -> None:
        """RFC 3261 7.3.1: a name may come once; twice the same is harmless, two values would mean a choice."""
        self.assertEqual(parse_parameters(";a=1;A=1"), {"a": "1"})
        for text in (";tag=1;tag=2", ";a;a=1", ';a="1" ;a="2"'):
            self.assertRaises(RemoteProtocolError, parse_parameters, text)

    def test_garbage(self) -> None:
        """What is no parameter is refused with 400."""
        for text in ("tag=1", ";=1", '; = "x"', ';a="x', ";a,b", ";a b", ";a=b c", ";<a>", ';a"b"'):
            error = self.assertRaises(RemoteProtocolError, parse_parameters, text)
            self.assertEqual(error.status, 400)

    def test_written(self) -> None:
        """Parameters are written in their order."""
        self.assertEqual(format_parameters({"tag": "1", "lr": None, "q": '"x y"'}), ';tag=1;lr;q="x y"')


class ListTests(SynchronousTestCase):
    def test_commas(self) -> None:
        """RFC 3261 7.3.1: a list is split at its commas, not at those in quotes or angle brackets."""
        self.assertEqual(split_list(""), [])
        self.assertEqual(split_list("a"), ["a"])
        self.assertEqual(split_list(" a ,b,\tc"), ["a", "b", "c"])
        self.assertEqual(
            split_list('"x, \\"y" <sip:a,b@c>;q=1 , <sip:d>;z="1,2",e'),
            ['"x, \\"y" <sip:a,b@c>;q=1', '<sip:d>;z="1,2"', "e"],
        )

    def test_empty_items_are_dropped(self) -> None:
        """A comma too many passes."""
        self.assertEqual(split_list(",a,,b,"), ["a", "b"])
        self.assertEqual(split_list(',"a",,<b>,'), ['"a"', "<b>"])
        self.assertEqual(split_list(", ,"), [])

    def test_not_closed(self) -> None:
        """RFC 4475 3.1.2.6: a quote that isn't closed is refused."""
        for text in ('"a, b', "a, <b", '<a>, "\\"'):
            self.assertRaises(RemoteProtocolError, split_list, text)
