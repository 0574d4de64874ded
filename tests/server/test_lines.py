"""Trunks and phones of a server (``api.md`` sections 4 and 7), on a simulated network with phones and a registrar."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

from telephony.call.constants import Cause, State
from telephony.errors import Error
from telephony.server.config import load_configuration
from telephony.server.switchboard import Switchboard
from telephony.sip import auth
from telephony.sip.message import Request, Response
from telephony.sip.uri import SipUri
from telephony.testing.case import SERVER, CallTestCase
from telephony.testing.quirks import Quirks
from telephony.testing.registrar import Registrar
from telephony.testing.threads import SimulatedRunner

APPLICATION = """
__uas_identify__ = "application"
__uas_version__ = "1"
calls = []
async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    calls.append(channel)
    await channel.answer()
    await channel.wait_for_idle()
    return 0
"""
#: Beyond loopback, so that nobody is let in who isn't named.
TOML = f"""
[sip]
listen = ["udp:{SERVER}:5060", "tcp:{SERVER}:5060"]
[[service]]
name = "reception"
match = "3300"
application = "app.py"
[[service]]
name = "open"
match = "0800"
application = "app.py"
"""
CARRIER = "10.0.9.1"
TRUNK = f"""
[[trunk]]
name = "carrier"
host = "{CARRIER}"
user = "office"
password = "o-secret"
register = true
"""
PHONES = """
[[phone]]
name = "bob"
password = "b-secret"
[[phone]]
name = "carol"
password = "c-secret"
"""


class LinesCase(CallTestCase):
    """A server with what a test writes into its configuration."""

    board: Switchboard

    def setUp(self) -> None:
        super().setUp()
        self.carriers: list[Registrar] = []

    def serve_with(self, text: str, *, public: bool = False) -> Switchboard:
        """Start the server."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        (directory / "app.py").write_text(APPLICATION)
        (directory / "t.toml").write_text(TOML + text)
        configuration = load_configuration(directory / "t.toml", public=public)
        runner = SimulatedRunner(self.network.clock)
        self.addCleanup(runner.close)
        self.board = Switchboard(configuration, self.exchange, runner)
        self.inbound = configuration.services[0].application.main.__globals__["calls"]
        self.heard: list[str] = []

        def hear(event: Any) -> None:
            self.heard.append(formatEvent(event))

        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        close = self.exchange.close

        def closing() -> Deferred[None]:
            # What the switchboard does when the server ends.
            self.board.lines.stop()
            done = close()
            for one in self.carriers:
                done.addCallback(lambda _none, one=one: one.close())
            return done

        self.patch(self.exchange, "close", closing)
        self.board.start()
        return self.board

    def carrier(self, **settings: Any) -> Registrar:
        """Make the trunk's own server."""
        made = self.network.registrar(CARRIER, {"office": "o-secret", "desk": "d-secret"}, **settings)
        self.carriers.append(made)
        return made

    async def signed_in(self, name: str, password: str | None = None, **settings: Any) -> Any:
        """Make a phone that has signed in."""
        phone = self.phone(name, **settings)
        server = f"sip:{SERVER}" + (";transport=tcp" if settings.get("transport") == "tcp" else "")
        self.assertEqual(await phone.register(server, password or f"{name[0]}-secret"), 200)
        return phone

    def log_of(self, word: str) -> list[str]:
        """Return the lines of the log with a word in them."""
        return [line for line in self.heard if word in line]


