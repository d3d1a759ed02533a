import pytest

from cilium_hybrid.plan.rollout.budget import max_unavailable_nodes
from unit.plan.rollout.site import settings


@pytest.mark.parametrize(
    ("value", "connected", "expected"),
    [
        pytest.param(1, 5, 1, id="a number"),
        pytest.param(9, 5, 9, id="a number larger than the site"),
        pytest.param("25%", 4, 1, id="a percentage without a remainder"),
        pytest.param("25%", 5, 2, id="a percentage is rounded up"),
        pytest.param("1%", 5, 1, id="a small percentage is at least one node"),
        pytest.param("100%", 5, 5, id="all nodes"),
        pytest.param("50%", 0, 1, id="no connected node"),
    ],
)
def test_max_unavailable_is_a_number_or_a_percentage_of_the_connected_nodes(
    value: int | str, connected: int, expected: int
) -> None:
    assert max_unavailable_nodes(settings(maxUnavailable=value), connected) == expected
