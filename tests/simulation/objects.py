"""The objects of the model, as they really are; `AgentPod` and `HybridNode` are what the API server shows of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.observation import AgentPod, NodeReady, PoolConfig
from cilium_hybrid.plan.values import CONFIG_DIGEST

Values = Mapping[str, Any]


class Badness(StrEnum):
    """How agents of a release behave; the memory limit of its agents says which (see `MEMORY`)."""

    GOOD = "good"
    SLOW = "slow"
    CRASH = "crash"
    CRASH_ON_SOME = "crash on some nodes"
    CRASH_LATE = "crash after a moment of being Ready"
    NEVER_READY = "never Ready"
    IMAGE_MISSING = "image not found"
    IMAGE_TIMEOUT = "registry timeout"
    CUTS_UPLINK = "cuts the uplink of its node"
    PANICS_KERNEL = "panics the kernel of its node"
    FAILS_SANDBOXES = "no network for new pods"
    DOES_NOT_FIT = "pod too large for any node"


MEMORY: Final[Mapping[str, Badness]] = {
    "1Mi": Badness.CRASH,
    "2Mi": Badness.CRASH_ON_SOME,
    "3Mi": Badness.CRASH_LATE,
    "4Mi": Badness.NEVER_READY,
    "5Mi": Badness.IMAGE_MISSING,
    "6Mi": Badness.IMAGE_TIMEOUT,
    "7Mi": Badness.CUTS_UPLINK,
    "8Mi": Badness.PANICS_KERNEL,
    "9Mi": Badness.FAILS_SANDBOXES,
    "10Mi": Badness.SLOW,
    "11Mi": Badness.DOES_NOT_FIT,
}
"""The badness of a release by the memory limit of its agents; other limits are good."""
OPERATOR_MEMORY: Final[Mapping[str, Badness]] = {
    "1Mi": Badness.CRASH,
    "4Mi": Badness.NEVER_READY,
    "5Mi": Badness.IMAGE_MISSING,
}
"""The same for the Cilium operator."""
INVALID_CPU: Final = "invalid"
"""With this CPU limit of the agents the chart refuses the values."""
REFUSED_CPU: Final = "refused"
"""With this CPU limit of the agents the chart renders an object that is not allowed."""


def limit(values: Values, *path: str, kind: str = "memory") -> str:
    """Return a resource limit in values; empty if it is not set."""
    found: Any = values
    for key in (*path, "resources", "limits", kind):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else ""


@dataclass(slots=True, eq=False)
class Template:
    """The pod template of the agents, and the update strategy of their DaemonSet."""

    digest: str | None
    version: str
    badness: Badness
    rolling: bool
    max_unavailable: int | str


def template_of(values: Values, version: str, bad_versions: Mapping[str, Badness]) -> Template:
    """Return the template that a chart renders for the agents."""
    annotations, strategy = values.get("podAnnotations"), values.get("updateStrategy")
    digest = annotations.get(CONFIG_DIGEST) if isinstance(annotations, Mapping) else None
    rolling = not isinstance(strategy, Mapping) or strategy.get("type") != "OnDelete"
    maximum: Any = strategy.get("rollingUpdate", {}).get("maxUnavailable", 2) if isinstance(strategy, Mapping) else 2
    badness = bad_versions.get(version) or MEMORY.get(limit(values), Badness.GOOD)
    return Template(digest, version, badness, rolling, maximum)


def pool_of(values: Values) -> PoolConfig | None:
    """Return the IPAM facts in values; None if they are not set."""
    operator = values.get("ipam", {}).get("operator", {}) if isinstance(values.get("ipam"), Mapping) else {}
    cidrs = operator.get("clusterPoolIPv4PodCIDRList")
    if not cidrs:
        return None
    return PoolConfig(tuple(cidrs), operator.get("clusterPoolIPv4MaskSize"))


@dataclass(slots=True, eq=False)
class Pod:
    """An agent pod. `fact` is what the API server shows; the other fields are how its containers really are.

    `unseen_exits` are those while the API server was away. `shown_ready_at` is since when it is shown as Ready.
    """

    uid: str
    node: str
    template: Template
    created_at: float
    fact: AgentPod
    running: bool = False
    ready: bool = False
    exits: int = 0
    unseen_exits: int = 0
    failure: str = ""
    crash: str = ""
    image_failing: bool = False
    terminating: bool = False
    attempts: int = 0
    ready_at: float | None = None
    shown_ready_at: float | None = None
    first_ready_at: float | None = None
    not_ready_since: float = 0.0
    image_failing_since: float | None = None
    start: int = 0
    """Counts starts: what was planned for an earlier start does not happen."""

    @property
    def name(self) -> str:
        """The name of the pod."""
        return self.fact.name


@dataclass(slots=True, eq=False)
class Node:
    """A hybrid node. `powered`: it runs; `linked`: it reaches the API server. `pods` are its agent pods.

    `pending` is an agent pod that cannot be scheduled. `disk_full`: no container can start. `full`: no further pod
    fits. `stuck`: no pod of it terminates. `tainted`: the Cilium operator has not removed the taint of a new node yet.
    """

    name: str
    index: int
    uid: str
    zone: str
    kernel: str
    labelled: bool = True
    ready: NodeReady = "True"
    kubelet_healthy: bool = True
    boot: int = 1
    powered: bool = True
    linked: bool = True
    unreachable_since: float | None = None
    cordoned: bool = False
    disk_full: bool = False
    full: bool = False
    skew: int = 0
    tainted: bool = False
    stuck: bool = False
    pods: list[Pod] = field(default_factory=list)
    pending: Pod | None = None
    sandbox_failures: int = 0
    cut_by: str = ""
    """UID of the pod whose agent cut the uplink, empty if none did."""
    healed_unseen_at: float | None = None
    """When the uplink was restored although the API server had not noticed that it was cut."""

    @property
    def reachable(self) -> bool:
        """Whether its kubelet reports to the API server."""
        return self.powered and self.linked

    @property
    def boot_id(self) -> str:
        """The boot ID."""
        return f"{self.uid}-boot-{self.boot}"

    @property
    def pod(self) -> Pod | None:
        """The agent pod, without one that is terminating."""
        return next((pod for pod in self.pods if not pod.terminating), None)


@dataclass(slots=True, eq=False)
class StoredRevision:
    """A revision in Helm's storage, with its labels and its payload.

    `changed` identifies the last write of its Secret, which was at `changed_at`.
    """

    number: int
    status: str
    created_at: datetime
    version: str
    chart_digest: str
    values: Values
    labels: dict[str, str]
    manager: str
    release: str
    """Identifies the installation, as Helm's `first_deployed` does."""
    changed: int = 1
    changed_at: float = 0.0
    readable: bool = True

    @property
    def ours(self) -> bool:
        """Whether the label carries the revision's own number."""
        return self.labels.get("revision") == str(self.number)

    @property
    def pending(self) -> bool:
        """Whether a Helm operation on it has not ended."""
        return self.status.startswith("pending")

    @property
    def minor(self) -> int:
        """The minor version of its chart."""
        return CiliumVersion.parse(self.version).minor
