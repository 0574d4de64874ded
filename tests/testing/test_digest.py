"""Digest for phones: the RFCs' own examples, and phones that challenge each other."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.message import Message, Request, Response
from telephony.testing.digest import HASHES, fields_of, response_hash
from tests.testing.test_phone_offers import SignallingCase


class HashTests(SynchronousTestCase):
    def test_examples(self) -> None:
        """RFC 7616 3.9.1, both algorithms of its example."""
        nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
        for algorithm, wanted in (
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ):
            found = response_hash(
                algorithm,
                "Mufasa",
                "http-auth@example.org",
                "Circle of Life",
                "GET",
                "/dir/index.html",
                nonce,
                nc="00000001",
                cnonce="f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            )
            self.assertEqual(found, wanted)

    def test_without_qop(self) -> None:
        """RFC 2069's way, by the example of RFC 2617 3.5 without its qop."""
        found = response_hash(
            "MD5",
            "Mufasa",
            "testrealm@host.com",
            "Circle Of Life",
            "GET",
            "/dir/index.html",
            "dcd98b7102dd2f0e8b11d0f600bfb0c093",
        )
        self.assertEqual(found, "670fd8c2df070c60b045671b8b24ff02")

    def test_fields(self) -> None:
        """RFC 7616 3.3: quoted or not, escapes, names in any case; garbage is none."""
        self.assertEqual(
            fields_of(r'Digest Realm="a \"b\", c", qop=auth ,x="" '), {"realm": 'a "b", c', "qop": "auth", "x": ""}
        )
        for text in ("Basic abc", "Digest realm", 'Digest realm="a', "Digest =b"):
            self.assertIs(fields_of(text), None)


class ChallengeTests(SignallingCase):
    """RFC 3261 22, RFC 8760."""

    def challenged(self, password: str = "secret", **details: Any) -> None:
        self.between({"password": password, "media": False}, {"media": False})
        self.challenger = self.bob.demand({"alice": "secret"}, **details)

    def test_each_algorithm(self) -> None:
        """RFC 8760 2.1: 401 and 407, each algorithm, with qop and without; every request of the call is signed."""
        for status in (401, 407):
            for algorithm in HASHES:
                for qop in (True, False):
                    self.challenged(status=status, algorithms=[algorithm], qop=qop)
                    self.connect()
                    self.assertEqual(self.network.run_until(self.alice.hold()), 200)
                    self.assertEqual(self.network.run_until(self.alice.hang_up()), 200)
                    self.assertEqual(self.challenger.accepted["alice"], 3)
                    # 22.1: an ACK can't be challenged; that of a 2xx has what the INVITE had.
                    written = "Authorization" if status == 401 else "Proxy-Authorization"
                    invite, ack = self.alice.sent("INVITE")[1], self.bob.got("ACK")[1]
                    self.assertEqual(ack.get_all(written), invite.get_all(written))
                    self.assertTrue(ack.has(written))
                    self.assertEqual((self.challenger.refused, self.challenger.faults), (0, []))
                    self.assertEqual(len(self.bob.calls), 1)
                    self.finish()

    def test_several(self) -> None:
        """RFC 8760 2.4: of several challenges the first one that is known is answered, in one field."""
        self.challenged(algorithms=["SHA-512-256", "SHA-256", "MD5"])
        assert self.alice.sending.credentials is not None
        self.alice.sending.credentials.algorithms = ("MD5", "SHA-256")
        self.connect()
        [written] = self.alice.sent("INVITE")[1].get_all("Authorization")
        self.assertIn("algorithm=SHA-256", written)
        self.alice.hang_up()
        self.finish()

    def test_wrong_password(self) -> None:
        """RFC 3261 22.2: the same challenge again ends it: nothing is tried a third time."""
        self.challenged("guessed")
        self.alice.dial(self.bob.uri)
        self.wait(self.alice, "ended")
        self.assertEqual(self.alice.call.status, 401)
        self.assertEqual((len(self.alice.sent("INVITE")), self.challenger.refused), (2, 1))
        self.finish()

    def test_no_password(self) -> None:
        """A phone without a password takes the refusal for what it is."""
        self.between({}, {})
        self.bob.demand({"alice": "secret"})
        self.alice.dial(self.bob.uri)
        self.wait(self.alice, "ended")
        self.assertEqual((self.alice.call.status, len(self.alice.sent("INVITE"))), (401, 1))
        self.finish()

    def test_stale(self) -> None:
        """RFC 7616 3.3: a nonce that has grown old is tried again with the new one, without asking anybody."""
        self.challenged(lifetime=10)
        self.alice.sending.eager = True
        self.connect()
        self.assertEqual(self.network.run_until(self.alice.hold()), 200)
        self.assertEqual((len(self.alice.got(401)), self.challenger.stale), (1, 0))
        self.network.advance(11)
        self.assertEqual(self.network.run_until(self.alice.resume()), 200)
        self.assertEqual((len(self.alice.got(401)), self.challenger.stale), (2, 1))
        self.alice.hang_up()
        self.finish()

    def test_stale_again(self) -> None:
        """RFC 7616 3.3: a nonce that is stale by the time it comes back is no wrong password: it is tried again."""
        self.challenged(lifetime=0)
        challenges = []

        def later(message: Message) -> Message:
            if isinstance(message, Response) and message.status == 401:
                challenges.append(message)
                self.challenger.lifetime = 60 if len(challenges) == 3 else 0
            return message

        self.bob.quirks.alter = later
        self.connect()
        self.assertEqual((len(challenges), self.challenger.stale), (3, 2))
        self.alice.hang_up()
        self.finish()

    def test_counts(self) -> None:
        """RFC 7616 3.4: a nonce's count goes up by one with each request, and a replay is refused."""
        self.challenged()
        self.alice.sending.eager = True
        self.connect()
        self.network.run_until(self.alice.hold())
        self.network.run_until(self.alice.resume())
        counts = [fields_of(m.get("Authorization") or "") for m in self.alice.sent("INVITE")[1:]]
        self.assertEqual([one["nc"] for one in counts if one], ["00000001", "00000002", "00000003"])

        def again(message: Message) -> Message:
            if isinstance(message, Request) and message.has("Authorization"):
                message.set("Authorization", self.alice.sent("INVITE")[-1].get("Authorization") or "")
            return message

        self.alice.quirks.alter = again
        self.assertEqual(self.network.run_until(self.alice.hold()), 401)
        self.assertTrue(any("replay" in fault for fault in self.challenger.faults), self.challenger.faults)

    def test_cancelled_meanwhile(self) -> None:
        """A call that was given up is not dialled again because a challenge came."""
        self.challenged()
        self.bob.quirks.slow = 0.5
        self.alice.dial(self.bob.uri)
        self.alice.cancel()
        self.network.advance(40)
        self.assertEqual(len(self.alice.sent("INVITE")), 1)