class TrunkTests(LinesCase):
    """``[[trunk]]``."""

    async def test_registers(self) -> None:
        """RFC 3261 10.2, 22.2: it registers with its password, refreshes in time, and signs off at the end."""
        carrier = self.carrier(expires=120)
        self.serve_with(TRUNK)
        trunk = self.board.lines.trunks["carrier"]
        self.assertEqual(trunk.state, "not registered yet")
        await self.moment(1)
        self.assertEqual([one.contact for one in carrier.bindings("office")], [f"sip:office@{SERVER}:5060"])
        self.assertIn("registered at 10.0.9.1 port 5060 for 120 s", trunk.state)
        for seconds in range(50, 600, 50):
            await self.moment(seconds)
            self.assertEqual(len(carrier.bindings("office")), 1, seconds)
        self.assertEqual(len(self.log_of("Trunk carrier: registered")), 1, "a refresh is no news")
        self.board.lines.stop()
        await self.moment(602)
        self.assertEqual(carrier.bindings("office"), [])
        self.assertEqual(carrier.registrations[-1][3], 0)
        self.assertEqual(carrier.faults(), [])

    async def test_wrong_password(self) -> None:
        """RFC 3261 22.2: one answer to a challenge, then no more guesses for a long time; the log says what to do."""
        carrier = self.carrier()
        self.serve_with(TRUNK.replace("o-secret", "wrong"))
        await self.moment(300)
        sent = [message for _t, ours, _a, message in carrier.log if not ours and isinstance(message, Request)]
        self.assertEqual(len(sent), 2)
        (line,) = self.log_of("Trunk carrier")
        self.assertIn("refused with 401", line)
        self.assertIn("the user or the password is wrong", line)
        self.assertNotIn("wrong'", repr(self.board.lines.trunks["carrier"].section))

    async def test_too_brief(self) -> None:
        """RFC 3261 10.2.8: after a 423 it asks for what the registrar wants, at once."""
        carrier = self.carrier(min_expires=7200, expires=9000)
        self.serve_with(TRUNK)
        await self.moment(1)
        self.assertEqual([seconds for _t, _u, _c, seconds in carrier.registrations], [7200])

    async def test_backs_off(self) -> None:
        """The issue, "Identity": growing pauses while the registrar is in trouble, and registered once it is not."""
        carrier = self.carrier()
        carrier.refuse = 500
        self.serve_with(TRUNK)
        await self.moment(1000)
        times = [t for t, ours, _a, message in carrier.log if not ours and isinstance(message, Request)]
        pauses = [later - sooner for sooner, later in pairwise(times)]
        self.assertLess(pauses[0], 6)
        self.assertGreater(pauses[-1], 150)
        self.assertLess(pauses[-1], 400)
        carrier.refuse = 0
        await self.moment(1500)
        self.assertEqual(len(carrier.bindings("office")), 1)

    async def test_retry_after(self) -> None:
        """RFC 3261 20.33: a registrar that names a time is left alone for so long."""
        carrier = self.carrier()
        carrier.refuse, carrier.retry_after = 503, 600
        self.serve_with(TRUNK)
        await self.moment(590)
        self.assertEqual(len([1 for _t, ours, _a, one in carrier.log if not ours and isinstance(one, Request)]), 1)

    async def test_connection_lost(self) -> None:
        """The issue, "Identity": when its connection ends it registers anew, soon."""
        carrier = self.carrier()
        self.serve_with(TRUNK.replace(f'host = "{CARRIER}"', f'host = "sip:{CARRIER};transport=tcp"'))
        await self.moment(5)
        self.assertEqual(len(carrier.registrations), 1)
        self.network.reset_streams(SERVER, CARRIER)
        await self.moment(10)
        self.assertEqual(len(carrier.registrations), 2)
        self.assertTrue(self.log_of("the connection to the registrar ended"))

    async def test_call_out(self) -> None:
        """``api.md`` section 4: bare digits and ``tel:`` go through the trunk; its challenge is answered (22.2)."""
        desk = self.phone("desk", auto_answer=0.1)
        carrier = self.carrier(routes={"*": desk.uri})
        self.serve_with(TRUNK)
        await self.moment(1)
        channel = self.exchange.channel()
        for call_to, user in (("3301", "3301"), ("tel:+49-30-1234", "+49301234")):
            state = await channel.call(call_to)
            self.assertEqual(state, State.ANSWERED)
            self.assertEqual(channel.Details.call_target.partition("@")[0], f"sip:{user}")
            await channel.hang_up()
            await desk.until("ended")
            invite = desk.call.invite
            self.assertEqual(invite.from_.uri, f"sip:office@{CARRIER}")
            self.assertTrue(invite.has("Proxy-Authorization"))
        self.assertEqual(carrier.faults(), [])
        self.assertEqual(desk.faults(), [])

    async def test_wrong_password_of_a_call(self) -> None:
        """``api.md`` section 3: a 407 that can't be answered is a failure; one retry, and no more."""
        carrier = self.carrier()
        self.serve_with(TRUNK.replace("register = true", "").replace("o-secret", "wrong"))
        channel = self.exchange.channel()
        self.assertEqual(await channel.call("3301"), State.IDLE)
        self.assertEqual((channel.cause(), channel.Details.raw_cause), (Cause.FAILED, 407))
        await self.moment(1)
        sent = [one.method for _t, ours, _a, one in carrier.log if not ours and isinstance(one, Request)]
        self.assertEqual(sent, ["INVITE", "ACK", "INVITE", "ACK"])

    async def test_caller_id(self) -> None:
        """RFC 3325 9.1, RFC 3323 4: the caller's number in From or in P-Asserted-Identity; hidden when asked to be."""
        desk = self.phone("desk", auto_answer=0.1)
        self.carrier(routes={"*": desk.uri})
        asserted = '[[trunk]]\nname = "other"\nhost = "10.0.9.1"\nuser = "office"\npassword = "o-secret"\n'
        self.serve_with(TRUNK + asserted + 'caller_id = "asserted"\n')
        channel = self.exchange.channel()
        seen = []
        for trunk, call_from in (("carrier", "4711"), ("other", '"Ann" <sip:4711@10.0.0.1>'), ("other", "anonymous")):
            channel.trunk = trunk
            self.assertEqual(await channel.call("3301", call_from), State.ANSWERED)
            invite = desk.call.invite
            seen.append((str(invite.from_).partition(";")[0], invite.get("P-Asserted-Identity"), invite.get("Privacy")))
            await channel.hang_up()
        own = f"<sip:office@{CARRIER}>"
        self.assertEqual(
            seen,
            [
                (f"<sip:4711@{CARRIER}>", None, None),
                (f'"Ann" {own}', f'"Ann" <sip:4711@{CARRIER}>', None),
                ('"Anonymous" <sip:anonymous@anonymous.invalid>', own, "id"),
            ],
        )

    async def test_outbound_proxy(self) -> None:
        """RFC 3261 8.1.2: requests go to the outbound proxy, named in a Route; REGISTER too."""
        desk = self.phone("desk", auto_answer=0.1)
        proxy = self.network.registrar("10.0.9.2", {"office": "o-secret"}, challenge=False, record_route=False)
        self.carriers.append(proxy)
        carrier = self.carrier(routes={"*": desk.uri})
        self.serve_with(TRUNK + 'outbound_proxy = "10.0.9.2"\n')
        await self.moment(1)
        self.assertEqual(len(carrier.bindings("office")), 1)
        self.assertEqual(proxy.passed["REGISTER"], 2)
        channel = self.exchange.channel()
        self.assertEqual(await channel.call("3301"), State.ANSWERED)
        self.assertEqual((proxy.passed["INVITE"], carrier.passed["INVITE"]), (2, 1))
        await channel.hang_up()
        await desk.until("ended")
        self.assertEqual(desk.faults(), [])

    async def test_which_trunk(self) -> None:
        """``api.md`` section 4: of several the service says which; a sentence names them where nobody does."""
        second = TRUNK.replace('"carrier"', '"second"')
        self.carrier()
        self.serve_with(TRUNK + second)
        channel = self.exchange.channel()
        with self.assertRaisesRegex(Error, "'carrier', 'second'"):
            await channel.call("3301")
        channel.trunk = "third"
        with self.assertRaisesRegex(Error, "'third' is no trunk"):
            await channel.call("3301")

    async def test_calls_in_when_registered(self) -> None:
        """The issue, "Identity": calls from a trunk reach services, and say which trunk; a stranger's don't."""
        carrier = self.carrier(routes={"3300": self.uri("3300")})
        desk = self.phone("desk")
        await desk.register(carrier.uri, "d-secret", keep=False)
        self.serve_with(TRUNK)
        stranger = self.phone("stranger")
        stranger.dial(self.uri("3300"))
        await stranger.until("ended")
        self.assertEqual(stranger.call.status, 403)
        await self.moment(3)
        desk.dial(carrier.uri_of("3300"))
        await desk.until("answered")
        (channel,) = self.inbound
        self.assertEqual((channel.Details.trunk, channel.Details.phone), ("carrier", ""))
        await desk.hang_up()

    async def test_calls_in_by_address(self) -> None:
        """The issue, "Identity": an IP-authenticated trunk; P-Asserted-Identity is believed where the trunk says so."""
        ann = self.phone("ann")
        text = f'[[trunk]]\nname = "pbx"\nhost = "{ann.address[0]}"\naddresses = ["{ann.address[0]}/32"]\n'
        self.serve_with(text + 'caller_id = "asserted"\n')
        ann.dial(self.uri("3300"), headers=[("P-Asserted-Identity", '"Ann" <sip:4711@pbx.example>')])
        await ann.until("answered")
        (channel,) = self.inbound
        details = channel.Details
        self.assertEqual(
            (details.trunk, details.call_from, details.display_name), ("pbx", "sip:4711@pbx.example", "Ann")
        )
        await ann.hang_up()
        self.board.lines.trunks["pbx"].section = attrs.evolve(self.board.lines.trunks["pbx"].section, caller_id="from")
        ann.dial(self.uri("3300"), headers=[("P-Asserted-Identity", "<sip:4711@pbx.example>")])
        await ann.until("answered")
        self.assertEqual(self.inbound[1].Details.call_from, ann.call.invite.from_.uri)
        await ann.hang_up()
        eve = self.phone("eve")
        eve.dial(self.uri("3300"), headers=[("P-Asserted-Identity", "<sip:4711@pbx.example>")])
        await eve.until("ended")
        self.assertEqual(eve.call.status, 403)


