"""A phone's re-INVITEs and UPDATEs, both ways: what changes a session that there is (RFC 3261 14, RFC 3311).

Owns: which of these is under way, when one has to wait or is refused with 491, and what its answer does. Must not know
how the dialog came about or what a description means. It is written from the RFCs and shares no code with
``telephony.sip.session``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from telephony.sip.message import Request, Response, respond
from telephony.testing.phone_answers import AnswerKey
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.wire import ServerTransaction

if TYPE_CHECKING:
    from telephony.testing.phone_call import Headers, PhoneCall


class Offers:
    """The re-INVITEs and UPDATEs of one call.

    ``pending`` is whether one of ours is out; ``unacknowledged`` are their re-INVITEs that have our 2xx and not their
    ACK, by our tag and their CSeq number: did they hold an offer?
    """

    def __init__(self, call: PhoneCall) -> None:
        self._call = call
        self.pending = False
        self.unacknowledged: dict[AnswerKey, bool] = {}

    # Ours

    def send(
        self,
        method: str,
        dialog: PhoneDialog,
        direction: str | None = None,
        *,
        offer: bool = True,
        tries: int = 5,
        headers: Headers = (),
    ) -> Deferred[int]:
        """Send an INVITE or UPDATE in the dialog, with an offer of ``direction`` (None: as it is) or with none.

        A 491 is tried again after the time of RFC 3261 14.1, ``tries`` times in all. Fires with the final status, 0
        for none.
        """
        call = self._call
        media = call.media
        before = media.direction
        media.direction = direction or before
        request = call._request(dialog, method)
        for name, value in headers:
            request.add(name, value)
        call.timer.ask(request)
        if offer:
            call._attach(request, media.offer())
        done: Deferred[int] = Deferred()
        self.pending = True
        again = partial(self._again, method, dialog, media.direction, offer, tries - 1, headers, done)

        def came(response: Response | None) -> None:
            if response is None or response.status >= 200:
                self._answered(request, dialog, offer, before, again if tries > 1 else None, done, response)

        call._send(dialog, request, came)
        return done

    def _answered(
        self,
        request: Request,
        dialog: PhoneDialog,
        offer: bool,
        before: str,
        again: partial[None] | None,
        done: Deferred[int],
        response: Response | None,
    ) -> None:
        call = self._call
        media = call.media
        self.pending = False
        status = response.status if response is not None else 0
        if response is not None and status < 300:
            dialog.refresh(response)
            body: bytes | None = b""
            if offer:
                if not media.take_answer(response.body):
                    call.phone.complain(f"the answer to our {request.method} can't be used")
                    media.withdraw()
            elif request.method == "INVITE":
                body = media.answer(response.body)
            elif response.body:
                call.phone.complain("UPDATE: a description in the answer to one without an offer (RFC 3311 5.2)")
            if request.method == "INVITE":
                call._acknowledge(dialog, response, body or b"")
            call.timer.agreed(response, ours=True)
        else:
            if offer:
                media.withdraw()
            media.direction = before
            if status == 491 and again is not None and call.alive:
                random = call.phone.host.random
                wait = random.randint(210, 400) if call.outgoing else random.randint(0, 200)
                call._later(wait / 100, again)
                return
            if status in (0, 408, 481) and call.talking:
                call._send_bye()
        call.phone.changed()
        done.callback(status)

    def _again(
        self,
        method: str,
        dialog: PhoneDialog,
        direction: str,
        offer: bool,
        tries: int,
        headers: Headers,
        done: Deferred[int],
    ) -> None:
        if not self._call.alive:
            done.callback(0)
        elif self.pending or self.unacknowledged:
            self._call._later(0.1, self._again, method, dialog, direction, offer, tries, headers, done)
        else:
            sent = self.send(method, dialog, direction, offer=offer, tries=tries, headers=headers)
            sent.chainDeferred(done)

    # Theirs

    def came(self, server: ServerTransaction, dialog: PhoneDialog) -> None:
        """Answer an INVITE or UPDATE in the dialog."""
        call = self._call
        request = server.request
        quirks = call.phone.quirks
        refused = self._refused(request)
        if refused is not None:
            call.media.see_refused(request.body)
            server.respond(refused)
            return
        if quirks.refuse_reinvite:
            call.media.see_refused(request.body)
            server.reply(quirks.refuse_reinvite)
            return
        short = call.timer.too_short(request)
        if short is not None:
            server.respond(short)
            return
        dialog.refresh(request)
        response = call._response(server, 200, None, ())
        if request.body:
            answer = call.media.answer(request.body)
            if answer is None:
                server.reply(488)
                return
            call._attach(response, answer)
        elif request.method == "INVITE":
            call._attach(response, call.media.offer())
        call.timer.answer(request, response)
        if request.method == "INVITE":
            self.unacknowledged[response.to.tag or "", request.cseq.number] = bool(request.body)
            call._answers.send(server, response)
        else:
            server.respond(response)
        call.phone.changed()

    def _refused(self, request: Request) -> Response | None:
        """Return the refusal of what comes at the wrong moment: RFC 3261 14.2, RFC 3311 5.2."""
        call = self._call
        quirks = call.phone.quirks
        if request.method == "UPDATE" and not request.body:  # a refresh: it may come at any time
            return None
        if quirks.glare:
            quirks.glare -= 1
            return respond(request, 491)
        if self.pending or call.media.offering:
            return respond(request, 491)
        if call.owes_answer:
            response = respond(request, 500)
            response.add("Retry-After", str(call.phone.host.random.randint(0, 10)))
            return response
        return None

    def acknowledged(self, offered: bool, ack: Request) -> None:
        """Take the ACK of our 2xx to a re-INVITE; one without an offer has our offer answered in it."""
        media = self._call.media
        if not offered and ack.body:
            media.take_answer(ack.body)
        elif not offered:
            self._call.phone.complain("ACK: no answer to the offer of our 2xx to a re-INVITE (14.1)")
            media.withdraw()
