"""Release `cilium-preflight`, changed by the operator and by others: in memory, and on a cluster."""

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
from cilium_hybrid.adapters.helm.charts import HelmCharts
from cilium_hybrid.adapters.helm.command import HelmCommand
from cilium_hybrid.adapters.helm.preflight import HelmPreflights
from cilium_hybrid.adapters.kube.client import KubeClient
from cilium_hybrid.adapters.kube.cluster import KubeCluster
from cilium_hybrid.plan.observation import PreflightObservation, Revision
from cilium_hybrid.plan.upgrade.preflight import CHECK, PREFLIGHT, preflight_values
from cilium_hybrid.ports import ApplyFailedError, FetchedChart, Rendered
from contract import tiny_chart
from contract.kube import with_watches
from fakes import FakePreflights, FixedClock
from testbed import binaries
from testbed.cluster import Cluster
from testbed.processes import CommandError, wait_until

Values = Mapping[str, Any]
VERSION = "1.18.8-1"
OTHER_VERSION = "1.17.15-1"
SECRETS = "owner=helm,name=cilium-preflight"
# The API server rejects such an operator.
INVALID = {"tolerations": [{"operator": "Sometimes"}]}

OBJECTS = (
    "serviceaccount/cilium-pre-flight",
    "clusterrole/cilium-pre-flight",
    "clusterrolebinding/cilium-pre-flight",
    f"daemonset/{CHECK}",
    f"deployment/{CHECK}",
)
DENY_DELETION = f"""\
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: deny-deletion}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: [apps]
        apiVersions: [v1]
        operations: [DELETE]
        resources: [daemonsets]
        resourceNames: [{CHECK}]
  validations: [{{expression: "false", message: deletion is forbidden}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: deny-deletion}}
spec: {{policyName: deny-deletion, validationActions: [Deny]}}
"""


class PreflightHarness(Protocol):
    """Release `cilium-preflight`, as the operator changes and observes it."""

    def start(self, version: str = VERSION, *, broken: bool = False) -> None:
        """The operator starts a preflight of this version, or one that Helm cannot apply."""

    def end(self) -> None:
        """The operator ends it."""

    def observed(self) -> PreflightObservation:
        """Return it as a new process observes it, with NOW as the creation time of its release."""


def expected(version: str = VERSION) -> Revision:
    return Revision(1, "deployed", NOW, True, version, DIGEST, OTHER_DIGEST)


class FakeHarness:
    def __init__(self) -> None:
        self._preflights = FakePreflights(FixedClock())

    def start(self, version: str = VERSION, *, broken: bool = False) -> None:
        if broken:
            self._preflights.fault, self._preflights.leaves = ApplyFailedError("Helm could not start it"), "failed"
        chart = FetchedChart(Path("/charts/cilium"), version, DIGEST)
        rendered = Rendered(({"kind": "DaemonSet", "metadata": {"name": "cilium-pre-flight-check"}},))
        asyncio.run(self._preflights.start(chart, preflight_values(a_spec()), rendered, expected(version)))

    def end(self) -> None:
        asyncio.run(self._preflights.end())

    def observed(self) -> PreflightObservation:
        return self._preflights.observed


