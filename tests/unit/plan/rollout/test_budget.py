from dataclasses import replace

import pytest

from builders import DIGEST, OTHER_DIGEST
from cilium_hybrid.plan.rollout.budget import max_unavailable_nodes
from cilium_hybrid.plan.rollout.plan import RolloutStep
from unit.plan.rollout.site import READY, STARTED, a_site, settings


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


def test_a_node_that_an_earlier_revision_left_not_ready_uses_the_budget_also_after_its_deadline() -> None:
    """Otherwise the way back would restart the next healthy agent before this one is back."""
    site = a_site("ab", rules=settings(progressDeadline="1m"), new=lambda _: STARTED)
    site.until(RolloutStep.FAILED)
    site.digest, site.judged, site.rolling_back = OTHER_DIGEST, False, True
    site.create("b", digest=DIGEST, **READY)
    assert site.record is not None
    site.record = replace(site.record, config_digest=OTHER_DIGEST, nodes={}, casualties=("a", "b"))
    site.unready_for = {"a": 70.0}
    plan = site.tick(1)

    assert plan.step is RolloutStep.WAIT
    assert site.restarted == ["a"]


def test_a_node_that_the_way_back_cannot_repair_does_not_keep_the_others_on_the_rejected_revision() -> None:
    site = a_site("ab", rules=settings(progressDeadline="5m"), new=lambda _: STARTED)
    site.until(RolloutStep.FAILED)
    site.digest, site.judged, site.rolling_back = OTHER_DIGEST, False, True
    site.create("b", digest=DIGEST, **READY)
    assert site.record is not None
    site.record = replace(site.record, config_digest=OTHER_DIGEST, nodes={}, casualties=("a", "b"))
    site.unready_for = {"a": 200.0}
    site.run(200)
    before = list(site.restarted)
    site.run(200)

    assert before == ["a", "a"]
    assert site.restarted == ["a", "a", "b"]
