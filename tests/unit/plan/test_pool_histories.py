"""Histories in which an address pool is appended, and then the change fails or is refused."""

from typing import Any

import pytest

from builders import (
    DIGEST,
    MASK,
    NOW,
    POOL,
    VERSION,
    a_cilium_node,
    a_node,
    a_raw_spec,
    a_revision,
    an_agent,
    an_observation,
)
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import AppliedIpam
from cilium_hybrid.plan.actions import Apply, Rollback
from cilium_hybrid.plan.evaluate import evaluate
from cilium_hybrid.plan.inputs import Evaluation, ReconcileInput, Resource
from cilium_hybrid.plan.observation import AgentSet, Observation, PoolConfig
from cilium_hybrid.plan.record import Record, Rejected
from cilium_hybrid.rules.lenient_spec import read_lenient_spec

APPENDED = "10.86.0.0/16"
BOTH = (POOL, APPENDED)


def evaluated(observation: Observation, **spec: Any) -> Evaluation:
    raw = a_raw_spec(**spec)
    resource = Resource(generation=2, resource_version="1", spec=raw, status={})
    return evaluate(
        ReconcileInput(
            resource=resource,
            lenient_spec=read_lenient_spec(raw),
            observation=observation,
            now=NOW,
            failure_of=lambda _: None,
        )
    )


def applied(evaluation: Evaluation) -> AppliedIpam | None:
    """What an edit of spec.ipam must keep."""
    return None if evaluation.status.ipam is None else evaluation.status.ipam.applied


def a_rejected_append(pool: PoolConfig, block: str = "10.86.0.0/25") -> Observation:
    """Revision 1 is verified; revision 2 appended a pool and changed an agent value, and its canary failed."""
    verified = a_revision(1, status="superseded", spec_digest=DIGEST)
    return an_observation(
        verified,
        a_revision(2, spec_digest="sha256:rejected", rejected=True),
        record=Record(
            VERSION,
            BOTH,
            MASK,
            revision=2,
            verified=1,
            verified_version=VERSION,
            rejected=Rejected(2, "sha256:rejected", "mi-1: CrashLoopBackOff"),
        ),
        pool=pool,
        agent_set=AgentSet(DIGEST, observed=True),
        nodes=[a_node()],
        agents=[an_agent(ready=False)],
        cilium_nodes=[a_cilium_node(pod_cidrs=[block])],
    )


@pytest.mark.parametrize(
    ("observation", "pod_cidrs"),
    [
        pytest.param(a_rejected_append(PoolConfig(BOTH, MASK)), BOTH, id="nodes have blocks of it"),
        pytest.param(
            a_rejected_append(PoolConfig(BOTH, MASK), block="10.85.0.0/25"), BOTH, id="it is in cilium-config"
        ),
        pytest.param(a_rejected_append(PoolConfig((POOL,), MASK)), BOTH, id="it is only in the CiliumNodes"),
        pytest.param(a_rejected_append(PoolConfig(BOTH, MASK)), (POOL,), id="the spec has dropped it by now"),
    ],
)
def test_5_the_way_back_keeps_a_pool_that_was_appended_by_the_rejected_revision(
    observation: Observation, pod_cidrs: tuple[str, ...]
) -> None:
    evaluation = evaluated(observation, pod_cidrs=pod_cidrs)
    action = evaluation.decision.action

    assert isinstance(action, Rollback)
    assert (action.revision, action.pod_cidrs, action.mask_size) == (3, BOTH, MASK)
    assert action.record.pod_cidrs == BOTH
    assert applied(evaluation) == AppliedIpam(pod_cidrs=BOTH, mask_size=MASK)


def test_8_an_appended_cidr_that_is_refused_is_not_applied_and_can_be_removed() -> None:
    node = a_node(address="10.86.0.11")
    observation = an_observation(
        a_revision(),
        record=Record(VERSION, (POOL,), MASK, revision=1, verified=1),
        pool=PoolConfig((POOL,), MASK),
        nodes=[node],
        cilium_nodes=[a_cilium_node()],
    )
    refused, removed = evaluated(observation, pod_cidrs=BOTH), evaluated(observation)

    assert [violation.reason for violation in refused.violations] == [Reason.POD_CIDR_OVERLAP]
    assert applied(refused) == AppliedIpam(pod_cidrs=(POOL,), mask_size=MASK)
    assert removed.violations == ()


def a_failed_install(**more: Any) -> Observation:
    return an_observation(a_revision(status="failed"), record=Record(None, (POOL,), MASK, revision=1), **more)


def test_8_the_mask_can_change_after_an_install_that_left_nothing() -> None:
    evaluation = evaluated(a_failed_install(), mask_size=26, pod_cidrs=[APPENDED])
    action = evaluation.decision.action

    assert evaluation.violations == ()
    assert isinstance(action, Apply)
    # From now on Helm may apply it.
    assert applied(evaluation) == AppliedIpam(pod_cidrs=(APPENDED,), mask_size=26)


@pytest.mark.parametrize(
    "left",
    [
        pytest.param({"pool": PoolConfig((POOL,), MASK)}, id="cilium-config"),
        pytest.param({"cilium_nodes": [a_cilium_node()]}, id="a CiliumNode with a block"),
    ],
)
def test_8_the_mask_is_fixed_if_a_failed_install_left_something(left: dict[str, Any]) -> None:
    evaluation = evaluated(a_failed_install(**left), mask_size=26)

    assert [violation.reason for violation in evaluation.violations] == [Reason.MASK_CHANGED]


def test_8_while_helm_is_at_work_what_it_applies_is_applied() -> None:
    observation = an_observation(
        a_revision(),
        a_revision(2, status="pending-upgrade"),
        record=Record(VERSION, BOTH, MASK, revision=1, verified=1),
        pool=PoolConfig((POOL,), MASK),
    )

    assert applied(evaluated(observation, pod_cidrs=BOTH)) == AppliedIpam(pod_cidrs=BOTH, mask_size=MASK)
