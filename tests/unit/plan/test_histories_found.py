"""Histories that the simulation found. Each test names the harm that it rules out."""

from dataclasses import replace
from typing import Any

import pytest

from builders import NOW, a_cilium_node, a_node, a_preflight, a_revision, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import (
    Apply,
    ListVersions,
    MarkRevision,
    Nothing,
    RestartAgents,
    Rollback,
    StartPreflight,
    WriteRecord,
)
from cilium_hybrid.plan.observation import CiliumNode, ForeignPod, PreflightObservation, ReleasePayload
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord, UpdatedOperator
from cilium_hybrid.plan.recording import is_recorded, known_record, retried
from cilium_hybrid.plan.rollout.plan import RolloutStep
from unit.plan.cores import DEBUG, FIX, a_failing_core, an_installed_core, applied, kinds, run_until
from unit.plan.rollout.site import CRASHING, a_site, settings
from unit.plan.stepping import Core, ready

RESTARTED = RestartedNode("pod", "node", "boot", "", "", "", healthy=True, exits=3, sandbox_failures=1)
ROLLING = {"preflight": {"enabled": False}, "rollout": {"soak": "30s", "strategy": "RollingUpdate"}}
PAUSE = {"preflight": {"enabled": False}, "rollout": {"soak": "30s"}, "onFailure": "Pause"}


def restarts(core: Core) -> list[str]:
    return [pod.uid.split()[0] for a in core.actions if isinstance(a, RestartAgents) for pod in a.pods]


def test_a_lost_record_after_the_way_back_does_not_bring_the_rejected_release_back() -> None:
    core = a_failing_core()
    core.breaks.clear()
    core.settle()
    assert core.reason == Reason.ROLLED_BACK
    core.restart()
    core.observation = replace(core.observation, record=None)
    core.actions.clear()

    core.settle()

    assert applied(core) == []
    assert core.reason == Reason.ROLLED_BACK


@pytest.mark.parametrize("later", [{"spec_digest": "sha256:x"}, {"spec_digest": "sha256:y", "verified": True}])
def test_a_rejection_that_a_later_revision_has_settled_does_not_return_with_a_lost_record(later: Any) -> None:
    revisions = a_revision(1, spec_digest="sha256:x", rejected=True), a_revision(2, **later)

    assert known_record(an_observation(*revisions, record=None)).rejected is None


def test_a_node_whose_pod_was_just_deleted_is_not_forgotten_when_the_next_revision_is_applied() -> None:
    site = a_site("ab", rules=settings(maxUnavailable=1))
    plan = site.plan()
    assert [pod.uid for pod in plan.pods] == [site.agents["a"].uid]
    # The deletion has happened, but is not visible yet, and another configuration is applied.
    site.record, site.digest = plan.record, "sha256:next"
    first = site.tick(0.2)
    site.replace_pod("a")
    site.agent("a", **CRASHING)

    plan = site.run(900)

    assert first.record is not None
    assert "a" in first.record.nodes
    assert "b" not in site.restarted
    assert plan.step in {RolloutStep.FAILED, RolloutStep.STALLED}


def test_a_node_that_came_back_with_the_configuration_before_the_next_is_tried_first() -> None:
    site = a_site("ab", rules=settings(maxUnavailable=1))
    plan = site.plan()
    site.record, site.digest = plan.record, "sha256:next"
    site.tick(0.2)
    site.agents.pop("a")
    site.create("a", digest="sha256:between", **CRASHING)

    plan = site.tick(1.0)

    assert plan.record is not None
    assert plan.record.casualties == ("a",)
    site.run(600)
    assert "b" not in site.restarted[: site.restarted.index("a")]


def test_an_agent_that_crashes_again_and_again_does_not_have_the_record_written_each_time() -> None:
    before = RolloutRecord("sha256:x", nodes={"mi-1": RESTARTED}, cilium_operator=UpdatedOperator(exits=3))
    more = replace(RESTARTED, exits=9, last_sandbox_failures=7, sandbox_failures=6)
    after = replace(before, nodes={"mi-1": more}, cilium_operator=UpdatedOperator(exits=9))
    record = known_record(an_observation(a_revision(1))) or None
    assert record is not None
    read = an_observation(a_revision(1), record=replace(record, rollout=before))

    assert is_recorded(read, replace(record, rollout=after), progressing=False)


def test_a_site_that_is_away_does_not_roll_out_for_ever() -> None:
    core = an_installed_core(("mi-1",))
    operator = core.observation.cilium_operator
    assert operator is not None
    nodes = {"mi-1": a_node("mi-1", ready="Unknown")}
    gone = replace(operator, available=0, current=False)
    core.observation = replace(core.observation, nodes=nodes, cilium_operator=gone)
    core.edit(values=DEBUG)

    core.perform(run_until(core, Apply))
    core.observation = replace(core.observation, cilium_operator=gone)

    assert ready(core.settle()) == ("True", "NodesDisconnected", False)


