"""Certificates as Cilium's chart makes them, and as others do."""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

KEY: Final = ec.generate_private_key(ec.SECP256R1())
BEGIN: Final = datetime(1950, 1, 1, tzinfo=UTC)


def a_pem(ends: datetime, *, name: str = "*.default.hubble-grpc.cilium.io", serial: int = 1) -> bytes:
    """A certificate that ends at a moment, in whole seconds."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(subject, subject, KEY.public_key(), serial, BEGIN, ends)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def encoded(pem: bytes) -> str:
    """As a Secret holds it."""
    return base64.b64encode(pem).decode()


def a_secret(
    name: str,
    ends: datetime | None,
    *,
    annotations: Mapping[str, str] | None = None,
    data: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The Secret of a certificate, with a key beside it."""
    key, text = ("ca.key", "ca.crt") if name == "cilium-ca" else ("tls.key", "tls.crt")
    private = KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = {} if ends is None else {text: encoded(a_pem(ends))}
    metadata = {"name": name, "namespace": "kube-system", "annotations": dict(annotations or {})}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "data": {key: encoded(private), **made, **(data or {})},
    }
