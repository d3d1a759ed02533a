"""The record: what the operator must not forget. It outlives the resource, its status and this process."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Rejected:
    """A revision that failed on the nodes in `message`.

    `release_digest` is the digest of that revision's release (see `release_digest`), by which it is known: no other
    revision with the same release is tried, whatever the generation of the spec, until a person asks for it.
    """

    revision: int
    release_digest: str
    message: str


@dataclass(frozen=True, slots=True)
class RestartedNode:
    """A node whose agent a rollout restarts, as it was when its agent was restarted, until the new agent has settled.

    `pod_uid` is the UID of the agent pod that the restart ends: while that pod still stands or terminates, the restart
    has not happened. `healthy`: the node was connected and its agent Ready. `suspect`: the record was lost, and the
    rollout may have restarted the node before; it is awaited like a healthy one, but is no evidence. `away`: how many
    nodes of its group were disconnected and outdated. `sandbox_failing`: the network of pods on the node could not be
    set up even before.

    Times are in elapsed seconds. `elapsed`: since the restart was chosen, and from the creation of the new pod on since
    then. `connected_for`: how long the node has been connected since the new pod was created; None while it is not.
    `ready_for`: how long the new agent has been Ready without interruption; None while it is not. `image_failing_for`:
    how long its image has been refused; None while it is not.

    `exits` is the number of container exits of pod `new_pod_uid` that was seen last, `ignored_exits` how many of them
    were while the API server was not reachable. `sandbox_failures` is the number of reports when the agent became
    Ready, `last_sandbox_failures` the last number, which has not grown for `sandbox_quiet_for`.
    """

    pod_uid: str
    node_uid: str
    boot_id: str
    kernel: str
    kubelet: str
    runtime: str
    healthy: bool
    group: str = ""
    canary: bool = False
    away: int = 0
    sandbox_failing: bool = False
    elapsed: float = 0.0
    connected_for: float | None = None
    ready_for: float | None = None
    image_failing_for: float | None = None
    new_pod_uid: str = ""
    exits: int = 0
    ignored_exits: int = 0
    sandbox_failures: int = 0
    last_sandbox_failures: int = 0
    sandbox_quiet_for: float = 0.0
    suspect: bool = False

    @property
    def awaited(self) -> bool:
        """Whether the rollout must bring the node back."""
        return self.healthy or self.suspect


@dataclass(frozen=True, slots=True)
class UpdatedOperator:
    """The update of the Cilium operator during a rollout.

    `outdated_available`: a pod of the earlier template was available. `exits`, `ignored_exits` and `image_failing_for`
    are as in `RestartedNode`, of the pods of the new template.
    """

    outdated_available: bool = False
    exits: int = 0
    ignored_exits: int = 0
    image_failing_for: float | None = None


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """The state of a rollout, identified by the `config_digest` of what the agents read. Times are elapsed seconds.

    `nodes` are the restarted nodes that have not settled, by name, and `watched` those that have settled so
    recently that the API server may not have noticed yet that they lost contact. `casualties` are nodes that an
    earlier rollout restarted while they were healthy and that have not been Ready since; the `uncertain` ones of them
    were suspects. `settled` counts the restarted nodes that have settled. `group` is the group whose canaries are being
    updated and `soaked` how many of them have settled; `open_groups` are groups whose canaries have settled and that
    still have outdated nodes. `replaced` are the groups that lost a canary because its Node was deleted or unlabelled,
    once for each canary.
    `max_unavailable` is the budget in nodes. `idle_for`: since the last progress. `steady_for`: since when at least
    one node has run this configuration and no restarted node was unsettled; None while that is not so. `updated`
    and `outdated` are the highest and the lowest count of such nodes so far, from which progress is seen.
    """

    config_digest: str
    max_unavailable: int = 1
    nodes: Mapping[str, RestartedNode] = field(default_factory=dict)
    watched: Mapping[str, RestartedNode] = field(default_factory=dict)
    casualties: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    settled: int = 0
    group: str | None = None
    soaked: int = 0
    open_groups: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    cilium_operator: UpdatedOperator = UpdatedOperator()
    idle_for: float = 0.0
    steady_for: float | None = None
    updated: int = 0
    outdated: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """What decisions need and the cluster does not show. Revision numbers belong to the present installation.

    `initial_version` is the chart version that ran first in this cluster, None before one ran. `pod_cidrs` and
    `mask_size` are the IPAM facts that were applied last; they are written before Helm is called. `revision` is the
    newest recorded revision of the operator's, with `chart_ref` and `chart_version`. `verified` is the last verified
    revision, `verified_version` its chart version. `unlocked` is the last pending revision that was marked failed.
    `resumed` is the foreign revision that a person let the operator replace, `handled` the last value of the reconcile
    annotation that was acted on. `rebuilt`: the record was lost, and no revision has been verified since.
    `suspects_due`: nor has a rollout begun since, which has to begin with the nodes that may have been restarted.
    `resource_version` is that of the ConfigMap that was read, empty if it does not exist.
    """

    initial_version: str | None = None
    pod_cidrs: tuple[str, ...] = ()
    mask_size: int | None = None
    revision: int = 0
    chart_ref: str = ""
    chart_version: str = ""
    verified: int | None = None
    verified_version: str = ""
    rejected: Rejected | None = None
    rollout: RolloutRecord | None = None
    unlocked: int | None = None
    resumed: int | None = None
    handled: str = ""
    rebuilt: bool = False
    suspects_due: bool = False
    resource_version: str = field(default="", compare=False)
