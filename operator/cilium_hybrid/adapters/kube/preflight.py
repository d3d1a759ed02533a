"""Watches of Helm release `cilium-preflight`: its revisions, its DaemonSet and its Deployment."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Final

from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.helm_secret import revision
from cilium_hybrid.adapters.kube.informer import Informer, WatchTarget
from cilium_hybrid.adapters.kube.preflight_facts import (
    CheckPod,
    check_daemon_set,
    observe_preflight,
    validator_deployment,
)
from cilium_hybrid.plan.observation import PreflightObservation
from cilium_hybrid.plan.release import NAMESPACE
from cilium_hybrid.plan.upgrade.preflight import CHECK, PREFLIGHT

PREFLIGHT_SECRETS: Final = WatchTarget(
    f"/api/v1/namespaces/{NAMESPACE}/secrets", labels=f"owner=helm,name={PREFLIGHT}", metadata_only=True
)
_APPS: Final = f"/apis/apps/v1/namespaces/{NAMESPACE}"


class PreflightWatches:
    """Watches a preflight except for its pods, which share a watch with the agents' pods."""

    def __init__(self, client: KubeClient, changed: Callable[[], None]) -> None:
        def named(resource: str) -> WatchTarget:
            return WatchTarget(f"{_APPS}/{resource}", fields=f"metadata.name={CHECK}")

        self._revisions = Informer(client, PREFLIGHT_SECRETS, revision, changed)
        self._checks = Informer(client, named("daemonsets"), check_daemon_set, changed)
        self._deployment = Informer(client, named("deployments"), validator_deployment, changed)

    def informers(self) -> tuple[Informer[Any], ...]:
        """Return the informers, which the caller runs."""
        return (self._revisions, self._checks, self._deployment)

    def observe(self, pods: Iterable[CheckPod]) -> PreflightObservation:
        """Return the preflight as last observed, with its pods among these."""
        checks, deployment = self._checks.facts.get(CHECK), self._deployment.facts.get(CHECK)
        return observe_preflight(self._revisions.facts.values(), checks, deployment, pods)

    async def wait_until_created(self, seconds: float) -> None:
        """Wait until the watches show every object of a preflight, for at most `seconds`."""
        await self._wait_for(bool, seconds)

    async def wait_until_deleted(self, seconds: float) -> None:
        """Wait until the watches show no object of a preflight, for at most `seconds`."""
        await self._wait_for(lambda facts: not facts, seconds)

    async def _wait_for(self, condition: Callable[[Any], bool], seconds: float) -> None:
        await asyncio.gather(*(informer.wait_for(condition, seconds) for informer in self.informers()))
