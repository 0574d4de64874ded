"""Issue 2, 2: the transfer from end to end with a SIPp caller and a SIPp target, over UDP and over TCP."""

from __future__ import annotations

import re

from telephony.media.detectors import heard

from .case import (
    EXAMPLES,
    GREETING,
    HEARS_GOODBYE,
    HEARS_GREETING,
    HEARS_RINGBACK,
    NO_IPV6,
    NO_SIPP,
    RINGBACK,
    InteropCase,
    Server,
    SippCall,
    tone_of,
)

CALLER_WORDS = ("> INVITE", "< 100 INVITE", "< 200 INVITE", "> ACK", "< BYE", "> 200 BYE")
TARGET_WORDS = ("< INVITE", "> 180 INVITE", "> 200 INVITE", "< ACK", "> BYE", "< 200 BYE")


class NominalCase(InteropCase):
    """A phone calls in, is greeted, transferred, taken back, told goodbye, and hung up on."""

    skip = NO_SIPP

    def assert_nominal(self, server: Server, caller: SippCall, target: SippCall) -> None:
        """Check what both sides saw and heard."""
        self.assert_wire(caller.wire, *CALLER_WORDS)
        self.assert_wire(target.wire, *TARGET_WORDS)
        invite, answer = caller.wire.one("> INVITE"), caller.wire.one("< 200 INVITE")
        onward, hers = target.wire.one("< INVITE"), target.wire.one("> 200 INVITE")
        self.assertNotEqual(invite.get("Call-ID"), onward.get("Call-ID"))
        # Rule 8, and what the application asked for: the caller's address.
        self.assertEqual(onward.get("Max-Forwards"), "69")
        self.assertIn(f"<sip:caller@{self.uri_host}:{caller.port}>", onward.get("From"))
        # R28: the caller's codec is offered first.
        self.assertEqual(onward.media[2][0], str(caller.audio.payload_type))
        self.assertEqual(answer.media[2], [str(caller.audio.payload_type), "101"])
        # Media is anchored: each side's audio comes from where the server's SDP to that side says.
        for end, description in ((caller.audio, answer), (target.audio, onward)):
            self.assertEqual(end.source, description.media[:2])
            self.assertEqual(end.faults(), [])
        self.assertNotEqual(answer.media[1], onward.media[1])
        self.assertEqual(hers.media[1] % 2, 0)
        self.assert_heard(caller.audio.heard, HEARS_GREETING, HEARS_RINGBACK, tone_of(700), HEARS_GOODBYE)
        self.assert_heard(target.audio.heard, tone_of(500))
        # The target is the caller's, not the application's: it hears nothing of what the caller was played.
        for frequencies in (RINGBACK, *GREETING):
            self.assertEqual(heard(target.audio.heard, frequencies), [])

    async def example(self, transport: str, caller_codec: int, target_codec: int) -> None:
        """Run the example as README has it, with a SIPp on each side."""
        target = await self.sipp("target", transport=transport, payload_type=target_codec, frequency=700)
        uri = f"sip:3301@{self.uri_host}:{target.port}" + (";transport=tcp" if transport == "tcp" else "")
        application = str(EXAMPLES / "retrievable_transfer.py")
        server = await self.serve("--app", application, "--parameters", uri)
        caller = await self.sipp("caller", transport=transport, server=server, payload_type=caller_codec)
        await self.well_ended(caller, target)
        (record,) = await self.stopped(server)
        self.assert_nominal(server, caller, target)
        self.assertIn(f"transferred to {uri}", server.child.output)
        self.assertEqual((record["return_code"], record["application"]), (0, "retrievable_transfer"))
        self.assertEqual(record["caller"], f"sip:caller@{self.uri_host}:{caller.port}")
        self.assertEqual(record["application_parameters"], uri)
        self.assertEqual(target.wire.one("< INVITE").target, uri)


