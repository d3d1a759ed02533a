"""The evaluation of a reconciliation's input: the next action and the new status. It does no input or output."""

from dataclasses import replace
from datetime import datetime

from pydantic import ValidationError

from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.status import Status, parse_status
from cilium_hybrid.api.upgrade import RolloutStrategy
from cilium_hybrid.api.v1alpha1 import Spec, parse_spec
from cilium_hybrid.plan.decide import decide, refuse
from cilium_hybrid.plan.deletion import decide_deletion
from cilium_hybrid.plan.inputs import Evaluation, ReconcileInput, SpecEvaluation
from cilium_hybrid.plan.observation import Observation
from cilium_hybrid.plan.release import ReleaseState, is_managed, is_release, release_state, released_digest
from cilium_hybrid.plan.rollout.rollback import rollback_state_of
from cilium_hybrid.plan.rollout.rollout import NO_ROLLOUT, RolloutPlan, plan_rollout
from cilium_hybrid.plan.status.build import build_status, node_readiness
from cilium_hybrid.plan.status.nodes import NodeReadiness
from cilium_hybrid.plan.upgrade.gates import PreflightCheck
from cilium_hybrid.plan.upgrade.path import VERSIONS_MAX_AGE, UpgradePath, find_upgrade_path
from cilium_hybrid.plan.upgrade.preflight import evaluate_preflight, taints_of
from cilium_hybrid.plan.validate import validate
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.rules.spec import ValidationResult


def evaluate(reconcile_input: ReconcileInput) -> Evaluation:
    """Validate the spec, decide on the next action and build the status."""
    # A status that another version of the operator wrote may be unreadable, which is the same as none.
    previous = parse_status(reconcile_input.resource.status) or Status()
    if reconcile_input.resource.deleting:
        evaluation = _evaluate_deletion(reconcile_input, previous)
    else:
        evaluation = _evaluate_spec(reconcile_input, previous)
    nodes = node_readiness(evaluation)
    return replace(
        evaluation,
        status=build_status(evaluation, nodes),
        unready_since=nodes.since,
        recheck_at=_recheck_at(evaluation, nodes),
    )


def is_in_sync(observation: Observation, upgrade_path: UpgradePath) -> bool:
    """Whether the release is all that the spec asks for."""
    state = release_state(observation, upgrade_path.next)
    return not upgrade_path.remaining and state is ReleaseState.IN_SYNC


def _evaluate_deletion(reconcile_input: ReconcileInput, previous: Status) -> Evaluation:
    key = ("deletion", reconcile_input.resource.generation)
    evaluation = Evaluation(
        input=reconcile_input,
        previous=previous,
        config_digest=released_digest(reconcile_input.observation),
        failure_key=key,
        failure=reconcile_input.failure_of(key),
    )
    return replace(evaluation, decision=decide_deletion(evaluation))


def _evaluate_spec(reconcile_input: ReconcileInput, previous: Status) -> Evaluation:
    observation = reconcile_input.observation
    validation = validate(
        reconcile_input.resource.spec,
        reconcile_input.lenient_spec,
        observation,
        reconcile_input.lookups,
        reconcile_input.registries,
        managed=is_managed(observation),
    )
    try:
        spec = parse_spec(reconcile_input.resource.spec)
    except (ValidationError, RecursionError):
        return Evaluation(
            input=reconcile_input,
            previous=previous,
            violations=validation.refusals,
            config_digest=released_digest(observation),
            decision=refuse(validation.refusals),
        )
    return _evaluate_parsed(reconcile_input, previous, validation, spec)


def _evaluate_parsed(
    reconcile_input: ReconcileInput, previous: Status, validation: ValidationResult, spec: Spec
) -> SpecEvaluation:
    generation, observation = reconcile_input.resource.generation, reconcile_input.observation
    path = find_upgrade_path(spec, observation, previous, generation, reconcile_input.available_versions)
    config_digest, rollout = _plan_rollout(reconcile_input, previous, spec, path)
    key = (generation, path.next.chart_version, path.next.pinned_digest, path.next.values_digest)
    evaluation = SpecEvaluation(
        input=reconcile_input,
        previous=previous,
        spec=spec,
        upgrade_path=path,
        violations=validation.refusals or (() if path.refusal is None else (path.refusal,)),
        warnings=validation.warnings,
        config_digest=config_digest,
        in_sync=is_in_sync(observation, path),
        rollout=rollout,
        preflight=_check_preflight(reconcile_input, previous, spec),
        failure_key=key,
        failure=reconcile_input.failure_of(key),
    )
    return replace(evaluation, decision=decide(evaluation))


def _plan_rollout(
    reconcile_input: ReconcileInput, previous: Status, spec: Spec, path: UpgradePath
) -> tuple[str | None, RolloutPlan]:
    """Return the configuration that the agents should run, and the plan of its rollout."""
    observation, settings = reconcile_input.observation, spec.upgrade.rollout
    newest, digest = observation.newest, released_digest(observation)
    rolling_back = rollback_state_of(observation, path.target, reconcile_input.resource.generation) is not None
    deployed = newest is not None and newest.deployed
    if deployed and newest is not None and is_release(newest, path.current):
        digest = path.current.values["podAnnotations"][CONFIG_DIGEST]
    elif not rolling_back and not (deployed and path.enters_minor):
        # Another configuration is about to be deployed: an agent that is restarted now would be restarted twice.
        return digest, NO_ROLLOUT
    if settings.strategy is RolloutStrategy.ROLLING_UPDATE:
        return digest, NO_ROLLOUT
    if rolling_back:
        # The revision to roll back to is verified already, and nodes with failing agents are waiting for it.
        settings = settings.model_copy(update={"soak": "0s"})
    before = previous.rollout
    if before is not None and reconcile_input.unobserved_for:
        last_progress_at = before.last_progress_at + reconcile_input.unobserved_for
        before = before.model_copy(update={"last_progress_at": last_progress_at})
    return digest, plan_rollout(
        observation,
        digest,
        settings,
        before,
        reconcile_input.own_node,
        reconcile_input.now,
        rolling_back=rolling_back,
    )


def _check_preflight(reconcile_input: ReconcileInput, previous: Status, spec: Spec) -> PreflightCheck:
    """Return the state of the preflight check; a result of an earlier generation is of another spec."""
    observation, before = reconcile_input.observation, reconcile_input.preflight_progress
    is_current = previous.observed_generation == reconcile_input.resource.generation
    if before is not None and reconcile_input.unobserved_for:
        before = replace(before, at=before.at + reconcile_input.unobserved_for)
    timeout = duration(spec.upgrade.preflight.timeout)
    return PreflightCheck(
        previous.preflight if is_current else None,
        observation.preflight,
        evaluate_preflight(observation, before, timeout, reconcile_input.now),
        taints_of(observation),
    )


def _recheck_at(evaluation: Evaluation, nodes: NodeReadiness) -> datetime | None:
    """Return the next time at which the result changes although nothing else does."""
    now, failure, preflight = evaluation.now, evaluation.failure, evaluation.preflight.in_progress
    no_path = isinstance(evaluation, SpecEvaluation) and evaluation.upgrade_path.refusal is not None
    times = (
        nodes.grace_ends_at(now),
        None if failure is None else failure.not_before,
        evaluation.rollout.recheck_at,
        None if preflight is None else preflight.deadline,
        # The registry may have the missing version by then.
        now + VERSIONS_MAX_AGE if no_path else None,
    )
    return min((time for time in times if time is not None and time > now), default=None)
