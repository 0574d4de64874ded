"""``docs/transfers.rst``: the application is hosted, the configuration is read, the table has every cause."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from twisted.internet.defer import Deferred

from telephony.call.constants import TransferCause
from telephony.server.config import load_configuration
from telephony.testing.case import CallTestCase
from tests.test_docs import ROOT, blocks

PAGE = ROOT / "docs" / "transfers.rst"


class TransfersTests(CallTestCase):
    """What the page says is done."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()

    async def transfer(self, answer: bool) -> str:
        """Host the page's application; what it logs."""
        [text] = blocks(PAGE, r"^\.\. code-block:: py$")
        file = self.directory / "hands_on.py"
        file.write_text(text)
        bob = self.phone("bob", auto_answer=1 if answer else None)
        hosted = self.application(file, parameters=bob.uri, extra_channels=1)
        alice = self.phone("alice")
        alice.dial(hosted.uri)
        if not answer:
            await bob.until("incoming")
            bob.reject(486)
            await bob.until(lambda: len(bob.calls) == 2)
            bob.reject(603)
        self.assertEqual((await hosted.ended()).return_code, 0)
        if answer:
            self.assertIs(bob.calls[1].replaced, bob.calls[0])
            done: Deferred[None] = Deferred()
            self.network.clock.callLater(1, done.callback, None)
            await done
            bob.calls[1].hang_up()
        return hosted.said[0]

    async def test_attended(self) -> None:
        """RFC 5589 7: the second call is answered, and the caller takes our place in it."""
        self.assertRegex(await self.transfer(True), "IDLE NORMAL 0")

    async def test_blind(self) -> None:
        """RFC 5589 6: it isn't, and the caller is sent there without; the refusal is to be read."""
        self.assertRegex(await self.transfer(False), "ANSWERED TARGETREJECT 603")

    def test_configuration(self) -> None:
        """The snippet is a configuration; each cause in the table is one."""
        [text] = blocks(PAGE, r"^\.\. code-block:: toml$")
        shutil.copy(ROOT / "examples" / "retrievable_transfer.py", self.directory)
        path = self.directory / "telephony.toml"
        path.write_text(text)
        self.assertEqual(load_configuration(path).services[0].refer, "follow")
        names = re.findall(r"^([A-Z]+) +(?:IDLE|ANSWERED) ", PAGE.read_text(), re.MULTILINE)
        self.assertEqual(set(names), {one.name for one in TransferCause} - {"NONE"})
