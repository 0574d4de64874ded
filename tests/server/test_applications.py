"""Application files: which are accepted, which refused, and with what sentence (api.md section 2)."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import Error
from telephony.server.applications import Direction, Style, load_application

from .fakes import write_application

HEAD = '__uas_identify__ = "application"\n__uas_version__ = "2.1"\n'
INBOUND = "channel, application_instance_id, file_man, my_log, application_parameters"


class LoadingTests(SynchronousTestCase):
    """What is an application."""

    def load(self, text: str):
        return load_application(write_application(Path(self.mktemp()), "app.py", text))

    def refused(self, text: str) -> str:
        return str(self.assertRaises(Error, self.load, text))

    def test_inbound(self) -> None:
        """api.md 2: main with five arguments is an inbound application, and plain def runs in a thread."""
        application = self.load(f"{HEAD}def main({INBOUND}): return 0")
        self.assertEqual(application.name, "app")
        self.assertEqual(application.version, "2.1")
        self.assertEqual(application.directions, {Direction.INBOUND})
        self.assertIs(application.style, Style.THREAD)

    def test_outbound(self) -> None:
        """api.md 2: one argument more is an outbound application."""
        application = self.load(f"{HEAD}def main({INBOUND}, outbound_parameters): return 0")
        self.assertEqual(application.directions, {Direction.OUTBOUND})

    def test_both(self) -> None:
        """A main that can take either number of arguments may serve both directions."""
        application = self.load(f"{HEAD}def main({INBOUND}, outbound_parameters=None): return 0")
        self.assertEqual(application.directions, set(Direction))

    def test_styles(self) -> None:
        """api.md 1: async def and functions known to return a Deferred run on the reactor."""
        for text in (
            f"async def main({INBOUND}): return 0",
            f"from twisted.internet.defer import inlineCallbacks\n@inlineCallbacks\ndef main({INBOUND}): yield None",
            f"from twisted.internet.defer import Deferred\ndef main({INBOUND}) -> Deferred: return Deferred()",
            f"from twisted.internet import defer\ndef main({INBOUND}) -> 'defer.Deferred[int]': return None",
        ):
            self.assertIs(self.load(HEAD + text).style, Style.REACTOR, text)

    def test_imports_common_file_beside_it(self) -> None:
        """api.md 2: code that applications share says "common" and is imported by them."""
        directory = Path(self.mktemp())
        write_application(directory, "shared_words.py", '__uas_identify__ = "common"\nWORD = "hello"')
        path = write_application(
            directory, "user.py", f"{HEAD}from shared_words import WORD\ndef main({INBOUND}): pass"
        )
        self.assertEqual(load_application(path).main.__globals__["WORD"], "hello")

    def test_missing(self) -> None:
        """Issue 2, 6: a missing file is named."""
        path = Path(self.mktemp()) / "nowhere.py"
        self.assertIn(f"{path.absolute()} is not there", str(self.assertRaises(Error, load_application, path)))
        path.mkdir(parents=True)
        self.assertIn(f"{path.absolute()} is a directory", str(self.assertRaises(Error, load_application, path)))

    def test_syntax_error(self) -> None:
        """Issue 2, 6: a broken file is named with its line."""
        self.assertIn("app.py, line 3:", self.refused(f"{HEAD}def main(:\n"))

    def test_raises(self) -> None:
        """Issue 2, 6: what a file raises is named with its line, sys.exit() and BaseExceptions included."""
        self.assertIn("app.py, line 4: ZeroDivisionError: division by zero", self.refused(f"{HEAD}\n1 / 0\n"))
        self.assertIn("SystemExit: 3", self.refused(f"{HEAD}raise SystemExit(3)"))
        self.assertIn("line 3: ModuleNotFoundError", self.refused(f"{HEAD}import no_such_module_anywhere"))
        self.assertIn("app.py", self.refused("x = '\0'"))

    def test_not_an_application(self) -> None:
        """api.md 2: identify and version are required, main has its arguments."""
        for text, told in (
            ("x = 1", "has no __uas_identify__"),
            ('__uas_identify__ = "thing"', "'thing'"),
            ('__uas_identify__ = "common"', '"common"'),
            ('__uas_identify__ = "application"', "has no __uas_version__"),
            ('__uas_identify__ = "application"\n__uas_version__ = 1', "__uas_version__ = 1"),
            (HEAD, "has no main()"),
            (f"{HEAD}main = 5", "no function (5)"),
            (f"{HEAD}def main(channel): pass", "takes 1 argument;"),
        ):
            self.assertIn(told, self.refused(text))
