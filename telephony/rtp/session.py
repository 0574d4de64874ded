"""One leg's RTP session: what was agreed for it, with whom it talks, its keys, its reports, its end (RFC 3550, 3551).

Owns: the payload types that were agreed and the peer's address, SRTP between us and the ports, when a report is sent
and what it says, the account of it all. Must not know what the audio is, who listens, or SIP. It sets no timer: whoever
ticks calls `poll`. What goes out is `telephony.rtp.sending`, what comes in `telephony.rtp.receiving`: a session is
both, and they are apart because either can be read without the other.
"""

from __future__ import annotations

import random as random_module

from telephony.errors import RemoteProtocolError
from telephony.interfaces import Address, Clock
from telephony.rtp.interfaces import MediaPorts
from telephony.rtp.receiving import EVENT, Receiving
from telephony.rtp.reports import Reports
from telephony.rtp.sending import NOWHERE, RATE
from telephony.rtp.srtp import SecuredMedia
from telephony.rtp.statistics import Statistics
from telephony.sdp.negotiation import Agreed

__all__ = ["BLIND_REPORTS", "EVENT", "RATE", "RtpSession"]

#: For how many reports (each some 5 s) of a call a stranger's address is sent audio that nothing ever came from.
BLIND_REPORTS = 6

_ALL = 0xFFFFFFFF


class RtpSession(Receiving):
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

    __slots__ = ("_agreed", "_blind", "_remote_rtcp", "_reports", "closed", "stranger_at")

    def __init__(self, pair: MediaPorts, clock: Clock, random: random_module.Random, cname: str) -> None:
        super().__init__(pair, clock, random)
        self._agreed: Agreed | None = None
        self.stranger_at: str | None = None
        self._blind = 0
        self._reports = Reports(random, cname)
        self._remote_rtcp: Address | None = None
        self.closed = False
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
        return None if self._destination is NOWHERE else self._destination

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
        self.see()
        self.deaf = False
        stream, self._stream = self._stream, None
        if stream is not None:
            self._lost += stream.lost
            self._duplicates += stream.duplicates
            if self._receiver is not None:
                self._receiver.restarted()
        self.last_received = self._heard_at = self._clock.seconds()

    def apply(self, agreed: Agreed) -> None:
        """Take what an offer/answer exchange settled; again for each re-INVITE. From here on packets can flow."""
        if self.closed:
            return
        self.see()
        self._no_outward()
        now = self._clock.seconds()
        if self._agreed is None or (agreed.receive and agreed.send and not self.expecting):
            self.last_received = now
        self._agreed = agreed
        self._secure(agreed)
        self.payload_type = agreed.payload_type
        self.event_payload_type = agreed.event_payload_type
        self._frames(agreed.codec, agreed.ptime)
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
                self._pair.receive(self._rtp_received, self._rtcp_received)
            return
        if self._secured is None:
            self._secured = SecuredMedia()
            self._pair.receive(self._srtp_received, self._srtcp_received)
            if not self._packets_sent:
                # Were the first packets lost over a change of the 16 bits, the peer would never get its count right
                # (RFC 3711 3.3.1).
                self._sequence &= 0x7FFF
        self._secured.renew(agreed.own_crypto, agreed.remote_crypto)

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
            self._destination = NOWHERE
        else:
            self._destination = self._latch.current or agreed.remote_rtp or NOWHERE
        self._pair.rtp.aim(self.remote)
        sending = agreed is not None and agreed.send and self._destination is not NOWHERE
        sending = sending and (self._blind < BLIND_REPORTS or not self._unproven)
        if not sending:
            self._no_outward()
        elif not self._sending:
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

    # -- what packets bring about --------------------------------------------------------------------------------

    @property
    def _ready(self) -> bool:
        return self._agreed is not None

    def _source_changed(self) -> None:
        self._remote_rtcp = None
        self._aim()

    # -- reports -------------------------------------------------------------------------------------------------

    def poll(self, now: float) -> None:
        """Send a report when one is due. Called at every tick, so that no session needs a timer."""
        if now >= self._reports.due:
            self._report(now)

    def _rtcp_destination(self) -> Address | None:
        agreed = self._agreed
        if agreed is None or self._destination is NOWHERE:
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
        if self._inward is not None:
            self._add_inward(self._inward)
        sent = None
        if self.packets_sent:
            timestamp = self._timestamp + round((now - self._due) * RATE)
            sent = (timestamp & _ALL, self._packets_sent, self._octets_sent)
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
        packets_sent, packets_received = self.packets_sent, self.packets_received  # before anything else: they add up
        stream = self._stream
        reports = self._reports
        return Statistics(
            packets_sent=packets_sent,
            octets_sent=self._octets_sent,
            packets_received=packets_received,
            octets_received=self._octets_received,
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
        self.see()
        self._no_outward()
        if self._packets_sent or self._reports.sent:
            self._report(self._clock.seconds(), goodbye=True)
        self.closed = True
        self._sending = False
        self._receiver = None
        self.on_digit = None
        self._tap = None
        self._pair.close()
        if self._secured is not None:
            self._secured.close()
