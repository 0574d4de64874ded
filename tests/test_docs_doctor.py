"""docs/doctor.rst: its program prints what the page says it prints, and its lines and options are real ones."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from telephony.server.config import Configuration
from telephony.server.lines_config import PhoneSection, TrunkSection

from .test_docs import blocks, python_blocks

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "doctor.rst"


class DoctorPageTests(SynchronousTestCase):
    """The page on the doctor."""

    def test_program(self) -> None:
        """The program runs, and prints what the page says."""
        (program,) = python_blocks(PAGE)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(program, str(PAGE), "exec"), {})
        self.assertEqual(out.getvalue(), blocks(PAGE, r"^\.\. code-block:: text$")[-1])

    def test_lines(self) -> None:
        """The lines that the page shows are in the doctor's sources, word for word."""
        sources = "".join(path.read_text() for path in (ROOT / "telephony" / "doctor").glob("*.py"))
        shown = blocks(PAGE, r"^\.\. code-block:: text$")[0]
        for words in ("no telephone-event (RFC 4733), and", "keys go as tones only", "Tones need G.711 all the way"):
            self.assertIn(words, " ".join(shown.split()))
            self.assertIn(words, sources)

    def test_keys(self) -> None:
        """Every key of telephony.toml that advice names is one."""
        sections = {name.name for name in Configuration.__attrs_attrs__}
        keys = {f"trunk.{one.name}" for one in TrunkSection.__attrs_attrs__}
        keys |= {f"phone.{one.name}" for one in PhoneSection.__attrs_attrs__}
        for section in attrs.fields(attrs.resolve_types(Configuration)):
            for one in getattr(section.type, "__attrs_attrs__", ()):
                keys.add(f"{section.name}.{one.name}")
        self.assertTrue({"sip", "rtp", "tls", "limits"} <= sections)
        named = set()
        for path in (ROOT / "telephony" / "doctor").glob("*.py"):
            named |= set(re.findall(r"\b(?:sip|rtp|tls|limits|trunk|phone|media)\.[a-z_]+\b", _texts(path.read_text())))
        self.assertEqual(named - keys, set())
        self.assertGreater(len(named), 10)


def _texts(source: str) -> str:
    """Return the advice of a module: what it says to people, without its code and docstrings."""
    found = re.findall(r'advice ?\+?= ?\(?f?"([^"]*)"', source) + re.findall(
        r'^    \d{3}: "([^"]*)"', source, re.MULTILINE
    )
    return "\n".join(found)
