"""Valid objects with defaults; a test overrides the values that it is about."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from typing import Any

from cilium_hybrid.api.conditions import Condition, ConditionType, Reason, find_condition
from cilium_hybrid.api.status import PreflightResult, PreflightStatus, Status
from cilium_hybrid.api.v1alpha1 import Spec, parse_spec
from cilium_hybrid.plan.actions import Apply
from cilium_hybrid.plan.observation import (
    AGENT_TAINT,
    AgentPod,
    AgentSet,
    Certificate,
    CertificateIssuer,
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
    Revision,
)
from cilium_hybrid.plan.record import Record
from cilium_hybrid.plan.release import DesiredRelease, desired_release, release_digest
from cilium_hybrid.plan.values import digest
from cilium_hybrid.rules.cluster_facts import AddressRange, parse_address_ranges
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


def a_raw_spec(
    *, version: str = VERSION, pod_cidrs: Iterable[str] = (POOL,), mask_size: int = MASK, **more: Any
) -> dict[str, Any]:
    """A spec as a user writes it; `more` are further fields of it."""
    ipam = {"podCIDRs": list(pod_cidrs), "maskSize": mask_size}
    return {"version": version, "chart": {"ref": REF}, "ipam": ipam} | more


def a_spec(*, version: str = VERSION, pod_cidrs: Iterable[str] = (POOL,), mask_size: int = MASK, **more: Any) -> Spec:
    """A valid spec."""
    return parse_spec(a_raw_spec(version=version, pod_cidrs=pod_cidrs, mask_size=mask_size, **more))


def a_lenient_spec(**spec: Any) -> LenientSpec:
    """A spec as the rules read it."""
    return read_lenient_spec(a_raw_spec(**spec))


def a_revision(
    number: int = 1,
    *,
    status: str = "deployed",
    created_at: datetime = EARLIER,
    version: str = VERSION,
    chart_digest: str = DIGEST,
    values_digest: str = DIGEST,
    chart_ref: str = REF,
    spec_digest: str = "",
    **more: Any,
) -> Revision:
    """A managed revision; `more` are further fields of it."""
    digests = (chart_digest, values_digest, digest(chart_ref), spec_digest)
    return replace(Revision(number, status, created_at, True, version, *digests), **more)


def a_foreign_revision(
    number: int = 1, *, status: str = "deployed", created_at: datetime = EARLIER, manager: str = ""
) -> Revision:
    """A revision that the operator did not create."""
    return Revision(number, status, created_at, manager=manager)


def a_revision_of(
    desired: DesiredRelease, number: int = 1, *, status: str = "deployed", created_at: datetime = EARLIER, **more: Any
) -> Revision:
    """The revision of a desired release."""
    digests = {"chart_digest": desired.pinned_digest or DIGEST, "values_digest": desired.values_digest}
    chart = {"version": desired.chart_version, "chart_ref": desired.chart_ref}
    own = release_digest(desired)
    return a_revision(number, status=status, created_at=created_at, spec_digest=own, **chart, **digests, **more)


def a_step_of(spec: Spec, version: str, number: int = 1, **more: Any) -> Revision:
    """The revision of a version on the upgrade path of a spec, in a cluster with initial version 1.17."""
    at = spec.model_copy(update={"version": version, "chart": spec.chart.model_copy(update={"digest": None})})
    record = a_record()
    return a_revision_of(desired_release(at, an_observation(record=record)), number, **more)


def a_record(
    *,
    initial_version: str = VERSION,
    pod_cidrs: Iterable[str] = (POOL,),
    mask_size: int = MASK,
    revision: int = 1,
    chart_ref: str = REF,
    chart_version: str = VERSION,
    verified: int | None = None,
    **more: Any,
) -> Record:
    """The record of one deployed revision; `more` are further fields of it."""
    record = Record(initial_version, tuple(pod_cidrs), mask_size, revision, chart_ref, chart_version, verified)
    return replace(record, verified_version=chart_version if verified else "", **more)


def a_node(
    name: str = NODE,
    *,
    ready: NodeReady = "True",
    message: str = "",
    agent_taint: bool = False,
    kernel: str = "6.8.0-51-generic",
    address: str = "10.80.0.11",
    taints: tuple[str, ...] = (),
    **more: Any,
) -> HybridNode:
    """A healthy hybrid node."""
    addresses = parse_address_ranges([(f"address of node {name}", address)])
    all_taints = (AGENT_TAINT, *taints) if agent_taint else taints
    node = HybridNode(name, ready, message, kernel, addresses, taints=all_taints, uid=f"node {name}", boot_id="boot 1")
    return replace(node, **more)


def an_agent(
    node: str = NODE,
    *,
    ready: bool = True,
    config_digest: str | None = DIGEST,
    failure_message: str = "",
    crash_message: str = "",
    **more: Any,
) -> AgentPod:
    """A healthy agent; `more` are further fields of its pod."""
    pod = AgentPod(f"cilium-{node}", node, ready, config_digest, failure_message, crash_message=crash_message)
    return replace(pod, **({"uid": f"pod of {node}"} | more))


def a_cilium_node(name: str = NODE, *, pod_cidrs: Iterable[str] = ("10.85.0.0/25",), error: str = "") -> CiliumNode:
    """A CiliumNode with a node block."""
    return CiliumNode(name, tuple(pod_cidrs), error)


def a_certificate(
    secret: str = "hubble-server-certs", *, days: float = 365, issuer: CertificateIssuer = CertificateIssuer.HELM
) -> Certificate:
    """A certificate of the chart that expires in so many days."""
    return Certificate(secret, NOW + timedelta(days=days), issuer)


def a_preflight_pod(
    node: str = NODE,
    *,
    ready: bool = True,
    ready_since: datetime | None = None,
    failure_message: str = "",
    termination_message: str = "",
) -> PreflightPod:
    """A healthy pod of the preflight."""
    return PreflightPod(
        f"cilium-pre-flight-check-{node}", node, ready, ready_since, failure_message, termination_message
    )


def a_preflight_status(version: str, result: PreflightResult = PreflightResult.PASSED, **more: Any) -> PreflightStatus:
    """The status of a preflight check."""
    return PreflightStatus(version=version, result=result, **more)


def a_validator(
    *, ready: int = 1, replicas: int = 1, observed: bool = True, pod: PreflightPod | None = None
) -> PolicyValidator:
    """The policy validator of the preflight, by default successful."""
    return PolicyValidator(replicas, ready, observed, pod)


VALIDATOR = a_validator()


def a_preflight(
    *pods: PreflightPod,
    release: Revision | None = None,
    nodes_observed: bool | None = True,
    validator: PolicyValidator | None = VALIDATOR,
) -> PreflightObservation:
    """A running preflight."""
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
    taken: Iterable[AddressRange] = (),
    foreign_pods: Iterable[ForeignPod] = (),
    nodes_with_agent_pods: Iterable[str] = (),
    definition_terminating: bool = False,
    secrets_namespace_terminating: bool = False,
    preflight: PreflightObservation | None = None,
    cloud_nodes: Iterable[str] = (),
    certificates: Iterable[Certificate] = (),
    other_pods: Iterable[CiliumPod] = (),
    **more: Any,
) -> Observation:
    """A cluster without a release, plus the given objects; `more` are further fields."""
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
        nodes_with_agent_pods=frozenset(nodes_with_agent_pods),
        definition_terminating=definition_terminating,
        secrets_namespace_terminating=secrets_namespace_terminating,
        preflight=preflight or PreflightObservation(),
        cloud_nodes=frozenset(cloud_nodes),
        certificates=tuple(certificates),
        other_pods=tuple(other_pods),
        **more,
    )


def blocks(pool: str = POOL, mask: int | None = MASK) -> Iterable[str]:
    """The node blocks of a pool, in the order in which the Cilium operator allocates them."""
    return map(str, IPv4Network(pool).subnets(new_prefix=mask or MASK))


def a_healthy_observation(*revisions: Revision, record: Record | None = None, nodes: int = 1) -> Observation:
    """A cluster with a healthy Cilium operator and so many healthy nodes."""
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


def an_apply(desired: DesiredRelease, revision: int, over: int | None = None) -> Apply:
    """The action that creates a revision of the desired release."""
    return Apply(desired, revision, release_digest(desired), over)


def a_condition(kind: ConditionType, status: str, reason: Reason, **more: Any) -> Condition:
    """A condition of generation 1 that has not changed for an hour."""
    defaults = {"message": "unchanged", "observed_generation": 1, "last_transition_time": EARLIER}
    return Condition.model_validate({"type": kind, "status": status, "reason": reason} | defaults | more)


def a_status(*conditions: Condition, **more: Any) -> Status:
    """A status with these conditions."""
    return Status(conditions=conditions, **more)


def with_node(observation: Observation, name: str = NODE, *, agent: AgentPod | None = None, **edit: Any) -> Observation:
    """The same cluster with another agent or node."""
    if agent is not None:
        return replace(observation, agents={**observation.agents, name: agent})
    return replace(observation, nodes={**observation.nodes, name: a_node(name, **edit)})


def condition(status: Status | Mapping[str, Any], kind: ConditionType) -> Condition | None:
    """The condition of one type, if it exists."""
    parsed = status if isinstance(status, Status) else Status.model_validate(status)
    return find_condition(parsed.conditions, kind)
