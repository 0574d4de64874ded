"""What both sides of a phone's call rest on: its state, its dialogs, and the messages it makes (RFC 3261 12, 15).

Owns: the facts of one call, the building and sending of what goes in its dialogs, and its end. Must not know which side
dialled, or what is answered to what.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed

from telephony.interfaces import DelayedCall
from telephony.sip.message import Message, Request, Response, respond
from telephony.sip.uri import SipUri, parse_uri
from telephony.testing.phone_answers import Answers
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.phone_media import PhoneMedia
from telephony.testing.phone_offers import Offers
from telephony.testing.phone_refer import Referrals, Replaced
from telephony.testing.phone_reliable import ReliableAnswers, ReliableOrder
from telephony.testing.phone_timer import SessionTimer
from telephony.testing.wire import ClientTransaction, ServerTransaction, Way

if TYPE_CHECKING:
    from telephony.testing.phone import Phone
    from telephony.testing.phone_call import PhoneCall

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


class CallParts:
    """The facts of a call and what can be said in it; see `telephony.testing.phone_call.PhoneCall`."""

    offers: Offers
    timer: SessionTimer
    referrals: Referrals
    _answers: Answers
    _provisionals: ReliableAnswers

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
        self._order = ReliableOrder()
        self._settled = ""  # the tag of the fork with which a reliable answer has settled the INVITE's offer
        self._reliable_bodies: dict[str, bytes] = {}  # and what each fork has said reliably
        self._answer_waits: Callable[[], None] | None = None
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

    # Building and sending

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

    def _fork(self, own: str) -> PhoneDialog:
        """Return the callee's dialog of one of our tags, made when it is first needed."""
        found = self._forks.get(own)
        if found is None:
            found = self._forks[own] = PhoneDialog.answering(self.invite, own)
        return found

    def _amend(self, request: Request, response: Response) -> bool:
        """Change a request that is to be sent again as its answer wants: a 422 names a longer interval."""
        return response.status == 422 and self.timer.asked_more(request, response)

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

    def _send_bye(self) -> Deferred[int]:
        dialog = self._dialog
        if dialog is None:
            return succeed(0)
        if self.state is not CallState.ENDED:
            self._end("near", said_bye=True)
        done = self._answered_status(dialog, self._request(dialog, "BYE"))
        return done.addCallback(self._bye_answered)

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

    def __repr__(self) -> str:
        way = "to" if self.outgoing else "from"
        who = self.invite.to.uri if self.outgoing else self.invite.from_.uri
        return f"<call {way} {who}: {self.state.name}{f' {self.status}' if self.status else ''}>"
