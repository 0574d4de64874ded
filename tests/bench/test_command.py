"""``python -m bench``: its options, who is absent, and one run of almost nothing, with the real load."""

from __future__ import annotations

import json
from pathlib import Path
from unittest.mock import patch

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from bench import messages, overload, soak
from bench.__main__ import Progress, choose, known_rates, main, measure
from bench.figures import Measured
from bench.load import Load
from bench.peers import floor, rtpengine, sippy
from bench.processes import Broken, Workshop, cores
from bench.rows import Contender, Rig, Row, all_rows, hold


def measured(value: float) -> Contender:
    """Return a project that has always the same figure."""
    return Contender("project", lambda _rig: Measured(value))


def rig() -> Rig:
    """Return a rig that rows which need nothing are measured with."""
    return Rig(None, lambda _text: None)  # type: ignore[arg-type]


class CommandTests(SynchronousTestCase):
    """The command line."""

    def test_list(self) -> None:
        """--list names every row of the issue's table and who is measured in it."""
        done = CliRunner().invoke(main, ["--list"])
        self.assertEqual(done.exit_code, 0, done.output)
        names = [line.split()[0] for line in done.output.splitlines()]
        self.assertEqual(names, [row.name for row in all_rows()])
        wanted = "answered-async answered-blocking transferred relay play tone record join parse build memory marginal"
        self.assertLessEqual({*wanted.split(), "first-packet", "turns", "hold"}, set(names))
        for peer in ("sipp", "sippy", "floor", "kamailio (proxy)", "rtpengine", "C relay"):
            self.assertIn(peer, done.output)

    def test_unknown_row(self) -> None:
        """A row that isn't there is named, with those that are."""
        done = CliRunner().invoke(main, ["--rows", "relay,rellay"])
        self.assertEqual(done.exit_code, 2)
        self.assertIn("there is no row 'rellay'; rows are: answered-async,", " ".join(done.output.split()))

    def test_choose(self) -> None:
        """Rows are measured in their own order, however they are asked for."""
        self.assertEqual([row.name for row in choose("turns, relay")], ["relay", "turns"])

    def test_every_aim_can_be_drawn(self) -> None:
        """Each row has a name of its own, and the project is the first in it."""
        rows = all_rows()
        self.assertEqual(len({row.name for row in rows}), len(rows))
        for row in rows:
            self.assertEqual(row.contenders[0].name, "project", row.name)
            for aim in row.aims:
                self.assertTrue(not aim.of or any(one.name == aim.of for one in row.contenders), row.name)

    def test_earlier_rates(self) -> None:
        """A search begins near what an earlier run found; without one, or with a broken file, where the row says."""
        path = Path(self.mktemp())
        self.assertEqual(known_rates(path), {})
        path.write_text("{")
        self.assertEqual(known_rates(path), {})
        contenders = [{"who": "project", "median": 1000.0}, {"who": "sipp", "absent": "left out"}]
        path.write_text(json.dumps({"rows": [{"name": "a", "unit": "calls/s", "contenders": contenders}]}))
        self.assertEqual(known_rates(path), {"a/project": 900.0})


class AbsentTests(SynchronousTestCase):
    """Who can't be measured is named as absent, and is no error."""

    def row(self, *others: Contender) -> Row:
        """Return a row of the project and others."""
        return Row("r", "R", "ms", "", (measured(5.0), *others))

    def test_not_installed(self) -> None:
        """A peer that isn't installed is absent for the reason it gives; the project is measured all the same."""
        with patch("bench.peers.rtpengine.find", return_value=None):
            peer = Contender("rtpengine", lambda _rig: self.fail("measured"), rtpengine.absent)
            result = measure(self.row(peer), rig(), 3, None, Progress(1), 1)
        self.assertEqual(len(result.project.rounds), 3)
        self.assertEqual(result.entries[1].absent, "rtpengine is not installed (Debian: rtpengine-daemon)")

    def test_sippy_elsewhere(self) -> None:
        """Sippy is said to be missing where neither Python has it."""
        with patch("bench.peers.sippy.python", return_value=None):
            self.assertIn("pip install sippy", sippy.absent())

    def test_breaks(self) -> None:
        """A peer that breaks is absent from then on, with what happened; rounds before it count."""
        rounds = iter([Measured(1.0)])

        def once(_rig: Rig) -> Measured:
            try:
                return next(rounds)
            except StopIteration:
                raise Broken("it has ended by itself, status 1") from None

        result = measure(self.row(Contender("peer", once)), rig(), 3, None, Progress(1), 1)
        self.assertEqual(len(result.entries[1].rounds), 1)
        self.assertEqual(result.notes, ("r, peer: it has ended by itself, status 1",))

    def test_left_out(self) -> None:
        """--peers none measures the project alone."""
        result = measure(self.row(Contender("peer", lambda _rig: self.fail("measured"))), rig(), 1, [], Progress(1), 1)
        self.assertEqual(result.entries[1].absent, "left out (--peers)")


class BencodeTests(SynchronousTestCase):
    """BEP 3, as far as rtpengine's ng protocol needs it."""

    def test_both_ways(self) -> None:
        """Texts, numbers, lists and dictionaries come back as they were; keys are in order."""
        value = {"sdp": "v=0\r\n", "flags": ["a", "b"], "n": -3, "d": {}}
        data = rtpengine.encode(value)
        self.assertEqual(data, b"d1:dde5:flagsl1:a1:be1:ni-3e3:sdp5:v=0\r\ne")
        self.assertEqual(rtpengine.decode(data), value)

    def test_broken(self) -> None:
        """What is cut off or goes on is refused."""
        for data in (b"5:abc", b"3:abcd", b"x", b""):
            self.assertRaises(ValueError, rtpengine.decode, data)


