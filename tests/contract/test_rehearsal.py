"""What every implementation of the Cluster port keeps to in a rehearsal: nothing is changed, and policies speak up."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import pytest

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.rules.rendered.reading import title
from contract.kube import with_watches
from fakes import FakeCluster, FakeReleases, FixedClock
from testbed.cluster import Cluster
from testbed.processes import wait_until

NO = "nothing of this name is taken"
POLICY = "names-that-are-not-taken"
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


class Stage(Protocol):
    """A cluster in which objects named `rejected` are rejected by a policy."""

    def dry_run(self, *manifests: Manifest) -> Sequence[str]:
        """The operator rehearses."""


class FakeStage:
    def __init__(self) -> None:
        self._cluster = FakeCluster(FakeReleases(FixedClock()))
        self._cluster.policies |= {title(found): NO for found in (a_config("rejected"), agents("rejected"))}

    def dry_run(self, *manifests: Manifest) -> Sequence[str]:
        return asyncio.run(self._cluster.dry_run(manifests))


class KubeStage:
    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def dry_run(self, *manifests: Manifest) -> Sequence[str]:
        async def use(_: KubeClient, cluster: KubeCluster) -> Sequence[str]:
            return await cluster.dry_run(manifests)

        return with_watches(self.cluster.kubeconfig, use)

    def there(self) -> set[str]:
        """What there is of the kinds that are rehearsed, and in which version."""
        kinds = ("configmaps", "daemonsets")
        found = [one for kind in kinds for one in self.cluster.objects(kind, "kube-system")]
        return {f"{one['metadata']['name']} {one['metadata']['resourceVersion']}" for one in found}


@pytest.fixture
def fake() -> Stage:
    return FakeStage()


@pytest.fixture(scope="module")
def kube(testbed_cluster: Cluster) -> Iterator[KubeStage]:
    spec = {
        "matchConstraints": {"resourceRules": KINDS},
        "validations": [{"expression": "object.metadata.name != 'rejected'", "message": NO}],
    }
    binding = {"policyName": POLICY, "validationActions": ["Deny"]}
    for kind, desired_release in (("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", binding)):
        manifest = {"apiVersion": GROUP, "kind": kind, "metadata": {"name": POLICY}, "spec": desired_release}
        testbed_cluster.apply(json.dumps(manifest))
    stage = KubeStage(testbed_cluster)
    wait_until(lambda: stage.dry_run(a_config("rejected")), timeout=30, what="the policy is in force")
    yield stage
    for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
        testbed_cluster.kubectl("delete", kind, POLICY)


@pytest.fixture(params=["fake", "kube"])
def stage(request: pytest.FixtureRequest) -> Stage:
    found: Stage = request.getfixturevalue(request.param)
    return found


def test_what_nobody_minds_is_taken(stage: Stage) -> None:
    assert list(stage.dry_run(a_config("taken"), agents("taken"))) == []


def test_nothing_is_rehearsed_of_nothing(stage: Stage) -> None:
    assert list(stage.dry_run()) == []


@pytest.mark.parametrize("manifest", [a_config("rejected"), agents("rejected")], ids=["a ConfigMap", "a DaemonSet"])
def test_what_a_policy_rejects_is_named_with_its_words(stage: Stage, manifest: Manifest) -> None:
    (rejected,) = stage.dry_run(a_config("taken"), manifest, agents("taken"))

    assert rejected.startswith(f"{title(manifest)}: ")
    assert NO in rejected


def test_everything_that_is_rejected_is_named_in_its_order(stage: Stage) -> None:
    rejected = stage.dry_run(agents("rejected"), a_config("taken"), a_config("rejected"))

    assert [sentence.partition(": ")[0] for sentence in rejected] == [
        "DaemonSet kube-system/rejected",
        "ConfigMap kube-system/rejected",
    ]


def test_what_is_in_a_list_is_rehearsed_too(stage: Stage) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [a_config("taken"), a_config("rejected")]}

    assert len(stage.dry_run(listed)) == 1


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(
            {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "rejected"}}, id="an unknown kind"
        ),
        pytest.param(
            a_config("taken", metadata={"name": "taken", "namespace": "not-there-yet"}), id="a namespace to come"
        ),
    ],
)
def test_what_cannot_be_rehearsed_is_left_out(stage: Stage, manifest: Manifest) -> None:
    assert list(stage.dry_run(manifest)) == []


def test_what_names_no_namespace_goes_where_the_release_is(kube: KubeStage) -> None:
    (rejected,) = kube.dry_run(a_config("rejected", metadata={"name": "rejected"}))

    assert rejected.startswith("ConfigMap rejected: ")


def test_nothing_is_changed_by_it(kube: KubeStage) -> None:
    kube.cluster.apply(json.dumps(a_config("there")))
    before = kube.there()
    kube.dry_run(a_config("there", data={"a": "c"}), a_config("new"), agents("new"), a_config("rejected"))

    assert kube.there() == before
    assert kube.cluster.get("configmap", "there", "kube-system")["data"] == {"a": "b"}


def test_fields_that_somebody_else_holds_are_no_rejection(kube: KubeStage) -> None:
    kube.cluster.apply(json.dumps(a_config("has_finalizer")))

    assert list(kube.dry_run(a_config("has_finalizer", data={"a": "c"}))) == []


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        pytest.param(agents("taken", {"app": "other"}), "selector", id="what is invalid"),
        pytest.param(a_config("taken", data={"a": ["a list"]}), "ConfigMap", id="what is no such object"),
    ],
)
def test_what_the_api_server_itself_would_not_take_is_named_too(
    kube: KubeStage, manifest: Manifest, words: str
) -> None:
    (rejected,) = kube.dry_run(manifest)

    assert rejected.startswith(f"{title(manifest)}: ")
    assert words in rejected
    assert rejected.isprintable()


@pytest.mark.parametrize("data", [["hunter2"], "hunter2!"], ids=["a list", "no base64"])
def test_no_content_of_a_secret_is_told(kube: KubeStage, data: object) -> None:
    (rejected,) = kube.dry_run(a_config("taken", kind="Secret", data={"password": data}))

    assert rejected.startswith("Secret kube-system/taken: ")
    assert "hunter2" not in rejected
