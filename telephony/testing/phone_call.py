"""One call of a phone: what a person does with it, and what the peer may ask in its dialog (RFC 3261 12 to 15).

Owns: the verbs of one call, and the answers to requests in its dialog. Must not know sockets, retransmission, or what a
description means. It is written from the RFCs and shares no code with ``telephony.sip.dialog`` and
``telephony.sip.session``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from telephony.interfaces import Address
from telephony.sip.message import Request
from telephony.testing.phone_answers import Answers
from telephony.testing.phone_callee import CalleeSide
from telephony.testing.phone_caller import CallerSide
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.phone_offers import Offers
from telephony.testing.phone_parts import ALLOW, CallState, Headers
from telephony.testing.phone_refer import Referrals, refer_to
from telephony.testing.phone_reliable import ReliableAnswers
from telephony.testing.phone_timer import SessionTimer
from telephony.testing.wire import ServerTransaction

if TYPE_CHECKING:
    from telephony.testing.phone import Phone

__all__ = ["ALLOW", "CallState", "Headers", "PhoneCall"]


class PhoneCall(CallerSide, CalleeSide):
    """A call, made by `Phone.dial` or by an INVITE that came.

    ``status`` is the final status of its INVITE, 0 while there is none and when none ever came. ``ended_by`` is
    ``"near"`` or ``"far"``, empty before the end. ``acks`` and ``byes`` count what came by our To-tag, so that forks
    can be told apart; ``provisionals`` lists the 1xx received.
    """

    def __init__(self, phone: Phone, invite: Request, *, outgoing: bool) -> None:
        super().__init__(phone, invite, outgoing=outgoing)
        self._answers = Answers(phone.wire, self._unacknowledged)
        self._provisionals = ReliableAnswers(phone.wire, phone.host.random, self._unpracked)
        self.offers = Offers(self)
        self.timer = SessionTimer(self, phone.session_timer)
        self.referrals = Referrals(self)

    # What a person does

    def hang_up(self) -> Deferred[int]:
        """End the call by whatever its state calls for; fires with the status of the answer, 0 for none.

        CANCEL before the answer (fires at once with 0), a 603 to a call that came in, BYE in a dialog: where our 2xx
        is not acknowledged yet, once it is, or after 64*T1 (15).
        """
        if self.state is CallState.ENDED:
            return succeed(0)
        if self.state in (CallState.DIALLING, CallState.FAR_RINGING):
            self.cancel()
            return succeed(0)
        if self.state in (CallState.INCOMING, CallState.RINGING):
            self.reject()
            return succeed(603)
        if self.state is CallState.ANSWERING:
            if self._bye_wanted is None:
                self._bye_wanted = Deferred()
            return self._bye_wanted
        return self._send_bye()

    def hold(self, direction: str = "sendonly") -> Deferred[int]:
        """Hold the peer by a re-INVITE: ``sendonly`` or ``inactive``. Fires with the final status, 0 for none."""
        return self.reinvite(direction)

    def resume(self) -> Deferred[int]:
        """End our hold; fires as `hold` does."""
        return self.reinvite("sendrecv")

    def reinvite(
        self, direction: str | None = None, *, offer: bool = True, tries: int = 5, headers: Headers = ()
    ) -> Deferred[int]:
        """Send a re-INVITE, with an offer of ``direction`` (None: as it is) or with none: then the ACK answers.

        A 491 is tried again after the time of RFC 3261 14.1. Fires with the final status, 0 for none; AssertionError
        when there is no dialog or another one is pending.
        """
        dialog = self._dialog
        if not self.talking or self.offers.pending or dialog is None:
            raise AssertionError(f"{self.phone.name} can't send a re-INVITE now: {self}")
        return self.offers.send("INVITE", dialog, direction, offer=offer, tries=tries, headers=headers)

    def update(
        self, direction: str | None = None, *, offer: bool = True, tries: int = 5, headers: Headers = ()
    ) -> Deferred[int]:
        """Send an UPDATE (RFC 3311) with an offer of ``direction``, or with none: that refreshes, and no more.

        It may go out before the answer, in the latest early dialog. Fires and fails as `reinvite` does; an offer needs
        that no other one is open.
        """
        dialog = self._dialog or self.early_dialog
        if not self.alive or dialog is None or self.offers.pending or (offer and self.owes_or_awaits_answer):
            raise AssertionError(f"{self.phone.name} can't send an UPDATE now: {self}")
        return self.offers.send("UPDATE", dialog, direction, offer=offer, tries=tries, headers=headers)

    def refresh(self, by: str = "INVITE") -> Deferred[int]:
        """Refresh the session (RFC 4028 7.4): by an UPDATE without, or a re-INVITE with the same description."""
        return self.update(offer=False) if by == "UPDATE" else self.reinvite()

    def send_info(self, body: bytes, content_type: str = "application/dtmf-relay") -> Deferred[int]:
        """Send an INFO; fires with its final status, 0 for none."""
        if self._dialog is None:
            raise AssertionError(f"{self.phone.name} has no dialog: {self}")
        request = self._request(self._dialog, "INFO")
        request.add("Content-Type", content_type)
        request.body = body
        return self._answered_status(self._dialog, request)

    def transfer(
        self, to: str | None = None, *, replaces: PhoneCall | None = None, headers: Headers = ()
    ) -> Deferred[int]:
        """Ask the peer by REFER to call ``to``; with ``replaces``, in the place of another call of this phone's.

        Fires with the final status that the peer reports of the new call, with the REFER's where it is refused, 0
        where nothing comes. Our own call stays; whoever transfers hangs up.
        """
        dialog = self._dialog
        if not self.talking or dialog is None or (to is None and replaces is None):
            raise AssertionError(f"{self.phone.name} can't transfer now, or says nowhere to: {self}")
        target = to if replaces is None else refer_to(replaces, to)
        assert target is not None
        return self.referrals.send(dialog, target, headers)

    @property
    def rtp_address(self) -> Address:
        """Where this phone's RTP comes from and goes to, as the phone itself knows it."""
        return self.phone.wire.address[0], self.media.audio.ports[0]

    def rebind_media(self) -> None:
        """Send RTP from a new port from now on without saying so, as behind a NAT that forgot us."""
        self.media.audio.rebind()

    # In the dialog

    def dialog_of(self, request: Request) -> PhoneDialog | None:
        """Return the dialog of this call that a request is of, if there is one."""
        own = request.to.tag or ""
        if self.outgoing:
            found = self._forks.get(request.from_.tag or "") or self._dialog
            if found is None and own == self.local_tag:
                # An early dialog, or one whose first message this is: it has overtaken the response that begins it.
                remote_tag = request.from_.tag
                found = PhoneDialog(
                    self.call_id, self.invite.get("From") or "", own, request.get("From") or "", remote_tag
                )
                found.sequence = self.invite.cseq.number
                found.refresh(request)
                self._forks[remote_tag or ""] = found
            return found if found is not None and own == found.local_tag else None
        return self._fork(own) if own in (*self._forks, self.local_tag, *self._early_tags) else None

    def request_came(self, server: ServerTransaction, dialog: PhoneDialog) -> None:
        """Answer a request in the dialog, in order (12.2.2)."""
        request = server.request
        if request.from_.tag != dialog.remote_tag:
            self.phone.complain(f"{request.method}: From has a tag that is not of this dialog")
            server.reply(481)
            return
        self._judge_target(request)
        number = request.cseq.number
        if number <= dialog.remote_seq:
            if number == dialog.remote_seq:
                self.phone.complain(f"{request.method}: CSeq {number} for the second time (12.2.1.1)")
            server.reply(500)
            return
        dialog.remote_seq = number
        if request.method == "BYE":
            self._bye_came(server)
        elif request.method == "NOTIFY" and (self.alive or self.referrals.open):
            self.referrals.notified(server)
        elif self.state is CallState.ENDED:
            server.reply(481)
        elif request.method == "REFER":
            self.referrals.came(server, dialog)
        elif request.method in ("INVITE", "UPDATE"):
            self.offers.came(server, dialog)
        elif request.method == "PRACK":
            self._prack_came(server)
        elif request.method == "INFO":
            self.info.append(request)
            server.reply(200)
            self.phone.changed()
        elif request.method == "OPTIONS":
            server.respond(self._response(server, 200, None, [("Accept", "application/sdp")]))
        else:
            server.respond(self._response(server, 405, None, ()))

    def _bye_came(self, server: ServerTransaction) -> None:
        tag = server.request.to.tag or ""
        self.byes[tag] += 1
        if self.byes[tag] > 1:
            self.phone.complain("BYE: a second one in one dialog")
        if self.phone.quirks.ignore_bye:
            return
        server.reply(200)
        invite = self._server
        if invite is not None and invite.status < 200:
            invite.respond(self._response(invite, 487, None, ()))
            self.status = 487
        self._answers.stop(tag)
        if tag == self.local_tag and self.state is not CallState.ENDED:
            self._end("far")

    # The end

    def forget(self) -> None:
        """Drop everything at once, saying nothing to anybody."""
        self._answers.stop()
        self._provisionals.stop()
        self.timer.stop()
        for timer in [*self._timers, *([self._cancel_limit] if self._cancel_limit else [])]:
            if timer.active():
                timer.cancel()
        self.media.audio.close()
