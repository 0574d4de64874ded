"""One look at a peer over TLS: does the handshake succeed, what is its certificate, and does SIP answer behind it.

Owns: the connection of that look, and the certificate in words. Must not know other checks. Whether a certificate is
believed, and for whom it speaks, is decided as our server decides it (RFC 5922 7).
"""

from __future__ import annotations

from typing import Any, cast

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, ITransport
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from telephony.sip.transport.tls import TlsIdentity, in_words, validity


class _Look(Protocol):
    """Sends one request and waits for bytes that begin an answer."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.said = b""
        self.distrusted = ""
        self.refused = ""
        self.certificate: x509.Certificate | None = None
        self.version = ""
        self.identity: TlsIdentity | None = None
        self.name = ""
        self.done: Deferred[str] = Deferred()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Say it: TLS holds it back until the handshake is over."""
        cast(ITransport, self.transport).write(self.data)

    def distrust(self, reason: str) -> None:
        """Hear why OpenSSL doesn't believe a certificate; see `telephony.sip.transport.tls`."""
        self.distrusted = self.distrusted or f"its certificate {reason}"

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        """Keep what the handshake has shown."""
        self._keep()

    def _keep(self) -> None:
        handle = cast(Any, self.transport).getHandle()
        self.version = str(handle.get_protocol_version_name())
        try:
            self.certificate = handle.get_peer_certificate(as_cryptography=True)
        except ValueError as error:
            self.distrust(f"can't be read: {error}")
            return
        if self.identity is not None:
            self.refused = self.identity.refusal(handle, self.name)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Take an answer's first bytes."""
        self.said += data[:200]
        if self.certificate is None:
            self._keep()
        if len(self.said) >= 12 and not self.done.called:
            self.done.callback("")

    def connectionLost(self, reason: Failure | None = None) -> None:  # noqa: N802 - Twisted's name
        """Note why it ended."""
        if not self.done.called:
            error = None if reason is None else reason.value
            self.done.callback(self.distrusted or ("" if error is None else in_words(error)) or "it closes")


def prepared(identity: TlsIdentity, clock: Any, name: str, data: bytes) -> tuple[_Look, IProtocolFactory]:
    """Return the look and the factory to connect with; ``data`` is the request that it sends."""
    look = _Look(data)
    look.identity, look.name = identity, name
    factory: Any = Factory()
    factory.buildProtocol = lambda _address: look
    factory.noisy = False
    return look, identity.connecting(cast(IProtocolFactory, factory), clock, name)


def certificate_words(certificate: x509.Certificate) -> tuple[str, dict[str, Any]]:
    """Return a certificate as words, and its facts."""
    try:
        names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        spoken = [str(one.value) for one in cast(Any, names)][:4]
    except (x509.ExtensionNotFound, ValueError):
        spoken = []
    issuers = certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    issuer = str(issuers[0].value) if issuers else "nobody it names"
    until = f"{certificate.not_valid_after_utc:%Y-%m-%d}"
    own = certificate.issuer == certificate.subject
    words = f"its certificate speaks for {', '.join(spoken) or 'no name'}, "
    words += f"is signed by {'itself' if own else issuer} and good until {until}"
    broken = validity(certificate)
    if broken:
        words = f"its certificate {broken}; it speaks for {', '.join(spoken) or 'no name'}"
    return words, {"names": spoken, "issuer": issuer, "self_signed": own, "not_after": until}