def test_a_violation_does_not_hide_that_a_canary_crashes() -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    core.step()
    core.observation = replace(core.observation, foreign_pods=(ForeignPod("kube-flannel/flannel-1", "mi-4"),))
    core.step()
    for exits in (1, 2):
        core.break_agent("mi-1", exits)
        evaluation = core.step()

    assert isinstance(evaluation.decision.action, MarkRevision)


def test_a_preflight_check_of_an_admin_is_not_removed_for_the_operators_own() -> None:
    core = an_installed_core(version="1.17.15-1")
    core.observation = replace(core.observation, preflight=a_preflight(release=a_revision(managed=False)))
    core.edit(version="1.18.8-1", upgrade={})

    evaluation = core.settle()

    assert StartPreflight not in map(type, core.actions)
    assert (evaluation.decision.reason, evaluation.decision.stalled) == (Reason.PREFLIGHT_FAILED, True)
    assert "cilium-preflight" in evaluation.decision.message
    core.observation = replace(core.observation, preflight=PreflightObservation())
    run_until(core, StartPreflight)


def test_a_rollout_that_is_remembered_does_not_outlive_its_installation() -> None:
    core = a_failing_core()
    core.observation = replace(core.observation, revisions=(), agents={}, payloads={})

    evaluation = core.evaluate()

    assert isinstance(evaluation.decision.action, Apply)
    assert evaluation.decision.action.record is not None
    assert evaluation.decision.action.record.rollout is None


def test_a_lost_record_lets_no_value_of_the_annotation_act_twice_and_forgets_no_restart() -> None:
    core = an_installed_core()
    core.requested = "once"
    core.settle()
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    core.observation = replace(core.observation, record=None)

    action = core.evaluate().decision.action

    assert not isinstance(action, WriteRecord) or action.record.handled == "once"
    record = getattr(action, "record", None)
    assert record is not None
    assert "mi-1" in record.rollout.nodes


def test_a_request_lets_other_canaries_continue() -> None:
    record = known_record(an_observation(a_revision(1)))
    stopped = RolloutRecord("sha256:x", replaced=("a", "b"))

    rollout = retried(replace(record, rollout=stopped), "now").rollout

    assert rollout is not None
    assert rollout.replaced == ()


def test_the_fix_of_a_paused_revision_is_not_judged_by_what_failed_before() -> None:
    core = a_failing_core(upgrade=PAUSE)
    core.settle()
    core.edit(values={**DEBUG, "operator": {"extraArgs": ["--fix"]}})
    core.perform(run_until(core, Apply))
    core.actions.clear()

    core.step()
    core.step()

    assert "MarkRevision" not in kinds(core.actions)


def test_a_foreign_revision_causes_no_advice_to_delete_cilium_nodes() -> None:
    core = an_installed_core()
    core.foreign(2, version="1.17.9-0")
    core.observation = replace(
        core.observation, cilium_nodes={"mi-1": a_cilium_node("mi-1", pod_cidrs=("10.85.0.0/25",))}
    )
    core.edit(ipam={"podCIDRs": ["10.99.0.0/16"], "maskSize": 26})

    evaluation = core.step()

    assert evaluation.violations == ()
    assert evaluation.decision.reason is Reason.FOREIGN_REVISION


def test_while_an_agent_waits_for_a_pod_cidr_ready_says_so() -> None:
    core = an_installed_core(("mi-1", "mi-2"))
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    agents = core.observation.agents
    waiting = replace(agents["mi-1"], ready=False)
    full = CiliumNode("mi-1", (), "allocator full")
    core.observation = replace(
        core.observation,
        agents={**agents, "mi-1": waiting},
        cilium_nodes={**core.observation.cilium_nodes, "mi-1": full},
    )
    core.step()

    message = core.step().status.conditions[0].message

    assert "mi-1 (NoPodCIDR: no pod CIDR: allocator full)" in message


def test_the_deadline_of_a_preflight_check_does_not_depend_on_a_clock() -> None:
    core = an_installed_core(version="1.17.15-1")
    core.edit(version="1.18.8-1", upgrade={"preflight": {"timeout": "1m"}})
    start = run_until(core, StartPreflight)
    desired = start.desired_release
    release = a_revision(
        1, version=desired.chart_version, values_digest=desired.values_digest, created_at=NOW.replace(year=2000)
    )
    core.status = {**core.evaluate().status.model_dump(mode="json", by_alias=True, exclude_none=True)}
    core.observation = replace(core.observation, preflight=a_preflight(release=release))

    assert core.evaluate(1.0).decision.reason is Reason.PREFLIGHT_RUNNING


def test_nothing_is_left_of_a_fix_that_is_in_sync() -> None:
    core = a_failing_core(upgrade=PAUSE)
    core.settle()
    core.breaks.clear()
    core.edit(values=FIX)

    evaluation = core.settle(100)

    assert isinstance(evaluation.decision.action, Nothing)
    assert ready(evaluation) == ("True", "InSync", False)


