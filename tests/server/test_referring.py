"""REFER and Replaces at a server with phones and a trunk (``api.md`` section 7; R30, R31; RFC 3515, RFC 3891)."""

from __future__ import annotations

from typing import Any

from telephony.call.constants import State, TransferCause
from telephony.sip.message import Request
from telephony.testing.case import SERVER
from tests.server.test_lines import PHONES, TRUNK, LinesCase

#: Calls whoever its parameters say, and connects the two.
CONNECTS = """
__uas_identify__ = "application"
__uas_version__ = "1"
calls = []
async def main(channel, application_instance_id, file_man, my_log, application_parameters):
    calls.append(channel)
    await channel.answer()
    other = channel.ExtraChannel[0]
    await other.call(application_parameters)
    await channel.connect(other)
    await channel.wait_for_idle()
    return 0
"""
SERVICE = f"""
[[service]]
name = "desk"
match = "3500"
application = "connects.py"
parameters = "sip:bob@{SERVER}"
extra_channels = 1
"""


class ReferringCase(LinesCase):
    """A server whose application connects its caller to bob, a phone that has signed in."""

    async def connected(self, more: str = "") -> tuple[Any, Any, Any]:
        """Carol has called, and talks to bob; the two phones, and the caller's channel."""
        from pathlib import Path

        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        (directory / "connects.py").write_text(CONNECTS)
        text = SERVICE.replace("connects.py", str(directory / "connects.py")) + more
        self.serve_with(text + PHONES + '[[phone]]\nname = "dave"\npassword = "d-secret"\n')
        bob = await self.signed_in("bob", auto_answer=0.1)
        carol = await self.signed_in("carol")
        carol.dial(self.uri("3500"))
        await carol.until("answered")
        await bob.until("answered")
        await self.moment(self.network.clock.seconds() + 1)
        (channel,) = (one for one in self.exchange.channels if one.ExtraChannel)
        return bob, carol, channel


class ReferTests(ReferringCase):
    """``refer`` of a service."""

    async def test_refused(self) -> None:
        """R30: "refuse" is the default: 603, and the two talk on."""
        bob, carol, channel = await self.connected()
        self.assertEqual(channel.refer, "refuse")
        self.assertEqual(await bob.transfer(f"sip:dave@{SERVER}"), 603)
        self.assertIs(channel.state(), State.ANSWERED)
        await carol.hang_up()

    async def test_followed(self) -> None:
        """R30: "follow": a phone of ours takes bob's place, by its name here; bob leaves by its own BYE."""
        bob, carol, channel = await self.connected('refer = "follow"\n')
        dave = await self.signed_in("dave", auto_answer=0.5)
        self.assertEqual(await bob.transfer(f"sip:dave@{SERVER}"), 200)
        await bob.hang_up()
        other = channel.ExtraChannel[0]
        self.assertEqual((channel.state(), other.state()), (State.ANSWERED, State.ANSWERED))
        self.assertEqual(dave.call.invite.get("Referred-By"), f"<{bob.uri}>")
        await dave.hang_up()
        await self.moment(self.network.clock.seconds() + 1)
        self.assertEqual((channel.state(), other.state()), (State.ANSWERED, State.IDLE))
        await carol.hang_up()

    async def test_dialling_rules(self) -> None:
        """The service's rules hold for who it is referred to: 403, and no call."""
        bob, carol, _channel = await self.connected('refer = "follow"\nallow_dial = ["sip:bob@*"]\n')
        self.assertEqual(await bob.transfer(f"sip:dave@{SERVER}"), 403)
        self.assertEqual(await bob.transfer("tel:+4900"), 403)
        await carol.hang_up()

    async def test_ceiling(self) -> None:
        """``max_outbound`` counts who is called because of a REFER: 503 beyond it."""
        bob, carol, _channel = await self.connected('refer = "follow"\nmax_outbound = 1\n')
        self.assertEqual(await bob.transfer(f"sip:dave@{SERVER}"), 503)
        await carol.hang_up()


class ReplacesTests(ReferringCase):
    """R31: the old leg's own phone, and nobody else."""

    async def test_own_phone(self) -> None:
        """A phone that proves to be bob takes bob's call over, from another address: challenged first (22.2)."""
        bob, carol, channel = await self.connected()
        old = bob.call
        second = await self.signed_in("bob")
        made = second.dial(f"sip:{SERVER}", from_uri=f"sip:bob@{SERVER}", replaces=old)
        await second.until("answered")
        await bob.until("ended")
        self.assertEqual(old.ended_by, "far")
        self.assertTrue(made.invite.has("Authorization") or made.invite.has("Proxy-Authorization"))
        other = channel.ExtraChannel[0]
        self.assertEqual((other.state(), other.Details.call_id), (State.ANSWERED, made.call_id))
        await carol.hang_up()
        await second.until("ended")

    async def test_somebody_else(self) -> None:
        """403 for another phone of ours and for a stranger; who knows nothing is told nothing: no 481 for strangers."""
        bob, carol, channel = await self.connected()
        dave = await self.signed_in("dave")
        stranger = self.phone("stranger")
        for phone, replaces, status in (
            (dave, bob.call, 403),
            (stranger, bob.call, 403),
            (stranger, "nobody;to-tag=1;from-tag=2", 403),
            (dave, "nobody;to-tag=1;from-tag=2", 481),
        ):
            call = phone.dial(f"sip:{SERVER}", replaces=replaces)
            await phone.until(lambda call=call: call.status)  # type: ignore[misc]
            self.assertEqual((phone.name, call.status), (phone.name, status))
        self.assertTrue(bob.call.alive)
        self.assertIs(channel.state(), State.ANSWERED)
        await carol.hang_up()


class TrunkTests(LinesCase):
    """Transfers of calls that came by a trunk."""

    async def test_blind_transfer_through_a_trunk(self) -> None:
        """RFC 3515 2.1, RFC 3261 22.2: a number is the trunk's; a challenged REFER goes again, its CSeq counts."""
        desk = self.phone("desk", auto_answer=0.1)
        self.carrier(routes={"*": desk.uri})
        self.serve_with(TRUNK)
        await self.moment(1)
        channel = self.exchange.channel()
        self.assertEqual(await channel.call("3301"), State.ANSWERED)
        desk.demand({"office": "o-secret"})
        desk.refer = 202
        verb = channel.blind_transfer("3302", seconds_timeout=20)
        await desk.until(lambda: len(desk.calls) == 2)
        refers = [one for one in desk.got("REFER") if isinstance(one, Request)]
        self.assertEqual(len(refers), 2)
        self.assertTrue(refers[1].has("Authorization"))
        self.assertRegex(refers[1].get("Refer-To") or "", "^<sip:3302@10.0.9.1")
        events = [one.get("Event") for one in desk.sent("NOTIFY")]
        self.assertEqual(set(events), {f"refer;id={refers[1].cseq.number}"})
        self.assertIs(await verb, State.ANSWERED)
        # The desk has no password at the carrier: no word of the target's.
        self.assertEqual((channel.transfer_cause(), channel.Details.raw_cause), (TransferCause.FAIL, 407))
        await channel.hang_up()
