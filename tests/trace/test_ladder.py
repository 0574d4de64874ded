"""The ladder shows every message, whatever it is."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.trace.events import TraceEvent
from telephony.trace.ladder import call_id_of, label, ladder, messages_in

A, S, B = ("10.0.0.2", 5060), ("10.0.0.1", 5060), ("10.0.0.3", 5060)
NAMES = {A: "alice", S: "server", B: "bob"}


def message(first: str, cseq: str, body: str = "", call_id: str = "c1") -> bytes:
    """Return a message of the fields that matter here."""
    return f"{first}\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


INVITE = message("INVITE sip:bob@10.0.0.3 SIP/2.0", "1 INVITE", "v=0\r\nm=audio 4000 RTP/AVP 8\r\n")
RINGING = message("SIP/2.0 180 Ringing", "1 INVITE")
HOLD = message("INVITE sip:bob@10.0.0.3 SIP/2.0", "2 INVITE", "v=0\r\na=sendonly\r\n")


class LadderTests(SynchronousTestCase):
    def test_labels(self) -> None:
        """Requests, responses, SDP hints, keep-alives and garbage in a few words."""
        self.assertEqual(label(INVITE), "INVITE 1 sdp")
        self.assertEqual(label(RINGING), "180 Ringing (INVITE 1)")
        self.assertEqual(label(HOLD), "INVITE 2 sdp sendonly")
        self.assertEqual(
            label(message("INVITE x SIP/2.0", "3 INVITE", "v=0\r\nc=IN IP4 0.0.0.0\r\n")), "INVITE 3 sdp c=0"
        )
        self.assertEqual(label(message("INFO x SIP/2.0", "4 INFO", "Signal=1")), "INFO 4 +8 bytes")
        self.assertEqual(label(b"\r\n\r\n"), "keep-alive")
        self.assertEqual(label(b"\x00garbage"), "8 bytes")

    def test_drawing(self) -> None:
        """Columns in the order of the names, arrows both ways, notes beside, repetitions and losses marked."""
        events = [
            TraceEvent(5.0, A, S, "UDP", INVITE, True),
            TraceEvent(5.5, A, S, "UDP", INVITE, True, "lost"),
            TraceEvent(5.6, B, S, "UDP", RINGING, False),
            TraceEvent(5.7, ("10.0.0.3", 49160), A, "TCP", RINGING + HOLD, False),
        ]
        drawn = ladder(events, NAMES, notes=[(5.55, "server", "A TRANSFERRING")])
        lines = drawn.splitlines()
        self.assertEqual(lines[0].split(), ["alice", "server", "bob"])
        self.assertIn("|-- INVITE 1 sdp ---", lines[1])
        self.assertTrue(lines[1].startswith("     0.000  "))
        self.assertIn("again [lost]", lines[2])
        self.assertTrue(lines[3].endswith("server: A TRANSFERRING"))
        self.assertIn("|<-- 180 Ringing (INVITE 1) ---", lines[4])
        self.assertEqual(len(lines), 7)

    def test_filter(self) -> None:
        """Only the calls that were asked for."""
        other = message("OPTIONS x SIP/2.0", "1 OPTIONS", call_id="c2")
        events = [TraceEvent(0, A, S, "UDP", data, True) for data in (INVITE, other)]
        self.assertNotIn("OPTIONS", ladder(events, NAMES, call_ids=["c1"]))
        self.assertEqual(call_id_of(other), "c2")
        self.assertEqual(ladder([], NAMES), "(no messages)\n")

    def test_long(self) -> None:
        """A long trace keeps its beginning and its end."""
        events = [TraceEvent(i, A, S, "UDP", INVITE, True) for i in range(1000)]
        lines = ladder(events, NAMES).splitlines()
        self.assertEqual(len(lines), 402)
        self.assertIn("600 more", lines[201])

    @given(st.lists(st.tuples(st.binary(max_size=80), st.sampled_from([A, S, B, ("::1", 9)])), max_size=8))
    def test_anything(self, pieces: list[tuple[bytes, tuple[str, int]]]) -> None:
        """Whatever bytes come, there is a ladder, and a stream is cut without loss."""
        for data, _ in pieces:
            self.assertEqual(b"".join(messages_in(data)), data)
        ladder([TraceEvent(0.0, source, S, "UDP", data, True) for data, source in pieces], NAMES)
