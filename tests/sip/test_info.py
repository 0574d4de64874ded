"""INFO: the keys in it, and the status that answers it (RFC 6086 and its legacy usage)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.info import ACCEPT, DTMF, DTMF_RELAY, format_key, parse_key, read_info
from telephony.sip.message import Request
from tests.sip.fakes import World

KEYS = "0123456789*#ABCD"


def info(body: bytes = b"", content_type: str | None = None, **fields: str) -> Request:
    """Return an INFO."""
    request = Request("INFO", "sip:a@x", body)
    if content_type is not None:
        request.set("Content-Type", content_type)
    for name, value in fields.items():
        request.set(name.replace("_", "-"), value)
    return request


class KeyTests(SynchronousTestCase):
    """The two bodies."""

    def test_relay(self) -> None:
        """application/dtmf-relay: Signal and Duration, in any order and spacing; the key itself or its code."""
        for body, key in (
            (b"Signal=5\r\nDuration=160\r\n", "5"),
            (b"Signal= 5\nDuration= 160", "5"),
            (b"Duration=250\r\nsignal = *", "*"),
            (b"Signal=#", "#"),
            (b"Signal=a", "A"),
            (b"Signal=10", "*"),
            (b"Signal=11", "#"),
            (b"Signal=12", "A"),
            (b"Signal=15", "D"),
            (b"Signal=16", None),
            (b"Signal=!", None),
        ):
            self.assertEqual(parse_key(DTMF_RELAY, body), key, body)

    def test_alone(self) -> None:
        """application/dtmf: the key alone."""
        for body, key in ((b"5", "5"), (b" # \r\n", "#"), (b"d", "D"), (b"11", "#"), (b"16", None)):
            self.assertEqual(parse_key(DTMF, body), key, body)

    def test_garbage(self) -> None:
        """What is no key is a RemoteProtocolError, 400."""
        for kind in (DTMF, DTMF_RELAY):
            for body in (
                b"",
                b"x",
                b"Signal=",
                b"Signal=17",
                b"Signal=55",
                b"Signal=E",
                b"\xff",
                b"Signal=\xb2",
                b"Sig=5",
            ):
                with self.assertRaises(RemoteProtocolError) as caught:
                    parse_key(kind, body)
                self.assertEqual(caught.exception.status, 400)

    @given(st.binary(max_size=400), st.sampled_from([DTMF, DTMF_RELAY]))
    def test_nothing_else_is_raised(self, body: bytes, kind: str) -> None:
        """Garbage raises only RemoteProtocolError; what comes back is a key."""
        try:
            key = parse_key(kind, body)
        except RemoteProtocolError:
            return
        self.assertIn(key, (None, *KEYS))

    @given(st.sampled_from(KEYS))
    def test_written_and_read(self, key: str) -> None:
        """What we write is read again."""
        self.assertEqual(parse_key(DTMF_RELAY, format_key(key)), key)


class AnswerTests(SynchronousTestCase):
    """The status."""

    def test_statuses(self) -> None:
        """RFC 6086 4.2.2: 200, 400, 415 with Accept, 469 with Recv-Info; what need not be understood is 200."""
        for request, status, headers, key in (
            (info(), 200, (), None),
            (info(b"Signal=5", DTMF_RELAY), 200, (), "5"),
            (info(b"5", "Application/DTMF ; x=1"), 200, (), "5"),
            (info(b"16", DTMF), 200, (), None),
            (info(b"what", DTMF), 400, (), None),
            (info(b"<x/>", "application/media_control+xml"), 415, (("Accept", ACCEPT),), None),
            (info(b"x"), 415, (("Accept", ACCEPT),), None),
            (info(b"x", "text/plain", Content_Disposition="render;handling = optional"), 200, (), None),
            (info(b"5", DTMF, Info_Package="infoDtmf"), 469, (("Recv-Info", ""),), None),
            (info(Info_Package=""), 469, (("Recv-Info", ""),), None),
        ):
            reading = read_info(request)
            self.assertEqual((reading.status, reading.headers, reading.key), (status, headers, key), request)

    def test_in_a_dialog(self) -> None:
        """RFC 6086 4.2.2: each INFO is answered, its key is passed on once, a repetition gets the same answer again."""
        world = World()
        session, _invite, tag = world.talking()
        request = world.request("INFO", to_tag=tag, cseq=2, Content_Type=DTMF_RELAY)
        request.body = b"Signal=7\r\nDuration=100\r\n"
        world.bob.send(request)
        world.bob.send(request)
        self.assertEqual(world.bob.lines(), ["200 INFO", "200 INFO"])
        self.assertEqual(world.witness.heard, ["confirmed", "key 7"])
        unknown = world.request("INFO", to_tag=tag, cseq=3, Info_Package="foo")
        world.bob.send(unknown)
        refusal = world.bob.one()
        self.assertEqual((refusal.status, refusal.reason, refusal.get("Recv-Info")), (469, "Bad Info Package", ""))
        session.bye()
        self.assertEqual(world.leftovers(), [])

    def test_ours(self) -> None:
        """RFC 6086 4.2: ours goes in the dialog; its status comes back, 0 where there is no dialog or no answer."""
        world = World()
        statuses: list[int] = []
        session, _invite, _tag = world.talking()
        session.inform(DTMF_RELAY, format_key("5"), statuses.append)
        ours = world.bob.one()
        self.assertEqual(
            (ours.method, ours.content_type, ours.body), ("INFO", DTMF_RELAY, b"Signal=5\r\nDuration=100\r\n")
        )
        self.assertEqual(ours.to.tag, "b")
        world.bob.respond(ours, 415)
        session.inform(DTMF_RELAY, format_key("5"), statuses.append)
        world.host.advance(33)
        session.bye()
        session.inform(DTMF_RELAY, format_key("5"), statuses.append)
        early = world.dial()
        early.inform(DTMF_RELAY, format_key("5"), statuses.append)
        early.cancel()
        self.assertEqual(statuses, [415, 0, 0, 0])
        self.assertEqual(world.leftovers(), [])
