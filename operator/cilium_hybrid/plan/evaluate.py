"""The evaluation of a reconciliation's input: the next action and the new status. It does no input or output."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.schema import without_nulls
from cilium_hybrid.api.status import Status, parse_status
from cilium_hybrid.api.upgrade import Rollout, RolloutStrategy, Upgrade
from cilium_hybrid.api.v1alpha1 import SPEC_SCHEMA, Spec, parse_spec
from cilium_hybrid.plan.actions import Apply, MarkRevision, RestartAgents, Rollback, Unlock, WriteRecord
from cilium_hybrid.plan.classify import ReleaseClass, classify
from cilium_hybrid.plan.decide import attempt, decide, failure_key
from cilium_hybrid.plan.deletion import decide_deletion
from cilium_hybrid.plan.in_flight import LOCKED_AFTER, is_on_the_way_back
from cilium_hybrid.plan.inputs import Evaluation, ReconcileInput, SpecEvaluation
from cilium_hybrid.plan.new_work import is_in_sync, may_continue_rollout
from cilium_hybrid.plan.node_configs import ipam_override
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.record import Record, RestartedNode, RolloutRecord
from cilium_hybrid.plan.recording import known_record
from cilium_hybrid.plan.release import is_release, released_digest
from cilium_hybrid.plan.rollout.persistence import without_choice
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutInput, RolloutPlan
from cilium_hybrid.plan.rollout.rollout import plan_rollout
from cilium_hybrid.plan.rollout.timers import advance_timers, healthy_outdated, still_replaced
from cilium_hybrid.plan.status.build import build_status, node_readiness
from cilium_hybrid.plan.status.nodes import NodeReadiness
from cilium_hybrid.plan.upgrade.gates import PreflightCheck, preflight_digest
from cilium_hybrid.plan.upgrade.path import VERSIONS_MAX_AGE, UpgradePath, find_upgrade_path
from cilium_hybrid.plan.upgrade.preflight import evaluate_preflight, taints_of
from cilium_hybrid.plan.validate import validate
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.rules.spec import ValidationResult

_TIME_STANDS_STILL: Final = frozenset({Reason.SUSPENDED, Reason.AWAITING_APPROVAL, Reason.API_UNAVAILABLE})


def evaluate(reconcile_input: ReconcileInput) -> Evaluation:
    """Validate the spec, decide on the next action and build the status."""
    evaluation = _begin(reconcile_input)
    if reconcile_input.resource.deleting:
        evaluation = replace(evaluation, decision=decide_deletion(evaluation))
    else:
        evaluation = _with_rollout(_validate(evaluation))
        evaluation = replace(evaluation, decision=decide(evaluation))
    evaluation = _with_recorded_rollout(_with_failure(evaluation))
    nodes = node_readiness(evaluation)
    return replace(
        evaluation,
        status=build_status(evaluation, nodes),
        unready_since=nodes.since,
        healthy_before=_healthy_before(evaluation),
        counts_time=_counts_time(evaluation),
        recheck_at=_recheck_at(evaluation, nodes),
    )


def _begin(reconcile_input: ReconcileInput) -> Evaluation:
    observation = reconcile_input.observation
    digest = _expected_digest(reconcile_input)
    return Evaluation(
        input=reconcile_input,
        # A status that another version of the operator wrote may be unreadable, which is the same as none.
        previous=parse_status(reconcile_input.resource.status) or Status(),
        release=classify(observation),
        record=_record_of(reconcile_input),
        upgrade=_read_upgrade(reconcile_input.resource.spec),
        config_digest=digest,
        unready_for=advance_timers(observation, reconcile_input.unready_for, reconcile_input.elapsed),
    )


def _record_of(reconcile_input: ReconcileInput) -> Record:
    """Return what is remembered: the record, and of the rollout what this process knows, which is newer."""
    observation = reconcile_input.observation
    record = known_record(observation)
    if classify(observation).absent:
        return record
    if observation.record is None:
        # A value of the annotation that was handled before must not act again because the record is lost.
        record = replace(record, handled=reconcile_input.resource.requested if record.rebuilt else "")
    return replace(record, rollout=reconcile_input.rollout_before or record.rollout)


def _expected_digest(reconcile_input: ReconcileInput) -> str | None:
    """Return the configuration that the agents should run: that of the newest revision, else that of the DaemonSet.

    The DaemonSet may be observed later than the revision that changes it.
    """
    observation = reconcile_input.observation
    newest = observation.newest
    payload = observation.payloads.get(newest.number) if newest is not None and newest.deployed else None
    known = None if payload is None else payload.config_digest
    return known or released_digest(observation)


def _read_upgrade(spec: Mapping[str, Any]) -> Upgrade:
    """Return spec.upgrade even if another part of the spec cannot be parsed; the defaults if it cannot be read."""
    raw = spec.get("upgrade")
    if not isinstance(raw, Mapping):
        return Upgrade()
    try:
        return Upgrade.model_validate_json(json.dumps(without_nulls(raw, SPEC_SCHEMA["properties"]["upgrade"])))
    except (ValidationError, RecursionError):
        return Upgrade()


def _validate(evaluation: Evaluation) -> Evaluation:
    """Add violations and warnings; of a spec that can be parsed also the upgrade path and the preflight check."""
    reconcile_input, observation = evaluation.input, evaluation.observation
    validation = validate(
        reconcile_input.resource.spec,
        reconcile_input.lenient_spec,
        observation,
        reconcile_input.lookups,
        reconcile_input.registries,
        managed=_is_managed(evaluation),
    )
    try:
        spec = parse_spec(reconcile_input.resource.spec)
    except (ValidationError, RecursionError):
        return replace(evaluation, violations=validation.refusals, warnings=validation.warnings)
    return _with_spec(evaluation, validation, spec)


def _is_managed(evaluation: Evaluation) -> bool:
    """Whether what runs limits the spec: not if it is someone else's, which must not be changed for the spec."""
    newest, release = evaluation.observation.newest, evaluation.release
    if release is ReleaseClass.NOT_OWNED:
        return False
    return not release.foreign or newest is None or evaluation.record.resumed == newest.number


