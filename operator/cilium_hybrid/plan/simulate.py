"""What a spec would lead to, step by step: the same decisions as the operator's, on a cluster that is only imagined."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, assert_never

from cilium_hybrid.api.status import PlanPhase, PlanStep, Status
from cilium_hybrid.api.v1alpha1 import Approval, Preflight, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    Decision,
    EndPreflight,
    LabelRollback,
    ListVersions,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.decide import decide, refuse
from cilium_hybrid.plan.inputs import Situation
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.registry_mirror import named_from, with_mirror
from cilium_hybrid.plan.release import DesiredRelease
from cilium_hybrid.plan.rollout.operator_deployment import without_the_old_going_first
from cilium_hybrid.plan.upgrade.path import UpgradePath, find_upgrade_path
from cilium_hybrid.plan.values import CONFIG_DIGEST, digest
from cilium_hybrid.rules.supported_minors import notes_of

_MOST: Final = 20
"""No spec leads to so many steps; were there a circle of decisions, it would be cut here."""


class SimulatedStepKind(StrEnum):
    """What a step is for."""

    UNLOCK = "Unlock"
    INSTALL = "Install"
    CONFIGURE = "Configure"
    APPROVAL = "Approval"
    PREFLIGHT = "Preflight"
    UPGRADE = "Upgrade"
    ADD_FINALIZER = "Hold"
    REMOVE_FINALIZER = "LetGo"


@dataclass(frozen=True, slots=True)
class SimulatedStep:
    """One step, in words; `changed` are the paths of the values that it changes, `notes` what to know before it."""

    kind: SimulatedStepKind
    message: str
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Simulation:
    """The steps, and the decision that ends them: nothing left to do, or what blocks."""

    steps: tuple[SimulatedStep, ...]
    end: Decision


def simulate(
    spec: Spec,
    observation: Observation,
    released: Mapping[str, Any],
    now: datetime,
    *,
    has_finalizer: bool,
    generation: int = 0,
    available: Sequence[CiliumVersion] = (),
    planned: Status | None = None,
) -> Simulation:
    """Every step from what is observed to what the spec asks for; `released` are the values that run.

    The spec is one that breaks no rule; `generation` is the one that it has, or would get; `available` are the versions
    that the registry has; `planned` is a status with the plan that is under way.
    """
    steps: list[SimulatedStep] = []
    planned, released = planned or Status(), without_the_old_going_first(released)
    imagined, observation = _going_well(spec, observation)
    while True:
        upgrade_path = find_upgrade_path(imagined, observation, planned, generation, available)
        if upgrade_path.refusal is not None:
            return Simulation(tuple(steps), refuse((upgrade_path.refusal,)))
        pending = tuple(PlanStep(version=version, phase=PlanPhase.PENDING) for version in upgrade_path.versions)
        planned = Status(plan=pending, plan_digest=upgrade_path.digest)
        decision = decide(
            Situation(imagined, observation, upgrade_path, (), now, has_finalizer=has_finalizer, generation=generation)
        )
        # What is being undone is no step on the way to what the spec asks for.
        if isinstance(decision.action, Nothing | Rollback | LabelRollback) or len(steps) >= _MOST:
            return Simulation(tuple(steps), decision)
        asked = any(step.kind is SimulatedStepKind.APPROVAL for step in steps)
        made = _step(decision, observation, released, upgrade_path, spec)
        # One approval is of the whole plan.
        steps += [step for step in made if not (asked and step.kind is SimulatedStepKind.APPROVAL)]
        if isinstance(decision.action, Apply):
            released = _as_released(decision.action.desired_release, released)
        observation, has_finalizer = _after(decision.action, observation, now, has_finalizer)


def _going_well(spec: Spec, observation: Observation) -> tuple[Spec, Observation]:
    """What is asked of a person and of the cluster on the way is taken to end well: none is waited for."""
    easy = spec.upgrade.model_copy(update={"approval": Approval.AUTOMATIC, "preflight": Preflight(enabled=False)})
    nodes = {name: replace(node, ready="Unknown") for name, node in observation.nodes.items()}
    well = replace(observation, nodes=nodes, secrets_namespace_terminating=False)
    return spec.model_copy(update={"upgrade": easy}), well


def _step(
    decision: Decision, observation: Observation, released: Mapping[str, Any], upgrade_path: UpgradePath, spec: Spec
) -> Iterator[SimulatedStep]:
    match decision.action:
        case Apply(over=None) if not released:
            nodes = len(observation.nodes)
            message = f"{decision.message}, on {nodes} hybrid {'node' if nodes == 1 else 'nodes'}"
            yield SimulatedStep(SimulatedStepKind.INSTALL, message)
        case Apply(desired_release=desired):
            if spec.upgrade.approval is Approval.MANUAL:
                yield SimulatedStep(SimulatedStepKind.APPROVAL, "spec.upgrade.approval is Manual: waiting for a person")
            message = f"{decision.message}; {_restarts(desired, observation)}{_source(desired, released)}"
            changed = tuple(changed_paths(released, _as_released(desired, released)))
            if not upgrade_path.left:
                yield SimulatedStep(SimulatedStepKind.CONFIGURE, message, changed)
                return
            if spec.upgrade.preflight.enabled:
                yield SimulatedStep(
                    SimulatedStepKind.PREFLIGHT,
                    f"checking Cilium {desired.chart_version} on every node with a Ready agent",
                )
            notes = notes_of(CiliumVersion.parse(desired.chart_version)) if upgrade_path.enters_minor else ()
            yield SimulatedStep(SimulatedStepKind.UPGRADE, message, changed, notes)
        case Unlock():
            yield SimulatedStep(SimulatedStepKind.UNLOCK, decision.message)
        case AddFinalizer():
            message = "the resource's deletion waits from now on until Cilium is uninstalled"
            yield SimulatedStep(SimulatedStepKind.ADD_FINALIZER, f"{decision.message}: {message}")
        case RemoveFinalizer():
            yield SimulatedStep(
                SimulatedStepKind.REMOVE_FINALIZER,
                f"{decision.message}: the resource's deletion waits for nothing from now on",
            )
        case (
            LabelRollback()
            | EndPreflight()
            | ListVersions()
            | RestartAgents()
            | WriteRecord()
            | Rollback()
            | StartPreflight()
            | Uninstall()
            | Nothing()
        ):
            return
        case unknown:
            assert_never(unknown)


def _as_released(desired: DesiredRelease, released: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values as far as they are known without the chart: the images that were released are named by it."""
    return desired.values if desired.mirror is None else with_mirror(desired.values, released, desired.mirror)


