"""What the watches hold of release `cilium-preflight`: its records, its DaemonSet, its Deployment."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.helm_secret import revision
from cilium_hybrid.adapters.kube.informer import Informer, WatchTarget
from cilium_hybrid.adapters.kube.preflight_facts import CheckPod, check_set, preflight_of, validator_set
from cilium_hybrid.plan.observation import PreflightObservation
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.upgrade.preflight import CHECK, PREFLIGHT

PREFLIGHTS: Final = WatchTarget(
    f"/api/v1/namespaces/{NAMESPACE}/secrets", labels=f"owner=helm,name={PREFLIGHT}", metadata_only=True
)
_APPS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}"


class PreflightWatches:
    """Watches a preflight. Its pods are told by whoever watches the agents': one watch is enough for all."""

    def __init__(self, client: KubeClient, changed: Callable[[], None]) -> None:
        def named(kind: str) -> WatchTarget:
            return WatchTarget(f"{_APPS}/{kind}", fields=f"metadata.name={CHECK}")

        self._records = Informer(client, PREFLIGHTS, revision, changed)
        self._checks = Informer(client, named("daemonsets"), check_set, changed)
        self._validators = Informer(client, named("deployments"), validator_set, changed)

    def informers(self) -> tuple[Informer[Any], ...]:
        """The watches."""
        return (self._records, self._checks, self._validators)

    def observe(self, pods: Iterable[CheckPod]) -> PreflightObservation:
        """What they hold, with the pods of it among these."""
        checks, validators = self._checks.facts.get(CHECK), self._validators.facts.get(CHECK)
        return preflight_of(self._records.facts.values(), checks, validators, pods)

    async def until_made(self, seconds: float) -> None:
        """Wait until a whole preflight is seen, no longer than that."""
        await self._until(bool, seconds)

    async def until_gone(self, seconds: float) -> None:
        """Wait until nothing of one is seen, no longer than that."""
        await self._until(lambda seen: not seen, seconds)

    async def _until(self, condition: Callable[[Any], bool], seconds: float) -> None:
        await asyncio.gather(*(index.until(condition, seconds) for index in self.informers()))
