"""Phones that register, and the kit's registrar and proxy."""

from __future__ import annotations

from typing import Any

from telephony.testing.phone import Phone
from telephony.testing.registrar import Registrar
from telephony.testing.sounds import tone
from tests.testing.test_phone import PhoneCase

TRUNK = "10.0.2.1"


class RegistrarCase(PhoneCase):
    def office(self, **settings: Any) -> Registrar:
        """Alice and bob have accounts at a registrar."""
        self.build()
        self.trunk = self.network.registrar(TRUNK, {"alice": "a-secret", "bob": "b-secret"}, **settings)
        return self.trunk

    def sign_in(self, phone: Phone, **details: Any) -> int:
        return self.network.run_until(phone.register(self.trunk.uri, f"{phone.name[0]}-secret", **details))

    def over(self) -> None:
        for phone in (self.alice, self.bob):
            if phone.registration is not None:
                phone.registration.stop()
        self.assertEqual(self.trunk.faults(), [])
        self.network.advance(100)
        self.network.run_until(self.trunk.close())
        self.finish()


class RegisterTests(RegistrarCase):
    """RFC 3261 10."""

    def test_registers(self) -> None:
        """RFC 3261 10.2, 22.2: challenged, signed, bound; ended by 0."""
        trunk = self.office()
        self.assertEqual(self.sign_in(self.alice), 200)
        assert self.alice.registration is not None
        self.assertEqual(self.alice.registration.expires, 3600)
        self.assertEqual([one.contact for one in trunk.bindings("alice")], [self.alice.contact(self.transport)])
        self.assertEqual(self.network.run_until(self.alice.unregister()), 200)
        self.assertEqual(trunk.bindings("alice"), [])
        self.assertEqual(
            [(user, seconds) for _, user, _, seconds in trunk.registrations], [("alice", 3600), ("alice", 0)]
        )
        self.over()

    def test_refreshes(self) -> None:
        """RFC 3261 10.2.4: it is refreshed before it runs out, and otherwise it does."""
        trunk = self.office()
        self.sign_in(self.alice, expires=100)
        self.sign_in(self.bob, expires=100, keep=False)
        for _ in range(20):
            self.network.advance(50)
            self.assertEqual(len(trunk.bindings("alice")), 1)
        self.assertEqual(trunk.bindings("bob"), [])
        assert self.alice.registration is not None
        self.assertEqual(self.alice.registration.refreshed, 11)
        self.over()

    def test_too_brief(self) -> None:
        """RFC 3261 10.2.8: a 423 names the least, and it is asked for."""
        self.office(min_expires=300)
        self.assertEqual(self.sign_in(self.alice, expires=60), 200)
        assert self.alice.registration is not None
        self.assertEqual(self.alice.registration.expires, 300)
        self.assertEqual(len(self.alice.got(423)), 1)
        self.over()

    def test_refused(self) -> None:
        """A wrong password 401, a stranger 401, someone else's name 403, and whatever the registrar is told to say."""
        trunk = self.office()
        self.assertEqual(self.network.run_until(self.alice.register(trunk.uri, "guessed")), 401)
        self.assertEqual(self.network.run_until(self.alice.register(trunk.uri, "b-secret", username="bob")), 403)
        trunk.refuse, trunk.retry_after = 503, 60
        self.assertEqual(self.sign_in(self.alice), 503)
        self.assertEqual(self.alice.got(503)[0].get("Retry-After"), "60")
        self.assertEqual(trunk.bindings("alice"), [])
        self.over()

    def test_nobody(self) -> None:
        """A registrar that says nothing: 0 after 64*T1."""
        trunk = self.office()
        trunk.quirks.deaf = True
        if self.transport == "udp":
            self.assertEqual(self.sign_in(self.alice), 0)
        self.over()


class ProxyTests(RegistrarCase):
    """RFC 3261 16."""

    def test_call(self) -> None:
        """A call between two that have registered goes by way of the proxy, signed, all of it where it records."""
        for record_route in (True, False):
            trunk = self.office(record_route=record_route)
            self.sign_in(self.alice)
            self.sign_in(self.bob)
            self.alice.says(tone(440))
            self.alice.dial(trunk.uri_of("bob"))
            self.wait(self.bob, "incoming")
            self.bob.ring()
            self.wait(self.alice, "ringing")
            self.bob.answer()
            self.wait(self.alice, "answered")
            self.network.run_until(self.bob.until_hears(440))
            self.assertEqual(self.network.run_until(self.bob.hold()), 200)
            self.assertEqual(self.network.run_until(self.bob.hang_up()), 200)
            self.assertEqual(trunk.called.accepted["alice"], 1)
            # The REGISTERs aside: with Record-Route the ACK, the re-INVITE and the BYE too.
            self.assertEqual(trunk.passed["BYE"], int(record_route))
            self.assertEqual(trunk.passed["INVITE"], 1 + record_route)
            self.over()

    def test_cancel(self) -> None:
        """RFC 3261 16.11: CANCEL, and the ACK of the 487, go the INVITE's way."""
        trunk = self.office()
        self.sign_in(self.bob)
        self.sign_in(self.alice)
        self.alice.dial(trunk.uri_of("bob"))
        self.wait(self.bob, "incoming")
        self.bob.ring()
        self.wait(self.alice, "ringing")
        self.alice.cancel()
        self.wait(self.bob, "ended")
        self.network.advance(1)
        self.assertEqual(self.alice.call.status, 487)
        self.assertEqual((trunk.passed["CANCEL"], trunk.passed["ACK"]), (1, 1))
        self.over()

    def test_nobody_there(self) -> None:
        """A user that is not registered 480, one that isn't any 404; a route leads on."""
        trunk = self.office()
        self.sign_in(self.alice)
        for user, status in (("bob", 480), ("nobody", 404)):
            self.alice.dial(trunk.uri_of(user))
            self.wait(self.alice, "ended")
            self.assertEqual(self.alice.call.status, status)
        trunk.routes["*"] = self.bob.uri
        self.alice.dial(trunk.uri_of("nobody"))
        self.wait(self.bob, "incoming")
        self.bob.reject(486)
        self.wait(self.alice, "ended")
        self.assertEqual(self.alice.call.status, 486)
        self.over()

    def test_loss(self) -> None:
        """What gets lost on the way is repeated by the ends: a stateless proxy repeats nothing (RFC 3261 16.11)."""
        for seed in range(8):
            self.build(seed, loss=0.15)
            trunk = self.trunk = self.network.registrar(TRUNK, {"alice": "a-secret", "bob": "b-secret"})
            self.sign_in(self.alice)
            self.sign_in(self.bob)
            self.alice.dial(trunk.uri_of("bob"))
            self.wait(self.bob, "incoming", 200)
            self.bob.answer()
            self.wait(self.alice, "answered", 200)
            self.wait(self.bob, "answered", 200)
            self.alice.hang_up()
            self.wait(self.bob, "ended", 200)
            self.over()


class TcpRegisterTests(RegisterTests):
    """The same over TCP."""

    transport = "tcp"


class TcpProxyTests(ProxyTests):
    """The same over TCP."""

    transport = "tcp"
