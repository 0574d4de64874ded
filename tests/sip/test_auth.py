"""`telephony.sip.auth`: the digest itself, challenges read and answered, and the checks of a server's."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip import auth
from telephony.sip.auth import (
    Account,
    Authentication,
    Authority,
    Challenge,
    Credentials,
    Verdict,
    copy_credentials,
    digest,
    ha1,
    ha1s,
    proof,
    read_challenges,
    read_credentials,
    strongest,
)
from telephony.sip.message import Request, Response

URI = "sip:server.example.com"
ALICE = Account("alice", "sesame")
SOURCE = "192.0.2.9"


def asked(*values: str, status: int = 401) -> Response:
    """Return a 401 or 407 with these challenges."""
    response = Response(status)
    for value in values:
        response.add("Proxy-Authenticate" if status == 407 else "WWW-Authenticate", value)
    return response


def request(method: str = "REGISTER", uri: str = URI) -> Request:
    """Return a request."""
    return Request(method, uri)


def answered(*values: str, account: Account = ALICE, status: int = 401, method: str = "REGISTER") -> Request:
    """Return a request with the answers to challenges."""
    authentication = Authentication(account)
    challenges, why = authentication.fitting(asked(*values, status=status))
    assert challenges, why
    for one in challenges:
        authentication.take(one)
    made = request(method)
    authentication.authorize(made, "0a4f113b")
    return made


class DigestTests(SynchronousTestCase):
    """The hashes."""

    def test_vectors(self) -> None:
        """RFC 7616 3.9.1 for MD5 and SHA-256, RFC 2617 3.5, RFC 2069 2.4 with its erratum."""
        nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
        cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
        for algorithm, response in (
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ):
            secret = ha1(algorithm, "Mufasa", "http-auth@example.org", "Circle of Life")
            self.assertEqual(proof(secret, algorithm, "GET", "/dir/index.html", nonce, cnonce, 1), response)
        old = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
        secret = ha1("MD5", "Mufasa", "testrealm@host.com", "Circle Of Life")
        response = proof(secret, "MD5", "GET", "/dir/index.html", old, "0a4f113b", 1)
        self.assertEqual(response, "6629fae49393a05397450978507c4ef1")
        secret = ha1("MD5", "Mufasa", "testrealm@host.com", "CircleOfLife")
        self.assertEqual(proof(secret, "MD5", "GET", "/dir/index.html", old), "1949323746fe6a43ef61f9606e7febea")

    def test_sha_512_256(self) -> None:
        """RFC 7616 3.9.2, erratum 4897: the hash is SHA-512/256 of FIPS 180-4, not SHA-512 cut short."""
        wanted = "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"
        self.assertEqual(digest("SHA-512-256", "J\u00e4s\u00f8n Doe:api@example.org"), wanted)
        wanted = "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a"
        self.assertEqual(digest("SHA-512-256", ""), wanted)

    def test_secrets_are_not_shown(self) -> None:
        """The issue, "no secret in a log, a trace or an error": no repr has a password or what it is proven by."""
        told = read_credentials(answered('Digest realm="r", nonce="n", qop="auth"'), "r")
        assert told is not None
        self.assertNotIn("sesame", repr(ALICE))
        self.assertNotIn(told.response, repr(told))


class ReadingTests(SynchronousTestCase):
    """What a 401 or 407 asks for."""

    def test_liberal(self) -> None:
        """RFC 7616 3.3 and 3261 25.1: quoted or not, any case, any spacing, several in one field or each in its own."""
        for value in (
            'Digest realm="atlanta", nonce="84a4", qop="auth,auth-int", opaque="xyz", stale=FALSE, algorithm=MD5',
            'dIgEsT realm=atlanta,nonce=84a4,qop=auth,opaque=xyz,algorithm="md5"',
            'Digest  nonce = "84a4" , realm="atl\\anta" ,, opaque="xyz", qop = "auth-int, AUTH", algorithm=md5,',
        ):
            (challenge,), unfit = read_challenges(asked(value))
            self.assertEqual(challenge, Challenge("atlanta", "84a4", "MD5", True, True, "xyz", False, False), value)
            self.assertEqual(unfit, [])
        both, _unfit = read_challenges(
            asked('Basic realm="x", Digest realm="a", nonce="1", Digest realm="b", nonce="2", stale=true', status=407)
        )
        self.assertEqual(
            [(one.realm, one.nonce, one.stale, one.proxy) for one in both],
            [("a", "1", False, True), ("b", "2", True, True)],
        )

    def test_strongest_first(self) -> None:
        """RFC 8760 2.4: of several challenges of one realm the strongest that we speak, whatever their order."""
        names = ["MD5", "SHA-256", "SHA-512-256", "SHA-999", "SHA-512-256-sess"]
        for order in (names, names[::-1]):
            values = [f'Digest realm="r", nonce="n", qop="auth", algorithm={name}' for name in order]
            challenges, unfit = read_challenges(asked(*values))
            self.assertEqual([one.algorithm for one in strongest(challenges)], ["SHA-512-256"])
            self.assertEqual(len(unfit), 2)

    def test_refused_in_words(self) -> None:
        """Architecture, "A peer can't make us raise": what can't be answered is a sentence, and no answer is made."""
        for value, word in (
            ('Digest realm="r", nonce="n", algorithm=MD5-sess', "MD5-SESS"),
            ('Digest realm="r", nonce="n", algorithm=SHA-256-sess', "SHA-256-SESS"),
            ('Digest realm="r", nonce="n", qop="auth-int"', "auth-int"),
            ('Basic realm="r"', "basic"),
            ("Digest qop=auth", "without realm or nonce"),
            ('Digest realm="r", nonce="', "is no challenge"),
            ("realm=x", "without a scheme"),
            ("", "no challenge at all"),
        ):
            challenges, why = Authentication(ALICE).fitting(asked(value))
            self.assertEqual(challenges, [], value)
            self.assertIn(word, why)

    def test_bounded(self) -> None:
        """Architecture, "Bounded everything": of very many challenges only the first are looked at."""
        many = asked(*(f'Digest realm="r{number}", nonce="n"' for number in range(1000)))
        challenges, _unfit = read_challenges(many)
        self.assertEqual(len(challenges), auth.MAX_CHALLENGES)
        authentication = Authentication(ALICE)
        for one in challenges:
            authentication.take(one)
        made = request()
        authentication.authorize(made, "c")
        self.assertEqual(len(made.get_all("Authorization")), auth.MAX_REALMS)

    @given(st.text(max_size=200))
    def test_garbage(self, text: str) -> None:
        """Architecture rule 3: no field makes us raise."""
        clean = text.translate({ord(mark): None for mark in "\r\n\0"}).encode("utf-8", "replace").decode()
        response = asked(clean, f"Digest {clean}")
        Authentication(ALICE).fitting(response)
        made = request()
        made.add("Authorization", f"Digest {clean}")
        read_credentials(made, "r")


