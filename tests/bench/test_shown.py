"""What the bench shows: its table, ``results.json``, the page and the picture."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from docutils.core import publish_doctree
from twisted.trial.unittest import SynchronousTestCase

from bench.figures import Aim, Entry, Measured
from bench.page import BEGIN, END, page
from bench.picture import LEFT, RIGHT, goodness, picture, place
from bench.rows import Contender, Row
from bench.table import Result, as_json, table

ROOT = Path(__file__).resolve().parents[2]


def nobody(_rig: object) -> Measured:
    """Never called."""
    raise AssertionError


def row(*names: str, aims: tuple[Aim, ...] = (), unit: str = "calls/s") -> Row:
    """Return a row."""
    contenders = tuple(Contender(one, nobody) for one in names)
    return Row("answered", "Calls answered", unit, "a sentence", contenders, aims)


def results() -> list[Result]:
    """Return two rows: one with a peer that is there and one that isn't, one that is held to a peer."""
    first = row("project", "sipp", "sippy <&>", aims=(Aim(2500, higher=True),))
    second = row("project", "C relay", aims=(Aim(1.8, higher=False, of="C relay"),), unit="CPU-ms/call-second")
    return [
        Result(
            first,
            (
                Entry("project", (Measured(700), Measured(720), Measured(650))),
                Entry("sipp", (Measured(9000), Measured(9100), Measured(9200))),
                Entry("sippy <&>", absent="sippy is not installed (PyPI: pip install sippy)"),
            ),
            ("a note of `some` *kind*",),
        ),
        Result(second, (Entry("project", (Measured(1.2),)), Entry("C relay", (Measured(0.6),)))),
    ]


ABOUT = {
    "date": "2026-11-22T23:00:00+00:00",
    "commit": "abc",
    "machine": {"processor": "a processor", "cores": 2, "system": "6.1"},
    "versions": {"python": "3.11", "sippy": ""},
}


class TableTests(SynchronousTestCase):
    """The table says everything, and who is absent."""

    def test_table(self) -> None:
        """Medians, ranges, ratios, aims reached and missed; a peer that is absent is named, with the reason."""
        lines = table(results()).splitlines()
        self.assertRegex(lines[2], r"^answered +project +700 calls/s +650 to 720 +≥ 2,500 calls/s +missed$")
        self.assertRegex(lines[3], r"^ +sipp +9,100 calls/s +9,000 to 9,200 +project is 0\.07\d x$")
        self.assertRegex(lines[4], r"^ +sippy <&> +absent +sippy is not installed")
        self.assertRegex(lines[5], r"^answered +project +1\.20 CPU-ms/call-second +one round +≤ 1\.80 x C relay")
        self.assertTrue(lines[5].endswith("missed (2.00)"))
        self.assertEqual(len({line.index("project") for line in (lines[2], lines[5])}), 1)

    def test_json(self) -> None:
        """Everything is in results.json: each round, the machine, the versions."""
        told = json.loads(json.dumps(as_json(results(), ABOUT)))
        first, second = told["rows"]
        self.assertEqual([one["value"] for one in first["contenders"][0]["rounds"]], [700, 720, 650])
        self.assertEqual(first["contenders"][2]["absent"], "sippy is not installed (PyPI: pip install sippy)")
        self.assertEqual(second["aims"], [{"aim": "≤ 1.80 x C relay", "verdict": "missed", "held": 2.0}])
        self.assertEqual(told["machine"]["cores"], 2)


class PictureTests(SynchronousTestCase):
    """The picture is SVG that any reader takes."""

    def test_well_formed(self) -> None:
        """It is XML, small, and has a bar for each who was measured, none for who wasn't."""
        text = picture(as_json(results(), ABOUT))
        self.assertLess(len(text), 20_000)
        root = ElementTree.fromstring(text)
        bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("class")]
        self.assertEqual([one.get("class") for one in bars], ["missed", "peer", "missed", "peer"])
        for one in bars:
            self.assertLessEqual(float(one.get("x", "0")) + float(one.get("width", "0")), RIGHT)

    def test_scale(self) -> None:
        """The better the longer, whichever way better is; beyond the scale a bar ends at its end."""
        self.assertEqual(goodness(5000, "≥ 2,500 calls/s"), 2.0)
        self.assertEqual(goodness(5, "≤ 20 ms"), 4.0)
        self.assertIsNone(goodness(5, "≤ 1.80 x C relay"))
        self.assertEqual([place(0.0001), place(1000)], [LEFT, RIGHT])
        self.assertLess(place(0.5), place(1.0))


class PageTests(SynchronousTestCase):
    """docs/speed.rst: what is between the marks is written by a run, the rest is not touched."""

    def test_results(self) -> None:
        """What docutils makes of it has the figures, no complaint, and the text around it as it was."""
        text = f"Speed\n=====\n\nBefore.\n\n{BEGIN}{END}\nAfter.\n"
        written = page(text, as_json(results(), ABOUT))
        tree = publish_doctree(written, settings_overrides={"report_level": 5, "halt_level": 5})
        self.assertEqual([str(one) for one in tree.findall(lambda node: node.tagname == "system_message")], [])
        shown = tree.astext()
        for word in ("Before.", "After.", "700 calls/s", "absent: sippy is not installed", "missed (2.00)"):
            self.assertIn(word, shown)
        self.assertEqual(page(written, as_json(results(), ABOUT)), written)
        self.assertRaises(ValueError, page, "Speed", as_json(results(), ABOUT))

    def test_committed(self) -> None:
        """The page and the picture are those of the results that are committed."""
        told = json.loads((ROOT / "bench" / "results.json").read_text())
        committed = (ROOT / "docs" / "speed.rst").read_text()
        self.assertEqual(page(committed, told), committed, "run python -m bench --page")
        self.assertEqual(picture(told), (ROOT / "docs" / "speed.svg").read_text(), "run python -m bench --page")
