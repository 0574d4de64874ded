"""``[[trunk]]``, ``[[phone]]`` and who may call: what is allowed in ``telephony.toml`` (``api.md`` section 7)."""

from __future__ import annotations

import os

from telephony.server.config import ConfigurationError, load_configuration
from telephony.sip.auth import Account

from .test_config import SERVICE, ConfigurationCase

TRUNK = '[[trunk]]\nname = "carrier"\nhost = "sip.example.com"\n'
PUBLIC = '[sip]\nlisten = ["udp:0.0.0.0:5060"]\n'


class GoodTests(ConfigurationCase):
    """What is taken."""

    def test_trunk(self) -> None:
        """The issue, "Identity": a trunk that registers, and one that is known by its addresses."""
        found = self.load(
            TRUNK + 'user = "office"\npassword = "o-secret"\nregister = true\noutbound_proxy = "sip:192.0.2.1:5080"\n'
            '[[trunk]]\nname = "pbx"\nhost = "sip:[2001:db8::1];transport=tcp"\n'
            'addresses = ["2001:db8::/64", "192.0.2.9"]\ncodecs = ["g711u"]\n'
            + 'caller_id = "asserted"\ncaller = "+4930123"\n'
            + SERVICE
            + 'trunk = "pbx"\n'
        )
        carrier, pbx = found.trunks
        self.assertEqual(carrier.account, Account("office", "o-secret"))
        self.assertEqual(
            (str(carrier.host), str(carrier.outbound_proxy)), ("sip:sip.example.com", "sip:192.0.2.1:5080")
        )
        self.assertEqual((str(pbx.host), pbx.codecs), ("sip:[2001:db8::1];transport=tcp", ("PCMU",)))
        self.assertEqual([str(one) for one in pbx.addresses], ["2001:db8::/64", "192.0.2.9/32"])
        self.assertEqual(found.services[0].trunk, "pbx")

    def test_passwords_elsewhere(self) -> None:
        """A password may be in a file of its own, or in the environment."""
        (self.directory / "secret").write_text("f-secret\n")
        self.patch(os, "environ", {**os.environ, "BOBS_PASSWORD": "e-secret"})
        found = self.load(
            TRUNK
            + 'user = "office"\npassword_file = "secret"\n[[phone]]\nname = "bob"\npassword_env = "BOBS_PASSWORD"\n'
        )
        self.assertEqual(found.trunks[0].account, Account("office", "f-secret"))
        self.assertEqual(found.phones[0].secret, "e-secret")
        for secret in ("f-secret", "e-secret"):
            self.assertNotIn(secret, repr(found))

    def test_who_may_call(self) -> None:
        """Section 7: a trunk or a phone is somebody; with a trunk a loopback server isn't open to all."""
        for text in (TRUNK, '[[phone]]\nname = "bob"\npassword = "x"\n'):
            found = self.load(PUBLIC + text + SERVICE)
            self.assertFalse(found.admits(found.services[0]))
        self.assertTrue(self.load(SERVICE).open)
        self.assertTrue(self.load(SERVICE + '[[phone]]\nname = "bob"\npassword = "x"\n').open)
        self.assertFalse(self.load(SERVICE + TRUNK).open)
        found = self.load(TRUNK + SERVICE + "public = true\n")
        self.assertTrue(found.admits(found.services[0]))


class BadTests(ConfigurationCase):
    """What is refused: all of it at once, by key."""

    def test_everything_at_once(self) -> None:
        """The issue, point 7: a trunk without a host, two of one name, a trunk that isn't there, and the rest."""
        found = self.problems(
            '[[trunk]]\nname = "a"\n'
            '[[trunk]]\nname = "b"\nhost = "no host"\naddresses = ["192.0.2.300", "192.0.2.1"]\nexpires = 1\n'
        )
        self.assertEqual(set(found), {"trunk[0].host", "trunk[1].host", "trunk[1].addresses[0]", "trunk[1].expires"})
        self.assertEqual(found["trunk[0].host"], "is missing")
        found = self.problems(
            TRUNK + TRUNK + '[[trunk]]\nname = "c"\nhost = "c"\nregister = true\n[[trunk]]\nname = "d"\nhost = "d"\n'
            'user = "u"\n[[trunk]]\nname = "e"\nhost = "e"\nuser = "u"\npassword = "x"\npassword_env = "HOME"\n'
            '[[phone]]\nname = "bob"\n[[phone]]\nname = "bob"\npassword = "x"\n' + SERVICE + 'trunk = "nope"\n'
        )
        self.assertEqual(
            set(found),
            {
                "trunk[1].name",
                "trunk[2].user",
                "trunk[3].password",
                "trunk[4].password_env",
                "phone[0].password",
                "phone[1].name",
                "service[0].trunk",
            },
        )
        self.assertIn("'carrier', 'carrier', 'c', 'd', 'e'", found["service[0].trunk"])

    def test_names(self) -> None:
        """A phone's name is what stands in an address; a domain is a name."""
        found = self.problems(
            '[sip]\ndomains = ["a b", "example.com"]\n[[phone]]\nname = "bob smith"\npassword = "x"\n'
        )
        self.assertEqual(set(found), {"sip.domains[0]", "phone[0].name"})

    def test_no_secret_in_an_error(self) -> None:
        """The issue, "no secret in a log, a trace or an error": whatever is wrong, a password isn't shown."""
        for text in (
            '[[phone]]\nname = "bob"\npassword = 4711471147\n',
            '[[phone]]\nname = "bob"\npassword = ["4711471147"]\n',
            '[[phone]]\nname = "bob"\npassword = "4711471147\\n"\n',
            '[[phone]]\nname = "bob"\npasword = "4711471147"\n',
            '[phone]\nname = "bob"\npassword = "4711471147"\n',
            'phone = ["4711471147"]\n',
            'trunk = "4711471147"\n',
            TRUNK + 'user = "u"\npassword = "4711471147"\npassword_file = "nowhere"\n',
        ):
            (self.directory / "t.toml").write_text(text)
            with self.assertRaises(ConfigurationError, msg=text) as caught:
                load_configuration(self.directory / "t.toml")
            self.assertNotIn("4711471147", str(caught.exception))
