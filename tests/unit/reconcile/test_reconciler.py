import logging
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from builders import MASK, NODE, NOW, POOL, REF, VERSION, a_node, a_raw_spec, a_spec, an_observation, condition
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import HistoryAction, Phase
from cilium_hybrid.plan.observation import Record, Revision
from cilium_hybrid.plan.release import desired_release, spec_digest
from cilium_hybrid.plan.values import digest
from cilium_hybrid.ports import ApplyFailedError, ClusterUnavailableError
from cilium_hybrid.reconcile.reconciler import STALE_PAUSE
from fake_charts import PublishedChart
from unit.world import OTHER_NODE, World, an_asked_world, an_empty_world, an_installed_world


def test_cilium_is_installed_from_nothing_to_ready() -> None:
    world = an_asked_world()
    told: list[tuple[str, Reason, Phase | None]] = []

    def tell() -> None:
        told.append((world.ready.status, world.ready.reason, world.status.phase))

    world.reconcile()
    tell()
    world.settle()
    world.cluster.start_operator()
    world.cluster.roll_out(NODE)
    world.settle()
    tell()
    world.cluster.roll_out()
    due = world.settle()
    tell()

    assert told == [
        ("False", Reason.INSTALLING, Phase.INSTALLING),
        ("False", Reason.INSTALLING, Phase.INSTALLING),
        ("True", Reason.IN_SYNC, Phase.READY),
    ]
    assert due is None
    assert world.history == [(1, "deployed", True)]
    released = Record(VERSION, (POOL,), MASK, 1, REF, VERSION)
    assert world.cluster.records == [released, replace(released, verified=1)]
    status = world.status
    assert (status.version.running, status.version.target, status.version.initial) == (VERSION, VERSION, "1.17")
    assert status.release is not None
    assert (status.release.revision, status.release.chart_digest) == (1, world.digest)
    assert status.nodes.summary == "2/2"
    assert [(entry.action, entry.result) for entry in status.history] == [(HistoryAction.INSTALL, "Succeeded")]


def test_a_long_action_is_announced_before_it_starts() -> None:
    world = an_asked_world()
    seen: list[Reason] = []
    world.charts.publish(REF, VERSION, PublishedChart(world.digest, lambda _: seen.append(world.ready.reason)))
    world.reconcile()

    assert seen == [Reason.INSTALLING]


def test_nothing_is_written_while_nothing_changes() -> None:
    world = an_installed_world()
    before, remembered = len(world.cluster.written), len(world.cluster.records)
    for _ in range(3):
        world.reconcile()
        world.clock.advance(hours=1)
    world.restart()
    world.reconcile()

    assert len(world.cluster.written) == before
    assert len(world.cluster.records) == remembered
    assert world.history == [(1, "deployed", True)]


def test_without_a_resource_nothing_happens() -> None:
    world = World()

    assert world.reconcile() is None
    assert world.releases.revisions == []


def test_a_change_of_the_spec_is_released_and_rolled_out() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.settle()
    rolling = world.ready
    world.cluster.start_operator()
    world.settle()

    assert world.cluster.ended == [f"cilium-{NODE}", f"cilium-{OTHER_NODE}"]
    assert (rolling.status, rolling.reason) == ("False", Reason.ROLLING_OUT)
    assert world.ready.reason is Reason.IN_SYNC
    assert world.releases.applied[2]["enableIPv4Masquerade"] is False
    assert world.cluster.records[-1].revision == 2
    assert [entry.action for entry in world.status.history] == [HistoryAction.INSTALL, HistoryAction.CONFIGURE]


def test_an_appended_pool_is_ready_without_a_restart_of_any_agent() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(pod_cidrs=[POOL, "10.86.0.0/16"]))
    world.settle()

    assert len(world.releases.revisions) == 2
    assert world.ready.reason is Reason.IN_SYNC


def test_a_chart_that_cannot_be_fetched_is_tried_again_with_growing_pauses() -> None:
    world = an_empty_world()
    world.charts.away = "the registry does not answer"
    pauses: list[float] = []
    for _ in range(9):
        due = world.settle()
        assert due is not None
        pauses.append((due - world.clock.now()).total_seconds())
        assert world.reconcile() == due
        world.clock.advance_to(due)
    said = world.ready
    tries = len(world.charts.pulls)
    world.charts.away = None
    world.settle()

    assert pauses == [5, 10, 20, 40, 80, 160, 320, 600, 600]
    assert tries == 9
    assert (said.status, said.reason) == ("False", Reason.CHART_UNAVAILABLE)
    assert "the registry does not answer (tried 9 times, next at" in said.message
    assert world.history == [(1, "deployed", True)]


def test_a_new_spec_is_tried_at_once() -> None:
    world = an_asked_world(version="9.9.9")
    world.settle()
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert world.history == [(1, "deployed", True)]


