"""A phone's call as the one who dialled: its INVITE and what is answered to it (RFC 3261 13.2, 9.1; RFC 3262 4).

Owns: provisional responses and their early dialogs, the 2xx of every fork, giving up. Must not know requests in the
dialog, or the callee's side.
"""

from __future__ import annotations

from telephony.sip.message import Request, Response
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.phone_parts import CallParts, CallState
from telephony.testing.phone_reliable import TAG as RELIABLE
from telephony.testing.wire import ClientTransaction, Way


class CallerSide(CallParts):
    """What the one who dialled does; see `telephony.testing.phone_call.PhoneCall`."""

    def cancel(self) -> None:
        """Give up an outgoing call that has not been answered: CANCEL, as soon as a provisional response allows it."""
        if not self.outgoing or self._client is None or self.status:
            raise AssertionError(f"{self.phone.name} has no call to cancel: {self}")
        self._cancelling = True
        if self._client.provisional:
            self._send_cancel()

    def begin(self, way: Way | None) -> None:
        """Send the INVITE."""
        if way is None:
            self._end("near")
            return
        self._client = self.phone.sending.begin(
            self.invite,
            way,
            self._invite_answered,
            amend=self._amend,
            wanted=lambda: self.alive and not self._cancelling,
            began=self._begun_again,
        )

    def _begun_again(self, invite: Request, client: ClientTransaction) -> None:
        self.invite, self._client = invite, client

    def _invite_answered(self, response: Response | None) -> None:
        for watcher in self.watchers:
            watcher(response)
        if response is None:
            if self.state is not CallState.ENDED:
                self._end("near")
            return
        if response.status < 200:
            self._progress(response)
        elif response.status < 300:
            self.status, self.reason = response.status, response.reason
            self._accepted(response)
        else:
            self.status, self.reason = response.status, response.reason
            if self._cancel_limit is not None and self._cancel_limit.active():
                self._cancel_limit.cancel()
            if self.state is not CallState.ENDED:
                self._end("near" if self._cancelling else "far")

    def _progress(self, response: Response) -> None:
        self.provisionals.append(response)
        tag = response.to.tag
        if response.status > 100 and tag is not None:
            dialog = self._forks.get(tag)
            if dialog is None:
                dialog = self._forks[tag] = PhoneDialog.called(self.invite, response)
            else:
                dialog.refresh(response)
            if RELIABLE in response.require and not self._take_reliable(dialog, response):
                return
        if self._cancelling:
            self._send_cancel()
            return
        if response.status > 100:
            self.rang = True
            self.state = CallState.FAR_RINGING
            if response.body and RELIABLE not in response.require:
                self.media.hear_early(response.body)
        self.phone.changed()

    def _take_reliable(self, dialog: PhoneDialog, response: Response) -> bool:
        """Take a reliable response and PRACK it (RFC 3262 4); False for one that is to be ignored."""
        phone = self.phone
        if RELIABLE not in (*self.invite.supported, *self.invite.require):
            phone.complain(f"{response.status}: sent reliably, though we never said 100rel (RFC 3262 3)")
        try:
            number = self._order.take(response)
        except ValueError as error:
            phone.complain(f"{response.status}: {error}")
            return False
        if number is None:
            return False
        answer: bytes | None = None
        tag = dialog.remote_tag or ""
        if response.body:
            if not self.invite.body:
                answer = self.media.answer(response.body)
                self.media.start()
            elif not self._settled:
                if self.media.take_answer(response.body):
                    self._settled = tag
                    self.media.start()
            elif tag not in self._reliable_bodies:
                self.media.hear_early(response.body)
            self._reliable_bodies.setdefault(tag, response.body)
        if not phone.quirks.no_prack:
            prack = self._request(dialog, "PRACK")
            prack.add("RAck", f"{number} {response.cseq}")
            self._attach(prack, answer)
            self._send(dialog, prack, lambda response: None)
        return True

    def _accepted(self, response: Response) -> None:
        """Take the first 2xx: ACK it, and be in a call, unless we had given it up (then BYE)."""
        tag = response.to.tag or ""
        dialog = PhoneDialog.called(self.invite, response)
        early = self._forks.get(tag)
        if early is not None:  # 13.2.2.4: the route set is that of the 2xx, the numbers go on
            dialog.sequence, dialog.remote_seq = max(early.sequence, dialog.sequence), early.remote_seq
        self._dialog = self._forks[tag] = dialog
        ack_body: bytes | None = b""
        usable = True
        settled = self._reliable_bodies.get(tag)
        if self.invite.body and settled is not None:
            if self._settled != tag:  # another fork's answer stood until now
                usable = self.media.answered_by_another(self.invite.body, settled)
        elif self.invite.body:
            if self._settled:
                usable = self.media.answered_by_another(self.invite.body, response.body)
            else:
                usable = self.media.take_answer(response.body)
        elif response.body and settled is None:
            ack_body = self.media.answer(response.body)
        if not self.phone.quirks.no_ack:
            self._acknowledge(dialog, response, ack_body or b"")
        if self._cancel_limit is not None and self._cancel_limit.active():
            self._cancel_limit.cancel()
        if self.state is CallState.ENDED or self._cancelling or not usable or ack_body is None:
            if self.byes:
                return  # their BYE came before their 2xx
            if not usable:
                self.phone.complain("the answer can't be used")
            self._send_bye()
            return
        self.state = CallState.TALKING
        self.answered = True
        self.media.start()
        self.timer.agreed(response, ours=True)
        self.phone.changed()

    def stray_2xx(self, response: Response) -> None:
        """Acknowledge a 2xx again, or one of another fork and end that one (13.2.2.4)."""
        if self.phone.quirks.no_ack:
            return
        known = self._invite_acks.get((response.cseq.number, response.to.tag or ""))
        if known is not None:
            self.phone.wire.send_once(*known)
            return
        if not self.outgoing:  # the callee's INVITEs are within a dialog, and never fork
            self.phone.complain(f"{response.status}: to no INVITE of this phone's")
            return
        fork = PhoneDialog.called(self.invite, response)
        self._forks[fork.remote_tag or ""] = fork
        self._acknowledge(fork, response, b"")
        self._answered_status(fork, self._request(fork, "BYE"))

    def _send_cancel(self) -> None:
        client = self._client
        if client is None or self._cancel_limit is not None:
            return
        cancel = Request("CANCEL", self.invite.uri)
        cancel.add("Via", str(self.invite.via))
        for route in self.invite.get_all("Route"):
            cancel.add("Route", route)
        cancel.add("Max-Forwards", "70")
        for name in ("From", "To", "Call-ID"):
            cancel.add(name, self.invite.get(name) or "")
        cancel.add("CSeq", f"{self.invite.cseq.number} CANCEL")
        wire = self.phone.wire
        # 9.1: when the INVITE gets no final response in 64*T1, it is taken for gone.
        self._cancel_limit = self.phone.host.clock.callLater(64 * wire.t1, client.stop)
        wire.begin(cancel, client.way, lambda response: None)
        self._end("near")
