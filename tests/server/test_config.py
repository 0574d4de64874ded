"""telephony.toml: every mistake at once, with its path and what is allowed (api.md section 7)."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from telephony.server.config import Configuration, ConfigurationError, configuration_of, load_configuration
from telephony.testing.certificates import issue

from .fakes import write_application

SERVICE = '[[service]]\nname = "one"\nmatch = "3300"\napplication = "app.py"\n'


class ConfigurationCase(SynchronousTestCase):
    """A directory with an application in it."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        write_application(self.directory)

    def load(self, text: str, public: bool = False) -> Configuration:
        path = self.directory / "telephony.toml"
        path.write_text(text)
        return load_configuration(path, public=public)

    def problems(self, text: str, public: bool = False) -> dict[str, str]:
        error = self.assertRaises(ConfigurationError, self.load, text, public)
        self.assertNotIn("Traceback", str(error))
        return {one.where: one.text for one in error.problems}


class GoodTests(ConfigurationCase):
    """What is accepted."""

    def test_defaults(self) -> None:
        """api.md 7: every key has a default."""
        found = self.load("")
        self.assertEqual(found.sip.listen, ("udp:127.0.0.1:5060", "tcp:127.0.0.1:5060"))
        self.assertEqual(found.rtp.ports, (20000, 49999))
        self.assertEqual(
            (found.limits.max_calls, found.limits.call_seconds, found.limits.drain_seconds), (1000, 14400, 30)
        )
        self.assertEqual(found.services, ())

    def test_whole_file(self) -> None:
        """api.md 7: the keys of the example."""
        found = self.load(
            '[sip]\nlisten = ["udp:[::1]:5060"]\n[rtp]\nports = "30000-30099"\n'
            "[limits]\nmax_calls = 5\ncall_seconds = 60\ndrain_seconds = 1.5\n"
            '[media]\ndirectory = "sounds"\n[records]\nfile = "adr.jsonl"\n'
            + SERVICE
            + 'direction = "inbound"\nparameters = "sip:3301@127.0.0.1:5070"\nextra_channels = 2\nmax_calls = 100\n'
            'refer = "refuse"\nmedia = "direct"\n'
        )
        (service,) = found.services
        self.assertEqual(service.extra_channels, 2)
        self.assertEqual(service.parameters, "sip:3301@127.0.0.1:5070")
        self.assertEqual(service.application.version, "1.5")
        self.assertEqual(service.media, "direct")
        self.assertEqual(found.media.directory, self.directory / "sounds")
        self.assertEqual(found.records.file, self.directory / "adr.jsonl")
        self.assertEqual(list(found.inbound), ["3300"])
        self.assertTrue(found.admits(service))

    def test_public(self) -> None:
        """api.md 7: beyond loopback a service has to be public, one that isn't admits nobody."""
        found = self.load(
            '[sip]\nlisten = ["udp:0.0.0.0:5060"]\n'
            + SERVICE
            + "public = true\n"
            + SERVICE.replace("one", "two").replace("3300", "3301")
        )
        self.assertEqual([found.admits(one) for one in found.services], [True, False])
        self.assertTrue(self.load('[sip]\nlisten = ["udp:0.0.0.0:5060"]\n' + SERVICE, public=True).public)

    def test_application_of_the_command_line(self) -> None:
        """api.md 7: --app takes every call, with three extra channels; media beside the file is found."""
        (self.directory / "media").mkdir()
        found = configuration_of(listen=["udp:127.0.0.1:0"], application=str(self.directory / "app.py"), parameters="x")
        (service,) = found.services
        self.assertEqual((service.match, service.extra_channels, service.parameters), ("*", 3, "x"))
        self.assertEqual(found.media.directory, self.directory / "media")
        self.assertEqual(found.records.file, Path.cwd() / "records.jsonl")

    def test_paths_beside_the_file_first(self) -> None:
        """Relative paths are looked for beside the file, then in the current directory."""
        elsewhere = Path(self.mktemp()).absolute()
        write_application(elsewhere, "there.py")
        here = Path.cwd()
        os.chdir(elsewhere)
        self.addCleanup(os.chdir, here)
        found = self.load(SERVICE + SERVICE.replace("one", "two").replace("3300", "3").replace("app.py", "there.py"))
        self.assertEqual([one.application.path.parent for one in found.services], [self.directory, elsewhere])

    def test_examples(self) -> None:
        """The examples' own configuration is fine."""
        found = load_configuration(Path(__file__).parents[2] / "examples" / "telephony.toml")
        self.assertEqual([one.name for one in found.services], ["reception", "reception-async", "echo"])


