"""One leg's RTP session: what it sends, what it accepts, from whom, and the account of both (RFC 3550, 3551, 4733).

Owns: sequence numbers and timestamps of our stream, without a break over sources, holds and joins; the payload types
that were agreed; the peer's address by `telephony.rtp.latch`; reports. Must not know what the audio is, who listens,
or SIP. It sets no timer: whoever ticks calls `poll`.

A packet costs here what it must: the header is read once, nothing is copied, and no object is made of it. What a
receiver gets is the datagram as it came and where its payload lies.
"""

from __future__ import annotations

import random as random_module
import struct
from collections.abc import Callable

from telephony.codecs.g711 import CODECS
from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, Clock
from telephony.rtp.interfaces import MediaPorts, RtpReceiver
from telephony.rtp.latch import Latch, goes_on
from telephony.rtp.packet import HEADER, HEADER_SIZE, MARKER, PLAIN, payload_bounds
from telephony.rtp.reports import Reports
from telephony.rtp.sequence import DUPLICATE, RESTARTED, Sequence
from telephony.rtp.srtp import SecuredMedia
from telephony.rtp.statistics import Statistics
from telephony.rtp.telephone_event import PressDetector, TelephoneEvent
from telephony.sdp.negotiation import Agreed

#: Samples a second of everything here (G.711 and its telephone events).
RATE = 8000
EVENT = "telephone-event"

_TAIL = struct.Struct("!HII")
_ALL = 0xFFFFFFFF
#: By how much of a frame a source that takes over may be off its time before the timestamps make up for it.
_SLACK = 0.75
#: For how many reports (each some 5 s) of a call a stranger's address is sent audio that nothing ever came from.
BLIND_REPORTS = 6
_NOWHERE: Address = ("", 0)


