"""Issue 2, 2: the transfer from end to end with baresip as caller and as target, over UDP and over TCP.

What both heard is judged from the files they wrote.
"""

from __future__ import annotations

from telephony.media.detectors import heard

from .baresip import Baresip, BaresipCase
from .case import (
    EXAMPLES,
    HEARS_GOODBYE,
    HEARS_GREETING,
    HEARS_RINGBACK,
    NO_BARESIP,
    RINGBACK,
    Server,
    tone_of,
)


def keys_of(phone: Baresip) -> list[str]:
    """Return the keys that a phone was told of; it doesn't tell the end of a press this short."""
    return [one for one in phone.control.events if "DTMF" in one]


class NominalTests(BaresipCase):
    """A phone calls in, is greeted, transferred, taken back, told goodbye, and hung up on."""

    skip = NO_BARESIP

    async def run_call(self, transport: str, target_codec: str = "pcma") -> tuple[Server, Baresip, Baresip]:
        """Run the example, with a person at each baresip who does the next thing when there is a reason to."""
        suffix = ";transport=tcp" if transport == "tcp" else ""
        caller, target = await self.baresip("caller", 500), await self.baresip("target", 700, target_codec)
        uri = f"sip:target@127.0.0.1:{target.port}{suffix}"
        server = await self.serve("--app", str(EXAMPLES / "retrievable_transfer.py"), "--parameters", uri)
        caller.control.command("dial", f"sip:3300@127.0.0.1:{server.port}{suffix}")
        await self.until(lambda: "CALL_INCOMING" in target.control.events, "the target rings")
        await self.until(lambda: caller.hears(RINGBACK), "the caller hears ringback")
        target.control.command("accept")
        await self.until(lambda: caller.hears(700, 1.0), "the caller hears the target")
        await self.until(lambda: target.hears(500, 1.0), "the target hears the caller")
        caller.control.command("sndcode", "5")
        await self.until(lambda: "CALL_DTMF_START 5" in target.control.events, "the target gets the caller's key")
        target.control.command("sndcode", "#")
        await self.until(lambda: "CALL_DTMF_START #" in caller.control.events, "the caller gets the target's key")
        target.control.command("hangup")
        await self.until(lambda: "CALL_CLOSED" in caller.control.events, "the caller is hung up on")
        await self.quit(caller, target)
        return server, caller, target

    async def check(self, transport: str, target_codec: str = "pcma") -> None:
        """Run a call and check messages, audio and record."""
        server, caller, target = await self.run_call(transport, target_codec)
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)
        self.assertIn("transferred to", server.child.output)
        inner, outer = caller.wire(server.port), target.wire(server.port)
        self.assert_wire(inner, "> INVITE", "< 100 INVITE", "< 200 INVITE", "> ACK", "< BYE", "> 200 BYE")
        self.assert_wire(outer, "< INVITE", "> 180 INVITE", "> 200 INVITE", "< ACK", "> BYE", "< 200 BYE")
        for one in (*inner.messages, *outer.messages):
            self.assertTrue(one.get("Via").startswith(f"SIP/2.0/{transport.upper()} "), one.get("Via"))
        self.assert_heard(caller.recorded, HEARS_GREETING, HEARS_RINGBACK, tone_of(700), HEARS_GOODBYE)
        self.assert_heard(target.recorded, tone_of(500))
        for frequencies in (RINGBACK, 600, 800, 1000):
            self.assertEqual(heard(target.recorded, frequencies), [])
        for phone in (caller, target):
            self.assertEqual(phone.control.events.count("CALL_CLOSED"), 1)
        # R27: each press once, to the other side only.
        self.assertEqual(keys_of(caller), ["CALL_DTMF_START #"])
        self.assertEqual(keys_of(target), ["CALL_DTMF_START 5"])

    async def test_udp(self) -> None:
        """Over UDP, both A-law."""
        await self.check("udp")

    async def test_tcp(self) -> None:
        """Over TCP, with mu-law at the target (R28)."""
        await self.check("tcp", "pcmu")
