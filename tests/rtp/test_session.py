"""One leg's RTP session: the bytes it sends and what it makes of those it gets."""

import gc
import itertools
import weakref

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.codecs.g711 import ALAW_TO_ULAW
from telephony.rtp.packet import Packet, parse_packet
from telephony.rtp.ports import PortPool
from telephony.rtp.rtcp import Description, Goodbye, Report, ReportBlock, parse_compound
from telephony.rtp.session import RtpSession
from telephony.rtp.telephone_event import TelephoneEvent
from tests.rtp.fakes import Far, Heard, Wire, agreed, session

FAR = ("10.0.0.1", 4000)


class SessionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self) -> None:
        self.wire = Wire()
        self.far = Far(self.wire, FAR)
        self.pool = PortPool(self.wire, 20000, 20999)  # type: ignore[arg-type]
        self.rtp = session(self.wire, pool=self.pool)
        self.heard = Heard()
        self.rtp.receiver = self.heard
        self.digits: list[str] = []
        self.rtp.on_digit = self.digits.append

    def speak(self, frames: int, payload: bytes = b"\x11" * 160) -> None:
        for _ in range(frames):
            self.rtp.send_audio(payload, 160)
            self.wire.clock.advance(0.02)


class SendingTests(SessionCase):
    def test_nothing_before_sdp(self) -> None:
        """Before there is an agreement nothing is sent, and nothing taken."""
        self.speak(3)
        self.far.send(self.rtp.address, 1)
        self.assertEqual((self.far.packets, self.heard.audios), ([], []))

    def test_a_stream(self) -> None:
        """Sequence by one, timestamp by samples, one SSRC, the marker on the first (RFC 3550 5.1, 3551 4.1)."""
        self.rtp.apply(agreed(FAR))
        self.speak(3)
        first = self.far.packets[0]
        self.assertEqual(
            self.far.packets,
            [
                Packet(
                    8,
                    (first.sequence + n) & 0xFFFF,
                    (first.timestamp + 160 * n) & 0xFFFFFFFF,
                    self.rtp.ssrc,
                    b"\x11" * 160,
                    n == 0,
                )
                for n in range(3)
            ],
        )

    def test_over_the_end_of_the_numbers(self) -> None:
        """Sequence and timestamp go on over 2^16 and 2^32."""
        self.rtp.apply(agreed(FAR))
        self.rtp._sequence, self.rtp._timestamp = 0xFFFF, 0xFFFFFFFF
        self.speak(2)
        self.assertEqual([(one.sequence, one.timestamp) for one in self.far.packets], [(0xFFFF, 0xFFFFFFFF), (0, 159)])

    def test_held(self) -> None:
        """While the peer wants nothing, nothing is sent; time goes on, and the first packet after has the marker."""
        self.rtp.apply(agreed(FAR))
        self.speak(2)
        self.rtp.apply(agreed(FAR, send=False))
        self.speak(10)
        self.rtp.apply(agreed(FAR))
        self.speak(1)
        last, resumed = self.far.packets[-2:]
        self.assertEqual((resumed.sequence - last.sequence) & 0xFFFF, 1)
        self.assertEqual((resumed.timestamp - last.timestamp) & 0xFFFFFFFF, 11 * 160)
        self.assertEqual((last.marker, resumed.marker), (False, True))

    def test_held_at_nowhere(self) -> None:
        """c=0.0.0.0 stops RTP and RTCP (RFC 3264 8.4)."""
        self.rtp.apply(agreed(FAR))
        self.rtp.apply(agreed(None, send=False))
        self.speak(2)
        self.wire.clock.advance(10)
        self.rtp.poll(self.wire.clock.seconds())
        self.assertEqual((self.far.packets, self.far.rtcp), ([], []))

    def test_an_event(self) -> None:
        """All packets of an event have its first timestamp, only the first the marker (RFC 4733 2.5.1)."""
        self.rtp.apply(agreed(FAR, event_payload_type=97))
        self.speak(1)
        for n in range(3):
            self.rtp.send_event(5, 10, 160 * (n + 1), n == 2, n == 0)
            self.rtp.skip(160)
        self.speak(1)
        audio, *events, after = self.far.packets
        start = (audio.timestamp + 160) & 0xFFFFFFFF
        self.assertEqual(
            [(one.payload_type, one.timestamp, one.marker, one.payload) for one in events],
            [(97, start, n == 0, TelephoneEvent(5, 160 * (n + 1), n == 2).to_bytes()) for n in range(3)],
        )
        self.assertEqual((after.timestamp - start) & 0xFFFFFFFF, 480)
        self.assertEqual([(one.sequence - audio.sequence) & 0xFFFF for one in (*events, after)], [1, 2, 3, 4])

    def test_no_event_for_who_takes_none(self) -> None:
        """Without a payload type for events none is sent."""
        self.rtp.apply(agreed(FAR, event_payload_type=None))
        self.rtp.send_event(5, 10, 160, False, True)
        self.assertEqual(self.far.packets, [])

    def test_same_seed_same_bytes(self) -> None:
        """I9: the same seed and calls give the same bytes."""
        sent = []
        for _ in range(2):
            self.make()
            self.rtp.apply(agreed(FAR))
            self.speak(300)
            self.rtp.poll(self.wire.clock.seconds())
            self.rtp.close()
            sent.append((self.far.packets, self.far.rtcp))
        self.assertEqual(sent[0], sent[1])


class RelayTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.rtp.apply(agreed(FAR))

    def relay(self, sequence: int, timestamp: int, marker: bool = False, table: bytes | None = None) -> bool:
        data = bytes(Packet(0, sequence & 0xFFFF, timestamp, 9, bytes((sequence & 0xFF,)) * 160, marker).to_bytes())
        return self.rtp.relay(
            8, data, 12, len(data), sequence, timestamp, marker, 160, self.wire.clock.seconds(), table
        )

    def shape(self) -> list[tuple[int, int, bool]]:
        first = self.far.packets[0]
        return [
            ((one.sequence - first.sequence) & 0xFFFF, (one.timestamp - first.timestamp) & 0xFFFFFFFF, one.marker)
            for one in self.far.packets
        ]

    def test_between_frames_of_ours(self) -> None:
        """A relayed stream follows ours and ours follows it without a break, each change with the marker."""
        self.speak(2)
        for n in range(3):
            self.assertTrue(self.relay(70000 + n, 5000 + 160 * n))
            self.wire.clock.advance(0.02)
        self.rtp.resume()
        self.speak(1)
        self.assertEqual(
            self.shape(),
            [(0, 0, True), (1, 160, False), (2, 320, True), (3, 480, False), (4, 640, False), (5, 800, True)],
        )
        self.assertEqual([one.payload[:1] for one in self.far.packets[2:5]], [b"\x70", b"\x71", b"\x72"])
        self.assertEqual({one.ssrc for one in self.far.packets}, {self.rtp.ssrc})

    def test_distances_are_kept(self) -> None:
        """A packet lost or late on the way in is so on the way out; the marker of a talkspurt passes."""
        for sequence, timestamp, marker in ((10, 0, False), (12, 320, False), (11, 160, False), (14, 4000, True)):
            self.relay(sequence, timestamp, marker)
        self.assertEqual(self.shape(), [(0, 0, True), (2, 320, False), (1, 160, False), (4, 4000, True)])

    def test_from_before_the_change(self) -> None:
        """A packet from before the mapping was set would take a number that is gone: dropped and counted."""
        self.relay(10, 1600)
        self.assertFalse(self.relay(9, 1440))
        self.assertEqual(self.rtp.statistics.dropped_late, 1)

    def test_another_stream(self) -> None:
        """After a restart of the far side numbers go on by one and time by what has passed."""
        self.relay(10, 0)
        self.wire.clock.advance(0.06)
        self.rtp.restart_relay()
        self.relay(50000, 123456)
        self.assertEqual(self.shape(), [(0, 0, True), (1, 480, True)])

    def test_held(self) -> None:
        """To a held leg nothing goes, each is counted, and it begins anew when the leg resumes."""
        self.relay(10, 0)
        self.rtp.apply(agreed(FAR, send=False))
        self.wire.clock.advance(1)
        self.assertFalse(self.relay(60, 8000))
        self.rtp.apply(agreed(FAR))
        self.relay(61, 8160)
        self.assertEqual(self.shape(), [(0, 0, True), (1, 8000, True)])
        self.assertEqual(self.rtp.statistics.dropped_held, 1)

    def test_another_law(self) -> None:
        """A-law to mu-law changes the payload byte by byte, and nothing of the header."""
        self.relay(10, 0, table=ALAW_TO_ULAW)
        self.assertEqual(self.far.packets[0].payload, (b"\x0a" * 160).translate(ALAW_TO_ULAW))
        self.assertEqual((self.far.packets[0].payload_type, self.far.packets[0].ssrc), (8, self.rtp.ssrc))

    def test_what_surrounds_the_payload_stays_here(self) -> None:
        """CSRCs, extension and padding of the far side's packet are not passed on."""
        data = b"\xb1\x00" + bytes(10) + b"CSRC" + b"\xbe\xde\x00\x01abcd" + b"payload" + b"\0\0\x03"
        self.rtp.relay(8, data, 24, 31, 1, 0, False, 7, 0.0)
        self.assertEqual(self.far.packets[0].payload, b"payload")
        self.assertEqual(self.far.rtp_port.wire.ports[self.rtp.address].sent[0][0][0], 0x80)

    def test_an_event(self) -> None:
        """A relayed event keeps its timestamp over its packets (RFC 4733 2.5.1)."""
        self.relay(10, 0)
        for n in range(2):
            self.wire.clock.advance(0.02)
            payload = TelephoneEvent(1, 160 * (n + 1)).to_bytes()
            data = bytes(Packet(96, 11 + n, 160, 9, payload, n == 0).to_bytes())
            self.rtp.relay(101, data, 12, len(data), 11 + n, 160, n == 0, 0, self.wire.clock.seconds())
        self.wire.clock.advance(0.02)
        self.relay(13, 640)
        self.assertEqual(self.shape(), [(0, 0, True), (1, 160, True), (2, 160, False), (3, 640, False)])


class ReceivingTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.rtp.apply(agreed(FAR))

    def test_audio(self) -> None:
        """Codec by payload type, extended numbers, what surrounds the payload left out."""
        self.far.send(self.rtp.address, 65535, b"one")
        self.far.send(self.rtp.address, 0, b"two", payload_type=0, timestamp=99, marker=True)
        (_, _, first, *_), _ = self.heard.audios
        self.assertEqual(
            self.heard.audios,
            [("PCMA", b"one", first, 65535 * 160, False), ("PCMU", b"two", first + 1, 99, True)],
        )

    def test_each_once(self) -> None:
        """A duplicate is dropped and counted; a late packet is passed with its own number."""
        for sequence in (5, 7, 6, 6, 7):
            self.far.send(self.rtp.address, sequence, bytes((sequence,)))
        self.assertEqual([one[1] for one in self.heard.audios], [b"\5", b"\7", b"\6"])
        self.assertEqual((self.rtp.statistics.duplicates, self.rtp.statistics.packets_received), (2, 3))

    def test_other_payload_types(self) -> None:
        """What wasn't agreed is dropped and counted."""
        self.far.send(self.rtp.address, 5, payload_type=13)
        self.assertEqual((self.heard.audios, self.rtp.statistics.dropped_payload), ([], 1))

    def test_a_peer_that_should_not_send(self) -> None:
        """While inactive or sendonly was agreed, what comes is dropped and counted (RFC 3264 5.1)."""
        self.rtp.apply(agreed(FAR, receive=False))
        self.far.send(self.rtp.address, 5)
        self.assertEqual((self.heard.audios, self.rtp.statistics.dropped_direction), ([], 1))

    def test_digits(self) -> None:
        """R27: each press once, whatever is repeated; a press of which only the end comes counts."""
        sequence = 0
        for at, key, packets in ((160, 1, 6), (1600, 1, 6), (3200, 12, 1)):
            for n in range(packets):
                payload = TelephoneEvent(key, 160 * (n + 1), n >= packets - 3).to_bytes()
                self.far.send(self.rtp.address, sequence, payload, timestamp=at, payload_type=101)
                sequence += 1
        self.assertEqual(self.digits, ["1", "1", "A"])
        self.assertEqual(len(self.heard.events), 13)
        self.assertEqual(self.heard.audios, [])

    def test_a_new_ssrc(self) -> None:
        """R22: a new SSRC from the same address is accepted, and told as another stream; losses are kept."""
        self.far.send(self.rtp.address, 5)
        self.far.send(self.rtp.address, 8)
        self.far.send(self.rtp.address, 60000, b"new", ssrc=2)
        self.assertEqual((self.heard.restarts, self.heard.audios[-1][1]), (1, b"new"))
        self.assertEqual(self.rtp.statistics.lost, 2)

    def test_a_sender_that_begins_anew(self) -> None:
        """Numbers that jump are another stream from the second packet on (RFC 3550 A.1)."""
        for sequence in (5, 30000, 30001, 30002):
            self.far.send(self.rtp.address, sequence)
        self.assertEqual((self.heard.restarts, len(self.heard.audios)), (1, 3))
        self.assertEqual(self.rtp.statistics.dropped_late, 1)

    def test_strangers(self) -> None:
        """R22: once the negotiated source sends, others are dropped and counted."""
        stranger = Far(self.wire, ("198.51.100.1", 4000))
        self.far.send(self.rtp.address, 5)
        stranger.send(self.rtp.address, 6)
        self.wire.clock.advance(5)
        stranger.send(self.rtp.address, 7, ssrc=1)
        self.assertEqual((len(self.heard.audios), self.rtp.statistics.dropped_source), (1, 2))

    def test_behind_nat(self) -> None:
        """R22: the first symmetric source is taken and sent to; a rebinding after 500 ms of silence is followed."""
        outside = Far(self.wire, ("203.0.113.5", 61000))
        moved = Far(self.wire, ("203.0.113.5", 61500))
        outside.send(self.rtp.address, 5)
        self.speak(1)
        self.assertEqual((len(outside.packets), self.far.packets), (1, []))
        self.wire.clock.advance(60)
        outside.send(self.rtp.address, 6)
        self.wire.clock.advance(0.3)
        moved.send(self.rtp.address, 7)
        self.wire.clock.advance(0.3)
        moved.send(self.rtp.address, 8, ssrc=77)
        moved.send(self.rtp.address, 9)
        self.assertEqual([one[2] & 0xFF for one in self.heard.audios], [5, 6, 9])
        self.speak(1)
        self.assertEqual((len(outside.packets), len(moved.packets)), (1, 1))

    def test_a_fork(self) -> None:
        """R17: media follows the winner's SDP; the loser's RTP is dropped."""
        self.far.send(self.rtp.address, 5, b"loser")
        winner = Far(self.wire, ("10.0.0.2", 4000))
        self.rtp.apply(agreed(winner.address))
        self.far.send(self.rtp.address, 6, b"loser")
        winner.send(self.rtp.address, 900, b"winner", ssrc=3)
        self.far.send(self.rtp.address, 7, b"loser")
        self.speak(1)
        self.assertEqual([one[1] for one in self.heard.audios], [b"loser", b"winner"])
        self.assertEqual((len(winner.packets), self.far.packets), (1, []))

    def test_a_host_name(self) -> None:
        """A peer that signalled a host name is sent to once it has sent."""
        self.make()
        self.rtp.apply(agreed(None, send=True))
        self.speak(1)
        self.far.send(self.rtp.address, 5)
        self.speak(1)
        self.assertEqual((len(self.far.packets), self.far.packets[0].marker), (1, True))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=20))
    def test_garbage(self, datagrams: list[tuple[bool, bytes]]) -> None:
        """Whatever comes to either port, nothing is raised and the call goes on."""
        self.make()
        self.rtp.apply(agreed(FAR))
        self.far.send(self.rtp.address, 5)
        for to_rtcp, data in datagrams:
            port = self.far.rtcp_port if to_rtcp else self.far.rtp_port
            for whole in (data, b"\x80\x65" + data, b"\x81\xc8\0\1" + data, b"\xb0\x08" + data):
                port.send(whole, (self.rtp.address[0], self.rtp.address[1] + to_rtcp))
        self.rtp.statistics  # noqa: B018 - it must not raise either
        self.far.send(self.rtp.address, 6, b"go on", ssrc=123456)
        self.assertEqual(self.heard.audios[-1][1], b"go on")


