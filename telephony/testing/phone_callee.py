"""A phone's call as the one who is called: ringing, answering, refusing, and what acknowledges that (RFC 3261 13.3).

Owns: provisional and final responses to an INVITE that came, their PRACK and ACK, the CANCEL. Must not know requests in
the dialog, or the caller's side.
"""

from __future__ import annotations

from functools import partial

from telephony.sip.message import Request
from telephony.testing.phone_answers import AnswerKey
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.phone_parts import CallParts, CallState, Headers
from telephony.testing.phone_reliable import TAG as RELIABLE
from telephony.testing.wire import ServerTransaction


class CalleeSide(CallParts):
    """What the one who is called does; see `telephony.testing.phone_call.PhoneCall`."""

    def ring(
        self,
        status: int = 180,
        *,
        sdp: bool = False,
        tag: str | None = None,
        headers: Headers = (),
        reliable: bool | None = None,
    ) -> None:
        """Send a provisional response, 101 to 199; ``tag`` makes it that of another fork. With ``sdp`` it answers.

        ``reliable`` (RFC 3262): repeated until its PRACK comes; None is as the INVITE wants it, and reliable too with
        a Require or RSeq among the ``headers``. A reliable answer settles the INVITE's offer; to an INVITE without
        one, ``sdp`` is an offer, and PRACK brings the answer.
        """
        server = self._incoming()
        response = self._response(server, status, tag, headers)
        if reliable is None:
            asked = RELIABLE in self.invite.require or (self.phone.reliable and RELIABLE in self.invite.supported)
            reliable = asked or RELIABLE in response.require or response.has("RSeq")
        own = response.to.tag or ""
        if sdp and self.invite.body:
            self._attach(response, self.media.answer(self.invite.body))
            self.media.start()
        elif sdp and reliable and own not in self._reliable_bodies:
            self._attach(response, self.media.offer())
        if reliable and response.body:
            self._reliable_bodies[own] = response.body
        self.rang = True
        self.state = CallState.RINGING
        if reliable:
            self._provisionals.send(server, response)
        else:
            server.respond(response)
        self.phone.changed()

    def answer(self, *, status: int = 200, tag: str | None = None, headers: Headers = ()) -> None:
        """Send a 2xx, repeated until its ACK comes. With another ``tag`` it is one more fork's, also later on.

        Where a description that was sent reliably waits for its PRACK, so does the 2xx (RFC 3262 3); behind a reliable
        answer it has no description of its own.
        """
        server = self._server
        if self.outgoing or server is None or (self.status and tag is None):
            raise AssertionError(f"{self.phone.name} has no call to answer: {self}")
        quirks = self.phone.quirks
        if self._provisionals.waits(tag or self.local_tag) and not quirks.no_wait_for_prack:
            self._answer_waits = partial(self.answer, status=status, tag=tag, headers=headers)
            return
        response = self._response(server, status, tag, headers)
        self.timer.answer(self.invite, response)
        settled = (response.to.tag or "") in self._reliable_bodies
        if not quirks.no_sdp_in_200 and not (settled and not quirks.answers_again):
            if not self.invite.body:
                self._attach(response, self.media.offer())
                self._ack_wants_answer = True
            else:
                answer = self.media.answer(self.invite.body)
                if answer is None:
                    self.reject(488)
                    return
                self._attach(response, answer)
        own = response.to.tag or ""
        first = not self.status
        dialog = self._forks.get(own) or PhoneDialog.answering(self.invite, own)
        self._forks[own] = dialog
        if first:
            self.status, self.local_tag, self._dialog = status, own, dialog
            self.state = CallState.ANSWERING
            self._provisionals.stop()
            if quirks.bye_before_200:
                self._send_bye()
        self._answers.send(server, response, quirks.extra_200)
        if first and quirks.bye_behind_200:
            self._send_bye()
        self.media.start()
        self.phone.changed()

    def reject(self, status: int = 603, headers: Headers = (), *, retry_after: int | None = None) -> None:
        """Refuse an incoming call with a final status of 300 or more; ``retry_after`` is in seconds (20.33)."""
        server = self._incoming()
        if retry_after is not None:
            headers = [*headers, ("Retry-After", str(retry_after))]
        self.status = status
        server.respond(self._response(server, status, None, headers))
        self._end("near")

    def redirect(self, *uris: str, status: int = 302, headers: Headers = ()) -> None:
        """Send an incoming call elsewhere: a 3xx with these Contacts, in this order (21.3)."""
        weights = [f"<{uri}>;q={1 - i / 10:.1f}" if len(uris) > 1 else f"<{uri}>" for i, uri in enumerate(uris)]
        self.reject(status, [*(("Contact", weight) for weight in weights), *headers])

    def arrived(self, server: ServerTransaction) -> None:
        """Take the INVITE of a new call."""
        self._server = server
        if self.phone.quirks.trying:
            server.reply(100)

    def cancelled(self) -> None:
        """Take a CANCEL of the INVITE, which has been answered with 200."""
        quirks = self.phone.quirks
        if quirks.answer_on_cancel and not self.status:
            self.answer()
        elif not self.status and not quirks.ignore_cancel:
            server = self._incoming()
            self.status = 487
            server.respond(self._response(server, 487, None, ()))
            self._end("far")

    def acknowledged(self, ack: Request) -> None:
        """Take an ACK for one of our 2xx."""
        key = tag, number = ack.to.tag or "", ack.cseq.number
        self._answers.acknowledged(key)
        if number not in self._answers.numbers:
            self.phone.complain(f"ACK: CSeq {number} is of no INVITE that was answered (13.2.2.4)")
        self._judge_target(ack)
        self.acks[tag] += 1
        if key in self.offers.unacknowledged:
            self.offers.acknowledged(self.offers.unacknowledged.pop(key), ack)
        elif tag == self.local_tag and self.state is CallState.ANSWERING:
            self._answer_acked(ack)
        self.phone.changed()

    def _answer_acked(self, ack: Request) -> None:
        if self._ack_wants_answer:
            self._ack_wants_answer = False
            if not ack.body:
                self.phone.complain("ACK: no answer to the offer of our 2xx (13.2.1)")
            else:
                self.media.take_answer(ack.body)
                self.media.start()
        elif ack.body:
            self.phone.complain("ACK: a body, though the 2xx held the answer (13.2.1)")
        self.state = CallState.TALKING
        self.answered = True
        if self._bye_wanted is not None:
            self._send_bye().chainDeferred(self._bye_wanted)

    def _unpracked(self) -> None:
        """Refuse a call whose reliable response nobody acknowledged, RFC 3262 3."""
        self.phone.unpracked += 1
        if not self.status:
            self.reject(504)

    def _prack_came(self, server: ServerTransaction) -> None:
        request = server.request
        tag = request.to.tag or ""
        meant = self._provisionals.answer_out(tag)
        fault = self._provisionals.acknowledged(request)
        if fault is not None:
            self.phone.complain(f"PRACK: {fault} (RFC 3262 3)")
            server.reply(481)
            return
        response = self._response(server, 200, None, ())
        offered = meant is not None and bool(meant.body) and not self.invite.body
        if offered and not request.body:
            self.phone.complain("PRACK: no answer to the offer of our reliable response (RFC 3262 5)")
        elif offered:
            self.media.take_answer(request.body)
            self.media.start()
        elif request.body:
            self._attach(response, self.media.answer(request.body))
        server.respond(response)
        waiting, self._answer_waits = self._answer_waits, None
        if waiting is not None and not self.status:
            waiting()
        self.phone.changed()

    def _unacknowledged(self, key: AnswerKey) -> None:
        """End a call whose 2xx nobody acknowledged, 13.3.1.4."""
        self.phone.unacknowledged += 1
        if key[0] == self.local_tag and self.state is not CallState.ENDED:
            bye = self._send_bye()
            if self._bye_wanted is not None:
                bye.chainDeferred(self._bye_wanted)
