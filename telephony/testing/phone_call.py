"""One call of a phone: its dialog and its INVITE, as caller or as callee (RFC 3261 12 to 15).

Owns: the states of one call, what it sends and answers, and what it finds wrong with the peer. Must not know sockets,
retransmission of anything but a 2xx, or what a description means. It is written from the RFCs and shares no code with
``telephony.sip.dialog`` and ``telephony.sip.session``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from telephony.interfaces import Address, DelayedCall
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.uri import SipUri, parse_uri
from telephony.testing.phone_answers import AnswerKey, Answers
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.phone_media import PhoneMedia
from telephony.testing.phone_offers import Offers
from telephony.testing.phone_refer import Referrals, Replaced, refer_to
from telephony.testing.phone_reliable import TAG as RELIABLE
from telephony.testing.phone_reliable import ReliableAnswers, ReliableOrder
from telephony.testing.phone_timer import SessionTimer
from telephony.testing.wire import ClientTransaction, ServerTransaction, Way

if TYPE_CHECKING:
    from telephony.testing.phone import Phone

ALLOW = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, PRACK, REFER, NOTIFY"
Headers = Sequence[tuple[str, str]]


class CallState(Enum):
    """Where a phone's call stands."""

    DIALLING = auto()
    """Our INVITE is out."""
    FAR_RINGING = auto()
    """A provisional response other than 100 has come."""
    INCOMING = auto()
    """Their INVITE has come."""
    RINGING = auto()
    """We have sent a provisional response other than 100."""
    ANSWERING = auto()
    """We have sent a 2xx that is not acknowledged yet."""
    TALKING = auto()
    """There is a confirmed dialog."""
    ENDED = auto()
    """It is over: BYE sent or received, refused, cancelled, or given up."""


