"""Valid things with defaults; a test overrides the one that it is about."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import Any

from cilium_hybrid.api.conditions import Condition, ConditionType, Reason
from cilium_hybrid.api.status import PreflightResult, PreflightStatus, Status, UnreadyReason
from cilium_hybrid.api.v1alpha1 import Spec, parse_spec
from cilium_hybrid.plan.actions import Apply, Decision, Nothing
from cilium_hybrid.plan.inputs import Situation
from cilium_hybrid.plan.observation import (
    AGENT_TAINT,
    AgentPod,
    AgentSet,
    Certificate,
    CertificateMaker,
    CiliumNode,
    CiliumOperator,
    CiliumPod,
    ForeignPod,
    HybridNode,
    NodeReady,
    Observation,
    PolicyValidator,
    PoolConfig,
    PreflightObservation,
    PreflightPod,
    Record,
    Revision,
)
from cilium_hybrid.plan.release import DesiredRelease, desired_release, spec_digest
from cilium_hybrid.plan.status.ipam import evaluate_ipam
from cilium_hybrid.plan.status.nodes import evaluate_nodes
from cilium_hybrid.plan.status.report import Report
from cilium_hybrid.plan.upgrade.path import find_upgrade_path
from cilium_hybrid.plan.values import digest
from cilium_hybrid.rules.cluster import Taken, all_taken
from cilium_hybrid.rules.lenient_spec import LenientSpec, read_lenient_spec

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EARLIER = datetime(2026, 3, 1, 11, 0, 0, tzinfo=UTC)
VERSION = "1.17.9-0"
POOL = "10.85.0.0/16"
MASK = 25
REF = "oci://registry.example/eks/cilium/cilium"
DIGEST = f"sha256:{'ab' * 32}"
OTHER_DIGEST = f"sha256:{'cd' * 32}"
NODE = "mi-0000000000000001"
IN_STEP = Decision(Nothing(), Reason.IN_SYNC, f"Cilium {VERSION} is released")


def a_raw_spec(
    *, version: str = VERSION, pod_cidrs: Iterable[str] = (POOL,), mask_size: int = MASK, **more: Any
) -> dict[str, Any]:
    """A spec as a user writes it; `more` are further fields of it."""
    ipam = {"podCIDRs": list(pod_cidrs), "maskSize": mask_size}
    return {"version": version, "chart": {"ref": REF}, "ipam": ipam} | more


def a_spec(*, version: str = VERSION, pod_cidrs: Iterable[str] = (POOL,), mask_size: int = MASK, **more: Any) -> Spec:
    """A spec that was judged."""
    return parse_spec(a_raw_spec(version=version, pod_cidrs=pod_cidrs, mask_size=mask_size, **more))


def a_lenient_spec(**spec: Any) -> LenientSpec:
    """What the rules read of a spec as a user writes it."""
    return read_lenient_spec(a_raw_spec(**spec))


def a_revision(
    number: int = 1,
    *,
    status: str = "deployed",
    made_at: datetime = EARLIER,
    version: str = VERSION,
    chart_digest: str = DIGEST,
    values_digest: str = DIGEST,
    chart_ref: str = REF,
    spec_digest: str = "",
) -> Revision:
    """A revision that the operator made."""
    return Revision(number, status, made_at, True, version, chart_digest, values_digest, digest(chart_ref), spec_digest)


def a_foreign_revision(number: int = 1, *, status: str = "deployed", made_at: datetime = EARLIER) -> Revision:
    """A revision that somebody else made."""
    return Revision(number, status, made_at)


def a_revision_of(
    desired: DesiredRelease,
    number: int = 1,
    *,
    status: str = "deployed",
    made_at: datetime = EARLIER,
    goal: DesiredRelease | None = None,
) -> Revision:
    """The revision that releases exactly what is wanted; `goal` is what the spec asked for, where that is known."""
    digests = {"chart_digest": desired.pinned_digest or DIGEST, "values_digest": desired.values_digest}
    chart = {"version": desired.chart_version, "chart_ref": desired.chart_ref}
    wished = "" if goal is None else spec_digest(goal)
    return a_revision(number, status=status, made_at=made_at, spec_digest=wished, **chart, **digests)


def a_step_of(spec: Spec, version: str, number: int = 1, **more: Any) -> Revision:
    """The revision that releases a version on the way to what a spec asks for, in a cluster that began with 1.17."""
    at = spec.model_copy(update={"version": version, "chart": spec.chart.model_copy(update={"digest": None})})
    record = a_record()
    goal, desired = (desired_release(one, an_observation(record=record)) for one in (spec, at))
    return a_revision_of(desired, number, goal=goal, **more)


def a_record(
    *,
    initial_version: str = VERSION,
    pod_cidrs: Iterable[str] = (POOL,),
    mask_size: int = MASK,
    revision: int = 1,
    chart_ref: str = REF,
    chart_version: str = VERSION,
    verified: int | None = None,
) -> Record:
    """What the operator remembers of one installed revision."""
    return Record(initial_version, tuple(pod_cidrs), mask_size, revision, chart_ref, chart_version, verified)


def a_node(
    name: str = NODE,
    *,
    ready: NodeReady = "True",
    message: str = "",
    agent_taint: bool = False,
    kernel: str = "6.8.0-51-generic",
    address: str = "10.80.0.11",
    taints: tuple[str, ...] = (),
) -> HybridNode:
    """A hybrid node that is well."""
    addresses = all_taken([(f"an address of node {name}", address)])
    there = (AGENT_TAINT, *taints) if agent_taint else taints
    return HybridNode(name, ready, message, kernel, addresses, taints=there)


def an_agent(
    node: str = NODE,
    *,
    ready: bool = True,
    config_digest: str | None = DIGEST,
    failure_message: str = "",
    crash_message: str = "",
) -> AgentPod:
    """An agent that is well."""
    return AgentPod(f"cilium-{node}", node, ready, config_digest, failure_message, crash_message=crash_message)


def a_cilium_node(name: str = NODE, *, pod_cidrs: Iterable[str] = ("10.85.0.0/25",), error: str = "") -> CiliumNode:
    """A CiliumNode with a block."""
    return CiliumNode(name, tuple(pod_cidrs), error)


def a_certificate(
    secret: str = "hubble-server-certs", *, days: float = 365, maker: CertificateMaker = CertificateMaker.HELM
) -> Certificate:
    """A certificate of the chart, with so many days left."""
    return Certificate(secret, NOW + timedelta(days=days), maker)


def a_preflight_pod(
    node: str = NODE,
    *,
    ready: bool = True,
    ready_since: datetime | None = None,
    failure_message: str = "",
    last_words: str = "",
) -> PreflightPod:
    """A pod of the preflight that is well."""
    return PreflightPod(f"cilium-pre-flight-check-{node}", node, ready, ready_since, failure_message, last_words)


def a_told(version: str, result: PreflightResult = PreflightResult.PASSED, **more: Any) -> PreflightStatus:
    """What the status says of a preflight."""
    return PreflightStatus(version=version, result=result, **more)


def a_validator(
    *, ready: int = 1, replicas: int = 1, observed: bool = True, pod: PreflightPod | None = None
) -> PolicyValidator:
    """The validator of the preflight, which took every policy."""
    return PolicyValidator(replicas, ready, observed, pod)


VALIDATOR = a_validator()


def a_preflight(
    *pods: PreflightPod,
    release: Revision | None = None,
    nodes_observed: bool | None = True,
    validator: PolicyValidator | None = VALIDATOR,
) -> PreflightObservation:
    """A preflight that runs, of one revision."""
    return PreflightObservation(release or a_revision(), nodes_observed, {pod.node: pod for pod in pods}, validator)


def an_observation(
    *revisions: Revision,
    record: Record | None = None,
    pool: PoolConfig | None = None,
    agent_set: AgentSet | None = None,
    cilium_operator: CiliumOperator | None = None,
    nodes: Iterable[HybridNode] = (),
    agents: Iterable[AgentPod] = (),
    cilium_nodes: Iterable[CiliumNode] = (),
    taken: Iterable[Taken] = (),
    foreign_pods: Iterable[ForeignPod] = (),
    nodes_with_pods: Iterable[str] = (),
    definition_terminating: bool = False,
    secrets_namespace_terminating: bool = False,
    preflight: PreflightObservation | None = None,
    cloud_nodes: Iterable[str] = (),
    certificates: Iterable[Certificate] = (),
    other_pods: Iterable[CiliumPod] = (),
) -> Observation:
    """A cluster in which nothing is installed, plus what is named."""
    return Observation(
        revisions=revisions,
        record=record,
        pool=pool,
        agent_set=agent_set,
        cilium_operator=cilium_operator,
        nodes={node.name: node for node in nodes},
        agents={agent.node: agent for agent in agents},
        cilium_nodes={node.name: node for node in cilium_nodes},
        taken=tuple(taken),
        foreign_pods=tuple(foreign_pods),
        nodes_with_pods=frozenset(nodes_with_pods),
        definition_terminating=definition_terminating,
        secrets_namespace_terminating=secrets_namespace_terminating,
        preflight=preflight or PreflightObservation(),
        cloud_nodes=frozenset(cloud_nodes),
        certificates=tuple(certificates),
        other_pods=tuple(other_pods),
    )


def blocks(pool: str = POOL, mask: int | None = MASK) -> Iterable[str]:
    """The blocks of a pool, as Cilium's operator gives them out."""
    return map(str, IPv4Network(pool).subnets(new_prefix=mask or MASK))


