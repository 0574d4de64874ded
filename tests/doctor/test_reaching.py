"""Issue 3, "Doctor": resolution, TLS, NAT (RFC 3263, RFC 5922, RFC 3581), and what a person may type wrongly."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from telephony.cli import main
from telephony.doctor.examination import Examination
from telephony.doctor.findings import Finding, Outcome
from telephony.doctor.hearing import find_echo, stream_of, sweep
from telephony.doctor.screen import Screen
from telephony.interfaces import Naptr, Srv
from telephony.rtp.packet import HEADER
from telephony.sip.transport.tls import TlsIdentity
from telephony.testing.audio import Heard
from telephony.testing.certificates import authority, identity, issue

from .scene import PEER, DoctorCase


class ResolutionTests(DoctorCase):
    """RFC 3263, as a server of ours does it."""

    def test_srv(self) -> None:
        """4.1, 4.2: what is found is told, and the call goes to where the records say."""
        self.network.dns("pbx.test", "NAPTR", Naptr(10, 10, "s", "SIP+D2U", "_sip._udp.pbx.test"))
        self.network.dns("_sip._udp.pbx.test", "SRV", Srv(10, 10, 5060, "node.pbx.test"))
        self.network.dns("node.pbx.test", "A", PEER)
        phone = self.phone()
        report = self.visit("sip:bob@pbx.test")
        found = self.finding(report, "resolution")
        self.assertEqual(found.text, "pbx.test is 10.0.1.2 port 5060 over UDP, by NAPTR and SRV _sip._udp.pbx.test")
        self.assertEqual(self.wrong(report), [])
        self.assertEqual([one.uri for one in phone.got("INVITE")][:1], ["sip:bob@pbx.test"])  # type: ignore[attr-defined]

    def test_unknown_host(self) -> None:
        """A name that leads nowhere is one sentence, and nothing else is looked at."""
        report = self.visit("sip:bob@nowhere.test")
        found = self.finding(report, "resolution")
        self.assertEqual((found.outcome, found.text), (Outcome.BAD, "no such host name: nowhere.test"))
        self.assertEqual([one.outcome for one in report.findings[1:]], [Outcome.NOT_DONE])
        self.assertEqual(report.status, 1)

    def test_refused_port(self) -> None:
        """A port where nobody listens is a sentence for each transport, with a hint."""
        self.network.host(PEER)
        report = self.visit(f"sip:bob@{PEER}:5999")
        self.assertEqual(self.finding(report, "udp").text, f"nothing answers at {PEER} port 5999 within 5 s")
        self.assertIn("Is the port right", self.finding(report, "udp").advice)
        self.assertIn("it is refused", self.finding(report, "tcp").text)
        self.assertEqual(report.status, 1)

    def test_nat(self) -> None:
        """RFC 3581: a NAT in between is seen by what the peer sees, and what to set is said."""
        self.phone()
        self.host = self.network.nat("203.0.113.1").host("192.168.1.7")
        examination = self.examination(calls=False)
        report = self.network.run_until(examination.run())
        found = self.finding(report, "rport")
        self.assertIn("there is a NAT between us: it sees us as 203.0.113.1 port", found.text)
        self.assertIn('sip.advertise = "203.0.113.1"', found.advice)


class TlsTests(DoctorCase):
    """RFC 5922, as a server of ours does it."""

    def look(self, target: str, **asked: object) -> Finding:
        """Return what is found of TLS, with the tests' authority believed."""
        path = Path(self.mktemp())
        path.write_bytes(authority().certificate)
        return self.finding(self.visit(target, authorities=path, calls=False, **asked), "tls")

    def test_believed(self) -> None:
        """A certificate that is believed and speaks for the name is told of, and SIP answers behind it."""
        self.phone(tls=identity(PEER))
        found = self.look(f"sips:bob@{PEER}:5061")
        self.assertEqual(found.outcome, Outcome.GOOD, found)
        self.assertIn(
            f"its certificate speaks for {PEER}, is signed by The tests' authority and good until", found.text
        )

    def test_other_name(self) -> None:
        """A certificate for somebody else."""
        self.phone(tls=identity("other.test"))
        found = self.look(f"sips:bob@{PEER}:5061")
        self.assertEqual(found.outcome, Outcome.BAD, found)
        self.assertIn(f"speaks for no address, not for {PEER}", found.text)

    def test_not_believed(self) -> None:
        """A certificate that it has signed itself."""
        own = issue(PEER)
        self.phone(tls=TlsIdentity(certificate=own.certificate, key=own.key))
        found = self.look(f"sips:bob@{PEER}:5061")
        self.assertEqual(found.outcome, Outcome.BAD, found)
        self.assertIn("a server of ours would end it: its certificate", found.text)
        self.assertIn("tls.authorities", found.advice)

    def test_call(self) -> None:
        """A sips: call is made over TLS with SRTP, and all of it is good."""
        path = Path(self.mktemp())
        path.write_bytes(authority().certificate)
        self.phone(tls=identity(PEER), srtp="AES_CM_128_HMAC_SHA1_80")
        report = self.visit(f"sips:bob@{PEER}:5061", authorities=path)
        self.assertEqual(self.wrong(report), [])
        self.assertIn("secured by SRTP", self.finding(report, "codecs").text)


def invoke(*arguments: str, **more: object) -> Result:
    """Run the command in this process; what it is asked for is never so right that it would start."""
    return CliRunner().invoke(main, ["doctor", *arguments], **more)  # type: ignore[arg-type]


