"""``docs/direct-media.rst``: the application is hosted, the configuration is read, the tables have every reason."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

from telephony.call.direct import Obstacle
from telephony.server.config import load_configuration
from telephony.testing.case import CallTestCase
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "direct-media.rst"


class DirectMediaTests(CallTestCase):
    """What the page says is done."""

    exchange_settings: ClassVar[dict[str, Any]] = {"media": "direct"}

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    async def said(self, **settings: Any) -> list[str]:
        """Host the page's application; what it logs."""
        [text] = blocks(PAGE, r"^\.\. code-block:: py$")
        file = self.directory / "directly.py"
        file.write_text(text)
        bob = self.phone("bob", auto_answer=1, **settings)
        hosted = self.application(file, parameters=bob.uri, extra_channels=1)
        alice = self.phone("alice")
        alice.dial(hosted.uri)
        record = await hosted.ended()
        self.assertEqual(record.return_code, 0)
        self.assertEqual(record.direct_seconds > 0, not settings)
        return hosted.said

    async def test_directly(self) -> None:
        """It is direct a second after the answer, and anchored when it comes back; the record says so too."""
        self.assertEqual(await self.said(), ["direct ", "anchored, was direct for 4 s"])

    async def test_not_directly(self) -> None:
        """A phone with other packets: the reason is one of the table's."""
        self.assertEqual(
            await self.said(ptime=30), [f"anchored {Obstacle.CODECS.value}", "anchored, was direct for 0 s"]
        )

    def test_configuration(self) -> None:
        """The snippet is a configuration."""
        [text] = blocks(PAGE, r"^\.\. code-block:: toml$")
        shutil.copy(ROOT / "examples" / "retrievable_transfer.py", self.directory)
        path = self.directory / "telephony.toml"
        path.write_text(text)
        self.assertEqual(load_configuration(path).services[0].media, "direct")

    def test_reasons(self) -> None:
        """Every reason that there is has a row, and there is none besides."""
        told = []
        for table in re.findall(r"(?ms)^=+ =+\n``Details.*?\n=+ =+\n(.*?)^=+ =+\n", PAGE.read_text()):
            told += [line[:88].strip() for line in table.splitlines() if not line.startswith(" ")]
        self.assertEqual(sorted(told), sorted(one.value for one in Obstacle))
