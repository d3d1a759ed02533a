"""The history of the release, derived from its Helm revisions."""

from collections.abc import Sequence

from cilium_hybrid.api.status import MAX_HISTORY, HistoryAction, HistoryEntry
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.release import APPLIED


def history(before: tuple[HistoryEntry, ...], revisions: Sequence[Revision]) -> tuple[HistoryEntry, ...]:
    """Return `status.history`: an entry for each finished revision of the operator, the newest MAX_HISTORY of them.

    It is derived from Helm's revisions, so that a crash of the operator loses nothing.
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
        # Helm marks a failed revision as superseded once a later one succeeds; its entry stays failed.
        failed = key in entries and entries[key].result == "Failed"
        if revision.status in APPLIED and not failed:
            running = revision.chart_version or running
    return tuple(sorted(entries.values(), key=lambda entry: (entry.at, entry.revision)))[-MAX_HISTORY:]


def _action(revision: Revision, running: str | None) -> HistoryAction:
    if revision.rolled_back_to is not None:
        return HistoryAction.ROLLBACK
    if running is None:
        return HistoryAction.INSTALL
    return HistoryAction.CONFIGURE if running == revision.chart_version else HistoryAction.UPGRADE
