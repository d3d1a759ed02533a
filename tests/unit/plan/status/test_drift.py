"""What differs from what was released: when it is told, in which words, and until when."""

from collections.abc import Sequence

import pytest

from builders import a_foreign_revision, a_revision, an_observation
from cilium_hybrid.api.status import MAX_DRIFT, Drift
from cilium_hybrid.plan.observation import Difference, Observation, Revision
from cilium_hybrid.plan.status.drift import compared_revision, drift_findings, drift_of
from cilium_hybrid.rules.rule import LONGEST

OURS = an_observation(a_revision(1))
EDITED = Difference("ConfigMap kube-system/cilium-config", (".data.debug",), ("kubectl-edit",))
GONE = Difference("ClusterRole cilium")


@pytest.mark.parametrize(
    ("difference", "told"),
    [
        pytest.param(EDITED, "ConfigMap kube-system/cilium-config (.data.debug, by kubectl-edit)", id="a field"),
        pytest.param(GONE, "ClusterRole cilium is gone", id="an object"),
        pytest.param(Difference("Service a/b", (".spec.type",)), "Service a/b (.spec.type)", id="nobody knows who"),
        pytest.param(
            Difference("Service a/b", (".a", ".b", ".c", ".d"), ("x", "y")),
            "Service a/b (.a, .b and 2 more, by x, y)",
            id="many fields",
        ),
        pytest.param(
            Difference("Service a/b", (".a\n",), ("x\x1b",)), "Service a/b (.a\\u000a, by x\\u001b)", id="odd"
        ),
    ],
)
def test_a_difference_in_words(difference: Difference, told: str) -> None:
    assert str(difference) == told


def test_no_difference_is_longer_than_a_line() -> None:
    assert len(str(Difference("Service a/b", ("." + "x" * 9999,)))) <= LONGEST


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        pytest.param([], None, id="nothing is released"),
        pytest.param([a_revision(1), a_revision(2)], 2, id="the newest"),
        pytest.param([a_revision(1), a_revision(2, status="pending-upgrade")], None, id="one is being made"),
        pytest.param([a_revision(1), a_revision(2, status="failed")], None, id="one failed"),
        pytest.param([a_revision(1), a_foreign_revision(2)], None, id="another's"),
    ],
)
def test_only_a_revision_of_the_operator_s_that_is_deployed_is_compared(
    revisions: Sequence[Revision], expected: int | None
) -> None:
    assert compared_revision(an_observation(*revisions)) == expected


@pytest.mark.parametrize(
    ("observation", "differences", "before", "expected"),
    [
        pytest.param(OURS, [], None, Drift(), id="nothing differs"),
        pytest.param(OURS, [GONE], Drift(), Drift(count=1, sample=(str(GONE),)), id="something does"),
        pytest.param(OURS, None, None, None, id="it was never compared"),
        pytest.param(OURS, None, Drift(), Drift(), id="nothing did when it was last compared"),
        pytest.param(OURS, None, Drift(count=1, sample=("x",)), None, id="something did, and may no longer"),
        pytest.param(an_observation(), None, Drift(), None, id="nothing is there"),
        pytest.param(an_observation(a_foreign_revision()), None, Drift(), None, id="another released since"),
    ],
)
def test_what_the_status_says(
    observation: Observation, differences: Sequence[Difference] | None, before: Drift | None, expected: Drift | None
) -> None:
    assert drift_of(observation, differences, before) == expected


def test_of_many_ten_are_named() -> None:
    many = [Difference(f"ClusterRole {number}") for number in range(MAX_DRIFT + 5)]
    told = drift_of(OURS, many, None)

    assert told is not None
    assert (told.count, len(told.sample)) == (MAX_DRIFT + 5, MAX_DRIFT)


@pytest.mark.parametrize("differences", [None, []])
def test_no_difference_is_no_finding(differences: Sequence[Difference] | None) -> None:
    assert drift_findings(differences) == ()


def test_all_differences_are_one_finding_with_what_to_do() -> None:
    (finding,) = drift_findings([EDITED, GONE])

    assert finding == (
        f"not as released: {EDITED}, {GONE}: "
        "the next change of the release undoes it; what is to stay belongs into the spec"
    )
