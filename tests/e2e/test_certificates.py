"""The certificates of Hubble: their end is told in time, and what is told to be done makes them anew."""

import base64
import urllib.request
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

SECONDS = 10.0
SECRETS = "/api/v1/namespaces/kube-system/secrets"
AUTHORITY, CLIENT, SERVER = CERTIFICATES
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


def _ends(site: Site) -> dict[str, datetime]:
    found = {}
    for name in CERTIFICATES:
        data = site.cluster.get("secret", name, "kube-system")["data"]
        pem = base64.b64decode(data["ca.crt" if name == AUTHORITY else "tls.crt"])
        found[name] = x509.load_pem_x509_certificate(pem).not_valid_after_utc
    return found


def _told(site: Site) -> dict[str, float]:
    address = site.operator.env["CILIUM_HYBRID_METRICS_ADDR"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    own = [line for line in lines if line.startswith("cilium_hybrid_certificate_expiry_timestamp_seconds{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in own}


def _age(site: Site, *names: str) -> None:
    for name in names:
        body = {"data": {"ca.crt" if name == AUTHORITY else "tls.crt": encoded(a_pem(SOON))}}
        site.cluster.request("PATCH", f"{SECRETS}/{name}", body, kind=MERGE_PATCH)


def _found(site: Site) -> tuple[str, ...]:
    return tuple(site.status().get("findings", ()))


def test_an_end_is_told_and_what_is_told_to_do_makes_it_good(installed: tuple[Site, str]) -> None:
    site, version = installed
    agents, before = site.agents(), _ends(site)
    wait_until(
        lambda: _told(site) == {name: ends.timestamp() for name, ends in before.items()},
        timeout=SECONDS,
        what="the metric tells when they end",
    )
    assert not _found(site)

    _age(site, CLIENT, SERVER)
    told = f"certificates that end on {SOON.date()}: {CLIENT}, {SERVER}: delete these Secrets of kube-system, "
    wait_until(
        lambda: [one.startswith(told) for one in _found(site)] == [True], timeout=SECONDS, what="both are told as one"
    )
    assert "see status.findings" in site.wait_for("InSync", ready="True")["message"]

    site.cluster.kubectl("delete", "secret", "-n", "kube-system", CLIENT, SERVER)
    site.apply(version=version, values=_values("today"))
    site.wait_for("InSync", ready="True")
    wait_until(lambda: not _found(site), timeout=SECONDS, what="it is made good")
    after = _ends(site)

    assert after[AUTHORITY] == before[AUTHORITY]
    assert min(after[CLIENT], after[SERVER]) >= max(before[CLIENT], before[SERVER])
    assert not site.moved(agents)


def test_an_authority_that_ends_is_made_anew_with_all_that_it_signed(installed: tuple[Site, str]) -> None:
    site, version = installed
    agents, before = site.agents(), _ends(site)
    _age(site, AUTHORITY)
    (told,) = wait_until(lambda: _found(site), timeout=SECONDS, what="it is found")
    assert f"{AUTHORITY}: delete Secrets {AUTHORITY}, {CLIENT}, {SERVER} of kube-system" in told

    site.cluster.kubectl("delete", "secret", "-n", "kube-system", *CERTIFICATES)
    site.apply(version=version, values=_values("today"))
    site.wait_for("InSync", ready="True")
    wait_until(lambda: not _found(site), timeout=SECONDS, what="it is made good")

    assert all(ends >= before[name] for name, ends in _ends(site).items())
    assert _signed_by_the_authority(site)
    assert not site.moved(agents)


def _signed_by_the_authority(site: Site) -> bool:
    secrets = {name: site.cluster.get("secret", name, "kube-system")["data"] for name in CERTIFICATES}
    authority = x509.load_pem_x509_certificate(base64.b64decode(secrets[AUTHORITY]["ca.crt"]))
    for name in (CLIENT, SERVER):
        x509.load_pem_x509_certificate(base64.b64decode(secrets[name]["tls.crt"])).verify_directly_issued_by(authority)
    return all(secret["ca.crt"] == secrets[AUTHORITY]["ca.crt"] for secret in secrets.values())


def test_a_certificate_that_cannot_be_read_stops_nothing(site: Site) -> None:
    site.apply(values=_values("never"))
    site.wait_for("InSync", ready="True")
    body = {"data": {"tls.crt": encoded(b"-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n")}}
    site.cluster.request("PATCH", f"{SECRETS}/{SERVER}", body, kind=MERGE_PATCH)

    wait_until(lambda: SERVER not in _told(site), timeout=SECONDS, what="its end is not known")
    assert site.wait_for("InSync", ready="True")
    assert not _found(site)
    site.clean()