class ReportTests(SessionCase):
    def setUp(self) -> None:
        super().setUp()
        self.rtp.apply(agreed(FAR))

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.wire.clock.advance(0.02)
            self.rtp.poll(self.wire.clock.seconds())

    def rtcp(self, *parts: Report | Description | Goodbye) -> None:
        where = (self.rtp.address[0], self.rtp.address[1] + 1)
        self.far.rtcp_port.send(b"".join(one.to_bytes() for one in parts), where)

    def test_a_sender_report(self) -> None:
        """SR and CNAME: what we sent, what we got and lost, and when (RFC 3550 6.4.1)."""
        self.speak(5)
        for sequence in (1, 2, 4):
            self.far.send(self.rtp.address, sequence)
        self.rtcp(Report(0xFACE, (), 0x1122334455667788))
        self.wait(4)
        report, name = parse_compound(self.far.rtcp[0])
        assert isinstance(report, Report)
        self.assertEqual((report.packets, report.octets), (5, 800))
        (block,) = report.blocks
        self.assertEqual((block.ssrc, block.lost, block.fraction_lost, block.highest), (0xFACE, 1, 64, 4))
        self.assertEqual(block.last_sr, 0x33445566)
        assert report.ntp is not None
        # Timestamp and NTP time speak of the same moment: so long after the last packet's.
        since = (report.timestamp - self.far.packets[-1].timestamp) & 0xFFFFFFFF
        self.assertEqual(since, 160 + round((block.delay / 65536) * 8000))
        self.assertEqual(name, Description(self.rtp.ssrc, "us"))

    def test_a_receiver_report(self) -> None:
        """Who has sent nothing sends RR (6.4)."""
        self.wait(4)
        report = parse_compound(self.far.rtcp[0])[0]
        assert isinstance(report, Report)
        self.assertEqual((report.ntp, report.blocks), (None, ()))

    def test_the_interval(self) -> None:
        """Five seconds, times 0.5 to 1.5 over 1.21828, and half for the first (6.2, 6.3.1); from the one randomness."""
        times = []
        for _ in range(round(300 / 0.02)):
            self.wire.clock.advance(0.02)
            self.rtp.poll(self.wire.clock.seconds())
            times += [self.wire.clock.seconds()] * (len(self.far.rtcp) - len(times))
        gaps = [after - before for before, after in itertools.pairwise(times)]
        self.assertLess(times[0], 3.1)
        self.assertTrue(all(2.0 < gap < 6.2 for gap in gaps))
        self.assertGreater(max(gaps) - min(gaps), 1.0)
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_round_trip(self) -> None:
        """Now less the SR's time less the peer's delay (6.4.1); and what the peer says of our stream."""
        self.speak(1)
        self.wait(4)
        sent = parse_compound(self.far.rtcp[-1])[0]
        assert isinstance(sent, Report) and sent.ntp is not None
        self.wire.clock.advance(0.250)
        last = sent.ntp >> 16 & 0xFFFFFFFF
        held = round(0.1 * 65536)
        self.rtcp(Report(1, (ReportBlock(self.rtp.ssrc, 0, 3, 0, 80, last, held),)))
        statistics = self.rtp.statistics
        assert statistics.round_trip is not None
        elapsed = self.wire.clock.seconds() - (sent.ntp / 2**32 - 2208988800)
        self.assertLess(abs(statistics.round_trip - (elapsed - 0.1) * 1000), 0.1)
        self.assertEqual((statistics.remote_lost, statistics.remote_jitter), (3, 10.0))

    def test_strangers(self) -> None:
        """Reports from other hosts are dropped and counted."""
        Far(self.wire, ("198.51.100.1", 4000)).rtcp_port.send(
            Report(1).to_bytes(), (self.rtp.address[0], self.rtp.address[1] + 1)
        )
        self.assertEqual((self.rtp.statistics.reports_received, self.rtp.statistics.dropped_source), (0, 1))

    def test_behind_nat(self) -> None:
        """Reports go to where the peer's come from; before that to the neighbour of its RTP."""
        outside = Far(self.wire, ("203.0.113.5", 61000))
        outside.send(self.rtp.address, 5)
        self.wait(8)
        self.assertTrue(outside.rtcp)
        elsewhere = self.wire.open_datagram_port(("203.0.113.5", 5555), lambda data, source: got.append(data))
        got: list[bytes] = []
        elsewhere.send(Report(1).to_bytes(), (self.rtp.address[0], self.rtp.address[1] + 1))
        self.wait(8)
        self.assertTrue(got)

    def test_on_one_port(self) -> None:
        """RTCP that comes to the RTP port is read (RFC 5761 4)."""
        self.far.send(self.rtp.address, 5)
        self.far.rtp_port.send(Report(1).to_bytes(), self.rtp.address)
        self.assertEqual((self.rtp.statistics.reports_received, self.rtp.statistics.garbage), (1, 0))

    def test_goodbye(self) -> None:
        """A BYE at the end (6.6), once; none from who has never sent (6.3.7)."""
        self.speak(1)
        self.rtp.close()
        self.rtp.close()
        self.assertEqual(len(self.far.rtcp), 1)
        self.assertEqual(parse_compound(self.far.rtcp[0])[-1], Goodbye((self.rtp.ssrc,)))
        silent = session(self.wire, pool=self.pool)
        silent.apply(agreed(FAR))
        silent.close()
        self.assertEqual(len(self.far.rtcp), 1)

    def test_last_received(self) -> None:
        """R32: RTP and RTCP both count as life; strangers don't."""
        self.wire.clock.advance(1)
        self.far.send(self.rtp.address, 5)
        self.assertEqual(self.rtp.last_received, 1.0)
        self.wire.clock.advance(1)
        self.rtcp(Report(0xFACE))
        self.assertEqual(self.rtp.last_received, 2.0)


