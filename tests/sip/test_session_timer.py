"""Session timers (RFC 4028): who refreshes, how, when, and when the session is over (``transfer.md`` R23)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from telephony.errors import RemoteProtocolError
from telephony.sip.message import Request, Response
from telephony.sip.session_timer import SessionTimer, min_se, refusal, session_expires
from tests.sip.fakes import ANSWER, OFFER, World


def invite(method: str = "INVITE", **fields: str) -> Request:
    """Return a request with these header fields."""
    request = Request(method, "sip:alice@192.0.2.1")
    for name, value in fields.items():
        request.set(name.replace("_", "-"), value)
    return request


class TimerTests(SynchronousTestCase):
    """The timer by itself."""

    def timer(self, wanted: int = 1800, least: int = 90) -> SessionTimer:
        """Return a timer that notes what it does."""
        self.clock = Clock()
        self.done: list[str] = []
        return SessionTimer(
            self.clock, wanted, least, lambda: self.done.append("refresh"), lambda: self.done.append("expired")
        )

    def test_as_the_called(self) -> None:
        """RFC 4028 9 and its table 2: what our 2xx says, and who refreshes."""
        rows: list[tuple[dict[str, str], int, tuple[str, ...], bool]] = [
            ({}, 1800, ("1800;refresher=uas",), True),
            ({"Supported": "timer"}, 1800, ("timer", "1800;refresher=uac"), False),
            ({"Supported": "timer", "Session_Expires": "600"}, 1800, ("timer", "600;refresher=uac"), False),
            (
                {"Supported": "timer", "Session_Expires": "600;refresher=uas"},
                1800,
                ("timer", "600;refresher=uas"),
                True,
            ),
            ({"Require": "timer", "Session_Expires": "600;refresher=UAC"}, 1800, ("timer", "600;refresher=uac"), False),
            ({"Session_Expires": "600"}, 1800, ("600;refresher=uas",), True),
            ({"Supported": "timer", "Session_Expires": "7200"}, 1800, ("timer", "1800;refresher=uac"), False),
            (
                {"Supported": "timer", "Session_Expires": "7200", "Min_SE": "3600"},
                1800,
                ("timer", "3600;refresher=uac"),
                False,
            ),
            ({"Supported": "timer", "Min_SE": "3600"}, 1800, ("timer", "3600;refresher=uac"), False),
            ({"Supported": "timer", "Session_Expires": "600"}, 0, ("timer", "600;refresher=uac"), False),
            ({"Supported": "timer"}, 0, (), False),
        ]
        for fields, wanted, said, ours in rows:
            timer = self.timer(wanted)
            answer = timer.answers(invite(**fields))
            self.assertEqual(tuple(value for _, value in answer), said, fields)
            self.assertEqual(timer.ours, ours, fields)
            timer.stop()
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_as_the_caller(self) -> None:
        """RFC 4028 7.2: a 2xx without the header means that nothing expires; without a refresher it is us."""
        rows = [("", 0, False), ("600;refresher=uas", 600, False), ("600;refresher=uac", 600, True), ("600", 600, True)]
        for text, interval, ours in [*rows, ("5;refresher=uac", 90, True), ("soon", 0, False)]:
            timer = self.timer()
            response = Response(200)
            if text:
                response.set("Session-Expires", text)
            timer.refreshed(response, initial=True)
            self.assertEqual((timer.interval, timer.ours), (interval, ours), text)
            timer.stop()

    def test_times(self) -> None:
        """RFC 4028 10: refresh at half; the end at the smaller of 32 s and a third before the interval's."""
        for seconds, end in ((90, 60), (96, 64), (120, 88), (1800, 1768)):
            for refresher in ("uac", "uas"):
                timer = self.timer()
                response = Response(200)
                response.set("Session-Expires", f"{seconds};refresher={refresher}")
                timer.refreshed(response)
                self.assertEqual(len(self.clock.getDelayedCalls()), 1)
                self.clock.advance(seconds / 2 - 0.01)
                self.assertEqual(self.done, [])
                self.clock.advance(0.02)
                self.assertEqual(self.done, ["refresh"] if refresher == "uac" else [])
                self.clock.advance(end - seconds / 2 - 0.02)
                self.assertNotIn("expired", self.done)
                self.clock.advance(0.02)
                self.assertEqual(self.done[-1], "expired")
                self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_every_2xx_begins_anew(self) -> None:
        """RFC 4028 10: whoever refreshes, both count from there; roles may change hands."""
        timer = self.timer()
        for _ in range(20):
            timer.answers(invite(Supported="timer", Session_Expires="90;refresher=uac"))
            self.clock.advance(59)
        timer.answers(invite("UPDATE", Supported="timer", Session_Expires="90;refresher=uas"))
        self.clock.advance(46)
        self.assertEqual(self.done, ["refresh"])
        self.assertEqual(timer.asks()[0], ("Session-Expires", "90;refresher=uac"))
        timer.stop()

    def test_forgotten_in_the_answer(self) -> None:
        """RFC 4028 7.2: no header in the 2xx to a refresh of ours turns it off; we go on refreshing where we did."""
        timer = self.timer()
        timer.answers(invite())
        timer.refreshed(Response(200))
        self.assertEqual((timer.interval, timer.ours), (1800, True))
        timer.answers(invite(Supported="timer", Session_Expires="90;refresher=uac"))
        timer.refreshed(Response(200))
        self.assertEqual((timer.interval, self.clock.getDelayedCalls()), (0, []))
        timer.stop()

    def test_too_brief(self) -> None:
        """RFC 4028 7.3: only a longer interval than was asked for is worth another try."""
        timer = self.timer(600)
        response = Response(422)
        response.set("Min-SE", "600")
        request = invite(**{name.replace("-", "_"): value for name, value in timer.asks(initial=True)})
        self.assertFalse(timer.too_brief(request, response))
        response.set("Min-SE", "900")
        self.assertTrue(timer.too_brief(request, response))
        self.assertEqual(dict(timer.asks(initial=True)), {"Session-Expires": "900", "Min-SE": "900"})
        response.set("Min-SE", "long")
        self.assertFalse(timer.too_brief(request, response))
        self.assertFalse(timer.too_brief(invite(), response))

    @given(st.text(max_size=30), st.text(max_size=12))
    def test_garbage(self, expires: str, least: str) -> None:
        """Whatever stands there is a number, or RemoteProtocolError (400); nothing else."""
        request = invite()
        request._fields["session-expires"] = expires
        request._fields["min-se"] = least
        for read in (session_expires, min_se, lambda one: refusal(one, 90)):
            try:
                read(request)
            except RemoteProtocolError as error:
                self.assertEqual(error.status, 400)


