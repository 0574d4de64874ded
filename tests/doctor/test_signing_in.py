"""Issue 3, "Doctor": signing in with each digest, and what registrars get wrong (RFC 3261 10 and 22, RFC 8760)."""

from __future__ import annotations

from typing import Any

from telephony.doctor.findings import Finding, Outcome
from telephony.sip.message import Request, Response, respond
from telephony.testing.registrar import Registrar
from telephony.testing.wire import Way

from .scene import DoctorCase

REGISTRAR = "10.0.2.1"
TARGET = f"sip:{REGISTRAR}"


class SigningInTests(DoctorCase):
    """A registrar of the test kit's."""

    def registrar(self, **settings: Any) -> Registrar:
        """Return a registrar that knows alice."""
        made = self.network.registrar(REGISTRAR, {"alice": "wonderland"}, **settings)
        self.peers.append(made)
        return made

    def signing_in(self, password: str = "wonderland", **asked: Any) -> dict[str, Finding]:
        """Visit it; return the findings by check."""
        report = self.visit(TARGET, user="alice", password=password, **asked)
        return {one.check: one for one in report.findings}

    def test_each_digest(self) -> None:
        """RFC 8760: each algorithm that is asked for is tried by itself; of the others it is said that they are not."""
        for algorithm in ("MD5", "SHA-256", "SHA-512-256"):
            with self.subTest(algorithm=algorithm):
                self.setUp()
                registrar = self.registrar(algorithms=(algorithm,))
                found = self.signing_in()
                self.assertEqual(found["register"].outcome, Outcome.GOOD, found["register"])
                for other in ("MD5", "SHA-256", "SHA-512-256"):
                    told = found[other.lower()]
                    if other == algorithm:
                        self.assertEqual(told.text, f"it asks for {other}, and takes our answer")
                    else:
                        self.assertEqual(told.outcome, Outcome.NOT_DONE)
                        self.assertEqual(told.text, f"it doesn't ask for it; it asks for {algorithm}")
                # The registrar's opaque goes with its nonce, so that another nonce is no old one to it.
                self.assertEqual(
                    found["old nonce"].text,
                    "it asks again with 401, without stale=true: a server of ours answers that once",
                )
                self.assertEqual(found["wrong password"].outcome, Outcome.GOOD)
                self.assertEqual(found["sign off"].outcome, Outcome.GOOD, found["sign off"])
                self.assertEqual(registrar.registered.refused, 2)  # the nonce, and one wrong password, no more
                self.assertEqual(registrar.bindings("alice"), [])
                self.assertEqual(registrar.registrations[-1][3], 0)
                self.assertEqual([one for one in registrar.faults() if "opaque" not in one], [])
                self.tearDown()
        self.setUp()

    def test_wrong_password(self) -> None:
        """A password that is wrong is one sentence with what to look at, and is sent once."""
        registrar = self.registrar()
        found = self.signing_in("queen-of-hearts")
        self.assertEqual(found["register"].outcome, Outcome.BAD)
        self.assertIn("it refuses alice with 401", found["register"].text)
        self.assertIn("user or password are wrong, for realm simulated", found["register"].text)
        self.assertIn("trunk.password", found["register"].advice)
        for one in found.values():
            self.assertNotIn("queen-of-hearts", f"{one}")
        self.assertEqual(registrar.registrations, [])

    def test_another_domain(self) -> None:
        """RFC 3261 10.3 step 5: a 404 behind the right password is about the address, not about the password."""
        registrar = self.registrar()
        self.patch(Registrar, "_register", lambda _self, request, _back: respond(request, 404))
        found = self.signing_in()
        self.assertEqual(found["register"].outcome, Outcome.BAD)
        self.assertIn(
            f"takes our password, and refuses to sign sip:alice@{REGISTRAR} in with 404", found["register"].text
        )
        self.assertNotIn("password are wrong", found["register"].text)
        self.assertIn("domain", found["register"].advice)
        self.assertEqual({found[one.lower()].outcome for one in ("MD5", "SHA-256")}, {Outcome.NOT_DONE})
        self.assertEqual(registrar.registrations, [])

    def test_open(self) -> None:
        """Who asks for no password lets everybody in; that is said."""
        self.registrar(challenge=False)
        found = self.signing_in()
        self.assertEqual(found["register"].outcome, Outcome.ODD)
        self.assertIn("without asking for a password", found["register"].text)
        self.assertEqual(found["wrong password"].text, "it asked for no password")

    def test_takes_anything(self) -> None:
        """Who takes any password, and any nonce, is told off for both."""
        registrar = self.registrar()
        registrar.registered.refusal = lambda request, to_tag=None: (  # type: ignore[method-assign]
            None if request.has("Authorization") else registrar.registered.challenge(request, False, to_tag)
        )
        registrar.registered.user_of = lambda request: "alice"  # type: ignore[method-assign]
        found = self.signing_in()
        self.assertEqual(found["wrong password"].outcome, Outcome.BAD)
        self.assertIn("anybody can sign in", found["wrong password"].text)
        self.assertEqual(found["old nonce"].outcome, Outcome.BAD)
        self.assertIn("trunk.host", found["old nonce"].advice)

    def test_expires(self) -> None:
        """RFC 3261 10.2.8, 10.3: what is granted, and the least."""
        self.registrar(min_expires=120, expires=1800)
        found = self.signing_in()
        self.assertEqual(
            found["expires"].text, "asked for 3600 s it grants 1800 s; 5 s are too few, it wants 120 s or more"
        )
        self.assertIn("trunk.expires below 120", found["expires"].advice)

    def test_short(self) -> None:
        """A binding of seconds is odd."""
        self.registrar(expires=30)
        found = self.signing_in()
        self.assertEqual(found["expires"].outcome, Outcome.ODD)
        self.assertIn("a REGISTER every 27 s", found["expires"].text)

    def test_no_min_expires(self) -> None:
        """RFC 3261 21.4.17: a 423 without Min-Expires."""
        registrar = self.registrar(min_expires=120)

        answer = registrar._answer

        def without(response: Response, back: Way) -> None:
            response.remove("Min-Expires")
            answer(response, back)

        registrar._answer = without  # type: ignore[method-assign]
        found = self.signing_in()
        self.assertEqual(found["expires"].outcome, Outcome.ODD)
        self.assertIn("its 423 has no Min-Expires", found["expires"].text)

    def test_refused(self) -> None:
        """A registrar that wants nobody is quoted."""
        registrar = self.registrar()
        registrar.refuse = 403
        found = self.signing_in()
        self.assertIn("it refuses REGISTER with 403 'Forbidden', without asking", found["register"].text)

    def test_sent(self) -> None:
        """RFC 3261 10.2: what the registrar gets is in order, and no password is in any of it."""
        registrar = self.registrar()
        self.signing_in()
        requests = [one[3] for one in registrar.log if isinstance(one[3], Request) and one[3].method == "REGISTER"]
        self.assertEqual({one.to.uri for one in requests}, {"sip:alice@10.0.2.1"})
        self.assertEqual({one.uri for one in requests}, {"sip:10.0.2.1"})
        for one in requests:
            self.assertNotIn(b"wonderland", one.to_bytes())

    def test_interrupted(self) -> None:
        """Ctrl-C takes the registration back."""
        registrar = self.registrar()
        examination = self.examination(TARGET, user="alice", password="wonderland")
        begun = examination.begun

        def stop_there(name: str) -> None:
            begun(name)
            if name == "expires":
                self.network.clock.callLater(0.03, examination.interrupt)

        examination.begun = stop_there
        report = self.carried_out(examination)
        self.assertEqual(report.status, 130)
        self.assertEqual(registrar.registrations[-1][3], 0)
