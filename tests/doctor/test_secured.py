"""Issue 3, "Doctor": what a look over TLS says of a certificate (RFC 5922 7)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from telephony.doctor.secured import prepared
from telephony.sip.transport.tls import TlsIdentity


class _Handle:
    """A finished handshake with a certificate that is none."""

    def get_protocol_version_name(self) -> str:
        return "TLSv1.3"

    def get_peer_certificate(self, **_: object) -> Any:
        raise ValueError("error parsing asn1 value")


class _Transport:
    def getHandle(self) -> _Handle:
        return _Handle()


class CertificateTests(SynchronousTestCase):
    """Certificates that are odd in themselves."""

    def test_unreadable(self) -> None:
        """RFC 5922 7.1: whose certificate can't be read is not believed, and a sentence says why."""
        look, _factory = prepared(TlsIdentity(), None, "pbx.test", b"")
        look.transport = _Transport()  # type: ignore[assignment]
        look.handshakeCompleted()
        self.assertEqual(look.distrusted, "its certificate can't be read: error parsing asn1 value")
        self.assertEqual((look.certificate, look.version), (None, "TLSv1.3"))
