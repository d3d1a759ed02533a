"""The choice of the next action. It is pure and total: every state has an answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.upgrade import OnFailure, RolloutStrategy
from cilium_hybrid.api.v1alpha1 import DeletionPolicy
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    AddFinalizer,
    Apply,
    Decision,
    EndPreflight,
    ListVersions,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    StartPreflight,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.observation import Record, Rejected, Revision
from cilium_hybrid.plan.release import (
    DesiredRelease,
    ReleaseState,
    initial_version,
    is_release,
    last_deployed,
    released_digest,
    spec_digest,
    spec_is_unchanged,
)
from cilium_hybrid.plan.rollout.operator_deployment import has_single_operator_node
from cilium_hybrid.plan.rollout.rollback import (
    foreign_revision,
    label_rollback,
    roll_back,
    rollback_state_of,
    verified_revision,
)
from cilium_hybrid.plan.rollout.rollout import RolloutStep, is_verified
from cilium_hybrid.plan.upgrade.gates import require_approval, require_preflight
from cilium_hybrid.plan.upgrade.path import UpgradePath
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.rules.rule import Violation, first_violation_and_count


def refuse(violations: Sequence[Violation]) -> Decision:
    """Change nothing, and report what is wrong with the spec."""
    return Decision(
        Nothing(),
        violations[0].reason,
        first_violation_and_count(violations),
        stalled=True,
        violations=tuple(violations),
    )


def decide(evaluation: SpecEvaluation) -> Decision:
    """Return one action; its effect is observed before the next one is chosen."""
    decision, failure = _end_leftover_preflight(evaluation, _choose(evaluation)), evaluation.failure
    if failure is None or isinstance(decision.action, Nothing):
        return decision
    if failure.is_backing_off(evaluation.now):
        return Decision(Nothing(), failure.reason, failure.with_next_attempt(), preflight=decision.preflight)
    if failure.not_before is None and isinstance(decision.action, Apply | StartPreflight):
        # The preflight check cannot start either, so a leftover of an earlier one must not wait for it.
        stalled = Decision(Nothing(), failure.reason, failure.message, stalled=True)
        return _end_leftover_preflight(evaluation, stalled)
    return decision


def _end_leftover_preflight(evaluation: SpecEvaluation, decision: Decision) -> Decision:
    """Remove a leftover preflight check first if the decision is not about it."""
    if decision.preflight is not None or evaluation.spec.suspend or not evaluation.preflight.observed.managed:
        return decision
    return replace(decision, action=EndPreflight())


def _choose(evaluation: SpecEvaluation) -> Decision:
    spec, path, newest = evaluation.spec, evaluation.upgrade_path, evaluation.observation.newest
    if evaluation.input.resource.has_finalizer != (spec.deletion_policy is DeletionPolicy.UNINSTALL):
        return _set_finalizer(evaluation)
    if spec.suspend:
        message = "spec.suspend is true; the operator changes nothing until it is false"
        return Decision(Nothing(), Reason.SUSPENDED, message, violations=evaluation.violations)
    if evaluation.violations:
        return refuse(evaluation.violations)
    if newest is None:
        return _apply(evaluation, path.next)
    rollback_state = rollback_state_of(evaluation.observation, path.target, evaluation.generation)
    if rollback_state is not None:
        return roll_back(rollback_state, newest, evaluation.rollout)
    if path.needs_versions and evaluation.state is not ReleaseState.PENDING:
        return _list_versions(evaluation, newest)
    return _by_state(evaluation, newest)


def _list_versions(evaluation: SpecEvaluation, newest: Revision) -> Decision:
    """List the registry's versions; the answer may take long, so a rollout in progress is finished first."""
    in_progress = evaluation.rollout.step in {RolloutStep.RESTART, RolloutStep.WAIT, RolloutStep.FAILED}
    if in_progress and is_release(newest, evaluation.upgrade_path.current):
        return _roll_out(evaluation, _deployed(newest))
    ref, version = evaluation.spec.chart.ref, evaluation.spec.version
    message = f"listing the versions of {ref} to plan the upgrade to Cilium {version}"
    return Decision(ListVersions(ref), Reason.UPGRADING, message)


