"""``[[trunk]]`` and ``[[phone]]`` in ``telephony.toml``: whom the server calls through, and who signs in to it.

Owns: their keys, what is allowed for each, and where a password comes from. Must not know sockets or calls. No sentence
here and no ``repr`` has a password in it.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Sequence
from typing import Any

import attrs

from telephony.call.arguments import check_codecs
from telephony.errors import Error, RemoteProtocolError
from telephony.server.checks import Files, Problem, Refused, a_name, by, one_of, truth, whole
from telephony.sip.auth import ALGORITHMS, Account
from telephony.sip.uri import SipUri, parse_uri

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: What a phone may be called: what stands in a SIP address without escapes, and in a log without questions.
_PHONE = re.compile(r"[A-Za-z0-9_.+\-]{1,64}")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


def _secret(value: Any, _files: Files) -> str:
    """Check for a password; what was given is not shown."""
    if not isinstance(value, str) or not value or _UNPRINTABLE.search(value):
        raise Refused("is no password; give a text in quotes, without line breaks, that isn't empty")
    return value


def _secret_file(value: Any, files: Files) -> str:
    """Return the first line of a file."""
    path = files.find(a_name(value, files))
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} can't be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
    if not lines or not lines[0]:
        raise Refused(f"{path} has no password in its first line")
    return _secret(lines[0], files)


def _secret_variable(value: Any, files: Files) -> str:
    """Return the value of an environment variable."""
    variable = a_name(value, files)
    found = os.environ.get(variable)
    if not found:
        raise Refused(f"the environment variable {variable!r} is not set, or empty")
    return _secret(found, files)


def _server(value: Any, files: Files) -> SipUri:
    """Return the URI of a domain or server, written as a name or as a URI."""
    text = a_name(value, files).strip()
    allowed = 'allowed: a name or address like "sip.example.com", or a URI like "sip:192.0.2.1:5080;transport=tcp"'
    try:
        uri = parse_uri(text if text.lower().startswith(("sip:", "sips:")) else f"sip:{text}")
    except RemoteProtocolError:
        raise Refused(f"{value!r} is not allowed; {allowed}") from None
    if not isinstance(uri, SipUri) or uri.user is not None or uri.headers or not text.isascii():
        raise Refused(f"{value!r} is not allowed; {allowed}")
    return uri


def _addresses(value: Any, _files: Files) -> tuple[Network, ...]:
    """Return networks for addresses like ``192.0.2.1`` and ``192.0.2.0/24``."""
    if not isinstance(value, list | tuple):
        raise Refused('is no list of addresses; write it like ["192.0.2.1", "198.51.100.0/24"]')
    found: list[Network] = []
    refused = []
    for index, one in enumerate(value):
        try:
            found.append(ipaddress.ip_network(one if isinstance(one, str) else ""))
        except ValueError:
            text = f'{one!r} is not allowed; allowed: an IP address, or a network like "198.51.100.0/24"'
            refused.append(Refused(text, index))
    if refused:
        raise ExceptionGroup("addresses", refused)
    return tuple(found)


def domains(value: Any, _files: Files) -> tuple[str, ...]:
    """Check for a list of domain names or addresses."""
    if not isinstance(value, list | tuple):
        raise Refused('is no list of domains; write it like ["example.com"]')
    refused = []
    found = []
    for index, one in enumerate(value):
        text = one.strip("[]") if isinstance(one, str) else ""
        try:
            ipaddress.ip_address(text)
        except ValueError:
            if not _DOMAIN.fullmatch(text):
                refused.append(Refused(f'{one!r} is not allowed; allowed: a domain like "example.com"', index))
        found.append(text.lower())
    if refused:
        raise ExceptionGroup("domains", refused)
    return tuple(found)


def digests(value: Any, _files: Files) -> tuple[str, ...]:
    """Check for the algorithms that phones are asked for, the preferred one first (RFC 8760 2.3)."""
    known = ", ".join(f'"{one}"' for one in ALGORITHMS)
    if not isinstance(value, list | tuple) or not value or len(set(map(str, value))) < len(value):
        raise Refused(f'is no list of algorithms; write it like ["SHA-256", "MD5"], of {known}')
    refused = [
        Refused(f"{one!r} is not allowed; allowed: {known}", index)
        for index, one in enumerate(value)
        if one not in ALGORITHMS
    ]
    if refused:
        raise ExceptionGroup("digest", refused)
    return tuple(value)


def _phone_name(value: Any, _files: Files) -> str:
    if not isinstance(value, str) or not _PHONE.fullmatch(value):
        raise Refused(f"{value!r} is not allowed; allowed: 1 to 64 letters, digits and _ . + - in quotes")
    return value


def _token(value: Any, files: Files) -> str:
    """Check for what may be the user of a SIP address."""
    text = a_name(value, files)
    try:
        uri = parse_uri(f"sip:{text}@host")
    except RemoteProtocolError:
        uri = None
    if not isinstance(uri, SipUri) or uri.user != text or not text.isascii():
        raise Refused(f"{value!r} can't be the user part of a SIP address; write other characters as %20 is written")
    return text


def _codecs(value: Any, _files: Files) -> tuple[str, ...]:
    try:
        return check_codecs(value)
    except Error as error:
        raise Refused(str(error)) from error


@attrs.frozen(kw_only=True)
class TrunkSection:
    """``[[trunk]]``: a carrier or another phone system.

    ``host`` is its domain; ``outbound_proxy`` is where requests to it go, when that is elsewhere. With ``register`` the
    server signs in as ``user``; ``addresses`` are where its calls may come from without that. ``caller_id`` says how
    the caller's number is shown: ``"from"`` in From, ``"asserted"`` in P-Asserted-Identity (RFC 3325), which is also
    believed when it comes from there; ``caller`` is the number where an application names none. ``keep_alive`` is how
    often a registration's way is kept open, in seconds, 0 for never.
    """

    name: str = attrs.field(metadata=by(a_name))
    host: SipUri = attrs.field(metadata=by(_server))
    user: str | None = attrs.field(default=None, metadata=by(_token))
    password: str | None = attrs.field(default=None, repr=False, metadata=by(_secret))
    password_file: str | None = attrs.field(default=None, repr=False, metadata=by(_secret_file))
    password_env: str | None = attrs.field(default=None, repr=False, metadata=by(_secret_variable))
    realm: str | None = attrs.field(default=None, metadata=by(a_name))
    register: bool = attrs.field(default=False, metadata=by(truth))
    expires: int = attrs.field(default=3600, metadata=by(whole(60, 86_400)))
    keep_alive: int = attrs.field(default=0, metadata=by(whole(0, 3600)))
    addresses: tuple[Network, ...] = attrs.field(default=(), metadata=by(_addresses))
    outbound_proxy: SipUri | None = attrs.field(default=None, metadata=by(_server))
    caller_id: str = attrs.field(default="from", metadata=by(one_of("from", "asserted")))
    caller: str | None = attrs.field(default=None, metadata=by(_token))
    codecs: tuple[str, ...] = attrs.field(default=(), metadata=by(_codecs))

    @property
    def account(self) -> Account | None:
        """What answers the trunk's challenges."""
        secret = self.password or self.password_file or self.password_env
        return Account(self.user, secret, self.realm) if self.user and secret else None


