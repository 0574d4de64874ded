"""Issue 4, "what it must show" 3: rows of the table of races with SIPp opposite, several calls at one server at once.

Each test names its rows by their numbers in the design of the transfer. SIPp takes nothing but what its script expects,
so that its exit status tells that every message came, in that order and no other; what has to be in them is looked for
in its log, and what was heard in what its RTP end got.
"""

from __future__ import annotations

import re

import attrs

from telephony.media.detectors import heard

from .case import (
    APPLICATION,
    EXAMPLES,
    GOODBYE,
    HEARS_GOODBYE,
    HERE,
    NO_SIPP,
    RINGBACK,
    InteropCase,
    Server,
    SippCall,
    Step,
    tone_of,
)
from .script import TAG, Script, sdp
from .wire import Message

#: A caller who stays until the goodbye is over.
STAYS = ("> INVITE", "< 100 INVITE", "< 200 INVITE", "> ACK", "< BYE", "> 200 BYE")


@attrs.frozen
class Row:
    """One call: who is called by the application, who calls it, and how long the application waits."""

    target: Script | None = None
    caller: str | Script = "caller"
    seconds_timeout: float = 30
    application: str = ""
    """A file of ``applications``; without it that of the transfer."""
    parameters: str = ""
    events: int = 101
    """The target's payload type of telephone events."""
    service: str = ""
    """More of the service's configuration."""
    keys: dict[str, str] = attrs.field(factory=dict)
    """Keys of both scripts."""


@attrs.frozen
class Played:
    """What came of it."""

    caller: SippCall
    target: SippCall | None
    steps: dict[str, Step]

    @property
    def called(self) -> SippCall:
        """The target's end."""
        assert self.target is not None
        return self.target

    def all(self, words: str, *, of_target: bool = False) -> list[Message]:
        """Return the messages that are ``words``, of the caller's side or the target's."""
        wire = self.called.wire if of_target else self.caller.wire
        return [one for one in wire.messages if str(one) == words]


class RowsCase(InteropCase):
    """One server, a service for each row, and two SIPps for each service."""

    skip = NO_SIPP

    async def begin(self, rows: dict[str, Row], more: str = "") -> tuple[Server, dict[str, Played]]:
        """Start the server, and every row's call."""
        text = f"{more}\n[media]\ndirectory = '{EXAMPLES / 'media'}'\n"
        targets: dict[str, SippCall] = {}
        for name, row in rows.items():
            parameters, application = row.parameters, HERE / "applications" / row.application
            if row.target is not None:
                targets[name] = await self.sipp(row.target, frequency=700, events=row.events, keys=row.keys)
                uri = f"sip:3301@127.0.0.1:{targets[name].port}"
                parameters = self.parameters(uri, row.seconds_timeout, outcome=name)
                application = APPLICATION
            text += f"[[service]]\nname = '{name}'\nmatch = '{name}'\napplication = '{application}'\n"
            text += f"parameters = '{parameters}'\n{row.service}\n"
        config = self.directory / "telephony.toml"
        config.write_text(text)
        server = await self.serve("--config", str(config))
        played = {}
        for name, row in rows.items():
            caller = await self.sipp(row.caller, server=server, service=name, keys=row.keys)
            played[name] = Played(caller, targets.get(name), {})
        return server, played

    async def finish(self, server: Server, played: dict[str, Played], records: int | None = None) -> dict[str, Played]:
        """Wait until every script is through, and stop the server; return what came of each row."""
        await self.well_ended(*(each for one in played.values() for each in (one.target, one.caller) if each))
        await self.stopped(server, len(played) if records is None else records)
        return {name: attrs.evolve(one, steps=server.steps(name)) for name, one in played.items()}

    async def play(self, rows: dict[str, Row], records: int | None = None) -> dict[str, Played]:
        """Play rows from beginning to end."""
        return await self.finish(*await self.begin(rows), records)

    def assert_transfer(self, one: Played, state: str, cause: str) -> Step:
        """Check the state and the transfer cause that the application saw when the verb returned."""
        step = one.steps["transfer"]
        self.assertEqual((step.returned, step.state, step.transfer_cause), (state, state, cause))
        return step


def directions(messages: list[Message]) -> list[str]:
    """Return the direction that each description has."""
    return [re.findall(r"a=(send\w+|recvonly|inactive)", one.body)[0] for one in messages]


