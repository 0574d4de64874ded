"""The model of calls with talking phones, on a network that loses nothing: every packet the caller gets is looked at.

Judges I3, I5 and I10 of ``transfer.md`` at the caller's ear: one stream, from answer to end, without a hole, a double
or a break over playing, ringing, joining and coming back.
"""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition

from telephony.call.channel import CallChannel
from telephony.call.constants import State
from telephony.call.core import ChannelCore
from telephony.rtp.packet import parse_packet
from telephony.testing.phone_call import PhoneCall
from telephony.testing.sounds import tone
from tests.models.calls import SITUATIONS, Calls, move

FRAME = 160
SECONDS = 0.02
DELAY = 0.005


class AudioCalls(Calls):
    """Signalling as wild as in `Calls`, over links that are merely slow."""

    media = True

    # What makes the number of packets nobody's promise: odd networks, a hold (its own tests count there).
    network_breaks = None
    connections_break = None
    somebody_holds = None

    @initialize(seed=st.integers(0, 2**32), tcp=st.booleans(), situation=st.sampled_from(SITUATIONS))
    def begin(self, seed: int, tcp: bool, situation: str) -> None:
        """Put talking phones on a good network."""
        self.switches: dict[str, int] = {}
        self.since: dict[str, float] = {}
        self.until: dict[str, float] = {}
        self.prepare(seed, tcp)
        self.alice.says(tone(700, level=-20))
        self.bob.says(tone(1000, level=-16))
        self.lead_to(situation)

    def stepped(self, channel: ChannelCore, old: State, new: State) -> None:
        """Note when a call's audio begins and ends, and how often its source may have changed."""
        super().stepped(channel, old, new)
        call_id, now = channel.Details.call_id, self.network.clock.seconds()
        self.switches[call_id] = self.switches.get(call_id, 0) + 1
        if new is State.ANSWERED:
            self.since.setdefault(call_id, now)
        elif new is State.IDLE:
            self.until[call_id] = now

    @precondition(lambda self: self.channel is not None and self.channel.state() is State.ANSWERED)
    @move()
    def app_plays(self) -> None:
        """A tone from the application, stopped by whatever comes next."""
        assert self.channel is not None
        player = self.channel.TonePlayer
        if player is not None:
            player.start().addErrback(lambda _busy: None)
            player.stop()

    def check_media(self) -> None:
        """I3, I5, I10 for each call that came in and was answered."""
        for call in self.alice.calls:
            channel = next((one for one in self.channels if one.Details.call_id == call.call_id), None)
            if channel is not None and call.call_id in self.since:
                self.check_stream(call, channel)

    def check_stream(self, call: PhoneCall, channel: CallChannel) -> None:
        """Look at every RTP packet of one call."""
        began = self.since[call.call_id]
        ended = self.until[call.call_id]
        packets = [(heard.time, parse_packet(heard.data)) for heard in call.media.audio.ear.heard_packets()]
        early = [time for time, _ in packets if time < began]
        self.check(not early, f"{channel.id}: audio before the call was answered, at {early[:3]}")
        late = [time for time, _ in packets if time > ended + DELAY + 1e-6]
        self.check(not late, f"I3: {channel.id} ended at {ended:.3f} and sent until {late[-1:]}")
        if len(packets) < 2:
            self.check(ended - began < 3 * SECONDS + 2 * DELAY, f"I10: {channel.id} sent {len(packets)} packets")
            return
        self.check(len({packet.ssrc for _, packet in packets}) == 1, f"I5: {channel.id} sent more than one stream")
        for (before, one), (after, two) in pairwise(packets):
            place = f"{channel.id} at {after:.3f}"
            self.check((two.sequence - one.sequence) & 0xFFFF == 1, f"I5, I10: a break in the sequence of {place}")
            step = (two.timestamp - one.timestamp) & 0xFFFFFFFF
            self.check(step % FRAME == 0 and step > 0, f"I5: timestamps jump by {step} in {place}")
            self.check(after - before < 6 * SECONDS, f"I10: {after - before:.3f} s without a packet in {place}")
        elapsed = min(ended, packets[-1][0]) - packets[0][0]
        off = abs(len(packets) - 1 - elapsed / SECONDS)
        self.check(
            off <= 1 + self.switches[call.call_id],
            f"I10: {channel.id} sent {len(packets)} packets in {elapsed:.3f} s",
        )
