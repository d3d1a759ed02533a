"""The steps that a spec would lead to: the operator's own decisions, on a simulated cluster."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, assert_never

from cilium_hybrid.api.status import PlanPhase, PlanStep, Status
from cilium_hybrid.api.upgrade import Approval, Preflight
from cilium_hybrid.api.v1alpha1 import FINALIZER, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    Decision,
    EndPreflight,
    ListVersions,
    MarkRevision,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.classify import classify
from cilium_hybrid.plan.decide import decide, refuse
from cilium_hybrid.plan.inputs import UNDECIDED, ReconcileInput, Resource, SpecEvaluation
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.recording import known_record
from cilium_hybrid.plan.registry_mirror import uses_mirror, with_mirror
from cilium_hybrid.plan.release import DesiredRelease
from cilium_hybrid.plan.rollout.operator_deployment import without_old_operator_stopped_first
from cilium_hybrid.plan.upgrade.path import UpgradePath, find_upgrade_path
from cilium_hybrid.plan.values import CONFIG_DIGEST, digest
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.supported_minors import minor_of
from cilium_hybrid.rules.text import count_of

_MAX_DECISIONS: Final = 100
"""More than any spec leads to; it ends a simulation that would never end."""


class SimulatedStepKind(StrEnum):
    """The kind of a step."""

    UNLOCK = "Unlock"
    INSTALL = "Install"
    CONFIGURE = "Configure"
    APPROVAL = "Approval"
    PREFLIGHT = "Preflight"
    UPGRADE = "Upgrade"
    ADD_FINALIZER = "AddFinalizer"
    REMOVE_FINALIZER = "RemoveFinalizer"


@dataclass(frozen=True, slots=True)
class SimulatedStep:
    """One step; `changed` are the paths of the values that it changes, `notes` the upgrade notes to read before it."""

    kind: SimulatedStepKind
    message: str
    changed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Simulation:
    """The steps, and the last decision: there is nothing left to do, or something blocks."""

    steps: tuple[SimulatedStep, ...]
    end: Decision


def simulate(
    spec: Spec,
    observation: Observation,
    released: Mapping[str, Any],
    now: datetime,
    *,
    has_finalizer: bool,
    available: Sequence[CiliumVersion] = (),
    planned: Status | None = None,
) -> Simulation:
    """Return every step from the observed cluster to what the spec, which is valid, asks for.

    `released` are the values of the deployed release. `available` are the versions in the registry. `planned` is the
    status with the plan in progress, if any.
    """
    steps: list[SimulatedStep] = []
    planned, released = planned or Status(), without_old_operator_stopped_first(released)
    cluster = observation
    simulated, observation = _without_waiting(spec, observation)
    decision = UNDECIDED
    for _ in range(_MAX_DECISIONS):
        path = find_upgrade_path(simulated, observation, planned, available)
        if path.refusal is not None:
            return Simulation(tuple(steps), refuse((path.refusal,)))
        pending = tuple(PlanStep(version=version, phase=PlanPhase.PENDING) for version in path.versions)
        planned = Status(plan=pending, plan_digest=path.digest)
        resource = Resource(0, "", {"suspend": spec.suspend}, {}, finalizers=(FINALIZER,) if has_finalizer else ())
        decision = decide(_evaluation(simulated, path, planned, resource, observation, now))
        # A rollback is not a step towards what the spec asks for.
        if isinstance(decision.action, Nothing | Rollback):
            break
        approved = any(step.kind is SimulatedStepKind.APPROVAL for step in steps)
        following = _steps_of(decision, cluster, released, path, spec)
        # One approval covers the whole plan.
        steps += [step for step in following if not (approved and step.kind is SimulatedStepKind.APPROVAL)]
        if isinstance(decision.action, Apply):
            released = _released_values(decision.action.desired_release, released)
        observation, has_finalizer = _after(decision.action, observation, now, has_finalizer)
    return Simulation(tuple(steps), decision)


def _without_waiting(spec: Spec, observation: Observation) -> tuple[Spec, Observation]:
    """Assume that the plan is approved and that everything the operator waits for succeeds at once."""
    upgrade = spec.upgrade.model_copy(update={"approval": Approval.AUTOMATIC, "preflight": Preflight(enabled=False)})
    # Without nodes, nothing has to be verified between two steps.
    ready = replace(observation, nodes={}, cilium_nodes={}, secrets_namespace_terminating=False)
    return spec.model_copy(update={"upgrade": upgrade}), ready


def _evaluation(
    spec: Spec, path: UpgradePath, planned: Status, resource: Resource, observation: Observation, now: datetime
) -> SpecEvaluation:
    reconcile_input = ReconcileInput(
        resource=resource,
        lenient_spec=LenientSpec(),
        observation=observation,
        now=now,
        failure_of=lambda _: None,
    )
    return SpecEvaluation(
        input=reconcile_input,
        previous=planned,
        release=classify(observation),
        record=known_record(observation),
        upgrade=spec.upgrade,
        spec=spec,
        upgrade_path=path,
    )


def _steps_of(
    decision: Decision, observation: Observation, released: Mapping[str, Any], path: UpgradePath, spec: Spec
) -> Iterator[SimulatedStep]:
    match decision.action:
        case Apply(replaces=None) if not released:
            message = f"{decision.message} on {_hybrid_nodes(observation)}"
            yield SimulatedStep(SimulatedStepKind.INSTALL, message)
        case Apply(desired_release=desired):
            if spec.upgrade.approval is Approval.MANUAL:
                message = "waiting for approval, because spec.upgrade.approval is Manual"
                yield SimulatedStep(SimulatedStepKind.APPROVAL, message)
            message = f"{decision.message}; {_restarts(desired, observation)}{_mirror(desired, released)}"
            changed = tuple(changed_paths(released, _released_values(desired, released)))
            if not path.remaining:
                yield SimulatedStep(SimulatedStepKind.CONFIGURE, message, changed)
                return
            if spec.upgrade.preflight.enabled:
                checking = f"checking Cilium {desired.chart_version} on every node with a Ready agent"
                yield SimulatedStep(SimulatedStepKind.PREFLIGHT, checking)
            notes = minor_of(CiliumVersion.parse(desired.chart_version)).notes if path.enters_minor else ()
            yield SimulatedStep(SimulatedStepKind.UPGRADE, message, changed, notes)
        case Unlock():
            yield SimulatedStep(SimulatedStepKind.UNLOCK, decision.message)
        case AddFinalizer():
            message = f"{decision.message}; deleting the resource will uninstall Cilium first"
            yield SimulatedStep(SimulatedStepKind.ADD_FINALIZER, message)
        case RemoveFinalizer():
            message = f"{decision.message}; deleting the resource will leave Cilium running"
            yield SimulatedStep(SimulatedStepKind.REMOVE_FINALIZER, message)
        case (
            MarkRevision()
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


def _released_values(desired: DesiredRelease, released: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values as far as they are known without the chart: `released` names the images that it uses."""
    return desired.values if desired.mirror is None else with_mirror(desired.values, released, desired.mirror)


