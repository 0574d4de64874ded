"""Direct media: two transferred calls' audio goes from one far end to the other (RFC 3725, issue "Fast")."""

from __future__ import annotations

from typing import Any, ClassVar

from telephony.call.constants import Cause, State, TransferCause
from telephony.call.direct import Direct, DirectState, Obstacle
from telephony.call.recorder import Recorder
from telephony.call.resources import FileRecorder, JobCause, TonePlayer
from telephony.errors import Error
from telephony.sip.message import Message, Request, Response
from telephony.testing.case import SERVER
from telephony.testing.phone import Phone
from telephony.testing.phone_timer import TimerWish
from telephony.testing.sounds import tone
from tests.call.media_scene import Speaker, packets_of
from tests.call.scene import without_info
from tests.call.transfer_scene import ALICE, BOB, TransferScene

#: What the application plays: the ringback tone of the United States.
RINGBACK = (440, 480)


class DirectScene(TransferScene):
    """Alice is transferred to bob by a service whose media are direct."""

    exchange_settings: ClassVar[dict[str, Any]] = {"media": "direct"}

    @property
    def media(self) -> Direct:
        """The machine."""
        assert self.channel.transfer is not None and self.channel.transfer.direct is not None
        return self.channel.transfer.direct

    def until(self, state: DirectState, within: float = 5.0) -> None:
        """Let time pass until media are so far."""
        self.run_until(lambda: self.media.state is state, within)

    def directly(self) -> None:
        """Transfer, and wait until media are direct."""
        self.joined()
        self.until(DirectState.DIRECT)
        self.advance(0.1)

    def asked(self, state: DirectState) -> None:
        """Transfer, and stop while one of the two has been asked."""
        self.joined()
        self.until(state)

    def by_the_server(self, since: float) -> int:
        """How many packets of media the server has sent or got."""
        passed = [(source[0], destination[0]) for time, source, destination, _ in self.network.media if time >= since]
        return sum(SERVER in ends for ends in passed)

    def offers(self, phone: Phone) -> list[str]:
        """What the INVITEs to a phone offered."""
        return [one.body.decode() for one in self.requests(phone, "INVITE")]

    def answers(self, phone: Phone) -> list[str]:
        """What the 200s to a phone's requests described."""
        return [one.body.decode() for one in self.responses(phone, 200) if one.body]

    def place(self, phone: Phone) -> tuple[str, int]:
        """Where a phone gets its audio."""
        return phone.address[0], phone.call.media.audio.ports[0]

    def assert_direct(self, seconds: float = 1.0) -> None:
        """Hold that both hear each other, each from the other's own address, and that no packet comes by here."""
        self.assert_talking(seconds)
        since = self.now()
        self.advance(seconds)
        self.assertEqual(self.by_the_server(since), 0)
        for phone, other in ((self.alice, self.bob), (self.bob, self.alice)):
            sources = {one.source for one in phone.call.media.audio.ear.heard_packets(since)}
            self.assertEqual(sources, {self.place(other)})
        self.assertEqual([one.Details.media for one in (self.channel, self.other)], ["direct", "direct"])

    def assert_anchored(self, seconds: float = 1.0, reason: Obstacle | None = None) -> None:
        """Hold that both hear each other, and only by us."""
        self.assert_talking(seconds)
        since = self.now()
        self.advance(seconds)
        for phone in (self.alice, self.bob):
            sources = {one.source[0] for one in phone.call.media.audio.ear.heard_packets(since)}
            self.assertEqual(sources, {SERVER})
        self.assertEqual([one.Details.media for one in (self.channel, self.other)], ["anchored", "anchored"])
        if reason is not None:
            self.assertEqual(self.channel.Details.media_reason, reason.value)

    def assert_talked_to(self, phone: Phone, channel: Any) -> None:
        """Hold that a phone hears what the application plays, and nobody else, and comes here itself."""
        TonePlayer(channel)
        channel.TonePlayer.start("RINGBACK")
        since = self.now()
        self.advance(1.5)
        self.assertGreater(sum(one.seconds for one in phone.heard(*RINGBACK, since=since)), 1.2)
        sources = {one.source[0] for one in phone.call.media.audio.ear.heard_packets(since + 0.1)}
        self.assertEqual(sources, {SERVER})
        assert channel.leg is not None and channel.leg.endpoint is not None
        self.assertLess(self.now() - channel.leg.endpoint.rtp.last_received, 0.1)
        channel.TonePlayer.stop()


