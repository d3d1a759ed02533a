"""Histories of releases, records and requests, with an interruption at any step."""

from dataclasses import replace
from datetime import timedelta

import pytest

from builders import NOW, a_node, an_agent, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import (
    Apply,
    EndPreflight,
    RestartAgents,
    Rollback,
)
from cilium_hybrid.plan.observation import AgentSet, PreflightObservation
from unit.plan.cores import DEBUG, FIX, a_failing_core, an_installed_core, applied, kinds, run_until
from unit.plan.stepping import Core

PAUSE = {"preflight": {"enabled": False}, "rollout": {"soak": "30s"}, "onFailure": "Pause"}


def test_a_request_does_not_let_the_operator_install_over_another_cilium() -> None:
    core = Core(
        replace(
            an_observation(nodes=[a_node("mi-1")], agents=[an_agent("mi-1")]),
            agent_set=AgentSet("sha256:foreign", observed=True),
        )
    )
    core.settle()
    assert core.actions == []
    before = core.reason
    core.requested = "now"

    core.settle()

    assert applied(core) == []
    assert core.reason == before


def test_a_broken_node_does_not_keep_minors_out_for_ever_after_the_record_was_lost() -> None:
    core = an_installed_core()
    core.break_agent("mi-4")
    for _ in range(10):
        core.step(60.0)
    core.observation = replace(core.observation, record=None)
    core.restart()
    core.edit(version="1.18.8-1")

    for _ in range(120):
        core.step(15.0)

    assert "1.18.8-1" in applied(core), core.status["conditions"][0]


def test_after_a_rollback_and_a_restart_of_the_operator_nothing_is_written() -> None:
    core = a_failing_core()
    core.breaks.clear()
    core.settle()
    core.restart()
    core.actions.clear()

    core.settle()

    assert core.actions == []


def test_a_preflight_check_that_cannot_be_removed_does_not_stop_the_way_back() -> None:
    core = a_failing_core()
    core.observation = replace(core.observation, preflight=PreflightObservation(nodes_observed=True))

    for _ in range(20):
        evaluation = core.evaluate()
        if isinstance(evaluation.decision.action, Rollback):
            return
        if isinstance(evaluation.decision.action, EndPreflight):
            core.fail(evaluation, Reason.APPLY_FAILED, core.now.replace(year=2100))
        else:
            core.perform(evaluation.decision.action)
    raise AssertionError(evaluation.decision)


@pytest.mark.parametrize("stage", [1, 2, 4, 8])
def test_suspend_and_resume_at_any_step_of_a_failing_rollout_changes_nothing_of_its_end(stage: int) -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, Apply))
    core.breaks.add(str(core.observation.agent_set and core.observation.agent_set.config_digest))
    for _ in range(stage):
        core.step()
    core.edit(suspend=True)
    before = len(core.actions)
    for _ in range(20):
        core.step(60.0)
    assert len(core.actions) == before
    core.edit(suspend=False)

    core.settle()

    restarted = [pod.name for a in core.actions if isinstance(a, RestartAgents) for pod in a.pods]
    assert core.reason == Reason.ROLLED_BACK
    assert len(restarted) == 2, restarted
    assert core.numbers == [1, 2, 3]


@pytest.mark.parametrize("stage", [1, 2, 4, 8])
def test_an_edit_at_any_step_of_a_failing_rollout_ends_in_sync_and_spares_healthy_nodes(stage: int) -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, Apply))
    broken = str(core.observation.agent_set and core.observation.agent_set.config_digest)
    core.breaks.add(broken)
    for _ in range(stage):
        core.step()
    core.edit(values=FIX)

    for _ in range(100):
        core.step()
        down = [name for name, agent in core.observation.agents.items() if not agent.ready]
        assert len(down) <= 1, down

    assert core.reason == Reason.IN_SYNC


@pytest.mark.parametrize("stage", [1, 2, 4, 8])
def test_a_restart_of_the_operator_at_any_step_of_a_failing_rollout_changes_nothing_of_its_end(stage: int) -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, Apply))
    broken = str(core.observation.agent_set and core.observation.agent_set.config_digest)
    core.breaks.add(broken)
    exits = 3
    for step in range(60):
        if step == stage:
            core.restart()
        core.step()
        for name, agent in core.observation.agents.items():
            if agent.config_digest == broken:
                exits += 1
                core.break_agent(name, exits)

    restarted = [pod.name for a in core.actions if isinstance(a, RestartAgents) for pod in a.pods]
    assert core.reason == Reason.ROLLED_BACK
    assert len(restarted) == 2, restarted


@pytest.mark.parametrize("stage", [0, 1, 3])
def test_a_lost_record_at_any_step_of_a_failing_rollout_takes_no_second_node(stage: int) -> None:
    core = an_installed_core()
    core.edit(values=DEBUG)
    core.perform(run_until(core, Apply))
    broken = str(core.observation.agent_set and core.observation.agent_set.config_digest)
    core.breaks.add(broken)
    exits = 3
    for step in range(150):
        if step == stage:
            core.observation = replace(core.observation, record=None)
            core.restart()
        core.step()
        down = [name for name, agent in core.observation.agents.items() if not agent.ready]
        assert len(down) <= 1, down
        for name, agent in core.observation.agents.items():
            if agent.config_digest == broken:
                exits += 1
                core.break_agent(name, exits)


def test_an_agent_that_exits_while_the_fix_is_refused_does_not_have_the_record_written_each_time() -> None:
    """What the next revision must not be blamed for is forgotten when it is applied, not at each attempt."""
    core = a_failing_core(upgrade=PAUSE)
    core.settle()
    assert core.reason == Reason.ROLLOUT_STALLED
    core.edit(values=FIX)
    while not isinstance((evaluation := core.evaluate()).decision.action, Apply):
        core.perform(evaluation.decision.action)
    core.fail(evaluation, Reason.POLICY_REJECTED, NOW + timedelta(days=1))
    core.actions.clear()
    for exits in range(4, 30):
        core.break_agent("mi-1", exits)
        core.step()
        core.step()

    assert core.reason == Reason.POLICY_REJECTED
    assert kinds(core.actions).count("WriteRecord") <= 1
