"""Release `cilium-preflight` with those who may change it: in memory, and on a cluster."""

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from builders import DIGEST, NOW, OTHER_DIGEST, a_spec
from chart.package import package
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.preflight import HelmPreflights
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.plan.observation import PreflightObservation, Revision
from cilium_hybrid.plan.upgrade.preflight import CHECK, PREFLIGHT, preflight_values
from cilium_hybrid.ports import ApplyFailedError, FetchedChart
from contract import tiny
from contract.kube import with_watches
from fakes import FakePreflights, FixedClock
from testbed import binaries
from testbed.cluster import Cluster
from testbed.processes import CommandError, wait_until

Values = Mapping[str, Any]
VERSION = "1.18.8-1"
OTHER_VERSION = "1.17.15-1"
SECRETS = "owner=helm,name=cilium-preflight"
# The API server takes no such operator.
BROKEN = {"tolerations": [{"operator": "Sometimes"}]}

OBJECTS = (
    "serviceaccount/cilium-pre-flight",
    "clusterrole/cilium-pre-flight",
    "clusterrolebinding/cilium-pre-flight",
    f"daemonset/{CHECK}",
    f"deployment/{CHECK}",
)
KEPT = f"""\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: kept}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [apps]
        apiVersions: [v1]
        operations: [DELETE]
        resources: [daemonsets]
        resourceNames: [{CHECK}]
  validations: [{{expression: "false", message: it stays}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: kept}}
spec: {{policyName: kept, validationActions: [Deny]}}
"""


class Site(Protocol):
    """Release `cilium-preflight`, as the operator acts on it and sees it."""

    def start(self, version: str = VERSION, *, broken: bool = False) -> None:
        """The operator starts one of this version, or one that Helm cannot apply."""

    def end(self) -> None:
        """The operator takes it away."""

    def seen(self) -> PreflightObservation:
        """What a new process sees of it, its release made NOW."""


def expected(version: str = VERSION) -> Revision:
    return Revision(1, "deployed", NOW, True, version, DIGEST, OTHER_DIGEST)


class FakeSite:
    def __init__(self) -> None:
        self._preflights = FakePreflights(FixedClock())

    def start(self, version: str = VERSION, *, broken: bool = False) -> None:
        if broken:
            self._preflights.fault, self._preflights.leaves = ApplyFailedError("Helm could not start it"), "failed"
        chart = FetchedChart(Path("/charts/cilium"), version, DIGEST)
        asyncio.run(self._preflights.start(chart, preflight_values(a_spec()), expected(version)))

    def end(self) -> None:
        asyncio.run(self._preflights.end())

    def seen(self) -> PreflightObservation:
        return self._preflights.seen


class HelmSite:
    """On a cluster; the rest is what others do to it."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self._folder = cluster, folder
        self._binary = binaries.ensure("helm")["helm"]
        self.may_act = True

    def start(self, version: str = VERSION, *, broken: bool = False) -> None:
        values = preflight_values(a_spec())
        if broken:
            values["preflight"] |= BROKEN
        chart = FetchedChart(package(version, self._folder), version, DIGEST)

        async def use(client: KubeClient, cluster: KubeCluster) -> PreflightObservation:
            await self._preflights(client, cluster).start(chart, values, expected(version))
            return cluster.observe().preflight

        seen = with_watches(self.cluster.kubeconfig, use)
        # Its own write is seen by the time the call returns.
        assert seen.release is not None
        assert seen.nodes_observed is not None
        assert seen.validator is not None

    def end(self) -> None:
        async def use(client: KubeClient, cluster: KubeCluster) -> PreflightObservation:
            await self._preflights(client, cluster).end()
            return cluster.observe().preflight

        assert not with_watches(self.cluster.kubeconfig, use).there

    def seen(self) -> PreflightObservation:
        async def use(_: KubeClient, cluster: KubeCluster) -> PreflightObservation:
            return cluster.observe().preflight

        seen = with_watches(self.cluster.kubeconfig, use)
        return seen if seen.release is None else replace(seen, release=replace(seen.release, made_at=NOW))

    def install(self, chart: Path | None = None, **preflight: Any) -> None:
        """An admin runs `helm install`."""
        values = json.dumps(preflight_values(a_spec()) | preflight)
        archive = chart or package(VERSION, self._folder)
        self.cluster.helm("install", PREFLIGHT, archive, "-n", "kube-system", "--values", "-", stdin=values)

    def interrupted(self) -> None:
        """A Helm is killed while it starts one."""
        chart = tiny.folder(self._folder / "tiny" / "cilium", VERSION)
        argv = [str(self._binary), "install", PREFLIGHT, str(chart), "-n", "kube-system", "--set", "hangs=true"]
        with subprocess.Popen(argv, env=os.environ | self.cluster.env) as helm:
            wait_until(
                lambda: self.cluster.objects("secrets", "kube-system", selector=f"{SECRETS},status=pending-install"),
                timeout=20,
                what="a record is pending",
            )
            helm.kill()

    def keep(self) -> None:
        """A policy of the cluster keeps the DaemonSet."""
        self.cluster.apply(KEPT)
        dry_run = ("delete", "daemonset", CHECK, "-n", "kube-system", "--dry-run=server")

        def kept() -> bool:
            try:
                self.cluster.kubectl(*dry_run)
            except CommandError:
                return True
            return False

        wait_until(kept, timeout=30, what="the policy is in force")

    def let_go(self) -> None:
        """It does no longer."""
        kinds = "validatingadmissionpolicybindings,validatingadmissionpolicies"
        self.cluster.kubectl("delete", kinds, "kept", "--ignore-not-found")
        delete = ("delete", "daemonset", CHECK, "-n", "kube-system", "--dry-run=server", "--ignore-not-found")

        def free() -> bool:
            try:
                self.cluster.kubectl(*delete)
            except CommandError:
                return False
            return True

        wait_until(free, timeout=30, what="the policy is no longer in force")

    def helm_says(self, words: str) -> None:
        """From now on Helm ends nothing, and says why."""
        script = self._folder / "helm-that-ends-nothing"
        says = f"echo 'Error: {words}' >&2; exit 1"
        script.write_text(f'#!/bin/sh\nif [ "$1" = uninstall ]; then {says}; fi\nexec {self._binary} "$@"\n')
        script.chmod(0o755)
        self._binary = script

    def objects(self) -> set[str]:
        """Kind and name of whatever of a preflight is there, Helm's records with it."""
        place = ("-n", "kube-system", "-o", "name", "--ignore-not-found")
        found = self.cluster.kubectl("get", *OBJECTS, *place)
        return set((found + self.cluster.kubectl("get", "secrets", "-l", SECRETS, *place)).split())

    def _preflights(self, client: KubeClient, cluster: KubeCluster) -> HelmPreflights:
        command = HelmCommand(self._binary, self._folder / "helm", lambda *_: None)
        return HelmPreflights(command, client, cluster.preflight, lambda: self.may_act)
