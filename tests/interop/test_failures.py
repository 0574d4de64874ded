"""Issue 2, 2: transfers that fail or end at once, with SIPp on both sides.

Each test checks what the application was told (state, cause, transfer cause), what was on the wire on both sides, and
what the caller heard. The numbers are those of the table of races in the design of the transfer.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor as installed_reactor
from twisted.internet.protocol import DatagramProtocol

from telephony.media.detectors import heard

from .case import (
    APPLICATION,
    EXAMPLES,
    HEARS_GOODBYE,
    HEARS_RINGBACK,
    HERE,
    NO_SIPP,
    RINGBACK,
    InteropCase,
    Server,
    SippCall,
    Step,
)
from .rtp import free_port
from .script import Script, sdp
from .wire import Message, Wire

reactor: Any = installed_reactor

TALKS = HERE / "applications" / "talks.py"
#: A caller who stays until the goodbye is over.
STAYS = ("> INVITE", "< 100 INVITE", "< 200 INVITE", "> ACK", "< BYE", "> 200 BYE")
#: A caller who hangs up.
HANGS_UP = ("> INVITE", "< 100 INVITE", "< 200 INVITE", "> ACK", "> BYE", "< 200 BYE")


class Deaf(DatagramProtocol):
    """A target that never answers, over UDP: keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[Message] = []

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Keep a message."""
        self.got.append(Message.read(False, datagram.decode()))


class FailureCase(InteropCase):
    """Transfers that fail."""

    skip = NO_SIPP

    async def call(
        self, target: SippCall, *, seconds_timeout: float = 60, caller: str = "caller"
    ) -> tuple[Server, SippCall]:
        """Have SIPp call a server that transfers to ``target``; return both when the call is over."""
        server = await self.serve_recorded(f"sip:3301@127.0.0.1:{target.port}", seconds_timeout=seconds_timeout)
        calling = await self.sipp(caller, server=server, milliseconds=3000)
        await self.well_ended(calling, target)
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)
        return server, calling

    def assert_failed(
        self, step: Step, transfer_cause: str, cause: str, raw: tuple[int, str], state: str = "ANSWERED"
    ) -> None:
        """Check what the application read when `retrievable_transfer` had returned."""
        self.assertEqual((step.returned, step.state, step.other_state), (state, state, "IDLE"))
        self.assertEqual((step.transfer_cause, step.other_cause, step.cause), (transfer_cause, cause, "NORMAL"))
        self.assertEqual((step.raw_cause, step.raw_reason), raw)

    def assert_goodbye(
        self, server: Server, caller: SippCall, *, outcome: str = "outcome", ringback: bool = False
    ) -> None:
        """Check that the caller was given back to the application, which said goodbye and hung up."""
        steps = server.steps(outcome)
        self.assertEqual(list(steps), ["answer", "transfer", "goodbye", "end"])
        self.assertEqual(steps["goodbye"].returned, "NORMAL")
        self.assertEqual((steps["end"].returned, steps["end"].cause), ("IDLE", "NORMAL"))
        self.assert_wire(caller.wire, *STAYS)
        self.assertEqual(caller.audio.faults(), [])
        pcm = caller.audio.heard
        self.assert_heard(pcm, *([HEARS_RINGBACK] if ringback else []), HEARS_GOODBYE)
        self.assertEqual(bool(heard(pcm, RINGBACK)), ringback)


class RefusalTests(FailureCase):
    """Targets that don't want to, or no longer."""

    async def test_busy(self) -> None:
        """R4: 486 is acknowledged; TARGETREJECT, with BUSY on the other channel."""
        target = await self.sipp("target_busy")
        server, caller = await self.call(target)
        self.assert_failed(server.steps()["transfer"], "TARGETREJECT", "BUSY", (486, "Busy Here"))
        self.assert_goodbye(server, caller)
        self.assert_wire(target.wire, "< INVITE", "> 486 INVITE", "< ACK")

    async def test_never_answers(self) -> None:
        """R3: ringback until the application's limit, then CANCEL with a Reason; the 487 is acknowledged."""
        target = await self.sipp("target_rings")
        server, caller = await self.call(target, seconds_timeout=2)
        self.assert_failed(server.steps()["transfer"], "TIMEOUT", "TIMEOUT", (0, "Request Timeout"))
        self.assert_goodbye(server, caller, ringback=True)
        self.assert_cancelled(target.wire, 'SIP;cause=408;text="Request Timeout"')

    def assert_cancelled(self, wire: Wire, reason: str) -> None:
        """Check a target's side of a call that is cancelled while it rings (RFC 3261 9.1, RFC 3326)."""
        words = ("< INVITE", "> 180 INVITE", "< CANCEL", "> 200 CANCEL", "> 487 INVITE", "< ACK")
        self.assert_wire(wire, *words)
        self.assertEqual(wire.one("< CANCEL").get("Reason").replace(" ", ""), reason.replace(" ", ""))

    async def test_caller_hangs_up(self) -> None:
        """Rule 6: the caller hangs up while the target rings: both IDLE, HANGUP, and the target is cancelled."""
        target = await self.sipp("target_rings")
        server, caller = await self.call(target, caller="caller_hangs_up")
        steps = server.steps()
        self.assertEqual(list(steps), ["answer", "transfer", "end"])
        self.assert_failed(steps["transfer"], "HANGUP", "NORMAL", (0, "Caller hung up"), state="IDLE")
        self.assert_wire(caller.wire, *HANGS_UP)
        self.assert_cancelled(target.wire, 'SIP;cause=487;text="Caller hung up"')
        self.assertEqual(caller.audio.faults(), [])
        self.assert_heard(caller.audio.heard, HEARS_RINGBACK)

    async def test_answers_and_hangs_up(self) -> None:
        """R7b: BYE right behind the 200: the verb returns TRANSFERRED, cause NORMAL; the caller is back by itself."""
        target = await self.sipp("target_quick")
        server, caller = await self.call(target)
        steps = server.steps()
        self.assertEqual(list(steps), ["answer", "transfer", "retrieval", "goodbye", "end"])
        transfer, retrieval = steps["transfer"], steps["retrieval"]
        self.assertEqual((transfer.returned, transfer.transfer_cause), ("TRANSFERRED", "NORMAL"))
        self.assertEqual((retrieval.returned, retrieval.state, retrieval.cause), ("ANSWERED", "ANSWERED", "NORMAL"))
        self.assertEqual((retrieval.transfer_cause, retrieval.other_state), ("NORMAL", "IDLE"))
        self.assertEqual((retrieval.other_cause, retrieval.raw_cause), ("NORMAL", 0))
        self.assert_wire(target.wire, "< INVITE", "> 200 INVITE", "< ACK", "> BYE", "< 200 BYE")
        self.assert_wire(caller.wire, *STAYS)
        self.assertEqual(caller.audio.faults(), [])
        self.assert_heard(caller.audio.heard, HEARS_GOODBYE)
        self.assertEqual(heard(caller.audio.heard, RINGBACK), [])


