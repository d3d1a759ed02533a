"""Which one action comes next. Pure and total: every state has an answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import DeletionPolicy, OnFailure, RolloutStrategy
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
from cilium_hybrid.plan.inputs import Situation
from cilium_hybrid.plan.observation import Record, Rejected, Revision
from cilium_hybrid.plan.release import (
    DesiredRelease,
    ReleaseState,
    asks_for_the_same,
    initial_version,
    is_release,
    last_deployed,
    released_digest,
    spec_digest,
)
from cilium_hybrid.plan.rollout.operator_deployment import has_one_place
from cilium_hybrid.plan.rollout.rollback import (
    foreign_revision,
    label_rollback,
    roll_back,
    rollback_state_of,
    verified_revision,
)
from cilium_hybrid.plan.rollout.rollout import RolloutStep, is_verified
from cilium_hybrid.plan.upgrade.gates import awaited_approval, awaited_preflight
from cilium_hybrid.plan.upgrade.path import UpgradePath
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.rules.rule import Violation, first_violation_and_count


def refuse(violations: Sequence[Violation]) -> Decision:
    """Change nothing, and name what is wrong."""
    return Decision(
        Nothing(),
        violations[0].reason,
        first_violation_and_count(violations),
        stalled=True,
        violations=tuple(violations),
    )


def decide(situation: Situation) -> Decision:
    """Choose one action; its effect is observed afresh before the next is chosen."""
    decision, failure = _tidy(situation, _choose(situation)), situation.failure
    if failure is None or isinstance(decision.action, Nothing):
        return decision
    if failure.waits(situation.now):
        return Decision(Nothing(), failure.reason, failure.with_next_try(), preflight=decision.preflight)
    if failure.not_before is None and isinstance(decision.action, Apply | StartPreflight):
        # Not even its preflight is run: one of before that is left must not stay for it.
        return _tidy(situation, Decision(Nothing(), failure.reason, failure.message, stalled=True))
    return decision


def _tidy(situation: Situation, decision: Decision) -> Decision:
    """No preflight is left behind: where the decision is about something else, that of before goes first."""
    if decision.preflight is not None or situation.spec.suspend or not situation.checks.seen.managed:
        return decision
    return replace(decision, action=EndPreflight())


def _choose(situation: Situation) -> Decision:
    newest = situation.observation.newest
    if situation.has_finalizer != (situation.spec.deletion_policy is DeletionPolicy.UNINSTALL):
        return _hold_or_let_go(situation)
    if situation.spec.suspend:
        message = "spec.suspend is set: nothing is changed until it is taken out"
        return Decision(Nothing(), Reason.SUSPENDED, message, violations=tuple(situation.violations))
    if situation.violations:
        return refuse(situation.violations)
    if newest is None:
        return _apply(situation, situation.upgrade_path.next)
    rollback_state = rollback_state_of(situation.observation, situation.upgrade_path.goal, situation.generation)
    if rollback_state is not None:
        return roll_back(rollback_state, newest, situation.rollout)
    if situation.upgrade_path.unknown and situation.state is not ReleaseState.PENDING:
        return _find_versions(situation, newest)
    return _by_state(situation, newest)


def _find_versions(situation: Situation, newest: Revision) -> Decision:
    """Ask the registry; an answer may be long in coming, so a rollout that is under way is finished first."""
    under_way = situation.rollout.step in {RolloutStep.RESTART, RolloutStep.WAIT, RolloutStep.FAILED}
    if under_way and is_release(newest, situation.upgrade_path.present):
        return _roll_out(situation, _released(newest))
    ref = situation.spec.chart.ref
    message = f"looking for the steps to Cilium {situation.spec.version} in {ref}"
    return Decision(ListVersions(ref), Reason.UPGRADING, message)


def _by_state(situation: Situation, newest: Revision) -> Decision:
    match situation.state:
        case ReleaseState.NOT_OWNED:
            return Decision(
                Nothing(),
                Reason.RELEASE_NOT_OWNED,
                f"Helm release cilium in kube-system (revision {newest.number}, {newest.status}) was not made by "
                "this operator and is left alone: uninstall it, or delete this CiliumHybrid",
                stalled=True,
            )
        case ReleaseState.FOREIGN if (claim := label_rollback(situation.observation.record, newest)) is not None:
            return claim
        case ReleaseState.FOREIGN if asks_for_the_same(situation.observation, situation.upgrade_path.goal):
            return foreign_revision(newest)
        case ReleaseState.PENDING:
            return Decision(
                Unlock(newest.number),
                Reason.RELEASE_LOCKED,
                f"an interrupted Helm left revision {newest.number} {newest.status}: marking it failed to go on",
            )
        case ReleaseState.IN_SYNC:
            return _finish(situation, situation.upgrade_path.goal, newest)
        case ReleaseState.OUT_OF_SYNC if (unfinished := _unfinished(situation, newest)) is not None:
            return unfinished
        case ReleaseState.FOREIGN | ReleaseState.FAILED if _skips(situation.upgrade_path, newest):
            return _apply(situation, situation.upgrade_path.present)
        case ReleaseState.ABSENT | ReleaseState.FOREIGN | ReleaseState.FAILED | ReleaseState.OUT_OF_SYNC:
            return _apply(situation, situation.upgrade_path.next)
        case unknown:
            assert_never(unknown)


def _hold_or_let_go(situation: Situation) -> Decision:
    """Hold the resource only where its deletion has to wait: what is not held can never hang."""
    policy = situation.spec.deletion_policy
    action = RemoveFinalizer() if situation.has_finalizer else AddFinalizer()
    return Decision(action, Reason.ACCEPTED, f"spec.deletionPolicy is {policy}")


def _skips(upgrade_path: UpgradePath, newest: Revision) -> bool:
    """Whether the agents may be a step behind: what others released, or what failed, says nothing of them."""
    return upgrade_path.enters_minor and newest.chart_version != upgrade_path.next.chart_version


def _apply(situation: Situation, desired: DesiredRelease) -> Decision:
    """Make the next revision, once everything that comes before it is done."""
    upgrade_path, observation, over = (
        situation.upgrade_path,
        situation.observation,
        last_deployed(situation.observation),
    )
    if observation.secrets_namespace_terminating:
        message = "waiting for namespace cilium-secrets of the Cilium before to be gone"
        return Decision(Nothing(), Reason.INSTALLING, message)
    number = 1 if observation.newest is None else observation.newest.number + 1
    beneath = None if over is None else over.number
    action = Apply(desired, number, spec_digest(upgrade_path.goal), beneath, one_place=has_one_place(observation))
    if over is None:
        return Decision(
            action, Reason.INSTALLING, f"installing Cilium {desired.chart_version} from {desired.chart_ref}"
        )
    if (unapproved := awaited_approval(situation.spec, upgrade_path, situation.approved)) is not None:
        return unapproved
    if not upgrade_path.left or desired.chart_version == upgrade_path.present.chart_version:
        message = f"releasing the changed configuration of Cilium {desired.chart_version}"
        return Decision(action, Reason.CONFIGURING, message)
    if (unchecked := awaited_preflight(situation.spec, desired, situation.checks)) is not None:
        return unchecked
    return Decision(action, Reason.UPGRADING, f"releasing Cilium {desired.chart_version}{_of_how_many(upgrade_path)}")


def _of_how_many(upgrade_path: UpgradePath) -> str:
    steps = len(upgrade_path.versions)
    return f", step {steps - len(upgrade_path.left) + 1} of {steps}" if steps > 1 else ""


def _unfinished(situation: Situation, newest: Revision) -> Decision | None:
    """A minor release is entered once the one before is brought to every connected node.

    Anything else may be what repairs the agents, and does not wait for them.
    """
    upgrade_path = situation.upgrade_path
    if not upgrade_path.enters_minor:
        return None
    if is_release(newest, upgrade_path.present):
        decision = _finish(situation, upgrade_path.present, newest)
    elif situation.rollout.step is RolloutStep.STALLED:
        # What the spec has changed beside its version may be what lets the rollout get on.
        decision = _apply(situation, upgrade_path.present)
    else:
        # The spec has changed in more than its version, so what runs is no step of its way.
        decision = _roll_out(situation, _record_verified(situation, newest))
    if isinstance(decision.action, Nothing) and decision.reason is Reason.IN_SYNC:
        return _unverified(situation, newest)
    return decision


def _record_verified(situation: Situation, newest: Revision) -> Decision:
    observation, record = situation.observation, situation.observation.record
    if record is None or record.verified == newest.number or not is_verified(observation, released_digest(observation)):
        return _released(newest)
    return Decision(WriteRecord(replace(record, verified=newest.number)), Reason.IN_SYNC, "recording what runs well")


def _unverified(situation: Situation, newest: Revision) -> Decision | None:
    """To go back is tested over one minor release alone: the last good revision must not fall further behind."""
    observation, verified = situation.observation, verified_revision(situation.observation)
    connected = any(node.ready != "Unknown" for node in observation.nodes.values())
    if not connected or is_verified(observation, released_digest(observation)):
        return None
    coming = CiliumVersion.parse(situation.upgrade_path.next.chart_version)
    far = verified is not None and coming.minor > CiliumVersion.parse(verified.chart_version).minor + 1
    if not far and situation.spec.upgrade.rollout.strategy is RolloutStrategy.GATED:
        return None
    message = f"Cilium {newest.chart_version} is not well on every connected node yet, and {coming} comes after that"
    return Decision(Nothing(), Reason.ROLLING_OUT, message)


def _finish(situation: Situation, desired: DesiredRelease, newest: Revision) -> Decision:
    """What is released is what is wanted: record it, and bring it to every agent."""
    decision = _remember(situation, desired, newest)
    return _roll_out(situation, decision) if isinstance(decision.action, Nothing) else decision


def _roll_out(situation: Situation, in_sync: Decision) -> Decision:
    """The release is in step: now its agents, one step at a time."""
    plan = situation.rollout
    match plan.step:
        case RolloutStep.DONE:
            return in_sync
        case RolloutStep.RESTART:
            return Decision(RestartAgents(plan.pods), Reason.ROLLING_OUT, plan.message)
        case RolloutStep.WAIT:
            return Decision(Nothing(), Reason.ROLLING_OUT, plan.message)
        case RolloutStep.STALLED:
            return Decision(Nothing(), Reason.ROLLOUT_STALLED, f"{plan.message}; it goes on when that changes")
        case RolloutStep.FAILED:
            return _failed(situation, plan.message)
        case unknown:
            assert_never(unknown)


def _failed(situation: Situation, message: str) -> Decision:
    """New agents fail: go back to what all of them ran well on, or stand still."""
    record, newest = situation.observation.record, situation.observation.newest
    if situation.spec.upgrade.on_failure is OnFailure.PAUSE:
        why = "no other node is moved, as spec.upgrade.onFailure says"
    elif record is None or newest is None or verified_revision(situation.observation) is None:
        why = "no other node is moved, and there is no good revision to go back to"
    else:
        rejected = Rejected(newest.number, situation.generation, spec_digest(situation.upgrade_path.goal), message)
        # Written before anything is undone: whoever comes next knows what is being done, and does not try it again.
        return Decision(WriteRecord(replace(record, rejected=rejected)), Reason.ROLLING_BACK, f"{message}: going back")
    return Decision(Nothing(), Reason.ROLLOUT_STALLED, f"{message}; {why}: change the spec", stalled=True)


def _remember(situation: Situation, desired: DesiredRelease, newest: Revision) -> Decision:
    observation = situation.observation
    before = observation.record
    verified = None if before is None else before.verified
    if is_verified(observation, desired.values["podAnnotations"][CONFIG_DIGEST]):
        verified = newest.number
    record = Record(
        initial_version=initial_version(observation) or desired.chart_version,
        pod_cidrs=situation.spec.ipam.pod_cidrs,
        mask_size=situation.spec.ipam.mask_size,
        revision=newest.number,
        chart_ref=desired.chart_ref,
        chart_version=desired.chart_version,
        verified=verified,
    )
    if record != observation.record:
        return Decision(WriteRecord(record), Reason.IN_SYNC, "recording what was released")
    return _released(newest)


def _released(newest: Revision) -> Decision:
    return Decision(Nothing(), Reason.IN_SYNC, f"Cilium {newest.chart_version} is released")
