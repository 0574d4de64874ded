"""Certificates for tests, made when they are needed: an authority, and what it signs. Nothing of them is ever kept.

Owns: keys and certificates for the few hours of a test run. Must not know who uses them. The keys are real, so bytes of
TLS differ from run to run: what a seed promises (invariant I9) ends where TLS begins.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from telephony.sip.transport.tls import ClientCertificate, TlsIdentity


class Issued:
    """A certificate with its key; ``certificate`` and ``key`` are PEM."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.x509 = certificate
        self.private = key
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def issue(
    *names: str,
    by: Issued | None = None,
    uris: Sequence[str] = (),
    authority: bool = False,
    days: tuple[float, float] = (-1, 1),
) -> Issued:
    """Make a certificate for DNS ``names`` and IP addresses, and for ``uris``; signed by itself without ``by``.

    ``days`` is from when until when it is valid, counted from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (names or ("test",))[0][:60])])
    others: list[x509.GeneralName] = []
    for name in names:
        try:
            others.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            others.append(x509.DNSName(name))
    others += [x509.UniformResourceIdentifier(uri) for uri in uris]
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.x509.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if others:
        builder = builder.add_extension(x509.SubjectAlternativeName(others), critical=False)
    return Issued(builder.sign(key if by is None else by.private, hashes.SHA256()), key)


_authority: list[Issued] = []


def authority() -> Issued:
    """Return the authority that all tests of this process believe."""
    if not _authority:
        _authority.append(issue("The tests' authority", authority=True))
    return _authority[0]


def identity(
    *names: str,
    uris: Sequence[str] = (),
    client_certificate: ClientCertificate = ClientCertificate.NONE,
    verify: bool = True,
) -> TlsIdentity:
    """Return an identity for ``names`` that shows the authority's certificate and believes the authority."""
    own = issue(*names, by=authority(), uris=uris)
    return TlsIdentity(
        certificate=own.certificate,
        key=own.key,
        authorities=authority().certificate,
        client_certificate=client_certificate,
        verify=verify,
    )