class SessionTimerScene(SynchronousTestCase):
    """A session with a timer."""

    def setUp(self) -> None:
        self.world = World()
        self.bob = self.world.bob
        self.heard = self.world.witness.heard
        self.world.agent.session_expires = 1800

    def answered(self, expires: str | None = "90;refresher=uac", allow: str = "INVITE, UPDATE") -> tuple[Any, Request]:
        """Call Bob, who answers with this."""
        session = self.world.dial()
        ours = self.bob.one()
        fields = {"Allow": allow}
        if expires is not None:
            fields.update(Session_Expires=expires, Require="timer")
        self.bob.respond(ours, 200, body=ANSWER, **fields)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.heard.clear()
        return session, ours


class RefreshTests(SessionTimerScene):
    """How a session is refreshed, and how it ends."""

    def test_invite(self) -> None:
        """RFC 4028 7.1: what our INVITE says."""
        self.answered()
        self.world.dial()
        ours = self.bob.one()
        self.assertEqual([ours.get(name) for name in ("Session-Expires", "Min-SE")], ["1800", "90"])
        self.assertIn("timer", ours.supported)

    def test_by_update(self) -> None:
        """RFC 4028 7.4: by UPDATE without an offer where Bob takes it; roles stay."""
        self.answered()
        self.world.host.advance(45)
        update = self.bob.one()
        self.assertEqual((update.method, update.body), ("UPDATE", b""))
        self.assertEqual(update.get("Session-Expires"), "90;refresher=uac")
        self.bob.respond(update, 200, Session_Expires="90;refresher=uac", Require="timer")
        self.world.host.advance(44.9)
        self.assertEqual(self.bob.take(), [])
        self.world.host.advance(0.2)
        self.assertEqual(self.bob.lines(), ["UPDATE"])

    def test_by_reinvite(self) -> None:
        """RFC 4028 7.4: by re-INVITE with an offer where he doesn't; the owner is asked for what holds."""
        self.answered(allow="INVITE, ACK, BYE")
        self.world.host.advance(45)
        again = self.bob.one()
        self.assertEqual((again.method, again.body), ("INVITE", OFFER))
        self.bob.respond(again, 200, body=ANSWER, Session_Expires="90;refresher=uac", Require="timer")
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertEqual(self.heard, ["offer None", "offer answered None"])

    def test_update_is_refused(self) -> None:
        """A 405 or 501 to UPDATE: from then on by re-INVITE, at once."""
        self.answered()
        self.world.host.advance(45)
        self.bob.respond(self.bob.one(), 405)
        self.assertEqual(self.bob.lines(), ["INVITE"])

    def test_too_brief(self) -> None:
        """RFC 4028 7.4: a 422 to a refresh is retried with the Min-SE it names."""
        self.answered()
        self.world.host.advance(45)
        first = self.bob.one()
        self.bob.respond(first, 422, Min_SE="120")
        second = self.bob.one()
        self.assertEqual(second.get("Session-Expires"), "120;refresher=uac")
        self.assertEqual((second.get("Min-SE"), second.cseq.number), ("120", first.cseq.number + 1))

    def test_first_invite_too_brief(self) -> None:
        """RFC 4028 7.3, rule 2: the same call, a new branch, the next CSeq; a CANCEL is of the latest INVITE."""
        session = self.world.dial()
        first = self.bob.one()
        self.bob.respond(first, 422, Min_SE="7200")
        ack, second = self.bob.take()
        self.assertEqual(ack.method, "ACK")
        self.assertEqual((second.get("Session-Expires"), second.get("Min-SE")), ("7200", "7200"))
        self.assertEqual((second.cseq.number, second.call_id, second.body), (2, first.call_id, first.body))
        self.assertNotEqual(second.via.branch, first.via.branch)
        self.bob.respond(second, 180)
        session.cancel()
        cancel = self.bob.one()
        self.assertEqual((cancel.via.branch, cancel.cseq.number), (second.via.branch, 2))
        self.bob.respond(cancel, 200)
        self.bob.respond(second, 487)
        self.assertEqual(self.bob.lines(), ["ACK"])
        self.assertEqual(self.world.leftovers(), [])

    def test_422_for_nothing(self) -> None:
        """One that asks for no more than it got is a refusal."""
        self.world.dial()
        self.bob.respond(self.bob.one(), 422, Min_SE="1800")
        self.assertEqual(self.heard, ["refused 422"])

    def test_expiry(self) -> None:
        """RFC 4028 10: BYE, and the owner hears that it is over; nothing is left of it."""
        self.answered("90;refresher=uas")
        self.world.host.advance(59)
        self.assertEqual(self.bob.take(), [])
        self.world.host.advance(1)
        bye = self.bob.one()
        self.assertEqual((bye.method, self.heard), ("BYE", ["ended"]))
        self.bob.respond(bye, 481)
        self.assertEqual(self.world.leftovers(), [])

    def test_refresh_without_answer(self) -> None:
        """RFC 4028 10: the end doesn't wait for the refresh's own time-out."""
        self.answered()
        self.world.host.advance(61)
        self.assertIn("BYE", self.bob.lines())
        self.assertEqual(self.heard, ["ended"])

    def test_refused_refresh(self) -> None:
        """A refresh that is refused leaves the session as it was, until its time is up."""
        self.answered()
        self.world.host.advance(45)
        self.bob.respond(self.bob.one(), 503)
        self.assertEqual(self.heard, [])
        self.world.host.advance(15)
        self.assertEqual(self.bob.lines(), ["BYE"])

    def test_none(self) -> None:
        """A 2xx without the header: nothing is refreshed, nothing expires."""
        session, _ = self.answered(None)
        self.world.host.advance(10_000)
        self.assertEqual((self.bob.take(), self.heard), ([], []))
        session.bye()
        self.bob.respond(self.bob.one(), 200)
        self.assertEqual(self.world.leftovers(), [])

    def test_ends_with_the_session(self) -> None:
        """No timer outlives the call, whoever hangs up (I4)."""
        session, ours = self.answered()
        session.bye()
        self.bob.respond(self.bob.one(), 200)
        session, ours = self.answered()
        self.bob.send(self.world.bye(ours, cseq=9))
        self.bob.take()
        session, ours = self.answered()
        session.abandon()
        self.world.agent.forget(session)
        self.assertEqual(self.world.leftovers(), [])


