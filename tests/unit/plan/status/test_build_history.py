from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from builders import (
    DIGEST,
    EARLIER,
    OTHER_DIGEST,
    REF,
    VERSION,
    a_foreign_revision,
    a_record,
    a_report,
    a_revision,
    an_observation,
)
from cilium_hybrid.api.status import MAX_HISTORY, HistoryAction, HistoryEntry, Release, Status
from cilium_hybrid.plan.observation import Record, Revision
from cilium_hybrid.plan.status.build import next_status

INSTALL, CONFIGURE, UPGRADE = HistoryAction.INSTALL, HistoryAction.CONFIGURE, HistoryAction.UPGRADE


def at(minute: int) -> datetime:
    return EARLIER + timedelta(minutes=minute)


def revisions(*statuses: str) -> list[Revision]:
    """Revisions of ours, one a minute."""
    return [a_revision(number, status=status, made_at=at(number)) for number, status in enumerate(statuses, 1)]


def status_of(*made: Revision, previous: Status | None = None, record: Record | None = None) -> Status:
    return next_status(a_report(an_observation(*made, record=record), previous=previous or Status()))


def entries(status: Status) -> list[tuple[int, str, str | None, str]]:
    return [(entry.revision, entry.action.value, entry.from_version, entry.result) for entry in status.history]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(["pending-install"], [], id="an install that is not over"),
        pytest.param(["deployed"], [(1, INSTALL, None, "Succeeded")], id="an install"),
        pytest.param(["failed"], [(1, INSTALL, None, "Failed")], id="an install that failed"),
        pytest.param(
            ["failed", "deployed"],
            [(1, INSTALL, None, "Failed"), (2, INSTALL, None, "Succeeded")],
            id="an install in two tries",
        ),
        pytest.param(
            ["superseded", "failed", "deployed"],
            [(1, INSTALL, None, "Succeeded"), (2, CONFIGURE, VERSION, "Failed"), (3, CONFIGURE, VERSION, "Succeeded")],
            id="a change in two tries",
        ),
        pytest.param(
            ["deployed", "pending-upgrade"], [(1, INSTALL, None, "Succeeded")], id="a change that is not over"
        ),
    ],
)
def test_history_is_told_by_helms_own_records(
    statuses: list[str], expected: list[tuple[int, str, str | None, str]]
) -> None:
    assert entries(status_of(*revisions(*statuses))) == expected


def test_a_way_back_is_told_as_one() -> None:
    old, bad, back = revisions("superseded", "superseded", "deployed")
    history = status_of(old, bad, replace(back, copies=1)).history

    assert [entry.action for entry in history] == [INSTALL, CONFIGURE, HistoryAction.ROLLBACK]


def test_an_entry_tells_when_and_from_what_to_what() -> None:
    old, new = a_revision(1, status="superseded", version="1.17.8-0"), a_revision(2, made_at=at(2))
    history = status_of(old, new).history

    assert history[1] == HistoryEntry(
        at=at(2), action=UPGRADE, from_version="1.17.8-0", to_version=VERSION, revision=2, result="Succeeded"
    )


def test_what_somebody_else_made_is_not_in_our_history() -> None:
    made = [a_revision(1, status="superseded"), a_foreign_revision(2)]

    assert [revision for revision, *_ in entries(status_of(*made))] == [1]


def test_an_entry_stays_when_helm_forgets_its_revision() -> None:
    before = status_of(*revisions("superseded", "deployed"))
    after = status_of(*revisions("superseded", "deployed")[1:], previous=before)

    assert after.history == before.history


def test_an_entry_is_made_once() -> None:
    before = status_of(*revisions("deployed"))
    after = status_of(*revisions("superseded", "deployed"), previous=before)

    assert after.history[0] == before.history[0]
    assert [revision for revision, *_ in entries(after)] == [1, 2]


