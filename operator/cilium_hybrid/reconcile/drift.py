"""Drift detection: the release is compared with the cluster in the background, so that no reconciliation waits."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cilium_hybrid.plan.observation import Difference, Observation
from cilium_hybrid.plan.status.drift import compared_revision
from cilium_hybrid.ports import Cluster, ClusterUnavailableError, Releases

log = logging.getLogger(__name__)

DEBOUNCE_SECONDS: Final = 1.0
"""From an edit to the comparison, so that many edits cause only one."""


class DriftDetector:
    """The differences found by the last comparison.

    The release is compared when its revision changes, when a watched object is edited, and every `interval` seconds for
    the objects that are not watched. `changed` is called when the result changes.
    """

    def __init__(
        self,
        releases: Releases,
        cluster: Cluster,
        changed: Callable[[], None],
        interval: float,
        debounce: float = DEBOUNCE_SECONDS,
    ) -> None:
        self._releases, self._cluster, self._changed = releases, cluster, changed
        self._interval, self._debounce = interval, debounce
        self._revision: int | None = None
        self._edits: object = None
        self._differences: Sequence[Difference] | None = None
        self._edited = asyncio.Event()

    def of(self, observation: Observation) -> Sequence[Difference] | None:
        """Return the differences to the deployed revision; None if they are not known, or not yet."""
        revision = compared_revision(observation)
        if (revision, observation.edits) != (self._revision, self._edits):
            if revision != self._revision:
                self._differences = None
            self._revision, self._edits = revision, observation.edits
            self._edited.set()
        return self._differences

    async def run(self) -> None:
        """Compare forever; if the API server does not answer, the next comparison is soon enough."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval):
                    await self._edited.wait()
            await asyncio.sleep(self._debounce)
            self._edited.clear()
            try:
                await self._compare()
            except Exception:
                # Drift is only reported, so an error here must not end the operator.
                log.exception("cannot compare the release with the cluster; retrying in %g s", self._interval)

    async def _compare(self) -> None:
        revision = self._revision
        if revision is None:
            return
        try:
            manifests = await self._releases.manifests(revision)
            differences = await self._cluster.differences(manifests)
        except ClusterUnavailableError as error:
            log.debug("cannot compare the release with the cluster: %s", error)
            return
        # Another revision may have been deployed meanwhile.
        if manifests and revision == self._revision and differences != self._differences:
            self._differences = differences
            self._changed()
