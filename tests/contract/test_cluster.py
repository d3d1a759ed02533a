"""The contract of the Cluster port, for the fake of the unit tests and for an API server."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Protocol

import pytest

from builders import NOW, a_healthy_observation, a_raw_spec, a_record, a_revision
from certificates import a_secret
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.api.crd import NOT_OBSERVED
from cilium_hybrid.api.status import RolloutStatus
from cilium_hybrid.api.upgrade import DEFAULT_GROUP
from cilium_hybrid.api.v1alpha1 import APPROVE, FINALIZER, GROUP, KIND, NAME, VERSION
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Certificate, CertificateIssuer, HybridNode
from cilium_hybrid.plan.record import Record, Rejected
from cilium_hybrid.plan.rollout.plan import RolloutPlan, RolloutStep
from cilium_hybrid.ports import StaleError
from cilium_hybrid.reconcile.reconciler import dump
from contract.kube import with_watches
from evaluations import a_decided_evaluation, status_of
from fakes import FakeCluster, FakeReleases, FixedClock
from testbed.api import MERGE_PATCH
from testbed.cluster import Cluster

OBSERVATION = a_healthy_observation(a_revision(status="superseded"), a_revision(2, status="failed"), nodes=12)
STATUS = dump(
    status_of(
        a_decided_evaluation(
            replace(OBSERVATION, agents={}),
            rollout=RolloutPlan(
                RolloutStep.WAIT,
                status=RolloutStatus(updated=1, total=12, outdated=10, current=("mi-1",), last_progress_at=NOW),
            ),
        )
    )
)
OTHER = CertificateIssuer.OTHER
LATER = NOW + timedelta(days=365)
CA = ("cilium-ca", LATER)
NODE = "mi-labelled"


class ClusterHarness(Protocol):
    """A cluster that the operator and a user write to."""

    def resource(self) -> Resource | None:
        """The operator reads the resource."""

    def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """The operator writes its status."""

    def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """The operator writes its finalizers."""

    def write_record(self, record: Record) -> None:
        """The operator writes the record."""

    def record(self) -> Record | None:
        """Return the record as a new process observes it."""

    def edit(self, spec: Mapping[str, Any]) -> None:
        """A user applies a spec."""

    def approve(self, plan_digest: str) -> None:
        """A user annotates the resource with an approval."""

    def delete(self) -> None:
        """A user deletes the resource."""


class FakeHarness:
    def __init__(self) -> None:
        self._cluster = FakeCluster(FakeReleases(FixedClock()))
        self.edit, self.delete, self.approve = self._cluster.edit, self._cluster.delete, self._cluster.approve

    def resource(self) -> Resource | None:
        return asyncio.run(self._cluster.resource())

    def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        asyncio.run(self._cluster.write_status(resource, status))

    def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        asyncio.run(self._cluster.write_finalizers(resource, finalizers))

    def write_record(self, record: Record) -> None:
        asyncio.run(self._cluster.write_record(record))

    def record(self) -> Record | None:
        return self._cluster.observe().record


class KubeHarness:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def resource(self) -> Resource | None:
        async def use(_: KubeClient, cluster: KubeCluster) -> Resource | None:
            return await cluster.resource()

        return with_watches(self._cluster.kubeconfig, use)

    def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        async def use(_: KubeClient, cluster: KubeCluster) -> None:
            await cluster.write_status(resource, status)

        with_watches(self._cluster.kubeconfig, use)

    def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        async def use(_: KubeClient, cluster: KubeCluster) -> None:
            await cluster.write_finalizers(resource, finalizers)

        with_watches(self._cluster.kubeconfig, use)

    def write_record(self, record: Record) -> None:
        async def use(_: KubeClient, cluster: KubeCluster) -> Record | None:
            await cluster.write_record(record)
            return cluster.observe().record

        # The call returns after the watch has shown the write.
        assert with_watches(self._cluster.kubeconfig, use) == record

    def record(self) -> Record | None:
        async def use(_: KubeClient, cluster: KubeCluster) -> Record | None:
            return cluster.observe().record

        return with_watches(self._cluster.kubeconfig, use)

    def edit(self, spec: Mapping[str, Any]) -> None:
        manifest = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": {"name": NAME}, "spec": spec}
        self._cluster.apply(json.dumps(manifest))

    def approve(self, plan_digest: str) -> None:
        self._cluster.kubectl("annotate", KIND, NAME, f"{APPROVE}={plan_digest}", "--overwrite")

    def delete(self) -> None:
        self._cluster.kubectl("delete", KIND, NAME, "--wait=false", "--ignore-not-found")


@pytest.fixture
def fake() -> ClusterHarness:
    return FakeHarness()


@pytest.fixture
def kube(testbed_cluster: Cluster) -> Iterator[ClusterHarness]:
    yield KubeHarness(testbed_cluster)
    if testbed_cluster.get(KIND, NAME):
        testbed_cluster.kubectl("patch", KIND, NAME, "--type=merge", '-p={"metadata":{"finalizers":null}}')
        testbed_cluster.kubectl("delete", KIND, NAME, "--ignore-not-found")
    testbed_cluster.kubectl("delete", "configmap", "cilium-hybrid-applied", "-n", "kube-system", "--ignore-not-found")


@pytest.fixture(params=["fake", "kube"])
def harness(request: pytest.FixtureRequest) -> ClusterHarness:
    found: ClusterHarness = request.getfixturevalue(request.param)
    return found


def the_resource(harness: ClusterHarness) -> Resource:
    resource = harness.resource()
    assert resource is not None
    return resource


def test_without_a_resource_none_is_returned(harness: ClusterHarness) -> None:
    assert harness.resource() is None


def test_a_new_resource_has_generation_one_and_is_not_observed(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    resource = the_resource(harness)

    assert resource == Resource(
        1, resource.resource_version, a_raw_spec(), {"observedGeneration": NOT_OBSERVED}, uid=resource.uid
    )
    assert resource.uid
    assert not resource.has_finalizer


def test_an_edit_increments_the_generation_and_a_status_write_does_not(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    harness.write_status(the_resource(harness), STATUS)
    written = the_resource(harness)
    harness.edit(a_raw_spec(masquerade=False))
    edited = the_resource(harness)

    assert (written.generation, written.spec) == (1, a_raw_spec())
    assert (edited.generation, edited.spec, edited.status) == (2, a_raw_spec(masquerade=False), STATUS)


def test_an_approval_is_read_and_does_not_increment_the_generation(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    before = the_resource(harness)
    harness.approve("sha256:one")
    approved = the_resource(harness)
    harness.approve("sha256:two")

    assert (before.approved, approved.approved, the_resource(harness).approved) == (None, "sha256:one", "sha256:two")
    assert (approved.generation, approved.spec) == (before.generation, before.spec)
    with pytest.raises(StaleError):
        harness.write_status(before, STATUS)


def test_a_status_is_read_as_it_was_written(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    harness.write_status(the_resource(harness), STATUS)

    assert the_resource(harness).status == STATUS
    assert len(STATUS["nodes"]["unready"]) == 10
    assert len(STATUS["history"]) == 2


def test_a_status_replaces_the_whole_previous_status(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    harness.write_status(the_resource(harness), STATUS)
    harness.write_status(the_resource(harness), {"observedGeneration": 1})

    assert the_resource(harness).status == {"observedGeneration": 1}


@pytest.mark.parametrize("write", ["status", "finalizers"])
def test_writes_to_an_outdated_resource_are_stale(harness: ClusterHarness, write: str) -> None:
    harness.edit(a_raw_spec())
    outdated = the_resource(harness)
    harness.edit(a_raw_spec(masquerade=False))
    before = the_resource(harness)

    with pytest.raises(StaleError):
        write_to(harness, outdated, write)
    assert the_resource(harness) == before


@pytest.mark.parametrize("write", ["status", "finalizers"])
def test_writes_to_a_deleted_resource_are_stale(harness: ClusterHarness, write: str) -> None:
    harness.edit(a_raw_spec())
    outdated = the_resource(harness)
    harness.delete()

    with pytest.raises(StaleError):
        write_to(harness, outdated, write)
    assert harness.resource() is None


def write_to(harness: ClusterHarness, resource: Resource, part: str) -> None:
    if part == "status":
        harness.write_status(resource, STATUS)
    else:
        harness.write_finalizers(resource, [FINALIZER])


def test_a_resource_with_a_finalizer_is_deleted_once_the_finalizer_is_removed(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    harness.write_finalizers(the_resource(harness), [FINALIZER])
    before = the_resource(harness)
    harness.delete()
    deleting = the_resource(harness)
    harness.write_finalizers(deleting, [])

    assert (before.has_finalizer, before.deleting) == (True, False)
    assert (deleting.has_finalizer, deleting.deleting) == (True, True)
    assert harness.resource() is None


def test_finalizers_of_others_are_kept(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    harness.write_finalizers(the_resource(harness), ["example.com/other", FINALIZER])
    harness.write_finalizers(the_resource(harness), ["example.com/other"])
    resource = the_resource(harness)

    assert resource.finalizers == ("example.com/other",)
    assert not resource.has_finalizer


def test_the_status_can_be_written_while_the_resource_is_being_deleted(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    harness.write_finalizers(the_resource(harness), [FINALIZER])
    harness.delete()
    harness.write_status(the_resource(harness), STATUS)

    assert the_resource(harness).status == STATUS


def test_at_first_there_is_no_record(harness: ClusterHarness) -> None:
    assert harness.record() is None


def the_record(harness: ClusterHarness) -> Record:
    record = harness.record()
    assert record is not None
    return record


def replace_record(harness: ClusterHarness, record: Record) -> None:
    """Replace the record that was read just now."""
    harness.write_record(replace(record, resource_version=the_record(harness).resource_version))


def test_a_record_is_read_as_written_and_replaced_as_a_whole(harness: ClusterHarness) -> None:
    harness.write_record(a_record(pod_cidrs=["10.1.0.0/16", "10.2.0.0/16"], verified=1))
    first = the_record(harness)
    replace_record(harness, a_record(revision=2))

    assert first == a_record(pod_cidrs=["10.1.0.0/16", "10.2.0.0/16"], verified=1)
    assert harness.record() == a_record(revision=2)


def test_a_rejected_revision_is_part_of_the_record(harness: ClusterHarness) -> None:
    rejected = Rejected(4, "sha256:x", 'the new agent fails on a (crash: "x")')
    harness.write_record(replace(a_record(verified=3), rejected=rejected))
    first = the_record(harness)
    replace_record(harness, a_record())

    assert first == replace(a_record(verified=3), rejected=rejected)
    assert harness.record() == a_record()


def test_a_record_that_another_process_has_changed_is_not_replaced(harness: ClusterHarness) -> None:
    harness.write_record(a_record())
    outdated = the_record(harness)
    replace_record(harness, a_record(revision=2))

    with pytest.raises(StaleError):
        harness.write_record(replace(outdated, revision=3))
    assert harness.record() == a_record(revision=2)


def test_a_record_that_another_process_has_created_is_not_replaced(harness: ClusterHarness) -> None:
    harness.write_record(a_record())

    for record in (a_record(revision=2), a_record()):
        with pytest.raises(StaleError):
            harness.write_record(record)
    replace_record(harness, a_record(revision=3))
    with pytest.raises(StaleError):
        harness.write_record(a_record(revision=3, handled="x"))
    assert harness.record() == a_record(revision=3)


def test_a_record_outlives_the_resource(harness: ClusterHarness) -> None:
    harness.edit(a_raw_spec())
    harness.write_record(a_record())
    harness.delete()

    assert harness.resource() is None
    assert harness.record() == a_record()


def test_a_record_that_was_deleted_since_it_was_read_is_not_written(
    kube: ClusterHarness, testbed_cluster: Cluster
) -> None:
    kube.write_record(a_record())
    outdated = the_record(kube)
    testbed_cluster.kubectl("delete", "configmap", "cilium-hybrid-applied", "-n", "kube-system")

    with pytest.raises(StaleError):
        kube.write_record(outdated)
    assert kube.record() is None


def test_an_unreadable_record_is_observed_as_none_and_replaced(kube: ClusterHarness, testbed_cluster: Cluster) -> None:
    config = ("configmap", "cilium-hybrid-applied", "-n", "kube-system")
    testbed_cluster.kubectl("create", *config, "--from-literal=maskSize=x", "--from-literal=revision=1")
    before = kube.record()
    kube.write_record(a_record())

    assert before is None
    assert kube.record() == a_record()


def test_a_change_of_the_config_map_that_leaves_the_record_as_it_is_does_not_make_it_stale(
    kube: ClusterHarness, testbed_cluster: Cluster
) -> None:
    async def use(_: KubeClient, cluster: KubeCluster) -> None:
        before = cluster.observe().record
        assert before is not None
        labelled = ("label", "configmap", "cilium-hybrid-applied", "-n", "kube-system", "a=b")
        await asyncio.to_thread(testbed_cluster.kubectl, *labelled)
        while (record := cluster.observe().record) is None or record.resource_version == before.resource_version:
            await asyncio.wait_for(changed.wait(), 10)
            changed.clear()
        await cluster.write_record(replace(record, revision=2))

    changed = asyncio.Event()
    kube.write_record(a_record())
    with_watches(testbed_cluster.kubeconfig, use, changed.set)

    assert kube.record() == a_record(revision=2)


def test_the_expiry_of_the_charts_certificates_is_observed_and_no_other_secret_is_read(
    testbed_cluster: Cluster,
) -> None:
    secrets = [a_secret("hubble-server-certs", NOW), a_secret("cilium-ca", LATER), a_secret("another", NOW)]

    async def use(client: KubeClient, cluster: KubeCluster) -> None:
        assert cluster.observe().certificates == ()
        for secret in secrets:
            await client.post("/api/v1/namespaces/kube-system/secrets", secret)
        await wait_for(cluster, {Certificate(name, when, OTHER) for name, when in (("hubble-server-certs", NOW), CA)})
        renewed = a_secret("hubble-server-certs", LATER)
        await client.put("/api/v1/namespaces/kube-system/secrets/hubble-server-certs", renewed)
        await wait_for(cluster, {Certificate(name, when, OTHER) for name, when in (("hubble-server-certs", LATER), CA)})
        await client.delete("/api/v1/namespaces/kube-system/secrets/hubble-server-certs")
        await wait_for(cluster, {Certificate(*CA, OTHER)})
        kept = repr([vars(informer) for informer in cluster._informers.values()])  # noqa: SLF001 # everything in memory
        assert secrets[0]["data"]["tls.key"] not in kept

    async def wait_for(cluster: KubeCluster, certificates: set[Certificate]) -> None:
        while set(cluster.observe().certificates) != certificates:
            await asyncio.wait_for(changed.wait(), 10)
            changed.clear()

    changed = asyncio.Event()
    try:
        with_watches(testbed_cluster.kubeconfig, use, changed.set)
    finally:
        names = [secret["metadata"]["name"] for secret in secrets]
        testbed_cluster.kubectl("delete", "secret", "-n", "kube-system", "--ignore-not-found", *names)


def test_only_changes_of_observed_node_labels_wake_the_operator(testbed_cluster: Cluster) -> None:
    changed = asyncio.Event()
    watched: list[KubeCluster] = []
    woken_with: list[HybridNode] = []

    def on_change() -> None:
        changed.set()
        if watched and (node := watched[0].observe().nodes.get(NODE)) is not None:
            woken_with.append(node)

    def set_label(key: str, value: str) -> None:
        body = {"metadata": {"labels": {key: value}}}
        testbed_cluster.request("PATCH", f"/api/v1/nodes/{NODE}", body, kind=MERGE_PATCH)

    async def wait_until_observed(labels: Mapping[str, str]) -> None:
        async with asyncio.timeout(10):
            while observed_labels() != labels:
                changed.clear()
                await changed.wait()

    def observed_labels() -> Mapping[str, str]:
        return watched[0].observe().nodes[NODE].labels

    async def use(_: KubeClient, cluster: KubeCluster) -> None:
        watched.append(cluster)
        woken_with.append(cluster.observe().nodes[NODE])
        for number in range(100):
            await asyncio.to_thread(set_label, "example.com/rack", str(number))
        await asyncio.to_thread(set_label, DEFAULT_GROUP, "a")
        # Events arrive in order: this change arrives after the 100 others.
        await wait_until_observed({DEFAULT_GROUP: "a"})
        # Controllers may change the node as well: only wakes without any other difference are counted.
        assert sum(replace(before, labels=now.labels) == now for before, now in pairwise(woken_with)) == 1

        await cluster.observe_node_labels({"example.com/rack"})
        assert observed_labels() == {"example.com/rack": "99"}
        await asyncio.to_thread(set_label, DEFAULT_GROUP, "b")
        await asyncio.to_thread(set_label, "example.com/rack", "c")
        await wait_until_observed({"example.com/rack": "c"})
        await cluster.observe_node_labels({DEFAULT_GROUP})
        assert observed_labels() == {DEFAULT_GROUP: "b"}

    testbed_cluster.add_node(NODE)
    try:
        with_watches(testbed_cluster.kubeconfig, use, on_change)
    finally:
        testbed_cluster.remove_node(NODE)
