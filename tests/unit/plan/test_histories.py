"""Histories that once harmed a cluster, told to the core alone. Each test names the harm that it rules out."""

from dataclasses import replace

import pytest

from builders import a_cilium_node, a_revision, an_agent, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import (
    Apply,
    EndPreflight,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    StartPreflight,
    Uninstall,
    Unlock,
)
from cilium_hybrid.plan.observation import (
    Difference,
    ForeignPod,
    NodeConfigOverride,
    PreflightObservation,
)
from unit.plan.cores import DEBUG, FIX, NODES, a_failing_core, an_installed_core, applied, run_until
from unit.plan.stepping import Core, ready


def test_4_a_manual_upgrade_is_neither_undone_nor_built_upon() -> None:
    core = an_installed_core(version="1.17.15-1")
    core.foreign(2, version="1.19.4")

    core.edit(version="1.19.4-1", upgrade={})
    decision = core.settle().decision

    assert (core.actions, decision.reason) == ([], Reason.FOREIGN_REVISION)
    assert "by helm" in decision.message


def test_4_after_a_resume_the_rules_judge_against_the_version_of_the_foreign_revision() -> None:
    core = an_installed_core(version="1.17.15-1")
    core.foreign(2, version="1.19.4")
    core.requested = "please"

    decision = core.settle().decision

    assert decision.reason is Reason.VERSION_SKIPPED
    assert not applied(core)


def test_4_after_a_resume_the_next_minor_is_checked_before_it_is_entered() -> None:
    core = an_installed_core(version="1.17.15-1")
    core.foreign(2, version="1.18.8-1")
    core.edit(version="1.19.4-1", upgrade={})
    core.requested = "please"

    first = run_until(core, Apply)

    assert first.desired_release.chart_version == "1.18.8-1", (
        "the present version first: nothing is known of the agents"
    )
    core.perform(first)
    assert run_until(core, StartPreflight).desired_release.chart_version == "1.19.4-1"


def test_6_helm_is_killed_during_the_way_back_and_the_spec_is_edited() -> None:
    core = a_failing_core()
    rollback = run_until(core, Rollback)
    core.perform(rollback)
    core.change(rollback.revision, status="pending-upgrade")
    core.edit(values=FIX)

    unlocked = core.step().decision.action
    again = core.step().decision.action

    assert isinstance(unlocked, Unlock)
    assert isinstance(again, Rollback)
    assert (again.target.number, again.revision) == (1, rollback.revision + 1)


def test_6_suspend_in_the_middle_of_the_way_back_only_pauses_it() -> None:
    core = a_failing_core()
    core.perform(run_until(core, Rollback))
    core.edit(suspend=True)
    assert core.step().decision.reason is Reason.SUSPENDED
    core.edit(suspend=False)
    core.breaks.clear()

    core.settle()

    assert core.reason == Reason.ROLLED_BACK
    assert core.numbers == [1, 2, 3]


def test_6_a_foreign_operation_in_progress_is_waited_for_and_never_unlocked() -> None:
    core = an_installed_core()
    core.foreign(2, "pending-upgrade")
    core.edit(values=DEBUG)

    early = core.step(newest_unchanged_for=30.0).decision
    late = core.step(newest_unchanged_for=601.0).decision

    assert (early.action, early.reason, early.stalled) == (Nothing(), Reason.RELEASE_LOCKED, False)
    assert (late.action, late.reason) == (Nothing(), Reason.RELEASE_LOCKED)
    assert "helm rollback" in late.message


@pytest.mark.parametrize("interruption", ["violation", "suspend"])
def test_7_an_interruption_of_a_rollout_erases_neither_evidence_nor_plan_nor_approval(interruption: str) -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    plan = (core.status["plan"], core.status["planDigest"])

    if interruption == "violation":
        core.observation = replace(core.observation, foreign_pods=(ForeignPod("kube-flannel/flannel-1", "mi-4"),))
    else:
        core.edit(suspend=True)
    during = core.evaluate()
    assert (core.status["plan"], core.status["planDigest"]) == plan
    assert core.status["rollout"] is not None
    assert during.rollout.record is not None
    assert "mi-1" in during.rollout.record.nodes
    assert not during.counts_time


