"""Histories of restarts and judgements: what must not be judged, and what must be although something else is wrong."""

from dataclasses import replace

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import Apply, MarkRevision, Nothing, RestartAgents, Rollback
from cilium_hybrid.plan.observation import ForeignPod
from unit.plan.cores import DEBUG, FIX, a_failing_core, an_installed_core, kinds, run_until
from unit.plan.stepping import Core

ROLLING = {"preflight": {"enabled": False}, "rollout": {"soak": "30s", "strategy": "RollingUpdate"}}
PAUSE = {"preflight": {"enabled": False}, "rollout": {"soak": "30s"}, "onFailure": "Pause"}


def replace_one(core: Core) -> None:
    """The DaemonSet controller replaces one outdated agent while all others are Ready."""
    agents, agent_set = core.observation.agents, core.observation.agent_set
    assert agent_set is not None
    outdated = [name for name, agent in agents.items() if agent.config_digest != agent_set.config_digest]
    if outdated and all(agent.ready for agent in agents.values()):
        core.start(outdated[0])


def crash(core: Core, name: str) -> None:
    """The container of an agent exits once more."""
    core.break_agent(name, core.observation.agents[name].exits + 1)


def crash_until_rollback(core: Core, name: str) -> None:
    """The agent exits once a minute, and the operator reconciles again right after each action."""
    for _ in range(10):
        crash(core, name)
        evaluation = core.step(10.0)
        while not isinstance(evaluation.decision.action, Nothing):
            if isinstance(evaluation.decision.action, Rollback):
                return
            evaluation = core.step(0.2)
        for _ in range(5):
            core.step(10.0)
    raise AssertionError(f"no way back: {core.status['conditions'][0]}")


def test_a_rolling_update_is_judged_by_the_node_that_is_replaced_while_helm_runs() -> None:
    core = an_installed_core(upgrade=ROLLING)
    core.edit(values=DEBUG)
    core.perform(run_until(core, Apply))
    agent_set = core.observation.agent_set
    assert agent_set is not None
    core.breaks.add(str(agent_set.config_digest))
    replace_one(core)

    crash_until_rollback(core, "mi-1")


def test_the_way_back_from_a_rolling_update_brings_the_agents_back() -> None:
    core = an_installed_core(upgrade=ROLLING)
    core.edit(values=DEBUG)
    core.perform(run_until(core, Apply))
    agent_set = core.observation.agent_set
    assert agent_set is not None
    core.step()
    core.breaks.add(str(agent_set.config_digest))
    replace_one(core)
    crash_until_rollback(core, "mi-1")

    core.settle(300)

    assert all(agent.ready for agent in core.observation.agents.values()), core.status
    assert core.reason == Reason.ROLLED_BACK


def test_nodes_replaced_by_the_daemonset_controller_are_known_although_the_strategy_changes_at_once() -> None:
    core = an_installed_core(upgrade=ROLLING)
    core.edit(values=DEBUG)
    core.perform(run_until(core, Apply))
    replace_one(core)
    core.edit(upgrade={**ROLLING, "rollout": {"soak": "30s"}})

    crash_until_rollback(core, "mi-1")


def test_a_canary_that_begins_to_crash_during_a_violation_is_taken_back() -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    core.step()
    core.observation = replace(core.observation, foreign_pods=(ForeignPod("kube-flannel/flannel-1", "mi-4"),))
    core.step()

    crash_until_rollback(core, "mi-1")


def test_a_canary_that_begins_to_crash_while_the_next_change_awaits_approval_is_taken_back() -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    core.step()
    core.edit(values=FIX, upgrade={**core.raw["upgrade"], "approval": "Manual"})
    core.step()

    crash_until_rollback(core, "mi-1")


def test_the_fix_and_the_next_minor_are_tried_after_a_pause() -> None:
    core = a_failing_core(upgrade=PAUSE)
    core.settle()
    assert core.reason == Reason.ROLLOUT_STALLED
    core.edit(values=FIX, version="1.18.8-1")
    core.actions.clear()

    core.settle(300)

    assert "Apply" in kinds(core.actions), core.status["conditions"][0]


def test_exits_before_a_fix_of_the_cilium_operator_are_no_evidence_against_the_fix() -> None:
    core = a_failing_core(upgrade=PAUSE)
    core.settle()
    core.edit(values={**DEBUG, "operator": {"extraArgs": ["--fix"]}})
    fixed = run_until(core, Apply)
    core.perform(fixed)
    core.actions.clear()

    core.step()
    core.step()

    marks = [a.mark for a in core.actions if isinstance(a, MarkRevision)]
    assert marks == []


def test_a_percentage_set_during_a_rollout_is_not_ignored() -> None:
    names = [f"mi-{number:02}" for number in range(20)]
    core = an_installed_core(names, upgrade={"preflight": {"enabled": False}, "rollout": {"maxUnavailable": 10}})
    core.edit(values=DEBUG)
    core.perform(run_until(core, RestartAgents))
    core.edit(upgrade={"preflight": {"enabled": False}, "rollout": {"maxUnavailable": "5%"}})
    core.actions.clear()
    core.settle(100)

    most = max(len(action.pods) for action in core.actions if isinstance(action, RestartAgents))
    assert most == 1


def test_a_lost_record_after_a_rollback_does_not_forget_what_was_rejected() -> None:
    core = a_failing_core()
    core.settle()
    core.breaks.clear()
    core.settle()
    assert core.reason == Reason.ROLLED_BACK
    core.observation = replace(core.observation, record=None)
    core.restart()
    core.actions.clear()

    core.settle()

    assert "Apply" not in kinds(core.actions)
    assert core.reason == Reason.ROLLED_BACK
