"""From the Secrets of Cilium's chart to when their certificates end; nothing else of them is kept, and no key."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pyasn1.codec.der.decoder import decode
from pyasn1.error import PyAsn1Error
from pyasn1.type.univ import Integer

from cilium_hybrid.adapters.kube.preflight_facts import OF_RELEASE
from cilium_hybrid.plan.observation import Certificate, CertificateMaker
from cilium_hybrid.plan.release import RELEASE
from cilium_hybrid.plan.status.certificates import AUTHORITY

Raw = Mapping[str, Any]

OF_CERT_MANAGER: Final = "cert-manager.io/certificate-name"
"""cert-manager's annotation on whatever Secret it made."""

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([\s\w+/=]+)-----END CERTIFICATE-----")
_VALIDITY: Final = 4
"""The place among a certificate's fields, behind its version, which the oldest do not name. RFC 5280, 4.1."""


def certificate(raw: Raw) -> Certificate | None:
    """A Secret with a certificate; None where it holds none that can be read, whoever wrote it."""
    name, data = str(raw["metadata"]["name"]), raw.get("data") or {}
    ends = not_after(str(data.get("ca.crt" if name == AUTHORITY else "tls.crt") or ""))
    return None if ends is None else Certificate(name, ends, _maker(raw))


def not_after(encoded: str) -> datetime | None:
    """When the certificate of a PEM text in base64 ends, the first of a chain; None where none can be read."""
    try:
        found = _PEM.search(base64.b64decode(encoded))
        return None if found is None else _not_after(base64.b64decode(found[1]))
    except (PyAsn1Error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        # It takes what it reads for what it should be.
        return None


def _maker(raw: Raw) -> CertificateMaker:
    annotations = raw["metadata"].get("annotations") or {}
    if OF_CERT_MANAGER in annotations:
        return CertificateMaker.CERT_MANAGER
    return CertificateMaker.HELM if annotations.get(OF_RELEASE) == RELEASE else CertificateMaker.OTHER


def _not_after(der: bytes) -> datetime:
    fields = decode(der)[0][0]
    # Behind a version comes the serial number, another integer.
    ends: datetime = fields[_VALIDITY if isinstance(fields[1], Integer) else _VALIDITY - 1][1].asDateTime
    return ends.astimezone(UTC)
