import logging
from datetime import timedelta
from typing import Any

import pytest

from builders import MASK, NODE, NOW, POOL, REF, VERSION, a_node, a_raw_spec, a_spec, an_observation, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import HistoryAction, Phase
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.release import desired_release, release_digest
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import ApplyFailedError, ClusterUnavailableError
from cilium_hybrid.reconcile.reconciler import RETRY_AFTER_STALE
from fake_charts import PublishedChart
from unit.world import OTHER_NODE, World, a_new_world, an_empty_world, an_installed_world


def test_cilium_is_installed_from_nothing_to_ready() -> None:
    world = a_new_world()
    summaries: list[tuple[str, Reason, Phase | None]] = []

    def summarize() -> None:
        summaries.append((world.ready.status, world.ready.reason, world.status.phase))

    world.reconcile()
    summarize()
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out(NODE)
    world.settle()
    summarize()
    world.cluster.roll_out()
    world.settle()
    summarize()
    world.finish()

    assert summaries == [
        ("False", Reason.INSTALLING, Phase.INSTALLING),
        ("False", Reason.INSTALLING, Phase.INSTALLING),
        ("True", Reason.IN_SYNC, Phase.READY),
    ]
    assert world.history == [(1, "deployed", True)]
    assert world.releases.newest.verified
    announced = Record(None, (POOL,), MASK)
    verified = Record(VERSION, (POOL,), MASK, 1, REF, VERSION, verified=1, verified_version=VERSION)
    records = world.cluster.records
    assert (records[0], records[-1]) == (announced, verified)
    assert [(record.revision, record.initial_version) for record in records[1:-1]] == [(1, None), (1, VERSION)]
    status = world.status
    assert (status.version.running, status.version.target, status.version.initial) == (VERSION, VERSION, "1.17")
    assert status.release is not None
    assert (status.release.revision, status.release.chart_digest) == (1, world.digest)
    assert status.nodes.summary == "2/2"
    assert [(entry.action, entry.result) for entry in status.history] == [(HistoryAction.INSTALL, "Succeeded")]


def test_a_long_action_is_reported_before_it_starts() -> None:
    world = a_new_world()
    reasons: list[Reason] = []
    world.charts.publish(REF, VERSION, PublishedChart(world.digest, lambda _: reasons.append(world.ready.reason)))
    world.reconcile()

    assert reasons == [Reason.INSTALLING]


def test_nothing_is_written_while_nothing_changes() -> None:
    world = an_installed_world()
    before, recorded = len(world.cluster.written), len(world.cluster.records)
    for _ in range(3):
        world.reconcile()
        world.clock.advance(hours=1)
    world.restart()
    world.reconcile()

    assert len(world.cluster.written) == before
    assert len(world.cluster.records) == recorded
    assert world.history == [(1, "deployed", True)]


def test_nothing_happens_without_a_resource() -> None:
    world = World()

    assert world.reconcile() is None
    assert world.releases.revisions == []


def test_a_changed_spec_is_deployed_and_rolled_out() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()
    rolling = world.ready
    world.cluster.start_operator()
    world.finish()

    assert world.cluster.deleted_pods == [f"cilium-{NODE}", f"cilium-{OTHER_NODE}"]
    assert (rolling.status, rolling.reason) == ("False", Reason.ROLLING_OUT)
    assert world.ready.reason is Reason.IN_SYNC
    assert world.releases.applied[2]["enableIPv4Masquerade"] is False
    assert world.cluster.records[-1].revision == 2
    assert [entry.action for entry in world.status.history] == [HistoryAction.INSTALL, HistoryAction.CONFIGURE]


def test_an_appended_pool_restarts_no_agent() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(pod_cidrs=[POOL, "10.86.0.0/16"]))
    world.settle()

    assert len(world.releases.revisions) == 2
    assert world.ready.reason is Reason.IN_SYNC


def test_a_chart_that_cannot_be_fetched_is_retried_with_backoff() -> None:
    world = an_empty_world()
    world.charts.outage = "the registry does not answer"
    pauses: list[float] = []
    for _ in range(9):
        due = world.settle()
        assert due is not None
        pauses.append((due - world.clock.now()).total_seconds())
        assert world.reconcile() == due
        world.clock.advance_to(due)
    ready = world.ready
    attempts = len(world.charts.pulls)
    world.charts.outage = None
    world.settle()

    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert attempts == 9
    assert (ready.status, ready.reason) == ("False", Reason.CHART_UNAVAILABLE)
    assert "the registry does not answer (tried 9 times, next attempt at" in ready.message
    assert world.history == [(1, "deployed", True)]


def test_a_new_spec_is_tried_at_once() -> None:
    world = a_new_world(version="9.9.9")
    world.settle()
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert world.history == [(1, "deployed", True)]


