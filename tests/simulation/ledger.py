"""What really happened, as the invariants need it: nothing of it is known to the operator."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from cilium_hybrid.api.durations import duration
from cilium_hybrid.api.upgrade import Rollout
from cilium_hybrid.api.v1alpha1 import Spec, parse_spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.inputs import Resource
from cilium_hybrid.plan.record import Record
from simulation.objects import Node, Pod, StoredRevision, Template

if TYPE_CHECKING:
    from simulation.process import Process
    from simulation.world import World

IRRELEVANT: Final = ("suspend", "upgrade", "deletionPolicy")
"""Fields that do not change the release of a spec."""


@dataclass(slots=True)
class Restart:
    """A restart of an agent, and the node as it was then.

    `first_digest` is the configuration that the node lost its agent to: it stays while no agent gets Ready. `telling`:
    the agent had not failed before, so that the operator must judge the revision by the next one.
    `forgotten`: an admin has deleted the record since.
    """

    node: Node
    node_uid: str
    boot_id: str
    old_uid: str
    digest: str | None
    first_digest: str | None
    attempt: int
    healthy: bool
    at: float
    by_operator: bool
    telling: bool
    recovered: bool = False
    forgotten: bool = False


@dataclass(slots=True)
class Limits:
    """The most permissive settings since the present configuration was applied."""

    max_unavailable: int = 1
    canary: int = 1
    deadline: float = 0.0
    soak: float = 0.0


@dataclass(slots=True)
class Rejection:
    """A rejected release, and whether it may be tried again."""

    revision: int
    digest: str
    may_retry: bool = False


@dataclass(slots=True)
class Ledger:
    """The ground truth.

    `attempt` counts the releases that were applied. `first_series` is the minor version that ran first. `handled` is
    the value of the reconcile annotation that was handled last, and `handled_for` what was applied for it.
    `record_lost_at` is when an admin deleted the record, None once a revision has been verified since.
    """

    world: "World"
    restarts: dict[str, Restart] = field(default_factory=dict)
    healthy_restarts: dict[int, list[str]] = field(default_factory=dict)
    attempt: int = 0
    limits: Limits = field(default_factory=Limits)
    first_series: str | None = None
    rejection: Rejection | None = None
    handled: str = ""
    handled_for: object = None
    record_lost_at: float | None = None
    was_uninstalled: bool = False
    replaced_canaries: int = 0
    ran: set[str] = field(default_factory=set)
    verified: set[tuple[str, int]] = field(default_factory=set)

    def deleted(self, pod: Pod, process: "Process") -> None:
        """Note that the operator restarted an agent."""
        node = self.world.machines.nodes.get(pod.node)
        template = self.world.controllers.template
        if node is None or template is None:
            return
        shown, shown_node = process.observed.agents.get(node.name), process.observed.nodes.get(node.name)
        healthy = shown is not None and shown.ready and shown_node is not None and shown_node.ready != "Unknown"
        self._restarted(node, pod, template, healthy=healthy, by_operator=True)
        if healthy:
            self.healthy_restarts.setdefault(self.attempt, []).append(node.name)

    def replaced(self, node: Node, pod: Pod, template: Template) -> None:
        """Note that the DaemonSet controller replaced an agent."""
        self._restarted(node, pod, template, healthy=pod.fact.ready, by_operator=False)

    def _restarted(self, node: Node, pod: Pod, template: Template, *, healthy: bool, by_operator: bool) -> None:
        before = self.restarts.get(node.name)
        lost = before is not None and not before.recovered and before.node_uid == node.uid and before.healthy
        first = before.first_digest if lost and before is not None else template.digest
        self.restarts[node.name] = Restart(
            node, node.uid, node.boot_id, pod.uid, template.digest, first, self.attempt, healthy or lost,
            self.world.timeline.now, by_operator, healthy and not lost and pod.exits == pod.unseen_exits,
        )  # fmt: skip

    def agent_ready(self, pod: Pod) -> None:
        """Note that an agent is shown Ready."""
        self.runs()
        found = self.restarts.get(pod.node)
        if found is not None and found.old_uid != pod.uid:
            found.recovered = True

    def runs(self) -> None:
        """Note that Cilium runs: a release of which no pod ever ran is not the first one."""
        running = self.world.helm.running
        if self.first_series is None and running is not None and running.ours:
            # After an uninstall, the first minor version of the cluster may or may not be known.
            known = running.values.get("upgradeCompatibility") if self.was_uninstalled else None
            self.first_series = known or CiliumVersion.parse(running.version).series

    def template_applied(self) -> None:
        """Note that a revision was applied: limits of the earlier one no longer count."""
        self.attempt += 1
        self.limits = Limits()
        self.replaced_canaries = 0
        resource = self.world.users.resource
        if resource is not None:
            self._permit(resource)

    def node_gone(self, name: str) -> None:
        """Note that a Node was deleted or unlabelled."""
        self.replaced_canaries += name in self.healthy_restarts.get(self.attempt, ())
        self.restarts.pop(name, None)

    def revision_ended(self, revision: StoredRevision) -> None:
        """Note that an operation ended."""
        if revision.status != "deployed":
            return
        self.ran.add(revision.version)
        if revision.ours and "rollback" not in revision.labels and self.rejection is not None:
            self.rejection.may_retry |= revision.labels.get("spec") != self.rejection.digest

    def uninstalled(self) -> None:
        """Note that the release was uninstalled."""
        self.first_series = None
        self.was_uninstalled = True
        self.restarts.clear()
        self.rejection = None

    def record_lost(self) -> None:
        """Note that an admin deleted the record."""
        self.record_lost_at = self.world.timeline.now
        for restart in self.restarts.values():
            restart.forgotten = True

    def recorded(self, record: Record) -> None:
        """Note that the operator wrote the record, which may verify or reject a revision."""
        if record.handled != self.handled:
            self.handled, self.handled_for = record.handled, None
        newest = self.world.helm.newest
        if newest is not None and record.verified == newest.number and not self.is_verified(newest):
            self.verified.add((newest.release, newest.number))
            self.record_lost_at = None
        rejected = record.rejected
        if rejected is not None and (self.rejection is None or self.rejection.revision != rejected.revision):
            self.rejection = Rejection(rejected.revision, rejected.release_digest)

    def is_verified(self, revision: StoredRevision) -> bool:
        """Whether the operator has verified a revision."""
        return (revision.release, revision.number) in self.verified

    def resource_changed(self, before: Resource | None, after: Resource | None) -> None:
        """Note a write to the resource."""
        if after is None or before is None:
            if self.rejection is not None:
                self.rejection.may_retry = True
        elif self.rejection is not None:
            self.rejection.may_retry |= relevant(before.spec) != relevant(after.spec)
            self.rejection.may_retry |= before.requested != after.requested
        if after is not None and (before is None or before.spec is not after.spec):
            self._permit(after)

    def _permit(self, resource: Resource) -> None:
        spec = spec_of(resource.spec)
        if spec is None:
            return
        settings, limits = spec.upgrade.rollout, self.limits
        deadline = duration(settings.progress_deadline).total_seconds()
        limits.max_unavailable = max(limits.max_unavailable, self.nodes_of(settings))
        limits.canary = max(limits.canary, settings.canary)
        limits.deadline = min(limits.deadline or deadline, deadline)
        limits.soak = min(limits.soak or 1e9, duration(settings.soak).total_seconds())

    def nodes_of(self, settings: Rollout) -> int:
        """Return `maxUnavailable` as a number of nodes, at most."""
        value = settings.max_unavailable
        if isinstance(value, int):
            return value
        return max(-(-int(value.removesuffix("%")) * max(len(self.world.machines.nodes), 8) // 100), 1)


def relevant(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a spec that its release is made of."""
    return {key: value for key, value in spec.items() if key not in IRRELEVANT}


def spec_of(raw: Mapping[str, Any]) -> Spec | None:
    """Return the parsed spec, None if it does not match the schema."""
    return _parsed(json.dumps(raw, sort_keys=True))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Spec | None:
    try:
        return parse_spec(json.loads(text))
    except ValidationError:
        return None
