"""Cores at the start of a history."""

from collections.abc import Iterable
from typing import Any

from builders import a_node, an_observation
from cilium_hybrid.plan.actions import Action, Apply, RestartAgents
from unit.plan.stepping import Core, ready

NODES = ("mi-1", "mi-2", "mi-3", "mi-4")
DEBUG = {"debug": {"enabled": True}}
FIX = {"debug": {"enabled": False}}


def an_installed_core(names: Iterable[str] = NODES, **spec: Any) -> Core:
    """Revision 1 runs on every node and is verified."""
    core = Core(an_observation(nodes=[a_node(name) for name in names]), **spec)
    assert ready(core.settle()) == ("True", "InSync", False)
    core.actions.clear()
    return core


def a_failing_core(**spec: Any) -> Core:
    """Revision 2 was deployed, and its canary has just been restarted and crashes."""
    core = an_installed_core(**spec)
    core.edit(values=DEBUG)
    core.perform(run_until(core, Apply))
    agent_set = core.observation.agent_set
    assert agent_set is not None
    core.breaks.add(str(agent_set.config_digest))
    while not any(isinstance(action, RestartAgents) for action in core.actions):
        core.step()
    return core


def kinds(actions: Iterable[Action]) -> list[str]:
    return [type(action).__name__ for action in actions]


def applied(core: Core) -> list[str]:
    return [action.desired_release.chart_version for action in core.actions if isinstance(action, Apply)]


def run_until(core: Core, kind: type[Action], steps: int = 60) -> Any:
    """Evaluate until the next action is of a kind, and return it without carrying it out."""
    for _ in range(steps):
        action = core.evaluate().decision.action
        if isinstance(action, kind):
            return action
        core.perform(action)
    raise AssertionError(f"no {kind.__name__}: {core.status}")
