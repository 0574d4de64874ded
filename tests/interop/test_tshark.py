"""Issue 3, what it must show, 5: tshark reads the capture of a simulated call as we meant it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.call.resources import TonePlayer
from telephony.sip.parser import parse_message
from telephony.testing.artifacts import write_artifacts
from telephony.testing.case import CallTestCase
from telephony.testing.sounds import tone
from telephony.trace.events import MediaPacket, TraceEvent
from telephony.trace.ladder import messages_in
from telephony.trace.pcap import capture
from telephony.trace.streams import spells

TSHARK = shutil.which("tshark")
NO_TSHARK = None if TSHARK else "tshark is not installed (Debian: tshark)"

#: Let it check what it does not check by default.
CHECKS = [word for kind in ("ip", "udp", "tcp") for word in ("-o", f"{kind}.check_checksum:TRUE")]


def tshark(capture_file: Path, *arguments: str) -> list[str]:
    """Let tshark read a file; return what it says, in lines."""
    command = [str(TSHARK), "-n", "-r", str(capture_file), *CHECKS, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines()


def fields(capture_file: Path, only: str, *names: str) -> list[list[str]]:
    """Return fields of the packets that a display filter lets through; several of one name have a bar between."""
    wanted = [word for name in names for word in ("-e", name)]
    lines = tshark(capture_file, "-Y", only, "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|", *wanted)
    return [line.split("\t") for line in lines]


def start_line(data: bytes) -> str:
    """Return a message's first line."""
    return data.partition(b"\r\n")[0].decode()


class ReadByTshark:
    """What is asked of every capture."""

    def assert_sound(self: SynchronousTestCase, capture_file: Path) -> None:  # type: ignore[misc]
        """Hold that tshark finds nothing malformed, no wrong checksum, and TCP streams without a hole."""
        wrong = (
            "_ws.malformed || _ws.expert.severity >= 6291456 || ip.checksum.status == 0 || udp.checksum.status == 0"
            " || tcp.checksum.status == 0 || tcp.analysis.flags || _ws.short"
        )
        self.assertEqual(tshark(capture_file, "-Y", wrong), [])
        # The filter is not empty because nothing was checked.
        checked = "udp.checksum.status == 1 || tcp.checksum.status == 1"
        self.assertEqual(len(tshark(capture_file, "-Y", checked)), len(tshark(capture_file)))


class SimulatedCallTests(ReadByTshark, CallTestCase):
    """A transferred call: the caller over UDP, the target over TCP, both talking."""

    skip = NO_TSHARK

    def transferred(self) -> None:
        """Alice is answered, transferred to bob, and bob hangs up."""

        async def main(channel: CallChannel) -> None:
            await channel.answer()
            TonePlayer(channel)  # the caller hears its ringback tone while the target rings
            await channel.retrievable_transfer(self.exchange.channel(), bob.uri, seconds_timeout=20)
            self.assertIs(await channel.wait_for_transferred_call_retrieval(), State.ANSWERED)
            await channel.hang_up()

        alice, bob = self.phone("alice"), self.phone("bob", transport="tcp", auto_ring=True)
        self.serve(main)
        alice.says(tone(500))
        bob.says(tone(1000))
        alice.dial(self.uri("100"))
        self.run_until(bob.until("ringing"))
        self.advance(1)
        bob.answer()
        self.run_until(alice.until_hears(1000))
        self.run_until(alice.press("12"))
        self.advance(6)
        self.run_until(bob.hang_up())
        self.run_until(alice.until("ended"))
        self.advance(1)

    def test_transferred_call(self) -> None:
        """The same messages, the same RTP streams, and no malformed packet."""
        self.transferred()
        wire, shown = write_artifacts(
            Path(self.mktemp()), self.id(), self.network, self._names(), notes=self.notes, start=self._began
        )
        self.assertIn("<svg", shown.read_text())
        self.assert_sound(wire)
        for transport in ("udp", "tcp"):
            ours = [
                start_line(data)
                for event in self.network.events
                if event.transport == transport.upper()
                for data in messages_in(event.data)
            ]
            theirs = fields(wire, f"sip && {transport}", "sip.Request-Line", "sip.Status-Line")
            # Several messages in one piece of a stream are one packet to it.
            found = [line for row in theirs for field in row for line in field.split("|") if line]
            self.assertEqual(sorted(found), sorted(ours))
            self.assertGreater(len(ours), 5)
        self.assert_streams(wire)
        told = [comment for (comment,) in fields(wire, "frame.comment", "frame.comment")]
        self.assertTrue(any("TRANSFERRED" in comment for comment in told), told)

    def assert_streams(self, wire: Path) -> None:
        """Hold what tshark says of RTP against what was sent: who, which SSRC, how many packets."""
        ours: dict[tuple[str, ...], int] = {}
        for spell in spells(self.network.media):
            key = (*map(str, spell.source), *map(str, spell.destination), f"0x{spell.ssrc:08x}")
            ours[key] = ours.get(key, 0) + spell.packets
        number = r"([0-9a-fA-F.:]+)"
        line = re.compile(rf"^\s*\S+\s+\S+\s+{number}\s+(\d+)\s+{number}\s+(\d+)\s+(0x[0-9A-Fa-f]+)\s+(.+?)\s+(\d+)\s")
        found = [line.match(one) for one in tshark(wire, "-q", "-z", "rtp,streams")]
        theirs = {(m[1], m[2], m[3], m[4], m[5].lower()): int(m[7]) for m in found if m}
        self.assertEqual(theirs, ours)
        self.assertEqual(len(ours), 4)
        codecs = " ".join(m[6] for m in found if m)
        self.assertIn("g711A", codecs)
        reports = len(tshark(wire, "-Y", "rtcp"))
        self.assertEqual(reports, sum(192 <= data[1] <= 223 for _, _, _, data in self.network.media))
        self.assertGreater(reports, 0)
        pressed = [row[0] for row in fields(wire, "rtpevent.end_of_event == 1", "rtpevent.event_id")]
        self.assertEqual(sorted(set(pressed)), ["1", "2"])