@attrs.frozen(kw_only=True)
class PhoneSection:
    """``[[phone]]``: who may sign in, and then is called as ``sip:NAME@`` this server."""

    name: str = attrs.field(metadata=by(_phone_name))
    password: str | None = attrs.field(default=None, repr=False, metadata=by(_secret))
    password_file: str | None = attrs.field(default=None, repr=False, metadata=by(_secret_file))
    password_env: str | None = attrs.field(default=None, repr=False, metadata=by(_secret_variable))

    @property
    def secret(self) -> str:
        """The password."""
        return self.password or self.password_file or self.password_env or ""


def trunk_problems(trunks: Sequence[TrunkSection | None]) -> list[Problem]:
    """Return what is wrong with trunks that are right key by key; None stands for one that isn't."""
    problems = []
    for index, one in enumerate(trunks):
        if one is None:
            continue
        where = f"trunk[{index}]"
        problems += _passwords(where, one)
        if one.register and not one.user:
            problems.append(Problem(f"{where}.user", "is missing; register = true needs the name to sign in with"))
        if (one.register or one.user) and one.account is None and one.user:
            text = "is missing; give password, password_file or password_env with the user"
            problems.append(Problem(f"{where}.password", text))
    return problems


def phone_problems(phones: Sequence[PhoneSection | None]) -> list[Problem]:
    """Return what is wrong with phones that are right key by key."""
    problems = []
    for index, one in enumerate(phones):
        if one is not None:
            problems += _passwords(f"phone[{index}]", one)
            if not one.secret:
                text = "is missing; give password, password_file or password_env"
                problems.append(Problem(f"phone[{index}].password", text))
    return problems


def _passwords(where: str, one: TrunkSection | PhoneSection) -> list[Problem]:
    keys = [key for key in ("password", "password_file", "password_env") if getattr(one, key) is not None]
    if len(keys) < 2:
        return []
    return [Problem(f"{where}.{keys[1]}", f"there is {keys[0]} too; give one of them")]