class NominalTests(NominalCase):
    """Over IPv4, as README has it."""

    async def test_udp(self) -> None:
        """Over UDP, both A-law: packets are relayed."""
        await self.example("udp", 8, 8)

    async def test_tcp(self) -> None:
        """Over TCP, with mu-law on one side and A-law on the other (R28)."""
        await self.example("tcp", 0, 8)

    async def test_recorded(self) -> None:
        """What each verb returns, and every state and cause, of a transfer that goes well."""
        target = await self.sipp("target", frequency=700)
        server = await self.serve_recorded(f"sip:3301@127.0.0.1:{target.port}", greeting="greeting.wav")
        caller = await self.sipp("caller", server=server)
        await self.well_ended(caller, target)
        await self.stopped(server)
        self.assert_nominal(server, caller, target)
        steps = server.steps()
        self.assertEqual(list(steps), ["answer", "greeting", "transfer", "retrieval", "goodbye", "end"])
        self.assertEqual(steps["answer"].returned, "ANSWERED")
        self.assertEqual((steps["answer"].transfer_cause, steps["answer"].other_state), ("NONE", "IDLE"))
        self.assertEqual(steps["greeting"].returned, "NORMAL")
        transfer = steps["transfer"]
        self.assertEqual(
            (transfer.returned, transfer.state, transfer.other_state), ("TRANSFERRED", "TRANSFERRED", "ANSWERED")
        )
        self.assertEqual(
            (transfer.cause, transfer.other_cause, transfer.transfer_cause), ("NORMAL", "NORMAL", "NORMAL")
        )
        retrieval = steps["retrieval"]
        self.assertEqual((retrieval.returned, retrieval.state, retrieval.other_state), ("ANSWERED", "ANSWERED", "IDLE"))
        self.assertEqual(
            (retrieval.cause, retrieval.other_cause, retrieval.transfer_cause), ("NORMAL", "NORMAL", "NORMAL")
        )
        self.assertEqual(steps["goodbye"].returned, "NORMAL")
        self.assertEqual((steps["end"].returned, steps["end"].cause), ("IDLE", "NORMAL"))


class NominalIPv6Tests(NominalCase):
    """Over IPv6."""

    interface = "::1"
    skip = NO_SIPP or NO_IPV6

    async def test_udp(self) -> None:
        """Over UDP, both mu-law."""
        await self.example("udp", 0, 0)


class HoldTests(InteropCase):
    """R24: the caller holds while it is transferred, and resumes."""

    skip = NO_SIPP

    async def test_hold(self) -> None:
        """Re-INVITEs are answered in the mirrored direction; nothing is sent to who holds; the transfer goes on."""
        target = await self.sipp("target", milliseconds=4000, frequency=700)
        server = await self.serve_recorded(f"sip:3301@127.0.0.1:{target.port}")
        caller = await self.sipp("caller_holds", server=server, milliseconds=2000)
        await self.well_ended(caller, target)
        await self.stopped(server)
        again = ["> INVITE", "< 200 INVITE", "> ACK"]
        self.assert_wire(caller.wire, "> INVITE", "< 100 INVITE", *again[1:], *again, *again, "< BYE", "> 200 BYE")
        self.assert_wire(target.wire, *TARGET_WORDS)
        answers = [one.body for one in caller.wire.messages if str(one) == "< 200 INVITE"]
        directions = [re.findall(r"a=(send\w+|recvonly|inactive)", body) for body in answers]
        self.assertEqual(directions, [["sendrecv"], ["recvonly"], ["sendrecv"]])
        # RFC 3264 8: one session, whose version goes up with each change.
        origins = [re.findall(r"o=\S+ (\d+) (\d+) ", body)[0] for body in answers]
        self.assertEqual(len({session for session, _ in origins}), 1)
        self.assertEqual([int(version) - int(origins[0][1]) for _, version in origins], [0, 1, 2])
        steps = server.steps()
        self.assertEqual((steps["transfer"].returned, steps["transfer"].transfer_cause), ("TRANSFERRED", "NORMAL"))
        self.assertEqual((steps["retrieval"].returned, steps["retrieval"].other_state), ("ANSWERED", "IDLE"))
        # One hole where the caller held, and no packet lost; what the caller says as it holds is still the target's.
        self.assertEqual(caller.audio.faults(holds=1), [])
        self.assertEqual(target.audio.faults(), [])
        self.assert_heard(caller.audio.heard, HEARS_RINGBACK, tone_of(700), tone_of(700), HEARS_GOODBYE)
        self.assert_heard(target.audio.heard, tone_of(500))