def _with_spec(evaluation: Evaluation, validation: ValidationResult, spec: Spec) -> SpecEvaluation:
    reconcile_input, observation = evaluation.input, evaluation.observation
    path = find_upgrade_path(spec, observation, evaluation.previous, reconcile_input.available_versions)
    newest, digest = observation.newest, evaluation.config_digest
    if newest is not None and newest.deployed and is_release(newest, path.current):
        digest = path.current.values["podAnnotations"][CONFIG_DIGEST]
    return SpecEvaluation(
        input=reconcile_input,
        previous=evaluation.previous,
        release=evaluation.release,
        record=evaluation.record,
        upgrade=spec.upgrade,
        spec=spec,
        upgrade_path=path,
        violations=validation.refusals or (() if path.refusal is None else (path.refusal,)),
        warnings=validation.warnings,
        config_digest=digest,
        in_sync=is_in_sync(observation, evaluation.record, path),
        preflight=_check_preflight(evaluation, spec, path),
        unready_for=evaluation.unready_for,
    )


def _with_rollout(evaluation: Evaluation) -> Evaluation:
    """Add the plan of the rollout of the newest revision. Without one to roll out, what is known of it is kept."""
    reconcile_input, observation, record = evaluation.input, evaluation.observation, evaluation.record
    before = record.rollout
    newest = observation.newest
    if newest is None or not newest.deployed or observation.lost_watches:
        return replace(evaluation, rollout=replace(NO_ROLLOUT, record=before))
    rolling_back = is_on_the_way_back(evaluation, newest)
    plan = plan_rollout(
        RolloutInput(
            observation=observation,
            digest=evaluation.config_digest,
            settings=_settings(evaluation, newest),
            now=evaluation.now,
            before=before,
            previous=evaluation.previous.rollout,
            elapsed=reconcile_input.elapsed,
            observed=reconcile_input.observed,
            unready_for=evaluation.unready_for,
            healthy_before=reconcile_input.healthy_before,
            own_node=reconcile_input.own_node,
            may_start=rolling_back or _may_start(evaluation),
            judged=record.verified != newest.number and newest.rolled_back_to is None,
            rolling_back=rolling_back,
            rebuilt=record.rebuilt,
            suspects_due=record.suspects_due,
        )
    )
    if plan.record is not None:
        record = replace(record, suspects_due=False)
    return replace(evaluation, record=record, rollout=plan)


def _settings(evaluation: Evaluation, newest: Revision) -> Rollout:
    """Return how agents are restarted: by whom, the DaemonSet says, which the spec may not have reached yet."""
    rollout = evaluation.upgrade.rollout
    if _is_rolling_update(evaluation.observation):
        return rollout.model_copy(update={"strategy": RolloutStrategy.ROLLING_UPDATE})
    # A rollback sets updateStrategy OnDelete, whatever strategy the spec has.
    return rollout if newest.rolled_back_to is None else rollout.model_copy(update={"strategy": RolloutStrategy.GATED})


def _is_rolling_update(observation: Observation) -> bool:
    return observation.agent_set is not None and observation.agent_set.rolling_update


def _may_start(evaluation: Evaluation) -> bool:
    newest, rejected = evaluation.observation.newest, evaluation.record.rejected
    if not isinstance(evaluation, SpecEvaluation) or evaluation.violations or evaluation.spec.suspend:
        return False
    if newest is not None and rejected is not None and rejected.revision == newest.number:
        return False
    if ipam_override(evaluation.observation) is not None:
        return False
    return may_continue_rollout(evaluation.observation, evaluation.record, evaluation.upgrade_path)