class AnswerTests(SynchronousTestCase):
    """What a client of ours writes."""

    def test_written_strictly(self) -> None:
        """RFC 7616 3.4, RFC 3261 22.4: what is to be quoted is, algorithm, qop and nc are not; opaque comes back."""
        made = answered('Digest realm="a\\"b", nonce="84a4", qop=auth, opaque="5c\\\\c", algorithm=SHA-256')
        secret = ha1("SHA-256", "alice", 'a"b', "sesame")
        response = proof(secret, "SHA-256", "REGISTER", URI, "84a4", "0a4f113b", 1)
        self.assertEqual(
            made.get_all("Authorization"),
            [
                f'Digest username="alice", realm="a\\"b", nonce="84a4", uri="{URI}", response="{response}", '
                'algorithm=SHA-256, opaque="5c\\\\c", qop=auth, nc=00000001, cnonce="0a4f113b"'
            ],
        )

    def test_without_qop(self) -> None:
        """RFC 3261 22.4 rule 8: a challenge without qop is answered as RFC 2069 has it, without cnonce and nc."""
        (value,) = answered('Digest realm="r", nonce="n"').get_all("Authorization")
        response = proof(ha1("MD5", "alice", "r", "sesame"), "MD5", "REGISTER", URI, "n")
        self.assertEqual(value, f'Digest username="alice", realm="r", nonce="n", uri="{URI}", response="{response}"')

    def test_proxy(self) -> None:
        """RFC 3261 22.3: a 407 is answered in Proxy-Authorization."""
        made = answered('Digest realm="r", nonce="n"', status=407)
        self.assertTrue(made.has("Proxy-Authorization"))
        self.assertFalse(made.has("Authorization"))

    def test_counts(self) -> None:
        """RFC 7616 3.3, nc: each request has the next one; a fresh nonce begins anew, the same one goes on."""
        authentication = Authentication(ALICE)
        counts = []
        for nonce in ("n", "n", "m"):
            (challenge,), _why = authentication.fitting(asked(f'Digest realm="r", nonce="{nonce}", qop="auth"'))
            authentication.take(challenge)
            for _ in range(2):
                made = request("INVITE")
                authentication.authorize(made, "c")
                told = read_credentials(made, "r")
                assert told is not None
                counts.append((told.nonce, told.count))
        self.assertEqual(counts, [("n", 1), ("n", 2), ("n", 3), ("n", 4), ("m", 1), ("m", 2)])

    def test_realm(self) -> None:
        """A password that is for one realm is shown to no other."""
        authentication = Authentication(Account("alice", "sesame", "home"))
        challenges, why = authentication.fitting(asked('Digest realm="elsewhere", nonce="n"'))
        self.assertEqual(challenges, [])
        self.assertIn("home", why)
        self.assertIn("elsewhere", why)

    def test_another_target(self) -> None:
        """Who was called in the target's place gets no proof of the target's password; the proxy on the way does."""
        authentication = Authentication(ALICE)
        for status in (401, 407):
            (challenge,), _why = authentication.fitting(asked('Digest realm="r", nonce="n"', status=status))
            authentication.take(challenge)
        authentication.leave_target()
        made = request("INVITE")
        authentication.authorize(made, "c")
        self.assertFalse(made.has("Authorization"))
        self.assertTrue(made.has("Proxy-Authorization"))
        self.assertEqual(authentication.fitting(asked('Digest realm="r", nonce="m"'))[0], [])

    def test_ack(self) -> None:
        """RFC 3261 22.1: an ACK has the same credentials as its INVITE, of both kinds."""
        invite = request("INVITE")
        for name in ("Authorization", "Proxy-Authorization"):
            invite.add(name, "Digest x=1")
            invite.add(name, "Digest x=2")
        ack = request("ACK")
        copy_credentials(invite, ack)
        for name in ("Authorization", "Proxy-Authorization"):
            self.assertEqual(ack.get_all(name), ["Digest x=1", "Digest x=2"])

    @given(st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1, max_size=30))
    def test_inverse(self, text: str) -> None:
        """What is written is read as it was meant, whatever is in the name and the realm."""
        authority = Authority(b"key", text.strip() or "r")
        (challenge, *_others), _unfit = read_challenges(asked(*authority.challenges(SOURCE, 0)))
        self.assertEqual(challenge.realm, authority.realm)
        made = answered(*authority.challenges(SOURCE, 0), account=Account(text, "sesame"))
        told = read_credentials(made, authority.realm)
        assert told is not None
        self.assertEqual(told.username, text)


