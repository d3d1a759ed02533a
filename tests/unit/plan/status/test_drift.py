from collections.abc import Sequence

import pytest

from builders import a_foreign_revision, a_revision, an_observation
from cilium_hybrid.api.status import MAX_DRIFT, Drift
from cilium_hybrid.plan.observation import Difference, Observation, Revision
from cilium_hybrid.plan.status.drift import compared_revision, drift_findings, drift_status
from cilium_hybrid.rules.rule import MAX_LENGTH

MANAGED = an_observation(a_revision(1))
EDITED = Difference("ConfigMap kube-system/cilium-config", (".data.debug",), ("kubectl-edit",))
MISSING = Difference("ClusterRole cilium")


@pytest.mark.parametrize(
    ("difference", "text"),
    [
        pytest.param(EDITED, "ConfigMap kube-system/cilium-config (.data.debug, by kubectl-edit)", id="a field"),
        pytest.param(MISSING, "ClusterRole cilium is missing", id="an object"),
        pytest.param(Difference("Service a/b", (".spec.type",)), "Service a/b (.spec.type)", id="an unknown manager"),
        pytest.param(
            Difference("Service a/b", (".a", ".b", ".c", ".d"), ("x", "y")),
            "Service a/b (.a, .b and 2 more, by x, y)",
            id="many fields",
        ),
        pytest.param(
            Difference("Service a/b", (".a\n",), ("x\x1b",)),
            "Service a/b (.a\\u000a, by x\\u001b)",
            id="control characters",
        ),
    ],
)
def test_a_difference_as_text(difference: Difference, text: str) -> None:
    assert str(difference) == text


def test_no_difference_is_longer_than_a_line() -> None:
    assert len(str(Difference("Service a/b", ("." + "x" * 9999,)))) <= MAX_LENGTH


@pytest.mark.parametrize(
    ("revisions", "expected"),
    [
        pytest.param([], None, id="no release"),
        pytest.param([a_revision(1), a_revision(2)], 2, id="the newest revision"),
        pytest.param([a_revision(1), a_revision(2, status="pending-upgrade")], None, id="a pending revision"),
        pytest.param([a_revision(1), a_revision(2, status="failed")], None, id="a failed revision"),
        pytest.param([a_revision(1), a_foreign_revision(2)], None, id="a foreign revision"),
    ],
)
def test_only_a_deployed_revision_of_the_operator_is_compared(
    revisions: Sequence[Revision], expected: int | None
) -> None:
    assert compared_revision(an_observation(*revisions)) == expected


@pytest.mark.parametrize(
    ("observation", "differences", "before", "expected"),
    [
        pytest.param(MANAGED, [], None, Drift(), id="no difference"),
        pytest.param(MANAGED, [MISSING], Drift(), Drift(count=1, sample=(str(MISSING),)), id="a difference"),
        pytest.param(MANAGED, None, None, None, id="never compared"),
        pytest.param(MANAGED, None, Drift(), Drift(), id="no difference at the last comparison"),
        pytest.param(MANAGED, None, Drift(count=1, sample=("x",)), None, id="a difference at the last comparison"),
        pytest.param(an_observation(), None, Drift(), None, id="no release"),
        pytest.param(an_observation(a_foreign_revision()), None, Drift(), None, id="a foreign revision since"),
    ],
)
def test_the_drift_in_the_status(
    observation: Observation, differences: Sequence[Difference] | None, before: Drift | None, expected: Drift | None
) -> None:
    assert drift_status(observation, differences, before) == expected


def test_at_most_ten_differences_are_named() -> None:
    many = [Difference(f"ClusterRole {number}") for number in range(MAX_DRIFT + 5)]
    drift = drift_status(MANAGED, many, None)

    assert drift is not None
    assert (drift.count, len(drift.sample)) == (MAX_DRIFT + 5, MAX_DRIFT)


@pytest.mark.parametrize("differences", [None, []])
def test_no_difference_is_no_finding(differences: Sequence[Difference] | None) -> None:
    assert drift_findings(differences) == ()


def test_all_differences_are_one_finding_with_the_fix() -> None:
    (finding,) = drift_findings([EDITED, MISSING])

    assert finding == (
        f"differs from the release: {EDITED}, {MISSING}; "
        "the next change of the release undoes this; to keep the change, add it to the spec"
    )
