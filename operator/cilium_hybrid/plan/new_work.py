"""New work: the next revision on the way to what the spec asks for. Only a valid spec leads here."""

from dataclasses import replace

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Apply, Decision, ListVersions, Nothing
from cilium_hybrid.plan.classify import ReleaseClass
from cilium_hybrid.plan.in_flight import is_on_the_way_back, was_unlocked, way_back
from cilium_hybrid.plan.inputs import SpecEvaluation
from cilium_hybrid.plan.node_configs import ipam_override
from cilium_hybrid.plan.observation import Observation, Revision
from cilium_hybrid.plan.record import Record, Rejected
from cilium_hybrid.plan.recording import without_evidence
from cilium_hybrid.plan.release import DesiredRelease, is_release, release_digest
from cilium_hybrid.plan.rollout.operator_deployment import has_single_operator_node
from cilium_hybrid.plan.rollout.plan import RolloutStep
from cilium_hybrid.plan.rollout.rollback import newest_agent_version
from cilium_hybrid.plan.rollout.rollout import nothing_to_verify
from cilium_hybrid.plan.running import last_deployed, running
from cilium_hybrid.plan.upgrade.gates import require_approval, require_preflight
from cilium_hybrid.plan.upgrade.path import UpgradePath
from cilium_hybrid.rules.cidrs import canonical_cidr
from cilium_hybrid.rules.version_steps import version_step_violation


def decide_new_work(evaluation: SpecEvaluation) -> Decision:
    """Return the next step towards what the spec asks for."""
    newest, path = evaluation.observation.newest, evaluation.upgrade_path
    if newest is None or evaluation.release.absent:
        return _apply(evaluation, path.next)
    for stage in (_keep_rejected, _list_versions, _finish, _fix_before_minor, _verify_before_minor):
        if (decision := stage(evaluation, newest)) is not None:
            return decision
    return _apply(evaluation, _next_release(evaluation, newest))


def is_in_sync(observation: Observation, record: Record, path: UpgradePath) -> bool:
    """Whether the newest revision is all that the spec asks for, and Helm finished it."""
    newest = observation.newest
    if newest is None or not _is_applied(record, newest) or path.needs_versions:
        return False
    return path.refusal is None and not path.remaining and is_release(newest, path.target)


def may_continue_rollout(observation: Observation, record: Record, path: UpgradePath) -> bool:
    """Whether more agents may be restarted with the newest revision, because no other one is due before."""
    newest = observation.newest
    if newest is None or not _is_applied(record, newest):
        return False
    # Any other change is applied at once: the spec may have been reverted because of what runs.
    return path.needs_versions or path.enters_minor or (not path.remaining and is_release(newest, path.target))


def _is_applied(record: Record, newest: Revision) -> bool:
    """Whether Helm has finished the revision, and no interrupted Helm may have changed the objects since."""
    return newest.deployed and not was_unlocked(record, newest)


def _is_rejected(record: Record, newest: Revision) -> bool:
    """Whether the revision was rejected; no agent is restarted with it any more, so nothing is waited for."""
    return record.rejected is not None and record.rejected.revision == newest.number


def _keep_rejected(evaluation: SpecEvaluation, newest: Revision) -> Decision | None:
    """Do not try a release again that has failed."""
    rejected, path = evaluation.record.rejected, evaluation.upgrade_path
    if rejected is None or path.needs_versions or release_digest(path.next) != rejected.release_digest:
        return None
    return _rejected(evaluation, newest, rejected)


def _rejected(evaluation: SpecEvaluation, newest: Revision, rejected: Rejected) -> Decision:
    retry = "change the spec, or set annotation ciliumhybrid.io/reconcile to a new value to retry"
    if is_on_the_way_back(evaluation, newest):
        stopped = evaluation.rollout.step is RolloutStep.STALLED
        unfinished = f" ({evaluation.rollout.message})" if stopped else ""
        message = f"revision {newest.number} restored Cilium {newest.chart_version}{unfinished}; {retry}"
        return Decision(Nothing(), Reason.ROLLED_BACK, f"{rejected.message}; {message}", stalled=True)
    refusal = way_back(evaluation).refusal or "another revision was applied since"
    message = f"{rejected.message}; no other agent is restarted, and {refusal}; {retry}"
    return Decision(Nothing(), Reason.ROLLOUT_STALLED, message, stalled=True)


