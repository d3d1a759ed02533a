"""A model of the operator's shell for the core alone: it evaluates, and carries out one action at a time."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from builders import NOW, a_raw_spec, an_agent, an_observation
from cilium_hybrid.api.conditions import ConditionType, Reason, find_condition
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import (
    Action,
    AddFinalizer,
    Apply,
    ListVersions,
    MarkRevision,
    Nothing,
    RemoveFinalizer,
    RestartAgents,
    Rollback,
    Unlock,
    WriteRecord,
)
from cilium_hybrid.plan.evaluate import evaluate
from cilium_hybrid.plan.inputs import Evaluation, Failure, ReconcileInput, Resource
from cilium_hybrid.plan.observation import AgentSet, CiliumOperator, Observation, PoolConfig, ReleasePayload, Revision
from cilium_hybrid.plan.record import RestartedNode, RolloutRecord
from cilium_hybrid.plan.status.events import StatusEvent, status_events
from cilium_hybrid.plan.values import CONFIG_DIGEST, digest
from cilium_hybrid.rules.lenient_spec import read_lenient_spec

REGISTRY = tuple(map(CiliumVersion.parse, ("1.17.9-0", "1.17.15-1", "1.18.8-1", "1.19.4-1")))

_WITH_STATUS = (Nothing, Apply, RestartAgents, Rollback, Unlock)
"""Actions that the status reports."""


class Core:
    """The core with a cluster whose nodes do at once what they are told."""

    def __init__(self, observation: Observation | None = None, **spec: Any) -> None:
        """Begin with the builders' spec and no release, unless told otherwise."""
        upgrade = spec.pop("upgrade", {"preflight": {"enabled": False}, "rollout": {"soak": "30s"}})
        self.raw: Any = a_raw_spec(upgrade=upgrade, **spec)
        self.observation = observation or an_observation()
        self.generation, self.status, self.finalizers = 1, dict[str, Any](), tuple[str, ...]()
        self.requested, self.deleting = "", False
        self.now: datetime = NOW
        self.breaks: set[str] = set()
        self.actions: list[Action] = []
        self.events: list[StatusEvent] = []
        self._digests: dict[int, str] = {}
        self._rollout: RolloutRecord | None = None
        self._unready_for = dict[str, float]()
        self._healthy_before = dict[str, RestartedNode]()
        self._failures: dict[object, Failure] = {}
        self._counts_time = False

    def edit(self, **spec: Any) -> None:
        """Write fields of the spec, as a user does."""
        self.raw, self.generation = {**self.raw, **spec}, self.generation + 1

    def restart(self) -> None:
        """Lose everything that only the process knows."""
        self._rollout, self._unready_for, self._healthy_before = None, {}, {}
        self._failures, self._counts_time = {}, False

    def evaluate(self, elapsed: float = 10.0, **more: Any) -> Evaluation:
        """Evaluate after so many seconds and write the status; `more` are fields of the input."""
        self.now += timedelta(seconds=elapsed)
        resource = Resource(
            self.generation, "1", self.raw, self.status, self.finalizers, self.deleting, None, self.requested
        )
        facts: dict[str, Any] = {
            "resource": resource,
            "lenient_spec": read_lenient_spec(self.raw),
            "observation": self.observation,
            "now": self.now,
            "failure_of": self._failures.get,
            "available_versions": REGISTRY,
            "elapsed": elapsed if self._counts_time else 0.0,
            "unready_for": self._unready_for,
            "healthy_before": self._healthy_before,
            "rollout_before": self._rollout,
        }
        evaluation = evaluate(ReconcileInput(**(facts | more)))
        self._rollout, self._counts_time = evaluation.rollout.record, evaluation.counts_time
        self._unready_for = dict(evaluation.unready_for)
        self._healthy_before = dict(evaluation.healthy_before)
        if isinstance(evaluation.decision.action, _WITH_STATUS) or not self.status:
            self.events += status_events(evaluation.previous, evaluation.status)
            self.status = evaluation.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        return evaluation

    def step(self, elapsed: float = 10.0, **more: Any) -> Evaluation:
        """Evaluate once and carry out the action."""
        evaluation = self.evaluate(elapsed, **more)
        self.perform(evaluation.decision.action)
        return evaluation

    def settle(self, steps: int = 60, elapsed: float = 10.0) -> Evaluation:
        """Reconcile until nothing has been done for a while, and return the last evaluation."""
        idle, evaluation = 0, self.step(elapsed)
        for _ in range(steps):
            idle = idle + 1 if isinstance(evaluation.decision.action, Nothing) else 0
            if idle > 8:
                break
            evaluation = self.step(elapsed)
        return evaluation

    def fail(self, evaluation: Evaluation, reason: Reason, not_before: datetime | None = None) -> None:
        """Let the action of an evaluation fail."""
        self._failures[evaluation.failure_key] = Failure(reason, "it failed", 1, not_before)

    @property
    def reason(self) -> str:
        """The reason of Ready."""
        conditions = {condition["type"]: condition for condition in self.status["conditions"]}
        return str(conditions["Ready"]["reason"])

    @property
    def numbers(self) -> list[int]:
        """The numbers of the revisions that the operator made."""
        return [revision.number for revision in self.observation.revisions if revision.managed]

    def perform(self, action: Action) -> None:
        """Change the cluster as the shell and Kubernetes would."""
        if not isinstance(action, Nothing):
            self.actions.append(action)
        record = getattr(action, "record", None)
        if record is not None:
            self.observation = replace(self.observation, record=record)
        match action:
            case Apply():
                self._apply(action)
            case Rollback():
                self._roll_back(action)
            case MarkRevision(revision=number, mark=mark):
                self.change(number, verified=mark == "verified", rejected=mark == "rejected")
            case Unlock(revision=number):
                self.change(number, status="failed")
            case RestartAgents(pods=pods):
                for pod in pods:
                    self._restart(pod.uid)
            case AddFinalizer() | RemoveFinalizer():
                self.finalizers = ("ciliumhybrid.io/finalizer",) if isinstance(action, AddFinalizer) else ()
            case _:
                assert isinstance(action, ListVersions | WriteRecord | Nothing), action

    def foreign(self, number: int, status: str = "deployed", version: str = "", manager: str = "helm") -> None:
        """Let something else make a revision."""
        made = Revision(number, status, self.now, manager=manager)
        older = tuple(self._superseded())
        payloads = {**self.observation.payloads, number: ReleasePayload(chart_version=version)}
        self.observation = replace(self.observation, revisions=(*older, made), payloads=payloads)

    def break_agent(self, name: str, exits: int = 3) -> None:
        """Let the container of an agent exit so often."""
        agent = self.observation.agents[name]
        broken = replace(agent, ready=False, exits=exits, failure_message="CrashLoopBackOff: exit code 1", started=True)
        self.observation = replace(self.observation, agents={**self.observation.agents, name: broken})

    def change(self, number: int, **fields: Any) -> None:
        """Change fields of a revision."""
        found = self.observation.revisions
        changed = tuple(replace(r, **fields) if r.number == number else r for r in found)
        self.observation = replace(self.observation, revisions=changed)

    def start(self, name: str) -> None:
        """Start a new agent pod on a node, as the DaemonSet controller does."""
        self._start(name, self.observation.revisions[-1].chart_version)

    def _apply(self, action: Apply) -> None:
        desired, values = action.desired_release, action.desired_release.values
        ipam = values["ipam"]["operator"]
        digests = ("", desired.values_digest, digest(desired.chart_ref), action.spec_digest)
        self._deploy(
            Revision(action.revision, "deployed", self.now, True, desired.chart_version, *digests),
            values["podAnnotations"][CONFIG_DIGEST],
            PoolConfig(tuple(ipam["clusterPoolIPv4PodCIDRList"]), ipam["clusterPoolIPv4MaskSize"]),
            rolling=values["updateStrategy"]["type"] == "RollingUpdate",
        )

    def _roll_back(self, action: Rollback) -> None:
        target, number = action.target, action.revision
        restored = replace(target, number=number, status="deployed", rolled_back_to=target.number, verified=False)
        config = self._digests.get(target.number, "restored")
        self._deploy(restored, config, PoolConfig(action.pod_cidrs, action.mask_size))

    def _superseded(self) -> list[Revision]:
        found = self.observation.revisions
        return [replace(r, status="superseded") if r.status == "deployed" else r for r in found]

    def _deploy(self, revision: Revision, config: str, pool: PoolConfig, *, rolling: bool = False) -> None:
        self._digests[revision.number] = config
        payload = ReleasePayload(chart_version=revision.chart_version, pool=pool, config_digest=config)
        self.observation = replace(
            self.observation,
            revisions=(*self._superseded(), revision),
            payloads={**self.observation.payloads, revision.number: payload},
            pool=pool,
            agent_set=AgentSet(config, observed=True, rolling_update=rolling),
            cilium_operator=CiliumOperator(replicas=2, available=2, observed=True),
        )
        # A DaemonSet starts a pod where there is none; the others wait for their restart.
        missing = [name for name in self.observation.nodes if name not in self.observation.agents]
        for name in missing:
            self._start(name, revision.chart_version)

    def _restart(self, uid: str) -> None:
        name = next(name for name, agent in self.observation.agents.items() if agent.uid == uid)
        self.start(name)

    def _start(self, name: str, version: str) -> None:
        agents, agent_set = self.observation.agents, self.observation.agent_set
        config = None if agent_set is None else agent_set.config_digest
        uid = f"{name} runs {config} from {self.now}"
        agent = an_agent(name, config_digest=config, uid=uid, version=version, started=True)
        self.observation = replace(self.observation, agents={**agents, name: agent})
        if config in self.breaks or name in self.breaks:
            self.break_agent(name)


def ready(evaluation: Evaluation) -> tuple[str, str, bool]:
    """Status and reason of Ready, and whether the operator has stalled."""
    conditions = evaluation.status.conditions
    found = find_condition(conditions, ConditionType.READY)
    assert found is not None
    return found.status, found.reason, find_condition(conditions, ConditionType.STALLED) is not None
