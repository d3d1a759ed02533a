from builders import a_condition, a_status
from cilium_hybrid.api.conditions import ConditionType, Reason
from scraped import A_CERTIFICATES, A_STATUS, Scraped, everything


def test_every_metric_is_named_after_the_operator() -> None:
    assert all(name.startswith("cilium_hybrid_") for name, _, _ in everything().samples())


def test_who_stands_by_tells_nothing_of_the_resource() -> None:
    names = {name for name, _, _ in Scraped().samples()}

    assert "cilium_hybrid_leader" in names
    assert not [name for name in names if name.startswith(("cilium_hybrid_condition", "cilium_hybrid_nodes"))]


def test_conditions_are_told_while_they_are_there() -> None:
    scraped = Scraped.of(A_STATUS)

    assert scraped.values("cilium_hybrid_condition", "type") == {"Ready": 0, "Reconciling": 1}
    assert scraped.values("cilium_hybrid_condition", "reason") == {"RollingOut": 1}


def test_a_reason_that_no_longer_holds_is_gone() -> None:
    scraped = Scraped.of(A_STATUS)
    scraped.telemetry.saw(a_status(a_condition(ConditionType.READY, "True", Reason.IN_SYNC)))

    assert scraped.values("cilium_hybrid_condition", "reason") == {"InSync": 1}


def test_nodes_are_counted_by_state() -> None:
    assert Scraped.of(A_STATUS).values("cilium_hybrid_nodes", "state") == {
        "total": 5,
        "ready": 3,
        "agents_ready": 4,
        "up_to_date": 2,
        "disconnected": 1,
    }


def test_nodes_that_fail_are_counted_by_leg() -> None:
    assert Scraped.of(A_STATUS).values("cilium_hybrid_nodes_failing", "reason") == {
        "NodeDisconnected": 1,
        "AgentNotReady": 1,
        "NoPodCIDR": 0,
        "NodeNotReady": 0,
        "Version": 0,
        "AgentTaintPresent": 0,
    }


def test_a_rollout_is_told_while_it_lasts() -> None:
    scraped = Scraped.of(A_STATUS)
    assert scraped.values("cilium_hybrid_rollout_nodes", "state") == {"total": 4, "updated": 2, "left": 1}

    scraped.telemetry.saw(A_STATUS.model_copy(update={"rollout": None}))
    assert not scraped.values("cilium_hybrid_rollout_nodes", "state")


def test_blocks_are_told_where_a_pool_is_known_to_run() -> None:
    scraped = Scraped.of(A_STATUS)
    assert scraped.values("cilium_hybrid_node_blocks", "state") == {"total": 512, "used": 5, "free": 507}

    scraped.telemetry.saw(A_STATUS.model_copy(update={"ipam": None}))
    assert not scraped.values("cilium_hybrid_node_blocks", "state")


def test_the_end_of_each_certificate_is_told_while_it_is_there() -> None:
    scraped = Scraped.of(A_STATUS)
    told = scraped.values("cilium_hybrid_certificate_expiry_timestamp_seconds", "secret")
    assert told == {one.secret: one.ends.timestamp() for one in A_CERTIFICATES}
    assert len(told) == 3

    scraped.telemetry.saw(A_STATUS, A_CERTIFICATES[:1])
    assert [*scraped.values("cilium_hybrid_certificate_expiry_timestamp_seconds", "secret")] == ["cilium-ca"]


def test_what_the_operator_does_is_counted_and_timed() -> None:
    told = {(name, labels.get("result")): value for name, labels, value in everything().samples()}

    assert told["cilium_hybrid_leader", None] == 1
    assert told["cilium_hybrid_pass_seconds_count", None] == 1
    assert told["cilium_hybrid_pass_faults_total", None] == 1
    assert told["cilium_hybrid_helm_seconds_count", "succeeded"] == 1
    assert told["cilium_hybrid_helm_seconds_sum", "failed"] == 3
