from dataclasses import replace

import pytest

from builders import a_revision
from cilium_hybrid.reconcile.reconciler import MAX_OBSERVATION_GAP, Memory

LONGEST = MAX_OBSERVATION_GAP.total_seconds()


@pytest.mark.parametrize(
    ("gap", "elapsed"),
    [
        pytest.param(10.0, 10.0, id="reconciliations of a rollout"),
        pytest.param(LONGEST, LONGEST, id="the longest gap that counts"),
        pytest.param(1200.0, 0.0, id="an outage"),
    ],
)
def test_only_observed_time_counts(gap: float, elapsed: float) -> None:
    memory = Memory(observed_at=100.0, counts_time=True, reachable=True)
    memory.start_observation(100.0 + gap)

    assert (memory.elapsed, memory.observed) == (elapsed, elapsed > 0)
    memory.start_observation(101.0 + gap)
    assert memory.elapsed == 1.0


def test_time_stands_still_after_a_reconciliation_that_may_change_nothing_but_is_observed() -> None:
    memory = Memory(observed_at=100.0, counts_time=False, reachable=True)
    memory.start_observation(110.0)

    assert (memory.elapsed, memory.observed) == (0.0, True)


def test_a_short_outage_of_the_api_server_is_not_observed() -> None:
    memory = Memory(observed_at=100.0, counts_time=True, reachable=True)
    memory.lose_sight()
    memory.start_observation(110.0)

    assert (memory.elapsed, memory.observed) == (0.0, False)


def test_nothing_was_observed_before_the_first_reconciliation() -> None:
    memory = Memory(counts_time=True)
    memory.start_observation(100.0)

    assert (memory.elapsed, memory.observed) == (0.0, False)


def test_the_newest_revision_is_unchanged_since_it_was_first_seen_like_this() -> None:
    memory, pending = Memory(), a_revision(2, status="pending-upgrade")

    assert memory.see_newest(pending, 100.0) == 0.0
    assert memory.see_newest(pending, 115.0) == 15.0
    assert memory.see_newest(replace(pending, changed="another version of the Secret"), 116.0) == 0.0
    assert memory.see_newest(None, 117.0) == 0.0
