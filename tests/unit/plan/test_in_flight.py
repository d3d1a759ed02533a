"""What is in flight: marks, the record, and the way back."""

from dataclasses import replace
from typing import Any

import pytest

from builders import VERSION, a_record, a_spec, a_step_of, an_observation
from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.plan.actions import MarkRevision, Nothing, PodRef, RestartAgents, Rollback, WriteRecord
from cilium_hybrid.plan.in_flight import decide_in_flight
from cilium_hybrid.plan.inputs import Evaluation, SpecEvaluation
from cilium_hybrid.plan.record import Rejected, RestartedNode, RolloutRecord
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutPlan, RolloutStep
from evaluations import an_evaluation, changed

SPEC = a_spec()
REVISIONS = (a_step_of(SPEC, "1.17.8-0", 1, status="superseded", verified=True), a_step_of(SPEC, VERSION, 2))
RECORDED = a_record(revision=2, verified=1)
STATE = RolloutRecord("sha256:x", nodes={"mi-1": RestartedNode("pod", "node", "boot", "", "", "", healthy=True)})
FAILED = RolloutPlan(RolloutStep.FAILED, "the new agent fails on mi-1", record=STATE, failed=("mi-1",))
REJECTED = Rejected(2, "sha256:x", "the new agent fails on mi-1")
RESTORED = a_step_of(SPEC, "1.17.8-0", 3, rolled_back_to=1)


def facing(rollout: RolloutPlan = NO_ROLLOUT, *, record: Any = RECORDED, spec: Any = SPEC, **more: Any) -> Evaluation:
    """The revisions have the marks that the record knows of, unless `marked` is False."""
    revisions = more.pop("revisions", REVISIONS)
    if more.pop("marked", True):
        rejected = 0 if record.rejected is None else record.rejected.revision
        revisions = tuple(
            replace(r, verified=r.verified or r.number == record.verified, rejected=r.number == rejected)
            for r in revisions
        )
    return an_evaluation(spec, an_observation(*revisions, record=record), rollout=rollout, **more)


def test_evidence_is_recorded_before_anything_is_undone() -> None:
    decision = decide_in_flight(facing(FAILED))

    assert decision is not None
    assert isinstance(decision.action, MarkRevision)
    assert (decision.action.revision, decision.action.mark, decision.action.nodes) == (2, "rejected", ("mi-1",))
    expected = Rejected(2, REVISIONS[1].spec_digest, "the new agent fails on mi-1")
    assert (decision.action.record.rejected, decision.action.record.rollout) == (expected, STATE)
    assert decision.reason is Reason.ROLLING_BACK


def test_a_spec_that_cannot_be_parsed_does_not_hide_evidence() -> None:
    evaluation = facing(FAILED)
    fields = {name: getattr(evaluation, name) for name in Evaluation.__dataclass_fields__}

    decision = decide_in_flight(Evaluation(**fields))

    assert decision is not None
    assert isinstance(decision.action, MarkRevision)


def test_evidence_against_a_rejected_revision_leads_to_its_way_back() -> None:
    decision = decide_in_flight(facing(FAILED, record=replace(RECORDED, rejected=REJECTED)))

    assert decision is not None
    assert isinstance(decision.action, Rollback)
    assert (decision.action.target, decision.action.revision, decision.action.replaces) == (REVISIONS[0], 3, 2)
    assert decision.action.pod_cidrs == RECORDED.pod_cidrs


def test_the_pools_of_the_rejected_revision_stay() -> None:
    pools = ("10.85.0.0/16", "10.86.0.0/16")
    record = replace(RECORDED, rejected=REJECTED, pod_cidrs=pools)

    decision = decide_in_flight(facing(record=record))

    assert decision is not None
    assert isinstance(decision.action, Rollback)
    assert decision.action.pod_cidrs == pools


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({"spec": a_spec(upgrade={"onFailure": "Pause"})}, False, id="onFailure Pause"),
        pytest.param({"record": replace(RECORDED, rejected=None)}, False, id="nothing is rejected"),
        pytest.param({"revisions": (*REVISIONS, a_step_of(SPEC, VERSION, 3))}, False, id="something newer was applied"),
        pytest.param({"revisions": (*REVISIONS, RESTORED)}, False, id="the rollback is deployed"),
        pytest.param(
            {"revisions": (*REVISIONS, replace(RESTORED, status="failed"))}, True, id="Helm failed to roll back"
        ),
        pytest.param(
            {"revisions": (*REVISIONS, RESTORED), "record": replace(RECORDED, rejected=REJECTED, unlocked=3)},
            True,
            id="Helm was interrupted during the rollback",
        ),
        pytest.param({"spec": a_spec(masquerade=False)}, True, id="the spec asks for something else by now"),
    ],
)
def test_when_the_way_back_is_taken(more: dict[str, Any], expected: bool) -> None:
    evaluation = facing(**({"record": replace(RECORDED, rejected=REJECTED)} | more))
    decision = decide_in_flight(evaluation)

    assert (decision is not None and isinstance(decision.action, Rollback)) is expected


def test_agents_on_the_way_back_are_waited_for_before_anything_new() -> None:
    waiting = RolloutPlan(RolloutStep.WAIT, "waiting for mi-1", record=STATE)
    record = a_record(revision=3, chart_version="1.17.8-0", verified=1, rejected=REJECTED, rollout=STATE)

    decision = decide_in_flight(facing(waiting, record=record, revisions=(*REVISIONS, RESTORED)))

    assert decision is not None
    assert (decision.action, decision.reason) == (Nothing(), Reason.ROLLING_BACK)
    assert decision.message == "the new agent fails on mi-1; waiting for mi-1"


