"""What the API server itself refuses, with no operator running."""

import json
from typing import Any

import pytest

from e2e.site import Site
from testbed.processes import CommandError


def _ipam(*cidrs: str, mask: int = 25) -> dict[str, Any]:
    return {"ipam": {"podCIDRs": list(cidrs), "maskSize": mask}}


REFUSED = [
    pytest.param(_ipam("10.85.0.0"), "must be an IPv4 CIDR", id="no prefix"),
    pytest.param(_ipam("fd00::/104"), "must be an IPv4 CIDR", id="IPv6"),
    pytest.param(_ipam("10.85.0.1/16"), "bits set to the right", id="host bits"),
    pytest.param(_ipam("8.8.0.0/16"), "must lie in 10.0.0.0/8", id="public"),
    pytest.param(_ipam("10.0.0.0/7"), "must lie in 10.0.0.0/8", id="larger than a private network"),
    pytest.param(_ipam("10.85.0.0/16", "10.85.128.0/17"), "must not overlap", id="one in another"),
    pytest.param(_ipam("10.85.0.0/16", "10.85.0.0/16"), "must not overlap", id="twice the same"),
    pytest.param(_ipam("10.85.0.0/26"), "hold at least one block", id="smaller than a block"),
    pytest.param(_ipam("10.85.0.0/16", mask=15), "should be greater than or equal to 16", id="mask too short"),
    pytest.param(_ipam("10.85.0.0/16", mask=30), "should be less than or equal to 29", id="mask too long"),
    pytest.param(_ipam(), "should have at least 1 items", id="no CIDR"),
    pytest.param(_ipam(*(f"10.{n}.0.0/16" for n in range(16))), "at most 15 items", id="too many CIDRs"),
    pytest.param({"version": "1.17"}, "spec.version", id="a version without its patch"),
    pytest.param({"version": "v1.17.13"}, "spec.version", id="a version with a v"),
    pytest.param({"chart": {"ref": "cilium/cilium"}}, "spec.chart.ref", id="a chart that is no reference"),
    pytest.param({"chart": {"ref": "oci://a/b", "digest": "x"}}, "spec.chart.digest", id="a digest that is none"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_the_api_server_refuses(bare_site: Site, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(CommandError, match=words.replace(".", r"\.")):
        bare_site.apply(**changes)


def test_the_only_resource_is_named_default(bare_site: Site) -> None:
    spec = bare_site.spec()
    manifest = {
        "apiVersion": "ciliumhybrid.io/v1alpha1",
        "kind": "CiliumHybrid",
        "metadata": {"name": "x"},
        "spec": spec,
    }

    with pytest.raises(CommandError, match="the only CiliumHybrid is named 'default'"):
        bare_site.cluster.apply(json.dumps(manifest))


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