def test_7_a_failing_canary_is_taken_back_although_another_cni_has_appeared() -> None:
    core = a_failing_core()
    core.observation = replace(core.observation, foreign_pods=(ForeignPod("kube-flannel/flannel-1", "mi-4"),))

    rollback = run_until(core, Rollback)

    assert rollback.target.number == 1


def test_7_an_edit_that_cannot_be_parsed_does_not_stop_the_way_back() -> None:
    core = a_failing_core()
    core.edit(ipam=[])

    assert run_until(core, Rollback).target.number == 1


def test_9_a_map_where_a_boolean_belongs_is_a_violation() -> None:
    core = Core(values={"ingressController": {"enabled": True}, "kubeProxyReplacement": {}})

    assert core.step().decision.reason is Reason.INVALID_VALUES


def test_11_a_revision_of_an_admin_after_a_rollback_is_not_claimed() -> None:
    core = a_failing_core()
    core.breaks.clear()
    core.settle()
    assert core.reason == Reason.ROLLED_BACK
    core.foreign(4, version="1.17.9-0")

    decision = core.step().decision

    assert (decision.action, decision.reason) == (Nothing(), Reason.FOREIGN_REVISION)


def test_12_the_fix_and_the_next_minor_are_tried_after_an_earlier_configuration_failed() -> None:
    core = a_failing_core()
    core.edit(values=FIX, version="1.18.8-1")
    core.breaks.clear()

    core.settle(200)

    assert core.reason == Reason.IN_SYNC
    assert applied(core)[-1] == "1.18.8-1"


def test_12_the_same_release_is_not_tried_again_in_a_new_generation() -> None:
    core = a_failing_core()
    core.breaks.clear()
    core.settle()
    core.actions.clear()

    core.edit(upgrade={**core.raw["upgrade"], "approval": "Automatic"})
    evaluation = core.settle()

    assert (core.actions, ready(evaluation)) == ([], ("False", "RolledBack", True))


def test_13_a_broken_node_does_not_hold_up_a_rolling_update_for_ever_without_alarm() -> None:
    core = an_installed_core(upgrade={"preflight": {"enabled": False}, "rollout": {"strategy": "RollingUpdate"}})
    core.break_agent("mi-4")
    core.edit(version="1.18.8-1")

    for _ in range(400):
        evaluation = core.step()
        # What the DaemonSet controller does.
        agents, agent_set = core.observation.agents, core.observation.agent_set
        assert agent_set is not None
        outdated = [name for name, agent in agents.items() if agent.config_digest != agent_set.config_digest]
        if outdated:
            core.breaks = {"mi-4"}
            core.start(outdated[0])

    assert applied(core) == ["1.17.15-1", "1.18.8-1"]
    assert ready(evaluation) == ("False", "NodesNotReady", True)


def test_14_bad_edits_with_pause_take_one_node_between_them() -> None:
    upgrade = {"preflight": {"enabled": False}, "rollout": {"soak": "30s"}, "onFailure": "Pause"}
    core = a_failing_core(upgrade=upgrade)
    core.breaks.update(NODES)

    for number in range(3):
        core.edit(values={"debug": {"verbose": f"attempt {number}"}})
        core.settle(100)

    lost = [name for name, agent in core.observation.agents.items() if not agent.ready]
    assert lost == ["mi-1"]
    assert not any(isinstance(action, Rollback) for action in core.actions)


def test_15_the_first_version_is_the_first_that_ran() -> None:
    core = Core(version="1.18.8-1")
    failed = core.step().decision.action
    assert isinstance(failed, Apply)
    core.perform(failed)
    core.observation = replace(core.observation, revisions=(a_revision(1, status="failed", version="1.18.8-1"),))

    core.edit(version="1.17.15-1")

    assert run_until(core, Apply).desired_release.values["upgradeCompatibility"] == "1.17"


