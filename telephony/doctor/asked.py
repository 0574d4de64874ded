"""What the doctor is asked for on the command line, checked before anything is sent.

Owns: what may be given, and the sentences that refuse. Must not know sockets or checks. No sentence and no ``repr``
has a password in it.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

import attrs

from telephony.errors import Error, RemoteProtocolError
from telephony.sip.transport.tls import TlsError, read_certificates
from telephony.sip.uri import SipUri, format_host, parse_uri

TRANSPORTS = ("udp", "tcp", "tls")


@attrs.frozen(kw_only=True)
class Asked:
    """What is to be looked at, and how.

    ``target`` is the peer; its user part is who is called. ``local`` is the IP address to speak from, None for that of
    the route. ``timeout`` is how long one answer may take, in seconds; ``ring`` how long the call may ring. ``also``
    are other IP addresses that the peer may name for audio or for what follows in the call.
    """

    target: SipUri
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)
    caller: SipUri | None = None
    transport: str | None = None
    timeout: float = 5.0
    local: str | None = None
    calls: bool = True
    also: frozenset[str] = frozenset()
    authorities: bytes | None = attrs.field(default=None, repr=False)

    @property
    def ring(self) -> float:
        """How long the call may ring, in seconds."""
        return 6 * self.timeout

    @property
    def whole(self) -> float:
        """How long everything may take together, in seconds."""
        return 40 * self.timeout

    @property
    def host(self) -> str:
        """The host of the target, as URIs have it."""
        return format_host(self.target.host)

    @property
    def server(self) -> str:
        """The URI of the peer itself, without a user."""
        scheme = self.target.scheme
        port = "" if self.target.port is None else f":{self.target.port}"
        parameter = f";transport={self.target.transport}" if self.target.transport else ""
        return f"{scheme}:{self.host}{port}{parameter}"


def read_uri(text: str, what: str) -> SipUri:
    """Return a SIP URI. Raises `Error`."""
    allowed = 'allowed: a URI like "sip:3300@pbx.example.com", "sip:192.0.2.1:5080" or "sips:pbx.example.com"'
    try:
        uri = parse_uri(text)
    except RemoteProtocolError:
        uri = None
    if not isinstance(uri, SipUri) or uri.headers or not text.isascii() or any(one.isspace() for one in text):
        raise Error(f"{what} {text!r} is no SIP URI; {allowed}")
    return uri


def read_asked(
    target: str,
    *,
    user: str | None = None,
    password: str | None = None,
    caller: str | None = None,
    transport: str | None = None,
    timeout: float = 5.0,
    local: str | None = None,
    calls: bool = True,
    also: tuple[str, ...] = (),
    authorities: Path | None = None,
) -> Asked:
    """Return what is asked for. Raises `Error` with one sentence for what can't be used."""
    uri = read_uri(target, "the target")
    if uri.transport is not None and uri.transport.lower() not in TRANSPORTS:
        raise Error(f"the target's transport {uri.transport!r} is not spoken here; allowed: {', '.join(TRANSPORTS)}")
    if uri.scheme == "sips" and (transport or uri.transport or "tls").lower() == "udp":
        raise Error("a sips: URI can't go over UDP; leave the transport away, or ask for a sip: URI")
    if user is not None and (not user or not user.isascii() or any(one.isspace() or one in '"<>@' for one in user)):
        raise Error(f"the user {user!r} can't be the user part of a SIP address")
    if password is not None and user is None:
        raise Error("there is a password and no user; give --user too")
    if user is not None and not password:
        raise Error(f"there is no password for {user}; give one of --password, --password-file and --password-env")
    if not 1 <= timeout <= 60:
        raise Error(f"--timeout {timeout:g} is not allowed; allowed: 1 to 60 seconds")
    for one in (*also, *([] if local is None else [local])):
        try:
            ip_address(one)
        except ValueError:
            raise Error(f"{one!r} is no IP address") from None
    pem = None
    if authorities is not None:
        try:
            pem = authorities.read_bytes()
            read_certificates(pem)
        except OSError as error:
            raise Error(f"{authorities} can't be read: {error.strerror or error}") from error
        except TlsError as error:
            raise Error(f"{authorities} {error}") from error
    return Asked(
        target=uri,
        user=user,
        password=password,
        caller=None if caller is None else read_uri(caller, "--from"),
        transport=None if transport is None else transport.lower(),
        timeout=timeout,
        local=local,
        calls=calls and bool(uri.user),
        also=frozenset(also),
        authorities=pem,
    )


def read_secret(file: Path | None, variable: str | None) -> str | None:
    """Return a password from a file's first line or an environment variable; None without either. Raises `Error`."""
    if file is not None:
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise Error(f"{file} can't be read: {getattr(error, 'strerror', None) or 'it is no text'}") from None
        if not lines or not lines[0]:
            raise Error(f"{file} has no password in its first line")
        return lines[0]
    if variable is not None:
        found = os.environ.get(variable)
        if not found:
            raise Error(f"the environment variable {variable!r} is not set, or empty")
        return found
    return None
