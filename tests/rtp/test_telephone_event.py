"""Telephone events (RFC 4733)."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.rtp.telephone_event import DIGITS, PressDetector, TelephoneEvent, digit_of, event_of, parse_event


def packet(event: int, duration: int, end: bool = False) -> bytes:
    """Return the payload of one packet of a press."""
    return TelephoneEvent(event, duration, end).to_bytes()


class EventTests(SynchronousTestCase):
    def test_bytes(self) -> None:
        """Event, E bit and volume, duration (2.3)."""
        self.assertEqual(TelephoneEvent(11, 800, True, 10).to_bytes(), b"\x0b\x8a\x03\x20")
        self.assertEqual(parse_event(b"\x0b\x8a\x03\x20more"), TelephoneEvent(11, 800, True, 10))
        self.assertRaises(RemoteProtocolError, parse_event, b"\x0b\x8a\x03")

    def test_keys(self) -> None:
        """Events 0 to 15 (table 3)."""
        self.assertEqual([event_of(one) for one in DIGITS], list(range(16)))
        self.assertEqual([digit_of(event_of(one)) for one in DIGITS], list(DIGITS))
        self.assertEqual(event_of("d"), 15)
        self.assertIsNone(digit_of(16))  # flash


class PressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.presses = PressDetector()

    def feed(self, *packets: tuple[int, bytes], ssrc: int = 1) -> str:
        return "".join(self.presses.feed(ssrc, at, payload) or "" for at, payload in packets)

    def test_one_press(self) -> None:
        """Updates and three end packets are one press (2.5.1.4); it is told by its first packet."""
        self.assertEqual(self.feed((160, packet(5, 160))), "5")
        self.assertEqual(
            self.feed((160, packet(5, 320)), *[(160, packet(5, 480, True))] * 3, (160, packet(5, 320))), ""
        )

    def test_two_presses_of_one_key(self) -> None:
        """Another timestamp is another press (2.1)."""
        self.assertEqual(self.feed((0, packet(5, 480, True)), (960, packet(5, 160)), (960, packet(5, 480, True))), "55")

    def test_only_the_end_arrives(self) -> None:
        """A press of which only an end packet arrives counts (2.5.1.4, architecture rule 12)."""
        self.assertEqual(self.feed((0, packet(1, 800, True)), (1600, packet(2, 800, True))), "12")

    def test_reordered(self) -> None:
        """Packets of one press that come after the next press's first say nothing new."""
        self.assertEqual(
            self.feed(
                (0, packet(1, 160)), (800, packet(2, 160)), (0, packet(1, 320, True)), (800, packet(2, 320, True))
            ),
            "12",
        )

    def test_a_long_press(self) -> None:
        """A press beyond 65535 goes on in another segment and is no second one (2.5.1.3)."""
        start = 0xFFFFFF00
        after = (start + 0xFFFF) & 0xFFFFFFFF
        self.assertEqual(
            self.feed((start, packet(9, 65000)), (after, packet(9, 160)), (after, packet(9, 800, True))), "9"
        )
        again = (after + 0xFFFF) & 0xFFFFFFFF
        self.assertEqual(self.feed((again, packet(9, 160))), "9")  # that one had ended

    def test_another_source(self) -> None:
        """The same timestamp from another SSRC is another press."""
        self.assertEqual(self.feed((0, packet(3, 160))) + self.feed((0, packet(3, 160)), ssrc=2), "33")

    def test_no_key(self) -> None:
        """A hook flash is no digit."""
        self.assertEqual(self.feed((0, packet(16, 160))), "")

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(3, 8)), max_size=12), st.data())
    def test_any_loss_but_of_all(self, keys: list[tuple[int, int]], data: st.DataObject) -> None:
        """Whatever packets of a press are lost or doubled, as long as one comes, it is told once."""
        presses = PressDetector()
        heard = ""
        for n, (key, count) in enumerate(keys):
            sent = [packet(key, 160 * (i + 1), i >= count - 3) for i in range(count)]
            come = data.draw(st.lists(st.sampled_from(sent), min_size=1, max_size=2 * count))
            heard += "".join(presses.feed(7, n * 8000, one) or "" for one in come)
        self.assertEqual(heard, "".join(str(key) for key, _ in keys))