class MessageTests(SynchronousTestCase):
    """The messages of the rows ``parse`` and ``build``."""

    def test_distinct_and_read(self) -> None:
        """Each is of 1,125 bytes, unlike any other, read as written; malformed ones raise."""
        made = [messages.invite(number) for number in range(501)]
        self.assertEqual({len(one) for one in made}, {messages.SIZE})
        self.assertEqual(len(set(made)), 501)
        messages.check_reading(made)

    def test_malformed(self) -> None:
        """Each kind of malformed message differs from a good one."""
        for kind in range(5):
            self.assertNotEqual(messages.malformed(messages.invite(1), kind), messages.invite(1))


class HoldTests(SynchronousTestCase):
    """How many calls are held for an hour (row ``hold``): 5,000 where that fits into its time."""

    def test_fitting(self) -> None:
        """As many as fit by what fifty calls took, in hundreds; never more than are wanted, nor below a hundred."""
        self.assertEqual(hold.fitting(5000, 0.1), 5000)
        self.assertEqual(hold.fitting(5000, 5.0), 500)
        self.assertEqual(hold.fitting(5000, 500.0), 100)


class JudgementTests(SynchronousTestCase):
    """What soak and overload call wrong (issue 5, "What it must show", 4 and 5)."""

    def soaked(self, **changed: object) -> soak.Soaked:
        """Return a soak of half an hour in which nothing is wrong, but for what is changed."""
        fine = {
            "minutes": 30.0,
            "resident_kib": [90_000.0, *[95_000.0] * 30],
            "placed": 36_000,
            "completed": 36_000,
            "failures": 0,
            "retransmissions": 0,
            "audio_heard": 9_000_000,
            "audio_lost": 0,
            "late_ticks": 100,
            "skipped_turns": 0,
            "descriptors": (20, 20),
            "kept_open": 400,
            "left": {"channels": 0, "port_pairs": 0},
            "faults": 0,
        }
        return soak.Soaked(**{**fine, **changed})  # type: ignore[arg-type]

    def test_soak(self) -> None:
        """Memory that grows after the tenth minute, loss, late ticks and whatever is left are each wrong."""
        self.assertEqual(soak.judge(self.soaked()), [])
        growing = [90_000.0 + 1000 * minute for minute in range(31)]
        for changed, word in (
            ({"resident_kib": growing}, "memory grew by 20000 KiB"),
            ({"failures": 2}, "2 of 36000 calls failed"),
            ({"retransmissions": 1}, "sent twice"),
            ({"audio_lost": 3}, "3 of 9000003 packets were lost"),
            ({"late_ticks": 400}, "0.11 % of ticks"),
            ({"descriptors": (20, 22)}, "22 descriptors"),
            ({"left": {"channels": 1}}, "1 channels are left"),
            ({"faults": 1}, "1 faults"),
        ):
            (wrong,) = soak.judge(self.soaked(**changed))
            self.assertIn(word, wrong)
            self.assertIn("WRONG", soak.report(self.soaked(**changed), [wrong]))

    def test_overload(self) -> None:
        """Less than 80 % of the capacity, and calls that are neither completed nor refused with 503, are wrong."""
        fine = overload.Overloaded(
            capacity=1000.0,
            asked=3000.0,
            completed_per_second=801.0,
            refused_per_second=2199.0,
            lost=0,
            placed=45_000,
            other_status=0,
            answer_p99_ms=100.0,
            after=1.0,
        )
        self.assertEqual(overload.judge(fine), [])
        for changed, word in (
            ({"completed_per_second": 799.0}, "80 % of its capacity"),
            ({"lost": 5}, "5 of 45000 calls"),
            ({"other_status": 480}, "480 in place of 503"),
            ({"after": 0.99}, "only 99.0 %"),
        ):
            (wrong,) = overload.judge(overload.attrs.evolve(fine, **changed))  # type: ignore[arg-type]
            self.assertIn(word, wrong)


class LoadTests(SynchronousTestCase):
    """The load generator in C against the floor, over loopback: half a second."""

    def test_calls(self) -> None:
        """Each call rings, is answered, acknowledged and ended; nothing fails, nothing is sent twice."""
        workshop = Workshop()
        self.addCleanup(workshop.close)
        measured_core, load_core = cores()
        load = Load(workshop, load_core)
        self.addCleanup(load.close)
        with floor.floor(workshop, measured_core, load.target_port) as running:
            load.towards(running.port)
            done = load.calls("3300", 40.0, 0.5, hold=0.05)
            self.assertGreater(running.cpu_seconds(), 0.0)
        self.assertEqual((done.failures, done.completed), (0, 20), done.figures)
        self.assertEqual((done.figures["no_ringing"], done.figures["answered"]), (0, 20))

    def test_floor_answers(self) -> None:
        """The floor's answers are made of the request's own lines, with a tag where there was none."""
        invite = b"INVITE sip:a SIP/2.0\r\nVia: v\r\nFrom: f\r\nTo: t\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\nX: y\r\n\r\n"
        ringing, ok = floor.answers(invite, b"Contact: c\r\n")
        self.assertTrue(ringing.startswith(b"SIP/2.0 180 Ringing\r\nVia: v\r\nFrom: f\r\nTo: t;tag=floor\r\n"))
        self.assertIn(b"\r\nContact: c\r\n", ok)
        self.assertNotIn(b"X: y", ok)
        self.assertEqual(floor.answers(b"ACK sip:a SIP/2.0\r\n\r\n", b""), [])