def _with_recorded_rollout(evaluation: Evaluation) -> Evaluation:
    """Remember of the rollout what the record of the action says; an action that has to wait records nothing."""
    match evaluation.decision.action:
        case MarkRevision(canaries=canaries) if canaries:
            # The mark may have to wait for them, and the state of the rollout is needed until then.
            return evaluation
        case WriteRecord(record=record) | MarkRevision(record=record) | Rollback(record=record):
            return replace(evaluation, rollout=_recorded(evaluation.rollout, record.rollout))
        case Apply(record=record) | RestartAgents(record=record) | Unlock(record=record) if record is not None:
            return replace(evaluation, rollout=_recorded(evaluation.rollout, record.rollout))
        case _:
            return evaluation


def _recorded(plan: RolloutPlan, rollout: RolloutRecord | None) -> RolloutPlan:
    return replace(plan, record=rollout)


def _healthy_before(evaluation: Evaluation) -> Mapping[str, RestartedNode]:
    """Return the nodes whose healthy agent the DaemonSet controller may replace from now on, as restarted now."""
    action, observation = evaluation.decision.action, evaluation.observation
    gated = evaluation.upgrade.rollout.strategy is not RolloutStrategy.ROLLING_UPDATE
    if gated and not _is_rolling_update(observation):
        return {}
    digest = evaluation.config_digest
    if isinstance(action, Apply):
        # The controller begins while Helm still runs.
        digest = action.desired_release.values["podAnnotations"][CONFIG_DIGEST]
    newest = observation.newest
    planned = newest is not None and newest.deployed and not observation.lost_watches
    # Without a release, the agents were uninstalled: the next ones are those of another installation.
    forgotten = planned or evaluation.release.absent
    replaced = {} if forgotten else still_replaced(observation, evaluation.input.healthy_before)
    return {**replaced, **healthy_outdated(observation, digest, evaluation.input.healthy_before)}


def _with_failure(evaluation: Evaluation) -> Evaluation:
    """Add the last failure of the same action, which may have to wait."""
    decision = evaluation.decision
    key = failure_key(evaluation, decision.action)
    failure = evaluation.input.failure_of(key)
    attempted = attempt(evaluation, decision, failure)
    evaluation = replace(evaluation, failure_key=key, failure=failure, decision=attempted)
    if isinstance(decision.action, RestartAgents) and attempted is not decision:
        # Nothing is restarted until the next attempt, which chooses again.
        plan, record = evaluation.rollout, evaluation.observation.record
        return replace(evaluation, rollout=_recorded(plan, without_choice(plan.record, decision.action.pods, record)))
    return evaluation


def _check_preflight(evaluation: Evaluation, spec: Spec, path: UpgradePath) -> PreflightCheck:
    """Return the state of the preflight check; a result of another check says nothing about the next release."""
    reconcile_input, observation, reported = evaluation.input, evaluation.observation, evaluation.previous.preflight
    before = reconcile_input.preflight_progress
    wanted = preflight_digest(spec, path.next, evaluation.record.handled)
    timeout = duration(spec.upgrade.preflight.timeout)
    return PreflightCheck(
        reported if reported is not None and reported.digest == wanted else None,
        observation.preflight,
        evaluate_preflight(observation, before, timeout.total_seconds(), reconcile_input.elapsed),
        taints_of(observation),
    )


def _counts_time(evaluation: Evaluation) -> bool:
    """Whether the time until the next reconciliation counts: not while nothing may progress, as the way back may."""
    reason, newest, rejected = evaluation.decision.reason, evaluation.observation.newest, evaluation.record.rejected
    if evaluation.observation.lost_watches or reason in _TIME_STANDS_STILL:
        return False
    if reason is Reason.PREFLIGHT_RUNNING:
        return True
    if newest is not None and rejected is not None and rejected.revision == newest.number:
        return False
    if isinstance(evaluation.decision.action, MarkRevision):
        # The wait for canaries ends after a minute, which must not stand still.
        return True
    return not evaluation.violations or reason is Reason.ROLLING_BACK


def _recheck_at(evaluation: Evaluation, nodes: NodeReadiness) -> datetime | None:
    """Return the next time at which the result changes although nothing else does."""
    now, failure, preflight = evaluation.now, evaluation.failure, evaluation.preflight.in_progress
    no_path = isinstance(evaluation, SpecEvaluation) and evaluation.upgrade_path.refusal is not None
    times = (
        nodes.grace_ends_at(now),
        None if failure is None else failure.not_before,
        _after(now, evaluation.rollout.recheck_in),
        _after(now, _unlocked_in(evaluation)),
        None if preflight is None else _after(now, preflight.remaining),
        # The registry may have the missing version by then.
        now + VERSIONS_MAX_AGE if no_path else None,
    )
    return min((time for time in times if time is not None and time > now), default=None)


def _after(now: datetime, seconds: float | None) -> datetime | None:
    return None if seconds is None else now + timedelta(seconds=seconds)


def _unlocked_in(evaluation: Evaluation) -> float | None:
    """Return in how many seconds an operation of Helm counts as interrupted, None if there is none."""
    if not evaluation.release.in_progress:
        return None
    unchanged_for = evaluation.input.newest_unchanged_for
    remaining = [after - unchanged_for for after in (evaluation.input.unlock_after, LOCKED_AFTER)]
    return min((seconds for seconds in remaining if seconds > 0), default=None)
