"""Offer and answer (RFC 3264), and the rows of the transfer's table of races that are about descriptions."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sdp.model import SessionDescription
from telephony.sdp.negotiation import DIRECTIONS, Agreed, Negotiation
from telephony.sdp.parser import parse_sdp


def ours(**arguments: object) -> Negotiation:
    """Return a fresh negotiation at 10.0.0.1, port 20000, session id 7."""
    return Negotiation("10.0.0.1", 20000, 7, **arguments)  # type: ignore[arg-type]


def sdp(*lines: str, host: str | None = "192.0.2.9", version: int = 1) -> bytes:
    """Return a peer's description with these lines after its t= line."""
    head = ["v=0", f"o=peer 1 {version} IN IP4 192.0.2.9", "s=-"]
    if host is not None:
        head.append(f"c=IN {'IP6' if ':' in host else 'IP4'} {host}")
    return "\r\n".join([*head, "t=0 0", *lines, ""]).encode()


PLAIN = "m=audio 4000 RTP/AVP 8 0"
EVENTS = ("m=audio 4000 RTP/AVP 0 8 96", "a=rtpmap:96 telephone-event/8000", "a=fmtp:96 0-15")


def version(data: bytes) -> int:
    """Return the o= version of a description."""
    return int(parse_sdp(data).origin.version)


def direction(data: bytes) -> str:
    """Return the direction attribute of a description's first used media line."""
    media = next(one for one in parse_sdp(data).media if one.port)
    (name,) = [name for name, _ in media.attributes if name in DIRECTIONS]
    return name


def mirrored(name: str) -> str:
    """Return the direction as the other side sees it."""
    return {"sendonly": "recvonly", "recvonly": "sendonly"}.get(name, name)


class OfferTests(SynchronousTestCase):
    def test_every_byte_of_an_offer(self) -> None:
        """RFC 3264 section 5, RFC 3551, RFC 4733 section 2.4.1: codecs in our order, events 0-15 as 101."""
        self.assertEqual(
            ours().offer(),
            b"v=0\r\no=- 7 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
            b"m=audio 20000 RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
            b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=sendrecv\r\n",
        )

    def test_what_can_be_chosen(self) -> None:
        """Codecs and their order, packet time, no events, IPv6."""
        session = parse_sdp(Negotiation("2001:db8::1", 6000, 1, ("PCMU",), 30, events=False).offer("sendonly"))
        self.assertEqual(str(session.connection), "IN IP6 2001:db8::1")
        self.assertEqual(session.origin.family, "IP6")
        self.assertEqual(session.media[0].formats, ["0"])
        self.assertEqual(session.media[0].attribute("ptime"), "30")
        self.assertEqual(session.media[0].attribute("sendonly"), "")

    def test_misuse(self) -> None:
        """An unknown codec, none at all, or a word that is no direction is a ValueError."""
        self.assertRaises(ValueError, ours, codecs=("G729",))
        self.assertRaises(ValueError, ours, codecs=())
        self.assertRaises(ValueError, ours().offer, "both")
        self.assertRaises(ValueError, ours().offered, sdp(PLAIN), "both")

    def test_the_same_offer_again(self) -> None:
        """RFC 3261 section 22.2: after a challenge the INVITE goes out again, with the same bytes."""
        negotiation = ours()
        self.assertEqual(negotiation.offer(), negotiation.offer())
        self.assertTrue(negotiation.pending)


