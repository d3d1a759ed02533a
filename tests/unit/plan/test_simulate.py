from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given

from builders import (
    DIGEST,
    NOW,
    OTHER_DIGEST,
    POOL,
    REF,
    a_foreign_revision,
    a_node,
    a_record,
    a_revision_of,
    a_spec,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Decision, Nothing
from cilium_hybrid.plan.observation import AgentSet, Observation
from cilium_hybrid.plan.registry_mirror import with_mirror
from cilium_hybrid.plan.release import desired_release, last_deployed
from cilium_hybrid.plan.rollout.operator_deployment import with_the_old_going_first
from cilium_hybrid.plan.simulate import SimulatedStepKind, Simulation, changed_paths, simulate
from cilium_hybrid.plan.values import CONFIG_DIGEST
from strategies import AVAILABLE, SPECS, observations


def an_installed(spec: Spec, status: str = "deployed") -> tuple[Observation, dict[str, Any]]:
    """A cluster in which a spec was released, and the values that run."""
    desired = desired_release(spec, an_observation())
    run = AgentSet(desired.values["podAnnotations"][CONFIG_DIGEST], observed=True)
    nodes = [a_node("mi-1"), a_node("mi-2")]
    return an_observation(
        a_revision_of(desired, status=status), record=a_record(), agent_set=run, nodes=nodes
    ), desired.values


def seen(
    spec: Spec,
    observation: Observation,
    released: dict[str, Any],
    *,
    has_finalizer: bool = False,
    available: Sequence[CiliumVersion] = (),
) -> Simulation:
    return simulate(spec, observation, released, NOW, has_finalizer=has_finalizer, available=available)


def test_a_first_install_is_one_step() -> None:
    found = seen(a_spec(), an_observation(nodes=[a_node()]), {})

    assert [(step.kind, step.changed) for step in found.steps] == [(SimulatedStepKind.INSTALL, ())]
    assert found.steps[0].message == f"installing Cilium 1.17.9-0 from {REF}, on 1 hybrid node"
    assert found.end.reason is Reason.IN_SYNC


@pytest.mark.parametrize(
    ("edit", "changed", "restarts"),
    [
        pytest.param(
            {"values": {"debug": {"enabled": True}}}, ("debug (added)",), "the agent restarts on 2 hybrid nodes"
        ),
        pytest.param(
            {"masquerade": False}, ("enableIPv4Masquerade (changed)",), "the agent restarts on 2 hybrid nodes"
        ),
        pytest.param(
            {"pod_cidrs": [POOL, "10.86.0.0/16"]},
            ("ipam.operator.clusterPoolIPv4PodCIDRList (changed)",),
            "no agent restarts, and Cilium's operator where its own configuration changed",
        ),
    ],
)
def test_a_change_names_what_changes_and_who_restarts(
    edit: dict[str, Any], changed: tuple[str, ...], restarts: str
) -> None:
    observation, released = an_installed(a_spec())
    (step,) = seen(a_spec(**edit), observation, released).steps

    assert (step.kind, step.changed) == (SimulatedStepKind.CONFIGURE, changed)
    assert step.message == f"releasing the changed configuration of Cilium 1.17.9-0; {restarts}"


def test_what_a_single_node_had_added_is_no_change() -> None:
    observation, released = an_installed(a_spec())
    found = seen(a_spec(masquerade=False), observation, with_the_old_going_first(released))

    assert [step.changed for step in found.steps] == [("enableIPv4Masquerade (changed)",)]


def test_a_spec_that_runs_leads_to_nothing() -> None:
    found = seen(a_spec(), *an_installed(a_spec()))

    assert found.steps == ()
    assert (found.end.reason, found.end.message) == (Reason.IN_SYNC, "Cilium 1.17.9-0 is released")


def test_an_interrupted_helm_is_unlocked_first() -> None:
    observation, released = an_installed(a_spec(), status="pending-upgrade")
    found = seen(a_spec(), observation, released)

    assert [step.kind for step in found.steps] == [SimulatedStepKind.UNLOCK, SimulatedStepKind.CONFIGURE]


@pytest.mark.parametrize(
    ("policy", "has_finalizer", "expected"),
    [
        pytest.param("Uninstall", False, [SimulatedStepKind.ADD_FINALIZER], id="from now on it waits"),
        pytest.param("Uninstall", True, [], id="it waits already"),
        pytest.param("Retain", True, [SimulatedStepKind.REMOVE_FINALIZER], id="from now on it does not"),
    ],
)
def test_the_finalizer_is_a_step_of_its_own(
    policy: str, has_finalizer: bool, expected: list[SimulatedStepKind]
) -> None:
    found = seen(a_spec(deletionPolicy=policy), *an_installed(a_spec()), has_finalizer=has_finalizer)

    assert [step.kind for step in found.steps] == expected


def test_what_blocks_is_the_end() -> None:
    found = seen(a_spec(), an_observation(a_foreign_revision()), {})

    assert found.steps == ()
    assert found.end.stalled
    assert found.end.reason is Reason.RELEASE_NOT_OWNED


def test_a_pinned_chart_is_released_as_it_is_pinned() -> None:
    observation, released = an_installed(a_spec())
    pinned = a_spec(chart={"ref": REF, "digest": OTHER_DIGEST})

    assert DIGEST != OTHER_DIGEST
    assert [step.kind for step in seen(pinned, observation, released).steps] == [SimulatedStepKind.CONFIGURE]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {}, [], id="nothing"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c (changed)"], id="inside a map"),
        pytest.param({"a": 1}, {"b": 1}, ["a (taken out)", "b (added)"], id="another name"),
        pytest.param({"a": {"b": 1}}, {"a": [1]}, ["a (changed)"], id="another shape"),
        pytest.param({"a": 1}, {"a": True}, ["a (changed)"], id="another type that is equal to Python"),
        pytest.param(
            {"podAnnotations": {CONFIG_DIGEST: "x"}}, {"podAnnotations": {CONFIG_DIGEST: "y"}}, [], id="our digest"
        ),
    ],
)
def test_changed_paths(before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    assert list(changed_paths(before, after)) == expected


@given(SPECS.flatmap(lambda spec: observations(spec).map(lambda observation: (spec, observation))), AVAILABLE)
def test_every_plan_ends_and_after_it_there_is_nothing_to_do(
    case: tuple[Spec, Observation], available: Sequence[CiliumVersion] | None
) -> None:
    spec, observation = case
    released = {"debug": {"enabled": True}} if last_deployed(observation) else {}
    found = seen(spec, observation, released, available=available or ())
    once = [
        step.kind for step in found.steps if step.kind not in {SimulatedStepKind.PREFLIGHT, SimulatedStepKind.UPGRADE}
    ]

    assert isinstance(found.end, Decision)
    assert isinstance(found.end.action, Nothing)
    assert len(set(once)) == len(once)


def test_what_is_on_its_way_out_is_taken_to_be_gone() -> None:
    found = seen(a_spec(), an_observation(secrets_namespace_terminating=True), {})

    assert [step.kind for step in found.steps] == [SimulatedStepKind.INSTALL]


MIRROR = "mirror.example.com"
OF_THE_CHART = {"image": {"repository": "quay.io/cilium/cilium"}, "certgen": {"image": {"repository": "quay.io/c/c"}}}


@pytest.mark.parametrize(
    ("before", "after", "changed", "said"),
    [
        pytest.param(None, MIRROR, (), True, id="a mirror for the first time"),
        pytest.param(MIRROR, MIRROR, ("debug (added)",), False, id="another value beside it"),
        pytest.param(
            MIRROR,
            "other.example.com",
            ("certgen.image.repository (changed)", "image.repository (changed)"),
            True,
            id="another mirror",
        ),
        pytest.param(MIRROR, None, ("certgen (taken out)", "image (taken out)"), False, id="no mirror any more"),
    ],
)
def test_a_mirror_is_told_once_and_no_image_that_stays(
    before: str | None, after: str | None, changed: tuple[str, ...], said: bool
) -> None:
    observation, released = an_installed(a_spec(registryMirror=before))
    if before is not None:
        released = with_mirror(released, OF_THE_CHART, before)
    values = {"debug": {"enabled": True}} if before == after else {}
    (step,) = seen(a_spec(registryMirror=after, values=values), observation, released).steps

    assert step.changed == tuple(sorted(changed))
    assert (f"every image comes from {after}" in step.message) == said