class UnreachableTests(FailureCase):
    """Targets that say nothing at all."""

    async def reach_nobody(
        self, seconds_timeout: float, beside: Script | None = None
    ) -> tuple[Server, list[SippCall], Deaf]:
        """Let two callers be transferred over UDP: one to a target that says nothing, one to a port nobody has.

        ``beside`` is another caller, of a service that talks.
        """
        deaf = Deaf()
        listening = reactor.listenUDP(0, deaf, interface=self.interface)
        self.addCleanup(listening.stopListening)
        targets = {"deaf": listening.getHost().port, "closed": free_port(self.interface)}
        config = self.directory / "telephony.toml"
        config.write_text(
            f"[media]\ndirectory = '{EXAMPLES / 'media'}'\n"
            + "".join(
                f"[[service]]\nname = '{name}'\nmatch = '{name}'\napplication = '{APPLICATION}'\n"
                f"parameters = '{self.parameters(f'sip:3301@127.0.0.1:{port}', seconds_timeout, outcome=name)}'\n"
                for name, port in targets.items()
            )
            + f"[[service]]\nname = 'talks'\nmatch = 'talks'\napplication = '{TALKS}'\nparameters = '30'\n"
        )
        server = await self.serve("--config", str(config))
        callers = [await self.sipp("caller", server=server, service=name) for name in targets]
        others = [] if beside is None else [await self.sipp(beside, server=server, service="talks")]
        await self.well_ended(*callers, *others)
        await self.stopped(server, records=2 + len(others))
        return server, callers, deaf

    def assert_invites(self, deaf: Deaf, least: int, most: int) -> None:
        """Check that the target got one INVITE, repeated, and nothing else (no CANCEL without a 1xx, RFC 3261 9.1)."""
        self.assertEqual({str(one) for one in deaf.got}, {"< INVITE"})
        self.assertEqual(len({(one.branch, one.get("Call-ID"), one.get("CSeq"), one.body) for one in deaf.got}), 1)
        self.assertTrue(least <= len(deaf.got) <= most, len(deaf.got))

    async def test_application_limit(self) -> None:
        """R5, R3: TIMEOUT when the application's limit comes first; there is nothing to cancel yet."""
        server, callers, deaf = await self.reach_nobody(2)
        for name, caller in zip(("deaf", "closed"), callers, strict=True):
            step = server.steps(name)["transfer"]
            self.assert_failed(step, "TIMEOUT", "TIMEOUT", (0, "Request Timeout"))
            self.assert_goodbye(server, caller, outcome=name)
        self.assert_invites(deaf, 3, 7)

    async def test_timer_b(self) -> None:
        """R5: FAIL after timer B, 64*T1 = 32 s, when the limit is beyond it; seven INVITEs were sent (17.1.1.2).

        R35, which takes as long: a caller that never acknowledges its 200 gets a BYE.
        """
        silent = Script("never_acks").invites(body=sdp()).gets(100, optional=True).gets(200)
        server, callers, deaf = await self.reach_nobody(60, silent.gets("BYE", seconds=50).says(200))
        for name, caller in zip(("deaf", "closed"), callers, strict=True):
            step = server.steps(name)["transfer"]
            self.assert_failed(step, "FAIL", "NOANSWER", (0, step.raw_reason))
            self.assert_goodbye(server, caller, outcome=name)
        self.assert_invites(deaf, 7, 7)

    async def test_refused_connection(self) -> None:
        """R5: a transport error is FAIL at once: nobody listens at the target's TCP port."""
        server = await self.serve_recorded(f"sip:3301@127.0.0.1:{free_port(self.interface)};transport=tcp")
        caller = await self.sipp("caller", server=server, transport="tcp")
        await self.well_ended(caller)
        await self.stopped(server)
        step = server.steps()["transfer"]
        self.assert_failed(step, "FAIL", "NOANSWER", (0, step.raw_reason))
        self.assert_goodbye(server, caller)

    async def test_silent_connection(self) -> None:
        """Over TCP the INVITE goes out once, and the application's limit is TIMEOUT; no CANCEL without a 1xx."""
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind((self.interface, 0))
        listening.listen()
        target = f"sip:3301@127.0.0.1:{listening.getsockname()[1]};transport=tcp"
        server = await self.serve_recorded(target, seconds_timeout=2)
        caller = await self.sipp("caller", server=server, transport="tcp")
        await self.well_ended(caller)
        await self.stopped(server)
        self.assert_failed(server.steps()["transfer"], "TIMEOUT", "TIMEOUT", (0, "Request Timeout"))
        self.assert_goodbye(server, caller)
        connection, _ = listening.accept()
        # The server is gone, so this ends.
        with connection, connection.makefile("rb") as stream:
            got = stream.read().decode()
        self.assertEqual(got.count("INVITE sip:"), 1)
        self.assertTrue(got.startswith(f"INVITE {target} SIP/2.0\r\n"), got)
        self.assertNotIn("CANCEL sip:", got)