class PhoneCall:
    """A call, made by `Phone.dial` or by an INVITE that came.

    ``status`` is the final status of its INVITE, 0 while there is none and when none ever came. ``ended_by`` is
    ``"near"`` or ``"far"``, empty before the end. ``acks`` and ``byes`` count what came by our To-tag, so that forks
    can be told apart; ``provisionals`` lists the 1xx received.
    """

    def __init__(self, phone: Phone, invite: Request, *, outgoing: bool) -> None:
        self.phone = phone
        self.invite = invite
        self.outgoing = outgoing
        self.call_id = invite.call_id
        self.state = CallState.DIALLING if outgoing else CallState.INCOMING
        self.status = 0
        self.reason = ""
        self.ended_by = ""
        self.rang = False
        self.answered = False
        self.acks: Counter[str] = Counter()
        self.byes: Counter[str] = Counter()
        self.provisionals: list[Response] = []
        self.info: list[Request] = []
        self.local_tag = (invite.from_.tag if outgoing else None) or phone.token()
        self.media: PhoneMedia = PhoneMedia(
            phone.host,
            phone.wire.address[0],
            phone.quirks,
            phone.complain,
            codecs=phone.codecs,
            ptime=phone.ptime,
            sends=phone.media,
            srtp=phone.srtp,
        )
        self.media.audio.ear.on_digit = lambda digit: phone.changed()
        self._dialog: PhoneDialog | None = None
        self._forks: dict[str, PhoneDialog] = {}  # dialogs by our tag, and as caller by theirs
        self._client: ClientTransaction | None = None
        self._server: ServerTransaction | None = None
        self._invite_acks: dict[tuple[int, str], tuple[Request, Way]] = {}  # our ACKs, by CSeq and To-tag
        self._answers = Answers(phone.wire, self._unacknowledged)
        self._provisionals = ReliableAnswers(phone.wire, phone.host.random, self._unpracked)
        self._order = ReliableOrder()
        self._settled = ""  # the tag of the fork with which a reliable answer has settled the INVITE's offer
        self._reliable_bodies: dict[str, bytes] = {}  # and what each fork has said reliably
        self._answer_waits: Callable[[], None] | None = None
        self.offers = Offers(self)
        self.timer = SessionTimer(self, phone.session_timer)
        self.referrals = Referrals(self)
        self.watchers: list[Callable[[Response | None], None]] = []
        """Called with each response to our INVITE, None for none."""
        self.replaced: PhoneCall | None = None
        """The call in whose place this one is (RFC 3891)."""
        self._early_tags: set[str] = set()
        self._cancelling = False
        self._cancel_limit: DelayedCall | None = None
        self._bye_wanted: Deferred[int] | None = None
        self._ack_wants_answer = False
        self._timers: list[DelayedCall] = []

    # What a person does

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

    def cancel(self) -> None:
        """Give up an outgoing call that has not been answered: CANCEL, as soon as a provisional response allows it."""
        if not self.outgoing or self._client is None or self.status:
            raise AssertionError(f"{self.phone.name} has no call to cancel: {self}")
        self._cancelling = True
        if self._client.provisional:
            self._send_cancel()

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

    # Where it stands

    @property
    def talking(self) -> bool:
        """Whether there is a confirmed dialog."""
        return self.state is CallState.TALKING

    @property
    def alive(self) -> bool:
        """Whether it has begun and has not ended."""
        return self.state is not CallState.ENDED

    @property
    def replaces(self) -> Replaced:
        """What names this call's dialog to the peer, for a Replaces (RFC 3891 6.1). AssertionError without one."""
        dialog = self._dialog or self.early_dialog
        if dialog is None:
            raise AssertionError(f"there is no dialog to be replaced: {self}")
        return Replaced(self.call_id, dialog.remote_tag or "", dialog.local_tag)

    def is_dialog(self, local_tag: str, remote_tag: str) -> bool:
        """Tell whether one of this call's dialogs has these tags."""
        dialogs = [*self._forks.values(), *([self._dialog] if self._dialog else [])]
        return any((one.local_tag, one.remote_tag) == (local_tag, remote_tag) for one in dialogs)

    @property
    def remote_target(self) -> str:
        """The peer's Contact."""
        dialog = self._dialog or self.early_dialog
        return dialog.target if dialog is not None else self.invite.uri

    @property
    def early_dialog(self) -> PhoneDialog | None:
        """The dialog that the last provisional response has begun or was in; None when there was none with a tag."""
        if self.outgoing:
            return list(self._forks.values())[-1] if self._forks else None
        return self._fork(self.local_tag) if self.state is CallState.RINGING else None

    @property
    def owes_answer(self) -> bool:
        """Whether the INVITE that came has an offer and nothing that we sent has answered it."""
        open_ = not self.outgoing and self._server is not None and self._server.status < 200
        return open_ and bool(self.invite.body) and self.local_tag not in self._reliable_bodies

    @property
    def owes_or_awaits_answer(self) -> bool:
        """Whether an offer is open, theirs or ours: no other may be made (RFC 3264 4, RFC 3311 5.1)."""
        return self.owes_answer or self.media.offering

    @property
    def can_offer(self) -> bool:
        """Whether a re-INVITE could go out now."""
        return self.talking and not self.offers.pending and not self.offers.unacknowledged

    # As caller

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

    def _amend(self, request: Request, response: Response) -> bool:
        """Change a request that is to be sent again as its answer wants: a 422 names a longer interval."""
        return response.status == 422 and self.timer.asked_more(request, response)

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

    def _acknowledge(self, dialog: PhoneDialog, response: Response, body: bytes) -> None:
        number = response.cseq.number
        ack = self._request(dialog, "ACK", number + self.phone.quirks.ack_cseq)
        answered = self.phone.wire.clients.get((response.via.branch or "", "INVITE"))
        if answered is not None:  # 22.1: an ACK can't be challenged, it has what the INVITE had
            for name in ("Authorization", "Proxy-Authorization"):
                for value in answered.request.get_all(name):
                    ack.add(name, value)
        self._attach(ack, body)

        def found(way: Way | None) -> None:
            if way is not None:
                self._invite_acks[number, dialog.remote_tag or ""] = ack, way
                self.phone.wire.send_once(ack, way)

        self._find_way(dialog, found)

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

    # As callee

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

    def _fork(self, own: str) -> PhoneDialog:
        """Return the callee's dialog of one of our tags, made when it is first needed."""
        found = self._forks.get(own)
        if found is None:
            found = self._forks[own] = PhoneDialog.answering(self.invite, own)
        return found

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

    def _send_bye(self) -> Deferred[int]:
        dialog = self._dialog
        if dialog is None:
            return succeed(0)
        if self.state is not CallState.ENDED:
            self._end("near", said_bye=True)
        done = self._answered_status(dialog, self._request(dialog, "BYE"))
        return done.addCallback(self._bye_answered)

    # Building

    def _incoming(self) -> ServerTransaction:
        if self.outgoing or self._server is None or self.status:
            raise AssertionError(f"{self.phone.name} has no incoming call to answer: {self}")
        return self._server

    def _response(self, server: ServerTransaction, status: int, tag: str | None, headers: Headers) -> Response:
        response = respond(server.request, status, to_tag=None if status == 100 else tag or self.local_tag)
        if tag is not None:
            self._early_tags.add(tag)
        if 100 < status < 300 and server.request.method in ("INVITE", "UPDATE"):
            response.add("Contact", f"<{self.phone.contact(server.way.transport)}>")
        if status < 300 or status == 405:
            response.add("Allow", ALLOW)
        if 200 <= status < 300 and server.request.method in ("INVITE", "UPDATE", "OPTIONS") and self.phone.supports:
            response.add("Supported", ", ".join(self.phone.supports))
        for name, value in headers:
            response.add(name, value)
        return response

    def _request(self, dialog: PhoneDialog, method: str, number: int | None = None) -> Request:
        request = dialog.request(method, self.phone.wire.via(dialog.transport), number)
        if method in ("INVITE", "UPDATE", "REFER", "NOTIFY"):
            request.add("Contact", f"<{self.phone.contact(dialog.transport)}>")
        if method in ("INVITE", "UPDATE"):
            request.add("Allow", ALLOW)
            if self.phone.supports:
                request.add("Supported", ", ".join(self.phone.supports))
        return request

    @staticmethod
    def _attach(message: Message, body: bytes | None) -> None:
        if body:
            message.set("Content-Type", "application/sdp")
            message.body = body

    def _find_way(self, dialog: PhoneDialog, found: Callable[[Way | None], None]) -> None:
        hop = dialog.next_hop()
        if hop is None:
            found(None)
        else:
            self.phone.wire.ways(hop, "udp", found)

    def _send(
        self,
        dialog: PhoneDialog,
        request: Request,
        answered: Callable[[Response | None], None],
        began: Callable[[Request], None] = lambda request: None,
    ) -> None:
        def found(way: Way | None) -> None:
            if way is None:
                answered(None)
            else:
                self.phone.sending.begin(
                    request,
                    way,
                    answered,
                    dialog=dialog,
                    amend=self._amend,
                    began=lambda again, client: began(again),
                )

        self._find_way(dialog, found)

    def _answered_status(self, dialog: PhoneDialog, request: Request) -> Deferred[int]:
        done: Deferred[int] = Deferred()

        def answered(response: Response | None) -> None:
            if response is None or response.status >= 200:
                done.callback(response.status if response else 0)

        self._send(dialog, request, answered)
        return done

    def _judge_target(self, request: Request) -> None:
        """Complain unless a request in the dialog goes to our Contact (12.2.1.1), whichever transport that named."""
        sent_to = request.parsed_uri
        ours = [parse_uri(self.phone.contact(transport)) for transport in ("UDP", "TCP", "TLS")]
        if not any(isinstance(one, SipUri) and one.equals(sent_to) for one in ours):
            self.phone.complain(f"{request.method}: sent to {request.uri}, our Contact is {ours[0]} (12.2.1.1)")

    # The end

    def _bye_answered(self, status: int) -> int:
        self.media.audio.end()
        return status

    def _end(self, by: str, *, said_bye: bool = False) -> None:
        self.state = CallState.ENDED
        self.ended_by = by
        self.timer.stop()
        self._provisionals.stop()
        if said_bye:  # they may send until they know
            self.media.audio.mouth.stop()
        else:
            self.media.audio.end()
        if self._bye_wanted is not None and by == "far":
            self._bye_wanted.callback(0)
        self.phone.changed()

    def _later(self, delay: float, function: Callable[..., object], *args: object) -> None:
        self._timers = [timer for timer in self._timers if timer.active()]
        self._timers.append(self.phone.host.clock.callLater(delay, function, *args))

    def forget(self) -> None:
        """Drop everything at once, saying nothing to anybody."""
        self._answers.stop()
        self._provisionals.stop()
        self.timer.stop()
        for timer in [*self._timers, *([self._cancel_limit] if self._cancel_limit else [])]:
            if timer.active():
                timer.cancel()
        self.media.audio.close()

    def __repr__(self) -> str:
        way = "to" if self.outgoing else "from"
        who = self.invite.to.uri if self.outgoing else self.invite.from_.uri
        return f"<call {way} {who}: {self.state.name}{f' {self.status}' if self.status else ''}>"