def _source(desired: DesiredRelease, released: Mapping[str, Any]) -> str:
    if desired.mirror is None or named_from(released, desired.mirror):
        return ""
    return f"; every image comes from {desired.mirror}"


def _restarts(desired: DesiredRelease, observation: Observation) -> str:
    running = None if observation.agent_set is None else observation.agent_set.config_digest
    if desired.values["podAnnotations"][CONFIG_DIGEST] == running:
        return "no agent restarts, and Cilium's operator where its own configuration changed"
    nodes = len(observation.nodes)
    return f"the agent restarts on {nodes} hybrid {'node' if nodes == 1 else 'nodes'}"


def _after(action: Action, observation: Observation, now: datetime, has_finalizer: bool) -> tuple[Observation, bool]:
    """The cluster once an action worked, as far as the next decision looks at it."""
    match action:
        case Apply(desired_release=desired, revision=number):
            made = Revision(
                number=number,
                status="deployed",
                made_at=now,
                managed=True,
                chart_version=desired.chart_version,
                chart_digest=desired.pinned_digest or "",
                values_digest=desired.values_digest,
                ref_digest=digest(desired.chart_ref),
            )
            return replace(observation, revisions=(*observation.revisions, made)), has_finalizer
        case Unlock():
            *before, newest = observation.revisions
            return replace(observation, revisions=(*before, replace(newest, status="failed"))), has_finalizer
        case WriteRecord(record=record):
            return replace(observation, record=record), has_finalizer
        case AddFinalizer():
            return observation, True
        case (
            RemoveFinalizer()
            | LabelRollback()
            | EndPreflight()
            | ListVersions()
            | RestartAgents()
            | Rollback()
            | StartPreflight()
            | Uninstall()
            | Nothing()
        ):
            # Of these only the first is met: a plan is of a resource that stays, and of what goes well.
            return observation, False
        case unknown:
            assert_never(unknown)


def changed_paths(before: Mapping[str, Any], after: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """The paths at which values differ, each with what happens there; never a value, which may be secret."""
    for name in sorted({*before, *after}):
        path = f"{above}{name}"
        if path == f"podAnnotations.{CONFIG_DIGEST}":
            continue
        if name not in after:
            yield f"{path} (taken out)"
        elif name not in before:
            yield f"{path} (added)"
        elif isinstance(before[name], Mapping) and isinstance(after[name], Mapping):
            yield from changed_paths(before[name], after[name], f"{path}.")
        elif before[name] != after[name] or type(before[name]) is not type(after[name]):
            yield f"{path} (changed)"
