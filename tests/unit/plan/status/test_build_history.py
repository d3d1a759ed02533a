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
    a_revision,
    an_observation,
)
from cilium_hybrid.api.status import MAX_HISTORY, HistoryAction, HistoryEntry, Release, Status, Version
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.inputs import Evaluation
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.record import Record
from evaluations import a_decided_evaluation, status_of

INSTALL, CONFIGURE, UPGRADE = HistoryAction.INSTALL, HistoryAction.CONFIGURE, HistoryAction.UPGRADE


def at(minute: int) -> datetime:
    return EARLIER + timedelta(minutes=minute)


def revisions(*statuses: str) -> list[Revision]:
    """Managed revisions, one a minute."""
    return [a_revision(number, status=status, created_at=at(number)) for number, status in enumerate(statuses, 1)]


def status_after(*created: Revision, previous: Status | None = None, record: Record | None = None) -> Status:
    return status_of(a_decided_evaluation(an_observation(*created, record=record), previous=previous or Status()))


def entries(status: Status) -> list[tuple[int, str, str | None, str]]:
    return [(entry.revision, entry.action.value, entry.from_version, entry.result) for entry in status.history]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param(["pending-install"], [], id="an install in progress"),
        pytest.param(["deployed"], [(1, INSTALL, None, "Succeeded")], id="an install"),
        pytest.param(["failed"], [(1, INSTALL, None, "Failed")], id="a failed install"),
        pytest.param(
            ["failed", "deployed"],
            [(1, INSTALL, None, "Failed"), (2, INSTALL, None, "Succeeded")],
            id="a retried install",
        ),
        pytest.param(
            ["superseded", "failed", "deployed"],
            [(1, INSTALL, None, "Succeeded"), (2, CONFIGURE, VERSION, "Failed"), (3, CONFIGURE, VERSION, "Succeeded")],
            id="a retried change",
        ),
        pytest.param(["deployed", "pending-upgrade"], [(1, INSTALL, None, "Succeeded")], id="a change in progress"),
    ],
)
def test_history_is_derived_from_the_revisions(
    statuses: list[str], expected: list[tuple[int, str, str | None, str]]
) -> None:
    assert entries(status_after(*revisions(*statuses))) == expected


def test_a_rollback_has_its_own_action() -> None:
    old, bad, back = revisions("superseded", "superseded", "deployed")
    history = status_after(old, bad, replace(back, rolled_back_to=1)).history

    assert [entry.action for entry in history] == [INSTALL, CONFIGURE, HistoryAction.ROLLBACK]


def test_an_entry_has_its_time_and_versions() -> None:
    old, new = a_revision(1, status="superseded", version="1.17.8-0"), a_revision(2, created_at=at(2))
    history = status_after(old, new).history

    assert history[1] == HistoryEntry(
        at=at(2), action=UPGRADE, from_version="1.17.8-0", to_version=VERSION, revision=2, result="Succeeded"
    )


def test_a_foreign_revision_is_not_in_the_history() -> None:
    created = [a_revision(1, status="superseded"), a_foreign_revision(2)]

    assert [revision for revision, *_ in entries(status_after(*created))] == [1]


def test_an_entry_is_kept_after_helm_deletes_its_revision() -> None:
    before = status_after(*revisions("superseded", "deployed"))
    after = status_after(*revisions("superseded", "deployed")[1:], previous=before)

    assert after.history == before.history


def test_each_revision_has_one_entry() -> None:
    before = status_after(*revisions("deployed"))
    after = status_after(*revisions("superseded", "deployed"), previous=before)

    assert after.history[0] == before.history[0]
    assert [revision for revision, *_ in entries(after)] == [1, 2]


def test_a_failed_revision_stays_failed_once_helm_marks_it_superseded() -> None:
    before = status_after(*revisions("failed"))
    after = status_after(*revisions("superseded", "deployed"), previous=before)

    assert entries(after) == [(1, INSTALL, None, "Failed"), (2, INSTALL, None, "Succeeded")]


def test_a_change_does_not_start_from_a_failed_revision() -> None:
    old = a_revision(1, status="superseded", created_at=at(1), version="1.17.8-0")
    failed = a_revision(2, status="failed", created_at=at(2))
    before = status_after(old, failed)
    after = status_after(old, replace(failed, status="superseded"), a_revision(3, created_at=at(3)), previous=before)

    assert entries(after)[1:] == [(2, UPGRADE, "1.17.8-0", "Failed"), (3, UPGRADE, "1.17.8-0", "Succeeded")]