def _by_state(evaluation: SpecEvaluation, newest: Revision) -> Decision:
    observation, path = evaluation.observation, evaluation.upgrade_path
    match evaluation.state:
        case ReleaseState.NOT_OWNED:
            return Decision(
                Nothing(),
                Reason.RELEASE_NOT_OWNED,
                f"Helm release cilium in kube-system (revision {newest.number}, {newest.status}) was not created by "
                "this operator and is not changed; uninstall it, or delete this CiliumHybrid",
                stalled=True,
            )
        case ReleaseState.FOREIGN if (labelling := label_rollback(observation.record, newest)) is not None:
            return labelling
        case ReleaseState.FOREIGN if spec_is_unchanged(observation, path.target):
            return foreign_revision(newest)
        case ReleaseState.PENDING:
            return Decision(
                Unlock(newest.number),
                Reason.RELEASE_LOCKED,
                f"Helm was interrupted at revision {newest.number} ({newest.status}); "
                "marking it failed to unlock the release",
            )
        case ReleaseState.IN_SYNC:
            return _finish(evaluation, path.target, newest)
        case ReleaseState.OUT_OF_SYNC if (unfinished := _finish_current(evaluation, newest)) is not None:
            return unfinished
        case ReleaseState.FOREIGN | ReleaseState.FAILED if _may_skip_minor(path, newest):
            return _apply(evaluation, path.current)
        case ReleaseState.ABSENT | ReleaseState.FOREIGN | ReleaseState.FAILED | ReleaseState.OUT_OF_SYNC:
            return _apply(evaluation, path.next)
        case unknown:
            assert_never(unknown)


def _set_finalizer(evaluation: SpecEvaluation) -> Decision:
    """Keep the finalizer only if the deletion has work to do: a resource without one can never hang."""
    because = f"because spec.deletionPolicy is {evaluation.spec.deletion_policy}"
    if evaluation.input.resource.has_finalizer:
        return Decision(RemoveFinalizer(), Reason.ACCEPTED, f"removing the finalizer {because}")
    return Decision(AddFinalizer(), Reason.ACCEPTED, f"adding the finalizer {because}")


def _may_skip_minor(path: UpgradePath, newest: Revision) -> bool:
    """Whether agents may be a minor version behind: a foreign or failed revision says nothing about them."""
    return path.enters_minor and newest.chart_version != path.next.chart_version


def _apply(evaluation: SpecEvaluation, desired: DesiredRelease) -> Decision:
    """Create the next revision once everything that has to come before it is done."""
    spec, path, observation = evaluation.spec, evaluation.upgrade_path, evaluation.observation
    deployed = last_deployed(observation)
    if observation.secrets_namespace_terminating:
        message = "waiting for namespace cilium-secrets of the previous installation to be deleted"
        return Decision(Nothing(), Reason.INSTALLING, message)
    action = Apply(
        desired,
        revision=1 if observation.newest is None else observation.newest.number + 1,
        spec_digest=spec_digest(path.target),
        replaces=None if deployed is None else deployed.number,
        single_operator_node=has_single_operator_node(observation),
    )
    if deployed is None:
        message = f"installing Cilium {desired.chart_version} from {desired.chart_ref}"
        return Decision(action, Reason.INSTALLING, message)
    if (unapproved := require_approval(spec, path, evaluation.input.resource.approved)) is not None:
        return unapproved
    if not path.remaining or desired.chart_version == path.current.chart_version:
        message = f"deploying the changed configuration of Cilium {desired.chart_version}"
        return Decision(action, Reason.CONFIGURING, message)
    if (unchecked := require_preflight(spec, desired, evaluation.preflight)) is not None:
        return unchecked
    return Decision(action, Reason.UPGRADING, f"deploying Cilium {desired.chart_version}{_step_count(path)}")


def _step_count(path: UpgradePath) -> str:
    steps = len(path.versions)
    return f", step {steps - len(path.remaining) + 1} of {steps}" if steps > 1 else ""


def _finish_current(evaluation: SpecEvaluation, newest: Revision) -> Decision | None:
    """Finish the rollout of the current version before the next minor version is deployed.

    Any other change may be what repairs the agents, so it does not wait for them.
    """
    path = evaluation.upgrade_path
    if not path.enters_minor:
        return None
    if is_release(newest, path.current):
        decision = _finish(evaluation, path.current, newest)
    elif evaluation.rollout.step is RolloutStep.STALLED:
        # Another change in the spec, beside the version, may be what unblocks the rollout.
        decision = _apply(evaluation, path.current)
    else:
        # More than the version has changed in the spec, so the deployed release is not a step of the path.
        decision = _roll_out(evaluation, _record_verified(evaluation, newest))
    if isinstance(decision.action, Nothing) and decision.reason is Reason.IN_SYNC:
        return _wait_until_verified(evaluation, newest)
    return decision


