"""Every cell of the table: what the newest revision is, and whose."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from builders import a_foreign_revision, a_record, a_revision, an_observation
from cilium_hybrid.plan.classify import ReleaseClass, classify, installation
from cilium_hybrid.plan.observation import Observation, ReleasePayload, Revision

OURS = a_revision(1, status="superseded")
UNINSTALLED = a_revision(3, status="uninstalled")
UNREADABLE = {1: ReleasePayload(readable=False)}


@pytest.mark.parametrize(
    ("status", "ours", "foreign"),
    [
        ("deployed", ReleaseClass.OURS_DEPLOYED, ReleaseClass.FOREIGN_DEPLOYED),
        ("superseded", ReleaseClass.OURS_DEPLOYED, ReleaseClass.FOREIGN_DEPLOYED),
        ("failed", ReleaseClass.OURS_FAILED, ReleaseClass.FOREIGN_FAILED),
        ("unknown", ReleaseClass.OURS_FAILED, ReleaseClass.FOREIGN_FAILED),
        ("pending-install", ReleaseClass.OURS_PENDING, ReleaseClass.FOREIGN_PENDING),
        ("pending-upgrade", ReleaseClass.OURS_PENDING, ReleaseClass.FOREIGN_PENDING),
        ("pending-rollback", ReleaseClass.OURS_PENDING, ReleaseClass.FOREIGN_PENDING),
        ("uninstalling", ReleaseClass.OURS_UNINSTALLING, ReleaseClass.FOREIGN_UNINSTALLING),
        ("uninstalled", ReleaseClass.UNINSTALLED, ReleaseClass.UNINSTALLED),
    ],
)
def test_the_class_of_each_status(status: str, ours: ReleaseClass, foreign: ReleaseClass) -> None:
    assert classify(an_observation(OURS, a_revision(2, status=status))) is ours
    assert classify(an_observation(OURS, a_foreign_revision(2, status=status))) is foreign
    alone = classify(an_observation(a_foreign_revision(2, status=status)))
    assert alone is (foreign if status == "uninstalled" else ReleaseClass.NOT_OWNED)


@pytest.mark.parametrize(
    ("observation", "expected"),
    [
        pytest.param(an_observation(), ReleaseClass.NONE, id="no release"),
        pytest.param(an_observation(record=a_record()), ReleaseClass.NONE, id="only a record"),
        pytest.param(an_observation(OURS, payloads=UNREADABLE), ReleaseClass.UNREADABLE, id="ours, unreadable"),
        pytest.param(
            an_observation(a_foreign_revision(), payloads=UNREADABLE), ReleaseClass.UNREADABLE, id="foreign, unreadable"
        ),
        pytest.param(
            an_observation(a_revision(1), a_revision(2, status="failed"), payloads=UNREADABLE),
            ReleaseClass.UNREADABLE,
            id="the deployed one is unreadable, below one of ours that failed",
        ),
        pytest.param(
            an_observation(a_revision(1), a_foreign_revision(2, status="pending-upgrade"), payloads=UNREADABLE),
            ReleaseClass.FOREIGN_PENDING,
            id="the deployed one is unreadable, below a foreign one, which is left alone",
        ),
        pytest.param(
            an_observation(a_revision(1, status="superseded"), a_revision(2), payloads=UNREADABLE),
            ReleaseClass.OURS_DEPLOYED,
            id="an older revision is unreadable",
        ),
        pytest.param(
            an_observation(*map(a_foreign_revision, range(9, 19)), record=a_record(revision=5)),
            ReleaseClass.FOREIGN_DEPLOYED,
            id="Helm has pruned all revisions of the operator",
        ),
        pytest.param(
            an_observation(a_foreign_revision(1), record=a_record(revision=5)),
            ReleaseClass.NOT_OWNED,
            id="the record is of an installation that is gone",
        ),
        pytest.param(
            an_observation(OURS, UNINSTALLED, a_foreign_revision(4), record=a_record(revision=2)),
            ReleaseClass.NOT_OWNED,
            id="something else installed again over a kept history",
        ),
    ],
)
def test_whose_the_installation_is(observation: Observation, expected: ReleaseClass) -> None:
    assert classify(observation) is expected


@pytest.mark.parametrize(
    ("revisions", "numbers"),
    [
        pytest.param([], [], id="none"),
        pytest.param([OURS, a_revision(2)], [1, 2], id="never uninstalled"),
        pytest.param([OURS, UNINSTALLED], [], id="uninstalled"),
        pytest.param([OURS, UNINSTALLED, a_revision(4)], [4], id="installed again"),
    ],
)
def test_the_revisions_of_the_installation(revisions: Sequence[Revision], numbers: list[int]) -> None:
    found = installation(replace(an_observation(), revisions=tuple(revisions)))

    assert [revision.number for revision in found] == numbers
