from dataclasses import replace
from typing import Any

import pytest

from builders import (
    EARLIER,
    OTHER_DIGEST,
    a_condition,
    a_healthy_observation,
    a_record,
    a_revision,
    a_status,
    an_agent,
    condition,
    with_node,
)
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Phase
from cilium_hybrid.plan.actions import Action, Apply, Decision, Nothing, Rollback, Unlock
from cilium_hybrid.plan.observation import CiliumOperator, Observation
from evaluations import a_decided_evaluation, an_evaluation, status_of

OTHER_NODE = "mi-0000000000000002"
READY, RECONCILING, STALLED = ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED

HEALTHY = a_healthy_observation(a_revision(), record=a_record(), nodes=2)
SECOND = a_healthy_observation(a_revision(status="superseded"), a_revision(2), nodes=2)
NO_NODES = a_healthy_observation(a_revision(), nodes=0)
NO_NETWORK = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:cni plugin"
SETTLED = a_status(a_condition(READY, "True", Reason.IN_SYNC))
APPLY = Apply(an_evaluation().upgrade_path.next, 2)


def a_decision(reason: Reason, action: Action = Nothing(), **more: Any) -> Decision:  # noqa: B008 # frozen
    return Decision(action, reason, "why", **more)


ROLLING_OUT = a_decision(Reason.ROLLING_OUT)
ROLLBACK = Rollback(a_revision(), 3, (), None, a_record())
DISCONNECTED = with_node(HEALTHY, ready="Unknown")
OUTDATED = an_agent(config_digest=OTHER_DIGEST)
CRASHING = an_agent(ready=False, failure_message="CrashLoopBackOff")
RETRIED = with_node(
    a_healthy_observation(a_revision(status="failed"), a_revision(2), nodes=2), agent=an_agent(ready=False)
)
NO_OPERATOR = replace(HEALTHY, cilium_operator=None)
NOT_AVAILABLE = replace(HEALTHY, cilium_operator=CiliumOperator(replicas=2, available=0, observed=True))
CHANGED = replace(
    a_healthy_observation(a_revision(status="superseded"), a_revision(2), nodes=2),
    cilium_operator=CiliumOperator(replicas=2, available=1, observed=True, current=False),
)
NOT_OBSERVED = replace(HEALTHY, cilium_operator=CiliumOperator(replicas=2, available=2, observed=False))


