"""`telephony.sip.sending`: requests that are challenged, whoever sends them (RFC 3261 22.2, 22.3)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.sip.auth import Account, Authority, Verdict, ha1s, read_credentials
from telephony.sip.message import Request
from telephony.sip.sending import MAX_RETRIES

from .fakes import ANSWER, World

ACCOUNT = Account("alice", "sesame")


class ChallengeCase(SynchronousTestCase):
    """A user agent with a password, and Bob, who asks for it."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.number = 0

    def challenge(
        self, request: Request, *, status: int = 407, realm: str = "bob", nonce: str | None = None, stale: bool = False
    ) -> None:
        """Ask for a password, with a nonce of its own each time unless told."""
        self.number += 1
        name = "Proxy_Authenticate" if status == 407 else "WWW_Authenticate"
        value = f'Digest realm="{realm}", nonce="{nonce or self.number}", qop="auth"' + (
            ", stale=true" if stale else ""
        )
        self.bob.respond(request, status, **{name: value})

    def dial(self, account: Account | None = ACCOUNT) -> tuple[Any, Request]:
        """Send an INVITE."""
        session = self.world.dial(account=account)
        return session, self.bob.one()


class RetryTests(ChallengeCase):
    """What is sent again, and what isn't."""

    def test_invite(self) -> None:
        """8.1.3.5, 22.2: the same request with a new branch, the next CSeq, and credentials that are right."""
        authority = Authority(b"key", "bob")
        session, invite = self.dial()
        response = authority.challenges("192.0.2.1", 0)[0]
        self.bob.respond(invite, 407, Proxy_Authenticate=response)
        ack, again = self.bob.take()
        self.assertEqual((ack.method, ack.cseq.number, again.method, again.cseq.number), ("ACK", 1, "INVITE", 2))
        self.assertNotEqual(again.via.branch, invite.via.branch)
        for name in ("Call-ID", "From", "To", "Contact"):
            self.assertEqual(again.get(name), invite.get(name))
        self.assertEqual(again.body, invite.body)
        told = read_credentials(again, "bob", proxy=True)
        assert told is not None
        judged = authority.check(told, ha1s("alice", "bob", "sesame"), again, "192.0.2.1", 1)
        self.assertIs(judged, Verdict.GRANTED)
        self.assertEqual(self.world.witness.heard, [])
        # 22.1: the ACK of the 2xx has what its INVITE had; that of the challenge has what that one had, nothing.
        self.bob.respond(again, 200, body=ANSWER)
        ack = self.bob.one()
        self.assertEqual(ack.get("Proxy-Authorization"), again.get("Proxy-Authorization"))
        self.assertEqual(ack.cseq.number, 2)
        self.assertEqual(session.dialog.local_cseq, 2)

    def test_ack_of_a_refusal(self) -> None:
        """22.1: the ACK of a refused retry carries the retry's credentials."""
        _session, invite = self.dial()
        self.challenge(invite)
        _ack, again = self.bob.take()
        self.bob.respond(again, 486)
        ack = self.bob.one()
        self.assertEqual(ack.get("Proxy-Authorization"), again.get("Proxy-Authorization"))
        self.assertEqual(self.world.witness.heard, ["refused 486"])

    def test_wrong_password(self) -> None:
        """22.2: challenged again, the password is wrong: a refusal, after one retry."""
        session, invite = self.dial()
        self.challenge(invite)
        _ack, again = self.bob.take()
        self.challenge(again)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertEqual(self.world.witness.heard, ["refused 407"])
        self.assertEqual(session._sending.refused_because, "the user or the password is wrong")

    def test_same_nonce(self) -> None:
        """22.2: the same nonce again says that the password is wrong, even if it is called stale."""
        _session, invite = self.dial()
        self.challenge(invite, nonce="n")
        _ack, again = self.bob.take()
        self.challenge(again, nonce="n", stale=True)
        self.assertEqual(self.bob.lines(), ["ACK"])

    def test_stale(self) -> None:
        """RFC 7616 3.3: a stale nonce is no wrong password; but not for ever."""
        _session, invite = self.dial()
        self.challenge(invite)
        tries = 0
        while tries < 50:
            taken = self.bob.take()
            if len(taken) < 2:
                break
            tries += 1
            self.challenge(taken[1], stale=True)
        self.assertEqual(tries, MAX_RETRIES)
        self.assertEqual(self.world.witness.heard, ["refused 407"])

    def test_two_realms(self) -> None:
        """22.3: a proxy and the server behind it each get their own."""
        _session, invite = self.dial()
        self.challenge(invite, realm="proxy")
        _ack, second = self.bob.take()
        self.challenge(second, status=401, realm="server")
        _ack, third = self.bob.take()
        self.assertTrue(third.has("Proxy-Authorization") and third.has("Authorization"))
        self.bob.respond(third, 200, body=ANSWER)
        self.assertEqual(self.world.witness.heard, ["answered"])

    def test_without_a_password(self) -> None:
        """``api.md`` section 3: without a password a challenge is a refusal."""
        _session, invite = self.dial(None)
        self.challenge(invite)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertEqual(self.world.witness.heard, ["refused 407"])

    def test_unspeakable(self) -> None:
        """RFC 8760 2.4: a challenge that can't be answered is a refusal, and what it wanted is said."""
        session, invite = self.dial()
        self.bob.respond(invite, 401, WWW_Authenticate='Digest realm="r", nonce="n", algorithm=MD5-sess')
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertIn("MD5-SESS", session._sending.refused_because)

    def test_bye(self) -> None:
        """I2: a challenged BYE is sent again within the dialog, with its next number, and counts as the same."""
        session, invite = self.dial()
        self.bob.respond(invite, 200, body=ANSWER)
        self.bob.take()
        session.bye()
        bye = self.bob.one()
        self.challenge(bye)
        again = self.bob.one()
        self.assertEqual((again.method, again.cseq.number), ("BYE", 3))
        self.assertTrue(again.has("Proxy-Authorization"))
        self.bob.respond(again, 200)
        self.world.host.advance(100)
        self.assertEqual((self.bob.lines(), self.world.leftovers()), ([], []))

    def test_remembered(self) -> None:
        """22.3: what was answered once goes with the next requests of the same call at once, counted on."""
        session, invite = self.dial()
        self.challenge(invite)
        _ack, again = self.bob.take()
        self.bob.respond(again, 200, body=ANSWER)
        self.bob.take()
        session.bye()
        bye = self.bob.one()
        told = read_credentials(bye, "bob", proxy=True)
        assert told is not None
        self.assertEqual((told.nonce, told.count), ("1", 2))
        # What carried an old nonce has not been asked for a password yet: not every server says stale.
        self.challenge(bye)
        again = self.bob.one()
        self.bob.respond(again, 200)

    def test_cancel(self) -> None:
        """22.1, rule 2: CANCEL has no credentials, the branch of the latest INVITE, and waits for that one's 1xx."""
        session, invite = self.dial()
        self.bob.respond(invite, 100)
        self.challenge(invite)
        _ack, again = self.bob.take()
        session.cancel()
        self.assertEqual(self.bob.lines(), [])
        self.bob.respond(again, 180)
        cancel = self.bob.one()
        self.assertEqual((cancel.method, cancel.via.branch), ("CANCEL", again.via.branch))
        self.assertFalse(cancel.has("Proxy-Authorization"))
        self.bob.respond(cancel, 200)
        self.bob.respond(again, 487)

    def test_challenged_after_cancel(self) -> None:
        """Who has been given up is not called again because a challenge came first."""
        session, invite = self.dial()
        self.bob.respond(invite, 180)
        session.cancel()
        self.assertEqual(self.bob.lines(), ["CANCEL"])
        self.challenge(invite)
        self.assertEqual(self.bob.lines(), ["ACK"])

    def test_nothing_is_left(self) -> None:
        """Architecture, tests: a call that was challenged leaves nothing behind."""
        for end in (486, 407):
            _session, invite = self.dial()
            self.challenge(invite)
            _ack, again = self.bob.take()
            if end == 407:
                self.challenge(again)
            else:
                self.bob.respond(again, end)
            self.bob.take()
        self.world.host.advance(100)
        self.assertEqual(self.world.leftovers(), [])