def a_healthy_observation(*revisions: Revision, record: Record | None = None, nodes: int = 1) -> Observation:
    """A cluster in which Cilium's operator and so many nodes are well."""
    names = [f"mi-{number:016}" for number in range(1, nodes + 1)]
    return an_observation(
        *revisions,
        record=record,
        pool=PoolConfig((POOL,), MASK),
        agent_set=AgentSet(DIGEST, observed=True),
        cilium_operator=CiliumOperator(replicas=2, available=2, observed=True),
        nodes=map(a_node, names),
        agents=map(an_agent, names),
        cilium_nodes=[a_cilium_node(name, pod_cidrs=[block]) for name, block in zip(names, blocks(), strict=False)],
    )


def a_situation(spec: Spec | None = None, observation: Observation | None = None, **more: Any) -> Situation:
    """What a decision looks at: by default a valid spec, and nothing installed."""
    spec, observation = spec or a_spec(), observation or an_observation()
    upgrade_path = find_upgrade_path(spec, observation, Status(), more.get("generation", 0), ())
    facts: dict[str, Any] = {"upgrade_path": upgrade_path, "violations": (), "now": NOW}
    return Situation(spec=spec, observation=observation, **(facts | more))


def an_apply(desired: DesiredRelease, revision: int, over: int | None = None) -> Apply:
    """The action that makes a revision of the whole of what is wanted."""
    return Apply(desired, revision, spec_digest(desired), over)


