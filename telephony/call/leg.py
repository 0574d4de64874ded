"""A leg: one SIP dialog and its media, the only place where the two meet.

Owns: the INVITE session and its offer/answer exchange, from the first message to the end; what its media are made of
is in `leg_core`, how it calls in `leg_calling`. Tells its owner, the channel, in a handful of words what became of it.
Must not know channel states, verbs or transfers. RFC 3261 13 to 15 through `sip.session`, RFC 3264 through
`sdp.negotiation`, RFC 3960 for early media.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred, succeed

from telephony.call.leg_calling import CallingLeg
from telephony.call.leg_words import Change, Ending, How
from telephony.errors import RemoteProtocolError
from telephony.rtp.ports import NoPorts
from telephony.sdp.negotiation import EVENT, Agreed, PeerDescription, check_offer
from telephony.sip.headers import format_reason
from telephony.sip.incoming import IncomingSession
from telephony.sip.message import Request, Response
from telephony.sip.outgoing import OutgoingSession
from telephony.sip.particulars import reason_of
from telephony.sip.parties import MAX_FORKS, SessionRefusal
from telephony.sip.reliable import reliable_number
from telephony.sip.session import Session
from telephony.sip.uri import SipUri

if TYPE_CHECKING:
    from telephony.sip.refer import Referred


class Leg(CallingLeg):
    """One dialog with its media. Make it with `dial` or `arrive`; end it with `end`."""

    __slots__ = ()

    # -- incoming ------------------------------------------------------------------------------------------------

    def arrive(self, session: IncomingSession) -> None:
        """Take an INVITE that came in, with or without an offer.

        Raises RemoteProtocolError (488) when its offer holds nothing we can use, NoPorts when no RTP port is free;
        the INVITE is still unanswered then.
        """
        request = session.request
        self._securing = self._exchange.securing(session.way.transport == "TLS")
        if request.body:
            # A look only, so that a caller we can't talk to is refused before an application starts.
            self._offer = PeerDescription(request.body)
            check_offer(self._offer, session.arrived_at[0], self._securing)
        self._open_media(session.arrived_at[0], session.way.remote[0], ())
        if session.identity is None and self._rtp is not None:
            self._rtp.stranger_at = session.way.remote[0]
        self.session = session
        session.observer = self

    def ring(self, early_media: bool, codecs: Sequence[str]) -> None:
        """Send 180, or 183 with our answer so that the caller hears us before the call is answered.

        Reliably (RFC 3262) where the caller requires it; where it only supports it and is to hear early media, if the
        exchange is set so. What goes reliably to a caller without an offer holds ours.
        """
        session = self.session
        assert isinstance(session, IncomingSession) and self._negotiation is not None
        if not session.request.body and session.must_ring_reliably and self._early is None:
            self._negotiation = self._negotiation_for(codecs)
            session.ring(183 if early_media else 180, self._negotiation.offer())
            self._early = ""
            self._reliable[""] = b""
        elif not early_media or not session.request.body or self._early is not None:
            session.ring(180)
        else:
            wanted = session.may_ring_reliably and self._exchange.reliable_early_media
            session.ring(183, self._answer_offer(codecs), reliably=wanted)
            self._early = ""
            if wanted or session.must_ring_reliably:
                self._reliable[""] = b""
            self._start_media()

    def answer(self, codecs: Sequence[str], headers: Sequence[tuple[str, str]]) -> None:
        """Send the 200 with our answer, or with our offer when the INVITE had none (RFC 3261 13.2.1).

        Raises RemoteProtocolError (488) when none of ``codecs`` is in the offer; nothing has been sent then.
        """
        assert isinstance(self.session, IncomingSession) and self._negotiation is not None
        body: bytes | None
        if self._reliable:
            # What went reliably holds the answer, or our offer: the 2xx has no description (RFC 6337 3.1).
            body = None
        elif self._early is not None:
            # The 183 held the answer, and an offer has one answer only: the 200 repeats it (RFC 3261 13.2.1).
            assert self._offer is not None
            body, _agreed = self._negotiation.offered(self._offer)
        elif self.session.request.body:
            body = self._answer_offer(codecs)
        else:
            self._negotiation = self._negotiation_for(codecs)
            body = self._negotiation.offer()
        self._offer = None
        self.session.answer(body, headers)

    def _answer_offer(self, codecs: Sequence[str]) -> bytes:
        assert self._offer is not None and self.endpoint is not None
        negotiation = self._negotiation_for(codecs)
        body, agreed = negotiation.offered(self._offer)
        self._negotiation = negotiation
        self.endpoint.apply(agreed)
        return body

    def reject(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Answer the INVITE with a final status of 400 or more and be over; the owner hears nothing more."""
        session = self.session
        self._close()
        if isinstance(session, IncomingSession):
            session.reject(status, headers=headers)

    # -- both ----------------------------------------------------------------------------------------------------

    def change(self, change: Change) -> None:
        """Offer the far end a direction by re-INVITE: "sendonly" or "inactive" to hold it, "sendrecv" to resume.

        ``change.done`` is called, once, with what became of it; not when the leg ends first.
        """
        assert self.session is not None
        if not self.session.reoffer(change):
            change.done((0, "too many requests wait for their turn"))

    def withdraw(self, change: Change) -> bool:
        """Take a `change` back, of which nothing is heard then; False when it has been sent already."""
        return self.session is not None and self.session.withdraw(change)

    def leave(self, seconds: float) -> None:
        """Let go of the dialog, which somebody else has taken the place of; the owner hears nothing more.

        The far end may end it itself; after ``seconds`` we do.
        """
        session = self.session
        self._close()
        if session is not None:
            session.end_after(seconds)

    def silence(self) -> None:
        """Stop the media at once, while the dialog waits for its end (an unacknowledged 2xx)."""
        if self.endpoint is not None:
            self.endpoint.stop()

    def end(self, status: int = 0, reason: str = "") -> Deferred[None]:
        """End the leg from our side with what fits, CANCEL or BYE; the owner hears nothing more.

        Fires when the CANCEL or BYE is with its transaction, which for our own unacknowledged 2xx means: when the ACK
        came or 64*T1 are over (RFC 3261 15). It does not fail. ``status`` and ``reason`` go into a Reason header
        field (RFC 3326).
        """
        session = self.session
        self._close()
        if session is None:
            return succeed(None)
        why = format_reason("SIP", status, reason) if status else None
        if isinstance(session, OutgoingSession) and session.dialog is None:
            session.cancel(why)
            return succeed(None)
        return session.bye([("Reason", why)] if why else [])

    # -- SessionObserver -----------------------------------------------------------------------------------------

    def session_progress(self, session: Session, response: Response) -> None:
        """Take a provisional response: remember the fork's SDP, listen for its media, tell that it rings."""
        if self.owner is None:
            return
        if response.body and self._negotiation is not None:
            self._take_early(response)
        if 180 <= response.status <= 183:
            self.owner.leg_ringing(response)

    def _take_early(self, response: Response) -> None:
        fork = response.to.tag or ""
        assert self._negotiation is not None and self.endpoint is not None
        try:
            agreed = self._negotiation.preview(response.body)
        except RemoteProtocolError:
            return  # the 200 decides; what can't be used early is simply not heard
        if len(self._early_answers) < MAX_FORKS:
            self._early_answers.setdefault(fork, response.body)
            if reliable_number(response) is not None:
                # The session passes on only those that it has acknowledged. An answer that went so is the answer,
                # whatever is said later (RFC 3262 5, RFC 6337 3.1).
                self._reliable.setdefault(fork, response.body)
        if self._early is None:
            # RFC 3960 3.2: what this fork sends is heard; we send nothing before the answer.
            self._early = fork
            self.endpoint.apply(attrs.evolve(agreed, send=False))
            self.endpoint.on_first_packet = self._first_packet
            self.endpoint.start()

    def session_answered(self, session: Session, response: Response) -> None:
        """Take the first 2xx; the session has acknowledged it."""
        if self.owner is None or self._negotiation is None or self.endpoint is None:
            return
        fork = response.to.tag or ""
        body = self._reliable.get(fork) or response.body or self._early_answers.get(fork, b"")
        try:
            agreed = self._negotiation.answered(body)
        except RemoteProtocolError as error:
            session.bye()
            self._over(Ending(How.UNUSABLE, 0, str(error) if body else "the answer came without SDP"))
            return
        self._answered = True
        self._early_answers.clear()
        self._reliable.clear()
        self._begin_keys(session, response)
        self.endpoint.apply(agreed)
        self.endpoint.start()
        self._watch_media()
        self.owner.leg_answered(response)

    def session_redirected(self, session: Session, target: SipUri) -> None:
        """Forget the target before: what it said early is not heard any more, and its other addresses are of no use."""
        self._elsewhere = None
        self._early_answers.clear()
        self._reliable.clear()
        early, self._early = self._early, None
        if early is not None and self.endpoint is not None and self.endpoint.rtp.agreed is not None:
            self.endpoint.apply(attrs.evolve(self.endpoint.rtp.agreed, receive=False))
        if self.owner is not None:
            self.owner.leg_redirected(target)

    def session_refused(self, session: Session, status: int, reason: str, response: Response | None) -> None:
        """Take the final refusal of our INVITE, or its silence; targets that need another offer may be left (R5)."""
        elsewhere = self._elsewhere
        if status in (0, 503) and elsewhere is not None and self.owner is not None:
            self._release_media()
            try:
                elsewhere()
            except NoPorts as error:
                self._over(Ending(How.NO_PORTS, 0, str(error)))
            return
        self._over(Ending(How.REFUSED, status, reason, response))

    def session_cancelled(self, session: Session, request: Request | None) -> None:
        """Take the caller's CANCEL, or its BYE before our answer."""
        self._over(Ending(How.CANCELLED, 487, reason_of(request) or "Request Terminated"))

    def session_confirmed(self, session: Session, ack: Request) -> None:
        """Take the ACK of our 2xx, with the answer in it when the offer was ours."""
        if self.owner is None or self._negotiation is None or self.endpoint is None:
            return
        if self._negotiation.agreed is None:
            try:
                self.endpoint.apply(self._negotiation.answered(ack.body))
            except RemoteProtocolError as error:
                session.bye()
                self._over(Ending(How.UNUSABLE, 0, str(error)))
                return
        self._answered = True
        self._begin_keys(session, session.request)
        self.endpoint.start()
        self._watch_media()
        self.owner.leg_confirmed()

    def session_answer_in_prack(self, session: Session, prack: Request) -> bool:
        """Take the answer to the offer that went with a reliable 18x; the session refuses the call without one."""
        if self.owner is None or self._negotiation is None or self.endpoint is None:
            return True
        try:
            self.endpoint.apply(self._negotiation.answered(prack.body))
        except RemoteProtocolError as error:
            self._over(Ending(How.UNUSABLE, 488, str(error)))
            return False
        self._start_media()
        return True

    def session_unconfirmed(self, session: Session) -> None:
        """Our 2xx was never acknowledged, and BYE has been sent; or our reliable 18x never was, and 504 has been."""
        self._over(Ending(How.UNCONFIRMED, 408, "no ACK"))

    def session_offered(self, session: Session, request: Request) -> bytes | None:
        """Answer a re-INVITE from the offer in hand (RFC 3264 8), or make an offer when it has none (R26)."""
        if self.owner is None or self._negotiation is None or self.endpoint is None:
            raise SessionRefusal(481, "Call/Transaction Does Not Exist")
        if not request.body:
            return self._negotiation.current()
        try:
            answer, agreed = self._negotiation.offered(request.body)
        except RemoteProtocolError as error:
            raise SessionRefusal(488, "Not Acceptable Here") from error
        self._settle(agreed)
        return answer

    def session_answer_in_ack(self, session: Session, ack: Request) -> None:
        """Take the answer to the offer of our 200; an ACK without one keeps the old session (R26)."""
        if self.owner is None or self._negotiation is None or self.endpoint is None:
            return
        try:
            agreed = self._negotiation.answered(ack.body) if ack.body else None
        except RemoteProtocolError:
            agreed = None
        if agreed is None:
            self._negotiation.rollback()
            return
        self._settle(agreed)

    def _settle(self, agreed: Agreed) -> None:
        """Take what an exchange in the call has settled."""
        assert self.endpoint is not None and self._negotiation is not None
        self.endpoint.apply(agreed)
        if self.whereabouts is not None:
            self.whereabouts.settled(self._negotiation.elsewhere)
        if self.owner is not None:
            self.owner.leg_changed()

    def session_offer(self, session: Session, purpose: object) -> bytes:
        """Write our next offer: the direction wanted, or for a refresh what holds."""
        if self._negotiation is None:
            return b""
        if isinstance(purpose, Change):
            return self._negotiation.offer(purpose.direction, purpose.elsewhere)
        return self._negotiation.repeat()

    def session_offer_answered(self, session: Session, purpose: object, answer: bytes) -> None:
        """Take the answer to our offer; without one that can be used, what was agreed before still holds."""
        if self.owner is None or self._negotiation is None or self.endpoint is None:
            return
        refusal = None
        try:
            agreed = self._negotiation.answered(answer)
        except RemoteProtocolError as error:
            self._negotiation.rollback()
            refusal = 0, str(error) if answer else "the answer came without SDP"
        else:
            self._settle(agreed)
        if isinstance(purpose, Change):
            purpose.done(refusal)

    def session_offer_withdrawn(self, session: Session) -> None:
        """Forget our offer: what was agreed before still holds."""
        if self._negotiation is not None:
            self._negotiation.rollback()

    def session_offer_refused(self, session: Session, purpose: object, status: int, reason: str) -> None:
        """Take the refusal of our offer; a refresh that was refused is the session timer's business."""
        if isinstance(purpose, Change):
            purpose.done((status, reason))

    def session_key(self, session: Session, key: str) -> None:
        """Take a key that came by INFO."""
        agreed = self.agreed
        if self.whereabouts is not None and self.whereabouts.gone:
            self._key_by_info(key)  # its telephone events don't come by here, so that this is no second telling
            return
        self._keys_that_come().info(key, agreed is not None and EVENT in agreed.receive_payload_types.values())

    def session_referred(self, session: Session, referred: Referred) -> None:
        """Pass the far end's REFER on."""
        if self.owner is not None:
            self.owner.leg_referred(referred)

    def session_ended(self, session: Session, request: Request | None) -> None:
        """Take the far end's BYE."""
        self._over(Ending(How.HUNG_UP, 0, reason_of(request)))
