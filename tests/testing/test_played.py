"""Replay (issue 3): a recorded call goes the same way again, in simulated time, whatever its application is like."""

from __future__ import annotations

from functools import partial
from typing import Any

import attrs

from telephony.call import recorder
from telephony.call.destination import Destination
from telephony.errors import Error
from telephony.sip.headers import NameAddr
from telephony.sip.uri import SipUri, parse_uri
from telephony.testing.played import PlayedCall
from telephony.testing.recorded_parts import without_challenges
from telephony.testing.sounds import tone
from telephony.trace.comparison import beside
from telephony.trace.ladder import call_id_of
from telephony.trace.recording import Recording, Ring, read_recording

from .recording_scene import ASYNC, HEAD, MENU, RecordingCase


class ReplayTests(RecordingCase):
    """Calls of the kit's phones, recorded and played again."""

    async def menu(self, key: str, at: str | None = None) -> Recording:
        """Record a call to the menu in which a key is pressed."""
        app = self.application(self.file(MENU))
        alice = self.phone("alice", at=at)
        bob = self.phone("bob", at="192.0.2.7:5070")
        alice.dial(app.uri)
        await alice.until("answered")
        await self.moment(1.2)
        alice.press(key)
        if key == "1":
            await bob.until("incoming")
            bob.ring()
            await self.moment(6)
            bob.answer()
            await self.moment(9.5)
            bob.hang_up()
        await alice.until("ended")
        await app.ended()
        await self.moment(20)
        app.flush_failures(KeyError)
        return self.latest()

    async def test_fault_of_a_blocking_application(self) -> None:
        """Issue 3, "Replay": a blocking application that raised raises again, in the same line, with the same code."""
        recording = await self.menu("7")
        self.assertEqual(recording.outcome["return_code"], -1)
        self.assertRegex(recording.outcome["fault"], r"app\.py, line 12: KeyError: '7'$")
        again = self.assert_same(recording, self.directory / "app.py")
        self.assertEqual(again.outcome["fault"], recording.outcome["fault"])
        self.assertEqual(again.head["instance"], recording.head["instance"])

    async def test_transferred_call(self) -> None:
        """Issue 3: a transferred call is two legs; its messages fit the names of this run."""
        recording = await self.menu("1")
        again = self.assert_same(recording, self.directory / "app.py")
        first, second = recording.call_ids()
        self.assertEqual(again.call_ids()[0], first)
        self.assertNotEqual(again.call_ids()[1], second)
        states = [entry["state"] for entry in again.entries if entry.get("state") and entry["channel"] == 0]
        self.assertEqual(states[3:], ["TRANSFERRING", "TRANSFERRED", "RECONNECTING", "ANSWERED", "IDLE"])
        # Nothing was sent again: each message of the peers was taken for an answer to ours.
        self.assertNotIn("again", beside(recording, again))

    async def test_direct_media(self) -> None:
        """RFC 3725: the re-INVITEs of direct media, there and back, are sent again as they were."""
        self.exchange.media = "direct"
        # Nine messages more than an anchored call has: a ring of the usual size would have lost its beginning.
        self.patch(recorder, "Ring", partial(Ring, 64 * 1024))
        recording = await self.menu("1", at="192.0.2.8:5060")
        told = [entry["media"] for entry in recording.entries if "media" in entry]
        self.assertEqual(sum("directly: none of it comes by here" in one for one in told), 2)
        self.assert_same(recording, self.directory / "app.py")

    async def test_another_application(self) -> None:
        """Issue 3: where the replay goes another way, the first difference is said with its moment."""
        recording = await self.menu("7")
        mended = self.file(MENU.replace("CHOICES[key]", 'CHOICES.get(key, "sip:carol@192.0.2.9")'), "mended.py")
        again, difference = self.play(recording, mended)
        assert difference is not None
        self.assertEqual((round(difference.time, 1), difference.where), (1.2, "the states of channel"))
        self.assertEqual((difference.recorded, difference.replayed), ("channel IDLE", "channel TRANSFERRING"))
        shown = beside(recording, again)
        self.assertRegex(shown, r"(?m)^\+ +2\.\d+ .*-- INVITE 1 sdp -")
        self.assertRegex(shown, r"(?m)^  +1\.\d+ +22\.\d+ .*BYE")

    async def test_digits_and_an_async_application(self) -> None:
        """Issue 3: keys come again in their order and at their times, also to an application on the loop."""
        app = self.application(self.file(ASYNC))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        for moment, key in ((2.0, "4"), (3.7, "2"), (5.0, "#")):
            await self.moment(moment)
            alice.press(key)
        await self.moment(8)
        await alice.hang_up()
        self.assertEqual((await app.ended()).return_code, 2)
        again = self.assert_same(self.latest(), self.directory / "app.py")
        keys = [(round(entry["t"], 1), entry["digit"]) for entry in again.entries if "digit" in entry]
        self.assertEqual(keys, [(2.0, "4"), (3.7, "2"), (5.0, "#")])

    async def test_over_tcp(self) -> None:
        """A caller's connection is opened anew, and its pieces are cut into messages."""
        app = self.application(self.file(ASYNC))
        alice = self.phone("alice", transport="tcp")
        self.network.cut_streams = True
        alice.dial(app.uri)
        await alice.until("answered")
        await self.moment(3)
        await alice.hang_up()
        await app.ended()
        await self.moment(5)
        recording = self.latest()
        words = [str(entry.get("in") or entry.get("out"))[:3] for entry in recording.entries if "by" in entry]
        self.assertEqual(words, ["INV", "SIP", "SIP", "SIP", "ACK", "BYE", "SIP"])
        self.assert_same(recording, self.directory / "app.py")

    async def test_refused_and_cancelled(self) -> None:
        """What an application's outbound call gets is played: a refusal, and a CANCEL's 487."""
        text = f"""{HEAD}
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    other = channel.ExtraChannel[0]
    other.call("sip:bob@192.0.2.7:5070")
    other.call("sip:bob@192.0.2.7:5070", seconds_timeout=4)
    return int(other.Details.raw_cause)
"""
        app = self.application(self.file(text))
        alice, bob = self.phone("alice"), self.phone("bob", at="192.0.2.7:5070")
        alice.dial(app.uri)
        await bob.until("incoming")
        await self.moment(2)
        bob.reject(486)
        await bob.until(lambda: len(bob.calls) == 2)
        await self.moment(3)
        bob.ring()
        await alice.until("ended")
        await self.moment(10)
        recording = self.latest()
        self.assertEqual(len(recording.call_ids()), 3)
        self.assert_same(recording, self.directory / "app.py")

    async def test_order_of_what_happens_at_once(self) -> None:
        """A BYE a millisecond before the application's own end comes before it again, though real timers are late."""
        text = f"""{HEAD}
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    time.sleep(5)
    return 1 if channel.state() == channel.State.IDLE else 2
"""
        app = self.application(self.file(text))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        await self.moment(4)
        alice.hang_up()
        await app.ended()
        recording = self.latest()
        # As a real server records it: its thread woke after the BYE, which itself came 3 ms after the 5 s.
        late = [attrs.evolve(recording).entries[index] for index in range(len(recording.entries))]
        woke = 5 + next(entry["t"] for entry in late if entry.get("name") == "answer" and "over" in entry)
        for entry in late:
            if entry["t"] >= 3.9:
                entry["t"] = woke + 0.003
        recording.outcome["return_code"] = 1
        self.assert_same(recording, self.directory / "app.py")

    async def test_time_outside_of_verbs(self) -> None:
        """Three seconds that the application once spent asking something else pass again, though nothing is asked."""
        text = f"""{HEAD}
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    channel.DTMFPlayer.play("1")
    channel.hang_up()
    return 0
"""
        app = self.application(self.file(text))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("ended")
        await self.moment(3)
        recording = self.latest()
        first = next(entry for entry in recording.entries if entry.get("name") == "DTMFPlayer.play")
        for entry in recording.entries[recording.entries.index(first) :]:
            entry["t"] += 3.0
        again = self.assert_same(recording, self.directory / "app.py")
        then, now = ([one["t"] for one in each.entries if "verb" in one] for each in (recording, again))
        self.assertEqual(len(now), len(then))
        self.assertLess(max(abs(one - other) for one, other in zip(then, now, strict=True)), 0.03)

    async def test_outbound_application(self) -> None:
        """An outbound application is started with its parameters, and its target is played."""
        text = f"""{HEAD}
def main(channel, application_instance_id, file_man, my_log, application_parameters, outbound_parameters):
    channel.call(outbound_parameters)
    channel.wait_for_idle()
    return 7
"""
        app = self.application(self.file(text))
        bob = self.phone("bob", at="192.0.2.7:5070", auto_answer=1)
        app.start(bob.uri)
        await bob.until("answered")
        await self.moment(4)
        await bob.hang_up()
        await app.ended()
        recording = self.latest()
        self.assertEqual(recording.head["service"]["direction"], "outbound")
        self.assert_same(recording, self.directory / "app.py")

    async def test_number_through_a_trunk(self) -> None:
        """A number that went through a trunk goes where it went, without the trunk's configuration."""

        class Lines:
            def number(self, number: Any, caller: Any, default: NameAddr, trunk: str | None) -> Destination:
                uri = parse_uri("sip:+4930123@192.0.2.7:5070")
                assert isinstance(uri, SipUri)
                return Destination(uri, default)

            def phone(self, uri: SipUri, caller: NameAddr) -> None:
                return None

        self.exchange.lines = Lines()
        text = f"""{HEAD}
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    channel.ExtraChannel[0].call("+4930123")
    return int(channel.ExtraChannel[0].Details.raw_cause)
"""
        app = self.application(self.file(text))
        alice, bob = self.phone("alice"), self.phone("+4930123", at="192.0.2.7:5070")
        alice.dial(app.uri)
        await bob.until("incoming")
        await self.moment(2)
        bob.reject(404)
        self.assertEqual((await app.ended()).return_code, 404)
        await self.moment(4)
        self.assert_same(self.latest(), self.directory / "app.py")

    async def test_time_of_day(self) -> None:
        """An application that asks for the time gets that of the recording."""
        text = f"""{HEAD}
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    channel.hang_up()
    return int(time.time()) % 1_000_000
"""
        app = self.application(self.file(text))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("ended")
        recording = self.latest()
        recording.head["began"] = 1_800_000_123.4
        again, _difference = self.play(recording, self.directory / "app.py")
        self.assertEqual(again.outcome["return_code"], 123)

    async def test_still_running(self) -> None:
        """A call that was saved while it ran is played until then."""
        app = self.application(self.file(ASYNC))
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        await self.moment(2)
        (live,) = self.recorder.live
        recording = live.recording()
        self.assertEqual(recording.outcome, {})
        played = PlayedCall(recording, self.directory / "app.py")
        played.run()
        assert played.replayed is not None
        self.assertFalse(played.replayed.over)
        self.assertIn("ANSWERED", [entry.get("state") for entry in played.replayed.recording().entries])
        played.close()
        self.flushLoggedErrors()
        await alice.hang_up()

    async def test_challenges_are_left_out(self) -> None:
        """A request that was challenged (407) and sent again is played once: nobody needs the password."""
        recording = await self.menu("1")
        second = recording.call_ids()[1]
        invite = next(e for e in recording.entries if str(e.get("out", "")).startswith("INVITE"))
        index = recording.entries.index(invite)
        retried = dict(
            invite, out=invite["out"].replace("CSeq: 1 ", "CSeq: 2 ").replace("branch=z9hG4bK", "branch=z9hG4bKx")
        )
        challenge = dict(invite, t=invite["t"])
        via = next(line for line in invite["out"].split("\r\n") if line.startswith("Via"))
        del challenge["out"]
        challenge["in"] = (
            f"SIP/2.0 407 Proxy Authentication Required\r\n{via}\r\nCall-ID: {second}\r\nCSeq: 1 INVITE\r\n\r\n"
        )
        challenge["from"], challenge["to"] = invite["to"], invite["from"]
        renumbered = []
        for entry in recording.entries[index + 1 :]:
            data = entry.get("in", "")
            if call_id_of(data.encode()) == second and "CSeq: 1 INVITE" in data:
                data = data.replace("CSeq: 1 INVITE", "CSeq: 2 INVITE").replace("branch=z9hG4bK", "branch=z9hG4bKx")
                entry = dict(entry, **{"in": data})
            renumbered.append(entry)
        entries = [*recording.entries[: index + 1], challenge, retried, *renumbered]
        again, count = without_challenges(attrs.evolve(recording, entries=entries))
        self.assertEqual(count, 1)
        self.assertEqual(len(again.entries), len(recording.entries))
        self.assert_same(attrs.evolve(recording, entries=entries), self.directory / "app.py")

    def test_nothing_to_play(self) -> None:
        """What has no message in it, or one that was cut, is refused with a sentence."""
        empty = read_recording('{"telephony": "recording", "version": 1}', "x")
        self.assertIn("nothing to play", str(self.assertRaises(Error, PlayedCall, empty, self.file(MENU))))
        message = (
            '{"t": 0, "in": "INVITE", "by": "UDP", "from": ["192.0.2.1", 5060], "to": ["10.0.0.1", 5060], "cut": 9}'
        )
        cut = read_recording('{"telephony": "recording", "version": 1}\n' + message, "x")
        self.assertIn("too long to be kept", str(self.assertRaises(Error, PlayedCall, cut, self.file(MENU))))


