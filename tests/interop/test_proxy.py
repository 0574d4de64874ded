"""Issue 4, "what it must show" 3: Kamailio between us and both parties, as a proxy with Record-Route and as a TLS peer.

SIPp calls us by way of Kamailio, and we call SIPp by way of Kamailio, which writes down what passes. Where the two
sides of Kamailio differ in transport it puts itself into the route set twice (RFC 5658), so that a request of ours that
takes the routes in another order comes to it over the wrong one.
"""

from __future__ import annotations

from telephony.testing.certificates import authority, issue

from .case import (
    APPLICATION,
    EXAMPLES,
    HEARS_GOODBYE,
    HERE,
    NO_BARESIP,
    NO_KAMAILIO,
    NO_SIPP,
    SippCall,
    tone_of,
)
from .kamailio import NO_KAMAILIO_TLS, Kamailio, KamailioCase
from .script import Script, sdp
from .test_registration import CarrierCase

#: Plain audio also where the signalling is TLS: SIPp knows no other.
PLAIN = '[rtp]\nsrtp = "never"\n'


class ProxyCase(KamailioCase):
    """Calls by way of Kamailio."""

    async def ways(self, kamailio: Kamailio, tls: str = "") -> None:
        """Play three calls: both parties re-INVITE and the target hangs up; the caller hangs up; we hold and hang up.

        ``tls`` is the configuration of our TLS, without which we and Kamailio talk over TCP.
        """
        held = sdp(version=2, direction="sendonly")
        again = sdp(version=3, direction="sendrecv")
        targets = [
            await self.sipp(one, frequency=700)
            for one in (
                Script("changes").invited().rings().answers().pause(500).changes(sdp(version=2)).pause(3000).hangs_up(),
                Script("is_left").invited().rings().answers().is_hung_up(),
            )
        ]
        hop = f"{kamailio.secured};transport=tls" if tls else f"{kamailio.address};transport=tcp"
        text = f'{tls}{PLAIN}[media]\ndirectory = "{EXAMPLES / "media"}"\n'
        for name, target in zip(("changes", "leaves"), targets, strict=True):
            text += f'[[trunk]]\nname = "{name}"\nhost = "sip:127.0.0.1:{target.port}"\noutbound_proxy = "sip:{hop}"\n'
            text += f"[[service]]\nname = '{name}'\nmatch = '{name}'\npublic = true\ntrunk = '{name}'\n"
            text += f"application = '{APPLICATION}'\nparameters = '{self.parameters('200', 30, outcome=name)}'\n"
        text += "[[service]]\nname = 'holds'\nmatch = 'holds'\npublic = true\n"
        text += f"application = '{HERE / 'applications' / 'holds.py'}'\nparameters = '{self.directory / 'states'}'\n"
        config = self.directory / "telephony.toml"
        config.write_text(text)
        server = await self.serve("--config", str(config))
        at = f"127.0.0.1:{self.tls_port};transport=tls" if tls else f"127.0.0.1:{server.port};transport=tcp"
        callers = [
            await self.sipp(one, server=kamailio, service=service)
            for service, one in (
                ("changes", Script("holds", at=at).calls().pause(3000).changes(held).changes(again).is_hung_up()),
                ("leaves", Script("leaves", at=at).calls().pause(3000).hangs_up()),
                (
                    "holds",
                    Script("is_held", at=at).calls().gets("INVITE").says(200, body=sdp(version=2, direction="recvonly"))
                    .gets("ACK").gets("INVITE").says(200, body=again).gets("ACK").is_hung_up(),
                ),
            )
        ]  # fmt: skip
        await self.well_ended(*callers, *targets)
        await self.stopped(server, 3)
        self.assert_on_the_way(kamailio, "tls" if tls else "tcp", [*callers, *targets])
        for name in ("changes", "leaves"):
            self.assertEqual(server.steps(name)["transfer"].returned, "TRANSFERRED")
        self.assert_heard(callers[0].audio.heard, tone_of(700), HEARS_GOODBYE)
        self.assert_heard(targets[1].audio.heard, tone_of(500))

    def assert_on_the_way(self, kamailio: Kamailio, transport: str, ends: list[SippCall]) -> None:
        """Check that every request in a dialog passed Kamailio, which found the way from our routes or SIPp's."""
        self.assertEqual(kamailio.said("begins: INVITE"), 5)
        # Re-INVITEs: the caller's two, the target's, our two; a BYE in each of five dialogs, an ACK for each INVITE.
        for method, count, from_us in (("INVITE", 5, 2), ("BYE", 5, 3), ("ACK", 10, 4)):
            self.assertEqual(kamailio.said(f"within: {method} of "), count, method)
            self.assertEqual(kamailio.said(f"within: {method} of {transport} "), from_us, method)
            self.assertEqual(kamailio.said(f"within: {method} goes to "), count, method)
        for end in ends:
            # Among other things: the Request-URI is SIPp's Contact (RFC 3261 12.2.1.1).
            self.assertEqual(end.wire.faults(), [], end.child.name)
            for one in end.wire.messages:
                if not one.sent and not one.status:
                    vias = [value for name, value in one.fields if name == "via"]
                    self.assertIn(kamailio.address, vias[0])
                    self.assertEqual(len(vias), 2, one)
                    self.assertEqual(one.get("Route"), "")
                    self.assertLess(int(one.get("Max-Forwards")), 70)