class GoingTests(DirectScene):
    """The way there, and what holds then."""

    def test_costs_nothing(self) -> None:
        """Issue "Fast": a transferred call costs nothing per packet: no packet, no turn of the clock, no timer."""
        self.directly()
        self.assert_direct()
        self.assertEqual(len(self.exchange.media_clock), 0)
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [1, 2])

    def test_target_first(self) -> None:
        """RFC 3725 4: the caller is asked when the target has agreed, and hears nothing of one that doesn't."""
        self.asked(DirectState.TARGET_ASKED)
        self.assertEqual(len(self.requests(self.alice, "INVITE")), 0)
        self.until(DirectState.CALLER_ASKED)
        self.assertEqual(self.place(self.bob), (self.bob.address[0], self.media.target.leg.agreed.remote_rtp[1]))

    def test_descriptions(self) -> None:
        """transfer.md rule 5, RFC 3264 8: our own o= line and next version, the other's place, one codec and keys."""
        self.directly()
        for phone, other in ((self.alice, self.bob), (self.bob, self.alice)):
            before = self.answers(phone)[0] if phone is self.alice else self.offers(phone)[0]
            offer = self.offers(phone)[-1]
            host, port = self.place(other)
            [origin], [was] = ([line for line in text.split("\r\n") if line[:2] == "o="] for text in (offer, before))
            self.assertEqual(origin, was.replace(" 1 IN IP4", " 2 IN IP4"))
            self.assertIn(f"IN IP4 {SERVER}", origin)
            self.assertIn(f"\r\nc=IN IP4 {host}\r\n", offer)
            self.assertIn(f"\r\nm=audio {port} RTP/AVP 8 101\r\n", offer)

    def test_nothing_is_lost_on_the_way(self) -> None:
        """Issue "Fast": whoever listens hears no gap when media become direct."""
        self.joined()
        since = self.now()
        self.until(DirectState.DIRECT)
        self.advance(1)
        for phone, frequency in ((self.alice, BOB), (self.bob, ALICE)):
            seconds = sum(one.seconds for one in phone.heard(frequency, since=since))
            self.assertGreater(seconds, self.now() - since - 0.1)

    def test_anchored_by_default(self) -> None:
        """transfer.md: anchored media never re-INVITE A."""
        self.exchange.media = "anchored"
        self.joined()
        self.advance(15)
        self.assert_anchored()
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [0, 1])

    def test_media_timer_is_off(self) -> None:
        """Issue "Fast": what doesn't come here can't be missed here (R32)."""
        self.directly()
        self.alice.call.media.audio.mouth.stop()
        self.bob.call.media.audio.mouth.stop()
        self.advance(120)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)

    def test_media_timer_is_on_again(self) -> None:
        """R32: once media are back, a far end that says nothing is ended, 30 s from then on."""
        self.directly()
        self.advance(60)
        self.run_until(self.bob.hold())
        self.run_until(self.bob.resume())
        self.bob.call.media.audio.mouth.stop()
        self.advance(28)
        self.assert_outcome(State.TRANSFERRED, State.ANSWERED, TransferCause.NORMAL)
        self.advance(5)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL)

    def test_our_refresh(self) -> None:
        """RFC 4028 7.4, R23: what we repeat is what holds, with its o= version; media stay direct."""

        def without_update(message: Message) -> Message:
            if message.has("Allow"):
                message.set("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO")
            return message

        self.bob.quirks.alter = without_update
        self.bob.session_timer = TimerWish(90, "uac")
        self.directly()
        self.advance(60)
        *_, before, refresh = self.offers(self.bob)
        self.assertGreater(len(self.offers(self.bob)), 2)
        self.assertEqual(refresh, before)
        self.assert_direct()

    def test_their_refreshes(self) -> None:
        """RFC 4028 7.4: an offer that changes nothing gets the same description again, by re-INVITE and by UPDATE."""
        self.directly()
        described = [self.offers(phone)[-1] for phone in (self.alice, self.bob)]
        for phone, before in zip((self.alice, self.bob), described, strict=True):
            self.assertEqual(self.run_until(phone.reinvite()), 200)
            self.assertEqual(self.run_until(phone.update()), 200)
            self.assertEqual(self.answers(phone)[-2:], [before, before])
        self.assert_direct()
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [1, 2])

    def test_keys(self) -> None:
        """Issue "Fast": keys go directly, as events; the application has those that come by INFO, and nobody else."""
        self.joined()
        self.run_until(self.bob.press("9"))
        self.until(DirectState.DIRECT)
        self.run_until(self.alice.press("12"))
        self.run_until(self.bob.press("34"))
        self.run_until(self.bob.press("56", by="info"))
        self.advance(1)
        self.assertEqual((self.bob.digits, self.alice.digits), ("12", "934"))
        self.assertEqual(self.run_until(self.other.DTMFDetector.get_digits()), "956")
        self.assert_direct()
        self.run_until(self.bob.hold())
        self.advance(1)
        self.assertEqual(self.alice.digits, "934", "nor later, once the caller hears us again")

    def test_keys_without_events(self) -> None:
        """R27: where neither has telephone events and both take INFO, a key by INFO is passed on by INFO."""
        self.alice.quirks.no_events = self.bob.quirks.no_events = True
        self.directly()
        self.run_until(self.alice.press("7", by="info"))
        self.advance(0.5)
        self.assertEqual(self.bob.digits, "7")
        self.assert_direct()

    def test_strangers(self) -> None:
        """R22: a leg whose far end sends elsewhere takes nobody else for it, not even with its numbers."""
        self.directly()
        self.advance(2)
        mouth = self.bob.call.media.audio.mouth
        stranger = Speaker(self.network.host("10.6.6.6"), tone(1900), ssrc=mouth.ssrc, sequence=mouth.sequence - 50)
        assert self.other.leg is not None and self.other.leg.endpoint is not None
        stranger.start(self.other.leg.endpoint.rtp.address)
        since = self.now()
        self.advance(1)
        self.assertEqual(self.alice.heard(1900, since=since), [])
        stranger.close()
        self.run_until(self.channel.retrieve_transferred_call())
        self.assertEqual(stranger.heard, [])
        self.assert_talked_to(self.alice, self.channel)

    def test_told(self) -> None:
        """Issue "Fast": Details and the recording of the call say that media are direct, and for how long."""
        recorder = Recorder(self.exchange, wall=lambda: 0.0)
        self.directly()
        self.advance(9.9)
        self.assertEqual(self.channel.Details.media, "direct")
        self.run_until(self.channel.retrieve_transferred_call())
        self.assertEqual(self.channel.Details.media, "anchored")
        self.assertApproximates(self.channel.Details.direct_seconds, 10, 0.1)
        self.assertEqual(self.other.Details.direct_seconds, self.channel.Details.direct_seconds)
        assert self.channel.recording is not None
        told = [entry["media"] for entry in self.channel.recording.recording().entries if "media" in entry]
        self.assertEqual(sum("directly: none of it comes by here" in one for one in told), 2)
        self.assertEqual(recorder.forgotten, 0)

    def test_again(self) -> None:
        """A call that was retrieved and transferred once more goes directly once more."""
        self.directly()
        self.run_until(self.channel.retrieve_transferred_call())
        self.run_until(self.other.hang_up())
        self.directly()
        self.assert_direct()


