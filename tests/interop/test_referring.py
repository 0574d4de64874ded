"""Issue 4, "what it must show" 3: REFER with and without Replaces, each way, and INVITE with Replaces, against SIPp.

Rows R30 and R31 of the table of races; the verbs `blind_transfer` and `attended_transfer` beside them.
"""

from __future__ import annotations

import json
from urllib.parse import unquote

from telephony.media.detectors import heard

from .case import HEARS_GOODBYE, NO_SIPP, tone_of
from .script import Script, sdp
from .test_rows import Row, RowsCase
from .wire import parameter, uri_in


class ReferredTests(RowsCase):
    """R30: REFER to us."""

    skip = NO_SIPP

    async def test_referred(self) -> None:
        """R30: 603 without the service's leave; with it 202, NOTIFYs, and who was named takes the target's place.

        Where that one refuses, the NOTIFY tells so, and the two talk on.
        """
        refers = ("Refer-To: <sip:carol@[elsewhere]>",)
        carol = await self.sipp(Script("carol").invited().answers().pause(2500).hangs_up(), frequency=1200)
        busy = await self.sipp("target_busy")
        followed, in_vain = (
            Script(name).invited().answers().pause(1500).asks("REFER", more=refers).gets(202).is_notified()
            .is_notified()
            for name in ("followed", "in_vain")
        )  # fmt: skip
        leave = "refer = 'follow'"
        server, begun = await self.begin(
            {
                "refused": Row(
                    None, Script("refused").calls().asks("REFER", more=refers).gets(603).is_hung_up(), 0, "talks.py",
                    "1", keys={"elsewhere": "127.0.0.1:9"},
                ),
                "followed": Row(
                    followed.is_hung_up(), service=leave, keys={"elsewhere": f"127.0.0.1:{carol.port}"}
                ),
                "in_vain": Row(
                    in_vain.pause(1500).hangs_up(), service=leave, keys={"elsewhere": f"127.0.0.1:{busy.port}"}
                ),
            }
        )  # fmt: skip
        await self.well_ended(carol, busy)
        played = await self.finish(server, begun)
        for name, status in (("followed", "200"), ("in_vain", "486")):
            notified = played[name].all("< NOTIFY", of_target=True)
            self.assertEqual([each.body.split()[1] for each in notified], ["100", status])
            states = [each.get("Subscription-State").partition(";")[0] for each in notified]
            self.assertEqual(states, ["active", "terminated"])
            self.assert_transfer(played[name], "TRANSFERRED", "NORMAL")
            self.assertEqual(played[name].caller.audio.faults(), [])
        self.assert_heard(played["refused"].caller.audio.heard, HEARS_GOODBYE)
        self.assert_heard(played["followed"].caller.audio.heard, tone_of(700), tone_of(1200), HEARS_GOODBYE)
        self.assert_heard(carol.audio.heard, tone_of(500))
        self.assert_heard(played["in_vain"].caller.audio.heard, tone_of(700), HEARS_GOODBYE)


class RefersTests(RowsCase):
    """REFER of ours."""

    skip = NO_SIPP

    def told(self, to: str, *, attended: bool) -> str:
        """Return the parameters of applications/refers.py."""
        name = "attended" if attended else "blind"
        return json.dumps({"to": to, "attended": attended, "outcome": str(self.directory / name)})

    async def test_both_ways(self) -> None:
        """RFC 3515, RFC 3891, RFC 3892: a caller is referred to an address, and to a call of ours that it replaces."""
        target = await self.sipp(Script("is_replaced").invited().answers().is_hung_up(), frequency=700)
        referred = Script("blind").calls().gets("REFER").says(202).notifies(100).notifies(200).is_hung_up()
        replacing = Script("attended").calls().gets("REFER").says(202).notifies(100).notifies(200).is_hung_up()
        to = f"sip:3301@127.0.0.1:{target.port}"
        played = await self.play(
            {
                "blind": Row(None, referred, 0, "refers.py", self.told("sip:carol@127.0.0.1:9", attended=False)),
                "attended": Row(None, replacing, 0, "refers.py", self.told(to, attended=True)),
            }
        )
        await self.well_ended(target)
        (refer,) = played["blind"].all("< REFER")
        self.assertEqual(uri_in(refer.get("Refer-To")), "sip:carol@127.0.0.1:9")
        self.assertNotEqual(refer.get("Referred-By"), "")
        self.assertEqual((self.directory / "blind").read_text().split()[:2], ["IDLE", "NORMAL"])
        (refer,) = played["attended"].all("< REFER")
        address, _, header = uri_in(refer.get("Refer-To")).partition("?")
        # The URI is the target's Contact, and the dialog its own as it sees it (RFC 5589 7).
        answer, invite = target.wire.one("> 200 INVITE"), target.wire.one("< INVITE")
        self.assertEqual(address, answer.contact)
        name, _, value = header.partition("=")
        call_id, *tags = unquote(value).split(";")
        self.assertEqual((name, call_id), ("Replaces", invite.get("Call-ID")))
        theirs, ours = parameter(answer.get("To"), "tag"), parameter(invite.get("From"), "tag")
        self.assertEqual(set(tags), {f"to-tag={theirs}", f"from-tag={ours}"})
        self.assertEqual((self.directory / "attended").read_text(), "IDLE IDLE NORMAL")


class ReplacesTests(RowsCase):
    """R31: INVITE with Replaces."""

    skip = NO_SIPP

    async def test_taken_over(self) -> None:
        """R31: 481 for no such call, 400 for two of them; the target's own may take its leg over, which gets BYE."""
        target = Script("is_replaced").invited().answers().is_hung_up()
        server, begun = await self.begin({"talk": Row(target)})
        one = begun["talk"]
        await self.until(lambda: heard(one.called.audio.heard, (500,), minimum=0.5), "they talk")
        invite, answer = one.called.wire.one("< INVITE"), one.called.wire.one("> 200 INVITE")
        ours, theirs = parameter(invite.get("From"), "tag"), parameter(answer.get("To"), "tag")
        known = f"Replaces: {invite.get('Call-ID')};to-tag={ours};from-tag={theirs}"
        unknown = "Replaces: nobody@nowhere;to-tag=1;from-tag=2"
        for status, more in ((481, (unknown,)), (400, (known, known))):
            script = Script(f"replaces{status}").invites(body=sdp(), more=("Require: replaces", *more))
            refused = await self.sipp(script.gets(100, optional=True).gets(status).acks(status), server=server)
            await self.well_ended(refused)
        self.assertNotIn("< BYE", one.called.wire.words)
        script = Script("replaces").invites(body=sdp(), more=("Require: replaces", known)).gets(100, optional=True)
        taker = await self.sipp(script.gets(200).acks().pause(2000).hangs_up(), server=server, frequency=1200)
        await self.well_ended(taker)
        played = await self.finish(server, begun)
        self.assert_transfer(played["talk"], "TRANSFERRED", "NORMAL")
        self.assert_heard(one.caller.audio.heard, tone_of(700), tone_of(1200), HEARS_GOODBYE)
        self.assert_heard(taker.audio.heard, tone_of(500))
        self.assertEqual(one.caller.audio.faults(), [])
