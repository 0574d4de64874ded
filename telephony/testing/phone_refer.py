"""A phone's transfers: REFER with its NOTIFYs, both ways, and Replaces (RFC 3515, 3892, 3891, 5589).

Owns: who was asked to call whom, what was reported of it, and which dialog a Replaces means. Must not know transactions
or sound. It is written from the RFCs and shares no code with the product.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import attrs
from twisted.internet.defer import Deferred

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import parse_parameters
from telephony.sip.headers import NameAddr, parse_name_addrs
from telephony.sip.message import Request, Response, reason_phrase, respond
from telephony.sip.uri import SipUri, parse_uri
from telephony.testing.phone_dialog import PhoneDialog
from telephony.testing.wire import ServerTransaction

if TYPE_CHECKING:
    from telephony.testing.phone_call import Headers, PhoneCall

SIPFRAG = "message/sipfrag"
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6]\d\d)(?: .*)?")


@attrs.define(slots=True)
class Referral:
    """One REFER of ours: what was answered to it, and what was reported since.

    ``answer`` is the status of its answer, ``reports`` the status lines of the NOTIFYs, ``over`` whether the
    subscription has ended.
    """

    number: int
    done: Deferred[int]
    answer: int = 0
    reports: list[str] = attrs.field(factory=list)
    over: bool = False

    @property
    def status(self) -> int:
        """The last status that was reported, 0 before the first."""
        found = _STATUS_LINE.match(self.reports[-1]) if self.reports else None
        return int(found[1]) if found else 0


@attrs.frozen(slots=True)
class Replaced:
    """What a Replaces names (RFC 3891 6.1), as the one who is asked sees it."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    def __str__(self) -> str:
        flag = ";early-only" if self.early_only else ""
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{flag}"


def replaced(text: str) -> Replaced:
    """Read a Replaces. Raises RemoteProtocolError (400)."""
    call_id, separator, rest = text.partition(";")
    params = parse_parameters(separator + rest)
    to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
    if not call_id.strip() or to_tag is None or from_tag is None:
        raise RemoteProtocolError(f"Replaces: {text!r} names no dialog (RFC 3891 6.1)")
    return Replaced(call_id.strip(), to_tag, from_tag, "early-only" in params)


