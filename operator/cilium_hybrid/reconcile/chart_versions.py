"""Which versions the registry has, asked a few times a day beside the passes: none of them waits for it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from cilium_hybrid.api.v1alpha1 import OCI
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.ports import Charts, ChartUnavailableError

log = logging.getLogger(__name__)

ASKED_EVERY: Final = 12 * 3600.0
ASKED_AGAIN: Final = 3600.0
"""Seconds until a registry is asked again that did, or did not, say which versions it has."""


class ChartVersions:
    """The versions of the chart that the passes last asked for. `changed` is called when they are known."""

    def __init__(
        self, charts: Charts, changed: Callable[[], None], every: float = ASKED_EVERY, again: float = ASKED_AGAIN
    ) -> None:
        self._charts, self._changed, self._every, self._again = charts, changed, every, again
        self._ref: str | None = None
        self._versions: Sequence[CiliumVersion] | None = None
        self._another = asyncio.Event()

    def of(self, ref: str) -> Sequence[CiliumVersion] | None:
        """The versions that `ref` has; None where that is not known, or not yet."""
        if ref != self._ref:
            self._ref, self._versions = ref, None
            self._another.set()
        return self._versions

    async def run(self) -> None:
        """Ask, for ever; what goes wrong is worth no more than a line for those who look for it."""
        while True:
            pause = await self._ask()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._another.wait(), pause)
            self._another.clear()

    async def _ask(self) -> float | None:
        """Ask once; how long to wait before the next time, None until another chart is asked for."""
        ref = self._ref
        if ref is None or not ref.startswith(OCI):
            return None
        try:
            versions = await self._charts.versions(ref)
        except ChartUnavailableError as error:
            log.debug("no newer version is known: %s", error)
            return self._again
        if ref == self._ref:
            self._versions = versions
            self._changed()
        return self._every
