from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from builders import NOW, a_certificate, a_raw_spec, an_observation
from cilium_hybrid.plan.observation import Certificate, CertificateMaker
from cilium_hybrid.plan.status.certificates import certificate_findings

AUTHORITY, CLIENT, SERVER = "cilium-ca", "hubble-relay-client-certs", "hubble-server-certs"
ANEW = (
    "then change an annotation in spec.values.hubble.relay.podAnnotations: the revision that this makes has new ones, "
    "and no agent restarts"
)
ELSEWHERE = "renew them where they come from: release cilium did not make these Secrets of kube-system"
SOON = "certificates that end on 2026-03-04"
GIVEN = "then write a newer one into spec.values.tls.ca"
PROVIDED = {"hubble": {"tls": {"auto": {"enabled": False}}}}


def told(*certificates: Certificate, after: timedelta = timedelta(), **spec: Any) -> tuple[str, ...]:
    return certificate_findings(an_observation(certificates=certificates), a_raw_spec(**spec), NOW + after)


@pytest.mark.parametrize(
    ("certificates", "spec", "expected"),
    [
        pytest.param([], {}, [], id="none"),
        pytest.param([a_certificate(days=30.1)], {}, [], id="more than thirty days"),
        pytest.param(
            [a_certificate(days=30)],
            {},
            [f"certificates that end on 2026-03-31: {SERVER}: delete these Secrets of kube-system, {ANEW}"],
            id="thirty days",
        ),
        pytest.param(
            [a_certificate(SERVER, days=0), a_certificate(CLIENT, days=-0.1)],
            {},
            [f"certificates that ended on 2026-03-01: {CLIENT}, {SERVER}: delete these Secrets of kube-system, {ANEW}"],
            id="none is left, told as one",
        ),
        pytest.param(
            [a_certificate(SERVER, days=3), a_certificate(CLIENT, days=2)],
            {},
            [
                f"certificates that end on 2026-03-03: {CLIENT}: delete these Secrets of kube-system, {ANEW}",
                f"{SOON}: {SERVER}: delete these Secrets of kube-system, {ANEW}",
            ],
            id="the first to end comes first",
        ),
        pytest.param(
            [a_certificate(AUTHORITY, days=3), a_certificate(SERVER, days=200), a_certificate(CLIENT, days=200)],
            {},
            [f"{SOON}: {AUTHORITY}: delete Secrets {AUTHORITY}, {CLIENT}, {SERVER} of kube-system, {ANEW}"],
            id="the authority takes those that it signed along",
        ),
        pytest.param(
            [a_certificate(AUTHORITY, days=3), a_certificate(SERVER, days=200)],
            {"values": {"tls": {"ca": {"cert": "LS0t"}}}},
            [f"{SOON}: {AUTHORITY}: delete Secrets {SERVER} of kube-system, {GIVEN}"],
            id="an authority that the spec gives",
        ),
        pytest.param(
            [a_certificate(AUTHORITY, days=3)],
            {"values": {"tls": {"ca": {"cert": "LS0t"}}}},
            [f"{SOON}: {AUTHORITY}: write a newer one into spec.values.tls.ca"],
            id="one that signed nothing",
        ),
        pytest.param(
            [a_certificate(AUTHORITY, days=3), a_certificate(SERVER, days=3)],
            {"values": PROVIDED},
            [
                f"{SOON}: {AUTHORITY}: write newer ones into spec.values, at tls.ca",
                f"{SOON}: {SERVER}: write newer ones into spec.values, at hubble",
            ],
            id="certificates that the spec gives",
        ),
        pytest.param(
            [a_certificate(days=3, maker=CertificateMaker.CERT_MANAGER)],
            {},
            [f"{SOON}: {SERVER}: see why cert-manager does not renew them: kubectl -n kube-system get certificates"],
            id="of cert-manager",
        ),
        pytest.param(
            [a_certificate(days=3, maker=CertificateMaker.OTHER)],
            {"values": PROVIDED},
            [f"{SOON}: {SERVER}: {ELSEWHERE}"],
            id="of somebody else",
        ),
        pytest.param(
            [a_certificate(days=30)],
            {"values": {"hubble": ["tls"]}},
            [f"certificates that end on 2026-03-31: {SERVER}: delete these Secrets of kube-system, {ANEW}"],
            id="values that are none",
        ),
    ],
)
def test_what_ends_soon_is_told(certificates: list[Certificate], spec: dict[str, Any], expected: list[str]) -> None:
    assert told(*certificates, **spec) == tuple(expected)


def test_it_is_told_in_the_same_words_until_it_ends_and_after() -> None:
    hours = [told(a_certificate(days=30), after=timedelta(hours=hour)) for hour in range(24 * 60)]
    changes = [hour for hour, (before, after) in enumerate(pairwise(hours), 1) if before != after]

    assert changes == [24 * 30]
