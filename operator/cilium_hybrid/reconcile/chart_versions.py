"""The versions of the chart in its registry, listed in the background a few times a day."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cilium_hybrid.api.v1alpha1 import OCI
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.ports import Charts, ChartUnavailableError

log = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 12 * 3600.0
RETRY_SECONDS: Final = 3600.0


class ChartVersions:
    """The versions of the chart that reconciliations last asked for. `changed` is called when they become known."""

    def __init__(
        self,
        charts: Charts,
        changed: Callable[[], None],
        refresh_seconds: float = REFRESH_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._charts, self._changed = charts, changed
        self._refresh_seconds, self._retry_seconds = refresh_seconds, retry_seconds
        self._ref: str | None = None
        self._versions: Sequence[CiliumVersion] | None = None
        self._ref_changed = asyncio.Event()

    def of(self, ref: str) -> Sequence[CiliumVersion] | None:
        """Return the versions of chart `ref`; None if they are not known, or not yet."""
        if ref != self._ref:
            self._ref, self._versions = ref, None
            self._ref_changed.set()
        return self._versions

    async def run(self) -> None:
        """List the versions forever; a failure is only logged at debug level, because nothing depends on them."""
        while True:
            pause = await self._list()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ref_changed.wait(), pause)
            self._ref_changed.clear()

    async def _list(self) -> float | None:
        """List the versions once and return the seconds until the next time; None: when another chart is asked for."""
        ref = self._ref
        if ref is None or not ref.startswith(OCI):
            return None
        try:
            versions = await self._charts.versions(ref)
        except ChartUnavailableError as error:
            log.debug("cannot list the chart's versions: %s", error)
            return self._retry_seconds
        if ref == self._ref:
            self._versions = versions
            self._changed()
        return self._refresh_seconds