class RefusalTests(RowsCase):
    """R4 and R5: what targets refuse with."""

    async def test_refusals(self) -> None:
        """R4, R5: what doesn't want is TARGETREJECT, what doesn't work is FAIL; each is acknowledged, none retried."""
        rejected, failed = (404, 408, 480, 600, 603), (401, 482, 483, 500, 503)
        rows = {
            f"r{status}": Row(Script(f"refuses{status}").invited().refuses(status)) for status in (*rejected, *failed)
        }
        played = await self.play(rows)
        for status in (*rejected, *failed):
            one = played[f"r{status}"]
            step = self.assert_transfer(one, "ANSWERED", "FAIL" if status in failed else "TARGETREJECT")
            self.assertEqual((step.other_state, step.raw_cause), ("IDLE", status))
            self.assertEqual(one.called.wire.words, ["< INVITE", f"> {status} INVITE", "< ACK"])
            self.assert_wire(one.caller.wire, *STAYS)
            self.assert_heard(one.caller.audio.heard, HEARS_GOODBYE)


class TargetTests(RowsCase):
    """What targets do at and after an answer."""

    async def test_ends(self) -> None:
        """R1, R7a, R9, R20, R21: BYE, CANCEL and answers that are of no use, each in its place."""
        hangs_up = Script("leaves").calls().pause(1000).hangs_up()
        rows = {
            "late": Row(
                Script("late").invited().pause(2000).rings().is_cancelled().refuses(487),
                Script("leaves_early").calls().pause(700).hangs_up(),
            ),
            "bye_first": Row(
                Script("bye_first").invited().rings().asks("BYE").gets(200).says(200, "invite", tag=TAG, body=sdp())
                .gets("ACK")
            ),
            "glare": Row(
                Script("bye_glare").invited().answers().gets("BYE", "bye").asks("BYE").gets(200).says(481, "bye"),
                hangs_up,
            ),
            "nothing": Row(Script("no_sdp").invited().rings().answers("").is_hung_up()),
            "port0": Row(Script("port0").invited().answers(sdp(port="0")).is_hung_up()),
            "ringing_on": Row(
                Script("ringing_on").invited().rings().is_cancelled().rings().pause(300)
                .refuses(487),
                seconds_timeout=1,
            ),
        }  # fmt: skip
        played = await self.play(rows)
        self.assert_transfer(played["late"], "IDLE", "HANGUP")
        self.assertGreaterEqual(played["late"].called.wire.repeated, 2)
        self.assert_transfer(played["bye_first"], "ANSWERED", "TARGETHANGUP")
        self.assertEqual(played["glare"].steps["transfer"].returned, "TRANSFERRED")
        self.assert_transfer(played["nothing"], "ANSWERED", "FAIL")
        self.assert_transfer(played["port0"], "ANSWERED", "FAIL")
        self.assert_transfer(played["ringing_on"], "ANSWERED", "TIMEOUT")
        for name in ("bye_first", "nothing", "port0", "ringing_on"):
            self.assert_wire(played[name].caller.wire, *STAYS)
            self.assertEqual(played[name].caller.audio.faults(), [])
            self.assert_heard(played[name].caller.audio.heard, HEARS_GOODBYE)
        for one in played.values():
            self.assertEqual(one.called.wire.faults(), [])

    async def test_audio(self) -> None:
        """R17, R18, R19, R25: whose audio is heard before and after the answer, and while the target holds."""
        rows = {
            # The first fork's audio would go to a port that nobody listens at.
            "other_fork": Row(
                Script("other_fork", "two").invited().says(183, "invite", tag="one", body=sdp(port="9")).pause(300)
                .answers().pause(1500).hangs_up()
            ),
            "then_180": Row(
                Script("then_180").invited().says(183, "invite", tag=TAG, body=sdp()).pause(1500).rings()
                .is_cancelled().refuses(487),
                seconds_timeout=5,
            ),
            "other_sdp": Row(
                Script("other_sdp").invited().says(183, "invite", tag=TAG, body=sdp(port="9")).pause(300)
                .answers(sdp(version=2)).pause(1500).hangs_up()
            ),
            "holds": Row(
                Script("holds").invited().rings().answers().pause(1500).changes(sdp(version=2, direction="inactive"))
                .pause(1500).changes(sdp(version=3, direction="sendrecv")).pause(1500).hangs_up()
            ),
        }  # fmt: skip
        server, begun = await self.begin(rows)
        rings = begun["then_180"].called
        (invite,) = await self.until(lambda: rings.wire.messages[:1], "the target is called")
        rings.audio.begin(invite.media[:2])
        played = await self.finish(server, begun)
        for name, one in played.items():
            early = name == "then_180"
            self.assert_transfer(one, *(("ANSWERED", "TIMEOUT") if early else ("TRANSFERRED", "NORMAL")))
            self.assert_wire(one.caller.wire, *STAYS)
            self.assert_heard(one.caller.audio.heard, tone_of(700), HEARS_GOODBYE)
            if not early:
                self.assert_heard(one.called.audio.heard, tone_of(500))
            if name != "other_fork":
                self.assertEqual(one.called.wire.faults(), [])
        # The tone may come before audio does, and never after.
        pcm = played["then_180"].caller.audio.heard
        audio = heard(pcm, (700,), minimum=0.5)[0]
        self.assertEqual([one for one in heard(pcm, RINGBACK, minimum=0.25) if one.end_s > audio.start_s + 0.1], [])
        holds = played["holds"]
        self.assertEqual(directions(holds.all("< 200 INVITE", of_target=True)), ["inactive", "sendrecv"])
        self.assertEqual(holds.called.audio.faults(holds=1), [])
        self.assertEqual(len(heard(holds.caller.audio.heard, (700,), minimum=0.5)), 2)


