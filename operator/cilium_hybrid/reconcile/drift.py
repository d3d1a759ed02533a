"""Whether what is released is still as it was released, looked up beside the passes: none of them waits for it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cilium_hybrid.plan.observation import Difference, Observation
from cilium_hybrid.plan.status.drift import compared_revision
from cilium_hybrid.ports import Cluster, ClusterUnavailableError, Releases

log = logging.getLogger(__name__)

SETTLES: Final = 1.0
"""Seconds from an edit to the comparison, so that many edits make one."""


class DriftWatch:
    """What differs, as it was last compared.

    It is compared when another revision is there, when an object that is watched was edited, and every `every` seconds
    for all that is not watched. `changed` is called when the answer is another one.
    """

    def __init__(
        self, releases: Releases, cluster: Cluster, changed: Callable[[], None], every: float, settles: float = SETTLES
    ) -> None:
        self._releases, self._cluster, self._changed = releases, cluster, changed
        self._every, self._settles = every, settles
        self._revision: int | None = None
        self._edits: object = None
        self._found: Sequence[Difference] | None = None
        self._edited = asyncio.Event()

    def of(self, observation: Observation) -> Sequence[Difference] | None:
        """The differences to the revision that is deployed; None where that is not known, or not yet."""
        revision = compared_revision(observation)
        if (revision, observation.edits) != (self._revision, self._edits):
            if revision != self._revision:
                self._found = None
            self._revision, self._edits = revision, observation.edits
            self._edited.set()
        return self._found

    async def run(self) -> None:
        """Compare, for ever; where the API server does not answer, the next time is soon enough."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._edited.wait()
            await asyncio.sleep(self._settles)
            self._edited.clear()
            try:
                await self._compare()
            except Exception:
                # What is only told must never end what is done.
                log.exception("what is released could not be compared; the next time looks again")

    async def _compare(self) -> None:
        revision = self._revision
        if revision is None:
            return
        try:
            manifests = await self._releases.manifests(revision)
            found = await self._cluster.differences(manifests)
        except ClusterUnavailableError as error:
            log.debug("what is released was not compared: %s", error)
            return
        # A pass may have released something else meanwhile.
        if manifests and revision == self._revision and found != self._found:
            self._found = found
            self._changed()
