"""Issue 4, "Identity": registering at Kamailio, calls through it with Record-Route, and phones that sign in to us.

Peers are Kamailio 5 as a carrier, baresip as phones of the carrier's and of ours, and SIPp, which asks for passwords
and answers. What parties hear is judged from what they recorded.
"""

from __future__ import annotations

from pathlib import Path

from .baresip import Baresip, BaresipCase
from .case import (
    EXAMPLES,
    HEARS_GOODBYE,
    HEARS_GREETING,
    HEARS_RINGBACK,
    NO_BARESIP,
    NO_KAMAILIO,
    NO_SIPP,
    RINGBACK,
    InteropCase,
    Server,
    tone_of,
)
from .kamailio import Kamailio, KamailioCase

HERE = Path(__file__).parent
EXAMPLE = EXAMPLES / "retrievable_transfer.py"
MEDIA = f'[media]\ndirectory = "{EXAMPLES / "media"}"\n'


class LinesCase(InteropCase):
    """A server with trunks or phones."""

    async def serve_lines(self, text: str, *, match: str = "*", parameters: str = "") -> Server:
        """Run the server with the retrievable transfer as its one service."""
        config = self.directory / "telephony.toml"
        service = f'[[service]]\nname = "reception"\nmatch = "{match}"\napplication = "{EXAMPLE}"\n'
        config.write_text(f'{text}\n{MEDIA}{service}parameters = "{parameters}"\n')
        return await self.serve("--config", str(config))


class TalkCase(LinesCase, BaresipCase):
    """Calls between baresips, by our server."""

    async def transferred(self, caller: Baresip, target: Baresip, uri: str) -> None:
        """Call, be transferred, be taken back, and be hung up on."""
        caller.control.command("dial", uri)
        await self.until(lambda: "CALL_INCOMING" in target.control.events, "the target rings")
        await self.until(lambda: caller.hears(RINGBACK), "the caller hears ringback")
        target.control.command("accept")
        await self.until(lambda: caller.hears(700, 1.0), "the caller hears the target")
        await self.until(lambda: target.hears(500, 1.0), "the target hears the caller")
        target.control.command("hangup")
        await self.until(lambda: "CALL_CLOSED" in caller.control.events, "the caller is hung up on")
        await self.quit(caller, target)
        self.assert_heard(caller.recorded, HEARS_GREETING, HEARS_RINGBACK, tone_of(700), HEARS_GOODBYE)


class CarrierCase(TalkCase, KamailioCase):
    """Kamailio as the carrier."""

    skip = NO_KAMAILIO

    def trunk(self, kamailio: Kamailio, password: str = "office-secret", transport: str = "udp") -> str:
        """Return the configuration of a trunk that registers at Kamailio."""
        return (
            f'[[trunk]]\nname = "carrier"\nhost = "sip:{kamailio.address};transport={transport}"\n'
            f'user = "office"\npassword = "{password}"\nregister = true\nexpires = 60\n'
        )


class RegistrationTests(CarrierCase):
    """REGISTER at Kamailio."""

    async def test_registers(self) -> None:
        """RFC 3261 10.2, 22, RFC 8760: it is challenged, registers, and signs off at the end; by UDP and by TCP."""
        for algorithm, transport in (("MD5", "tcp"), ("SHA-256", "udp")):
            self.directory = self.directory / algorithm
            self.directory.mkdir()
            kamailio = await self.kamailio(algorithm)
            server = await self.serve_lines(self.trunk(kamailio, transport=transport))
            await self.until(lambda here=server: "Trunk carrier: registered at" in here.child.output, "it registers")
            self.assertEqual(kamailio.said("challenged: REGISTER of office"), 1)
            self.assertEqual(kamailio.said("registered: office expires 60"), 1)
            self.assertNotIn("office-secret", server.child.output)
            await self.stopped(server, records=0)
            await self.until(lambda here=kamailio: here.said("registered: office expires 0"), "it signs off")

    async def test_wrong_password(self) -> None:
        """RFC 3261 22.2: after one answer it stops, and says what to look at."""
        kamailio = await self.kamailio()
        server = await self.serve_lines(self.trunk(kamailio, "wrong"))
        await self.until(lambda: "Trunk carrier: refused" in server.child.output, "it is refused")
        self.assertEqual(kamailio.said("challenged: REGISTER of office"), 2)
        self.assertIn("the user or the password is wrong", server.child.output)
        await self.stopped(server, records=0)