def _list_versions(evaluation: SpecEvaluation, newest: Revision) -> Decision | None:
    """List the registry's versions; the answer may take long, so a rollout in progress is finished first."""
    path = evaluation.upgrade_path
    if not path.needs_versions:
        return None
    waits = evaluation.rollout.step is RolloutStep.WAIT and is_release(newest, path.current)
    if waits and not _is_rejected(evaluation.record, newest):
        return Decision(Nothing(), Reason.ROLLING_OUT, evaluation.rollout.message)
    ref, version = evaluation.spec.chart.ref, evaluation.spec.version
    message = f"listing the versions of {ref} to plan the upgrade to Cilium {version}"
    return Decision(ListVersions(ref), Reason.UPGRADING, message)


def _finish(evaluation: SpecEvaluation, newest: Revision) -> Decision | None:
    """Report the rollout of the release that the spec asks for, or that it is done."""
    if not is_in_sync(evaluation.observation, evaluation.record, evaluation.upgrade_path):
        return None
    if evaluation.rollout.step is RolloutStep.DONE:
        return Decision(Nothing(), Reason.IN_SYNC, f"Cilium {newest.chart_version} is deployed")
    override = ipam_override(evaluation.observation)
    if override is not None and evaluation.rollout.status is not None and evaluation.rollout.status.outdated:
        return Decision(Nothing(), Reason.ROLLOUT_STALLED, override, stalled=True)
    return _wait_for_rollout(evaluation)


def _wait_for_rollout(evaluation: SpecEvaluation) -> Decision:
    plan = evaluation.rollout
    if plan.step in {RolloutStep.STALLED, RolloutStep.FAILED}:
        message = f"{plan.message}; the rollout resumes when this clears"
        return Decision(Nothing(), Reason.ROLLOUT_STALLED, message, stalled=True)
    return Decision(Nothing(), Reason.ROLLING_OUT, plan.message)


def _fix_before_minor(evaluation: SpecEvaluation, newest: Revision) -> Decision | None:
    """Try a change in the spec that may be the fix on the present minor first, if the present revision was rejected."""
    rejected, path = evaluation.record.rejected, evaluation.upgrade_path
    if not path.enters_minor or rejected is None or not _is_rejected(evaluation.record, newest):
        return None
    fix = not is_release(newest, path.current)
    return _apply(evaluation, path.current) if fix else _rejected(evaluation, newest, rejected)


def _verify_before_minor(evaluation: SpecEvaluation, newest: Revision) -> Decision | None:
    """Enter no minor version before the present revision is verified: Cilium tests a rollback over one minor only."""
    path, observation = evaluation.upgrade_path, evaluation.observation
    if not path.enters_minor or evaluation.release is not ReleaseClass.OURS_DEPLOYED:
        return None
    if not _is_applied(evaluation.record, newest):
        # The Helm of a frozen machine may resume and finish an older revision, which then supersedes this one.
        return _apply(evaluation, path.current)
    if nothing_to_verify(observation):
        return None
    if evaluation.rollout.step is RolloutStep.WAIT:
        return _wait_for_rollout(evaluation)
    if evaluation.record.verified == newest.number and not evaluation.record.rebuilt:
        return None
    if evaluation.rollout.step is RolloutStep.STALLED and not is_release(newest, path.current):
        # Another change in the spec, beside the version, may be what unblocks the rollout.
        return _apply(evaluation, path.current)
    if evaluation.rollout.step is not RolloutStep.DONE:
        return _wait_for_rollout(evaluation)
    rollout = evaluation.rollout.record
    settling = rollout is not None and any(node.awaited for node in rollout.nodes.values())
    if settling or (rollout is not None and rollout.steady_for is not None):
        message = f"waiting for Cilium {newest.chart_version} to be verified before Cilium {path.next.chart_version}"
        return Decision(Nothing(), Reason.ROLLING_OUT, message)
    waiting = f"Cilium {newest.chart_version} is not verified, so Cilium {path.next.chart_version} is not entered"
    if not any(node.ready != "Unknown" for node in observation.nodes.values()):
        message = f"{waiting}; waiting for a hybrid node that is connected"
        return Decision(Nothing(), Reason.NODES_DISCONNECTED, message)
    message = f"{waiting}; repair the nodes in status.nodes.unready, or delete them"
    return Decision(Nothing(), Reason.ROLLOUT_STALLED, message, stalled=True)