class RtpSession:
    """The RTP and RTCP of one leg.

    ``codec``, ``payload_type``, ``event_payload_type`` (None: the peer takes no events), ``ptime`` (ms) and ``frame``
    (samples) are what we send, from the last `apply`, and ``silence`` is such a frame. ``receiver`` gets what comes;
    ``on_digit`` each key that was pressed, once. ``tap`` is called with the codec, timestamp and payload of what is
    sent. ``last_received`` is the clock's time of the last packet that was accepted, RTP or RTCP (the time of `apply`
    before the first).

    ``stranger_at`` is the host that a caller signals from who is neither a trunk nor a phone. Who names another host
    for audio may mean it for somebody who never asked for it (RFC 5245 18.5.1, the voice hammer): after
    `BLIND_REPORTS` nothing is sent there until something has come from there.
    """

    __slots__ = (
        "_agreed",
        "_blind",
        "_clock",
        "_destination",
        "_due",
        "_duplicates",
        "_event_at",
        "_garbage",
        "_heard_at",
        "_held",
        "_latch",
        "_late",
        "_lead",
        "_lost",
        "_mark",
        "_misdirected",
        "_pair",
        "_payload_types",
        "_presses",
        "_rebase",
        "_relay_from",
        "_relay_sequence",
        "_relay_timestamp",
        "_remote_rtcp",
        "_remote_ssrc",
        "_reports",
        "_secured",
        "_send",
        "_sending",
        "_sequence",
        "_source",
        "_strangers",
        "_stream",
        "_timestamp",
        "_unknown",
        "closed",
        "codec",
        "deaf",
        "event_payload_type",
        "frame",
        "last_received",
        "octets_received",
        "octets_sent",
        "on_digit",
        "packets_received",
        "packets_sent",
        "payload_type",
        "ptime",
        "receiver",
        "resumes",
        "silence",
        "ssrc",
        "stranger_at",
        "tap",
    )

    def __init__(self, pair: MediaPorts, clock: Clock, random: random_module.Random, cname: str) -> None:
        self._pair = pair
        self._clock = clock
        self._send: Callable[[bytes | bytearray | memoryview, Address], None] = pair.rtp.send
        self._agreed: Agreed | None = None
        self.codec = "PCMA"
        self.payload_type = 8
        self.event_payload_type: int | None = None
        self.ptime = 20
        self.frame = 160
        self.silence = CODECS["PCMA"].silent(160)
        self.receiver: RtpReceiver | None = None
        self.on_digit: Callable[[str], None] | None = None
        self.tap: Callable[[str, int, bytes], None] | None = None
        self.closed = False
        #: Whether no other source than the present one is taken: it sends elsewhere, so that its silence says nothing.
        self.deaf = False
        # What we send. The sequence number here goes beyond 16 bits, and is cut when written.
        self.ssrc = random.getrandbits(32)
        self._sequence = random.getrandbits(16)
        self._timestamp = random.getrandbits(32)
        self._due = 0.0  # the time at which `_timestamp` is to be sent; 0: nothing has been sent
        self._lead = 0.0  # seconds by which the timestamps are ahead of the time
        self.resumes = False
        self._event_at = 0
        self._mark = True
        self._sending = False
        self._destination: Address = _NOWHERE
        self.packets_sent = 0
        self.octets_sent = 0
        # How a relayed packet's numbers become ours.
        self._rebase = True
        self._relay_from = 0
        self._relay_sequence = 0
        self._relay_timestamp = 0
        # What we receive.
        self._latch = Latch()
        self._source: Address | None = None
        self.stranger_at: str | None = None
        self._blind = 0
        self._payload_types: dict[int, str] = {}
        self._remote_ssrc = -1
        self._stream: Sequence | None = None
        self._presses = PressDetector()
        self.packets_received = 0
        self.octets_received = 0
        self.last_received = self._heard_at = clock.seconds()
        self._lost = self._duplicates = self._garbage = self._held = 0
        self._late = self._strangers = self._unknown = self._misdirected = 0
        self._reports = Reports(random, cname)
        self._remote_rtcp: Address | None = None
        self._secured: SecuredMedia | None = None
        pair.receive(self._rtp_received, self._rtcp_received)

    # -- what was agreed -----------------------------------------------------------------------------------------

    @property
    def address(self) -> Address:
        """Where we receive RTP."""
        return self._pair.address

    @property
    def agreed(self) -> Agreed | None:
        """What was last given to `apply`."""
        return self._agreed

    @property
    def remote(self) -> Address | None:
        """Where we send: the peer's source once it has sent, the signalled address before; None while held at 0."""
        return None if self._destination is _NOWHERE else self._destination

    @property
    def sending(self) -> bool:
        """Whether the peer wants our audio now, and has said where."""
        return self._sending

    @property
    def expecting(self) -> bool:
        """Whether the peer has to be heard: audio flows both ways. Whoever holds, or is held, may be silent (R32)."""
        return self._agreed is not None and self._agreed.receive and self._agreed.send

    @property
    def met(self) -> bool:
        """Whether audio comes from the very address that the peer has described: no NAT is between."""
        agreed = self._agreed
        return agreed is not None and agreed.remote_rtp is not None and self._latch.current == agreed.remote_rtp

    def heard(self) -> None:
        """Let the time without a packet begin now."""
        self.last_received = self._clock.seconds()

    def listen_anew(self) -> None:
        """Take the next packet for the first of a stream: what went elsewhere meanwhile has not been lost."""
        self.deaf = False
        stream, self._stream = self._stream, None
        if stream is not None:
            self._lost += stream.lost
            self._duplicates += stream.duplicates
            if self.receiver is not None:
                self.receiver.restarted()
        self.last_received = self._heard_at = self._clock.seconds()

    def apply(self, agreed: Agreed) -> None:
        """Take what an offer/answer exchange settled; again for each re-INVITE. From here on packets can flow."""
        if self.closed:
            return
        now = self._clock.seconds()
        if self._agreed is None or (agreed.receive and agreed.send and not self.expecting):
            self.last_received = now
        self._agreed = agreed
        self._secure(agreed)
        self.codec = agreed.codec
        self.payload_type = agreed.payload_type
        self.event_payload_type = agreed.event_payload_type
        self.ptime = agreed.ptime
        self.frame = agreed.ptime * RATE // 1000
        self.silence = CODECS[agreed.codec].silent(self.frame)
        self._payload_types = agreed.receive_payload_types if agreed.receive else {}
        if self._latch.renew(agreed.remote_rtp, now):
            self._source = None
            self._remote_rtcp = None
        self._latch.learning = agreed.send and agreed.remote_rtp is None
        self._aim()
        self._reports.begin(now)

    def _secure(self, agreed: Agreed) -> None:
        """Put SRTP between us and the ports, change its keys, or take it away, as was agreed."""
        if agreed.own_crypto is None or agreed.remote_crypto is None:
            if self._secured is not None:
                self._secured = None
                self._send = self._pair.rtp.send
                self._pair.receive(self._rtp_received, self._rtcp_received)
            return
        if self._secured is None:
            self._secured = SecuredMedia()
            self._send = self._send_secured
            self._pair.receive(self._srtp_received, self._srtcp_received)
            if not self.packets_sent:
                # Were the first packets lost over a change of the 16 bits, the peer would never get its count right
                # (RFC 3711 3.3.1).
                self._sequence &= 0x7FFF
        self._secured.renew(agreed.own_crypto, agreed.remote_crypto)

    def _send_secured(self, packet: bytes | bytearray | memoryview, destination: Address) -> None:
        """Send an RTP packet, secured; what can't be is not sent."""
        secured = self._secured.protect(bytes(packet)) if self._secured is not None else None
        if secured is not None:
            self._pair.rtp.send(secured, destination)

    def _srtp_received(self, data: bytes, source: Address) -> None:
        """Take a datagram from the RTP port while the leg is secured."""
        if len(data) >= 8 and 200 <= data[1] <= 204:
            self._srtcp_received(data, source)  # RTCP on the same port (RFC 5761 4)
            return
        packet = self._secured.open(data) if self._secured is not None else None
        if packet is not None:
            self._rtp_received(packet, source)

    def _srtcp_received(self, data: bytes, source: Address) -> None:
        """Take a datagram from the RTCP port while the leg is secured."""
        packet = self._secured.open_report(data) if self._secured is not None else None
        if packet is not None:
            self._rtcp_received(packet, source)

    def _aim(self) -> None:
        """Settle where RTP goes, and whether any does."""
        agreed = self._agreed
        if agreed is None or (agreed.remote_rtp is None and not agreed.send):
            self._destination = _NOWHERE
        else:
            self._destination = self._latch.current or agreed.remote_rtp or _NOWHERE
        sending = agreed is not None and agreed.send and self._destination is not _NOWHERE
        sending = sending and (self._blind < BLIND_REPORTS or not self._unproven)
        if sending and not self._sending:
            self.resume()
            self._rebase = True
        self._sending = sending

    @property
    def _unproven(self) -> bool:
        """Whether a stranger has named the address that we send to, and nothing has come from there."""
        return (
            self.stranger_at not in (None, self._destination[0])
            and self._latch.current is None
            and self._remote_rtcp is None
        )

    # -- sending -------------------------------------------------------------------------------------------------

    def send_audio(self, payload: bytes, samples: int) -> None:
        """Send a frame of our own, the timestamp going on by ``samples``; while held only the timestamp does."""
        now = self._clock.seconds()
        if self.resumes:
            self._take_over(now)
        timestamp = self._timestamp
        self._timestamp = (timestamp + samples) & _ALL
        self._due = now + samples / RATE
        if not self._sending:
            return
        packet = bytearray(HEADER_SIZE)
        packet += payload
        HEADER.pack_into(
            packet,
            0,
            PLAIN,
            self.payload_type | MARKER if self._mark else self.payload_type,
            self._sequence & 0xFFFF,
            timestamp,
            self.ssrc,
        )
        self._mark = False
        self._sequence += 1
        self.packets_sent += 1
        self.octets_sent += len(payload)
        self._send(packet, self._destination)
        if self.tap is not None:
            self.tap(self.codec, timestamp, payload)

    def skip(self, samples: int) -> None:
        """Let ``samples`` pass without a packet; the timestamp goes on (RFC 3551 4.1)."""
        self._timestamp = (self._timestamp + samples) & _ALL
        self._due = self._clock.seconds() + samples / RATE

    def send_event(self, event: int, volume: int, duration: int, end: bool, first: bool) -> None:
        """Send one packet of a telephone event (RFC 4733), if the peer takes them and isn't held.

        ``duration`` is what has passed of it, in samples. All packets of one event have the timestamp at which
        ``first`` was called; time goes on by `skip`.
        """
        if first:
            if self.resumes:
                self._take_over(self._clock.seconds())
            self._event_at = self._timestamp
        if not self._sending or self.event_payload_type is None:
            return
        payload = TelephoneEvent(event, duration, end, volume).to_bytes()
        packet = bytearray(HEADER_SIZE)
        packet += payload
        kind = self.event_payload_type | MARKER if first else self.event_payload_type
        HEADER.pack_into(packet, 0, PLAIN, kind, self._sequence & 0xFFFF, self._event_at, self.ssrc)
        self._sequence += 1
        self.packets_sent += 1
        self.octets_sent += len(payload)
        self._send(packet, self._destination)

    def resume(self) -> None:
        """Hear that another source takes over: its first frame gets the timestamp of its time, and the marker."""
        self.resumes = self._mark = True

    def ahead(self, now: float) -> bool:
        """Tell whether a source that takes over does better to begin a frame later.

        Sources have turns of their own, so each change may send a frame somewhat early; without this the timestamps
        of a call with many changes would run away from the time.
        """
        return self.resumes and self._due > 0.0 and self._lead + self._due - now > _SLACK * self.frame / RATE

    def _take_over(self, now: float) -> None:
        """Move the timestamp, by whole frames, to where it belongs now."""
        self.resumes = False
        if self._due:
            late = now - self._due - self._lead
            frames = max(0, int(late * RATE / self.frame + 1.0 - _SLACK))
            self._timestamp = (self._timestamp + frames * self.frame) & _ALL
            self._lead = frames * self.frame / RATE - late
        self._due = now

    # -- relaying ------------------------------------------------------------------------------------------------

    def restart_relay(self) -> None:
        """Map the next relayed packet anew: it follows our last one without a break, with the marker set."""
        self._rebase = True

    def _map_relay(self, sequence: int, timestamp: int, now: float) -> None:
        self._take_over(now)
        self._rebase = self._mark = False
        self._relay_from = sequence
        self._relay_sequence = self._sequence - sequence
        self._relay_timestamp = self._timestamp - timestamp

    def relay(
        self,
        payload_type: int,
        datagram: bytes,
        start: int,
        end: int,
        sequence: int,
        timestamp: int,
        marker: bool,
        samples: int,
        now: float,
        table: bytes | None = None,
    ) -> bool:
        """Send what another leg received, with our header in place of its own; tell whether it went out.

        Sequence and timestamp keep their distances. ``samples`` is the length of audio, 0 for an event; ``table``
        translates each byte of the payload. Not sent, and counted: while this leg is held, and from before the point
        at which the mapping was set.
        """
        if not self._sending:
            self._held += 1
            self._rebase = True
            return False
        if self._rebase:
            self._map_relay(sequence, timestamp, now)
            marker = True
        elif sequence < self._relay_from:
            self._late += 1
            return False
        ours = sequence + self._relay_sequence
        timestamp = (timestamp + self._relay_timestamp) & _ALL
        body = datagram[start - HEADER_SIZE : end]
        if table is not None:
            body = body.translate(table)  # what stands where our header goes is overwritten
        packet = bytearray(body)
        HEADER.pack_into(
            packet, 0, PLAIN, payload_type | MARKER if marker else payload_type, ours & 0xFFFF, timestamp, self.ssrc
        )
        if ours >= self._sequence:
            self._sequence = ours + 1
            if samples:
                self._timestamp = (timestamp + samples) & _ALL
                self._due = now + samples / RATE
        self.packets_sent += 1
        self.octets_sent += end - start
        self._send(packet, self._destination)
        if samples and self.tap is not None:
            self.tap(self.codec, timestamp, bytes(packet[HEADER_SIZE:]))
        return True

    def relay_frame(self, payload: bytes, sequence: int, timestamp: int, now: float) -> bool:
        """Send a frame made of other packets' audio: its timestamp is mapped, its sequence number is our next.

        ``sequence`` is that of the packet which completed the frame: what comes later is mapped from there.
        """
        if not self._sending:
            self._held += 1
            self._rebase = True
            return False
        marker = self._rebase
        if marker:
            self._map_relay(sequence, timestamp, now)
        timestamp = (timestamp + self._relay_timestamp) & _ALL
        packet = bytearray(HEADER_SIZE)
        packet += payload
        kind = self.payload_type | MARKER if marker else self.payload_type
        HEADER.pack_into(packet, 0, PLAIN, kind, self._sequence & 0xFFFF, timestamp, self.ssrc)
        self._sequence += 1
        self._relay_from = sequence + 1
        self._relay_sequence = self._sequence - self._relay_from
        self._timestamp = (timestamp + len(payload)) & _ALL
        self._due = now + len(payload) / RATE
        self.packets_sent += 1
        self.octets_sent += len(payload)
        self._send(packet, self._destination)
        if self.tap is not None:
            self.tap(self.codec, timestamp, payload)
        return True

    # -- receiving -----------------------------------------------------------------------------------------------

    def _rtp_received(self, data: bytes, source: Address) -> None:
        """Take a datagram from the RTP port; whatever it holds, nothing is raised."""
        start = HEADER_SIZE
        end = len(data)
        if end < HEADER_SIZE or data[0] != PLAIN:
            if end >= 8 and 200 <= data[1] <= 204:  # RTCP on the same port (RFC 5761 4)
                self._rtcp_received(data, source)
                return
            try:
                start, end = payload_bounds(data)
            except RemoteProtocolError:
                self._garbage += 1
                return
        second = data[1]
        sequence, timestamp, ssrc = _TAIL.unpack_from(data, 2)
        now = self._clock.seconds()
        if source != self._source and not self._admit(source, ssrc, sequence, now):
            self._strangers += 1
            return
        codec = self._payload_types.get(second & 0x7F)
        if codec is None:
            if self._payload_types:
                self._unknown += 1
            else:
                self._misdirected += 1
            return
        stream = self._stream
        if ssrc != self._remote_ssrc or stream is None:
            stream = self._begin_stream(ssrc, sequence)
            extended = stream.highest
        else:
            extended = stream.accept(sequence)
            if extended < 0:
                if extended != RESTARTED:
                    if extended != DUPLICATE:
                        self._late += 1
                    return
                extended = stream.highest
                if self.receiver is not None:
                    self.receiver.restarted()
        self.last_received = self._heard_at = now
        self.packets_received += 1
        self.octets_received += end - start
        receiver = self.receiver
        if codec != EVENT:
            stream.arrived(timestamp, now * RATE)
            if receiver is not None:
                receiver.audio(codec, data, start, end, extended, timestamp, second >= MARKER, now)
            return
        try:
            digit = self._presses.feed(ssrc, timestamp, data[start:end])
        except RemoteProtocolError:
            self._garbage += 1
            return
        if receiver is not None:
            receiver.event(data, start, end, extended, timestamp, second >= MARKER, now)
        if digit is not None and self.on_digit is not None:
            self.on_digit(digit)

    def _admit(self, source: Address, ssrc: int, sequence: int, now: float) -> bool:
        """Decide about a source that isn't the one listened to."""
        if self._agreed is None or self.deaf:
            return False
        stream = self._stream
        same = stream is not None and ssrc == self._remote_ssrc and goes_on((sequence - stream.highest) & 0xFFFF)
        if not self._latch.admits(source, same, now - self._heard_at, now):
            return False
        self._source = source
        self._remote_rtcp = None
        self._aim()
        return True

    def _begin_stream(self, ssrc: int, sequence: int) -> Sequence:
        first = self._stream is None
        if self._stream is not None:
            self._lost += self._stream.lost
            self._duplicates += self._stream.duplicates
        self._stream = stream = Sequence(sequence)
        self._remote_ssrc = ssrc
        if not first and self.receiver is not None:
            self.receiver.restarted()
        return stream

    # -- reports -------------------------------------------------------------------------------------------------

    def poll(self, now: float) -> None:
        """Send a report when one is due. Called at every tick, so that no session needs a timer."""
        if now >= self._reports.due:
            self._report(now)

    def _rtcp_destination(self) -> Address | None:
        agreed = self._agreed
        if agreed is None or self._destination is _NOWHERE:
            return None
        if self._remote_rtcp is not None:
            return self._remote_rtcp
        if self._destination == agreed.remote_rtp:
            return agreed.remote_rtcp
        # Behind NAT what was signalled leads nowhere: the usual neighbour of what was latched.
        return (self._destination[0], min(self._destination[1] + 1, 65535))

    def _report(self, now: float, goodbye: bool = False) -> None:
        if self._sending and self._unproven:
            self._blind += 1
            self._aim()
        sent = None
        if self.packets_sent:
            timestamp = self._timestamp + round((now - self._due) * RATE)
            sent = (timestamp & _ALL, self.packets_sent, self.octets_sent)
        packet = self._reports.compound(self.ssrc, self._remote_ssrc, self._stream, now, sent, goodbye)
        destination = self._rtcp_destination()
        if destination is not None and self._secured is not None:
            packet = self._secured.protect_report(packet) or b""
        if destination is not None and packet:
            self._pair.rtcp.send(packet, destination)

    def _rtcp_received(self, data: bytes, source: Address) -> None:
        """Take a datagram from the RTCP port; whatever it holds, nothing is raised."""
        agreed = self._agreed
        known = self._destination[0]
        if agreed is None or not (
            source[0] == known or (agreed.remote_rtcp is not None and source[0] == agreed.remote_rtcp[0])
        ):
            self._strangers += 1
            return
        now = self._clock.seconds()
        try:
            self._reports.take(data, self.ssrc, now)
        except RemoteProtocolError:
            self._garbage += 1
            return
        if source[0] == known or self.stranger_at is None:
            self.last_received = now
        if source[0] != known:
            return  # a stranger's own reports say nothing of who gets the audio
        if source != self._source:
            self._remote_rtcp = source
            if not self._sending:
                self._aim()

    # -- account and end -----------------------------------------------------------------------------------------

    @property
    def statistics(self) -> Statistics:
        """The numbers as they stand; readable after `close` too."""
        stream = self._stream
        reports = self._reports
        return Statistics(
            packets_sent=self.packets_sent,
            octets_sent=self.octets_sent,
            packets_received=self.packets_received,
            octets_received=self.octets_received,
            lost=self._lost + (stream.lost if stream is not None else 0),
            duplicates=self._duplicates + (stream.duplicates if stream is not None else 0),
            jitter=stream.jitter * 1000.0 / RATE if stream is not None else 0.0,
            round_trip=reports.round_trip,
            remote_lost=reports.remote_lost,
            remote_jitter=reports.remote_jitter,
            dropped_source=self._strangers,
            dropped_payload=self._unknown,
            dropped_direction=self._misdirected,
            dropped_late=self._late,
            dropped_held=self._held,
            dropped_unauthentic=0 if self._secured is None else self._secured.counters["unauthentic"],
            dropped_replayed=0 if self._secured is None else self._secured.counters["replayed"],
            garbage=self._garbage + (0 if self._secured is None else self._secured.counters["malformed"]),
            reports_sent=reports.sent,
            reports_received=reports.received,
        )

    def close(self) -> None:
        """Say goodbye if we have ever sent (RFC 3550 6.3.7), give the ports back, let go of everybody; idempotent."""
        if self.closed:
            return
        if self.packets_sent or self._reports.sent:
            self._report(self._clock.seconds(), goodbye=True)
        self.closed = True
        self._sending = False
        self.receiver = None
        self.on_digit = None
        self.tap = None
        self._pair.close()
        if self._secured is not None:
            self._secured.close()
        self._send = self._pair.rtp.send  # the closed pair's: a late send goes nowhere, and holds no port
