"""What is known about a call besides its state: ``channel.Details`` and ``channel.SIP`` (``api.md`` sections 4 and 6).

Owns: the values an application may read, and the header fields it may send and read. Must not know sessions: the leg
and the channel fill these in.
"""

from __future__ import annotations

import attrs

from telephony.call.constants import CallFarEndType
from telephony.errors import Error
from telephony.sip.grammar import check_writable
from telephony.sip.message import Message, Request, Response


@attrs.define(kw_only=True)
class Details:
    """The call's particulars; they stay readable after the call until the next one on that channel.

    ``raw_cause`` is the SIP status behind the cause, 0 for none, ``raw_reason`` its text; ``codecs`` are the
    interface's names of what was agreed; ``message`` is the far end's INVITE or answer, None before there is one.
    *(extension)* ``trunk`` is the trunk that an incoming call came by, ``phone`` the signed-in phone that made it; ""
    for who is not known. ``media`` is "direct" while a transferred call's audio doesn't come by here, "anchored" else;
    ``media_reason`` says why it doesn't go directly where that was wanted, ``direct_seconds`` for how long it has.
    """

    call_to: str = ""
    call_target: str = ""
    call_from: str = ""
    display_name: str = ""
    codecs: list[str] = attrs.field(factory=list)
    connected_id: str = ""
    diversion: str = ""
    attestation: str = ""
    trunk: str = ""
    phone: str = ""
    raw_cause: int = 0
    raw_reason: str = ""
    far_end_type: CallFarEndType | None = None
    early_media: bool = False
    media: str = "anchored"
    media_reason: str = ""
    direct_seconds: float = 0.0
    call_id: str = ""
    message: Message | None = attrs.field(default=None, repr=False)

    @property
    def headers(self) -> dict[str, list[str]]:
        """What the far end sent in its INVITE or its answer: lower-case field names with their values."""
        found: dict[str, list[str]] = {}
        for name, value in [] if self.message is None else self.message.fields:
            found.setdefault(name.lower(), []).append(value)
        return found


class SIPHeaderField:
    """A header field to send, or one that was received: a name and one or more values."""

    def __init__(self, header_field_name: str, header_value: str | list[str]) -> None:
        _check_field_name(header_field_name)
        self._name = header_field_name
        self._values: list[str] = []
        for value in [header_value] if isinstance(header_value, str) else header_value:
            self.add_value(value)

    def add_value(self, header_value: str) -> None:
        """Add another value. A CR or LF in it is an `Error`, and so is what has no encoding (half a surrogate)."""
        try:
            if not isinstance(header_value, str):
                raise ValueError
            check_writable(header_value)
        except ValueError:
            raise Error(
                f"the value {header_value!a} can't be sent in the header field {self._name}: "
                "give a string without line breaks"
            ) from None
        self._values.append(header_value)

    def get_name(self) -> str:
        """Return the field's name."""
        return self._name

    def get_values(self) -> list[str]:
        """Return its values, in order."""
        return list(self._values)


#: Fields that make the dialog work; an application that set them would break its own call.
_OURS = frozenset(
    {
        "via",
        "v",
        "from",
        "f",
        "to",
        "t",
        "call-id",
        "i",
        "cseq",
        "contact",
        "m",
        "max-forwards",
        "route",
        "record-route",
        "content-length",
        "l",
        "content-type",
        "c",
        "require",
        "supported",
        "k",
        "allow",
        "session-expires",
        "x",
        "min-se",
        "rseq",
        "rack",
    }
)
_TOKEN_MARKS = frozenset("-.!%*_+`'~")


def _check_field_name(name: object) -> None:
    token = (
        isinstance(name, str) and name != "" and all((c.isascii() and c.isalnum()) or c in _TOKEN_MARKS for c in name)
    )
    if not token:
        raise Error(f"{name!r} is no header field name: give letters, digits and '-', like 'X-Account'")


class SIP:
    """``channel.SIP``: header fields to send with `call` and `answer`, and those the far end sent."""

    __slots__ = ("HeaderFieldsToSend", "_request", "_response")

    def __init__(self) -> None:
        self.HeaderFieldsToSend: list[SIPHeaderField] = []
        self._request: Request | None = None
        self._response: Response | None = None

    def request_header_field(self, name: str) -> SIPHeaderField | None:
        """Return a header field of the INVITE that came in, None without one."""
        return _field(self._request, name)

    def response_header_field(self, name: str) -> SIPHeaderField | None:
        """Return a header field of the last response to our INVITE, None without one."""
        return _field(self._response, name)

    def fields_to_send(self) -> list[tuple[str, str]]:
        """Return the application's fields as pairs, or raise the `Error` of the first that can't be sent."""
        pairs = []
        for field in self.HeaderFieldsToSend:
            if not isinstance(field, SIPHeaderField):
                raise Error(f"channel.SIP.HeaderFieldsToSend holds {field!r}; it takes SIPHeaderField objects")
            if field.get_name().lower() in _OURS:
                raise Error(
                    f"the header field {field.get_name()} belongs to the call itself and can't be set; "
                    "any other name may be sent"
                )
            pairs += [(field.get_name(), value) for value in field.get_values()]
        return pairs

    def received_request(self, request: Request | None) -> None:
        """Remember the INVITE that came in; None forgets the call before."""
        self._request = request
        self._response = None

    def received_response(self, response: Response | None) -> None:
        """Remember the last response to our INVITE."""
        if response is not None:
            self._response = response


def _field(message: Message | None, name: str) -> SIPHeaderField | None:
    _check_field_name(name)
    values = [] if message is None else message.get_all(name)
    return SIPHeaderField(name, values) if values else None
