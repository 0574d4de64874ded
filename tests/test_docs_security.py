"""``docs/security.rst``: its configuration is read and means what the page says."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from telephony.call.dialling import DialRules
from telephony.server.config import load_configuration
from telephony.sip import defence
from telephony.sip.defence import Limits
from telephony.sip.uri import TelUri
from tests.server.fakes import write_application
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "security.rst"


class PageTests(SynchronousTestCase):
    def test_configuration(self) -> None:
        """The page's sections are read; its limits are the defaults; its patterns allow and deny what it says."""
        directory = Path(self.mktemp()).absolute()
        write_application(directory, "retrievable_transfer.py")
        (directory / "telephony.toml").write_text("\n".join(blocks(PAGE, r"^\.\. code-block:: toml$")))
        found = load_configuration(directory / "telephony.toml")
        self.assertEqual(found.limits.of_strangers(), Limits())
        (service,) = found.services
        rules = DialRules(service.name, service.allow_dial, service.deny_dial, service.max_outbound)
        self.assertIsNone(rules.refusal(TelUri("+49301234")))
        for number in ("+499001", "+4420", "112"):
            self.assertIsNotNone(rules.refusal(TelUri(number)))

    def test_numbers(self) -> None:
        """What the page says in numbers is so."""
        text = re.sub(r"\s+", " ", PAGE.read_text())
        self.assertIn(f"{defence.MAX_SOURCES:,} sources, friends and bans", text)
        self.assertEqual(defence.MAX_SOURCES, defence.MAX_FRIENDS)
        self.assertEqual(defence.MAX_SOURCES, defence.MAX_BANS)
        self.assertEqual((defence.FRIENDS_RATE, defence.REFUSALS_AT_ONCE, defence.REFUSALS_PER_SECOND), (10, 10, 1))
        self.assertEqual((defence.BURST_SECONDS, defence.TOO_LATE, defence.WINDOW), (5, 0.5, 60))

    def test_counters(self) -> None:
        """Every counter in the table is counted somewhere."""
        code = "".join(path.read_text() for path in (ROOT / "telephony" / "sip").rglob("*.py"))
        named = re.findall(r"^``(\w+)``(?:, ``(\w+)``)?  +\w", PAGE.read_text(), re.MULTILINE)
        names = [name for pair in named for name in pair if name]
        self.assertEqual(len(names), 10)
        for name in names:
            self.assertTrue(f'counters["{name}"] += 1' in code, name)