def test_values_that_the_chart_refuses_wait_for_another_generation() -> None:
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
    ("spec", "reason", "words"),
    [
        pytest.param({"version": None}, Reason.INVALID_SPEC, "spec.version", id="form"),
        pytest.param({"unknown": 1, "version": "x"}, Reason.INVALID_SPEC, "1 more, see condition Valid", id="twice"),
        pytest.param({"pod_cidrs": ["8.8.8.0/24"]}, Reason.INVALID_SPEC, "not private", id="a rule"),
        pytest.param({"values": {"ipam": {}}}, Reason.INVALID_VALUES, "spec.values.ipam", id="an owned value"),
        pytest.param({"mask_size": 26}, Reason.MASK_CHANGED, "from 25 to 26", id="against what runs"),
        pytest.param({"pod_cidrs": ["10.9.0.0/16"]}, Reason.POD_CIDR_REMOVED, f"put {POOL} back", id="a pool is gone"),
        pytest.param({"version": "2.18.8-1"}, Reason.VERSION_UNSUPPORTED, "2.18.8-1", id="another major"),
        pytest.param({"pod_cidrs": [POOL, POOL]}, Reason.POD_CIDR_OVERLAP, "overlaps", id="overlap"),
    ],
)
def test_a_spec_that_breaks_a_rule_changes_nothing_and_can_be_reverted(
    spec: dict[str, Any], reason: Reason, words: str
) -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(**spec))
    due = world.settle()
    said = world.ready
    valid = condition(world.status, ConditionType.VALID)
    world.cluster.edit(a_raw_spec())
    world.settle()

    assert due is None
    assert (said.status, said.reason) == ("False", reason)
    assert words in said.message
    assert valid is not None
    assert (valid.status, valid.reason) == ("False", reason)
    assert world.history == [(1, "deployed", True)]
    assert world.ready.reason is Reason.IN_SYNC


def test_an_api_that_is_away_is_asked_again_soon() -> None:
    world = an_asked_world()
    world.cluster.away = "no answer"

    assert world.reconcile() == NOW + STALE_PAUSE
    assert world.releases.revisions == []


def test_an_api_that_helm_cannot_reach_is_tried_again() -> None:
    world = an_asked_world()
    world.releases.fault = ClusterUnavailableError("Helm cannot reach the Kubernetes API")
    due = world.settle()
    said = world.ready
    world.clock.advance(seconds=5)
    world.settle()

    assert due == NOW + timedelta(seconds=5)
    assert said.reason is Reason.API_UNAVAILABLE
    assert world.history == [(1, "deployed", True)]


def test_a_release_that_failed_is_tried_again_as_the_next_revision() -> None:
    world = an_asked_world()
    world.releases.fault, world.releases.leaves = ApplyFailedError("a webhook refused it"), "failed"
    world.settle()
    said = world.ready
    world.clock.advance(seconds=5)
    world.settle()

    assert said.reason is Reason.APPLY_FAILED
    assert world.history == [(1, "superseded", True), (2, "deployed", True)]
    assert world.ready.reason is Reason.INSTALLING
    assert [(entry.action, entry.result) for entry in world.status.history] == [
        (HistoryAction.INSTALL, "Failed"),
        (HistoryAction.INSTALL, "Succeeded"),
    ]


def test_helm_that_was_killed_is_unlocked_and_the_release_finished() -> None:
    world = an_installed_world()
    world.cluster.edit(a_raw_spec(masquerade=False))
    world.releases.fault, world.releases.leaves = ClusterUnavailableError("killed"), "pending-upgrade"
    world.reconcile()
    world.restart()
    world.settle()

    assert world.history == [(1, "superseded", True), (2, "failed", True), (3, "deployed", True)]


def test_a_record_that_is_lost_is_made_again() -> None:
    world = an_installed_world()
    kept = world.cluster.records[-1]
    world.cluster.records.clear()
    world.settle()

    assert world.cluster.records == [kept]


def test_a_record_that_cannot_be_written_is_told() -> None:
    world = an_asked_world()
    world.reconcile()
    world.cluster.meanwhile.append(lambda: setattr(world.cluster, "away", "no answer"))
    world.reconcile()
    world.cluster.away = None
    world.reconcile()
    said = world.ready
    world.clock.advance(seconds=5)
    world.settle()

    assert said.reason is Reason.API_UNAVAILABLE
    assert len(world.cluster.records) == 1


def test_a_status_in_words_of_another_version_is_written_anew() -> None:
    world = an_installed_world()
    world.cluster.overwrite_status({**world.cluster.status, "phase": "Inventing"})
    world.settle()

    assert world.status.phase is Phase.READY


def test_what_is_not_known_is_not_in_the_status() -> None:
    world = an_empty_world(version=None)
    world.settle()

    assert world.cluster.status["version"] == {}
    assert "release" not in world.cluster.status


def test_each_status_is_told_to_telemetry() -> None:
    world = an_installed_world()

    assert world.tally.statuses[-1] == world.status


def test_a_pass_that_writes_no_status_tells_none() -> None:
    world = an_asked_world()
    world.reconcile()
    world.reconcile()

    assert len(world.cluster.records) == 1
    assert world.tally.statuses == [world.status]


def test_what_runs_is_whole_in_one_revision() -> None:
    world = an_installed_world()
    desired = desired_release(a_spec(), an_observation())

    assert world.releases.revisions == [
        Revision(
            1, "deployed", NOW, True, VERSION, world.digest, desired.values_digest, digest(REF), spec_digest(desired)
        )
    ]


def test_each_change_of_ready_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = an_installed_world()
    world.cluster.nodes["mi-0000000000000003"] = a_node("mi-0000000000000003", ready="Unknown")
    world.settle()
    world.reconcile()
    lines = [record.message.split(":")[0] for record in caplog.records if record.message.startswith("Ready=")]

    assert lines == ["Ready=False Installing", "Ready=True InSync", "Ready=True NodesDisconnected"]
