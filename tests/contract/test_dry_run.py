"""The contract of dry runs in the Cluster port: nothing changes, and admission policies are evaluated."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import pytest

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.rules.rendered.reading import kind_and_name
from contract.kube import with_watches
from fakes import FakeCluster, FakeReleases, FixedClock
from testbed.cluster import Cluster
from testbed.processes import wait_until

MESSAGE = "this name is forbidden"
POLICY = "forbidden-names"
GROUP = "admissionregistration.k8s.io/v1"
KINDS = [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE", "UPDATE"]}]
KINDS += [{**KINDS[0], "apiGroups": ["apps"], "resources": ["daemonsets"]}]

Manifest = Mapping[str, Any]


def a_config(name: str, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": {"a": "b"},
    } | more


def agents(name: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    pod = {"containers": [{"name": "agent", "image": "tiny"}]}
    template = {"metadata": {"labels": labels or {"app": "tiny"}}, "spec": pod}
    spec = {"selector": {"matchLabels": {"app": "tiny"}}, "template": template}
    metadata = {"name": name, "namespace": "kube-system"}
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}


class DryRunHarness(Protocol):
    """A cluster with a policy that rejects objects named `rejected`."""

    def dry_run(self, *manifests: Manifest) -> Sequence[str]:
        """The operator runs a dry run."""


class FakeHarness:
    def __init__(self) -> None:
        self._cluster = FakeCluster(FakeReleases(FixedClock()))
        self._cluster.policies |= {
            kind_and_name(found): MESSAGE for found in (a_config("rejected"), agents("rejected"))
        }

    def dry_run(self, *manifests: Manifest) -> Sequence[str]:
        return asyncio.run(self._cluster.dry_run(manifests))


class KubeHarness:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def dry_run(self, *manifests: Manifest) -> Sequence[str]:
        async def use(_: KubeClient, cluster: KubeCluster) -> Sequence[str]:
            return await cluster.dry_run(manifests)

        return with_watches(self.cluster.kubeconfig, use)

    def existing(self) -> set[str]:
        """Return the existing objects of the kinds under test, with their resourceVersions."""
        kinds = ("configmaps", "daemonsets")
        objects = [found for kind in kinds for found in self.cluster.objects(kind, "kube-system")]
        return {f"{found['metadata']['name']} {found['metadata']['resourceVersion']}" for found in objects}


@pytest.fixture
def fake() -> DryRunHarness:
    return FakeHarness()


@pytest.fixture(scope="module")
def kube(testbed_cluster: Cluster) -> Iterator[KubeHarness]:
    spec = {
        "matchConstraints": {"resourceRules": KINDS},
        "validations": [{"expression": "object.metadata.name != 'rejected'", "message": MESSAGE}],
    }
    binding = {"policyName": POLICY, "validationActions": ["Deny"]}
    for kind, policy_spec in (("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", binding)):
        manifest = {"apiVersion": GROUP, "kind": kind, "metadata": {"name": POLICY}, "spec": policy_spec}
        testbed_cluster.apply(json.dumps(manifest))
    harness = KubeHarness(testbed_cluster)
    wait_until(lambda: harness.dry_run(a_config("rejected")), timeout=30, what="the policy is in force")
    yield harness
    for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
        testbed_cluster.kubectl("delete", kind, POLICY)


@pytest.fixture(params=["fake", "kube"])
def harness(request: pytest.FixtureRequest) -> DryRunHarness:
    found: DryRunHarness = request.getfixturevalue(request.param)
    return found


def test_accepted_objects_are_not_reported(harness: DryRunHarness) -> None:
    assert list(harness.dry_run(a_config("accepted"), agents("accepted"))) == []


def test_a_dry_run_of_no_objects_reports_nothing(harness: DryRunHarness) -> None:
    assert list(harness.dry_run()) == []


@pytest.mark.parametrize("manifest", [a_config("rejected"), agents("rejected")], ids=["ConfigMap", "DaemonSet"])
def test_a_rejected_object_is_reported_with_the_message_of_the_policy(
    harness: DryRunHarness, manifest: Manifest
) -> None:
    (rejected,) = harness.dry_run(a_config("accepted"), manifest, agents("accepted"))

    assert rejected.startswith(f"{kind_and_name(manifest)}: ")
    assert MESSAGE in rejected


def test_all_rejected_objects_are_reported_in_order(harness: DryRunHarness) -> None:
    rejected = harness.dry_run(agents("rejected"), a_config("accepted"), a_config("rejected"))

    assert [sentence.partition(": ")[0] for sentence in rejected] == [
        "DaemonSet kube-system/rejected",
        "ConfigMap kube-system/rejected",
    ]


def test_objects_in_a_list_are_included(harness: DryRunHarness) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [a_config("accepted"), a_config("rejected")]}

    assert len(harness.dry_run(listed)) == 1


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(
            {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "rejected"}}, id="unknown kind"
        ),
        pytest.param(
            a_config("accepted", metadata={"name": "accepted", "namespace": "does-not-exist"}),
            id="namespace does not exist yet",
        ),
    ],
)
def test_objects_that_cannot_be_checked_are_skipped(harness: DryRunHarness, manifest: Manifest) -> None:
    assert list(harness.dry_run(manifest)) == []


def test_objects_without_a_namespace_belong_to_that_of_the_release(kube: KubeHarness) -> None:
    (rejected,) = kube.dry_run(a_config("rejected", metadata={"name": "rejected"}))

    assert rejected.startswith("ConfigMap rejected: ")


def test_a_dry_run_changes_nothing(kube: KubeHarness) -> None:
    kube.cluster.apply(json.dumps(a_config("existing")))
    before = kube.existing()
    kube.dry_run(a_config("existing", data={"a": "c"}), a_config("new"), agents("new"), a_config("rejected"))

    assert kube.existing() == before
    assert kube.cluster.get("configmap", "existing", "kube-system")["data"] == {"a": "b"}


def test_field_ownership_conflicts_are_not_reported(kube: KubeHarness) -> None:
    kube.cluster.apply(json.dumps(a_config("owned")))

    assert list(kube.dry_run(a_config("owned", data={"a": "c"}))) == []


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param(agents("accepted", {"app": "other"}), "selector", id="invalid"),
        pytest.param(a_config("accepted", data={"a": ["a list"]}), "ConfigMap", id="wrong type"),
    ],
)
def test_objects_that_the_api_server_itself_rejects_are_reported(
    kube: KubeHarness, manifest: Manifest, message: str
) -> None:
    (rejected,) = kube.dry_run(manifest)

    assert rejected.startswith(f"{kind_and_name(manifest)}: ")
    assert message in rejected
    assert rejected.isprintable()


@pytest.mark.parametrize("data", [["hunter2"], "hunter2!"], ids=["list", "not base64"])
def test_the_content_of_a_secret_is_never_reported(kube: KubeHarness, data: object) -> None:
    (rejected,) = kube.dry_run(a_config("accepted", kind="Secret", data={"password": data}))

    assert rejected.startswith("Secret kube-system/accepted: ")
    assert "hunter2" not in rejected