class ObstacleTests(DirectScene):
    """What keeps media here from the beginning: nobody is asked for anything."""

    def stays(self, reason: Obstacle, talking: bool = True) -> None:
        """Hold that media stay here, and why."""
        self.until(DirectState.ANCHORED, 15)
        self.assertEqual(self.channel.Details.media_reason, reason.value)
        if talking:
            self.assert_anchored()
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [0, 1])

    def test_codecs(self) -> None:
        """R28: what differs is recoded here."""
        self.alice.codecs, self.bob.codecs = ("PCMU",), ("PCMA",)
        self.joined()
        self.stays(Obstacle.CODECS)

    def test_packet_times(self) -> None:
        """R28: 20 and 30 ms are repacketised here."""
        self.bob.ptime = 30
        self.joined()
        self.stays(Obstacle.CODECS, talking=False)

    def test_events_on_one_side(self) -> None:
        """R27: keys of who has telephone events are passed on otherwise by us."""
        self.alice.quirks.no_events = True
        self.joined()
        self.stays(Obstacle.CODECS)

    def test_numbers_of_events(self) -> None:
        """RFC 4733: the same number has to mean the same."""

        def others(message: Message) -> Message:
            if isinstance(message, Request) and message.method == "INVITE":
                message.body = message.body.replace(b" 101", b" 96").replace(b":101", b":96")
            return message

        self.alice.quirks.alter = others
        self.strict = False  # the phone doesn't know what it was made to say
        self.joined()
        self.stays(Obstacle.CODECS)

    def test_no_way_for_keys(self) -> None:
        """R27: without events, and without INFO on one side, keys become tones here."""
        self.alice.quirks.no_events = self.bob.quirks.no_events = True
        self.bob.quirks.alter = without_info
        self.joined()
        self.stays(Obstacle.KEYS)

    def test_secured(self) -> None:
        """R29: keys never cross, so whoever is secured talks to us; even where both are."""
        self.alice.srtp = self.bob.srtp = "AES_CM_128_HMAC_SHA1_80"
        self.exchange.srtp = "always"
        self.joined()
        self.stays(Obstacle.SECURED)

    def test_held(self) -> None:
        """R25: who holds from the first moment on stays with us."""
        self.joined()
        self.run_until(self.bob.hold())
        self.stays(Obstacle.HELD, talking=False)

    def test_recorded(self) -> None:
        """Issue "Fast": what is recorded comes by here; also when the recording ends after a while."""
        self.joined()
        self.other.FileRecorder.start("it.wav")
        self.stays(Obstacle.USED)
        self.run_until(self.other.FileRecorder.stop())
        self.advance(15)
        self.assert_anchored()

    def test_recorded_for_a_moment(self) -> None:
        """What may pass is looked at again, ten times in all."""
        self.joined()
        self.other.FileRecorder.start("it.wav")
        self.advance(4)
        self.run_until(self.other.FileRecorder.stop())
        self.until(DirectState.DIRECT)
        self.advance(0.1)
        self.assert_direct()

    def test_keys_are_waited_for(self) -> None:
        """api.md section 5: an agent's code is heard as events, since somebody waits for it."""
        self.joined()
        digits = self.other.DTMFDetector.get_digits(count=2, seconds_predigits_timeout=None)
        self.advance(3)
        self.run_until(self.bob.press("42"))
        self.assertEqual(self.run_until(digits, 5), "42")

    def test_about_to_be_replaced(self) -> None:
        """R30: nobody is asked while somebody else is on his way to the target's place; he is asked then."""
        carol = self.phone("carol")
        carol.says(tone(1500))
        self.joined()
        self.other.refer = "follow"
        self.bob.transfer(carol.uri)
        self.run_until(carol.until("incoming"))
        self.advance(4)
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [0, 1])
        carol.answer()
        self.bob.hang_up()
        self.bob = carol
        self.until(DirectState.DIRECT)
        since = self.now() + 0.1
        self.advance(1.1)
        sources = {one.source for one in self.alice.call.media.audio.ear.heard_packets(since)}
        self.assertEqual(sources, {self.place(carol)})

    def test_packets_are_kept(self) -> None:
        """A recording with the packets of RTP has to get them."""
        Recorder(self.exchange, wall=lambda: 0.0, media=True)
        self.joined()
        self.stays(Obstacle.USED)

    def test_nat(self) -> None:
        """No NAT on either side: what a phone signals from behind one leads nowhere."""
        self.alice = self.phone("alice", behind=self.nat())
        self.alice.says(tone(ALICE))
        self.joined()
        self.stays(Obstacle.NAT)

    def test_nat_before_the_signalling(self) -> None:
        """RFC 5626: nor where only the messages show it."""

        def inside(message: Message) -> Message:
            for name in ("Via", "Contact"):
                value = message.get(name)
                if value is not None and isinstance(message, Request):
                    message.set(name, value.replace(self.alice.address[0], "192.168.9.9"))
            return message

        self.strict = False
        self.alice.quirks.alter = inside
        self.joined()
        self.until(DirectState.ANCHORED)
        self.assertEqual(self.channel.Details.media_reason, Obstacle.NAT.value)

    def test_audio_from_elsewhere(self) -> None:
        """RFC 4961: nor where only the audio comes from another place than it was said to."""
        self.begin()
        self.bob.answer()
        self.bob.call.rebind_media()
        self.advance(1)
        self.stays(Obstacle.NAT)

    def test_silent(self) -> None:
        """Whoever has never been heard may not be there at all: a stranger could have named somebody else."""
        self.bob.media = False
        self.joined()
        self.stays(Obstacle.SILENT, talking=False)

    def test_networks(self) -> None:
        """A private address and a public one don't reach each other."""
        self.bob = self.phone("bob", at="192.0.2.7:5060")
        self.bob.says(tone(BOB))
        self.joined()
        self.stays(Obstacle.NETWORKS)


