"""``docs/trunks-and-phones.rst``: its configuration is read and put to work, its application is called."""

from __future__ import annotations

import os
import re
from pathlib import Path

from telephony.server.config import load_configuration
from telephony.server.switchboard import Switchboard
from telephony.sip.registration import REFUSED_PAUSE
from telephony.testing.case import CallTestCase
from telephony.testing.threads import SimulatedRunner
from tests.test_docs import ROOT, blocks

CARRIER = "10.0.9.1"
PAGE = ROOT / "docs" / "trunks-and-phones.rst"


class PageTests(CallTestCase):
    """What the page says is done."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(os, "environ", {**os.environ, "CARRIER_PASSWORD": "sesame"})
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        [toml] = blocks(PAGE, r"^\.\. code-block:: toml$")
        [application] = blocks(PAGE, r"^\.\. code-block:: py$")
        (directory / "retrievable_transfer.py").write_text(application)
        # The kit's registrar goes by its address.
        (directory / "telephony.toml").write_text(toml.replace("sip.carrier.example", CARRIER))
        self.configuration = load_configuration(directory / "telephony.toml")

    def test_configuration(self) -> None:
        """Each key means what stands beside it."""
        carrier, office = self.configuration.trunks
        assert carrier.account is not None
        self.assertEqual((carrier.account.user, carrier.account.password), ("4930123450", "sesame"))
        self.assertTrue(carrier.register)
        self.assertEqual([str(one) for one in office.addresses], ["10.0.1.2/32", "10.0.3.0/24"])
        self.assertEqual([one.name for one in self.configuration.phones], ["bob"])
        self.assertFalse(self.configuration.open)
        self.assertNotIn("sesame", repr(self.configuration))
        self.assertNotIn("correct horse", repr(self.configuration))

    async def test_application(self) -> None:
        """Bob signs in and calls; the number he wants is dialled through the carrier; a call from the office is not."""
        runner = SimulatedRunner(self.network.clock)
        self.addCleanup(runner.close)
        board = Switchboard(self.configuration, self.exchange, runner)
        desk = self.phone("desk", auto_answer=0.1)
        carrier = self.network.registrar(CARRIER, {"4930123450": "sesame"}, routes={"*": desk.uri})
        board.start()
        self.assertEqual(desk.address[0], "10.0.1.1")
        office = self.phone("office")
        bob = self.phone("bob")
        self.network.names["pbx.example.com"] = ["10.0.0.1"]
        self.assertEqual(await bob.register("sip:10.0.0.1", "correct horse battery staple"), 404)  # another domain
        self.assertEqual(await bob.register("sip:pbx.example.com", "correct horse battery staple"), 200)
        bob.dial(self.uri("3300"))
        await desk.until("answered")
        self.assertEqual(desk.call.invite.from_.uri, f"sip:4711@{CARRIER}")
        self.assertEqual(desk.call.invite.parsed_uri.user, desk.name)  # type: ignore[union-attr]
        await bob.until("ended")
        office.dial(self.uri("3300"))
        await office.until("ended")
        self.assertEqual(office.call.status, 603)
        await bob.unregister()
        board.lines.stop()
        await self.moment(self.network.clock.seconds() + 1)
        await carrier.close()

    def test_numbers(self) -> None:
        """The times and numbers in the text are those of the code."""
        text = re.sub(r"\s+", " ", PAGE.read_text())
        self.assertIn("trying again in 900 s", text)
        self.assertEqual(REFUSED_PAUSE, 900)