class MediaTests(RecordingCase):
    """``[trace] replay = "media"``."""

    media = True

    async def test_what_was_said_is_heard_again(self) -> None:
        """The packets come again: keys are found in them, and a recording of the caller has its sound."""
        text = f"""{HEAD}
def main(channel, application_instance_id, file_man, my_log, application_parameters):
    channel.answer()
    keys = channel.DTMFDetector.get_digits(count=2, seconds_predigits_timeout=10)
    channel.FileRecorder.record("said.wav", seconds_timeout=1)
    return int(keys) if channel.FileRecorder.audio_detected_in_recording() else -100
"""
        app = self.application(self.file(text), media=self.directory)
        alice = self.phone("alice")
        alice.dial(app.uri)
        await alice.until("answered")
        await self.moment(1)
        await alice.press("42")
        alice.says(tone(700))
        await alice.until("ended")
        self.assertEqual((await app.ended()).return_code, 42)
        recording = self.latest()
        self.assertGreater(len(recording.media()), 80)
        (self.directory / "said.wav").unlink()
        again = self.assert_same(recording, self.directory / "app.py")
        self.assertEqual([entry["digit"] for entry in again.entries if "digit" in entry], ["4", "2"])
        # Without the packets the caller only sends silence.
        silent = attrs.evolve(recording, entries=[one for one in recording.entries if "packet" not in one])
        again, difference = self.play(silent, self.directory / "app.py")
        assert difference is not None
        self.assertEqual((difference.where, again.outcome["return_code"]), ("the application's end", -100))