class CallerTests(RowsCase):
    """What callers do."""

    async def test_crossings(self) -> None:
        """R9, R11, R12, R36: requests that cross ours, or come before the first is answered."""
        body = sdp(version=2)
        rows = {
            "glare": Row(
                None, Script("bye_glare").calls().gets("BYE", "bye").asks("BYE").gets(200).says(481, "bye"), 0,
                "talks.py", "1",
            ),
            "reinvite": Row(
                None,
                Script("reinvite_crosses").calls().gets("BYE", "bye").invites(body=body, to_tag=True).gets(481)
                .acks(481).says(200, "bye"),
                0, "talks.py", "1",
            ),
            "held": Row(
                None, Script("bye_crosses").calls().gets("INVITE", "hold").asks("BYE").gets(200).says(487, "hold")
                .gets("ACK"),
                0, "holds.py", str(self.directory / "states"),
            ),
            "twice": Row(
                None,
                Script("twice").invites(body=sdp()).gets(100, optional=True).gets(183).invites(body=body, to_tag=True)
                .gets(500).acks(500).asks("UPDATE", body=body).gets(500).gets(200).acks(number=1)
                .asks("UPDATE", number=1).gets(500).is_hung_up(),
                0, "rings.py",
            ),
            "cancels": Row(
                None, Script("cancels_late").invites(body=sdp()).gets(100, optional=True).gets(200).cancels().gets(200)
                .acks().pause(1000).hangs_up(),
                0, "talks.py", "9",
            ),
        }  # fmt: skip
        played = await self.play(rows)
        for status, method in ((500, "INVITE"), (500, "UPDATE")):
            first, *_ = played["twice"].all(f"< {status} {method}")
            self.assertIn(int(first.get("Retry-After")), range(11))
        self.assertEqual([one.number for one in played["twice"].all("< 500 UPDATE")], [3, 1])
        self.assert_heard(played["cancels"].caller.audio.heard, ("goodbye", GOODBYE[:1], False))

    async def test_descriptions(self) -> None:
        """R23, R24, R26: a 422 of ours, hold by c=0.0.0.0, and INVITEs without an offer."""
        timer = ("Supported: timer",)
        rows = {
            "brief": Row(
                None, Script("brief").invites(body=sdp(), more=(*timer, "Session-Expires: 30")).gets(422).acks(422)
                .invites(body=sdp(), more=(*timer, "Session-Expires: 90", "Min-SE: 90")).gets(100, optional=True)
                .gets(200).acks().is_hung_up(),
                0, "talks.py", "1",
            ),
            "zero": Row(
                None, Script("holds_by_zero").calls().pause(500).changes(sdp(version=2, address="0.0.0.0")).pause(1000)
                .changes(sdp(version=3)).pause(500).hangs_up(),
                0, "talks.py", "9",
            ),
            "without": Row(
                None, Script("without_offer").calls().pause(300).changes("", sdp(version=2)).pause(300).changes("")
                .pause(700).hangs_up(),
                0, "talks.py", "9",
            ),
            "first_without": Row(
                None, Script("first_without_offer").invites().gets(100, optional=True).gets(200).acks(body=sdp())
                .is_hung_up(),
                0, "talks.py", "1",
            ),
        }  # fmt: skip
        played = await self.play(rows)
        (refused,), (taken,) = (played["brief"].all(f"< {one} INVITE") for one in (422, 200))
        self.assertEqual(refused.get("Min-SE"), "90")
        self.assertTrue(taken.get("Session-Expires").startswith("90;"), taken)
        zero = played["zero"].all("< 200 INVITE")
        self.assertIn(directions(zero[1:2]), (["recvonly"], ["inactive"]))
        self.assertEqual(directions(zero[2:]), ["sendrecv"])
        self.assertEqual(played["zero"].caller.audio.faults(holds=1), [])
        for name in ("without", "first_without"):
            one = played[name]
            # Each 200 has a full offer, and none of them is a hold.
            for answer in one.all("< 200 INVITE"):
                self.assertEqual(answer.media[2][-1:], ["101"])
                self.assertNotIn(directions([answer]), (["sendonly"], ["inactive"]))
            self.assertEqual(one.caller.audio.faults(), [])
        self.assert_heard(played["first_without"].caller.audio.heard, HEARS_GOODBYE)


