"""Issue 4: baresip over TLS with SRTP, as caller and as target, audio judged; and with a certificate we don't take.

Certificates are made for the test; nothing is believed but the test's own authority.
"""

from __future__ import annotations

from telephony.testing.certificates import authority, issue

from .baresip import Baresip, BaresipCase
from .case import EXAMPLES, HEARS_GOODBYE, HEARS_GREETING, HEARS_RINGBACK, NO_BARESIP, RINGBACK, Server, tone_of
from .rtp import free_port

CONFIG = """\
[tls]
certificate = "server.pem"
key = "server.key"
authorities = "ca.pem"

[rtp]
srtp = "{srtp}"

[media]
directory = "{media}"

[records]
file = "records.jsonl"

[[service]]
name = "reception"
match = "*"
application = "{application}"
parameters = "{target}"
"""
PHONE = """\
sip_certificate {directory}/{user}.pem
sip_cafile {directory}/ca.pem
module srtp.so
"""


class SecureTests(BaresipCase):
    """A phone calls in over TLS, is transferred to another one over TLS, and both talk through SRTP."""

    skip = NO_BARESIP

    def setUp(self) -> None:
        super().setUp()
        self.tls_port = free_port(self.interface)
        self.more_listeners = [f"tls:127.0.0.1:{self.tls_port}"]
        own = issue("127.0.0.1", by=authority())
        for name, data in (
            ("server.pem", own.certificate),
            ("server.key", own.key),
            ("ca.pem", authority().certificate),
        ):
            (self.directory / name).write_bytes(data)

    async def phone(
        self, user: str, frequency: int, names: tuple[str, ...] = ("127.0.0.1",), enc: str = "srtp-mand"
    ) -> Baresip:
        """Start a baresip with a certificate for ``names``."""
        own = issue(*names, by=authority())
        (self.directory / f"{user}.pem").write_bytes(own.key + own.certificate)
        secured = f";mediaenc={enc}" if enc else ""
        config = PHONE.format(directory=self.directory, user=user)
        return await self.baresip(user, frequency, config_too=config, account_too=secured)

    async def server_for(self, target: str, srtp: str = "secure") -> Server:
        """Run the server with the example's application."""
        config = self.directory / "telephony.toml"
        application = EXAMPLES / "retrievable_transfer.py"
        config.write_text(CONFIG.format(srtp=srtp, media=EXAMPLES / "media", application=application, target=target))
        return await self.serve("--config", str(config))

    async def test_both_secured(self) -> None:
        """RFC 3261 26.3.1, RFC 4568, R29: TLS and SRTP on both legs, every sound heard by whom it is for."""
        caller, target = await self.phone("caller", 500), await self.phone("target", 700)
        server = await self.server_for(f"sip:target@127.0.0.1:{target.port + 1};transport=tls")
        await self.talk(server, caller, target)
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)
        self.assert_heard(caller.recorded, HEARS_GREETING, HEARS_RINGBACK, tone_of(700), HEARS_GOODBYE)
        self.assert_heard(target.recorded, tone_of(500))
        for phone in (caller, target):
            self.assertIn("RTP/SAVP", phone.child.output)
            self.assertNotIn("UDP 127.0.0.1", phone.child.output)
        self.assertNotIn("inline", server.child.output)

    async def talk(self, server: Server, caller: Baresip, target: Baresip) -> None:
        """Play the call of the example; the target hangs up."""
        caller.control.command("dial", f"sip:3300@127.0.0.1:{self.tls_port};transport=tls")
        await self.until(lambda: "CALL_INCOMING" in target.control.events, "the target rings")
        await self.until(lambda: caller.hears(RINGBACK), "the caller hears ringback")
        target.control.command("accept")
        await self.until(lambda: caller.hears(700, 1.0), "the caller hears the target")
        await self.until(lambda: target.hears(500, 1.0), "the target hears the caller")
        target.control.command("hangup")
        await self.until(lambda: "CALL_CLOSED" in caller.control.events, "the caller is hung up on")
        await self.quit(caller, target)

    async def test_plain_target(self) -> None:
        """R29: the caller's leg is secured, the target's is UDP and plain RTP."""
        caller, target = await self.phone("caller", 500), await self.baresip("target", 700)
        server = await self.server_for(f"sip:target@127.0.0.1:{target.port}")
        await self.talk(server, caller, target)
        await self.stopped(server)
        self.assert_heard(target.recorded, tone_of(500))
        self.assertNotIn("inline", target.child.output)

    async def test_other_name(self) -> None:
        """RFC 5922 7.3, R5: a target whose certificate is for another host gets no INVITE; the caller goes on."""
        caller = await self.phone("caller", 500)
        target = await self.phone("target", 700, names=("mallory.example",))
        server = await self.server_for(f"sip:target@127.0.0.1:{target.port + 1};transport=tls")
        caller.control.command("dial", f"sip:3300@127.0.0.1:{self.tls_port};transport=tls")
        await self.until(lambda: "could not transfer" in server.child.output, "the transfer fails")
        await self.until(lambda: "CALL_CLOSED" in caller.control.events, "the caller has been told goodbye")
        await self.quit(caller, target)
        await self.stopped(server)
        self.assertNotIn("CALL_INCOMING", target.control.events)
        # The goodbye begins with the tone that the greeting ends with.
        self.assert_heard(caller.recorded, HEARS_GREETING, ("goodbye", (800, 600), False))