def _mirror(desired: DesiredRelease, released: Mapping[str, Any]) -> str:
    if desired.mirror is None or uses_mirror(released, desired.mirror):
        return ""
    return f"; all images come from {desired.mirror}"


def _restarts(desired: DesiredRelease, observation: Observation) -> str:
    running = None if observation.agent_set is None else observation.agent_set.config_digest
    if desired.values["podAnnotations"][CONFIG_DIGEST] == running:
        return "no agent restarts; the Cilium operator restarts if its configuration changes"
    return f"the agent restarts on {_hybrid_nodes(observation)}"


def _hybrid_nodes(observation: Observation) -> str:
    return count_of(len(observation.nodes), "hybrid node", "hybrid nodes")


def _after(action: Action, observation: Observation, now: datetime, has_finalizer: bool) -> tuple[Observation, bool]:
    """Return the cluster after a successful action, as far as it matters for the next decision."""
    match action:
        case Apply(desired_release=desired, revision=number):
            created = Revision(
                number=number,
                status="deployed",
                created_at=now,
                managed=True,
                chart_version=desired.chart_version,
                chart_digest=desired.pinned_digest or "",
                values_digest=desired.values_digest,
                ref_digest=digest(desired.chart_ref),
                spec_digest=action.spec_digest,
            )
            revisions = (*observation.revisions, created)
            record = action.record or observation.record
            return replace(observation, revisions=revisions, record=record), has_finalizer
        case Unlock():
            *before, newest = observation.revisions
            unlocked = replace(newest, status="failed")
            record = action.record or observation.record
            return replace(observation, revisions=(*before, unlocked), record=record), has_finalizer
        case WriteRecord(record=record):
            return replace(observation, record=record), has_finalizer
        case MarkRevision(revision=number, mark=mark, record=record):
            marked = tuple(
                replace(found, verified=mark == "verified", rejected=mark == "rejected")
                if found.number == number
                else found
                for found in observation.revisions
            )
            return replace(observation, revisions=marked, record=record), has_finalizer
        case AddFinalizer():
            return observation, True
        case (
            RemoveFinalizer()
            | EndPreflight()
            | ListVersions()
            | RestartAgents()
            | Rollback()
            | StartPreflight()
            | Uninstall()
            | Nothing()
        ):
            # Only the first of these occurs: the resource is not deleted, and nothing fails.
            return observation, False
        case unknown:
            assert_never(unknown)


def changed_paths(before: Mapping[str, Any], after: Mapping[str, Any], parent: str = "") -> Iterator[str]:
    """Return the paths at which the values differ, with the kind of change; never a value, which may be secret."""
    for name in sorted({*before, *after}):
        path = f"{parent}{name}"
        if path == f"podAnnotations.{CONFIG_DIGEST}":
            continue
        if name not in after:
            yield f"{path} (removed)"
        elif name not in before:
            yield f"{path} (added)"
        elif isinstance(before[name], Mapping) and isinstance(after[name], Mapping):
            yield from changed_paths(before[name], after[name], f"{path}.")
        elif before[name] != after[name] or type(before[name]) is not type(after[name]):
            yield f"{path} (changed)"