class HammerTests(SessionCase):
    """Audio for somebody who never asked for it (RFC 5245 18.5.1): a stranger names another's address."""

    def setUp(self) -> None:
        super().setUp()
        self.calls_from("198.51.100.66")

    def calls_from(self, host: str | None) -> None:
        """Begin a call whose signalling comes from a host; None: from a trunk or a phone."""
        self.make()
        self.rtp.stranger_at = host
        self.rtp.apply(agreed(FAR))

    def sent_in(self, seconds: int) -> int:
        """Say something all the time, and return how many packets came to the far end."""
        before = len(self.far.packets)
        for _ in range(seconds * 50):
            if self.rtp.sending:
                self.rtp.send_audio(b"\xd5" * 160, 160)
            self.wire.clock.advance(0.02)
            self.rtp.poll(self.wire.clock.seconds())
        return len(self.far.packets) - before

    def test_never_heard_of(self) -> None:
        """It ends after some 30 s, whatever else is said of holding and resuming, and other addresses get none."""
        self.assertGreater(self.sent_in(10), 450)
        self.rtp.apply(agreed(FAR, receive=False))
        self.sent_in(60)
        self.assertLess(len(self.far.packets), 45 * 50)
        self.rtp.apply(agreed(FAR))
        self.assertEqual((self.sent_in(60), self.rtp.sending), (0, False))
        self.far = Far(self.wire, ("203.0.113.77", 4000))
        self.rtp.apply(agreed(self.far.address))
        self.assertEqual(self.sent_in(10), 0)

    def test_own_reports(self) -> None:
        """Reports from the host that RTCP was wanted at (RFC 3605) prove nothing, and keep no call alive."""
        own = self.wire.open_datagram_port(("198.51.100.66", 5001), lambda data, source: None)
        self.rtp.apply(agreed(FAR, remote_rtcp=own.address))
        begun = self.rtp.last_received
        for _ in range(60):
            own.send(Report(1).to_bytes(), (self.rtp.address[0], self.rtp.address[1] + 1))
            self.sent_in(1)
        self.assertEqual((self.sent_in(1), self.rtp.last_received), (0, begun))

    def test_who_is_there(self) -> None:
        """RTP or RTCP from there, before or after, and it goes on; also where the caller signals from that host."""
        self.sent_in(60)
        self.far.rtcp_port.send(Report(1).to_bytes(), (self.rtp.address[0], self.rtp.address[1] + 1))
        self.assertGreater(self.sent_in(60), 2990)
        for known in (FAR[0], None):
            self.calls_from(known)
            self.assertGreater(self.sent_in(60), 2990)
        self.calls_from("198.51.100.66")
        self.far.send(self.rtp.address, 5)
        self.assertGreater(self.sent_in(60), 2990)
        self.calls_from("198.51.100.66")
        self.sent_in(60)
        self.far.send(self.rtp.address, 5)
        self.assertGreater(self.sent_in(60), 2990)


