"""The hybrid nodes: kubelets, links, power, and the node controller that marks lost nodes."""

from dataclasses import replace
from typing import Final

from simulation.agents import START, TERMINATION, Agents
from simulation.objects import Node

NODE_LOST_AFTER: Final = 40
"""Seconds without a heartbeat after which the node controller sets a node to Unknown."""
LEASE_RENEWED_EVERY: Final = 10
"""Seconds between two renewals of the Lease of a node."""


class Machines(Agents):
    """All nodes of the model, by name. Agents behave as their release does (see `Badness`)."""

    def join(self, index: int, zone: str, kernel: str = "6.8.0-51-generic") -> None:
        """Let a node register; nothing happens if it exists."""
        name = f"mi-{index:016}"
        if name in self.nodes:
            return
        node = Node(name, index, self._uid("node"), zone, kernel, tainted=True)
        self.nodes[name] = node
        self._world.touch("nodes")
        self._world.controllers.wake()

    def delete(self, node: Node) -> None:
        """Delete the Node object; its pods are collected with it."""
        del self.nodes[node.name]
        for pod in node.pods:
            pod.start += 1
        node.pods.clear()
        self._world.touch("nodes", "pods", "sandboxes")
        self._world.ledger.node_gone(node.name)
        self._world.controllers.node_deleted(node.name)

    def change(self, node: Node, **fields: object) -> None:
        """Change fields of a node that nothing else follows from."""
        for name, value in fields.items():
            setattr(node, name, value)
        self._world.touch("nodes")
        self._world.controllers.wake()

    def label(self, node: Node, *, hybrid: bool) -> None:
        """Add or remove the label of hybrid nodes."""
        if node.labelled and not hybrid:
            self._world.ledger.node_gone(node.name)
        self.change(node, labelled=hybrid)

    def disconnect(self, node: Node, cut_by: str = "") -> None:
        """Cut the uplink of a node; its pods keep running."""
        # An agent that cuts off its node during an outage of the site does so all the same.
        node.cut_by = cut_by or ("" if node.linked else node.cut_by)
        if node.linked:
            node.linked = False
            self._lost(node)

    def renewals(self, name: str) -> int:
        """Return how often the kubelet of a node has renewed its Lease; 0 without such a node."""
        node = self.nodes.get(name)
        if node is None:
            return 0
        until = self._timeline.now if node.unreachable_since is None else node.unreachable_since
        return int(until // LEASE_RENEWED_EVERY)

    def reconnect(self, node: Node) -> None:
        """Restore the uplink; an agent that cut it will do so again."""
        if not node.linked:
            node.linked = True
            if node.cut_by and node.ready != "Unknown":
                node.healed_unseen_at = self._timeline.now
            self._found(node)
            if node.cut_by and any(pod.uid == node.cut_by for pod in node.pods):
                self._timeline.after(8, self.disconnect, node, node.cut_by)

    def reboot(self, node: Node, seconds: float) -> None:
        """Turn a node off, and on again after so many seconds."""
        if not node.powered:
            return
        node.powered = False
        for pod in node.pods:
            pod.start += 1
        self._lost(node)
        self._timeline.after(seconds, self._boot, node)

    def set_kubelet(self, node: Node, *, healthy: bool) -> None:
        """Let the kubelet report the node as Ready or not."""
        node.kubelet_healthy = healthy
        if node.reachable:
            self._timeline.after(1, self._report_node, node)

    def blink(self, node: Node, seconds: float) -> None:
        """Let a healthy agent fail its readiness probe for a moment."""
        pod = node.pod
        if pod is not None and pod.ready:
            pod.ready = False
            self.report(pod)
            self._timeline.after(seconds, self._check_ready, pod, pod.start)

    def _boot(self, node: Node) -> None:
        if self.nodes.get(node.name) is not node:
            return
        node.powered, node.boot = True, node.boot + 1
        for pod in node.pods:
            if pod.running:
                # The kubelet finds that the containers have ended: exit code 255.
                pod.exits, pod.crash = pod.exits + 1, "agent: exit code 255"
            pod.running, pod.ready, pod.failure = False, False, ""
            self._timeline.after(START, self._start, pod, pod.start)
        self._found(node)

    def _lost(self, node: Node) -> None:
        if node.unreachable_since is None:
            node.unreachable_since = self._timeline.now
            self._timeline.after(NODE_LOST_AFTER, self._mark_unknown, node, self._timeline.now)

    def _mark_unknown(self, node: Node, since: float) -> None:
        if node.unreachable_since != since or self.nodes.get(node.name) is not node:
            return
        if not self._world.api_up:
            self._timeline.after(5, self._mark_unknown, node, since)
            return
        node.ready = "Unknown"
        for pod in node.pods:
            self._show(pod, replace(pod.fact, ready=False))
        self._world.touch("nodes")
        self._world.controllers.wake()

    def _found(self, node: Node) -> None:
        if node.reachable and node.unreachable_since is not None:
            node.unreachable_since = None
            self._timeline.after(1, self._report_node, node)
            # The status of the pods follows some seconds later: until then every pod of the node is NotReady.
            self._timeline.after(4, self._sync_pods, node)

    def _report_node(self, node: Node) -> None:
        if node.reachable and self._world.api_up:
            node.ready = "True" if node.kubelet_healthy else "False"
            self._world.touch("nodes")
            self._world.controllers.wake()

    def _sync_pods(self, node: Node) -> None:
        if not node.reachable:
            return
        for pod in tuple(node.pods):
            if pod.terminating:
                self._timeline.after(TERMINATION, self._remove, pod)
            elif pod.start == 0:
                self._begin(pod)
            self.report(pod)

    def sync_all(self) -> None:
        """Let every kubelet report, after the API server was away."""
        for node in self.nodes.values():
            self._report_node(node)
            self._sync_pods(node)

    def unstick(self, node: Node) -> None:
        """Let the pods of a node end that did not terminate."""
        node.stuck = False
        self._sync_pods(node)
