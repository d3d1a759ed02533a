"""The input of one reconciliation, and the evaluation that it results in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from cilium_hybrid.api.conditions import Reason
from cilium_hybrid.api.status import Status, UnreadyReason
from cilium_hybrid.api.upgrade import Upgrade
from cilium_hybrid.api.v1alpha1 import FINALIZER, Spec
from cilium_hybrid.api.versions import CiliumVersion
from cilium_hybrid.plan.actions import Decision, Nothing
from cilium_hybrid.plan.classify import ReleaseClass
from cilium_hybrid.plan.observation import Difference, Lookups, Observation
from cilium_hybrid.plan.record import Record, RestartedNode, RolloutRecord
from cilium_hybrid.plan.rollout.plan import NO_ROLLOUT, RolloutPlan
from cilium_hybrid.plan.upgrade.gates import PreflightCheck
from cilium_hybrid.plan.upgrade.path import UpgradePath
from cilium_hybrid.plan.upgrade.preflight import PreflightProgress
from cilium_hybrid.rules.lenient_spec import LenientSpec
from cilium_hybrid.rules.rule import Violation

OUTDATED: Final = "Outdated"
"""Marks, in `Since`, a node whose agent runs an outdated configuration, which is no reason to be unready."""

Since = Mapping[tuple[str, UnreadyReason | Literal["Outdated"]], datetime]
"""Since when a node, by name, has been unready for a reason, or outdated."""

UNDECIDED: Final = Decision(Nothing(), Reason.ACCEPTED, "no decision yet")


@dataclass(frozen=True, slots=True)
class Resource:
    """The CiliumHybrid as the API server returns it."""

    generation: int
    resource_version: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    finalizers: tuple[str, ...] = ()
    deleting: bool = False
    approved: str | None = None
    """The plan digest in the approval annotation."""
    requested: str = ""
    """The value of the reconcile annotation."""
    uid: str = ""

    @property
    def has_finalizer(self) -> bool:
        """Whether the resource has the operator's finalizer."""
        return FINALIZER in self.finalizers


@dataclass(frozen=True, slots=True)
class Failure:
    """The last failed attempt; `not_before` is None if only a change of the spec can help."""

    reason: Reason
    message: str
    attempts: int
    not_before: datetime | None

    def is_backing_off(self, now: datetime) -> bool:
        """Whether it is too early for the next attempt."""
        return self.not_before is not None and now < self.not_before

    def with_next_attempt(self) -> str:
        """Return the message with the number of attempts and the time of the next one."""
        if self.not_before is None:
            return self.message
        tried = "once" if self.attempts == 1 else f"{self.attempts} times"
        return f"{self.message} (tried {tried}, next attempt at {self.not_before:%H:%M:%SZ})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileInput:
    """Everything that one reconciliation observes, or remembers from the previous one.

    `lenient_spec` is the resource's spec as far as it can be read. `failure_of` returns the last failure of the same
    input. `lookups` and `available_versions` (of the chart, from the registry) are None if they were not looked up;
    `chart_versions` are the versions as of some hours ago. `differences` between the release and the cluster are None
    if unknown.

    Elapsed times are in seconds, and stand still while nothing may progress: while suspended, blocked, awaiting
    approval, or without the API server or a needed watch. `elapsed` is that since the previous reconciliation;
    `observed`: the cluster was observed since then, whether or not the time counts.
    `unready_for`: for how long the agent of a connected node has not been Ready, without interruption.
    `healthy_before` are the nodes with a healthy outdated agent in the previous reconciliation, as restarted now.
    `rollout_before` is the state of the rollout after the previous reconciliation. `newest_unchanged_for`: for how long
    this process has seen the newest revision unchanged, on the plain clock. `unlock_after`: how long that must be
    before a pending revision of the operator's is unlocked.
    """

    resource: Resource
    lenient_spec: LenientSpec
    observation: Observation
    now: datetime
    failure_of: Callable[[object], Failure | None]
    lookups: Lookups | None = None
    available_versions: Sequence[CiliumVersion] | None = None
    chart_versions: Sequence[CiliumVersion] | None = None
    unready_since: Since = field(default_factory=dict)
    elapsed: float = 0.0
    observed: bool = True
    unready_for: Mapping[str, float] = field(default_factory=dict)
    healthy_before: Mapping[str, RestartedNode] = field(default_factory=dict)
    rollout_before: RolloutRecord | None = None
    newest_unchanged_for: float = 0.0
    unlock_after: float = 0.0
    preflight_progress: PreflightProgress | None = None
    registries: Sequence[str] = ()
    own_node: str | None = None
    differences: Sequence[Difference] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a reconciliation concludes from its input; it is built in steps, each of which adds fields.

    `release` is what the newest revision is, `record` what is remembered of this installation, `upgrade` the part of
    the spec that applies to a change in progress, as far as it can be read. `config_digest` is the configuration that
    the agents should run. `failure_key` is the input that `failure` belongs to. `unready_since`, `unready_for`,
    `healthy_before` and the rollout's record are remembered for the next reconciliation. `counts_time`: whether the
    time until then counts for rollouts. `recheck_at` is when to reconcile again even if nothing changes; None if there
    is no need.
    """

    input: ReconcileInput
    previous: Status
    release: ReleaseClass = ReleaseClass.NONE
    record: Record = field(default_factory=Record)
    upgrade: Upgrade = field(default_factory=Upgrade)
    violations: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()
    config_digest: str | None = None
    in_sync: bool = False
    rollout: RolloutPlan = NO_ROLLOUT
    preflight: PreflightCheck = field(default_factory=PreflightCheck)
    failure_key: object = None
    failure: Failure | None = None
    decision: Decision = UNDECIDED
    status: Status = field(default_factory=Status)
    unready_since: Since = field(default_factory=dict)
    unready_for: Mapping[str, float] = field(default_factory=dict)
    healthy_before: Mapping[str, RestartedNode] = field(default_factory=dict)
    counts_time: bool = True
    recheck_at: datetime | None = None

    @property
    def observation(self) -> Observation:
        """The observed cluster."""
        return self.input.observation

    @property
    def now(self) -> datetime:
        """The time of this reconciliation."""
        return self.input.now

    @property
    def generation(self) -> int:
        """The generation of the resource."""
        return self.input.resource.generation

    @property
    def preflight_progress(self) -> PreflightProgress | None:
        """The progress of the preflight check, remembered for the next reconciliation; None if none is running."""
        return None if self.preflight.in_progress is None else self.preflight.in_progress.progress


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecEvaluation(Evaluation):
    """The evaluation of a spec that can be parsed, of a resource that is not being deleted."""

    spec: Spec
    upgrade_path: UpgradePath