class CalledTests(SessionTimerScene):
    """Bob calls us."""

    def test_too_short_for_us(self) -> None:
        """RFC 4028 9: 422 with our Min-SE, before anything is made of it; whoever doesn't speak of timers is let in."""
        self.world.welcome()
        self.world.agent.min_se = 300
        self.bob.send(self.world.request(Supported="timer", Session_Expires="120"))
        response = self.bob.one()
        self.assertEqual((response.status, response.get("Min-SE")), (422, "300"))
        self.assertEqual(self.world.sessions, [])
        self.bob.send(self.world.request(call_id="call-2", Session_Expires="120"))
        self.assertEqual(self.bob.lines(), ["100 INVITE"])

    def test_unreadable(self) -> None:
        """400 for a Session-Expires that is none."""
        self.world.welcome()
        self.bob.send(self.world.request(Supported="timer", Session_Expires="soon"))
        self.assertEqual(self.bob.lines(), ["400 INVITE"])

    def test_in_our_200(self) -> None:
        """RFC 4028 9: Session-Expires and Require; he refreshes by UPDATE and by re-INVITE, then no more."""
        self.world.welcome()
        self.bob.send(self.world.request(Supported="timer", Session_Expires="90"))
        self.world.sessions[-1].answer(ANSWER)
        response = self.bob.take()[-1]
        self.assertEqual((response.get("Session-Expires"), response.require), ("90;refresher=uac", ["timer"]))
        tag = response.to.tag
        self.bob.send(self.world.request("ACK", to_tag=tag))
        for number, method in enumerate(("UPDATE", "INVITE", "UPDATE"), 2):
            self.world.host.advance(45)
            self.bob.send(
                self.world.request(
                    method, to_tag=tag, cseq=number, Supported="timer", Session_Expires="90;refresher=uac"
                )
            )
            answer = self.bob.one()
            self.assertEqual((answer.status, answer.get("Session-Expires")), (200, "90;refresher=uac"))
            if method == "INVITE":
                self.bob.send(self.world.request("ACK", to_tag=tag, cseq=number))
        self.world.host.advance(59)
        self.assertEqual(self.bob.take(), [])
        self.world.host.advance(1)
        self.assertEqual(self.bob.lines(), ["BYE"])
        self.assertEqual(self.heard[-1], "ended")
