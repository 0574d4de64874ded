"""Whom a service may call, and how many at a time: what keeps a mistake, or a caller's fraud, from costing money.

Owns: patterns of numbers and addresses, and the sentence for what they don't allow. Must not know configuration files,
trunks or channels' states; whoever counts the calls is told the ceiling.

A pattern for numbers, ``+49*`` or ``110``, is held against a number as it is dialled, without its separators, be it
bare digits or a ``tel:`` URI. A pattern for addresses, ``sip:*@example.org``, is held against the user and the host of
a SIP or SIPS URI, apart from each other; with a port, ``sip:*@example.org:5070``, against that too. ``*`` stands for
any text, ``?`` for one character. What is denied stays denied, whatever is allowed; there a pattern for numbers is also
held against the user of an address, and one for addresses against each host that the call may go to.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote

import attrs

from telephony.call.arguments import SEPARATORS
from telephony.errors import Error
from telephony.sip.uri import SipUri, TelUri

#: What a pattern for numbers is made of.
_NUMBERS = re.compile(r"[0-9A-Da-d+*#?]+")
_ADDRESS = re.compile(r"sips?:(?:([^@\s]*)@)?(\[[0-9A-Fa-f:.*?]+\]|[A-Za-z0-9.\-_*?]+)(?::([0-9*?]+))?", re.IGNORECASE)


@attrs.frozen
class _Pattern:
    """One pattern: either ``number`` is set, or ``user``, ``host`` and maybe ``port`` are."""

    number: re.Pattern[str] | None = None
    user: re.Pattern[str] | None = None
    host: re.Pattern[str] | None = None
    port: re.Pattern[str] | None = None

    def fits(self, target: SipUri | TelUri, *, strictly: bool = True) -> bool:
        """Tell whether the pattern is ``target``'s; ``strictly``: all of the target, else whatever it may lead to."""
        if isinstance(target, TelUri):
            return self.number is not None and self.number.fullmatch(target.number) is not None
        if self.user is None or self.host is None:
            # A carrier dials what stands before the @ as it dials a number (RFC 3261 19.1.6).
            number = unquote(target.user or "").partition(";")[0].translate(SEPARATORS)
            return not strictly and self.number is not None and self.number.fullmatch(number) is not None
        if self.user.fullmatch(unquote(target.user or "")) is None:
            return False
        if self.port is not None and self.port.fullmatch(str(target.port or "")) is None:
            return False
        # A call goes to maddr, so that is the host which counts; the other one must not be a disguise.
        hosts = [target.host, *(one for one in [target.params.get("maddr")] if one)]
        fitting = [self.host.fullmatch(one.strip("[]").rstrip(".").lower()) is not None for one in hosts]
        return all(fitting) if strictly else any(fitting)


@attrs.frozen
class DialRules:
    """Whom ``service`` may call: what fits one of ``allow`` (None: everybody) and none of ``deny``.

    ``most`` is how many calls of it may be out at a time, None for as many as the server has room for.
    """

    service: str
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()
    most: int | None = None

    def refusal(self, target: SipUri | TelUri) -> str | None:
        """Return why ``target`` may not be called; None when it may."""
        for one in self.deny:
            if read_pattern(one).fits(target, strictly=False):
                return f"service {self.service!r} must not call it: deny_dial has {one!r}"
        if self.allow is None or any(one == "*" or read_pattern(one).fits(target, strictly=True) for one in self.allow):
            return None
        allowed = ", ".join(repr(one) for one in self.allow) or "nobody"
        return f"service {self.service!r} may not call it; allow_dial has {allowed}"


@lru_cache(1024)
def read_pattern(text: str) -> _Pattern:
    """Take a pattern apart; raises an `Error` that says how one is written."""
    if text == "*":
        return _Pattern(_glob("*"), _glob("*"), _glob("*"))
    number = text[4:] if text.lower().startswith("tel:") else text
    if _NUMBERS.fullmatch(number):
        return _Pattern(number=_glob(number))
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise Error(
            f"{text!r} is no pattern of whom to call; write '+49*' or '110' for numbers, 'sip:*@example.org' for "
            "addresses, '*' for everything"
        )
    user, host, port = found.groups()
    return _Pattern(
        user=_glob("*" if user is None else unquote(user)),
        host=_glob(host.strip("[]").rstrip(".").lower()),
        port=None if port is None else _glob(port),
    )


def _glob(pattern: str) -> re.Pattern[str]:
    """Return the expression that matches a whole text by ``*`` and ``?``."""
    parts = {"*": ".*", "?": "."}
    return re.compile("".join(parts.get(one) or re.escape(one) for one in re.sub(r"\*+", "*", pattern)), re.DOTALL)
