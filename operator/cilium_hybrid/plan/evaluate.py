"""What one pass makes of what it saw: a decision, and the status that tells of it. No input and no output."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pydantic import ValidationError

from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.status import Status, parse_status
from cilium_hybrid.api.v1alpha1 import RolloutStrategy, Spec, parse_spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Decision
from cilium_hybrid.plan.decide import decide, refuse
from cilium_hybrid.plan.deletion import DeletionInput, decide_deletion
from cilium_hybrid.plan.inputs import Failure, Resource, Situation
from cilium_hybrid.plan.observation import Certificate, Difference, Lookups, Observation
from cilium_hybrid.plan.release import is_managed, is_release, released_digest
from cilium_hybrid.plan.rollout.rollback import rollback_state_of
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, RolloutPlan, plan_rollout
from cilium_hybrid.plan.status.build import next_status
from cilium_hybrid.plan.status.certificates import certificate_findings
from cilium_hybrid.plan.status.ipam import evaluate_ipam
from cilium_hybrid.plan.status.nodes import NodeReadiness, Since, evaluate_nodes
from cilium_hybrid.plan.status.report import Report
from cilium_hybrid.plan.status.upgrade_plan import plan_steps
from cilium_hybrid.plan.upgrade.gates import Checks, told_preflight
from cilium_hybrid.plan.upgrade.path import VERSIONS_LAST, UpgradePath, find_upgrade_path
from cilium_hybrid.plan.upgrade.preflight import PreflightEvaluation, PreflightProgress, evaluate_preflight, taints_of
from cilium_hybrid.plan.validate import validate
from cilium_hybrid.plan.values import CONFIG_DIGEST


@dataclass(frozen=True, slots=True)
class Sight:
    """All that a pass looks at.

    `survey` and `available` (the registry's versions) are None where they were not looked up. `published` are the same
    as they were some hours ago. `blind`: how long nothing could be seen before. `failure_of`: how the last try of the
    same thing went wrong. `differences` to what is released, None where that is not known.
    """

    resource: Resource
    observation: Observation
    now: datetime
    failure_of: Callable[[object], Failure | None]
    lookups: Lookups | None = None
    available: Sequence[CiliumVersion] | None = None
    chart_versions: Sequence[CiliumVersion] | None = None
    since: Since | None = None
    blind: timedelta = timedelta()
    preflight: PreflightProgress | None = None
    registries: Sequence[str] = ()
    own_node: str | None = None
    differences: Sequence[Difference] | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What a pass made of it; `asked` is the input that a failure is remembered by.

    `surveyed`: something was looked up for it that is not watched. `again`: when time alone changes the answer.
    `preflight`: what the next pass remembers of it. `certificates`: those that it saw.
    """

    decision: Decision
    status: Status
    nodes: NodeReadiness
    previous: Status
    asked: object
    surveyed: bool = False
    again: datetime | None = None
    preflight: PreflightProgress | None = None
    certificates: Sequence[Certificate] = ()


def look(sight: Sight) -> View:
    """Judge, decide, and say so."""
    resource, observation, previous = sight.resource, sight.observation, _previous(sight.resource)
    if resource.deleting:
        asked: object = ("removal", resource.generation)
        removal = DeletionInput(resource.spec, observation, resource.has_finalizer, sight.now, sight.failure_of(asked))
        return _without_a_spec(sight, previous, decide_deletion(removal), asked)
    verdict = validate(resource.spec, observation, sight.lookups, sight.registries, managed=is_managed(observation))
    try:
        spec = parse_spec(resource.spec)
    except (ValidationError, RecursionError):
        return _without_a_spec(sight, previous, refuse(verdict.refusals), None)
    upgrade_path = find_upgrade_path(spec, observation, previous, resource.generation, sight.available)
    refusals = verdict.refusals or (() if upgrade_path.refusal is None else (upgrade_path.refusal,))
    released, rollout = _rollout(sight, spec, upgrade_path, previous)
    checks, checked = _checks(sight, spec, previous)
    asked = (
        resource.generation,
        upgrade_path.next.chart_version,
        upgrade_path.next.pinned_digest,
        upgrade_path.next.values_digest,
    )
    situation = Situation(
        spec=spec,
        observation=observation,
        upgrade_path=upgrade_path,
        violations=refusals,
        now=sight.now,
        failure=sight.failure_of(asked),
        has_finalizer=resource.has_finalizer,
        rollout=rollout,
        generation=resource.generation,
        checks=checks,
        approved=resource.approved,
    )
    decision = decide(situation)
    nodes = evaluate_nodes(observation, released, _since(sight, previous), sight.now)
    report = Report(
        previous=previous,
        generation=resource.generation,
        target=spec.version,
        chart_ref=spec.chart.ref,
        observation=observation,
        decision=decision,
        nodes=nodes,
        now=sight.now,
        in_sync=situation.in_sync,
        warnings=verdict.warnings,
        rollout=None if spec.suspend or refusals else rollout.status,
        plan=plan_steps(situation, decision, previous),
        plan_digest=upgrade_path.digest,
        preflight=told_preflight(decision, checks),
        chart_versions=sight.chart_versions,
        ipam=evaluate_ipam(observation, resource.spec),
        certificates=certificate_findings(observation, resource.spec, sight.now),
        differences=sight.differences,
    )
    return View(
        decision,
        next_status(report),
        nodes,
        previous,
        asked,
        sight.lookups is not None,
        _again(sight, upgrade_path, rollout, checked),
        None if checked is None else checked.progress,
        observation.certificates,
    )


def _again(
    sight: Sight, upgrade_path: UpgradePath, rollout: RolloutPlan, checked: PreflightEvaluation | None
) -> datetime | None:
    times = (
        rollout.again,
        None if checked is None else checked.deadline,
        # The registry may have the missing version by then.
        None if upgrade_path.refusal is None else sight.now + VERSIONS_LAST,
    )
    return min((time for time in times if time is not None), default=None)


def _rollout(sight: Sight, spec: Spec, upgrade_path: UpgradePath, previous: Status) -> tuple[str | None, RolloutPlan]:
    """The configuration that the agents shall run, and how they get there."""
    observation, settings = sight.observation, spec.upgrade.rollout
    newest, released = observation.newest, released_digest(observation)
    back = rollback_state_of(observation, upgrade_path.goal, sight.resource.generation) is not None
    managed = newest is not None and newest.deployed
    if managed and newest is not None and is_release(newest, upgrade_path.present):
        released = upgrade_path.present.values["podAnnotations"][CONFIG_DIGEST]
    elif not back and not (managed and upgrade_path.enters_minor):
        # Another configuration is about to be released: whoever would be moved now would be moved twice.
        return released, NO_ROLLOUT
    if settings.strategy is RolloutStrategy.ROLLING_UPDATE:
        return released, NO_ROLLOUT
    if back:
        # What is gone back to has proven itself, and nodes wait for it.
        settings = settings.model_copy(update={"soak": "0s"})
    before = previous.rollout
    if before is not None and sight.blind:
        before = before.model_copy(update={"last_progress_at": before.last_progress_at + sight.blind})
    return released, plan_rollout(observation, released, settings, before, sight.own_node, sight.now, back=back)


def _checks(sight: Sight, spec: Spec, previous: Status) -> tuple[Checks, PreflightEvaluation | None]:
    """The preflight as far as it is; what was told of an earlier generation is of another spec."""
    current = previous.observed_generation == sight.resource.generation
    told, timeout = previous.preflight if current else None, duration(spec.upgrade.preflight.timeout)
    before = sight.preflight
    if before is not None and sight.blind:
        before = replace(before, at=before.at + sight.blind)
    verdict = evaluate_preflight(sight.observation, before, timeout, sight.now)
    running = sight.observation.preflight.release is not None
    checks = Checks(told, sight.observation.preflight, verdict, taints_of(sight.observation))
    return checks, verdict if running else None


def _without_a_spec(sight: Sight, previous: Status, decision: Decision, asked: object) -> View:
    """The view of a resource that is being deleted, or whose spec cannot be read."""
    resource, observation = sight.resource, sight.observation
    nodes = evaluate_nodes(observation, released_digest(observation), _since(sight, previous), sight.now)
    target = resource.spec.get("version")
    report = Report(
        previous=previous,
        generation=resource.generation,
        target=target if isinstance(target, str) else None,
        chart_ref="",
        observation=observation,
        decision=decision,
        nodes=nodes,
        now=sight.now,
        ipam=evaluate_ipam(observation, resource.spec),
        certificates=certificate_findings(observation, resource.spec, sight.now),
        differences=sight.differences,
    )
    return View(decision, next_status(report), nodes, previous, asked, certificates=observation.certificates)


def _since(sight: Sight, previous: Status) -> Since:
    """Since when nodes fail; the status remembers those it names over a restart."""
    return {(node.name, node.reason): node.since for node in previous.nodes.unready} | dict(sight.since or {})


def _previous(resource: Resource) -> Status:
    """The status as last written; an empty one where another version of the operator wrote it differently."""
    return parse_status(resource.status) or Status()
