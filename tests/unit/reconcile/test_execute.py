import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import DIGEST, NOW, REF, VERSION, a_record, a_situation, a_spec, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import FINALIZER
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    Nothing,
    RemoveFinalizer,
    StartPreflight,
    Uninstall,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.inputs import Failure, Resource
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.rollout.operator_deployment import with_the_old_going_first
from cilium_hybrid.plan.upgrade.preflight import CHECK
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import (
    ApplyFailedError,
    ClusterUnavailableError,
    PortError,
    StaleError,
    UninstallFailedError,
)
from cilium_hybrid.reconcile.execute import pause
from cilium_hybrid.rules.rendered.rules import HYBRID_LABEL, HYBRID_VALUE
from fake_charts import PublishedChart, takes_anything
from unit.world import World, an_empty_world

WANT = a_situation().upgrade_path.next
APPLY = Apply(WANT, 1)


async def the_resource(world: World) -> Resource:
    resource = await world.cluster.resource()
    assert resource is not None
    return resource


def execute(world: World, action: Action, attempts: int = 0) -> Failure | None:
    async def scenario() -> Failure | None:
        return await world.executor.execute(action, await the_resource(world), attempts)

    return asyncio.run(scenario())


def test_apply_makes_exactly_the_revision_that_was_decided() -> None:
    world = an_empty_world()

    assert execute(world, APPLY) is None
    assert world.releases.revisions == [
        Revision(1, "deployed", NOW, True, VERSION, world.digest, WANT.values_digest, digest(WANT.chart_ref))
    ]
    assert world.releases.applied == {1: WANT.values}


def test_where_cilium_s_operator_has_one_place_the_old_one_makes_way_and_nothing_else_changes() -> None:
    world = an_empty_world()

    assert execute(world, replace(APPLY, one_place=True)) is None
    assert world.releases.applied == {1: with_the_old_going_first(WANT.values)} != {1: WANT.values}
    # What nodes come and go is no change of what is asked for.
    assert world.releases.newest.values_digest == WANT.values_digest


MIRROR = "mirror.example.com/ecr-public"
REPOSITORIES = {"image": {"repository": "public.ecr.aws/eks/cilium/cilium"}}
MIRRORED = {"image": {"repository": f"{MIRROR}/eks/cilium/cilium"}}
OF_THE_MIRROR = replace(WANT, mirror=MIRROR)