def test_15_a_lost_record_is_rebuilt_from_the_payload_after_ten_revisions() -> None:
    core = an_installed_core(version="1.18.8-1")
    number = core.observation.revisions[-1].number
    payload = replace(core.observation.payloads[number], initial_series="1.17")
    core.observation = replace(core.observation, record=None, payloads={number: payload})

    evaluation = core.step()

    assert evaluation.record.rebuilt
    assert core.observation.record is not None
    assert core.observation.record.initial_version == "1.17.0"
    assert evaluation.status.version.initial == "1.17"
    assert any(finding.startswith("RecordLost") for finding in evaluation.status.findings)


def test_16_a_release_of_somebody_else_with_cilium_nodes_is_reported_as_such() -> None:
    core = Core(an_observation(cilium_nodes=[a_cilium_node(pod_cidrs=["10.99.0.0/25"])]))
    core.foreign(1, version="1.17.9")

    decision = core.step().decision

    assert (decision.action, decision.reason) == (Nothing(), Reason.RELEASE_NOT_OWNED)


def test_17_no_minor_is_entered_while_all_nodes_are_disconnected() -> None:
    core = an_installed_core(version="1.17.15-1")
    core.edit(version="1.19.4-1")
    gone = {name: replace(node, ready="Unknown") for name, node in core.observation.nodes.items()}
    run_until(core, RestartAgents, 20)
    core.observation = replace(core.observation, nodes=gone)

    evaluation = core.settle()

    assert applied(core) == ["1.18.8-1"]
    assert ready(evaluation)[0] == "False"


def test_18_a_lost_record_is_named_among_many_other_findings() -> None:
    core = an_installed_core()
    cloud = "ip-10-0-0-1"
    core.observation = replace(
        core.observation,
        record=None,
        cloud_nodes=frozenset({cloud}),
        agents={**core.observation.agents, cloud: an_agent(cloud)},
        cilium_nodes={
            **{name: a_cilium_node(name, pod_cidrs=["10.85.0.0/25", "10.99.0.0/25"]) for name in NODES},
            cloud: a_cilium_node(cloud, pod_cidrs=["10.85.0.128/25"]),
        },
        nodes={name: replace(node, clock_skew=5) for name, node in core.observation.nodes.items()},
        node_configs=tuple(NodeConfigOverride(f"kube-system/config-{n}", ("mtu",)) for n in range(9)),
    )

    status = core.evaluate(differences=[Difference("ConfigMap kube-system/cilium-config")] * 9).status

    assert len(status.findings) > 1
    assert any("RecordLost" in finding for finding in status.findings)


def test_19_an_admins_own_preflight_is_left_alone() -> None:
    core = an_installed_core()
    own = replace(a_revision(), managed=False)
    core.observation = replace(core.observation, preflight=PreflightObservation(release=own, nodes_observed=True))

    core.settle()

    assert not any(isinstance(action, EndPreflight) for action in core.actions)


def test_19_an_uninstall_of_an_admin_in_progress_is_not_disturbed() -> None:
    core = an_installed_core()
    core.change(1, status="uninstalling")
    core.edit(values=DEBUG)

    early = core.evaluate(newest_unchanged_for=599.0).decision
    late = core.evaluate(newest_unchanged_for=600.0).decision

    assert (early.action, early.reason) == (Nothing(), Reason.RELEASE_LOCKED)
    assert isinstance(late.action, Unlock)


def test_19_deletion_with_uninstall_releases_the_resource_after_an_admin_took_over() -> None:
    core = an_installed_core(deletionPolicy="Uninstall")
    core.foreign(2)
    core.deleting = True

    decision = core.step().decision

    assert isinstance(decision.action, RemoveFinalizer)
    assert "kept" in decision.message
    assert not any(isinstance(action, Uninstall) for action in core.actions)