def _record_verified(evaluation: SpecEvaluation, newest: Revision) -> Decision:
    observation, record = evaluation.observation, evaluation.observation.record
    if record is None or record.verified == newest.number or not is_verified(observation, released_digest(observation)):
        return _deployed(newest)
    updated = replace(record, verified=newest.number)
    return Decision(WriteRecord(updated), Reason.IN_SYNC, f"recording revision {newest.number} as verified")


def _wait_until_verified(evaluation: SpecEvaluation, newest: Revision) -> Decision | None:
    """Wait if the next version would be more than one minor version ahead of the verified revision.

    Cilium tests a rollback over one minor version only.
    """
    observation, verified = evaluation.observation, verified_revision(evaluation.observation)
    connected = any(node.ready != "Unknown" for node in observation.nodes.values())
    if not connected or is_verified(observation, released_digest(observation)):
        return None
    following = CiliumVersion.parse(evaluation.upgrade_path.next.chart_version)
    too_far = verified is not None and following.minor > CiliumVersion.parse(verified.chart_version).minor + 1
    if not too_far and evaluation.spec.upgrade.rollout.strategy is RolloutStrategy.GATED:
        return None
    message = (
        f"waiting for Cilium {newest.chart_version} to be healthy on every connected node before Cilium {following}"
    )
    return Decision(Nothing(), Reason.ROLLING_OUT, message)


def _finish(evaluation: SpecEvaluation, desired: DesiredRelease, newest: Revision) -> Decision:
    """Record the desired release, which is deployed, and roll it out to every agent."""
    decision = _write_record(evaluation, desired, newest)
    return _roll_out(evaluation, decision) if isinstance(decision.action, Nothing) else decision


def _roll_out(evaluation: SpecEvaluation, in_sync: Decision) -> Decision:
    """Return the next step of the rollout to the agents, or `in_sync` if all are up to date."""
    plan = evaluation.rollout
    match plan.step:
        case RolloutStep.DONE:
            return in_sync
        case RolloutStep.RESTART:
            return Decision(RestartAgents(plan.pods), Reason.ROLLING_OUT, plan.message)
        case RolloutStep.WAIT:
            return Decision(Nothing(), Reason.ROLLING_OUT, plan.message)
        case RolloutStep.STALLED:
            message = f"{plan.message}; the rollout resumes when this clears"
            return Decision(Nothing(), Reason.ROLLOUT_STALLED, message)
        case RolloutStep.FAILED:
            return _handle_failed_rollout(evaluation, plan.message)
        case unknown:
            assert_never(unknown)


def _handle_failed_rollout(evaluation: SpecEvaluation, message: str) -> Decision:
    """Roll back to the verified revision, or stop the rollout."""
    record, newest = evaluation.observation.record, evaluation.observation.newest
    if evaluation.spec.upgrade.on_failure is OnFailure.PAUSE:
        why = "no other agent is restarted, because spec.upgrade.onFailure is Pause"
    elif record is None or newest is None or verified_revision(evaluation.observation) is None:
        why = "no other agent is restarted, and there is no verified revision to roll back to"
    else:
        digest = spec_digest(evaluation.upgrade_path.target)
        rejected = Rejected(newest.number, evaluation.generation, digest, message)
        # Recorded before the rollback starts, so that an operator that is interrupted continues it and does not retry.
        updated = replace(record, rejected=rejected)
        return Decision(WriteRecord(updated), Reason.ROLLING_BACK, f"{message}; rolling back")
    return Decision(Nothing(), Reason.ROLLOUT_STALLED, f"{message}; {why}; change the spec", stalled=True)


def _write_record(evaluation: SpecEvaluation, desired: DesiredRelease, newest: Revision) -> Decision:
    observation, ipam = evaluation.observation, evaluation.spec.ipam
    before = observation.record
    verified = None if before is None else before.verified
    if is_verified(observation, desired.values["podAnnotations"][CONFIG_DIGEST]):
        verified = newest.number
    record = Record(
        initial_version=initial_version(observation) or desired.chart_version,
        pod_cidrs=ipam.pod_cidrs,
        mask_size=ipam.mask_size,
        revision=newest.number,
        chart_ref=desired.chart_ref,
        chart_version=desired.chart_version,
        verified=verified,
    )
    if record != before:
        return Decision(WriteRecord(record), Reason.IN_SYNC, f"recording revision {newest.number}")
    return _deployed(newest)


def _deployed(newest: Revision) -> Decision:
    return Decision(Nothing(), Reason.IN_SYNC, f"Cilium {newest.chart_version} is deployed")
