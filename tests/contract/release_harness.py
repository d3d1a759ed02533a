"""Release `cilium`, changed by the operator and by an admin: in memory, and on a cluster."""

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from builders import DIGEST, NOW, OTHER_DIGEST
from cilium_hybrid.adapters.helm.charts import HelmCharts
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.releases import HelmReleases
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.adapters.kube.helm_secret import VERIFIED_SECRET, Mark, secret_name
from cilium_hybrid.plan.observation import ReleasePayload, Revision
from cilium_hybrid.ports import ApplyFailedError, FetchedChart, Rendered
from cilium_hybrid.rules.rendered.reading import kind_and_name
from contract import tiny_chart
from contract.kube import with_watches
from fakes import FakeReleases, FixedClock
from testbed import binaries
from testbed.cluster import Cluster
from testbed.processes import wait_until

VERSION = "1.17.9"
_PENDING = "status in (pending-install,pending-upgrade)"
Result = TypeVar("Result")
Values = Mapping[str, Any]
Manifests = Sequence[Mapping[str, Any]]


class ReleaseHarness(Protocol):
    """Release `cilium`, which the operator and an admin may change."""

    def apply(self, number: int, values: Values) -> None:
        """The operator creates this revision."""

    def unlock(self, number: int) -> None:
        """The operator unlocks a revision."""

    def roll_back(self, to: int, number: int) -> None:
        """The operator restores chart and values of a revision, as revision `number`."""

    def mark(self, number: int, mark: Mark) -> None:
        """The operator marks a revision."""

    def payload(self, number: int) -> ReleasePayload:
        """The operator reads what is known of a revision."""

    def prune(self, number: int) -> None:
        """Helm deletes a revision, because there are ten newer ones."""

    def corrupt(self, number: int) -> None:
        """Someone damages what Helm stored of a revision."""

    def uninstall(self, number: int) -> None:
        """The operator uninstalls the release."""

    def manifests(self, number: int) -> list[tuple[str, Any]]:
        """The operator reads the manifests of a revision: names, and data if any."""

    def observed(self) -> tuple[Revision, ...]:
        """Return all revisions as the operator observes them, with NOW as the creation time, at no certain version."""

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


def states(harness: ReleaseHarness) -> list[tuple[int, str, bool]]:
    """Return number and status of each revision, and whether the operator made it."""
    return [(revision.number, revision.status, revision.managed) for revision in harness.observed()]


def _names_and_data(manifests: Manifests) -> list[tuple[str, Any]]:
    return [(kind_and_name(manifest), manifest.get("data")) for manifest in manifests]


