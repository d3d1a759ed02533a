"""The model cluster with the processes of the operator in it. It has no randomness: the same events do the same."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from cilium_hybrid.plan.observation import ForeignPod, HybridNode, SandboxFailure
from cilium_hybrid.plan.record import Record
from simulation.controllers import Controllers, unplaced
from simulation.coverage import Coverage
from simulation.faults import Fault
from simulation.helm import HelmStorage
from simulation.ledger import Ledger
from simulation.machines import Machines
from simulation.objects import Pod
from simulation.ports import Pause
from simulation.preflight import Preflight
from simulation.process import LEASE_DEADLINE, TAKEOVER_SECONDS, Process
from simulation.registry import Registry
from simulation.timeline import Timeline
from simulation.users import Users
from simulation.views import KINDS, OthersState, PodsState, Store, node_fact
from simulation.writes import Write

RESTART_SECONDS: Final = 3
"""From the end of a process to the start of the next one in the same pod."""
Judge = Callable[["World", Write], Sequence[str]]
"""Returns what a write violates; it is called before the write takes effect."""


class World:
    """All of the model. `violations` are what its invariants found, `judge` judges each write.

    `acted_at` is when anything but a write of the status happened last.
    """

    def __init__(self, judge: Judge) -> None:
        self.timeline = Timeline()
        self.store = Store()
        self.registry = Registry()
        self.ledger = Ledger(self)
        self.coverage = Coverage()
        self.machines = Machines(self)
        self.controllers = Controllers(self)
        self.helm = HelmStorage(self)
        self.preflight = Preflight(self)
        self.processes: list[Process] = []
        self.users = Users(self)
        self.api_up = True
        self.record: Record | None = None
        self.record_version = ""
        self.others = OthersState()
        self.policy = ""
        self.peering_policies: tuple[str, ...] = ()
        self.used_addresses = ""
        self.faults: list[Fault] = []
        self.violations: list[str] = []
        self.error = ""
        self.traced: list[str] = []
        self.writes = 0
        self.own_node: str | None = None
        self.acted_at = 0.0
        self.skew = 0.0
        self._judge = judge
        self._records = 0
        self._starting = False
        self._touched = set(KINDS)
        self._states: dict[str, Callable[[], Any]] = {
            "agent_set": self.controllers.agent_set,
            "cilium_nodes": self.controllers.cilium_nodes,
            "config": lambda: self.controllers.config,
            "nodes": self._node_facts,
            "operator": self.controllers.operator,
            "others": lambda: self.others,
            "pods": self._pod_facts,
            "preflight": self.preflight.observation,
            "record": lambda: (self.record, self.record_version),
            "revisions": self.helm.facts,
            "sandboxes": self._sandboxes,
        }
        self.publish()
        self._start("a", took_over=False)

    # Time.

    def advance(self, seconds: float) -> None:
        """Let time pass: everything that is due happens, and the processes reconcile."""
        end = self.timeline.now + seconds
        while not self.violations:
            at = min(self.timeline.next_at, *(process.wake_at for process in self.processes), end)
            self.timeline.now = max(at, self.timeline.now)
            happened = self.timeline.run_due()
            self.publish()
            stepped = self._step_processes()
            if not happened and not stepped and self.timeline.now >= end:
                return

    def _step_processes(self) -> bool:
        stepped = False
        for process in tuple(self.processes):
            process.deliver()
            if process.wake_at <= self.timeline.now:
                process.step()
                self.publish()
                stepped = True
        self.processes = [process for process in self.processes if process.alive]
        self._ensure_leader()
        return stepped

    # The processes of the operator.

    @property
    def leader(self) -> Process | None:
        """The process that holds the Lease."""
        return next((process for process in self.processes if process.may_act), None)

    def _ensure_leader(self) -> None:
        if self.leader is None and not self._starting:
            self.start_later(RESTART_SECONDS, "a", took_over=False)

    def start_later(self, seconds: float, identity: str, *, took_over: bool) -> None:
        """Start a process in so many seconds."""
        self._starting = True
        self.timeline.after(seconds, partial(self._start, identity, took_over=took_over))

    def _start(self, identity: str, *, took_over: bool) -> None:
        if not self.api_up:
            self.timeline.after(5, partial(self._start, identity, took_over=took_over))
            return
        self._starting = False
        if self.leader is None:
            self.trace(f"process {identity} starts")
            own = self.own_node
            self.processes.append(Process(self, identity, took_over=took_over, skew=self.skew, own_node=own))

    def change_leader(self) -> None:
        """Let the leader end and another replica take over."""
        if (leader := self.leader) is not None:
            leader.die()
            self.processes.remove(leader)
            self.start_later(TAKEOVER_SECONDS, "b", took_over=True)

    def froze(self, process: Process, seconds: float) -> None:
        """Let the Lease of a frozen process expire."""
        self.trace("process freezes")
        if seconds > LEASE_DEADLINE:
            self.timeline.after(LEASE_DEADLINE, self._fence, process)
            # A process that resumes before the other replica takes over ends.
            self._starting = True
            self.timeline.after(TAKEOVER_SECONDS, partial(self._start, "b", took_over=True))

    @staticmethod
    def _fence(process: Process) -> None:
        process.fenced = True

    def wake_processes(self) -> None:
        """Let the watch of the resource start a reconciliation."""
        for process in self.processes:
            process.wake()

    def next_fault(self, pause: Pause) -> Fault | None:
        """Return the fault at this call."""
        for fault in self.faults:
            if not fault.concerns(pause):
                continue
            fault.calls -= 1
            if fault.calls <= 0:
                self.faults.remove(fault)
                self.trace(f"fault {fault.kind} {pause.phase} {pause.call}")
                return fault
        return None

    # The API server.

    def lose_api(self, seconds: float) -> None:
        """Let the API server be away."""
        if self.api_up:
            self.api_up = False
            self.timeline.after(seconds, self._restore_api)
            self.timeline.after(LEASE_DEADLINE, self._lose_lease)

    def _restore_api(self) -> None:
        self.api_up = True
        self.machines.sync_all()
        self.controllers.wake()

    def _lose_lease(self) -> None:
        if not self.api_up:
            for process in self.processes:
                process.fenced = True
                process.wake()

    def put_record(self, record: Record | None) -> None:
        """Write or delete the record."""
        self._records += 1
        self.record_version = "" if record is None else str(self._records)
        self.record = None if record is None else replace(record, resource_version=self.record_version)
        self.touch("record")

    def policies(self) -> Sequence[str]:
        """Return what an admission policy says of the objects of a release."""
        return [f"DaemonSet kube-system/cilium: {self.policy}"] if self.policy else []

    def agent_pod_refusals(self) -> Sequence[str]:
        """Return why the API server would refuse an agent pod after one present agent is gone."""
        quota = self.controllers.quota
        count = self.controllers.count_pods()
        if quota is not None and count > quota:
            return [f"exceeded quota: agents, used: {count}, limited: {quota}"]
        return []

    def find_pod(self, name: str) -> Pod | None:
        """Return an agent pod by its name, also one that cannot be scheduled."""
        nodes = self.machines.nodes.values()
        pods = [*(pod for node in nodes for pod in node.pods), *(node.pending for node in nodes if node.pending)]
        return next((pod for pod in pods if pod.name == name), None)

    # What the watches show.

    def touch(self, *kinds: str) -> None:
        """Note that objects of these kinds have changed."""
        self._touched.update(kinds)

    def publish(self) -> None:
        """Let the watches see what has changed."""
        for kind in sorted(self._touched):
            self.store.put(kind, self._states[kind]())
        self._touched.clear()

    def _node_facts(self) -> dict[str, HybridNode]:
        return {node.name: node_fact(node) for node in self.machines.nodes.values() if node.labelled}

    def _pod_facts(self) -> PodsState:
        nodes = self.machines.nodes.values()
        return PodsState(
            agents={node.name: pod.fact for node in nodes if (pod := node.pod) is not None},
            terminating={
                node.name: found
                for node in nodes
                if (found := frozenset(pod.uid for pod in node.pods if pod.terminating))
            },
            nodes=frozenset(node.name for node in nodes if node.pods),
            unplaced={node.name: pending for node in nodes if (pending := unplaced(node)) is not None},
            create_failure=self.controllers.create_failure,
        )

    def _sandboxes(self) -> dict[str, SandboxFailure]:
        message = "FailedCreatePodSandBox: plugin type cilium-cni failed (add): connection refused"
        nodes = self.machines.nodes.values()
        return {node.name: SandboxFailure(node.sandbox_failures, message) for node in nodes if node.sandbox_failures}

    def set_foreign_cni(self, name: str | None) -> None:
        """Let another CNI run a pod on a node, or end it."""
        pods = () if name is None else (ForeignPod("kube-system/calico-node-x", name),)
        self.others = replace(self.others, pods=pods)
        self.touch("others")

    # What happened.

    def trace(self, text: str) -> None:
        """Add a line to the trace."""
        self.acted_at = self.timeline.now
        self.traced.append(f"{self.timeline.now:10.1f} {text}")

    def check(self, write: Write) -> None:
        """Judge a write before it takes effect."""
        if write.status is not None:
            self.coverage.reported(write.status)
        else:
            self.writes += 1
            self.trace(f"{write.kind} {write.expected.number if write.expected else ''}")
        for violation in self._judge(self, write):
            self.violated(violation)

    def violated(self, name: str, message: str = "", error: BaseException | None = None) -> None:
        """Note a violation."""
        if error is not None:
            self.error = "".join(traceback.format_exception(error))
        self.violations.append(f"{name}: {message}" if message else name)