def test_an_interrupted_rejection_is_marked_before_the_way_back_is_taken() -> None:
    decision = decide_in_flight(facing(FAILED, record=replace(RECORDED, rejected=REJECTED), marked=False))

    assert decision is not None
    assert isinstance(decision.action, MarkRevision)
    assert (decision.action.revision, decision.action.mark, decision.action.nodes) == (2, "rejected", ())


def test_an_interrupted_verification_is_marked_again() -> None:
    done = RolloutPlan(RolloutStep.DONE, verified=True)
    decision = decide_in_flight(facing(done, record=replace(RECORDED, verified=2), marked=False))

    assert decision is not None
    assert isinstance(decision.action, MarkRevision)
    assert (decision.action.revision, decision.action.mark) == (2, "verified")


def test_a_rejected_revision_is_not_verified() -> None:
    done = RolloutPlan(RolloutStep.DONE, verified=True)
    pause = a_spec(upgrade={"onFailure": "Pause"})
    decision = decide_in_flight(facing(done, spec=pause, record=replace(RECORDED, rejected=REJECTED)))

    assert decision is None or not isinstance(decision.action, MarkRevision)


@pytest.mark.parametrize(
    ("record", "marked"),
    [
        pytest.param(RECORDED, True, id="an earlier revision was verified"),
        pytest.param(replace(RECORDED, verified=2), False, id="known"),
        pytest.param(replace(RECORDED, verified=2, rebuilt=True), True, id="the record was lost before"),
    ],
)
def test_a_verified_revision_is_marked_once(record: Any, marked: bool) -> None:
    decision = decide_in_flight(facing(RolloutPlan(RolloutStep.DONE, verified=True), record=record))

    assert (decision is not None) is marked
    if decision is not None:
        assert isinstance(decision.action, MarkRevision)
        after = decision.action.record
        assert (after.verified, after.verified_version, after.rebuilt) == (2, VERSION, False)


def test_a_revision_is_verified_once_canaries_that_settled_a_moment_ago_have_reported() -> None:
    canary = replace(STATE.nodes["mi-1"], canary=True, new_pod_uid="new")
    other = replace(canary, canary=False)
    settled = replace(STATE, nodes={}, watched={"mi-1": canary, "mi-2": other})
    decision = decide_in_flight(facing(RolloutPlan(RolloutStep.DONE, record=settled, verified=True)))

    assert decision is not None
    assert isinstance(decision.action, MarkRevision)
    assert decision.action.canaries == (("mi-1", "new"),)
    assert decision.action.record.rollout is None
    assert decision.message.endswith("recording it once every canary has renewed its Lease (mi-1)")


@pytest.mark.parametrize(
    ("digest", "kept"), [(REVISIONS[1].spec_digest, True), ("sha256:x", False)], ids=["still asked for", "not any more"]
)
def test_a_rejection_is_forgotten_once_the_spec_asks_for_something_else_that_works(digest: str, kept: bool) -> None:
    record = replace(RECORDED, rejected=Rejected(1, digest, "failed"))
    decision = decide_in_flight(facing(RolloutPlan(RolloutStep.DONE, verified=True), record=record))

    assert decision is not None
    assert isinstance(decision.action, MarkRevision)
    assert (decision.action.record.rejected is not None) is kept


def test_a_restart_carries_the_record_that_names_its_nodes() -> None:
    plan = RolloutPlan(RolloutStep.RESTART, "restarting mi-1", (PodRef("cilium-x", "uid"),), record=STATE, first=True)
    decision = decide_in_flight(facing(plan))

    assert decision is not None
    assert isinstance(decision.action, RestartAgents)
    assert decision.action == RestartAgents(plan.pods, replace(RECORDED, rollout=STATE), first=True)


@pytest.mark.parametrize(
    ("seconds", "written"), [(50.0, False), (61.0, True)], ids=["within the same minute", "a minute later"]
)
def test_the_times_of_a_rollout_are_written_once_a_minute(seconds: float, written: bool) -> None:
    waiting = RolloutPlan(RolloutStep.WAIT, "waiting", record=replace(STATE, idle_for=seconds))
    decision = decide_in_flight(facing(waiting, record=replace(RECORDED, rollout=STATE)))

    assert (decision is not None and isinstance(decision.action, WriteRecord)) is written


@pytest.mark.parametrize("step", [RolloutStep.DONE, RolloutStep.STALLED])
def test_nothing_is_written_again_and_again_once_a_rollout_has_stopped(step: RolloutStep) -> None:
    waited = replace(
        STATE, idle_for=6000.0, steady_for=600.0, nodes={"mi-1": replace(STATE.nodes["mi-1"], elapsed=9e3)}
    )
    same, other = (RolloutPlan(step, "x", record=found) for found in (waited, replace(waited, settled=1)))
    record = replace(RECORDED, rollout=STATE)

    assert decide_in_flight(facing(same, record=record)) is None
    assert decide_in_flight(facing(other, record=record)) is not None


def test_what_a_step_of_the_path_deployed_is_recorded_with_its_chart() -> None:
    evaluation = facing(record=a_record(revision=1))
    decision = decide_in_flight(evaluation)

    assert decision is not None
    assert decision.action == WriteRecord(a_record(revision=2))


def test_a_violation_stops_no_step_of_what_is_in_flight() -> None:
    evaluation = facing(FAILED)
    assert isinstance(evaluation, SpecEvaluation)

    assert decide_in_flight(changed(evaluation, violations=("x",))) == decide_in_flight(evaluation)