def test_what_failed_stays_failed_when_helm_calls_it_superseded() -> None:
    before = status_of(*revisions("failed"))
    after = status_of(*revisions("superseded", "deployed"), previous=before)

    assert entries(after) == [(1, INSTALL, None, "Failed"), (2, INSTALL, None, "Succeeded")]


def test_what_failed_is_not_what_a_later_change_came_from() -> None:
    old = a_revision(1, status="superseded", made_at=at(1), version="1.17.8-0")
    failed = a_revision(2, status="failed", made_at=at(2))
    before = status_of(old, failed)
    after = status_of(old, replace(failed, status="superseded"), a_revision(3, made_at=at(3)), previous=before)

    assert entries(after)[1:] == [(2, UPGRADE, "1.17.8-0", "Failed"), (3, UPGRADE, "1.17.8-0", "Succeeded")]


def test_a_change_after_what_somebody_else_made_is_a_change_from_no_empty_version() -> None:
    (_, change) = status_of(
        a_revision(1, status="superseded", made_at=at(1)),
        a_foreign_revision(2, status="superseded", made_at=at(2)),
        a_revision(3, made_at=at(3)),
    ).history

    assert (change.revision, change.action) == (3, CONFIGURE)
    assert change.from_version != ""


def test_a_second_install_after_an_uninstall_is_another_entry() -> None:
    before = status_of(a_revision(1, made_at=at(1)))
    after = status_of(a_revision(1, made_at=at(9)), previous=before)

    assert [(entry.revision, entry.at, entry.action) for entry in after.history] == [
        (1, at(1), INSTALL),
        (1, at(9), INSTALL),
    ]


def test_the_last_ten_are_kept() -> None:
    before = status_of(*revisions(*["superseded"] * 7))
    after = status_of(*revisions(*["superseded"] * 12), previous=before)

    assert [entry.revision for entry in after.history] == list(range(3, 13))
    assert len(after.history) == MAX_HISTORY


def test_the_newest_revision_is_shown() -> None:
    failed = a_revision(2, status="failed", chart_digest=OTHER_DIGEST)
    release = status_of(a_revision(1), failed).release

    assert release == Release(revision=2, status="failed", chart=REF, chart_digest=OTHER_DIGEST, values_digest=DIGEST)


@pytest.mark.parametrize(
    ("record", "chart"),
    [
        pytest.param(a_record(chart_ref="/charts/cilium"), "/charts/cilium", id="as the record tells it"),
        pytest.param(a_record(chart_ref="/charts/cilium", revision=7), REF, id="as the spec says, for a new revision"),
    ],
)
def test_where_its_chart_came_from(record: Record, chart: str) -> None:
    release = status_of(a_revision(), record=record).release

    assert release is not None
    assert release.chart == chart


@pytest.mark.parametrize(
    ("previous", "chart"),
    [
        pytest.param(Status(), "", id="nobody knows"),
        pytest.param(status_of(a_revision(), record=a_record(chart_ref="/charts/cilium")), "/charts/cilium", id="told"),
    ],
)
def test_where_its_chart_came_from_is_not_forgotten_where_the_spec_cannot_be_read(previous: Status, chart: str) -> None:
    release = next_status(a_report(an_observation(a_revision()), previous=previous, chart_ref="")).release

    assert release is not None
    assert release.chart == chart


@pytest.mark.parametrize(
    "made",
    [
        pytest.param([], id="there is none"),
        pytest.param([a_foreign_revision()], id="somebody else's"),
        pytest.param([a_revision(), a_foreign_revision(2)], id="somebody else's after ours"),
    ],
)
def test_no_release_is_shown_that_is_not_ours(made: list[Revision]) -> None:
    assert status_of(*made).release is None


def test_the_status_stays_while_nothing_happens() -> None:
    report = a_report(an_observation(*revisions("superseded", "failed", "deployed")))
    status = next_status(report)

    assert next_status(replace(report, previous=status)) == status
