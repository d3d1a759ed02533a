"""The observed state of the cluster, frozen for one reconciliation: all that a decision may depend on."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from cilium_hybrid.plan.record import Record
from cilium_hybrid.rules.cluster_facts import AddressRange
from cilium_hybrid.rules.rule import one_line
from cilium_hybrid.rules.text import list_names

AGENT_TAINT: Final = "node.cilium.io/agent-not-ready"
CORDONED: Final = "node.kubernetes.io/unschedulable"

NodeReady = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Revision:
    """A Helm revision of release `cilium`, read from the labels of its Secret.

    `managed`: the operator made it. `ref_digest` is the digest of the chart's reference, `spec_digest` that of this
    release (see `release_digest`). `rolled_back_to` is the revision that a rollback restored.
    `verified` and `rejected` are the marks that the operator put on its revision after the rollout. `changed` is the
    resourceVersion of the Secret, `manager` the field manager that wrote it, such as Helm or Terraform.
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
    verified: bool = False
    rejected: bool = False
    changed: str = ""
    manager: str = ""

    @property
    def deployed(self) -> bool:
        """Whether the operator made it and it is deployed."""
        return self.managed and self.status == "deployed"


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """The IPAM facts in `cilium-config`."""

    pod_cidrs: tuple[str, ...]
    mask_size: int | None


@dataclass(frozen=True, slots=True)
class ReleasePayload:
    """What Helm stored in the Secret of a revision.

    `readable`: it could be decoded; if not, nothing else is known. `initial_series` is the value upgradeCompatibility,
    `pool` the IPAM facts of the values, `config_digest` the configuration that its agents run.
    """

    readable: bool = True
    chart_version: str = ""
    initial_series: str | None = None
    pool: PoolConfig | None = None
    config_digest: str | None = None


@dataclass(frozen=True, slots=True)
class AgentSet:
    """The DaemonSet `cilium`. `rolling_update`: its controller replaces outdated pods."""

    config_digest: str | None
    observed: bool
    generation: int = 0
    rolling_update: bool = False


@dataclass(frozen=True, slots=True)
class CiliumOperator:
    """The Deployment `cilium-operator`. `current`: an updated replica is available and no outdated one is left.

    `exits` and `image_failing` are those of the pods of its present template, as in `AgentPod`; `outdated_available`:
    a pod of an earlier template is available.
    """

    replicas: int
    available: int
    observed: bool
    current: bool = True
    generation: int = 0
    exits: int = 0
    image_failing: bool = False
    failure_message: str = ""
    outdated_available: bool = False


@dataclass(frozen=True, slots=True)
class HybridNode:
    """A node with the hybrid node label.

    `labels` may hold only those that rollouts and rules read. `taints` are the keys of all taints. `max_pods` is the
    pod capacity that the kubelet reports, None if it reports none. `uid`, `boot_id`, `kernel`, `kubelet` and `runtime`
    identify the node and what runs on it. `clock_skew`: by how many minutes the clock of the node differs from that of
    this operator, 0 below one minute.
    """

    name: str
    ready: NodeReady
    message: str = ""
    kernel: str = ""
    addresses: tuple[AddressRange, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    max_pods: int | None = None
    uid: str = ""
    boot_id: str = ""
    kubelet: str = ""
    runtime: str = ""
    clock_skew: int = 0

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
    the pod is not Ready. `exits`: how often one of its containers has exited, the highest of all containers.
    `image_failing`: the registry answers that an image does not exist, or denies it. `version`: the Cilium version in
    the tag of its image, None if the tag is not one. `created_at` is by the clock of the API server.
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
    uid: str = ""
    exits: int = 0
    image_failing: bool = False
    version: str | None = None
    created_at: datetime | None = None

    @property
    def is_crash_looping(self) -> bool:
        """Whether a container waits because it keeps exiting."""
        return self.failure_message.startswith("CrashLoopBackOff")


@dataclass(frozen=True, slots=True)
class UnplacedAgent:
    """A pod of the DaemonSet `cilium` that cannot be scheduled on its node, with the scheduler's message."""

    node: str
    cause: str
    name: str = ""
    uid: str = ""
    config_digest: str | None = None


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
class SandboxFailure:
    """Pods of a node for which the container runtime cannot set up the network.

    `count`: how often that has been reported so far. `no_address`: because the node has no free pod address.
    """

    count: int
    message: str
    no_address: bool = False


CILIUM: Final = "Cilium"
"""The product that the operator itself installs, as `ForeignObject.cni`."""


@dataclass(frozen=True, slots=True)
class ForeignObject:
    """An object of another CNI, or of a Cilium that is not the operator's release: its kind, namespace and name.

    `cni` is the name of the product, such as flannel.
    """

    title: str
    cni: str


@dataclass(frozen=True, slots=True)
class NodeConfigOverride:
    """A CiliumNodeConfig that sets keys of `cilium-config` on some nodes. `name` is its namespace and name."""

    name: str
    keys: tuple[str, ...]


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

    `pods` are the addresses of pods on other nodes that lie in an added pod CIDR.
    """

    pods: tuple[AddressRange, ...] = ()
    peering_policies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """The state of the cluster in one reconciliation.

    `taken`: addresses of cloud nodes and Services. `nodes_with_agent_pods`: nodes that have an agent pod, including
    terminating ones. `definition_terminating`: the CRD of CiliumHybrid is being deleted.
    `secrets_namespace_terminating`: the chart's namespace `cilium-secrets` is being deleted after an uninstall.
    `unplaced`: why a node's agent cannot be scheduled, by node; `unplaced_pods` are these pods. `edits`: a value
    that changes with every edit of a watched object of the release. `terminating_agents`: UIDs of agent pods that
    are terminating, by node. `agent_create_failure`: why the DaemonSet controller cannot create agent pods, in its
    own words. `sandbox_failures` are by node. `payloads` are those of the newest and of the last deployed revision,
    by number, as far as they were read. `lost_watches` are the watches whose objects may have changed unseen, a
    sentence each.
    """

    revisions: tuple[Revision, ...] = ()
    record: Record | None = None
    pool: PoolConfig | None = None
    agent_set: AgentSet | None = None
    cilium_operator: CiliumOperator | None = None
    nodes: Mapping[str, HybridNode] = field(default_factory=dict)
    agents: Mapping[str, AgentPod] = field(default_factory=dict)
    unplaced: Mapping[str, str] = field(default_factory=dict)
    unplaced_pods: Mapping[str, UnplacedAgent] = field(default_factory=dict)
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
    terminating_agents: Mapping[str, frozenset[str]] = field(default_factory=dict)
    agent_create_failure: str = ""
    sandbox_failures: Mapping[str, SandboxFailure] = field(default_factory=dict)
    foreign_objects: tuple[ForeignObject, ...] = ()
    node_configs: tuple[NodeConfigOverride, ...] = ()
    payloads: Mapping[int, ReleasePayload] = field(default_factory=dict)
    lost_watches: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether the release is installed; `helm uninstall --keep-history` leaves the revisions of one that is not."""
        return self.newest is not None and self.newest.status != "uninstalled"

    @property
    def newest(self) -> Revision | None:
        """The newest revision, which is the one that Helm acts on."""
        return self.revisions[-1] if self.revisions else None
