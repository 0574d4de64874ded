"""The page shows everything, obeys nothing that peers wrote, and needs nothing from elsewhere."""

from __future__ import annotations

import io
import re
import sys
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.trace import page as module
from telephony.trace.events import MediaPacket, TraceEvent
from telephony.trace.page import page, visible
from telephony.trace.streams import media_notes, spells

from .test_ladder import HOLD, INVITE, NAMES, RINGING, A, B, S, message

#: What the page is made of, and nothing else.
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "header", "h1", "pre", "main", "section", "p", "span", "svg"),
    *("text", "path", "circle", "ol", "li", "a", "details", "summary", "b", "div"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "tabindex", "aria-label", "aria-hidden", "viewbox"),
    *("width", "height", "x", "y", "cx", "cy", "r", "d", "id", "href", "role", "title"),
}


class Reader(HTMLParser):
    """Reads a page: which elements, attributes, links and texts there are, and whether all are closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.labels: list[str] = []
        self.messages: list[str] = []
        self.title = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(found)
        self.ids += [value for key, value in attrs if key == "id" and value]
        self.links += [value for key, value in attrs if key == "href" and value]
        self.labels += [value for key, value in attrs if key == "aria-label" and value]
        if tag != "meta":
            self.open.append(tag)
        if tag == "pre":
            self.messages.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["pre"]:
            self.messages[-1] += data
        if self.open[-1:] == ["title"]:
            self.title += data


def rtp(time: float, payload_type: int = 8, ssrc: int = 1) -> MediaPacket:
    """Return a packet from alice to the server."""
    header = bytes([128, payload_type, 0, 0]) + bytes(4) + ssrc.to_bytes(4, "big")
    return time, ("10.0.0.2", 4000), ("10.0.0.1", 20000), header + bytes(160)


class PageTests(SynchronousTestCase):
    def read(self, text: str) -> Reader:
        """Read a page; hold what is true of each."""
        found = Reader(text)
        self.assertEqual(found.open, [])
        self.assertLessEqual(found.tags, TAGS)
        self.assertLessEqual(found.attributes, ATTRIBUTES)
        self.assertTrue(all(link[0] == "#" and link[1:] in found.ids for link in found.links), found.links)
        self.assertEqual(len(found.ids), len(set(found.ids)))
        self.assertNotRegex(text, r"url\(|@import|https?://")
        self.assertIn("default-src 'none'", text)
        return found

    def test_whole(self) -> None:
        """Messages as arrows that are links, in full below; notes and audio beside; why, above."""
        events = [
            TraceEvent(5.0, A, S, "UDP", INVITE, True),
            TraceEvent(5.5, A, S, "UDP", INVITE, True, "lost"),
            TraceEvent(5.6, B, S, "TCP", RINGING + HOLD, False),
        ]
        media = [rtp(5.2 + i / 50) for i in range(10)]
        notes = [(5.55, "server", "A TRANSFERRING"), (5.6, "carol", "never spoke")]
        text = page(events, NAMES, title="a test", text="why it failed", notes=notes, media=media)
        found = self.read(text)
        self.assertEqual(found.title, "a test")
        self.assertEqual(found.messages[0], "why it failed")
        self.assertEqual(len(found.messages), 5)
        self.assertEqual(found.messages[1], INVITE.decode().replace("\r\n", "\n").rstrip())
        for label in (
            "INVITE 1 sdp, alice to server",
            "INVITE 1 sdp again [lost], alice to server",
            "180 Ringing (INVITE 1), bob to server",
            "PCMA 0.18 s, 10 packets, alice to server",
            "server: A TRANSFERRING",
            "carol: never spoke",
        ):
            self.assertIn(label, found.labels)
        times = [float(time) for time in re.findall(r'<li[^>]*><span class="time">([0-9.]+)', text)]
        self.assertEqual(times, [0.0, 0.2, 0.5, 0.55, 0.6, 0.6, 0.6])

    def test_hostile(self) -> None:
        """Markup, quotes, control characters and directions of writing in every place where a peer can write."""
        evil = "</title></style></pre><script>alert(1)</script><img src=x onerror='y'>\"&lt;\u202e\x1b[0m"
        data = message(f"{evil} SIP/2.0", f"1 {evil}", "v=0\r\na=rtpmap:8 <b>/8000\r\n" + evil, call_id=evil)
        events = [
            TraceEvent(1.0, A, ("10.9.9.9", 1), "UDP", data, True, evil),
            TraceEvent(2.0, A, S, evil, b"SIP/2.0 200 " + evil.encode() + b"\xff\x00", True),
        ]
        text = page(events, {**NAMES, A: evil}, title=evil, text=evil, notes=[(1.0, evil, evil)], media=[rtp(1.0)])
        found = self.read(text)
        self.assertNotIn("\u202e", text)
        self.assertIn("<script>alert(1)</script>", found.messages[0])
        self.assertIn("\\u202e\\x1b[0m", found.messages[0])
        self.assertIn("\\xff\\x00", found.messages[-1])

    def test_visible(self) -> None:
        """Ends of lines and tabs stay, letters of every language too; what can't be seen is spelled out."""
        self.assertEqual(visible("a\r\nb\tc\rd"), "a\nb\tc\\rd")
        self.assertEqual(visible("Jürgen 電話 🙂"), "Jürgen 電話 🙂")
        self.assertEqual(visible("\u200b\u2028\ue000\x7f"), "\\u200b\\u2028\\ue000\\x7f")

    def test_said(self) -> None:
        """What a terminal would obey is spelled out for it, too."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        module.say("180 \x1b[2JBoo\n\x9b31m \u202e…")
        self.assertEqual(out.getvalue(), "180 \\x1b[2JBoo\n\\x9b31m \\u202e…\n")

    def test_empty_and_long(self) -> None:
        """No messages is said; of very many the middle is left out."""
        self.assertIn("(no messages)", page([], NAMES, title="nothing"))
        self.patch(module, "MOST_ROWS", 10)
        found = page([TraceEvent(i, A, S, "UDP", INVITE, True) for i in range(100)], NAMES, title="long")
        self.read(found)
        self.assertIn("90 more", found)

    @given(
        st.lists(st.tuples(st.binary(max_size=60), st.text(max_size=8)), max_size=4),
        st.lists(st.tuples(st.floats(0, 9), st.sampled_from(["alice", "bob", "", "x"]), st.text(max_size=200))),
    )
    def test_anything(self, pieces: list[tuple[bytes, str]], notes: list[tuple[float, str, str]]) -> None:
        """Whatever passed, the page is well-formed."""
        events = [TraceEvent(1.0, A, S, "UDP", data, True, note) for data, note in pieces]
        self.read(page(events, NAMES, title="any", notes=notes))


class StreamTests(SynchronousTestCase):
    def test_spells(self) -> None:
        """A pause, another payload type or SSRC is another spell; RTCP and what is no RTP is none."""
        media = [*(rtp(i / 50) for i in range(5)), rtp(0.1, 101), rtp(0.12, ssrc=2), rtp(0.5), rtp(1.2)]
        media += [(1.3, *rtp(0)[1:3], bytes([128, 200]) + bytes(30)), (1.3, *rtp(0)[1:3], b"\x80\x08")]
        found = [(one.payload_type, one.ssrc, one.start, one.end, one.packets) for one in spells(media)]
        self.assertEqual(
            found, [(8, 1, 0.0, 0.5, 6), (101, 1, 0.1, 0.1, 1), (8, 2, 0.12, 0.12, 1), (8, 1, 1.2, 1.2, 1)]
        )

    def test_notes(self) -> None:
        """A ladder hears where audio begins and has ended; of what was cut off at the front it says nothing."""
        media = [rtp(0.0), rtp(0.1, 101), rtp(2.0)]
        events = [TraceEvent(0.0, A, S, "UDP", message("x", "1 x", "v=0\r\na=rtpmap:101 telephone-event/8000"), True)]
        begins = [(0.0, "alice", "PCMA to server begins"), (0.1, "alice", "telephone-event to server begins")]
        ends = [(0.0, "alice", "PCMA to server ends"), (0.1, "alice", "telephone-event to server ends")]
        again = (2.0, "alice", "PCMA to server begins")
        self.assertEqual(media_notes(media, events, NAMES), [begins[0], ends[0], begins[1], ends[1], again])
        self.assertEqual(media_notes(media, events, NAMES, whole=False), [*ends, again])
        self.assertEqual(media_notes([], [], NAMES), [])
