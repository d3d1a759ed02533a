"""Frozen facts of one pass: all that a decision may look at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

from cilium_hybrid.rules.cluster import Taken
from cilium_hybrid.rules.rule import one_line
from cilium_hybrid.rules.text import list_names

AGENT_TAINT: Final = "node.cilium.io/agent-not-ready"
CORDONED: Final = "node.kubernetes.io/unschedulable"

NodeReady = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Revision:
    """A Helm revision of release `cilium`, as the labels of its Secret tell it.

    `ref_digest` is of the reference that its chart was fetched by, `wish` of all that the spec asked for when it was
    made. `copies` is the revision that it went back to.
    """

    number: int
    status: str
    made_at: datetime
    managed: bool = False
    chart_version: str = ""
    chart_digest: str = ""
    values_digest: str = ""
    ref_digest: str = ""
    spec_digest: str = ""
    copies: int | None = None

    @property
    def deployed(self) -> bool:
        """Whether it is the operator's, and deployed."""
        return self.managed and self.status == "deployed"


@dataclass(frozen=True, slots=True)
class Rejected:
    """What was released, failed on named nodes, and is not tried again: which revision, of which wish."""

    revision: int
    generation: int
    desired_release: str
    message: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the operator must not forget; it outlives the resource.

    `good`: the last revision that all agents ran well on.
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
    """The Deployment `cilium-operator`. `current`: no replica of an older one is left, and one is available."""

    replicas: int
    available: int
    observed: bool
    current: bool = True
    generation: int = 0


@dataclass(frozen=True, slots=True)
class HybridNode:
    """A node with the label of hybrid nodes. `taints` are the keys of all of them, that of Cilium's own too."""

    name: str
    ready: NodeReady
    message: str = ""
    kernel: str = ""
    addresses: tuple[Taken, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()

    @property
    def agent_taint(self) -> bool:
        """Whether Cilium's operator keeps pods away until the agent is Ready, or has not taken that back yet."""
        return AGENT_TAINT in self.taints

    @property
    def cordoned(self) -> bool:
        """Whether it takes no pod that does not ask for that."""
        return CORDONED in self.taints


@dataclass(frozen=True, slots=True)
class AgentPod:
    """A pod of the DaemonSet `cilium`. `started`: every container of it runs, well or not.

    `trouble`: why a container waits. `crash`: why one ended that runs again, while the pod is not Ready.
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
    """A pod of the DaemonSet `cilium` that the scheduler cannot place on the node that it is for, in its words."""

    node: str
    cause: str


@dataclass(frozen=True, slots=True)
class CiliumNode:
    """The CiliumNode of a node: its blocks, or why it has none."""

    name: str
    pod_cidrs: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class ForeignPod:
    """A pod of another CNI, by namespace and name."""

    name: str
    node: str


@dataclass(frozen=True, slots=True)
class CiliumPod:
    """A pod of Cilium's that is no agent, and the workload that made it, as `Deployment cilium-operator`.

    `node` is empty where it has no place yet. `trouble`: why it does not run.
    """

    name: str
    node: str
    workload: str
    failure_message: str = ""


class CertificateMaker(StrEnum):
    """Who made the Secret of a certificate, and so who can make it anew."""

    HELM = "Helm"
    CERT_MANAGER = "cert-manager"
    OTHER = ""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate in a Secret of Cilium's chart, by the Secret's name, and when it ends."""

    secret: str
    ends: datetime
    maker: CertificateMaker = CertificateMaker.HELM


@dataclass(frozen=True, slots=True)
class PreflightPod:
    """A pod of the preflight. `last_words` is the termination message of a container of it that ended."""

    name: str
    node: str
    ready: bool
    ready_since: datetime | None = None
    failure_message: str = ""
    last_words: str = ""


@dataclass(frozen=True, slots=True)
class PolicyValidator:
    """The Deployment `cilium-pre-flight-check`: its pod is ready once the target version took every policy."""

    replicas: int
    ready: int
    observed: bool
    pod: PreflightPod | None = None


@dataclass(frozen=True, slots=True)
class PreflightObservation:
    """Helm release `cilium-preflight` and what it runs.

    `pods`, by node, are those of the DaemonSet that is there now; `nodes_observed` is whether its controller saw it,
    None where there is none. Objects may be left without a release, and the other way round.
    """

    release: Revision | None = None
    nodes_observed: bool | None = None
    pods: Mapping[str, PreflightPod] = field(default_factory=dict)
    validator: PolicyValidator | None = None

    @property
    def there(self) -> bool:
        """Whether anything of a preflight is there, whole or not."""
        return self.release is not None or self.nodes_observed is not None or self.validator is not None

    @property
    def managed(self) -> bool:
        """Whether it is the operator's to end, as what is left of any is; one that an admin runs is the admin's."""
        return self.there and (self.release is None or self.release.managed)


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that is not as it is released.

    `fields` that differ, in the API server's words, none where the object is gone. `managers`: who has written those,
    as the object's managedFields name them, where they say so.
    """

    title: str
    fields: tuple[str, ...] = ()
    managers: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The object, what differs and who changed it."""
        if not self.fields:
            return f"{self.title} is gone"
        by = f", by {list_names(self.managers)}" if self.managers else ""
        return one_line(f"{self.title} ({list_names(self.fields)}{by})")


@dataclass(frozen=True, slots=True)
class Lookups:
    """What is looked up once, before a change that depends on it, since to watch it would cost more than it is worth.

    `pods` have an address in an added pod CIDR, off the hybrid nodes. `released_pool` is what Helm's record says.
    """

    pods: tuple[Taken, ...] = ()
    peering_policies: tuple[str, ...] = ()
    released_pool: PoolConfig | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """The cluster as one pass sees it.

    `taken`: addresses of cloud nodes and of Services. `nodes_with_pods`: where an agent pod still is, those on their
    way out too. `definition_leaving`: the definition of CiliumHybrid itself is being deleted.
    `secrets_namespace_leaving`: the chart's namespace is, after an uninstall. `unplaced`: why the scheduler cannot
    place a node's agent, by node. `edits`: another value after each edit of an object of the release that is watched.
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
    taken: tuple[Taken, ...] = ()
    foreign_pods: tuple[ForeignPod, ...] = ()
    nodes_with_pods: frozenset[str] = frozenset()
    definition_terminating: bool = False
    secrets_namespace_terminating: bool = False
    preflight: PreflightObservation = PreflightObservation()
    cloud_nodes: Collection[str] = frozenset()
    certificates: tuple[Certificate, ...] = ()
    other_pods: tuple[CiliumPod, ...] = ()
    edits: tuple[object, ...] = ()

    @property
    def installed(self) -> bool:
        """Whether there is a release; `helm uninstall --keep-history` leaves the records of one that is not."""
        return self.newest is not None and self.newest.status != "uninstalled"

    @property
    def newest(self) -> Revision | None:
        """The revision that Helm goes by."""
        return self.revisions[-1] if self.revisions else None
