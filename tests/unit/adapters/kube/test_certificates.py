import ssl
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from builders import NOW
from certificates import a_pem, a_secret, encoded
from cilium_hybrid.adapters.kube.certificates import certificate, not_after
from cilium_hybrid.plan.observation import Certificate, CertificateIssuer

# The library parses two-digit years before 1969 as years of this century.
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31, 23, 59, 59), timezones=st.just(UTC))  # noqa: DTZ001
SERIALS = st.integers(1, 2**150)
NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=16)
PEM = a_pem(NOW)
LATER = a_pem(NOW + timedelta(days=1))
DER = ssl.PEM_cert_to_DER_cert(PEM.decode())
HELM = {"meta.helm.sh/release-name": "cilium"}


def as_pem(der: bytes) -> str:
    return encoded(ssl.DER_cert_to_PEM_cert(der).encode())


@given(TIMES, NAMES, SERIALS)
def test_the_expiry_is_parsed_as_by_another_library(ends: datetime, name: str, serial: int) -> None:
    pem = a_pem(ends.replace(microsecond=0), name=name, serial=serial)

    assert not_after(encoded(pem)) == x509.load_pem_x509_certificate(pem).not_valid_after_utc


@given(st.integers(0, len(DER) - 1), st.integers(0, 255), st.booleans())
def test_a_corrupt_certificate_raises_no_error(at: int, byte: int, cut: bool) -> None:
    broken = DER[:at] if cut else DER[:at] + bytes([byte]) + DER[at + 1 :]

    assert isinstance(not_after(as_pem(broken)), datetime | None)


@given(st.text(max_size=200) | st.binary(max_size=200).map(encoded) | st.binary(max_size=200).map(as_pem))
def test_text_without_a_certificate_has_no_expiry(text: str) -> None:
    assert not_after(text) is None


def test_the_first_certificate_of_a_chain_counts() -> None:
    assert not_after(encoded(b"Bag Attributes\n" + PEM + LATER)) == NOW
    assert not_after(encoded(LATER + PEM)) == NOW + timedelta(days=1)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        pytest.param(
            a_secret("hubble-server-certs", NOW, annotations=HELM),
            Certificate("hubble-server-certs", NOW, CertificateIssuer.HELM),
            id="created by Helm",
        ),
        pytest.param(
            a_secret("cilium-ca", NOW, annotations=HELM, data={"tls.crt": encoded(LATER)}),
            Certificate("cilium-ca", NOW, CertificateIssuer.HELM),
            id="CA, under another key",
        ),
        pytest.param(
            a_secret("hubble-server-certs", NOW, data={"ca.crt": encoded(LATER)}),
            Certificate("hubble-server-certs", NOW, CertificateIssuer.OTHER),
            id="created by another tool",
        ),
        pytest.param(
            a_secret("hubble-server-certs", NOW, annotations={"cert-manager.io/certificate-name": "x"}),
            Certificate("hubble-server-certs", NOW, CertificateIssuer.CERT_MANAGER),
            id="created by cert-manager",
        ),
        pytest.param(
            a_secret("hubble-server-certs", NOW, annotations={"meta.helm.sh/release-name": "hubble"}),
            Certificate("hubble-server-certs", NOW, CertificateIssuer.OTHER),
            id="created for another release",
        ),
        pytest.param(a_secret("hubble-server-certs", None), None, id="no certificate"),
        pytest.param({"metadata": {"name": "cilium-ca"}}, None, id="no data"),
        pytest.param({"metadata": {"name": "cilium-ca"}, "data": {"ca.crt": None}}, None, id="null value"),
    ],
)
def test_expiry_and_issuer_are_read_from_a_secret(raw: dict[str, Any], expected: Certificate | None) -> None:
    assert certificate(raw) == expected
