"""Which one action comes next. Pure and total: every state has an answer."""

from collections.abc import Sequence
from dataclasses import replace
from typing import assert_never

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.v1alpha1 import DeletionPolicy, OnFailure, RolloutStrategy
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    Apply,
    Decision,
    EndPreflight,
    FindVersions,
    Hold,
    LetGo,
    Move,
    Nothing,
    Remember,
    StartPreflight,
    Unlock,
)
from cilium_hybrid.plan.gates import awaited_approval, awaited_preflight
from cilium_hybrid.plan.observation import Record, Rejected, Revision
from cilium_hybrid.plan.release import (
    ReleaseState,
    Wanted,
    asks_for_the_same,
    initial_version,
    is_what,
    last_deployed,
    released_digest,
    wish,
)
from cilium_hybrid.plan.rollout import Step, proven
from cilium_hybrid.plan.route import Route
from cilium_hybrid.plan.setback import claimed, go_back, good_revision, left_alone, setback_of
from cilium_hybrid.plan.situation import Situation
from cilium_hybrid.plan.succession import has_one_place
from cilium_hybrid.plan.values import CONFIG_DIGEST
from cilium_hybrid.rules.rule import Violation, first_and_how_many_more


def refuse(violations: Sequence[Violation]) -> Decision:
    """Change nothing, and name what is wrong."""
    return Decision(
        Nothing(),
        violations[0].reason,
        first_and_how_many_more(violations),
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
    if decision.preflight is not None or situation.spec.suspend or not situation.checks.seen.ours:
        return decision
    return replace(decision, action=EndPreflight())


def _choose(situation: Situation) -> Decision:
    newest = situation.observation.newest
    if situation.held != (situation.spec.deletion_policy is DeletionPolicy.UNINSTALL):
        return _hold_or_let_go(situation)
    if situation.spec.suspend:
        message = "spec.suspend is set: nothing is changed until it is taken out"
        return Decision(Nothing(), Reason.SUSPENDED, message, violations=tuple(situation.violations))
    if situation.violations:
        return refuse(situation.violations)
    if newest is None:
        return _apply(situation, situation.route.next)
    setback = setback_of(situation.observation, situation.route.goal, situation.generation)
    if setback is not None:
        return go_back(setback, newest, situation.rollout)
    if situation.route.unknown and situation.state is not ReleaseState.PENDING:
        return _find_versions(situation, newest)
    return _by_state(situation, newest)


def _find_versions(situation: Situation, newest: Revision) -> Decision:
    """Ask the registry; an answer may be long in coming, so a rollout that is under way is finished first."""
    under_way = situation.rollout.step in {Step.MOVE, Step.WAIT, Step.FAILED}
    if under_way and is_what(newest, situation.route.present):
        return _roll_out(situation, _released(newest))
    ref = situation.spec.chart.ref
    message = f"looking for the steps to Cilium {situation.spec.version} in {ref}"
    return Decision(FindVersions(ref), Reason.UPGRADING, message)


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
        case ReleaseState.FOREIGN if (claim := claimed(situation.observation.record, newest)) is not None:
            return claim
        case ReleaseState.FOREIGN if asks_for_the_same(situation.observation, situation.route.goal):
            return left_alone(newest)
        case ReleaseState.PENDING:
            return Decision(
                Unlock(newest.number),
                Reason.RELEASE_LOCKED,
                f"an interrupted Helm left revision {newest.number} {newest.status}: marking it failed to go on",
            )
        case ReleaseState.IN_SYNC:
            return _finish(situation, situation.route.goal, newest)
        case ReleaseState.OUT_OF_SYNC if (unfinished := _unfinished(situation, newest)) is not None:
            return unfinished
        case ReleaseState.FOREIGN | ReleaseState.FAILED if _skips(situation.route, newest):
            return _apply(situation, situation.route.present)
        case ReleaseState.ABSENT | ReleaseState.FOREIGN | ReleaseState.FAILED | ReleaseState.OUT_OF_SYNC:
            return _apply(situation, situation.route.next)
        case unknown:
            assert_never(unknown)


def _hold_or_let_go(situation: Situation) -> Decision:
    """Hold the resource only where its deletion has to wait: what is not held can never hang."""
    policy = situation.spec.deletion_policy
    action = LetGo() if situation.held else Hold()
    return Decision(action, Reason.ACCEPTED, f"spec.deletionPolicy is {policy}")


def _skips(route: Route, newest: Revision) -> bool:
    """Whether the agents may be a step behind: what others released, or what failed, says nothing of them."""
    return route.enters_a_minor and newest.chart_version != route.next.chart_version


def _apply(situation: Situation, want: Wanted) -> Decision:
    """Make the next revision, once everything that comes before it is done."""
    route, observation, over = situation.route, situation.observation, last_deployed(situation.observation)
    if observation.secrets_namespace_leaving:
        message = "waiting for namespace cilium-secrets of the Cilium before to be gone"
        return Decision(Nothing(), Reason.INSTALLING, message)
    number = 1 if observation.newest is None else observation.newest.number + 1
    beneath = None if over is None else over.number
    action = Apply(want, number, wish(route.goal), beneath, one_place=has_one_place(observation))
    if over is None:
        return Decision(action, Reason.INSTALLING, f"installing Cilium {want.chart_version} from {want.chart_ref}")
    if (unapproved := awaited_approval(situation.spec, route, situation.approved)) is not None:
        return unapproved
    if not route.left or want.chart_version == route.present.chart_version:
        message = f"releasing the changed configuration of Cilium {want.chart_version}"
        return Decision(action, Reason.CONFIGURING, message)
    if (unchecked := awaited_preflight(situation.spec, want, situation.checks)) is not None:
        return unchecked
    return Decision(action, Reason.UPGRADING, f"releasing Cilium {want.chart_version}{_of_how_many(route)}")


def _of_how_many(route: Route) -> str:
    steps = len(route.versions)
    return f", step {steps - len(route.left) + 1} of {steps}" if steps > 1 else ""


def _unfinished(situation: Situation, newest: Revision) -> Decision | None:
    """A minor release is entered once the one before is brought to every connected node.

    Anything else may be what repairs the agents, and does not wait for them.
    """
    route = situation.route
    if not route.enters_a_minor:
        return None
    if is_what(newest, route.present):
        decision = _finish(situation, route.present, newest)
    elif situation.rollout.step is Step.STUCK:
        # What the spec has changed beside its version may be what lets the rollout get on.
        decision = _apply(situation, route.present)
    else:
        # The spec has changed in more than its version, so what runs is no step of its way.
        decision = _roll_out(situation, _proven_good(situation, newest))
    if isinstance(decision.action, Nothing) and decision.reason is Reason.IN_SYNC:
        return _unproven(situation, newest)
    return decision


def _proven_good(situation: Situation, newest: Revision) -> Decision:
    observation, record = situation.observation, situation.observation.record
    if record is None or record.good == newest.number or not proven(observation, released_digest(observation)):
        return _released(newest)
    return Decision(Remember(replace(record, good=newest.number)), Reason.IN_SYNC, "recording what runs well")


def _unproven(situation: Situation, newest: Revision) -> Decision | None:
    """To go back is tested over one minor release alone: the last good revision must not fall further behind."""
    observation, good = situation.observation, good_revision(situation.observation)
    connected = any(node.ready != "Unknown" for node in observation.nodes.values())
    if not connected or proven(observation, released_digest(observation)):
        return None
    coming = CiliumVersion.parse(situation.route.next.chart_version)
    far = good is not None and coming.minor > CiliumVersion.parse(good.chart_version).minor + 1
    if not far and situation.spec.upgrade.rollout.strategy is RolloutStrategy.GATED:
        return None
    message = f"Cilium {newest.chart_version} is not well on every connected node yet, and {coming} comes after that"
    return Decision(Nothing(), Reason.ROLLING_OUT, message)


def _finish(situation: Situation, want: Wanted, newest: Revision) -> Decision:
    """What is released is what is wanted: record it, and bring it to every agent."""
    decision = _remember(situation, want, newest)
    return _roll_out(situation, decision) if isinstance(decision.action, Nothing) else decision


def _roll_out(situation: Situation, in_sync: Decision) -> Decision:
    """The release is in step: now its agents, one step at a time."""
    plan = situation.rollout
    match plan.step:
        case Step.DONE:
            return in_sync
        case Step.MOVE:
            return Decision(Move(plan.pods), Reason.ROLLING_OUT, plan.message)
        case Step.WAIT:
            return Decision(Nothing(), Reason.ROLLING_OUT, plan.message)
        case Step.STUCK:
            return Decision(Nothing(), Reason.ROLLOUT_STUCK, f"{plan.message}; it goes on when that changes")
        case Step.FAILED:
            return _failed(situation, plan.message)
        case unknown:
            assert_never(unknown)


def _failed(situation: Situation, message: str) -> Decision:
    """New agents fail: go back to what all of them ran well on, or stand still."""
    record, newest = situation.observation.record, situation.observation.newest
    if situation.spec.upgrade.on_failure is OnFailure.PAUSE:
        why = "no other node is moved, as spec.upgrade.onFailure says"
    elif record is None or newest is None or good_revision(situation.observation) is None:
        why = "no other node is moved, and there is no good revision to go back to"
    else:
        rejected = Rejected(newest.number, situation.generation, wish(situation.route.goal), message)
        # Written before anything is undone: whoever comes next knows what is being done, and does not try it again.
        return Decision(Remember(replace(record, rejected=rejected)), Reason.ROLLING_BACK, f"{message}: going back")
    return Decision(Nothing(), Reason.ROLLOUT_STUCK, f"{message}; {why}: change the spec", stalled=True)


def _remember(situation: Situation, want: Wanted, newest: Revision) -> Decision:
    observation = situation.observation
    before = observation.record
    good = None if before is None else before.good
    if proven(observation, want.values["podAnnotations"][CONFIG_DIGEST]):
        good = newest.number
    record = Record(
        initial_version=initial_version(observation) or want.chart_version,
        pod_cidrs=situation.spec.ipam.pod_cidrs,
        mask_size=situation.spec.ipam.mask_size,
        revision=newest.number,
        chart_ref=want.chart_ref,
        chart_version=want.chart_version,
        good=good,
    )
    if record != observation.record:
        return Decision(Remember(record), Reason.IN_SYNC, "recording what was released")
    return _released(newest)


def _released(newest: Revision) -> Decision:
    return Decision(Nothing(), Reason.IN_SYNC, f"Cilium {newest.chart_version} is released")
