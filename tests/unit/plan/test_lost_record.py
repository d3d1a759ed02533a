"""The record is lost at a moment when no rollout can begin; what it had restarted must still be found."""

from dataclasses import replace

import pytest

from unit.plan.cores import a_failing_core
from unit.plan.stepping import Core


def set_connected(core: Core, *, connected: bool) -> None:
    """All nodes lose contact, or are back with the agents that they had."""
    seen = core.observation
    nodes = {name: replace(node, ready="True" if connected else "Unknown") for name, node in seen.nodes.items()}
    agents = {
        name: replace(agent, ready=connected and agent.config_digest not in core.breaks)
        for name, agent in seen.agents.items()
    }
    core.observation = replace(seen, nodes=nodes, agents=agents)


def most_that_fail(core: Core, steps: int = 200) -> int:
    """Return on how many nodes at most the agent is not Ready; the agents of the failing release exit all the time."""
    most = 0
    for step in range(steps):
        core.step()
        agents = core.observation.agents
        most = max(most, sum(not agent.ready for agent in agents.values()))
        for name, agent in agents.items():
            if agent.config_digest in core.breaks:
                core.break_agent(name, step + 3)
    return most


def test_while_no_node_is_connected() -> None:
    core = a_failing_core()
    set_connected(core, connected=False)
    core.observation = replace(core.observation, record=None)
    core.restart()
    core.step()
    core.step()
    set_connected(core, connected=True)

    assert most_that_fail(core) == 1


@pytest.mark.parametrize("status", ["failed", "pending-upgrade"])
def test_while_the_newest_revision_is_not_deployed(status: str) -> None:
    core = a_failing_core()
    seen = core.observation
    newest = seen.revisions[-1]
    other = replace(newest, number=newest.number + 1, status=status, spec_digest="other", values_digest="other")
    core.observation = replace(seen, record=None, revisions=(*seen.revisions, other))
    core.restart()

    assert most_that_fail(core) == 1
