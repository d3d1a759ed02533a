"""The CRD on a real API server: how it is applied, and what kubectl shows of it, with no operator running."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cilium_hybrid.api.v1alpha1 import GROUP, NAME, PLURAL, VERSION
from kstatus import compute_status
from testbed.cluster import Cluster
from testbed.operator import ROOT, wait_for_crd

RESOURCE = f"/apis/{GROUP}/{VERSION}/{PLURAL}/{NAME}"
MANIFEST: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "samples" / "minimal.yaml").read_text())
WIDE = ["NAME", "VERSION", "TARGET", "NODES", "UPDATED", "READY", "REASON", "AGE", "REVISION", "FREE-BLOCKS", "MESSAGE"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without nodes, to which crds/ was applied."""
    with Cluster.start(tmp_path_factory.mktemp("cluster"), hybrid=0, cloud=0, cilium=False, eks=False) as started:
        started.kubectl("apply", "-f", ROOT / "crds")
        wait_for_crd(started)
        yield started


@pytest.fixture(scope="module")
def created(cluster: Cluster) -> dict[str, Any]:
    """A resource that no operator has processed."""
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(MANIFEST))
    resource: dict[str, Any] = cluster.request("GET", RESOURCE)
    return resource


@pytest.mark.parametrize("folder", ["deploy/definition", "deploy"])
def test_the_kustomizations_apply_over_the_plain_crd(cluster: Cluster, folder: str) -> None:
    cluster.kubectl("create", "namespace", "cilium-hybrid-system")
    answer = cluster.kubectl("apply", "-k", ROOT / folder, "--dry-run=server")
    cluster.kubectl("delete", "namespace", "cilium-hybrid-system", "--timeout=60s")

    assert f"customresourcedefinition.apiextensions.k8s.io/{PLURAL}.{GROUP} configured (server dry run)" in answer


def test_a_resource_that_no_operator_has_processed_is_in_progress(created: dict[str, Any]) -> None:
    assert created["status"] == {"observedGeneration": -1}
    assert compute_status(created) == "InProgress"


@pytest.mark.parametrize("name", [PLURAL, "chy", "cilium"])
def test_kubectl_finds_the_resource_by_its_short_name_and_its_category(
    cluster: Cluster, created: dict[str, Any], name: str
) -> None:
    assert created["metadata"]["name"] in cluster.kubectl("get", name, "--no-headers")


def test_kubectl_get_shows_the_columns(cluster: Cluster, created: dict[str, Any]) -> None:
    assert created
    assert cluster.kubectl("get", PLURAL).splitlines()[0].split() == WIDE[:8]
    assert cluster.kubectl("get", PLURAL, "-o", "wide").splitlines()[0].split() == WIDE


def test_kubectl_explain_lists_the_fields_of_the_spec(cluster: Cluster) -> None:
    answer = cluster.kubectl("explain", "ciliumhybrid.spec", "--recursive")

    assert "Desired state of Cilium on the hybrid nodes." in answer
    assert "maskSize\t<integer> -required-" in answer
    assert "podCIDRs\t<[]string> -required-" in answer
    assert "enum: Gated, RollingUpdate" in answer


def test_kubectl_explain_describes_a_field(cluster: Cluster) -> None:
    answer = cluster.kubectl("explain", "ciliumhybrid.spec.upgrade.rollout.progressDeadline")

    assert "Maximum time without progress before a rollout stops" in " ".join(answer.split())


def test_two_managers_can_each_own_a_pull_secret(cluster: Cluster, created: dict[str, Any]) -> None:
    assert created
    for name in ("one", "other"):
        manifest = {**MANIFEST, "spec": {**MANIFEST["spec"], "imagePullSecrets": [{"name": name}]}}
        owner = ("--server-side", f"--field-manager={name}", "--force-conflicts")
        cluster.kubectl("apply", *owner, "-f", "-", stdin=json.dumps(manifest))

    assert cluster.request("GET", RESOURCE)["spec"]["imagePullSecrets"] == [{"name": "one"}, {"name": "other"}]