class PhoneTests(LinesCase):
    """``[[phone]]``."""

    async def test_signs_in_and_calls(self) -> None:
        """RFC 3261 10.3, 22: it signs in, its call is challenged, and the application knows whose it is."""
        self.serve_with(PHONES)
        bob = await self.signed_in("bob")
        self.assertTrue(self.log_of("Phone bob signed in from 10.0.1.1 port 5060 over UDP"))
        bob.dial(self.uri("3300"))
        await bob.until("answered")
        (channel,) = self.inbound
        details = channel.Details
        self.assertEqual((details.phone, details.trunk, details.call_from), ("bob", "", f"sip:bob@{SERVER}"))
        await bob.hang_up()
        self.assertEqual(await bob.unregister(), 200)
        self.assertTrue(self.log_of("Phone bob signed out"))
        self.assertEqual(self.board.lines.phones.registrar.users(), [])  # type: ignore[union-attr]

    async def test_is_called(self) -> None:
        """``api.md`` section 4: ``sip:name@server`` reaches the phone by the way it signed in, BYE included."""
        self.serve_with(PHONES)
        for transport in ("udp", "tcp"):
            bob = await self.signed_in("bob", transport=transport, auto_answer=0.1)
            channel = self.exchange.channel()
            self.assertEqual(await channel.call(f"sip:bob@{SERVER}"), State.ANSWERED)
            self.assertEqual(bob.call.invite.uri, bob.contact(transport))
            await channel.hang_up()
            await bob.until("ended")
            await bob.unregister()

    async def test_behind_a_nat(self) -> None:
        """RFC 5626 4.3: behind a NAT the Contact leads nowhere; the way it signed in by does, for all that follows."""
        self.serve_with(PHONES)
        bob = self.phone("bob", behind=self.nat("symmetric"), auto_answer=0.1)
        self.assertEqual(await bob.register(f"sip:{SERVER}", "b-secret", keep_alive=20), 200)
        channel = self.exchange.channel()
        self.assertEqual(await channel.call(f"sip:bob@{SERVER}"), State.ANSWERED)
        self.assertEqual(bob.call.invite.uri, "sip:bob@192.168.1.1:5060")
        await channel.hang_up()
        await bob.until("ended")
        bob.dial(self.uri("3300"))
        await bob.until("answered")
        await self.inbound[0].hang_up()
        await bob.until("ended")
        self.assertEqual([len(bob.got(one)) for one in ("INVITE", "ACK", "BYE")], [1, 1, 2])
        self.assertEqual((len(bob.sent("BYE")), bob.unacknowledged), (0, 0))
        await bob.unregister()

    async def test_several_places(self) -> None:
        """RFC 3261 10.3: the place that was refreshed last is called first, the next one when it is silent."""
        self.serve_with(PHONES)
        first = self.phone("bob", auto_answer=0.1)
        second = self.phone("bob", auto_answer=0.1)
        await first.register(f"sip:{SERVER}", "b-secret")
        await second.register(f"sip:{SERVER}", "b-secret")
        channel = self.exchange.channel()
        self.assertEqual(await channel.call(f"sip:bob@{SERVER}"), State.ANSWERED)
        self.assertEqual((len(first.calls), len(second.calls)), (0, 1))
        await channel.hang_up()
        self.network.partition(SERVER, second.address[0])
        self.assertEqual(await channel.call(f"sip:bob@{SERVER}"), State.ANSWERED)
        self.assertEqual(len(first.calls), 1)
        self.network.heal(SERVER, second.address[0])
        await channel.hang_up()
        await first.until("ended")

    async def test_redirected(self) -> None:
        """R6: a phone that sends its call elsewhere is heeded: the call goes there, not back to the phone."""
        self.serve_with(PHONES)
        desk = self.phone("desk", auto_answer=0.1)
        bob = await self.signed_in("bob")
        bob.on_call = lambda call: call.reject(302, headers=[("Contact", f"<{desk.uri}>")])
        channel = self.exchange.channel()
        self.assertEqual(await channel.call(f"sip:bob@{SERVER}"), State.ANSWERED)
        self.assertEqual((len(bob.calls), len(desk.calls)), (1, 1))
        self.assertEqual(desk.call.invite.uri, desk.uri)
        await channel.hang_up()
        await desk.until("ended")

    async def test_not_signed_in(self) -> None:
        """``api.md`` section 3: nobody there is 480, NOANSWER; nothing is sent. Other names are no phones of ours."""
        self.serve_with(PHONES)
        channel = self.exchange.channel()
        self.assertEqual(await channel.call(f"sip:carol@{SERVER}"), State.IDLE)
        self.assertEqual((channel.cause(), channel.Details.raw_cause), (Cause.NOANSWER, 480))
        self.assertEqual(channel.Details.raw_reason, "carol is not signed in")

    async def test_expires(self) -> None:
        """RFC 3261 10.3 step 8: what isn't refreshed is over, and the log says so."""
        self.serve_with(PHONES)
        bob = self.phone("bob")
        await bob.register(f"sip:{SERVER}", "b-secret", expires=60, keep=False)
        phones = self.board.lines.phones
        assert phones is not None
        await self.moment(59)
        self.assertEqual(phones.registrar.users(), ["bob"])
        await self.moment(62)
        self.assertEqual(phones.registrar.users(), [])
        self.assertTrue(self.log_of("Phone bob has not signed in again in time"))

    async def test_wrong_password(self) -> None:
        """The issue, "Defence": a wrong password and a name that nobody has are answered alike, byte by byte."""
        self.serve_with(PHONES)
        answers = []
        for name in ("bob", "nobody"):
            phone = self.phone(name)
            self.assertEqual(await phone.register(f"sip:{SERVER}", "guess", keep=False), 401)
            answers.append(
                [
                    [(one, _without_numbers(value)) for one, value in entry.message.fields if one == "WWW-Authenticate"]
                    for entry in phone.log
                    if isinstance(entry.message, Response)
                ]
            )
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(len(self.log_of("wrong password")), 1)
        self.assertEqual([line for line in self.heard if "guess" in line or "b-secret" in line], [])

    async def test_claims(self) -> None:
        """The issue, "Defence": who claims to be one of ours is asked for a password, whatever the name; others 403."""
        self.serve_with(PHONES)
        statuses = []
        for claimed in (f"sip:bob@{SERVER}", f"sip:nobody@{SERVER}", "sip:bob@elsewhere.example"):
            eve = self.phone("eve")
            for user in ("3300", "9999"):
                eve.dial(self.uri(user), from_uri=claimed)
                await eve.until("ended")
                statuses.append(eve.call.status)
        self.assertEqual(statuses, [401, 401, 401, 401, 403, 403])

    async def test_port_left_out(self) -> None:
        """RFC 3261 10.2: an address-of-record has no port, whatever the port that the REGISTER is sent to."""
        self.serve_with(PHONES)
        self.exchange.listen(f"udp:{SERVER}:5990")
        self.patch(self.exchange, "_listeners", [("udp", (SERVER, 5990))])
        bob = self.phone("bob")
        told = f"sip:bob@{SERVER}"
        self.assertEqual(await bob.register(f"sip:{SERVER}:5990", "b-secret", aor=told, keep=False), 200)
        assert self.board.lines.phones is not None
        self.assertEqual(self.board.lines.phones.registrar.users(), ["bob"])
        self.assertFalse(self.board.lines.is_home(SipUri("sip", "bob", None, SERVER, 5991)))
        self.assertFalse(self.board.lines.is_home(SipUri("sip", "bob", None, "elsewhere.example")))

    async def test_somebody_else(self) -> None:
        """RFC 3261 10.3 step 4: with one's own password nobody signs in for somebody else."""
        self.serve_with(PHONES)
        carol = self.phone("carol")
        self.assertEqual(await carol.register(f"sip:{SERVER}", "b-secret", username="bob", keep=False), 403)

    async def test_restart(self) -> None:
        """RFC 7616 3.3: nonces of another life are stale, not wrong: the phone signs in without asking its owner."""
        self.serve_with(PHONES)
        phones = self.board.lines.phones
        assert phones is not None
        before = auth.Authority(b"another life", "telephony")
        flow: Any = SimpleNamespace(remote=("10.0.1.1", 5060), local=(SERVER, 5060), transport="UDP", usable=True)
        for password, stale in (("b-secret", True), ("guess", False)):
            challenge = Response(401)
            challenge.add("WWW-Authenticate", before.challenges("10.0.1.1", self.network.clock.seconds())[0])
            bob = auth.Authentication(auth.Account("bob", password))
            bob.take(bob.fitting(challenge)[0][0])
            request = Request("REGISTER", f"sip:{SERVER}")
            bob.authorize(request, "c")
            status, headers = phones.register(request, flow)
            self.assertEqual(status, 401)
            self.assertEqual(["stale=true" in value for _name, value in headers], [stale, stale])

    async def test_public(self) -> None:
        """``api.md`` section 7: who isn't known reaches a public service; a phone that is there is known there too."""
        self.serve_with(PHONES, public=True)
        eve = self.phone("eve")
        eve.dial(self.uri("3300"))
        await eve.until("answered")
        self.assertEqual(self.inbound[0].Details.phone, "")
        await eve.hang_up()
        bob = await self.signed_in("bob")
        bob.dial(self.uri("3300"))
        await bob.until("answered")
        self.assertEqual(self.inbound[1].Details.phone, "bob")
        await bob.hang_up()

    async def test_audio_for_somebody_else(self) -> None:
        """RFC 5245 18.5.1: a stranger's audio goes for half a minute where he says, a phone's as long as it likes."""
        self.serve_with(PHONES, public=True)
        got: list[bytes] = []
        port = self.network.host("203.0.113.9").open_datagram_port(
            ("203.0.113.9", 4000), lambda data, _source: got.append(data)
        )
        said = (
            "v=0\r\no=- 1 1 IN IP4 203.0.113.9\r\ns=-\r\nc=IN IP4 203.0.113.9\r\nt=0 0\r\n"
            "m=audio 4000 RTP/AVP 8\r\na=recvonly\r\n"
        )
        bob = await self.signed_in("bob", quirks=Quirks(sdp=said.encode()))
        eve = self.phone("eve", quirks=Quirks(sdp=said.encode()))
        for phone, fewest, most in ((eve, 1000, 2500), (bob, 5900, 6100)):
            got.clear()
            phone.dial(self.uri("3300"))
            await phone.until("answered")
            await self.pause(120)
            self.assertTrue(fewest < len(got) < most, (phone.name, len(got)))
            await phone.hang_up()
        port.close()


