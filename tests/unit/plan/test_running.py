from dataclasses import replace

import pytest

from builders import (
    MASK,
    POOL,
    VERSION,
    a_cilium_node,
    a_foreign_revision,
    a_node,
    a_record,
    a_revision,
    an_agent,
    an_observation,
)
from cilium_hybrid.plan.observation import CiliumOperator, Observation, PoolConfig, ReleasePayload
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.running import initial_series, initial_version, last_deployed, running
from cilium_hybrid.rules.change import Running

RUNNING_OPERATOR = CiliumOperator(replicas=2, available=2, observed=True)
NEVER_RAN = Record(pod_cidrs=(POOL,), mask_size=MASK, revision=1)


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), None, id="never installed"),
        pytest.param(
            an_observation(record=a_record(initial_version="1.16.3")),
            "1.16.3",
            id="the record of an uninstalled release",
        ),
        pytest.param(
            an_observation(a_revision(version="1.18.8-1"), record=a_record(initial_version="1.16.3")),
            "1.16.3",
            id="the record before the revisions",
        ),
        pytest.param(an_observation(a_revision(version="1.18.8-1")), "1.18.8-1", id="the revisions without a record"),
        pytest.param(an_observation(a_revision(status="failed")), None, id="a failed install"),
        pytest.param(an_observation(a_revision(), record=NEVER_RAN), None, id="an install of which no pod ran"),
        pytest.param(
            an_observation(a_revision(), record=NEVER_RAN, cilium_operator=RUNNING_OPERATOR),
            VERSION,
            id="an install that runs and is not recorded yet",
        ),
        pytest.param(
            an_observation(a_revision(), record=NEVER_RAN, nodes=[a_node()], agents=[an_agent()]),
            VERSION,
            id="an install with a ready agent",
        ),
        pytest.param(an_observation(a_foreign_revision()), None, id="a foreign revision has no known version"),
        pytest.param(
            an_observation(a_revision(), a_revision(2, status="uninstalled"), a_revision(3, version="1.18.8-1")),
            "1.18.8-1",
            id="an earlier installation whose history was kept",
        ),
    ],
)
def test_the_initial_version(observation: Observation, expected: str | None) -> None:
    assert initial_version(observation) == expected


def with_payload(observation: Observation, number: int, payload: ReleasePayload) -> Observation:
    return replace(observation, payloads={number: payload})


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        pytest.param("1.16", "1.16.0", id="older than the oldest revision that Helm kept"),
        pytest.param("1.17", VERSION, id="that of the oldest revision"),
        pytest.param(None, VERSION, id="not set"),
        pytest.param("main", VERSION, id="not a minor version"),
    ],
)
def test_without_a_record_the_values_that_run_come_before_the_pruned_history(series: str | None, expected: str) -> None:
    pruned = an_observation(a_revision(9, status="superseded"), a_revision(10, version="1.18.8-1"))

    assert initial_version(with_payload(pruned, 10, ReleasePayload(initial_series=series))) == expected


def test_the_initial_series_is_that_of_the_initial_version() -> None:
    assert initial_series(an_observation(record=a_record(initial_version="1.16.3"))) == "1.16"
    assert initial_series(an_observation()) is None


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([], None, id="no revision"),
        pytest.param(["deployed"], 1, id="one revision"),
        pytest.param(["superseded", "deployed"], 2, id="the newest revision"),
        pytest.param(["deployed", "failed", "pending-upgrade"], 1, id="not a failed or pending revision"),
        pytest.param(["superseded", "superseded", "failed"], 2, id="the revision before a failed rollback"),
        pytest.param(["failed"], None, id="only failures"),
        pytest.param(["superseded", "uninstalled"], None, id="uninstalled, with its history kept"),
    ],
)
def test_the_last_revision_that_was_applied_completely(statuses: list[str], expected: int | None) -> None:
    revisions = [a_revision(number, status=status) for number, status in enumerate(statuses, 1)]
    deployed = last_deployed(an_observation(*revisions))

    assert (deployed and deployed.number) == expected


