"""The observed state of the cluster, frozen for one reconciliation: all that a decision may depend on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from cilium_hybrid.rules.cluster import AddressRange
from cilium_hybrid.rules.rule import one_line
from cilium_hybrid.rules.text import list_names

AGENT_TAINT: Final = "node.cilium.io/agent-not-ready"
CORDONED: Final = "node.kubernetes.io/unschedulable"

NodeReady = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Revision:
    """A Helm revision of release `cilium`, read from the labels of its Secret.

    `managed`: the operator made it. `ref_digest` is the digest of the chart's reference, `spec_digest` that of the
    release that the spec asked for at the time. `rolled_back_to` is the revision that a rollback restored.
    """

    number: int
    status: str
    created_at: datetime
    managed: bool = False
    chart_version: str = ""
    chart_digest: str = ""
    values_digest: str = ""
    ref_digest: str = ""
    spec_digest: str = ""
    rolled_back_to: int | None = None

    @property
    def deployed(self) -> bool:
        """Whether the operator made it and it is deployed."""
        return self.managed and self.status == "deployed"


@dataclass(frozen=True, slots=True)
class Rejected:
    """A revision that failed on the nodes in `message` and is not tried again while the spec asks for the same."""

    revision: int
    generation: int
    spec_digest: str
    message: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the operator must not forget; it outlives the resource.

    `verified` is the last revision that ran healthily on every connected node.
    """

    initial_version: str
    pod_cidrs: tuple[str, ...]
    mask_size: int
    revision: int
    chart_ref: str
    chart_version: str
    verified: int | None = None
    rejected: Rejected | None = None


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """The IPAM facts in `cilium-config`."""

    pod_cidrs: tuple[str, ...]
    mask_size: int | None


@dataclass(frozen=True, slots=True)
class AgentSet:
    """The DaemonSet `cilium`."""

    config_digest: str | None
    observed: bool
    generation: int = 0


@dataclass(frozen=True, slots=True)
class CiliumOperator:
    """The Deployment `cilium-operator`. `current`: an updated replica is available and no outdated one is left."""

    replicas: int
    available: int
    observed: bool
    current: bool = True
    generation: int = 0