def a_condition(kind: ConditionType, status: str, reason: Reason, **more: Any) -> Condition:
    """A condition of generation 1, as it is since an hour."""
    defaults = {"message": "as it was", "observed_generation": 1, "last_transition_time": EARLIER}
    return Condition.model_validate({"type": kind, "status": status, "reason": reason} | defaults | more)


def a_status(*conditions: Condition, **more: Any) -> Status:
    """A status that was written before."""
    return Status(conditions=conditions, **more)


def a_report(observation: Observation | None = None, **more: Any) -> Report:
    """What a status is made of; the nodes are judged by the digest that the builders give to agents."""
    observation = observation or a_healthy_observation(a_revision())
    now, decision = more.get("now", NOW), more.get("decision", IN_STEP)
    pools = (POOL,) if observation.pool is None else observation.pool.pod_cidrs
    facts: dict[str, Any] = {
        "previous": Status(),
        "decision": decision,
        "generation": 1,
        "target": VERSION,
        "chart_ref": REF,
        "nodes": evaluate_nodes(observation, DIGEST, {}, now),
        "now": now,
        "in_sync": decision.reason is Reason.IN_SYNC,
        "ipam": evaluate_ipam(observation, a_raw_spec(pod_cidrs=pools)),
    }
    return Report(observation=observation, **(facts | more))


def a_judged_report(observation: Observation, *, failing_since: datetime = NOW, **more: Any) -> Report:
    """The same where what fails was first seen to fail at a given moment."""
    since = {(name, reason): failing_since for name in observation.nodes for reason in UnreadyReason}
    return a_report(observation, nodes=evaluate_nodes(observation, DIGEST, since, NOW), **more)


def with_node(observation: Observation, name: str = NODE, *, agent: AgentPod | None = None, **edit: Any) -> Observation:
    """The same cluster with one agent, or one node, in trouble."""
    if agent is not None:
        return replace(observation, agents={**observation.agents, name: agent})
    return replace(observation, nodes={**observation.nodes, name: a_node(name, **edit)})


def condition(status: Status | Mapping[str, Any], kind: ConditionType) -> Condition | None:
    """The condition of one kind, if it is there."""
    made = status if isinstance(status, Status) else Status.model_validate(status)
    return next((found for found in made.conditions if found.type is kind), None)
