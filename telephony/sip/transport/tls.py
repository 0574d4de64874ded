"""TLS for SIP connections: who we are, whom we believe, and whether a certificate speaks for a domain.

Owns: the two OpenSSL contexts of one identity, the factories that put TLS under a protocol, and the check of a server's
name (RFC 5922 7; RFC 3261 26.3.1). Must not know SIP messages or sockets: TLS is made in memory over any stream, by the
same code on real sockets and on a simulated network. What it reads from files is given to it as PEM.

At least TLS 1.2 (RFC 8996), with forward secrecy. No session is resumed and nothing is negotiated again: SIP
connections live long, and both have been doors for attacks.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum
from ipaddress import ip_address
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IAddress,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from telephony.errors import Error
from telephony.interfaces import Clock

#: What TLS 1.2 may use; TLS 1.3 has its own short list.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!eNULL:!MD5"
#: The most certificates a peer may send in a chain.
MOST_IN_CHAIN = 8
#: How the usual refusals of a chain are called (OpenSSL's X509_V_ERR numbers).
_REASONS = {
    9: "is not valid yet",
    10: "has expired",
    18: "is signed by itself",
    19: "ends at an authority that isn't among those believed",
    20: "is signed by an authority that isn't among those believed",
    21: "is signed by an authority that isn't among those believed",
    26: "is not made for this purpose",
}


class TlsError(Error):
    """Something that TLS was given can't be used; ``part`` is ``certificate``, ``key`` or ``authorities``."""

    def __init__(self, part: str, text: str) -> None:
        super().__init__(text)
        self.part = part


class ClientCertificate(Enum):
    """What a server asks of those who connect to it."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


def read_certificates(pem: bytes, part: str = "certificate") -> list[x509.Certificate]:
    """Read one or more certificates. Raises `TlsError`."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise TlsError(part, f"is no certificate in PEM form ({error})") from error
    return found


def read_key(pem: bytes) -> PrivateKeyTypes:
    """Read a private key without a password. Raises `TlsError`, whose text has nothing of the key in it."""
    try:
        return serialization.load_pem_private_key(pem, None)
    except TypeError:
        text = "is protected by a password; give a key without one that only the server can read"
        raise TlsError("key", text) from None
    except ValueError:
        raise TlsError("key", "is no private key in PEM form") from None