@dataclass(frozen=True, slots=True)
class HybridNode:
    """A node with the hybrid node label.

    `labels` may hold only those that rollouts and rules read. `taints` are the keys of all taints. `max_pods` is the
    pod capacity that the kubelet reports, None if it reports none.
    """

    name: str
    ready: NodeReady
    message: str = ""
    kernel: str = ""
    addresses: tuple[AddressRange, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    max_pods: int | None = None

    @property
    def agent_taint(self) -> bool:
        """Whether the node has the taint that keeps pods away until the Cilium operator has seen a Ready agent."""
        return AGENT_TAINT in self.taints

    @property
    def cordoned(self) -> bool:
        """Whether the node is marked unschedulable."""
        return CORDONED in self.taints


@dataclass(frozen=True, slots=True)
class AgentPod:
    """A pod of the DaemonSet `cilium`. `started`: all its containers run, healthy or not.

    `failure_message`: why a container is waiting. `crash_message`: why a running container terminated before, while
    the pod is not Ready.
    """

    name: str
    node: str
    ready: bool
    config_digest: str | None
    failure_message: str = ""
    terminating: bool = False
    started: bool = False
    ready_since: datetime | None = None
    crash_message: str = ""


@dataclass(frozen=True, slots=True)
class UnplacedAgent:
    """A pod of the DaemonSet `cilium` that cannot be scheduled on its node, with the scheduler's message."""

    node: str
    cause: str


@dataclass(frozen=True, slots=True)
class CiliumNode:
    """The CiliumNode of a node: its pod CIDRs, or why it has none."""

    name: str
    pod_cidrs: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class ForeignPod:
    """A pod of another CNI. `name` is its namespace and name."""

    name: str
    node: str


@dataclass(frozen=True, slots=True)
class CiliumPod:
    """A pod of Cilium that is not an agent. `workload` is the kind and name of its owner: `Deployment cilium-operator`.

    `node` is empty while the pod is not scheduled. `failure_message`: why it does not run.
    """

    name: str
    node: str
    workload: str
    failure_message: str = ""


class CertificateIssuer(StrEnum):
    """Who manages the Secret of a certificate, and so who can renew it."""

    HELM = "Helm"
    CERT_MANAGER = "cert-manager"
    OTHER = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in a Secret of the Cilium chart, by the Secret's name."""

    secret: str
    not_after: datetime
    issuer: CertificateIssuer = CertificateIssuer.HELM


@dataclass(frozen=True, slots=True)
class PreflightPod:
    """A pod of the preflight. `termination_message` is that of its terminated container."""

    name: str
    node: str
    ready: bool
    ready_since: datetime | None = None
    failure_message: str = ""
    termination_message: str = ""


@dataclass(frozen=True, slots=True)
class PolicyValidator:
    """The Deployment `cilium-pre-flight-check`: its pod gets Ready once every policy is valid in the target version."""

    replicas: int
    ready: int
    observed: bool
    pod: PreflightPod | None = None


@dataclass(frozen=True, slots=True)
class PreflightObservation:
    """Helm release `cilium-preflight` and its workloads.

    `pods`, by node, are those of the present DaemonSet. `nodes_observed` is whether the DaemonSet's controller has
    observed it, None if there is no DaemonSet. Objects may exist without a release, and a release without objects.
    """

    release: Revision | None = None
    nodes_observed: bool | None = None
    pods: Mapping[str, PreflightPod] = field(default_factory=dict)
    validator: PolicyValidator | None = None

    @property
    def exists(self) -> bool:
        """Whether any part of a preflight exists."""
        return self.release is not None or self.nodes_observed is not None or self.validator is not None

    @property
    def managed(self) -> bool:
        """Whether the operator may remove it: its own, or objects without a release. An admin's own is left alone."""
        return self.exists and (self.release is None or self.release.managed)


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that differs from the release.

    `fields` are the paths that differ, empty if the object is missing. `managers` are the field managers that wrote
    them, if the object's managedFields name any.
    """

    title: str
    fields: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the object, what differs and who changed it."""
        if not self.fields:
            return f"{self.title} is missing"
        by = f", by {list_names(self.managers)}" if self.managers else ""
        return one_line(f"{self.title} ({list_names(self.fields)}{by})")


@dataclass(frozen=True, slots=True)
class Lookups:
    """What is looked up once before a change that depends on it, because watching it would be too expensive.

    `pods` are the addresses of pods on other nodes that lie in an added pod CIDR. `released_pool` holds the IPAM facts
    of the release's values.
    """

    pods: tuple[AddressRange, ...] = ()
    peering_policies: tuple[str, ...] = ()
    released_pool: PoolConfig | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of the cluster in one reconciliation.

    `taken`: addresses of cloud nodes and Services. `nodes_with_agent_pods`: nodes that have an agent pod, including
    terminating ones. `definition_terminating`: the CRD of CiliumHybrid is being deleted.
    `secrets_namespace_terminating`: the chart's namespace `cilium-secrets` is being deleted after an uninstall.
    `unplaced`: why a node's agent cannot be scheduled, by node. `edits`: a value that changes with every edit of a
    watched object of the release.
    """

    revisions: tuple[Revision, ...] = ()
    record: Record | None = None
    pool: PoolConfig | None = None
    agent_set: AgentSet | None = None
    cilium_operator: CiliumOperator | None = None
    nodes: Mapping[str, HybridNode] = field(default_factory=dict)
    agents: Mapping[str, AgentPod] = field(default_factory=dict)
    unplaced: Mapping[str, str] = field(default_factory=dict)
    cilium_nodes: Mapping[str, CiliumNode] = field(default_factory=dict)
    taken: tuple[AddressRange, ...] = ()
    foreign_pods: tuple[ForeignPod, ...] = ()
    nodes_with_agent_pods: frozenset[str] = frozenset()
    definition_terminating: bool = False
    secrets_namespace_terminating: bool = False
    preflight: PreflightObservation = PreflightObservation()
    cloud_nodes: Collection[str] = frozenset()
    certificates: tuple[Certificate, ...] = ()
    other_pods: tuple[CiliumPod, ...] = ()
    edits: tuple[object, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether the release is installed; `helm uninstall --keep-history` leaves the revisions of one that is not."""
        return self.newest is not None and self.newest.status != "uninstalled"

    @property
    def newest(self) -> Revision | None:
        """The newest revision, which is the one that Helm acts on."""
        return self.revisions[-1] if self.revisions else None
