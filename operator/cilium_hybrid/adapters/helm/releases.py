"""The Releases port over pyhelm3. Only the methods of its client that are called here are safe.

`ensure_release` and `get_proceedable_revision` uninstall a pending release: never call them.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pyhelm3 import Chart, Client
from pyhelm3.models import ChartMetadata

from cilium_hybrid.adapters.helm.charts import CHART_NAME
from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError
from cilium_hybrid.adapters.kube import helm_secret
from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.cluster import OWN_WRITE_SECONDS
from cilium_hybrid.adapters.kube.informer import Informer
from cilium_hybrid.adapters.kube.watches import RELEASE_SECRETS
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.plan.release import NAMESPACE, RELEASE
from cilium_hybrid.ports import (
    ApplyFailedError,
    ClusterUnavailableError,
    FetchedChart,
    PortError,
    StaleError,
    UninstallFailedError,
)

_API_UNAVAILABLE: Final = re.compile(
    r"cluster unreachable|connection refused|connection reset|etcdserver|i/o timeout|TLS handshake timeout|"
    r"\bEOF\b|no route to host|server is currently unable|too many requests|context deadline exceeded",
    re.IGNORECASE,
)
UNDECODABLE: Final = re.compile(r"release: not found|no release provided")
"""Helm's error for a release whose Secrets it cannot decode: it ignores such Secrets."""
_CHANGED_MEANWHILE: Final = re.compile(r"another operation|release: not found")
_KEEP_CILIUM: Final = "to delete the resource and keep Cilium running, set spec.deletionPolicy to Retain"


class HelmReleases:
    """Release `cilium`. Writes wait until `revisions` shows them; `may_act`: whether this process holds the Lease."""

    def __init__(
        self, command: HelmCommand, client: KubeClient, revisions: Informer[Revision], may_act: Callable[[], bool]
    ) -> None:
        self._command, self._client, self._revisions, self._may_act = command, client, revisions, may_act
        self._helm = Client(command, executable=str(command.binary))

    async def apply(self, chart: FetchedChart, values: Mapping[str, Any], expected: Revision) -> None:
        """Create exactly revision `expected`; StaleError, ApplyFailedError, ClusterUnavailableError."""
        await self._require_newest(expected.number - 1)
        try:
            await install(self._helm, self._command, RELEASE, chart, values, expected)
        except HelmError as error:
            message = f"Helm could not apply chart {chart.version}, and removed no running object: {error}"
            raise classify_error(error, ApplyFailedError(message)) from None
        await self._wait_for_status(expected.number, "deployed")

    async def rollback(self, to: int, expected: int) -> None:
        """Roll back to revision `to`, which creates exactly revision `expected`.

        StaleError, ApplyFailedError, ClusterUnavailableError.
        """
        await self._require_newest(expected - 1)
        # pyhelm3's rollback cannot take over fields that other managers own.
        options = ("--namespace", NAMESPACE, "--server-side", "true", "--force-conflicts")
        try:
            await self._command.execute(["rollback", RELEASE, str(to), *options])
        except HelmError as error:
            message = f"Helm could not roll back to revision {to}: {error}"
            raise classify_error(error, ApplyFailedError(message)) from None
        await self._wait_for_status(expected, "deployed")

    async def label_rollback(self, revision: int) -> None:
        """Label the newest revision, which a rollback created, as managed; StaleError, ClusterUnavailableError."""
        await self._require_newest(revision)
        await self._replace_secret(revision, helm_secret.label_rollback, "an unlabelled rollback")
        await self._revisions.wait_for(
            lambda revisions: any(found.managed for found in revisions.values() if found.number == revision),
            OWN_WRITE_SECONDS,
        )

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
        await self._delete_undecodable_secrets()
        await self._revisions.wait_for(lambda revisions: not revisions, OWN_WRITE_SECONDS)

    async def _delete_undecodable_secrets(self) -> None:
        """Delete Secrets that Helm ignored: to every other reader they mean that the release still exists."""
        try:
            listed = await self._client.get(RELEASE_SECRETS.path, RELEASE_SECRETS.query())
            for secret in listed.get("items") or []:
                if helm_secret.payload(secret) is None:
                    await self._client.delete(f"{RELEASE_SECRETS.path}/{secret['metadata']['name']}")
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot delete the Secrets of release {RELEASE}: {error}") from None

    async def manifests(self, revision: int) -> Sequence[Mapping[str, Any]]:
        """Return the manifests of a revision, none if Helm no longer has it; ClusterUnavailableError."""
        try:
            secret = await self._client.get(_secret_path(revision))
        except ApiError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return []
            raise ClusterUnavailableError(f"cannot read revision {revision} of {RELEASE}: {error}") from None
        return helm_secret.manifests(secret)

    async def unlock(self, revision: int) -> None:
        """Mark a pending newest revision as failed; StaleError, ClusterUnavailableError."""
        await self._require_newest(revision)
        await self._replace_secret(revision, helm_secret.unlock, "pending")
        await self._wait_for_status(revision, "failed")

    async def _replace_secret(
        self, revision: int, change: Callable[[Mapping[str, Any]], dict[str, Any] | None], required: str
    ) -> None:
        """Change Helm's Secret of a revision; StaleError if the revision is not what is `required`."""
        path = _secret_path(revision)
        try:
            changed = change(await self._client.get(path))
            if changed is None:
                raise StaleError(f"revision {revision} is not {required}")
            # It contains the resourceVersion: the API server rejects it if Helm wrote meanwhile.
            await self._client.put(path, changed)
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


async def install(
    helm: Client, command: HelmCommand, release: str, chart: FetchedChart, values: Mapping[str, Any], expected: Revision
) -> None:
    """Create the next revision of a release, labelled as `expected`; HelmError, HelmInterruptedError."""
    # The metadata is known since the chart was fetched; reading it through Helm takes a tenth of a second.
    metadata = ChartMetadata(apiVersion="v2", name=CHART_NAME, version=chart.version)
    with command.with_labels(helm_secret.revision_labels(expected)):
        await helm.install_or_upgrade_release(
            release,
            Chart(command, ref=chart.path, metadata=metadata),
            dict(values),
            create_namespace=False,
            namespace=NAMESPACE,
            reset_values=True,
            # Fields that other managers changed are taken over, so that the cluster matches the release.
            server_side="true",
            force_conflicts=True,
        )


def classify_error(error: HelmError, default: PortError) -> PortError:
    """Return the error that Helm's message stands for: StaleError, ClusterUnavailableError or the `default`."""
    message = str(error)
    if _CHANGED_MEANWHILE.search(message):
        return StaleError(f"the release has changed meanwhile: {message}")
    if _API_UNAVAILABLE.search(message):
        return ClusterUnavailableError(f"Helm cannot reach the Kubernetes API: {message}")
    return default


def _secret_path(revision: int) -> str:
    return f"{RELEASE_SECRETS.path}/{helm_secret.secret_name(revision)}"


def _status(revisions: Mapping[str, Revision], number: int) -> str | None:
    return next((revision.status for revision in revisions.values() if revision.number == number), None)
