"""Hold and re-INVITE while two talk (``transfer.md`` R24, R25, R26), judged by what both saw and heard."""

from __future__ import annotations

from telephony.call.constants import State
from telephony.sip.message import Message, Request
from telephony.testing.phone import Phone
from tests.call.media_scene import breaks, packets_of
from tests.call.transfer_scene import ALICE, BOB, TransferScene


class HoldTests(TransferScene):
    """R24: the caller holds; R25: the target does, the mirror of it."""

    def parties(self, holder: str) -> tuple[Phone, Phone, int]:
        """Return who holds, the other one, and what the holder says."""
        return (self.alice, self.bob, ALICE) if holder == "alice" else (self.bob, self.alice, BOB)

    def hold(self, holder: str, direction: str) -> None:
        """Transfer, hold, and hold what everybody sees and hears."""
        phone, other, frequency = self.parties(holder)
        self.joined()
        self.assertEqual(self.run_until(phone.hold(direction), 5), 200)
        self.advance(0.3)
        since = self.now()
        self.advance(2)
        self.assertEqual(packets_of(phone, since), [], "we stop sending to who holds, as told")
        answer = phone.got(200)[-1]
        expected = "recvonly" if direction == "sendonly" and not phone.quirks.hold_with_zero else "inactive"
        if phone.quirks.hold_with_zero:
            expected = "recvonly"
        self.assertIn(f"a={expected}\r\n".encode(), answer.body)
        heard = other.heard(frequency, since=since)
        if direction == "sendonly" and not phone.quirks.hold_with_zero:
            self.assertGreater(heard[0].seconds, 1.9, "the other one hears what is played on hold")
        elif direction == "inactive" and not phone.quirks.hold_with_zero:
            self.assertEqual(heard, [])
        self.assertApproximates(len(packets_of(other, since)), 100, 1)
        self.assertIs(self.channel.state(), State.TRANSFERRED)
        self.assertIs(self.other.state(), State.ANSWERED)
        self.assertEqual(len(self.requests(other, "INVITE")), 0 if other is self.alice else 1, "it is not re-INVITEd")
        self.assertEqual(self.run_until(phone.resume(), 5), 200)
        self.advance(0.3)
        self.assert_talking()
        self.assertEqual(breaks(packets_of(other)), [], "its stream has no break over all of it")
        self.assert_clean()

    def test_r24_sendonly(self) -> None:
        """R24: sendonly is answered recvonly; the target hears the hold audio."""
        self.hold("alice", "sendonly")

    def test_r24_inactive(self) -> None:
        """R24: inactive is answered inactive; the target hears silence."""
        self.hold("alice", "inactive")

    def test_r24_zero_address(self) -> None:
        """R24: c=0.0.0.0, the hold of before RFC 3264."""
        self.alice.quirks.hold_with_zero = True
        self.hold("alice", "sendonly")

    def test_r25_sendonly(self) -> None:
        """R25: the mirror."""
        self.hold("bob", "sendonly")

    def test_r25_inactive(self) -> None:
        """R25: the mirror."""
        self.hold("bob", "inactive")

    def test_r25_zero_address(self) -> None:
        """R25: the mirror."""
        self.bob.quirks.hold_with_zero = True
        self.hold("bob", "sendonly")

    def test_r25_retrieval_while_the_target_holds(self) -> None:
        """R25: retrieval is allowed at any moment; the target's hold stays its own."""
        self.joined()
        self.run_until(self.bob.hold("inactive"), 5)
        self.advance(0.3)
        self.assertIs(self.run_until(self.channel.retrieve_transferred_call(), 1), State.ANSWERED)
        self.assert_deaf("alice", BOB)
        self.assertEqual(self.run_until(self.bob.resume(), 5), 200)
        self.advance(0.2)
        self.assert_deaf("bob", ALICE)
        self.assertEqual(breaks(packets_of(self.alice)), [])

    def test_r24_retrieval_while_the_caller_holds(self) -> None:
        """R24: a caller who holds is retrieved too: there is no packet to wait for; it hears us when it resumes."""
        self.joined()
        self.run_until(self.alice.hold("sendonly"), 5)
        self.advance(0.3)
        asked = self.now()
        self.assertIs(self.run_until(self.channel.retrieve_transferred_call(), 1), State.ANSWERED)
        self.assertLessEqual(self.now() - asked, 0.0201)
        self.advance(0.5)
        self.run_until(self.alice.resume(), 5)
        self.advance(0.2)
        self.assert_deaf("alice", BOB)

    def test_r24_target_ends_while_the_caller_holds(self) -> None:
        """R24: so does the target's end."""
        self.joined()
        self.run_until(self.alice.hold("inactive"), 5)
        self.bob.hang_up()
        self.advance(0.5)
        self.assertIs(self.channel.state(), State.ANSWERED)
        self.run_until(self.alice.resume(), 5)
        self.advance(0.2)
        self.assert_deaf("alice", BOB)

    def test_both_hold(self) -> None:
        """R24 and R25 at once: nothing flows, nothing ends; either may resume first."""
        self.joined()
        self.run_until(self.alice.hold("inactive"), 5)
        self.run_until(self.bob.hold("inactive"), 5)
        self.advance(0.3)
        since = self.now()
        self.advance(2)
        self.assertEqual(packets_of(self.alice, since) + packets_of(self.bob, since), [])
        self.run_until(self.bob.resume(), 5)
        self.advance(0.2)
        self.assert_deaf("bob", ALICE)
        self.run_until(self.alice.resume(), 5)
        self.advance(0.2)
        self.assert_talking()
        self.assert_clean()

    def test_hold_while_it_rings(self) -> None:
        """R24 while TRANSFERRING: the caller holds over the ringback, and hears the target when it resumes."""
        verb = self.begin()
        self.bob.ring()
        self.advance(0.5)
        self.run_until(self.alice.hold("inactive"), 5)
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.TRANSFERRED)
        self.advance(0.3)
        self.assert_deaf("bob", ALICE)
        self.run_until(self.alice.resume(), 5)
        self.advance(0.2)
        self.assert_talking()
        self.assertEqual(self.alice.heard(440, 480, since=self.now() - 1), [])
        self.assert_clean()

    def test_hold_before_the_transfer(self) -> None:
        """R24: a caller that holds may be transferred too."""
        self.answer()
        self.run_until(self.alice.hold("inactive"), 5)
        verb = self.begin()
        self.bob.ring()
        self.bob.answer()
        self.assertIs(self.run_until(verb, 5), State.TRANSFERRED)
        self.run_until(self.alice.resume(), 5)
        self.advance(0.2)
        self.assert_talking()
        self.assert_clean()

    def test_refused_hold(self) -> None:
        """RFC 3261 14.2: a re-INVITE that can't be used is 488, and everything stays as it was."""
        self.joined()
        self.alice.quirks.sdp = b"this is no session description\r\n"
        status = self.run_until(self.alice.hold(), 5)
        self.assertIn(status, (400, 488))
        self.alice.quirks.sdp = None
        self.advance(0.2)
        self.assert_talking()

    def test_unchanged_offer(self) -> None:
        """RFC 3264 8: the same offer again gets the same answer again, with the same version."""
        self.joined()
        bodies = []
        for _ in range(2):
            self.assertEqual(self.run_until(self.alice.call.reinvite(), 5), 200)
            bodies.append(self.alice.got(200)[-1].body)
        self.assertEqual(bodies[0], bodies[1])
        self.assert_talking()