class BadInputTests(SynchronousTestCase):
    """Issue 3: one sentence each, no traceback, status 2, nothing sent."""

    def test_sentences(self) -> None:
        """What can't be used is named, with what can."""
        for arguments, words in (
            (["bob"], "the target 'bob' is no SIP URI; allowed: a URI like"),
            (["tel:+4930123"], "is no SIP URI"),
            (["sip:"], "is no SIP URI"),
            (["sip:bob@host;transport=sctp"], "transport 'sctp' is not spoken here; allowed: udp, tcp, tls"),
            (["sips:bob@host", "--transport", "udp"], "a sips: URI can't go over UDP"),
            (["sip:bob@host", "--timeout", "0"], "--timeout 0 is not allowed; allowed: 1 to 60 seconds"),
            (["sip:bob@host", "--listen", "here"], "'here' is no IP address"),
            (["sip:bob@host", "--also", "there"], "'there' is no IP address"),
            (["sip:bob@host", "--password", "secret-1"], "there is a password and no user"),
            (["sip:bob@host", "--user", "a b", "--password", "secret-1"], "can't be the user part"),
            (["sip:bob@host", "--user", "a", "--password-file", "/no/such"], "/no/such can't be read"),
            (["sip:bob@host", "--user", "a", "--password-env", "NO_SUCH_X"], "'NO_SUCH_X' is not set, or empty"),
            (["sip:bob@host", "--authorities", "/no/such.pem"], "/no/such.pem can't be read"),
            (["sip:bob@host", "--from", "me"], "--from 'me' is no SIP URI"),
        ):
            done = invoke(*arguments)
            self.assertEqual((done.exit_code, done.stdout), (2, ""), arguments)
            self.assertIn(words, done.stderr)
            self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
            self.assertNotIn("secret-1", done.stderr)

    def test_two_passwords(self) -> None:
        """Two places of a password are one too many."""
        done = invoke("sip:a@b", "--user", "a", "--password", "x", "--password-env", "Y")
        self.assertEqual(done.exit_code, 2)
        self.assertIn("give one of --password", done.stderr)

    def test_asked_for(self) -> None:
        """Without an option the password is asked for, and not shown; an empty input ends it."""
        done = invoke("sip:a@b", "--user", "a", input="")
        self.assertEqual(done.exit_code, 1)
        self.assertIn("Password of a", done.output)

    def test_environment(self) -> None:
        """The variable's value is no part of anything that is said."""
        self.patch(os, "environ", {**os.environ, "DOCTORS_TEST": "secret-2"})
        done = invoke("not-a-uri", "--user", "a", "--password-env", "DOCTORS_TEST")
        self.assertNotIn("secret-2", done.output)


class HearingTests(SynchronousTestCase):
    """Correlation, and how RTP came (RFC 3550 6.4.1, A.8)."""

    def test_echo(self) -> None:
        """A delay and a gain are found again, also within noise; without our sound there is none."""
        sent = sweep()
        noise = np.random.default_rng(1).normal(0, 300, 24_000)
        for delay, gain in ((0, 0.0), (800, -6.0), (12_345, -20.0)):
            heard = noise.copy()
            heard[delay : delay + len(sent)] += sent * 10 ** (gain / 20)
            found = find_echo(sent, heard.astype(np.int16))
            assert found is not None
            self.assertAlmostEqual(found.latency, delay / 8000, places=3)
            self.assertLess(abs(found.gain - gain), 0.5)
        self.assertIsNone(find_echo(sent, noise.astype(np.int16)))
        self.assertIsNone(find_echo(sent, np.zeros(24_000, np.int16)))
        self.assertIsNone(find_echo(sent, np.zeros(0, np.int16)))

    def test_stream(self) -> None:
        """Losses, pauses, sources are counted; sequence numbers may turn over; what is no RTP is left out."""

        def packet(number: int, time: float, ssrc: int = 1) -> Heard:
            return Heard(
                time, ("192.0.2.1", 4000), HEADER.pack(0x80, 8, number & 0xFFFF, number * 160, ssrc) + bytes(160)
            )

        whole = [packet(65_530 + i, i * 0.02) for i in range(50)]
        told = stream_of(whole)
        self.assertEqual((told.packets, told.expected, told.lost, told.gaps, told.sources), (50, 50, 0, 0, 1))
        self.assertLess(told.jitter, 0.001)
        told = stream_of([*whole[:10], *whole[20:], Heard(9.0, ("192.0.2.1", 4000), b"no")])
        self.assertEqual((told.lost, told.gaps), (10, 1))
        self.assertAlmostEqual(told.longest, 0.22)
        self.assertEqual(stream_of([*whole, packet(1, 1.0, ssrc=2)]).sources, 2)
        self.assertEqual(stream_of([]).packets, 0)


class ScreenTests(DoctorCase):
    """What a person sees."""

    def shown(self, *, live: bool) -> str:
        """Return what is written of a visit."""
        import io

        stream = io.StringIO()
        screen = Screen(stream, live=live, width=80)
        self.phone()
        examination: Examination = self.examination(calls=False)
        screen.opening("sip:bob@10.0.1.2")
        examination.titled, examination.begun, examination.found = screen.titled, screen.begun, screen.found
        screen.closing(self.carried_out(examination))
        return stream.getvalue()

    def test_plain(self) -> None:
        """Into a file: plain lines of a width that fits, no codes of a terminal, the verdict last."""
        text = self.shown(live=False)
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\r", text)
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertIn("\n  good      udp                      10.0.1.2 port 5060 answers in 10 ms.\n", text)
        self.assertRegex(text.splitlines()[-1], r"^\d+ good, \d+ not done, in \d+ s\.$")

    def test_live(self) -> None:
        """On a terminal the check that is under way is shown, and replaced by its finding."""
        text = self.shown(live=True)
        self.assertIn("...", text)
        self.assertIn("\r\x1b[K", text)
