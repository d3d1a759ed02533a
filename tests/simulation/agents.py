"""The agent pods: how kubelets start and end them, and how agents of a release behave (see `Badness`)."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from cilium_hybrid.plan.observation import AgentPod
from simulation.objects import Badness, Node, Pod, Template
from simulation.timeline import moment

if TYPE_CHECKING:
    from simulation.world import World

TERMINATION: Final = 2
START: Final = 2
MAX_BACKOFF: Final = 160


class Agents(ABC):
    """The agent pods on all nodes, which are known by name."""

    def __init__(self, world: "World") -> None:
        self._world, self._timeline = world, world.timeline
        self.nodes: dict[str, Node] = {}
        self._created = 0

    @abstractmethod
    def reboot(self, node: Node, seconds: float) -> None:
        """Turn a node off, and on again after so many seconds."""

    @abstractmethod
    def disconnect(self, node: Node, cut_by: str = "") -> None:
        """Cut the uplink of a node."""

    def _uid(self, kind: str) -> str:
        self._created += 1
        return f"{kind}-{self._created}"

    def create_pod(self, node: Node, template: Template) -> None:
        """Create the agent pod of a node."""
        uid = self._uid("pod")
        fact = AgentPod(f"cilium-{uid}", node.name, False, template.digest, uid=uid, version=template.version)
        pod = Pod(uid, node.name, template, self._timeline.now, fact, not_ready_since=self._timeline.now)
        node.pending = pod
        self._world.touch("pods")
        self.schedule(node)

    def schedule(self, node: Node) -> None:
        """Let the scheduler bind the pending pod of a node if it fits."""
        pod = node.pending
        if pod is None or node.full or pod.template.badness is Badness.DOES_NOT_FIT:
            return
        node.pending = None
        node.pods.append(pod)
        self._world.touch("pods")
        if node.reachable:
            self._begin(pod)

    def delete_pending(self, node: Node) -> None:
        """Delete the pending pod of a node, which no kubelet has to end."""
        if node.pending is not None:
            node.pending = None
            self._world.touch("pods")
            self._world.controllers.wake()

    def delete_pod(self, pod: Pod) -> None:
        """Delete a pod: it terminates once its kubelet can be reached."""
        if pod.terminating:
            return
        pod.terminating = True
        self._show(pod, replace(pod.fact, terminating=True))
        node = self.nodes.get(pod.node)
        if node is not None and node.reachable:
            self._timeline.after(TERMINATION, self._remove, pod)

    def kill_container(self, pod: Pod) -> None:
        """Let the agent's container exit once, as when the kernel kills it for lack of memory."""
        if pod.running and not pod.terminating:
            self._exit(pod, "agent: OOMKilled, exit code 137")

    def report(self, pod: Pod) -> None:
        """Write the status of a pod to the API server, if its kubelet can."""
        node = self.nodes.get(pod.node)
        if node is None or pod not in node.pods or not node.reachable or not self._world.api_up:
            return
        since = pod.fact.ready_since
        if pod.ready and not pod.fact.ready:
            since = moment(self._timeline.now + 60 * node.skew)
        fact = AgentPod(
            name=pod.fact.name,
            node=pod.node,
            ready=pod.ready,
            config_digest=pod.fact.config_digest,
            failure_message=pod.failure,
            terminating=pod.terminating,
            started=pod.running,
            ready_since=since if pod.ready else None,
            crash_message="" if pod.ready else pod.crash,
            uid=pod.uid,
            exits=pod.exits,
            image_failing=pod.image_failing,
            version=pod.fact.version,
        )
        self._show(pod, fact)

    def _show(self, pod: Pod, fact: AgentPod) -> None:
        if fact == pod.fact:
            return
        if fact.ready != pod.fact.ready:
            pod.shown_ready_at = self._timeline.now if fact.ready else None
            pod.not_ready_since = self._timeline.now
            if fact.ready and pod.first_ready_at is None:
                pod.first_ready_at = self._timeline.now
        pod.fact = fact
        self._world.touch("pods")
        self._world.controllers.wake()
        if fact.ready:
            self._world.ledger.agent_ready(pod)

    def _begin(self, pod: Pod) -> None:
        pod.start += 1
        self._timeline.after(START + self.nodes[pod.node].index % 3, self._start, pod, pod.start)

    def _runs(self, pod: Pod, start: int) -> Node | None:
        """Return the node of a pod if what was planned for this start of it still holds."""
        node = self.nodes.get(pod.node)
        held = node is not None and pod in node.pods and pod.start == start and node.powered and not pod.terminating
        return node if held else None

    def _start(self, pod: Pod, start: int) -> None:
        node = self._runs(pod, start)
        if node is None:
            return
        badness = pod.template.badness
        if node.disk_full:
            self._fail(pod, "CreateContainerError: no space left on device")
            self._timeline.after(60, self._start, pod, start)
        elif badness is Badness.IMAGE_MISSING:
            pod.image_failing, pod.image_failing_since = True, self._timeline.now
            self._fail(pod, f'ImagePullBackOff: Back-off pulling image "cilium:v{pod.template.version}": not found')
        elif badness is Badness.IMAGE_TIMEOUT and pod.attempts < 3:
            pod.attempts += 1
            self._fail(pod, "ErrImagePull: dial tcp: i/o timeout")
            self._timeline.after(40, self._start, pod, start)
        else:
            self._started(pod, node)

    def _fail(self, pod: Pod, message: str) -> None:
        pod.failure = message
        self.report(pod)

    def _started(self, pod: Pod, node: Node) -> None:
        pod.running, pod.failure, pod.image_failing = True, "", False
        self._world.controllers.register(node.name)
        self.report(pod)
        badness = pod.template.badness
        if badness is Badness.CRASH or (badness is Badness.CRASH_ON_SOME and node.index % 2):
            self._timeline.after(2, self._crash, pod, pod.start)
        elif badness is Badness.PANICS_KERNEL:
            self._timeline.after(1, self._panic, pod, pod.start)
        elif badness is not Badness.NEVER_READY:
            self._timeline.after(45 if badness is Badness.SLOW else 2, self._check_ready, pod, pod.start)

    def _crash(self, pod: Pod, start: int) -> None:
        if self._runs(pod, start) is not None and pod.running:
            self._exit(pod, "agent: level=fatal msg=x, exit code 1")

    def _exit(self, pod: Pod, message: str) -> None:
        pod.exits, pod.start = pod.exits + 1, pod.start + 1
        pod.unseen_exits += not self._world.api_up
        message = f"CrashLoopBackOff: {message}"
        pod.running, pod.ready, pod.crash = False, False, message
        pause = 1 if pod.exits == 1 else min(10 * 2 ** (min(pod.exits, 9) - 2), MAX_BACKOFF)
        pod.failure = message if pod.exits > 1 else ""
        self.report(pod)
        self._timeline.after(pause, self._start, pod, pod.start)

    def _panic(self, pod: Pod, start: int) -> None:
        node = self._runs(pod, start)
        if node is not None:
            self.reboot(node, 30)

    def check_ready(self, name: str) -> None:
        """Let the agent of a node get Ready, now that the node has a block."""
        node = self.nodes.get(name)
        pod = None if node is None else node.pod
        if pod is not None and pod.running and pod.template.badness is not Badness.NEVER_READY:
            self._timeline.after(1, self._check_ready, pod, pod.start)

    def _check_ready(self, pod: Pod, start: int) -> None:
        node = self._runs(pod, start)
        if node is None or not pod.running or pod.ready or not self._world.controllers.blocks.get(node.name):
            return
        pod.ready, pod.ready_at = True, self._timeline.now
        self.report(pod)
        match pod.template.badness:
            case Badness.CUTS_UPLINK:
                self._timeline.after(2, self._cut, pod, start)
            case Badness.CRASH_LATE:
                self._timeline.after(6, self._crash, pod, start)
            case Badness.FAILS_SANDBOXES:
                self._timeline.after(5, self._fail_sandbox, pod, start)
            case _:
                pass

    def _cut(self, pod: Pod, start: int) -> None:
        node = self._runs(pod, start)
        if node is not None:
            self.disconnect(node, pod.uid)

    def _fail_sandbox(self, pod: Pod, start: int) -> None:
        node = self._runs(pod, start)
        if node is None or not pod.running:
            return
        if node.reachable and self._world.api_up:
            node.sandbox_failures += 1
            self._world.touch("sandboxes")
        self._timeline.after(10, self._fail_sandbox, pod, start)

    def _remove(self, pod: Pod) -> None:
        node = self.nodes.get(pod.node)
        if node is None or pod not in node.pods or not node.reachable or node.stuck:
            return
        node.pods.remove(pod)
        pod.start += 1
        self._world.touch("pods")
        self._world.controllers.wake()