class RuleTests(LinesCase):
    """What holds for all requests that are challenged (``transfer.md``)."""

    strict = False

    async def test_every_method(self) -> None:
        """Rule 3, I2: a challenged BYE is sent again, once, with its own number; so are re-INVITEs."""
        bob = self.phone("bob", auto_answer=0.1)
        self.serve_with(TRUNK.replace("register = true", ""))
        bob.demand({"office": "o-secret"}, status=407)
        channel = self.exchange.channel()
        self.network.names["carrier.example"] = [bob.address[0]]
        self.board.lines.trunks["carrier"].section = _at(self.board.lines.trunks["carrier"].section, bob.address[0])
        self.assertEqual(await channel.call("3301"), State.ANSWERED)
        self.assertEqual(await channel.hold(), State.ON_HOLD)
        await channel.hang_up()
        await bob.until("ended")
        await self.moment(10)
        methods = [one.message for one in bob.log if not one.sent and isinstance(one.message, Request)]
        byes = [one for one in methods if one.method == "BYE"]
        self.assertLessEqual(len(byes), 2)
        acks = [one for one in methods if one.method == "ACK"]
        invites = [one for one in methods if one.method == "INVITE"]
        for ack in acks:
            (invite,) = (one for one in invites if one.cseq.number == ack.cseq.number)
            self.assertEqual(ack.get("Proxy-Authorization"), invite.get("Proxy-Authorization"))
        numbers = [one.cseq.number for one in methods if one.method != "ACK"]
        self.assertEqual(numbers, sorted(set(numbers)))

    async def test_cancel_of_a_retry(self) -> None:
        """Rule 2: after a challenge, CANCEL carries the branch of the latest INVITE."""
        bob = self.phone("bob", auto_ring=True)
        self.serve_with(TRUNK.replace("register = true", ""))
        bob.demand({"office": "o-secret"}, status=407)
        self.board.lines.trunks["carrier"].section = _at(self.board.lines.trunks["carrier"].section, bob.address[0])
        channel = self.exchange.channel()
        waiting: Deferred[State] = channel.call("3301")
        await bob.until("ringing")
        await channel.hang_up()
        await waiting
        await self.moment(5)
        requests = [one.message for one in bob.log if not one.sent and isinstance(one.message, Request)]
        invites = [one for one in requests if one.method == "INVITE"]
        (cancel,) = (one for one in requests if one.method == "CANCEL")
        self.assertEqual(len(invites), 2)
        self.assertEqual(cancel.via.branch, invites[1].via.branch)
        self.assertEqual(cancel.cseq.number, invites[1].cseq.number)
        self.assertFalse(cancel.has("Proxy-Authorization"))


def _at(section: Any, host: str) -> Any:
    """Return a trunk's section with another host."""
    return attrs.evolve(section, host=attrs.evolve(section.host, host=host))


def _without_numbers(value: str) -> str:
    """Return a challenge without its nonce."""
    before, _, after = value.partition('nonce="')
    return before + after.partition('"')[2]