class RouteTests(ProxyCase):
    """Record-Route and loose routing (RFC 3261 12.2.1.1, 16.12, RFC 5658)."""

    skip = NO_SIPP or NO_KAMAILIO

    async def test_both_sides(self) -> None:
        """Both parties over UDP, we over TCP: two routes in each dialog, re-INVITE, ACK and BYE both ways."""
        await self.ways(await self.kamailio(config="proxy.cfg"))

    async def test_two(self) -> None:
        """Two proxies one behind the other: our requests pass them from the last to the first (12.1.1, 12.2.1.1)."""
        first, second = await self.kamailio(config="proxy.cfg"), await self.kamailio(config="proxy.cfg")
        states = str(self.directory / "states")
        server = await self.serve(
            *("--app", str(HERE / "applications" / "holds.py"), "--media", str(EXAMPLES / "media")),
            *("--parameters", states),
        )
        script = Script("is_held", at=f"127.0.0.1:{server.port}")
        script.invites(body=sdp(), more=(f"Route: <sip:{first.address};lr>, <sip:{second.address};lr>",))
        script.gets(100, optional=True).gets(200).acks()
        for version, direction in ((2, "recvonly"), (3, "sendrecv")):
            script.gets("INVITE").says(200, body=sdp(version=version, direction=direction)).gets("ACK")
        caller = await self.sipp(script.is_hung_up(), server=first)
        await self.well_ended(caller)
        await self.stopped(server)
        self.assertEqual(caller.wire.faults(), [])
        for one in caller.wire.messages:
            if not one.sent and not one.status:
                sent_by = [value.split()[1].partition(";")[0] for name, value in one.fields if name == "via"]
                self.assertEqual(sent_by, [first.address, second.address, f"127.0.0.1:{server.port}"], one)
        for kamailio in (first, second):
            # Theirs is one, the ACK of their INVITE; ours are two re-INVITEs with their ACKs, and the BYE.
            for method, count in (("INVITE", 2), ("ACK", 3), ("BYE", 1)):
                self.assertEqual(kamailio.said(f"within: {method} goes to "), count, method)


class SecureRouteTests(ProxyCase):
    """The same with TLS between Kamailio and us, each of which connects to the other (RFC 3261 26.2.1, RFC 5922)."""

    skip = NO_SIPP or NO_KAMAILIO or NO_KAMAILIO_TLS

    async def test_both_sides(self) -> None:
        """Kamailio reaches us over TLS and believes our certificate; we reach it by transport=tls and believe its."""
        kamailio = await self.kamailio(config="proxy.cfg", own=issue("127.0.0.1", by=authority()))
        await self.ways(kamailio, self.with_tls())


class SecureTrunkCase(CarrierCase):
    """A carrier that is reached over TLS."""

    def secured_trunk(self, kamailio: Kamailio, host: str = "sips:{}") -> str:
        """Return our TLS, and a trunk that registers over TLS."""
        plain = f"sip:{kamailio.address};transport=udp"
        return self.with_tls() + PLAIN + self.trunk(kamailio).replace(plain, host.format(kamailio.secured))


class SecureCarrierTests(SecureTrunkCase):
    """Registering there."""

    skip = NO_KAMAILIO or NO_KAMAILIO_TLS

    async def test_registers(self) -> None:
        """RFC 3261 26.2.2: by a sips: URI; challenged, registered, and signed off at the end."""
        kamailio = await self.kamailio(own=issue("127.0.0.1", by=authority()))
        server = await self.serve_lines(self.secured_trunk(kamailio))
        await self.until(lambda: "Trunk carrier: registered at" in server.child.output, "it registers")
        self.assertEqual(kamailio.said("challenged: REGISTER of office"), 1)
        await self.stopped(server, records=0)
        await self.until(lambda: kamailio.said("registered: office expires 0"), "it signs off")

    async def test_other_name(self) -> None:
        """RFC 5922 7.3: a carrier whose certificate is another's gets nothing of us, least of all a password."""
        kamailio = await self.kamailio(own=issue("mallory.example", by=authority()))
        server = await self.serve_lines(self.secured_trunk(kamailio))
        await self.until(lambda: "Trunk carrier: " in server.child.output, "it is found out")
        await self.stopped(server, records=0)
        self.assertIn("certificate", server.child.output)
        self.assertEqual(kamailio.said("REGISTER"), 0)


class SecureTalkTests(SecureTrunkCase):
    """Calls by that carrier."""

    skip = NO_KAMAILIO or NO_KAMAILIO_TLS or NO_BARESIP

    async def test_transfer(self) -> None:
        """A phone of the carrier's, on UDP, calls us over TLS and is transferred to another one, over TLS and UDP.

        By transport=tls: a sips: URI would have to be TLS on every hop, and these phones know none.
        """
        kamailio = await self.kamailio(own=issue("127.0.0.1", by=authority()))
        caller = await self.baresip("100", 500, registrar=kamailio.address)
        target = await self.baresip("200", 700, registrar=kamailio.address)
        trunk = self.secured_trunk(kamailio, "sip:{};transport=tls")
        server = await self.serve_lines(trunk, match="office", parameters="200")
        for one in (caller, target):
            await self.until(lambda here=one: "200 OK" in here.child.output, "the phone is registered")
        await self.until(lambda: "Trunk carrier: registered at" in server.child.output, "the trunk is registered")
        await self.transferred(caller, target, f"sip:office@{kamailio.address}")
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)
        self.assertGreaterEqual(kamailio.said("in the dialog: BYE"), 2)