class BadTests(ConfigurationCase):
    """What is refused, and how."""

    def test_everything_at_once(self) -> None:
        """api.md 7: unknown keys and bad values are all reported at once."""
        found = self.problems(
            '[sip]\nlisten = ["udp:127.0.0.1:5060", "tcp:nowhere:5060", "ws:127.0.0.1:5061"]\nadvertise = "me"\n'
            '[rtp]\nport = "1-2"\n[limits]\nmax_calls = "many"\ncall_seconds = -1\n[medai]\n'
            '[[service]]\nname = "x"\nmatch = ""\napplication = "nope.py"\nextra_channels = 4\nrefer = "obey"\n'
            'media = "far"\n'
        )
        self.assertEqual(
            set(found),
            {
                "sip.listen[1]",
                "sip.listen[2]",
                "sip.advertise",
                "rtp.port",
                "limits.max_calls",
                "limits.call_seconds",
                "medai",
                "service[0].match",
                "service[0].application",
                "service[0].extra_channels",
                "service[0].refer",
                "service[0].media",
            },
        )
        self.assertIn("did you mean 'ports'", found["rtp.port"])
        self.assertIn("did you mean 'media'", found["medai"])
        self.assertIn("'nowhere' is no IP address", found["sip.listen[1]"])
        self.assertIn("what exists is udp, tcp and tls", found["sip.listen[2]"])
        self.assertIn("1 to 100000", found["limits.max_calls"])
        self.assertIn("nope.py is not there", found["service[0].application"])
        self.assertIn("0 to 3", found["service[0].extra_channels"])
        self.assertIn("allowed: 'refuse', 'follow'", found["service[0].refer"])
        self.assertIn("allowed: 'anchored', 'direct'", found["service[0].media"])

    def test_later(self) -> None:
        """Sections of later features say so and name what exists."""
        found = self.problems('[proxy]\n[[webrtc]]\nname = "x"\n')
        self.assertEqual(set(found), {"proxy", "webrtc"})
        self.assertIn("not built yet; what exists: sip, rtp", found["proxy"])

    def test_admits_nobody(self) -> None:
        """api.md 7: a server beyond loopback that admits nobody says so."""
        self.assertIn("admits nobody", self.problems('[sip]\nlisten = ["tcp:0.0.0.0:5060"]\n' + SERVICE)["sip.listen"])
        self.assertIn("admits nobody", self.problems('[sip]\nlisten = ["tcp:0.0.0.0:5060"]\n')["sip.listen"])
        self.assertIn("admits nobody", self.problems('[sip]\nadvertise = "203.0.113.7"\n' + SERVICE)["sip.advertise"])

    def test_missing_keys(self) -> None:
        """A service has a name, an application and, inbound, a match."""
        self.assertEqual(set(self.problems("[[service]]\n")), {"service[0].name", "service[0].application"})
        self.assertEqual(set(self.problems('[[service]]\nname = "x"\napplication = "app.py"\n')), {"service[0].match"})

    def test_wrong_direction(self) -> None:
        """api.md 2: an inbound main can't serve an outbound service."""
        found = self.problems('[[service]]\nname = "x"\napplication = "app.py"\ndirection = "outbound"\n')
        self.assertIn("main() of an inbound application", found["service[0].application"])

    def test_taken_twice(self) -> None:
        """Two services have different names and different matches; two listeners differ."""
        self.assertEqual(set(self.problems(SERVICE + SERVICE)), {"service[1].name", "service[1].match"})

    def test_listeners_that_meet(self) -> None:
        """One port of all addresses and of one; the families, and UDP beside TCP, don't meet."""
        for two in ('"udp:0.0.0.0:5060", "udp:127.0.0.1:5060"', '"tls:[::1]:5060", "tcp:[::]:5060"'):
            told = self.problems(f"[sip]\nlisten = [{two}]\n", public=True)
            self.assertIn("has that port already", told["sip.listen[1]"])
        apart = '"udp:0.0.0.0:5060", "tcp:0.0.0.0:5060", "udp:[::]:5060", "tcp:[::]:5060", "udp:0.0.0.0:5061"'
        self.assertEqual(len(self.load(f"[sip]\nlisten = [{apart}]\n", public=True).sip.listen), 5)

    def test_a_number_to_match(self) -> None:
        """A user part is text, numbers too."""
        told = self.problems('[[service]]\nname = "x"\nmatch = 3300\napplication = "app.py"\n')
        self.assertEqual(told, {"service[0].match": "3300 is no text; write it in quotes"})
        self.assertEqual(set(self.problems('[sip]\nlisten = ["udp:[::1]:1", "udp:[::1]:1"]')), {"sip.listen[1]"})

    def test_wrong_shapes(self) -> None:
        """Tables where values are meant and the reverse."""
        self.assertEqual(set(self.problems("sip = 5\nservice = 1\n")), {"sip", "service"})
        self.assertEqual(set(self.problems("service = [1]\n")), {"service[0]"})
        self.assertEqual(set(self.problems("[service]\n")), {"service"})

    def test_ports(self) -> None:
        """api.md 7: LOW-HIGH, with room for a pair."""
        for bad in ("20000", "49999-20000", "80-90", "20001-20002", "20000-70000", "a-b"):
            self.assertIn("rtp.ports", self.problems(f'[rtp]\nports = "{bad}"'), bad)
        self.load('[rtp]\nports = "20001-20003"')

    def test_media_is_a_file(self) -> None:
        """A directory that is a file, and a record file that is a directory or in none."""
        self.assertIn("media.directory", self.problems('[media]\ndirectory = "app.py"'))
        self.assertIn("app.py is a file", self.problems('[media]\ndirectory = "app.py/x/y"')["media.directory"])
        self.assertIn("records.file", self.problems('[records]\nfile = "no/such/file"'))
        self.assertIn("records.file", self.problems('[records]\nfile = "."'))

    def test_command_line(self) -> None:
        """Mistakes on the command line are called by the option they are in."""
        error = self.assertRaises(
            ConfigurationError, configuration_of, application="nope.py", listen=["ws:127.0.0.1:1"], records="no/such/x"
        )
        self.assertEqual({one.where for one in error.problems}, {"--app", "--listen", "--records"})

    def test_no_toml(self) -> None:
        """A file that is missing, no TOML, or no text."""
        self.assertIn("is no TOML", self.problems("[sip")[""])
        gone = self.assertRaises(ConfigurationError, load_configuration, self.directory / "gone.toml")
        self.assertIn("gone.toml", str(gone))
        (self.directory / "bytes.toml").write_bytes(b"\xff")
        self.assertRaises(ConfigurationError, load_configuration, self.directory / "bytes.toml")

    @given(
        st.sampled_from(["sip", "rtp", "limits", "media", "records", "service", "trunk", "x"]),
        st.sampled_from(["listen", "ports", "max_calls", "drain_seconds", "directory", "file", "match", "y"]),
        st.sampled_from(
            ["1", "-1", "true", '""', '"a"', "[]", '["udp:127.0.0.1:1"]', "{}", "nan", "1979-05-27", "[[1]]"]
        ),
    )
    def test_nothing_else_comes_out(self, section: str, key: str, value: str) -> None:
        """Whatever is written there: a configuration, or a ConfigurationError."""
        try:
            self.load(f"[{section}]\n{key} = {value}\n")
        except ConfigurationError as error:
            self.assertTrue(error.problems)


