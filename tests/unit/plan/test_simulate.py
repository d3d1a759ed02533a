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
from cilium_hybrid.plan.actions import Decision, Nothing, Rollback
from cilium_hybrid.plan.observation import AgentSet, Observation
from cilium_hybrid.plan.registry_mirror import with_mirror
from cilium_hybrid.plan.release import desired_release
from cilium_hybrid.plan.rollout.operator_deployment import with_old_operator_stopped_first
from cilium_hybrid.plan.running import last_deployed
from cilium_hybrid.plan.simulate import SimulatedStepKind, Simulation, changed_paths, simulate
from cilium_hybrid.plan.values import CONFIG_DIGEST
from strategies import AVAILABLE, SPECS, observations


def an_installed(spec: Spec, status: str = "deployed") -> tuple[Observation, dict[str, Any]]:
    """A cluster in which a spec is deployed, and the values of its release."""
    desired = desired_release(spec, an_observation())
    run = AgentSet(desired.values["podAnnotations"][CONFIG_DIGEST], observed=True)
    nodes = [a_node("mi-1"), a_node("mi-2")]
    return an_observation(
        a_revision_of(desired, status=status), record=a_record(), agent_set=run, nodes=nodes
    ), desired.values


def simulated(
    spec: Spec,
    observation: Observation,
    released: dict[str, Any],
    *,
    has_finalizer: bool = False,
    available: Sequence[CiliumVersion] = (),
) -> Simulation:
    return simulate(spec, observation, released, NOW, has_finalizer=has_finalizer, available=available)


def test_a_first_install_is_one_step() -> None:
    found = simulated(a_spec(), an_observation(nodes=[a_node()]), {})

    assert [(step.kind, step.changed) for step in found.steps] == [(SimulatedStepKind.INSTALL, ())]
    assert found.steps[0].message == f"installing Cilium 1.17.9-0 from {REF} on 1 hybrid node"
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
            "no agent restarts; the Cilium operator restarts if its configuration changes",
        ),
    ],
)
def test_a_change_names_the_changed_values_and_what_restarts(
    edit: dict[str, Any], changed: tuple[str, ...], restarts: str
) -> None:
    observation, released = an_installed(a_spec())
    (step,) = simulated(a_spec(**edit), observation, released).steps

    assert (step.kind, step.changed) == (SimulatedStepKind.CONFIGURE, changed)
    assert step.message == f"deploying the changed configuration of Cilium 1.17.9-0; {restarts}"


def test_the_update_strategy_of_a_single_node_is_not_a_change() -> None:
    observation, released = an_installed(a_spec())
    found = simulated(a_spec(masquerade=False), observation, with_old_operator_stopped_first(released))

    assert [step.changed for step in found.steps] == [("enableIPv4Masquerade (changed)",)]


def test_a_deployed_spec_changes_nothing() -> None:
    found = simulated(a_spec(), *an_installed(a_spec()))

    assert found.steps == ()
    assert (found.end.reason, found.end.message) == (Reason.IN_SYNC, "Cilium 1.17.9-0 is deployed")


def test_an_interrupted_revision_is_unlocked_first() -> None:
    observation, released = an_installed(a_spec(), status="pending-upgrade")
    found = simulated(a_spec(), observation, released)

    assert [step.kind for step in found.steps] == [SimulatedStepKind.UNLOCK, SimulatedStepKind.CONFIGURE]


@pytest.mark.parametrize(
    ("policy", "has_finalizer", "expected"),
    [
        pytest.param("Uninstall", False, [SimulatedStepKind.ADD_FINALIZER], id="added"),
        pytest.param("Uninstall", True, [], id="exists already"),
        pytest.param("Retain", True, [SimulatedStepKind.REMOVE_FINALIZER], id="removed"),
    ],
)
def test_the_finalizer_is_a_step_of_its_own(
    policy: str, has_finalizer: bool, expected: list[SimulatedStepKind]
) -> None:
    found = simulated(a_spec(deletionPolicy=policy), *an_installed(a_spec()), has_finalizer=has_finalizer)

    assert [step.kind for step in found.steps] == expected


