from dataclasses import replace
from typing import Any

import pytest

from builders import (
    EARLIER,
    OTHER_DIGEST,
    a_condition,
    a_healthy_observation,
    a_judged_report,
    a_record,
    a_revision,
    a_situation,
    a_status,
    an_agent,
    condition,
    with_node,
)
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Phase
from cilium_hybrid.plan.actions import Action, Apply, Decision, Nothing, Rollback, Unlock
from cilium_hybrid.plan.observation import CiliumOperator, Observation
from cilium_hybrid.plan.status.build import next_status

OTHER_NODE = "mi-0000000000000002"
READY, RECONCILING, STALLED = ConditionType.READY, ConditionType.RECONCILING, ConditionType.STALLED

WELL = a_healthy_observation(a_revision(), record=a_record(), nodes=2)
SECOND = a_healthy_observation(a_revision(status="superseded"), a_revision(2), nodes=2)
NO_NODES = a_healthy_observation(a_revision(), nodes=0)
SETTLED = a_status(a_condition(READY, "True", Reason.IN_SYNC))
APPLY = Apply(a_situation().upgrade_path.next, 2)


def a_decision(reason: Reason, action: Action = Nothing(), **more: Any) -> Decision:  # noqa: B008 # frozen
    return Decision(action, reason, "why", **more)


AWAY = with_node(WELL, ready="Unknown")
OLD_AGENT = an_agent(config_digest=OTHER_DIGEST)
CRASHES = an_agent(ready=False, failure_message="CrashLoopBackOff")
RETRIED = with_node(
    a_healthy_observation(a_revision(status="failed"), a_revision(2), nodes=2), agent=an_agent(ready=False)
)
NO_OPERATOR = replace(WELL, cilium_operator=None)
NOT_AVAILABLE = replace(WELL, cilium_operator=CiliumOperator(replicas=2, available=0, observed=True))
CHANGED = replace(
    a_healthy_observation(a_revision(status="superseded"), a_revision(2), nodes=2),
    cilium_operator=CiliumOperator(replicas=2, available=1, observed=True, current=False),
)
NOT_OBSERVED = replace(WELL, cilium_operator=CiliumOperator(replicas=2, available=2, observed=False))