class Referrals:
    """The REFERs of one call. ``sent`` are ours, ``taken`` those that we followed, with the calls they made."""

    def __init__(self, call: PhoneCall) -> None:
        self._call = call
        self.sent: list[Referral] = []
        self.taken: list[PhoneCall] = []

    # Ours

    def send(self, dialog: PhoneDialog, to: str, headers: Headers = ()) -> Deferred[int]:
        """Send a REFER to ``to``, a URI that may hold a Replaces.

        Fires with the final status that was reported of the new call, with that of the REFER where it was refused, 0
        where nothing came.
        """
        call = self._call
        phone = call.phone
        request = call._request(dialog, "REFER")
        request.add("Refer-To", f"<{to}>")
        if not any(name.lower() == "referred-by" for name, _ in headers):
            request.add("Referred-By", f"<{phone.uri}>")
        for name, value in headers:
            request.add(name, value)
        done: Deferred[int] = Deferred()
        referral = Referral(request.cseq.number, done)
        self.sent.append(referral)

        def began(again: Request) -> None:
            referral.number = again.cseq.number

        def came(response: Response | None) -> None:
            if response is not None and response.status < 200:
                return
            referral.answer = response.status if response is not None else 0
            if not 200 <= referral.answer < 300:
                self._over(referral, referral.answer)
            phone.changed()

        call._send(dialog, request, came, began)
        return done

    @staticmethod
    def _over(referral: Referral, status: int) -> None:
        if not referral.over:
            referral.over = True
            referral.done.callback(status)

    def notified(self, server: ServerTransaction) -> None:
        """Take a NOTIFY: 481 when there is no such subscription, 400 for one that can't be understood."""
        request = server.request
        complain = self._call.phone.complain
        event, separator, rest = (request.get("Event") or "").partition(";")
        number = parse_parameters(separator + rest).get("id")
        if event.strip().lower() != "refer":
            server.reply(489)
            return
        known = [one for one in self.sent if not one.over and (number is None or str(one.number) == number)]
        if not known:
            complain("NOTIFY: of no REFER of this phone's (RFC 3515 2.4.4)")
            server.reply(481)
            return
        if number is None and len(self.sent) > 1:
            complain("NOTIFY: no id in Event, though this is not the dialog's first REFER (RFC 3515 2.4.6)")
        referral = known[0]
        state, separator, rest = (request.get("Subscription-State") or "").partition(";")
        text = request.body.decode("utf-8", "replace").split("\r\n")[0]
        if request.content_type != SIPFRAG:
            complain(f"NOTIFY: a body of {request.content_type}, not {SIPFRAG} (RFC 3515 2.4.5)")
        if _STATUS_LINE.fullmatch(text) is None:
            complain(f"NOTIFY: {text!r} is no status line (RFC 3515 2.4.5)")
        if state.strip().lower() not in ("active", "pending", "terminated"):
            complain(f"NOTIFY: Subscription-State is {request.get('Subscription-State')!r} (RFC 6665 8.2.1)")
        elif state.strip().lower() == "active" and "expires" not in parse_parameters(separator + rest):
            complain("NOTIFY: Subscription-State: active without expires (RFC 6665 4.1.3)")
        referral.reports.append(text)
        server.reply(200)
        if state.strip().lower() == "terminated":
            self._over(referral, referral.status)
        self._call.phone.changed()

    @property
    def open(self) -> bool:
        """Whether a report is still to come, also after the call's end (RFC 3515 2.4.7)."""
        return any(not one.over for one in self.sent)

    # Theirs

    def came(self, server: ServerTransaction, dialog: PhoneDialog) -> None:
        """Answer a REFER: follow it, or refuse it, as the phone's ``refer`` says."""
        call = self._call
        phone = call.phone
        request = server.request
        target = self._target(request)
        if target is None:
            phone.complain(f"REFER: Refer-To is {request.get_all('Refer-To')} (RFC 3515 2.4.1)")
            server.reply(400)
            return
        if not 200 <= phone.refer < 300:
            server.reply(phone.refer)
            return
        if request.contacts:
            dialog.refresh(request)
        server.respond(call._response(server, phone.refer, None, ()))
        uri, headers = target
        for name in ("Referred-By",):
            headers += [(name, value) for value in request.get_all(name)]
        number = request.cseq.number
        self._notify(dialog, number, 100, over=False)
        made = phone.dial(uri, headers=headers)
        self.taken.append(made)
        said = {100}

        def told(response: Response | None) -> None:
            status = 503 if response is None else response.status
            if status >= 200 or status not in said:
                said.add(status)
                self._notify(dialog, number, status, over=status >= 200)

        made.watchers.append(told)

    @staticmethod
    def _target(request: Request) -> tuple[str, list[tuple[str, str]]] | None:
        """Return the URI to dial and the header fields that it carries; None where Refer-To can't be followed."""
        try:
            found: list[NameAddr] = [one for text in request.get_all("Refer-To") for one in parse_name_addrs(text)]
            uri = parse_uri(found[0].uri) if len(found) == 1 else None
        except RemoteProtocolError:
            return None
        if not isinstance(uri, SipUri) or (uri.params.get("method") or "INVITE") != "INVITE":
            return None
        plain = found[0].uri.partition("?")[0]
        pairs = [pair.partition("=") for pair in uri.headers.split("&") if pair]
        headers = [(unquote(name), unquote(value)) for name, _, value in pairs]
        if any(name.lower() == "replaces" for name, _ in headers):
            headers.append(("Require", "replaces"))
        return plain, headers

    def _notify(self, dialog: PhoneDialog, number: int, status: int, *, over: bool) -> None:
        call = self._call
        notify = call._request(dialog, "NOTIFY")
        notify.add("Event", f"refer;id={number}")
        notify.add("Subscription-State", "terminated;reason=noresource" if over else "active;expires=60")
        notify.add("Content-Type", f"{SIPFRAG};version=2.0")
        notify.body = f"SIP/2.0 {status} {reason_phrase(status)}\r\n".encode()
        call._send(dialog, notify, lambda response: None)


def refer_to(call: PhoneCall, to: str | None) -> str:
    """Return the URI for a Refer-To that is to replace ``call``: at ``to``, else where ``call`` goes (RFC 5589 7)."""
    found = call.replaces
    return f"{to or call.remote_target}?Replaces={quote(str(found), safe='')}"


def answer_replaces(calls: list[PhoneCall], request: Request, tag: str) -> PhoneCall | Response | None:
    """Return the call that an INVITE wants to replace, the refusal it gets, or None where it wants nothing of it.

    RFC 3891 3: no dialog, or an early one that we did not begin, is 481; one that has ended 603; ``early-only`` on
    one that was answered 486; two Replaces 400. ``tag`` is for the To of the refusal.
    """
    texts = request.get_list("Replaces")
    if not texts:
        return None
    try:
        if len(texts) > 1:
            raise RemoteProtocolError("more than one Replaces")
        wanted = replaced(texts[0])
    except RemoteProtocolError:
        return respond(request, 400, to_tag=tag)
    for call in reversed(calls):
        if call.call_id == wanted.call_id and call.is_dialog(wanted.to_tag, wanted.from_tag):
            if not call.alive:
                return respond(request, 603, to_tag=tag)
            if call.answered and wanted.early_only:
                return respond(request, 486, to_tag=tag)
            if not call.answered and not call.outgoing:
                return respond(request, 481, to_tag=tag)
            return call
    return respond(request, 481, to_tag=tag)