def test_a_blocked_spec_ends_the_simulation() -> None:
    found = simulated(a_spec(), an_observation(a_foreign_revision()), {})

    assert found.steps == ()
    assert found.end.stalled
    assert found.end.reason is Reason.RELEASE_NOT_OWNED


def test_pinning_the_chart_is_a_configuration_change() -> None:
    observation, released = an_installed(a_spec())
    pinned = a_spec(chart={"ref": REF, "digest": OTHER_DIGEST})

    assert DIGEST != OTHER_DIGEST
    assert [step.kind for step in simulated(pinned, observation, released).steps] == [SimulatedStepKind.CONFIGURE]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param({}, {}, [], id="nothing"),
        pytest.param({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["a.c (changed)"], id="inside a map"),
        pytest.param({"a": 1}, {"b": 1}, ["a (removed)", "b (added)"], id="another name"),
        pytest.param({"a": {"b": 1}}, {"a": [1]}, ["a (changed)"], id="another type"),
        pytest.param({"a": 1}, {"a": True}, ["a (changed)"], id="another type that Python considers equal"),
        pytest.param(
            {"podAnnotations": {CONFIG_DIGEST: "x"}},
            {"podAnnotations": {CONFIG_DIGEST: "y"}},
            [],
            id="configuration digest",
        ),
    ],
)
def test_changed_paths(before: dict[str, Any], after: dict[str, Any], expected: list[str]) -> None:
    assert list(changed_paths(before, after)) == expected


@given(SPECS.flatmap(lambda spec: observations(spec).map(lambda observation: (spec, observation))), AVAILABLE)
def test_every_simulation_ends_and_no_step_repeats(
    case: tuple[Spec, Observation], available: Sequence[CiliumVersion] | None
) -> None:
    spec, observation = case
    released = {"debug": {"enabled": True}} if last_deployed(observation) else {}
    found = simulated(spec, observation, released, available=available or ())
    once = [
        step.kind for step in found.steps if step.kind not in {SimulatedStepKind.PREFLIGHT, SimulatedStepKind.UPGRADE}
    ]

    assert isinstance(found.end, Decision)
    assert isinstance(found.end.action, Nothing | Rollback)
    assert len(set(once)) == len(once)


def test_a_terminating_namespace_is_assumed_to_be_deleted() -> None:
    found = simulated(a_spec(), an_observation(secrets_namespace_terminating=True), {})

    assert [step.kind for step in found.steps] == [SimulatedStepKind.INSTALL]


MIRROR = "mirror.example.com"
CHART_IMAGES = {"image": {"repository": "quay.io/cilium/cilium"}, "certgen": {"image": {"repository": "quay.io/c/c"}}}


@pytest.mark.parametrize(
    ("before", "after", "changed", "named"),
    [
        pytest.param(None, MIRROR, (), True, id="mirror added"),
        pytest.param(MIRROR, MIRROR, ("debug (added)",), False, id="another change, same mirror"),
        pytest.param(
            MIRROR,
            "other.example.com",
            ("certgen.image.repository (changed)", "image.repository (changed)"),
            True,
            id="another mirror",
        ),
        pytest.param(MIRROR, None, ("certgen (removed)", "image (removed)"), False, id="mirror removed"),
    ],
)
def test_a_new_mirror_is_named_once_without_unchanged_images(
    before: str | None, after: str | None, changed: tuple[str, ...], named: bool
) -> None:
    observation, released = an_installed(a_spec(registryMirror=before))
    if before is not None:
        released = with_mirror(released, CHART_IMAGES, before)
    values = {"debug": {"enabled": True}} if before == after else {}
    (step,) = simulated(a_spec(registryMirror=after, values=values), observation, released).steps

    assert step.changed == tuple(sorted(changed))
    assert (f"all images come from {after}" in step.message) == named
