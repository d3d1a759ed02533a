"""What was done to the release, as Helm's own records tell it."""

from collections.abc import Sequence

from cilium_hybrid.api.status import MAX_HISTORY, HistoryAction, HistoryEntry
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.release import APPLIED


def history(before: tuple[HistoryEntry, ...], revisions: Sequence[Revision]) -> tuple[HistoryEntry, ...]:
    """One entry for each finished revision of ours, told by Helm's own records: nothing is lost by a crash."""
    entries = {(entry.revision, entry.at): entry for entry in before}
    running: str | None = None
    for revision in revisions:
        finished = revision.status in {*APPLIED, "failed"}
        key = (revision.number, revision.made_at)
        if revision.managed and finished and key not in entries:
            entries[key] = HistoryEntry(
                at=revision.made_at,
                action=_made_for(revision, running),
                from_version=running,
                to_version=revision.chart_version,
                revision=revision.number,
                result="Failed" if revision.status == "failed" else "Succeeded",
            )
        # Helm calls a failed revision superseded once a later one worked; what was told of it then still holds.
        failed = key in entries and entries[key].result == "Failed"
        if revision.status in APPLIED and not failed:
            running = revision.chart_version or running
    return tuple(sorted(entries.values(), key=lambda entry: (entry.at, entry.revision)))[-MAX_HISTORY:]


def _made_for(revision: Revision, running: str | None) -> HistoryAction:
    if revision.copies is not None:
        return HistoryAction.ROLLBACK
    if running is None:
        return HistoryAction.INSTALL
    return HistoryAction.CONFIGURE if running == revision.chart_version else HistoryAction.UPGRADE
