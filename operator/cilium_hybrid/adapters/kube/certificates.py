"""From the Secrets of Cilium's chart to when their certificates end; nothing else of them is kept, and no key."""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from cilium_hybrid.adapters.kube.preflight_facts import OF_RELEASE
from cilium_hybrid.plan.certificates import AUTHORITY
from cilium_hybrid.plan.observation import Certificate, CertificateMaker
from cilium_hybrid.plan.release import RELEASE

Raw = Mapping[str, Any]

OF_CERT_MANAGER: Final = "cert-manager.io/certificate-name"
"""cert-manager's annotation on whatever Secret it made."""

_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----([\s\w+/=]+)-----END CERTIFICATE-----")
_TIME: Final = re.compile(rb"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z")
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18
_LONG: Final = 0x80
"""From this on a length is the number of bytes that hold it."""
_MOST: Final = 4
"""So many at most: more than a Secret can hold."""


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
    except (IndexError, ValueError):
        return None


def _maker(raw: Raw) -> CertificateMaker:
    annotations = raw["metadata"].get("annotations") or {}
    if OF_CERT_MANAGER in annotations:
        return CertificateMaker.CERT_MANAGER
    return CertificateMaker.HELM if annotations.get(OF_RELEASE) == RELEASE else CertificateMaker.OTHER


def _not_after(der: bytes) -> datetime | None:
    """RFC 5280, 4.1: the second time of the fourth field, the fifth where the version comes first."""
    at = _inside(der, _inside(der, 0))
    if der[at] == _VERSION:
        at = _behind(der, at)
    for _ in ("serial number", "algorithm", "issuer"):
        at = _behind(der, at)
    at = _behind(der, _inside(der, at))
    begin, end = _content(der, at)
    return _moment(der[at], der[begin:end])


def _moment(kind: int, text: bytes) -> datetime | None:
    if kind == _UTC_TIME:
        text = (b"20" if text < b"50" else b"19") + text
    elif kind != _GENERALIZED_TIME:
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    return datetime(year, month, day, hour, minute, second, tzinfo=UTC)


def _inside(der: bytes, at: int) -> int:
    """Where the content of a sequence begins; ValueError where there is none."""
    if der[at] != _SEQUENCE:
        raise ValueError("no certificate")
    return _content(der, at)[0]


def _behind(der: bytes, at: int) -> int:
    return _content(der, at)[1]


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of an element begins and ends; ValueError where it is cut off."""
    length, begin = der[at + 1], at + 2
    if length >= _LONG:
        width = length - _LONG
        if not 0 < width <= _MOST:
            raise ValueError("no length of a certificate")
        length, begin = int.from_bytes(der[begin : begin + width]), begin + width
    if begin + length > len(der):
        raise ValueError("a certificate that is cut off")
    return begin, begin + length
