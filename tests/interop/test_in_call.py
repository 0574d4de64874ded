"""Issue 4, 3: what happens within a call, with SIPp and baresip: our hold, glare, 422."""

from __future__ import annotations

from pathlib import Path

from .baresip import BaresipCase
from .case import EXAMPLES, HEARS_GOODBYE, HEARS_RINGBACK, NO_BARESIP, NO_SIPP, InteropCase, Server
from .test_sipp import TARGET_WORDS

HOLDS = Path(__file__).parent / "applications" / "holds.py"


class HoldCase(InteropCase):
    """An application that holds its caller."""

    async def serve_holding(self) -> Server:
        """Run the server with applications/holds.py."""
        told = ("--media", str(EXAMPLES / "media"), "--parameters", str(self.directory / "states"))
        return await self.serve("--app", str(HOLDS), *told)

    def assert_held(self) -> None:
        """Check what the verbs returned."""
        self.assertEqual((self.directory / "states").read_text(), "ANSWERED ON_HOLD ANSWERED IDLE")


class SippTests(HoldCase):
    """R10 and R23 against SIPp."""

    skip = NO_SIPP

    async def test_glare(self) -> None:
        """R10: two re-INVITEs cross, each gets its 491; ours comes again, within 2 s since the Call-ID is theirs."""
        server = await self.serve_holding()
        caller = await self.sipp("caller_held", server=server)
        await self.well_ended(caller)
        await self.stopped(server)
        self.assert_held()
        wire = caller.wire
        self.assertEqual(
            wire.words,
            ["> INVITE", "< 100 INVITE", "< 200 INVITE", "> ACK"]
            + ["< INVITE", "> INVITE", "< 491 INVITE", "> ACK", "> 491 INVITE", "< ACK"]
            + ["< INVITE", "> 200 INVITE", "< ACK"] * 2
            + ["< BYE", "> 200 BYE"],
        )
        first, again, resumed = (one for one in wire.messages if str(one) == "< INVITE")
        self.assertEqual([one.number for one in (first, again, resumed)], [1, 2, 3])
        self.assertEqual(first.body, again.body)
        for one, direction in ((first, "sendonly"), (resumed, "sendrecv")):
            self.assertIn(f"a={direction}\r\n", one.body)
        self.assert_heard(caller.audio.heard, HEARS_RINGBACK, HEARS_GOODBYE)

    async def test_422(self) -> None:
        """R23: a 422 to the target's INVITE is retried with its Min-SE, a new branch and the next CSeq (rule 2)."""
        target = await self.sipp("target_brief", frequency=700)
        server = await self.serve_recorded(f"sip:3301@127.0.0.1:{target.port}")
        caller = await self.sipp("caller", server=server)
        await self.well_ended(caller, target)
        await self.stopped(server)
        self.assertEqual(target.wire.words, ["< INVITE", "> 422 INVITE", "< ACK", *TARGET_WORDS])
        first, second = (one for one in target.wire.messages if str(one) == "< INVITE")
        self.assertEqual([one.get("Session-Expires") for one in (first, second)], ["1800", "3600"])
        self.assertEqual((second.get("Min-SE"), second.number), ("3600", first.number + 1))
        self.assertNotEqual(first.branch, second.branch)
        self.assertEqual(server.steps()["transfer"].returned, "TRANSFERRED")


class BaresipTests(HoldCase, BaresipCase):
    """Our hold against baresip."""

    skip = NO_BARESIP

    async def test_hold(self) -> None:
        """RFC 3264 8.4: baresip answers our hold recvonly, and its end sendrecv.

        Its recorder ends with the first re-INVITE, so what is heard on hold is judged with SIPp.
        """
        caller = await self.baresip("caller", 500)
        server = await self.serve_holding()
        caller.control.command("dial", f"sip:3300@127.0.0.1:{server.port}")
        await self.until(lambda: "CALL_CLOSED" in caller.control.events, "the caller is hung up on")
        await self.quit(caller)
        await self.stopped(server)
        self.assert_held()
        held, resumed = (one for one in caller.wire(server.port).messages if str(one) == "< INVITE")
        answers = [one for one in caller.wire(server.port).messages if str(one) == "> 200 INVITE"]
        self.assertIn("a=sendonly\r\n", held.body)
        self.assertIn("a=recvonly\r\n", answers[0].body)
        self.assertIn("a=sendrecv\r\n", resumed.body)
        self.assertIn("a=sendrecv\r\n", answers[1].body)
