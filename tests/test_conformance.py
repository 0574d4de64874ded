"""docs/conformance.rst says what the sources say, and they say enough."""

from __future__ import annotations

import runpy
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

DOCS = Path(__file__).resolve().parent.parent / "docs"


class ConformanceTests(SynchronousTestCase):
    """The page that lists RFCs, sections, modules and tests."""

    def setUp(self) -> None:
        """Run the script, without writing."""
        self.made = runpy.run_path(str(DOCS / "make_conformance.py"))

    def test_up_to_date(self) -> None:
        """What is committed is what docs/make_conformance.py reads in the code and its tests."""
        for name, text in self.made["page"]().items():
            path = DOCS / name
            self.assertTrue(path.exists() and path.read_text() == text, f"{name}: run python docs/make_conformance.py")

    def test_nothing_promised_is_missing(self) -> None:
        """Every RFC that the project promises has a test, and every section that a test names has a module."""
        self.assertEqual(self.made["gaps"](), [])

    def test_citations(self) -> None:
        """What counts as a section: numbers with dots, small whole numbers, appendices; no statuses, no years."""
        citations = self.made["citations"]
        cases = {
            "RFC 3261 18.2.1, 18.2.2: so": [("3261", "18.2.1"), ("3261", "18.2.2")],
            "RFC 3264 section 8.4 and 6.1": [("3264", "8.4"), ("3264", "6.1")],
            "RFC 3550 A.8, 6.3": [("3550", "A.8"), ("3550", "6.3")],
            "RFC 3261, 200 is sent": [("3261", "")],
            "RFC 4028 90 seconds": [("4028", "")],
            "RFC 3262; RFC 6337 3": [("3262", ""), ("6337", "3")],
        }
        for text, wanted in cases.items():
            self.assertEqual(list(citations(text)), wanted, text)