class AnswerTests(SynchronousTestCase):
    def answered(self, *lines: str, negotiation: Negotiation | None = None, host: str | None = "192.0.2.9") -> Agreed:
        """Offer, take an answer with these lines, and return what was agreed."""
        negotiation = negotiation or ours()
        negotiation.offer()
        return negotiation.answered(sdp(*lines, host=host))

    def test_what_is_agreed(self) -> None:
        """RFC 3264 section 6.1: the answer's first codec is sent; what we offered may arrive."""
        agreed = self.answered("m=audio 4000 RTP/AVP 0 8 101", "a=rtpmap:101 telephone-event/8000")
        self.assertEqual(
            agreed,
            Agreed(
                codec="PCMU",
                payload_type=0,
                receive_payload_types={8: "PCMA", 0: "PCMU", 101: "telephone-event"},
                event_payload_type=101,
                ptime=20,
                remote_rtp=("192.0.2.9", 4000),
                remote_rtcp=("192.0.2.9", 4001),
                send=True,
                receive=True,
            ),
        )
        self.assertEqual(agreed.direction, "sendrecv")

    def test_other_numbers_in_the_answer(self) -> None:
        """RFC 3264 section 6.1: we send with the answer's numbers; ours may arrive, and theirs where that is clear."""
        agreed = self.answered(
            "m=audio 4000 RTP/AVP 97 96", "a=rtpmap:97 pcma/8000/1", "a=rtpmap:96 TELEPHONE-EVENT/8000"
        )
        self.assertEqual((agreed.codec, agreed.payload_type, agreed.event_payload_type), ("PCMA", 97, 96))
        self.assertEqual(
            agreed.receive_payload_types,
            {97: "PCMA", 96: "telephone-event", 8: "PCMA", 0: "PCMU", 101: "telephone-event"},
        )

    def test_a_number_of_ours_with_another_meaning(self) -> None:
        """RFC 3264 section 8.3.2: what arrives under a number we offered is what we offered."""
        agreed = self.answered("m=audio 4000 RTP/AVP 101", "a=rtpmap:101 PCMU/8000")
        self.assertEqual((agreed.codec, agreed.payload_type), ("PCMU", 101))
        self.assertEqual(agreed.receive_payload_types[101], "telephone-event")

    def test_no_events(self) -> None:
        """RFC 4733 section 2.4: an answer without them, or an offer of ours without them, and none are sent."""
        self.assertIsNone(self.answered(PLAIN).event_payload_type)
        self.assertIsNone(self.answered(*EVENTS, negotiation=ours(events=False)).event_payload_type)

    def test_packet_time(self) -> None:
        """RFC 8866 sections 6.4 and 6.5: the peer's wish in tens up to 60, not above its most, else 20."""
        for attributes, expected in (
            ((), 20),
            (("a=ptime:10",), 10),
            (("a=ptime:30",), 30),
            (("a=ptime:60",), 60),
            (("a=ptime:20.0",), 20),
            (("a=ptime:70",), 20),
            (("a=ptime:25",), 20),
            (("a=ptime:0",), 20),
            (("a=ptime:x",), 20),
            (("a=ptime",), 20),
            (("a=maxptime:10",), 10),
            (("a=ptime:60", "a=maxptime:45"), 40),
            (("a=ptime:10", "a=maxptime:150"), 10),
            (("a=maxptime:5",), 10),
            (("a=maxptime:x",), 20),
        ):
            self.assertEqual(self.answered(PLAIN, *attributes).ptime, expected, attributes)

    def test_where_rtcp_goes(self) -> None:
        """RFC 3605: a=rtcp with or without an address, else the port above; nonsense is as if it weren't there."""
        for attribute, expected in (
            ("a=x", ("192.0.2.9", 4001)),
            ("a=rtcp:5005", ("192.0.2.9", 5005)),
            ("a=rtcp:5005 IN IP4 192.0.2.10", ("192.0.2.10", 5005)),
            ("a=rtcp:5005 IN IP6 2001:db8::1", None),
            ("a=rtcp:5005 IN IP4 0.0.0.0", None),
            ("a=rtcp:5005 IN IP4 224.0.0.1", None),
            ("a=rtcp:99999", ("192.0.2.9", 4001)),
            ("a=rtcp", ("192.0.2.9", 4001)),
        ):
            self.assertEqual(self.answered(PLAIN, attribute).remote_rtcp, expected, attribute)
        self.assertIsNone(self.answered("m=audio 65535 RTP/AVP 0").remote_rtcp)

    def test_addresses(self) -> None:
        """RFC 8866 section 5.7, RFC 5118 section 4.9: the stream's own c= wins; IPv4 in IPv6 clothes is IPv4."""
        self.assertEqual(self.answered(PLAIN, "c=IN IP4 192.0.2.77").remote_rtp, ("192.0.2.77", 4000))
        self.assertEqual(self.answered(PLAIN, host="::ffff:192.0.2.2").remote_rtp, ("192.0.2.2", 4000))
        six = self.answered(PLAIN, host="2001:DB8:0::9", negotiation=Negotiation("2001:db8::1", 6000, 1))
        self.assertEqual(six.remote_rtp, ("2001:db8::9", 4000))

    def test_loopback(self) -> None:
        """docs/security.rst: whoever is elsewhere has no audio sent to this machine's loopback, its reports neither."""
        for host in ("127.0.0.1", "127.8.8.8", "::ffff:127.0.0.1"):
            self.assertRaises(RemoteProtocolError, self.answered, PLAIN, host=host)
        self.assertIsNone(self.answered(PLAIN, "a=rtcp:25 IN IP4 127.0.0.1").remote_rtcp)
        inside = self.answered(PLAIN, host="127.0.0.1", negotiation=Negotiation("127.0.0.1", 6000, 1))
        self.assertEqual(inside.remote_rtp, ("127.0.0.1", 4000))
        six = {"host": "::1", "negotiation": Negotiation("2001:db8::1", 6000, 1)}
        self.assertRaises(RemoteProtocolError, self.answered, PLAIN, **six)

    def test_a_host_name(self) -> None:
        """Liberal in: a host name is no address and no hold; where to send is learnt from what arrives (R22)."""
        agreed = self.answered(PLAIN, host="phone.example.com")
        self.assertEqual((agreed.remote_rtp, agreed.remote_rtcp, agreed.send, agreed.receive), (None, None, True, True))

    def test_directions(self) -> None:
        """RFC 3264 section 6.1: what we offered and what the answer allows, seen from us."""
        for offered, answer, expected in (
            ("sendrecv", "sendrecv", "sendrecv"),
            ("sendrecv", "sendonly", "recvonly"),
            ("sendrecv", "recvonly", "sendonly"),
            ("sendrecv", "inactive", "inactive"),
            ("sendonly", "recvonly", "sendonly"),
            ("sendonly", "sendrecv", "sendonly"),  # an answer that says more than was offered
            ("inactive", "sendrecv", "inactive"),
        ):
            negotiation = ours()
            negotiation.offer(offered)
            agreed = negotiation.answered(sdp(PLAIN, f"a={answer}"))
            self.assertEqual(agreed.direction, expected)

    def test_direction_of_the_session(self) -> None:
        """RFC 8866 section 6.7: a direction at session level holds for a stream that has none of its own."""
        self.assertEqual(self.answered("a=sendonly", PLAIN).direction, "recvonly")
        self.assertEqual(self.answered("a=sendonly", PLAIN, "a=inactive").direction, "inactive")

    def test_unusable_answers_change_nothing(self) -> None:
        """R20: port 0, no codec of ours, no address, garbage: 488, and the offer still waits for a good answer."""
        negotiation = ours(codecs=("PCMA",))
        negotiation.offer()
        for answer in (
            b"",
            b"garbage",
            sdp(),
            sdp("m=audio 0 RTP/AVP 8"),
            sdp("m=audio 4000 RTP/AVP 0"),
            sdp("m=audio 4000 RTP/AVP 101", "a=rtpmap:101 telephone-event/8000"),
            sdp("m=audio 4000 RTP/AVP 8", "a=rtpmap:8 G729/8000"),
            sdp("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 PCMA/16000"),
            sdp("m=audio 4000 RTP/AVP 97", "a=rtpmap:97 PCMA/8000/2"),
            sdp("m=audio 4000 RTP/SAVP 8"),
            sdp("m=video 4000 RTP/AVP 8"),
            sdp("m=video 4000 RTP/AVP 8", PLAIN),
            sdp(PLAIN, host=None),
            sdp(PLAIN, host="2001:db8::9"),
            sdp(PLAIN, host="224.1.2.3/127"),
            sdp(PLAIN, host="255.255.255.255"),
        ):
            for take in (negotiation.answered, negotiation.preview):
                error = self.assertRaises(RemoteProtocolError, take, answer)
                self.assertEqual(error.status, 488, answer)
            self.assertTrue(negotiation.pending)
            self.assertIsNone(negotiation.agreed)
        self.assertEqual(negotiation.answered(sdp(PLAIN)).codec, "PCMA")

    def test_previews_of_forks(self) -> None:
        """R17: each fork's early answer is read by itself; the winner's counts, and only that."""
        negotiation = ours()
        negotiation.offer()
        first = negotiation.preview(sdp("m=audio 4000 RTP/AVP 0"))
        second = negotiation.preview(sdp("m=audio 5000 RTP/AVP 8"))
        self.assertEqual((first.remote_rtp, second.remote_rtp), (("192.0.2.9", 4000), ("192.0.2.9", 5000)))
        self.assertIsNone(negotiation.agreed)
        self.assertEqual(negotiation.answered(sdp("m=audio 5000 RTP/AVP 8")), second)
        self.assertEqual(negotiation.agreed, second)
        self.assertFalse(negotiation.pending)

    def test_the_reliable_answer_stands(self) -> None:
        """R19, RFC 6337 section 3.1.1: after the answer in a reliable 183 a 200 with another changes nothing."""
        negotiation = ours()
        negotiation.offer()
        reliable = negotiation.answered(sdp("m=audio 4000 RTP/AVP 0"))
        self.assertIs(negotiation.answered(sdp("m=audio 5000 RTP/AVP 8")), reliable)
        self.assertIs(negotiation.agreed, reliable)

    def test_an_answer_to_nothing(self) -> None:
        """RFC 3264 section 4: with no offer and nothing agreed there is nothing that it could answer."""
        self.assertRaises(RemoteProtocolError, ours().answered, sdp(PLAIN))
        self.assertRaises(RemoteProtocolError, ours().preview, sdp(PLAIN))


