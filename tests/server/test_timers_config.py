"""The keys of session timers and of the media timer (``transfer.md`` R23, R32), as far as the calls they are for."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from telephony.server.config import Configuration, ConfigurationError, load_configuration
from telephony.server.service import exchange_for
from telephony.testing.network import SimulatedNetwork

SERVICES = """
[[service]]
name = "usual"
match = "1"
application = "app.py"
[[service]]
name = "quiet"
match = "2"
application = "app.py"
media_seconds = 0
[[service]]
name = "patient"
match = "3"
application = "app.py"
media_seconds = 600
"""
APPLICATION = '__uas_identify__ = "application"\n__uas_version__ = "1"\nasync def main(channel, *details):\n    pass\n'


class TimerKeyTests(SynchronousTestCase):
    """R23 and R32: what may be said, and who is told."""

    def load(self, text: str) -> Configuration:
        """Load a configuration."""
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "app.py").write_text(APPLICATION)
        path = directory / "telephony.toml"
        path.write_text(text)
        return load_configuration(path)

    def test_defaults(self) -> None:
        """RFC 4028 4 recommends 1800 s; R32: 30 s, off per service."""
        found = self.load(SERVICES)
        self.assertEqual((found.sip.session_expires, found.sip.min_se, found.limits.media_seconds), (1800, 90, 30))
        self.assertEqual([found.media_timeout(one) for one in found.services], [30, None, 600])

    def test_off(self) -> None:
        """0 turns either of them off; the exchange is told."""
        found = self.load("[sip]\nsession_expires = 0\n[limits]\nmedia_seconds = 0\n" + SERVICES)
        exchange = exchange_for(SimulatedNetwork(1).host("10.0.0.1"), found)
        self.assertEqual((exchange.user_agent.session_expires, exchange.media_timeout), (0, None))
        self.assertEqual([found.media_timeout(one) for one in found.services], [None, None, 600])

    def test_told(self) -> None:
        """The exchange of a server has what the file says."""
        found = self.load("[sip]\nsession_expires = 600\nmin_se = 120\n[limits]\nmedia_seconds = 12.5\n")
        exchange = exchange_for(SimulatedNetwork(1).host("10.0.0.1"), found)
        told = exchange.user_agent.session_expires, exchange.user_agent.min_se, exchange.media_timeout
        self.assertEqual(told, (600, 120, 12.5))

    def test_reliable_early_media(self) -> None:
        """RFC 3262: on unless the file says otherwise; the exchange is told; nothing but true and false."""
        for text, told in (("", True), ("[sip]\nreliable_early_media = false\n", False)):
            exchange = exchange_for(SimulatedNetwork(1).host("10.0.0.1"), self.load(text))
            self.assertIs(exchange.reliable_early_media, told)
        error = self.assertRaises(ConfigurationError, self.load, "[sip]\nreliable_early_media = 1\n")
        self.assertEqual([one.where for one in error.problems], ["sip.reliable_early_media"])

    def test_mistakes(self) -> None:
        """Every mistake at once, by its key; RFC 4028 4 and 5: nothing is below 90 s."""
        text = "[sip]\nsession_expires = 60\nmin_se = 0\n[limits]\nmedia_seconds = 1\n"
        error = self.assertRaises(ConfigurationError, self.load, text)
        self.assertEqual(
            {one.where for one in error.problems}, {"sip.session_expires", "sip.min_se", "limits.media_seconds"}
        )
        self.assertIn("0: none is asked for", str(error))
