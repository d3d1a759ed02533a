"""A small site whose nodes and agents a test changes by hand, and a rollout that is planned in it tick by tick."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import count
from typing import Any

from builders import DIGEST, NOW, OTHER_DIGEST
from cilium_hybrid.api.upgrade import DEFAULT_GROUP, Rollout
from cilium_hybrid.plan.observation import (
    AgentPod,
    AgentSet,
    CiliumNode,
    CiliumOperator,
    HybridNode,
    Observation,
    SandboxFailure,
    UnplacedAgent,
)
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord
from cilium_hybrid.plan.rollout.plan import RolloutInput, RolloutPlan, RolloutStep
from cilium_hybrid.plan.rollout.rollout import plan_rollout
from cilium_hybrid.plan.rollout.timers import advance_timers, healthy_outdated

CURRENT = CiliumOperator(2, 2, observed=True, current=True)
READY: Mapping[str, Any] = {"ready": True, "started": True}
STARTED: Mapping[str, Any] = {"ready": False, "started": True}
STARTING: Mapping[str, Any] = {"ready": False, "started": False}
CRASHING: Mapping[str, Any] = {
    "ready": False,
    "started": True,
    "exits": 2,
    "failure_message": "CrashLoopBackOff: fatal: cannot load program",
}
REFUSED: Mapping[str, Any] = {
    "ready": False,
    "image_failing": True,
    "failure_message": "ErrImagePull: manifest unknown",
}


def settings(**edit: Any) -> Rollout:
    return Rollout.model_validate({"soak": "30s", "progressDeadline": "10m"} | edit)


@dataclass
class Site:
    """All agents run `OTHER_DIGEST` at the start and are restarted to run `digest`; `new` says how new agents are."""

    zones: Mapping[str, str]
    rules: Rollout = field(default_factory=settings)
    digest: str = DIGEST
    new: Callable[[str], Mapping[str, Any]] = lambda _: READY
    operator: CiliumOperator | None = CURRENT
    own: str | None = None
    may_start: bool = True
    judged: bool = True
    rolling_back: bool = False
    rebuilt: bool = False
    suspects_due: bool = False
    observed: bool = True
    nodes: dict[str, HybridNode] = field(default_factory=dict)
    agents: dict[str, AgentPod] = field(default_factory=dict)
    terminating: dict[str, frozenset[str]] = field(default_factory=dict)
    unplaced: dict[str, str] = field(default_factory=dict)
    unplaced_pods: dict[str, UnplacedAgent] = field(default_factory=dict)
    create_failure: str = ""
    sandbox: dict[str, SandboxFailure] = field(default_factory=dict)
    cilium_nodes: dict[str, CiliumNode] = field(default_factory=dict)
    daemonset_updated: bool = True
    record: RolloutRecord | None = None
    unready_for: Mapping[str, float] = field(default_factory=dict)
    healthy_before: Mapping[str, RestartedNode] = field(default_factory=dict)
    restarted: list[str] = field(default_factory=list)
    seconds: float = 0.0
    last: RolloutPlan | None = None
    uids: "count[int]" = field(default_factory=count)

    def __post_init__(self) -> None:
        for name, zone in self.zones.items():
            self.join(name, zone, digest=OTHER_DIGEST)

    def join(self, name: str, zone: str = "", *, digest: str | None = None, **agent: Any) -> None:
        """A node joins; its agent is Ready and runs the configuration of the DaemonSet, unless told otherwise."""
        labels = {DEFAULT_GROUP: zone} if zone else {}
        boot, uid = f"boot-{next(self.uids)}", f"node-{next(self.uids)}"
        self.nodes[name] = HybridNode(
            name, "True", labels=labels, uid=uid, boot_id=boot, kernel="6.8", kubelet="v1.33", runtime="containerd"
        )
        self.create(name, digest=digest, **(dict(READY) | agent))

    def create(self, name: str, *, digest: str | None = None, **agent: Any) -> None:
        """The DaemonSet controller creates the agent pod of a node."""
        uid = f"pod-{next(self.uids)}"
        facts = {"ready": False} | agent
        self.agents[name] = AgentPod(f"cilium-{uid}", name, config_digest=digest or self.digest, uid=uid, **facts)

    def agent(self, name: str, **edit: Any) -> None:
        self.agents[name] = replace(self.agents[name], **edit)

    def node(self, name: str, **edit: Any) -> None:
        self.nodes[name] = replace(self.nodes[name], **edit)

    def lose_record(self) -> None:
        """The record is deleted and the process dies; `restarted` starts again from empty."""
        self.record, self.rebuilt, self.suspects_due, self.restarted = None, True, True, []

    def disconnect(self, *names: str) -> None:
        """The node controller marks the pods of a node that does not report as not Ready."""
        for name in names:
            self.node(name, ready="Unknown")
            if name in self.agents:
                self.agent(name, ready=False)

    def reconnect(self, *names: str) -> None:
        for name in names:
            self.node(name, ready="True")

    def reboot(self, name: str) -> None:
        self.node(name, boot_id=f"boot-{next(self.uids)}")
        self.agent(name, ready=False, exits=self.agents[name].exits + 1)

    def delete(self, name: str) -> None:
        self.nodes.pop(name, None)
        self.agents.pop(name, None)
        self.terminating.pop(name, None)

    def observe(self) -> Observation:
        return Observation(
            agent_set=AgentSet(self.digest if self.daemonset_updated else OTHER_DIGEST, observed=True),
            cilium_operator=self.operator,
            nodes=dict(self.nodes),
            agents=dict(self.agents),
            terminating_agents=dict(self.terminating),
            unplaced=dict(self.unplaced) | {name: pod.cause for name, pod in self.unplaced_pods.items()},
            unplaced_pods=dict(self.unplaced_pods),
            agent_create_failure=self.create_failure,
            sandbox_failures=dict(self.sandbox),
            cilium_nodes=dict(self.cilium_nodes),
        )

    def plan(self, elapsed: float = 0.0) -> RolloutPlan:
        """Plan without doing or remembering anything."""
        return plan_rollout(self._input(self.observe(), elapsed))

    def _input(self, observation: Observation, elapsed: float) -> RolloutInput:
        return RolloutInput(
            observation=observation,
            digest=self.digest,
            settings=self.rules,
            now=NOW + timedelta(seconds=self.seconds + elapsed),
            before=self.record,
            previous=None if self.last is None else self.last.status,
            elapsed=elapsed,
            observed=self.observed,
            unready_for=advance_timers(observation, self.unready_for, elapsed),
            healthy_before=self.healthy_before,
            own_node=self.own,
            may_start=self.may_start,
            judged=self.judged,
            rolling_back=self.rolling_back,
            rebuilt=self.rebuilt,
            suspects_due=self.suspects_due,
        )

    def tick(self, elapsed: float = 0.0) -> RolloutPlan:
        """Reconcile once, `elapsed` seconds after the last time, and delete the pods that are to be restarted."""
        observation = self.observe()
        rollout = self._input(observation, elapsed)
        plan = plan_rollout(rollout)
        self.seconds += elapsed
        self.record, self.last, self.unready_for = plan.record, plan, rollout.unready_for
        self.suspects_due = self.suspects_due and plan.record is None
        self.healthy_before = healthy_outdated(observation, self.digest, self.healthy_before)
        self.judged = self.judged and not plan.verified
        for pod in plan.pods:
            name = next(name for name, agent in self.agents.items() if agent.uid == pod.uid)
            self.restarted.append(name)
            self.replace_pod(name)
        return plan

    def replace_pod(self, name: str) -> None:
        """The agent pod of a node is deleted, and the DaemonSet controller creates the next one."""
        del self.agents[name]
        self.create(name, **self.new(name))

    def run(self, seconds: float, every: float = 10.0) -> RolloutPlan:
        """Reconcile for a time, also at its end, and return the last plan."""
        plan = self.tick(0.0)
        for _ in range(round(seconds / every)):
            plan = self.tick(every)
        return plan

    def until(self, *steps: RolloutStep, limit: int = 1000) -> RolloutPlan:
        """Reconcile every ten seconds until one of the steps is reached."""
        for _ in range(limit):
            if (plan := self.tick(10.0)).step in steps:
                return plan
        raise AssertionError(f"still {self.last}")


def a_site(names: str = "abcd", zone: str = "", **facts: Any) -> Site:
    """A site with one node for each letter."""
    return Site(dict.fromkeys(names, zone), **facts)
