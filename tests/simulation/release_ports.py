# ruff: noqa: ARG002 # the model ignores what it does not model
"""The ports of one process of the operator for Helm: release `cilium` and the preflight."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cilium_hybrid.plan.observation import ReleasePayload, Revision
from cilium_hybrid.ports import (
    ApplyFailedError,
    ClusterUnavailableError,
    FetchedChart,
    Rendered,
    StaleError,
    UninstallFailedError,
)
from simulation.helm import BUSY, OURS, HelmError, Kept, labels_of
from simulation.objects import Values
from simulation.ports import Pause, Port
from simulation.writes import Write


class SimulatedReleases(Port):
    """The Releases port."""

    async def apply(self, chart: FetchedChart, values: Values, rendered: Rendered, expected: Revision) -> None:
        """Create exactly revision `expected`, as `helm upgrade --install` does."""
        await self._write("apply")
        helm = self._world.helm
        self._require_newest(expected.number - 1)
        if helm.newest is not None and helm.newest.status in BUSY:
            raise StaleError("the release has changed meanwhile: another operation is in progress")
        self._world.check(Write("apply", self._process, expected=expected, values=values))
        status = "pending-install" if helm.running is None else "pending-upgrade"
        labels = helm.copied_labels(helm.newest) | labels_of(expected)
        revision = helm.begin(status, values, chart.version, chart.digest, labels, OURS)
        try:
            await Pause("apply", "during")
            if not self._world.api_up:
                raise ClusterUnavailableError("Helm cannot reach the Kubernetes API: connection refused")
            helm.deploy_objects(revision)
            self._world.publish()
            await Pause("apply", "during")
        except ApplyFailedError:
            helm.finish(revision, "failed")
            self._world.publish()
            raise
        # A frozen machine may resume after another process has marked this revision as failed.
        if revision in helm.revisions:
            helm.finish(revision)
        await self._written("apply", "revisions")

    async def restorable(self, revision: int) -> tuple[FetchedChart, Values]:
        """Return chart and values of a revision."""
        await self._read("restorable")
        found: Kept | None = self._world.helm.restorable(revision)
        if found is None:
            raise ApplyFailedError(f"revision {revision} cannot be restored: its payload is gone")
        return FetchedChart(Path("/charts") / found.version, found.version, found.chart_digest), found.values

    async def mark(self, revision: int, mark: Literal["verified", "rejected"]) -> None:
        """Label a revision, and keep the payload of a verified one."""
        await self._write("mark")
        helm = self._world.helm
        found = helm.find(revision)
        if found is not None:
            self._world.check(Write("mark", self._process, revision=found, mark=mark))
            found.labels[mark] = str(revision)
            helm.write(found)
            if mark == "verified":
                helm.kept = Kept(revision, found.version, found.chart_digest, found.values)
        await self._written("mark", "revisions")

    async def payload(self, revision: int) -> ReleasePayload:
        """Return what is known of a revision from its payload."""
        await self._read("payload")
        found = self._world.helm.payload(revision)
        if found is None:
            raise StaleError(f"revision {revision} is gone")
        return found

    async def uninstall(self, revision: int) -> None:
        """Uninstall the release."""
        await self._write("uninstall")
        helm = self._world.helm
        self._require_newest(revision)
        newest = helm.newest
        if newest is not None and not newest.readable:
            raise UninstallFailedError(f"Helm cannot decode revision {revision}")
        self._world.check(Write("uninstall", self._process, revision=newest))
        if newest is not None:
            newest.status = "uninstalling"
            helm.write(newest)
            self._world.publish()
            try:
                await Pause("uninstall", "during")
            except ApplyFailedError as error:
                raise UninstallFailedError(str(error)) from None
        helm.uninstall()
        await self._written("uninstall", "revisions")

    async def manifests(self, revision: int) -> Sequence[Mapping[str, Any]]:
        """Return the manifests of a revision, none if Helm no longer has it."""
        await self._read("manifests")
        return ()

    async def unlock(self, revision: int) -> None:
        """Mark a pending newest revision as failed."""
        await self._write("unlock")
        helm = self._world.helm
        self._require_newest(revision)
        newest = helm.newest
        if newest is None or newest.status not in BUSY:
            raise StaleError(f"revision {revision} is not pending")
        self._world.check(Write("unlock", self._process, revision=newest))
        newest.status = "failed"
        helm.write(newest)
        await self._written("unlock", "revisions")

    def _require_newest(self, revision: int) -> None:
        newest = self._world.helm.newest
        number = 0 if newest is None else newest.number
        if number != revision:
            raise StaleError(f"Helm's newest revision is {number}, not {revision}")


class SimulatedPreflights(Port):
    """The Preflights port."""

    async def start(self, chart: FetchedChart, values: Values, rendered: Rendered, expected: Revision) -> None:
        """Replace the preflight."""
        await self._write("start_preflight")
        try:
            self._world.check(Write("start_preflight", self._process, expected=expected))
            self._world.preflight.start(expected)
            self._world.publish()
            await Pause("start_preflight", "during")
        except HelmError as error:
            raise StaleError(str(error)) from None
        except ApplyFailedError:
            self._world.preflight.fail()
            raise
        self._world.preflight.deployed()
        await self._written("start_preflight", "preflight")

    async def end(self) -> None:
        """Remove whatever exists of the preflight."""
        await self._write("end_preflight")
        self._world.check(Write("end_preflight", self._process))
        self._world.preflight.judge(self._process.observed)
        self._world.preflight.end()
        await self._written("end_preflight", "preflight")
