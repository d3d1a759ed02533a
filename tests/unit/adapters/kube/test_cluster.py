"""What the cluster adapter refuses to do while a watch or the Lease is lost."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cilium_hybrid.adapters.kube import informer as module
from cilium_hybrid.adapters.kube import watch_state
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.plan.actions import PodRef
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.record import Record
from cilium_hybrid.ports import StaleError
from tiny_api_server import LIMIT, TinyApiServer, connected, tiny_api_server

HYBRID = "eks.amazonaws.com/compute-type=hybrid"
PODS = [PodRef("cilium-a", "u1"), PodRef("cilium-b", "u2")]
RESOURCE = Resource(1, "1", {}, {}, uid="u1")


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"MAX_RETRY_SECONDS": 0.05, "MAX_RELIST_SECONDS": 0.1, "CONFIRM_SECONDS": 0.05}
    for name, seconds in (times | {"FIRST_RETRY_SECONDS": 0.01}).items():
        monkeypatch.setattr(module, name, seconds)
    monkeypatch.setattr(watch_state, "GRACE_SECONDS", 0.5)


@asynccontextmanager
async def observing(
    folder: Path, may_act: Callable[[], bool] = lambda: True, changed: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[TinyApiServer, KubeCluster]]:
    """Run every watch against an API server without objects."""
    async with tiny_api_server() as server, connected(server, folder) as client:
        cluster = KubeCluster(client, changed, may_act)
        tasks = [asyncio.ensure_future(task) for task in cluster.background_tasks()]
        try:
            await asyncio.wait_for(cluster.wait_until_synced(), LIMIT)
            await until(lambda: server.open_watches == len(cluster.watch_states()))
            yield server, cluster
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110 # the server reports no progress
            await asyncio.sleep(0.005)


def test_a_refused_watch_is_in_every_observation_until_it_is_accepted(tmp_path: Path) -> None:
    async def scenario() -> None:
        observed = list[KubeCluster]()
        noticed = set[str]()

        def changed() -> None:
            for found in observed:
                noticed.update(found.observe().lost_watches)

        async with observing(tmp_path, changed=changed) as (server, cluster):
            observed.append(cluster)
            assert cluster.observe().lost_watches == ()
            server.refused = {"/nodes?labelSelector=eks.amazonaws.com/compute-type%3Dhybrid": 403}
            server.refused |= {"/nodes?labelSelector=eks.amazonaws.com%2Fcompute-type%3Dhybrid": 403}
            server.cut_watches()
            # The status reports it, because the change wakes the operator.
            await until(lambda: LOST_NODES in noticed)
            await until(lambda: cluster.observe().lost_watches == (LOST_NODES,))

            server.refused = {}
            await until(lambda: cluster.observe().lost_watches == ())

    asyncio.run(scenario())


LOST_NODES = f"watch of nodes ({HYBRID}) is lost: nodes is refused with 403"


def test_a_watch_that_no_decision_rests_on_blocks_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with observing(tmp_path) as (server, cluster):
            server.refused = {"cilium-ca": 403}
            server.cut_watches()
            await until(lambda: [str(state) for state in cluster.watch_states() if state.loss is not None] == [LOST_CA])
            assert cluster.observe().lost_watches == ()

    asyncio.run(scenario())


LOST_CA = "watch of secrets/cilium-ca is lost: secrets is refused with 403"


def test_a_watch_that_is_refused_from_the_start_does_not_stop_the_operator_if_it_only_adds_to_the_report(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with tiny_api_server() as server, connected(server, tmp_path) as client:
            server.refused, server.lists_too = {"cilium-ca": 403}, True
            cluster = KubeCluster(client, lambda: None)
            tasks = [asyncio.ensure_future(task) for task in cluster.background_tasks()]
            await asyncio.wait_for(cluster.wait_until_synced(), LIMIT)
            assert cluster.observe().certificates == ()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scenario())


def test_a_reconciliation_waits_for_watches_that_were_cut_a_moment_ago(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with observing(tmp_path) as (server, cluster):
            server.documents = {"/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids/default": A_RESOURCE}
            server.cut_watches()
            await until(lambda: cluster.observe().lost_watches)
            assert await cluster.resource() is not None
            assert cluster.observe().lost_watches == ()

            server.refused = {"secrets": 403}
            server.cut_watches()
            await until(lambda: cluster.observe().lost_watches)
            # It does not wait for ever.
            assert await asyncio.wait_for(cluster.resource(), LIMIT) is not None
            assert cluster.observe().lost_watches

    asyncio.run(scenario())


A_RESOURCE = {"metadata": {"name": "default", "uid": "u1", "generation": 1, "resourceVersion": "1"}, "spec": {}}


def test_no_pod_is_deleted_if_a_watch_was_lost_since_the_decision(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with observing(tmp_path) as (server, cluster):
            server.refused = {"daemonsets": 401}
            server.cut_watches()
            await until(lambda: len(cluster.observe().lost_watches) == 3)
            with pytest.raises(StaleError, match="watch of daemonsets/cilium is lost"):
                await cluster.delete_agent_pods(PODS)
            assert not server.writes

    asyncio.run(scenario())


def test_a_lease_that_is_lost_between_decision_and_pod_deletion_stops_the_next_deletion(tmp_path: Path) -> None:
    answers: Iterator[bool] = iter([True, False])

    async def scenario() -> None:
        async with observing(tmp_path, lambda: next(answers)) as (server, cluster):
            with pytest.raises(StaleError, match="the Lease was not renewed in time"):
                await cluster.delete_agent_pods(PODS)
            assert server.writes == ["DELETE /api/v1/namespaces/kube-system/pods/cilium-a"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda cluster: cluster.delete_agent_pods(PODS), id="pods"),
        pytest.param(lambda cluster: cluster.write_record(Record()), id="record"),
        pytest.param(lambda cluster: cluster.write_status(RESOURCE, {}), id="status"),
        pytest.param(lambda cluster: cluster.write_finalizers(RESOURCE, []), id="finalizers"),
    ],
)
def test_nothing_is_written_without_the_lease(
    tmp_path: Path, write: Callable[[KubeCluster], "asyncio.Future[None]"]
) -> None:
    async def scenario() -> None:
        async with observing(tmp_path, lambda: False) as (server, cluster):
            with pytest.raises(StaleError, match="the Lease was not renewed in time"):
                await write(cluster)
            assert not server.writes

    asyncio.run(scenario())
