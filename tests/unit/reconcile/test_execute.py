import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import DIGEST, NOW, REF, VERSION, a_record, a_spec, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import FINALIZER
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    StartPreflight,
    Uninstall,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.inputs import Failure, Resource
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.rollout.operator_deployment import with_old_operator_stopped_first
from cilium_hybrid.plan.upgrade.preflight import CHECK
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import (
    ApplyFailedError,
    ClusterUnavailableError,
    PortError,
    StaleError,
    UninstallFailedError,
)
from cilium_hybrid.reconcile.execute import InProgress, backoff
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE
from cilium_hybrid.rules.rule import MAX_MESSAGE_LENGTH
from evaluations import an_evaluation
from fake_charts import PublishedChart, accept_all
from unit.world import World, an_empty_world

DESIRED = an_evaluation().upgrade_path.next
APPLY = Apply(DESIRED, 1)


async def the_resource(world: World) -> Resource:
    resource = await world.cluster.resource()
    assert resource is not None
    return resource


def execute(world: World, action: Action, attempts: int = 0) -> Failure | InProgress | None:
    async def scenario() -> Failure | InProgress | None:
        return await world.executor.execute(action, await the_resource(world), attempts)

    return asyncio.run(scenario())


def test_apply_creates_exactly_the_decided_revision() -> None:
    world = an_empty_world()

    assert execute(world, APPLY) is None
    assert world.releases.revisions == [
        Revision(1, "deployed", NOW, True, VERSION, world.digest, DESIRED.values_digest, digest(DESIRED.chart_ref))
    ]
    assert world.releases.applied == {1: DESIRED.values}


def test_with_a_single_operator_node_only_the_update_strategy_changes() -> None:
    world = an_empty_world()

    assert execute(world, replace(APPLY, single_operator_node=True)) is None
    assert world.releases.applied == {1: with_old_operator_stopped_first(DESIRED.values)} != {1: DESIRED.values}
    # Nodes that join or leave do not change the desired release.
    assert world.releases.newest.values_digest == DESIRED.values_digest


MIRROR = "mirror.example.com/ecr-public"
REPOSITORIES = {"image": {"repository": "public.ecr.aws/eks/cilium/cilium"}}
MIRRORED = {"image": {"repository": f"{MIRROR}/eks/cilium/cilium"}}
WITH_MIRROR = replace(DESIRED, mirror=MIRROR)