def belongs(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    """Tell whether ``certificate`` was made for ``key``."""
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return key.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def validity(certificate: x509.Certificate, now: datetime | None = None) -> str:
    """Return why a certificate is of no use at a moment (now), or "" when it is."""
    now = now if now is not None else datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        return f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
    if certificate.not_valid_before_utc > now:
        return f"is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}"
    return ""


def domains_of(uris: Iterable[str], names: Iterable[str]) -> list[str]:
    """Return the SIP domains that a certificate speaks for, by its subjectAltName (RFC 5922 7.1).

    A ``sip:`` URI without a user part is one; DNS names count only where there is no such URI. ``sips:`` URIs, those of
    users and the common name are none.
    """
    found = []
    for uri in uris:
        scheme, colon, rest = uri.partition(":")
        if colon and scheme.lower() == "sip" and "@" not in rest:
            host = rest.partition(";")[0].partition("?")[0]
            found.append(host if host.startswith("[") else host.partition(":")[0])
    return found or list(names)


def same_domain(one: str, other: str) -> bool:
    """Compare two domains: case-insensitively, as a whole; a wildcard matches nothing (RFC 5922 7.2)."""
    return "*" not in one and one.lower().rstrip(".") == other.lower().rstrip(".") != ""


def refusal_of_name(certificate: x509.Certificate, name: str) -> str:
    """Return why a certificate doesn't speak for the host of a URI, or "" when it does.

    An IP address must be among the certificate's IP addresses, which RFC 5922 doesn't speak of.
    """
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return f"the certificate names no domain at all, so it doesn't speak for {name}"
    try:
        address = ip_address(name)
    except ValueError:
        domains = domains_of(
            alternative.get_values_for_type(x509.UniformResourceIdentifier),
            alternative.get_values_for_type(x509.DNSName),
        )
        if any(same_domain(one, name) for one in domains):
            return ""
        spoken = ", ".join(domains[:4]) or "no domain"
    else:
        addresses = alternative.get_values_for_type(x509.IPAddress)
        if address in addresses:
            return ""
        spoken = ", ".join(str(one) for one in addresses[:4]) or "no address"
    return f"the certificate speaks for {spoken}, not for {name}"


@implementer(IOpenSSLServerConnectionCreator, IOpenSSLClientConnectionCreator)
class _Creator:
    """Makes OpenSSL's side of a connection."""

    def __init__(self, context: SSL.Context, name: str | None = None) -> None:
        self._context = context
        self._name = name

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802, N803 - Twisted's names
        """Return the accepting side."""
        return SSL.Connection(self._context, None)

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:  # noqa: N802, N803 - Twisted's names
        """Return the connecting side, which says whom it wants to talk to (RFC 6066 3; not for IP addresses)."""
        connection = SSL.Connection(self._context, None)
        if self._name is not None:
            try:
                ip_address(self._name)
            except ValueError:
                connection.set_tlsext_host_name(self._name.rstrip(".").encode("idna"))
        return connection


class _Factory(TLSMemoryBIOFactory):
    """Puts TLS under a factory's protocols; None from it still means that a connection isn't wanted."""

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: N802 - Twisted's name
        inner = self.wrappedFactory.buildProtocol(addr)
        return None if inner is None else self.protocol(self, inner)


def _verify(connection: SSL.Connection, _certificate: Any, number: int, _depth: int, fine: int) -> bool:
    """Tell the protocol on top why OpenSSL doesn't believe a chain; its own error says only that it doesn't."""
    if not fine:
        # Twisted keeps its TLS protocol there.
        distrust = getattr(getattr(connection.get_app_data(), "wrappedProtocol", None), "distrust", None)
        if distrust is not None:
            distrust(_REASONS.get(number, f"is not believed (OpenSSL's reason {number})"))
    return bool(fine)


class TlsIdentity:
    """Our certificate and whom we believe; what listeners and connections of one user agent share.

    ``certificate`` is PEM, ours first and then what leads to its authority, ``key`` its private key; without them only
    connections of ours can be made, and no listener. ``authorities`` is PEM, instead of those the system believes.
    ``verify=False`` believes every server, for laboratories. A server asks for ``client_certificate``, and believes
    those of ``authorities``. Our own certificate is shown to servers that ask for one.

    Raises `TlsError`: what can't be read, a key that isn't the certificate's, client certificates without authorities.
    """

    def __init__(
        self,
        *,
        certificate: bytes | None = None,
        key: bytes | None = None,
        authorities: bytes | None = None,
        client_certificate: ClientCertificate = ClientCertificate.NONE,
        verify: bool = True,
    ) -> None:
        if (certificate is None) != (key is None):
            missing = "key" if key is None else "certificate"
            raise TlsError(missing, "is missing; certificate and key go together")
        if client_certificate is not ClientCertificate.NONE and authorities is None:
            raise TlsError("authorities", "is missing; without it no client certificate can be checked")
        self.verify = verify
        chain = [] if certificate is None else read_certificates(certificate)
        private = None if key is None else read_key(key)
        if private is not None and not belongs(private, chain[0]):
            raise TlsError("key", "is not the certificate's: the certificate was made for another key")
        believed = None if authorities is None else read_certificates(authorities, "authorities")
        self._client = _context(chain, private, believed)
        if verify:
            self._client.set_verify(SSL.VERIFY_PEER, _verify)
        self._server: SSL.Context | None = None
        if chain:
            self._server = _context(chain, private, believed or [])
            if client_certificate is not ClientCertificate.NONE:
                must = client_certificate is ClientCertificate.REQUIRED
                mode = SSL.VERIFY_PEER | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if must else 0)
                self._server.set_verify(mode, _verify)

    @property
    def can_listen(self) -> bool:
        """Whether there is a certificate to show to those who connect."""
        return self._server is not None

    def accepting(self, factory: IProtocolFactory, clock: Clock) -> IProtocolFactory:
        """Put the listening side of TLS under a factory's protocols."""
        assert self._server is not None, "asked for without a certificate"
        return cast(IProtocolFactory, _Factory(_Creator(self._server), False, factory, cast(Any, clock)))

    def connecting(self, factory: IProtocolFactory, clock: Clock, name: str) -> IProtocolFactory:
        """Put the connecting side under them; ``name`` is the host of the URI that is wanted."""
        return cast(IProtocolFactory, _Factory(_Creator(self._client, name), True, factory, cast(Any, clock)))

    def refusal(self, handle: SSL.Connection, name: str) -> str:
        """Return why a server that has proven itself isn't the one wanted, or "" when it is (RFC 5922 7.3)."""
        if not self.verify:
            return ""
        certificate = handle.get_peer_certificate(as_cryptography=True)
        return "it shows no certificate" if certificate is None else refusal_of_name(certificate, name)


def in_words(error: BaseException) -> str:
    """Return what an OpenSSL error says, as words instead of a list of tuples."""
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        said = [str(one[-1]) for one in error.args[0] if one and one[-1]]
        return ", ".join(dict.fromkeys(said)) or "TLS failed"
    return str(error)


def _context(
    chain: list[x509.Certificate], key: PrivateKeyTypes | None, believed: list[x509.Certificate] | None
) -> SSL.Context:
    """Make a context; ``believed`` None stands for the system's authorities."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(CIPHERS)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify_depth(MOST_IN_CHAIN)
    if chain:
        try:
            context.use_certificate(chain[0])
            for one in chain[1:]:
                context.add_extra_chain_cert(one)
            assert key is not None
            context.use_privatekey(cast(Any, key))
        except SSL.Error as error:
            raise TlsError("certificate", f"is not taken by OpenSSL: {in_words(error)}") from error
    if believed is None:
        context.set_default_verify_paths()
    else:
        store = context.get_cert_store()
        assert store is not None
        for one in believed:
            store.add_cert(cast(Any, _openssl(one)))
    return context


def _openssl(certificate: x509.Certificate) -> Any:
    from OpenSSL import crypto

    return crypto.X509.from_cryptography(certificate)