class HelmHarness:
    """On a cluster, with methods for what others do to it."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self._directory = cluster, directory
        self._binary = binaries.ensure("helm")["helm"]
        self.may_act = True

    def start(self, version: str = VERSION, *, broken: bool = False) -> None:
        values = preflight_values(a_spec())
        if broken:
            values["preflight"] |= INVALID
        chart = FetchedChart(package(version, self._directory), version, DIGEST)

        rendered = asyncio.run(HelmCharts(self._command(), self._directory).render(chart, values, PREFLIGHT))

        async def use(client: KubeClient, cluster: KubeCluster) -> PreflightObservation:
            await self._preflights(client, cluster).start(chart, values, rendered, expected(version))
            return cluster.observe().preflight

        observed = with_watches(self.cluster.kubeconfig, use)
        # The call returns after the watches have shown the write.
        assert observed.release is not None
        assert observed.nodes_observed is not None
        assert observed.validator is not None

    def end(self) -> None:
        async def use(client: KubeClient, cluster: KubeCluster) -> PreflightObservation:
            await self._preflights(client, cluster).end()
            return cluster.observe().preflight

        assert not with_watches(self.cluster.kubeconfig, use).exists

    def observed(self) -> PreflightObservation:
        async def use(_: KubeClient, cluster: KubeCluster) -> PreflightObservation:
            return cluster.observe().preflight

        observed = with_watches(self.cluster.kubeconfig, use)
        return (
            observed
            if observed.release is None
            else replace(observed, release=replace(observed.release, created_at=NOW, changed="", manager=""))
        )

    def install(self, chart: Path | None = None, **preflight: Any) -> None:
        """An admin runs `helm install`."""
        values = json.dumps(preflight_values(a_spec()) | preflight)
        archive = chart or package(VERSION, self._directory)
        self.cluster.helm("install", PREFLIGHT, archive, "-n", "kube-system", "--values", "-", stdin=values)

    def interrupt(self) -> None:
        """Helm is killed while it installs the release."""
        chart = tiny_chart.directory(self._directory / "tiny" / "cilium", VERSION)
        argv = [str(self._binary), "install", PREFLIGHT, str(chart), "-n", "kube-system", "--set", "hangs=true"]
        with subprocess.Popen(argv, env=os.environ | self.cluster.env) as helm:
            wait_until(
                lambda: self.cluster.objects("secrets", "kube-system", selector=f"{SECRETS},status=pending-install"),
                timeout=20,
                what="the release is pending",
            )
            helm.kill()

    def forbid_deletion(self) -> None:
        """Create a policy that forbids the deletion of the DaemonSet."""
        self.cluster.apply(DENY_DELETION)
        dry_run = ("delete", "daemonset", CHECK, "-n", "kube-system", "--dry-run=server")

        def forbidden() -> bool:
            try:
                self.cluster.kubectl(*dry_run)
            except CommandError:
                return True
            return False

        wait_until(forbidden, timeout=30, what="the policy is in force")

    def allow_deletion(self) -> None:
        """Delete that policy."""
        kinds = "validatingadmissionpolicybindings,validatingadmissionpolicies"
        self.cluster.kubectl("delete", kinds, "deny-deletion", "--ignore-not-found")
        delete = ("delete", "daemonset", CHECK, "-n", "kube-system", "--dry-run=server", "--ignore-not-found")

        def allowed() -> bool:
            try:
                self.cluster.kubectl(*delete)
            except CommandError:
                return False
            return True

        wait_until(allowed, timeout=30, what="the policy is no longer in force")

    def fail_uninstall(self, message: str) -> None:
        """Make every `helm uninstall` fail with this message."""
        script = self._directory / "failing-helm"
        failure = f"echo 'Error: {message}' >&2; exit 1"
        script.write_text(f'#!/bin/sh\nif [ "$1" = uninstall ]; then {failure}; fi\nexec {self._binary} "$@"\n')
        script.chmod(0o755)
        self._binary = script

    def objects(self) -> set[str]:
        """Return kind and name of every existing object of a preflight, including Helm's Secrets."""
        options = ("-n", "kube-system", "-o", "name", "--ignore-not-found")
        found = self.cluster.kubectl("get", *OBJECTS, *options)
        return set((found + self.cluster.kubectl("get", "secrets", "-l", SECRETS, *options)).split())

    def _preflights(self, client: KubeClient, cluster: KubeCluster) -> HelmPreflights:
        return HelmPreflights(self._command(), client, cluster.preflight, lambda: self.may_act)

    def _command(self) -> HelmCommand:
        return HelmCommand(self._binary, self._directory / "helm", lambda *_: None)