def render_agent(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Render a DaemonSet on hybrid nodes with the image from the values."""
    placed = {"nodeSelector": {HYBRID_LABEL: HYBRID_VALUE}}
    image = values.get("image", REPOSITORIES["image"])["repository"]
    pod = {"containers": [{"name": "agent", "image": image}], **placed}
    name = CHECK if "preflight" in values else "cilium"
    metadata = {"name": name, "namespace": "kube-system"}
    return [{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": {"template": {"spec": pod}}}]


def test_with_a_mirror_every_image_of_the_chart_comes_from_it() -> None:
    world = an_empty_world()
    world.charts.publish(REF, VERSION, PublishedChart(world.digest, renders=render_agent, defaults=REPOSITORIES))

    assert execute(world, Apply(WITH_MIRROR, 1)) is None
    assert world.releases.applied == {1: DESIRED.values | MIRRORED}
    # Only the chart knows its images, so they are not part of the desired release.
    assert world.releases.newest.values_digest == DESIRED.values_digest


def test_with_a_mirror_the_preflight_images_come_from_it_too() -> None:
    world = an_empty_world()
    world.charts.publish(REF, VERSION, PublishedChart(world.digest, renders=render_agent, defaults=REPOSITORIES))

    assert execute(world, StartPreflight(WITH_MIRROR, {"preflight": {"enabled": True}})) is None
    assert [values for _, values in world.preflights.started] == [{"preflight": {"enabled": True}} | MIRRORED]


@pytest.mark.parametrize(
    "action", [Apply(WITH_MIRROR, 1), StartPreflight(WITH_MIRROR, {"preflight": {}})], ids=["apply", "preflight"]
)
def test_an_image_that_only_the_templates_name_is_refused(action: Action) -> None:
    world = an_empty_world()
    world.charts.publish(REF, VERSION, PublishedChart(world.digest, renders=render_agent))
    failure = execute(world, action)

    assert isinstance(failure, Failure)
    assert failure.reason is Reason.RENDER_REFUSED
    assert "public.ecr.aws/eks/cilium/cilium" in failure.message
    assert MIRROR in failure.message
    assert world.releases.applied == {}
    assert world.preflights.started == []


@pytest.mark.parametrize(
    "action", [Apply(DESIRED, 1), StartPreflight(DESIRED, {"preflight": {}})], ids=["apply", "preflight"]
)
@pytest.mark.parametrize("allowed", [True, False])
def test_what_is_rendered_is_judged_before_a_problem_with_its_objects_is_reported(
    action: Action, allowed: bool
) -> None:
    world = an_empty_world()
    problem = ApplyFailedError("serviceaccounts mine is forbidden")
    world.charts.problem = problem
    other = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "mine", "namespace": "kube-system"}}
    chart = PublishedChart(world.digest, renders=lambda values: [*render_agent(values), *([] if allowed else [other])])
    world.charts.publish(REF, VERSION, chart)

    failure = execute(world, action)

    assert isinstance(failure, Failure)
    assert failure.reason is (Reason.APPLY_FAILED if allowed else Reason.RENDER_REFUSED)
    assert ("ServiceAccount kube-system/mine" in failure.message) is not allowed
    assert world.releases.applied == {}
    assert world.preflights.started == []


@pytest.mark.parametrize("action", [APPLY, Unlock(1), Uninstall(1)], ids=["apply", "unlock", "uninstall"])
def test_a_stale_decision_changes_nothing(action: Action) -> None:
    world = an_empty_world()
    world.releases.upgrade_by_hand()
    world.releases.upgrade_by_hand()
    before = list(world.releases.revisions)

    with pytest.raises(StaleError):
        execute(world, action)
    assert world.releases.revisions == before


@pytest.mark.parametrize("silent", [False, True])
def test_agents_are_restarted_once_the_canaries_have_reported(silent: bool) -> None:
    world = an_empty_world()
    execute(world, APPLY)
    world.cluster.silent = {"a"} if silent else {"b"}
    before = world.cluster.observe().record
    result = execute(world, RestartAgents((), a_record(), canaries=(("a", "uid-a"),)))

    assert (result == InProgress()) is silent
    assert (world.cluster.observe().record == before) is silent


def test_unlock_marks_the_pending_revision_failed() -> None:
    world = an_empty_world()
    world.releases.upgrade_by_hand(status="pending-install")

    assert execute(world, Unlock(1)) is None
    assert [revision.status for revision in world.releases.revisions] == ["failed"]


def test_write_record_writes_the_record() -> None:
    world = an_empty_world()

    assert execute(world, WriteRecord(a_record())) is None
    assert world.cluster.observe().record == a_record()


def test_uninstall_removes_the_release() -> None:
    world = an_empty_world()
    execute(world, APPLY)

    assert execute(world, Uninstall(1)) is None
    assert world.releases.revisions == []


def test_only_the_operators_finalizer_is_added_and_removed() -> None:
    world = an_empty_world()
    resource = asyncio.run(the_resource(world))
    asyncio.run(world.cluster.write_finalizers(resource, ["example.com/other"]))

    added = execute(world, AddFinalizer()), world.cluster.finalizers
    removed = execute(world, RemoveFinalizer()), world.cluster.finalizers

    assert added == (None, ("example.com/other", FINALIZER))
    assert removed == (None, ("example.com/other",))


def test_nothing_changes_nothing() -> None:
    world = an_empty_world()
    before = asyncio.run(the_resource(world))

    assert execute(world, Nothing()) is None
    assert asyncio.run(the_resource(world)) == before
    assert world.releases.revisions == []
    assert world.cluster.records == []
    assert world.charts.pulls == []


def refuse_all(_: object) -> str:
    return "replicas: got string, want integer"


def render_everywhere(_: object) -> list[dict[str, Any]]:
    return [{"kind": "DaemonSet", "metadata": {"name": name}} for name in ("cilium", "another")]


@pytest.mark.parametrize(
    ("chart", "pinned", "reason", "message"),
    [
        pytest.param(
            PublishedChart(DIGEST),
            f"sha256:{'0' * 64}",
            Reason.CHART_REFUSED,
            f"has digest {DIGEST}",
            id="another chart",
        ),
        pytest.param(
            PublishedChart(DIGEST, refuse_all), None, Reason.INVALID_VALUES, "replicas: got string", id="values"
        ),
        pytest.param(
            PublishedChart(DIGEST, accept_all, render_everywhere),
            None,
            Reason.RENDER_REFUSED,
            "so it would run on cloud nodes; remove the value that adds it from spec.values; DaemonSet another: has no",
            id="workloads on cloud nodes",
        ),
    ],
)
def test_a_permanent_failure_is_not_retried(
    chart: PublishedChart, pinned: str | None, reason: Reason, message: str
) -> None:
    world = an_empty_world()
    world.charts.publish(REF, VERSION, chart)
    desired = an_evaluation(a_spec(chart={"ref": REF, "digest": pinned})).upgrade_path.next
    failure = execute(world, Apply(desired, 1))

    assert isinstance(failure, Failure)
    assert (failure.reason, failure.not_before) == (reason, None)
    assert message in failure.message
    assert world.releases.revisions == []


@pytest.mark.parametrize(
    ("error", "action", "reason"),
    [
        pytest.param(ApplyFailedError("it broke"), APPLY, Reason.APPLY_FAILED, id="Helm failed"),
        pytest.param(
            ClusterUnavailableError("no answer"), APPLY, Reason.API_UNAVAILABLE, id="Helm cannot reach the API server"
        ),
        pytest.param(UninstallFailedError("a hook"), Uninstall(0), Reason.DELETION_BLOCKED, id="uninstall failed"),
    ],
)
def test_a_temporary_failure_is_retried(error: PortError, action: Action, reason: Reason) -> None:
    world = an_empty_world()
    world.releases.fault = error

    assert execute(world, action) == Failure(reason, str(error), 1, NOW + timedelta(seconds=5))


def test_a_long_message_is_cut_to_what_a_status_can_hold() -> None:
    world = an_empty_world()
    world.releases.fault = ApplyFailedError("x" * (MAX_MESSAGE_LENGTH + 1))
    failure = execute(world, APPLY)

    assert isinstance(failure, Failure)
    assert failure.message == "x" * (MAX_MESSAGE_LENGTH - 1) + "…"


def test_an_unavailable_registry_is_retried() -> None:
    world = an_empty_world()
    world.charts.outage = "the registry's limit is reached"
    failure = execute(world, APPLY, attempts=2)

    assert isinstance(failure, Failure)
    assert (failure.reason, failure.attempts) == (Reason.CHART_UNAVAILABLE, 3)
    assert failure.not_before == NOW + timedelta(seconds=20)
    assert "the registry's limit is reached" in failure.message


@pytest.mark.parametrize(
    "action",
    [WriteRecord(a_record()), AddFinalizer(), RemoveFinalizer()],
    ids=["write the record", "add the finalizer", "remove the finalizer"],
)
def test_an_unavailable_api_server_is_retried_soon(action: Action) -> None:
    world = an_empty_world()
    resource = asyncio.run(the_resource(world))
    world.cluster.outage = "no answer"
    failure = asyncio.run(world.executor.execute(action, resource, attempts=9))

    assert failure == Failure(Reason.API_UNAVAILABLE, "no answer", 10, NOW + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 5), (1, 10), (2, 20), (6, 320), (7, 600), (1000, 600)],
)
def test_the_backoff_grows_to_ten_minutes(attempts: int, seconds: int) -> None:
    assert backoff(attempts) == timedelta(seconds=seconds)


def test_every_port_error_except_stale_has_a_reason() -> None:
    world = an_empty_world()
    # The commands have further subclasses, which no port of the operator raises.
    for error in (error for error in PortError.__subclasses__() if error.__module__ == PortError.__module__):
        world.releases.fault = error("why")
        if error is StaleError:
            with pytest.raises(StaleError):
                execute(world, APPLY)
        else:
            assert isinstance(execute(world, APPLY), Failure)


def test_nothing_is_installed_if_only_the_observation_is_empty() -> None:
    """With two operators, or a watch that lags, the second install is refused."""
    world = an_empty_world()
    execute(world, APPLY)
    decided_again = Apply(an_evaluation(observation=an_observation()).upgrade_path.next, 1)

    with pytest.raises(StaleError):
        execute(world, decided_again)
    assert len(world.releases.revisions) == 1