class TlsTests(ConfigurationCase):
    """``[tls]`` and ``[rtp] srtp`` (docs/tls.rst; issue 4, 7: bad configuration is reported together, by key)."""

    def setUp(self) -> None:
        super().setUp()
        one, other = issue("127.0.0.1"), issue("127.0.0.1")
        late = issue("127.0.0.1", days=(-3, -1))
        files = {
            "server.pem": one.certificate,
            "server.key": one.key,
            "other.key": other.key,
            "late.pem": late.certificate,
            "late.key": late.key,
            "ca.pem": other.certificate,
        }
        for name, data in files.items():
            (self.directory / name).write_bytes(data)

    def test_documented(self) -> None:
        """The snippet of docs/tls.rst is a configuration, once its files are there."""
        page = (Path(__file__).parents[2] / "docs" / "tls.rst").read_text()
        [snippet] = re.findall(r"code-block:: toml\n\n((?:    .*\n|\n)+)", page)
        found = self.load(textwrap.dedent(snippet) + SERVICE + "public = true\n")
        self.assertTrue(found.tls.identity().can_listen)
        self.assertEqual((found.warnings, found.rtp.srtp, found.tls.verify), ([], "secure", True))

    def test_documented_certificate(self) -> None:
        """The command of docs/tls.rst makes a certificate that the snippet beside it takes, for the names in it."""
        if shutil.which("openssl") is None:
            raise SkipTest("no openssl")
        page = (Path(__file__).parents[2] / "docs" / "tls.rst").read_text()
        [command] = re.findall(r"^    \$ (openssl .*)$", page, re.MULTILINE)
        subprocess.run(shlex.split(command), cwd=self.directory, check=True, capture_output=True)
        tls = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\nauthorities = "server.pem"\n'
        found = self.load('[sip]\nlisten = ["tls:127.0.0.1:0"]\n' + tls + SERVICE)
        self.assertEqual((found.tls.identity().can_listen, found.warnings), (True, []))

    def test_everything(self) -> None:
        """Each key."""
        found = self.load(
            '[sip]\nlisten = ["tls:127.0.0.1:0"]\n[rtp]\nsrtp = "always"\n[tls]\ncertificate = "server.pem"\n'
            'key = "server.key"\nauthorities = "ca.pem"\nclient_certificate = "required"\nverify = false\n' + SERVICE
        )
        self.assertEqual((found.rtp.srtp, found.tls.client_certificate.value), ("always", "required"))
        self.assertEqual(len(found.warnings), 1)
        self.assertNotIn("PRIVATE", repr(found))

    def test_expired(self) -> None:
        """A certificate that has expired is a warning: the server starts."""
        found = self.load('[tls]\ncertificate = "late.pem"\nkey = "late.key"\n' + SERVICE)
        self.assertRegex(found.warnings[0], "tls.certificate.*expired")

    def test_mistakes(self) -> None:
        """By key, together with other mistakes, and without a byte of a key in any sentence."""
        rows = {
            'certificate = "server.pem"\nkey = "other.key"': {"tls.key": "another key"},
            'certificate = "server.pem"': {"tls.key": "missing"},
            'key = "server.key"': {"tls.certificate": "missing"},
            'certificate = "nope.pem"\nkey = "app.py"': {"tls.certificate": "can't be read", "tls.key": "PEM"},
            'certificate = "server.key"\nkey = "server.pem"': {"tls.certificate": "PEM", "tls.key": "PEM"},
            'client_certificate = "required"': {"tls.authorities": "client certificate"},
            'client_certificate = "maybe"\nverify = 1\ncertificat = "x"': {
                "tls.client_certificate": "'optional'",
                "tls.verify": "true, false",
                "tls.certificat": "did you mean",
            },
        }
        for text, expected in rows.items():
            found = self.problems(f'[rtp]\nsrtp = "maybe"\n[tls]\n{text}\n' + SERVICE)
            self.assertIn("'secure'", found.pop("rtp.srtp"))
            self.assertEqual(set(found), set(expected), text)
            for where, words in expected.items():
                self.assertIn(words, found[where])

    def test_listener_without(self) -> None:
        """A tls listener needs a certificate."""
        found = self.problems('[sip]\nlisten = ["tls:127.0.0.1:5061"]\n' + SERVICE)
        self.assertIn("'tls:127.0.0.1:5061' needs a certificate", found["tls.certificate"])
