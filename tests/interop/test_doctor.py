"""Issue 3, "What it must show" 6: the doctor says of SIPp, baresip, Kamailio and our own server what is true of each.

What is true of a peer is known from its scenario, its configuration or its own log, and where it can be, compared with
that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .baresip import BaresipCase
from .case import (
    EXAMPLES,
    HERE,
    KAMAILIO,
    NO_BARESIP,
    NO_KAMAILIO,
    NO_SIPP,
    SIPP,
    Child,
    InteropCase,
    bound,
    reactor,
)
from .rtp import RtpEnd, free_port
from .wire import Wire, read_sipp

#: Where audio that never stops is heard.
QUIET = ("hold", "hold, both ways", "BYE")
EVENTS = "a=rtpmap:101 telephone-event/8000"


class Told:
    """What one visit has told."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.report: dict[str, Any] = json.loads(child.output)
        self.findings: dict[str, dict[str, Any]] = {one["check"]: one for one in self.report["findings"]}

    def outcome(self, check: str) -> str:
        """Return the outcome of a check."""
        return str(self.findings[check]["outcome"])

    def text(self, check: str) -> str:
        """Return the sentence of a check."""
        return str(self.findings[check]["text"])

    def of(self, outcome: str) -> set[str]:
        """Return the checks with an outcome."""
        return {name for name, one in self.findings.items() if one["outcome"] == outcome}


class DoctorCase(InteropCase):
    """The command, as a person runs it, with its JSON."""

    def doctor(self, *arguments: str, json_too: bool = True) -> Child:
        """Start a visit."""
        more = ["--json"] if json_too else []
        return self.spawn("doctor", [sys.executable, "-m", "telephony", "doctor", *more, *arguments])

    async def visit(self, *arguments: str) -> Told:
        """Make a visit."""
        child = self.doctor(*arguments)
        status = await child.ended(80)
        self.assertIn(status, (0, 1), child.output)
        told = Told(child)
        self.assertEqual(status, 1 if told.of("bad") else 0)
        return told

    def secret(self, text: str) -> str:
        """Write a password to a file; return its name."""
        path = self.directory / "password"
        path.write_text(f"{text}\n")
        return str(path)