def test_values_that_the_chart_refuses_are_not_retried_until_the_next_generation() -> None:
    world = an_empty_world(values={"debug": "yes"})
    refused = PublishedChart(world.digest, lambda values: "debug: want a map" if values.get("debug") == "yes" else None)
    world.charts.publish(REF, VERSION, refused)
    due = world.settle()
    stalled = condition(world.status, ConditionType.STALLED)
    world.clock.advance(days=1)
    world.settle()
    kept = world.releases.revisions.copy()
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert due is None
    assert stalled is not None
    assert stalled.reason is Reason.INVALID_VALUES
    assert kept == []
    assert world.history == [(1, "deployed", True)]
    assert condition(world.status, ConditionType.STALLED) is None


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        pytest.param({"version": None}, Reason.INVALID_SPEC, "spec.version", id="schema"),
        pytest.param(
            {"unknown": 1, "version": "x"}, Reason.INVALID_SPEC, "1 more, see condition Valid", id="two violations"
        ),
        pytest.param({"pod_cidrs": ["8.8.8.0/24"]}, Reason.INVALID_SPEC, "is not a private network", id="a rule"),
        pytest.param({"values": {"ipam": {}}}, Reason.INVALID_VALUES, "spec.values.ipam", id="an owned value"),
        pytest.param(
            {"mask_size": 26}, Reason.MASK_CHANGED, "Invalid value: 26: cannot change from 25", id="another mask size"
        ),
        pytest.param(
            {"pod_cidrs": ["10.9.0.0/16"]}, Reason.POD_CIDR_REMOVED, f"restore {POOL} here", id="a removed pool"
        ),
        pytest.param({"version": "2.18.8-1"}, Reason.VERSION_UNSUPPORTED, "2.18.8-1", id="another major"),
        pytest.param({"pod_cidrs": [POOL, POOL]}, Reason.POD_CIDR_OVERLAP, "overlaps", id="overlap"),
    ],
)
def test_an_invalid_spec_changes_nothing_and_can_be_reverted(
    spec: dict[str, Any], reason: Reason, message: str
) -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(**spec))
    due = world.settle()
    ready = world.ready
    valid = condition(world.status, ConditionType.VALID)
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert due is None
    assert (ready.status, ready.reason) == ("False", reason)
    assert message in ready.message
    assert valid is not None
    assert (valid.status, valid.reason) == ("False", reason)
    assert world.history == [(1, "deployed", True)]
    assert world.ready.reason is Reason.IN_SYNC


def test_an_unavailable_api_server_is_retried_soon() -> None:
    world = a_new_world()
    world.cluster.outage = "no answer"

    assert world.reconcile() == NOW + RETRY_AFTER_STALE
    assert world.releases.revisions == []


def test_an_api_server_that_helm_cannot_reach_is_retried() -> None:
    world = a_new_world()
    world.releases.fault = ClusterUnavailableError("Helm cannot reach the Kubernetes API")
    due = world.settle()
    ready = world.ready
    world.clock.advance(seconds=5)
    world.settle()

    assert due == NOW + timedelta(seconds=5)
    assert ready.reason is Reason.API_UNAVAILABLE
    assert world.history == [(1, "deployed", True)]


def test_a_failed_release_is_retried_as_the_next_revision() -> None:
    world = a_new_world()
    world.releases.fault, world.releases.leaves = ApplyFailedError("a webhook refused it"), "failed"
    world.settle()
    ready = world.ready
    world.clock.advance(seconds=5)
    world.settle()

    assert ready.reason is Reason.APPLY_FAILED
    assert world.history == [(1, "superseded", True), (2, "deployed", True)]
    assert world.ready.reason is Reason.INSTALLING
    assert [(entry.action, entry.result) for entry in world.status.history] == [
        (HistoryAction.INSTALL, "Failed"),
        (HistoryAction.INSTALL, "Succeeded"),
    ]


def test_an_interrupted_release_is_unlocked_and_finished() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.releases.fault, world.releases.leaves = ClusterUnavailableError("killed"), "pending-upgrade"
    world.reconcile()
    world.restart()
    world.settle()

    assert world.history == [(1, "superseded", True), (2, "failed", True), (3, "deployed", True)]


def test_a_lost_record_is_written_again() -> None:
    world = an_installed_world()
    kept = world.cluster.records[-1]
    world.cluster.records.clear()
    world.settle()

    assert world.cluster.records == [kept]


def test_a_failure_to_write_the_record_is_reported() -> None:
    world = a_new_world()
    world.reconcile()
    before = len(world.cluster.records)
    world.cluster.meanwhile.append(lambda: setattr(world.cluster, "outage", "no answer"))
    world.reconcile()
    world.cluster.outage = None
    world.reconcile()
    ready = world.ready
    world.clock.advance(seconds=5)
    world.settle()

    assert ready.reason is Reason.API_UNAVAILABLE
    assert len(world.cluster.records) == before + 1


def test_a_status_of_another_operator_version_is_replaced() -> None:
    world = an_installed_world()
    world.cluster.overwrite_status({**world.cluster.status, "phase": "Inventing"})
    world.settle()

    assert world.status.phase is Phase.READY


def test_unknown_values_are_not_in_the_status() -> None:
    world = an_empty_world(version=None)
    world.settle()

    assert world.cluster.status["version"] == {}
    assert "release" not in world.cluster.status


def test_each_status_is_recorded_in_telemetry() -> None:
    world = an_installed_world()

    assert world.telemetry.statuses[-1] == world.status


def test_a_reconciliation_without_a_status_records_none() -> None:
    world = a_new_world()
    world.reconcile()
    world.reconcile()

    assert len(world.cluster.records) == 2
    assert world.telemetry.statuses == [world.status]


def test_one_revision_contains_the_whole_release() -> None:
    world = an_installed_world()
    desired = desired_release(a_spec(), an_observation())

    assert world.releases.revisions == [
        Revision(
            1,
            "deployed",
            NOW,
            managed=True,
            chart_version=VERSION,
            chart_digest=world.digest,
            values_digest=desired.values_digest,
            ref_digest=digest(REF),
            spec_digest=release_digest(desired),
            verified=True,
            changed="+",
        )
    ]


def test_each_change_of_ready_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = an_installed_world()
    world.cluster.nodes["mi-0000000000000003"] = a_node("mi-0000000000000003", ready="Unknown")
    world.settle()
    world.reconcile()
    lines = [record.message.split(":")[0] for record in caplog.records if record.message.startswith("Ready=")]

    assert lines == ["Ready=False Installing", "Ready=True InSync", "Ready=True NodesDisconnected"]
