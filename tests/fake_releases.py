"""Helm releases in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.ports import FetchedChart, PortError, StaleError
from fake_charts import Values
from fake_clock import FixedClock


@dataclass
class FakeReleases:
    """Helm releases in memory. `applied` are the values of each revision, `rendered` its objects if a test sets them.

    `fault` is raised by the next `apply`, which leaves a revision of status `leaves` behind, or none.
    """

    clock: FixedClock
    revisions: list[Revision] = field(default_factory=list)
    applied: dict[int, Values] = field(default_factory=dict)
    fault: PortError | None = None
    leaves: str | None = None
    rendered: dict[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def newest(self) -> Revision:
        """The newest revision."""
        return self.revisions[-1]

    async def apply(self, chart: FetchedChart, values: Values, expected: Revision) -> None:
        """Create exactly revision `expected`; StaleError, ApplyFailedError."""
        assert chart.version == expected.chart_version
        self._require_newest(expected.number - 1)
        if self.revisions and self.newest.status.startswith("pending"):
            raise StaleError("another Helm operation is in progress")
        fault, self.fault = self.fault, None
        leaves, self.leaves = self.leaves, None
        if fault is None or leaves is not None:
            self._add_revision(replace(expected, created_at=self.clock.now(), status=leaves or "deployed"), values)
        if fault is not None:
            raise fault

    async def unlock(self, revision: int) -> None:
        """Mark a pending newest revision as failed; StaleError if it is not the newest or not pending."""
        self._require_newest(revision)
        if not (self.newest.status.startswith("pending") or self.newest.status == "uninstalling"):
            raise StaleError(f"revision {revision} is not pending")
        self.revisions[-1] = replace(self.newest, status="failed")

    async def rollback(self, to: int, expected: int) -> None:
        """Roll back to revision `to` as exactly revision `expected`; StaleError, ApplyFailedError."""
        self._require_newest(expected - 1)
        fault, self.fault = self.fault, None
        if fault is not None:
            raise fault
        self._add_revision(Revision(expected, "deployed", self.clock.now(), rolled_back_to=to), self.applied[to])
        self.rendered[expected] = self.rendered.get(to, ())

    async def label_rollback(self, revision: int) -> None:
        """Label the newest revision, which a rollback created, as managed; StaleError if it is another."""
        self._require_newest(revision)
        to = self.newest.rolled_back_to
        if to is None or self.newest.managed:
            raise StaleError(f"revision {revision} is not an unlabelled rollback")
        old = next(old for old in self.revisions if old.number == to)
        self.revisions[-1] = replace(
            old, number=revision, status="deployed", created_at=self.newest.created_at, rolled_back_to=to
        )

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

    def upgrade_by_hand(self, *, status: str = "deployed", values: Values | None = None) -> None:
        """Create a revision as an admin does with `helm upgrade` or `helm rollback`."""
        number = self.newest.number + 1 if self.revisions else 1
        self._add_revision(Revision(number, status, self.clock.now()), values or {})

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
            self.revisions[before.number - 1] = replace(before, status="superseded")
        self.revisions.append(revision)
        self.applied[revision.number] = values

    def _require_newest(self, revision: int) -> None:
        newest = self.revisions[-1].number if self.revisions else 0
        if newest != revision:
            raise StaleError(f"the newest revision is {newest}, not {revision}")
