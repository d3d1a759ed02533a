"""One site under test: a cluster, a registry with the stand-in chart, the operator running as its ServiceAccount."""

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cilium_hybrid.adapters.kube.lease import LEASE
from kstatus import violations
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
    """The cluster, the registry and the operator that a test uses."""

    cluster: Cluster
    registry: Registry
    operator: Process

    def spec(self, **changes: Any) -> dict[str, Any]:
        """Return the smallest useful spec with this site's registry, with `changes`."""
        smallest = {
            "version": VERSION,
            "chart": {"ref": self.registry.ref},
            "ipam": {"podCIDRs": ["10.85.0.0/16"], "maskSize": 25},
            # The default of 30 s for each change would be most of a test's time.
            "upgrade": {"rollout": {"soak": "1s"}},
        }
        return {**smallest, **changes}

    def apply(self, spec: Mapping[str, Any] | None = None, /, **changes: Any) -> None:
        """Apply the resource as a user does."""
        manifest = {
            "apiVersion": "ciliumhybrid.io/v1alpha1",
            "kind": "CiliumHybrid",
            "metadata": {"name": "default"},
            "spec": self.spec(**changes) if spec is None else spec,
        }
        self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))

    def reconcile(self, value: str) -> None:
        """Set the annotation that asks the operator to try again, or to resume from a foreign revision."""
        annotation = f"ciliumhybrid.io/reconcile={value}"
        self.cluster.kubectl("annotate", "--overwrite", "ciliumhybrid", "default", annotation)

    def resource(self) -> dict[str, Any]:
        """Return the resource."""
        found: dict[str, Any] = self.cluster.request("GET", "/apis/ciliumhybrid.io/v1alpha1/ciliumhybrids/default")
        return found

    def status(self) -> dict[str, Any]:
        """Return the status of the resource, empty before its first write."""
        status: dict[str, Any] = self.resource().get("status", {})
        return status

    def condition(self, kind: str) -> dict[str, Any] | None:
        """Return a condition by its type, None if it is absent."""
        conditions = self.status().get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == kind), None)

    def wait_for(self, reason: str, *, ready: str | None = None, timeout: float = LIMIT) -> dict[str, Any]:
        """Return condition `Ready` as soon as it has this reason and observes the current generation."""

        def reached() -> dict[str, Any] | None:
            resource = self.resource()
            conditions = resource.get("status", {}).get("conditions", [])
            condition: dict[str, Any] | None = next((found for found in conditions if found["type"] == "Ready"), None)
            current = condition is not None and condition["observedGeneration"] == resource["metadata"]["generation"]
            if condition is None or not current or condition["reason"] != reason:
                observed.append(condition)
                return None
            return condition if ready in {None, condition["status"]} else None

        observed: list[Any] = []
        try:
            return wait_until(reached, timeout=timeout, what=f"Ready has reason {reason}", needs=[self.operator])
        except AssertionError as late:
            late.add_note(f"last Ready: {observed[-1] if observed else None}\n{self.operator.tail(60)}")
            raise

    def revisions(self) -> list[tuple[int, str]]:
        """Return number and status of every Helm revision of release `cilium`."""
        secrets = self.cluster.objects("secrets", "kube-system", selector=RELEASE_SECRETS)
        all_labels = [secret["metadata"]["labels"] for secret in secrets]
        return sorted((int(labels["version"]), labels["status"]) for labels in all_labels)

    def agents(self) -> dict[str, str]:
        """Return the UID of the agent pod on each node."""
        pods = self.cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
        # A pod that has just been created has no node yet.
        return {pod["spec"]["nodeName"]: pod["metadata"]["uid"] for pod in pods if "nodeName" in pod["spec"]}

    def restarted(self, before: Mapping[str, str]) -> set[str]:
        """Return the nodes whose agent pod is not the one in `before`."""
        return {node for node, pod in self.agents().items() if before.get(node) != pod}

    @property
    def verified(self) -> str | None:
        """The last revision on which all agents were healthy, as recorded by the operator."""
        record = self.cluster.get("configmap", "cilium-hybrid-applied", "kube-system") or {}
        revision: str | None = record.get("data", {}).get("verifiedRevision")
        return revision

    def wait_until_verified(self, revision: str = "1") -> None:
        """Wait until the operator has recorded this revision as verified, so that it can roll back to it."""
        what = f"revision {revision} is verified"
        wait_until(lambda: self.verified == revision, timeout=20, what=what, needs=[self.operator])

    def wait_until_updated(self, count: int) -> None:
        """Wait until so many of five nodes are updated; those that still wait for their update stay ready."""
        expected = {"summary": "5/5", "updated": f"{count}/5"}

        def updated() -> bool:
            status = self.status()
            nodes = {key: status["nodes"][key] for key in expected}
            return status.get("rollout", {}).get("updated") == count and nodes == expected

        wait_until(updated, timeout=90, what=f"{count} of 5 nodes are updated", needs=[self.operator])

    def running(self) -> dict[str, str]:
        """Return the version in the image of the agent pod on each node."""
        pods = self.cluster.objects("pods", "kube-system", selector="k8s-app=cilium")
        return {
            pod["spec"]["nodeName"]: pod["spec"]["containers"][0]["image"].rpartition(":")[2].removeprefix("v")
            for pod in pods
            if "nodeName" in pod["spec"]
        }

    def calls(self, verb: str, resource: str) -> list[dict[str, Any]]:
        """Return the operator's answered requests with this verb and resource, from the audit log."""
        return [
            event
            for event in self.cluster.audit_events()
            if event["user"]["username"] == USER
            and event["verb"] == verb
            and event.get("objectRef", {}).get("resource") == resource
        ]

    def written(self) -> list[list[dict[str, Any]]]:
        """Return the resource after each status write by the operator, from the audit log.

        Each list is a sequence of writes that no other client interrupted. None is missing between them, as may be the
        case when the API server is killed.
        """
        runs: list[list[dict[str, Any]]] = []
        before = None
        for event in self.cluster.audit_events():
            resource = event.get("responseObject", {})
            if resource.get("kind") != "CiliumHybrid" or event["responseStatus"]["code"] != HTTPStatus.OK:
                continue
            at = event["requestReceivedTimestamp"]
            outages = sum(killed_at < at for killed_at in self.cluster.killed_api_server_at)
            writer = (event["user"]["username"], resource["metadata"]["uid"], outages)
            if writer[0] == USER:
                runs += [[]] if writer != before else []
                runs[-1].append({**resource, "at": at})
            before = writer
        return runs

    def http_get(self, path: str) -> tuple[int, str]:
        """Return status code and body of a path of the operator's metrics and probes server."""
        address = self.operator.env["CILIUM_HYBRID_METRICS_ADDR"]
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as response:
            return response.status, response.read().decode()

    def start_api_server(self) -> None:
        """Start the API server again, and the operator too if the outage was longer than its Lease allows.

        The kubelet would start the operator. An API server that has just become ready may refuse the operator's account
        for some seconds, so the operator is certain to keep running only after it has renewed its Lease.
        """
        self.cluster.start_api_server()
        found = self._lease_renewal()
        wait_until(
            lambda: not self.operator.alive or self._lease_renewal() != found,
            timeout=30,
            what="the operator renews its Lease or exits",
        )
        if not self.operator.alive:
            self.operator.start()

    def _lease_renewal(self) -> str | None:
        lease = self.cluster.get("lease", LEASE, NAMESPACE) or {}
        renewal: str | None = lease.get("spec", {}).get("renewTime")
        return renewal

    def install_by_hand(self) -> None:
        """Install Cilium with the commands of the AWS guide and the pool of the default spec."""
        # Helm does not wait until the objects of a previous uninstall are deleted.
        self.cluster.kubectl("wait", "--for=delete", "namespace/cilium-secrets", "--timeout=30s")
        pool = "ipam.operator.clusterPoolIPv4PodCIDRList={10.85.0.0/16},ipam.operator.clusterPoolIPv4MaskSize=25"
        helm = ("install", "cilium", self.registry.ref, "--version", VERSION, "-n", "kube-system", "--set", pool)
        self.cluster.helm(*helm, env=self.registry.env)

    def restore(self) -> None:
        """Undo every fault that a test may have injected, and clean up."""
        if not self.operator.alive:
            self.operator.start()
        self.registry.serve()
        for node in NODES:
            self.cluster.reconnect(node)
            self.cluster.repair_agent(node)
        self.clean()

    def clean(self) -> None:
        """Delete the resource, Cilium and the operator's record, as if nothing had been installed."""
        cluster = self.cluster
        cluster.kubectl("delete", "ciliumhybrid", "--all", "--timeout=60s")
        if self.revisions():
            cluster.helm("uninstall", "cilium", "-n", "kube-system", "--ignore-not-found")
        secrets = ("secrets", "-n", "kube-system", "-l", RELEASE_SECRETS)
        cluster.kubectl("delete", *secrets)
        kept = ("configmap/cilium-hybrid-applied", "secret/cilium-hybrid-verified")
        cluster.kubectl("delete", "-n", "kube-system", "--ignore-not-found", *kept)
        cluster.kubectl("wait", "--for=delete", "pods", "-n", "kube-system", "-l", "k8s-app=cilium", "--timeout=60s")


@contextmanager
def start_site(folder: Path, registry: Registry, *, hybrid: int = 5, cloud: int = 2) -> Iterator[Site]:
    """Yield a cluster with deploy/ applied and an operator that is not started.

    At the end, every status that the operator wrote is checked against the rules of kstatus.
    """
    with Cluster.start(folder, hybrid=hybrid, cloud=cloud) as cluster:
        install(cluster)
        env = {"SSL_CERT_FILE": str(registry.ca_file), **PLAIN_LOG}
        site = Site(cluster, registry, operator(cluster, env=env))
        yield site
        broken = [violation for run in site.written() for violation in violations(run)]
        assert not broken, "\n".join(broken)
