"""Odd ends of session descriptions that a mutation run showed nobody to hold fast (``tests/mutation``)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from telephony.sdp.model import MEDIA_LETTERS
from telephony.sdp.negotiation import Negotiation
from telephony.sdp.parser import parse_sdp, whole_number

HEAD = "v=0\r\no=peer 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\n"
AUDIO = "m=audio 4000 RTP/AVP 8\r\n"


class ParserTests(SynchronousTestCase):
    """What passes although it shouldn't."""

    def test_attribute_without_its_value(self) -> None:
        """RFC 8866 6.6: an rtpmap that says nothing maps nothing, and does no harm."""
        offer = f"{HEAD}t=0 0\r\n{AUDIO}a=rtpmap\r\na=rtpmap:8 PCMA/8000\r\n".encode()
        self.assertEqual(parse_sdp(offer).media[0].attribute_values("rtpmap"), ["8 PCMA/8000"])
        _answer, agreed = Negotiation("10.0.0.1", 20000, 7).offered(offer)
        self.assertEqual((agreed.codec, agreed.payload_type), ("PCMA", 8))

    def test_lines_of_blanks(self) -> None:
        """RFC 8866 5, liberally: a line with nothing but blanks is no line."""
        session = parse_sdp(f"{HEAD}t=0 0\r\n \t \r\n\r\n{AUDIO}".encode())
        self.assertEqual(len(session.media), 1)

    def test_order_in_a_media_description(self) -> None:
        """RFC 8866 5: i=, b= and k= of a stream are written in their order, however they came."""
        session = parse_sdp(f"{HEAD}t=0 0\r\n{AUDIO}k=prompt\r\nb=AS:64\r\ni=voice\r\n".encode())
        self.assertEqual("".join(letter for letter, _ in session.media[0].other), MEDIA_LETTERS)
        written = session.to_bytes()
        self.assertLess(written.index(b"b=AS"), written.index(b"k=prompt"))

    def test_long_numbers(self) -> None:
        """Digits up to twenty are a number, more are none, whatever they add up to."""
        self.assertEqual(whole_number("0" * 19 + "7", 10), 7)
        self.assertIsNone(whole_number("0" * 20 + "7", 10))


class AnswerTests(SynchronousTestCase):
    """What is written into an answer."""

    def test_time_behind_other_lines(self) -> None:
        """RFC 3264 6: the answer's t= is the offer's t=, whatever lines stand in front of it."""
        offer = f"{HEAD}b=AS:64\r\nt=2873397496 2873404696\r\n{AUDIO}".encode()
        answer, _agreed = Negotiation("10.0.0.1", 20000, 7).offered(offer)
        self.assertIn(b"\r\nt=2873397496 2873404696\r\n", answer)
