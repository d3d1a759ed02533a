"""The Releases port over pyhelm3. Only the methods of its client that are called here are safe.

`ensure_release` and `get_proceedable_revision` uninstall a pending release: never call them.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from pyhelm3 import Client

from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError
from cilium_hybrid.adapters.helm.stored_chart import restore
from cilium_hybrid.adapters.helm.upgrade import classify_error, install
from cilium_hybrid.adapters.kube import helm_secret
from cilium_hybrid.adapters.kube.client import FIELD_MANAGER, ApiError, KubeClient
from cilium_hybrid.adapters.kube.cluster import OWN_WRITE_SECONDS
from cilium_hybrid.adapters.kube.informer import Informer
from cilium_hybrid.adapters.kube.watches import RELEASE_SECRETS
from cilium_hybrid.plan.observation import ReleasePayload, Revision
from cilium_hybrid.plan.release import NAMESPACE, RELEASE
from cilium_hybrid.ports import (
    ApplyFailedError,
    ClusterUnavailableError,
    FetchedChart,
    Rendered,
    StaleError,
    UninstallFailedError,
)

UNDECODABLE: Final = re.compile(r"release: not found|no release provided")
"""Helm's error for a release whose Secrets it cannot decode: it ignores such Secrets."""
_KEPT: Final = f"{RELEASE_SECRETS.path}/{helm_secret.VERIFIED_SECRET}"
_KEEP_CILIUM: Final = "to delete the resource and keep Cilium running, set spec.deletionPolicy to Retain"