class OtherFamilyTests(ReadByTshark, SynchronousTestCase):
    """What the simulated call does not have: IPv6, pieces that are no whole messages, garbage."""

    skip = NO_TSHARK

    def test_ipv6(self) -> None:
        """Over IPv6, a message cut into pieces and one longer than a segment are put together again."""
        one, other = ("2001:db8::1", 40000), ("2001:db8::2", 5060)
        options = (
            b"OPTIONS sip:b@[2001:db8::2] SIP/2.0\r\nVia: SIP/2.0/TCP [2001:db8::1]:40000;branch=z9hG4bK1\r\n"
            b"From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n"
            b"Max-Forwards: 70\r\nSubject: " + b"long " * 700 + b"\r\nContent-Length: 0\r\n\r\n"
        )
        self.assertIsNotNone(parse_message(options))
        events = [
            TraceEvent(1.0, one, other, "TCP", options[:100], True),
            TraceEvent(1.1, one, other, "TCP", options[100:], True),
            TraceEvent(1.2, other, one, "TCP", b"\r\n\r\n", True),
            TraceEvent(1.3, ("2001:db8::1", 5060), other, "UDP", options, True, "lost"),
            TraceEvent(1.4, ("2001:db8::1", 5060), other, "UDP", b"\r\n\r\n", True),
            TraceEvent(1.5, ("192.0.2.1", 5060), ("192.0.2.2", 5060), "UDP", b"odd", True),
            TraceEvent(1.6, ("192.0.2.1", 5060), ("192.0.2.2", 5060), "UDP", b"", True),
        ]
        media: list[MediaPacket] = [
            (1.25, ("2001:db8::1", 4000), ("2001:db8::2", 4000), bytes([128, 8, 0, 1]) + bytes(8) + b"\xd5" * 160)
        ]
        wire = Path(self.mktemp())
        wire.write_bytes(capture(events, media, names={one: "alice", other: "bob"}))
        self.assert_sound(wire)
        found = fields(wire, "sip.Request-Line", "frame.time_epoch", "sip.Subject")
        self.assertEqual([(float(time), len(subject)) for time, subject in found], [(1.1, 3500), (1.3, 3500)])
        self.assertEqual(len(tshark(wire, "-Y", "udp.port == 4000 && frame.time_epoch == 1.25")), 1)
        self.assertEqual(fields(wire, "frame.comment == lost", "udp.srcport"), [["5060"]])
