"""The history of the release, derived from its Helm revisions."""

from collections.abc import Sequence
from typing import Literal

from cilium_hybrid.api.status import MAX_HISTORY, HistoryAction, HistoryEntry
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.running import APPLIED


def history(
    before: tuple[HistoryEntry, ...], revisions: Sequence[Revision], record: Record
) -> tuple[HistoryEntry, ...]:
    """Return `status.history`: an entry for each finished revision of the operator, the newest MAX_HISTORY of them.

    It is derived from Helm's revisions and the record, so that a crash of the operator loses nothing.
    """
    entries = {(entry.revision, entry.at): entry for entry in before}
    running: str | None = None
    for revision in revisions:
        finished = revision.status in {*APPLIED, "failed"}
        key = (revision.number, revision.created_at)
        if revision.managed and finished and key not in entries:
            entries[key] = HistoryEntry(
                at=revision.created_at,
                action=_action(revision, running),
                from_version=running,
                to_version=revision.chart_version,
                revision=revision.number,
                result="Failed" if revision.status == "failed" else "Succeeded",
            )
        if key in entries and (outcome := _outcome(revision, record)) is not None:
            entries[key] = entries[key].model_copy(update={"rollout": outcome})
        # Helm marks a failed revision as superseded once a later one succeeds; its entry stays failed.
        failed = key in entries and entries[key].result == "Failed"
        if revision.status in APPLIED and not failed:
            running = revision.chart_version or running
    return tuple(sorted(entries.values(), key=lambda entry: (entry.at, entry.revision)))[-MAX_HISTORY:]


def _outcome(revision: Revision, record: Record) -> Literal["Verified", "Rejected"] | None:
    """Return how the rollout of a revision ended, by its marks and by the record; None while it has not."""
    rejected = record.rejected is not None and record.rejected.revision == revision.number
    if revision.rejected or rejected:
        return "Rejected"
    return "Verified" if revision.verified or record.verified == revision.number else None


def _action(revision: Revision, running: str | None) -> HistoryAction:
    if revision.rolled_back_to is not None:
        return HistoryAction.ROLLBACK
    if running is None:
        return HistoryAction.INSTALL
    return HistoryAction.CONFIGURE if running == revision.chart_version else HistoryAction.UPGRADE
