"""The Preflights port: release `cilium-preflight` installed, and taken away however it was left."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from pyhelm3 import Client

from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError
from cilium_hybrid.adapters.helm.releases import UNREADABLE, install, told_apart
from cilium_hybrid.adapters.kube.client import JSON, ApiError, KubeClient
from cilium_hybrid.adapters.kube.cluster import OWN_WRITE_SECONDS
from cilium_hybrid.adapters.kube.informer import NOT_FOUND
from cilium_hybrid.adapters.kube.preflight import PREFLIGHTS, PreflightWatches
from cilium_hybrid.adapters.kube.preflight_facts import is_of_a_preflight
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.upgrade.preflight import PREFLIGHT
from cilium_hybrid.ports import (
    ApplyFailedError,
    ClusterUnavailableError,
    FetchedChart,
    StaleError,
    UninstallFailedError,
)
from cilium_hybrid.rules.rendered.allowlist import CLUSTER, PREFLIGHT_OBJECTS

log = logging.getLogger(__name__)


class HelmPreflights:
    """Release `cilium-preflight`. `watches` show the operator its own writes; `may_act`: whether it holds the Lease."""

    def __init__(
        self, command: HelmCommand, client: KubeClient, watches: PreflightWatches, may_act: Callable[[], bool]
    ) -> None:
        self._command, self._client, self._watches, self._may_act = command, client, watches, may_act
        self._helm = Client(command, executable=str(command.binary))

    async def start(self, chart: FetchedChart, values: Mapping[str, Any], expected: Revision) -> None:
        """Install it as exactly `expected`, its revision 1, in the place of whatever is left of one before."""
        await self.end()
        self._leads()
        try:
            await install(self._helm, self._command, PREFLIGHT, chart, values, expected)
        except HelmError as error:
            says = f"Helm could not start the preflight of chart {chart.version}; Cilium was not touched"
            raise told_apart(error, ApplyFailedError(f"{says}: {error}")) from None
        await self._watches.until_made(OWN_WRITE_SECONDS)

    async def end(self) -> None:
        """Take it away, whatever of it is there; StaleError, UninstallFailedError, ClusterUnavailableError."""
        self._leads()
        failed = await self._uninstall() if await self._records() else None
        # Of an object that stays Helm tells neither name nor cause; and what it does not remember it leaves.
        await self._take_objects_away()
        if failed is not None:
            raise failed
        # To everybody else a record is a release that is still there: Helm passes over those that it cannot read.
        for name in await self._records():
            await self._delete(f"{PREFLIGHTS.path}/{name}")
        await self._watches.until_gone(OWN_WRITE_SECONDS)

    async def _uninstall(self) -> UninstallFailedError | None:
        try:
            await self._helm.uninstall_release(PREFLIGHT, namespace=NAMESPACE)
        except HelmError as error:
            if UNREADABLE.search(str(error)):
                log.warning("Helm cannot read its record of release %s: taking away what is known of it", PREFLIGHT)
                return None
            says = f"Helm could not uninstall release {PREFLIGHT}"
            failed = told_apart(error, UninstallFailedError(f"{says}: {error}"))
            if isinstance(failed, UninstallFailedError):
                return failed
            raise failed from None
        return None

    async def _take_objects_away(self) -> None:
        """Delete what Helm made for it. Somebody else's of the same name stays."""
        for path in _OBJECTS:
            found = await self._read(path)
            if found is not None and is_of_a_preflight(found) and "deletionTimestamp" not in found["metadata"]:
                await self._delete(path)

    async def _records(self) -> list[str]:
        """The names of Helm's records of it, by a fresh read."""
        listed = await self._read(PREFLIGHTS.path, PREFLIGHTS.query(), PREFLIGHTS.accept("List")) or {}
        return [str(item["metadata"]["name"]) for item in listed.get("items") or []]

    async def _read(self, path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Any:
        """What is at a path, None where there is nothing."""
        try:
            return await self._client.get(path, query, accept)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise ClusterUnavailableError(f"cannot look for what is left of release {PREFLIGHT}: {error}") from None

    async def _delete(self, path: str) -> None:
        self._leads()
        try:
            await self._client.delete(path)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise UninstallFailedError(f"cannot take away what is left of release {PREFLIGHT}: {error}") from None

    def _leads(self) -> None:
        if not self._may_act():
            raise StaleError("the Lease was not renewed in time")


def _path(api: str, kind: str, namespace: str, name: str) -> str:
    group = f"/apis/{api}" if "/" in api else f"/api/{api}"
    place = "" if namespace == CLUSTER else f"/namespaces/{namespace}"
    return f"{group}{place}/{kind.lower()}s/{name}"


_OBJECTS: Final = tuple(_path(*place, name) for place, names in PREFLIGHT_OBJECTS.items() for name in sorted(names))