class OfferlessTests(TransferScene):
    """R26: a re-INVITE without an offer."""

    def reinvite(self, phone: Phone) -> bytes:
        """Send it; our 200's body."""
        self.assertEqual(self.run_until(phone.call.reinvite(offer=False), 5), 200)
        self.advance(0.2)
        return phone.got(200)[-1].body

    def test_r26_full_offer(self) -> None:
        """R26: the 200 carries a full offer, the answer comes in the ACK; never guessed to be a hold."""
        self.joined()
        for phone in (self.alice, self.bob):
            offer = self.reinvite(phone)
            self.assertIn(b"RTP/AVP 8 0 101\r\n", offer)
            self.assertIn(b"a=sendrecv\r\n", offer)
            self.assert_talking()
        self.assertEqual(breaks(packets_of(self.alice)) + breaks(packets_of(self.bob)), [])
        self.assert_clean()

    def test_r26_answered_with_a_hold(self) -> None:
        """R26: what the ACK's answer says holds: the direction is the phone's."""
        self.joined()
        self.alice.call.media.direction = "inactive"
        self.reinvite(self.alice)
        since = self.now()
        self.advance(1)
        self.assertEqual(packets_of(self.alice, since), [])
        self.assertEqual(self.bob.heard(ALICE, since=since), [])
        self.alice.call.media.direction = "sendrecv"
        self.assertIn(b"a=sendrecv\r\n", self.reinvite(self.alice), "or nobody would ever come off hold")
        self.assert_talking()

    def test_r26_no_answer_in_the_ack(self) -> None:
        """R26: an ACK without an answer keeps the old session."""
        self.joined()

        def bare(message: Message) -> Message:
            if isinstance(message, Request) and message.method == "ACK":
                message.body = b""
            return message

        self.alice.quirks.alter = bare
        self.reinvite(self.alice)
        self.assert_talking()
        self.alice.quirks.alter = None
        self.assertEqual(self.run_until(self.alice.hold("inactive"), 5), 200, "no offer of ours is in its way")
        self.run_until(self.alice.resume(), 5)
        self.advance(0.2)
        self.assert_talking()

    def test_r26_unusable_answer_in_the_ack(self) -> None:
        """R26: the same where the answer can't be used."""
        self.joined()
        self.alice.quirks.port_zero = True
        self.reinvite(self.alice)
        self.alice.quirks.port_zero = False
        self.assert_talking()
