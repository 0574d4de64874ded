"""Issue "Fast": direct media with real phones: baresip sends its audio to who it talks to, and back to us (RFC 3725).

The other end is a phone of the test kit on real sockets, which knows from which address each packet came, and another
baresip; what both heard is judged.
"""

from __future__ import annotations

from telephony.host import ReactorHost
from telephony.interfaces import Address
from telephony.testing.phone import Phone
from telephony.testing.sounds import tone

from .baresip import Baresip, BaresipCase
from .case import EXAMPLES, HEARS_GOODBYE, HEARS_GREETING, NO_BARESIP, Server, reactor, tone_of


class DirectCase(BaresipCase):
    """A service whose media are direct."""

    skip = NO_BARESIP
    timeout = 60

    async def serve_directly(self, target: str) -> Server:
        """Run the example with direct media."""
        config = self.directory / "telephony.toml"
        config.write_text(
            f'[media]\ndirectory = "{EXAMPLES / "media"}"\n[[service]]\nname = "reception"\nmatch = "3300"\n'
            f'application = "{EXAMPLES / "retrievable_transfer.py"}"\nparameters = "{target}"\nmedia = "direct"\n'
        )
        return await self.serve("--config", str(config))

    def places(self, phone: Baresip, server: Server) -> list[Address]:
        """Return where each INVITE of the server's told a baresip to send its audio."""
        offers = [one for one in phone.wire(server.port).messages if str(one) == "< INVITE" and one.body]
        return [one.media[:2] for one in offers]


class PhoneTests(DirectCase):
    """baresip calls, and is transferred to a phone of the kit."""

    async def test_there_and_back(self) -> None:
        """Packets come from baresip's own address; a hold brings them by the server, and so does the end."""
        target = Phone(ReactorHost(reactor), ("127.0.0.1", 0), "target", auto_ring=True, auto_answer=0.2)
        target.says(tone(700))
        self.addCleanup(target.close)
        caller = await self.baresip("caller", 500)
        server = await self.serve_directly(target.uri)
        caller.control.command("dial", f"sip:3300@127.0.0.1:{server.port}")
        await target.until("answered", within=20)
        [invite] = [one for one in caller.wire(server.port).messages if str(one) == "> INVITE"]
        own = invite.media[:2]
        ear = target.call.media.audio.ear

        def sources() -> set[Address]:
            return {one.source for one in ear.heard_packets(target.host.clock.seconds() - 0.3)}

        await self.until(lambda: sources() == {own}, "every packet comes from the caller's own address", 15)
        await target.until_hears(500)
        here = ("127.0.0.1", target.call.media.audio.ports[0])
        self.assertEqual(self.places(caller, server), [here])
        await self.until(lambda: caller.hears(700, 1.0), "the caller hears the target")
        self.assertEqual(await target.hold(), 200)
        self.assertEqual(await target.resume(), 200)
        await self.until(lambda: sources() and own not in sources(), "packets come by the server")
        await target.until_hears(500)
        await target.hang_up()
        await self.until(lambda: "CALL_CLOSED" in caller.control.events, "the caller is hung up on")
        await self.quit(caller)
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)
        self.assertGreater(record["direct_seconds"], 0)
        first, second = self.places(caller, server)
        self.assertEqual(first, here)
        self.assertNotIn(second, (here, own))
        self.assert_heard(caller.recorded, HEARS_GREETING, tone_of(700), HEARS_GOODBYE)
        self.assertEqual(target.faults(), [])


class BaresipTests(DirectCase):
    """Two baresips."""

    async def test_two(self) -> None:
        """Both take a re-INVITE there, and the caller one back; both hear each other, the caller the end."""
        caller, target = await self.baresip("caller", 500), await self.baresip("target", 700)
        server = await self.serve_directly(f"sip:target@127.0.0.1:{target.port}")
        caller.control.command("dial", f"sip:3300@127.0.0.1:{server.port}")
        await self.until(lambda: "CALL_INCOMING" in target.control.events, "the target rings")
        target.control.command("accept")
        await self.until(lambda: len(self.places(caller, server)) == 1, "the caller is asked", 15)
        already = len(caller.recorded), len(target.recorded)
        await self.until(
            lambda: min(len(caller.recorded) - already[0], len(target.recorded) - already[1]) > 12000, "they talk"
        )
        target.control.command("hangup")
        await self.until(lambda: "CALL_CLOSED" in caller.control.events, "the caller is hung up on")
        await self.quit(caller, target)
        (record,) = await self.stopped(server)
        self.assertGreater(record["direct_seconds"], 0.5)
        [invite] = [one for one in caller.wire(server.port).messages if str(one) == "> INVITE"]
        [answer, *_] = [one for one in target.wire(server.port).messages if str(one) == "> 200 INVITE"]
        ours, there = self.places(target, server)
        self.assertEqual(there, invite.media[:2])
        there, back = self.places(caller, server)
        self.assertEqual(there, answer.media[:2])
        self.assertNotIn(back, (there, invite.media[:2]))
        self.assert_heard(caller.recorded, HEARS_GREETING, tone_of(700), HEARS_GOODBYE)
        self.assert_heard(target.recorded, tone_of(500))
        self.assertNotEqual(ours, there)
