"""Issue 4, "what it must show" 3: reliable responses, forks, redirects, a crossing CANCEL, with SIPp opposite."""

from __future__ import annotations

from telephony.media.detectors import heard

from .case import EXAMPLES, HEARS_GOODBYE, HERE, NO_SIPP, RINGBACK, InteropCase, tone_of

#: A caller who stays until the goodbye is over.
STAYS = ("> INVITE", "< 100 INVITE", "< 200 INVITE", "> ACK", "< BYE", "> 200 BYE")


class EarlyDialogTests(InteropCase):
    """What happens before, and at, an answer."""

    skip = NO_SIPP

    async def forks(self, transport: str) -> None:
        """Let a target fork."""
        target = await self.sipp("target_forks", transport=transport, milliseconds=3000, frequency=700)
        suffix = ";transport=tcp" if transport == "tcp" else ""
        server = await self.serve_recorded(f"sip:3301@127.0.0.1:{target.port}{suffix}")
        caller = await self.sipp("caller", server=server)
        await self.well_ended(caller, target)
        await self.stopped(server)
        once = [
            *("< INVITE", "> 183 INVITE", "< PRACK", "> 200 PRACK", "> 183 INVITE", "< PRACK", "> 200 PRACK"),
            *(
                "> 200 INVITE",
                "< ACK",
                "> 200 INVITE",
                "< ACK",
                "< BYE",
                "> 200 BYE",
                "> 180 INVITE",
                "> BYE",
                "< 200 BYE",
            ),
        ]
        self.assertEqual(target.wire.words, once)
        pracks = [one for one in target.wire.messages if str(one) == "< PRACK"]
        self.assertEqual([one.target.partition("@")[0] for one in pracks], ["sip:one", "sip:two"])
        self.assertEqual([one.get("RAck") for one in pracks], ["776656 1 INVITE", "1 1 INVITE"])
        self.assert_wire(caller.wire, *STAYS)
        steps = server.steps()
        self.assertEqual((steps["transfer"].returned, steps["transfer"].transfer_cause), ("TRANSFERRED", "NORMAL"))
        self.assertEqual((steps["retrieval"].returned, steps["retrieval"].other_state), ("ANSWERED", "IDLE"))
        # R19: the first fork's reliable answer holds, though its 200 refused the stream.
        self.assert_heard(caller.audio.heard, tone_of(700), HEARS_GOODBYE)
        self.assert_heard(target.audio.heard, tone_of(500))

    async def test_forks_udp(self) -> None:
        """R16, R17, R19, R21: PRACK to each early dialog; the first 200 wins, ACK and BYE to the other; a late 180."""
        await self.forks("udp")

    async def test_forks_tcp(self) -> None:
        """The same over TCP."""
        await self.forks("tcp")

    async def test_redirect(self) -> None:
        """R6: the contacts of a 302 by q: the busy one first, then the one that takes the call."""
        busy = await self.sipp("target_busy")
        taker = await self.sipp("target", frequency=700)
        elsewhere = f"<sip:b@127.0.0.1:{taker.port}>;q=0.3, <sip:a@127.0.0.1:{busy.port}?Subject=x>;q=0.7"
        first = await self.sipp("target_redirects", keys={"elsewhere": elsewhere})
        server = await self.serve_recorded(f"sip:3301@127.0.0.1:{first.port}")
        caller = await self.sipp("caller", server=server)
        await self.well_ended(caller, taker, busy, first)
        await self.stopped(server)
        self.assert_wire(first.wire, "< INVITE", "> 302 INVITE", "< ACK")
        self.assert_wire(busy.wire, "< INVITE", "> 486 INVITE", "< ACK")
        self.assert_wire(taker.wire, "< INVITE", "> 180 INVITE", "> 200 INVITE", "< ACK", "> BYE", "< 200 BYE")
        invites = [one.wire.one("< INVITE") for one in (first, busy, taker)]
        self.assertEqual([one.number for one in invites], [1, 2, 3])
        for name in ("Call-ID", "From", "To"):
            self.assertEqual(len({one.get(name) for one in invites}), 1, name)
        self.assertEqual(invites[1].get("Subject"), "")
        self.assertEqual(server.steps()["transfer"].returned, "TRANSFERRED")
        self.assert_heard(caller.audio.heard, tone_of(700), HEARS_GOODBYE)

    async def test_cancel_crosses_200(self) -> None:
        """R2: a 200 that crosses our CANCEL gets ACK and BYE; the caller is the application's again, TIMEOUT."""
        target = await self.sipp("target_crosses")
        server = await self.serve_recorded(f"sip:3301@127.0.0.1:{target.port}", seconds_timeout=2)
        caller = await self.sipp("caller", server=server)
        await self.well_ended(caller, target)
        await self.stopped(server)
        words = ["< INVITE", "> 180 INVITE", "< CANCEL", "> 200 CANCEL", "> 200 INVITE", "< ACK", "< BYE", "> 200 BYE"]
        self.assert_wire(target.wire, *words)
        self.assert_wire(caller.wire, *STAYS)
        transfer = server.steps()["transfer"]
        self.assertEqual((transfer.returned, transfer.transfer_cause), ("ANSWERED", "TIMEOUT"))
        self.assertNotEqual(heard(caller.audio.heard, RINGBACK), [])

    async def test_called_reliably(self) -> None:
        """RFC 3262 3: a caller that requires 100rel gets a reliable 183 with the answer, and a 200 without."""
        server = await self.serve("--app", str(HERE / "applications" / "rings.py"), "--media", str(EXAMPLES / "media"))
        caller = await self.sipp("caller_reliable", server=server)
        await self.well_ended(caller)
        await self.stopped(server)
        words = [
            "> INVITE",
            "< 100 INVITE",
            "< 183 INVITE",
            "> PRACK",
            "< 200 PRACK",
            "< 200 INVITE",
            "> ACK",
            "< BYE",
            "> 200 BYE",
        ]
        self.assert_wire(caller.wire, *words)
        self.assertNotEqual(caller.wire.one("< 183 INVITE").body, "")
        self.assertEqual(caller.wire.one("< 200 INVITE").body, "")
        self.assert_heard(caller.audio.heard, HEARS_GOODBYE)