@pytest.mark.parametrize(
    ("observation", "more", "ready", "reason", "phase", "beside"),
    [
        pytest.param(WELL, {}, "True", Reason.IN_SYNC, Phase.READY, None, id="all is well"),
        pytest.param(NO_NODES, {}, "True", Reason.NO_HYBRID_NODES, Phase.READY, None, id="no node has joined"),
        pytest.param(AWAY, {}, "True", Reason.NODES_DISCONNECTED, Phase.READY, None, id="a node does not report"),
        pytest.param(
            with_node(WELL, agent=CRASHES),
            {},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="the first agents start",
        ),
        pytest.param(
            with_node(SECOND, agent=OLD_AGENT),
            {},
            "False",
            Reason.ROLLING_OUT,
            Phase.UPGRADING,
            RECONCILING,
            id="agents are replaced",
        ),
        pytest.param(
            with_node(SECOND, agent=CRASHES),
            {},
            "False",
            Reason.ROLLING_OUT,
            Phase.UPGRADING,
            RECONCILING,
            id="all agents are replaced and one is not ready yet",
        ),
        pytest.param(
            with_node(SECOND, ready="False"),
            {},
            "False",
            Reason.NODES_NOT_READY,
            Phase.DEGRADED,
            RECONCILING,
            id="a generation that was never Ready waits for kubelets too",
        ),
        pytest.param(
            NO_OPERATOR,
            {},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="Cilium's operator is missing",
        ),
        pytest.param(
            NOT_AVAILABLE, {}, "False", Reason.INSTALLING, Phase.INSTALLING, RECONCILING, id="Cilium's operator starts"
        ),
        pytest.param(
            CHANGED,
            {},
            "False",
            Reason.ROLLING_OUT,
            Phase.UPGRADING,
            RECONCILING,
            id="the next one of a changed release starts",
        ),
        pytest.param(
            NOT_OBSERVED,
            {},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="what is known of Cilium's operator is old",
        ),
        pytest.param(
            NOT_AVAILABLE,
            {"previous": SETTLED},
            "True",
            Reason.IN_SYNC,
            Phase.READY,
            None,
            id="a blink of Cilium's operator takes nothing away",
        ),
        pytest.param(
            with_node(WELL, agent=CRASHES),
            {"previous": SETTLED},
            "True",
            Reason.NODES_JOINING,
            Phase.READY,
            None,
            id="a node that joins has two minutes",
        ),
        pytest.param(
            with_node(AWAY, OTHER_NODE, agent=an_agent(OTHER_NODE, ready=False)),
            {"previous": SETTLED},
            "True",
            Reason.NODES_JOINING,
            Phase.READY,
            None,
            id="a node that joins beside one that does not report",
        ),
        pytest.param(
            with_node(WELL, ready="False"),
            {"previous": SETTLED},
            "True",
            Reason.IN_SYNC,
            Phase.READY,
            None,
            id="a kubelet in trouble is no node that joins",
        ),
        pytest.param(
            with_node(AWAY, OTHER_NODE, ready="False"),
            {"previous": SETTLED, "failing_since": EARLIER},
            "True",
            Reason.NODES_DISCONNECTED,
            Phase.READY,
            None,
            id="a kubelet in trouble beside a node that does not report",
        ),
        pytest.param(
            RETRIED,
            {},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="an install in two tries is an install still",
        ),
        pytest.param(
            with_node(WELL, agent=CRASHES),
            {"previous": SETTLED, "failing_since": EARLIER},
            "False",
            Reason.NODES_NOT_READY,
            Phase.DEGRADED,
            None,
            id="a node that had its two minutes",
        ),
        pytest.param(
            with_node(WELL, agent=CRASHES),
            {
                "previous": a_status(a_condition(READY, "False", Reason.NODES_NOT_READY)),
                "failing_since": EARLIER,
            },
            "False",
            Reason.NODES_NOT_READY,
            Phase.DEGRADED,
            None,
            id="a node that still fails",
        ),
        pytest.param(
            with_node(WELL, agent=CRASHES),
            {"previous": SETTLED, "generation": 2},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="a new generation has to prove itself",
        ),
        pytest.param(
            WELL,
            {"decision": a_decision(Reason.SUSPENDED)},
            "False",
            Reason.SUSPENDED,
            Phase.SUSPENDED,
            None,
            id="suspended before it was ever Ready",
        ),
        pytest.param(
            WELL,
            {"decision": a_decision(Reason.SUSPENDED), "previous": SETTLED},
            "True",
            Reason.SUSPENDED,
            Phase.SUSPENDED,
            None,
            id="suspended after it was Ready",
        ),
        pytest.param(
            WELL,
            {"decision": a_decision(Reason.INSTALLING), "previous": SETTLED},
            "False",
            Reason.INSTALLING,
            Phase.INSTALLING,
            RECONCILING,
            id="an install waits for what was there before",
        ),
        *(
            pytest.param(
                WELL,
                {"decision": a_decision(reason), "previous": SETTLED},
                "False",
                reason,
                Phase.DELETING,
                RECONCILING,
                id=f"{reason} is a phase of its own",
            )
            for reason in (Reason.DELETING, Reason.DELETION_BLOCKED)
        ),
        *(
            pytest.param(
                WELL,
                {"decision": a_decision(reason, stalled=True), "previous": SETTLED},
                "False",
                reason,
                Phase.BLOCKED,
                STALLED,
                id=f"a person has to mend {reason}",
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
                WELL,
                {"decision": a_decision(reason), "previous": SETTLED},
                "False",
                reason,
                Phase.BLOCKED,
                RECONCILING,
                id=f"{reason} is tried again",
            )
            for reason in (Reason.CHART_UNAVAILABLE, Reason.APPLY_FAILED, Reason.API_UNAVAILABLE)
        ),
        *(
            pytest.param(
                WELL,
                {"decision": a_decision(reason, action), "previous": SETTLED},
                "False",
                reason,
                phase,
                RECONCILING,
                id=f"{reason} is announced before it is done",
            )
            for reason, action, phase in (
                (Reason.INSTALLING, APPLY, Phase.INSTALLING),
                (Reason.CONFIGURING, APPLY, Phase.UPGRADING),
                (Reason.RELEASE_LOCKED, Unlock(1), Phase.UPGRADING),
                (Reason.ROLLOUT_STALLED, Nothing(), Phase.BLOCKED),
                (Reason.ROLLING_BACK, Rollback(1, 3), Phase.ROLLING_BACK),
                (Reason.ROLLING_BACK, Nothing(), Phase.ROLLING_BACK),
            )
        ),
    ],
)
def test_ready_is_a_summary(
    observation: Observation,
    more: dict[str, Any],
    ready: str,
    reason: Reason,
    phase: Phase,
    beside: ConditionType | None,
) -> None:
    status = next_status(a_judged_report(observation, **more))
    said = condition(status, READY)

    assert said is not None
    assert (said.status, said.reason, status.phase) == (ready, reason, phase)
    for kind in (RECONCILING, STALLED):
        there = condition(status, kind)
        assert (there is not None) == (kind is beside)
        assert there is None or (there.status, there.reason, there.message) == ("True", reason, said.message)
