"""What we are called, by whom: IPv6, links, a NAT (RFC 3261 18.1.1, 5118, 6874; api.md 7 ``advertise``)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.listeners import Listeners, is_local
from tests.sip.fakes import FakeHost, World


class OneFlow:
    """As much of a flow as names are made of."""

    reliable = False
    transport = "UDP"

    def __init__(self, local: str, remote: str) -> None:
        self.local = (local, 5060)
        self.remote = (remote, 5060)


class NameTests(SynchronousTestCase):
    def contact(self, local: str, remote: str, advertise: str | None = None, secure: bool = False) -> str:
        flow: Any = OneFlow(local, remote)
        return Listeners(FakeHost(), World().agent, advertise).contact(flow, secure)

    def test_advertise(self) -> None:
        """Behind a NAT peers outside are told the address outside; those on local networks are not."""
        for remote in ("198.51.100.7", "8.8.8.8", "100.64.0.1"):
            self.assertEqual(self.contact("10.0.0.1", remote, "203.0.113.7"), "<sip:203.0.113.7:5060>")
        for remote in ("127.0.0.1", "10.9.9.9", "172.31.0.1", "192.168.7.7", "169.254.1.1"):
            self.assertEqual(self.contact("10.0.0.1", remote, "203.0.113.7"), "<sip:10.0.0.1:5060>")
        for remote in ("::1", "fd00::7", "fe80::1%eth0"):
            self.assertEqual(self.contact("fd00::1", remote, "2001:db8::9"), "<sip:[fd00::1]:5060>")
        self.assertEqual(self.contact("fd00::1", "2001:db8:1::1", "2001:db8::9"), "<sip:[2001:db8::9]:5060>")

    def test_links(self) -> None:
        """RFC 6874 4: the zone of a link's address is this machine's own affair and isn't written."""
        self.assertEqual(self.contact("fe80::1%eth0", "fe80::2%eth0"), "<sip:[fe80::1]:5060>")

    def test_secure(self) -> None:
        """RFC 3261 12.1.1: the Contact of a sips: dialog is sips:."""
        self.assertEqual(self.contact("10.0.0.1", "10.0.0.2", secure=True), "<sips:10.0.0.1:5060>")

    def test_local_networks(self) -> None:
        """RFC 1918, 3927, 4193, 4291: the neighbours of a local network are not in it."""
        for address in ("10.0.0.0", "172.16.0.0", "172.31.255.255", "192.168.255.255", "fdff::", "febf::"):
            self.assertTrue(is_local(address), address)
        for address in ("11.0.0.0", "172.15.255.255", "172.32.0.0", "192.169.0.0", "fe00::", "fec0::"):
            self.assertFalse(is_local(address), address)