@pytest.mark.parametrize("status", ["uninstalling", "failed"])
def test_an_interrupted_uninstall_and_a_lost_record_do_not_change_the_first_version(status: str) -> None:
    ran = ReleasePayload(chart_version="1.18.8-1", initial_series="1.17")
    observation = an_observation(a_revision(1, status=status), record=None, payloads={1: ran})

    assert known_record(observation).initial_version == "1.17.0"


def test_a_version_that_is_taken_back_during_its_rollout_reaches_no_further_node() -> None:
    core = an_installed_core(version="1.17.9-0")
    core.edit(version="1.17.15-1")
    run = run_until(core, RestartAgents)
    core.perform(run)
    core.step()
    core.edit(version="1.17.9-0", upgrade={"preflight": {"enabled": False}, "rollout": {"soak": "0s"}})
    core.settle()
    restarted = [pod.name for action in core.actions if isinstance(action, RestartAgents) for pod in action.pods]

    assert applied(core) == ["1.17.15-1", "1.17.9-0"]
    assert len(restarted) == 2, "the canary, there and back"


@pytest.mark.parametrize(("soak", "asked"), [("30s", ["mi-1"]), ("90s", [])])
def test_after_a_short_soak_time_the_canary_must_still_report_before_others_are_restarted(
    soak: str, asked: list[str]
) -> None:
    """The node controller needs up to 50 seconds to notice that a new agent has cut off its node."""
    core = an_installed_core(upgrade={"rollout": {"soak": soak}})
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    new_pod = core.observation.agents["mi-1"].uid
    action = run_until(core, RestartAgents)

    assert action.canaries == tuple((name, new_pod) for name in asked)


@pytest.mark.parametrize(("soak", "asked"), [("30s", True), ("90s", False)])
def test_after_a_short_soak_time_a_casualty_must_still_report_before_others_are_restarted(
    soak: str, *, asked: bool
) -> None:
    core = a_failing_core(upgrade={**PAUSE, "rollout": {"soak": soak}})
    core.settle()
    core.breaks.clear()
    core.edit(values=FIX)
    core.perform(run_until(core, RestartAgents))
    new_pod = core.observation.agents["mi-1"].uid
    canary = run_until(core, RestartAgents)

    assert canary.canaries == ((("mi-1", new_pod),) if asked else ())


def test_agents_that_were_uninstalled_are_no_evidence_against_the_next_installation() -> None:
    """Their pods are gone because of the uninstall, not because the DaemonSet controller replaced them."""
    core = an_installed_core(("mi-1",), upgrade={"rollout": {"soak": "30s", "strategy": "RollingUpdate"}})
    core.edit(values=DEBUG, upgrade={"rollout": {"soak": "30s", "strategy": "RollingUpdate"}})
    core.perform(run_until(core, Apply))
    core.observation = replace(core.observation, revisions=(), agents={}, payloads={}, agent_set=None, record=None)
    core.breaks.add("mi-1")

    core.settle()

    assert MarkRevision not in map(type, core.actions)


@pytest.mark.parametrize("fixed", [False, True])
def test_a_rejected_revision_whose_agents_recover_does_not_keep_the_next_minor_waiting_in_silence(fixed: bool) -> None:
    upgrade = {"onFailure": "Pause", "rollout": {"soak": "10s"}, "preflight": {"enabled": False}}
    core = a_failing_core(upgrade=upgrade, version="1.17.15-1")
    while core.observation.record is None or core.observation.record.rejected is None:
        core.step()
    agents = {
        name: replace(agent, ready=True, exits=0, failure_message="") for name, agent in core.observation.agents.items()
    }
    core.observation = replace(core.observation, agents=agents)
    core.breaks.clear()
    core.edit(version="1.18.8-1", values=FIX if fixed else DEBUG, upgrade=upgrade)
    evaluation = core.settle()

    if fixed:
        assert [action.desired_release.chart_version for action in core.actions if isinstance(action, Apply)][-2:] == [
            "1.17.15-1",
            "1.18.8-1",
        ]
    else:
        assert ready(evaluation) == ("False", "RolloutStalled", True)


def test_a_rejection_is_kept_while_the_versions_of_the_path_are_not_known() -> None:
    """The release that was rejected may be the next step of the path."""
    upgrade = {"rollout": {"soak": "10s"}, "preflight": {"enabled": False}}
    core = an_installed_core(upgrade=upgrade)
    core.edit(version="1.17.15-1")
    core.perform(run_until(core, Apply))
    assert core.observation.agent_set is not None
    core.breaks.add(str(core.observation.agent_set.config_digest))
    core.perform(run_until(core, Rollback))
    core.edit(version="1.19.4-1")
    evaluation = core.step(available_versions=None)
    while not isinstance(evaluation.decision.action, ListVersions):
        evaluation = core.step(available_versions=None)

    (verified,) = [action for action in core.actions if isinstance(action, MarkRevision) and action.mark == "verified"]
    assert verified.record.rejected is not None
