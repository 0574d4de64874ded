"""What a message says about a call besides its dialog: who it was diverted by, who is asserted to be there, and why.

Owns: reading Diversion (RFC 5806), History-Info (RFC 7044, with the causes of RFC 4458 and the mapping of RFC 7544),
P-Asserted-Identity (RFC 3325, RFC 5876) and Reason (RFC 3326). Must not know whom to believe: what is asserted is worth
what its sender is, and whoever asks decides that. Nothing here raises: what can't be read says nothing.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import attrs

from telephony.errors import RemoteProtocolError
from telephony.sip.grammar import readable, split_list
from telephony.sip.headers import NameAddr, parse_name_addr, parse_name_addrs
from telephony.sip.message import Message
from telephony.sip.uri import OtherUri, SipUri, TelUri

#: How many diversions are told, and how many entries of a history are looked at.
MOST = 20
#: How long a text made of a peer's may be.
LONGEST = 500

#: What Diversion calls the causes of RFC 4458 (RFC 7544 table 1).
_DIVERSIONS = {
    "302": "unconditional",
    "404": "unknown",
    "408": "no-answer",
    "480": "deflection",
    "486": "user-busy",
    "487": "deflection",
    "503": "unavailable",
}
_CAUSE = re.compile(r"\bcause\s*=\s*\"?([0-9]{3})\b")


def diversion_of(message: Message) -> str:
    """Return who diverted a call, the latest first, written as Diversion is; "" for a call that nobody diverted.

    It is the Diversion of the message as it came, else what its History-Info says in the words of a Diversion.
    """
    told = message.get_all("Diversion")
    if told:
        return readable(", ".join(told[:MOST]))[:LONGEST]
    if not message.has("History-Info"):
        return ""
    try:
        history = [entry for one in message.get_all("History-Info") for entry in parse_name_addrs(one)][:MOST]
    except RemoteProtocolError:
        return ""
    by_index = {entry.params.get("index"): entry for entry in history}
    found: list[str] = []
    for place, entry in enumerate(history):
        uri = _uri(entry)
        if uri is None:
            continue
        cause = uri.params.get("cause")
        diverter: NameAddr | None = None
        if cause is not None and place:
            # This is where it was sent: by whom, its mp (or rc) parameter says, else it was the one before.
            origin = entry.params.get("mp") or entry.params.get("rc")
            diverter = by_index.get(origin) if origin else history[place - 1]
        elif place + 1 < len(history) and not _has_cause(history[place + 1]):
            # This is who was asked, and what became of that.
            said = _CAUSE.search(_headers(uri).get("reason", ""))
            if said is not None and said[1] in _DIVERSIONS:
                diverter, cause = entry, said[1]
        asked = None if diverter is None else _uri(diverter)
        if diverter is None or asked is None or "history" in _headers(asked).get("privacy", ""):
            continue
        address = NameAddr(diverter.display, str(attrs.evolve(asked, headers="")))
        reason = _DIVERSIONS.get(cause or "", "unknown")
        found.append(f"{address};reason={reason}")
    return readable(", ".join(reversed(found)))[:LONGEST]


def asserted_identity(message: Message) -> NameAddr | None:
    """Return who a message's P-Asserted-Identity says is there: its SIP address, else its number; None without one.

    None also where Privacy asks that it be told to nobody (RFC 3325 9.3). Ask only of a sender that is trusted.
    """
    if any("id" in (part.strip().lower() for part in one.split(";")) for one in message.get_all("Privacy")):
        return None
    found: list[NameAddr] = []
    for text in message.get_all("P-Asserted-Identity"):
        try:
            found += [parse_name_addr(one) for one in split_list(text)]
        except RemoteProtocolError:
            continue
    usable: list[NameAddr] = []
    for one in found[:MOST]:
        try:
            uri = one.parsed_uri
        except RemoteProtocolError:
            continue
        if isinstance(uri, SipUri):
            return one
        if isinstance(uri, TelUri):
            usable.append(one)
    return usable[0] if usable else None


def reason_of(message: Message | None) -> str:
    """Return why a BYE or CANCEL was sent, as its Reason says; "" where it says nothing."""
    return "" if message is None else readable(", ".join(message.get_all("Reason")))[:LONGEST]


def _uri(entry: NameAddr) -> SipUri | None:
    try:
        uri = entry.parsed_uri
    except RemoteProtocolError:
        return None
    return None if isinstance(uri, TelUri | OtherUri) else uri


def _has_cause(entry: NameAddr) -> bool:
    uri = _uri(entry)
    return uri is not None and "cause" in uri.params


def _headers(uri: SipUri) -> dict[str, str]:
    """Return the header fields that a URI carries behind its question mark."""
    pairs = [one.partition("=") for one in uri.headers.split("&") if one]
    return {unquote(name).lower(): unquote(value).lower() for name, _, value in pairs}