def an_agent_of(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a chart makes whose DaemonSet, on hybrid nodes, has the image that the values say."""
    placed = {"nodeSelector": {HYBRID_LABEL: HYBRID_VALUE}}
    image = values.get("image", REPOSITORIES["image"])["repository"]
    pod = {"containers": [{"name": "agent", "image": image}], **placed}
    name = CHECK if "preflight" in values else "cilium"
    metadata = {"name": name, "namespace": "kube-system"}
    return [{"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": {"template": {"spec": pod}}}]


def test_with_a_mirror_every_image_that_the_chart_names_comes_from_there() -> None:
    world = an_empty_world()
    world.charts.publish(REF, VERSION, PublishedChart(world.digest, renders=an_agent_of, defaults=REPOSITORIES))

    assert execute(world, Apply(OF_THE_MIRROR, 1)) is None
    assert world.releases.applied == {1: WANT.values | MIRRORED}
    # The chart alone knows its images, and another of its versions is no change of what is asked for.
    assert world.releases.newest.values_digest == WANT.values_digest


def test_with_a_mirror_the_preflight_comes_from_there_too() -> None:
    world = an_empty_world()
    world.charts.publish(REF, VERSION, PublishedChart(world.digest, renders=an_agent_of, defaults=REPOSITORIES))

    assert execute(world, StartPreflight(OF_THE_MIRROR, {"preflight": {"enabled": True}})) is None
    assert [values for _, values in world.preflights.started] == [{"preflight": {"enabled": True}} | MIRRORED]


@pytest.mark.parametrize(
    "action", [Apply(OF_THE_MIRROR, 1), StartPreflight(OF_THE_MIRROR, {"preflight": {}})], ids=["apply", "preflight"]
)
def test_an_image_that_the_chart_names_in_its_templates_alone_is_refused(action: Action) -> None:
    world = an_empty_world()
    world.charts.publish(REF, VERSION, PublishedChart(world.digest, renders=an_agent_of))
    failure = execute(world, action)

    assert failure is not None
    assert failure.reason is Reason.RENDER_REFUSED
    assert "public.ecr.aws/eks/cilium/cilium" in failure.message
    assert MIRROR in failure.message
    assert world.releases.applied == {}
    assert world.preflights.started == []


@pytest.mark.parametrize("action", [APPLY, Unlock(1), Uninstall(1)], ids=["apply", "unlock", "uninstall"])
def test_a_stale_decision_does_nothing(action: Action) -> None:
    world = an_empty_world()
    world.releases.upgrade_by_hand()
    world.releases.upgrade_by_hand()
    before = list(world.releases.revisions)

    with pytest.raises(StaleError):
        execute(world, action)
    assert world.releases.revisions == before


def test_unlock_marks_the_pending_revision_failed() -> None:
    world = an_empty_world()
    world.releases.upgrade_by_hand(status="pending-install")

    assert execute(world, Unlock(1)) is None
    assert [revision.status for revision in world.releases.revisions] == ["failed"]


def test_remember_writes_the_record() -> None:
    world = an_empty_world()

    assert execute(world, WriteRecord(a_record())) is None
    assert world.cluster.observe().record == a_record()


def test_uninstall_takes_the_release_away() -> None:
    world = an_empty_world()
    execute(world, APPLY)

    assert execute(world, Uninstall(1)) is None
    assert world.releases.revisions == []


def test_hold_and_let_go_touch_no_finalizer_but_their_own() -> None:
    world = an_empty_world()
    resource = asyncio.run(the_resource(world))
    asyncio.run(world.cluster.write_finalizers(resource, ["example.com/other"]))

    has_finalizer = execute(world, AddFinalizer()), world.cluster.finalizers
    let_go = execute(world, RemoveFinalizer()), world.cluster.finalizers

    assert has_finalizer == (None, ("example.com/other", FINALIZER))
    assert let_go == (None, ("example.com/other",))


def test_nothing_is_nothing() -> None:
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
    ("chart", "pinned", "reason", "words"),
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
            PublishedChart(DIGEST, takes_anything, render_everywhere),
            None,
            Reason.RENDER_REFUSED,
            "so it would run on cloud nodes: take out what adds it from spec.values; DaemonSet another: has no",
            id="workloads that would run on cloud nodes",
        ),
    ],
)
def test_what_fails_the_same_way_every_time_waits_for_a_person(
    chart: PublishedChart, pinned: str | None, reason: Reason, words: str
) -> None:
    world = an_empty_world()
    world.charts.publish(REF, VERSION, chart)
    desired = a_situation(a_spec(chart={"ref": REF, "digest": pinned})).upgrade_path.next
    failure = execute(world, Apply(desired, 1))

    assert failure is not None
    assert (failure.reason, failure.not_before) == (reason, None)
    assert words in failure.message
    assert world.releases.revisions == []


@pytest.mark.parametrize(
    ("fault", "action", "reason"),
    [
        pytest.param(ApplyFailedError("it broke"), APPLY, Reason.APPLY_FAILED, id="Helm could not apply"),
        pytest.param(ClusterUnavailableError("no answer"), APPLY, Reason.API_UNAVAILABLE, id="Helm got no answer"),
        pytest.param(UninstallFailedError("a hook"), Uninstall(0), Reason.DELETION_BLOCKED, id="could not uninstall"),
    ],
)
def test_what_may_pass_is_tried_again(fault: PortError, action: Action, reason: Reason) -> None:
    world = an_empty_world()
    world.releases.fault = fault

    assert execute(world, action) == Failure(reason, str(fault), 1, NOW + timedelta(seconds=5))


def test_a_registry_that_is_away_is_tried_again() -> None:
    world = an_empty_world()
    world.charts.away = "the registry's limit is reached"
    failure = execute(world, APPLY, attempts=2)

    assert failure is not None
    assert (failure.reason, failure.attempts) == (Reason.CHART_UNAVAILABLE, 3)
    assert failure.not_before == NOW + timedelta(seconds=20)
    assert "the registry's limit is reached" in failure.message


@pytest.mark.parametrize(
    "action", [WriteRecord(a_record()), AddFinalizer(), RemoveFinalizer()], ids=["remember", "hold", "let go"]
)
def test_an_api_that_does_not_answer_is_tried_again_soon(action: Action) -> None:
    world = an_empty_world()
    resource = asyncio.run(the_resource(world))
    world.cluster.away = "no answer"
    failure = asyncio.run(world.executor.execute(action, resource, attempts=9))

    assert failure == Failure(Reason.API_UNAVAILABLE, "no answer", 10, NOW + timedelta(seconds=10))


@pytest.mark.parametrize(
    ("attempts", "seconds"),
    [(0, 5), (1, 10), (2, 20), (6, 320), (7, 600), (1000, 600)],
)
def test_pauses_grow_to_ten_minutes(attempts: int, seconds: int) -> None:
    assert pause(attempts) == timedelta(seconds=seconds)


def test_every_fault_of_a_port_has_a_reason_but_stale() -> None:
    world = an_empty_world()
    # Those of a command's own are raised by no port of the operator.
    for fault in (fault for fault in PortError.__subclasses__() if fault.__module__ == PortError.__module__):
        world.releases.fault = fault("why")
        if fault is StaleError:
            with pytest.raises(StaleError):
                execute(world, APPLY)
        else:
            assert execute(world, APPLY) is not None


def test_nothing_is_installed_when_only_the_observation_is_empty() -> None:
    """Two operators, or a watch that lags: the second install is refused."""
    world = an_empty_world()
    execute(world, APPLY)
    decided_again = Apply(a_situation(observation=an_observation()).upgrade_path.next, 1)

    with pytest.raises(StaleError):
        execute(world, decided_again)
    assert len(world.releases.revisions) == 1
