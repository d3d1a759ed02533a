"""Helm releases in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from cilium_hybrid.plan.observation import PoolConfig, ReleasePayload, Revision
from cilium_hybrid.ports import ApplyFailedError, FetchedChart, PortError, Rendered, StaleError
from fake_charts import Values
from fake_clock import FixedClock


@dataclass
class FakeReleases:
    """Helm releases in memory. `applied` are the values of each revision, `rendered` its objects.

    `fault` is raised by the next `apply`, which leaves a revision of status `leaves` behind, or none. `kept` is the
    copy of the last verified revision. `unreadable` are revisions that cannot be decoded, `versions_by_hand` the chart
    versions of those that an admin made.
    """

    clock: FixedClock
    revisions: list[Revision] = field(default_factory=list)
    applied: dict[int, Values] = field(default_factory=dict)
    fault: PortError | None = None
    leaves: str | None = None
    rendered: dict[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    charts: dict[int, Path] = field(default_factory=dict)
    kept: Revision | None = None
    unreadable: set[int] = field(default_factory=set)
    versions_by_hand: dict[int, str] = field(default_factory=dict)

    @property
    def newest(self) -> Revision:
        """The newest revision."""
        return self.revisions[-1]

    async def apply(self, chart: FetchedChart, values: Values, rendered: Rendered, expected: Revision) -> None:
        """Create exactly revision `expected`; StaleError, ApplyFailedError."""
        assert chart.version == expected.chart_version
        self._require_newest(expected.number - 1)
        if self.revisions and self.newest.status.startswith("pending"):
            raise StaleError("another Helm operation is in progress")
        fault, self.fault = self.fault, None
        leaves, self.leaves = self.leaves, None
        if fault is None or leaves is not None:
            self.charts[expected.number] = chart.path
            self.rendered[expected.number] = rendered.manifests
            self._add_revision(replace(expected, created_at=self.clock.now(), status=leaves or "deployed"), values)
        if fault is not None:
            raise fault

    async def unlock(self, revision: int) -> None:
        """Mark a pending newest revision as failed; StaleError if it is not the newest or not pending."""
        self._require_newest(revision)
        if not (self.newest.status.startswith("pending") or self.newest.status == "uninstalling"):
            raise StaleError(f"revision {revision} is not pending")
        self.revisions[-1] = replace(self.newest, status="failed")

    async def restorable(self, revision: int) -> tuple[FetchedChart, Values]:
        """Return chart and values of a revision; ApplyFailedError."""
        known = next((known for known in (*self.revisions, self.kept) if known and known.number == revision), None)
        if known is None:
            raise ApplyFailedError(f"revision {revision} of Helm release cilium cannot be read")
        return FetchedChart(self.charts[revision], known.chart_version, known.chart_digest), self.applied[revision]

    async def mark(self, revision: int, mark: Literal["verified", "rejected"]) -> None:
        """Label a revision; nothing happens if Helm no longer has it."""
        for index, known in enumerate(self.revisions):
            if known.number == revision:
                marked = replace(known, changed=f"{known.changed}+", **dict[str, Any]({mark: True}))
                self.revisions[index] = marked
                if mark == "verified":
                    self.kept = marked

    async def payload(self, revision: int) -> ReleasePayload:
        """Return what is known of a revision; StaleError if it is gone."""
        if revision not in {known.number for known in self.revisions}:
            raise StaleError(f"revision {revision} is gone")
        if revision in self.unreadable:
            return ReleasePayload(readable=False)
        values = self.applied.get(revision, {})
        pool = values.get("ipam", {}).get("operator", {})
        cidrs = pool.get("clusterPoolIPv4PodCIDRList")
        return ReleasePayload(
            chart_version=self.versions_by_hand.get(revision) or self._revision(revision).chart_version,
            initial_series=values.get("upgradeCompatibility"),
            pool=None if cidrs is None else PoolConfig(tuple(cidrs), pool.get("clusterPoolIPv4MaskSize")),
        )

    def _revision(self, number: int) -> Revision:
        return next(known for known in self.revisions if known.number == number)

    async def manifests(self, revision: int) -> Sequence[Mapping[str, Any]]:
        """Return the manifests of a revision, none if Helm no longer has it; ClusterUnavailableError."""
        return self.rendered.get(revision, ()) if revision in {known.number for known in self.revisions} else ()

    async def uninstall(self, revision: int) -> None:
        """Uninstall the release, whose newest revision is `revision`; StaleError, UninstallFailedError."""
        self._require_newest(revision)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self.revisions.clear()

    def upgrade_by_hand(
        self, *, status: str = "deployed", values: Values | None = None, version: str = "", manager: str = "Helm"
    ) -> None:
        """Create a revision as an admin does with `helm upgrade` or `helm rollback`."""
        number = self.newest.number + 1 if self.revisions else 1
        self.versions_by_hand[number] = version
        self._add_revision(Revision(number, status, self.clock.now(), manager=manager), values or {})

    def uninstall_by_hand(self, *, keep_history: bool = False) -> None:
        """Uninstall the release as an admin does with `helm uninstall`."""
        if keep_history:
            self.revisions[-1] = replace(self.newest, status="uninstalled")
        else:
            self.revisions.clear()

    def _add_revision(self, revision: Revision, values: Values) -> None:
        if revision.status == "deployed" and self.revisions:
            # As Helm does, also if the replaced revision had failed.
            before = next((old for old in self.revisions if old.status == "deployed"), self.newest)
            self.revisions[self.revisions.index(before)] = replace(before, status="superseded")
        self.revisions.append(revision)
        self.applied[revision.number] = values

    def _require_newest(self, revision: int) -> None:
        newest = self.revisions[-1].number if self.revisions else 0
        if newest != revision:
            raise StaleError(f"the newest revision is {newest}, not {revision}")
