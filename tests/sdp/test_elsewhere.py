"""Descriptions that name another's place (RFC 3725 4): what is written, what stays, and what ends it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sdp.elsewhere import Elsewhere
from telephony.sdp.negotiation import Negotiation

THEIRS = (
    b"v=0\r\no=phone 7 {version} IN IP4 10.0.0.9\r\ns=-\r\nc=IN IP4 10.0.0.9\r\nt=0 0\r\n"
    b"m=audio 5004 RTP/AVP {formats}\r\na=rtpmap:101 telephone-event/8000\r\na={direction}\r\n"
)
THERE = Elsewhere(("10.0.0.7", 6000), 6001, 30)


def theirs(version: int = 1, formats: str = "8 0 101", direction: str = "sendrecv", port: int = 5004) -> bytes:
    """Return a description of the peer's."""
    text = THEIRS.decode().replace("{version}", f"{version}").replace("{formats}", formats)
    return text.replace("{direction}", direction).replace("5004", f"{port}").encode()


class ElsewhereTests(SynchronousTestCase):
    """One session that was answered, and is sent elsewhere."""

    def setUp(self) -> None:
        self.negotiation = Negotiation("10.0.0.1", 4000, 42)
        self.first, _ = self.negotiation.offered(theirs())

    def send_away(self, place: Elsewhere = THERE) -> bytes:
        """Send it elsewhere; our description."""
        offer = self.negotiation.offer("sendrecv", place)
        self.negotiation.answered(theirs())
        self.assertEqual(self.negotiation.elsewhere, place)
        return offer

    def test_what_is_written(self) -> None:
        """RFC 3264 8, RFC 8866 5.2: our o= line and its next version, the other's c= line, port and packet time."""
        self.assertEqual(
            self.send_away().decode().split("\r\n"),
            [
                "v=0",
                "o=- 42 2 IN IP4 10.0.0.1",
                "s=-",
                "c=IN IP4 10.0.0.7",
                "t=0 0",
                "m=audio 6000 RTP/AVP 8 101",
                "a=rtpmap:8 PCMA/8000",
                "a=rtpmap:101 telephone-event/8000",
                "a=fmtp:101 0-15",
                "a=ptime:30",
                "a=sendrecv",
                "",
            ],
        )

    def test_reports(self) -> None:
        """RFC 3605: where the other's RTCP isn't on the port above, that is said."""
        for port, line in ((6001, b""), (None, b""), (7001, b"a=rtcp:7001\r\n")):
            offer = self.negotiation.offer("sendrecv", Elsewhere(("10.0.0.7", 6000), port, 20))
            self.assertEqual(b"a=rtcp" in offer, bool(line))
            self.assertIn(line, offer)

    def test_refused(self) -> None:
        """RFC 3261 14.1: what was agreed before stands, and is what is repeated."""
        self.negotiation.offer("sendrecv", THERE)
        self.negotiation.rollback()
        self.assertIsNone(self.negotiation.elsewhere)
        self.assertIn(b"c=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 ", self.negotiation.repeat())

    def test_unusable_answer(self) -> None:
        """The same for an answer that refuses the stream."""
        self.negotiation.offer("sendrecv", THERE)
        with self.assertRaises(RemoteProtocolError):
            self.negotiation.answered(theirs(port=0))
        self.assertIsNone(self.negotiation.elsewhere)

    def test_refresh_of_ours(self) -> None:
        """RFC 4028 7.4: it has the bytes of what holds."""
        offer = self.send_away()
        self.assertEqual(self.negotiation.repeat(), offer)
        self.negotiation.answered(theirs())
        self.assertEqual(self.negotiation.elsewhere, THERE)

    def test_refresh_of_theirs(self) -> None:
        """RFC 3264 8: what changes nothing gets the same bytes, whatever is first in it and how often it comes."""
        offer = self.send_away()
        for formats in ("8 0 101", "0 8 101", "8 101"):
            answer, agreed = self.negotiation.offered(theirs(2, formats))
            self.assertEqual((answer, agreed.codec, agreed.payload_type), (offer, "PCMA", 8))
            self.assertEqual(self.negotiation.elsewhere, THERE)

    def test_changes_of_theirs(self) -> None:
        """Hold, another port, another codec, no events: answered with our own place, as ever."""
        for changed in (
            theirs(2, direction="sendonly"),
            theirs(2, direction="inactive"),
            theirs(2, port=5010),
            theirs(2, "0 101"),
            theirs(2, "8 0"),
            theirs(2).replace(b"c=IN IP4 10.0.0.9", b"c=IN IP4 0.0.0.0"),
            theirs(2).replace(b"a=sendrecv", b"a=ptime:40"),
        ):
            self.setUp()
            self.send_away()
            answer, _ = self.negotiation.offered(changed)
            self.assertIsNone(self.negotiation.elsewhere)
            self.assertIn(b"o=- 42 3 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 ", answer)

    def test_back(self) -> None:
        """An offer without a place has ours, and all our codecs."""
        self.send_away()
        offer = self.negotiation.offer()
        self.assertIn(b"c=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8 0 101\r\n", offer)
        self.assertEqual(self.negotiation.elsewhere, THERE)
        self.negotiation.answered(theirs())
        self.assertIsNone(self.negotiation.elsewhere)

    def test_without_an_offer(self) -> None:
        """R26: who asks for an offer gets a full one with our place; without its answer nothing has changed."""
        offer = self.send_away()
        self.assertIn(b"c=IN IP4 10.0.0.1\r\n", self.negotiation.current())
        self.negotiation.rollback()
        self.assertEqual(self.negotiation.elsewhere, THERE)
        self.assertEqual(self.negotiation.repeat().replace(b"42 4 IN", b"42 2 IN"), offer)
