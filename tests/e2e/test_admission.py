"""What the API server itself refuses, with no operator running."""

import re
from pathlib import Path
from typing import Any

import pytest

from e2e.site import Site
from manifests.expected import ACCEPTED, LARGE, REFUSED, SAMPLES, expected, expected_of
from testbed.processes import CommandError


def _ipam(*cidrs: str, mask: int = 25) -> dict[str, Any]:
    return {"ipam": {"podCIDRs": list(cidrs), "maskSize": mask}}


REFUSED_AT_ONCE = [path for path in REFUSED if expected(path).api_server]
TAKEN = [*ACCEPTED, *SAMPLES, *(path for path in REFUSED if path not in REFUSED_AT_ONCE)]


def _check_the_refusal(site: Site, text: str, words: str | None) -> None:
    with pytest.raises(CommandError, match=re.escape(str(words))):
        site.cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)


@pytest.mark.parametrize("path", REFUSED_AT_ONCE, ids=lambda path: path.stem)
def test_the_api_server_refuses(bare_site: Site, path: Path) -> None:
    _check_the_refusal(bare_site, path.read_text(), expected(path).api_server)


@pytest.mark.parametrize("name", [name for name, text in LARGE.items() if expected_of(text).api_server])
def test_the_api_server_refuses_what_is_too_large(bare_site: Site, name: str) -> None:
    _check_the_refusal(bare_site, LARGE[name], expected_of(LARGE[name]).api_server)


def test_the_api_server_takes_what_only_the_operator_refuses_and_what_is_right(bare_site: Site) -> None:
    files = [argument for path in TAKEN for argument in ("-f", path)]
    answer = bare_site.cluster.kubectl("apply", "--dry-run=server", *files)

    assert answer.count("ciliumhybrid.ciliumhybrid.io/default created (server dry run)") == len(TAKEN)


def _with_a_release(site: Site) -> None:
    """A resource whose status says that Cilium is installed."""
    site.apply()
    release = {"revision": 1, "status": "deployed", "chart": "x", "chartDigest": "x", "valuesDigest": "x"}
    path = "/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids/default/status"
    site.cluster.request("PATCH", path, {"status": {"release": release}}, kind="application/merge-patch+json")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param(_ipam("10.86.0.0/16"), "append-only", id="replaces the pool"),
        pytest.param(_ipam("10.86.0.0/16", "10.85.0.0/16"), "append-only", id="puts one before it"),
        pytest.param(_ipam("10.85.0.0/16", mask=26), "maskSize cannot change", id="changes the mask"),
    ],
)
def test_once_installed_the_pool_only_grows(bare_site: Site, changes: dict[str, Any], words: str) -> None:
    _with_a_release(bare_site)

    with pytest.raises(CommandError, match=words):
        bare_site.apply(**changes)
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")


def test_before_anything_is_installed_a_typo_can_be_corrected(bare_site: Site) -> None:
    bare_site.apply(**_ipam("10.58.0.0/16"))
    bare_site.apply(**_ipam("10.85.0.0/16", mask=26))

    assert bare_site.resource()["spec"]["ipam"] == {"podCIDRs": ["10.85.0.0/16"], "maskSize": 26}
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")


def test_a_cidr_can_be_appended_to_what_is_installed(bare_site: Site) -> None:
    _with_a_release(bare_site)
    bare_site.apply(**_ipam("10.85.0.0/16", "10.86.0.0/16"))

    assert bare_site.resource()["spec"]["ipam"]["podCIDRs"] == ["10.85.0.0/16", "10.86.0.0/16"]
    bare_site.cluster.kubectl("delete", "ciliumhybrid", "default")
