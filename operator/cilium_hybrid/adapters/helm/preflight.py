"""The Preflights port: installs release `cilium-preflight`, and removes it in whatever state it was left."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

from pyhelm3 import Client

from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError
from cilium_hybrid.adapters.helm.releases import UNDECODABLE
from cilium_hybrid.adapters.helm.upgrade import classify_error, install
from cilium_hybrid.adapters.kube import helm_secret
from cilium_hybrid.adapters.kube.client import JSON, ApiError, KubeClient
from cilium_hybrid.adapters.kube.cluster import OWN_WRITE_SECONDS
from cilium_hybrid.adapters.kube.preflight import PREFLIGHT_SECRETS, PreflightWatches
from cilium_hybrid.adapters.kube.preflight_facts import belongs_to_preflight
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.upgrade.preflight import PREFLIGHT
from cilium_hybrid.ports import (
    ApplyFailedError,
    ClusterUnavailableError,
    FetchedChart,
    Rendered,
    StaleError,
    UninstallFailedError,
)
from cilium_hybrid.rules.rendered.allowlist import CLUSTER_SCOPED, PREFLIGHT_OBJECTS

log = logging.getLogger(__name__)


class HelmPreflights:
    """Release `cilium-preflight`. Writes wait until `watches` show them; `may_act`: whether the process may act."""

    def __init__(
        self, command: HelmCommand, client: KubeClient, watches: PreflightWatches, may_act: Callable[[], bool]
    ) -> None:
        self._command, self._client, self._watches, self._may_act = command, client, watches, may_act
        self._helm = Client(command, executable=str(command.binary))

    async def start(
        self, chart: FetchedChart, values: Mapping[str, Any], rendered: Rendered, expected: Revision
    ) -> None:
        """Remove what is left of an earlier preflight, and install this one as exactly revision `expected`, number 1.

        StaleError, ApplyFailedError, and every error of `end`.
        """
        await self.end()
        self._require_lease()
        try:
            labels = helm_secret.revision_labels(expected)
            await install(self._helm, self._command, PREFLIGHT, chart, values, rendered, labels)
        except HelmError as error:
            message = f"Helm could not start the preflight of chart {chart.version}; Cilium is unchanged: {error}"
            raise classify_error(error, ApplyFailedError(message)) from None
        await self._watches.wait_until_created(OWN_WRITE_SECONDS)

    async def end(self) -> None:
        """Remove whatever exists of the preflight; StaleError, UninstallFailedError, ClusterUnavailableError."""
        self._require_lease()
        failure = await self._uninstall() if await self._secret_names() else None
        # If an object cannot be deleted, Helm reports neither its name nor the cause; and it leaves what it forgot.
        await self._delete_objects()
        if failure is not None:
            raise failure
        # Helm ignores Secrets that it cannot decode; to every other reader they mean that the release still exists.
        for name in await self._secret_names():
            await self._delete(f"{PREFLIGHT_SECRETS.path}/{name}")
        await self._watches.wait_until_deleted(OWN_WRITE_SECONDS)

    async def _uninstall(self) -> UninstallFailedError | None:
        """Run `helm uninstall`, and return rather than raise its failure; StaleError, ClusterUnavailableError."""
        try:
            await self._helm.uninstall_release(PREFLIGHT, namespace=NAMESPACE)
        except HelmError as error:
            if UNDECODABLE.search(str(error)):
                log.warning("Helm cannot decode its Secret of release %s; deleting the known objects", PREFLIGHT)
                return None
            message = f"Helm could not uninstall release {PREFLIGHT}: {error}"
            failure = classify_error(error, UninstallFailedError(message))
            if isinstance(failure, UninstallFailedError):
                return failure
            raise failure from None
        return None

    async def _delete_objects(self) -> None:
        """Delete the objects that Helm created. Others of the same name are kept."""
        for path in _OBJECT_PATHS:
            found = await self._read(path)
            if found is not None and belongs_to_preflight(found) and "deletionTimestamp" not in found["metadata"]:
                await self._delete(path)

    async def _secret_names(self) -> list[str]:
        """Return the names of Helm's Secrets of the release, by a fresh read."""
        target = PREFLIGHT_SECRETS
        listed = await self._read(target.path, target.query(), target.accept("List")) or {}
        return [str(item["metadata"]["name"]) for item in listed.get("items") or []]

    async def _read(self, path: str, query: Mapping[str, str] | None = None, accept: str = JSON) -> Any:
        """Return what is at a path, None if there is nothing."""
        try:
            return await self._client.get(path, query, accept)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise ClusterUnavailableError(f"cannot read the objects of release {PREFLIGHT}: {error}") from None

    async def _delete(self, path: str) -> None:
        self._require_lease()
        try:
            await self._client.delete(path)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise UninstallFailedError(f"cannot delete an object of release {PREFLIGHT}: {error}") from None

    def _require_lease(self) -> None:
        if not self._may_act():
            raise StaleError("the Lease was not renewed in time")


def _path(api: str, kind: str, namespace: str, name: str) -> str:
    group = f"/apis/{api}" if "/" in api else f"/api/{api}"
    scope = "" if namespace == CLUSTER_SCOPED else f"/namespaces/{namespace}"
    return f"{group}{scope}/{kind.lower()}s/{name}"


_OBJECT_PATHS: Final = tuple(_path(*kind, name) for kind, names in PREFLIGHT_OBJECTS.items() for name in sorted(names))
