from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from builders import NOW, a_certificate, a_lenient_spec, an_observation
from cilium_hybrid.plan.observation import Certificate, CertificateIssuer
from cilium_hybrid.plan.status.certificates import certificate_findings

CA, CLIENT, SERVER = "cilium-ca", "hubble-relay-client-certs", "hubble-server-certs"
RECREATE = (
    "then change an annotation in spec.values.hubble.relay.podAnnotations: the new revision recreates them "
    "and restarts no agent"
)
DELETE = f"delete these Secrets in kube-system, {RECREATE}"
CERT_MANAGER = "find out why cert-manager does not renew them: kubectl -n kube-system get certificates"
FROM_ELSEWHERE = "renew them at their source: release cilium did not create these Secrets in kube-system"
SOON = "certificates expire on 2026-03-04"
REPLACE_CA = "replace the CA in spec.values.tls.ca"
FROM_SPEC = {"hubble": {"tls": {"auto": {"enabled": False}}}}


def found(*certificates: Certificate, after: timedelta = timedelta(), **spec: Any) -> tuple[str, ...]:
    return certificate_findings(an_observation(certificates=certificates), a_lenient_spec(**spec), NOW + after)


@pytest.mark.parametrize(
    ("certificates", "spec", "expected"),
    [
        pytest.param([], {}, [], id="none"),
        pytest.param([a_certificate(days=30.1)], {}, [], id="more than thirty days"),
        pytest.param(
            [a_certificate(days=30)],
            {},
            [f"certificates expire on 2026-03-31: {SERVER}; {DELETE}"],
            id="thirty days",
        ),
        pytest.param(
            [a_certificate(SERVER, days=0), a_certificate(CLIENT, days=-0.1)],
            {},
            [f"certificates expired on 2026-03-01: {CLIENT}, {SERVER}; {DELETE}"],
            id="two expired on the same day",
        ),
        pytest.param(
            [a_certificate(SERVER, days=3), a_certificate(CLIENT, days=2)],
            {},
            [
                f"certificates expire on 2026-03-03: {CLIENT}; {DELETE}",
                f"{SOON}: {SERVER}; {DELETE}",
            ],
            id="the first to expire comes first",
        ),
        pytest.param(
            [a_certificate(CA, days=3), a_certificate(SERVER, days=200), a_certificate(CLIENT, days=200)],
            {},
            [f"{SOON}: {CA}; delete Secrets {CA}, {CLIENT}, {SERVER} in kube-system, {RECREATE}"],
            id="the CA, with the certificates that it signed",
        ),
        pytest.param(
            [a_certificate(CA, days=3), a_certificate(SERVER, days=200)],
            {"values": {"tls": {"ca": {"cert": "LS0t"}}}},
            [f"{SOON}: {CA}; delete Secrets {SERVER} in kube-system, then {REPLACE_CA}"],
            id="a CA from the spec",
        ),
        pytest.param(
            [a_certificate(CA, days=3)],
            {"values": {"tls": {"ca": {"cert": "LS0t"}}}},
            [f"{SOON}: {CA}; {REPLACE_CA}"],
            id="a CA that signed nothing",
        ),
        pytest.param(
            [a_certificate(CA, days=3), a_certificate(SERVER, days=3)],
            {"values": FROM_SPEC},
            [
                f"{SOON}: {CA}; replace them in spec.values.tls.ca",
                f"{SOON}: {SERVER}; replace them in spec.values.hubble",
            ],
            id="certificates from the spec",
        ),
        pytest.param(
            [a_certificate(days=3, issuer=CertificateIssuer.CERT_MANAGER)],
            {},
            [f"{SOON}: {SERVER}; {CERT_MANAGER}"],
            id="cert-manager",
        ),
        pytest.param(
            [a_certificate(days=3, issuer=CertificateIssuer.OTHER)],
            {"values": FROM_SPEC},
            [f"{SOON}: {SERVER}; {FROM_ELSEWHERE}"],
            id="another source",
        ),
        pytest.param(
            [a_certificate(days=30)],
            {"values": {"hubble": ["tls"]}},
            [f"certificates expire on 2026-03-31: {SERVER}; {DELETE}"],
            id="values of a wrong type",
        ),
    ],
)
def test_certificates_that_expire_soon(
    certificates: list[Certificate], spec: dict[str, Any], expected: list[str]
) -> None:
    assert found(*certificates, **spec) == tuple(expected)


def test_a_finding_changes_only_when_the_certificate_expires() -> None:
    hours = [found(a_certificate(days=30), after=timedelta(hours=hour)) for hour in range(24 * 60)]
    changes = [hour for hour, (before, after) in enumerate(pairwise(hours), 1) if before != after]

    assert changes == [24 * 30]
