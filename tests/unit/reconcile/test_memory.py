from datetime import timedelta

import pytest

from builders import NOW
from cilium_hybrid.reconcile.reconciler import MAX_OBSERVATION_GAP, Memory


@pytest.mark.parametrize(
    ("gap", "unobserved_for"),
    [
        pytest.param(timedelta(seconds=10), timedelta(), id="reconciliations of a rollout"),
        pytest.param(MAX_OBSERVATION_GAP, timedelta(), id="a restart"),
        pytest.param(timedelta(minutes=20), timedelta(minutes=20), id="an outage"),
    ],
)
def test_a_gap_between_two_observations_is_measured_once(gap: timedelta, unobserved_for: timedelta) -> None:
    memory = Memory(observed_at=NOW)
    memory.start_observation(NOW + gap)

    assert memory.unobserved_for == unobserved_for
    memory.start_observation(NOW + gap + timedelta(seconds=1))
    assert memory.unobserved_for == timedelta()


def test_the_first_observation_has_no_gap() -> None:
    memory = Memory()
    memory.start_observation(NOW)

    assert memory.unobserved_for == timedelta()