class RefusalTests(DirectScene):
    """Somebody doesn't want it."""

    def test_target_refuses(self) -> None:
        """Issue "Fast": nothing has changed for anybody, and the caller hears nothing of it."""
        self.joined()
        self.bob.quirks.refuse_reinvite = 488
        self.until(DirectState.ANCHORED)
        self.assert_anchored(reason=Obstacle.REFUSED)
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [0, 2])

    def test_caller_refuses(self) -> None:
        """The target, which has agreed, is brought back: nothing is lost."""
        self.joined()
        self.alice.quirks.refuse_reinvite = 488
        self.until(DirectState.ANCHORED)
        self.advance(0.2)
        self.assert_anchored(reason=Obstacle.REFUSED)
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [1, 3])
        self.assertIn(f"c=IN IP4 {SERVER}\r\n", self.offers(self.bob)[-1])

    def test_target_refuses_to_come_back(self) -> None:
        """Nobody can be sure to hear it: that leg is ended, with a reason, and the caller is the application's."""
        self.joined()
        self.alice.quirks.refuse_reinvite = 488
        self.until(DirectState.CALLER_ASKED)
        self.bob.quirks.refuse_reinvite = 488
        self.run_until(lambda: self.other.state() is State.IDLE, 5)
        self.run_until(lambda: self.channel.state() is State.ANSWERED, 1)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL, Cause.FAILED)
        self.advance(0.2)
        self.assertIn("cause=488", self.requests(self.bob, "BYE")[0].get("Reason") or "")
        self.assert_talked_to(self.alice, self.channel)

    def answers_badly(self, phone: Phone) -> None:
        """Let a phone answer the next re-INVITE with 200 and no port."""

        def badly(message: Message) -> Message:
            if isinstance(message, Response) and message.status == 200 and message.cseq.method == "INVITE":
                port = phone.call.media.audio.ports[0]
                message.body = message.body.replace(f"m=audio {port}".encode(), b"m=audio 0")
                phone.quirks.alter = None
            return message

        phone.quirks.alter = badly

    def test_answer_that_says_nothing(self) -> None:
        """Whoever took our offer, in words that can't be used, is asked back: it may be sending elsewhere."""
        self.joined()
        self.answers_badly(self.bob)
        self.until(DirectState.ANCHORED)
        self.advance(0.2)
        self.assertEqual([len(self.requests(phone, "INVITE")) for phone in (self.alice, self.bob)], [0, 3])
        self.assert_anchored(reason=Obstacle.REFUSED)

    def test_answer_that_says_nothing_and_a_refusal(self) -> None:
        """And where it refuses to come back, it counts as one that is away."""
        self.joined()
        self.answers_badly(self.bob)
        self.run_until(lambda: self.bob.quirks.alter is None, 5)
        self.bob.quirks.refuse_reinvite = 488
        self.run_until(lambda: self.other.state() is State.IDLE, 5)
        self.assertEqual((self.other.cause(), self.other.Details.raw_cause), (Cause.FAILED, 488))

    def test_asked_back_again(self) -> None:
        """The same on the way back: it is asked three times in all."""
        for bad in (2, 3):
            self.directly()
            verb = self.channel.retrieve_transferred_call()
            known = len(self.requests(self.bob, "INVITE")) - 1
            for _ in range(bad):
                self.answers_badly(self.bob)
                self.run_until(lambda: self.bob.quirks.alter is None, 5)
            self.run_until(verb)
            self.advance(1)
            self.assertEqual(len(self.requests(self.bob, "INVITE")) - known, 4)
            self.assertIs(self.other.state(), State.ANSWERED if bad == 2 else State.IDLE)
            self.run_until(self.other.hang_up())

    def test_refused_while_it_is_asked_back(self) -> None:
        """Who refuses to go, and is to come back by then, is here: nothing more is asked, and nobody ended."""
        self.joined()
        self.bob.quirks.refuse_reinvite, self.bob.quirks.slow = 488, 0.5
        self.until(DirectState.TARGET_ASKED)
        self.assertEqual(self.run_until(self.alice.hold()), 200)
        self.advance(3)
        self.bob.quirks.slow = 0.0
        self.assertEqual(len(self.requests(self.bob, "INVITE")), 2)
        self.assertEqual(self.run_until(self.alice.resume()), 200)
        self.assert_anchored()

    def test_bad_answer_while_it_is_asked_back(self) -> None:
        """One re-INVITE brings it back, however its answer before reads."""
        self.strict = False  # bob talks to alice, who holds, until he is back
        self.joined()
        self.until(DirectState.TARGET_ASKED)
        self.bob.quirks.slow = 0.5
        self.answers_badly(self.bob)
        self.assertEqual(self.run_until(self.alice.hold()), 200)
        self.advance(3)
        self.bob.quirks.slow = 0.0
        self.assertEqual(len(self.requests(self.bob, "INVITE")), 3)
        self.assertEqual(self.run_until(self.alice.resume()), 200)
        self.assert_anchored()

    def test_glare_with_the_target(self) -> None:
        """R10, RFC 3261 14.1: we own that Call-ID, so it is tried again after 2.1 to 4.0 s; nobody notices."""
        self.joined()
        self.bob.quirks.glare = 1
        self.until(DirectState.TARGET_ASKED)
        began = self.now()
        self.assert_talking(1.5)
        self.until(DirectState.DIRECT)
        self.assertTrue(2.1 <= self.now() - began <= 4.2, self.now() - began)
        self.advance(0.1)
        self.assert_direct()

    def test_glare_with_the_caller(self) -> None:
        """R10, RFC 3261 14.1: there it is 0 to 2.0 s, in which the target is away already."""
        self.joined()
        self.alice.quirks.glare = 1
        self.until(DirectState.DIRECT)
        self.advance(0.1)
        self.assert_direct()

    def test_glare_without_end(self) -> None:
        """Issue "Fast": then media are anchored again, 2.5 s after the target's answer."""
        self.joined()
        self.until(DirectState.TARGET_ASKED)
        self.alice.quirks.glare = 99
        self.until(DirectState.CALLER_ASKED)
        began = self.now()
        self.until(DirectState.ANCHORED)
        self.assertApproximates(self.now() - began, 2.5, 0.01)
        self.alice.quirks.glare = 0
        self.advance(0.2)
        self.assert_anchored(reason=Obstacle.REFUSED)

    def test_slow_caller(self) -> None:
        """The same for one that takes its time: what it agrees to late is asked back."""
        self.joined()
        self.until(DirectState.TARGET_ASKED)
        self.alice.quirks.slow = 4.0
        self.until(DirectState.ANCHORED)
        self.advance(3)
        self.alice.quirks.slow = 0.0
        self.advance(5)
        self.assert_anchored()
        self.assertEqual(len(self.requests(self.alice, "INVITE")), 2)

    def moves_when_asked(self, phone: Phone) -> None:
        """Let a phone answer a re-INVITE with a new port."""

        def moved(message: Message) -> Message:
            call = phone.call
            if isinstance(message, Response) and message.status == 200 and message.cseq.method == "INVITE":
                old = call.media.audio.ports[0]
                call.rebind_media()
                message.body = message.body.replace(
                    f"m=audio {old}".encode(), f"m=audio {call.media.audio.ports[0]}".encode()
                )
                phone.quirks.alter = None
            return message

        phone.quirks.alter = moved

    def test_target_moves(self) -> None:
        """A target that answers with another address hasn't been heard from there: it comes back."""
        self.joined()
        self.moves_when_asked(self.bob)
        self.until(DirectState.ANCHORED)
        self.advance(0.3)
        self.assert_anchored()
        self.assertEqual(len(self.requests(self.alice, "INVITE")), 0, "nothing for the caller to do")

    def test_caller_moves(self) -> None:
        """Nor may the caller be elsewhere than the target was told."""
        self.joined()
        self.moves_when_asked(self.alice)
        self.until(DirectState.ANCHORED)
        self.advance(0.3)
        self.assert_anchored()