class CarrierTests(CarrierCase):
    """Calls by Kamailio, which stays in their way."""

    skip = NO_KAMAILIO or NO_BARESIP

    async def test_transfer(self) -> None:
        """A caller of the carrier's is transferred to another by a bare number, and taken back when that one hangs up.

        The INVITE of the transfer is challenged with 407; what follows in both dialogs goes by Record-Route.
        """
        kamailio = await self.kamailio()
        caller = await self.baresip("100", 500, registrar=kamailio.address)
        target = await self.baresip("200", 700, registrar=kamailio.address)
        server = await self.serve_lines(self.trunk(kamailio), match="office", parameters="200")
        for one in (caller, target):
            await self.until(lambda here=one: "200 OK" in here.child.output, "the phone is registered")
        await self.until(lambda: "Trunk carrier: registered at" in server.child.output, "the trunk is registered")
        await self.transferred(caller, target, f"sip:office@{kamailio.address}")
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)
        self.assertGreaterEqual(kamailio.said("in the dialog: BYE"), 2)


#: Two phones; written first, the domains belong to [sip].
PHONES = """\
domains = ["pbx.test", "127.0.0.1"]
digest = ["MD5"]
[[phone]]
name = "100"
password = "100-secret"
[[phone]]
name = "200"
password = "200-secret"
"""
#: Nobody is let in who isn't known.
TRUNK = '[[trunk]]\nname = "other"\nhost = "192.0.2.1"\n'


class PhoneTests(TalkCase):
    """baresip as phones of ours (RFC 3261 10.3, 22.2)."""

    skip = NO_BARESIP

    async def test_transfer(self) -> None:
        """A signed-in phone calls a service, by which it is transferred to another signed-in phone."""
        server = await self.serve_lines(PHONES + TRUNK, match="3300", parameters="sip:200@pbx.test")
        address = f"127.0.0.1:{server.port}"
        caller = await self.baresip("100", 500, registrar=address)
        target = await self.baresip("200", 700, registrar=address)
        for one in (caller, target):
            await self.until(lambda here=one: "200 OK" in here.child.output, "the phone has signed in")
        await self.transferred(caller, target, f"sip:3300@{address}")
        (record,) = await self.stopped(server)
        self.assertEqual((record["return_code"], record["caller"]), (0, f"sip:100@{address}"))
        for name in ("100", "200"):
            self.assertIn(f"Phone {name} signed in from 127.0.0.1", server.child.output)
            self.assertNotIn(f"{name}-secret", server.child.output)

    async def test_wrong_password(self) -> None:
        """RFC 3261 22.2: with another password nobody signs in."""
        server = await self.serve_lines(PHONES.replace("100-secret", "other") + TRUNK)
        phone = await self.baresip("100", 500, registrar=f"127.0.0.1:{server.port}")
        await self.until(lambda: "401 Unauthorized" in phone.child.output.split("reg: ")[-1], "it is refused")
        self.assertIn("Phone 100: a wrong password came from 127.0.0.1", server.child.output)
        await self.stopped(server, records=0)


class SippTests(LinesCase):
    """SIPp's own digest, both ways."""

    skip = NO_SIPP

    async def test_asked(self) -> None:
        """RFC 3261 22.3: SIPp asks us for a password, checks what we answer, and takes the call."""
        target = await self.sipp("target_asks")
        trunk = (
            f'[[trunk]]\nname = "sipp"\nhost = "sip:127.0.0.1:{target.port}"\nuser = "office"\npassword = "o-secret"\n'
        )
        server = await self.serve_lines(trunk + 'addresses = ["127.0.0.1"]\n', match="3300", parameters="200")
        caller = await self.sipp("caller", server=server)
        await self.well_ended(caller, target)
        words = target.wire.words
        self.assertEqual(words[:6], ["< INVITE", "> 401 INVITE", "< ACK", "< INVITE", "> 180 INVITE", "> 200 INVITE"])
        await self.stopped(server)

    async def test_asks(self) -> None:
        """RFC 3261 22.2: we ask SIPp for a password, which it answers with [authentication]."""
        server = await self.serve_lines(PHONES + TRUNK, match="3300", parameters="sip:200@pbx.test")
        caller = await self.sipp("caller_phone", server=server)
        await self.well_ended(caller)
        self.assertEqual(caller.wire.words[:4], ["> INVITE", "< 401 INVITE", "> ACK", "> INVITE"])
        await self.stopped(server)