LIVE_POOL = PoolConfig(("10.1.0.0/16",), 26)
CONFIG, RECORD = "ConfigMap kube-system/cilium-config", "ConfigMap kube-system/cilium-hybrid-applied"
RAN = frozenset({VERSION})
OTHER, THIRD, FOURTH = "10.86.0.0/16", "10.87.0.0/16", "10.88.0.0/16"


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), Running(), id="nothing is known"),
        pytest.param(
            an_observation(a_revision(), pool=LIVE_POOL, record=a_record()),
            Running(VERSION, ("10.1.0.0/16",), 26, CONFIG, RAN),
            id="the cluster before the record",
        ),
        pytest.param(
            an_observation(a_revision(), record=a_record()),
            Running(VERSION, (POOL,), MASK, RECORD, RAN),
            id="the record",
        ),
        pytest.param(an_observation(a_revision()), Running(VERSION, ran=RAN), id="the version only"),
        pytest.param(an_observation(record=a_record()), Running(), id="after an uninstall"),
        pytest.param(
            an_observation(a_revision(), a_revision(2, status="uninstalled"), record=a_record()),
            Running(ran=RAN),
            id="after an uninstall that kept its history",
        ),
        pytest.param(
            an_observation(record=a_record(), pool=LIVE_POOL),
            Running(None, ("10.1.0.0/16",), 26),
            id="the cluster, although the Helm revisions are missing",
        ),
        pytest.param(
            an_observation(a_revision(status="failed"), pool=LIVE_POOL),
            Running(None, ("10.1.0.0/16",), 26),
            id="a failed install may have allocated blocks",
        ),
        pytest.param(
            an_observation(a_foreign_revision(), pool=LIVE_POOL),
            Running(None, ("10.1.0.0/16",), 26),
            id="a foreign revision has no known version without its payload",
        ),
        pytest.param(
            with_payload(
                an_observation(a_foreign_revision(), pool=LIVE_POOL), 1, ReleasePayload(chart_version="1.19.4-1")
            ),
            Running("1.19.4-1", ("10.1.0.0/16",), 26),
            id="the version of a foreign revision",
        ),
        pytest.param(
            with_payload(an_observation(a_foreign_revision()), 1, ReleasePayload(chart_version="main-abc")),
            Running(),
            id="a foreign revision whose version cannot be compared",
        ),
        pytest.param(
            with_payload(an_observation(a_revision()), 1, ReleasePayload(pool=LIVE_POOL)),
            Running(VERSION, ("10.1.0.0/16",), 26, "revision 1 of Helm release cilium", RAN),
            id="the revision, if everything else is lost",
        ),
    ],
)
def test_the_facts_that_a_new_spec_must_not_contradict(observation: Observation, expected: Running) -> None:
    assert running(observation) == expected


APPLYING = a_record(pod_cidrs=[POOL, OTHER])
ONE_POOL = PoolConfig((POOL,), MASK)


def pools(observation: Observation, *wanted: str) -> tuple[str, ...]:
    return running(observation, wanted).pod_cidrs


def test_the_pools_of_every_source_run_each_once_and_in_a_stable_order() -> None:
    observation = an_observation(
        a_revision(),
        a_revision(2, status="failed"),
        pool=PoolConfig((POOL, "10.86.0.1/16"), MASK),
        record=a_record(pod_cidrs=[POOL, THIRD]),
        cilium_nodes=[a_cilium_node(pod_cidrs=["10.87.0.0/25"])],
    )
    known = with_payload(observation, 1, ReleasePayload(pool=PoolConfig((FOURTH, POOL), MASK)))

    assert pools(known) == (POOL, OTHER, FOURTH, THIRD)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param("pending-upgrade", (POOL, OTHER), id="Helm may be applying it"),
        pytest.param("failed", (POOL,), id="Helm failed before it changed cilium-config"),
    ],
)
def test_an_announced_pool_runs_only_while_helm_may_apply_it(status: str, expected: tuple[str, ...]) -> None:
    observation = an_observation(a_revision(), a_revision(2, status=status), pool=ONE_POOL, record=APPLYING)

    assert pools(observation, POOL, OTHER) == expected


def test_an_announced_pool_does_not_run_because_someone_elses_helm_does() -> None:
    """Or it would be said to run, and could not be removed from the spec, as long as their operation is pending."""
    foreign = a_foreign_revision(2, status="pending-upgrade")

    assert pools(an_observation(a_revision(), foreign, pool=ONE_POOL, record=APPLYING), POOL, OTHER) == (POOL,)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        pytest.param("10.86.0.0/25", (POOL, OTHER), id="a block of it"),
        pytest.param("10.85.0.0/25", (POOL,), id="only blocks of another pool"),
        pytest.param("x", (POOL,), id="an unreadable block"),
    ],
)
def test_a_pool_of_the_spec_runs_if_a_node_has_a_block_of_it(block: str, expected: tuple[str, ...]) -> None:
    observation = an_observation(a_revision(), pool=ONE_POOL, cilium_nodes=[a_cilium_node(pod_cidrs=[block])])

    assert pools(observation, POOL, OTHER) == expected


def test_a_wider_pool_in_the_spec_does_not_run_because_of_blocks_of_the_one_that_does() -> None:
    observation = an_observation(a_revision(), pool=ONE_POOL, cilium_nodes=[a_cilium_node()])

    assert pools(observation, "10.84.0.0/15") == (POOL,)


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(a_revision(status="failed"), record=a_record()), Running(), id="failed"),
        pytest.param(
            an_observation(a_revision(status="pending-install"), record=a_record()),
            Running(None, (POOL,), MASK, RECORD),
            id="in progress",
        ),
        pytest.param(
            an_observation(a_revision(status="failed"), record=a_record(verified=1)),
            Running(None, (POOL,), MASK, RECORD),
            id="failed after a verified one that Helm pruned",
        ),
    ],
)
def test_the_record_of_an_install_that_left_nothing_limits_nothing(observation: Observation, expected: Running) -> None:
    assert running(observation) == expected
