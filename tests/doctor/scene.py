"""A doctor and its patients in the simulated network."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.doctor.asked import read_asked
from telephony.doctor.examination import Examination
from telephony.doctor.findings import Finding, Outcome, Report
from telephony.testing.network import SimulatedNetwork
from telephony.testing.phone import Phone
from telephony.testing.registrar import Registrar
from telephony.testing.sounds import tone

PEER = "10.0.1.2"
DOCTOR = "10.0.9.1"


class DoctorCase(SynchronousTestCase):
    """A network with a doctor's host in it."""

    def setUp(self) -> None:
        self.network = SimulatedNetwork(7)
        self.host = self.network.host(DOCTOR, name="doctor")
        self.peers: list[Phone | Registrar] = []

    def phone(self, **settings: Any) -> Phone:
        """Return a phone that rings, answers after half a second, and speaks."""
        settings = {"auto_ring": True, "auto_answer": 0.5, **settings}
        made = Phone(self.network.host(PEER), (PEER, 5060), "bob", **settings)
        made.says(tone(700))
        self.peers.append(made)
        return made

    def examination(self, target: str = f"sip:bob@{PEER}", **asked: Any) -> Examination:
        """Return a visit that has not begun."""
        return Examination(self.host, read_asked(target, **asked))

    def visit(self, target: str = f"sip:bob@{PEER}", **asked: Any) -> Report:
        """Make a visit; afterwards nothing of the doctor's may be left in the network."""
        return self.carried_out(self.examination(target, **asked))

    def carried_out(self, examination: Examination) -> Report:
        """Let a visit go on to its end."""
        report: Report = self.network.run_until(examination.run())
        self.network.advance(0.1)
        left = [line for line in self.network.leftovers() if DOCTOR in line or "doctor" in line]
        self.assertEqual(left, [])
        return report

    def tearDown(self) -> None:
        for one in self.peers:
            self.network.run_until(one.close())
        self.network.advance(60)
        self.assertEqual(self.network.leftovers(), [])

    def finding(self, report: Report, check: str) -> Finding:
        """Return what one check has found."""
        found = [one for one in report.findings if one.check == check]
        self.assertEqual(len(found), 1, f"{check}: {[(one.check, one.text) for one in report.findings]}")
        return found[0]

    def wrong(self, report: Report) -> list[tuple[str, Outcome]]:
        """Return which checks have found something, and how bad it is."""
        return [(one.check, one.outcome) for one in report.findings if one.outcome in (Outcome.ODD, Outcome.BAD)]
