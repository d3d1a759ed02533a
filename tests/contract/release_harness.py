"""Release `cilium`, changed by the operator and by an admin: in memory, and on a cluster."""

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from builders import DIGEST, NOW, OTHER_DIGEST
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.releases import HelmReleases
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.plan.observation import Revision
from cilium_hybrid.ports import ApplyFailedError, FetchedChart
from cilium_hybrid.rules.rendered.reading import kind_and_name
from contract import tiny_chart
from contract.kube import with_watches
from fakes import FakeReleases, FixedClock
from testbed import binaries
from testbed.cluster import Cluster
from testbed.processes import wait_until

VERSION = "1.17.9"
Values = Mapping[str, Any]
Manifests = Sequence[Mapping[str, Any]]


class ReleaseHarness(Protocol):
    """Release `cilium`, which the operator and an admin may change."""

    def apply(self, number: int, values: Values) -> None:
        """The operator creates this revision."""

    def unlock(self, number: int) -> None:
        """The operator unlocks a revision."""

    def roll_back(self, to: int, number: int) -> None:
        """The operator rolls back to a revision, which creates revision `number`."""

    def label_rollback(self, number: int) -> None:
        """The operator labels its rollback as managed."""

    def uninstall(self, number: int) -> None:
        """The operator uninstalls the release."""

    def manifests(self, number: int) -> list[tuple[str, Any]]:
        """The operator reads the manifests of a revision: names, and data if any."""

    def observed(self) -> tuple[Revision, ...]:
        """Return all revisions as the operator observes them, with NOW as the creation time."""

    def values(self) -> Values:
        """Return the values of the newest revision."""

    def upgrade(self, values: Values) -> None:
        """An admin runs `helm upgrade`."""

    def rollback(self, to: int) -> None:
        """An admin runs `helm rollback`."""

    def interrupt(self) -> None:
        """Helm is killed while it creates the next revision."""

    def broken_values(self) -> Values:
        """Return values that Helm cannot apply."""


def expected(number: int) -> Revision:
    return Revision(number, "deployed", NOW, True, VERSION, DIGEST, OTHER_DIGEST)


def _names_and_data(manifests: Manifests) -> list[tuple[str, Any]]:
    return [(kind_and_name(manifest), manifest.get("data")) for manifest in manifests]


class FakeHarness:
    def __init__(self) -> None:
        self._releases = FakeReleases(FixedClock())

    def apply(self, number: int, values: Values) -> None:
        chart = FetchedChart(Path("/charts/cilium"), VERSION, DIGEST)
        asyncio.run(self._releases.apply(chart, values, expected(number)))
        self._releases.rendered[number] = tiny_chart.objects(values)

    def unlock(self, number: int) -> None:
        asyncio.run(self._releases.unlock(number))

    def roll_back(self, to: int, number: int) -> None:
        asyncio.run(self._releases.rollback(to, number))

    def label_rollback(self, number: int) -> None:
        asyncio.run(self._releases.label_rollback(number))

    def uninstall(self, number: int) -> None:
        asyncio.run(self._releases.uninstall(number))

    def manifests(self, number: int) -> list[tuple[str, Any]]:
        return _names_and_data(asyncio.run(self._releases.manifests(number)))

    def observed(self) -> tuple[Revision, ...]:
        return tuple(self._releases.revisions)

    def values(self) -> Values:
        return self._releases.applied[self._releases.newest.number]

    def upgrade(self, values: Values) -> None:
        self._releases.upgrade_by_hand(values=values)

    def rollback(self, to: int) -> None:
        self._releases.upgrade_by_hand(values=self._releases.applied[to])

    def interrupt(self) -> None:
        self._releases.upgrade_by_hand(status="pending-upgrade" if self._releases.revisions else "pending-install")

    def broken_values(self) -> Values:
        self._releases.fault, self._releases.leaves = ApplyFailedError("Helm could not apply it"), "failed"
        return {}


class HelmHarness:
    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self._cluster, self._directory = cluster, directory
        self._chart = tiny_chart.directory(directory / "cilium", VERSION)
        self.may_act = True

    def apply(self, number: int, values: Values) -> None:
        chart = FetchedChart(self._chart, VERSION, DIGEST)

        async def use(client: KubeClient, cluster: KubeCluster) -> None:
            await self._releases(client, cluster).apply(chart, values, expected(number))

        with_watches(self._cluster.kubeconfig, use)

    def unlock(self, number: int) -> None:
        async def use(client: KubeClient, cluster: KubeCluster) -> None:
            await self._releases(client, cluster).unlock(number)

        with_watches(self._cluster.kubeconfig, use)

    def roll_back(self, to: int, number: int) -> None:
        async def use(client: KubeClient, cluster: KubeCluster) -> None:
            await self._releases(client, cluster).rollback(to, number)

        with_watches(self._cluster.kubeconfig, use)

    def label_rollback(self, number: int) -> None:
        async def use(client: KubeClient, cluster: KubeCluster) -> None:
            await self._releases(client, cluster).label_rollback(number)

        with_watches(self._cluster.kubeconfig, use)

    def uninstall(self, number: int) -> None:
        async def use(client: KubeClient, cluster: KubeCluster) -> None:
            await self._releases(client, cluster).uninstall(number)

        with_watches(self._cluster.kubeconfig, use)

    def manifests(self, number: int) -> list[tuple[str, Any]]:
        async def use(client: KubeClient, cluster: KubeCluster) -> Manifests:
            return await self._releases(client, cluster).manifests(number)

        return _names_and_data(with_watches(self._cluster.kubeconfig, use))

    def observed(self) -> tuple[Revision, ...]:
        async def use(_: KubeClient, cluster: KubeCluster) -> tuple[Revision, ...]:
            return cluster.observe().revisions

        return tuple(replace(revision, created_at=NOW) for revision in with_watches(self._cluster.kubeconfig, use))

    def values(self) -> Values:
        return {"data": self._cluster.get("configmap", "tiny", "kube-system")["data"]["values"].strip('"')}

    def upgrade(self, values: Values) -> None:
        settings = [argument for key, value in values.items() for argument in ("--set", f"{key}={value}")]
        self._cluster.helm("upgrade", "--install", "cilium", self._chart, "-n", "kube-system", *settings)

    def rollback(self, to: int) -> None:
        self._cluster.helm("rollback", "cilium", str(to), "-n", "kube-system")

    def interrupt(self) -> None:
        argv = [
            str(binaries.ensure("helm")["helm"]),
            "upgrade",
            "--install",
            "cilium",
            str(self._chart),
            "-n",
            "kube-system",
        ]
        with subprocess.Popen([*argv, "--set", "hangs=true"], env=os.environ | self._cluster.env) as helm:
            wait_until(self._pending, timeout=20, what="a revision is pending")
            helm.kill()

    def broken_values(self) -> Values:
        return {"broken": True}

    def _pending(self) -> bool:
        selector = "owner=helm,status in (pending-install,pending-upgrade)"
        return bool(self._cluster.objects("secrets", "kube-system", selector=selector))

    def _releases(self, client: KubeClient, cluster: KubeCluster) -> HelmReleases:
        command = HelmCommand(binaries.ensure("helm")["helm"], self._directory / "helm", lambda *_: None)
        return HelmReleases(command, client, cluster.revisions, lambda: self.may_act)