class DigitTests(RowsCase):
    """R27."""

    async def test_passed_on(self) -> None:
        """R27: keys as telephone events arrive once each at the other end, with that leg's payload type, both ways."""
        target = Script("keys").invited().answers(sdp(events=96)).pause(4000).hangs_up()
        server, begun = await self.begin({"keys": Row(target, events=96)})
        one = begun["keys"]
        await self.until(lambda: heard(one.called.audio.heard, (500,), minimum=0.5), "they talk")
        one.caller.audio.press("5", 101)
        one.called.audio.press("#", 96)
        await self.until(lambda: one.called.audio.pressed(96) and one.caller.audio.pressed(101), "keys arrive")
        await self.finish(server, begun)
        self.assertEqual((one.called.audio.pressed(96), one.caller.audio.pressed(101)), ("5", "#"))
        self.assertEqual((one.called.audio.pressed(101), one.caller.audio.pressed(96)), ("", ""))


class EndTests(RowsCase):
    """The server's end, and callers that say nothing more."""

    async def test_stop(self) -> None:
        """R34: a stopping server answers new calls with 503; what still runs gets its BYE when the time is up."""
        target = Script("stays").invited().answers().is_hung_up()
        limits = "[limits]\ndrain_seconds = 3\n"
        server, begun = await self.begin({"talk": Row(target)}, limits)
        one = begun["talk"]
        await self.until(lambda: heard(one.called.audio.heard, (500,), minimum=0.5), "they talk")
        server.child.signal("TERM")
        await self.until(lambda: "no new calls" in server.child.output, "the server is about to stop")
        refused = await self.sipp(Script("too_late").invites(body=sdp()).gets(503).acks(503), server=server)
        await self.well_ended(refused)
        self.assertNotIn("< BYE", one.called.wire.words)
        await self.well_ended(one.caller, one.called)
        self.assertEqual(await server.child.ended(20), 0, server.child.output)
        self.assertEqual(len(server.records), 1)
        self.assertNotIn("Traceback", server.child.output)

    async def test_silent(self) -> None:
        """R32: a target without audio and without a BYE is ended, and the caller comes back."""
        rows = {"silent": Row(Script("falls_silent").invited().answers().is_hung_up())}
        server, begun = await self.begin(rows, "[limits]\nmedia_seconds = 5\n")
        silent = begun["silent"].called
        await self.until(lambda: heard(silent.audio.heard, (500,), minimum=0.5), "they talk")
        silent.audio.fall_silent()
        played = await self.finish(server, begun)
        step = played["silent"].steps["retrieval"]
        self.assertEqual((step.returned, step.transfer_cause), ("ANSWERED", "NORMAL"))
        self.assert_heard(played["silent"].caller.audio.heard, tone_of(700), HEARS_GOODBYE)