def _next_release(evaluation: SpecEvaluation, newest: Revision) -> DesiredRelease:
    """Return the present version first if the newest revision, foreign or failed, says nothing about the agents."""
    path = evaluation.upgrade_path
    unknown = evaluation.release is not ReleaseClass.OURS_DEPLOYED
    if path.enters_minor and unknown and newest.chart_version != path.next.chart_version:
        return path.next if _is_older_than_agents(evaluation.observation, path.current) else path.current
    return path.next


def _apply(evaluation: SpecEvaluation, desired: DesiredRelease) -> Decision:
    """Create the next revision once everything that has to come before it is done."""
    spec, path, observation = evaluation.spec, evaluation.upgrade_path, evaluation.observation
    newest, rejected, deployed = observation.newest, evaluation.record.rejected, last_deployed(observation)
    if observation.secrets_namespace_terminating:
        message = "waiting for namespace cilium-secrets of the previous installation to be deleted"
        return Decision(Nothing(), Reason.INSTALLING, message)
    if newest is not None and rejected is not None and rejected.release_digest == release_digest(desired):
        return _rejected(evaluation, newest, rejected)
    if (refused := _refuse_older_than_agents(evaluation, desired)) is not None:
        return refused
    if deployed is not None and (override := ipam_override(observation)) is not None:
        return Decision(Nothing(), Reason.ROLLOUT_STALLED, override, stalled=True)
    action = Apply(
        desired,
        revision=1 if newest is None else newest.number + 1,
        spec_digest=release_digest(desired),
        replaces=None if deployed is None else deployed.number,
        single_operator_node=has_single_operator_node(observation),
        record=_record_before(evaluation),
    )
    if deployed is None:
        message = f"installing Cilium {desired.chart_version} from {desired.chart_ref}"
        return Decision(action, Reason.INSTALLING, message)
    if (unapproved := require_approval(spec, path, evaluation.input.resource.approved)) is not None:
        return unapproved
    if not path.remaining or desired.chart_version == path.current.chart_version:
        message = f"deploying the changed configuration of Cilium {desired.chart_version}"
        return Decision(action, Reason.CONFIGURING, message)
    if (unchecked := require_preflight(spec, desired, evaluation.preflight, evaluation.record.handled)) is not None:
        return unchecked
    return Decision(action, Reason.UPGRADING, f"deploying Cilium {desired.chart_version}{_step_count(path)}")


def _record_before(evaluation: SpecEvaluation) -> Record:
    """Return the record to write before Helm is called: from then on the pools of the spec may be in use."""
    ipam, runs, rollout = evaluation.spec.ipam, running(evaluation.observation), evaluation.rollout.record
    newest, rejected = evaluation.observation.newest, evaluation.record.rejected
    if rollout is not None and newest is not None and rejected is not None and rejected.revision == newest.number:
        # The next revision may be the fix, even if the agents read the same.
        rollout = without_evidence(rollout)
    return replace(
        evaluation.record,
        pod_cidrs=tuple(dict.fromkeys([*runs.pod_cidrs, *map(canonical_cidr, ipam.pod_cidrs)])),
        mask_size=ipam.mask_size if runs.mask_size is None else runs.mask_size,
        rollout=rollout,
    )


def _is_older_than_agents(observation: Observation, desired: DesiredRelease) -> bool:
    agent, version = newest_agent_version(observation), CiliumVersion.parse(desired.chart_version)
    return agent is not None and (version.major, version.minor) < (agent.major, agent.minor)


def _refuse_older_than_agents(evaluation: SpecEvaluation, desired: DesiredRelease) -> Decision | None:
    """Apply no older minor than any agent runs, unless the spec asks for exactly that and the rules allow it."""
    observation, agent = evaluation.observation, newest_agent_version(evaluation.observation)
    if agent is None or not _is_older_than_agents(observation, desired):
        return None
    violation = version_step_violation(agent, CiliumVersion.parse(desired.chart_version), running(observation).ran)
    if desired.chart_version == evaluation.spec.version and violation is None:
        return None
    reason = Reason.VERSION_UNSUPPORTED if violation is None else violation.reason
    message = f"agents run Cilium {agent}, so Cilium {desired.chart_version} is not applied; "
    return Decision(Nothing(), reason, f"{message}set spec.version to {agent.series} or later", stalled=True)


def _step_count(path: UpgradePath) -> str:
    steps = len(path.versions)
    return f", step {steps - len(path.remaining) + 1} of {steps}" if steps > 1 else ""