class ReturnTests(DirectScene):
    """What brings media back."""

    def test_hold(self) -> None:
        """Issue "Fast", R24, R25: hold is answered with our own place, and the other one is asked back."""
        for holder, other, frequency in ((self.alice, self.bob, ALICE), (self.bob, self.alice, BOB)):
            self.directly()
            self.assertEqual(self.run_until(holder.hold()), 200)
            self.assertIn(f"c=IN IP4 {SERVER}\r\n", self.answers(holder)[-1])
            self.assertIn("a=recvonly\r\n", self.answers(holder)[-1])
            self.advance(0.3)
            since = self.now()
            self.advance(1)
            self.assertEqual(packets_of(holder, since), [])
            self.assertGreater(sum(one.seconds for one in other.heard(frequency, since=since)), 0.9)
            self.assertEqual(self.run_until(holder.resume()), 200)
            self.advance(0.2)
            self.assert_anchored(reason=Obstacle.CHANGED)
            self.run_until(self.channel.retrieve_transferred_call())
            self.run_until(self.other.hang_up())

    def test_silence_at_once(self) -> None:
        """I5: who comes back to somebody that says nothing gets our silence from its answer on."""
        self.directly()
        self.bob.call.media.audio.mouth.stop()
        self.other.FileRecorder.start("it.wav")
        self.run_until(lambda: len(self.requests(self.alice, "INVITE")) == 2, 1)
        self.advance(0.02)
        since = self.now()
        self.advance(0.3)
        self.assertApproximates(len(packets_of(self.alice, since)), 15, 1)

    def test_hold_by_update(self) -> None:
        """RFC 3311: the same by UPDATE."""
        self.directly()
        self.assertEqual(self.run_until(self.bob.update("inactive")), 200)
        self.advance(0.3)
        since = self.now()
        self.advance(1)
        self.assertEqual((packets_of(self.bob, since), self.alice.heard(BOB, since=since)), ([], []))
        self.assertEqual(self.run_until(self.bob.update("sendrecv")), 200)
        self.advance(0.2)
        self.assert_anchored()

    def test_hold_while_the_other_is_asked(self) -> None:
        """A hold between the two re-INVITEs: both are brought back, or never leave."""
        for state in (DirectState.TARGET_ASKED, DirectState.CALLER_ASKED):
            for holder in (self.alice, self.bob):
                self.asked(state)
                held = holder.hold()
                self.run_until(held)
                self.advance(0.5)
                self.assertEqual(self.run_until(holder.resume()), 200)
                self.advance(0.3)
                self.assert_anchored()
                self.run_until(self.channel.retrieve_transferred_call())
                self.run_until(self.other.hang_up())

    def test_new_address(self) -> None:
        """Issue "Fast": a far end that moves isn't followed into the void; both come back."""
        for phone in (self.alice, self.bob):
            self.directly()
            phone.call.rebind_media()
            self.assertEqual(self.run_until(phone.reinvite()), 200)
            self.advance(0.3)
            self.assert_anchored(reason=Obstacle.CHANGED)
            self.run_until(self.channel.retrieve_transferred_call())
            self.run_until(self.other.hang_up())

    def test_without_an_offer(self) -> None:
        """R26: our 200 offers everything we have, at our own place."""
        self.directly()
        self.assertEqual(self.run_until(self.alice.reinvite(offer=False)), 200)
        offer = self.answers(self.alice)[-1]
        self.assertIn(f"c=IN IP4 {SERVER}\r\n", offer)
        self.assertIn("RTP/AVP 8 0 101\r\n", offer)
        self.advance(0.3)
        self.assert_anchored()

    def test_recorder(self) -> None:
        """Issue "Fast": whoever records gets the audio, once both have come back."""
        self.directly()
        self.assertIs(self.run_until(self.other.FileRecorder.start("it.wav")), FileRecorder.State.ACTIVE)
        self.advance(2)
        self.assert_anchored(reason=Obstacle.USED)
        self.run_until(self.other.FileRecorder.stop())
        self.assertGreater(sum(one.seconds for one in self.recorded("it.wav", BOB)), 3.5)

    def test_keys_are_wanted(self) -> None:
        """api.md section 5: an agent presses a code; once somebody waits for it, it is heard as events too."""
        self.directly()
        digits = self.other.DTMFDetector.get_digits(count=2, seconds_predigits_timeout=None)
        self.advance(0.5)
        self.run_until(self.bob.press("17"))
        self.assertEqual(self.run_until(digits, 5), "17")
        self.assertEqual(self.alice.digits, "17")
        self.assert_anchored()

    def test_nothing_counts_as_lost(self) -> None:
        """RFC 3550 A.3: what went elsewhere meanwhile is no loss of the leg's."""
        self.directly()
        self.advance(20)
        self.run_until(self.channel.retrieve_transferred_call())
        self.advance(2)
        assert self.channel.leg is not None and self.channel.leg.endpoint is not None
        statistics = self.channel.leg.endpoint.rtp.statistics
        self.assertEqual((statistics.lost, statistics.duplicates), (0, 0))

    def test_replaced(self) -> None:
        """R31: who takes the target's place talks by us; the caller is brought back from the old one."""
        self.directly()
        old = self.bob.call
        self.bob.dial(self.uri("3300"), replaces=old)
        self.advance(0.5)
        self.assertEqual(old.ended_by, "far")
        self.assert_anchored()

    def test_referred_away(self) -> None:
        """R30: a target that sends the call on and leaves: the caller hears it ring here, then the new one."""
        carol = self.phone("carol")
        carol.says(tone(1500))
        self.directly()
        self.other.refer = "follow"
        self.bob.transfer(carol.uri)
        self.run_until(carol.until("incoming"))
        self.bob.hang_up()
        self.advance(0.5)
        since = self.now()
        self.advance(1)
        self.assertGreater(sum(one.seconds for one in self.alice.heard(*RINGBACK, since=since)), 0.8)
        carol.answer()
        self.advance(0.5)
        since = self.now()
        self.advance(1)
        self.assertGreater(sum(one.seconds for one in self.alice.heard(1500, since=since)), 0.9)
        self.assertIs(self.channel.state(), State.TRANSFERRED)


