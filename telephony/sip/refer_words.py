"""What a REFER and the NOTIFYs about it say: whom to call, by whose wish, and what became of it.

Owns: Refer-To with the Replaces it may carry (RFC 3515 2.1, RFC 5589 7), Referred-By (RFC 3892 2.1), message/sipfrag
bodies (RFC 3420), Event and Subscription-State (RFC 6665 8.2) as far as REFER uses them. Must not know dialogs, or who
may refer whom.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import check_writable, excerpt, parse_parameters, readable
from telephony.sip.headers import NameAddr, parse_name_addr
from telephony.sip.message import Message, Request, reason_phrase
from telephony.sip.replaces import Replaces, parse_replaces
from telephony.sip.uri import OtherUri, SipUri, TelUri

SIPFRAG = "message/sipfrag"
#: How long the texts are that we take over from a REFER.
LONGEST = 1024

_STATUS_LINE = re.compile(r"SIP/2\.0[ \t]+([1-6][0-9]{2})(?:[ \t]+(.*))?")


@attrs.frozen
class ReferTo:
    """What a REFER asks for: a call to ``uri``, in the place of the dialog that ``replaces`` names at its far end.

    ``referred_by`` is the Referred-By of the REFER, to be copied as it is (RFC 3892 2.2); None without one.
    """

    uri: SipUri | TelUri
    replaces: Replaces | None = None
    referred_by: str | None = None

    @property
    def headers(self) -> list[tuple[str, str]]:
        """What the INVITE has because of it (RFC 3892 2.2, RFC 5589 7.1, RFC 3891 4)."""
        found = [] if self.referred_by is None else [("Referred-By", self.referred_by)]
        if self.replaces is not None:
            found += [("Replaces", str(self.replaces)), ("Require", "replaces")]
        return found


def read_refer(request: Request) -> ReferTo:
    """Read a REFER. Raises `RemoteProtocolError` with the status that answers it where it can't be followed.

    400: no Refer-To or more than one (RFC 3515 2.4.1), one that is no address, more than one Referred-By (RFC 3892
    2.1). 416: a scheme that nobody can be called by. 603: another method than INVITE is asked for. Of the header fields
    that the URI carries only Replaces is taken: others could speak in our name (RFC 3261 19.1.5).
    """
    values = request.get_list("Refer-To")
    if len(values) != 1 or len(values[0]) > LONGEST:
        raise RemoteProtocolError(f"a REFER has exactly one Refer-To, not {len(values)}")
    uri = parse_name_addr(values[0]).parsed_uri
    by = request.get_all("Referred-By")
    if len(by) > 1 or any(len(one) > LONGEST for one in by):
        raise RemoteProtocolError("more than one Referred-By, or too long a one")
    if by:
        check_readable(by[0])
    if isinstance(uri, OtherUri):
        raise RemoteProtocolError(f"{excerpt(uri.scheme)}: nobody can be called by that", status=416)
    replaces = None
    if isinstance(uri, SipUri):
        if (uri.params.get("method") or "INVITE").upper() != "INVITE":
            raise RemoteProtocolError("Refer-To asks for another method than INVITE", status=603)
        replaces = _replaces_in(uri)
        uri = attrs.evolve(
            uri, params={name: value for name, value in uri.params.items() if name != "method"}, headers=""
        )
    return ReferTo(uri, replaces, by[0] if by else None)


def check_readable(referred_by: str) -> None:
    """Raise `RemoteProtocolError` (400) for a Referred-By that is no address, or can't be written again."""
    if isinstance(parse_name_addr(referred_by).parsed_uri, OtherUri):
        raise RemoteProtocolError("Referred-By: nobody can be called by that")
    try:
        check_writable(referred_by)
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from error


def _replaces_in(uri: SipUri) -> Replaces | None:
    """Return the Replaces that a URI carries behind its question mark."""
    found: list[str] = []
    for pair in uri.headers.split("&"):
        name, _, value = pair.partition("=")
        if unquote(name).strip().lower() == "replaces":
            found.append(unquote(value))
    if len(found) > 1:
        raise RemoteProtocolError("Refer-To carries more than one Replaces")
    return parse_replaces(found[0]) if found else None


def format_refer_to(uri: str, replaces: Replaces | None = None) -> str:
    """Write a Refer-To; what it carries is escaped as RFC 3261 25.1 has it for a URI's header fields (RFC 5589 7)."""
    if replaces is None:
        return f"<{uri}>"
    plain, _, _ = uri.partition("?")
    return f"<{plain}?Replaces={quote(str(replaces), safe='')}>"


def is_anonymous(address: NameAddr) -> bool:
    """Tell whether an address tells nothing of who it is (RFC 3323 4.1)."""
    try:
        uri = address.parsed_uri
    except RemoteProtocolError:
        return True
    return not isinstance(uri, SipUri) or uri.host.lower().rstrip(".") == "anonymous.invalid"


def asks_for_privacy(message: Message) -> bool:
    """Tell whether the sender of a message wants to be told to nobody (RFC 3323 4.2)."""
    wanted = {part.strip().lower() for one in message.get_all("Privacy") for part in one.split(";")}
    return bool(wanted & {"id", "user", "header"})


# -- reports -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Report:
    """What a NOTIFY says of a call: its status so far (0 where it says none) and whether it is the last one.

    ``event`` is the event package, ``number`` the CSeq of the REFER that it is about (RFC 3515 2.4.6), None where it
    isn't said.
    """

    event: str
    number: int | None
    status: int
    reason: str
    last: bool
    understood: bool = True

    @property
    def final(self) -> bool:
        """Whether the call has its outcome, or none will ever be told."""
        return self.last or self.status >= 200


def read_report(notify: Request) -> Report:
    """Read a NOTIFY. Raises `RemoteProtocolError` (400) for one without Event or Subscription-State (RFC 6665 8.2).

    What is no sipfrag is no status, and not ``understood``.
    """
    event, semicolon, rest = (notify.get("Event") or "").partition(";")
    if not event.strip():
        raise RemoteProtocolError("a NOTIFY without Event")
    number = parse_parameters(semicolon + rest).get("id") if semicolon else None
    state, _, _ = (notify.get("Subscription-State") or "").partition(";")
    if not state.strip():
        raise RemoteProtocolError("a NOTIFY without Subscription-State")
    known = number is not None and number.isascii() and number.isdigit() and len(number) <= 10
    if number is not None and not known:
        raise RemoteProtocolError(f"Event: the id {excerpt(number)} is no CSeq number")
    status, reason = 0, ""
    understood = not notify.body or notify.content_type == SIPFRAG
    if notify.body and understood:
        first = notify.body[:LONGEST].lstrip(b"\r\n").split(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
        found = _STATUS_LINE.fullmatch(first)
        if found is not None:
            status, reason = int(found[1]), readable(found[2] or "")[:200]
    return Report(
        event.strip().lower(),
        int(number) if number is not None else None,
        status,
        reason,
        state.strip().lower() == "terminated",
        understood,
    )


def write_report(notify: Request, number: int, status: int, reason: str, expires: int) -> None:
    """Write into a NOTIFY what became of the call so far (RFC 3515 2.4.5); a final status ends the subscription."""
    notify.set("Event", f"refer;id={number}")
    over = status >= 200
    notify.set("Subscription-State", "terminated;reason=noresource" if over else f"active;expires={expires}")
    notify.set("Content-Type", f"{SIPFRAG};version=2.0")
    text = readable(reason)[:200] or reason_phrase(status)
    notify.body = f"SIP/2.0 {status} {text}\r\n".encode("utf-8", "replace")
