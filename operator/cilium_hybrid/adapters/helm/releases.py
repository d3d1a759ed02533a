"""The Releases port through pyhelm3. Of its client only the named steps are called.

`ensure_release` and `get_proceedable_revision` uninstall a pending release: never those.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pyhelm3 import Chart, Client
from pyhelm3.models import ChartMetadata

from cilium_hybrid.adapters.helm.charts import CHART_NAME
from cilium_hybrid.adapters.helm.command import HelmCommand, HelmError
from cilium_hybrid.adapters.kube import helm_secret
from cilium_hybrid.adapters.kube.client import ApiError, KubeClient
from cilium_hybrid.adapters.kube.cluster import OWN_WRITE_SECONDS, RELEASES, in_order
from cilium_hybrid.adapters.kube.informer import CONFLICT, NOT_FOUND, Informer
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

_API_AWAY: Final = re.compile(
    r"cluster unreachable|connection refused|connection reset|etcdserver|i/o timeout|TLS handshake timeout|"
    r"\bEOF\b|no route to host|server is currently unable|too many requests|context deadline exceeded",
    re.IGNORECASE,
)
UNREADABLE: Final = re.compile(r"release: not found|no release provided")
"""Helm's words for an uninstall of a release whose records it cannot read; those are as good as none to it."""
_BEHIND: Final = re.compile(r"another operation|release: not found")


class HelmReleases:
    """Release `cilium`. `revisions` shows the operator its own writes; `may_act` tells whether the Lease is its own."""

    def __init__(
        self, command: HelmCommand, client: KubeClient, revisions: Informer[Revision], may_act: Callable[[], bool]
    ) -> None:
        self._command, self._client, self._revisions, self._may_act = command, client, revisions, may_act
        self._helm = Client(command, executable=str(command.binary))

    async def apply(self, chart: FetchedChart, values: Mapping[str, Any], expected: Revision) -> None:
        """Make exactly revision `expected`; StaleError where Helm is elsewhere, ApplyFailedError."""
        await self._stands_at(expected.number - 1)
        try:
            await install(self._helm, self._command, RELEASE, chart, values, expected)
        except HelmError as error:
            says = f"Helm could not apply chart {chart.version}; what ran before was not taken away"
            raise told_apart(error, ApplyFailedError(f"{says}: {error}")) from None
        await self._revisions.until(lambda seen: _status(seen, expected.number) == "deployed", OWN_WRITE_SECONDS)

    async def rollback(self, to: int, expected: int) -> None:
        """Go back to revision `to` as exactly revision `expected`; StaleError, ApplyFailedError."""
        await self._stands_at(expected - 1)
        # pyhelm3's rollback cannot take fields back that others hold.
        place = ("--namespace", NAMESPACE, "--server-side", "true", "--force-conflicts")
        try:
            await self._command.say(["rollback", RELEASE, str(to), *place])
        except HelmError as error:
            raise told_apart(error, ApplyFailedError(f"Helm could not go back to revision {to}: {error}")) from None
        await self._revisions.until(lambda seen: _status(seen, expected) == "deployed", OWN_WRITE_SECONDS)

    async def claim(self, revision: int) -> None:
        """Label the newest revision, which a rollback made, as the operator's; StaleError where it is another."""
        await self._stands_at(revision)
        await self._rewrite(revision, helm_secret.label_rollback, "claimed")
        await self._revisions.until(
            lambda seen: any(made.managed for made in seen.values() if made.number == revision), OWN_WRITE_SECONDS
        )

    async def uninstall(self, revision: int) -> None:
        """Uninstall the release, which stands at `revision`; StaleError, UninstallFailedError."""
        await self._stands_at(revision)
        try:
            await self._helm.uninstall_release(RELEASE, namespace=NAMESPACE)
        except HelmError as error:
            if UNREADABLE.search(str(error)) and await self._newest() == revision:
                raise UninstallFailedError(
                    f"Helm cannot read its own record, Secret {NAMESPACE}/{helm_secret.secret_name(revision)}, so nobody "
                    "can tell what it installed; set spec.deletionPolicy to Retain to let go of Cilium as it is"
                ) from None
            says = "Helm could not uninstall Cilium; set spec.deletionPolicy to Retain to let go of it as it is"
            raise told_apart(error, UninstallFailedError(f"{says}: {error}")) from None
        await self._forget_what_cannot_be_read()
        await self._revisions.until(lambda seen: not seen, OWN_WRITE_SECONDS)

    async def _forget_what_cannot_be_read(self) -> None:
        """Delete records that Helm passed over: to everybody else they are a release that is still there."""
        try:
            listed = await self._client.get(RELEASES.path, RELEASES.query())
            for secret in listed.get("items") or []:
                if helm_secret.payload(secret) is None:
                    await self._client.delete(f"{RELEASES.path}/{secret['metadata']['name']}")
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot take away what is left of release {RELEASE}: {error}") from None

    async def manifests(self, revision: int) -> Sequence[Mapping[str, Any]]:
        """The objects that a revision was made of, none where Helm has it no more; ClusterUnavailableError."""
        try:
            secret = await self._client.get(f"{RELEASES.path}/{helm_secret.secret_name(revision)}")
        except ApiError as error:
            if error.status == NOT_FOUND:
                return []
            raise ClusterUnavailableError(f"cannot read revision {revision} of {RELEASE}: {error}") from None
        return helm_secret.manifests(secret)

    async def unlock(self, revision: int) -> None:
        """Mark a pending newest revision failed; StaleError where it is not the newest, or not pending."""
        await self._stands_at(revision)
        await self._rewrite(revision, helm_secret.unlocked, "unlocked")
        await self._revisions.until(lambda seen: _status(seen, revision) == "failed", OWN_WRITE_SECONDS)

    async def _rewrite(
        self, revision: int, how: Callable[[Mapping[str, Any]], dict[str, Any] | None], done: str
    ) -> None:
        """Change Helm's own record of a revision; StaleError where it is not as it was."""
        path = f"{RELEASES.path}/{helm_secret.secret_name(revision)}"
        try:
            changed = how(await self._client.get(path))
            if changed is None:
                raise StaleError(f"revision {revision} is no longer to be {done}")
            # Carries the resourceVersion: refused where Helm wrote in between.
            await self._client.put(path, changed)
        except ApiError as error:
            if error.status in {NOT_FOUND, CONFLICT}:
                raise StaleError(f"revision {revision} changed while it was {done}") from None
            raise ClusterUnavailableError(f"revision {revision} cannot be {done}: {error}") from None

    async def _stands_at(self, revision: int) -> None:
        """That Helm's newest revision is this one, by a fresh read: watches lag, and others act."""
        newest = await self._newest()
        if newest != revision:
            raise StaleError(f"Helm stands at revision {newest}, not {revision}")
        if not self._may_act():
            raise StaleError("the Lease was not renewed in time")

    async def _newest(self) -> int:
        """The number of Helm's newest revision, 0 for none, by a fresh read."""
        try:
            listed = await self._client.get(RELEASES.path, RELEASES.query(), RELEASES.accept("List"))
        except ApiError as error:
            raise ClusterUnavailableError(f"cannot list the revisions of {RELEASE}: {error}") from None
        found = in_order(
            {
                item["metadata"]["name"]: made
                for item in listed.get("items") or []
                if (made := helm_secret.revision(item))
            }
        )
        return found[-1].number if found else 0


