"""Expiring Hubble certificates are reported in time, and the reported steps renew them."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from certificates import a_pem, encoded
from cilium_hybrid.plan.status.certificates import CERTIFICATES
from e2e.site import Site
from testbed.api import MERGE_PATCH
from testbed.processes import wait_until

LIMIT = 10.0
SECRETS = "/api/v1/namespaces/kube-system/secrets"
CA, CLIENT, SERVER = CERTIFICATES
SOON = (datetime.now(UTC) + timedelta(days=10)).replace(microsecond=0)


def _values(annotation: str) -> dict[str, Any]:
    return {"hubble": {"relay": {"enabled": True, "podAnnotations": {"example.com/renewed": annotation}}}}


@pytest.fixture(params=["1.17.13-1", "1.19.4-1"])
def installed(site: Site, request: pytest.FixtureRequest) -> Iterator[tuple[Site, str]]:
    version = str(request.param)
    site.apply(version=version, values=_values("never"))
    site.wait_for("InSync", ready="True")
    yield site, version
    site.clean()


def _expiry(site: Site) -> dict[str, datetime]:
    expiry = {}
    for name in CERTIFICATES:
        data = site.cluster.get("secret", name, "kube-system")["data"]
        pem = base64.b64decode(data["ca.crt" if name == CA else "tls.crt"])
        expiry[name] = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    return expiry


def _metric(site: Site) -> dict[str, float]:
    _, text = site.http_get("/metrics")
    samples = [
        line for line in text.splitlines() if line.startswith("cilium_hybrid_certificate_expiry_timestamp_seconds{")
    ]
    return {line.split('"')[1]: float(line.split()[-1]) for line in samples}


def _replace_by_expiring(site: Site, *names: str) -> None:
    for name in names:
        body = {"data": {"ca.crt" if name == CA else "tls.crt": encoded(a_pem(SOON))}}
        site.cluster.request("PATCH", f"{SECRETS}/{name}", body, kind=MERGE_PATCH)


def _findings(site: Site) -> tuple[str, ...]:
    return tuple(site.status().get("findings", ()))


def test_an_expiring_certificate_is_reported_and_the_reported_steps_renew_it(installed: tuple[Site, str]) -> None:
    site, version = installed
    agents, before = site.agents(), _expiry(site)
    wait_until(
        lambda: _metric(site) == {name: expiry.timestamp() for name, expiry in before.items()},
        timeout=LIMIT,
        what="the metric has their expiry",
    )
    assert not _findings(site)

    _replace_by_expiring(site, CLIENT, SERVER)
    start = f"certificates expire on {SOON.date()}: {CLIENT}, {SERVER}; delete these Secrets in kube-system, "
    wait_until(
        lambda: [finding.startswith(start) for finding in _findings(site)] == [True],
        timeout=LIMIT,
        what="one finding reports both",
    )
    assert "see status.findings" in site.wait_for("InSync", ready="True")["message"]

    site.cluster.kubectl("delete", "secret", "-n", "kube-system", CLIENT, SERVER)
    site.apply(version=version, values=_values("today"))
    site.wait_for("InSync", ready="True")
    wait_until(lambda: not _findings(site), timeout=LIMIT, what="the finding is gone")
    after = _expiry(site)

    assert after[CA] == before[CA]
    assert min(after[CLIENT], after[SERVER]) >= max(before[CLIENT], before[SERVER])
    assert not site.restarted(agents)


def test_an_expiring_ca_is_renewed_with_all_certificates_that_it_signed(installed: tuple[Site, str]) -> None:
    site, version = installed
    agents, before = site.agents(), _expiry(site)
    _replace_by_expiring(site, CA)
    (finding,) = wait_until(lambda: _findings(site), timeout=LIMIT, what="the CA is reported")
    assert f"{CA}; delete Secrets {CA}, {CLIENT}, {SERVER} in kube-system" in finding

    site.cluster.kubectl("delete", "secret", "-n", "kube-system", *CERTIFICATES)
    site.apply(version=version, values=_values("today"))
    site.wait_for("InSync", ready="True")
    wait_until(lambda: not _findings(site), timeout=LIMIT, what="the finding is gone")

    assert all(expiry >= before[name] for name, expiry in _expiry(site).items())
    assert _signed_by_the_ca(site)
    assert not site.restarted(agents)


def _signed_by_the_ca(site: Site) -> bool:
    secrets = {name: site.cluster.get("secret", name, "kube-system")["data"] for name in CERTIFICATES}
    ca = x509.load_pem_x509_certificate(base64.b64decode(secrets[CA]["ca.crt"]))
    for name in (CLIENT, SERVER):
        x509.load_pem_x509_certificate(base64.b64decode(secrets[name]["tls.crt"])).verify_directly_issued_by(ca)
    return all(secret["ca.crt"] == secrets[CA]["ca.crt"] for secret in secrets.values())


def test_an_unreadable_certificate_blocks_nothing(site: Site) -> None:
    site.apply(values=_values("never"))
    site.wait_for("InSync", ready="True")
    body = {"data": {"tls.crt": encoded(b"-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n")}}
    site.cluster.request("PATCH", f"{SECRETS}/{SERVER}", body, kind=MERGE_PATCH)

    wait_until(lambda: SERVER not in _metric(site), timeout=LIMIT, what="the metric has no expiry for it")
    assert site.wait_for("InSync", ready="True")
    assert not _findings(site)
    site.clean()
