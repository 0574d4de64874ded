"""A peer's description that is read once: for everybody who asks the same as when each reads it anew."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sdp import reading
from telephony.sdp.negotiation import Agreed, Negotiation, Securing, check_offer
from telephony.sdp.parser import parse_sdp
from telephony.sdp.reading import LONGEST, PLAIN, REMEMBERED, SECURED, PeerDescription

HEAD = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\n"

_HOSTS = [
    "192.0.2.9",
    "127.0.0.1",
    "0.0.0.0",
    "2001:db8::9",
    "::",
    "::1",
    "224.1.1.1",
    "somewhere.example",
    "::ffff:1.2.3.4",
]
_VALUES = [
    "0 PCMU/8000",
    "8 pcma/8000/1",
    "8 PCMA/16000",
    "96 telephone-event/8000",
    "96 PCMU",
    "097 PCMA/8000",
    "101 TELEPHONE-EVENT/48000",
    "101 opus/48000/2",
    "300 PCMU/8000",
    "x",
    "",
    " 0  PCMU/8000 ",
]
_LINES = st.one_of(
    st.sampled_from(_VALUES).map("a=rtpmap:{}".format),
    st.sampled_from(["a=sendonly", "a=recvonly", "a=inactive", "a=sendrecv", "a=rtpmap", "a=ptime:30", "a=ptime:x"]),
    st.sampled_from(["a=ptime", "a=maxptime:10", "a=maxptime:0", "a=rtcp:5", "a=rtcp:0", "a=rtcp:9 IN IP4 192.0.2.8"]),
    st.sampled_from(["a=rtcp:9 IN IP4 127.0.0.1", "a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 h", "i=x", "b=AS:64"]),
    st.sampled_from(_HOSTS).map("c=IN IP4 {}".format),
)
_PORTS = st.sampled_from(["4000", "0", "65535", "4000/2"])
_FORMATS = st.lists(st.sampled_from(["0", "8", "96", "97", "101", "18", "008", "x"]), min_size=1, max_size=5)
_PROTOCOLS = st.sampled_from(["RTP/AVP", "rtp/avpf", "RTP/SAVP", "TCP"])


@st.composite
def _media(draw: st.DrawFn) -> str:
    kind = draw(st.sampled_from(["audio", "audio", "AUDIO", "video"]))
    lines = [f"m={kind} {draw(_PORTS)} {draw(_PROTOCOLS)} {' '.join(draw(_FORMATS))}"]
    return "\r\n".join(lines + draw(st.lists(_LINES, max_size=7)))


#: Offers of all sorts, most of them usable.
OFFERS = st.builds(
    lambda host, times, direction, media: "\r\n".join(
        [f"{HEAD}c=IN IP4 {host}", f"t={times}", *direction, *media, ""]
    ).encode(),
    st.sampled_from(_HOSTS),
    st.sampled_from(["0 0", "1 2", "now"]),
    st.lists(st.sampled_from(["a=sendonly", "a=inactive"]), max_size=1),
    st.lists(_media(), max_size=3),
)


def outcome(ours: str, sdp: bytes | PeerDescription) -> tuple[bytes, Agreed] | str:
    """Return the answer to an offer and what is agreed, or what is said against it."""
    try:
        return Negotiation(ours, 20000, 7, securing=Securing.TAKEN, new_key=bytes).offered(sdp)
    except RemoteProtocolError as error:
        return str(error)


class PeerDescriptionTests(SynchronousTestCase):
    @settings(max_examples=300)
    @given(OFFERS)
    def test_read_once_for_all(self, offer: bytes) -> None:
        """RFC 3264 section 6: an offer read before says the same to each that answers it, whatever its own address."""
        read = PeerDescription(offer)
        for ours in ("10.0.0.1", "127.0.0.1", "2001:db8::1", "10.0.0.1"):
            expected = outcome(ours, offer)
            self.assertEqual(outcome(ours, read), expected)
            try:
                check_offer(read, ours, Securing.TAKEN)
            except RemoteProtocolError as error:
                self.assertEqual(str(error), expected)
            else:
                self.assertNotIsInstance(expected, str)

    @given(OFFERS)
    def test_answers_are_descriptions(self, offer: bytes) -> None:
        """RFC 8866 section 5: an answer, which is written as text, is what its own description would be written as."""
        found = outcome("10.0.0.1", offer)
        if not isinstance(found, str):
            answer = parse_sdp(found[0])
            self.assertEqual(answer.to_bytes(), found[0])
            self.assertEqual(len(answer.media), len(parse_sdp(offer).media))

    def test_each_who_asks_by_the_protocols_it_takes(self) -> None:
        """RFC 4568: what was read for one that takes SRTP is no use to one that doesn't."""
        key = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + "A" * 40
        read = PeerDescription(f"{HEAD}c=IN IP4 192.0.2.9\r\nm=audio 4 RTP/SAVP 0\r\n{key}\r\n".encode())
        self.assertTrue(read.stream(0, SECURED).secured)
        self.assertIs(read.stream(0, SECURED), read.stream(0, SECURED | PLAIN))
        self.assertRaises(RemoteProtocolError, read.stream, 0, PLAIN)
        check_offer(read, "10.0.0.1", Securing.DEMANDED)
        error = self.assertRaises(RemoteProtocolError, check_offer, read, "10.0.0.1", Securing.REFUSED)
        self.assertEqual(error.status, 488)

    def test_one_meaning_per_description(self) -> None:
        """RFC 3264 section 8.3.2: what a number means in one description says nothing of the next."""
        for name, expected in (("PCMU", "PCMU"), ("telephone-event", "telephone-event"), ("PCMU", "PCMU"), ("x", None)):
            text = f"{HEAD}c=IN IP4 192.0.2.9\r\nm=audio 4 RTP/AVP 97 0\r\na=rtpmap:97 {name}/8000\r\n"
            self.assertEqual(PeerDescription(text.encode()).stream(0, PLAIN).types.get(97), expected)

    def test_remembered_values_are_bounded(self) -> None:
        """architecture.md rule 10: however many values of a=rtpmap come, so many are remembered, and no long one."""
        before = reading._rtpmap.cache_info().misses
        value = f"97 {'x' * LONGEST}/8000"
        PeerDescription(f"{HEAD}c=IN IP4 192.0.2.9\r\nm=audio 4 RTP/AVP 97\r\na=rtpmap:{value}\r\n".encode()).stream(
            0, PLAIN
        )
        self.assertEqual(reading._rtpmap.cache_info().misses, before)
        for number in range(REMEMBERED + 50):
            text = f"{HEAD}c=IN IP4 192.0.2.9\r\nm=audio 4 RTP/AVP 97\r\na=rtpmap:97 x{number}/8000\r\n"
            PeerDescription(text.encode()).stream(0, PLAIN)
        self.assertEqual(reading._rtpmap.cache_info().currsize, REMEMBERED)

    def test_freshness(self) -> None:
        """RFC 8866 5.2: a negotiation that has written nothing may be taken for a new one, no other."""
        negotiation = Negotiation("10.0.0.1", 20000, 7)
        self.assertTrue(negotiation.is_fresh)
        self.assertRaises(RemoteProtocolError, negotiation.offered, HEAD.encode())
        self.assertTrue(negotiation.is_fresh)
        negotiation.offer()
        negotiation.rollback()
        self.assertFalse(negotiation.is_fresh)

    def test_own_address(self) -> None:
        """RFC 3264 section 5: we are at an IP address, and nothing else gets into a c= line of ours."""
        for address in ("", "example.com", "10.0.0.1\r\na=x", "::1%\nx"):
            self.assertRaises(ValueError, Negotiation, address, 20000, 7)
