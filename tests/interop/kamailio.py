"""Kamailio, started on ports of its own with one of the configurations beside this file."""

from __future__ import annotations

import re
from pathlib import Path

from telephony.testing.certificates import Issued, authority, issue

from .case import HERE, KAMAILIO, Child, InteropCase, bound
from .rtp import free_port

#: Where Debian, and who builds it, have its modules.
_MODULES = [
    *Path("/usr").glob("lib/*/kamailio/modules/tls.so"),
    *Path("/usr/local").glob("lib*/kamailio/modules/tls.so"),
]
NO_KAMAILIO_TLS = None if _MODULES else "Kamailio has no tls.so (Debian: kamailio-tls-modules)"


class Kamailio:
    """A running Kamailio."""

    def __init__(self, child: Child, port: int, tls_port: int) -> None:
        self.child = child
        self.port = port
        self.tls_port = tls_port

    @property
    def address(self) -> str:
        """Where it listens for UDP and TCP."""
        return f"127.0.0.1:{self.port}"

    @property
    def secured(self) -> str:
        """Where it listens for TLS."""
        return f"127.0.0.1:{self.tls_port}"

    def said(self, words: str) -> int:
        """Count the lines of its log with these words."""
        return sum(words in line for line in self.child.output.splitlines())

    def lines(self, rule: str) -> list[str]:
        """Return what a regular expression finds in its log, in order."""
        return re.findall(rule, self.child.output)


class KamailioCase(InteropCase):
    """Calls with Kamailio in their way."""

    async def kamailio(
        self, algorithm: str = "MD5", *, config: str = "kamailio.cfg", own: Issued | None = None
    ) -> Kamailio:
        """Start Kamailio with UDP and TCP on a port of its own, and with TLS on another when ``own`` is given."""
        assert KAMAILIO is not None
        port, tls_port = free_port(self.interface), free_port(self.interface)
        directory = self.directory / f"kamailio-{port}"
        directory.mkdir()
        arguments = [KAMAILIO, "-f", str(HERE / config), "-DD", "-E", "-A", f'ALGORITHM="{algorithm}"']
        arguments += ["-m", "16", "-M", "4", "-l", f"udp:127.0.0.1:{port}", "-l", f"tcp:127.0.0.1:{port}"]
        arguments += ["-Y", str(directory), "-w", str(directory), "-P", str(directory / "pid")]
        if own is not None:
            arguments += ["-A", "WITH_TLS", "-l", f"tls:127.0.0.1:{tls_port}"]
            for name, data in (("PEM", own.certificate), ("KEY", own.key), ("CA", authority().certificate)):
                file = directory / f"{name.lower()}.pem"
                file.write_bytes(data)
                arguments += ["-A", f'{name}="{file}"']
        child = self.spawn("kamailio", arguments)
        ports = [("udp", port), ("tcp", port), *([("tcp", tls_port)] if own else [])]
        await self.until(lambda: all(bound(*one) for one in ports), "Kamailio listens")
        return Kamailio(child, port, tls_port)

    def with_tls(self) -> str:
        """Give the server a listener for TLS and a certificate; return that part of its configuration."""
        self.tls_port = free_port(self.interface)
        self.more_listeners = [f"tls:127.0.0.1:{self.tls_port}"]
        own = issue("127.0.0.1", by=authority())
        files = {"server.pem": own.certificate, "server.key": own.key, "ca.pem": authority().certificate}
        for name, data in files.items():
            (self.directory / name).write_bytes(data)
        return '[tls]\ncertificate = "server.pem"\nkey = "server.key"\nauthorities = "ca.pem"\n'
