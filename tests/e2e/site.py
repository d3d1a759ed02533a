"""One site under test: a cluster, a registry with the stand-in chart, the operator as its ServiceAccount."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from kstatus import faults
from testbed.cluster import Cluster
from testbed.nodes import hybrid_name
from testbed.operator import ACCOUNT, NAMESPACE, install, operator
from testbed.processes import Process, wait_until
from testbed.registry import Registry

VERSION = "1.17.13-1"
NODES = [hybrid_name(number) for number in range(1, 6)]
LIMIT = 60.0
USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
RELEASE_SECRETS = "owner=helm,name=cilium"
PLAIN_LOG = {"CILIUM_HYBRID_LOG_FORMAT": "text"}


@dataclass
class Site:
    """What a test acts on and looks at."""

    cluster: Cluster
    registry: Registry
    operator: Process

    def spec(self, **changes: Any) -> dict[str, Any]:
        """The smallest useful spec on this site's registry, with changes."""
        smallest = {
            "version": VERSION,
            "chart": {"ref": self.registry.ref},
            "ipam": {"podCIDRs": ["10.85.0.0/16"], "maskSize": 25},
            # Half a minute for each change would be most of a test's time.
            "upgrade": {"rollout": {"soak": "1s"}},
        }
        return {**smallest, **changes}

    def apply(self, spec: Mapping[str, Any] | None = None, /, **changes: Any) -> None:
        """Write the resource as a user does."""
        manifest = {
            "apiVersion": "ciliumhybrid.io/v1alpha1",
            "kind": "CiliumHybrid",
            "metadata": {"name": "default"},
            "spec": self.spec(**changes) if spec is None else spec,
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def resource(self) -> dict[str, Any]:
        """The resource as it is."""
        found: dict[str, Any] = self.cluster.request("GET", "/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids/default")
        return found

    def status(self) -> dict[str, Any]:
        """Its status, empty before the first write."""
        status: dict[str, Any] = self.resource().get("status", {})
        return status

    def condition(self, kind: str) -> dict[str, Any] | None:
        """One condition, None where it is absent."""
        return next((one for one in self.status().get("conditions", []) if one["type"] == kind), None)

    def wait_for(self, reason: str, *, ready: str | None = None, timeout: float = LIMIT) -> dict[str, Any]:
        """The condition Ready, once it speaks of the present generation with this reason."""

        def reached() -> dict[str, Any] | None:
            resource = self.resource()
            conditions = resource.get("status", {}).get("conditions", [])
            condition: dict[str, Any] | None = next((one for one in conditions if one["type"] == "Ready"), None)
            current = condition is not None and condition["observedGeneration"] == resource["metadata"]["generation"]
            if condition is None or not current or condition["reason"] != reason:
                seen.append(condition)
                return None
            return condition if ready in {None, condition["status"]} else None

        seen: list[Any] = []
        try:
            return wait_until(reached, timeout=timeout, what=f"Ready says {reason}", needs=[self.operator])
        except AssertionError as late:
            late.add_note(f"Ready said last: {seen[-1] if seen else None}\n{self.operator.tail(60)}")
            raise

    def revisions(self) -> list[tuple[int, str]]:
        """Number and status of every Helm revision of release `cilium`."""
        secrets = self.cluster.objects("secrets", "kube-system", selector=RELEASE_SECRETS)
        labels = [secret["metadata"]["labels"] for secret in secrets]
        return sorted((int(one["version"]), one["status"]) for one in labels)

    def agents(self) -> dict[str, str]:
        """The uid of the agent pod of each node."""
        pods = self.cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
        # One that was made a moment ago has no node yet.
        return {pod["spec"]["nodeName"]: pod["metadata"]["uid"] for pod in pods if "nodeName" in pod["spec"]}

    def moved(self, before: Mapping[str, str]) -> set[str]:
        """The nodes whose agent is another one than before."""
        return {node for node, pod in self.agents().items() if before.get(node) != pod}

    @property
    def verified(self) -> str | None:
        """The last revision that all agents ran well on, as the record says."""
        record = self.cluster.get("configmap", "cilium-hybrid-applied", "kube-system") or {}
        revision: str | None = record.get("data", {}).get("goodRevision")
        return revision

    def running(self) -> dict[str, str]:
        """The version of the agent pod of each node, by its image."""
        pods = self.cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
        return {
            pod["spec"]["nodeName"]: pod["spec"]["containers"][0]["image"].rpartition(":")[2].removeprefix("v")
            for pod in pods
            if "nodeName" in pod["spec"]
        }

    def calls(self, verb: str, resource: str) -> list[dict[str, Any]]:
        """What the operator asked of the API server, by the audit log: requests that were answered."""
        return [
            event
            for event in self.cluster.audit_events()
            if event["user"]["username"] == USER
            and event["verb"] == verb
            and event.get("objectRef", {}).get("resource") == resource
        ]

    def written(self) -> list[list[dict[str, Any]]]:
        """The resource after each write of its status by the operator: one list for each run of its writes alone."""
        runs: list[list[dict[str, Any]]] = []
        before = None
        for event in self.cluster.audit_events():
            resource = event.get("responseObject", {})
            if resource.get("kind") != "CiliumHybrid" or event["responseStatus"]["code"] != HTTPStatus.OK:
                continue
            writer = (event["user"]["username"], resource["metadata"]["uid"])
            if writer[0] == USER:
                runs += [[]] if writer != before else []
                runs[-1].append({**resource, "at": event["requestReceivedTimestamp"]})
            before = writer
        return runs

    def install_by_hand(self) -> None:
        """Install Cilium as the guide's commands do, with the pool that the specs here ask for."""
        # Helm does not wait for what is left of an uninstall before.
        self.cluster.kubectl("wait", "--for=delete", "namespace/cilium-secrets", "--timeout=30s")
        pool = "ipam.operator.clusterPoolIPv4PodCIDRList={10.85.0.0/16},ipam.operator.clusterPoolIPv4MaskSize=25"
        helm = ("install", "cilium", self.registry.ref, "--version", VERSION, "-n", "kube-system", "--set", pool)
        self.cluster.helm(*helm, env=self.registry.env)

    def restore(self) -> None:
        """Make whole what a test broke, and take everything away."""
        if not self.operator.alive:
            self.operator.start()
        self.registry.serve()
        for node in NODES:
            self.cluster.reconnect(node)
            self.cluster.mend_agent(node)
        self.clean()

    def clean(self) -> None:
        """Take Cilium and the resource away again, as if nothing had been installed."""
        cluster = self.cluster
        cluster.kubectl("delete", "ciliumhybrid", "--all", "--timeout=60s")
        if self.revisions():
            cluster.helm("uninstall", "cilium", "-n", "kube-system", "--ignore-not-found")
        secrets = ("secrets", "-n", "kube-system", "-l", RELEASE_SECRETS)
        cluster.kubectl("delete", *secrets)
        cluster.kubectl("delete", "configmap", "-n", "kube-system", "cilium-hybrid-applied", "--ignore-not-found")
        cluster.kubectl("wait", "--for=delete", "pods", "-n", "kube-system", "-l", "k8s-app=cilium", "--timeout=60s")


@contextmanager
def a_site(folder: Path, registry: Registry, *, hybrid: int = 5, cloud: int = 2) -> Iterator[Site]:
    """A cluster with deploy/ applied and an operator that is not started; at the end every status is judged."""
    with Cluster.start(folder, hybrid=hybrid, cloud=cloud) as cluster:
        install(cluster)
        env = {"SSL_CERT_FILE": str(registry.ca_file), **PLAIN_LOG}
        site = Site(cluster, registry, operator(cluster, env=env))
        yield site
        broken = [fault for run in site.written() for fault in faults(run)]
        assert not broken, "\n".join(broken)
