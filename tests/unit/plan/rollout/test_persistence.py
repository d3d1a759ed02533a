from dataclasses import replace
from typing import Any

import pytest

from cilium_hybrid.plan.record import RestartedNode, RolloutRecord, UpdatedOperator
from cilium_hybrid.plan.rollout.persistence import persisted

NODE = RestartedNode("pod", "node", "boot", "6.8", "v1.33", "containerd", healthy=True, new_pod_uid="new")
RECORD = RolloutRecord("sha256:x", nodes={"a": NODE}, idle_for=70.0)


def with_node(**edit: Any) -> RolloutRecord:
    return replace(RECORD, nodes={"a": replace(NODE, **edit)})


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(replace(RECORD, idle_for=119.0), id="less than a minute"),
        pytest.param(replace(RECORD, updated=7, outdated=9), id="counts"),
        pytest.param(with_node(elapsed=59.0), id="less than a minute of a node"),
        pytest.param(replace(RECORD, steady_for=59.0), id="a time that begins"),
        pytest.param(with_node(ready_for=59.0), id="an agent that is Ready for a moment"),
    ],
)
def test_small_differences_are_not_worth_a_write(record: RolloutRecord) -> None:
    assert persisted(record) == persisted(RECORD)


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(replace(RECORD, idle_for=120.0), id="a minute"),
        pytest.param(with_node(ready_for=60.0), id="an agent that is Ready for a minute"),
        pytest.param(replace(RECORD, nodes={}), id="a node"),
        pytest.param(replace(RECORD, cilium_operator=UpdatedOperator(exits=1)), id="the Cilium operator"),
        pytest.param(with_node(elapsed=60.0), id="a minute of a node"),
        pytest.param(with_node(exits=1), id="an exit"),
    ],
)
def test_other_differences_are(record: RolloutRecord) -> None:
    assert persisted(record) != persisted(RECORD)
