"""The format of recordings and their ring (issue 3, "Replay")."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import Error
from telephony.trace.comparison import beside, first_difference
from telephony.trace.events import TraceEvent
from telephony.trace.recording import (
    MOST_BYTES,
    Ring,
    line_of,
    message_entry,
    names_of,
    over_line,
    read_recording,
    state_line,
    verb_line,
    without_secrets,
    words_without_secrets,
)

HEAD = {"telephony": "recording", "version": 1, "call": "a@b", "began": 1.5, "dropped": 0}
HERE, THERE = ("10.0.0.1", 5060), ("192.0.2.7", 5070)


def text(*entries: object, **head: object) -> str:
    """Return a file's text."""
    return "\n".join(json.dumps(one) for one in [HEAD | head, *entries]) + "\n"


def event(data: bytes, *, sent: bool = False) -> TraceEvent:
    """Return a message that passed."""
    return TraceEvent(0.0, HERE if sent else THERE, THERE if sent else HERE, "UDP", data, sent)


class RingTests(SynchronousTestCase):
    """At most 16 KiB for each call; what is full drops its oldest, and counts it."""

    @given(st.lists(st.integers(1, 5000), max_size=200))
    def test_bounded(self, lengths: list[int]) -> None:
        """However much is added, a ring keeps to its bytes, loses the oldest first, and counts every loss."""
        ring = Ring()
        lines = [b"%d" % index + b"x" * length for index, length in enumerate(lengths)]
        for line in lines:
            ring.add(line)
            self.assertLessEqual(ring.size, MOST_BYTES)
        kept = ring.lines()
        self.assertEqual(len(kept) + ring.dropped, len(lines))
        self.assertEqual(kept, lines[:1] + lines[1 + ring.dropped :])

    def test_opening_stays(self) -> None:
        """The opening is what a call can't be played without: it stays."""
        ring = Ring(1000)
        for index in range(100):
            ring.add(b"%d" % index)
        self.assertEqual(ring.lines()[0], b"0")
        self.assertEqual(ring.lines()[-1], b"99")

    def test_long_message(self) -> None:
        """A message that would take the ring for itself is cut, and says how long it was."""
        entry = message_entry(0.0, event(b"INVITE sip:a SIP/2.0\r\n" + b"X: y\r\n" * 5000), b"x" * 30_000)
        self.assertEqual(entry["cut"], 30_000)
        self.assertLess(len(line_of(entry)), MOST_BYTES // 2)


class SecretTests(SynchronousTestCase):
    """Issue 3: no Authorization, password or key gets into a ring."""

    def test_message(self) -> None:
        """Credentials, SRTP keys, ICE passwords and passwords in URIs are covered; what routes a message is not."""
        data = (
            b"INVITE sip:bob:geheim@192.0.2.7:5070 SIP/2.0\r\n"
            b"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKab\r\n"
            b"Call-ID: one:two@three\r\n"
            b'Proxy-Authorization: Digest username="bob", response="0123abcd"\r\n'
            b"Authorization: Basic Ym9iOmdlaGVpbQ==\r\n"
            b"Contact: <sip:a@192.0.2.1:5060>, <sips:b:pw@[2001:db8::1]>\r\n\r\n"
            b"v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n"
            b"a=ice-pwd:asd88fgpdd777uzjYhagZg\r\n"
        )
        covered = without_secrets(data)
        self.assertEqual(len(covered), len(data))
        for secret in (b"geheim", b"0123abcd", b"Ym9iOmdlaGVpbQ", b":pw@", b"d0Rmdmcm", b"asd88"):
            self.assertNotIn(secret, covered)
        for kept in (b"bob", b"@192.0.2.7:5070", b"one:two@three", b"sip:a@192.0.2.1:5060", b"z9hG4bKab", b"inline:"):
            self.assertIn(kept, covered)

    def test_words(self) -> None:
        """What an application was given or said is covered where it looks like a password."""
        said = words_without_secrets('sip:bob:pw@h password=\'x y\' {"pin": "1234"} https://u:p@h/ sip:3301@h:5070')
        for secret in ("pw@", "x y", "1234", ":p@"):
            self.assertNotIn(secret, said)
        self.assertIn("sip:3301@h:5070", said)


class ReadingTests(SynchronousTestCase):
    """A bad file is one sentence, with its line, and what is allowed."""

    def refused(self, text_: str) -> str:
        return str(self.assertRaises(Error, read_recording, text_, "f.jsonl"))

    def test_no_recording(self) -> None:
        """What is no recording says so."""
        self.assertIn("f.jsonl is empty", self.refused(""))
        self.assertIn("f.jsonl, line 1: is no JSON", self.refused("hello"))
        self.assertIn("line 1: is no JSON object", self.refused("[]"))
        self.assertIn("line 1: is no recording", self.refused("{}"))
        self.assertIn("line 1: is no JSON", self.refused("[" * 100_000))

    def test_versions(self) -> None:
        """Another version is refused, with those that are allowed."""
        self.assertEqual("f.jsonl, line 1: version 2 can't be read; allowed: 1", self.refused(text(version=2)))

    def test_entries(self) -> None:
        """An entry that is wrong is named by its line, its key and what is there."""
        good = {"t": 0, "channel": 0, "state": "IDLE"}
        self.assertIn("line 3: 't' is -1", self.refused(text(good, good | {"t": -1})))
        self.assertIn("line 2: 't' is None", self.refused(text({"state": "IDLE"})))
        self.assertIn("line 2: is of no kind that is known; allowed: in, out", self.refused(text({"t": 0, "x": 1})))
        self.assertIn("line 2: 'channel' is missing", self.refused(text({"t": 0, "state": "IDLE"})))
        self.assertIn(
            "line 2: 'from' is", self.refused(text({"t": 0, "in": "x", "by": "UDP", "from": 5, "to": [1, 2]}))
        )
        self.assertIn("line 1: 'server' is 7", self.refused(text(server=7)))

    @given(st.text() | st.lists(st.dictionaries(st.sampled_from(["t", "in", "from", "verb"]), st.integers())))
    def test_anything(self, told: object) -> None:
        """Whatever is in a file, it is read, or refused with an Error."""
        given_text = told if isinstance(told, str) else text(*told)  # type: ignore[misc]
        try:
            read_recording(given_text, "f")
        except Error as error:
            self.assertTrue(str(error).startswith("f"))

    @given(st.binary(max_size=300))
    def test_bytes_come_back(self, data: bytes) -> None:
        """What passed is read back to the byte, text or not."""
        entry = message_entry(0.0, event(data), data)
        (back,) = read_recording(text(entry), "f").events()
        self.assertEqual(back.data, without_secrets(data))


class ComparisonTests(SynchronousTestCase):
    """What counts as the same, and what is shown."""

    def message(self, time: float, data: str, *, sent: bool = False) -> dict[str, object]:
        return message_entry(time, event(data.encode(), sent=sent), data.encode())

    def test_numbers_and_repetitions_do_not_count(self) -> None:
        """CSeq, tags and repeated messages are no differences; another status is one, with its moment."""
        answer = "SIP/2.0 200 OK\r\nCall-ID: a\r\nCSeq: 7 INVITE\r\nTo: <sip:x@y>;tag=1\r\n\r\n"
        first = read_recording(text(self.message(1, answer, sent=True), self.message(2, answer, sent=True)), "f")
        other = answer.replace("7", "1").replace("tag=1", "tag=2")
        second = read_recording(text(self.message(3, other, sent=True)), "f")
        self.assertIsNone(first_difference(first, second))
        third = read_recording(text(self.message(3, other.replace("200 OK", "486 Busy"), sent=True)), "f")
        difference = first_difference(first, third)
        assert difference is not None
        self.assertEqual((difference.time, difference.recorded), (1, "200 OK (INVITE)"))
        self.assertRegex(beside(first, third), r"(?m)^- +1\.000 .*200 OK")
        self.assertRegex(beside(first, third), r"(?m)^\+ +3\.000 .*486 Busy")

    def test_dropped_is_not_asked_for(self) -> None:
        """What a full ring has lost is no difference."""
        states = [{"t": t, "channel": 0, "state": f"S{t}"} for t in range(5)]
        full = read_recording(text(*states), "f")
        lost = read_recording(text(states[0], *states[3:], dropped=2), "f")
        self.assertIsNone(first_difference(lost, full))
        self.assertIsNotNone(first_difference(full, lost))

    def test_names(self) -> None:
        """A far end is called by its first request; two of one name are told apart; the server is between."""
        invite = b"INVITE sip:x SIP/2.0\r\nCall-ID: %d\r\nFrom: <sip:alice@h>\r\nTo: <sip:alice@i>\r\n\r\n"
        came = TraceEvent(0, ("192.0.2.1", 5060), HERE, "UDP", invite % 1, False)
        went = TraceEvent(0, HERE, ("192.0.2.2", 5060), "UDP", invite % 2, True)
        self.assertEqual(list(names_of([came, went]).values()), ["alice", "server", "alice (2)"])

    def test_names_in_quotes(self) -> None:
        """RFC 3261 25.1: an address within a display name is a part of that name, and names nobody."""
        for display in (b'"sip:bank@b"', b'"a\\" <sip:bank@b>"', b'"" "sip:bank@b"'):
            text_ = b"INVITE sip:x SIP/2.0\r\nCall-ID: 1\r\nFrom: " + display + b" <sip:eve@h>\r\n\r\n"
            self.assertEqual(
                next(iter(names_of([TraceEvent(0, ("192.0.2.1", 1), HERE, "UDP", text_, False)]).values())), "eve"
            )


class WrittenOutTests(SynchronousTestCase):
    def test_as_any_entry(self) -> None:
        """The lines that are written out are those that their entries would give, whatever an application says."""
        said = 'sip:zo\udceb"\\\n\u2026'
        told = {"t": 1e-06, "channel": 1}
        self.assertEqual(state_line(1e-06, 1, "IDLE", "NORMAL"), line_of(told | {"state": "IDLE", "cause": "NORMAL"}))
        self.assertEqual(state_line(1e-06, 1, "ANSWERED"), line_of(told | {"state": "ANSWERED"}))
        self.assertEqual(
            verb_line(1e-06, 1, 2, "call", said), line_of(told | {"verb": 2, "name": "call", "args": said})
        )
        for how in ("is", "raised"):
            self.assertEqual(
                over_line(1e-06, 1, 2, "call", how, said),  # type: ignore[arg-type]
                line_of(told | {"over": 2, "name": "call", how: said}),
            )
        odd = {"t": 2.5, "channel": True, "none": None, "list": [1, "a"], "inf": float("inf"), "own": {"a": 1}}
        self.assertEqual(line_of(odd), json.dumps(odd, separators=(",", ":")).encode())
