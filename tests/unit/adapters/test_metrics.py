import asyncio
import platform
import time

import pytest
from prometheus_client import CollectorRegistry

from builders import a_condition, a_status
from cilium_hybrid.adapters.kube.watch_state import WatchState
from cilium_hybrid.adapters.metrics import PrometheusTelemetry
from cilium_hybrid.api.conditions import ConditionType, Reason
from cilium_hybrid.api.status import Phase, UnreadyReason
from scraped import A_STATUS, CERTIFICATES_EXPIRING, Scraped, everything

STATUS_METRICS = ("cilium_hybrid_condition", "cilium_hybrid_nodes", "cilium_hybrid_suspended", "cilium_hybrid_cilium")


def test_every_metric_has_the_prefix_of_the_operator() -> None:
    assert all(name.startswith("cilium_hybrid_") for name, _, _ in everything().samples())


def test_a_standby_replica_reports_nothing_about_the_resource() -> None:
    names = {name for name, _, _ in Scraped().samples()}

    assert "cilium_hybrid_leader" in names
    assert not [name for name in names if name.startswith(STATUS_METRICS)]


def test_present_conditions_are_reported() -> None:
    scraped = Scraped.of(A_STATUS)

    assert scraped.values("cilium_hybrid_condition", "type") == {"Ready": 0, "Reconciling": 1}
    assert scraped.values("cilium_hybrid_condition", "reason") == {"RollingOut": 1}


def test_a_reason_that_no_longer_applies_disappears() -> None:
    scraped = Scraped.of(A_STATUS)
    scraped.telemetry.record_status(a_status(a_condition(ConditionType.READY, "True", Reason.IN_SYNC)))

    assert scraped.values("cilium_hybrid_condition", "reason") == {"InSync": 1}


@pytest.mark.parametrize(("phase", "suspended"), [(Phase.SUSPENDED, 1), (Phase.READY, 0)])
def test_suspension_is_reported(phase: Phase, suspended: int) -> None:
    scraped = Scraped.of(A_STATUS.model_copy(update={"phase": phase}))

    assert scraped.value("cilium_hybrid_suspended") == suspended


def test_the_versions_of_cilium_are_labels_of_one_series() -> None:
    scraped = Scraped.of(A_STATUS)

    assert scraped.labels("cilium_hybrid_cilium_info") == [
        {"running": "1.17.13-1", "target": "1.18.8-1", "initial": "1.17"}
    ]


def test_a_version_that_is_unknown_is_empty() -> None:
    assert Scraped.of(a_status()).labels("cilium_hybrid_cilium_info") == [{"running": "", "target": "", "initial": ""}]


def test_the_build_is_reported_by_every_replica() -> None:
    assert Scraped().labels("cilium_hybrid_build_info") == [
        {"version": "0.1.0", "python_version": platform.python_version()}
    ]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cilium_hybrid_nodes", 5),
        ("cilium_hybrid_nodes_ready", 3),
        ("cilium_hybrid_nodes_agent_ready", 4),
        ("cilium_hybrid_nodes_up_to_date", 2),
    ],
)
def test_nodes_are_counted(name: str, count: int) -> None:
    assert Scraped.of(A_STATUS).value(name) == count


def test_unready_nodes_are_counted_by_root_cause() -> None:
    counts: dict[str, float] = {**dict.fromkeys(UnreadyReason, 0), "NodeDisconnected": 1, "AgentNotReady": 1}

    assert Scraped.of(A_STATUS).values("cilium_hybrid_nodes_unready", "reason") == counts


def test_the_parts_of_a_count_add_up_to_its_total() -> None:
    scraped = Scraped.of(A_STATUS)
    assert A_STATUS.rollout is not None
    assert A_STATUS.ipam is not None

    unready = sum(scraped.values("cilium_hybrid_nodes_unready", "reason").values())
    assert unready + scraped.value("cilium_hybrid_nodes_ready") == scraped.value("cilium_hybrid_nodes")
    assert sum(scraped.values("cilium_hybrid_rollout_nodes", "state").values()) == A_STATUS.rollout.total
    assert sum(scraped.values("cilium_hybrid_node_blocks", "state").values()) == A_STATUS.ipam.node_blocks.total


def test_a_rollout_is_reported_while_it_is_running() -> None:
    scraped = Scraped.of(A_STATUS)
    assert scraped.values("cilium_hybrid_rollout_nodes", "state") == {"updated": 2, "restarting": 1, "outdated": 1}

    scraped.telemetry.record_status(A_STATUS.model_copy(update={"rollout": None}))
    assert not scraped.values("cilium_hybrid_rollout_nodes", "state")


def test_node_blocks_are_reported_if_the_running_pools_are_known() -> None:
    scraped = Scraped.of(A_STATUS)
    assert scraped.values("cilium_hybrid_node_blocks", "state") == {"used": 5, "free": 507}

    scraped.telemetry.record_status(A_STATUS.model_copy(update={"ipam": None}))
    assert not scraped.values("cilium_hybrid_node_blocks", "state")


def test_the_expiry_of_each_existing_certificate_is_reported() -> None:
    scraped = Scraped.of(A_STATUS)
    expiries = scraped.values("cilium_hybrid_certificate_expiry_timestamp_seconds", "secret")
    assert expiries == {certificate.secret: certificate.not_after.timestamp() for certificate in CERTIFICATES_EXPIRING}
    assert len(expiries) == 3

    scraped.telemetry.record_status(A_STATUS, CERTIFICATES_EXPIRING[:1])
    assert [*scraped.values("cilium_hybrid_certificate_expiry_timestamp_seconds", "secret")] == ["cilium-ca"]


def test_a_lost_watch_is_reported_until_it_is_established() -> None:
    async def scenario() -> None:
        scraped, nodes = Scraped(), WatchState("nodes")
        assert not scraped.values("cilium_hybrid_watch_lost", "watch")
        scraped.telemetry.watches = [nodes, WatchState("daemonsets/cilium")]
        nodes.lose("forbidden")
        assert scraped.values("cilium_hybrid_watch_lost", "watch") == {"nodes": 1, "daemonsets/cilium": 0}
        nodes.established()
        assert scraped.values("cilium_hybrid_watch_lost", "watch") == {"nodes": 0, "daemonsets/cilium": 0}

    asyncio.run(scenario())


def test_a_status_that_cannot_be_written_for_a_minute_is_logged_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    telemetry, now = PrometheusTelemetry(CollectorRegistry()), 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    problems = list[str]()
    for seconds in range(0, 140, 10):
        now = float(seconds)
        telemetry.status_written(None if seconds == 0 else "status is forbidden")
        problems.append(telemetry.status_problem)
    telemetry.status_written(None)

    assert not any(problems[:7])
    assert problems[7:] == [
        f"the status has been out of date for {seconds} s: status is forbidden" for seconds in range(60, 130, 10)
    ]
    assert telemetry.status_problem == ""
    assert [record.getMessage() for record in caplog.records] == [problems[7], problems[13]]


def test_the_work_of_the_operator_is_counted_and_timed() -> None:
    values = {(name, labels.get("result")): value for name, labels, value in everything().samples()}

    assert values["cilium_hybrid_leader", None] == 1
    assert values["cilium_hybrid_reconcile_duration_seconds_count", None] == 1
    assert values["cilium_hybrid_errors_total", None] == 1
    assert values["cilium_hybrid_helm_duration_seconds_count", "succeeded"] == 1
    assert values["cilium_hybrid_helm_duration_seconds_sum", "failed"] == 3
