"""Ready while agents run an outdated configuration, which makes no node unready."""

from dataclasses import replace
from typing import Any

import pytest

from builders import (
    EARLIER,
    NODE,
    OTHER_DIGEST,
    VERSION,
    a_condition,
    a_healthy_observation,
    a_node,
    a_revision,
    a_spec,
    a_status,
    an_agent,
    condition,
    with_node,
)
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Phase
from cilium_hybrid.plan.actions import Decision, Nothing
from evaluations import a_decided_evaluation, status_of

OTHER_NODE = "mi-0000000000000002"
READY, RECONCILING, NODES_READY = ConditionType.READY, ConditionType.RECONCILING, ConditionType.NODES_READY
OUTDATED = with_node(
    a_healthy_observation(a_revision(status="superseded"), a_revision(2), nodes=2),
    agent=an_agent(config_digest=OTHER_DIGEST),
)
DISCONNECTED = replace(OUTDATED, nodes={NODE: a_node(ready="Unknown"), OTHER_NODE: a_node(OTHER_NODE)})
BOTH = replace(OUTDATED, nodes={NODE: a_node(), OTHER_NODE: a_node(OTHER_NODE, ready="Unknown")})
ROLLING_UPDATE = a_spec(upgrade={"rollout": {"strategy": "RollingUpdate"}})
SETTLED = a_status(a_condition(READY, "True", Reason.IN_SYNC))
ROLLING_OUT = Decision(Nothing(), Reason.ROLLING_OUT, "1 of 2 connected nodes updated")


@pytest.mark.parametrize(
    ("more", "reason", "phase"),
    [
        pytest.param(
            {"previous": SETTLED, "generation": 2, "spec": ROLLING_UPDATE, "decision": ROLLING_OUT},
            Reason.ROLLING_OUT,
            Phase.UPGRADING,
            id="a new generation after a settled one",
        ),
        pytest.param({"decision": ROLLING_OUT}, Reason.ROLLING_OUT, Phase.UPGRADING, id="a rollout"),
        pytest.param(
            {"previous": SETTLED, "unready_since": EARLIER},
            Reason.NODES_NOT_READY,
            Phase.DEGRADED,
            id="a settled generation after the grace period",
        ),
    ],
)
def test_ready_is_false_while_an_agent_is_outdated(more: dict[str, Any], reason: Reason, phase: Phase) -> None:
    status = status_of(a_decided_evaluation(OUTDATED, **more))
    ready, reconciling = condition(status, READY), condition(status, RECONCILING)

    assert ready is not None
    assert (ready.status, ready.reason, status.phase) == ("False", reason, phase)
    assert (reconciling is not None) == (phase is Phase.UPGRADING)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({}, id="in sync"),
        pytest.param({"decision": ROLLING_OUT}, id="a rollout"),
    ],
)
def test_a_settled_generation_has_a_grace_period(more: dict[str, Any]) -> None:
    status = status_of(a_decided_evaluation(OUTDATED, previous=SETTLED, **more))
    ready = condition(status, READY)

    assert ready is not None
    assert (ready.status, ready.reason, status.phase) == ("True", Reason.NODES_JOINING, Phase.READY)


def test_an_outdated_agent_on_a_disconnected_node_does_not_block() -> None:
    ready = condition(status_of(a_decided_evaluation(DISCONNECTED)), READY)

    assert ready is not None
    assert (ready.status, ready.reason) == ("True", Reason.NODES_DISCONNECTED)


def test_an_outdated_agent_does_not_make_its_node_unready() -> None:
    status = status_of(a_decided_evaluation(OUTDATED))
    nodes_ready = condition(status, NODES_READY)

    assert (status.nodes.ready, status.nodes.up_to_date, status.nodes.unready) == (2, 1, ())
    assert nodes_ready is not None
    assert (nodes_ready.status, nodes_ready.reason) == ("True", Reason.IN_SYNC)


def test_ready_names_the_nodes_with_outdated_agents() -> None:
    alone, beside = (
        condition(status_of(a_decided_evaluation(observation, previous=SETTLED)), READY)
        for observation in (OUTDATED, BOTH)
    )

    assert alone is not None
    assert beside is not None
    assert alone.message == (
        f"Cilium {VERSION} runs on 1 of 2 hybrid nodes: {NODE} (agent runs an outdated configuration)"
    )
    assert beside.message == (
        f"Cilium {VERSION} runs on 0 of 2 hybrid nodes: {OTHER_NODE} (NodeDisconnected: node does not report to the "
        f"API server); {NODE} (agent runs an outdated configuration)"
    )