def test_a_change_after_a_foreign_revision_has_no_empty_version() -> None:
    (_, change) = status_after(
        a_revision(1, status="superseded", created_at=at(1)),
        a_foreign_revision(2, status="superseded", created_at=at(2)),
        a_revision(3, created_at=at(3)),
    ).history

    assert (change.revision, change.action) == (3, CONFIGURE)
    assert change.from_version != ""


def test_an_install_after_an_uninstall_is_another_entry() -> None:
    before = status_after(a_revision(1, created_at=at(1)))
    after = status_after(a_revision(1, created_at=at(9)), previous=before)

    assert [(entry.revision, entry.at, entry.action) for entry in after.history] == [
        (1, at(1), INSTALL),
        (1, at(9), INSTALL),
    ]


def test_the_last_ten_entries_are_kept() -> None:
    before = status_after(*revisions(*["superseded"] * 7))
    after = status_after(*revisions(*["superseded"] * 12), previous=before)

    assert [entry.revision for entry in after.history] == list(range(3, 13))
    assert len(after.history) == MAX_HISTORY


def test_release_is_the_newest_revision() -> None:
    failed = a_revision(2, status="failed", chart_digest=OTHER_DIGEST)
    release = status_after(a_revision(1), failed).release

    assert release == Release(revision=2, status="failed", chart=REF, chart_digest=OTHER_DIGEST, values_digest=DIGEST)


@pytest.mark.parametrize(
    ("record", "chart"),
    [
        pytest.param(a_record(chart_ref="/charts/cilium"), "/charts/cilium", id="from the record"),
        pytest.param(a_record(chart_ref="/charts/cilium", revision=7), REF, id="from the spec, for a new revision"),
    ],
)
def test_release_has_the_reference_of_its_chart(record: Record, chart: str) -> None:
    release = status_after(a_revision(), record=record).release

    assert release is not None
    assert release.chart == chart


@pytest.mark.parametrize(
    ("previous", "chart"),
    [
        pytest.param(Status(), "", id="unknown"),
        pytest.param(
            status_after(a_revision(), record=a_record(chart_ref="/charts/cilium")),
            "/charts/cilium",
            id="reported before",
        ),
    ],
)
def test_release_keeps_its_chart_reference_if_the_spec_cannot_be_parsed(previous: Status, chart: str) -> None:
    reconcile_input = a_decided_evaluation(an_observation(a_revision())).input
    release = status_of(Evaluation(input=reconcile_input, previous=previous)).release

    assert release is not None
    assert release.chart == chart


@pytest.mark.parametrize(
    "created",
    [
        pytest.param([], id="no revision"),
        pytest.param([a_foreign_revision()], id="foreign"),
        pytest.param([a_revision(), a_foreign_revision(2)], id="foreign after managed"),
    ],
)
def test_a_foreign_release_is_not_reported(created: list[Revision]) -> None:
    assert status_after(*created).release is None


def test_the_status_does_not_change_without_an_event() -> None:
    evaluation = a_decided_evaluation(an_observation(*revisions("superseded", "failed", "deployed")))
    status = status_of(evaluation)

    assert status_of(replace(evaluation, previous=status)) == status


@pytest.mark.parametrize(
    ("chart_versions", "previous", "expected"),
    [
        pytest.param(None, Status(), None, id="never listed"),
        pytest.param(["1.17.15-1", "1.18.8-1", "1.17.16"], Status(), "1.17.15-1", id="listed"),
        pytest.param([], Status(), None, id="none of the running minor"),
        pytest.param(
            None, Status(version=Version(running=VERSION, latest_patch="1.17.15-1")), "1.17.15-1", id="listed before"
        ),
        pytest.param(
            None, Status(version=Version(running="1.16.1-0", latest_patch="1.16.9-1")), None, id="of another version"
        ),
    ],
)
def test_latest_patch_is_the_newest_listed_version_of_the_running_minor(
    chart_versions: list[str] | None, previous: Status, expected: str | None
) -> None:
    listed = None if chart_versions is None else [CiliumVersion.parse(version) for version in chart_versions]
    evaluation = a_decided_evaluation(an_observation(a_revision()), previous=previous, chart_versions=listed)

    assert status_of(evaluation).version.latest_patch == expected