class OfferedTests(SynchronousTestCase):
    def test_every_byte_of_an_answer(self) -> None:
        """RFC 3264 section 6.1: the offerer's order and numbers, our address, events taken."""
        answer, agreed = ours().offered(sdp(*EVENTS))
        self.assertEqual(
            answer,
            b"v=0\r\no=- 7 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n"
            b"m=audio 20000 RTP/AVP 0 8 96\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
            b"a=rtpmap:96 telephone-event/8000\r\na=fmtp:96 0-15\r\na=ptime:20\r\na=sendrecv\r\n",
        )
        self.assertEqual((agreed.codec, agreed.payload_type, agreed.event_payload_type), ("PCMU", 0, 96))
        self.assertEqual(agreed.receive_payload_types, {0: "PCMU", 8: "PCMA", 96: "telephone-event"})
        self.assertEqual(agreed.remote_rtp, ("192.0.2.9", 4000))

    def test_only_our_codecs(self) -> None:
        """RFC 3264 section 6.1: what isn't ours is left out, also under a static number with another name."""
        answer, agreed = ours(codecs=("PCMA",)).offered(
            sdp(
                "m=audio 4000 RTP/AVP 101 18 0 97 98",
                "a=rtpmap:97 PCMA/8000",
                "a=rtpmap:98 opus/48000/2",
                "a=rtpmap:101 telephone-event/8000",
            )
        )
        self.assertEqual(parse_sdp(answer).media[0].formats, ["97", "101"])
        self.assertEqual(agreed.receive_payload_types, {97: "PCMA", 101: "telephone-event"})

    def test_one_event_number(self) -> None:
        """RFC 4733 section 2.4.1: of several clock rates only that of our codecs is answered."""
        answer, agreed = ours().offered(
            sdp(
                "m=audio 4000 RTP/AVP 8 100 101",
                "a=rtpmap:100 telephone-event/48000",
                "a=rtpmap:101 telephone-event/8000",
            )
        )
        self.assertEqual(agreed.event_payload_type, 101)
        self.assertEqual(parse_sdp(answer).media[0].formats, ["8", "101"])
        answer, agreed = ours(events=False).offered(sdp(*EVENTS))
        self.assertIsNone(agreed.event_payload_type)
        self.assertNotIn(b"telephone-event", answer)

    def test_every_media_line_is_answered(self) -> None:
        """RFC 3264 section 6: same number, same order, same media, protocol; what we don't take has port 0."""
        answer, agreed = ours().offered(
            sdp(
                "m=video 6000 RTP/AVP 99",
                "m=audio 4000 RTP/SAVP 8",
                "m=audio 4002 RTP/AVP 18",
                "m=audio 4004 RTP/AVPF 8",
                "m=audio 4006 RTP/AVP 8",
                "m=image 0 udptl t38",
            )
        )
        self.assertEqual(
            [(m.media, m.port, m.protocol, m.formats) for m in parse_sdp(answer).media],
            [
                ("video", 0, "RTP/AVP", ["99"]),
                ("audio", 0, "RTP/SAVP", ["8"]),
                ("audio", 0, "RTP/AVP", ["18"]),
                ("audio", 20000, "RTP/AVPF", ["8"]),
                ("audio", 0, "RTP/AVP", ["8"]),
                ("image", 0, "udptl", ["t38"]),
            ],
        )
        self.assertEqual(agreed.remote_rtp, ("192.0.2.9", 4004))

    def test_times_are_repeated(self) -> None:
        """RFC 3264 section 6: the answer's t= is the offer's; nonsense isn't repeated."""
        for times, expected in (("3338481189 3370017201", "3338481189 3370017201"), ("whenever", "0 0")):
            answer, _ = ours().offered(sdp(PLAIN).replace(b"0 0", times.encode(), 1))
            self.assertIn(("t", expected), parse_sdp(answer).other)

    def test_unusable_offers(self) -> None:
        """RFC 3261 section 13.3.1.3: 488 for what can be read but not used, 400 for what can't; nothing changes."""
        negotiation = ours()
        before, agreed = negotiation.offered(sdp(PLAIN))
        for status, offer in (
            (400, b""),
            (400, b"v=0\r\n"),
            (488, sdp()),
            (488, sdp("m=audio 0 RTP/AVP 8")),
            (488, sdp("m=audio 4000 RTP/AVP 18 101", "a=rtpmap:101 telephone-event/8000")),
            (488, sdp("m=audio 4000 RTP/SAVP 8")),
            (488, sdp("m=audio 4000 UDP/TLS/RTP/SAVPF 8")),
            (488, sdp("m=video 4000 RTP/AVP 8")),
            (488, sdp(PLAIN, host=None)),
            (488, sdp(PLAIN, host="ff02::1")),
        ):
            error = self.assertRaises(RemoteProtocolError, negotiation.offered, offer)
            self.assertEqual(error.status, status, offer)
            self.assertIs(negotiation.agreed, agreed)
        self.assertEqual(negotiation.offered(sdp(PLAIN))[0], before)

    def test_glare(self) -> None:
        """RFC 3264 section 4, R10: while our offer waits, theirs is refused with 491; after a rollback it isn't."""
        negotiation = ours()
        negotiation.offered(sdp(PLAIN))
        negotiation.offer("sendonly")
        self.assertEqual(self.assertRaises(RemoteProtocolError, negotiation.offered, sdp(PLAIN)).status, 491)
        negotiation.rollback()
        self.assertEqual(negotiation.offered(sdp(PLAIN))[1].direction, "sendrecv")

    def test_all_of_a_property(self) -> None:
        """RFC 3264 section 6: whatever is offered, an answer has its number of m= lines, in order, one of them ours."""
        line = st.builds(
            "m={} {} {} {}".format,
            st.sampled_from(["audio", "video", "AUDIO", "image"]),
            st.sampled_from([0, 4000, 65535]),
            st.sampled_from(["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "udptl"]),
            st.sampled_from(["8", "0 8", "18", "96 0", "101", "x 0", "8 8"]),
        )
        attribute = st.sampled_from(
            [
                "a=rtpmap:96 telephone-event/8000",
                "a=rtpmap:8 G722/8000",
                "a=sendonly",
                "c=IN IP4 0.0.0.0",
                "a=ptime:30",
                "c=IN IP6 ::1",
                "a=rtcp:x",
                "a=rtpmap:96 PCMA",
                "a=rtpmap:",
                "a=inactive",
            ]
        )

        @settings(deadline=None)
        @given(st.lists(st.lists(line | attribute, max_size=8), min_size=1, max_size=3))
        def check(offers: Sequence[list[str]]) -> None:
            negotiation = ours()
            for lines in offers:
                offer = sdp(*lines)
                try:
                    answer, agreed = negotiation.offered(offer)
                except RemoteProtocolError as error:
                    self.assertIn(error.status, (400, 488))
                    continue
                theirs, mine = parse_sdp(offer), parse_sdp(answer)
                self.assertEqual(mine.to_bytes(), answer)
                self.assertEqual(
                    [(m.media.lower(), m.protocol) for m in theirs.media],
                    [(m.media.lower(), m.protocol) for m in mine.media],
                )
                (used,) = [index for index, m in enumerate(mine.media) if m.port]
                self.assertNotEqual(theirs.media[used].port, 0)
                self.assertTrue(
                    {str(number) for number in agreed.receive_payload_types} <= set(theirs.media[used].formats)
                )
                self.assertEqual(direction(answer), agreed.direction)
                # Our next offer keeps the lines.
                later = parse_sdp(negotiation.offer())
                self.assertEqual([m.media.lower() for m in later.media], [m.media.lower() for m in theirs.media])
                negotiation.rollback()

        check()

    def test_garbage(self) -> None:
        """Architecture rule 3: garbage raises RemoteProtocolError and nothing else, as offer and as answer."""

        @settings(deadline=None)
        @given(st.integers(0, 200), st.integers(0, 30), st.binary(max_size=20))
        def check(start: int, cut: int, put: bytes) -> None:
            data = sdp(*EVENTS, "a=ptime:20", "a=rtcp:4001 IN IP4 192.0.2.9", "a=sendrecv")
            data = data[:start] + put + data[start + cut :]
            waiting = ours()
            waiting.offer()
            for take in (ours().offered, waiting.answered):
                try:
                    take(data)
                except RemoteProtocolError:
                    continue

        check()

    def test_two_of_us(self) -> None:
        """RFC 3264: our answers are good answers to our offers, and both sides then see the same thing mirrored."""

        @settings(deadline=None)
        @given(
            *[st.sampled_from([("PCMA",), ("PCMU",), ("PCMA", "PCMU"), ("PCMU", "PCMA")])] * 2,
            *[st.sampled_from(sorted(DIRECTIONS))] * 2,
            *[st.booleans()] * 2,
        )
        def check(
            codecs: tuple[str, ...], others: tuple[str, ...], wish: str, other_wish: str, x: bool, y: bool
        ) -> None:
            one = Negotiation("10.0.0.1", 20000, 1, codecs, events=x)
            two = Negotiation("10.0.0.2", 30000, 2, others, events=y)
            offer = one.offer(wish)
            if not set(codecs) & set(others):
                self.assertRaises(RemoteProtocolError, two.offered, offer)
                return
            answer, seen = two.offered(offer, other_wish)
            got = one.answered(answer)
            self.assertEqual(got.codec, seen.codec)
            self.assertEqual(got.direction, mirrored(seen.direction))
            self.assertEqual(got.event_payload_type, 101 if x and y else None)
            self.assertEqual(got.event_payload_type, seen.event_payload_type)
            self.assertEqual((got.remote_rtp, seen.remote_rtp), (("10.0.0.2", 30000), ("10.0.0.1", 20000)))

        check()


class LaterTests(SynchronousTestCase):
    """Re-INVITEs: hold, resume, versions, numbers."""

    def test_the_peer_holds_and_resumes(self) -> None:
        """R24, R25, RFC 3264 section 8.4: sendonly and 0.0.0.0 are answered recvonly, inactive is answered inactive."""
        for hold, answer_direction in (
            (sdp(PLAIN, "a=sendonly"), "recvonly"),
            (sdp(PLAIN, "a=inactive"), "inactive"),
            (sdp(PLAIN, host="0.0.0.0"), "recvonly"),
            (sdp(PLAIN, "c=IN IP4 0.0.0.0"), "recvonly"),
            (sdp(PLAIN, "a=sendonly", host="0.0.0.0"), "recvonly"),
            (sdp(PLAIN, "a=inactive", host="0.0.0.0"), "inactive"),
            (sdp(PLAIN, host="::"), "recvonly"),
        ):
            negotiation = ours()
            negotiation.offered(sdp(PLAIN))
            answer, agreed = negotiation.offered(hold)
            self.assertEqual(direction(answer), answer_direction)
            self.assertEqual((agreed.send, agreed.receive), (False, answer_direction == "recvonly"))
            self.assertEqual(agreed.remote_rtp is None, b"0.0.0.0" in hold or b"::" in hold)
            answer, agreed = negotiation.offered(sdp(PLAIN))
            self.assertEqual((direction(answer), agreed.direction), ("sendrecv", "sendrecv"))
            self.assertEqual(agreed.remote_rtp, ("192.0.2.9", 4000))

    def test_we_hold_and_resume(self) -> None:
        """RFC 3264 section 8.4: sendonly, answered recvonly; then sendrecv. Theirs change nothing meanwhile."""
        negotiation = ours()
        negotiation.offered(sdp(PLAIN))
        self.assertEqual(direction(negotiation.offer("sendonly")), "sendonly")
        agreed = negotiation.answered(sdp(PLAIN, "a=recvonly"))
        self.assertEqual((agreed.send, agreed.receive), (True, False))
        answer, agreed = negotiation.offered(sdp(PLAIN), "sendonly")
        self.assertEqual((direction(answer), agreed.direction), ("sendonly", "sendonly"))
        negotiation.offer()
        self.assertEqual(negotiation.answered(sdp(PLAIN)).direction, "sendrecv")

    def test_versions(self) -> None:
        """RFC 3264 section 8: the version goes up by one when the description differs from the last, else it stays."""
        negotiation = ours()
        first, _ = negotiation.offered(sdp(PLAIN))
        again, _ = negotiation.offered(sdp(PLAIN, version=2))
        self.assertEqual(first, again)
        held, _ = negotiation.offered(sdp(PLAIN, "a=sendonly"))
        moved, agreed = negotiation.offered(sdp("m=audio 4444 RTP/AVP 8 0", "a=sendonly"))
        self.assertEqual(agreed.remote_rtp, ("192.0.2.9", 4444))
        back, _ = negotiation.offered(sdp(PLAIN))
        self.assertEqual([version(one) for one in (first, held, moved, back)], [1, 2, 2, 3])
        self.assertTrue(all(b"o=- 7 " in one for one in (first, held, moved, back)))

    def test_a_refused_offer(self) -> None:
        """RFC 3261 section 14.1: after a refusal the session is as before, and the version never goes back."""
        negotiation = ours()
        _, agreed = negotiation.offered(sdp(PLAIN))
        self.assertEqual(version(negotiation.offer("sendonly")), 2)
        negotiation.rollback()
        self.assertFalse(negotiation.pending)
        self.assertIs(negotiation.agreed, agreed)
        answer, later = negotiation.offered(sdp(PLAIN))
        self.assertEqual((version(answer), later), (3, agreed))

    def test_a_refresh(self) -> None:
        """RFC 4028 7.4: an offer with the bytes of the last description, offer or answer; nothing changes by it."""
        as_caller, as_called = ours(), ours()
        offer = as_caller.offer()
        as_caller.answered(sdp(PLAIN))
        self.assertEqual(as_caller.repeat(), offer)
        answer, before = as_called.offered(sdp(PLAIN))
        self.assertEqual(as_called.repeat(), answer)
        self.assertTrue(as_called.pending)
        self.assertEqual(as_called.answered(sdp(PLAIN)).direction, before.direction)
        self.assertEqual(as_called.repeat(), answer)
        as_called.rollback()
        self.assertEqual(as_called.offered(sdp(PLAIN))[0], answer)

    def test_a_refresh_on_hold(self) -> None:
        """RFC 4028 7.4, RFC 3264 8.4: a refresh says what holds, theirs and ours, and both can be ended after it."""
        negotiation = ours()
        negotiation.offered(sdp(PLAIN))
        held = negotiation.offered(sdp(PLAIN, "a=sendonly"))[0]
        self.assertEqual(negotiation.repeat(), held)
        self.assertEqual(negotiation.answered(sdp(PLAIN, "a=sendonly")).direction, "recvonly")
        self.assertEqual(negotiation.offered(sdp(PLAIN))[1].direction, "sendrecv", "they have resumed")
        held = negotiation.offer("sendonly")
        negotiation.answered(sdp(PLAIN, "a=recvonly"))
        self.assertEqual(negotiation.repeat(), held)
        self.assertEqual(negotiation.answered(sdp(PLAIN, "a=recvonly")).direction, "sendonly")
        self.assertEqual(negotiation.offered(sdp(PLAIN))[1].direction, "sendonly", "our hold stays ours to end")
        self.assertEqual(negotiation.offered(sdp(PLAIN, "a=sendonly"))[1].direction, "inactive")

    def test_a_refresh_after_a_refusal(self) -> None:
        """RFC 3264 8: what was refused is not what holds; the version only ever rises."""
        negotiation = ours()
        first = negotiation.offer()
        negotiation.answered(sdp(PLAIN))
        negotiation.offer("inactive")
        negotiation.rollback()
        refresh = negotiation.repeat()
        self.assertEqual((version(first), version(refresh)), (1, 3))
        self.assertNotIn(b"inactive", refresh)

    def test_a_reinvite_without_an_offer(self) -> None:
        """R26, RFC 3261 section 14.2: a full offer, sendrecv though the peer holds us; no answer: no change."""
        negotiation = ours()
        negotiation.offered(sdp("m=audio 4000 RTP/AVP 8", "a=sendonly"))
        offer = negotiation.current()
        self.assertEqual(direction(offer), "sendrecv")
        self.assertEqual(parse_sdp(offer).media[0].formats, ["8", "0", "101"])
        self.assertTrue(negotiation.pending)
        before = negotiation.agreed
        negotiation.rollback()
        self.assertIs(negotiation.agreed, before)
        negotiation.current()
        self.assertEqual(negotiation.answered(sdp(PLAIN)).direction, "sendrecv")

    def test_without_an_offer_while_we_hold(self) -> None:
        """R26: our own hold is still in our offer; a hold of ours that was refused isn't."""
        negotiation = ours()
        negotiation.offered(sdp(PLAIN))
        negotiation.offer("sendonly")
        negotiation.rollback()
        self.assertEqual(direction(negotiation.current()), "sendrecv")
        negotiation.offer("sendonly")
        negotiation.answered(sdp(PLAIN, "a=recvonly"))
        self.assertEqual(direction(negotiation.current()), "sendonly")

    def test_media_lines_stay(self) -> None:
        """RFC 3264 section 8: a later offer of ours has all lines of the session, ours in its place."""
        negotiation = ours()
        negotiation.offered(sdp("m=video 6000 RTP/AVP 99", PLAIN, "m=image 7000 udptl t38"))
        session = parse_sdp(negotiation.offer())
        self.assertEqual([(m.media, m.port) for m in session.media], [("video", 0), ("audio", 20000), ("image", 0)])
        agreed = negotiation.answered(sdp("m=video 0 RTP/AVP 99", "m=audio 4000 RTP/AVP 8", "m=image 0 udptl t38"))
        self.assertEqual(agreed.codec, "PCMA")

    def test_the_line_in_use_is_kept(self) -> None:
        """RFC 3264 section 8: with a second audio line added in front of nothing else, ours stays where it was."""
        negotiation = ours()
        negotiation.offered(sdp("m=audio 0 RTP/AVP 8", PLAIN))
        _, agreed = negotiation.offered(sdp("m=audio 5000 RTP/AVP 8", PLAIN))
        self.assertEqual(agreed.remote_rtp, ("192.0.2.9", 4000))
        _, agreed = negotiation.offered(sdp("m=audio 5000 RTP/AVP 8", "m=audio 0 RTP/AVP 8"))
        self.assertEqual(agreed.remote_rtp, ("192.0.2.9", 5000))

    def test_the_codec_in_use_is_kept(self) -> None:
        """R28: a hold of ours doesn't make the peer change codecs, so the codec in use is offered first."""
        negotiation = ours(codecs=("PCMA", "PCMU"))
        negotiation.offered(sdp("m=audio 4000 RTP/AVP 0 8"))
        self.assertEqual(parse_sdp(negotiation.offer("sendonly")).media[0].formats, ["0", "8", "101"])

    def test_the_number_of_events_is_kept(self) -> None:
        """RFC 3264 section 8.3.2: a number never changes its meaning, so ours is the session's, or a free one."""
        negotiation = ours()
        negotiation.offered(sdp(*EVENTS))
        self.assertEqual(parse_sdp(negotiation.offer()).media[0].formats, ["0", "8", "96"])
        negotiation = ours()
        negotiation.offered(sdp("m=audio 4000 RTP/AVP 8 101 96", "a=rtpmap:101 opus/48000/2", "a=rtpmap:96 speex/8000"))
        self.assertEqual(parse_sdp(negotiation.offer()).media[0].formats, ["8", "0", "97"])
        everything = [f"a=rtpmap:{number} speex/8000" for number in range(96, 128)]
        negotiation.rollback()
        negotiation.offered(sdp("m=audio 4000 RTP/AVP 8 96", *everything))
        self.assertEqual(parse_sdp(negotiation.offer()).media[0].formats, ["8", "0"])

    def test_nothing_of_the_peer_is_replayed(self) -> None:
        """Transfer rule 5: an answer has none of the peer's attributes, names or addresses."""
        answer, _ = ours().offered(sdp(PLAIN, "a=ssrc:1 cname:spy", "i=title", "a=candidate:1", "b=AS:64"))
        session: SessionDescription = parse_sdp(answer)
        self.assertNotIn(b"192.0.2.9", answer)
        self.assertEqual({name for name, _ in session.media[0].attributes}, {"rtpmap", "ptime", "sendrecv"})
