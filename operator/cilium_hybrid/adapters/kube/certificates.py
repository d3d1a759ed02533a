"""Read when the certificates in the Secrets of the Cilium chart expire; nothing else of the Secrets is kept."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pyasn1.codec.der.decoder import decode
from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import Integer

from cilium_hybrid.adapters.kube.preflight_facts import HELM_RELEASE_ANNOTATION
from cilium_hybrid.plan.observation import Certificate, CertificateIssuer
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.plan.status.certificates import CA_CERTIFICATE

Raw = Mapping[str, Any]

CERT_MANAGER_ANNOTATION: Final = "cert-manager.io/certificate-name"
"""cert-manager's annotation on every Secret that it creates."""

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([\s\w+/=]+)-----END CERTIFICATE-----")
_VALIDITY: Final = 4
"""Index of the validity in a TBSCertificate with a version; version 1 omits the version. RFC 5280, section 4.1."""


def certificate(raw: Raw) -> Certificate | None:
    """Return the certificate in a Secret; None if there is none that can be parsed."""
    name, data = str(raw["metadata"]["name"]), raw.get("data") or {}
    expires = not_after(str(data.get("ca.crt" if name == CA_CERTIFICATE else "tls.crt") or ""))
    return None if expires is None else Certificate(name, expires, _issuer(raw))


def not_after(encoded: str) -> datetime | None:
    """Return when the first certificate of a base64-encoded PEM text expires; None if it cannot be parsed."""
    try:
        found = _PEM.search(base64.b64decode(encoded))
        return None if found is None else _not_after(base64.b64decode(found[1]))
    except (PyAsn1Error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # The decoder does not validate: any DER value may be in the place of another.
        return None


def _issuer(raw: Raw) -> CertificateIssuer:
    annotations = raw["metadata"].get("annotations") or {}
    if CERT_MANAGER_ANNOTATION in annotations:
        return CertificateIssuer.CERT_MANAGER
    return CertificateIssuer.HELM if annotations.get(HELM_RELEASE_ANNOTATION) == RELEASE else CertificateIssuer.OTHER


def _not_after(der: bytes) -> datetime:
    fields = decode(der)[0][0]
    # The version is tagged; without it the second field is the algorithm, and with it the serial number, an integer.
    expires: datetime = fields[_VALIDITY if isinstance(fields[1], Integer) else _VALIDITY - 1][1].asDateTime
    return expires.astimezone(UTC)
