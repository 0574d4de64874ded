"""What an INFO says (RFC 6086): pressed keys, as ``application/dtmf-relay`` and ``application/dtmf`` write them.

Owns: the two bodies, both ways, and the status that answers an INFO. Must not know dialogs, or what a key does. Neither
body has an RFC: they are what phones and gateways have sent since RFC 2976, outside of RFC 6086's packages.
"""

from __future__ import annotations

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.message import Request

DTMF_RELAY = "application/dtmf-relay"
DTMF = "application/dtmf"
ACCEPT = f"{DTMF_RELAY}, {DTMF}"
#: The length of a key that is sent, in milliseconds.
KEY_MS = 100

_KEYS = "0123456789*#ABCD"
#: 16 and ``!`` are the hook flash: understood, and no key.
_FLASH = ("16", "!")


@attrs.frozen
class Reading:
    """What is made of an INFO: the ``status`` that answers it, its header fields, and the ``key`` that it holds."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    key: str | None = None


def read_info(request: Request) -> Reading:
    """Read an INFO. Without a body it only asks whether we are there."""
    if request.has("Info-Package"):
        # RFC 6086 4.2.2: we have said of no package that we want it, and say so again.
        return Reading(469, (("Recv-Info", ""),))
    if not request.body:
        return Reading(200)
    kind = request.content_type
    if kind not in (DTMF_RELAY, DTMF):
        if "handling=optional" in (request.get("Content-Disposition") or "").replace(" ", "").lower():
            return Reading(200)
        return Reading(415, (("Accept", ACCEPT),))
    try:
        return Reading(200, key=parse_key(kind, request.body))
    except RemoteProtocolError as error:
        return Reading(error.status)


def parse_key(content_type: str, body: bytes) -> str | None:
    """Return the key in a body, None for a hook flash. Raises `RemoteProtocolError` (400) for what is neither."""
    text = body[:256].decode("ascii", "replace")
    if content_type == DTMF_RELAY:
        lines = [line.partition("=") for line in text.splitlines()]
        text = next((value for name, _, value in lines if name.strip().lower() == "signal"), "")
    text = text.strip()
    if text in _FLASH:
        return None
    if text.isascii() and text.isdigit() and len(text) == 2 and int(text) < len(_KEYS):
        return _KEYS[int(text)]
    if len(text) == 1 and text.upper() in _KEYS:
        return text.upper()
    raise RemoteProtocolError("an INFO with a key has none that is known: 0-9, *, #, A-D or their codes")


def format_key(key: str) -> bytes:
    """Return the ``application/dtmf-relay`` body of a key."""
    return f"Signal={key}\r\nDuration={KEY_MS}\r\n".encode("ascii")
