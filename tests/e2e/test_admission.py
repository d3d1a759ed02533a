"""Validation by the API server, without an operator."""

import re
from pathlib import Path
from typing import Any

import pytest

from e2e.site import Site
from manifests.expected import ACCEPTED, LARGE, REFUSED, SAMPLES, expected, expected_of
from testbed.processes import CommandError


def _ipam(*cidrs: str, mask: int = 25) -> dict[str, Any]:
    return {"ipam": {"podCIDRs": list(cidrs), "maskSize": mask}}


REFUSED_BY_THE_API_SERVER = [path for path in REFUSED if expected(path).api_server]
ACCEPTED_BY_THE_API_SERVER = [*ACCEPTED, *SAMPLES, *(path for path in REFUSED if path not in REFUSED_BY_THE_API_SERVER)]


def _assert_refused(site: Site, text: str, message: str | None) -> None:
    with pytest.raises(CommandError, match=re.escape(str(message))):
        site.cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)


@pytest.mark.parametrize("path", REFUSED_BY_THE_API_SERVER, ids=lambda path: path.stem)
def test_the_api_server_refuses_manifests(bare_site: Site, path: Path) -> None:
    _assert_refused(bare_site, path.read_text(), expected(path).api_server)


@pytest.mark.parametrize("name", [name for name, text in LARGE.items() if expected_of(text).api_server])
def test_the_api_server_refuses_large_manifests(bare_site: Site, name: str) -> None:
    _assert_refused(bare_site, LARGE[name], expected_of(LARGE[name]).api_server)


def test_the_api_server_accepts_valid_manifests_and_those_that_only_the_operator_refuses(bare_site: Site) -> None:
    files = [argument for path in ACCEPTED_BY_THE_API_SERVER for argument in ("-f", path)]
    answer = bare_site.cluster.kubectl("apply", "--dry-run=server", *files)

    assert answer.count("ciliumhybrid.ciliumhybrid.io/default created (server dry run)") == len(
        ACCEPTED_BY_THE_API_SERVER
    )


READY = {
    "type": "Ready",
    "status": "False",
    "reason": "Installing",
    "message": "x",
    "observedGeneration": 1,
    "lastTransitionTime": "2026-03-01T12:00:00Z",
}


def _write_status(site: Site, **status: Any) -> None:
    path = "/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids/default/status"
    site.cluster.request("PATCH", path, {"status": status}, kind="application/merge-patch+json")


def _apply_installed(site: Site) -> None:
    """Apply a resource whose status says which IPAM settings are applied."""
    site.apply()
    _write_status(site, conditions=[READY], ipam={"applied": {"podCIDRs": ["10.85.0.0/16"], "maskSize": 25}})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(_ipam("10.86.0.0/16"), "append-only", id="replaces the pod CIDR"),
        pytest.param(_ipam("10.86.0.0/16", "10.85.0.0/16"), "append-only", id="inserts one before it"),
        pytest.param(_ipam("10.85.0.0/16", mask=26), "maskSize is immutable", id="changes the mask"),
    ],
)
def test_after_the_install_pod_cidrs_are_append_only_and_the_mask_is_immutable(
    bare_site: Site, changes: dict[str, Any], words: str
) -> None:
    _apply_installed(bare_site)

    with pytest.raises(CommandError, match=words):
        bare_site.apply(**changes)
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")


def test_before_the_install_pod_cidrs_and_mask_can_change(bare_site: Site) -> None:
    bare_site.apply(**_ipam("10.58.0.0/16"))
    bare_site.apply(**_ipam("10.85.0.0/16", mask=26))

    assert bare_site.resource()["spec"]["ipam"] == {"podCIDRs": ["10.85.0.0/16"], "maskSize": 26}
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")


def test_after_the_install_a_pod_cidr_can_be_appended(bare_site: Site) -> None:
    _apply_installed(bare_site)
    bare_site.apply(**_ipam("10.85.0.0/16", "10.86.0.0/16"))

    assert bare_site.resource()["spec"]["ipam"]["podCIDRs"] == ["10.85.0.0/16", "10.86.0.0/16"]
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")


def test_a_pod_cidr_that_was_appended_and_never_applied_can_be_removed(bare_site: Site) -> None:
    _apply_installed(bare_site)
    bare_site.apply(**_ipam("10.85.0.0/16", "10.86.0.0/16"))
    bare_site.apply()

    assert bare_site.resource()["spec"]["ipam"]["podCIDRs"] == ["10.85.0.0/16"]
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")


def test_after_a_failed_install_of_which_nothing_is_left_pod_cidrs_and_mask_can_change(bare_site: Site) -> None:
    _apply_installed(bare_site)
    _write_status(bare_site, ipam=None)
    bare_site.apply(**_ipam("10.86.0.0/16", mask=26))

    assert bare_site.resource()["spec"]["ipam"] == {"podCIDRs": ["10.86.0.0/16"], "maskSize": 26}
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")


OVERLAP = {"networks": {"vpcCIDRs": ["10.85.0.0/16"], "remotePodCIDRs": ["10.99.0.0/16"]}}


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"ipam": {"applied": {"podCIDRs": ["10.1.0.0/16"], "maskSize": 20}}}, id="other pools run"),
        pytest.param({"ipam": None}, id="nothing runs any more"),
    ],
)
def test_the_operator_can_always_write_the_status(bare_site: Site, status: dict[str, Any]) -> None:
    """Rules of the CRD also run on writes to the status; a refused one would silence the operator."""
    _apply_installed(bare_site)
    bare_site.apply(**OVERLAP)
    _write_status(bare_site, **status)
    _write_status(bare_site, phase="Blocked")
    # An edit that is about something else is not judged either.
    bare_site.apply(**OVERLAP, masquerade=False)

    assert bare_site.status()["phase"] == "Blocked"
    with pytest.raises(CommandError, match=r"podCIDRs"):
        bare_site.apply(**OVERLAP, **_ipam("10.85.0.0/16", "10.86.0.0/16"))
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")