class SippTests(DoctorCase):
    """SIPp, whose scenario says what it does."""

    skip = NO_SIPP

    async def patient(self, *, options: str = "200 OK", bye: str = "200 OK", **keys: str) -> tuple[int, Path]:
        """Start SIPp with the patient's scenario; return its port and the log of its messages."""
        assert SIPP is not None
        port = free_port(self.interface)
        log = self.directory / f"doctor-{port}.messages"
        audio = RtpEnd(reactor, 8, 500)
        self.addCleanup(audio.close)
        told = {
            "formats": "8 101",
            "events": EVENTS,
            "to_sendonly": "recvonly",
            "to_inactive": "inactive",
            "audio": str(audio.listen(self.interface)),
            **keys,
        }
        scenario = (HERE / "scenarios" / "doctor.xml").read_text()
        file = self.directory / "doctor.xml"
        file.write_text(scenario.replace("@OPTIONS@", options).replace("@BYE@", bye))
        arguments = [SIPP, "-sf", str(file), "-i", self.interface, "-p", str(port)]
        arguments += ["-mi", self.interface, "-t", "u1", "-nostdin", "-trace_msg", "-message_file", str(log)]
        arguments += [part for name, value in told.items() for part in ("-key", name, value)]
        self.spawn("SIPp doctor", arguments)
        await self.until(lambda: bound("udp", port), "SIPp listens")
        return port, log

    async def test_well(self) -> None:
        """A scenario that does all as it should: nothing is bad, and what is odd is what SIPp doesn't do at all."""
        port, log = await self.patient()
        told = await self.visit(f"sip:3300@127.0.0.1:{port}")
        self.assertEqual(told.of("bad"), set(), told.findings)
        # SIPp copies the Via as it came, has no TCP here and sends no reports; the audio is the test's own, which knows
        # nothing of holds and of the end.
        self.assertEqual(told.of("odd"), {"rport", "tcp", "large messages", "RTCP", *QUIET}, told.findings)
        self.assertIn("it answered: 180 after", told.text("call"))
        self.assertIn("says something of its own", told.text("audio"))
        for check, directions in (("hold", ("sendonly", "recvonly")), ("hold, both ways", ("inactive", "inactive"))):
            text = f"our {directions[0]} is answered with {directions[1]}, but it goes on sending audio"
            self.assertEqual(told.text(check), text)
        self.assertIn("payload type 101", told.text("keys"))
        self.assertEqual(told.text("session timer")[:20], "it agreed to none; a")
        self.assertEqual(told.text("UPDATE"), "its Allow doesn't name UPDATE, so re-INVITE is used")
        wire = Wire(read_sipp(log.read_bytes().decode()))
        words = [one for one in wire.words if "INVITE" in one or "BYE" in one]
        # The call, two holds and their ends, a re-INVITE with an offer and one without.
        self.assertEqual(words.count("< INVITE"), 7, words)
        self.assertEqual(words[-2:], ["< BYE", "> 200 BYE"])

    async def test_ill(self) -> None:
        """OPTIONS refused with 501, holds answered with sendrecv, no telephone-event, INFO refused, BYE with 481."""
        port, _log = await self.patient(
            options="501 Not Implemented",
            formats="8",
            events="a=ptime:20",
            to_sendonly="sendrecv",
            to_inactive="sendrecv",
            bye="481 Call Leg/Transaction Does Not Exist",
        )
        told = await self.visit(f"sip:3300@127.0.0.1:{port}")
        self.assertEqual(told.of("bad"), {"hold", "hold, both ways", "keys"}, told.findings)
        odd = {"rport", "tcp", "large messages", "RTCP", "options", "BYE", "rules"}
        self.assertEqual(told.of("odd"), odd, told.findings)
        # The scenario counts its o= line up at each answer, though nothing changes.
        self.assertIn("but nothing else has changed (RFC 3264 8)", told.text("rules"))
        self.assertIn("it refuses OPTIONS with 501 'Not Implemented'", told.text("options"))
        self.assertIn("it doesn't fill in the rport", told.text("rport"))
        self.assertIn("sendonly is answered with sendrecv, where only recvonly or inactive", told.text("hold"))
        self.assertIn("no telephone-event (RFC 4733), and refuses INFO with 405", told.text("keys"))
        self.assertIn("481", told.text("BYE"))

    async def test_interrupted(self) -> None:
        """Ctrl-C in the middle of the call: SIPp gets its BYE, the status is 130."""
        port, log = await self.patient()
        child = self.doctor(f"sip:3300@127.0.0.1:{port}", json_too=False)
        await self.until(lambda: "In the call" in child.output, "the call is there")
        child.signal("INT")
        self.assertEqual(await child.ended(20), 130, child.output)
        self.assertIn("Interrupted after", child.output)
        self.assertNotIn("Traceback", child.output)
        await self.until(lambda: "< BYE" in Wire(read_sipp(log.read_bytes().decode())).words, "SIPp has its BYE")


class BaresipTests(DoctorCase, BaresipCase):
    """baresip, which says a tone."""

    skip = NO_BARESIP

    async def test_answers(self) -> None:
        """What baresip 1 does: it rings, says its tone, holds as it should, and agrees to telephone events."""
        phone = await self.baresip("100", 700)
        child = self.doctor(f"sip:100@127.0.0.1:{phone.port}")
        await self.until(lambda: "CALL_INCOMING" in phone.control.events, "baresip rings")
        phone.control.command("accept")
        await child.ended(80)
        told = Told(child)
        self.assertIn("CALL_ESTABLISHED", phone.control.events)
        self.assertIn("CALL_CLOSED", phone.control.events)
        self.assertEqual(told.of("bad"), set(), told.findings)
        self.assertIn("it says something of its own", told.text("audio"))
        self.assertIn("recvonly", told.text("hold"))
        self.assertIn("CALL_DTMF_START 5", phone.control.events)
        self.assertEqual(told.outcome("keys"), "good")
        self.assertTrue(phone.hears(400) or len(phone.recorded) > 8000)
        self.assertEqual(told.outcome("BYE"), "good")


