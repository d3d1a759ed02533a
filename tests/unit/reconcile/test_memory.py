from datetime import timedelta

import pytest

from builders import NOW
from cilium_hybrid.reconcile.reconciler import LONGEST_GAP, Memory


@pytest.mark.parametrize(
    ("gap", "blind"),
    [
        pytest.param(timedelta(seconds=10), timedelta(), id="looks of a rollout"),
        pytest.param(LONGEST_GAP, timedelta(), id="a restart"),
        pytest.param(timedelta(minutes=20), timedelta(minutes=20), id="an outage"),
    ],
)
def test_time_in_which_nothing_could_be_seen_is_told(gap: timedelta, blind: timedelta) -> None:
    memory = Memory(looked=NOW)
    memory.look(NOW + gap)

    assert memory.blind == blind
    memory.look(NOW + gap + timedelta(seconds=1))
    assert memory.blind == timedelta()


def test_the_first_look_of_all_is_never_blind() -> None:
    memory = Memory()
    memory.look(NOW)

    assert memory.blind == timedelta()