class AuthorityTests(SynchronousTestCase):
    """What a server of ours asks, and how it judges."""

    def setUp(self) -> None:
        self.authority = Authority(b"key", "telephony")
        self.secrets = {"alice": ha1s("alice", "telephony", "sesame")}
        self.now = 1000.0

    def judge(self, made: Request, source: str = SOURCE) -> Verdict:
        """Judge a request's credentials."""
        told = read_credentials(made, "telephony")
        assert told is not None
        return self.authority.check(told, self.secrets.get(told.username), made, source, self.now)

    def challenges(self, source: str = SOURCE) -> list[str]:
        """Return challenges."""
        return self.authority.challenges(source, self.now)

    def test_challenges(self) -> None:
        """RFC 8760 2.3: one for each algorithm, SHA-256 before MD5, with qop; stale when asked for."""
        read, unfit = read_challenges(asked(*self.challenges()))
        self.assertEqual(([one.algorithm for one in read], unfit), (["SHA-256", "MD5"], []))
        self.assertEqual({(one.realm, one.qop, one.stale) for one in read}, {("telephony", True, False)})
        stale, _unfit = read_challenges(asked(*self.authority.challenges(SOURCE, self.now, stale=True)))
        self.assertTrue(all(one.stale for one in stale))

    def test_granted(self) -> None:
        """RFC 7616 3.4.6: the right password, by each algorithm that was offered."""
        for index in (0, 1):
            self.assertIs(self.judge(answered(self.challenges()[index])), Verdict.GRANTED)

    def test_changed_uri(self) -> None:
        """RFC 3261 22.4 rule 8: that a proxy has changed the Request-URI is no failure."""
        made = answered(*self.challenges())
        made.uri = "sip:other.example.com"
        self.assertIs(self.judge(made), Verdict.GRANTED)

    def test_refused(self) -> None:
        """RFC 7616 3.4.6: a wrong password, an unknown user, another method, and what lacks something."""
        wrong = answered(*self.challenges(), account=Account("alice", "other"))
        nobody = answered(*self.challenges(), account=Account("nobody", "sesame"))
        for made in (wrong, nobody):
            self.assertIs(self.judge(made), Verdict.REFUSED)
        good = answered(*self.challenges()).get("Authorization") or ""
        for method, uri, value in (
            ("INVITE", URI, good),
            ("REGISTER", URI, good.replace("qop=auth, ", "")),
            ("REGISTER", URI, good.replace("nc=00000001", "nc=1g")),
            ("REGISTER", URI, good.replace("nc=00000001", "nc=00000002")),
            ("REGISTER", URI, good.replace("SHA-256", "MD5")),
            ("REGISTER", URI, good.replace("SHA-256", "SHA-512-256")),
            ("REGISTER", URI, good.replace("response=", "x=")),
            ("REGISTER", URI, good.replace("cnonce=", "x=")),
        ):
            made = request(method, uri)
            made.add("Authorization", value)
            self.assertIs(self.judge(made), Verdict.REFUSED, value)

    def test_offered_only(self) -> None:
        """An algorithm that was not offered isn't taken, even with the right password."""
        value = self.challenges()[0].replace("SHA-256", "SHA-512-256")
        self.assertIs(self.judge(answered(value)), Verdict.REFUSED)

    def test_stale(self) -> None:
        """RFC 7616 3.3, stale: the password is right, the nonce old, of another key, or made for another address."""
        made = answered(*self.challenges())
        self.assertIs(self.judge(made, "192.0.2.10"), Verdict.STALE)
        self.now += auth.NONCE_LIFE + 1
        self.assertIs(self.judge(made), Verdict.STALE)
        other = Authority(b"another key", "telephony")
        self.assertIs(self.judge(answered(*other.challenges(SOURCE, self.now))), Verdict.STALE)
        # Before the password is known to be right nobody is told that a nonce is stale.
        wrong = answered(*other.challenges(SOURCE, self.now), account=Account("alice", "other"))
        self.assertIs(self.judge(wrong), Verdict.REFUSED)

    def test_forged_time(self) -> None:
        """A nonce's time is under its hash: nobody can make one of his own, or an old one young."""
        value = self.challenges()[0]
        self.now += 1000
        for forged in (
            value.replace('nonce="000003e8', f'nonce="{int(self.now):08x}'),
            value.replace('nonce="', 'nonce="0'),
        ):
            self.assertNotEqual(forged, value)
            self.assertIs(self.judge(answered(forged)), Verdict.STALE)

    def test_replay(self) -> None:
        """RFC 7616 3.3, nc: a count is taken once, in any order within the window."""
        authentication = Authentication(ALICE)
        (challenge,), _why = authentication.fitting(asked(*self.challenges()))
        authentication.take(challenge)
        made = []
        for _ in range(100):
            one = request()
            authentication.authorize(one, "c")
            made.append(one)
        for number, verdict in (
            (1, Verdict.GRANTED),
            (1, Verdict.STALE),
            (0, Verdict.GRANTED),
            (0, Verdict.STALE),
            (5, Verdict.GRANTED),
            (4, Verdict.GRANTED),
            (4, Verdict.STALE),
            (99, Verdict.GRANTED),
            (5, Verdict.STALE),
            (30, Verdict.STALE),  # further back than the window
            (40, Verdict.GRANTED),
            (40, Verdict.STALE),
        ):
            self.assertIs(self.judge(made[number]), verdict, number)

    def test_bounded(self) -> None:
        """Architecture, "Bounded everything": forgotten counts are stale, and only the right password is remembered."""
        self.patch(auth, "MAX_NONCES", 2)
        wrong = answered(*self.challenges(), account=Account("alice", "other"))
        for _ in range(10):
            self.judge(wrong)
        self.assertEqual(self.authority._counts, {})
        made = [answered(*self.challenges()) for _ in range(3)]
        self.assertEqual([self.judge(one) for one in made], [Verdict.GRANTED] * 3)
        self.assertEqual(len(self.authority._counts), 2)
        self.assertEqual([self.judge(one) for one in made], [Verdict.STALE] * 3)

    def test_unknown_users_cost_the_same(self) -> None:
        """The issue, "Defence": for a name that nobody has, as many hashes are made, and the same things compared."""
        calls: list[str] = []
        real = auth.proof

        def counted(secret: str, *rest: object) -> str:
            calls.append("proof")
            return real(secret, *rest)  # type: ignore[arg-type]

        compare = hmac.compare_digest

        def compared(one: bytes, other: bytes) -> bool:
            calls.append("compare")
            return compare(one, other)

        made = [answered(*self.challenges(), account=Account(user, "other")) for user in ("alice", "nobody")]
        self.patch(auth, "proof", counted)
        self.patch(hmac, "compare_digest", compared)
        seen = []
        for one in made:
            calls.clear()
            self.judge(one)
            seen.append(list(calls))
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], ["proof", "compare", "compare"])

    def test_deterministic(self) -> None:
        """I9: the same key, time and address give the same challenges."""
        again = Authority(b"key", "telephony")
        self.assertEqual(self.challenges(), again.challenges(SOURCE, self.now))
        self.assertNotEqual(self.challenges(), self.challenges())

    def test_foreign_realm(self) -> None:
        """RFC 3261 22.1: credentials for another realm are not for us."""
        made = answered('Digest realm="elsewhere", nonce="n", qop="auth"')
        self.assertIsNone(read_credentials(made, "telephony"))
        self.assertIsInstance(read_credentials(made, "elsewhere"), Credentials)


class ErrorTests(SynchronousTestCase):
    """What is wrong with code of ours, not of a peer's."""

    def test_realm_that_cannot_be_written(self) -> None:
        """No CR or LF reaches the wire: a realm with one is a ValueError at once."""
        self.assertRaises(ValueError, Authority, b"key", "a\r\nb")
        self.assertRaises(RemoteProtocolError, auth._parts, 'x="')
