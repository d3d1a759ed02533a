"""To which revision the way back leads, if to any."""

from collections.abc import Sequence
from typing import Any

import pytest

from builders import a_foreign_revision, a_record, a_revision, an_agent, an_observation
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.record import Rejected
from cilium_hybrid.plan.rollout.rollback import find_way_back, newest_agent_version

OLDER = a_revision(1, status="superseded", version="1.16.9-0", verified=True)
VERIFIED = a_revision(2, status="superseded", verified=True)
UNVERIFIED = a_revision(3, status="superseded")
BAD = a_revision(4, version="1.18.8-1", rejected=True)


def way_back(revisions: Sequence[Revision], *, rejected: int = 4, agent: str | None = None, **record: Any) -> Any:
    agents = [] if agent is None else [an_agent(version=agent)]
    return find_way_back(
        an_observation(*revisions, agents=agents), a_record(**record), Rejected(rejected, "sha256:x", "it failed")
    )


@pytest.mark.parametrize(
    ("revisions", "record", "target"),
    [
        pytest.param([OLDER, VERIFIED, UNVERIFIED, BAD], {}, 2, id="the newest verified one"),
        pytest.param([a_revision(1), UNVERIFIED, BAD], {"verified": 1}, 1, id="verified by the record"),
        pytest.param(
            [VERIFIED, a_revision(3, status="superseded", verified=True, rejected=True), BAD],
            {},
            2,
            id="not one that was rejected later",
        ),
        pytest.param(
            [VERIFIED, a_revision(3, status="failed", verified=True), BAD], {}, 2, id="not one that Helm left half done"
        ),
        pytest.param([VERIFIED, BAD, a_revision(5, verified=True)], {}, 2, id="not one that is newer"),
    ],
)
def test_the_target(revisions: Sequence[Revision], record: dict[str, Any], target: int) -> None:
    found = way_back(revisions, **record)

    assert found.target is not None
    assert (found.target.number, found.refusal) == (target, "")


@pytest.mark.parametrize(
    ("revisions", "more", "refusal"),
    [
        pytest.param([UNVERIFIED, BAD], {}, "there is no verified revision", id="none was ever verified"),
        pytest.param([VERIFIED], {"rejected": 2}, "there is no verified revision", id="the rejected one itself"),
        pytest.param(
            [VERIFIED, a_revision(3, status="uninstalled"), a_revision(4)],
            {},
            "there is no verified revision",
            id="only one of an earlier installation",
        ),
        pytest.param(
            [VERIFIED, a_foreign_revision(3), BAD], {}, "revision 3, which this operator", id="foreign between"
        ),
        pytest.param([VERIFIED, BAD, a_foreign_revision(5)], {}, "revision 5, which this operator", id="foreign after"),
        pytest.param(
            [OLDER, BAD], {}, "more than one minor version older", id="two minors older than the rejected one"
        ),
        pytest.param([VERIFIED, BAD], {"agent": "1.19.4"}, "more than one minor version", id="two older than an agent"),
    ],
)
def test_why_there_is_no_way_back(revisions: Sequence[Revision], more: dict[str, Any], refusal: str) -> None:
    found = way_back(revisions, **more)

    assert found.target is None
    assert refusal in found.refusal


def test_a_verified_revision_that_helm_has_pruned_is_restored_from_the_kept_payload() -> None:
    kept = [a_revision(number) for number in range(4, 14)]

    found = way_back(kept, rejected=13, verified=2, chart_version="1.17.9-0")

    assert found.target is not None
    assert (found.target.number, found.target.chart_version) == (2, "1.17.9-0")


def test_agents_that_never_reached_the_next_minor_allow_an_older_target() -> None:
    assert way_back([OLDER, BAD], agent="1.17.9").target == OLDER


def test_the_newest_version_of_all_agents_counts() -> None:
    agents = [an_agent("a", version="1.17.9"), an_agent("b", version="1.18.1"), an_agent("c", version="latest")]

    assert str(newest_agent_version(an_observation(agents=agents))) == "1.18.1"
    assert newest_agent_version(an_observation(agents=[an_agent(version=None)])) is None
