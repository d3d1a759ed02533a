"""What the tests of histories share: an installed site, edits of its spec, other people's edits, and what was seen."""

import json
from typing import Any

from e2e.site import NODES, VERSION, Site
from testbed.api import MERGE_PATCH
from testbed.processes import wait_until

FAST = {"soak": "1s", "progressDeadline": "5m"}
NODE_PATH = "/api/v1/nodes"


def broken(tag: str = "v1") -> dict[str, Any]:
    """Return values with an agent image that crashes on every node."""
    return {"image": {"override": f"registry.example/cilium/broken:{tag}"}}


def edit(
    site: Site, values: dict[str, Any] | None = None, *, rollout: dict[str, Any] | None = None, **spec: Any
) -> None:
    """Apply a spec with quick rollouts, and with `spec` and `rollout` on top."""
    upgrade = {"rollout": FAST | (rollout or {})} | spec.pop("upgrade", {})
    changes: dict[str, Any] = {"upgrade": upgrade} | ({} if values is None else {"values": values}) | spec
    site.apply(**changes)


def install(site: Site, *, rollout: dict[str, Any] | None = None, **spec: Any) -> dict[str, str]:
    """Install Cilium and wait until its revision is verified; return the agents."""
    edit(site, rollout=rollout, **spec)
    site.wait_for("InSync", ready="True")
    site.wait_until_verified()
    return site.agents()


def upgrade_by_hand(site: Site, *args: str, version: str = VERSION) -> None:
    """Run `helm upgrade` as an admin does, with the values of the running release."""
    chart = (site.registry.ref, "--version", version, "-n", "kube-system")
    # The operator owns fields of some objects, and an admin who insists takes them over.
    flags = ("--reset-then-reuse-values", "--force-conflicts", *args)
    site.cluster.helm("upgrade", "cilium", *chart, *flags, env=site.registry.env)


def label_revision(site: Site, number: int, **labels: str) -> None:
    """Set labels of a revision's Secret, from which Helm and the operator read its status."""
    name = f"secret/sh.helm.release.v1.cilium.v{number}"
    pairs = [f"{key}={value}" for key, value in labels.items()]
    site.cluster.kubectl("label", "-n", "kube-system", name, *pairs, "--overwrite")


def message(site: Site, kind: str = "Ready") -> str:
    """Return the message of a condition, empty if it is absent."""
    condition = site.condition(kind)
    return "" if condition is None else str(condition["message"])


def findings(site: Site) -> str:
    """Return all findings in one text."""
    return "\n".join(site.status().get("findings", []))


def wait_for_message(site: Site, words: str, *, timeout: float = 60) -> None:
    """Wait until the message of condition Ready contains these words."""
    what = f"Ready says {words!r}"
    wait_until(lambda: words in message(site) or None, timeout=timeout, what=what, needs=[site.operator])


def reasons(site: Site) -> set[str]:
    """Return every reason that condition Ready of this resource has had, from the audit log."""
    uid = site.resource()["metadata"]["uid"]
    return {
        condition["reason"]
        for run in site.written()
        for resource in run
        if resource["metadata"]["uid"] == uid
        for condition in resource["status"].get("conditions", [])
        if condition["type"] == "Ready"
    }


def events(site: Site) -> list[dict[str, Any]]:
    """Return the Events about the CiliumHybrid."""
    found: list[dict[str, Any]] = site.cluster.request("GET", "/api/v1/events")["items"]
    return [event for event in found if event["involvedObject"]["kind"] == "CiliumHybrid"]


def deleted_agents(site: Site) -> int:
    """Return how many agent pods the operator has deleted in this cluster, from the audit log."""
    return len(site.calls("delete", "pods"))


def restarts_on(site: Site, node: str) -> int:
    """Return how often the container of the agent pod on a node was restarted, 0 without a pod."""
    pods = site.cluster.request("GET", "/api/v1/namespaces/kube-system/pods?labelSelector=k8s-app%3Dcilium")["items"]
    on_node = [pod for pod in pods if pod["spec"].get("nodeName") == node]
    statuses = [status for pod in on_node for status in pod.get("status", {}).get("containerStatuses", [])]
    return max((int(status["restartCount"]) for status in statuses), default=0)


def wait_for_deletions(site: Site, count: int) -> None:
    """Wait until the operator has deleted so many agent pods in this cluster."""
    what = f"the operator has deleted {count} agent pods"
    wait_until(lambda: deleted_agents(site) >= count, timeout=60, what=what, needs=[site.operator])


def wait_for_restarts(site: Site, node: str, count: int) -> None:
    """Wait until the container of the agent pod on a node was restarted so often."""
    what = f"the agent on {node} was restarted {count} times"
    wait_until(lambda: restarts_on(site, node) >= count, timeout=60, what=what, needs=[site.operator])


def foreign_pod(node: str) -> str:
    """Return the manifest of a pod of another CNI, default/calico-node-x."""
    metadata = {"name": "calico-node-x", "namespace": "default", "labels": {"k8s-app": "calico-node"}}
    container = {"name": "calico-node", "image": "registry.example/calico/node:v3"}
    spec = {
        "nodeName": node,
        "hostNetwork": True,
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "terminationGracePeriodSeconds": 0,
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def restore_nodes(site: Site) -> None:
    """Add the hybrid nodes again that a test has deleted or unlabelled."""
    present = {node["metadata"]["name"] for node in site.cluster.request("GET", NODE_PATH)["items"]}
    for name in NODES:
        if name not in present:
            site.cluster.add_node(name)
        else:
            labels = {"eks.amazonaws.com/compute-type": "hybrid"}
            site.cluster.request("PATCH", f"{NODE_PATH}/{name}", {"metadata": {"labels": labels}}, kind=MERGE_PATCH)
