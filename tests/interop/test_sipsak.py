"""Issue 4, "what it must show" 3: sipsak asks, floods, sends garbage and signs in; judged by what it printed.

It ends with 0 for an answer of 200, 1 for another one, 2 for its own troubles and 3 where none came. The port is an
option of its own: in a URI it takes four digits of it.
"""

from __future__ import annotations

import re

from .case import EXAMPLES, HERE, NO_SIPSAK, SIPSAK, InteropCase, Server

CONFIG = f"""\
domains = ["127.0.0.1"]
digest = ["MD5"]

[media]
directory = "{EXAMPLES / "media"}"

[[phone]]
name = "100"
password = "100-secret"

[[service]]
name = "talks"
match = "3300"
application = "{HERE / "applications" / "talks.py"}"
parameters = "1"
"""
#: How often garbage is sent; each time sipsak goes on for as long as it is answered.
ROUNDS = 6


class SipsakTests(InteropCase):
    """sipsak against a server with one service and one phone."""

    skip = NO_SIPSAK

    async def begin(self) -> Server:
        """Start the server."""
        config = self.directory / "telephony.toml"
        config.write_text(CONFIG)
        return await self.serve("--config", str(config))

    async def sipsak(self, server: Server, *options: str, user: str = "3300") -> tuple[int, str]:
        """Run sipsak; return its exit status and what it printed."""
        assert SIPSAK is not None
        port = str(server.port)
        child = self.spawn("sipsak", [SIPSAK, "-r", port, *options, "-s", f"sip:{user}@127.0.0.1"])
        return await child.ended(30), child.output

    async def assert_well(self, server: Server) -> None:
        """Check that an OPTIONS is answered as ever."""
        status, said = await self.sipsak(server, "-vv")
        self.assertEqual(status, 0, said)
        self.assertIn("SIP/2.0 200 OK\r\n", said)

    async def test_asks(self) -> None:
        """RFC 3261 11.2: OPTIONS tells what we can do, over UDP and TCP; and 16.3: at no hops left we are the end."""
        server = await self.begin()
        for options in (("-vv",), ("-v", "-E", "tcp")):
            status, said = await self.sipsak(server, *options)
            self.assertEqual(status, 0, said)
            for field in ("Allow", "Accept", "Supported"):
                self.assertRegex(said, rf"(?m)^{field}: \S")
            for method in ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS"):
                self.assertRegex(said, rf"(?m)^Allow: .*\b{method}\b")
        status, said = await self.sipsak(server, "-T")
        self.assertEqual(status, 0, said)
        self.assertRegex(said, r"0: .*SIP/2\.0 200 OK")
        await self.stopped(server, 0)

    async def test_floods(self) -> None:
        """Two hundred OPTIONS in a millisecond, several times: whoever asks after that is answered."""
        server = await self.begin()
        for _ in range(3):
            status, said = await self.sipsak(server, "-F", "-e", "200")
            self.assertEqual(status, 0, said)
            self.assertIn("flood end reached", said)
            await self.assert_well(server)
        await self.stopped(server, 0)

    async def test_garbage(self) -> None:
        """OPTIONS with more and more random characters: answered or dropped, and nothing comes to harm."""
        server = await self.begin()
        answers: list[str] = []
        for _ in range(ROUNDS):
            status, said = await self.sipsak(server, "-R", "-t", "40", "-Z", "20", "-vvv")
            # 1 or 0: the last one was still answered; 3: what it sent at last could not be told to be from anybody.
            self.assertIn(status, (0, 1, 3), said)
            self.assertIn("randomized chars", said)
            answers += re.findall(r"(?m)^SIP/2\.0 (\d+) .*\r$", said)
            await self.assert_well(server)
        self.assertEqual({one for one in answers if one[0] not in "245"}, set())
        await self.stopped(server, 0)

    async def test_signs_in(self) -> None:
        """RFC 3261 10.3, 22.2: REGISTER with a password is taken, with another one it is not."""
        server = await self.begin()
        options = ("-U", "-i", "-vv", "-x", "60", "-u", "100", "-C", "sip:100@127.0.0.1:9", "-a")
        status, said = await self.sipsak(server, *options, "100-secret", user="100")
        self.assertEqual(status, 0, said)
        self.assertIn("Phone 100 signed in from 127.0.0.1", server.child.output)
        status, said = await self.sipsak(server, *options, "other", user="100")
        self.assertNotEqual(status, 0, said)
        self.assertIn("SIP/2.0 401 ", said)
        self.assertIn("Phone 100: a wrong password came from 127.0.0.1", server.child.output)
        await self.stopped(server, 0)