class KamailioTests(DoctorCase):
    """Kamailio, a registrar and proxy."""

    skip = NO_KAMAILIO

    async def kamailio(self, algorithm: str) -> tuple[Child, int]:
        """Start Kamailio; return it and its port."""
        assert KAMAILIO is not None
        port = free_port(self.interface)
        directory = self.directory / f"kamailio-{algorithm}"
        directory.mkdir()
        arguments = [KAMAILIO, "-f", str(HERE / "kamailio.cfg"), "-DD", "-E", "-A", f'ALGORITHM="{algorithm}"']
        arguments += ["-m", "16", "-M", "4", "-l", f"udp:127.0.0.1:{port}", "-l", f"tcp:127.0.0.1:{port}"]
        arguments += ["-Y", str(directory), "-w", str(directory), "-P", str(directory / "pid")]
        child = self.spawn("kamailio", arguments)
        await self.until(lambda: bound("udp", port) and bound("tcp", port), "Kamailio listens")
        return child, port

    async def test_registrar(self) -> None:
        """It takes TCP, fills in rport, refuses OPTIONS with 405, and asks for the digest that it is told to."""
        for algorithm in ("MD5", "SHA-256"):
            child, port = await self.kamailio(algorithm)
            password = self.secret("office-secret")
            told = await self.visit(f"sip:127.0.0.1:{port}", "--user", "office", "--password-file", password)
            self.assertEqual(told.of("bad"), set(), told.findings)
            for check in ("udp", "tcp", "rport", "large messages", "register", "wrong password", "sign off"):
                self.assertEqual(told.outcome(check), "good", told.findings[check])
            self.assertIn("it refuses OPTIONS with 405", told.text("options"))
            self.assertEqual(told.text(algorithm.lower()), f"it asks for {algorithm}, and takes our answer")
            self.assertIn("after a 401 for realm carrier.test", told.text("register"))
            self.assertNotIn("office-secret", told.child.output)
            self.assertIn("registered: office", child.output)

    async def test_wrong_password(self) -> None:
        """A wrong password is a sentence, and is shown once."""
        child, port = await self.kamailio("MD5")
        password = self.secret("something-else")
        told = await self.visit(f"sip:127.0.0.1:{port}", "--user", "office", "--password-file", password)
        self.assertEqual(told.of("bad"), {"register"})
        self.assertIn("it refuses office with 401 'Unauthorized': user or password are wrong", told.text("register"))
        self.assertNotIn("registered: office", child.output)


class ServerTests(DoctorCase):
    """Our own server, with a phone that may sign in."""

    async def test_server(self) -> None:
        """All that it is asked for it does, and it signs the phone in and out."""
        config = self.directory / "telephony.toml"
        config.write_text(
            'domains = ["pbx.test", "127.0.0.1"]\n'
            '[[phone]]\nname = "bob"\npassword = "bob-secret"\n'
            f'[media]\ndirectory = "{EXAMPLES / "media"}"\n'
            f'[[service]]\nname = "reception"\nmatch = "3300"\napplication = "{HERE / "applications" / "listens.py"}"\n'
        )
        server = await self.serve("--config", str(config))
        password = self.secret("bob-secret")
        uri = f"sip:3300@127.0.0.1:{server.port}"
        told = await self.visit(uri, "--user", "bob", "--password-file", password)
        self.assertEqual(told.of("bad") | told.of("odd"), set(), told.findings)
        self.assertEqual(told.of("not done"), {"tls", "sha-512-256"}, told.findings)
        self.assertIn("it asks again with stale=true", told.text("old nonce"))
        self.assertIn("90 s agreed", told.text("session timer"))
        self.assertIn("5 s are too few, it wants 60 s or more", told.text("expires"))
        self.assertIn("Phone bob signed in from 127.0.0.1", server.child.output)
        self.assertIn("Phone bob signed out", server.child.output)
        self.assertIn("Phone bob: a wrong password came from 127.0.0.1", server.child.output)
        (record,) = await self.stopped(server)
        self.assertEqual(record["return_code"], 0)