class EndTests(SessionCase):
    def test_after_the_end(self) -> None:
        """I3: nothing is sent or taken after close; the numbers stay readable."""
        self.rtp.apply(agreed(FAR))
        self.speak(2)
        self.rtp.close()
        self.speak(1)
        self.rtp.send_event(1, 10, 160, False, True)
        self.rtp.apply(agreed(FAR))
        self.speak(1)
        self.far.send(self.rtp.address, 1)
        self.assertEqual((len(self.far.packets), self.heard.audios), (2, []))
        self.assertEqual((self.rtp.statistics.packets_sent, self.pool.in_use), (2, 0))
        self.pool.close()
        self.assertEqual(set(self.wire.ports), {FAR, (FAR[0], FAR[1] + 1)})

    def test_no_cycles(self) -> None:
        """A closed session is freed at once, without the garbage collector."""
        self.rtp.apply(agreed(FAR))
        self.speak(1)
        self.far.send(self.rtp.address, 1)
        self.rtp.close()
        gc.disable()
        self.addCleanup(gc.enable)

        class Watched(RtpSession):
            __slots__ = ("__weakref__",)

        rtp = Watched(self.pool.acquire("192.0.2.9"), self.wire.clock, self.wire.random, "us")
        rtp.receiver = self.heard
        rtp.apply(agreed(FAR))
        rtp.send_audio(b"\0" * 160, 160)
        gone = weakref.ref(rtp)
        rtp.close()
        del rtp
        self.assertIsNone(gone())

    def test_the_bytes_of_a_packet(self) -> None:
        """What goes out is a version 2 packet and nothing more (RFC 3550 5.1)."""
        self.rtp.apply(agreed(FAR))
        self.speak(1)
        data, where = self.wire.ports[self.rtp.address].sent[0]
        self.assertEqual((len(data), data[0], where), (172, 0x80, FAR))
        self.assertEqual(parse_packet(data), self.far.packets[0])