class FakeHarness:
    def __init__(self) -> None:
        self._releases = FakeReleases(FixedClock())

    def apply(self, number: int, values: Values) -> None:
        self._apply(FetchedChart(Path("/charts/cilium"), VERSION, DIGEST), values, expected(number))

    def unlock(self, number: int) -> None:
        asyncio.run(self._releases.unlock(number))

    def roll_back(self, to: int, number: int) -> None:
        chart, values = asyncio.run(self._releases.restorable(to))
        self._apply(chart, values, replace(expected(number), rolled_back_to=to))

    def mark(self, number: int, mark: Mark) -> None:
        asyncio.run(self._releases.mark(number, mark))

    def payload(self, number: int) -> ReleasePayload:
        return asyncio.run(self._releases.payload(number))

    def prune(self, number: int) -> None:
        self._releases.revisions = [found for found in self._releases.revisions if found.number != number]

    def corrupt(self, number: int) -> None:
        self._releases.unreadable.add(number)

    def _apply(self, chart: FetchedChart, values: Values, revision: Revision) -> None:
        rendered = Rendered(tiny_chart.objects(values) if "data" in values else ())
        asyncio.run(self._releases.apply(chart, values, rendered, revision))

    def uninstall(self, number: int) -> None:
        asyncio.run(self._releases.uninstall(number))

    def manifests(self, number: int) -> list[tuple[str, Any]]:
        return _names_and_data(asyncio.run(self._releases.manifests(number)))

    def observed(self) -> tuple[Revision, ...]:
        return tuple(replace(revision, changed="", manager="") for revision in self._releases.revisions)

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
    """On a cluster. `chart` is the directory of the chart that is applied."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self._directory = cluster, directory
        self.chart = tiny_chart.directory(directory / "cilium", VERSION)
        self._command = HelmCommand(binaries.ensure("helm")["helm"], directory / "helm", lambda *_: None)
        self.may_act = True

    def apply(self, number: int, values: Values, before: Callable[[], object] = lambda: None) -> None:
        """The operator creates this revision; `before` is called after the chart was rendered, and before Helm runs."""
        self._apply(FetchedChart(self.chart, VERSION, DIGEST), values, expected(number), before)

    def render(self, values: Values) -> Rendered:
        """The operator renders the chart for the next revision."""
        return self.render_chart(FetchedChart(self.chart, VERSION, DIGEST), values)

    def unlock(self, number: int) -> None:
        self._use(lambda releases: releases.unlock(number))

    def roll_back(self, to: int, number: int) -> None:
        self._apply(*self.restore(to), replace(expected(number), rolled_back_to=to))

    def restore(self, number: int) -> tuple[FetchedChart, Values]:
        """The operator reads chart and values of a revision."""
        return self._use(lambda releases: releases.restorable(number))

    def mark(self, number: int, mark: Mark) -> None:
        self._use(lambda releases: releases.mark(number, mark))

    def payload(self, number: int) -> ReleasePayload:
        return self._use(lambda releases: releases.payload(number))

    def prune(self, number: int) -> None:
        self.cluster.kubectl("delete", "secret", secret_name(number), "-n", "kube-system")

    def corrupt(self, number: int) -> None:
        patch = json.dumps({"data": {"release": "bm90aGluZw=="}})
        self.cluster.kubectl("patch", "secret", secret_name(number), "-n", "kube-system", "--type=merge", "-p", patch)

    def _apply(
        self, chart: FetchedChart, values: Values, revision: Revision, before: Callable[[], object] = lambda: None
    ) -> None:
        rendered = self.render_chart(chart, values)
        before()
        self._use(lambda releases: releases.apply(chart, values, rendered, revision))

    def render_chart(self, chart: FetchedChart, values: Values) -> Rendered:
        """The operator renders a chart for the next revision."""
        return asyncio.run(HelmCharts(self._command, self._directory).render(chart, values))

    def uninstall(self, number: int) -> None:
        self._use(lambda releases: releases.uninstall(number))

    def manifests(self, number: int) -> list[tuple[str, Any]]:
        return _names_and_data(self._use(lambda releases: releases.manifests(number)))

    def observed(self) -> tuple[Revision, ...]:
        async def use(_: KubeClient, cluster: KubeCluster) -> tuple[Revision, ...]:
            return cluster.observe().revisions

        revisions = with_watches(self.cluster.kubeconfig, use)
        assert all(revision.changed and revision.manager for revision in revisions)
        return tuple(replace(revision, created_at=NOW, changed="", manager="") for revision in revisions)

    def values(self) -> Values:
        return {"data": self.cluster.get("configmap", "tiny", "kube-system")["data"]["values"].strip('"')}

    def upgrade(self, values: Values) -> None:
        settings = [argument for key, value in values.items() for argument in ("--set", f"{key}={value}")]
        self.cluster.helm("upgrade", "--install", "cilium", self.chart, "-n", "kube-system", *settings)

    def rollback(self, to: int) -> None:
        self.cluster.helm("rollback", "cilium", str(to), "-n", "kube-system")

    def interrupt(self) -> None:
        argv = [
            str(binaries.ensure("helm")["helm"]),
            "upgrade",
            "--install",
            "cilium",
            str(self.chart),
            "-n",
            "kube-system",
        ]
        with subprocess.Popen([*argv, "--set", "hangs=true"], env=os.environ | self.cluster.env) as helm:
            wait_until(lambda: self._revisions(_PENDING), timeout=20, what="a revision is pending")
            helm.kill()

    def broken_values(self) -> Values:
        return {"broken": True}

    def interrupt_uninstall(self) -> None:
        """The operator installs the release. Helm is killed while it uninstalls it."""
        hook = self.chart / "templates/stays.yaml"
        hook.write_text(tiny_chart.HANGS.replace("pre-install,pre-upgrade", "pre-delete").replace(".hangs", ".stays"))
        self.apply(1, {"data": "one", "stays": "true"})
        hook.unlink()
        argv = [str(self._command.binary), "uninstall", "cilium", "-n", "kube-system"]
        with subprocess.Popen(argv, env=os.environ | self.cluster.env) as helm:
            wait_until(lambda: self._revisions("status=uninstalling"), timeout=20, what="the release is uninstalling")
            helm.kill()

    def use_post_renderer(self, script: Path) -> None:
        """Let Helm run another script as the post-renderer."""
        wrapper = self._directory / "helm-wrapper"
        variable = f"CILIUM_HYBRID_POST_RENDERER={script}"
        wrapper.write_text(f'#!/bin/sh\nexec env {variable} {self._command.binary} "$@"\n')
        wrapper.chmod(0o755)
        self._command = HelmCommand(wrapper, self._directory / "helm", lambda *_: None)

    def _revisions(self, selector: str) -> bool:
        return bool(self.cluster.objects("secrets", "kube-system", selector=f"owner=helm,{selector}"))

    def _use(self, call: Callable[[HelmReleases], Coroutine[Any, Any, Result]]) -> Result:
        async def use(client: KubeClient, cluster: KubeCluster) -> Result:
            cache = self._directory / "cache"
            return await call(HelmReleases(self._command, client, cluster.revisions, lambda: self.may_act, cache))

        return with_watches(self.cluster.kubeconfig, use)


@contextmanager
def on_cluster(cluster: Cluster, directory: Path) -> Iterator[HelmHarness]:
    """Return a harness on a cluster, and delete what its tests leave behind."""
    yield HelmHarness(cluster, directory)
    objects = (("daemonset", "cilium"), ("cm", "tiny"), ("pod", "hangs"), ("secret", VERIFIED_SECRET))
    for kind, names in (("secrets", "-lowner=helm"), *objects):
        cluster.kubectl("delete", kind, names, "-n", "kube-system", "--ignore-not-found", "--wait=false")