class RetrievalTests(DirectScene):
    """The caller comes back."""

    def test_retrieved(self) -> None:
        """Issue "Fast": RECONNECTING until the caller's re-INVITE is answered; then it hears the application."""
        self.directly()
        verb = self.channel.retrieve_transferred_call()
        self.assertIs(self.channel.state(), State.RECONNECTING)
        self.assertFalse(self.responses_of(self.alice))
        self.assertIs(self.run_until(verb), State.ANSWERED)
        self.assertTrue(self.responses_of(self.alice))
        self.assert_outcome(State.ANSWERED, State.ANSWERED, TransferCause.NORMAL)
        self.assert_talked_to(self.alice, self.channel)
        self.assert_talked_to(self.bob, self.other)

    def responses_of(self, phone: Phone) -> bool:
        """Whether a phone has answered the re-INVITE that brings it back."""
        number = self.requests(phone, "INVITE")[-1].cseq.number
        back = f"c=IN IP4 {SERVER}\r\n" in self.offers(phone)[-1]
        return back and any(one.cseq.number == number for one in phone.sent(200))

    def test_slowly(self) -> None:
        """A caller that takes its time is RECONNECTING for so long."""
        self.directly()
        self.alice.quirks.slow = 3.0
        verb = self.channel.retrieve_transferred_call()
        self.advance(2.9)
        self.assertIs(self.channel.state(), State.RECONNECTING)
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)

    def test_target_hangs_up(self) -> None:
        """api.md section 5: the call comes back by itself, and is brought back to us."""
        self.directly()
        self.bob.hang_up()
        self.run_until(lambda: self.channel.state() is State.RECONNECTING, 1)
        self.run_until(lambda: self.channel.state() is State.ANSWERED, 1)
        self.assert_outcome(State.ANSWERED, State.IDLE, TransferCause.NORMAL)
        self.assert_talked_to(self.alice, self.channel)

    def test_refused(self) -> None:
        """Issue "Fast": the caller is kept, and its audio is an error."""
        self.directly()
        self.alice.quirks.refuse_reinvite = 488
        self.assertIs(self.run_until(self.channel.retrieve_transferred_call(), 5), State.ANSWERED)
        self.advance(1)
        self.assertIs(self.channel.state(), State.ANSWERED)
        self.write("it.wav", tone(700))
        other = self.exchange.channel()
        for verb in (
            lambda: self.channel.FilePlayer.play("it.wav"),
            lambda: self.channel.FileRecorder.record("me.wav"),
            lambda: self.channel.TonePlayer.start("RINGBACK"),  # type: ignore[union-attr]
            lambda: self.channel.DTMFDetector.get_digits(count=1),
            lambda: self.channel.connect(self.other),
            lambda: self.other.connect(self.channel),
            lambda: self.channel.retrievable_transfer(other, self.bob.uri),
        ):
            error = self.failureResultOf(verb(), Error).value
            self.assertRegex(str(error), r"can't have the far end's audio.* \(488 .*\); hang_up\(\) ends the call")
        self.run_until(self.channel.hang_up())
        self.advance(0.1)
        self.assertEqual(len(self.requests(self.alice, "BYE")), 1)

    def test_refused_and_come_back(self) -> None:
        """What a far end offers itself is answered with our own place: that brings it back, too."""
        self.directly()
        self.alice.quirks.refuse_reinvite = 488
        self.run_until(self.channel.retrieve_transferred_call(), 5)
        self.alice.quirks.refuse_reinvite = 0
        self.assertEqual(self.run_until(self.alice.hold()), 200)
        self.assertEqual(self.run_until(self.alice.resume()), 200)
        self.assert_talked_to(self.alice, self.channel)

    def test_target_refuses(self) -> None:
        """A target that goes on sending to the caller can't be kept: the caller would hear it beside us."""
        self.directly()
        self.bob.quirks.refuse_reinvite = 500
        verb = self.channel.retrieve_transferred_call()
        recording = self.other.FileRecorder.record("it.wav")
        self.assertIs(self.run_until(verb, 5), State.ANSWERED)
        self.run_until(lambda: self.other.state() is State.IDLE, 20)
        self.assertEqual((self.other.cause(), self.other.Details.raw_cause), (Cause.FAILED, 500))
        self.assertIs(self.run_until(recording), JobCause.HANGUP)
        self.advance(0.2)
        self.assertEqual(len(self.requests(self.bob, "BYE")), 1)
        self.assert_talked_to(self.alice, self.channel)

    def test_silent_caller(self) -> None:
        """RFC 3261 12.2.1.2: no answer at all is a call that is gone."""
        self.directly()
        self.alice.quirks.deaf = True
        verb = self.channel.retrieve_transferred_call()
        self.assertIs(self.run_until(verb, 40), State.IDLE)
        self.alice.quirks.deaf = False
        self.advance(5)

    def test_while_they_are_asked(self) -> None:
        """Retrieval between the re-INVITEs: who has left is brought back, who has not isn't asked."""
        for state, invites in ((DirectState.TARGET_ASKED, 0), (DirectState.CALLER_ASKED, 2)):
            self.asked(state)
            before = len(self.requests(self.alice, "INVITE"))
            self.assertIs(self.run_until(self.channel.retrieve_transferred_call(), 2), State.ANSWERED)
            self.advance(0.5)
            self.assert_talked_to(self.alice, self.channel)
            self.assert_talked_to(self.bob, self.other)
            self.assertEqual(len(self.requests(self.alice, "INVITE")) - before, invites)
            self.run_until(self.other.hang_up())

    def test_before_they_are_asked(self) -> None:
        """A transfer that is over looks for nothing any more."""
        self.joined()
        media = self.media
        self.assertIsNotNone(media.timer)
        self.run_until(self.channel.retrieve_transferred_call())
        self.assertEqual((media.state, media.timer), (DirectState.OVER, None))

    def test_hang_up_while_they_are_asked(self) -> None:
        """R12: a BYE ends whatever is under way, in any direction; one BYE per dialog."""
        for state in (DirectState.TARGET_ASKED, DirectState.CALLER_ASKED, DirectState.DIRECT):
            for who in ("alice", "bob", "application"):
                self.asked(state)
                known = len(self.requests(self.alice, "BYE")), len(self.requests(self.bob, "BYE"))
                if who == "application":
                    self.channel.hang_up()
                else:
                    getattr(self, who).hang_up()
                self.advance(3)
                back = who == "bob"
                self.assert_outcome(State.ANSWERED if back else State.IDLE, State.IDLE, TransferCause.NORMAL)
                byes = len(self.requests(self.alice, "BYE")), len(self.requests(self.bob, "BYE"))
                ours = {"alice": (0, 1), "bob": (0, 0), "application": (1, 1)}[who]
                self.assertEqual((byes[0] - known[0], byes[1] - known[1]), ours, (state, who))
                if back:
                    self.assert_talked_to(self.alice, self.channel)
                    self.run_until(self.channel.hang_up())
                self.advance(1)
                del self.channel