async def install(
    helm: Client, command: HelmCommand, release: str, chart: FetchedChart, values: Mapping[str, Any], expected: Revision
) -> None:
    """Make the next revision of a release, labelled as `expected`; HelmError."""
    # It was read when the chart was fetched; to ask Helm again costs a tenth of a second.
    metadata = ChartMetadata(apiVersion="v2", name=CHART_NAME, version=chart.version)
    with command.labelled(helm_secret.labels_of(expected)):
        await helm.install_or_upgrade_release(
            release,
            Chart(command, ref=chart.path, metadata=metadata),
            dict(values),
            create_namespace=False,
            namespace=NAMESPACE,
            reset_values=True,
            # Fields that others took are taken back: what is released is what runs.
            server_side="true",
            force_conflicts=True,
        )


def told_apart(error: HelmError, otherwise: PortError) -> PortError:
    """What Helm's words mean: somebody else is at work, the API server is away, or what is said `otherwise`."""
    words = str(error)
    if _BEHIND.search(words):
        return StaleError(f"the release changed meanwhile: {words}")
    if _API_AWAY.search(words):
        return ClusterUnavailableError(f"Helm cannot reach the Kubernetes API: {words}")
    return otherwise


def _status(seen: Mapping[str, Revision], number: int) -> str | None:
    return next((revision.status for revision in seen.values() if revision.number == number), None)