@pytest.mark.parametrize(
    ("observation", "more", "ready", "reason", "phase", "other"),
    [
        pytest.param(HEALTHY, {}, "True", Reason.IN_SYNC, Phase.READY, None, id="healthy"),
        pytest.param(NO_NODES, {}, "True", Reason.NO_HYBRID_NODES, Phase.READY, None, id="no nodes"),
        pytest.param(DISCONNECTED, {}, "True", Reason.NODES_DISCONNECTED, Phase.READY, None, id="a disconnected node"),
        pytest.param(
            with_node(HEALTHY, agent=CRASHING),
            {"decision": ROLLING_OUT},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="the first agents start",
        ),
        pytest.param(
            with_node(SECOND, agent=OUTDATED),
            {"decision": ROLLING_OUT},
            "False",
            Reason.ROLLING_OUT,
            Phase.UPGRADING,
            RECONCILING,
            id="an outdated agent",
        ),
        pytest.param(
            with_node(SECOND, agent=CRASHING),
            {"decision": ROLLING_OUT},
            "False",
            Reason.ROLLING_OUT,
            Phase.UPGRADING,
            RECONCILING,
            id="an updated agent that is not Ready yet",
        ),
        pytest.param(
            with_node(SECOND, ready="False"),
            {},
            "True",
            Reason.IN_SYNC,
            Phase.READY,
            None,
            id="a NotReady node is not Cilium's fault",
        ),
        pytest.param(
            NOT_AVAILABLE,
            {},
            "True",
            Reason.IN_SYNC,
            Phase.READY,
            None,
            id="without a rollout, the Cilium operator is not waited for",
        ),
        pytest.param(
            with_node(HEALTHY, agent=CRASHING),
            {"previous": SETTLED},
            "True",
            Reason.NODES_JOINING,
            Phase.READY,
            None,
            id="a joining node has a grace period",
        ),
        pytest.param(
            with_node(DISCONNECTED, OTHER_NODE, agent=an_agent(OTHER_NODE, ready=False)),
            {"previous": SETTLED},
            "True",
            Reason.NODES_JOINING,
            Phase.READY,
            None,
            id="a joining node and a disconnected one",
        ),
        pytest.param(
            with_node(HEALTHY, ready="False", message=NO_NETWORK),
            {"previous": SETTLED},
            "True",
            Reason.NODES_JOINING,
            Phase.READY,
            None,
            id="a node whose kubelet has not detected the CNI yet",
        ),
        pytest.param(
            with_node(HEALTHY, ready="False"),
            {"previous": SETTLED},
            "True",
            Reason.IN_SYNC,
            Phase.READY,
            None,
            id="a NotReady node is not joining",
        ),
        pytest.param(
            with_node(DISCONNECTED, OTHER_NODE, ready="False"),
            {"previous": SETTLED, "unready_since": EARLIER},
            "True",
            Reason.NODES_DISCONNECTED,
            Phase.READY,
            None,
            id="a NotReady node and a disconnected one",
        ),
        pytest.param(
            RETRIED,
            {"decision": ROLLING_OUT},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="an install that was retried",
        ),
        pytest.param(
            with_node(HEALTHY, agent=CRASHING),
            {"previous": SETTLED, "unready_since": EARLIER},
            "False",
            Reason.NODES_NOT_READY,
            Phase.DEGRADED,
            STALLED,
            id="an unready node after its grace period",
        ),
        pytest.param(
            with_node(HEALTHY, agent=CRASHING),
            {
                "previous": a_status(a_condition(READY, "False", Reason.NODES_NOT_READY)),
                "unready_since": EARLIER,
            },
            "False",
            Reason.NODES_NOT_READY,
            Phase.DEGRADED,
            STALLED,
            id="a node that is still unready",
        ),
        pytest.param(
            with_node(HEALTHY, agent=CRASHING),
            {"previous": SETTLED, "generation": 2, "decision": ROLLING_OUT},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="a new generation has no grace period",
        ),
        pytest.param(
            HEALTHY,
            {"decision": a_decision(Reason.SUSPENDED)},
            "False",
            Reason.SUSPENDED,
            Phase.SUSPENDED,
            None,
            id="suspended before it was ever Ready",
        ),
        pytest.param(
            HEALTHY,
            {"decision": a_decision(Reason.SUSPENDED), "previous": SETTLED},
            "True",
            Reason.SUSPENDED,
            Phase.SUSPENDED,
            None,
            id="suspended after it was Ready",
        ),
        pytest.param(
            HEALTHY,
            {"decision": a_decision(Reason.INSTALLING), "previous": SETTLED},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="an install waits for the previous installation",
        ),
        *(
            pytest.param(
                HEALTHY,
                {"decision": a_decision(reason), "previous": SETTLED},
                "False",
                reason,
                Phase.DELETING,
                RECONCILING,
                id=f"{reason} has its own phase",
            )
            for reason in (Reason.DELETING, Reason.DELETION_BLOCKED)
        ),
        *(
            pytest.param(
                HEALTHY,
                {"decision": a_decision(reason, stalled=True), "previous": SETTLED},
                "False",
                reason,
                Phase.BLOCKED,
                STALLED,
                id=f"{reason} is stalled",
            )
            for reason in (
                Reason.RELEASE_NOT_OWNED,
                Reason.FOREIGN_REVISION,
                Reason.CHART_REFUSED,
                Reason.RENDER_REFUSED,
                Reason.INVALID_VALUES,
            )
        ),
        *(
            pytest.param(
                HEALTHY,
                {"decision": a_decision(reason), "previous": SETTLED},
                "False",
                reason,
                Phase.BLOCKED,
                RECONCILING,
                id=f"{reason} is retried",
            )
            for reason in (Reason.CHART_UNAVAILABLE, Reason.APPLY_FAILED, Reason.API_UNAVAILABLE)
        ),
        *(
            pytest.param(
                HEALTHY,
                {"decision": a_decision(reason, action), "previous": SETTLED},
                "False",
                reason,
                phase,
                RECONCILING,
                id=f"{reason} is reported before the action",
            )
            for reason, action, phase in (
                (Reason.INSTALLING, APPLY, Phase.INSTALLING),
                (Reason.CONFIGURING, APPLY, Phase.UPGRADING),
                (Reason.RELEASE_LOCKED, Unlock(1), Phase.UPGRADING),
                (Reason.ROLLOUT_STALLED, Nothing(), Phase.BLOCKED),
                (Reason.ROLLING_BACK, ROLLBACK, Phase.ROLLING_BACK),
                (Reason.ROLLING_BACK, Nothing(), Phase.ROLLING_BACK),
            )
        ),
    ],
)
def test_ready_and_phase(
    observation: Observation,
    more: dict[str, Any],
    ready: str,
    reason: Reason,
    phase: Phase,
    other: ConditionType | None,
) -> None:
    status = status_of(a_decided_evaluation(observation, **more))
    found = condition(status, READY)

    assert found is not None
    assert (found.status, found.reason, status.phase) == (ready, reason, phase)
    for kind in (RECONCILING, STALLED):
        active = condition(status, kind)
        assert (active is not None) == (kind is other)
        assert active is None or (active.status, active.reason, active.message) == ("True", reason, found.message)