class HelmReleases:
    """Release `cilium`. Writes wait until `revisions` shows them; `may_act`: whether this process holds the Lease.

    The chart of an earlier revision is rebuilt in directory `cache`.
    """

    def __init__(
        self,
        command: HelmCommand,
        client: KubeClient,
        revisions: Informer[Revision],
        may_act: Callable[[], bool],
        cache: Path,
    ) -> None:
        self._command, self._client, self._revisions, self._may_act = command, client, revisions, may_act
        self._helm, self._cache = Client(command, executable=str(command.binary)), cache

    async def apply(
        self, chart: FetchedChart, values: Mapping[str, Any], rendered: Rendered, expected: Revision
    ) -> None:
        """Create exactly revision `expected` with exactly the objects of `rendered`.

        StaleError, ApplyFailedError, HelmInterruptedError, ClusterUnavailableError.
        """
        await self._require_newest(expected.number - 1)
        labels = helm_secret.revision_labels(expected)
        try:
            await install(self._helm, self._command, RELEASE, chart, values, rendered, labels)
        except HelmError as error:
            message = f"Helm could not apply chart {chart.version}, and removed no running object: {error}"
            raise classify_error(error, ApplyFailedError(message)) from None
        await self._wait_for_status(expected.number, "deployed")

    async def restorable(self, revision: int) -> tuple[FetchedChart, Mapping[str, Any]]:
        """Return chart and values of a revision from its payload, or from the kept one of the last verified revision.

        ApplyFailedError if neither can be read, ChartUnavailableError, ClusterUnavailableError.
        """
        secret = await self._read(_secret_path(revision))
        if secret is None:
            secret = await self._kept(revision)
        if secret is None:
            raise ApplyFailedError(f"Helm no longer has revision {revision} of {RELEASE}; change the spec instead")
        return await asyncio.to_thread(restore, secret, self._cache)

    async def _kept(self, revision: int) -> Mapping[str, Any] | None:
        """Return the copy of a revision, None if there is none of this installation."""
        kept, newest = await self._read(_KEPT), await self._read(_secret_path(await self._newest()))
        if kept is None or newest is None or helm_secret.copied_revision(kept) != revision:
            return None
        # An uninstall by an admin leaves the copy behind, and Helm then numbers the revisions from one again.
        first, installed = await asyncio.to_thread(lambda: [helm_secret.first_deployed(one) for one in (kept, newest)])
        return kept if first == installed else None

    async def mark(self, revision: int, mark: helm_secret.Mark) -> None:
        """Label a revision of the operator's; the payload of a verified one is kept beyond Helm's history.

        Nothing happens if Helm no longer has the revision; StaleError, ClusterUnavailableError.
        """
        secret = await self._read(_secret_path(revision))
        if secret is None:
            return
        marked = helm_secret.mark(secret, mark)
        if marked is None:
            raise StaleError(f"revision {revision} of {RELEASE} was not made by the operator")
        self._require_lease()
        # The copy comes first: the label says that it exists.
        if mark == "verified":
            await self._keep(secret)
        await self._replace(revision, marked)
        await self._revisions.wait_for(lambda revisions: _is_marked(revisions, revision, mark), OWN_WRITE_SECONDS)

    async def _keep(self, secret: Mapping[str, Any]) -> None:
        try:
            await self._client.apply(_KEPT, helm_secret.verified_copy(secret, NAMESPACE), FIELD_MANAGER)
        except ApiError as error:
            name = f"{NAMESPACE}/{helm_secret.VERIFIED_SECRET}"
            raise ClusterUnavailableError(f"cannot write Secret {name}: {error}") from None

    async def payload(self, revision: int) -> ReleasePayload:
        """Return what is known of a revision from its payload; StaleError if it is gone, ClusterUnavailableError."""
        secret = await self._read(_secret_path(revision))
        if secret is None:
            raise StaleError(f"Helm no longer has revision {revision} of {RELEASE}")
        return await asyncio.to_thread(helm_secret.release_payload, secret)

    async def uninstall(self, revision: int) -> None:
        """Uninstall the release, whose newest revision is `revision`.

        StaleError, UninstallFailedError, ClusterUnavailableError.
        """
        await self._require_newest(revision)
        try:
            await self._helm.uninstall_release(RELEASE, namespace=NAMESPACE)
        except HelmError as error:
            if UNDECODABLE.search(str(error)) and await self._newest() == revision:
                secret = f"Secret {NAMESPACE}/{helm_secret.secret_name(revision)}"
                raise UninstallFailedError(
                    f"Helm cannot decode {secret}, so the objects to uninstall are unknown; {_KEEP_CILIUM}"
                ) from None
            message = f"Helm could not uninstall Cilium: {error}; {_KEEP_CILIUM}"
            raise classify_error(error, UninstallFailedError(message)) from None
        await self._delete_leftover_secrets()
        await self._revisions.wait_for(lambda revisions: not revisions, OWN_WRITE_SECONDS)

    async def _delete_leftover_secrets(self) -> None:
        """Delete the copy of a revision, and Secrets that Helm ignored: to others they say that the release exists."""
        try:
            listed = await self._client.get(RELEASE_SECRETS.path, RELEASE_SECRETS.query())
            for secret in listed.get("items") or []:
                if await asyncio.to_thread(helm_secret.payload, secret) is None:
                    await self._client.delete(f"{RELEASE_SECRETS.path}/{secret['metadata']['name']}")
            if await self._read(_KEPT) is not None:
                await self._client.delete(_KEPT)
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot delete the Secrets of release {RELEASE}: {error}") from None

    async def manifests(self, revision: int) -> Sequence[Mapping[str, Any]]:
        """Return the manifests of a revision, none if Helm no longer has it; ClusterUnavailableError."""
        secret = await self._read(_secret_path(revision))
        return [] if secret is None else await asyncio.to_thread(helm_secret.manifests, secret)

    async def unlock(self, revision: int) -> None:
        """Mark a pending or uninstalling newest revision as failed; StaleError, ClusterUnavailableError."""
        await self._require_newest(revision)
        secret = await self._read(_secret_path(revision))
        changed = None if secret is None else await asyncio.to_thread(helm_secret.unlock, secret)
        if changed is None:
            raise StaleError(f"revision {revision} is not pending")
        self._require_lease()
        await self._replace(revision, changed)
        await self._wait_for_status(revision, "failed")

    async def _read(self, path: str) -> Mapping[str, Any] | None:
        """Return a Secret, None if it does not exist; ClusterUnavailableError."""
        try:
            secret: Mapping[str, Any] = await self._client.get(path)
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            name = path.rpartition("/")[2]
            raise ClusterUnavailableError(f"cannot read Secret {NAMESPACE}/{name}: {error}") from None
        return secret

    async def _replace(self, revision: int, secret: Mapping[str, Any]) -> None:
        """Replace Helm's Secret of a revision; StaleError if it changed since it was read, ClusterUnavailableError."""
        try:
            # It contains the resourceVersion: the API server rejects it if Helm wrote meanwhile.
            await self._client.put(_secret_path(revision), secret)
        except ApiError as error:
            if error.status in {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}:
                raise StaleError(f"revision {revision} has changed since it was read") from None
            raise ClusterUnavailableError(f"cannot update revision {revision} of {RELEASE}: {error}") from None

    async def _wait_for_status(self, number: int, status: str) -> None:
        await self._revisions.wait_for(lambda revisions: _status(revisions, number) == status, OWN_WRITE_SECONDS)

    async def _require_newest(self, revision: int) -> None:
        """Raise StaleError unless this is Helm's newest revision, by a fresh read, and this process may act."""
        newest = await self._newest()
        if newest != revision:
            raise StaleError(f"Helm's newest revision is {newest}, not {revision}")
        self._require_lease()

    def _require_lease(self) -> None:
        if not self._may_act():
            raise StaleError("the Lease was not renewed in time")

    async def _newest(self) -> int:
        """Return the number of Helm's newest revision, 0 if there is none, by a fresh read."""
        try:
            listed = await self._client.get(
                RELEASE_SECRETS.path, RELEASE_SECRETS.query(), RELEASE_SECRETS.accept("List")
            )
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot list the revisions of {RELEASE}: {error}") from None
        revisions = (helm_secret.revision(item) for item in listed.get("items") or [])
        return max((revision.number for revision in revisions if revision is not None), default=0)


def _secret_path(revision: int) -> str:
    return f"{RELEASE_SECRETS.path}/{helm_secret.secret_name(revision)}"


def _is_marked(revisions: Mapping[str, Revision], number: int, mark: helm_secret.Mark) -> bool:
    found = [revision for revision in revisions.values() if revision.number == number]
    return not found or (found[0].verified if mark == "verified" else found[0].rejected)


def _status(revisions: Mapping[str, Revision], number: int) -> str | None:
    return next((revision.status for revision in revisions.values() if revision.number == number), None)
