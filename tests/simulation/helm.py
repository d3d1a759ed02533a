"""Helm's storage and what Helm operations do, whoever runs them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cilium_hybrid.plan.observation import ReleasePayload, Revision
from simulation.objects import StoredRevision, Values, pool_of, template_of
from simulation.timeline import moment

if TYPE_CHECKING:
    from simulation.world import World

MAX_HISTORY: Final = 10
"""Helm keeps so many revisions."""
OURS: Final = "cilium-hybrid-operator"
BUSY: Final = frozenset({"pending-install", "pending-upgrade", "pending-rollback", "uninstalling"})


class HelmError(Exception):
    """Helm refused an operation."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The payload of the last verified revision, in the Secret that the operator keeps."""

    number: int
    version: str
    chart_digest: str
    values: Values


class HelmStorage:
    """The revisions of release `cilium`, oldest first, and the kept payload."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.revisions: list[StoredRevision] = []
        self.kept: Kept | None = None
        self._installations = 0
        self._changes = 0

    @property
    def newest(self) -> StoredRevision | None:
        """The newest revision."""
        return self.revisions[-1] if self.revisions else None

    @property
    def running(self) -> StoredRevision | None:
        """The newest revision that was applied completely, None if the release is uninstalled."""
        if self.newest is None or self.newest.status == "uninstalled":
            return None
        return next((found for found in reversed(self.revisions) if found.status in {"deployed", "superseded"}), None)

    @property
    def installed(self) -> Sequence[StoredRevision]:
        """The revisions since the last uninstall."""
        ended = [index for index, found in enumerate(self.revisions) if found.status == "uninstalled"]
        return self.revisions[ended[-1] + 1 :] if ended else self.revisions

    def find(self, number: int) -> StoredRevision | None:
        """Return a revision, None if Helm does not have it."""
        return next((found for found in self.revisions if found.number == number), None)

    def begin(
        self, status: str, values: Values, version: str, chart_digest: str, labels: Mapping[str, str], manager: str
    ) -> StoredRevision:
        """Start an operation: create the pending revision; HelmError if another one is in progress."""
        newest = self.newest
        if newest is not None and newest.status in BUSY:
            raise HelmError("another operation (install/upgrade/rollback) is in progress")
        if newest is None or newest.status == "uninstalled":
            self._installations += 1
        number = 1 if newest is None else newest.number + 1
        created = moment(self._world.timeline.now)
        release = f"installation-{self._installations}"
        found = StoredRevision(number, status, created, version, chart_digest, values, dict(labels), manager, release)
        self.revisions.append(found)
        self._prune()
        self.write(found)
        return found

    def copied_labels(self, source: StoredRevision | None) -> dict[str, str]:
        """Return the labels that Helm copies from a revision to the one that an operation creates."""
        return {} if source is None else dict(source.labels)

    def deploy_objects(self, revision: StoredRevision) -> None:
        """Write the objects of a revision to the cluster."""
        values = revision.values
        template = template_of(values, revision.version, self._world.registry.bad_versions)
        operator: Any = values.get("operator") or {}
        self._world.controllers.apply(template, pool_of(values), operator, revision.version)
        self._world.ledger.template_applied()

    def finish(self, revision: StoredRevision, status: str = "deployed") -> None:
        """End an operation."""
        if status == "deployed":
            for other in self.revisions:
                if other.status == "deployed" and other is not revision:
                    other.status = "superseded"
                    self.write(other)
        revision.status = status
        self.write(revision)
        self._world.ledger.revision_ended(revision)

    def uninstall(self, *, keep_history: bool = False) -> None:
        """Remove the objects and the revisions."""
        self._world.controllers.remove()
        if keep_history and self.newest is not None:
            self.newest.status = "uninstalled"
            self.write(self.newest)
        else:
            self.revisions.clear()
        self._world.ledger.uninstalled()
        self._world.touch("revisions")

    def write(self, revision: StoredRevision) -> None:
        """Count a write of a revision's Secret."""
        self._changes += 1
        revision.changed, revision.changed_at = self._changes, self._world.timeline.now
        self._world.touch("revisions")

    def _prune(self) -> None:
        while len(self.revisions) > MAX_HISTORY:
            oldest = next(found for found in self.revisions if found.status != "deployed")
            self.revisions.remove(oldest)

    def facts(self) -> tuple[Revision, ...]:
        """Return the revisions as the watch shows them."""
        return tuple(map(fact_of, self.revisions))

    def payload(self, number: int) -> ReleasePayload | None:
        """Return what is known of a revision from its payload; None if it is gone."""
        found = self.find(number)
        if found is None:
            return None
        if not found.readable:
            return ReleasePayload(readable=False)
        series = found.values.get("upgradeCompatibility")
        template = template_of(found.values, found.version, {})
        series = None if series is None else str(series)
        return ReleasePayload(True, found.version, series, pool_of(found.values), template.digest)

    def restorable(self, number: int) -> Kept | None:
        """Return chart and values of a revision from its payload, or from the kept one."""
        found = self.find(number)
        if found is not None and found.readable:
            return Kept(number, found.version, found.chart_digest, found.values)
        return self.kept if self.kept is not None and self.kept.number == number else None


def labels_of(expected: Revision) -> dict[str, str]:
    """Return the labels of a revision of the operator's."""
    labels = {
        "revision": str(expected.number),
        "version": expected.chart_version,
        "chart": expected.chart_digest,
        "values": expected.values_digest,
        "ref": expected.ref_digest,
        "spec": expected.spec_digest,
    }
    if expected.rolled_back_to is not None:
        labels["rollback"] = f"{expected.number}.{expected.rolled_back_to}"
    return labels


def fact_of(stored: StoredRevision) -> Revision:
    """Return the fact of a revision: labels that Helm copied from another one do not count."""
    own = stored.labels if stored.ours else {}
    number, to = (*own.get("rollback", "").split("."), "")[:2]
    return Revision(
        number=stored.number,
        status=stored.status,
        created_at=stored.created_at,
        managed=stored.ours,
        chart_version=own.get("version", ""),
        chart_digest=own.get("chart", ""),
        values_digest=own.get("values", ""),
        ref_digest=own.get("ref", ""),
        spec_digest=own.get("spec", ""),
        rolled_back_to=int(to) if number == str(stored.number) and to else None,
        verified=own.get("verified") == str(stored.number),
        rejected=own.get("rejected") == str(stored.number),
        changed=str(stored.changed),
        manager=stored.manager,
    )
