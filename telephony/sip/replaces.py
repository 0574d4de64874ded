"""Replaces: which dialog an INVITE wants to take the place of (RFC 3891), and what answers one that can't.

Owns: reading and writing the field (RFC 3891 6.1), finding the dialog that it names (RFC 3891 3), the short memory of
dialogs that have ended. Must not know who may take over whose call, nor what becomes of it: `telephony.call` does.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import excerpt, format_parameters, is_token, parse_parameters
from telephony.sip.message import Message

if TYPE_CHECKING:
    from telephony.sip.dialog import Dialog

#: How many dialogs that have ended are remembered.
MOST_ENDED = 512


@attrs.frozen
class Replaces:
    """A dialog by its three parts, as who is asked sees it: ``to_tag`` is that side's own, ``from_tag`` its peer's.

    With ``early_only`` it is meant only while nobody has answered (RFC 3891 6.1).
    """

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    def __str__(self) -> str:
        params: dict[str, str | None] = {"to-tag": self.to_tag, "from-tag": self.from_tag}
        if self.early_only:
            params["early-only"] = None
        return f"{self.call_id}{format_parameters(params)}"

    @property
    def remote_tag(self) -> str:
        """The peer's tag in a dialog of ours: 0 stands for the one that RFC 2543 had none of (RFC 3891 6.1)."""
        return "" if self.from_tag == "0" else self.from_tag


def parse_replaces(text: str) -> Replaces:
    """Parse one Replaces value. Raises `RemoteProtocolError` (400): both tags are needed, each once (RFC 3891 6.1)."""
    call_id, semicolon, rest = text.partition(";")
    call_id = call_id.strip(" \t")
    params = parse_parameters(semicolon + rest) if semicolon else {}
    to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
    if not call_id or len(call_id) > 255 or any(c.isspace() or c in '",;' for c in call_id):
        raise RemoteProtocolError(f"Replaces: {excerpt(text)} has no Call-ID")
    if not to_tag or not from_tag or not is_token(to_tag) or not is_token(from_tag):
        raise RemoteProtocolError(f"Replaces: {excerpt(text)} lacks a tag")
    return Replaces(call_id, to_tag, from_tag, "early-only" in params)


def replaces_of(message: Message) -> Replaces | None:
    """Return which dialog a message wants to replace, None for none. Two of them are 400 (RFC 3891 3)."""
    values = message.get_list("Replaces")
    if not values:
        return None
    if len(values) > 1:
        raise RemoteProtocolError("more than one Replaces")
    return parse_replaces(values[0])


class Ended:
    """The dialogs that ended last, so that who comes too late hears 603 in the place of 481 (RFC 3891 3)."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def note(self, dialog: Dialog) -> None:
        """Remember a dialog that is over."""
        self._known[dialog.call_id, dialog.local_tag, dialog.remote_tag] = None
        if len(self._known) > MOST_ENDED:
            self._known.popitem(last=False)

    def __contains__(self, wanted: Replaces) -> bool:
        return (wanted.call_id, wanted.to_tag, wanted.remote_tag) in self._known
