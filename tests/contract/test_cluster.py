"""What every implementation of the Cluster port keeps to: the fake of the unit tests, and an API server."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Protocol

import pytest

from builders import NOW, a_healthy_observation, a_raw_spec, a_record, a_report, a_revision
from certificates import a_secret
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.api.status import RolloutStatus
from cilium_hybrid.api.v1alpha1 import APPROVE, FINALIZER, GROUP, KIND, NAME, VERSION
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.observation import Certificate, CertificateMaker, Record, Rejected
from cilium_hybrid.plan.status.build import next_status
from cilium_hybrid.plan.status.nodes import evaluate_nodes
from cilium_hybrid.ports import StaleError
from cilium_hybrid.reconcile.reconciler import dump
from contract.kube import with_watches
from fakes import FakeCluster, FakeReleases, FixedClock
from testbed.cluster import Cluster

OBSERVATION = a_healthy_observation(a_revision(status="superseded"), a_revision(2, status="failed"), nodes=12)
STATUS = dump(
    next_status(
        a_report(
            OBSERVATION,
            nodes=evaluate_nodes(OBSERVATION, "sha256:other", {}, FixedClock().now()),
            rollout=RolloutStatus(updated=1, total=12, left=10, current=("mi-1",), last_progress_at=NOW),
        )
    )
)
NOBODYS = CertificateMaker.OTHER
LATER = NOW + timedelta(days=365)
CA = ("cilium-ca", LATER)


class Side(Protocol):
    """A cluster, and the two who write to it: the operator and a user."""

    def resource(self) -> Resource | None:
        """The operator reads the resource."""

    def write_status(self, resource: Resource, status: Mapping[str, Any]) -> None:
        """The operator writes its status."""

    def write_finalizers(self, resource: Resource, finalizers: Sequence[str]) -> None:
        """The operator writes its finalizers."""

    def write_record(self, record: Record) -> None:
        """The operator writes the record."""

    def record(self) -> Record | None:
        """What a new process sees of the record."""

    def edit(self, spec: Mapping[str, Any]) -> None:
        """A user applies a spec."""

    def approve(self, plan_digest: str) -> None:
        """A user annotates the resource with an approval."""

    def delete(self) -> None:
        """A user deletes the resource."""


class FakeSide:
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


class KubeSide:
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

        # Its own write is seen by the time the call returns.
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
def fake() -> Side:
    return FakeSide()


@pytest.fixture
def kube(testbed_cluster: Cluster) -> Iterator[Side]:
    yield KubeSide(testbed_cluster)
    if testbed_cluster.get(KIND, NAME):
        testbed_cluster.kubectl("patch", KIND, NAME, "--type=merge", '-p={"metadata":{"finalizers":null}}')
        testbed_cluster.kubectl("delete", KIND, NAME, "--ignore-not-found")
    testbed_cluster.kubectl("delete", "configmap", "cilium-hybrid-applied", "-n", "kube-system", "--ignore-not-found")


@pytest.fixture(params=["fake", "kube"])
def side(request: pytest.FixtureRequest) -> Side:
    found: Side = request.getfixturevalue(request.param)
    return found


def the_resource(side: Side) -> Resource:
    resource = side.resource()
    assert resource is not None
    return resource


def test_where_there_is_no_resource_there_is_none(side: Side) -> None:
    assert side.resource() is None


def test_a_new_resource_is_of_generation_one_and_has_no_status(side: Side) -> None:
    side.edit(a_raw_spec())
    resource = the_resource(side)

    assert resource == Resource(1, resource.resource_version, a_raw_spec(), {}, uid=resource.uid)
    assert resource.uid
    assert not resource.has_finalizer


def test_an_edit_is_another_generation_and_a_status_is_not(side: Side) -> None:
    side.edit(a_raw_spec())
    side.write_status(the_resource(side), STATUS)
    written = the_resource(side)
    side.edit(a_raw_spec(masquerade=False))
    edited = the_resource(side)

    assert (written.generation, written.spec) == (1, a_raw_spec())
    assert (edited.generation, edited.spec, edited.status) == (2, a_raw_spec(masquerade=False), STATUS)


def test_an_approval_is_read_and_is_no_other_generation(side: Side) -> None:
    side.edit(a_raw_spec())
    before = the_resource(side)
    side.approve("sha256:one")
    approved = the_resource(side)
    side.approve("sha256:two")

    assert (before.approved, approved.approved, the_resource(side).approved) == (None, "sha256:one", "sha256:two")
    assert (approved.generation, approved.spec) == (before.generation, before.spec)
    with pytest.raises(StaleError):
        side.write_status(before, STATUS)


def test_a_status_is_read_as_it_was_written(side: Side) -> None:
    side.edit(a_raw_spec())
    side.write_status(the_resource(side), STATUS)

    assert the_resource(side).status == STATUS
    assert len(STATUS["nodes"]["unready"]) == 10
    assert len(STATUS["history"]) == 2


def test_a_status_replaces_the_whole_of_the_one_before(side: Side) -> None:
    side.edit(a_raw_spec())
    side.write_status(the_resource(side), STATUS)
    side.write_status(the_resource(side), {"observedGeneration": 1})

    assert the_resource(side).status == {"observedGeneration": 1}


@pytest.mark.parametrize("write", ["status", "finalizers"])
def test_what_was_decided_on_an_older_resource_is_stale(side: Side, write: str) -> None:
    side.edit(a_raw_spec())
    old = the_resource(side)
    side.edit(a_raw_spec(masquerade=False))
    before = the_resource(side)

    with pytest.raises(StaleError):
        written(side, old, write)
    assert the_resource(side) == before


@pytest.mark.parametrize("write", ["status", "finalizers"])
def test_what_was_decided_on_a_resource_that_is_gone_is_stale(side: Side, write: str) -> None:
    side.edit(a_raw_spec())
    old = the_resource(side)
    side.delete()

    with pytest.raises(StaleError):
        written(side, old, write)
    assert side.resource() is None


def written(side: Side, resource: Resource, what: str) -> None:
    if what == "status":
        side.write_status(resource, STATUS)
    else:
        side.write_finalizers(resource, [FINALIZER])


def test_a_resource_that_is_held_waits_for_its_deletion(side: Side) -> None:
    side.edit(a_raw_spec())
    side.write_finalizers(the_resource(side), [FINALIZER])
    has_finalizer = the_resource(side)
    side.delete()
    waiting = the_resource(side)
    side.write_finalizers(waiting, [])

    assert (has_finalizer.has_finalizer, has_finalizer.deleting) == (True, False)
    assert (waiting.has_finalizer, waiting.deleting) == (True, True)
    assert side.resource() is None


def test_finalizers_of_others_stay(side: Side) -> None:
    side.edit(a_raw_spec())
    side.write_finalizers(the_resource(side), ["example.com/other", FINALIZER])
    side.write_finalizers(the_resource(side), ["example.com/other"])
    resource = the_resource(side)

    assert resource.finalizers == ("example.com/other",)
    assert not resource.has_finalizer


def test_a_status_is_written_while_the_resource_is_being_deleted(side: Side) -> None:
    side.edit(a_raw_spec())
    side.write_finalizers(the_resource(side), [FINALIZER])
    side.delete()
    side.write_status(the_resource(side), STATUS)

    assert the_resource(side).status == STATUS


def test_nothing_is_remembered_at_first(side: Side) -> None:
    assert side.record() is None


def test_a_record_is_read_as_it_was_written_and_replaced_as_a_whole(side: Side) -> None:
    side.write_record(a_record(pod_cidrs=["10.1.0.0/16", "10.2.0.0/16"]))
    first = side.record()
    side.write_record(a_record(revision=2))

    assert first == a_record(pod_cidrs=["10.1.0.0/16", "10.2.0.0/16"])
    assert side.record() == a_record(revision=2)


def test_a_record_tells_what_was_good_and_what_was_rejected_until_it_says_so_no_more(side: Side) -> None:
    rejected = Rejected(4, 7, "sha256:x", 'the new agent fails on a (Crash: "x")')
    side.write_record(replace(a_record(), verified=3, rejected=rejected))
    first = side.record()
    side.write_record(a_record())

    assert first == replace(a_record(), verified=3, rejected=rejected)
    assert side.record() == a_record()


def test_a_record_outlives_the_resource(side: Side) -> None:
    side.edit(a_raw_spec())
    side.write_record(a_record())
    side.delete()

    assert side.resource() is None
    assert side.record() == a_record()


def test_of_the_secrets_of_the_chart_the_end_of_each_certificate_is_seen_and_no_other_secret_is_read(
    testbed_cluster: Cluster,
) -> None:
    made = [a_secret("hubble-server-certs", NOW), a_secret("cilium-ca", LATER), a_secret("another", NOW)]

    async def use(client: KubeClient, cluster: KubeCluster) -> None:
        assert cluster.observe().certificates == ()
        for secret in made:
            await client.post("/api/v1/namespaces/kube-system/secrets", secret)
        await seen(cluster, {Certificate(one, when, NOBODYS) for one, when in (("hubble-server-certs", NOW), CA)})
        renewed = a_secret("hubble-server-certs", LATER)
        await client.put("/api/v1/namespaces/kube-system/secrets/hubble-server-certs", renewed)
        await seen(cluster, {Certificate(one, when, NOBODYS) for one, when in (("hubble-server-certs", LATER), CA)})
        await client.delete("/api/v1/namespaces/kube-system/secrets/hubble-server-certs")
        await seen(cluster, {Certificate(*CA, NOBODYS)})
        kept = repr([vars(index) for index in cluster._certificates])  # noqa: SLF001 # all that it holds
        assert made[0]["data"]["tls.key"] not in kept

    async def seen(cluster: KubeCluster, certificates: set[Certificate]) -> None:
        while set(cluster.observe().certificates) != certificates:
            await asyncio.wait_for(rung.wait(), 10)
            rung.clear()

    rung = asyncio.Event()
    try:
        with_watches(testbed_cluster.kubeconfig, use, rung.set)
    finally:
        names = [secret["metadata"]["name"] for secret in made]
        testbed_cluster.kubectl("delete", "secret", "-n", "kube-system", "--ignore-not-found", *names)
